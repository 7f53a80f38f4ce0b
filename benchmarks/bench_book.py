"""The order book beside the books of others, on the workload of `benchmarks.workload`: apply, best prices, depth.

Engine against engine are the first two stages: applying, and reading best bid and ask after every update. In the bands'
stages a peer without incremental depth rescans the levels of a band, which is most of its time.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from benchmarks.compare import Peer, Prepare, compare
from benchmarks.hftbacktest_book import hftbacktest_book
from benchmarks.ours import called, driven
from benchmarks.rivals import nautilus_book, order_book_book, sortedcontainers_book
from benchmarks.workload import Query, Work, work
from engine.kernel import kernel
from engine.schema import Rows

NAMES: Final[dict[Query, str]] = {
    "nothing": "book: apply, engine against engine",
    "best": "book: the same, best bid and ask after every update",
    "event": "book: apply, six depth bands after every update (peers rescan)",
    "message": "book: apply, six depth bands after every message (peers rescan)",
}
#: Ratios that are wanted.
GOALS: Final[dict[Query, float]] = {"event": 100}
#: Level updates of one round of each peer; 0: the whole tape.
ROUNDS: Final[dict[Query, tuple[int, int, int, int, int]]] = {
    # hftbacktest's vector and map, nautilus, sortedcontainers, order_book
    "nothing": (0, 0, 100_000, 100_000, 100_000),
    "best": (0, 0, 50_000, 50_000, 1_500),
    "event": (60_000, 2_000, 4_000, 1_500, 1_500),
    "message": (0, 30_000, 50_000, 40_000, 10_000),
}


@kernel
def store(levels: Rows, bids: Any, cells: Any) -> int:
    """Put each size at its tick: what any flat book must do at least."""
    for i in range(len(levels)):
        cells[bids[i], levels[i]["price"] & 0xFFFFF] = levels[i]["size"]
    return int(cells[0, 0])


def floor() -> float:
    """Measure that, ns a level."""
    from time import perf_counter

    whole, cells = work(), np.zeros((2, 1 << 20), np.int64)
    taken = []
    for _ in range(6):
        begun = perf_counter()
        store(whole.levels, whole.bids, cells)
        taken.append(perf_counter() - begun)
    return min(taken) / whole.count * 1e9


def peers(query: Query) -> dict[str, Peer]:
    whole = work()
    makers: dict[str, Callable[[Work], Prepare]] = {
        "hftbacktest": lambda part: hftbacktest_book(part, query),
        "hftbacktest HashMap": lambda part: hftbacktest_book(part, query, vector=False),
        "nautilus_trader": lambda part: nautilus_book(part, query),
        "sortedcontainers": lambda part: sortedcontainers_book(part, query),
        "order_book": lambda part: order_book_book(part, query),
    }
    found = {}
    for (name, make), levels in zip(makers.items(), ROUNDS[query], strict=True):
        part: Work = whole.head(levels) if levels else whole
        found[name] = Peer(prepare=make(part), count=part.count, twin=driven(part, query))
    return found


@pytest.mark.parametrize("query", list(NAMES))
def test_book(benchmark: Any, query: Query) -> None:
    whole = work()
    compare(
        benchmark,
        stage=NAMES[query],
        unit="ns/level",
        ours=driven(whole, query),
        count=whole.count,
        peers=peers(query),
        goal=GOALS.get(query),
        floor=floor(),
    )


def test_book_from_python(benchmark: Any) -> None:
    """`Book.update` and `Book.view`, which also gives the levels inside the widest band, called once a message."""
    whole = work()
    assert called(whole)()() == driven(whole, "message")()()
    part = whole.head(40_000)
    compare(
        benchmark,
        stage="book: from Python, update and view of every message",
        unit="us/message",
        ours=called(whole),
        count=len(whole.starts) - 1,
        peers={
            "sortedcontainers, bands only": Peer(
                prepare=sortedcontainers_book(part, "message"),
                count=len(part.starts) - 1,
                twin=called(part),
            )
        },
    )
