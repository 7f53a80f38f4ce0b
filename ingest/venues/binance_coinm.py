"""Binance COIN-M futures: perpetuals and quarterly futures of so many US dollars, settled in the coin.

Sizes are contracts: 100 US dollars of BTC, 10 of any other. On the same system as USD-M since 2026-06-30; REST weights
are shared with it. The websocket is routed as USD-M's is: `/public` carries depth, bookTicker and trade, `/market` the
mark price and liquidations. (Whether the old, unrouted paths still speak was told either way in 2026.)
How near auto-deleveraging is, is told of USD-M alone.

"How to manage a local order book correctly" (COIN-M documentation):
  1. Open a stream. 2. Buffer the events. 3. Get a depth snapshot, limit=1000.
  4. Drop any event where u is < lastUpdateId in the snapshot.
  5. The first processed event should have U <= lastUpdateId and u >= lastUpdateId.
  6. While listening, each new event's pu should be equal to the previous event's u, otherwise start again from step 3.
U is not the previous u + 1 here (true of a twentieth of recorded transitions), so `pu` alone is the chain; by it step 5
also holds where pu <= lastUpdateId < U.
"""

from functools import partial
from typing import Final

from engine.instrument import Instrument
from engine.schema import Channel, Contract
from ingest.venues import Limits, Venue
from ingest.venues._binance import COINM_COVERAGE, BinanceDecoder, routed, subscribe, symbol_streams, weigh
from ingest.venues._binance_emulation import emulation
from ingest.venues._binance_instruments import infer_instruments, parse_instruments

NAME: Final = "binance_coinm"
REST: Final = "/dapi/v1"
DEPTH_LIMIT: Final = 1000
#: REST weight of a depth request, by its limit: the largest limit that each weight allows.
DEPTH_WEIGHTS: Final = ((50, 2), (100, 5), (500, 10), (1000, 20))

#: Stream, channel, socket, first data within, silent at most (s; 0: exempt, trades and liquidations may be rare).
#: Small coins are quiet here: TRXUSD_PERP's book changed 1150 times in a day.
STREAMS: Final = (
    ("depth@0ms", Channel.DEPTH, "public", 60, 60),
    ("bookTicker", Channel.TOUCH, "public", 60, 60),
    ("trade", Channel.TRADE, "public", 0, 60),
    ("markPrice@1s", Channel.MARK, "market", 10, 5),
    ("forceOrder", Channel.LIQUIDATION, "market", 0, 0),
)


def decoder(instruments: dict[str, Instrument]) -> BinanceDecoder:
    """Make a decoder."""
    return BinanceDecoder(instruments, futures=True, coverage=COINM_COVERAGE)


VENUE: Final = Venue(
    name=NAME,
    sockets={"public": "wss://dstream.binance.com", "market": "wss://dstream.binance.com"},
    rest="https://dapi.binance.com",
    limits=Limits(
        sends=10,
        connects=300,
        weight=2400,
        streams=200,
        lifetime=24 * 3600,
        ping_interval=None,
        ping_timeout=None,
        max_size=8 << 20,
    ),
    streams=partial(symbol_streams, STREAMS),
    url=routed,
    subscribe=subscribe,
    decoder=decoder,
    snapshot_path=lambda symbol: f"{REST}/depth?symbol={symbol}&limit={DEPTH_LIMIT}",
    open_interest_path=lambda symbol: f"{REST}/openInterest?symbol={symbol}",
    instruments_path=f"{REST}/exchangeInfo",
    parse_instruments=partial(parse_instruments, NAME, Contract.INVERSE),
    infer_instruments=partial(infer_instruments, NAME, Contract.INVERSE),
    weight=partial(weigh, DEPTH_WEIGHTS, 1),
    sequence="previous",
    emulation=emulation(REST, futures=True),
)
