"""What one book of a simulated market says on its venue's wire: a second's events in, stamped lines out.

The venue tells less than there is: of the forced orders of a second the largest alone, of the book the levels that
changed, of positions nothing but the open interest.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Rows
from ingest import control
from ingest.simulator.frames import DELAY, MILLISECOND, words_of
from ingest.simulator.matching import Event
from ingest.simulator.world import ASK, BID, SECOND
from ingest.venues import Venue

Line = tuple[int, bytes]
#: Levels a side that the venue's snapshot has at most.
SNAPSHOT: Final = 1000


class Teller:
    """One book as told by frames. `silent` says of a moment, ns, whether its venue is not heard then."""

    def __init__(self, venue: Venue, instrument: Instrument, silent: Callable[[int], bool]) -> None:
        #: The book as told, per side price -> size.
        self.book: dict[int, dict[int, int]] = {BID: {}, ASK: {}}
        self.instrument = instrument
        self.polled = venue.open_interest_path(instrument.symbol) is not None
        self._venue = venue
        self._words = words_of(venue, instrument)
        self._silent = silent
        self._channels = {stream.channel for stream in venue.streams([instrument.symbol])}
        self._epoch = 0
        self._wants_snapshot = False

    def connect(self) -> None:
        """Begin a connection: its first diff brings a snapshot."""
        self._epoch += 1
        self._wants_snapshot = True

    def second(self, events: Rows, begin: int) -> tuple[list[Line], int]:
        """Word a second's events; give the lines, and the place of the forced order that was shown, -1: none."""
        told = self._tell(events)
        shown = self._largest(events, begin, told) if Channel.LIQUIDATION in self._channels else -1
        return [(at, raw) for at, raw in told if not self._silent(at)], shown

    def interest(self, time: int, lots: int) -> bytes:
        """Word the answer to a request for the open interest."""
        whole, part = divmod(lots * self.instrument.lot, 10**self.instrument.size_decimals)
        body = (
            f'{{"symbol":"{self.instrument.symbol}","openInterest":"{whole}.{part:0{self.instrument.size_decimals}d}",'
            f'"time":{time // MILLISECOND - 2}}}'
        )
        return control.body("open_interest", self.instrument.symbol, 0, 200, body.encode())

    def _tell(self, events: Rows) -> list[Line]:
        """Word events; right after the first diff that a connection brings comes the snapshot."""
        lines: list[Line] = []
        words = self._words
        marks = Channel.MARK in self._channels
        levels: dict[int, list[tuple[int, int]]] = {BID: [], ASK: []}
        for event in events.tolist():
            time, kind, number, side, price, size, other, another = event
            if kind == Event.LEVEL:
                levels[side].append((price, size))
                if size:
                    self.book[side][price] = size
                else:
                    del self.book[side][price]
            elif kind == Event.FRAME:
                raw = words.depth(time, other, number, another, levels[BID], levels[ASK])
                lines.append((time + DELAY, raw))
                levels = {BID: [], ASK: []}
                if self._wants_snapshot and not self._silent(time + DELAY):
                    lines.append((time + 2 * DELAY, self._snapshot(time, number)))
                    self._wants_snapshot = False
            elif kind == Event.TOUCH:
                lines.append((time + DELAY, words.touch(time, number, price, size, other, another)))
            elif kind == Event.TRADE:
                lines.append((time + DELAY, words.trade(time, number, side, price, size)))
            elif kind == Event.MARK and marks:
                lines.append((time + DELAY, words.mark(time, price, size)))
        return lines

    def _largest(self, events: Rows, begin: int, lines: list[Line]) -> int:
        """Word the largest forced order of a second that found a buyer; return its place among the events, -1."""
        met = np.flatnonzero((events["kind"] == Event.FORCED) & (events["other"] > 0))
        if not len(met):
            return -1
        at = int(met[np.argmax(events["size"][met])])
        row = events[at]
        average = round(int(row["another"]) / int(row["other"]))
        raw = self._words.liquidation(
            int(row["time"]), int(row["side"]), max(int(row["price"]), 1), average, int(row["size"])
        )
        sent = begin + SECOND - MILLISECOND
        lines.append((sent, raw))
        return -1 if self._silent(sent) else at

    def _snapshot(self, time: int, last: int) -> bytes:
        instrument, sides = self.instrument, []
        for side in (BID, ASK):
            levels = sorted(self.book[side].items(), reverse=side == BID)[:SNAPSHOT]
            sides.append(np.array([(p * instrument.tick, q * instrument.lot) for p, q in levels], LEVEL))
        body = self._venue.emulation.snapshot(instrument, last, time, sides[0], sides[1])
        return control.body("depth", instrument.symbol, self._epoch, 200, body)
