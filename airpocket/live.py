"""The ingest process: venues in, tapes and market records out, until told to stop.

    sockets -> feed -> tape                              every line before anything is made of it
                    -> session -> linger -> outbox       rows, one record per instrument and window

One clock stamps every venue. A signal ends the process with everything delivered and status 0; a tape or a sink that
cannot deliver ends it with `Undelivered`, the tape last of all.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias, cast

from airpocket.outbox import Outbox, Sink
from airpocket.settled import settled
from engine.errors import AirpocketError, BadConfig
from engine.schema import Batch, Channel, Record
from engine.topics import RAW
from ingest.control import START
from ingest.feed import Feed
from ingest.linger import Linger
from ingest.stamp import Stamp
from ingest.venues import Venue, load

#: What may be set for one venue.
OVERRIDES: Final = ("channels", "proxy", "rest_url", "socket_url")
#: Seconds for the sink to take what is left once the feeds have ended.
DELIVER: Final = 4.0
#: Makes a venue's recorder, given its name and what writes the first line of each part of its tape.
Recorder: TypeAlias = Callable[[str, Callable[[int], bytes]], Sink]

log = logging.getLogger(__name__)


async def run_ingest(
    venues: Sequence[tuple[str, Sequence[str], Mapping[str, Any]]],
    market_sink: Sink | None,
    recorder: Recorder | None = None,
    *,
    linger: int = 5_000_000,
    seconds: float = 0.0,
    signals: bool = True,
) -> None:
    """Feed until SIGTERM, SIGINT or `seconds` (0: for ever). Raises what ends it otherwise; closes every sink.

    `linger` is the interval of one record, ns. Each venue lingers by itself: its records are then the same in every
    replay of its tape.
    """
    if not venues:
        raise BadConfig("no venue is named, allowed is one at least")
    loop = asyncio.get_running_loop()
    failure: asyncio.Future[None] = loop.create_future()

    def fail(error: AirpocketError) -> None:
        loop.call_soon_threadsafe(partial(_fail, failure, error))

    outbox = Outbox(market_sink, fail) if market_sink is not None else None
    stamp = Stamp()
    branches = [Branch(*venue, stamp=stamp, recorder=recorder, linger=linger, outbox=outbox) for venue in venues]
    tasks = [asyncio.create_task(branch.feed.run()) for branch in branches]
    with settled(), _stopping(loop if signals else None) as stop:
        stopped = asyncio.create_task(stop.wait())
        try:
            waits: list[asyncio.Future[Any]] = [stopped, failure, *tasks]
            await asyncio.wait(waits, timeout=seconds or None, return_when=asyncio.FIRST_COMPLETED)
        finally:
            log.info("stopping")
            if outbox is not None:
                # A sink that is stuck must not hold up the tape.
                loop.call_later(DELIVER, outbox.give_up, DELIVER)
            for task in (stopped, *tasks):
                task.cancel()
            ends: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
            ends += [failure.exception()] if failure.done() else []
            ends += await asyncio.to_thread(_close, branches, outbox, market_sink)
    for end in ends:
        # A feed that was told to end was cancelled, which is no Exception.
        if isinstance(end, Exception):
            raise end


class Branch:
    """One venue: its feed, its tape, its linger."""

    def __init__(
        self,
        name: str,
        symbols: Sequence[str],
        overrides: Mapping[str, Any],
        *,
        stamp: Stamp,
        recorder: Recorder | None,
        linger: int,
        outbox: Outbox | None,
    ) -> None:
        unknown = set(overrides) - set(OVERRIDES)
        if unknown:
            raise BadConfig(f"unknown settings of {name}: {sorted(unknown)}, known are {', '.join(OVERRIDES)}")
        self._name, self._outbox, self._linger = name, outbox, Linger(linger)
        self.feed = Feed(
            _narrowed(load(name), overrides.get("channels")),
            symbols,
            stamp=stamp,
            deliver=self._deliver,
            record=self._record,
            idle=self._idle,
            grid=linger,
            rest_url=overrides.get("rest_url") or None,
            socket_url=overrides.get("socket_url") or None,
            proxy=overrides.get("proxy") or None,
        )
        self._tape = recorder(name, self.feed.header) if recorder is not None else None

    def _record(self, received: int, raw: bytes) -> None:
        # The recorder opens every part of the tape, the first too, with `header`.
        if self._tape is not None and not raw.startswith(START):
            self._tape.write([Record(topic=RAW, key=self._name, asset="", time=received, value=raw)])

    def _deliver(self, batches: Sequence[Batch]) -> None:
        if self._outbox is not None:
            self._outbox.put(self._linger.add(batches))

    def _idle(self, received: int) -> None:
        if self._outbox is not None:
            self._outbox.put(self._linger.close(received))

    def flush(self) -> None:
        """Hand out what still lingers."""
        if self._outbox is not None:
            self._outbox.put(self._linger.flush())

    def close(self) -> None:
        """End the tape."""
        if self._tape is not None:
            self._tape.close()


def _narrowed(venue: Venue, channels: Sequence[str] | None) -> Venue:
    """Take only some channels of a venue, by name: what an emulated tape does not hold would be asked for in vain."""
    if not channels:
        return venue
    known = {channel.name.lower(): channel for channel in Channel}
    unknown = set(channels) - set(known)
    if unknown:
        raise BadConfig(f"unknown channels {sorted(unknown)}, known are {', '.join(known)}")
    wanted = {known[name] for name in channels}
    return replace(venue, streams=lambda symbols: tuple(s for s in venue.streams(symbols) if s.channel in wanted))


def _close(branches: Sequence[Branch], outbox: Outbox | None, sink: Sink | None) -> list[AirpocketError]:
    """End tapes, then the sink; return what went wrong."""
    works: list[Callable[[], None]] = [branch.flush for branch in branches]
    works += [branch.close for branch in branches]
    works += [partial(outbox.close, DELIVER)] if outbox is not None else []
    works += [sink.close] if sink is not None else []
    errors = []
    for work in works:
        try:
            work()
        except AirpocketError as error:
            errors.append(error)
    return errors


def _fail(failure: "asyncio.Future[None]", error: AirpocketError) -> None:
    if not failure.done():
        failure.set_exception(error)


@contextmanager
def _stopping(loop: asyncio.AbstractEventLoop | None) -> Iterator[asyncio.Event]:
    """Turn SIGTERM and SIGINT into an event."""
    stop = asyncio.Event()
    numbers = (signal.SIGTERM, signal.SIGINT) if loop is not None else ()
    for number in numbers:
        cast(asyncio.AbstractEventLoop, loop).add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            cast(asyncio.AbstractEventLoop, loop).remove_signal_handler(number)
