"""What a row and a message of Binance's flat files may say; messages in, findings and decoded messages out.

Source of the bounds: the venue's documentation for ids and flags (`pu` equals the previous event's `u`; spot's `U` its
`u` + 1; trade ids grow by one), and the recorded day for clocks: the exchange is never more than 1 ms ahead of the
receiver there, and a message never more than 0.4 s late. A stamp a second late is of a recorder that could not follow,
or was changed; its time is not one to be used either way. A trade more than 10 % off the one before is beyond what the
venue's own price protection lets through.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Kind
from engine.schema import TRADE as TRADE_ROW
from ingest.decimals import scaled
from ingest.findings import Findings
from ingest.flatfiles import Row
from ingest.rows import message as message_row
from ingest.venues import SECOND, Decoded
from ingest.venues._binance_table_cells import (
    DAY,
    DIFF,
    FINAL,
    SNAPSHOT,
    TRADE,
    cell_rules,
    is_id,
    plain,
    size,
    stamp,
)

if TYPE_CHECKING:
    from ingest.venues._binance_tables import Survey

#: The exchange's clock may be ahead of the receiver's by so much, and a message late by so much, ns.
AHEAD: Final = 1_000_000
LATE: Final = SECOND
#: The same of a REST body, which waits in caches: its clocks are the exchange's, its request's the receiver's.
BODY_LATE: Final = 3 * SECOND
#: A trade is at most this share off the one before.
MOST_MOVE: Final = 0.1
_RECEIVED, _PUBLISHED, _EXCHANGED = "TimestampOfReceive", "EventTime", "TransactionTime"
_FIRST, _LAST, _PREVIOUS = "FirstUpdateId", "FinalUpdateId", "FinalUpdateIdInLastStream"
_REQUESTED, _ANSWERED = "TimestampOfRequest", "MessageOutputTime"


class Rules:
    """What one file's messages must be, and what of that depends on the messages before."""

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        known: "Survey",
        instrument: Instrument,
        sequence: Literal["previous", "consecutive", "linked", "none"],
        findings: Findings,
    ) -> None:
        self._path, self._findings = path, findings
        self._columns, self._known, self._instrument = columns, known, instrument
        self._consecutive = sequence == "consecutive"
        self._cells = {kind: cell_rules(kind, self._columns, known) for kind in (DIFF, TRADE, SNAPSHOT, FINAL)}
        #: (kind, column) -> the newest stamp that nothing speaks against, ns.
        self._newest: dict[tuple[str, str], int] = {}
        #: Newest diff: what it follows, its id, its first row and number of rows.
        self._chain: tuple[int, int, int, int] | None = None
        #: What the next row's count may be.
        self._next_counts: tuple[int, ...] = ()
        #: Ids that the next trade may have, and prices of the last good trade and the last trade.
        self._next_trades: tuple[int, ...] = ()
        self._prices = (0, 0)

    def check(self, kind: str, rows: list[Row]) -> tuple[int, Decoded, int] | None:
        """Return receive time, message, and the id to fall back to (-1: none); None for a message with findings."""
        if kind not in self._cells:
            self._say(rows, ("StreamType",), kind, ", ".join(self._cells))
            return None
        before = len(self._findings)
        bad = [self._check_cells(kind, row) for row in rows]
        names = [name for name in _MESSAGES[kind] if name in self._columns]
        values = {name: _most(name, rows, bad) for name in names}
        for row, wrong in zip(rows, bad, strict=True):
            others = [name for name in names if name not in wrong and row.cells[name] != values[name]]
            if others:
                met = ", ".join(row.cells[name] for name in others)
                allowed = ", ".join(values[name] for name in others) + ", as the message's other rows say"
                self._say([row], others, met, allowed)
                wrong.update(others)
        self._check_clocks(kind, rows, values)
        self._check_merged(kind, rows, bad)
        if kind != TRADE:
            self._check_levels(kind, rows, bad)
        since = -1
        good = len(self._findings) == before
        if kind == DIFF:
            good, since = self._check_chain(rows, values, good)
        elif kind == TRADE:
            good = self._check_trade(rows[0], bad[0], good)
        if "ServiceId" in self._columns:
            self._check_count(rows, bad)
        if not good:
            return None
        place = "TimestampOfReceiveUS" if "TimestampOfReceiveUS" in self._columns else _RECEIVED
        return stamp(rows[0].cells[place]) or 0, self._decoded(kind, rows, values), since

    def _say(self, rows: Sequence[Row], columns: Sequence[str], met: str, allowed: str) -> None:
        self._findings.add(self._path, rows[0].number, columns, met, allowed, len(rows))

    # Cells, each by itself.

    def _check_cells(self, kind: str, row: Row) -> set[str]:
        """Add what single cells say wrong; return their columns."""
        cells, wrong = row.cells, set()
        for name, (holds, allowed) in self._cells[kind].items():
            if not holds(cells[name]):
                wrong.add(name)
                self._say([row], (name,), repr(cells[name]), allowed)
        end = self._known.day + DAY
        if kind in (DIFF, TRADE) and _RECEIVED in wrong and (stamp(cells[_PUBLISHED]) or 0) >= end:
            wrong.add(_PUBLISHED)
            self._say([row], (_PUBLISHED,), cells[_PUBLISHED], f"before the file's day ends, {end // 10**6} ms")
        if kind == TRADE:
            # What is not a trade, but an entry of the insurance fund, has an id, and no price.
            zeros = [name for name in ("Price", "Quantity") if name not in wrong and not size(cells[name])]
            if zeros and cells.get("XUnknownParameter", "MARKET") == "MARKET":
                wrong.update(zeros)
                self._say(
                    [row], zeros, ", ".join(cells[name] for name in zeros), "more than 0 in a trade of the market"
                )
        return wrong

    # Rows of one message beside one another.

    def _check_clocks(self, kind: str, rows: list[Row], values: dict[str, str]) -> None:
        """Hold the clocks of a message against one another and against those of the message before."""
        times = {name: at for name in values if name in _CLOCKS and (at := stamp(values[name])) is not None}
        # A receive time of another day is told, and says nothing of the others.
        if not self._cells[kind][_RECEIVED][0](values[_RECEIVED]):
            times.pop(_RECEIVED, None)
        doubtful: set[str] = set()
        for later, earlier, ahead, late in _PAIRS[kind]:
            if later in times and earlier in times and not -ahead <= times[later] - times[earlier] <= late:
                delay = (times[later] - times[earlier]) / 1e6
                met = f"{values[later]}, {values[earlier]}: {delay:.3f} ms between them"
                self._say(rows, (later, earlier), met, f"{-ahead / 1e6:.0f} to {late / 1e6:.0f} ms")
                doubtful |= {later, earlier}
        for name, at in times.items():
            if name in doubtful:
                continue
            if at < self._newest.get((kind, name), 0):
                allowed = f"{self._newest[kind, name] // 10**3} us or later, as the message before"
                self._say(rows, (name,), values[name], allowed)
            else:
                self._newest[kind, name] = at

    def _check_merged(self, kind: str, rows: list[Row], bad: list[set[str]]) -> None:
        """Check what only merged files have: the place of a row among the others."""
        if "IsLast" not in self._columns:
            return
        for row, wrong in zip(rows, bad, strict=True):
            cells = row.cells
            last = "1" if row is rows[-1] else "0"
            if "IsLast" not in wrong and cells["IsLast"] != last:
                self._say(
                    [row], ("IsLast",), cells["IsLast"], f"{last}, as the message ends with row {rows[-1].number}"
                )
            place, received = stamp(cells["TimestampOfReceiveUS"]), stamp(cells[_RECEIVED])
            if place is None or received is None or _RECEIVED in wrong:
                continue
            # A snapshot takes effect with the diff that follows it.
            if place < received or (kind != SNAPSHOT and place != received):
                allowed = f"{received // 1000}, the receive time in us{' or later' if kind == SNAPSHOT else ''}"
                self._say([row], ("TimestampOfReceiveUS",), cells["TimestampOfReceiveUS"], allowed)

    def _check_count(self, rows: list[Row], bad: list[set[str]]) -> None:
        """Check that merged files count their rows. What is missing is no fault of the rows that are there."""
        for row, wrong in zip(rows, bad, strict=True):
            expected = self._next_counts[-1] if self._next_counts else -1
            if "ServiceId" in wrong:
                self._next_counts = (expected + 1,) if self._next_counts else ()
                continue
            count = int(row.cells["ServiceId"])
            if not self._next_counts or count in self._next_counts:
                self._next_counts = (count + 1,)
            else:
                self._say([row], ("ServiceId",), str(count), f"{expected}, one more than the row before")
                self._next_counts = (count + 1, expected + 1)

    def _check_levels(self, kind: str, rows: list[Row], bad: list[set[str]]) -> None:
        """Look for levels that come twice, and of whole books for those that are not best first."""
        seen: dict[tuple[str, int], int] = {}
        before: tuple[str, int] | None = None
        for row, wrong in zip(rows, bad, strict=True):
            if wrong & {"IsAsk", "Price"}:
                continue
            side, price = row.cells["IsAsk"], size(row.cells["Price"]) or 0
            if (side, price) in seen:
                again = f"side {side}, price {row.cells['Price']} again"
                self._say([row], ("IsAsk", "Price"), again, f"once a message; row {seen[side, price]} has it")
                continue
            seen[side, price] = row.number
            rank = (side, price if side == "1" else -price)
            if kind != DIFF and before is not None and rank < before:
                self._say(
                    [row], ("IsAsk", "Price"), f"side {side}, {row.cells['Price']}", "bids, then asks, best first"
                )
            before = rank

    # Messages one after another.

    def _check_chain(self, rows: list[Row], values: dict[str, str], good: bool) -> tuple[bool, int]:
        """Hold a diff's ids against the one before; say whether it may be used, and what to fall back to."""
        ids = [name for name in (_FIRST, _LAST, _PREVIOUS) if name in values]
        if not all(is_id(values[name]) for name in ids):
            self._chain = None
            return False, -1
        first, last = int(values[_FIRST]), int(values[_LAST])
        link = _FIRST if self._consecutive else _PREVIOUS
        previous = first - 1 if self._consecutive else int(values[_PREVIOUS])
        if not previous < last or first > last:
            self._say(rows, ids, ", ".join(values[name] for name in ids), "first <= last, previous < last")
            self._chain = None
            return False, -1
        before, self._chain = self._chain, (previous, last, rows[0].number, len(rows))
        if before is None or previous == before[1]:
            return good, -1
        known, row, count = before[1:]
        if (previous, last) == (before[0], known):
            self._say(rows, ids, ", ".join(values[name] for name in ids), f"ids after {known}: row {row} has these")
            return False, -1
        start = " + 1" if self._consecutive else ""
        allowed = f"{known + self._consecutive}, FinalUpdateId{start} of the message of row {row}"
        self._say(rows, (link,), values[link], allowed)
        if previous > known:
            # Messages are missing, which is no fault of this one.
            return good, -1
        self._findings.add(
            self._path,
            row,
            (_LAST,),
            str(known),
            f"{previous}, which the message of row {rows[0].number} follows",
            count,
        )
        return good, before[0]

    def _check_trade(self, row: Row, wrong: set[str], good: bool) -> bool:
        """Hold a trade against the one before; say whether it may be used."""
        cells = row.cells
        if "TradeId" not in wrong:
            number = int(cells["TradeId"])
            if self._next_trades and number not in self._next_trades:
                expected = self._next_trades[-1]
                self._say([row], ("TradeId",), str(number), f"{expected}, one more than the trade before")
                # Either this id is wrong, or trades are missing before it: the next one tells.
                self._next_trades = (number + 1, expected, expected + 1)
                good = False
            else:
                self._next_trades = (number + 1,)
        elif self._next_trades:
            self._next_trades = (self._next_trades[-1] + 1,)
        price = size(cells["Price"]) if "Price" not in wrong else None
        if not price:
            return False
        near = [other for other in self._prices if other and abs(price - other) <= MOST_MOVE * other]
        if any(self._prices) and not near:
            self._say([row], ("Price",), cells["Price"], f"at most {MOST_MOVE:.0%} off the trade before")
            good = False
        self._prices = (price if near or not any(self._prices) else self._prices[0], price)
        return good

    # Rows of ours.

    def _decoded(self, kind: str, rows: list[Row], values: dict[str, str]) -> Decoded:
        instrument = self._instrument
        exchanged = stamp(values.get(_EXCHANGED, values.get(_PUBLISHED, ""))) or 0
        published = stamp(values.get(_PUBLISHED, values.get(_ANSWERED, ""))) or 0
        if kind == TRADE:
            cells = rows[0].cells
            trade = np.zeros(1, TRADE_ROW)
            trade["exchanged"], trade["id"], trade["fills"] = exchanged, int(cells["TradeId"]), 1
            trade["price"] = scaled(plain(cells["Price"]), instrument.price_decimals)
            trade["size"] = scaled(plain(cells["Quantity"]), instrument.size_decimals)
            trade["side"] = -1 if cells["IsBuyerMarketMaker"] == "1" else 1
            number = int(cells["TradeId"])
            row = message_row(Kind.TRADE, exchanged=exchanged, published=published, first=number, last=number, count=1)
            return Decoded(instrument.symbol, Channel.TRADE, row, trade)
        levels = np.zeros(len(rows), LEVEL)
        levels["price"] = [scaled(plain(row.cells["Price"]), instrument.price_decimals) for row in rows]
        levels["size"] = [scaled(plain(row.cells["Quantity"]), instrument.size_decimals) for row in rows]
        # Spot's rows are not always bids first.
        asks = np.array([row.cells["IsAsk"] == "1" for row in rows])
        levels = levels[np.argsort(asks, kind="stable")]
        first, last, previous = 0, 0, -1
        if kind == DIFF:
            first, last, previous = int(values[_FIRST]), int(values[_LAST]), int(values.get(_PREVIOUS, -1))
        elif kind == SNAPSHOT:
            last = int(values["LastUpdateId"])
        else:
            # The book after the newest of the diffs that its levels came with.
            last = max(int(row.cells[_LAST]) for row in rows)
            exchanged = max(stamp(row.cells[_EXCHANGED]) or 0 for row in rows)
            published = max(stamp(row.cells[_PUBLISHED]) or 0 for row in rows)
        row = message_row(
            Kind.DELTA if kind == DIFF else Kind.SNAPSHOT,
            exchanged=exchanged,
            published=published,
            first=first,
            last=last,
            previous=previous,
            count=len(rows),
            bids=len(rows) - int(asks.sum()),
        )
        return Decoded(instrument.symbol, Channel.DEPTH, row, levels)


#: Columns that all rows of a message share, clocks first.
_MESSAGES: Final = {
    DIFF: (_RECEIVED, _PUBLISHED, _EXCHANGED, _FIRST, _LAST, _PREVIOUS),
    TRADE: (_RECEIVED, _PUBLISHED, _EXCHANGED),
    SNAPSHOT: (_RECEIVED, _EXCHANGED, _REQUESTED, _ANSWERED, "LastUpdateId"),
    FINAL: (_RECEIVED,),
}
_CLOCKS: Final = frozenset((_RECEIVED, _PUBLISHED, _EXCHANGED, _REQUESTED, _ANSWERED))
#: Later clock, earlier clock, by how much it may be before it, and by how much after, ns.
_PAIRS: Final = {
    DIFF: ((_RECEIVED, _PUBLISHED, AHEAD, LATE), (_PUBLISHED, _EXCHANGED, AHEAD, LATE)),
    TRADE: ((_RECEIVED, _PUBLISHED, AHEAD, LATE), (_PUBLISHED, _EXCHANGED, AHEAD, LATE)),
    SNAPSHOT: (
        (_RECEIVED, _REQUESTED, 0, BODY_LATE),
        (_RECEIVED, _ANSWERED, AHEAD, BODY_LATE),
        (_ANSWERED, _EXCHANGED, AHEAD, BODY_LATE),
    ),
    FINAL: (),
}


def _most(name: str, rows: list[Row], bad: list[set[str]]) -> str:
    """Return what most rows say; where as many say this and that, what the clocks beside it allow, or the first."""
    said = Counter(row.cells[name] for row, wrong in zip(rows, bad, strict=True) if name not in wrong)
    if not said:
        return rows[0].cells[name]
    (value, most), *others = said.most_common()
    if name == _PUBLISHED and others and others[0][1] == most:
        for row in rows:
            at, received = stamp(row.cells[name]), stamp(row.cells[_RECEIVED])
            if at and received and said[row.cells[name]] == most and -AHEAD <= received - at <= LATE:
                return row.cells[name]
    return value
