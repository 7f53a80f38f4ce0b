"""The receive clock and the rate limits, on clocks made by hand."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ingest.limit import Limit, per
from ingest.stamp import Stamp

SECOND = 1_000_000_000
NOON = 1_800_000_000 * SECOND


class Clocks:
    """A wall and a monotonic clock that go where they are told."""

    def __init__(self) -> None:
        self.wall, self.monotonic = NOON, 5 * SECOND
        self.stamp = Stamp(lambda: self.wall, lambda: self.monotonic)

    def go(self, wall: int, monotonic: int | None = None) -> None:
        self.wall += wall
        self.monotonic += wall if monotonic is None else monotonic


def test_stamps_are_the_wall_clock_and_strictly_increase() -> None:
    clocks = Clocks()
    assert clocks.stamp.take() == NOON + 1
    clocks.go(1_000)
    assert clocks.stamp.take() == NOON + 1_000
    assert clocks.stamp.take() == NOON + 1_001
    assert clocks.stamp.after(4) == NOON + 1_005
    assert clocks.stamp.take(room=4) == NOON + 1_009


def test_a_wall_clock_that_steps_back_is_waited_for_at_half_speed() -> None:
    clocks = Clocks()
    first = clocks.stamp.take()
    clocks.go(-SECOND, 0)
    stamps = []
    for _ in range(30):
        clocks.go(SECOND // 10)
        stamps.append(clocks.stamp.take())
    assert all(0 < b - a <= SECOND // 10 + 1 for a, b in pairwise([first, *stamps]))
    assert clocks.stamp.offset == clocks.wall - clocks.monotonic
    assert stamps[-1] == clocks.wall


def test_a_step_forward_moves_the_offset() -> None:
    clocks = Clocks()
    before = clocks.stamp.offset
    clocks.go(3_600 * SECOND, 0)
    assert clocks.stamp.take() == clocks.wall
    assert clocks.stamp.offset - before == 3_600 * SECOND


def test_an_arrival_is_taken_unless_it_cannot_be_one() -> None:
    clocks = Clocks()
    clocks.go(SECOND)
    assert clocks.stamp.take(arrived=clocks.wall - 7_000_000) == clocks.wall - 7_000_000
    offset = clocks.stamp.offset
    clocks.go(1_000_000)
    # Not before what was stamped already, not in the future, not of another day.
    assert clocks.stamp.take(arrived=clocks.wall - 900_000_000) == clocks.wall - 8_000_000 + 1
    assert clocks.stamp.take(arrived=clocks.wall + 1_000) == clocks.wall
    clocks.go(SECOND)
    assert clocks.stamp.take(arrived=clocks.wall - 3_600 * SECOND) == clocks.wall
    assert clocks.stamp.offset == offset


@given(st.lists(st.tuples(st.integers(-SECOND, SECOND), st.integers(0, SECOND), st.integers(1, 9)), max_size=60))
def test_stamps_increase_whatever_the_clocks_do(moves: list[tuple[int, int, int]]) -> None:
    clocks = Clocks()
    last = clocks.stamp.last
    for wall, monotonic, room in moves:
        clocks.go(wall, monotonic)
        stamp = clocks.stamp.take(room, clocks.wall - monotonic)
        assert stamp >= last + room
        last = stamp


@given(
    st.integers(2, 400), st.floats(1.0, 300.0), st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5)), max_size=80)
)
def test_no_window_ever_holds_more_than_allowed(count: int, window: float, asks: list[tuple[float, int]]) -> None:
    limit = per(count, window)
    now = 1_000.0
    spent: list[tuple[float, int]] = []
    for pause, cost in asks:
        now += pause
        now += limit.reserve(now, cost)
        spent.append((now, cost))
        inside = sum(c for at, c in spent if at > now - window)
        # A cost beyond the burst passes when the bucket is empty: that is the one excess.
        assert inside <= count + max(0, cost - count / 2) + 1e-6


def test_a_block_lasts_as_long_as_the_venue_said() -> None:
    limit = Limit(rate=10.0, burst=5.0)
    assert limit.reserve(100.0) == 0.0
    limit.block(130.0)
    assert 29.9 < limit.reserve(100.0) < 30.2


def test_the_time_until_a_stamp_is_told_without_taking_one() -> None:
    clocks = Clocks()
    clocks.go(1_000)
    last = clocks.stamp.take()
    assert clocks.stamp.until(last + 1_000) == 1_000
    clocks.go(400)
    assert clocks.stamp.until(last + 1_000) == 600
    clocks.go(700)
    assert clocks.stamp.until(last + 1_000) == -100
    assert clocks.stamp.last == last
