"""Binance's side of the wire, for the emulator: paths and frames in, streams and REST bodies out."""

from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import CONTRACT_SIZE_DECIMALS, Contract, Rows
from ingest.decimals import shown
from ingest.venues import Emulation

#: Levels a side that a depth request gets that states no limit.
DEFAULT_LIMIT: Final = 500
#: Largest price and size that the emulated exchange information states, whole units.
LARGEST: Final = 1_000_000


def emulation(prefix: str, futures: bool) -> Emulation:
    """Make the record for `/fapi/v1`, `/dapi/v1` (futures) or `/api/v3` (spot)."""
    return Emulation(
        route=_route(prefix),
        stream_of=_stream_of(futures),
        streams_of=streams_of,
        subscribed=subscribed,
        snapshot=_futures_snapshot if futures else _spot_snapshot,
        instruments=exchange_information,
    )


def _route(prefix: str) -> Callable[[str], tuple[str, str, int] | None]:
    resources = {
        "depth": "depth",
        "exchangeInfo": "instruments",
        "openInterest": "open_interest",
        "symbolAdlRisk": "risk",
    }

    def route(path: str) -> tuple[str, str, int] | None:
        parts = urlsplit(path)
        what = resources.get(parts.path.removeprefix(f"{prefix}/"))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        limit = query.get("limit", str(DEFAULT_LIMIT))
        if what is None or not parts.path.startswith(prefix) or not limit.isdigit():
            return None
        return what, query.get("symbol", ""), int(limit)

    return route


def _stream_of(futures: bool) -> Callable[[bytes], str | None]:
    suffixes = {
        "depthUpdate": "depth@0ms" if futures else "depth@100ms",
        "markPriceUpdate": "markPrice@1s",
        "trade": "trade",
        "aggTrade": "aggTrade",
        "bookTicker": "bookTicker",
        "forceOrder": "forceOrder",
    }

    def stream_of(frame: bytes) -> str | None:
        if frame.startswith(b'{"stream":"'):
            return frame[11 : frame.index(b'"', 11)].decode()
        content = _object(frame)
        if "stream" in content:
            return str(content["stream"])
        event = content.get("e", "bookTicker" if "B" in content else None)
        symbol = content.get("s", content.get("o", {}).get("s", ""))
        return f"{symbol.lower()}@{suffixes[event]}" if event in suffixes else None

    return stream_of


def streams_of(path: str) -> tuple[str, ...]:
    """List the streams of a websocket path: `/stream?streams=a/b`, or `/ws/a/b`, behind any route."""
    parts = urlsplit(path)
    named = parse_qs(parts.query).get("streams", [""])[0]
    if not named:
        named = parts.path.partition("/ws/")[2]
    return tuple(stream for stream in named.split("/") if stream)


def subscribed(frame: bytes) -> tuple[tuple[str, ...], bytes] | None:
    """Read a SUBSCRIBE frame: its streams and the ACK that it gets."""
    content = _object(frame)
    if content.get("method") != "SUBSCRIBE":
        return None
    return tuple(content.get("params", ())), orjson.dumps({"result": None, "id": content.get("id")})


def exchange_information(instruments: Sequence[Instrument]) -> bytes:
    """Write the exchange information of some instruments, so that parsing it gives the same instruments."""
    return orjson.dumps({"timezone": "UTC", "symbols": [_entry(instrument) for instrument in instruments]})


def _futures_snapshot(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    clocks = {"E": at // 1_000_000, "T": at // 1_000_000}
    return orjson.dumps({"lastUpdateId": last, **clocks, **_sides(instrument, bids, asks)})


def _spot_snapshot(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    return orjson.dumps({"lastUpdateId": last, **_sides(instrument, bids, asks)})


def _sides(instrument: Instrument, bids: Rows, asks: Rows) -> dict[str, list[tuple[str, str]]]:
    prices, sizes = instrument.price_decimals, instrument.size_decimals
    return {
        side: [(shown(price, prices), shown(size, sizes)) for price, size in rows.tolist()]
        for side, rows in (("bids", bids), ("asks", asks))
    }


def _entry(instrument: Instrument) -> dict[str, Any]:
    precision = (
        {"baseAssetPrecision": instrument.size_decimals, "quotePrecision": 8}
        if instrument.contract == Contract.SPOT
        else {"pricePrecision": instrument.price_decimals, "quantityPrecision": instrument.size_decimals}
    )
    if instrument.contract == Contract.INVERSE:
        precision["contractSize"] = instrument.contract_size // 10**CONTRACT_SIZE_DECIMALS
    tick = shown(instrument.tick, instrument.price_decimals)
    lot = shown(instrument.lot, instrument.size_decimals)
    return {
        "symbol": instrument.symbol,
        "status": "TRADING",
        "baseAsset": instrument.asset,
        "quoteAsset": instrument.quote,
        **precision,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": str(LARGEST), "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": str(LARGEST // 1000), "stepSize": lot},
        ],
    }


def _object(frame: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise BadFrame("not_json", str(error)) from error
    return content if isinstance(content, dict) else {}
