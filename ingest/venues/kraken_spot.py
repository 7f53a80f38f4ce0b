"""Kraken spot, websocket v2 (since 2023): books without ids, proved by a checksum.

"How to maintain a valid order book" and "Book checksum (v2)" of Kraken's documentation:
  1. Subscribe `book` with a depth; the snapshot has so many levels a side.
  2. Apply a message's levels, both sides: sizes are absolute, `qty` 0 deletes.
  3. Truncate each side to the depth: no message says that a level left it.
  4. Take the 10 best asks, ascending, then the 10 best bids, descending, whatever the depth.
  5. Of each, price and qty printed by the pair's own precision, without the point and without leading zeros.
  6. The CRC32 of all that must be the message's `checksum`. If not, unsubscribe and subscribe that pair's book again.
`checksum` is the only proof that nothing was lost, so a book without one is refused.

Trades name the taker's side. A `snapshot` of trades is history; none is asked for. The ticker is asked for with every
change of the best prices. v1 (frozen) is read, too: see `ingest.venues._kraken_v1`. `level3` is another book, with a
checksum over orders, and needs a token; it is not read.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

import orjson

from engine.schema import Channel
from ingest.mirror import Rule
from ingest.venues import Limits, Stream, Venue
from ingest.venues._kraken_spot import KrakenDecoder, checksum
from ingest.venues._kraken_spot_emulation import emulation
from ingest.venues._kraken_spot_instruments import NAME, infer_instruments, parse_instruments
from ingest.venues._reading import named_streams

INSTRUMENTS: Final = "/0/public/AssetPairs"
#: Levels a side: the venue has 10, 25, 100, 500, 1000.
DEPTH: Final = 1000

#: Channel on the wire, ours, first data within, silent at most (s; 0: exempt: minor pairs are quiet for minutes).
STREAMS: Final = (("book", Channel.DEPTH, 10, 60), ("ticker", Channel.TOUCH, 10, 0), ("trade", Channel.TRADE, 0, 0))
#: Channel -> what is asked for beside the pairs.
PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "book": {"depth": DEPTH, "snapshot": True},
    "ticker": {"event_trigger": "bbo", "snapshot": True},
    "trade": {"snapshot": False},
}


def streams(symbols: Sequence[str]) -> tuple[Stream, ...]:
    """List every stream of some pairs."""
    return named_streams(STREAMS, symbols)


def subscribe(streams: Sequence[Stream]) -> tuple[bytes, ...]:
    """Ask for streams: a frame per channel."""
    return tuple(
        orjson.dumps({"method": "subscribe", "params": {"channel": name, "symbol": symbols, **PARAMETERS[name]}})
        for name, symbols in _by_channel(streams)
    )


def unsubscribe(streams: Sequence[Stream]) -> tuple[bytes, ...]:
    """End streams: a frame per channel; a book's names the depth that was subscribed."""
    return tuple(
        orjson.dumps({"method": "unsubscribe", "params": {"channel": name, "symbol": symbols, **_ended(name)}})
        for name, symbols in _by_channel(streams)
    )


def _ended(name: str) -> dict[str, Any]:
    return {key: value for key, value in PARAMETERS[name].items() if key != "snapshot"}


def _by_channel(streams: Sequence[Stream]) -> list[tuple[str, list[str]]]:
    pairs = sorted(stream.name.split(":", 1) for stream in streams)
    return [(name, [symbol for _, symbol in met]) for name, met in groupby(pairs, key=lambda each: each[0])]


VENUE: Final = Venue(
    name=NAME,
    sockets={"public": "wss://ws.kraken.com"},
    rest="https://api.kraken.com",
    limits=Limits(
        # Undocumented, and moving with load: far below what has been seen refused.
        sends=5,
        connects=70,
        weight=60,
        streams=600,
        lifetime=24 * 3600,
        ping_interval=20,
        ping_timeout=20,
        max_size=8 << 20,
    ),
    streams=streams,
    url=lambda base, socket, streams: f"{base}/v2",
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    decoder=KrakenDecoder,
    snapshot_path=lambda symbol: None,
    open_interest_path=lambda symbol: None,
    instruments_path=INSTRUMENTS,
    parse_instruments=parse_instruments,
    infer_instruments=infer_instruments,
    weight=lambda path: 1,
    sequence="none",
    resync="resubscribe",
    rule=Rule(checksum=checksum, depth=DEPTH),
    heartbeat=(b'{"method":"ping"}', 30),
    emulation=emulation(INSTRUMENTS, DEPTH),
)
