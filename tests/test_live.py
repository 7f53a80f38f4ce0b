"""The ingest process: two venues at once, tapes that replay to the same records, and how it ends."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from airpocket.live import run_ingest
from airpocket.outbox import Outbox
from engine import wire
from engine.errors import AirpocketError, BadConfig, Undelivered
from engine.schema import Batch, Kind, Record
from ingest.emulator import Emulator
from ingest.linger import Linger
from ingest.rows import message
from ingest.session import Session
from ingest.tape import read
from ingest.venues import load
from sinks.memory import MemorySink
from sinks.tape import TapeConfig, TapeSink
from tests.feeding import Lines, head, known, tuned

pytestmark = pytest.mark.tape

CHANNELS = ("depth", "touch", "trade")
VENUES = {"binance_usdm": "usdm_btcusdt_20240808.gz", "binance_spot": "spot_btcusdt_20240808.gz"}


def recorder(folder: Path, **options: Any) -> Callable[[str, Callable[[int], bytes]], TapeSink]:
    return lambda venue, header: TapeSink(TapeConfig(folder=folder / venue, prefix=venue, **options), header)


async def ingest(
    tapes: dict[str, Lines], sink: Any, folder: Path, *, until: Callable[[], bool], speed: float | None = None
) -> None:
    """Run the process's own function against an emulator a venue until a condition holds, then as after SIGTERM."""
    async with AsyncExitStack() as stack:
        wanted, emulators = [], []
        for name, lines in tapes.items():
            venue = tuned(name)
            emulator = await stack.enter_async_context(Emulator(venue, lines, known(venue, lines), speed=speed))
            emulators.append(emulator)
            settings = {"socket_url": emulator.socket_url, "rest_url": emulator.rest_url, "channels": CHANNELS}
            wanted.append((name, ["BTCUSDT"], settings))
        task = asyncio.create_task(run_ingest(wanted, sink, recorder(folder)))
        async with asyncio.timeout(60):
            for emulator in emulators:
                finish = asyncio.create_task(emulator.finished())
                await asyncio.wait({finish, task}, return_when=asyncio.FIRST_COMPLETED)
                finish.cancel()
            while not task.done() and not until():  # noqa: ASYNC110  (another thread makes it true)
                await asyncio.sleep(0.02)
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await task


def again(folder: Path, name: str) -> list[Record]:
    """Make the records anew from a tape."""
    session, linger = Session(load(name), ["BTCUSDT"]), Linger()
    made = list(chain.from_iterable(linger.add(session.receive(at, raw)) for at, raw in read([folder / name])))
    return [wire.record(batch) for batch in [*made, *linger.flush()]]


def test_two_venues_run_and_their_tapes_replay_to_the_same_records(binance_tapes: Path, tmp_path: Path) -> None:
    tapes = {name: head(binance_tapes / file, 6_000) for name, file in VENUES.items()}
    sink = MemorySink()

    def all_came() -> bool:
        trades = sum(len(wire.batch_of(record).trades) for record in list(sink.records))
        return trades >= sum(b'@trade"' in raw[:40] for lines in tapes.values() for _, raw in lines)

    asyncio.run(ingest(tapes, sink, tmp_path, until=all_came, speed=20.0))
    for name in VENUES:
        live = [record for record in sink.records if record.key.startswith(name)]
        assert len(live) > 30
        assert again(tmp_path, name) == live
        stamps = [at for at, _ in read([tmp_path / name])]
        assert stamps == sorted(set(stamps))
    # One clock over all venues.
    every = [at for name in VENUES for at, _ in read([tmp_path / name])]
    assert len(every) == len(set(every))


class Broken:
    """A sink that takes so many writes and then fails, or never answers."""

    def __init__(self, writes: int, stuck: float = 0.0) -> None:
        self.left, self.stuck, self.closed = writes, stuck, False

    def write(self, records: Sequence[Record]) -> None:
        self.left -= 1
        if self.left < 0:
            time.sleep(self.stuck)
            raise Undelivered("the broker is gone")

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed = True


def test_an_undelivered_record_ends_the_process_and_the_tape_is_whole(binance_tapes: Path, tmp_path: Path) -> None:
    name = "binance_usdm"
    tapes = {name: head(binance_tapes / VENUES[name], 6_000)}
    sink = Broken(writes=20)
    with pytest.raises(Undelivered, match="the broker is gone"):
        asyncio.run(ingest(tapes, sink, tmp_path, until=lambda: False, speed=20.0))
    assert sink.closed
    tape = read([tmp_path / name])
    taped = [raw for _, raw in tape if not raw.startswith(b'{"airpocket"')]
    assert not tape.tears
    sent = [raw for _, raw in tapes[name] if not raw.startswith(b'{"lastUpdateId"')]
    assert taped == sent[: len(taped)]
    assert len(taped) > 50


def test_a_sink_that_is_stuck_holds_up_the_end_for_seconds_only(binance_tapes: Path, tmp_path: Path) -> None:
    name = "binance_usdm"
    tapes = {name: head(binance_tapes / VENUES[name], 2_000)}
    sink, begin = Broken(writes=3, stuck=15.0), time.monotonic()
    with pytest.raises(Undelivered, match="the sink left"):
        asyncio.run(ingest(tapes, sink, tmp_path, until=lambda: sink.left < 0))
    assert time.monotonic() - begin < 12
    assert len(list(read([tmp_path / name]))) >= 2_000


PROCESS = """
import asyncio, sys
from pathlib import Path
from airpocket.live import run_ingest
from sinks.memory import MemorySink
from sinks.tape import TapeConfig, TapeSink

class Counting(MemorySink):
    def write(self, records):
        super().write(records)
        if len(self.records) == len(records):
            print("first record", flush=True)

sink = Counting()
settings = {"socket_url": sys.argv[1], "rest_url": sys.argv[2], "channels": ["depth", "touch", "trade"]}
tape = lambda venue, header: TapeSink(TapeConfig(folder=Path(sys.argv[3]), prefix=venue), header)
asyncio.run(run_ingest([("binance_usdm", ["BTCUSDT"], settings)], sink, tape))
print(len(sink.records), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_status_0(binance_tapes: Path, tmp_path: Path, number: int) -> None:
    lines = head(binance_tapes / VENUES["binance_usdm"], 20_000)
    venue = tuned()

    async def run() -> tuple[int, float, str]:
        async with Emulator(venue, lines, known(venue, lines), speed=2.0) as emulator:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-c", PROCESS, emulator.socket_url, emulator.rest_url, str(tmp_path)),
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parents[1],
            )
            assert process.stdout is not None
            assert await process.stdout.readline() == b"first record\n"
            await asyncio.sleep(0.5)
            begin = time.monotonic()
            process.send_signal(number)
            said = await process.stdout.read()
            return await process.wait(), time.monotonic() - begin, said.decode()

    status, took, said = asyncio.run(run())
    assert (status, took < 10) == (0, True)
    assert int(said) > 10
    tape = read([tmp_path])
    assert list(tape)[-1][1].startswith(b'{"airpocket":"close"')
    assert not tape.tears


def test_what_cannot_be_is_refused_by_name() -> None:
    for venues, refusal in (
        ([], "no venue"),
        ([("binance_usdm", ["BTCUSDT"], {"url": "ws://x"})], r"unknown settings of binance_usdm: \['url'\]"),
        ([("binance_usdm", ["BTCUSDT"], {"channels": ["depht"]})], r"unknown channels \['depht'\], known are depth"),
        ([("binance_usdm", [], {})], "no symbol"),
    ):
        with pytest.raises(BadConfig, match=refusal):
            asyncio.run(run_ingest(venues, None, signals=False))


def test_an_outbox_drops_rows_after_a_failure_and_says_so_once() -> None:
    told: list[AirpocketError] = []
    outbox = Outbox(Broken(writes=0), told.append, most=1)
    batch = Batch(instrument="v:S", asset="S", messages=message(Kind.RESYNC))
    for _ in range(3):
        outbox.put([batch])
    with pytest.raises(Undelivered, match="gone"):
        outbox.close(1.0)
    assert [str(error) for error in told] == ["the broker is gone"]


class Held:
    """A sink that keeps its first write waiting, and tells what was asked of it."""

    def __init__(self, error: AirpocketError | None = None) -> None:
        self.asked: list[str] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.error = error

    def write(self, records: Sequence[Record]) -> None:
        self.begun.set()
        self.go.wait(10)
        self.asked.append(f"write {len(records)}")

    def flush(self) -> None:
        self.asked.append("flush")
        if self.error is not None:
            raise self.error

    def close(self) -> None: ...


def test_a_record_does_not_wait_for_the_delivery_of_the_one_before_it() -> None:
    sink = Held()
    outbox = Outbox(sink, lambda error: None)
    batch = Batch(instrument="v:S", asset="S", messages=message(Kind.RESYNC))
    outbox.put([batch])
    assert sink.begun.wait(10)
    outbox.put([batch, batch])
    sink.go.set()
    outbox.close(5.0)
    assert sink.asked[:2] == ["write 1", "write 2"]
    assert sink.asked[-1] == "flush"


def test_what_was_not_delivered_is_told_while_no_rows_come() -> None:
    told: list[AirpocketError] = []
    failed = threading.Event()

    def hear(error: AirpocketError) -> None:
        told.append(error)
        failed.set()

    sink = Held(Undelivered("the broker is gone"))
    sink.go.set()
    outbox = Outbox(sink, hear)
    outbox.put([Batch(instrument="v:S", asset="S", messages=message(Kind.RESYNC))])
    assert failed.wait(10)
    assert [str(error) for error in told] == ["the broker is gone"]
    with pytest.raises(Undelivered, match="gone"):
        outbox.close(1.0)
