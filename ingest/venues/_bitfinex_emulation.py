"""Bitfinex's side of the wire, for the emulator: subscriptions in, events, books and frames as a connection gets them.

A connection has its own numbers of channels and of frames. An emulated channel's number follows from its name, so that
every connection has the same ones; a frame's number is how many the connection was sent. Events have no number: they
are handed back as they are, and are not to be counted.
"""

import re
from typing import Any, Final
from zlib import crc32

import orjson

from engine.instrument import Instrument
from engine.schema import Rows
from ingest.venues import Emulation
from ingest.venues._bitfinex_instruments import INSTRUMENTS, listing
from ingest.venues._figures import asked, levels

#: A frame's number, and the time behind it where there is one.
_TAIL: Final = re.compile(rb",\s*\d+(,\s*\d{13})?\s*\]\s*$")


def emulation() -> Emulation:
    """Make the record."""
    return Emulation(
        route=lambda path: ("instruments", "", 0) if path.partition("?")[0] == INSTRUMENTS.partition("?")[0] else None,
        # A frame alone does not name its stream.
        stream_of=lambda frame: None,
        streams_of=lambda path: (),
        subscribed=_subscribed,
        answer=_answer,
        snapshot=_whole_book,
        book=_whole_book,
        instruments=listing,
        renumber=renumber,
    )


def name_of(content: dict[str, Any]) -> str:
    """Name the stream that a request or an event speaks of: book:tBTCUSD, status:liq:global."""
    return f"{content.get('channel')}:{content.get('key' if content.get('channel') == 'status' else 'symbol')}"


def channel_of(stream: str) -> int:
    """Number an emulated channel."""
    return crc32(stream.partition("#")[0].encode()) % 1_000_000 + 1


def renumber(frame: bytes, stream: str, sent: int) -> bytes:
    """Give a frame the numbers that it has on a connection."""
    if not frame.startswith(b"["):
        return frame
    tail = _TAIL.search(frame)
    _, _, rest = frame[1 : tail.start() if tail else frame.rindex(b"]")].partition(b",")
    # A tape without times is played to who asked for them: 0 is unknown.
    return b"[%d,%b,%d%b]" % (channel_of(stream), rest, sent + 1, (tail and tail[1]) or b",0")


def _subscribed(frame: bytes) -> tuple[tuple[str, ...], bytes] | None:
    content = asked(frame)
    match content.get("event"):
        case "conf":
            return (), orjson.dumps({"event": "conf", "status": "OK", "flags": content.get("flags")})
        case "subscribe":
            name = name_of(content)
            return (name,), orjson.dumps({**content, "event": "subscribed", "chanId": channel_of(name)})
        case _:
            return None


def _answer(frame: bytes) -> bytes | None:
    content = asked(frame)
    return orjson.dumps({**content, "event": "pong"}) if content.get("event") == "ping" else None


def _whole_book(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    """Write the first frame of a book; its number is that of the first frame on its connection."""
    rows = [[price, 1, size] for price, size in levels(instrument, bids)]
    rows += [[price, 1, orjson.Fragment(b"-" + orjson.dumps(size))] for price, size in levels(instrument, asks)]
    # 0 is unknown, and no time.
    return orjson.dumps([channel_of(f"book:{instrument.symbol}"), rows, 1, *([at // 1_000_000] if at else [])])
