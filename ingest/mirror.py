"""One instrument's book beside its session, for venues whose books cannot be judged by ids alone.

Some venues prove a book by a checksum over its best levels, some never say that a level has left the depth that they
show, some send whole books only, some have nothing to go by but that bids stay below asks. All of these need the book
itself, so here it is: two sorted dictionaries of integers. What a message does to it is said as LEVEL rows, so that
readers of the rows need none of this: levels out of scope are deleted by rows, a whole book after the first becomes
its difference to the one before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import sortedcontainers

from engine.errors import Gap
from engine.instrument import Instrument
from engine.schema import LEVEL, Rows

Level = tuple[int, int]

#: Untyped upstream.
SortedDict: Any = sortedcontainers.SortedDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a venue's books are judged by, beside ids."""

    #: The checksum of a book as the venue computes it. None: it has none.
    checksum: "Callable[[Mirror], int] | None" = None
    #: A book whose snapshot states no checksum will state none, and needs no copy.
    optional: bool = False
    #: Levels a side that the venue keeps us informed of: those beyond leave without a word. 0: all, or it says so.
    depth: int = 0
    #: Every SNAPSHOT after the first is the next state of the same book, not the begin of another.
    whole: bool = False
    #: Bids stay below asks after every message: where they do not, something was lost.
    uncrossed: bool = False


class Mirror:
    """A book, and what its venue's rule says of it."""

    def __init__(self, instrument: Instrument, rule: Rule) -> None:
        self.instrument = instrument
        #: Negated price -> size, so that both sides run from the best on; price -> size.
        self._bids: Any = SortedDict()
        self._asks: Any = SortedDict()
        self.rule = rule

    def best(self, levels: int) -> tuple[list[Level], list[Level]]:
        """Give each side's best levels as (price, size) in wire decimals, best first."""
        bids = [(-price, size) for price, size in islice(self._bids.items(), levels)]
        return bids, list(islice(self._asks.items(), levels))

    def agrees(self, other: "Mirror") -> bool:
        """Tell whether another mirror holds the same levels."""
        return bool(self._bids == other._bids and self._asks == other._asks)

    def replace(self, rows: Rows, bids: int) -> None:
        """Begin anew with the levels of a snapshot, best first."""
        pairs = rows.tolist()
        self._bids = SortedDict((-price, size) for price, size in pairs[:bids])
        self._asks = SortedDict(pairs[bids:])

    def difference(self, rows: Rows, bids: int) -> tuple[Rows, int]:
        """Take the book's next whole state; give the LEVEL rows that lead there, and how many of them are bids."""
        before = self._bids, self._asks
        self.replace(rows, bids)
        sides = [
            [(abs(price), 0) for price in old if price not in new]
            + [(abs(price), size) for price, size in new.items() if old.get(price) != size]
            for old, new in zip(before, (self._bids, self._asks), strict=True)
        ]
        return np.array(sides[0] + sides[1], LEVEL), len(sides[0])

    def apply(self, rows: Rows, bids: int) -> tuple[Rows, int]:
        """Apply changes; give the rows with a deletion for each level that left the depth, and how many are bids."""
        pairs = rows.tolist()
        sides = [[(-price, size) for price, size in pairs[:bids]], pairs[bids:]]
        gone = [self._change(side, changes) for side, changes in zip((self._bids, self._asks), sides, strict=True)]
        if not gone[0] and not gone[1]:
            return rows, bids
        left = [[(abs(price), 0) for price in side] for side in gone]
        return np.array([*pairs[:bids], *left[0], *pairs[bids:], *left[1]], LEVEL), bids + len(left[0])

    def check(self, checksum: int | None, last: int, first: int) -> bool:
        """Tell whether the venue's checksum agrees; without one, False. Raises Gap where the book cannot be right."""
        crossed = self._bids and self._asks and -self._bids.peekitem(0)[0] >= self._asks.peekitem(0)[0]
        if crossed and self.rule.uncrossed:
            raise Gap(self.instrument.key, last, first)
        if checksum is None or self.rule.checksum is None:
            return False
        if self.rule.checksum(self) != checksum:
            raise Gap(self.instrument.key, last, first)
        return True

    def _change(self, side: Any, changes: list[Level]) -> list[int]:
        """Change one side; give the keys that fell out of its depth."""
        for price, size in changes:
            if size:
                side[price] = size
            else:
                side.pop(price, None)
        surplus = len(side) - self.rule.depth if self.rule.depth else 0
        return [side.popitem()[0] for _ in range(surplus)]
