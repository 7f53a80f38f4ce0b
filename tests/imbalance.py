"""One book with its flow's kernels and their twin beside it: what the tests of imbalance and impact share."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from engine import imbalance, impact
from engine.book import Book
from engine.fields import Field, Layout
from engine.imbalance import LEVELS, RING, close_imbalance, report_imbalance, restart_imbalance, update_imbalance
from engine.impact import close_impact, report_impact
from engine.instrument import Instrument
from engine.money import unit_of
from engine.schema import LEVEL, Contract, Rows
from tests.naive_imbalance import SETTINGS, NaiveFlow

VECTORS: Final = Path(__file__).parents[1] / ".." / "shared" / "design" / "test_vectors.json"
MEMORY: Final = np.dtype([*imbalance.FIELDS, *impact.FIELDS], align=True)
WINDOWS: Final = Field("windows", "integer", "ms", "", over="windows")
TABLE: Final = (WINDOWS, *imbalance.SIGNAL_FIELDS, *impact.SIGNAL_FIELDS)


def design(block: str) -> Any:
    """Give one block of the numbers that the design fixes."""
    if not VECTORS.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{VECTORS} is absent, and CI must have it")
        pytest.skip(f"{VECTORS} is absent")
    return json.loads(VECTORS.read_text())[block]


def instrument(contract: Contract = Contract.SPOT, tick: int = 1) -> Instrument:
    return Instrument(
        venue="venue",
        symbol="A",
        asset="A",
        quote="USD",
        contract=contract,
        price_decimals=2,
        size_decimals=1,
        tick=tick,
        lot=1,
        contract_size=10**8,
    )


def rule_of(windows: Sequence[int] = (1, 3), impact: int = 2, training: int = 10**6, forgetting: float = 0.99) -> Rows:
    rule = np.zeros(1, SETTINGS)
    rule["cell_ns"] = 250_000_000
    rule["windows"][0, : len(windows)] = windows
    rule["window_count"] = len(windows)
    rule["impact_cells"], rule["training_cells"], rule["forgetting"] = impact, training, forgetting
    return rule


class Flow:
    """The kernels over one book, called as the pipeline calls them, and their twin beside them."""

    def __init__(self, rule: Rows | None = None, unit: Instrument | None = None) -> None:
        self.rule = rule_of() if rule is None else rule
        self.instrument = unit or instrument()
        self.memory = np.zeros(1, MEMORY)
        self.book = Book(self.instrument, (10,))
        self.twin = NaiveFlow(self.instrument, self.rule[0])

    def update(self, bids: Sequence[tuple[int, int]], asks: Sequence[tuple[int, int]], replace: bool = False) -> None:
        self.book.update(np.array([*bids, *asks], LEVEL), len(bids), replace)
        if replace:
            restart_imbalance(self.memory)
            self.twin.log[-1].append(None)
        book = self.book
        update_imbalance(self.memory, book._memory, book._sizes, book._occupied, book._far)
        rows = book.levels()
        self.twin.log[-1].append(tuple([(int(p), int(s)) for p, s in side] for side in rows))  # type: ignore[arg-type]

    def close(self) -> None:
        own = self.memory[0]
        close_imbalance(self.memory, self.rule, int(own["ring_at"]))
        close_impact(self.memory, self.rule)
        own["ring_at"] = (own["ring_at"] + 1) % RING
        own["ring_count"] += 1
        self.twin.log.append([])

    def report(self) -> tuple[dict[str, Any], dict[str, str]]:
        layout = Layout(TABLE, {"windows": int(self.rule["window_count"][0]), "levels": LEVELS})
        out = np.zeros(1, layout.dtype)
        out.view(np.uint8)[:] = 255  # What was there before must not shine through.
        out["undefined"] = 0
        newest = (int(self.memory["ring_at"][0]) - 1) % RING
        report_imbalance(self.memory, self.rule, unit_of(self.instrument), newest, out)
        report_impact(self.memory, self.rule, unit_of(self.instrument), out)
        return layout.values(out)

    def check(self) -> None:
        """Compare every field with the twin's."""
        found, _ = self.report()
        for name, (value, why) in self.twin.fields().items():
            if isinstance(why, list):
                value = [None if w else v for v, w in zip(value, why, strict=True)]
                # An axis that variance does not single out may point anywhere; elsewhere 1e-6 is generous.
                assert found[name] == [v if v is None else pytest.approx(v, rel=1e-6, abs=1e-6) for v in value], name
            else:
                assert found[name] == (None if why else pytest.approx(value, rel=1e-6, abs=1e-6)), name


def wander(flow: Flow, random: np.random.Generator, cells: int, restarts: float = 0.0) -> None:
    """Let random levels of a book near 1000 come and go, with crossed and one-sided books, odd prices and far ones."""
    tick = flow.instrument.tick
    centre = 1_000 * tick
    for _ in range(cells):
        for _ in range(random.integers(0, 4)):
            sides: tuple[dict[int, int], dict[int, int]] = ({}, {})
            for _ in range(random.integers(1, 5)):
                size = int(random.integers(0, 50)) if random.random() < 0.7 else 0
                price = centre + int(random.integers(-8, 9)) * tick
                kind = random.random()
                if kind < 0.05:
                    price = int(random.choice([7, 40 * centre, 300 * centre]))
                elif kind < 0.1:
                    price += int(random.integers(0, tick))
                # Some bids land above the asks: the book is crossed until they go.
                sides[(price < centre) != (random.random() < 0.97)][price] = size
            bids, asks = (list(side.items()) for side in sides)
            flow.update(bids, asks, replace=bool(random.random() < restarts))
        if random.random() < 0.15:
            high, low = (rows["price"].tolist() for rows in flow.book.levels())
            flow.update(
                [(price, 0) for price in high if price >= centre], [(price, 0) for price in low if price < centre]
            )
        flow.close()
