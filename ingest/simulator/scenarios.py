"""Scenarios by name: a seed in, a market with known truth out.

BTC perpetual futures, ticks of 5 USD, lots of 0.001 BTC: about 250 BTC a side within 1 % in calm, 2,400 BTC of open
interest. Times of a plan are those of the market, from its begin on. What `october-10` must resemble: depth that thins
before the news, a fall of a tenth, makers that leave, forced sales in their wake, auto-deleveraging a minute after the
first of them, once the fund holds what it can, and nobody who refills; far below the bids of those who wait, which were
all that was left of the books then.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.knowledge import Exposure
from engine.schema import Contract, Rows
from ingest.simulator.frames import START, VENUE
from ingest.simulator.matching import change
from ingest.simulator.population import Named, Population, populate
from ingest.simulator.world import BID, LEVELS, MAKERS, PARAMETERS, RUNGS, SECOND, World, begin, choose, plan

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
#: Of `october-10`, minutes: from the first loss of depth to the news, the cascade, nobody refills, somebody does.
THINS: Final = 10
FALLS: Final = 40
DRY: Final = 60
REFILLS: Final = 90
#: Minutes of the event in one of the market; seconds of calm before.
COMPRESSION: Final = 20.0
CALM: Final = 120
#: What is sold from outside during the cascade, lots: 100 million USD.
SOLD: Final = 830_000


@dataclass(frozen=True, slots=True)
class Patient:
    """Bids that somebody left far below and does not look after: on round prices, and there until they are met."""

    #: From how far below the price to how far, share.
    first: float
    last: float
    #: Every so many ticks, so many lots.
    every: int
    size: int


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
    #: Who waits far below.
    patient: tuple[Patient, ...] = ()
    #: Outside orders trade no farther than this from the fundamental, share.
    reach: float = 0.015
    #: When it begins, ns since 1970.
    start: int = START
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


#: Whom everybody knows to hold much, and the makers' hedges.
HOLDERS: Final = (
    Named(side=1, size=250_000, distance=0.045, leverage=8.0),
    Named(side=1, size=150_000, distance=0.07, leverage=6.0),
)
HEDGES: Final = tuple(
    Named(side=-1, size=40_000, distance=0.25, leverage=12.0, maker=maker) for maker in range(MAKERS - 1)
)


def october(compression: float = COMPRESSION, calm: int = CALM) -> Scenario:
    """Plan the event: depth thins, news, makers out, 40 minutes of cascade, no refill for an hour, then some.

    Minutes of the event are divided by `compression`: 1 is the event at its own pace, three hours and twenty minutes;
    60 shows all but the refill within two minutes. What comes by itself (orders, cooldowns, the makers' delay) keeps
    its pace: in a longer form ordinary sales go on while nobody refills, and it falls farther, 12 % at 20, 13 % at 10,
    18 % at 4, 47 % at 1. `calm` seconds come first, and end at a full hour, so that an engine's baseline is that of a
    past hour. Raises BadConfig for what leaves no time to a stage.
    """
    if not 1 <= compression <= 120:
        raise BadConfig(f"compression is {compression:g}, allowed are 1 to 120")
    if not 1 <= calm <= 3_600:
        raise BadConfig(f"calm is {calm} s, allowed are 1 to 3600")

    def at(minute: float) -> int:
        return int((calm + (minute + THINS) * 60 / compression) * SECOND)

    stages = plan(
        {"time": 0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000},
        {"time": at(-THINS), "bids": 0.6, "asks": 0.75, "branching": 0.5},
        {"time": at(-7), "bids": 0.4, "asks": 0.6, "limits": 0.7},
        # The news; whoever could buy it elsewhere cannot move the money, and nobody quotes against the fall.
        {
            "time": at(0),
            "jump": -0.003,
            "branching": 0.6,
            "volatility": 8.0,
            "arbitrage": 200,
            "returns": 0.0,
            "bids": 0.02,
            "asks": 0.3,
            "limits": 0.02,
            "sells": SOLD * compression / (FALLS * 60),
        },
        # Whatever comes is sold into.
        {"time": at(FALLS), "sells": 150.0, "branching": 0.5},
        {
            "time": at(FALLS + DRY),
            "sells": 0.0,
            "volatility": 2.0,
            "branching": 0.3,
            "arbitrage": 2_000,
            "returns": 1.0,
            "bids": 1.0,
            "asks": 1.0,
            "limits": 1.0,
        },
    )
    population = Population(named=(*HOLDERS, *HEDGES), tested=0.005)
    return Scenario(
        name="october-10",
        seconds=int(calm + (THINS + FALLS + DRY + REFILLS) * 60 / compression),
        plan=stages,
        population=population,
        fund=2e6,
        fund_holds=700_000,
        volunteer=1,
        patient=(Patient(0.01, 0.10, 40, 8_000), Patient(0.10, 0.20, 40, 20_000)),
        reach=0.05,
        start=START - calm * SECOND,
    )


def _outage() -> Scenario:
    return replace(_calm(), name="feed-outage", outage=(75.0, 100.0))


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
        {"time": 70 * SECOND, "spoof": 150_000, "spoof_distance": 6},
        {"time": 100 * SECOND, "spoof": 0, "spoof_distance": 0},
    )
    return Scenario(name="spoof", seconds=140, plan=stages)


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
    "october-10": october,
    "feed-outage": _outage,
    "squeeze": _squeeze,
    "spoof": _spoof,
    "february-weekend": _february,
}


def scenario(name: str, compression: float = 0.0) -> Scenario:
    """Find a scenario; of october-10 with a compression of its own where that is above 0.

    Raises BadConfig for a name that is none, and for a compression of another.
    """
    if name not in SCENARIOS:
        raise BadConfig(f"scenario is {name!r}, allowed are {', '.join(SCENARIOS)}")
    if compression and name != "october-10":
        raise BadConfig(f"compression is {compression:g} of {name}, allowed is that of october-10 alone")
    return october(compression) if compression else SCENARIOS[name]()


def exposures(wanted: Scenario) -> tuple[Exposure, ...]:
    """Give what everybody knows of a scenario's market before it begins: who holds much, and where that is forced."""
    return tuple(
        Exposure(
            name=f"holder {place}",
            asset=INSTRUMENT.asset,
            side="long" if each.side > 0 else "short",
            quantity=each.size * INSTRUMENT.lot / 10**INSTRUMENT.size_decimals,
            trigger=PRICE * (1.0 - each.side * each.distance) * INSTRUMENT.tick / 10**INSTRUMENT.price_decimals,
            as_of=wanted.start,
        )
        for place, each in enumerate(wanted.population.named, 1)
        if each.maker < 0
    )


def stage(wanted: Scenario, seed: int, start: int | None = None) -> World:
    """Set a scenario's market up, at its own time where no other is given."""
    start = wanted.start if start is None else start
    if not 0 <= seed < 1 << 32:
        raise BadConfig(f"seed is {seed}, allowed are 0 to {(1 << 32) - 1}")
    accounts = populate(wanted.population, seed, PRICE, MONEY)
    world = begin(usual(), wanted.plan, accounts, seed, start, PRICE)
    world.state[0]["fund"] = int(wanted.fund / MONEY)
    world.parameters[0]["fund_holds"] = wanted.fund_holds
    world.parameters[0]["reach"] = wanted.reach
    for patient in wanted.patient:
        low, high = (math.ceil(PRICE * (1.0 - share)) for share in (patient.last, patient.first))
        for price in range(-(-low // patient.every) * patient.every, high, patient.every):
            world.state[0]["flow"][price] += patient.size
            change(world.state, BID, price, patient.size)
    if wanted.volunteer >= 0:
        named = wanted.population.named[wanted.volunteer]
        matches = np.flatnonzero((accounts["named"] > 0) & (accounts["size"] == named.size) & (accounts["maker"] < 0))
        world.parameters[0]["named"] = int(matches[0])
    return world
