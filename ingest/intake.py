"""Stamped lines in; first onto the tape, then through the session, then rows out. No socket, no clock, one thread.

The order of the tape is the order of the session: whoever replays the tape gets these rows, byte for byte. A frame
that cannot be read is counted, told at most once a second, and passed over; the tape has it. What a REST answer turns
out to be unreadable is followed by a line that says so, or its request would wait for ever.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Batch, Kind, Status
from ingest import control
from ingest.link import Line, Link
from ingest.request import Request
from ingest.session import Session
from ingest.venues import SECOND, Stream

CLOCK: Final = b'{"airpocket":"clock"'
BODY: Final = b'{"airpocket":"body"'
#: Bytes of a bad frame that the log shows.
SHOWN: Final = 200

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    """What a run of lines asks of the feed."""

    requests: list[Request] = field(default_factory=list)
    #: Subscriptions without data, connections that have taken over, and those that the venue will end.
    void: list[Stream] = field(default_factory=list)
    handed: list[Link] = field(default_factory=list)
    retiring: list[Link] = field(default_factory=list)


class Intake:
    """The one way from the sockets to the rows."""

    def __init__(
        self,
        session: Session,
        record: Callable[[int, bytes], None],
        deliver: Callable[[Sequence[Batch]], None],
        offset: int,
        *,
        numbered: bool = False,
    ) -> None:
        """Begin; `numbered` where the tape must say of each frame which connection it came by."""
        self.session = session
        self._numbered, self._source = numbered, 0
        self._record, self._deliver = record, deliver
        #: The session's instruments, once it knows them; stamp minus monotonic clock as last told on the tape.
        self.instruments: dict[str, Instrument] = {}
        self.offset = offset
        self.counts: Counter[str] = Counter()
        #: Smallest receive minus exchange time met since it was last read, ns; 0: none.
        self.nearest = 0
        self._batches: list[Batch] = []
        self._complained = 0
        self._outcome = Outcome()

    def take(self, lines: Sequence[Line]) -> Outcome:
        """Take lines in the order of their stamps. Raises Undelivered where the tape or the rows cannot be written."""
        outcome = self._outcome = Outcome()
        for received, link, content in lines:
            if not isinstance(content, bytes):
                # A call may tell the consumer that everything up to here has been delivered.
                self._hand_out()
                made = content(received)
                for place, line in enumerate(made, received - len(made) + 1):
                    self._accept(place, line)
            elif link is None:
                self._accept(received, content)
            elif self._passes(received, link, content):
                if self._numbered and link.number != self._source:
                    self._source = link.number
                    # A nanosecond before each frame is kept free.
                    self._accept(received - 1, control.source(link.number))
                self._accept(received, control.flat(content), link)
        self._hand_out()
        outcome.requests = self.session.take_requests()
        self.instruments = self.instruments or self.session.instruments
        return outcome

    def _hand_out(self) -> None:
        if self._batches:
            batches, self._batches = self._batches, []
            self._deliver(batches)

    def watch(self, received: int) -> list[bytes]:
        """Look, at this place of the order, for streams that are silent or void."""
        self._outcome.void = self.session.silent(received)
        return self.session.overdue(received)

    def _passes(self, received: int, link: Link, raw: bytes) -> bool:
        if raw.startswith(control.MARK):
            self.counts["forged"] += 1
            return False
        handover = link.handover
        if link.retired or handover is None:
            return not link.retired
        passes, moved = handover.take(link.number, raw)
        if moved is not None:
            self._accept(received - 1, control.switched(handover.successor, [moved]))
        if link.number == handover.successor and handover.done:
            link.release()
            self._outcome.handed.append(link)
        return passes

    def _accept(self, received: int, line: bytes, link: Link | None = None) -> None:
        self._record(received, line)
        if line.startswith(CLOCK):
            self.offset = received - int(orjson.loads(line)["monotonic"])
        try:
            batches = self.session.receive(received, line)
        except BadFrame as error:
            self._refused(received, line, error)
            if line.startswith(BODY) and not line.endswith(b',"body":null}'):
                # The nanosecond after a body's line is kept free for this.
                self._accept(received + 1, line.partition(b',"body":')[0] + b',"body":null}')
            return
        for batch in batches:
            self._observe(batch, link)
        self._batches += batches

    def _observe(self, batch: Batch, link: Link | None) -> None:
        """Note what the feed has to know: proof of data, maintenance, distance of the clocks."""
        newest = batch.messages[-1]
        exchanged = int(newest["exchanged"])
        if exchanged:
            distance = int(newest["received"]) - exchanged
            self.nearest = min(self.nearest, distance) if self.nearest else distance
        kind = int(newest["kind"])
        if kind <= Kind.REFERENCE:
            if link is not None:
                link.proven = True
        elif link is not None and kind == Kind.STATUS and newest["status"] == Status.MAINTENANCE:
            self._outcome.retiring.append(link)

    def _refused(self, received: int, line: bytes, error: BadFrame) -> None:
        self.counts["bad"] += 1
        if received - self._complained > SECOND:
            self._complained = received
            log.warning("bad frame reason=%s bad=%d frame=%r", error, self.counts["bad"], line[:SHOWN])
