"""What the benchmarks' table says of made-up rounds: ratios, marks, and the shape of results.json. Nothing is timed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from benchmarks import compare as comparing
from benchmarks.bench_curve import slope
from benchmarks.bench_replay import Afternoon
from benchmarks.compare import Peer, compare
from benchmarks.latency import delays, key_of
from benchmarks.table import (
    BEGIN,
    END,
    Stage,
    beside,
    figure,
    groups,
    lines,
    main,
    markdown,
    place,
    ratio_of,
    read,
    results,
    write,
)

OURS = Stage(stage="book", unit="ns/level", ours=10.0, goal=100.0, floor=1.1)


class Rounds:
    """Stands where pytest-benchmark's fixture stands, on a clock that only contestants move."""

    def __init__(self) -> None:
        self.group = ""
        self.extra_info: dict[str, Any] = {}
        self.now = 0.0
        self.order: list[str] = []

    def pedantic(self, work: Callable[..., Any], *, setup: Callable[[], Any], rounds: int) -> None:
        for _ in range(rounds):
            arguments, named = setup()
            work(*arguments, **named)

    def contestant(self, name: str, seconds: list[float], answer: object) -> Callable[[], Callable[[], object]]:
        """Take so many seconds in each round, the last over and over."""
        left = list(seconds)

        def run() -> object:
            self.order.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]
            return answer

        return lambda: run


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    made = Rounds()
    monkeypatch.setattr(comparing, "perf_counter", lambda: made.now)
    monkeypatch.setattr(comparing, "STAGES", [])
    monkeypatch.setattr(comparing, "QUICK", False)
    return made


def test_less_time_is_better_and_more_per_second_is() -> None:
    assert ratio_of(10.0, 40.0, "ns/level") == 4.0
    assert ratio_of(10.0, 40.0, "records/s") == 0.25
    assert figure(2.0, 1_000, "us/message") == pytest.approx(2_000)
    assert figure(2.0, 1_000, "messages/s") == 500


def test_peers_take_turns_and_the_ratio_is_the_median_of_the_rounds(rounds: Rounds) -> None:
    # Warm, then three rounds; the second is slow for both alike.
    ours = rounds.contestant("ours", [9.0, 1.0, 10.0, 2.0], "same")
    peer = rounds.contestant("peer", [9.0, 4.0, 30.0, 4.0], "same")
    (stage,) = compare(rounds, stage="s", unit="s", ours=ours, count=1, peers={"p": Peer(prepare=peer)}, rounds=3)
    assert rounds.order == ["ours", "peer"] + ["peer", "ours"] * 3
    assert (stage.ours, stage.peer_value, stage.ratio) == (2.0, 4.0, 3.0)
    assert stage.same_answer is True
    assert stage == comparing.STAGES[0]


def test_a_peer_that_differs_is_marked_and_not_compared(rounds: Rounds) -> None:
    ours, peer = rounds.contestant("ours", [1.0], 41), rounds.contestant("peer", [4.0], 42)
    (stage,) = compare(rounds, stage="s", unit="s", ours=ours, count=1, peers={"p": Peer(prepare=peer)}, rounds=1)
    assert (stage.same_answer, stage.peer_value, stage.ratio) == (False, 4.0, None)
    assert lines([stage])[0][3] == "other answer"


def test_a_slow_peer_does_a_part_and_its_answer_is_that_of_the_part(rounds: Rounds) -> None:
    ours, peer = rounds.contestant("ours", [1.0], "whole"), rounds.contestant("peer", [4.0], "part")
    twin = rounds.contestant("twin", [1.0], "part")
    asked = {"p": Peer(prepare=peer, count=10, twin=twin)}
    (stage,) = compare(rounds, stage="s", unit="ms/level", ours=ours, count=1_000, peers=asked, rounds=1)
    assert stage.same_answer is True
    assert (stage.ours, stage.peer_value, stage.ratio) == (1.0, 400.0, 400.0)


def test_a_peer_that_is_not_installed_is_named(rounds: Rounds) -> None:
    def prepare() -> Callable[[], object]:
        raise ModuleNotFoundError("no", name="rival")

    ours = rounds.contestant("ours", [1.0], 1)
    (stage,) = compare(rounds, stage="s", unit="s", ours=ours, count=1, peers={"r": Peer(prepare=prepare)}, rounds=1)
    assert (stage.peer, stage.peer_value, stage.ratio) == ("r", None, None)
    assert lines([stage])[0][2:4] == ("r", "rival is not installed")


def test_results_hold_machine_versions_and_stages(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    stages = [beside(OURS, "hftbacktest", 4_000.0, same=True), beside(OURS, "other", 5.0, same=False)]
    write(stages, path)
    whole = json.loads(path.read_text())
    assert set(whole) == {"machine", "versions", "stages"}
    wanted = {"stage", "unit", "ours", "peer", "peer_value", "ratio", "goal", "floor", "same_answer"}
    assert all(wanted <= set(stage) for stage in whole["stages"])
    assert whole["stages"][0]["ratio"] == 400.0
    assert whole["stages"][1]["ratio"] is None
    assert read(path) == stages
    assert results(stages)["versions"]["numpy"] != "not installed"


def test_the_table_has_one_row_a_stage() -> None:
    stages = [beside(OURS, "a", 40.0, same=True), beside(OURS, "b", 5.0, same=True), Stage(stage="x", unit="s", ours=2)]
    table = markdown(stages).splitlines()
    assert table[2] == "| book | 10 ns/level | a 40, b 5 | 4x, 0.5x | 100x | 1.1 |"
    assert table[3] == "| x | 2 s |  |  |  |  |"


def test_the_table_is_put_between_the_markers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert place(text, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="no <!-- benchmarks: begin"):
        place("nothing here", "new")
    page = tmp_path / "page.md"
    page.write_text(text)
    monkeypatch.setattr("benchmarks.table.read", lambda: [OURS])
    assert main([str(page)]) == 0
    assert "| book | 10 ns/level |" in page.read_text()
    assert main([]) == 2


def test_groups_of_pytest_benchmark_become_stages() -> None:
    measured = [
        {"group": "frames x", "name": "test_decode[ours-x]", "median": 0.002},
        {"group": "frames x", "name": "test_decode[orjson-x]", "median": 0.016},
        {"group": "frames x", "name": "test_sorted_lists[x]", "median": 0.004},
        {"group": "alone", "name": "test_whole[64]", "median": 1.0},
        {"group": "both", "name": "test_whole[one]", "median": 1.0},
        {"group": "both", "name": "test_whole[all]", "median": 3.0},
    ]
    alone, one, every, *others = groups(measured)
    assert (alone.stage, alone.unit, alone.ours, alone.peer) == ("alone", "s", 1.0, "")
    assert [one.stage, every.stage] == ["both: one", "both: all"]
    assert [(stage.unit, stage.ours, stage.peer) for stage in others] == [
        ("ms", 2.0, "orjson"),
        ("ms", 2.0, "sorted lists"),
    ]
    assert [stage.ratio for stage in others] == pytest.approx([8.0, 2.0])


def test_the_slope_of_a_power_is_its_exponent() -> None:
    sizes = [1, 10, 100, 1_000]
    assert slope(sizes, [3.0 * size**0.5 for size in sizes]) == pytest.approx(0.5)
    assert slope(sizes, [7.0] * 4) == pytest.approx(0.0, abs=1e-12)


def test_a_delay_runs_from_the_frame_that_called_for_the_signal() -> None:
    second = 1_000_000_000
    wire = b'\x81\x7e\x00\xff{"stream":"x","data":{"e":"bookTicker","u":7,"s":"X","b":"1.0"}}'
    assert key_of(wire) == (b"bookTicker", 7)
    sent = {(b"depthUpdate", 1): 0, (b"bookTicker", 7): 3 * second, (b"depthUpdate", 2): second}
    rows = {111: ((b"bookTicker", 7), 51), 112: ((b"depthUpdate", 2), 52)}
    met = [(3 * second + 9_000_000, b'{"time":111}'), (3 * second, b'{"time":112}'), (3 * second, b'{"time":113}')]
    produced = {51: 3 * second + 2_000_000}
    computed = {crc32(b'{"time":111}'): 3 * second + 5_000_000}
    # The second is of the first two seconds, the third of a row that no frame is known of.
    found = delays(met, rows, sent, produced, computed)
    assert found == {"linger": [2.0], "engine": [3.0], "desk": [7.0], "whole": [9.0]}


def test_the_afternoon_book_waits_for_its_snapshot() -> None:
    book = Afternoon()
    diff = {"data": {"e": "depthUpdate", "u": 5, "b": [["99.0", "1"]], "a": [["101.0", "2"]]}}
    book.take(1, diff)
    assert book.last == 0
    book.take(2, {"lastUpdateId": 4, "bids": [["98.0", "1"]], "asks": []})
    assert book.last == 5
    assert [float(price) for price in book.bids] == [98.0, 99.0]
