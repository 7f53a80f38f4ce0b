"""The simulated market as its venue tells it: whole books, frames by the venue's rules, and a truth that knows more."""

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest

from engine.kernel import COMPILED
from engine.schema import Kind
from ingest.session import open_session
from ingest.simulator.broadcast import Broadcast, play
from ingest.simulator.frames import START
from ingest.simulator.members import GOLD
from ingest.simulator.scenarios import INSTRUMENT, Scenario, scenario
from ingest.simulator.telling import SNAPSHOT, Line
from ingest.simulator.world import SECOND, plan
from tests.rebuilt import Book, apply
from tests.simulated import book_of

SYMBOL = INSTRUMENT.symbol

needs_minutes = pytest.mark.skipif(not COMPILED, reason="needs minutes of market time")


@dataclass
class Heard:
    """What a session made of a broadcast, and what it should have made."""

    lines: list[Line] = field(default_factory=list)
    truths: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[int] = field(default_factory=Counter)
    #: Seconds at which the session's book was the simulator's own.
    agreed: list[int] = field(default_factory=list)
    #: Bids within 1 % of the mid, lots, each second.
    depth: list[int] = field(default_factory=list)
    most: int = 0
    synced: bool = False
    end: dict[str, Any] = field(default_factory=dict)


def hear(wanted: Scenario, seed: int, start: int | None = None) -> Heard:
    heard = Heard()
    broadcast = Broadcast(wanted, seed, start)
    session: Any = None
    book: Book = {1: {}, -1: {}}
    for second in range(wanted.seconds):
        lines, truths = broadcast.second()
        session = session or open_session(lines[:1], None)
        for received, raw in lines:
            for batch in session.receive(received, raw):
                if batch.instrument == INSTRUMENT.key:
                    heard.kinds.update(batch.messages["kind"].tolist())
                    apply(book, batch)
        heard.lines += lines
        heard.truths += truths
        own = book_of(broadcast.world)
        heard.most = max(heard.most, *(len(side) for side in own.values()))
        # The last frame of a second leaves before its end; what the flow did since is not told yet.
        told = {s: {p * INSTRUMENT.tick: q * INSTRUMENT.lot for p, q in broadcast.book[s].items()} for s in (1, -1)}
        if book == told:
            heard.agreed.append(second)
        bid, size = int(broadcast.world.state[0]["bid"]), broadcast.world.state[0]["size"]
        mid = float(broadcast.world.state[0]["mid"])
        heard.depth.append(int(size[int(mid * 0.99) : bid + 1].sum()))
    heard.counts, heard.synced = session.counts, session.synced[SYMBOL]
    heard.end = broadcast.end()
    return heard


@pytest.fixture(scope="module")
def october() -> Heard:
    return hear(scenario("october-10"), 1)


def frames(lines: list[Line], event: str) -> list[tuple[int, dict[str, Any]]]:
    found = [(at, orjson.loads(raw)["data"]) for at, raw in lines if raw.startswith(b'{"stream"')]
    return [(at, each) for at, each in found if each["e"] == event]


def test_a_few_seconds_make_a_whole_book() -> None:
    heard = hear(replace(scenario("calm"), seconds=12 if COMPILED else 2), 5)
    assert heard.agreed == list(range(len(heard.depth)))
    assert heard.synced
    assert heard.counts["gaps"] == 0
    assert heard.kinds[Kind.GAP] == 0
    assert all(a[0] < b[0] for a, b in pairwise(heard.lines))


def test_after_a_frame_the_book_that_was_told_is_the_simulator_s_own() -> None:
    broadcast = Broadcast(replace(scenario("calm"), seconds=2), 6)
    # Without a flow between the frames, what the last one told is what there is.
    broadcast.world.parameters["chosen"] *= 1e-12
    broadcast.world.parameters["market_bound"] = 1e-12
    for _ in range(2):
        broadcast.second()
        told = {s: {p * INSTRUMENT.tick: q for p, q in broadcast.book[s].items()} for s in (1, -1)}
        assert told == book_of(broadcast.world)
        assert len(told[1]) > 150


@needs_minutes
def test_a_cascade_s_tape_has_no_hole_and_its_book_is_right_every_second(october: Heard) -> None:
    assert october.agreed == list(range(len(october.depth)))
    assert october.synced
    assert october.counts["gaps"] == 0
    assert not [name for name in october.counts if name.startswith("refused")]
    # All of it fits into the one snapshot.
    assert october.most < SNAPSHOT
    for kind in (Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH, Kind.TRADE, Kind.LIQUIDATION, Kind.REFERENCE):
        assert october.kinds[kind] > 0, kind
    diffs = [each for _, each in frames(october.lines, "depthUpdate")]
    for before, after in pairwise(diffs):
        assert after["pu"] == before["u"] < after["U"] <= after["u"]
    for at, each in frames(october.lines, "trade"):
        assert each["T"] * 1_000_000 <= at


@needs_minutes
def test_the_feed_shows_the_largest_forced_order_of_a_second_and_the_truth_has_all(october: Heard) -> None:
    forced = [each for each in october.truths if each["kind"] == "forced"]
    shown = [each for each in forced if each["shown"]]
    told = frames(october.lines, "forceOrder")
    assert len(told) == len(shown) < len(forced) / 5
    seconds = [(each["time"] - START) // SECOND for each in shown]
    assert len(set(seconds)) == len(seconds)
    for each, second in zip(shown, seconds, strict=True):
        rivals = [o for o in forced if (o["time"] - START) // SECOND == second and o["filled"]]
        assert each["size"] == max(o["size"] for o in rivals)
    assert sum(each["filled"] for each in forced) == october.end["forced"]
    deleveraged = sum(each["size"] for each in october.truths if each["kind"] == "deleveraged")
    assert deleveraged == october.end["deleveraged"]


@needs_minutes
def test_october_thins_falls_loses_its_makers_and_deleverages_late(october: Heard) -> None:
    begin = scenario("october-10").start
    thins, _, news, _, refills = (
        (each["time"] - begin) // SECOND for each in october.truths if each["kind"] == "stage" and each["time"] > begin
    )
    before, ahead = np.median(october.depth[20 : thins - 5]), np.median(october.depth[news - 9 : news])
    assert ahead < 0.6 * before
    # What is met far below stays where it is; within 10 bps there is nothing.
    states = [each for each in october.truths if each["kind"] == "state"]
    near = [each["bids"][0] for each in states]
    assert np.median(near[news + 5 : refills]) < 0.01 * np.median(near[20 : thins - 5])
    assert states[news - 5]["eta_true"] == 1.0
    assert {each["eta_true"] for each in states[news + 30 : refills - 1]} == {1 / 8}
    first = min(each["time"] for each in october.truths if each["kind"] == "forced")
    wave = min(each["time"] for each in october.truths if each["kind"] == "deleveraged")
    assert news < (first - begin) / SECOND < news + 15
    assert 30 < (wave - first) / SECOND < 90
    assert october.end["low"] < 0.92 * states[news - 5]["mid"]
    assert october.end["low"] < october.end["without_liquidations"]["low"] < october.end["without_shocks"]["low"]
    assert np.median(near[-60:]) > 0.5 * np.median(near[20 : thins - 5])


@needs_minutes
def test_an_outage_of_the_feed_is_no_event_of_the_market() -> None:
    heard = hear(scenario("feed-outage"), 2)
    calm = list(play(scenario("calm"), 2))
    # What was forced meanwhile was not shown.
    true = [{**each, "shown": None} for _, truths in calm[:-1] for each in truths]
    assert [{**each, "shown": None} for each in heard.truths] == true
    died, back = (START + int(each * SECOND) for each in scenario("feed-outage").outage or ())
    dead = [raw for at, raw in heard.lines if died <= at < back]
    assert dead
    assert all(raw.startswith(b'{"airpocket":') for raw in dead)
    assert heard.counts["resyncs"] == 2
    assert heard.counts["gaps"] == 0
    assert heard.synced
    assert heard.agreed[-1] == 119
    assert set(range(101, 120)) <= set(heard.agreed)


@needs_minutes
@pytest.mark.parametrize("name", ["squeeze", "spoof", "february-weekend"])
def test_other_scenarios_make_whole_tapes_too(name: str) -> None:
    heard = hear(scenario(name), 3)
    assert heard.agreed == list(range(len(heard.depth)))
    assert heard.counts["gaps"] == 0
    if name == "squeeze":
        assert heard.end["high"] > heard.end["without_liquidations"]["high"]
    if name == "february-weekend":
        (jump,) = (each for each in heard.truths if each["kind"] == "news")
        (reached,) = jump["reaches"]
        assert (jump["instrument"], reached["instrument"]) == (GOLD.key, INSTRUMENT.key)
        index = {
            (each["time"] - START) // SECOND: each["index"]
            for each in heard.truths
            if each["kind"] == "state" and each["instrument"] == INSTRUMENT.key
        }
        hit = (jump["time"] - START + reached["delay"]) // SECOND
        # In the second of the hit the fundamental loses what reaches it, but for what its mid holds back.
        assert index[hit] / index[hit - 1] - 1.0 == pytest.approx(jump["jump"] * reached["share"], rel=0.1)
        assert abs(index[hit - 1] / index[hit - 2] - 1.0) < 0.001
    if name == "spoof":
        assert np.median(heard.depth[75:98]) > 1.3 * np.median(heard.depth[10:68])
        assert heard.depth[110] < 1.2 * np.median(heard.depth[10:68])


def test_a_plan_holds_what_a_stage_does_not_name_and_jumps_once() -> None:
    stages = plan({"time": 0, "branching": 0.3, "jump": -0.1}, {"time": 5, "bids": 0.5}, {"time": 9, "branching": 0.8})
    assert stages["branching"].tolist() == [0.3, 0.3, 0.8]
    assert stages["bids"].tolist() == [1.0, 0.5, 0.5]
    assert stages["jump"].tolist() == [-0.1, 0.0, 0.0]
