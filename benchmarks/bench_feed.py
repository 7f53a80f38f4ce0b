"""Frames from a websocket: ours stamped at arrival beside other clients, and one process from a venue to rows.

The server is another process that sends the same recorded frames, prepared, as fast as they are taken: small ones
(best bid and ask, 0.2 kB) or a book's diffs (1.6 kB). Every client stamps each frame, keeps its bytes' length, and must
have all of them. Ours is the feed's: stamped by the kernel's time of arrival, before any queue, handed to a function,
and never paused. The peers are taken as their documentation says and stamp when they are called; picows also on our
socket, with the kernel's times, to compare the same work. All run on asyncio's own loop.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from benchmarks.compare import Peer, Prepare, compare
from benchmarks.workload import require_tape
from ingest.arrival import connect_to
from ingest.connection import Listener, close, dial
from ingest.emulator import Emulator
from ingest.feed import Feed
from ingest.stamp import Stamp
from ingest.tape import read
from ingest.venues import load

#: Channel -> frames of a round.
FRAMES: Final = {"bookTicker": 30_000, "depth": 12_000}
#: Lines of the way to rows.
LINES: Final = 20_000
VENUE: Final = load("binance_usdm")

#: How many frames, and how many bytes.
Answer = tuple[int, int]


@cache
def lines() -> list[tuple[int, bytes]]:
    """Read the tape."""
    return list(read([require_tape()]))


@cache
def frames(channel: str) -> list[bytes]:
    """Give so many frames of a channel, from the beginning again where the tape has fewer."""
    found = [raw for _, raw in lines() if f"@{channel}".encode() in raw[:40]]
    return (found * (FRAMES[channel] // len(found) + 1))[: FRAMES[channel]]


async def blast() -> None:
    """Send every client the frames that its path names, then close."""
    wires = {
        f"/{channel}": b"".join(Frame(Opcode.TEXT, raw).serialize(mask=False) for raw in frames(channel))
        for channel in FRAMES
    }

    async def attend(connection: ServerConnection) -> None:
        assert connection.request is not None
        wire = wires[connection.request.path]
        for first in range(0, len(wire), 1 << 16):
            connection.transport.write(wire[first : first + (1 << 16)])
            await connection.drain()
        await connection.close()

    async with serve(attend, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.wait_closed()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Run the server."""
    require_tape()
    command = [sys.executable, "-m", "benchmarks.bench_feed"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as server:
        assert server.stdout is not None
        yield f"ws://127.0.0.1:{int(server.stdout.readline())}/"
        server.kill()


async def by_websockets(url: str) -> Answer:
    """Receive as the library's documentation does."""
    stamps, size = [], 0
    async with connect(url, compression=None, proxy=None, max_size=8 << 20, ping_interval=None) as connection:
        async for frame in connection:
            stamps.append(time.time_ns())
            size += len(frame)
    return len(stamps), size


async def by_aiohttp(url: str) -> Answer:
    """Receive as the library's documentation does."""
    import aiohttp

    stamps, size = [], 0
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=0, max_msg_size=8 << 20) as socket:
        async for message in socket:
            stamps.append(time.time_ns())
            size += len(message.data)
    return len(stamps), size


async def by_picows(url: str) -> Answer:
    """Receive as the library's documentation does."""
    import picows

    stamps: list[int] = []
    sizes: list[int] = []

    class Hearing(picows.WSListener):  # type: ignore[misc,unused-ignore]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == picows.WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()
                return
            stamps.append(time.time_ns())
            sizes.append(len(frame.get_payload_as_bytes()))

    transport, _ = await picows.ws_connect(Hearing, url)
    await transport.wait_disconnected()
    return len(stamps), sum(sizes)


async def by_picows_timed(url: str) -> Answer:
    """Receive on a socket of ours, stamped with the kernel's time of arrival as our frames are: asyncio reads it."""
    import picows

    ear = Ear()
    split = urlsplit(url)
    arrivals = await connect_to(split.hostname or "", split.port or 80)

    class Hearing(picows.WSListener):  # type: ignore[misc,unused-ignore]
        fresh = True

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == picows.WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code())
                transport.disconnect()
                return
            ear.frames(ear.read(arrivals.arrived) if self.fresh else ear.follow(), [frame.get_payload_as_bytes()])
            self.fresh = frame.last_in_buffer

    options = {"socket_factory": lambda parsed: arrivals, "use_aiofastnet": False, "read_buffer_init_size": 1 << 16}
    transport, _ = await picows.ws_connect(Hearing, url, **options)
    await transport.wait_disconnected()
    return len(ear.stamps), ear.size


class Ear:
    """Keep stamps and lengths."""

    def __init__(self) -> None:
        self.stamp = Stamp()
        self.stamps: list[int] = []
        self.size = 0
        self.ended = asyncio.Event()

    def read(self, arrived: int) -> int:
        return self.stamp.take(4, arrived)

    def follow(self) -> int:
        return self.stamp.after(4)

    def opened(self, listener: Listener) -> None: ...

    def frames(self, received: int, whole: Sequence[bytes]) -> None:
        for raw in whole:
            self.stamps.append(received)
            self.size += len(raw)
            received += 4
        self.stamp.after(4 * (len(whole) - 1))

    def lost(self, code: int, reason: str) -> None:
        self.ended.set()


async def ours(url: str) -> Answer:
    """Receive as the feed does."""
    ear = Ear()
    listener = await dial(url, VENUE.limits, ear, None)
    await ear.ended.wait()
    await close(listener)
    return len(ear.stamps), ear.size


def receiving(receive: Callable[[str], Awaitable[Answer]], url: str) -> Prepare:
    """Receive everything, in a loop of its own."""

    async def whole() -> Answer:
        return await receive(url)

    return lambda: lambda: asyncio.run(whole())


@pytest.mark.parametrize("channel", list(FRAMES))
def test_receive(benchmark: Any, url: str, channel: str) -> None:
    sent = frames(channel)
    assert asyncio.run(ours(url + channel)) == (len(sent), sum(map(len, sent)))
    size = sum(map(len, sent)) / len(sent) / 1e3
    compare(
        benchmark,
        stage=f"websocket: receive and stamp frames of {size:.1f} kB",
        unit="k frames/s",
        ours=receiving(ours, url + channel),
        count=len(sent) / 1e3,
        peers={
            "websockets": Peer(prepare=receiving(by_websockets, url + channel)),
            "aiohttp": Peer(prepare=receiving(by_aiohttp, url + channel)),
            "picows": Peer(prepare=receiving(by_picows, url + channel)),
            "picows, stamped as ours": Peer(prepare=receiving(by_picows_timed, url + channel)),
        },
        goal=4,
    )


async def whole() -> int:
    """Take the tape through emulator, websocket, feed and session in this process; count the rows' messages."""
    streams = VENUE.streams
    venue = replace(VENUE, streams=lambda symbols: tuple(s for s in streams(symbols) if s.socket == "public"))
    instruments = venue.infer_instruments([raw for _, raw in lines()[:2_000]])
    batches: list[Any] = []
    tape: list[tuple[int, bytes]] = []
    async with Emulator(venue, lines()[: LINES + 1], instruments, speed=None) as emulator:
        feed = Feed(
            venue,
            ["BTCUSDT"],
            stamp=Stamp(),
            deliver=batches.extend,
            record=lambda received, raw: tape.append((received, raw)),
            rest_url=emulator.rest_url,
            socket_url=emulator.socket_url,
        )
        task = asyncio.create_task(feed.run())
        while feed.session.counts["frames"] < LINES:  # noqa: ASYNC110  (another thread counts)
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait({task})
    return len(batches)


def test_one_process_to_rows(benchmark: Any) -> None:
    # Held diffs before the snapshot's id make no row.
    assert asyncio.run(whole()) > LINES * 0.99
    compare(
        benchmark,
        stage="emulator, websocket, feed, rows of a synchronised book: one process",
        unit="k frames/s",
        ours=lambda: lambda: asyncio.run(whole()),
        count=LINES / 1e3,
        peers={},
        rounds=3,
    )


if __name__ == "__main__":
    asyncio.run(blast())
