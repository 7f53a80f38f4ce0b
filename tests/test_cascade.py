"""Where a sale ends once it forces others: against exact numbers, against the iteration, and its own laws."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cascade import (
    END,
    Floats,
    branching,
    curve,
    free_fall,
    lay,
    merge,
    shrink,
    spiral,
    sweep,
    sweep_floored,
)
from engine.contagion import NO_TRIGGER, spread_out
from engine.kernel import COMPILED
from engine.money import unit_of
from engine.schema import LEVEL
from tests import naive_cascade as naive
from tests.stream import instrument

BOOKS = 10_000 if COMPILED else 1_000
EXAMPLES = 200 if COMPILED else 30

BIDS = [(100.0, 5.0), (99.0, 5.0), (98.0, 5.0), (97.0, 5.0), (96.0, 20.0), (95.0, 40.0)]
MARKS = [(99.5, 2.0), (98.5, 6.0), (97.0, 8.0), (95.5, 10.0)]

Levels = list[tuple[float, float]]


def columns(rows: Any) -> tuple[Floats, Floats]:
    """Split pairs into two arrays."""
    table = np.array(rows, np.float64).reshape(-1, 2)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])


def triples(rows: Any) -> tuple[Floats, Floats, Floats]:
    """Split triples into three arrays."""
    table = np.array(rows, np.float64).reshape(-1, 3)
    return (*columns(table[:, :2]), np.ascontiguousarray(table[:, 2]))


def end(bids: Levels, marks: Levels, shock: float) -> Any:
    out = np.zeros(1, END)
    sweep(*columns(bids), *columns(marks), float(shock), out)
    return out[0]


def curves(bids: Levels, marks: Levels, shock: float, bounds: list[float]) -> Any:
    out = np.zeros((5, len(bounds)))
    curve(*columns(bids), *columns(marks), float(shock), np.array(bounds, np.float64), out)
    return out


def book(seed: random.Random) -> tuple[Levels, Levels, float]:
    """A book and triggers on a small integer grid, where equal prices and hits at the bound are common."""
    prices = sorted(seed.sample(range(50, 100), seed.randrange(1, 15)), reverse=True)
    bids = [(float(price), float(seed.randrange(1, 12))) for price in prices]
    marks = sorted((float(seed.randrange(40, 101)), float(seed.randrange(1, 9))) for _ in range(seed.randrange(9)))
    return bids, marks[::-1], float(seed.randrange(0, 60))


#: Q0: terminal price, Q*, price without feedback.
CASES = {3: (100, 3, 100), 5: (100, 5, 100), 6: (99, 8, 99), 8: (99, 10, 99), 8.5: (96, 24.5, 99), 25: (95, 51, 96)}


@pytest.mark.parametrize("shock", CASES)
def test_a_slightly_larger_sale_ends_levels_lower(shock: float) -> None:
    met = end(BIDS, MARKS, shock)
    assert (met["price"], met["sold"], met["price_alone"], met["exhausted"]) == (*CASES[shock], 0)


def test_the_critical_shock_says_which_sales_trade_below_a_level() -> None:
    out = curves(BIDS, MARKS, 3.0, [price for price, _ in BIDS])
    assert out[0].tolist() == [5, 10, 15, 20, 40, 80]
    assert out[1].tolist() == [0, 2, 8, 16, 16, 26]
    assert out[2].tolist() == [5, 8, 8, 8, 24, 54]
    assert out[3].tolist() == [0.6, 0.5, 0.5, 0.5, 0.475, 0.3625]


def test_the_sweep_the_iteration_and_the_critical_shock_agree_on_many_books() -> None:
    seed = random.Random(11)
    for _ in range(BOOKS):
        bids, marks, shock = book(seed)
        met = end(bids, marks, shock)
        price, sold, _, exhausted = naive.iterate(bids, marks, shock)
        assert (met["price"], met["exhausted"]) == (price, exhausted)
        assert met["sold"] == sold or exhausted
        out = curves(bids, marks, shock, [level for level, _ in bids])
        for k, (level, _) in enumerate(bids):
            assert out[2, k] == naive.critical_shock(bids, marks, level)
            assert out[3, k] == pytest.approx(naive.critical_fraction(bids, marks, shock, level), rel=1e-12)
            below = exhausted or price < level
            assert below == (shock > out[2, k]) or (shock == 0 and out[2, k] == 0)


sides = st.integers(0, 10**9).map(lambda number: book(random.Random(number)))


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides, st.integers(1, 20))
def test_a_larger_sale_never_ends_higher(side: tuple[Levels, Levels, float], more: int) -> None:
    bids, marks, shock = side
    assert end(bids, marks, shock + more)["price"] <= end(bids, marks, shock)["price"]


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides, st.integers(0, 10**6), st.integers(1, 9))
def test_more_bids_hold_it_higher_and_more_triggers_let_it_lower(
    side: tuple[Levels, Levels, float], at: int, more: int
) -> None:
    bids, marks, shock = side
    before = end(bids, marks, shock)
    i = at % len(bids)
    larger = [*bids[:i], (bids[i][0], bids[i][1] + more), *bids[i + 1 :]]
    assert end(larger, marks, shock)["price"] >= before["price"]
    if marks:
        j = at % len(marks)
        heavier = [*marks[:j], (marks[j][0], marks[j][1] + more), *marks[j + 1 :]]
        assert end(bids, heavier, shock)["price"] <= before["price"]


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides)
def test_without_triggers_it_ends_where_the_book_holds_it(side: tuple[Levels, Levels, float]) -> None:
    bids, _, shock = side
    met = end(bids, [], shock)
    price, exhausted = naive.price_of(bids, shock)
    assert (met["price"], met["exhausted"], met["forced"]) == (price, exhausted, 0)
    assert met["price"] == met["price_alone"]


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides, st.sampled_from([0.5, 2.0, 8.0]), st.sampled_from([0.25, 4.0]))
def test_scaling_prices_and_sizes_scales_the_end(side: tuple[Levels, Levels, float], price: float, size: float) -> None:
    bids, marks, shock = side
    first = end(bids, marks, shock)
    second = end([(p * price, q * size) for p, q in bids], [(p * price, q * size) for p, q in marks], shock * size)
    assert second["price"] == first["price"] * price
    assert second["sold"] == first["sold"] * size


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides)
def test_what_rests_or_waits_below_the_end_changes_nothing(side: tuple[Levels, Levels, float]) -> None:
    bids, marks, shock = side
    first = end(bids, marks, shock)
    if not first["exhausted"]:
        near = [level for level in bids if level[0] >= first["price"]]
        assert end(near, [m for m in marks if m[0] >= first["price"]], shock) == first


def test_an_empty_book_holds_nothing() -> None:
    met = end([], MARKS, 1.0)
    assert (met["level"], met["price"], met["exhausted"], met["unsold"]) == (-1, 0.0, 1, 1.0)
    assert curves([], MARKS, 1.0, [99.0, 98.0])[2:].tolist() == [[0, 0], [0, 0], [1, 1]]


def test_a_sold_out_book_says_what_nobody_bought() -> None:
    met = end([(100.0, 5.0)], [(100.0, 3.0)], 4.0)
    assert (met["exhausted"], met["unsold"], met["sold"]) == (1, 2.0, 7.0)


def test_in_an_even_book_the_closed_form_holds() -> None:
    np.testing.assert_allclose(spiral(10.0, 6.0, 100.0), (0.6, 250.0, 25.0), rtol=1e-12)
    np.testing.assert_allclose(spiral(10.0, 12.0, 1.0), (1.2, -1.0, -1.0), rtol=1e-12)
    fine = 1_000
    bids = [(1_000.0 - i / fine, 10.0 / fine) for i in range(1, 50 * fine)]
    marks = [(1_000.0 - i / fine, 6.0 / fine) for i in range(1, 50 * fine)]
    assert end(bids, marks, 100.0)["price"] == pytest.approx(1_000.0 - 25.0, abs=0.01)


def test_a_bankruptcy_price_stops_the_forced_sale_and_leaves_a_residual() -> None:
    bids = [(96.0, 2.0), (95.0, 3.0), (94.0, 2.0), (90.0, 50.0)]
    out = np.zeros(1, END)
    for floor, wanted in ((94.0, (94.0, 6.0, 7.0, 1)), (0.0, (90.0, 0.0, 13.0, 1))):
        sweep_floored(*columns(bids), *triples([(95.0, 10.0, floor)]), 3.0, np.zeros(1), out)
        assert tuple(out[0][["price", "unsold", "sold", "fired"]]) == wanted


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides, st.lists(st.integers(0, 30), min_size=9, max_size=9))
def test_floors_do_what_selling_unit_by_unit_does(side: tuple[Levels, Levels, float], below: list[int]) -> None:
    bids, marks, shock = side
    with_floors = [(mark, amount, mark - gap) for (mark, amount), gap in zip(marks, below, strict=False)]
    out = np.zeros(1, END)
    sweep_floored(*columns(bids), *triples(with_floors), shock, np.zeros(len(marks)), out)
    price, sold, residual, fired, exhausted = naive.floored(bids, with_floors, shock)
    assert tuple(out[0][["price", "sold", "unsold", "fired", "exhausted"]]) == (price, sold, residual, fired, exhausted)
    sweep_floored(*columns(bids), *columns(marks), np.zeros(len(marks)), shock, np.zeros(len(marks)), out)
    plain = end(bids, marks, shock)
    if not plain["exhausted"]:
        assert (out[0]["price"], out[0]["sold"]) == (plain["price"], plain["sold"])


def test_a_trigger_at_a_levels_very_price_fires_there() -> None:
    unit = unit_of(instrument())
    for price in range(1, 3_000):
        prices, sizes = np.zeros(1), np.zeros(1)
        for sign in (1.0, -1.0):
            lay(np.array([(price, 500)], LEVEL), unit, sign, prices, sizes)
            assert (prices[0], sizes[0]) == (sign * float(f"{price // 100}.{price % 100:02}"), 5.0)


def test_makers_that_leave_and_refill_change_every_level_alike() -> None:
    out = np.zeros(2)
    shrink(np.array([2.0, 6.0]), 0.5, 4.0, out)
    assert out.tolist() == [2.0, 6.0]
    shrink(np.array([2.0, 6.0]), 0.5, 0.0, out)
    assert out.tolist() == [1.0, 3.0]


def test_below_a_broken_support_the_fall_is_free() -> None:
    assert free_fall(*columns(BIDS), *columns(MARKS), 90.0) == (99.0, 97.0, 2)
    assert free_fall(*columns(BIDS), *columns([]), 90.0) == (0.0, 0.0, 0)


def test_the_local_branching_ratio_is_forced_sales_per_bid() -> None:
    assert branching(*columns(MARKS), *columns(BIDS), 99.0, 97.0) == 14.0 / 10.0
    assert branching(*columns(MARKS), *columns(BIDS), 94.0, 90.0) == -1.0


def test_books_of_several_venues_are_summed_by_price() -> None:
    one, two = [(100.0, 1.0), (98.0, 2.0)], [(99.0, 3.0), (98.0, 4.0), (97.0, 5.0)]
    prices, sizes = columns([*one, *two])
    out = np.zeros((2, 5))
    count = merge(prices, sizes, np.array([0, 2, 5]), out[0], out[1])
    assert list(zip(*out[:, :count].tolist(), strict=True)) == [(100.0, 1.0), (99.0, 3.0), (98.0, 6.0), (97.0, 5.0)]


A = [(100.0, 5.0), (98.0, 4.0), (96.0, 20.0)]
U = [(1.0, 10.0), (0.95, 10.0), (0.9, 100.0)]


def spill(books: list[Levels], triggers: Any, sells: Any, shocks: list[float]) -> Any:
    prices, sizes = columns([level for each in books for level in each])
    starts = np.cumsum([0, *(len(each) for each in books)])
    sold, ends = np.array(shocks, np.float64), np.zeros(len(books))
    fired = np.zeros(len(triggers), np.uint8)
    triggers, sells = (np.array(each, np.float64).reshape(-1, len(books)) for each in (triggers, sells))
    spread_out(prices, sizes, starts, triggers, sells, sold, ends, fired)
    return ends.tolist(), sold.tolist(), [each != 0 for each in fired.tolist()]


def test_one_more_unit_of_a_pegged_asset_trips_the_second_account() -> None:
    triggers, sells = [[97.0, 0.95], [NO_TRIGGER, 0.9]], [[4.0, 8.0], [3.0, 0.0]]
    assert spill([A, U], triggers, sells, [0.0, 12.0]) == ([100.0, 0.95], [4.0, 20.0], [True, False])
    assert spill([A, U], triggers, sells, [0.0, 13.0]) == ([98.0, 0.9], [7.0, 21.0], [True, True])


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 10**9))
def test_contagion_is_the_least_of_all_consistent_outcomes(number: int) -> None:
    seed = random.Random(number)
    books = [book(seed)[0] for _ in range(seed.randrange(1, 4))]
    accounts = seed.randrange(0, 6)
    triggers = [[float(seed.choice([-1, *range(45, 100)])) for _ in books] for _ in range(accounts)]
    sells = [[float(seed.randrange(0, 15)) for _ in books] for _ in range(accounts)]
    shocks = [float(seed.randrange(0, 40)) for _ in books]
    wanted = naive.contagion(books, list(zip(triggers, sells, strict=True)), shocks)
    assert spill(books, triggers, sells, shocks) == wanted
