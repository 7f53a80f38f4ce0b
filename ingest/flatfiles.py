"""Flat files in, numbered rows out: CSV of market data, one level of a book or one trade a row.

A file may be gzipped, and begin with lines of comment (`#`). Its header says whose it is: `layout_of`. A message of the
venue is as many rows as it had levels; each repeats the message's own fields, which is what lets a damaged cell be told
from its neighbours. Rows are counted from 1, comments and header not counted.
"""

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from pkgutil import iter_modules
from typing import Final, NamedTuple, Protocol, TypeAlias

from engine.errors import BadConfig, BadRecord
from engine.schema import Batch
from ingest import venues
from ingest.findings import Findings

#: Lines of comment before the header at most.
MOST_COMMENT: Final = 10_000
#: What modules that know layouts end with.
_MARK: Final = "_tables"

#: Column -> text.
Cells: TypeAlias = dict[str, str]


class Row(NamedTuple):
    """One row of data."""

    number: int
    cells: Cells


class Layout(Protocol):
    """What a module says of the files that it knows."""

    #: Headers that it knows.
    HEADERS: Sequence[tuple[str, ...]]

    def read_table(self, path: Path, findings: Findings) -> Iterator[Batch]:
        """Give what passes as market rows, in the file's order; add what does not to the findings."""
        ...


def layout_of(path: Path) -> Layout | None:
    """Return who knows a file's layout by its header line; None where nobody does."""
    if not path.is_file():
        return None
    try:
        columns = header(path)
    except (BadRecord, UnicodeDecodeError):
        return None
    for name in (module.name for module in iter_modules(venues.__path__) if module.name.endswith(_MARK)):
        layout: Layout = import_module(f"{venues.__name__}.{name}")
        if columns in layout.HEADERS:
            return layout
    return None


def is_flatfile(path: Path) -> bool:
    """Say whether a file is a table of market data that can be read."""
    return layout_of(path) is not None


def read(paths: Iterable[Path | str], findings: Findings | None = None) -> Iterator[Batch]:
    """Give the market rows of flat files, merged by their receive times.

    Each file is a recording of its own. Messages with a finding are left out, and a book that misses some is not known
    until its next snapshot. Raises BadConfig for a file of no known layout, BadRecord for one that cannot be read.
    """
    found = Findings() if findings is None else findings
    streams = []
    for path in map(Path, paths):
        layout = layout_of(path)
        if layout is None:
            raise BadConfig(f"{path} is no flat file of market data: its header is none of the known ones")
        streams.append(layout.read_table(path, found))
    yield from merge(*streams, key=_received)


def _received(batch: Batch) -> int:
    return int(batch.messages["received"][0])


def header(path: Path) -> tuple[str, ...]:
    """Return the columns of a file. Raises BadRecord where there is no header."""
    with _text(path) as lines:
        try:
            return _header(path, lines)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadRecord(f"{path} cannot be unpacked: {error}") from error


def rows_of(path: Path, findings: Findings | None = None) -> Iterator[Row]:
    """Give the rows of a file; one with more or fewer cells than the header is a finding, and left out."""
    with _text(path) as lines:
        try:
            columns = _header(path, lines)
            for number, cells in enumerate(csv.reader(lines), 1):
                if len(cells) == len(columns):
                    yield Row(number, dict(zip(columns, cells, strict=True)))
                elif findings is not None:
                    findings.add(path, number, columns, f"{len(cells)} cells", f"{len(columns)}")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadRecord(f"{path} cannot be unpacked: {error}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadRecord(f"{path} is no CSV text: {error}") from error


def _header(path: Path, lines: TextIOWrapper) -> tuple[str, ...]:
    for _ in range(MOST_COMMENT):
        line = lines.readline(1 << 16)
        if not line.startswith("#"):
            return tuple(line.rstrip("\r\n").split(","))
    raise BadRecord(f"{path} has no header in its first {MOST_COMMENT} lines")


def _text(path: Path) -> TextIOWrapper:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return TextIOWrapper(gzip.open(path) if packed else path.open("rb"), "utf-8", newline="")
