"""Replay: the lines of a tape, rows as Parquet or in memory, to signals; beside the usual Python route and hftbacktest.

Ours is `airpocket replay` without the printing: tape, decoder, sequence checks, rows, batches, book, and every signal
of the default configuration, as JSON; from rows in memory it is what the engine process does with decoded records.
What one writes in an afternoon is orjson, `Decimal`, sorted dictionaries, and the same seven bands of base depth summed
when the 100 ms grid is crossed: no checks, no other signal. hftbacktest, with a file of its own format that was made
before, or its rows in memory, gives six bands after every message, and nothing else. Every record of a known book must
agree on the bands that both have.
"""

import gzip
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import sortedcontainers

from airpocket.converting import convert
from airpocket.player import Player
from benchmarks.compare import QUICK, Peer, compare
from benchmarks.hftbacktest_book import bands_of, best_of, events
from benchmarks.workload import BANDS, Work, batches, require_tape, work
from engine.book import Book
from engine.config import EngineConfig
from engine.pipeline import Pipeline
from engine.schema import Batch, Kind, Record
from engine.topics import SIGNAL_DEPTH
from ingest.hftbacktest import Events
from ingest.linger import Linger
from ingest.parquet import Lake
from sinks.parquet import ParquetSink

LINES: Final = 20_000
CONFIG: Final = EngineConfig()
#: So many times the tape makes an hour of rows, which is what a file of a lake holds.
LOOPS: Final = 1 if QUICK else 8
#: Where the three bands of hftbacktest's route stand among ours.
PLACES: Final = [CONFIG.bands.index(band) for band in BANDS]
SortedDict: Any = sortedcontainers.SortedDict  # untyped upstream

#: Last update id -> base depth of each band, bids then asks.
Answer = dict[int, list[float]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cut the tape to the lines that all read."""
    short = tmp_path_factory.mktemp("path") / "short.gz"
    with gzip.open(require_tape()) as whole, gzip.open(short, "wb") as cut:
        cut.writelines(islice(whole, LINES))
    return short


@cache
def rows() -> list[Batch]:
    """Give the same lines as the batches of market.v1."""
    linger = Linger()
    return [*linger.add(batches(LINES)), *linger.flush()]


def answer(records: list[Record]) -> Answer:
    """Read the depth of every record of a known book."""
    found: Answer = {}
    for record in records:
        if record.topic == SIGNAL_DEPTH and record.key != record.asset:
            value = orjson.loads(record.value)
            if value["state"] == "ok":
                found[value["last"]] = value["bid_base"] + value["ask_base"]
    return found


def from_tape(path: Path) -> list[Record]:
    return list(Player([path], venue="binance_usdm", engine=CONFIG))


def from_rows() -> list[Record]:
    pipeline = Pipeline("BTC", CONFIG)
    found = []
    for batch in rows():
        found += pipeline.step(batch)
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
        bands = [Decimal(band) / 10_000 for band in CONFIG.bands]
        bids = [sum(self.bids[p] for p in self.bids.irange(mid * (1 - band))) for band in bands]
        asks = [sum(self.asks[p] for p in self.asks.irange(None, mid * (1 + band))) for band in bands]
        return [float(depth) for depth in bids + asks]


def theirs(path: Path) -> Answer:
    book = Afternoon()
    with gzip.open(path) as lines:
        for line in lines:
            book.take(int(line[:19]), orjson.loads(line[20:]))
    return book.found


def agree(mine: list[Record], other: Any) -> bool:
    """Say whether every record of ours has the bands that the other found for the same update id."""
    found = answer(mine)
    if isinstance(other, dict):
        shared = found.keys() & other.keys()
        return len(shared) > 500 and all(found[last] == other[last] for last in shared)
    places = {last: i for i, last in enumerate(part().lasts.tolist())}
    shared = found.keys() & places.keys()
    sides = [*PLACES, *(len(CONFIG.bands) + place for place in PLACES)]
    lots = {last: [round(found[last][i] * 1_000) for i in sides] for last in shared}
    return len(shared) > 500 and all(lots[last] == other[places[last]].tolist() for last in shared)


@cache
def part() -> Work:
    """Give the messages of these lines as the books' workload has them."""
    last = max(int(batch.messages["last"].max()) for batch in rows() if len(batch.levels))
    return work().first(int(np.searchsorted(work().lasts, last, side="right")))


def test_from_tape(benchmark: Any, path: Path) -> None:
    routes: dict[str, Callable[[], Callable[[], Any]]] = {
        "usual Python, depth alone": lambda: lambda: theirs(path),
        "hftbacktest npz, bands alone": bands_of(part(), path.parent),
    }
    compare(
        benchmark,
        stage="replay: tape to every signal",
        unit="us/frame",
        ours=lambda: lambda: from_tape(path),
        count=LINES,
        peers={name: Peer(prepare=route) for name, route in routes.items()},
        same=agree,
        goal=5,
        rounds=3,
    )


@pytest.fixture(scope="module")
def npz(path: Path) -> Path:
    """Write the same lines' rows as hftbacktest's events."""
    convert([str(path)], path.parent / "npz", "binance_usdm", form="hftbacktest")
    (written,) = (path.parent / "npz").iterdir()
    return written


def best(path: Path) -> dict[int, tuple[int, int]]:
    """Read hftbacktest's events into our book: best bid and ask, ticks, after the last message of each stamp."""
    source = Events([path], None)
    tick, book, found = source.instrument.tick, Book(source.instrument, CONFIG.bands), {}
    stamp = received = 0
    for batch in source:
        before, received = received, int(batch.messages["received"][0])
        # Messages of one stamp of the file are a nanosecond apart here.
        stamp = stamp if received == before + 1 else received
        kind = batch.messages["kind"][0]
        if kind in (Kind.SNAPSHOT, Kind.DELTA):
            book.update(batch.levels, int(batch.messages["bids"][0]), bool(kind == Kind.SNAPSHOT))
            bid, ask = book.touch
            found[stamp] = bid // tick, ask // tick
    return found


def agree_on_best(mine: dict[int, tuple[int, int]], other: Any) -> bool:
    """Say whether the other saw our best bid and ask at every stamp of ours but the last, which it calls the end."""
    theirs = {stamp: (bid, ask) for stamp, bid, ask in other.tolist()}
    stamps = sorted(mine)
    return len(stamps) > 1_000 and all(theirs.get(stamp) == mine[stamp] for stamp in stamps if stamp < max(theirs))


def test_from_npz(benchmark: Any, npz: Path) -> None:
    compare(
        benchmark,
        stage="replay: hftbacktest npz, as we write it, to best prices",
        unit="us/message",
        ours=lambda: lambda: best(npz),
        count=len(np.unique(np.load(npz)["data"]["local_ts"])),
        peers={"hftbacktest": Peer(prepare=best_of(npz))},
        same=agree_on_best,
        rounds=3,
    )


@pytest.fixture(scope="module")
def lake(path: Path) -> Path:
    """Write the same lines' rows as Parquet."""
    folder = path.parent / "lake"
    convert([str(path)], folder, "binance_usdm")
    return folder


def lots_of(folder: Path) -> int:
    """Read a lake's rows; sum the sizes of the book's updates."""
    total = 0
    for batch in Lake(folder):
        kinds, counts = batch.messages["kind"], batch.messages["count"]
        levels = (kinds <= Kind.TOUCH) & (counts > 0)
        if levels.any():
            starts = np.cumsum(counts[levels], dtype=np.int64) - counts[levels]
            sums = np.add.reduceat(batch.levels["size"], starts)
            total += int(sums[kinds[levels] == Kind.DELTA].sum())
    return total


def lots_of_npz(path: Path) -> int:
    """The same of the file of hftbacktest's format."""
    return round(float(np.load(path)["data"]["qty"].sum()) * 1_000)


def lots_of_arrow(path: Path) -> int:
    return int(feather.read_table(path, memory_map=False)["size"].to_numpy().sum())


def lots_of_npy(path: Path) -> int:
    return int(np.load(path)["size"].sum())


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the rows of the whole tape, again and again to an hour, as Parquet, and its updates in other containers."""
    folder = tmp_path_factory.mktemp("long")
    linger, apart = Linger(1_000_000_000), batches()
    whole = [*linger.add(apart), *linger.flush()]
    span = int(whole[-1].messages["received"][-1] - whole[0].messages["received"][0]) + 1_000_000_000
    with ParquetSink(folder / "lake") as sink:
        for time in range(LOOPS):
            for batch in whole:
                messages = batch.messages.copy()
                for name in ("received", "exchanged", "published"):
                    messages[name] += time * span
                sink.write([replace(batch, messages=messages)])
    levels = np.tile(work().levels, LOOPS)
    table = pa.table({name: np.ascontiguousarray(levels[name]) for name in ("price", "size")})
    feather.write_feather(table, folder / "levels.arrow", compression="lz4")
    np.save(folder / "levels.npy", levels)
    with suppress(ImportError):
        np.savez_compressed(folder / "rows.npz", data=np.tile(events(work(), "message")[1], LOOPS))
    return folder


def test_parquet_to_rows(benchmark: Any, long: Path) -> None:
    files = list((long / "lake").rglob("*.parquet"))
    count = sum(pq.read_metadata(path).num_rows for path in files if "channel=book" in str(path))
    mine = benchmark.extra_info["B/level"] = sum(path.stat().st_size for path in files) / count

    def peer(name: str, read: Callable[[Path], int]) -> Peer:
        path = long / name

        def prepare() -> Callable[[], int]:
            if not path.exists():
                raise ImportError(name="hftbacktest")
            return lambda: read(path)

        size = path.stat().st_size / work().count / LOOPS if path.exists() else 0
        benchmark.extra_info[f"B/level {name}"] = size
        return Peer(prepare=prepare, count=work().count * LOOPS, note=f"ours {mine:.2f} B/level, theirs {size:.2f}")

    compare(
        benchmark,
        stage="replay: Parquet to rows",
        unit="ns/level",
        ours=lambda: lambda: lots_of(long / "lake"),
        count=count,
        peers={
            "hftbacktest npz": peer("rows.npz", lots_of_npz),
            "Arrow IPC lz4, levels alone": peer("levels.arrow", lots_of_arrow),
            "npy, levels alone": peer("levels.npy", lots_of_npy),
        },
        goal=5,
    )


def test_from_parquet(benchmark: Any, lake: Path) -> None:
    compare(
        benchmark,
        stage="replay: Parquet to every signal",
        unit="us/frame",
        ours=lambda: lambda: list(Player([lake], engine=CONFIG)),
        count=LINES,
        peers={"hftbacktest npz, bands alone": Peer(prepare=bands_of(part(), lake.parent))},
        same=agree,
        rounds=3,
    )


def test_from_rows(benchmark: Any) -> None:
    compare(
        benchmark,
        stage="replay: rows in memory to every signal",
        unit="us/frame",
        ours=lambda: from_rows,
        count=LINES,
        peers={"hftbacktest, bands alone": Peer(prepare=bands_of(part(), None))},
        same=agree,
        goal=2,
        rounds=5,
    )
