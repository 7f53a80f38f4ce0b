"""The makers' share and the alarm, in a few short worlds, and what the estimate itself must do."""

import numpy as np
import pytest

from engine.kernel import COMPILED
from ingest.simulator.scenarios import scenario, stage
from ingest.simulator.world import GRID, SECOND
from tests.validation import Row, Size
from tests.validation.makers import LASTING, WARM, Floats, Ints, estimate, measure, watch

STEPS = SECOND // GRID
#: Makers that quote less look to depth like makers that are gone.
BLIND = "alarm, all makers stay and quote 0.4 of their size: false ones"
#: For the same reason, in a quarter of longer worlds.
DIM = "makers' share, news drives makers out, others quote 0.3 to 1 of their size: correlation with the true one"


@pytest.mark.skipif(not COMPILED, reason="needs hours of market time")
def test_the_share_of_makers_and_their_withdrawal_are_found() -> None:
    rows: dict[str, Row] = {row.what: row for row in measure(Size.SMALL)}
    assert {what for what, row in rows.items() if not row.met} - {DIM} == {BLIND}
    assert DIM in rows
    assert len(rows) == 10


def grid(*parts: tuple[int, float]) -> tuple[Ints, Floats]:
    """Times of each 100 ms, and depth: so many seconds of each."""
    depth = np.concatenate([np.full(seconds * STEPS, level) for seconds, level in parts])
    return GRID * np.arange(len(depth)), depth


def test_a_share_is_depth_over_its_own_median_and_no_more_than_all() -> None:
    times, depth = grid((WARM, 80.0), (10, 20.0), (10, 100.0))
    shares, alarms = estimate(times, depth)
    assert np.isnan(shares[: WARM * STEPS]).all()
    assert (shares[WARM * STEPS : (WARM + 10) * STEPS] == 0.25).all()
    assert (shares[(WARM + 10) * STEPS :] == 1.0).all()
    assert alarms.tolist() == [WARM * SECOND + LASTING]


def test_an_alarm_needs_time_and_a_return_before_the_next() -> None:
    times, depth = grid((WARM, 10.0), (5, 4.0), (5, 6.0), (5, 4.0), (5, 9.0), (5, 4.0))
    assert estimate(times, depth)[1].tolist() == [(WARM + each) * SECOND + LASTING for each in (0, 20)]
    times, depth = grid((WARM + 10, 10.0))
    depth[(WARM + 5) * STEPS :][: LASTING // GRID] = 1.0
    assert estimate(times, depth)[1].tolist() == []


def test_nothing_looks_ahead_and_unknown_depth_is_no_alarm() -> None:
    times, depth = grid((WARM, 10.0), (5, np.nan), (5, 2.0), (5, 30.0))
    shares, alarms = estimate(times, depth)
    assert np.isnan(shares[WARM * STEPS :][: 5 * STEPS]).all()
    assert alarms.tolist() == [(WARM + 5) * SECOND + LASTING]
    for end in (WARM * STEPS + 1, (WARM + 7) * STEPS, len(times)):
        before, sooner = estimate(times[:end], depth[:end])
        assert before.tobytes() == shares[:end].tobytes()
        assert sooner.tolist() == [each for each in alarms.tolist() if each <= times[end - 1]]


def test_a_market_is_seen_at_each_step() -> None:
    seen = watch(stage(scenario("calm"), 4), 1)
    assert len(seen.times) == len(seen.depth) == STEPS
    assert (seen.true == 1.0).all()
    assert (seen.depth > 0).all()
