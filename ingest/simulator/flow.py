"""The order flow of a simulated market: candidates that nothing in the market decides, accepted by what it looks like.

Queue-reactive limit orders and cancellations (Huang, Lehalle, Rosenbaum 2015): at distance i of the reference price, of
a queue of q orders, limit_i / (1 + shy q) and cancel_i min(q, crowd). Market orders: market exp(-fade q) with q at the
touch, times an exponential Hawkes factor of known branching. With shy = fade = 0 and distances from the opposite best
price that is the model of Cont, Stoikov and Talreja (2010).

All of it by thinning (Lewis and Shedler 1979) with bounds that never change: the candidates, their times and the
numbers that accept them are the same in every branch of a market, which differ in what is accepted alone.
"""

import math
from typing import Final

from engine.kernel import kernel
from engine.schema import Rows
from ingest.simulator.draws import Stream, draw, normal, unit, waiting
from ingest.simulator.matching import change, touch, trade
from ingest.simulator.world import ASK, BID, LEVELS, PRICES, STREAMS

_FLOW: Final = int(Stream.FLOW)
_MARKET: Final = int(Stream.MARKET)
_STALE: Final = int(Stream.STALE)
_FUNDAMENTAL: Final = int(Stream.FUNDAMENTAL)
_ACTIVITY: Final = int(Stream.ACTIVITY)
#: How far behind the touch the flow's left-over orders are looked for, and what share is cancelled in a grid step.
_BEHIND: Final = 4_000
_LEAVING: Final = 0.02
#: A queue of so many lots is no left-over: somebody waits for that price.
_PATIENT: Final = 2_500


@kernel
def next_draw(state: Rows, stream: int) -> tuple[int, int]:
    """Take a stream's next two integers of 32 bits."""
    row = state[0]
    row["drawn"][stream] += 1
    return draw(row["seed"], stream, row["drawn"][stream])


@kernel
def schedule(state: Rows, parameters: Rows) -> None:
    """Draw the times of the first candidates."""
    row, given = state[0], parameters[0]
    first, second = draw(row["seed"], STREAMS, 0)
    row["next_flow"] = row["time"] + int(
        1e9 * waiting(first, max(2.0 * given["busiest"] * given["chosen"][2 * LEVELS - 1], 1e-9))
    )
    row["next_market"] = row["time"] + int(1e9 * waiting(second, max(given["market_bound"], 1e-9)))


@kernel
def place_of(state: Rows, parameters: Rows, side: int, distance: int, luck: int) -> int:
    """Give the price at a distance of 1 or more on a side; 0 where there is none."""
    row = state[0]
    bid, ask = row["bid"], row["ask"]
    if parameters[0]["opposite"]:
        price = ask - distance if side > 0 else bid + distance
    else:
        if bid <= 0 and ask >= PRICES:
            twice = 2 * row["last"] + 1
        elif bid <= 0:
            twice = 2 * ask - 1
        elif ask >= PRICES:
            twice = 2 * bid + 1
        else:
            twice = bid + ask
            # A mid on the grid is no reference: either of its neighbours is.
            if twice & 1 == 0:
                twice += 1 if luck & 1 else -1
        price = (twice - 1) // 2 + 1 - distance if side > 0 else (twice + 1) // 2 - 1 + distance
    return price if 0 < price < PRICES - 1 else 0


@kernel
def passive(state: Rows, parameters: Rows, limits: float, events: Rows) -> None:
    """Take the flow's next candidate: a limit order or a cancellation, and draw the time of the one after."""
    row, given = state[0], parameters[0]
    first, second = next_draw(state, _FLOW)
    third, fourth = next_draw(state, _FLOW)
    chosen = given["chosen"]
    total = chosen[2 * LEVELS - 1]
    row["next_flow"] += 1 + int(1e9 * waiting(first, 2.0 * given["busiest"] * total))
    # Both accept by the activity first.
    accept = unit(third) * given["busiest"] / row["activity"]
    if accept >= 1.0:
        return
    side = BID if fourth & 1 else ASK
    at = unit(second) * total
    low, high = 0, 2 * LEVELS - 1
    while low < high:
        middle = (low + high) >> 1
        if chosen[middle] > at:
            high = middle
        else:
            low = middle + 1
    cancels = low >= LEVELS
    price = place_of(state, parameters, side, low + 1 - (LEVELS if cancels else 0), fourth >> 1)
    if price == 0:
        return
    flow, order = row["flow"], given["order"]
    orders = (flow[price] + order - 1) // order
    size = order + ((fourth >> 2) % (given["spread"] + 1))
    if cancels:
        mine = price <= row["bid"] if side > 0 else price >= row["ask"]
        if mine and flow[price] > 0 and accept * given["crowd"] < orders:
            size = min(size, flow[price])
            flow[price] -= size
            change(state, side, price, -size)
            touch(state, events)
        return
    free = price < row["ask"] if side > 0 else price > row["bid"]
    if free and accept < limits / (1.0 + given["shy"] * orders):
        flow[price] += size
        change(state, side, price, size)
        touch(state, events)


@kernel
def excitation_of(state: Rows, parameters: Rows) -> float:
    """Let the excitation fade to now, and return it, 1/s, both sides."""
    row, given = state[0], parameters[0]
    passed = (row["time"] - row["excited"]) * 1e-9
    row["excitation"] *= math.exp(-given["decay"] * passed)
    row["excited"] = row["time"]
    return float(row["excitation"])


@kernel
def aggressive(state: Rows, parameters: Rows, branching: float, events: Rows) -> None:
    """Take the next candidate of a market order, and draw the time of the one after."""
    row, given = state[0], parameters[0]
    first, second = next_draw(state, _MARKET)
    third, fourth = next_draw(state, _MARKET)
    row["next_market"] += 1 + int(1e9 * waiting(first, given["market_bound"]))
    excitation = excitation_of(state, parameters)
    share = 0.5
    if given["lean"] > 0.0:
        share += min(max((row["fundamental"] - row["mid"]) / given["lean"] * 0.5, -0.45), 0.45)
    side = BID if unit(second) < share else ASK
    best = row["ask"] if side > 0 else row["bid"]
    if best <= 0 or best >= PRICES:
        return
    queue = row["size"][best] / given["order"]
    rate = given["market"] * row["activity"] * math.exp(-given["fade"] * queue) + excitation
    row["capped"] += rate > given["market_bound"]
    if unit(third) * given["market_bound"] >= rate:
        return
    row["orders"] += 1
    row["excitation"] += branching * given["decay"]
    scale = given["market_size"]
    size = min(int(scale * unit(fourth) ** (-1.0 / given["market_tail"])), given["market_most"]) if scale > 0.0 else 1
    trade(state, given["makers"], side, size, PRICES if side > 0 else 0, events)


@kernel
def breathe(state: Rows, parameters: Rows, share: float, seconds: float) -> None:
    """Let the activity go on, and how thick either side is next to the touch: logs of both return to their mean.

    Each is an Ornstein-Uhlenbeck process that nothing else moves, the same in every branch; the mean activity is 1.
    """
    row, given = state[0], parameters[0]
    first, second = next_draw(state, _ACTIVITY)
    third, fourth = next_draw(state, _ACTIVITY)
    _, fifth = next_draw(state, _ACTIVITY)
    if given["activity"] > 0.0:
        spread = share * given["activity"]
        kept = math.exp(-seconds / given["activity_life"])
        row["unrest"] = kept * row["unrest"] + math.sqrt(1.0 - kept * kept) * normal(first, second)
        row["activity"] = min(math.exp(spread * row["unrest"] - 0.5 * spread * spread), given["busiest"])
    if given["lush"] > 0.0:
        kept = math.exp(-seconds / given["lush_life"])
        moved = math.sqrt(1.0 - kept * kept)
        row["lushness"][0] = kept * row["lushness"][0] + moved * normal(third, fourth)
        row["lushness"][1] = kept * row["lushness"][1] + moved * normal(fourth, fifth)


@kernel
def wander(state: Rows, parameters: Rows, volatility: float, pull: float, seconds: float) -> None:
    """Let the fundamental walk, the farther the more is going on, pulled by the mid."""
    row = state[0]
    first, second = next_draw(state, _FUNDAMENTAL)
    step = volatility * math.sqrt(seconds * row["activity"]) * normal(first, second)
    step += pull * parameters[0]["pull"] * seconds * (row["mid"] - row["fundamental"])
    row["fundamental"] = min(max(row["fundamental"] + step, 2.0), PRICES - 3.0)


@kernel
def leave(state: Rows) -> None:
    """Cancel some of the orders that the flow has left where it arrives no more."""
    row = state[0]
    flow = row["flow"]
    first, _ = next_draw(state, _STALE)
    salt = 0
    for side in (BID, ASK):
        best = row["bid"] if side > 0 else row["ask"]
        if best <= 0 or best >= PRICES:
            continue
        for behind in range(LEVELS + 16, _BEHIND):
            price = best - side * behind
            if price <= 0 or price >= PRICES:
                break
            if 0 < flow[price] < _PATIENT:
                salt += 1
                luck, _ = draw(row["seed"] ^ first, _STALE, salt)
                if unit(luck) < _LEAVING:
                    change(state, side, price, -flow[price])
                    flow[price] = 0
