"""The slow, obvious twin of the baseline: every sample ever taken is kept, and everything is asked of all of them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

HOUR = 3_600 * 1_000_000_000
Visit = tuple[int, float]


def weighted(visits: Sequence[Visit], half_life: float) -> float:
    """The weighted median of (hour, value), half-life in hours."""
    newest = max(hour for hour, _ in visits)
    weights = [int(2**40 * 2.0 ** (-(newest - hour) / half_life) + 0.5) for hour, _ in visits]
    reached = [
        value
        for _, value in visits
        if 2 * sum(w for w, (_, other) in zip(weights, visits, strict=True) if other <= value) >= sum(weights)
    ]
    return min(reached)


@dataclass
class Twin:
    """Some quantities that share their sessions."""

    quantities: int
    #: ns, days, visits, samples.
    sample: int
    half_life: float
    least: int
    session: int
    #: By hour, then by quantity.
    hours: dict[int, list[list[float]]] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)

    def take(self, values: Sequence[float], defined: Sequence[bool], now: int) -> None:
        held = self.hours.setdefault(now // HOUR, [[] for _ in range(self.quantities)])
        if now // self.sample in self.taken:
            return
        self.taken.add(now // self.sample)
        for samples, value, known in zip(held, values, defined, strict=True):
            if known and 0 <= value <= 3e38:
                samples.append(float(np.float32(value)))

    def visits(self, quantity: int, now: int) -> list[Visit]:
        """The last 8 sessions of each hour of the week in which any quantity was seen often enough."""
        found = []
        for cell in sorted({hour % 168 for hour in self.hours}):
            counted = [
                hour
                for hour in sorted(self.hours)
                if hour < now // HOUR and hour % 168 == cell and max(map(len, self.hours[hour])) >= self.session
            ]
            for hour in counted[-8:]:
                samples = self.hours[hour][quantity]
                if len(samples) >= self.session:
                    found.append((hour, float(np.float32(statistics.median(samples)))))
        return found

    def baseline(self, quantity: int, now: int) -> tuple[float, str]:
        hour = now // HOUR
        past = self.visits(quantity, now)
        alike = [visit for visit in past if visit[0] % 168 == hour % 168]
        if len(alike) >= self.least:
            return weighted(alike, self.half_life * 24), "hour"
        if past:
            return weighted(past, self.half_life * 24), "week"
        samples = self.hours[hour][quantity] if hour in self.hours else []
        if len(samples) >= self.session:
            return statistics.median(samples), "session"
        return 0.0, "none"
