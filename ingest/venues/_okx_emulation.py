"""OKX's side of the wire, for the emulator: subscribe frames in, ACKs out; a book in, its opening frame out.

Whole-venue and index subscriptions name no symbol of ours. Which streams a liquidation subscription stands for is told
by the symbols beside it in the same frame; an index belongs to the first symbol asked for that has it.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Contract, Rows
from ingest.decimals import shown
from ingest.venues import Emulation
from ingest.venues._okx_streams import CHECKSUM_END, INSTRUMENTS, kind_of
from ingest.venues._texts import bare, signed_crc

#: Channels whose frames belong to the stream of another: of the mark price.
BESIDE_MARK: Final = ("funding-rate", "index-tickers")
#: The identity that OKX's documentation prints.
CONNECTION: Final = "a4d3ae55"


def emulation() -> Emulation:
    """Make the record."""
    return Emulation(
        route=route,
        stream_of=stream_of,
        streams_of=lambda path: (),
        subscribed=lambda frame: _asked(frame, "subscribe"),
        unsubscribed=lambda frame: _asked(frame, "unsubscribe"),
        snapshot=book,
        book=book,
        instruments=instruments,
        answer=lambda frame: b"pong" if frame == b"ping" else None,
    )


def route(path: str) -> tuple[str, str, int] | None:
    """Name a REST resource: the instruments of any type are answered with all."""
    return ("instruments", "", 0) if path.startswith(f"{INSTRUMENTS}?instType=") else None


def stream_of(frame: bytes) -> str | None:
    """Name a frame's stream; an index is taken to be its perpetual's."""
    content = _object(frame)
    arg, rows = content.get("arg"), content.get("data")
    if not isinstance(arg, dict) or not isinstance(rows, list):
        return None
    channel, symbol = str(arg.get("channel")), str(arg.get("instId"))
    if channel == "liquidation-orders":
        first = rows[0] if rows and isinstance(rows[0], dict) else {}
        return f"{channel}:{arg.get('instType')}#{first.get('instId')}"
    if channel == "index-tickers":
        symbol = f"{symbol}-SWAP"
    return f"{'mark-price' if channel in BESIDE_MARK else channel}:{symbol}"


def _asked(frame: bytes, operation: str) -> tuple[tuple[str, ...], bytes] | None:
    """Read a subscribe or unsubscribe frame: its streams, and the ACK of its first argument."""
    if frame == b"ping":
        return None
    content = _object(frame)
    args = content.get("args")
    if content.get("op") != operation or not isinstance(args, list) or not args:
        return None
    symbols = list(dict.fromkeys(str(arg["instId"]) for arg in args if "instId" in arg))
    named = []
    for arg in args:
        channel = arg.get("channel")
        if channel == "liquidation-orders":
            named += [
                f"{channel}:{arg['instType']}#{symbol}" for symbol in symbols if kind_of(symbol) == arg["instType"]
            ]
        elif channel not in BESIDE_MARK:
            named.append(f"{channel}:{arg.get('instId')}")
    return tuple(named), orjson.dumps({"event": operation, "arg": args[0], "connId": CONNECTION})


def book(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    """Write the frame that opens a book: with the checksum that was due at its time."""
    sides = bids.tolist(), asks.tolist()
    checksum = signed_crc(instrument, *sides, bare) if at < CHECKSUM_END else 0
    prices, sizes = instrument.price_decimals, instrument.size_decimals
    shown_bids, shown_asks = (
        [(bare(price, prices), bare(size, sizes), "0", "1") for price, size in levels] for levels in sides
    )
    return orjson.dumps(
        {
            "arg": {"channel": "books", "instId": instrument.symbol},
            "action": "snapshot",
            "data": [
                {
                    "asks": shown_asks,
                    "bids": shown_bids,
                    "ts": str(at // 1_000_000),
                    "checksum": checksum,
                    "prevSeqId": -1,
                    "seqId": last,
                }
            ],
        }
    )


def instruments(known: Sequence[Instrument]) -> bytes:
    """Write the listing of some instruments, so that parsing it gives the same instruments."""
    return orjson.dumps({"code": "0", "msg": "", "data": [_entry(instrument) for instrument in known]})


def _entry(instrument: Instrument) -> dict[str, Any]:
    spot = instrument.contract == Contract.SPOT
    inverse = instrument.contract == Contract.INVERSE
    family = f"{instrument.asset}-{instrument.quote}"
    return {
        "instType": "SPOT"
        if spot
        else ("SWAP" if kind_of(instrument.symbol) == "SPOT" else kind_of(instrument.symbol)),
        "instId": instrument.symbol,
        "baseCcy": instrument.asset if spot else "",
        "quoteCcy": instrument.quote if spot else "",
        "uly": "" if spot else family,
        "instFamily": "" if spot else family,
        "ctType": "" if spot else ("inverse" if inverse else "linear"),
        "ctVal": "" if spot else bare(instrument.contract_size, 8),
        "ctMult": "" if spot else "1",
        "ctValCcy": "" if spot else (instrument.quote if inverse else instrument.asset),
        "settleCcy": "" if spot else (instrument.asset if inverse else instrument.quote),
        "tickSz": shown(instrument.tick, instrument.price_decimals),
        "lotSz": shown(instrument.lot, instrument.size_decimals),
        "state": "live",
    }


def _object(frame: bytes) -> dict[str, Any]:
    if frame == b"pong":
        return {}
    try:
        content = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise BadFrame("not_json", str(error)) from error
    return content if isinstance(content, dict) else {}
