"""Labels: a look at each second after each moment, and that nothing looks ahead."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.statistics.labels import (
    RISE,
    extreme,
    label_cascades,
    label_depth,
    label_moves,
    onsets,
    volatility,
)
from tests import naive_statistics as naive

mids = st.lists(st.sampled_from([0.0, 98.0, 99.0, 99.5, 100.0, 100.5, 101.0]), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(
    path=mids,
    steps=st.integers(1, 6),
    sigma=st.sampled_from([0.0, 0.002, 0.004]),
    k=st.sampled_from([1.0, 3.0]),
    side=st.sampled_from([1, -1]),
)
def test_labels_equal_a_look_at_each_second(path: list[float], steps: int, sigma: float, k: float, side: int) -> None:
    found = label_moves(np.array(path), np.full(len(path), sigma), steps, k, side)
    assert found.tolist() == [naive.label(path, i, sigma, steps, k, side) for i in range(len(path))]


def test_the_moment_itself_is_not_in_its_window() -> None:
    found, known = extreme(np.array([90.0, 100.0, 101.0, 102.0]), 2)
    assert known.tolist() == [True, True, False, False]
    assert found[1] == pytest.approx(math.log(101 / 100))
    highest, _ = extreme(np.array([90.0, 100.0, 101.0, 102.0]), 2, RISE)
    assert highest[1] == pytest.approx(math.log(102 / 100))


@settings(max_examples=100, deadline=None)
@given(
    depth=st.lists(st.sampled_from([-1.0, 0.0, 10.0, 19.0, 20.0, 50.0, 100.0]), min_size=1, max_size=30),
    steps=st.integers(5, 9),
)
def test_depth_labels_equal_a_look_at_each_second(depth: list[float], steps: int) -> None:
    usual = [100.0] * len(depth)
    found = label_depth(np.array(depth), np.array(usual), steps)
    assert found.tolist() == [naive.gone(depth, usual, i, steps) for i in range(len(depth))]


def test_depth_that_is_not_there_cannot_go() -> None:
    depth = np.array([40.0, 60.0, *[10.0] * 5, 60.0])
    assert label_depth(depth, np.full(8, 100.0), 6).tolist() == [-1, 1, -1, -1, -1, -1, -1, -1]
    assert label_depth(depth, np.zeros(8), 6).tolist() == [-1] * 8


def test_a_cascade_is_a_fall_with_liquidations() -> None:
    path, liquidated = np.array([100.0, 99.6, 98.9, 99.0, 98.0]), np.array([9.0, 0.0, 5.0, 0.0, 0.0])
    assert label_cascades(path, liquidated, 2, 0.01, 5.0).tolist() == [1, 0, 0, -1, -1]
    assert label_cascades(path, liquidated, 2, 0.01, 6.0).tolist() == [0, 0, 0, -1, -1]


def test_volatility_is_known_late_and_never_looks_ahead() -> None:
    random = np.random.default_rng(1)
    path = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.001, 3_000)))
    path[500:510] = 0.0
    found = volatility(path, 100.0)
    assert not found[:100].any()
    assert np.all(found[100:] > 0.0)
    assert np.mean(found[200:]) == pytest.approx(0.001, rel=0.1)
    assert volatility(path[:700], 100.0).tolist() == found[:700].tolist()


def test_volatility_is_the_root_of_a_fading_mean_square() -> None:
    path = [100.0, 101.0, 100.0, 0.0, 100.0, 103.0, 103.0]
    moves = [math.log(1.01), math.log(1.01), math.log(1.03), 0.0]
    found = volatility(np.array(path), 2.0)
    for i, seen in ((2, 2), (3, 2), (4, 2), (5, 3), (6, 4)):
        weights = [0.5 ** ((seen - 1 - j) / 2.0) for j in range(seen)]
        squares = [weight * move**2 for weight, move in zip(weights, moves, strict=False)]
        assert found[i] == pytest.approx(math.sqrt(sum(squares) / sum(weights)))
    assert not found[:2].any()


def test_a_fall_that_just_meets_the_bar_is_one() -> None:
    path, sigma = np.array([100.0, 99.0]), np.full(2, -math.log(0.99))
    assert label_moves(path, sigma, 1, 1.0).tolist() == [1, -1]
    assert onsets(path, sigma, 1, 1.0).tolist() == [1]
    assert label_moves(path, np.nextafter(sigma, 1.0), 1, 1.0).tolist() == [0, -1]


def test_volatility_has_a_floor_of_its_own_past() -> None:
    random = np.random.default_rng(1)
    path = 100.0 * np.exp(np.cumsum(np.concatenate([random.normal(0.0, 0.001, 2_000), np.zeros(500)])))
    found = volatility(path, 20.0)
    raw = found[100:2_000]
    # Weights have halved 25 times since the last move: without the floor nothing would be left.
    assert found[-1] > 1e-8
    assert found[2_050] == pytest.approx(np.quantile(raw, 0.05), rel=0.2)


def test_an_event_is_when_the_bar_was_met() -> None:
    path = np.array([100.0] * 20 + [98.0] * 30 + [96.0] * 20)
    sigma = np.full(len(path), 0.001)
    assert onsets(path, sigma, 4, 3.0).tolist() == [20, 50]
    assert onsets(path, sigma, 30, 3.0).tolist() == [20]
    # Between the last step of one run and the first of the next lie 27: that is as long as the window, so one event.
    assert onsets(path, sigma, 27, 3.0).tolist() == [20]
    assert onsets(path, sigma, 4, 3.0, RISE).tolist() == []
