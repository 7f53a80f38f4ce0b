"""When bytes reached this machine, as the kernel saw it, not when this process found the time to look.

A busy event loop, another process on the core, a collector's pause: each makes the clock at the read later than the
frame. On Linux a TCP socket tells with its bytes when the newest of them came in (SO_TIMESTAMPNS, the wall clock). The
reads are kept short, because there is one time for each of them. Elsewhere the clock at the read has to do.
"""

import asyncio
import socket
import struct
import sys
from typing import Any, Final

#: Of Linux, <asm-generic/socket.h>; the name of the option, and of the note that comes with the bytes.
SO_TIMESTAMPNS: Final = 35
#: Most bytes of one read: twenty frames with a book's diff, all with the newest one's time where they waited so long.
READ: Final = 32768
_TIME: Final = struct.Struct("@ll")
_NOTES: Final = socket.CMSG_SPACE(_TIME.size)


class ArrivalSocket(socket.socket):
    """A TCP socket that knows when the newest bytes that it gave out had arrived."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        #: Wall clock, ns. 0: unknown.
        self.arrived = 0
        self._failure: OSError | None = None
        if sys.platform == "linux":
            self.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Read, and note the time."""
        if self._failure is not None:
            raise self._failure
        content, notes, _, _ = self.recvmsg(min(size, READ), _NOTES, flags)
        self._note(notes)
        return content

    def more(self) -> bytes:
        """Read once more; nothing where nothing is there now, or where the next `recv` will say what is wrong."""
        try:
            return self.recv(READ)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            self._failure = error
            return b""

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> int:
        """Read into a buffer, and note the time: the way of asyncio under TLS."""
        most = min(size or len(buffer), READ)
        count, notes, _, _ = self.recvmsg_into([memoryview(buffer)[:most]], _NOTES, flags)
        self._note(notes)
        return count

    def _note(self, notes: list[tuple[int, int, bytes]]) -> None:
        for level, kind, time in notes:
            if kind == SO_TIMESTAMPNS and level == socket.SOL_SOCKET and len(time) == _TIME.size:
                seconds, nanoseconds = _TIME.unpack(time)
                self.arrived = seconds * 1_000_000_000 + nanoseconds


async def connect_to(host: str, port: int) -> ArrivalSocket:
    """Open a TCP connection to the first address of a name that answers."""
    loop = asyncio.get_running_loop()
    failure: OSError | None = None
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        opened = ArrivalSocket(family, kind, protocol)
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(opened, address)
            return opened
        except OSError as error:
            opened.close()
            failure = error
        except BaseException:
            opened.close()
            raise
    raise failure or OSError(f"{host} has no address")
