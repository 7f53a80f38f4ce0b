"""What the engine may be told: frozen values, checked once, hashed into every signal's header."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from typing import Any, Final

from engine.errors import BadConfig
from engine.knowledge import Knowledge

#: Changes whenever the same rows could give other signal bytes.
ENGINE_VERSION: Final = "3"
#: Moves that a track can compare with those it told last.
MOST_DROPS: Final = 16
#: Bands that a baseline can hold, and the visits that it keeps of each hour of the week.
MOST_BANDS: Final = 4
MOST_VISITS: Final = 8
#: Longest time that a state may be asked to hold, ms.
DAY: Final = 86_400_000


def above_zero(section: Any, names: Sequence[str]) -> None:
    """Refuse a setting that is not above 0."""
    for name in names:
        if not getattr(section, name) > 0:
            raise BadConfig(f"{name} is {getattr(section, name)}, allowed are values above 0")


def ascending(name: str, values: Sequence[int], low: int, high: int) -> None:
    """Refuse a list that is empty, not ascending, or reaches outside its bounds."""
    if not values or list(values) != sorted(set(values)) or not low <= values[0] <= values[-1] <= high:
        raise BadConfig(f"{name} are {tuple(values)}, allowed are ascending whole numbers from {low} to {high}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowConfig:
    """How order flow is cut in time."""

    #: The grid on which flow is summed, ms of row time; asset-wide signals are computed on the same grid.
    cell: int = 250
    #: Windows over which order-flow imbalance is reported, ms, ascending; multiples of the cell.
    windows: tuple[int, ...] = (1_000, 5_000, 10_000)
    #: Window of the refill ratio, ms; a multiple of the cell.
    refill: int = 5_000
    #: Times after a trade at which its spread is called realised, ms, ascending; multiples of the cell.
    horizons: tuple[int, ...] = (1_000, 5_000, 30_000)
    #: Interval whose price change is regressed on its order-flow imbalance, ms; a multiple of the cell.
    impact: int = 1_000
    #: Memory of that regression, seconds (forgetting factor exp(-interval / memory)).
    impact_memory: float = 120.0
    #: Training window of the weights of integrated order-flow imbalance, seconds.
    training: int = 1_800
    #: A shock: this share of a side's depth within the shock band gone within `shock_window`.
    shock: float = 0.5
    shock_window: int = 1_000
    #: How long recovery from a shock is followed, ms.
    recovery: int = 60_000
    #: Signed-flow toxicity: quote units per volume bucket, and how many buckets.
    bucket: int = 1_000_000
    buckets: int = 50

    def __post_init__(self) -> None:
        names = ("cell", "refill", "impact", "impact_memory", "training", "shock_window", "recovery", "bucket")
        above_zero(self, (*names, "buckets"))
        ascending("windows", self.windows, self.cell, 60_000)
        ascending("horizons", self.horizons, self.cell, 60_000)
        for value in (*self.windows, *self.horizons, self.refill, self.impact, self.shock_window, self.recovery):
            if value % self.cell or value > 60_000:
                raise BadConfig(f"{value} ms is no whole number of cells of {self.cell} ms up to 60000 ms")
        if not 0 < self.shock < 1:
            raise BadConfig(f"shock is {self.shock}, allowed are shares between 0 and 1")
        if self.buckets > 256:
            raise BadConfig(f"buckets is {self.buckets}, allowed are 1 to 256")


@dataclass(frozen=True, slots=True, kw_only=True)
class VacuumConfig:
    """Constants of the vacuum's state machine; `engine.vacuum` draws it."""

    #: Band, bps, of the depth ratio that the machine reads.
    band: int = 10
    #: NORMAL -> THIN: ratio below this for so long, ms.
    thin_ratio: float = 0.5
    thin_for: int = 2_000
    #: THIN or RECOVERING -> VACUUM: ratio and refill below these, and spread or withdrawal above those, for so long.
    vacuum_ratio: float = 0.2
    vacuum_refill: float = 0.5
    #: Times its median.
    vacuum_spread: float = 5.0
    vacuum_withdrawal: float = 0.6
    vacuum_for: int = 1_000
    #: VACUUM -> RECOVERING: refill above this for so long.
    recovering_refill: float = 1.0
    recovering_for: int = 3_000
    #: RECOVERING or THIN -> NORMAL: ratio above this for so long.
    normal_ratio: float = 0.6
    normal_for: int = 10_000
    #: Two evaluations further apart than this, ms: what was not seen in between did not hold.
    gap: int = 1_000
    #: A record at least this often in row time, beside one at every transition, ms.
    cadence: int = 1_000

    def __post_init__(self) -> None:
        above_zero(self, [each.name for each in fields(self)])
        ascending("band", (self.band,), 1, 9_999)
        for name in ("thin_for", "vacuum_for", "recovering_for", "normal_for", "gap", "cadence"):
            if getattr(self, name) > DAY:
                raise BadConfig(f"{name} is {getattr(self, name)}, allowed are milliseconds from 1 to {DAY}")
        if self.vacuum_withdrawal > 1:
            raise BadConfig(f"vacuum_withdrawal is {self.vacuum_withdrawal}, allowed are shares above 0 to 1")
        for low, high in (
            ("vacuum_ratio", "thin_ratio"),
            ("thin_ratio", "normal_ratio"),
            ("vacuum_refill", "recovering_refill"),
        ):
            if getattr(self, low) > getattr(self, high):
                met = f"{low} is {getattr(self, low)} and {high} {getattr(self, high)}"
                raise BadConfig(f"{met}, allowed is the first at most as large as the second")


@dataclass(frozen=True, slots=True, kw_only=True)
class MapConfig:
    """Assumptions of the estimated liquidation map."""

    #: Leverages that positions are assumed to have, ascending, and the prior weight of each; weights sum to 1.
    leverages: tuple[int, ...] = (5, 10, 20, 50, 100)
    weights: tuple[float, ...] = (0.35, 0.30, 0.20, 0.10, 0.05)
    #: How many liquidations the prior is worth: sum of the Dirichlet's parameters.
    strength: float = 20.0
    #: Size of a typical position, quote units: decides its maintenance bracket and what one liquidation counts.
    position: float = 100_000.0
    #: Maintenance margin rate of venues without brackets.
    maintenance: float = 0.004
    #: Age by which a position's chance of being the one that closes has halved, hours.
    half_life: float = 24.0
    #: Draws from the posterior behind every probability.
    draws: int = 200

    def __post_init__(self) -> None:
        above_zero(self, ("strength", "position", "maintenance", "half_life", "draws"))
        ascending("leverages", self.leverages, 1, 1_000)
        if len(self.weights) != len(self.leverages) or abs(sum(self.weights) - 1.0) > 1e-9 or min(self.weights) <= 0:
            raise BadConfig(f"weights are {self.weights}, allowed is one above 0 per leverage, 1 in sum")
        if max(self.leverages) * self.maintenance >= 1.0:
            raise BadConfig(
                f"maintenance is {self.maintenance}: at {max(self.leverages)} x a position opens liquidated"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeConfig:
    """What is asked of the cascade model."""

    #: Falls (and rises) whose critical shock is computed, bps, ascending.
    drops: tuple[int, ...] = (50, 100, 150, 200, 300, 500, 750, 1_000, 1_500, 2_000)
    #: Sales (and purchases) whose end is computed, whole quote units, ascending.
    shocks: tuple[int, ...] = (1_000_000, 10_000_000, 100_000_000)
    #: The one of the shocks against which the share of makers that may leave is computed, whole quote units.
    withdrawal: int = 10_000_000
    #: Share of a price move that the mark price has passed on by the time triggers are tested, 0 to 1; of venues
    #: without a rule of the mark (`engine.mark`).
    pass_through: float = 1.0
    #: Share of a forced trade that is made at once; the rest after `cooldown`, ms, if the cascade lasts longer.
    slice: float = 1.0
    cooldown: int = 30_000
    #: How long a cascade is assumed to last, ms: so long makers put back what they do near the mid, and so far marks
    #: follow; 0: nothing refills.
    duration: int = 0
    #: Horizon of the probability that more than a critical shock is sold (bought), seconds.
    horizon: int = 60
    #: Past horizons that this probability needs.
    samples: int = 200
    #: It is computed anew at most this often, ms of row time.
    risk_cadence: int = 10_000
    #: A record at least this often in row time, ms; 0 is one at every book message that can change it.
    cadence: int = 1_000
    #: A record at once where a critical shock moved by more than this share since the last one.
    step: float = 0.2

    def __post_init__(self) -> None:
        above_zero(self, ("withdrawal", "step", "horizon", "samples", "risk_cadence"))
        ascending("drops", self.drops, 1, 9_999)
        if len(self.drops) > MOST_DROPS:
            raise BadConfig(f"drops are {len(self.drops)}, allowed are {MOST_DROPS}")
        ascending("shocks", self.shocks, 1, 10**15)
        if self.withdrawal not in self.shocks:
            raise BadConfig(f"withdrawal is {self.withdrawal}, allowed is one of the shocks {self.shocks}")
        if not 0 <= self.pass_through <= 1:
            raise BadConfig(f"pass_through is {self.pass_through}, allowed are shares from 0 to 1")
        if not 0 < self.slice <= 1:
            raise BadConfig(f"slice is {self.slice}, allowed are shares above 0 to 1")
        for name in ("cadence", "cooldown", "duration"):
            if getattr(self, name) < 0:
                raise BadConfig(f"{name} is {getattr(self, name)}, allowed are milliseconds from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetConfig:
    """How the venues of one asset are put together."""

    #: A depth record of the asset at least this often in row time, ms; at the flow grid's lines.
    cadence: int = 1_000
    #: Band within which venues' shares are compared, bps.
    concentration: int = 100

    def __post_init__(self) -> None:
        above_zero(self, ("cadence",))
        ascending("concentration", (self.concentration,), 1, 9_998)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineConfig:
    """What a book is compared with: itself at the same hour of past weeks."""

    #: Distances from the mid whose depth has a baseline, bps, ascending; each one of the engine's bands.
    bands: tuple[int, ...] = (10, 50, 100)
    #: Between two samples, ms of row time; a whole number of them makes an hour.
    sample: int = 5_000
    #: Age at which a past hour counts half, days.
    half_life: float = 14.0
    #: Past hours that the baseline of an hour of the week needs; with fewer it is that of the whole week.
    visits: int = 3
    #: Samples that an hour needs to be counted.
    session: int = 12

    def __post_init__(self) -> None:
        ascending("bands", self.bands, 1, 9_999)
        if len(self.bands) > MOST_BANDS:
            raise BadConfig(f"bands are {len(self.bands)}, allowed are {MOST_BANDS}")
        if self.sample < 5_000 or 3_600_000 % self.sample:
            raise BadConfig(f"sample is {self.sample}, allowed are milliseconds from 5000 that divide an hour")
        if not 0.01 <= self.half_life <= 10_000:
            raise BadConfig(f"half_life is {self.half_life}, allowed are days from 0.01 to 10000")
        if not 1 <= self.visits <= MOST_VISITS:
            raise BadConfig(f"visits is {self.visits}, allowed are 1 to {MOST_VISITS}")
        if not 1 <= self.session <= 3_600_000 // self.sample:
            raise BadConfig(
                f"session is {self.session}, allowed are 1 to {3_600_000 // self.sample} samples of {self.sample} ms"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Settings of the signals; each is part of what makes a signal reproducible."""

    #: Depth bands around the mid, basis points, ascending.
    bands: tuple[int, ...] = (5, 10, 25, 50, 100, 200, 500)
    #: Notionals of the sweep cost, whole units of the quote currency, ascending.
    notionals: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    #: Air pockets are looked for within so many basis points of the mid, or the widest band where that is less.
    pocket_band: int = 200
    #: A hole is a stretch with less than this share of the depth within 100 bps.
    pocket_share: float = 0.05
    #: A depth record at least this often in row time while rows arrive, ms.
    cadence: int = 100
    #: A health record at least this often in row time while rows arrive, ms.
    health_cadence: int = 1_000
    #: A record for late joiners (`signal.latest.v1`) at most this often in row time, but for changes of state, ms.
    latest_cadence: int = 1_000
    #: A book whose last message is older than this is not known, ms of row time.
    stale_after: int = 2_000
    #: A book crossed for longer than this is not known, ms of row time.
    crossed_after: int = 100
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    vacuum: VacuumConfig = field(default_factory=VacuumConfig)
    map: MapConfig = field(default_factory=MapConfig)
    cascade: CascadeConfig = field(default_factory=CascadeConfig)
    asset: AssetConfig = field(default_factory=AssetConfig)
    #: What the desk knows and no feed says; read from files, not from keys.
    knowledge: Knowledge = field(default_factory=Knowledge, metadata={"key": False})

    def __post_init__(self) -> None:
        ascending("bands", self.bands, 1, 9_999)
        if not set(self.baseline.bands) <= set(self.bands):
            raise BadConfig(f"baseline.bands are {self.baseline.bands}, allowed are those among the bands {self.bands}")
        if not 1 <= self.pocket_band <= 9_999 or not 0 < self.pocket_share <= 1:
            met = f"{self.pocket_band} and {self.pocket_share}"
            raise BadConfig(
                f"pocket_band and pocket_share are {met}, allowed are 1 to 9999 bps and shares above 0 to 1"
            )
        if list(self.notionals) != sorted(set(self.notionals)) or any(n <= 0 for n in self.notionals):
            raise BadConfig(f"notionals are {self.notionals}, allowed are ascending positive whole numbers")
        for name in ("cadence", "health_cadence", "latest_cadence", "stale_after", "crossed_after"):
            if getattr(self, name) <= 0:
                raise BadConfig(f"{name} is {getattr(self, name)}, allowed are milliseconds above 0")
        if self.vacuum.gap < self.flow.cell:
            met = f"vacuum.gap is {self.vacuum.gap}"
            raise BadConfig(
                f"{met}, allowed are milliseconds from flow.cell, {self.flow.cell}: else nothing ever holds"
            )

    def digest(self) -> str:
        """Hash the settings and the engine's version: equal digests promise equal signals for equal rows."""
        text = repr((ENGINE_VERSION, sorted(asdict(self).items())))
        return sha256(text.encode()).hexdigest()[:16]
