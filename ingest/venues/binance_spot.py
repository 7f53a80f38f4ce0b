"""Binance spot. One socket carries everything; the venue announces the end of a connection with `serverShutdown`.

"How to manage a local order book correctly", as corrected on 2025-11-12 (binance-spot-api-docs, web-socket-streams.md):
  1. Open a connection; buffer the events; note the U of the first one.
  2. Get a depth snapshot, limit=5000.
  3. If the snapshot's lastUpdateId is strictly less than that U, go back to step 2.
  4. In the buffer, discard any event where u is <= lastUpdateId. The first one should now have lastUpdateId within its
     [U;u] range. (The ids are consecutive, so U = lastUpdateId + 1 is as good.)
  5. Set the local book to the snapshot; its update id is lastUpdateId.
  6. Apply the buffered events and all that follow: if u is < the local id, ignore it; if U is > the local id + 1,
     something was missed: start again. Otherwise apply it and set the local id to u.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

from engine.instrument import Instrument
from engine.schema import Channel, Contract
from ingest.venues import Limits, Stream, Venue
from ingest.venues._binance import BinanceDecoder, subscribe, symbol_streams, weigh
from ingest.venues._binance_emulation import emulation
from ingest.venues._binance_instruments import infer_instruments, parse_instruments

NAME: Final = "binance_spot"
REST: Final = "/api/v3"
DEPTH_LIMIT: Final = 5000
#: REST weight of a depth request, by its limit: the largest limit that each weight allows.
DEPTH_WEIGHTS: Final = ((100, 5), (500, 25), (1000, 50), (5000, 250))

#: Stream, channel, socket, first data within, silent at most (s; 0: exempt, trades may be rare).
STREAMS: Final = (
    ("depth@100ms", Channel.DEPTH, "stream", 10, 10),
    ("bookTicker", Channel.TOUCH, "stream", 10, 30),
    ("trade", Channel.TRADE, "stream", 0, 60),
)


def url(base: str, socket: str, streams: Sequence[Stream]) -> str:
    """Name the combined stream."""
    return f"{base}/stream?streams={'/'.join(stream.name for stream in streams)}"


def decoder(instruments: dict[str, Instrument]) -> BinanceDecoder:
    """Make a decoder."""
    return BinanceDecoder(instruments, futures=False)


VENUE: Final = Venue(
    name=NAME,
    sockets={"stream": "wss://stream.binance.com:9443"},
    rest="https://api.binance.com",
    limits=Limits(
        # The venue allows five frames a second, pongs included, and cuts at the fifth.
        sends=3,
        connects=300,
        weight=6000,
        streams=200,
        lifetime=24 * 3600,
        ping_interval=None,
        ping_timeout=None,
        max_size=8 << 20,
    ),
    streams=partial(symbol_streams, STREAMS),
    url=url,
    subscribe=subscribe,
    decoder=decoder,
    snapshot_path=lambda symbol: f"{REST}/depth?symbol={symbol}&limit={DEPTH_LIMIT}",
    open_interest_path=lambda symbol: None,
    instruments_path=f"{REST}/exchangeInfo",
    parse_instruments=partial(parse_instruments, NAME, Contract.SPOT),
    infer_instruments=partial(infer_instruments, NAME, Contract.SPOT),
    weight=partial(weigh, DEPTH_WEIGHTS, 20),
    sequence="consecutive",
    emulation=emulation(REST, futures=False),
)
