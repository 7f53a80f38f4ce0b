"""The vacuum's state machine: every bound to the nanosecond, outages, its twin on random markets, its bytes."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pytest

from engine.config import EngineConfig, FlowConfig, VacuumConfig
from engine.errors import BadConfig
from engine.fields import Why
from engine.trust import Reason
from engine.vacuum import STATES, advance, lose
from tests.naive_vacuum import Seen
from tests.vacuum_rows import CALM, FILLING, GONE, MS, START, THIN, Machine, brought, row

EVERY: Final = ("unknown", "normal", "thin", "vacuum", "recovering")


@pytest.mark.parametrize(
    ("state", "seen", "to", "ms"),
    [
        ("unknown", GONE, "normal", 0),
        ("normal", THIN, "thin", 2_000),
        ("thin", GONE, "vacuum", 1_000),
        ("thin", CALM, "normal", 10_000),
        ("vacuum", FILLING, "recovering", 3_000),
        ("recovering", CALM, "normal", 10_000),
        ("recovering", GONE, "vacuum", 1_000),
    ],
)
def test_each_way_is_taken_when_its_test_has_held_for_its_time(state: str, seen: Seen, to: str, ms: int) -> None:
    machine = brought(state)
    count = machine.memory["transitions"][0, 0]
    assert machine.until(seen, to) == ms
    own = machine.memory[0]
    assert (STATES[own["before"][0]], own["since"][0], own["transitions"][0]) == (state, machine.now, count + 1)


def test_the_time_is_met_to_the_nanosecond() -> None:
    for short, state in ((1, "normal"), (0, "thin")):
        machine = Machine()
        machine.see(CALM)
        machine.watch(THIN, 2_000)
        machine.now += 250 * MS - short
        advance(machine.memory, machine.settings, row(THIN), machine.now)
        assert machine.state() == state


def test_a_collapse_at_once_is_a_vacuum_after_three_seconds() -> None:
    machine = brought("normal")
    assert machine.until(GONE, "vacuum") == 3_000


@pytest.mark.parametrize(
    ("state", "bound", "beyond", "to"),
    [
        ("normal", {**CALM, "ratio": 0.5}, {**CALM, "ratio": np.nextafter(0.5, 0)}, "thin"),
        ("thin", {**GONE, "ratio": 0.2}, {**GONE, "ratio": np.nextafter(0.2, 0)}, "vacuum"),
        ("thin", {**GONE, "refill": 0.5}, {**GONE, "refill": np.nextafter(0.5, 0)}, "vacuum"),
        (
            "thin",
            {**GONE, "withdrawal": 0.6, "spread": 5.0},
            {**GONE, "withdrawal": np.nextafter(0.6, 1), "spread": 5.0},
            "vacuum",
        ),
        (
            "thin",
            {**GONE, "withdrawal": 0.6, "spread": 5.0},
            {**GONE, "withdrawal": 0.6, "spread": np.nextafter(5.0, 9)},
            "vacuum",
        ),
        ("thin", {**CALM, "ratio": 0.6}, {**CALM, "ratio": np.nextafter(0.6, 1)}, "normal"),
        ("vacuum", {**GONE, "refill": 1.0}, {**GONE, "refill": np.nextafter(1.0, 2)}, "recovering"),
        ("recovering", {**CALM, "ratio": 0.6}, {**CALM, "ratio": np.nextafter(0.6, 1)}, "normal"),
    ],
)
def test_a_bound_itself_is_not_beyond_it(state: str, bound: Seen, beyond: Seen, to: str) -> None:
    machine = brought(state)
    assert machine.watch(bound, 20_000).state() == state
    assert machine.watch(beyond, 12_000).state() == to


def test_one_evaluation_that_fails_a_test_breaks_its_hold() -> None:
    machine = brought("normal").watch(THIN, 2_000)
    machine.see(CALM)
    assert machine.until(THIN, "thin") == 2_000


@pytest.mark.parametrize(("apart", "state"), [(1_000, "thin"), (1_001, "normal")])
def test_what_was_not_seen_did_not_hold(apart: int, state: str) -> None:
    machine = brought("normal")
    machine.see(THIN)
    machine.see(THIN, after=apart)
    assert machine.see(THIN, after=1_000) == state


@pytest.mark.parametrize("state", EVERY)
@pytest.mark.parametrize("reason", list(Reason)[1:])
def test_a_dead_feed_is_unknown_and_never_a_vacuum(state: str, reason: Reason) -> None:
    machine = brought(state)
    count = machine.memory["transitions"][0].tolist()
    machine.now += 250 * MS
    known = [side for side in (0, 1) if machine.state(side) != "unknown"]
    assert lose(machine.memory, int(reason), machine.now) == sum(1 << side for side in known)
    for side in (0, 1):
        assert (machine.state(side), machine.cause(side)) == ("unknown", reason.name.lower())
        assert machine.memory["transitions"][0, side] == count[side] + (side in known)
    if known:
        assert (machine.memory["since"] == machine.now).all()
        assert (machine.memory["entry_why"] == Why.UNKNOWN_BOOK).all()
    for later in range(40):
        assert lose(machine.memory, int(reason), machine.now + later * 10**9) == 0
        assert machine.state() == machine.state(1) == "unknown"


@pytest.mark.parametrize("state", EVERY[1:])
def test_after_an_outage_the_machine_begins_again_from_normal(state: str) -> None:
    machine = brought(state).watch(GONE, 250)
    machine.now += 250 * MS
    lose(machine.memory, int(Reason.GAP), machine.now)
    assert (machine.see(GONE), machine.cause()) == ("normal", "none")
    # One sight at the return, then the tests in full.
    assert machine.until(GONE, "thin") == 1_750
    assert machine.until(GONE, "vacuum") == 750


def test_another_reason_changes_the_cause_alone() -> None:
    machine = brought("vacuum")
    lose(machine.memory, int(Reason.STALE), machine.now + 5)
    lose(machine.memory, int(Reason.DISCONNECTED), machine.now + 9)
    own = machine.memory[0]
    assert (machine.cause(), own["since"][0], STATES[own["before"][0]]) == ("disconnected", machine.now + 5, "vacuum")


def test_the_first_call_of_all_begins_the_unknown() -> None:
    machine = Machine()
    assert machine.cause() == "unsynced"
    assert lose(machine.memory, int(Reason.RESYNC), START) == 0
    assert machine.memory["since"][0].tolist() == [START, START]
    assert Machine().see({**CALM, "ratio": "no_baseline"}) == "unknown"


@pytest.mark.parametrize("state", EVERY)
def test_a_ratio_that_is_undefined_is_unknown_with_its_why(state: str) -> None:
    machine = brought(state)
    machine.see({**GONE, "ratio": "no_baseline"}, CALM)
    assert (machine.state(), machine.cause()) == ("unknown", "no_baseline")
    assert (machine.state(1) != "unknown", machine.cause(1)) == (True, "none")


@pytest.mark.parametrize("state", EVERY)
def test_while_the_other_side_is_empty_the_state_stays_and_no_test_is_met(state: str) -> None:
    for seen in (GONE, FILLING, CALM):
        machine = brought(state)
        blind: Seen = {**seen, "ratio": "one_sided", "spread": "one_sided"}
        assert machine.watch(blind, 20_000).state() == state
        assert machine.cause() == ("one_sided" if state == "unknown" else "none")


def test_blindness_breaks_a_hold() -> None:
    machine = brought("normal").watch(THIN, 2_000)
    machine.see({**THIN, "ratio": "one_sided"})
    assert machine.until(THIN, "thin") == 2_000


def test_a_side_validly_empty_becomes_a_vacuum() -> None:
    machine = brought("normal")
    empty: Seen = {"ratio": 0.0, "refill": "nothing came or went", "withdrawal": "one_sided", "spread": "one_sided"}
    for _ in range(13):
        machine.see(empty, {**CALM, "ratio": "one_sided", "spread": "one_sided"})
    assert (machine.state(0), machine.state(1)) == ("vacuum", "normal")


@pytest.mark.parametrize(
    ("state", "seen", "to"),
    [
        ("thin", {**GONE, "refill": "nothing came or went"}, "vacuum"),
        ("thin", {**GONE, "refill": "something came"}, "thin"),
        ("thin", {**GONE, "refill": "too_early"}, "thin"),
        ("thin", {**GONE, "spread": "one_sided", "withdrawal": "too_early"}, "vacuum"),
        ("thin", {**GONE, "spread": "too_early"}, "vacuum"),
        ("thin", {**GONE, "withdrawal": "no_depth"}, "vacuum"),
        ("thin", {**GONE, "spread": "too_early", "withdrawal": "no_depth"}, "thin"),
        ("vacuum", {**GONE, "refill": "nothing came or went"}, "vacuum"),
        ("vacuum", {**GONE, "refill": "something came"}, "recovering"),
        ("vacuum", {**FILLING, "refill": "too_early"}, "vacuum"),
    ],
)
def test_what_is_not_there_counts_as_documented(state: str, seen: Seen, to: str) -> None:
    assert brought(state).watch(seen, 5_000).state() == to


def test_sides_move_apart_and_are_told_by_bits() -> None:
    machine = brought("normal")
    machine.watch(THIN, 2_000)
    machine.now += 250 * MS
    assert advance(machine.memory, machine.settings, row(THIN, CALM), machine.now) == 1
    for _ in range(8):
        machine.see(THIN, THIN)
    machine.now += 250 * MS
    assert advance(machine.memory, machine.settings, row(CALM, THIN), machine.now) == 2
    assert (machine.state(0), machine.state(1)) == ("thin", "thin")
    assert lose(machine.memory, int(Reason.GAP), machine.now) == 3


def test_a_transition_notes_what_brought_it_about() -> None:
    machine = brought("thin")
    machine.watch(GONE, 1_000)
    last: Seen = {"ratio": 0.15, "refill": 0.3, "withdrawal": "no_depth", "spread": 7.0}
    assert machine.see(last) == "vacuum"
    machine.see(GONE)
    own = machine.memory[0]
    assert own["entry"][0].tolist() == [0.15, 0.3, 0.0, 7.0]
    assert own["entry_why"][0].tolist() == [0, 0, Why.NO_DEPTH, 0]


#: A market in which every constant decides something, as (bid sees, for ms).
SCRIPT: Final = (
    (CALM, 1_000),
    ({**CALM, "ratio": 0.45}, 3_000),
    ({**GONE, "ratio": 0.15, "spread": 1.0, "withdrawal": 0.7}, 1_500),
    ({**GONE, "refill": 1.2}, 4_000),
    ({**GONE, "refill": 0.4, "spread": 6.0, "withdrawal": 0.1}, 2_000),
    ({**GONE, "refill": 1.2}, 4_000),
    ({**CALM, "ratio": 0.65}, 12_000),
    ({**CALM, "ratio": 0.45}, 3_000),
    ({**CALM, "ratio": 0.65}, 12_000),
)


def trace(script: Iterable[tuple[Seen, int]], **constants: Any) -> list[str]:
    machine = Machine(**constants)
    states = []
    for seen, ms in script:
        for _ in range(ms // 250):
            states.append(machine.see(seen))
    # Once with holes between evaluations.
    return [*states, *(machine.see(THIN, after=900) for _ in range(4))]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("thin_ratio", 0.42),
        ("thin_for", 2_500),
        ("vacuum_ratio", 0.12),
        ("vacuum_refill", 0.3),
        ("vacuum_spread", 7.0),
        ("vacuum_withdrawal", 0.8),
        ("vacuum_for", 1_250),
        ("recovering_refill", 1.3),
        ("recovering_for", 3_500),
        ("normal_ratio", 0.7),
        ("normal_for", 10_500),
        ("gap", 800),
    ],
)
def test_every_constant_moves_something(name: str, value: float) -> None:
    plain = trace(SCRIPT)
    assert {"normal", "thin", "vacuum", "recovering"} <= set(plain)
    assert trace(SCRIPT, **{name: value}) != plain


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"thin_ratio": 0.0}, "thin_ratio is 0.0, allowed are values above 0"),
        ({"normal_for": -1}, "normal_for is -1"),
        ({"gap": float("nan")}, "gap is nan"),
        ({"band": 10_000}, "band are"),
        ({"thin_for": 86_400_001}, "thin_for is 86400001, allowed are milliseconds from 1 to 86400000"),
        ({"vacuum_withdrawal": 1.1}, "vacuum_withdrawal is 1.1, allowed are shares"),
        ({"vacuum_ratio": 0.55}, "vacuum_ratio is 0.55 and thin_ratio 0.5"),
        ({"thin_ratio": 0.7}, "thin_ratio is 0.7 and normal_ratio 0.6"),
        ({"vacuum_refill": 1.5}, "vacuum_refill is 1.5 and recovering_refill 1.0"),
    ],
)
def test_constants_that_cannot_be_are_refused(changed: dict[str, float], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        VacuumConfig(**changed)  # type: ignore[arg-type]


def test_a_grid_coarser_than_the_gap_is_refused() -> None:
    flow = FlowConfig(cell=1_000, windows=(1_000,), horizons=(1_000,), refill=5_000)
    EngineConfig(flow=flow)
    with pytest.raises(BadConfig, match=r"vacuum.gap is 999, allowed are milliseconds from flow.cell, 1000"):
        EngineConfig(flow=flow, vacuum=VacuumConfig(gap=999))
