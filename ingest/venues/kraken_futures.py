"""Kraken futures (derivatives), websocket v1: linear in dollars (PF_, FF_) or inverse (PI_, FI_), perpetual or dated.

Books, by the feed `book` of the documentation:
  1. Subscribe; `book_snapshot` is the whole book, with a `seq`.
  2. Each `book` after it changes one level of one side: `qty` is absolute, 0 deletes.
  3. `seq` grows by one with each message of a product. If it does not, unsubscribe and subscribe that product again.

Trades name the taker's side; `type` tells a `liquidation` of the taker from a `fill`, so every liquidation that reached
the book is shown, at its fills' prices. Those that did not (`assignment`, `termination`) and `block` trades struck no
order and are only counted. `trade_snapshot` is history. A trade's id is its `seq`, which counts the product's trades;
`uid` is a UUID that names the same.

`ticker` (once a second at most) has best prices, mark, index, open interest in contracts, and `relative_funding_rate`:
of one hour, relative to the index, not printed where it is zero; `funding_rate` is the same in money per contract.
`ticker_lite` has prices without sizes and is not read.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Channel, Rows
from ingest.decimals import shown
from ingest.venues import Emulation, Limits, Stream, Venue
from ingest.venues._kraken_futures import KrakenFuturesDecoder
from ingest.venues._kraken_futures_instruments import NAME, infer_instruments, listing, parse_instruments
from ingest.venues._reading import named_streams, parse

INSTRUMENTS: Final = "/derivatives/api/v3/instruments"
#: Feed, channel, first data within, silent at most (s; 0: exempt: trades may be rare). The ticker has touches, too;
#: trades have liquidations.
STREAMS: Final = (("book", Channel.DEPTH, 10, 60), ("trade", Channel.TRADE, 0, 0), ("ticker", Channel.MARK, 10, 30))
#: What a frame calls its feed -> what was subscribed.
FEEDS: Final = {"book_snapshot": "book", "trade_snapshot": "trade", **{name: name for name, *_ in STREAMS}}


def streams(symbols: Sequence[str]) -> tuple[Stream, ...]:
    """List every stream of some products."""
    return named_streams(STREAMS, symbols)


def _ask(event: str) -> Callable[[Sequence[Stream]], tuple[bytes, ...]]:
    def ask(streams: Sequence[Stream]) -> tuple[bytes, ...]:
        """Begin or end streams: a frame per feed."""
        pairs = sorted(stream.name.split(":", 1) for stream in streams)
        return tuple(
            orjson.dumps({"event": event, "feed": feed, "product_ids": [product for _, product in met]})
            for feed, met in groupby(pairs, key=lambda each: each[0])
        )

    return ask


def _asked(event: str) -> Callable[[bytes], tuple[tuple[str, ...], bytes] | None]:
    def asked(frame: bytes) -> tuple[tuple[str, ...], bytes] | None:
        """Read a frame that begins or ends streams, and answer it."""
        content = _content(frame)
        if content.get("event") != event:
            return None
        feed, products = content["feed"], content["product_ids"]
        answer = orjson.dumps({"event": f"{event}d", "feed": feed, "product_ids": products})
        return tuple(f"{feed}:{product}" for product in products), answer

    return asked


def stream_of(frame: bytes) -> str | None:
    """Name the stream of a frame."""
    content = _content(frame)
    feed = FEEDS.get(str(content.get("feed")))
    return f"{feed}:{content['product_id']}" if feed and "event" not in content and "product_id" in content else None


def book(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    """Write a `book_snapshot`."""
    sides = [
        ",".join(
            f'{{"price":{shown(price, instrument.price_decimals)},"qty":{shown(size, instrument.size_decimals)}}}'
            for price, size in rows.tolist()
        )
        for rows in (bids, asks)
    ]
    return (
        f'{{"feed":"book_snapshot","product_id":"{instrument.symbol}","timestamp":{at // 1_000_000},"seq":{last},'
        f'"tickSize":null,"bids":[{sides[0]}],"asks":[{sides[1]}]}}'
    ).encode()


def _content(frame: bytes) -> dict[str, Any]:
    try:
        content = parse(frame)
    except BadFrame:
        return {}
    return content if isinstance(content, dict) else {}


VENUE: Final = Venue(
    name=NAME,
    sockets={"public": "wss://futures.kraken.com"},
    rest="https://futures.kraken.com",
    limits=Limits(
        # 100 requests a second and connection.
        sends=50,
        connects=100,
        weight=500,
        streams=600,
        lifetime=24 * 3600,
        # The venue wants a ping a minute at least.
        ping_interval=20,
        ping_timeout=20,
        max_size=8 << 20,
    ),
    streams=streams,
    url=lambda base, socket, streams: f"{base}/ws/v1",
    subscribe=_ask("subscribe"),
    unsubscribe=_ask("unsubscribe"),
    decoder=KrakenFuturesDecoder,
    snapshot_path=lambda symbol: None,
    open_interest_path=lambda symbol: None,
    instruments_path=INSTRUMENTS,
    parse_instruments=parse_instruments,
    infer_instruments=infer_instruments,
    weight=lambda path: 1,
    sequence="consecutive",
    resync="resubscribe",
    emulation=Emulation(
        route=lambda path: ("instruments", "", 0) if urlsplit(path).path == INSTRUMENTS else None,
        stream_of=stream_of,
        streams_of=lambda path: (),
        subscribed=_asked("subscribe"),
        unsubscribed=_asked("unsubscribe"),
        # REST's order book has no `seq`: nobody asks for one.
        snapshot=book,
        book=book,
        instruments=listing,
    ),
)
