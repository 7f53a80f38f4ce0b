"""Frames of a venue into integer rows: ours beside what one would write with orjson and with msgspec.

The peer is the usual code: orjson, a loop of `float()`, `np.array`; beside it msgspec with typed floats, and the exact
ways to integers. Frames are a recorded tape's, and ones of its levels with 20, 60 and 200 of them. A group is one kind
of frame, so that one run shows the ratios; ours also notes, in `extra_info`, the median ratio in processor time of
rounds that take turns, which a busy machine moves least. Every route must give the same integers, floats after scaling
and rounding; that is checked outside the timer. Ours also checks every field and makes a MESSAGE row, the others only
levels. `session` is the whole way: decode, sequence, stamps, batch. `bare` is the kernel alone, all frames in one call.
"""

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from numba.typed import List
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from engine.instrument import Instrument
from engine.kernel import allocating
from ingest.rows import HEAD, MESSAGE_AT, MESSAGES_END, ROWS_AT, WORDS, Words
from ingest.scan import depth_plan, scan_depth
from ingest.session import Session, open_session
from ingest.venues import Decoder, load

FOLDER = Path(__file__).parents[1] / ".." / "shared" / "data" / "binance"
TAPES = {"binance_usdm": "usdm_btcusdt_20240808.gz", "binance_spot": "spot_btcusdt_20240808.gz"}
COUNT = 1000
#: Rounds that take turns.
TURNS = 15

#: Frame -> whatever the route makes of it; and that -> pairs of integers.
Route = Callable[[bytes], Any]
Pairs = NDArray[np.int64]


class Diff(msgspec.Struct, gc=False):
    """A depth frame's inner object, levels as texts."""

    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class FloatDiff(msgspec.Struct, gc=False):
    """The same, levels as floats."""

    b: list[tuple[float, float]]
    a: list[tuple[float, float]]


class Touch(msgspec.Struct, gc=False):
    """A bookTicker's inner object."""

    b: str
    B: str
    a: str
    A: str


class FloatTouch(msgspec.Struct, gc=False):
    """The same, numbers as floats."""

    b: float
    B: float
    a: float
    A: float


class Print(msgspec.Struct, gc=False):
    """A trade's inner object."""

    p: str
    q: str


class FloatPrint(msgspec.Struct, gc=False):
    """The same, numbers as floats."""

    p: float
    q: float


class Wrapped(msgspec.Struct, gc=False):
    """A combined-stream frame."""

    data: msgspec.Raw


TEXTS: dict[str, type] = {"depth": Diff, "bookTicker": Touch, "trade": Print}
FLOATS: dict[str, type] = {"depth": FloatDiff, "bookTicker": FloatTouch, "trade": FloatPrint}


def to_integer(text: str, decimals: int) -> int:
    """Read a decimal the exact way that most people know."""
    return int(Decimal(text).scaleb(decimals))


def to_integer_fast(text: str, decimals: int) -> int:
    """Read a decimal exactly without Decimal, trusting the text."""
    whole, _, part = text.partition(".")
    return int(whole + part.ljust(decimals, "0")[:decimals])


def pairs_of(content: Any, channel: str) -> Any:
    """List an object's pairs of price and size."""
    if channel == "depth":
        return content["b"] + content["a"]
    if channel == "trade":
        return [(content["p"], content["q"])]
    return [(content["b"], content["B"]), (content["a"], content["A"])]


def fields_of(content: Any, channel: str) -> Any:
    """List the pairs of a msgspec object."""
    if channel == "depth":
        return content.b + content.a
    if channel == "trade":
        return [(content.p, content.q)]
    return [(content.b, content.B), (content.a, content.A)]


def by_ours(decoder: Decoder) -> Route:
    return lambda frame: decoder.decode(frame)[0].rows


def by_usual(channel: str) -> Route:
    def route(frame: bytes) -> Any:
        pairs = pairs_of(orjson.loads(frame)["data"], channel)
        return np.array([(float(price), float(size)) for price, size in pairs])

    return route


def by_orjson(known: Instrument, channel: str, read: Callable[[str, int], int]) -> Route:
    prices, sizes = known.price_decimals, known.size_decimals

    def route(frame: bytes) -> Any:
        pairs = pairs_of(orjson.loads(frame)["data"], channel)
        return np.array([(read(price, prices), read(size, sizes)) for price, size in pairs])

    return route


def decoders(content: type) -> tuple[Any, Any]:
    """Make the decoders of a frame and of the object in it; a quoted number may be a float there."""
    return msgspec.json.Decoder(Wrapped), msgspec.json.Decoder(content, strict=False)


def by_msgspec(known: Instrument, channel: str) -> Route:
    outer, inner = decoders(TEXTS[channel])
    prices, sizes = known.price_decimals, known.size_decimals

    def route(frame: bytes) -> Any:
        pairs = fields_of(inner.decode(outer.decode(frame).data), channel)
        return np.array([(to_integer_fast(price, prices), to_integer_fast(size, sizes)) for price, size in pairs])

    return route


def by_msgspec_floats(channel: str) -> Route:
    outer, inner = decoders(FLOATS[channel])
    return lambda frame: np.array(fields_of(inner.decode(outer.decode(frame).data), channel))


def routes_of(known: Instrument, channel: str) -> dict[str, Route]:
    decoder = load(known.venue).decoder({known.symbol: known})
    return {
        "ours": by_ours(decoder),
        "usual": by_usual(channel),
        "msgspec_floats": by_msgspec_floats(channel),
        "orjson": by_orjson(known, channel, to_integer_fast),
        "orjson_decimal": by_orjson(known, channel, to_integer),
        "msgspec": by_msgspec(known, channel),
    }


def as_integers(found: Any, known: Instrument) -> Pairs:
    """Return a route's answer as integers at the instrument's scales, floats rounded."""
    if found.dtype.names:
        return np.column_stack((found["price"], found["size"]))
    if found.dtype == np.float64:
        scales = [10.0**known.price_decimals, 10.0**known.size_decimals]
        return np.asarray(np.rint(found * scales), np.int64)
    return np.asarray(found, np.int64)


def recorded(venue: str) -> list[tuple[int, bytes]]:
    path = FOLDER / TAPES[venue]
    if not path.exists():
        pytest.skip(f"the recorded tape is not here: {path}")
    with gzip.open(path) as file:
        pairs = (line.rstrip(b"\n").split(b" ", 1) for line in file)
        return [(int(received), raw) for received, raw in pairs]


def resized(frames: list[bytes], levels: int) -> list[bytes]:
    """Make frames of so many levels, half of them bids, out of recorded ones."""
    contents = [json.loads(frame) for frame in frames]
    sides = {side: [level for content in contents for level in content["data"][side]] for side in ("b", "a")}
    half, made = levels // 2, []
    for i, content in enumerate(contents):
        for side, all_of_it in sides.items():
            start = i * half % (len(all_of_it) - half)
            content["data"][side] = all_of_it[start : start + half]
        made.append(json.dumps(content, separators=(",", ":")).encode())
    return made


def in_turns(chosen: Route, peer: Route, frames: list[bytes]) -> float:
    """Return how many times the processor time the peer takes: the median of rounds that take turns."""
    ratios = []
    for _ in range(TURNS):
        spent = []
        for route in (chosen, peer):
            start = process_time()
            for frame in frames:
                route(frame)
            spent.append(process_time() - start)
        ratios.append(spent[1] / spent[0])
    return median(ratios)


def measure(benchmark: BenchmarkFixture, known: Instrument, channel: str, frames: list[bytes], route: str) -> None:
    """Check a route's answers and time it; ours beside the usual code in turns."""
    routes = routes_of(known, channel)
    chosen = routes[route]
    rows = 0
    for frame in frames:
        found = as_integers(chosen(frame), known)
        assert found.tolist() == as_integers(routes["orjson_decimal"](frame), known).tolist()
        rows += len(found)
    benchmark.extra_info["rows"] = rows
    if route == "ours":
        ratios = {peer: round(in_turns(chosen, routes[peer], frames), 1) for peer in ("usual", "msgspec_floats")}
        benchmark.extra_info["ratios"] = ratios
        print(f"{benchmark.group}: {rows / len(frames):.0f} rows a frame, ours is faster than {ratios}")

    def run() -> None:
        for frame in frames:
            chosen(frame)

    benchmark(run)


@pytest.mark.parametrize("route", ["ours", "usual", "msgspec_floats", "orjson", "orjson_decimal", "msgspec"])
@pytest.mark.parametrize("channel", ["depth", "bookTicker", "trade"])
@pytest.mark.parametrize("venue", TAPES)
def test_decode_1000_frames(benchmark: BenchmarkFixture, venue: str, channel: str, route: str) -> None:
    lines = recorded(venue)
    (known,) = load(venue).infer_instruments([raw for _, raw in lines[:200]])
    frames = [raw for _, raw in lines if f"@{channel}".encode() in raw[:40]][:COUNT]
    assert len(frames) == COUNT
    benchmark.group = f"{venue} {channel}"
    measure(benchmark, known, channel, frames, route)


@pytest.mark.parametrize("route", ["ours", "usual", "msgspec_floats"])
@pytest.mark.parametrize("levels", [20, 60, 200])
@pytest.mark.parametrize("venue", TAPES)
def test_decode_300_frames_of_equal_length(benchmark: BenchmarkFixture, venue: str, levels: int, route: str) -> None:
    lines = recorded(venue)
    (known,) = load(venue).infer_instruments([raw for _, raw in lines[:200]])
    frames = resized([raw for _, raw in lines if b"@depth" in raw[:40]][:300], levels)
    benchmark.group = f"{venue} {levels} levels"
    measure(benchmark, known, "depth", frames, route)


@allocating
def scan_all(frames: Any, plan: Words, words: Words) -> int:
    """Scan frames one after the other into the same memory."""
    levels = 0
    for frame in frames:
        words[MESSAGE_AT], words[MESSAGES_END], words[ROWS_AT] = HEAD, HEAD + WORDS, HEAD + WORDS
        levels += scan_depth(frame, plan, words)
    return levels


@pytest.mark.parametrize("venue", TAPES)
def test_bare_kernel(benchmark: BenchmarkFixture, venue: str) -> None:
    lines = recorded(venue)
    (known,) = load(venue).infer_instruments([raw for _, raw in lines[:200]])
    frames = [raw for _, raw in lines if b"@depth" in raw[:40]][:COUNT]
    scales = (known.price_decimals, known.size_decimals)
    plan = depth_plan(known.symbol.encode(), *scales, load(venue).sequence == "previous", False)
    words, together = np.zeros(1 << 16, np.int64), List(frames)
    levels = scan_all(together, plan, words)
    assert levels == sum(len(content["b"]) + len(content["a"]) for content in (orjson.loads(f)["data"] for f in frames))
    benchmark.group = "bare kernel, 1000 depth frames a call"
    benchmark(scan_all, together, plan, words)
    size = sum(map(len, frames))
    if benchmark.stats:
        speed = size / benchmark.stats.stats.median / 1e9
        benchmark.extra_info["GB_per_s"] = round(speed, 2)
        print(f"{venue}: {speed:.2f} GB/s, {benchmark.stats.stats.median / levels * 1e9:.1f} ns a level")


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
