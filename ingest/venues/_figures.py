"""Figures as venues print them in, integers out; and what venues share that subscribe by JSON frames.

Mark and index prices, rates and open interest are averages and sums that no order has, printed to whatever digit the
venue's arithmetic left: they are rounded to the decimals of their row. Prices and sizes of orders never are.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import FUNDING_DECIMALS, Rows
from ingest.decimals import places, rounded, shown
from ingest.venues._reading import decimal, parse

Item = TypeVar("Item")

#: Digits of a rate that are looked at; one of 1e-30 is 0 at any scale of ours.
LONGEST: Final = 30


def price(instrument: Instrument, value: Any) -> int:
    """Return a mark or index price to the nearest step of the instrument's price decimals."""
    return rounded(_short(decimal(value)), instrument.price_decimals)


def interest(instrument: Instrument, value: Any) -> int:
    """Return an open interest to the nearest step of the instrument's size decimals."""
    return rounded(_short(decimal(value)), instrument.size_decimals)


def rate(value: Any, decimals: int = FUNDING_DECIMALS) -> int:
    """Return a signed rate, or a balance, x 10^decimals, to the nearest integer."""
    text = _short(decimal(value))
    if isinstance(text, str) and text.startswith("-"):
        return -rounded(text[1:], decimals)
    return rounded(text, decimals)


def printed(value: int, decimals: int) -> orjson.Fragment:
    """Write an integer at a scale as a bare number of JSON, every decimal shown."""
    return orjson.Fragment(shown(value, decimals))


def levels(instrument: Instrument, rows: Rows) -> list[tuple[orjson.Fragment, orjson.Fragment]]:
    """Write LEVEL rows as bare numbers of JSON: (price, size), in their order."""
    return [
        (printed(each, instrument.price_decimals), printed(size, instrument.size_decimals))
        for each, size in rows.tolist()
    ]


def most_places(*values: Any) -> int:
    """Count the decimals that the numbers show at most; those that are absent are passed over."""
    return max((places(decimal(value)) for value in values if type(value) in (str, int)), default=0)


def asked(frame: bytes) -> dict[str, Any]:
    """Return a client's frame, an empty one where it is no object. Raises BadFrame for what is no JSON."""
    content = parse(frame)
    return content if isinstance(content, dict) else {}


def parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut a sequence into parts of at most a size."""
    return (items[first : first + size] for first in range(0, len(items), size))


def parted(names: Sequence[str]) -> list[str]:
    """Return what to subscribe to for streams named `subscription` or `subscription#SYMBOL`, each once, in order."""
    return list(dict.fromkeys(name.partition("#")[0] for name in names))


def whole(content: Any) -> dict[str, Any]:
    """Return a frame that must be a JSON object. Raises BadFrame."""
    if type(content) is not dict:
        raise BadFrame("structure", f"a frame is {str(content)[:40]}, allowed is an object")
    return content


def _short(text: Any) -> Any:
    """Cut a text's decimals where no scale of ours sees them."""
    if not isinstance(text, str) or len(text) <= LONGEST:
        return text
    head, point, tail = text.partition(".")
    return head + point + tail[:LONGEST]
