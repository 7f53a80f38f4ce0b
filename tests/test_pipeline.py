"""The pipeline: the same rows give the same bytes, however they are batched and wherever they are cut."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import snapshot
from engine.config import BaselineConfig, CascadeConfig, EngineConfig
from engine.errors import BadRecord
from engine.kernel import COMPILED
from engine.pipeline import Pipeline, warm
from engine.schema import Batch, Flag, Kind, Record
from engine.topics import HEADER_ENGINE, HEADER_SOURCE, SIGNAL_CASCADE, SIGNAL_DEPTH, SIGNAL_HEALTH, SIGNAL_LATEST
from tests.stream import MS, START, instrument, joined, market, message, opening, regrouped

CONFIG = EngineConfig(bands=(10, 50, 500), notionals=(100, 10_000), baseline=BaselineConfig(bands=(10, 50)))
EXAMPLES = 40 if COMPILED else 8
LENGTH = 300 if COMPILED else 120


def run(batches: list[Batch], pipeline: Pipeline | None = None, start: int = 0) -> list[Record]:
    pipeline = pipeline or Pipeline("A", CONFIG)
    return [record for i, batch in enumerate(batches, start) for record in pipeline.step(batch, i)]


def told(records: list[Record], topic: str) -> list[dict[str, Any]]:
    return [orjson.loads(record.value) for record in records if record.topic == topic]


def delta(at: float, last: int, size: int = 500) -> Batch:
    return message(Kind.DELTA, at, [(9_990, size)], last=last, previous=last - 1, epoch=1)


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_grouping_messages_otherwise_changes_nothing(seed: int) -> None:
    batches = market(seed, LENGTH)
    apart = run(batches)
    together = run(regrouped(batches, random.Random(seed)))
    assert [(r.topic, r.key, r.time, r.value) for r in apart] == [(r.topic, r.key, r.time, r.value) for r in together]


def test_grouping_changes_nothing_where_a_cascade_is_asked_at_every_book_message() -> None:
    config = replace(CONFIG, cascade=CascadeConfig(cadence=0, drops=(5,)))
    batches = market(11, LENGTH)
    told = []
    for groups in (batches, regrouped(batches, random.Random(11))):
        records = run(groups, Pipeline("A", config))
        told.append([(r.topic, r.key, r.time, r.value) for r in records])
    assert told[0] == told[1]
    assert any(topic == SIGNAL_CASCADE for topic, *_ in told[0])


@settings(max_examples=EXAMPLES, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.sets(st.integers(0, LENGTH), min_size=1, max_size=6))
def test_a_stream_cut_anywhere_goes_on_as_if_it_were_whole(seed: int, cuts: set[int]) -> None:
    batches = market(seed, LENGTH)
    pieces: list[Record] = []
    pipeline, at = Pipeline("A", CONFIG), 0
    for cut in [*sorted(cuts), len(batches)]:
        pieces += run(batches[at:cut], pipeline, at)
        pipeline, at = Pipeline.load(pipeline.dump(), CONFIG), max(at, cut)
    assert pieces == run(batches)


def test_a_long_stream_cut_at_many_places_goes_on_as_if_it_were_whole() -> None:
    batches = market(7, 12_000 if COMPILED else 600)
    chance = random.Random(7)
    pieces: list[Record] = []
    pipeline = Pipeline("A", CONFIG)
    for i, batch in enumerate(batches):
        pieces += pipeline.step(batch, i)
        if chance.random() < 0.02:
            pipeline = Pipeline.load(pipeline.dump(), CONFIG)
    assert pieces == run(batches)


def test_a_dump_is_the_same_after_loading() -> None:
    pipeline = Pipeline("A", CONFIG)
    run(market(3, LENGTH), pipeline)
    state = pipeline.dump()
    assert Pipeline.load(state, CONFIG).dump() == state


def test_an_altered_state_is_refused() -> None:
    pipeline = Pipeline("A", CONFIG)
    run(market(3, LENGTH), pipeline)
    state = pipeline.dump()
    chance = random.Random(1)
    for _ in range(200):
        at, bit = chance.randrange(len(state)), chance.randrange(8)
        altered = bytearray(state)
        altered[at] ^= 1 << bit
        with pytest.raises(BadRecord):
            Pipeline.load(bytes(altered), CONFIG)
    for length in (0, 7, 30, len(state) // 2, len(state) - 1):
        with pytest.raises(BadRecord):
            Pipeline.load(state[:length], CONFIG)
    with pytest.raises(BadRecord):
        Pipeline.load(state + b"\0", CONFIG)


def test_a_state_of_another_configuration_is_refused() -> None:
    state = Pipeline("A", CONFIG).dump()
    with pytest.raises(BadRecord, match="configuration"):
        Pipeline.load(state, EngineConfig())


def test_a_state_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "VERSION", 99)
    state = Pipeline("A", CONFIG).dump()
    monkeypatch.undo()
    with pytest.raises(BadRecord, match="version 99, known is 3"):
        Pipeline.load(state, CONFIG)


def test_a_state_of_other_parts_is_refused() -> None:
    for parts in ([], [b"12345678", b"one:AUSD", b"", b"", b""], [b"1234"]):
        with pytest.raises(BadRecord, match="parts of other sizes"):
            Pipeline.load(snapshot.pack(CONFIG.digest(), "A", parts), CONFIG)


def test_a_record_at_the_cadence_shows_the_book_before_the_row_that_crossed_the_line() -> None:
    records = run([*opening(10), delta(50, 11, 500), delta(120, 12, 900)])
    at_line = told(records, SIGNAL_DEPTH)[-1]
    assert (at_line["time"], at_line["received"]) == (START + 120 * MS, START + 50 * MS)
    assert (at_line["last"], at_line["bid_size"]) == (11, 5.0)


def test_rows_between_two_lines_make_no_record() -> None:
    quiet = run([*opening(10), delta(50, 11), delta(99, 12)])
    assert len(told(quiet, SIGNAL_DEPTH)) == 2  # Unsynced, then ok.


def test_a_change_of_state_is_told_at_once_by_both_signals() -> None:
    records = run([*opening(10), message(Kind.GAP, 20, previous=10)])
    for topic in (SIGNAL_DEPTH, SIGNAL_HEALTH):
        states = [(r["time"], r["state"], r["reason"]) for r in told(records, topic)]
        assert states == [
            (START + 10 * MS, "unknown", "unsynced"),
            (START + 10 * MS, "ok", None),
            (START + 20 * MS, "unknown", "gap"),
        ]


def test_an_unknown_book_has_no_numbers() -> None:
    last = told(run([*opening(10), message(Kind.GAP, 20)]), SIGNAL_DEPTH)[-1]
    assert {value for name, value in last.items() if name in ("mid", "bid", "bid_base", "sell_bps")} == {None}
    assert last["bands"] == [10, 50, 500]


def test_book_messages_before_their_instrument_are_refused_and_told() -> None:
    records = run([opening(0)[1], delta(10, 11)])
    assert [(r["state"], r["reason"]) for r in told(records, SIGNAL_DEPTH)] == [("unknown", "no_instrument")]
    more = run([opening(0)[1], delta(10, 11), *opening(20)])
    assert told(more, SIGNAL_HEALTH)[-1]["refused"] == 2
    assert told(more, SIGNAL_HEALTH)[-1]["state"] == "ok"


def test_an_instrument_with_other_units_ends_its_book() -> None:
    coarse = instrument(price_decimals=1)
    records = run([*opening(0), message(Kind.INSTRUMENT, 10, (), (), coarse), *opening(20, unit=coarse)])
    states = [(r["reason"], r["mid"]) for r in told(records, SIGNAL_DEPTH)]
    assert states == [("unsynced", None), (None, 100.0), ("unsynced", None), (None, 1_000.0)]


def test_a_level_that_the_book_cannot_hold_ends_the_book() -> None:
    wild = message(Kind.DELTA, 10, [(-5, 1)], last=11, previous=10, epoch=1)
    records = run([*opening(0), wild, delta(20, 12)])
    assert told(records, SIGNAL_DEPTH)[-1]["reason"] == "gap"
    assert told(records, SIGNAL_HEALTH)[-1]["refused"] == 1


def test_a_snapshot_counts_only_when_its_last_part_came() -> None:
    head, tail = opening(10)[1], opening(10)[1]
    head.messages["flags"], tail.messages["flags"] = int(Flag.PARTIAL), int(Flag.CONTINUED)
    batches = [opening(0)[0], head]
    assert told(run(batches), SIGNAL_DEPTH)[-1]["reason"] == "unsynced"
    assert told(run([*batches, tail]), SIGNAL_DEPTH)[-1]["state"] == "ok"
    torn = told(run([*batches, delta(20, 11), tail]), SIGNAL_DEPTH)[-1]
    assert (torn["state"], torn["reason"]) == ("unknown", "gap")


def test_late_joiners_get_one_record_a_second_and_every_change() -> None:
    ticks = [delta(20.0 * i, 10 + i) for i in range(1, 130)]
    records = run([*opening(10), *ticks, message(Kind.GAP, 2_700)])
    latest = [r for r in records if r.topic == SIGNAL_LATEST and r.key == "depth|one:AUSD"]
    assert [(r.time - START) // MS for r in latest] == [10, 10, 1_100, 2_100, 2_700]
    twins = {(r.time, r.value) for r in records if r.topic == SIGNAL_DEPTH}
    assert all((r.time, r.value) in twins for r in latest)


def test_headers_name_the_input_and_the_engine() -> None:
    records = Pipeline("A", CONFIG).step(joined(opening(10)), 42)
    assert [dict(r.headers)[HEADER_SOURCE] for r in records] == [b"42:%d" % i for i in range(len(records))]
    assert {dict(r.headers)[HEADER_ENGINE] for r in records} == {CONFIG.digest().encode()}
    assert {r.asset for r in records} == {"A"}


def test_the_offset_is_in_no_value() -> None:
    batch = joined(opening(10))
    first, second = (Pipeline("A", CONFIG).step(batch, offset) for offset in (1, 2_000_000))
    assert [r.value for r in first] == [r.value for r in second]


def test_a_malformed_batch_is_refused_and_changes_nothing() -> None:
    pipeline = Pipeline("A", CONFIG)
    run(opening(10), pipeline)
    state = pipeline.dump()
    short, foreign, odd = delta(20, 11), delta(20, 11), opening(20)[0]
    short.messages["count"] = 7
    odd.instruments["contract"] = 77
    many_bids = delta(20, 11)
    many_bids.messages["bids"] = 9
    object.__setattr__(foreign, "asset", "B")
    for batch in (short, foreign, odd, many_bids):
        with pytest.raises(BadRecord):
            pipeline.step(batch)
    assert pipeline.dump() == state


def test_rows_of_any_source_are_taken() -> None:
    batch = joined(opening(10))
    batch.messages.flags.writeable = batch.levels.flags.writeable = False
    spread = np.zeros(8, batch.levels.dtype)[::2]
    spread[:] = batch.levels
    strided = Batch(
        instrument=batch.instrument,
        asset="A",
        messages=batch.messages,
        levels=spread,
        instruments=batch.instruments,
    )
    assert Pipeline("A", CONFIG).step(strided) == Pipeline("A", CONFIG).step(joined(opening(10)))


def test_warming_up_runs_the_whole_path() -> None:
    warm(CONFIG)
