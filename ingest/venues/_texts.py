"""Stamps and ids that a venue prints as texts, or as bare integers, in; integers out.

Beside them what the checksums of OKX's family share: the best levels of both sides, by turns, as one text.
"""

import zlib
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, Final

from engine.errors import BadFrame
from engine.instrument import Instrument
from ingest.decimals import MILLISECONDS_END, rounded, shown
from ingest.venues._fields import LEVELS, member
from ingest.venues._reading import Level, level

#: Levels a side that a checksum covers.
COVERED: Final = 25


def number(content: dict[str, Any], key: str) -> int:
    """Return an id, a text of digits or an integer: from 0 to 2^63 - 1. Raises BadFrame."""
    value = _whole(content.get(key))
    if value is None or value >= 1 << 63:
        raise BadFrame("bad_id", f"{key!r} is {str(content.get(key))[:40]!r}, allowed are integers from 0 to 2^63 - 1")
    return value


def milliseconds(content: dict[str, Any], key: str) -> int:
    """Return a stamp in milliseconds, a text of digits or an integer, in ns. Raises BadFrame."""
    value = _whole(content.get(key))
    if value is None or value >= MILLISECONDS_END:
        raise BadFrame("bad_time", f"{key!r} is {str(content.get(key))[:40]!r}, allowed are milliseconds since 1970")
    return value * 1_000_000


def rate(text: Any, decimals: int) -> int:
    """Return a rate x 10^decimals to the nearest integer: venues print up to eighteen places of one."""
    if type(text) is str and text.startswith("-"):
        return -rounded(text[1:], decimals)
    return rounded(text, decimals)


def side(instrument: Instrument, content: dict[str, Any], key: str) -> list[Level]:
    """Return one side's levels, price and size first in each, in wire order. Raises BadFrame."""
    entries = member(content, key, list)
    if len(entries) > LEVELS:
        raise BadFrame("too_long", f"{key!r} has {len(entries)} levels, allowed are {LEVELS}")
    levels = []
    for entry in entries:
        if type(entry) is not list or len(entry) < 2:
            raise BadFrame("structure", f"a level is {str(entry)[:40]}, allowed is [price, size, ...]")
        levels.append(level(instrument, entry[0], entry[1]))
    return levels


def best(levels: Sequence[Level]) -> Level:
    """Return the best level of a side that has one or none; (0, 0) is none."""
    if len(levels) > 1:
        raise BadFrame("structure", f"a side has {len(levels)} levels, allowed are one and none")
    return levels[0] if levels else (0, 0)


def signed_crc(
    instrument: Instrument, bids: Sequence[Level], asks: Sequence[Level], write: Callable[[int, int], str] = shown
) -> int:
    """Compute CRC32, as a signed 32-bit integer, of bid:size:ask:size:... over the best levels, best first.

    Where a side is shorter, the other goes on alone. `write` gives a number, in wire decimals, as the venue prints it.
    """
    prices, sizes = instrument.price_decimals, instrument.size_decimals
    parts = [
        f"{write(price, prices)}:{write(size, sizes)}"
        for pair in zip_longest(bids[:COVERED], asks[:COVERED])
        for price, size in filter(None, pair)
    ]
    value = zlib.crc32(":".join(parts).encode())
    return value - (1 << 32) if value >> 31 else value


def bare(value: int, decimals: int) -> str:
    """Write an integer at a scale without trailing zeros, `61737.6`."""
    text = shown(value, decimals)
    return text.rstrip("0").rstrip(".") if decimals else text


def _whole(value: Any) -> int | None:
    if type(value) is int:
        return value if value >= 0 else None
    if type(value) is str and len(value) <= 19 and value.isascii() and value.isdigit():
        return int(value)
    return None
