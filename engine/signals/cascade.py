"""Cascade: a book and the triggers behind it in, one CASCADE row out: how large a sale it withstands, and to where.

A *fall* walks the bids, a *squeeze* the asks; each is asked for the critical shock of every configured move, for how
likely more than that is sold (`engine.risk`), and for the end of every configured sale or purchase (`engine.cascade`
has the model). What is forced is known by the map only: `map_source` and `map_coverage` say how much of it that is, and
no number here is worth more than they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.book import Book
from engine.books import BPS, FALL, SQUEEZE, Ladder, Mid, Refill, edges, ladder, mid_of, refilled
from engine.cascade import END, Floats, branching, curve, falls, free_fall, sweep, sweep_floored
from engine.config import EngineConfig
from engine.fields import Field, Layout, Signal, Why
from engine.kernel import kernel
from engine.risk import assume, compute, due, rules_of, tell
from engine.schema import Rows
from engine.tail import POOLS
from engine.topics import SIGNAL_CASCADE
from engine.triggers import SOURCES, Maps, Triggers, coverage_of, forced, source_of

#: Levels so far beyond the widest move are looked at too, bps: they tell a book that ends from one that goes on.
BEYOND: Final = 100


def measure(
    config: EngineConfig, mid: Mid, sides: tuple[Ladder, Ladder], triggers: tuple[Triggers, Triggers], row: Rows
) -> None:
    """Fill what bids and asks, and the triggers of falls and squeezes, say of one CASCADE row; not its risk.

    The mid, above 0, comes as a fraction of whole numbers, price units: (numerator, denominator).
    """
    asked, price, rules = config.cascade, mid[0] / mid[1], rules_of(config.cascade)
    row["undefined"] = 0
    row["drops"], row["shocks"] = asked.drops, asked.shocks
    row["withdrawal_shock"], row["pass_through"] = asked.withdrawal, asked.pass_through
    row["slice"], row["cooldown"], row["duration"] = asked.slice, asked.cooldown, asked.duration
    row["risk_horizon"] = asked.horizon
    for name, sign, side, found in zip(("fall", "squeeze"), (FALL, SQUEEZE), sides, triggers, strict=True):
        held = Triggers(marks=np.zeros(len(found.marks)), amounts=np.zeros(len(found.marks)), floors=found.floors)
        assume(rules, sign * price, found.marks, found.amounts, held.marks, held.amounts)
        bounds = edges(asked.drops, mid, sign)
        _moves(config, name, sign, price, bounds, side, held, row)
        _ends(config, name, sign, price, side, held, row)
    row["mid"] = price


def _moves(
    config: EngineConfig,
    name: str,
    sign: float,
    mid: float,
    bounds: Floats,
    side: Ladder,
    forced: Triggers,
    row: Rows,
) -> None:
    """Fill what each move takes, and where falling costs nothing."""
    found = np.zeros((5, len(bounds)))
    book = (side.prices, side.sizes)
    curve(*book, forced.marks, forced.amounts, config.cascade.withdrawal / mid, bounds, found)
    row[f"{name}_depth"], row[f"{name}_forced"], row[f"{name}_critical"] = found[0], found[1], found[2]
    row[f"{name}_critical_quote"] = found[2] * mid
    row[f"{name}_remaining"] = np.minimum(found[3], 1.0)
    row[f"{name}_remaining_why"] = np.where(found[0] > 0, 0, int(Why.NO_LEVELS))
    row[f"{name}_complete"] = found[4] == 0
    further = np.zeros((2, len(bounds)))
    falls(*book, forced.marks, forced.amounts, bounds, further)
    row[f"{name}_further_bps"] = BPS * further[0] / mid
    row[f"{name}_further_why"] = np.where(further[1] > 0, int(Why.EXHAUSTED), 0)
    upper = np.concatenate(([np.inf], bounds[:-1]))
    for k, (high, low) in enumerate(zip(upper.tolist(), bounds.tolist(), strict=True)):
        ratio = branching(forced.marks, forced.amounts, *book, min(high, 1.7e308), low)
        row[f"{name}_branching"][0, k] = max(ratio, 0.0)
        row[f"{name}_branching_why"][0, k] = 0 if ratio >= 0 else int(Why.NO_LEVELS)
        row["undefined"] |= ratio < 0
    begin, end, levels = free_fall(*book, forced.marks, forced.amounts, float(bounds[-1]))
    row[f"{name}_free_bps"] = BPS * (begin - end) / mid
    row[f"{name}_free_from"] = sign * begin
    row[f"{name}_free_why"] = 0 if levels else int(Why.NO_FREE_FALL)
    row["undefined"] |= levels == 0 or bool((found[0] <= 0).any()) or bool((further[1] > 0).any())


def _ends(config: EngineConfig, name: str, sign: float, mid: float, side: Ladder, forced: Triggers, row: Rows) -> None:
    """Fill where each sale or purchase ends."""
    plain, floored = np.zeros(1, END), np.zeros(1, END)
    left = np.zeros(len(forced.marks))
    for k, notional in enumerate(config.cascade.shocks):
        shock = notional / mid
        sweep(side.prices, side.sizes, forced.marks, forced.amounts, shock, plain)
        sweep_floored(side.prices, side.sizes, forced.marks, forced.amounts, forced.floors, shock, left, floored)
        alone, end = plain[0], floored[0]
        out = bool(end["exhausted"])
        row[f"{name}_price"][0, k] = 0.0 if out else sign * end["price"]
        row[f"{name}_bps"][0, k] = 0.0 if out else BPS * (sign * mid - end["price"]) / mid
        row[f"{name}_price_why"][0, k] = int(Why.EXHAUSTED) if out else 0
        row[f"{name}_alone_bps"][0, k] = (
            0.0 if alone["exhausted_alone"] else BPS * (sign * mid - alone["price_alone"]) / mid
        )
        row[f"{name}_alone_why"][0, k] = int(Why.EXHAUSTED) if alone["exhausted_alone"] else 0
        row[f"{name}_sold"][0, k] = end["sold"]
        row[f"{name}_amplification"][0, k] = (shock + end["forced"]) / shock
        row[f"{name}_unsold"][0, k] = end["unsold"]
        row["undefined"] |= out or bool(alone["exhausted_alone"])


def layout(config: EngineConfig) -> Layout:
    """Give the CASCADE row's layout for a number of moves and shocks."""
    return Layout(FIELDS, {"drops": len(config.cascade.drops), "shocks": len(config.cascade.shocks)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a CASCADE row was measured from: what its risk is to be asked of."""

    mid: Mid
    sides: tuple[Ladder, Ladder]
    maps: Maps


def measure_book(config: EngineConfig, book: Book, unit: Rows, maps: Maps, refill: Refill, row: Rows) -> Seen:
    """Fill one CASCADE row from one instrument's own book, but for its risk and holders."""
    mid, found = mid_of(book, unit), []
    for name, sign, levels in zip(("fall", "squeeze"), (FALL, SQUEEZE), within(config, book), strict=True):
        side, rate = refilled(ladder(levels, unit, sign), mid, sign, 1.0, unit, refill)
        row[f"{name}_refill"] = rate
        found.append(side)
    sides = found[0], found[1]
    measure(config, mid, sides, tell_maps(maps, [mid[0] / mid[1]], row), row)
    return Seen(mid=mid, sides=sides, maps=maps)


def tell_risk(config: EngineConfig, seen: Seen, tail: tuple[Rows, Rows], memory: Rows, now: int, row: Rows) -> None:
    """Fill the risk of a CASCADE row: the one in memory, or computed anew where that is old. `tail` as in `compute`."""
    if due(memory, config.cascade, now):
        memory[:] = compute(config, seen.mid, seen.sides, seen.maps, tail, now)
    tell(memory, row)


def within(config: EngineConfig, book: Book) -> tuple[Rows, Rows]:
    """Give the levels that a CASCADE row looks at: bids, asks."""
    return book.within(config.cascade.drops[-1] + BEYOND)


def tell_maps(maps: Maps, mids: Sequence[float], row: Rows) -> tuple[Triggers, Triggers]:
    """Fill what a CASCADE row says of the map, and give the triggers of falls and of squeezes."""
    triggers = forced(maps, FALL), forced(maps, SQUEEZE)
    row["exposures"] = maps.standing
    row["map_source"] = source_of(maps, triggers)
    row["map_coverage"] = coverage_of(maps, mids)
    return triggers


@kernel
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
    bps = config.cascade.drops[-1] + BEYOND
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
