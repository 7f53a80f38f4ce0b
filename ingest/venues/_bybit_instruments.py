"""Bybit's listing of instruments, or the frames of a tape that has none, in; instruments out.

Derivatives print every price with the decimals of their tick (`0.10` gives `65114.20`), spot leaves the last zeros out;
both fit the tick's own decimals. Sizes of linear and spot are base units, of inverse contracts US dollars.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import orjson

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import Contract
from ingest.decimals import places, scaled
from ingest.venues._fields import member
from ingest.venues._reading import foreign, infer, pick

#: Where the listing states the step of a size.
STEPS: Final = {Contract.SPOT: "basePrecision", Contract.LINEAR: "qtyStep", Contract.INVERSE: "qtyStep"}
#: Currencies of a price, longest first where one ends like another.
QUOTES: Final = (
    "USDT", "USDC", "USDE", "USDQ", "USD1", "MNT", "BTC", "ETH", "SOL", "EUR", "BRL", "TRY", "DAI", "USD",
)  # fmt: skip
#: A delivery contract's last part: `-26DEC25`, or `U23` of an inverse one.
_DELIVERY: Final = re.compile(r"-\d{1,2}[A-Z]{3}\d{2}$|(?<=USD)[FGHJKMNQUVXZ]\d{2}$")


def parse_instruments(venue: str, contract: Contract, body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted symbols' instruments. Raises BadConfig for an unknown symbol, BadFrame for a bad body."""
    try:
        known = {entry["symbol"]: entry for entry in orjson.loads(body)["result"]["list"]}
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise BadFrame("not_exchange_information", str(error)) from error
    return [_instrument(venue, contract, entry) for entry in pick(venue, known, symbols)]


@foreign
def infer_instruments(venue: str, contract: Contract, frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that the frames' books show. Raises BadConfig where there is no book."""
    met: dict[str, list[tuple[str, str]]] = {}
    for frame in frames:
        try:
            content = orjson.loads(frame)
            topic, data = content["topic"], content["data"]
            if topic.startswith("orderbook."):
                levels = met.setdefault(data["s"], [])
                levels += [(price, size) for side in "ba" for price, size in data[side]]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            # Whatever else a tape's first lines hold says nothing of decimals; the decoder judges it later.
            continue
    if not met:
        raise BadConfig(f"no book of {venue} among the tape's first {len(frames)} lines")
    return [infer(venue, symbol, *_names(symbol), contract, levels) for symbol, levels in met.items()]


def _instrument(venue: str, contract: Contract, entry: dict[str, Any]) -> Instrument:
    prices, sizes = member(entry, "priceFilter", dict), member(entry, "lotSizeFilter", dict)
    tick, lot = member(prices, "tickSize", str), member(sizes, STEPS[contract], str)
    price_decimals, size_decimals = places(tick), places(lot)
    return Instrument(
        venue=venue,
        symbol=member(entry, "symbol", str),
        asset=member(entry, "baseCoin", str),
        quote=member(entry, "quoteCoin", str),
        contract=contract,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick=scaled(tick, price_decimals),
        lot=scaled(lot, size_decimals),
    )


def _names(symbol: str) -> tuple[str, str]:
    """Tell asset and quote of a symbol: BTCUSDT, BTCPERP (of USDC), BTCUSD, BTCUSDU23, BTCUSDT-26DEC25."""
    pair = _DELIVERY.sub("", symbol)
    if pair.endswith("PERP") and pair != "PERP":
        return pair.removesuffix("PERP"), "USDC"
    quote = next((each for each in QUOTES if pair.endswith(each) and pair != each), None)
    if quote is None:
        if pair != symbol:
            # `BTC-26DEC25` is delivered in USDC.
            return pair, "USDC"
        raise BadConfig(f"cannot tell asset and quote of {symbol!r}; known quotes are {', '.join(QUOTES)}")
    return pair.removesuffix(quote), quote
