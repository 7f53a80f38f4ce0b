"""The way to the market's sink: batches in, records written and flushed by a thread of their own.

The queue is bounded: when `most` bytes of rows wait, whoever puts waits too, and frames pile up in the feed's queue,
which has its own bound. After a failure nothing more is written and nothing waits: the tape still gets every frame, so
nothing is lost that a replay cannot make again, and the process ends with the failure.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from engine.errors import AirpocketError, Undelivered
from engine.schema import Batch, Record
from engine.wire import record

#: Batches encoded and written at once; the longest time between two flushes under load is what these take.
CHUNK: Final = 512


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
        self._bytes = 0
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
                self.error = Undelivered(f"the sink left {self._bytes} bytes of rows for {waited:.0f} s")
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
            raise Undelivered(f"the sink took more than {timeout:.0f} s to deliver {self._bytes} bytes of rows")

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
        """Write what waits; say whether there may be more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            batches = [self._waiting.popleft() for _ in range(min(CHUNK, len(self._waiting)))]
        if batches:
            self._sink.write([record(batch) for batch in batches])
        self._sink.flush()
        with self._changed:
            self._bytes -= sum(map(_size, batches))
            self._changed.notify_all()
        return bool(batches)


def _size(batch: Batch) -> int:
    parts = (batch.messages, batch.levels, batch.trades, batch.liquidations, batch.references, batch.instruments)
    return sum(part.nbytes for part in parts)
