"""Decimals and levels as venues nearly always print them in, integers out, eight digits at once.

Such a decimal has all of its instrument's decimals, at most eight, and one to eight digits before the point; levels
stand side by side without a blank. Anything else is left to the careful kernels of `ingest.tokens`, which then decide.

Eight digits in one word become a number in three multiplications instead of eight: neighbours are joined to pairs,
pairs to fours, fours to one (known from simdjson; D. Lemire, "Quickly parsing eight digits", 2018). A digit is a byte
whose exclusive or with "0" is at most 9, so one addition checks all eight. Signed words throughout: what a
multiplication carries beyond 64 bits is never looked at. The quotes of a whole level are found by one comparison of 32
bytes, for where a number ends is what the next one waits for.
"""

from typing import Final

import numpy as np

from engine.kernel import Text, inlined, kernel, low_bit, places_of, word_at
from ingest.rows import Words

#: Digits on each side of the point at most.
EIGHT: Final = 8
#: Bytes that must precede a decimal, and those from its first digit on that must be inside the text.
BEFORE: Final = 16
ROOM: Final = 24
#: The same from a level's bracket on: two decimals and what stands around them.
ROOM_OF_LEVEL: Final = 56

_ZEROS: Final = 0x3030303030303030
_ABOVE_NINE: Final = 0x7676767676767676
#: The highest bit of each byte.
_HIGH: Final = -0x7F7F7F7F7F7F7F80
_PAIRS: Final = 0x000000FF000000FF
_OUTER: Final = 100 + (1_000_000 << 32)
_INNER: Final = 1 + (10_000 << 32)

_COMMA: Final = int.from_bytes(b'","', "little")
_NEXT: Final = int.from_bytes(b'"],["', "little")
_CLOSE: Final = int.from_bytes(b'"]]', "little")
_THREE: Final = 0xFFFFFF
_FIVE: Final = 0xFFFFFFFFFF
_OPEN: Final = int.from_bytes(b'["', "little")
_TWO: Final = 0xFFFF
_POINT: Final = ord(".")
_ONE: Final = 0xFF

_TENS: Final = np.array([10**power for power in range(EIGHT + 1)], np.int64)


@inlined
def joined(digits: int) -> int:
    """Return the number that eight digits are, the first in the lowest byte."""
    pairs = digits * 10 + (digits >> 8)
    return (((pairs & _PAIRS) * _OUTER + ((pairs >> 16) & _PAIRS) * _INNER) >> 32) & 0xFFFFFFFF


@inlined
def plain(left: int, right: int, whole: int, decimals: int) -> int:
    """Return a decimal as an integer, or -1 where something is no digit.

    The words end with the digits before and behind the point; what stands before those is anything.
    """
    # Below 1 or above 8.
    if (whole - 1) & -EIGHT:
        return -1
    left = (left ^ _ZEROS) & (-1 << (64 - 8 * whole))
    right = (right ^ _ZEROS) & (-1 << (64 - 8 * decimals)) if decimals else 0
    if whole + decimals <= EIGHT:
        digits = (left >> (8 * decimals)) | right
        return -1 if ((digits + _ABOVE_NINE) | digits) & _HIGH else joined(digits)
    if (((left + _ABOVE_NINE) | left) | ((right + _ABOVE_NINE) | right)) & _HIGH:
        return -1
    return joined(left) * int(_TENS[decimals]) + joined(right)


@kernel
def plain_levels(
    frame: Text, at: int, end: int, price_decimals: int, size_decimals: int, words: Words, to: int, limit: int
) -> tuple[int, int, bool]:
    """Read `["price","size"],...` into words from `to` on, as far as plainly printed and below `limit`.

    Return where the next word goes, where the level begins that was not read, and whether the list is closed instead.
    """
    if price_decimals < 1 or price_decimals > EIGHT or size_decimals < 0 or size_decimals > EIGHT or at < BEFORE:
        return to, at, False
    size_tail = size_decimals + 1 if size_decimals else 0
    if at + ROOM_OF_LEVEL > end or word_at(frame, at) & _TWO != _OPEN:
        return to, at, False
    while at + ROOM_OF_LEVEL <= end and to < limit:
        at += 2
        # Three quotes end the price, begin and end the size.
        quotes = places_of(frame, at, ord('"'))
        later = quotes & (quotes - 1)
        last = later & (later - 1)
        if last == 0:
            return to, at - 2, False
        close = at + low_bit(quotes)
        point = close - price_decimals - 1
        price = plain(word_at(frame, point - 8), word_at(frame, close - 8), point - at, price_decimals)
        if price <= 0 or word_at(frame, close) & _THREE != _COMMA or word_at(frame, point) & _ONE != _POINT:
            return to, at - 2, False
        start = close + 3
        close = at + low_bit(last)
        point = close - size_tail
        size = plain(word_at(frame, point - 8), word_at(frame, close - 8), point - start, size_decimals)
        if size < 0 or (size_tail and word_at(frame, point) & _ONE != _POINT):
            return to, at - 2, False
        after = word_at(frame, close)
        closed = after & _THREE == _CLOSE
        if after & _FIVE != _NEXT and not closed:
            return to, at - 2, False
        words[to] = price
        words[to + 1] = size
        to += 2
        if closed:
            return to, close + 3, True
        at = close + 3
    return to, at, False
