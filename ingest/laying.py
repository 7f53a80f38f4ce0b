"""Columns in, rows out: the kernels that lay a lake's messages and levels, and check messages on the way.

A column is an array with a step: 1, or 0 where one value stands for all rows. In plain Python the same functions run.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine import lake
from engine.kernel import kernel
from engine.lake import MESSAGES, ROWS, Before
from engine.schema import Kind, Rows

#: What `lay_messages` found, as bits: a sequence that does not rise, a message that may not be.
FALLS: Final = 1
FAULTY: Final = 2

#: Per kind the index in ROWS of the channel of its rows; lake.NOWHERE: it has none; _UNKNOWN: there is no such kind.
_UNKNOWN: Final = 254
_WHOSE: Final = np.array([lake.whose(kind) if 1 <= kind <= max(Kind) else _UNKNOWN for kind in range(256)], np.uint8)

_FIELDS: Final = MESSAGES.fields
_RECEIVED: Final = _FIELDS.index("received")
_MONOTONIC: Final = _FIELDS.index("monotonic")
_EXCHANGED: Final = _FIELDS.index("exchanged")
_PUBLISHED: Final = _FIELDS.index("published")
_FIRST: Final = _FIELDS.index("first")
_LAST: Final = _FIELDS.index("last")
_PREVIOUS: Final = _FIELDS.index("previous")
_EPOCH: Final = _FIELDS.index("epoch")
_FLAGS: Final = _FIELDS.index("flags")
_COUNT: Final = _FIELDS.index("count")
_BIDS: Final = _FIELDS.index("bids")
_CONNECTION: Final = _FIELDS.index("connection")
_KIND: Final = _FIELDS.index("kind")
_STATUS: Final = _FIELDS.index("status")


@kernel
def _lay_messages(
    columns: Any,
    steps: Any,
    sequence: Any,
    sequence_step: int,
    whose: Any,
    clock: Any,
    ids: Any,
    rows: Any,
    words: Any,
    sums: Any,
) -> int:
    """Lay every field of each message, sum the counts by `whose`, and give the bits of what is wrong.

    `words` are the memory of `rows`. Where `clock` has a word, `exchanged`, `last` and `previous` are steps: it holds
    the message before's exchanged, and `ids` by kind its `last`, and what `previous` is more than.
    """
    found, sequence_before = 0, 0
    stepwise = len(clock) > 0
    for i in range(len(rows)):
        kind, count = columns[_KIND][i * steps[_KIND]], columns[_COUNT][i * steps[_COUNT]]
        bids, previous = columns[_BIDS][i * steps[_BIDS]], columns[_PREVIOUS][i * steps[_PREVIOUS]]
        exchanged, last = columns[_EXCHANGED][i * steps[_EXCHANGED]], columns[_LAST][i * steps[_LAST]]
        if stepwise:
            exchanged += clock[0]
            last += ids[kind, 0]
            previous += ids[kind, 1]
            clock[0], ids[kind, 0], ids[kind, 1] = exchanged, last, -1 if previous == -1 else last
        row = rows[i]
        # A row ends in padding.
        words[i, words.shape[1] - 1] = 0
        row["received"] = columns[_RECEIVED][i * steps[_RECEIVED]]
        row["monotonic"] = columns[_MONOTONIC][i * steps[_MONOTONIC]]
        row["exchanged"] = exchanged
        row["published"] = columns[_PUBLISHED][i * steps[_PUBLISHED]] + exchanged
        row["first"] = columns[_FIRST][i * steps[_FIRST]] + last
        row["last"] = last
        row["previous"] = previous
        row["epoch"] = columns[_EPOCH][i * steps[_EPOCH]]
        row["flags"] = columns[_FLAGS][i * steps[_FLAGS]]
        row["count"] = count
        row["bids"] = bids
        row["connection"] = columns[_CONNECTION][i * steps[_CONNECTION]]
        row["kind"] = kind
        row["status"] = columns[_STATUS][i * steps[_STATUS]]
        channel = whose[kind]
        if channel == _UNKNOWN or (channel == lake.NOWHERE and count) or bids > (count if channel == 0 else 0):
            found |= FAULTY
        sums[channel] += count
        at = sequence[i * sequence_step]
        if i and at <= sequence_before:
            found |= FALLS
        sequence_before = at
    return found


@kernel
def _place(kinds: Any, kind_step: int, counts: Any, count_step: int, slots: Any, out: Any) -> None:
    """Say where each message's rows begin, by channel that has some; first, how many messages and rows are before."""
    used = len(out) - 1
    last = out.shape[1] - 1
    for i in range(last):
        height = i
        for slot in range(1, used + 1):
            height += out[slot, i]
            out[slot, i + 1] = out[slot, i]
        out[0, i] = height
        own = slots[kinds[i * kind_step]]
        if own:
            out[own, i + 1] += counts[i * count_step]
    height = last
    for slot in range(1, used + 1):
        height += out[slot, last]
    out[0, last] = height


@kernel
def lay_levels(prices: Any, sizes: Any, words: Any) -> None:
    """Lay prices and sizes, n each, side by side into n x 2 words."""
    for i in range(len(words)):
        words[i, 0] = prices[i]
        words[i, 1] = sizes[i]


def lay_messages(columns: Mapping[str, Any], before: Before | None, rows: Rows) -> tuple[int, NDArray[np.int64]]:
    """Lay a row group's columns, as they are stored, and `sequence` among them, into rows.

    `before` is what the messages before say, None where columns hold no steps. Gives the bits of what is wrong, and how
    many rows of each of ROWS the messages promise.
    """
    laid, each = zip(*(stepped(columns[name]) for name in _FIELDS), strict=True)
    steps = np.array(each, np.int64)
    clock = np.array([] if before is None else [before.exchanged], np.int64)
    ids = np.zeros((256, 2), np.int64)
    if before is not None:
        ids[:, 1] = -1
        for kind, last in before.last.items():
            ids[kind] = last, before.linked[kind]
    sums, words = np.zeros(256, np.int64), rows.view(np.int64).reshape(len(rows), -1)
    # Differences wrap, of which numpy would warn where kernels are plain Python.
    with np.errstate(over="ignore"):
        found = _lay_messages(laid, steps, *stepped(columns["sequence"]), _WHOSE, clock, ids, rows, words, sums)
    return int(found), sums[: len(ROWS)]


def place(columns: Mapping[str, Any], sums: NDArray[np.int64], out: NDArray[np.int64]) -> dict[str, Any]:
    """Give `lake.offsets` of messages without a fault, of parts that have rows, in memory that is handed in.

    `out` has a row of n + 1 words for the sum of all of them, then one for each part.
    """
    slots = np.zeros(256, np.int64)
    parts: dict[str, Any] = {}
    for index in np.flatnonzero(sums).tolist():
        parts[ROWS[index].part] = out[len(parts) + 1]
        slots[index == _WHOSE] = len(parts)
    out[:, 0] = 0
    _place(*stepped(columns["kind"]), *stepped(columns["count"]), slots, out)
    return parts


def stepped(column: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Give a column as kernels take it, which write to none, and its step."""
    step = 0 if column.strides == (0,) else 1
    column = column[:] if step else column[:1]
    column.flags.writeable = False
    return column, step
