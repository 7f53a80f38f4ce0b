"""A small seeded market of one instrument: a seed in, steps of order flow out, without end; no clock, no venue.

A fair value follows an Ornstein-Uhlenbeck walk round its anchor, in ticks. Every step of 50 ms: market orders arrive
(Poisson; sizes lognormal; a bias towards the fair value) and eat the best queues; makers re-quote a random share of
their levels, round the fair value, at a size that grows with the distance (the shape of recorded perpetual books); a
level far outside is withdrawn. Once a minute, from second 10 to 20, makers withdraw: bids shrink to a quarter and
asks to a half while the fair value slides, and forced sales join the flow. The same seed gives the same steps, in
whatever process.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from engine.instrument import Instrument

STEP: Final = 50_000_000
CYCLE: Final = 60_000_000_000
THIN: Final = range(10_000_000_000, 20_000_000_000)
#: Quotes per side; the book never shows fewer than 200.
LEVELS: Final = 300
#: Share of a side's quotes that makers revisit in one step.
REVISITED: Final = 0.06
BID: Final = 1
ASK: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    """What makes one instrument's flow its own."""

    instrument: Instrument
    #: Where the fair value returns to, ticks.
    anchor: int
    #: Standard deviation of one step of the fair value, ticks.
    volatility: float
    #: Typical size at the touch, lots.
    size: float
    #: Market orders per step.
    orders: float
    #: Distance of the outermost quote, ticks.
    reach: int


@dataclass(slots=True)
class Step:
    """What happened in 50 ms. Prices in ticks, sizes in lots, each change of a level with its own update id."""

    #: End of the step, ns.
    time: int
    #: Update id of the step before.
    previous: int
    first: int = 0
    last: int = 0
    #: (side, price) -> size now; 0 is gone.
    changes: dict[tuple[int, int], int] = field(default_factory=dict)
    #: (time, update id, bid, bid size, ask, ask size), whenever the touch became another.
    touches: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    #: (time, trade id, aggressor, price, size)
    trades: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    #: (time, price, average, size) of forced sales.
    liquidations: list[tuple[int, int, int, int]] = field(default_factory=list)


class Market:
    """The book of one instrument, and the flow that moves it."""

    def __init__(self, character: Character, seed: int, start: int) -> None:
        self.character = character
        self.time = start
        self.sides: dict[int, dict[int, int]] = {BID: {}, ASK: {}}
        self.last = 10_000_000
        self._start = start
        self._fair = float(character.anchor)
        self._trade = 1_000_000
        #: Best price of each side, and the touch last told.
        self._bests = {BID: 0, ASK: 0}
        self._touch = (0, 0, 0, 0)
        # The symbol takes part in the seed, so that two instruments of one seed do not move alike.
        self._random = np.random.default_rng([seed, *character.instrument.symbol.encode()])
        self._offsets = _offsets(character.reach)
        self._step = Step(time=start, previous=self.last)
        for side in (BID, ASK):
            self._quote(side, np.arange(LEVELS))

    @property
    def fair(self) -> int:
        """The fair value, ticks: what a mark price says."""
        return round(self._fair)

    def levels(self, side: int) -> list[tuple[int, int]]:
        """List a side's (price, size), best first."""
        return sorted(self.sides[side].items(), reverse=side == BID)

    def step(self) -> Step:
        """Let 50 ms pass."""
        self._step = Step(time=self.time + STEP, previous=self.last)
        thin = self._thinning(BID) < 1
        pull = 0.002 * (self.character.anchor - self._fair) - (0.5 * self.character.volatility if thin else 0.0)
        self._fair += pull + self.character.volatility * self._random.standard_normal()
        for _ in range(int(self._random.poisson(self.character.orders))):
            self._order(forced=False)
        if thin and self._random.random() < 0.05:
            self._order(forced=True)
        for side in (BID, ASK):
            self._sweep(side)
            self._quote(side, self._random.choice(LEVELS, int(LEVELS * REVISITED), replace=False))
            self._prune(side)
        if not self._step.first:
            best = self._bests[BID]
            self._set(BID, best, self.sides[BID][best] + 1)
        self._step.last = self.last
        self.time += STEP
        return self._step

    def _order(self, *, forced: bool) -> None:
        """Let one market order eat the opposite queue, level by level."""
        middle = (self._bests[BID] + self._bests[ASK]) / 2
        lean = float(np.clip((self._fair - middle) / (4 * self.character.volatility), -0.4, 0.4))
        side = ASK if forced or self._random.random() > 0.5 + lean else BID
        size = wanted = max(1, round(self.character.size * (3 if forced else 0.05) * self._random.lognormal(0, 1)))
        paid = 0
        limit = self._bests[-side]
        while wanted and len(self.sides[-side]) > LEVELS // 2:
            price = self._bests[-side]
            taken = min(wanted, self.sides[-side][price])
            self._trade += 1
            self._step.trades.append((self._now(), self._trade, side, price, taken))
            self._set(-side, price, self.sides[-side][price] - taken)
            wanted -= taken
            paid += taken * price
            limit = price
        if forced and size > wanted:
            self._step.liquidations.append((self._now(), limit, paid // (size - wanted), size - wanted))

    def _sweep(self, side: int) -> None:
        """Take what the fair value has passed: those quotes are free money."""
        while len(self.sides[side]) > LEVELS // 2 and side * (self._bests[side] - self.fair) > 0:
            price = self._bests[side]
            self._trade += 1
            self._step.trades.append((self._now(), self._trade, -side, price, self.sides[side][price]))
            self._set(side, price, 0)

    def _quote(self, side: int, chosen: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> None:
        """Let makers revisit some of their quotes: the size they now want at that distance of the fair value."""
        noise = self._random.lognormal(0, 0.5, len(chosen))
        share = self._thinning(side)
        for rank, luck in zip(chosen.tolist(), noise.tolist(), strict=True):
            price = self.fair - side * (self._offsets[rank] + 1)
            opposite = self.sides[-side]
            if opposite and side * (price - self._bests[-side]) >= 0:
                continue
            self._set(side, price, max(1, round(self.character.size * (1 + 3 * rank / LEVELS) * luck * share)))

    def _prune(self, side: int) -> None:
        """Withdraw the farthest quotes once there are too many, and thin out quotes that makers have left behind."""
        book = self.sides[side]
        for price in sorted(book, reverse=side == ASK)[: max(0, len(book) - 4 * LEVELS // 3)]:
            self._set(side, price, 0)
        prices = list(book)
        for index in self._random.integers(0, len(prices), 12).tolist():
            price = prices[index]
            if len(book) > LEVELS and price in book:
                self._set(side, price, 0)

    def _thinning(self, side: int) -> float:
        """Say which share of their size makers show now."""
        if (self.time - self._start) % CYCLE not in THIN:
            return 1.0
        return 0.25 if side == BID else 0.5

    def _now(self) -> int:
        """Spread what happens within a step over its time, by how much has happened."""
        return self.time + min(STEP - 1, 200_000 * (len(self._step.changes) + len(self._step.trades)))

    def _set(self, side: int, price: int, size: int) -> None:
        book = self.sides[side]
        if book.get(price, 0) == size:
            return
        if size:
            book[price] = size
            if not self._bests[side] or side * (price - self._bests[side]) > 0:
                self._bests[side] = price
        else:
            del book[price]
            if price == self._bests[side]:
                self._bests[side] = max(book) if side == BID else min(book)
        # Ids of one instrument are not consecutive: the venue numbers all its instruments together.
        self.last += 1 + (price & 1)
        self._step.first = self._step.first or self.last
        self._step.changes[side, price] = size
        bid, ask = self._bests[BID], self._bests[ASK]
        touch = (bid, self.sides[BID].get(bid, 0), ask, self.sides[ASK].get(ask, 0))
        if touch != self._touch:
            self._touch = touch
            self._step.touches.append((self._now(), self.last, *touch))


def _offsets(reach: int) -> list[int]:
    """Place the quotes: every tick near the touch, ever farther apart behind, the last one at `reach`."""
    scale = (reach - LEVELS) / (LEVELS - 1) ** 3
    return [rank + round(scale * rank**3) for rank in range(LEVELS)]
