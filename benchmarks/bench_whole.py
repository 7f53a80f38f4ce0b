"""Whole ways through one process, each beside the peer that goes the same way: capture to rows, file to depth, rows to
everything that the signals keep. A frame's own way to depth is `bench_tick`'s.

hftbacktest and nautilus_trader keep a book and are asked for depth within three bands; ours is asked for the same and,
in the ways that say so, checks ids, keeps trades, flow, tail, vacuum and cascade as well. Time stands per level update
of the depth stream, whatever else comes between; the other messages of the tape cost ours alone.
"""

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from airpocket.converting import convert
from airpocket.sources import TapeRows
from benchmarks.bench_engine import QUIET, joined
from benchmarks.compare import Peer, compare
from benchmarks.hftbacktest_book import bands_of
from benchmarks.workload import BANDS, INSTRUMENT, Work, batches, require_tape, work
from engine.book import Book
from engine.kernel import kernel
from engine.ladder import NOTHING, Ints, apply, place_edges
from engine.pipeline import Pipeline, warm
from engine.schema import Kind, Rows
from ingest.parquet import Lake
from ingest.tape import read

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
    """Rows in memory, in one batch, to everything that is kept for the signals; records of one minute's line alone."""
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
