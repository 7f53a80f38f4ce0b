"""Scenarios by name: a seed in, a market with known truth out.

BTC perpetual futures, ticks of 5 USD, lots of 0.001 BTC: about 250 BTC a side within 1 % in calm, 2,400 BTC of open
interest. Times of a plan are those of the market, from its begin on. What `october-10` must resemble: depth that thins
before the news, a fall of a tenth, makers that leave, forced sales in their wake, auto-deleveraging a minute after the
first of them, once the fund holds what it can, and nobody who refills; far below the bids of those who wait, which were
all that was left of the books then. Depth moves by chance in `calm`; in `october-10` and `spoof`, whose story is how
it moves by plan, it does not (`variety`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.knowledge import Exposure
from engine.schema import Contract, Rows
from ingest.simulator.frames import START, VENUE
from ingest.simulator.matching import change
from ingest.simulator.members import Channel, Member, Pledge, gold, peg, spot
from ingest.simulator.population import Named, Population, placed_at, populate
from ingest.simulator.usual import usual
from ingest.simulator.world import BID, MAKERS, SECOND, STAGE, World, begin, plan

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
#: When the gold token jumps, s, by what share, the share of that which reaches the coin, and how much later, s.
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
#: Exponent of the pace by which bids refill less in a longer form, where ordinary sales go on for longer: with it the
#: fall is about the same at every pace.
_REFILL: Final = 0.25


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
    #: Other books, numbered from 1 on, and what ties them to one another and to the coin, which is 0.
    members: tuple[Member, ...] = ()
    channels: tuple[Channel, ...] = ()
    pledge: Pledge | None = None
    #: From when to when the feed is dead, s.
    outage: tuple[float, float] | None = None


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
    its pace. What is sold, what is believed and, in a longer form, who refills keep that of the event, so that it falls
    about as far at any: 12 to 14 % at 60, 20, 10, 4 and 1. `calm` seconds come first, and end at a full hour, so
    that an engine's baseline is that of a past hour. Raises BadConfig for what leaves no time to a stage.
    """
    if not 1 <= compression <= 120:
        raise BadConfig(f"compression is {compression:g}, allowed are 1 to 120")
    if not 1 <= calm <= 3_600:
        raise BadConfig(f"calm is {calm} s, allowed are 1 to 3600")

    def at(minute: float) -> int:
        return int((calm + (minute + THINS) * 60 / compression) * SECOND)

    pace = compression / COMPRESSION
    stages = plan(
        {"time": 0, "variety": 0.0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000},
        {"time": at(-THINS), "bids": 0.6, "asks": 0.75, "branching": 0.5},
        {"time": at(-7), "bids": 0.4, "asks": 0.6, "limits": 0.7},
        # The news; whoever could buy it elsewhere cannot move the money, and nobody quotes against the fall.
        {
            "time": at(0),
            "jump": -0.003,
            "branching": 0.6,
            "volatility": 8.0 * math.sqrt(pace),
            "pull": pace,
            "arbitrage": 200,
            "returns": 0.0,
            "bids": 0.02 * min(pace, 1.0) ** _REFILL,
            "asks": 0.3,
            "limits": 0.02 * min(pace, 1.0) ** _REFILL,
            "sells": SOLD * compression / (FALLS * 60),
        },
        # Whatever comes is sold into.
        {"time": at(FALLS), "sells": 150.0 * pace, "branching": 0.5},
        {
            "time": at(FALLS + DRY),
            "sells": 0.0,
            "volatility": 2.0,
            "pull": 1.0,
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
        {"time": 0, "variety": 0.0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000},
        {"time": 70 * SECOND, "spoof": 150_000, "spoof_distance": 6},
        {"time": 100 * SECOND, "spoof": 0, "spoof_distance": 0},
    )
    return Scenario(name="spoof", seconds=140, plan=stages)


def _slide(first: int, last: int, total: float) -> list[dict[str, float]]:
    """Let the fundamental move by a share in all, a step each second."""
    share = total / (last - first + 1)
    return [{"time": second * SECOND, "jump": share} for second in range(first, last + 1)]


def weekend(
    jumps: Sequence[tuple[float, float]] = ((GOLD_TIME, GOLD_JUMP),),
    share: float = TRANSMISSION,
    delay: float = GOLD_DELAY,
    seconds: int = 260,
    spread: float = 0.0,
) -> Scenario:
    """Make a weekend: three fifths of the depth. Gold trades on in tokens and jumps, (s, share) each, in order of time.

    The coin follows on both of its venues, by a share of each jump, so many seconds later, give or take `spread`.
    """
    thin = {"time": 0, "branching": 0.4, "volatility": 2.0, "arbitrage": 1_000, "bids": 0.6, "asks": 0.6, "limits": 0.6}
    token = plan(
        {"time": 0, "branching": 0.2, "volatility": 0.3, "arbitrage": 400},
        *({"time": round(time * 10) * SECOND // 10, "jump": jump} for time, jump in jumps),
    )
    return Scenario(
        name="weekend",
        seconds=seconds,
        plan=plan(thin),
        members=(gold(token), spot(PRICE, MONEY, plan(thin | {"link": 1_000}))),
        channels=(Channel(source=1, target=0, share=share, delay=delay, spread=spread),),
    )


def _february() -> Scenario:
    usual = weekend()
    (calm,) = usual.plan
    # Whoever held both sells the coin.
    stages = np.concatenate(
        (
            usual.plan,
            plan(
                {name: calm[name] for name in STAGE.names or ()}
                | {"time": (GOLD_TIME + GOLD_DELAY) * SECOND, "sells": 2_500.0, "branching": 0.6},
                {"time": 200 * SECOND, "sells": 0.0, "branching": 0.4},
            ),
        )
    )
    return replace(usual, name="february-weekend", plan=stages)


def _october_peg() -> Scenario:
    # October's news on two venues, in stages of its own. Arbitrage stops with the news; the peg is sold on the venue
    # that marks by it.
    stages = plan(
        {"time": 0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000},
        {"time": 60 * SECOND, "bids": 0.6, "asks": 0.75, "branching": 0.5},
        {"time": 90 * SECOND, "bids": 0.4, "asks": 0.6, "limits": 0.7},
        {"time": 120 * SECOND, "branching": 0.8, "sells": 2_000.0, "arbitrage": 200, "volatility": 8.0, "returns": 0.0},
        *_slide(121, 150, -0.03),
        {"time": 151 * SECOND, "sells": 4_000.0, "limits": 0.35},
        *_slide(152, 230, -0.05),
        {"time": 231 * SECOND, "sells": 1_000.0, "branching": 0.7},
        {"time": 270 * SECOND, "sells": 0.0, "limits": 0.5, "branching": 0.5},
        *_slide(300, 360, 0.03),
        {"time": 361 * SECOND, "volatility": 5.0, "limits": 0.6},
    )
    second = stages.copy()
    second["sells"] *= 0.3
    second["link"] = np.where(second["time"] < 120 * SECOND, 2_000, 50)
    token = plan(
        {"time": 0, "branching": 0.2, "volatility": 0.2, "arbitrage": 20_000},
        {"time": 125 * SECOND, "sells": 60_000.0, "arbitrage": 0, "limits": 0.5, "bids": 0.5, "returns": 0.0},
        {"time": 190 * SECOND, "sells": 10_000.0},
        {"time": 215 * SECOND, "sells": 0.0},
        # Those who can redeem it are back.
        {"time": 269 * SECOND, "arbitrage": 20_000},
        *_slide(270, 330, 0.3),
    )
    return Scenario(
        name="october-10-peg",
        seconds=420,
        plan=stages,
        population=Population(interest=4_000_000, named=(*HOLDERS, *HEDGES)),
        fund=2e6,
        fund_holds=300_000,
        volunteer=1,
        members=(spot(PRICE, MONEY, second), peg(token)),
        pledge=Pledge(member=2, share=0.25),
    )


SCENARIOS: Final[dict[str, Callable[[], Scenario]]] = {
    "calm": _calm,
    "october-10": october,
    "feed-outage": _outage,
    "squeeze": _squeeze,
    "spoof": _spoof,
    "february-weekend": _february,
    "october-10-peg": _october_peg,
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
    """Give what everybody knows of a market before it begins: who holds much, where that is forced and ends."""
    money = INSTRUMENT.tick / 10**INSTRUMENT.price_decimals
    return tuple(
        Exposure(
            name=f"holder {place}",
            asset=INSTRUMENT.asset,
            side="long" if each.side > 0 else "short",
            quantity=each.size * INSTRUMENT.lot / 10**INSTRUMENT.size_decimals,
            trigger=PRICE * (1.0 - each.side * each.distance) * money,
            bankruptcy=placed_at(each, PRICE)[4] * money,
            instrument=INSTRUMENT.key,
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
    world = begin(usual(PRICE, MONEY), wanted.plan, accounts, seed, start, PRICE)
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
