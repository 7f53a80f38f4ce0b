"""Knowledge: what a desk knows and no feed says, as frozen values: exposures, brackets, marks, old depth, a model."""

from dataclasses import dataclass
from math import isfinite
from typing import Final, Literal

from engine.errors import BadConfig

#: Largest horizon and count of events: both go into 64 bits.
MOST: Final = 10**9


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
    #: Price below which nothing of a long is sold (above which nothing of a short is bought), for its margin is gone
    #: there and the rest goes to insurance and auto-deleveraging; None: not known, sold at any price.
    bankruptcy: float | None = None
    #: `venue:SYMBOL` whose open interest holds it, and whose mark forces it; empty: it is in no open interest.
    instrument: str = ""
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
        if self.instrument and not all(self.instrument.partition(":")):
            met = f"instrument of exposure {self.name!r} is {self.instrument!r}"
            raise BadConfig(f"{met}, allowed is venue:SYMBOL, or nothing where it is in no open interest")
        if self.bankruptcy is not None:
            self._check_bankruptcy(self.bankruptcy)

    def _check_bankruptcy(self, price: float) -> None:
        met = f"bankruptcy of exposure {self.name!r} is {price}"
        if self.trigger is None:
            raise BadConfig(f"{met}, allowed is none without a trigger")
        if not (isfinite(price) and price > 0):
            raise BadConfig(f"{met}, allowed are prices above 0, or none")
        if price > self.trigger if self.side == "long" else price < self.trigger:
            beyond = "below" if self.side == "long" else "above"
            raise BadConfig(
                f"{met}, allowed of a {self.side} are prices {beyond} its trigger, {self.trigger}, or at it"
            )


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
class MarkRule:
    """How a venue makes the mark that it liquidates by; `engine.mark` says what follows from it."""

    #: Venue that it is of; empty: every venue without a rule of its own.
    venue: str = ""
    #: Share of a fall that the venue's index has too: what other venues share of it within the cascade, 0 to 1.
    index: float
    #: What is averaged: the basis (mid - index), added to the index, or the mid itself.
    of: Literal["basis", "mid"] = "basis"
    #: Time constant of an exponential average, s, or length of a plain mean, s; neither: there is no average.
    average: float = 0.0
    window: float = 0.0
    #: How far from the index the mark may be, share of it; 0: any distance.
    clamp: float = 0.0
    #: Where it comes from, for people.
    source: str = ""

    def __post_init__(self) -> None:
        where = f"mark of {self.venue or 'all venues'}"
        if not 0 <= self.index <= 1:
            raise BadConfig(f"index of the {where} is {self.index}, allowed are shares from 0 to 1")
        if self.of not in ("basis", "mid"):
            raise BadConfig(f"of of the {where} is {self.of!r}, allowed are basis and mid")
        for name in ("average", "window"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0):
                raise BadConfig(f"{name} of the {where} is {value}, allowed are seconds from 0")
        if self.average and self.window:
            raise BadConfig(
                f"the {where} has an average of {self.average} s and a window of {self.window} s, allowed is one"
            )
        if not 0 <= self.clamp < 1:
            raise BadConfig(f"clamp of the {where} is {self.clamp}, allowed are shares from 0 to below 1")


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
            raise BadConfig(
                f"depth of {self.asset} within {self.band} bps is {self.depth}, allowed are numbers above 0"
            )
        if not 0 <= self.share <= 10:
            raise BadConfig(f"share of {self.asset} within {self.band} bps is {self.share}, allowed are 0 to 10")
        if self.instrument and ":" not in self.instrument:
            raise BadConfig(f"instrument is {self.instrument!r}, allowed is venue:SYMBOL, or nothing for all venues")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A fitted vacuum probability: logistic in named inputs, then isotonic; `engine.statistics.fitting` makes it."""

    #: Names of inputs, out of `engine.probability.ORDER`, and the weight of each.
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
        if not self.inputs or len(set(self.inputs)) != len(self.inputs):
            raise BadConfig(f"inputs of the model are {self.inputs}, allowed are one name or more, each once")
        for name, many, other in (("weights", self.weights, "inputs"), ("values", self.values, "knots")):
            if len(many) != len(getattr(self, other)):
                met = f"{len(getattr(self, other))} {other} and {len(many)} {name}"
                raise BadConfig(f"model has {met}, allowed: one for one")
        if not self.knots:
            raise BadConfig("knots are none, allowed are one or more")
        for name in ("weights", "knots", "values"):
            if not all(isfinite(each) for each in getattr(self, name)):
                raise BadConfig(f"{name} are {getattr(self, name)}, allowed are finite numbers")
        if not isfinite(self.intercept):
            raise BadConfig(f"intercept is {self.intercept}, allowed are finite numbers")
        for name in ("knots", "values"):
            if list(getattr(self, name)) != sorted(getattr(self, name)):
                raise BadConfig(f"{name} are {getattr(self, name)}, allowed are ascending numbers: isotonic steps")
        if self.values[0] < 0 or self.values[-1] > 1:
            raise BadConfig(f"values are {self.values}, allowed are probabilities from 0 to 1")
        if not 0 < self.base_rate < 1:
            raise BadConfig(f"base_rate is {self.base_rate}, allowed are probabilities between 0 and 1")
        for name, low in (("horizon", 1), ("events", 0)):
            if not low <= getattr(self, name) <= MOST:
                raise BadConfig(f"{name} is {getattr(self, name)}, allowed are whole numbers from {low} to {MOST}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """Everything of that kind; part of the engine's digest."""

    exposures: tuple[Exposure, ...] = ()
    brackets: tuple[Bracket, ...] = ()
    marks: tuple[MarkRule, ...] = ()
    references: tuple[ReferenceLevel, ...] = ()
    #: None: the vacuum has states and no probability.
    model: Model | None = None

    def __post_init__(self) -> None:
        named = [each.venue for each in self.marks]
        twice = sorted({venue for venue in named if named.count(venue) > 1})
        if twice:
            raise BadConfig(f"{twice[0] or 'all venues'} has {named.count(twice[0])} marks, allowed is one")
