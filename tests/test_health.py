"""Health: when a book is believed, what its stream is said to be like, and when silence is noticed."""

import random
from collections import deque
from typing import Any

import orjson
import pytest

from engine.agreement import answer_touch, hear_touch
from engine.config import BaselineConfig, EngineConfig
from engine.instrument import Instrument
from engine.lateness import BINS, bin_of, count_lateness, end_of, quantile
from engine.pipeline import Pipeline
from engine.schema import Batch, Channel, Flag, Kind, Record, Status
from engine.signals.health import memory_of
from engine.topics import SIGNAL_DEPTH, SIGNAL_HEALTH
from tests.stream import MS, START, Level, instrument, market, message, opening

CONFIG = EngineConfig(bands=(10, 50, 500), notionals=(100, 10_000), baseline=BaselineConfig(bands=(10, 50)))
OTHER = instrument("two")
SECOND = 1_000 * MS


def run(*batches: Batch) -> list[Record]:
    pipeline = Pipeline("A", CONFIG)
    return [record for batch in batches for record in pipeline.step(batch)]


def health(records: list[Record], key: str = "one:AUSD") -> list[dict[str, Any]]:
    return [orjson.loads(r.value) for r in records if r.topic == SIGNAL_HEALTH and r.key == key]


def changes(*batches: Batch) -> list[tuple[int, str | None]]:
    """When the reason changed, in ms, and to what."""
    told: list[tuple[int, str | None]] = []
    for one in health(run(*batches)):
        if not told or told[-1][1] != one["reason"]:
            told.append(((one["time"] - START) // MS, one["reason"]))
    return told


def delta(at: float, last: int, previous: int | None = None, **fields: int) -> Batch:
    fields = {"epoch": 1, "connection": 3, **fields}
    return message(Kind.DELTA, at, [(9_990, last)], (), None, last=last, previous=previous or last - 1, **fields)


def cross(at: float, last: int, size: int) -> Batch:
    return message(Kind.DELTA, at, [(10_050, size)], last=last, previous=last - 1, epoch=1)


def trade(at: float, unit: Instrument | None = None, **fields: int) -> Batch:
    return message(Kind.TRADE, at, (), (), unit, **fields)


def touch(at: float, last: int, bid: Level = (9_990, 100), ask: Level = (10_010, 100)) -> Batch:
    return message(Kind.TOUCH, at, [bid], [ask], last=last)


def test_a_snapshot_makes_a_book_known_and_a_gap_ends_it() -> None:
    assert changes(*opening(5), message(Kind.GAP, 20), delta(30, 11), *opening(40, 50, 2)) == [
        (5, "unsynced"),
        (5, None),
        (20, "gap"),
        (40, None),
    ]


def test_a_resync_hides_the_gap_that_caused_it() -> None:
    assert changes(*opening(0), message(Kind.GAP, 20), message(Kind.RESYNC, 21))[-2:] == [(20, "gap"), (21, "resync")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"last": 13, "previous": 12},
        {"last": 11, "previous": 10, "epoch": 2},
        {"last": 11, "previous": 10, "flags": int(Flag.CONTINUED)},
    ],
)
def test_a_diff_that_does_not_chain_ends_the_book(wrong: dict[str, int]) -> None:
    records = run(*opening(0), delta(10, **wrong), delta(20, 14))
    last = health(records)[-1]
    assert (last["reason"], last["gaps"]) == ("gap", 1)
    assert orjson.loads([r for r in records if r.topic == SIGNAL_DEPTH][-1].value)["mid"] is None


def test_an_old_diff_is_passed_over() -> None:
    last = health(run(*opening(0), delta(10, 12, 9), delta(20, 11, 10), trade(1_000)))[-1]
    assert (last["reason"], last["book_messages"], last["refused"], last["last"]) == (None, 2, 1, 12)


def test_an_overlapping_diff_is_applied() -> None:
    last = health(run(*opening(0), delta(10, 12, 8), trade(1_000)))[-1]
    assert (last["reason"], last["book_messages"], last["last"]) == (None, 2, 12)


def test_a_disconnect_ends_the_book_until_a_snapshot_or_a_diff_that_proves_the_chain() -> None:
    gone = message(Kind.STATUS, 20, status=int(Status.DISCONNECTED), connection=3)
    begin = [*opening(0), delta(10, 11), gone]
    assert changes(*begin)[-1] == (20, "disconnected")
    assert changes(*begin, delta(30, 13, 12))[-1] == (20, "disconnected")
    assert changes(*begin, delta(30, 13, 10))[-1] == (20, "disconnected")
    assert changes(*begin, delta(30, 12, 11))[-1] == (30, None)
    assert changes(*begin, *opening(40, 50, 2))[-1] == (40, None)


def test_another_connection_may_close() -> None:
    gone = message(Kind.STATUS, 20, status=int(Status.DISCONNECTED), connection=4)
    assert changes(*opening(0), delta(10, 11), gone)[-1] == (0, None)


def test_a_halt_lasts_until_trading() -> None:
    halted = message(Kind.STATUS, 20, status=int(Status.HALTED))
    trading = message(Kind.STATUS, 60, status=int(Status.TRADING))
    assert changes(*opening(0), halted, delta(30, 11), trading)[-2:] == [(20, "halted"), (60, None)]


def test_a_stale_depth_stream_ends_with_its_next_message() -> None:
    stale = message(Kind.STALE, 20, status=int(Channel.DEPTH))
    assert changes(*opening(0), stale, trade(30), delta(40, 11))[-2:] == [(20, "stale"), (40, None)]
    assert health(run(*opening(0), stale, delta(40, 11)))[-1]["stale_ns"] == 20 * MS


def test_another_stale_channel_leaves_the_book() -> None:
    assert changes(*opening(0), message(Kind.STALE, 20, status=int(Channel.TRADE)))[-1] == (0, None)


def test_silence_is_noticed_by_rows_of_the_same_instrument() -> None:
    assert changes(*opening(0), trade(2_000), trade(2_001), delta(2_500, 11))[-2:] == [(2_001, "stale"), (2_500, None)]


def test_silence_is_noticed_by_rows_of_another_instrument() -> None:
    records = run(*opening(0), *opening(0, unit=OTHER), trade(1_999, OTHER), trade(2_001, OTHER))
    last = health(records)[-1]
    assert (last["time"], last["reason"], last["stale_ns"]) == (START + 2_001 * MS, "stale", 1 * MS)
    depth = [orjson.loads(r.value) for r in records if r.topic == SIGNAL_DEPTH and r.key == "one:AUSD"]
    assert (depth[-1]["state"], depth[-1]["reason"], depth[-1]["bid_base"]) == ("unknown", "stale", None)


def test_a_silent_instrument_still_reports_every_second_cadence() -> None:
    times = [one["time"] for one in health(run(*opening(0), *(trade(500.0 * i, OTHER) for i in range(1, 14))))]
    # The book turns stale at 2.5 s (the first row later than 2 s); from then on two cadences apart.
    assert [(time - START) // MS for time in times] == [0, 0, 2_000, 2_500, 4_500, 6_500]


def test_time_at_rest_is_counted_from_the_last_message() -> None:
    last = health(run(*opening(0), trade(5_000)))[-1]
    assert (last["stale_ns"], last["age_ns"], last["unknown_ns"]) == (3_000 * MS, 5_000 * MS, 0)
    later = health(run(*opening(0), trade(5_000), trade(6_000)))[-1]
    assert later["unknown_ns"] == 1_000 * MS


def test_a_crossed_book_is_withheld_at_once_and_unknown_after_a_while() -> None:
    crossed = [*opening(0), cross(10, 11, 7)]
    assert changes(*crossed, trade(110))[-1] == (0, None)
    assert changes(*crossed, trade(110), trade(111), cross(150, 12, 0))[-2:] == [(111, "crossed"), (150, None)]
    at_line = [r for r in run(*crossed, trade(110)) if r.topic == SIGNAL_DEPTH][-1]
    value = orjson.loads(at_line.value)
    assert (value["state"], value["reason"], value["mid"]) == ("unknown", "crossed", None)
    assert health(run(*crossed, cross(50, 12, 0), trade(1_000)))[-1]["crossed_ns"] == 40 * MS


def test_a_locked_book_counts_as_crossed() -> None:
    locked = message(Kind.DELTA, 10, [(10_010, 1)], last=11, previous=10, epoch=1)
    assert changes(*opening(0), locked, trade(111))[-1] == (111, "crossed")


def test_random_streams_meet_every_reason() -> None:
    met = {one["reason"] for seed in range(4) for one in health(run(*market(seed, 400)), "venue0:AUSD")}
    known = {None, "unsynced", "gap", "resync", "disconnected", "halted", "stale", "crossed"}
    assert met <= known
    assert {None, "gap", "resync", "disconnected", "halted", "stale"} <= met


def test_the_venues_own_touch_is_compared_whichever_comes_first() -> None:
    same, other = (9_990, 12), (9_990, 99)
    ahead = run(*opening(0), touch(5, 12, same), touch(6, 14, other), delta(10, 13, 10), trade(1_000))
    assert (health(ahead)[-1]["touch_compared"], health(ahead)[-1]["touch_agreed"]) == (1, 0)
    behind = run(*opening(0), touch(5, 10), delta(10, 12, 10), touch(20, 12, same), touch(30, 13, other), trade(1_000))
    assert (health(behind)[-1]["touch_compared"], health(behind)[-1]["touch_agreed"]) == (1, 1)


def test_a_touch_stream_that_broke_is_not_compared_across_the_break() -> None:
    stale = message(Kind.STALE, 7, status=int(Channel.TOUCH))
    last = health(run(*opening(0), touch(5, 10), stale, delta(10, 12, 10), touch(20, 13), trade(1_000)))[-1]
    assert last["touch_compared"] == 0


def test_agreement_equals_its_twin() -> None:
    """The twin knows every touch beforehand, and looks up the newest one at or before each diff."""
    chance = random.Random(5)
    for _ in range(20):
        ids = range(1, 400)
        touches = {i: (100, chance.randint(1, 2), 101, 1) for i in ids if chance.random() < 0.6}
        diffs = {i: (100, chance.randint(1, 2), 101, 1) for i in ids if chance.random() < 0.2}
        expected = [
            touches[max(t for t in touches if t <= i)] == best for i, best in diffs.items() if min(touches) <= i
        ]
        memory = memory_of()
        left, right = deque(touches.items()), deque(diffs.items())
        hear_touch(memory, left[0][0], *left.popleft()[1])
        while left or right:
            if left and (not right or (chance.random() < 0.75 and left[0][0] - right[0][0] < 60)):
                last, best = left.popleft()
                hear_touch(memory, last, *best)
            else:
                last, best = right.popleft()
                answer_touch(memory, last, *best)
        hear_touch(memory, 1_000, 1, 1, 2, 1)
        # A diff before the first touch was heard is not compared; everything else is.
        assert memory["touch_compared"][0] == len(expected)
        assert memory["touch_agreed"][0] == sum(expected)


def test_an_empty_side_agrees_whatever_its_price() -> None:
    memory = memory_of()
    hear_touch(memory, 1, 100, 5, 77, 0)
    answer_touch(memory, 1, 100, 5, 0, 0)
    hear_touch(memory, 2, 100, 5, 77, 0)
    assert (memory["touch_compared"][0], memory["touch_agreed"][0]) == (1, 1)


def test_lateness_is_what_exceeds_the_least_delay() -> None:
    memory = memory_of()
    for delay in (-1_270, -1_200, -1_270, -270):
        count_lateness(memory, START, delay)
    assert memory["offset"][0] == -1_270
    assert (quantile(memory, 50), quantile(memory, 99)) == (0, end_of(bin_of(1_000)))


def test_quantiles_are_at_most_an_eighth_too_high() -> None:
    chance = random.Random(2)
    memory = memory_of()
    count_lateness(memory, START, 0)
    drawn = [0, *(int(chance.lognormvariate(14, 3)) for _ in range(4_999))]
    for delay in drawn[1:]:
        count_lateness(memory, START, delay)
    for percent in (50, 99):
        true = sorted(drawn)[-(-len(drawn) * percent // 100) - 1]
        assert true <= quantile(memory, percent) <= true * 9 / 8 + 1


def test_every_lateness_has_a_bin() -> None:
    for lateness in [*range(300), *(1 << k for k in range(63)), *((1 << k) - 1 for k in range(1, 63))]:
        at = bin_of(lateness)
        assert 0 <= at < BINS
        assert lateness <= end_of(at)
        assert at == 0 or end_of(at - 1) < lateness


def test_the_clock_offset_forgets_after_a_minute() -> None:
    memory = memory_of()
    count_lateness(memory, START, -500)
    count_lateness(memory, START + 54 * SECOND, -100)
    assert memory["offset"][0] == -500
    count_lateness(memory, START + 61 * SECOND, -50)
    assert memory["offset"][0] == -100
    count_lateness(memory, START + 600 * SECOND, -7)
    assert memory["offset"][0] == -7


def test_a_slow_recorders_clock_gives_a_negative_offset() -> None:
    sent = [delta(10.0 * i, 10 + i, exchanged=START + round((10 * i + 1_270 - i % 2) * MS)) for i in range(1, 120)]
    last = health(run(*opening(0), *sent))[-1]
    assert last["clock_offset_ns"] == -1_270 * MS
    assert 0.9 * MS <= last["lateness_p99_ns"] <= 1.2 * MS
    assert last["lateness_samples"] == 99


def test_unusable_stamps_are_counted_and_left_out() -> None:
    bad = delta(20, 11, exchanged=1, flags=int(Flag.BAD_TIME))
    past = trade(30, exchanged=START - 9 * SECOND, flags=int(Flag.HISTORY))
    last = health(run(*opening(0), bad, past, trade(1_000)))[-1]
    assert (last["bad_time"], last["clock_offset_ns"], last["lateness_samples"]) == (1, None, 0)
    assert last["why"] == dict.fromkeys(("clock_offset_ns", "lateness_p50_ns", "lateness_p99_ns"), "no_stamp")
