"""What would have been: a market in, the same without liquidations, without withdrawal, or after another sale out.

A branch is a copy that goes on with the same draws, so branches differ by what was changed and nothing else. A future
is a copy that goes on with draws of its own: many of them are a nested Monte Carlo, and say how likely a fall is from
here. What a market remembers (who waits for its return, what is sold later) is part of where it stands; the times of
the next candidates are not, for their waits are exponential, so a future draws them anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadConfig
from engine.kernel import kernel
from engine.schema import Rows
from ingest.simulator.advance import RESERVE, ROOM, Overflow, advance, run
from ingest.simulator.draws import draw
from ingest.simulator.flow import schedule
from ingest.simulator.margin import fall
from ingest.simulator.matching import trade
from ingest.simulator.world import EVENT, STREAMS, World

Ints = NDArray[np.int64]
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


def futures(world: World, until: int, count: int, seed: int) -> Ints:
    """Give the lowest price, ticks, at which each of so many futures trades from now (its last price) to `until`, ns.

    The same market and seed give the same prices; the market itself is left as it is. Raises BadConfig for a count
    below 1, a time before the market's own or a seed beyond 32 bits, Overflow where one step made too many events.
    """
    if count < 1:
        raise BadConfig(f"count is {count}, allowed are whole numbers from 1")
    if until < int(world.state[0]["time"]):
        raise BadConfig(f"until is {until}, allowed are times from {int(world.state[0]['time'])}, the market's own")
    if not 0 <= seed < 1 << 32:
        raise BadConfig(f"seed is {seed}, allowed are 0 to {(1 << 32) - 1}")
    seeds = np.array([draw(seed, STREAMS + 1, number)[0] for number in range(count)], np.int64)
    copy, lows = world.clone(), np.zeros(count, np.int64)
    # Most of it stays untouched, and costs nothing.
    events = np.empty(ROOM, EVENT)
    fixed = copy.parameters, copy.plan
    lost = follow(world.state, world.accounts, *fixed, seeds, until, RESERVE, copy.state, copy.accounts, events, lows)
    if lost:
        raise Overflow(f"{lost} events found no room among {ROOM}, allowed are {RESERVE} a step")
    return lows


def chance(lows: Ints, level: int) -> tuple[float, float]:
    """Give the share of futures that traded below a level, ticks, and the standard error of that share."""
    share = float(np.mean(lows < level))
    return share, float(np.sqrt(share * (1.0 - share) / len(lows)))


@kernel
def follow(
    origin: Rows,
    held: Rows,
    parameters: Rows,
    plan: Rows,
    seeds: Ints,
    until: int,
    reserve: int,
    state: Rows,
    accounts: Rows,
    events: Rows,
    lows: Ints,
) -> int:
    """Let a market go on to `until` once per seed, in `state` and `accounts`; return how many events found no room."""
    lost = 0
    row = state[0]
    for k in range(len(seeds)):
        state[0] = origin[0]
        for i in range(len(held)):
            accounts[i] = held[i]
        row["seed"] = seeds[k]
        row["low"] = row["high"] = row["last"]
        # A market that has not opened yet does so at its first step.
        if row["next_flow"] >= 0:
            schedule(state, parameters)
        done = 0
        while done == 0:
            done = advance(state, parameters, plan, accounts, until, reserve, events)
            lost += events[0]["size"]
        lows[k] = row["low"]
    return lost


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
