"""The order book of one instrument: LEVEL rows in, VIEW rows out, all in integers (the kernels: `engine.ladder`)."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadFrame, BadRecord
from engine.fields import reader_of
from engine.instrument import Instrument
from engine.ladder import (
    ASK,
    BID,
    MEMORY,
    OFF_CENTRE,
    OUT_OF_RANGE,
    PRICE_LIMIT,
    WORD,
    Ints,
    apply,
    forget,
    holds,
    size_at,
)
from engine.schema import LEVEL, Rows, View, view_dtype
from engine.views import collect, look

#: Window sizes in ticks: at least the first, at most the last; in between about a third of the price.
WINDOWS: Final = (1 << 12, 1 << 20)
_TOUCH: Final = reader_of(MEMORY, ("bid", "ask"), ())[0]
#: What the kernels of `engine.ladder` take: memory, bands, sizes, occupied, far.
Arrays: TypeAlias = tuple[Rows, Ints, Ints, Ints, Ints]


class Book:
    """The ladder of one instrument."""

    def __init__(self, instrument: Instrument, bands: Sequence[int]) -> None:
        self.instrument = instrument
        self._view = view_dtype(len(bands))
        self._memory = np.zeros(1, MEMORY)
        self._memory["tick"] = instrument.tick
        self._memory["inverse"] = 1.0 / instrument.tick
        #: As `engine.ladder` says.
        self._bands = np.zeros((7, len(bands)), np.int64)
        self._bands[0] = bands
        self._sizes = np.zeros((2, WINDOWS[0]), np.int64)
        self._occupied = np.zeros((2, WINDOWS[0] // WORD), np.int64)
        self._far = np.zeros((2, 2, 1024), np.int64)
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
        self.reserve(count)
        outcome = apply(self._memory, self._bands, self._sizes, self._occupied, self._far, levels, bids)
        if outcome == OUT_OF_RANGE:
            self._check(levels)
        if replace and count:
            memory = self._memory[0]
            memory["known_low"] = levels["price"][:bids].min() if bids else 0
            memory["known_high"] = levels["price"][bids:].max() if count > bids else 0
        if outcome == OFF_CENTRE:
            self.recentre()

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

    @property
    def touch(self) -> tuple[int, int]:
        """Best bid and best ask, 0 where a side is empty."""
        bid, ask = _TOUCH(self._memory)
        return bid, ask

    def ladder(self) -> tuple[Rows, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Give the arrays that `engine.ladder` reads a book from: memory, sizes, occupied, far; never to be written."""
        return self._memory, self._sizes, self._occupied, self._far

    @property
    def arrays(self) -> Arrays:
        """Give what `engine.ladder.apply` writes, memory to far; only until the book is changed by other means."""
        return self._memory, self._bands, self._sizes, self._occupied, self._far

    @property
    def bands(self) -> NDArray[np.int64]:
        """Give the bands that go with the ladder: a kernel places their edges anew where it needs them."""
        return self._bands

    def view(self) -> View:
        """Take a view: the touch, the depth of each band, and the sorted levels inside the widest one."""
        row = np.zeros(1, self._view)
        memory = self._memory[0]
        needed = int(memory["bid_levels"] + memory["ask_levels"])
        if needed > len(self._sorted):
            self._sorted = np.zeros(2 * needed, LEVEL)
        bids, asks = look(self._memory, self._bands, self._sizes, self._occupied, self._far, row, self._sorted)
        return View(row=row, bids=self._sorted[:bids].copy(), asks=self._sorted[bids : bids + asks].copy())

    def within(self, bps: int) -> tuple[Rows, Rows]:
        """Return the levels within so many basis points of the mid, best first: bids, asks; of one side only, all."""
        memory = self._memory[0]
        return self._reach(bps) if memory["bid"] and memory["ask"] else self.levels()

    def _reach(self, bps: int) -> tuple[Rows, Rows]:
        memory = self._memory[0]
        mid2, needed = int(memory["bid"] + memory["ask"]), int(memory["bid_levels"] + memory["ask_levels"])
        if needed > len(self._sorted):
            self._sorted = np.zeros(2 * needed, LEVEL)
        low, high = -(-mid2 * (10_000 - bps) // 20_000), mid2 * (10_000 + bps) // 20_000
        arrays = self._memory, self._sizes, self._occupied, self._far
        bids = collect(*arrays, BID, low, self._sorted, 0)
        asks = collect(*arrays, ASK, high, self._sorted, bids)
        return self._sorted[:bids].copy(), self._sorted[bids : bids + asks].copy()

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
                    "allowed are prices from 1 to 2^60 and sizes from 0 to 2^58",
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

    def reserve(self, count: int) -> None:
        """Make room beside the window for as many levels as one update could put there."""
        taken = int(max(self._memory["bid_far"][0], self._memory["ask_far"][0]))
        if taken + count > self._far.shape[2]:
            far = np.zeros((2, 2, 2 * (taken + count)), np.int64)
            far[:, :, :taken] = self._far[:, :, :taken]
            self._far = far

    def recentre(self) -> None:
        """Move the window to where the mid is now. Rare: it takes a move of about an eighth of the price."""
        bids, asks = self.levels()
        low, high = int(self._memory["known_low"][0]), int(self._memory["known_high"][0])
        self.clear()
        self._rebuild(np.concatenate((bids, asks)), len(bids))
        self._memory["known_low"], self._memory["known_high"] = low, high

    def _rebuild(self, levels: Rows, bids: int) -> None:
        self._place(levels, bids)
        self.reserve(len(levels))
        apply(self._memory, self._bands, self._sizes, self._occupied, self._far, levels, bids)
