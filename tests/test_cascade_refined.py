"""The cascade's refinements, each against its slow twin."""

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cascade import (
    END,
    curve,
    falls,
    free_fall,
    merge,
    replenish,
    slice_off,
    sweep_floored,
)
from engine.kernel import COMPILED
from tests import naive_cascade as naive
from tests.test_cascade import BIDS, MARKS, Levels, book, columns, end, sides, triples

VECTORS = Path(__file__).parents[1] / ".." / "shared" / "design" / "test_vectors.json"
EXAMPLES = 200 if COMPILED else 30


@pytest.fixture(scope="module")
def cascade() -> dict[str, Any]:
    """Book, triggers and answers of the design's cascade."""
    if not VECTORS.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{VECTORS} is absent, and CI must have it")
        pytest.skip(f"{VECTORS} is absent")
    found: dict[str, Any] = json.loads(VECTORS.read_text())["TV11_cascade"]
    return found


def test_the_iteration_takes_the_path_of_the_design(cascade: dict[str, Any]) -> None:
    bids, marks = ([(float(price), float(size)) for price, size in cascade[name]] for name in ("bids", "liq_map"))
    for shock, wanted in cascade["cases"].items():
        price, sold, path, exhausted = naive.iterate(bids, marks, float(shock))
        assert (price, sold, exhausted) == (wanted["p_star"], wanted["Q_star"], wanted["exhausted"])
        assert path == [tuple(each) for each in wanted["path"]]
        assert len(path) == wanted["rounds"]


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides)
def test_a_squeeze_is_the_mirror_image_of_a_fall(side: tuple[Levels, Levels, float]) -> None:
    bids, marks, shock = side
    centre = 200.0
    asks = [(centre + (centre - price), size) for price, size in bids]
    rises = [(centre + (centre - price), amount) for price, amount in marks]
    fall = end(bids, marks, shock)
    rise = end([(-price, size) for price, size in asks], [(-price, amount) for price, amount in rises], shock)
    assert -rise["price"] - centre == centre - fall["price"]
    for name in ("level", "sold", "forced", "unsold", "fired", "exhausted"):
        assert rise[name] == fall[name]


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides)
def test_a_critical_shock_holds_and_one_more_does_not(side: tuple[Levels, Levels, float]) -> None:
    bids, marks, _ = side
    for level, _ in bids:
        held = naive.critical_shock(bids, marks, level)
        above, below = end(bids, marks, held), end(bids, marks, held + 1)
        assert held == 0 or (above["price"] >= level and not above["exhausted"])
        assert below["price"] < level or below["exhausted"]


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides, st.lists(st.integers(40, 105), min_size=1, max_size=6, unique=True))
def test_a_fall_is_free_until_excess_depth_exceeds_its_maximum(
    side: tuple[Levels, Levels, float], asked: list[int]
) -> None:
    bids, marks, _ = side
    bounds = sorted((float(each) for each in asked), reverse=True)
    out = np.full((2, len(bounds)), 9e9)
    falls(*columns(bids), *columns(marks), np.array(bounds), out)
    wanted = [naive.free_below(bids, marks, bound) for bound in bounds]
    assert list(zip(out[0].tolist(), (out[1] > 0).tolist(), strict=True)) == wanted


def test_once_a_support_breaks_the_next_three_cost_nothing() -> None:
    out = np.zeros((2, 3))
    falls(*columns(BIDS), *columns(MARKS), np.array([99.0, 98.5, 94.0]), out)
    assert out.tolist() == [[3.0, 2.5, 0.0], [0.0, 0.0, 1.0]]


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides, st.integers(50, 100))
def test_the_longest_free_fall_is_found(side: tuple[Levels, Levels, float], low: int) -> None:
    bids, marks, _ = side
    begin, finish, count = free_fall(*columns(bids), *columns(marks), float(low))
    wanted = naive.longest_free_fall(bids, marks, float(low))
    assert begin - finish == wanted[0] - wanted[1]
    assert (begin, finish) == (wanted if count else (0.0, 0.0))


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    sides,
    st.lists(st.tuples(st.integers(45, 105), st.sampled_from([0.0, 0.5, 2.0])), max_size=4, unique_by=lambda z: z[0]),
    st.integers(0, 10),
)
def test_makers_put_back_what_their_zone_is_given(
    side: tuple[Levels, Levels, float], zones: list[tuple[int, float]], duration: int
) -> None:
    bids, marks, shock = side
    zones.sort(reverse=True)
    bounds, rates = [float(low) for low, _ in zones], [rate for _, rate in zones]
    out = np.zeros(len(bids))
    homeless = replenish(*columns(bids), np.array(bounds), np.array(rates), float(duration), out)
    wanted, lost = naive.replenished(bids, bounds, rates, float(duration))
    np.testing.assert_allclose(out, [size for _, size in wanted], rtol=1e-12)
    assert homeless == lost
    assert out.sum() + homeless == pytest.approx(sum(s for _, s in bids) + sum(rates) * duration, rel=1e-12)
    prices = [price for price, _ in bids]
    refilled = list(zip(prices, out.tolist(), strict=True))
    assert end(refilled, marks, shock)["price"] >= end(bids, marks, shock)["price"]


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides, st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_a_cascade_over_before_the_cooldown_meets_first_slices_only(
    side: tuple[Levels, Levels, float], first: float
) -> None:
    bids, marks, shock = side
    amounts = columns(marks)[1]
    short, long = np.zeros(len(marks)), np.zeros(len(marks))
    slice_off(amounts, first, 30.0, 30.0, short)
    slice_off(amounts, first, 30.0, 30.5, long)
    assert short.tolist() == [amount * first for _, amount in marks]
    assert long.tolist() == amounts.tolist()
    sliced = [(mark, float(amount)) for (mark, _), amount in zip(marks, short, strict=True)]
    price, _, _, exhausted = naive.iterate(bids, sliced, shock)
    met = end(bids, sliced, shock)
    assert (met["price"], bool(met["exhausted"])) == (price, exhausted)
    assert met["price"] >= end(bids, marks, shock)["price"]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(sides, min_size=1, max_size=4))
def test_merged_books_hold_what_every_venue_holds(venues: list[tuple[Levels, Levels, float]]) -> None:
    books = [bids for bids, _, _ in venues]
    whole = columns([level for each in books for level in each])
    starts = np.cumsum([0, *(len(each) for each in books)])
    out = np.zeros((2, int(starts[-1])))
    count = merge(*whole, starts, out[0], out[1])
    assert list(zip(*out[:, :count].tolist(), strict=True)) == naive.merged(books)


@settings(max_examples=EXAMPLES, deadline=None)
@given(sides, st.lists(st.integers(0, 40), min_size=9, max_size=9), st.integers(0, 300))
def test_nothing_that_leaves_a_kernel_is_infinite(
    side: tuple[Levels, Levels, float], below: list[int], shock: int
) -> None:
    bids, marks, _ = side
    for held in (bids, []):
        out, found, free = np.zeros(1, END), np.zeros((5, 3)), np.zeros((2, 3))
        sweep_floored(
            *columns(held),
            *triples([(mark, amount, mark - gap) for (mark, amount), gap in zip(marks, below, strict=False)]),
            float(shock),
            np.zeros(len(marks)),
            out,
        )
        met = out[0]
        # Everything that is to trade either found a buyer or did not.
        assert met["sold"] + met["unsold"] == shock + met["forced"]
        curve(*columns(held), *columns(marks), float(shock), np.array([90.0, 70.0, 1.0]), found)
        falls(*columns(held), *columns(marks), np.array([90.0, 70.0, 1.0]), free)
        assert np.isfinite(found).all()
        assert np.isfinite(free).all()
        assert all(np.isfinite(met[name]) for name in END.names or ())


def test_a_thousand_more_books_agree_with_the_floors_twin() -> None:
    seed = random.Random(23)
    out = np.zeros(1, END)
    for _ in range(1_000 if COMPILED else 100):
        bids, marks, shock = book(seed)
        floored = [(mark, amount, mark - seed.randrange(0, 30)) for mark, amount in marks]
        sweep_floored(*columns(bids), *triples(floored), shock, np.zeros(len(marks)), out)
        wanted = naive.floored(bids, floored, shock)
        assert tuple(out[0][["price", "sold", "unsold", "fired", "exhausted"]]) == wanted
