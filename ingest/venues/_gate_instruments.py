"""Gate's listing of contracts, or the frames of a tape that has none, in; instruments out.

A contract is `quanto_multiplier` units of the coin. Contracts of `enable_decimal` trade in parts; the listing states
the smallest order in whole contracts unless it is asked with the header, so four decimals are kept for them.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import orjson

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import CONTRACT_SIZE_DECIMALS, Contract
from ingest.decimals import places, scaled
from ingest.venues._fields import member
from ingest.venues._reading import decimal, exact, infer, pick

#: Decimals of the sizes of contracts that trade in parts, where the listing does not show them.
PARTS: Final = 4

_STREAM: Final = re.compile(r"ob\.(\w+)\.\d+")


def parse_instruments(venue: str, body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted contracts. Raises BadConfig for an unknown symbol, BadFrame for a bad body."""
    listed = exact(body)
    try:
        known = {entry["name"]: entry for entry in listed}
    except (KeyError, TypeError) as error:
        raise BadFrame("not_exchange_information", str(error)) from error
    return [_instrument(venue, entry) for entry in pick(venue, known, symbols)]


def infer_instruments(venue: str, frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that the frames' books show. Raises BadConfig where there is no book.

    No frame states how much a contract is: it counts as one unit of the coin.
    """
    met: dict[str, list[tuple[Any, Any]]] = {}
    for frame in frames:
        try:
            result = orjson.loads(frame)["result"]
            named = _STREAM.fullmatch(result["s"])
            levels = [each for side in "ba" for each in result.get(side, ())]
            pairs = [(e["p"], e["s"]) if isinstance(e, dict) else (e[0], e[1]) for e in levels]
        except (orjson.JSONDecodeError, KeyError, TypeError, IndexError, AttributeError):
            # Whatever else a tape's first lines hold says nothing of decimals; the decoder judges it later.
            continue
        met.setdefault(named[1] if named else result["s"], []).extend(pairs)
    if not met:
        raise BadConfig(f"no book of {venue} among the tape's first {len(frames)} lines")
    return [infer(venue, symbol, *_names(symbol), Contract.LINEAR, levels) for symbol, levels in met.items()]


def _instrument(venue: str, entry: dict[str, Any]) -> Instrument:
    name = member(entry, "name", str)
    asset, quote = _names(name)
    tick, lot = member(entry, "order_price_round", str), str(decimal(entry.get("order_size_min")))
    inverse = entry.get("type") == "inverse"
    price_decimals, size_decimals = places(tick), places(lot)
    if entry.get("enable_decimal") is True and not size_decimals:
        size_decimals, lot = PARTS, "0." + "1".rjust(PARTS, "0")
    return Instrument(
        venue=venue,
        symbol=name,
        asset=asset,
        quote=quote,
        contract=Contract.INVERSE if inverse else Contract.LINEAR,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick=scaled(tick, price_decimals),
        # A smallest order of 0 contracts is one that was cut.
        lot=scaled(lot, size_decimals) or 1,
        # An inverse contract is one US dollar; the listing says 0.
        contract_size=scaled("1" if inverse else member(entry, "quanto_multiplier", str), CONTRACT_SIZE_DECIMALS),
    )


def _names(symbol: str) -> tuple[str, str]:
    asset, _, quote = symbol.partition("_")
    if not asset or not quote:
        raise BadConfig(f"cannot tell asset and quote of {symbol!r}, allowed are names like BTC_USDT")
    return asset, quote
