"""Depth texts in, LEVEL rows and ids out: one pass of machine code over the raw bytes, no JSON tree in between.

The kernel understands exactly two texts: the diff frame `{"stream":"...","data":{...}}` or its bare inner
object, and the REST snapshot `{"lastUpdateId":1,"bids":[...],"asks":[...]}`, whose ten thousand levels would hold up
Python for 20 ms. Keys in any order, blanks where JSON allows them, unknown keys with plain strings, whole numbers,
true, false or null. On anything else it refuses, and the caller takes the slow path (orjson and `ingest.decimals`),
which then decides. So the kernel may refuse what is right, but never accept what the slow path would not, or read it
otherwise.

Half of a frame's time was once spent around the kernel, so all that is known before is one array of integers (`plan`),
and the rows are written where they stay, in memory that many frames share (`ingest.scanner`).
"""

from typing import Final

import numpy as np

from engine.kernel import Text, brief, byte_at, inlined, inner, pinned
from engine.schema import LEVEL, Flag, Kind, Rows
from ingest.rows import MESSAGE_AT, MESSAGES_END, ROWS_AT, WORDS, Words
from ingest.tokens import (
    FULL,
    LOST_DIGIT,
    MISSING,
    STRUCTURE,
    beginning,
    expect,
    is_over,
    levels_from,
    matches,
    nanoseconds,
    rotate,
    skip,
    skip_blank,
    string,
    trimmed,
    whole,
)

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

#: Places in a plan: decimals, whether messages are chained by id, whether it is a body, the symbol's length and bytes.
_PRICE, _SIZE, _CHAIN, _BODY, _SYMBOL = range(5)

#: Words of one LEVEL row, and where a MESSAGE has what; its last three words hold several fields.
_LEVEL_WORDS: Final = LEVEL.itemsize // 8
EXCHANGED_WORD, PUBLISHED_WORD, _FIRST, _LAST, _PREVIOUS, FLAGS_WORD, _COUNT_BIDS, _KIND = range(2, WORDS)
_AT_KIND: Final = 16

_DELTA: Final = int(Kind.DELTA) << _AT_KIND
_SNAPSHOT: Final = int(Kind.SNAPSHOT) << _AT_KIND
BAD_TIME: Final = int(Flag.BAD_TIME) << 32
_EVENT: Final = np.frombuffer(b'"depthUpdate"', np.uint8)
_LAST_ID: Final = np.frombuffer(b'"lastUpdateId"', np.uint8)
_BIDS: Final = np.frombuffer(b'"bids"', np.uint8)
_ASKS: Final = np.frombuffer(b'"asks"', np.uint8)


def depth_plan(symbol: bytes, price_decimals: int, size_decimals: int, chained: bool, body: bool) -> Words:
    """Make what the kernel must know of an instrument; a body states no symbol."""
    return np.array([price_decimals, size_decimals, chained, body, len(symbol), *symbol], np.int64)


def is_ordered(message: Rows, levels: Rows) -> bool:
    """Tell whether a snapshot's levels come best first, no price twice, none empty."""
    bids = int(message["bids"][0])
    prices = levels["price"]
    ordered = (np.diff(prices[:bids]) < 0).all() and (np.diff(prices[bids:]) > 0).all()
    return bool(ordered and levels["size"].all())


@brief
def scan_depth(text: bytes, plan: Words, words: Words) -> int:
    """Write a MESSAGE row's words and its levels' into a block; return how many levels, or a refusal."""
    return scan_depth_in(pinned(text), 0, len(text), plan, words)


@inner
def scan_depth_in(frame: Text, start: int, end: int, plan: Words, words: Words) -> int:
    """Do so with a frame that is a part of a text, from `start` to `end`."""
    message, levels = words[MESSAGE_AT], words[ROWS_AT]
    if message == words[MESSAGES_END]:
        return FULL
    end = trimmed(frame, start, end)
    if end < 0:
        return STRUCTURE
    body = plan[_BODY] != 0
    at, wrapped = beginning(frame, start, end)
    if at < 0 or (wrapped and body):
        return STRUCTURE
    for i in range(WORDS):
        words[message + i] = 0
    found, at = _scan_object(frame, at, end, plan, words, message, levels)
    if found < 0:
        return found
    if not is_over(frame, at, end, wrapped):
        return STRUCTURE
    needed = NEEDED_OF_BODY if body else NEEDED
    chained = plan[_CHAIN] != 0
    if chained:
        needed |= CHAINED_OF_BODY if body else CHAINED
    if found & needed != needed:
        return MISSING
    count = _finish(words, message, chained, body)
    if count >= 0:
        words[MESSAGE_AT] = message + WORDS
        words[ROWS_AT] = levels + count * _LEVEL_WORDS
    return count


@inner
def _scan_object(
    frame: Text,
    at: int,
    end: int,
    plan: Words,
    words: Words,
    message: int,
    levels: int,
) -> tuple[int, int]:
    """Read the inner object, `at` being its first key; return what was found, or a refusal, and where it ended."""
    body = plan[_BODY] != 0
    limit = min(len(words), levels + CAPACITY * _LEVEL_WORDS)
    found = 0
    to = levels
    while True:
        close = string(frame, at, end)
        if close < 0:
            return STRUCTURE, at
        key = _key_of_body(frame, at, close) if body else _key(frame, at, close)
        at = skip_blank(frame, close + 1)
        if byte_at(frame, at) != ord(":"):
            return STRUCTURE, at
        at = skip_blank(frame, at + 1)
        if key & found:
            return STRUCTURE, at
        found |= key
        if key in (BIDS, ASKS):
            before = to
            to, at = levels_from(frame, at, end, int(plan[_PRICE]), int(plan[_SIZE]), words, to, limit)
            if to < 0:
                return to, at
            rows = (to - before) // _LEVEL_WORDS
            if key == BIDS:
                words[message + _COUNT_BIDS] += rows << 32
                if before > levels:
                    rotate(words, levels, before, to)
            words[message + _COUNT_BIDS] += rows
        elif key == 0:
            at = skip(frame, at, end)
        elif key == SYMBOL:
            at = expect(frame, at, end, plan, _SYMBOL)
        elif key == EVENT:
            at = at + len(_EVENT) if matches(frame, at, end, _EVENT) else STRUCTURE
        else:
            number, at = whole(frame, at)
            if number < 0:
                return STRUCTURE, at
            words[message + _word(key)] = number
        if at < 0:
            return STRUCTURE, at
        at = skip_blank(frame, at)
        if byte_at(frame, at) == ord("}"):
            return found, at + 1
        if byte_at(frame, at) != ord(","):
            return STRUCTURE, at
        at = skip_blank(frame, at + 1)


@inlined
def _word(key: int) -> int:
    """Return which word of a MESSAGE row a key's number goes to."""
    if key == FIRST:
        return _FIRST
    if key == LAST:
        return _LAST
    if key == PREVIOUS:
        return _PREVIOUS
    return PUBLISHED_WORD if key == PUBLISHED else EXCHANGED_WORD


@inner
def _finish(words: Words, message: int, chained: bool, body: bool) -> int:
    """Turn stamps into nanoseconds and fill what the venue does not state; return the number of rows, or a refusal."""
    published = 0 if body and not chained else nanoseconds(words[message + PUBLISHED_WORD])
    exchanged = nanoseconds(words[message + EXCHANGED_WORD]) if chained else published
    # A body's other ids are unknown keys, and not looked at; of a diff both were found.
    if published < 0 or exchanged < 0 or words[message + _FIRST] > words[message + _LAST]:
        return STRUCTURE
    words[message + PUBLISHED_WORD] = published
    words[message + EXCHANGED_WORD] = exchanged
    if body or not chained:
        words[message + _PREVIOUS] = -1
    words[message + _KIND] = _SNAPSHOT if body else _DELTA
    if exchanged > published:
        words[message + FLAGS_WORD] = BAD_TIME
    return int(words[message + _COUNT_BIDS]) & 0xFFFFFFFF


@inlined
def _key(frame: Text, start: int, close: int) -> int:
    """Return the bit of a key, 0 for one we do not know; `start` and `close` are where its quotes are."""
    first = byte_at(frame, start + 1)
    if close - start == 3:
        return PREVIOUS if first == ord("p") and byte_at(frame, start + 2) == ord("u") else 0
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


@inner
def _key_of_body(frame: Text, start: int, close: int) -> int:
    """Return the bit of a REST body's key, 0 for one we do not know."""
    if close - start == 2:
        if byte_at(frame, start + 1) == ord("E"):
            return PUBLISHED
        return EXCHANGED if byte_at(frame, start + 1) == ord("T") else 0
    if matches(frame, start, close + 1, _BIDS):
        return BIDS
    if matches(frame, start, close + 1, _ASKS):
        return ASKS
    return LAST if matches(frame, start, close + 1, _LAST_ID) else 0
