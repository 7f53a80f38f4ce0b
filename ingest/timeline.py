"""The emulator's timeline: steps in, frames out to whoever carries their streams, at the tape's pace or the readers'.

With a speed it follows the tape's own times and waits for nobody, as a venue would; a reader with `SLOW` unsent bytes
is dropped. Without one it goes as fast as the slowest reader accepts. The network's time then no longer fits the
tape's, so the timeline stands still while a REST request is being answered, and after a fresh subscription's first diff
until that symbol's snapshot was asked for (at most `PATIENCE` s): a client that syncs by the rules can always bridge.
"""

import asyncio
import contextlib
import logging
import socket
import struct
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Final, cast

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from ingest.faults import SECOND, Act, Step

PATIENCE: Final = 2.0
#: Steps played between two looks at the clock and the clients.
CHUNK: Final = 64
SLOW: Final = 64 << 20
#: Ends of a connection without a closing handshake: by TCP reset, and in the middle of a frame.
RESET: Final = 0
TORN: Final = 1006

log = logging.getLogger(__name__)


class Timeline:
    """Who carries which stream, and where on the tape the venue is."""

    def __init__(
        self,
        steps: Sequence[Step],
        depth: Mapping[str, str],
        speed: float | None,
        counts: Counter[str],
        renumber: Callable[[bytes, str, int], bytes] | None = None,
    ) -> None:
        """Prepare; `depth` names the streams whose subscriber has a snapshot to ask for, and whose they are."""
        self._steps, self._depth, self._speed = steps, depth, speed
        self._renumber = renumber
        #: Frames that each connection was sent, or should have been.
        self._sent: Counter[ServerConnection] = Counter()
        self._carriers: dict[str, set[ServerConnection]] = defaultdict(set)
        self._changed = asyncio.Condition()
        self._closing: set[asyncio.Task[None]] = set()
        #: Tape index of the last frame played.
        self.position = -1
        #: Symbols with a fresh subscriber that has not asked for a snapshot; requests being answered now.
        self._unsynced: set[str] = set()
        self._serving = 0
        self.counts = counts

    async def subscribe(self, connection: ServerConnection, streams: Sequence[str]) -> None:
        """Let a connection carry streams from the next step on."""
        for stream in streams:
            self._carrying(stream).add(connection)
            if stream in self._depth and self._speed is None:
                self._unsynced.add(self._depth[stream])
        async with self._changed:
            self._changed.notify_all()

    def unsubscribe(self, connection: ServerConnection, streams: Sequence[str]) -> None:
        """Let a connection carry streams no more."""
        for stream in streams:
            self._carrying(stream).discard(connection)

    def _carrying(self, stream: str) -> set[ServerConnection]:
        """Give the connections that carry a stream; those named `subscription#SYMBOL` are one subscription."""
        return self._carriers[stream.partition("#")[0]]

    def forget(self, connection: ServerConnection) -> None:
        """Send nothing more to a connection."""
        self._sent.pop(connection, None)
        for carriers in self._carriers.values():
            carriers.discard(connection)

    def answer(self, connection: ServerConnection, frame: bytes, stream: str = "") -> None:
        """Send a connection what is not on the tape, in its place; numbered with the others if it is of a stream."""
        if connection.state is State.OPEN:
            own = self._numbered(connection, frame, stream) if stream else frame
            connection.transport.write(Frame(Opcode.TEXT, own).serialize(mask=False))

    def _numbered(self, connection: ServerConnection, frame: bytes, stream: str) -> bytes:
        if self._renumber is None:
            return frame
        own = self._renumber(frame, stream, self._sent[connection])
        # What comes back as it was has no number on this venue.
        self._sent[connection] += own is not frame
        return own

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Hold a fast timeline while a REST request is being answered."""
        self._serving += 1
        try:
            yield
        finally:
            self._serving -= 1
            async with self._changed:
                self._changed.notify_all()

    def synced(self, symbol: str) -> None:
        """Note that a symbol's snapshot was served."""
        self._unsynced.discard(symbol)

    async def carried(self, streams: Collection[str]) -> None:
        """Wait until every one of these streams has a subscriber."""
        async with self._changed:
            await self._changed.wait_for(lambda: all(self._carrying(stream) for stream in streams))

    async def play(self) -> None:
        """Play the tape once."""
        origin = time.monotonic_ns()
        done = 0
        while done < len(self._steps):
            end = min(done + CHUNK, len(self._steps))
            if self._speed is not None:
                due = self._steps[0].frame.at + int((time.monotonic_ns() - origin) * self._speed)
                early = self._steps[done].frame.at - due
                if early > 0:
                    await asyncio.sleep(early / self._speed / SECOND)
                    continue
                while self._steps[end - 1].frame.at > due:
                    end -= 1
            played, pause = self._perform(self._steps[done:end])
            done += played
            await asyncio.sleep(pause)
            origin += int(pause * SECOND)
            if self._speed is None:
                await self._accepted(self._steps[done - 1])

    def _perform(self, steps: Sequence[Step]) -> tuple[int, float]:
        """Play steps until one that needs a pause; return how many, and how long to pause, s."""
        outgoing: dict[ServerConnection, list[bytes]] = defaultdict(list)
        for played, step in enumerate(steps, 1):
            stream = step.frame.stream
            if step.act is Act.LOSE:
                self._sent.update(self._carrying(stream))
                self.position = max(self.position, step.frame.index)
                continue
            if step.act is not Act.SEND:
                self._flush(outgoing)
                outgoing.clear()
                if step.act is Act.PAUSE:
                    return played, step.value
                self._end(step)
                continue
            self.position = max(self.position, step.frame.index)
            if self._renumber is not None:
                for connection in self._carrying(stream):
                    own = self._numbered(connection, step.frame.raw, stream)
                    outgoing[connection].append(Frame(Opcode.TEXT, own).serialize(mask=False))
            elif self._carrying(stream):
                wire = Frame(Opcode.TEXT, step.frame.raw).serialize(mask=False)
                for connection in self._carrying(stream):
                    outgoing[connection].append(wire)
            if self._depth.get(stream) in self._unsynced:
                break
        self._flush(outgoing)
        return played, 0.0

    def _flush(self, outgoing: Mapping[ServerConnection, Sequence[bytes]]) -> None:
        for connection, frames in outgoing.items():
            if connection.state is not State.OPEN:
                continue
            # What `websockets.broadcast` does, with one write for many frames.
            connection.transport.write(b"".join(frames))
            self.counts["frames"] += len(frames)
            if self._speed is not None and connection.transport.get_write_buffer_size() > SLOW:
                log.warning("slow reader dropped remote=%s unsent=%d", connection.remote_address, SLOW)
                connection.transport.abort()

    async def _accepted(self, last: Step) -> None:
        for connection in self.connections():
            with contextlib.suppress(OSError):
                await connection.drain()
        symbol = self._depth.get(last.frame.stream, "")
        if self._serving or symbol in self._unsynced:
            try:
                async with asyncio.timeout(PATIENCE), self._changed:
                    await self._changed.wait_for(lambda: not self._serving and symbol not in self._unsynced)
            except TimeoutError:
                self._unsynced.discard(symbol)

    def connections(self) -> set[ServerConnection]:
        """List the connections that carry anything."""
        return set().union(*self._carriers.values())

    def _end(self, step: Step) -> None:
        concerned = set(self._carrying(step.frame.stream)) if step.frame.stream else self.connections()
        self.counts[step.act.name.lower()] += len(concerned)
        for connection in concerned:
            self.forget(connection)
            if step.act is Act.CUT:
                self.cut(connection, int(step.value))

    def cut(self, connection: ServerConnection, code: int) -> None:
        """End a connection: by closing handshake, by TCP reset, or in the middle of a frame."""
        if code == RESET:
            raw = cast(socket.socket, connection.transport.get_extra_info("socket"))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.transport.abort()
        elif code == TORN:
            # The header of a frame of 65,535 bytes, and then nothing.
            connection.transport.write(b"\x81\x7e\xff\xff{")
            connection.transport.close()
        else:
            task = asyncio.create_task(connection.close(code))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
