"""Whole ways through one process, each beside the peer that goes the same way: capture to rows, frame to depth, file to
depth, rows to everything that the signals keep.

hftbacktest and nautilus_trader keep a book and are asked for depth within three bands; ours is asked for the same and,
in the ways that say so, checks ids, keeps trades, flow, tail, vacuum and cascade as well. Time stands per level update
of the depth stream, whatever else comes between; the other messages of the tape cost ours alone.
"""

import gc
import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import cache, partial
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any, Final

import numpy as np
import orjson
import pytest

from airpocket.converting import convert
from airpocket.sources import TapeRows
from benchmarks.bench_engine import QUIET, joined
from benchmarks.compare import QUICK, STAGES, Peer, compare, with_ratio
from benchmarks.hftbacktest_book import bands_of
from benchmarks.table import Stage, beside
from benchmarks.workload import BANDS, INSTRUMENT, Work, batches, require_tape, work
from engine.book import Book
from engine.config import EngineConfig
from engine.kernel import kernel
from engine.ladder import NOTHING, Ints, apply, place_edges
from engine.pipeline import Pipeline, warm
from engine.schema import Kind, Rows
from ingest.parquet import Lake
from ingest.session import open_session
from ingest.tape import read
from ingest.venues import load

#: Messages and level updates of the tape that slow peers take.
LINES: Final = 20_000
HEAD: Final = 20_000
PLACES: Final = [QUIET.bands.index(band) for band in BANDS]
DELTA: Final = int(Kind.DELTA)
TOUCH: Final = int(Kind.TOUCH)
SNAPSHOT: Final = int(Kind.SNAPSHOT)


@cache
def part() -> Work:
    """Give the messages of the first lines as the books' workload has them."""
    last = max(int(batch.messages["last"].max()) for batch in batches(LINES) if len(batch.levels))
    return work().first(int(np.searchsorted(work().lasts, last, side="right")))


def test_the_full_engine(benchmark: Any) -> None:
    """Rows in memory, in one batch, to everything that is kept for the signals; none is due."""
    found = batches(LINES)
    first = next(i for i, batch in enumerate(found) if batch.messages["kind"][0] == SNAPSHOT) + 1
    begun, rest = joined(found[:first]), joined(found[first:])
    warm(QUIET)

    def ours() -> Callable[[], Any]:
        pipeline = Pipeline(begun.asset, QUIET)
        pipeline.step(begun)

        def run() -> Any:
            pipeline.step(rest)
            (track,) = pipeline.tracks.values()
            assert track.book is not None
            row = track.book.view().row[0]
            return [int(row[side][place]) for side in ("bid_depth", "ask_depth") for place in PLACES]

        return run

    compare(
        benchmark,
        stage="full engine at message end: book, trades, flow, tail, vacuum, cascade map",
        unit="ns/level",
        ours=ours,
        count=part().count,
        peers={
            "hftbacktest, bands alone": Peer(prepare=bands_of(part(), None)),
            "nautilus_trader BacktestEngine, best bid alone": Peer(prepare=backtest(part()), twin=best_bid(part())),
        },
        same=lambda mine, other: mine == (other if isinstance(other, int) else other[-1].tolist()),
        goal=2,
        rounds=5,
    )


def best_bid(of: Work) -> Callable[[], Callable[[], int]]:
    """Prepare what the last best bid is, ticks."""

    def run() -> int:
        book = Book(INSTRUMENT, BANDS)
        book.update(of.snapshot, of.snapshot_bids, replace=True)
        for side in (1, 0):
            chosen = of.levels[of.bids == side]
            book.update(np.ascontiguousarray(chosen), len(chosen) * side, replace=False)
        return int(book.touch[0])

    return lambda: run


def backtest(of: Work) -> Callable[[], Callable[[], int]]:
    """Prepare nautilus_trader's backtest of the depth messages, and a strategy that reads the best bid after each."""

    @cache
    def build() -> tuple[Any, list[Any], type]:
        from nautilus_trader.model.data import BookOrder, OrderBookDelta, OrderBookDeltas
        from nautilus_trader.model.enums import BookAction, BookType, OrderSide
        from nautilus_trader.model.objects import Price, Quantity
        from nautilus_trader.test_kit.providers import TestInstrumentProvider
        from nautilus_trader.trading.strategy import Strategy

        instrument = TestInstrumentProvider.btcusdt_perp_binance()

        def deltas(levels: Sequence[tuple[int, int, int]], time: int) -> Any:
            rows = []
            for i, (bid, price, size) in enumerate(levels):
                side = OrderSide.BUY if bid else OrderSide.SELL
                order = BookOrder(side, Price(price / 10, 1), Quantity(size / 1000, 3), price)
                action = BookAction.UPDATE if size else BookAction.DELETE
                # 128: the last of its message.
                flags = 128 if i == len(levels) - 1 else 0
                rows.append(OrderBookDelta(instrument.id, action, order, flags, 0, time, time))
            return OrderBookDeltas(instrument.id, rows)

        data = [deltas(of.opening(), 1_000)]
        data += [deltas(levels, (i + 2) * 1_000) for i, levels in enumerate(of.messages()) if levels]

        class Reading(Strategy):  # type: ignore[misc]
            best = 0

            def on_start(self) -> None:
                self.subscribe_order_book_deltas(instrument.id, BookType.L2_MBP)

            def on_order_book_deltas(self, deltas: Any) -> None:
                self.best = self.cache.order_book(instrument.id).best_bid_price()

        return instrument, data, Reading

    def prepare() -> Callable[[], int]:
        from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
        from nautilus_trader.config import LoggingConfig
        from nautilus_trader.model.currencies import USDT
        from nautilus_trader.model.enums import AccountType, BookType, OmsType
        from nautilus_trader.model.identifiers import Venue
        from nautilus_trader.model.objects import Money

        instrument, data, reading = build()
        engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
        engine.add_venue(
            Venue("BINANCE"), OmsType.NETTING, AccountType.MARGIN, [Money(1_000_000, USDT)], book_type=BookType.L2_MBP
        )
        engine.add_instrument(instrument)
        engine.add_data(data)
        strategy = reading()
        engine.add_strategy(strategy)

        def run() -> int:
            engine.run()
            found: int = round(strategy.best * 10)
            engine.dispose()
            return found

        return run

    return prepare


@kernel
def follow(
    memory: Rows,
    bands: Ints,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    messages: Rows,
    levels: Rows,
    out: Ints,
    written: int,
) -> int:
    """Apply each DELTA and write its bands, bids then asks; return how many rows of `out` there are now."""
    at = 0
    for i in range(len(messages)):
        kind, count = messages[i]["kind"], NOTHING + int(messages[i]["count"])
        if kind == DELTA:
            apply(memory, bands, sizes, occupied, far, levels[at : at + count], NOTHING + int(messages[i]["bids"]))
            place_edges(memory, bands, sizes, occupied, far)
            for b in range(bands.shape[1]):
                out[written, b] = bands[3, b]
                out[written, bands.shape[1] + b] = bands[4, b]
            written += 1
        if kind <= TOUCH:
            at += count
    return written


def lake_to_bands(folder: Path) -> Any:
    """Read a lake of one instrument; give the bands after every DELTA."""
    book: Book | None = None
    out = np.zeros((len(work().starts) - 1, 2 * len(BANDS)), np.int64)
    written = 0
    for batch in Lake(folder):
        messages, levels = batch.messages, batch.levels
        opening = np.flatnonzero(messages["kind"] == SNAPSHOT)
        for at in opening.tolist():
            begin = int(messages["count"][:at][messages["kind"][:at] <= TOUCH].sum())
            count = int(messages["count"][at])
            book = Book(INSTRUMENT, BANDS)
            book.update(levels[begin : begin + count], int(messages["bids"][at]), replace=True)
            book.reserve(65_536)
            book.view()
            messages, levels = messages[at + 1 :], levels[begin + count :]
        if book is not None:
            written = follow(*book.arrays, messages, levels, out, written)
    assert written == len(out)
    return out


def test_a_file_to_bands(benchmark: Any, tmp_path: Path) -> None:
    """What a backtest reads: depth after every message, from the file."""
    convert([str(require_tape())], tmp_path / "lake", "binance_usdm")
    compare(
        benchmark,
        stage="whole backtest: a file to six depth bands after every message",
        unit="ns/level",
        ours=lambda: lambda: lake_to_bands(tmp_path / "lake"),
        count=work().count,
        peers={"hftbacktest npz": Peer(prepare=bands_of(work(), tmp_path))},
        same=lambda mine, other: bool((mine == other).all()),
        goal=5,
    )


def trades_of_rows(path: Path) -> tuple[int, int]:
    """Read a capture into rows, checked; give how many trades there are, and their lots."""
    count = lots = 0
    for batch in TapeRows([path], "binance_usdm"):
        count += len(batch.trades)
        lots += int(batch.trades["size"].sum())
    return count, lots


def trades_of_events(path: Path) -> tuple[int, int]:
    """The same by hftbacktest's own converter."""
    from hftbacktest import LOCAL_EVENT, TRADE_EVENT
    from hftbacktest.data.utils import binancefutures

    with redirect_stdout(io.StringIO()):
        rows = binancefutures.convert(str(path), buffer_size=2_000_000)
    # A row that came out of the exchange's order stands there twice, once for each side's order.
    found = rows[((rows["ev"] & 0xFF) == TRADE_EVENT) & (rows["ev"] & LOCAL_EVENT > 0)]
    return len(found), round(float(found["qty"].sum()) * 1_000)


def test_a_capture_to_rows(benchmark: Any) -> None:
    """A recording to rows: ours with ids checked and every message stamped."""
    path = require_tape()
    compare(
        benchmark,
        stage="capture: gzip to rows (ours: ids checked, touches too)",
        unit="MB/s",
        ours=lambda: lambda: trades_of_rows(path),
        count=sum(len(raw) + 21 for _, raw in read([path])) / 1e6,
        peers={"hftbacktest convert": Peer(prepare=lambda: lambda: trades_of_events(path))},
        goal=8,
        rounds=3,
    )


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
    chosen = [*PLACES, *(len(QUIET.bands) + place for place in PLACES)]

    def take(received: int, raw: bytes) -> list[int]:
        for batch in session.receive(received, raw):
            pipeline.step(batch)
        (track,) = pipeline.tracks.values()
        if track.book is not None:
            read_bands(*track.book.arrays, out)
        return out[chosen].tolist()  # type: ignore[no-any-return]

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
