"""hftbacktest's events, as its documentation of `hftbacktest.types` gives them: one row, its bits, and its floats."""

from typing import Final

import numpy as np

#: A row of an event array.
EVENT: Final = np.dtype(
    [
        #: What happened, for which clock, of which side: the bits below.
        ("ev", "<u8"),
        #: When it happened at the exchange, ns.
        ("exch_ts", "<i8"),
        #: When it was received, ns.
        ("local_ts", "<i8"),
        ("px", "<f8"),
        #: Of a level what is there now, of a trade what was traded.
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ],
    align=True,
)

#: The bits that say what happened.
WHAT: Final = 0xFF
DEPTH: Final = 1
TRADE: Final = 2
#: Levels of a side, or of both, are forgotten.
CLEAR: Final = 3
SNAPSHOT: Final = 4
#: The best bid or ask, on a channel of its own.
BEST: Final = 5

#: The event is for the exchange's clock, for the local one.
EXCHANGE: Final = 1 << 31
LOCAL: Final = 1 << 30
#: Bid or buyer, ask or seller.
BUY: Final = 1 << 29
SELL: Final = 1 << 28

#: Integers below this are floats exactly.
EXACT: Final = 1 << 53
