"""The rows that cross the seams: every dtype, every field's unit and meaning, declared once.

Prices and sizes are integer wire decimals: price x 10^price_decimals, size x 10^size_decimals of that instrument, as
its INSTRUMENT row states them. Times are int64 nanoseconds since the Unix epoch. Side is +1 for bid or buy aggressor,
-1 for ask or sell aggressor. A message is one MESSAGE row followed by `count` rows of the one family its kind names.
"""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: An array of structured rows; its dtype says which family.
Rows: TypeAlias = NDArray[np.void]

#: Version of everything below, carried by every SBE header; a reader refuses any other.
VERSION: Final = 1


class Kind(IntEnum):
    """What a message is, and so which rows follow it."""

    #: LEVEL rows: the whole book, which replaces whatever was known. Bids first, best first within each side.
    SNAPSHOT = 1
    #: LEVEL rows: absolute sizes of changed levels, size 0 deletes. Bids first.
    DELTA = 2
    #: Two LEVEL rows, best bid then best ask, as the venue states them on its own channel (size 0: that side is empty).
    TOUCH = 3
    #: TRADE rows.
    TRADE = 4
    #: LIQUIDATION rows.
    LIQUIDATION = 5
    #: REFERENCE rows: mark and index price, funding, open interest.
    REFERENCE = 6
    #: No rows: the connection or the venue changed state; `status` is a Status.
    STATUS = 7
    #: No rows: the book's sequence broke; `previous` is the last good id, `first` the id met. The book is unknown now.
    GAP = 8
    #: No rows: a new book epoch begins; what follows is buffered until its SNAPSHOT. The book is not known now.
    RESYNC = 9
    #: No rows: a stream that should speak is silent; `status` is the Channel. Ends with that channel's next message.
    STALE = 10
    #: One INSTRUMENT row: opens every book epoch, so that a reader who knows a book knows its units.
    INSTRUMENT = 11


class Status(IntEnum):
    """What a STATUS message reports."""

    CONNECTED = 1
    DISCONNECTED = 2
    #: The venue announced maintenance or a shutdown of this connection.
    MAINTENANCE = 3
    TRADING = 4
    HALTED = 5


class Channel(IntEnum):
    """Which of an instrument's streams a STALE message speaks of."""

    DEPTH = 1
    TOUCH = 2
    TRADE = 3
    MARK = 4
    LIQUIDATION = 5
    OPEN_INTEREST = 6
    RISK = 7


class Flag(IntFlag):
    """Bits of MESSAGE `flags`."""

    #: More parts of this same wire message follow: the book is between two states until the last part.
    PARTIAL = 1
    #: This part continues the previous one; a continued SNAPSHOT adds to the book and does not clear it.
    CONTINUED = 2
    #: The first message of a channel after subscribing holds past events.
    HISTORY = 4
    #: A checksum of the venue was recomputed over this message's book and agreed.
    CHECKSUM_OK = 8
    #: The exchange's stamp is later than its own publish stamp or jumps; not to be used for durations.
    BAD_TIME = 16


class Contract(IntEnum):
    """How a size becomes money."""

    SPOT = 1
    #: Linear: profit in the quote currency; size x contract_size is in base units.
    LINEAR = 2
    #: Inverse: a contract is worth contract_size of the quote currency and settles in the base currency.
    INVERSE = 3
    QUANTO = 4


class Reference(IntEnum):
    """What a REFERENCE row's value is."""

    #: Price, in price_decimals.
    MARK = 1
    #: Price, in price_decimals.
    INDEX = 2
    #: Funding rate of one interval x 10^12; `next` is the next funding time.
    FUNDING = 3
    #: One-sided open interest, in size_decimals.
    OPEN_INTEREST = 4
    #: Balance of the insurance fund behind this instrument, in its settlement currency x 10^8; may be negative.
    INSURANCE = 5
    #: How near auto-deleveraging is: 0 normal, 1 the venue warns of it, 2 under way or at the venue's highest risk.
    DELEVERAGING = 6


class PriceKind(IntEnum):
    """Which price a liquidation print states."""

    ORDER_LIMIT = 1
    AVERAGE_FILL = 2
    BANKRUPTCY = 3
    TRADE = 4


class Coverage(IntEnum):
    """How much of the venue's liquidations its feed shows. Anything but ALL is a lower bound and is never summed."""

    ALL = 1
    SAMPLED_LARGEST = 2
    SAMPLED_LATEST = 3
    SAMPLED = 4
    LOWER_BOUND = 5


FUNDING_DECIMALS: Final = 12

MESSAGE: Final = np.dtype(
    [
        #: Wall clock at the socket read, ns. Strictly increasing within one feed.
        ("received", "<i8"),
        #: Monotonic clock at the same instant, ns; only differences mean anything. 0: unknown.
        ("monotonic", "<i8"),
        #: The exchange's own time of the event (matching engine where it says so), ns. 0: unknown.
        ("exchanged", "<i8"),
        #: When the exchange's gateway published it, ns. 0: unknown.
        ("published", "<i8"),
        #: First sequence id that the message covers. 0: the venue has none.
        ("first", "<i8"),
        #: Last sequence id that the message covers.
        ("last", "<i8"),
        #: Sequence id of the message before, as the venue states it. -1: it does not.
        ("previous", "<i8"),
        #: The book's epoch: +1 with every (re)synchronisation of this instrument. 0: not a book message.
        ("epoch", "<u4"),
        #: Flag bits.
        ("flags", "<u4"),
        #: How many rows of its family follow.
        ("count", "<u4"),
        #: How many of those are bids (LEVEL rows come bids first).
        ("bids", "<u4"),
        #: Which connection of the feed it came by; +1 with every connect.
        ("connection", "<u2"),
        #: Kind.
        ("kind", "<u1"),
        #: Status of a STATUS message, Channel of a STALE one; otherwise 0.
        ("status", "<u1"),
    ],
    align=True,
)

LEVEL: Final = np.dtype(
    [
        #: Price, wire decimals, > 0.
        ("price", "<i8"),
        #: Resting size at that price, wire decimals; 0 deletes the level.
        ("size", "<i8"),
    ],
    align=True,
)

TRADE: Final = np.dtype(
    [
        #: Exchange time of the trade, ns.
        ("exchanged", "<i8"),
        ("price", "<i8"),
        ("size", "<i8"),
        #: The venue's trade id; for aggregated trades the aggregate's id.
        ("id", "<i8"),
        #: How many fills it aggregates, 1 where the venue does not aggregate.
        ("fills", "<u4"),
        #: Aggressor: +1 buy, -1 sell.
        ("side", "<i1"),
        #: Zero; keeps the row at five words.
        ("reserved", "<u1"),
        ("reserved2", "<u2"),
    ],
    align=True,
)

LIQUIDATION: Final = np.dtype(
    [
        #: Exchange time of the liquidation order, ns.
        ("exchanged", "<i8"),
        ("price", "<i8"),
        #: Size of the order, wire decimals.
        ("size", "<i8"),
        #: Average fill price, wire decimals; 0 where unknown.
        ("average", "<i8"),
        #: Whose position: +1 a long was liquidated (a forced sale), -1 a short.
        ("side", "<i1"),
        #: PriceKind of `price`.
        ("price_kind", "<u1"),
        #: Coverage of the feed it came by.
        ("coverage", "<u1"),
        ("reserved", "<u1"),
        ("reserved2", "<u4"),
    ],
    align=True,
)

REFERENCE: Final = np.dtype(
    [
        #: Exchange time of the value, ns.
        ("exchanged", "<i8"),
        #: The value, in the decimals that its Reference names.
        ("value", "<i8"),
        #: Next funding time, ns; 0 where it does not apply.
        ("next", "<i8"),
        #: Reference.
        ("what", "<u1"),
        ("reserved", "<u1"),
        ("reserved2", "<u2"),
        ("reserved3", "<u4"),
    ],
    align=True,
)

INSTRUMENT: Final = np.dtype(
    [
        #: Smallest price step, wire decimals.
        ("tick", "<i8"),
        #: Smallest size step of an order, wire decimals. Resting sizes need not be its multiples (spot dust).
        ("lot", "<i8"),
        #: What one unit of size is worth: base units (linear) or quote units (inverse), x 10^8.
        ("contract_size", "<i8"),
        #: Decimals of every price of this instrument.
        ("price_decimals", "<u1"),
        #: Decimals of every size of this instrument.
        ("size_decimals", "<u1"),
        #: Contract.
        ("contract", "<u1"),
        ("reserved", "<u1"),
        ("reserved2", "<u4"),
        #: Underlying asset, `BTC`: decides the partition.
        ("asset", "S16"),
        #: Currency of the price, `USDT`.
        ("quote", "S16"),
    ],
    align=True,
)

CONTRACT_SIZE_DECIMALS: Final = 8

#: Row family of each kind; kinds that are not here carry no rows.
FAMILY: Final = {
    Kind.SNAPSHOT: LEVEL,
    Kind.DELTA: LEVEL,
    Kind.TOUCH: LEVEL,
    Kind.TRADE: TRADE,
    Kind.LIQUIDATION: LIQUIDATION,
    Kind.REFERENCE: REFERENCE,
    Kind.INSTRUMENT: INSTRUMENT,
}


def view_dtype(bands: int) -> np.dtype[Any]:
    """Return the VIEW dtype for a number of depth bands: what one book looks like at one instant, in integers."""
    return np.dtype(
        [
            #: Best bid and ask price and the size there; price and size 0 where that side is empty.
            ("bid", "<i8"),
            ("bid_size", "<i8"),
            ("ask", "<i8"),
            ("ask_size", "<i8"),
            #: Lowest bid and highest ask of the last SNAPSHOT: what lies beyond was never shown and may be missing.
            ("known_low", "<i8"),
            ("known_high", "<i8"),
            #: How many levels each side holds in all.
            ("bid_levels", "<i8"),
            ("ask_levels", "<i8"),
            #: Levels of each side inside the widest band: lengths of the two sorted arrays that go with this row.
            ("bids", "<i8"),
            ("asks", "<i8"),
            #: Size of bids at or above ceil(mid2 x (10000 - b) / 20000), per band b, mid2 = bid + ask; inclusive.
            ("bid_depth", "<i8", (bands,)),
            #: Size of asks at or below floor(mid2 x (10000 + b) / 20000).
            ("ask_depth", "<i8", (bands,)),
        ],
        align=True,
    )


def empty(dtype: np.dtype[Any]) -> Rows:
    """Return no rows of a family."""
    return np.zeros(0, dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Messages of one instrument in order, and behind them the rows of each family in the order of those messages."""

    #: `venue:SYMBOL`, the Kafka key.
    instrument: str
    #: Underlying asset, which decides the partition.
    asset: str
    messages: Rows
    levels: Rows = field(default_factory=lambda: empty(LEVEL))
    trades: Rows = field(default_factory=lambda: empty(TRADE))
    liquidations: Rows = field(default_factory=lambda: empty(LIQUIDATION))
    references: Rows = field(default_factory=lambda: empty(REFERENCE))
    instruments: Rows = field(default_factory=lambda: empty(INSTRUMENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One VIEW row and the levels inside the widest band as two sorted arrays: all that a signal may look at."""

    #: One VIEW row.
    row: Rows
    #: LEVEL rows, best first. Where a side is empty both bands and levels are empty.
    bids: Rows
    asks: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What Kafka holds, and the one thing that a sink takes."""

    topic: str
    key: str
    #: Decides the partition where the topic is placed by asset.
    asset: str
    #: Record time, ns: the receive time of the (last) row inside. Written to Kafka in milliseconds.
    time: int
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
