"""Bitfinex's tickers, or the frames of a tape that has none, in; instruments out.

No listing states decimals. Sizes have eight. An order's price has five significant digits, whole ones any: how many
decimals that is depends on the price, so it is read off the last one, with room for a price a thousandth of it.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import Contract
from ingest.decimals import rounded
from ingest.venues._reading import decimal, exact, infer, pick

NAME: Final = "bitfinex"
#: What is read of them: all tickers, of which the last prices.
INSTRUMENTS: Final = "/v2/tickers?symbols=ALL"
LAST_PRICE: Final = 7
SIZE_DECIMALS: Final = 8
#: Significant digits of a price; further digits for prices that fall.
DIGITS: Final = 5
ROOM: Final = 3
#: Decimals that prices are looked at with.
FINEST: Final = 12
#: The venue's own names of assets -> the common ones. A name with F0 is that of a derivative.
ASSETS: Final = {
    "UST": "USDT", "UDC": "USDC", "DSH": "DASH", "IOT": "IOTA", "QTM": "QTUM", "MNA": "MANA", "ALG": "ALGO",
}  # fmt: skip


def is_derivative(symbol: str) -> bool:
    """Tell tBTCF0:USTF0 from tBTCUSD."""
    return symbol.partition(":")[0].endswith("F0")


def told(symbol: str) -> tuple[str, str, Contract]:
    """Tell asset, quote and contract by a symbol: tBTCUSD, tAVAX:USD, tBTCF0:USTF0."""
    base, colon, quote = symbol.removeprefix("t").partition(":")
    if not colon:
        base, quote = base[:3], base[3:]
    names = [ASSETS.get(name, name) for name in (base.removesuffix("F0"), quote.removesuffix("F0"))]
    return names[0], names[1], Contract.LINEAR if is_derivative(symbol) else Contract.SPOT


def parse_instruments(body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted symbols' instruments. Raises BadConfig for an unknown symbol, BadFrame for a bad body."""
    listed = exact(body)
    if type(listed) is not list:
        raise BadFrame("structure", f"tickers are {str(listed)[:40]}, allowed is a list")
    known: dict[str, Any] = {}
    for entry in listed:
        if type(entry) is not list or not entry or type(entry[0]) is not str:
            raise BadFrame("structure", f"a ticker is {str(entry)[:40]}, allowed is [symbol, ...]")
        # Funding of currencies, fUSD, is listed among them.
        if entry[0].startswith("t"):
            known[entry[0]] = entry
    return [_instrument(*each) for each in zip(symbols, pick(NAME, known, symbols), strict=True)]


def _instrument(symbol: str, entry: list[Any]) -> Instrument:
    if len(entry) <= LAST_PRICE:
        raise BadFrame("structure", f"a ticker is {str(entry)[:60]}, its place {LAST_PRICE} is the last price")
    text = decimal(entry[LAST_PRICE])
    if rounded(text, FINEST - DIGITS) == 0:
        raise BadConfig(f"{NAME} has no price of {symbol} yet, so nothing tells its decimals")
    before, _, behind = text.partition(".")
    # 45.1 has two digits before the point, 0.00123 two zeros behind it.
    places = DIGITS - (len(before.lstrip("0")) or len(behind.lstrip("0")) - len(behind))
    asset, quote, contract = told(symbol)
    return Instrument(
        venue=NAME,
        symbol=symbol,
        asset=asset,
        quote=quote,
        contract=contract,
        price_decimals=min(max(places, 0) + ROOM, FINEST),
        size_decimals=SIZE_DECIMALS,
        tick=1,
        lot=1,
    )


def infer_instruments(frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that the frames' books show; their `subscribed` events are needed."""
    channels: dict[Any, str] = {}
    met: dict[str, list[tuple[Any, Any]]] = {}
    for content in map(_content, frames):
        if type(content) is dict and content.get("event") == "subscribed" and content.get("channel") == "book":
            channels[content.get("chanId")] = str(content.get("symbol"))
        elif type(content) is list and len(content) > 1 and type(content[1]) is list and content[0] in channels:
            rows = content[1] if content[1] and type(content[1][0]) is list else [content[1]]
            for row in (row for row in rows if len(row) == 3 and row[1] != 0):
                amount = str(decimal(row[2])).removeprefix("-")
                met.setdefault(channels[content[0]], []).append((decimal(row[0]), amount))
    if not met:
        raise BadConfig(f"no book of {NAME} among the tape's first {len(frames)} lines")
    return [infer(NAME, symbol, *told(symbol), pairs) for symbol, pairs in met.items()]


def _content(frame: bytes) -> Any:
    # Most frames are levels; events are objects, and whatever is neither tells nothing here.
    return exact(frame) if frame.startswith((b"[", b"{")) else None


def listing(instruments: Sequence[Instrument]) -> bytes:
    """Write tickers whose last prices tell the decimals of some instruments."""
    entries = []
    for each in instruments:
        # A power of ten that has so many decimals in its five digits; fewer decimals than the room are never told.
        power = DIGITS - 1 - max(each.price_decimals - ROOM, 0)
        price = orjson.Fragment("1" + "0" * power if power >= 0 else f"1e-{-power}")
        entries.append([each.symbol, None, None, None, None, None, None, price])
    return orjson.dumps(entries)
