"""Cascades: one side of a book and the triggers behind it in; how far a sale falls once it sets off liquidations out.

A fall walks bids downward, a squeeze walks asks upward; both are computed as falls, of prices times +1 or -1, so that
prices always descend. With bids (b_i, q_i), and forced sales n_j that begin once the price trades at or below l_j:

    B(x) = sum of q_i with b_i >= x      L(x) = sum of n_j with l_j >= x      pi(Q) = max {b_i : B(b_i) >= Q}

A sale of Q0 ends where Q = Q0 + L(pi(Q)), at the least such Q >= Q0. L(pi(.)) never decreases, so iterating from Q0
reaches it (Kleene; Tarski 1955), and so does one walk down the book that stops at the first b_i with
B(b_i) >= Q0 + L(b_i): before it, what is sold always exceeds what rests. Hence the price trades below x if and only if

    Q0 > Qc(x) = max over b_i >= x of E(b_i), at least 0,      E = B - L       (excess depth; Qc: critical shock)

and, were every bid shrunk to a share eta, if and only if eta < min over b_i >= x of (Q0 + L(b_i)) / B(b_i), the
critical depth fraction. Where E does not exceed its running maximum a further fall costs nothing more: free fall.

`prices`, `sizes`: float64, descending, base units. `marks`, `amounts`: triggers and what they sell, marks descending.
"""

from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from engine.kernel import allocating, inner, kernel
from engine.money import amount_of, base_of
from engine.schema import Rows

Floats = NDArray[np.float64]
NONE: Final = cast(int, np.int64(-1))
#: Below any price, of falls and of squeezes alike: a forced sale that no bankruptcy stops, a trigger that never fires.
NO_FLOOR: Final = -1.7e308

#: What a sale does.
END: Final = np.dtype(
    [
        #: Index of the level at which it ends (of the last level, where the book is exhausted), -1 of an empty book.
        ("level", "<i8"),
        #: The same without any liquidation.
        ("level_alone", "<i8"),
        #: The price there, 0 of an empty book.
        ("price", "<f8"),
        ("price_alone", "<f8"),
        #: All that is sold, base units, and how much of that was forced.
        ("sold", "<f8"),
        ("forced", "<f8"),
        #: What nobody bought: the part of `sold` beyond the book's end.
        ("unsold", "<f8"),
        #: Triggers that fired.
        ("fired", "<i8"),
        #: 1 where the book ended before the sale did.
        ("exhausted", "<i8"),
        ("exhausted_alone", "<i8"),
    ],
    align=True,
)


@kernel
def lay(levels: Rows, unit: Rows, factor: float, prices: Floats, sizes: Floats) -> int:
    """Write LEVEL rows, best first, as prices x factor and base sizes; return how many.

    A negative factor makes asks descend; its size aligns a venue's prices with those of others. With factors of +1 and
    -1 each price is the float nearest to the decimal, so that a trigger named as a level's very price meets it there.
    """
    for i in range(len(levels)):
        prices[i] = levels[i]["price"] / unit[0]["price"] * factor
        sizes[i] = base_of(amount_of(levels[i]["price"], levels[i]["size"], unit), unit)
    return len(levels)


@allocating
def merge(prices: Floats, sizes: Floats, starts: NDArray[np.int64], out_prices: Floats, out_sizes: Floats) -> int:
    """Merge several sides, each descending from starts[v] to starts[v + 1], into one; equal prices are joined.

    `starts` is used up. Ties are taken in the order of the sides, so the sums do not depend on anything else.
    """
    count, ends = 0, starts.copy()
    while True:
        best = NONE
        for v in range(len(starts) - 1):
            if starts[v] < ends[v + 1] and (best < 0 or prices[starts[v]] > prices[starts[best]]):
                best = v
        if best < 0:
            return count
        at = starts[best]
        if count > 0 and out_prices[count - 1] == prices[at]:
            out_sizes[count - 1] += sizes[at]
        else:
            out_prices[count] = prices[at]
            out_sizes[count] = sizes[at]
            count += 1
        starts[best] += 1


@kernel
def sweep(prices: Floats, sizes: Floats, marks: Floats, amounts: Floats, shock: float, out: Rows) -> None:
    """Fill one END row with where a sale of `shock` base units ends: the least fixpoint, in one walk."""
    end = out[0]
    depth, forced, fired, stopped = 0.0, 0.0, 0, False
    alone = NONE
    level = NONE
    for i in range(len(prices)):
        depth += sizes[i]
        if alone < 0 and depth >= shock:
            alone = i
        if not stopped:
            while fired < len(marks) and marks[fired] >= prices[i]:
                forced += amounts[fired]
                fired += 1
            level = i
            stopped = depth >= shock + forced
        if stopped and alone >= 0:
            break
    last = len(prices) - 1
    end["level"] = level
    end["level_alone"] = alone if alone >= 0 else last
    end["exhausted"] = not stopped
    end["exhausted_alone"] = alone < 0
    end["price"] = prices[level] if level >= 0 else 0.0
    end["price_alone"] = prices[end["level_alone"]] if last >= 0 else 0.0
    end["sold"] = shock + forced
    end["forced"] = forced
    end["fired"] = fired
    end["unsold"] = 0.0 if stopped else max(shock + forced - depth, 0.0)


@kernel
def sweep_floored(
    prices: Floats, sizes: Floats, marks: Floats, amounts: Floats, floors: Floats, shock: float, left: Floats, out: Rows
) -> None:
    """Fill one END row like `sweep`, but let no forced sale trade below its floor, the bankruptcy price.

    The sale itself trades first, then forced ones in the order in which they fire. What is left of one when the price
    passes its floor goes to insurance and auto-deleveraging: `unsold`. `left` is scratch of the triggers' length. What
    an END row says of the sale alone is left as it was.
    """
    end = out[0]
    own, forced, fired, active, level = shock, 0.0, 0, 0, NONE
    residual, taken, highest = 0.0, 0.0, NO_FLOOR
    for i in range(len(prices)):
        if highest > prices[i]:
            highest = NO_FLOOR
            for j in range(active, fired):
                if floors[j] > prices[i]:
                    residual += left[j]
                    left[j] = 0.0
                elif left[j] > 0.0:
                    highest = max(highest, floors[j])
        while active < fired and left[active] == 0.0:
            active += 1
        if own <= 0.0 and active == fired and i > 0:
            break
        while fired < len(marks) and marks[fired] >= prices[i]:
            forced += amounts[fired]
            left[fired] = amounts[fired] if floors[fired] <= prices[i] else 0.0
            residual += amounts[fired] - left[fired]
            highest = max(highest, floors[fired])
            fired += 1
        level = i
        here = sizes[i]
        part = min(own, here)
        own, here, taken = own - part, here - part, taken + part
        for j in range(active, fired):
            if here <= 0.0:
                break
            part = min(left[j], here)
            left[j], here, taken = left[j] - part, here - part, taken + part
    over = own
    for j in range(active, fired):
        over += left[j]
    end["level"] = level
    end["price"] = prices[level] if level >= 0 else 0.0
    end["forced"], end["fired"] = forced, fired
    end["sold"] = taken
    end["unsold"] = residual + over
    end["exhausted"] = over > 0.0 or len(prices) == 0


@kernel
def curve(
    prices: Floats,
    sizes: Floats,
    marks: Floats,
    amounts: Floats,
    shock: float,
    bounds: Floats,
    out: Floats,
) -> None:
    """Fill out[:, k] per bound x (descending): B(x), L(x), Qc(x), eta_c(x) for `shock`, whether the book ends above x.

    Where it ends above x, Qc is what all of it withstands: a lower bound. eta_c above 1 says that the whole book does
    not hold x; where no bid rests at or above x, eta_c is 0 and so is Qc.
    """
    depth, forced, best, fraction = 0.0, 0.0, 0.0, 0.0
    i, j, seen = 0, 0, False
    for k in range(len(bounds)):
        while i < len(prices) and prices[i] >= bounds[k]:
            depth += sizes[i]
            while j < len(marks) and marks[j] >= prices[i]:
                forced += amounts[j]
                j += 1
            best = max(best, depth - forced)
            share = (shock + forced) / depth if depth > 0.0 else 0.0
            if depth > 0.0 and (not seen or share < fraction):
                fraction, seen = share, True
            i += 1
        ahead, late = forced, j
        while late < len(marks) and marks[late] >= bounds[k]:
            ahead += amounts[late]
            late += 1
        out[0, k], out[1, k], out[2, k], out[3, k] = depth, ahead, best, fraction
        out[4, k] = i == len(prices)


@kernel
def critical(prices: Floats, sizes: Floats, marks: Floats, amounts: Floats, bounds: Floats, out: Floats) -> None:
    """Write Qc(x) per bound x (descending), as `curve` does."""
    depth, forced, best = 0.0, 0.0, 0.0
    i, j = 0, 0
    for k in range(len(bounds)):
        while i < len(prices) and prices[i] >= bounds[k]:
            depth += sizes[i]
            while j < len(marks) and marks[j] >= prices[i]:
                forced += amounts[j]
                j += 1
            best = max(best, depth - forced)
            i += 1
        out[k] = best


@kernel
def branching(marks: Floats, amounts: Floats, prices: Floats, sizes: Floats, high: float, low: float) -> float:
    """Return the local branching ratio of [low, high): forced sales / bids there, -1 where no bid rests.

    In a book of even density, Q* = Q0 / (1 - n); at n >= 1 a fall feeds itself until bids catch up.
    """
    forced, depth = 0.0, 0.0
    for j in range(len(marks)):
        if low <= marks[j] < high:
            forced += amounts[j]
    for i in range(len(prices)):
        if low <= prices[i] < high:
            depth += sizes[i]
    return forced / depth if depth > 0.0 else -1.0


@inner
def branchings(prices: Floats, sizes: Floats, marks: Floats, amounts: Floats, bounds: Floats, out: Floats) -> None:
    """Write `branching` between each bound and the one before it (of the first: and the mid), in one walk."""
    i, j = 0, 0
    for k in range(len(bounds)):
        depth, forced = 0.0, 0.0
        while i < len(prices) and prices[i] >= bounds[k]:
            depth += sizes[i]
            i += 1
        while j < len(marks) and marks[j] >= bounds[k]:
            forced += amounts[j]
            j += 1
        out[k] = forced / depth if depth > 0.0 else -1.0


@kernel
def free_fall(prices: Floats, sizes: Floats, marks: Floats, amounts: Floats, low: float) -> tuple[float, float, int]:
    """Return where the longest free fall above `low` begins, where it ends, and how many levels it passes.

    It begins at the last level that raised the running maximum of E and ends at the next that does, or at the last
    level above `low`; 0, 0, 0 where every level raises it.
    """
    depth, forced, best = 0.0, 0.0, 0.0
    j, held, longest = 0, 0, 0
    begin, end, at = 0.0, 0.0, 0
    for i in range(len(prices)):
        if prices[i] < low:
            break
        depth += sizes[i]
        while j < len(marks) and marks[j] >= prices[i]:
            forced += amounts[j]
            j += 1
        if depth - forced > best or i == 0:
            best, at, held = max(depth - forced, best), i, 0
        else:
            held += 1
        if held > 0 and prices[at] - prices[i] > begin - end:
            begin, end, longest = prices[at], prices[i], held
    return begin, end, longest


@kernel
def falls(prices: Floats, sizes: Floats, marks: Floats, amounts: Floats, bounds: Floats, out: Floats) -> None:
    """Fill out[:, k] per bound x (descending): F(x), and 1 where the book ends within it.

    F(x) is how far below x the next price lies at which E exceeds its running maximum: once x trades, so much more
    costs nothing. Where the book ends first, it is the distance to its last level, a lower bound (0 where that is above
    x).
    """
    depth, forced, best = 0.0, 0.0, 0.0
    j, met, held = 0, 0, 0
    for i in range(len(prices)):
        while met < len(bounds) and bounds[met] > prices[i]:
            met += 1
        depth += sizes[i]
        while j < len(marks) and marks[j] >= prices[i]:
            forced += amounts[j]
            j += 1
        if depth - forced > best:
            best = depth - forced
            for k in range(held, met):
                out[0, k], out[1, k] = bounds[k] - prices[i], 0.0
            held = met
    for k in range(held, len(bounds)):
        out[0, k], out[1, k] = 0.0, 1.0
        if len(prices) > 0:
            out[0, k] = max(bounds[k] - prices[len(prices) - 1], 0.0)


@kernel
def shrink(sizes: Floats, share: float, refill: float, out: Floats) -> None:
    """Write what rests when makers keep `share` of it and have put back `refill` base units, spread as the book is."""
    total = 0.0
    for i in range(len(sizes)):
        total += sizes[i]
    factor = share + (refill / total if total > 0.0 else 0.0)
    for i in range(len(sizes)):
        out[i] = sizes[i] * factor


@kernel
def replenish(prices: Floats, sizes: Floats, bounds: Floats, rates: Floats, duration: float, out: Floats) -> float:
    """Write what rests once makers have put back for `duration`: B(x) + rho(x) T; return what found no level.

    rates[k], base units per unit of the duration, belongs to the levels from bounds[k] up to the bound before (bounds
    descend), and is spread over them as they are. Below the last bound nothing is put back, for no rate is known there;
    nor where a zone holds no level to put it on.
    """
    i, homeless = 0, 0.0
    for k in range(len(bounds)):
        begin, total = i, 0.0
        while i < len(prices) and prices[i] >= bounds[k]:
            total += sizes[i]
            i += 1
        factor = 1.0 + rates[k] * duration / total if total > 0.0 else 1.0
        for at in range(begin, i):
            out[at] = sizes[at] * factor
        if total <= 0.0:
            homeless += rates[k] * duration
    for at in range(i, len(prices)):
        out[at] = sizes[at]
    return homeless


@kernel
def slice_off(amounts: Floats, first: float, cooldown: float, duration: float, out: Floats) -> None:
    """Write what each trigger sells within a cascade of `duration` where liquidation comes in two slices.

    A share `first` at once, the rest after `cooldown`: a cascade that is over by then never meets it. Both times in one
    unit, the same as that of `replenish`: what is sold later meets what was put back until then.
    """
    share = 1.0 if duration > cooldown else first
    for j in range(len(amounts)):
        out[j] = amounts[j] * share


@kernel
def spiral(density: float, forced: float, shock: float) -> tuple[float, float, float]:
    """Return n, Q* and the fall in a book of even bid density with triggers of even density, both base units per price.

    n = forced / density; Q* = Q0 / (1 - n). At n >= 1 there is no end: Q* and the fall are -1.
    """
    n = forced / density if density > 0.0 else 1.0
    if n >= 1.0:
        return n, -1.0, -1.0
    return n, shock / (1.0 - n), shock / (1.0 - n) / density
