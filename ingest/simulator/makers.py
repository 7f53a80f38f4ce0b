"""The makers of a simulated market: ladders on both sides, an inventory limit, a rule of withdrawal, a late return.

A maker leaves with all its quotes when the volatility of a second exceeds its nerve, when the leg that hedges it is
lost, or when it has lost more than its stop since its peak. It returns after an exponential delay, if by then the
volatility is half of its nerve or less; the share of makers that are in is the known eta of the market.
"""

import math
from typing import Final

from engine.kernel import kernel
from engine.schema import Rows
from ingest.simulator.draws import Stream, normal, unit, waiting
from ingest.simulator.flow import next_draw
from ingest.simulator.matching import Event, change, emit, touch
from ingest.simulator.world import ASK, BID, GRID, PRICES

_QUOTES: Final = int(Stream.QUOTES)
_RETURN: Final = int(Stream.RETURN)
_MAKER: Final = int(Event.MAKER)
#: Rungs next to the touch that are revisited at every step, others every so many steps.
_NEAR: Final = 12
_ROUND: Final = 10
#: Standard deviation of the log of a quote's size far behind the touch.
_UNEVEN: Final = 0.3
#: So many of them above the mean is the largest quote.
_LUCKIEST: Final = 3.0


@kernel
def observe(state: Rows) -> None:
    """Take the mid of this grid step into the mean of its squared moves, half-life 1 s."""
    row = state[0]
    before = row["mid"]
    if row["bid"] > 0 and row["ask"] < PRICES:
        row["mid"] = 0.5 * (row["bid"] + row["ask"])
    move = row["mid"] - before
    row["variance"] += (1.0 - 0.5**0.1) * (move * move - row["variance"])


@kernel
def volatility_of(state: Rows) -> float:
    """Give the volatility of one second, ticks."""
    return math.sqrt(state[0]["variance"] * (1_000_000_000 / GRID))


@kernel
def withdraw(state: Rows, parameters: Rows, maker: int, why: int, events: Rows) -> None:
    """Take all of a maker's quotes away."""
    row = state[0]
    for k in range(2):
        side = BID if k == 0 else ASK
        for rung in range(parameters[0]["rungs"]):
            unquote(state, maker, side, rung)
    row["active"][maker] = 0
    first, _ = next_draw(state, _RETURN)
    row["returns"][maker] = row["time"] + int(1e9 * waiting(first, 1.0 / parameters[0]["delay"]))
    emit(events, row["time"], _MAKER, maker, -1, row["mark"], why, 0, 0)


@kernel
def unquote(state: Rows, maker: int, side: int, rung: int) -> None:
    """Take one quote away, or what is left of it."""
    row = state[0]
    k = 0 if side > 0 else 1
    price = row["rung_price"][maker, k, rung]
    size = min(row["rung_size"][maker, k, rung], row["quoted"][maker, price])
    if size > 0 and (price <= row["bid"] if side > 0 else price >= row["ask"]):
        row["quoted"][maker, price] -= size
        change(state, side, price, -size)
    row["rung_size"][maker, k, rung] = 0


@kernel
def judge(state: Rows, parameters: Rows, returns: float, events: Rows) -> None:
    """Let makers leave and return."""
    row, given = state[0], parameters[0]
    volatility = volatility_of(state)
    for maker in range(given["makers"]):
        equity = row["cash"][maker] + row["inventory"][maker] * int(row["mid"])
        if row["active"][maker]:
            row["peak"][maker] = max(row["peak"][maker], equity)
            if not given["withdraws"]:
                continue
            if volatility > given["nerve"][maker]:
                withdraw(state, parameters, maker, 1, events)
            elif row["hedge_lost"][maker]:
                withdraw(state, parameters, maker, 2, events)
            elif row["peak"][maker] - equity > given["stop"][maker]:
                withdraw(state, parameters, maker, 3, events)
        elif row["time"] >= row["returns"][maker]:
            first, second = next_draw(state, _RETURN)
            if unit(second) < returns and 2.0 * volatility <= given["nerve"][maker]:
                row["active"][maker] = 1
                row["hedge_lost"][maker] = 0
                row["peak"][maker] = equity
                emit(events, row["time"], _MAKER, maker, 1, row["mark"], 0, 0, 0)
            else:
                row["returns"][maker] = row["time"] + int(1e9 * waiting(first, 1.0 / given["delay"]))


@kernel
def quote(state: Rows, parameters: Rows, bids: float, asks: float, variety: float, every: int, events: Rows) -> None:
    """Let each maker that is in revisit its quotes: those near the touch, and its share of the others."""
    row, given = state[0], parameters[0]
    step = (row["time"] // GRID) % _ROUND
    for maker in range(given["makers"]):
        if not row["active"][maker]:
            continue
        held = row["inventory"][maker] / given["inventory_limit"]
        fair = int(row["fundamental"] - given["skew"] * min(max(held, -1.0), 1.0) + 0.5)
        for k in range(2):
            side = BID if k == 0 else ASK
            share = bids if side > 0 else asks
            full = side * held >= 1.0
            for rung in range(given["rungs"]):
                near = rung < _NEAR
                if not every and not near and (rung + maker) % _ROUND != step:
                    continue
                offset = given["offset"][rung]
                price = fair - side * (offset + (0 if near else (maker & 1)))
                if not near:
                    # Behind, round prices hold the quotes: fewer levels, as on a venue.
                    space = 8 if offset < 1024 else 32
                    price = price // space * space
                edge = row["ask"] - 1 if side > 0 else row["bid"] + 1
                price = min(price, edge) if side > 0 else max(price, edge)
                usual = given["quote"] * share * (1.0 + given["growth"] * offset)
                first, second = next_draw(state, _QUOTES)
                uneven = _UNEVEN
                if offset < 3.0 * given["lush_reach"]:
                    fade = math.exp(-((offset / given["lush_reach"]) ** 2))
                    lush = variety * given["lush"] * fade
                    usual *= math.exp(lush * row["lushness"][k] - 0.5 * lush * lush)
                    uneven = max(uneven, variety * given["uneven"] * fade)
                luck = row["rung_luck"][maker, k, rung]
                shown = row["rung_size"][maker, k, rung]
                kept = row["rung_price"][maker, k, rung] == price and 0.5 * usual * luck <= shown <= 1.5 * usual * luck
                if kept and not full and row["quoted"][maker, price] >= shown:
                    continue
                unquote(state, maker, side, rung)
                luck = math.exp(uneven * min(normal(first, second), _LUCKIEST) - 0.5 * uneven * uneven)
                size = int(usual * luck)
                if full or price <= 0 or price >= PRICES - 1 or size <= 0:
                    continue
                row["quoted"][maker, price] += size
                row["rung_price"][maker, k, rung] = price
                row["rung_size"][maker, k, rung] = size
                row["rung_luck"][maker, k, rung] = luck
                change(state, side, price, size)
    touch(state, events)
