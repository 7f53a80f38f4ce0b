"""Coinbase Exchange: the same book of Coinbase by its older socket, where nothing is numbered.

Books, by the channel `level2_batch` (`level2` in batches of 50 ms, without a token):
  1. `snapshot` is the whole book.
  2. Each `l2update` has changes of absolute sizes, 0 deletes. It has no id: a lost one cannot be seen in the others.
  3. So a loss is told from two other things. Bids must stay below asks. And trades, whose ids grow by one, must all
     come: `heartbeat` states the last trade's id each second, and one second later it must be here. Where one is
     missing, messages were lost, perhaps of the book, too: it is subscribed again.
`last_trade_id` was always 0 in 2019 and 2020, which says nothing: then a hole in the ids is all there is.
A heartbeat's `sequence` counts the orders' own feed, which is not subscribed; nothing here can be compared with it.

`side` of a match is the maker's. `last_match`, the first after subscribing, is history. The ticker (with each trade)
has the best prices, and their sizes, which those of 2021 have not. Some updates of 2019 are
of the year 1: their time is unknown.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.schema import Channel, Rows
from ingest.decimals import shown
from ingest.mirror import Rule
from ingest.venues import Emulation, Limits, Stream, Venue
from ingest.venues._coinbase import content_of, entries, inferred, instrument, levels_of, listed
from ingest.venues._coinbase_exchange import CoinbaseExchangeDecoder
from ingest.venues._fields import member
from ingest.venues._reading import foreign, named_streams, pick, printed

NAME: Final = "coinbase_exchange"
INSTRUMENTS: Final = "/products"

#: Channel as subscribed, ours, first data within, silent at most (s; 0: exempt: trades may be rare).
STREAMS: Final = (
    ("level2_batch", Channel.DEPTH, 20, 60),
    ("matches", Channel.TRADE, 20, 0),
    ("ticker", Channel.TOUCH, 20, 0),
)
#: What a frame calls itself -> what it was subscribed as.
FRAMES: Final = {
    "snapshot": "level2_batch",
    "l2update": "level2_batch",
    "match": "matches",
    "last_match": "matches",
    "ticker": "ticker",
}
#: What is asked for beside the trades of a product, as it is what they are judged by.
BESIDE: Final = {"matches": "heartbeat"}


def _ask(kind: str) -> Callable[[Sequence[Stream]], tuple[bytes, ...]]:
    def ask(streams: Sequence[Stream]) -> tuple[bytes, ...]:
        """Begin or end streams, all by one frame."""
        if not streams:
            return ()
        pairs = sorted(stream.name.split(":", 1) for stream in streams)
        wanted = {name: [product for _, product in met] for name, met in groupby(pairs, key=lambda each: each[0])}
        wanted |= {beside: wanted[name] for name, beside in BESIDE.items() if name in wanted}
        channels = [{"name": name, "product_ids": symbols} for name, symbols in wanted.items()]
        return (orjson.dumps({"type": kind, "channels": channels}),)

    return ask


def _asked(kind: str) -> Callable[[bytes], tuple[tuple[str, ...], bytes] | None]:
    def asked(frame: bytes) -> tuple[tuple[str, ...], bytes] | None:
        """Read a frame that begins or ends streams, and answer it."""
        content = content_of(frame)
        if content.get("type") != kind:
            return None
        channels = entries(content.get("channels"))
        answer = orjson.dumps({"type": "subscriptions", "channels": channels if kind == "subscribe" else []})
        names = (f"{each['name']}:{symbol}" for each in channels for symbol in each["product_ids"])
        return tuple(name for name in names if name.split(":", 1)[0] in FRAMES.values()), answer

    return asked


def parse_instruments(body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted products' instruments. Raises BadConfig for an unknown one, BadFrame for a bad body."""
    known = {member(each, "id", str): each for each in listed(body, None)}
    return [
        instrument(
            NAME,
            symbol,
            (member(entry, "base_currency", str), member(entry, "quote_currency", str)),
            (entry.get("quote_increment"), entry.get("base_increment")),
        )
        for symbol, entry in zip(symbols, pick(NAME, known, symbols), strict=True)
    ]


@foreign
def infer_instruments(frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that books show."""
    met: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for content in map(content_of, frames):
        if content.get("type") == "snapshot":
            levels = levels_of(member(content, "bids", list) + member(content, "asks", list), (0, 1))
        elif content.get("type") == "l2update":
            levels = levels_of(member(content, "changes", list), (1, 2))
        else:
            continue
        met[member(content, "product_id", str)] += levels
    if not met:
        raise BadConfig(f"no book frame of {NAME} among the tape's first {len(frames)} lines")
    return [inferred(NAME, symbol, levels) for symbol, levels in met.items()]


def products(instruments: Sequence[Instrument]) -> bytes:
    """Write the listing of some instruments, so that parsing it gives the same instruments."""
    return orjson.dumps(
        [
            {
                "id": each.symbol,
                "base_currency": each.asset,
                "quote_currency": each.quote,
                "quote_increment": shown(each.tick, each.price_decimals),
                "base_increment": shown(each.lot, each.size_decimals),
                "status": "online",
            }
            for each in instruments
        ]
    )


def stream_of(frame: bytes) -> str | None:
    """Name the stream of a frame."""
    content: dict[str, Any] = content_of(frame)
    channel = FRAMES.get(str(content.get("type")))
    return f"{channel}:{content['product_id']}" if channel and "product_id" in content else None


def book(known: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    """Write a `snapshot` of a book."""
    sides = {
        side: [(shown(price, known.price_decimals), shown(size, known.size_decimals)) for price, size in rows.tolist()]
        for side, rows in (("bids", bids), ("asks", asks))
    }
    return orjson.dumps({"type": "snapshot", "product_id": known.symbol, **sides, "time": printed(at)})


VENUE: Final = Venue(
    name=NAME,
    sockets={"public": "wss://ws-feed.exchange.coinbase.com"},
    rest="https://api.exchange.coinbase.com",
    limits=Limits(
        # 8 frames a second and address in bursts of 20; as many connections.
        sends=4,
        connects=300,
        weight=300,
        streams=300,
        lifetime=24 * 3600,
        ping_interval=20,
        ping_timeout=20,
        max_size=64 << 20,
    ),
    streams=lambda symbols: named_streams(STREAMS, symbols),
    url=lambda base, socket, streams: f"{base}/",
    subscribe=_ask("subscribe"),
    unsubscribe=_ask("unsubscribe"),
    decoder=CoinbaseExchangeDecoder,
    snapshot_path=lambda symbol: None,
    open_interest_path=lambda symbol: None,
    instruments_path=INSTRUMENTS,
    parse_instruments=parse_instruments,
    infer_instruments=infer_instruments,
    weight=lambda path: 1,
    sequence="none",
    resync="resubscribe",
    rule=Rule(uncrossed=True),
    emulation=Emulation(
        route=lambda path: ("instruments", "", 0) if urlsplit(path).path == INSTRUMENTS else None,
        stream_of=stream_of,
        streams_of=lambda path: (),
        subscribed=_asked("subscribe"),
        unsubscribed=_asked("unsubscribe"),
        # The socket's is the only whole book: REST's may be asked for too seldom.
        snapshot=book,
        book=book,
        instruments=products,
    ),
)
