"""Sides: what records share of one book is what the book itself gives, however far it was walked before."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.book import Book
from engine.instrument import Instrument
from engine.schema import LEVEL, Contract
from engine.sides import Sides

INSTRUMENT = Instrument(
    venue="one", symbol="A", asset="A", quote="USD", contract=Contract.LINEAR,
    price_decimals=1, size_decimals=2, tick=1, lot=1,
)  # fmt: skip
REACHES = (1, 10, 100, 500, 2_100, 9_999)


def book_of(bids: list[int], asks: list[int]) -> Book:
    book = Book(INSTRUMENT, (10, 100))
    levels = np.array([(price, 1 + price % 7) for price in (*bids, *asks)], LEVEL)
    book.update(levels, len(bids), replace=True)
    return book


def random_book(seed: random.Random) -> Book:
    mid = seed.randrange(100, 100_000)
    away = sorted({1 + int(mid * seed.random() ** 3 * 0.9) for _ in range(seed.randrange(1, 60))})
    return book_of([mid - each for each in away if each < mid], [mid + each for each in away])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9))
def test_shared_levels_are_those_of_the_book(number: int) -> None:
    seed = random.Random(number)
    book, sides = random_book(seed), Sides()
    for _ in range(6):
        bps = seed.choice(REACHES)
        near, wanted = sides.within(book, 1, bps), book.within(bps)
        assert [rows.tolist() for rows in near] == [rows.tolist() for rows in wanted]
        wide = sides.reaching(book, 1, bps)
        assert [rows[: len(want)].tolist() for rows, want in zip(wide, wanted, strict=True)] == [
            rows.tolist() for rows in wanted
        ]


def test_another_version_is_walked_anew() -> None:
    sides, book = Sides(), book_of([1_000], [1_002])
    assert sides.within(book, 1, 100)[0].tolist() == [(1_000, 1 + 1_000 % 7)]
    book.update(np.array([(1_000, 5)], LEVEL), 1, replace=False)
    assert sides.within(book, 2, 100)[0].tolist() == [(1_000, 5)]
    book.update(np.array([(1_000, 6)], LEVEL), 1, replace=False)
    sides.forget()
    assert sides.within(book, 2, 100)[0].tolist() == [(1_000, 6)]


def test_a_lower_reach_walks_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    sides, book = Sides(), book_of([1_000, 900], [1_002, 1_100])
    wide = sides.reaching(book, 1, 2_000)
    monkeypatch.setattr("engine.sides.collect_both", None)
    assert [len(rows) for rows in sides.reaching(book, 1, 100)] == [len(rows) for rows in wide] == [2, 2]
    assert [len(rows) for rows in sides.within(book, 1, 100)] == [1, 1]


@pytest.mark.parametrize(("bids", "asks"), [([1_000, 10], []), ([], [1_000, 90_000])])
def test_of_one_side_all_levels_are_given(bids: list[int], asks: list[int]) -> None:
    near = Sides().within(book_of(bids, asks), 1, 10)
    assert [rows["price"].tolist() for rows in near] == [bids, asks]
