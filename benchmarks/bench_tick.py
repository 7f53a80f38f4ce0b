"""One frame of the depth stream, its bytes to its six bands, in one process, beside nautilus_trader on the same way.

Each frame by itself, as live: the quantiles are those of single frames. Ours goes by decoder and book alone, as the
peer does; and by session and engine, which check ids and keep everything that the signals need, with and without the
records that are due.
"""

import gc
from collections.abc import Callable
from functools import cache, partial
from operator import itemgetter
from statistics import median
from time import perf_counter_ns
from typing import Any, Final

import numpy as np
import orjson
import pytest

from benchmarks.bench_engine import QUIET
from benchmarks.compare import QUICK, STAGES, with_ratio
from benchmarks.table import Stage, beside
from benchmarks.workload import BANDS, INSTRUMENT, require_tape, work
from engine.book import Book
from engine.config import EngineConfig
from engine.kernel import kernel
from engine.ladder import Ints, place_edges
from engine.pipeline import Pipeline
from engine.schema import Kind, Rows
from ingest.session import open_session
from ingest.tape import read
from ingest.venues import load

#: Lines of the tape, and those of them that say what it is of.
LINES: Final = 20_000
HEAD: Final = 20_000
PLACES: Final = [QUIET.bands.index(band) for band in BANDS]
DELTA: Final = int(Kind.DELTA)

#: A way from a frame to depth: what takes one frame of the depth stream and gives its bands, bids then asks, lots.
Way = Callable[[int, bytes], list[int]]


@cache
def depth_frames() -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]]:
    """Give the lines up to the first diff behind a snapshot, and the depth frames that follow, with their stamps."""
    lines, fresh = list(read([require_tape()]))[: LINES // (4 if QUICK else 1)], False
    for at, (_, raw) in enumerate(lines):
        fresh = fresh or raw.startswith(b'{"lastUpdateId"')
        if fresh and b'"depthUpdate"' in raw and orjson.loads(raw)["data"]["u"] > work().lasts[0]:
            return lines[:at], [line for line in lines[at:] if b'"depthUpdate"' in line[1]]
    raise AssertionError("no diff follows a snapshot")


@kernel
def read_bands(memory: Rows, bands: Ints, sizes: Ints, occupied: Ints, far: Ints, out: Ints) -> None:
    """Read a book's bands, bids then asks."""
    place_edges(memory, bands, sizes, occupied, far)
    for b in range(bands.shape[1]):
        out[b], out[bands.shape[1] + b] = bands[3, b], bands[4, b]


def by_kernels() -> Way:
    """Our decoder and our book."""
    opening, _ = depth_frames()
    book = Book(INSTRUMENT, BANDS)
    book.update(work().snapshot, work().snapshot_bids, replace=True)
    decoder = load("binance_usdm").decoder({INSTRUMENT.symbol: INSTRUMENT})
    out = np.zeros(2 * len(BANDS), np.int64)

    def take(received: int, raw: bytes) -> list[int]:
        for found in decoder.decode(raw):
            message = found.message[0]
            if message["kind"] == DELTA and message["last"] >= work().lasts[0]:
                book.update(found.rows, int(message["bids"]), replace=False)
        read_bands(*book.arrays, out)
        return out.tolist()

    for received, raw in opening:
        if b'"depthUpdate"' in raw:
            take(received, raw)
    return take


def by_everything(config: EngineConfig) -> Way:
    """Our session and the engine: ids checked, everything kept that the signals need, records written when due."""
    opening, _ = depth_frames()
    session = open_session(list(read([require_tape()]))[:HEAD], "binance_usdm")
    pipeline = Pipeline("BTC", config)
    out = np.zeros(2 * len(QUIET.bands), np.int64)
    chosen = itemgetter(*PLACES, *(len(QUIET.bands) + place for place in PLACES))

    def take(received: int, raw: bytes) -> list[int]:
        for batch in session.receive(received, raw):
            pipeline.step(batch)
        (track,) = pipeline.tracks.values()
        if track.book is not None:
            read_bands(*track.book.arrays, out)
        return [*chosen(out.tolist())]

    for received, raw in opening:
        session.take_requests()
        for batch in session.receive(received, raw):
            pipeline.step(batch)
    return take


def by_nautilus() -> Way:
    """orjson, the deltas of nautilus_trader, its book, its `get_quantity_for_price`."""
    from nautilus_trader.model.book import OrderBook
    from nautilus_trader.model.data import BookOrder, OrderBookDelta, OrderBookDeltas
    from nautilus_trader.model.enums import BookAction, BookType, OrderSide
    from nautilus_trader.model.identifiers import InstrumentId
    from nautilus_trader.model.objects import Price, Quantity

    name = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
    book = OrderBook(name, BookType.L2_MBP)
    sides = (("b", OrderSide.BUY), ("a", OrderSide.SELL))

    def take(received: int, raw: bytes) -> list[int]:
        data, rows = orjson.loads(raw)["data"], []
        for key, side in sides:
            for price, size in data[key]:
                order = BookOrder(side, Price.from_str(price), Quantity.from_str(size), 0)
                action = BookAction.UPDATE if size.strip("0.") else BookAction.DELETE
                rows.append(OrderBookDelta(name, action, order, 0, data["u"], received, received))
        if rows:
            book.apply_deltas(OrderBookDeltas(name, rows))
        mid2 = round((book.best_bid_price() + book.best_ask_price()) * 10)
        edges = [(-(-mid2 * (10_000 - b) // 20_000), mid2 * (10_000 + b) // 20_000) for b in BANDS]
        bids = [book.get_quantity_for_price(Price(low / 10, 1), OrderSide.SELL) for low, _ in edges]
        asks = [book.get_quantity_for_price(Price(high / 10, 1), OrderSide.BUY) for _, high in edges]
        return [round(lots * 1000) for lots in bids + asks]

    for bid, price, size in work().opening():
        order = BookOrder(sides[1 - bid][1], Price(price / 10, 1), Quantity(size / 1000, 3), 0)
        book.apply_delta(OrderBookDelta(name, BookAction.UPDATE, order, 0, 0, 0, 0))
    for received, raw in depth_frames()[0]:
        if b'"depthUpdate"' in raw and orjson.loads(raw)["data"]["u"] >= work().lasts[0]:
            take(received, raw)
    return take


def lived(way: Way) -> tuple[list[int], list[list[int]]]:
    """Take every frame by a way; give how long each took, ns, and its bands."""
    found, times = [], []
    for received, raw in depth_frames()[1]:
        begun = perf_counter_ns()
        bands = way(received, raw)
        times.append(perf_counter_ns() - begun)
        found.append(bands)
    return times, found


def test_tick_to_signal(benchmark: Any) -> None:
    """One frame of the depth stream, its bytes to its six bands, in this process; each frame by itself."""
    ways: dict[str, Callable[[], Way]] = {
        "decoder and book": by_kernels,
        "session and engine": partial(by_everything, QUIET),
        "session and engine, with the records that are due": partial(by_everything, EngineConfig()),
        "nautilus_trader": by_nautilus,
    }
    pytest.importorskip("nautilus_trader", reason="nautilus_trader is not installed")
    taken: dict[str, list[list[int]]] = {name: [] for name in ways}
    answers: dict[str, list[list[int]]] = {}

    def turn() -> None:
        for name, make in ways.items():
            times, answers[name] = lived(make())
            taken[name].append(times)

    benchmark.group = "tick to signal in one process"
    turn()
    for times in taken.values():
        times.clear()
    gc.collect()
    benchmark.pedantic(turn, rounds=2 if QUICK else 5)
    *mine, peer = ways
    for name in mine:
        for share, goal in ((50, 20.0), (99, 15.0)):
            figures = {way: [float(np.percentile(times, share)) / 1e3 for times in taken[way]] for way in ways}
            same = answers[name] == answers[peer]
            stage = f"tick to signal, bytes of one frame to six bands, {name}: p{share}"
            alone = Stage(stage=stage, unit="us/frame", ours=median(figures[name]), goal=goal)
            row = beside(alone, peer, median(figures[peer]), same=same)
            STAGES.append(with_ratio(row, [his / own for own, his in zip(figures[name], figures[peer], strict=True)]))
