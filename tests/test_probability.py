"""A fitted model as kernels read it: the twin's numbers, monotone steps, what is missing, what is refused."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadConfig
from engine.inputs import INPUTS, NAMES
from engine.kernel import COMPILED
from engine.knowledge import Model
from engine.probability import (
    ENOUGH_EVENTS,
    ESTIMATED,
    MISSING,
    MODEL,
    MOST_KNOTS,
    ORDER,
    UNCALIBRATED,
    calibrate,
    columns,
    estimate,
    model_of,
    vectors,
)
from engine.schema import Rows
from tests import naive_vacuum


def model(**changed: Any) -> Model:
    """A model of two inputs with three steps."""
    told: dict[str, Any] = {
        "inputs": ("ratio", "spread"),
        "weights": (1.0, 0.5),
        "intercept": -1.0,
        "knots": (0.1, 0.5, 0.9),
        "values": (0.01, 0.2, 0.7),
        "horizon": 30,
        "base_rate": 0.02,
        "events": ENOUGH_EVENTS,
    }
    return Model(**(told | changed))


def inputs(known: dict[str, float], side: int = 0) -> Rows:
    """One INPUTS row in which only these are defined, on one side."""
    row = np.zeros(1, INPUTS)
    for name in NAMES:
        row[f"{name}_why"] = 1
        if name in known:
            row[name][0, side] = known[name]
            row[f"{name}_why"][0, side] = 0
    return row


def asked(one: Model, known: dict[str, float], side: int = 0) -> tuple[float, float, int]:
    return estimate(model_of(one), *columns(inputs(known, side)), side)


def test_a_row_is_read_by_number_as_by_name() -> None:
    row = np.zeros(1, INPUTS)
    for i, name in enumerate(NAMES):
        row[name] = (i, i + 0.5)
        row[f"{name}_why"] = (2 * i, 2 * i + 1)
    values, whys = columns(row)
    assert values.tolist() == [[i, i + 0.5] for i in range(len(NAMES))]
    assert whys.tolist() == [[2 * i, 2 * i + 1] for i in range(len(NAMES))]
    values[0, 1] = 7.0
    assert row["ratio"][0, 1] == 7.0


def test_half_the_depth_at_twice_the_spread_is_this_likely() -> None:
    found, raw, outcome = asked(model(), {"ratio": 0.5, "spread": 2.0})
    score = -1.0 + math.log(2.0) + 0.5 * math.log(2.0)
    assert raw == pytest.approx(1 / (1 + math.exp(-score)), rel=1e-15)
    assert (found, outcome) == (0.2, ESTIMATED)


@pytest.mark.parametrize(
    ("name", "known", "z"),
    [
        ("ratio", {"ratio": 0.1}, -math.log(0.1)),
        ("ratio", {"ratio": 0.0}, -math.log(1e-6)),
        ("ratio_wide", {"ratio_wide": 0.1}, -math.log(0.1)),
        ("tilt", {"ratio": 0.1, "ratio_wide": 0.4}, math.log(4.0)),
        ("withdrawal", {"withdrawal": 0.7}, 0.7),
        ("refill", {"refill": 0.25}, math.log(4.0)),
        ("spread", {"spread": 5.0}, math.log(5.0)),
        ("pocket", {"pocket": 3.0}, 3.0),
        ("imbalance", {"imbalance": -2.0}, -2.0),
        ("imbalance", {"imbalance": -2e9}, -1e6),
        ("phantom", {"phantom": 2.0}, math.log(2.0)),
        ("phantom", {"phantom": -2.0}, math.log(1e-6)),
        ("branching", {"branching": 0.3}, 0.3),
        ("variance", {"variance": 8.0}, math.log(8.0)),
        ("trades", {"trades": 3.0}, math.log(3.0)),
        ("shock", {"shock": 4.0}, 0.25),
        ("shock", {"shock": 0.0}, 1000.0),
    ],
)
def test_each_input_is_transformed_as_its_table_says(name: str, known: dict[str, float], z: float) -> None:
    found, defined = vectors([name], inputs(known), 0)
    assert (found[0, 0], defined[0]) == (pytest.approx(z, rel=1e-14), True)
    assert naive_vacuum.Z[name](known) == pytest.approx(z, rel=1e-14)


def test_the_table_names_every_input_and_their_tilt() -> None:
    assert set(ORDER) == {*NAMES, "tilt"} == set(naive_vacuum.Z)


def test_an_input_that_is_missing_leaves_no_probability() -> None:
    assert asked(model(), {"ratio": 0.5}) == (0.0, 0.0, MISSING)
    assert asked(model(), {"ratio": 0.5, "spread": 2.0, "phantom": 1.0})[2] == ESTIMATED
    assert asked(model(inputs=("tilt",), weights=(1.0,)), {"ratio": 0.5})[2] == MISSING
    _, defined = vectors(["ratio", "spread"], np.concatenate([inputs({"ratio": 1.0, "spread": 1.0})] * 2), 1)
    assert defined.tolist() == [False, False]


def test_a_model_of_too_few_events_is_not_believed() -> None:
    known = {"ratio": 0.5, "spread": 2.0}
    assert asked(model(events=ENOUGH_EVENTS - 1), known) == (0.0, 0.0, UNCALIBRATED)
    assert estimate(model_of(None), *columns(inputs(known)), 0) == (0.0, 0.0, UNCALIBRATED)


def test_a_step_begins_at_its_knot() -> None:
    row = model_of(model())
    below = float(np.nextafter(0.5, 0.0))
    assert [calibrate(row, raw) for raw in (0.0, 0.1, below, 0.5, 0.9, 1.0)] == [0.01, 0.01, 0.01, 0.2, 0.7, 0.7]


def test_models_that_the_row_cannot_hold_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"\['depth'\], allowed are ratio, ratio_wide, tilt"):
        model_of(model(inputs=("ratio", "depth")))
    with pytest.raises(BadConfig, match="allowed are ratio"):
        vectors(["depth"], inputs({}), 0)
    steps = tuple(np.linspace(0.0, 1.0, MOST_KNOTS + 1).tolist())
    with pytest.raises(BadConfig, match="65 knots, allowed are 64"):
        model_of(model(knots=steps, values=steps))
    assert model_of(model(knots=steps[1:], values=steps[1:]))["knot_count"] == MOST_KNOTS
    with pytest.raises(BadConfig, match="beyond 1e\\+100"):
        model_of(model(weights=(1e101, 0.0)))


def test_the_heaviest_model_stays_finite() -> None:
    for sign in (1.0, -1.0):
        heavy = model(inputs=("ratio", "imbalance"), weights=(1e100 * sign, -1e100), intercept=-1e100)
        found, raw, _ = asked(heavy, {"ratio": 0.0, "imbalance": -1e300})
        assert math.isfinite(found)
        assert 0.0 <= raw <= 1.0


def test_a_model_is_its_bytes() -> None:
    row = model_of(model())
    again = np.frombuffer(row.tobytes(), MODEL).copy()
    known = columns(inputs({"ratio": 0.3, "spread": 4.0}))
    assert estimate(again, *known, 0) == estimate(row, *known, 0)


numbers = st.floats(-1e3, 1e3, allow_nan=False)
steps = st.lists(st.floats(0, 1), min_size=1, max_size=MOST_KNOTS).map(sorted)


@st.composite
def models(draw: Any) -> Model:
    names = draw(st.lists(st.sampled_from(ORDER), min_size=1, max_size=len(ORDER), unique=True))
    knots = draw(steps)
    values = sorted(draw(st.lists(st.floats(0, 1), min_size=len(knots), max_size=len(knots))))
    weights = draw(st.lists(st.floats(-5, 5), min_size=len(names), max_size=len(names)))
    told = {"inputs": tuple(names), "weights": tuple(weights), "intercept": draw(numbers)}
    return model(knots=tuple(knots), values=tuple(values), **told)


@settings(max_examples=300 if COMPILED else 60, deadline=None)
@given(one=models(), known=st.dictionaries(st.sampled_from(NAMES), numbers, min_size=9), side=st.integers(0, 1))
def test_the_kernel_equals_its_twin(one: Model, known: dict[str, float], side: int) -> None:
    found, raw, outcome = asked(one, known, side)
    expected = naive_vacuum.raw(one, known)
    assert (outcome == MISSING) == (expected is None)
    if expected is not None:
        assert raw == pytest.approx(expected, rel=1e-12, abs=1e-300)
        assert found == naive_vacuum.step(one, raw)


@settings(max_examples=200 if COMPILED else 50, deadline=None)
@given(one=models(), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_higher_raw_probability_is_never_calibrated_lower(one: Model, low: float, high: float) -> None:
    row = model_of(one)
    low, high = sorted((low, high))
    assert 0.0 <= calibrate(row, low) <= calibrate(row, high) <= 1.0


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_the_kernel_compiles_once() -> None:
    asked(model(), {"ratio": 0.5, "spread": 2.0})
    asked(model(), {"ratio": 0.5}, 1)
    assert len(estimate.signatures) == 1  # type: ignore[attr-defined]
