"""One record to bytes and back to numpy rows, of 64 and of 4096 levels: SBE beside what one would use instead.

All hold the same message and the same levels, and each must give the same arrays back. The tape reader stands beside
gzip's own lines: alone, and with every frame parsed by orjson as any consumer of frames must.
"""

import gzip
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest

from benchmarks.compare import Peer, Prepare, compare
from benchmarks.workload import require_tape
from engine.schema import LEVEL, MESSAGE, Batch, Kind
from engine.wire import decode, encode
from ingest.tape import read

Levels = list[tuple[int, int]]
Codec = tuple[Callable[[Batch], bytes], Callable[[bytes], Batch]]

KEY, ASSET = "binance_usdm:BTCUSDT", "BTC"
HEAD = struct.Struct("<7q4IHBB")
ROW = struct.Struct("<qq")


def batch(rows: int) -> Batch:
    """Make a DELTA of so many levels."""
    chance = np.random.default_rng(rows)
    message = np.zeros(1, MESSAGE)
    message["received"] = 1_723_161_255_030_314_667
    message["kind"], message["count"], message["bids"] = Kind.DELTA, rows, rows // 2
    levels = np.zeros(rows, LEVEL)
    levels["price"] = chance.integers(6_000_000, 6_400_000, rows)
    levels["size"] = chance.integers(0, 50_000, rows)
    return Batch(instrument=KEY, asset=ASSET, messages=message, levels=levels)


def rebuilt(message: tuple[int, ...], levels: Levels) -> Batch:
    """Put Python values back into rows."""
    return Batch(instrument=KEY, asset=ASSET, messages=np.array([message], MESSAGE), levels=np.array(levels, LEVEL))


def pack_rows(one: Batch) -> bytes:
    return HEAD.pack(*one.messages[0].item()) + b"".join([ROW.pack(*level) for level in one.levels.tolist()])


def unpack_rows(value: bytes) -> Batch:
    return rebuilt(HEAD.unpack_from(value), list(ROW.iter_unpack(value[HEAD.size :])))


def values(one: Batch) -> tuple[tuple[int, ...], Levels]:
    return one.messages[0].item(), one.levels.tolist()


def from_lists(content: Any) -> Batch:
    message, levels = content
    return rebuilt(tuple(message), [(price, size) for price, size in levels])


CODECS: dict[str, Codec] = {
    "sbe": (encode, lambda value: decode(KEY, ASSET, value)),
    "struct": (pack_rows, unpack_rows),
    "orjson": (lambda one: orjson.dumps(values(one)), lambda value: from_lists(orjson.loads(value))),
    "msgpack": (
        lambda one: msgspec.msgpack.encode(values(one)),
        lambda value: from_lists(msgspec.msgpack.decode(value)),
    ),
}


def encoding(codec: Codec, one: Batch, times: int) -> Prepare:
    """Encode so many times; the answer is what the last value reads back as."""
    to_bytes, from_bytes = codec

    def run() -> Callable[[], Any]:
        for _ in range(times):
            value = to_bytes(one)
        return lambda: plain(from_bytes(value))

    return lambda: run


def decoding(codec: Codec, one: Batch, times: int) -> Prepare:
    """Decode so many times."""
    to_bytes, from_bytes = codec
    value = to_bytes(one)

    def run() -> Callable[[], Any]:
        for _ in range(times):
            read_back = from_bytes(value)
        return lambda: plain(read_back)

    return lambda: run


def plain(one: Batch) -> tuple[Any, Any]:
    return one.messages.tolist(), one.levels.tolist()


@pytest.mark.parametrize("rows", [64, 4096])
@pytest.mark.parametrize("way", ["encode", "decode"])
def test_one_record(benchmark: Any, way: str, rows: int) -> None:
    one, make = batch(rows), encoding if way == "encode" else decoding
    times, slower = 64_000 // rows, 6_400 // rows + 1
    ours, *others = CODECS
    for name, (to_bytes, _) in CODECS.items():
        benchmark.extra_info[f"bytes per row, {name}"] = round(len(to_bytes(one)) / rows, 1)
    compare(
        benchmark,
        stage=f"SBE: {way} one record of {rows:,} rows",
        unit="us/record",
        ours=make(CODECS[ours], one, times),
        count=times,
        peers={name: Peer(prepare=make(CODECS[name], one, slower), count=slower) for name in others},
        same=lambda mine, other: bool(mine() == other()),
        rounds=15,
    )


def by_gzip(path: Path) -> Iterator[tuple[int, bytes]]:
    """Read a tape as one would without us."""
    with gzip.open(path) as tape:
        for line in tape:
            stamp, raw = line.split(b" ", 1)
            yield int(stamp), raw.rstrip(b"\n")


@pytest.mark.parametrize("parse", [False, True], ids=["lines", "frames"])
def test_read_a_tape(benchmark: Any, parse: bool) -> None:
    path = require_tape()

    def reading(reader: Callable[[Path], Iterator[tuple[int, bytes]]]) -> Prepare:
        def lines() -> tuple[int, int]:
            count = size = 0
            for _, raw in reader(path):
                if parse:
                    orjson.loads(raw)
                count += 1
                size += len(raw)
            return count, size

        return lambda: lines

    assert reading(by_gzip)()() == (93_954, 27_757_550 - 21 * 93_954)
    compare(
        benchmark,
        stage=f"tape: read its {'frames, parsed by orjson' if parse else 'lines'}",
        unit="us/line",
        ours=reading(lambda path: read([path])),
        count=93_954,
        peers={"gzip": Peer(prepare=reading(by_gzip))},
        rounds=5,
    )
