"""Batches of market rows in, hftbacktest's event arrays out: a compressed `.npz` an instrument, all at `close` or none.

`local_ts` is the receive time, `exch_ts` the exchange's, both in ns. Events that came in another order than they
happened are there twice, once for each clock, as that reader wants them. Within a message deletions come first, for
there a level that crosses the other side's best moves that best. A snapshot is a clearing event and its levels; a book
that stops being known (GAP, RESYNC) is a clearing event. What has no time of the exchange gets that of the book's event
before it.

It has no place for: ids of messages, publish and monotonic stamps, liquidations, references, STATUS, STALE, TOUCH,
HISTORY, how many fills a trade has. `left_out` counts what it can count. The instrument lies beside the events
(`instrument`, `key`), where that reader does not look. Clocks that are apart are not mended: latencies may be negative,
as they were recorded.
"""

from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias
from urllib.parse import quote
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadRecord
from engine.events import BUY, CLEAR, DEPTH, EVENT, EXACT, EXCHANGE, LOCAL, SELL, SNAPSHOT, TRADE, WHAT
from engine.instrument import Instrument
from engine.schema import Batch, Flag, Kind, Rows
from sinks.drafts import Drafts
from sinks.printed import PrintedSink

Events: TypeAlias = NDArray[np.void]

#: Rows that are compressed at once.
ROWS: Final = 1 << 16
#: Kinds that end what is known of the book.
LOST: Final = (Kind.GAP, Kind.RESYNC)
TAKEN: Final = (Kind.SNAPSHOT, Kind.DELTA, Kind.TRADE, Kind.INSTRUMENT, *LOST)


class HftbacktestSink(PrintedSink):
    """Write hftbacktest's files; leaving the block without an error closes, with one aborts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        #: Events written, by what they are; one that is there for each clock counts once.
        self.counts = {"depth": 0, "trade": 0}
        self._files: dict[str, _File] = {}

    def _end(self) -> None:
        for file in self._files.values():
            file.end()

    def abort(self) -> None:
        """Remove what is not published."""
        for file in self._files.values():
            file.drop()
        super().abort()

    def _put(self, instrument: Instrument, batch: Batch) -> None:
        file = self._files.get(instrument.key)
        if file is None:
            file = self._files[instrument.key] = _File(self._drafts, instrument)
        self._count(batch)
        file.add(instrument, batch)

    def _count(self, batch: Batch) -> None:
        kinds, history = batch.messages["kind"], (batch.messages["flags"] & Flag.HISTORY) > 0
        out = ~np.isin(kinds, TAKEN) | ((kinds == Kind.TRADE) & history)
        for kind in kinds[out].tolist():
            self.left_out[Kind(kind).name] += 1
        for name, own in (("depth", np.isin(kinds, TAKEN[:2])), ("trade", (kinds == Kind.TRADE) & ~history)):
            self.counts[name] += int(batch.messages["count"][own].sum())


class _File:
    """One instrument's events: spooled as they come, put in the order of both clocks at the end."""

    def __init__(self, drafts: Drafts, instrument: Instrument) -> None:
        venue, _, symbol = instrument.key.partition(":")
        self._drafts, self._instrument = drafts, instrument
        self._final = drafts.open(f"{quote(venue, safe='')}_{quote(symbol, safe='')}.npz")
        self._spool: BinaryIO = _spool(drafts.folder)

    def add(self, instrument: Instrument, batch: Batch) -> None:
        """Take messages of one instrument."""
        before = self._instrument
        if (before.price_decimals, before.size_decimals) != (instrument.price_decimals, instrument.size_decimals):
            raise BadRecord(f"the decimals of {instrument.key} change, allowed in one file are the same throughout")
        self._instrument = instrument
        events = _events(instrument, batch)
        with self._drafts.guarded():
            self._spool.write(events.tobytes())

    def end(self) -> None:
        """Write the archive."""
        self._spool.flush()
        self._spool.seek(0)
        size = self._spool.seek(0, 2)
        events = np.memmap(self._spool, EVENT, "r", shape=(size // EVENT.itemsize,)) if size else np.zeros(0, EVENT)
        stamps = _exchange_stamps(events)
        order, bits = _order(stamps)
        with ZipFile(self._final, "w", ZIP_DEFLATED) as archive:
            with archive.open(_entry("data"), "w", force_zip64=True) as out:
                header = {"descr": np.lib.format.dtype_to_descr(EVENT), "fortran_order": False, "shape": (len(order),)}
                np.lib.format.write_array_header_1_0(out, header)
                for begin in range(0, len(order), ROWS):
                    chosen = order[begin : begin + ROWS]
                    rows = np.array(events[chosen])
                    rows["exch_ts"] = stamps[chosen]
                    rows["ev"] |= bits[begin : begin + ROWS]
                    out.write(rows.tobytes())
            for name, value in (("instrument", self._instrument.row()), ("key", np.array(self._instrument.key))):
                with archive.open(_entry(name), "w") as out:
                    np.lib.format.write_array(out, value, allow_pickle=False)
        self.drop()

    def drop(self) -> None:
        """Forget what is spooled."""
        self._spool.close()


def _spool(folder: Path) -> BinaryIO:
    from tempfile import TemporaryFile

    return TemporaryFile(dir=folder)


def _entry(name: str) -> ZipInfo:
    """Name a member without the time of writing: same rows, same bytes."""
    entry = ZipInfo(f"{name}.npy")
    entry.compress_type = ZIP_DEFLATED
    return entry


def _events(instrument: Instrument, batch: Batch) -> Events:
    """Make the events of messages, in the order in which they came, without the bits of the clocks."""
    messages = batch.messages
    kinds, counts = messages["kind"], messages["count"].astype(np.int64)
    number = np.arange(len(messages))
    book = kinds <= Kind.TOUCH
    whose = np.repeat(number[book], counts[book])
    index = np.arange(len(whose)) - np.repeat(np.cumsum(counts[book]) - counts[book], counts[book])
    kept = kinds[whose] != Kind.TOUCH
    bid = index < messages["bids"][whose]
    levels = np.zeros(len(whose), EVENT)
    levels["ev"] = np.where(kinds[whose] == Kind.SNAPSHOT, SNAPSHOT, DEPTH) | np.where(bid, BUY, SELL)
    levels["exch_ts"] = messages["exchanged"][whose]
    _price(instrument, batch.levels, levels)
    whole = (kinds == Kind.SNAPSHOT) & ((messages["flags"] & Flag.CONTINUED) == 0)
    cleared = number[whole | np.isin(kinds, LOST)]
    clears = np.zeros(len(cleared), EVENT)
    clears["ev"], clears["exch_ts"] = CLEAR, messages["exchanged"][cleared]
    traded = np.repeat(number[kinds == Kind.TRADE], counts[kinds == Kind.TRADE])
    trades = np.zeros(len(traded), EVENT)
    trades["ev"] = np.where(batch.trades["side"] > 0, BUY, SELL) | TRADE
    stamps = batch.trades["exchanged"]
    trades["exch_ts"] = np.where(stamps > 0, stamps, messages["exchanged"][traded])
    trades["order_id"] = np.maximum(batch.trades["id"], 0)
    _price(instrument, batch.trades, trades)
    past = (messages["flags"][traded] & Flag.HISTORY) > 0
    events = np.concatenate((clears, levels[kept], trades[~past]))
    owner = np.concatenate((cleared, whose[kept], traded[~past]))
    # A clearing comes first, then deletions.
    rank = np.concatenate((np.zeros(len(cleared)), 1 + (levels["qty"][kept] > 0), np.ones(int((~past).sum()))))
    events["local_ts"] = messages["received"][owner]
    return events[np.lexsort((rank, owner))]


def _price(instrument: Instrument, rows: Rows, events: Events) -> None:
    """Give prices and sizes as the floats that are nearest to them. Raises BadRecord where digits would be lost."""
    for ours, theirs, places in (
        ("price", "px", instrument.price_decimals),
        ("size", "qty", instrument.size_decimals),
    ):
        large = np.flatnonzero(rows[ours] >= EXACT)
        if len(large):
            raise BadRecord(
                f"{instrument.key} has a {ours} of {rows[ours][large[0]]} (wire decimals), allowed are 53 bits"
            )
        events[theirs] = rows[ours] / 10.0**places


def _exchange_stamps(events: Any) -> NDArray[np.int64]:
    """Give every event an exchange time: one that has none keeps its place among the book's events."""
    stamps = np.array(events["exch_ts"], np.int64)
    unknown = stamps <= 0
    if not unknown.any():
        return stamps
    book = np.asarray((events["ev"] & WHAT) != TRADE)
    known = np.flatnonzero(book & ~unknown)
    if not len(known):
        known = np.flatnonzero(~unknown)
    if not len(known):
        return np.array(events["local_ts"], np.int64)
    # Before the first that is known there is only that one.
    before = known[np.maximum(np.searchsorted(known, np.flatnonzero(unknown), "right") - 1, 0)]
    stamps[unknown] = stamps[before]
    return stamps


def _order(stamps: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Lay events out for both clocks: indices, and the bits of the clocks that each is for.

    An event that happened before one that had come already is there for the local clock where it came, and for the
    exchange's before the first event that happened after it.
    """
    latest = np.maximum.accumulate(stamps) if len(stamps) else stamps
    late = np.flatnonzero(stamps < latest)
    own = np.arange(len(stamps))
    places = np.concatenate((own, np.searchsorted(latest, stamps[late], "right")))
    events = np.concatenate((own, late))
    first = np.concatenate((np.ones(len(own), np.int64), np.zeros(len(late), np.int64)))
    bits = np.full(len(events), LOCAL | EXCHANGE, np.uint64)
    bits[late] = LOCAL
    bits[len(own) :] = EXCHANGE
    order = np.lexsort((events, stamps[events] * (first == 0), first, places))
    return events[order], bits[order]
