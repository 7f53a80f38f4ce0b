"""Kraken spot's frames in, rows out: v2, which is subscribed, and v1, which old tapes hold.

A v1 frame is an array or has an `event`, a v2 frame is an object with a `channel` or a `method`. v2 prints prices and
sizes as bare numbers, whose trailing zeros the checksum needs; as integers of the instrument's decimals they are there.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, Literal
from zlib import crc32

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Flag, Kind, Status
from ingest.mirror import Mirror
from ingest.venues import Decoded
from ingest.venues._fields import identity, member
from ingest.venues._kraken import best, objects, side
from ingest.venues._kraken_v1 import Old
from ingest.venues._reading import Level, Reader, book, decimal, exact, instant, level, positive, status, touch, trades

#: Levels a side that a checksum is computed over, whatever the depth subscribed.
CHECKED: Final = 10

SIDES: Final = {"buy": 1, "sell": -1}
#: What `system` says -> what it is to a desk. Without matching nothing trades.
SYSTEMS: Final = {
    "online": Status.TRADING,
    "maintenance": Status.MAINTENANCE,
    "cancel_only": Status.HALTED,
    "post_only": Status.HALTED,
    "limit_only": Status.TRADING,
}


def crc(bids: list[Level], asks: list[Level]) -> int:
    """Compute the checksum of a book's best levels: asks first, each price and size without point and leading zeros.

    That is how integers in wire decimals are printed, so nothing has to be stripped.
    """
    text = "".join(f"{price}{size}" for price, size in asks[:CHECKED] + bids[:CHECKED])
    return crc32(text.encode())


def checksum(mirror: Mirror) -> int:
    """Compute the checksum of a mirrored book."""
    return crc(*mirror.best(CHECKED))


class KrakenDecoder(Reader):
    """Frames of some pairs in, rows out. Counts `empty_touch`: tickers of markets without any order."""

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        super().__init__(instruments)
        self._old = Old(self._instrument, self._touched, self._system)
        self._channels: dict[str, Callable[[dict[str, Any]], list[Decoded]]] = {
            "book": self._book,
            "trade": self._trade,
            "ticker": self._ticker,
            "status": self._status,
            "heartbeat": lambda content: [],
        }

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what the frame says. Raises BadFrame."""
        content = exact(frame)
        if type(content) is list:
            return self._old.decode(content)
        if type(content) is not dict:
            raise BadFrame("structure", f"{str(content)[:40]!r} is neither an object nor an array")
        if "event" in content:
            return self._old.event(content)
        if "method" in content:
            return _answer(content)
        channel = content.get("channel")
        read = self._channels.get(channel) if type(channel) is str else None
        if read is None:
            raise BadFrame("unknown_channel", f"{str(channel)[:40]!r}, known are {', '.join(self._channels)}")
        return read(content)

    def _book(self, content: dict[str, Any]) -> list[Decoded]:
        kind = Kind.SNAPSHOT if _type(content) == "snapshot" else Kind.DELTA
        return [self._one_book(kind, entry) for entry in _entries(content)]

    def _one_book(self, kind: Kind, entry: dict[str, Any]) -> Decoded:
        instrument = self._instrument(entry.get("symbol"))
        bids, asks = (_side(instrument, entry, key) for key in ("bids", "asks"))
        stated = identity(entry, "checksum")
        # Older snapshots have no time.
        timed = kind == Kind.DELTA or "timestamp" in entry
        exchanged = instant(entry.get("timestamp")) if timed else 0
        return book(instrument, kind, bids, asks, exchanged=exchanged, checksum=stated)

    def _trade(self, content: dict[str, Any]) -> list[Decoded]:
        flags = Flag.HISTORY if _type(content) == "snapshot" else 0
        prints: dict[str, list[tuple[int, int, int, int, int, int]]] = defaultdict(list)
        for entry in _entries(content):
            instrument = self._instrument(entry.get("symbol"))
            price = positive(decimal(entry.get("price")), instrument.price_decimals)
            size = positive(decimal(entry.get("qty")), instrument.size_decimals)
            at, name = instant(entry.get("timestamp")), identity(entry, "trade_id")
            prints[instrument.symbol].append((at, price, size, name, 1, side(entry.get("side"), SIDES)))
        ordered = ((symbol, sorted(met, key=lambda each: each[3])) for symbol, met in prints.items())
        return [trades(self._instruments[symbol], met, flags=flags) for symbol, met in ordered]

    def _ticker(self, content: dict[str, Any]) -> list[Decoded]:
        _type(content)
        decoded = []
        for entry in _entries(content):
            instrument = self._instrument(entry.get("symbol"))
            bid, ask = (
                best(instrument, decimal(entry.get(key)), decimal(entry.get(f"{key}_qty"))) for key in ("bid", "ask")
            )
            # Older tickers have no time.
            exchanged = instant(entry["timestamp"]) if "timestamp" in entry else 0
            decoded.append((instrument, bid, ask, exchanged))
        return [each for met in decoded for each in self._touched(*met)]

    def _touched(self, instrument: Instrument, bid: Level, ask: Level, exchanged: int) -> list[Decoded]:
        if bid[1] == ask[1] == 0:
            self.counts["empty_touch"] += 1
            return []
        return [touch(instrument, bid, ask, exchanged=exchanged)]

    def _status(self, content: dict[str, Any]) -> list[Decoded]:
        return [decoded for entry in _entries(content) for decoded in self._system(entry.get("system"))]

    def _system(self, system: Any) -> list[Decoded]:
        state = SYSTEMS.get(system) if type(system) is str else None
        if state is None:
            raise BadFrame("unknown_status", f"{str(system)[:40]!r}, known are {', '.join(SYSTEMS)}")
        return [status(instrument, state) for instrument in self._instruments.values()]


def _answer(content: dict[str, Any]) -> list[Decoded]:
    if content.get("success") is False or "error" in content:
        raise BadFrame("venue_error", f"{content.get('method')!r}: {str(content.get('error'))[:200]}")
    return []


def _type(content: dict[str, Any]) -> Literal["snapshot", "update"]:
    met = content.get("type")
    if met != "snapshot" and met != "update":
        raise BadFrame("unknown_type", f"{str(met)[:40]!r}, allowed are snapshot, update")
    return "snapshot" if met == "snapshot" else "update"


def _entries(content: dict[str, Any]) -> list[dict[str, Any]]:
    return objects(member(content, "data", list))


def _side(instrument: Instrument, entry: dict[str, Any], key: str) -> list[Level]:
    pairs = objects(member(entry, key, list))
    return [level(instrument, decimal(pair.get("price")), decimal(pair.get("qty"))) for pair in pairs]
