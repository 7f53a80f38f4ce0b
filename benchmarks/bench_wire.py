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

from engine.schema import LEVEL, MESSAGE, Batch, Kind
from engine.wire import decode, encode
from ingest.tape import read

Levels = list[tuple[int, int]]
Codec = tuple[Callable[[Batch], bytes], Callable[[bytes], Batch]]

TAPE = Path(__file__).parents[1] / "../shared/data/binance/usdm_btcusdt_20240808.gz"
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


@pytest.mark.parametrize("rows", [64, 4096])
@pytest.mark.parametrize("name", list(CODECS))
def test_encode_one_record(benchmark: Any, name: str, rows: int) -> None:
    to_bytes, from_bytes = CODECS[name]
    one = batch(rows)
    benchmark.group = f"encode one record of {rows} rows"
    value = to_bytes(one)
    benchmark.extra_info["bytes_per_row"] = round(len(value) / rows, 1)
    assert benchmark(to_bytes, one) == value
    assert from_bytes(value).levels.tolist() == one.levels.tolist()


@pytest.mark.parametrize("rows", [64, 4096])
@pytest.mark.parametrize("name", list(CODECS))
def test_decode_one_record(benchmark: Any, name: str, rows: int) -> None:
    to_bytes, from_bytes = CODECS[name]
    one = batch(rows)
    benchmark.group = f"decode one record of {rows} rows"
    read_back = benchmark(from_bytes, to_bytes(one))
    assert read_back.levels.tolist() == one.levels.tolist()
    assert read_back.messages.tolist() == one.messages.tolist()


def by_gzip(path: Path) -> Iterator[tuple[int, bytes]]:
    """Read a tape as one would without us."""
    with gzip.open(path) as tape:
        for line in tape:
            stamp, raw = line.split(b" ", 1)
            yield int(stamp), raw.rstrip(b"\n")


@pytest.mark.parametrize("parse", [False, True], ids=["lines", "frames"])
@pytest.mark.parametrize("reader", [lambda path: read([path]), by_gzip], ids=["ours", "gzip"])
def test_read_a_tape_of_94_thousand_lines(
    benchmark: Any, reader: Callable[[Path], Iterator[tuple[int, bytes]]], parse: bool
) -> None:
    if not TAPE.exists():
        pytest.skip(f"the recorded tape is not here: {TAPE} is absent")

    def lines() -> tuple[int, int]:
        count = size = 0
        for _, raw in reader(TAPE):
            if parse:
                orjson.loads(raw)
            count += 1
            size += len(raw)
        return count, size

    benchmark.group = f"read a tape of 94 thousand {'frames' if parse else 'lines'}"
    count, size = benchmark.pedantic(lines, rounds=5, warmup_rounds=1)
    assert (count, size) == (93_954, 27_757_550 - 21 * 93_954)
    benchmark.extra_info["megabytes"] = round(size / 1e6, 1)


def test_read_a_tape_of_94_thousand_lines_once_unpacked(benchmark: Any, tmp_path: Path) -> None:
    if not TAPE.exists():
        pytest.skip(f"the recorded tape is not here: {TAPE} is absent")
    plain = tmp_path / "plain.tape"
    plain.write_bytes(gzip.decompress(TAPE.read_bytes()))
    benchmark.group = "read a tape of 94 thousand lines, once unpacked"
    count = benchmark.pedantic(lambda: sum(1 for _ in read([plain])), rounds=5, warmup_rounds=1)
    assert count == 93_954
