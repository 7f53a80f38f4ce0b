"""Coinbase Exchange's frames in, rows out; heartbeats and trade ids are compared here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from engine.errors import BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import Flag, Kind
from ingest.decimals import scaled
from ingest.venues import Decoded
from ingest.venues._coinbase import taker
from ingest.venues._fields import identity, member
from ingest.venues._reading import Level, Reader, book, instant, level, parse, positive, touch, trades

SIDES: Final = ("buy", "sell")
#: Fields of a change: side, price, size.
CHANGE: Final = 3
#: What `time` begins with where the venue knows none.
NO_TIME: Final = "0001-01-01T"


@dataclass(slots=True)
class Prints:
    """What one connection has shown of one product's trades."""

    #: Newest trade id.
    last: int
    #: Trade id that the heartbeat before stated: by the next one it must have come.
    stated: int = 0
    #: First id missing, and the id met instead.
    hole: tuple[int, int] | None = None


class CoinbaseExchangeDecoder(Reader):
    """Frames of some products in, rows out. Counts `touch_without_size`."""

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        super().__init__(instruments)
        #: Connection and symbol -> its trades.
        self._prints: dict[tuple[int, str], Prints] = {}
        self._types: dict[str, Callable[[dict[str, Any], int], list[Decoded]]] = {
            "snapshot": self._snapshot,
            "l2update": self._update,
            "match": self._match,
            "last_match": self._match,
            "ticker": self._ticker,
            "heartbeat": self._heartbeat,
            "subscriptions": lambda content, connection: [],
        }

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what the frame says. Raises BadFrame; Gap at the heartbeat that shows that trades were lost."""
        content = parse(frame)
        if type(content) is not dict:
            raise BadFrame("structure", f"{str(content)[:40]!r} is no object")
        kind = content.get("type")
        if kind == "error":
            raise BadFrame("venue_error", f"{content.get('message')}: {content.get('reason')}"[:200])
        read = self._types.get(kind) if type(kind) is str else None
        if read is None:
            raise BadFrame("unknown_channel", f"{str(kind)[:40]!r}, known are {', '.join(self._types)}")
        return read(content, connection)

    def forget(self, connection: int) -> None:
        """Forget a connection's trades."""
        self._prints = {key: met for key, met in self._prints.items() if key[0] != connection}

    def _snapshot(self, content: dict[str, Any], connection: int) -> list[Decoded]:
        instrument = self._instrument(content.get("product_id"))
        bids, asks = (
            [level(instrument, *_fields(pair, 2)) for pair in member(content, key, list)] for key in ("bids", "asks")
        )
        # Older snapshots have no time.
        exchanged = _time(content["time"]) if "time" in content else 0
        return [book(instrument, Kind.SNAPSHOT, bids, asks, exchanged=exchanged)]

    def _update(self, content: dict[str, Any], connection: int) -> list[Decoded]:
        instrument = self._instrument(content.get("product_id"))
        sides: dict[str, list[Level]] = {name: [] for name in SIDES}
        for change in member(content, "changes", list):
            side, price, size = _fields(change, CHANGE)
            if side not in SIDES:
                raise BadFrame("bad_side", f"{str(side)[:40]!r}, allowed are {', '.join(SIDES)}")
            sides[side].append(level(instrument, price, size))
        return [book(instrument, Kind.DELTA, sides["buy"], sides["sell"], exchanged=_time(content.get("time")))]

    def _match(self, content: dict[str, Any], connection: int) -> list[Decoded]:
        instrument = self._instrument(content.get("product_id"))
        name, is_history = identity(content, "trade_id"), content["type"] == "last_match"
        each = (
            _time(content.get("time")),
            positive(content.get("price"), instrument.price_decimals),
            positive(content.get("size"), instrument.size_decimals),
            name,
            1,
            taker(content.get("side"), *SIDES),
        )
        key = (connection, instrument.symbol)
        met = self._prints.get(key)
        if met is None or is_history:
            self._prints[key] = Prints(name)
        elif name > met.last:
            if name > met.last + 1 and met.hole is None:
                met.hole = (met.last + 1, name)
            met.last = name
        return [trades(instrument, [each], flags=Flag.HISTORY if is_history else 0)]

    def _heartbeat(self, content: dict[str, Any], connection: int) -> list[Decoded]:
        """Compare the trades that came with those that were. Raises Gap, once a hole."""
        instrument = self._instrument(content.get("product_id"))
        stated = identity(content, "last_trade_id")
        met = self._prints.get((connection, instrument.symbol))
        if met is None:
            return []
        hole, met.hole = met.hole, None
        if hole is None and met.last < met.stated:
            hole = (met.last + 1, met.stated)
            met.last = met.stated
        met.stated = stated
        if hole is not None:
            raise Gap(instrument.key, *hole)
        return []

    def _ticker(self, content: dict[str, Any], connection: int) -> list[Decoded]:
        instrument = self._instrument(content.get("product_id"))
        # In 2021 they had none, by 2022-12 they had.
        if "best_bid_size" not in content:
            self.counts["touch_without_size"] += 1
            return []
        bid, ask = (_best(instrument, content, key) for key in ("best_bid", "best_ask"))
        exchanged = _time(content["time"]) if "time" in content else 0
        return [touch(instrument, bid, ask, exchanged=exchanged)]


def _best(instrument: Instrument, content: dict[str, Any], key: str) -> Level:
    size = scaled(content.get(f"{key}_size"), instrument.size_decimals)
    return (positive if size else scaled)(content.get(key), instrument.price_decimals), size


def _fields(value: Any, count: int) -> list[Any]:
    if type(value) is not list or len(value) != count:
        raise BadFrame("structure", f"{str(value)[:40]} is no array of {count} fields")
    return value


def _time(value: Any) -> int:
    """Return a time, ns; 0 where the venue prints the year 1."""
    return 0 if type(value) is str and value.startswith(NO_TIME) else instant(value)
