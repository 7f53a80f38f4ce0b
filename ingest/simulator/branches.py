"""What would have been: a market in, the same without liquidations, without withdrawal, or after another sale out.

A branch is a copy that goes on with the same draws, so branches differ by what was changed and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.schema import Rows
from ingest.simulator.advance import run
from ingest.simulator.margin import fall
from ingest.simulator.matching import trade
from ingest.simulator.world import EVENT, World

#: Rows for the trades of one sale into a book as it stands.
_ROOM: Final = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Where a branch ended. Prices in ticks, sizes in lots."""

    last: int
    low: int
    high: int
    forced: int
    insured: int
    deleveraged: int


def outcome(state: Rows) -> Outcome:
    """Read a market's outcome off its state."""
    row = state[0]
    return Outcome(**{name: int(row[name]) for name in ("last", "low", "high", "forced", "insured", "deleveraged")})


def branch(
    world: World,
    until: int,
    *,
    sale: int = 0,
    margin: bool | None = None,
    withdraws: bool | None = None,
    shocks: bool = True,
) -> World:
    """Let a copy go on to a time, ns, after a sale of so many lots at once (below 0: a purchase).

    `margin` and `withdraws` switch liquidations and the makers' withdrawal; without `shocks` the plan's jumps and
    outside sales do not happen.
    """
    copy = world.clone()
    given, row = copy.parameters[0], copy.state[0]
    given["margin"] = given["margin"] if margin is None else margin
    given["withdraws"] = given["withdraws"] if withdraws is None else withdraws
    if not shocks:
        copy.plan["jump"] = 0.0
        copy.plan["sells"] = 0.0
    row["low"] = row["high"] = row["last"]
    if sale:
        side = -1 if sale > 0 else 1
        limit = 0 if side < 0 else len(row["size"])
        trade(copy.state, given["makers"], side, abs(sale), limit, _buffer())
    run(copy, until)
    return copy


def amplification(world: World, until: int, sale: int) -> tuple[Outcome, Outcome]:
    """Give what a sale does with and without liquidations; the lows' difference is the true amplification."""
    ends = [outcome(branch(world, until, sale=sale, margin=margin).state) for margin in (True, False)]
    return ends[0], ends[1]


def critical_sale(world: World, until: int, level: int, most: int) -> int:
    """Give the largest sale, lots, after which no trade is below `level` by `until`; `most` if that is not enough.

    By bisection: with the same draws a larger sale mostly, in a moving market not always, falls lower.
    """

    def falls(sale: int) -> bool:
        return int(branch(world, until, sale=sale).state[0]["low"]) < level

    return bisect(falls, most)


def frozen(world: World, *, floored: bool) -> World:
    """Copy a market for sales into its book as it stands: triggers look at the last price, nothing is sold in parts."""
    copy = world.clone()
    given, row = copy.parameters[0], copy.state[0]
    given["by_last"], given["floored"], given["large"] = 1, floored, 1 << 62
    row["fund"] = 0
    row["forced"] = row["insured"] = row["deleveraged"] = row["shocked"] = 0
    # What waits for its second part fires no more by its trigger; a frozen market has no later.
    row["coolings"] = 0
    return copy


def sell_frozen(world: World, shock: int, *, floored: bool = False) -> tuple[Outcome, int, int]:
    """Sell into the book as it stands; return where it ends, lots sold of the shock itself, and how many fired."""
    copy = frozen(world, floored=floored)
    row = copy.state[0]
    row["last"] = row["low"] = row["high"] = row["bid"] + 1
    fired = fall(copy.state, copy.parameters, copy.accounts, shock, _buffer())
    return outcome(copy.state), int(row["shocked"]), fired


def critical_frozen(world: World, level: int, most: int) -> int:
    """Give the largest sale into the book as it stands after which nothing trades below `level`, by bisection."""
    return bisect(lambda sale: sell_frozen(world, sale)[0].low < level, most)


def bisect(falls: Callable[[int], bool], most: int) -> int:
    """Give the largest sale up to `most` that does not make it fall."""
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        if falls(middle):
            high = middle
        else:
            low = middle
    return low


def _buffer() -> Rows:
    events = np.empty(_ROOM, EVENT)
    events[0] = 0
    return events
