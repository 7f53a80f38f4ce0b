"""Columns in, one Parquet file of a lake out, one row group at a time; how each column is encoded stands here.

Every encoding is one that any reader of Parquet has. What a replay reads is encoded to be read fast, the rest small.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.lake import BOOK, MESSAGES, PART, Channel

#: Of zstd: 9 takes no longer to read than 3, and a few hundredths of a second longer to write a million levels.
LEVEL: Final = 9

#: Encoding and codec of a column: neighbours differ by little; bytes of one weight are alike; values repeat themselves.
RISING: Final = ("DELTA_BINARY_PACKED", "zstd")
ALIKE: Final = ("BYTE_STREAM_SPLIT", "zstd")
SMALL: Final = ("BYTE_STREAM_SPLIT", "lz4")
FEW: Final = ("RLE_DICTIONARY", "zstd")
#: Hardly any value at all: what a codec would save is not worth calling it.
ONE: Final = ("RLE_DICTIONARY", "none")
#: Long strings of values come again.
AGAIN: Final = ("PLAIN", "zstd")

_ENCODINGS: Final = {
    **dict.fromkeys(("received", "monotonic", "exchanged", "sequence_less_received", "id", "next"), RISING),
    **dict.fromkeys(("price", "size", "average", "value", "last"), ALIKE),
    **dict.fromkeys(("count", "bids", "kind"), SMALL),
    **dict.fromkeys(("previous", "first_less_last"), AGAIN),
    **dict.fromkeys(("flags", "connection", "status"), ONE),
}
#: Where a channel has another one: each row of the book repeats what is said of its message, for desks alone.
_OWN: Final = {
    BOOK.name: {"last": AGAIN, "kind": FEW},
    MESSAGES.name: {"epoch": ONE},
}


def encoding_of(channel: Channel, column: str) -> tuple[str, str]:
    """Give a column's encoding and codec."""
    return _OWN.get(channel.name, {}).get(column) or _ENCODINGS.get(column, FEW)


class File:
    """One file while it is written; it is open only while something goes to it."""

    __slots__ = ("_tail", "channel", "part", "path", "rows", "writer")

    def __init__(self, channel: Channel, path: Path) -> None:
        self.channel, self.path, self.rows = channel, path, 0
        self.part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.part.write_bytes(b"")
        self._tail = _Tail()
        encodings = {name: encoding_of(channel, name) for name in channel.columns}
        self.writer = pq.ParquetWriter(
            self._tail,
            pa.schema([pa.field(n, pa.type_for_alias(t), nullable=False) for n, t in channel.columns.items()]),
            compression={name: codec for name, (_, codec) in encodings.items()},
            compression_level={name: LEVEL for name, (_, codec) in encodings.items() if codec == "zstd"},
            use_dictionary=[name for name, (encoding, _) in encodings.items() if encoding == "RLE_DICTIONARY"],
            column_encoding={n: encoding for n, (encoding, _) in encodings.items() if encoding != "RLE_DICTIONARY"},
            write_page_checksum=True,
            store_schema=False,
        )

    def write(self, columns: dict[str, Any]) -> None:
        """Write one row group."""
        table = pa.table([_array(columns[n], t) for n, t in self.channel.columns.items()], schema=self.writer.schema)
        self.writer.write_table(table, row_group_size=max(1, len(table)))
        self.rows += len(table)
        with self.part.open("ab") as file:
            file.write(self._tail.take())

    def drop(self) -> None:
        """Remove what is not published."""
        with suppress(OSError, ValueError):
            self.writer.close()
        # A writer that could not close would try again when it is forgotten.
        self.writer.is_open = False
        self.part.unlink(missing_ok=True)

    def end(self, meta: dict[str, str]) -> None:
        """Write the footer, and all of it to the disk."""
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
