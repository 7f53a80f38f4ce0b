"""Kill ingest ten times in the middle of a run: what reached the log is whole, and every signal of it is there once."""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from airpocket import admin
from airpocket.broker import embedded
from airpocket.names import SIGNALS
from engine.config import EngineConfig
from engine.kernel import COMPILED
from engine.pipeline import Pipeline
from engine.schema import Kind, Record
from engine.topics import MARKET
from engine.wire import batch_of
from ingest.emulator import Emulator
from ingest.tape import read
from ingest.venues import load
from tests.feeding import Ledger
from tests.oracle import Oracle
from tests.test_path import PARTITIONS, computing, configure, gather

KILLS = 10

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COMPILED, reason="starting ten processes uncompiled takes minutes"),
]


def start(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as file:
        return subprocess.Popen(command, stderr=file)


async def kill_again_and_again(emulator: Emulator, config: Path, folder: Path) -> int:
    """Run ingest and kill it while its book is whole, again and again, then let it end in peace."""
    fate = random.Random(5)
    kills = 0
    command = [sys.executable, "-m", "airpocket", "ingest", "--config", str(config)]
    while True:
        before = emulator.counts["rest_depth"]
        process = start(command, folder / f"ingest-{kills}.log")
        try:
            async with asyncio.timeout(60):
                while emulator.counts["rest_depth"] == before:
                    assert process.poll() is None, (folder / f"ingest-{kills}.log").read_text()
                    await asyncio.sleep(0.02)
            await asyncio.sleep(fate.uniform(0.3, 1.5))
            if kills == KILLS:
                process.terminate()
                assert await asyncio.to_thread(process.wait, 15) == 0
                return kills
        finally:
            process.kill()
            process.wait()
        kills += 1


def test_ten_kills_of_ingest(binance_tapes: Path, tmp_path: Path) -> None:
    path = binance_tapes / "usdm_btcusdt_20240808.gz"
    venue = load("binance_usdm")
    lines = list(read([path]))
    instruments = venue.infer_instruments([raw for _, raw in lines[:2000]])

    async def play() -> None:
        async with Emulator(venue, lines, instruments, speed=4.0) as emulator:
            config = configure(broker, "binance_usdm", "BTCUSDT", emulator, tmp_path)
            assert await kill_again_and_again(emulator, config, tmp_path) == KILLS

    with embedded(partitions=PARTITIONS) as broker:
        admin.ensure(broker)
        began = time.monotonic()
        with computing(broker):
            asyncio.run(play())
            market = gather(broker, MARKET, 2.0)
        signals = {topic: gather(broker, topic, 1.0) for topic in SIGNALS.values()}
        print(f"{KILLS} kills in {time.monotonic() - began:.0f} s")

    batches = [batch_of(record) for _, _, record in market]
    kinds = Counter(Kind(int(kind)).name for batch in batches for kind in batch.messages["kind"])
    print(dict(kinds))
    assert kinds["SNAPSHOT"] >= KILLS
    assert kinds["GAP"] == 0, "a restart begins an epoch, it does not find a hole"
    # The book is right after every restart, and no diff is in the log twice.
    ledger = Ledger(Oracle(path)).take(batches)
    print(f"best bid and ask agreed {ledger.agreed} of {ledger.agreed + ledger.differed}")
    assert ledger.agreed > 500
    assert ledger.differed == 0
    assert len(set(ledger.ids)) == len(ledger.ids)
    assert len(set(ledger.trades)) == len(ledger.trades)
    # Every signal of the log, once.
    pipeline = Pipeline("BTC", EngineConfig())
    expected: dict[str, list[Record]] = {topic: [] for topic in SIGNALS.values()}
    for (_, offset, _), batch in zip(market, batches, strict=True):
        for record in pipeline.step(batch, offset):
            expected[record.topic].append(record)
    for topic, found in signals.items():
        assert [record.value for _, _, record in found] == [record.value for record in expected[topic]], topic
        assert [record.headers for _, _, record in found] == [record.headers for record in expected[topic]], topic
