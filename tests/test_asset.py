"""Records of an asset through the pipeline: when they come, whose books they are of, what an outage does."""

import random
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import BaselineConfig, EngineConfig
from engine.kernel import COMPILED
from engine.pipeline import Pipeline
from engine.schema import Batch, Contract, Kind, Record, Status
from engine.topics import SIGNAL_DEPTH, SIGNAL_LATEST, SIGNAL_VACUUM
from tests.stream import MS, START, instrument, market, message, opening, regrouped

#: The first sample is a baseline already.
CONFIG = EngineConfig(
    bands=(10, 50, 500), notionals=(100,), baseline=BaselineConfig(bands=(10, 50), session=1), stale_after=1_000
)
ONE, TWO, THREE = (instrument(name) for name in ("one", "two", "three"))


def run(batches: list[Batch], pipeline: Pipeline | None = None) -> list[Record]:
    pipeline = pipeline or Pipeline("A", CONFIG)
    return [record for batch in batches for record in pipeline.step(batch)]


def told(records: list[Record], topic: str = SIGNAL_DEPTH) -> list[dict[str, Any]]:
    """Values of the asset's own records of a topic, their times in milliseconds."""
    values = [orjson.loads(record.value) for record in records if record.topic == topic and record.key == "A"]
    return [value | {"time": (value["time"] - START) / MS, "line": (value["line"] - START) / MS} for value in values]


def touched(at: float, unit: Any = ONE) -> Batch:
    """A row that says nothing of the book's levels, but lets time pass."""
    return message(Kind.TRADE, at, (), (), unit)


def delta(at: float, last: int, unit: Any = ONE, size: int = 100) -> Batch:
    return message(Kind.DELTA, at, [(9_990, size)], (), unit, last=last, previous=last - 1, epoch=1)


def test_records_come_at_the_first_row_beyond_a_line_and_each_second() -> None:
    batches = [*opening(100, unit=ONE), *opening(110, unit=TWO)]
    last = {ONE.key: 10, TWO.key: 10}
    for i in range(1, 26):
        unit = (ONE, TWO)[i % 2]
        last[unit.key] += 1
        batches.append(delta(100 + 90 * i, last[unit.key], unit))
    values = told(run(batches))
    # Rows at 190, 280, ...: 280 passes the first line, 1,540 the first one that is a second later, 2,350 none.
    assert [(value["time"], value["line"]) for value in values] == [(280, 250), (1_540, 1_500)]
    assert all(value["venues"] == ["one:AUSD", "two:AUSD"] for value in values)
    assert [value["bid_base"] for value in values] == [[2.0, 4.0, 4.0]] * 2


def test_a_book_is_shown_as_of_its_last_row_before_the_one_that_passed_the_line() -> None:
    (value,) = told(run([*opening(0), delta(200, 11, size=700), delta(300, 12, size=900)]))
    assert (value["time"], value["bid_base"]) == (300, [7.0, 8.0, 8.0])


def test_before_the_first_book_records_say_why() -> None:
    names = [message(Kind.INSTRUMENT, at, (), (), ONE) for at in (0, 300, 600)]
    records = run(names)
    (depth,), (vacuum,) = told(records), told(records, SIGNAL_VACUUM)
    assert (depth["state"], depth["reason"], depth["reference"], depth["venues"]) == ("unknown", "unsynced", None, [])
    for side in ("bid", "ask"):
        assert (vacuum[f"{side}_state"], vacuum[f"{side}_cause"]) == ("unknown", "unsynced")
        assert vacuum["why"][f"{side}_ratio"] == "unknown_book"


def test_a_row_of_a_new_instrument_that_passes_a_line_finds_it_unsynced() -> None:
    (value,) = told(run([*opening(0), touched(300, TWO)]))
    assert (value["excluded"], value["excluded_why"]) == (["two:AUSD"], ["unsynced"])


def test_a_venue_that_falls_silent_is_left_out_and_named() -> None:
    batches = [*opening(0, unit=ONE), *opening(0, unit=TWO)]
    batches += [delta(200 * i, 10 + i, ONE) for i in range(1, 16)]
    values = told(run(batches))
    assert (values[0]["venues"], values[0]["excluded"]) == (["one:AUSD", "two:AUSD"], [])
    assert (values[-1]["venues"], values[-1]["state"]) == (["one:AUSD"], "ok")
    assert (values[-1]["excluded"], values[-1]["excluded_why"]) == (["two:AUSD"], ["stale"])
    # The usual depth of an asset is what it was.
    assert values[-1]["bid_ratio"] == values[0]["bid_ratio"] == [1.0, 1.0]


def test_other_currencies_quantos_and_one_sided_books_are_named_too() -> None:
    euro, quanto, bare = instrument("euro"), instrument("q", contract=Contract.QUANTO), instrument("bare")
    batches = [*opening(0, unit=ONE), *opening(0, unit=TWO), *opening(0, unit=quanto)]
    batches += [message(Kind.INSTRUMENT, 1, (), (), each) for each in (euro, bare)]
    batches.append(message(Kind.SNAPSHOT, 1, [(1_499_000, 9)], [(1_501_000, 9)], euro, last=1, epoch=1))
    batches.append(message(Kind.SNAPSHOT, 1, [(9_990, 5)], [], bare, last=1, epoch=1))
    (value,) = told(run([*batches, touched(300)]))
    assert value["venues"] == ["one:AUSD", "two:AUSD"]
    left = dict(zip(value["excluded"], value["excluded_why"], strict=True))
    assert left == {"bare:AUSD": "no_mid", "euro:AUSD": "foreign", "q:AUSD": "quanto"}
    assert value["reference"] == 100.0


def test_when_the_last_known_book_is_lost_that_is_told_at_once_and_its_return_at_a_line() -> None:
    batches = [*opening(0, unit=ONE), *opening(0, unit=TWO)]
    batches += [touched(300), message(Kind.GAP, 310, (), (), ONE)]
    batches.append(message(Kind.STATUS, 320, (), (), TWO, status=int(Status.DISCONNECTED)))
    batches += [*opening(400, last=99, epoch=2, unit=TWO), touched(510)]
    records = run(batches)
    for values in (told(records), told(records, SIGNAL_VACUUM)):
        assert [(v["time"], v["state"], v["reason"]) for v in values] == [
            (300, "ok", None),
            (320, "unknown", "gap"),
            (510, "ok", None),
        ]
    lost = told(records, SIGNAL_VACUUM)[1]
    assert (lost["bid_state"], lost["bid_cause"], lost["bid_since"]) == ("unknown", "gap", START + 320 * MS)
    assert told(records)[2]["excluded"] == ["one:AUSD"]


def test_late_joiners_find_the_asset_under_its_signal() -> None:
    records = run([*opening(0), touched(300), message(Kind.GAP, 310)])
    for signal, topic in (("depth", SIGNAL_DEPTH), ("vacuum", SIGNAL_VACUUM)):
        twins = [record for record in records if record.topic == SIGNAL_LATEST and record.key == f"{signal}|A"]
        own = [record for record in records if record.topic == topic and record.key == "A"]
        assert [(t.value, t.time, t.asset) for t in twins] == [(r.value, r.time, r.asset) for r in own]
        assert len(own) == 2


@settings(max_examples=30 if COMPILED else 5, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.sets(st.integers(0, 200), max_size=4))
def test_records_of_the_whole_do_not_depend_on_batches_or_restarts(seed: int, cuts: set[int]) -> None:
    batches = market(seed, 200 if COMPILED else 100)
    whole = [(r.topic, r.key, r.time, r.value) for r in run(batches)]
    assert any(key == "A" for _, key, _, _ in whole)
    pipeline, pieces = Pipeline("A", CONFIG), []
    for i, batch in enumerate(regrouped(batches, random.Random(seed))):
        if i in cuts:
            pipeline = Pipeline.load(pipeline.dump(), CONFIG)
        pieces += [(r.topic, r.key, r.time, r.value) for r in pipeline.step(batch)]
    assert pieces == whole
