"""Triggers: the liquidation maps of an asset's venues and its known exposures in; what one direction forces, out.

A record of one instrument has one map, one of an asset those of all its venues. Triggers of each map are scaled as its
venue's book is (`engine.books`) and merged in the order in which they are hit; known exposures are of the asset, so
they join once, and not where their trigger has traded on any of the venues since they were true. What of an
instrument's open interest is such an exposure leaves its map, which is what is estimated of the rest:

    amounts x (1 - known exposures of that side in its open interest / its open interest), at least 0

Triggers are stated in mark prices; what comes out are the traded prices at which they are hit (`engine.mark`), each by
the rule and the mark of its own venue. An exposure in no open interest goes by the rule of all venues, one in that of
an instrument whose map is not among those asked by its venue's, and the mark is taken to stand at the mid.

Maps are asked at their mean leverage, or at a draw of their posterior; one draw has the same number for all venues,
because what is unsure, which leverages people use, is one thing for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.cascade import NONE, Floats
from engine.config import EngineConfig
from engine.kernel import allocating, inner, kernel
from engine.liquidation_exposures import exposures_of, join, listed
from engine.liquidation_grid import CLASSES
from engine.liquidation_weights import draw, weights
from engine.liquidations import ROOM, coverage, triggers
from engine.mark import hit_at, index_of, seen_by_mark, standing_of
from engine.schema import Rows

#: The draw that is none: maps at their mean leverage, exposures at their triggers.
MEAN: Final = -1
#: Where triggers come from, as `map_source` says it.
SOURCES: Final = ("none", "estimated", "measured", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """Forced trades of one direction in the order in which they are hit; prices x +1 (falls) or -1 (squeezes)."""

    #: Float64 arrays of one length: traded price at which it is hit, base units, bankruptcy price.
    marks: Floats
    amounts: Floats
    floors: Floats


NOTHING: Final = Triggers(marks=np.zeros(0), amounts=np.zeros(0), floors=np.zeros(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """Everything that forces trades: one row and factor per venue, and the exposures of the asset."""

    #: Rows of `engine.liquidations`: MEMORY and SETTINGS.
    memories: Rows
    settings: Rows
    #: What each venue's prices are multiplied by.
    factors: Floats
    exposures: Rows
    #: 1 where an exposure's trigger has traded since it was true.
    gone: NDArray[np.uint8]
    #: Where every move begins, the mid, and row time: marks are set against them. 0: as if every mark were told now.
    start: float = 0.0
    now: int = 0

    @property
    def asked(self) -> tuple[Rows, Rows, Floats, Rows, NDArray[np.uint8], float, int]:
        """Give what `gather` takes first."""
        whose = self.memories, self.settings, self.factors, self.exposures, self.gone
        return *whose, self.start, self.now

    @property
    def standing(self) -> int:
        """Count the exposures that may still be forced."""
        return int(len(self.exposures) - self.gone[: len(self.exposures)].sum())

    @property
    def estimated(self) -> bool:
        """Say whether any venue's open interest is known, so that there is something to estimate."""
        return bool((self.memories["open_interest"] > 0).any())

    @property
    def certain(self) -> bool:
        """Say whether all draws are alike."""
        return not self.estimated and not self.exposures["error"].any()


def begun(maps: Maps, start: float, now: int) -> Maps:
    """Give the maps as they are where a move begins."""
    return maps if maps.start == start and maps.now == now else replace(maps, start=start, now=now)


def share_of(maps: Maps) -> float:
    """Return the share of a move that marks pass on, of several venues the mean, weighted by open interest if known."""
    return mean_of(maps, maps.settings["pass_through"])


def off_of(maps: Maps) -> float:
    """Return how far marks stand off the mid and stay (`engine.mark`), a share of it; a mean as `share_of` gives."""
    if maps.start <= 0.0:
        return 0.0
    offs = [placed(*one, maps.start, maps.now)[0] / maps.start - 1.0 for one in each_of(maps)]
    return mean_of(maps, np.array(offs))


def each_of(maps: Maps) -> list[tuple[Rows, Rows, float]]:
    """Give memory, settings and factor of each map."""
    return [(maps.memories[v : v + 1], maps.settings[v : v + 1], factor) for v, factor in enumerate(maps.factors)]


def mean_of(maps: Maps, values: Floats) -> float:
    """Return a mean over the maps, weighted by open interest in base units; that value where all are equal."""
    if (values == values[0]).all():
        return float(values[0])
    weights = maps.memories["open_interest"] / np.where(maps.memories["inverse"], maps.start or 1.0, 1.0)
    return float(np.average(values, weights=weights if weights.any() else None))


def maps_of(memories: Sequence[Rows], settings: Sequence[Rows], factors: Sequence[float], exposures: Rows) -> Maps:
    """Give the maps of one or several venues."""
    rows, fixed = laid(memories), laid(settings)
    return Maps(
        memories=rows,
        settings=fixed,
        factors=np.array(factors, np.float64),
        exposures=exposures,
        gone=np.ascontiguousarray(rows["gone"].max(axis=0)),
    )


def laid(each: Sequence[Rows]) -> Rows:
    """Lay arrays of one row into one array, of the very dtype; a single one is given as it is."""
    if len(each) == 1:
        return each[0]
    rows = np.zeros(len(each), each[0].dtype)
    for at, row in enumerate(each):
        rows[at] = row[0]
    return rows


def known(config: EngineConfig, asset: str) -> tuple[Rows, int]:
    """Give the levered exposures of an asset, and how many holders are known that have no leverage."""
    return exposures_of(config, asset), len(listed(config, asset))


@allocating
def gather(
    maps: Rows,
    settings: Rows,
    factors: Floats,
    exposures: Rows,
    gone: NDArray[np.uint8],
    start: float,
    now: int,
    side: int,
    index: int,
    work: Floats,
    out: Floats,
) -> int:
    """Write all triggers of one side (+1 longs, -1 shorts) in order: where hit, amounts, floors; return how many.

    `index` is MEAN or the number of a draw. `work` and `out` have three rows, with room for `ROOM` per map.
    """
    heads, ends, mixture = np.zeros(len(maps), np.int64), np.zeros(len(maps), np.int64), np.zeros(CLASSES)
    places = np.zeros((2, len(exposures)))
    for v in range(len(maps)):
        begin = v * ROOM
        heads[v] = ends[v] = begin
        memory, fixed = maps[v : v + 1], settings[v : v + 1]
        standing, origin = placed(memory, fixed, factors[v], start, now)
        held = 0.0
        for i in range(len(exposures)):
            if settings[v]["exposure_own"][i]:
                places[0, i], places[1, i] = standing, origin
                if exposures[i]["side"] == side and not gone[i]:
                    held += exposures[i]["quantity"]
        if maps[v]["open_interest"] <= 0.0:
            continue
        if index < 0:
            weights(memory, fixed, mixture)
        else:
            draw(memory, fixed, index, mixture)
        room = work[0, begin : begin + ROOM], work[1, begin : begin + ROOM], work[2, begin : begin + ROOM]
        ends[v] += triggers(memory, fixed, mixture, side, room[0], room[1], room[2])
        rest = unnamed(maps[v]["open_interest"], held * start / factors[v] if maps[v]["inverse"] else held)
        for i in range(begin, ends[v]):
            work[0, i] *= factors[v]
            work[1, i] *= rest
            work[2, i] *= factors[v]
        seen = work[0, begin : ends[v]]
        seen_by_mark(seen, side, start, standing, origin, fixed, seen)
    n = 0
    while True:
        best = NONE
        for v in range(len(maps)):
            if heads[v] < ends[v] and (best < 0 or (work[0, heads[v]] - work[0, heads[best]]) * side > 0.0):
                best = v
        if best < 0:
            break
        for row in range(3):
            out[row, n] = work[row, heads[best]]
        heads[best] += 1
        n += 1
    n = join(out[0], out[1], out[2], n, exposures, gone, side, index, start, places)
    for i in range(n):
        out[0, i] *= side
        out[2, i] *= side
    return n


@inner
def unnamed(interest: float, held: float) -> float:
    """Return which share of an open interest, above 0, is nobody's that is known by name."""
    return max(1.0 - held / interest, 0.0) if held > 0.0 else 1.0


@kernel
def placed(memory: Rows, settings: Rows, factor: float, start: float, now: int) -> tuple[float, float]:
    """Return where a venue's mark stands once it has come back as far as it does (`engine.mark`), and its index."""
    return standing_of(memory, settings, factor, start, now), index_of(memory, factor, start, now)


def room_of(maps: Maps) -> Floats:
    """Give an array that `gather` can work in or write to."""
    return np.zeros((3, ROOM * len(maps.memories)))


def hits_of(maps: Maps) -> list[float]:
    """Give the traded price at which each exposure is hit, by its own venue's mark, in the order of the exposures."""
    found = []
    for i, each in enumerate(maps.exposures):
        standing, index = maps.start, maps.start
        for one in each_of(maps):
            if one[1]["exposure_own"][0, i]:
                standing, index = placed(*one, maps.start, maps.now)
        rule = each["pass_through"], each["index_share"], each["clamp"]
        found.append(hit_at(each["trigger"], each["side"], maps.start, standing, index, *rule))
    return found


def forced(maps: Maps, sign: float) -> Triggers:
    """Give what one direction forces, at mean leverage and stated triggers."""
    work, out = room_of(maps), room_of(maps)
    count = gather(*maps.asked, round(sign), MEAN, work, out)
    return Triggers(marks=out[0, :count], amounts=out[1, :count], floors=out[2, :count])


def coverage_of(maps: Maps, mids: Sequence[float]) -> float:
    """Give the share of longs' open interest that the maps hold, venues weighted by their open interest."""
    total, covered = 0.0, 0.0
    for v, mid in enumerate(mids):
        memory = maps.memories[v : v + 1]
        weight = float(memory["open_interest"][0]) / (mid if memory["inverse"][0] else 1.0)
        total += weight
        covered += weight * coverage(memory, maps.settings[v : v + 1], 1)[0]
    return min(covered / total, 1.0) if total > 0.0 else 0.0


def source_of(maps: Maps, found: Sequence[Triggers]) -> int:
    """Give the place in SOURCES, `found` being what falls and what squeezes force."""
    estimated = sum(len(each.marks) for each in found) > maps.standing
    return int(estimated) + 2 * int(maps.standing > 0)
