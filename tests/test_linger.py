"""Linger: the same records however the rows were handed in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.schema import LEVEL, TRADE, Batch, Kind, Rows
from ingest.linger import Linger
from ingest.rows import message


def batch(instrument: str, received: int, kind: Kind = Kind.DELTA, rows: int = 1) -> Batch:
    """Make a batch of one message whose rows carry the receive time."""
    row = message(kind, received=received, count=0 if kind == Kind.STATUS else rows)
    parts: dict[str, Rows] = {}
    if kind == Kind.DELTA:
        parts["levels"] = np.array([(received, i) for i in range(rows)], LEVEL)
    if kind == Kind.TRADE:
        parts["trades"] = np.array([(received, i, 0, 0, 1, 1, 0, 0) for i in range(rows)], TRADE)
    return Batch(instrument=instrument, asset=instrument.partition(":")[2][:3], messages=row, **parts)


def describe(batches: Sequence[Batch]) -> list[Any]:
    """Turn batches into values that compare."""
    parts = ("messages", "levels", "trades", "references")
    return [(b.instrument, b.asset, *(getattr(b, part).tolist() for part in parts)) for b in batches]


def join(batches: Sequence[Batch]) -> Batch:
    """Join batches of one instrument."""
    return Batch(
        instrument=batches[0].instrument,
        asset=batches[0].asset,
        messages=np.concatenate([b.messages for b in batches]),
        levels=np.concatenate([b.levels for b in batches]),
        trades=np.concatenate([b.trades for b in batches]),
    )


def test_a_window_closes_with_the_first_row_of_a_later_one() -> None:
    linger = Linger(interval=10)
    assert linger.add([batch("v:A", 100), batch("v:B", 101), batch("v:A", 109)]) == []
    closed = linger.add([batch("v:A", 110)])
    assert [(b.instrument, b.messages["received"].tolist()) for b in closed] == [("v:A", [100, 109]), ("v:B", [101])]
    assert closed[0].levels["price"].tolist() == [100, 109]
    assert describe(linger.flush()) == describe([batch("v:A", 110)])
    assert linger.flush() == []


def test_the_clock_closes_what_no_row_closes() -> None:
    linger = Linger(interval=10)
    linger.add([batch("v:A", 100)])
    assert linger.close(109) == []
    assert describe(linger.close(110)) == describe([batch("v:A", 100)])
    assert linger.close(120) == []


def test_families_stay_apart_and_in_order() -> None:
    linger = Linger(interval=1000)
    linger.add([batch("v:A", 1, Kind.TRADE, 2), batch("v:A", 2, Kind.STATUS), batch("v:A", 3, Kind.DELTA, 3)])
    linger.add([batch("v:A", 4, Kind.TRADE)])
    (closed,) = linger.flush()
    assert closed.messages["kind"].tolist() == [Kind.TRADE, Kind.STATUS, Kind.DELTA, Kind.TRADE]
    assert closed.trades["exchanged"].tolist() == [1, 1, 4]
    assert closed.levels["price"].tolist() == [3, 3, 3]


def test_a_record_is_never_larger_than_allowed() -> None:
    linger = Linger(interval=1000, max_bytes=10_000)
    linger.add([batch("v:A", i, rows=20) for i in range(100)])
    closed = linger.flush()
    assert len(closed) == 5
    assert all(len(b.messages) * 88 + b.levels.nbytes <= 10_000 for b in closed)
    assert np.concatenate([b.messages for b in closed])["received"].tolist() == list(range(100))


def test_a_record_holds_at_most_sixty_thousand_rows() -> None:
    linger = Linger(interval=1000, max_bytes=1 << 30)
    linger.add([batch("v:A", i, rows=25_000) for i in range(5)])
    assert [len(b.levels) for b in linger.flush()] == [50_000, 50_000, 25_000]


def test_a_message_that_alone_is_too_large_goes_alone() -> None:
    linger = Linger(interval=1000, max_bytes=1000)
    linger.add([batch("v:A", 1), batch("v:A", 2, rows=500), batch("v:A", 3)])
    assert [b.messages["received"].tolist() for b in linger.flush()] == [[1], [2], [3]]


@pytest.mark.parametrize("step", [1, 3])
def test_windows_follow_one_another_by_their_first_rows(step: int) -> None:
    linger = Linger(interval=10)
    batches = [batch(f"v:{'ABC'[i % 3]}", i * step) for i in range(60)]
    closed = [*linger.add(batches), *linger.flush()]
    firsts = [int(b.messages["received"][0]) for b in closed]
    assert firsts == sorted(firsts)


KINDS = [Kind.DELTA, Kind.TRADE, Kind.STATUS]


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from("AB"), st.sampled_from(KINDS), st.integers(1, 4)), max_size=40
    ),
    st.data(),
)
def test_any_chunking_gives_the_same_records(steps: list[tuple[int, str, Kind, int]], data: st.DataObject) -> None:
    received, batches = 0, []
    for step, name, kind, rows in steps:
        received += step
        batches.append(batch(f"v:{name}", received, kind, rows))
    whole = Linger(interval=10, max_bytes=700)
    expected = [*whole.add(batches), *whole.flush()]
    chunked = Linger(interval=10, max_bytes=700)
    records: list[Batch] = []
    start = 0
    while start < len(batches):
        # Neighbours of one instrument may come as one batch, several batches as one call.
        end = data.draw(st.integers(start + 1, len(batches)))
        chunk = batches[start:end]
        joined = [join(chunk)] if len({b.instrument for b in chunk}) == 1 and data.draw(st.booleans()) else chunk
        records += chunked.add(joined)
        if data.draw(st.booleans()):
            records += chunked.close(int(chunk[-1].messages["received"][-1]))
        start = end
    assert describe([*records, *chunked.flush()]) == describe(expected)
