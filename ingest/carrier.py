"""Keep one group of a venue's streams on a connection, for ever: connect, subscribe, replace before the venue cuts it.

After a loss the next attempt waits 0.1 to 10 s, three times the last wait at most and drawn at random (decorrelated
jitter), so that a thousand clients of a restarted venue do not come back as one. A connection counts as a success when
it has brought data: handshakes and ACKs are given freely by venues that send nothing. Attempts are limited as the venue
demands, and a Retry-After is obeyed.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from random import SystemRandom
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from ingest.connection import Listener, close, dial
from ingest.limit import Limit, per
from ingest.link import Link
from ingest.venues import SECOND, Stream, Venue

#: Seconds between attempts, shortest and longest; and the longest that a venue's Retry-After may ask for.
SHORTEST: Final = 0.1
LONGEST: Final = 10.0
LONGEST_ASKED: Final = 300.0
#: A connection is replaced at this share of its lifetime, or so many s before its end if that is earlier; less jitter.
AGE: Final = 0.95
MARGIN: Final = 1.0
JITTER: Final = 0.05
#: How long two connections may run beside one another at most, s (and at most half of the rest of the old one's life:
#: the venue must not cut it while streams are on their way).
BESIDE: Final = 10.0
#: A subscription that stays void is tried again after its deadline, then twice as long, and so on up to this, s.
PATIENCE: Final = 600.0

log = logging.getLogger(__name__)
random = SystemRandom()


class Carrier:
    """One group of streams of one socket."""

    def __init__(
        self,
        venue: Venue,
        socket: str,
        base: str,
        streams: Sequence[Stream],
        *,
        connects: Limit,
        proxy: str | None,
        link: Callable[[str, Sequence[Stream], Link | None], Link],
    ) -> None:
        self.socket, self.streams = socket, tuple(streams)
        self._venue, self._connects, self._proxy, self._link = venue, connects, proxy, link
        self._url = venue.url(base, socket, self.streams)
        #: Connections that may be open: one, or two while one replaces the other.
        self.links: list[Link] = []
        self._wait = 0.0
        self._void_wait = 0.0
        self._void_until = 0.0
        #: Work that goes on beside the connection: keep-alives, subscriptions mended.
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()
        self._mended = per(venue.limits.resubscribes, 3600.0)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        try:
            while True:
                link = await self._connect(None)
                while not link.gone:
                    await self._age(link)
                    link = link if link.gone else await self._replace(link)
                self._wait = 0.0 if link.proven else self._wait
                self._back_off()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*(self._close(link) for link in self.links))

    def void(self, streams: Sequence[Stream]) -> None:
        """Hear that subscriptions brought no data in time: connect anew, but not at the others' cost for ever."""
        now = asyncio.get_running_loop().time()
        mine = [stream for stream in streams if stream in self.streams]
        if not mine or now < self._void_until:
            return
        deadline = max(stream.first for stream in mine) / SECOND
        lately = now < self._void_until + 2 * self._void_wait
        self._void_wait = min(PATIENCE, 2 * self._void_wait) if lately else deadline
        self._void_until = now + self._void_wait
        for link in self.links:
            link.abort(f"no data of {', '.join(stream.name for stream in mine)} within {deadline:.1f} s")

    def resubscribe(self, streams: Sequence[Stream]) -> None:
        """End some subscriptions and begin them again, which brings their snapshots; or drop the connection."""
        now = asyncio.get_running_loop().time()
        for link in self.links:
            if streams and link.listener is not None and not link.retired:
                if self._mended.reserve(now) > 0:
                    link.abort(f"more than {self._venue.limits.resubscribes:.0f} subscriptions an hour would be mended")
                else:
                    self._go_on(self._mend(link, link.listener, streams))

    def drop(self, number: int, why: str) -> None:
        """Drop the connection of this number, if it is one of these; 0: all of them."""
        for link in self.links:
            if number in (0, link.number):
                link.abort(why)

    async def _mend(self, link: Link, listener: Listener, streams: Sequence[Stream]) -> None:
        frames = (*self._venue.unsubscribe(streams), *self._venue.subscribe(streams))
        log.info("subscribing again venue=%s streams=%s", self._venue.name, ",".join(s.name for s in streams))
        await self._send(link, listener, frames)

    async def _beat(self, link: Link, listener: Listener, frame: bytes, every: float) -> None:
        """Keep a connection alive in the venue's own way."""
        while not link.gone:
            await asyncio.wait({link.ended}, timeout=every)
            await self._send(link, listener, (frame,))

    async def _send(self, link: Link, listener: Listener, frames: Sequence[bytes]) -> None:
        try:
            async with self._sending:
                for frame in frames:
                    if link.gone:
                        return
                    await listener.send(frame, text=True)
                    await asyncio.sleep(1.5 / self._venue.limits.sends)
        except ConnectionClosed as loss:
            log.info("not sent venue=%s connection=%d why=%s", self._venue.name, link.number, loss)

    def _go_on(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _age(self, link: Link) -> None:
        """Wait until a connection is lost, is told to go, or is old; its life began when it was asked for."""
        lifetime = self._venue.limits.lifetime
        age = min(lifetime * AGE, lifetime - MARGIN) * (1 - JITTER * random.random())
        left = max(0.0, link.began + age - asyncio.get_running_loop().time())
        await asyncio.wait({link.ended, link.retiring}, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def _replace(self, old: Link) -> Link:
        """Open a connection beside the old one, hand every stream over, close the old one."""
        log.info("replacing venue=%s connection=%d", self._venue.name, old.number)
        self._wait = 0.0
        new = await self._connect(old)
        if new.handover is not None:
            rest = max(self._venue.limits.lifetime * (1 - AGE), MARGIN)
            ends = {old.ended, new.ended, new.handed}
            await asyncio.wait(ends, timeout=min(BESIDE, rest / 2), return_when=asyncio.FIRST_COMPLETED)
            if new.gone and not old.gone:
                self._back_off()
                return old
        # What has not moved over by now does so with the old connection's `close` line.
        await self._close(old)
        return new

    async def _connect(self, old: Link | None) -> Link:
        """Try until a connection is up and subscribed."""
        while True:
            booked = self._connects.reserve(asyncio.get_running_loop().time())
            await asyncio.sleep(max(self._wait, booked))
            link = self._link(self.socket, self.streams, old)
            self.links.append(link)
            link.ended.add_done_callback(lambda _, link=link: self.links.remove(link))  # type: ignore[misc]
            asked = 0.0
            try:
                listener = await dial(self._url, self._venue.limits, link, self._proxy, self._venue.headers)
                await self._subscribe(listener)
                if self._venue.heartbeat is not None:
                    self._go_on(self._beat(link, listener, *self._venue.heartbeat))
                return link
            except InvalidStatus as refusal:
                after = refusal.response.headers.get("Retry-After", "")
                asked = min(float(after), LONGEST_ASKED) if after.isdecimal() else 0.0
                why = f"status {refusal.response.status_code}"
            except ConnectionClosed as loss:
                why = f"lost while subscribing: {loss}"
            except (OSError, WebSocketException) as error:
                why = repr(error)
            link.give_up()
            self._back_off(asked)
            log.warning(
                "no connection venue=%s socket=%s wait=%.1f why=%s", self._venue.name, self.socket, self._wait, why
            )

    def _back_off(self, asked: float = 0.0) -> None:
        self._wait = max(asked, min(LONGEST, random.uniform(SHORTEST, 3 * max(self._wait, SHORTEST))))

    async def _subscribe(self, listener: Listener) -> None:
        for frame in self._venue.subscribe(self.streams):
            await listener.send(frame, text=True)
            # Pongs count too: leave a third of the allowance to them.
            await asyncio.sleep(1.5 / self._venue.limits.sends)

    async def _close(self, link: Link) -> None:
        if link.listener is not None:
            await close(link.listener)
