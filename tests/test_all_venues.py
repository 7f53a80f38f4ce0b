"""Every venue at once, each emulated, into one broker by one process: half an hour of tape in three minutes.

The captures are half a minute to a minute long, so each venue plays its own again and again and restarts in between, as
a venue does after maintenance: every book ends and begins anew some thirty times.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from airpocket import admin
from airpocket.broker import embedded
from engine.broker import BrokerConfig
from engine.instrument import from_row
from engine.kernel import COMPILED
from engine.schema import Batch, Kind
from engine.topics import MARKET, TOPICS
from engine.wire import batch_of
from ingest.emulator import Emulator
from ingest.mirror import Mirror, Rule
from ingest.topic import TopicSource
from ingest.venues import load, names
from tests.captured import CAPTURES, Played, capture
from tests.feeding import head, known
from tests.gate import GATE, as_today
from tests.losing import Reader
from tests.made import MADE, made

ROOT = Path(__file__).parents[1]
SPEED = 10.0
#: Seconds that it runs: 30 minutes of tape.
SECONDS = 180.0
#: The capture of USD-M is of streams that we do not subscribe; another tape stands for it. As plain Python its scanner
#: cannot keep ten times that pace.
USDM: Final = "binance_usdm"
HYPERLIQUID: Final = "hyperliquid"
NAMES: Final = (*CAPTURES, *MADE, GATE.name, HYPERLIQUID, *([USDM] if COMPILED else []))
#: Venues whose messages are single levels: bids may reach asks between two of them.
PIECEWISE = ("bitfinex", "kraken_futures")

pytestmark = [pytest.mark.tape, pytest.mark.slow, pytest.mark.timeout(600)]


@cache
def tape(name: str, captures: Path) -> Played:
    """Give what a venue plays."""
    if name in MADE:
        return made(name)
    if name == GATE.name:
        return Played(GATE, *as_today(captures))
    if name == HYPERLIQUID:
        venue, lines = load(name), head(captures.parent / "binance" / "btcusd_20250126.gz", 1_000)
        return Played(venue, lines, known(venue, lines))
    if name != USDM:
        return capture(name, captures)
    venue, lines = load(USDM), head(captures.parent / "binance" / "usdm_btcusdt_20240808.gz", 90_000)
    return Played(venue, lines, known(venue, lines))


def test_no_venue_is_left_out() -> None:
    assert {*NAMES, USDM} == set(names())


def test_all_venues_at_once_into_one_broker(captures: Path, tmp_path: Path) -> None:
    with embedded() as running:
        broker = replace(running, partitions=8)
        admin.ensure(broker, [replace(topic, retention=-1) for topic in TOPICS])
        log = asyncio.run(played(captures, broker, tmp_path))
        readers, kinds = read(broker)
    assert "Traceback" not in log
    assert "bad frame" not in log
    assert " ERROR " not in log
    assert {key.partition(":")[0] for key in readers} == set(NAMES)
    # How often each venue got round to restart depends on the machine; that they all did, again and again, does not.
    assert sum(count for (_, kind), count in kinds.items() if kind == Kind.SNAPSHOT) >= 3 * len(readers)
    for name in NAMES:
        symbols = [each.symbol for each in tape(name, captures).instruments]
        whole = [symbol for symbol in symbols if kinds[f"{name}:{symbol}", Kind.SNAPSHOT]]
        # Some books hardly move within their half minute.
        assert len(whole) >= 0.5 * len(symbols)
        # Nothing was lost, so nothing may be said to be.
        assert {symbol: kinds[f"{name}:{symbol}", Kind.GAP] for symbol in symbols} == dict.fromkeys(symbols, 0)


async def played(captures: Path, broker: BrokerConfig, folder: Path) -> str:
    """Let one process take every venue for a while; give what it logged."""
    settings = folder / "airpocket.toml"
    text = f'[kafka]\nbootstrap = "{broker.bootstrap}"\npartitions = {broker.partitions}\n'
    async with AsyncExitStack() as stack:
        for name in NAMES:
            venue, lines, instruments = tape(name, captures)
            emulator = Emulator(venue, lines, instruments, speed=SPEED, loop=True)
            served = await stack.enter_async_context(emulator)
            symbols = ", ".join(f'"{each.symbol}"' for each in instruments)
            text += f"[ingest.venues.{name}]\nsymbols = [{symbols}]\n"
            text += f'socket_url = "{served.socket_url}"\nrest_url = "{served.rest_url}"\n'
        settings.write_text(text)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "airpocket", "ingest", "--config", str(settings),
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        told = asyncio.create_task(process.communicate())
        await asyncio.wait({told}, timeout=SECONDS)
        assert not told.done(), (await told)[1].decode()[-2000:]
        process.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(told, 60)
    assert process.returncode == 0, err.decode()[-2000:]
    return err.decode()


def read(broker: BrokerConfig) -> tuple[dict[str, Reader], Counter[tuple[str, Kind]]]:
    """Follow every instrument's book through the topic; no book may be crossed while it is known."""
    readers: dict[str, Reader] = {}
    kinds: Counter[tuple[str, Kind]] = Counter()
    for batch in batches(broker):
        for row in batch.instruments:
            readers.setdefault(batch.instrument, Reader(Mirror(from_row(batch.instrument, row), Rule(uncrossed=True))))
        kinds.update((batch.instrument, Kind(kind)) for kind in batch.messages["kind"])
        reader = readers.get(batch.instrument)
        if reader is not None:
            reader.take(batch)
            if reader.known and batch.instrument.partition(":")[0] not in PIECEWISE:
                reader.mirror.check(None, 0, 0)
    return readers, kinds


def batches(broker: BrokerConfig) -> Iterator[Batch]:
    source = TopicSource(broker)
    for partition in range(broker.partitions):
        for taken in source.read(MARKET, partition, 0, source.end(MARKET, partition)):
            assert taken.record is not None
            yield batch_of(taken.record)
    source.close()
