"""Bytes of one JSON text in, one token or list of levels out: the kernels under `ingest.scan` and `ingest.flat`.

Every kernel takes the pinned text, where to start, and returns where the token ended, or a refusal. No index leaves the
text: it must end with `}`; loops over digits or blanks stop at a brace, loops over strings check the text's length.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.kernel import Text, byte_at, inlined, inner
from ingest.decimals import MICROSECONDS_END, MICROSECONDS_START, MILLISECONDS_END
from ingest.digits import plain_levels
from ingest.rows import Words

#: Refusals: not what was expected here; a digit beyond the decimals asked for.
STRUCTURE: Final = -1
LOST_DIGIT: Final = -2
#: More levels than there are rows for.
FULL: Final = -3
#: A key that must be there is not.
MISSING: Final = -4

#: Digits of one number at most, so that 64 bits are never left; as in `ingest.decimals`.
DIGITS: Final = 18

_STREAM: Final = np.frombuffer(b'"stream"', np.uint8)
_DATA: Final = np.frombuffer(b'"data"', np.uint8)
_TRUE: Final = np.frombuffer(b"true", np.uint8)
_FALSE: Final = np.frombuffer(b"false", np.uint8)
_NULL: Final = np.frombuffer(b"null", np.uint8)


@inlined
def is_blank(byte: int) -> bool:
    return byte == 32 or byte == 10 or byte == 13 or byte == 9


@inlined
def skip_blank(frame: Text, at: int) -> int:
    while is_blank(byte_at(frame, at)):
        at += 1
    return at


@inner
def string(frame: Text, at: int, end: int) -> int:
    """Return where the plain string that opens at `at` closes, or -1: no escape, no control byte, ASCII only."""
    if byte_at(frame, at) != ord('"'):
        return -1
    at += 1
    while at < end:
        byte = byte_at(frame, at)
        if byte == ord('"'):
            return at
        if byte < 32 or byte > 126 or byte == ord("\\"):
            return -1
        at += 1
    return -1


@inner
def matches(frame: Text, at: int, end: int, word: NDArray[np.uint8]) -> bool:
    if at + len(word) > end:
        return False
    for i in range(len(word)):  # noqa: SIM110 (numba compiles the loop, not the generator)
        if byte_at(frame, at + i) != word[i]:
            return False
    return True


@inner
def expect(frame: Text, at: int, end: int, plan: Words, place: int) -> int:
    """Return where a quoted word ends that must stand here, or -1; the plan has its length and its bytes."""
    length = int(plan[place])
    close = at + length + 1
    if close >= end or byte_at(frame, at) != ord('"') or byte_at(frame, close) != ord('"'):
        return -1
    for i in range(length):
        if byte_at(frame, at + 1 + i) != plan[place + 1 + i]:
            return -1
    return close + 1


@inner
def whole(frame: Text, at: int) -> tuple[int, int]:
    """Read a whole number without sign or leading zeros; return it, or -1, and where it ended."""
    start = at
    value = 0
    digit = byte_at(frame, at) - 48
    while 0 <= digit <= 9:
        value = value * 10 + digit
        at += 1
        digit = byte_at(frame, at) - 48
    if at == start or at - start > DIGITS or (byte_at(frame, start) == ord("0") and at - start > 1):
        return -1, at
    return value, at


@inner
def decimal(frame: Text, at: int, decimals: int) -> tuple[int, int]:
    """Read a quoted decimal as an integer at a scale; return it, or a refusal, and where it ended."""
    if byte_at(frame, at) != ord('"'):
        return STRUCTURE, at
    return unquoted(frame, at + 1, decimals)


@inner
def unquoted(frame: Text, at: int, decimals: int) -> tuple[int, int]:
    """Read the same from its first digit on."""
    start = at
    value = 0
    digit = byte_at(frame, at) - 48
    while 0 <= digit <= 9:
        value = value * 10 + digit
        at += 1
        digit = byte_at(frame, at) - 48
    if at == start or at - start + decimals > DIGITS:
        return STRUCTURE, at
    left = decimals
    if byte_at(frame, at) == ord("."):
        at += 1
        start = at
        digit = byte_at(frame, at) - 48
        while 0 <= digit <= 9:
            if left > 0:
                value = value * 10 + digit
                left -= 1
            elif digit != 0:
                return LOST_DIGIT, at
            at += 1
            digit = byte_at(frame, at) - 48
        if at == start or at - start > DIGITS:
            return STRUCTURE, at
    if byte_at(frame, at) != ord('"'):
        return STRUCTURE, at
    while left > 0:
        value *= 10
        left -= 1
    return value, at + 1


@inner
def nearest(frame: Text, at: int, decimals: int) -> tuple[int, int]:
    """Read a quoted decimal as the nearest integer at a scale, halves to even; return it, or a refusal, and its end."""
    if byte_at(frame, at) != ord('"'):
        return STRUCTURE, at
    at += 1
    start = at
    point = -1
    value = 0
    byte = byte_at(frame, at)
    while 48 <= byte <= 57 or (byte == ord(".") and point < 0 and at > start):
        if byte == ord("."):
            point = at
        else:
            value = value * 10 + byte - 48
        at += 1
        byte = byte_at(frame, at)
    places = at - 1 - point if point >= 0 else 0
    if at == start or byte != ord('"') or (point >= 0 and places == 0) or at - start - places + decimals > DIGITS:
        return STRUCTURE, at
    if at - start > DIGITS:
        return STRUCTURE, at
    unit = 1
    for _ in range(places - decimals):
        unit *= 10
    for _ in range(decimals - places):
        value *= 10
    rest = value % unit
    value //= unit
    if 2 * rest > unit or (2 * rest == unit and value % 2 == 1):
        value += 1
    return value, at + 1


@inner
def truth(frame: Text, at: int, end: int) -> tuple[bool, int]:
    """Read true or false; return it and where it ended, or a refusal in the place of that."""
    if matches(frame, at, end, _TRUE):
        return True, at + 4
    return False, at + 5 if matches(frame, at, end, _FALSE) else STRUCTURE


@inner
def skip(frame: Text, at: int, end: int) -> int:
    """Return where a simple value ends that nobody asked for, or -1."""
    if byte_at(frame, at) == ord('"'):
        close = string(frame, at, end)
        return close + 1 if close > 0 else -1
    if matches(frame, at, end, _TRUE) or matches(frame, at, end, _NULL):
        return at + 4
    if matches(frame, at, end, _FALSE):
        return at + 5
    number, at = whole(frame, at)
    return at if number >= 0 else -1


@inlined
def nanoseconds(stamp: int) -> int:
    if stamp < MILLISECONDS_END:
        return stamp * 1_000_000
    if MICROSECONDS_START <= stamp < MICROSECONDS_END:
        return stamp * 1_000
    return -1


@inner
def levels_from(
    frame: Text, at: int, end: int, price_decimals: int, size_decimals: int, words: Words, to: int, limit: int
) -> tuple[int, int]:
    """Read `[["price","size"],...]` into words from `to` on; return where the next would go, or a refusal."""
    if byte_at(frame, at) != ord("["):
        return STRUCTURE, at
    at = skip_blank(frame, at + 1)
    if byte_at(frame, at) == ord("]"):
        return to, at + 1
    while True:
        to, at, closed = plain_levels(frame, at, end, price_decimals, size_decimals, words, to, limit)
        if closed:
            return to, at
        if byte_at(frame, at) != ord("["):
            return STRUCTURE, at
        price, at = decimal(frame, skip_blank(frame, at + 1), price_decimals)
        if price <= 0:
            return STRUCTURE if price == 0 else price, at
        at = skip_blank(frame, at)
        if byte_at(frame, at) != ord(","):
            return STRUCTURE, at
        size, at = decimal(frame, skip_blank(frame, at + 1), size_decimals)
        if size < 0:
            return size, at
        at = skip_blank(frame, at)
        if byte_at(frame, at) != ord("]"):
            return STRUCTURE, at
        if to >= limit:
            return FULL, at
        words[to] = price
        words[to + 1] = size
        to += 2
        at = skip_blank(frame, at + 1)
        if byte_at(frame, at) == ord("]"):
            return to, at + 1
        if byte_at(frame, at) != ord(","):
            return STRUCTURE, at
        at = skip_blank(frame, at + 1)


@inner
def rotate(words: Words, start: int, middle: int, end: int) -> None:
    """Bring the words from `middle` to `end` before those from `start` on: three reversals, in place."""
    reverse(words, start, middle)
    reverse(words, middle, end)
    reverse(words, start, end)


@inner
def reverse(words: Words, start: int, end: int) -> None:
    end -= 1
    while start < end:
        words[start], words[end] = words[end], words[start]
        start += 1
        end -= 1


@inner
def beginning(frame: Text, at: int, end: int) -> tuple[int, bool]:
    """Return where the first key of `{...}`, or of `{"stream":"...","data":{...}}`, is, and whether it is the latter.

    The place is -1 where the text from `at` on begins otherwise; it must end with a brace.
    """
    at = skip_blank(frame, at)
    if byte_at(frame, at) != ord("{"):
        return -1, False
    at = skip_blank(frame, at + 1)
    if not matches(frame, at, end, _STREAM):
        return at, False
    at = skip_blank(frame, at + len(_STREAM))
    if byte_at(frame, at) != ord(":"):
        return -1, True
    close = string(frame, skip_blank(frame, at + 1), end)
    if close < 0:
        return -1, True
    at = skip_blank(frame, close + 1)
    if byte_at(frame, at) != ord(","):
        return -1, True
    at = skip_blank(frame, at + 1)
    if not matches(frame, at, end, _DATA):
        return -1, True
    at = skip_blank(frame, at + len(_DATA))
    if byte_at(frame, at) != ord(":"):
        return -1, True
    at = skip_blank(frame, at + 1)
    return skip_blank(frame, at + 1) if byte_at(frame, at) == ord("{") else -1, True


@inner
def is_over(frame: Text, at: int, end: int, wrapped: bool) -> bool:
    """Tell whether the text ends where its inner object does."""
    if not wrapped:
        return at == end
    if at >= end:
        return False
    at = skip_blank(frame, at)
    return byte_at(frame, at) == ord("}") and at + 1 == end


@inner
def trimmed(frame: Text, start: int, end: int) -> int:
    """Return where a text ends without the blanks at its end, or -1 where no brace ends it."""
    while end > start + 1 and is_blank(byte_at(frame, end - 1)):
        end -= 1
    return end if end > start and byte_at(frame, end - 1) == ord("}") else -1
