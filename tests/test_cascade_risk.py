"""How likely a critical shock is sold, by the pipeline: exact shares, when it is asked, the same by any road."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest

from engine.config import CascadeConfig, EngineConfig, MapConfig
from engine.errors import BadConfig
from engine.knowledge import Exposure, Knowledge
from engine.pipeline import Pipeline
from engine.schema import REFERENCE, TRADE, Batch, Flag, Kind, Record, Reference
from engine.topics import SIGNAL_CASCADE
from tests.stream import MS, START, instrument, message

BIDS = [(10_000, 500), (9_900, 500), (9_800, 500), (9_700, 500), (9_600, 2_000), (9_500, 4_000)]
ASKS = [(10_002, 500), (10_100, 500), (10_300, 5_000)]
UNIT = instrument("one")
#: Sales that no more than 9 base units, or than 24, hold back are rare: 1 in 25.
RISK = CascadeConfig(
    drops=(102, 402), shocks=(300,), withdrawal=300, horizon=1, samples=180, risk_cadence=10_000, cadence=2_000
)
CONFIG = EngineConfig(cascade=RISK, map=MapConfig(draws=8))


def paid(at: float, size: int, price: int = 10_000) -> Batch:
    """A trade of so many hundredths: above 0 a sale, below a purchase."""
    rows = np.zeros(1, TRADE)
    rows["price"], rows["size"], rows["side"], rows["fills"] = price, abs(size), -1 if size > 0 else 1, 1
    return replace(message(Kind.TRADE, at, (), (), UNIT, count=1), trades=rows)


def interest(at: float, value: int) -> Batch:
    rows = np.zeros(1, REFERENCE)
    rows["what"], rows["value"] = int(Reference.OPEN_INTEREST), value
    return replace(message(Kind.REFERENCE, at, (), (), UNIT, count=1), references=rows)


def opened(at: float = 0, epoch: int = 1) -> list[Batch]:
    last = 10_000 * epoch
    return [
        message(Kind.INSTRUMENT, at, (), (), UNIT),
        message(Kind.SNAPSHOT, at, BIDS, ASKS, UNIT, last=last, epoch=epoch),
    ]


def delta(at: float, last: int, bids: Sequence[tuple[int, int]] = ((9_950, 1),), **fields: int) -> Batch:
    return message(Kind.DELTA, at, bids, (), UNIT, last=last, previous=last - 1, epoch=last // 10_000, **fields)


def seconds(count: int, epoch: int = 1, begin: int = 0, large: int = 5_000) -> list[Batch]:
    """One message to the book and one sale a second: mostly 1 base unit, each 25th a large one."""
    found = []
    for i in range(begin, begin + count):
        found.append(delta(1_000 * i + 100, 10_000 * epoch + 1 + i - begin, [(9_400, i % 7 + 1)]))
        found.append(paid(1_000 * i + 600, large if i % 25 == 7 else 100))
    return found


def run(batches: Sequence[Batch], config: EngineConfig = CONFIG) -> list[Record]:
    pipeline = Pipeline("A", config)
    return [record for batch in batches for record in pipeline.step(batch)]


def told(records: Sequence[Record], key: str = "one:AUSD") -> list[dict[str, Any]]:
    return [orjson.loads(record.value) for record in records if (record.topic, record.key) == (SIGNAL_CASCADE, key)]


def test_a_risk_is_the_share_of_past_horizons_that_sold_more() -> None:
    values = told(run([*opened(), *seconds(230)]))
    early = next(value for value in values if value["state"] == "ok")
    assert (early["fall_risk"], early["why"]["fall_risk"]) == ([None, None], "too_few_samples")
    assert (early["risk_pool"], early["risk_samples"], early["risk_horizon"]) == ("none", 0, 1)
    last = values[-1]
    # All large sales are alike, so the sample speaks for itself: 50 sold, more than either move withstands.
    assert last["fall_critical"] == [10.0, 40.0]
    assert last["risk_samples"] >= 180
    share = last["fall_risk"][0]
    assert last["fall_risk"] == [share, share]
    assert share == pytest.approx(0.042, abs=0.003)
    assert last["squeeze_risk"] == [None, None]
    larger = told(run([*opened(), *seconds(230, large=2_000)]))[-1]
    assert (larger["fall_risk"][0], larger["fall_risk"][1]) == (share, 0.0)


def test_triggers_behind_the_book_raise_the_risk() -> None:
    known = Knowledge(exposures=(Exposure(name="a loan", asset="A", quantity=35.0, trigger=97.0, as_of=1),))
    batches = [*opened(), *seconds(230, large=2_000)]
    plain, behind = (told(run(batches, replace(CONFIG, knowledge=each)))[-1] for each in (Knowledge(), known))
    assert (plain["fall_critical"][1], behind["fall_critical"][1]) == (40.0, 15.0)
    assert (plain["fall_risk"][1], behind["fall_risk"][1]) == (0.0, plain["fall_risk"][0])
    unsure = replace(known.exposures[0], error=1.0)
    half = told(run(batches, replace(CONFIG, knowledge=Knowledge(exposures=(unsure,)))))[-1]
    assert half["fall_critical"][1] == 15.0
    # Some draws put the trigger below all that is asked for.
    assert 0.0 < half["fall_risk"][1] < behind["fall_risk"][1]


def test_it_is_asked_once_in_a_while_and_anew_for_another_book() -> None:
    values = [v for v in told(run([*opened(), *seconds(40)])) if v["state"] == "ok"]
    times = sorted({value["risk_time"] for value in values})
    assert len(times) == 4
    assert all(after - before >= 10_000 * MS for before, after in pairwise(times))
    assert all(0 <= value["time"] - value["risk_time"] < 10_300 * MS for value in values)
    lost = [*opened(), *seconds(3), message(Kind.GAP, 3_000, (), (), UNIT), *opened(3_001, 2)]
    anew = told(run(lost))[-1]
    assert (anew["state"], anew["risk_time"]) == ("ok", START + 3_001 * MS)


def busy() -> list[Batch]:
    """A market with open interest, a lost book, and a silence."""
    first, second = seconds(225), seconds(25, 2, 235)
    gap = [message(Kind.GAP, 230_000, (), (), UNIT), *opened(234_000, 2)]
    return [*opened(), interest(10, 10_000), *first[:20], interest(9_900, 30_000), *first[20:], *gap, *second]


def test_a_pipeline_through_its_bytes_says_the_same() -> None:
    batches, pipeline, config = busy(), Pipeline("A", CONFIG), CONFIG
    whole, found = run(batches), []
    for i, batch in enumerate(batches):
        if i % 5 == 3:
            pipeline = Pipeline.load(pipeline.dump(), config)
        found += pipeline.step(batch)
    assert [(r.topic, r.key, r.time, r.value) for r in found] == [(r.topic, r.key, r.time, r.value) for r in whole]
    risks = [value["fall_risk"] for value in told(whole) if value["state"] == "ok"]
    assert any(None not in each for each in risks)


def test_over_a_quiet_book_the_risk_is_asked_again() -> None:
    config = replace(CONFIG, stale_after=60_000)
    batches = [*opened(), *(paid(600 * i, 100) for i in range(1, 50))]
    whole, found, pipeline = run(batches, config), [], Pipeline("A", config)
    for batch in batches:
        pipeline = Pipeline.load(pipeline.dump(), config)
        found += pipeline.step(batch)
    assert [record.value for record in found] == [record.value for record in whole]
    assert len({value["risk_time"] for value in told(whole) if value["state"] == "ok"}) == 3


def test_the_same_messages_in_other_batches_say_the_same() -> None:
    batches = busy()
    names = ("messages", "levels", "instruments", "trades", "references")
    for size in (2, 7):
        groups = [batches[i : i + size] for i in range(0, len(batches), size)]
        joined = [
            Batch(
                instrument=UNIT.key,
                asset="A",
                **{name: np.concatenate([getattr(each, name) for each in group]) for name in names},
            )
            for group in groups
        ]
        assert [r.value for r in run(joined)] == [r.value for r in run(batches)]


def test_trades_while_the_book_is_lost_are_no_observation() -> None:
    silent = [message(Kind.GAP, 5_000, (), (), UNIT)]
    away = [paid(1_000 * i + 600, 100) for i in range(5, 50)]
    records = run([*opened(), *seconds(5), *silent, *away, *opened(50_000, 2), *seconds(6, 2, 50)])
    for key in ("one:AUSD", "A"):
        assert told(records, key)[-1]["risk_samples"] <= 5


def test_a_horizon_in_which_the_book_was_lost_is_no_observation() -> None:
    batches = [*opened()]
    for i in range(30):
        lost = [message(Kind.GAP, 1_000 * i + 300, (), (), UNIT), *opened(1_000 * i + 301, i + 2)]
        batches += [delta(1_000 * i + 100, 10_000 * (i + 1) + 1), *lost, paid(1_000 * i + 600, 100)]
    assert told(run(batches))[-1]["risk_samples"] == 0


def test_an_exposure_that_has_traded_forces_nothing_any_more() -> None:
    known = Knowledge(exposures=(Exposure(name="a loan", asset="A", quantity=35.0, trigger=97.0, as_of=1),))
    config = replace(CONFIG, knowledge=known)
    before = told(run(opened(), config))[-1]
    after = told(run([*opened(), paid(100, 1, 9_650), delta(2_300, 10_001)], config))[-1]
    assert (before["exposures"], before["fall_forced"], before["map_source"]) == (1, [0.0, 35.0], "measured")
    assert (after["exposures"], after["fall_forced"], after["map_source"]) == (0, [0.0, 0.0], "none")


def test_holders_without_leverage_are_counted_and_never_forced() -> None:
    known = Knowledge(exposures=(Exposure(name="a treasury", asset="A", quantity=1e6, as_of=1),))
    value = told(run(opened(), replace(CONFIG, knowledge=known)))[-1]
    assert (value["holders"], value["exposures"], value["fall_forced"]) == (1, 0, [0.0, 0.0])


EVERY = replace(CONFIG, cascade=replace(RISK, cadence=0))


def test_levels_beyond_reach_call_for_no_record_and_change_none() -> None:
    pipeline = Pipeline("A", EVERY)
    for batch in opened():
        before = told(pipeline.step(batch))
    # The widest move is 402 bps: all below 94.98 is beyond it by more than 100.
    assert told(pipeline.step(delta(10, 10_001, [(9_400, 999)]))) == []
    assert told(pipeline.step(delta(20, 10_002, [(9_498, 1), (1, 5)]))) == []
    (after,) = told(pipeline.step(delta(30, 10_003, [(9_500, 4_000)])))
    same = {name: value for name, value in before[-1].items() if name not in ("time", "received", "last", "risk_time")}
    assert same == {name: after[name] for name in same}
    (changed,) = told(pipeline.step(delta(40, 10_004, [(9_900, 0), (9_300, 1)])))
    assert changed["fall_critical"] == [5.0, 35.0]


def test_a_message_in_parts_is_answered_when_it_is_whole() -> None:
    pipeline = Pipeline("A", EVERY)
    for batch in opened():
        pipeline.step(batch)
    first = delta(10, 10_001, [(9_900, 100)], flags=int(Flag.PARTIAL))
    assert told(pipeline.step(first)) == []
    rest = message(Kind.DELTA, 10, [(9_300, 1)], (), UNIT, last=10_001, epoch=1, flags=int(Flag.CONTINUED))
    (value,) = told(pipeline.step(rest))
    assert (value["state"], value["fall_critical"]) == ("ok", [6.0, 36.0])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("slice", 0.0, "slice is 0.0, allowed are shares above 0 to 1"),
        ("slice", 1.5, "slice is 1.5"),
        ("cooldown", -1, "cooldown is -1, allowed are milliseconds from 0"),
        ("duration", -1, "duration is -1"),
        ("horizon", 0, "horizon is 0, allowed are values above 0"),
        ("risk_cadence", 0, "risk_cadence is 0"),
    ],
)
def test_assumptions_that_cannot_be_are_refused(name: str, value: float, words: str) -> None:
    changes: dict[str, Any] = {name: value}
    with pytest.raises(BadConfig, match=words):
        CascadeConfig(**changes)


def test_a_tail_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(BadConfig, match="samples is 3000, allowed are 8 to 2048"):
        Pipeline("A", EngineConfig(cascade=CascadeConfig(samples=3_000)))
