"""The usual parameters of simulated markets: the coin's, and those of the thinner ones beside it."""

import numpy as np

from engine.schema import Rows
from ingest.simulator.world import LEVELS, MAKERS, PARAMETERS, RUNGS, SECOND, choose


def usual(price: int, money: float) -> Rows:
    """Give the parameters of a calm market of the coin; `price` in ticks, `money` quote units of a tick times a lot."""
    parameters = np.zeros(1, PARAMETERS)
    row = parameters[0]
    distance = np.arange(1, LEVELS + 1)
    # Arrivals fall off with the distance as on recorded books, about as a power; so do cancellations, slowly.
    row["limit"] = 6.0 * distance**-0.7
    row["cancel"] = 0.5 * distance**-0.2
    row["crowd"], row["shy"], row["fade"] = 10.0, 0.2, 0.02
    row["order"], row["spread"] = 60, 60
    row["market"], row["market_bound"], row["decay"] = 4.0, 160.0, 4.0
    row["market_size"], row["market_tail"], row["market_most"] = 40.0, 1.5, 20_000
    row["lean"], row["pull"] = 20.0, 0.1
    row["activity"], row["activity_life"], row["busiest"] = 0.9, 60.0, 6.0
    row["makers"], row["rungs"] = MAKERS, RUNGS
    row["quote"], row["growth"] = 240.0, 0.003
    row["uneven"] = 2.1
    row["lush"], row["lush_life"], row["lush_reach"] = 0.6, 15.0, 3.5
    row["offset"] = offsets(price)
    row["inventory_limit"], row["skew"] = 300_000, 8.0
    row["withdraws"] = 1
    row["nerve"] = np.linspace(15.0, 50.0, MAKERS)
    row["stop"] = int(4e6 / money)
    # The last one is bound to stay, whatever it costs.
    row["nerve"][-1], row["stop"][-1] = 1e9, 1 << 60
    row["delay"] = 120.0
    row["margin"], row["floored"] = 1, 1
    row["clamp"], row["average_life"] = 0.05, 30.0
    row["large"], row["cooldown"] = int(1e6 / money), 30 * SECOND
    row["reach"] = 0.015
    row["named"], row["named_rate"], row["named_near"] = -1, 0.05, 0.05
    choose(parameters)
    return parameters


def offsets(price: int) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    """Place a maker's rungs: every tick near the touch, ever farther apart behind, the last at a tenth of the price."""
    rank = np.arange(RUNGS)
    reach = price // 10
    return (rank + (reach - RUNGS) / (RUNGS - 1) ** 3 * rank**3).astype(np.int32)


def second(price: int, money: float) -> Rows:
    """Give the parameters of a second venue of the coin: two thirds of the flow, five makers, no margin accounts."""
    parameters = usual(price, money)
    row = parameters[0]
    row["market"] = 2.5
    row["makers"], row["quote"] = 5, 200.0
    row["nerve"][4], row["stop"][4] = 1e9, 1 << 60
    row["margin"] = 0
    return parameters


def gold(price: int, money: float) -> Rows:
    """Give the parameters of a gold token: few orders, few makers that never leave."""
    parameters = usual(price, money)
    row = parameters[0]
    row["limit"] *= 0.4
    row["market"], row["market_size"] = 0.4, 20.0
    row["order"], row["spread"] = 30, 30
    row["makers"], row["quote"], row["rungs"] = 3, 90.0, 120
    row["withdraws"] = row["margin"] = 0
    choose(parameters)
    return parameters


def peg(price: int, money: float) -> Rows:
    """Give the parameters of a pegged asset: a book that is thick next to the peg, and thin behind."""
    parameters = usual(price, money)
    row = parameters[0]
    row["limit"] *= 0.5
    row["order"], row["spread"] = 500, 500
    row["market"], row["market_size"], row["market_most"] = 1.0, 300.0, 50_000
    row["makers"], row["quote"], row["growth"] = 3, 2_500.0, -0.0005
    row["inventory_limit"], row["skew"] = 20_000_000, 500.0
    # Nobody knows better than the local book what it is worth there.
    row["pull"] = 1.0
    row["nerve"][:3] = (10.0, 20.0, 1e9)
    row["stop"][:3] = (int(2e4 / money), int(4e4 / money), 1 << 60)
    row["reach"] = 0.05
    row["margin"] = 0
    choose(parameters)
    return parameters
