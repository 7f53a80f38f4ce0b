"""Impact: mid changes and order-flow imbalance per interval in, the price of a unit of flow out.

Over an interval the mid moves by (Cont, Kukanov, Stoikov 2014, section 2.2)

    change in ticks = alpha + beta OFI + noise,      beta = 1 / (2 D) in a book whose every level holds D.

beta is found by least squares whose weights fade by exp(-interval / memory) with every interval that passes, kept as
running means and co-moments (West 1979): the recursive form, without a matrix. The phantom-depth index

    Phi = beta x 2 D

compares the move that happened with the one that the shown touch would allow: 1 where every level holds what the touch
does, above 1 where there is less behind it, or it leaves with the touch, below 1 where there is more than is shown.

This says what flow does to the price in the same interval, never what the price does next.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.fields import Field, Why
from engine.imbalance import INTERVALS, OPEN, USABLE, base_per_size
from engine.kernel import inner, kernel
from engine.money import QUANTO
from engine.schema import Rows

TOO_EARLY: Final = int(Why.TOO_EARLY)
NO_FLOW: Final = int(Why.NO_FLOW)
ONE_SIDED: Final = int(Why.ONE_SIDED)
THIRD_CURRENCY: Final = int(Why.QUANTO)
TOO_FEW_SAMPLES: Final = int(Why.TOO_FEW_SAMPLES)

#: This part of the flow memory.
FIELDS: Final[list[Any]] = [
    #: Usable intervals in all, and the sum of their weights now.
    ("impact_count", "<i8"),
    ("impact_weight", "<f8"),
    #: Weighted means of OFI at the touch (size units) and of the mid's change (ticks), and their weighted co-moments.
    ("impact_flow", "<f8"),
    ("impact_move", "<f8"),
    ("impact_flow2", "<f8"),
    ("impact_cross", "<f8"),
    ("impact_move2", "<f8"),
    #: Weighted sums of the touch's sizes, both sides, and of the books they are of; mean size of a side's touch.
    ("impact_touch", "<f8"),
    ("impact_books", "<f8"),
    ("impact_depth", "<f8"),
]

Floats = NDArray[np.float64]


@kernel
def close_impact(memory: Rows, settings: Rows) -> None:
    """Add the interval that `close_imbalance` has just ended, if it did; call it after every closed cell."""
    own = memory[0]
    if own["passed"] == OPEN:
        return
    fade_impact(memory, settings, 1)
    if own["passed"] != USABLE:
        return
    before = own["impact_weight"]
    own["impact_weight"] = before + 1.0
    own["impact_count"] += 1
    share = 1.0 / (before + 1.0)
    flow = own["passed_flow"][0] - own["impact_flow"]
    move = own["passed_move"] - own["impact_move"]
    own["impact_flow2"] += flow * flow * before * share
    own["impact_cross"] += flow * move * before * share
    own["impact_move2"] += move * move * before * share
    own["impact_flow"] += flow * share
    own["impact_move"] += move * share
    own["impact_touch"] += own["passed_touch"]
    own["impact_books"] += own["passed_books"]
    own["impact_depth"] = own["impact_touch"] / (2.0 * own["impact_books"])


@kernel
def fade_impact(memory: Rows, settings: Rows, intervals: int) -> None:
    """Let so many intervals pass: what was seen before weighs less. For time in which no cell was closed."""
    own, keep = memory[0], settings[0]["forgetting"] ** float(intervals)
    own["impact_weight"] *= keep
    own["impact_flow2"] *= keep
    own["impact_cross"] *= keep
    own["impact_move2"] *= keep
    own["impact_touch"] *= keep
    own["impact_books"] *= keep


@inner
def weighty(memory: Rows, settings: Rows) -> bool:
    """Say whether 30 intervals were seen, and still weigh half of what 30 in a row do."""
    own, keep = memory[0], settings[0]["forgetting"]
    weight, needed = 1.0, 0.0
    for _ in range(INTERVALS):
        needed += weight
        weight *= keep
    return bool(own["impact_count"] >= INTERVALS and own["impact_weight"] >= 0.5 * needed)


@kernel
def report_impact(memory: Rows, settings: Rows, unit: Rows, out: Rows) -> None:
    """Fill the impact of one FLOW row."""
    own, row = memory[0], out[0]
    base = base_per_size(memory, unit)
    no_base = THIRD_CURRENCY if unit[0]["contract"] == QUANTO else 0 if base > 0.0 else ONE_SIDED
    why = 0 if weighty(memory, settings) else TOO_EARLY
    if why == 0 and own["impact_flow2"] <= 0.0:
        why = NO_FLOW
    slope = own["impact_cross"] / own["impact_flow2"] if why == 0 else 0.0
    row["phantom"] = slope * 2.0 * own["impact_depth"]
    row["phantom_why"] = why
    row["impact_beta_why"] = why if why > 0 else no_base
    row["impact_beta"] = slope / base if row["impact_beta_why"] == 0 else 0.0
    row["impact_r2_why"] = why if why > 0 else 0 if own["impact_move2"] > 0.0 else NO_FLOW
    row["impact_r2"] = slope * own["impact_cross"] / own["impact_move2"] if row["impact_r2_why"] == 0 else 0.0
    row["touch_depth_why"] = no_base if own["impact_count"] > 0 else TOO_EARLY
    row["touch_depth"] = own["impact_depth"] * base if row["touch_depth_why"] == 0 else 0.0
    if why > 0 or no_base > 0 or row["impact_r2_why"] > 0 or row["touch_depth_why"] > 0:
        row["undefined"] = 1


@kernel
def kyle_lambda(moves: Floats, volumes: Floats) -> tuple[float, int]:
    """Return price change per unit of signed volume, sum xy / sum x^2, and why not (Kyle 1985)."""
    cross, square = 0.0, 0.0
    for i in range(len(moves)):
        cross += volumes[i] * moves[i]
        square += volumes[i] * volumes[i]
    return (cross / square, 0) if square > 0.0 else (0.0, NO_FLOW)


@kernel
def amihud_illiquidity(returns: Floats, volumes: Floats) -> tuple[float, int]:
    """Return the mean of |return| per quote volume over the intervals that traded, and why not (Amihud 2002)."""
    total, count = 0.0, 0
    for i in range(len(returns)):
        if volumes[i] > 0.0:
            total += abs(returns[i]) / volumes[i]
            count += 1
    return (total / count, 0) if count > 0 else (0.0, NO_FLOW)


@kernel
def roll_spread(prices: Floats) -> tuple[float, int]:
    """Return the spread that bounces between successive trades imply, and why not (Roll 1984).

    It is 2 sqrt(-cov) of successive price changes, their mean taken as 0; where they do not bounce (cov > 0), there is
    no such spread.
    """
    count = len(prices) - 2
    if count < 1:
        return 0.0, TOO_FEW_SAMPLES
    cov = 0.0
    for i in range(count):
        cov += (prices[i + 1] - prices[i]) * (prices[i + 2] - prices[i + 1])
    return (2.0 * math.sqrt(-cov / count), 0) if cov <= 0.0 else (0.0, NO_FLOW)


@kernel
def root_impact(quantity: float, volume: float, volatility: float, factor: float) -> tuple[float, int]:
    """Return a patient order's impact, factor x volatility x sqrt(quantity / volume), and why not.

    Volatility and volume are those of a day, impact is in the volatility's unit, factor is about 1 (Donier, Bonart 2015
    on bitcoin). It is no law for a liquidation at market, which walks the shown book.
    """
    return (factor * volatility * math.sqrt(quantity / volume), 0) if volume > 0.0 else (0.0, NO_FLOW)


#: This part of the flow record's fields.
SIGNAL_FIELDS: Final = (
    Field(
        "impact_beta",
        "number",
        "ticks/base",
        "Move of the mid per base unit of OFI at the touch in the same interval, fading least squares.",
        why="impact_beta_why",
    ),
    Field("impact_r2", "number", "", "Share of the mid's variance that this explains.", why="impact_r2_why"),
    Field("touch_depth", "number", "base", "Mean size of a side's best level, fading likewise.", why="touch_depth_why"),
    Field(
        "phantom",
        "number",
        "",
        "Phantom-depth index, beta x 2 touch_depth: 1 where the shown touch is what there is, more where it flees.",
        why="phantom_why",
    ),
)
