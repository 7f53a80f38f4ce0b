"""The feed: one venue's sockets and REST in, a tape and rows out, until cancelled.

Frames are stamped in the socket's callback and put into one queue in stamp order, as are the feed's own lines. Another
thread takes them from there: tape, session, rows (`ingest.intake`). So neither a slow disk, nor a slow consumer, nor a
REST answer ever delays a stamp. Reading never pauses: a venue would cut the connection, and stamps would lie meanwhile.
When `most` bytes wait, the connection that brings more is dropped, counted, and synchronised anew.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.schema import Batch, Channel
from ingest import control
from ingest.carrier import Carrier
from ingest.handover import Handover
from ingest.intake import Intake, Outcome
from ingest.limit import per
from ingest.link import ROOM, Content, Line, Link
from ingest.request import Request
from ingest.rest import Answer, Rest
from ingest.session import POLLED, Session
from ingest.stamp import TOLERANCE, Stamp
from ingest.venues import SECOND, Stream, Venue

#: Lines that the intake is given at once.
CHUNK: Final = 256
#: A burst is this many lines less than so many ns apart; its rows wait for a lull of so many s, so many ns at most.
DENSE: Final = 16
SPARSE: Final = 100_000
LULL: Final = 0.001
BURST: Final = 150_000_000
#: Seconds between two looks at the streams; lines that one look may write; seconds between two lines of the log.
TICK: Final = 0.1
MOST_LINES: Final = 1000
TELL: Final = 10.0
#: Seconds that the last lines may take once the feed is told to end.
DRAIN: Final = 5.0

log = logging.getLogger(__name__)


class Feed:
    """One venue's market data."""

    def __init__(
        self,
        venue: Venue,
        symbols: Sequence[str],
        *,
        stamp: Stamp,
        deliver: Callable[[Sequence[Batch]], None],
        record: Callable[[int, bytes], None],
        instruments: Sequence[Instrument] = (),
        idle: Callable[[int], None] | None = None,
        grid: int = 5_000_000,
        rest_url: str | None = None,
        socket_url: str | None = None,
        proxy: str | None = None,
        most: int = 64 << 20,
    ) -> None:
        """Prepare. `deliver`, `record` and `idle` are called in one other thread, one at a time.

        `idle` is called with a stamp once the next line of a grid of so many ns is passed and nothing more has come:
        everything received before it has been delivered.
        """
        if not symbols:
            raise BadConfig(f"no symbol of {venue.name} is named, allowed is one at least")
        self.venue, self.symbols = venue, tuple(symbols)
        self._stamp = stamp
        self._told = stamp.offset
        self._idle, self._grid, self._owed = idle, grid, False
        #: Stamp of the newest frame or line that the intake has taken.
        self._taken = 0
        #: Last line of the grid that `idle` was called for.
        self._told_idle = 0
        self._proxy, self._most = proxy, most
        self._rest_url, self._socket_url = rest_url or venue.rest, socket_url
        session = Session(venue, symbols, instruments)
        self._intake = Intake(session, record, deliver, self._told, numbered=venue.numbered)
        self._lines: deque[Line] = deque()
        self._bytes = 0
        self._ready = asyncio.Event()
        self._ending = False
        self._watching = False
        self._numbers = itertools.count()
        self._carriers: list[Carrier] = []

    @property
    def session(self) -> Session:
        """The session that makes the rows; its counts may be read at any time."""
        return self._intake.session

    @property
    def counts(self) -> dict[str, int]:
        """What was met so far."""
        return {**self.session.counts, **self._intake.counts}

    @property
    def waiting(self) -> int:
        """Bytes that are stamped and not yet taken."""
        return self._bytes

    def header(self, received: int) -> bytes:
        """Give the line that opens a tape, or a further part of one, at a stamp."""
        instruments = self.session.instruments.values()
        return control.start(self.venue.name, self.symbols, received - self._intake.offset, instruments)

    async def run(self) -> None:
        """Feed until cancelled. Raises Undelivered, and BadConfig where the venue does not know a symbol."""
        rest = Rest(self.venue, self._rest_url, proxy=self._proxy)
        self._carriers = self._plan()
        log.info("feed venue=%s symbols=%s proxy=%s", self.venue.name, ",".join(self.symbols), self._proxy)
        start = self.now()
        self.put(start, None, self.header(start))
        intake = asyncio.create_task(self._consume(rest))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._until_failed(intake))
                group.create_task(rest.run())
                group.create_task(self._watch())
                for carrier in self._carriers:
                    group.create_task(carrier.run())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            self._ending = True
            self._ready.set()
            await asyncio.wait({intake}, timeout=DRAIN)
            if not intake.done():
                log.error("feed venue=%s ended with %d lines unread", self.venue.name, len(self._lines))
                intake.cancel()
                await asyncio.wait({intake})

    def _plan(self) -> list[Carrier]:
        """Spread the streams over connections."""
        connects = per(self.venue.limits.connects, 300.0)
        plan = []
        streams = self.venue.streams(self.symbols)
        for socket, base in self.venue.sockets.items():
            mine = [stream for stream in streams if stream.socket == socket]
            for first in range(0, len(mine), self.venue.limits.streams):
                part = mine[first : first + self.venue.limits.streams]
                url = self._socket_url or base
                plan.append(
                    Carrier(self.venue, socket, url, part, connects=connects, proxy=self._proxy, link=self._link)
                )
        return plan

    def _link(self, socket: str, streams: Sequence[Stream], old: Link | None) -> Link:
        number = next(self._numbers) % 0xFFFF + 1
        return Link(self, number, socket, streams, old)

    # The queue, as links see it

    def now(self, room: int = ROOM, arrived: int = 0) -> int:
        """Stamp; put a `clock` line first where the clocks have moved."""
        received = self._stamp.take(room, arrived)
        if abs(self._stamp.offset - self._told) > TOLERANCE:
            self._told = self._stamp.offset
            # The free nanosecond that is farthest from any use.
            at = received - room + 1
            self.put(at, None, control.clock(at - self._told))
        return received

    def follow(self) -> int:
        """Stamp without reading the clock."""
        return self._stamp.after(ROOM)

    def put(self, received: int, link: Link | None, content: Content) -> None:
        """Queue a line of our own."""
        if isinstance(content, bytes):
            self._bytes += len(content)
        self._lines.append((received, link, content))
        self._ready.set()

    def put_frames(self, received: int, link: Link, whole: Sequence[bytes]) -> None:
        """Queue frames of one read while there is room; the first was stamped, the others are here."""
        for raw in whole:
            if self._bytes > self._most:
                self._intake.counts["overflows"] += 1
                link.abort(f"{self._bytes} bytes wait, allowed are {self._most}")
                break
            self._bytes += len(raw)
            self._lines.append((received, link, raw))
            received += ROOM
        self._stamp.after((len(whole) - 1) * ROOM)
        self._ready.set()

    def handover(self, streams: Sequence[Stream], successor: int) -> Handover | None:
        """Begin a handover with a decoder that knows the instruments; None where the socket opens every book anew."""
        if self.venue.resync != "rest":
            return None
        decoder = self.venue.decoder(dict(self._intake.instruments))
        return Handover(decoder, self.venue.emulation.stream_of, streams, successor)

    # The other side of the queue

    async def _consume(self, rest: Rest) -> None:
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"feed-{self.venue.name}")
        try:
            while True:
                await self._ready.wait()
                await self._lull()
                lines = [self._lines.popleft() for _ in range(min(CHUNK, len(self._lines)))]
                if not lines and self._ending:
                    return
                outcome = await asyncio.get_running_loop().run_in_executor(thread, self._intake.take, lines)
                self._bytes -= sum(len(content) for _, _, content in lines if isinstance(content, bytes))
                self._heed(outcome, rest)
                self._taken = max((at for at, _, content in lines if isinstance(content, bytes)), default=self._taken)
                if not self._lines and not self._ending:
                    self._ready.clear()
                    self._await_line()
        finally:
            # A consumer that never returns must not hold up the loop as well.
            thread.shutdown(wait=False)

    async def _lull(self) -> None:
        """Let a burst arrive before its rows are made: two busy threads would take turns, and stamps would wait."""
        while len(self._lines) >= DENSE and not self._ending:
            newest = self._lines[-1][0]
            if newest - self._lines[-DENSE][0] > DENSE * SPARSE or newest - self._lines[0][0] > BURST:
                return
            await asyncio.sleep(LULL)
            # A loop that was held up reads before it wakes a sleeper: nothing new means that nothing is there.
            if self._lines[-1][0] == newest:
                return

    def _heed(self, outcome: Outcome, rest: Rest) -> None:
        for request in outcome.requests:
            self._ask(rest, request)
        for told in (*(link.handed for link in outcome.handed), *(link.retiring for link in outcome.retiring)):
            if not told.done():
                told.set_result(None)
        if outcome.void:
            for carrier in self._carriers:
                carrier.void(outcome.void)

    def _await_line(self) -> None:
        """Call `idle` as soon as the line of the grid behind what was taken is passed, once for each such line."""
        if self._idle is not None and not self._owed and self._taken >= self._told_idle:
            self._owed = True
            line = (self._taken // self._grid + 1) * self._grid
            wait = max(0, self._stamp.until(line)) / SECOND
            asyncio.get_running_loop().call_later(wait, self._say_idle, self._idle, line)

    def _say_idle(self, idle: Callable[[int], None], line: int) -> None:
        def say(received: int) -> list[bytes]:
            idle(received)
            return []

        self._owed = False
        # A timer may be early by the loop's resolution.
        if self._stamp.until(line) <= 0:
            self._told_idle = line
            self.put(self.now(), None, say)
        self._await_line()

    async def _until_failed(self, intake: "asyncio.Task[None]") -> None:
        await asyncio.shield(intake)

    # REST

    def _ask(self, rest: Rest, request: Request) -> None:
        if request.what in ("resubscribe", "reconnect"):
            delay = max(0, request.after - self._stamp.last) / SECOND
            asyncio.get_running_loop().call_later(delay, self._mend, request)
            return
        place = self.symbols.index(request.symbol) if request.symbol in self.symbols else -1
        priority = place if request.what not in POLLED else place + len(self.symbols)
        delay = max(0, request.after - self._stamp.last) / SECOND
        key = f"{request.what} {request.symbol}"
        rest.ask(request.path, key, priority, delay, partial(self._answered, request))

    def _mend(self, request: Request) -> None:
        """Subscribe a book again on the connection that carries it, or drop that connection."""
        for carrier in self._carriers:
            if request.what == "resubscribe":
                carrier.resubscribe([s for s in carrier.streams if _is_book(s, request.symbol)])
            else:
                carrier.drop(request.connection, f"{request.symbol}: frames were lost")

    def _answered(self, request: Request, answer: Answer) -> None:
        line = control.body(request.what, request.symbol, request.epoch, answer.status, answer.body)
        # The nanosecond after it stays free, for the line that would say that it cannot be read.
        self.put(self.now(ROOM + 1) - 1, None, line)

    # Watching

    async def _watch(self) -> None:
        """Look every 100 ms for silence, and tell the log how things are every 10 s."""
        loop = asyncio.get_running_loop()
        tell = loop.time() + TELL
        while True:
            await asyncio.sleep(TICK)
            for carrier in self._carriers:
                for link in list(carrier.links):
                    link.check(loop.time())
            if not self._watching:
                self._watching = True
                self.put(self.now(MOST_LINES), None, self._look)
            if loop.time() > tell:
                tell += TELL
                self._tell()

    def _look(self, received: int) -> list[bytes]:
        self._watching = False
        return self._intake.watch(received)[: MOST_LINES - ROOM]

    def _tell(self) -> None:
        synced = self.session.synced
        links = sum(link.listener is not None for carrier in self._carriers for link in carrier.links)
        counts = " ".join(f"{name}={count}" for name, count in sorted(self.counts.items()))
        nearest, self._intake.nearest = self._intake.nearest, 0
        log.info(
            "feed venue=%s connections=%d synced=%d/%d waiting=%d offset_ms=%.1f %s",
            *(self.venue.name, links, sum(synced.values()), len(synced), self._bytes, nearest / 1e6, counts),
        )


def _is_book(stream: Stream, symbol: str) -> bool:
    return stream.symbol == symbol and stream.channel == Channel.DEPTH
