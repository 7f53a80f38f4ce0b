"""Order-flow imbalance: the book after each message in, per cell of the grid what its ten best levels gained out.

From one book to the next, level m of a side gains (Cont, Kukanov, Stoikov 2014, section 2.1; level by level Xu, Gould,
Howison 2018, section 3), with b, a the prices of level m and u, v the sizes there:

    e = [b >= b'] u - [b <= b'] u' - [a <= a'] v + [a >= a'] v'             (primes: the book before)

and its sum over an interval is that level's order-flow imbalance, OFI: above 0, buyers added or sellers withdrew.

A level that is not there has size 0 and the price farthest outward (0 for a bid, PRICE_LIMIT for an ask): the rule then
says by itself that a level which appears adds its size and one which vanishes takes it away. A crossed book is no state
of a market but a message on its way: it is passed over, and the next sound book is compared with the last sound one.

Integrated OFI is the levels' weighted mean, (w . OFI) / Q (Cont, Cucuringu, Zhang 2023, section 2.2): Q is the mean
size of a level, w the first principal component, sum of |w| = 1, of the covariance of the levels' OFI / Q per interval.
Both come from the training window before: weights are never applied to what they were fitted to.

Sums are those of the venue's integer sizes, in floats: exact as long as they stay below 2^53.
"""

from typing import Any, Final, cast

import numpy as np

from engine.components import find_axes, heaviest
from engine.fields import Field, Why
from engine.kernel import inner, kernel
from engine.ladder import ASK, BID, PRICE_LIMIT, Ints, cell_above, cell_below, first_cell
from engine.money import INVERSE, QUANTO, base_of
from engine.schema import Rows

LEVELS: Final = 10
#: Closed cells that are kept.
RING: Final = 256
#: Intervals that a training window must hold for its weights to be used.
INTERVALS: Final = 30
#: What the last closed cell did to the interval: it goes on; it ended, but its book was not known throughout; it ended.
OPEN: Final = 0
LOST: Final = 1
USABLE: Final = 2
TOO_EARLY: Final = int(Why.TOO_EARLY)
UNTRAINED: Final = int(Why.UNTRAINED)
ONE_SIDED: Final = int(Why.ONE_SIDED)
THIRD_CURRENCY: Final = int(Why.QUANTO)
TOUCH: Final = cast(int, np.int64(0))

#: This part of the flow memory.
FIELDS: Final[list[Any]] = [
    #: Where the next closed cell will stand in every ring of the flow memory, and how many were closed in all. Whoever
    #: closes the cell moves both on, after every part of the memory has written its own.
    ("ring_at", "<i8"),
    ("ring_count", "<i8"),
    #: The ten best levels of each side in the last sound book, whether there was one since the restart, its tick.
    ("top_prices", "<i8", (2, LEVELS)),
    ("top_sizes", "<i8", (2, LEVELS)),
    ("top_known", "<i8"),
    ("top_tick", "<i8"),
    #: The same levels of the book at hand.
    ("next_prices", "<i8", (2, LEVELS)),
    ("next_sizes", "<i8", (2, LEVELS)),
    #: OFI per level, size units: of the open cell, and of each closed one.
    ("imbalance_open", "<f8", (LEVELS,)),
    ("imbalance_ring", "<f8", (RING, LEVELS)),
    #: Whether the book was known all through the open cell; how many such cells in a row were closed before it.
    ("imbalance_whole", "<i8"),
    ("imbalance_cells", "<i8"),
    #: The open interval: its cells, best bid + best ask when it began (0: none), sums of the sizes of the touch (both
    #: sides) and of all levels, and over how many books.
    ("interval_at", "<i8"),
    ("interval_mid2", "<i8"),
    ("interval_touch", "<f8"),
    ("interval_depth", "<f8"),
    ("interval_books", "<i8"),
    #: What the last closed cell did to the interval; of one that is USABLE: OFI per level, the mid's change in ticks,
    #: sum of the touch's sizes, over how many books, mean size of a level.
    ("passed", "<i8"),
    ("passed_flow", "<f8", (LEVELS,)),
    ("passed_move", "<f8"),
    ("passed_touch", "<f8"),
    ("passed_books", "<f8"),
    ("passed_depth", "<f8"),
    #: The open training window: cells, usable intervals, each level's mean OFI, their co-moments, mean size of a level.
    ("training_at", "<i8"),
    ("training_count", "<i8"),
    ("training_mean", "<f8", (LEVELS,)),
    ("training_moment", "<f8", (LEVELS, LEVELS)),
    ("training_depth", "<f8"),
    #: Of the last training window that ended, all 0 where it held too little: w, Q, the share of variance along w.
    ("weights", "<f8", (LEVELS,)),
    ("weights_depth", "<f8"),
    ("weights_explained", "<f8"),
    #: Eigenvectors, while they are sought.
    ("weights_axes", "<f8", (LEVELS, LEVELS)),
]


@kernel
def restart_imbalance(memory: Rows) -> None:
    """Forget the book: the next one is only remembered, and the open cell does not count."""
    own = memory[0]
    own["top_known"] = 0
    own["imbalance_whole"] = 0
    own["imbalance_cells"] = 0
    for m in range(LEVELS):
        own["imbalance_open"][m] = 0.0


@kernel
def top(book_memory: Rows, sizes: Ints, occupied: Ints, far: Ints, prices: Ints, amounts: Ints) -> None:
    """Write the ten best levels of each side, best first: prices and sizes, both 2 x 10, bids first."""
    walk(book_memory, sizes, occupied, far, BID, prices, amounts)
    walk(book_memory, sizes, occupied, far, ASK, prices, amounts)


@inner
def walk(book_memory: Rows, sizes: Ints, occupied: Ints, far: Ints, side: int, prices: Ints, amounts: Ints) -> None:
    """Write one side's best levels: two sorted lists merged, the window's cells and the levels beside it."""
    own = book_memory[0]
    outward = -1 if side == BID else 1
    touch = own["bid"] if side == BID else own["ask"]
    at = own["bid_far"] - 1 if side == BID else 0
    end = -1 if side == BID else own["ask_far"]
    cell = first_cell(book_memory, sizes, occupied, side, touch) if touch > 0 else -1
    for m in range(LEVELS):
        dense = (cell + own["origin"]) * own["tick"]
        if at != end and (cell < 0 or (far[side, 0, at] - dense) * outward < 0):
            prices[side, m] = far[side, 0, at]
            amounts[side, m] = far[side, 1, at]
            at += outward
        elif cell >= 0:
            prices[side, m] = dense
            amounts[side, m] = sizes[side, cell]
            cell = cell_below(occupied, side, cell - 1) if side == BID else cell_above(occupied, side, cell + 1)
        else:
            prices[side, m] = 0 if side == BID else PRICE_LIMIT
            amounts[side, m] = 0


@kernel
def gain(side: int, price: int, size: int, before: int, size_before: int) -> float:
    """Return what one level of a side gained: its new size unless it fell back, less its old one unless it advanced."""
    outward, gained = 2 * side - 1, 0.0
    if (price - before) * outward <= 0:
        gained += float(size)
    if (price - before) * outward >= 0:
        gained -= float(size_before)
    return gained


@kernel
def update_imbalance(memory: Rows, book_memory: Rows, sizes: Ints, occupied: Ints, far: Ints) -> None:
    """Take the book after a message: add what each level gained since the last one to the open cell."""
    own, book = memory[0], book_memory[0]
    if book["bid"] > 0 and book["ask"] > 0 and book["bid"] >= book["ask"]:
        return
    prices, amounts, held, rested = own["next_prices"], own["next_sizes"], own["top_prices"], own["top_sizes"]
    top(book_memory, sizes, occupied, far, prices, amounts)
    known = own["top_known"] > 0
    depth = 0.0
    for m in range(LEVELS):
        if known:
            bought = gain(BID, prices[BID, m], amounts[BID, m], held[BID, m], rested[BID, m])
            sold = gain(ASK, prices[ASK, m], amounts[ASK, m], held[ASK, m], rested[ASK, m])
            own["imbalance_open"][m] += bought - sold
        depth += float(amounts[BID, m]) + float(amounts[ASK, m])
        for side in (BID, ASK):
            held[side, m] = prices[side, m]
            rested[side, m] = amounts[side, m]
    own["top_known"] = 1
    own["top_tick"] = book["tick"]
    own["interval_touch"] += float(amounts[BID, 0]) + float(amounts[ASK, 0])
    own["interval_depth"] += depth
    own["interval_books"] += 1


@kernel
def close_imbalance(memory: Rows, settings: Rows, at: int) -> None:
    """Close the open cell into the ring at `at`, and with it perhaps an interval and a training window."""
    own, rule = memory[0], settings[0]
    for m in range(LEVELS):
        own["imbalance_ring"][at, m] = own["imbalance_open"][m]
        own["imbalance_open"][m] = 0.0
    own["imbalance_cells"] = own["imbalance_cells"] + 1 if own["imbalance_whole"] else 0
    own["imbalance_whole"] = own["top_known"]
    own["interval_at"] += 1
    own["passed"] = OPEN
    if own["interval_at"] >= rule["impact_cells"]:
        pass_interval(memory, settings, at)
    own["training_at"] += 1
    if own["training_at"] >= rule["training_cells"]:
        train(memory)


@inner
def mid2_of(memory: Rows) -> int:
    """Return best bid + best ask of the last sound book, 0 where it is not known or a side is empty."""
    own = memory[0]
    both = own["top_known"] > 0 and own["top_sizes"][BID, 0] > 0 and own["top_sizes"][ASK, 0] > 0
    return int(own["top_prices"][BID, 0] + own["top_prices"][ASK, 0]) if both else 0


@inner
def pass_interval(memory: Rows, settings: Rows, at: int) -> None:
    """End an interval: say what it was, add it to the training window, begin the next one."""
    own, cells = memory[0], settings[0]["impact_cells"]
    mid2 = mid2_of(memory)
    own["passed"] = LOST
    if own["imbalance_cells"] >= cells and mid2 > 0 and own["interval_mid2"] > 0:
        own["passed"] = USABLE
        for m in range(LEVELS):
            own["passed_flow"][m] = sum_imbalance(memory, at, cells, m)
        own["passed_move"] = float(mid2 - own["interval_mid2"]) / (2.0 * float(own["top_tick"]))
        own["passed_touch"] = own["interval_touch"]
        own["passed_books"] = float(own["interval_books"])
        own["passed_depth"] = own["interval_depth"] / (2.0 * LEVELS * own["interval_books"])
        gather(memory)
    own["interval_at"] = 0
    own["interval_mid2"] = mid2
    # The book that stands now is the next interval's first: an interval without a message has a depth too.
    own["interval_touch"] = 0.0
    own["interval_depth"] = 0.0
    own["interval_books"] = own["top_known"]
    if own["top_known"]:
        own["interval_touch"] = float(own["top_sizes"][BID, 0]) + float(own["top_sizes"][ASK, 0])
        for m in range(LEVELS):
            own["interval_depth"] += float(own["top_sizes"][BID, m]) + float(own["top_sizes"][ASK, m])


@inner
def gather(memory: Rows) -> None:
    """Add the interval that passed to the training window: means and co-moments, updated in place (Welford 1962)."""
    own = memory[0]
    own["training_count"] += 1
    count = float(own["training_count"])
    flow, mean, moment = own["passed_flow"], own["training_mean"], own["training_moment"]
    for i in range(LEVELS):
        for j in range(LEVELS):
            moment[i, j] += (flow[i] - mean[i]) * (flow[j] - mean[j]) * (count - 1.0) / count
    for m in range(LEVELS):
        mean[m] += (flow[m] - mean[m]) / count
    own["training_depth"] += (own["passed_depth"] - own["training_depth"]) / count


@inner
def train(memory: Rows) -> None:
    """End a training window: its weights serve until the next one ends, unless it holds too little or nothing moved."""
    own = memory[0]
    weights, axes, moment = own["weights"], own["weights_axes"], own["training_moment"]
    whole = 0.0
    for m in range(LEVELS):
        whole += moment[m, m]
        weights[m] = 0.0
    own["weights_explained"] = 0.0
    own["weights_depth"] = 0.0
    if own["training_count"] >= INTERVALS and whole > 0.0 and own["training_depth"] > 0.0:
        find_axes(moment, axes)
        own["weights_explained"] = heaviest(moment, axes, weights) / whole
        own["weights_depth"] = own["training_depth"]
    own["training_at"] = 0
    own["training_count"] = 0
    own["training_depth"] = 0.0
    for i in range(LEVELS):
        own["training_mean"][i] = 0.0
        for j in range(LEVELS):
            moment[i, j] = 0.0


@kernel
def sum_imbalance(memory: Rows, at: int, cells: int, level: int) -> float:
    """Return one level's OFI over the last so many closed cells, the newest at `at`, in size units."""
    ring = memory[0]["imbalance_ring"]
    total = 0.0
    for back in range(cells):
        total += ring[(at - back) % RING, level]
    return total


@inner
def base_per_size(memory: Rows, unit: Rows) -> float:
    """Return the base units of one unit of size (an inverse contract's: at the mid); 0 where there are none."""
    if unit[0]["contract"] == QUANTO:
        return 0.0
    if unit[0]["contract"] != INVERSE:
        return base_of(1.0, unit)
    mid2 = mid2_of(memory)
    return base_of(2.0 / mid2, unit) if mid2 > 0 else 0.0


@kernel
def report_imbalance(memory: Rows, settings: Rows, unit: Rows, at: int, out: Rows) -> None:
    """Fill the imbalance of one FLOW row; the newest closed cell stands at `at` of the ring."""
    own, rule, row = memory[0], settings[0], out[0]
    base = base_per_size(memory, unit)
    no_base = THIRD_CURRENCY if unit[0]["contract"] == QUANTO else 0 if base > 0.0 else ONE_SIDED
    touch = 2.0 * own["impact_depth"]
    trained = own["weights_depth"] > 0.0
    worst = no_base if trained else UNTRAINED
    for w in range(rule["window_count"]):
        early = 0 if own["imbalance_cells"] >= rule["windows"][w] else TOO_EARLY
        flow = sum_imbalance(memory, at, rule["windows"][w], TOUCH) if early == 0 else 0.0
        row["ofi_why"][w] = early if early > 0 else no_base
        row["ofi"][w] = flow * base
        normal = early == 0 and touch > 0.0
        row["ofi_normalised_why"][w] = 0 if normal else TOO_EARLY
        row["ofi_normalised"][w] = flow / touch if normal else 0.0
        row["ofi_integrated_why"][w] = early if early > 0 else 0 if trained else UNTRAINED
        total = 0.0
        if trained and early == 0:
            for m in range(LEVELS):
                total += own["weights"][m] * sum_imbalance(memory, at, rule["windows"][w], m)
            total /= own["weights_depth"]
        row["ofi_integrated"][w] = total
        worst = max(worst, early if normal else TOO_EARLY)
    early = 0 if own["imbalance_cells"] >= rule["windows"][0] else TOO_EARLY
    for m in range(LEVELS):
        row["levels"][m] = m + 1
        row["ofi_levels"][m] = sum_imbalance(memory, at, rule["windows"][0], m) * base if early == 0 else 0.0
        row["ofi_levels_why"][m] = early if early > 0 else no_base
        row["ofi_weights"][m] = own["weights"][m]
        row["ofi_weights_why"][m] = 0 if trained else UNTRAINED
    row["ofi_explained"] = own["weights_explained"]
    row["ofi_depth"] = own["weights_depth"] * base
    row["ofi_explained_why"] = 0 if trained else UNTRAINED
    row["ofi_depth_why"] = no_base if trained else UNTRAINED
    if worst > 0:
        row["undefined"] = 1


#: This part of the flow record's fields.
SIGNAL_FIELDS: Final = (
    Field(
        "ofi",
        "number",
        "base",
        "Order-flow imbalance at the touch over the window: what the best bid gained less what the best ask gained.",
        over="windows",
        why="ofi_why",
    ),
    Field(
        "ofi_normalised",
        "number",
        "",
        "The same in sizes of the touch: OFI / (2 D), D the mean size of a side's best level (`touch_depth`).",
        over="windows",
        why="ofi_normalised_why",
    ),
    Field(
        "ofi_integrated",
        "number",
        "",
        "Ten levels' OFI over the window, weighted by `ofi_weights`, in mean sizes of a level (`ofi_depth`).",
        over="windows",
        why="ofi_integrated_why",
    ),
    Field("levels", "integer", "", "Place of a level, from 1 at the touch to 10.", over="levels"),
    Field(
        "ofi_levels",
        "number",
        "base",
        "Order-flow imbalance of each level over the shortest window.",
        over="levels",
        why="ofi_levels_why",
    ),
    Field(
        "ofi_weights",
        "number",
        "",
        "Weights of integrated OFI, absolute values 1 in sum; fitted to the training window before this one.",
        over="levels",
        why="ofi_weights_why",
    ),
    Field(
        "ofi_explained",
        "number",
        "",
        "Share of the levels' variance along the weights, in the window they were fitted to.",
        why="ofi_explained_why",
    ),
    Field("ofi_depth", "number", "base", "Mean size of a level in that window.", why="ofi_depth_why"),
)
