"""Slow, obvious twins of the comparison with the past, of one book and across venues; None where there is nothing."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from statistics import median
from typing import Any

from tests.naive_depth import NaiveDepth

# One book


def depth(twin: NaiveDepth, side: int, band: int) -> float | None:
    """Base units within a band, sizes first summed, then turned at the mid; 0 of an empty side, None of its other."""
    own, other = (twin.bids, twin.asks) if side == 1 else (twin.asks, twin.bids)
    if not own or not other:
        return None if own else 0.0
    size = sum(size for _, size in twin.inside(side, band)) * twin.size_unit * twin.contract_size
    return float(size / twin.mid() if twin.inverse else size)


def compared(
    twin: NaiveDepth, bands: Sequence[int], usual: Mapping[tuple[int, int], float], references: Sequence[float]
) -> dict[str, Any]:
    """The fields of a comparison; `usual` by side (1 bid, -1 ask) and band."""
    found: dict[str, Any] = {"baseline_bands": list(bands)}
    for side, name in ((1, "bid"), (-1, "ask")):
        past = [usual.get((side, band)) for band in bands]
        now = [depth(twin, side, band) for band in bands]
        found[f"{name}_baseline"] = past
        found[f"{name}_ratio"] = [a / b if a is not None and b else None for a, b in zip(now, past, strict=True)]
    whole = all((side, band) in usual for side in (1, -1) for band in bands)
    found["baseline_source"] = "session" if whole else "none"
    mid = float(twin.mid()) if twin.bids and twin.asks else None
    found["gap"] = []
    for band, reference in zip(bands, references, strict=True):
        both = [usual.get((side, band)) for side in (1, -1)]
        known = reference and mid and None not in both
        found["gap"].append(1 - sum(each or 0 for each in both) * (mid or 0) / reference if known else None)
    return found


# Across venues

#: A number, or why there is none.
Told = float | str
#: Of one venue: what each input is, depth and baseline by band, and sums of flow (depth, added, cancelled, executed).
Venue = Mapping[str, Any]


def ratio(venues: Sequence[Venue], band: int) -> Told:
    both = [(v["now"][band], v["usual"][band]) for v in venues if v["why"][band] == ""]
    if not both:
        return "one_sided" if any(v["why"][band] == "one_sided" for v in venues) else "no_baseline"
    usual = sum(each for _, each in both)
    return sum(each for each, _ in both) / usual if usual else "no_depth"


def flows(venues: Sequence[Venue], name: str) -> list[Fraction] | None:
    full = [v[name] for v in venues if v[f"{name}_why"] == ""]
    return [sum((Fraction(each) for each in column), Fraction(0)) for column in zip(*full, strict=True)] or None


def refill(venues: Sequence[Venue]) -> Told | None:
    """None where no venue's window is full: then it is asked otherwise."""
    sums = flows(venues, "flows")
    if sums is None:
        return None
    left = sums[2] + sums[3]
    return float(sums[1] / left) if left else "no_flow"


def withdrawal(venues: Sequence[Venue]) -> Told | None:
    sums = flows(venues, "last")
    if sums is None:
        return None
    there = sums[0] + sums[1]
    return float(min(sums[2] / there, Fraction(1))) if there else "no_depth"


def middle(values: Sequence[float | None]) -> float | None:
    """The median of those that there are."""
    known = [each for each in values if each is not None]
    return median(known) if known else None
