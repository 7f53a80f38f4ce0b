"""Depth texts in, LEVEL rows and ids out: one pass of machine code over the raw bytes, no JSON tree in between.

The kernel understands exactly two texts: the diff frame `{"stream":"...","data":{...}}` or its bare inner
object, and the REST snapshot `{"lastUpdateId":1,"bids":[...],"asks":[...]}`, whose ten thousand levels would hold up
Python for 20 ms. Keys in any order, blanks where JSON allows them, unknown keys with plain strings, whole numbers,
true, false or null. On anything else it refuses, and the caller takes the slow path (orjson and `ingest.decimals`),
which then decides. So the kernel may refuse what is right, but never accept what the slow path would not, or read it
otherwise.
"""

from typing import Final

import numpy as np

from engine.kernel import kernel
from engine.schema import LEVEL, MESSAGE, Flag, Kind, Rows
from ingest.tokens import (
    FULL,
    LOST_DIGIT,
    STRUCTURE,
    expect,
    is_blank,
    levels_from,
    matches,
    nanoseconds,
    rotate,
    skip,
    skip_blank,
    string,
    whole,
)

#: A refusal, beside those of one token.
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
#: The same for a REST body.
NEEDED_OF_BODY: Final = LAST | BIDS | ASKS
CHAINED_OF_BODY: Final = EXCHANGED | PUBLISHED

_DELTA: Final = int(Kind.DELTA)
_SNAPSHOT: Final = int(Kind.SNAPSHOT)
_BAD_TIME: Final = int(Flag.BAD_TIME)
_STREAM: Final = np.frombuffer(b'"stream"', np.uint8)
_DATA: Final = np.frombuffer(b'"data"', np.uint8)
_EVENT: Final = np.frombuffer(b'"depthUpdate"', np.uint8)
_LAST_ID: Final = np.frombuffer(b'"lastUpdateId"', np.uint8)
_BIDS: Final = np.frombuffer(b'"bids"', np.uint8)
_ASKS: Final = np.frombuffer(b'"asks"', np.uint8)


class Scanner:
    """One buffer for the rows of a message, used again for every frame."""

    def __init__(self) -> None:
        self._memory = bytearray(CAPACITY * LEVEL.itemsize)
        self._levels = np.frombuffer(self._memory, LEVEL)

    def scan(
        self, frame: bytes, symbol: bytes, price_decimals: int, size_decimals: int, chained: bool
    ) -> tuple[Rows, Rows] | int:
        """Return one DELTA MESSAGE row and its LEVEL rows, or a refusal (a key of REFUSALS)."""
        return self._run(frame, symbol, price_decimals, size_decimals, chained, False)

    def scan_body(self, body: bytes, price_decimals: int, size_decimals: int, chained: bool) -> tuple[Rows, Rows] | int:
        """Return one SNAPSHOT MESSAGE row and its LEVEL rows, best first, or a refusal (a key of REFUSALS)."""
        scanned = self._run(body, b"", price_decimals, size_decimals, chained, True)
        if not isinstance(scanned, int):
            message, levels = scanned
            bids = int(message["bids"][0])
            prices = levels["price"]
            ordered = (np.diff(prices[:bids]) < 0).all() and (np.diff(prices[bids:]) > 0).all()
            if not ordered or not levels["size"].all():
                return STRUCTURE
        return scanned

    def _run(
        self, text: bytes, symbol: bytes, price_decimals: int, size_decimals: int, chained: bool, body: bool
    ) -> tuple[Rows, Rows] | int:
        if not text:
            return STRUCTURE
        message = np.frombuffer(bytearray(MESSAGE.itemsize), MESSAGE)
        found = scan_depth(text, symbol, price_decimals, size_decimals, chained, body, message, self._levels)
        if found < 0:
            return int(found)
        # Three times faster than to copy a structured array.
        return message, np.frombuffer(self._memory[: found * LEVEL.itemsize], LEVEL)


@kernel
def scan_depth(
    frame: bytes,
    symbol: bytes,
    price_decimals: int,
    size_decimals: int,
    chained: bool,
    body: bool,
    message: Rows,
    levels: Rows,
) -> int:
    """Fill `message[0]` and the first rows of `levels` from a depth text; return how many rows, or a refusal."""
    end = len(frame)
    while end > 1 and is_blank(frame[end - 1]):
        end -= 1
    if frame[end - 1] != ord("}"):
        return STRUCTURE
    at = skip_blank(frame, 0)
    if frame[at] != ord("{"):
        return STRUCTURE
    at = skip_blank(frame, at + 1)
    wrapped = not body and matches(frame, at, end, _STREAM)
    if wrapped:
        at = _open_wrapper(frame, at, end)
        if at < 0:
            return STRUCTURE
    found, at = _scan_object(frame, at, end, symbol, price_decimals, size_decimals, body, message, levels)
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
    needed = NEEDED_OF_BODY if body else NEEDED
    if chained:
        needed |= CHAINED_OF_BODY if body else CHAINED
    if found & needed != needed:
        return MISSING
    return _finish(message, chained, body)


@kernel
def _scan_object(
    frame: bytes,
    at: int,
    end: int,
    symbol: bytes,
    price_decimals: int,
    size_decimals: int,
    body: bool,
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
        key = _key_of_body(frame, at, close) if body else _key(frame, at, close)
        at = skip_blank(frame, close + 1)
        if frame[at] != ord(":"):
            return STRUCTURE, at
        at = skip_blank(frame, at + 1)
        if key & found:
            return STRUCTURE, at
        found |= key
        if key in (BIDS, ASKS):
            before = count
            count, at = levels_from(frame, at, price_decimals, size_decimals, levels, count)
            if count < 0:
                return count, at
            if key == BIDS:
                row["bids"] = count - before
                if before:
                    rotate(levels, before, count)
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
def _finish(message: Rows, chained: bool, body: bool) -> int:
    """Turn stamps into nanoseconds and fill what the venue does not state; return the number of rows, or a refusal."""
    row = message[0]
    published = 0 if body and not chained else nanoseconds(row["published"])
    exchanged = nanoseconds(row["exchanged"]) if chained else published
    if published < 0 or exchanged < 0 or row["first"] > row["last"]:
        return STRUCTURE
    row["published"] = published
    row["exchanged"] = exchanged
    if body or not chained:
        row["previous"] = -1
    row["kind"] = _SNAPSHOT if body else _DELTA
    if exchanged > published:
        row["flags"] = _BAD_TIME
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
def _key_of_body(frame: bytes, start: int, close: int) -> int:
    """Return the bit of a REST body's key, 0 for one we do not know."""
    if close - start == 2:
        if frame[start + 1] == ord("E"):
            return PUBLISHED
        return EXCHANGED if frame[start + 1] == ord("T") else 0
    if matches(frame, start, close + 1, _BIDS):
        return BIDS
    if matches(frame, start, close + 1, _ASKS):
        return ASKS
    return LAST if matches(frame, start, close + 1, _LAST_ID) else 0


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
