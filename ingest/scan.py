"""Depth frames in, LEVEL rows and ids out: one pass of machine code over the raw bytes, no JSON tree in between.

The kernel understands exactly what Binance sends, `{"stream":"...","data":{...}}` or the bare inner object: keys in any
order, blanks where JSON allows them, unknown keys with plain strings, whole numbers, true, false or null. On anything
else it refuses, and the caller takes the slow path (orjson and `ingest.decimals`), which then decides. So the kernel
may refuse what is right, but must never accept what the slow path would not, or read it otherwise.
"""

from typing import Final

import numpy as np

from engine.kernel import kernel
from engine.schema import LEVEL, MESSAGE, Kind, Rows
from ingest.tokens import (
    LOST_DIGIT,
    STRUCTURE,
    decimal,
    expect,
    is_blank,
    matches,
    nanoseconds,
    skip,
    skip_blank,
    string,
    whole,
)

#: Refusals, beside those of one token.
FULL: Final = -3
MISSING: Final = -4
REFUSALS: Final = {STRUCTURE: "structure", LOST_DIGIT: "lost_digit", FULL: "full", MISSING: "missing"}

#: Rows of one message at most; the longest recorded one has some thousand.
CAPACITY: Final = 1 << 14

#: Bits of what was found; those of NEEDED must be, and where messages are chained by id also those of CHAINED.
EVENT: Final = 1
SYMBOL: Final = 2
PUBLISHED: Final = 4
FIRST: Final = 8
LAST: Final = 16
BIDS: Final = 32
ASKS: Final = 64
EXCHANGED: Final = 128
PREVIOUS: Final = 256
NEEDED: Final = EVENT | SYMBOL | PUBLISHED | FIRST | LAST | BIDS | ASKS
CHAINED: Final = EXCHANGED | PREVIOUS

_DELTA: Final = int(Kind.DELTA)
_STREAM: Final = np.frombuffer(b'"stream"', np.uint8)
_DATA: Final = np.frombuffer(b'"data"', np.uint8)
_EVENT: Final = np.frombuffer(b'"depthUpdate"', np.uint8)


class Scanner:
    """One buffer for the rows of a message, used again for every frame."""

    def __init__(self) -> None:
        self._levels = np.zeros(CAPACITY, LEVEL)

    def scan(
        self, frame: bytes, symbol: bytes, price_decimals: int, size_decimals: int, chained: bool
    ) -> tuple[Rows, Rows] | int:
        """Return one DELTA MESSAGE row and its LEVEL rows, or a refusal (a key of REFUSALS)."""
        if not frame:
            return STRUCTURE
        message = np.zeros(1, MESSAGE)
        found = scan_depth(frame, symbol, price_decimals, size_decimals, chained, message, self._levels)
        if found < 0:
            return int(found)
        return message, self._levels[:found].copy()


@kernel
def scan_depth(
    frame: bytes,
    symbol: bytes,
    price_decimals: int,
    size_decimals: int,
    chained: bool,
    message: Rows,
    levels: Rows,
) -> int:
    """Fill `message[0]` and the first rows of `levels` from a depth frame; return how many rows, or a refusal."""
    end = len(frame)
    while end > 1 and is_blank(frame[end - 1]):
        end -= 1
    if frame[end - 1] != ord("}"):
        return STRUCTURE
    at = skip_blank(frame, 0)
    if frame[at] != ord("{"):
        return STRUCTURE
    at = skip_blank(frame, at + 1)
    wrapped = matches(frame, at, end, _STREAM)
    if wrapped:
        at = _open_wrapper(frame, at, end)
        if at < 0:
            return STRUCTURE
    found, at = _scan_object(frame, at, end, symbol, price_decimals, size_decimals, message, levels)
    if found < 0:
        return found
    if wrapped:
        if at >= end:
            return STRUCTURE
        at = skip_blank(frame, at)
        if frame[at] != ord("}"):
            return STRUCTURE
        at += 1
    if at != end:
        return STRUCTURE
    needed = NEEDED | CHAINED if chained else NEEDED
    if found & needed != needed:
        return MISSING
    return _finish(message, chained)


@kernel
def _scan_object(
    frame: bytes,
    at: int,
    end: int,
    symbol: bytes,
    price_decimals: int,
    size_decimals: int,
    message: Rows,
    levels: Rows,
) -> tuple[int, int]:
    """Read the inner object, `at` being its first key; return what was found, or a refusal, and where it ended."""
    row = message[0]
    found = 0
    count = 0
    while True:
        close = string(frame, at, end)
        if close < 0:
            return STRUCTURE, at
        key = _key(frame, at, close)
        at = skip_blank(frame, close + 1)
        if frame[at] != ord(":"):
            return STRUCTURE, at
        at = skip_blank(frame, at + 1)
        if key & found:
            return STRUCTURE, at
        found |= key
        if key in (BIDS, ASKS):
            before = count
            count, at = _levels(frame, at, price_decimals, size_decimals, levels, count)
            if count < 0:
                return count, at
            if key == BIDS:
                row["bids"] = count - before
                if before:
                    _rotate(levels, before, count)
            row["count"] = count
        elif key == 0:
            at = skip(frame, at, end)
        elif key == SYMBOL:
            at = expect(frame, at, end, symbol)
        elif key == EVENT:
            at = at + len(_EVENT) if matches(frame, at, end, _EVENT) else STRUCTURE
        else:
            number, at = whole(frame, at)
            if number < 0:
                return STRUCTURE, at
            _keep(row, key, number)
        if at < 0:
            return STRUCTURE, at
        at = skip_blank(frame, at)
        if frame[at] == ord("}"):
            return found, at + 1
        if frame[at] != ord(","):
            return STRUCTURE, at
        at = skip_blank(frame, at + 1)


@kernel
def _levels(
    frame: bytes, at: int, price_decimals: int, size_decimals: int, levels: Rows, count: int
) -> tuple[int, int]:
    """Read `[["price","size"],...]` into rows from `count` on; return how many there are then, or a refusal."""
    if frame[at] != ord("["):
        return STRUCTURE, at
    at = skip_blank(frame, at + 1)
    if frame[at] == ord("]"):
        return count, at + 1
    while True:
        if frame[at] != ord("["):
            return STRUCTURE, at
        price, at = decimal(frame, skip_blank(frame, at + 1), price_decimals)
        if price <= 0:
            return STRUCTURE if price == 0 else price, at
        at = skip_blank(frame, at)
        if frame[at] != ord(","):
            return STRUCTURE, at
        size, at = decimal(frame, skip_blank(frame, at + 1), size_decimals)
        if size < 0:
            return size, at
        at = skip_blank(frame, at)
        if frame[at] != ord("]"):
            return STRUCTURE, at
        if count == len(levels):
            return FULL, at
        levels[count]["price"] = price
        levels[count]["size"] = size
        count += 1
        at = skip_blank(frame, at + 1)
        if frame[at] == ord("]"):
            return count, at + 1
        if frame[at] != ord(","):
            return STRUCTURE, at
        at = skip_blank(frame, at + 1)


@kernel
def _keep(row: np.void, key: int, number: int) -> None:
    """Put a number where its key says."""
    if key == FIRST:
        row["first"] = number
    elif key == LAST:
        row["last"] = number
    elif key == PREVIOUS:
        row["previous"] = number
    elif key == PUBLISHED:
        row["published"] = number
    else:
        row["exchanged"] = number


@kernel
def _finish(message: Rows, chained: bool) -> int:
    """Turn stamps into nanoseconds and fill what the venue does not state; return the number of rows, or a refusal."""
    row = message[0]
    published = nanoseconds(row["published"])
    exchanged = nanoseconds(row["exchanged"]) if chained else published
    if published < 0 or exchanged < 0 or row["first"] > row["last"]:
        return STRUCTURE
    row["published"] = published
    row["exchanged"] = exchanged
    if not chained:
        row["previous"] = -1
    row["kind"] = _DELTA
    if exchanged > published:
        row["flags"] = 16
    count: int = row["count"]
    return count


@kernel
def _key(frame: bytes, start: int, close: int) -> int:
    """Return the bit of a key, 0 for one we do not know; `start` and `close` are where its quotes are."""
    first = frame[start + 1]
    if close - start == 3:
        return PREVIOUS if first == ord("p") and frame[start + 2] == ord("u") else 0
    if close - start != 2:
        return 0
    if first == ord("b"):
        return BIDS
    if first == ord("a"):
        return ASKS
    if first == ord("u"):
        return LAST
    if first == ord("U"):
        return FIRST
    if first == ord("E"):
        return PUBLISHED
    if first == ord("T"):
        return EXCHANGED
    if first == ord("s"):
        return SYMBOL
    return EVENT if first == ord("e") else 0


@kernel
def _open_wrapper(frame: bytes, at: int, end: int) -> int:
    """Go from the key "stream" to the first key of the object under "data", or return -1."""
    at = skip_blank(frame, at + len(_STREAM))
    if frame[at] != ord(":"):
        return -1
    close = string(frame, skip_blank(frame, at + 1), end)
    if close < 0:
        return -1
    at = skip_blank(frame, close + 1)
    if frame[at] != ord(","):
        return -1
    at = skip_blank(frame, at + 1)
    if not matches(frame, at, end, _DATA):
        return -1
    at = skip_blank(frame, at + len(_DATA))
    if frame[at] != ord(":"):
        return -1
    at = skip_blank(frame, at + 1)
    if frame[at] != ord("{"):
        return -1
    return skip_blank(frame, at + 1)


@kernel
def _rotate(levels: Rows, middle: int, end: int) -> None:
    """Bring the rows from `middle` to `end` before those up to `middle`: three reversals, in place."""
    _reverse(levels, 0, middle)
    _reverse(levels, middle, end)
    _reverse(levels, 0, end)


@kernel
def _reverse(levels: Rows, start: int, end: int) -> None:
    end -= 1
    while start < end:
        price, size = levels[start]["price"], levels[start]["size"]
        levels[start]["price"], levels[start]["size"] = levels[end]["price"], levels[end]["size"]
        levels[end]["price"], levels[end]["size"] = price, size
        start += 1
        end -= 1
