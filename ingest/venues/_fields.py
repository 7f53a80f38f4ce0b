"""One field of a parsed JSON object in, one checked value out: types are never taken on trust.

orjson turns an integer beyond 64 bits into a float without a word, and a Python bool is an int; both are refused here.
"""

from operator import itemgetter
from typing import Any, Final, TypeVar

import numpy as np

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import LEVEL, Flag, Rows
from ingest.decimals import MICROSECONDS_END, MICROSECONDS_START, MILLISECONDS_END, scaled

Value = TypeVar("Value")

_BAD_TIME: Final = Flag.BAD_TIME
#: Levels of one side of one message at most.
LEVELS: Final = 20_000


def member(content: dict[str, Any], key: str, kind: type[Value]) -> Value:
    """Return a field of exactly this type."""
    value = content.get(key)
    if type(value) is not kind:
        raise BadFrame("bad_type", f"{key!r} is {str(value)[:40]!r}, allowed is {kind.__name__}")
    return value


def identity(content: dict[str, Any], key: str) -> int:
    """Return a sequence or trade id: an integer from 0 to 2^63 - 1."""
    value = content.get(key)
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise BadFrame("bad_id", f"{key!r} is {str(value)[:40]!r}, allowed are integers from 0 to 2^63 - 1")
    return value


def moment(content: dict[str, Any], key: str) -> int:
    """Return a stamp, milliseconds or microseconds on the wire, in ns."""
    value = content.get(key)
    if type(value) is int:
        if 0 <= value < MILLISECONDS_END:
            return value * 1_000_000
        if MICROSECONDS_START <= value < MICROSECONDS_END:
            return value * 1_000
    raise BadFrame("bad_time", f"{key!r} is {str(value)[:40]!r}, allowed are milliseconds or microseconds since 1970")


def stamps(content: dict[str, Any], key: str) -> tuple[int, int, int]:
    """Return when the exchange did it, when it published it, and the flag that is due where that cannot be."""
    published = moment(content, "E")
    exchanged = published if key == "E" else moment(content, key)
    return exchanged, published, _BAD_TIME if exchanged > published else 0


def book_side(content: dict[str, Any], key: str, instrument: Instrument) -> list[tuple[int, int]]:
    """Return one side's levels as integers, in wire order."""
    pairs = member(content, key, list)
    if len(pairs) > LEVELS:
        raise BadFrame("too_long", f"{key!r} has {len(pairs)} levels, allowed are {LEVELS}")
    levels = []
    for pair in pairs:
        if type(pair) is not list or len(pair) != 2:
            raise BadFrame("structure", f"a level is {str(pair)[:40]}, allowed is [price, size]")
        price = scaled(pair[0], instrument.price_decimals)
        if price == 0:
            raise BadFrame("zero", f"a level has the price {pair[0]!r}, allowed are prices above 0")
        levels.append((price, scaled(pair[1], instrument.size_decimals)))
    return levels


def best(content: dict[str, Any], price: str, size: str, instrument: Instrument) -> tuple[int, int]:
    """Return one side's best level by the keys of its price and size; an empty side is of price and size 0."""
    level = scaled(content.get(price), instrument.price_decimals), scaled(content.get(size), instrument.size_decimals)
    if level[0] == 0 and level[1]:
        raise BadFrame("zero", f"a best price is {content[price]!r} with a size, allowed are prices above 0")
    return level


def level_rows(levels: list[tuple[int, int]]) -> Rows:
    """Make LEVEL rows."""
    return np.array(levels, LEVEL)


def sorted_side(levels: list[tuple[int, int]], descending: bool) -> Rows:
    """Make one side of a snapshot: best first, no price twice, no empty level."""
    ordered = sorted(levels, key=itemgetter(0), reverse=descending)
    for i, (price, size) in enumerate(ordered):
        if size == 0 or (i and price == ordered[i - 1][0]):
            raise BadFrame("bad_snapshot", f"price {price} (wire decimals) comes twice or with size 0")
    return level_rows(ordered)
