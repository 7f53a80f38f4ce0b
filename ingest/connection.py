"""One websocket: bytes in, stamped frames out, in the socket's own callback and before any queue.

`websockets` gives its users messages through a queue that stops reading when it is full. For market data both are
wrong: the stamp would say when somebody got round to it, and a venue cuts off whoever does not read. `Listener` stamps
each read and passes its frames on at once; how much may wait is the feed's decision.

The library spends 4 us on a frame, nearly all of it on what market data never needs. So a message of one frame is cut
here, and that is as fast as a websocket in C; handshake, control frames, fragments, faults and all that follows a close
go to the library, byte for byte. An event loop in C would read the socket itself and lose the kernel's time of arrival.
"""

import asyncio
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Event
from websockets.uri import parse_uri

from ingest.arrival import READ, ArrivalSocket, connect_to
from ingest.venues import Limits

#: How long the opening and the closing handshake may take, s.
OPEN_TIMEOUT: Final = 10.0
CLOSE_TIMEOUT: Final = 1.0
#: Reads of one turn of the loop at most, besides its own: other sockets wait meanwhile.
READS: Final = 15
#: Ends the head of an answer in HTTP.
HEAD_END: Final = b"\r\n\r\n"
#: RFC 6455, section 5.2: the first byte of a message of one frame, text or binary; and the first two of a text one, of
#: less than 126 bytes (the second byte is their number) and of those whose number is in the next two.
WHOLE: Final = (0x81, 0x82)
SMALL: Final = 0x8100
MEDIUM: Final = 0x817E
_START: Final = struct.Struct(">HH")
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

    def frames(self, received: int, whole: Sequence[bytes]) -> None:
        """Hear whole messages; the first one's stamp is `received`, the others follow it."""
        ...

    def lost(self, code: int, reason: str) -> None:
        """Hear that the connection is gone."""
        ...


class Listener(ClientConnection):
    """A client connection that stamps at the read, cuts whole messages itself, and queues nothing."""

    def __init__(
        self, hearer: Hearer, arrivals: ArrivalSocket | None, largest: int, *arguments: Any, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._hearer, self._arrivals, self._largest = hearer, arrivals, largest
        #: Nothing but TCP lies below: the socket may be read here as well.
        self._bare = False
        self._fresh = False
        self._received = 0
        self._parts: list[bytes] = []
        self._open = False
        #: The last bytes before the handshake's end; later the beginning of a frame's header.
        self._rest = b""
        #: Bytes that the frame under way still lacks, and what is there of its payload; None: it is the library's.
        self._lacking = 0
        self._payload: list[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note what lies below."""
        self._bare = self._arrivals is not None and transport.get_extra_info("sslcontext") is None
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Stamp and cut; then read on while more is there, each read with its own stamp, before the loop turns."""
        self._take(data)
        if self._arrivals is None or not self._bare:
            return
        for _ in range(READS):
            if len(data) < READ or self.transport.is_closing():
                return
            data = self._arrivals.more()
            if data:
                self._take(data)

    def _take(self, data: bytes) -> None:
        self._received = self._hearer.read(self._arrivals.arrived if self._arrivals is not None else 0)
        self._fresh = True
        data = data if self._open else self._shake(data)
        if self._open and not self._theirs():
            self._cut(data)
        elif data:
            super().data_received(data)

    def _shake(self, data: bytes) -> bytes:
        """Give the library the answer to the handshake, and return what follows: frames begin where it stands."""
        known = len(self._rest)
        tail = self._rest + data
        end = tail.find(HEAD_END)
        first = end + len(HEAD_END) - known if end >= 0 else len(data)
        self._rest = b"" if end >= 0 else tail[1 - len(HEAD_END) :]
        super().data_received(data[:first])
        return data[first:]

    def _cut(self, data: bytes) -> None:
        """Cut what came into messages, and pass them on in order."""
        at = 0
        whole: list[bytes] = []
        if self._lacking:
            at = self._go_on(data, whole)
        elif self._rest:
            data, self._rest = self._rest + data, b""
        while at < len(data) and not self._theirs():
            if not self._parts:
                at = self._run(data, at, whole)
            start = at + 2
            size = data[at + 1] if start <= len(data) else 0
            if size & 127 > 125:
                start += 2 if size & 127 == 126 else 8
                size = int.from_bytes(data[at + 2 : start])
            if start > len(data):
                self._rest = data[at:]
                break
            stop = start + size
            if data[at] not in WHOLE or data[at + 1] > 127 or size > self._largest or self._parts:
                self._pass(whole)
                whole = []
                super().data_received(data[at:stop])
                self._lacking = max(0, stop - len(data))
            elif stop <= len(data):
                whole.append(data[start:stop])
            else:
                self._payload, self._lacking = [data[start:]], stop - len(data)
            at = stop
        self._pass(whole)
        if at < len(data) and self._theirs():
            super().data_received(data[at:])

    def _run(self, data: bytes, at: int, whole: list[bytes]) -> int:
        """Cut text messages of less than 64 kB that are there in full; return where the first other thing begins."""
        end, largest, unpack = len(data), self._largest, _START.unpack_from
        while at + 4 <= end:
            kind, size = unpack(data, at)
            if kind == MEDIUM:
                start = at + 4
            elif SMALL <= kind < MEDIUM:
                start, size = at + 2, kind - SMALL
            else:
                break
            stop = start + size
            if stop > end or size > largest:
                break
            whole.append(data[start:stop])
            at = stop
        return at

    def _go_on(self, data: bytes, whole: list[bytes]) -> int:
        """Take what the frame under way lacks; return how much that was."""
        part = data[: self._lacking]
        self._lacking -= len(part)
        if self._payload is None:
            super().data_received(part)
        else:
            self._payload.append(part)
            if not self._lacking:
                whole.append(b"".join(self._payload))
                self._payload = None
        return len(part)

    def _theirs(self) -> bool:
        """Tell whether the library heeds no frame any more."""
        return self.protocol.close_rcvd is not None or self.protocol.parser_exc is not None

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
        else:
            self._parts.append(bytes(event.data))
            if event.fin:
                whole = b"".join(self._parts)
                self._parts.clear()
                self._pass([whole])

    def _pass(self, whole: list[bytes]) -> None:
        if whole:
            received = self._received if self._fresh else self._hearer.follow()
            self._fresh = False
            self._hearer.frames(received, whole)

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
    factory: Callable[..., Listener] = partial(Listener, hearer, arrivals, limits.max_size)
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
