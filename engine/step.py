"""A step: one instrument's memories and a batch of its messages in, applied until something is to be said or made.

What happens at a message's place in the order, and nothing else, runs here, the same live and in replay:

    TELL    row time moves on; if it has reached what anybody waits for, return: records come before the message
    TAKE    book messages and trades are applied to everything that remembers them
    SETTLE  the message counts towards the book's health; if that calls for records, return

The rare rest, whatever needs new arrays or writes a record, is the caller's: each return says which, and the CURSOR
where to go on. A batch is taken by as many calls as it has such places, so mostly by one.
"""

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np

from engine import ladder, liquidations, tail
from engine.kernel import entry, inlined, kernel
from engine.ladder import ASK, BID, NOTHING, OFF_CENTRE, OUT_OF_RANGE, Ints, apply, share, size_at
from engine.money import QUANTO, UNIT
from engine.schema import LEVEL, MESSAGE, Flag, Kind, Rows, empty
from engine.schema import TRADE as TRADE_ROW
from engine.settings import CASCADE, FLOW
from engine.signals import cascade, flow, health
from engine.trust import DELTA, IGNORE, INSTRUMENT_ROW, NO_BOOK, OK, PARTIAL, REFUSED, REPLACE, UPDATE, admit

#: What a step returned for: the batch is taken whole; row time has reached a limit; records are due, or the book's
#: window is to be moved; a snapshot replaces the book; the list beside the window is full; other rows are to be heard.
END: Final = 0
TIME: Final = 1
DUE: Final = 2
SNAPSHOT: Final = 3
ROOM: Final = 4
OTHER: Final = 5

#: Stages of a message.
TELL: Final = 0
TAKE: Final = 1
SETTLE: Final = 2

TOUCH: Final = int(Kind.TOUCH)
TRADE: Final = int(Kind.TRADE)
REFERENCE: Final = int(Kind.REFERENCE)
LIQUIDATION: Final = int(Kind.LIQUIDATION)
HISTORY: Final = int(Flag.HISTORY)
CONTINUED: Final = int(Flag.CONTINUED)
#: Place in the limits, behind those of `engine.signals.health`: how far a cascade looks, bps, where it is asked at
#: every book message, else 0.
REACH: Final = 4

CURSOR: Final = np.dtype(
    [
        #: Number of the message in the batch, its stage, and rows of each family that messages before it had.
        ("at", "<i8"),
        ("stage", "<i8"),
        ("levels", "<i8"),
        ("trades", "<i8"),
        ("references", "<i8"),
        ("liquidations", "<i8"),
        #: 1 where the mid has left the middle of the book's window.
        ("off_centre", "<i8"),
        #: What was done with the message, and the records that it calls for, as bits.
        ("action", "<i8"),
        ("records", "<i8"),
        #: The asset's row time, and from which one on it concerns others than this instrument.
        ("clock", "<i8"),
        ("limit", "<i8"),
        #: Row time from which on something is to be done: on an own row, on anybody's; end of the open cell.
        ("due", "<i8"),
        ("alarm", "<i8"),
        ("cell_ends", "<i8"),
        #: Whether the instrument is known: else its rows have no meaning.
        ("named", "<i8"),
    ],
    align=True,
)
#: The same fields as places in a `memoryview` of words, which plain Python reads and writes faster than a row.
AT, _, _, _, _, _, ASTRAY, _, RECORDS, CLOCK, LIMIT, OWN_DUE, ALARM, CELL_ENDS, NAMED = range(15)


@kernel
def begin_batch(
    cursor: Rows, messages: Rows, levels: int, trades: int, references: int, liquidations: int, instruments: int
) -> bool:
    """Place the cursor at a batch's first message; say whether the batch holds what its messages promise.

    That is so many rows of each family, one INSTRUMENT row each, and no more bids than rows.
    """
    at = cursor[0]
    at["at"] = at["levels"] = at["trades"] = at["references"] = at["liquidations"] = 0
    at["stage"], at["off_centre"] = TELL, 0
    for i in range(len(messages)):
        kind, count = int(messages[i]["kind"]), int(messages[i]["count"])
        if messages[i]["bids"] > count or (kind == INSTRUMENT_ROW and count != 1):
            return False
        if kind <= TOUCH:
            levels -= count
        elif kind == TRADE:
            trades -= count
        elif kind == REFERENCE:
            references -= count
        elif kind == LIQUIDATION:
            liquidations -= count
        elif kind == INSTRUMENT_ROW:
            instruments -= count
    return levels == 0 and trades == 0 and references == 0 and liquidations == 0 and instruments == 0


@kernel
def step(
    cursor: Rows,
    limits: Ints,
    memory: Rows,
    flow_memory: Rows,
    flow_settings: Rows,
    map_memory: Rows,
    assumed: Rows,
    tail_memory: Rows,
    tail_settings: Rows,
    whole_tail: Rows,
    book: Rows,
    bands: Ints,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    unit: Rows,
    messages: Rows,
    levels: Rows,
    trades: Rows,
) -> int:
    """Take messages from the cursor's on; return why it stopped. `whole_tail` is that of the asset."""
    at = cursor[0]
    while at["at"] < len(messages):
        i = at["at"]
        kind, count = int(messages[i]["kind"]), int(messages[i]["count"])
        if at["stage"] == TELL:
            at["stage"] = TAKE
            if is_time(cursor, messages[i]["received"]):
                return TIME
        rows = levels[at["levels"] : at["levels"] + (count if kind <= TOUCH else 0)]
        if at["stage"] == TAKE:
            if kind <= DELTA and at["named"] and count > far.shape[2] - max(book[0]["bid_far"], book[0]["ask_far"]):
                return ROOM
            at["stage"], at["action"] = SETTLE, NO_BOOK if kind <= DELTA else IGNORE
            if kind <= DELTA and at["named"]:
                at["action"] = take_book(
                    cursor, memory, flow_memory, flow_settings, book, bands, sizes, occupied, far, messages, i, rows
                )
                if at["action"] == REPLACE:
                    return SNAPSHOT
            elif kind == TRADE and at["named"] and (messages[i]["flags"] & HISTORY) == 0:
                printed = trades[at["trades"] : at["trades"] + count]
                take_trades(
                    memory,
                    flow_memory,
                    flow_settings,
                    map_memory,
                    assumed,
                    tail_memory,
                    tail_settings,
                    unit,
                    printed,
                    max(memory[0]["clock"], messages[i]["received"]),
                )
                if usable(memory, book, sizes, far, unit):
                    tail.take_trades(whole_tail, tail_settings, printed, unit, at["clock"])
            elif kind in (INSTRUMENT_ROW, REFERENCE, LIQUIDATION):
                return OTHER
        settle(cursor, limits, memory, book, sizes, far, messages, i, rows)
        pass_on(cursor, kind, count)
        if at["records"] or at["off_centre"]:
            return DUE
    return END


@cache
def entrance() -> Callable[..., int]:
    """Return `step` for arrays of exactly these types: to look them up took longer than to apply twenty levels."""
    one = (health.MEMORY, flow.MEMORY, flow.SETTINGS, liquidations.MEMORY, liquidations.SETTINGS)
    more = (tail.MEMORY, tail.SETTINGS, tail.MEMORY, ladder.MEMORY)
    memories = [np.zeros(1, dtype) for dtype in (*one, *more)]
    limits, bands = np.zeros(REACH + 1, np.int64), np.zeros((5, 0), np.int64)
    sides, far = np.zeros((2, 0), np.int64), np.zeros((2, 2, 0), np.int64)
    ladders = bands, sides, sides, far, np.zeros(1, UNIT)
    return entry(step, np.zeros(1, CURSOR), limits, *memories, *ladders, empty(MESSAGE), empty(LEVEL), empty(TRADE_ROW))


@inlined
def is_time(cursor: Rows, received: int) -> bool:
    """Let row time move on to a message's stamp; say whether anybody waits for that."""
    at = cursor[0]
    at["clock"] = max(at["clock"], received)
    return bool(at["clock"] >= at["limit"] or received >= at["due"])


@inlined
def take_book(
    cursor: Rows,
    memory: Rows,
    flow_memory: Rows,
    flow_settings: Rows,
    book: Rows,
    bands: Ints,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    messages: Rows,
    i: int,
    rows: Rows,
) -> int:
    """Take a book message, but for one that replaces the book; say what was, or is to be, done with it."""
    action, partial = admit(memory, messages, i), messages[i]["flags"] & PARTIAL
    # A sum of 64 bits: kernels are compiled anew for the field's own 32.
    bids = NOTHING + int(messages[i]["bids"])
    if action != UPDATE:
        return action
    if messages[i]["kind"] == DELTA:
        flow.before(flow_memory, flow_settings, book, sizes, occupied, far, rows, bids)
    outcome = apply(book, bands, sizes, occupied, far, rows, bids)
    if outcome == OUT_OF_RANGE:
        flow.restart(flow_memory)
        return REFUSED
    cursor[0]["off_centre"] = outcome == OFF_CENTRE
    # Between the parts of one message the book is no state that a market was in.
    if not partial:
        flow.after(flow_memory, flow_settings, book, sizes, occupied, far, memory[0]["clock"])
    return action


@inlined
def take_trades(
    memory: Rows,
    flow_memory: Rows,
    flow_settings: Rows,
    map_memory: Rows,
    assumed: Rows,
    tail_memory: Rows,
    tail_settings: Rows,
    unit: Rows,
    trades: Rows,
    now: int,
) -> None:
    """Take TRADE rows into the instrument's flow, map and tail."""
    flow.trade(flow_memory, flow_settings, trades, unit, now)
    # Nobody is liquidated on a spot market, but known exposures are over where their trigger trades.
    liquidations.take_trades(map_memory, assumed, trades, unit, now)
    if memory[0]["reason"] == OK:
        tail.take_trades(tail_memory, tail_settings, trades, unit, now)


@inlined
def usable(memory: Rows, book: Rows, sizes: Ints, far: Ints, unit: Rows) -> bool:
    """Say whether a book counts among those of its asset: known, with a mid, and sizes that are base units."""
    own = memory[0]
    if own["reason"] != OK or own["partial"] or own["crossed_since"] or unit[0]["contract"] == QUANTO:
        return False
    _, bid_size, _, ask_size = best(book, sizes, far)
    return bool(bid_size > 0 and ask_size > 0)


@inlined
def settle(
    cursor: Rows, limits: Ints, memory: Rows, book: Rows, sizes: Ints, far: Ints, messages: Rows, i: int, rows: Rows
) -> None:
    """Take a message into the book's health, and note what is due and when to ask again."""
    at, message, action = cursor[0], messages[i], int(cursor[0]["action"])
    bid, bid_size, ask, ask_size = 0, 0, 0, 0
    if message["kind"] <= DELTA and at["named"] and action != IGNORE:
        bid, bid_size, ask, ask_size = best(book, sizes, far)
    records, due, alarm = health.settle(memory, limits, messages, i, action, rows, 0, bid, bid_size, ask, ask_size)
    whole = (message["flags"] & PARTIAL) == 0 and limits[REACH] > 0
    if whole and (action == REPLACE or (action == UPDATE and message["flags"] & CONTINUED)):
        # The parts of a message were not looked at one by one.
        records |= CASCADE
    elif whole and action == UPDATE:
        low, high = -share(-bid - ask, 10_000 - limits[REACH]), share(bid + ask, 10_000 + limits[REACH])
        records |= CASCADE if cascade.depends(rows, int(message["bids"]), low, high) else 0
    if memory[0]["clock"] >= at["cell_ends"]:
        records |= FLOW
    at["records"], at["due"], at["alarm"] = records, min(due, at["cell_ends"]), alarm


@inlined
def best(book: Rows, sizes: Ints, far: Ints) -> tuple[int, int, int, int]:
    """Return best bid, its size, best ask, its size; zeros where a side is empty."""
    own = book[0]
    bid, ask = int(own["bid"]), int(own["ask"])
    return bid, size_at(book, sizes, far, BID, bid), ask, size_at(book, sizes, far, ASK, ask)


@inlined
def pass_on(cursor: Rows, kind: int, count: int) -> None:
    """Go on to the next message."""
    at = cursor[0]
    at["at"] += 1
    at["stage"] = TELL
    if kind <= TOUCH:
        at["levels"] += count
    elif kind == TRADE:
        at["trades"] += count
    elif kind == REFERENCE:
        at["references"] += count
    elif kind == LIQUIDATION:
        at["liquidations"] += count
