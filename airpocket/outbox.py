"""The way to the market's sink: batches in, records written by a thread of their own, and flushed once it is quiet.

Waiting for each record's delivery would hold up the next one by a broker's round trip; a sink that has failed says so
at the next write. The queue is bounded: while `most` bytes of rows are not known to be delivered, whoever puts waits,
and frames pile up in the feed's queue, which has its own bound. After a failure nothing more is written and nothing
waits: the tape still gets every frame, so nothing is lost that a replay cannot make again, and the process ends with
the failure.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from engine.errors import AirpocketError, Undelivered
from engine.schema import Batch, Record
from engine.wire import record

#: Batches encoded and written at once.
CHUNK: Final = 512
#: Seconds without rows after which what was written is made sure of.
QUIET: Final = 0.05


class Sink(Protocol):
    """Where records go."""

    def write(self, records: Sequence[Record]) -> None:
        """Take records."""
        ...

    def flush(self) -> None:
        """Return when everything written is delivered, or raise."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Outbox:
    """A sink with a thread."""

    def __init__(self, sink: Sink, failed: Callable[[AirpocketError], None], most: int = 64 << 20) -> None:
        """Start; `failed` is called in the thread, once, with what went wrong."""
        self._sink, self._failed, self._most = sink, failed, most
        self._waiting: deque[Batch] = deque()
        #: Bytes that are not known to be delivered, and those of them that are written.
        self._bytes = self._written = 0
        self._changed = threading.Condition()
        self._closing = False
        self.error: AirpocketError | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, batches: Sequence[Batch]) -> None:
        """Queue batches; waits while too much is queued, and drops them after a failure."""
        if not batches:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < self._most or self.error is not None)
            if self.error is None:
                self._waiting.extend(batches)
                self._bytes += sum(map(_size, batches))
                self._changed.notify_all()

    def give_up(self, waited: float) -> None:
        """Wait no longer for a sink that is stuck: what is queued is not delivered."""
        with self._changed:
            if self._bytes and self.error is None:
                self.error = self._late(waited)
                self._waiting.clear()
                self._changed.notify_all()

    def close(self, timeout: float) -> None:
        """Deliver what is queued and end. Raises Undelivered where that fails or takes longer than `timeout` s."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        if self.error is not None:
            raise self.error
        if self._thread.is_alive():
            raise self._late(timeout)

    def _late(self, waited: float) -> Undelivered:
        return Undelivered(f"the sink left {self._bytes} bytes of rows undelivered for {waited:.0f} s")

    def _run(self) -> None:
        try:
            while self._write():
                pass
        except AirpocketError as error:
            with self._changed:
                given_up = self.error is not None
                self.error = self.error or error
                self._waiting.clear()
                self._changed.notify_all()
            # Who gave up knows already, and may be gone.
            if not given_up:
                self._failed(error)

    def _write(self) -> bool:
        """Write what waits, or make sure of what was written; say whether there may be more."""
        with self._changed:
            patience = QUIET if self._written else None
            self._changed.wait_for(lambda: self._waiting or self._closing, patience)
            batches = [self._waiting.popleft() for _ in range(min(CHUNK, len(self._waiting)))]
            ending = self._closing and not batches
        if batches:
            self._sink.write([record(batch) for batch in batches])
            self._written += sum(map(_size, batches))
        if not batches or self._written > self._most // 2:
            self._sink.flush()
            with self._changed:
                self._bytes -= self._written
                self._written = 0
                self._changed.notify_all()
        return not ending


def _size(batch: Batch) -> int:
    parts = (batch.messages, batch.levels, batch.trades, batch.liquidations, batch.references, batch.instruments)
    return sum(part.nbytes for part in parts)
