"""Scenarios by name: a seed in, a market with known truth out.

BTC perpetual futures, ticks of 5 USD, lots of 0.001 BTC: about 250 BTC a side within 1 % in calm, 2,400 BTC of open
interest. Times of a plan are those of the market, from its begin on. What `october-10` must resemble: depth that thins
before the news, a fall of a tenth within minutes, makers that leave, forced sales in their wake, auto-deleveraging once
the fund is spent, and nobody who refills.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.schema import Contract, Rows
from ingest.simulator.frames import START, VENUE
from ingest.simulator.population import Named, Population, populate
from ingest.simulator.world import LEVELS, MAKERS, PARAMETERS, RUNGS, SECOND, World, begin, choose, plan

INSTRUMENT: Final = Instrument(
    venue=VENUE,
    symbol="BTCUSDT",
    asset="BTC",
    quote="USDT",
    contract=Contract.LINEAR,
    price_decimals=1,
    size_decimals=3,
    tick=50,
    lot=1,
)
#: Quote units of a tick times a lot.
MONEY: Final = 0.005
#: 121,000 USD.
PRICE: Final = 24_200
#: When the gold proxy jumps, s, by what share, the share of that which reaches the coin, and how much later, s.
GOLD_TIME: Final = 60
GOLD_JUMP: Final = -0.04
TRANSMISSION: Final = 0.6
GOLD_DELAY: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A market's plan, and what of its feed is lost."""

    name: str
    #: Length, s.
    seconds: int
    plan: Rows
    population: Population = field(default_factory=Population)
    #: What the insurance fund has, quote units, and the lots that it takes over at most.
    fund: float = 5e6
    fund_holds: int = 1_000_000
    #: The named position, by its place in the population's, -1: none sells by itself.
    volunteer: int = -1
    #: Of a shock from a gold proxy: when, s; its jump, share; the share of it that reaches the coin, how much later, s.
    gold: tuple[int, float, float, int] | None = None
    #: From when to when the feed is dead, s.
    outage: tuple[float, float] | None = None


def usual() -> Rows:
    """Give the parameters of a calm market."""
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
    row["makers"], row["rungs"] = MAKERS, RUNGS
    row["quote"], row["growth"] = 240.0, 0.003
    row["offset"] = offsets()
    row["inventory_limit"], row["skew"] = 300_000, 8.0
    row["withdraws"] = 1
    row["nerve"] = np.linspace(15.0, 50.0, MAKERS)
    row["stop"] = int(4e6 / MONEY)
    # The last one is bound to stay, whatever it costs.
    row["nerve"][-1], row["stop"][-1] = 1e9, 1 << 60
    row["delay"] = 120.0
    row["margin"], row["floored"] = 1, 1
    row["clamp"], row["average_life"] = 0.05, 30.0
    row["large"], row["cooldown"] = int(1e6 / MONEY), 30 * SECOND
    row["reach"] = 0.015
    row["named"], row["named_rate"], row["named_near"] = -1, 0.05, 0.05
    choose(parameters)
    return parameters


def offsets() -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    """Place a maker's rungs: every tick near the touch, ever farther apart behind, the last at a tenth of the price."""
    rank = np.arange(RUNGS)
    reach = PRICE // 10
    return (rank + (reach - RUNGS) / (RUNGS - 1) ** 3 * rank**3).astype(np.int32)


def _calm() -> Scenario:
    stages = plan({"time": 0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000})
    return Scenario(name="calm", seconds=120, plan=stages)


def _october() -> Scenario:
    stages = plan(
        {"time": 0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000},
        # Ten minutes before the news in 2025; here a minute.
        {"time": 60 * SECOND, "bids": 0.6, "asks": 0.75, "branching": 0.5},
        {"time": 90 * SECOND, "bids": 0.4, "asks": 0.6, "limits": 0.7},
        # The news; whoever could buy it elsewhere cannot move the money.
        {"time": 120 * SECOND, "branching": 0.8, "sells": 2_000.0, "arbitrage": 200, "volatility": 8.0, "returns": 0.0},
        *_slide(121, 150, -0.03),
        {"time": 151 * SECOND, "sells": 4_000.0, "limits": 0.35},
        *_slide(152, 230, -0.05),
        {"time": 231 * SECOND, "sells": 1_000.0, "branching": 0.7},
        {"time": 270 * SECOND, "sells": 0.0, "limits": 0.5, "branching": 0.5},
        *_slide(300, 360, 0.03),
        {"time": 361 * SECOND, "volatility": 5.0, "limits": 0.6},
    )
    named = (
        Named(side=1, size=250_000, distance=0.045, leverage=8.0),
        Named(side=1, size=150_000, distance=0.07, leverage=6.0),
        *(Named(side=-1, size=40_000, distance=0.25, leverage=12.0, maker=maker) for maker in range(MAKERS - 1)),
    )
    population = Population(interest=4_000_000, named=named)
    return Scenario(
        name="october-10", seconds=420, plan=stages, population=population, fund=2e6, fund_holds=300_000, volunteer=1
    )


def _slide(first: int, last: int, total: float) -> list[dict[str, float]]:
    """Let the fundamental move by a share in all, a step each second."""
    share = total / (last - first + 1)
    return [{"time": second * SECOND, "jump": share} for second in range(first, last + 1)]


def _outage() -> Scenario:
    return replace(_calm(), name="feed-outage", outage=(40.0, 65.0))


def _squeeze() -> Scenario:
    stages = plan(
        {"time": 0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000},
        {"time": 60 * SECOND, "jump": 0.015, "sells": -4_000.0, "branching": 0.7, "asks": 0.4, "arbitrage": 300},
        {"time": 120 * SECOND, "sells": 0.0, "branching": 0.4, "asks": 0.8},
    )
    named = (Named(side=-1, size=200_000, distance=0.02, leverage=20.0),)
    return Scenario(name="squeeze", seconds=200, plan=stages, population=Population(named=named))


def _spoof() -> Scenario:
    stages = plan(
        {"time": 0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000},
        {"time": 40 * SECOND, "spoof": 150_000, "spoof_distance": 6},
        {"time": 80 * SECOND, "spoof": 0, "spoof_distance": 0},
    )
    return Scenario(name="spoof", seconds=120, plan=stages)


def _february() -> Scenario:
    # A weekend: three fifths of the depth. Gold trades on in tokens and falls; the coin follows, partly and late.
    stages = plan(
        {"time": 0, "branching": 0.4, "volatility": 2.0, "arbitrage": 1_000, "bids": 0.6, "asks": 0.6, "limits": 0.6},
        {
            "time": (GOLD_TIME + GOLD_DELAY) * SECOND,
            "jump": TRANSMISSION * GOLD_JUMP,
            "sells": 2_500.0,
            "branching": 0.6,
        },
        {"time": 200 * SECOND, "sells": 0.0, "branching": 0.4},
    )
    gold = (GOLD_TIME, GOLD_JUMP, TRANSMISSION, GOLD_DELAY)
    return Scenario(name="february-weekend", seconds=260, plan=stages, gold=gold)


SCENARIOS: Final[dict[str, Callable[[], Scenario]]] = {
    "calm": _calm,
    "october-10": _october,
    "feed-outage": _outage,
    "squeeze": _squeeze,
    "spoof": _spoof,
    "february-weekend": _february,
}


def scenario(name: str) -> Scenario:
    """Find a scenario. Raises BadConfig for a name that is none."""
    if name not in SCENARIOS:
        raise BadConfig(f"scenario is {name!r}, allowed are {', '.join(SCENARIOS)}")
    return SCENARIOS[name]()


def stage(wanted: Scenario, seed: int, start: int = START) -> World:
    """Set a scenario's market up."""
    if not 0 <= seed < 1 << 32:
        raise BadConfig(f"seed is {seed}, allowed are 0 to {(1 << 32) - 1}")
    accounts = populate(wanted.population, seed, PRICE, MONEY)
    world = begin(usual(), wanted.plan, accounts, seed, start, PRICE)
    world.state[0]["fund"] = int(wanted.fund / MONEY)
    world.parameters[0]["fund_holds"] = wanted.fund_holds
    if wanted.volunteer >= 0:
        named = wanted.population.named[wanted.volunteer]
        matches = np.flatnonzero((accounts["named"] > 0) & (accounts["size"] == named.size) & (accounts["maker"] < 0))
        world.parameters[0]["named"] = int(matches[0])
    return world
