"""What a simulated market is: one flat row of state, one of parameters, a table of accounts; a copy of them is a clone.

Prices are ticks, sizes lots, money ticks x lots, time ns. The book is one array over all prices: bids up to the best
bid, asks from the best ask on. Of what rests at a price, `flow` came by the queue-reactive flow and `quoted` belongs to
the makers, one line each.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from engine.schema import Rows

#: Prices 0 (none) to 32,767.
PRICES: Final = 1 << 15
#: Levels of a side that the flow fills, counted from the reference price.
LEVELS: Final = 64
MAKERS: Final = 8
#: Quotes of a maker on a side.
RUNGS: Final = 240
STREAMS: Final = 10
#: Makers, margin and frames move on this grid, ns.
GRID: Final = 100_000_000
SECOND: Final = 1_000_000_000
#: Large positions that are liquidated in two parts wait here.
COOLING: Final = 4096
BID: Final = 1
ASK: Final = -1

STATE: Final = np.dtype(
    [
        ("time", "<i8"),
        ("seed", "<i8"),
        ("drawn", "<i8", (STREAMS,)),
        ("next_flow", "<i8"),
        ("next_market", "<i8"),
        ("next_grid", "<i8"),
        #: Row of the plan that is in force.
        ("stage", "<i8"),
        #: Best prices, 0 and PRICES where a side is empty; the last traded one; the lowest and highest since asked.
        ("bid", "<i8"),
        ("ask", "<i8"),
        ("last", "<i8"),
        ("low", "<i8"),
        ("high", "<i8"),
        ("size", "<i8", (PRICES,)),
        ("flow", "<i8", (PRICES,)),
        ("quoted", "<i4", (MAKERS, PRICES)),
        #: Mean size of one of the flow's orders, lots.
        ("resting", "<i8"),
        #: Prices that have changed since the last frame, each once.
        ("dirty", "u1", (PRICES,)),
        ("changed", "<i4", (PRICES,)),
        ("changes", "<i8"),
        #: The side that a price was on in the last frame, 0: none.
        ("sided", "i1", (PRICES,)),
        #: The touch last told.
        ("told", "<i8", (4,)),
        ("update", "<i8"),
        #: Update id of the last frame.
        ("framed", "<i8"),
        ("trade", "<i8"),
        #: Excited part of the market orders' intensity, 1/s, as of `excited`.
        ("excitation", "<f8"),
        ("excited", "<i8"),
        #: Accepted market orders, and candidates whose intensity exceeded the bound.
        ("orders", "<i8"),
        ("capped", "<i8"),
        #: Logs of the flow's activity, and of how thick bids and asks are next to the touch, standard deviations;
        #: the activity itself, a share of the usual rates.
        ("unrest", "<f8"),
        ("lushness", "<f8", (2,)),
        ("activity", "<f8"),
        #: The fundamental price, ticks; mean of the squared move of the mid in a grid step; the mid at the last one.
        ("fundamental", "<f8"),
        ("variance", "<f8"),
        ("mid", "<f8"),
        ("average", "<f8"),
        ("mark", "<i8"),
        ("rung_price", "<i4", (MAKERS, 2, RUNGS)),
        ("rung_size", "<i4", (MAKERS, 2, RUNGS)),
        #: What a quote was multiplied with by chance.
        ("rung_luck", "<f4", (MAKERS, 2, RUNGS)),
        ("active", "u1", (MAKERS,)),
        ("hedge_lost", "u1", (MAKERS,)),
        ("inventory", "<i8", (MAKERS,)),
        ("cash", "<i8", (MAKERS,)),
        #: Highest equity since the maker is in; when one that is out comes back.
        ("peak", "<i8", (MAKERS,)),
        ("returns", "<i8", (MAKERS,)),
        #: Accounts in order of their triggers: how many longs and shorts there are, how many were met.
        ("longs", "<i8"),
        ("shorts", "<i8"),
        ("next_long", "<i8"),
        ("next_short", "<i8"),
        ("cooling", "<i4", (COOLING,)),
        ("coolings", "<i8"),
        #: What the insurance fund holds; open interest; forced sales, what went to the fund, what to the queue: lots.
        ("fund", "<i8"),
        ("interest", "<i8"),
        ("forced", "<i8"),
        ("insured", "<i8"),
        ("deleveraged", "<i8"),
        #: What the shock has sold so far, lots.
        ("shocked", "<i8"),
        #: Where a spoofer's bid rests, 0: nowhere; its size.
        ("spoof", "<i8"),
        ("spoof_size", "<i8"),
    ],
    align=True,
)

PARAMETERS: Final = np.dtype(
    [
        #: Arrivals of limit orders and cancellations per order, 1/s, at distance 1.. of the reference.
        ("limit", "<f8", (LEVELS,)),
        ("cancel", "<f8", (LEVELS,)),
        #: Standard deviation of the log of the activity, which all rates of the flow are multiplied with, its time
        #: scale, s, and the most that it can be.
        ("activity", "<f8"),
        ("activity_life", "<f8"),
        ("busiest", "<f8"),
        #: Their bounds, summed: limit, then cancel, of one side.
        ("chosen", "<f8", (2 * LEVELS,)),
        #: Orders of a queue beyond which its cancellations grow no more.
        ("crowd", "<f8"),
        #: Limit orders arrive at limit / (1 + shy q) and market orders at market x exp(-fade q), q in orders.
        ("shy", "<f8"),
        ("fade", "<f8"),
        #: 1: distances count from the opposite best price (Cont, Stoikov, Talreja), 0: from the reference price.
        ("opposite", "<i8"),
        #: Size of an order, lots, and how many lots more at most it may have.
        ("order", "<i8"),
        ("spread", "<i8"),
        #: Market orders of both sides, 1/s, without excitation; the bound of it with; its decay, 1/s.
        ("market", "<f8"),
        ("market_bound", "<f8"),
        ("decay", "<f8"),
        #: Sizes of market orders: the scale of a Pareto tail, lots, its exponent, the largest, lots.
        ("market_size", "<f8"),
        ("market_tail", "<f8"),
        ("market_most", "<i8"),
        #: Market orders lean to the fundamental: fully at this distance, ticks; 0: never.
        ("lean", "<f8"),
        #: The mid pulls the fundamental so strongly, 1/s.
        ("pull", "<f8"),
        ("makers", "<i8"),
        #: A maker's size at the touch, lots; how many times as much at the last rung.
        ("quote", "<f8"),
        ("growth", "<f8"),
        #: Standard deviation of the log of a quote's size, by chance; of that of the makers' sizes on a side next
        #: to the touch, its time scale, s, and the distance, ticks, by which it has faded to 1 / e.
        ("uneven", "<f8"),
        ("lush", "<f8"),
        ("lush_life", "<f8"),
        ("lush_reach", "<f8"),
        ("rungs", "<i8"),
        ("offset", "<i4", (RUNGS,)),
        ("inventory_limit", "<i8"),
        #: Ticks by which a full inventory moves a maker's price.
        ("skew", "<f8"),
        #: Withdrawal: whether at all; volatility of 1 s, ticks; loss from the peak, money.
        ("withdraws", "<i8"),
        ("nerve", "<f8", (MAKERS,)),
        ("stop", "<i8", (MAKERS,)),
        #: Mean of the delay before a maker returns, s.
        ("delay", "<f8"),
        #: Whether there are margin accounts; whether triggers look at the last price instead of the mark.
        ("margin", "<i8"),
        ("by_last", "<i8"),
        ("floored", "<i8"),
        #: How far the mark may be from the index, share; half-life of its average, s.
        ("clamp", "<f8"),
        ("average_life", "<f8"),
        #: Notional, money, above which a fifth is sold first; the wait before the rest, ns.
        ("large", "<i8"),
        ("cooldown", "<i8"),
        #: Lots that the insurance fund takes over at most.
        ("fund_holds", "<i8"),
        #: Outside orders trade no farther than this from the fundamental, share.
        ("reach", "<f8"),
        #: The named position of this account sells by itself, the more the nearer its trigger: 1/s, and within (share).
        ("named", "<i8"),
        ("named_rate", "<f8"),
        ("named_near", "<f8"),
    ],
    align=True,
)

#: The plan: what holds from a time on.
STAGE: Final = np.dtype(
    [
        #: ns from the market's begin.
        ("time", "<i8"),
        #: Mean offspring of a market order.
        ("branching", "<f8"),
        #: Share of the flow's limit orders that arrive, and of the size that makers quote, bids and asks.
        ("limits", "<f8"),
        ("bids", "<f8"),
        ("asks", "<f8"),
        #: Jump of the fundamental at this moment, share of it; its volatility, ticks per root second.
        ("jump", "<f8"),
        ("volatility", "<f8"),
        #: Share of the usual pull of the mid on the fundamental.
        ("pull", "<f8"),
        #: Share of the usual deviation of what comes by chance: the activity's log, the makers' sizes near the touch.
        ("variety", "<f8"),
        #: Sales (below 0: purchases) from outside, lots/s.
        ("sells", "<f8"),
        #: What arbitrage moves per grid step at most, lots.
        ("arbitrage", "<i8"),
        #: What arbitrage with the market that this one is bound to moves per grid step at most, lots.
        ("link", "<i8"),
        #: Share of the usual rate at which makers return; 0: nobody does.
        ("returns", "<f8"),
        #: Size of a spoofer's bid and its distance from the best bid, lots and ticks.
        ("spoof", "<i8"),
        ("spoof_distance", "<i8"),
    ],
    align=True,
)

ACCOUNT: Final = np.dtype(
    [
        #: 1 long, -1 short.
        ("side", "<i8"),
        ("size", "<i8"),
        ("entry", "<i8"),
        #: Liquidated where the mark is at or beyond the trigger; sold down to the floor, the bankruptcy price.
        ("trigger", "<i8"),
        ("floor", "<i8"),
        ("leverage", "<f8"),
        ("cross", "<i8"),
        #: The maker whose hedge this is, -1.
        ("maker", "<i8"),
        ("named", "<i8"),
        #: When the rest of a large position is sold, ns; 0: it is not waiting.
        ("due", "<i8"),
    ],
    align=True,
)

EVENT: Final = np.dtype(
    [
        ("time", "<i8"),
        ("kind", "<i8"),
        ("id", "<i8"),
        ("side", "<i8"),
        ("price", "<i8"),
        ("size", "<i8"),
        #: Of a touch: the ask. Of a liquidation: filled size and money. Of others: see `events`.
        ("other", "<i8"),
        ("another", "<i8"),
    ],
    align=True,
)


@dataclass(slots=True)
class World:
    """One market. `accounts` are sorted: longs by falling trigger, then shorts by rising trigger."""

    state: Rows
    parameters: Rows
    plan: Rows
    accounts: Rows

    def clone(self) -> Self:
        """Copy the market; both go on alike until their parameters or plans differ."""
        return type(self)(self.state.copy(), self.parameters.copy(), self.plan.copy(), self.accounts.copy())


def plan(*stages: dict[str, float]) -> Rows:
    """Make a plan; a stage keeps what it does not name from the one before, but jumps once."""
    rows = np.zeros(len(stages), STAGE)
    held = {"limits": 1.0, "bids": 1.0, "asks": 1.0, "pull": 1.0, "variety": 1.0, "returns": 1.0}
    for row, stage in zip(rows, stages, strict=True):
        held |= stage
        for name, value in held.items():
            row[name] = value
        held["jump"] = 0.0
    return rows


def choose(parameters: Rows) -> None:
    """Sum the bounds of the flow's intensities, once they are set."""
    row = parameters[0]
    row["busiest"] = max(row["busiest"], 1.0)
    row["chosen"] = np.cumsum(np.concatenate((row["limit"], row["cancel"] * row["crowd"])))


def begin(parameters: Rows, stages: Rows, accounts: Rows, seed: int, start: int, price: int) -> World:
    """Open a market with an empty book at a price."""
    state = np.zeros(1, STATE)
    row = state[0]
    row["time"] = start
    row["seed"] = seed
    row["next_flow"] = row["next_market"] = -1
    row["next_grid"] = start
    row["bid"], row["ask"] = 0, PRICES
    row["last"] = row["low"] = row["high"] = row["mark"] = price
    row["fundamental"] = row["mid"] = row["average"] = price
    row["activity"] = 1.0
    row["resting"] = parameters[0]["order"] + parameters[0]["spread"] // 2
    row["update"] = row["framed"] = 10_000_000
    row["trade"] = 1_000_000
    row["active"][: parameters[0]["makers"]] = 1
    row["longs"] = int((accounts["side"] > 0).sum())
    row["shorts"] = len(accounts) - row["longs"]
    row["next_short"] = row["longs"]
    row["interest"] = int(accounts["size"][: row["longs"]].sum())
    stages = stages.copy()
    stages["time"] += start
    return World(state, parameters, stages, accounts)
