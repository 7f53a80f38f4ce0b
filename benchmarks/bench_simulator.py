"""How fast a market with known truth passes: market alone, and with its frames; the unit is a second of market time.

    pytest benchmarks/bench_simulator.py

`extra_info` says how many times real time that is, on one core.
"""

from typing import Any

import pytest

from ingest.simulator.advance import run
from ingest.simulator.broadcast import Broadcast
from ingest.simulator.frames import START
from ingest.simulator.scenarios import scenario, stage
from ingest.simulator.world import SECOND

SECONDS = 60


@pytest.mark.parametrize("name", ["calm", "october-10"])
def test_market_60_seconds(benchmark: Any, name: str) -> None:
    origin = stage(scenario(name), 1)
    # The cascade, where there is one.
    run(origin, START + 115 * SECOND)
    until = START + (115 + SECONDS) * SECOND

    def once() -> int:
        world = origin.clone()
        run(world, until)
        return int(world.state[0]["update"])

    updates = benchmark(once)
    assert updates > int(origin.state[0]["update"])
    _say(benchmark)


@pytest.mark.parametrize("name", ["calm", "october-10"])
def test_market_and_frames_60_seconds(benchmark: Any, name: str) -> None:
    def prepare() -> tuple[tuple[Broadcast], dict[str, Any]]:
        broadcast = Broadcast(scenario(name), 1)
        for _ in range(115):
            broadcast.second()
        return (broadcast,), {}

    def once(broadcast: Broadcast) -> int:
        return sum(len(broadcast.second()[0]) for _ in range(SECONDS))

    lines = benchmark.pedantic(once, setup=prepare, rounds=3)
    assert lines > 1_000
    _say(benchmark)


def _say(benchmark: Any) -> None:
    if benchmark.stats is not None:
        benchmark.extra_info["times_real_time"] = round(SECONDS / benchmark.stats.stats.median)
