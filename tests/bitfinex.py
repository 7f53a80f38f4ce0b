"""Bitfinex, for tests: an instrument, a decoder that has heard its events, frames of every channel."""

from typing import Any

import orjson
import pytest

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Contract
from ingest.venues import Decoded, Decoder, load

VENUE = load("bitfinex")
MS = 1_000_000
TS = 1_737_918_843_800
PERPETUAL = "tBTCF0:USTF0"


def instrument(symbol: str = "tBTCUSD", prices: int = 3) -> Instrument:
    return Instrument(
        venue="bitfinex",
        symbol=symbol,
        asset="BTC",
        quote="USDT" if ":" in symbol else "USD",
        contract=Contract.LINEAR if ":" in symbol else Contract.SPOT,
        price_decimals=prices,
        size_decimals=8,
        tick=1,
        lot=1,
    )


EVENTS = [
    b'{"event":"info","version":2,"platform":{"status":1}}',
    b'{"event":"conf","status":"OK","flags":229376}',
    b'{"event":"subscribed","channel":"book","chanId":1,"symbol":"tBTCUSD","prec":"P0","freq":"F0","len":"250"}',
    b'{"event":"subscribed","channel":"trades","chanId":2,"symbol":"tBTCUSD","pair":"BTCUSD"}',
    b'{"event":"subscribed","channel":"status","chanId":3,"key":"deriv:tBTCF0:USTF0"}',
    b'{"event":"subscribed","channel":"status","chanId":4,"key":"liq:global"}',
    b'{"event":"subscribed","channel":"ticker","chanId":5,"symbol":"tBTCUSD"}',
    b'{"event":"subscribed","channel":"book","chanId":6,"symbol":"tBTCUSD","prec":"R0"}',
]
DERIVATIVE: list[Any] = [TS, None, 105056.5, 105050.1234, None, 1396531.67460709, None, TS + 60_000, 0.0001056, 6]
DERIVATIVE += [None, -0.00001381344, None, None, 105055.5, None, None, 1234.5, None, None]
LONG: list[Any] = ["pos", 145, TS, None, PERPETUAL, 0.5, 104000.12345, None, 0, 1, None, 101000.5]


def decoder(connection: int = 1) -> Decoder:
    """Make a decoder whose connection has subscribed to everything."""
    reader = VENUE.decoder({each.symbol: each for each in (instrument(), instrument(PERPETUAL))})
    for event in EVENTS:
        assert reader.decode(event, 0, connection) == []
    return reader


def content(channel: int, *parts: Any, seq: int = 1) -> bytes:
    return orjson.dumps([channel, *parts, seq, TS])


FRAMES = [
    content(1, [[105055, 2, 0.5], [105056.5, 1, -0.25]]),
    content(1, [105054, 1, 0.001]),
    content(1, "cs", -745320182),
    content(2, [[10, TS, 0.5, 105056], [9, TS - 5, -0.25, 105055]]),
    content(2, "te", [11, TS, -0.001, 105055]),
    content(3, DERIVATIVE),
    content(4, [LONG]),
]


def one(frame: bytes, reader: Decoder | None = None) -> Decoded:
    (decoded,) = (reader or decoder()).decode(frame, 0, 1)
    return decoded


def refused(frame: bytes) -> str:
    with pytest.raises(BadFrame) as met:
        decoder().decode(frame, 0, 1)
    return met.value.reason
