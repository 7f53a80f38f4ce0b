"""Batches of market rows in, CSV files as Tardis has them out: books, trades, liquidations and derivative tickers.

One `.csv.gz` an instrument and layout, named as Tardis names them after the day of its first row; all are published at
`close` or none. Numbers are printed with all the decimals of their instrument. Stamps are microseconds, and the local
ones of an instrument grow with every message, by a microsecond at the least: so its messages stay apart and in order.

Tardis has no place for: nanoseconds, publish and monotonic stamps; ids of messages, checksums, connections; from when
on a book was not known (GAP, RESYNC, STALE, STATUS: the snapshot that mends it is told); the venue's own best bid and
ask (TOUCH); trades of before the subscription (HISTORY); how many fills a trade has; what price a liquidation states,
its average, its coverage; insurance funds and deleveraging; what a contract is worth. `left_out` counts what it can.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from gzip import GzipFile
from pathlib import Path
from typing import Final

from engine.instrument import Instrument
from engine.schema import FUNDING_DECIMALS, Batch, Flag, Kind, Reference, Rows
from sinks.drafts import Drafts
from sinks.printed import PrintedSink

HEAD: Final = "exchange,symbol,timestamp,local_timestamp"
COLUMNS: Final = {
    "incremental_book_L2": "is_snapshot,side,price,amount",
    "trades": "id,side,price,amount",
    "liquidations": "id,side,price,amount",
    "derivative_ticker": "funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,"
    "mark_price",
}
MICROSECOND: Final = 1_000
#: Lines that are compressed at once.
LINES: Final = 4_096
BOOK: Final = (Kind.SNAPSHOT, Kind.DELTA)
TOLD: Final = frozenset({Reference.MARK, Reference.INDEX, Reference.FUNDING, Reference.OPEN_INTEREST})


class TardisSink(PrintedSink):
    """Write files of Tardis' layouts; leaving the block without an error closes, with one aborts."""

    def __init__(self, folder: Path, named: Callable[[str], tuple[str, str]]) -> None:
        """Begin; `named` gives Tardis' exchange and symbol of an instrument's key."""
        super().__init__(folder)
        #: Rows written, by layout.
        self.counts = dict.fromkeys(COLUMNS, 0)
        self._named = named
        self._tables: dict[tuple[str, str], _Table] = {}
        #: Last local stamp, us, and newest references of each instrument.
        self._last: dict[str, int] = {}
        self._references: dict[str, dict[int, tuple[int, int]]] = {}

    def _end(self) -> None:
        for table in self._tables.values():
            table.end()

    def _put(self, instrument: Instrument, batch: Batch) -> None:
        levels = trades = references = liquidations = 0
        names = ("kind", "count", "bids", "flags", "received", "exchanged")
        for kind, count, bids, flags, received, exchanged in zip(
            *(batch.messages[n].tolist() for n in names), strict=True
        ):
            layout = ""
            lines: Iterator[tuple[int, str]] = iter(())
            if kind in BOOK:
                layout, lines = (
                    "incremental_book_L2",
                    _levels(instrument, kind, bids, batch.levels[levels : levels + count]),
                )
            elif kind == Kind.TRADE and not flags & Flag.HISTORY:
                layout, lines = "trades", _trades(instrument, batch.trades[trades : trades + count])
            elif kind == Kind.LIQUIDATION and not flags & Flag.HISTORY:
                rows = batch.liquidations[liquidations : liquidations + count]
                layout, lines = "liquidations", _liquidations(instrument, rows)
            elif kind == Kind.REFERENCE:
                rows = batch.references[references : references + count]
                layout, lines = "derivative_ticker", self._ticker(instrument, rows)
            levels += count * (kind <= Kind.TOUCH)
            trades += count * (kind == Kind.TRADE)
            liquidations += count * (kind == Kind.LIQUIDATION)
            references += count * (kind == Kind.REFERENCE)
            found = list(lines)
            if not found and kind not in (Kind.INSTRUMENT, *BOOK):
                self.left_out[Kind(kind).name] += 1
            if found:
                local = received // MICROSECOND
                last = self._last.get(instrument.key, 0)
                # Parts of one message are one message there.
                local = last if flags & Flag.CONTINUED else max(local, last + 1)
                self._last[instrument.key] = local
                self._table(instrument, layout, local).add(local, exchanged // MICROSECOND, found)
                self.counts[layout] += len(found)

    def _table(self, instrument: Instrument, layout: str, local: int) -> "_Table":
        table = self._tables.get((instrument.key, layout))
        if table is None:
            exchange, symbol = self._named(instrument.key)
            date = datetime.fromtimestamp(local // 1_000_000, UTC).date()
            name = f"{exchange}_{layout}_{date}_{symbol.replace('/', '-').replace(':', '-')}.csv.gz"
            with self._drafts.guarded():
                table = _Table(self._drafts, name, f"{exchange},{symbol}", f"{HEAD},{COLUMNS[layout]}")
            self._tables[instrument.key, layout] = table
        return table

    def _ticker(self, instrument: Instrument, rows: Rows) -> Iterator[tuple[int, str]]:
        """Tell everything that is known, where something of what is told there was said again."""
        known = self._references.setdefault(instrument.key, {})
        new = {int(row["what"]): (int(row["value"]), int(row["next"])) for row in rows if row["what"] in TOLD}
        if not new:
            return
        known |= new
        scales = {
            Reference.FUNDING: FUNDING_DECIMALS,
            Reference.OPEN_INTEREST: instrument.size_decimals,
            Reference.INDEX: instrument.price_decimals,
            Reference.MARK: instrument.price_decimals,
        }
        funding, interest, index, mark = (
            _printed(known[what][0], places) if what in known else "" for what, places in scales.items()
        )
        following = known.get(Reference.FUNDING, (0, 0))[1] // MICROSECOND
        yield 0, f"{following or ''},{funding},,{interest},,{index},{mark}"


class _Table:
    """One file while it is written."""

    def __init__(self, drafts: Drafts, name: str, head: str, columns: str) -> None:
        self._drafts, self._head = drafts, head
        # No name and no time in its header: same rows, same bytes.
        self._file = GzipFile(filename="", mode="wb", fileobj=drafts.open(name), mtime=0, compresslevel=6)
        self._lines = [columns + "\n"]

    def add(self, local: int, exchanged: int, lines: list[tuple[int, str]]) -> None:
        """Add a message: of each line its own exchange time, us, or 0 for the message's, and its other columns."""
        for own, line in lines:
            self._lines.append(f"{self._head},{own or exchanged or local},{local},{line}\n")
        if len(self._lines) >= LINES:
            self._compress()

    def end(self) -> None:
        """Write what waits."""
        self._compress()
        self._file.close()

    def _compress(self) -> None:
        with self._drafts.guarded():
            self._file.write("".join(self._lines).encode())
        self._lines = []


def _levels(instrument: Instrument, kind: int, bids: int, rows: Rows) -> Iterator[tuple[int, str]]:
    whole = "true" if kind == Kind.SNAPSHOT else "false"
    for index, (price, size) in enumerate(rows.tolist()):
        yield 0, f"{whole},{'bid' if index < bids else 'ask'},{_pair(instrument, price, size)}"


def _trades(instrument: Instrument, rows: Rows) -> Iterator[tuple[int, str]]:
    for row in rows:
        side = "buy" if row["side"] > 0 else "sell"
        yield (
            int(row["exchanged"]) // MICROSECOND,
            f"{row['id'] or ''},{side},{_pair(instrument, row['price'], row['size'])}",
        )


def _liquidations(instrument: Instrument, rows: Rows) -> Iterator[tuple[int, str]]:
    for row in rows:
        # The order's side: that of a short which is closed buys.
        side = "sell" if row["side"] > 0 else "buy"
        yield int(row["exchanged"]) // MICROSECOND, f",{side},{_pair(instrument, row['price'], row['size'])}"


def _pair(instrument: Instrument, price: int, size: int) -> str:
    return f"{_printed(int(price), instrument.price_decimals)},{_printed(int(size), instrument.size_decimals)}"


def _printed(value: int, decimals: int) -> str:
    """Print an integer at a scale with all its decimals."""
    digits = f"{abs(value):0{decimals + 1}d}"
    text = f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits
    return f"-{text}" if value < 0 else text
