"""A topic followed: records as they come in, a console out, until it was enough or somebody says stop."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from airpocket.outbox import Sink
from ingest.topic import Taken


def follow(records: Iterable[Taken], sink: Sink, count: int = 0) -> None:
    """Show records, `count` of them at most (0: no end); what cannot be read is said on stderr."""
    from airpocket.commands.options import say

    shown = 0
    try:
        for taken in records:
            if taken.record is None:
                say(f"{taken.topic} {taken.partition} {taken.offset} cannot be read: {taken.fault}")
                continue
            sink.write([taken.record])
            shown += 1
            if shown == count:
                return
    finally:
        sink.close()


@contextmanager
def stopped() -> Iterator[threading.Event]:
    """Turn SIGTERM and an interrupt into an event, as long as the block lasts."""
    event = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        event.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
