"""Settings: the configuration in; the arrays, limits and layouts that its kernels take out, made once."""

from typing import Any, Final

import numpy as np

from engine.config import EngineConfig
from engine.fields import Signal
from engine.imbalance import LEVELS
from engine.resilience import ZONE_BPS
from engine.signals import cascade, depth, flow, health
from engine.tail import settings_of

#: Bits beside those of `engine.signals.health`.
CASCADE: Final = 16
FLOW: Final = 32

#: Every signal of an instrument, in the order in which records of one row are written, and the bit that calls for it.
SIGNALS: Final[tuple[tuple[Signal, int], ...]] = (
    (depth.SIGNAL, health.DEPTH),
    (health.SIGNAL, health.HEALTH),
    (flow.SIGNAL, FLOW),
    (cascade.SIGNAL, CASCADE),
)
#: What a change of state calls for beside depth and health.
CHANGED: Final = CASCADE | FLOW


class Settings:
    """Constants of a configuration; only the rows that records are made in ever change."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.digest = config.digest()
        self.limits = health.limits_of(config)
        self.cell = config.flow.cell * 1_000_000
        self.latest = config.latest_cadence * 1_000_000
        self.bands = np.array(config.bands, np.int64)
        self.notionals = np.array(config.notionals, np.float64)
        self.flow = flow.settings_of(config)
        self.tail = settings_of(config.cascade.horizon, samples=config.cascade.samples)
        self.cascade_cadence = config.cascade.cadence * 1_000_000
        self.layouts = {
            "depth": depth.layout(config),
            "health": health.layout(),
            "flow": flow.layout(config),
            "cascade": cascade.layout(config),
        }
        #: One row of each, filled anew for every record.
        self.rows = {name: np.zeros(1, layout.dtype) for name, layout in self.layouts.items()}
        axes = {
            "bands": list(config.bands),
            "notionals": self.notionals.tolist(),
            "windows": list(config.flow.windows),
            "horizons": list(config.flow.horizons),
            "zones": [int(zone) for zone in ZONE_BPS],
            "levels": list(range(1, LEVELS + 1)),
            "drops": list(config.cascade.drops),
            "shocks": list(config.cascade.shocks),
        }
        #: Whose book, after how many messages, which version of its map and which cell of its flow the cascade's row
        #: shows, and what of the book it looked at.
        self.cascade_of: tuple[str, int, int, int] = ("", 0, 0, 0)
        self.cascade_seen: cascade.Seen | None = None
        #: What the fields of a book that is not known hold: nothing but the axes.
        self.unknown: dict[str, dict[str, Any]] = {
            signal.name: {field.name: axes.get(field.name) for field in signal.fields}
            for signal, _ in SIGNALS
            if signal.needs_book
        }
