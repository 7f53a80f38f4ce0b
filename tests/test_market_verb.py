"""The verb `simulate`: its files, what replay makes of them, its refusals, and the emulator that plays them."""

import gzip
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from airpocket.simulating import Wanted, write
from engine.errors import BadConfig
from engine.kernel import COMPILED

ROOT = Path(__file__).parents[1]
SECONDS = 4 if COMPILED else 1


def test_a_tape_and_its_truth_are_written_whole_and_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(Wanted(scenario="calm", seed=2, folder=str(tmp_path), seconds=SECONDS), json=True)
    said = json.loads(capsys.readouterr().out)
    tape, truth = tmp_path / "calm-2.tape.gz", tmp_path / "calm-2.truth.jsonl"
    assert sorted(tmp_path.iterdir()) == [tape, truth]
    assert (said["tape"], said["truth"]) == (str(tape), str(truth))
    first = tape.read_bytes()
    assert len(gzip.decompress(first).splitlines()) == said["lines"]
    truths = [json.loads(line) for line in truth.read_text().splitlines()]
    assert [each["kind"] for each in truths if each["kind"] == "state"] == ["state"] * SECONDS
    assert truths[-1]["kind"] == "end"
    write(Wanted(scenario="calm", seed=2, folder=str(tmp_path), seconds=SECONDS), json=True)
    assert tape.read_bytes() == first
    command = [sys.executable, "-m", "airpocket", "replay", str(tape), "--signal", "health", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert records
    assert "gaps 0, frames refused 0" in done.stderr


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="scenario is 'storm', allowed are calm"):
        write(Wanted(scenario="storm", seed=1, folder=str(tmp_path)), json=False)
    with pytest.raises(BadConfig, match="cannot be made: File exists; allowed are folders"):
        write(Wanted(scenario="calm", seed=1, folder=__file__), json=False)
    with pytest.raises(BadConfig, match="seed is 4294967296"):
        write(Wanted(scenario="calm", seed=1 << 32, folder=str(tmp_path), seconds=1), json=False)
    assert not list(tmp_path.iterdir())


def test_an_emulator_says_where_it_is_and_ends_when_told_to(tmp_path: Path) -> None:
    options = ["--to", "emulator", "--folder", str(tmp_path), "--seconds", str(SECONDS), "--json"]
    command = [sys.executable, "-m", "airpocket", "simulate", "calm", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        text = ""
        for line in child.stdout:
            text += line
            if line.startswith("}"):
                break
        said = json.loads(text)
        assert said["socket_url"].startswith("ws://127.0.0.1:")
        assert said["rest_url"].startswith("http://127.0.0.1:")
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait(20) == 0


def test_each_venue_has_a_tape_and_one_truth_names_the_instruments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Wanted(scenario="february-weekend", seed=2, folder=str(tmp_path), seconds=SECONDS), json=True)
    said = json.loads(capsys.readouterr().out)
    names = {venue: f"february-weekend-2.{venue}.tape.gz" for venue in ("binance_usdm", "binance_spot")}
    assert {venue: Path(tape).name for venue, tape in said["tapes"].items()} == names
    assert len(list(tmp_path.iterdir())) == 3
    truths = [json.loads(line) for line in Path(said["truth"]).read_text().splitlines()]
    wanted = {"binance_usdm:BTCUSDT", "binance_usdm:PAXGUSDT", "binance_spot:BTCUSDT"}
    for kind, count in (("state", SECONDS), ("end", 1)):
        told = Counter(each["instrument"] for each in truths if each["kind"] == kind)
        assert told == dict.fromkeys(wanted, count)
    for venue, tape in said["tapes"].items():
        assert len(gzip.decompress(Path(tape).read_bytes()).splitlines()) == said["lines"][venue]
        command = [sys.executable, "-m", "airpocket", "replay", tape, "--signal", "health", "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        heard = {
            json.loads(line)["instrument"] for line in done.stdout.splitlines() if "instrument" in json.loads(line)
        }
        assert heard == {each for each in wanted if each.startswith(venue)}
        assert "gaps 0, frames refused 0" in done.stderr
    # All of them at once, and the lake that they become, say the same.
    tapes, lake = [*said["tapes"].values()], str(tmp_path / "lake")
    digests = []
    for arguments in (["replay", *tapes, "--digest"], ["convert", *tapes, "--to", lake], ["replay", lake, "--digest"]):
        command = [sys.executable, "-m", "airpocket", *arguments]
        digests.append(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert len(digests[0]) > 60
    assert digests[0] == digests[2]


def test_each_venue_is_served_on_a_port_of_its_own(tmp_path: Path) -> None:
    options = ["--to", "emulator", "--folder", str(tmp_path), "--seconds", "1", "--json"]
    command = [sys.executable, "-m", "airpocket", "simulate", "february-weekend", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        text = ""
        for line in child.stdout:
            text += line
            if line.startswith("}"):
                break
        venues = json.loads(text)["venues"]
        assert list(venues) == ["binance_usdm", "binance_spot"]
        assert len({urls["socket_url"] for urls in venues.values()}) == 2
        with urllib.request.urlopen(venues["binance_spot"]["rest_url"] + "/api/v3/exchangeInfo") as answer:
            assert [each["symbol"] for each in json.load(answer)["symbols"]] == ["BTCUSDT"]
        with urllib.request.urlopen(venues["binance_usdm"]["rest_url"] + "/fapi/v1/exchangeInfo") as answer:
            assert [each["symbol"] for each in json.load(answer)["symbols"]] == ["BTCUSDT", "PAXGUSDT"]
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait(20) == 0
