"""What tests do with flat files: a book kept the naive way, and copies with a cell, a row or a message changed."""

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from engine.schema import Batch, Kind
from ingest.flatfiles import Row, rows_of

#: Price -> size of bids and of asks, wire decimals.
Book: TypeAlias = tuple[dict[int, int], dict[int, int]]


def book_of(batches: Iterable[Batch], until: int) -> Book:
    """Keep a book by the rows up to an id."""
    book: Book = ({}, {})
    for batch in batches:
        message = batch.messages[0]
        if message["kind"] == Kind.SNAPSHOT:
            book = ({}, {})
        elif message["kind"] != Kind.DELTA:
            continue
        for index, (price, size) in enumerate(batch.levels.tolist()):
            side = book[0] if index < message["bids"] else book[1]
            side[price] = size
            if not size:
                del side[price]
        if message["last"] >= until:
            return book
    raise AssertionError(f"the rows end before {until}")


def levels_of(book: Book, side: int, count: int) -> list[tuple[int, int]]:
    """Give the best levels of a side."""
    return sorted(book[side].items(), reverse=not side)[:count]


def rest_snapshot(path: Path) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Give bids and asks of the first REST snapshot in a merged file, at 5 and 0 decimals."""
    sides: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for _, cells in rows_of(path):
        if cells["StreamType"] == "DEPTH_SNAPSHOT":
            level = (round(float(cells["Price"]) * 10**5), int(float(cells["Quantity"])))
            sides[int(cells["IsAsk"])].append(level)
            if cells["IsLast"] == "1":
                return sides
    raise AssertionError(f"no snapshot in {path}")


def write(path: Path, rows: Iterable[Row], change: Callable[[Row], list[Row]] = lambda row: [row]) -> Path:
    """Write rows as a file, each as `change` has it."""
    changed = [each for row in rows for each in change(row)]
    lines = [",".join(changed[0].cells), *(",".join(row.cells.values()) for row in changed)]
    path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", 1))
    return path
