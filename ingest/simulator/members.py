"""What a scenario has beside its coin: other books, and what ties them together.

The coin is member 0 of a scenario, the others follow in the order in which they are listed. A tie names members by
their numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.schema import Contract, Rows
from ingest.simulator import usual
from ingest.simulator.frames import SPOT_VENUE, VENUE

#: 4,400 USD an ounce; 1 USDT.
GOLD_PRICE: Final = 8_800
PEG_PRICE: Final = 10_000

GOLD: Final = Instrument(
    venue=VENUE,
    symbol="PAXGUSDT",
    asset="PAXG",
    quote="USDT",
    contract=Contract.LINEAR,
    price_decimals=2,
    size_decimals=3,
    tick=50,
    lot=1,
)
#: The spot venue states eight decimals of every price and size.
SPOT: Final = Instrument(
    venue=SPOT_VENUE,
    symbol="BTCUSDT",
    asset="BTC",
    quote="USDT",
    contract=Contract.SPOT,
    price_decimals=8,
    size_decimals=8,
    tick=500_000_000,
    lot=100_000,
)
PEG: Final = Instrument(
    venue=SPOT_VENUE,
    symbol="USDEUSDT",
    asset="USDE",
    quote="USDT",
    contract=Contract.SPOT,
    price_decimals=8,
    size_decimals=8,
    tick=10_000,
    lot=100_000_000,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A book of its own: instrument, price in ticks at the begin, quote units of a tick times a lot, plan."""

    instrument: Instrument
    price: int
    money: float
    parameters: Callable[[int, float], Rows]
    plan: Rows
    #: Whose news moves its fundamental too; -1: it has its own.
    follows: int = -1
    #: With whom arbitrage ties it (same ticks and lots; as much as the plan's `link` says); -1: nobody.
    bound: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """News of one member reaches another: so large a share of it, so much later."""

    source: int
    target: int
    share: float
    #: s, whole tenths; and by how much a jump may come earlier or later, evenly, at most as much as the delay.
    delay: float
    spread: float = 0.0

    def __post_init__(self) -> None:
        if self.delay < 0.0 or abs(self.delay * 10.0 - round(self.delay * 10.0)) > 1e-6:
            raise BadConfig(f"delay is {self.delay} s, allowed are tenths from 0")
        if not 0.0 <= self.spread <= self.delay:
            raise BadConfig(f"spread of a delay of {self.delay} s is {self.spread}, allowed are 0 to {self.delay}")
        if self.source == self.target:
            raise BadConfig(f"news of member {self.source} is to reach itself, allowed are two members")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pledge:
    """A share of the coin's accounts has pledged the asset of a member, which is marked to that member's own book."""

    member: int
    share: float
    #: What is sold of seized collateral per grid step at most, lots of the member.
    sale: int = 300

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise BadConfig(f"share of pledging accounts is {self.share}, allowed are 0 to 1")


def gold(plan: Rows) -> Member:
    """Make the gold token, a perpetual of the coin's venue."""
    return Member(instrument=GOLD, price=GOLD_PRICE, money=0.0005, parameters=usual.gold, plan=plan)


def spot(price: int, money: float, plan: Rows) -> Member:
    """Make the coin's second venue, tied to the first."""
    second = usual.second
    return Member(instrument=SPOT, price=price, money=money, parameters=second, plan=plan, follows=0, bound=0)


def peg(plan: Rows) -> Member:
    """Make the pegged asset."""
    return Member(instrument=PEG, price=PEG_PRICE, money=0.0001, parameters=usual.peg, plan=plan)
