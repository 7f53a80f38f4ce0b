"""The listener on a loopback server: every message whole, once, with the time of its arrival, plain and under TLS."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from ingest.connection import Listener, close, dial
from ingest.stamp import Stamp
from ingest.venues import load

LIMITS = load("binance_usdm").limits
Attend = Callable[[ServerConnection], Awaitable[None]]


class Ear:
    """Note what a listener tells."""

    def __init__(self) -> None:
        self.stamp = Stamp()
        self.frames: list[tuple[int, bytes]] = []
        self.told: list[str] = []
        self.ended = asyncio.Event()

    def read(self, arrived: int) -> int:
        return self.stamp.take(4, arrived)

    def follow(self) -> int:
        return self.stamp.after(4)

    def opened(self, listener: Listener) -> None:
        self.told.append("opened")

    def frame(self, received: int, raw: bytes) -> None:
        assert self.told == ["opened"]
        self.frames.append((received, raw))

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
    assert [raw[:6] for _, raw in ear.frames] == [b'{"n":1', b'{"n":2', b'{"n":3']
    stamps = [received for received, _ in ear.frames]
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
    ((received, _),) = ear.frames
    assert abs(received - sent[0]) < 20_000_000


def test_a_message_beyond_the_limit_ends_the_connection() -> None:
    ear = asyncio.run(heard(three, most=50_000))
    assert [raw[:6] for _, raw in ear.frames] == [b'{"n":1', b'{"n":2']
    assert "1009 (message too big)" in ear.told[-1]


def test_a_connection_torn_inside_a_frame_is_lost_with_1006() -> None:
    async def attend(connection: ServerConnection) -> None:
        connection.transport.write(Frame(Opcode.TEXT, b'{"n":1}').serialize(mask=False)[:-3])
        connection.transport.close()

    ear = asyncio.run(heard(attend))
    assert ear.frames == []
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
