"""Books as the cascade walks them: which are laid together, and how fast one refills, by its own flow record."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import orjson
import pytest

from engine.books import FALL, Refill, ladder, reference_of, refilled
from engine.config import CascadeConfig, EngineConfig
from engine.money import unit_of
from engine.pipeline import Pipeline
from engine.schema import LEVEL, Kind, Rows
from engine.signals import flow
from engine.topics import SIGNAL_CASCADE, SIGNAL_FLOW
from tests.stream import instrument, message


@pytest.mark.parametrize(
    ("mids", "wanted"),
    [
        ([100.0], (100.0, [True])),
        ([100.0, 102.0], (101.0, [True, True])),
        ([100.0, 122.0, 102.0], (102.0, [True, True, True])),
        ([100.0, 122.5, 102.0], (101.0, [True, False, True])),
        ([140_000.0, 100.0, 102.0, 101.0], (101.0, [False, True, True, True])),
        ([140_000.0, 100.0], (100.0, [False, True])),
    ],
)
def test_mids_of_one_currency_have_a_median(mids: list[float], wanted: tuple[Fraction, list[bool]]) -> None:
    assert reference_of([Fraction(mid) for mid in mids]) == wanted


def test_a_book_refills_by_what_its_flow_record_says() -> None:
    asked = CascadeConfig(drops=(102,), shocks=(300,), withdrawal=300, cadence=250, duration=4_000, slice=0.5)
    pipeline, unit = Pipeline("A", EngineConfig(cascade=asked)), instrument("one")
    bids, asks = [(10_000, 500), (9_970, 500), (9_900, 500)], [(10_002, 500), (10_100, 500)]
    pipeline.step(message(Kind.INSTRUMENT, 0, (), (), unit))
    pipeline.step(message(Kind.SNAPSHOT, 0, bids, asks, unit, last=1, epoch=1))
    told = dict[str, Any]()
    for i in range(1, 30):
        # 10 bps: 20 base units more and 5 less in turn; 10 to 50 bps: 1 more each time; beyond: 9 more.
        change = [(10_000, 500 + 2_000 * (i // 2) - 500 * (i % 2)), (9_970, 500 + 100 * i), (9_900, 500 + 900 * i)]
        delta = message(Kind.DELTA, 250 * i, change, (), unit, last=1 + i, previous=i, epoch=1)
        told |= {record.topic: orjson.loads(record.value) for record in pipeline.step(delta)}
        if i == 10:
            assert told[SIGNAL_CASCADE]["fall_refill"] == 0.0  # The window is not full.
    found, seen = told[SIGNAL_CASCADE], told[SIGNAL_FLOW]
    near, wide = (seen["bid_added"][zone] - seen["bid_cancelled"][zone] for zone in (1, 2))
    assert 0 < near < wide
    rates = near / 5, (wide - near) / 5
    assert found["fall_refill"] == pytest.approx(sum(rates))
    assert found["squeeze_refill"] == 0.0
    # Before the delta at the line of the grid: all that rests down to 99.00, and what four seconds put back.
    rested = 5 + 20 * 14 + 5 + 28 + 5 + 9 * 28
    assert found["fall_depth"] == [pytest.approx(rested + 4 * sum(rates))]
    assert (found["duration"], found["slice"]) == (4_000, 0.5)


def test_without_a_duration_or_a_full_window_nothing_is_put_back() -> None:
    config, unit = EngineConfig(), unit_of(instrument())
    side = ladder(np.array([(10_000, 500), (9_900, 100)], LEVEL), unit, FALL)
    for memory, duration in ((flow.memory_of(config), 9_000), (full(config), 0)):
        refill = Refill(flow=memory, settings=flow.settings_of(config), duration=duration)
        same, rate = refilled(side, (20_000, 200), FALL, 1.0, unit, refill)
        assert (same.sizes.tolist(), rate) == ([5.0, 1.0], 0.0)
    refill = replace(refill, duration=9_000)
    more, rate = refilled(side, (20_000, 200), FALL, 1.0, unit, refill)
    # 0.03 in each of four cells a second, near the mid; the ring beyond loses 0.01 in each.
    assert [rate, *more.sizes.tolist()] == pytest.approx([0.12, 5.0 + 9 * 0.12, 1.0])


def full(config: EngineConfig) -> Rows:
    """A flow memory whose every cell added 3 hundredths near the mid, and cancelled 1 from there to 50 bps."""
    memory = flow.memory_of(config)
    memory["filled"] = 100
    memory["added_ring"][0] = [0, 3, 3]
    memory["cancelled_ring"][0] = [0, 0, 1]
    return memory
