"""One websocket: bytes in, stamped frames out, in the socket's own callback and before any queue.

`websockets` gives its users messages through a queue that stops reading when it is full. For market data both are
wrong: the stamp would say when somebody got round to it, and a venue cuts off whoever does not read. `Listener` stamps
each read and passes its frames on at once; how much may wait is the feed's decision.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Event
from websockets.uri import parse_uri

from ingest.arrival import ArrivalSocket, connect_to
from ingest.venues import Limits

#: How long the opening and the closing handshake may take, s.
OPEN_TIMEOUT: Final = 10.0
CLOSE_TIMEOUT: Final = 1.0
CONTENT: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class Hearer(Protocol):
    """Who is told what a socket does, in its callbacks and in order: opened, frames, lost."""

    def read(self, arrived: int) -> int:
        """Stamp a read of the socket; `arrived` is the kernel's time of its newest bytes, 0 where it has none."""
        ...

    def follow(self) -> int:
        """Stamp one more frame of the same read."""
        ...

    def opened(self, listener: "Listener") -> None:
        """Hear that the handshake is through; frames may follow at once."""
        ...

    def frame(self, received: int, raw: bytes) -> None:
        """Hear a whole message."""
        ...

    def lost(self, code: int, reason: str) -> None:
        """Hear that the connection is gone."""
        ...


class Listener(ClientConnection):
    """A client connection that stamps at the read and queues nothing."""

    def __init__(self, hearer: Hearer, arrivals: ArrivalSocket | None, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._hearer, self._arrivals = hearer, arrivals
        self._fresh = False
        self._received = 0
        self._parts: list[bytes] = []
        self._open = False

    def data_received(self, data: bytes) -> None:
        """Stamp, then parse."""
        self._received = self._hearer.read(self._arrivals.arrived if self._arrivals is not None else 0)
        self._fresh = True
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        """Pass content on at once; leave handshake, ping and close to the library."""
        if not isinstance(event, Frame):
            super().process_event(event)
            # A close frame may be in the same read, so the state may be past OPEN already.
            if self.protocol.handshake_exc is None and not self._open:
                self._open = True
                self._hearer.opened(self)
                # Frames of the same read come after what the hearer has stamped now.
                self._fresh = False
        elif event.opcode not in CONTENT:
            super().process_event(event)
        elif event.fin and not self._parts:
            self._pass(bytes(event.data))
        else:
            self._parts.append(bytes(event.data))
            if event.fin:
                whole = b"".join(self._parts)
                self._parts.clear()
                self._pass(whole)

    def _pass(self, raw: bytes) -> None:
        received = self._received if self._fresh else self._hearer.follow()
        self._fresh = False
        self._hearer.frame(received, raw)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the hearer, with the close code and the reason that the venue gave."""
        super().connection_lost(exc)
        if self._open:
            self._open = False
            ours = self.protocol.close_sent if self.close_code == 1006 else None
            if ours is not None and ours.code == CloseCode.NORMAL_CLOSURE:
                # We said goodbye, and the venue cut the line without a word.
                self._hearer.lost(ours.code, ours.reason)
                return
            reason = self.close_reason or (f"failed: {ours}" if ours else repr(exc) if exc is not None else "")
            self._hearer.lost(self.close_code or 1006, reason)


class Dial(connect):
    """Connect without following redirects: a market-data socket has one address."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Refuse."""
        return exc


async def dial(
    url: str, limits: Limits, hearer: Hearer, proxy: str | None, headers: Mapping[str, str] | None = None
) -> Listener:
    """Open one websocket; its frames go to the hearer from the handshake on. The environment names no proxy."""
    place = parse_uri(url)
    async with asyncio.timeout(OPEN_TIMEOUT):
        # Behind a proxy the kernel's times would be the proxy's.
        arrivals = await connect_to(place.host, place.port) if proxy is None else None
    factory: Callable[..., Listener] = partial(Listener, hearer, arrivals)
    connection = await Dial(
        url,
        sock=arrivals,
        create_connection=cast(type[ClientConnection], factory),
        compression=None,
        proxy=proxy,
        open_timeout=OPEN_TIMEOUT,
        close_timeout=CLOSE_TIMEOUT,
        ping_interval=limits.ping_interval,
        ping_timeout=limits.ping_timeout,
        max_size=limits.max_size,
        max_queue=None,
        additional_headers=headers,
        user_agent_header="airpocket",
    )
    return cast(Listener, connection)


async def close(listener: Listener) -> None:
    """Close politely, and surely."""
    try:
        async with asyncio.timeout(2 * CLOSE_TIMEOUT):
            await listener.close()
    except TimeoutError:
        listener.transport.abort()
