"""The slow, obvious twin of a CASCADE record: every field by its definition, from lists of levels and triggers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from engine.config import CascadeConfig
from tests import naive_cascade as naive
from tests.naive_liquidations import uniform

Levels = list[tuple[float, float]]
#: Traded price at which it is hit, base units, bankruptcy price.
Trigger = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side: levels best first, refilled; what is forced, at the mean and per draw; past net trades."""

    levels: Levels
    triggers: Sequence[Trigger]
    draws: Sequence[Sequence[Trigger]] = ()
    past: Sequence[float] = field(default_factory=list)


def record(asked: CascadeConfig, mid: Fraction, bids: Side, asks: Side) -> dict[str, Any]:
    """All that the two directions say."""
    found: dict[str, Any] = {}
    for name, sign, side in (("fall", 1, bids), ("squeeze", -1, asks)):
        found |= {f"{name}_{each}": value for each, value in direction(asked, mid, sign, side).items()}
    return found


def edge(mid: Fraction, sign: int, bps: int) -> float:
    """The price of a move, x +1 or -1."""
    return float(sign * mid * (1 - sign * Fraction(bps, 10_000)))


def lagging(share: float, start: float, side: int, trigger: float) -> float:
    """The traded price at which a mark that stands at the mid and passes on a share of a move has reached a trigger."""
    below = side * (start - trigger)
    if below <= 0 or share == 1:
        return trigger
    return start - side * below / share if share > 0 else -side * math.inf


def felt(asked: CascadeConfig, sign: int, triggers: Sequence[Trigger]) -> list[Trigger]:
    """Triggers in order, x +1 or -1, first slices only."""
    share = asked.slice if asked.duration <= asked.cooldown else 1.0
    return sorted(((sign * at, amount * share, sign * floor) for at, amount, floor in triggers), key=lambda t: -t[0])


def direction(asked: CascadeConfig, mid: Fraction, sign: int, side: Side) -> dict[str, Any]:
    start = float(sign * mid)
    levels = [(sign * price, size) for price, size in side.levels]
    forced = felt(asked, sign, side.triggers)
    marks = [(mark, amount) for mark, amount, _ in forced]
    found: dict[str, Any] = {name: [] for name in MOVES}
    upper = math.inf
    for bps in asked.drops:
        x = edge(mid, sign, bps)
        for name, value in move(asked, float(mid), levels, marks, upper, x).items():
            found[name].append(value)
        found["risk"].append(risk(asked, sign, levels, side, x))
        upper = x
    begin, end = naive.longest_free_fall(levels, marks, upper)
    found["free_bps"], found["free_from"] = 1e4 * (begin - end) / float(mid), sign * begin if begin > end else None
    for shock in asked.shocks:
        for name, value in finish(shock / float(mid), start, sign, levels, forced).items():
            found.setdefault(name, []).append(value)
    return found


MOVES = ("depth", "forced", "critical", "critical_quote", "remaining", "branching", "complete", "further_bps", "risk")


def move(asked: CascadeConfig, mid: float, levels: Levels, marks: Levels, upper: float, x: float) -> dict[str, Any]:
    depth, critical = naive.resting(levels, x), naive.critical_shock(levels, marks, x)
    shock = asked.withdrawal / mid
    between = sum(size for price, size in levels if x <= price < upper)
    further, ends = naive.free_below(levels, marks, x)
    return {
        "depth": depth,
        "forced": naive.triggered(marks, x),
        "critical": critical,
        "critical_quote": critical * mid,
        "remaining": min(naive.critical_fraction(levels, marks, shock, x), 1.0) if depth else None,
        "branching": sum(a for mark, a in marks if x <= mark < upper) / between if between else None,
        "complete": any(price < x for price, _ in levels),
        "further_bps": None if ends else 1e4 * further / mid,
    }


def risk(asked: CascadeConfig, sign: int, levels: Levels, side: Side, x: float) -> float | None:
    if len(side.past) < asked.samples:
        return None
    told = []
    for triggers in side.draws:
        marks = [(mark, amount) for mark, amount, _ in felt(asked, sign, triggers)]
        told.append(naive.tail(side.past, 0.95, naive.critical_shock(levels, marks, x)))
    return math.fsum(told) / len(told)


def finish(shock: float, start: float, sign: int, levels: Levels, forced: Sequence[Trigger]) -> dict[str, Any]:
    price, sold, unsold, fired, out = naive.floored(levels, forced, shock)
    alone, alone_out = naive.price_of(levels, shock)
    mid = abs(start)
    return {
        "price": None if out else sign * price,
        "bps": None if out else 1e4 * (start - price) / mid,
        "alone_bps": None if alone_out else 1e4 * (start - alone) / mid,
        "sold": sold,
        "amplification": (shock + sum(amount for _, amount, _ in forced[:fired])) / shock,
        "unsold": unsold,
    }


def erring(trigger: float, error: float, index: int, place: int) -> float:
    """Where draw `index` puts the exposure at a place of the list."""
    radius = math.sqrt(-2 * math.log(uniform(index, 64 + place, 0)))
    return trigger + error * radius * math.cos(2 * math.pi * uniform(index, 64 + place, 1))


def agree(told: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Name the fields that differ by more than rounding."""
    return [name for name, value in wanted.items() if not alike(told[name], value)]


def alike(one: Any, other: Any) -> bool:
    if isinstance(other, list):
        return len(one) == len(other) and all(alike(a, b) for a, b in zip(one, other, strict=True))
    if other is None or isinstance(other, bool | str):
        return bool(one == other)
    return one is not None and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
