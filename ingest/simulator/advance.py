"""The event loop of a simulated market: a world and a time in, the world at that time and its events out.

Candidates of the flow come at their own times; makers, margin, shocks and frames move on a grid of 100 ms, in this
order: the plan's stage, the fundamental, makers, arbitrage and outside sales, mark and liquidations, the frame.
"""

from typing import Final

import numpy as np

from engine.errors import AirpocketError
from engine.kernel import kernel
from engine.schema import Rows
from ingest.simulator.flow import aggressive, breathe, leave, passive, schedule, wander
from ingest.simulator.makers import judge, observe, quote
from ingest.simulator.margin import liquidate, mark_of, resume, volunteer
from ingest.simulator.matching import Event, change, emit, frame, touch, trade
from ingest.simulator.world import BID, EVENT, GRID, SECOND, World

_MARK: Final = int(Event.MARK)
_STAGE: Final = int(Event.STAGE)
_STEP: Final = GRID / SECOND
#: Rows of a buffer, and how many of them one step may need: a frame of all prices, and the trades of a cascade.
ROOM: Final = 1 << 18
RESERVE: Final = 1 << 17


class Overflow(AirpocketError):
    """A step made more events than the buffer holds."""


@kernel
def grid(state: Rows, parameters: Rows, plan: Rows, accounts: Rows, events: Rows) -> None:
    """Move all that moves on the grid."""
    row, given = state[0], parameters[0]
    first = row["next_flow"] < 0
    if first:
        schedule(state, parameters)
        emit(events, row["time"], _STAGE, 0, 0, 0, 0, 0, 0)
    while row["stage"] + 1 < len(plan) and plan[row["stage"] + 1]["time"] <= row["time"]:
        row["stage"] += 1
        jump = plan[row["stage"]]["jump"] * row["fundamental"]
        row["fundamental"] += jump
        emit(events, row["time"], _STAGE, row["stage"], 0, 0, int(jump), 0, 0)
    now = plan[row["stage"]]
    observe(state)
    breathe(state, parameters, now["variety"], _STEP)
    wander(state, parameters, now["volatility"], now["pull"], _STEP)
    leave(state)
    if given["makers"] > 0:
        judge(state, parameters, now["returns"], events)
        quote(state, parameters, now["bids"], now["asks"], now["variety"], 1 if first else 0, events)
    pretend(state, now["spoof"], now["spoof_distance"], events)
    arbitrage(state, given["makers"], now["arbitrage"], events)
    outside = int(now["sells"] * _STEP)
    if outside != 0:
        side = -1 if outside > 0 else 1
        limit = int(row["fundamental"] * (1.0 + side * given["reach"]))
        filled, _ = trade(state, given["makers"], side, abs(outside), limit, events)
        row["shocked"] += filled
    before = row["mark"]
    row["mark"] = mark_of(state, parameters, _STEP)
    if given["margin"]:
        resume(state, parameters, accounts, row["mark"], events)
        liquidate(state, parameters, accounts, row["mark"], events)
        volunteer(state, parameters, accounts, _STEP, events)
    if (row["time"] // GRID) % 10 == 0 or before == 0:
        active = 0
        for maker in range(given["makers"]):
            active += row["active"][maker]
        emit(events, row["time"], _MARK, 0, 0, row["mark"], int(row["fundamental"] + 0.5), row["interest"], active)
    frame(state, events)


@kernel
def arbitrage(state: Rows, makers: int, most: int, events: Rows) -> None:
    """Trade against what rests beyond the fundamental, as those do who can trade it elsewhere."""
    row = state[0]
    if most <= 0:
        return
    index = int(row["fundamental"] + 0.5)
    if row["bid"] > index + 1:
        trade(state, makers, -1, most, index + 1, events)
    elif row["ask"] < index - 1:
        trade(state, makers, 1, most, index - 1, events)


@kernel
def pretend(state: Rows, size: int, distance: int, events: Rows) -> None:
    """Keep a spoofer's bid at its distance from the best bid; it is moved before it can trade."""
    row = state[0]
    at = row["spoof"]
    price = row["bid"] - distance if size > 0 and row["bid"] > distance else 0
    if at == price:
        return
    flow = row["flow"]
    if at > 0 and at <= row["bid"]:
        taken = min(flow[at], row["spoof_size"])
        flow[at] -= taken
        change(state, BID, at, -taken)
    if price > 0:
        flow[price] += size
        change(state, BID, price, size)
    row["spoof"] = price
    row["spoof_size"] = size
    touch(state, events)


@kernel
def advance(state: Rows, parameters: Rows, plan: Rows, accounts: Rows, until: int, reserve: int, events: Rows) -> int:
    """Go on to `until`, or until fewer than `reserve` rows are free; return 1 where that time was reached.

    `events[0]["id"]` counts what was written, from row 1 on; `events[0]["size"]` what found no room.
    """
    row = state[0]
    events[0]["id"] = 0
    events[0]["size"] = 0
    limits = plan[row["stage"]]["limits"]
    branching = plan[row["stage"]]["branching"]
    while True:
        if len(events) - events[0]["id"] < reserve:
            return 0
        time = row["next_grid"]
        if row["next_flow"] >= 0:
            time = min(time, row["next_flow"], row["next_market"])
        if time > until:
            row["time"] = until
            return 1
        row["time"] = time
        if time == row["next_grid"]:
            grid(state, parameters, plan, accounts, events)
            row["next_grid"] += GRID
            limits = plan[row["stage"]]["limits"]
            branching = plan[row["stage"]]["branching"]
        elif time == row["next_flow"]:
            passive(state, parameters, limits, events)
        else:
            aggressive(state, parameters, branching, events)


def run(world: World, until: int, room: int = ROOM, reserve: int = RESERVE) -> Rows:
    """Let a market go on to a time, ns; return its events. Raises Overflow where one step made too many."""
    found = []
    # Most of it stays untouched, and costs nothing.
    events = np.empty(room, EVENT)
    done = 0
    while not done:
        done = advance(world.state, world.parameters, world.plan, world.accounts, until, reserve, events)
        if events[0]["size"]:
            raise Overflow(f"{int(events[0]['size'])} events found no room among {room}, allowed are {reserve} a step")
        found.append(events[1 : 1 + int(events[0]["id"])].copy())
    return np.concatenate(found)
