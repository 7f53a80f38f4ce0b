"""BitMEX: perpetuals and futures settled in coins (inverse, quanto) or in stablecoins (linear), and spot.

Every subscription is a table that is kept by actions ("Websocket API", documentation of 2026-11):
  1. Ignore everything until the table's `partial`, which is the whole table.
  2. Then apply insert, update and delete to rows by their keys; of `orderBookL2` these are symbol, id and side.
  3. An update or a delete need not state the price: it is that of the row with these keys.
There is no sequence and no checksum. What tells that something was lost is an update or a delete of a row that is not
there: a gap of this book, which is subscribed again. Ids mean something only beside the partial of their connection.

Sizes are contracts, whole numbers. A contract is a fixed amount of the underlying (linear), of the quote currency
(inverse), or pays a fixed amount of the settlement currency per unit of the price (quanto: `contract_size` is that
`multiplier`, in units of the settlement currency x 10^8).

A trade's id is a UUID; here it is a 63-bit hash of it. The trades of a `partial` are history. `side` is the taker's.
The `liquidation` table holds the orders of the liquidation engine from their placing (insert) over each fill (update)
to their end (delete), without any time. Only the placing is told, with the whole size and an exchange time of 0: an
order that sells closes a long. Those of a `partial` were placed before and are history.
The `instrument` table says what changed: mark price, index (`indicativeSettlePrice`), funding, open interest. The
`funding` table repeats each rate when it is paid; its rows are read, and not subscribed to.
Since 2022-02 rows of a book state a `timestamp`, later also the engine's `transactTime`; before they had no time.
"""

from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson

from engine.errors import BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import Channel, Coverage, Flag, Kind, PriceKind, Reference
from engine.schema import Status as S
from ingest.venues import Decoded, Limits, Stream, Venue
from ingest.venues._bitmex_emulation import INSTRUMENTS, emulation
from ingest.venues._bitmex_instruments import NAME, infer_instruments, parse_instruments
from ingest.venues._fields import LEVELS, identity, member
from ingest.venues._figures import interest, parts, price, rate, whole
from ingest.venues._reading import (
    Level,
    Reader,
    book,
    decimal,
    exact,
    instant,
    level,
    liquidations,
    named_streams,
    positive,
    references,
    status,
    touch,
    trades,
)

PATH: Final = "/realtime"
#: Topics of one subscribe frame.
TOPICS: Final = 20

#: Table, channel, first data within, silent at most (s; 0: exempt).
STREAMS: Final = (
    ("orderBookL2", Channel.DEPTH, 20, 30),
    ("quote", Channel.TOUCH, 20, 60),
    ("trade", Channel.TRADE, 0, 300),
    ("instrument", Channel.MARK, 20, 30),
    ("liquidation", Channel.LIQUIDATION, 0, 0),
)
SIDES: Final = {"Buy": 1, "Sell": -1}
ACTIONS: Final = ("partial", "insert", "update", "delete")
STATES: Final = {"Open": S.TRADING, "Closed": S.HALTED, "Settled": S.HALTED, "Unlisted": S.HALTED}
#: (id, side) -> price of each row of a book.
Book = dict[tuple[int, int], int]


def streams(symbols: Sequence[str]) -> tuple[Stream, ...]:
    """List every stream of some symbols."""
    return named_streams(STREAMS, symbols)


def subscribe(streams: Sequence[Stream], op: str = "subscribe") -> tuple[bytes, ...]:
    """Write the requests for some streams."""
    names = [stream.name for stream in streams]
    return tuple(orjson.dumps({"op": op, "args": part}) for part in parts(names, TOPICS))


def unsubscribe(streams: Sequence[Stream]) -> tuple[bytes, ...]:
    """Write the requests that end some streams."""
    return subscribe(streams, "unsubscribe")


class BitmexDecoder(Reader):
    """Decode tables; the state is the rows of each connection's books, by which updates find their prices."""

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        super().__init__(instruments)
        self._books: dict[int, dict[str, Book]] = defaultdict(dict)
        #: Books that broke beside another in the same frame, by connection.
        self._broken: dict[int, set[str]] = defaultdict(set)
        self._tables = {
            "trade": self._trades,
            "quote": self._quotes,
            "instrument": self._instruments_changed,
            "liquidation": self._liquidations,
            "funding": self._funding,
        }

    def forget(self, connection: int) -> None:
        """Forget a connection's books."""
        self._books.pop(connection, None)
        self._broken.pop(connection, None)

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what a frame says. Raises BadFrame; Gap where a book has no such row."""
        if frame == b"pong":
            return []
        content = whole(exact(frame))
        if "table" not in content:
            return self._notice(content)
        table, action = member(content, "table", str), content.get("action")
        if action not in ACTIONS:
            raise BadFrame("structure", f"action is {str(action)[:40]!r}, allowed are {', '.join(ACTIONS)}")
        entries = [whole(entry) for entry in member(content, "data", list)]
        if table == "orderBookL2":
            return self._depth(action, _grouped(content, entries), connection)
        read = self._tables.get(table)
        if read is None:
            known = ", ".join(["orderBookL2", *self._tables])
            raise BadFrame("unknown_channel", f"{table[:40]!r}, known are {known}")
        result = []
        for symbol, rows in _grouped({}, entries).items():
            result += read(action, self._instrument(symbol), rows)
        return result

    def _notice(self, content: dict[str, Any]) -> list[Decoded]:
        if "error" in content or content.get("success") is False:
            raise BadFrame("venue_error", str(content.get("error", content))[:200])
        if content.get("success") is True or "info" in content:
            return []
        raise BadFrame("structure", f"a frame has the keys {str(sorted(content))[:80]}, allowed is a table")

    def _depth(self, action: str, entries: dict[str, list[dict[str, Any]]], connection: int) -> list[Decoded]:
        read = {symbol: (self._instrument(symbol), rows) for symbol, rows in entries.items()}
        changes = {symbol: [_change(action, known, row) for row in rows] for symbol, (known, rows) in read.items()}
        if action == "partial":
            result = [self._whole(known, changes[s], _times(rows)) for s, (known, rows) in read.items()]
            # Only now that nothing was refused.
            self._broken[connection] -= changes.keys()
            for symbol, found in changes.items():
                self._books[connection][symbol] = {(id_, side): worth for id_, side, worth, _ in found if worth}
            return result
        result = []
        for symbol, (known, rows) in read.items():
            if symbol in self._broken[connection]:
                self._break(known, 0, read, connection)
            rows_of = self._books[connection].get(symbol)
            if rows_of is None:
                self.counts["before_partial"] += 1
                continue
            sides: dict[int, list[Level]] = {1: [], -1: []}
            for id_, side, worth, size in changes[symbol]:
                if action != "insert" and (id_, side) not in rows_of:
                    self._break(known, id_, read, connection)
                sides[side].append((worth or rows_of[id_, side], size))
                if action == "delete":
                    del rows_of[id_, side]
                elif worth:
                    rows_of[id_, side] = worth
            exchanged, published = _times(rows)
            result.append(book(known, Kind.DELTA, sides[1], sides[-1], exchanged=exchanged, published=published))
        return result

    def _whole(self, instrument: Instrument, rows: list[tuple[int, int, int, int]], times: tuple[int, int]) -> Decoded:
        bids, asks = ([(worth, size) for _, met, worth, size in rows if met == side] for side in (1, -1))
        return book(instrument, Kind.SNAPSHOT, bids, asks, exchanged=times[0], published=times[1])

    def _break(self, instrument: Instrument, id_: int, read: dict[str, Any], connection: int) -> None:
        """Give up the books of a frame: of one it is said now, of others with their next change."""
        for symbol in read:
            if self._books[connection].pop(symbol, None) is not None:
                self._broken[connection].add(symbol)
        self._broken[connection].discard(instrument.symbol)
        raise Gap(instrument.key, 0, id_)

    def _trades(self, action: str, instrument: Instrument, rows: list[dict[str, Any]]) -> list[Decoded]:
        prints = []
        for row in rows:
            kind = row.get("trdType", "Regular")
            if kind != "Regular":
                # A settlement or a reference price: nobody traded.
                self.counts[f"trade_{str(kind)[:20]}"] += 1
                continue
            side, name = SIDES.get(member(row, "side", str)), member(row, "trdMatchID", str)
            if side is None:
                raise BadFrame("bad_side", f"{row['side'][:20]!r}, allowed are Buy, Sell")
            worth = positive(decimal(row.get("price")), instrument.price_decimals)
            size = positive(decimal(row.get("size")), instrument.size_decimals)
            prints.append((instant(row.get("timestamp")), worth, size, _hashed(name), 1, side))
        return [trades(instrument, prints, flags=_history(action))] if prints else []

    def _quotes(self, action: str, instrument: Instrument, rows: list[dict[str, Any]]) -> list[Decoded]:
        return [
            touch(instrument, _best(instrument, row, "bid"), _best(instrument, row, "ask"), exchanged=_time(row))
            for row in rows
        ]

    def _instruments_changed(self, action: str, instrument: Instrument, rows: list[dict[str, Any]]) -> list[Decoded]:
        result = []
        for row in rows:
            met = {key: value for key, value in row.items() if value is not None}
            values = []
            if "markPrice" in met:
                values.append((Reference.MARK, price(instrument, met["markPrice"]), 0))
            if "indicativeSettlePrice" in met:
                values.append((Reference.INDEX, price(instrument, met["indicativeSettlePrice"]), 0))
            if "fundingRate" in met:
                following = instant(met["fundingTimestamp"]) if "fundingTimestamp" in met else 0
                values.append((Reference.FUNDING, rate(met["fundingRate"]), following))
            if "openInterest" in met:
                values.append((Reference.OPEN_INTEREST, interest(instrument, met["openInterest"]), 0))
            if values:
                result.append(references(instrument, Channel.MARK, values, exchanged=_time(row)))
            state = member(met, "state", str) if "state" in met else "Open"
            if state in STATES and "state" in met and (action == "update" or state != "Open"):
                result.append(status(instrument, STATES[state], exchanged=_time(row)))
        return result

    def _liquidations(self, action: str, instrument: Instrument, rows: list[dict[str, Any]]) -> list[Decoded]:
        if action in ("update", "delete"):
            self.counts[f"liquidation_{action}"] += len(rows)
            return []
        orders = []
        for row in rows:
            side = SIDES.get(member(row, "side", str))
            if side is None:
                raise BadFrame("bad_side", f"{row['side'][:20]!r}, allowed are Buy, Sell")
            worth = positive(decimal(row.get("price")), instrument.price_decimals)
            orders.append((0, worth, positive(decimal(row.get("leavesQty")), instrument.size_decimals), 0, -side))
        return [liquidations(instrument, orders, PriceKind.ORDER_LIMIT, Coverage.ALL, flags=_history(action))]

    def _funding(self, action: str, instrument: Instrument, rows: list[dict[str, Any]]) -> list[Decoded]:
        return [
            references(
                instrument,
                Channel.MARK,
                [(Reference.FUNDING, rate(row.get("fundingRate")), instant(row.get("timestamp")))],
                exchanged=instant(row.get("timestamp")),
            )
            for row in rows
        ]


def _grouped(content: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Sort rows by symbol; an empty table is that of the symbol it was asked for."""
    asked_for = content.get("filter")
    result: dict[str, list[dict[str, Any]]] = {}
    if not entries and type(asked_for) is dict and "symbol" in asked_for:
        result[member(asked_for, "symbol", str)] = []
    for entry in entries:
        result.setdefault(member(entry, "symbol", str), []).append(entry)
    if any(len(rows) > LEVELS for rows in result.values()):
        raise BadFrame("too_long", f"a table has {len(entries)} rows, allowed are {LEVELS} a symbol")
    return result


def _change(action: str, instrument: Instrument, row: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return id, side, price (0: not stated) and size (0: deleted) of a book's row."""
    side = SIDES.get(member(row, "side", str))
    if side is None:
        raise BadFrame("bad_side", f"{row['side'][:20]!r}, allowed are Buy, Sell")
    worth = 0
    if action in ("partial", "insert") or row.get("price") is not None:
        worth = positive(decimal(row.get("price")), instrument.price_decimals)
    size = 0 if action == "delete" else positive(decimal(row.get("size")), instrument.size_decimals)
    return identity(row, "id"), side, worth, size


def _time(row: dict[str, Any]) -> int:
    return 0 if row.get("timestamp") is None else instant(row["timestamp"])


def _times(rows: list[dict[str, Any]]) -> tuple[int, int]:
    """Return when the engine made the newest of some rows, and when it was published; 0 where it is not said."""
    published = max(map(_time, rows), default=0)
    engine = [instant(row["transactTime"]) for row in rows if row.get("transactTime") is not None]
    return max(engine, default=published), published if engine else 0


def _best(instrument: Instrument, row: dict[str, Any], side: str) -> Level:
    worth, size = row.get(f"{side}Price"), row.get(f"{side}Size")
    return (0, 0) if worth is None or not size else level(instrument, decimal(worth), decimal(size))


def _hashed(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 1


def _history(action: str) -> int:
    return int(Flag.HISTORY) if action == "partial" else 0


VENUE: Final = Venue(
    name=NAME,
    sockets={"public": "wss://ws.bitmex.com"},
    hosts=("www.bitmex.com",),
    rest="https://www.bitmex.com",
    limits=Limits(
        sends=3,
        connects=40,
        weight=30,
        streams=200,
        # None is documented; a daily change costs nothing.
        lifetime=24 * 3600,
        ping_interval=None,
        ping_timeout=None,
        # The whole book of XBTUSD takes 700 KB.
        max_size=16 << 20,
    ),
    streams=streams,
    url=lambda base, socket, streams: base + PATH,
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    decoder=BitmexDecoder,
    snapshot_path=lambda symbol: None,
    open_interest_path=lambda symbol: None,
    instruments_path=INSTRUMENTS,
    parse_instruments=parse_instruments,
    infer_instruments=infer_instruments,
    weight=lambda path: 1,
    sequence="none",
    resync="resubscribe",
    numbered=True,
    heartbeat=(b"ping", 5.0),
    emulation=emulation(),
)
