"""The hour-of-week baseline: against its slow twin, known medians, and what it may not forget or count."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.baseline import (
    POCKET_ASK,
    POCKET_BID,
    QUANTITIES,
    ROOM,
    SOURCES,
    SPREAD,
    TRADES,
    VARIANCE,
    baseline_of,
    memory_of,
    roll_session,
    sample_due,
    settings_of,
    take_sample,
    weigh,
    weighted_median,
)
from engine.config import BaselineConfig, EngineConfig
from engine.errors import BadConfig
from engine.fields import WHY, Why
from engine.kernel import COMPILED
from tests.naive_baseline import Twin

EXAMPLES = 100 if COMPILED else 30
SESSIONS = 40 if COMPILED else 20
SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
WEEK = 168 * HOUR
#: A line of every grid, an hour's and a week's too.
START = WEEK * 2_800
#: Those that the streams below hold.
WATCHED = (0, SPREAD, TRADES)


class Stream:
    """One instrument's baseline; without being asked otherwise one sample makes a visit."""

    def __init__(self, **asked: Any) -> None:
        self.config = BaselineConfig(**({"session": 1} | asked))
        self.memory, self.settings = memory_of(), settings_of(EngineConfig(baseline=self.config))

    def take(self, at: int, *values: float | None) -> None:
        """Take values of those watched, None where undefined."""
        row, whys = np.full(QUANTITIES, 7.0), np.full(QUANTITIES, int(Why.NO_DEPTH), np.uint8)
        for quantity, value in zip(WATCHED, values, strict=False):
            if value is not None:
                row[quantity], whys[quantity] = value, 0
        take_sample(self.memory, self.settings, row, whys, at)

    def roll(self, at: int) -> None:
        roll_session(self.memory, self.settings, at)

    def told(self, quantity: int = 0) -> tuple[float, str]:
        value, source = baseline_of(self.memory, quantity)
        return float(value), SOURCES[source]

    def weekly(self, *values: float | None) -> "Stream":
        """Take one value a week, from week 0 on, and begin the same hour of the week after."""
        for week, value in enumerate(values):
            self.take(START + week * WEEK, value)
        self.roll(START + len(values) * WEEK)
        return self

    def copied(self) -> "Stream":
        other = Stream()
        other.settings = self.settings
        other.memory = np.frombuffer(self.memory.tobytes(), self.memory.dtype).copy()
        return other


def test_three_weeks_weigh_as_their_age_says() -> None:
    # A half-life of two weeks: 0.5 + 0.707 + 1, and 20 is where 1.104 is reached.
    assert Stream().weekly(10.0, 20.0, 40.0).told() == (20.0, "hour")
    # Of one week: 0.25 + 0.5 + 1, and the newest alone outweighs both.
    assert Stream(half_life=7.0).weekly(10.0, 20.0, 40.0).told() == (40.0, "hour")
    assert Stream(half_life=7.0).weekly(40.0, 20.0, 10.0).told() == (10.0, "hour")


def test_four_weeks_lean_towards_the_newer() -> None:
    # 0.354, 0.5, 0.707, 1: half is 1.28.
    assert Stream().weekly(1.0, 2.0, 3.0, 4.0).told() == (3.0, "hour")
    assert Stream().weekly(4.0, 3.0, 2.0, 1.0).told() == (2.0, "hour")


def test_a_weight_halves_with_every_half_life_exactly() -> None:
    weights = np.zeros(4, np.int64)
    weigh(np.array([1_000.0, 1_336.0, 1_672.0, 2_008.0]), 336.0, weights)
    assert weights.tolist() == [1 << 37, 1 << 38, 1 << 39, 1 << 40]
    weigh(np.array([0.0, 168.0, 1e6, 168.0]), 336.0, weights)
    assert weights.tolist() == [0, 0, 1 << 40, 0]
    # 2^40 / sqrt 2 = 777472127993.88.
    weigh(np.array([168.0, 0.0]), 336.0, weights)
    assert weights[:2].tolist() == [1 << 40, 777_472_127_994]


@pytest.mark.parametrize(
    ("values", "weights", "median"),
    [
        ([7.0, 3.0], [1, 1], 3.0),
        ([5.0, 1.0, 2.0], [2, 1, 1], 2.0),
        ([5.0, 1.0, 2.0], [3, 1, 1], 5.0),
        ([4.0, 4.0, 1.0], [1, 1, 2], 1.0),
        ([4.0, 4.0, 1.0], [2, 2, 3], 4.0),
        ([6.0], [1], 6.0),
        ([0.0, 9.0, 0.0], [1, 1, 1], 0.0),
    ],
)
def test_between_two_equal_halves_the_lower_is_the_median(
    values: list[float], weights: list[int], median: float
) -> None:
    assert weighted_median(np.array(values), np.array(weights, np.int64), np.zeros(len(values))) == median


def test_with_fewer_visits_the_whole_week_speaks() -> None:
    stream = Stream()
    stream.take(START + 5 * HOUR, 30.0)
    assert stream.told() == (30.0, "session")
    stream.take(START + 6 * HOUR, 50.0)
    assert stream.told() == (30.0, "week")
    stream.take(START + 7 * HOUR, 70.0)
    # 30 weighs less than 50 by an hour.
    assert stream.told() == (50.0, "week")
    for week in (1, 2):
        stream.take(START + 5 * HOUR + week * WEEK, 10.0)
    # 1 + 0.707 is more than half of 1 + 3 x 0.707.
    assert stream.told() == (30.0, "week")
    stream.roll(START + 5 * HOUR + 3 * WEEK)
    assert stream.told() == (10.0, "hour")
    stream.roll(START + 6 * HOUR + 3 * WEEK)
    assert stream.told()[1] == "week"


def test_without_a_past_the_present_session_stands_in() -> None:
    stream = Stream(session=3)
    stream.take(START, 9.0, 1.0)
    stream.take(START + 5 * SECOND, 2.0, None)
    assert (stream.told(), stream.told(SPREAD)) == ((0.0, "none"), (0.0, "none"))
    stream.take(START + 10 * SECOND, 4.0, 1.0)
    assert (stream.told(), stream.told(SPREAD)) == ((4.0, "session"), (0.0, "none"))
    stream.take(START + 15 * SECOND, 5.0, 3.0)
    # An even number: the mean of the middle two.
    assert (stream.told(), stream.told(SPREAD)) == ((4.5, "session"), (1.0, "session"))
    stream.roll(START + HOUR)
    assert (stream.told(), stream.told(SPREAD)) == ((4.5, "week"), (1.0, "week"))


def test_the_mean_of_two_samples_is_not_rounded_and_not_infinite() -> None:
    stream = Stream(session=2)
    for step, row in enumerate([(3e38, 405069.0), (3e38, 119219.40625)]):
        stream.take(START + step * 5 * SECOND, *row)
    assert (stream.told(), stream.told(SPREAD)) == ((float(np.float32(3e38)), "session"), (262144.203125, "session"))


def test_a_session_with_too_few_samples_is_no_visit() -> None:
    stream = Stream(session=3)
    for step in range(2):
        stream.take(START + step * 5 * SECOND, 9.0)
    stream.roll(START + HOUR)
    assert stream.told() == (0.0, "none")


def test_the_ninth_visit_replaces_the_oldest() -> None:
    weeks = [float(week) for week in range(1, 10)]
    # All but alike in weight, the newer a trifle more: of an even number the upper of the middle two.
    assert Stream(half_life=10_000.0).weekly(*weeks[:8]).told() == (5.0, "hour")
    assert Stream(half_life=10_000.0).weekly(*weeks).told() == (6.0, "hour")
    assert Stream(half_life=10_000.0).weekly(*[1e6] * 9, *weeks[1:]).told() == (6.0, "hour")


def test_hours_in_which_nothing_was_seen_replace_nothing() -> None:
    stream = Stream().weekly(*[5.0] * 8, *[None] * 20)
    assert stream.told() == (5.0, "hour")


def test_a_past_of_long_ago_still_weighs() -> None:
    stream = Stream(half_life=0.01)
    for week, value in enumerate((10.0, 20.0, 40.0)):
        stream.take(week * WEEK, value)
    stream.roll(10_000 * WEEK)
    assert stream.told() == (40.0, "hour")
    stream.roll(10_000 * WEEK + HOUR)
    assert stream.told() == (40.0, "week")


def test_a_full_session_is_the_median_of_all_its_samples() -> None:
    stream = Stream(session=12)
    for step in range(ROOM):
        stream.take(START + step * 5 * SECOND, float((step * 7 + 3) % ROOM + 1))
    assert stream.memory["counts"][0, 0] == ROOM
    assert stream.told() == (360.5, "session")
    stream.roll(START + HOUR)
    assert stream.told() == (360.5, "week")
    assert stream.memory["baseline_refused"][0] == 0


def test_a_session_never_outgrows_its_room() -> None:
    stream = Stream()
    # No configuration allows a grid so fine.
    stream.settings["sample"] = SECOND
    for second in range(1_000):
        stream.take(START + second * SECOND, 5.0, 6.0)
    assert (stream.memory["counts"][0, 0], stream.memory["baseline_refused"][0]) == (ROOM, 2 * (1_000 - ROOM))
    assert (stream.told(), stream.told(SPREAD), stream.memory["visits"].max()) == (
        (5.0, "session"),
        (6.0, "session"),
        -1,
    )


def test_what_the_present_hour_holds_does_not_move_its_baseline() -> None:
    for stream, source in ((Stream().weekly(10.0, 20.0, 40.0), "hour"), (Stream().weekly(20.0), "week")):
        now = START + (3 if source == "hour" else 1) * WEEK
        for step in range(300):
            stream.take(now + step * 5 * SECOND, 1_000.0 + step)
            assert stream.told() == (20.0, source)
        assert stream.memory["counts"][0, 0] == 300


def test_a_sample_is_due_at_every_line_of_its_grid() -> None:
    stream = Stream(sample=10_000)
    for at, due in ((0, True), (1, False), (9, False), (10, True), (19, False), (35, True), (39, False), (3_600, True)):
        assert sample_due(stream.memory, stream.settings, START + at * SECOND) is due
        stream.take(START + at * SECOND, float(at))
    assert stream.told() == (10.0, "week")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -1e-9, 1e39])
def test_a_value_that_no_quantity_can_have_is_counted_and_not_kept(value: float) -> None:
    stream = Stream()
    stream.take(START, value, 3.0)
    assert (stream.told(), stream.told(SPREAD)) == ((0.0, "none"), (3.0, "session"))
    assert (stream.memory["counts"][0, 0], stream.memory["baseline_refused"][0]) == (0, 1)


def test_an_undefined_value_is_neither_kept_nor_refused() -> None:
    stream = Stream()
    stream.take(START, None, 3.0)
    assert stream.memory["counts"][0].tolist() == [int(q == SPREAD) for q in range(QUANTITIES)]
    assert stream.memory["baseline_refused"][0] == 0


def test_an_empty_side_is_a_depth_of_zero() -> None:
    assert Stream().weekly(0.0, 0.0, 0.0, 8.0).told() == (0.0, "hour")


def test_a_session_that_a_quantity_missed_still_takes_its_slot() -> None:
    stream = Stream()
    for week in range(10):
        stream.take(START + week * WEEK, 1.0 + week, 100.0 if week < 4 else None)
    stream.roll(START + 10 * WEEK)
    # Weeks 2 to 9 are kept: two visits of the spread, too few for the hour.
    assert stream.told(SPREAD) == (100.0, "week")
    assert stream.told()[1] == "hour"


VALUES = st.one_of(
    st.none(),
    st.sampled_from([0.0, 1.0, 2.0, 3e38, float("nan"), float("inf"), -1.0, 1e39]),
    st.floats(0.0, 1e6),
)
#: Hours since the session before, and what is sampled at tens of minutes of it.
STEPS = st.tuples(
    st.sampled_from([1, 1, 23, 167, 168, 168, 168, 169, 336, 168 * 60]),
    st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=6),
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(STEPS, max_size=SESSIONS), st.integers(0, 3), st.integers(1, 4), st.integers(0, 200))
def test_baselines_are_those_of_the_twin_wherever_the_stream_is_cut(
    steps: list[tuple[int, list[tuple[float | None, ...]]]], session: int, visits: int, cut: int
) -> None:
    stream = Stream(sample=600_000, session=session + 1, visits=visits)
    twin = Twin(len(WATCHED), 600 * SECOND, 14.0, visits, session + 1)
    uncut, now = stream, START
    for hours, rows in steps:
        now = now // HOUR * HOUR + hours * HOUR
        for row in rows:
            stream.take(now, *row)
            if stream is not uncut:
                uncut.take(now, *row)
            twin.take([value or 0.0 for value in row], [value is not None for value in row], now)
            for at, quantity in enumerate(WATCHED):
                assert stream.told(quantity) == twin.baseline(at, now)
            assert stream.told(VARIANCE) == (0.0, "none")
            now += 570 * SECOND
            cut -= 1
            if cut == 0:
                stream = stream.copied()
    assert stream.memory.tobytes() == uncut.memory.tobytes()


def test_all_kinds_of_baseline_are_met_over_months_as_the_twin_has_them() -> None:
    seed = np.random.default_rng(5)
    stream, twin = Stream(sample=600_000, session=2), Twin(1, 600 * SECOND, 14.0, 3, 2)
    met = set()
    for week in range(12):
        for hour in (3, 4, 100) if week % 2 else (3, 100):
            for minute in range(0, 60, 10):
                now = START + week * WEEK + hour * HOUR + minute * 60 * SECOND
                value = float(seed.integers(0, 50))
                stream.take(now, value)
                twin.take([value], [True], now)
                assert stream.told() == twin.baseline(0, now)
                met.add(stream.told()[1])
    assert met == set(SOURCES)


def test_the_places_are_those_of_the_contract() -> None:
    assert (SPREAD, POCKET_BID, POCKET_ASK, VARIANCE, TRADES, QUANTITIES) == (8, 9, 10, 11, 12, 13)
    assert WHY[17:19] == ("no_baseline", "no_reference")
    settings = settings_of(EngineConfig())
    assert settings["places"][0].tolist() == [1, 3, 4, -1]
    assert (settings["sample"][0], settings["half_life"][0]) == (5 * SECOND, 336.0)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"bands": (5, 10, 25, 50, 100)}, "bands are 5, allowed are 4"),
        ({"bands": ()}, "bands are"),
        ({"sample": 4_999}, "sample is 4999, allowed are milliseconds from 5000"),
        ({"sample": 7_000}, "sample is 7000, .* that divide an hour"),
        ({"half_life": 0.0}, "half_life is 0.0, allowed are days from 0.01"),
        ({"half_life": float("nan")}, "half_life is nan"),
        ({"visits": 9}, "visits is 9, allowed are 1 to 8"),
        ({"session": 0}, "session is 0, allowed are 1 to 720"),
        ({"sample": 600_000, "session": 7}, "session is 7, allowed are 1 to 6 samples of 600000 ms"),
    ],
)
def test_a_baseline_that_cannot_be_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        BaselineConfig(**asked)


def test_a_band_that_the_engine_does_not_measure_is_refused() -> None:
    with pytest.raises(BadConfig, match=r"baseline.bands are \(10, 20\), allowed are those among the bands \(5, 10"):
        EngineConfig(baseline=BaselineConfig(bands=(10, 20)))


def test_the_memory_is_small() -> None:
    assert memory_of().nbytes <= 110 * 1_024


@pytest.mark.skipif(not COMPILED, reason="signatures are the compiler's")
def test_each_kernel_is_compiled_once() -> None:
    stream = Stream().weekly(1.0, 2.0, 3.0).copied()
    stream.take(START + 4 * WEEK, 1.0)
    sample_due(stream.memory, stream.settings, START)
    for quantity in (0, SPREAD):
        stream.told(quantity)
    kernels: tuple[Any, ...] = (baseline_of, roll_session, sample_due, take_sample, weigh, weighted_median)
    for kernel in kernels:
        assert len(kernel.signatures) == 1, kernel
