"""The grid of a liquidation map: positions entered, closed and crossed in; quantities by trigger price out.

Nobody publishes at which leverage positions are held. So the map keeps, for each leverage class, the *unit map*: where
every trigger would stand had all positions that leverage. The map itself is the mixture of the unit maps, whose weights
can then change, or be drawn, without touching a bucket.

A unit map is a row of buckets of trigger prices, evenly wide (about 0.26 % of the anchor price) from 0.2 to 2.2 times
the anchor. A bucket holds a quantity, its sum of quantity x trigger and of quantity x time of birth: what lies in it
counts as one lot, with the mean trigger and the mean birth of what was entered. When the price has moved by a third,
the grid is anchored anew; lots then move as they are, and such as fall outside it are counted in `beyond`.

Nothing vanishes: of each class and side, added = in the map + crossed + removed + beyond.

Quantities are in units of the contract: base units of a linear one, quote units of an inverse one, so that they add up
to open interest whatever the price does. Index 0 of a side is longs, 1 is shorts.
"""

import math
from typing import Any, Final

from engine.kernel import inner, kernel
from engine.schema import Rows

#: Most leverages that a configuration may name.
CLASSES: Final = 8
BUCKETS: Final = 768
#: The grid's ends, as multiples of the anchor, and how many buckets one anchor is long.
LOWEST: Final = 0.2
HIGHEST: Final = 2.2
PER_ANCHOR: Final = BUCKETS / (HIGHEST - LOWEST)
#: The grid is anchored anew where price / anchor leaves this and its reciprocal.
OFF_CENTRE: Final = 0.75
#: Half-lives after which age makes no further difference; keeps every weight above 0.
OLDEST: Final = 60.0
#: A level of closing at which every lot is closed.
ALL: Final = 1e300
#: A lot that loses this share of itself, or of which less than this is left, is closed: the rest is rounding.
WHOLLY: Final = 1.0 - 1e-9
DUST: Final = 1e-100

#: This part of a map's memory.
FIELDS: Final[list[Any]] = [
    #: Grows whenever triggers could have changed.
    ("version", "<i8"),
    #: 1 where the contract is inverse.
    ("inverse", "<i8"),
    #: Price that the grid is laid around, 0 before the first entry.
    ("anchor", "<f8"),
    #: One-sided open interest, units of the contract; 1 once it is known; since when, ns.
    ("open_interest", "<f8"),
    ("known", "<i8"),
    ("start", "<i8"),
    #: When positions were last entered, ns.
    ("newest", "<i8"),
    #: Quantity, quantity x trigger, quantity x (time of birth - start), by class, side and bucket.
    ("quantity", "<f8", (CLASSES, 2, BUCKETS)),
    ("value", "<f8", (CLASSES, 2, BUCKETS)),
    ("born", "<f8", (CLASSES, 2, BUCKETS)),
    #: Buckets outside these are empty.
    ("first", "<i8", (CLASSES, 2)),
    ("last", "<i8", (CLASSES, 2)),
    #: What became of all quantity since the start.
    ("added", "<f8", (CLASSES, 2)),
    ("crossed", "<f8", (CLASSES, 2)),
    ("removed", "<f8", (CLASSES, 2)),
    ("beyond", "<f8", (CLASSES, 2)),
    #: Crossed since the last open interest, and since the last lesson: quantity, and what it is worth, quote units.
    ("fresh", "<f8", (CLASSES, 2)),
    ("pending", "<f8", (CLASSES, 2)),
    ("pending_worth", "<f8", (CLASSES, 2)),
]


@inner
def bucket_of(trigger: float, anchor: float) -> int:
    """Return the bucket of a trigger price, -1 outside the grid."""
    at = trigger / anchor
    if not LOWEST <= at < HIGHEST:
        return -1
    return min(max(int((at - LOWEST) * PER_ANCHOR), 0), BUCKETS - 1)


@kernel
def empty_grid(memory: Rows) -> None:
    """Begin with no bucket occupied."""
    own = memory[0]
    for k in range(CLASSES):
        for s in range(2):
            own["first"][k, s] = BUCKETS
            own["last"][k, s] = -1


@inner
def put(memory: Rows, k: int, s: int, amount: float, value: float, born: float) -> None:
    """Put a lot where its mean trigger belongs, or count it as beyond the grid."""
    own = memory[0]
    at = bucket_of(value / amount, own["anchor"]) if amount > 0.0 else -1
    if at < 0:
        own["beyond"][k, s] += amount
        return
    own["quantity"][k, s, at] += amount
    own["value"][k, s, at] += value
    own["born"][k, s, at] += born
    own["first"][k, s] = min(own["first"][k, s], at)
    own["last"][k, s] = max(own["last"][k, s], at)


@inner
def enter(memory: Rows, settings: Rows, amount: float, price: float, now: int) -> None:
    """Enter as many longs as shorts at a price: into each unit map, at the triggers that its leverage gives them."""
    own, fixed = memory[0], settings[0]
    if own["anchor"] == 0.0:
        own["anchor"] = price
    elif price < own["anchor"] * OFF_CENTRE or price * OFF_CENTRE > own["anchor"]:
        move_anchor(memory, price)
    own["newest"] = now
    own["version"] += 1
    age = float(now - own["start"])
    for k in range(fixed["classes"]):
        for s in range(2):
            trigger = price * fixed["reach"][own["inverse"], k, s]
            own["added"][k, s] += amount
            put(memory, k, s, amount, amount * trigger, amount * age)


@inner
def move_anchor(memory: Rows, price: float) -> None:
    """Lay the grid around another price, by a fifth or more away, and move every lot to its new bucket.

    A wider grid moves every lot to a lower bucket and a narrower one to a higher: taken in that order, no lot is met
    twice.
    """
    own = memory[0]
    wider = price > own["anchor"]
    own["anchor"] = price
    for k in range(CLASSES):
        for s in range(2):
            first, last = own["first"][k, s], own["last"][k, s]
            own["first"][k, s] = BUCKETS
            own["last"][k, s] = -1
            for i in range(last - first + 1):
                at = first + i if wider else last - i
                amount, value, born = own["quantity"][k, s, at], own["value"][k, s, at], own["born"][k, s, at]
                if amount > 0.0:
                    clear(memory, k, s, at)
                    put(memory, k, s, amount, value, born)


@inner
def clear(memory: Rows, k: int, s: int, at: int) -> None:
    """Empty a bucket."""
    own = memory[0]
    own["quantity"][k, s, at] = 0.0
    own["value"][k, s, at] = 0.0
    own["born"][k, s, at] = 0.0


@inner
def cross(memory: Rows, low: float, high: float) -> bool:
    """Take out the longs whose trigger is at or above `low` and the shorts whose trigger is at or below `high`."""
    own, any_crossed = memory[0], False
    for k in range(CLASSES):
        for s in range(2):
            first, last = own["first"][k, s], own["last"][k, s]
            while first <= last:
                at = last if s == 0 else first
                amount, value = own["quantity"][k, s, at], own["value"][k, s, at]
                if amount > 0.0:
                    if (s == 0 and value < low * amount) or (s == 1 and value > high * amount):
                        break
                    any_crossed = True
                    own["crossed"][k, s] += amount
                    own["fresh"][k, s] += amount
                    own["pending"][k, s] += amount
                    own["pending_worth"][k, s] += amount if own["inverse"] else value
                    clear(memory, k, s, at)
                if s == 0:
                    last -= 1
                else:
                    first += 1
            own["first"][k, s] = first if first <= last else BUCKETS
            own["last"][k, s] = last if first <= last else -1
    if any_crossed:
        own["version"] += 1
    return any_crossed


@inner
def held(memory: Rows, k: int, s: int) -> float:
    """Return how much a unit map holds on one side."""
    own, total = memory[0], 0.0
    for at in range(own["first"][k, s], own["last"][k, s] + 1):
        total += own["quantity"][k, s, at]
    return total


@inner
def youth(born: float, newest: float, half_life: float) -> float:
    """Return a lot's chance of being what closes, per quantity: halved with every half-life of age, 1 of the newest."""
    return math.exp(-math.log(2.0) * min((newest - born) / half_life, OLDEST))


@inner
def level_of(memory: Rows, half_life: float, k: int, s: int, beside: float, wanted: float) -> float:
    """Return the level at which every lot losing min(level x youth, 1) of itself makes `wanted` in all.

    Each round lets the lots that are used up bear no more than they are, until a round finds no further one.
    """
    own = memory[0]
    first, last = own["first"][k, s], own["last"][k, s]
    newest = float(own["newest"] - own["start"])
    level, before = 0.0, 0
    while True:
        gone, shared, wholly = 0.0, 0.0, 0
        for at in range(first - 1, last + 1):
            # One more lot than there are buckets: what is held beside the map, born at its start.
            amount = own["quantity"][k, s, at] if at >= first else beside
            if amount > 0.0:
                chance = youth(own["born"][k, s, at] / amount if at >= first else 0.0, newest, half_life)
                if level * chance >= 1.0:
                    gone += amount
                    wholly += 1
                else:
                    shared += amount * chance
        if level > 0.0 and wholly == before:
            return level
        if shared <= 0.0:
            return ALL
        before = wholly
        level = max((wanted - gone) / shared, level)


@inner
def leave(memory: Rows, half_life: float, k: int, s: int, closed: float) -> None:
    """Close positions of one unit map: `closed` in all, of which what crossed in this bar is already out.

    Lots close pro rata to quantity x youth, and so does what open interest holds beside the map, which counts as born
    when the map began. A lot cannot lose more than all of itself: then the others bear the rest.
    """
    own = memory[0]
    inside = held(memory, k, s)
    beside = max(own["open_interest"] - own["fresh"][k, s] - inside, 0.0)
    wanted = closed - own["fresh"][k, s]
    if wanted <= 0.0 or inside <= 0.0:
        return
    newest = float(own["newest"] - own["start"])
    level = level_of(memory, half_life, k, s, beside, wanted) if wanted < inside + beside else ALL
    for at in range(own["first"][k, s], own["last"][k, s] + 1):
        amount = own["quantity"][k, s, at]
        if amount > 0.0:
            lost = level * youth(own["born"][k, s, at] / amount, newest, half_life)
            if lost >= WHOLLY or amount * (1.0 - lost) < DUST:
                own["removed"][k, s] += amount
                clear(memory, k, s, at)
            else:
                own["removed"][k, s] += amount * lost
                own["quantity"][k, s, at] *= 1.0 - lost
                own["value"][k, s, at] *= 1.0 - lost
                own["born"][k, s, at] *= 1.0 - lost
