"""Bybit's side of the wire, for the emulator: paths and frames in, streams, answers and bodies out."""

from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Contract, Rows
from ingest.decimals import shown
from ingest.venues import Emulation
from ingest.venues._bybit import DEPTHS
from ingest.venues._bybit_instruments import STEPS

#: Levels a side that a depth request gets that states no limit.
DEFAULT_LIMIT: Final = 25
RESOURCES: Final = {"/v5/market/orderbook": "depth", "/v5/market/instruments-info": "instruments"}
CONTRACTS: Final = {Contract.LINEAR: "LinearPerpetual", Contract.INVERSE: "InversePerpetual"}
CONNECTION: Final = "emulated"


def emulation(category: str, depth: int) -> Emulation:
    """Make the record of one category; books of any depth on a tape go to who asks for the depth we subscribe."""
    return Emulation(
        route=_route(category),
        stream_of=_stream_of(depth),
        streams_of=lambda path: (),
        subscribed=lambda frame: _asked(frame, "subscribe"),
        unsubscribed=lambda frame: _asked(frame, "unsubscribe"),
        answer=_answer(category),
        snapshot=_snapshot,
        book=_book(depth),
        instruments=_listing(category),
        renumber=_as_subscribed,
    )


def _as_subscribed(frame: bytes, stream: str, number: int) -> bytes:
    """Give a book of another depth the topic that was subscribed: a client takes one depth of a book alone."""
    head, found, rest = frame.partition(b'"topic":"orderbook.')
    if not found or not stream.startswith("orderbook."):
        return frame
    return head + b'"topic":"' + stream.encode() + rest[rest.index(b'"') :]


def _route(category: str) -> Callable[[str], tuple[str, str, int] | None]:
    def route(path: str) -> tuple[str, str, int] | None:
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        limit = query.get("limit", str(DEFAULT_LIMIT))
        what = RESOURCES.get(parts.path)
        if what is None or query.get("category") != category or not limit.isdigit():
            return None
        return what, query.get("symbol", ""), int(limit)

    return route


def _stream_of(depth: int) -> Callable[[bytes], str | None]:
    def stream_of(frame: bytes) -> str | None:
        topic = _object(frame).get("topic")
        if type(topic) is not str:
            return None
        name, _, whose = topic.partition(".")
        levels, _, symbol = whose.partition(".")
        return f"orderbook.{depth}.{symbol}" if name == "orderbook" and levels in DEPTHS else topic

    return stream_of


def _asked(frame: bytes, what: str) -> tuple[tuple[str, ...], bytes] | None:
    content = _object(frame)
    if content.get("op") != what:
        return None
    answer = {"success": True, "ret_msg": "", "conn_id": CONNECTION, "req_id": content.get("req_id", ""), "op": what}
    # `insurance` is asked for with the alerts and belongs to their streams.
    topics = (topic for topic in content.get("args", ()) if not topic.startswith("insurance."))
    return tuple(topics), orjson.dumps(answer)


def _answer(category: str) -> Callable[[bytes], bytes | None]:
    def answer(frame: bytes) -> bytes | None:
        content = _object(frame)
        if content.get("op") != "ping":
            return None
        said = {"success": True, "ret_msg": "pong", "conn_id": CONNECTION, "op": "ping"}
        return orjson.dumps(said if category == "spot" else {**said, "req_id": content.get("req_id", "")})

    return answer


def _snapshot(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    result = {**_sides(instrument, last, bids, asks), "ts": at // 1_000_000, "cts": at // 1_000_000}
    return orjson.dumps({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": at // 1_000_000})


def _book(depth: int) -> Callable[[Instrument, int, int, Rows, Rows], bytes]:
    def write(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
        topic, data = f"orderbook.{depth}.{instrument.symbol}", _sides(instrument, last, bids[:depth], asks[:depth])
        stamp = at // 1_000_000
        return orjson.dumps({"topic": topic, "type": "snapshot", "ts": stamp, "data": data, "cts": stamp})

    return write


def _sides(instrument: Instrument, last: int, bids: Rows, asks: Rows) -> dict[str, Any]:
    prices, sizes = instrument.price_decimals, instrument.size_decimals
    sides = {
        key: [(shown(price, prices), shown(size, sizes)) for price, size in rows.tolist()]
        for key, rows in (("b", bids), ("a", asks))
    }
    return {"s": instrument.symbol, **sides, "u": last, "seq": last}


def _listing(category: str) -> Callable[[Sequence[Instrument]], bytes]:
    def listing(instruments: Sequence[Instrument]) -> bytes:
        entries = [_entry(instrument) for instrument in instruments]
        return orjson.dumps({"retCode": 0, "retMsg": "OK", "result": {"category": category, "list": entries}})

    return listing


def _entry(instrument: Instrument) -> dict[str, Any]:
    contract = CONTRACTS.get(instrument.contract)
    lot = shown(instrument.lot, instrument.size_decimals)
    return {
        "symbol": instrument.symbol,
        **({"contractType": contract} if contract else {}),
        "status": "Trading",
        "baseCoin": instrument.asset,
        "quoteCoin": instrument.quote,
        "priceFilter": {"tickSize": shown(instrument.tick, instrument.price_decimals)},
        "lotSizeFilter": {STEPS[instrument.contract]: lot, "minOrderQty": lot},
    }


def _object(frame: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise BadFrame("not_json", str(error)) from error
    return content if isinstance(content, dict) else {}
