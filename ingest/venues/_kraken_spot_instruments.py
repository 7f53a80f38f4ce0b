"""Kraken's `AssetPairs`, or the book frames of a tape without it, in; instruments out, named as v2 names them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import orjson

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import Contract
from ingest.decimals import places, scaled, shown
from ingest.venues._fields import member
from ingest.venues._kraken import objects, pair
from ingest.venues._reading import exact, foreign, infer, parse, pick

NAME: Final = "kraken_spot"


def parse_instruments(body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted pairs' instruments. Raises BadConfig for an unknown one, BadFrame for a bad body."""
    content = parse(body)
    if type(content) is not dict or content.get("error"):
        raise BadFrame("not_asset_pairs", str(content)[:200])
    entries = objects(list(member(content, "result", dict).values()))
    # Pairs of the dark pool have no name on the socket.
    known = {pair(entry["wsname"]): entry for entry in entries if type(entry.get("wsname")) is str}
    return [_instrument(*met) for met in zip(symbols, pick(NAME, known, symbols), strict=True)]


@foreign
def infer_instruments(frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that books of either version show."""
    met: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for frame in frames:
        try:
            content = exact(frame)
        except BadFrame:
            continue
        if type(content) is list and len(content) >= 4 and str(content[-2]).startswith("book-"):
            sides = [
                part[key]
                for part in content[1:-2]
                if type(part) is dict
                for key in ("as", "bs", "a", "b")
                if key in part
            ]
            met[pair(content[-1])].extend((entry[0], entry[1]) for side in sides for entry in side)
        elif type(content) is dict and content.get("channel") == "book":
            for entry in objects(member(content, "data", list)):
                levels = objects(member(entry, "bids", list) + member(entry, "asks", list))
                met[member(entry, "symbol", str)].extend((each["price"], each["qty"]) for each in levels)
    if not met:
        raise BadConfig(f"no book frame of {NAME} among the tape's first {len(frames)} lines")
    return [infer(NAME, symbol, *_assets(symbol), Contract.SPOT, levels) for symbol, levels in met.items()]


def asset_pairs(instruments: Sequence[Instrument]) -> bytes:
    """Write the `AssetPairs` of some instruments, so that parsing it gives the same instruments."""
    result = {
        instrument.symbol.replace("/", ""): {
            "altname": instrument.symbol.replace("/", ""),
            "wsname": instrument.symbol,
            "base": instrument.asset,
            "quote": instrument.quote,
            "pair_decimals": instrument.price_decimals,
            "lot_decimals": instrument.size_decimals,
            "lot_multiplier": instrument.lot,
            "tick_size": shown(instrument.tick, instrument.price_decimals),
            "status": "online",
        }
        for instrument in instruments
    }
    return orjson.dumps({"error": [], "result": result})


def _instrument(symbol: str, entry: dict[str, Any]) -> Instrument:
    asset, quote = _assets(symbol)
    price_decimals = member(entry, "pair_decimals", int)
    # Listings had no `tick_size` before 2023: a tick was the last decimal.
    tick = entry.get("tick_size")
    if type(tick) is str:
        price_decimals = max(price_decimals, places(tick))
    return Instrument(
        venue=NAME,
        symbol=symbol,
        asset=asset,
        quote=quote,
        contract=Contract.SPOT,
        price_decimals=price_decimals,
        size_decimals=member(entry, "lot_decimals", int),
        tick=scaled(tick, price_decimals) if tick is not None else 1,
        lot=member(entry, "lot_multiplier", int),
    )


def _assets(symbol: str) -> tuple[str, str]:
    asset, found, quote = symbol.partition("/")
    if not (asset and found and quote):
        raise BadConfig(f"cannot tell asset and quote of {symbol!r}, allowed are pairs like BTC/USD")
    return asset, quote
