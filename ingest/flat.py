"""Flat JSON objects in, a MESSAGE row and a few rows out, by a form (`ingest.form`): trades, touches, marks.

As strict as `ingest.scan`, and for the same reason: what is not plainly as the form says is refused, never guessed, and
the caller takes the slow path, which then decides.
"""

from typing import Final

from engine.kernel import Text, brief, byte_at, inlined, inner, pinned
from ingest.form import (
    COUNT,
    DECIMALS,
    FALSE,
    FIELDS,
    KEY,
    KEY_BYTES,
    LENGTH,
    NEEDED,
    PUBLISHED,
    TAKE,
    TARGETS,
    TEMPLATE,
    TEXT,
    TO,
    TRUE,
    WIDTH,
    Take,
)
from ingest.rows import MESSAGE_AT, MESSAGES_END, Words
from ingest.scan import BAD_TIME, EXCHANGED_WORD, FLAGS_WORD, PUBLISHED_WORD
from ingest.tokens import (
    FULL,
    MISSING,
    STRUCTURE,
    beginning,
    decimal,
    expect,
    is_over,
    nanoseconds,
    nearest,
    skip,
    skip_blank,
    string,
    trimmed,
    truth,
    unquoted,
    whole,
)

_TEXT: Final = int(Take.TEXT)
_WHOLE: Final = int(Take.WHOLE)
_STAMP: Final = int(Take.STAMP)
_POSITIVE: Final = int(Take.POSITIVE)
_SIGNED: Final = int(Take.SIGNED)
_ROUNDED: Final = int(Take.ROUNDED)
_BOOLEAN: Final = int(Take.BOOLEAN)
_FROM: Final = int(Take.FROM)
_UPTO: Final = int(Take.UPTO)
#: A count is at most this.
_COUNTS: Final = 1 << 31


@brief
def scan_flat(text: bytes, plan: Words, words: Words) -> int:
    """Write a MESSAGE row's words and its rows' behind into a block; return how many rows, or a refusal."""
    return scan_flat_in(pinned(text), 0, len(text), plan, words)


@inner
def scan_flat_in(frame: Text, start: int, end: int, plan: Words, words: Words) -> int:
    """Do so with a frame that is a part of a text, from `start` to `end`."""
    message = words[MESSAGE_AT]
    if message == words[MESSAGES_END]:
        return FULL
    end = trimmed(frame, start, end)
    if end < 0:
        return STRUCTURE
    at, wrapped = beginning(frame, start, end)
    if at < 0:
        return STRUCTURE
    for i in range(plan[LENGTH]):
        words[message + i] = plan[TEMPLATE + i]
    found, at = _scan_fields(frame, at, end, plan, words, message)
    if found < 0:
        return found
    if not is_over(frame, at, end, wrapped):
        return STRUCTURE
    if found & plan[NEEDED] != plan[NEEDED]:
        return MISSING
    if plan[PUBLISHED] and words[message + EXCHANGED_WORD] > words[message + PUBLISHED_WORD]:
        words[message + FLAGS_WORD] |= BAD_TIME
    words[MESSAGE_AT] = message + plan[LENGTH]
    return int(plan[COUNT])


@inner
def _scan_fields(frame: Text, at: int, end: int, plan: Words, words: Words, message: int) -> tuple[int, int]:
    """Read the object, `at` being its first key; return which fields were found, or a refusal, and where it ended."""
    found = 0
    first = -1
    likely = 0
    while True:
        close = string(frame, at, end)
        if close < 0:
            return STRUCTURE, at
        field = _field_of(plan, _key(frame, at + 1, close), likely)
        at = skip_blank(frame, close + 1)
        if byte_at(frame, at) != ord(":"):
            return STRUCTURE, at
        at = skip_blank(frame, at + 1)
        if field < 0:
            at = skip(frame, at, end)
        else:
            if (found >> field) & 1:
                return STRUCTURE, at
            found |= 1 << field
            place = TEMPLATE + int(plan[LENGTH]) + field * WIDTH
            take = plan[place + TAKE]
            value, at = _value(frame, at, end, plan, place)
            if take == _FROM:
                first = value
            elif take == _UPTO:
                value = value - first + 1
                if first < 0 or value < 1 or value > _COUNTS:
                    return STRUCTURE, at
            _put(plan, place + TO, words, message, value)
            likely = field + 1
        if at < 0:
            return at, at
        at = skip_blank(frame, at)
        if byte_at(frame, at) == ord("}"):
            return found, at + 1
        if byte_at(frame, at) != ord(","):
            return STRUCTURE, at
        at = skip_blank(frame, at + 1)


@inlined
def _put(plan: Words, places: int, words: Words, message: int, value: int) -> None:
    """Add a value to the words that a field fills, which are zero there."""
    for i in range(TARGETS):
        word = plan[places + i]
        if word < 0:
            break
        words[message + word] += value


@inlined
def _key(frame: Text, at: int, close: int) -> int:
    """Return a key as a word, 0 for one that is longer than any of a form."""
    word = 0
    if close - at > KEY_BYTES:
        return 0
    for i in range(close - at):
        word |= byte_at(frame, at + i) << (8 * i)
    return word


@inlined
def _field_of(plan: Words, key: int, likely: int) -> int:
    """Return which field has a key, -1 for none; venues keep to one order, so the likely one is tried first."""
    count = int(plan[FIELDS])
    start = TEMPLATE + int(plan[LENGTH]) + KEY
    for i in range(count):
        field = likely + i
        if field >= count:
            field -= count
        if plan[start + field * WIDTH] == key:
            return field
    return -1


@inner
def _value(frame: Text, at: int, end: int, plan: Words, place: int) -> tuple[int, int]:
    """Read a field's value; return it and where it ended, or a refusal in the place of that."""
    take = plan[place + TAKE]
    decimals = int(plan[place + DECIMALS])
    if take == _TEXT:
        return 0, expect(frame, at, end, plan, place + TEXT)
    if take == _BOOLEAN:
        is_true, at = truth(frame, at, end)
        return int(plan[place + TRUE] if is_true else plan[place + FALSE]), at
    if take in (_WHOLE, _STAMP, _FROM, _UPTO):
        value, at = whole(frame, at)
        if take == _STAMP:
            value = nanoseconds(value) if value >= 0 else value
        return value, at if value >= 0 else STRUCTURE
    if take == _ROUNDED:
        value, at = nearest(frame, at, decimals)
        return value, at if value >= 0 else value
    return _decimal_value(frame, at, decimals, take)


@inner
def _decimal_value(frame: Text, at: int, decimals: int, take: int) -> tuple[int, int]:
    """Read an exact decimal, as `_value`."""
    negative = take == _SIGNED and byte_at(frame, at) == ord('"') and byte_at(frame, at + 1) == ord("-")
    if negative:
        value, at = unquoted(frame, at + 2, decimals)
    else:
        value, at = decimal(frame, at, decimals)
    if value < 0:
        return value, value
    if value == 0 and take == _POSITIVE:
        return value, STRUCTURE
    return -value if negative else value, at
