"""Depth: one VIEW row with its sorted levels in, one DEPTH row out; here integers become floats.

With best bid b of size u, best ask a of size v, mid m = (b + a) / 2 and D(k) what rests within k basis points of m,
bounds included (the VIEW's integer edges):

    imbalance = (u - v) / (u + v)        weighted mid = I a + (1 - I) b,  I = u / (u + v)      (Gatheral, Oomen 2010)
    sweep cost of N = 10^4 (m - vwap) / m for a sale worth N, its mirror image for a purchase   (Irvine et al. 2000)
    elasticity = least-squares slope of ln D(k) on ln k over the bands with D(k) > 0            (Naes, Skjeltorp 2006)

Sums run from the touch outward, one level after another, over products of integers: the same book gives the same
float, an exact one while they stay below 2^53. The size executable within X basis points, S(X), is D(X) itself.
"""

import math
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from engine.comparison import FIELDS as COMPARED
from engine.config import EngineConfig
from engine.fields import Field, Layout, Signal, Why
from engine.kernel import inner, kernel
from engine.ladder import share
from engine.money import QUANTO, amount_of, base_of, quote_of, worth_in, worth_of
from engine.pockets import FIELDS as POCKETS
from engine.schema import Rows
from engine.topics import SIGNAL_DEPTH

ONE_SIDED: Final = int(Why.ONE_SIDED)
NO_DEPTH: Final = int(Why.NO_DEPTH)
TOO_FEW_BANDS: Final = int(Why.TOO_FEW_BANDS)
NOT_FILLED: Final = int(Why.UNFILLED)
THIRD_CURRENCY: Final = int(Why.QUANTO)
BID: Final = cast(int, np.int64(1))
ASK: Final = cast(int, np.int64(-1))
#: A notional counts as filled when less than this share of it is left: rounding of the running sum, not an order.
FILLED: Final = 1e-12
#: Slopes are rounded to this many per unit: logarithms of different processors differ in the last bit.
SLOPE_GRID: Final = 1e12


def layout(config: EngineConfig) -> Layout:
    """Give the DEPTH row's layout for a number of bands and notionals."""
    sizes = {
        "bands": len(config.bands),
        "notionals": len(config.notionals),
        "baseline_bands": len(config.baseline.bands),
    }
    return Layout(SIGNAL.fields, sizes)


@kernel
def measure(
    view: Rows,
    bids: Rows,
    asks: Rows,
    unit: Rows,
    bands: NDArray[np.int64],
    notionals: NDArray[np.float64],
    out: Rows,
) -> None:
    """Fill one DEPTH row from a view of a book that is known and not crossed."""
    book, row, money = view[0], out[0], unit[0]
    both = book["bid_size"] > 0 and book["ask_size"] > 0
    row["undefined"] = not both or money["contract"] == QUANTO
    # One by one: assigning an array to an array compiles numpy's message about their shapes, which takes seconds.
    for b in range(len(bands)):
        row["bands"][b] = bands[b]
    for n in range(len(notionals)):
        row["notionals"][n] = notionals[n]
    row["bid_levels"] = book["bid_levels"]
    row["ask_levels"] = book["ask_levels"]
    measure_touch(view, unit, out)
    if both:
        measure_bands(view, bids, BID, unit, bands, out)
        measure_bands(view, asks, ASK, unit, bands, out)
    else:
        empty_bands(view, out)
    compare_bands(view, bands, both, out)
    for n in range(len(notionals)):
        why = THIRD_CURRENCY if money["contract"] == QUANTO else 0 if both else ONE_SIDED
        sweep(bids, BID, unit, n, why, out)
        sweep(asks, ASK, unit, n, why, out)


@inner
def measure_touch(view: Rows, unit: Rows, out: Rows) -> None:
    """Fill best prices, sizes there, and what follows from the four of them."""
    book, row, money = view[0], out[0], unit[0]
    bid, ask = book["bid"] / money["price"], book["ask"] / money["price"]
    row["bid"], row["ask"] = bid, ask
    row["bid_why"] = 0 if book["bid_size"] > 0 else ONE_SIDED
    row["ask_why"] = 0 if book["ask_size"] > 0 else ONE_SIDED
    row["bid_size"] = base_of(amount_of(book["bid"], book["bid_size"], unit), unit) if book["bid_size"] > 0 else 0.0
    row["ask_size"] = base_of(amount_of(book["ask"], book["ask_size"], unit), unit) if book["ask_size"] > 0 else 0.0
    row["size_why"] = THIRD_CURRENCY if money["contract"] == QUANTO else 0
    row["mid"] = row["spread"] = row["spread_bps"] = row["weighted_mid"] = 0.0
    row["imbalance"] = row["imbalance_ratio"] = 0.0
    if book["bid_size"] == 0 or book["ask_size"] == 0:
        row["touch_why"] = ONE_SIDED
        return
    row["touch_why"] = 0
    mid2 = book["bid"] + book["ask"]
    total = float(book["bid_size"]) + float(book["ask_size"])
    ratio = book["bid_size"] / total
    row["mid"] = mid2 / (2.0 * money["price"])
    row["spread"] = (book["ask"] - book["bid"]) / money["price"]
    row["spread_bps"] = 20_000.0 * (book["ask"] - book["bid"]) / mid2
    row["imbalance"] = (float(book["bid_size"]) - float(book["ask_size"])) / total
    row["imbalance_ratio"] = ratio
    row["weighted_mid"] = (ratio * book["ask"] + (1.0 - ratio) * book["bid"]) / money["price"]


@inner
def measure_bands(view: Rows, levels: Rows, side: int, unit: Rows, bands: NDArray[np.int64], out: Rows) -> None:
    """Fill one side's depth per band in base and quote, and whether the venue has shown the whole band."""
    book, row, money = view[0], out[0], unit[0]
    why = THIRD_CURRENCY if money["contract"] == QUANTO else 0
    amount, worth, at = 0.0, 0.0, 0
    for b in range(len(bands)):
        edge = edge_of(book["bid"] + book["ask"], bands[b], side)
        while at < len(levels) and (levels[at]["price"] - edge) * side >= 0:
            amount += amount_of(levels[at]["price"], levels[at]["size"], unit)
            worth += worth_of(levels[at]["price"], levels[at]["size"], unit)
            at += 1
        if side == BID:
            row["bid_base"][b] = base_of(amount, unit)
            row["bid_quote"][b] = quote_of(worth, unit)
            row["bid_depth_why"][b] = why
            row["bid_complete"][b] = edge >= book["known_low"]
            row["bid_complete_why"][b] = 0
        else:
            row["ask_base"][b] = base_of(amount, unit)
            row["ask_quote"][b] = quote_of(worth, unit)
            row["ask_depth_why"][b] = why
            row["ask_complete"][b] = book["known_high"] == 0 or edge <= book["known_high"]
            row["ask_complete_why"][b] = 0


@inner
def empty_bands(view: Rows, out: Rows) -> None:
    """Fill the bands of a book without a mid: an empty side holds 0, the other cannot be measured."""
    book, row = view[0], out[0]
    row["bid_base"][:] = 0.0
    row["bid_quote"][:] = 0.0
    row["ask_base"][:] = 0.0
    row["ask_quote"][:] = 0.0
    row["bid_depth_why"][:] = ONE_SIDED if book["bid_size"] > 0 else 0
    row["ask_depth_why"][:] = ONE_SIDED if book["ask_size"] > 0 else 0
    row["bid_complete_why"][:] = ONE_SIDED if book["bid_size"] > 0 else 0
    row["ask_complete_why"][:] = ONE_SIDED if book["ask_size"] > 0 else 0
    # Where the snapshot showed bids and all of them went, more may rest below what it showed.
    row["bid_complete"][:] = book["known_low"] == 0
    row["ask_complete"][:] = book["known_high"] == 0


@inner
def compare_bands(view: Rows, bands: NDArray[np.int64], both: bool, out: Rows) -> None:
    """Fill each band's imbalance and each side's elasticity, from the book's exact sums of size."""
    book, row = view[0], out[0]
    for b in range(len(bands)):
        total = float(book["bid_depth"][b]) + float(book["ask_depth"][b])
        why = (0 if total > 0.0 else NO_DEPTH) if both else ONE_SIDED
        row["band_imbalance_why"][b] = why
        row["band_imbalance"][b] = (book["bid_depth"][b] - book["ask_depth"][b]) / total if why == 0 else 0.0
        if why:
            row["undefined"] = 1
    for side in (BID, ASK):
        fit = slope(bands, book["bid_depth"] if side == BID else book["ask_depth"])
        why = (0 if fit >= 0.0 else TOO_FEW_BANDS) if both else ONE_SIDED
        fit = fit if why == 0 else 0.0
        if side == BID:
            row["bid_elasticity"], row["bid_elasticity_why"] = fit, why
        else:
            row["ask_elasticity"], row["ask_elasticity_why"] = fit, why
        if why:
            row["undefined"] = 1


@inner
def sweep(levels: Rows, side: int, unit: Rows, n: int, why: int, out: Rows) -> None:
    """Fill what taking one notional from a side costs: a sale takes bids, a purchase takes asks."""
    row, mid = out[0], out[0]["mid"]
    wanted = worth_in(row["notionals"][n], unit)
    amount, worth, filled = 0.0, 0.0, False
    for i in range(len(levels)):
        price, size = levels[i]["price"], levels[i]["size"]
        offered = worth_of(price, size, unit)
        if worth + offered >= wanted * (1.0 - FILLED):
            amount += amount_of(price, size, unit) * ((wanted - worth) / offered)
            worth, filled = wanted, True
            break
        amount += amount_of(price, size, unit)
        worth += offered
    nothing = why if why or amount > 0.0 else NO_DEPTH
    paid = quote_of(worth, unit) / base_of(amount, unit) if nothing == 0 else 0.0
    cost = 10_000.0 * side * (mid - paid) / mid if nothing == 0 and filled else 0.0
    unfilled = 0.0 if filled else row["notionals"][n] - quote_of(worth, unit)
    part = why if why or filled else NOT_FILLED
    if part:
        row["undefined"] = 1
    if side == BID:
        row["sell_bps"][n], row["sell_bps_why"][n] = cost, part
        row["sell_vwap"][n], row["sell_vwap_why"][n] = paid, nothing
        row["sell_unfilled"][n], row["sell_unfilled_why"][n] = unfilled, why
    else:
        row["buy_bps"][n], row["buy_bps_why"][n] = cost, part
        row["buy_vwap"][n], row["buy_vwap_why"][n] = paid, nothing
        row["buy_unfilled"][n], row["buy_unfilled_why"][n] = unfilled, why


@inner
def edge_of(mid2: int, band: int, side: int) -> int:
    """Return a band's outermost price, as the VIEW defines it: rounded inward, so that the bound itself counts."""
    if side == BID:
        return -share(-mid2, 10_000 - band)
    return share(mid2, 10_000 + band)


@inner
def slope(bands: NDArray[np.int64], depth: NDArray[np.int64]) -> float:
    """Fit ln depth on ln band by least squares, -1 where fewer than two bands hold anything (a true one is >= 0)."""
    count, mean_x, mean_y = 0, 0.0, 0.0
    for b in range(len(bands)):
        if depth[b] > 0:
            count += 1
            mean_x += math.log(bands[b])
            mean_y += math.log(depth[b])
    if count < 2:
        return -1.0
    mean_x /= count
    mean_y /= count
    covariance, variance = 0.0, 0.0
    for b in range(len(bands)):
        if depth[b] > 0:
            distance = math.log(bands[b]) - mean_x
            covariance += distance * (math.log(depth[b]) - mean_y)
            variance += distance * distance
    return max(round(covariance / variance * SLOPE_GRID) / SLOPE_GRID, 0.0)


BASE: Final = "base units"
QUOTE: Final = "quote units"
PRICE: Final = "quote units per base unit"

SIGNAL: Final = Signal(
    name="depth",
    topic=SIGNAL_DEPTH,
    meaning="What one book holds around its own mid, and what it would cost to trade against it.",
    needs_book=True,
    fields=(
        Field("bid", "number", PRICE, "Best bid price.", why="bid_why"),
        Field("bid_size", "number", BASE, "Resting at the best bid.", why="size_why"),
        Field("ask", "number", PRICE, "Best ask price.", why="ask_why"),
        Field("ask_size", "number", BASE, "Resting at the best ask.", why="size_why"),
        Field("mid", "number", PRICE, "(bid + ask) / 2.", why="touch_why"),
        Field("spread", "number", PRICE, "ask - bid.", why="touch_why"),
        Field("spread_bps", "number", "bps", "10^4 x spread / mid.", why="touch_why"),
        Field(
            "weighted_mid",
            "number",
            PRICE,
            "I x ask + (1 - I) x bid, I the imbalance_ratio: leans towards the side that holds less.",
            why="touch_why",
        ),
        Field(
            "imbalance",
            "number",
            "-1 to 1",
            "(u - v) / (u + v), u and v what rests at the best bid and ask, in the venue's size units.",
            why="touch_why",
        ),
        Field("imbalance_ratio", "number", "0 to 1", "u / (u + v), u, v as above.", why="touch_why"),
        Field("bid_levels", "integer", "levels", "Bid prices at which anything rests, in all."),
        Field("ask_levels", "integer", "levels", "Ask prices at which anything rests, in all."),
        Field("bands", "integer", "bps", "Distances from the mid, ascending.", over="bands"),
        Field(
            "bid_base",
            "number",
            BASE,
            "Sum of bids at or above mid x (1 - band / 10^4); the bound counts.",
            over="bands",
            why="bid_depth_why",
        ),
        Field(
            "bid_quote", "number", QUOTE, "The same bids, each times its own price.", over="bands", why="bid_depth_why"
        ),
        Field(
            "ask_base",
            "number",
            BASE,
            "Sum of asks at or below mid x (1 + band / 10^4); the bound counts.",
            over="bands",
            why="ask_depth_why",
        ),
        Field(
            "ask_quote", "number", QUOTE, "The same asks, each times its own price.", over="bands", why="ask_depth_why"
        ),
        Field(
            "band_imbalance",
            "number",
            "-1 to 1",
            "(B - A) / (B + A), B and A the band's bids and asks in the venue's size units.",
            over="bands",
            why="band_imbalance_why",
        ),
        Field(
            "bid_complete",
            "boolean",
            "",
            "Whether the last snapshot reached as far as the band; if not, depth is a lower bound.",
            over="bands",
            why="bid_complete_why",
        ),
        Field("ask_complete", "boolean", "", "The same of the asks.", over="bands", why="ask_complete_why"),
        Field(
            "bid_elasticity",
            "number",
            "1",
            "Least-squares slope of ln(bid depth) on ln(band) over the bands that hold anything.",
            why="bid_elasticity_why",
        ),
        Field("ask_elasticity", "number", "1", "The same of the asks.", why="ask_elasticity_why"),
        Field("notionals", "number", QUOTE, "Sizes of the sweeps, ascending.", over="notionals"),
        Field(
            "sell_bps",
            "number",
            "bps",
            "10^4 x (mid - sell_vwap) / mid of selling the whole notional at once; null where it cannot be.",
            over="notionals",
            why="sell_bps_why",
        ),
        Field(
            "sell_vwap",
            "number",
            PRICE,
            "Average price of the part of it that the levels inside the widest band fill; null where there is none.",
            over="notionals",
            why="sell_vwap_why",
        ),
        Field(
            "sell_unfilled",
            "number",
            QUOTE,
            "The part of the notional which they cannot.",
            over="notionals",
            why="sell_unfilled_why",
        ),
        Field(
            "buy_bps",
            "number",
            "bps",
            "10^4 x (buy_vwap - mid) / mid of buying the whole notional at once; null where it cannot be.",
            over="notionals",
            why="buy_bps_why",
        ),
        Field(
            "buy_vwap",
            "number",
            PRICE,
            "Average price of the part of it that the levels inside the widest band fill; null where there is none.",
            over="notionals",
            why="buy_vwap_why",
        ),
        Field(
            "buy_unfilled",
            "number",
            QUOTE,
            "The part of the notional which they cannot.",
            over="notionals",
            why="buy_unfilled_why",
        ),
        *POCKETS,
        *COMPARED,
    ),
)
