"""Slow, obvious twins of the vacuum."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping

from engine.knowledge import Model

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
