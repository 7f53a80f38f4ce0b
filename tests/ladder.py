"""A plain dict for a book, and the recorded tapes' lines: what the venue tests share."""

import gzip
from collections.abc import Iterable
from pathlib import Path

from engine.schema import MESSAGE, Batch, Kind

Line = tuple[int, bytes]

GAP, RESYNC, SNAPSHOT, DELTA, TOUCH = map(int, (Kind.GAP, Kind.RESYNC, Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH))
#: Positions of MESSAGE fields in the tuple of a row.
KIND, LAST, BIDS = (MESSAGE.names.index(name) for name in ("kind", "last", "bids"))  # type: ignore[union-attr]


def read_lines(path: Path) -> list[Line]:
    """Read a tape of the plain gzip kind."""
    with gzip.open(path) as file:
        pairs = (line.rstrip(b"\n").split(b" ", 1) for line in file)
        return [(int(received), raw) for received, raw in pairs]


class Ladder:
    """One instrument's book, as the rows say it: the slow obvious way."""

    def __init__(self) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.last = -1
        #: Whether the rows say that the book is whole.
        self.known = False

    def apply(self, batch: Batch) -> int:
        """Apply a batch of one message and return the message's kind."""
        (message,) = batch.messages.tolist()
        kind: int = message[KIND]
        if kind in (GAP, RESYNC):
            self.known = False
        elif kind == SNAPSHOT:
            self.bids.clear()
            self.asks.clear()
            self.known = True
        if kind in (SNAPSHOT, DELTA):
            assert self.known, "a diff of a book that is not known"
            self.last = message[LAST]
            bids = message[BIDS]
            for i, (price, size) in enumerate(batch.levels.tolist()):
                side = self.bids if i < bids else self.asks
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)
        return kind

    @property
    def touch(self) -> list[tuple[int, int]]:
        """Best bid and ask with their sizes."""
        bid, ask = max(self.bids), min(self.asks)
        return [(bid, self.bids[bid]), (ask, self.asks[ask])]


def kinds(batches: Iterable[Batch]) -> list[Kind]:
    """Give the kind of each batch's first message."""
    return [Kind(batch.messages[0]["kind"]) for batch in batches]
