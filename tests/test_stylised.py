"""Stylised facts of made-up rows: each number is one that can be counted by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.errors import BadRecord
from engine.instrument import Instrument
from engine.schema import LEVEL, MESSAGE, TRADE, Batch, Contract, Kind
from tests.coarse import coarsened
from tests.stylised import SECOND, Observer, explained, observe

INSTRUMENT = Instrument(
    venue="venue",
    symbol="AUSD",
    asset="A",
    quote="USD",
    contract=Contract.LINEAR,
    price_decimals=2,
    size_decimals=1,
    tick=10,
    lot=1,
)
#: Two bids and two asks; the mid is 100,000, a tick 1 bps of it.
BOOK = [(99_990, 5), (99_950, 15), (100_010, 5), (100_060, 15)]


def batch(kind: Kind, received: int, rows: Any, bids: int = 0, **fields: Any) -> Batch:
    message = np.zeros(1, MESSAGE)
    message["kind"], message["received"], message["count"], message["bids"] = kind, received, len(rows), bids
    made = Batch(instrument=INSTRUMENT.key, asset="A", messages=message)
    return replace(made, trades=rows) if kind == Kind.TRADE else replace(made, levels=np.array(rows, LEVEL))


def fills(second: int, orders: list[tuple[int, int]]) -> Batch:
    """Fills of orders: how many, and of which side; each order has a stamp of its own."""
    rows = np.zeros(sum(count for count, _ in orders), TRADE)
    rows["price"], rows["size"] = 100_010, 1
    at = 0
    for number, (count, side) in enumerate(orders):
        rows["exchanged"][at : at + count] = second * SECOND + number
        rows["side"][at : at + count] = side
        at += count
    return batch(Kind.TRADE, second * SECOND + 5, rows)


def market(seconds: int) -> list[Batch]:
    """Let the bid's size alternate and a far level come and go; every other second three orders have six fills."""
    out = [batch(Kind.SNAPSHOT, SECOND - 9, BOOK, 2)]
    for second in range(1, seconds + 1):
        rows = [(99_990, 5 + second % 2), (99_800, second % 2)]
        out.append(batch(Kind.DELTA, second * SECOND + 1, rows, 2))
        if second % 2 == 0:
            out.append(fills(second, [(3, 1), (2, -1), (1, -1)]))
    return out


def test_facts_are_what_can_be_counted_by_hand() -> None:
    out = market(100)
    # Four moves of the mid by a tick, up and down: the ask leaves and returns.
    for second in (20, 40, 60, 80):
        at = next(i for i, each in enumerate(out) if each.messages["received"][0] == second * SECOND + 1)
        up = second % 40 == 20
        out.insert(
            at + 1, batch(Kind.DELTA, second * SECOND + 2, [(100_010, 0 if up else 5), (100_030, 5 if up else 0)])
        )
    # The last whole second is the one before the last delta's.
    found = observe(out, INSTRUMENT, 1_000)
    assert found["spread_median_bps"] == pytest.approx(2.0)
    moved = 20 + 20
    assert found["spread_mean_ticks"] == pytest.approx(2 + 2 * moved / 99)
    assert found["tick_bps"] == pytest.approx(1.0, rel=1e-3)
    # The far level lies 20 bps away, all others within 10.
    assert found["depth_within_10_bps"] == 1.0
    assert found["deltas_per_s"] == pytest.approx(103 / 99)
    assert found["trades_per_s"] == pytest.approx(6 * 49 / 99)
    assert found["orders_per_s"] == pytest.approx(3 * 49 / 99)
    # 49 of 99 seconds have six fills, the others none.
    share = 49 / 99
    assert found["trade_burstiness"] == pytest.approx(6 * (1 - share))
    # What a diff is like is counted of the open second too.
    assert found["deleted_share"] == pytest.approx((50 + 4) / (2 * 104))
    assert found["levels_per_delta"] == 2.0
    # Two moves up, two down, all as large: kurtosis is that of a variable that is mostly 0.
    assert found["return_kurtosis"] == pytest.approx(98 / 4, rel=1e-3)
    assert abs(found["return_autocorrelation"]) < 0.01


def test_a_second_without_a_known_book_is_not_counted() -> None:
    observer = Observer(INSTRUMENT)
    for each in market(70):
        observer.take(each)
    # The second of the snapshot is not whole, the last one not over.
    assert observer.seconds == 69
    lost = batch(Kind.RESYNC, 71 * SECOND, [])
    for each in (lost, batch(Kind.SNAPSHOT, 75 * SECOND + 1, BOOK, 2), *market(78)[-3:]):
        observer.take(each)
    # The 70th ended with the loss; the 75th and those before it were not seen, the 76th and 77th were.
    assert observer.seconds == 72


def test_too_short_a_market_has_no_facts() -> None:
    with pytest.raises(BadRecord, match="20 whole seconds were seen, needed are 60"):
        observe(market(21), INSTRUMENT, 1_000)


def test_a_move_that_follows_the_flow_is_explained_and_a_hole_is_left_out() -> None:
    flows: list[tuple[float, float] | None] = [(float(i % 7), 2.0 * (i % 7)) for i in range(40)]
    assert explained(flows, 1) == pytest.approx(1.0)
    noisy = [*flows[:20], None, *[(float(i % 7), 0.0 if i % 2 else 9.0) for i in range(19)]]
    assert explained(noisy, 1) < 0.9
    assert explained(noisy[:21], 5) == pytest.approx(1.0)


def test_a_coarser_tick_sums_what_it_cannot_tell_apart() -> None:
    out = list(coarsened([batch(Kind.SNAPSHOT, 1, [*BOOK[:2], (99_991, 2), *BOOK[2:]], 3)], 100))
    assert out[0].levels.tolist() == [(99_900, 22), (100_100, 20)]
    assert out[0].messages["bids"][0] == 1
    out = list(coarsened([batch(Kind.SNAPSHOT, 1, BOOK, 2), batch(Kind.DELTA, 2, [(99_990, 0), (100_200, 1)], 1)], 100))
    assert out[1].levels.tolist() == [(99_900, 15), (100_200, 1)]


def test_a_tick_that_is_the_venue_s_own_changes_nothing() -> None:
    before = market(5)
    for one, other in zip(before, coarsened(before, 10), strict=True):
        assert one.levels.tolist() == other.levels.tolist()
        assert one.messages.tolist() == other.messages.tolist()
