"""The order book of one instrument: LEVEL rows in, VIEW rows out, integers throughout.

A side is a dense window of ticks around the mid (size by tick, with a bitmap of the occupied ones) and, beside it, a
short sorted list of everything else: levels far from the mid (real feeds hold bids at 0.003x and asks at 10x the price)
and levels off the tick grid (orders that outlived a change of tick). Nothing is ever dropped.

Depth per band is kept as a running sum. A level update adds its change to the sums whose edge it lies within; the edges
themselves stay where they were and are moved to the current mid only when a view is taken, by adding or subtracting the
levels between the old and the new edge. Integer sizes make the sums exact for ever, and integer edges,
ceil(mid2 x (10000 - b) / 20000) and floor(mid2 x (10000 + b) / 20000) with mid2 = bid + ask, leave no rounding to argue
about. Prices stay below 2^48 (see `Book.update`), so that these products fit 64 bits.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadFrame, BadRecord
from engine.instrument import Instrument
from engine.kernel import kernel, top_bit
from engine.schema import LEVEL, Rows, View, view_dtype

BID: Final = 0
ASK: Final = 1
#: Ticks per word of the occupancy bitmap; 32 of an int64, so that no shift can reach the sign.
WORD: Final = 32
#: Window sizes in ticks: at least the first, at most the last; in between about a third of the price.
WINDOWS: Final = (1 << 12, 1 << 20)
#: Largest price that the band edges can be computed for without leaving 64 bits: 2 x price x 10500 < 2^63.
PRICE_LIMIT: Final = 1 << 48
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
        #: 1 once the band edges are placed; before, the sums are all zero.
        ("placed", "<i8"),
    ],
    align=True,
)

Ints = NDArray[np.int64]


class Book:
    """The ladder of one instrument."""

    def __init__(self, instrument: Instrument, bands: Sequence[int]) -> None:
        self.instrument = instrument
        self._view = view_dtype(len(bands))
        self._memory = np.zeros(1, MEMORY)
        self._memory["tick"] = instrument.tick
        #: Row 0 the bands (bps); 1 and 2 the lowest bid and highest ask inside each; 3 and 4 the sums of each side.
        self._bands = np.zeros((5, len(bands)), np.int64)
        self._bands[0] = bands
        self._sizes = np.zeros((2, WINDOWS[0]), np.int64)
        self._occupied = np.zeros((2, WINDOWS[0] // WORD), np.int64)
        self._far = np.zeros((2, 2, 1024), np.int64)
        #: Levels that may still come before the lists beside the window could be full.
        self._room = 1024
        self._sorted = np.zeros(1024, LEVEL)

    def update(self, levels: Rows, bids: int, replace: bool) -> None:
        """Set levels to their new sizes, the first `bids` rows being bids; `replace` forgets what was known before.

        Raises BadFrame, with the book unchanged, where a price or size lies outside what 64-bit sums can hold.
        """
        if not levels.flags.writeable or not levels.flags.c_contiguous:
            levels = levels.copy()
        count = len(levels)
        if replace:
            self._check(levels)
            self.clear()
            self._place(levels, bids)
        self._reserve(count)
        outcome = apply(self._memory, self._bands, self._sizes, self._occupied, self._far, levels, bids)
        if outcome == OUT_OF_RANGE:
            self._check(levels)
        if replace and count:
            memory = self._memory[0]
            memory["known_low"] = levels["price"][:bids].min() if bids else 0
            memory["known_high"] = levels["price"][bids:].max() if count > bids else 0
        if outcome == OFF_CENTRE:
            self._recentre()

    def clear(self) -> None:
        """Forget every level."""
        forget(self._memory, self._bands, self._sizes, self._occupied)

    @property
    def best(self) -> tuple[int, int, int, int]:
        """Best bid, its size, best ask, its size; zeros where a side is empty."""
        memory = self._memory[0]
        bid, ask = int(memory["bid"]), int(memory["ask"])
        sizes = (size_at(self._memory, self._sizes, self._far, side, price) for side, price in ((BID, bid), (ASK, ask)))
        return bid, next(sizes), ask, next(sizes)

    def view(self) -> View:
        """Take a view: the touch, the depth of each band, and the sorted levels inside the widest one."""
        row = np.zeros(1, self._view)
        memory = self._memory[0]
        needed = int(memory["bid_levels"] + memory["ask_levels"])
        if needed > len(self._sorted):
            self._sorted = np.zeros(2 * needed, LEVEL)
        bids, asks = look(self._memory, self._bands, self._sizes, self._occupied, self._far, row, self._sorted)
        return View(row=row, bids=self._sorted[:bids].copy(), asks=self._sorted[bids : bids + asks].copy())

    def levels(self) -> tuple[Rows, Rows]:
        """Return every level, best first: bids, asks."""
        memory = self._memory[0]
        sides = (np.zeros(int(memory["bid_levels"]), LEVEL), np.zeros(int(memory["ask_levels"]), LEVEL))
        for side, rows in enumerate(sides):
            bound = 1 if side == BID else PRICE_LIMIT
            collect(self._memory, self._sizes, self._occupied, self._far, side, bound, rows, 0)
        return sides

    def dump(self) -> bytes:
        """Write the book as bytes: counts, the snapshot's bounds, levels. Views depend on nothing else."""
        bids, asks = self.levels()
        memory = self._memory[0]
        head = np.array([len(bids), len(asks), memory["known_low"], memory["known_high"]], np.int64)
        return head.tobytes() + bids.tobytes() + asks.tobytes()

    def load(self, state: bytes) -> None:
        """Read what `dump` wrote. Raises BadRecord where the length is not what the counts promise."""
        head = np.frombuffer(state[:32], np.int64) if len(state) >= 32 else np.zeros(4, np.int64)
        if len(state) != 32 + LEVEL.itemsize * int(head[0] + head[1]):
            raise BadRecord(f"a book of {len(state)} bytes does not hold the levels that it promises")
        levels = np.frombuffer(state[32:], LEVEL).copy()
        self.clear()
        self._rebuild(levels, int(head[0]))
        self._memory["known_low"], self._memory["known_high"] = head[2], head[3]

    def _check(self, levels: Rows) -> None:
        for level in levels if not holds(levels) else ():
            if not holds(level.reshape(1)):
                raise BadFrame(
                    "out of range",
                    f"{self.instrument.key} has size {level['size']} at price {level['price']} (in wire decimals); "
                    "allowed are prices from 1 to 2^48 and sizes from 0 to 2^58",
                )

    def _place(self, levels: Rows, bids: int) -> None:
        """Choose the window for a new set of levels: about a third of the price wide, the touch in its middle."""
        if not len(levels):
            return
        tick = int(self._memory["tick"][0])
        touch = [int(levels["price"][:bids].max())] if bids else []
        touch += [int(levels["price"][bids:].min())] if len(levels) > bids else []
        middle = sum(touch) // len(touch) // tick
        window = WINDOWS[0]
        while window < min(middle // 3, WINDOWS[1]):
            window *= 2
        if window != self._sizes.shape[1]:
            self._sizes = np.zeros((2, window), np.int64)
            self._occupied = np.zeros((2, window // WORD), np.int64)
        self._memory["origin"] = middle - window // 2

    def _reserve(self, count: int) -> None:
        """Make room beside the window for as many levels as one update could put there."""
        self._room -= count
        if self._room >= 0:
            return
        taken = int(max(self._memory["bid_far"][0], self._memory["ask_far"][0]))
        if taken + count > self._far.shape[2]:
            far = np.zeros((2, 2, 2 * (taken + count)), np.int64)
            far[:, :, :taken] = self._far[:, :, :taken]
            self._far = far
        self._room = self._far.shape[2] - taken - count

    def _recentre(self) -> None:
        """Move the window to where the mid is now. Rare: it takes a move of about an eighth of the price."""
        bids, asks = self.levels()
        low, high = int(self._memory["known_low"][0]), int(self._memory["known_high"][0])
        self.clear()
        self._rebuild(np.concatenate((bids, asks)), len(bids))
        self._memory["known_low"], self._memory["known_high"] = low, high

    def _rebuild(self, levels: Rows, bids: int) -> None:
        self._place(levels, bids)
        self._reserve(len(levels))
        apply(self._memory, self._bands, self._sizes, self._occupied, self._far, levels, bids)


@kernel
def holds(levels: Rows) -> bool:
    """Say whether every price and size is one that the sums can hold."""
    for i in range(len(levels)):
        level = levels[i]
        if level["price"] <= 0 or level["price"] >= PRICE_LIMIT or level["size"] < 0 or level["size"] >= SIZE_LIMIT:
            return False
    return True


@kernel
def apply(memory: Rows, bands: Ints, sizes: Ints, occupied: Ints, far: Ints, levels: Rows, bids: int) -> int:
    """Set each level to its size, keep the best prices and the band sums; refuse all of them or none."""
    if not holds(levels):
        return OUT_OF_RANGE
    own = memory[0]
    for i in range(len(levels)):
        price = levels[i]["price"]
        size = levels[i]["size"]
        side = BID if i < bids else ASK
        change = size - set_level(memory, sizes, occupied, far, side, price, size)
        if side == BID:
            for b in range(bands.shape[1]):
                if price >= bands[1, b]:
                    bands[3, b] += change
            if size > 0:
                own["bid"] = max(own["bid"], price)
            elif price == own["bid"]:
                own["bid"] = next_price(memory, sizes, occupied, far, BID, price)
        else:
            for b in range(bands.shape[1]):
                if price <= bands[2, b]:
                    bands[4, b] += change
            if size > 0:
                if own["ask"] == 0 or price < own["ask"]:
                    own["ask"] = price
            elif price == own["ask"]:
                own["ask"] = next_price(memory, sizes, occupied, far, ASK, price)
    if own["bid"] == 0 or own["ask"] == 0:
        return APPLIED
    window = sizes.shape[1]
    cell = (own["bid"] + own["ask"]) // (2 * own["tick"]) - own["origin"]
    return OFF_CENTRE if cell < window // 8 or cell > window - window // 8 else APPLIED


@kernel
def set_level(memory: Rows, sizes: Ints, occupied: Ints, far: Ints, side: int, price: int, size: int) -> int:
    """Set one level and return the size it had."""
    own = memory[0]
    ticks = price // own["tick"]
    cell = ticks - own["origin"]
    if 0 <= cell < sizes.shape[1] and ticks * own["tick"] == price:
        old = int(sizes[side, cell])
        sizes[side, cell] = size
        if (old == 0) != (size == 0):
            occupied[side, cell >> 5] ^= 1 << (cell & 31)
    else:
        old = set_far(memory, far, side, price, size)
    if old == 0 and size > 0:
        own["bid_levels"] += side == BID
        own["ask_levels"] += side == ASK
    elif old > 0 and size == 0:
        own["bid_levels"] -= side == BID
        own["ask_levels"] -= side == ASK
    return old


@kernel
def set_far(memory: Rows, far: Ints, side: int, price: int, size: int) -> int:
    """Set one level beside the window, in the list sorted by price, and return the size it had."""
    own = memory[0]
    count = own["bid_far"] if side == BID else own["ask_far"]
    at = np.searchsorted(far[side, 0, :count], price)
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
    ticks = price // own["tick"]
    cell = ticks - own["origin"]
    if 0 <= cell < sizes.shape[1] and ticks * own["tick"] == price:
        return int(sizes[side, cell])
    count = own["bid_far"] if side == BID else own["ask_far"]
    at = np.searchsorted(far[side, 0, :count], price)
    return int(far[side, 1, at]) if at < count and far[side, 0, at] == price else 0


@kernel
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


@kernel
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


@kernel
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
        at = np.searchsorted(far[BID, 0, : own["bid_far"]], price) - 1
        if at >= 0:
            best = max(best, far[BID, 0, at])
    else:
        cell = cell_above(occupied, ASK, max(price // tick + 1 - origin, 0))
        if cell >= 0:
            best = (cell + origin) * tick
        at = np.searchsorted(far[ASK, 0, : own["ask_far"]], price + 1)
        if at < own["ask_far"] and (best == 0 or far[ASK, 0, at] < best):
            best = far[ASK, 0, at]
    return best


@kernel
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
    for at in range(np.searchsorted(far[side, 0, :count], low), count):
        if far[side, 0, at] >= high:
            break
        total += far[side, 1, at]
    return total


@kernel
def place_edges(memory: Rows, bands: Ints, sizes: Ints, occupied: Ints, far: Ints) -> None:
    """Move every band's edges to the current mid, adding and subtracting the levels that the edges pass."""
    own = memory[0]
    mid2 = own["bid"] + own["ask"]
    for b in range(bands.shape[1]):
        low = -(-(mid2 * (10_000 - bands[0, b])) // 20_000)
        high = mid2 * (10_000 + bands[0, b]) // 20_000
        if not own["placed"]:
            bands[3, b] = between(memory, sizes, occupied, far, BID, low, PRICE_LIMIT)
            bands[4, b] = between(memory, sizes, occupied, far, ASK, 1, high + 1)
        else:
            if low < bands[1, b]:
                bands[3, b] += between(memory, sizes, occupied, far, BID, low, bands[1, b])
            elif low > bands[1, b]:
                bands[3, b] -= between(memory, sizes, occupied, far, BID, bands[1, b], low)
            if high > bands[2, b]:
                bands[4, b] += between(memory, sizes, occupied, far, ASK, bands[2, b] + 1, high + 1)
            elif high < bands[2, b]:
                bands[4, b] -= between(memory, sizes, occupied, far, ASK, high + 1, bands[2, b] + 1)
        bands[1, b] = low
        bands[2, b] = high
    own["placed"] = 1


@kernel
def collect(memory: Rows, sizes: Ints, occupied: Ints, far: Ints, side: int, bound: int, out: Rows, start: int) -> int:
    """Write one side's levels from the touch outward as far as a price, best first; return how many.

    Two sorted lists are merged: the window's cells and the levels beside it.
    """
    own = memory[0]
    outward = -1 if side == BID else 1
    touch = own["bid"] if side == BID else own["ask"]
    if touch == 0:
        return 0
    at = own["bid_far"] - 1 if side == BID else 0
    end = -1 if side == BID else own["ask_far"]
    written = start
    cell = first_cell(memory, sizes, occupied, side, touch)
    while cell >= 0 or at != end:
        dense = (cell + own["origin"]) * own["tick"]
        if cell < 0 or (at != end and (far[side, 0, at] - dense) * outward < 0):
            price, size = far[side, 0, at], far[side, 1, at]
            at += outward
        else:
            price, size = dense, sizes[side, cell]
            cell = cell_below(occupied, side, cell - 1) if side == BID else cell_above(occupied, side, cell + 1)
        if (price - bound) * outward > 0:
            break
        out[written]["price"] = price
        out[written]["size"] = size
        written += 1
    return written - start


@kernel
def first_cell(memory: Rows, sizes: Ints, occupied: Ints, side: int, touch: int) -> int:
    """Return the occupied cell nearest to a side's best price, outward of it, or -1."""
    own = memory[0]
    last = sizes.shape[1] - 1
    cell = touch // own["tick"] - own["origin"]
    if side == BID:
        return cell_below(occupied, side, min(cell, last))
    return cell_above(occupied, side, max(cell, 0))


@kernel
def look(memory: Rows, bands: Ints, sizes: Ints, occupied: Ints, far: Ints, row: Rows, out: Rows) -> tuple[int, int]:
    """Fill one VIEW row and the sorted levels of the widest band; return how many bids and asks were written."""
    own = memory[0]
    view = row[0]
    view["bid"] = own["bid"]
    view["ask"] = own["ask"]
    view["known_low"] = own["known_low"]
    view["known_high"] = own["known_high"]
    view["bid_levels"] = own["bid_levels"]
    view["ask_levels"] = own["ask_levels"]
    if own["bid"] > 0:
        view["bid_size"] = size_at(memory, sizes, far, BID, own["bid"])
    if own["ask"] > 0:
        view["ask_size"] = size_at(memory, sizes, far, ASK, own["ask"])
    if own["bid"] == 0 or own["ask"] == 0:
        return 0, 0
    place_edges(memory, bands, sizes, occupied, far)
    widest = bands.shape[1] - 1
    for b in range(bands.shape[1]):
        view["bid_depth"][b] = bands[3, b]
        view["ask_depth"][b] = bands[4, b]
    bids = collect(memory, sizes, occupied, far, BID, bands[1, widest], out, 0)
    asks = collect(memory, sizes, occupied, far, ASK, bands[2, widest], out, bids)
    view["bids"] = bids
    view["asks"] = asks
    return bids, asks


@kernel
def forget(memory: Rows, bands: Ints, sizes: Ints, occupied: Ints) -> None:
    """Empty the book, touching only the cells that are occupied."""
    for side in range(2):
        cell = cell_above(occupied, side, 0)
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
