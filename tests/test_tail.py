"""The tail of net selling: against its slow twin, known tails, and what it may not count."""

import math
import random
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cascade import Floats
from engine.errors import BadConfig
from engine.fields import Why
from engine.kernel import COMPILED
from engine.money import unit_of
from engine.schema import TRADE, Contract, Rows
from engine.tail import (
    FIT,
    POOLS,
    RING,
    close_tail,
    exceedance,
    fit_sample,
    fit_tail,
    memory_of,
    restart_tail,
    settings_of,
    take_trades,
)
from tests import naive_cascade as naive
from tests.stream import instrument

EXAMPLES = 200 if COMPILED else 30
SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
#: A line of every grid, an hour's and a week's too.
START = 168 * HOUR * 2_800
UNIT = unit_of(instrument())


def paid(*sizes: int) -> Rows:
    """Trades at 100.00, sizes in hundredths: above 0 sold at market, below 0 bought."""
    rows = np.zeros(len(sizes), TRADE)
    rows["price"], rows["size"] = 10_000, np.abs(sizes)
    rows["side"] = -np.sign(sizes)
    return rows


class Stream:
    """One stream's memory, a second a horizon."""

    def __init__(self, samples: int = 200) -> None:
        self.memory, self.settings = memory_of(), settings_of(1, 0.95, samples)

    def trade(self, at: float, *sizes: int) -> None:
        take_trades(self.memory, self.settings, paid(*sizes), UNIT, START + round(at * SECOND))

    def close(self, at: float, mid: float) -> None:
        close_tail(self.memory, self.settings, START + round(at * SECOND), mid)

    def kept(self) -> list[tuple[float, float]]:
        own = self.memory[0]
        count = min(int(own["count"]), RING)
        return list(zip(*own["worsts"][:, :count].tolist(), strict=True))

    def fit(self, side: int) -> tuple[Any, Rows, Floats]:
        fit, sample = np.zeros(1, FIT), np.zeros(RING)
        fit_tail(self.memory, self.settings, side, sample, fit)
        return fit[0], fit, sample


def fitted(values: Any, threshold: float = 0.95) -> tuple[Any, Rows, Floats]:
    sample = np.sort(np.array(values, np.float64))
    fit = np.zeros(1, FIT)
    fit["count"] = len(sample)
    fit_sample(sample, threshold, fit)
    return fit[0], fit, sample


def test_the_greatest_net_sale_counts_not_the_last_nor_the_sum() -> None:
    stream = Stream()
    for at in range(4):
        stream.close(at, 100.0)
    stream.trade(3.1, 500, -200)
    stream.trade(3.5, 400, -900)
    stream.close(4, 100.0)
    # 5, 3, 7, -2: sales ran to 7 above purchases, purchases to 2 above sales.
    assert stream.kept() == [(0.0, 0.0), (7.0, 2.0)]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(-500, 500).filter(bool)), max_size=40))
def test_observations_are_those_of_the_twin(trades: list[tuple[int, int]]) -> None:
    trades.sort(key=lambda each: each[0])
    stream = Stream()
    for tenth in range(101):
        stream.close(tenth / 10, 100.0)
        stream.trade(tenth / 10, *(size for at, size in trades if at == tenth))
    # The first second was not seen to begin, and of the next the variance before is not known.
    wanted = naive.observations([(at / 10, size / 100) for at, size in trades], 2, 10)
    np.testing.assert_allclose(np.reshape(stream.kept(), (-1, 2)), wanted, atol=1e-9)


def test_an_interval_in_which_the_stream_was_lost_is_no_observation() -> None:
    stream = Stream()
    for at in range(6):
        stream.close(at, 100.0)
    assert stream.memory["count"][0] == 3
    stream.trade(5.5, 10_000)
    restart_tail(stream.memory)
    for at in (6, 7, 8):
        stream.close(at, 100.0)
    assert stream.memory["count"][0] == 3
    stream.close(9, 100.0)
    assert stream.kept() == [(0.0, 0.0)] * 4


def test_time_that_no_row_saw_pass_is_no_observation() -> None:
    stream = Stream()
    for at in range(6):
        stream.close(at, 100.0)
    before = int(stream.memory["count"][0])
    stream.close(60, 100.0)
    stream.close(61, 100.0)
    stream.close(62, 100.0)
    assert stream.memory["count"][0] == before


def test_a_quanto_contract_and_trades_without_a_side_say_nothing() -> None:
    memory, fixed = memory_of(), settings_of(1)
    quanto = unit_of(replace(instrument(), contract=Contract.QUANTO))
    take_trades(memory, fixed, paid(500), quanto, START)
    nobody = paid(500)
    nobody["side"] = 0
    take_trades(memory, fixed, nobody, UNIT, START)
    assert memory["net"][0] == 0.0


def test_the_ring_keeps_the_newest() -> None:
    stream = Stream()
    for at in range(RING + 12):
        stream.close(at, 100.0)
        stream.trade(at, at + 1)
    assert stream.memory["count"][0] == RING + 9
    # Observed from second 2 on, so that the first 9 are gone.
    assert sorted(sales for sales, _ in stream.kept()) == [(at + 1) / 100 for at in range(11, RING + 11)]


def test_too_few_observations_have_no_tail() -> None:
    stream = Stream(samples=20)
    for at in range(22):
        found, _, _ = stream.fit(0)
        assert (found["why"], found["pool"]) == (int(Why.TOO_FEW_SAMPLES), 0)
        stream.close(at, 100.0)
        stream.trade(at + 0.5, 10 * at + 1)
    stream.close(22, 100.0)
    found, _, _ = stream.fit(0)
    # Twenty are enough to begin, but one excess above their 95 % quantile is no tail.
    assert (found["why"], found["count"], found["above"]) == (int(Why.TOO_FEW_SAMPLES), 20, 1)


@pytest.mark.parametrize(("samples", "pool"), [(20, 3), (100, 2), (400, 1)])
def test_the_tail_is_of_the_narrowest_kind_that_has_enough(samples: int, pool: int) -> None:
    seed = random.Random(3)
    stream = Stream(samples)
    for hour in range(4):
        for second in range(hour * 3_600 + 3_450, hour * 3_600 + 3_590):
            stream.close(second, 100.0 + (0.001, 0.1, 1.0)[second // 20 % 3] * seed.random())
            stream.trade(second + 0.5, seed.randrange(1, 100))
    found, _, sample = stream.fit(0)
    own = stream.memory[0]
    before, hour = float(own["before"]), int(own["horizon"]) // 3_600 % 168
    kept = sorted(own["befores"][: own["count"]].tolist())
    edges = [kept[len(kept) // 3], kept[2 * len(kept) // 3]]
    wanted = sorted(
        sales
        for (sales, _), variance, at in zip(stream.kept(), own["befores"].tolist(), own["hours"].tolist(), strict=False)
        if pool == 1
        or (
            sum(edge <= variance for edge in edges) == sum(edge <= before for edge in edges)
            and (pool == 2 or at == hour)
        )
    )
    assert found["pool"] == pool
    assert sample[: found["count"]].tolist() == wanted
    assert samples <= len(wanted)


def test_with_less_than_enough_of_a_kind_all_of_them_count() -> None:
    seed = random.Random(4)
    stream = Stream(samples=250)
    for at in range(303):
        stream.close(at, 100.0 + seed.random())
        stream.trade(at + 0.5, seed.randrange(1, 1_000))
    found, _, _ = stream.fit(0)
    assert (POOLS[found["pool"]], found["count"], found["why"]) == ("all", 300, 0)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 10**9), st.integers(200, 400), st.sampled_from([-0.4, -0.1, 0.0, 0.2, 0.6]))
def test_the_tail_is_that_of_the_twin(number: int, count: int, shape: float) -> None:
    values = drawn(number, count, shape, 2.0)
    found, fit, sample = fitted(values)
    assert found["why"] == 0
    for q in (*np.quantile(values, [0.1, 0.9, 0.96, 0.99, 0.995]).tolist(), 1.5 * values.max(), 20.0 * values.max()):
        wanted = naive.tail(values.tolist(), 0.95, q)
        assert exceedance(fit, sample, q) == pytest.approx(wanted, rel=1e-6, abs=1e-12)


def drawn(number: int, count: int, shape: float, scale: float) -> Floats:
    """A generalised Pareto sample, by inversion."""
    uniform = np.random.default_rng(number).random(count)
    return np.asarray(scale * (-np.log(uniform) if shape == 0 else np.expm1(-shape * np.log(uniform)) / shape))


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3])
def test_moments_recover_a_known_tail_on_its_own_quantiles(shape: float) -> None:
    count = 100_000
    grid = (np.arange(count) + 0.5) / count
    values = 3.0 * (-np.log(grid) if shape == 0 else np.expm1(-shape * np.log(grid)) / shape)
    found, fit, sample = fitted(values, 0.5)
    # Above its own u a generalised Pareto is one again, of the same shape and of scale + shape x u.
    assert found["shape"] == pytest.approx(shape, abs=0.01)
    assert found["scale"] == pytest.approx(3.0 + shape * found["threshold"], rel=0.01)
    for rank in (0.1, 0.01, 0.001):
        q = float(np.quantile(values, 1.0 - rank))
        assert exceedance(fit, sample, q) == pytest.approx(rank, rel=0.03)


@pytest.mark.parametrize("shape", [-0.2, 0.0, 0.25])
def test_probabilities_beyond_the_sample_are_right_on_average(shape: float) -> None:
    once = 0.001
    q = 2.0 * (-math.log(once) if shape == 0 else math.expm1(-shape * math.log(once)) / shape)
    told = []
    for number in range(300 if COMPILED else 60):
        _, fit, sample = fitted(drawn(number, 1_000, shape, 2.0))
        told.append(exceedance(fit, sample, q))
    # A thousand observations see such a one once; the standard error of the mean is about 4 %.
    assert np.mean(told) == pytest.approx(once, rel=0.25 if COMPILED else 0.5)


def test_the_probability_never_rises_with_the_amount() -> None:
    for number in range(50):
        _, fit, sample = fitted(drawn(number, 300, (-0.6, 0.0, 0.7)[number % 3], 1.0))
        told = [exceedance(fit, sample, q) for q in np.linspace(0.0, 2.0 * float(sample[-1]), 400).tolist()]
        assert all(before >= after for before, after in pairwise(told))
        assert 0.0 <= told[-1] <= told[0] <= 1.0


def test_where_all_excesses_are_alike_the_sample_speaks_for_itself() -> None:
    found, fit, sample = fitted([1.0] * 190 + [5.0] * 10)
    assert (found["scale"], found["above"]) == (0.0, 10)
    assert [exceedance(fit, sample, q) for q in (0.5, 1.0, 4.9, 5.0, 1e300)] == [1.0, 0.05, 0.05, 0.0, 0.0]


def test_no_tail_ends_before_what_was_seen() -> None:
    for number in range(100):
        _, fit, sample = fitted(drawn(number, 200, -0.9, 1.0))
        assert exceedance(fit, sample, float(sample[-2])) >= 0.0
        assert exceedance(fit, sample, float(np.nextafter(sample[-1], 0.0))) > 0.0


@pytest.mark.parametrize(
    ("asked", "named"), [((0, 0.95, 200), "horizon"), ((60, 0.4, 200), "threshold"), ((60, 0.95, 3_000), "samples")]
)
def test_a_tail_that_cannot_be_is_refused(asked: tuple[int, float, int], named: str) -> None:
    with pytest.raises(BadConfig, match=named):
        settings_of(*asked)


def test_a_memory_goes_on_from_its_bytes() -> None:
    stream, other = Stream(20), Stream(20)
    for at in range(40):
        stream.close(at, 100.0 + at % 3)
        stream.trade(at + 0.5, 7 * at + 1)
    other.memory = np.frombuffer(stream.memory.tobytes(), stream.memory.dtype).copy()
    for at in range(40, 60):
        for each in (stream, other):
            each.close(at, 100.0 + at % 3)
            each.trade(at + 0.5, 7 * at + 1)
    assert stream.memory.tobytes() == other.memory.tobytes()
    assert stream.memory.nbytes < 65_536
