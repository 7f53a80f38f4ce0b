"""What the cascade and the liquidation map say of the design's vectors: a block in, the same names out."""

import random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.cascade import END, curve, shrink, spiral, sweep, sweep_floored
from engine.config import MapConfig
from engine.contagion import NO_TRIGGER, spread_out
from engine.margin import from_margin, from_wallet, isolated
from tests.liquidation_map import SECOND, Map

Block = dict[str, Any]
#: The book of the cascade and its triggers.
SUPPORT: Final = [[100.0, 5.0], [99.0, 5.0], [98.0, 5.0], [97.0, 5.0], [96.0, 20.0], [95.0, 40.0]]
MARKS: Final = [[99.5, 2.0], [98.5, 6.0], [97.0, 8.0], [95.5, 10.0]]


def columns(rows: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    table = np.array(rows, np.float64).reshape(-1, 2)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])


def sold(bids: Any, marks: Any, shock: float) -> Any:
    out = np.zeros(1, END)
    sweep(*columns(bids), *columns(marks), shock, out)
    return out[0]


def curves(bids: Any, marks: Any, shock: float, bounds: list[float]) -> NDArray[np.float64]:
    """B, L, Qc, eta_c per bound."""
    out = np.zeros((5, len(bounds)))
    curve(*columns(bids), *columns(marks), shock, np.array(bounds), out)
    return out


def iterated(bids: Any, marks: Any, shock: float) -> tuple[float, float, int]:
    """Where the sale ends, how much is sold, in how many rounds: each trigger an account of one asset."""
    prices, sizes = columns(bids)
    triggers, sells = (column.reshape(-1, 1) for column in columns(marks))
    total, ends = np.array([shock]), np.zeros(1)
    starts, fired = np.array([0, len(prices)]), np.zeros(len(triggers), np.uint8)
    rounds = spread_out(prices, sizes, starts, triggers, sells, total, ends, fired)
    return float(ends[0]), float(total[0]), rounds


def cascade(given: Block) -> Block:
    cases = {}
    for name in given["cases"]:
        shock = float(name)
        found, (price, total, rounds) = sold(SUPPORT, MARKS, shock), iterated(SUPPORT, MARKS, shock)
        assert (price, total) == (found["price"], found["sold"])
        path = [[shock, float(found["price_alone"])]]
        while path[-1][0] < total:
            onward = shock + float(curves(SUPPORT, MARKS, shock, [path[-1][1]])[1, 0])
            path.append([onward, float(sold(SUPPORT, [], onward)["price"])])
        cases[name] = {
            "no_feedback_price": found["price_alone"],
            "p_star": found["price"],
            "Q_star": found["sold"],
            "liquidated": found["forced"],
            "rounds": rounds,
            "path": path,
            "multiplier_Q": found["sold"] / shock,
            "exhausted": bool(found["exhausted"]),
        }
    return {"bids": SUPPORT, "liq_map": MARKS, "cases": cases}


def critical_shock(_: Block) -> list[Block]:
    levels = [price for price, _ in SUPPORT]
    held, forced, critical = curves(SUPPORT, MARKS, 0.0, levels)[:3]
    rows = zip(levels, held, forced, held - forced, critical, strict=True)
    return [dict(zip(("level", "B", "L", "excess", "Qc_to_go_below"), row, strict=True)) for row in rows]


def three_roads(given: Block) -> Block:
    """Sweep, iteration and critical shock on random books whose bounds are often hit exactly.

    A sale of nothing is left out: triggers above the best bid fire without one, and no critical shock says so.
    """
    seed, mismatches = random.Random(10_10), 0
    for _ in range(given["trials"]):
        prices = sorted(seed.sample(range(50, 100), seed.randrange(1, 12)), reverse=True)
        bids = [(price, seed.randrange(1, 12)) for price in prices]
        marks = sorted(
            ((seed.randrange(40, 101), seed.randrange(1, 9)) for _ in range(seed.randrange(8))), reverse=True
        )
        shock, below = float(seed.randrange(1, 60)), float(seed.choice(prices))
        found, (price, total, _) = sold(bids, marks, shock), iterated(bids, marks, shock)
        lower = found["exhausted"] or found["price"] < below
        same = (price == 0.0) if found["exhausted"] else (price, total) == (found["price"], found["sold"])
        mismatches += int(not same or lower != (shock > curves(bids, marks, shock, [below])[2, 0]))
    return {"mismatches": mismatches}


def critical_fraction(given: Block) -> Block:
    shock, prices = given["Q0"], columns(SUPPORT)[0]
    below_97, below_100 = (curves(SUPPORT, MARKS, shock, [bound])[3, 0] for bound in (97.0, 100.0))
    ends = []
    for share in (below_97 - 1e-6, below_97):
        left = np.zeros(len(prices))
        shrink(columns(SUPPORT)[1], share, 0.0, left)
        ends.append(sold(np.column_stack([prices, left]), MARKS, shock)["price"])
    names = ("to_go_below_97", "to_go_below_100", "check_just_below", "check_at")
    return dict(zip(names, (below_97, below_100, *ends), strict=True))


def even_book(given: Block) -> Block:
    n, total, drop = spiral(given["d"], given["ell"], given["Q0"])
    alone = spiral(given["d"], 0.0, given["Q0"])[2]
    return {"n": n, "Q_star": total, "drop": drop, "no_feedback_drop": alone, "multiplier": total / given["Q0"]}


def floor(given: Block) -> Block:
    held, shock, out = given["position"], given["Q0"], np.zeros((2, 1), END)
    mark, amount = columns([[held["liq"], held["qty"]]])
    for end, bound in zip(out, (held["bankruptcy"], 0.0), strict=True):
        sweep_floored(*columns(given["bids"]), mark, amount, np.array([bound]), shock, np.zeros(1), end)
    stopped, alone = out[0, 0], sold(given["bids"], [[held["liq"], held["qty"]]], shock)
    assert (alone["price"], alone["sold"]) == (out[1, 0]["price"], out[1, 0]["sold"])
    return {
        "with_floor": {
            "p": stopped["price"],
            "residual_to_insurance_or_adl": stopped["unsold"],
            "liquidated": int(stopped["fired"]),
        },
        "no_floor": {
            "p": alone["price"],
            "Q": alone["sold"],
            "liq": alone["forced"],
            "exhausted": bool(alone["exhausted"]),
        },
    }


def two_assets(given: Block) -> Block:
    assert given["accounts"] == [
        "acct1: fires if pA<=97 or pU<=0.95, sells 4 A and 8 U",
        "acct2: fires if pU<=0.90, sells 3 A",
    ]
    triggers, sells = np.array([[97.0, 0.95], [NO_TRIGGER, 0.9]]), np.array([[4.0, 8.0], [3.0, 0.0]])
    prices, sizes = columns([*given["book_A"], *given["book_U"]])
    starts, outcomes = np.array([0, len(given["book_A"]), len(prices)]), dict[str, Block]()
    for name in given["shock_sell_U"]:
        total, ends, fired = np.array([0.0, float(name)]), np.zeros(2), np.zeros(2, np.uint8)
        spread_out(prices, sizes, starts, triggers, sells, total, ends, fired)
        first, second = (bool(each) for each in fired)
        outcomes[name] = {"pA": ends[0], "pU": ends[1], "QA": total[0], "QU": total[1], "acct1": first, "acct2": second}
    return {"shock_sell_U": outcomes}


# Liquidation prices


def liquidation_prices(_: Block) -> Block:
    return {
        "long_100k_10x_mmr40bp": isolated(100_000.0, 10.0, 0.004, 1),
        "short_100k_10x_mmr40bp": isolated(100_000.0, 10.0, 0.004, -1),
        "long_100k_100x": isolated(100_000.0, 100.0, 0.004, 1),
        "binance_form_long": from_wallet(10_000.0, 0.0, 1.0, 100_000.0, 0.004),
        "binance_form_long_with_cum": from_wallet(10_000.0, 50.0, 1.0, 100_000.0, 0.005),
        # 10 x at a maintenance rate of 1.25 %.
        "hyperliquid_long": from_margin(100.0, 1, 10.0 - 1.25, 1.0, 80.0),
    }


def open_interest(given: Block) -> Block:
    leverages = tuple(int(each) for each in given["w"])
    found = Map(MapConfig(leverages=leverages, weights=tuple(given["w"].values())))
    found.open_interest(SECOND, 0)
    found.trade(2 * SECOND, (given["price"], 1))
    found.open_interest(3 * SECOND, given["dOI"])
    longs, shorts = ([[price, amount] for price, amount, _ in found.triggers(side)[::-1]] for side in (1, -1))
    return {"long_levels": longs, "short_levels": shorts}
