"""Order-flow imbalance: the design's vectors, the slow twin on random books, and what is withheld."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.components import find_axes, heaviest
from engine.imbalance import (
    LEVELS,
    RING,
    close_imbalance,
    gain,
    report_imbalance,
    restart_imbalance,
    sum_imbalance,
    top,
    update_imbalance,
)
from engine.impact import close_impact, report_impact
from engine.kernel import COMPILED
from engine.ladder import PRICE_LIMIT
from engine.schema import Contract
from tests.imbalance import MEMORY, Flow, design, instrument, rule_of, wander


def test_the_touch_gains_what_the_design_says() -> None:
    flow = Flow()
    flow.update([(90, 1)], [(200, 1)], replace=True)
    flow.close()
    gains: list[float] = []
    held: tuple[int, ...] = ()
    for quote in design("TV5_ofi")["quotes"]:
        bid, bid_size, ask, ask_size = quote
        before = float(flow.memory["imbalance_open"][0, 0])
        old = [(held[0], 0)] if held and held[0] != bid else []
        old_ask = [(held[1], 0)] if held and held[1] != ask else []
        flow.update([*old, (bid, bid_size)], [*old_ask, (ask, ask_size)])
        held = (bid, ask)
        gains.append(float(flow.memory["imbalance_open"][0, 0]) - before)
    assert gains[1:] == design("TV5_ofi")["e"]
    assert sum(gains[1:]) == design("TV5_ofi")["sum"]


def test_a_component_is_that_of_the_design() -> None:
    expected = design("TV6_integrated_ofi")
    matrix = np.array(expected["cov"])
    axes, weights = np.zeros((2, 2)), np.zeros(2)
    whole = float(np.trace(matrix))
    find_axes(matrix, axes)
    assert heaviest(matrix, axes, weights) / whole == pytest.approx(expected["explained"], rel=1e-12)
    assert weights.tolist() == pytest.approx(expected["weights"], rel=1e-12)
    assert float(weights @ np.array(expected["ofi_vec"])) == pytest.approx(expected["integrated"], rel=1e-12)


@settings(max_examples=40 if COMPILED else 15, deadline=None)
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


@pytest.mark.skipif(not COMPILED, reason="signatures are the compiler's")
def test_every_kernel_has_one_signature() -> None:
    kernels: tuple[Any, ...] = (restart_imbalance, update_imbalance, close_imbalance, close_impact)
    flow = Flow(rule_of((1,), impact=1, training=40))
    wander(flow, np.random.default_rng(4), 50, 0.1)
    flow.report()
    # Other memories in this process have signatures of their own: what counts is that none is added.
    kernels += (report_imbalance, report_impact)
    before = [len(each.signatures) for each in kernels]
    wander(flow, np.random.default_rng(5), 50, 0.1)
    flow.report()
    assert [len(each.signatures) for each in kernels] == before
