"""Bitget's side of the wire, for the emulator: subscribe frames in, ACKs out; a book in, its opening frame out.

A liquidation subscription names no symbol, and goes once, with whatever frame came first; so a symbol's ticker brings
the symbol's liquidations along here.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Rows
from ingest.decimals import shown
from ingest.venues import Emulation
from ingest.venues._bitget_streams import INSTRUMENTS, Kinds
from ingest.venues._texts import bare

#: The connection's identity, in ACKs.
CONNECTION: Final = "0ac601fffe2331d1"


def emulation(kind_of: Kinds) -> Emulation:
    """Make the record of spot or of futures."""
    return Emulation(
        route=route,
        stream_of=stream_of,
        streams_of=lambda path: (),
        subscribed=lambda frame: _asked(frame, "subscribe"),
        unsubscribed=lambda frame: _asked(frame, "unsubscribe"),
        snapshot=_book(kind_of),
        book=_book(kind_of),
        instruments=lambda known: _listing(kind_of, known),
        answer=lambda frame: b"pong" if frame == b"ping" else None,
    )


def route(path: str) -> tuple[str, str, int] | None:
    """Name a REST resource: the instruments of any category are answered with all."""
    return ("instruments", "", 0) if path.startswith(f"{INSTRUMENTS}?category=") else None


def stream_of(frame: bytes) -> str | None:
    """Name the stream that a frame belongs to; of liquidations, by the first."""
    content = _object(frame)
    arg, rows = content.get("arg"), content.get("data")
    if not isinstance(arg, dict) or not isinstance(rows, list):
        return None
    if arg.get("topic") == "liquidation":
        first = rows[0] if rows and isinstance(rows[0], dict) else {}
        return f"liquidation:{arg.get('instType')}#{first.get('symbol')}"
    return f"{arg.get('topic', arg.get('channel'))}:{arg.get('symbol', arg.get('instId'))}"


def _asked(frame: bytes, operation: str) -> tuple[tuple[str, ...], bytes] | None:
    """Read a subscribe or unsubscribe frame: its streams, and the ACK of its first argument."""
    if frame == b"ping":
        return None
    content = _object(frame)
    args = content.get("args")
    if content.get("op") != operation or not isinstance(args, list) or not args:
        return None
    named: dict[str, None] = {}
    wide = {arg.get("instType") for arg in args if arg.get("topic") == "liquidation"}
    for arg in args:
        if "symbol" not in arg:
            continue
        named[f"{arg.get('topic')}:{arg['symbol']}"] = None
        if arg.get("topic") == "ticker" or arg.get("instType") in wide:
            named[f"liquidation:{arg.get('instType')}#{arg['symbol']}"] = None
    return tuple(named), orjson.dumps({"event": operation, "arg": args[0], "connId": CONNECTION})


def _book(kind_of: Kinds) -> Callable[[Instrument, int, int, Rows, Rows], bytes]:
    def book(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
        """Write the frame that opens a book: version 3 has no checksum."""
        prices, sizes = instrument.price_decimals, instrument.size_decimals
        shown_bids, shown_asks = (
            [(bare(price, prices), bare(size, sizes)) for price, size in rows.tolist()] for rows in (bids, asks)
        )
        clock = at // 1_000_000
        row = {"a": shown_asks, "b": shown_bids, "seq": last, "pseq": 0, "ts": str(clock), "maxdepth": "1000"}
        arg = {"instType": kind_of(instrument.symbol), "topic": "books", "symbol": instrument.symbol}
        return orjson.dumps({"action": "snapshot", "arg": arg, "data": [row], "ts": clock})

    return book


def _listing(kind_of: Kinds, known: Sequence[Instrument]) -> bytes:
    """Write the listing of some instruments, so that parsing it gives the same instruments."""
    return orjson.dumps({"code": "00000", "msg": "success", "data": [_entry(kind_of, each) for each in known]})


def _entry(kind_of: Kinds, instrument: Instrument) -> dict[str, Any]:
    return {
        "symbol": instrument.symbol,
        "category": kind_of(instrument.symbol).upper(),
        "baseCoin": instrument.asset,
        "quoteCoin": instrument.quote,
        "pricePrecision": str(instrument.price_decimals),
        "quantityPrecision": str(instrument.size_decimals),
        "priceMultiplier": shown(instrument.tick, instrument.price_decimals),
        "quantityMultiplier": shown(instrument.lot, instrument.size_decimals),
        "status": "online",
    }


def _object(frame: bytes) -> dict[str, Any]:
    if frame == b"pong":
        return {}
    try:
        content = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise BadFrame("not_json", str(error)) from error
    return content if isinstance(content, dict) else {}
