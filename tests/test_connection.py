"""The listener on a loopback server: every message whole, once, with the time of its arrival, plain and under TLS."""

import asyncio
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from ingest.arrival import ArrivalSocket
from ingest.connection import Listener, close, dial
from ingest.stamp import Stamp
from ingest.venues import load

LIMITS = load("binance_usdm").limits
Attend = Callable[[ServerConnection], Awaitable[None]]


class Ear:
    """Note what a listener tells."""

    def __init__(self) -> None:
        self.stamp = Stamp()
        self.heard: list[tuple[int, bytes]] = []
        self.told: list[str] = []
        self.ended = asyncio.Event()

    def read(self, arrived: int) -> int:
        return self.stamp.take(4, arrived)

    def follow(self) -> int:
        return self.stamp.after(4)

    def opened(self, listener: Listener) -> None:
        self.told.append("opened")

    def frames(self, received: int, whole: Sequence[bytes]) -> None:
        assert self.told == ["opened"]
        self.heard += [(received + 4 * place, raw) for place, raw in enumerate(whole)]
        self.stamp.after(4 * (len(whole) - 1))

    def lost(self, code: int, reason: str) -> None:
        self.told.append(f"lost {code} {reason}")
        self.ended.set()


async def heard(attend: Attend, secure: ssl.SSLContext | None = None, most: int = 1 << 20) -> Ear:
    """Listen until the server closes."""
    ear = Ear()
    async with serve(attend, "127.0.0.1", 0, compression=None, ssl=secure, ping_interval=None) as server:
        scheme = "ws" if secure is None else "wss"
        url = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}/"
        listener = await dial(url, replace(LIMITS, max_size=most), ear, None)
        async with asyncio.timeout(10):
            await ear.ended.wait()
        await close(listener)
    return ear


async def three(connection: ServerConnection) -> None:
    await connection.send(b'{"n":1}', text=True)
    await connection.send([b'{"n"', b":2", b"}"], text=True)
    await connection.ping()
    # A frame of more than one read.
    await connection.send(b'{"n":3,"x":"' + b"x" * 100_000 + b'"}', text=True)
    await connection.close(1012, "restart")


def check(ear: Ear) -> None:
    assert [raw[:6] for _, raw in ear.heard] == [b'{"n":1', b'{"n":2', b'{"n":3']
    stamps = [received for received, _ in ear.heard]
    assert stamps == sorted(set(stamps))
    assert ear.told == ["opened", "lost 1012 restart"]


def test_messages_come_whole_and_in_order() -> None:
    check(asyncio.run(heard(three)))


def test_messages_come_whole_and_in_order_under_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    check(asyncio.run(heard(three, context)))


@pytest.mark.parametrize("secure", [False, True])
def test_a_stamp_is_the_arrival_and_not_the_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secure: bool) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    sent = []

    async def attend(connection: ServerConnection) -> None:
        await asyncio.sleep(0.2)
        connection.protocol.send_text(b'{"late":1}')
        connection.send_data()
        sent.append(time.time_ns())
        time.sleep(0.15)  # noqa: ASYNC251  (the loop that reads is held up, as by another task)
        await asyncio.sleep(0.05)
        await connection.close()

    ear = asyncio.run(heard(attend, context if secure else None))
    ((received, _),) = ear.heard
    assert abs(received - sent[0]) < 20_000_000


def test_a_message_beyond_the_limit_ends_the_connection() -> None:
    ear = asyncio.run(heard(three, most=50_000))
    assert [raw[:6] for _, raw in ear.heard] == [b'{"n":1', b'{"n":2']
    assert "1009 (message too big)" in ear.told[-1]


def test_a_connection_torn_inside_a_frame_is_lost_with_1006() -> None:
    async def attend(connection: ServerConnection) -> None:
        connection.transport.write(Frame(Opcode.TEXT, b'{"n":1}').serialize(mask=False)[:-3])
        connection.transport.close()

    ear = asyncio.run(heard(attend))
    assert ear.heard == []
    assert ear.told[-1].startswith("lost 1006")


def test_redirects_are_refused_and_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")

    def redirect(connection: ServerConnection, request: Request) -> Response | None:
        response = connection.respond(302, "")
        response.headers["Location"] = "ws://127.0.0.1:1/"
        return response

    async def run() -> None:
        async with serve(three, "127.0.0.1", 0, process_request=redirect) as server:
            with pytest.raises(InvalidStatus, match="302"):
                await dial(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", LIMITS, Ear(), None)

    asyncio.run(run())


#: Most bytes of a message in the streams below.
MOST = 70_000


def wire_of(frames: list[tuple[Opcode, int, bool]]) -> bytes:
    """Serialise frames of these opcodes, sizes and ends."""
    sizes = {Opcode.PING: 125, Opcode.PONG: 125, Opcode.CLOSE: 0}
    return b"".join(
        Frame(opcode, bytes([65 + place % 26]) * min(size, sizes.get(opcode, size)), fin).serialize(mask=False)
        for place, (opcode, size, fin) in enumerate(frames)
    )


def whole_messages() -> list[tuple[Opcode, int, bool]]:
    """Give every kind and size of frame that may stand between two messages, and fragments."""
    sizes = [0, 1, 2, 3, 125, 126, 127, 1_600, 65_535, 65_536]
    kinds = [Opcode.TEXT, Opcode.BINARY, Opcode.TEXT, Opcode.PING, Opcode.TEXT, Opcode.PONG]
    frames = [(kind, size, True) for size in sizes for kind in kinds]
    fragments = [(Opcode.TEXT, 3, False), (Opcode.PING, 4, True), (Opcode.CONT, 200, False), (Opcode.CONT, 1, True)]
    return [*frames, *fragments, *frames[:20], (Opcode.TEXT, 5, True)]


FAULTS = {
    "a close": wire_of([(Opcode.CLOSE, 0, True), (Opcode.TEXT, 9, True)]),
    "a message that is too long": wire_of([(Opcode.TEXT, MOST + 1, True), (Opcode.TEXT, 9, True)]),
    "fragments that are too long": wire_of(
        [(Opcode.TEXT, MOST, False), (Opcode.CONT, 9, True), (Opcode.TEXT, 9, True)]
    ),
    "a message inside of another": wire_of([(Opcode.TEXT, 9, False), (Opcode.TEXT, 9, True), (Opcode.CONT, 9, True)]),
    "an end without a beginning": wire_of([(Opcode.CONT, 9, True), (Opcode.TEXT, 9, True)]),
    "a masked frame": Frame(Opcode.TEXT, b"masked" * 30).serialize(mask=True) + wire_of([(Opcode.TEXT, 9, True)]),
    "an extension's bit": b"\xc1\x01x" + wire_of([(Opcode.TEXT, 9, True)]),
    "an unknown opcode": b"\x83\x01x" + wire_of([(Opcode.TEXT, 9, True)]),
    "a ping in fragments": b"\x09\x01x" + wire_of([(Opcode.TEXT, 9, True)]),
}


def opened() -> tuple[ClientProtocol, bytes]:
    """Give a client that has asked for a connection, and the server's answer."""
    client = ClientProtocol(parse_uri("ws://venue/"), max_size=MOST)
    client.send_request(client.connect())
    server = ServerProtocol()
    server.receive_data(b"".join(client.data_to_send()))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    return client, b"".join(server.data_to_send())


def by_library(wire: bytes) -> tuple[list[bytes], object, str]:
    """Say what the library alone makes of a stream: messages, the close that it met, and how it failed."""
    client, answer = opened()
    client.receive_data(answer + wire)
    found: list[bytes] = []
    parts: list[bytes] = []
    for event in client.events_received():
        if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            parts.append(bytes(event.data))
            if event.fin:
                found.append(b"".join(parts))
                parts.clear()
    return found, client.close_rcvd, repr(client.parser_exc)


class Line(asyncio.Transport):
    """A transport that goes nowhere."""

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return False

    def write_eof(self) -> None: ...

    def can_write_eof(self) -> bool:
        return True


async def by_listener(wire: bytes, seed: int) -> tuple[list[bytes], object, str]:
    """Hand the same stream to the listener in reads of random sizes."""
    client, answer = opened()
    ear = Ear()
    listener = Listener(ear, None, MOST, client)
    listener.connection_made(Line())
    draw = random.Random(seed)
    stream, at = answer + wire, 0
    while at < len(stream):
        step = draw.choice([1, 2, 3, 7, 130, 2_000, 20_000, 200_000])
        listener.data_received(stream[at : at + step])
        at += step
    stamps = [received for received, _ in ear.heard]
    assert stamps == sorted(set(stamps))
    return [raw for _, raw in ear.heard], client.close_rcvd, repr(client.parser_exc)


@pytest.mark.parametrize("fault", [*FAULTS, ""])
def test_any_stream_in_any_pieces_gives_what_the_library_gives(fault: str) -> None:
    wire = wire_of(whole_messages()) + FAULTS.get(fault, b"")
    expected = by_library(wire)
    assert len(expected[0]) > 50
    for seed in range(8):
        assert asyncio.run(by_listener(wire, seed)) == expected


def test_a_fault_right_after_the_handshake_gives_what_the_library_gives() -> None:
    for wire in FAULTS.values():
        for seed in range(4):
            assert asyncio.run(by_listener(wire, seed)) == by_library(wire)


def test_a_socket_that_is_read_once_more_says_at_the_next_read_what_is_wrong() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ArrivalSocket(socket.AF_INET, socket.SOCK_STREAM) as near:
        near.connect(server.getsockname())
        near.setblocking(False)
        far, _ = server.accept()
        assert near.more() == b""
        far.send(b"abc")
        assert near.more() == b"abc"
        # With this, closing resets the connection.
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        far.close()
        assert near.more() == b""
        with pytest.raises(ConnectionResetError):
            near.recv(1)
