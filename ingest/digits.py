"""Decimals and levels as venues nearly always print them in, integers out, eight digits at once.

Such a decimal has all of its instrument's decimals, none but zeros beyond, eight at most and as many as the list's
first one; and one to eight digits before the point. Levels stand side by side without a blank. Anything else is left to
the careful kernels of `ingest.tokens`, which then decide.

A level is four words of up to eight digits: before and behind the point, of price and size. All four become numbers at
once, in the lanes of a vector, where neighbours are joined to pairs, pairs to fours, fours to one (eight digits in
three multiplications are known from simdjson; D. Lemire, "Quickly parsing eight digits", 2018). A digit is a byte whose
exclusive or with "0" is at most 9, so one comparison checks all of them. The quotes of a whole level are found by one
comparison of 32 bytes, for where a number ends is what the next one waits for.
"""

from typing import Final

import numpy as np

from engine.kernel import Text, inlined, inner, low_bit, numbers_of, places_of, word_at
from ingest.rows import Words

#: Digits on each side of the point at most.
EIGHT: Final = 8
#: Bytes that must precede a level, and those from its bracket on that must be inside the text.
BEFORE: Final = 16
ROOM: Final = 56

#: Eight digits as text.
_ZEROS: Final = 0x3030303030303030

_BETWEEN: Final = b'","'
_COMMA: Final = int.from_bytes(_BETWEEN, "little")
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
def printed(points: int, start: int, end: int) -> int:
    """Return how many decimals a number has that stands between two of 32 places, by where points are."""
    points &= (1 << end) - (1 << start)
    return end - low_bit(points) - 1 if points else 0


@inner
def plain_levels(
    frame: Text, at: int, end: int, price_decimals: int, size_decimals: int, words: Words, to: int, limit: int
) -> tuple[int, int, bool]:
    """Read `["price","size"],...` into words from `to` on, as far as plainly printed and below `limit`.

    Return where the next word goes, where the level begins that was not read, and whether the list is closed instead.
    """
    if price_decimals < 1 or price_decimals > EIGHT or size_decimals < 0 or size_decimals > EIGHT or at < BEFORE:
        return to, at, False
    if at + ROOM > end or word_at(frame, at) & _TWO != _OPEN:
        return to, at, False
    quotes = places_of(frame, at + 2, ord('"'))
    later = quotes & (quotes - 1)
    last = later & (later - 1)
    if last == 0:
        return to, at, False
    points = places_of(frame, at + 2, ord("."))
    price_printed = printed(points, 0, low_bit(quotes))
    size_printed = printed(points, low_bit(later), low_bit(last))
    # Zeros beyond the scale.
    price_extra, size_extra = price_printed - price_decimals, size_printed - size_decimals
    if price_extra < 0 or size_extra < 0 or price_printed > EIGHT or size_printed > EIGHT:
        return to, at, False
    price_unit, size_unit = int(_TENS[price_decimals]), int(_TENS[size_decimals])
    price_bits = 64 - 8 * price_decimals
    # A size without decimals may have no point; its fourth word is all zeros.
    size_tail = size_printed + 1 if size_printed else 0
    size_bits = 64 - 8 * size_decimals if size_decimals else 0
    while at + ROOM <= end and to < limit:
        start = at + 2
        # Three quotes end the price, begin and end the size.
        quotes = places_of(frame, start, ord('"'))
        later = quotes & (quotes - 1)
        last = later & (later - 1)
        if last == 0:
            return to, at, False
        price_end = start + low_bit(quotes)
        price_point = price_end - price_printed - 1
        size_end = start + low_bit(last)
        size_point = size_end - size_tail
        price_whole = price_point - start
        size_whole = size_point - price_end - len(_BETWEEN)
        # Below 1 or above 8.
        if ((price_whole - 1) | (size_whole - 1)) & -EIGHT or word_at(frame, price_end) & _THREE != _COMMA:
            return to, at, False
        if word_at(frame, price_point) & _ONE != _POINT or (size_tail and word_at(frame, size_point) & _ONE != _POINT):
            return to, at, False
        if price_extra and (word_at(frame, price_end - 8) ^ _ZEROS) >> (64 - 8 * price_extra):
            return to, at, False
        if size_extra and (word_at(frame, size_end - 8) ^ _ZEROS) >> (64 - 8 * size_extra):
            return to, at, False
        digits = (
            word_at(frame, price_point - 8),
            word_at(frame, price_end - price_extra - 8),
            word_at(frame, size_point - 8),
            word_at(frame, size_end - size_extra - 8) if size_decimals else _ZEROS,
        )
        skipped = (64 - 8 * price_whole, price_bits, 64 - 8 * size_whole, size_bits)
        bad, price, price_part, size, size_part = numbers_of(digits, skipped)
        price = price * price_unit + price_part
        after = word_at(frame, size_end)
        closed = after & _THREE == _CLOSE
        if bad or price == 0 or (after & _FIVE != _NEXT and not closed):
            return to, at, False
        words[to] = price
        words[to + 1] = size * size_unit + size_part
        to += 2
        at = size_end + 3
        if closed:
            return to, at, True
    return to, at, False
