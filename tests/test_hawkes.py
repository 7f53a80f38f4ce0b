"""Hawkes: the sum over all pairs, simulated truth, and the case in which every estimator is fooled."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.kernel import COMPILED
from engine.statistics.hawkes import (
    Hawkes,
    branching,
    count,
    displace,
    endogeneity,
    excitations,
    fit,
    fit_at,
    log_likelihood,
    rate_at,
    stationary_rate,
)
from tests import naive_statistics as naive

Floats = NDArray[np.float64]
HORIZON = 36_000.0
BETA = 5.0
#: Width within which events are moved: longer than excitation lasts, shorter than the rate of the regimes does.
WIDTH = 60.0
TRUTHS = (0.0, 0.5, 0.8, 0.95)
WINDOWS = (5.0, 20.0, 60.0, 300.0)


@cache
def simulated(n: float) -> Floats:
    """Ten hours at one event a second, of which the share n is endogenous."""
    return naive.clusters(np.random.default_rng(2), 1.0 - n, n, BETA, HORIZON)


@cache
def alternating() -> Floats:
    """Ten hours without any excitation: a rate of 1/s and 5/s, in turns of 300 s."""
    return naive.regimes(np.random.default_rng(2), (1.0, 5.0), 300.0, 120)


@cache
def fitted(n: float) -> Hawkes:
    return fit(simulated(n), HORIZON)


stamps = st.lists(st.floats(0.001, 100.0), min_size=1, max_size=40, unique=True).map(sorted)
rates = st.floats(0.01, 10.0)


@settings(max_examples=100 if COMPILED else 40, deadline=None)
@given(times=stamps, mu=rates, alpha=st.floats(0.0, 10.0), beta=rates)
def test_the_recursion_equals_the_sum_over_all_pairs(times: list[float], mu: float, alpha: float, beta: float) -> None:
    horizon, before = times[-1] + 1.0, np.empty(len(times))
    excitations(np.array(times), beta, before)
    assert (mu + alpha * before).tolist() == pytest.approx([naive.rate(times, t, mu, alpha, beta) for t in times])
    assert rate_at(np.array(times), horizon, mu, alpha, beta) == pytest.approx(
        naive.rate(times, horizon, mu, alpha, beta)
    )
    found = log_likelihood(np.array(times), horizon, mu, alpha, beta)
    assert found == pytest.approx(naive.log_likelihood(times, horizon, mu, alpha, beta), rel=1e-9, abs=1e-9)


def test_without_events_the_rate_is_the_base_rate() -> None:
    none = np.empty(0)
    assert excitations(none, 1.0, none) == 0.0
    assert rate_at(none, 5.0, 0.5, 0.8, 1.0) == 0.5
    assert log_likelihood(none, 5.0, 0.5, 0.8, 1.0) == -2.5


def test_a_process_that_feeds_itself_has_no_stationary_rate() -> None:
    assert branching(2.0, 4.0) == 0.5
    assert stationary_rate(0.5, 2.0, 4.0) == 1.0
    assert stationary_rate(0.5, 4.0, 4.0) == math.inf


@pytest.mark.parametrize("n", TRUTHS)
def test_counts_recover_the_truth(n: float) -> None:
    # 0.00, 0.48, 0.78 and 0.95 by the design's own draw; 600 windows leave a standard error of 0.03 (1 - n) or less.
    found = endogeneity(count(simulated(n), HORIZON, 60.0))
    assert found == pytest.approx({0.0: 0.0, 0.5: 0.48, 0.8: 0.78, 0.95: 0.95}[n], abs=0.04)


@pytest.mark.parametrize("n", TRUTHS[1:])
def test_likelihood_recovers_the_truth(n: float) -> None:
    found = fitted(n)
    assert found.branching == pytest.approx({0.5: 0.51, 0.8: 0.78, 0.95: 0.95}[n], abs=0.03)
    assert found.beta == pytest.approx(BETA, rel=0.05)
    assert found.mu == pytest.approx(1.0 - n, rel=0.08)


def test_without_excitation_likelihood_finds_none_that_counts() -> None:
    # Where n = 0, beta means nothing; the design's fit gave n = 0.17 at a beta of 0.008. Twice the gain in ln L over
    # Poisson says how little that is: chance alone gives more than 9 in one of a hundred.
    found = fitted(0.0)
    assert found.branching < 0.2
    assert 0.0 <= 2.0 * (found.likelihood - found.poisson) < 9.0
    assert 2.0 * (fitted(0.5).likelihood - fitted(0.5).poisson) > 10_000.0


def test_a_fit_is_likelier_than_its_neighbours_and_than_the_truth() -> None:
    times, found = simulated(0.5), fitted(0.5)
    best = log_likelihood(times, HORIZON, found.mu, found.alpha, found.beta)
    assert best == pytest.approx(found.likelihood, rel=1e-9)
    assert best >= log_likelihood(times, HORIZON, 0.5, 0.5 * BETA, BETA)
    for mu, alpha, beta in ((1.01, 1, 1), (0.99, 1, 1), (1, 1.01, 1), (1, 0.99, 1), (1, 1, 1.01), (1, 1, 0.99)):
        assert best > log_likelihood(times, HORIZON, mu * found.mu, alpha * found.alpha, beta * found.beta)


@pytest.mark.parametrize(("width", "expected"), list(zip(WINDOWS, (0.64, 0.81, 0.89, 0.95), strict=True)))
def test_counts_take_changing_rates_for_excitation(width: float, expected: float) -> None:
    found = endogeneity(count(alternating(), HORIZON, width))
    assert found == pytest.approx(expected, abs=0.015)
    # What the variance of the rate alone must give, mean + (2 width)^2 in windows that no change falls into.
    assert found == pytest.approx(1.0 - math.sqrt(3.0 * width / (3.0 * width + 4.0 * width**2)), abs=0.015)


def test_likelihood_takes_changing_rates_for_excitation() -> None:
    assert fit(alternating(), HORIZON).branching == pytest.approx(0.94, abs=0.02)


@pytest.mark.parametrize("width", WINDOWS)
def test_changing_rates_are_the_surrogates_too(width: float) -> None:
    times = alternating()
    moved = displace(times, HORIZON, WIDTH, 1)
    found = endogeneity(count(times, HORIZON, width)) - endogeneity(count(moved, HORIZON, width))
    assert found == pytest.approx(0.0, abs=0.04)


def test_likelihood_less_that_of_the_surrogate_is_nothing_for_changing_rates_and_much_for_excitation() -> None:
    def beyond(times: Floats) -> float:
        found = fit(times, HORIZON)
        return found.branching - fit_at(displace(times, HORIZON, WIDTH, 1), HORIZON, found.beta).branching

    assert beyond(alternating()) == pytest.approx(0.0, abs=0.02)
    assert beyond(simulated(0.0)) == pytest.approx(0.0, abs=0.05)
    assert beyond(simulated(0.5)) > 0.45
    assert beyond(simulated(0.8)) > 0.6
    # Close to 1, families outlast the width: part of what they are goes into the surrogate.
    assert beyond(simulated(0.95)) > 0.2


def test_counts_less_those_of_the_surrogate_tell_excitation_from_changing_rates() -> None:
    def beyond(times: Floats) -> float:
        moved = displace(times, HORIZON, WIDTH, 1)
        return endogeneity(count(times, HORIZON, 5.0)) - endogeneity(count(moved, HORIZON, 5.0))

    assert beyond(simulated(0.0)) == pytest.approx(0.0, abs=0.03)
    assert beyond(simulated(0.5)) > 0.3
    assert beyond(simulated(0.8)) > 0.3
    assert beyond(alternating()) < 0.04


@settings(max_examples=50, deadline=None)
@given(times=stamps, width=st.floats(0.0, 300.0), seed=st.integers(0, 2**64 - 1))
def test_the_surrogate_moves_each_event_no_farther_than_half_the_width(
    times: list[float], width: float, seed: int
) -> None:
    width = min(width, times[-1])
    moved = displace(np.array(times), times[-1], width, seed)
    assert len(moved) == len(times)
    assert moved.min() >= 0.0
    assert moved.max() <= times[-1]
    # Sorting never makes the largest distance larger.
    assert np.abs(moved - np.array(times)).max() <= 0.5 * width + 1e-9
    assert moved.tobytes() == displace(np.array(times), times[-1], width, seed).tobytes()


def test_windows_that_are_not_whole_are_not_counted() -> None:
    assert count(np.array([0.0, 0.5, 1.0, 3.5, 4.2]), 4.5, 1.0).tolist() == [2, 1, 0, 1]
    assert count(np.empty(0), 2.0, 1.0).tolist() == [0, 0]


def test_even_counts_are_not_endogenous() -> None:
    assert endogeneity(np.array([3, 3, 3, 3])) == 0.0
    assert endogeneity(np.array([0, 0])) == 0.0


def test_two_events_are_enough_to_fit() -> None:
    found = fit(np.array([1.0, 2.0]), 10.0)
    assert found.likelihood >= found.poisson - 1e-12
    assert math.isfinite(found.branching)
