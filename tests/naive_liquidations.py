"""A slow, obvious liquidation map: every position an entry of its own, in lists; and the generator in big integers."""

import math
from dataclasses import dataclass, field

SIDES = (1, -1)


@dataclass
class Entry:
    """A position, or many alike: as if all of them had one leverage."""

    quantity: float
    trigger: float
    born: int


@dataclass
class Lot:
    """Entries that count as one, because they stand in the same bucket."""

    bucket: int
    entries: list[Entry] = field(default_factory=list)

    def quantity(self) -> float:
        return math.fsum(each.quantity for each in self.entries)

    def trigger(self) -> float:
        return math.fsum(each.quantity * each.trigger for each in self.entries) / self.quantity()

    def age(self, now: int) -> float:
        return math.fsum(each.quantity * (now - each.born) for each in self.entries) / self.quantity()


@dataclass
class NaiveSide:
    """The positions of one class and side, and what became of the others."""

    lots: list[Lot] = field(default_factory=list)
    added: float = 0.0
    crossed: float = 0.0
    removed: float = 0.0
    beyond: float = 0.0
    fresh: float = 0.0
    pending: float = 0.0
    pending_worth: float = 0.0

    def held(self) -> float:
        return math.fsum(lot.quantity() for lot in self.lots)


class NaiveMap:
    """The map of one instrument, told prices in quote units and sizes in units of the contract."""

    buckets, lowest, highest = 768, 0.2, 2.2
    lesson = 10_000_000_000

    def __init__(
        self,
        leverages: list[float],
        prior: list[float],
        rate: float,
        strength: float,
        position: float,
        half_life: float,
        inverse: bool = False,
        apart: bool = False,
    ) -> None:
        self.leverages, self.prior, self.rate = leverages, prior, rate
        self.strength, self.position, self.half_life = strength, position, half_life
        self.inverse, self.apart = inverse, apart
        self.sides = {(k, side): NaiveSide() for k in range(len(leverages)) for side in SIDES}
        self.anchor = 0.0
        self.open_interest: float | None = None
        self.start = self.newest = self.since = 0
        self.trades: list[tuple[float, float]] = []
        self.price = self.mark = 0.0
        self.printed = {1: 0.0, -1: 0.0}
        self.printed_worth = {1: 0.0, -1: 0.0}
        self.feed = 0
        self.shape, self.trials = [0.0] * len(leverages), [0.0] * len(leverages)
        self.settled = [0.0] * len(leverages)
        self.kept: list[tuple[list[float], float, bool]] = []
        self.lessons: list[tuple[float, float]] = []

    def reach(self, k: int, side: int) -> float:
        """Trigger of a position entered at 1: where margin and profit make up the maintenance margin."""
        margin = 1 / self.leverages[k]
        if self.inverse:
            # In base currency: margin + side (1 - 1 / x) = rate / x.
            return (self.rate + side) / (margin + side)
        # In quote currency: margin + side (x - 1) = rate x.
        return (side - margin) / (side - self.rate)

    def bucket(self, trigger: float) -> int | None:
        at = trigger / self.anchor
        if not self.lowest <= at < self.highest:
            return None
        return int((at - self.lowest) * (self.buckets / (self.highest - self.lowest)))

    def place(self, side: NaiveSide, entries: list[Entry]) -> None:
        """Put entries that count as one where their mean trigger belongs."""
        lot = Lot(0, entries)
        at = self.bucket(lot.trigger())
        if at is None:
            side.beyond += lot.quantity()
            return
        same = [other for other in side.lots if other.bucket == at and not self.apart]
        if same:
            same[0].entries.extend(entries)
        else:
            lot.bucket = at
            side.lots.append(lot)

    def enter(self, amount: float, price: float, now: int) -> None:
        if self.anchor == 0 or not 0.75 <= price / self.anchor <= 1 / 0.75:
            self.anchor = price
            for side in self.sides.values():
                lots, side.lots = side.lots, []
                for lot in lots:
                    self.place(side, lot.entries)
        self.newest = now
        for (k, way), side in self.sides.items():
            side.added += amount
            self.place(side, [Entry(amount, price * self.reach(k, way), now)])

    def leave(self, side: NaiveSide, closed: float) -> None:
        """Close pro rata to quantity x youth; what is used up leaves the rest to the others."""
        assert self.open_interest is not None
        wanted = closed - side.fresh
        beside = max(self.open_interest - side.fresh - side.held(), 0.0)
        if wanted <= 0 or not side.lots:
            return
        pool = [Lot(-1, [Entry(beside, 1.0, self.start)])] if beside > 0 else []
        lots = sorted(side.lots + pool, key=lambda lot: lot.age(self.newest))
        chance = [2.0 ** -min(lot.age(self.newest) / self.half_life, 60.0) for lot in lots]
        level = 0.0
        for used_up in range(len(lots)):
            left = wanted - math.fsum(lot.quantity() for lot in lots[:used_up])
            rest = zip(lots[used_up:], chance[used_up:], strict=True)
            level = max(left / math.fsum(lot.quantity() * each for lot, each in rest), level)
            if level * chance[used_up] < 1:
                break
        else:
            level = math.inf
        for lot, each in zip(lots, chance, strict=True):
            lost = 1.0 if level * each > 1 - 1e-9 else level * each
            if lot.bucket >= 0:
                side.removed += lot.quantity() * lost
            for entry in lot.entries:
                entry.quantity *= 1 - lost
        side.lots = [lot for lot in side.lots if lot.quantity() > 0]

    def take_trades(self, trades: list[tuple[float, float]], now: int) -> None:
        """Take trades as (price, base units)."""
        for price, base in trades:
            self.trades.append((price, base))
            self.price = price
            for (_, way), side in self.sides.items():
                for lot in list(side.lots):
                    if (lot.trigger() - price) * way >= 0:
                        side.lots.remove(lot)
                        worth = lot.quantity() * (1 if self.inverse else lot.trigger())
                        side.crossed += lot.quantity()
                        side.fresh += lot.quantity()
                        side.pending += lot.quantity()
                        side.pending_worth += worth
                        self.since = self.since or now

    def take_liquidation(self, way: int, amount: float, worth: float, whole: bool, now: int) -> None:
        self.printed[way] += amount
        self.printed_worth[way] += worth
        self.feed = max(self.feed, 1 if whole else 2)
        self.since = self.since or now

    def take_open_interest(self, total: float, now: int) -> None:
        volume = math.fsum(base for _, base in self.trades)
        paid = math.fsum(base * price for price, base in self.trades)
        price = paid / volume if volume else self.mark or self.price
        if self.since and now - self.since >= self.lesson:
            self.learn(price)
        if self.open_interest is None:
            self.start = self.newest = now
        elif total > self.open_interest and price > 0:
            self.enter(total - self.open_interest, price, now)
        elif total < self.open_interest:
            for side in self.sides.values():
                self.leave(side, self.open_interest - total)
        self.open_interest = total
        self.trades = []
        for side in self.sides.values():
            side.fresh = 0.0

    def levels(self) -> list[float]:
        """Posterior mean of each class's gamma."""
        pairs = zip(self.prior, self.shape, self.trials, strict=True)
        return [(self.strength * w + shape) / (self.strength + trials) for w, shape, trials in pairs]

    def weights(self) -> list[float]:
        levels = self.levels()
        return [level / math.fsum(levels) for level in levels]

    def covered(self, way: int, pending: bool = False) -> float:
        sides = [self.sides[k, way] for k in range(len(self.leverages))]
        total = math.fsum(
            w * (side.held() + (side.pending if pending else 0.0))
            for w, side in zip(self.weights(), sides, strict=True)
        )
        return min(total / self.open_interest, 1.0) if self.open_interest else 0.0

    def learn(self, price: float) -> None:
        if self.feed and price > 0:
            typical = self.position if self.inverse else self.position / price
            for way in SIDES:
                share = self.covered(way, pending=True)
                sides = [self.sides[k, way] for k in range(len(self.leverages))]
                worths = zip(self.weights(), sides, strict=True)
                self.lessons.append(
                    (math.fsum(w * side.pending_worth for w, side in worths), share * self.printed_worth[way])
                )
                levels = self.levels()
                expected = math.fsum(level * side.pending for level, side in zip(levels, sides, strict=True))
                printed = min(share * self.printed[way], max(side.pending for side in sides))
                if expected > 0 and (self.feed == 1 or printed > expected):
                    self.keep([side.pending / typical for side in sides], printed / typical)
        self.since = 0
        self.printed = {1: 0.0, -1: 0.0}
        self.printed_worth = {1: 0.0, -1: 0.0}
        for side in self.sides.values():
            side.pending = side.pending_worth = 0.0

    def keep(self, crossed: list[float], printed: float) -> None:
        """Keep a lesson, forget the 65th, and share all of them out anew, 32 times."""
        if len(self.kept) == 64:
            old = self.shared(self.kept.pop(0))
            self.settled = [one + two for one, two in zip(self.settled, old, strict=True)]
        first = self.shared((crossed, printed, False))
        self.kept.append((crossed, printed, self.feed != 1))
        self.shape = [one + two for one, two in zip(self.shape, first, strict=True)]
        self.trials = [one + two for one, two in zip(self.trials, crossed, strict=True)]
        for _ in range(32):
            parts = [self.shared(lesson) for lesson in self.kept]
            self.shape = [self.settled[k] + math.fsum(part[k] for part in parts) for k in range(len(crossed))]

    def shared(self, lesson: tuple[list[float], float, bool]) -> list[float]:
        """Share out the prints of a lesson by what is believed now."""
        crossed, printed, bound = lesson
        means = [level * each for level, each in zip(self.levels(), crossed, strict=True)]
        counted = max(printed, math.fsum(means)) if bound else printed
        return [counted * mean / math.fsum(means) for mean in means]

    def score(self) -> float:
        total = math.fsum(predicted + realised for predicted, realised in self.lessons)
        missed = math.fsum(abs(predicted - realised) for predicted, realised in self.lessons)
        return 1 - missed / total if total else 0.0

    def triggers(self, way: int, weights: list[float]) -> list[tuple[float, float]]:
        """Triggers as (price, units of the contract), one for each bucket, in the order in which they are hit."""
        found: dict[int, list[tuple[float, float]]] = {}
        for k, weight in enumerate(weights):
            for lot in self.sides[k, way].lots:
                found.setdefault(lot.bucket, []).append((weight * lot.quantity(), lot.trigger()))
        mixed = []
        for lots in found.values():
            amount = math.fsum(each for each, _ in lots)
            if amount > 1e-9 * (self.open_interest or 0.0):
                mixed.append((math.fsum(each * trigger for each, trigger in lots) / amount, amount))
        return sorted(mixed, reverse=way > 0)


def mixed(word: int) -> int:
    """The generator's hash, with integers that know no limit."""
    word %= 2**32
    word = (word ^ (word >> 16)) * 0x21F0AAAD % 2**32
    word = (word ^ (word >> 15)) * 0xD35A2D97 % 2**32
    return word ^ (word >> 15)


def uniform(index: int, stream: int, at: int) -> float:
    """Fifty-two bits between 0 and 1."""
    key = mixed(mixed(index + 20_251_010) + stream)
    high, low = (mixed(mixed(key + 2 * at + part) ^ key) >> 6 for part in (0, 1))
    return ((high << 26 | low) + 0.5) / 2**52
