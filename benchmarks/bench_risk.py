"""The cascade risk of one instrument: both sides of a book of 2,000 levels a side, over 200 triggers, 200 draws."""

from typing import Any

import numpy as np
import pytest

from engine import tail
from engine.books import Ladder
from engine.config import EngineConfig
from engine.risk import compute
from engine.schema import Rows
from engine.triggers import Maps, forced, maps_of
from tests.liquidation_map import SECOND, Map

LEVELS, BARS = 2_000, 3_000
CONFIG = EngineConfig()
generator = np.random.default_rng(5)


def positions() -> Maps:
    """A map that has seen open interest rise at prices all over a third of the price."""
    found, held = Map(), 0
    found.open_interest(SECOND, held)
    for bar in range(2, BARS):
        found.trade(bar * SECOND, (100.0 + 10.0 * np.sin(bar / 400.0), 1))
        held += 5
        found.open_interest(bar * SECOND + 1, held)
    return maps_of([found.memory], [found.settings], [1.0], found.exposures)


def past() -> Rows:
    """A full memory of horizons, of one hour and three volatilities."""
    memory = tail.memory_of()
    memory["count"], memory["before"] = tail.RING, 0.5
    memory["worsts"] = 50.0 * generator.pareto(3.0, (1, 2, tail.RING))
    memory["befores"] = generator.random((1, tail.RING))
    return memory


prices = 100.0 - 20.0 * np.sort(generator.random(LEVELS))
sizes = 5.0 * generator.random(LEVELS)
SIDES = Ladder(prices=prices, sizes=sizes), Ladder(prices=prices - 200.0, sizes=sizes)


@pytest.mark.benchmark(group="cascade risk, 2 x 2,000 levels, 200 triggers, 200 draws")
def test_cascade_risk(benchmark: Any) -> None:
    maps, memory, settings = positions(), past(), tail.settings_of()
    assert len(forced(maps, 1.0).marks) + len(forced(maps, -1.0).marks) > 200
    row = benchmark(compute, CONFIG, (200, 2), SIDES, maps, (memory, settings), 1)
    assert (row["why"][0].tolist(), row["samples"][0]) == ([0, 0], 683)
