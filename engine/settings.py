"""Settings: the configuration in; the arrays, limits and layouts that its kernels take out, made once."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from engine import baseline, vacuum
from engine.config import EngineConfig
from engine.fields import Signal, Why
from engine.imbalance import LEVELS
from engine.inputs import INPUTS, NAMES
from engine.probability import model_of
from engine.reference import references_of
from engine.resilience import ZONE_BPS
from engine.schema import view_dtype
from engine.signals import cascade, cascade_asset, depth, depth_asset, flow, health, vacuum_asset
from engine.signals import vacuum as vacuum_row
from engine.tail import settings_of

#: Bits beside those of `engine.signals.health`.
CASCADE: Final = 16
FLOW: Final = 32
VACUUM: Final = 64
#: Beside VACUUM: because a state changed.
MOVED: Final = 128

#: Every signal of an instrument, in the order in which records of one row are written, and the bit that calls for it.
SIGNALS: Final[tuple[tuple[Signal, int], ...]] = (
    (depth.SIGNAL, health.DEPTH),
    (health.SIGNAL, health.HEALTH),
    (flow.SIGNAL, FLOW),
    (cascade.SIGNAL, CASCADE),
    (vacuum_row.SIGNAL, VACUUM),
)
#: What a change of state calls for beside depth and health.
CHANGED: Final = CASCADE | FLOW | VACUUM
#: Every signal of an asset, in the order in which records of one line are written, and its cadence, ms of row time.
ASSET_SIGNALS: Final[tuple[tuple[Signal, Callable[[EngineConfig], int]], ...]] = (
    (depth_asset.SIGNAL, lambda config: config.asset.cadence),
    (vacuum_asset.SIGNAL, lambda config: config.vacuum.cadence),
    # Not at every book message where an instrument's is: the grid of an asset has no finer lines.
    (cascade_asset.SIGNAL, lambda config: config.cascade.cadence or config.flow.cell),
)
#: Move whose critical shock is an input of the vacuum, and band of its wider depth ratio, bps.
SHOCK: Final = 100
WIDE: Final = 50


class Settings:
    """Constants of a configuration; only the rows that records are made in ever change."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.digest = config.digest()
        #: Those of `engine.signals.health`, and how far a cascade is to look at every book message, bps, 0: at none.
        reach = 0 if config.cascade.cadence else config.cascade.drops[-1] + cascade.BEYOND
        self.limits = np.append(health.limits_of(config), reach)
        self.cell = config.flow.cell * 1_000_000
        self.latest = config.latest_cadence * 1_000_000
        self.bands = np.array(config.bands, np.int64)
        self.notionals = np.array(config.notionals, np.float64)
        self.flow = flow.settings_of(config)
        self.baseline = baseline.settings_of(config)
        self.vacuum = vacuum.settings_of(config)
        self.vacuum_cadence = config.vacuum.cadence * 1_000_000
        self.model = model_of(config.knowledge.model)
        self.baseline_bands = np.array(config.baseline.bands, np.int64)
        self.places = self.baseline["places"][0, : len(config.baseline.bands)].copy()
        #: Places of the machine's band and of the wider one among the baseline's; place of the 1 % move, or -1.
        self.narrow = config.baseline.bands.index(config.vacuum.band)
        self.wide = nearest(config.baseline.bands, WIDE)
        self.shock_at = config.cascade.drops.index(SHOCK) if SHOCK in config.cascade.drops else -1
        self.tail = settings_of(config.cascade.horizon, samples=config.cascade.samples)
        #: What the machine could read of a book that is not known.
        self.blind = np.zeros(1, INPUTS)
        for name in NAMES:
            self.blind[f"{name}_why"] = int(Why.UNKNOWN_BOOK)
        self.cascade_cadence = config.cascade.cadence * 1_000_000
        # A reference that cannot be used is the operator's fault and is to be said before the first row.
        for each in config.knowledge.references:
            references_of(config, each.asset, each.instrument)
        self.layouts = {
            "depth": depth.layout(config),
            "health": health.layout(),
            "flow": flow.layout(config),
            "cascade": cascade.layout(config),
            "vacuum": vacuum_row.layout(),
        }
        self.asset_layouts = {
            "depth": depth_asset.layout(config),
            "vacuum": vacuum_row.layout(),
            "cascade": cascade_asset.layout(config),
        }
        #: One row of each, filled anew for every record.
        self.rows = {name: np.zeros(1, layout.dtype) for name, layout in self.layouts.items()}
        #: One book as it is now, and two numbers; filled anew for every record.
        self.view, self.scratch = np.zeros(1, view_dtype(len(config.bands))), np.zeros(2)
        self.asset_rows = {name: np.zeros(1, layout.dtype) for name, layout in self.asset_layouts.items()}
        axes = {
            "bands": list(config.bands),
            "baseline_bands": list(config.baseline.bands),
            "venues": [],
            "excluded": [],
            "notionals": self.notionals.tolist(),
            "windows": list(config.flow.windows),
            "horizons": list(config.flow.horizons),
            "zones": [int(zone) for zone in ZONE_BPS],
            "levels": list(range(1, LEVELS + 1)),
            "drops": list(config.cascade.drops),
            "shocks": list(config.cascade.shocks),
        }
        #: Whose book, after how many messages, which version of its map, which cell of its flow and which marks the
        #: cascade looked at last, what it saw, and whether its row was filled with that.
        self.cascade_of: tuple[str, int, int, int, bytes] = ("", 0, 0, 0, b"")
        self.cascade_sight: cascade.Sight | None = None
        self.cascade_told = False
        #: Open interest then.
        self.cascade_interest = 0.0
        #: What the fields of a book that is not known hold: nothing but the axes.
        self.unknown = {signal.name: emptied(signal, axes) for signal, _ in SIGNALS if signal.needs_book}
        self.asset_unknown = {signal.name: emptied(signal, axes) for signal, _ in ASSET_SIGNALS if signal.needs_book}

    def end_of(self, time: int) -> int:
        """Give the end of the cell of the flow's grid that a row time lies in."""
        return (time // self.cell + 1) * self.cell


def emptied(signal: Signal, axes: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of a signal without a book."""
    return {field.name: axes.get(field.name) for field in signal.fields}


def nearest(bands: tuple[int, ...], wanted: int) -> int:
    """Give the place of the band nearest to one that is wanted, of two the smaller."""
    return min(range(len(bands)), key=lambda at: (abs(bands[at] - wanted), bands[at]))
