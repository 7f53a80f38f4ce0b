"""Kraken futures' frames in, rows out. Numbers are bare in them, and a whole one may have a point, `4787.0`."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import (
    FUNDING_DECIMALS,
    Channel,
    Coverage,
    Flag,
    Kind,
    PriceKind,
    Reference,
    Status,
)
from ingest.decimals import rounded
from ingest.venues import Decoded
from ingest.venues._fields import identity, member, moment
from ingest.venues._kraken import best, objects, side
from ingest.venues._reading import (
    Level,
    Reader,
    book,
    decimal,
    exact,
    level,
    liquidations,
    positive,
    references,
    status,
    touch,
    trades,
)

SIDES: Final = {"buy": 1, "sell": -1}
#: Trades that struck the book; of them, those whose taker was liquidated.
STRUCK: Final = ("fill", "liquidation")
LIQUIDATED: Final = "liquidation"
#: Trades that never met the book: agreed bilaterally, or a position passed on as no order could close it.
BESIDE: Final = ("block", "assignment", "termination")
#: What every perpetual has and nothing else.
FUNDED: Final = "next_funding_rate_time"
ANSWERS: Final = ("info", "subscribed", "unsubscribed", "pong", "challenge")
FAILURES: Final = ("error", "alert", "subscribed_failed", "unsubscribed_failed")


class KrakenFuturesDecoder(Reader):
    """Frames of some products in, rows out.

    Counts `empty_level` of snapshots, `empty_touch`, and trades `beside_<type>`. It remembers which products are
    suspended, so that STATUS is said when that changes.
    """

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        super().__init__(instruments)
        self._suspended: set[str] = set()
        self._feeds: dict[str, Callable[[dict[str, Any]], list[Decoded]]] = {
            "book": self._delta,
            "book_snapshot": self._snapshot,
            "trade": lambda content: self._trades(self._instrument(content.get("product_id")), [content], 0),
            "trade_snapshot": self._history,
            "ticker": self._ticker,
            "heartbeat": lambda content: [],
        }

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what the frame says. Raises BadFrame."""
        content = exact(frame)
        if type(content) is not dict:
            raise BadFrame("structure", f"{str(content)[:40]!r} is no object")
        if "event" in content:
            return _answer(content)
        feed = content.get("feed")
        read = self._feeds.get(feed) if type(feed) is str else None
        if read is None:
            raise BadFrame("unknown_channel", f"{str(feed)[:40]!r}, known are {', '.join(self._feeds)}")
        return read(content)

    def _delta(self, content: dict[str, Any]) -> list[Decoded]:
        instrument = self._instrument(content.get("product_id"))
        met = [level(instrument, decimal(content.get("price")), decimal(content.get("qty")))]
        bids, asks = (met, []) if side(content.get("side"), SIDES) > 0 else ([], met)
        return [_book(instrument, Kind.DELTA, bids, asks, content)]

    def _snapshot(self, content: dict[str, Any]) -> list[Decoded]:
        instrument = self._instrument(content.get("product_id"))
        sides: list[list[Level]] = []
        for key in ("bids", "asks"):
            pairs = objects(member(content, key, list))
            sides.append([level(instrument, decimal(pair.get("price")), decimal(pair.get("qty"))) for pair in pairs])
        # A level may be shown that was emptied just before.
        bids, asks = ([each for each in met if each[1]] for met in sides)
        decoded = _book(instrument, Kind.SNAPSHOT, bids, asks, content)
        if gone := len(sides[0]) + len(sides[1]) - len(bids) - len(asks):
            self.counts["empty_level"] += gone
        return [decoded]

    def _history(self, content: dict[str, Any]) -> list[Decoded]:
        entries = objects(member(content, "trades", list))
        return self._trades(self._instrument(content.get("product_id")), entries, Flag.HISTORY)

    def _trades(self, instrument: Instrument, entries: Sequence[dict[str, Any]], flags: int) -> list[Decoded]:
        prints, forced, beside = [], [], []
        for entry in entries:
            kind = entry.get("type")
            price = positive(decimal(entry.get("price")), instrument.price_decimals)
            size = positive(decimal(entry.get("qty")), instrument.size_decimals)
            at, name, taker = moment(entry, "time"), identity(entry, "seq"), side(entry.get("side"), SIDES)
            if kind in BESIDE:
                beside.append(kind)
                continue
            if kind not in STRUCK:
                raise BadFrame("unknown_type", f"{str(kind)[:40]!r}, known are {', '.join(STRUCK + BESIDE)}")
            prints.append((at, price, size, name, 1, taker))
            if kind == LIQUIDATED:
                # The taker is who was liquidated: one who had to sell was long.
                forced.append((name, (at, price, size, price, -taker)))
        decoded = []
        if prints:
            # History comes newest first.
            decoded.append(trades(instrument, sorted(prints, key=lambda each: each[3]), flags=flags))
        if forced:
            orders = [order for _, order in sorted(forced)]
            decoded.append(liquidations(instrument, orders, PriceKind.TRADE, Coverage.ALL, flags=flags))
        for kind in beside:
            self.counts[f"beside_{kind}"] += 1
        return decoded

    def _ticker(self, content: dict[str, Any]) -> list[Decoded]:
        instrument = self._instrument(content.get("product_id"))
        at = moment(content, "time")
        bid, ask = (_best(instrument, content, key) for key in ("bid", "ask"))
        suspended = member(content, "suspended", bool)
        decoded = [references(instrument, Channel.MARK, _references(instrument, content), exchanged=at)]
        if bid[1] or ask[1]:
            decoded.insert(0, touch(instrument, bid, ask, exchanged=at))
        else:
            self.counts["empty_touch"] += 1
        if suspended != (instrument.symbol in self._suspended):
            (self._suspended.add if suspended else self._suspended.remove)(instrument.symbol)
            decoded.insert(0, status(instrument, Status.HALTED if suspended else Status.TRADING, exchanged=at))
        return decoded


def _references(instrument: Instrument, content: dict[str, Any]) -> list[tuple[Reference, int, int]]:
    """Read what a ticker always has, and funding, which futures with a maturity have not."""
    values = [
        (Reference.MARK, rounded(decimal(content.get("markPrice")), instrument.price_decimals), 0),
        (Reference.INDEX, rounded(decimal(content.get("index")), instrument.price_decimals), 0),
        (Reference.OPEN_INTEREST, rounded(decimal(content.get("openInterest")), instrument.size_decimals), 0),
    ]
    if FUNDED in content:
        # A rate of zero is not printed. The time is documented as a number with a point.
        rate = decimal(content.get("relative_funding_rate", 0))
        negative = type(rate) is str and rate.startswith("-")
        size = rounded(rate[1:] if negative else rate, FUNDING_DECIMALS)
        at = moment({FUNDED: rounded(decimal(content[FUNDED]), 0)}, FUNDED)
        values.append((Reference.FUNDING, -size if negative else size, at))
    return values


def _best(instrument: Instrument, content: dict[str, Any], key: str) -> Level:
    """Return a side's best level; a side without orders may be there or not."""
    if key not in content and f"{key}_size" not in content:
        return 0, 0
    return best(instrument, decimal(content.get(key)), decimal(content.get(f"{key}_size")))


def _book(instrument: Instrument, kind: Kind, bids: list[Level], asks: list[Level], content: dict[str, Any]) -> Decoded:
    at, name = moment(content, "timestamp"), identity(content, "seq")
    return book(instrument, kind, bids, asks, exchanged=at, first=name, last=name)


def _answer(content: dict[str, Any]) -> list[Decoded]:
    event = content["event"]
    if event in FAILURES:
        raise BadFrame("venue_error", f"{event!r}: {str(content.get('message'))[:200]}")
    if event not in ANSWERS:
        raise BadFrame("unknown_event", f"{str(event)[:40]!r}, known are {', '.join(ANSWERS + FAILURES)}")
    return []
