"""Scenarios by name: a seed in, a market with known truth out.

BTC perpetual futures, ticks of 5 USD, lots of 0.001 BTC: about 250 BTC a side within 1 % in calm, 2,400 BTC of open
interest. Times of a plan are those of the market, from its begin on. What `october-10` must resemble: depth that thins
before the news, a fall of a tenth within minutes, makers that leave, forced sales in their wake, auto-deleveraging once
the fund is spent, and nobody who refills.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.schema import Contract, Rows
from ingest.simulator.frames import START, VENUE
from ingest.simulator.members import Channel, Member, Pledge, gold, peg, spot
from ingest.simulator.population import Named, Population, populate
from ingest.simulator.usual import usual
from ingest.simulator.world import MAKERS, SECOND, STAGE, World, begin, plan

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
    #: Other books, numbered from 1 on, and what ties them to one another and to the coin, which is 0.
    members: tuple[Member, ...] = ()
    channels: tuple[Channel, ...] = ()
    pledge: Pledge | None = None
    #: From when to when the feed is dead, s.
    outage: tuple[float, float] | None = None


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
    # The same news on two venues. Arbitrage stops with the news; the peg is sold on the venue that marks by it.
    october = _october()
    second = october.plan.copy()
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
    return replace(
        october,
        name="october-10-peg",
        members=(spot(PRICE, MONEY, second), peg(token)),
        pledge=Pledge(member=2, share=0.25),
    )


SCENARIOS: Final[dict[str, Callable[[], Scenario]]] = {
    "calm": _calm,
    "october-10": _october,
    "feed-outage": _outage,
    "squeeze": _squeeze,
    "spoof": _spoof,
    "february-weekend": _february,
    "october-10-peg": _october_peg,
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
    world = begin(usual(PRICE, MONEY), wanted.plan, accounts, seed, start, PRICE)
    world.state[0]["fund"] = int(wanted.fund / MONEY)
    world.parameters[0]["fund_holds"] = wanted.fund_holds
    if wanted.volunteer >= 0:
        named = wanted.population.named[wanted.volunteer]
        matches = np.flatnonzero((accounts["named"] > 0) & (accounts["size"] == named.size) & (accounts["maker"] < 0))
        world.parameters[0]["named"] = int(matches[0])
    return world
