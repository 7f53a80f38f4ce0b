"""What prints teach the map about leverage: the direction, the limits, the score; and draws with the right moments."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine import liquidation_weights
from engine.config import MapConfig
from engine.kernel import COMPILED
from engine.liquidation_weights import gamma, normal, uniform
from engine.schema import Contract, Coverage
from tests import naive_liquidations as naive
from tests.liquidation_map import SECOND, Map

#: Positions of 100 quote units, so that the counts below are liquidations.
TWO = MapConfig(leverages=(10, 50), weights=(0.6, 0.4), position=100.0)
DRAWS = 20_000 if COMPILED else 2_000


def fallen(contract: Contract = Contract.LINEAR, open_before: float = 0, asked: MapConfig = TWO) -> Map:
    """A hundred entered at 100, of which what is held at 50 x has just been crossed."""
    found = Map(asked, contract)
    found.open_interest(0, open_before)
    found.trade(SECOND, (100, 1))
    found.open_interest(2 * SECOND, open_before + 100)
    found.trade(3 * SECOND, (97, 1))
    return found


def test_prints_beyond_what_was_expected_raise_the_class_that_explains_them() -> None:
    found = fallen()
    found.liquidation(4 * SECOND, 1, 80, 98)
    found.open_interest(14 * SECOND, 20)
    # Gamma(20 x 0.4 + N, 20 + E) with N = 80 and E = 100 typical positions, at the bar's price of 97.
    unit = 100 / 97
    expected = np.array([0.6, (8 + 80 / unit) / (20 + 100 / unit)])
    assert found.weights[:2] == pytest.approx(expected / expected.sum())


def test_prints_below_what_was_expected_lower_it() -> None:
    found = fallen()
    found.liquidation(4 * SECOND, 1, 10, 98)
    found.open_interest(14 * SECOND, 90)
    assert found.weights[1] < 0.3


def test_prints_that_no_leverage_explains_teach_nothing_of_it() -> None:
    all_of_them, more = fallen(), fallen()
    all_of_them.liquidation(4 * SECOND, 1, 100, 98)
    more.liquidation(4 * SECOND, 1, 10_000, 98)
    for found in (all_of_them, more):
        found.open_interest(14 * SECOND, 20)
    assert more.weights == pytest.approx(all_of_them.weights, rel=1e-12)
    assert more.memory["score"][0] < all_of_them.memory["score"][0]


@pytest.mark.parametrize("coverage", [each for each in Coverage if each != Coverage.ALL])
def test_sampled_prints_never_move_a_class_below_what_was_expected(coverage: Coverage) -> None:
    found = fallen()
    found.liquidation(4 * SECOND, 1, 10, 98, coverage)
    found.open_interest(14 * SECOND, 90)
    assert found.weights[:2] == pytest.approx([0.6, 0.4], rel=1e-12)
    assert found.draw(0).tobytes() == fallen().draw(0).tobytes()
    assert found.memory["lessons"][0] == 1


def test_sampled_prints_may_move_a_class_up() -> None:
    found = fallen()
    found.liquidation(4 * SECOND, 1, 80, 98, Coverage.SAMPLED_LARGEST)
    found.open_interest(14 * SECOND, 20)
    assert found.weights[1] > 0.5


def test_a_feed_that_samples_once_is_never_taken_for_whole() -> None:
    found = fallen()
    found.liquidation(4 * SECOND, 1, 1, 98, Coverage.SAMPLED)
    found.liquidation(5 * SECOND, 1, 1, 98)
    found.open_interest(14 * SECOND, 90)
    assert found.weights[:2] == pytest.approx([0.6, 0.4], rel=1e-12)


def test_a_feed_that_never_printed_teaches_nothing() -> None:
    found = fallen()
    found.open_interest(14 * SECOND, 90)
    assert found.weights[:2] == pytest.approx([0.6, 0.4], rel=1e-12)
    assert found.memory["lessons"][0] == 0
    # And what passed in silence is not held against it once it speaks.
    found.liquidation(15 * SECOND, 1, 1, 98)
    found.open_interest(30 * SECOND, 90)
    assert found.weights[:2] == pytest.approx([0.6, 0.4], rel=1e-12)


def test_the_silence_of_a_whole_feed_is_evidence() -> None:
    found = fallen()
    found.liquidation(SECOND, -1, 1, 98)
    found.open_interest(14 * SECOND, 100)
    assert found.weights[1] < 0.2


def test_a_lesson_waits_for_prints_that_come_late() -> None:
    found = fallen()
    found.open_interest(4 * SECOND, 60)
    assert found.memory["lessons"][0] == 0
    found.liquidation(5 * SECOND, 1, 40, 98)
    found.open_interest(13 * SECOND, 60)
    assert found.memory["lessons"][0] == 1
    assert found.weights[1] == pytest.approx(0.4, abs=0.01)


def test_the_map_answers_only_for_the_share_that_it_covers() -> None:
    whole, quarter = fallen(), fallen(open_before=300)
    whole.liquidation(4 * SECOND, 1, 20, 98)
    quarter.liquidation(4 * SECOND, 1, 80, 98)
    whole.open_interest(14 * SECOND, 80)
    quarter.open_interest(14 * SECOND, 320)
    assert quarter.weights == pytest.approx(whole.weights, rel=1e-9)


def test_an_inverse_contract_teaches_in_its_own_units() -> None:
    found = fallen(Contract.INVERSE, asked=MapConfig(leverages=(10, 50), weights=(0.6, 0.4), position=1.0))
    found.liquidation(4 * SECOND, 1, 80, 98)
    found.open_interest(14 * SECOND, 20)
    expected = np.array([0.6, (8 + 80) / (20 + 100)])
    assert found.weights[:2] == pytest.approx(expected / expected.sum())
    assert found.memory["realised"][0, 0] == pytest.approx(80)
    assert found.memory["predicted"][0, 0] == pytest.approx(40)


def test_the_posterior_finds_the_mixture_behind_whole_prints() -> None:
    asked = MapConfig(leverages=(5, 20, 50), weights=(1 / 3, 1 / 3, 1 / 3), position=100.0)
    truth, falls = (0.2, 0.5, 0.3), (0.70, 0.93, 0.975)
    found, now = Map(asked), 0
    found.open_interest(now, 0)
    for i in range(120 if COMPILED else 60):
        found.trade(now + SECOND, (100, 1))
        found.open_interest(now + 2 * SECOND, 100)
        deepest = i % 3
        found.trade(now + 3 * SECOND, (100 * falls[deepest], 1))
        forced = sum(100 * share for share, fall in zip(truth, falls, strict=True) if fall >= falls[deepest])
        found.liquidation(now + 4 * SECOND, 1, forced, 100 * falls[deepest])
        found.open_interest(now + 20 * SECOND, 0)
        now += 30 * SECOND
    assert found.weights[:3] == pytest.approx(truth, abs=0.03)
    assert found.memory["score"][0] > 0.9


def test_the_score_compares_each_move_with_what_the_map_said() -> None:
    found = fallen()
    found.liquidation(4 * SECOND, 1, 40, 100 * 0.98 / 0.996)
    found.open_interest(14 * SECOND, 60)
    worth = 40 * 100 * 0.98 / 0.996
    assert found.memory["predicted"][0] == pytest.approx([worth, 0])
    assert found.memory["realised"][0] == pytest.approx([worth, 0], rel=1e-3)
    assert found.memory["score"][0] == pytest.approx(1, abs=1e-3)
    # A second move of which the map says nothing: shorts are forced, and none stood there.
    found.trade(40 * SECOND, (97.5, 1))
    found.liquidation(41 * SECOND, -1, 30, 97.5)
    found.open_interest(60 * SECOND, 60)
    assert found.memory["predicted"][0, 1] == 0
    assert 0.5 < found.memory["score"][0] < 0.75


def drawn(found: Map, count: int = DRAWS) -> NDArray[np.float64]:
    return np.array([found.draw(i) for i in range(count)])


def test_without_evidence_draws_are_dirichlet() -> None:
    asked = MapConfig(strength=12.0)
    sample = drawn(Map(asked))[:, :5]
    weights = np.array(asked.weights)
    assert sample.sum(axis=1) == pytest.approx(1)
    expected = (np.diag(weights) - np.outer(weights, weights)) / (asked.strength + 1)
    error = 5 / math.sqrt(DRAWS)
    assert sample.mean(axis=0) == pytest.approx(weights, abs=error * 0.15)
    assert np.cov(sample.T) == pytest.approx(expected, abs=error * expected.max() * 1.5)


def test_evidence_narrows_and_moves_the_draws() -> None:
    found = fallen()
    before = drawn(found, 2_000)
    found.liquidation(4 * SECOND, 1, 80, 98)
    found.open_interest(14 * SECOND, 20)
    after = drawn(found, 2_000)
    assert after[:, 1].mean() == pytest.approx(found.weights[1], abs=0.02)
    assert after[:, 1].mean() > before[:, 1].mean() + 0.1


def test_the_same_index_gives_the_same_draw() -> None:
    found = fallen()
    first = [found.draw(i).tobytes() for i in range(50)]
    assert [found.again().draw(i).tobytes() for i in reversed(range(50))] == first[::-1]
    assert len(set(first)) == 50


def test_a_prior_too_vague_for_draws_gives_its_mean() -> None:
    found = Map(MapConfig(leverages=(10, 50), weights=(0.6, 0.4), strength=1e-9))
    for i in range(20):
        sample = found.draw(i)
        assert np.isfinite(sample).all()
        assert sample.sum() == pytest.approx(1)


@settings(max_examples=200, deadline=None)
@given(index=st.integers(0, 2**31), stream=st.integers(0, 200), at=st.integers(0, 10_000))
def test_the_generator_equals_its_twin(index: int, stream: int, at: int) -> None:
    assert uniform(index, stream, at) == naive.uniform(index, stream, at)


def test_uniforms_are_even_and_apart() -> None:
    table = np.array([[uniform(i, k, n) for n in range(10)] for i in range(DRAWS // 40) for k in range(4)])
    flat = np.sort(table.ravel())
    assert len(set(flat.tolist())) == len(flat)
    assert 0 < flat[0] < flat[-1] < 1
    distance = np.abs(flat - (np.arange(len(flat)) + 0.5) / len(flat)).max()
    # Kolmogorov and Smirnov's bound at one in ten thousand.
    assert distance < 2.23 / math.sqrt(len(flat))
    correlations = np.corrcoef(table.T) - np.eye(10)
    assert np.abs(correlations).max() < 5 / math.sqrt(len(table))
    neighbours = np.corrcoef(table[:-4, 0], table[4:, 0])[0, 1]
    assert abs(neighbours) < 5 / math.sqrt(len(table))


def test_normals_have_the_moments_of_normals() -> None:
    sample = np.array([normal(i, 3, 0) for i in range(DRAWS)])
    error = 5 / math.sqrt(DRAWS)
    moments = [(sample**n).mean() for n in range(1, 5)]
    for found, expected, spread in zip(moments, (0, 1, 0, 3), (1, 2, 15, 96), strict=True):
        assert abs(found - expected) < error * math.sqrt(spread)


@pytest.mark.parametrize("shape", [0.2, 0.7, 1.0, 4.0, 150.0])
def test_gammas_have_the_moments_of_gammas(shape: float) -> None:
    sample = np.array([gamma(shape, i, 5) for i in range(DRAWS)])
    error = 5 / math.sqrt(DRAWS)
    assert (sample >= 0).all()
    assert abs(sample.mean() - shape) < error * math.sqrt(shape)
    assert abs(sample.var() - shape) < error * math.sqrt(2 * shape**2 + 6 * shape)
    third = ((sample - shape) ** 3).mean()
    assert abs(third - 2 * shape) < error * math.sqrt(15 * shape**3 + 130 * shape**2 + 120 * shape)
    if shape == 1.0:
        assert np.median(sample) == pytest.approx(math.log(2), abs=error)


def test_a_class_of_no_weight_is_never_drawn() -> None:
    assert gamma(0.0, 1, 1) == 0


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_kernels_compile_once() -> None:
    found = fallen()
    found.draw(1)
    found.liquidation(4 * SECOND, 1, 80, 98)
    found.open_interest(14 * SECOND, 20)
    found.draw(2)
    for kernel in ("draw", "weights", "learn"):
        # None where its callers came from the cache whole.
        assert len(getattr(liquidation_weights, kernel).signatures) <= 1, kernel
