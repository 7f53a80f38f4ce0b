"""Knowledge: what a desk knows and no feed says, as frozen values: exposures and margin brackets."""

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from engine.errors import BadConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A known holder. One with leverage has a trigger; one without is listed and never forced."""

    name: str
    asset: str
    #: "long" is forced to sell when price falls to the trigger, "short" to buy when it rises to it.
    side: Literal["long", "short"] = "long"
    #: Base units.
    quantity: float
    #: Price, quote units per base unit; None: no leverage, nothing to trigger.
    trigger: float | None = None
    #: One standard deviation of the trigger, price units.
    error: float = 0.0
    #: When this was true, ns since the Unix epoch.
    as_of: int
    #: Where it comes from, for people.
    source: str = ""

    def __post_init__(self) -> None:
        if self.side not in ("long", "short"):
            raise BadConfig(f"side of exposure {self.name!r} is {self.side!r}, allowed are long and short")
        if not (isfinite(self.quantity) and self.quantity > 0):
            raise BadConfig(f"quantity of exposure {self.name!r} is {self.quantity}, allowed are numbers above 0")
        if self.trigger is not None and not (isfinite(self.trigger) and self.trigger > 0):
            raise BadConfig(f"trigger of exposure {self.name!r} is {self.trigger}, allowed are prices above 0, or none")
        if not (isfinite(self.error) and self.error >= 0):
            raise BadConfig(f"error of exposure {self.name!r} is {self.error}, allowed are numbers from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """One step of a venue's maintenance margin: from this notional on, rate x notional - amount must remain."""

    venue: str
    #: Quote units; the venue's first bracket begins at 0.
    notional: float
    #: Maintenance margin rate, 0.004 is 0.4 %.
    rate: float
    #: Maintenance amount (Binance: `cum`), quote units.
    amount: float = 0.0

    def __post_init__(self) -> None:
        if not (self.notional >= 0 and 0 < self.rate < 1 and self.amount >= 0):
            raise BadConfig(f"bracket of {self.venue} is {self}, allowed are notional >= 0, 0 < rate < 1, amount >= 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """Everything of that kind; part of the engine's digest."""

    exposures: tuple[Exposure, ...] = ()
    brackets: tuple[Bracket, ...] = ()
