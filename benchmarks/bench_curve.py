"""What a level update costs as instruments or levels grow: a curve, and its slope on logarithmic scales.

A slope of 0 means that the cost does not grow, 1 that it grows in proportion. Instruments take turns by message, so
that each one's book has left the caches when its turn comes. A book's depth is spread over consecutive ticks; messages
of 68 levels fall anywhere within it, and depth within 10, 50 and 100 bps is read after each.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import pytest

from benchmarks.compare import QUICK, STAGES, Peer, compare
from benchmarks.hftbacktest_book import hftbacktest_book
from benchmarks.ours import driven, opened, sided
from benchmarks.rivals import sortedcontainers_book
from benchmarks.table import Stage
from benchmarks.workload import Work, work
from engine.schema import LEVEL

INSTRUMENTS: Final = (1, 10, 100, 1_000)
LEVELS: Final = (50, 500, 5_000, 50_000)
#: Level updates of a round.
UPDATES: Final = 100_000
MESSAGE: Final = 68
MIDDLE: Final = 618_000


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Fit log(cost) = a + slope x log(size)."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def keep_slope(name: str, sizes: Sequence[int], curves: dict[str, list[float]]) -> None:
    """Keep the slope of ours beside those of the peers."""
    ours, *others = [(peer, slope(sizes, costs)) for peer, costs in curves.items() if len(costs) == len(sizes)]
    bare = Stage(stage=name, unit="slope", ours=ours[1])
    for peer, value in others:
        STAGES.append(Stage(stage=name, unit="slope", ours=ours[1], peer=peer, peer_value=value))
    if not others:
        STAGES.append(bare)


def many(count: int) -> tuple[Callable[[], Callable[[], int]], int]:
    """Let so many books take turns; give the rounds, and their level updates."""
    whole = work()
    messages = max(1, int(np.searchsorted(whole.starts, UPDATES / count, side="right")) - 1)
    part = whole.first(messages)
    levels, counts = sided(part)
    bounds = part.starts.tolist()
    parts = [(levels[i:j].copy(), n) for i, j, n in zip(bounds, bounds[1:], counts.tolist(), strict=False)]
    books = [opened(part) for _ in range(count)]

    def run() -> int:
        for rows, bids in parts:
            for book in books:
                book.update(rows, bids, replace=False)
        return sum(sum(book.best[::2]) for book in books)

    return lambda: run, part.count * count


def many_sorted(count: int) -> tuple[Callable[[], Callable[[], int]], int]:
    """The same with sorted dictionaries, an eighth of the turns at most."""
    from benchmarks.rivals import SortedBook

    whole = work()
    messages = max(1, int(np.searchsorted(whole.starts, UPDATES / count, side="right")) - 1)
    part = whole.first(messages)
    opening, found = part.opening(), list(part.messages())
    books = [SortedBook() for _ in range(count)]
    for book in books:
        book.update(opening)

    def run() -> int:
        for rows in found:
            for book in books:
                book.update(rows)
        return sum(sum(book.best()) for book in books)

    return lambda: run, part.count * count


@pytest.mark.parametrize("count", INSTRUMENTS)
def test_instruments(benchmark: Any, count: int) -> None:
    ours, updates = many(count)
    theirs, others = many_sorted(count)
    stages = compare(
        benchmark,
        stage=f"cost against instruments: {count:,}",
        unit="ns/level",
        ours=ours,
        count=updates,
        peers={"sortedcontainers": Peer(prepare=theirs, count=others)},
        rounds=3,
    )
    note("instruments", stages)
    if count == INSTRUMENTS[-1]:
        keep_slope("cost against instruments: slope", INSTRUMENTS, CURVES["instruments"])


#: Curve -> who -> cost at each point so far.
CURVES: Final[dict[str, dict[str, list[float]]]] = {}


def note(curve: str, stages: Sequence[Stage]) -> None:
    """Add a point to every contestant's curve."""
    found = CURVES.setdefault(curve, {})
    found.setdefault("ours", []).append(stages[0].ours)
    for stage in stages:
        if stage.peer_value is not None:
            found.setdefault(stage.peer, []).append(stage.peer_value)


@cache
def deep(depth: int) -> Work:
    """Make a book so many levels deep, and messages that fall anywhere within it but on the touch."""
    chance = np.random.default_rng(depth)
    side = depth // 2
    snapshot = np.zeros(2 * side, LEVEL)
    snapshot["price"] = np.concatenate((MIDDLE - np.arange(side), MIDDLE + 1 + np.arange(side)))
    snapshot["size"] = chance.integers(1, 1_000, 2 * side)
    updates = UPDATES // MESSAGE * MESSAGE
    levels, bids = np.zeros(updates, LEVEL), chance.integers(0, 2, updates).astype(np.uint8)
    away = chance.integers(1, side, updates)
    levels["price"] = np.where(bids, MIDDLE - away, MIDDLE + 1 + away)
    levels["size"] = chance.integers(0, 1_000, updates) * (chance.random(updates) > 0.2)
    starts = np.arange(0, updates + 1, MESSAGE)
    return Work(
        snapshot=snapshot, snapshot_bids=side, levels=levels, bids=bids, starts=starts, lasts=np.arange(len(starts) - 1)
    )


@pytest.mark.parametrize("depth", LEVELS)
def test_levels(benchmark: Any, depth: int) -> None:
    whole = deep(depth)
    slower = whole.head(3_000 if QUICK else 10_000)
    stages = compare(
        benchmark,
        stage=f"cost against book depth: {depth:,} levels",
        unit="ns/level",
        ours=driven(whole, "message"),
        count=whole.count,
        peers={
            "hftbacktest": Peer(prepare=hftbacktest_book(whole, "message")),
            "sortedcontainers": Peer(
                prepare=sortedcontainers_book(slower, "message"), count=slower.count, twin=driven(slower, "message")
            ),
        },
        rounds=5,
    )
    note("depth", stages)
    if depth == LEVELS[-1]:
        keep_slope("cost against book depth: slope", LEVELS, CURVES["depth"])
