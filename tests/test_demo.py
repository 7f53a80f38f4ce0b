"""The demo as a process: signals come, it ends when told to, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: The first start on a machine compiles.
PATIENCE = 240

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "airpocket", "demo", "--json", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_of(session: int) -> list[str]:
    """List the processes of a session that are still alive."""
    alive = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            alive.append(folder.name)
    return alive


def gone(session: int, patience: float = 10.0) -> bool:
    deadline = time.monotonic() + patience
    while left_of(session) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not left_of(session)


def test_the_event_becomes_signals_of_every_kind_and_nothing_stays_behind() -> None:
    demo = start("--seconds", "6")
    out, err = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0, err
    values = [json.loads(line) for line in out.splitlines()]
    assert {value["signal"] for value in values} == {"depth", "vacuum", "cascade", "health"}
    assert {value.get("symbol", "BTCUSDT") for value in values} == {"BTCUSDT"}
    cascade = [value for value in values if value["signal"] == "cascade" and value["state"] == "ok"]
    # The large holders are known, and nothing else.
    assert {value["map_source"] for value in cascade} == {"measured"}
    assert all(value["fall_critical_quote"][value["drops"].index(100)] > 10_000_000 for value in cascade)
    assert "1 of 1 books known, 0 gaps" in err.splitlines()[-1]
    assert gone(demo.pid)


def test_two_markets_become_signals_of_two_assets() -> None:
    demo = start("--scenario", "pair", "--seconds", "4")
    out, err = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0, err
    values = [json.loads(line) for line in out.splitlines()]
    known = [value for value in values if value["signal"] == "depth" and value["state"] == "ok"]
    books = [value for value in known if "instrument" in value]
    assert {value["symbol"] for value in books} == {"BTCUSDT", "ETHUSDT"}
    assert all(value["bid"] < value["ask"] for value in books)
    assert {value["asset"] for value in known if "instrument" not in value} == {"BTC", "ETH"}
    closing = err.splitlines()[-1]
    assert "2 of 2 books known, 0 gaps" in closing
    assert "Next: airpocket record" in closing
    assert gone(demo.pid)


def test_a_market_that_is_none_is_refused() -> None:
    demo = start("--scenario", "storm")
    out, err = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, out) == (3, "")
    assert "scenario is 'storm', allowed are calm" in err
    assert gone(demo.pid)


@pytest.mark.tape
def test_a_recorded_tape_can_be_played_faster(binance_tapes: Path) -> None:
    tape = str(binance_tapes / "usdm_ethusdt_20240808.gz")
    demo = start("--tape", tape, "--venue", "binance_usdm", "--speed", "4", "--seconds", "3")
    out, err = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 0, err
    assert "1 of 1 books known, 0 gaps" in err.splitlines()[-1]
    assert {json.loads(line).get("symbol", "ETHUSDT") for line in out.splitlines()} == {"ETHUSDT"}
    assert gone(demo.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number: int) -> None:
    demo = start("--scenario", "pair", "--seconds", "0")
    assert demo.stdout is not None
    demo.stdout.readline()
    os.kill(demo.pid, number)
    _, err = demo.communicate(timeout=30)
    assert demo.returncode == 0, err
    assert "Traceback" not in err
    assert gone(demo.pid)


def test_killing_it_takes_its_children_with_it() -> None:
    demo = start("--scenario", "pair", "--seconds", "0")
    assert demo.stdout is not None
    demo.stdout.readline()
    assert len(left_of(demo.pid)) >= 5
    demo.kill()
    demo.communicate(timeout=30)
    assert gone(demo.pid)
