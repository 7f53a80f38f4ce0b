"""Contestants in, the stages of one comparison out: warm, check the answers, then rounds A B A B within one run.

Each round of ours is preceded by a round of every peer, so that a slow moment of the machine meets all alike. The
ratio is the median over the rounds of the ratio within a round. A slow peer may do a shorter prefix of the work; its
answer is then compared with ours for that prefix, and figures are per unit of work.
"""

import gc
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any, Final

from benchmarks.table import Stage, beside, figure, ratio_of

#: What is timed, and what makes it, outside the timer.
Run = Callable[[], Any]
Prepare = Callable[[], Run]
#: Every stage of this run.
STAGES: Final[list[Stage]] = []
#: A look at everything instead of a measurement: fewer rounds, shorter loads.
QUICK: Final = bool(os.environ.get("BENCH_QUICK"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One contestant beside ours."""

    prepare: Prepare
    #: Units of work in one round; 0: as many as ours.
    count: float = 0
    #: Ours on this peer's work, where that is another than ours.
    twin: Prepare | None = None
    note: str = ""


def compare(
    benchmark: Any,
    *,
    stage: str,
    unit: str,
    ours: Prepare,
    count: float,
    peers: Mapping[str, Peer],
    same: Callable[[Any, Any], bool] | None = lambda one, other: bool(one == other),
    goal: float | None = None,
    floor: float | None = None,
    rounds: int = 7,
) -> list[Stage]:
    """Measure one stage and keep its figures; a peer that is not installed is named as such.

    `same` compares answers; None where peers do work that has no common answer.
    """
    rounds = 2 if QUICK else rounds
    benchmark.group = stage
    benchmark.extra_info["compared"] = True
    answer = ours()()
    able: dict[str, Peer] = {}
    notes: dict[str, str] = {}
    agrees: dict[str, bool | None] = {}
    for name, peer in peers.items():
        try:
            met = peer.prepare()()
        except ImportError as error:
            notes[name] = f"{error.name or error} is not installed"
            continue
        able[name], notes[name] = peer, peer.note
        own = peer.twin()() if peer.twin is not None else answer
        agrees[name] = same(own, met) if same is not None else None
    taken: dict[str, list[float]] = {name: [] for name in able}
    mine: list[float] = []

    def turn() -> tuple[tuple[Run], dict[str, Any]]:
        for name, peer in able.items():
            taken[name].append(timed(peer.prepare()))
        return (ours(),), {}

    def run(work: Run) -> None:
        begun = perf_counter()
        work()
        mine.append(perf_counter() - begun)

    gc.collect()
    benchmark.pedantic(run, setup=turn, rounds=rounds)
    alone = Stage(
        stage=stage, unit=unit, ours=figure(median(mine), count, unit), goal=goal, floor=floor, same_answer=None
    )
    found = []
    for name, peer in peers.items():
        if name not in able:
            found.append(beside(alone, name, None, note=notes[name]))
            continue
        done = peer.count or count
        pairs = [
            (figure(one, count, unit), figure(other, done, unit)) for one, other in zip(mine, taken[name], strict=False)
        ]
        row = beside(alone, name, median(other for _, other in pairs), same=agrees[name], note=notes[name])
        found.append(with_ratio(row, [ratio_of(*pair, unit) for pair in pairs]))
    STAGES.extend(found or [alone])
    return found or [alone]


def with_ratio(stage: Stage, ratios: list[float]) -> Stage:
    """Replace the ratio of medians by the median of the rounds' ratios, where there is one."""
    return stage if stage.ratio is None else replace(stage, ratio=median(ratios))


def timed(run: Run) -> float:
    """Time one round."""
    begun = perf_counter()
    run()
    return perf_counter() - begun


def keep(stage: Stage, peers: Mapping[str, float | None] | None = None, *, same: bool | None = None) -> None:
    """Keep a stage that was not measured in rounds, beside its peers."""
    STAGES.extend([beside(stage, name, value, same=same) for name, value in (peers or {}).items()] or [stage])
