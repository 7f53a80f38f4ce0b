"""Made-up market rows for tests of the engine: single messages by name, and long random streams with faults in them."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.instrument import Instrument
from engine.schema import INSTRUMENT, LEVEL, MESSAGE, Batch, Channel, Contract, Flag, Kind, Status

MS = 1_000_000
START = 1_700_000_000_000 * MS
Level = tuple[int, int]


def instrument(venue: str = "one", **changes: Any) -> Instrument:
    """An instrument of the asset A with two decimals everywhere."""
    plain = Instrument(
        venue=venue,
        symbol="AUSD",
        asset="A",
        quote="USD",
        contract=Contract.LINEAR,
        price_decimals=2,
        size_decimals=2,
        tick=1,
        lot=1,
    )
    return replace(plain, **changes)


def message(
    kind: Kind,
    at: float,
    bids: Sequence[Level] = (),
    asks: Sequence[Level] = (),
    unit: Instrument | None = None,
    /,
    **fields: int,
) -> Batch:
    """A batch of one message received `at` milliseconds after the start."""
    unit = unit or instrument()
    rows = np.zeros(1, MESSAGE)
    rows["received"] = START + round(at * MS)
    rows["kind"] = int(kind)
    rows["previous"] = -1
    levels = np.array([*bids, *asks], LEVEL)
    instruments = unit.row() if kind == Kind.INSTRUMENT else np.zeros(0, INSTRUMENT)
    rows["count"] = len(levels) + len(instruments)
    rows["bids"] = len(bids)
    for name, value in fields.items():
        rows[name] = value
    return Batch(instrument=unit.key, asset="A", messages=rows, levels=levels, instruments=instruments)


def opening(at: float = 0, last: int = 10, epoch: int = 1, unit: Instrument | None = None) -> list[Batch]:
    """INSTRUMENT and SNAPSHOT: bids 99.90 and 99.80, asks 100.10 and 100.20, one unit each."""
    return [
        message(Kind.INSTRUMENT, at, (), (), unit, epoch=epoch),
        message(
            Kind.SNAPSHOT,
            at,
            [(9_990, 100), (9_980, 100)],
            [(10_010, 100), (10_020, 100)],
            unit,
            last=last,
            epoch=epoch,
            exchanged=START + round(at * MS),
        ),
    ]


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of several of the same instrument."""
    first = batches[0]
    parts = {
        name: np.concatenate([getattr(b, name) for b in batches]) for name in ("messages", "levels", "instruments")
    }
    return Batch(instrument=first.instrument, asset=first.asset, **parts)


def regrouped(batches: Sequence[Batch], chance: random.Random) -> list[Batch]:
    """The same messages in the same order in other batches: neighbours of one instrument join at random."""
    groups: list[list[Batch]] = []
    for batch in batches:
        if groups and groups[-1][0].instrument == batch.instrument and chance.random() < 0.7:
            groups[-1].append(batch)
        else:
            groups.append([batch])
    return [joined(group) for group in groups]


class Stream:
    """A random stream of one instrument: mostly diffs, touches and trades, now and then whatever can go wrong."""

    def __init__(self, unit: Instrument, seed: int) -> None:
        self.unit = unit
        self.chance = random.Random(seed)
        self.last = 100
        self.epoch = 0
        self.mid = 10_000

    def next(self, at: float) -> list[Batch]:
        """The next messages, received at a time."""
        if self.epoch == 0:
            return self.resync(at)
        if self.chance.random() < 0.06:
            return self.trouble(at)
        kind = self.chance.choices((Kind.DELTA, Kind.TOUCH, Kind.TRADE), (5, 3, 1))[0]
        if kind == Kind.TRADE:
            return [self.message(Kind.TRADE, at, exchanged=self.sent(at))]
        if kind == Kind.TOUCH:
            best = self.levels(1, 1), self.levels(-1, 1)
            return [self.message(Kind.TOUCH, at, *best, last=self.last, exchanged=self.sent(at))]
        return [self.delta(at)]

    def message(
        self, kind: Kind, at: float, bids: Sequence[Level] = (), asks: Sequence[Level] = (), /, **fields: int
    ) -> Batch:
        return message(kind, at, bids, asks, self.unit, epoch=self.epoch, connection=1, **fields)

    def sent(self, at: float) -> int:
        return START + round((at - self.chance.choice((0.1, 1, 5, 40)) + 300) * MS)

    def levels(self, side: int, count: int) -> list[Level]:
        distances = sorted(self.chance.sample(range(1, 60), count))
        return [(self.mid - side * distance * 5, self.chance.choice((0, 1, 50, 7_000))) for distance in distances]

    def delta(self, at: float, flags: int = 0) -> Batch:
        self.mid += self.chance.randint(-12, 12)
        previous, self.last = self.last, self.last + self.chance.randint(1, 4)
        bids, asks = self.levels(1, self.chance.randint(0, 8)), self.levels(-1, self.chance.randint(0, 8))
        fields = {"last": self.last, "previous": previous, "exchanged": self.sent(at), "flags": flags}
        return self.message(Kind.DELTA, at, bids, asks, **fields)

    def resync(self, at: float) -> list[Batch]:
        self.epoch += 1
        self.last += 50
        opened = [self.message(Kind.RESYNC, at), self.message(Kind.INSTRUMENT, at)]
        bids = [(price, size + 1) for price, size in self.levels(1, 20)]
        asks = [(price, size + 1) for price, size in self.levels(-1, 20)]
        if self.chance.random() < 0.5:
            return [*opened, self.message(Kind.SNAPSHOT, at, bids, asks, last=self.last)]
        return [
            *opened,
            self.message(Kind.SNAPSHOT, at, bids[:9], last=self.last, flags=int(Flag.PARTIAL)),
            self.message(Kind.SNAPSHOT, at, bids[9:], asks, last=self.last, flags=int(Flag.CONTINUED)),
        ]

    def trouble(self, at: float) -> list[Batch]:
        kind = self.chance.randrange(9)
        if kind == 0:
            return [self.message(Kind.GAP, at, previous=self.last), *self.resync(at + 1)]
        if kind == 1:
            self.last += 1  # One that never came.
            return [self.delta(at)]
        if kind == 2:
            return [self.message(Kind.STATUS, at, status=int(Status.DISCONNECTED)), *self.resync(at + 1)]
        if kind == 3:
            return [self.message(Kind.STALE, at, status=int(self.chance.choice(list(Channel))))]
        if kind == 4:
            return [self.message(Kind.STATUS, at, status=int(self.chance.choice((Status.HALTED, Status.TRADING))))]
        if kind == 5:
            return [self.delta(at, int(Flag.BAD_TIME))]
        if kind == 6:
            crossing = [(self.mid + 400, 9)]
            previous, self.last = self.last, self.last + 1
            return [self.message(Kind.DELTA, at, crossing, last=self.last, previous=previous)]
        if kind == 7:
            part = self.delta(at, int(Flag.PARTIAL))
            rest = self.message(Kind.DELTA, at, self.levels(1, 3), last=self.last, flags=int(Flag.CONTINUED))
            return [part, rest] if self.chance.random() < 0.7 else [part]
        return self.resync(at)


def market(seed: int, length: int, venues: int = 3) -> list[Batch]:
    """Single-message batches of several venues' books of one asset, in order of receipt, with silences in between."""
    chance = random.Random(seed)
    streams = [Stream(instrument(f"venue{i}"), chance.randrange(10**6)) for i in range(venues)]
    batches: list[Batch] = []
    at = 0.0
    while len(batches) < length:
        at += chance.choice((0.01, 1, 4, 30, 120)) if chance.random() < 0.98 else 1_500
        batches += chance.choice(streams[: 1 + len(batches) * venues // length]).next(at)
    return batches
