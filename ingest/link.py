"""One connection as the feed knows it: its number, its streams, how it ends, and what takes over from it.

Everything that it says goes into the feed's one queue in the order of the stamps: frames, and the control lines that
tell of the connection itself. Frames and lines meet their session in that order, in another thread; so what has to
happen at an exact place in the order (the end of a handover) is queued too, as a call that returns lines.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from ingest import control
from ingest.connection import Listener
from ingest.handover import Handover
from ingest.venues import SECOND, Stream

#: What stands in the queue: a frame or control line, or a call that is given its place's stamp and returns lines.
Content: TypeAlias = "bytes | Callable[[int], list[bytes]]"
Line: TypeAlias = "tuple[int, Link | None, Content]"

#: Nanoseconds kept free before each stamp: a frame may need a `switch` line before it.
ROOM: Final = 4


class Queue(Protocol):
    """The feed's one queue and its clock."""

    def now(self, room: int = ROOM, arrived: int = 0) -> int:
        """Stamp, with a time of arrival where there is one; puts a `clock` line first where one is due."""
        ...

    def follow(self) -> int:
        """Stamp without reading the clock."""
        ...

    def put(self, received: int, link: "Link | None", content: Content) -> None:
        """Queue, in the order of the stamps."""
        ...

    def put_frames(self, received: int, link: "Link", whole: Sequence[bytes]) -> None:
        """Queue frames of one read while there is room; the first was stamped, the others are here."""
        ...

    def handover(self, streams: Sequence[Stream], successor: int) -> Handover | None:
        """Begin a handover with a decoder that knows the instruments; None: this venue's books do not go over."""
        ...


class Link:
    """One connection, from dialling to loss."""

    def __init__(self, queue: Queue, number: int, socket: str, streams: Sequence[Stream], old: "Link | None") -> None:
        loop = asyncio.get_running_loop()
        self._queue = queue
        self.number, self.socket, self.streams = number, socket, tuple(streams)
        self.listener: Listener | None = None
        #: The connection that this one replaces, the one that replaces it, and who speaks for what while both run.
        self.old = old
        self.heir: Link | None = None
        self.handover: Handover | None = None
        self._broken: list[str] = []
        #: It has brought data. Its frames count for nothing any more.
        self.proven = False
        self.retired = False
        #: When it was asked for, by the loop's clock, s.
        self.began = loop.time()
        #: Set when it is gone, when it should go, when it has taken over everything.
        self.ended: asyncio.Future[None] = loop.create_future()
        self.retiring: asyncio.Future[None] = loop.create_future()
        self.handed: asyncio.Future[None] = loop.create_future()
        self._last = time.monotonic()
        self._why = ""
        limits = [stream.silence for stream in streams if stream.silence]
        #: A connection that brings nothing for this long is dead, whatever TCP says, s.
        self._patience = 2 * min(limits) / SECOND if limits else float("inf")

    @property
    def gone(self) -> bool:
        """Tell whether it is lost."""
        return self.ended.done()

    # Told by the socket, in its callbacks

    def read(self, arrived: int) -> int:
        """Stamp a read of the socket."""
        self._last = time.monotonic()
        return self._queue.now(ROOM, arrived)

    def follow(self) -> int:
        """Stamp one more frame of the same read."""
        return self._queue.follow()

    def opened(self, listener: Listener) -> None:
        """Carry every stream at once, or begin to take over from the old connection."""
        self.listener = listener
        streams = self.streams
        if self.old is not None and not self.old.gone:
            self.handover = self.old.handover = self._queue.handover(streams, self.number)
            if self.handover is None:
                self._queue.put(self._queue.now(), None, self._take_over)
                return
            self.old.heir = self
            streams = ()
        else:
            self.old = None
        names = [stream.name for stream in streams]
        self._queue.put(self._queue.now(), None, control.opened(self.number, self.socket, names))

    def frames(self, received: int, whole: Sequence[bytes]) -> None:
        """Queue frames."""
        if not self._why:
            self._queue.put_frames(received, self, whole)

    def lost(self, code: int, reason: str) -> None:
        """Tell the tape; streams that are being handed over go to whichever connection is left."""
        heir = self.heir if self.heir is not None and not self.heir.gone else None
        if heir is not None:
            self._queue.put(self._queue.now(), None, heir.take_level)
        self._queue.put(self._queue.now(), None, control.closed(self.number, code, self._why or reason))
        if heir is not None:
            self._queue.put(self._queue.now(), None, heir.take_broken)
        if self.old is not None and not self.old.gone:
            self._queue.put(self._queue.now(), None, self._return)
        self.ended.set_result(None)

    # Told by the carrier

    def give_up(self) -> None:
        """Forget an attempt that came to nothing."""
        if self.listener is not None:
            self.abort("subscribing failed")
        elif not self.gone:
            self.ended.set_result(None)

    def abort(self, why: str) -> None:
        """Drop the connection."""
        if self.listener is not None and not self._why:
            self._why = why
            self.listener.transport.abort()

    def check(self, now: float) -> None:
        """Drop the connection if it has been silent for too long; `now` is monotonic, s."""
        if self.listener is not None and not self.gone and now - self._last > self._patience:
            self.abort(f"nothing came for {now - self._last:.1f} s, allowed are {self._patience:.1f}")

    # At their place in the queue, in the intake's thread

    def release(self) -> "Link | None":
        """Let go of the old connection: from here on this one speaks for every stream. Return the old one."""
        old, self.old, self.handover = self.old, None, None
        if old is not None:
            old.handover = old.heir = None
            old.retired = True
        return old

    def _take_over(self, received: int) -> list[bytes]:
        """Carry everything from here on: the venue opens every book anew on a new connection."""
        self.release()
        return [control.opened(self.number, self.socket, [stream.name for stream in self.streams])]

    def take_level(self, received: int) -> list[bytes]:
        """Carry what the old connection has left and nobody misses a part of; to be called before its `close` line."""
        if self.handover is None:
            return []
        level, self._broken = self.handover.finish()
        self.release()
        return [control.switched(self.number, level)] if level else []

    def take_broken(self, received: int) -> list[bytes]:
        """Carry the rest, with a hole; after the `close` line."""
        broken, self._broken = self._broken, []
        return [control.opened(self.number, self.socket, broken)] if broken else []

    def _return(self, received: int) -> list[bytes]:
        """Give back to the old connection what had moved over, with a hole; after this one's `close` line."""
        if self.handover is None or self.old is None:
            return []
        broken = self.handover.abandon()
        old, self.old, self.handover = self.old, None, None
        old.handover = old.heir = None
        return [control.opened(old.number, old.socket, broken)] if broken else []
