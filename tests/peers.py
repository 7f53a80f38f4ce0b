"""What a peer made of a venue's messages, and what ours are in its terms: floats and words, to be compared."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from hypothesis import strategies as st

from engine.errors import BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import Kind, Reference
from ingest.captures import What, read_capture
from ingest.venues import Decoded, Decoder

SIDES = {1: "buy", -1: "sell"}
FIELDS = {"markPrice": Reference.MARK, "indexPrice": Reference.INDEX, "openInterest": Reference.OPEN_INTEREST}


def peer_messages(folder: Path, exchange: str) -> list[tuple[bytes, list[dict[str, Any]]]]:
    """Read the raw messages of one exchange, in order, each with what the peer expects of it."""
    lines = (folder / "messages.jsonl").read_bytes().splitlines()
    entries = [orjson.loads(line) for line in lines]
    return [(orjson.dumps(e["message"]), e["expected"]) for e in entries if e["exchange"] == exchange]


def received(paths: list[Path]) -> Iterator[tuple[int, bytes]]:
    """Read the frames that a recording's connections received: (time ns, frame)."""
    return ((entry.at, entry.raw) for entry in read_capture(paths) if entry.what is What.RECEIVED)


def in_words(decoded: Decoded, known: Instrument) -> dict[str, Any]:
    """Say in the peer's terms what one of ours is; times are milliseconds."""
    message, prices, sizes = decoded.message[0], 10.0**known.price_decimals, 10.0**known.size_decimals
    rows, bids = decoded.rows, int(message["bids"])
    kind = Kind(message["kind"])
    said: dict[str, Any] = {"symbol": decoded.symbol, "time": int(message["exchanged"]) // 1_000_000}
    if kind in (Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH):
        pairs = [(price / prices, size / sizes) for price, size in rows.tolist()]
        if kind == Kind.TOUCH:
            return {"type": "book_ticker", "bid": pairs[0], "ask": pairs[1], **said}
        whole = kind == Kind.SNAPSHOT
        return {"type": "book_change", "isSnapshot": whole, "bids": pairs[:bids], "asks": pairs[bids:], **said}
    if kind in (Kind.TRADE, Kind.LIQUIDATION):
        name = "trade" if kind == Kind.TRADE else "liquidation"
        entries = zip(rows["price"].tolist(), rows["size"].tolist(), rows["side"].tolist(), strict=True)
        return {"type": name, "prints": [(p / prices, q / sizes, side) for p, q, side in entries], **said}
    scales = {Reference.FUNDING: 1e12, Reference.OPEN_INTEREST: sizes}
    values = {Reference(r["what"]): r["value"] / scales.get(Reference(r["what"]), prices) for r in rows}
    return {"type": "derivative_ticker", "values": values, **said}


def refused(decoder: Decoder, frame: bytes) -> str:
    """Give the reason that a frame is refused for, or nothing."""
    try:
        decoder.decode(frame)
    except BadFrame as error:
        return error.reason
    return ""


#: What a broken field may hold.
WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text("a1.-\u00e9", max_size=6),
    st.sampled_from(["-1", "0", "1e9", "NaN", "0.0000000000000001", "9" * 40, 10**30, -5, [], {}, [[]], [{}]]),
)


@st.composite
def broken(draw: st.DrawFn, frames: list[bytes]) -> bytes:
    """Draw a real frame with one field replaced or gone, or cut off, or bytes that are no frame."""
    how = draw(st.integers(0, 9))
    if how == 0:
        return draw(st.binary(max_size=60))
    frame = draw(st.sampled_from(frames))
    if how == 1:
        return frame[: draw(st.integers(0, len(frame)))]
    content = orjson.loads(frame)
    at, key = content, draw(st.sampled_from(_keys(content)))
    while isinstance(at[key], dict | list) and at[key] and draw(st.integers(0, 5)):
        at = at[key]
        key = draw(st.sampled_from(_keys(at)))
    if isinstance(at, dict) and draw(st.booleans()):
        del at[key]
    else:
        at[key] = draw(WRONG)
    return json.dumps(content).encode()


def survive(decoder: Decoder, frame: bytes, connection: int = 1) -> None:
    """Let a decoder read a frame: nothing but BadFrame and Gap may come, and no row that cannot be."""
    kept = bytes(frame)
    with contextlib.suppress(BadFrame, Gap):
        for decoded in decoder.decode(frame, 0, connection):
            assert int(decoded.message["count"][0]) == len(decoded.rows)
            names = decoded.rows.dtype.names
            if names is not None and "price" in names:
                assert (decoded.rows["price"] >= 0).all()
                assert (decoded.rows["size"] >= 0).all()
            if names is not None and "side" in names:
                assert set(decoded.rows["side"].tolist()) <= {1, -1}
    assert frame == kept


def _keys(content: Any) -> list[Any]:
    return list(content) if isinstance(content, dict) else list(range(len(content)))
