"""A book rebuilt from rows, in the plainest way."""

from typing import Any

from engine.schema import Kind

#: Side -> price -> size.
Book = dict[int, dict[int, int]]


def apply(book: Book, batch: Any) -> None:
    """Take a batch into a book."""
    at = 0
    for message in batch.messages:
        if message["kind"] not in (Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH, Kind.RESYNC):
            continue
        rows = batch.levels[at : at + message["count"]]
        at += len(rows)
        if message["kind"] == Kind.RESYNC:
            book[1], book[-1] = {}, {}
        for place, row in enumerate(rows if message["kind"] != Kind.TOUCH else ()):
            side = book[1 if place < message["bids"] else -1]
            if row["size"]:
                side[int(row["price"])] = int(row["size"])
            else:
                side.pop(int(row["price"]), None)
