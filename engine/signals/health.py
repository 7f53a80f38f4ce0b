"""Health: MESSAGE rows in, whether one instrument's book may be believed out, and the record of how its stream behaves.

Time is row time: the receive stamps, which never go back here. Silence is noticed when any row of the same asset says
that time has passed, so a dead stream is told from a quiet market as long as one stream of the asset is alive.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine import agreement, lateness, trust
from engine.agreement import hear_touch
from engine.config import EngineConfig
from engine.fields import Field, Layout, Signal, Why
from engine.kernel import inlined, inlined_entry, inner, kernel
from engine.lateness import NONE, count_lateness, forget_lateness, quantile, restart_lateness, roll_lateness
from engine.schema import Flag, Kind, Rows
from engine.topics import SIGNAL_HEALTH
from engine.trust import (
    DELTA,
    GAP,
    NO_BOOK,
    NO_INSTRUMENT,
    OK,
    REFUSED,
    REPLACE,
    SNAPSHOT,
    UNSYNCED,
    UPDATE,
    lose,
    reason_of,
    take_book,
    take_event,
)

#: The Reason of an instrument of which nothing was told yet.
UNTOLD: Final = -1
TOUCH: Final = int(Kind.TOUCH)
TRADE: Final = int(Kind.TRADE)
#: Messages whose stamps tell nothing of the path: parts already counted, past events.
UNTIMED: Final = int(Flag.CONTINUED | Flag.HISTORY)
BAD_TIME: Final = int(Flag.BAD_TIME)
NO_STAMP: Final = int(Why.NO_STAMP)
NO_BOOK_MESSAGE: Final = int(Why.NO_BOOK_MESSAGE)

#: Records that are due, as bits.
DEPTH: Final = 1
HEALTH: Final = 2
#: The health record closes an interval of the cadence.
INTERVAL: Final = 4
#: The state changed.
CHANGE: Final = 8

MEMORY: Final = np.dtype(
    [
        *trust.FIELDS,
        #: The Reason last told, and since when it holds.
        ("reason", "<i8"),
        ("since", "<i8"),
        #: Cell of the cadence's grid, and row time, of the last records.
        ("depth_cell", "<i8"),
        ("health_cell", "<i8"),
        ("health_time", "<i8"),
        #: Row time of the next thing to do: on an own row, on anybody's.
        ("due", "<i8"),
        ("alarm", "<i8"),
        ("messages", "<i8"),
        ("bad_time", "<i8"),
        ("unknown_ns", "<i8"),
        *lateness.FIELDS,
        *agreement.FIELDS,
    ],
    align=True,
)

Ints = NDArray[np.int64]


def limits_of(config: EngineConfig) -> Ints:
    """Give the limits that the kernels take, ns: both cadences, how old and how long crossed a book may be."""
    limits = (config.cadence, config.health_cadence, config.stale_after, config.crossed_after)
    return np.array(limits, np.int64) * 1_000_000


def memory_of() -> Rows:
    """Give the memory of an instrument of which nothing is known."""
    memory = np.zeros(1, MEMORY)
    memory["cause"] = UNSYNCED
    memory["reason"] = memory["depth_cell"] = memory["health_cell"] = UNTOLD
    memory["due"] = memory["alarm"] = NONE
    forget_lateness(memory)
    return memory


@inlined
def settle(
    memory: Rows,
    limits: Ints,
    messages: Rows,
    i: int,
    action: int,
    levels: Rows,
    at: int,
    bid: int,
    bid_size: int,
    ask: int,
    ask_size: int,
) -> tuple[int, int, int]:
    """Take one message in, after the book did; say as `pass_time` what is due."""
    own, message = memory[0], messages[i]
    now = max(own["clock"], message["received"])
    own["clock"] = now
    own["messages"] += 1
    kind = message["kind"]
    if kind in (SNAPSHOT, DELTA):
        if action in (REFUSED, NO_BOOK):
            own["refused"] += 1
            lose(memory, GAP if action == REFUSED else NO_INSTRUMENT)
        elif action in (UPDATE, REPLACE):
            take_book(memory, messages, i, bid, bid_size, ask, ask_size)
    elif kind == TOUCH:
        if message["count"] == 2 and message["last"] > 0:
            best, other = levels[at], levels[at + 1]
            hear_touch(memory, message["last"], best["price"], best["size"], other["price"], other["size"])
    else:
        take_event(memory, messages, i, action)
    if message["flags"] & BAD_TIME:
        own["bad_time"] += 1
    elif kind in (DELTA, TOUCH, TRADE) and message["exchanged"] > 0 and (message["flags"] & UNTIMED) == 0:
        count_lateness(memory, now, message["received"] - message["exchanged"])
    if kind in (TOUCH, TRADE) and now < own["due"] and own["reason"] > UNTOLD:
        # They say nothing of the book, so that only time could make anything due.
        return 0, own["due"], own["alarm"]
    return pass_time(memory, limits, now, True)


@inlined_entry
def pass_time(memory: Rows, limits: Ints, now: int, own_row: bool) -> tuple[int, int, int]:
    """Let row time pass; say which records are due (bits) and when to ask again: on an own row, on anybody's.

    Own rows keep the cadence. Another instrument's row only proves silence: it ends a book's credit, and brings a
    health record when two cadences went by without one.
    """
    own = memory[0]
    now = max(now, own["clock"])
    own["clock"] = now
    cadence, health_cadence, stale_after = limits[0], limits[1], limits[2]
    if own["cause"] == OK and own["stale_since"] == 0 and now - own["received"] > stale_after:
        own["stale_since"] = own["received"] + stale_after
    reason = reason_of(memory, limits[3])
    due = 0
    if reason != own["reason"]:
        if own["reason"] > OK:
            own["unknown_ns"] += now - own["since"]
        own["reason"], own["since"] = reason, now
        due = CHANGE | DEPTH | HEALTH
    if own_row and now // cadence != own["depth_cell"]:
        due |= DEPTH
    if (own_row and now // health_cadence != own["health_cell"]) or now - own["health_time"] >= 2 * health_cadence:
        due |= HEALTH
    if due & DEPTH:
        own["depth_cell"] = now // cadence
    if due & HEALTH:
        if now // health_cadence != own["health_cell"]:
            due |= INTERVAL
        own["health_cell"] = now // health_cadence
        own["health_time"] = now
    grid = min((own["depth_cell"] + 1) * cadence, (own["health_cell"] + 1) * health_cadence)
    own["alarm"] = next_alarm(memory, limits)
    own["due"] = min(grid, own["alarm"])
    return due, own["due"], own["alarm"]


@inner
def next_alarm(memory: Rows, limits: Ints) -> int:
    """Say from when on time alone, without a message of this instrument, brings a record."""
    own = memory[0]
    alarm = own["health_time"] + 2 * limits[1]
    if own["cause"] == OK and own["stale_since"] == 0:
        alarm = min(alarm, own["received"] + limits[2] + 1)
    if own["crossed_since"] > 0 and own["reason"] == OK:
        alarm = min(alarm, own["crossed_since"] + limits[3] + 1)
    return int(alarm)


@kernel
def report(memory: Rows, out: Rows, interval: bool) -> None:
    """Fill one HEALTH row as of the memory's clock; the end of an interval begins the next one's quantiles."""
    own, row = memory[0], out[0]
    now = own["clock"]
    roll_lateness(memory, now)
    row["since"] = own["since"]
    row["messages"] = own["messages"]
    row["book_messages"] = own["book_messages"]
    row["refused"] = own["refused"]
    row["gaps"] = own["gaps"]
    row["resyncs"] = own["resyncs"]
    row["bad_time"] = own["bad_time"]
    row["stale_ns"] = own["stale_ns"] + (now - own["stale_since"] if own["stale_since"] > 0 else 0)
    row["crossed_ns"] = own["crossed_ns"] + (now - own["crossed_since"] if own["crossed_since"] > 0 else 0)
    row["unknown_ns"] = own["unknown_ns"] + (now - own["since"] if own["reason"] > OK else 0)
    row["age_ns"] = now - own["received"] if own["book_messages"] > 0 else 0
    row["age_why"] = 0 if own["book_messages"] > 0 else NO_BOOK_MESSAGE
    row["touch_compared"] = own["touch_compared"]
    row["touch_agreed"] = own["touch_agreed"]
    row["clock_offset_ns"] = own["offset"] if own["offset"] < NONE else 0
    row["offset_why"] = 0 if own["offset"] < NONE else NO_STAMP
    row["lateness_samples"] = own["samples"]
    row["lateness_p50_ns"] = quantile(memory, 50)
    row["lateness_p99_ns"] = quantile(memory, 99)
    row["lateness_why"] = 0 if own["samples"] > 0 else NO_STAMP
    row["undefined"] = own["book_messages"] == 0 or own["offset"] == NONE or own["samples"] == 0
    if interval:
        restart_lateness(memory)


def layout() -> Layout:
    """Give the HEALTH row's layout."""
    return Layout(SIGNAL.fields, {})


SIGNAL: Final = Signal(
    name="health",
    topic=SIGNAL_HEALTH,
    meaning="Whether one instrument's book may be believed, and how its stream behaves. Counts run from the first row.",
    needs_book=False,
    fields=(
        Field("since", "integer", "ns", "Row time from which the state and reason hold."),
        Field("messages", "integer", "messages", "Messages of every kind."),
        Field("book_messages", "integer", "messages", "Snapshots and diffs that were applied to the book."),
        Field("refused", "integer", "messages", "Snapshots and diffs that were not: old, out of sequence or of range."),
        Field("gaps", "integer", "gaps", "Holes in the book's sequence, met by the feed or here."),
        Field("resyncs", "integer", "resyncs", "Times that the feed began to build the book anew."),
        Field("stale_ns", "integer", "ns", "Time in which a good book had gone silent."),
        Field("crossed_ns", "integer", "ns", "Time in which a good book had its best bid at or above its best ask."),
        Field("unknown_ns", "integer", "ns", "Time in which the state was `unknown`, for whatever reason."),
        Field("age_ns", "integer", "ns", "Row time since the last book message.", why="age_why"),
        Field(
            "touch_compared", "integer", "diffs", "Diffs after which the venue's own best bid and ask were compared."
        ),
        Field("touch_agreed", "integer", "diffs", "Those of them where price and size of both sides were equal."),
        Field(
            "clock_offset_ns",
            "integer",
            "ns",
            "Least of received - exchanged over the last minute; negative where the recorder's clock is slow.",
            why="offset_why",
        ),
        Field("lateness_samples", "integer", "messages", "Messages with a usable stamp since the last cadence record."),
        Field(
            "lateness_p50_ns",
            "integer",
            "ns",
            "Median of received - exchanged - offset since the last cadence record, at most an eighth too high.",
            why="lateness_why",
        ),
        Field("lateness_p99_ns", "integer", "ns", "Its 99th percentile.", why="lateness_why"),
        Field("bad_time", "integer", "messages", "Messages whose exchange stamp the feed marked as unusable."),
    ),
)
