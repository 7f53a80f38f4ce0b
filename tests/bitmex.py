"""BitMEX, for tests: an instrument, a decoder, tables of every kind."""

from typing import Any

import orjson

from engine.instrument import Instrument
from engine.schema import Contract
from ingest.venues import Decoded, Decoder, load

VENUE = load("bitmex")
#: 2024-11-24T08:26:22 in ns.
SECOND = 1_732_436_782 * 10**9


def instrument(symbol: str = "XBTUSD", prices: int = 1, sizes: int = 0) -> Instrument:
    return Instrument(
        venue="bitmex",
        symbol=symbol,
        asset="BTC",
        quote="USD",
        contract=Contract.INVERSE,
        price_decimals=prices,
        size_decimals=sizes,
        tick=1,
        lot=100,
    )


def decoder(*symbols: str) -> Decoder:
    known = [instrument(symbol, 8) for symbol in symbols] or [instrument(), instrument("ETHUSD")]
    return VENUE.decoder({each.symbol: each for each in known})


def table(name: str, action: str, *rows: dict[str, Any], **more: Any) -> bytes:
    return orjson.dumps({"table": name, "action": action, "data": rows, **more})


def row(id_: int, side: str = "Buy", **more: Any) -> dict[str, Any]:
    return {"symbol": "XBTUSD", "id": id_, "side": side, **more}


PARTIAL = table(
    "orderBookL2",
    "partial",
    row(1, "Sell", size=500, price=98460.0, timestamp="2024-11-24T08:26:21.000Z"),
    row(2, "Sell", size=100, price=98459.9, timestamp="2024-11-24T08:26:22.356Z"),
    row(3, "Buy", size=200, price=98459.5, timestamp="2024-11-24T08:26:20.000Z"),
)
UPDATE = table(
    "orderBookL2",
    "update",
    row(3, size=700, timestamp="2024-11-24T08:26:22.356Z", transactTime="2024-11-24T08:26:22.275Z"),
)
TRADE: dict[str, Any] = {
    "timestamp": "2024-11-24T08:26:22.000Z",
    "symbol": "XBTUSD",
    "side": "Sell",
    "size": 100,
    "price": 98570.9,
    "trdMatchID": "00000000-006d-1000-0000-000e8737d536",
    "trdType": "Regular",
}
ORDER: dict[str, Any] = {"orderID": "550e", "symbol": "XBTUSD", "side": "Buy", "price": 95000.0, "leavesQty": 1000}
LISTED: dict[str, Any] = {
    "symbol": "XBTUSD",
    "markPrice": 95125.77,
    "indicativeSettlePrice": 95126.0,
    "fundingRate": -0.000011,
    "fundingTimestamp": "2024-11-24T08:26:22.000Z",
    "openInterest": 123456789,
    "timestamp": "2024-11-24T08:26:22.500Z",
}
QUOTE = {
    "timestamp": "2024-11-24T08:26:22.000Z",
    "symbol": "XBTUSD",
    "bidSize": 10,
    "bidPrice": 7.5,
    "askPrice": 8,
    "askSize": 3,
}
FRAMES = [
    PARTIAL,
    UPDATE,
    table("trade", "insert", TRADE),
    table("liquidation", "insert", ORDER),
    table("instrument", "update", {**LISTED, "state": "Closed"}),
    table("quote", "insert", QUOTE),
    table("funding", "insert", {"timestamp": "2024-11-24T08:26:22.000Z", "symbol": "XBTUSD", "fundingRate": 0.0001}),
]


def one(frame: bytes, reader: Decoder | None = None) -> Decoded:
    (decoded,) = (reader or decoder()).decode(frame, 0, 1)
    return decoded


def whole() -> Decoder:
    """Make a decoder that holds the partial on connection 1."""
    reader = decoder()
    reader.decode(PARTIAL, 0, 1)
    return reader
