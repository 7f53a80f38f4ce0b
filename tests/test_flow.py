"""The flow signal whole: kernels and their twin on random streams, restarts, long silences, its state as bytes."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig, FlowConfig
from engine.errors import BadConfig
from engine.inputs import INPUTS, NAMES
from engine.instrument import Instrument
from engine.kernel import COMPILED
from engine.schema import Contract
from engine.signals import flow
from tests.naive_flow import Market, finite

START = 1_700_000_000 * 10**9
MS = 10**6
TOLD = ("refill", "withdrawal", "imbalance", "phantom", "branching")


def config(**changed: Any) -> EngineConfig:
    """Small windows, so that short streams fill them."""
    small: dict[str, Any] = {
        "windows": (500, 1_000),
        "horizons": (250, 500),
        "refill": 750,
        "impact": 500,
        "impact_memory": 10.0,
        "training": 20,
        "shock_window": 500,
        "recovery": 1_500,
        "bucket": 5_000,
        "buckets": 3,
    }
    return EngineConfig(flow=FlowConfig(**(small | changed)))


def instrument(contract: Contract = Contract.LINEAR, contract_size: int = 10**8) -> Instrument:
    return Instrument(
        venue="venue",
        symbol="A",
        asset="A",
        quote="USD",
        contract=contract,
        price_decimals=1,
        size_decimals=0,
        tick=1,
        lot=1,
        contract_size=contract_size,
    )


def market(unit: Instrument | None = None, rules: EngineConfig | None = None) -> Market:
    """A market with one snapshot, at the beginning of a cell."""
    one = Market(unit or instrument(), rules or config())
    one.pass_time(START)
    one.snapshot({9_999: 10, 9_995: 20, 9_960: 30}, {10_001: 10, 10_005: 20, 10_040: 30})
    return one


def assert_equal(one: Market) -> None:
    """Compare every field of the twin's with the row's, and what is undefined with what is explained."""
    found, why = one.report()
    assert finite(found)
    for name, value in one.twin.fields(one.now).items():
        many = isinstance(value, list)
        for got, expected in zip(found[name], value, strict=True) if many else [(found[name], value)]:
            assert (got is None) == (expected is None), (name, found[name], value)
            if isinstance(expected, float):
                assert math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-9), (name, found[name], value)
            else:
                assert got == expected, (name, found[name], value)
        assert (name in why) == (None in value if many else value is None)


sizes = st.integers(0, 40)
change = st.tuples(st.integers(0, 1), st.integers(0, 70), sizes)
levels = st.dictionaries(st.integers(0, 70), st.integers(1, 40), max_size=8)
step = st.one_of(
    st.tuples(st.just("delta"), st.lists(change, max_size=6)),
    st.tuples(st.just("delta"), st.lists(change, max_size=6)),
    st.tuples(st.just("trade"), st.tuples(st.integers(-60, 60), st.integers(1, 30), st.sampled_from([1, -1]))),
    st.tuples(st.just("shift"), st.integers(-15, 15)),
    st.tuples(st.just("empty"), st.integers(0, 1)),
    st.tuples(st.just("snapshot"), st.tuples(levels, levels)),
    st.tuples(st.just("lose"), st.none()),
)
pause = st.sampled_from([0, 1, 40, 130, 249, 250, 251, 700, 2_600])
streams = st.lists(st.tuples(pause, step), min_size=5, max_size=50)


def play(one: Market, stream: list[tuple[int, tuple[str, Any]]], check: Any) -> None:
    """Take a market through a stream of steps; check it after every cell that is closed."""
    now, centre = START, 10_000
    for wait, (what, detail) in stream:
        now += wait * MS
        if one.pass_time(now):
            check(one)
        if what == "shift":
            centre += detail
        elif what == "delta":
            changes: dict[tuple[int, int], int] = {}
            for side, distance, size in detail:
                changes[side, centre - 1 - distance if side == 0 else centre + 1 + distance] = size
            one.delta([(*place, size) for place, size in changes.items() if size or place[1] in one.levels[place[0]]])
        elif what == "trade":
            one.trade((centre + detail[0], detail[1], detail[2]))
        elif what == "empty":
            one.delta([(detail, price, 0) for price in one.levels[detail]])
        elif what == "snapshot":
            bids, asks = detail
            one.snapshot(
                {centre - 1 - distance: size for distance, size in bids.items()},
                {centre + 1 + distance: size for distance, size in asks.items()},
            )
        else:
            one.lose()
    one.pass_time(now + 250 * MS)
    check(one)


@settings(max_examples=150 if COMPILED else 40, deadline=None)
@given(stream=streams, contract=st.sampled_from([Contract.SPOT, Contract.LINEAR, Contract.INVERSE]))
def test_the_kernels_equal_their_twin(stream: list[Any], contract: Contract) -> None:
    play(market(instrument(contract, 10**9)), stream, assert_equal)


@settings(max_examples=60 if COMPILED else 15, deadline=None)
@given(stream=streams)
def test_what_a_state_machine_reads_is_what_the_record_says(stream: list[Any]) -> None:
    def check(one: Market) -> None:
        found, _ = one.report()
        row = np.zeros(1, INPUTS)
        flow.tell(one.memory, one.settings, one.unit, row)
        assert all(np.isfinite(row[name]).all() for name in TOLD)
        assert not any(row[name].any() or row[f"{name}_why"].any() for name in set(NAMES) - set(TOLD))
        for side, name in enumerate(("bid", "ask")):
            for told, said in (
                ("refill", found[f"{name}_refill"][1]),
                ("withdrawal", found[f"{name}_withdrawal"][1]),
                ("phantom", found["phantom"]),
                ("branching", found["branching"]),
            ):
                assert (row[f"{told}_why"][0, side] == 0) == (said is not None)
                assert row[told][0, side] == (said or 0.0)
            pressed = row["imbalance"][0, side] * (-1 if side == 0 else 1)
            assert row["imbalance_why"][0, side] or pressed * (found["ofi"][0] or 0.0) >= 0.0

    play(market(), stream, check)


@settings(max_examples=60 if COMPILED else 15, deadline=None)
@given(stream=streams, contract=st.sampled_from([Contract.LINEAR, Contract.INVERSE]))
def test_sums_for_the_whole_asset_are_those_of_the_record(stream: list[Any], contract: Contract) -> None:
    def check(one: Market) -> None:
        found, _ = one.report()
        out = np.ones((2, 4))
        why = flow.sums(one.memory, one.settings, one.unit, out)
        if why:
            assert not out.any()
            return
        mid = sum((max(one.levels[0]), min(one.levels[1]))) / 20
        crossed = max(one.levels[0]) >= min(one.levels[1])
        for side, name in enumerate(("bid", "ask")):
            words = ("added", "cancelled", "executed")
            amounts = [found[f"{name}_{word}"][1] for word in words]
            assert crossed or out[side, 1:] == pytest.approx([amount * mid for amount in amounts])
        if flow.last_sums(one.memory, one.settings, one.unit, out):
            assert not out.any()
            return
        for side, name in enumerate(("bid", "ask")):
            depth, added, cancelled, _ = out[side]
            withdrawal = found[f"{name}_withdrawal"][1]
            assert withdrawal is None or withdrawal == pytest.approx(min(cancelled / (depth + added), 1.0))

    play(market(instrument(contract)), stream, check)


@settings(max_examples=40 if COMPILED else 10, deadline=None)
@given(stream=streams, cut=st.integers(0, 50))
def test_a_state_that_went_through_bytes_goes_on_as_if_it_had_not(stream: list[Any], cut: int) -> None:
    said: list[list[Any]] = [[], []]
    for run in (0, 1):
        one, closed = market(), 0

        def check(one: Market, run: int = run) -> None:
            nonlocal closed
            closed += 1
            said[run].append(one.report())
            if run == 1 and closed == cut % 7:
                one.memory = np.frombuffer(one.memory.tobytes(), flow.MEMORY).copy()
                state = one.book.dump()
                one.book.load(state)

        play(one, stream, check)
    assert said[0] == said[1]


def test_windows_are_undefined_until_they_are_full_of_the_new_book() -> None:
    one = market()
    defined: list[list[bool]] = []
    for cell in range(1, 8):
        one.pass_time(START + cell * 250 * MS)
        if cell == 6:
            one.snapshot(dict(one.levels[0]), dict(one.levels[1]))
        found, why = one.report()
        defined.append([found["trades"][0] is not None, found["trades"][1] is not None])
        assert ("trades" in why) == (not all(defined[-1]))
        assert why.get("trades", "too_early") == "too_early"
        assert (found["variance"][1] is None) == (found["trades"][1] is None)
    # The cell in which the book came is no whole one; then two and four more are needed.
    assert defined == [[False, False]] * 2 + [[True, False]] * 2 + [[True, True]] + [[False, False]] * 2


def test_nothing_of_a_lost_book_is_left_in_a_window() -> None:
    one, other = market(), Market(instrument(), config())
    other.pass_time(START)
    one.trade((9_999, 9, -1))
    one.delta([(0, 9_995, 0), (1, 10_001, 7)])
    one.pass_time(START + 400 * MS)
    one.lose()
    other.pass_time(START + 400 * MS)
    for each in (one, other):
        each.snapshot({9_990: 5}, {9_992: 5})
        for cell in range(2, 9):
            each.pass_time(START + cell * 250 * MS)
            each.trade((9_992, 1, 1))
            each.delta([(0, 9_990, 5 + cell)])
    found, expected = one.report()[0], other.report()[0]
    assert [name for name in found if found[name] != expected[name]] == ["toxicity"]
    assert found["bid_refill"] == [None] * 3
    assert found["trades"][1] == 4


def test_volume_buckets_outlive_a_book() -> None:
    one = market(rules=config(bucket=1_000, buckets=2))
    one.trade((10_000, 1, 1))
    one.lose()
    one.trade((10_000, 1, -1))
    found, why = one.report()
    assert found["toxicity"] == 1.0
    assert why["trades"] == "too_early"


def test_a_silence_longer_than_the_rings_leaves_empty_windows() -> None:
    one = market()
    one.trade((10_001, 3, 1))
    now = START + 3_600 * 10**9
    one.pass_time(now)
    found, _ = one.report()
    assert (found["until"], found["trades"]) == (now, [0, 0])
    assert found["bid_withdrawal"] == [0.0, 0.0, 0.0]
    assert found["variance"] == [0.0, 0.0]
    assert found["branching"] is None
    one.trade((10_001, 3, 1))
    one.pass_time(now + 250 * MS)
    assert one.report()[0]["trades"] == [1, 1]


def test_what_fades_with_time_fades_by_the_whole_silence() -> None:
    one = market(rules=config(impact_memory=1_000.0))
    for cell in range(1, 80):
        one.delta([(0, 9_999, 10 + cell % 7)])
        one.pass_time(START + cell * 250 * MS)
    weight = float(one.memory["impact_weight"][0])
    one.pass_time(START + 79 * 250 * MS + 200 * 10**9)
    # Of 400 intervals the last 128 or 129 were closed, empty and known: those weigh; the older ones fade by all 400.
    empty = sum(math.exp(-0.0005 * n) for n in range(128))
    assert one.memory["impact_weight"][0] == pytest.approx(weight * math.exp(-0.0005 * 400) + empty, abs=1.0)


def test_a_quanto_contract_has_spreads_but_no_amounts() -> None:
    one = market(instrument(Contract.QUANTO))
    for cell in range(1, 8):
        one.trade((10_001, 3, 1))
        one.delta([(0, 9_999, 10 + cell)])
        one.pass_time(START + cell * 250 * MS)
    found, why = one.report()
    assert found["trades"] == [2, 4]
    assert found["effective_bps"] == pytest.approx([2.0, 2.0])
    assert {why[name] for name in ("buy_base", "bid_added", "ask_executed", "toxicity")} == {"quanto"}
    out = np.ones((2, 4))
    assert flow.sums(one.memory, one.settings, one.unit, out) > 0
    assert not out.any()


def test_pace_is_that_of_the_longest_window() -> None:
    one = market()
    for cell in range(1, 8):
        one.trade((10_001, 3, 1), (10_001, 1, 1))
        one.delta([(0, 9_999 + cell % 2, 1 - cell % 2)] if cell > 1 else [(0, 10_000, 1)])
        one.pass_time(START + cell * 250 * MS)
    trades, variance, why = flow.pace(one.memory, one.settings)
    assert (trades, why) == (8.0, 0)
    assert variance == one.report()[0]["variance"][1]


def test_what_the_rings_cannot_hold_is_refused() -> None:
    with pytest.raises(BadConfig, match="reach 260 cells of 250 ms back, allowed are 255"):
        flow.settings_of(config(windows=(35_000,), horizons=(30_000,)))
    with pytest.raises(BadConfig, match="allowed are at most 8"):
        flow.memory_of(config(windows=tuple(range(250, 2_500, 250))))


def test_every_field_stands_in_the_row_once() -> None:
    names = [field.name for field in flow.SIGNAL.fields]
    assert len(names) == len(set(names))
    assert {field.over for field in flow.SIGNAL.fields} == {"", "windows", "horizons", "zones", "levels"}


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_the_kernels_compile_once_for_a_configuration() -> None:
    kernels: tuple[Any, ...] = (flow.before, flow.after, flow.trade, flow.close, flow.restart, flow.tell, flow.sums)

    def once(unit: Instrument, rules: EngineConfig) -> list[int]:
        one = market(unit, rules)
        one.delta([(0, 9_999, 3)])
        one.trade((9_999, 2, -1))
        one.pass_time(START + 10**9)
        flow.tell(one.memory, one.settings, one.unit, np.zeros(1, INPUTS))
        flow.sums(one.memory, one.settings, one.unit, np.zeros((2, 4)))
        return [len(each.signatures) for each in kernels]

    assert once(instrument(Contract.INVERSE), config()) == once(instrument(), config(windows=(250, 500, 750)))
