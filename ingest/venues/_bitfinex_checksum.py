"""A book in, Bitfinex's checksum of it out.

"WebSocket Checksum" (documentation of 2026-11): take the best 25 bids and asks; write price and amount of a bid, then
of an ask, and so on, an ask's amount negative, all joined by colons; where a side has fewer levels, go on with the
other. The CRC-32 of that text, as a signed integer of 32 bits, is the checksum. Numbers are written as JavaScript
writes them, which is where implementations fail: no trailing zeros, and an exponent below a millionth (`1e-7`).
"""

from itertools import zip_longest
from typing import Final
from zlib import crc32

from ingest.decimals import shown
from ingest.mirror import Mirror

LEVELS: Final = 25
#: Numbers below 10^-6 have an exponent.
SMALLEST: Final = 6


def checksum(mirror: Mirror) -> int:
    """Return the checksum of a book."""
    known, words = mirror.instrument, []
    for bid, ask in zip_longest(*mirror.best(LEVELS)):
        for level, sign in ((bid, ""), (ask, "-")):
            if level is not None:
                price, size = level
                words += [written(price, known.price_decimals), sign + written(size, known.size_decimals)]
    total = crc32(":".join(words).encode())
    return total - (1 << 32) if total >= 1 << 31 else total


def written(value: int, decimals: int) -> str:
    """Write an integer at a scale as JavaScript writes the number, above 0 and below 10^21."""
    digits = str(value).rstrip("0")
    #: The number is 0.digits x 10^point.
    point = len(str(value)) - decimals
    if point > -SMALLEST:
        text = shown(value, decimals)
        return text.rstrip("0").rstrip(".") if decimals else text
    head, tail = digits[0], digits[1:]
    return f"{head}.{tail}e-{1 - point}" if tail else f"{head}e-{1 - point}"
