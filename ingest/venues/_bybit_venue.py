"""A category of Bybit in, its record out: streams, subscriptions and limits, which linear, inverse and spot share."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import orjson

from engine.instrument import Instrument
from engine.schema import Channel, Contract
from ingest.venues import SECOND, Limits, Stream, Venue
from ingest.venues._bybit import BybitDecoder
from ingest.venues._bybit_emulation import emulation
from ingest.venues._bybit_instruments import infer_instruments, parse_instruments

#: Levels a side of the book: the most that a socket shows, every 200 ms.
DEPTH: Final = 1000
#: Topics of one request; spot allows no more.
ARGUMENTS: Final = 10

#: Topic before the symbol, channel, first data within, silent at most (s; 0: exempt).
SPOT_STREAMS: Final = (
    (f"orderbook.{DEPTH}", Channel.DEPTH, 10, 30),
    ("orderbook.1", Channel.TOUCH, 10, 10),
    ("publicTrade", Channel.TRADE, 0, 60),
)
STREAMS: Final = (
    *SPOT_STREAMS,
    ("tickers", Channel.MARK, 10, 30),
    ("allLiquidation", Channel.LIQUIDATION, 0, 0),
)
#: Silent at most, s: the whole group is stated each second, if the symbol is in it.
RISK_SILENCE: Final = 60


def make_venue(name: str, category: str, contract: Contract, risk: Callable[[str], str] | None) -> Venue:
    """Make a category's record; `risk` names the group whose alerts speak of a symbol. None: there are none."""
    return Venue(
        name=name,
        sockets={"public": "wss://stream.bybit.com"},
        rest="https://api.bybit.com",
        limits=Limits(
            sends=10,
            connects=500,
            # 600 requests in 5 s; beyond it the address is shut out for 10 min.
            weight=7200,
            # The topics of a connection may have 21,000 characters.
            streams=500,
            lifetime=24 * 3600,
            ping_interval=None,
            ping_timeout=None,
            max_size=8 << 20,
        ),
        streams=lambda symbols: tuple(_streams(symbols, STREAMS if risk else SPOT_STREAMS, risk)),
        url=lambda base, socket, streams: f"{base}/v5/public/{category}",
        subscribe=partial(_frames, "subscribe"),
        unsubscribe=partial(_frames, "unsubscribe"),
        decoder=partial(_decoder, risk is not None),
        snapshot_path=lambda symbol: None,
        open_interest_path=lambda symbol: None,
        instruments_path=f"/v5/market/instruments-info?category={category}&status=Trading&limit=1000",
        parse_instruments=partial(parse_instruments, name, contract),
        infer_instruments=partial(infer_instruments, name, contract),
        weight=lambda path: 1,
        sequence="consecutive",
        resync="resubscribe",
        heartbeat=(b'{"op":"ping"}', 20),
        emulation=emulation(category, DEPTH),
    )


def _streams(
    symbols: Sequence[str], kinds: Sequence[tuple[str, Channel, int, int]], risk: Callable[[str], str] | None
) -> Iterator[Stream]:
    for symbol in symbols:
        for topic, channel, first, silence in kinds:
            yield _stream(f"{topic}.{symbol}", symbol, channel, first, silence)
        if risk is not None:
            yield _stream(f"{risk(symbol)}#{symbol}", symbol, Channel.RISK, 0, RISK_SILENCE)


def _stream(name: str, symbol: str, channel: Channel, first: int, silence: int) -> Stream:
    return Stream(
        name=name, symbol=symbol, channel=channel, socket="public", first=first * SECOND, silence=silence * SECOND
    )


def _frames(what: str, streams: Sequence[Stream]) -> tuple[bytes, ...]:
    """Write the requests: each topic once, though several symbols' streams come by it, and `insurance` by alerts."""
    topics = list(dict.fromkeys(stream.name.partition("#")[0] for stream in streams))
    topics += [topic.replace("adlAlert", "insurance") for topic in topics if topic.startswith("adlAlert.")]
    parts = (topics[start : start + ARGUMENTS] for start in range(0, len(topics), ARGUMENTS))
    return tuple(orjson.dumps({"op": what, "args": part}) for part in parts)


def _decoder(derivatives: bool, instruments: dict[str, Instrument]) -> BybitDecoder:
    return BybitDecoder(instruments, derivatives)
