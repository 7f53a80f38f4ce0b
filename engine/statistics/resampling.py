"""Resampling: a series in; the sets of rows to fit on and to test on, or by which to ask how certain a number is, out.

Rows near in time resemble one another, so neither may be drawn row by row. Walking forward, a test period is told by
rows that lie before it alone, less those whose label looks into it (`horizon`) and a pause (`embargo`; Lopez de Prado
2018, chapter 7). The stationary bootstrap (Politis, Romano 1994) strings together blocks that begin anywhere and whose
lengths are geometric: each row is followed by its successor, or with probability 1 / block by any row.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.statistics.chance import uniform, words

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def walk_forward(times: Ints, bounds: Ints, horizon: int, embargo: int) -> list[tuple[Ints, Ints]]:
    """Give (rows to fit on, rows to test on) of each period between two bounds that has both; times ascend, in ns."""
    folds = []
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        before = np.flatnonzero(times + (horizon + embargo) <= begin)
        inside = np.flatnonzero((times >= begin) & (times < end))
        if len(before) and len(inside):
            folds.append((before, inside))
    return folds


def blocks(seed: int, count: int, block: float) -> Ints:
    """Give `count` rows of a series of as many, in blocks of mean length `block`; the first follows the last."""
    begins = uniform(seed, count) < 1.0 / block
    begins[0] = True
    at = np.flatnonzero(begins)
    starts = (uniform(~seed, count)[at] * count).astype(np.int64)
    which = np.cumsum(begins) - 1
    rows: Ints = (starts[which] + np.arange(count) - at[which]) % count
    return rows


def bootstrap(statistic: Callable[[Ints], float], count: int, block: float, draws: int, seed: int) -> Floats:
    """Give the statistic of `draws` resampled series, ascending; it is handed rows and may raise ValueError on a draw.

    A draw without a single event has no AUC, say: it is left out, so the array may be shorter than asked.
    """
    found = []
    for each in words(seed, draws).tolist():
        try:
            found.append(statistic(blocks(each, count, block)))
        except ValueError:
            continue
    return np.sort(np.array(found, np.float64))


def interval(draws: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Give the percentile interval of a bootstrap's ascending draws."""
    low = 0.5 * (1.0 - confidence)
    return float(np.quantile(draws, low)), float(np.quantile(draws, 1.0 - low))
