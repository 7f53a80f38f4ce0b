"""How fast a market with known truth passes on one core: the market alone, and with the frames that tell it.

    pytest benchmarks/bench_simulator.py --benchmark-only

A round is a stretch of market time, ten minutes where nothing happens, the cascade's minute where it does; figures are
seconds for a day of such a market. The peer is real time: the ratio says how many times faster ours is.
"""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, Final

import pytest

from benchmarks.compare import QUICK, keep
from benchmarks.table import Stage
from engine.schema import Kind
from ingest.session import open_session
from ingest.simulator.advance import run
from ingest.simulator.broadcast import Broadcast
from ingest.simulator.frames import START
from ingest.simulator.scenarios import INSTRUMENT, scenario, stage
from ingest.simulator.world import SECOND

DAY: Final = 86_400
#: Scenario, the second at which a round begins, its length, s, and how many times real time are wanted.
STRETCHES: Final = (
    pytest.param("calm", 5, 120 if QUICK else 600, 100.0, id="calm"),
    pytest.param("october-10", 160, 60, None, id="october-10"),
)
ROUNDS: Final = 2 if QUICK else 5


@pytest.mark.parametrize(("name", "first", "seconds", "goal"), STRETCHES)
def test_market_alone(benchmark: Any, name: str, first: int, seconds: int, goal: float | None) -> None:
    origin = stage(scenario(name), 1, START)
    run(origin, START + first * SECOND)

    def once() -> Any:
        world = origin.clone()
        return run(world, START + (first + seconds) * SECOND)

    events = measure(benchmark, f"simulator: a day of {name}, the market alone", seconds, goal, lambda: once)
    # Minutes pass, not only a call.
    assert events["time"][-1] - events["time"][0] > 0.99 * seconds * SECOND


@pytest.mark.parametrize(("name", "first", "seconds", "goal"), STRETCHES)
def test_market_and_frames(benchmark: Any, name: str, first: int, seconds: int, goal: float | None) -> None:
    opening: list[tuple[int, bytes]] = []

    def prepare() -> Callable[[], list[tuple[int, bytes]]]:
        broadcast = Broadcast(scenario(name), 1, START)
        opening[:] = [line for _ in range(first) for line in broadcast.second()[0]]
        return lambda: [line for _ in range(seconds) for line in broadcast.second()[0]]

    lines = measure(benchmark, f"simulator: a day of {name}, with its frames", seconds, goal, prepare)
    # What was timed is a tape that a session takes whole.
    session = open_session(opening, None)
    kinds = [
        kind
        for line in (*opening, *lines)
        for batch in session.receive(*line)
        for kind in batch.messages["kind"].tolist()
    ]
    assert session.synced[INSTRUMENT.symbol]
    assert kinds.count(Kind.GAP) == 0
    assert kinds.count(Kind.DELTA) > 9 * seconds


def measure(
    benchmark: Any, stage: str, seconds: int, goal: float | None, prepare: Callable[[], Callable[[], Any]]
) -> Any:
    """Measure rounds of so many seconds of market time; keep what a day takes, return what the last round gave."""
    taken: list[float] = []
    answers: list[Any] = []

    def once(work: Callable[[], Any]) -> None:
        begun = perf_counter()
        answer = work()
        taken.append(perf_counter() - begun)
        answers[:] = [answer]

    benchmark.group = stage
    benchmark.extra_info["compared"] = True
    benchmark.pedantic(once, setup=lambda: ((prepare(),), {}), rounds=ROUNDS)
    if benchmark.stats is not None:
        day = median(taken) / seconds * DAY
        benchmark.extra_info["times_real_time"] = round(DAY / day)
        keep(Stage(stage=stage, unit="s/day", ours=day, goal=goal), {"real time": float(DAY)})
    return answers[0]
