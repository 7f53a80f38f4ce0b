"""Comparison: a book and its flow in; what is measured of them now, and that relative to its own past, out.

Present measures stand in the order of `engine.baseline`, whose samples they are: depth within the baseline's bands, the
spread, the largest gap of each side, the variance of the mid, the pace of trades. Depth is the book's exact sum of
sizes turned into base units, an inverse contract's at the mid. A side that is empty holds 0; the other one cannot be
measured then, for want of a mid.

    depth ratio R(k) = D(k) / M(k),     M(k) the baseline of D(k)
    gap since the event G(k) = 1 - M(k) x mid / reference(k),     M(k) of both sides, the reference in quote units
"""

from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from engine.baseline import POCKET_BID as POCKET
from engine.baseline import QUANTITIES, SOURCES, SPREAD, TRADES, VARIANCE, baseline_of
from engine.fields import Field, Why
from engine.imbalance import base_per_size
from engine.kernel import inner, kernel
from engine.ladder import ASK, BID, Ints, place_edges
from engine.money import QUANTO
from engine.schema import Rows
from engine.signals.flow import added_of, pace, tell

ONE_SIDED: Final = int(Why.ONE_SIDED)
THIRD_CURRENCY: Final = int(Why.QUANTO)
NO_DEPTH: Final = int(Why.NO_DEPTH)
NO_FLOW: Final = int(Why.NO_FLOW)
NO_BASELINE: Final = int(Why.NO_BASELINE)
NO_REFERENCE: Final = int(Why.NO_REFERENCE)
NOTHING: Final = cast(int, np.int64(0))
BPS: Final = 10_000.0
MILLION: Final = 1e6

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

#: What is measured of one instrument at a line of the grid, and why not, by quantity.
PRESENT: Final = np.dtype([("values", "<f8", (QUANTITIES,)), ("whys", "<u1", (QUANTITIES,))], align=True)


@kernel
def measure_present(
    book: Rows,
    bands: Ints,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    which: Ints,
    flow_memory: Rows,
    flow_settings: Rows,
    unit: Rows,
    pockets: Floats,
    pocket_whys: Ints,
    out: Rows,
) -> None:
    """Fill one PRESENT row of a book that is known; `which` are the baseline's among the bands, gaps come as told."""
    own, ladder = out[0], book[0]
    both = ladder["bid"] > 0 and ladder["ask"] > 0
    if both:
        place_edges(book, bands, sizes, occupied, far)
    base = base_per_size(flow_memory, unit)
    for n in range(len(which)):
        for side in (BID, ASK):
            best = ladder["bid"] if side == BID else ladder["ask"]
            depth = bands[3 + side, which[n]] if both else NOTHING
            why = THIRD_CURRENCY if unit[0]["contract"] == QUANTO else 0 if both or best == 0 else ONE_SIDED
            own["values"][2 * n + side] = depth * base if why == 0 else 0.0
            own["whys"][2 * n + side] = why
    own["values"][SPREAD] = (
        2.0 * BPS * (ladder["ask"] - ladder["bid"]) / (ladder["ask"] + ladder["bid"]) if both else 0.0
    )
    own["whys"][SPREAD] = 0 if both else ONE_SIDED
    for side in (BID, ASK):
        own["values"][POCKET + side], own["whys"][POCKET + side] = pockets[side], pocket_whys[side]
    trades, variance, why = pace(flow_memory, flow_settings)
    own["values"][TRADES], own["whys"][TRADES] = trades, why
    own["values"][VARIANCE], own["whys"][VARIANCE] = variance, why


@kernel
def compare_depth(baseline: Rows, present: Rows, bands: Ints, references: Floats, mid: float, out: Rows) -> None:
    """Fill what a DEPTH row says of the past; `references` has quote units per band, 0 where none is configured."""
    row, now, weakest = out[0], present[0], 0
    for n in range(len(bands)):
        row["baseline_bands"][n] = bands[n]
        usual, missing = 0.0, 0
        for side in (BID, ASK):
            value, source = baseline_of(baseline, 2 * n + side)
            weakest = max(weakest, source if source > 0 else len(SOURCES))
            why = NO_BASELINE if source == 0 else 0
            ratio_why = now["whys"][2 * n + side] if now["whys"][2 * n + side] > 0 else why
            if ratio_why == 0 and value <= 0.0:
                ratio_why = NO_DEPTH
            ratio = now["values"][2 * n + side] / value if ratio_why == 0 else 0.0
            usual, missing = usual + value, max(missing, why)
            if side == BID:
                row["bid_baseline"][n], row["bid_baseline_why"][n] = value, why
                row["bid_ratio"][n], row["bid_ratio_why"][n] = ratio, ratio_why
            else:
                row["ask_baseline"][n], row["ask_baseline_why"][n] = value, why
                row["ask_ratio"][n], row["ask_ratio_why"][n] = ratio, ratio_why
            if ratio_why > 0:
                row["undefined"] = 1
        gap_why = NO_REFERENCE if references[n] <= 0.0 else ONE_SIDED if mid <= 0.0 else missing
        row["gap"][n] = 1.0 - usual * mid / references[n] if gap_why == 0 else 0.0
        row["gap_why"][n] = gap_why
        if gap_why > 0:
            row["undefined"] = 1
    row["baseline_source"] = weakest if weakest < len(SOURCES) else 0


@kernel
def ratio_of(baseline: Rows, present: Rows, quantity: int) -> tuple[float, int]:
    """Return a present measure / its baseline, and why not."""
    now = present[0]
    if now["whys"][quantity] > 0:
        return 0.0, int(now["whys"][quantity])
    usual, source = baseline_of(baseline, quantity)
    if source == 0:
        return 0.0, NO_BASELINE
    return (now["values"][quantity] / usual, 0) if usual > 0.0 else (0.0, NO_DEPTH)


@inner
def relate(
    baseline: Rows,
    present: Rows,
    narrow: int,
    wide: int,
    flow_memory: Rows,
    flow_settings: Rows,
    unit: Rows,
    shock: Floats,
    shock_why: int,
    out: Rows,
) -> None:
    """Fill one INPUTS row; `narrow` and `wide` number the bands of `ratio` and `ratio_wide` among the baseline's.

    `shock` has the critical shock of either side's move of 1 %, quote units.
    """
    told = out[0]
    tell(flow_memory, flow_settings, unit, out)
    spread, spread_why = ratio_of(baseline, present, SPREAD)
    variance, variance_why = ratio_of(baseline, present, VARIANCE)
    trades, trades_why = ratio_of(baseline, present, TRADES)
    for side in (BID, ASK):
        told["ratio"][side], told["ratio_why"][side] = ratio_of(baseline, present, 2 * narrow + side)
        told["ratio_wide"][side], told["ratio_wide_why"][side] = ratio_of(baseline, present, 2 * wide + side)
        told["pocket"][side], told["pocket_why"][side] = ratio_of(baseline, present, POCKET + side)
        told["spread"][side], told["spread_why"][side] = spread, spread_why
        told["variance"][side], told["variance_why"][side] = variance, variance_why
        told["trades"][side], told["trades_why"][side] = trades, trades_why
        told["shock"][side], told["shock_why"][side] = shock[side] / MILLION, shock_why
        if told["refill_why"][side] == NO_FLOW:
            # Nothing left the zone: what came, if anything did, is beyond any ratio.
            told["refill"][side] = added_of(flow_memory, flow_settings, side)


FIELDS: Final = (
    Field("baseline_bands", "integer", "bps", "Distances from the mid that have a baseline.", over="baseline_bands"),
    *(
        field
        for side in ("bid", "ask")
        for field in (
            Field(
                f"{side}_baseline",
                "number",
                "base units",
                f"Usual depth of the {side}s within the band: the median of this hour of the week.",
                over="baseline_bands",
                why=f"{side}_baseline_why",
            ),
            Field(
                f"{side}_ratio",
                "number",
                "1",
                "Depth / its baseline: R.",
                over="baseline_bands",
                why=f"{side}_ratio_why",
            ),
        )
    ),
    Field("baseline_source", "string", "", "Which past the baseline is of; the weakest of them.", values=SOURCES),
    Field(
        "gap",
        "number",
        "1",
        "1 - usual depth of both sides x mid / the reference level from before the event: how much has left since.",
        over="baseline_bands",
        why="gap_why",
    ),
)
