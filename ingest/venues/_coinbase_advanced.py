"""Coinbase Advanced Trade's frames in, rows out; the numbers of each connection's frames are followed here."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from engine.errors import BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import Flag, Kind
from ingest.decimals import scaled
from ingest.venues import Decoded
from ingest.venues._coinbase import entries, taker, trade_id
from ingest.venues._fields import identity
from ingest.venues._reading import Level, Reader, book, instant, level, parse, positive, touch, trades

TYPES: Final = ("snapshot", "update")
SIDES: Final = ("bid", "offer")
#: Documented channels that nothing here is made of. A foreign tape may have them, and the numbers run through them.
UNREAD: Final = ("candles", "status", "ticker_batch", "user", "futures_balance_summary")


class CoinbaseAdvancedDecoder(Reader):
    """Frames of some products in, rows out.

    Counts `unread_<channel>`, `other_symbol` and `touch_without_size`. Events of products that nobody asked for are
    passed over, not refused: a refused frame is a hole in the numbers.
    """

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        super().__init__(instruments)
        #: Connection -> number of its newest frame.
        self._numbers: dict[int, int] = {}
        self._channels: dict[str, Callable[[list[dict[str, Any]], int], list[Decoded]]] = {
            "l2_data": self._books,
            "market_trades": self._trades,
            "ticker": self._tickers,
            "heartbeats": lambda events, published: [],
            "subscriptions": lambda events, published: [],
            **dict.fromkeys(UNREAD, lambda events, published: []),
        }

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what the frame says. Raises BadFrame; Gap of the connection where its numbers have a hole."""
        content = parse(frame)
        if type(content) is not dict:
            raise BadFrame("structure", f"{str(content)[:40]!r} is no object")
        if content.get("type") == "error":
            raise BadFrame("venue_error", str(content.get("message"))[:200])
        channel = content.get("channel")
        read = self._channels.get(channel) if type(channel) is str else None
        if read is None:
            raise BadFrame("unknown_channel", f"{str(channel)[:40]!r}, known are {', '.join(self._channels)}")
        if channel == "subscriptions" and "sequence_num" not in content:
            return []
        number, published = identity(content, "sequence_num"), instant(content.get("timestamp"))
        self._follow(connection, number)
        decoded = read(entries(content.get("events")), published)
        # Only now: what was refused is a hole that the next frame shows, for its changes are missing.
        self._numbers[connection] = number
        if channel in UNREAD:
            self.counts[f"unread_{channel}"] += 1
        return decoded

    def forget(self, connection: int) -> None:
        """Forget a connection's numbers: the next begins anew."""
        self._numbers.pop(connection, None)

    def _follow(self, connection: int, number: int) -> None:
        """Check a connection's next number. Raises Gap, once a hole."""
        known = self._numbers.get(connection)
        if known is not None and number != known + 1:
            self._numbers[connection] = number
            raise Gap("", known + 1, number)

    def _books(self, events: list[dict[str, Any]], published: int) -> list[Decoded]:
        return [
            _book(instrument, event, published)
            for event in events
            if (instrument := self._among(event.get("product_id"))) is not None
        ]

    def _trades(self, events: list[dict[str, Any]], published: int) -> list[Decoded]:
        decoded = []
        for event in events:
            flags = Flag.HISTORY if _type(event) == "snapshot" else 0
            prints: dict[str, list[tuple[int, int, int, int, int, int]]] = defaultdict(list)
            for entry in entries(event.get("trades")):
                instrument = self._among(entry.get("product_id"))
                if instrument is not None:
                    price = positive(entry.get("price"), instrument.price_decimals)
                    size = positive(entry.get("size"), instrument.size_decimals)
                    side = taker(entry.get("side"), "BUY", "SELL")
                    name = trade_id(entry.get("trade_id"))
                    prints[instrument.symbol].append((instant(entry.get("time")), price, size, name, 1, side))
            for symbol, met in prints.items():
                # They come newest first; of one time, too.
                met.reverse()
                met.sort(key=lambda each: each[0])
                decoded.append(trades(self._instruments[symbol], met, published=published, flags=flags))
        return decoded

    def _tickers(self, events: list[dict[str, Any]], published: int) -> list[Decoded]:
        decoded = []
        for event in events:
            _type(event)
            for entry in entries(event.get("tickers")):
                instrument = self._among(entry.get("product_id"))
                if instrument is None:
                    continue
                if "best_bid_quantity" not in entry:
                    self.counts["touch_without_size"] += 1
                    continue
                bid, ask = (_best(instrument, entry, key) for key in ("best_bid", "best_ask"))
                decoded.append(touch(instrument, bid, ask, exchanged=published, published=published))
        return decoded


def _book(instrument: Instrument, event: dict[str, Any], published: int) -> Decoded:
    kind = Kind.SNAPSHOT if _type(event) == "snapshot" else Kind.DELTA
    sides: dict[str, list[Level]] = {name: [] for name in SIDES}
    times = set()
    for update in entries(event.get("updates")):
        side, at = update.get("side"), update.get("event_time")
        if side not in SIDES or type(at) is not str:
            raise BadFrame("structure", f"a level is {str(update)[:80]}, allowed are sides {', '.join(SIDES)}")
        sides[side].append(level(instrument, update.get("price_level"), update.get("new_quantity")))
        times.add(at)
    # A snapshot's levels have few times: each is read once.
    newest = max(map(instant, times), default=published)
    return book(instrument, kind, sides["bid"], sides["offer"], exchanged=newest, published=published)


def _best(instrument: Instrument, entry: dict[str, Any], key: str) -> Level:
    size = scaled(entry.get(f"{key}_quantity"), instrument.size_decimals)
    return (positive if size else scaled)(entry.get(key), instrument.price_decimals), size


def _type(event: dict[str, Any]) -> str:
    met = event.get("type")
    if type(met) is not str or met not in TYPES:
        raise BadFrame("unknown_type", f"{str(met)[:40]!r}, allowed are {', '.join(TYPES)}")
    return met
