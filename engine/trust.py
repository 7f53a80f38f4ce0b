"""Trust: MESSAGE rows in, whether the book that they build may be believed out.

A book is known from a whole SNAPSHOT on, until something says otherwise:

    GAP, RESYNC                     not known until the next SNAPSHOT
    a DELTA that does not chain     the same, counted as a gap: a message was lost between the feed and here
    DISCONNECTED                    the same, or until a DELTA that states the last good id as its `previous`; a
                                    connection other than the one that carries the book does not count
    STALE of the depth channel, or  not known until the next book message
    `stale_after` without one
    bid >= ask for `crossed_after`  not known until the book uncrosses
    HALTED                          not known until TRADING
"""

from enum import IntEnum
from typing import Any, Final, cast

import numpy as np

from engine.agreement import answer_touch, forget_touches, forget_waiting
from engine.kernel import inner
from engine.schema import Channel, Flag, Kind, Rows, Status


class Reason(IntEnum):
    """Why a book is not known, in the order in which one hides another; in JSON the lower-case name."""

    OK = 0
    #: Nothing but an INSTRUMENT row, or less, was seen yet.
    UNSYNCED = 1
    #: Book messages came without an INSTRUMENT row: their integers have no meaning.
    NO_INSTRUMENT = 2
    GAP = 3
    RESYNC = 4
    DISCONNECTED = 5
    HALTED = 6
    STALE = 7
    CROSSED = 8
    #: Only some parts of a message came yet; said where a record falls between them.
    PARTIAL = 9
    #: No known book of the asset has a mid; said of assets only.
    NO_MID = 10


#: What to do with a book message.
IGNORE: Final = 0
UPDATE: Final = 1
REPLACE: Final = 2
#: The book refused the message: a price or size outside what it can hold.
REFUSED: Final = 3
#: The INSTRUMENT row is another than before.
RENAMED: Final = 4
#: There is no book to apply the message to, for want of an INSTRUMENT row.
NO_BOOK: Final = 5

OK: Final = int(Reason.OK)
#: Of the type that the memory keeps them in.
UNSYNCED: Final = cast(int, np.int64(Reason.UNSYNCED))
NO_INSTRUMENT: Final = cast(int, np.int64(Reason.NO_INSTRUMENT))
GAP: Final = cast(int, np.int64(Reason.GAP))
RESYNC: Final = cast(int, np.int64(Reason.RESYNC))
DISCONNECTED: Final = cast(int, np.int64(Reason.DISCONNECTED))
HALTED: Final = int(Reason.HALTED)
STALE: Final = int(Reason.STALE)
CROSSED: Final = int(Reason.CROSSED)
PARTIAL: Final = int(Flag.PARTIAL)
CONTINUED: Final = int(Flag.CONTINUED)
SNAPSHOT: Final = int(Kind.SNAPSHOT)
DELTA: Final = int(Kind.DELTA)
GAP_ROW: Final = int(Kind.GAP)
RESYNC_ROW: Final = int(Kind.RESYNC)
INSTRUMENT_ROW: Final = int(Kind.INSTRUMENT)
STALE_ROW: Final = int(Kind.STALE)
STATUS_ROW: Final = int(Kind.STATUS)
DEPTH_CHANNEL: Final = int(Channel.DEPTH)
TOUCH_CHANNEL: Final = int(Channel.TOUCH)
NOW_DISCONNECTED: Final = int(Status.DISCONNECTED)
NOW_HALTED: Final = int(Status.HALTED)
NOW_TRADING: Final = int(Status.TRADING)

#: This part of an instrument's memory.
FIELDS: Final[list[Any]] = [
    #: Row time, ns: the latest receive stamp, which never goes back.
    ("clock", "<i8"),
    #: What the last book message said of itself, ns and ids, and who carried it.
    ("received", "<i8"),
    ("exchanged", "<i8"),
    ("last", "<i8"),
    ("epoch", "<i8"),
    ("connection", "<i8"),
    #: Why the book itself is not good, a Reason, OK where it is.
    ("cause", "<i8"),
    ("halted", "<i8"),
    #: Since when, 0 where it is not so.
    ("stale_since", "<i8"),
    ("crossed_since", "<i8"),
    #: Kind of a message of which parts are still to come, its last id, and what is done with them.
    ("partial", "<i8"),
    ("partial_last", "<i8"),
    ("partial_action", "<i8"),
    ("book_messages", "<i8"),
    ("refused", "<i8"),
    ("gaps", "<i8"),
    ("resyncs", "<i8"),
    ("stale_ns", "<i8"),
    ("crossed_ns", "<i8"),
]


@inner
def lose(memory: Rows, cause: int) -> None:
    """Stop believing the book: what was stale or crossed about it is past."""
    own = memory[0]
    own["cause"] = cause
    end_stale(memory)
    end_crossed(memory)
    forget_waiting(memory)


@inner
def end_stale(memory: Rows) -> None:
    """Close a stretch of silence."""
    own = memory[0]
    if own["stale_since"] > 0:
        own["stale_ns"] += own["clock"] - own["stale_since"]
        own["stale_since"] = 0


@inner
def end_crossed(memory: Rows) -> None:
    """Close a stretch of crossed book."""
    own = memory[0]
    if own["crossed_since"] > 0:
        own["crossed_ns"] += own["clock"] - own["crossed_since"]
        own["crossed_since"] = 0


@inner
def admit(memory: Rows, messages: Rows, i: int) -> int:
    """Say what to do with a SNAPSHOT or DELTA; one that breaks the chain ends the book."""
    own, message = memory[0], messages[i]
    own["clock"] = max(own["clock"], message["received"])
    kind, last = int(message["kind"]), message["last"]
    continued = (message["flags"] & CONTINUED) > 0
    whole = own["partial"] == 0
    if continued != (not whole) or (continued and (kind != own["partial"] or last != own["partial_last"])):
        # A part is missing. A new SNAPSHOT heals that, anything else cannot.
        own["gaps"] += 1
        lose(memory, GAP)
        action = REPLACE if kind == SNAPSHOT and not continued else IGNORE
    elif continued:
        action = own["partial_action"]
    elif kind == SNAPSHOT:
        action = REPLACE
    else:
        action = admit_delta(memory, messages, i)
    own["partial"] = kind if (message["flags"] & PARTIAL) > 0 else 0
    own["partial_last"] = last
    own["partial_action"] = UPDATE if action == REPLACE else action
    if action == IGNORE:
        own["refused"] += 1
    return int(action)


@inner
def admit_delta(memory: Rows, messages: Rows, i: int) -> int:
    """Say what to do with a new DELTA, by the sequence rule that every venue shares: sizes are absolute.

    It covers (previous, last]. One that ends at or before our last id is old; one that begins after it leaves a hole;
    anything between may be applied.
    """
    own, message = memory[0], messages[i]
    last, previous = message["last"], message["previous"]
    chains = previous > 0 and previous == own["last"] and message["epoch"] == own["epoch"]
    if own["cause"] != OK and not (own["cause"] == DISCONNECTED and chains):
        return IGNORE
    if chains:
        return UPDATE
    if message["epoch"] != own["epoch"] or previous > own["last"]:
        own["gaps"] += 1
        lose(memory, GAP)
        return IGNORE
    return IGNORE if 0 < last <= own["last"] else UPDATE


@inner
def take_book(memory: Rows, messages: Rows, i: int, bid: int, bid_size: int, ask: int, ask_size: int) -> None:
    """Note what the book is after a message that was applied; between its parts the book is between two states."""
    own, message = memory[0], messages[i]
    if message["flags"] & PARTIAL:
        return
    own["book_messages"] += 1
    own["received"] = own["clock"]
    own["exchanged"] = message["exchanged"]
    own["last"] = message["last"]
    own["epoch"] = message["epoch"]
    own["connection"] = message["connection"] if message["kind"] == DELTA else 0
    own["cause"] = OK
    end_stale(memory)
    if bid_size > 0 and ask_size > 0 and bid >= ask:
        if own["crossed_since"] == 0:
            own["crossed_since"] = own["clock"]
    else:
        end_crossed(memory)
    if message["kind"] == DELTA and message["last"] > 0:
        answer_touch(memory, message["last"], bid, bid_size, ask, ask_size)


@inner
def take_event(memory: Rows, messages: Rows, i: int, action: int) -> None:
    """Note a message that is neither book nor touch."""
    own, message = memory[0], messages[i]
    kind, status = message["kind"], message["status"]
    if kind == GAP_ROW:
        own["gaps"] += 1
        lose(memory, GAP)
    elif kind == RESYNC_ROW:
        own["resyncs"] += 1
        lose(memory, RESYNC)
    elif kind == INSTRUMENT_ROW:
        # Where the book was to come anew in any case, the reason stays the better one.
        if own["cause"] == NO_INSTRUMENT or (action == RENAMED and own["cause"] in (OK, DISCONNECTED)):
            lose(memory, UNSYNCED)
    elif kind == STALE_ROW:
        if status == DEPTH_CHANNEL and own["cause"] == OK and own["stale_since"] == 0:
            own["stale_since"] = own["clock"]
        if status == TOUCH_CHANNEL:
            forget_touches(memory)
    elif kind == STATUS_ROW:
        if status == NOW_DISCONNECTED:
            forget_touches(memory)
            if own["connection"] == 0 or message["connection"] == 0 or own["connection"] == message["connection"]:
                lose(memory, DISCONNECTED)
        elif status == NOW_HALTED:
            own["halted"] = 1
        elif status == NOW_TRADING:
            own["halted"] = 0


@inner
def reason_of(memory: Rows, crossed_after: int) -> int:
    """Say why the book is not known now, OK where it is."""
    own = memory[0]
    if own["cause"] != OK:
        return int(own["cause"])
    if own["halted"]:
        return HALTED
    if own["stale_since"] > 0:
        return STALE
    if own["crossed_since"] > 0 and own["clock"] - own["crossed_since"] > crossed_after:
        return CROSSED
    return OK
