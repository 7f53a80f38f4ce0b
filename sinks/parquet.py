"""The lake's writer: batches of market rows in, Parquet files out, all of them at `close` or none.

Files are written beside their final names, ending in `.tmp`, and each is on the disk (fsync) before any is published.
Publishing links the final names, which must be new: a name is never used twice. Each channel's rows wait for a row
group, so an instrument holds at most one row group of each of its channels in memory; a file is open only while a row
group goes to it, so there may be any number of instruments. What is written must lie beside what the lake holds: row
time of one hour may come from two conversions only where one begins after the other has ended, for the order of their
messages is known in no other case.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine import lake
from engine.errors import BadConfig, BadRecord, Undelivered
from engine.lake import BOOK, CHANNELS, HOUR, MESSAGES, ROWS, Channel
from engine.schema import VERSION, Batch, Kind, Rows
from sinks.columns import File
from sinks.drafts import Published

#: Batches of an instrument are sorted into channels when they have so many messages or levels.
_STAGE: Final = 4_096
_STAGE_LEVELS: Final = 65_536


class ParquetSink(Published):
    """Write to a lake; leaving the block without an error closes, with one aborts."""

    def __init__(self, folder: Path, group: int | None = None) -> None:
        """Open a lake, which need not be there yet; `group` is the rows of a row group, else each channel's own."""
        self.folder = folder
        self._group = group
        #: Messages and rows written, by channel.
        self.counts = dict.fromkeys((channel.name for channel in CHANNELS), 0)
        #: Files published, in the order of their names.
        self.paths: list[Path] = []
        self._first = self._last = -1
        #: Hour -> first and last sequence of ours in it.
        self._hours: dict[int, list[int]] = {}
        self._slices: dict[str, _Slice] = {}
        #: Messages of each instrument so far.
        self._before: dict[str, int] = {}
        self._closed: list[File] = []
        self._held = _Held(folder)

    def write(self, batches: Iterable[Batch]) -> None:
        """Take batches in the order in which the engine takes them. Raises BadRecord, BadConfig, Undelivered."""
        for batch in batches:
            if not len(batch.messages):
                continue
            offsets = lake.offsets_of(batch.messages)
            fault = lake.fault_of(batch, offsets)
            if fault:
                raise BadRecord(f"a batch of {batch.instrument} cannot be written: {fault}")
            for begin, end in _same_slice(batch):
                self._put(lake.cut(batch, offsets, begin, end))

    def close(self) -> None:
        """Publish everything. Raises BadConfig where the lake holds its hours already, Undelivered on disk errors."""
        try:
            with _disk(self.folder):
                for instrument in list(self._slices):
                    self._end(instrument)
                for hour, (first, last) in self._hours.items():
                    self._held.refuse(hour, first, last)
                self._publish()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Remove what is not published, and the folders that it left empty."""
        files = self._closed + [file for piece in self._slices.values() for file in piece.files.values()]
        self._closed, self._slices = [], {}
        for file in files:
            file.drop()
            for folder in list(file.path.parents)[:4]:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

    def _put(self, batch: Batch) -> None:
        """Take messages of one hour, before the first of which the units may change."""
        received = batch.messages["received"]
        sequence = lake.sequences(received, self._last)
        first, self._last = int(sequence[0]), int(sequence[-1])
        hour = int(received[0]) // HOUR
        piece = self._slices.get(batch.instrument)
        scale = _scale_of(batch)
        if piece is not None and not piece.takes(hour, batch.asset, scale):
            scale = scale or piece.scale
            with _disk(self.folder):
                self._end(batch.instrument)
            piece = None
        if self._first < 0:
            self._first = first
        if hour not in self._hours:
            self._held.refuse(hour, first, first)
            self._hours[hour] = [first, first]
        self._hours[hour][1] = self._last
        if piece is None:
            before = self._before.setdefault(batch.instrument, 0)
            name = lake.file_of(int(received[0]), first)
            run = {lake.META_RUN: self._first, lake.META_BEFORE: before}
            piece = _Slice(self.folder, batch, hour, name, run, self._group)
            self._slices[batch.instrument] = piece
        piece.scale = scale or piece.scale
        self._before[batch.instrument] += len(received)
        with _disk(self.folder):
            piece.add(batch, sequence)

    def _end(self, instrument: str) -> None:
        piece = self._slices[instrument]
        piece.end()
        for name, file in piece.files.items():
            self.counts[name] += file.rows
            self._closed.append(file)
        del self._slices[instrument]

    def _publish(self) -> None:
        """Give files their names: messages last and the newest first, so that a half is told by its hole."""
        order = sorted(self._closed, key=lambda file: file.path.name[3:], reverse=True)
        named: list[Path] = []
        try:
            for file in sorted(order, key=lambda file: file.channel is MESSAGES):
                os.link(file.part, file.path)
                named.append(file.path)
        except OSError as error:
            for path in named:
                path.unlink()
            if isinstance(error, FileExistsError):
                raise BadConfig(f"{error.filename2} is there already, and a name is never used twice") from None
            raise
        for file in order:
            file.part.unlink()
        for folder in {folder for path in named for folder in list(path.parents)[:5]}:
            _sync(folder)
        self.paths = sorted(named)
        self._closed = []


class _Slice:
    """One instrument's rows of one hour on their way to their files."""

    def __init__(
        self, folder: Path, batch: Batch, hour: int, name: str, run: dict[str, int], group: int | None
    ) -> None:
        self.files: dict[str, File] = {}
        #: Decimals of prices and sizes, where they are known.
        self.scale: tuple[int, int] | None = None
        self._instrument, self._asset, self._hour = batch.instrument, batch.asset, hour
        self._paths = {
            each.name: folder / lake.folder_of(each.name, batch.instrument, hour * HOUR) / name for each in CHANNELS
        }
        self._run = run
        self._groups = {each.name: group or each.group for each in CHANNELS}
        self._stage = min(_STAGE, *self._groups.values())
        self._staged: list[tuple[Batch, Any]] = []
        self._messages = self._levels = 0
        #: Sequence of the last message so far, and what the written ones say.
        self._last = -1
        self._before = lake.Before()
        #: Channel -> messages, sequences and rows that wait for a row group, and how many rows these are.
        self._waiting: dict[str, list[tuple[Rows, Any, Rows]]] = {each.name: [] for each in CHANNELS}
        self._rows = dict.fromkeys(self._waiting, 0)

    def takes(self, hour: int, asset: str, scale: tuple[int, int] | None) -> bool:
        """Say whether rows of an hour, asset and, where it is stated anew, scale may be added."""
        # Rows before the first statement were decoded by what it states.
        same = scale is None or self.scale is None or scale == self.scale
        return hour == self._hour and asset == self._asset and same

    def add(self, batch: Batch, sequence: Any) -> None:
        """Take messages; write what fills a row group."""
        self._staged.append((batch, sequence))
        self._last = int(sequence[-1])
        self._messages += len(batch.messages)
        self._levels += len(batch.levels)
        if self._messages >= self._stage or self._levels >= _STAGE_LEVELS:
            self._sort()

    def end(self) -> None:
        """Write what waits, and end the files."""
        self._sort()
        meta: dict[str, int | str] = {lake.META_VERSION: lake.VERSION, "rows": VERSION, **self._run}
        meta |= {lake.META_INSTRUMENT: self._instrument, lake.META_ASSET: self._asset, lake.META_LAST: self._last}
        if self.scale is not None:
            meta |= {lake.META_PRICE: self.scale[0], lake.META_SIZE: self.scale[1]}
        for channel in CHANNELS:
            if self._rows[channel.name]:
                self._write(channel)
            if channel.name in self.files:
                said = {**meta, lake.META_CHANNEL: channel.name}
                self.files[channel.name].end({key: str(value) for key, value in said.items()})

    def _sort(self) -> None:
        """Sort what is staged into channels."""
        if not self._staged:
            return
        messages = np.concatenate([batch.messages for batch, _ in self._staged])
        sequence = np.concatenate([each for _, each in self._staged])
        self._wait(MESSAGES, messages, sequence, messages)
        for channel in ROWS:
            found = [getattr(batch, channel.part) for batch, _ in self._staged]
            rows = np.concatenate([each for each in found if len(each)] or [found[0]])
            if len(rows):
                own = np.isin(messages["kind"], channel.kinds)
                self._wait(channel, messages[own], sequence[own], rows)
        self._staged, self._messages, self._levels = [], 0, 0

    def _wait(self, channel: Channel, messages: Rows, sequence: Any, rows: Rows) -> None:
        self._waiting[channel.name].append((messages, sequence, rows))
        self._rows[channel.name] += len(rows)
        if self._rows[channel.name] >= self._groups[channel.name]:
            self._write(channel)

    def _write(self, channel: Channel) -> None:
        """Write a channel's waiting rows as one row group."""
        messages, sequence, rows = (np.concatenate(each) for each in zip(*self._waiting[channel.name], strict=True))
        self._waiting[channel.name], self._rows[channel.name] = [], 0
        columns = {name: rows[name] for name in channel.fields}
        if channel is BOOK:
            columns["side"] = _sides(messages)
        less = {lake.stored("sequence"): sequence - messages["received"]}
        if channel is MESSAGES:
            less |= {lake.stored(name): rows[name] - rows[lake.LESS[name]] for name in ("published", "first")}
            steps, after = lake.steps_of(rows, self._before)
            less |= steps
        for name in channel.columns:
            if name not in columns:
                of_message = less[name] if name in less else messages[name]
                columns[name] = of_message if channel is MESSAGES else np.repeat(of_message, messages["count"])
        if channel.name not in self.files:
            self.files[channel.name] = File(channel, self._paths[channel.name])
        if channel is MESSAGES:
            self.files[channel.name].write(columns, self._before)
            self._before = after
        else:
            self.files[channel.name].write(columns)


class _Held:
    """What the lake holds already, hour by hour."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[int, list[tuple[int, int, Path]]] = {}

    def refuse(self, hour: int, first: int, last: int) -> None:
        """Raise BadConfig where the lake has messages among these of an hour."""
        if hour not in self._known:
            date = Path(lake.folder_of(MESSAGES.name, ":", hour * HOUR)).name
            found = self._folder.glob(f"channel={MESSAGES.name}/*/*/{date}/{hour % 24:02d}-*.parquet")
            self._known[hour] = [_range(path) for path in sorted(found)]
        for begin, end, path in self._known[hour]:
            if begin <= last and end >= first:
                raise BadConfig(
                    f"the lake holds {begin} to {end} already ({path}), what is to be written has {first} to {last} in "
                    "that hour; allowed are other times, or another lake: convert tapes of one time together"
                )


def _range(path: Path) -> tuple[int, int, Path]:
    """Give the first and last sequence of a file of messages."""
    try:
        return int(path.name[3:22]), int(pq.read_metadata(path).metadata[lake.META_LAST.encode()]), path
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise BadRecord(f"{path} is no file of a lake: {error}") from error


def _same_slice(batch: Batch) -> Iterator[tuple[int, int]]:
    """Cut a batch where its hour changes, and before each INSTRUMENT."""
    hours = batch.messages["received"] // HOUR
    breaks = (hours[1:] != hours[:-1]) | (batch.messages["kind"][1:] == Kind.INSTRUMENT)
    cuts = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(hours)]
    return pairwise(cuts)


def _scale_of(batch: Batch) -> tuple[int, int] | None:
    """Give the decimals that a batch states, which can only be with its first message."""
    if not len(batch.instruments):
        return None
    return int(batch.instruments["price_decimals"][-1]), int(batch.instruments["size_decimals"][-1])


def _sides(messages: Rows) -> Any:
    """Give +1 for each message's bids and -1 for the rest of its levels."""
    both = np.empty((len(messages), 2), np.int64)
    both[:, 0] = messages["bids"]
    both[:, 1] = messages["count"] - messages["bids"]
    return np.repeat(np.tile(np.array((1, -1), np.int8), len(messages)), both.ravel())


def _sync(folder: Path) -> None:
    """Put a folder's names on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class _disk:
    """Say what the disk refused as Undelivered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise Undelivered(f"lake {self._folder} cannot be written: {error}") from error
