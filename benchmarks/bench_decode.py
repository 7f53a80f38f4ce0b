"""Frames of a venue into integer rows: ours beside what one would write with orjson and with msgspec.

The frames are a recorded tape's; every route must give the same integers, which is checked outside the timer. A group
is one venue and one channel, so that one run shows the ratios. Ours also checks every field and makes a MESSAGE row,
the others only levels. `session` is the whole way: decode, sequence, stamps, batch.
"""

import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.instrument import Instrument
from engine.schema import LEVEL, Rows
from ingest.session import Session, open_session
from ingest.venues import Decoder, load

FOLDER = Path(__file__).parents[1] / ".." / "shared" / "data" / "binance"
TAPES = {"binance_usdm": "usdm_btcusdt_20240808.gz", "binance_spot": "spot_btcusdt_20240808.gz"}
COUNT = 1000

Route = Callable[[bytes], Rows]


class Diff(msgspec.Struct, gc=False):
    """A depth frame's inner object, levels as texts."""

    E: int
    U: int
    u: int
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class Touch(msgspec.Struct, gc=False):
    """A bookTicker's inner object."""

    u: int
    b: str
    B: str
    a: str
    A: str


class Wrapped(msgspec.Struct, gc=False):
    """A combined-stream frame."""

    data: msgspec.Raw


def to_integer(text: str, decimals: int) -> int:
    """Read a decimal the exact way that most people know."""
    return int(Decimal(text).scaleb(decimals))


def to_integer_fast(text: str, decimals: int) -> int:
    """Read a decimal exactly without Decimal, trusting the text."""
    whole, _, part = text.partition(".")
    return int(whole + part.ljust(decimals, "0")[:decimals])


def level_rows(pairs: Any, known: Instrument, read: Callable[[str, int], int]) -> Rows:
    """Make LEVEL rows of pairs of texts."""
    prices, sizes = known.price_decimals, known.size_decimals
    return np.array([(read(price, prices), read(size, sizes)) for price, size in pairs], LEVEL)


def by_ours(decoder: Decoder) -> Route:
    return lambda frame: decoder.decode(frame)[0].rows


def by_orjson(known: Instrument, read: Callable[[str, int], int]) -> Route:
    def route(frame: bytes) -> Rows:
        content = orjson.loads(frame)["data"]
        if "B" in content:
            return level_rows([(content["b"], content["B"]), (content["a"], content["A"])], known, read)
        return level_rows(content["b"] + content["a"], known, read)

    return route


def by_msgspec(known: Instrument, channel: str) -> Route:
    outer, inner = msgspec.json.Decoder(Wrapped), msgspec.json.Decoder(Touch if channel == "bookTicker" else Diff)

    def route(frame: bytes) -> Rows:
        content: Any = inner.decode(outer.decode(frame).data)
        if channel == "bookTicker":
            return level_rows([(content.b, content.B), (content.a, content.A)], known, to_integer_fast)
        return level_rows(content.b + content.a, known, to_integer_fast)

    return route


def recorded(venue: str) -> list[tuple[int, bytes]]:
    path = FOLDER / TAPES[venue]
    if not path.exists():
        pytest.skip(f"the recorded tape is not here: {path}")
    with gzip.open(path) as file:
        pairs = (line.rstrip(b"\n").split(b" ", 1) for line in file)
        return [(int(received), raw) for received, raw in pairs]


@pytest.mark.parametrize("route", ["ours", "orjson_decimal", "orjson", "msgspec"])
@pytest.mark.parametrize("channel", ["depth", "bookTicker"])
@pytest.mark.parametrize("venue", TAPES)
def test_decode_1000_frames(benchmark: BenchmarkFixture, venue: str, channel: str, route: str) -> None:
    lines = recorded(venue)
    (known,) = load(venue).infer_instruments([raw for _, raw in lines[:200]])
    frames = [raw for _, raw in lines if f"@{channel}".encode() in raw[:40]][:COUNT]
    assert len(frames) == COUNT
    routes = {
        "ours": by_ours(load(venue).decoder({known.symbol: known})),
        "orjson_decimal": by_orjson(known, to_integer),
        "orjson": by_orjson(known, to_integer_fast),
        "msgspec": by_msgspec(known, channel),
    }
    for frame in frames:
        assert routes[route](frame).tolist() == routes["orjson_decimal"](frame).tolist()
    chosen = routes[route]
    benchmark.group = f"{venue} {channel}"
    benchmark.extra_info["levels"] = sum(len(chosen(frame)) for frame in frames)
    benchmark(lambda: [chosen(frame) for frame in frames])


@pytest.mark.parametrize("channel", ["depth", "bookTicker", "trade"])
@pytest.mark.parametrize("venue", TAPES)
def test_session_1000_frames(benchmark: BenchmarkFixture, venue: str, channel: str) -> None:
    lines = recorded(venue)

    def started() -> tuple[tuple[Session], dict[str, Any]]:
        session = open_session(lines[:200], venue)
        for line in lines[:300]:
            session.receive(*line)
        assert all(session.synced.values())
        return (session,), {}

    frames = [line for line in lines[300:] if f"@{channel}".encode() in line[1][:40]][:COUNT]
    assert len(frames) == COUNT
    ((session,), _) = started()
    assert sum(len(session.receive(*line)) for line in frames) == COUNT
    benchmark.group = "the whole session, per channel"
    pedantic: Any = benchmark.pedantic
    pedantic(lambda session: [session.receive(*line) for line in frames], setup=started, rounds=10)
