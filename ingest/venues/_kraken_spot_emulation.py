"""Kraken spot's side of the wire, for the emulator: frames in, streams and answers out."""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Rows
from ingest.decimals import shown
from ingest.venues import Emulation
from ingest.venues._kraken import pair
from ingest.venues._kraken_spot import crc
from ingest.venues._kraken_spot_instruments import asset_pairs
from ingest.venues._reading import parse, printed

#: v1's channels -> v2's; its books are called `book-<depth>`.
OLD: Final = {"trade": "trade", "spread": "ticker", "ticker": "ticker", "book": "book"}


def emulation(instruments_path: str, depth: int) -> Emulation:
    """Make the record for a depth subscribed."""

    def book(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
        sides = [[(int(price), int(size)) for price, size in rows[:depth].tolist()] for rows in (bids, asks)]
        texts = [
            ",".join(
                f'{{"price":{shown(price, instrument.price_decimals)},"qty":{shown(size, instrument.size_decimals)}}}'
                for price, size in side
            )
            for side in sides
        ]
        return (
            f'{{"channel":"book","type":"snapshot","data":[{{"symbol":"{instrument.symbol}","bids":[{texts[0]}],'
            f'"asks":[{texts[1]}],"checksum":{crc(*sides)},"timestamp":"{printed(at)}"}}]}}'
        ).encode()

    return Emulation(
        route=lambda path: ("instruments", "", 0) if urlsplit(path).path == instruments_path else None,
        stream_of=stream_of,
        streams_of=lambda path: (),
        subscribed=_asked("subscribe"),
        unsubscribed=_asked("unsubscribe"),
        answer=answer,
        # REST has no snapshot: nobody asks for one, and the socket's is the only book there is.
        snapshot=book,
        book=book,
        instruments=asset_pairs,
    )


def stream_of(frame: bytes) -> str | None:
    """Name the stream of a frame of either version."""
    content = _content(frame)
    if type(content) is list and len(content) >= 4:
        channel = OLD.get(str(content[-2]).partition("-")[0])
        return f"{channel}:{pair(str(content[-1]))}" if channel else None
    if type(content) is dict and content.get("channel") in OLD.values():
        data = content.get("data")
        if type(data) is list and data and type(data[0]) is dict and "symbol" in data[0]:
            return f"{content['channel']}:{data[0]['symbol']}"
    return None


def answer(frame: bytes) -> bytes | None:
    """Answer a ping."""
    content = _content(frame)
    if type(content) is not dict or content.get("method") != "ping":
        return None
    return orjson.dumps({"method": "pong", "req_id": content.get("req_id", 0)})


def _asked(method: str) -> Callable[[bytes], tuple[tuple[str, ...], bytes] | None]:
    def asked(frame: bytes) -> tuple[tuple[str, ...], bytes] | None:
        """Read a frame that begins or ends subscriptions. The venue answers each pair; here one answer is all."""
        content = _content(frame)
        if type(content) is not dict or content.get("method") != method:
            return None
        params = content["params"]
        channel, symbols = params["channel"], params["symbol"]
        result = {"channel": channel, "symbol": symbols[0] if symbols else ""}
        acknowledged = orjson.dumps({"method": method, "result": result, "success": True})
        return tuple(f"{channel}:{symbol}" for symbol in symbols), acknowledged

    return asked


def _content(frame: bytes) -> Any:
    try:
        return parse(frame)
    except BadFrame:
        return None
