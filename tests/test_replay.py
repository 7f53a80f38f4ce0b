"""Replay: the same tape gives the same records, in fresh processes, by the verb and by the function."""

import gzip
import json
import subprocess
import sys
from itertools import pairwise, takewhile
from pathlib import Path

import orjson
import pytest

import airpocket
from airpocket.player import Player, moment
from airpocket.sources import TapeRows
from engine.errors import BadConfig
from engine.kernel import COMPILED
from engine.schema import Record
from engine.topics import RAW, SIGNAL_CASCADE, SIGNAL_DEPTH, SIGNAL_FLOW, SIGNAL_HEALTH, SIGNAL_LATEST, SIGNAL_VACUUM
from ingest.simulator.frames import START, tape
from ingest.tape import read
from sinks.tape import TapeConfig, TapeSink

ROOT = Path(__file__).parents[1]
SECOND = 1_000_000_000


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "airpocket", "replay", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def cut(tape: Path, lines: int, path: Path) -> Path:
    """Copy a tape's first lines."""
    with gzip.open(tape) as whole, gzip.open(path, "wb") as part:
        part.writelines(next(whole) for _ in range(lines))
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of the simulated market, recorded in parts of three seconds."""
    folder = tmp_path_factory.mktemp("recording")
    lines = list(takewhile(lambda line: line[0] < START + 8 * SECOND, tape(seed=2)))
    first = lines[0][1]
    sink = TapeSink(TapeConfig(folder=folder, prefix="sim", part_time=3 * SECOND), lambda stamp: first)
    sink.write([Record(topic=RAW, key="sim", asset="", time=time, value=raw) for time, raw in lines[1:]])
    sink.flush()
    sink.close()
    assert len(list(folder.iterdir())) == 3
    return folder


@pytest.mark.tape
def test_a_recorded_tape_gives_the_same_digest_in_two_processes(binance_tapes: Path, tmp_path: Path) -> None:
    tape, lines, records = binance_tapes / "usdm_btcusdt_20240808.gz", 93_954, 3_000
    if not COMPILED:
        # The whole of it takes minutes in plain Python.
        lines, records = 2_000, 20
        tape = cut(tape, lines, tmp_path / "cut.gz")
    path = str(tape)
    runs = [run(path, "--venue", "binance_usdm", "--digest", "--json") for _ in range(2)]
    assert [done.returncode for done in runs] == [0, 0], runs[0].stderr
    found = [json.loads(done.stdout) for done in runs]
    assert found[0] == found[1]
    assert found[0]["lines"] == lines
    assert found[0]["records"] > records
    assert "gaps 0, frames refused 0" in runs[0].stderr


@pytest.mark.tape
def test_a_foreign_tape_needs_its_venue_named(binance_tapes: Path) -> None:
    done = run(str(binance_tapes / "usdm_btcusdt_20240808.gz"), "--digest")
    assert done.returncode == 3
    assert "its venue must be named" in done.stderr


def test_a_pipe_gets_json_lines_and_only_the_signals_asked_for(recording: Path) -> None:
    done = run(str(recording), "--signal", "depth")
    values = [json.loads(line) for line in done.stdout.splitlines()]
    assert {value["signal"] for value in values} == {"depth"}
    keys = {value.get("instrument", value["asset"]) for value in values}
    assert keys == {"binance_usdm:BTCUSDT", "binance_usdm:ETHUSDT", "BTC", "ETH"}
    assert done.stderr.count("\n") == 1
    assert "books known at the end: BTCUSDT, ETHUSDT; gaps 0" in done.stderr


def test_the_function_yields_what_the_verb_prints(recording: Path) -> None:
    records = list(airpocket.replay(recording))
    topics = {SIGNAL_CASCADE, SIGNAL_DEPTH, SIGNAL_FLOW, SIGNAL_HEALTH, SIGNAL_VACUUM}
    assert {record.topic for record in records} == topics
    assert [record.value.decode() for record in records] == run(str(recording)).stdout.splitlines()
    assert all(record.topic == SIGNAL_LATEST for record in airpocket.replay(recording, signals=["latest"]))


def test_times_bound_the_records_and_not_the_books(recording: Path) -> None:
    since, until = START + 4 * SECOND, START + 6 * SECOND
    every = list(airpocket.replay(recording))
    some = list(airpocket.replay(recording, since=since, until=until))
    # The tape ends where `until` is: what lies open then is closed, as at the end of any tape.
    assert some == [record for record in every if since <= record.time < until]
    assert orjson.loads(some[0].value)["state"] == "ok"
    with pytest.raises(BadConfig, match="allowed is an until after from"):
        Player([recording], since=until, until=since)


def test_the_records_of_a_replay_can_be_recorded(recording: Path, tmp_path: Path) -> None:
    done = run(str(recording), "--to", str(tmp_path / "signals"))
    assert (done.returncode, done.stdout) == (0, "")
    values = [raw for _, raw in read([tmp_path / "signals"])]
    assert values == [record.value for record in airpocket.replay(recording)]


def test_a_digest_tells_records_apart(recording: Path) -> None:
    whole, part = Player([recording]), Player([recording], until=START + 6 * SECOND)
    for player in (whole, part):
        assert list(player)
    assert whole.digest() != part.digest()
    assert run(str(recording), "--digest").stdout.strip() == whole.digest()


def test_a_reader_that_goes_away_ends_a_replay_quietly(recording: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "airpocket", "replay", str(recording)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(60) in (0, 1)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        (None, None),
        ("1767571200000000001", 1_767_571_200_000_000_001),
        ("2026-01-05", 1_767_571_200_000_000_000),
        ("2026-01-05T00:00:00.000001", 1_767_571_200_000_001_000),
        ("2026-01-05T01:00:00+01:00", 1_767_571_200_000_000_000),
    ],
)
def test_times_are_iso_or_nanoseconds(text: str | None, ns: int | None) -> None:
    assert moment(text) == ns


def test_recordings_one_after_another_are_taken_one_after_another(recording: Path, tmp_path: Path) -> None:
    later = 20 * SECOND
    sink = TapeSink(TapeConfig(folder=tmp_path, prefix="later"))
    sink.write(
        [Record(topic=RAW, key="sim", asset="", time=time + later, value=raw) for time, raw in read([recording])]
    )
    sink.flush()
    sink.close()
    received = [batch.messages["received"][0] for batch in TapeRows([tmp_path, recording])]
    assert max(received) > START + later
    # What lingered when the first ended does not come behind the second; one window's order is by instrument.
    assert all(after > before - 5_000_000 for before, after in pairwise(received))
