"""Micro-price, correlation, change and chance: closed forms, slow twins on random series, and edges."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.kernel import COMPILED
from engine.statistics.bulk import bulk_bought
from engine.statistics.chance import uniform, words
from engine.statistics.change import (
    bipower,
    follow_runs,
    forget_runs,
    jump,
    jump_bound,
    likeliest,
    recent,
    shortfall,
)
from engine.statistics.correlation import correlate, fade_sums, overlap, realised
from engine.statistics.microprice import Transitions, drift, first_move, next_state, transitions, whole_drift
from tests import naive_statistics as naive

EXAMPLES = 100 if COMPILED else 40
values = st.floats(-100.0, 100.0)

# Micro-price


def walk(seed: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Books whose imbalance leans the way that the mid goes next: buckets 0 to 2, spreads of 1 and 2 ticks."""
    random = np.random.default_rng(seed)
    imbalance, spread = random.integers(0, 3, count), random.integers(1, 3, count)
    lean = (imbalance - 1) * 0.2
    steps = np.where(random.random(count) < 0.5, 0, np.where(random.random(count) < 0.5 + lean, 1, -1))
    # Moves of half a tick, or of one, as the spread before asks.
    mid2 = np.concatenate([[2_000], 2_000 + np.cumsum(steps * spread)[:-1]])
    return imbalance, spread, mid2


def test_what_follows_a_state_is_certain() -> None:
    known = transitions(*walk(1, 5_000), buckets=3, spreads=2)
    assert np.allclose(known.stay.sum(axis=1) + known.moves.sum(axis=1), 1.0)
    assert np.allclose(known.moves.sum(axis=1), known.land.sum(axis=1))
    assert np.allclose(next_state(known).sum(axis=1), 1.0)
    assert known.steps.tolist() == [-1.0, -0.5, 0.5, 1.0]


def test_the_drift_mirrors_and_follows_imbalance() -> None:
    known = transitions(*walk(1, 5_000), buckets=3, spreads=2)
    found = whole_drift(known).reshape(2, 3)
    assert np.allclose(found, -found[:, ::-1], atol=1e-12)
    assert np.all(found[:, 2] > 0.05)
    assert np.allclose(found[:, 1], 0.0, atol=1e-12)


def test_the_drift_is_what_the_counted_moves_say() -> None:
    imbalance, spread, mid2 = walk(1, 5_000)
    known = transitions(imbalance, spread, mid2, buckets=3, spreads=2)
    moves: dict[tuple[int, int], list[float]] = {}
    for i in range(len(mid2) - 1):
        move = 0.5 * float(mid2[i + 1] - mid2[i])
        for state, seen in (
            ((int(spread[i]), int(imbalance[i])), move),
            ((int(spread[i]), 2 - int(imbalance[i])), -move),
        ):
            moves.setdefault(state, []).append(seen)
    expected = [np.mean(moves[s, i]) for s in (1, 2) for i in range(3)]
    assert (known.moves @ known.steps).tolist() == pytest.approx(expected, abs=1e-12)


def test_all_terms_solve_the_drifts_own_equation() -> None:
    known = transitions(*walk(2, 2_000), buckets=3, spreads=2)
    total = whole_drift(known)
    assert np.allclose(total, first_move(known) + next_state(known) @ total, atol=1e-12)
    assert np.allclose(drift(known, 200), total, atol=1e-12)
    assert drift(known, 1).tolist() == first_move(known).tolist()


def test_states_never_seen_and_moves_too_far_are_left_out() -> None:
    known = transitions(np.array([0, 0, 1]), np.array([1, 1, 1]), np.array([10, 10, 30]), buckets=2, spreads=2)
    assert known.stay[0, 0] == known.stay[1, 1] == 1.0
    assert not known.stay[2:].any()
    assert not known.moves.any()


def test_counts_that_are_not_symmetric_are_refused() -> None:
    up = Transitions(
        stay=np.array([[0.5]]), moves=np.array([[0.0, 0.5]]), land=np.array([[0.5]]), steps=np.array([-1.0, 1.0])
    )
    with pytest.raises(ValueError, match="not symmetric"):
        whole_drift(up)


# Correlation


paths = st.lists(st.tuples(st.integers(0, 60), values), min_size=1, max_size=25, unique_by=lambda point: point[0])


def path(points: list[tuple[int, float]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    points = sorted(points)
    return np.array([time for time, _ in points], np.int64), np.array([price for _, price in points])


@settings(max_examples=EXAMPLES, deadline=None)
@given(one=paths, other=paths)
def test_overlapping_moves_equal_every_pair(one: list[tuple[int, float]], other: list[tuple[int, float]]) -> None:
    found = overlap(*path(one), *path(other))
    assert found == pytest.approx(naive.overlap(*path(one), *path(other)), rel=1e-9, abs=1e-6)
    assert found == pytest.approx(overlap(*path(other), *path(one)), rel=1e-9, abs=1e-6)


@settings(max_examples=EXAMPLES, deadline=None)
@given(one=paths)
def test_a_path_is_one_with_itself(one: list[tuple[int, float]]) -> None:
    times, prices = path(one)
    variance = realised(prices)
    assert variance == pytest.approx(sum((b - a) ** 2 for a, b in pairwise(prices.tolist())))
    assert overlap(times, prices, times, prices) == pytest.approx(variance)
    assert correlate(variance, variance, variance) == pytest.approx(1.0 if variance > 0.0 else 0.0)


def test_a_path_that_rests_has_no_correlation() -> None:
    assert correlate(0.0, 0.0, 5.0) == 0.0
    assert correlate(9.0, 4.0, 4.0) == 1.0


@settings(max_examples=EXAMPLES, deadline=None)
@given(pairs=st.lists(st.tuples(values, values), min_size=1, max_size=30), keep=st.floats(0.0, 0.99))
def test_fading_sums_equal_their_weights(pairs: list[tuple[float, float]], keep: float) -> None:
    sums = np.zeros(3)
    for x, y in pairs:
        fade_sums(sums, keep, x, y)
    products = ([x * y for x, y in pairs], [x * x for x, _ in pairs], [y * y for _, y in pairs])
    assert sums.tolist() == pytest.approx([naive.faded(keep, each) for each in products], rel=1e-9, abs=1e-9)


# Change


@settings(max_examples=EXAMPLES, deadline=None)
@given(series=st.lists(values, max_size=25), slack=st.floats(0.0, 5.0))
def test_the_sum_of_shortfalls_is_the_largest_that_ends_now(series: list[float], slack: float) -> None:
    total = 0.0
    for z in series:
        total = shortfall(total, z, slack)
    assert total == pytest.approx(naive.shortfall(series, slack), rel=1e-9, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    series=st.lists(st.floats(-4.0, 4.0), min_size=1, max_size=7),
    hazard=st.floats(0.01, 0.5),
    noise=st.floats(0.2, 4.0),
    mean=st.floats(-2.0, 2.0),
    variance=st.floats(0.2, 4.0),
)
def test_run_lengths_equal_the_sum_over_every_way_to_cut(
    series: list[float], hazard: float, noise: float, mean: float, variance: float
) -> None:
    runs = np.empty((2, 10))
    forget_runs(runs)
    for x in series:
        follow_runs(runs, x, hazard, noise, mean, variance)
    expected = naive.run_lengths(series, hazard, noise, mean, variance)
    assert runs[0, : len(expected)].tolist() == pytest.approx(expected, rel=1e-7, abs=1e-12)
    assert runs[0].sum() == pytest.approx(1.0)
    assert runs[0, 0] == pytest.approx(hazard)
    assert recent(runs, 2) == pytest.approx(sum(expected[:3]))
    assert recent(runs, 50) == pytest.approx(1.0)


def test_a_fallen_level_is_a_new_run_and_an_old_one_stays_at_the_end_of_the_room() -> None:
    random = np.random.default_rng(1)
    runs = np.empty((2, 21))
    forget_runs(runs)
    for x in random.normal(0.0, 0.1, 60):
        follow_runs(runs, x, 0.01, 0.01, 0.0, 1.0)
    assert likeliest(runs) == 20
    assert recent(runs, 5) < 0.05
    for x in random.normal(-3.0, 0.1, 4):
        follow_runs(runs, x, 0.01, 0.01, 0.0, 1.0)
    assert likeliest(runs) == 4
    assert recent(runs, 5) > 0.95
    assert runs[0].sum() == pytest.approx(1.0)


def test_a_point_beyond_all_densities_leaves_numbers() -> None:
    runs = np.empty((2, 5))
    forget_runs(runs)
    for x in (0.0, 1e150, -1e150, 0.0, 0.0, 0.0, 0.0):
        follow_runs(runs, x, 0.1, 1e-6, 0.0, 1e-6)
        assert np.isfinite(runs).all()
        assert runs[0].sum() == pytest.approx(1.0)


def test_a_long_run_forgets_its_oldest_points() -> None:
    runs = np.empty((2, 11))
    forget_runs(runs)
    for x in (1.0,) * 50 + (2.0,) * 200:
        follow_runs(runs, x, 1e-9, 100.0, 0.0, 1e6)
    assert runs[1, 10] == pytest.approx(2.0, abs=1e-6)


def test_no_move_is_no_jump() -> None:
    assert jump(1.0, np.zeros(5)) == 0.0
    assert jump(1.0, np.array([0.5])) == 0.0
    assert bipower(np.array([3.0, -2.0, 0.5])) == 3.5


def test_returns_without_a_jump_stay_below_the_bound() -> None:
    # |r_j| |r_{j-1}| has mean 2 / pi sigma^2: L is 1.25 as large as a standard normal.
    random = np.random.default_rng(1)
    largest = np.abs(random.normal(size=(2_000, 1_000))).max(axis=1) * math.sqrt(math.pi / 2.0)
    assert np.mean(largest < jump_bound(1_000)) == pytest.approx(0.99, abs=0.007)
    assert np.mean(largest < jump_bound(1_000, 0.9)) == pytest.approx(0.9, abs=0.03)


# Chance


def test_words_are_those_of_the_published_generator() -> None:
    # splitmix64 from seed 1234567, as other implementations print it.
    assert words(1234567, 3).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_numbers_are_even_and_know_only_their_seed() -> None:
    found = uniform(1, 100_000)
    assert found.min() >= 0.0
    assert found.max() < 1.0
    assert np.bincount((found * 10).astype(int)).tolist() == pytest.approx([10_000] * 10, abs=400)
    assert np.corrcoef(found[1:], found[:-1])[0, 1] == pytest.approx(0.0, abs=0.02)
    assert uniform(1, 10).tolist() == found[:10].tolist()
    assert uniform(2, 10).tolist() != found[:10].tolist()
    assert uniform(-1, 3).tolist() == uniform(2**64 - 1, 3).tolist()


# Bulk classification


def test_bulk_classification_halves_a_bar_that_rests_and_gives_a_run_to_one_side() -> None:
    assert bulk_bought(100.0, 0.0, 2.0) == 50.0
    assert bulk_bought(100.0, 20.0, 2.0) == pytest.approx(100.0)
    assert bulk_bought(100.0, 1.0, 2.0) + bulk_bought(100.0, -1.0, 2.0) == pytest.approx(100.0)
