"""The critical-shock curve of a book of 2,000 levels against 500 triggers: ours beside numpy and plain Python.

The numpy peer does what a notebook does: cumulative sums, `searchsorted` for what is triggered by each level, a running
maximum. The Python peer is one careful pass over lists, the same algorithm as ours. All three must agree exactly: sizes
are whole numbers.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.compare import Peer, compare
from engine.cascade import Floats, curve

LEVELS, TRIGGERS = 2_000, 500
DROPS = (50, 100, 150, 200, 300, 500, 750, 1_000, 1_500, 2_000)

generator = np.random.default_rng(5)
prices: Floats = 100_000.0 - np.sort(generator.choice(20_000, LEVELS, replace=False)).astype(np.float64)
sizes: Floats = generator.integers(1, 50, LEVELS).astype(np.float64)
marks: Floats = 100_000.0 - np.sort(generator.choice(20_000, TRIGGERS, replace=False)).astype(np.float64)
amounts: Floats = generator.integers(1, 150, TRIGGERS).astype(np.float64)
bounds: Floats = 100_000.0 * (1.0 - np.array(DROPS) / 10_000.0)
out: Floats = np.zeros((5, len(DROPS)))


def ours() -> list[float]:
    curve(prices, sizes, marks, amounts, 1_000.0, bounds, out)
    return list(out[2].tolist())


def with_numpy() -> list[float]:
    depth = np.cumsum(sizes)
    forced = np.concatenate(([0.0], np.cumsum(amounts)))[np.searchsorted(-marks, -prices, side="right")]
    best = np.maximum(np.maximum.accumulate(depth - forced), 0.0)
    at = np.searchsorted(-prices, -bounds, side="right")
    return [float(best[i - 1]) if i else 0.0 for i in at]


LISTS = [column.tolist() for column in (prices, sizes, marks, amounts, bounds)]


def in_python() -> list[float]:
    levels, held, triggers, sold, asked = LISTS
    found, depth, forced, best, i, j = [], 0.0, 0.0, 0.0, 0, 0
    for bound in asked:
        while i < LEVELS and levels[i] >= bound:
            depth += held[i]
            while j < TRIGGERS and triggers[j] >= levels[i]:
                forced += sold[j]
                j += 1
            best = max(best, depth - forced)
            i += 1
        found.append(best)
    return found


def repeated(curve: Callable[[], list[float]], times: int) -> Peer:
    """Ask for the curve so many times."""

    def run() -> list[float]:
        for _ in range(times):
            found = curve()
        return found

    return Peer(prepare=lambda: run, count=times)


def test_critical_shock_curve(benchmark: Any) -> None:
    mine = repeated(ours, 1_000)
    compare(
        benchmark,
        stage="critical-shock curve, 2,000 levels x 500 triggers",
        unit="us",
        ours=mine.prepare,
        count=mine.count,
        peers={"numpy": repeated(with_numpy, 100), "Python": repeated(in_python, 20)},
        rounds=15,
    )
