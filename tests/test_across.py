"""Across venues: sums of what both the book and its past have, shares of depth, and one price around which to sum."""

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import across
from engine.books import reference_of
from engine.config import BaselineConfig, EngineConfig
from engine.fields import Why
from engine.inputs import NAMES
from engine.instrument import Instrument
from engine.kernel import COMPILED
from engine.money import unit_of
from engine.schema import Contract
from engine.signals import depth, depth_asset
from tests.compared import Levels, book_of, past_of, present_of
from tests.naive_comparison import middle, ratio, refill, withdrawal
from tests.stream import instrument

CONFIG = EngineConfig(bands=(10, 50, 100), notionals=(1,), baseline=BaselineConfig(bands=(10, 100), session=1))
BIDS = [(9_999, 300), (9_990, 200), (9_900, 500), (9_899, 7)]
ASKS = [(10_001, 100), (10_010, 100), (10_100, 800), (10_101, 7)]
PAST = {0: 10.0, 1: 1.0, 2: 20.0, 3: 5.0}


def part(
    venue: str,
    bids: Levels = BIDS,
    asks: Levels = ASKS,
    past: dict[int, float] | None = None,
    unit: Instrument | None = None,
) -> depth_asset.Part:
    """One venue's book and past."""
    unit = unit or instrument(venue)
    book = book_of(unit, CONFIG, bids, asks)
    past = PAST if past is None else past
    present = present_of(unit, CONFIG, book)
    return depth_asset.Part(
        key=unit.key, book=book, unit=unit_of(unit), baseline=past_of(CONFIG, past), present=present
    )


def measured(
    parts: Sequence[depth_asset.Part],
    references: tuple[float, float] = (0.0, 0.0),
    lost: Sequence[depth_asset.Part] = (),
) -> tuple[dict[str, Any], dict[str, str]]:
    """The asset's depth record, the envelope and what is left out apart; `lost` are known no more."""
    fields = depth_asset.layout(CONFIG)
    row = np.zeros(1, fields.dtype)
    row.view(np.uint8)[:] = 255
    centre, kept = reference_of([each.mid for each in parts])
    assert all(kept)
    pasts = [each.baseline for each in (*parts, *lost)]
    by_venue = depth_asset.measure_across(CONFIG, parts, centre, pasts, np.array(references), row)
    found, why = fields.values(row)
    return found | by_venue, why


def moved(levels: Levels, by: int) -> Levels:
    return [(price + by, size) for price, size in levels]


# Depth


@pytest.mark.parametrize("contract", [Contract.SPOT, Contract.LINEAR, Contract.INVERSE])
def test_a_single_venue_is_its_own_instrument(contract: Contract) -> None:
    unit = instrument(contract=contract, contract_size=3 * 10**8)
    one = part("one", unit=unit)
    found, _ = measured([one])
    fields = depth.layout(CONFIG)
    row, view = np.zeros(1, fields.dtype), one.book.view()
    bands, notionals = np.array(CONFIG.bands), np.array([1.0])
    depth.measure(view.row, view.bids, view.asks, one.unit, bands, notionals, row)
    own, _ = fields.values(row)
    assert found["reference"] == own["mid"]
    for side in ("bid", "ask"):
        assert found[f"{side}_base"] == found[f"{side}_own"] == own[f"{side}_base"]
        assert found[f"{side}_quote"] == own[f"{side}_quote"]
        assert found[f"{side}_complete"] == own[f"{side}_complete"]
    assert (found["venues"], found["venue_mid"]) == (["one:AUSD"], [100.0])
    assert (found["hhi"], found["effective_venues"], found["without_top"]) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_venues_that_hold_the_same_share_alike(count: int) -> None:
    found, _ = measured([part(f"v{i}") for i in range(count)])
    assert found["hhi"] == pytest.approx(1 / count, rel=1e-12)
    assert found["effective_venues"] == pytest.approx(count, rel=1e-12)
    assert found["without_top"] == pytest.approx(20.0 * (count - 1))
    assert found["bid_base"] == [5.0 * count, 5.0 * count, 10.0 * count]


def test_shares_of_one_half_one_third_and_one_sixth() -> None:
    parts = [part(f"v{n}", [(9_999, 100 * n)], [(10_001, 100 * n)]) for n in (1, 2, 3)]
    found, _ = measured(parts)
    assert found["hhi"] == pytest.approx((9 + 4 + 1) / 36)
    assert (found["venue_base"], found["without_top"]) == ([2.0, 4.0, 6.0], 6.0)


def test_two_instruments_of_one_venue_are_one_venue() -> None:
    spot, future = instrument("one", symbol="AUSD"), instrument("one", symbol="APERP")
    found, _ = measured([part("", unit=spot), part("", unit=future), part("two")])
    assert found["hhi"] == pytest.approx(5 / 9)
    assert found["without_top"] == 20.0


def test_a_book_that_slid_away_adds_at_its_own_mid_only() -> None:
    parts = [part("a"), part("b"), part("slid", moved(BIDS, -200), moved(ASKS, -200))]
    found, _ = measured(parts)
    assert found["reference"] == 100.0
    # The slid bids lie 2 % below; its asks stand, from 98.01 on, where the others have bids. 97.90 is 10.2 bps from 98.
    assert (found["bid_base"][0], found["bid_own"][0]) == (10.0, 13.0)
    assert (found["ask_base"][0], found["ask_own"][0]) == (4.0 + 10.07, 5.0)


def test_depth_without_any_has_no_shares() -> None:
    wide = [(5_000, 1)], [(15_000, 1)]
    found, why = measured([part("a", *wide)])
    assert (found["hhi"], found["effective_venues"], found["without_top"]) == (None, None, 0.0)
    assert (why["hhi"], why["effective_venues"]) == ("no_depth", "no_depth")


def test_a_mirrored_market_gives_mirrored_depth() -> None:
    # No level lies on a bound: a share of the mid is not the same distance in the mirror.
    bids, asks = [(9_999, 300), (9_991, 200), (9_905, 500)], [(10_001, 100), (10_006, 100), (10_090, 800)]
    parts = [part("a", bids, asks), part("b", moved(bids, 7), moved(asks, 7))]
    ends = [part(p.key[0], *mirrored(p)) for p in parts]
    found, other = measured(parts)[0], measured(ends)[0]
    for name in ("base", "own", "complete"):
        assert found[f"bid_{name}"] == other[f"ask_{name}"]
        assert found[f"ask_{name}"] == other[f"bid_{name}"]
    assert found["hhi"] == other["hhi"]


def mirrored(one: depth_asset.Part) -> tuple[Levels, Levels]:
    bids, asks = one.book.levels()
    flip = [[(20_000 - int(each["price"]), int(each["size"])) for each in side] for side in (asks, bids)]
    return flip[0], flip[1]


def test_ratios_are_of_the_venues_that_have_a_past() -> None:
    parts = [part("a"), part("b", past={0: 40.0}), part("new", past={})]
    found, why = measured(parts)
    assert found["bid_ratio"][0] == pytest.approx((5 + 5) / (10 + 40))
    assert (found["ask_ratio"], found["baselines"]) == ([2.0, 2.0], 2)
    assert set(why) == {"gap"}
    _, why = measured([parts[2]])
    assert why["bid_ratio"] == why["ask_baseline"] == "no_baseline"


def test_an_outage_of_one_of_three_alike_moves_no_ratio_and_no_gap() -> None:
    parts = [part(name, past=PAST) for name in "abc"]
    whole, _ = measured(parts, (6_000.0, 15_000.0))
    rest, _ = measured(parts[:2], (6_000.0, 15_000.0), lost=parts[2:])
    for name in ("bid_ratio", "ask_ratio"):
        assert rest[name] == pytest.approx(whole[name])
    # 1 - 3 x 11 x 100 / 6000, 1 - 3 x 25 x 100 / 15000.
    assert rest["gap"] == whole["gap"] == [pytest.approx(0.45), pytest.approx(0.5)]
    assert (whole["baselines"], rest["baselines"]) == (3, 2)


def test_a_mid_of_another_currency_is_left_out() -> None:
    mids = [Fraction(100), Fraction(101), Fraction(15_000), Fraction(99)]
    assert reference_of(mids) == (Fraction(100), [True, True, False, True])
    assert reference_of([Fraction(100), Fraction(120)]) == (Fraction(110), [True, True])
    assert reference_of([Fraction(100), Fraction(12_001, 100)])[1] == [True, False]


side_of = st.dictionaries(st.integers(1, 150), st.integers(1, 10**6), min_size=1, max_size=12)
books = st.lists(st.tuples(st.integers(-150, 150), side_of, side_of), min_size=1, max_size=4)


@settings(max_examples=60 if COMPILED else 25, deadline=None)
@given(markets=books)
def test_sums_around_the_reference_equal_their_twin_in_any_order(
    markets: list[tuple[int, dict[int, int], dict[int, int]]],
) -> None:
    sides = [
        (
            [(10_000 + off - d, size) for d, size in sorted(below.items())],
            [(10_000 + off + d, size) for d, size in sorted(above.items())],
        )
        for off, below, above in markets
    ]
    parts = [part(f"v{i}", *each) for i, each in enumerate(sides)]
    found, _ = measured(parts)
    mids = sorted(Fraction(bids[0][0] + asks[0][0], 200) for bids, asks in sides)
    centre = (mids[(len(mids) - 1) // 2] + mids[len(mids) // 2]) / 2
    assert found["reference"] == float(centre)
    for at, (name, way) in enumerate((("bid", 1), ("ask", -1))):
        for band, base, quote in zip(CONFIG.bands, found[f"{name}_base"], found[f"{name}_quote"], strict=True):
            edge = centre * Fraction(10_000 - way * band, 10_000)
            held = [(p, s) for each in sides for p, s in each[at] if (Fraction(p, 100) - edge) * way >= 0]
            assert math.isclose(base, sum(size for _, size in held) / 100, rel_tol=1e-12, abs_tol=1e-12)
            assert math.isclose(quote, sum(p * s for p, s in held) / 10_000, rel_tol=1e-12, abs_tol=1e-12)
    others = measured(random.Random(1).sample(parts, len(parts)))[0]
    for name in ("bid_base", "ask_quote", "bid_own", "bid_ratio", "ask_baseline"):
        assert others[name] == pytest.approx(found[name], rel=1e-12)
    assert others["hhi"] == (found["hhi"] if found["hhi"] is None else pytest.approx(found["hhi"], rel=1e-12))


# Inputs of the vacuum

WHYS = ("", "too_early", "one_sided", "no_flow", "quanto")
numbers = st.integers(0, 1_000).map(float)
#: Of one band and side: depth now, its baseline, and why they are not compared.
pairs = st.tuples(numbers, numbers, st.sampled_from(["", "", "one_sided", "no_baseline"]))
venue = st.fixed_dictionaries(
    {
        "pairs": st.lists(pairs, min_size=4, max_size=4),
        "flows": st.lists(numbers, min_size=8, max_size=8),
        "last": st.lists(numbers, min_size=8, max_size=8),
        "flows_why": st.sampled_from(["", "", "too_early", "one_sided"]),
        "last_why": st.sampled_from(["", "", "too_early", "one_sided"]),
        "values": st.lists(numbers, min_size=2 * len(NAMES), max_size=2 * len(NAMES)),
        "whys": st.lists(st.sampled_from(WHYS), min_size=2 * len(NAMES), max_size=2 * len(NAMES)),
    }
)


def code(why: str) -> int:
    return int(Why[why.upper()]) if why else 0


def combined(venues: Sequence[dict[str, Any]]) -> dict[str, list[tuple[float, str]]]:
    """What the kernel makes of venues, by name: value and why of either side."""
    count = len(venues)
    parts = np.zeros(count, across.PART)
    values, whys = np.zeros((count, len(NAMES), 2)), np.zeros((count, len(NAMES), 2), np.uint8)
    for i, each in enumerate(venues):
        for n, (now, usual, why) in enumerate(each["pairs"]):
            at = (i, n // 2, n % 2)
            parts["now"][at], parts["usual"][at], parts["why"][at] = now, usual, code(why)
        for name in ("flows", "last"):
            parts[name][i] = np.array(each[name]).reshape(2, 4)
            parts[f"{name}_why"][i] = code(each[f"{name}_why"])
        values[i] = np.array(each["values"]).reshape(-1, 2)
        whys[i] = np.array([code(why) for why in each["whys"]]).reshape(-1, 2)
    out, out_whys = np.full((len(NAMES), 2), np.nan), np.full((len(NAMES), 2), 255, np.uint8)
    across.combine(values, whys, parts, np.array([1e6, 2e6]), 0, np.zeros(count), out, out_whys)
    return {
        name: [(float(out[n, s]), Why(out_whys[n, s]).name.lower() if out_whys[n, s] else "") for s in (0, 1)]
        for n, name in enumerate(NAMES)
    }


def twin(venues: Sequence[dict[str, Any]], name: str, side: int) -> float | str | None:
    """What an input of the whole is: a number, a cause, None where only that there is none counts."""
    if name in ("ratio", "ratio_wide"):
        picked = [each["pairs"][2 * (name == "ratio_wide") + side] for each in venues]
        return ratio([{"now": [now], "usual": [usual], "why": [why]} for now, usual, why in picked], 0)
    if name == "shock":
        return 1.0 + side
    if name in ("refill", "withdrawal"):
        which = "flows" if name == "refill" else "last"
        sums = [{which: v[which][4 * side : 4 * side + 4], f"{which}_why": v[f"{which}_why"]} for v in venues]
        found = refill(sums) if name == "refill" else withdrawal(sums)
        if found is not None:
            return found
        if any(each[f"{which}_why"] == "too_early" for each in venues):
            return "too_early"
    at = 2 * NAMES.index(name) + side
    return middle([each["values"][at] if not each["whys"][at] else None for each in venues])


@settings(max_examples=150 if COMPILED else 60, deadline=None)
@given(venues=st.lists(venue, min_size=1, max_size=5))
def test_inputs_of_the_whole_equal_their_twin_in_any_order(venues: list[dict[str, Any]]) -> None:
    found = combined(venues)
    assert combined(venues[::-1]) == found
    for name in NAMES:
        for s in (0, 1):
            value, why = found[name][s]
            expected = twin(venues, name, s)
            assert math.isfinite(value)
            if isinstance(expected, str):
                assert why == expected, name
            else:
                assert (why != "") == (expected is None), name
                assert expected is None or math.isclose(value, expected, rel_tol=1e-12), name


def plain(**changes: Any) -> dict[str, Any]:
    flows = [100.0, 10.0, 10.0, 10.0, 100.0, 20.0, 5.0, 5.0]
    nothing = {"flows_why": "", "last_why": "", "values": [1.0] * 2 * len(NAMES), "whys": [""] * 2 * len(NAMES)}
    return {"pairs": [(5.0, 10.0, "")] * 4, "flows": flows, "last": flows, **nothing, **changes}


def test_an_outage_of_one_of_three_alike_moves_no_input() -> None:
    assert combined([plain()] * 3) == combined([plain()] * 2)
    found = combined([plain()] * 2)
    assert (found["ratio"][0], found["refill"]) == ((0.5, ""), [(0.5, ""), (2.0, "")])
    assert found["withdrawal"][0] == (10 / 110, "")


def test_an_empty_side_is_no_outage() -> None:
    empty = plain(pairs=[(0.0, 10.0, ""), (0.0, 10.0, "one_sided")] * 2, flows_why="one_sided", last_why="one_sided")
    both = combined([plain(), empty])
    assert (both["ratio"], both["refill"][0]) == ([(0.25, ""), (0.5, "")], (0.5, ""))
    alone = combined([empty])
    assert alone["ratio"] == [(0.0, ""), (0.0, "one_sided")]
    assert alone["refill"][0] == (1.0, "")


def test_what_came_stands_beside_the_why_where_nothing_left() -> None:
    calm = plain(flows=[100.0, 7.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0])
    assert combined([calm, calm])["refill"] == [(14.0, "no_flow"), (0.0, "no_flow")]


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_the_kernels_compile_once() -> None:
    combined([plain()])
    measured([part("a"), part("b")])
    assert len(across.combine.signatures) == 1  # type: ignore[attr-defined]
    assert len(depth_asset.sum_within.signatures) == 1  # type: ignore[attr-defined]
