"""The workload through hftbacktest: its event array in, the same answer out, by a strategy compiled with numba.

As intended by it: every row is taken by an exchange's book and by a local one, the strategy wakes by `wait_next_feed`
and reads the local book. It keeps no sums over prices and does not say which level changed, so a strategy that needs
the depth within a band scans the levels of that band. Fees, queues and latencies are the simplest it has.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.workload import BANDS, WEIGHTS, Query, Work, tops

LOT: Final = 0.001
TICK: Final = 0.1
#: Ns between two wakings.
STEP: Final = 1_000
QUERIES: Final[tuple[Query, ...]] = ("nothing", "best", "event", "message")


def rows_of(levels: Any, bids: Any, times: Any, kind: int) -> Any:
    """Make event rows."""
    from hftbacktest.types import BUY_EVENT, EXCH_EVENT, LOCAL_EVENT, SELL_EVENT, event_dtype

    rows = np.zeros(len(levels), event_dtype)
    rows["ev"] = np.where(bids > 0, BUY_EVENT, SELL_EVENT).astype(np.uint64) | np.uint64(
        EXCH_EVENT | LOCAL_EVENT | kind
    )
    rows["exch_ts"] = rows["local_ts"] = times
    rows["px"] = levels["price"] * TICK
    rows["qty"] = levels["size"] * LOT
    return rows


def events(work: Work, query: Query) -> tuple[Any, Any]:
    """Give the snapshot and the stream; one more row at the end, as the last is called the end of the data."""
    from hftbacktest.types import DEPTH_EVENT, DEPTH_SNAPSHOT_EVENT

    sides = (np.arange(len(work.snapshot)) < work.snapshot_bids).astype(np.uint8)
    opening = rows_of(work.snapshot, sides, np.zeros(len(sides), np.int64), DEPTH_SNAPSHOT_EVENT)
    if query in ("best", "event"):
        places = np.arange(work.count)
    else:
        places = np.repeat(np.arange(len(work.starts) - 1), np.diff(work.starts))
    stream = rows_of(work.levels, work.bids, (places + 1) * STEP, DEPTH_EVENT)
    end = stream[-1:].copy()
    end["exch_ts"] = end["local_ts"] = int(stream["local_ts"][-1]) + STEP
    # A level that nobody asks for.
    end["px"], end["qty"] = (tops()[0] - tops()[1]) * TICK, 0.0
    return opening, np.concatenate((stream, end))


def asset_of(opening: Any, stream: Any) -> Any:
    """Describe the asset."""
    import hftbacktest

    middle, reach = tops()
    asset = hftbacktest.BacktestAsset().data(stream).initial_snapshot(opening).linear_asset(1.0)
    asset = asset.constant_order_latency(0, 0).risk_adverse_queue_model().no_partial_fill_exchange()
    asset = asset.trading_value_fee_model(0.0, 0.0).tick_size(TICK).lot_size(LOT)
    return asset.roi_lb((middle - reach) * TICK).roi_ub((middle + reach) * TICK)


@cache
def strategies() -> tuple[Any, Any]:
    """Compile the strategy for a vector of prices, and for a hash map."""
    from numba import njit

    bands, weights = np.array(BANDS, np.int64), np.array(WEIGHTS, np.int64)

    @njit
    def scan(depth: Any) -> int:
        mid2 = depth.best_bid_tick + depth.best_ask_tick
        first, bids, asks = depth.roi_lb_tick, depth.bid_depth, depth.ask_depth
        total = 0
        for b in range(3):
            lots = 0.0
            for tick in range(-(-mid2 * (10_000 - bands[b]) // 20_000), depth.best_bid_tick + 1):
                lots += bids[tick - first]
            for tick in range(depth.best_ask_tick, mid2 * (10_000 + bands[b]) // 20_000 + 1):
                lots += asks[tick - first]
            total += weights[b] * np.int64(np.round(lots / 0.001))
        return total

    @njit
    def walk(depth: Any) -> int:
        mid2 = depth.best_bid_tick + depth.best_ask_tick
        total = 0
        for b in range(3):
            lots = 0.0
            for tick in range(-(-mid2 * (10_000 - bands[b]) // 20_000), depth.best_bid_tick + 1):
                lots += depth.bid_qty_at_tick(tick)
            for tick in range(depth.best_ask_tick, mid2 * (10_000 + bands[b]) // 20_000 + 1):
                lots += depth.ask_qty_at_tick(tick)
            total += weights[b] * np.int64(np.round(lots / 0.001))
        return total

    def made(look: Any) -> Any:
        @njit
        def drive(hbt: Any, query: int) -> Any:
            total = 0
            if query == 0:
                hbt.elapse(1 << 60)
                return hbt.depth(0).best_bid_tick + hbt.depth(0).best_ask_tick
            while hbt.wait_next_feed(False, 1 << 60) == 2:
                depth = hbt.depth(0)
                total += depth.best_bid_tick + depth.best_ask_tick if query == 1 else look(depth)
            return total

        return drive

    return made(scan), made(walk)


@cache
def noting() -> Any:
    """Compile the strategy that notes every message's bands, bids then asks, lots."""
    from numba import njit

    bands = np.array(BANDS, np.int64)

    @njit
    def drive(hbt: Any, out: Any) -> int:
        count = 0
        while count < len(out) and hbt.wait_next_feed(False, 1 << 60) == 2:
            depth = hbt.depth(0)
            mid2 = depth.best_bid_tick + depth.best_ask_tick
            first, bids, asks = depth.roi_lb_tick, depth.bid_depth, depth.ask_depth
            for b in range(3):
                lots = 0.0
                for tick in range(-(-mid2 * (10_000 - bands[b]) // 20_000), depth.best_bid_tick + 1):
                    lots += bids[tick - first]
                out[count, b] = np.int64(np.round(lots / 0.001))
                lots = 0.0
                for tick in range(depth.best_ask_tick, mid2 * (10_000 + bands[b]) // 20_000 + 1):
                    lots += asks[tick - first]
                out[count, 3 + b] = np.int64(np.round(lots / 0.001))
            count += 1
        return count

    return drive


@cache
def watching() -> Any:
    """Compile the strategy that notes when it woke, and the best bid and ask then, ticks."""
    from numba import njit

    @njit
    def drive(hbt: Any, out: Any) -> int:
        count = 0
        while count < len(out) and hbt.wait_next_feed(False, 1 << 60) == 2:
            depth = hbt.depth(0)
            out[count, 0] = hbt.current_timestamp
            out[count, 1] = depth.best_bid_tick
            out[count, 2] = depth.best_ask_tick
            count += 1
        return count

    return drive


def best_of(path: Path) -> Callable[[], Callable[[], Any]]:
    """Prepare rounds that read a file of its own format, of whatever origin: stamp, best bid and ask of each waking."""

    def prepare() -> Callable[[], Any]:
        import hftbacktest

        drive = watching()
        stamps = np.load(path)["data"]["local_ts"]
        out = np.zeros((len(np.unique(stamps)), 3), np.int64)

        def run() -> Any:
            asset = hftbacktest.BacktestAsset().data([str(path)]).linear_asset(1.0)
            asset = asset.constant_order_latency(0, 0).risk_adverse_queue_model().no_partial_fill_exchange()
            asset = asset.trading_value_fee_model(0.0, 0.0).tick_size(TICK).lot_size(LOT)
            book = hftbacktest.HashMapMarketDepthBacktest([asset])
            return out[: drive(book, out)]

        return run

    return prepare


def bands_of(work: Work, folder: Path | None) -> Callable[[], Callable[[], Any]]:
    """Prepare rounds that give the bands of every message: from a file of its own format, or from rows in memory."""

    @cache
    def build() -> tuple[Any, Any, Any]:
        opening, stream = events(work, "message")
        if folder is not None:
            np.savez_compressed(folder / "stream.npz", data=stream)
        return opening, stream if folder is None else str(folder / "stream.npz"), noting()

    def prepare() -> Callable[[], Any]:
        import hftbacktest

        opening, stream, drive = build()
        out = np.zeros((len(work.starts) - 1, 6), np.int64)
        book = hftbacktest.ROIVectorMarketDepthBacktest([asset_of(opening, stream)]) if folder is None else None

        def run() -> Any:
            known = book or hftbacktest.ROIVectorMarketDepthBacktest([asset_of(opening, stream)])
            assert drive(known, out) == len(out)
            return out

        return run

    return prepare


def hftbacktest_book(work: Work, query: Query, *, vector: bool = True) -> Callable[[], Callable[[], int]]:
    """Prepare rounds of the book over a range of prices, or of the one in a hash map."""

    @cache
    def build() -> tuple[Any, Any, Any, Any]:
        import hftbacktest

        backtest = hftbacktest.ROIVectorMarketDepthBacktest if vector else hftbacktest.HashMapMarketDepthBacktest
        return (*events(work, query), backtest, strategies()[0 if vector else 1])

    def prepare() -> Callable[[], int]:
        opening, stream, backtest, drive = build()
        book = backtest([asset_of(opening, stream)])

        def run() -> int:
            total = drive(book, QUERIES.index(query))
            return int(total)

        return run

    return prepare
