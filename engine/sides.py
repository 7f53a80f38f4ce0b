"""Sides: a book in, its sorted levels out, walked once for all records of one instant."""

from typing import Final

import numpy as np

from engine.book import Book
from engine.kernel import inner, kernel
from engine.ladder import ASK, BID, Ints, share
from engine.schema import LEVEL, Rows
from engine.views import collect

#: Room for so many levels at first, both sides together.
ROOM: Final = 1024


class Sides:
    """The levels of one book that were walked last, and how far."""

    __slots__ = ("_asks", "_bids", "_bps", "_levels", "_of")

    def __init__(self) -> None:
        self._levels = np.zeros(ROOM, LEVEL)
        self._of, self._bps = -1, 0
        self._bids = self._asks = self._levels[:0]

    def forget(self) -> None:
        """Walk anew at the next call, whatever its version: the book is another one."""
        self._of = -1

    def reaching(self, book: Book, version: int, bps: int) -> tuple[Rows, Rows]:
        """Give the levels within at least so many basis points of the mid, best first: bids, asks; one-sided: all.

        `version` is a number that the book has as long as it does not change. The rows stand only until the next call,
        and are never to be written.
        """
        if self._of == version and self._bps >= bps:
            return self._bids, self._asks
        memory = book.ladder()[0][0]
        if not (memory["bid"] and memory["ask"]):
            return book.levels()
        needed = int(memory["bid_levels"] + memory["ask_levels"])
        if needed > len(self._levels):
            self._levels = np.zeros(2 * needed, LEVEL)
        bids, asks = collect_both(*book.ladder(), bps, self._levels)
        self._bids, self._asks = self._levels[:bids], self._levels[bids : bids + asks]
        self._of, self._bps = version, bps
        return self._bids, self._asks

    def within(self, book: Book, version: int, bps: int) -> tuple[Rows, Rows]:
        """Give the levels within exactly so many basis points of the mid, as `reaching` does."""
        bids, asks = self.reaching(book, version, bps)
        if self._of != version or self._bps == bps:
            return bids, asks
        bid, ask = book.touch
        return bids[: held(bids, BID, bid + ask, bps)], asks[: held(asks, ASK, bid + ask, bps)]


@kernel
def collect_both(memory: Rows, sizes: Ints, occupied: Ints, far: Ints, bps: int, out: Rows) -> tuple[int, int]:
    """Write the levels within so many basis points of the mid, bids before asks; return how many of each."""
    mid2 = memory[0]["bid"] + memory[0]["ask"]
    bids = collect(memory, sizes, occupied, far, BID, edge_of(mid2, bps, BID), out, 0)
    return bids, collect(memory, sizes, occupied, far, ASK, edge_of(mid2, bps, ASK), out, bids)


@inner
def edge_of(mid2: int, bps: int, side: int) -> int:
    """Return the outermost price within so many basis points of the mid, the bound itself included."""
    return -share(-mid2, 10_000 - bps) if side == BID else share(mid2, 10_000 + bps)


@kernel
def held(levels: Rows, side: int, mid2: int, bps: int) -> int:
    """Count the levels, best first, that lie within so many basis points of the mid."""
    edge, low, high = edge_of(mid2, bps, side), 0, len(levels)
    while low < high:
        at = (low + high) // 2
        price = levels[at]["price"]
        if price >= edge if side == BID else price <= edge:
            low = at + 1
        else:
            high = at
    return low
