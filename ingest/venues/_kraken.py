"""What Kraken's two venues share: common names of assets, and checked fields."""

from typing import Any, Final

from engine.errors import BadFrame
from engine.instrument import Instrument
from ingest.decimals import scaled
from ingest.venues._reading import Level, positive

#: Kraken's own names of assets, where they are not everybody's.
_NAMES: Final = {"XBT": "BTC", "XDG": "DOGE"}


def common(asset: str) -> str:
    """Return the common name of an asset, `BTC` for `XBT`."""
    return _NAMES.get(asset, asset)


def pair(name: str) -> str:
    """Return a pair by the common names of both its assets, `BTC/USD` for `XBT/USD`."""
    return "/".join(map(common, name.split("/")))


def side(value: Any, known: dict[str, int]) -> int:
    """Return the aggressor's side: every trade of Kraken names the taker's."""
    met = known.get(value) if type(value) is str else None
    if met is None:
        raise BadFrame("bad_side", f"{str(value)[:40]!r}, allowed are {', '.join(known)}")
    return met


def best(instrument: Instrument, price: Any, size: Any) -> Level:
    """Return a side's best level; one of size 0 is empty and may have any price."""
    met = scaled(size, instrument.size_decimals)
    return (positive if met else scaled)(price, instrument.price_decimals), met


def objects(values: list[Any]) -> list[dict[str, Any]]:
    """Return a list's members, objects all."""
    for value in values:
        if type(value) is not dict:
            raise BadFrame("structure", f"{str(value)[:40]!r} is no object")
    return values
