"""BitMEX's side of the wire, for the emulator: frames and instruments in, streams, tables and listings out.

A book's levels know no ids, so the ids of an emulated book are its prices. Rows of a recorded tape that state their
`transactTime` state their price, too, and get such ids. Older rows may not: of an older tape all ids stay the venue's,
and whoever joins it late breaks until the tape's next partial.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from engine.instrument import Instrument
from engine.schema import CONTRACT_SIZE_DECIMALS, Contract, Rows
from ingest.decimals import scaled
from ingest.venues import SECOND, Emulation
from ingest.venues._bitmex_instruments import ASSETS
from ingest.venues._figures import asked, printed
from ingest.venues._reading import decimal

#: An emulated id is the price x 10^10: no price of the venue has more decimals.
ID_DECIMALS: Final = 10
_ROW: Final = re.compile(rb"\{[^{}]*\}")
_ID: Final = re.compile(rb'"id":\s*\d+')
_PRICE: Final = re.compile(rb'"price":\s*([0-9.eE+-]+)')
INSTRUMENTS: Final = "/api/v1/instrument/active"
KINDS: Final = {Contract.SPOT: "IFXXXP"}
UNITS: Final = 10**CONTRACT_SIZE_DECIMALS


def emulation() -> Emulation:
    """Make the record."""
    return Emulation(
        route=lambda path: ("instruments", "", 0) if path.partition("?")[0] == INSTRUMENTS else None,
        stream_of=_stream_of,
        streams_of=lambda path: (),
        subscribed=lambda frame: _answered("subscribe", frame),
        unsubscribed=lambda frame: _answered("unsubscribe", frame),
        answer=lambda frame: b"pong" if frame == b"ping" else None,
        snapshot=_whole_book,
        book=_whole_book,
        instruments=_listing,
        renumber=renumber,
    )


def _stream_of(frame: bytes) -> str | None:
    content = {} if frame == b"pong" else asked(frame)
    entries = content.get("data") or [content.get("filter") or {}]
    symbol = entries[0].get("symbol")
    return f"{content['table']}:{symbol}" if "table" in content and symbol else None


def _answered(op: str, frame: bytes) -> tuple[tuple[str, ...], bytes] | None:
    content = {} if frame == b"ping" else asked(frame)
    if content.get("op") != op:
        return None
    topics = content.get("args", [])
    return tuple(topics), orjson.dumps({"success": True, op: ",".join(topics), "request": content})


def _whole_book(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    """Write the partial of a book; its ids are the prices, since a book's levels know no others."""
    rows = [
        {
            "symbol": instrument.symbol,
            "id": each * 10 ** (ID_DECIMALS - instrument.price_decimals),
            "side": side,
            "size": printed(size, instrument.size_decimals),
            "price": printed(each, instrument.price_decimals),
            "timestamp": _iso(at),
        }
        for side, levels in (("Buy", bids), ("Sell", asks))
        for each, size in levels.tolist()
    ]
    content = {"table": "orderBookL2", "action": "partial", "keys": ["symbol", "id", "side"], "data": rows}
    return orjson.dumps({**content, "filter": {"symbol": instrument.symbol}})


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{at // 1_000_000 % 1000:03d}Z"


def renumber(frame: bytes, stream: str, sent: int) -> bytes:
    """Give a book's rows the ids that they have on the emulated venue."""
    return _ROW.sub(_renamed, frame) if stream.startswith("orderBookL2:") else frame


def _renamed(row: re.Match[bytes]) -> bytes:
    price = _PRICE.search(row[0])
    if price is None or b'"transactTime"' not in row[0]:
        return row[0]
    named = scaled(decimal(price[1].decode()), ID_DECIMALS)
    return _ID.sub(b'"id":%d' % named, row[0])


def _listing(instruments: Sequence[Instrument]) -> bytes:
    return orjson.dumps([_entry(instrument) for instrument in instruments])


def _entry(instrument: Instrument) -> dict[str, Any]:
    names = {common: own for own, common in ASSETS.items()}
    inverse = instrument.contract == Contract.INVERSE
    return {
        "symbol": instrument.symbol,
        "typ": KINDS.get(instrument.contract, "FFWCSX"),
        "state": "Open",
        "underlying": names.get(instrument.asset, instrument.asset),
        "quoteCurrency": names.get(instrument.quote, instrument.quote),
        "settlCurrency": "XBt",
        "isInverse": inverse,
        "isQuanto": instrument.contract == Contract.QUANTO,
        "multiplier": -instrument.contract_size if inverse else instrument.contract_size,
        "underlyingToSettleMultiplier": -UNITS,
        "quoteToSettleMultiplier": UNITS,
        "tickSize": printed(instrument.tick, instrument.price_decimals),
        "lotSize": printed(instrument.lot, instrument.size_decimals),
    }
