"""One Parquet file of a lake in, structured rows out, one row group at a time; what is wrong with it is BadRecord.

While a row group is given out, a thread reads the next one: decompression needs no interpreter. What is given out, and
in what order, does not depend on it, and an error is raised where its row group is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine import lake
from engine.errors import BadRecord
from engine.lake import BOOK, MESSAGES, VERSIONS, WITHOUT_STEPS, Channel, Group
from engine.schema import VERSION, Rows
from ingest.laying import FALLS, FAULTY, lay_levels, lay_messages, place, stepped

Made = TypeVar("Made")
#: Rows that columns are laid into at once, so that they stay in a core's cache until all columns are there.
BLOCK: Final = 8_192


@dataclass(frozen=True, slots=True)
class Read:
    """What is read of a row group."""

    rows: Rows
    #: What the rows were laid from, `sequence` among those of messages.
    columns: Mapping[str, Any]
    #: Of messages: what none may be, whether their sequence does not rise, `lake.offsets`, and their sum with messages.
    fault: str | None = None
    falls: bool = False
    offsets: Mapping[str, Any] = field(default_factory=dict)
    heights: Any = None


class Table:
    """A channel's file of one slice, and how far its rows were given out."""

    def __init__(self, path: Path, channel: Channel, instrument: str, readers: Executor) -> None:
        self.path, self._channel = path, channel
        self._readers = readers
        #: The row group that is being read, by its number. A file is never read by two at once.
        self._coming: tuple[int, Future[Read]] | None = None
        self._file = self._guard(lambda: pq.ParquetFile(path, page_checksum_verification=True))
        found = self._file.metadata
        self.meta = self._guard(lambda: {k.decode(): v.decode() for k, v in (found.metadata or {}).items()})
        self._check(instrument)
        self.groups = found.num_row_groups
        #: Rows in all, and those not yet given out.
        self.total = self.left = found.num_rows
        #: What the metadata say of each row group.
        self._said = self._guard(self._groups_said, f"{lake.META_GROUPS} in its metadata")
        self._group = 0
        self._rows = np.zeros(0, channel.family)

    def span(self, group: int) -> tuple[int, int]:
        """Give the earliest and latest receive time of a row group, by its statistics."""

        def spanned() -> tuple[int, int]:
            known = self._file.metadata.row_group(group).column(list(self._kinds).index("received"))
            if known.statistics is None or not known.statistics.has_min_max:
                raise ValueError("no statistics of received")
            return known.statistics.min, known.statistics.max

        return self._guard(spanned, f"row group {group}")

    def counts(self, group: int) -> Mapping[str, Any]:
        """Read of a row group of messages only what says which rows are whose."""
        self._wait()
        return self._read(group, ("kind", "count")).columns

    def read(self, group: int) -> Read:
        """Read a row group, and have the next one read."""
        came = self._wait()
        found = came[1].result() if came is not None and came[0] == group else self._read(group, self._channel.fields)
        self.ask(group + 1)
        return found

    def ask(self, group: int) -> None:
        """Have a row group read meanwhile, if there is one."""
        if group < self.groups:
            self._coming = group, self._readers.submit(self._read, group, self._channel.fields)

    def ready(self) -> int:
        """Say how many of the next rows lie in one row group."""
        if not len(self._rows) and self.left:
            self._rows = self.read(self._group).rows
            self._group += 1
        return len(self._rows)

    def take(self, count: int) -> Rows:
        """Give the next rows."""
        if count > self.left:
            raise BadRecord(f"{self.path} has {self.left} rows left where its messages promise {count}")
        self.left -= count
        pieces = []
        while count > len(self._rows):
            count -= len(self._rows)
            pieces.append(self._rows)
            self._rows = self.read(self._group).rows
            self._group += 1
        taken, self._rows = self._rows[:count], self._rows[count:]
        pieces = [piece for piece in (*pieces, taken) if len(piece)]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def skip(self, count: int) -> None:
        """Pass over rows; row groups that lie whole in them are not read."""
        while count > len(self._rows) and count <= self.left:
            count -= len(self._rows)
            self.left -= len(self._rows)
            self._rows = self._rows[:0]
            rows = self._file.metadata.row_group(self._group).num_rows
            if count < rows:
                break
            count -= rows
            self.left -= rows
            self._group += 1
        if count:
            self.take(count)

    def _wait(self) -> tuple[int, Future[Read]] | None:
        """Wait for what is being read, and give it away."""
        came, self._coming = self._coming, None
        if came is not None:
            came[1].exception()
        return came

    def _read(self, group: int, fields: Sequence[str]) -> Read:
        """Read fields of a row group, and lay the family's rows where these are all."""
        if group >= self.groups:
            raise BadRecord(f"{self.path} has {self.groups} row groups, and more rows than they hold")
        whole = fields == self._channel.fields
        names = [*fields, "sequence"] if self._channel is MESSAGES and whole else fields

        def read() -> Read:
            count, columns = self._columns(group, names)
            return self._lay(group, count, columns) if whole else Read(_empty(0, self._channel.family), columns)

        return self._guard(read, f"row group {group}")

    def _columns(self, group: int, names: Sequence[str]) -> tuple[int, dict[str, Any]]:
        """Read columns by the names of their fields, as they are stored; what the metadata say is not read."""
        family, fields, same = self._channel.family, self._channel.fields, self._said[group].same
        kept = {name: self._channel.stored(name, self._version) for name in names}
        asked = [column for column in kept.values() if column not in same]
        table = self._file.read_row_group(group, columns=asked, use_threads=False)
        count = self._file.metadata.row_group(group).num_rows
        columns = {}
        for name, column in kept.items():
            kind = self._kinds[column]
            if column in same:
                columns[name] = np.ndarray(count, kind, np.array(same[column], kind), strides=(0,))
            else:
                columns[name] = _plain(table, column, kind, family[name] if name in fields else None)
                if len(columns[name]) != count:
                    raise ValueError(f"column {column} has {len(columns[name])} rows, its row group has {count}")
        if "sequence" in columns:
            sequence, received = columns["sequence"], columns["received"]
            columns["sequence"] = received if same.get(kept["sequence"]) == 0 else sequence + received
        return count, columns

    def _lay(self, group: int, count: int, columns: dict[str, Any]) -> Read:
        family = self._channel.family
        rows = _empty(count, family)
        if self._channel is MESSAGES:
            before = None if self._version == WITHOUT_STEPS else self._said[group].before
            found, sums = lay_messages(columns, before, rows)
            fault = lake.fault_in(columns["kind"], columns["count"], columns["bids"]) if found & FAULTY else None
            words = 1 + int(np.count_nonzero(sums))
            out: Any = _empty(words * (count + 1), np.dtype(np.int64)).reshape(words, count + 1)
            parts = {} if fault else place(columns, sums, out)
            return Read(rows, columns, fault=fault, falls=bool(found & FALLS), offsets=parts, heights=out[0])
        if self._channel is BOOK:
            prices, sizes = (stepped(columns[name])[0] for name in ("price", "size"))
            lay_levels(prices, sizes, rows.view(np.int64).reshape(-1, 2))
            return Read(rows, columns)
        if sum(family[name].itemsize for name in columns) < family.itemsize:
            rows.view(np.uint8)[:] = 0
        for begin in range(0, len(rows), BLOCK):
            for name in columns:
                rows[name][begin : begin + BLOCK] = columns[name][begin : begin + BLOCK]
        return Read(rows, columns)

    def _groups_said(self) -> Sequence[Group]:
        if self._channel is not MESSAGES or self._version == WITHOUT_STEPS:
            return [Group()] * self.groups
        return lake.groups_of(self.meta[lake.META_GROUPS], self.groups)

    def _check(self, instrument: str) -> None:
        """Refuse a file that is none of ours, or of another version, or in another's place."""
        expected = {
            lake.META_VERSION: tuple(map(str, VERSIONS)),
            "rows": (str(VERSION),),
            lake.META_CHANNEL: (self._channel.name,),
            lake.META_INSTRUMENT: (instrument,),
        }
        for key, allowed in expected.items():
            if self.meta.get(key) not in allowed:
                either = " or ".join(map(repr, allowed))
                raise BadRecord(f"{self.path} has {key} {self.meta.get(key)!r} in its metadata, allowed is {either}")
        self._version = int(self.meta[lake.META_VERSION])
        needed = [lake.META_RUN, lake.META_BEFORE, lake.META_LAST, lake.META_ASSET]
        if self._channel is MESSAGES and self._version != WITHOUT_STEPS:
            needed.append(lake.META_GROUPS)
        for key in needed:
            if key not in self.meta:
                raise BadRecord(f"{self.path} has no {key} in its metadata, which every such file of a lake has")
        met = self._guard(lambda: {field.name: str(field.type) for field in self._file.schema_arrow})
        self._kinds = self._channel.columns_of(self._version)
        if list(met.items()) != list(self._kinds.items()):
            raise BadRecord(f"{self.path} has columns {met}, allowed are {dict(self._kinds)}")

    def _guard(self, read: Callable[[], Made], what: str = "the file") -> Made:
        """Say whose bytes cannot be read."""
        try:
            return read()
        except (pa.ArrowException, OSError, ValueError, UnicodeDecodeError) as error:
            raise BadRecord(
                f"{self.path}: {what} is corrupt, torn or no Parquet: {' '.join(str(error).split())[:300]}"
            ) from error


def _empty(count: int, family: "np.dtype[Any]") -> Rows:
    """Take memory from Arrow's pool, which keeps its pages; numpy gives megabytes back, and each page faults again."""
    return np.frombuffer(pa.allocate_buffer(count * family.itemsize), family)


def _plain(table: Any, name: str, kind: str, field: "np.dtype[Any] | None" = None) -> Any:
    """Give a column as numpy has it."""
    column = table.column(name)
    if column.null_count:
        raise ValueError(f"column {name} has {column.null_count} nulls, allowed are none")
    if kind != "binary":
        return column.to_numpy()
    assert field is not None
    values = column.to_pylist()
    longest = max(map(len, values), default=0)
    if longest > field.itemsize:
        raise ValueError(f"column {name} has {longest} bytes, allowed are {field.itemsize}")
    return np.array(values, field)
