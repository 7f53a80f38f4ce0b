"""Trades: the design's vectors for spreads, toxicity and branching, identities, and counts against slow twins."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig, FlowConfig
from engine.fields import Why
from engine.instrument import Instrument
from engine.kernel import COMPILED
from engine.schema import Contract
from engine.signals import flow
from engine.trading import SECONDS, branching_of, excess, roll_seconds
from tests.naive_flow import Market, NaiveFlow

VECTORS = Path(__file__).parents[1] / ".." / "shared" / "design" / "test_vectors.json"
START = 1_700_000_000 * 10**9
SECOND = 10**9
MS = 10**6


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    """Numbers that the design fixes."""
    if not VECTORS.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{VECTORS} is absent, and CI must have it")
        pytest.skip(f"{VECTORS} is absent")
    found: dict[str, Any] = json.loads(VECTORS.read_text())
    return found


def instrument(contract: Contract = Contract.LINEAR, decimals: int = 1, contract_size: int = 10**8) -> Instrument:
    return Instrument(
        venue="venue",
        symbol="A",
        asset="A",
        quote="USD",
        contract=contract,
        price_decimals=decimals,
        size_decimals=0,
        tick=1,
        lot=1,
        contract_size=contract_size,
    )


def market(unit: Instrument | None = None, **rules: Any) -> Market:
    """A market whose book has been known for one cell: mid 100.0."""
    small: dict[str, Any] = {"windows": (250, 500), "horizons": (250, 1_000), "refill": 250}
    one = Market(unit or instrument(), EngineConfig(flow=FlowConfig(**(small | rules))))
    one.pass_time(START)
    one.snapshot({999: 10}, {1_001: 10})
    one.pass_time(START + 250 * MS)
    return one


def test_spreads_are_those_of_the_design(vectors: dict[str, Any]) -> None:
    expected = vectors["TV29_spreads"]
    one = market()
    one.trade((round(expected["trade"] * 10), 7, expected["side"]))
    one.delta([(0, 999, 0), (0, 1_000, 10), (1, 1_001, 0), (1, 1_010, 10)])
    one.pass_time(START + 500 * MS)
    assert one.report()[0]["effective_bps"] == [pytest.approx(expected["effective_bps"], rel=1e-12), None]
    one.pass_time(START + 750 * MS)
    found, why = one.report()
    assert found["effective_bps"] == [None, pytest.approx(expected["effective_bps"], rel=1e-12)]
    assert found["horizon_effective_bps"] == [None, None]
    assert why["realised_bps"] == "too_early"
    one.pass_time(START + 1_000 * MS)
    found, _ = one.report()
    for name, field in (("effective", "horizon_effective_bps"), ("realised", "realised_bps"), ("impact", "impact_bps")):
        assert found[field][0] == pytest.approx(expected[f"{name}_bps"], rel=1e-12)


def test_effective_is_realised_and_impact_of_the_same_trades() -> None:
    one = market()
    chance = np.random.default_rng(5)
    for cell in range(2, 40):
        for _ in range(int(chance.integers(0, 4))):
            one.trade((int(chance.integers(985, 1_016)), int(chance.integers(1, 50)), int(chance.choice([-1, 1]))))
        middle = int(chance.integers(990, 1_011))
        one.delta([(side, price, 0) for side in (0, 1) for price in one.levels[side]])
        one.delta([(0, middle - 1, 10), (1, middle + 2, 10)])
        one.pass_time(START + cell * 250 * MS)
        found, _ = one.report()
        for effective, realised, impact in zip(
            found["horizon_effective_bps"], found["realised_bps"], found["impact_bps"], strict=True
        ):
            assert effective is None or math.isclose(effective, realised + impact, rel_tol=1e-12, abs_tol=1e-9)
    assert found["impact_bps"][1] is not None


def test_a_seller_pays_below_the_mid_and_a_trade_at_the_mid_pays_nothing() -> None:
    one = market()
    one.trade((999, 3, -1), (1_001, 5, 1))
    one.pass_time(START + 500 * MS)
    found, _ = one.report()
    assert found["effective_bps"][0] == pytest.approx(20.0)
    assert (found["trades"][0], found["buy_base"][0], found["sell_base"][0]) == (2, 5.0, 3.0)
    one.trade((1_000, 3, -1))
    one.pass_time(START + 750 * MS)
    assert one.report()[0]["effective_bps"][0] == 0.0


def test_trades_without_a_mid_count_but_have_no_spread() -> None:
    one = market()
    one.delta([(1, 1_001, 0)])
    one.trade((1_001, 3, 1))
    one.pass_time(START + 500 * MS)
    found, _ = one.report()
    assert (found["trades"][0], found["buy_base"][0]) == (1, 3.0)
    assert (found["effective_bps"][0], found["variance"][0]) == (None, None)
    row = np.zeros(1, one.layout.dtype)
    flow.report(one.memory, one.settings, one.unit, row)
    assert (row["effective_why"][0, 0], row["variance_why"][0, 0]) == (Why.NO_TRADES, Why.ONE_SIDED)


def test_variance_is_that_of_the_mid_from_cell_to_cell() -> None:
    one = market()
    one.delta([(0, 1_000, 5), (1, 1_001, 0), (1, 1_004, 5)])
    one.pass_time(START + 500 * MS)
    one.delta([(0, 1_000, 0), (1, 1_004, 0), (1, 1_001, 5)])
    one.pass_time(START + 750 * MS)
    up, down = 10_000 * 2 / 1_000, 10_000 * -2 / 1_002
    assert one.report()[0]["variance"] == pytest.approx([down**2, up**2 + down**2])


def test_toxicity_is_that_of_the_design(vectors: dict[str, Any]) -> None:
    buckets = vectors["TV7_vpin"]["buckets"]
    one = market(instrument(decimals=0), bucket=100 * sum(buckets[0]), buckets=len(buckets))
    for bought, sold in buckets[:-1]:
        one.trade((100, bought, 1), (100, sold, -1))
        assert one.report()[1]["toxicity"] == "too_early"
    one.trade((100, buckets[-1][0], 1), (100, buckets[-1][1], -1))
    assert one.report()[0]["toxicity"] == pytest.approx(vectors["TV7_vpin"]["vpin"], rel=1e-12)


def test_a_trade_is_split_over_buckets() -> None:
    one = market(instrument(decimals=0), bucket=1_000, buckets=3)
    # 5 sold and 5 bought of 10, then 10 of the same 25, and 10 more: the rest of 5 is not counted yet.
    one.trade((100, 5, -1), (100, 25, 1))
    assert one.report()[0]["toxicity"] == pytest.approx((0 + 10 + 10) / 30)
    one.trade((100, 10**9, -1))
    assert one.report()[0]["toxicity"] == 1.0


amounts = st.lists(
    st.tuples(st.integers(1, 400), st.integers(1, 5_000), st.sampled_from([1, -1])), min_size=1, max_size=60
)


@settings(max_examples=100 if COMPILED else 25, deadline=None)
@given(
    trades=amounts,
    contract=st.sampled_from([Contract.SPOT, Contract.LINEAR, Contract.INVERSE]),
    decimals=st.integers(0, 6),
    contract_size=st.sampled_from([10**8, 10**5, 10**10]),
    bucket=st.integers(1, 10**6),
    buckets=st.integers(1, 256),
)
def test_toxicity_equals_its_twin(
    trades: list[tuple[int, int, int]], contract: Contract, decimals: int, contract_size: int, bucket: int, buckets: int
) -> None:
    one = market(instrument(contract, decimals, contract_size), bucket=bucket, buckets=buckets)
    total = 0.0
    for price, size, sign in trades:
        one.trade((price, size, sign))
        total = float(sum(worth for _, worth in one.twin.poured))
    if total / bucket > 100_000:
        return  # The twin would fill every one of them.
    expected, found = one.twin.toxicity(), one.report()[0]["toxicity"]
    assert (found is None) == (expected is None)
    assert found is None or math.isclose(found, expected or 0.0, rel_tol=1e-9, abs_tol=1e-9)


def counted(counts: list[int]) -> Market:
    """A market with so many trades in each second after the one in which its book became known."""
    one = market()
    for second, count in enumerate(counts, 1):
        one.pass_time(START + second * SECOND)
        if count:
            one.trade(*[(1_000, 1, 1)] * count)
    one.pass_time(START + (len(counts) + 1) * SECOND)
    return one


def test_branching_is_that_of_the_design(vectors: dict[str, Any]) -> None:
    expected = vectors["TV10_hawkes"]
    assert excess(expected["mean"], expected["var_ddof1"]) == pytest.approx(expected["n_hb"], rel=1e-12)
    assert excess(expected["mean"], expected["mean"]) == 0.0


def test_branching_waits_for_three_hundred_whole_seconds() -> None:
    assert counted([1] * 299).report()[1]["branching"] == "too_early"
    found, _ = counted([1] * 300).report()
    assert (found["branching"], found["branching_raw"], found["branching_surrogate"]) == (0.0, 0.0, 0.0)
    assert counted([0] * 300).report()[1]["branching"] == "no_trades"


def test_a_changing_rate_is_the_surrogates_and_not_branching() -> None:
    chance = np.random.default_rng(11)
    steady = branching_of(counted(chance.poisson(5.0, 300).tolist()).memory)
    swing = 5.0 + 4.5 * np.sin(np.arange(300) / 300 * 2 * np.pi)
    changing = branching_of(counted(chance.poisson(swing).tolist()).memory)
    bursts = branching_of(counted((5 * chance.geometric(0.5, 300) * (chance.random(300) < 0.2)).tolist()).memory)
    assert max(abs(steady[0]), steady[1]) < 0.1
    assert changing[0] > 0.4
    assert abs(changing[0] - changing[1]) < 0.1
    assert bursts[0] - bursts[1] > 0.3


@settings(max_examples=25 if COMPILED else 5, deadline=None)
@given(
    counts=st.lists(st.integers(0, 6), min_size=300, max_size=320),
    burst=st.tuples(st.integers(0, 299), st.integers(0, 60)),
    quiet=st.integers(0, 40),
)
def test_branching_equals_its_twin(counts: list[int], burst: tuple[int, int], quiet: int) -> None:
    counts[burst[0]] += burst[1]
    one = counted(counts)
    now = START + (len(counts) + 1 + quiet) * SECOND
    one.pass_time(now)
    expected = one.twin.branching(now)
    raw, surrogate, why = branching_of(one.memory)
    assert (why > 0) == (expected[0] is None)
    assert (raw, surrogate) == pytest.approx([each or 0.0 for each in expected], rel=1e-9, abs=1e-12)


def test_a_long_silence_empties_the_seconds_in_bounded_work() -> None:
    one = counted([3] * 300)
    roll_seconds(one.memory, START + 10**15)
    assert branching_of(one.memory) == (0.0, 0.0, Why.NO_TRADES)
    assert int(one.memory["seconds_ring"].sum()) == 0
    assert one.memory["seconds_filled"][0] > SECONDS


def test_the_twin_knows_nothing_without_a_book() -> None:
    rules = EngineConfig()
    twin = NaiveFlow(instrument(), rules)
    assert twin.fields(START)["trades"] == [None] * len(rules.flow.windows)
