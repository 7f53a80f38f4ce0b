"""The lake's reader: Parquet files in, batches of market rows out, in the order in which the engine took them.

Files are read one row group at a time, and the next one meanwhile. Per instrument two row groups of messages (32k) are
held, two of each channel of rows (64k), and the batch that is being cut from them: about 25 MB an instrument at most,
however long the lake is.
Messages of one instrument that no other instrument's come between make one batch, up to BATCH rows.

`since` and `until` bound the receive time: days, hours and row groups outside are not read. Page checksums, counts,
sequences and names are checked; what is not right is BadRecord, naming file and place. What a writer left unfinished
(`.tmp`) is not read, and `parts` tells of it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from difflib import get_close_matches
from heapq import heapify, heappop, heappushpop
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import numpy as np

from engine import lake
from engine.errors import BadConfig, BadRecord
from engine.lake import DAY, FILE, HOUR, MESSAGES, PART, ROWS, Channel
from engine.schema import Batch, Rows
from ingest.columns import Table

#: Rows of a batch, about, and messages at most.
BATCH: Final = 131_072
#: Threads that read ahead, for all files together: as a replay's engine takes a core, more would hardly help.
READERS: Final = 2


class Lake:
    """An iterator of batches; `instruments` none means all, `since` and `until` are ns of receive time."""

    def __init__(
        self, folder: Path | str, *, instruments: Sequence[str] = (), since: int | None = None, until: int | None = None
    ) -> None:
        self.folder = Path(folder)
        #: Files that a writer left unfinished.
        self.parts: list[Path] = []
        self._since, self._until = since, until
        self._files = self._find(instruments)
        self._batches = self._read()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)

    def _find(self, wanted: Sequence[str]) -> dict[str, list[Path]]:
        """Name every instrument's files of messages in order, and refuse what belongs to no lake."""
        if not self.folder.is_dir():
            raise BadConfig(f"lake {self.folder} is not there")
        found: dict[str, list[Path]] = {}
        others: set[tuple[str, str, str]] = set()
        for path in sorted(self.folder.glob("channel=*/venue=*/symbol=*/date=*/*")):
            channel, venue, symbol, date = (unquote(part.partition("=")[2]) for part in path.parts[-5:-1])
            if path.name.endswith(PART):
                self.parts.append(path)
            elif path.name[0] not in "._":
                if not FILE.fullmatch(path.name):
                    raise BadRecord(f"{path} is no file of a lake, whose names are like 07-0123456789012345678.parquet")
                if channel == MESSAGES.name:
                    found.setdefault(f"{venue}:{symbol}", []).append(path)
                else:
                    others.add((f"{venue}:{symbol}", date, path.name))
        for instrument in wanted:
            if instrument not in found:
                near = get_close_matches(instrument, found, n=3, cutoff=0.6) or sorted(found)
                raise BadConfig(f"{instrument!r} is not in lake {self.folder}, known are {', '.join(near) or 'none'}")
        if not found:
            raise BadConfig(f"lake {self.folder} is empty: it has no file of messages")
        others -= {(i, unquote(path.parts[-2][5:]), path.name) for i, paths in found.items() for path in paths}
        for instrument, date, name in sorted(others):
            raise BadRecord(f"lake {self.folder} lacks the messages of {instrument}'s rows of {date}, {name}")
        return {
            instrument: sorted(filter(self._may_hold, paths), key=lambda path: path.name[3:])
            for instrument, paths in found.items()
            if not wanted or instrument in wanted
        }

    def _may_hold(self, path: Path) -> bool:
        """Say whether a slice may hold rows of the time asked for, by its folder and name."""
        begin = int(np.datetime64(path.parts[-2][5:], "D").astype(np.int64)) * DAY + int(path.name[:2]) * HOUR
        return (self._since is None or begin + HOUR > self._since) and (self._until is None or begin < self._until)

    def _read(self) -> Iterator[Batch]:
        with ThreadPoolExecutor(READERS, "lake") as readers:
            yield from self._merge(readers)

    def _merge(self, readers: Executor) -> Iterator[Batch]:
        """Lay the instruments' messages one after another by their sequence."""
        streams = {
            instrument: _Stream(instrument, paths, self._since, self._until, readers)
            for instrument, paths in self._files.items()
            if paths
        }
        # A file is opened when its turn has come, which its name tells.
        heap = [(int(self._files[instrument][0].name[3:22]), instrument) for instrument in streams]
        heapify(heap)
        while heap:
            _, instrument = heappop(heap)
            stream = streams[instrument]
            at = stream.next()
            while at is not None and heap:
                limit, other = heap[0]
                if at < limit:
                    yield stream.take(limit)
                elif at == limit:
                    raise BadRecord(f"lake {self.folder}: {instrument} and {other} both have sequence {at}")
                else:
                    _, instrument = heappushpop(heap, (at, instrument))
                    stream = streams[instrument]
                at = stream.next()
            while at is not None:
                yield stream.take(None)
                at = stream.next()


class _Stream:
    """One instrument's messages, of which some lie ready."""

    def __init__(
        self, instrument: str, paths: list[Path], since: int | None, until: int | None, readers: Executor
    ) -> None:
        self._since, self._until = since, until
        self._readers = readers
        self._chunks = self._read(instrument, paths)
        self._sequence: Any = np.zeros(0, np.int64)
        self._batch: Batch | None = None
        self._offsets: dict[str, Any] = {}
        self._at = 0

    def next(self) -> int | None:
        """Give the sequence of the next message; None at the end."""
        while self._at == len(self._sequence):
            chunk = next(self._chunks, None)
            if chunk is None:
                return None
            self._sequence, self._batch, self._offsets = chunk
            self._at = 0
        return int(self._sequence[self._at])

    def take(self, limit: int | None) -> Batch:
        """Give what lies ready, up to a sequence."""
        assert self._batch is not None
        begin, self._at = self._at, len(self._sequence)
        if limit is not None and self._sequence[-1] >= limit:
            self._at = int(np.searchsorted(self._sequence, limit))
        if begin == 0 and self._at == len(self._sequence):
            return self._batch
        return lake.cut(self._batch, self._offsets, begin, self._at)

    def _read(self, instrument: str, paths: list[Path]) -> Iterator[tuple[Any, Batch, dict[str, Any]]]:
        """Read slice after slice, each of which must follow the last one of its conversion."""
        read: Counter[str] = Counter()
        last = -1
        for path in paths:
            piece = _Slice(path, instrument, self._since, self._until, self._readers)
            run, before = piece.meta[lake.META_RUN], piece.meta[lake.META_BEFORE]
            if (run in read or self._since is None) and before != str(read[run]):
                raise BadRecord(
                    f"{path} follows {before} messages of {instrument} in its conversion, {read[run]} are here: a file "
                    "before it is missing"
                )
            for chunk in piece.chunks():
                if chunk[0][0] <= last:
                    raise BadRecord(f"{path}: sequence {chunk[0][0]} follows {last}, allowed is a later one")
                last = int(chunk[0][-1])
                yield chunk
            if piece.ended:
                return
            read[run] = int(before) + piece.messages.total


class _Slice:
    """One instrument's rows of one hour: the file of messages, and those beside it."""

    def __init__(self, path: Path, instrument: str, since: int | None, until: int | None, readers: Executor) -> None:
        self._readers = readers
        self.messages = Table(path, MESSAGES, instrument, readers)
        self.meta = self.messages.meta
        #: Whether a message at or after `until` was met.
        self.ended = False
        self._path, self._instrument = path, instrument
        self._since, self._until = since, until
        self._tables: dict[str, Table] = {}

    def chunks(self) -> Iterator[tuple[Any, Batch, dict[str, Any]]]:
        """Give sequences and messages with their rows, each chunk with the offsets of its rows."""
        last = int(self._path.name[3:22]) - 1
        self._open()
        for group in range(self.messages.groups):
            earliest, latest = self.messages.span(group)
            if self._until is not None and earliest >= self._until:
                self.ended = True
                return
            if self._since is not None and latest < self._since:
                counted = self.messages.counts(group)
                self._skip(lake.offsets(counted["kind"], counted["count"]), len(counted["kind"]))
                continue
            found = self.messages.read(group)
            rows, offsets, heights, sequence = found.rows, found.offsets, found.heights, found.columns["sequence"]
            if not len(rows) or sequence[0] <= last or found.falls:
                raise BadRecord(f"{self._path}: row group {group} has a sequence that does not rise from {last}")
            last = int(sequence[-1])
            if found.fault:
                raise BadRecord(f"{self._path}: row group {group}: {found.fault}")
            begin, end = self._within(found.columns["received"])
            self._skip(offsets, begin)
            while begin < end:
                stop = min(int(np.searchsorted(heights, heights[begin] + BATCH, "right")) - 1, end)
                for channel in (each for each in ROWS if each.part in offsets):
                    # What lies in one row group need not be copied.
                    at = offsets[channel.part]
                    if at[begin] < at[stop]:
                        ready = at[begin] + self._table(channel).ready()
                        stop = min(stop, int(np.searchsorted(at, ready, "right")) - 1)
                stop = max(stop, begin + 1)
                yield self._chunk(rows, sequence, offsets, begin, stop)
                begin = stop
            if end < len(rows):
                self.ended = True
                return
        if str(last) != self.meta[lake.META_LAST] and self._since is None:
            raise BadRecord(f"{self._path} ends with sequence {last}, its metadata say {self.meta[lake.META_LAST]}")
        for table in self._tables.values():
            if table.left:
                raise BadRecord(f"{table.path} has {table.left} rows more than the messages of {self._path} promise")

    def _within(self, received: Any) -> tuple[int, int]:
        """Give the first message at or after `since`, and the first at or after `until`."""
        begin, end = 0, len(received)
        if self._since is not None:
            begin = _first(received >= self._since)
        if self._until is not None:
            end = _first(received >= self._until)
        return min(begin, end), end

    def _chunk(
        self, rows: Rows, sequence: Any, offsets: Mapping[str, Any], begin: int, end: int
    ) -> tuple[Any, Batch, dict[str, Any]]:
        own = {part: at[begin : end + 1] - at[begin] for part, at in offsets.items() if at[begin] < at[end]}
        parts = {c.part: self._table(c).take(int(own[c.part][-1])) for c in ROWS if c.part in own}
        asset = self.meta[lake.META_ASSET]
        batch = Batch(instrument=self._instrument, asset=asset, messages=rows[begin:end], **parts)
        return sequence[begin:end], batch, own

    def _skip(self, offsets: Mapping[str, Any], end: int) -> None:
        """Pass over the rows of a row group's messages before one."""
        for channel in ROWS:
            if channel.part in offsets and offsets[channel.part][end]:
                self._table(channel).skip(int(offsets[channel.part][end]))

    def _table(self, channel: Channel) -> Table:
        table = self._tables.get(channel.part)
        if table is None:
            raise BadRecord(f"{self._path} promises {channel.part}, and {self._path_of(channel)} is not there")
        return table

    def _open(self) -> None:
        """Open the files beside, and have their first rows read while messages are."""
        for channel in ROWS:
            path = self._path_of(channel)
            if not path.exists():
                continue
            table = self._tables[channel.part] = Table(path, channel, self._instrument, self._readers)
            for key in (lake.META_RUN, lake.META_ASSET, lake.META_BEFORE, lake.META_LAST):
                if table.meta[key] != self.meta[key]:
                    raise BadRecord(f"{path} has {key} {table.meta[key]!r}, its messages have {self.meta[key]!r}")
            if self._since is None:
                table.ask(0)

    def _path_of(self, channel: Channel) -> Path:
        root = self._path.parents[4]
        return root / f"channel={channel.name}" / self._path.relative_to(root / f"channel={MESSAGES.name}")


def read(
    folder: Path | str, *, instruments: Iterable[str] = (), since: int | None = None, until: int | None = None
) -> Lake:
    """Open a lake. Raises BadConfig for what is not there, and BadRecord, also while it is read, for what is wrong."""
    return Lake(folder, instruments=tuple(instruments), since=since, until=until)


def _first(found: Any) -> int:
    """Give the index of the first that is true, or how many there are."""
    return int(found.argmax()) if found.any() else len(found)
