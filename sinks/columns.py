"""Columns in, one Parquet file of a lake out, one row group at a time; how each column is encoded stands here.

Every encoding is one that any reader of Parquet has. What a replay reads is encoded to be read fast, the rest small.
Prices and sizes differ too much between markets for one choice: the first row group says which is smaller.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.lake import BOOK, MESSAGES, META_GROUPS, PART, Before, Channel, Group, text_of

#: Encoding, codec and its level, which costs the writer alone: some tenths of a second for a million levels.
Choice = tuple[str, str, int | None]
#: Neighbours differ by little; bytes of one weight are alike; values repeat themselves.
RISING: Final[Choice] = ("DELTA_BINARY_PACKED", "zstd", 9)
ALIKE: Final[Choice] = ("BYTE_STREAM_SPLIT", "zstd", 9)
#: The same for half the time to read, and a tenth to a sixth more bytes.
QUICK: Final[Choice] = ("BYTE_STREAM_SPLIT", "lz4", 12)
FEW: Final[Choice] = ("RLE_DICTIONARY", "zstd", 9)
#: Hardly any value at all: what a codec would save is not worth calling it.
ONE: Final[Choice] = ("RLE_DICTIONARY", "none", None)
#: Long strings of values come again.
AGAIN: Final[Choice] = ("PLAIN", "zstd", 9)
#: The same of small numbers.
SHORT: Final[Choice] = ("PLAIN", "lz4", 9)
#: Stamps of a coarse clock, many of them alike, are worth a longer search.
COARSE: Final[Choice] = ("DELTA_BINARY_PACKED", "zstd", 15)
#: Steps of such a clock.
TICKS: Final[Choice] = ("RLE_DICTIONARY", "lz4", 9)

_ENCODINGS: Final[dict[str, Choice]] = {
    **dict.fromkeys(("received", "monotonic", "sequence_less_received", "id", "next"), RISING),
    "exchanged": COARSE,
    **dict.fromkeys(("average", "value", "last"), ALIKE),
    **dict.fromkeys(("count", "bids", "last_step"), QUICK),
    **dict.fromkeys(("previous_less_linked", "first_less_last"), AGAIN),
    **dict.fromkeys(("flags", "connection", "status"), ONE),
}
#: Where a channel has another one: each row of the book repeats what is said of its message, for desks alone.
_OWN: Final[dict[str, dict[str, Choice]]] = {
    BOOK.name: {"received": AGAIN, "last": AGAIN, "kind": FEW},
    MESSAGES.name: {"epoch": ONE, "kind": SHORT},
}


#: Of each of these the smaller; a replay reads many prices and sizes of the book, and few others.
_TRIED: Final[dict[str, tuple[Choice, Choice]]] = {
    "price": (ALIKE, FEW),
    "size": (ALIKE, FEW),
    "exchanged_step": (TICKS, ALIKE),
}
_TRIED_OF_BOOK: Final = dict.fromkeys(("price", "size"), (QUICK, FEW))


def encoding_of(channel: Channel, column: str, values: Any) -> Choice:
    """Give a column's encoding and codec, by its values in the first row group where that decides."""
    tried = (_TRIED_OF_BOOK if channel is BOOK else _TRIED).get(column)
    if tried is not None:
        return min(tried, key=lambda choice: _size(values, choice))
    return _OWN.get(channel.name, {}).get(column) or _ENCODINGS.get(column, FEW)


def _size(values: Any, choice: Choice) -> int:
    """Say how many bytes a column takes."""
    table = pa.table({"column": values})
    sink = pa.BufferOutputStream()
    with _writer(sink, table.schema, {"column": choice}) as writer:
        writer.write_table(table, row_group_size=max(1, len(table)))
    return int(sink.getvalue().size)


def _writer(sink: Any, schema: pa.Schema, choices: dict[str, Choice]) -> pq.ParquetWriter:
    encodings = {name: encoding for name, (encoding, _, _) in choices.items()}
    return pq.ParquetWriter(
        sink,
        schema,
        compression={name: codec for name, (_, codec, _) in choices.items()},
        compression_level={name: level for name, (_, _, level) in choices.items() if level is not None} or None,
        use_dictionary=[name for name, encoding in encodings.items() if encoding == "RLE_DICTIONARY"],
        column_encoding={n: encoding for n, encoding in encodings.items() if encoding != "RLE_DICTIONARY"} or None,
        write_page_checksum=True,
        store_schema=False,
    )


class File:
    """One file while it is written; it is open only while something goes to it."""

    __slots__ = ("_groups", "_tail", "channel", "part", "path", "rows", "writer")

    def __init__(self, channel: Channel, path: Path) -> None:
        self.channel, self.path, self.rows = channel, path, 0
        self.part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.part.write_bytes(b"")
        self._tail = _Tail()
        #: Of messages.
        self._groups: list[Group] = []
        self.writer: pq.ParquetWriter | None = None

    def write(self, columns: dict[str, Any], before: Before | None = None) -> None:
        """Write one row group; of messages say what was before them."""
        kinds = self.channel.columns
        schema = pa.schema([pa.field(n, pa.type_for_alias(t), nullable=False) for n, t in kinds.items()])
        table = pa.table([_array(columns[n], t) for n, t in kinds.items()], schema=schema)
        if self.writer is None:
            encodings = {name: encoding_of(self.channel, name, table.column(name)) for name in kinds}
            self.writer = _writer(self._tail, schema, encodings)
        if before is not None:
            same = {name: int(columns[name][0]) for name in kinds if (columns[name] == columns[name][0]).all()}
            self._groups.append(Group(before=before, same=same))
        self.writer.write_table(table, row_group_size=max(1, len(table)))
        self.rows += len(table)
        with self.part.open("ab") as file:
            file.write(self._tail.take())

    def drop(self) -> None:
        """Remove what is not published."""
        if self.writer is not None:
            with suppress(OSError, ValueError):
                self.writer.close()
            # A writer that could not close would try again when it is forgotten.
            self.writer.is_open = False
        self.part.unlink(missing_ok=True)

    def end(self, meta: dict[str, str]) -> None:
        """Write the footer behind at least one row group, and all of it to the disk."""
        assert self.writer is not None
        if self._groups:
            meta = {**meta, META_GROUPS: text_of(self._groups)}
        self.writer.add_key_value_metadata(meta)
        self.writer.close()
        with self.part.open("ab") as file:
            file.write(self._tail.take())
            file.flush()
            os.fsync(file.fileno())


class _Tail:
    """What a ParquetWriter has written and the disk has not."""

    closed = False

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, part: Any) -> int:
        self._held += part
        return len(part)

    def flush(self) -> None:
        pass

    def take(self) -> bytearray:
        """Give it away."""
        held, self._held = self._held, bytearray()
        return held


def _array(values: Any, kind: str) -> Any:
    """Make an Arrow array of a column."""
    return pa.array(values.tolist() if kind == "binary" else np.ascontiguousarray(values), pa.type_for_alias(kind))
