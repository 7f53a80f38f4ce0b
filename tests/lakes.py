"""Lakes for tests, and what is in them message by message."""

from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from engine import lake
from engine.schema import FAMILY, MESSAGE, Batch, Flag, Kind, Rows
from engine.wire import encode
from ingest.simulator.frames import START, tape
from sinks.parquet import ParquetSink
from sinks.tape import TapeConfig, TapeSink
from tests.recording import record

SECOND = 1_000_000_000


def each_message(batches: Iterable[Batch]) -> list[tuple[str, str, bytes]]:
    """Give every message by itself, as it goes on the wire: the same however the messages were batched."""
    found = []
    for batch in batches:
        offsets = lake.offsets_of(batch.messages)
        for n in range(len(batch.messages)):
            alone = lake.cut(batch, offsets, n, n + 1)
            found.append((batch.instrument, batch.asset, encode(alone)))
    return found


def written(folder: Path, batches: Iterable[Batch], group: int | None = None) -> list[Path]:
    with ParquetSink(folder, group) as sink:
        sink.write(batches)
    return sink.paths


def made(instrument: str, asset: str, messages: list[tuple[int, Kind, int]], seed: int = 1) -> Batch:
    """Make a batch of (received, kind, count), every other number at random."""
    chance = np.random.default_rng(seed)

    def rows(dtype: np.dtype[Any], count: int) -> Rows:
        out = np.zeros(count, dtype)
        for name in dtype.names or ():
            if dtype[name].kind == "S":
                out[name] = [bytes(chance.integers(1, 256, chance.integers(0, 17), np.uint8)) for _ in range(count)]
            elif not name.startswith("reserved"):
                span = np.iinfo(dtype[name])
                out[name] = chance.integers(span.min, span.max, count, dtype[name], endpoint=True)
        return out

    head = rows(MESSAGE, len(messages))
    parts: dict[str, list[Rows]] = {}
    for n, (received, kind, count) in enumerate(messages):
        count = count if kind in FAMILY else 0
        bids = int(chance.integers(0, count + 1)) if kind <= Kind.TOUCH else 0
        head["received"][n], head["kind"][n], head["count"][n], head["bids"][n] = received, kind, count, bids
        head["flags"][n] = chance.choice([0, Flag.PARTIAL, Flag.CONTINUED, Flag.HISTORY, 2**32 - 1])
        for channel in lake.ROWS:
            if kind in channel.kinds:
                parts.setdefault(channel.part, []).append(rows(channel.family, count))
    joined = {part: np.concatenate(found) for part, found in parts.items()}
    return Batch(instrument=instrument, asset=asset, messages=head, **joined)


def simulated(folder: Path) -> Path:
    """Record eight seconds of the simulated market in two symbols, in parts."""
    lines = list(takewhile(lambda line: line[0] < START + 8 * SECOND, tape(seed=2)))
    sink = TapeSink(TapeConfig(folder=folder, prefix="sim", part_time=3 * SECOND), lambda stamp: lines[0][1])
    sink.write([record(time, raw) for time, raw in lines[1:]])
    sink.close()
    return folder


def one(folder: Path, channel: str, symbol: str = "BTCUSDT") -> Path:
    """Name the largest file of a channel."""
    return max(folder.glob(f"channel={channel}/*/symbol={symbol}/*/*.parquet"), key=lambda path: path.stat().st_size)
