"""Coinbase Advanced Trade: one book of Coinbase, its newer socket, where every frame of a connection is numbered.

Books, by the channel `level2` (frames say `l2_data`):
  1. Subscribe within 5 s of connecting, `heartbeats` too: they keep quiet channels open, which end after 60 to 90 s.
  2. `snapshot` is the whole book, of tens of thousands of levels and several megabytes.
  3. Each `update` has absolute sizes, 0 deletes; sides are `bid` and `offer`.
  4. `sequence_num` counts the frames of the connection, of all channels and products, from 0. A hole says that
     something was lost and not of which product: only another connection makes the books whole again.
Books have no ids of their own. Bids must stay below asks. A product in USDC is mostly an `alias` of the one in USD, and
frames name that one; so an alias cannot be asked for.

`side` of a trade is the maker's: of a recording's trades (2026-08) those that say SELL are at the best ask, those that
say BUY at the best bid. Trades come newest first; the `snapshot` of them is history. The ticker (with each trade) has
the best prices.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import CONTRACT_SIZE_DECIMALS, Channel, Contract, Rows
from ingest.decimals import shown
from ingest.venues import Emulation, Limits, Stream, Venue
from ingest.venues._coinbase import (
    content_of,
    entries,
    first,
    inferred,
    instrument,
    levels_of,
    listed,
)
from ingest.venues._coinbase_advanced import CoinbaseAdvancedDecoder
from ingest.venues._fields import member
from ingest.venues._reading import foreign, named_streams, pick, printed

NAME: Final = "coinbase_advanced"
INSTRUMENTS: Final = "/api/v3/brokerage/market/products"

#: Channel as subscribed, ours, first data within, silent at most (s; 0: exempt: trades may be rare).
STREAMS: Final = (
    ("level2", Channel.DEPTH, 20, 60),
    ("market_trades", Channel.TRADE, 20, 0),
    ("ticker", Channel.TOUCH, 20, 0),
)
#: What frames call a channel -> what it was subscribed as, and where its product is named.
FRAMES: Final = {
    "l2_data": ("level2", None),
    "market_trades": ("market_trades", "trades"),
    "ticker": ("ticker", "tickers"),
}
KINDS: Final = {"SPOT": Contract.SPOT, "FUTURE": Contract.LINEAR}

_NAMES: Final = tuple(name for name, *_ in STREAMS)
_NUMBER: Final = re.compile(rb'"sequence_num":\s*\d+')


def _ask(kind: str, beside: tuple[bytes, ...]) -> Callable[[Sequence[Stream]], tuple[bytes, ...]]:
    def ask(streams: Sequence[Stream]) -> tuple[bytes, ...]:
        """Begin or end streams: a frame per channel."""
        pairs = sorted(stream.name.split(":", 1) for stream in streams)
        frames = (
            orjson.dumps({"type": kind, "product_ids": [product for _, product in met], "channel": channel})
            for channel, met in groupby(pairs, key=lambda each: each[0])
        )
        return (*frames, *beside)

    return ask


def parse_instruments(body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted products' instruments. Raises BadConfig for an unknown one, BadFrame for a bad body."""
    known = {member(each, "product_id", str): each for each in listed(body, "products")}
    return [_instrument(*met) for met in zip(symbols, pick(NAME, known, symbols), strict=True)]


def _instrument(symbol: str, entry: dict[str, Any]) -> Instrument:
    if alias := entry.get("alias"):
        raise BadConfig(f"{symbol!r} has no streams of its own at {NAME}, it is the book of {alias!r}: ask for that")
    contract = KINDS.get(str(entry.get("product_type")))
    if contract is None:
        raise BadConfig(f"{symbol!r} is of type {entry.get('product_type')!r}, allowed are {', '.join(KINDS)}")
    details = entry.get("future_product_details") if contract == Contract.LINEAR else {}
    if type(details) is not dict:
        raise BadFrame("bad_product", f"{symbol!r} has no details of a future")
    base = entry.get("base_currency_id") or details.get("contract_root_unit")
    return instrument(
        NAME,
        symbol,
        (base, entry.get("quote_currency_id")),  # type: ignore[arg-type]
        (entry.get("price_increment"), entry.get("base_increment")),
        finest=entry.get("quote_increment"),
        contract=contract,
        contract_size=details.get("contract_size", "1"),
    )


@foreign
def infer_instruments(frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that books show."""
    met: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for content in map(content_of, frames):
        if content.get("channel") == "l2_data":
            for event in entries(content.get("events")):
                updates = entries(event.get("updates"))
                met[member(event, "product_id", str)] += levels_of(updates, ("price_level", "new_quantity"))
    if not met:
        raise BadConfig(f"no book frame of {NAME} among the tape's first {len(frames)} lines")
    return [inferred(NAME, symbol, levels) for symbol, levels in met.items()]


def products(instruments: Sequence[Instrument]) -> bytes:
    """Write the listing of some instruments, so that parsing it gives the same instruments."""
    return orjson.dumps({"products": [_entry(each) for each in instruments], "num_products": len(instruments)})


def _entry(known: Instrument) -> dict[str, Any]:
    tick = shown(known.tick, known.price_decimals)
    future = {
        "contract_size": shown(known.contract_size, CONTRACT_SIZE_DECIMALS),
        "contract_root_unit": known.asset,
    }
    return {
        "product_id": known.symbol,
        "product_type": "SPOT" if known.contract == Contract.SPOT else "FUTURE",
        "base_currency_id": known.asset,
        "quote_currency_id": known.quote,
        "price_increment": tick,
        "quote_increment": tick,
        "base_increment": shown(known.lot, known.size_decimals),
        "future_product_details": None if known.contract == Contract.SPOT else future,
    }


def stream_of(frame: bytes) -> str | None:
    """Name the stream of a frame, by its first product."""
    content = content_of(frame)
    channel, inside = FRAMES.get(str(content.get("channel")), (None, None))
    named = first(content.get("events"))
    product = (first(named.get(inside)) if inside else named).get("product_id")
    return f"{channel}:{product}" if channel and product else None


def _asked(kind: str) -> Callable[[bytes], tuple[tuple[str, ...], bytes] | None]:
    def asked(frame: bytes) -> tuple[tuple[str, ...], bytes] | None:
        """Read a frame that begins or ends streams; its answer is not numbered, as nobody counts it here."""
        content = content_of(frame)
        if content.get("type") != kind:
            return None
        channel, wanted = content["channel"], content.get("product_ids", [])
        now = {channel: wanted} if kind == "subscribe" else {}
        answer = orjson.dumps({"channel": "subscriptions", "events": [{"subscriptions": now}]})
        return tuple(f"{channel}:{product}" for product in wanted if channel in _NAMES), answer

    return asked


def book(known: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    """Write a `snapshot` of a book."""
    time = printed(at)
    updates = [
        {
            "side": side,
            "event_time": time,
            "price_level": shown(price, known.price_decimals),
            "new_quantity": shown(size, known.size_decimals),
        }
        for side, rows in (("bid", bids), ("offer", asks))
        for price, size in rows.tolist()
    ]
    event = {"type": "snapshot", "product_id": known.symbol, "updates": updates}
    return orjson.dumps(
        {"channel": "l2_data", "client_id": "", "timestamp": time, "sequence_num": last, "events": [event]}
    )


def renumber(frame: bytes, stream: str, before: int) -> bytes:
    """Number a frame by how many its connection was sent before."""
    return _NUMBER.sub(b'"sequence_num":%d' % before, frame, count=1)


VENUE: Final = Venue(
    name=NAME,
    sockets={"public": "wss://advanced-trade-ws.coinbase.com"},
    rest="https://api.coinbase.com",
    limits=Limits(
        # 8 frames and 8 connections a second and address, for who is not authenticated.
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
    subscribe=_ask("subscribe", (orjson.dumps({"type": "subscribe", "channel": "heartbeats"}),)),
    unsubscribe=_ask("unsubscribe", ()),
    decoder=CoinbaseAdvancedDecoder,
    snapshot_path=lambda symbol: None,
    open_interest_path=lambda symbol: None,
    instruments_path=INSTRUMENTS,
    parse_instruments=parse_instruments,
    infer_instruments=infer_instruments,
    weight=lambda path: 1,
    sequence="none",
    resync="reconnect",
    numbered=True,
    emulation=Emulation(
        route=lambda path: ("instruments", "", 0) if urlsplit(path).path == INSTRUMENTS else None,
        stream_of=stream_of,
        streams_of=lambda path: (),
        subscribed=_asked("subscribe"),
        unsubscribed=_asked("unsubscribe"),
        # The socket's is the only whole book: nobody asks REST for one.
        snapshot=book,
        book=book,
        instruments=products,
        renumber=renumber,
    ),
)
