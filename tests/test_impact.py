"""Impact: books whose impact is known, the design's vectors, and how the past fades."""

from collections.abc import Sequence

import numpy as np
import pytest

from engine import impact
from engine.imbalance import restart_imbalance
from engine.impact import amihud_illiquidity, fade_impact, kyle_lambda, roll_spread, root_impact
from tests.imbalance import Flow, design, rule_of, wander


def test_array_measures_are_those_of_the_design() -> None:
    expected = design("TV8_lambda")
    kyle = kyle_lambda(np.array([1.0, -0.5, 2.0]), np.array([2.0, -1.0, 4.0]))
    assert kyle == pytest.approx((expected["kyle_no_intercept"], 0))
    illiquidity = amihud_illiquidity(np.array([0.01, -0.02, 0.5]), np.array([50.0, 100.0, 0.0]))
    assert illiquidity == pytest.approx((expected["amihud"], 0))
    assert roll_spread(np.array([100.0, 101.0, 100.0, 101.0])) == pytest.approx((expected["roll_spread"], 0))
    root = design("TV22_sqrt")
    root_found = root_impact(root["Q_over_V"] * 500, 500.0, root["sigma_d"], root["Y"])
    assert root_found == pytest.approx((root["impact"], 0))


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


def test_time_without_cells_fades_as_time_with_them() -> None:
    flow, skipped = (Flow(rule_of((1,), impact=1, forgetting=0.95)) for _ in range(2))
    for each in (flow, skipped):
        wander(each, np.random.default_rng(2), 60)
        restart_imbalance(each.memory)
    for _ in range(20):
        flow.close()
    fade_impact(skipped.memory, skipped.rule, 20)
    for name, *_ in impact.FIELDS:
        assert skipped.memory[name] == pytest.approx(flow.memory[name], rel=1e-12), name


def test_measures_of_nothing_say_so() -> None:
    none = np.zeros(0)
    assert kyle_lambda(none, none)[1] > 0
    assert amihud_illiquidity(np.ones(3), np.zeros(3))[1] > 0
    assert roll_spread(np.array([1.0, 2.0]))[1] > 0
    assert roll_spread(np.array([1.0, 2.0, 3.0]))[1] > 0
    assert roll_spread(np.array([1.0, 1.0, 1.0])) == (0.0, 0)
    assert root_impact(1.0, 0.0, 0.03, 1.0)[1] > 0
