"""One instrument's part of a verification: batches in, its column of the report card out."""

from collections import Counter, deque
from decimal import Decimal
from typing import Final

from airpocket.report import Event, InstrumentReport, Lateness
from engine.book import Book
from engine.errors import BadFrame
from engine.instrument import from_row
from engine.schema import Batch, Channel, Flag, Kind, Reference, Rows, Status

#: Events that a report lists; what is beyond is counted.
MOST_EVENTS: Final = 10_000
#: Statements of best prices, and diffs awaiting one, that are remembered.
_MOST_TOUCHES: Final = 1 << 16
#: Resolution of lateness, ns.
_BIN: Final = 100_000
_SECOND: Final = 1e9

_CHANNELS: Final = {
    Kind.SNAPSHOT: Channel.DEPTH,
    Kind.DELTA: Channel.DEPTH,
    Kind.TOUCH: Channel.TOUCH,
    Kind.TRADE: Channel.TRADE,
    Kind.LIQUIDATION: Channel.LIQUIDATION,
}
_TIMELY: Final = frozenset((Kind.DELTA, Kind.TOUCH, Kind.TRADE))
_UNTIMED: Final = int(Flag.HISTORY | Flag.BAD_TIME)

#: Best bid, its size, best ask, its size; zeros where a side is empty.
Best = tuple[int, int, int, int]


class Events:
    """What happened; bounded."""

    def __init__(self) -> None:
        self.listed: list[Event] = []
        #: How many are not listed.
        self.more = 0

    def add(self, time: int, kind: str, instrument: str, detail: str) -> None:
        """Note one event."""
        if len(self.listed) < MOST_EVENTS:
            self.listed.append(Event(time=time, kind=kind, instrument=instrument, detail=detail))
        else:
            self.more += 1


class Delays:
    """Receive time less the exchange's, counted."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._least: int | None = None
        self._most = 0

    def add(self, delay: int) -> None:
        """Count one message."""
        if self._least is None or delay < self._least:
            self._least = delay
        if delay > self._most or not self._bins:
            self._most = delay
        self._bins[delay // _BIN] += 1

    @property
    def offset(self) -> float | None:
        """The fastest message's delay, ms."""
        return None if self._least is None else self._least / 1e6

    def lateness(self) -> Lateness | None:
        """Percentiles of the delay beyond the fastest message's; exact to 0.1 ms."""
        least = self._least
        if least is None:
            return None
        ranked = sorted(self._bins.items())
        total = self._bins.total()

        def percentile(share: float) -> float:
            left = share * total
            place = 0
            for bin_, count in ranked:
                place = bin_
                left -= count
                if left <= 0:
                    break
            return max(place * _BIN - least, 0) / 1e6

        return Lateness(
            p50=percentile(0.5), p99=percentile(0.99), p999=percentile(0.999), most=(self._most - least) / 1e6
        )


class Agreement:
    """The exchange's own best bid and ask beside the rebuilt book's."""

    def __init__(self, instrument: str, events: Events) -> None:
        self.compared = 0
        self.agreed = 0
        #: Decimals of prices and sizes, for people.
        self.decimals = (0, 0)
        self._instrument = instrument
        self._events = events
        self._touches: deque[tuple[int, Best]] = deque(maxlen=_MOST_TOUCHES)
        self._answers: deque[tuple[int, int, Best]] = deque(maxlen=_MOST_TOUCHES)

    def state(self, last: int, best: Best) -> None:
        """Take what the exchange says of its book at an id."""
        if self._touches and last < self._touches[-1][0]:
            # Ids that run backwards belong to another sequence.
            self.forget()
        self._touches.append((last, best))
        self._settle(last)

    def answer(self, last: int, received: int, best: Best) -> None:
        """Take what the rebuilt book says after a diff that ends with an id."""
        self._answers.append((last, received, best))
        if self._touches:
            self._settle(self._touches[-1][0])

    def finish(self) -> None:
        """Compare what still waits with the newest statement: no other will come."""
        if self._answers:
            self._settle(self._answers[-1][0])

    def forget(self) -> None:
        """Compare what waits, then forget the statements: their stream broke, so the newest known may not be it."""
        self.finish()
        self._touches.clear()
        self._answers.clear()

    def _settle(self, known: int) -> None:
        """Compare the answers up to an id: every statement up to it has come."""
        while self._answers and self._answers[0][0] <= known:
            last, received, best = self._answers.popleft()
            while len(self._touches) > 1 and self._touches[1][0] <= last:
                self._touches.popleft()
            if not self._touches or self._touches[0][0] > last:
                continue
            stated = self._touches[0][1]
            self.compared += 1
            if stated == best:
                self.agreed += 1
            else:
                ours, theirs = _said(best, *self.decimals), _said(stated, *self.decimals)
                detail = f"after id {last} the book has {ours}, the exchange said {theirs}"
                self._events.add(received, "disagreement", self._instrument, detail)


class InstrumentAudit:
    """What one instrument's messages were like."""

    def __init__(self, key: str, events: Events) -> None:
        self._key = key
        self._events = events
        self._kinds: Counter[int] = Counter()
        self._first = self._last = 0
        self._gaps = self._resyncs = self._disconnects = 0
        self._checksums = [0, 0]
        self._book: Book | None = None
        #: Times since when something holds, ns; None: it does not.
        self._unknown: int | None = None
        self._crossed: int | None = None
        self._stale: dict[int, int] = {}
        #: The recorder closed the connection of a known book, and nothing of the market has come since.
        self._parting = False
        self._seconds: Counter[str] = Counter()
        self._snapshot = 0
        self._agreement = Agreement(key, events)
        self._delays = Delays()

    def take(self, batch: Batch, stopping: bool = False) -> None:
        """Take the rows of one line. Raises BadFrame where the book cannot hold them; it is not known then.

        `stopping` says that the line is the recorder's own closing of a connection.
        """
        levels = references = 0
        for row in batch.messages.tolist():
            received, _, exchanged, published, _, last, _, _, flags, count, bids, _, kind, status = row
            if not self._first:
                self._first = self._unknown = received
            self._last = received
            self._kinds[kind] += 1
            channel: int = _CHANNELS.get(kind, 0)
            self._parting &= kind in (Kind.STATUS, Kind.RESYNC)
            self._parting |= stopping and self._unknown is None
            if kind in (Kind.SNAPSHOT, Kind.DELTA):
                self._take_levels(kind, received, last, flags, batch.levels[levels : levels + count], bids)
            elif kind == Kind.TOUCH:
                self._agreement.state(last, _best(batch.levels[levels : levels + count].tolist()))
            elif kind == Kind.INSTRUMENT:
                instrument = from_row(self._key, batch.instruments[-1])
                self._book = Book(instrument, (10,))
                self._agreement.decimals = instrument.price_decimals, instrument.size_decimals
            elif kind == Kind.REFERENCE:
                oi = batch.references["what"][references] == Reference.OPEN_INTEREST
                channel = Channel.OPEN_INTEREST if oi else Channel.MARK
                references += count
            else:
                self._take_state(kind, received, row, status)
            if channel in (Channel.DEPTH, Channel.TOUCH):
                levels += count
            if channel in self._stale:
                self._seconds["stale"] += received - self._stale.pop(channel)
            # Diffs that waited for their snapshot carry its receive time, not their own.
            stamp = published or exchanged
            if kind in _TIMELY and stamp and not flags & _UNTIMED and received != self._snapshot:
                self._delays.add(received - stamp)

    def restart(self) -> None:
        """Begin another recording: nothing is known of the time between."""
        if self._first:
            self._lose(self._last)
        self._agreement.forget()
        self._stale.clear()

    def finish(self) -> InstrumentReport:
        """Close the books at the last message and say what was found."""
        self._uncross(self._last)
        for since in self._stale.values():
            self._seconds["stale"] += self._last - since
        # A book that was known until the recorder closed its connections was known to the end.
        if self._unknown is not None and not self._parting:
            self._seconds["unknown"] += self._last - self._unknown
            self._events.add(self._unknown, "unsynced", self._key, "from here to the end the book is not known")
        self._agreement.finish()
        return InstrumentReport(
            instrument=self._key,
            messages={Kind(kind).name: count for kind, count in sorted(self._kinds.items())},
            first=self._first,
            last=self._last,
            gaps=self._gaps,
            resyncs=self._resyncs,
            disconnects=self._disconnects,
            synced=self._unknown is None or self._parting,
            checksums_agreed=self._checksums[0],
            checksums_failed=self._checksums[1],
            touches_compared=self._agreement.compared,
            touches_agreed=self._agreement.agreed,
            crossed_seconds=self._seconds["crossed"] / _SECOND,
            stale_seconds=self._seconds["stale"] / _SECOND,
            unknown_seconds=self._seconds["unknown"] / _SECOND,
            clock_offset=self._delays.offset,
            lateness=self._delays.lateness(),
        )

    def _take_levels(self, kind: int, received: int, last: int, flags: int, levels: Rows, bids: int) -> None:
        """Bring the book up to date and hold it against what the exchange says."""
        book = self._book
        if book is None or (kind == Kind.DELTA and self._unknown is not None):
            return
        try:
            book.update(levels, bids, kind == Kind.SNAPSHOT and not flags & Flag.CONTINUED)
        except BadFrame:
            self._lose(received)
            raise
        if flags & Flag.PARTIAL:
            return
        self._checksums[0] += bool(flags & Flag.CHECKSUM_OK)
        if kind == Kind.SNAPSHOT:
            self._snapshot = received
            if self._unknown is not None:
                self._seconds["unknown"] += received - self._unknown
                self._unknown = None
        best = book.best
        if kind == Kind.DELTA and last:
            self._agreement.answer(last, received, best)
        if best[0] and best[2] and best[0] >= best[2]:
            self._crossed = received if self._crossed is None else self._crossed
        else:
            self._uncross(received)

    def _take_state(self, kind: int, received: int, row: tuple[int, ...], status: int) -> None:
        """Take a message without rows."""
        if kind == Kind.GAP:
            self._gaps += 1
            first, last, previous = row[4:7]
            # A gap that no sequence id shows was shown by a checksum.
            self._checksums[1] += first == last == 0
            detail = f"the last good id is {previous}, the next met is {first} to {last}"
            self._events.add(received, "gap", self._key, detail)
            self._lose(received)
        elif kind == Kind.RESYNC:
            self._resyncs += 1
            self._events.add(received, "resync", self._key, f"book epoch {row[7]} begins")
            self._lose(received)
        elif kind == Kind.STALE:
            self._stale.setdefault(status, received)
            self._events.add(received, "stale", self._key, f"{Channel(status).name} is silent")
            if status == Channel.TOUCH:
                self._agreement.forget()
        elif kind == Kind.STATUS and status == Status.DISCONNECTED:
            self._disconnects += 1
            self._events.add(received, "disconnected", self._key, "a connection was lost")
            self._agreement.forget()

    def _lose(self, received: int) -> None:
        """Note that the book is not known from here on."""
        self._uncross(received)
        if self._unknown is None:
            self._unknown = received

    def _uncross(self, received: int) -> None:
        """End a crossed stretch."""
        if self._crossed is not None:
            length = received - self._crossed
            self._seconds["crossed"] += length
            self._events.add(self._crossed, "crossed", self._key, f"for {length / 1e6:.3f} ms")
            self._crossed = None


def _best(touch: list[tuple[int, int]]) -> Best:
    """Read the two levels of a TOUCH as a book says them."""
    (bid, bid_size), (ask, ask_size) = touch
    return (bid if bid_size else 0, bid_size, ask if ask_size else 0, ask_size)


def _said(best: Best, price: int, size: int) -> str:
    """Say bid and ask in decimals."""
    bid, bid_size, ask, ask_size = (
        Decimal(n).scaleb(-d) for n, d in zip(best, (price, size, price, size), strict=True)
    )
    return f"{bid_size:f} at {bid:f} / {ask_size:f} at {ask:f}"
