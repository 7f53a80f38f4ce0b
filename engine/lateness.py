"""Lateness: receive and exchange stamps in, the clocks' offset and quantiles of delay out, in integers.

A message cannot arrive before it is sent. So the least of (received - exchanged) over the last minute is the clocks'
offset plus the shortest delay of the path; it is negative where the recorder's clock is slow. What a message took
beyond that least is its lateness. Minima are kept per five seconds of row time, so the window is 55 to 60 s long.

Lateness is counted in bins of a fixed logarithmic grid, eight to an octave: a quantile is the upper end of its bin, at
most an eighth above the truth and never below it.
"""

from typing import Any, Final

from engine.kernel import inlined, inlined_entry, inner, kernel, top_bit
from engine.schema import Rows

BUCKET: Final = 5_000_000_000
BUCKETS: Final = 12
BINS: Final = 496
#: Larger than any difference of two stamps.
NONE: Final = 1 << 62

#: This part of an instrument's memory.
FIELDS: Final[list[Any]] = [
    #: Least delay of each bucket, NONE where it saw no stamp.
    ("floors", "<i8", (BUCKETS,)),
    #: Number of the newest bucket: row time // BUCKET.
    ("bucket", "<i8"),
    #: Least of `floors`.
    ("offset", "<i8"),
    #: How many messages each bin counts since the last record at the cadence, and in all.
    ("bins", "<i8", (BINS,)),
    ("samples", "<i8"),
]


@kernel
def forget_lateness(memory: Rows) -> None:
    """Begin with no stamp seen."""
    own = memory[0]
    own["floors"][:] = NONE
    own["offset"] = NONE
    restart_lateness(memory)


@inner
def restart_lateness(memory: Rows) -> None:
    """Begin a new interval of the quantiles; the offset stays."""
    own = memory[0]
    own["bins"][:] = 0
    own["samples"] = 0


@inlined
def roll_lateness(memory: Rows, now: int) -> None:
    """Drop the minima that have left the window."""
    own = memory[0]
    bucket = now // BUCKET
    if bucket == own["bucket"]:
        return
    for i in range(max(own["bucket"] + 1, bucket - BUCKETS + 1), bucket + 1):
        own["floors"][i % BUCKETS] = NONE
    own["bucket"] = bucket
    own["offset"] = NONE
    for i in range(BUCKETS):
        own["offset"] = min(own["offset"], own["floors"][i])


@inlined_entry
def count_lateness(memory: Rows, now: int, delay: int) -> None:
    """Count one message that was received `delay` after it was sent, by two clocks."""
    own = memory[0]
    roll_lateness(memory, now)
    at = own["bucket"] % BUCKETS
    own["floors"][at] = min(own["floors"][at], delay)
    own["offset"] = min(own["offset"], delay)
    own["bins"][bin_of(delay - own["offset"])] += 1
    own["samples"] += 1


@kernel
def bin_of(lateness: int) -> int:
    """Return the bin of a lateness: itself below 16, then eight bins to each doubling."""
    if lateness < 16:
        return lateness
    shift = top_bit(lateness) - 3
    return 8 * shift + (lateness >> shift)


@kernel
def end_of(at: int) -> int:
    """Return the largest lateness of a bin."""
    if at < 16:
        return at
    shift = at // 8 - 1
    return ((at - 8 * shift + 1) << shift) - 1


@kernel
def quantile(memory: Rows, percent: int) -> int:
    """Return the lateness that so many percent of the interval's messages did not exceed; 0 where there were none."""
    own = memory[0]
    rank = (own["samples"] * percent + 99) // 100
    seen = 0
    for at in range(BINS):
        seen += own["bins"][at]
        if seen >= rank:
            return int(end_of(at))
    return 0
