"""Tick to signal, every part a process of its own (`benchmarks.latency`), beside bare hops through the same broker.

The peer is the same client's produce -> consume of records of a signal's size, with the same settings: one hop where
ours is one (record to engine), two with a bare relay between where ours are two (record to engine to desk). They take
turns on one broker. Apart from the hops rows wait for their record, which is the linger's interval of row time. On
Apache Kafka where it can be run, else on the embedded broker, which has no long poll.
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
QUANTILES: Final = (50.0, 99.0)
#: At most 1.15 times the bare hop is wanted.
GOAL: Final = round(1 / 1.15, 2)
#: What is told, its part of our way, and the peers and their parts: on a broker that does nothing else, and one hop
#: while all of our processes run, which says what of a tail is the machine's.
STAGES: Final[tuple[tuple[str, str, dict[str, str], float | None], ...]] = (
    (
        "record to signal in the engine",
        "engine",
        {"one bare hop": "hop", "one bare hop beside this load": "beside"},
        GOAL,
    ),
    ("record to signal at the desk", "desk", {"two bare hops": "chain"}, GOAL),
    ("tick to record, which waits for its window", "linger", {}, None),
    ("tick to signal at the desk", "whole", {"two bare hops": "chain"}, None),
)
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


def measured(broker: BrokerConfig, fetch_wait: int, load: str) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "benchmarks.latency", broker.bootstrap, str(fetch_wait), load, str(SECONDS)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, check=True, timeout=280)
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(1200)
def test_tick_to_signal(benchmark: Any, tmp_path: Path) -> None:
    require_tape()
    benchmark.group = "tick to signal"
    benchmark.extra_info["compared"] = True
    found: dict[str, dict[str, list[float]]] = {}
    name = ""

    def run() -> None:
        nonlocal name
        for place, load in enumerate(LOADS):
            # A broker of its own: offsets begin at 0, and no load leaves anything to the next.
            with fresh(tmp_path / str(place)) as (broker, fetch_wait, name):
                found[load] = measured(broker, fetch_wait, load)

    benchmark.pedantic(run, rounds=1)
    for load, ways in found.items():
        assert len(ways["whole"]) > 20
        for quantile in QUANTILES:
            ms = {way: float(np.percentile(values, quantile)) for way, values in ways.items()}
            end = f"at {load}, p{quantile:g} of {len(ways['whole']):,} ({name})"
            for what, way, bare, goal in STAGES:
                peers = {peer: ms[part] for peer, part in bare.items()}
                keep(Stage(stage=f"{what} {end}", unit="ms", ours=ms[way], goal=goal), peers)
