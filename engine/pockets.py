"""Air pockets: a side's sorted levels in, the gaps between them out.

From the mid outward over the levels within the pocket band, gap i lies between one price and the next; the first pair
is the mid and the best price. Large moves of price follow from such gaps far more than from the size of what hits the
book (Farmer, Gillemot, Lillo, Mike, Sen 2004). A hole is the longest stretch between two of these prices with less than
a floor resting strictly inside it. What lies beyond the last level within the band is no gap: nothing says where it
would end.
"""

from typing import Final

from engine.fields import Field, Why
from engine.kernel import inner, kernel
from engine.money import INVERSE, QUANTO
from engine.schema import Rows

ONE_SIDED: Final = int(Why.ONE_SIDED)
NO_LEVELS: Final = int(Why.NO_LEVELS)
THIRD_CURRENCY: Final = int(Why.QUANTO)
#: The depth of which a hole's floor is a share lies within so many basis points.
FLOOR_BAND: Final = 100
BPS: Final = 10_000.0


@inner
def inside(levels: Rows, mid2: int, band: int) -> int:
    """Count the levels, best first, whose price lies within a band of the mid, the bound included."""
    low, high, reach = 0, len(levels), float(mid2) * band
    while low < high:
        at = (low + high) // 2
        if abs(2 * levels[at]["price"] - mid2) * BPS > reach:
            high = at
        else:
            low = at + 1
    return low


@inner
def floor_of(levels: Rows, mid2: int, unit: Rows, share: float) -> float:
    """Return what a hole holds less than, in units of a worth."""
    floor, inverse = 0.0, unit[0]["contract"] == INVERSE
    for i in range(inside(levels, mid2, FLOOR_BAND)):
        size = float(levels[i]["size"])
        floor += size if inverse else float(levels[i]["price"]) * size
    return floor * share


@kernel
def gaps(levels: Rows, count: int, mid2: int, unit: Rows, floor: float) -> tuple[int, int, float, int, int]:
    """Return the largest gap and where it begins, the gaps' HHI, the longest hole and where it begins.

    Lengths are in half wire decimals; beginnings are the number of a price, 0 the mid, n the n-th level.
    """
    inverse = unit[0]["contract"] == INVERSE
    largest, gap_at, total, squares, near = 0, 0, 0.0, 0.0, mid2
    # `held` rests strictly between price `begin` and the level looked at; `start` is twice that price.
    longest, hole_at, begin, held, start = 0, 0, 0, 0.0, mid2
    for i in range(count):
        price = levels[i]["price"]
        here, size = 2 * int(price), float(levels[i]["size"])
        gap = abs(here - near)
        near = here
        if gap > largest:
            largest, gap_at = gap, i
        total += float(gap)
        squares += float(gap) * float(gap)
        while held > 0.0 and held >= floor:
            passed = levels[begin]["price"]
            held -= float(levels[begin]["size"]) if inverse else float(passed) * float(levels[begin]["size"])
            start = 2 * int(passed)
            begin += 1
            if begin == i:
                held = 0.0
        length = abs(here - start)
        if length > longest:
            longest, hole_at = length, begin
        held += size if inverse else float(price) * size
    return largest, gap_at, squares / (total * total) if total > 0.0 else 0.0, longest, hole_at


@kernel
def measure_pockets(view: Rows, bids: Rows, asks: Rows, unit: Rows, band: int, share: float, out: Rows) -> None:
    """Fill the gaps of both sides into a DEPTH row that `engine.signals.depth.measure` has filled."""
    book, row, scale = view[0], out[0], unit[0]["price"]
    both = book["bid_size"] > 0 and book["ask_size"] > 0
    mid2 = int(book["bid"] + book["ask"])
    for side in range(2):
        levels = bids if side == 0 else asks
        count = inside(levels, mid2, band) if both else 0
        why = ONE_SIDED if not both else NO_LEVELS if count == 0 else 0
        first_why = why if why else NO_LEVELS if count < 2 else 0
        first, largest, start, hhi, length, begin = 0, 0, 0, 0.0, 0, 0
        if count > 0:
            largest, start, hhi, length, begin = gaps(levels, count, mid2, unit, floor_of(levels, mid2, unit, share))
            if unit[0]["contract"] == QUANTO:
                length, begin = 0, 0
        if count > 1:
            first = abs(2 * int(levels[1]["price"]) - 2 * int(levels[0]["price"]))
        hole_why = THIRD_CURRENCY if unit[0]["contract"] == QUANTO and why == 0 else why
        per = BPS / mid2 if both else 0.0
        gap_at = float(levels[start - 1]["price"]) if start > 0 else mid2 / 2.0 if why == 0 else 0.0
        hole_at = float(levels[begin - 1]["price"]) if begin > 0 else mid2 / 2.0 if hole_why == 0 else 0.0
        if first_why or hole_why:
            row["undefined"] = 1
        if side == 0:
            row["bid_first_gap"], row["bid_first_gap_why"] = first * per, first_why
            row["bid_gap"], row["bid_gap_hhi"], row["bid_gap_why"] = largest * per, hhi, why
            row["bid_gap_at"] = gap_at / scale
            row["bid_hole"], row["bid_hole_at"], row["bid_hole_why"] = length * per, hole_at / scale, hole_why
        else:
            row["ask_first_gap"], row["ask_first_gap_why"] = first * per, first_why
            row["ask_gap"], row["ask_gap_hhi"], row["ask_gap_why"] = largest * per, hhi, why
            row["ask_gap_at"] = gap_at / scale
            row["ask_hole"], row["ask_hole_at"], row["ask_hole_why"] = length * per, hole_at / scale, hole_why


PRICE: Final = "quote units per base unit"


def _fields(side: str) -> tuple[Field, ...]:
    gap, first, below = f"{side}_gap_why", f"{side}_first_gap_why", f"{side}_hole_why"
    return (
        Field(f"{side}_first_gap", "number", "bps", "From the best price to the next one.", why=first),
        Field(f"{side}_gap", "number", "bps", "Largest gap between neighbours, the mid included.", why=gap),
        Field(f"{side}_gap_at", "number", PRICE, "Where it begins, seen from the mid.", why=gap),
        Field(f"{side}_gap_hhi", "number", "0 to 1", "Sum of the squared shares of the gaps.", why=gap),
        Field(f"{side}_hole", "number", "bps", "Longest stretch that holds less than the floor.", why=below),
        Field(f"{side}_hole_at", "number", PRICE, "Where it begins, seen from the mid.", why=below),
    )


FIELDS: Final = (*_fields("bid"), *_fields("ask"))
