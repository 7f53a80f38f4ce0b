"""The verbs of a deployment together, each a process: what the live path published is what its tape replays to."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airpocket import stage
from airpocket.stage import Address, Child, Play

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "airpocket", *arguments]


def run(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(command(*arguments), env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a verb until the block ends or the test has told it to."""
    process = subprocess.Popen(command(*arguments), env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def told_to_end(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return err


def assert_whole(environment: dict[str, str], tapes: str, instruments: int) -> None:
    """Let `verify` check a recording; it ends with closed connections, so its books need not be known then."""
    done = subprocess.run(
        command("verify", tapes, "--json"), env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    report = json.loads(done.stdout)
    assert done.returncode == report["status"]
    assert len(report["instruments"]) == instruments
    assert (report["refused"], report["backwards"], report["corrupt"]) == ({}, 0, "")
    for each in report["instruments"]:
        assert each["gaps"] == 0
        assert 0 < each["touches_agreed"] == each["touches_compared"]


@contextmanager
def venue() -> Iterator[Address]:
    """Play twenty seconds of the simulated market as the venue would."""
    child = Child("venue", stage.play, Play(tape=None, venue=None, seed=11, speed=1.0, seconds=20))
    try:
        child.tell("begin")
        yield child.ask(60)
    finally:
        child.end(5)


def by_key(lines: str) -> dict[tuple[str, str], list[str]]:
    """Sort records by signal and instrument: between partitions Kafka has no order."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in lines.splitlines():
        value = json.loads(line)
        found[value["signal"], value.get("instrument", value["asset"])].append(line)
    return found


def test_what_was_published_live_is_what_the_tape_replays_to(tmp_path: Path) -> None:
    tapes = str(tmp_path / "tapes")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRPOCKET")}
    environment["AIRPOCKET__KAFKA__PARTITIONS"] = "4"
    with venue() as address, running(environment, "broker", "--port", "0") as broker:
        assert broker.stderr is not None
        found = re.search(r"127\.0\.0\.1:\d+", broker.stderr.readline())
        assert found is not None
        environment["AIRPOCKET__KAFKA__BOOTSTRAP"] = found[0]
        prefix = f"AIRPOCKET__INGEST__VENUES__{address.venue.upper()}__"
        environment[prefix + "SOCKET_URL"], environment[prefix + "REST_URL"] = address.socket_url, address.rest_url
        run(environment, "topics", "ensure")
        feeds = f"{address.venue}:{','.join(address.symbols)}"
        with running(environment, "engine") as engine:
            with running(environment, "ingest", feeds, "--tape-dir", tapes) as ingest:
                run(environment, "tail", "depth", "--beginning", "--count", "40")
                asked = ("--asset", "BTC", "--sell", "1e5", "--json")
                answer = run(environment, "whatif", *asked)
                told_to_end(ingest)
            # Two instruments and their two assets; health is of instruments alone.
            for name, keys in (("depth", 4), ("health", 2), ("cascade", 4), ("vacuum", 4)):
                lines = run(environment, "replay", tapes, "--signal", name)
                wanted = by_key(lines)
                assert len(wanted) == keys
                count = str(len(lines.splitlines()))
                live = run(environment, "tail", name, "--beginning", "--count", count, "--json")
                assert by_key(live) == wanted
            assert "drained" in told_to_end(engine)
        # What was asked of the running market is what the tape answers as of the same moment.
        assert json.loads(answer)["price"] is not None
        moment = str(json.loads(answer)["time"] + 1)
        assert run(environment, "whatif", tapes, "--at", moment, *asked) == answer
        told_to_end(broker)
    assert_whole(environment, tapes, 2)


def test_record_needs_no_broker(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRPOCKET")}
    with venue() as address:
        prefix = f"AIRPOCKET__INGEST__VENUES__{address.venue.upper()}__"
        environment[prefix + "SOCKET_URL"], environment[prefix + "REST_URL"] = address.socket_url, address.rest_url
        feeds = f"{address.venue}:{','.join(address.symbols)}"
        began = time.monotonic()
        run(environment, "record", feeds, "--tape-dir", str(tmp_path), "--seconds", "3")
        assert time.monotonic() - began >= 3
    assert len(list(tmp_path.iterdir())) == 1
    assert_whole(environment, str(tmp_path), 2)
