"""Futures of a simulated market: how likely a fall is, where that is known or can be found in another way."""

import math

import numpy as np
import pytest

from engine.errors import BadConfig
from engine.kernel import COMPILED
from ingest.simulator.advance import run
from ingest.simulator.branches import chance, futures
from ingest.simulator.draws import draw
from ingest.simulator.frames import START
from ingest.simulator.scenarios import PRICE, scenario, stage
from ingest.simulator.world import PRICES, SECOND, World, plan

needs_seconds = pytest.mark.skipif(not COMPILED, reason="needs hours of market time")


def queues(lots: int) -> World:
    """A market of market orders of one lot alone: `lots` at the bid, without end below and above."""
    world = stage(scenario("calm"), 1)
    given, row = world.parameters[0], world.state[0]
    given["makers"] = given["margin"] = given["withdraws"] = 0
    given["fade"] = given["lean"] = given["market_size"] = given["activity"] = 0.0
    given["chosen"] *= 1e-12
    world.accounts = world.accounts[:0]
    row["longs"] = row["shorts"] = row["next_short"] = 0
    world.plan = plan({"time": START, "branching": 0.0})
    for price, size in ((PRICE - 1, 1 << 40), (PRICE, lots), (PRICE + 1, 1 << 40)):
        row["size"][price] = row["flow"][price] = size
    row["bid"], row["ask"] = PRICE, PRICE + 1
    run(world, START)
    return world


def later(world: World, seconds: float) -> int:
    return int(world.state[0]["time"]) + int(seconds * SECOND)


@pytest.mark.parametrize("lots", [1, 3])
def test_a_queue_of_lots_is_eaten_as_often_as_poisson_says(lots: int) -> None:
    world = queues(lots)
    seconds = 1.0
    count = 4_000 if COMPILED else 40
    share, error = chance(futures(world, later(world, seconds), count, 3), PRICE)
    # A sale comes 2 times a second; the level below trades with the one that finds the queue empty.
    mean = 0.5 * float(world.parameters[0]["market"]) * seconds
    known = 1.0 - sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(lots + 1))
    assert 0.0 < error < 1.0 / math.sqrt(count)
    assert abs(share - known) < 3.5 * max(error, math.sqrt(known * (1.0 - known) / count))


def test_what_is_certain_is_0_or_1() -> None:
    world = queues(1)
    lows = futures(world, later(world, 0.5), 20, 1)
    assert chance(lows, PRICE + 1) == (1.0, 0.0)
    assert chance(lows, PRICE - 1) == (0.0, 0.0)
    # No time is left for a fall.
    assert chance(futures(world, later(world, 0.0), 20, 1), PRICE) == (0.0, 0.0)


def test_the_same_seed_gives_the_same_futures_and_leaves_the_market_as_it_is() -> None:
    world = queues(2)
    before = world.state.tobytes(), world.accounts.tobytes(), world.parameters.tobytes()
    first, again, other = (futures(world, later(world, 2.0), 30, seed) for seed in (5, 5, 6))
    assert first.tolist() == again.tolist() != other.tolist()
    assert (world.state.tobytes(), world.accounts.tobytes(), world.parameters.tobytes()) == before
    assert futures(world, later(world, 2.0), 10, 5).tolist() == first[:10].tolist()


def test_a_market_that_has_not_opened_yet_has_futures_too() -> None:
    world = stage(scenario("calm"), 3)
    lows = futures(world, START, 2, 1)
    assert lows.tolist() == [PRICE, PRICE]


@needs_seconds
def test_a_deeper_fall_is_less_likely_and_a_longer_wait_makes_it_likelier() -> None:
    world = thin()
    best = int(world.state[0]["bid"])
    levels = [int(best * (1.0 - fall)) for fall in (0.0, 0.002, 0.005, 0.01, 0.02, 0.05)]
    soon, late = (futures(world, later(world, seconds), 200, 1) for seconds in (2, 8))
    for lows in (soon, late):
        shares = [chance(lows, level)[0] for level in levels]
        assert shares == sorted(shares, reverse=True)
    # Each future goes on as it began: it can only fall further.
    assert (late <= soon).all()
    assert late.min() < soon.min()


@needs_seconds
def test_a_share_is_what_other_seeds_find_one_by_one() -> None:
    world = thin()
    seconds = 5
    # As the market goes on by itself, but that each copy draws with a seed of its own and keeps its next candidates.
    found = []
    for number in range(400):
        copy = world.clone()
        row = copy.state[0]
        row["seed"] = draw(77, 1, number)[0]
        row["low"] = row["last"]
        run(copy, later(world, seconds))
        found.append(int(row["low"]))
    level = int(np.median(found))
    one, other = (chance(lows, level) for lows in (np.array(found), futures(world, later(world, seconds), 2_000, 9)))
    assert 0.2 < one[0] < 0.8
    assert abs(one[0] - other[0]) < 3.0 * math.hypot(one[1], other[1])


def thin() -> World:
    """Depth has left, the news is to come."""
    world = stage(scenario("october-10"), 2)
    run(world, later(world, 145))
    return world


def test_what_cannot_be_asked_is_refused() -> None:
    world = queues(1)
    with pytest.raises(BadConfig, match="count is 0, allowed are whole numbers from 1"):
        futures(world, later(world, 1.0), 0, 1)
    with pytest.raises(BadConfig, match=f"until is {START - 1}, allowed are times from {START}, the market's own"):
        futures(world, START - 1, 1, 1)
    with pytest.raises(BadConfig, match="seed is -1, allowed are 0 to 4294967295"):
        futures(world, later(world, 1.0), 1, -1)
    assert int(world.state[0]["bid"]) < PRICES
