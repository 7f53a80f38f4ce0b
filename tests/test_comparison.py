"""A book against its own past: closed numbers, its slow twin, and what is withheld for which reason."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import baseline
from engine.comparison import compare_depth, measure_present, ratio_of
from engine.config import BaselineConfig, EngineConfig
from engine.fields import Layout, Why
from engine.instrument import Instrument
from engine.kernel import COMPILED
from engine.schema import Contract
from engine.signals.depth import SIGNAL
from tests.compared import Levels, book_of, compare, past_of, present_of
from tests.naive_comparison import compared
from tests.naive_depth import NaiveDepth
from tests.stream import instrument

CONFIG = EngineConfig(bands=(10, 25, 50, 100), notionals=(1,), baseline=BaselineConfig(bands=(10, 100), session=2))
BIDS = [(9_999, 300), (9_990, 200), (9_900, 500), (9_899, 7)]
ASKS = [(10_001, 100), (10_010, 100), (10_100, 800), (10_101, 7)]
#: Quantities: bid and ask within 10 bps, bid and ask within 100 bps, base units.
PAST = {0: 10.0, 1: 1.0, 2: 20.0, 3: 5.0}
NAMES = ("baseline_bands", "bid_baseline", "bid_ratio", "ask_baseline", "ask_ratio", "baseline_source", "gap")


def told(
    bids: Levels,
    asks: Levels,
    past: dict[int, float],
    references: tuple[float, float] = (2_000.0, 5_000.0),
    unit: Instrument | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """What the comparison says of a book, and why not."""
    unit = unit or instrument()
    fields = Layout([field for field in SIGNAL.fields if field.name in NAMES], {"baseline_bands": 2})
    row = np.zeros(1, fields.dtype)
    row.view(np.uint8)[:] = 255
    row["undefined"] = 0
    book = book_of(unit, CONFIG, bids, asks)
    mid = sum(book.touch) / 2 / 10.0**unit.price_decimals if all(book.touch) else 0.0
    compare(CONFIG, past_of(CONFIG, past), present_of(unit, CONFIG, book), references, mid, row)
    return fields.values(row)


def test_a_book_at_100_is_compared_as_on_paper() -> None:
    found, why = told(BIDS, ASKS, PAST)
    # 3 + 2 and 1 + 1 rest within 10 bps, bounds included; 10 on either side within 100 bps.
    assert found == {
        "baseline_bands": [10, 100],
        "bid_baseline": [10.0, 20.0],
        "bid_ratio": [0.5, 0.5],
        "ask_baseline": [1.0, 5.0],
        "ask_ratio": [2.0, 2.0],
        "baseline_source": "session",
        # 1 - 11 x 100 / 2000, 1 - 25 x 100 / 5000.
        "gap": [pytest.approx(0.45), pytest.approx(0.5)],
    }
    assert why == {}


def test_depth_that_grew_since_the_event_is_a_gap_below_0() -> None:
    found, _ = told(BIDS, ASKS, PAST, (1_000.0, 1_000.0))
    assert found["gap"] == [pytest.approx(-0.1), pytest.approx(-1.5)]


def test_an_empty_side_is_ratio_0_and_the_other_cannot_be_measured() -> None:
    found, why = told([], ASKS, PAST)
    assert (found["bid_ratio"], found["ask_ratio"], found["gap"]) == ([0.0, 0.0], [None, None], [None, None])
    assert why == {"ask_ratio": "one_sided", "gap": "one_sided"}
    assert found["ask_baseline"] == [1.0, 5.0]
    found, why = told([], [], PAST)
    assert (found["bid_ratio"], found["ask_ratio"], why) == ([0.0, 0.0], [0.0, 0.0], {"gap": "one_sided"})


def test_sizes_of_a_quanto_contract_are_no_base_units() -> None:
    _, why = told(BIDS, ASKS, PAST, unit=instrument(contract=Contract.QUANTO))
    assert (why["bid_ratio"], why["ask_ratio"]) == ("quanto", "quanto")


def test_an_inverse_contract_is_turned_at_the_mid() -> None:
    unit = instrument(contract=Contract.INVERSE, contract_size=100 * 10**8)
    found, _ = told(BIDS, ASKS, PAST, unit=unit)
    # 5 contracts of 100 quote units each, the mid at 100.
    assert found["bid_ratio"] == [0.5, 0.5]


def test_each_cause_is_told() -> None:
    found, why = told(BIDS, ASKS, {0: 10.0, 2: 20.0, 3: 0.0}, (0.0, 5_000.0))
    assert (found["ask_ratio"], found["ask_baseline"]) == ([None, None], [None, 0.0])
    assert (found["gap"], found["baseline_source"]) == ([None, pytest.approx(1 - 20 * 100 / 5_000)], "none")
    assert why == {"ask_baseline": "no_baseline", "ask_ratio": "no_baseline", "gap": "no_reference"}
    assert told(BIDS, ASKS, {**PAST, 1: 0.0})[1] == {"ask_ratio": "no_depth"}
    _, why = told(BIDS, ASKS, {})
    assert (why["gap"], why["bid_ratio"], why["bid_baseline"]) == ("no_baseline",) * 3


def test_what_is_sampled_is_what_is_compared() -> None:
    unit = instrument()
    present = present_of(unit, CONFIG, book_of(unit, CONFIG, BIDS, ASKS))[0]
    assert present["values"][:4].tolist() == [5.0, 2.0, 10.0, 10.0]
    assert present["values"][baseline.SPREAD] == pytest.approx(2.0)
    assert present["values"][[baseline.POCKET_BID, baseline.POCKET_ASK]].tolist() == [3.0, 4.0]
    assert present["whys"][[0, 1, baseline.SPREAD, baseline.POCKET_BID]].tolist() == [0, 0, 0, 0]
    early = int(Why.TOO_EARLY)
    assert present["whys"][[baseline.VARIANCE, baseline.TRADES]].tolist() == [early, early]


def test_a_ratio_needs_a_value_and_a_past_above_0() -> None:
    unit = instrument()
    present = present_of(unit, CONFIG, book_of(unit, CONFIG, BIDS, ASKS))
    past = past_of(CONFIG, {0: 4.0, 1: 0.0})
    assert ratio_of(past, present, 0) == (1.25, 0)
    assert ratio_of(past, present, 1) == (0.0, int(Why.NO_DEPTH))
    assert ratio_of(past, present, 2) == (0.0, int(Why.NO_BASELINE))
    assert ratio_of(past, present, baseline.TRADES) == (0.0, int(Why.TOO_EARLY))


side = st.dictionaries(st.integers(1, 150), st.integers(1, 10**6), max_size=12)


@settings(max_examples=100 if COMPILED else 40, deadline=None)
@given(
    below=side,
    above=side,
    spread=st.integers(1, 30),
    contract=st.sampled_from([Contract.SPOT, Contract.LINEAR, Contract.INVERSE]),
    contract_size=st.sampled_from([10**8, 10**5, 10**10]),
    past=st.dictionaries(st.integers(0, 3), st.integers(1, 10**6).map(float)),
    references=st.tuples(*[st.sampled_from([0.0, 1e3, 1e9])] * 2),
)
def test_the_comparison_equals_its_twin(
    below: dict[int, int],
    above: dict[int, int],
    spread: int,
    contract: Contract,
    contract_size: int,
    past: dict[int, float],
    references: tuple[float, float],
) -> None:
    bids = [(10_000 - distance, size) for distance, size in sorted(below.items())]
    asks = [(9_999 + spread + distance, size) for distance, size in sorted(above.items())]
    unit = instrument(contract=contract, contract_size=contract_size)
    twin = NaiveDepth(unit, bids, asks, (0, 0))
    usual = {(1 - 2 * (q % 2), CONFIG.baseline.bands[q // 2]): value for q, value in past.items()}
    expected = compared(twin, CONFIG.baseline.bands, usual, references)
    found, why = told(bids, asks, past, references, unit)
    assert found.keys() == expected.keys()
    for name in NAMES:
        many = isinstance(expected[name], list)
        for one, other in zip(found[name], expected[name], strict=True) if many else [(found[name], expected[name])]:
            same = one == other if not isinstance(other, float) else one is not None
            assert same, name
            assert not isinstance(other, float) or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12), name
        assert (name in why) == (many and None in expected[name])


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_the_kernels_compile_once_for_a_configuration() -> None:
    told(BIDS, ASKS, PAST)
    # A row's layout is that of its configuration.
    kernels: tuple[Any, ...] = (compare_depth, measure_present)
    compiled = [len(kernel.signatures) for kernel in kernels]
    told([], ASKS, PAST, unit=instrument(contract=Contract.INVERSE))
    assert [len(kernel.signatures) for kernel in kernels] == compiled
