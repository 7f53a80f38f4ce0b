"""OKX's frames in, rows out: spot, perpetuals and futures alike.

A frame is `{"arg": {channel, instId}, "data": [...]}`, an answer `{"event": ...}`, a heartbeat the text `pong`. Numbers
are texts without trailing zeros. Mark, index and bankruptcy prices and open interest, which no order has and which come
with more digits, are rounded to the instrument's decimals.

What a subscription sends first may be old: the last trade (in a capture of 2022, on every symbol) and the last
liquidations. The first frame after an ACK whose rows are older than that ACK carries HISTORY.

Frames with a `table` are of the protocol before version 5, which ended in 2021 and shares nothing with this one; they
are refused as `dead_protocol`.
"""

from collections.abc import Callable
from typing import Any, Final

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import FUNDING_DECIMALS, Channel, Coverage, Flag, Kind, PriceKind, Reference, Status
from ingest.decimals import rounded
from ingest.mirror import Mirror
from ingest.venues import Decoded
from ingest.venues._fields import identity, member
from ingest.venues._okx_streams import CHECKSUM_END, index_of, kind_of
from ingest.venues._reading import Reader, book, liquidations, parse, positive, references, status, touch, trades
from ingest.venues._texts import COVERED, bare, best, milliseconds, number, rate, side, signed_crc

Row = dict[str, Any]

#: Subscriptions whose first frame may tell of the past.
PAST: Final = ("trades", "trades-all", "liquidation-orders")
#: Answers that need no row.
ANSWERS: Final = ("subscribe", "unsubscribe", "login", "channel-conn-count")
#: The notice that comes 60 s before a connection is closed for a service upgrade.
UPGRADE: Final = "64008"

#: posSide, side -> whose position was liquidated.
_LIQUIDATED: Final = {
    ("long", "sell"): 1,
    ("short", "buy"): -1,
    ("net", "sell"): 1,
    ("net", "buy"): -1,
}


def checksum(mirror: Mirror) -> int:
    """Compute OKX's checksum of a book: CRC32 of its 25 best levels, numbers as they were printed."""
    return signed_crc(mirror.instrument, *mirror.best(COVERED), bare)


class OkxDecoder(Reader):
    """Frames of some instruments in, rows out."""

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        super().__init__(instruments)
        #: Connection and subscription -> when its ACK came, ns, until its first frame has come.
        self._asked: dict[tuple[int, str], int] = {}
        #: Index -> the derivatives that have it.
        self._indices: dict[str, list[Instrument]] = {}
        for symbol, instrument in instruments.items():
            if kind_of(symbol) != "SPOT":
                self._indices.setdefault(index_of(symbol), []).append(instrument)
        self._symbols: dict[str, Callable[[Instrument, Row, Row], list[Decoded]]] = {
            "books": self._book,
            "books-l2-tbt": self._book,
            "books50-l2-tbt": self._book,
            "bbo-tbt": self._touch,
            "mark-price": self._mark,
            "funding-rate": self._funding,
            "open-interest": self._open_interest,
        }

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what the frame says: nothing for an ACK or a heartbeat. Raises BadFrame, and changes nothing then."""
        if frame == b"pong":
            return []
        content = parse(frame)
        if type(content) is not dict:
            raise BadFrame("structure", f"a frame must be an object, met {type(content).__name__}")
        if "event" in content:
            return self._answer(content, received, connection)
        if "table" in content:
            raise BadFrame("dead_protocol", f"{str(content['table'])[:40]!r} is of the protocol before version 5")
        arg, rows = member(content, "arg", dict), member(content, "data", list)
        if not rows or any(type(row) is not dict for row in rows):
            raise BadFrame("structure", f"'data' is {str(rows)[:40]}, allowed is a list of objects")
        channel = member(arg, "channel", str)
        if channel in PAST:
            asked = (connection, _subscription(arg))
            since = self._asked.get(asked, 0)
            decoded = self._orders(rows, since) if channel == PAST[-1] else self._trades(arg, rows, since)
            self._asked.pop(asked, None)
            return decoded
        if channel == "index-tickers":
            return [each for row in rows for each in self._index(arg, row)]
        decode = self._symbols.get(channel)
        if decode is None:
            known = ", ".join([*self._symbols, *PAST, "index-tickers"])
            raise BadFrame("unknown_channel", f"{channel[:40]!r}, known are {known}")
        instrument = self._instrument(arg.get("instId"))
        return [each for row in rows for each in decode(instrument, content, row)]

    def forget(self, connection: int) -> None:
        """Forget what a connection was waiting for."""
        self._asked = {key: at for key, at in self._asked.items() if key[0] != connection}

    def _answer(self, content: Row, received: int, connection: int) -> list[Decoded]:
        event = content["event"]
        if event == "notice":
            if content.get("code") == UPGRADE:
                return [status(instrument, Status.MAINTENANCE) for instrument in self._instruments.values()]
            self.counts["notice"] += 1
            return []
        if event not in ANSWERS:
            raise BadFrame("venue_error", str(content)[:200])
        arg = content.get("arg")
        if event == "subscribe" and type(arg) is dict and arg.get("channel") in PAST:
            self._asked[connection, _subscription(arg)] = received
        if event == "channel-conn-count":
            self.counts["channel_conn_count"] += 1
        return []

    def _book(self, instrument: Instrument, content: Row, row: Row) -> list[Decoded]:
        action = content.get("action")
        if action not in ("snapshot", "update"):
            raise BadFrame("structure", f"'action' is {str(action)[:40]!r}, allowed are snapshot and update")
        bids, asks = side(instrument, row, "bids"), side(instrument, row, "asks")
        at = milliseconds(row, "ts")
        # Books of 2022 and before have no ids: all are 0 then, and the checksum alone proves them.
        last, previous = 0, 0
        if "seqId" in row or "prevSeqId" in row:
            last = identity(row, "seqId")
            previous = -1 if row.get("prevSeqId") == -1 else identity(row, "prevSeqId")
        stated = member(row, "checksum", int) if "checksum" in row else 0
        if action == "update" and previous < 0:
            raise BadFrame("bad_ids", "'prevSeqId' of an update is -1, which only a snapshot has")
        kind = Kind.SNAPSHOT if action == "snapshot" else Kind.DELTA
        return [
            book(
                instrument,
                kind,
                bids,
                asks,
                exchanged=at,
                first=last,
                last=last,
                previous=-1 if kind == Kind.SNAPSHOT else previous,
                checksum=stated if stated and at < CHECKSUM_END else None,
            )
        ]

    def _touch(self, instrument: Instrument, content: Row, row: Row) -> list[Decoded]:
        bid, ask = best(side(instrument, row, "bids")), best(side(instrument, row, "asks"))
        last = identity(row, "seqId") if "seqId" in row else 0
        return [touch(instrument, bid, ask, exchanged=milliseconds(row, "ts"), last=last)]

    def _trades(self, arg: Row, rows: list[Row], since: int) -> list[Decoded]:
        instrument = self._instrument(arg.get("instId"))
        prints = []
        for row in rows:
            _check(instrument, row)
            aggressor = {"buy": 1, "sell": -1}.get(member(row, "side", str))
            if aggressor is None:
                raise BadFrame("bad_side", f"'side' is {row['side'][:40]!r}, allowed are buy and sell")
            fills = number(row, "count") if "count" in row else 1
            if not 0 < fills < 1 << 32:
                raise BadFrame("bad_count", f"'count' is {fills}, allowed are 1 to 2^32 - 1")
            price = positive(row.get("px"), instrument.price_decimals)
            size = positive(row.get("sz"), instrument.size_decimals)
            prints.append((milliseconds(row, "ts"), price, size, number(row, "tradeId"), fills, aggressor))
        return [trades(instrument, prints, flags=_past(prints[-1][0], since))]

    def _orders(self, rows: list[Row], since: int) -> list[Decoded]:
        """Read liquidations of the whole venue: those of our instruments."""
        decoded = []
        others = 0
        for row in rows:
            symbol, details = member(row, "instId", str), member(row, "details", list)
            instrument = self._instruments.get(symbol)
            if instrument is None:
                others += 1
                continue
            orders = sorted(_order(instrument, detail) for detail in details)
            if not orders:
                raise BadFrame("structure", "'details' is empty, allowed is a list of orders")
            flags = _past(orders[-1][0], since)
            decoded.append(liquidations(instrument, orders, PriceKind.BANKRUPTCY, Coverage.SAMPLED, flags=flags))
        if others:
            self.counts["other_symbol"] += others
        return decoded

    def _mark(self, instrument: Instrument, content: Row, row: Row) -> list[Decoded]:
        return [_price(instrument, Reference.MARK, row, "markPx")]

    def _index(self, arg: Row, row: Row) -> list[Decoded]:
        known = self._indices.get(member(arg, "instId", str))
        if known is None:
            raise BadFrame("unknown_symbol", f"{arg['instId'][:40]!r}, known indices are {', '.join(self._indices)}")
        return [_price(instrument, Reference.INDEX, row, "idxPx") for instrument in known]

    def _funding(self, instrument: Instrument, content: Row, row: Row) -> list[Decoded]:
        _check(instrument, row)
        following = milliseconds(row, "fundingTime")
        at = milliseconds(row, "ts") if "ts" in row else 0
        if not row.get("fundingRate"):
            # A contract that has just been listed has no rate yet.
            self.counts["no_funding_rate"] += 1
            return []
        value = rate(row["fundingRate"], FUNDING_DECIMALS)
        return [references(instrument, Channel.MARK, [(Reference.FUNDING, value, following)], exchanged=at)]

    def _open_interest(self, instrument: Instrument, content: Row, row: Row) -> list[Decoded]:
        _check(instrument, row)
        value = rounded(row.get("oi"), instrument.size_decimals)
        at = milliseconds(row, "ts")
        return [references(instrument, Channel.OPEN_INTEREST, [(Reference.OPEN_INTEREST, value, 0)], exchanged=at)]


def _price(instrument: Instrument, what: Reference, row: Row, key: str) -> Decoded:
    value = rounded(row.get(key), instrument.price_decimals)
    if value == 0:
        raise BadFrame("zero", f"{key!r} is {row[key]!r}, allowed are values above 0")
    return references(instrument, Channel.MARK, [(what, value, 0)], exchanged=milliseconds(row, "ts"))


def _order(instrument: Instrument, detail: Any) -> tuple[int, int, int, int, int]:
    """Read one liquidation: time, bankruptcy price, size, no average, whose."""
    if type(detail) is not dict:
        raise BadFrame("structure", f"a liquidation is {str(detail)[:40]}, allowed are objects")
    sides = member(detail, "posSide", str), member(detail, "side", str)
    whose = _LIQUIDATED.get(sides)
    if whose is None:
        raise BadFrame("bad_side", f"'posSide' and 'side' are {str(sides)[:60]}, allowed are {list(_LIQUIDATED)}")
    price = rounded(detail.get("bkPx"), instrument.price_decimals)
    if price == 0:
        raise BadFrame("zero", f"'bkPx' is {detail['bkPx']!r}, allowed are values above 0")
    return milliseconds(detail, "ts"), price, positive(detail.get("sz"), instrument.size_decimals), 0, whose


def _subscription(arg: Row) -> str:
    return f"{arg.get('channel')}:{arg.get('instId') or arg.get('instType')}"


def _check(instrument: Instrument, row: Row) -> None:
    """Refuse a row of another symbol than its frame's."""
    if row.get("instId") != instrument.symbol:
        raise BadFrame("unknown_symbol", f"{str(row.get('instId'))[:40]!r} in a frame of {instrument.symbol!r}")


def _past(newest: int, since: int) -> int:
    """Give the flag of rows that are older than the ACK of their subscription."""
    return int(Flag.HISTORY) if newest < since else 0
