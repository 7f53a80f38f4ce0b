"""One process end to end: the lines of a real tape to depth records, ours beside the usual Python route.

Ours is `airpocket replay` without the printing: tape, decoder, sequence checks, rows, batches, book, touch check,
health and depth records in JSON. The peer is what one writes in an afternoon: orjson, `Decimal`, sorted dictionaries,
the same seven bands of base depth summed when the 100 ms grid is crossed, orjson again; no sequence checks, no touch
check, no health, no sweep cost. Both must agree on every band of every record of a known book.
"""

import gzip
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
import sortedcontainers

from airpocket.player import Player
from engine.config import EngineConfig
from engine.topics import SIGNAL_DEPTH

TAPE = Path(__file__).parents[1] / "../shared/data/binance/usdm_btcusdt_20240808.gz"
LINES = 20_000
BANDS = EngineConfig().bands
SortedDict: Any = sortedcontainers.SortedDict  # untyped upstream

#: Last update id -> base depth of each band, bids then asks.
Answer = dict[int, list[float]]


@cache
def tape(folder: Path) -> Path:
    """Cut the tape to the lines that both read."""
    if not TAPE.exists():
        pytest.skip(f"recorded streams are not here: {TAPE} is absent")
    short = folder / "short.gz"
    with gzip.open(TAPE) as whole, gzip.open(short, "wb") as cut:
        cut.writelines(next(whole) for _ in range(LINES))
    return short


def ours(path: Path) -> Answer:
    found: Answer = {}
    for record in Player([path], venue="binance_usdm", topics=[SIGNAL_DEPTH]):
        value = orjson.loads(record.value)
        if value["state"] == "ok":
            found[value["last"]] = value["bid_base"] + value["ask_base"]
    return found


class Afternoon:
    """The peer."""

    def __init__(self) -> None:
        self.bids = SortedDict()
        self.asks = SortedDict()
        self.last = 0
        self.held: list[dict[str, Any]] | None = []
        self.grid = 0
        self.found: Answer = {}

    def take(self, received: int, frame: dict[str, Any]) -> None:
        grid = received // 100_000_000
        if grid != self.grid and self.last:
            self.found[self.last] = orjson.loads(orjson.dumps(self.depth()))
        self.grid = grid
        if "lastUpdateId" in frame:
            self.update(frame["bids"], frame["asks"])
            held, self.held = self.held or [], None
            for diff in held:
                if diff["u"] >= frame["lastUpdateId"]:
                    self.diff(diff)
        elif frame["data"]["e"] == "depthUpdate":
            if self.held is None:
                self.diff(frame["data"])
            else:
                self.held.append(frame["data"])

    def diff(self, frame: dict[str, Any]) -> None:
        self.update(frame["b"], frame["a"])
        self.last = frame["u"]

    def update(self, bids: list[list[str]], asks: list[list[str]]) -> None:
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, size in levels:
                key, amount = Decimal(price), Decimal(size)
                if amount:
                    side[key] = amount
                else:
                    side.pop(key, None)

    def depth(self) -> list[float]:
        mid = (self.bids.keys()[-1] + self.asks.keys()[0]) / 2
        bands = [Decimal(band) / 10_000 for band in BANDS]
        bids = [sum(self.bids[p] for p in self.bids.irange(mid * (1 - band))) for band in bands]
        asks = [sum(self.asks[p] for p in self.asks.irange(None, mid * (1 + band))) for band in bands]
        return [float(depth) for depth in bids + asks]


def theirs(path: Path) -> Answer:
    book = Afternoon()
    with gzip.open(path) as lines:
        for line in lines:
            book.take(int(line[:19]), orjson.loads(line[20:]))
    return book.found


@cache
def expected(path: Path) -> Answer:
    """What both must answer, by the slow route."""
    return theirs(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tape(tmp_path_factory.mktemp("path"))


def test_ours(benchmark: Any, path: Path) -> None:
    benchmark.group = f"tape to depth records, {LINES} frames"
    found = benchmark.pedantic(ours, args=(path,), rounds=3, warmup_rounds=1)
    shared = found.keys() & expected(path).keys()
    assert len(shared) > 500
    assert all(found[last] == expected(path)[last] for last in shared)


def test_usual_python(benchmark: Any, path: Path) -> None:
    benchmark.group = f"tape to depth records, {LINES} frames"
    assert benchmark.pedantic(theirs, args=(path,), rounds=2) == expected(path)
