"""Slow, obvious twin of the air pockets: every pair of prices, in exact fractions."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

from tests.naive_depth import NaiveDepth


def fields(book: NaiveDepth, band: int, share: float) -> dict[str, Any]:
    """What the pocket fields must say of a book with two sides."""
    found: dict[str, Any] = {}
    mid = book.mid()
    for side, name in ((1, "bid"), (-1, "ask")):
        levels = book.inside(side, band)
        prices = [mid, *(book.price(level) for level in levels)]
        gaps = [abs(a - b) for a, b in pairwise(prices)]
        floor = sum((book.quote(level) for level in book.inside(side, 100)), Fraction(0)) * Fraction(share)
        holes = [
            (abs(prices[j] - prices[i]), -i)
            for j in range(1, len(prices))
            for i in range(j)
            if j == i + 1 or sum(book.quote(level) for level in levels[i : j - 1]) < floor
        ]
        per = 10_000 / mid
        largest = max(gaps, default=None)
        hole, begin = max(holes, default=(None, 0))
        found[f"{name}_first_gap"] = float(gaps[1] * per) if len(gaps) > 1 else None
        found[f"{name}_gap"] = None if largest is None else float(largest * per)
        found[f"{name}_gap_at"] = None if largest is None else float(prices[gaps.index(largest)])
        found[f"{name}_gap_hhi"] = float(sum(g * g for g in gaps) / sum(gaps) ** 2) if gaps and sum(gaps) else None
        found[f"{name}_hole"] = None if hole is None else float(hole * per)
        found[f"{name}_hole_at"] = None if hole is None else float(prices[-begin])
    return found
