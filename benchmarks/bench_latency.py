"""Tick to signal, every part a process of its own (`benchmarks.latency`), beside one bare hop through the same broker.

The peer is the same client's produce -> consume of records of the same size, with the same settings: one hop. Ours has
two of them, the feed's 5 ms of rows per record, and the work. On Apache Kafka where it can be run, else on the embedded
broker, which has no long poll.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from airpocket import admin
from airpocket.apache import ApacheKafka, missing
from airpocket.broker import embedded
from benchmarks.compare import QUICK, keep
from benchmarks.latency import LOADS
from benchmarks.table import Stage
from benchmarks.workload import require_tape
from engine.broker import BrokerConfig
from engine.topics import TOPICS

SECONDS: Final = 5 if QUICK else 20
QUANTILES: Final = (50.0, 99.0, 99.9)
#: At most 1.15 times the bare hop is wanted.
GOAL: Final = round(1 / 1.15, 2)
#: Ms that a broker may hold a fetch; the embedded one sleeps half of it.
LONG_POLL: Final = 500
EMBEDDED: Final = 5


@contextmanager
def fresh(folder: Path) -> Iterator[tuple[BrokerConfig, int, str]]:
    """Run a broker with empty topics; say how long it may hold a fetch, and its name."""
    topics = [replace(topic, retention=-1) for topic in TOPICS]
    if missing():
        with embedded() as running:
            admin.ensure(running, topics)
            yield running, EMBEDDED, "embedded broker"
        return
    node = ApacheKafka(folder)
    node.start()
    try:
        admin.ensure(replace(node.broker, partitions=4), topics)
        yield node.broker, LONG_POLL, "Apache Kafka"
    finally:
        node.kill()


def measured(broker: BrokerConfig, fetch_wait: int, load: str) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.latency", broker.bootstrap, str(fetch_wait), load, str(SECONDS)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, check=True, timeout=280)
    found: list[float] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(900)
def test_tick_to_signal(benchmark: Any, tmp_path: Path) -> None:
    require_tape()
    benchmark.group = "tick to signal"
    benchmark.extra_info["compared"] = True
    found: dict[str, list[float]] = {}
    name = ""

    def run() -> None:
        nonlocal name
        for load in ("hop", *LOADS):
            # A broker of its own: offsets begin at 0, and no load leaves anything to the next.
            with fresh(tmp_path / load) as (broker, fetch_wait, name):
                found[load] = measured(broker, fetch_wait, load)

    benchmark.pedantic(run, rounds=1)
    for load in LOADS:
        assert len(found[load]) > 20
        for quantile in QUANTILES:
            own = float(np.percentile(found[load], quantile))
            name_of = f"tick to signal at {load}, p{quantile:g} of {len(found[load]):,} ({name})"
            stage = Stage(stage=name_of, unit="ms", ours=own, goal=GOAL if quantile < 99.9 else None)
            keep(stage, {"one bare hop": float(np.percentile(found["hop"], quantile))})
