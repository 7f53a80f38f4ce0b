"""Inputs: what the vacuum's state machine and its probability read, gathered from the other signals' memories."""

from typing import Final

import numpy as np

#: What each value is; index 0 is the bid side, 1 the ask side. Values of the whole book stand in both.
NAMES: Final = (
    #: Depth within the machine's band / its baseline.
    "ratio",
    #: The same within 50 bps.
    "ratio_wide",
    #: Added / (cancelled + executed) within 10 bps over the refill window.
    "refill",
    #: Cancelled / (depth before + added) within 10 bps in the last cell.
    "withdrawal",
    #: Spread / its median.
    "spread",
    #: Largest gap of the side / its median.
    "pocket",
    #: Order-flow imbalance of the shortest window / depth within 10 bps, against this side: above 0 presses on it.
    "imbalance",
    #: Phantom-depth index.
    "phantom",
    #: Branching ratio of trades minus that of an inhomogeneous Poisson surrogate.
    "branching",
    #: Realised variance of the mid / its median.
    "variance",
    #: Trades per second / their median.
    "trades",
    #: Critical shock of a move of 1 % against this side, quote units, in millions.
    "shock",
)

#: One row: each value and, beside it, a Why (0: defined).
INPUTS: Final = np.dtype(
    [*((name, "<f8", (2,)) for name in NAMES), *((f"{name}_why", "<u1", (2,)) for name in NAMES)], align=True
)
