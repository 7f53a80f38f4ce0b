"""Batches in, fewer and larger batches out: one instrument's messages of one interval of row time make one record.

Time is the rows' own, so live and replay make the same records, however the rows were handed in: a window is closed by
the first row of a later one, or by the shell's clock where no row comes (`close`), and what it holds does not depend on
which of the two it was.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, Final

import numpy as np

from engine.schema import FAMILY, MESSAGE, Batch, Rows
from ingest.rows import PARTS

#: Bytes of one encoded message before its rows.
MESSAGE_BYTES: Final = 88
#: Rows of one batch at most: a group of the encoding counts to 65534.
ROWS: Final = 60_000

#: Kind -> the part of a Batch that holds its rows, and how many bytes one takes.
_FAMILIES: Final = {int(kind): (PARTS[family], family.itemsize) for kind, family in FAMILY.items()}
_RECEIVED, _COUNT, _KIND = (MESSAGE.names.index(name) for name in ("received", "count", "kind"))  # type: ignore[union-attr]


@dataclass(frozen=True, slots=True)
class Piece:
    """Messages of one instrument and window: the first one's receive time, all their bytes as encoded."""

    window: int
    first: int
    size: int
    batch: Batch


class Linger:
    """What lies open: messages per window and instrument."""

    def __init__(self, interval: int = 5_000_000, max_bytes: int = 900_000) -> None:
        self.interval = interval
        self._max_bytes = max_bytes
        #: So many bytes make one group, whatever rows they are.
        self._most = min(max_bytes, ROWS * min(family.itemsize for family in PARTS))
        #: Window -> instrument -> batches, closed ones and the open one's pieces.
        self._windows: dict[int, dict[str, _Pile]] = {}
        self._newest = 0

    def add(self, batches: Sequence[Batch]) -> list[Batch]:
        """Take batches; return what their row time closes."""
        before = self._newest
        for batch in batches:
            messages: list[tuple[Any, ...]] = batch.messages.tolist()
            if len(messages) == 1:
                self._put(batch, messages[0])
            else:
                for piece, message in zip(_split(batch, messages), messages, strict=True):
                    self._put(piece, message)
        if self._newest == before and len(self._windows) <= 1:
            return []
        return self._close_before(self._newest)

    def add_pieces(self, pieces: Sequence[Piece]) -> Iterator[tuple[int, list[Batch]]]:
        """Take batches that are each of one window, none before the one before; give what each closes, and when."""
        last, whole = pieces[-1].window if pieces else 0, list[Batch]()
        for window, own in groupby(pieces, attrgetter("window")):
            several = list(own)
            first = several[0].first
            if window > self._newest:
                self._newest = window
                closed = self._close_before(window) if self._windows else whole
                if closed:
                    yield first, closed
                whole = []
                if window < last and all(piece.size <= self._most for piece in several):
                    # All of the window is here.
                    several.sort(key=attrgetter("first", "batch.instrument"))
                    whole = [piece.batch for piece in several]
                    continue
            for piece in several:
                self._put_piece(piece)
            if len(self._windows) > 1:
                yield first, self._close_before(self._newest)

    def _put_piece(self, piece: Piece) -> None:
        pile = self._windows.setdefault(piece.window, {}).setdefault(piece.batch.instrument, _Pile())
        if pile.put_whole(piece, self._max_bytes):
            return
        messages: list[tuple[Any, ...]] = piece.batch.messages.tolist()
        for each, message in zip(_split(piece.batch, messages), messages, strict=True):
            pile.put(each, message, self._max_bytes)

    def close(self, now: int) -> list[Batch]:
        """Return everything of windows that ended at or before now: the shell calls it when no row comes."""
        return self._close_before(now // self.interval)

    def flush(self) -> list[Batch]:
        """Return everything."""
        return self._close_before(max(self._windows, default=0) + 1)

    def _put(self, batch: Batch, message: tuple[Any, ...]) -> None:
        window = message[_RECEIVED] // self.interval
        self._newest = max(self._newest, window)
        piles = self._windows.setdefault(window, {})
        pile = piles.get(batch.instrument)
        if pile is None:
            pile = piles[batch.instrument] = _Pile()
        pile.put(batch, message, self._max_bytes)

    def _close_before(self, window: int) -> list[Batch]:
        closed = []
        for ended in sorted(each for each in self._windows if each < window):
            found = [
                (first, instrument, index, batch)
                for instrument, pile in self._windows.pop(ended).items()
                for index, (first, batch) in enumerate(pile.batches())
            ]
            closed += [batch for _, _, _, batch in sorted(found, key=itemgetter(0, 1, 2))]
        return closed


class _Pile:
    """One instrument's messages of one window, in groups that each fit a record."""

    __slots__ = ("_bytes", "_groups", "_rows")

    def __init__(self) -> None:
        #: First receive time, pieces, and the parts that they have rows of.
        self._groups: list[tuple[int, list[Batch], set[str]]] = []
        self._bytes = 0
        self._rows = 0

    def put(self, batch: Batch, message: tuple[Any, ...], max_bytes: int) -> None:
        rows = message[_COUNT]
        part, width = _FAMILIES.get(message[_KIND], ("", 0))
        size = MESSAGE_BYTES + rows * width
        if not self._groups or self._bytes + size > max_bytes or self._rows + rows > ROWS:
            self._groups.append((message[_RECEIVED], [], {"messages"}))
            self._bytes = self._rows = 0
        self._bytes += size
        self._rows += rows
        _, pieces, parts = self._groups[-1]
        pieces.append(batch)
        if rows:
            parts.add(part)

    def put_whole(self, piece: Piece, max_bytes: int) -> bool:
        """Put many messages at once; False where they do not all fit into one group, and nothing is put."""
        held = {part: rows for part in PARTS.values() if len(rows := getattr(piece.batch, part))}
        count = sum(map(len, held.values()))
        if self._bytes + piece.size > max_bytes or self._rows + count > ROWS:
            return False
        if not self._groups:
            self._groups.append((piece.first, [], {"messages"}))
        self._bytes += piece.size
        self._rows += count
        _, pieces, parts = self._groups[-1]
        pieces.append(piece.batch)
        parts.update(held)
        return True

    def batches(self) -> Iterable[tuple[int, Batch]]:
        return ((first, _join(pieces, parts)) for first, pieces, parts in self._groups)


def _split(batch: Batch, messages: Sequence[tuple[Any, ...]]) -> Iterable[Batch]:
    """Give each message a batch of its own."""
    taken = dict.fromkeys(PARTS.values(), 0)
    for index, message in enumerate(messages):
        parts: dict[str, Rows] = {}
        if message[_KIND] in _FAMILIES:
            name = _FAMILIES[message[_KIND]][0]
            parts[name] = getattr(batch, name)[taken[name] : taken[name] + message[_COUNT]]
            taken[name] += message[_COUNT]
        alone = batch.messages[index : index + 1]
        yield Batch(instrument=batch.instrument, asset=batch.asset, messages=alone, **parts)


def _join(pieces: list[Batch], parts: Iterable[str]) -> Batch:
    """Make one batch of one instrument's batches."""
    if len(pieces) == 1:
        return pieces[0]
    joined = {part: _concatenate([getattr(piece, part) for piece in pieces]) for part in parts}
    return Batch(instrument=pieces[0].instrument, asset=pieces[0].asset, **joined)


def _concatenate(arrays: list[Rows]) -> Rows:
    """Join arrays of one dtype by their bytes: numpy's own way compares structured dtypes field by field, each time."""
    return np.frombuffer(bytearray().join(arrays), arrays[0].dtype)  # type: ignore[arg-type]
