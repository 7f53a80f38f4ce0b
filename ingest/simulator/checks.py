"""The case with a known answer: the simulator's own flow as Cont, Stoikov and Talreja's book of two queues.

A spread of one tick, orders of one size, limit orders at rate 1.85, market orders at 0.94 and cancellations at 0.71 per
order and second ("A stochastic model for order book dynamics", Operations Research 58, 2010, table 1 and section 5).
"""

from typing import Final

import numpy as np

from engine.kernel import kernel
from engine.schema import Rows
from ingest.simulator.flow import aggressive, passive, schedule
from ingest.simulator.world import ACCOUNT, EVENT, PARAMETERS, begin, choose, plan

LIMIT: Final = 1.85
MARKET: Final = 0.94
CANCEL: Final = 0.71
_PRICE: Final = 1_000


def table_parameters() -> Rows:
    """Give the paper's constants as parameters."""
    parameters = np.zeros(1, PARAMETERS)
    row = parameters[0]
    row["limit"][:5] = (LIMIT, 1.51, 1.09, 0.88, 0.77)
    row["cancel"][:5] = (CANCEL, 0.81, 0.68, 0.56, 0.47)
    # More orders than a queue ever reaches: intensities stay linear in q.
    row["crowd"] = 20.0
    row["opposite"] = 1
    row["order"] = 1
    row["market"] = row["market_bound"] = 2.0 * MARKET
    row["decay"] = 1.0
    choose(parameters)
    return parameters


@kernel
def race(state: Rows, parameters: Rows, bids: int, asks: int, price: int, events: Rows) -> int:
    """Set up two queues of so many orders and let the flow go on until the mid moves; return 1 if it moves up."""
    row = state[0]
    for k in range(8):
        for at in (price - k, price + 1 + k):
            row["size"][at] = row["flow"][at] = 1_000
    row["size"][price] = row["flow"][price] = bids
    row["size"][price + 1] = row["flow"][price + 1] = asks
    row["bid"], row["ask"] = price, price + 1
    row["changes"] = 0
    while row["bid"] == price and row["ask"] == price + 1:
        events[0]["id"] = 0
        if row["next_flow"] < row["next_market"]:
            row["time"] = row["next_flow"]
            passive(state, parameters, 1.0, events)
        else:
            row["time"] = row["next_market"]
            aggressive(state, parameters, 0.0, events)
    return 1 if row["ask"] > price + 1 else 0


@kernel
def races(state: Rows, parameters: Rows, bids: int, asks: int, price: int, count: int, events: Rows) -> int:
    """Run many races; streams and candidates go on from one to the next, which arrivals without memory may."""
    up = 0
    schedule(state, parameters)
    for _ in range(count):
        up += race(state, parameters, bids, asks, price, events)
    return up


def up_share(bids: int, asks: int, count: int, seed: int) -> float:
    """Give the share of `count` races from queues of `bids` and `asks` orders in which the mid moves up."""
    world = begin(table_parameters(), plan({"time": 0}), np.zeros(0, ACCOUNT), seed, 0, _PRICE)
    return races(world.state, world.parameters, bids, asks, _PRICE, count, np.zeros(64, EVENT)) / count
