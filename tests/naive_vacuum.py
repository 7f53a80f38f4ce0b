"""Slow, obvious twins of the vacuum."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from engine.config import VacuumConfig
from engine.knowledge import Model

# States

#: Inputs of one side at one evaluation: a value, or the name of why there is none; refill has two of its own.
Seen = Mapping[str, float | str]
Test = Callable[[Seen], bool]


@dataclass
class Side:
    """One side's machine; it keeps every evaluation since its state began, or since it was last blind."""

    rules: VacuumConfig
    state: str = "unknown"
    before: str = "unknown"
    since: int = 0
    cause: str = "unsynced"
    transitions: int = 0
    entry: Seen | None = None
    past: list[tuple[int, Seen]] = field(default_factory=list)

    def lose(self, reason: str, now: int) -> bool:
        self.since = self.since or now
        changed = self.state != "unknown"
        if changed:
            self.go("unknown", now, None)
        self.cause = reason
        return changed

    def advance(self, seen: Seen, now: int) -> bool:
        self.since = self.since or now
        if self.past and now - self.past[-1][0] > self.rules.gap * 10**6:
            self.past = []
        self.past.append((now, seen))
        to = self.next(seen)
        changed = to != self.state
        if changed:
            self.go(to, now, seen)
            self.past = [(now, seen)]
        self.cause = str(seen["ratio"]) if to == "unknown" else "none"
        return changed

    def go(self, state: str, now: int, seen: Seen | None) -> None:
        self.before, self.state, self.since, self.entry = self.state, state, now, seen
        self.transitions += 1
        self.past = []

    def next(self, seen: Seen) -> str:
        ratio, rules = seen["ratio"], self.rules
        if isinstance(ratio, str):
            return self.state if ratio == "one_sided" else "unknown"
        if self.state == "unknown":
            return "normal"
        if self.state == "normal":
            return "thin" if self.held(lambda one: below(one["ratio"], rules.thin_ratio), rules.thin_for) else "normal"
        if self.state == "vacuum":
            filled = self.held(lambda one: refilled(one, rules.recovering_refill), rules.recovering_for)
            return "recovering" if filled else "vacuum"
        if self.held(lambda one: is_vacuum(one, rules), rules.vacuum_for):
            return "vacuum"
        whole = self.held(lambda one: above(one["ratio"], rules.normal_ratio), rules.normal_for)
        return "normal" if whole else self.state

    def held(self, test: Test, ms: int) -> bool:
        """Whether a test was met at every evaluation from some one on, at least so long ago, up to now."""
        now = self.past[-1][0]
        return any(
            now - then >= ms * 10**6 and all(test(seen) for _, seen in self.past[first:])
            for first, (then, _) in enumerate(self.past)
        )


def below(value: float | str, bound: float) -> bool:
    return not isinstance(value, str) and value < bound


def above(value: float | str, bound: float) -> bool:
    return not isinstance(value, str) and value > bound


def is_vacuum(seen: Seen, rules: VacuumConfig) -> bool:
    wide = seen["spread"] == "one_sided" or above(seen["spread"], rules.vacuum_spread)
    left = above(seen["withdrawal"], rules.vacuum_withdrawal)
    drained = seen["refill"] == "nothing came or went" or below(seen["refill"], rules.vacuum_refill)
    return below(seen["ratio"], rules.vacuum_ratio) and drained and (wide or left)


def refilled(seen: Seen, bound: float) -> bool:
    known = not isinstance(seen["ratio"], str)
    return known and (seen["refill"] == "something came" or above(seen["refill"], bound))


# Probability


def log(value: float) -> float:
    return math.log(min(max(value, 1e-6), 1e6))


def plain(value: float) -> float:
    return min(max(value, -1e6), 1e6)


Z: Mapping[str, Callable[[Mapping[str, float]], float]] = {
    "ratio": lambda of: -log(of["ratio"]),
    "ratio_wide": lambda of: -log(of["ratio_wide"]),
    "tilt": lambda of: log(of["ratio_wide"]) - log(of["ratio"]),
    "withdrawal": lambda of: plain(of["withdrawal"]),
    "refill": lambda of: -log(of["refill"]),
    "spread": lambda of: log(of["spread"]),
    "pocket": lambda of: plain(of["pocket"]),
    "imbalance": lambda of: plain(of["imbalance"]),
    "phantom": lambda of: log(of["phantom"]),
    "branching": lambda of: plain(of["branching"]),
    "variance": lambda of: log(of["variance"]),
    "trades": lambda of: log(of["trades"]),
    "shock": lambda of: 1 / max(of["shock"], 0.001),
}


def raw(model: Model, known: Mapping[str, float]) -> float | None:
    """The logistic's probability; None where an input that it needs is not known."""
    try:
        terms = [weight * Z[name](known) for name, weight in zip(model.inputs, model.weights, strict=True)]
    except KeyError:
        return None
    score = model.intercept
    for term in terms:
        score += term
    return 1 / (1 + math.exp(-score)) if score > -700 else math.exp(score)


def step(model: Model, probability: float) -> float:
    """The isotonic step that a raw probability stands on."""
    return model.values[max(bisect_right(model.knots, probability) - 1, 0)]
