"""Knowledge: what a desk knows and no feed says, as frozen values: exposures, margin brackets, depth of old."""

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
    #: Maintenance amount, which venues also call cumulative, quote units.
    amount: float = 0.0

    def __post_init__(self) -> None:
        if not (self.notional >= 0 and 0 < self.rate < 1 and self.amount >= 0):
            raise BadConfig(f"bracket of {self.venue} is {self}, allowed are notional >= 0, 0 < rate < 1, amount >= 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLevel:
    """What usually rested within a band of the mid before the event of 2025-10-10, or enough to work it out."""

    asset: str
    #: `venue:SYMBOL` that it is of; empty: the asset's venues together.
    instrument: str = ""
    #: Basis points; one of the baseline's bands.
    band: int
    #: Median depth of both sides together, quote units, as of a moment before or after the event.
    depth: float
    #: When that was measured, ns since the Unix epoch.
    as_of: int
    #: Of a depth measured after the event: what share of the depth before it that is; 0: as published, if it was.
    share: float = 0.0
    #: Where it comes from, for people.
    source: str = ""

    def __post_init__(self) -> None:
        if not (isfinite(self.depth) and self.depth > 0):
            raise BadConfig(f"depth of {self.asset} within {self.band} bps is {self.depth}, allowed are numbers above 0")
        if not 0 <= self.share <= 10:
            raise BadConfig(f"share of {self.asset} within {self.band} bps is {self.share}, allowed are 0 to 10")
        if self.instrument and ":" not in self.instrument:
            raise BadConfig(f"instrument is {self.instrument!r}, allowed is venue:SYMBOL, or nothing for all venues")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A fitted vacuum probability: logistic in named inputs, then isotonic; `engine.statistics.fitting` makes it."""

    #: Names of inputs, out of `engine.inputs.NAMES`, and the weight of each.
    inputs: tuple[str, ...]
    weights: tuple[float, ...]
    intercept: float
    #: Isotonic steps: raw probabilities ascending, and the calibrated one from each on, ascending too.
    knots: tuple[float, ...]
    values: tuple[float, ...]
    #: Seconds ahead that it speaks of.
    horizon: int
    #: Share of moments that the event followed, in the data that it was fitted on.
    base_rate: float
    #: Label events behind the fit.
    events: int
    source: str = ""

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.weights) or not self.inputs or len(set(self.inputs)) != len(self.inputs):
            raise BadConfig(
                f"model has {len(self.inputs)} inputs and {len(self.weights)} weights, allowed: one for one"
            )
        if not self.knots or len(self.knots) != len(self.values):
            raise BadConfig(f"model has {len(self.knots)} knots and {len(self.values)} values, allowed: one for one")
        if list(self.knots) != sorted(self.knots) or list(self.values) != sorted(self.values):
            raise BadConfig("knots or values of the model are not ascending: that is no isotonic calibration")
        if not all(isfinite(each) for each in (*self.weights, self.intercept, *self.knots)):
            raise BadConfig("weights, intercept and knots of the model must be finite")
        if not (self.values[0] >= 0 and self.values[-1] <= 1 and 0 < self.base_rate < 1):
            raise BadConfig(f"values and base rate ({self.base_rate}) of the model must be probabilities")
        if self.horizon <= 0 or self.events < 0:
            raise BadConfig(f"horizon is {self.horizon} s, events are {self.events}: above 0 and from 0 are allowed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """Everything of that kind; part of the engine's digest."""

    exposures: tuple[Exposure, ...] = ()
    brackets: tuple[Bracket, ...] = ()
    references: tuple[ReferenceLevel, ...] = ()
