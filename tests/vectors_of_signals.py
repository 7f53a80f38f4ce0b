"""What the signals of one book and its flow say of the design's vectors: a block in, the same names out."""

from itertools import pairwise
from typing import Any, Final

import numpy as np

from engine.book import Book
from engine.cascade import END, lay, sweep
from engine.components import find_axes, heaviest
from engine.config import EngineConfig, FlowConfig
from engine.imbalance import gain
from engine.impact import amihud_illiquidity, kyle_lambda, roll_spread, root_impact
from engine.instrument import Instrument
from engine.money import unit_of
from engine.pockets import gaps as gaps_of
from engine.pockets import measure_pockets
from engine.schema import LEVEL, Contract, Rows
from engine.signals.depth import layout, measure
from engine.statistics.bulk import bulk_bought
from tests.naive_flow import Market

Block = dict[str, Any]
START: Final = 1_700_000_000 * 10**9

# Book A: prices with one decimal, mid 100.

BIDS: Final = [(999, 2), (998, 3), (995, 5), (990, 10), (980, 20)]
ASKS: Final = [(1001, 1), (1002, 4), (1005, 5), (1010, 10), (1020, 20)]
BANDS: Final = (10, 20, 50, 100, 200)


def instrument() -> Instrument:
    return Instrument(
        venue="venue",
        symbol="A",
        asset="A",
        quote="USD",
        contract=Contract.LINEAR,
        price_decimals=1,
        size_decimals=0,
        tick=1,
        lot=1,
    )


def book_a() -> Any:
    book = Book(instrument(), BANDS)
    book.update(np.array([*BIDS, *ASKS], LEVEL), len(BIDS), True)
    return book.view()


def depth(*notionals: float) -> Block:
    view, unit = book_a(), unit_of(instrument())
    fields = layout(EngineConfig(bands=BANDS, notionals=tuple(range(1, 1 + len(notionals)))))
    row = np.zeros(1, fields.dtype)
    measure(view.row, view.bids, view.asks, unit, np.array(BANDS), np.array(notionals, np.float64), row)
    measure_pockets(view.row, view.bids, view.asks, unit, BANDS[-1], 0.05, row)
    return fields.values(row)[0]


def market(**rules: Any) -> Market:
    """A market in cells of 250 ms whose book is not known yet."""
    small: dict[str, Any] = {"windows": (250,), "horizons": (250,), "refill": 250}
    one = Market(instrument(), EngineConfig(flow=FlowConfig(**(small | rules))))
    one.pass_time(START)
    return one


def end(one: Market, cells: int = 1) -> Block:
    for _ in range(cells):
        one.pass_time(int(one.memory["cell_ends"][0]))
    return one.report()[0]


# State of the book


def touch(_: Block) -> Block:
    found = depth()
    same = {name: found[name] for name in ("mid", "spread", "spread_bps", "imbalance_ratio", "weighted_mid")}
    return {**same, "imbalance_signed": found["imbalance"]}


def bands(_: Block) -> Block:
    found, names = depth(), ("bid_base", "bid_quote", "ask_base", "ask_quote")
    return {f"{band}bps": {name: found[name][at] for name in names} for at, band in enumerate(BANDS)}


def last_price(levels: Rows, factor: float, amount: float) -> float:
    """Where a sale of so many base units ends; of a purchase, the mirror image."""
    prices, sizes, none, out = np.zeros(len(levels)), np.zeros(len(levels)), np.zeros(0), np.zeros(1, END)
    lay(levels, unit_of(instrument()), factor, prices, sizes)
    # A share of 1e-12 less: division has rounded the amount.
    sweep(prices, sizes, none, none, amount * (1.0 - 1e-12), out)
    return abs(float(out[0]["price"]))


def sweeps(given: Block) -> Block:
    cash, quote = given["sell_8"]["cash"], 1_000.0
    found = depth(cash, quote)
    sale, purchase = found["sell_vwap"][0], found["buy_vwap"][1]
    ends = last_price(book_a().bids, 1.0, cash / sale), last_price(book_a().asks, -1.0, quote / purchase)
    return {
        "sell_8": {
            "filled": cash / sale,
            "unfilled": found["sell_unfilled"][0],
            "cash": cash - found["sell_unfilled"][0],
            "vwap": sale,
            "last": ends[0],
            "slip_bps_vs_mid": found["sell_bps"][0],
            "marginal_bps": 10_000.0 * (found["mid"] - ends[0]) / found["mid"],
        },
        "buy_1000_quote": {
            "base": quote / purchase,
            "spent": quote - found["buy_unfilled"][1],
            "unspent": found["buy_unfilled"][1],
            "vwap": purchase,
            "last": ends[1],
            "slip_bps_vs_mid": found["buy_bps"][1],
        },
    }


def gaps(_: Block) -> Block:
    found, levels = depth(), book_a().bids
    inner = [2 * 1_000, *(2 * price for price, _ in BIDS)]
    # One gap at a time, in half ticks of a tenth.
    half = [gaps_of(levels[i : i + 1], 1, inner[i], unit_of(instrument()), 0.0)[0] for i in range(len(levels))]
    return {
        "gaps_quote": [gap / 20.0 for gap in half],
        "gaps_bps": [10_000.0 * gap / 20.0 / found["mid"] for gap in half],
        "max_gap_bps": found["bid_gap"],
        "first_gap_bps": found["bid_first_gap"],
        "gap_share_hhi": found["bid_gap_hhi"],
    }


def elasticity(_: Block) -> Block:
    found = depth()
    return {"k": [float(band) for band in found["bands"]], "D": found["bid_base"], "slope": found["bid_elasticity"]}


# Flow


def imbalance(given: Block) -> Block:
    rows = given["quotes"]
    gained = [
        gain(-1, b, u, b_before, u_before) - gain(1, a, v, a_before, v_before)
        for (b_before, u_before, a_before, v_before), (b, u, a, v) in pairwise(rows)
    ]
    return {"e": gained, "sum": sum(gained)}


def integrated(given: Block) -> Block:
    matrix, axes, weights = np.array(given["cov"]), np.zeros((2, 2)), np.zeros(2)
    whole = np.trace(matrix)
    find_axes(matrix, axes)
    explained = heaviest(matrix, axes, weights) / whole
    return {"weights": weights, "explained": explained, "integrated": weights @ np.array(given["ofi_vec"])}


def toxicity(given: Block) -> Block:
    one = market(bucket=100 * sum(given["buckets"][0]), buckets=len(given["buckets"]))
    for bought, sold in given["buckets"]:
        one.trade((1_000, bought, 1), (1_000, sold, -1))
    return {"vpin": one.report()[0]["toxicity"], "bvc_buy_of_100_dp_1_sigma_2": bulk_bought(100.0, 1.0, 2.0)}


def impact_of_flow(_: Block) -> Block:
    bounce = roll_spread(np.array([100.0, 101.0, 100.0, 101.0]))[0]
    return {
        "kyle_no_intercept": kyle_lambda(np.array([1.0, -0.5, 2.0]), np.array([2.0, -1.0, 4.0]))[0],
        "amihud": amihud_illiquidity(np.array([0.01, -0.02]), np.array([50.0, 100.0]))[0],
        "roll_gamma1_zero_mean": -((bounce / 2.0) ** 2),
        "roll_spread": bounce,
    }


def resilience(_: Block) -> Block:
    # Within 10 bps of a mid of 1,000: 100 rest, 20 come, 45 go, 15 of those by trade.
    one = market()
    one.snapshot({9_999: 40, 9_990: 60}, {10_001: 100})
    end(one)
    one.delta([(0, 9_999, 60)])
    one.delta([(0, 9_999, 15)])
    one.trade((9_999, 15, -1))
    flow = end(one)
    # A shock from 100 to 40, and 80 ten seconds later.
    one = market()
    one.snapshot({9_999: 100}, {10_001: 100})
    end(one)
    one.delta([(0, 9_999, 40)])
    end(one, 40)
    # The fit of the half-life takes all that came back: here the last point alone, as in the design.
    one.memory["shock_square"] = 0.0
    one.delta([(0, 9_999, 80)])
    shock = end(one)
    return {
        "lwi": flow["bid_withdrawal"][1],
        "refill_ratio": flow["bid_refill"][1],
        "recovered_fraction_after": shock["bid_recovered"],
        "half_life_if_80_after_10s": shock["bid_half_life"],
    }


def spreads(given: Block) -> Block:
    one = market()
    middle, after = round(10 * given["mid"]), round(20 * given["mid_after"])
    one.snapshot({middle - 1: 10}, {middle + 1: 10})
    end(one)
    one.trade((round(10 * given["trade"]), 7, given["side"]))
    one.delta([(0, middle - 1, 0), (0, middle, 10), (1, middle + 1, 0), (1, after - middle, 10)])
    found = end(one, 2)
    names = {"effective_bps": "horizon_effective_bps", "realised_bps": "realised_bps", "impact_bps": "impact_bps"}
    return {name: found[field][0] for name, field in names.items()}


def root_law(given: Block) -> Block:
    found = root_impact(given["Q_over_V"] * 500.0, 500.0, given["sigma_d"], given["Y"])[0]
    return {"impact": found, "impact_bps": 10_000.0 * found}
