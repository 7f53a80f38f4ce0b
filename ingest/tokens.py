"""Bytes of one JSON text in, one token or list of levels out: the kernels under `ingest.scan`.

Every kernel takes the text, where to start, and returns where the token ended, or a refusal. No index leaves the text:
it must end with `}`; loops over digits or blanks stop at a brace, loops over strings check the text's length.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.kernel import kernel
from engine.schema import Rows
from ingest.decimals import MICROSECONDS_END, MICROSECONDS_START, MILLISECONDS_END

#: Refusals: not what was expected here; a digit beyond the decimals asked for.
STRUCTURE: Final = -1
LOST_DIGIT: Final = -2
#: More levels than there are rows for.
FULL: Final = -3

#: Digits of one number at most, so that 64 bits are never left; as in `ingest.decimals`.
DIGITS: Final = 18

_TRUE: Final = np.frombuffer(b"true", np.uint8)
_FALSE: Final = np.frombuffer(b"false", np.uint8)
_NULL: Final = np.frombuffer(b"null", np.uint8)


@kernel
def is_blank(byte: int) -> bool:
    return byte == 32 or byte == 10 or byte == 13 or byte == 9


@kernel
def skip_blank(frame: bytes, at: int) -> int:
    while is_blank(frame[at]):
        at += 1
    return at


@kernel
def string(frame: bytes, at: int, end: int) -> int:
    """Return where the plain string that opens at `at` closes, or -1: no escape, no control byte, ASCII only."""
    if frame[at] != ord('"'):
        return -1
    at += 1
    while at < end:
        byte = frame[at]
        if byte == ord('"'):
            return at
        if byte < 32 or byte > 126 or byte == ord("\\"):
            return -1
        at += 1
    return -1


@kernel
def matches(frame: bytes, at: int, end: int, word: NDArray[np.uint8]) -> bool:
    if at + len(word) > end:
        return False
    for i in range(len(word)):  # noqa: SIM110 (numba compiles the loop, not the generator)
        if frame[at + i] != word[i]:
            return False
    return True


@kernel
def expect(frame: bytes, at: int, end: int, word: bytes) -> int:
    """Return where a quoted word ends that must stand here, or -1."""
    close = at + len(word) + 1
    if close >= end or frame[at] != ord('"') or frame[close] != ord('"'):
        return -1
    for i in range(len(word)):
        if frame[at + 1 + i] != word[i]:
            return -1
    return close + 1


@kernel
def whole(frame: bytes, at: int) -> tuple[int, int]:
    """Read a whole number without sign or leading zeros; return it, or -1, and where it ended."""
    start = at
    value = 0
    digit = frame[at] - 48
    while 0 <= digit <= 9:
        value = value * 10 + digit
        at += 1
        digit = frame[at] - 48
    if at == start or at - start > DIGITS or (frame[start] == ord("0") and at - start > 1):
        return -1, at
    return value, at


@kernel
def decimal(frame: bytes, at: int, decimals: int) -> tuple[int, int]:
    """Read a quoted decimal as an integer at a scale; return it, or a refusal, and where it ended."""
    if frame[at] != ord('"'):
        return STRUCTURE, at
    at += 1
    start = at
    value = 0
    digit = frame[at] - 48
    while 0 <= digit <= 9:
        value = value * 10 + digit
        at += 1
        digit = frame[at] - 48
    if at == start or at - start + decimals > DIGITS:
        return STRUCTURE, at
    left = decimals
    if frame[at] == ord("."):
        at += 1
        start = at
        digit = frame[at] - 48
        while 0 <= digit <= 9:
            if left > 0:
                value = value * 10 + digit
                left -= 1
            elif digit != 0:
                return LOST_DIGIT, at
            at += 1
            digit = frame[at] - 48
        if at == start or at - start > DIGITS:
            return STRUCTURE, at
    if frame[at] != ord('"'):
        return STRUCTURE, at
    while left > 0:
        value *= 10
        left -= 1
    return value, at + 1


@kernel
def skip(frame: bytes, at: int, end: int) -> int:
    """Return where a simple value ends that nobody asked for, or -1."""
    if frame[at] == ord('"'):
        close = string(frame, at, end)
        return close + 1 if close > 0 else -1
    if matches(frame, at, end, _TRUE) or matches(frame, at, end, _NULL):
        return at + 4
    if matches(frame, at, end, _FALSE):
        return at + 5
    number, at = whole(frame, at)
    return at if number >= 0 else -1


@kernel
def nanoseconds(stamp: int) -> int:
    if stamp < MILLISECONDS_END:
        return stamp * 1_000_000
    if MICROSECONDS_START <= stamp < MICROSECONDS_END:
        return stamp * 1_000
    return -1


@kernel
def levels_from(
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
def rotate(levels: Rows, middle: int, end: int) -> None:
    """Bring the rows from `middle` to `end` before those up to `middle`: three reversals, in place."""
    reverse(levels, 0, middle)
    reverse(levels, middle, end)
    reverse(levels, 0, end)


@kernel
def reverse(levels: Rows, start: int, end: int) -> None:
    end -= 1
    while start < end:
        price, size = levels[start]["price"], levels[start]["size"]
        levels[start]["price"], levels[start]["size"] = levels[end]["price"], levels[end]["size"]
        levels[end]["price"], levels[end]["size"] = price, size
        start += 1
        end -= 1
