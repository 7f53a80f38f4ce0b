"""REST requests in, bodies out: in threads, never awaited where sockets are read, within the venue's weight.

`http.client` and nothing above it: it follows no redirect, reads no proxy from the environment, and its socket can be
shut from outside when time is up. Waiting requests go by priority; one that a newer one of the same symbol has replaced
is forgotten. A failure is an answer too: status and no body, status 0 where there was no response.
"""

import asyncio
import contextlib
import http.client
import itertools
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from engine.errors import BadConfig
from ingest.limit import per
from ingest.venues import Venue

#: The largest body accepted, bytes: the whole exchange information of a large venue is about 20 MB.
LARGEST: Final = 64 << 20
#: Requests on the way at once.
PARALLEL: Final = 4
#: What a venue that names no time is left alone for after 418, 429 and 503, s; and the longest that it may ask for.
PENALTY: Final = 5.0
LONGEST: Final = 300.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request came to."""

    status: int
    body: bytes | None
    #: Seconds that the venue asked to be left alone.
    retry_after: float = 0.0


class Rest:
    """One venue's REST resources."""

    def __init__(self, venue: Venue, base: str, *, timeout: float = 5.0, proxy: str | None = None) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadConfig(f"REST URL is {base!r}, allowed are http://host:port and https://host:port")
        self._base, self._venue, self._timeout = parts, venue, timeout
        self._proxy = urlsplit(proxy) if proxy else None
        self._secure = ssl.create_default_context() if parts.scheme == "https" else None
        self._limit = per(venue.limits.weight, 60.0)
        self._waiting: asyncio.PriorityQueue[tuple[int, int, str, str, Callable[[Answer], None]]]
        self._waiting = asyncio.PriorityQueue()
        self._order = itertools.count()
        self._newest: dict[str, int] = {}

    def ask(self, path: str, key: str, priority: int, delay: float, answered: Callable[[Answer], None]) -> None:
        """Queue a request, after `delay` s; it replaces a waiting one of the same key. Lower priorities go first."""
        number = next(self._order)
        self._newest[key] = number
        asyncio.get_running_loop().call_later(delay, self._waiting.put_nowait, (priority, number, path, key, answered))

    async def run(self) -> None:
        """Send what is asked, for ever."""
        free = asyncio.Semaphore(PARALLEL)
        async with asyncio.TaskGroup() as group:
            while True:
                await free.acquire()
                _, number, path, key, answered = await self._waiting.get()
                if self._newest[key] != number:
                    free.release()
                    continue
                now = asyncio.get_running_loop().time()
                await asyncio.sleep(self._limit.reserve(now, self._venue.weight(path)))
                task = group.create_task(self._one(path, answered))
                task.add_done_callback(lambda _: free.release())

    async def _one(self, path: str, answered: Callable[[Answer], None]) -> None:
        answer = await self.get(path)
        if answer.status in (418, 429, 503):
            pause = min(answer.retry_after or PENALTY, LONGEST)
            self._limit.block(asyncio.get_running_loop().time() + pause)
            log.warning(
                "rest refused venue=%s path=%s status=%d pause=%.1f", self._venue.name, path, answer.status, pause
            )
        elif answer.body is None:
            log.warning("rest failed venue=%s path=%s status=%d", self._venue.name, path, answer.status)
        answered(answer)

    async def get(self, path: str) -> Answer:
        """Fetch one path; or several, parted by blanks, whose bodies become one JSON array."""
        paths = path.split()
        if len(paths) < 2:
            return await self._get(path)
        bodies = []
        for each in paths:
            answer = await self._get(each)
            if answer.body is None:
                return answer
            bodies.append(answer.body)
        return Answer(status=200, body=b"[" + b",".join(bodies) + b"]")

    async def _get(self, path: str) -> Answer:
        connection = self._connection()
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.to_thread(self._fetch, connection, path)
        except (OSError, http.client.HTTPException) as error:
            log.info("rest broken venue=%s path=%s error=%r", self._venue.name, path, error)
            return Answer(status=0, body=None)
        finally:
            # Where the wait was given up, this ends the thread's.
            _shut(connection)

    def _connection(self) -> http.client.HTTPConnection:
        place = self._proxy or self._base
        if self._secure is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                place.hostname or "", place.port, timeout=self._timeout, context=self._secure
            )
        else:
            connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=self._timeout)
        if self._proxy:
            connection.set_tunnel(self._base.hostname or "", self._base.port)
        return connection

    def _fetch(self, connection: http.client.HTTPConnection, path: str) -> Answer:
        with contextlib.closing(connection):
            headers = {"Accept": "application/json", "User-Agent": "airpocket"}
            posted = self._venue.instruments_query if path == self._venue.instruments_path else None
            if posted is not None:
                headers["Content-Type"] = "application/json"
            method = "GET" if posted is None else "POST"
            connection.request(method, self._base.path.rstrip("/") + path, posted, headers)
            with connection.getresponse() as response:
                body = response.read(LARGEST + 1)
                after = response.headers.get("Retry-After", "")
                pause = float(after) if after.isdecimal() else 0.0
                whole = response.status == 200 and len(body) <= LARGEST and _is_json(body)
                return Answer(status=response.status, body=body if whole else None, retry_after=pause)


def _is_json(body: bytes) -> bool:
    """Tell JSON from the page of a captive portal; whether it is the right JSON is the decoder's to say."""
    return body[:1] in (b"{", b"[") and body.rstrip()[-1:] in (b"}", b"]")


def _shut(connection: http.client.HTTPConnection) -> None:
    raw = connection.sock
    if isinstance(raw, socket.socket):
        with contextlib.suppress(OSError):
            raw.shutdown(socket.SHUT_RDWR)
