"""Slow, obvious twin of the flow kernels: every event in lists, every question answered by looking at all of them."""

# Flow

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import fmean, variance
from typing import Any, TypeAlias

import numpy as np

from engine.book import Book
from engine.config import EngineConfig
from engine.instrument import Instrument
from engine.money import unit_of
from engine.schema import LEVEL, TRADE, Contract
from engine.signals import flow

Side: TypeAlias = dict[int, int]
Sides: TypeAlias = tuple[Side, Side]
#: Side (0 bid, 1 ask), price, size.
Change: TypeAlias = tuple[int, int, int]
ZONES = (0, 10, 50)
SECOND = 10**9


@dataclass
class Message:
    """A book message: its row time, the book before and after it, the last sound book before and after it."""

    now: int
    before: Sides
    after: Sides
    sound_before: Sides | None
    sound: Sides | None


@dataclass
class Trade:
    """A trade, and the last sound book before it."""

    now: int
    price: int
    size: int
    sign: int
    sound: Sides | None


def mid_of(book: Sides | None) -> Fraction | None:
    return Fraction(max(book[0]) + min(book[1]), 2) if book and book[0] and book[1] else None


def inside(book: Sides | None, side: int, zone: int, price: int) -> bool:
    """Whether a price lies in a zone of a sound book."""
    if book is None or not book[side]:
        return False
    sign = 1 if side == 0 else -1
    if zone == 0:
        return (price - (max(book[0]) if side == 0 else min(book[1]))) * sign >= 0
    mid = mid_of(book)
    return mid is not None and (price - mid * Fraction(10_000 - sign * ZONES[zone], 10_000)) * sign >= 0


class NaiveFlow:
    """What the FLOW fields of resilience, shocks and trading must say."""

    def __init__(self, instrument: Instrument, config: EngineConfig) -> None:
        self.flow = config.flow
        self.cell = config.flow.cell * 10**6
        self.instrument = instrument
        self.messages: list[Message] = []
        self.trades: list[Trade] = []
        #: Signs and quote units of all trades, whatever became of the book.
        self.poured: list[tuple[int, Fraction]] = []
        #: The last cell that ended.
        self.last = 0

    # What happens.

    def lose(self) -> None:
        self.messages, self.trades = [], []

    def take_book(self, now: int, before: Sides, after: Sides) -> None:
        sound_before = self.messages[-1].sound if self.messages else None
        crossed = bool(after[0] and after[1] and max(after[0]) >= min(after[1]))
        self.messages.append(Message(now, before, after, sound_before, sound_before if crossed else after))

    def take_trade(self, now: int, price: int, size: int, sign: int) -> None:
        self.poured.append((sign, self.base(Fraction(size), Fraction(price)) * self.price(Fraction(price))))
        if self.messages:
            self.trades.append(Trade(now, price, size, sign, self.messages[-1].sound))

    # Units.

    def price(self, price: Fraction) -> Fraction:
        return price / Fraction(10) ** self.instrument.price_decimals

    def base(self, size: Fraction, price: Fraction) -> Fraction:
        amount = size / Fraction(10) ** self.instrument.size_decimals * Fraction(self.instrument.contract_size, 10**8)
        return amount / self.price(price) if self.instrument.contract == Contract.INVERSE else amount

    # Cells.

    @property
    def first(self) -> int:
        """The cell in which the book became known."""
        return self.messages[0].now // self.cell if self.messages else self.last + 1

    def whole(self, cells: int) -> bool:
        return self.last - self.first >= cells

    def messages_of(self, cell: int) -> list[Message]:
        return [message for message in self.messages if message.now // self.cell == cell]

    def trades_of(self, cells: Iterable[int]) -> list[Trade]:
        return [trade for trade in self.trades if trade.now // self.cell in cells]

    def book_of(self, cell: int) -> Message | None:
        """The last message at the end of a cell."""
        found = [message for message in self.messages if message.now // self.cell <= cell]
        return found[-1] if found else None

    def end_mid(self, cell: int) -> Fraction | None:
        message = self.book_of(cell)
        return mid_of(message.sound) if message else None

    def window(self, cells: int) -> range:
        return range(self.last - cells + 1, self.last + 1)

    # Resilience.

    def changes(self, cell: int, side: int, zone: int) -> list[int]:
        found = []
        for message in self.messages_of(cell) if cell > self.first else self.messages_of(cell)[1:]:
            for price in message.before[side].keys() | message.after[side].keys():
                if inside(message.sound_before, side, zone, price):
                    found.append(message.after[side].get(price, 0) - message.before[side].get(price, 0))
        return found

    def added(self, cell: int, side: int, zone: int) -> int:
        return sum(change for change in self.changes(cell, side, zone) if change > 0)

    def executed(self, cell: int, side: int, zone: int) -> int:
        takers = [trade for trade in self.trades_of([cell]) if trade.sign == (-1 if side == 0 else 1)]
        return sum(trade.size for trade in takers if inside(trade.sound, side, zone, trade.price))

    def cancelled(self, cell: int, side: int, zone: int) -> int:
        """All cells since the book is known: what one cell's trades took beyond its decreases counts in the next."""
        carried = cancelled = 0
        for each in range(self.first, cell + 1):
            removed = -sum(change for change in self.changes(each, side, zone) if change < 0)
            executed = self.executed(each, side, zone)
            cancelled = max(removed - executed - carried, 0)
            carried = min(max(executed + carried - removed, 0), executed)
        return cancelled

    def depth(self, cell: int, side: int, zone: int) -> int | None:
        message = self.book_of(cell)
        if message is None or message.sound is None:
            return None
        if zone > 0 and mid_of(message.sound) is None and message.sound[side]:
            return None
        return sum(size for price, size in message.after[side].items() if inside(message.sound, side, zone, price))

    def flow_of(self, side: int, zone: int, cells: range) -> tuple[int, int, int]:
        sums = (self.added, self.cancelled, self.executed)
        return tuple(sum(each(cell, side, zone) for cell in cells) for each in sums)  # type: ignore[return-value]

    def withdrawal(self, side: int, zone: int) -> float | None:
        depth = self.depth(self.last - 1, side, zone)
        if not self.whole(1) or depth is None:
            return None
        there = depth + self.added(self.last, side, zone)
        return min(self.cancelled(self.last, side, zone) / there, 1.0) if there else None

    def hazard(self, cells: int) -> float | None:
        found = [self.depth(self.last - back, side, 1) for side in (0, 1) for back in (0, cells)]
        if not self.whole(cells) or not all(found):
            return None
        bid, bid_then, ask, ask_then = (depth or 0 for depth in found)
        return (math.log(bid_then / bid) - math.log(ask_then / ask)) / (cells * self.cell / SECOND)

    def shock(self, side: int) -> tuple[str, float | None, float | None]:
        state, began, before, least, least_at = "none", 0, 0, 0, 0
        points: list[tuple[float, float]] = []
        depths = {cell: self.depth(cell, side, 1) for cell in range(self.first, self.last + 1)}
        for cell, depth in depths.items():
            if state == "recovering" and (cell - began) * self.flow.cell > self.flow.recovery:
                state = "over"
            if depth is None:
                continue
            if state != "recovering":
                reach = range(max(cell - self.flow.shock_window // self.flow.cell, self.first), cell + 1)
                before = max(depths[each] or 0 for each in reach)
                if before == 0 or before - depth < self.flow.shock * before:
                    continue
                state, began, least, least_at, points = "recovering", cell, depth, cell, []
            elif depth < least:
                least, least_at, points = depth, cell, []
            elif depth < before:
                points.append(((cell - least_at) * self.cell / SECOND, -math.log((before - depth) / (before - least))))
        depth = depths.get(self.last)
        if state != "recovering" or depth is None:
            return state, None, None
        cross, square = sum(t * y for t, y in points), sum(t * t for t, _ in points)
        half_life = math.log(2) * square / cross if cross > 0 else None
        return state, (depth - least) / (before - least), half_life

    # Trading.

    def volume(self, trades: Iterable[Trade]) -> float:
        return float(sum(self.base(Fraction(trade.size), Fraction(trade.price)) for trade in trades))

    def average(self, trades: Sequence[Trade], of: Callable[[Trade, Fraction], Fraction]) -> float | None:
        """Mean of something by volume, of the trades that had a mid, in basis points both ways."""
        pairs = [(trade, mid) for trade in trades if (mid := mid_of(trade.sound)) is not None]
        weights = [self.base(Fraction(trade.size), Fraction(trade.price)) for trade, _ in pairs]
        if not pairs or not sum(weights):
            return None
        total = sum(weight * of(trade, mid) for weight, (trade, mid) in zip(weights, pairs, strict=True))
        return float(20_000 * total / sum(weights))

    def effective(self, cells: int) -> float | None:
        trades = self.trades_of(self.window(cells)) if self.whole(cells) else []
        return self.average(trades, lambda trade, mid: trade.sign * (trade.price - mid) / mid)

    def spreads(self, cells: int, later: int) -> tuple[float | None, float | None, float | None]:
        """Effective, realised and impact."""
        if not self.whole(cells + later):
            return None, None, None
        ends = {
            cell: self.end_mid(cell + later) for cell in range(self.last - later - cells + 1, self.last - later + 1)
        }
        trades = self.trades_of([cell for cell, end in ends.items() if end is not None])

        def end(trade: Trade) -> Fraction:
            return ends[trade.now // self.cell] or Fraction(0)

        return (
            self.average(trades, lambda trade, mid: trade.sign * (trade.price - mid) / mid),
            self.average(trades, lambda trade, mid: trade.sign * (trade.price - end(trade)) / mid),
            self.average(trades, lambda trade, mid: trade.sign * (end(trade) - mid) / mid),
        )

    def variance(self, cells: int) -> float | None:
        mids = [self.end_mid(cell) for cell in range(self.last - cells, self.last + 1)]
        if not self.whole(cells) or None in mids:
            return None
        known = [mid for mid in mids if mid is not None]
        return float(sum((10_000 * (b - a) / a) ** 2 for a, b in pairwise(known)))

    def toxicity(self) -> float | None:
        bucket = Fraction(self.flow.bucket)
        gaps, held = [], [Fraction(0), Fraction(0)]
        for sign, worth in self.poured:
            left = worth
            while left > 0:
                poured = min(left, bucket - sum(held))
                held[sign > 0] += poured
                left -= poured
                if sum(held) == bucket:
                    gaps.append(abs(held[0] - held[1]))
                    held = [Fraction(0), Fraction(0)]
        last = gaps[-self.flow.buckets :]
        return float(sum(last) / len(last) / bucket) if len(last) == self.flow.buckets else None

    def branching(self, now: int) -> tuple[float | None, float | None]:
        """The ratio of the last 300 whole seconds, and that of a Poisson process with the 30 s moving mean as rate."""
        seconds = range(now // SECOND - 300, now // SECOND)
        if not self.messages or seconds[0] <= self.messages[0].now // SECOND:
            return None, None
        met = [trade.now // SECOND for trade in self.trades]
        counts = [met.count(second) for second in seconds]
        if not sum(counts):
            return None, None
        rates = [fmean(counts[at : at + 30]) for at in range(271)]
        spread = (variance(counts), fmean(counts) + variance(rates))
        raw, surrogate = (1 - math.sqrt(fmean(counts) / each) if each > fmean(counts) else 0.0 for each in spread)
        return raw, surrogate

    # All of it.

    def fields(self, now: int) -> dict[str, Any]:
        """Every field of the three, None where undefined, as of the last closed cell."""
        step = self.flow.cell
        refill = self.window(self.flow.refill // step)
        enough = self.whole(len(refill))
        mid = mid_of(self.messages[-1].sound) if self.messages else None
        found: dict[str, Any] = {}
        for side, name in enumerate(("bid", "ask")):
            sums = [self.flow_of(side, zone, refill) if enough else (0, 0, 0) for zone in range(3)]
            for i, word in enumerate(("added", "cancelled", "executed")):
                known = enough and (mid is not None or self.instrument.contract != Contract.INVERSE)
                found[f"{name}_{word}"] = [
                    float(self.base(Fraction(each[i]), mid or Fraction(1))) if known else None for each in sums
                ]
            found[f"{name}_refill"] = [a / (c + x) if c + x else None for a, c, x in sums]
            found[f"{name}_cancel_trade"] = [c / x if x else None for _, c, x in sums]
            found[f"{name}_withdrawal"] = [self.withdrawal(side, zone) for zone in range(3)]
            state, recovered, half_life = self.shock(side)
            found |= {f"{name}_shock": state, f"{name}_recovered": recovered, f"{name}_half_life": half_life}
        windows = [window // step for window in self.flow.windows]
        taken = [self.trades_of(self.window(cells)) if self.whole(cells) else None for cells in windows]
        found["hazard"] = [self.hazard(cells) for cells in windows]
        found["trades"] = [None if trades is None else len(trades) for trades in taken]
        for name, sign in (("buy_base", 1), ("sell_base", -1)):
            found[name] = [
                None if trades is None else self.volume(trade for trade in trades if trade.sign == sign)
                for trades in taken
            ]
        found["effective_bps"] = [self.effective(cells) for cells in windows]
        found["variance"] = [self.variance(cells) for cells in windows]
        spreads = [self.spreads(windows[-1], horizon // step) for horizon in self.flow.horizons]
        for i, name in enumerate(("horizon_effective_bps", "realised_bps", "impact_bps")):
            found[name] = [each[i] for each in spreads]
        found["toxicity"] = self.toxicity()
        raw, surrogate = self.branching(now)
        net = raw - surrogate if raw is not None and surrogate is not None else None
        return found | {"branching": net, "branching_raw": raw, "branching_surrogate": surrogate}


def ladder_of(book: Book) -> tuple[Any, Any, Any, Any]:
    """The arrays of a book, in the kernels' order."""
    return book._memory, book._sizes, book._occupied, book._far


def finite(found: dict[str, Any]) -> bool:
    values = [one for value in found.values() for one in (value if isinstance(value, list) else [value])]
    return all(math.isfinite(one) for one in values if isinstance(one, float))


class Market:
    """One instrument taken through a real book, the kernels and their twin, in the pipeline's order of calls."""

    def __init__(self, instrument: Instrument, config: EngineConfig) -> None:
        self.instrument, self.config = instrument, config
        self.memory, self.settings = flow.memory_of(config), flow.settings_of(config)
        self.unit = unit_of(instrument)
        self.layout = flow.layout(config)
        self.book = Book(instrument, config.bands)
        self.twin = NaiveFlow(instrument, config)
        self.levels: Sides = ({}, {})
        self.now = 0

    def pass_time(self, now: int) -> bool:
        """Let row time pass, ns; say whether a cell was closed."""
        self.now = now
        if now < self.memory["cell_ends"][0]:
            return False
        begun = self.memory["cell_ends"][0] > 0
        flow.close(self.memory, self.settings, *ladder_of(self.book), self.unit, now)
        self.twin.last = int(self.memory["cell"][0]) - 1
        return bool(begun)

    def lose(self) -> None:
        flow.restart(self.memory)
        self.twin.lose()

    def snapshot(self, bids: Side, asks: Side) -> None:
        self.lose()
        self.levels = ({}, {})
        self._take([(0, *level) for level in bids.items()] + [(1, *level) for level in asks.items()], True)

    def delta(self, changes: Sequence[Change]) -> None:
        self._take(sorted(changes), False)

    def trade(self, *trades: tuple[int, int, int]) -> None:
        """Take trades: price, size, sign."""
        rows = np.zeros(len(trades), TRADE)
        for row, (price, size, sign) in zip(rows, trades, strict=True):
            row["price"], row["size"], row["side"] = price, size, sign
            self.twin.take_trade(self.now, price, size, sign)
        flow.trade(self.memory, self.settings, rows, self.unit, self.now)

    def _take(self, changes: Sequence[Change], replace: bool) -> None:
        rows = np.array([(price, size) for _, price, size in changes], LEVEL)
        bids = sum(side == 0 for side, _, _ in changes)
        if not replace:
            flow.before(self.memory, self.settings, *ladder_of(self.book), rows, bids)
        self.book.update(rows, bids, replace)
        flow.after(self.memory, self.settings, *ladder_of(self.book), self.now)
        before = self.levels
        after = (dict(before[0]), dict(before[1]))
        for side, price, size in changes:
            after[side][price] = size
            if not size:
                del after[side][price]
        self.levels = after
        self.twin.take_book(self.now, before, after)

    def report(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Values and reasons of the FLOW row."""
        row = np.zeros(1, self.layout.dtype)
        row.view(np.uint8)[:] = 255  # What was there before must not shine through.
        flow.report(self.memory, self.settings, self.unit, row)
        return self.layout.values(row)
