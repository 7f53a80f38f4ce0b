"""A liquidation map to be told things in plain numbers, for tests."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import liquidations
from engine.config import EngineConfig, MapConfig
from engine.instrument import Instrument
from engine.knowledge import Bracket, Exposure, Knowledge
from engine.liquidation_exposures import exposures_of
from engine.liquidation_weights import draw, weights
from engine.money import unit_of
from engine.schema import LIQUIDATION, REFERENCE, TRADE, Contract, Coverage, Reference, Rows

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
SIDES = (1, -1)

Triggers = list[tuple[float, float, float]]


class Map:
    """One instrument's memory and constants; prices have 2 decimals and sizes 3."""

    def __init__(
        self,
        asked: MapConfig | None = None,
        contract: Contract = Contract.LINEAR,
        exposures: tuple[Exposure, ...] = (),
        brackets: tuple[Bracket, ...] = (),
        contract_size: int = 10**8,
        config: EngineConfig | None = None,
        key: str = "venue:A",
    ) -> None:
        known = Knowledge(exposures=exposures, brackets=brackets)
        config = config or EngineConfig(map=asked or MapConfig(), knowledge=known)
        self.unit = unit_of(
            Instrument(
                venue="venue",
                symbol="A",
                asset="A",
                quote="USD",
                contract=contract,
                price_decimals=2,
                size_decimals=3,
                tick=1,
                lot=1,
                contract_size=contract_size,
            )
        )
        self.memory = liquidations.memory_of(config)
        self.settings = liquidations.settings_of(config, key, "A")
        self.exposures = exposures_of(config, "A")

    def trade(self, now: int, *trades: tuple[float, float]) -> None:
        rows = np.zeros(len(trades), TRADE)
        for row, (price, size) in zip(rows, trades, strict=True):
            row["price"], row["size"], row["side"] = round(price * 100), round(size * 1_000), 1
        liquidations.take_trades(self.memory, self.settings, rows, self.unit, now)

    def open_interest(self, now: int, size: float) -> None:
        self._refer(now, Reference.OPEN_INTEREST, round(size * 1_000))

    def mark(self, now: int, price: float) -> None:
        self._refer(now, Reference.MARK, round(price * 100))

    def index(self, now: int, price: float) -> None:
        self._refer(now, Reference.INDEX, round(price * 100))

    def _refer(self, now: int, what: Reference, value: int) -> None:
        rows = np.zeros(1, REFERENCE)
        rows["what"], rows["value"] = int(what), value
        liquidations.take_references(self.memory, self.settings, rows, self.unit, now)

    def liquidation(self, now: int, side: int, size: float, price: float, coverage: Coverage = Coverage.ALL) -> None:
        rows = np.zeros(1, LIQUIDATION)
        rows["side"], rows["coverage"] = side, int(coverage)
        rows["size"], rows["price"] = round(size * 1_000), round(price * 100)
        liquidations.take_liquidations(self.memory, self.settings, rows, self.unit, now)

    def triggers(self, side: int, mixture: NDArray[np.float64] | None = None) -> Triggers:
        """Triggers as (price, base units, floor), in the order in which they are hit."""
        marks, amounts, floors = (np.zeros(liquidations.ROOM) for _ in range(3))
        mixture = self.weights if mixture is None else mixture
        n = liquidations.triggers(self.memory, self.settings, mixture, side, marks, amounts, floors)
        return list(zip(marks[:n].tolist(), amounts[:n].tolist(), floors[:n].tolist(), strict=True))

    def one_class(self, k: int, side: int) -> Triggers:
        """The unit map of one class."""
        only = np.zeros(8)
        only[k] = 1.0
        return self.triggers(side, only)

    @property
    def weights(self) -> NDArray[np.float64]:
        out = np.zeros(8)
        weights(self.memory, self.settings, out)
        return out

    def draw(self, index: int) -> NDArray[np.float64]:
        out = np.zeros(8)
        draw(self.memory, self.settings, index, out)
        return out

    def coverage(self, side: int) -> Any:
        share, known = liquidations.coverage(self.memory, self.settings, side)
        return float(share), bool(known)

    def total(self, name: str, k: int, side: int) -> float:
        """What became of quantity in one class, units of the contract."""
        return float(self.memory[name][0][k, 0 if side > 0 else 1])

    def held(self, k: int, side: int) -> float:
        return float(self.memory["quantity"][0][k, 0 if side > 0 else 1].sum())

    @property
    def version(self) -> int:
        return int(self.memory["version"][0])

    def again(self) -> "Map":
        """The same map, through bytes."""
        other = object.__new__(Map)
        other.unit, other.settings, other.exposures = self.unit, self.settings, self.exposures
        other.memory = np.frombuffer(self.memory.tobytes(), liquidations.MEMORY).copy()
        return other


def floats(rows: Rows) -> NDArray[np.float64]:
    """Every float of a row, flat."""
    names = rows.dtype.names or ()
    return np.concatenate([rows[name].ravel() for name in names if rows[name].dtype.kind == "f"])
