"""Scores, fits, alarms and resampling: definitions spelt out row by row, and what no honest number may do."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import BadConfig
from engine.probability import MOST_KNOTS, calibrate, model_of
from engine.statistics.alarms import DAY, SECOND, merge, score, score_at
from engine.statistics.evaluation import (
    average_precision,
    brier,
    brier_skill,
    calibration_error,
    even_edges,
    reliability,
    roc_auc,
    share_edges,
)
from engine.statistics.fitting import fit_model, isotonic, logistic, sigmoid
from engine.statistics.resampling import blocks, bootstrap, interval, walk_forward
from tests import naive_statistics as naive

#: Few distinct scores, so that equals are common.
rows = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])), min_size=2, max_size=40)


def columns(pairs: list[tuple[int, float]]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return np.array([y for y, _ in pairs], np.int64), np.array([p for _, p in pairs])


# Scores


@settings(max_examples=200, deadline=None)
@given(pairs=rows)
def test_ranking_equals_every_pair_and_every_threshold(pairs: list[tuple[int, float]]) -> None:
    y, p = columns(pairs)
    if y.sum() > 0:
        assert average_precision(y, p) == pytest.approx(float(naive.precision(y.tolist(), p.tolist())))
    if 0 < y.sum() < len(y):
        assert roc_auc(y, p) == pytest.approx(float(naive.auc(y.tolist(), p.tolist())))
        assert roc_auc(y, p) == pytest.approx(roc_auc(y, np.exp(p)))
        assert roc_auc(y, p) + roc_auc(y, -p) == pytest.approx(1.0)


@settings(max_examples=50, deadline=None)
@given(pairs=rows, seed=st.integers(0, 99))
def test_no_score_depends_on_the_order_of_rows(pairs: list[tuple[int, float]], seed: int) -> None:
    y, p = columns(pairs)
    assume(0 < y.sum() < len(y))
    at = np.random.default_rng(seed).permutation(len(y))
    for measure in (roc_auc, average_precision, brier):
        assert measure(y, p) == pytest.approx(measure(y[at], p[at]))


def test_labels_all_alike_cannot_be_ranked() -> None:
    with pytest.raises(ValueError, match="0 ones and 2 zeros"):
        roc_auc(np.zeros(2, np.int64), np.zeros(2))
    with pytest.raises(ValueError, match="0 ones"):
        average_precision(np.zeros(2, np.int64), np.zeros(2))
    with pytest.raises(ValueError, match="2 ones and 0 zeros"):
        brier_skill(np.ones(2, np.int64), np.zeros(2))


def test_skill_is_measured_against_what_is_given() -> None:
    y, p = np.array([0, 1, 0, 1]), np.array([0.0, 1.0, 0.5, 0.5])
    assert brier(y, p) == 0.125
    assert brier_skill(y, p) == 0.5
    assert brier_skill(y, p, np.array([0.25, 0.75, 0.25, 0.75])) == pytest.approx(-1.0)
    assert brier_skill(y, y.astype(float)) == 1.0


@settings(max_examples=100, deadline=None)
@given(pairs=rows, bins=st.integers(1, 12))
def test_reliability_equals_its_bins(pairs: list[tuple[int, float]], bins: int) -> None:
    y, p = columns(pairs)
    bounds = [-math.inf, *even_edges(bins).tolist(), math.inf]
    held = [[(yes, said) for yes, said in pairs if low <= said < high] for low, high in pairwise(bounds)]
    held = [each for each in held if each]
    said, seen, counts = reliability(y, p, even_edges(bins))
    assert counts.tolist() == [len(each) for each in held]
    assert said.tolist() == pytest.approx([sum(p for _, p in each) / len(each) for each in held])
    assert seen.tolist() == pytest.approx([sum(y for y, _ in each) / len(each) for each in held])
    error = sum(abs(sum(p - y for y, p in each)) for each in held) / len(pairs)
    assert calibration_error(y, p, even_edges(bins)) == pytest.approx(error)


def test_bins_of_equal_counts_tell_rare_probabilities_apart() -> None:
    p = np.arange(1, 1001) / 1e6
    _, _, counts = reliability(np.zeros(1000, np.int64), p, share_edges(p, 10))
    assert counts.tolist() == [100] * 10
    _, _, counts = reliability(np.zeros(1000, np.int64), p, even_edges(10))
    assert counts.tolist() == [1000]
    assert share_edges(np.zeros(5), 4).tolist() == [0.0]


def test_probabilities_that_keep_their_word_have_no_calibration_error() -> None:
    random = np.random.default_rng(1)
    p = random.random(200_000)
    y = (random.random(len(p)) < p).astype(np.int64)
    assert calibration_error(y, p, even_edges(10)) < 0.005
    assert calibration_error(y, p**2, even_edges(10)) > 0.1


# Fits


def noisy(seed: int, count: int, inputs: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    found = random.normal(5.0, 3.0, (count, inputs))
    chance = sigmoid((found - 5.0) @ np.linspace(-0.5, 0.5, inputs) - 1.0)
    return found, (random.random(count) < chance).astype(np.int64)


@pytest.mark.parametrize("ridge", [1e-6, 1.0, 30.0])
def test_the_logistic_equals_small_steps_down_the_gradient(ridge: float) -> None:
    inputs, y = noisy(1, 300, 3)
    weights, intercept = logistic(inputs, y, ridge)
    expected, at = naive.minimise(inputs, y, ridge)
    assert weights.tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert intercept == pytest.approx(at, rel=1e-6)


def test_one_yes_or_no_has_the_log_odds_ratio_as_its_weight() -> None:
    x = np.repeat([0.0, 0.0, 1.0, 1.0], [30, 10, 15, 45])
    y = np.repeat([0, 1, 0, 1], [30, 10, 15, 45])
    weights, intercept = logistic(x[:, None], y, 1e-12)
    assert intercept == pytest.approx(math.log(10 / 30), rel=1e-9)
    assert weights[0] == pytest.approx(math.log(45 / 15) - math.log(10 / 30), rel=1e-9)


def test_the_ridge_does_not_depend_on_units_and_shrinks() -> None:
    inputs, y = noisy(2, 300, 2)
    weights, intercept = logistic(inputs, y, 5.0)
    scaled, shifted = logistic(inputs * [1000.0, 1.0] + [0.0, 70.0], y, 5.0)
    assert (scaled * [1000.0, 1.0]).tolist() == pytest.approx(weights.tolist(), rel=1e-9)
    assert shifted == pytest.approx(intercept - 70.0 * weights[1], rel=1e-9)
    assert np.abs(logistic(inputs, y, 500.0)[0]).sum() < np.abs(weights).sum()


def test_labels_that_a_plane_parts_still_have_a_fit() -> None:
    weights, intercept = logistic(np.array([[1.0], [2.0], [1e6], [2e6]]), np.array([0, 0, 1, 1]), 0.01)
    assert np.isfinite(weights).all()
    assert sigmoid(np.array([[1.0], [2e6]]) @ weights + intercept).round().tolist() == [0.0, 1.0]


def test_an_input_that_never_varies_weighs_nothing() -> None:
    inputs, y = noisy(3, 100, 2)
    inputs[:, 0] = 7.0
    weights, _ = logistic(inputs, y, 1.0)
    assert weights[0] == 0.0
    assert weights[1] != 0.0
    with pytest.raises(ValueError, match="all 100 labels are 0"):
        logistic(inputs, np.zeros(100, np.int64), 1.0)


def stepped(knots: NDArray[np.float64], found: NDArray[np.float64], p: float) -> float:
    return float(found[max(int(np.searchsorted(knots, p, side="right")) - 1, 0)])


@settings(max_examples=200, deadline=None)
@given(pairs=rows)
def test_pooled_neighbours_equal_the_formula_over_all_intervals(pairs: list[tuple[int, float]]) -> None:
    y, p = columns(pairs)
    knots, found = isotonic(p, y)
    expected = naive.monotone(p.tolist(), y.tolist())
    for each, value in expected.items():
        assert stepped(knots, found, each) == pytest.approx(float(value))
    assert np.all(np.diff(knots) > 0.0)
    assert np.all(np.diff(found) > 0.0)
    # What is pooled keeps its mean, so the whole does.
    assert np.mean([stepped(knots, found, each) for each in p]) == pytest.approx(np.mean(y))


def test_a_model_is_fitted_on_one_fold_and_calibrated_on_the_next() -> None:
    inputs, y = noisy(4, 6_000, 2)
    fold = slice(0, 2_000), slice(2_000, 4_000), slice(4_000, None)
    model = fit_model(
        ("ratio", "spread"), (inputs[fold[0]], y[fold[0]]), (inputs[fold[1]], y[fold[1]]), horizon=30, events=60
    )
    assert (model.inputs, model.horizon, model.events) == (("ratio", "spread"), 30, 60)
    assert model.weights == pytest.approx((-0.5, 0.5), abs=0.06)
    assert model.base_rate == pytest.approx(float(np.mean(y[:4_000])))
    raw = sigmoid(inputs[fold[2]] @ np.array(model.weights) + model.intercept)
    p = np.array([calibrate(model_of(model), float(each)) for each in raw])
    assert calibration_error(y[fold[2]], p, even_edges(10)) < 0.05
    assert roc_auc(y[fold[2]], p) > 0.83
    with pytest.raises(BadConfig, match="1 inputs and 2 weights"):
        fit_model(("ratio",), (inputs, y), (inputs, y), horizon=30, events=60)


def test_a_fit_of_many_steps_keeps_to_as_many_as_a_model_holds() -> None:
    random = np.random.default_rng(1)
    p = np.sort(random.random(400_000)) ** 3
    y = (random.random(len(p)) < p).astype(np.int64)
    whole, values = isotonic(p, y, len(p))
    knots, few = isotonic(p, y)
    assert len(whole) > MOST_KNOTS == len(knots)
    assert set(knots.tolist()) <= set(whole.tolist())
    assert np.all(np.diff(few) > 0.0)
    # Pooling keeps the mean, and costs next to nothing.
    full, thin = (v[np.searchsorted(k, p, side="right") - 1] for k, v in ((whole, values), (knots, few)))
    assert np.mean(thin) == pytest.approx(np.mean(y))
    assert brier(y, thin) - brier(y, full) < 1e-4
    assert isotonic(p, y, 1)[1].tolist() == [pytest.approx(np.mean(y))]


# Alarms


def seconds(*stamps: float) -> NDArray[np.int64]:
    return np.array([int(stamp * SECOND) for stamp in stamps], np.int64)


def test_alarms_less_than_a_minute_apart_are_one() -> None:
    assert merge(seconds(0, 59, 118, 178, 300)).tolist() == seconds(0, 178, 300).tolist()
    assert merge(seconds()).tolist() == []


def test_leads_are_of_the_first_alarm_and_late_ones_are_negative() -> None:
    found = score(seconds(100, 110, 400, 1_050, 5_000), seconds(120, 450, 1_000, 9_000), DAY, 60 * SECOND, 100 * SECOND)
    assert (found.events, found.episodes, found.false) == (4, 4, 1)
    assert found.leads == tuple(seconds(20, 50, -50).tolist())
    assert (found.recall, found.false_per_day, found.days) == (0.75, 1.0, 1.0)
    assert (found.lead(), found.lead(0.1)) == (20 * SECOND, -50 * SECOND)


def test_a_bell_that_never_stops_has_rung_once() -> None:
    found = score(seconds(*range(0, 7_200, 10)), seconds(3_600), 2 * 3_600 * SECOND, 300 * SECOND)
    assert (found.episodes, found.false, found.recall) == (1, 1, 0.0)
    assert found.false_per_day == 12.0
    assert found.lead() is None


def test_an_alarm_at_the_bound_catches() -> None:
    for alarm, lead in ((940, 60), (1_000, 0), (1_030, -30)):
        found = score(seconds(alarm), seconds(1_000), DAY, 60 * SECOND, 30 * SECOND)
        assert (found.leads, found.false) == (tuple(seconds(lead).tolist()), 0)
    for missed in (939.999, 1_030.001):
        assert score(seconds(missed), seconds(1_000), DAY, 60 * SECOND, 30 * SECOND).false == 1


def test_without_events_nothing_was_missed() -> None:
    found = score(seconds(1), seconds(), DAY, SECOND)
    assert (found.recall, found.false) == (1.0, 1)


def test_a_threshold_keeps_to_its_alarms_a_day() -> None:
    times = seconds(*range(0, 86_400, 100))
    signal = np.zeros(len(times))
    signal[[100, 300, 500]] = (3.0, 2.0, 1.0)
    events = times[[300, 500]] + 10 * SECOND
    bar, found = score_at(times, signal, events, DAY, 60 * SECOND, 2.0)
    assert (bar, found.episodes, found.recall, found.false) == (2.0, 2, 0.5, 1)
    bar, found = score_at(times, signal, events, DAY, 60 * SECOND, 5.0)
    assert (bar, found.recall) == (1.0, 1.0)
    bar, found = score_at(times, signal, events, DAY, 60 * SECOND, 0.5)
    assert (bar, found.episodes, found.recall) == (math.inf, 0, 0.0)
    # Half a day at four a day may ring twice.
    assert score_at(times, signal, events, DAY // 2, 60 * SECOND, 4.0)[0] == 2.0


# Resampling


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**64 - 1), count=st.integers(1, 200), block=st.floats(1.0, 50.0))
def test_blocks_follow_on_and_repeat_with_their_seed(seed: int, count: int, block: float) -> None:
    found = blocks(seed, count, block)
    assert len(found) == count
    assert found.min() >= 0
    assert found.max() < count
    assert found.tolist() == blocks(seed, count, block).tolist()


def test_one_block_is_the_series_from_any_row_on() -> None:
    firsts = set()
    for seed in range(20):
        found = blocks(seed, 50, 1e12)
        assert found.tolist() == [(int(found[0]) + i) % 50 for i in range(50)]
        firsts.add(int(found[0]))
    assert len(firsts) > 10


@pytest.mark.parametrize("block", [1.0, 10.0, 100.0])
def test_blocks_are_as_long_as_asked_and_visit_every_row_alike(block: float) -> None:
    count = 100_000
    found = blocks(1, count, block)
    breaks = 1 + np.sum((found[1:] - found[:-1]) % count != 1)
    assert count / breaks == pytest.approx(block, rel=0.1)
    assert np.bincount(found * 10 // count).tolist() == pytest.approx([count / 10] * 10, rel=0.05 * math.sqrt(block))


def test_the_bootstrap_of_a_mean_has_its_standard_error() -> None:
    random = np.random.default_rng(1)
    series = random.normal(size=2_000)
    found = bootstrap(lambda at: float(np.mean(series[at])), 2_000, 5.0, 400, 1)
    assert np.std(found) == pytest.approx(1.0 / math.sqrt(2_000), rel=0.15)
    low, high = interval(found)
    assert low < np.mean(series) < high
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(2_000), rel=0.15)


def test_rows_that_follow_one_another_are_less_certain_than_they_are_many() -> None:
    random = np.random.default_rng(1)
    noise = random.normal(size=20_000)
    series = np.convolve(noise, np.ones(50) / math.sqrt(50), "valid")
    rowwise = np.std(bootstrap(lambda at: float(np.mean(series[at])), len(series), 1.0, 200, 1))
    blockwise = np.std(bootstrap(lambda at: float(np.mean(series[at])), len(series), 500.0, 200, 1))
    assert blockwise > 5.0 * rowwise
    assert blockwise == pytest.approx(math.sqrt(50 / 20_000), rel=0.25)


def test_draws_without_an_event_are_left_out() -> None:
    y, p = np.zeros(30, np.int64), np.linspace(0.0, 1.0, 30)
    y[17] = 1
    found = bootstrap(lambda at: roc_auc(y[at], p[at]), 30, 3.0, 200, 1)
    assert 50 < len(found) < 200
    assert np.all(np.diff(found) >= 0.0)


def test_no_fold_is_fitted_on_what_its_labels_could_have_seen() -> None:
    times = np.arange(0, 5 * DAY, 600 * SECOND)
    folds = walk_forward(times, np.arange(6) * DAY, 300 * SECOND, 3_600 * SECOND)
    # The first day has nothing before it.
    assert [int(times[test[0]]) // DAY for _, test in folds] == [1, 2, 3, 4]
    for train, test in folds:
        assert times[train[-1]] + 3_900 * SECOND <= times[test[0]] // DAY * DAY < times[train[-1] + 1] + 3_900 * SECOND
        assert len(test) == 144
        assert train[0] == 0


def test_periods_without_rows_are_no_folds() -> None:
    folds = walk_forward(seconds(0, 10, 100), seconds(5, 20, 50, 200), 5 * SECOND, 0)
    assert [(train.tolist(), test.tolist()) for train, test in folds] == [([0], [1]), ([0, 1], [2])]
