"""Cascade: a book and the triggers behind it in, one CASCADE row out: how large a sale it withstands, and to where.

A *fall* walks the bids, a *squeeze* the asks; each is asked for the critical shock of every configured move, for how
likely more than that is sold (`engine.risk`), and for the end of every configured sale or purchase (`engine.cascade`
has the model). What is forced is known by the map only: `map_source` and `map_coverage` say how much of it that is, and
no number here is worth more than they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from engine.book import Book
from engine.books import BPS, FALL, SQUEEZE, Ladder, Mid, Refill, edges, ladder, mid_of, refilled
from engine.cascade import END, Floats, branchings, critical, curve, falls, free_fall, sweep, sweep_floored
from engine.config import EngineConfig
from engine.fields import Field, Layout, Signal, Why
from engine.kernel import allocating, inner, kernel
from engine.risk import assume, compute, due, rules_of, tell
from engine.schema import Rows
from engine.tail import POOLS
from engine.topics import SIGNAL_CASCADE
from engine.triggers import NOTHING, SOURCES, Maps, Triggers, begun, coverage_of, forced, share_of, source_of

#: Levels so far beyond the widest move are looked at too, bps: they tell a book that ends from one that goes on.
BEYOND: Final = 100
#: Bids are walked by falls, asks by squeezes.
SIGNS: Final = (FALL, SQUEEZE)
EXHAUSTED: Final = int(Why.EXHAUSTED)
NO_LEVELS: Final = int(Why.NO_LEVELS)
NO_FREE_FALL: Final = int(Why.NO_FREE_FALL)


def measure(
    config: EngineConfig, mid: Mid, sides: tuple[Ladder, Ladder], triggers: tuple[Triggers, Triggers], row: Rows
) -> None:
    """Fill what bids and asks, and the triggers of falls and squeezes, say of one CASCADE row; not its risk.

    The mid, above 0, comes as a fraction of whole numbers, price units: (numerator, denominator).
    """
    asked, price, rules, own = config.cascade, mid[0] / mid[1], rules_of(config.cascade), row[0]
    own["undefined"] = 0
    own["drops"], own["shocks"] = asked.drops, asked.shocks
    own["withdrawal_shock"] = asked.withdrawal
    own["slice"], own["cooldown"], own["duration"] = asked.slice, asked.cooldown, asked.duration
    own["risk_horizon"] = asked.horizon
    values, whys = parts_of(row.dtype)
    shocks = row["shocks"][0].astype(np.float64)
    for name, sign, side, found in zip(("fall", "squeeze"), (FALL, SQUEEZE), sides, triggers, strict=True):
        held = np.zeros((2, len(found.marks)))
        assume(rules, found.amounts, held[0])
        own["undefined"] |= walk(
            side.prices,
            side.sizes,
            found.marks,
            held[0],
            found.floors,
            edges(asked.drops, mid, sign),
            shocks,
            sign,
            price,
            asked.withdrawal / price,
            held[1],
            np.zeros(1, END),
            np.zeros(1, END),
            part(row, values, f"{name}_critical"),
            part(row, whys, f"{name}_remaining_why"),
        )
    own["mid"] = price


@cache
def parts_of(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], np.dtype[Any]]:
    """Give what a direction has of a CASCADE row, in the words of both: its values, and why they are undefined.

    Both directions' fields stand in the same order, so that one dtype shows either, from its first field on.
    """
    assert dtype.names is not None
    assert dtype.fields is not None
    fields = {name.removeprefix("fall_"): dtype.fields[name] for name in dtype.names if name.startswith("fall_")}
    found = []
    for chosen in ([name for name in fields if not name.endswith("_why")], [n for n in fields if n.endswith("_why")]):
        formats, offsets = [fields[name][0] for name in chosen], [fields[name][1] for name in chosen]
        size = offsets[-1] - offsets[0] + formats[-1].itemsize
        begins = [offset - offsets[0] for offset in offsets]
        found.append(np.dtype({"names": chosen, "formats": formats, "offsets": begins, "itemsize": size}))
    return found[0], found[1]


def part(row: Rows, dtype: np.dtype[Any], first: str) -> Rows:
    """Show a row from one of its fields on as another dtype."""
    assert row.dtype.fields is not None
    return np.ndarray((1,), dtype, row, row.dtype.fields[first][1])


@allocating
def walk(
    prices: Floats,
    sizes: Floats,
    marks: Floats,
    amounts: Floats,
    floors: Floats,
    bounds: Floats,
    shocks: Floats,
    sign: float,
    mid: float,
    withdrawal: float,
    left: Floats,
    plain: Rows,
    floored: Rows,
    values: Rows,
    whys: Rows,
) -> bool:
    """Fill one direction of a CASCADE row; say whether any of it is undefined. `left` and the ENDs are scratch."""
    row, why, undefined = values[0], whys[0], False
    found, further, ratios = np.zeros((5, len(bounds))), np.zeros((2, len(bounds))), np.zeros(len(bounds))
    curve(prices, sizes, marks, amounts, withdrawal, bounds, found)
    falls(prices, sizes, marks, amounts, bounds, further)
    branchings(prices, sizes, marks, amounts, bounds, ratios)
    for k in range(len(bounds)):
        row["depth"][k], row["forced"][k], row["critical"][k] = found[0, k], found[1, k], found[2, k]
        row["critical_quote"][k] = found[2, k] * mid
        row["remaining"][k] = min(found[3, k], 1.0)
        why["remaining_why"][k] = 0 if found[0, k] > 0.0 else NO_LEVELS
        row["complete"][k] = found[4, k] == 0.0
        row["further_bps"][k] = BPS * further[0, k] / mid
        why["further_why"][k] = EXHAUSTED if further[1, k] > 0.0 else 0
        row["branching"][k] = max(ratios[k], 0.0)
        why["branching_why"][k] = 0 if ratios[k] >= 0.0 else NO_LEVELS
        undefined = undefined or ratios[k] < 0.0 or found[0, k] <= 0.0 or further[1, k] > 0.0
    begin, end, levels = free_fall(prices, sizes, marks, amounts, bounds[len(bounds) - 1])
    row["free_bps"] = BPS * (begin - end) / mid
    row["free_from"] = sign * begin
    why["free_why"] = 0 if levels else NO_FREE_FALL
    for k in range(len(shocks)):
        sweep(prices, sizes, marks, amounts, shocks[k] / mid, plain)
        sweep_floored(prices, sizes, marks, amounts, floors, shocks[k] / mid, left, floored)
        undefined = tell_end(plain, floored, k, shocks[k] / mid, sign, mid, values, whys) or undefined
    return undefined or levels == 0


@inner
def tell_end(
    plain: Rows, floored: Rows, k: int, shock: float, sign: float, mid: float, values: Rows, whys: Rows
) -> bool:
    """Fill where one sale or purchase ends; say whether any of it is undefined."""
    row, why, alone, end = values[0], whys[0], plain[0], floored[0]
    out, out_alone = end["exhausted"] > 0, alone["exhausted_alone"] > 0
    row["price"][k] = 0.0 if out else sign * end["price"]
    row["bps"][k] = 0.0 if out else BPS * (sign * mid - end["price"]) / mid
    why["price_why"][k] = EXHAUSTED if out else 0
    row["alone_bps"][k] = 0.0 if out_alone else BPS * (sign * mid - alone["price_alone"]) / mid
    why["alone_why"][k] = EXHAUSTED if out_alone else 0
    row["sold"][k] = end["sold"]
    row["amplification"][k] = (shock + end["forced"]) / shock
    row["unsold"][k] = end["unsold"]
    return bool(out or out_alone)


def layout(config: EngineConfig) -> Layout:
    """Give the CASCADE row's layout for a number of moves and shocks."""
    return Layout(FIELDS, {"drops": len(config.cascade.drops), "shocks": len(config.cascade.shocks)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a CASCADE row was measured from: what its risk is to be asked of."""

    mid: Mid
    sides: tuple[Ladder, Ladder]
    maps: Maps


@dataclass(frozen=True, slots=True, kw_only=True)
class Forced:
    """What maps force: triggers of falls and of squeezes, and what a CASCADE row says of the maps themselves."""

    triggers: tuple[Triggers, Triggers]
    exposures: int
    #: Place in SOURCES; share of longs' open interest, 0 to 1.
    source: int
    coverage: float
    #: Share of a move that marks pass on; of several venues the mean.
    pass_through: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Everything that a CASCADE row of one book says, not yet written but for the critical shocks."""

    seen: Seen
    forced: Forced
    #: Rates at which bids and asks refill, base units per second.
    rates: tuple[float, float]
    #: Critical shocks of falls and of squeezes, per move, base units.
    critical: Floats


def see(config: EngineConfig, levels: tuple[Rows, Rows], mid: Mid, unit: Rows, maps: Maps, refill: Refill) -> Sight:
    """Look at one instrument's own book, of which `levels` are bids and asks as far as `reach_of` says."""
    sides, rates = zip(
        *(refilled(ladder(levels[at], unit, sign), mid, sign, 1.0, unit, refill) for at, sign in enumerate(SIGNS)),
        strict=True,
    )
    maps = begun(maps, mid[0] / mid[1], maps.now)
    found = read_maps(maps, [mid[0] / mid[1]])
    critical, rules, drops = np.zeros((2, len(config.cascade.drops))), rules_of(config.cascade), config.cascade.drops
    for at, sign in enumerate(SIGNS):
        side, triggers = sides[at], found.triggers[at]
        forces = triggers.marks, triggers.amounts, np.zeros(len(triggers.marks))
        withstand(rules, *forces, side.prices, side.sizes, edges(drops, mid, sign), critical[at])
    return Sight(seen=Seen(mid=mid, sides=sides, maps=maps), forced=found, rates=rates, critical=critical)


@kernel
def withstand(
    rules: Rows,
    marks: Floats,
    amounts: Floats,
    held: Floats,
    prices: Floats,
    sizes: Floats,
    bounds: Floats,
    out: Floats,
) -> None:
    """Write one direction's critical shocks under the rules; `held` is scratch of the triggers' length."""
    assume(rules, amounts, held)
    critical(prices, sizes, marks, held, bounds, out)


def fill(config: EngineConfig, sight: Sight, row: Rows) -> None:
    """Fill one CASCADE row, but for its risk and holders."""
    row["fall_refill"], row["squeeze_refill"] = sight.rates
    fill_maps(sight.forced, row)
    measure(config, sight.seen.mid, sight.seen.sides, sight.forced.triggers, row)


def measure_book(config: EngineConfig, book: Book, unit: Rows, maps: Maps, refill: Refill, row: Rows) -> Seen:
    """Fill one CASCADE row from one instrument's own book, but for its risk and holders."""
    sight = see(config, within(config, book), mid_of(book, unit), unit, maps, refill)
    fill(config, sight, row)
    return sight.seen


def tell_risk(config: EngineConfig, seen: Seen, tail: tuple[Rows, Rows], memory: Rows, now: int, row: Rows) -> None:
    """Fill the risk of a CASCADE row: the one in memory, or computed anew where that is old. `tail` as in `compute`."""
    renew_risk(config, seen, tail, memory, now)
    tell(memory, row)


def renew_risk(config: EngineConfig, seen: Seen, tail: tuple[Rows, Rows], memory: Rows, now: int) -> None:
    """Compute the risk in memory anew where it is old."""
    if due(memory, config.cascade, now):
        memory[:] = compute(config, seen.mid, seen.sides, seen.maps, tail, now)


def within(config: EngineConfig, book: Book) -> tuple[Rows, Rows]:
    """Give the levels that a CASCADE row looks at: bids, asks."""
    return book.within(reach_of(config))


def reach_of(config: EngineConfig) -> int:
    """Return how far from the mid a CASCADE row looks, bps."""
    return config.cascade.drops[-1] + BEYOND


def read_maps(maps: Maps, mids: Sequence[float]) -> Forced:
    """Give what maps force, `mids` being those of their venues."""
    share = share_of(maps)
    if len(maps.exposures) == 0 and max(maps.memories["open_interest"].tolist()) <= 0.0:
        return Forced(triggers=(NOTHING, NOTHING), exposures=0, source=0, coverage=0.0, pass_through=share)
    triggers, coverage = (forced(maps, FALL), forced(maps, SQUEEZE)), coverage_of(maps, mids)
    source = source_of(maps, triggers)
    return Forced(triggers=triggers, exposures=maps.standing, source=source, coverage=coverage, pass_through=share)


def fill_maps(found: Forced, row: Rows) -> None:
    """Fill what a CASCADE row says of the maps."""
    row["exposures"], row["map_source"], row["map_coverage"] = found.exposures, found.source, found.coverage
    row["pass_through"] = found.pass_through


@inner
def depends(levels: Rows, bids: int, low: int, high: int) -> bool:
    """Say whether a book message can change the answer: a bid at or above `low`, or an ask at or below `high`."""
    for i in range(len(levels)):
        price = levels[i]["price"]
        if (i < bids and price >= low) or (i >= bids and price <= high):
            return True
    return False


def reach(config: EngineConfig, book: Book) -> tuple[int, int]:
    """Give the lowest bid and highest ask that a CASCADE row of this book looks at, in wire decimals."""
    bid, _, ask, _ = book.best
    bps = reach_of(config)
    return -(-(bid + ask) * (10_000 - bps) // 20_000), (bid + ask) * (10_000 + bps) // 20_000


BASE: Final = "base units"
QUOTE: Final = "quote units"
PRICE: Final = "quote units per base unit"


def _fields(name: str, move: str, trade: str) -> tuple[Field, ...]:
    by_drop: Any = {"over": "drops"}
    by_shock: Any = {"over": "shocks"}
    free, price, alone = f"{name}_free_why", f"{name}_price_why", f"{name}_alone_why"
    return (
        Field(
            f"{name}_critical", "number", BASE, f"Largest {trade} that does not trade beyond the {move}: Qc.", **by_drop
        ),
        Field(f"{name}_critical_quote", "number", QUOTE, "The same times the mid.", **by_drop),
        Field(f"{name}_depth", "number", BASE, f"What rests up to the {move}: B.", **by_drop),
        Field(f"{name}_forced", "number", BASE, f"What the map says is forced by the {move}: L.", **by_drop),
        Field(
            f"{name}_remaining",
            "number",
            "0 to 1",
            f"Share of the book that must stay so that the withdrawal shock does not trade beyond the {move}: eta_c.",
            why=f"{name}_remaining_why",
            **by_drop,
        ),
        Field(
            f"{name}_branching",
            "number",
            "1",
            "Forced / resting between the move before and this one: n; at 1 or more it feeds itself.",
            why=f"{name}_branching_why",
            **by_drop,
        ),
        Field(f"{name}_complete", "boolean", "", "Whether levels are known beyond; if not, Qc is a bound.", **by_drop),
        Field(f"{name}_price", "number", PRICE, f"Where a {trade} of the shock ends, p*.", why=price, **by_shock),
        Field(f"{name}_bps", "number", "bps", "The same as a move from the mid.", why=price, **by_shock),
        Field(f"{name}_alone_bps", "number", "bps", "The move if nothing were forced.", why=alone, **by_shock),
        Field(f"{name}_sold", "number", BASE, f"All that trades, the {trade} included.", **by_shock),
        Field(f"{name}_amplification", "number", "1", "All that is to trade / the shock.", **by_shock),
        Field(
            f"{name}_unsold",
            "number",
            BASE,
            "What finds nobody: left at a bankruptcy price, for insurance and auto-deleveraging, or beyond the book.",
            **by_shock,
        ),
        Field(
            f"{name}_risk",
            "number",
            "0 to 1",
            f"How likely net {trade}s within the horizon exceed the critical shock: CR.",
            why=f"{name}_risk_why",
            **by_drop,
        ),
        Field(
            f"{name}_further_bps",
            "number",
            "bps",
            f"How far beyond the {move} the price moves at no further cost, once it trades: F.",
            why=f"{name}_further_why",
            **by_drop,
        ),
        Field(f"{name}_refill", "number", "base units per second", "Rate at which the book refills, as assumed."),
        Field(f"{name}_free_bps", "number", "bps", "Longest stretch in which a further move costs nothing."),
        Field(f"{name}_free_from", "number", PRICE, "Where that stretch begins.", why=free),
    )


#: Fields of an instrument's and of an asset's record alike.
FIELDS: Final = (
    Field("mid", "number", PRICE, "(bid + ask) / 2, of an asset the venues' median: where every move begins."),
    Field("drops", "integer", "bps", "Moves away from the mid, ascending.", over="drops"),
    Field("shocks", "integer", QUOTE, "Sales and purchases, ascending.", over="shocks"),
    Field("withdrawal_shock", "integer", QUOTE, "The shock that eta_c speaks of."),
    *_fields("fall", "fall", "sale"),
    *_fields("squeeze", "rise", "purchase"),
    Field("risk_horizon", "integer", "s", "Horizon of CR."),
    Field("risk_time", "integer", "ns", "Row time at which CR was computed."),
    Field("risk_pool", "string", "", "Past horizons that CR's tail is fitted to.", values=POOLS),
    Field("risk_samples", "integer", "horizons", "How many those are."),
    Field("map_source", "string", "", "Where triggers come from.", values=SOURCES),
    Field("map_coverage", "number", "0 to 1", "Share of open interest in the estimated map; 0 where there is none."),
    Field("exposures", "integer", "exposures", "Known levered exposures of the asset among the triggers."),
    Field("holders", "integer", "holders", "Known holders of the asset without leverage, who are never forced."),
    Field("pass_through", "number", "0 to 1", "Share of a move that the mark price is assumed to pass on."),
    Field("slice", "number", "0 to 1", "Share of a forced trade that is assumed to be made at once."),
    Field("cooldown", "integer", "ms", "When the rest of it follows, if the cascade lasts so long."),
    Field("duration", "integer", "ms", "How long a cascade is assumed to last: so long the book refills."),
)

SIGNAL: Final = Signal(
    name="cascade",
    topic=SIGNAL_CASCADE,
    meaning="How large a sale or purchase one book withstands before liquidations feed it, and where such a one ends.",
    needs_book=True,
    fields=FIELDS,
)
