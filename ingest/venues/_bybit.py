"""Bybit's frames in, rows out: one decoder for linear, inverse and spot of version 5.

Facts, from the venue's documentation and from captures (2023 to 2026):
  `cts` is the matching engine's time, `ts` the time of pushing; captures of 2023 have no `cts`, so `ts` is both there.
  `ts` may be a text, and stands before or behind `type`.
  `u` numbers the updates of one topic: the best level (`orderbook.1`) is counted otherwise than the book, so a TOUCH
  carries no id. `seq` is a cross sequence, growing and full of holes; nothing is judged by it.
  `orderbook.1` sent deltas until 2023 and sends whole sides today, the same `u` again after 3 s without a change.
  Derivatives' `tickers` are a snapshot and then what changed; `openInterest` counts both sides, so it is halved.
  `allLiquidation` (since 2025-02-20) shows every liquidation, within 500 ms; `liquidation`, before it, one a second and
  symbol at most. On both `S` or `side` is the position's: Buy means that a long was liquidated. The price is the
  bankruptcy price. A tape that has both shows a liquidation twice, of two coverages: only the first may be summed.
  `adlAlert` (since 2025-09-23) states each second, in bare numbers, the insurance fund's balance behind a symbol and
  the drawdown that auto-deleveraging begins and ends at. `insurance`, asked for with it, states the balances alone.
  Trade ids of derivatives are UUIDs; their rows carry 63 bits of a hash (BLAKE2b of the text) instead, and the message
  the cross sequences of its first and last trade, by which trades can be ordered. It carries 0 where old frames have
  none, and where a sequence goes on after the 1024 trades that a message may have.
  A block trade (`BT`) was agreed beside the book and has no aggressor: it is counted, and no row.

Versions 2 and 3 (until 2023: `orderBookL2_25`, `instrument_info`, `trade`, spot's `depth`) share no topic and no field
with these but `liquidation`, which is read in either shape; their other topics are refused by name.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import FUNDING_DECIMALS, Channel, Coverage, Kind, PriceKind, Reference
from ingest.decimals import rounded, scaled, signed
from ingest.venues import Decoded
from ingest.venues._fields import book_side, identity, member, moment
from ingest.venues._reading import (
    Level,
    Reader,
    book,
    decimal,
    exact,
    liquidations,
    parse,
    positive,
    references,
    touch,
    trades,
)

#: Depths of `orderbook` that are a book; 500 ended on 2025-09-11, 1000 came on 2025-08-14.
DEPTHS: Final = ("50", "200", "500", "1000")
#: Decimals of an insurance balance, and of the ratios that are compared with each other.
BALANCE_DECIMALS: Final = 8
RATIO_DECIMALS: Final = 12
NORMAL, WARNED, UNDER_WAY = 0, 1, 2

_SIDES: Final = {"Buy": 1, "Sell": -1}
_ANSWERS: Final = ("subscribe", "unsubscribe", "ping", "pong")


@dataclass(slots=True)
class _Memory:
    """What a connection's later frames leave out, by symbol."""

    #: The topic of its book: the first one that spoke.
    books: dict[str, str] = field(default_factory=dict)
    #: Id, best bid and best ask of `orderbook.1`.
    touches: dict[str, tuple[int, Level, Level]] = field(default_factory=dict)
    #: The cross sequence of its last trade.
    places: dict[str, int] = field(default_factory=dict)
    #: Funding rate and next funding time, ns; None: not said yet.
    funding: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)


class BybitDecoder(Reader):
    """Frames of some instruments in, rows out."""

    def __init__(self, instruments: dict[str, Instrument], derivatives: bool) -> None:
        super().__init__(instruments)
        self._memories: defaultdict[int, _Memory] = defaultdict(_Memory)
        self._topics: dict[str, Callable[[str, bytes, dict[str, Any], _Memory], list[Decoded]]] = {
            "orderbook": self._book,
            "publicTrade": self._trades,
        }
        if derivatives:
            self._topics |= {
                "tickers": self._ticker,
                "allLiquidation": self._liquidations,
                "liquidation": self._sampled,
                "adlAlert": self._deleveraging,
                "insurance": self._insurance,
            }

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what the frame says: nothing for an ACK or a pong. Raises BadFrame."""
        content = parse(frame)
        if type(content) is not dict:
            raise BadFrame("structure", f"a frame must be an object, met {type(content).__name__}")
        if "topic" not in content:
            return _answer(content)
        topic = member(content, "topic", str)
        name, _, whose = topic.partition(".")
        decode = self._topics.get(name)
        if decode is None:
            raise BadFrame("unknown_topic", f"{topic[:80]!r}, known are {', '.join(self._topics)}")
        return decode(whose, frame, content, self._memories[connection])

    def body(self, symbol: str, channel: Channel, body: bytes) -> list[Decoded]:
        """Return the SNAPSHOT that `/v5/market/orderbook` answers. Raises BadFrame."""
        instrument = self._instrument(symbol)
        if channel != Channel.DEPTH:
            return super().body(symbol, channel, body)
        content = parse(body)
        if type(content) is not dict or content.get("retCode") != 0:
            raise BadFrame("venue_error", str(content)[:200])
        result = member(content, "result", dict)
        _same(result.get("s"), symbol)
        exchanged, published = _clocks(result)
        bids, asks = (book_side(result, key, instrument) for key in ("b", "a"))
        last = identity(result, "u")
        return [book(instrument, Kind.SNAPSHOT, bids, asks, exchanged=exchanged, published=published, last=last)]

    def forget(self, connection: int) -> None:
        """Forget what a connection has said; its successor begins with snapshots."""
        self._memories.pop(connection, None)

    def _book(self, whose: str, frame: bytes, content: dict[str, Any], memory: _Memory) -> list[Decoded]:
        depth, _, symbol = whose.partition(".")
        if depth != "1" and depth not in DEPTHS:
            raise BadFrame("unknown_topic", f"a book of {depth[:40]!r} levels, known are 1, {', '.join(DEPTHS)}")
        instrument = self._instrument(symbol)
        data = member(content, "data", dict)
        _same(data.get("s"), symbol)
        whole = _whole(content)
        exchanged, published = _clocks(content)
        last = identity(data, "u")
        identity(data, "seq")
        bids, asks = (book_side(data, key, instrument) for key in ("b", "a"))
        if depth == "1":
            return self._touch(instrument, whole, last, bids, asks, (exchanged, published), memory)
        if memory.books.get(symbol, whose) != whose:
            self.counts["other_depth"] += 1
            return []
        if last == 1 and not whole:
            # The venue's service began anew: what was known is overwritten, whatever the message calls itself.
            self.counts["restarted"] += 1
            bids, asks = ([each for each in side if each[1]] for side in (bids, asks))
        kind = Kind.SNAPSHOT if whole or last == 1 else Kind.DELTA
        first = 0 if kind == Kind.SNAPSHOT else last
        decoded = book(instrument, kind, bids, asks, exchanged=exchanged, published=published, first=first, last=last)
        memory.books[symbol] = whose
        return [decoded]

    def _touch(
        self,
        instrument: Instrument,
        whole: bool,
        last: int,
        bids: list[Level],
        asks: list[Level],
        clocks: tuple[int, int],
        memory: _Memory,
    ) -> list[Decoded]:
        before, bid, ask = memory.touches.get(instrument.symbol, (-1, None, None))
        if whole or last == 1 or last != before + 1:
            bid = ask = None
        sides = []
        for known, changes, best in ((bid, bids, max), (ask, asks, min)):
            standing = [each for each in changes if each[1]]
            if standing:
                # One level a side: one that stands replaces the one before.
                sides.append(best(standing))
            elif whole:
                sides.append((0, 0))
            elif known is None:
                self.counts["touch_unknown"] += 1
                memory.touches.pop(instrument.symbol, None)
                return []
            else:
                gone = any(price == known[0] for price, _ in changes)
                sides.append((0, 0) if gone else known)
        memory.touches[instrument.symbol] = (last, sides[0], sides[1])
        return [touch(instrument, sides[0], sides[1], exchanged=clocks[0], published=clocks[1])]

    def _trades(self, symbol: str, frame: bytes, content: dict[str, Any], memory: _Memory) -> list[Decoded]:
        instrument = self._instrument(symbol)
        published = _time(content, "ts")
        prints = []
        places = []
        blocks = 0
        for each in _entries(content):
            _same(each.get("s"), symbol)
            price = positive(each.get("p"), instrument.price_decimals)
            size = positive(each.get("v"), instrument.size_decimals)
            row = (_time(each, "T"), price, size, _number(member(each, "i", str)), 1, _side(each.get("S")))
            place = identity(each, "seq") if "seq" in each else 0
            if member(each, "BT", bool):
                blocks += 1
            else:
                prints.append(row)
                places.append(place)
        if blocks:
            self.counts["block_trade"] += blocks
        if not prints:
            return []
        decoded = trades(instrument, prints, published=published)
        # Hashes have no order, the cross sequence has; but a further message of one is no repetition of the first.
        again = memory.places.get(symbol) == places[-1]
        decoded.message["first"], decoded.message["last"] = (0, 0) if again else (places[0], places[-1])
        memory.places[symbol] = places[-1]
        return [decoded]

    def _ticker(self, symbol: str, frame: bytes, content: dict[str, Any], memory: _Memory) -> list[Decoded]:
        instrument = self._instrument(symbol)
        data = member(content, "data", dict)
        _same(data.get("symbol"), symbol)
        whole = _whole(content)
        at = _time(content, "ts")
        rate, following = (None, None) if whole else memory.funding.get(symbol, (None, None))
        values = [
            (what, rounded(data[key], instrument.price_decimals), 0)
            for key, what in (("markPrice", Reference.MARK), ("indexPrice", Reference.INDEX))
            if data.get(key, "") != ""
        ]
        # Delivery contracts have no funding: their rate is an empty text.
        says_rate, says_time = (data.get(key, "") != "" for key in ("fundingRate", "nextFundingTime"))
        if says_rate:
            rate = signed(data["fundingRate"], FUNDING_DECIMALS)
        if says_time:
            following = _time(data, "nextFundingTime")
        if (says_rate or says_time) and rate is not None:
            values.append((Reference.FUNDING, rate, following or 0))
        if data.get("openInterest", "") != "":
            half, odd = divmod(rounded(data["openInterest"], instrument.size_decimals), 2)
            values.append((Reference.OPEN_INTEREST, half + (odd & half), 0))
        memory.funding[symbol] = (rate, following)
        return [references(instrument, Channel.MARK, values, exchanged=at, published=at)] if values else []

    def _liquidations(self, symbol: str, frame: bytes, content: dict[str, Any], memory: _Memory) -> list[Decoded]:
        instrument = self._instrument(symbol)
        published = _time(content, "ts")
        orders = []
        for each in _entries(content):
            _same(each.get("s"), symbol)
            price = positive(each.get("p"), instrument.price_decimals)
            size = positive(each.get("v"), instrument.size_decimals)
            orders.append((_time(each, "T"), price, size, 0, _side(each.get("S"))))
        if not orders:
            return []
        return [liquidations(instrument, orders, PriceKind.BANKRUPTCY, Coverage.ALL, published=published)]

    def _sampled(self, symbol: str, frame: bytes, content: dict[str, Any], memory: _Memory) -> list[Decoded]:
        """Read the channel of before 2025-02-20: version 5's object, version 2's, or a list of the latter."""
        instrument = self._instrument(symbol)
        content = exact(frame)
        orders = []
        for each in _entries(content) if type(content.get("data")) is list else [member(content, "data", dict)]:
            _same(each.get("symbol"), symbol)
            size, at = ("size", "updatedTime") if "updatedTime" in each else ("qty", "time")
            price = positive(decimal(each.get("price")), instrument.price_decimals)
            bulk = positive(decimal(each.get(size)), instrument.size_decimals)
            orders.append((_time(each, at), price, bulk, 0, _side(each.get("side"))))
        if not orders:
            return []
        published = _time(content, "ts") if "ts" in content else orders[-1][0]
        return [liquidations(instrument, orders, PriceKind.BANKRUPTCY, Coverage.SAMPLED, published=published)]

    def _deleveraging(self, group: str, frame: bytes, content: dict[str, Any], memory: _Memory) -> list[Decoded]:
        content = exact(frame)
        at = _time(content, "ts")
        found = []
        for each in _entries(content):
            instrument = self._among(each.get("s"))
            if instrument is not None:
                values = [(Reference.INSURANCE, _amount(each.get("b"), BALANCE_DECIMALS), 0)]
                values.append((Reference.DELEVERAGING, _risk(each), 0))
                found.append(references(instrument, Channel.RISK, values, exchanged=at, published=at))
        return found

    def _insurance(self, group: str, frame: bytes, content: dict[str, Any], memory: _Memory) -> list[Decoded]:
        content = exact(frame)
        published = _time(content, "ts")
        found = []
        for each in _entries(content):
            values = [(Reference.INSURANCE, _amount(each.get("balance"), BALANCE_DECIMALS), 0)]
            at = _time(each, "updateTime")
            for symbol in member(each, "symbols", str).split(","):
                instrument = self._among(symbol.strip())
                if instrument is not None:
                    found.append(references(instrument, Channel.RISK, values, exchanged=at, published=published))
        return found


def _answer(content: dict[str, Any]) -> list[Decoded]:
    """Pass over an ACK or a pong; say an error in the venue's words."""
    if content.get("success") is False or content.get("retCode", 0) != 0:
        raise BadFrame("venue_error", str(content)[:200])
    if content.get("success") is True or content.get("op") in _ANSWERS:
        return []
    raise BadFrame("structure", f"neither a topic nor an answer: {str(content)[:80]}")


def _whole(content: dict[str, Any]) -> bool:
    kind = content.get("type")
    if kind not in ("snapshot", "delta"):
        raise BadFrame("bad_kind", f"{str(kind)[:40]!r}, allowed are snapshot and delta")
    return bool(kind == "snapshot")


def _clocks(content: dict[str, Any]) -> tuple[int, int]:
    """Give when the engine did it and when it was pushed, ns."""
    published = _time(content, "ts")
    return (_time(content, "cts") if "cts" in content else published), published


def _time(content: dict[str, Any], key: str) -> int:
    """Give a stamp, a number or a text of digits, in ns."""
    value = content.get(key)
    if type(value) is str and value.isascii() and value.isdigit() and len(value) <= 16:
        return moment({key: int(value)}, key)
    return moment(content, key)


def _entries(content: dict[str, Any]) -> list[dict[str, Any]]:
    entries = member(content, "data", list)
    for each in entries:
        if type(each) is not dict:
            raise BadFrame("structure", f"an entry is {str(each)[:40]!r}, allowed is an object")
    return entries


def _same(met: Any, symbol: str) -> None:
    if met != symbol:
        raise BadFrame("wrong_symbol", f"the topic of {symbol} carries {str(met)[:40]!r}")


def _side(text: Any) -> int:
    side = _SIDES.get(text) if type(text) is str else None
    if side is None:
        raise BadFrame("bad_side", f"{str(text)[:40]!r}, allowed are Buy and Sell")
    return side


def _number(text: str) -> int:
    """Give a trade id: the number that it is (spot), or 63 bits of a hash of its text."""
    if text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < 1 << 63:
        return int(text)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) & (1 << 63) - 1


def _amount(value: Any, decimals: int) -> int:
    """Give a number that may be negative, to the nearest at a scale."""
    text = decimal(value)
    if type(text) is str and text.startswith("-"):
        return -rounded(text[1:], decimals)
    return rounded(text, decimals)


def _risk(entry: dict[str, Any]) -> int:
    """Judge by the venue's rule of auto-deleveraging.

    It is under way where the fund is spent (b <= 0), or where the fund is above `adl_tt` and the drawdown `pr` below
    `i_pr`; it ends once `pr` is above `adl_sr`. Between `i_pr` and `adl_sr` it may be under way or near: a warning.
    """
    balance = _amount(entry.get("b"), RATIO_DECIMALS - 4)
    drawdown, begin, end = (_amount(entry.get(key), RATIO_DECIMALS) for key in ("pr", "i_pr", "adl_sr"))
    if balance <= 0:
        return UNDER_WAY
    if balance <= scaled(decimal(entry.get("adl_tt")), RATIO_DECIMALS - 4) or drawdown > end:
        return NORMAL
    return UNDER_WAY if drawdown < begin else WARNED
