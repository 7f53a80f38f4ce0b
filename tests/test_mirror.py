"""A book beside its session: what leaves its depth, what makes one whole book another, what proves it wrong."""

from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Gap
from engine.instrument import Instrument
from engine.schema import LEVEL, Contract, Rows
from ingest.mirror import Mirror, Rule

INSTRUMENT = Instrument(
    venue="v", symbol="S", asset="A", quote="Q", contract=Contract.SPOT,
    price_decimals=1, size_decimals=2, tick=1, lot=1,
)  # fmt: skip
PRICES = st.integers(1, 30)


def rows(*levels: tuple[int, int]) -> Rows:
    return np.array(list(levels), LEVEL)


def mirror(rule: Rule | None = None) -> Mirror:
    made = Mirror(INSTRUMENT, rule or Rule())
    made.replace(rows((10, 1), (9, 2), (8, 3), (12, 4), (13, 5), (14, 6)), 3)
    return made


def test_a_level_beyond_the_depth_is_deleted_by_a_row() -> None:
    book = mirror(Rule(depth=3))
    said, bids = book.apply(rows((11, 7), (15, 8)), 1)
    assert said.tolist() == [(11, 7), (8, 0), (15, 8), (15, 0)]
    assert bids == 2
    assert book.best(9) == ([(11, 7), (10, 1), (9, 2)], [(12, 4), (13, 5), (14, 6)])


def test_a_change_inside_the_depth_is_passed_on_as_it_is() -> None:
    change = rows((10, 0), (12, 9))
    said, bids = mirror(Rule(depth=3)).apply(change, 1)
    assert said is change
    assert bids == 1


def test_bids_that_reach_asks_prove_that_something_was_lost() -> None:
    book = mirror(Rule(uncrossed=True))
    assert book.check(None, 1, 2) is False
    book.apply(rows((12, 1)), 1)
    with pytest.raises(Gap, match="v:S: expected 7, met 8"):
        book.check(None, 7, 8)
    # A venue whose messages are single levels may cross between two of them.
    other = mirror()
    other.apply(rows((12, 1)), 1)
    assert other.check(None, 7, 8) is False


def test_a_checksum_proves_a_book_or_its_loss() -> None:
    def best(book: Mirror) -> int:
        return crc32(repr(book.best(1)).encode())

    book = mirror(Rule(checksum=best))
    agreed = crc32(b"([(10, 1)], [(12, 4)])")
    assert book.check(agreed, 1, 2) is True
    assert book.check(None, 1, 2) is False
    book.apply(rows((10, 0)), 1)
    with pytest.raises(Gap):
        book.check(agreed, 1, 2)


@given(st.lists(st.dictionaries(PRICES, st.integers(1, 9), max_size=12), min_size=2, max_size=6))
def test_differences_lead_from_one_whole_book_to_the_next(states: list[dict[int, int]]) -> None:
    """A reader that only applies rows has the same book; rows never say what is so already."""
    book, reader = Mirror(INSTRUMENT, Rule(whole=True)), Mirror(INSTRUMENT, Rule())
    for number, state in enumerate(states):
        bids = sorted(((p, s) for p, s in state.items() if p <= 15), reverse=True)
        asks = sorted((p, s) for p, s in state.items() if p > 15)
        levels = rows(*bids, *asks)
        if number == 0:
            book.replace(levels, len(bids))
            reader.replace(levels, len(bids))
        else:
            said, count = book.difference(levels, len(bids))
            held, offered = reader.best(99)
            before = dict(held + offered)
            assert all(before.get(price, 0) != size for price, size in said.tolist())
            reader.apply(said, count)
        assert reader.best(99) == (bids, asks)


@given(st.lists(st.tuples(st.booleans(), PRICES, st.integers(0, 5)), max_size=40), st.integers(1, 5))
def test_a_reader_of_the_rows_needs_no_depth_of_its_own(changes: list[tuple[bool, int, int]], depth: int) -> None:
    book, reader = Mirror(INSTRUMENT, Rule(depth=depth)), Mirror(INSTRUMENT, Rule())
    for is_bid, price, size in changes:
        said, bids = book.apply(rows((price, size)), int(is_bid))
        reader.apply(said, bids)
        assert reader.best(99) == book.best(99)
        assert max(map(len, book.best(99))) <= depth
