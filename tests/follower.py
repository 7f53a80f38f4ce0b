"""What the tests of OKX and of Bitget share: instruments as wide as any message, and a book followed by its rule."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Contract, Kind
from ingest.captures import What, read_capture
from ingest.mirror import Mirror
from ingest.venues import Decoded, Decoder, Venue


def wide(venue: str, symbol: str, asset: str = "BTC", quote: str = "USDT", **changed: Any) -> Instrument:
    """Make an instrument that loses no digit of any documented message."""
    fields: dict[str, Any] = {"price_decimals": 8, "size_decimals": 8, "tick": 1, "lot": 1}
    fields |= {"contract": Contract.LINEAR} | changed
    return Instrument(venue=venue, symbol=symbol, asset=asset, quote=quote, **fields)


def row_of(decoded: Decoded) -> Any:
    """Give the MESSAGE row, whose count must be that of the rows."""
    assert decoded.message.shape == (1,)
    assert decoded.message["count"][0] == len(decoded.rows)
    assert decoded.message["received"][0] == 0
    return decoded.message[0]


def frames_of(path: Path) -> list[tuple[int, bytes]]:
    """List what a capture's connection received: when, ns, and the frame."""
    return [(entry.at, entry.raw) for entry in read_capture([path]) if entry.what is What.RECEIVED]


def attempt(decoder: Decoder, raw: bytes) -> list[Decoded] | str:
    """Give what a frame says, or the reason that it is refused for."""
    try:
        return decoder.decode(raw)
    except BadFrame as refusal:
        return refusal.reason


def listings(path: Path, wanted: str) -> bytes:
    """Join the REST answers of a capture whose URL has a word, as one JSON array."""
    bodies = [entry.raw for entry in read_capture([path]) if entry.what is What.ANSWER and wanted in entry.url]
    assert bodies
    return b"[" + b",".join(bodies) + b"]"


class Follower:
    """Books kept by a venue's rule: every delta must name the id before it, every checksum must agree."""

    def __init__(self, venue: Venue, instruments: Iterable[Instrument]) -> None:
        assert venue.rule is not None
        self.mirrors = {i.symbol: Mirror(i, venue.rule) for i in instruments}
        self.counts: Counter[str] = Counter()
        self.deepest = 0
        self._last: dict[str, int] = {}

    def follow(self, decoded: Decoded) -> None:
        """Take one DEPTH message. Raises Gap where the checksum differs."""
        row, mirror = row_of(decoded), self.mirrors[decoded.symbol]
        if row["kind"] == Kind.SNAPSHOT:
            mirror.replace(decoded.rows, int(row["bids"]))
        else:
            assert row["previous"] == self._last[decoded.symbol]
            rows, bids = mirror.apply(decoded.rows, int(row["bids"]))
            assert (rows is decoded.rows, bids) == (True, row["bids"])
        self._last[decoded.symbol] = int(row["last"])
        agreed = mirror.check(decoded.checksum, int(row["last"]), int(row["first"]))
        self.counts["agreed" if agreed else "unstated"] += 1
        self.deepest = max(self.deepest, *map(len, mirror.best(10_000)))


def peer_messages(path: Path, exchanges: Iterable[str]) -> list[dict[str, Any]]:
    """List a peer's messages of some exchanges, in order, with what it made of them."""
    wanted = set(exchanges)
    lines = map(orjson.loads, (path / "messages.jsonl").read_bytes().splitlines())
    return [line for line in lines if line["exchange"] in wanted]
