"""Recordings for tests of the recorder and the reader."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.schema import Record
from sinks.tape import TapeConfig, TapeSink

START = 1_700_000_000_000_000_000


def record(time: int, value: bytes) -> Record:
    return Record(topic="raw.v1", key="venue", asset="", time=time, value=value)


def noise(count: int, begin: int = START, width: int = 60) -> list[Record]:
    """Make records that gzip cannot shrink much, two nanoseconds apart."""
    chance = random.Random(begin)
    return [record(begin + 2 * n, chance.randbytes(width).hex().encode()) for n in range(count)]


def pairs(records: Sequence[Record]) -> list[tuple[int, bytes]]:
    return [(r.time, r.value) for r in records]


def config(folder: Path, **changes: Any) -> TapeConfig:
    settings: dict[str, Any] = {"folder": folder, "prefix": "venue", "block": 4096, "queue": 1 << 20}
    return TapeConfig(**settings | changes)


def recorded(folder: Path, records: Sequence[Record], **changes: Any) -> list[Path]:
    sink = TapeSink(config(folder, **changes))
    sink.write(records)
    sink.close()
    return sink.paths
