"""Views: a ladder in, its VIEW row and its levels, sorted from the touch outward, out."""

from engine.kernel import kernel
from engine.ladder import ASK, BID, NOTHING, Ints, cell_above, cell_below, first_cell, place_edges, size_at
from engine.schema import Rows


@kernel
def look(memory: Rows, bands: Ints, sizes: Ints, occupied: Ints, far: Ints, row: Rows, out: Rows) -> tuple[int, int]:
    """Fill one VIEW row and the sorted levels of the widest band; return how many bids and asks were written."""
    own = memory[0]
    view = row[0]
    view["bid"] = own["bid"]
    view["ask"] = own["ask"]
    view["known_low"] = own["known_low"]
    view["known_high"] = own["known_high"]
    view["bid_levels"] = own["bid_levels"]
    view["ask_levels"] = own["ask_levels"]
    if own["bid"] > 0:
        view["bid_size"] = size_at(memory, sizes, far, BID, own["bid"])
    if own["ask"] > 0:
        view["ask_size"] = size_at(memory, sizes, far, ASK, own["ask"])
    if own["bid"] == 0 or own["ask"] == 0:
        return 0, 0
    place_edges(memory, bands, sizes, occupied, far)
    widest = bands.shape[1] - 1
    for b in range(bands.shape[1]):
        view["bid_depth"][b] = bands[3, b]
        view["ask_depth"][b] = bands[4, b]
    bids = collect(memory, sizes, occupied, far, BID, bands[1, widest], out, NOTHING)
    asks = collect(memory, sizes, occupied, far, ASK, -bands[2, widest], out, bids)
    view["bids"] = bids
    view["asks"] = asks
    return bids, asks


@kernel
def collect(memory: Rows, sizes: Ints, occupied: Ints, far: Ints, side: int, bound: int, out: Rows, start: int) -> int:
    """Write one side's levels from the touch outward as far as a price, best first; return how many.

    Two sorted lists are merged: the window's cells and the levels beside it.
    """
    own = memory[0]
    outward = -1 if side == BID else 1
    touch = own["bid"] if side == BID else own["ask"]
    if touch == 0:
        return 0
    at = own["bid_far"] - 1 if side == BID else 0
    end = -1 if side == BID else own["ask_far"]
    written = start
    cell = first_cell(memory, sizes, occupied, side, touch)
    while cell >= 0 or at != end:
        dense = (cell + own["origin"]) * own["tick"]
        if cell < 0 or (at != end and (far[side, 0, at] - dense) * outward < 0):
            price, size = far[side, 0, at], far[side, 1, at]
            at += outward
        else:
            price, size = dense, sizes[side, cell]
            cell = cell_below(occupied, side, cell - 1) if side == BID else cell_above(occupied, side, cell + 1)
        if (price - bound) * outward > 0:
            break
        out[written]["price"] = price
        out[written]["size"] = size
        written += 1
    return written - start
