"""One CSV file of Tardis in, blocks of columns out; what it is, is told by its first bytes and its header."""

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from gzip import BadGzipFile
from gzip import open as open_gzip
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from engine.errors import BadConfig, BadFrame, BadRecord
from ingest.decimals import MICROSECONDS_END, MICROSECONDS_START, scaled
from ingest.venues._reading import decimal

#: Tardis' names of an exchange and a symbol.
Key: TypeAlias = tuple[str, str]
Ints: TypeAlias = NDArray[np.int64]

MICROSECOND: Final = 1_000
#: Bytes of text that are decoded at once.
BLOCK: Final = 4 << 20
GZIP: Final = b"\x1f\x8b"

INCREMENTAL: Final = "incremental_book_L2"
TRADES: Final = "trades"
LIQUIDATIONS: Final = "liquidations"
DERIVATIVE_TICKER: Final = "derivative_ticker"
SNAPSHOTS: Final = ("book_snapshot_5", "book_snapshot_25")
#: The layouts that are books.
BOOK: Final = (INCREMENTAL, *SNAPSHOTS)

HEAD: Final = ("exchange", "symbol", "timestamp", "local_timestamp")
_PRINTS: Final = (*HEAD, "id", "side", "price", "amount")


def _depth(name: str) -> int:
    """Say how many levels a side a layout of snapshots has."""
    return int(name.rpartition("_")[2])


def _snapshot_columns(levels: int) -> tuple[str, ...]:
    order = [(side, number) for number in range(levels) for side in ("asks", "bids")]
    return HEAD + tuple(f"{side}[{number}].{what}" for side, number in order for what in ("price", "amount"))


#: Layout -> its columns. Trades and liquidations have the same: names of files and folders tell them apart.
LAYOUTS: Final = {
    INCREMENTAL: (*HEAD, "is_snapshot", "side", "price", "amount"),
    TRADES: _PRINTS,
    LIQUIDATIONS: _PRINTS,
    DERIVATIVE_TICKER: (
        *HEAD, "funding_timestamp", "funding_rate", "predicted_funding_rate",
        "open_interest", "last_price", "index_price", "mark_price",
    ),
    **{name: _snapshot_columns(_depth(name)) for name in SNAPSHOTS},
}  # fmt: skip

_NAMED: Final = re.compile(f"{TRADES}|{LIQUIDATIONS}")
_TEXT: Final = pa.dictionary(pa.int32(), pa.string())


def is_tardis(path: Path) -> bool:
    """Say whether a file begins as Tardis' files do, of whichever layout."""
    return _head_of(path)[0].startswith(b",".join(name.encode() for name in HEAD))


def plain(text: str) -> str:
    """Write a number as printed, `1e-7` as `0.0000001`."""
    return str(decimal(text))


class TardisFile:
    """A file's layout and time of its first row; nothing of it is held."""

    def __init__(self, path: Path) -> None:
        """Look at the first lines. Raises BadConfig for another layout, BadRecord for what is no row."""
        self.path = path
        header, line = _head_of(path)
        self.layout = self._layout(tuple(header.decode("utf-8", "replace").rstrip("\r\n").split(",")))
        cells = line.split(b",")
        #: Local time of the first row, us; a file without rows comes last.
        self.first = MICROSECONDS_END
        if line.strip():
            if len(cells) < len(HEAD) or not cells[3].strip().isdigit():
                raise BadRecord(f"{path}: the first row is {line[:80]!r}, allowed are {', '.join(HEAD)}, ...")
            self.first = int(cells[3])

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:
        """Name the columns of prices and of their sizes, asks and bids by turns where they are snapshots."""
        if self.layout not in SNAPSHOTS:
            return [("price", "amount")]
        columns = LAYOUTS[self.layout][len(HEAD) :]
        return list(zip(columns[::2], columns[1::2], strict=True))

    def blocks(self) -> Iterator["Block"]:
        """Read the file from its begin. Raises BadRecord."""
        columns = LAYOUTS[self.layout]
        types: dict[str, Any] = dict.fromkeys(columns, _TEXT)
        types |= {"timestamp": pa.int64(), "local_timestamp": pa.int64(), "is_snapshot": pa.bool_(), "id": pa.string()}
        last, number = 0, 0
        with self.guarded(), _open(self.path) as file:
            reader = csv.open_csv(
                file,
                read_options=csv.ReadOptions(use_threads=False, block_size=BLOCK),
                convert_options=csv.ConvertOptions(
                    column_types={name: types[name] for name in columns},
                    include_columns=columns,
                    null_values=[],
                    strings_can_be_null=False,
                ),
            )
            for batch in reader:
                if batch.num_rows:
                    block = Block(batch)
                    last = block.check(last, number)
                    number += batch.num_rows
                    yield block

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Say of which file something is wrong."""
        try:
            yield
        except BadFrame as error:
            raise BadRecord(f"{self.path}: {error}") from error
        except (pa.ArrowException, OSError, EOFError, zlib.error, ValueError) as error:
            raise BadRecord(f"{self.path} cannot be read as {self.layout} of Tardis: {error}") from error

    def _layout(self, header: tuple[str, ...]) -> str:
        found = [name for name, columns in LAYOUTS.items() if columns == header]
        if not found:
            raise BadConfig(
                f"{self.path} has columns {','.join(header)[:200]!r}, which is no layout of Tardis that is read; "
                f"allowed are {', '.join(LAYOUTS)}"
            )
        if len(found) == 1:
            return found[0]
        for part in reversed(self.path.absolute().parts):
            named = _NAMED.findall(part)
            if named:
                return str(named[0])
        raise BadConfig(
            f"{self.path} may be {' or '.join(found)}, which have one layout; allowed are names of files or folders "
            "that say which"
        )


class Block:
    """Some rows of a file, as columns."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch
        self.count: int = batch.num_rows
        exchange, symbol = batch.column("exchange"), batch.column("symbol")
        names = symbol.dictionary.to_pylist()
        codes = exchange.indices.to_numpy() * len(names) + symbol.indices.to_numpy()
        found, self.whose = np.unique(codes, return_inverse=True)
        exchanges = exchange.dictionary.to_pylist()
        #: Whose the rows are, by their place in this list.
        self.keys: list[Key] = [(exchanges[code // len(names)], names[code % len(names)]) for code in found.tolist()]

    def check(self, last: int, number: int) -> int:
        """Refuse stamps that are no microseconds or go back; give the last one."""
        received = self.ints("local_timestamp")
        for name in ("timestamp", "local_timestamp"):
            values = self.ints(name)
            bad = np.flatnonzero((values < MICROSECONDS_START) | (values >= MICROSECONDS_END))
            if len(bad):
                raise BadFrame(
                    "bad_time",
                    f"{name} {values[bad[0]]} in row {number + bad[0] + 1}, allowed are microseconds since 1970",
                )
        back = np.flatnonzero(np.diff(received, prepend=last) < 0)
        if len(back):
            raise BadFrame(
                "bad_time", f"local_timestamp goes back to {received[back[0]]} in row {number + back[0] + 1}"
            )
        return int(received[-1])

    def ints(self, column: str) -> Ints:
        """Give a column of integers."""
        return np.asarray(self._batch.column(column).to_numpy(), np.int64)

    def flags(self, column: str) -> NDArray[np.bool_]:
        """Give a column of true and false."""
        return np.asarray(self._batch.column(column).to_numpy(zero_copy_only=False), np.bool_)

    def texts(self, key: Key, column: str) -> list[str]:
        """Give the different texts of a column in the rows of one instrument."""
        values = self._batch.column(column)
        if len(self.keys) == 1:
            return list(values.dictionary.to_pylist())
        codes = np.unique(values.indices.to_numpy()[self.whose == self.keys.index(key)])
        return list(values.dictionary.take(pa.array(codes)).to_pylist())

    def mapped(self, column: str, value: Callable[[str], int]) -> Ints:
        """Give what a function makes of each different text, row by row."""
        values = self._batch.column(column)
        known: Ints = np.array([value(text) for text in values.dictionary.to_pylist()], np.int64)
        found: Ints = known[values.indices.to_numpy()]
        return found

    def scaled(self, column: str, decimals: Sequence[int]) -> Ints:
        """Give a column of numbers at each instrument's decimals; -1 where a cell is empty. Raises BadFrame."""

        def value(text: str, places: int) -> int:
            return scaled(plain(text), places) if text else -1

        if len(self.keys) == 1:
            return self.mapped(column, lambda text: value(text, decimals[0]))
        values = self._batch.column(column)
        found = np.empty(self.count, np.int64)
        for index, places in enumerate(decimals):
            own = self.whose == index
            codes, inverse = np.unique(values.indices.to_numpy()[own], return_inverse=True)
            texts = values.dictionary.take(pa.array(codes)).to_pylist()
            found[own] = np.array([value(text, places) for text in texts], np.int64)[inverse]
        return found

    def numbers(self, column: str) -> Ints:
        """Give a column of ids as numbers, 0 where one is none."""
        texts = self._batch.column(column).to_pylist()
        return np.array(
            [int(text) if len(text) < 19 and text.isdecimal() and text.isascii() else 0 for text in texts], np.int64
        )

    def rows(self) -> Iterator[tuple[Key, int, int, dict[str, str]]]:
        """Give row after row: whose, both stamps in us, the other cells as texts."""
        names = [name for name in self._batch.schema.names if name not in HEAD]
        columns = [self._batch.column(name).to_pylist() for name in names]
        stamps = self.ints("timestamp").tolist(), self.ints("local_timestamp").tolist()
        for whose, exchanged, received, *cells in zip(self.whose.tolist(), *stamps, *columns, strict=True):
            yield self.keys[whose], exchanged, received, dict(zip(names, cells, strict=True))


def _head_of(path: Path) -> tuple[bytes, bytes]:
    """Give the first two lines of a file, at most 64 KB each; nothing of what cannot be decompressed."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP
        with open_gzip(path) if packed else path.open("rb") as lines:
            return lines.readline(1 << 16), lines.readline(1 << 16)
    except (BadGzipFile, EOFError, zlib.error):
        return b"", b""


def _open(path: Path) -> Any:
    """Open a file, decompressed."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    return pa.PythonFile(open_gzip(path), mode="r") if packed else pa.input_stream(str(path), compression=None)
