"""How a venue's mark follows the price: by hand, step by step, and by bisection; and what a record says under it."""

import math
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import CascadeConfig, EngineConfig
from engine.errors import BadConfig
from engine.kernel import COMPILED
from engine.knowledge import Exposure, Knowledge, MarkRule
from engine.liquidations import memory_of, settings_of
from engine.mark import STALE, followed, hit_at, passed_on, rule_of, seen_by_mark
from engine.pipeline import Pipeline
from engine.schema import REFERENCE, Kind, Reference
from engine.triggers import placed
from tests import naive_mark as naive
from tests.stream import instrument, message

EXAMPLES = 300 if COMPILED else 100
#: Binance COIN-M: a plain mean over 150 s; Hyperliquid: a time constant of 150 s; an index alone; the simulated venue.
PLAIN_MEAN = MarkRule(venue="one", index=0.6, window=150.0)
EXPONENTIAL = MarkRule(index=0.6, average=150.0)
ALONE = MarkRule(index=0.6)
OF_MID = MarkRule(index=0.1, of="mid", average=30.0, clamp=0.05)
RULES = st.builds(
    MarkRule,
    index=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    of=st.sampled_from(["basis", "mid"]),
    average=st.sampled_from([5.0, 150.0]),
    clamp=st.sampled_from([0.0, 0.01, 0.05]),
) | st.builds(
    MarkRule,
    index=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    of=st.sampled_from(["basis", "mid"]),
    window=st.sampled_from([0.0, 20.0]),
)


def test_what_a_mark_passes_on_by_hand() -> None:
    assert followed(EXPONENTIAL, 150.0 * math.log(2)) == pytest.approx(0.5)
    # 60 % at once, and half of the other 40.
    assert passed_on(EXPONENTIAL, 150.0 * math.log(2)) == pytest.approx(0.8)
    # A fifth of the window has passed: 60 % + 40 % / 5.
    assert passed_on(PLAIN_MEAN, 30.0) == pytest.approx(0.68)
    assert passed_on(PLAIN_MEAN, 150.0) == passed_on(PLAIN_MEAN, 1e6) == 1.0
    assert [passed_on(ALONE, each) for each in (0.0, 1.0, 1e6)] == [0.6] * 3
    # The middle one of index and average.
    assert passed_on(OF_MID, 1.0) == 0.1
    assert passed_on(OF_MID, 30.0) == pytest.approx(1 - math.exp(-1))
    assert [passed_on(each, 0.0) for each in (PLAIN_MEAN, EXPONENTIAL, OF_MID)] == [0.6, 0.6, 0.1]


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(RULES, st.sampled_from([0.0, 1.0, 5.0, 60.0]), st.sampled_from([0.5, 3.0, 40.0]))
def test_the_median_of_three_falls_by_what_is_passed_on(rule: MarkRule, seconds: float, fall: float) -> None:
    steps = 2_000
    index, average, last = naive.marks_after(rule, seconds, 100.0, fall, steps)
    moved = (100.0 - naive.median_of([index, average, last])) / fall
    assert moved == pytest.approx(passed_on(rule, seconds), abs=0.01)
    # Without the last price: index plus average.
    if rule.of == "basis":
        assert (100.0 - average) / fall == pytest.approx(passed_on(rule, seconds), abs=0.01)


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(RULES, st.floats(0, 1e4), st.floats(0, 1e4))
def test_the_longer_a_fall_lasts_the_more_is_passed_on(rule: MarkRule, one: float, other: float) -> None:
    short, long = sorted((one, other))
    assert 0.0 <= rule.index <= passed_on(rule, short) <= passed_on(rule, long) <= 1.0


def place(rule: MarkRule | None, seconds: float, mark: float, index: float, start: float) -> tuple[float, float]:
    known = Knowledge(marks=(rule,) if rule else ())
    config = EngineConfig(cascade=CascadeConfig(duration=round(seconds * 1_000)), knowledge=known)
    memory = memory_of(config)
    memory["mark"], memory["index"] = mark, index
    standing, origin = placed(memory, settings_of(config, "one:A", "A"), 1.0, start, 0)
    return float(standing), float(origin)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    rule=st.none() | RULES,
    seconds=st.sampled_from([0.0, 1.0, 60.0]),
    side=st.sampled_from([1, -1]),
    off=st.sampled_from([-0.02, -0.001, 0.0, 0.001, 0.03]),
    index=st.sampled_from([0.0, 99.0, 100.0, 101.5]),
    triggers=st.lists(st.floats(60.0, 140.0), max_size=9),
)
def test_triggers_are_hit_where_the_mark_meets_them(
    rule: MarkRule | None, seconds: float, side: int, off: float, index: float, triggers: list[float]
) -> None:
    mark = 100.0 * (1 + off)
    known = Knowledge(marks=(rule,) if rule else ())
    config = EngineConfig(cascade=CascadeConfig(duration=round(seconds * 1_000)), knowledge=known)
    marks = np.array(sorted(triggers, reverse=side > 0), np.float64)
    out = np.zeros(len(marks))
    standing, origin = place(rule, seconds, mark, index, 100.0)
    seen_by_mark(marks, side, 100.0, standing, origin, settings_of(config, "one:A", "A"), out)
    assert np.isfinite(out).all()
    assert (side * np.diff(out) <= 0).all()
    for trigger, at in zip(marks.tolist(), out.tolist(), strict=True):
        wanted = naive.hit(rule, seconds, side, 100.0, mark, index or 100.0, trigger)
        # So far away no book reaches, whether it is never hit or only there.
        if side * wanted < -5_000 and side * at < -5_000:
            continue
        assert at == pytest.approx(wanted, abs=1e-7)


def test_a_mark_that_is_the_traded_price_moves_no_trigger() -> None:
    for trigger in (49.99, 10.07, 0.35, 100.01, 170.3):
        for side in (1, -1):
            assert hit_at(trigger, side, 100.01, 100.01, 100.01, 1.0, 0.0, 0.0) == trigger


def test_a_mark_that_lags_fires_triggers_later() -> None:
    hits = [hit_at(each, 1, 100.0, 100.0, 100.0, 0.5, 0.0, 0.0) for each in (101.0, 99.0, 98.0)]
    assert hits == [101.0, 98.0, 96.0]
    # The mark stands 1 above the price: at 99.5 it has 1.5 to fall, for which the price must fall 3.
    assert hit_at(99.5, 1, 100.0, 101.0, 100.0, 0.5, 0.0, 0.0) == 97.0
    # It stands 1 below: a trigger that it has passed already is hit at once.
    assert hit_at(99.5, 1, 100.0, 99.0, 100.0, 0.5, 0.0, 0.0) == 100.0
    assert hit_at(101.0, -1, 100.0, 100.0, 100.0, 0.5, 0.0, 0.0) == 102.0
    assert hit_at(98.0, 1, 100.0, 100.0, 100.0, 0.0, 0.0, 0.0) < -1e300
    assert hit_at(98.0, -1, 100.0, 100.0, 100.0, 0.0, 0.0, 0.0) == 98.0
    assert hit_at(102.0, -1, 100.0, 100.0, 100.0, 0.0, 0.0, 0.0) > 1e300


def test_a_clamp_holds_the_mark_near_the_index() -> None:
    # The average alone would be at 80 once the price is; 10 % of an index that has fallen to 98 allow 88.2.
    assert hit_at(80.0, 1, 100.0, 100.0, 100.0, 1.0, 0.1, 0.0) == 80.0
    at = hit_at(80.0, 1, 100.0, 100.0, 100.0, 1.0, 0.1, 0.1)
    assert 0.9 * (100.0 - 0.1 * (100.0 - at)) == pytest.approx(80.0)
    assert hit_at(80.0, 1, 100.0, 100.0, 100.0, 1.0, 0.0, 0.1) < -1e300
    # What lies within is met as without it.
    assert hit_at(91.0, 1, 100.0, 100.0, 100.0, 0.5, 0.1, 0.1) == hit_at(91.0, 1, 100.0, 100.0, 100.0, 0.5, 0.1, 0.0)


def test_an_old_mark_says_nothing_of_where_it_is() -> None:
    config = EngineConfig(knowledge=Knowledge(marks=(ALONE,)))
    memory, fixed = memory_of(config), settings_of(config, "one:A", "A")
    memory["mark"], memory["marked"], memory["index"], memory["indexed"] = 101.0, 1_000, 102.0, 1_000
    assert placed(memory, fixed, 1.0, 100.0, 1_000 + STALE) == (101.0, 102.0)
    assert placed(memory, fixed, 1.0, 100.0, 1_001 + STALE) == (100.0, 100.0)
    # Told in another venue's prices.
    assert placed(memory, fixed, 2.0, 200.0, 1_000) == (202.0, 204.0)


def test_a_venue_without_a_rule_goes_by_that_of_all_venues() -> None:
    config = EngineConfig(knowledge=Knowledge(marks=(PLAIN_MEAN, EXPONENTIAL)))
    assert rule_of(config, "one") == PLAIN_MEAN
    assert rule_of(config, "two") == EXPONENTIAL
    assert rule_of(EngineConfig(knowledge=Knowledge(marks=(PLAIN_MEAN,))), "two") is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"index": 1.1}, "index of the mark of one is 1.1, allowed are shares from 0 to 1"),
        ({"index": float("nan")}, "index of the mark of one is nan"),
        ({"window": -1.0}, "window of the mark of one is -1.0, allowed are seconds from 0"),
        ({"average": float("inf")}, "average of the mark of one is inf"),
        ({"average": 3.0}, "the mark of one has an average of 3.0 s and a window of 150.0 s, allowed is one"),
        ({"clamp": 1.0}, "clamp of the mark of one is 1.0"),
        ({"of": "ask"}, "'ask', allowed are basis and mid"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        replace(PLAIN_MEAN, **changes)  # type: ignore[arg-type]


def test_two_rules_of_one_venue_are_refused() -> None:
    with pytest.raises(BadConfig, match="all venues has 2 marks, allowed is one"):
        Knowledge(marks=(ALONE, EXPONENTIAL))


BIDS = [(10_000, 500), (9_900, 500), (9_800, 500), (9_700, 500), (9_600, 2_000), (9_500, 4_000)]
ASKS = [(10_002, 500), (10_100, 500), (10_300, 5_000)]
LOAN = Exposure(name="a loan", asset="A", quantity=8.0, trigger=99.0, as_of=1, instrument="one:AUSD")


def told(config: EngineConfig, *marks: float, wait: int = 1, again: bool = False) -> dict[str, object]:
    """The last cascade record of a book whose mark is told so often; with `again` from a state loaded in between."""
    pipeline, unit, records = Pipeline("A", config), instrument("one"), []
    pipeline.step(message(Kind.INSTRUMENT, 0, (), (), unit))
    pipeline.step(message(Kind.SNAPSHOT, 0, BIDS, ASKS, unit, last=1, epoch=1))
    rows = np.zeros(1, REFERENCE)
    for at, mark in enumerate(marks, 1):
        rows["what"], rows["value"] = int(Reference.MARK), round(mark * 100)
        heard = replace(message(Kind.REFERENCE, at, (), (), unit, count=1), references=rows.copy())
        records += pipeline.step(heard)
    if again:
        pipeline = Pipeline.load(pipeline.dump(), config)
    for at in range(1, 4):
        last = message(Kind.DELTA, wait + at * 1_000, [(9_000, at)], [], unit, last=1 + at, previous=at, epoch=1)
        records += pipeline.step(last)
    found = [orjson.loads(each.value) for each in records if each.topic == "signal.cascade.v1"]
    known: list[dict[str, object]] = [each for each in found if "instrument" in each and each["mid"] is not None]
    return known[-1]


def knowing(*rules: MarkRule, duration: int = 0) -> EngineConfig:
    cascade = CascadeConfig(duration=duration)
    return EngineConfig(cascade=cascade, knowledge=Knowledge(exposures=(LOAN,), marks=rules))


def test_a_record_says_what_the_mark_passes_on_and_asks_by_it() -> None:
    plain, lagging = told(knowing(), 100.0), told(knowing(MarkRule(venue="one", index=0.5)), 100.01)
    assert (plain["pass_through"], lagging["pass_through"]) == (1.0, 0.5)
    drops = list(plain["drops"])  # type: ignore[call-overload]
    # 2 % below the mid 100.01 is 98.01: 10 rest above it, and 8 are forced at 99 by the price itself.
    at = drops.index(200)
    assert plain["fall_forced"][at] == 8.0  # type: ignore[index]
    # Half as fast the mark is at 99 when the price is at 97.99: not within 2 %.
    assert lagging["fall_forced"][at] == 0.0  # type: ignore[index]
    assert lagging["fall_forced"][drops.index(300)] == 8.0  # type: ignore[index]
    assert told(knowing(MarkRule(venue="two", index=0.5)))["pass_through"] == 1.0


def test_a_mark_above_the_trades_has_farther_to_fall() -> None:
    rule = MarkRule(index=1.0)
    drops = list(told(knowing(rule))["drops"])  # type: ignore[call-overload]
    level, above = told(knowing(rule), 100.01), told(knowing(rule), 102.0)
    at = drops.index(200)
    assert (level["fall_forced"][at], above["fall_forced"][at]) == (8.0, 0.0)  # type: ignore[index]
    # 102 - 99 = 3 must be fallen: the price trades at 97.01.
    assert above["fall_forced"][drops.index(300)] == 8.0  # type: ignore[index]
    # Eleven seconds later nobody knows where it is.
    assert told(knowing(rule), 102.0, wait=11_000)["fall_forced"][at] == 8.0  # type: ignore[index]
    # Without a rule nobody asks.
    assert told(knowing(), 102.0) == told(knowing(), 100.0)


def test_a_state_that_is_loaded_knows_the_mark() -> None:
    config = knowing(MarkRule(index=0.9, average=10.0), duration=1_000)
    for marks in ((102.0,), (102.0, 99.5)):
        assert told(config, *marks, again=True) == told(config, *marks)
