"""The ladder: one book's levels as flat arrays, and the kernels that keep them.

A side is a dense window of ticks around the mid (size by tick, with a bitmap of the occupied ones) and, beside it, a
short sorted list of everything else: levels far from the mid (real feeds hold bids at 0.003x and asks at 10x the price)
and levels off the tick grid (orders that outlived a change of tick). Nothing is ever dropped.

Depth per band is kept as a running sum. A level update notes its change at the narrowest band that it lies within; when
a view is taken, the changes are added to the sums of that band and all wider ones, and the edges, which stayed where
they were, are moved to the current mid by adding or subtracting the levels between the old and the new edge. Integer
sizes make the sums exact for ever, and integer edges, ceil(mid2 x (10000 - b) / 20000) and
floor(mid2 x (10000 + b) / 20000) with mid2 = bid + ask, leave no rounding to argue about.

Every kernel takes the same five arrays: `memory` (one MEMORY row), `bands` (7 x bands, ascending: basis points, lowest
bid inside, highest ask inside as a negative, bid sums, ask sums, changes of bids and of asks since they were added to
the sums), `sizes` (2 x window), `occupied` (2 x window / 32), `far` (2 x 2 x room: price and size of the levels beside
the window, ascending).
"""

from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from engine.kernel import inlined, inlined_entry, inner, kernel, top_bit
from engine.schema import Rows

#: Of the type that all prices and sizes have, in plain Python too.
BID: Final = cast(int, np.int64(0))
ASK: Final = cast(int, np.int64(1))
NOTHING: Final = cast(int, np.int64(0))
#: Ticks per word of the occupancy bitmap; 32 of an int64, so that no shift can reach the sign.
WORD: Final = 32
#: Prices stay below this, so that the sum of two still fits 64 bits.
PRICE_LIMIT: Final = cast(int, np.int64(1 << 60))
#: Largest resting size at one price; the sum over a side must stay below 2^63, that is 32 such levels.
SIZE_LIMIT: Final = 1 << 58

#: What `apply` found: all set; all set, but the mid has left the middle three quarters of the window; nothing set.
APPLIED: Final = 0
OFF_CENTRE: Final = 1
OUT_OF_RANGE: Final = 2

MEMORY: Final = np.dtype(
    [
        #: Price step of the window, wire decimals, and the price (in ticks) of its first cell.
        ("tick", "<i8"),
        ("origin", "<i8"),
        #: 1 / tick.
        ("inverse", "<f8"),
        #: Best prices, 0 where the side is empty.
        ("bid", "<i8"),
        ("ask", "<i8"),
        ("bid_levels", "<i8"),
        ("ask_levels", "<i8"),
        #: Levels beside the window, per side.
        ("bid_far", "<i8"),
        ("ask_far", "<i8"),
        #: Bounds of the last snapshot.
        ("known_low", "<i8"),
        ("known_high", "<i8"),
        #: Best bid + best ask that the band edges are placed for, 0 before they are.
        ("placed", "<i8"),
    ],
    align=True,
)

Ints = NDArray[np.int64]


@inlined_entry
def holds(levels: Rows) -> bool:
    """Say whether every price and size is one that the sums can hold."""
    sound = True
    for i in range(len(levels)):
        price, size = levels[i]["price"], levels[i]["size"]
        sound &= (price > 0) & (price < PRICE_LIMIT) & (size >= 0) & (size < SIZE_LIMIT)
    return sound


@inlined_entry
def apply(memory: Rows, bands: Ints, sizes: Ints, occupied: Ints, far: Ints, levels: Rows, bids: int) -> int:
    """Set each level to its size, keep the best prices and the band sums; refuse all of them or none."""
    if not holds(levels):
        return OUT_OF_RANGE
    own = memory[0]
    first_ask = min(max(bids, NOTHING), len(levels))
    if first_ask > 0:
        own["bid"] = apply_side(memory, bands, sizes, occupied, far, levels, BID, NOTHING, first_ask)
    if first_ask < len(levels):
        own["ask"] = apply_side(memory, bands, sizes, occupied, far, levels, ASK, first_ask, len(levels))
    if own["bid"] == 0 or own["ask"] == 0:
        return APPLIED
    mid2, margin = own["bid"] + own["ask"], sizes.shape[1] // 8
    low, high = own["origin"] + margin, own["origin"] + sizes.shape[1] - margin
    return OFF_CENTRE if mid2 < 2 * low * own["tick"] or mid2 >= 2 * (high + 1) * own["tick"] else APPLIED


@inlined
def apply_side(
    memory: Rows,
    bands: Ints,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    levels: Rows,
    side: int,
    first: int,
    end: int,
) -> int:
    """Set one side's levels and return its best price, 0 where none is left.

    What a venue changes next cannot be foretold, so nearly nothing here is a branch: a mispredicted one costs more than
    all that is done for a level. But it sorts its changes by price, so that a level's band is mostly that of the one
    before: it is sought from there. Inward is upward for both sides, asks being taken as negative.
    """
    own = memory[0]
    tick, base, inverse, window = own["tick"], own["origin"] * own["tick"], own["inverse"], sizes.shape[1]
    inward = 1 - 2 * side
    touch = own["bid"] if side == BID else own["ask"]
    best = touch * inward if touch > 0 else -PRICE_LIMIT
    gained, outside, count = 0, 0, bands.shape[1]
    for i in range(first, end):
        price, size = levels[i]["price"], levels[i]["size"]
        cell = int((price - base) * inverse + 0.5)
        if 0 <= cell < window and cell * tick == price - base:
            old = sizes[side, cell]
            sizes[side, cell] = size
            occupied[side, cell >> 5] ^= int((old == 0) != (size == 0)) << (cell & 31)
        else:
            old = set_far(memory, far, side, price, size)
        gained += int(size > 0) - int(old > 0)
        value = price * inward
        while outside > 0 and value >= bands[1 + side, outside - 1]:
            outside -= 1
        while outside < count and value < bands[1 + side, outside]:
            outside += 1
        if outside < count:
            bands[5 + side, outside] += size - old
        if (size > 0) & (value > best):
            best = value
        elif (size == 0) & (value == best):
            touch = next_price(memory, sizes, occupied, far, side, price)
            best = touch * inward if touch > 0 else -PRICE_LIMIT
    if side == BID:
        own["bid_levels"] += gained
    else:
        own["ask_levels"] += gained
    return best * inward if best > -PRICE_LIMIT else 0


@inlined_entry
def cell_of(memory: Rows, window: int, price: int) -> int:
    """Return the window's cell of a price, -1 where it has none.

    A product with 1 / tick takes the place of a division. It errs by less than 2^-50 of a cell's number, so that of a
    price on the grid is rounded to the right one; the integers then say whether it is that price's.
    """
    own = memory[0]
    distance = price - own["origin"] * own["tick"]
    cell = int(distance * own["inverse"] + 0.5)
    return cell if 0 <= cell < window and cell * own["tick"] == distance else -1


@inner
def find_far(far: Ints, side: int, count: int, price: int) -> int:
    """Return where a price stands, or would stand, in a side's list beside the window."""
    low, high = NOTHING, count
    while low < high:
        middle = (low + high) // 2
        if far[side, 0, middle] < price:
            low = middle + 1
        else:
            high = middle
    return low


@inner
def set_far(memory: Rows, far: Ints, side: int, price: int, size: int) -> int:
    """Set one level beside the window, in the list sorted by price, and return the size it had."""
    own = memory[0]
    count = own["bid_far"] if side == BID else own["ask_far"]
    at = find_far(far, side, count, price)
    old = 0
    if at < count and far[side, 0, at] == price:
        old = far[side, 1, at]
        if size > 0:
            far[side, 1, at] = size
        else:
            for j in range(at, count - 1):
                far[side, 0, j] = far[side, 0, j + 1]
                far[side, 1, j] = far[side, 1, j + 1]
            count -= 1
    elif size > 0:
        for j in range(count, at, -1):
            far[side, 0, j] = far[side, 0, j - 1]
            far[side, 1, j] = far[side, 1, j - 1]
        far[side, 0, at] = price
        far[side, 1, at] = size
        count += 1
    if side == BID:
        own["bid_far"] = count
    else:
        own["ask_far"] = count
    return old


@kernel
def size_at(memory: Rows, sizes: Ints, far: Ints, side: int, price: int) -> int:
    """Return what rests at a price, 0 where nothing does."""
    own = memory[0]
    cell = cell_of(memory, sizes.shape[1], price)
    if cell >= 0:
        return int(sizes[side, cell])
    count = own["bid_far"] if side == BID else own["ask_far"]
    at = find_far(far, side, count, price)
    return int(far[side, 1, at]) if at < count and far[side, 0, at] == price else 0


@inner
def cell_below(occupied: Ints, side: int, cell: int) -> int:
    """Return the highest occupied cell at or below one, or -1."""
    if cell < 0:
        return -1
    at = cell >> 5
    word = occupied[side, at] & ((2 << (cell & 31)) - 1)
    while word == 0:
        at -= 1
        if at < 0:
            return -1
        word = occupied[side, at]
    return (at << 5) + top_bit(word)


@inner
def cell_above(occupied: Ints, side: int, cell: int) -> int:
    """Return the lowest occupied cell at or above one, or -1."""
    words = occupied.shape[1]
    at = cell >> 5
    if at >= words:
        return -1
    word = occupied[side, at] >> (cell & 31) << (cell & 31)
    while word == 0:
        at += 1
        if at >= words:
            return -1
        word = occupied[side, at]
    return (at << 5) + top_bit(word & -word)


@inner
def next_price(memory: Rows, sizes: Ints, occupied: Ints, far: Ints, side: int, price: int) -> int:
    """Return the nearest occupied price beyond one, outward (lower for bids, higher for asks), or 0."""
    own = memory[0]
    tick, origin = own["tick"], own["origin"]
    window = sizes.shape[1]
    best = 0
    if side == BID:
        cell = cell_below(occupied, BID, min((price - 1) // tick - origin, window - 1))
        if cell >= 0:
            best = (cell + origin) * tick
        at = find_far(far, BID, own["bid_far"], price) - 1
        if at >= 0:
            best = max(best, far[BID, 0, at])
    else:
        cell = cell_above(occupied, ASK, max(price // tick + 1 - origin, 0))
        if cell >= 0:
            best = (cell + origin) * tick
        at = find_far(far, ASK, own["ask_far"], price + 1)
        if at < own["ask_far"] and (best == 0 or far[ASK, 0, at] < best):
            best = far[ASK, 0, at]
    return best


@inner
def between(memory: Rows, sizes: Ints, occupied: Ints, far: Ints, side: int, low: int, high: int) -> int:
    """Return the total size of one side at prices in [low, high)."""
    own = memory[0]
    tick, origin = own["tick"], own["origin"]
    total = 0
    last = min((high - 1) // tick - origin, sizes.shape[1] - 1)
    cell = cell_above(occupied, side, max((low + tick - 1) // tick - origin, 0))
    while 0 <= cell <= last:
        total += sizes[side, cell]
        cell = cell_above(occupied, side, cell + 1)
    count = own["bid_far"] if side == BID else own["ask_far"]
    if count == 0 or far[side, 0, 0] >= high or far[side, 0, count - 1] < low:
        return total
    for at in range(find_far(far, side, count, low), count):
        if far[side, 0, at] >= high:
            break
        total += far[side, 1, at]
    return total


@kernel
def share(mid2: int, part: int) -> int:
    """Return floor(mid2 x part / 20000) without a product that could leave 64 bits."""
    whole = mid2 // 20_000
    return whole * part + (mid2 - whole * 20_000) * part // 20_000


@inlined
def place_edges(memory: Rows, bands: Ints, sizes: Ints, occupied: Ints, far: Ints) -> None:
    """Bring every band to the current mid and its sums up to date."""
    add_changes(bands)
    if memory[0]["placed"] != memory[0]["bid"] + memory[0]["ask"]:
        move_edges(memory, bands, sizes, occupied, far)


@inner
def move_edges(memory: Rows, bands: Ints, sizes: Ints, occupied: Ints, far: Ints) -> None:
    """Move every band's edges to the current mid, adding and subtracting the levels that the edges pass."""
    own = memory[0]
    mid2 = own["bid"] + own["ask"]
    for b in range(bands.shape[1]):
        low = -share(-mid2, 10_000 - bands[0, b])
        high = share(mid2, 10_000 + bands[0, b])
        if own["placed"] == 0:
            bands[3, b] = between(memory, sizes, occupied, far, BID, low, PRICE_LIMIT)
            bands[4, b] = between(memory, sizes, occupied, far, ASK, NOTHING, high + 1)
        else:
            lowest, highest = bands[1, b], -bands[2, b]
            if low < lowest:
                bands[3, b] += between(memory, sizes, occupied, far, BID, low, lowest)
            elif low > lowest:
                bands[3, b] -= between(memory, sizes, occupied, far, BID, lowest, low)
            if high > highest:
                bands[4, b] += between(memory, sizes, occupied, far, ASK, highest + 1, high + 1)
            elif high < highest:
                bands[4, b] -= between(memory, sizes, occupied, far, ASK, high + 1, highest + 1)
        bands[1, b] = low
        bands[2, b] = -high
    own["placed"] = mid2


@inlined
def add_changes(bands: Ints) -> None:
    """Add to the sums what changed since the last time: a band holds all that lies in narrower ones."""
    bid, ask = NOTHING, NOTHING
    for b in range(bands.shape[1]):
        bid += bands[5, b]
        ask += bands[6, b]
        bands[3, b] += bid
        bands[4, b] += ask
        bands[5, b] = 0
        bands[6, b] = 0


@inner
def first_cell(memory: Rows, sizes: Ints, occupied: Ints, side: int, touch: int) -> int:
    """Return the occupied cell nearest to a side's best price, outward of it, or -1."""
    own = memory[0]
    last = sizes.shape[1] - 1
    cell = touch // own["tick"] - own["origin"]
    if side == BID:
        return cell_below(occupied, side, min(cell, last))
    return cell_above(occupied, side, max(cell, 0))


@kernel
def forget(memory: Rows, bands: Ints, sizes: Ints, occupied: Ints) -> None:
    """Empty the book, touching only the cells that are occupied."""
    for side in (BID, ASK):
        cell = cell_above(occupied, side, NOTHING)
        while cell >= 0:
            sizes[side, cell] = 0
            cell = cell_above(occupied, side, cell + 1)
        occupied[side, :] = 0
    bands[3:, :] = 0
    own = memory[0]
    own["bid"] = 0
    own["ask"] = 0
    own["bid_levels"] = 0
    own["ask_levels"] = 0
    own["bid_far"] = 0
    own["ask_far"] = 0
    own["known_low"] = 0
    own["known_high"] = 0
    own["placed"] = 0
