"""Order-flow imbalance and impact: the design's vectors, the slow twin on random books, and what is withheld."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.book import Book
from engine.components import find_axes, heaviest
from engine.fields import Field, Layout
from engine.imbalance import (
    FIELDS,
    LEVELS,
    RING,
    SIGNAL_FIELDS,
    close_imbalance,
    gain,
    report_imbalance,
    restart_imbalance,
    sum_imbalance,
    top,
    update_imbalance,
)
from engine.impact import (
    FIELDS as IMPACT_FIELDS,
)
from engine.impact import (
    SIGNAL_FIELDS as IMPACT_SIGNAL_FIELDS,
)
from engine.impact import (
    amihud_illiquidity,
    close_impact,
    kyle_lambda,
    report_impact,
    roll_spread,
    root_impact,
)
from engine.instrument import Instrument
from engine.kernel import COMPILED
from engine.ladder import PRICE_LIMIT
from engine.money import unit_of
from engine.schema import LEVEL, Contract, Rows
from tests.naive_imbalance import SETTINGS, NaiveFlow

VECTORS = Path(__file__).parents[1] / ".." / "shared" / "design" / "test_vectors.json"
MEMORY = np.dtype([*FIELDS, *IMPACT_FIELDS], align=True)
AXIS = Field("windows", "integer", "ms", "", over="windows")
TABLE = (AXIS, *SIGNAL_FIELDS, *IMPACT_SIGNAL_FIELDS)


@pytest.fixture(scope="module")
def vectors() -> dict[str, Any]:
    """Numbers that the design fixes."""
    if not VECTORS.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{VECTORS} is absent, and CI must have it")
        pytest.skip(f"{VECTORS} is absent")
    found: dict[str, Any] = json.loads(VECTORS.read_text())
    return found


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


def test_the_touch_gains_what_the_design_says(vectors: dict[str, Any]) -> None:
    flow = Flow()
    flow.update([(90, 1)], [(200, 1)], replace=True)
    flow.close()
    gains: list[float] = []
    held: tuple[int, ...] = ()
    for quote in vectors["TV5_ofi"]["quotes"]:
        bid, bid_size, ask, ask_size = quote
        before = float(flow.memory["imbalance_open"][0, 0])
        old = [(held[0], 0)] if held and held[0] != bid else []
        old_ask = [(held[1], 0)] if held and held[1] != ask else []
        flow.update([*old, (bid, bid_size)], [*old_ask, (ask, ask_size)])
        held = (bid, ask)
        gains.append(float(flow.memory["imbalance_open"][0, 0]) - before)
    assert gains[1:] == vectors["TV5_ofi"]["e"]
    assert sum(gains[1:]) == vectors["TV5_ofi"]["sum"]


def test_a_component_is_that_of_the_design(vectors: dict[str, Any]) -> None:
    expected = vectors["TV6_integrated_ofi"]
    matrix = np.array(expected["cov"])
    axes, weights = np.zeros((2, 2)), np.zeros(2)
    whole = float(np.trace(matrix))
    find_axes(matrix, axes)
    assert heaviest(matrix, axes, weights) / whole == pytest.approx(expected["explained"], rel=1e-12)
    assert weights.tolist() == pytest.approx(expected["weights"], rel=1e-12)
    assert float(weights @ np.array(expected["ofi_vec"])) == pytest.approx(expected["integrated"], rel=1e-12)


def test_array_measures_are_those_of_the_design(vectors: dict[str, Any]) -> None:
    expected = vectors["TV8_lambda"]
    kyle = kyle_lambda(np.array([1.0, -0.5, 2.0]), np.array([2.0, -1.0, 4.0]))
    assert kyle == pytest.approx((expected["kyle_no_intercept"], 0))
    illiquidity = amihud_illiquidity(np.array([0.01, -0.02, 0.5]), np.array([50.0, 100.0, 0.0]))
    assert illiquidity == pytest.approx((expected["amihud"], 0))
    assert roll_spread(np.array([100.0, 101.0, 100.0, 101.0])) == pytest.approx((expected["roll_spread"], 0))
    root = vectors["TV22_sqrt"]
    impact = root_impact(root["Q_over_V"] * 500, 500.0, root["sigma_d"], root["Y"])
    assert impact == pytest.approx((root["impact"], 0))


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


@settings(max_examples=40 if COMPILED else 6, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    cells=st.integers(0, 60) | st.integers(100, 150),
    restarts=st.sampled_from([0.0, 0.0, 0.02, 0.3]),
    contract=st.sampled_from(list(Contract)),
    tick=st.sampled_from([1, 5]),
    impact=st.integers(1, 3),
    training=st.integers(31, 100),
    forgetting=st.sampled_from([0.9, 0.99, 0.9999]),
    windows=st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True).map(sorted),
)
def test_the_kernels_equal_their_twin(
    seed: int,
    cells: int,
    restarts: float,
    contract: Contract,
    tick: int,
    impact: int,
    training: int,
    forgetting: float,
    windows: list[int],
) -> None:
    flow = Flow(rule_of(windows, impact, training, forgetting), instrument(contract, tick))
    random = np.random.default_rng(seed)
    wander(flow, random, cells, restarts)
    flow.check()
    flow.update([(1, 1)], [], replace=True)
    flow.check()
    wander(flow, random, 5)
    flow.check()


@settings(max_examples=60 if COMPILED else 15, deadline=None)
@given(seed=st.integers(0, 2**32), tick=st.sampled_from([1, 5]))
def test_the_top_is_the_book_sorted(seed: int, tick: int) -> None:
    flow = Flow(unit=instrument(tick=tick))
    wander(flow, np.random.default_rng(seed), 8)
    prices, amounts = np.zeros((2, LEVELS), np.int64), np.zeros((2, LEVELS), np.int64)
    book = flow.book
    top(book._memory, book._sizes, book._occupied, book._far, prices, amounts)
    for side, (rows, absent) in enumerate(zip(book.levels(), (0, PRICE_LIMIT), strict=True)):
        short = max(LEVELS - len(rows), 0)
        assert prices[side].tolist() == [*rows["price"][:LEVELS].tolist(), *[absent] * short]
        assert amounts[side].tolist() == [*rows["size"][:LEVELS].tolist(), *[0] * short]


@settings(max_examples=60 if COMPILED else 20, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, LEVELS), rank=st.integers(1, LEVELS))
def test_a_component_equals_that_of_lapack(seed: int, size: int, rank: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(40, min(rank, size))) @ np.random.default_rng(seed + 1).normal(
        size=(min(rank, size), size)
    )
    matrix = np.atleast_2d(np.cov(rows.T))
    values = np.linalg.eigvalsh(matrix)
    axes, weights = np.zeros((size, size)), np.zeros(size)
    held = matrix.copy()
    find_axes(held, axes)
    assert sorted(np.diag(held)) == pytest.approx(values, abs=1e-9 * values[-1])
    assert axes.T @ axes == pytest.approx(np.eye(size), abs=1e-12)
    assert heaviest(held, axes, weights) == pytest.approx(values[-1], rel=1e-9)
    assert np.abs(weights).sum() == pytest.approx(1.0)
    assert weights.sum() >= 0
    # An axis is one that the matrix only stretches, whichever of two equal ones it is.
    assert matrix @ weights == pytest.approx(values[-1] * weights, abs=1e-7 * values[-1])


def test_weights_that_cancel_have_their_first_above_zero() -> None:
    matrix = np.array([[2.0, -2.0], [-2.0, 2.0]])
    axes, weights = np.zeros((2, 2)), np.zeros(2)
    find_axes(matrix, axes)
    assert heaviest(matrix, axes, weights) == pytest.approx(4.0)
    assert weights.tolist() == pytest.approx([0.5, -0.5])


def test_a_level_that_appears_adds_its_size_and_one_that_goes_takes_it() -> None:
    assert gain(-1, 100, 5, 0, 0) == gain(1, 101, 5, PRICE_LIMIT, 0) == 5
    assert gain(-1, 0, 0, 100, 5) == gain(1, PRICE_LIMIT, 0, 101, 5) == -5
    assert gain(-1, 0, 0, 0, 0) == gain(1, PRICE_LIMIT, 0, PRICE_LIMIT, 0) == 0


def test_a_crossed_book_is_passed_over() -> None:
    flow = Flow()
    flow.update([(100, 5)], [(101, 4)], replace=True)
    flow.update([(103, 2)], [])
    assert flow.memory["imbalance_open"][0].tolist() == [0.0] * LEVELS
    flow.update([(103, 0), (100, 7)], [])
    assert flow.memory["imbalance_open"][0].tolist() == [2.0] + [0.0] * (LEVELS - 1)


def test_the_first_book_after_a_restart_is_only_remembered() -> None:
    flow = Flow()
    flow.update([(100, 5)], [(101, 4)], replace=True)
    flow.update([(100, 9)], [])
    flow.update([(90, 5)], [(91, 4)], replace=True)
    assert flow.memory["imbalance_open"][0, 0] == 0.0


def test_a_window_that_holds_a_restart_has_no_imbalance() -> None:
    flow = Flow(rule_of((1, 3)))
    flow.update([(100, 5)], [(101, 4)], replace=True)
    flow.close()
    assert flow.report()[0]["ofi"] == [None, None]
    flow.update([(100, 6)], [])
    flow.close()
    found, why = flow.report()
    assert found["ofi"] == [0.1, None]
    assert why["ofi"] == "too_early"
    flow.close()
    flow.close()
    assert flow.report()[0]["ofi"] == [0.0, 0.1]


def heap(flow: Flow, seed: int, depth: int, flows: Sequence[int], step: int = 1) -> None:
    """Fill a book whose levels, `step` ticks apart, hold `depth` each: flow on a side adds to its touch or eats it.

    This is the book of Cont, Kukanov and Stoikov: a side that gains x moves by x / depth levels.
    """
    random = np.random.default_rng(seed)
    held = [50 * depth, 50 * depth]
    shown: list[dict[int, int]] = [{}, {}]
    for i in range(61):
        for side in (0, 1):
            # A first book, then flow of either sign that never lets the sides meet.
            held[side] = min(max(held[side] + int(random.choice(flows)) * (i > 0), 20 * depth), 80 * depth)
        now: list[dict[int, int]] = []
        for side, sign in ((0, 1), (1, -1)):
            full, rest = divmod(held[side], depth)
            sizes = [depth] * full + [rest] * (rest > 0)
            base = 1_000 if side == 0 else 1_000 + 200 * step
            now.append({base + sign * step * level: size for level, size in enumerate(sizes)})
        changes = [[*((p, 0) for p in was if p not in new), *new.items()] for was, new in zip(shown, now, strict=True)]
        flow.update(changes[0], changes[1], replace=i == 0)
        shown = now
        flow.close()


def test_a_book_of_even_depth_has_a_phantom_index_of_one() -> None:
    flow = Flow(rule_of((1,), impact=1))
    heap(flow, 5, 20, (-20, 0, 20))
    found, _ = flow.report()
    assert found["touch_depth"] == pytest.approx(2.0)
    assert found["phantom"] == pytest.approx(1.0)
    assert found["impact_beta"] == pytest.approx(1 / (2 * 2.0))
    assert found["impact_r2"] == pytest.approx(1.0)


def test_a_book_with_nothing_behind_every_level_has_a_phantom_index_of_two() -> None:
    flow = Flow(rule_of((1,), impact=1))
    heap(flow, 5, 20, (-20, 0, 20), step=2)
    assert flow.report()[0]["phantom"] == pytest.approx(2.0)


def test_a_touch_thinner_than_what_is_behind_it_lowers_the_phantom_index() -> None:
    flow = Flow(rule_of((1,), impact=1))
    heap(flow, 5, 20, (-7, -3, 3, 7))
    assert 0.3 < flow.report()[0]["phantom"] < 0.8


@pytest.mark.parametrize("scale", [1, 10**12])
def test_indices_without_a_unit_do_not_depend_on_it(scale: int) -> None:
    flow, scaled = (Flow(rule_of((1,), impact=1, training=40)) for _ in range(2))
    heap(flow, 7, 20, (-30, -3, 3, 30))
    heap(scaled, 7, 20 * scale, (-30 * scale, -3 * scale, 3 * scale, 30 * scale))
    found, other = flow.report()[0], scaled.report()[0]
    for name in ("phantom", "impact_r2", "ofi_normalised", "ofi_integrated", "ofi_weights", "ofi_explained"):
        assert other[name] == pytest.approx(found[name], rel=1e-9), name
    assert other["ofi"] == pytest.approx([each * scale for each in found["ofi"]])


def test_weights_wait_for_a_training_window_and_serve_the_next() -> None:
    flow = Flow(rule_of((1,), impact=1, training=40))
    random = np.random.default_rng(1)
    flow.update([(1_000, 5)], [(1_001, 5)], replace=True)
    wander(flow, random, 39)
    found, why = flow.report()
    assert found["ofi_weights"] == [None] * LEVELS
    assert (why["ofi_integrated"], why["ofi_explained"], why["ofi_depth"]) == ("untrained",) * 3
    wander(flow, random, 1)
    first, _ = flow.report()
    assert sum(map(abs, first["ofi_weights"])) == pytest.approx(1.0)
    assert 0.1 <= first["ofi_explained"] <= 1.0
    wander(flow, random, 39)
    assert flow.report()[0]["ofi_weights"] == first["ofi_weights"]
    wander(flow, random, 1)
    assert flow.report()[0]["ofi_weights"] != first["ofi_weights"]


def test_integrated_imbalance_uses_weights_of_the_past_only() -> None:
    flow = Flow(rule_of((1,), impact=1, training=40))
    wander(flow, np.random.default_rng(1), 40)
    other = Flow(rule_of((1,), impact=1, training=40))
    wander(other, np.random.default_rng(1), 40)
    flow.update([(1_000, 1_000)], [])
    flow.close()
    other.close()
    assert flow.report()[0]["ofi_weights"] == other.report()[0]["ofi_weights"]


def test_a_training_window_without_flow_leaves_no_weights() -> None:
    flow = Flow(rule_of((1,), impact=1, training=40))
    flow.update([(1_000, 5)], [(1_001, 5)], replace=True)
    for _ in range(45):
        flow.close()
    found, why = flow.report()
    assert found["ofi_weights"] == [None] * LEVELS
    assert (found["phantom"], why["phantom"]) == (None, "no_flow")
    assert found["touch_depth"] == 0.5


def test_silence_makes_the_impact_undefined_again() -> None:
    flow = Flow(rule_of((1,), impact=1, forgetting=0.95))
    wander(flow, np.random.default_rng(2), 60)
    assert flow.report()[0]["phantom"] is not None
    flow.update([(1_000, 5)], [(1_001, 5)], replace=True)
    assert flow.report()[0]["phantom"] is not None
    restart_imbalance(flow.memory)
    for _ in range(40):
        flow.close()
    found, why = flow.report()
    assert (found["phantom"], why["phantom"]) == (None, "too_early")


def test_a_quanto_contract_keeps_what_has_no_unit() -> None:
    flow = Flow(rule_of((1,), impact=1), instrument(Contract.QUANTO))
    wander(flow, np.random.default_rng(2), 60)
    found, why = flow.report()
    assert (why["ofi"], why["impact_beta"], why["touch_depth"], why["ofi_levels"]) == ("quanto",) * 4
    assert found["phantom"] is not None
    assert found["ofi_normalised"][0] is not None


def test_a_mirrored_book_mirrors_its_imbalance() -> None:
    flow, mirror = Flow(), Flow()
    flow.update([(1_000, 5), (999, 3)], [(1_001, 4)], replace=True)
    mirror.update([(1_000, 4)], [(1_001, 5), (1_002, 3)], replace=True)
    flow.update([(1_000, 0)], [(1_001, 9)])
    mirror.update([(1_000, 9)], [(1_001, 0)])
    assert (flow.memory["imbalance_open"] == -mirror.memory["imbalance_open"]).all()
    assert flow.memory["imbalance_open"][0, 0] == -10.0


def test_a_ring_keeps_the_newest_cells() -> None:
    flow = Flow(rule_of((1,)))
    flow.update([(1_000, 5)], [(1_001, 5)], replace=True)
    for i in range(RING + 10):
        flow.update([(1_000, 5 + i)], [])
        flow.close()
    assert sum_imbalance(flow.memory, 9, RING, 0) == RING
    assert sum_imbalance(flow.memory, 9, 3, 0) == 3


def test_memory_reads_back_from_its_bytes() -> None:
    flow = Flow(rule_of((1,), impact=1, training=40))
    wander(flow, np.random.default_rng(4), 50)
    before = flow.report()
    flow.memory = np.frombuffer(flow.memory.tobytes(), MEMORY).copy()
    assert flow.report() == before


def test_measures_of_nothing_say_so() -> None:
    none = np.zeros(0)
    assert kyle_lambda(none, none)[1] > 0
    assert amihud_illiquidity(np.ones(3), np.zeros(3))[1] > 0
    assert roll_spread(np.array([1.0, 2.0]))[1] > 0
    assert roll_spread(np.array([1.0, 2.0, 3.0]))[1] > 0
    assert roll_spread(np.array([1.0, 1.0, 1.0])) == (0.0, 0)
    assert root_impact(1.0, 0.0, 0.03, 1.0)[1] > 0


@pytest.mark.skipif(not COMPILED, reason="signatures are the compiler's")
def test_every_kernel_has_one_signature() -> None:
    kernels: tuple[Any, ...] = (restart_imbalance, update_imbalance, close_imbalance, close_impact)
    flow = Flow(rule_of((1,), impact=1, training=40))
    wander(flow, np.random.default_rng(4), 50, 0.1)
    flow.report()
    assert [len(each.signatures) for each in kernels] == [1] * len(kernels)
    # These two also know how many windows are reported.
    reports: tuple[Any, ...] = (report_imbalance, report_impact)
    before = [len(each.signatures) for each in reports]
    wander(flow, np.random.default_rng(5), 50, 0.1)
    flow.report()
    assert [len(each.signatures) for each in reports] == before
