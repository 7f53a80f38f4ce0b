"""REST bodies from hostile servers: what is refused, when it is given up, and in which order it is asked."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from engine.errors import BadConfig
from ingest import rest
from ingest.rest import Answer, Rest
from ingest.venues import load

VENUE = load("binance_usdm")
Reply = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


@asynccontextmanager
async def serving(reply: Reply, secure: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve one reply to whatever is asked."""

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reply(writer, await reader.readuntil(b"\r\n\r\n"))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(attend, "127.0.0.1", 0, ssl=secure)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def plain(status: str, body: bytes, headers: str = "") -> Reply:
    async def reply(writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)

    return reply


async def got(reply: Reply, **options: float) -> Answer:
    async with serving(reply) as base:
        return await Rest(VENUE, base, **options).get("/fapi/v1/depth")  # type: ignore[arg-type]


def test_a_body_comes_back_verbatim() -> None:
    answer = asyncio.run(got(plain("200 OK", b'{"a": [1]}\n')))
    assert answer == Answer(status=200, body=b'{"a": [1]}\n')


def test_several_paths_are_one_array_and_one_failure_is_all() -> None:
    async def echo(writer: asyncio.StreamWriter, request: bytes) -> None:
        path = request.split(b" ")[1].decode()
        await plain("404 Not Found" if "none" in path else "200 OK", f'{{"of": "{path}"}}'.encode())(writer, request)

    async def ask(path: str) -> Answer:
        async with serving(echo) as base:
            return await Rest(VENUE, base).get(path)

    assert asyncio.run(ask("/a?b=1 /c")).body == b'[{"of": "/a?b=1"},{"of": "/c"}]'
    assert asyncio.run(ask("/a /none /c")) == Answer(status=404, body=None)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (plain("429 Too Many Requests", b"{}", "Retry-After: 7\r\n"), Answer(status=429, body=None, retry_after=7.0)),
        (plain("302 Found", b"{}", "Location: http://127.0.0.1:1/\r\n"), Answer(status=302, body=None)),
        (plain("200 OK", b"<html>log in</html>"), Answer(status=200, body=None)),
        (plain("200 OK", b""), Answer(status=200, body=None)),
        (plain("nonsense", b"{}"), Answer(status=0, body=None)),
    ],
    ids=["refused", "redirect", "portal", "empty", "nonsense"],
)
def test_anything_but_a_json_body_is_no_body(reply: Reply, expected: Answer) -> None:
    assert asyncio.run(got(reply)) == expected


def test_a_body_that_is_too_large_is_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "LARGEST", 1_000)
    assert asyncio.run(got(plain("200 OK", b'{"a":"' + b"x" * 2_000 + b'"}'))).body is None


def test_a_server_that_drips_is_given_up_in_time() -> None:
    async def drip(writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        for _ in range(200):
            await asyncio.sleep(0.05)
            writer.write(b" ")
            await writer.drain()

    begin = time.monotonic()
    assert asyncio.run(got(drip, timeout=0.5)) == Answer(status=0, body=None)
    assert time.monotonic() - begin < 2


def test_nobody_there_is_an_answer_too() -> None:
    assert asyncio.run(Rest(VENUE, "http://127.0.0.1:1").get("/")) == Answer(status=0, body=None)


def test_a_request_goes_by_priority_and_a_newer_one_replaces_it() -> None:
    asked: list[str] = []

    async def note(writer: asyncio.StreamWriter, request: bytes) -> None:
        asked.append(request.split()[1].decode())
        await plain("200 OK", b"{}")(writer, request)

    async def run() -> None:
        async with serving(note) as base:
            client = Rest(replace(VENUE, weight=lambda path: 1), base)
            answered = asyncio.Semaphore(0)
            for path, key, priority in (
                ("/late", "late", 5),
                ("/old", "book", 1),
                ("/new", "book", 1),
                ("/first", "first", 0),
            ):
                client.ask(path, key, priority, 0.0, lambda _: answered.release())
            await asyncio.sleep(0.05)
            task = asyncio.create_task(client.run())
            for _ in range(3):
                await answered.acquire()
            task.cancel()
            await asyncio.wait({task})

    asyncio.run(run())
    # Four may be on their way at once, so only what was sent is certain, and that the replaced one was not.
    assert sorted(asked) == ["/first", "/late", "/new"]


def test_weight_spreads_requests_over_time() -> None:
    async def run() -> float:
        async with serving(plain("200 OK", b"{}")) as base:
            limits = replace(VENUE.limits, weight=120)
            client = Rest(replace(VENUE, limits=limits, weight=lambda path: 20), base)
            answered = asyncio.Semaphore(0)
            for number in range(4):
                client.ask("/", str(number), number, 0.0, lambda _: answered.release())
            task = asyncio.create_task(client.run())
            begin = time.monotonic()
            for _ in range(3):
                await answered.acquire()
            await asyncio.sleep(0.3)
            assert answered.locked()  # 120 a minute: 60 at once, the fourth would be 20 s later
            task.cancel()
            await asyncio.wait({task})
            return time.monotonic() - begin

    assert asyncio.run(run()) < 3


def test_urls_that_are_none_are_refused() -> None:
    with pytest.raises(BadConfig, match="REST URL is 'ftp://x'"):
        Rest(VENUE, "ftp://x")
