"""Resident memory of books and pipelines, each kind in a process of its own; prints JSON.

A peer's books share the numbers that they are told, which is to its advantage.

python -m benchmarks.memory ours 100              pipelines of so many instruments, fed the tape's first minute
python -m benchmarks.memory sortedcontainers 100  so many books of a peer, fed the same levels
python -m benchmarks.memory hour 3600             one pipeline, fed the tape again and again: MiB after each time
"""

import gc
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from benchmarks.rivals import nautilus_book, order_book_book, sortedcontainers_book
from benchmarks.workload import batches, work
from engine.config import EngineConfig
from engine.pipeline import Pipeline, warm
from engine.schema import Batch
from ingest.linger import Linger

#: Lines that each of many instruments is fed; level updates of the same stretch.
LINES: Final = 2_000
LEVELS: Final = 9_000
SECOND: Final = 1_000_000_000
PARTS: Final = ("messages", "levels", "trades", "liquidations", "references", "instruments")
PEERS: Final[dict[str, Callable[..., Any]]] = {
    "sortedcontainers": sortedcontainers_book,
    "nautilus_trader": nautilus_book,
    "order_book": order_book_book,
}


def resident() -> float:
    """Read this process's resident memory, MiB."""
    gc.collect()
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * 4096 / 2**20


def renamed(batch: Batch, name: str, later: int = 0) -> Batch:
    """Give a batch to another instrument, its own asset, at a later time."""
    parts = {part: getattr(batch, part) for part in PARTS}
    parts["messages"] = batch.messages.copy()
    for clock in ("received", "monotonic", "exchanged", "published"):
        parts["messages"][clock] += later * (parts["messages"][clock] > 0)
    return Batch(instrument=f"venue:{name}", asset=name, **parts)


def lingered(lines: int) -> list[Batch]:
    """Give the tape as the batches of market.v1."""
    linger = Linger()
    return [*linger.add(batches(lines)), *linger.flush()]


def ours(count: int) -> float:
    """Feed so many pipelines; say what they added, MiB."""
    config = EngineConfig()
    warm(config)
    rows = lingered(LINES)
    first = Pipeline("FIRST", config)
    for batch in rows:
        first.step(renamed(batch, "FIRST"))
    before = resident()
    pipelines = [Pipeline(f"A{i}", config) for i in range(count)]
    for pipeline in pipelines:
        for batch in rows:
            pipeline.step(renamed(batch, pipeline.asset))
    return resident() - before


def theirs(peer: str, count: int) -> float:
    """Feed so many books; say what they added, MiB."""
    prepare = PEERS[peer](work().head(LEVELS), "nothing")
    kept: list[Any] = [prepare()]
    kept[0]()
    before = resident()
    for _ in range(count):
        kept.append(prepare())
        kept[-1]()
    return resident() - before


def hour(seconds: int) -> list[float]:
    """Feed one pipeline the tape again and again, as one long stream; give its process's MiB after each time."""
    config = EngineConfig()
    warm(config)
    rows = lingered(0)
    clocks = np.concatenate([batch.messages["received"] for batch in rows])
    length = int(clocks.max() - clocks.min()) + SECOND
    pipeline = Pipeline("BTC", config)
    found = [resident()]
    for time in range(-(-seconds * SECOND // length)):
        for batch in rows:
            pipeline.step(renamed(batch, "BTC", time * length))
        found.append(resident())
    return found


def main(arguments: Sequence[str]) -> None:
    """Measure one kind."""
    what, number = arguments[0], int(arguments[1])
    found: Any = hour(number) if what == "hour" else ours(number) if what == "ours" else theirs(what, number)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
