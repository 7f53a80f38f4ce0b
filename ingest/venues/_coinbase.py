"""What Coinbase's two venues share: products in, instruments out; sides of the maker; answers of the emulated side."""

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import CONTRACT_SIZE_DECIMALS, Contract
from ingest.decimals import places, scaled
from ingest.venues._fields import member
from ingest.venues._reading import infer, parse

#: Digits of a trade id that fit into 63 bits for sure.
DIGITS: Final = 18


def taker(maker: Any, buy: str, sell: str) -> int:
    """Return the aggressor's side of a trade whose `side` is that of the resting order."""
    if maker != buy and maker != sell:
        raise BadFrame("bad_side", f"{str(maker)[:40]!r}, allowed are {buy}, {sell}")
    return -1 if maker == buy else 1


def trade_id(text: Any) -> int:
    """Return a trade's id: digits as they are, any other text (a UUID) as a hash of 63 bits."""
    if type(text) is not str or not text:
        raise BadFrame("bad_id", f"a trade's id is {str(text)[:40]!r}, allowed are texts")
    if text.isascii() and text.isdigit() and len(text) <= DIGITS:
        return int(text)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()) & (1 << 63) - 1


def instrument(
    venue: str,
    symbol: str,
    assets: tuple[str, str],
    steps: tuple[Any, Any],
    *,
    finest: Any = "1",
    contract: Contract = Contract.SPOT,
    contract_size: str = "1",
) -> Instrument:
    """Make an instrument of its steps of price and size, as printed; prices may be printed as fine as `finest`."""
    if not all(type(text) is str for text in (*assets, *steps, finest, contract_size)):
        raise BadFrame("bad_product", f"{symbol!r} has assets {assets} and steps {steps}, allowed are texts")
    price_decimals, size_decimals = max(places(steps[0]), places(finest)), places(steps[1])
    return Instrument(
        venue=venue,
        symbol=symbol,
        asset=assets[0],
        quote=assets[1],
        contract=contract,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick=scaled(steps[0], price_decimals),
        lot=scaled(steps[1], size_decimals),
        contract_size=scaled(contract_size, CONTRACT_SIZE_DECIMALS),
    )


def inferred(venue: str, symbol: str, levels: Iterable[tuple[str, str]]) -> Instrument:
    """Return a spot product's instrument with the decimals that its levels show."""
    asset, found, quote = symbol.partition("-")
    if not (asset and found and quote) or "-" in quote:
        raise BadConfig(f"cannot tell asset and quote of {symbol!r}, allowed are products like BTC-USD")
    return infer(venue, symbol, asset, quote, Contract.SPOT, levels)


def levels_of(values: Any, fields: tuple[Any, Any]) -> list[tuple[str, str]]:
    """Return (price, size) of each of some levels, by the two names or positions that they have there."""
    return [(str(value[fields[0]]), str(value[fields[1]])) for value in values]


def entries(value: Any) -> list[dict[str, Any]]:
    """Return a list of objects."""
    if type(value) is not list or not all(type(each) is dict for each in value):
        raise BadFrame("structure", f"{str(value)[:40]} is no array of objects")
    return value


def first(value: Any) -> dict[str, Any]:
    """Return the first of some objects; an empty one where there is none."""
    return value[0] if type(value) is list and value and type(value[0]) is dict else {}


def content_of(frame: bytes) -> dict[str, Any]:
    """Return a frame's object; an empty one of what is none."""
    try:
        content = parse(frame)
    except BadFrame:
        return {}
    return content if type(content) is dict else {}


def listed(body: bytes, key: str | None) -> list[dict[str, Any]]:
    """Return the products of a listing; `key` is where they are, None: it is they."""
    content = parse(body)
    if key is not None:
        if type(content) is not dict:
            raise BadFrame("not_products", str(content)[:200])
        content = member(content, key, list)
    return entries(content)
