"""The venue emulator: a tape in, the venue's own websocket and REST out, on one loopback port, faults on demand.

Clients connect as to the venue itself: they name streams in the URL or in subscribe frames, get the ACKs, and receive
the tape's frames verbatim from the current position on. REST answers come from the same position: what a depth request
gets is the book after the last frame that was played (`ingest.emulation`; pace and order: `ingest.timeline`).
"""

import asyncio
import contextlib
import http
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any, Literal, Self, cast

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from engine.errors import BadConfig
from engine.instrument import Instrument
from ingest.emulation import Desk, depth_streams, read_score, refusal
from ingest.faults import Faults, script
from ingest.timeline import Timeline
from ingest.venues import Venue


class Emulator:
    """Serve one tape: `async with Emulator(...) as venue: venue.socket_url, venue.rest_url`."""

    def __init__(
        self,
        venue: Venue,
        lines: Sequence[tuple[int, bytes]],
        instruments: Sequence[Instrument],
        *,
        speed: float | None = 1.0,
        start: Literal["connect", "now"] = "connect",
        wanted: Collection[str] | None = None,
        loop: bool = False,
        faults: Faults | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """Prepare. A "connect" timeline waits for subscribers of `wanted` (all that tape and venue share)."""
        if speed is not None and speed <= 0:
            raise BadConfig(f"speed is {speed}, allowed are multiples above 0, or none for as fast as accepted")
        self.venue = venue
        self._instruments = tuple(instruments)
        self._faults = faults or Faults()
        self._score = read_score(venue, lines, instruments)
        self._depth = depth_streams(venue, instruments)
        self._steps = script(self._score.frames, set(self._depth), self._faults)
        played = {frame.stream for frame in self._score.frames}
        known = {stream.name for stream in venue.streams([i.symbol for i in instruments])}
        self._wanted = set(wanted) if wanted is not None else played & known
        if start == "connect" and not self._wanted:
            raise BadConfig(f"the tape has {sorted(played)}, and {venue.name} offers none of them: {sorted(known)}")
        self._speed, self._start, self._loop = speed, start, loop
        self._host, self._port = host, port
        self._refusals = self._faults.refusals
        self._failures = self._faults.snapshot_failures
        #: What happened: connections, frames, REST requests by kind, cuts, stalls.
        self.counts: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._finished = asyncio.Event()
        self._rewind()
        self._server: Server = await serve(
            self._attend,
            self._host,
            self._port,
            process_request=self._request,
            compression=None,
            ping_interval=None,
            close_timeout=1,
            max_queue=None,
            write_limit=1 << 20,
            logger=_quiet(),
            create_connection=Deaf if self._faults.deaf else None,
        )
        self._port = self._server.sockets[0].getsockname()[1]
        # The websocket server answers GET alone.
        self._poster: asyncio.Server | None = None
        if self.venue.instruments_query is not None:
            self._poster = await asyncio.start_server(self._posted, self._host, 0)
        self._playing = asyncio.create_task(self._play())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._playing
        self._server.close()
        await self._server.wait_closed()
        if self._poster is not None:
            self._poster.close()
            await self._poster.wait_closed()

    @property
    def socket_url(self) -> str:
        """Base URL of the websockets."""
        return f"ws://{self._host}:{self._port}"

    @property
    def rest_url(self) -> str:
        """Base URL of the REST resources."""
        port = self._port if self._poster is None else self._poster.sockets[0].getsockname()[1]
        return f"http://{self._host}:{port}"

    async def finished(self) -> None:
        """Wait until the last frame of the tape has been handed to the network."""
        await self._finished.wait()

    def _rewind(self) -> None:
        # Only REST's snapshots are asked for; those of the socket come by themselves.
        asked = self._depth if self.venue.resync == "rest" else {}
        renumber = self.venue.emulation.renumber
        self._timeline = Timeline(self._steps, asked, self._speed, self.counts, renumber)
        self._desk = Desk(self.venue, self._instruments, self._score)

    async def _play(self) -> None:
        while True:
            if self._start == "connect":
                await self._timeline.carried(self._wanted)
            await self._timeline.play()
            if not self._loop:
                break
            # The ids begin again: to a client that is a venue that restarted.
            before = self._timeline
            self._rewind()
            for connection in before.connections():
                before.cut(connection, 1012)
        self._finished.set()

    async def _attend(self, connection: ServerConnection) -> None:
        self.counts["connections"] += 1
        timeline = self._timeline
        await timeline.subscribe(connection, self.venue.emulation.streams_of(cast(Request, connection.request).path))
        try:
            async with asyncio.timeout(self.venue.limits.lifetime):
                async for frame in connection:
                    await self._hear(timeline, connection, frame if isinstance(frame, bytes) else frame.encode())
        except TimeoutError:
            await connection.close(1001, "lifetime")
        except ConnectionClosed:
            self.counts["broken"] += 1
        finally:
            timeline.forget(connection)

    async def _hear(self, timeline: Timeline, connection: ServerConnection, frame: bytes) -> None:
        """Do what a client's frame asks for, and say so."""
        emulation = self.venue.emulation
        answer = emulation.answer(frame)
        if answer is not None:
            timeline.answer(connection, answer)
            return
        left = emulation.unsubscribed(frame)
        if left is not None:
            timeline.unsubscribe(connection, left[0])
            timeline.answer(connection, left[1])
            return
        asked = emulation.subscribed(frame)
        if asked is None:
            return
        streams, acknowledgement = asked
        self.counts["subscribed"] += len(streams)
        timeline.answer(connection, acknowledgement)
        if self.venue.resync != "rest":
            for stream in (each for each in streams if each in self._depth):
                book = self._desk.open(self._depth[stream], timeline.position)
                if book is not None:
                    timeline.answer(connection, book, stream)
        await timeline.subscribe(connection, streams)

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer REST requests; let websocket handshakes pass, unless they are to be refused."""
        if "Upgrade" in request.headers:
            if self._refusals == 0:
                return None
            self._refusals -= 1
            return self._response(self._faults.refusal_status, b"{}")
        return await self._answer(request.path)

    async def _posted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request that was posted; what it asks for is said by its path."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            _, path, _ = head.split(" ", 2)
            length = head.lower().partition("content-length:")[2].partition("\r\n")[0].strip()
            await reader.readexactly(int(length) if length.isdigit() else 0)
            writer.write((await self._answer(path)).serialize())
            await writer.drain()
        writer.close()

    async def _answer(self, path: str) -> Response:
        """Answer a REST request."""
        route = self.venue.emulation.route(path)
        if route is None:
            return self._response(*refusal(404, f"unknown path {path}"))
        what, symbol, limit = route
        self.counts[f"rest_{what}"] += 1
        async with self._timeline.serving():
            await asyncio.sleep(self._faults.rest_delay)
            if what == "depth" and self._failures > 0:
                self._failures -= 1
                return self._response(self._faults.snapshot_status, b"{}")
            status, body = self._desk.answer(what, symbol, limit, self._timeline.position)
            if what == "depth":
                self._timeline.synced(symbol)
            return self._response(status, body)

    def _response(self, status: int, body: bytes) -> Response:
        headers = Headers()
        headers["Content-Type"] = "application/json"
        headers["Content-Length"] = str(len(body))
        headers["Connection"] = "close"
        if status != 200 and self._faults.retry_after:
            headers["Retry-After"] = str(self._faults.retry_after)
        return Response(status, http.HTTPStatus(status).phrase, headers, body)


class Deaf(ServerConnection):
    """A connection that answers no ping."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        send = self.protocol.send_frame

        def unless_pong(frame: Frame) -> None:
            if frame.opcode is not Opcode.PONG:
                send(frame)

        setattr(self.protocol, "send_frame", unless_pong)  # noqa: B010  (mypy forbids the plain assignment)


def _quiet() -> logging.Logger:
    """Silence the library: a refused handshake or a torn connection is what is being emulated."""
    logger = logging.getLogger(f"{__name__}.server")
    logger.setLevel(logging.CRITICAL)
    return logger
