"""The liquidation map equals its slow twin, and buckets move no trigger by more than their width."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import MapConfig
from engine.kernel import COMPILED
from engine.schema import Contract, Coverage
from tests.liquidation_map import HOUR, SECOND, SIDES, Map, floats
from tests.naive_liquidations import NaiveMap

trade = st.tuples(st.just("trade"), st.integers(-3_500, 4_000), st.integers(1, 10**6))
small = st.tuples(st.just("trade"), st.integers(-200, 200), st.integers(1, 10**6))
interest = st.tuples(
    st.just("interest"), st.sampled_from([0, 300, 800, 950, 999, 1_000, 1_001, 1_100, 1_500]), st.just(0)
)
mark = st.tuples(st.just("mark"), st.integers(-500, 500), st.just(0))
printed = st.tuples(st.just("printed"), st.sampled_from(SIDES), st.integers(1, 10**5))
waits = st.sampled_from([1, 10**6, SECOND, 11 * SECOND, HOUR, 30 * HOUR])
events = st.lists(
    st.tuples(st.one_of(trade, small, small, interest, interest, mark, printed), waits), min_size=10, max_size=60
)


def replay(found: Map, naive: NaiveMap, stream: Any, coverage: Coverage) -> float:
    """Tell both the same; return the greatest open interest."""
    now, price, total, greatest = SECOND, 50_000.0, 1_000.0, 1_000.0
    inverse = naive.inverse
    for (kind, one, two), wait in stream:
        now += wait
        if kind == "trade":
            price = round(max(price * (1 + one / 10_000), 1.0), 2)
            found.trade(now, (price, two / 1_000))
            naive.take_trades([(price, two / 1_000 / (price if inverse else 1))], now)
        elif kind == "interest":
            total = round(total * one / 1_000 + (one > 1_000), 3)
            greatest = max(total, greatest)
            found.open_interest(now, total)
            naive.take_open_interest(total, now)
        elif kind == "mark":
            naive.mark = round(price * (1 + one / 10_000), 2)
            found.mark(now, naive.mark)
        else:
            size = two / 1_000
            found.liquidation(now, one, size, price, coverage)
            naive.take_liquidation(one, size, size if inverse else size * price, coverage == Coverage.ALL, now)
    return greatest


@settings(max_examples=200 if COMPILED else 30, deadline=None)
@given(
    stream=events,
    contract=st.sampled_from([Contract.LINEAR, Contract.INVERSE]),
    coverage=st.sampled_from([Coverage.ALL, Coverage.SAMPLED_LARGEST]),
)
def test_the_map_equals_its_twin(stream: Any, contract: Contract, coverage: Coverage) -> None:
    asked = MapConfig(leverages=(2, 10, 50), weights=(0.5, 0.3, 0.2), position=20_000.0)
    found = Map(asked, contract)
    inverse = contract == Contract.INVERSE
    naive = NaiveMap([2, 10, 50], [0.5, 0.3, 0.2], 0.004, 20.0, 20_000.0, 24.0 * HOUR, inverse)
    greatest = replay(found, naive, stream, coverage)
    assert np.isfinite(floats(found.memory)).all()
    slack = 1e-8 * greatest
    for (k, way), side in naive.sides.items():
        assert found.held(k, way) == pytest.approx(side.held(), abs=slack)
        for name in ("added", "crossed", "removed", "beyond"):
            assert found.total(name, k, way) == pytest.approx(getattr(side, name), rel=1e-8, abs=slack)
        kept = found.held(k, way) + sum(found.total(n, k, way) for n in ("crossed", "removed", "beyond"))
        assert kept == pytest.approx(found.total("added", k, way), rel=1e-9)
    assert found.weights[:3] == pytest.approx(naive.weights(), rel=1e-6)
    assert found.memory["score"][0] == pytest.approx(naive.score(), abs=1e-6)
    for way in SIDES:
        share, known = found.coverage(way)
        assert 0 <= share <= 1
        assert known == (naive.open_interest is not None)
        if (naive.open_interest or 0.0) < 1e-3 * greatest:
            continue
        assert share == pytest.approx(naive.covered(way), abs=1e-5)
        one = [each for each in found.triggers(way) if each[1] * (each[0] if inverse else 1) > 1e-5 * greatest]
        two = [each for each in naive.triggers(way, naive.weights()) if each[1] > 1e-5 * greatest]
        assert [mark for mark, _, _ in one] == pytest.approx([mark for mark, _ in two], rel=1e-6)
        assert [amount * (mark if inverse else 1) for mark, amount, _ in one] == pytest.approx(
            [amount for _, amount in two], rel=1e-3
        )
        marks = [mark * way for mark, _, _ in found.triggers(way)]
        assert marks == sorted(marks, reverse=True)


@settings(max_examples=50 if COMPILED else 5, deadline=None)
@given(
    prices=st.lists(st.integers(9_000, 11_000), min_size=1, max_size=30),
    levels=st.lists(st.floats(0.3, 2.0), min_size=1, max_size=10),
)
def test_buckets_move_no_trigger_by_more_than_their_width(prices: list[int], levels: list[float]) -> None:
    found = Map(MapConfig(leverages=(2, 10), weights=(0.5, 0.5)))
    naive = NaiveMap([2, 10], [0.5, 0.5], 0.004, 20.0, 1e5, 24.0 * HOUR, apart=True)
    found.open_interest(SECOND, 0)
    naive.open_interest = 0.0
    for i, price in enumerate(prices):
        found.mark((2 + i) * SECOND, price)
        found.open_interest((2 + i) * SECOND, 1.0 + i)
        naive.enter(1.0, float(price), (2 + i) * SECOND)
    width = prices[0] * 2 / 768
    for (k, way), side in naive.sides.items():
        grid = found.one_class(k, way)
        apart = [(lot.trigger(), lot.quantity()) for lot in side.lots]
        for level in levels:
            at = level * 10_000
            beyond = sum(amount for mark, amount, _ in grid if (mark - at) * way >= 0)
            least, most = (sum(n for mark, n in apart if (mark - at) * way >= edge) for edge in (width, -width))
            assert least - 1e-9 <= beyond <= most + 1e-9
