"""Book apply, and apply + VIEW, per message of a real tape: ours beside a sorted dictionary that answers the same.

The peer keeps two `sortedcontainers.SortedDict` and sums the same bands by walking them, as a strategy must on a book
without incremental depth. Both see the same 2,000 messages (67 levels each on average) and must agree on the bands.
"""

import gzip
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import sortedcontainers

from engine.book import Book
from engine.instrument import Instrument
from engine.schema import LEVEL, Contract, Rows

TAPE = Path(__file__).parents[1] / "../shared/data/binance/usdm_btcusdt_20240808.gz"
BANDS = (10, 50, 100)
MESSAGES = 2_000
INSTRUMENT = Instrument(
    venue="usdm", symbol="BTCUSDT", asset="BTC", quote="USDT", contract=Contract.LINEAR,
    price_decimals=2, size_decimals=3, tick=10, lot=1,
)  # fmt: skip

#: Untyped upstream.
SortedDict: Any = sortedcontainers.SortedDict

Message = tuple[Rows, int]


def _message(bids: list[list[str]], asks: list[list[str]]) -> Message:
    levels = [(int(price.replace(".", "")), int(size.replace(".", ""))) for price, size in bids + asks]
    return np.array(levels, LEVEL), len(bids)


@cache
def messages() -> tuple[Message, list[Message]]:
    """Read the tape's snapshot and the first messages after it."""
    if not TAPE.exists():
        pytest.skip(f"recorded streams are not here: {TAPE} is absent")
    snapshot, diffs = None, []
    with gzip.open(TAPE) as tape:
        for line in tape:
            frame: dict[str, Any] = orjson.loads(line[20:])
            if "lastUpdateId" in frame:
                snapshot = _message(frame["bids"], frame["asks"])
            elif snapshot is not None and frame["data"]["e"] == "depthUpdate":
                diffs.append(_message(frame["data"]["b"], frame["data"]["a"]))
            if len(diffs) == MESSAGES:
                break
    assert snapshot is not None
    return snapshot, diffs


def ours(book: Book, diffs: list[Message], viewed: bool) -> int:
    total = 0
    for levels, bids in diffs:
        book.update(levels, bids, replace=False)
        if viewed:
            row = book.view().row[0]
            total += int(row["bid_depth"].sum()) + int(row["ask_depth"].sum())
    return total


class SortedBook:
    """The peer."""

    def __init__(self, snapshot: list[tuple[int, int]], bids: int) -> None:
        self.bids = SortedDict(snapshot[:bids])
        self.asks = SortedDict(snapshot[bids:])

    def update(self, levels: list[tuple[int, int]], bids: int) -> None:
        for i, (price, size) in enumerate(levels):
            side = self.bids if i < bids else self.asks
            if size:
                side[price] = size
            else:
                side.pop(price, None)

    def depth(self) -> int:
        mid2 = self.bids.keys()[-1] + self.asks.keys()[0]
        total = 0
        for band in BANDS:
            low = -(-mid2 * (10_000 - band) // 20_000)
            high = mid2 * (10_000 + band) // 20_000
            total += sum(self.bids[price] for price in self.bids.irange(low))
            total += sum(self.asks[price] for price in self.asks.irange(None, high))
        return total


def theirs(book: SortedBook, diffs: list[tuple[list[tuple[int, int]], int]], viewed: bool) -> int:
    total = 0
    for levels, bids in diffs:
        book.update(levels, bids)
        if viewed:
            total += book.depth()
    return total


@pytest.mark.parametrize("viewed", [False, True], ids=["apply", "apply+view"])
def test_ours(benchmark: Any, viewed: bool) -> None:
    snapshot, diffs = messages()
    benchmark.group = f"book {'apply + view' if viewed else 'apply'}, {len(diffs)} messages"

    def fresh() -> tuple[tuple[Book, list[Message], bool], dict[str, Any]]:
        book = Book(INSTRUMENT, BANDS)
        book.update(*snapshot, replace=True)
        book.view()
        return (book, diffs, viewed), {}

    total = benchmark.pedantic(ours, setup=fresh, rounds=5, warmup_rounds=1)
    if viewed:
        assert total == expected()


@pytest.mark.parametrize("viewed", [False, True], ids=["apply", "apply+view"])
def test_sorted_dictionaries(benchmark: Any, viewed: bool) -> None:
    (levels, bids), diffs = messages()
    benchmark.group = f"book {'apply + view' if viewed else 'apply'}, {len(diffs)} messages"
    plain = [(rows.tolist(), count) for rows, count in diffs]

    def fresh() -> tuple[tuple[SortedBook, Any, bool], dict[str, Any]]:
        return (SortedBook(levels.tolist(), bids), plain, viewed), {}

    total = benchmark.pedantic(theirs, setup=fresh, rounds=2)
    if viewed:
        assert total == expected()


@cache
def expected() -> int:
    """What both must answer, by the slow book."""
    (levels, bids), diffs = messages()
    return theirs(SortedBook(levels.tolist(), bids), [(rows.tolist(), count) for rows, count in diffs], viewed=True)
