"""Kraken's first websocket protocol, parsed frames in, rows out: frozen, and on all tapes older than v2 (2023).

    [channel, {"as": [[price, size, time], ...], "bs": [...]}, "book-1000", "XBT/USD"]           a snapshot
    [channel, {"a": [[price, size, time, "r"?], ...], "c": "974942666"}, "book-1000", "XBT/USD"]  asks changed
    [channel, {"a": [...]}, {"b": [...], "c": "..."}, "book-1000", "XBT/USD"]                    both did, at once
    [channel, [[price, size, time, "b"|"s", type, misc], ...], "trade", "XBT/USD"]
    [channel, [bid, ask, time, bid size, ask size], "spread", "XBT/USD"]
    [channel, {"a": [price, whole lots, size], "b": [...], ...}, "ticker", "XBT/USD"]

Texts have more places than the listing says (`0.000022900` of a pair of 8), and the checksum is over those, so that
instruments are to be inferred from the tape. Trades have no id. Frames of 2019 have no `c`: nothing proves their books.
Books are truncated to the depth that was subscribed; a tape of another depth than `VENUE.rule` has needs its own rule.
"""

from collections.abc import Callable
from typing import Any, Final

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Kind
from ingest.decimals import MICROSECONDS_END, rounded
from ingest.venues import Decoded
from ingest.venues._fields import member
from ingest.venues._kraken import best, pair, side
from ingest.venues._reading import Level, book, level, positive, trades

SIDES: Final = {"b": 1, "s": -1}
#: Fields of a level at least, of a trade, of a spread, of a ticker's side.
LEVEL_FIELDS: Final = 3
TRADE_FIELDS: Final = 6
SPREAD_FIELDS: Final = 5
#: Events that answer, or say that the connection lives.
ANSWERS: Final = ("heartbeat", "pong", "subscriptionStatus")


class Old:
    """v1 frames in, rows out; what it shares with v2 it is handed."""

    def __init__(
        self,
        instrument: Callable[[Any], Instrument],
        touched: Callable[[Instrument, Level, Level, int], list[Decoded]],
        system: Callable[[Any], list[Decoded]],
    ) -> None:
        self._instrument = instrument
        self._touched = touched
        self._system = system
        self._channels: dict[str, Callable[[Instrument, Any], list[Decoded]]] = {
            "trade": self._trade,
            "spread": self._spread,
            "ticker": self._ticker,
        }

    def event(self, content: dict[str, Any]) -> list[Decoded]:
        """Return what an object with an `event` says."""
        event = content.get("event")
        if event == "error" or content.get("status") == "error":
            raise BadFrame("venue_error", str(content.get("errorMessage"))[:200])
        if event == "systemStatus":
            return self._system(content.get("status"))
        if event not in ANSWERS:
            raise BadFrame("unknown_event", f"{str(event)[:40]!r}, known are systemStatus, {', '.join(ANSWERS)}")
        return []

    def decode(self, content: list[Any]) -> list[Decoded]:
        """Return what an array says."""
        if len(content) < 4 or type(content[-1]) is not str or type(content[-2]) is not str:
            raise BadFrame("structure", f"{str(content)[:40]} is not [channel, ..., name, pair]")
        # A snapshot had a null behind it in 2019.
        parts = [part for part in content[1:-2] if part is not None]
        name, instrument = content[-2], self._instrument(pair(content[-1]))
        if name.startswith("book-"):
            return [self._book(instrument, parts)]
        read = self._channels.get(name)
        if read is None:
            raise BadFrame("unknown_channel", f"{name[:40]!r}, known are book-<depth>, {', '.join(self._channels)}")
        if len(parts) != 1:
            raise BadFrame("structure", f"{name!r} has {len(parts)} parts, allowed is 1")
        return read(instrument, parts[0])

    def _book(self, instrument: Instrument, parts: list[Any]) -> Decoded:
        content: dict[str, Any] = {}
        for part in parts:
            if type(part) is not dict or content.keys() & part.keys():
                raise BadFrame("structure", f"a part of a book is {str(part)[:40]}, allowed are objects of unlike keys")
            content.update(part)
        whole = "as" in content or "bs" in content
        if not whole and "a" not in content and "b" not in content:
            raise BadFrame("structure", f"a book has {', '.join(content)[:40]}, allowed are as and bs, a, b, c")
        keys = ("bs", "as") if whole else ("b", "a")
        (bids, newest_bid), (asks, newest_ask) = (_side(instrument, content, key, whole) for key in keys)
        return book(
            instrument,
            Kind.SNAPSHOT if whole else Kind.DELTA,
            bids,
            asks,
            exchanged=max(newest_bid, newest_ask),
            checksum=_checksum(content.get("c")),
        )

    def _trade(self, instrument: Instrument, part: Any) -> list[Decoded]:
        prints = []
        for entry in _fields(part, 1):
            price, size, at, letter, *_ = _fields(entry, TRADE_FIELDS)
            prints.append(
                (
                    _time(at),
                    positive(price, instrument.price_decimals),
                    positive(size, instrument.size_decimals),
                    0,
                    1,
                    side(letter, SIDES),
                )
            )
        return [trades(instrument, prints)]

    def _spread(self, instrument: Instrument, part: Any) -> list[Decoded]:
        bid, ask, at, bid_size, ask_size = _fields(part, SPREAD_FIELDS)[:SPREAD_FIELDS]
        sides = best(instrument, bid, bid_size), best(instrument, ask, ask_size)
        return self._touched(instrument, *sides, _time(at))

    def _ticker(self, instrument: Instrument, part: Any) -> list[Decoded]:
        if type(part) is not dict:
            raise BadFrame("structure", f"a ticker is {str(part)[:40]}, allowed is an object")
        (bid, _, bid_size), (ask, _, ask_size) = (_fields(part.get(key), LEVEL_FIELDS)[:3] for key in ("b", "a"))
        sides = best(instrument, bid, bid_size), best(instrument, ask, ask_size)
        return self._touched(instrument, *sides, 0)


def _side(instrument: Instrument, content: dict[str, Any], key: str, needed: bool) -> tuple[list[Level], int]:
    """Return one side's levels, in wire order, and the newest of their times."""
    pairs = member(content, key, list) if needed or key in content else []
    levels, newest = [], 0
    for entry in pairs:
        price, size, at, *_ = _fields(entry, LEVEL_FIELDS)
        levels.append(level(instrument, price, size))
        newest = max(newest, _time(at))
    return levels, newest


def _fields(value: Any, least: int) -> list[Any]:
    if type(value) is not list or len(value) < least:
        raise BadFrame("structure", f"{str(value)[:40]} is no array of {least} fields or more")
    return value


def _time(text: Any) -> int:
    """Return seconds with six places, in ns."""
    microseconds = rounded(text, 6)
    if microseconds >= MICROSECONDS_END:
        raise BadFrame("bad_time", f"{text!r} is beyond the year 2261")
    return microseconds * 1000


def _checksum(text: Any) -> int | None:
    if text is None:
        return None
    if type(text) is not str or not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise BadFrame("bad_checksum", f"{str(text)[:40]!r}, allowed are the digits of 32 bits")
    return int(text)
