"""The engine's own path, rows in memory -> book -> signals, per message of a real tape, beside what others do.

    book          every level update applied, nothing read
    bands         the same, and depth within 10, 50 and 100 bps of the mid read at the end of every message
    signals       everything that is kept for the signals, brought up to date at every message's end, no record written
    records       the same with every record that is due, as JSON

Peers keep the book and rescan the bands; they have no flow, trades, health, maps or records. All must agree on the sum
of the bands over all messages. `extra_info` says how many messages and level updates one round takes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
import pytest
import sortedcontainers

from engine.book import Book
from engine.config import EngineConfig, FlowConfig
from engine.kernel import kernel
from engine.ladder import NOTHING, Ints, apply, place_edges
from engine.pipeline import Pipeline, warm
from engine.schema import Batch, Kind, Rows
from ingest.session import open_session
from ingest.tape import read

TAPE: Final = Path(__file__).parents[1] / "../shared/data/binance/usdm_btcusdt_20240808.gz"
LINES: Final = 20_000
#: Messages before the engine's own path is measured.
BEGUN: Final = 2_000
BANDS: Final = (10, 50, 100)
PARTS: Final = ("messages", "levels", "trades", "liquidations", "references", "instruments")
HOUR: Final = 3_600_000
FULL: Final = EngineConfig()
#: Nothing is due for as long as the grids allow, a minute.
QUIET: Final = replace(
    FULL,
    cadence=HOUR,
    health_cadence=HOUR,
    latest_cadence=HOUR,
    stale_after=HOUR,
    flow=FlowConfig(
        cell=60_000, windows=(60_000,), horizons=(60_000,), refill=60_000, impact=60_000, shock_window=60_000
    ),
    vacuum=replace(FULL.vacuum, gap=60_000, cadence=HOUR),
    cascade=replace(FULL.cascade, cadence=HOUR),
)

#: Untyped upstream.
SortedDict: Any = sortedcontainers.SortedDict


@cache
def batches() -> list[Batch]:
    """Read the tape's first lines into batches of one message."""
    if not TAPE.exists():
        pytest.skip(f"recorded streams are not here: {TAPE} is absent")
    lines = list(islice(read([TAPE]), LINES))
    session = open_session(lines[:200], "binance_usdm")
    found = []
    for received, raw in lines:
        found += session.receive(received, raw)
        session.take_requests()
    return found


def grouped(size: int, first: int = 0) -> list[Batch]:
    """Join so many neighbours from the `first` on into each batch, their rows writable and in one piece."""
    apart = batches()[first:]
    return [joined(apart[at : at + size]) for at in range(0, len(apart), size)]


def joined(apart: Sequence[Batch]) -> Batch:
    parts = {}
    for part in PARTS:
        rows = [getattr(batch, part) for batch in apart]
        parts[part] = np.frombuffer(bytearray().join([each.tobytes() for each in rows]), rows[0].dtype)
    return Batch(instrument=apart[0].instrument, asset=apart[0].asset, **parts)


@cache
def books() -> tuple[Rows, Rows, Batch]:
    """Give the book's messages from the first snapshot on, their levels, and the batch of the INSTRUMENT row."""
    first = next(i for i, batch in enumerate(batches()) if batch.messages["kind"][0] == Kind.SNAPSHOT)
    unit = next(batch for batch in batches() if len(batch.instruments))
    whole = joined([batch for batch in batches()[first:] if batch.messages["kind"][0] <= Kind.DELTA])
    return whole.messages, whole.levels, unit


def levels_of_the_tape(first: int = 0) -> int:
    return sum(len(batch.levels) for batch in batches()[first:])


def fresh(bands: Sequence[int]) -> tuple[Book, Rows, Rows, Ints]:
    """Give a book with the tape's snapshot in it, the messages and levels after that, and where each one's begin."""
    messages, levels, unit = books()
    assert (messages["kind"] == Kind.DELTA).sum() == len(messages) - 1
    track = Pipeline(unit.asset, FULL)
    track.step(unit)
    instrument = track.tracks[unit.instrument].instrument
    assert instrument is not None
    book = Book(instrument, bands)
    count = int(messages["count"][0])
    book.update(levels[:count], int(messages["bids"][0]), replace=True)
    book.reserve(10_000)
    book.view()
    starts = np.cumsum(messages["count"], dtype=np.int64)
    return book, messages[1:], levels, starts


@kernel
def advance(
    memory: Rows,
    bands: Ints,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    messages: Rows,
    levels: Rows,
    starts: Ints,
    viewed: bool,
) -> int:
    """Apply every message; sum the bands of both sides over all of them, if they are to be read."""
    total = 0
    for i in range(len(messages)):
        apply(
            memory, bands, sizes, occupied, far, levels[starts[i] : starts[i + 1]], NOTHING + int(messages[i]["bids"])
        )
        if viewed:
            place_edges(memory, bands, sizes, occupied, far)
            for b in range(bands.shape[1]):
                total += bands[3, b] + bands[4, b]
    return total


class SortedBook:
    """The peer in plain Python."""

    def __init__(self) -> None:
        self.sides = SortedDict(), SortedDict()

    def update(self, levels: list[tuple[int, int]], bids: int) -> None:
        for i, (price, size) in enumerate(levels):
            side = self.sides[i >= bids]
            if size:
                side[price] = size
            else:
                side.pop(price, None)

    def depth(self) -> int:
        bids, asks = self.sides
        mid2 = bids.keys()[-1] + asks.keys()[0]
        total = 0
        for band in BANDS:
            total += sum(bids[price] for price in bids.irange(-(-mid2 * (10_000 - band) // 20_000)))
            total += sum(asks[price] for price in asks.irange(None, mid2 * (10_000 + band) // 20_000))
        return total


def theirs(messages: list[tuple[list[tuple[int, int]], int]], viewed: bool) -> int:
    book = SortedBook()
    book.update(*messages[0])
    total = 0
    for levels, bids in messages[1:]:
        book.update(levels, bids)
        if viewed:
            total += book.depth()
    return total


@cache
def plain() -> list[tuple[list[tuple[int, int]], int]]:
    """Give the same messages as lists."""
    messages, levels, _ = books()
    ends = np.cumsum(messages["count"], dtype=np.int64)
    return [
        (levels[end - count : end].tolist(), int(bids))
        for end, count, bids in zip(ends, messages["count"], messages["bids"], strict=True)
    ]


@cache
def expected() -> int:
    return theirs(plain(), viewed=True)


def note(benchmark: Any, group: str, messages: int, levels: int) -> None:
    benchmark.group = group
    benchmark.extra_info |= {"messages": messages, "levels": levels}


READS: Final = pytest.mark.parametrize("viewed", [False, True], ids=["book", "bands"])


@READS
def test_ours(benchmark: Any, viewed: bool) -> None:
    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        book, messages, levels, starts = fresh(BANDS)
        return (*book.arrays, messages, levels, starts, viewed), {}

    _, messages, levels, _ = fresh(BANDS)
    note(benchmark, "bands" if viewed else "book", len(messages), len(levels))
    total = benchmark.pedantic(advance, setup=setup, rounds=20, warmup_rounds=1)
    assert total == (expected() if viewed else 0)


@READS
def test_sorted_dictionaries(benchmark: Any, viewed: bool) -> None:
    note(benchmark, "bands" if viewed else "book", len(plain()) - 1, sum(len(levels) for levels, _ in plain()))
    assert benchmark.pedantic(theirs, args=(plain(), viewed), rounds=2) == (expected() if viewed else 0)


@READS
@pytest.mark.parametrize("depth", ["ROIVector", "HashMap"])
def test_hftbacktest(benchmark: Any, depth: str, viewed: bool) -> None:
    peer = pytest.importorskip("hftbacktest", reason="hftbacktest is not installed")
    run = rescanning()
    note(benchmark, "bands" if viewed else "book", len(plain()) - 1, sum(len(levels) for levels, _ in plain()))
    events = events_of(peer)

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        asset = (
            peer.BacktestAsset().data([events]).linear_asset(1.0).constant_order_latency(0, 0)
            .risk_adverse_queue_model().no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0)
            .tick_size(0.1).lot_size(0.001).roi_lb(40_000.0).roi_ub(80_000.0)
        )  # fmt: skip
        return (getattr(peer, f"{depth}MarketDepthBacktest")([asset]), len(plain()), np.array(BANDS), viewed), {}

    total = benchmark.pedantic(run, setup=setup, rounds=3, warmup_rounds=1)
    assert total == (expected() if viewed else 0)


def events_of(peer: Any) -> Any:
    """Give the messages as its rows, one a microsecond; deletes first, for it moves a best that another crosses."""
    rows = []
    for i, (levels, bids) in enumerate(plain()):
        for n, (price, size) in sorted(enumerate(levels), key=lambda each: each[1][1] > 0):
            side = peer.BUY_EVENT if n < bids else peer.SELL_EVENT
            event = peer.DEPTH_EVENT | peer.EXCH_EVENT | peer.LOCAL_EVENT | side
            rows.append((event, (i + 1) * 1_000, (i + 1) * 1_000, price / 100, size / 1_000, 0, 0, 0.0))
    return np.array(rows, peer.types.event_dtype)


@cache
def rescanning() -> Callable[..., int]:
    """Compile a strategy of theirs that wakes at every message's end and sums the bands level by level."""

    @numba.njit  # Not to be cached: it holds pointers of the peer's library.
    def run(backtest: Any, messages: int, bands: Ints, viewed: bool) -> int:
        # Its clock begins at the first row.
        backtest.elapse(500)
        total = 0
        for _ in range(messages - 1):
            backtest.elapse(1_000)
            if not viewed:
                continue
            depth = backtest.depth(0)
            mid2 = (depth.best_bid_tick + depth.best_ask_tick) * 10
            for band in bands:
                low, high = -(-mid2 * (10_000 - band) // 20_000), mid2 * (10_000 + band) // 20_000
                for tick in range((low + 9) // 10, depth.best_bid_tick + 1):
                    total += round(depth.bid_qty_at_tick(tick) * 1_000)
                for tick in range(depth.best_ask_tick, high // 10 + 1):
                    total += round(depth.ask_qty_at_tick(tick) * 1_000)
        return total

    return run  # type: ignore[no-any-return]


@pytest.mark.parametrize("size", [1, 64, LINES], ids=["one", "64", "all"])
@pytest.mark.parametrize(("kind", "config"), [("signals", QUIET), ("records", FULL)], ids=["signals", "records"])
def test_engine(benchmark: Any, kind: str, config: EngineConfig, size: int) -> None:
    """Take the tape behind its snapshot and first records, trades and touches included, `size` messages a batch."""
    warm(config)
    begun, groups = joined(batches()[:BEGUN]), grouped(size, BEGUN)
    assert (begun.messages["kind"] == Kind.SNAPSHOT).any()
    note(benchmark, kind, len(batches()) - BEGUN, levels_of_the_tape(BEGUN))

    def setup() -> tuple[tuple[Pipeline], dict[str, Any]]:
        pipeline = Pipeline(begun.asset, config)
        pipeline.step(begun)
        return (pipeline,), {}

    def whole(pipeline: Pipeline) -> tuple[Pipeline, int]:
        return pipeline, sum(len(pipeline.step(batch)) for batch in groups)

    pipeline, records = benchmark.pedantic(whole, setup=setup, rounds=5, warmup_rounds=1)
    assert records > 1_000 if kind == "records" else records < 50
    (track,) = pipeline.tracks.values()
    last = SortedBook()
    for levels, bids in plain():
        last.update(levels, bids)
    assert [rows.tolist() for rows in track.book.levels()] == [
        list(reversed(last.sides[0].items())), list(last.sides[1].items())
    ]  # fmt: skip
