"""Our book on the workload: the engine's kernels, called from a kernel as hftbacktest's are from a strategy."""

from collections.abc import Callable
from typing import Final

import numpy as np

from benchmarks.workload import BANDS, INSTRUMENT, WEIGHTS, Query, Work
from engine.book import Book
from engine.kernel import kernel
from engine.ladder import Ints, apply, place_edges
from engine.schema import Rows

FACTORS: Final = np.array(WEIGHTS, np.int64)


@kernel
def by_update(
    memory: Rows,
    bands: Ints,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    levels: Rows,
    bids: Ints,
    factors: Ints,
    banded: bool,
) -> int:
    """Apply one level update at a time; read best prices or bands after each."""
    total = 0
    for i in range(len(levels)):
        apply(memory, bands, sizes, occupied, far, levels[i : i + 1], bids[i])
        if banded:
            place_edges(memory, bands, sizes, occupied, far)
            for b in range(bands.shape[1]):
                total += factors[b] * (bands[3, b] + bands[4, b])
        else:
            total += memory[0]["bid"] + memory[0]["ask"]
    return total


@kernel
def by_message(
    memory: Rows,
    bands: Ints,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    levels: Rows,
    bids: Ints,
    starts: Ints,
    factors: Ints,
    banded: bool,
) -> int:
    """Apply one message at a time; read bands after each, or best prices at the end."""
    total = 0
    for m in range(len(bids)):
        apply(memory, bands, sizes, occupied, far, levels[starts[m] : starts[m + 1]], bids[m])
        if banded:
            place_edges(memory, bands, sizes, occupied, far)
            for b in range(bands.shape[1]):
                total += factors[b] * (bands[3, b] + bands[4, b])
    return total if banded else memory[0]["bid"] + memory[0]["ask"]


def opened(work: Work) -> Book:
    """Give a book with the snapshot in it."""
    book = Book(INSTRUMENT, BANDS)
    book.update(work.snapshot, work.snapshot_bids, replace=True)
    book.view()
    return book


def sided(work: Work) -> tuple[Rows, Ints]:
    """Put the bids of each message first, as the feed's rows have them; give the rows and each message's bids."""
    place = np.repeat(np.arange(len(work.starts) - 1), np.diff(work.starts))
    order = np.lexsort((1 - work.bids, place))
    return work.levels[order].copy(), np.add.reduceat(work.bids.astype(np.int64), work.starts[:-1])


def driven(work: Work, query: Query) -> Callable[[], Callable[[], int]]:
    """Prepare rounds of the kernels above."""
    levels, counts = sided(work)
    flags = work.bids.astype(np.int64)

    def prepare() -> Callable[[], int]:
        book = opened(work)
        memory, sizes, occupied, far = book.ladder()
        # As much room beside the window as `Book.update` would have made.
        room = np.zeros((2, 2, far.shape[2] + 65_536), np.int64)
        room[:, :, : far.shape[2]] = far
        arrays = (memory, book.bands, sizes, occupied, room)
        if query in ("best", "event"):
            return lambda: int(by_update(*arrays, work.levels, flags, FACTORS, query == "event"))
        return lambda: int(by_message(*arrays, levels, counts, work.starts, FACTORS, query == "message"))

    return prepare


def called(work: Work) -> Callable[[], Callable[[], int]]:
    """Prepare rounds of `Book` called from Python, one update and one view a message."""
    levels, counts = sided(work)
    bounds = work.starts.tolist()
    parts = [(levels[i:j].copy(), n) for i, j, n in zip(bounds, bounds[1:], counts.tolist(), strict=False)]

    def prepare() -> Callable[[], int]:
        book = opened(work)

        def run() -> int:
            total = 0
            for part, bids in parts:
                book.update(part, bids, replace=False)
                row = book.view().row[0]
                total += int(FACTORS @ (row["bid_depth"] + row["ask_depth"]))
            return total

        return run

    return prepare
