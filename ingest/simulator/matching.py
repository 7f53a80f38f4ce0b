"""The matching of a simulated market: orders and cancellations in, the book moved and its events out.

Events go to a buffer whose first row counts them (`id`); a caller leaves room for what one step can make.
"""

from enum import IntEnum
from typing import Final

from engine.kernel import kernel
from engine.schema import Rows
from ingest.simulator.world import ASK, BID, PRICES


class Event(IntEnum):
    """What an event row says."""

    #: A price's size is now this; `id` 0. Written before the FRAME that ends the grid step.
    LEVEL = 1
    #: A frame of levels ends: `id` last update, `other` first one, `another` last one of the frame before.
    FRAME = 2
    #: `price`, `size` of the bid, `other`, `another` of the ask, `id` update.
    TOUCH = 3
    #: `side` of the aggressor, `id` of the trade.
    TRADE = 4
    #: A forced order: `id` account, `side` of the position, `price` limit, `size` ordered, `other` filled, `another`
    #: money of it.
    FORCED = 5
    #: `id` account that is closed at `price`, `size`, `side` its own.
    DELEVERAGED = 6
    #: The fund takes `size` at `price`; `other`: what it pays, `id` account.
    INSURED = 7
    #: Maker `id` leaves (`side` -1; `size` why: 1 volatility, 2 hedge, 3 loss) or returns (1).
    MAKER = 8
    #: `price` mark, `size` index, `other` open interest, `another` active makers.
    MARK = 9
    #: A named position, account `id`, sells `size`.
    VOLUNTARY = 10
    #: The plan's stage `id` begins; `size`: jump of the fundamental, ticks.
    STAGE = 11


_LEVEL: Final = int(Event.LEVEL)
_FRAME: Final = int(Event.FRAME)
_TOUCH: Final = int(Event.TOUCH)
_TRADE: Final = int(Event.TRADE)
#: So many of the flow's orders stand at a price at most: a longer queue is one of larger orders.
_PRINTS: Final = 32


@kernel
def emit(
    events: Rows, time: int, kind: int, number: int, side: int, price: int, size: int, other: int, another: int
) -> None:
    """Append an event; without room it is counted in the first row's `size`."""
    at = events[0]["id"] + 1
    if at >= len(events):
        events[0]["size"] += 1
        return
    events[0]["id"] = at
    row = events[at]
    row["time"] = time
    row["kind"] = kind
    row["id"] = number
    row["side"] = side
    row["price"] = price
    row["size"] = size
    row["other"] = other
    row["another"] = another


@kernel
def touch(state: Rows, events: Rows) -> None:
    """Tell the touch if it is another; of an empty side price and size 0."""
    row = state[0]
    told = row["told"]
    bid, ask = max(row["bid"], 0), row["ask"]
    if ask >= PRICES:
        ask = 0
    # No order rests at price 0.
    bids, asks = row["size"][bid], row["size"][ask]
    if told[0] != bid or told[1] != bids or told[2] != ask or told[3] != asks:
        told[0], told[1], told[2], told[3] = bid, bids, ask, asks
        emit(events, row["time"], _TOUCH, row["update"], 0, bid, bids, ask, asks)


@kernel
def change(state: Rows, side: int, price: int, delta: int) -> None:
    """Add to what rests at a price, or take from it, and keep the best prices."""
    row = state[0]
    size = row["size"]
    size[price] += delta
    row["update"] += 1 + (price & 1)
    if row["dirty"][price] == 0:
        row["dirty"][price] = 1
        row["changed"][row["changes"]] = price
        row["changes"] += 1
    if size[price] > 0:
        if side > 0 and price > row["bid"]:
            row["bid"] = price
        elif side < 0 and price < row["ask"]:
            row["ask"] = price
        return
    if side > 0 and price == row["bid"]:
        while price > 0 and size[price] == 0:
            price -= 1
        row["bid"] = price
    elif side < 0 and price == row["ask"]:
        while price < PRICES and size[price] == 0:
            price += 1
        row["ask"] = price


@kernel
def trade(state: Rows, makers: int, side: int, wanted: int, limit: int, events: Rows) -> tuple[int, int]:
    """Let an aggressor of `side` take at most `wanted` lots no worse than `limit`; return lots and money.

    At a price the makers' quotes go first, each time beginning with another maker, then what the flow left there. Each
    order that is met prints a trade.
    """
    row = state[0]
    size, flow, quoted = row["size"], row["flow"], row["quoted"]
    filled, money = 0, 0
    while filled < wanted:
        price = row["ask"] if side > 0 else row["bid"]
        if (side > 0 and (price >= PRICES or price > limit)) or (side < 0 and (price <= 0 or price < limit)):
            break
        taken = min(wanted - filled, size[price])
        left = taken
        turn = row["trade"] + 1
        for k in range(makers):
            maker = (k + turn) % makers
            part = min(left, quoted[maker, price])
            if part > 0:
                quoted[maker, price] -= part
                row["inventory"][maker] -= side * part
                row["cash"][maker] += side * part * price
                left -= part
                row["trade"] += 1
                emit(events, row["time"], _TRADE, row["trade"], side, price, part, 0, 0)
        flow[price] -= left
        resting = max(row["resting"], left // _PRINTS + 1)
        while left > 0:
            part = min(left, resting)
            left -= part
            row["trade"] += 1
            emit(events, row["time"], _TRADE, row["trade"], side, price, part, 0, 0)
        row["last"] = price
        row["low"] = min(row["low"], price)
        row["high"] = max(row["high"], price)
        change(state, -side, price, -taken)
        filled += taken
        money += taken * price
    if filled > 0:
        touch(state, events)
    return filled, money


@kernel
def frame(state: Rows, events: Rows) -> None:
    """Tell every price that has changed since the last frame, and end the frame."""
    row = state[0]
    if row["changes"] == 0:
        return
    told = 0
    for i in range(row["changes"]):
        price = row["changed"][i]
        row["dirty"][price] = 0
        size = row["size"][price]
        side = 0 if size == 0 else (BID if price <= row["bid"] else ASK)
        before = row["sided"][price]
        if before not in (0, side):
            emit(events, row["time"], _LEVEL, 0, before, price, 0, 0, 0)
            told += 1
        if side != 0:
            emit(events, row["time"], _LEVEL, 0, side, price, size, 0, 0)
            told += 1
        row["sided"][price] = side
    row["changes"] = 0
    if told == 0:
        return
    # Updates of one instrument are not consecutive on the venue: it numbers all of them together.
    emit(events, row["time"], _FRAME, row["update"], 0, 0, 0, row["framed"] + 1, row["framed"])
    row["framed"] = row["update"]
