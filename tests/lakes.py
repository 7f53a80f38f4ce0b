"""Lakes for tests, and what is in them message by message."""

from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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


def stepless(columns: Mapping[str, Any]) -> dict[str, list[int]]:
    """Sum a file's steps of messages, one by one, to the fields that they stand for."""
    clock, lasts, linked = 0, dict[int, int](), dict[int, int]()
    found: dict[str, list[int]] = {"exchanged": [], "last": [], "previous": []}
    names = ("kind", "exchanged_step", "last_step", "previous_less_linked")
    for kind, tick, step, less in zip(*(columns[name].tolist() for name in names), strict=True):
        clock = wrapped(clock + tick)
        lasts[kind] = wrapped(lasts.get(kind, 0) + step)
        previous = wrapped(linked.get(kind, -1) + less)
        linked[kind] = -1 if previous == -1 else lasts[kind]
        for name, value in zip(found, (clock, lasts[kind], previous), strict=True):
            found[name].append(value)
    return found


def wrapped(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def aged(folder: Path, group: int) -> None:
    """Make a lake one of version 2, whose messages have no steps and whose metadata say nothing of row groups."""
    for path in folder.rglob("*.parquet"):
        table, meta = pq.ParquetFile(path).read(), pq.read_metadata(path).metadata
        if b"groups" in meta:
            columns = {name: table.column(name).to_numpy() for name in table.column_names}
            columns |= stepless(columns)
            fields = lake.MESSAGES.columns_of(lake.WITHOUT_STEPS).items()
            schema = pa.schema([pa.field(name, pa.type_for_alias(kind), nullable=False) for name, kind in fields])
            table = pa.table({name: columns[name] for name, _ in fields}, schema=schema)
        said = {key: value for key, value in meta.items() if key != b"groups"} | {b"airpocket.lake": b"2"}
        pq.write_table(table.replace_schema_metadata(said), path, row_group_size=group)


def one(folder: Path, channel: str, symbol: str = "BTCUSDT") -> Path:
    """Name the largest file of a channel."""
    return max(folder.glob(f"channel={channel}/*/symbol={symbol}/*/*.parquet"), key=lambda path: path.stat().st_size)
