"""Cascade of an asset: the books of all its venues and everything forced behind them in, one row out.

Books are laid upon one another at the median of their mids (`engine.books`), maps are scaled alike, and each known
exposure counts once (`engine.triggers`). What is asked of that one book is what `engine.signals.cascade` asks of an
instrument's own; past net selling is that of all venues together. Venues' makers leave, and refill, alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from engine import risk, tail
from engine.book import Book
from engine.books import Ladder, Mid, Refill, ladder, mid_of, reference_of, refilled, summed
from engine.config import EngineConfig
from engine.errors import BadRecord
from engine.fields import Field, Layout, Signal
from engine.schema import Rows
from engine.signals.cascade import FIELDS, SIGNS, Seen, Sight, fill_maps, measure, reach_of, read_maps, tell_risk
from engine.topics import SIGNAL_CASCADE
from engine.triggers import begun, known, maps_of

#: Memories of an asset that a state holds, in this order.
PARTS: Final = ("tail", "risk")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One venue's instrument, whose book is known and answers (`engine.books.answers`)."""

    key: str
    book: Book
    unit: Rows
    #: Its liquidation map, and what is assumed of leverage and margin at the venue.
    map: Rows
    assumed: Rows
    #: Its flow, and the settings of that.
    flow: Rows
    flow_settings: Rows
    #: What gives the levels within so many bps of the mid, if others share them; else the book is walked.
    near: Callable[[int], tuple[Rows, Rows]] | None = None
    #: What gives the cascade of this book alone and its row, if that is at hand.
    own: Callable[[], tuple[Sight, Rows] | None] | None = None

    @property
    def mid(self) -> Fraction:
        """Return its mid, price units, exact."""
        return Fraction(*mid_of(self.book, self.unit))


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """An asset's books as one."""

    seen: Seen
    #: Mid of each part that is in it.
    mids: tuple[float, ...]
    #: Keys of the parts that are in it, and of those of another quote currency.
    venues: tuple[str, ...]
    left_out: tuple[str, ...]
    #: Rates at which bids and asks refill, base units per second.
    rates: tuple[float, float]
    #: Known holders without leverage.
    holders: int


def lay_upon(config: EngineConfig, asset: str, parts: Sequence[Part], now: int = 0, everything: bool = False) -> Whole:
    """Lay the books of at least one part upon one another: all of each, or what a CASCADE row looks at.

    `now` is row time, by which a mark is too old to be believed; 0: none is.
    """
    middle, keep = reference_of([part.mid for part in parts])
    kept = [part for part, stays in zip(parts, keep, strict=True) if stays]
    factors = [float(middle / part.mid) for part in kept]
    laid: tuple[list[Ladder], list[Ladder]] = [], []
    rates = [0.0, 0.0]
    for part, factor in zip(kept, factors, strict=True):
        # What is shared stands until the next book is asked: both of its sides are laid before.
        levels = part.book.levels() if everything else (part.near or part.book.within)(reach_of(config))
        refill = Refill(flow=part.flow, settings=part.flow_settings, duration=config.cascade.duration)
        for at, sign in enumerate(SIGNS):
            side = ladder(levels[at], part.unit, sign * factor)
            side, rate = refilled(side, mid_of(part.book, part.unit), sign, factor, part.unit, refill)
            laid[at].append(side)
            rates[at] += rate
    sides = [joined(each) for each in laid]
    mid: Mid = mid_of(kept[0].book, kept[0].unit) if len(kept) == 1 else middle.as_integer_ratio()
    exposures, holders = known(config, asset)
    maps = maps_of([part.map for part in kept], [part.assumed for part in kept], factors, exposures)
    maps = begun(maps, mid[0] / mid[1], now)
    return Whole(
        seen=Seen(mid=mid, sides=(sides[0], sides[1]), maps=maps),
        mids=tuple(float(part.mid) for part in kept),
        venues=tuple(part.key for part in kept),
        left_out=tuple(part.key for part, stays in zip(parts, keep, strict=True) if not stays),
        rates=(rates[0], rates[1]),
        holders=holders,
    )


def joined(sides: Sequence[Ladder]) -> Ladder:
    """Sum sides by price; a single one whose prices all differ is its own sum."""
    alone = len(sides) == 1 and bool((sides[0].prices[1:] < sides[0].prices[:-1]).all())
    return sides[0] if alone else summed(sides)


def measure_asset(config: EngineConfig, asset: str, parts: Sequence[Part], now: int, row: Rows) -> Whole:
    """Fill an asset's CASCADE row, but for its risk, from at least one part; give what it was measured from."""
    own = parts[0].own() if len(parts) == 1 and parts[0].own else None
    if own is not None and own[1].dtype == row.dtype:
        row[:] = own[1]
        return alone(parts[0], own[0], known(config, asset)[1])
    whole = lay_upon(config, asset, parts, now)
    found = read_maps(whole.seen.maps, whole.mids)
    fill_maps(found, row)
    row["holders"] = whole.holders
    row["fall_refill"], row["squeeze_refill"] = whole.rates
    measure(config, whole.seen.mid, whole.seen.sides, found.triggers, row)
    return whole


def alone(part: Part, sight: Sight, holders: int) -> Whole:
    """Give an asset of one book."""
    mids, venues = (float(part.mid),), (part.key,)
    return Whole(seen=sight.seen, mids=mids, venues=venues, left_out=(), rates=sight.rates, holders=holders)


class AssetCascade:
    """What is remembered of an asset: net selling of all venues in the past, and the risk computed of it last.

    `hear`, `close` and `measure` are called in the order of row time, which never goes back: the latest receive stamp
    of any of the asset's rows.
    """

    __slots__ = ("asset", "config", "risk", "settings", "tail")

    def __init__(self, config: EngineConfig, asset: str) -> None:
        self.config = config
        self.asset = asset
        self.settings = tail.settings_of(config.cascade.horizon, samples=config.cascade.samples)
        self.tail = tail.memory_of()
        self.risk = np.zeros(1, risk.MEMORY)

    def hear(self, trades: Rows, unit: Rows, now: int) -> None:
        """Take TRADE rows of any venue whose book is known."""
        tail.take_trades(self.tail, self.settings, trades, unit, now)

    def close(self, now: int, mid: float) -> None:
        """Take the reference as it was before a line of the grid and the row there; 0 where no book is known."""
        tail.close_tail(self.tail, self.settings, now, mid)

    def lose(self) -> None:
        """Forget the open horizon, because a venue's book is not known any more: its trades may be missing."""
        tail.restart_tail(self.tail)
        self.risk["time"] = 0

    def measure(self, parts: Sequence[Part], now: int, row: Rows) -> Whole:
        """Fill an asset's CASCADE row from at least one part; give the books that it was measured from."""
        whole = measure_asset(self.config, self.asset, parts, now, row)
        tell_risk(self.config, whole.seen, (self.tail, self.settings), self.risk, now, row)
        return whole

    def dump(self) -> list[bytes]:
        """Write everything that is remembered, one part for each of PARTS."""
        return [getattr(self, name).tobytes() for name in PARTS]

    def load(self, parts: Sequence[bytes]) -> None:
        """Read what `dump` wrote. Raises BadRecord where a part has another size than ours."""
        for name, memory in zip(PARTS, parts, strict=True):
            dtype = getattr(self, name).dtype
            if len(memory) != dtype.itemsize:
                raise BadRecord(f"{name} of {self.asset} has {len(memory)} bytes in the state, here {dtype.itemsize}")
            setattr(self, name, np.frombuffer(memory, dtype).copy())


def layout(config: EngineConfig) -> Layout:
    """Give the layout of an asset's CASCADE row; the names of venues are beside it."""
    return Layout(SIGNAL.fields, {"drops": len(config.cascade.drops), "shocks": len(config.cascade.shocks)})


SIGNAL: Final = Signal(
    name="cascade",
    topic=SIGNAL_CASCADE,
    meaning="The same of all venues' books of one asset, laid upon one another.",
    needs_book=True,
    scope="asset",
    fields=(
        Field("venues", "string", "", "Instruments whose books are summed.", over="venues"),
        Field("excluded", "string", "", "Instruments of the asset that are left out.", over="excluded"),
        Field("excluded_why", "string", "", "Reason of each; `foreign`: its mid is far off.", over="excluded"),
        *FIELDS,
    ),
)
