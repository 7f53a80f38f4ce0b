"""Memory per hundred instruments, and its growth over an hour of replay (`benchmarks.memory`, each in its own process).

A peer's hundred are books alone; ours are whole pipelines: book, flow, liquidation map, baseline of 168 hours, states.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import QUICK, keep
from benchmarks.memory import PEERS
from benchmarks.table import Stage
from benchmarks.workload import require_tape

INSTRUMENTS = 100
HOUR = 700 if QUICK else 3_600


def measured(what: str, number: int) -> Any:
    command = [sys.executable, "-m", "benchmarks.memory", what, str(number)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def alone(benchmark: Any, group: str, work: Any) -> Any:
    """Run once, under pytest-benchmark's eyes."""
    require_tape()
    benchmark.group = group
    benchmark.extra_info["compared"] = True
    return benchmark.pedantic(work, rounds=1)


def test_a_hundred_instruments(benchmark: Any) -> None:
    found = alone(benchmark, "memory", lambda: measured("ours", INSTRUMENTS))
    peers: dict[str, float | None] = {}
    for peer in PEERS:
        try:
            peers[f"{peer}, books alone"] = measured(peer, INSTRUMENTS)
        except subprocess.CalledProcessError:
            peers[f"{peer} (not installed)"] = None
    keep(Stage(stage="memory of 100 instruments, every signal", unit="MiB", ours=found), peers)


@pytest.mark.timeout(900)
def test_an_hour_of_replay(benchmark: Any) -> None:
    found = alone(benchmark, "memory", lambda: measured("hour", HOUR))
    # The first time round fills what is filled once: rings, the window, the map.
    note = f"{found[1]:.0f} MiB after the tape's first time, {found[-1]:.0f} after {len(found) - 1}"
    keep(Stage(stage=f"memory: growth over {HOUR:,} s of replay", unit="MiB", ours=found[-1] - found[1], note=note))
