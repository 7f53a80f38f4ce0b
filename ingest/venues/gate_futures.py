"""Gate futures settled in USDT. (BTC's and USD1's are other sockets and other listings of the same venue.)

The book is `futures.obu` (since 2025-05-13), 400 levels every 100 ms; the documentation's rule:
  1. Subscribe `ob.CONTRACT.400`. The first message has `full`: it is the whole book, its id is `u`.
  2. A message with `full`, at any time, replaces the local book.
  3. Otherwise `U` must be the local id + 1: apply the levels (size 0 deletes), the local id becomes `u`; a message may
     have no levels at all.
  4. Where it is not: unsubscribe, and subscribe again. A stream may be subscribed once a connection.
Levels that leave the depth are deleted by the venue. Tapes may have the older `futures.order_book_update` instead: get
the REST book with `with_id=true`; drop what has u <= id; the first applied must have U <= id + 1 <= u, then U is the u
before + 1. A subscription of an unknown contract is acknowledged and never speaks.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import orjson

from engine.instrument import Instrument
from engine.schema import Channel
from ingest.venues import SECOND, Limits, Stream, Venue
from ingest.venues._gate import GateDecoder
from ingest.venues._gate_emulation import DEPTH, EMULATION, PREFIX
from ingest.venues._gate_instruments import infer_instruments, parse_instruments

NAME: Final = "gate_futures"
#: Of a request; it is needed, and judged in nothing but requests of an account.
TIME: Final = 123456
#: Names of one request.
NAMES: Final = 100

#: Venue's channel, what it calls a symbol's stream there, channel, first data within, silent at most (s; 0: exempt).
#: Nothing is repeated in peace: a quiet contract's book may say nothing for half a minute.
STREAMS: Final = (
    ("futures.obu", f"ob.{{}}.{DEPTH}", Channel.DEPTH, 10, 60),
    ("futures.book_ticker", "{}", Channel.TOUCH, 0, 60),
    ("futures.trades", "{}", Channel.TRADE, 0, 60),
    ("futures.tickers", "{}", Channel.MARK, 0, 60),
    ("futures.public_liquidates", "{}", Channel.LIQUIDATION, 0, 0),
    ("futures.adl_warning", "{}", Channel.RISK, 0, 0),
)


def streams(symbols: Sequence[str]) -> tuple[Stream, ...]:
    """List every stream of some symbols."""
    return tuple(
        Stream(
            name=f"{channel}:{name.format(symbol)}",
            symbol=symbol,
            channel=ours,
            socket="usdt",
            first=first * SECOND,
            silence=silence * SECOND,
        )
        for symbol in symbols
        for channel, name, ours, first, silence in STREAMS
    )


def frames(event: str, streams: Sequence[Stream]) -> tuple[bytes, ...]:
    """Write the requests that begin or end subscriptions: channel by channel."""
    wanted: dict[str, list[str]] = {}
    for stream in streams:
        channel, _, name = stream.name.partition(":")
        wanted.setdefault(channel, []).append(name)
    return tuple(
        orjson.dumps({"time": TIME, "channel": channel, "event": event, "payload": names[start : start + NAMES]})
        for channel, names in wanted.items()
        for start in range(0, len(names), NAMES)
    )


def decoder(instruments: dict[str, Instrument]) -> GateDecoder:
    """Make a decoder."""
    return GateDecoder(instruments)


VENUE: Final = Venue(
    name=NAME,
    sockets={"usdt": "wss://fx-ws.gateio.ws"},
    rest="https://api.gateio.ws",
    limits=Limits(
        sends=10,
        connects=300,
        # 200 requests in 10 s.
        weight=1200,
        streams=600,
        lifetime=24 * 3600,
        ping_interval=None,
        ping_timeout=None,
        max_size=8 << 20,
    ),
    streams=streams,
    url=lambda base, socket, streams: f"{base}/v4/ws/{socket}",
    subscribe=partial(frames, "subscribe"),
    unsubscribe=partial(frames, "unsubscribe"),
    decoder=decoder,
    snapshot_path=lambda symbol: None,
    open_interest_path=lambda symbol: None,
    instruments_path=f"{PREFIX}/contracts",
    parse_instruments=partial(parse_instruments, NAME),
    infer_instruments=partial(infer_instruments, NAME),
    weight=lambda path: 1,
    sequence="consecutive",
    resync="resubscribe",
    heartbeat=(orjson.dumps({"time": TIME, "channel": "futures.ping"}), 15),
    # Without it sizes of contracts that trade in parts are cut to integers.
    headers={"X-Gate-Size-Decimal": "1"},
    emulation=EMULATION,
)
