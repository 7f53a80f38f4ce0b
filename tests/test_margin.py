"""Liquidation prices: the design's vectors, the condition that they solve, and brackets that are refused."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig, MapConfig
from engine.errors import BadConfig
from engine.knowledge import Bracket, Knowledge
from engine.margin import (
    bankruptcy,
    bankruptcy_inverse,
    bracket_of,
    brackets_of,
    from_margin,
    from_wallet,
    isolated,
    isolated_inverse,
    maintenance_of,
)

VECTORS = Path(__file__).parents[1] / ".." / "shared" / "design" / "test_vectors.json"
STEPS = ((0.0, 0.004, 0.0), (50_000.0, 0.005, 50.0), (250_000.0, 0.01, 1_300.0), (1_000_000.0, 0.025, 16_300.0))


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    """Numbers that the design fixes."""
    if not VECTORS.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{VECTORS} is absent, and CI must have it")
        pytest.skip(f"{VECTORS} is absent")
    found: dict[str, Any] = json.loads(VECTORS.read_text())["TV16_liq_price"]
    return found


def configured(*steps: tuple[float, float, float], venue: str = "one") -> EngineConfig:
    brackets = tuple(Bracket(venue=venue, notional=n, rate=rate, amount=amount) for n, rate, amount in steps)
    return EngineConfig(knowledge=Knowledge(brackets=brackets))


def test_isolated_prices_are_those_of_the_design(vectors: dict[str, Any]) -> None:
    assert isolated(100_000.0, 10.0, 0.004, 1) == pytest.approx(vectors["long_100k_10x_mmr40bp"], rel=1e-14)
    assert isolated(100_000.0, 10.0, 0.004, -1) == pytest.approx(vectors["short_100k_10x_mmr40bp"], rel=1e-14)
    assert isolated(100_000.0, 100.0, 0.004, 1) == pytest.approx(vectors["long_100k_100x"], rel=1e-14)


def test_prices_by_the_wallet_are_those_of_the_design(vectors: dict[str, Any]) -> None:
    found = from_wallet(10_000.0, 0.0, 1.0, 100_000.0, 0.004)
    assert found == pytest.approx(vectors["binance_form_long"], rel=1e-14)
    found = from_wallet(10_000.0, 50.0, 1.0, 100_000.0, 0.005)
    assert found == pytest.approx(vectors["binance_form_long_with_cum"], rel=1e-14)


def test_the_price_by_free_margin_is_that_of_the_design(vectors: dict[str, Any]) -> None:
    # 10 x at a maintenance rate of 1.25 %: a tenth of the notional is margin, and 1.25 points of it are demanded.
    found = from_margin(100.0, 1, 10.0 - 1.25, 1.0, 80.0)
    assert found == pytest.approx(vectors["hyperliquid_long"], rel=1e-14)


@settings(max_examples=300, deadline=None)
@given(
    price=st.floats(1e-6, 1e6),
    leverage=st.floats(1.5, 125),
    share=st.floats(0.01, 0.99),
    side=st.sampled_from([1, -1]),
    quantity=st.floats(1e-3, 1e6),
)
def test_the_three_forms_agree_on_one_position(
    price: float, leverage: float, share: float, side: int, quantity: float
) -> None:
    mmr = share / leverage
    margin = quantity * price / leverage
    found = isolated(price, leverage, mmr, side)
    assert from_wallet(margin, 0.0, side * quantity, price, mmr) == pytest.approx(found, rel=1e-9)
    free = margin - mmr * quantity * price
    assert from_margin(price, side, free, quantity, 1 / mmr) == pytest.approx(found, rel=1e-9)


@settings(max_examples=300, deadline=None)
@given(
    price=st.floats(1e-6, 1e6),
    leverage=st.floats(1.5, 125),
    share=st.floats(0.01, 0.99),
    forgiven=st.floats(0, 0.5),
    side=st.sampled_from([1, -1]),
)
def test_at_the_price_found_the_margin_left_is_what_is_demanded(
    price: float, leverage: float, share: float, forgiven: float, side: int
) -> None:
    mmr = share / leverage
    relief = forgiven * mmr
    linear = isolated(price, leverage, mmr, side, relief)
    assert price / leverage + side * (linear - price) == pytest.approx(mmr * linear - relief * price, abs=1e-9 * price)
    inverse = isolated_inverse(price, leverage, mmr, side, relief)
    left = 1 / leverage / price + side * (1 / price - 1 / inverse)
    assert left == pytest.approx(mmr / inverse - relief / price, abs=1e-9 / price)


@pytest.mark.parametrize("leverage", [2.0, 5.0, 20.0, 100.0])
@pytest.mark.parametrize("side", [1, -1])
def test_bankruptcy_lies_beyond_liquidation(leverage: float, side: int) -> None:
    for liquidated, bankrupt in (
        (isolated(100.0, leverage, 0.004, side), bankruptcy(100.0, leverage, side)),
        (isolated_inverse(100.0, leverage, 0.004, side), bankruptcy_inverse(100.0, leverage, side)),
    ):
        assert 0 < side * bankrupt + (side < 0) * 1e6 < side * liquidated + (side < 0) * 1e6
        assert (100.0 - liquidated) * side > 0
    assert bankruptcy(100.0, leverage, side) == pytest.approx(100.0 - side * 100.0 / leverage)


def test_an_inverse_short_is_a_linear_long_of_the_reciprocal() -> None:
    for leverage in (2.0, 10.0, 100.0):
        assert isolated_inverse(0.01, leverage, 0.004, -1) == pytest.approx(1 / isolated(100.0, leverage, 0.004, 1))
        assert bankruptcy_inverse(0.01, leverage, -1) == pytest.approx(1 / bankruptcy(100.0, leverage, 1))


def test_a_position_without_leverage_has_no_liquidation_price() -> None:
    assert isolated(100.0, 1.0, 0.004, 1) == 0
    assert isolated_inverse(100.0, 1.0, 0.004, -1) == 0
    assert bankruptcy(100.0, 1.0, 1) == bankruptcy_inverse(100.0, 1.0, -1) == 0
    assert from_wallet(200.0, 0.0, 1.0, 100.0, 0.004) == 0
    assert from_margin(100.0, 1, 200.0, 1.0, 80.0) == 0


def test_a_venue_without_brackets_has_the_rate_of_the_map() -> None:
    config = EngineConfig(map=MapConfig(maintenance=0.005))
    assert brackets_of(config, "one").tolist() == [[0.0, 0.005, 0.0]]
    assert bracket_of(brackets_of(config, "one"), 1e12) == (0.005, 0.0)


def test_brackets_are_those_of_the_venue_alone() -> None:
    config = EngineConfig(
        knowledge=Knowledge(
            brackets=(
                Bracket(venue="one", notional=0, rate=0.004),
                Bracket(venue="two", notional=0, rate=0.01),
                Bracket(venue="one", notional=50_000, rate=0.005, amount=50),
            )
        )
    )
    assert brackets_of(config, "one").tolist() == [[0, 0.004, 0], [50_000, 0.005, 50]]
    assert brackets_of(config, "two").tolist() == [[0, 0.01, 0]]
    assert brackets_of(config, "three").tolist() == [[0, 0.004, 0]]


@pytest.mark.parametrize(
    ("notional", "found"),
    [(0.0, (0.004, 0.0)), (49_999.0, (0.004, 0.0)), (50_000.0, (0.005, 50.0)), (1e12, (0.025, 16_300.0))],
)
def test_a_bracket_begins_at_its_notional(notional: float, found: tuple[float, float]) -> None:
    assert bracket_of(np.array(STEPS), notional) == found


@pytest.mark.parametrize(
    "steps",
    [
        STEPS[1:],
        (STEPS[0], STEPS[2], STEPS[1]),
        (STEPS[0], STEPS[0]),
        ((0.0, 0.01, 0.0), (1_000.0, 0.005, 0.0)),
    ],
    ids=["no zero", "not ascending", "twice", "falling rate"],
)
def test_malformed_brackets_are_refused_by_name(steps: tuple[tuple[float, float, float], ...]) -> None:
    with pytest.raises(BadConfig, match="brackets of strange"):
        brackets_of(configured(*steps, venue="strange"), "strange")


def test_the_amount_widens_the_distance_by_its_share_of_the_position() -> None:
    rate, relief = maintenance_of(np.array(STEPS), 100_000.0, 10.0)
    assert (rate, relief) == (0.005, 0.0005)
    assert isolated(100_000.0, 10.0, rate, 1, relief) == pytest.approx(
        from_wallet(10_000.0, 50.0, 1.0, 100_000.0, 0.005)
    )


def test_a_leverage_that_the_bracket_forbids_is_held_in_a_smaller_position() -> None:
    # 2 million at 50 x would open liquidated at 2.5 % less 0.8 %; at 1 million it need only have 1 % less 0.1 %.
    assert maintenance_of(np.array(STEPS), 2_000_000.0, 50.0) == (0.025, 16_300.0 / 2_000_000)
    assert maintenance_of(np.array(STEPS), 2_000_000.0, 100.0) == (0.01, 1_300.0 / 1_000_000)


def test_a_leverage_that_every_bracket_forbids_has_no_rate() -> None:
    assert maintenance_of(np.array([[0.0, 0.0125, 0.0]]), 100_000.0, 100.0) == (0.0, 0.0)
