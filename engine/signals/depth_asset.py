"""Depth of an asset: the known books of all its venues in, what they hold together around one price out.

The reference is the median of the mids of the books that are known now, an exact fraction; so are the edges of its
bands, in each venue's own wire decimals. A book whose mid lies too far from the median is quoted in another currency,
or broken, and is left out; it is named, like every book that is not known. Around its own mid a venue looks healthy
while its whole book slides away from the others: both sums stand here.

    HHI = sum of the squared shares that venues have of the depth within one band, both sides;
    effective venues = 1 / HHI                                        (Herfindahl and Hirschman: 1 where one holds all)

A depth ratio compares the sum of the venues' depths around their own mids with the sum of their baselines, over the
venues that have one: a venue that is missing is missing from both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.baseline import baseline_of
from engine.book import Book
from engine.books import mid_of
from engine.comparison import FIELDS as COMPARED
from engine.comparison import NO_BASELINE, NO_REFERENCE
from engine.config import EngineConfig
from engine.fields import Field, Layout, Signal, Why
from engine.kernel import kernel
from engine.money import amount_of, base_of, quote_of, worth_of
from engine.schema import Rows
from engine.topics import SIGNAL_DEPTH

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BPS: Final = 10_000
NO_DEPTH: Final = int(Why.NO_DEPTH)
#: Fields over these axes have as many elements as there are venues: they do not stand in the row.
BY_VENUE: Final = ("venues", "excluded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One venue's known book, and its past."""

    key: str
    book: Book
    #: UNIT, the baseline's memory, and a PRESENT row.
    unit: Rows
    baseline: Rows
    present: Rows
    #: What gives the levels within at least so many bps of the mid, if others share them; else the book is walked.
    near: Callable[[int], tuple[Rows, Rows]] | None = None

    @property
    def mid(self) -> Fraction:
        """Return (bid + ask) / 2, price units, exact."""
        return Fraction(*mid_of(self.book, self.unit))


def layout(config: EngineConfig) -> Layout:
    """Give the row's layout for a number of bands; what has one element per venue is not in it."""
    fields = [field for field in SIGNAL.fields if field.over not in BY_VENUE]
    return Layout(fields, {"bands": len(config.bands), "baseline_bands": len(config.baseline.bands)})


def edges_of(middle: Fraction, scale: int, bands: Sequence[int], side: int) -> Ints:
    """Give each band's outermost price on one side in wire decimals, rounded inward: the bound itself counts."""
    over, under = middle.numerator * scale, middle.denominator * BPS
    if side > 0:
        return np.array([-(-over * (BPS - band) // under) for band in bands], np.int64)
    return np.array([over * (BPS + band) // under for band in bands], np.int64)


@kernel
def sum_within(levels: Rows, edges: Ints, side: int, unit: Rows, bases: Floats, quotes: Floats) -> None:
    """Add what rests up to each edge, edges ascending in distance, in base and in quote units."""
    amount, worth, at = 0.0, 0.0, 0
    for b in range(len(edges)):
        while at < len(levels) and (levels[at]["price"] - edges[b]) * side >= 0:
            amount += amount_of(levels[at]["price"], levels[at]["size"], unit)
            worth += worth_of(levels[at]["price"], levels[at]["size"], unit)
            at += 1
        bases[b] += base_of(amount, unit)
        quotes[b] += quote_of(worth, unit)


def measure_across(
    config: EngineConfig,
    parts: Sequence[Part],
    middle: Fraction,
    pasts: Sequence[Rows],
    references: Floats,
    row: Rows,
) -> dict[str, Any]:
    """Fill one row from the books of one or more venues; return what has one element per venue.

    `pasts` are the baselines of the asset's books, known now or not: an outage does not widen the gap since the event.
    """
    row["undefined"] = 0
    row["reference"], row["bands"], row["concentration"] = float(middle), config.bands, config.asset.concentration
    bands = sorted({*config.bands, config.asset.concentration})
    kept = [bands.index(band) for band in config.bands]
    at = bands.index(config.asset.concentration)
    shares: dict[str, float] = {}
    around, owned = np.zeros((2, 2, len(bands))), np.zeros((2, 2, len(bands)))
    complete = np.ones((2, len(bands)), bool)
    for part in parts:
        scale, mid = _scale(part), part.mid
        levels = _near(part, mid, middle, bands)
        for side, way in enumerate((1, -1)):
            limits = edges_of(middle, scale, bands, way)
            before = float(around[side, 0, at])
            sum_within(levels[side], limits, way, part.unit, around[side, 0], around[side, 1])
            shares[part.key] = shares.get(part.key, 0.0) + float(around[side, 0, at]) - before
            own = limits if mid == middle else edges_of(mid, scale, bands, way)
            sum_within(levels[side], own, way, part.unit, owned[side, 0], owned[side, 1])
            complete[side] &= _shown(part, limits, way)
    for side, name in enumerate(("bid", "ask")):
        row[f"{name}_base"], row[f"{name}_quote"] = around[side, 0, kept], around[side, 1, kept]
        row[f"{name}_own"], row[f"{name}_complete"] = owned[side, 0, kept], complete[side, kept]
    _concentrate(shares, row)
    _compare(config, parts, row)
    _gap(config, pasts, float(middle), references, row)
    return {
        "venues": [part.key for part in parts],
        "venue_mid": [float(part.mid) for part in parts],
        "venue_base": [shares[part.key] for part in parts],
    }


def _scale(part: Part) -> int:
    return round(float(part.unit["price"][0]))


def _near(part: Part, mid: Fraction, middle: Fraction, bands: Sequence[int]) -> tuple[Rows, Rows]:
    """Give bids and asks at least as far as the widest band around either price."""
    reach = bands[-1] + 2
    if mid != middle:
        reach += int(abs(mid - middle) / mid * 2 * BPS)
    return (part.near or part.book.within)(min(reach, BPS - 1))


def _shown(part: Part, limits: Ints, way: int) -> NDArray[np.bool_]:
    memory = part.book.ladder()[0][0]
    if way > 0:
        return np.asarray(limits >= memory["known_low"])
    return np.asarray((limits <= memory["known_high"]) | (memory["known_high"] == 0))


def _concentrate(shares: Mapping[str, float], row: Rows) -> None:
    """Fill how the depth within one band is shared out among venues; a venue may have several instruments."""
    venues: dict[str, float] = {}
    for key, base in shares.items():
        venues[key.partition(":")[0]] = venues.get(key.partition(":")[0], 0.0) + base
    total = sum(venues.values())
    row["hhi_why"] = 0 if total > 0 else NO_DEPTH
    row["undefined"] |= int(total <= 0)
    hhi = sum((base / total) ** 2 for base in venues.values()) if total > 0 else 0.0
    row["hhi"], row["effective_venues"] = hhi, 1.0 / hhi if total > 0 else 0.0
    row["without_top"] = total - max(venues.values())


def _compare(config: EngineConfig, parts: Sequence[Part], row: Rows) -> None:
    """Fill the sums' baselines and ratios, over the venues that have a baseline."""
    row["baseline_bands"], weakest, counted = config.baseline.bands, 0, set()
    for n in range(len(config.baseline.bands)):
        usual = {"bid": 0.0, "ask": 0.0}
        for side, name in enumerate(("bid", "ask")):
            now, known = 0.0, 0
            for part in parts:
                value, source = baseline_of(part.baseline, 2 * n + side)
                if source == 0 or part.present["whys"][0, 2 * n + side]:
                    continue
                now, known = now + float(part.present["values"][0, 2 * n + side]), known + 1
                usual[name] += value
                weakest = max(weakest, source)
                counted.add(part.key)
            why = 0 if known else NO_BASELINE
            ratio_why = why or (0 if usual[name] > 0 else NO_DEPTH)
            row[f"{name}_baseline"][0, n], row[f"{name}_baseline_why"][0, n] = usual[name], why
            row[f"{name}_ratio"][0, n] = 0.0 if ratio_why else now / usual[name]
            row[f"{name}_ratio_why"][0, n] = ratio_why
            row["undefined"] |= int(ratio_why > 0)
    row["baseline_source"], row["baselines"] = weakest, len(counted)


def _gap(config: EngineConfig, pasts: Sequence[Rows], middle: float, references: Floats, row: Rows) -> None:
    """Fill what has left since the event."""
    for n in range(len(config.baseline.bands)):
        usual = [
            value
            for past in pasts
            for value, source in (baseline_of(past, 2 * n), baseline_of(past, 2 * n + 1))
            if source
        ]
        why = NO_REFERENCE if references[n] <= 0 else 0 if usual else NO_BASELINE
        row["gap"][0, n] = 0.0 if why else 1.0 - sum(usual) * middle / references[n]
        row["gap_why"][0, n] = why
        row["undefined"] |= int(why > 0)


BASE: Final = "base units"
QUOTE: Final = "quote units"
PRICE: Final = "quote units per base unit"


def _side(side: str, edge: str) -> tuple[Field, ...]:
    return (
        Field(f"{side}_base", "number", BASE, f"Sum of all venues' {side}s {edge}; the bound counts.", over="bands"),
        Field(f"{side}_quote", "number", QUOTE, "The same, each times its own price.", over="bands"),
        Field(f"{side}_own", "number", BASE, f"Sum of the venues' {side}s, each around its own mid.", over="bands"),
        Field(
            f"{side}_complete",
            "boolean",
            "",
            "Whether every venue's last snapshot reached as far; if not, depth is a lower bound.",
            over="bands",
        ),
    )


SIGNAL: Final = Signal(
    name="depth",
    topic=SIGNAL_DEPTH,
    scope="asset",
    meaning="What the known books of all venues of an asset hold together around one price, and how it is shared out.",
    needs_book=True,
    fields=(
        Field("reference", "number", PRICE, "Median of the venues' mids."),
        Field("venues", "string", "", "Instruments whose books are summed.", over="venues"),
        Field("venue_mid", "number", PRICE, "Mid of each.", over="venues"),
        Field("venue_base", "number", BASE, "Both sides of each within the concentration's band.", over="venues"),
        Field("excluded", "string", "", "Instruments of the asset that are left out.", over="excluded"),
        Field("excluded_why", "string", "", "Reason of each; `foreign`: its mid is far off.", over="excluded"),
        Field("bands", "integer", "bps", "Distances from the reference, ascending.", over="bands"),
        *_side("bid", "at or above reference x (1 - band / 10^4)"),
        *_side("ask", "at or below reference x (1 + band / 10^4)"),
        Field("concentration", "integer", "bps", "Band within which venues are compared."),
        Field("hhi", "number", "0 to 1", "Sum of the squared shares of venues of that depth.", why="hhi_why"),
        Field("effective_venues", "number", "venues", "1 / hhi.", why="hhi_why"),
        Field("without_top", "number", BASE, "That depth without the venue that holds most of it."),
        *COMPARED,
        Field("baselines", "integer", "instruments", "How many of the books have a baseline: ratios are of those."),
    ),
)
