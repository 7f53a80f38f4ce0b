"""Resilience: changes of the book and trades in, what was added, cancelled and executed near the mid out.

A side has three zones: its touch, and what lies within 10 and 50 basis points of the mid, bounds included, edges in
integers as in a VIEW. A message's changes belong to the zones as they stood before it. Per zone and cell of the grid,
with A what sizes grew, D what they shrank and X what trades took:

    C = max(D - X, 0)                                     cancelled
    withdrawal = C / (depth when the cell began + A)      (Wang 2025, arXiv 2509.22985, there at the touch and 250 ms)
    refill = A / (C + X)                                  over the refill window

A book without order ids cannot say which of its decreases were trades. Trades often arrive before the book's change:
where a cell's trades took more than sizes shrank, the rest is set off in the next cell, and in that one only.
"""

from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from engine.fields import Field, Why
from engine.imbalance import RING, base_per_size, mid2_of
from engine.kernel import inlined, inner
from engine.ladder import ASK, BID, NOTHING, PRICE_LIMIT, Ints, between, share, size_at
from engine.money import INVERSE, QUANTO, quote_of
from engine.schema import Rows

ZONES: Final = 3
#: Distance of each zone's edge from the mid, basis points; the first is the best price itself.
ZONE_BPS: Final = (0, 10, 50)
NEAR: Final = cast(int, np.int64(1))
LAST: Final = cast(int, np.int64(1))
#: A depth that nobody can say, for want of a mid.
UNKNOWN: Final = -1

TOO_EARLY: Final = int(Why.TOO_EARLY)
ONE_SIDED: Final = int(Why.ONE_SIDED)
NO_DEPTH: Final = int(Why.NO_DEPTH)
NO_TRADES: Final = int(Why.NO_TRADES)
NO_FLOW: Final = int(Why.NO_FLOW)
THIRD_CURRENCY: Final = int(Why.QUANTO)

Floats = NDArray[np.float64]

#: This part of the flow memory; sizes are integers, sides are 0 bid and 1 ask.
FIELDS: Final[list[Any]] = [
    #: Outermost price of each zone as of the last sound book; one that holds nothing where there is none.
    ("edges", "<i8", (2, ZONES)),
    #: The open cell: what sizes grew, what they shrank, what trades took, and what earlier trades took beyond.
    ("added", "<i8", (2, ZONES)),
    ("removed", "<i8", (2, ZONES)),
    ("executed", "<i8", (2, ZONES)),
    ("carried", "<i8", (2, ZONES)),
    #: Closed cells.
    ("added_ring", "<i8", (RING, 2, ZONES)),
    ("cancelled_ring", "<i8", (RING, 2, ZONES)),
    ("executed_ring", "<i8", (RING, 2, ZONES)),
    #: Depth of each zone now, at the end of the last closed cell, and at its beginning.
    ("depth_now", "<i8", (2, ZONES)),
    ("depth_after", "<i8", (2, ZONES)),
    ("depth_before", "<i8", (2, ZONES)),
]


@inner
def restart_resilience(memory: Rows) -> None:
    """Forget the book and what was counted of it; closed cells are left behind by the count of whole ones."""
    own = memory[0]
    for side in (BID, ASK):
        for zone in range(ZONES):
            own["edges"][side, zone] = PRICE_LIMIT if side == BID else 0
            own["added"][side, zone] = own["removed"][side, zone] = own["executed"][side, zone] = 0
            own["carried"][side, zone] = 0
            own["depth_after"][side, zone] = own["depth_before"][side, zone] = UNKNOWN


@inner
def place_zones(memory: Rows) -> None:
    """Move the zones to the touch and mid of the last sound book."""
    own, mid2 = memory[0], mid2_of(memory)
    if own["top_known"] == 0:
        return
    edges, prices, sizes = own["edges"], own["top_prices"], own["top_sizes"]
    edges[BID, 0] = prices[BID, 0] if sizes[BID, 0] > 0 else PRICE_LIMIT
    edges[ASK, 0] = prices[ASK, 0] if sizes[ASK, 0] > 0 else 0
    for zone in range(1, ZONES):
        edges[BID, zone] = -share(-mid2, 10_000 - ZONE_BPS[zone]) if mid2 > 0 else PRICE_LIMIT
        edges[ASK, zone] = share(mid2, 10_000 + ZONE_BPS[zone]) if mid2 > 0 else 0


@inner
def inside(memory: Rows, side: int, zone: int, price: int) -> bool:
    """Say whether a price lies in a zone."""
    edge = memory[0]["edges"][side, zone]
    return bool(price >= edge if side == BID else price <= edge)


@inlined
def count_changes(memory: Rows, book_memory: Rows, sizes: Ints, far: Ints, levels: Rows, bids: int) -> None:
    """Count what a message is about to change in each zone; a price that it names twice counts twice."""
    count_side(memory, book_memory, sizes, far, levels, BID, NOTHING, bids)
    count_side(memory, book_memory, sizes, far, levels, ASK, bids, len(levels))


@inlined
def count_side(
    memory: Rows, book_memory: Rows, sizes: Ints, far: Ints, levels: Rows, side: int, first: int, end: int
) -> None:
    """Count one side's. Asks are taken as negative.

    Venues sort what they change by price, so that the zones that a level lies in are mostly those of the one before: a
    branch each is foretold, and spares what is not counted.
    """
    own, inward = memory[0], 1 - 2 * side
    edges, added, removed = own["edges"], own["added"], own["removed"]
    farthest = min(edges[side, 0] * inward, min(edges[side, 1] * inward, edges[side, 2] * inward))
    for i in range(first, end):
        price = levels[i]["price"]
        value = price * inward
        if value < farthest:
            continue
        change = levels[i]["size"] - size_at(book_memory, sizes, far, side, price)
        for zone in range(ZONES):
            if value >= edges[side, zone] * inward:
                added[side, zone] += max(change, NOTHING)
                removed[side, zone] -= min(change, NOTHING)


@inner
def count_execution(memory: Rows, price: int, size: int, aggressor: int) -> None:
    """Count a trade against the side that rested: a sale takes bids."""
    side = BID if aggressor < 0 else ASK
    for zone in range(ZONES):
        if inside(memory, side, zone, price):
            memory[0]["executed"][side, zone] += size


@inner
def measure_zones(memory: Rows, book_memory: Rows, sizes: Ints, occupied: Ints, far: Ints) -> None:
    """Sum what rests in each zone: an empty side holds 0; without the other one there is no mid to measure from."""
    own, mid2 = memory[0], mid2_of(memory)
    edges, rested = own["edges"], own["top_sizes"]
    for zone in range(ZONES):
        low, high = edges[BID, zone], edges[ASK, zone] + 1
        own["depth_now"][BID, zone] = between(book_memory, sizes, occupied, far, BID, low, PRICE_LIMIT)
        own["depth_now"][ASK, zone] = between(book_memory, sizes, occupied, far, ASK, NOTHING, high)
        for side in (BID, ASK):
            if own["top_known"] == 0 or (zone > 0 and mid2 == 0 and rested[side, 0] > 0):
                own["depth_now"][side, zone] = UNKNOWN


@inner
def close_resilience(memory: Rows, at: int) -> None:
    """Close the open cell into the rings at `at`; depth is what `measure_zones` found."""
    own = memory[0]
    for side in (BID, ASK):
        for zone in range(ZONES):
            removed, executed = own["removed"][side, zone], own["executed"][side, zone]
            taken = executed + own["carried"][side, zone]
            own["added_ring"][at, side, zone] = own["added"][side, zone]
            own["cancelled_ring"][at, side, zone] = max(removed - taken, 0)
            own["executed_ring"][at, side, zone] = executed
            own["carried"][side, zone] = min(max(taken - removed, 0), executed)
            own["added"][side, zone] = own["removed"][side, zone] = own["executed"][side, zone] = 0
            own["depth_before"][side, zone] = own["depth_after"][side, zone]
            own["depth_after"][side, zone] = own["depth_now"][side, zone]
        own["depth_ring"][at, side] = own["depth_now"][side, NEAR]


@inner
def moved(memory: Rows, side: int, zone: int, at: int, cells: int) -> tuple[float, float, float]:
    """Return what was added, cancelled and executed over the last so many closed cells, the newest at `at`."""
    own = memory[0]
    added, cancelled, executed = 0.0, 0.0, 0.0
    for back in range(cells):
        slot = (at - back) % RING
        added += own["added_ring"][slot, side, zone]
        cancelled += own["cancelled_ring"][slot, side, zone]
        executed += own["executed_ring"][slot, side, zone]
    return added, cancelled, executed


@inner
def refill_of(memory: Rows, settings: Rows, side: int, zone: int, at: int) -> tuple[float, int]:
    """Return added / (cancelled + executed) over the refill window, and why not."""
    if memory[0]["filled"] < settings[0]["refill_cells"]:
        return 0.0, TOO_EARLY
    added, cancelled, executed = moved(memory, side, zone, at, settings[0]["refill_cells"])
    return (added / (cancelled + executed), 0) if cancelled + executed > 0.0 else (0.0, NO_FLOW)


@inner
def withdrawal_of(memory: Rows, side: int, zone: int, at: int) -> tuple[float, int]:
    """Return the withdrawal index of the last closed cell, and why not."""
    own = memory[0]
    before = own["depth_before"][side, zone]
    if own["filled"] < 1:
        return 0.0, TOO_EARLY
    if before < 0:
        return 0.0, ONE_SIDED
    added, cancelled, _ = moved(memory, side, zone, at, LAST)
    there = float(before) + added
    # More may go than was there and came: the zone moves with the mid onto levels that were outside it.
    return (min(cancelled / there, 1.0), 0) if there > 0.0 else (0.0, NO_DEPTH)


@inner
def report_resilience(memory: Rows, settings: Rows, unit: Rows, at: int, out: Rows) -> None:
    """Fill the resilience of one FLOW row; the newest closed cell stands at `at` of the rings."""
    row, rule = out[0], settings[0]
    base = base_per_size(memory, unit)
    no_base = THIRD_CURRENCY if unit[0]["contract"] == QUANTO else 0 if base > 0.0 else ONE_SIDED
    early = 0 if memory[0]["filled"] >= rule["refill_cells"] else TOO_EARLY
    cells = rule["refill_cells"] if early == 0 else 0
    worst = max(early, no_base)
    for zone in range(ZONES):
        row["zones"][zone] = ZONE_BPS[zone]
        row["flow_why"][zone] = early if early > 0 else no_base
        for side in (BID, ASK):
            added, cancelled, executed = moved(memory, side, zone, at, cells)
            ratio = cancelled / executed if executed > 0.0 else 0.0
            ratio_why = early if early > 0 else 0 if executed > 0.0 else NO_TRADES
            refill, refill_why = refill_of(memory, settings, side, zone, at)
            gone, gone_why = withdrawal_of(memory, side, zone, at)
            worst = max(worst, max(ratio_why, max(refill_why, gone_why)))
            if side == BID:
                row["bid_added"][zone] = added * base
                row["bid_cancelled"][zone] = cancelled * base
                row["bid_executed"][zone] = executed * base
                row["bid_refill"][zone], row["bid_refill_why"][zone] = refill, refill_why
                row["bid_withdrawal"][zone], row["bid_withdrawal_why"][zone] = gone, gone_why
                row["bid_cancel_trade"][zone], row["bid_cancel_trade_why"][zone] = ratio, ratio_why
            else:
                row["ask_added"][zone] = added * base
                row["ask_cancelled"][zone] = cancelled * base
                row["ask_executed"][zone] = executed * base
                row["ask_refill"][zone], row["ask_refill_why"][zone] = refill, refill_why
                row["ask_withdrawal"][zone], row["ask_withdrawal_why"][zone] = gone, gone_why
                row["ask_cancel_trade"][zone], row["ask_cancel_trade_why"][zone] = ratio, ratio_why
    if worst > 0:
        row["undefined"] = 1


@inner
def near_sums(memory: Rows, unit: Rows, at: int, cells: int, out: Floats) -> int:
    """Fill 2 x 4 sums within 10 bps, in quote units at the mid, and return why not: 0 where they stand.

    Per side depth when the oldest of the last so many cells began, and what was added, cancelled and executed in them.
    """
    own, mid2 = memory[0], mid2_of(memory)
    quote = quote_of(1.0 if unit[0]["contract"] == INVERSE else 0.5 * mid2, unit)
    why = THIRD_CURRENCY if unit[0]["contract"] == QUANTO else 0 if own["filled"] >= cells else TOO_EARLY
    for side in (BID, ASK):
        depth = own["depth_ring"][(at - cells) % RING, side]
        if why == 0 and (mid2 == 0 or depth < 0):
            why = ONE_SIDED
    for side in (BID, ASK):
        depth = own["depth_ring"][(at - cells) % RING, side]
        added, cancelled, executed = moved(memory, side, NEAR, at, cells)
        out[side, 0] = depth * quote if why == 0 else 0.0
        out[side, 1] = added * quote if why == 0 else 0.0
        out[side, 2] = cancelled * quote if why == 0 else 0.0
        out[side, 3] = executed * quote if why == 0 else 0.0
    return why


def fields_of(side: str, other: str) -> tuple[Field, ...]:
    """Give the fields that both sides have."""
    within = "over the refill window, per zone."
    return (
        Field(f"{side}_added", "number", "base units", f"What {side}s grew by {within}", over="zones", why="flow_why"),
        Field(
            f"{side}_cancelled",
            "number",
            "base units",
            f"What {side}s shrank by beyond what trades took, {within}",
            over="zones",
            why="flow_why",
        ),
        Field(
            f"{side}_executed",
            "number",
            "base units",
            f"What {other} took from {side}s {within}",
            over="zones",
            why="flow_why",
        ),
        Field(
            f"{side}_refill",
            "number",
            "1",
            "Added / (cancelled + executed) over the refill window: below 1 the zone drains.",
            over="zones",
            why=f"{side}_refill_why",
        ),
        Field(
            f"{side}_withdrawal",
            "number",
            "0 to 1",
            "Cancelled / (depth when the cell began + added) in the last cell; at most 1.",
            over="zones",
            why=f"{side}_withdrawal_why",
        ),
        Field(
            f"{side}_cancel_trade",
            "number",
            "1",
            "Cancelled / executed over the refill window.",
            over="zones",
            why=f"{side}_cancel_trade_why",
        ),
    )


#: This part of the flow record's fields.
SIGNAL_FIELDS: Final = (
    *fields_of("bid", "sales"),
    *fields_of("ask", "purchases"),
)
