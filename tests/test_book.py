"""The ladder says what a dictionary says, wherever the levels lie and however they came."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import ladder, views
from engine.book import Book
from engine.errors import BadFrame, BadRecord
from engine.instrument import Instrument
from engine.kernel import COMPILED, kernel, top_bit
from engine.ladder import PRICE_LIMIT
from engine.schema import LEVEL, Contract, Rows
from tests.naive import NaiveBook

BANDS = (5, 10, 25, 50, 100, 200, 500)
EXAMPLES = 20 if not COMPILED else 300


def make(tick: int = 1) -> Book:
    instrument = Instrument(
        venue="v", symbol="S", asset="A", quote="Q", contract=Contract.SPOT,
        price_decimals=2, size_decimals=3, tick=tick, lot=1,
    )  # fmt: skip
    return Book(instrument, BANDS)


def rows(levels: list[tuple[int, int]]) -> Rows:
    return np.array(levels, LEVEL)


def check(book: Book, naive: NaiveBook) -> None:
    assert book.best == naive.best()
    bids, asks = naive.sorted()
    assert [side.tolist() for side in book.levels()] == [bids, asks]
    view = book.view()
    row = view.row[0]
    assert (row["bid"], row["bid_size"], row["ask"], row["ask_size"]) == naive.best()
    assert (row["bid_levels"], row["ask_levels"]) == (len(bids), len(asks))
    near_bids, near_asks = naive.within(BANDS[-1])
    assert view.bids.tolist() == near_bids
    assert view.asks.tolist() == near_asks
    depths = [naive.depth(band) for band in BANDS]
    assert [(int(b), int(a)) for b, a in zip(row["bid_depth"], row["ask_depth"], strict=True)] == depths


def near(middle: int, spread: int) -> st.SearchStrategy[int]:
    return st.integers(middle - spread, middle + spread)


#: Prices near one mid, far beside it, near another mid (the window moves), and off the tick grid.
PRICES = st.one_of(near(1_000_000, 300), near(1_000_000, 40_000), near(2_600_000, 300), st.integers(1, 40_000_000))
LEVELS = st.lists(st.tuples(PRICES, st.one_of(st.just(0), st.integers(1, 10**12))), max_size=12)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(st.tuples(LEVELS, st.integers(0, 12), st.booleans(), st.booleans()), max_size=12),
    st.sampled_from([1, 10, 7]),
)
def test_agrees_with_dictionaries_on_any_history(
    history: list[tuple[list[tuple[int, int]], int, bool, bool]], tick: int
) -> None:
    book, naive = make(tick), NaiveBook()
    for levels, bids, replace, looked in history:
        book.update(rows(levels), min(bids, len(levels)), replace)
        naive.update(levels, min(bids, len(levels)), replace)
        if looked:
            check(book, naive)
    check(book, naive)
    twin = make(tick)
    twin.load(book.dump())
    check(twin, naive)
    assert twin.dump() == book.dump()


@pytest.mark.parametrize("tick", [1, 5])
def test_agrees_with_dictionaries_as_the_market_walks(tick: int) -> None:
    random = np.random.default_rng(7)
    book, naive = make(tick), NaiveBook()
    middle = 1_000_000
    for step in range(40 if not COMPILED else 400):
        middle += int(random.integers(-30_000, 30_200))
        prices = middle + random.integers(-6_000, 6_000, 30)
        levels = [
            (int(p), int(s))
            for p, s in zip(prices, random.integers(0, 900, 30) * random.integers(0, 2, 30), strict=True)
        ]
        levels.sort(key=lambda level: level[0] >= middle)
        bids = sum(price < middle for price, _ in levels)
        for stale in [p for p in naive.bids if p >= middle]:
            levels.insert(0, (stale, 0))
            bids += 1
        levels += [(p, 0) for p in naive.asks if p < middle]
        book.update(rows(levels), bids, replace=False)
        naive.update(levels, bids, replace=False)
        if step % 3 == 0:
            check(book, naive)
    assert len(naive.bids) > 20


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(1, 10**9), st.integers(-5_000, 2 * 10**6), st.integers(-5, (1 << 20) + 5), st.integers(-2, 2))
def test_a_cell_is_what_integer_division_finds(tick: int, origin: int, cell: int, beside: int) -> None:
    memory, window = np.zeros(1, ladder.MEMORY), 1 << 20
    memory["tick"], memory["origin"], memory["inverse"] = tick, origin, 1.0 / tick
    price = (origin + cell) * tick + beside
    ticks, rest = divmod(price, tick)
    expected = ticks - origin if rest == 0 and 0 <= ticks - origin < window else -1
    assert ladder.cell_of(memory, window, price) == expected


def test_bounds_count() -> None:
    book = make()
    book.update(rows([(9990, 2), (9980, 3), (9950, 5), (10010, 1), (10020, 4), (10050, 5)]), 3, replace=True)
    row = book.view().row[0]
    assert row["bid_depth"].tolist() == [0, 2, 5, 10, 10, 10, 10]
    assert row["ask_depth"].tolist() == [0, 1, 5, 10, 10, 10, 10]
    assert (row["known_low"], row["known_high"]) == (9950, 10050)


def test_a_real_sized_snapshot() -> None:
    book, naive = make(), NaiveBook()
    bids = [(6_000_000 - 3 * i, 1 + i % 7) for i in range(46_000)]
    asks = [(6_000_001 + 5 * i, 1 + i % 5) for i in range(23_334)]
    book.update(rows(bids + asks), len(bids), replace=True)
    naive.update(bids + asks, len(bids), replace=True)
    check(book, naive)


def test_one_side_empty_is_not_an_error() -> None:
    book, naive = make(), NaiveBook()
    for levels, bids in ([(100, 5)], 1), ([(100, 0), (101, 2)], 1), ([(101, 0)], 0):
        book.update(rows(levels), bids, replace=False)
        naive.update(levels, bids, replace=False)
        check(book, naive)


@pytest.mark.parametrize(
    "level",
    [(0, 1), (-5, 1), (PRICE_LIMIT, 1), (100, -1), (100, 1 << 58)],
    ids=["zero", "below", "dear", "negative", "huge"],
)
def test_what_sums_cannot_hold_is_refused(level: tuple[int, int]) -> None:
    book = make()
    book.update(rows([(99, 1), (101, 1)]), 1, replace=True)
    before = book.dump()
    with pytest.raises(BadFrame, match="out of range"):
        book.update(rows([(98, 4), level]), 1, replace=False)
    assert book.dump() == before


def test_a_torn_dump_is_refused() -> None:
    book = make()
    book.update(rows([(99, 1), (101, 1)]), 1, replace=True)
    state = book.dump()
    for cut in (0, 7, 31, 40, len(state) - 1):
        with pytest.raises(BadRecord):
            make().load(state[:cut])


def test_read_only_rows_are_accepted_and_kept_as_they_were() -> None:
    book = make()
    levels = np.frombuffer(rows([(99, 1), (101, 1)]).tobytes(), LEVEL)
    book.update(levels, 1, replace=True)
    assert levels.tolist() == [(99, 1), (101, 1)]
    assert book.best == (99, 1, 101, 1)


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled with the JIT off")
def test_every_entry_from_python_has_one_signature() -> None:
    entries: list[Any] = [ladder.apply, views.look, ladder.forget, ladder.holds]
    test_agrees_with_dictionaries_as_the_market_walks(5)
    # Whatever else this process did may have compiled them for other arrays: what counts is that none is added.
    before = [len(entry.signatures) for entry in entries]
    test_agrees_with_dictionaries_as_the_market_walks(6)
    assert [len(entry.signatures) for entry in entries] == before


def test_top_bit() -> None:
    @kernel
    def compiled(word: int) -> int:
        return top_bit(word)

    for bit, low in itertools.product(range(32), (0, 1)):
        word = 1 << bit | (low if bit else 0)
        assert compiled(word) == top_bit(word) == bit


@given(st.integers(2, 1 << 61), st.integers(1, 9999))
@settings(deadline=None)
def test_edges_are_exact_for_any_price(mid2: int, band: int) -> None:
    assert -ladder.share(-mid2, 10_000 - band) == -(-mid2 * (10_000 - band) // 20_000)
    assert ladder.share(mid2, 10_000 + band) == mid2 * (10_000 + band) // 20_000
