"""Rules of the simulated market: a maker without its hedge leaves; nearer its trigger, a named position sells more."""

import math
from dataclasses import replace

import numpy as np
import pytest

from engine.schema import Rows
from ingest.simulator.advance import run
from ingest.simulator.margin import volunteer
from ingest.simulator.matching import Event
from ingest.simulator.population import Named, Population
from ingest.simulator.scenarios import PRICE, scenario, stage
from ingest.simulator.world import EVENT, GRID, MAKERS, SECOND, World, plan

#: Few accounts, none of which triggers anywhere near.
FEW = Population(count=100, interest=1_000, tested=0.04)
HEDGED = 5
#: Calls of the rule, and market time that each stands for, s.
CALLS = 2_000
STEP = 0.1


def squeezed(maker: int) -> tuple[World, Rows]:
    """Let the price rise through the trigger of a short that is this maker's hedge, -1: nobody's."""
    hedge = Named(side=-1, size=100, distance=0.001, leverage=12.0, maker=maker)
    stages = plan({"time": 0, "arbitrage": 2_000}, {"time": SECOND, "jump": 0.004})
    world = stage(replace(scenario("calm"), population=replace(FEW, named=(hedge,)), plan=stages), 1)
    # Neither volatility nor a loss drives anybody out.
    world.parameters["nerve"], world.parameters["stop"] = 1e9, 1 << 60
    return world, run(world, int(world.state[0]["time"]) + 2 * SECOND)


def of(events: Rows, kind: Event) -> Rows:
    found: Rows = events[events["kind"] == kind]
    return found


def test_a_maker_whose_hedge_is_liquidated_leaves_with_all_its_quotes() -> None:
    world, events = squeezed(HEDGED)
    (forced,), (left,) = of(events, Event.FORCED), of(events, Event.MAKER)
    assert world.accounts[forced["id"]]["maker"] == HEDGED
    # 2: for its hedge.
    assert (left["id"], left["side"], left["size"]) == (HEDGED, -1, 2)
    assert left["time"] == forced["time"] + GRID
    row = world.state[0]
    assert np.flatnonzero(row["active"] == 0).tolist() == [HEDGED]
    assert row["quoted"][HEDGED].sum() == row["rung_size"][HEDGED].sum() == 0
    assert all(row["quoted"][maker].sum() > 0 for maker in range(MAKERS) if maker != HEDGED)
    assert row["returns"][HEDGED] > left["time"]


def test_somebody_else_s_liquidation_drives_no_maker_out() -> None:
    world, events = squeezed(-1)
    assert len(of(events, Event.FORCED)) == 1
    assert len(of(events, Event.MAKER)) == 0
    assert world.state[0]["active"].sum() == MAKERS


def sales(distance: float) -> tuple[Rows, float]:
    """Ask a named position so far from its trigger many times; give its sales, and how likely each should have been."""
    named = Named(side=1, size=1_000, distance=0.03, leverage=8.0)
    wanted = replace(scenario("calm"), population=replace(FEW, named=(named,)), volunteer=0)
    world = stage(wanted, 2)
    run(world, int(world.state[0]["time"]) + GRID)
    at = int(world.parameters[0]["named"])
    world.state[0]["mark"] = PRICE
    world.accounts[at]["trigger"] = round(PRICE * (1.0 - distance))
    world.parameters["named_rate"] = 2.0
    events = np.empty(8 * CALLS, EVENT)
    events[0] = 0
    for _ in range(CALLS):
        world.accounts[at]["size"] = 10
        before = int(world.state[0]["interest"])
        volunteer(world.state, world.parameters, world.accounts, STEP, events)
        assert 10 - world.accounts[at]["size"] == before - world.state[0]["interest"]
    near = float(world.parameters[0]["named_near"])
    exact = (PRICE - int(world.accounts[at]["trigger"])) / PRICE
    found = of(events[1 : 1 + int(events[0]["id"])], Event.VOLUNTARY)
    assert set(found["id"].tolist()) <= {at}
    return found, 2.0 * STEP * (1.0 - exact / near) if 0.0 < exact < near else 0.0


def test_a_named_position_sells_the_more_often_the_nearer_its_trigger() -> None:
    counts = []
    for distance in (0.045, 0.03, 0.015, 0.002):
        found, chance = sales(distance)
        assert abs(len(found) - CALLS * chance) < 4.0 * math.sqrt(CALLS * chance * (1.0 - chance))
        assert set(found["size"].tolist()) <= {1, 2}
        counts.append(len(found))
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("distance", [0.06, 0.0, -0.01])
def test_a_named_position_far_off_or_due_to_be_liquidated_does_not_sell_by_itself(distance: float) -> None:
    assert len(sales(distance)[0]) == 0
