"""The liquidation map: the design's vector, its laws one by one, and its twin that keeps every position apart."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import liquidations
from engine.config import EngineConfig, MapConfig
from engine.errors import BadConfig
from engine.kernel import COMPILED
from engine.knowledge import Bracket
from engine.margin import from_wallet
from engine.schema import Contract
from tests.liquidation_map import HOUR, SECOND, SIDES, Map

VECTORS = Path(__file__).parents[1] / ".." / "shared" / "design" / "test_vectors.json"
TEN = MapConfig(leverages=(10,), weights=(1.0,))
THREE = MapConfig(leverages=(5, 10, 25), weights=(0.5, 0.3, 0.2))


@pytest.fixture(scope="module")
def vector() -> dict[str, Any]:
    """Numbers that the design fixes."""
    if not VECTORS.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{VECTORS} is absent, and CI must have it")
        pytest.skip(f"{VECTORS} is absent")
    found: dict[str, Any] = json.loads(VECTORS.read_text())["TV17_oi_map"]
    return found


def entered(
    asked: MapConfig = TEN, price: float = 100_000, amount: float = 100, contract: Contract = Contract.LINEAR
) -> Map:
    """A map of which everything is known: nothing was open, then `amount` was entered at `price`."""
    found = Map(asked, contract)
    found.open_interest(SECOND, 0)
    found.trade(2 * SECOND, (price, 1))
    found.open_interest(3 * SECOND, amount)
    return found


def test_the_map_is_that_of_the_design(vector: dict[str, Any]) -> None:
    leverages = tuple(int(each) for each in vector["w"])
    asked = MapConfig(leverages=leverages, weights=tuple(vector["w"].values()))
    found = entered(asked, vector["price"], vector["dOI"])
    for side, name in ((1, "long_levels"), (-1, "short_levels")):
        expected = sorted(vector[name], key=lambda level: -level[0] * side)
        assert [level[0] for level in found.triggers(side)] == pytest.approx([e[0] for e in expected], rel=1e-14)
        assert [level[1] for level in found.triggers(side)] == pytest.approx([e[1] for e in expected], rel=1e-14)
        assert found.coverage(side) == (pytest.approx(1.0), True)


def test_floors_are_bankruptcy_prices() -> None:
    found = entered(THREE)
    assert [floor for _, _, floor in found.triggers(1)] == pytest.approx([96_000, 90_000, 80_000])
    assert [floor for _, _, floor in found.triggers(-1)] == pytest.approx([104_000, 110_000, 120_000])


def test_the_first_open_interest_is_a_level_whose_entries_nobody_knows() -> None:
    found = Map(THREE)
    assert found.coverage(1) == (0.0, False)
    found.trade(SECOND, (100_000, 1))
    found.open_interest(2 * SECOND, 900)
    assert (found.triggers(1), found.coverage(1)) == ([], (0.0, True))
    found.open_interest(3 * SECOND, 1_000)
    assert [found.coverage(side) for side in SIDES] == [(pytest.approx(0.1), True)] * 2


def test_a_bar_is_priced_by_what_was_paid_in_it() -> None:
    found = Map(TEN)
    found.open_interest(SECOND, 0)
    found.trade(2 * SECOND, (100, 1), (110, 3))
    found.trade(3 * SECOND, (120, 4))
    found.open_interest(4 * SECOND, 5)
    vwap = (100 + 330 + 480) / 8
    assert found.triggers(1)[0][0] == pytest.approx(vwap * 0.9 / 0.996)


def test_a_bar_without_trades_has_the_mark_price_else_the_last_trade() -> None:
    found = Map(TEN)
    found.trade(SECOND, (100, 1))
    found.open_interest(2 * SECOND, 0)
    found.open_interest(3 * SECOND, 5)
    assert found.triggers(1)[0][0] == pytest.approx(100 * 0.9 / 0.996)
    found.mark(4 * SECOND, 120)
    found.open_interest(5 * SECOND, 10)
    assert [mark for mark, _, _ in found.triggers(1)] == pytest.approx([120 * 0.9 / 0.996, 100 * 0.9 / 0.996])


def test_without_any_price_open_interest_is_not_covered() -> None:
    found = Map(TEN)
    found.open_interest(SECOND, 10)
    found.open_interest(2 * SECOND, 20)
    assert (found.triggers(1), found.coverage(1)) == ([], (0.0, True))


def test_a_price_at_or_through_a_trigger_takes_it_out() -> None:
    found = entered(THREE)
    found.trade(4 * SECOND, (96_385.55, 1))
    assert len(found.triggers(1)) == 3
    found.trade(5 * SECOND, (96_385.54, 1))
    assert [amount for _, amount, _ in found.triggers(1)] == pytest.approx([30, 50])
    assert len(found.triggers(-1)) == 3
    found.trade(6 * SECOND, (80_000, 1), (109_561.76, 1))
    assert found.triggers(1) == []
    assert [amount for _, amount, _ in found.triggers(-1)] == pytest.approx([50])


def test_positions_entered_in_a_bar_are_not_crossed_by_that_bar() -> None:
    found = Map(TEN)
    found.open_interest(SECOND, 0)
    found.trade(2 * SECOND, (100, 1), (50, 0.001))
    found.open_interest(3 * SECOND, 5)
    assert len(found.triggers(1)) == 1
    found.trade(4 * SECOND, (50, 0.001))
    assert found.triggers(1) == []


def test_closing_takes_from_both_sides_pro_rata() -> None:
    found = entered(THREE)
    found.open_interest(4 * SECOND, 60)
    for side in SIDES:
        assert sorted(amount for _, amount, _ in found.triggers(side)) == pytest.approx([12, 18, 30])
        assert found.coverage(side) == (pytest.approx(1.0), True)


def test_the_young_close_first() -> None:
    found = entered(TEN, 100, 64)
    found.trade(24 * HOUR, (110, 1))
    found.open_interest(24 * HOUR + 3 * SECOND, 128)
    found.open_interest(24 * HOUR + 3 * SECOND, 128 - 48)
    young, old = (amount for _, amount, _ in found.triggers(1))
    assert [64 - young, 64 - old] == pytest.approx([32, 16], rel=1e-6)


def test_a_lot_that_is_used_up_leaves_the_rest_to_the_older() -> None:
    found = entered(TEN, 100, 64)
    found.trade(72 * HOUR, (110, 1))
    found.open_interest(72 * HOUR + 3 * SECOND, 65)
    # 10 close and the young are eight times as likely to: one of them is all there is, and the old bear nine.
    found.open_interest(72 * HOUR + 3 * SECOND, 55)
    assert [amount for _, amount, _ in found.triggers(1)] == pytest.approx([55])
    found.open_interest(72 * HOUR + 4 * SECOND, 0)
    assert found.triggers(1) == found.triggers(-1) == []


def test_what_is_not_covered_closes_too() -> None:
    found = Map(TEN)
    found.trade(SECOND, (100, 1))
    found.open_interest(2 * SECOND, 300)
    found.open_interest(2 * SECOND, 400)
    found.open_interest(2 * SECOND, 200)
    assert found.held(0, 1) == pytest.approx(50)
    assert found.coverage(1) == (pytest.approx(0.25), True)


def test_coverage_grows_as_positions_turn_over() -> None:
    found = Map(TEN)
    found.trade(SECOND, (100, 1))
    for i in range(200):
        found.open_interest((2 + i) * SECOND, 1_000 + 50 * (i % 2))
    assert found.coverage(1)[0] > 0.9


def test_what_was_crossed_is_part_of_the_next_fall_of_open_interest() -> None:
    found = entered(TEN, 100, 100)
    found.trade(4 * SECOND, (105, 1))
    found.open_interest(5 * SECOND, 200)
    found.trade(6 * SECOND, (94, 1))
    assert found.held(0, 1) == pytest.approx(100)
    found.open_interest(7 * SECOND, 100)
    # A hundred longs were forced out: no other long need have closed. Their counterparts were shorts of either age.
    assert found.held(0, 1) == pytest.approx(100)
    assert found.held(0, -1) == pytest.approx(100)
    assert [found.coverage(side) for side in SIDES] == [(pytest.approx(1.0), True)] * 2


def test_the_grid_moves_with_the_price_and_keeps_everything() -> None:
    found = Map(THREE)
    found.open_interest(0, 0)
    now, total, price = SECOND, 0.0, 1_000.0
    for step in (1.0, 1.3, 1.3, 1.3, 0.8, 0.7, 0.75, 0.9, 1.6):
        price *= step
        now += 2 * SECOND
        total += 10
        found.trade(now, (price, 1))
        found.open_interest(now + SECOND, total)
        for k in range(3):
            for side in SIDES:
                kept = found.held(k, side) + sum(found.total(n, k, side) for n in ("crossed", "removed", "beyond"))
                assert kept == pytest.approx(found.total("added", k, side))
                assert found.total("removed", k, side) == 0
    assert found.memory["anchor"][0] != 1_000


def test_a_lot_keeps_its_trigger_when_the_grid_moves() -> None:
    found = entered(MapConfig(leverages=(2, 3), weights=(0.5, 0.5)), 1_000, 10)
    before = found.triggers(1)
    found.trade(4 * SECOND, (1_400, 1))
    found.open_interest(5 * SECOND, 10.001)
    assert found.memory["anchor"][0] == pytest.approx(1_400)
    kept = [trigger for trigger in found.triggers(1) if trigger[1] > 1]
    assert np.array(kept) == pytest.approx(np.array(before), rel=1e-9)


def test_what_falls_outside_the_grid_is_counted() -> None:
    found = entered(MapConfig(leverages=(1, 5), weights=(0.5, 0.5)))
    assert (found.total("beyond", 0, 1), found.total("beyond", 1, 1)) == (100, 0)
    assert found.coverage(1) == (pytest.approx(0.5), True)
    # A short without leverage triggers near twice its entry.
    assert found.coverage(-1) == (pytest.approx(1.0), True)


@pytest.mark.parametrize("steps", [(1.0, 0.99, 1.02, 0.97, 0.9), (1.0, 1.3, 1.5, 1.1, 0.7)])
def test_a_mirrored_path_gives_the_mirrored_map(steps: tuple[float, ...]) -> None:
    """An inverse contract on 1 / price is the exact mirror of a linear one: its shorts are the other's longs."""
    linear, inverse = Map(THREE), Map(THREE, Contract.INVERSE)
    for found in (linear, inverse):
        found.open_interest(0, 0)
    now, total = SECOND, 0.0
    for step in steps:
        now, total = now + SECOND, total + 100
        price = round(100_000 * step, 2)
        mirror = round(1e10 / price, 2)
        linear.trade(now, (price, 1))
        inverse.trade(now, (mirror, 1))
        linear.open_interest(now, total)
        inverse.open_interest(now, total)
    for side in SIDES:
        for k in range(3):
            one = np.array([(mark, amount) for mark, amount, _ in linear.one_class(k, side)]).reshape(-1, 2)
            two = np.array([(mark, amount) for mark, amount, _ in inverse.one_class(k, -side)]).reshape(-1, 2)
            for name in ("crossed", "removed"):
                assert linear.total(name, k, side) == inverse.total(name, k, -side)
            # The grids themselves end at other prices.
            levels = np.linspace(0.45, 1.5, 106) * 100_000
            for level in levels:
                beyond = one[(one[:, 0] - level) * side >= 0, 1].sum()
                # Base units of the mirror are contracts at its price. Two buckets of 0.26 % of either anchor.
                contracts = two[:, 0] * two[:, 1]
                near = ((1e10 / two[:, 0] - level * width) * side >= 0 for width in (0.97, 1.03))
                bounds = sorted(contracts[mask].sum() for mask in near)
                assert bounds[0] - 1e-6 <= beyond <= bounds[1] + 1e-6


def test_an_inverse_contract_sells_what_its_value_is_worth_at_the_trigger() -> None:
    found = Map(TEN, Contract.INVERSE, contract_size=100 * 10**8)
    found.open_interest(SECOND, 0)
    found.trade(2 * SECOND, (50_000, 7))
    found.open_interest(3 * SECOND, 1_000)
    (mark, amount, floor), *rest = found.triggers(1)
    assert not rest
    assert mark == pytest.approx(50_000 * 1.004 / 1.1)
    assert floor == pytest.approx(50_000 / 1.1)
    assert amount == pytest.approx(1_000 * 100 / mark)
    (mark, amount, floor), *_ = found.triggers(-1)
    assert [mark, floor] == pytest.approx([50_000 * 0.996 / 0.9, 50_000 / 0.9])
    assert found.coverage(1) == (pytest.approx(1.0), True)


def test_a_linear_contract_counts_by_its_contract_size() -> None:
    found = Map(TEN, contract_size=10**5)
    found.open_interest(SECOND, 0)
    found.trade(2 * SECOND, (50_000, 7))
    found.open_interest(3 * SECOND, 1_000)
    assert found.triggers(1)[0][1] == pytest.approx(1.0)


def test_a_quanto_contract_has_no_map() -> None:
    found = entered(TEN, contract=Contract.QUANTO)
    found.liquidation(4 * SECOND, 1, 1, 100)
    assert (found.triggers(1), found.coverage(1)) == ([], (0.0, False))
    assert found.version == 0


def test_brackets_decide_where_positions_stand() -> None:
    brackets = (
        Bracket(venue="venue", notional=0, rate=0.004),
        Bracket(venue="venue", notional=50_000, rate=0.005, amount=50),
    )
    found = Map(TEN, brackets=brackets)
    found.open_interest(SECOND, 0)
    found.trade(2 * SECOND, (100_000, 1))
    found.open_interest(3 * SECOND, 1)
    (mark, _, floor), *_ = found.triggers(1)
    assert mark == pytest.approx(from_wallet(10_000, 50, 1, 100_000, 0.005))
    assert floor == pytest.approx(90_000)


def test_a_leverage_that_the_venue_forbids_weighs_nothing() -> None:
    found = Map(brackets=(Bracket(venue="venue", notional=0, rate=0.0125),))
    assert found.weights[:5] == pytest.approx(np.array([0.35, 0.30, 0.20, 0.10, 0.0]) / 0.95)
    assert found.draw(3)[4] == 0
    found.open_interest(SECOND, 0)
    found.trade(2 * SECOND, (100, 1))
    found.open_interest(3 * SECOND, 1)
    assert sum(amount for _, amount, _ in found.triggers(1)) == pytest.approx(1)


def test_a_map_without_a_possible_leverage_is_refused() -> None:
    with pytest.raises(BadConfig, match="brackets of venue allow none"):
        Map(TEN, brackets=(Bracket(venue="venue", notional=0, rate=0.2),))


def test_more_leverages_than_classes_are_refused() -> None:
    asked = MapConfig(leverages=tuple(range(2, 12)), weights=(0.1,) * 10)
    with pytest.raises(BadConfig, match="10 leverages"):
        liquidations.settings_of(EngineConfig(map=asked), "venue", "A")


def test_the_version_grows_whenever_triggers_could_change() -> None:
    found = entered(THREE)
    seen = [found.version]
    found.trade(4 * SECOND, (99_000, 1))
    assert found.version == seen[-1]
    found.trade(5 * SECOND, (96_000, 1))
    seen.append(found.version)
    found.open_interest(6 * SECOND, 90)
    seen.append(found.version)
    found.open_interest(7 * SECOND, 95)
    seen.append(found.version)
    found.liquidation(8 * SECOND, 1, 5, 96_000)
    found.open_interest(30 * SECOND, 95)
    seen.append(found.version)
    assert seen == sorted(set(seen))


def test_rows_that_cannot_be_are_counted_and_left_out() -> None:
    found = entered()
    before = found.triggers(1)
    found.trade(4 * SECOND, (0, 1), (100, 0))
    found.open_interest(5 * SECOND, -1)
    found.mark(6 * SECOND, 0)
    found.liquidation(7 * SECOND, 1, 0, 100)
    assert found.memory["refused"][0] == 5
    assert found.triggers(1) == before


def test_a_map_goes_through_bytes() -> None:
    found = entered(THREE)
    found.trade(4 * SECOND, (96_000, 1))
    other = found.again()
    for each in (found, other):
        each.liquidation(5 * SECOND, 1, 15, 96_200)
        each.open_interest(30 * SECOND, 70)
        each.trade(31 * SECOND, (140_000, 1))
        each.open_interest(32 * SECOND, 90)
    assert found.memory.tobytes() == other.memory.tobytes()
    assert other.triggers(1) == found.triggers(1)


def test_memory_has_one_size_for_every_configuration() -> None:
    assert Map(TEN).memory.dtype == Map().memory.dtype
    assert Map().memory.itemsize < 2**19


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_kernels_compile_once() -> None:
    for contract in (Contract.LINEAR, Contract.INVERSE):
        found = entered(THREE, contract=contract)
        found.liquidation(4 * SECOND, 1, 1, 100)
        found.triggers(1)
        found.draw(1)
        found.again().coverage(1)
    for kernel in ("take_trades", "take_references", "take_liquidations", "triggers", "coverage"):
        assert len(getattr(liquidations, kernel).signatures) == 1, kernel
