"""The calm market beside recorded ones: what is alike, what is not, and that each difference has a reason."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from engine.kernel import COMPILED
from ingest.simulator.scenarios import INSTRUMENT
from ingest.tape import Tape
from tests.stylised import SECOND
from tests.validation.facts import (
    BY_TICK,
    ON_TICK,
    REASONS,
    RECORDED,
    Compared,
    Facts,
    compare,
    measure_facts,
    recorded,
    row_of,
    simulated,
)

pytestmark = pytest.mark.tape

#: A tick of the simulated market, bps of its price.
TICK_BPS = 1e4 * INSTRUMENT.tick / 1_210_000
#: Of another order of magnitude than recorded: the tick, and what it decides.
GROSS = {"spread_mean_bps", "spread_median_bps", "tick_bps"}

needs_minutes = pytest.mark.skipif(not COMPILED, reason="needs minutes of market time")


@pytest.fixture(scope="module")
def calm() -> list[Facts]:
    return [simulated(seed) for seed in (1, 2, 3)]


def test_counts_of_a_recorded_market_are_those_of_its_lines(binance_tapes: Path) -> None:
    found = recorded(binance_tapes, "usdm_ethusdt", seconds=60)
    begun, fills, deltas, sizes = 0, 0, 0, []
    for received, raw in Tape([binance_tapes / "usdm_ethusdt_20240808.gz"]):
        if not begun and b"lastUpdateId" in raw[:200]:
            begun = (received // SECOND + 1) * SECOND
        if not begun <= received < begun + 60 * SECOND or not begun:
            continue
        fills += b"@trade" in raw[:40]
        if b"@depth" in raw[:40]:
            content = orjson.loads(raw)["data"]
            deltas += 1
            sizes += [float(size) for _, size in content["b"] + content["a"]]
    assert found["trades_per_s"] == fills / 60
    assert found["deltas_per_s"] == deltas / 60
    assert found["levels_per_delta"] == pytest.approx(len(sizes) / deltas)
    assert found["deleted_share"] == pytest.approx(sizes.count(0.0) / len(sizes))


@pytest.mark.slow
@needs_minutes
def test_the_calm_market_is_of_the_order_of_recorded_ones_but_for_what_is_named(
    binance_tapes: Path, calm: list[Facts]
) -> None:
    compared = compare(calm, [recorded(binance_tapes, name) for name in RECORDED], list(calm[0]))
    assert {each.fact for each in compared if not each.met} == GROSS
    assert {each.fact for each in compared if each.differs} <= set(REASONS)


@pytest.mark.slow
@needs_minutes
def test_on_a_tick_as_coarse_recorded_books_have_the_calm_market_s_spread_and_deletes(
    binance_tapes: Path, calm: list[Facts]
) -> None:
    compared = compare(calm, [recorded(binance_tapes, name, TICK_BPS) for name in RECORDED], BY_TICK)
    assert {each.fact for each in compared if not each.met} == set()
    (deleted,) = (each for each in compared if each.fact == "deleted_share")
    assert not deleted.differs
    (spread,) = (each for each in compared if each.fact == "spread_mean_bps")
    assert spread.simulated == pytest.approx(spread.recorded[1], rel=0.2)


def facts(**known: Sequence[float]) -> list[Facts]:
    return [dict(zip(known, each, strict=True)) for each in zip(*known.values(), strict=True)]


def test_a_fact_is_met_within_a_factor_of_ten_and_r2_within_a_range() -> None:
    theirs = facts(trades_per_s=(20, 60), ofi_r2_1_s=(0.4, 0.5))
    met: list[tuple[bool, bool]] = []
    for trades, r2 in ((1.9, 0.34), (2.1, 0.36), (20, 0.4), (599, 0.54), (601, 0.56)):
        rows = compare(facts(trades_per_s=(trades,), ofi_r2_1_s=(r2,)), theirs, ["trades_per_s", "ofi_r2_1_s"])
        met += [(rows[0].met, rows[1].met)]
        assert rows[0].differs == (trades != 20)
    assert met == [(False, False), (True, True), (True, True), (True, True), (False, False)]


def test_several_worlds_count_by_their_median() -> None:
    found: list[Compared] = compare(facts(trades_per_s=(1, 30, 900)), facts(trades_per_s=(20, 60)), ["trades_per_s"])
    assert found[0].simulated == 30
    assert all(a < b for a, b in pairwise(found[0].recorded))


def test_a_row_names_a_difference_with_its_reason() -> None:
    theirs = facts(deleted_share=(0.2, 0.4), spread_mean_bps=(0.4, 0.5))
    deleted, spread = compare(facts(deleted_share=(0.3,), spread_mean_bps=(6.0,)), theirs, list(theirs[0]))
    row = row_of(deleted, 3)
    assert (row.what, row.measured, row.met, row.worlds) == ("calm beside recorded: deleted_share", "0.3", True, 3)
    assert row.wanted == "0.02 to 4 (recorded 0.2 to 0.4)"
    off, on = row_of(spread, 1), row_of(spread, 1, on_tick=True)
    assert (off.met, on.met) == (False, False)
    assert off.what.endswith(f"differs: {REASONS['spread_mean_bps']}")
    assert on.what.endswith(f"differs: {ON_TICK['spread_mean_bps']}")


def test_without_recorded_streams_nothing_is_said_to_be_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tests.validation.facts.TAPES", tmp_path / "absent")
    (row,) = measure_facts(range(1, 2))
    assert (row.measured, row.met, row.worlds) == ("not measured", False, 0)
    assert str(tmp_path / "absent") in row.wanted
