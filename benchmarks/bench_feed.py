"""Frames from a websocket: ours stamped at arrival beside a bare loop of `websockets`, and one process to rows.

The server is another process that sends the same recorded frames, prepared, as fast as they are taken. The bare loop
takes them as one is told to (`async for`, no compression) and stamps each when it gets it. Ours stamps before any queue
and hands each to a function. The last bench has everything in one process and event loop: emulator, websocket, feed,
session, rows of a synchronised book.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from ingest.connection import Listener, close, dial
from ingest.emulator import Emulator
from ingest.feed import Feed
from ingest.stamp import Stamp
from ingest.tape import read
from ingest.venues import load

TAPE = Path(__file__).parents[1] / "../shared/data/binance/usdm_btcusdt_20240808.gz"
FRAMES = 20_000
VENUE = load("binance_usdm")


@cache
def lines() -> list[tuple[int, bytes]]:
    """Read the tape's first frames, its snapshot among them."""
    if not TAPE.exists():
        pytest.skip(f"recorded streams are not here: {TAPE} is absent")
    return list(islice(read([TAPE]), FRAMES + 1))


async def blast() -> None:
    """Send every client the same frames, then close."""
    wire = b"".join(Frame(Opcode.TEXT, raw).serialize(mask=False) for _, raw in lines()[:FRAMES])

    async def attend(connection: ServerConnection) -> None:
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
    lines()
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as server:
        assert server.stdout is not None
        yield f"ws://127.0.0.1:{int(server.stdout.readline())}/"
        server.kill()


async def bare(url: str) -> int:
    """Receive as the library's documentation does."""
    stamps = []
    async with connect(url, compression=None, proxy=None, max_size=8 << 20, ping_interval=None) as connection:
        async for _ in connection:
            stamps.append(time.time_ns())
    return len(stamps)


class Ear:
    """Count frames."""

    def __init__(self) -> None:
        self.stamp = Stamp()
        self.stamps: list[int] = []
        self.ended = asyncio.Event()

    def read(self, arrived: int) -> int:
        return self.stamp.take(4, arrived)

    def follow(self) -> int:
        return self.stamp.after(4)

    def opened(self, listener: Listener) -> None: ...

    def frame(self, received: int, raw: bytes) -> None:
        self.stamps.append(received)

    def lost(self, code: int, reason: str) -> None:
        self.ended.set()


async def ours(url: str) -> int:
    """Receive as the feed does."""
    ear = Ear()
    listener = await dial(url, VENUE.limits, ear, None)
    await ear.ended.wait()
    await close(listener)
    return len(ear.stamps)


async def whole() -> int:
    """Take the tape through emulator, websocket, feed and session in this process; count the rows' messages."""
    streams = VENUE.streams
    venue = replace(VENUE, streams=lambda symbols: tuple(s for s in streams(symbols) if s.socket == "public"))
    instruments = venue.infer_instruments([raw for _, raw in lines()[:2_000]])
    batches: list[Any] = []
    tape: list[tuple[int, bytes]] = []
    async with Emulator(venue, lines(), instruments, speed=None) as emulator:
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
        while feed.session.counts["frames"] < FRAMES:  # noqa: ASYNC110  (another thread counts)
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.wait({task})
    return len(batches)


def told(benchmark: Any) -> None:
    """Add the rate to what the table shows."""
    benchmark.extra_info["frames_per_s"] = round(FRAMES / benchmark.stats.stats.median) if benchmark.stats else 0


@pytest.mark.benchmark(group=f"receive {FRAMES} frames of 280 bytes")
def test_receive_20000_frames_bare_websockets(benchmark: Any, url: str) -> None:
    assert benchmark.pedantic(lambda: asyncio.run(bare(url)), rounds=5, warmup_rounds=1) == FRAMES
    told(benchmark)


@pytest.mark.benchmark(group=f"receive {FRAMES} frames of 280 bytes")
def test_receive_20000_frames_stamped_at_arrival(benchmark: Any, url: str) -> None:
    assert benchmark.pedantic(lambda: asyncio.run(ours(url)), rounds=5, warmup_rounds=1) == FRAMES
    told(benchmark)


@pytest.mark.benchmark(group="one process")
def test_emulator_to_rows_20000_frames(benchmark: Any) -> None:
    # Held diffs before the snapshot's id make no row.
    assert benchmark.pedantic(lambda: asyncio.run(whole()), rounds=3, warmup_rounds=1) > FRAMES * 0.99
    told(benchmark)


if __name__ == "__main__":
    asyncio.run(blast())
