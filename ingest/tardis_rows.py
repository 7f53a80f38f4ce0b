"""Rows of Tardis' books, trades and liquidations in, messages out: consecutive rows of one stamp and symbol are one."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from engine.errors import BadFrame
from engine.schema import LEVEL, LIQUIDATION, TRADE, Kind, Rows
from ingest.rows import message as message_row
from ingest.tardis_files import INCREMENTAL, MICROSECOND, Block, Key, TardisFile

#: Received us, whose, one MESSAGE row, its rows.
Told: TypeAlias = tuple[int, Key, Rows, Rows]
#: Whose -> decimals of prices and of sizes.
Scales: TypeAlias = Mapping[Key, tuple[int, int]]

#: A row of a book, a trade or a liquidation, in integers.
ROW: Final = np.dtype(
    [
        ("whose", "<i8"),
        ("exchanged", "<i8"),
        ("received", "<i8"),
        #: 0 or the number of the whole book that a level is of, so that no two whole books are one message.
        ("whole", "<i8"),
        #: +1 bid or buy, -1 ask or sell, 0 unknown.
        ("side", "<i8"),
        ("price", "<i8"),
        ("size", "<i8"),
        ("id", "<i8"),
    ]
)
SIDES: Final = {"bid": 1, "ask": -1, "buy": 1, "sell": -1, "unknown": 0}


class _Group(NamedTuple):
    """The rows of one message, from one index to another."""

    key: Key
    received: int
    exchanged: int
    whole: bool
    begin: int
    end: int


def book_messages(file: TardisFile, scales: Scales) -> Iterator[Told]:
    """Tell a file's whole books and changes."""
    for rows, keys in _pieces(file, scales):
        rows = _sorted(rows)
        levels = np.zeros(len(rows), LEVEL)
        levels["price"], levels["size"] = rows["price"], rows["size"]
        before = np.concatenate(([0], np.cumsum(rows["side"] > 0)))
        for group in _groups(rows, keys):
            message = message_row(
                Kind.SNAPSHOT if group.whole else Kind.DELTA,
                exchanged=group.exchanged,
                count=group.end - group.begin,
                bids=int(before[group.end] - before[group.begin]),
            )
            yield group.received, group.key, message, levels[group.begin : group.end]


def trade_messages(file: TardisFile, scales: Scales, counts: Counter[str]) -> Iterator[Told]:
    """Tell a file's trades; those whose aggressor is unknown are counted."""
    for rows, keys in _pieces(file, scales):
        rows = _sided(rows, counts, "trades of unknown side")
        trades = np.zeros(len(rows), TRADE)
        for name in ("price", "size", "id", "side"):
            trades[name] = rows[name]
        trades["exchanged"], trades["fills"] = rows["exchanged"] * MICROSECOND, 1
        for group in _groups(rows, keys):
            own = trades[group.begin : group.end]
            message = message_row(
                Kind.TRADE,
                exchanged=int(own["exchanged"][-1]),
                first=int(own["id"][0]),
                last=int(own["id"][-1]),
                count=len(own),
            )
            yield group.received, group.key, message, own


def liquidation_messages(
    file: TardisFile, scales: Scales, counts: Counter[str], kinds: Mapping[Key, tuple[int, int]]
) -> Iterator[Told]:
    """Tell a file's liquidations; `kinds` are each instrument's PriceKind and Coverage."""
    for rows, keys in _pieces(file, scales):
        rows = _sided(rows, counts, "liquidations of unknown side")
        prints = np.zeros(len(rows), LIQUIDATION)
        prints["exchanged"] = rows["exchanged"] * MICROSECOND
        prints["price"], prints["size"] = rows["price"], rows["size"]
        # The order's side: one that buys closes a short.
        prints["side"] = -rows["side"]
        for group in _groups(rows, keys):
            own = prints[group.begin : group.end]
            own["price_kind"], own["coverage"] = kinds[group.key]
            message = message_row(Kind.LIQUIDATION, exchanged=int(own["exchanged"][-1]), count=len(own))
            yield group.received, group.key, message, own


def _pieces(file: TardisFile, scales: Scales) -> Iterator[tuple[Rows, list[Key]]]:
    """Give a file's rows in pieces that end where a message ends."""
    keys: list[Key] = []
    rest = np.zeros(0, ROW)
    number = 0
    for block in file.blocks():
        keys += [key for key in block.keys if key not in keys]
        with file.guarded():
            rows = np.concatenate((rest, _rows(file, block, scales, number)))
        number += block.count
        rows["whose"][len(rest) :] = np.array([keys.index(key) for key in block.keys])[rows["whose"][len(rest) :]]
        begins = _begins(rows)
        yield rows[: begins[-1]], keys
        rest = rows[begins[-1] :]
    yield rest, keys


def _rows(file: TardisFile, block: Block, scales: Scales, number: int) -> Rows:
    """Read a block; the rows' `whose` are places in the block's own list."""
    price_decimals, size_decimals = zip(*(scales[key] for key in block.keys), strict=True)
    snapshots = len(file.pairs)
    rows = np.zeros((block.count, snapshots), ROW)
    rows["whose"] = block.whose[:, None]
    for ours, theirs in (("exchanged", "timestamp"), ("received", "local_timestamp")):
        rows[ours] = block.ints(theirs)[:, None]
    for column, (price, size) in enumerate(file.pairs):
        rows["price"][:, column] = block.scaled(price, price_decimals)
        rows["size"][:, column] = block.scaled(size, size_decimals)
        rows["side"][:, column] = -1 if price.startswith("asks") else 1
    if snapshots > 1:
        rows["whole"] = np.arange(number + 1, number + 1 + block.count)[:, None]
    else:
        rows["side"][:, 0] = block.mapped("side", _side)
        if file.layout == INCREMENTAL:
            rows["whole"][:, 0] = block.flags("is_snapshot")
        else:
            rows["id"][:, 0] = block.numbers("id")
    found: Rows = rows.ravel()
    if snapshots > 1:
        # Sides of a thin book have fewer levels than columns.
        found = found[(found["price"] >= 0) & (found["size"] >= 0)]
    bad = np.flatnonzero((found["price"] <= 0) | (found["size"] < 0))
    if len(bad):
        raise BadFrame("zero", f"a price or amount at local_timestamp {found['received'][bad[0]]} is 0 or empty")
    return found


def _side(text: str) -> int:
    if text not in SIDES:
        raise BadFrame("side", f"met {text!r}, allowed are {', '.join(SIDES)}")
    return SIDES[text]


def _begins(rows: Rows) -> Any:
    """Say where messages begin."""
    new = np.ones(len(rows), np.bool_)
    new[1:] = False
    for name in ("whose", "received", "whole"):
        new[1:] |= rows[name][1:] != rows[name][:-1]
    return np.flatnonzero(new) if len(rows) else np.zeros(1, np.int64)


def _groups(rows: Rows, keys: list[Key]) -> Iterator[_Group]:
    """Cut rows into messages."""
    if not len(rows):
        return
    begins = _begins(rows)
    firsts = rows[begins]
    columns = (firsts[name].tolist() for name in ("whose", "received", "exchanged", "whole"))
    ends = [*begins[1:].tolist(), len(rows)]
    for whose, received, exchanged, whole, begin, end in zip(*columns, begins.tolist(), ends, strict=True):
        yield _Group(keys[whose], received, exchanged * MICROSECOND, whole > 0, begin, end)


def _sorted(rows: Rows) -> Rows:
    """Put bids first; in a whole book the best first, no level of size 0, and of a price met twice the later size."""
    rows = rows[(rows["whole"] == 0) | (rows["size"] > 0)]
    best = np.where(rows["whole"] > 0, -rows["side"] * rows["price"], 0)
    rows = rows[np.lexsort((best, -rows["side"], _numbers(rows)))]
    last = np.ones(len(rows), np.bool_)
    last[:-1] = rows["whole"][1:] == 0
    for values in (_numbers(rows), rows["side"], rows["price"]):
        last[:-1] |= values[1:] != values[:-1]
    kept: Rows = rows[last]
    return kept


def _numbers(rows: Rows) -> Any:
    """Number each row's message."""
    new = np.zeros(len(rows), np.int64)
    new[_begins(rows)[1:]] = 1
    return np.cumsum(new)


def _sided(rows: Rows, counts: Counter[str], why: str) -> Rows:
    """Drop prints without a side or a size, and count them."""
    known = (rows["side"] != 0) & (rows["size"] > 0)
    if not known.all():
        counts[why] += int((~known).sum())
    kept: Rows = rows[known]
    return kept
