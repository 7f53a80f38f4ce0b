"""Across venues: what each one's book says relative to its own past in; the same of the asset as a whole out.

    ratio = sum of depth / sum of baselines, over the venues that have both; an empty side has a depth, of 0
    refill = sum of added / sum of (cancelled + executed), quote units, over the venues whose window is full
    withdrawal = sum of cancelled / sum of (depth before + added), likewise of the last cell

A venue that is not known is missing from both sums, so its outage moves nothing. What has no sum (spread, gap,
variance, trades, imbalance, phantom depth, branching; each relative to the venue's own past) is the venues' median; so
are refill and withdrawal where no venue has a mid to turn sizes into money at.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.baseline import baseline_of
from engine.comparison import MILLION, NO_BASELINE, NO_DEPTH, NO_FLOW, ONE_SIDED
from engine.fields import Why
from engine.inputs import NAMES
from engine.kernel import inner, kernel
from engine.ladder import ASK, BID
from engine.schema import Rows
from engine.signals.flow import last_sums, sums

TOO_EARLY: Final = int(Why.TOO_EARLY)

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

#: Places in `engine.inputs.NAMES`.
RATIO: Final = NAMES.index("ratio")
RATIO_WIDE: Final = NAMES.index("ratio_wide")
REFILL: Final = NAMES.index("refill")
WITHDRAWAL: Final = NAMES.index("withdrawal")
SHOCK: Final = NAMES.index("shock")
MEDIANS: Final = tuple(
    NAMES.index(name) for name in ("spread", "pocket", "variance", "trades", "imbalance", "phantom", "branching")
)
#: Bands of a PART: that of `ratio` and that of `ratio_wide`.
BANDS: Final = 2
#: What stands in the sums of flow, per side.
DEPTH: Final = 0
ADDED: Final = 1
CANCELLED: Final = 2
EXECUTED: Final = 3

#: What one venue adds to the sums; sides are 0 bid and 1 ask.
PART: Final = np.dtype(
    [
        #: Depth now and its baseline per band, base units, and a Why: 0 where there are both.
        ("now", "<f8", (BANDS, 2)),
        ("usual", "<f8", (BANDS, 2)),
        ("why", "<i8", (BANDS, 2)),
        #: Depth before, added, cancelled, executed within 10 bps, quote units: refill window, last cell; a Why of each.
        ("flows", "<f8", (2, 4)),
        ("last", "<f8", (2, 4)),
        ("flows_why", "<i8"),
        ("last_why", "<i8"),
    ],
    align=True,
)


@kernel
def fill_part(
    baseline: Rows,
    present: Rows,
    narrow: int,
    wide: int,
    flow_memory: Rows,
    flow_settings: Rows,
    unit: Rows,
    scratch: Floats,
    out: Rows,
) -> None:
    """Fill one PART row of one known book; `scratch` is 2 x 4."""
    part, now = out[0], present[0]
    for b in range(BANDS):
        for side in (BID, ASK):
            quantity = 2 * (narrow if b == 0 else wide) + side
            usual, source = baseline_of(baseline, quantity)
            part["now"][b, side], part["usual"][b, side] = now["values"][quantity], usual
            part["why"][b, side] = now["whys"][quantity] if source > 0 else NO_BASELINE
    part["flows_why"] = sums(flow_memory, flow_settings, unit, scratch)
    for side in (BID, ASK):
        for n in range(4):
            part["flows"][side, n] = scratch[side, n]
    part["last_why"] = last_sums(flow_memory, flow_settings, unit, scratch)
    for side in (BID, ASK):
        for n in range(4):
            part["last"][side, n] = scratch[side, n]


@kernel
def combine(
    values: Floats,
    whys: Bytes,
    parts: Rows,
    shock: Floats,
    shock_why: int,
    scratch: Floats,
    out: Floats,
    out_whys: Bytes,
) -> None:
    """Fill an asset's inputs (names x 2 sides) from those of its venues (venues x names x 2) and their PART rows.

    `scratch` is as long as there are venues.
    """
    for side in (BID, ASK):
        out[RATIO, side], out_whys[RATIO, side] = ratio_of_sums(parts, 0, side)
        out[RATIO_WIDE, side], out_whys[RATIO_WIDE, side] = ratio_of_sums(parts, 1, side)
        refill, refill_why = refill_of_sums(parts, side)
        if refill_why == ONE_SIDED:
            refill, refill_why = median_of(values, whys, REFILL, side, scratch)
        out[REFILL, side], out_whys[REFILL, side] = refill, refill_why
        withdrawal, withdrawal_why = withdrawal_of_sums(parts, side)
        if withdrawal_why == ONE_SIDED:
            withdrawal, withdrawal_why = median_of(values, whys, WITHDRAWAL, side, scratch)
        out[WITHDRAWAL, side], out_whys[WITHDRAWAL, side] = withdrawal, withdrawal_why
        out[SHOCK, side], out_whys[SHOCK, side] = shock[side] / MILLION, shock_why
        for column in MEDIANS:
            out[column, side], out_whys[column, side] = median_of(values, whys, column, side, scratch)


@inner
def median_of(values: Floats, whys: Bytes, column: int, side: int, scratch: Floats) -> tuple[float, int]:
    """Return the median of the venues' values of one input, and why not: the greatest value beside the greatest Why."""
    count, most, why = 0, 0.0, 0
    for i in range(len(values)):
        if whys[i, column, side] == 0:
            scratch[count] = values[i, column, side]
            count += 1
        else:
            most, why = max(most, values[i, column, side]), max(why, int(whys[i, column, side]))
    return (middle_of(scratch, count), 0) if count > 0 else (most, why)


@inner
def ratio_of_sums(parts: Rows, band: int, side: int) -> tuple[float, int]:
    """Return depth / baseline of all venues that have both, and why not."""
    now, usual, known, why = 0.0, 0.0, 0, NO_BASELINE
    for i in range(len(parts)):
        if parts[i]["why"][band, side] == 0:
            now += parts[i]["now"][band, side]
            usual += parts[i]["usual"][band, side]
            known += 1
        elif parts[i]["why"][band, side] == ONE_SIDED:
            why = ONE_SIDED
    if known == 0:
        return 0.0, why
    return (now / usual, 0) if usual > 0.0 else (0.0, NO_DEPTH)


@inner
def refill_of_sums(parts: Rows, side: int) -> tuple[float, int]:
    """Return added / (cancelled + executed), and why not; where nothing left, what was added stands beside the why."""
    added, left, known, why = 0.0, 0.0, 0, ONE_SIDED
    for i in range(len(parts)):
        if parts[i]["flows_why"] == TOO_EARLY:
            why = TOO_EARLY
        elif parts[i]["flows_why"] == 0:
            added += parts[i]["flows"][side, ADDED]
            left += parts[i]["flows"][side, CANCELLED] + parts[i]["flows"][side, EXECUTED]
            known += 1
    if known == 0:
        return 0.0, why
    return (added / left, 0) if left > 0.0 else (added, NO_FLOW)


@inner
def withdrawal_of_sums(parts: Rows, side: int) -> tuple[float, int]:
    """Return cancelled / (depth before + added) of the last cell, at most 1, and why not."""
    cancelled, there, known, why = 0.0, 0.0, 0, ONE_SIDED
    for i in range(len(parts)):
        if parts[i]["last_why"] == TOO_EARLY:
            why = TOO_EARLY
        elif parts[i]["last_why"] == 0:
            cancelled += parts[i]["last"][side, CANCELLED]
            there += parts[i]["last"][side, DEPTH] + parts[i]["last"][side, ADDED]
            known += 1
    if known == 0:
        return 0.0, why
    return (min(cancelled / there, 1.0), 0) if there > 0.0 else (0.0, NO_DEPTH)


@inner
def middle_of(scratch: Floats, count: int) -> float:
    """Return the median of the first `count` numbers, which are put in order; 0 of none."""
    for i in range(1, count):
        value, at = scratch[i], i
        while at > 0 and scratch[at - 1] > value:
            scratch[at] = scratch[at - 1]
            at -= 1
        scratch[at] = value
    if count == 0:
        return 0.0
    return float(0.5 * (scratch[(count - 1) // 2] + scratch[count // 2]))
