"""The critical shock against bisection, in a few worlds."""

import math

import numpy as np
import pytest

from engine.kernel import COMPILED
from tests.validation import Row, Size
from tests.validation.critical import above, measure, shuffled, sign_test, states

pytestmark = pytest.mark.skipif(not COMPILED, reason="needs minutes of market time")


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    return {row.what: row for row in measure(Size.SMALL)}


def test_the_engine_s_critical_shock_is_that_of_the_market(rows: dict[str, Row]) -> None:
    assert [what for what, row in rows.items() if not row.met] == []
    assert len(rows) == 15


def test_a_sign_test_counts_what_is_as_rare() -> None:
    assert sign_test(6, 0) == 1 / 64
    assert sign_test(0, 6) == 1.0
    assert math.isclose(sign_test(9, 1), 11 / 1024)


def test_shuffled_weights_move_what_has_leverage_and_nobody_named() -> None:
    state = next(iter(states(range(1, 2), (0.01,))))
    accounts = state.world.accounts
    other = shuffled(accounts, np.random.default_rng(1))
    factors = [
        other["size"][accounts["leverage"] == each].sum() / accounts["size"][accounts["leverage"] == each].sum()
        for each in (5, 10, 20, 50, 100)
    ]
    assert max(factors) > 1.5
    assert min(factors) < 0.7
    assert (other["trigger"] == accounts["trigger"]).all()


def test_longs_below_a_level_are_left_out_and_no_others() -> None:
    state = next(iter(states(range(1, 2), (0.01,))))
    level = state.levels[0]
    before, after = state.world.accounts, above(state.world, level).accounts
    low = (before["side"] > 0) & (before["trigger"] < level)
    assert (after["size"][low] == 0).all()
    assert (after["size"][~low] == before["size"][~low]).all()
    assert 0 < low.sum() < len(low)
