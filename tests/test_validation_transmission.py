"""Gold's transmission to the coin, in a few worlds: what `tests.validation.transmission` measures over many."""

import pytest

from engine.kernel import COMPILED
from tests.validation import Size
from tests.validation.transmission import PER_SECOND, SPREAD, measure, world

pytestmark = pytest.mark.skipif(not COMPILED, reason="needs half hours of market time")


@pytest.mark.parametrize("seed", [1, 2])
def test_share_and_delay_are_found_from_the_mids_of_two_books(seed: int) -> None:
    known = world(seed)
    assert known.found.events >= 14
    assert known.found.share == pytest.approx(known.share, abs=0.15)
    assert known.found.delay / PER_SECOND == pytest.approx(known.delay, abs=SPREAD)
    assert known.found.share_low < known.found.share < known.found.share_high
    assert known.found.delay_low < known.found.delay < known.found.delay_high


def test_a_world_is_its_seed_s() -> None:
    assert world(3, jumps=8) == world(3, jumps=8) != world(4, jumps=8)


def test_what_is_measured_says_whether_it_is_met() -> None:
    share, delay, fixed = measure(Size.SMALL)
    assert (share.worlds, delay.worlds, fixed.worlds) == (2, 2, 2)
    assert all(row.met == (0.85 <= float(row.measured) <= 0.95) for row in (share, delay))
    assert fixed.met
