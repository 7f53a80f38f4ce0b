"""Shocks: a side's depth per cell in, whether it fell suddenly and how it comes back out.

A shock is a fall of a side's depth within 10 bps by a given share within a given time. Recovery from Dmin towards the
depth before, Dpre, is r = (D - Dmin) / (Dpre - Dmin); its half-life is ln 2 / kappa, kappa the slope through the origin
of -ln((Dpre - D) / (Dpre - Dmin)) on the time since the minimum (after Large 2007). A lower minimum begins it anew.

The depletion hazard of a side is -ln(D / D before) / time; what is told is the bids' less the asks'.
"""

import math
from typing import Any, Final

from engine.fields import Field, Why
from engine.imbalance import RING
from engine.kernel import inner
from engine.ladder import ASK, BID
from engine.schema import Rows

#: What became of the last shock.
QUIET: Final = 0
RECOVERING: Final = 1
OVER: Final = 2

TOO_EARLY: Final = int(Why.TOO_EARLY)
ONE_SIDED: Final = int(Why.ONE_SIDED)
NO_DEPTH: Final = int(Why.NO_DEPTH)
NO_FLOW: Final = int(Why.NO_FLOW)
NO_SHOCK: Final = int(Why.NO_SHOCK)

#: This part of the flow memory; sizes are integers, sides are 0 bid and 1 ask.
FIELDS: Final[list[Any]] = [
    #: Depth within 10 bps at the end of each closed cell, -1 where it could not be said.
    ("depth_ring", "<i8", (RING, 2)),
    #: The last shock: its state, the cell that met it, depth before, the least since and the cell of that.
    ("shock", "<i8", (2,)),
    ("shock_cell", "<i8", (2,)),
    ("shock_before", "<i8", (2,)),
    ("shock_least", "<i8", (2,)),
    ("shock_least_cell", "<i8", (2,)),
    #: Sums of the fit: time x log, time squared, s.
    ("shock_cross", "<f8", (2,)),
    ("shock_square", "<f8", (2,)),
]


@inner
def restart_shock(memory: Rows) -> None:
    """Forget the shocks of the book that is gone."""
    memory[0]["shock"][BID] = memory[0]["shock"][ASK] = QUIET


@inner
def close_shock(memory: Rows, settings: Rows, at: int, bid_depth: int, ask_depth: int) -> None:
    """Close the open cell into the ring at `at` with each side's depth at its end."""
    memory[0]["depth_ring"][at, BID] = bid_depth
    memory[0]["depth_ring"][at, ASK] = ask_depth
    follow_shock(memory, settings, BID, at)
    follow_shock(memory, settings, ASK, at)


@inner
def follow_shock(memory: Rows, settings: Rows, side: int, at: int) -> None:
    """Take a side's depth at a cell's end: it may begin a shock, be its new minimum, or a point of its recovery."""
    own, rule = memory[0], settings[0]
    cell, depth = own["cell"], own["depth_ring"][at, side]
    if own["shock"][side] == RECOVERING and cell - own["shock_cell"][side] > rule["recovery_cells"]:
        own["shock"][side] = OVER
    if depth < 0:
        return
    if own["shock"][side] != RECOVERING:
        before = depth
        for back in range(1, min(rule["shock_cells"], own["filled"]) + 1):
            before = max(before, own["depth_ring"][(at - back) % RING, side])
        if before == 0 or float(before - depth) < rule["shock"] * before:
            return
        own["shock"][side] = RECOVERING
        own["shock_cell"][side] = cell
        own["shock_before"][side] = before
    elif depth >= own["shock_least"][side]:
        deep = own["shock_before"][side] - own["shock_least"][side]
        left = own["shock_before"][side] - depth
        if left > 0:
            seconds = (cell - own["shock_least_cell"][side]) * (rule["cell_ns"] / 1e9)
            own["shock_cross"][side] -= seconds * math.log(float(left) / float(deep))
            own["shock_square"][side] += seconds * seconds
        return
    own["shock_least"][side] = depth
    own["shock_least_cell"][side] = cell
    own["shock_cross"][side] = own["shock_square"][side] = 0.0


@inner
def hazard_of(memory: Rows, settings: Rows, at: int, cells: int) -> tuple[float, int]:
    """Return the bid side's -ln(D / D before) per second within 10 bps, less the ask side's, and why not."""
    own, then = memory[0], (at - cells) % RING
    if own["filled"] < cells:
        return 0.0, TOO_EARLY
    bid, ask = own["depth_ring"][at, BID], own["depth_ring"][at, ASK]
    bid_then, ask_then = own["depth_ring"][then, BID], own["depth_ring"][then, ASK]
    least = min(min(bid, ask), min(bid_then, ask_then))
    if least <= 0:
        return 0.0, ONE_SIDED if least < 0 else NO_DEPTH
    fall = math.log(float(bid_then) / float(bid)) - math.log(float(ask_then) / float(ask))
    return fall / (cells * (settings[0]["cell_ns"] / 1e9)), 0


@inner
def recovery_of(memory: Rows, at: int, side: int) -> tuple[float, int, float, int]:
    """Return the recovered fraction and why not, the half-life (s) and why not."""
    own = memory[0]
    if own["shock"][side] != RECOVERING:
        return 0.0, NO_SHOCK, 0.0, NO_SHOCK
    deep = float(own["shock_before"][side] - own["shock_least"][side])
    depth = own["depth_ring"][at, side]
    if depth < 0:
        return 0.0, ONE_SIDED, 0.0, ONE_SIDED
    fraction = float(depth - own["shock_least"][side]) / deep
    if own["shock_square"][side] == 0.0:
        return fraction, 0, 0.0, TOO_EARLY
    if own["shock_cross"][side] <= 0.0:
        return fraction, 0, 0.0, NO_FLOW
    return fraction, 0, math.log(2.0) * own["shock_square"][side] / own["shock_cross"][side], 0


@inner
def report_shock(memory: Rows, settings: Rows, at: int, out: Rows) -> None:
    """Fill the hazards, and what became of each side's last shock."""
    own, row, rule = memory[0], out[0], settings[0]
    worst = 0
    for w in range(rule["window_count"]):
        hazard, why = hazard_of(memory, settings, at, rule["windows"][w])
        row["hazard"][w], row["hazard_why"][w] = hazard, why
        worst = max(worst, why)
    for side in (BID, ASK):
        fraction, fraction_why, half_life, half_life_why = recovery_of(memory, at, side)
        worst = max(worst, max(fraction_why, half_life_why))
        if side == BID:
            row["bid_shock"] = own["shock"][BID]
            row["bid_recovered"], row["bid_recovered_why"] = fraction, fraction_why
            row["bid_half_life"], row["bid_half_life_why"] = half_life, half_life_why
        else:
            row["ask_shock"] = own["shock"][ASK]
            row["ask_recovered"], row["ask_recovered_why"] = fraction, fraction_why
            row["ask_half_life"], row["ask_half_life_why"] = half_life, half_life_why
    if worst > 0:
        row["undefined"] = 1


def fields_of(side: str) -> tuple[Field, ...]:
    """Give the fields that both sides have."""
    return (
        Field(
            f"{side}_shock",
            "string",
            "",
            f"What became of the last sudden fall of {side} depth within 10 bps.",
            values=("none", "recovering", "over"),
        ),
        Field(
            f"{side}_recovered",
            "number",
            "1",
            "(depth - least) / (depth before - least) since that fall; above 1 where more rests than before.",
            why=f"{side}_recovered_why",
        ),
        Field(
            f"{side}_half_life",
            "number",
            "s",
            "ln 2 / kappa of an exponential recovery from the least depth, fitted through the origin.",
            why=f"{side}_half_life_why",
        ),
    )


#: This part of the flow record's fields.
SIGNAL_FIELDS: Final = (
    *fields_of("bid"),
    *fields_of("ask"),
    Field(
        "hazard",
        "number",
        "1/s",
        "-ln(depth / depth a window ago) / window of bids less that of asks, 10 bps: above 0 bids deplete faster.",
        over="windows",
        why="hazard_why",
    ),
)
