"""Gate's futures frames in, rows out. Sizes are contracts.

Facts, from the venue's documentation, its change log and captures (2023, 2026):
  `futures.obu` sends prices and sizes as texts; a delta without `b` and `a` moves the id alone. The other channels send
  sizes as bare integers, cut towards zero, unless the handshake has the header `X-Gate-Size-Decimal: 1`; then texts.
  `futures.book_ticker` counts as the book does: at equal ids it is the book's best (16 of 16 in a capture).
  A trade's size is negative where a seller struck. `is_internal` marks what the insurance fund or auto-deleveraging
  took over: no match in the book, so it is counted, and no row.
  `futures.public_liquidates` was a bare object, one a second and contract, the rest dropped; since 2026-08-20 it is an
  array of all, sent each second or at 20. Its size is the order's: negative sells, so a long was liquidated. The venue
  documents no sign; runs of negative ones go with falling prices, of positive ones with rising prices.
  `time` of a liquidation and `update_time` of a warning are milliseconds, and were seen in seconds.
  `futures.adl_warning` (since 2026-08-25) speaks each second while a contract is not normal, once when it is again.
  `futures.system` announces that the connection will end for an upgrade.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import FUNDING_DECIMALS, Channel, Coverage, Kind, PriceKind, Reference, Status
from ingest.decimals import rounded, scaled, signed
from ingest.venues import SECOND, Decoded
from ingest.venues._fields import LEVELS, identity, member, moment
from ingest.venues._reading import (
    Level,
    Reader,
    book,
    decimal,
    exact,
    level,
    liquidations,
    parse,
    positive,
    references,
    status,
    touch,
    trades,
)

#: From this day on all liquidations are shown, 2026-08-20 in UTC, ns.
ALL_SINCE: Final = 1_787_184_000 * SECOND
#: Stamps below this are seconds.
_SECONDS_END: Final = 9_200_000_000
#: Channels whose numbers may stand bare.
_BARE: Final = (
    b"futures.order_book_update",
    b"futures.book_ticker",
    b"futures.trades",
    b"futures.tickers",
    b"futures.public_liquidates",
)
_STATES: Final = {"normal": 0, "warning": 1, "adl_risk": 2}


class GateDecoder(Reader):
    """Frames of some instruments in, rows out."""

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        super().__init__(instruments)
        #: Connection -> symbol -> the stream of its book: the first one that spoke.
        self._books: defaultdict[int, dict[str, str]] = defaultdict(dict)
        self._channels: dict[str, Callable[[Any, int, int], list[Decoded]]] = {
            "futures.obu": self._book,
            "futures.order_book_update": self._legacy_book,
            "futures.book_ticker": self._touch,
            "futures.trades": self._trades,
            "futures.tickers": self._tickers,
            "futures.public_liquidates": self._liquidations,
            "futures.adl_warning": self._warnings,
            "futures.system": self._system,
        }

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what the frame says: nothing for an ACK or a pong. Raises BadFrame."""
        bare = any(channel in frame[:400] for channel in _BARE)
        content = exact(frame) if bare else parse(frame)
        if type(content) is not dict:
            raise BadFrame("structure", f"a frame must be an object, met {type(content).__name__}")
        if content.get("error"):
            raise BadFrame("venue_error", str(content)[:200])
        channel, event = member(content, "channel", str), content.get("event")
        if channel == "futures.pong" or event in ("subscribe", "unsubscribe"):
            return []
        if event not in ("update", "all"):
            raise BadFrame("structure", f"event {str(event)[:40]!r}, allowed are update and all")
        decode = self._channels.get(channel)
        if decode is None:
            raise BadFrame("unknown_channel", f"{channel[:80]!r}, known are {', '.join(self._channels)}")
        published = _time(content, "time_ms") if content.get("time_ms") else _time(content, "time")
        return decode(content.get("result"), published, connection)

    def body(self, symbol: str, channel: Channel, body: bytes) -> list[Decoded]:
        """Return the SNAPSHOT that `/order_book` with `with_id=true` answers. Raises BadFrame."""
        instrument = self._instrument(symbol)
        if channel != Channel.DEPTH:
            return super().body(symbol, channel, body)
        content = exact(body)
        if type(content) is not dict or "label" in content:
            raise BadFrame("venue_error", str(content)[:200])
        # Seconds with three decimals.
        exchanged, published = (scaled(decimal(content.get(key)), 3) * 1_000_000 for key in ("update", "current"))
        bids, asks = (_objects(instrument, content, key) for key in ("bids", "asks"))
        last = identity(content, "id")
        return [book(instrument, Kind.SNAPSHOT, bids, asks, exchanged=exchanged, published=published, last=last)]

    def forget(self, connection: int) -> None:
        """Forget which streams were a connection's books."""
        self._books.pop(connection, None)

    def _book(self, result: Any, published: int, connection: int) -> list[Decoded]:
        content = _entry(result)
        stream = member(content, "s", str)
        head, _, rest = stream.partition(".")
        symbol, _, depth = rest.rpartition(".")
        if head != "ob" or not depth.isdigit():
            raise BadFrame("unknown_stream", f"{stream[:80]!r}, allowed are ob.<contract>.<levels>")
        instrument = self._instrument(symbol)
        bids, asks = (_pairs(instrument, content, key) for key in ("b", "a"))
        return self._change(instrument, stream, content, bids, asks, published, connection)

    def _legacy_book(self, result: Any, published: int, connection: int) -> list[Decoded]:
        content = _entry(result)
        instrument = self._instrument(content.get("s"))
        bids, asks = (_objects(instrument, content, key) for key in ("b", "a"))
        return self._change(instrument, "order_book_update", content, bids, asks, published, connection)

    def _change(
        self,
        instrument: Instrument,
        stream: str,
        content: dict[str, Any],
        bids: list[Level],
        asks: list[Level],
        published: int,
        connection: int,
    ) -> list[Decoded]:
        exchanged, last = _time(content, "t"), identity(content, "u")
        whole = member(content, "full", bool) if "full" in content else False
        first = 0 if whole else identity(content, "U")
        if first > last:
            raise BadFrame("bad_ids", f"first id {first} is beyond last id {last}")
        books = self._books[connection]
        if books.get(instrument.symbol, stream) != stream:
            self.counts["other_depth"] += 1
            return []
        kind = Kind.SNAPSHOT if whole else Kind.DELTA
        decoded = book(instrument, kind, bids, asks, exchanged=exchanged, published=published, first=first, last=last)
        books[instrument.symbol] = stream
        return [decoded]

    def _touch(self, result: Any, published: int, connection: int) -> list[Decoded]:
        content = _entry(result)
        instrument = self._instrument(content.get("s"))
        bid, ask = (_best(instrument, content, *keys) for keys in (("b", "B"), ("a", "A")))
        last, exchanged = identity(content, "u"), _time(content, "t")
        return [touch(instrument, bid, ask, exchanged=exchanged, published=published, last=last)]

    def _trades(self, result: Any, published: int, connection: int) -> list[Decoded]:
        prints: dict[str, list[tuple[int, int, int, int, int, int]]] = {}
        internal = 0
        for each in _entries(result):
            instrument = self._instrument(each.get("contract"))
            size, side = _directed(instrument, each)
            at = _time(each, "create_time_ms" if "create_time_ms" in each else "create_time")
            price = positive(decimal(each.get("price")), instrument.price_decimals)
            row = (at, price, size, identity(each, "id"), 1, side)
            if "is_internal" in each and member(each, "is_internal", bool):
                internal += 1
            else:
                prints.setdefault(instrument.symbol, []).append(row)
        if internal:
            self.counts["internal_trade"] += internal
        return [trades(self._instruments[symbol], rows, published=published) for symbol, rows in prints.items()]

    def _tickers(self, result: Any, published: int, connection: int) -> list[Decoded]:
        found = []
        for each in _entries(result):
            instrument = self._instrument(each.get("contract"))
            values = [
                (what, rounded(decimal(each[key]), instrument.price_decimals), 0)
                for key, what in (("mark_price", Reference.MARK), ("index_price", Reference.INDEX))
                if each.get(key, "") != ""
            ]
            if each.get("funding_rate", "") != "":
                following = _time(each, "funding_next_apply") if "funding_next_apply" in each else 0
                values.append((Reference.FUNDING, signed(decimal(each["funding_rate"]), FUNDING_DECIMALS), following))
            if each.get("total_size", "") != "":
                interest = scaled(decimal(each["total_size"]), instrument.size_decimals)
                values.append((Reference.OPEN_INTEREST, interest, 0))
            if values:
                at = _time(each, "t") if "t" in each else published
                found.append(references(instrument, Channel.MARK, values, exchanged=at, published=published))
        return found

    def _liquidations(self, result: Any, published: int, connection: int) -> list[Decoded]:
        orders: dict[str, list[tuple[int, int, int, int, int]]] = {}
        for each in _entries(result):
            instrument = self._among(each.get("contract"))
            if instrument is None:
                continue
            size, side = _directed(instrument, each)
            price = positive(decimal(each.get("price")), instrument.price_decimals)
            at = _time(each, "time_ms" if "time_ms" in each else "time")
            # A long is liquidated by selling.
            orders.setdefault(instrument.symbol, []).append((at, price, size, 0, -side))
        return [
            liquidations(
                self._instruments[symbol],
                rows,
                PriceKind.ORDER_LIMIT,
                Coverage.ALL if rows[-1][0] >= ALL_SINCE else Coverage.SAMPLED,
                published=published,
            )
            for symbol, rows in orders.items()
        ]

    def _warnings(self, result: Any, published: int, connection: int) -> list[Decoded]:
        found = []
        for each in _entries(result):
            instrument = self._among(each.get("contract"))
            if instrument is None:
                continue
            state = each.get("state")
            if type(state) is not str or state not in _STATES:
                raise BadFrame("bad_state", f"{str(state)[:40]!r}, allowed are {', '.join(_STATES)}")
            at = _time(each, "update_time") if "update_time" in each else published
            values = [(Reference.DELEVERAGING, _STATES[state], 0)]
            found.append(references(instrument, Channel.RISK, values, exchanged=at, published=published))
        return found

    def _system(self, result: Any, published: int, connection: int) -> list[Decoded]:
        if member(_entry(result), "type", str) != "upgrade":
            self.counts["system_notice"] += 1
            return []
        return [status(each, Status.MAINTENANCE, exchanged=published) for each in self._instruments.values()]


def _time(content: dict[str, Any], key: str) -> int:
    """Give a stamp, seconds or milliseconds, in ns."""
    value = content.get(key)
    if type(value) is int and 0 <= value < _SECONDS_END:
        return value * SECOND
    return moment(content, key)


def _entry(result: Any) -> dict[str, Any]:
    if type(result) is not dict:
        raise BadFrame("structure", f"'result' is {str(result)[:40]!r}, allowed is an object")
    return result


def _entries(result: Any) -> list[dict[str, Any]]:
    """Give the entries of a result that is an array, or is the only entry itself."""
    return [_entry(each) for each in (result if type(result) is list else [result])]


def _levels(content: dict[str, Any], key: str) -> list[Any]:
    levels = member(content, key, list)
    if len(levels) > LEVELS:
        raise BadFrame("too_long", f"{key!r} has {len(levels)} levels, allowed are {LEVELS}")
    return levels


def _pairs(instrument: Instrument, content: dict[str, Any], key: str) -> list[Level]:
    """Give one side's [price, size] levels; none where the key is absent."""
    if key not in content:
        return []
    found = []
    for pair in _levels(content, key):
        if type(pair) is not list or len(pair) != 2:
            raise BadFrame("structure", f"a level is {str(pair)[:40]}, allowed is [price, size]")
        found.append(level(instrument, *pair))
    return found


def _objects(instrument: Instrument, content: dict[str, Any], key: str) -> list[Level]:
    """Give one side's {"p": price, "s": size} levels."""
    entries = [_entry(each) for each in _levels(content, key)]
    return [level(instrument, decimal(each.get("p")), decimal(each.get("s"))) for each in entries]


def _best(instrument: Instrument, content: dict[str, Any], price: str, size: str) -> Level:
    """Give one side's best level; (0, 0) where the venue states an empty side."""
    if content.get(price) == "":
        return (0, 0)
    return level(instrument, decimal(content.get(price)), decimal(content.get(size)))


def _directed(instrument: Instrument, content: dict[str, Any]) -> tuple[int, int]:
    """Give a size that carries its order's side as a sign: the size, +1 bought or -1 sold."""
    text = decimal(content.get("size"))
    if type(text) is str and text.startswith("-"):
        return positive(text[1:], instrument.size_decimals), -1
    return positive(text, instrument.size_decimals), 1
