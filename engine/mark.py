"""Marks: how a venue makes the price that liquidates in; at which traded price a trigger is then hit, out.

Positions are liquidated by the venue's mark, not by the price that trades. Venues publish how they make it (their pages
are named in docs/signals.md, "The mark"); most take the median of the last price, the index and the index plus an
average of the basis (mid - index), the index being what other venues trade at.

Let the price fall by D at once and stay there for T seconds. The last price falls by D, the index by s D, s being what
other venues share of the fall, and of what the basis fell, (1 - s) D, its average has followed

    a(T) = 1 - exp(-T / tau)   of an exponential average,      a(T) = min(T / W, 1)   of a plain mean over W seconds

so index plus average falls by theta D, theta = s + (1 - s) a. As s <= theta <= 1 the median of the three falls by
theta D: the last price counts only between the other two, and in a fall it is never between them. A mark without the
last price (index plus average alone) falls by the same, one of the index alone has a = 0. Where the mid itself is
averaged, not its basis, the falls are s, 1 and a, and theta = max(s, a).

A mark that stands off the price now comes back to it as the average does: without any fall it is

    M' = m + (1 - a) (M - m)

after T (m the mid, M the mark as last told). So a trigger at l is hit once the price trades at m - (M' - l) / theta, or
at once where M' <= l. A clamp keeps the mark within a share c of the index, so of a fall it must also hold that
(1 - c) (I - s (m - p)) <= l, or the mark cannot be so low. Rises mirror all of it.
"""

from math import exp
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.cascade import NO_FLOOR
from engine.config import EngineConfig
from engine.kernel import inner, kernel
from engine.knowledge import MarkRule
from engine.schema import Rows

Floats = NDArray[np.float64]

#: A mark that was told longer ago says nothing of where it is now, ns of row time; venues tell it each 1 to 3 s.
STALE: Final = 10_000_000_000

#: This part of a map's memory: the index as last told, and when the mark was, ns; 0 before the first.
FIELDS: Final[list[Any]] = [("index", "<f8"), ("marked", "<i8"), ("indexed", "<i8")]

#: A rule over the assumed duration of a cascade; part of a map's constants, and of an exposure's.
RULE: Final[list[Any]] = [
    #: theta; 1 - a, and 0 where the mark is taken to stand at the price.
    ("pass_through", "<f8"),
    ("kept", "<f8"),
    #: s and c; a clamp of 0 is none.
    ("index_share", "<f8"),
    ("clamp", "<f8"),
]


def rule_of(config: EngineConfig, venue: str) -> MarkRule | None:
    """Find a venue's rule, else the one of all venues; None: the mark passes on `engine.cascade.pass_through`."""
    rules = {each.venue: each for each in config.knowledge.marks}
    return rules.get(venue) or rules.get("")


def followed(rule: MarkRule, seconds: float) -> float:
    """Return a(T): what share of a step its average has followed after so many seconds."""
    if rule.average > 0:
        return 1.0 - exp(-seconds / rule.average)
    return min(seconds / rule.window, 1.0) if rule.window > 0 else 0.0


def passed_on(rule: MarkRule, seconds: float) -> float:
    """Return theta: what share of a fall that lasts so many seconds the mark passes on."""
    average = followed(rule, seconds)
    if rule.of == "mid":
        return max(rule.index, average)
    return rule.index + (1.0 - rule.index) * average


def set_rule(config: EngineConfig, venue: str, row: Any) -> None:
    """Fill the RULE fields of one row."""
    rule, seconds = rule_of(config, venue), config.cascade.duration / 1_000
    if rule is None:
        row["pass_through"] = config.cascade.pass_through
        return
    row["pass_through"], row["kept"] = passed_on(rule, seconds), 1.0 - followed(rule, seconds)
    row["index_share"], row["clamp"] = rule.index, rule.clamp


def marks_now(memory: Rows, now: int, config: EngineConfig) -> bytes:
    """Give all that a cascade reads of mark and index: what they are, and whether they are too old to be believed."""
    if not config.knowledge.marks:
        return b""
    own = memory[0]
    old = [now - int(own[when]) > STALE for when in ("marked", "indexed")]
    return bytes(own["mark"].tobytes() + own["index"].tobytes() + bytes(old))


@inner
def standing_of(memory: Rows, settings: Rows, factor: float, start: float, now: int) -> float:
    """Return M', where the mark stands after a cascade without any fall; `start` and prices are scaled by `factor`."""
    own, kept, at = memory[0], settings[0]["kept"], start
    if kept > 0.0 and own["mark"] > 0.0 and now - own["marked"] <= STALE:
        at += kept * (own["mark"] * factor - start)
    return at


@inner
def index_of(memory: Rows, factor: float, start: float, now: int) -> float:
    """Return the index now, the mid where it is not known."""
    own, at = memory[0], start
    if own["index"] > 0.0 and now - own["indexed"] <= STALE:
        at = own["index"] * factor
    return at


@kernel
def hit_at(
    trigger: float,
    side: int,
    start: float,
    standing: float,
    index: float,
    pass_through: float,
    index_share: float,
    clamp: float,
) -> float:
    """Return the traded price at which a trigger is hit, beyond any price where it never is.

    `side` is +1 of longs, which falls hit, -1 of shorts; `start` is the mid.
    """
    below = side * (standing - trigger)
    if below <= 0.0:
        at = trigger if side * (trigger - start) >= 0.0 else start
    elif pass_through >= 1.0 and standing == start:
        at = trigger
    elif pass_through * 1e300 > below:
        at = start - side * below / pass_through
    else:
        at = side * NO_FLOOR
    if clamp > 0.0:
        room = side * (index - trigger / (1.0 - side * clamp))
        if room > 0.0:
            last = start - side * room / index_share if index_share * 1e300 > room else side * NO_FLOOR
            at = side * min(side * at, side * last)
    return at


@kernel
def seen_by_mark(
    marks: Floats, side: int, start: float, standing: float, index: float, rule: Rows, out: Floats
) -> None:
    """Write the traded prices at which sorted triggers are hit under one row's RULE; sorted alike."""
    given = rule[0]
    theta, share, clamp = given["pass_through"], given["index_share"], given["clamp"]
    for j in range(len(marks)):
        out[j] = hit_at(marks[j], side, start, standing, index, theta, share, clamp)
