"""Excitation told from a changing rate, in a few windows."""

import numpy as np
import pytest

from engine.kernel import COMPILED
from tests.validation import Row, Size
from tests.validation.branching import RATES, TURN, area, control, measure, orders


@pytest.mark.skipif(not COMPILED, reason="needs hours of market time")
def test_excitation_is_told_from_a_rate_that_changes_by_itself() -> None:
    rows: dict[str, Row] = {row.what: row for row in measure(Size.SMALL)}
    assert [row for row in rows.values() if not row.met] == []
    assert len(rows) == 5


@pytest.mark.skipif(not COMPILED, reason="needs minutes of market time")
def test_more_branching_makes_more_orders() -> None:
    weak, strong = (orders(each, 3, 120) for each in (0.3, 0.8))
    assert len(strong) > 2 * len(weak)
    assert (np.diff(weak) > 0.0).all()
    assert 0.0 < weak[0] < weak[-1] <= 120.0


def test_the_control_alternates() -> None:
    counts = np.bincount((control(1) // TURN).astype(np.int64))
    assert counts.tolist() == pytest.approx([rate * TURN for rate in RATES] * 2, rel=0.2)


def test_areas_count_equals_as_half() -> None:
    assert area(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 0.875
