"""Holders known by name: which join the triggers, where, and when they are over."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig, MapConfig
from engine.errors import BadConfig
from engine.kernel import COMPILED
from engine.knowledge import Exposure, Knowledge
from engine.liquidation_exposures import EXPOSURE, exposures_of, join, listed
from engine.liquidations import ROOM
from engine.schema import Contract
from engine.triggers import begun, forced, maps_of
from tests.liquidation_map import HOUR, SECOND, Map

TEN = MapConfig(leverages=(10,), weights=(1.0,))
LOAN = Exposure(name="a loan", asset="A", quantity=50, trigger=95.0, error=2.0, as_of=HOUR)
DEEP = Exposure(name="a deeper one", asset="A", quantity=20, trigger=70.0, as_of=HOUR)
SHORT = Exposure(name="a hedge", asset="A", side="short", quantity=30, trigger=130.0, as_of=HOUR)
OTHER = Exposure(name="another asset's", asset="B", quantity=5, trigger=95.0, as_of=HOUR)
CHEST = Exposure(name="a treasury", asset="A", quantity=1e6, as_of=HOUR)
ALL = (LOAN, DEEP, SHORT, OTHER, CHEST)

Joined = list[tuple[float, float, float]]


def joined(found: Map, side: int, index: int = -1) -> Joined:
    marks, amounts, floors = (np.zeros(ROOM) for _ in range(3))
    for i, row in enumerate(found.triggers(side)):
        marks[i], amounts[i], floors[i] = row
    n = len(found.triggers(side))
    n = join(marks, amounts, floors, n, found.exposures, found.memory["gone"][0], side, index, 0.0, np.zeros((2, 64)))
    return list(zip(marks[:n].tolist(), amounts[:n].tolist(), floors[:n].tolist(), strict=True))


def test_levered_exposures_of_the_asset_are_rows_and_others_are_listed() -> None:
    config = EngineConfig(knowledge=Knowledge(exposures=ALL))
    rows = exposures_of(config, "A")
    assert rows["side"].tolist() == [1, 1, -1]
    assert rows["trigger"].tolist() == [95, 70, 130]
    assert rows["quantity"].tolist() == [50, 20, 30]
    assert (rows["error"].tolist(), rows["as_of"].tolist()) == ([2, 0, 0], [HOUR] * 3)
    assert listed(config, "A") == ("a treasury",)
    assert (len(exposures_of(config, "C")), listed(config, "C")) == (0, ())


def test_more_exposures_than_there_is_room_for_are_refused() -> None:
    config = EngineConfig(knowledge=Knowledge(exposures=(LOAN,) * 65))
    with pytest.raises(BadConfig, match="65 exposures of A"):
        exposures_of(config, "A")


def test_exposures_stand_among_the_estimated_triggers_in_order() -> None:
    found = Map(TEN, exposures=ALL)
    found.open_interest(SECOND, 0)
    found.trade(2 * SECOND, (100, 1))
    found.open_interest(3 * SECOND, 10)
    assert joined(found, 1) == [(95, 50, 0), (pytest.approx(90.36, abs=0.01), 10, pytest.approx(90)), (70, 20, 0)]
    assert joined(found, -1) == [(pytest.approx(109.56, abs=0.01), 10, pytest.approx(110)), (130, 30, 1e300)]


def test_a_known_bankruptcy_price_is_the_floor() -> None:
    bounded = replace(LOAN, bankruptcy=93.5), replace(SHORT, bankruptcy=131.0), DEEP
    found = Map(exposures=bounded)
    assert joined(found, 1) == [(95, 50, 93.5), (70, 20, 0)]
    assert joined(found, -1) == [(130, 30, 131)]


def test_a_short_is_bankrupt_above_its_trigger() -> None:
    assert replace(SHORT, bankruptcy=130.0).bankruptcy == 130.0
    with pytest.raises(BadConfig, match=r"of a short are prices above its trigger, 130\.0, or at it"):
        replace(SHORT, bankruptcy=129.0)


def forces(found: Map, side: int, exposures: tuple[Exposure, ...] = ()) -> list[tuple[float, float]]:
    """What a map and its exposures force: price, base units."""
    rows = exposures_of(EngineConfig(knowledge=Knowledge(exposures=exposures)), "A")
    maps = begun(maps_of([found.memory], [found.settings], [1.0], rows), 100.0, 0)
    triggers = forced(maps, side)
    return list(zip((side * triggers.marks).tolist(), triggers.amounts.tolist(), strict=True))


@pytest.mark.parametrize("contract", [Contract.LINEAR, Contract.INVERSE])
def test_what_is_known_of_an_open_interest_leaves_its_estimate(contract: Contract) -> None:
    inside, outside = replace(DEEP, quantity=4.0, instrument="venue:A"), replace(DEEP, quantity=4.0)
    held: dict[tuple[Exposure, ...], list[list[tuple[float, float]]]] = {}
    for exposures in ((), (inside,), (outside,), (replace(inside, instrument="venue:B"),)):
        found = Map(TEN, contract=contract, exposures=exposures)
        # Of an inverse contract open interest is quote units: 10 at 100 are 1,000.
        size = 10.0 if contract == Contract.LINEAR else 1_000.0
        found.open_interest(SECOND, 0)
        found.trade(2 * SECOND, (100, 1))
        found.open_interest(3 * SECOND, size)
        held[exposures] = [forces(found, 1, exposures), forces(found, -1, exposures)]
    (at, amount), (_, bought) = held[()][0][0], held[()][1][0]
    # The loan's four of ten longs are known, so six are estimated; shorts are as they were.
    assert held[(inside,)] == [[(at, pytest.approx(0.6 * amount)), (70, 4)], held[()][1]]
    assert held[(outside,)] == [[(at, amount), (70, 4)], held[()][1]]
    assert held[(replace(inside, instrument="venue:B"),)] == held[(outside,)]
    assert amount > 0 < bought


def test_more_than_an_open_interest_leaves_nothing_to_estimate() -> None:
    known = replace(DEEP, quantity=40.0, instrument="venue:A")
    found = Map(TEN, exposures=(known,))
    found.open_interest(SECOND, 0)
    found.trade(2 * SECOND, (100, 1))
    found.open_interest(3 * SECOND, 10)
    assert [amount for _, amount in forces(found, 1, (known,))] == [0.0, 40.0]
    # Once its trigger has traded it is in no open interest any more.
    found.memory["gone"][0, 0] = 1
    assert [amount for _, amount in forces(found, 1, (known,))] == [10.0]


def test_without_a_map_exposures_stand_alone() -> None:
    assert [mark for mark, _, _ in joined(Map(exposures=ALL), 1)] == [95, 70]


def test_draws_spread_a_trigger_by_its_error() -> None:
    found = Map(exposures=ALL)
    draws = 4_000 if COMPILED else 1_000
    sample = np.array([joined(found, 1, i)[0][0] for i in range(draws)])
    assert sample.mean() == pytest.approx(95, abs=2 * 5 / draws**0.5)
    assert sample.std() == pytest.approx(2, rel=5 / draws**0.5)
    assert {joined(found, 1, i)[1][0] for i in range(20)} == {70.0}
    assert joined(found, 1, 7) == joined(found.again(), 1, 7)


def test_a_trigger_drawn_below_nothing_is_left_out() -> None:
    found = Map(exposures=(Exposure(name="a guess", asset="A", quantity=1, trigger=1.0, error=100.0, as_of=0),))
    assert {len(joined(found, 1, i)) for i in range(30)} == {0, 1}


def test_an_exposure_is_over_once_its_trigger_has_traded() -> None:
    found = Map(exposures=ALL)
    found.trade(2 * HOUR, (95.01, 1))
    before = found.version
    assert len(joined(found, 1)) == 2
    found.trade(2 * HOUR, (95, 1))
    assert [mark for mark, _, _ in joined(found, 1)] == [70]
    assert found.version > before
    found.trade(3 * HOUR, (130.5, 1))
    assert (joined(found, -1), len(joined(found, 1))) == ([], 1)
    assert joined(found.again(), 1) == joined(found, 1)


def test_trades_before_an_exposure_was_true_do_not_end_it() -> None:
    found = Map(exposures=ALL)
    found.trade(HOUR, (60, 1))
    assert len(joined(found, 1)) == 2
    found.trade(HOUR + 1, (60, 1))
    assert joined(found, 1) == []


def test_prices_of_another_currency_do_not_end_it() -> None:
    found = Map(exposures=ALL)
    found.trade(2 * HOUR, (0.03, 1))
    found.trade(3 * HOUR, (10_000_000, 1))
    assert (len(joined(found, 1)), len(joined(found, -1))) == (2, 1)


@settings(max_examples=100 if COMPILED else 40, deadline=None)
@given(
    side=st.sampled_from([1, -1]),
    triggers=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), max_size=12),
    known=st.lists(st.tuples(st.sampled_from([1, -1]), st.integers(1, 30), st.booleans()), max_size=12),
)
def test_joining_is_a_stable_merge(
    side: int, triggers: list[tuple[int, int]], known: list[tuple[int, int, bool]]
) -> None:
    triggers = sorted(triggers, key=lambda each: -each[0] * side)
    marks, amounts, floors = (np.zeros(ROOM) for _ in range(3))
    for i, (mark, amount) in enumerate(triggers):
        marks[i], amounts[i], floors[i] = mark, amount, mark - side
    rows = np.zeros(len(known), EXPOSURE)
    rows["pass_through"] = 1.0
    gone = np.zeros(64, np.uint8)
    for i, (way, mark, over) in enumerate(known):
        rows[i]["side"], rows[i]["trigger"], rows[i]["quantity"], gone[i] = way, mark, 100 + i, over
    n = join(marks, amounts, floors, len(triggers), rows, gone, side, -1, 0.0, np.zeros((2, 64)))
    here = [(float(mark), 100.0 + i) for i, (way, mark, over) in enumerate(known) if way == side and not over]
    expected = sorted([*((float(m), float(a)) for m, a in triggers), *here], key=lambda each: -each[0] * side)
    assert list(zip(marks[:n].tolist(), amounts[:n].tolist(), strict=True)) == expected
    assert (marks[n:] == 0).all()


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_joining_compiles_once() -> None:
    found = Map(exposures=ALL)
    joined(found, 1)
    # Other kernels of this process call it with arrays of their own kinds: what counts is that none is added.
    compiled = len(join.signatures)  # type: ignore[attr-defined]
    joined(found, -1, 5)
    joined(found.again(), 1, 0)
    assert len(join.signatures) == compiled  # type: ignore[attr-defined]
