"""Cascade: a book and the triggers behind it in, one CASCADE row out: how large a sale it withstands, and to where.

A *fall* walks the bids, a *squeeze* the asks; each is asked for the critical shock of every configured move, and for
the end of every configured sale or purchase (`engine.cascade` has the model). What is forced is known by the map only:
`map_source` and `map_coverage` say how much of it that is, and no number here is worth more than they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from engine.book import Book
from engine.cascade import (
    END,
    NO_FLOOR,
    Floats,
    branching,
    curve,
    free_fall,
    lay,
    seen_by_mark,
    sweep,
    sweep_floored,
)
from engine.config import EngineConfig
from engine.fields import Field, Layout, Signal, Why
from engine.kernel import kernel
from engine.money import QUANTO
from engine.schema import Rows
from engine.tail import exceedance
from engine.topics import SIGNAL_CASCADE

#: Where triggers come from, as `map_source` says it.
SOURCES: Final = ("none", "estimated", "measured", "both")
FALL: Final = 1.0
SQUEEZE: Final = -1.0
BPS: Final = 10_000.0
#: Levels so far beyond the widest move are looked at too, bps: they tell a book that ends from one that goes on.
BEYOND: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Triggers:
    """Forced trades of one direction in the order in which they are hit; prices x +1 (falls) or -1 (squeezes)."""

    #: Float64 arrays of one length: trigger price, base units, bankruptcy price.
    marks: Floats
    amounts: Floats
    floors: Floats


NOTHING: Final = Triggers(marks=np.zeros(0), amounts=np.zeros(0), floors=np.zeros(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """One side of a book, or of several, as the model walks it: prices x +1 or -1, base units; both descending."""

    prices: Floats
    sizes: Floats


def ladder(levels: Rows, unit: Rows, factor: float) -> Ladder:
    """Lay LEVEL rows, best first, into a ladder; `factor` is +1 for bids, -1 for asks, times the basis alignment."""
    prices, sizes = np.zeros(len(levels)), np.zeros(len(levels))
    lay(levels, unit, factor, prices, sizes)
    return Ladder(prices=prices, sizes=sizes)


def exposed(config: EngineConfig, asset: str, sign: float) -> Triggers:
    """Give the known levered exposures of an asset that one direction forces, nearest trigger first."""
    side = "long" if sign == FALL else "short"
    found = [e for e in config.knowledge.exposures if e.asset == asset and e.side == side and e.trigger is not None]
    found.sort(key=lambda e: -sign * (e.trigger or 0.0))
    marks = np.array([sign * (e.trigger or 0.0) for e in found], np.float64)
    amounts = np.array([e.quantity for e in found], np.float64)
    return Triggers(marks=marks, amounts=amounts, floors=np.full(len(found), NO_FLOOR))


def joined(one: Triggers, two: Triggers) -> Triggers:
    """Join two lists of triggers, nearest first; at one price the first list comes first."""
    marks = np.concatenate((one.marks, two.marks))
    order = np.argsort(-marks, kind="stable")
    amounts, floors = np.concatenate((one.amounts, two.amounts)), np.concatenate((one.floors, two.floors))
    return Triggers(marks=marks[order], amounts=amounts[order], floors=floors[order])


def edges(drops: Sequence[int], mid: tuple[int, int], sign: float) -> Floats:
    """Give the price of each move x +1 or -1: the float nearest to it, so that a level on the very edge is inside."""
    over, under = mid
    way = round(sign)
    return np.array([way * over * (10_000 - way * drop) / (under * 10_000) for drop in drops], np.float64)


def measure(
    config: EngineConfig,
    mid: tuple[int, int],
    sides: tuple[Ladder, Ladder],
    triggers: tuple[Triggers, Triggers],
    row: Rows,
) -> None:
    """Fill one CASCADE row from bids and asks, and the triggers of falls and squeezes.

    The mid, above 0, comes as a fraction of whole numbers, price units: (numerator, denominator).
    """
    asked, price = config.cascade, mid[0] / mid[1]
    row["undefined"] = 0
    row["drops"], row["shocks"] = asked.drops, asked.shocks
    row["withdrawal_shock"], row["pass_through"] = asked.withdrawal, asked.pass_through
    for name, sign, side, forced in zip(("fall", "squeeze"), (FALL, SQUEEZE), sides, triggers, strict=True):
        held = Triggers(marks=np.zeros(len(forced.marks)), amounts=forced.amounts, floors=forced.floors)
        seen_by_mark(forced.marks, sign * price, asked.pass_through, held.marks)
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
    row["undefined"] |= levels == 0 or bool((found[0] <= 0).any())


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
    return Layout(SIGNAL.fields, {"drops": len(config.cascade.drops), "shocks": len(config.cascade.shocks)})


def answers(book: Book | None, unit: Rows) -> bool:
    """Say whether the model can be asked: there is a mid, and sizes are base units, as a quanto contract's are not."""
    return book is not None and book.best[1] > 0 and book.best[3] > 0 and bool(unit["contract"][0] != QUANTO)


def measure_book(
    config: EngineConfig, asset: str, book: Book, unit: Rows, triggers: tuple[Triggers, Triggers], row: Rows
) -> None:
    """Fill one CASCADE row from one instrument's own book; `triggers` are those of its estimated map."""
    bids, asks = book.within(config.cascade.drops[-1] + BEYOND)
    bid, _, ask, _ = book.best
    mid = bid + ask, 2 * round(float(unit["price"][0]))
    known = exposed(config, asset, FALL), exposed(config, asset, SQUEEZE)
    forced = joined(triggers[0], known[0]), joined(triggers[1], known[1])
    measure(config, mid, (ladder(bids, unit, FALL), ladder(asks, unit, SQUEEZE)), forced, row)
    row["exposures"] = len(known[0].marks) + len(known[1].marks)
    estimated = len(triggers[0].marks) + len(triggers[1].marks) > 0
    row["map_source"] = int(estimated) + 2 * int(row["exposures"][0] > 0)


@kernel
def add_draw(
    prices: Floats,
    sizes: Floats,
    marks: Floats,
    amounts: Floats,
    bounds: Floats,
    fit: Rows,
    sample: Floats,
    found: Floats,
    sums: Floats,
) -> None:
    """Add P(Q > Qc) of each bound to `sums`, Qc under one draw of the triggers; `found` is scratch of `curve`."""
    curve(prices, sizes, marks, amounts, 0.0, bounds, found)
    for k in range(len(bounds)):
        sums[k] += exceedance(fit, sample, found[2, k])


def risk(
    config: EngineConfig,
    mid: tuple[int, int],
    sign: float,
    side: Ladder,
    draws: Iterable[Triggers],
    tail: tuple[Rows, Floats],
) -> Floats:
    """Give CR(d, h) of each move: the mean over draws of the triggers of P(Q_h > Qc(d)).

    `tail` is a FIT row without a `why`, and its sample (`engine.tail`): of net sales for falls, of net purchases for
    squeezes. Where the book ends before the move, Qc is a lower bound and this an upper one.
    """
    bounds = edges(config.cascade.drops, mid, sign)
    sums, found, drawn = np.zeros(len(bounds)), np.zeros((5, len(bounds))), 0
    for forced in draws:
        seen = np.zeros(len(forced.marks))
        seen_by_mark(forced.marks, sign * mid[0] / mid[1], config.cascade.pass_through, seen)
        add_draw(side.prices, side.sizes, seen, forced.amounts, bounds, *tail, found, sums)
        drawn += 1
    assert drawn > 0
    return sums / drawn


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


def moved(before: Rows, after: Rows, step: float) -> bool:
    """Say whether a critical shock of one CASCADE row has changed in another by more than a share of what it was."""
    return any(
        bool((np.abs(after[name] - before[name]) > step * before[name]).any())
        for name in ("fall_critical", "squeeze_critical")
    )


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
        Field(f"{name}_free_bps", "number", "bps", "Longest stretch in which a further move costs nothing."),
        Field(f"{name}_free_from", "number", PRICE, "Where that stretch begins.", why=free),
    )


SIGNAL: Final = Signal(
    name="cascade",
    topic=SIGNAL_CASCADE,
    meaning="How large a sale or purchase one book withstands before liquidations feed it, and where such a one ends.",
    needs_book=True,
    fields=(
        Field("mid", "number", PRICE, "(bid + ask) / 2: where every move begins."),
        Field("drops", "integer", "bps", "Moves away from the mid, ascending.", over="drops"),
        Field("shocks", "integer", QUOTE, "Sales and purchases, ascending.", over="shocks"),
        Field("withdrawal_shock", "integer", QUOTE, "The shock that eta_c speaks of."),
        *_fields("fall", "fall", "sale"),
        *_fields("squeeze", "rise", "purchase"),
        Field("map_source", "string", "", "Where triggers come from.", values=SOURCES),
        Field(
            "map_coverage", "number", "0 to 1", "Share of open interest in the estimated map; 0 where there is none."
        ),
        Field("exposures", "integer", "exposures", "Known levered exposures of the asset among the triggers."),
        Field("pass_through", "number", "0 to 1", "Share of a move that the mark price is assumed to pass on."),
    ),
)
