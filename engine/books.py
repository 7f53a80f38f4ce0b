"""Books as the cascade walks them: one venue's sides in, or several venues' laid upon one another; ladders out.

Venues quote one asset at prices that differ by a basis. So each venue's prices are scaled by reference / its mid, where
the reference is the median of the venues' mids; then its mid stands at the reference, and sides are summed by price. A
venue whose mid is more than a fifth off the others' is of another quote currency, or broken: it is left out.

Where a cascade is assumed to last, makers put back what they did of late: per second, what was added less what was
cancelled over the refill window of `engine.signals.flow`, if that is above 0, within 10 bps of the mid and from there
to 50 bps. Farther away no rate is known, and nothing is put back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median, median_low
from typing import Final

import numpy as np

from engine.book import Book
from engine.cascade import Floats, lay, merge, replenish
from engine.fields import reader_of
from engine.imbalance import base_per_size
from engine.kernel import kernel
from engine.money import QUANTO, UNIT
from engine.resilience import ZONE_BPS, moved
from engine.schema import Rows
from engine.signals.flow import newest

#: Directions: a fall walks bids downward, a squeeze asks upward, as a fall of prices x -1.
FALL: Final = 1.0
SQUEEZE: Final = -1.0
BPS: Final = 10_000.0
#: A mid so much off the others' is none of the same quote currency.
FOREIGN: Final = Fraction(1, 5)
#: Edges of the zones in which a rate of refilling is known, bps.
REFILLED: Final = ZONE_BPS[1:]

#: What a price is counted in, and what is traded.
_MONEY: Final = reader_of(UNIT, ("price", "contract"), ())[0]
#: A mid as a fraction of whole numbers, price units.
Mid = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """One side of a book, or of several, as the model walks it: prices x +1 or -1, base units; prices descend."""

    prices: Floats
    sizes: Floats


def ladder(levels: Rows, unit: Rows, factor: float) -> Ladder:
    """Lay LEVEL rows, best first, into a ladder; `factor` is +1 for bids, -1 for asks, times the basis alignment."""
    prices, sizes = np.zeros(len(levels)), np.zeros(len(levels))
    lay(levels, unit, factor, prices, sizes)
    return Ladder(prices=prices, sizes=sizes)


def summed(sides: Sequence[Ladder]) -> Ladder:
    """Sum sides by price."""
    starts = np.cumsum([0, *(len(side.prices) for side in sides)]).astype(np.int64)
    prices, sizes = np.zeros(int(starts[-1])), np.zeros(int(starts[-1]))
    whole = (np.concatenate([s.prices for s in sides]), np.concatenate([s.sizes for s in sides]))
    count = merge(*whole, starts, prices, sizes)
    return Ladder(prices=prices[:count], sizes=sizes[:count])


def answers(book: Book | None, unit: Rows) -> bool:
    """Say whether the model can be asked: there is a mid, and sizes are base units, as a quanto contract's are not."""
    return book is not None and all(book.touch) and _MONEY(unit)[1] != QUANTO


def mid_of(book: Book, unit: Rows) -> Mid:
    """Return the mid of a book that has both sides."""
    bid, ask = book.touch
    return bid + ask, 2 * round(_MONEY(unit)[0])


def edges(drops: Sequence[int], mid: Mid, sign: float) -> Floats:
    """Give the price of each move x +1 or -1: the float nearest to it, so that a level on the very edge is inside."""
    over, under = mid
    way = round(sign)
    return np.array([way * over * (10_000 - way * drop) / (under * 10_000) for drop in drops], np.float64)


def reference_of(mids: Sequence[Fraction]) -> tuple[Fraction, list[bool]]:
    """Give the median of the mids, at least one, that are of one quote currency, and which those are."""
    if len(mids) == 1:
        return mids[0], [True]
    centre = median_low(mids)
    kept = [abs(mid - centre) <= FOREIGN * centre for mid in mids]
    return median(mid for mid, keep in zip(mids, kept, strict=True) if keep), kept


@kernel
def refill_rates(memory: Rows, settings: Rows, unit: Rows, side: int, out: Floats) -> None:
    """Write how fast one side (0 bid, 1 ask) refills per zone of REFILLED, base units per second; 0 where not known."""
    rule, base, before = settings[0], base_per_size(memory, unit), 0.0
    cells = rule["refill_cells"]
    early = memory[0]["filled"] < cells
    for k in range(len(out)):
        # Zones of the flow memory reach from the mid to their edge: each ring is what one has more than the one within.
        added, cancelled, _ = moved(memory, side, k + 1, newest(memory), cells)
        ring = added - cancelled - before
        before += ring
        out[k] = 0.0 if early else max(ring, 0.0) * base / (cells * (rule["cell_ns"] / 1e9))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refill:
    """What refilling is told by: FLOW memory and settings of the book's own instrument, and ms that it lasts."""

    flow: Rows
    settings: Rows
    duration: int


def refilled(side: Ladder, mid: Mid, sign: float, factor: float, unit: Rows, refill: Refill) -> tuple[Ladder, float]:
    """Put back what makers do in `duration`; give the side then, and the rate, base units per second.

    `side` is aligned by `factor`, `mid` is not. What a zone without a level is given finds no place and is left out.
    """
    rates = np.zeros(len(REFILLED))
    if refill.duration == 0:
        return side, 0.0
    refill_rates(refill.flow, refill.settings, unit, 0 if sign == FALL else 1, rates)
    sizes = np.zeros(len(side.sizes))
    bounds = edges([int(bps) for bps in REFILLED], mid, sign) * factor
    replenish(side.prices, side.sizes, bounds, rates, refill.duration / 1_000, sizes)
    return Ladder(prices=side.prices, sizes=sizes), float(rates.sum())
