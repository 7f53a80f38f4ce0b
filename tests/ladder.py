"""A plain dict for a book, and the recorded tapes' lines: what the venue tests share."""

import gzip
from collections.abc import Iterator
from pathlib import Path

from engine.schema import LEVEL, Batch, Kind, Rows

Line = tuple[int, bytes]


def read_lines(path: Path) -> list[Line]:
    """Read a tape of the plain gzip kind."""
    with gzip.open(path) as file:
        pairs = (line.rstrip(b"\n").split(b" ", 1) for line in file)
        return [(int(received), raw) for received, raw in pairs]


def messages_of(batches: list[Batch]) -> Iterator[tuple[Batch, Rows]]:
    """Yield every message with the batch that it came in; a session gives one message a batch."""
    for batch in batches:
        assert len(batch.messages) == 1
        yield batch, batch.messages[0]


class Ladder:
    """One instrument's book, as the rows say it: the slow obvious way."""

    def __init__(self) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.last = -1
        #: Whether the rows say that the book is whole.
        self.known = False

    def apply(self, batch: Batch) -> None:
        """Apply a batch of one message."""
        message = batch.messages[0]
        kind = message["kind"]
        if kind in (Kind.GAP, Kind.RESYNC):
            self.known = False
        elif kind == Kind.SNAPSHOT:
            self.bids.clear()
            self.asks.clear()
            self.known = True
        if kind in (Kind.SNAPSHOT, Kind.DELTA):
            assert self.known, "a diff of a book that is not known"
            self.last = int(message["last"])
            bids = int(message["bids"])
            for i, (price, size) in enumerate(batch.levels.tolist()):
                side = self.bids if i < bids else self.asks
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)

    @property
    def touch(self) -> list[tuple[int, int]]:
        """Best bid and ask with their sizes."""
        bid, ask = max(self.bids), min(self.asks)
        return [(bid, self.bids[bid]), (ask, self.asks[ask])]

    def rows(self) -> tuple[Rows, Rows]:
        """Both sides as LEVEL rows, best first."""
        import numpy as np

        bids = sorted(self.bids.items(), reverse=True)
        return np.array(bids, LEVEL), np.array(sorted(self.asks.items()), LEVEL)
