"""Gate's side of the wire, for the emulator: paths and frames in, streams, answers and bodies out."""

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import CONTRACT_SIZE_DECIMALS, Contract, Rows
from ingest.decimals import shown
from ingest.venues import Emulation

PREFIX: Final = "/api/v4/futures/usdt"
#: Levels a side of the book.
DEPTH: Final = 400
#: Levels a side that a depth request gets that states no limit.
DEFAULT_LIMIT: Final = 10
SECOND: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000
BOOKS: Final = ("futures.obu", "futures.order_book_update")


def route(path: str) -> tuple[str, str, int] | None:
    """Tell what a REST path asks for."""
    parts = urlsplit(path)
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    limit = query.get("limit", str(DEFAULT_LIMIT))
    what = {f"{PREFIX}/order_book": "depth", f"{PREFIX}/contracts": "instruments"}.get(parts.path)
    return (what, query.get("contract", ""), int(limit)) if what is not None and limit.isdigit() else None


def stream_of(frame: bytes) -> str | None:
    """Name a frame's stream; a book of any depth on a tape goes to who asks for the depth that we subscribe."""
    content = _object(frame)
    channel, event, result = content.get("channel"), content.get("event"), content.get("result")
    first = result[0] if type(result) is list and result else result
    if type(channel) is not str or event not in ("update", "all") or type(first) is not dict:
        return None
    name = str(first.get("s", first.get("contract", "")))
    if channel in BOOKS:
        symbol = name.removeprefix("ob.").rpartition(".")[0] if channel == "futures.obu" else name
        return f"futures.obu:ob.{symbol}.{DEPTH}"
    return f"{channel}:{name}"


def asked(frame: bytes, event: str) -> tuple[tuple[str, ...], bytes] | None:
    """Read a client's request: its streams, and the answer that it gets."""
    content = _object(frame)
    if content.get("event") != event:
        return None
    channel, payload = content.get("channel"), content.get("payload", [])
    said = {key: content.get(key) for key in ("time", "channel", "event", "payload")}
    return tuple(f"{channel}:{each}" for each in payload), orjson.dumps({**said, "result": {"status": "success"}})


def answer(frame: bytes) -> bytes | None:
    """Answer a ping."""
    content = _object(frame)
    if content.get("channel") != "futures.ping":
        return None
    return orjson.dumps({"time": content.get("time"), "channel": "futures.pong", "event": "", "result": None})


def snapshot(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    """Write the REST body of a book."""
    sides = {
        key: [{"p": price, "s": size} for price, size in _texts(instrument, rows)]
        for key, rows in (("asks", asks), ("bids", bids))
    }
    stamp = f"{at // SECOND}.{at % SECOND // MILLISECOND:03d}"
    head = f'{{"id":{last},"current":{stamp},"update":{stamp},'
    return head.encode() + orjson.dumps(sides)[1:]


def book(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    """Write the frame that opens a book."""
    stamp = at // MILLISECOND
    result = {"t": stamp, "full": True, "s": f"ob.{instrument.symbol}.{DEPTH}", "u": last}
    sides = {"b": _texts(instrument, bids[:DEPTH]), "a": _texts(instrument, asks[:DEPTH])}
    head = {"time": at // SECOND, "time_ms": stamp, "channel": "futures.obu", "event": "update"}
    return orjson.dumps({**head, "result": {**result, **sides}})


def listing(instruments: Sequence[Instrument]) -> bytes:
    """Write the listing of some contracts, so that parsing it gives the same instruments."""
    return orjson.dumps([_entry(instrument) for instrument in instruments])


def _texts(instrument: Instrument, rows: Rows) -> list[tuple[str, str]]:
    prices, sizes = instrument.price_decimals, instrument.size_decimals
    return [(shown(price, prices), shown(size, sizes)) for price, size in rows.tolist()]


def _entry(instrument: Instrument) -> dict[str, Any]:
    inverse = instrument.contract == Contract.INVERSE
    return {
        "name": instrument.symbol,
        "type": "inverse" if inverse else "direct",
        "quanto_multiplier": "0" if inverse else shown(instrument.contract_size, CONTRACT_SIZE_DECIMALS),
        "order_price_round": shown(instrument.tick, instrument.price_decimals),
        "order_size_min": shown(instrument.lot, instrument.size_decimals),
        "enable_decimal": instrument.size_decimals > 0,
        "in_delisting": False,
    }


def _object(frame: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise BadFrame("not_json", str(error)) from error
    return content if isinstance(content, dict) else {}


EMULATION: Final = Emulation(
    route=route,
    stream_of=stream_of,
    streams_of=lambda path: (),
    subscribed=lambda frame: asked(frame, "subscribe"),
    unsubscribed=lambda frame: asked(frame, "unsubscribe"),
    answer=answer,
    snapshot=snapshot,
    book=book,
    instruments=listing,
)
