"""The simulated market against the engine's cascade, its own branches and known rates."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from engine.cascade import END, Floats, critical, sweep, sweep_floored
from engine.errors import BadConfig
from engine.kernel import COMPILED
from ingest.simulator.advance import run
from ingest.simulator.branches import amplification, branch, critical_frozen, critical_sale, sell_frozen
from ingest.simulator.frames import START
from ingest.simulator.population import longs_of
from ingest.simulator.scenarios import PRICE, SCENARIOS, scenario, stage
from ingest.simulator.world import PRICES, SECOND, World, plan

#: Market time before a book is looked at, s, and seeds: fewer where kernels are plain Python.
SECONDS = 20 if COMPILED else 1
SEEDS = (1, 2, 3) if COMPILED else (1,)
SHOCKS = (1, 5_000, 10_000, 20_000, 40_000, 100_000, 250_000, 400_000, 800_000, 1_500_000, 10_000_000)


def opened(name: str, seed: int, interest: int = 2_400_000) -> World:
    """A scenario's market with triggers at the touch, and with fewer accounts where kernels are plain Python."""
    wanted = scenario(name)
    population = replace(
        wanted.population, tested=0.0, interest=interest, count=wanted.population.count if COMPILED else 100
    )
    return stage(replace(wanted, population=population, patient=()), seed, START)


def calm(seed: int) -> World:
    """A market of usual depth."""
    world = opened("calm", seed)
    run(world, START + SECONDS * SECOND)
    return world


def thin(seed: int) -> World:
    """A market that most bids have left: larger sales run away."""
    world = opened("october-10", seed, 4_000_000)
    world.plan["bids"] = 0.25
    run(world, START + SECONDS * SECOND)
    return world


def bids_of(world: World) -> tuple[Floats, Floats]:
    row = world.state[0]
    prices = np.flatnonzero(row["size"][: int(row["bid"]) + 1])[::-1]
    return prices.astype(np.float64), row["size"][prices].astype(np.float64)


@pytest.mark.parametrize("make", [calm, thin])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_engine_finds_where_the_venue_s_own_liquidations_end(make: Callable[[int], World], seed: int) -> None:
    world = make(seed)
    prices, sizes = bids_of(world)
    marks, amounts, floors = longs_of(world.accounts, int(world.state[0]["next_long"]))
    ends = set()
    for shock in SHOCKS:
        out = np.zeros(1, END)
        sweep(prices, sizes, marks, amounts, float(shock), out)
        end, sold, fired = sell_frozen(world, shock)
        assert out[0]["price"] == end.last == end.low
        assert out[0]["sold"] - out[0]["unsold"] == sold + end.forced
        assert out[0]["fired"] == fired
        ends.add(end.last)
        sweep_floored(prices, sizes, marks, amounts, floors, float(shock), np.zeros(len(marks)), out)
        end, sold, fired = sell_frozen(world, shock, floored=True)
        assert out[0]["price"] == end.last
        assert out[0]["sold"] == sold + end.forced
        assert out[0]["fired"] == fired
    assert len(ends) > 2


@pytest.mark.parametrize("make", [calm, thin])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_critical_shock_is_what_bisection_finds(make: Callable[[int], World], seed: int) -> None:
    world = make(seed)
    prices, sizes = bids_of(world)
    marks, amounts, _ = longs_of(world.accounts, int(world.state[0]["next_long"]))
    levels = [int(prices[0] * (1.0 - fall)) for fall in (0.001, 0.005, 0.01, 0.02, 0.03)]
    out = np.zeros(len(levels))
    critical(prices, sizes, marks, amounts, np.array(levels, np.float64), out)
    assert out.tolist() == [critical_frozen(world, level, 5_000_000) for level in levels]
    assert out[-1] > out[0] > 0


@pytest.mark.skipif(not COMPILED, reason="needs twenty seconds of market time and all accounts")
def test_with_leverage_a_sale_is_amplified() -> None:
    # Where bids refill as fast as forced orders come, nothing falls on: here they are as few as after the news.
    for seed in range(1, 9):
        world = thin(seed)
        world.parameters["by_last"] = 1
        world.plan["bids"] = world.plan["limits"] = 0.02
        with_it, without = amplification(world, START + (SECONDS + 2) * SECOND, 80_000)
        assert with_it.forced > without.forced
        assert with_it.low < without.low


def test_without_leverage_nothing_is_amplified() -> None:
    world = thin(4)
    world.parameters["by_last"] = 1
    world.accounts["size"] = 0
    with_it, without = amplification(world, START + (SECONDS + 2) * SECOND, 20_000)
    assert with_it == without
    assert without.low < int(world.state[0]["bid"])


def test_a_branch_that_changes_nothing_is_the_market_itself() -> None:
    world = calm(5)
    until = START + (SECONDS + 1) * SECOND
    same = branch(world, until)
    run(world, until)
    # Lowest and highest prices are those since the branch began.
    for name in ("low", "high"):
        same.state[0][name] = world.state[0][name]
    assert same.state.tobytes() == world.state.tobytes()
    assert same.accounts.tobytes() == world.accounts.tobytes()


def test_the_critical_sale_of_a_moving_market_is_one() -> None:
    world = thin(6)
    until = START + (SECONDS + 2) * SECOND
    level = int(world.state[0]["bid"] * 0.98)
    found = critical_sale(world, until, level, 2_000_000)
    assert 0 < found < 2_000_000
    assert branch(world, until, sale=found).state[0]["low"] >= level
    assert branch(world, until, sale=found + 1).state[0]["low"] < level


@pytest.mark.skipif(not COMPILED, reason="needs an hour of market time")
@pytest.mark.parametrize("branching", [0.0, 0.3, 0.6])
def test_market_orders_come_as_often_as_their_branching_says(branching: float) -> None:
    world = stage(scenario("calm"), 9)
    given = world.parameters[0]
    given["fade"] = 0.0
    given["makers"] = given["margin"] = 0
    world.plan = plan({"time": START, "branching": branching})
    # Both sides full, so that no order meets an empty one.
    row = world.state[0]
    for price in (PRICE, PRICE + 1):
        row["size"][price] = row["flow"][price] = 1 << 40
    row["bid"], row["ask"] = PRICE, PRICE + 1
    seconds = 3_600
    run(world, START + seconds * SECOND)
    mean = float(given["market"]) * seconds / (1.0 - branching)
    assert row["capped"] == 0
    assert abs(row["orders"] - mean) < 3.5 * math.sqrt(mean) / (1.0 - branching)


@pytest.mark.skipif(not COMPILED, reason="needs minutes of market time")
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_lot_has_an_owner_and_every_contract_two_sides(name: str) -> None:
    wanted = scenario(name)
    world = stage(wanted, 7)
    row = world.state[0]
    before = int(row["interest"])
    for second in range(20, wanted.seconds + 1, 20):
        run(world, START + second * SECOND)
        assert (row["size"] == row["flow"] + row["quoted"].sum(axis=0)).all()
        assert min(row["flow"].min(), row["quoted"].min(), world.accounts["size"].min()) >= 0
        assert row["bid"] < row["ask"]
        assert row["size"][row["bid"] + 1 : row["ask"]].sum() == 0
        assert row["interest"] <= before
        before = int(row["interest"])
    assert row["capped"] == 0


def test_the_population_is_balanced_and_alive() -> None:
    for name in SCENARIOS:
        world = stage(scenario(name), 11)
        accounts = world.accounts
        unnamed = accounts[accounts["named"] < 0]
        longs, shorts = (unnamed[unnamed["side"] == side] for side in (1, -1))
        assert longs["size"].sum() == shorts["size"].sum()
        assert (longs["trigger"] < PRICE).all()
        assert (shorts["trigger"] > PRICE).all()
        assert (longs["floor"] <= longs["trigger"]).all()
        assert (shorts["floor"] >= shorts["trigger"]).all()
        longs = accounts[: int(world.state[0]["longs"])]
        assert (np.diff(longs["trigger"]) <= 0).all()
        assert (np.diff(accounts[len(longs) :]["trigger"]) >= 0).all()
        assert accounts["trigger"].max() < PRICES


def test_an_unknown_scenario_names_those_that_are() -> None:
    with pytest.raises(BadConfig, match="scenario is 'boom', allowed are calm, october-10"):
        scenario("boom")
    with pytest.raises(BadConfig, match="seed is -1"):
        stage(scenario("calm"), -1)
