"""From market rows to the vacuum's states: makers leave, come back, or the feed dies; of a venue and of the asset."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest

from engine.config import BaselineConfig, EngineConfig, VacuumConfig
from engine.instrument import Instrument
from engine.pipeline import Pipeline
from engine.schema import Batch, Kind, Status
from engine.topics import SIGNAL_LATEST, SIGNAL_VACUUM
from tests.stream import MS, START, Level, instrument, message

CONFIG = EngineConfig(baseline=BaselineConfig(session=2))
#: Between two messages, ms: two in a cell of the grid.
STEP = 125
#: 19 units within 10 bps of 100 on either side, 10 of them at the touch; more far away.
BIDS = [(9_999, 1_000), *((price, 100) for price in range(9_998, 9_989, -1)), (9_900, 1_000)]
#: All within 10 bps but the last level leave: 1 of 19 stays, the spread grows from 2 to 11 ticks.
LEFT = [(price, 0) for price in range(9_999, 9_990, -1)]
#: Half a minute of calm gives a past, then they leave; later they come back.
LEAVE, RETURN, END = 20_125, 30_125, 45_000


def across(levels: Sequence[Level]) -> list[Level]:
    """The mirror image: bids as asks."""
    return [(20_000 - price, size) for price, size in levels]


class Maker:
    """One venue's book: a message each STEP, far from the touch, and what a scene puts in between."""

    def __init__(self, venue: str = "one", squeeze: bool = False) -> None:
        self.unit: Instrument = instrument(venue)
        self.squeeze = squeeze
        self.last, self.epoch = 10, 0

    def open(self, at: float) -> list[Batch]:
        self.epoch, self.last = self.epoch + 1, self.last + 10
        return [
            message(Kind.INSTRUMENT, at, (), (), self.unit, epoch=self.epoch),
            message(Kind.SNAPSHOT, at, BIDS, across(BIDS), self.unit, last=self.last, epoch=self.epoch),
        ]

    def change(self, at: float, levels: Sequence[Level]) -> Batch:
        """Set levels of the side that the scene is about."""
        previous, self.last = self.last, self.last + 1
        bids, asks = ([], across(levels)) if self.squeeze else (list(levels), [])
        return message(Kind.DELTA, at, bids, asks, self.unit, last=self.last, previous=previous, epoch=self.epoch)

    def calm(self, at: float) -> Batch:
        return self.change(at, [(9_800, 100 + int(at) % 7)])

    def heard(self, at: float) -> Batch:
        """A row that says nothing of the book."""
        return message(Kind.TRADE, at, (), (), self.unit)


def scene(maker: Maker, events: dict[int, Any], end: int = END) -> list[Batch]:
    """A market with a list of levels, a status or `None` (silence from then on) at some times, calm at all others."""
    batches, silent = maker.open(0), False
    for at in sorted({*range(STEP, end, STEP), *events}):
        event = events.get(at, ())
        if isinstance(event, Status):
            batches.append(message(Kind.STATUS, at, (), (), maker.unit, status=int(event), epoch=maker.epoch))
            silent = True
        elif event == "reopen":
            batches += maker.open(at)
            silent = False
        elif event is None or silent:
            silent = True
            batches.append(maker.heard(at))
        else:
            batches.append(maker.change(at, event) if event else maker.calm(at))
    return batches


def merged(*scenes: list[Batch]) -> list[Batch]:
    """Scenes of several venues in one order."""
    return sorted((batch for each in scenes for batch in each), key=lambda batch: int(batch.messages["received"][0]))


def told(batches: list[Batch], key: str, config: EngineConfig = CONFIG) -> list[dict[str, Any]]:
    pipeline = Pipeline("A", config)
    records = [record for batch in batches for record in pipeline.step(batch)]
    late = [r.value for r in records if r.topic == SIGNAL_LATEST and r.key == f"vacuum|{key}"]
    found = [record.value for record in records if record.topic == SIGNAL_VACUUM and record.key == key]
    moved = [value for before, value in pairwise(found) if states(before) != states(value)]
    assert set(moved) <= set(late) <= set(found), "late joiners get every transition"
    return [orjson.loads(value) for value in found]


def states(value: bytes) -> tuple[str, str]:
    read = orjson.loads(value)
    return read["bid_state"], read["ask_state"]


def transitions(values: list[dict[str, Any]], side: str) -> list[tuple[int, str]]:
    """When (ms) a side entered each state, as the records say; each is told by a record of its own moment."""
    found, before = [], "unknown"
    for value in values:
        if value[f"{side}_state"] != before:
            assert value[f"{side}_since"] == value["time"], "a transition is told at once"
            assert value[f"{side}_before"] == before
            before = value[f"{side}_state"]
            found.append(((value["time"] - START) // MS, before))
    return found


def at(values: list[dict[str, Any]], ms: int) -> dict[str, Any]:
    return next(value for value in values if value["time"] == START + ms * MS)


@pytest.mark.parametrize("key", ["one:AUSD", "A"])
@pytest.mark.parametrize("squeeze", [False, True])
def test_makers_that_leave_are_a_vacuum_on_their_side_until_they_are_back(key: str, squeeze: bool) -> None:
    back = [(price, size) for price, size in BIDS if price > 9_990]
    values = told(scene(Maker(squeeze=squeeze), {LEAVE: LEFT, RETURN: back}), key)
    side, other = ("ask", "bid") if squeeze else ("bid", "ask")
    first, *moved = transitions(values, side)
    assert first[1] == "normal"
    # The first line after they left is at 20,250: 2 s, 1 s more; at 30,250 the first after they are back: 3 s, 10 s.
    assert moved == [(22_250, "thin"), (23_250, "vacuum"), (33_250, "recovering"), (43_250, "normal")]
    assert [state for _, state in transitions(values, other)] == ["normal"]
    early = [value for value in values if value["time"] < START + first[0] * MS]
    assert early
    assert early[-1][f"{side}_cause"] == "no_baseline"
    thin, vacuum, recovering, normal = (at(values, ms) for ms, _ in moved)
    assert thin[f"{side}_entry_ratio"] == pytest.approx(1 / 19)
    assert vacuum[f"{side}_entry_ratio"] == pytest.approx(1 / 19)
    assert (vacuum[f"{side}_entry_refill"], vacuum[f"{side}_entry_spread"]) == (0.0, pytest.approx(5.5, rel=1e-3))
    assert vacuum[f"{side}_entry_withdrawal"] == 0.0
    # Nothing left within the window, and something came.
    assert recovering["why"][f"{side}_entry_refill"] == "no_flow"
    assert normal[f"{side}_entry_ratio"] == 1.0
    assert normal[f"{side}_transitions"] == 5


@pytest.mark.parametrize("key", ["one:AUSD", "A"])
@pytest.mark.parametrize("squeeze", [False, True])
@pytest.mark.parametrize(
    ("event", "cause", "when"), [(Status.DISCONNECTED, "disconnected", LEAVE), (None, "stale", LEAVE + 2_000)]
)
def test_a_feed_that_dies_is_unknown_at_once_and_never_thin(
    key: str, squeeze: bool, event: Status | None, cause: str, when: int
) -> None:
    values = told(scene(Maker(squeeze=squeeze), {LEAVE: event, RETURN: "reopen"}), key)
    for side in ("bid", "ask"):
        _, lost, back = transitions(values, side)
        assert lost == (when, "unknown")
        assert back == (RETURN + STEP, "normal")
        dead = [v for v in values if START + when * MS <= v["time"] < START + back[0] * MS]
        assert {(v[f"{side}_state"], v[f"{side}_cause"], v["reason"]) for v in dead[:-1]} == {("unknown", cause, cause)}
        assert {v[f"{side}_ratio"] for v in dead} == {None}
        assert dead[0]["why"][f"{side}_entry_ratio"] == dead[0]["why"][f"{side}_ratio"] == "unknown_book"


@pytest.mark.parametrize("key", ["one:AUSD", "A"])
def test_a_feed_that_dies_within_a_vacuum_ends_it(key: str) -> None:
    events = {LEAVE: LEFT, 25_125: Status.DISCONNECTED, RETURN: "reopen"}
    values = told(scene(Maker(), events), key)
    assert transitions(values, "bid")[1:] == [
        (22_250, "thin"),
        (23_250, "vacuum"),
        (25_125, "unknown"),
        (RETURN + STEP, "normal"),
    ]


@pytest.mark.parametrize("key", ["one:AUSD", "A"])
def test_a_side_that_is_empty_is_a_vacuum_and_no_outage(key: str) -> None:
    gone = [(price, 0) for price, _ in BIDS]
    maker = Maker()
    maker.calm = lambda at: maker.change(at, [])  # type: ignore[method-assign]
    values = told(scene(maker, {LEAVE: gone}, 26_000), key)
    assert transitions(values, "bid")[1:] == [(22_250, "thin"), (23_250, "vacuum")]
    assert [state for _, state in transitions(values, "ask")] == ["normal"]
    last = values[-1]
    assert (last["bid_ratio"], last["ask_ratio"]) == (0.0, None)
    assert last["why"]["ask_ratio"] == last["why"]["bid_spread"] == "one_sided"
    assert (last["state"], last["reason"]) == (("unknown", "no_mid") if key == "A" else ("ok", None))


def test_makers_that_leave_one_venue_of_three_are_no_vacuum_of_the_asset() -> None:
    others = [scene(Maker(name), {}, 30_000) for name in ("two", "three")]
    batches = merged(scene(Maker(), {LEAVE: LEFT}, 30_000), *others)
    assert transitions(told(batches, "one:AUSD"), "bid")[-1] == (23_250, "vacuum")
    values = told(batches, "A")
    assert [state for _, state in transitions(values, "bid")] == ["normal"]
    assert at(values, 29_000)["bid_ratio"] == pytest.approx((1 + 2 * 19) / (3 * 19))


def test_an_outage_of_one_venue_of_three_moves_nothing_of_the_asset() -> None:
    others = [scene(Maker(name), {}, 30_000) for name in ("two", "three")]
    values = told(merged(scene(Maker(), {LEAVE: Status.DISCONNECTED}, 30_000), *others), "A")
    for side in ("bid", "ask"):
        assert [state for _, state in transitions(values, side)] == ["normal"]
        assert {v[f"{side}_ratio"] for v in values if v["time"] > START + 15_000 * MS} == {1.0}
    assert {value["state"] for value in values[2:]} == {"ok"}


def test_makers_that_leave_all_venues_are_a_vacuum_of_the_asset() -> None:
    scenes = [scene(Maker(name), {LEAVE: LEFT}, 26_000) for name in ("one", "two", "three")]
    values = told(merged(*scenes), "A")
    assert transitions(values, "bid")[1:] == [(22_250, "thin"), (23_250, "vacuum")]
    assert [state for _, state in transitions(values, "ask")] == ["normal"]


def test_a_book_crossed_for_a_moment_breaks_no_hold_and_is_not_measured() -> None:
    # The row that uncrosses it passes the line of 21,000 first.
    batches = scene(Maker(), {LEAVE: LEFT, 20_950: [(10_001, 5)], 21_000: [(10_001, 0)]}, 24_000)
    for key in ("one:AUSD", "A"):
        values = told(batches, key, replace(CONFIG, vacuum=VacuumConfig(cadence=1)))
        assert transitions(values, "bid")[1:] == [(22_250, "thin"), (23_250, "vacuum")]
        crossed = at(values, 21_000)
        assert (crossed["state"], crossed["reason"], crossed["bid_state"]) == ("unknown", "crossed", "normal")
        assert (crossed["bid_ratio"], crossed["why"]["bid_ratio"]) == (None, "unknown_book")
