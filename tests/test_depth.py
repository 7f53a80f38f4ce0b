"""The depth kernel: the design's vectors, its slow twin on random books, and what it withholds."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.book import Book
from engine.config import BaselineConfig, EngineConfig
from engine.instrument import Instrument
from engine.kernel import COMPILED
from engine.money import unit_of
from engine.pockets import measure_pockets
from engine.schema import LEVEL, Contract
from engine.signals.depth import layout, measure
from tests import naive_comparison, naive_pockets
from tests.compared import compare, past_of, present_of
from tests.naive_depth import Levels, NaiveDepth

VECTORS = Path(__file__).parents[1] / ".." / "shared" / "design" / "test_vectors.json"
BIDS = [(999, 2), (998, 3), (995, 5), (990, 10), (980, 20)]
ASKS = [(1001, 1), (1002, 4), (1005, 5), (1010, 10), (1020, 20)]
BANDS = (10, 20, 50, 100, 200)
#: Usual depth of bids and asks within the first two bands, base units, and what is said to have rested in them.
PAST = {0: 10.0, 1: 20.0, 2: 30.0, 3: 40.0}
REFERENCES = (1e6, 2e6)


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    """Numbers that the design fixes."""
    if not VECTORS.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{VECTORS} is absent, and CI must have it")
        pytest.skip(f"{VECTORS} is absent")
    found: dict[str, Any] = json.loads(VECTORS.read_text())
    return found


def instrument(contract: Contract = Contract.SPOT, contract_size: int = 10**8, decimals: int = 1) -> Instrument:
    return Instrument(
        venue="venue",
        symbol="A",
        asset="A",
        quote="USD",
        contract=contract,
        price_decimals=decimals,
        size_decimals=0,
        tick=1,
        lot=1,
        contract_size=contract_size,
    )


def measured(
    bids: Levels,
    asks: Levels,
    unit: Instrument | None = None,
    bands: tuple[int, ...] = BANDS,
    notionals: tuple[float, ...] = (100, 1_000),
    later: tuple[Levels, int] = ((), 0),
) -> tuple[dict[str, Any], dict[str, str]]:
    """Measure a book made of one snapshot and perhaps one update."""
    unit = unit or instrument()
    book = Book(unit, bands)
    book.update(np.array([*bids, *asks], LEVEL), len(bids), True)
    if later[0]:
        book.update(np.array(list(later[0]), LEVEL), later[1], False)
    asked = tuple(range(1, 1 + len(notionals)))
    config = EngineConfig(bands=bands, notionals=asked, baseline=BaselineConfig(bands=bands[:2]))
    fields = layout(config)
    row = np.zeros(1, fields.dtype)
    row.view(np.uint8)[:] = 255  # What was there before must not shine through.
    view = book.view()
    measure(view.row, view.bids, view.asks, unit_of(unit), np.array(bands), np.array(notionals, float), row)
    measure_pockets(view.row, view.bids, view.asks, unit_of(unit), 200, 0.05, row)
    mid = sum(book.touch) / 2 / 10.0**unit.price_decimals if all(book.touch) else 0.0
    compare(config, past_of(config, PAST), present_of(unit, config, book), REFERENCES, mid, row)
    return fields.values(row)


def test_the_touch_is_that_of_the_design(vectors: dict[str, Any]) -> None:
    found, _ = measured(BIDS, ASKS)
    expected = vectors["TV1_touch"]
    expected["imbalance"] = expected.pop("imbalance_signed")
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("band", BANDS)
def test_depth_counts_the_bound_itself(vectors: dict[str, Any], band: int) -> None:
    found, _ = measured(BIDS, ASKS)
    expected = vectors["TV2_depth"][f"{band}bps"]
    at = BANDS.index(band)
    assert {name: found[name][at] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_sweeps_cost_what_the_design_says(vectors: dict[str, Any]) -> None:
    sell, buy = vectors["TV3_sweep"]["sell_8"], vectors["TV3_sweep"]["buy_1000_quote"]
    found, _ = measured(BIDS, ASKS, notionals=(sell["cash"], 1_000))
    assert found["sell_vwap"][0] == pytest.approx(sell["vwap"], rel=1e-9)
    assert found["sell_bps"][0] == pytest.approx(sell["slip_bps_vs_mid"], rel=1e-9)
    assert found["sell_unfilled"][0] == 0
    assert found["buy_vwap"][1] == pytest.approx(buy["vwap"], rel=1e-9)
    assert found["buy_bps"][1] == pytest.approx(buy["slip_bps_vs_mid"], rel=1e-9)
    assert found["buy_unfilled"][1] == 0


def test_elasticity_is_that_of_the_design(vectors: dict[str, Any]) -> None:
    found, _ = measured(BIDS, ASKS)
    assert found["bid_elasticity"] == pytest.approx(vectors["TV30_depth_elasticity"]["slope"], rel=1e-9)


def test_air_pockets_are_those_of_the_design(vectors: dict[str, Any]) -> None:
    found, _ = measured(BIDS, ASKS)
    expected = vectors["TV4_gaps"]
    assert found["bid_gap"] == pytest.approx(expected["max_gap_bps"], rel=1e-9)
    assert found["bid_first_gap"] == pytest.approx(expected["first_gap_bps"], rel=1e-9)
    assert found["bid_gap_hhi"] == pytest.approx(expected["gap_share_hhi"], rel=1e-9)
    assert found["bid_gap_at"] == 99.0
    # 5 % of 1,986.7 is less than any level holds: the longest hole is the largest gap.
    assert (found["bid_hole"], found["bid_hole_at"]) == (found["bid_gap"], 99.0)


def test_a_thin_level_does_not_end_a_hole() -> None:
    found, _ = measured([(9_990, 1_000), (9_950, 1), (9_900, 900)], [(10_010, 5)])
    assert found["bid_gap"] == pytest.approx(50.0)
    assert (found["bid_hole"], found["bid_hole_at"]) == (pytest.approx(90.0), 999.0)


def test_what_lies_beyond_the_last_level_is_no_pocket() -> None:
    found, why = measured([(9_990, 5)], [(10_010, 5), (10_500, 5)])
    assert (found["bid_gap"], found["ask_gap"]) == (pytest.approx(10.0), pytest.approx(10.0))
    assert (why["bid_first_gap"], why["ask_first_gap"]) == ("no_levels", "no_levels")
    _, why = measured([(9_000, 5)], [(11_000, 5)])
    assert {why[name] for name in ("bid_gap", "bid_hole_at", "ask_gap_hhi")} == {"no_levels"}


def test_a_sweep_beyond_the_book_has_no_cost() -> None:
    found, why = measured(BIDS, ASKS, notionals=(100, 1_000_000))
    assert found["sell_bps"][1] is None
    assert found["sell_unfilled"][1] == pytest.approx(1_000_000 - 3946.7)
    assert found["sell_vwap"][1] == pytest.approx(3946.7 / 40)
    assert why == {"sell_bps": "unfilled", "buy_bps": "unfilled"}


def test_an_empty_side_is_depth_zero_and_has_no_mid() -> None:
    found, why = measured(BIDS, [])
    assert found["ask_base"] == found["ask_quote"] == [0.0] * 5
    assert found["ask_complete"] == [True] * 5
    assert found["bid_base"] == found["bid_quote"] == found["bid_complete"] == [None] * 5
    assert (found["bid"], found["bid_size"], found["ask"], found["ask_size"]) == (99.9, 2.0, None, 0.0)
    withheld = {"mid", "spread", "bid_elasticity", "sell_bps", "sell_vwap", "sell_unfilled", "buy_bps"}
    assert withheld <= set(why)
    assert set(why.values()) == {"one_sided"}


def test_a_side_that_emptied_may_hold_more_than_was_shown() -> None:
    found, _ = measured(BIDS, ASKS, later=([(price, 0) for price, _ in ASKS], 0))
    assert found["ask_base"] == [0.0] * 5
    assert found["ask_complete"] == [False] * 5


def test_a_book_with_nothing_in_it_holds_nothing() -> None:
    found, why = measured([], [])
    assert found["bid_base"] == found["ask_quote"] == [0.0] * 5
    assert found["bid"] is found["ask"] is found["mid"] is None
    assert set(why.values()) == {"one_sided"}


def test_bands_beyond_the_snapshot_say_so() -> None:
    found, _ = measured(BIDS[:3], ASKS[:4])
    assert found["bid_complete"] == [True, True, True, False, False]
    assert found["ask_complete"] == [True, True, True, True, False]


def test_bands_without_levels_have_no_imbalance_and_no_slope() -> None:
    found, why = measured([(900, 1)], [(1100, 1)])
    assert found["band_imbalance"] == [None] * 5
    assert found["bid_elasticity"] is None
    assert (why["band_imbalance"], why["bid_elasticity"]) == ("no_depth", "too_few_bands")
    assert (found["sell_vwap"], found["sell_unfilled"]) == ([None, None], [100.0, 1_000.0])


def test_a_quanto_contract_has_no_amounts() -> None:
    found, why = measured(BIDS, ASKS, instrument(Contract.QUANTO))
    assert found["mid"] == 100.0
    assert found["band_imbalance"][0] == pytest.approx(1 / 3)
    assert found["bid_base"] == [*found["buy_vwap"], None, None, None] == [None] * 5
    assert (why["bid_base"], why["bid_size"], why["sell_bps"]) == ("quanto", "quanto", "quanto")


def test_an_inverse_contract_is_worth_quote_units() -> None:
    found, _ = measured(BIDS, ASKS, instrument(Contract.INVERSE, 100 * 10**8))
    assert found["bid_quote"][:2] == [200.0, 500.0]
    assert found["bid_base"][0] == pytest.approx(200 / 99.9)
    assert found["bid_size"] == pytest.approx(200 / 99.9)


sizes = st.integers(1, 10**6)
side = st.dictionaries(st.integers(1, 400), sizes, min_size=1, max_size=30)


@settings(max_examples=60 if COMPILED else 25, deadline=None)
@given(
    touch=st.integers(1_000, 100_000),
    spread=st.integers(1, 30),
    below=side,
    above=side,
    contract=st.sampled_from([Contract.SPOT, Contract.LINEAR, Contract.INVERSE]),
    contract_size=st.sampled_from([10**8, 10**5, 10**10]),
    decimals=st.integers(0, 8),
    notionals=st.lists(st.integers(1, 10**9), min_size=2, max_size=2, unique=True).map(sorted),
)
def test_the_kernel_equals_its_twin(
    touch: int,
    spread: int,
    below: dict[int, int],
    above: dict[int, int],
    contract: Contract,
    contract_size: int,
    decimals: int,
    notionals: list[int],
) -> None:
    bids = [(touch - distance, size) for distance, size in sorted(below.items())]
    asks = [(touch - 1 + spread + distance, size) for distance, size in sorted(above.items())]
    unit = instrument(contract, contract_size, decimals)
    found, why = measured(bids, asks, unit, notionals=tuple(notionals))
    twin = NaiveDepth(unit, bids, asks, (bids[-1][0], asks[-1][0]))
    usual = {(1 - 2 * (q % 2), BANDS[q // 2]): value for q, value in PAST.items()}
    expected = twin.fields(BANDS, notionals) | naive_pockets.fields(twin, 200, 0.05)
    expected |= naive_comparison.compared(twin, BANDS[:2], usual, REFERENCES)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        many = isinstance(value, list)
        pairs = zip(found[name], value, strict=True) if many else [(found[name], value)]
        for one, other in pairs:
            assert (one is None) == (other is None), name
            if isinstance(other, str):
                assert one == other, name
                continue
            assert one is None or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9), name
        assert (name in why) == (None in value if many else value is None)


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_the_kernel_compiles_once_for_a_configuration() -> None:
    measured(BIDS, ASKS)
    compiled = len(measure.signatures)  # type: ignore[attr-defined]
    measured(ASKS[:0], ASKS, instrument(Contract.INVERSE))
    assert len(measure.signatures) == compiled  # type: ignore[attr-defined]
