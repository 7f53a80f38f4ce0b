"""One instant of an instrument: its known book, its flow and its past in; what its records are made of, out.

Kernels of several parts are called as one here, for a call from Python takes as long as a hundred levels do.
"""

from engine.comparison import Floats, compare_depth, measure_present, relate
from engine.kernel import inner, kernel
from engine.ladder import ASK, BID, Ints, place_edges, size_at
from engine.pockets import measure_pockets
from engine.schema import Rows
from engine.sides import held
from engine.signals.depth import measure


@inner
def picture(memory: Rows, bands: Ints, sizes: Ints, occupied: Ints, far: Ints, out: Rows) -> bool:
    """Fill one VIEW row, but for its counts of levels inside the widest band; say whether both sides hold any."""
    own, view = memory[0], out[0]
    view["bid"], view["ask"] = own["bid"], own["ask"]
    view["known_low"], view["known_high"] = own["known_low"], own["known_high"]
    view["bid_levels"], view["ask_levels"] = own["bid_levels"], own["ask_levels"]
    view["bid_size"] = size_at(memory, sizes, far, BID, own["bid"]) if own["bid"] > 0 else 0
    view["ask_size"] = size_at(memory, sizes, far, ASK, own["ask"]) if own["ask"] > 0 else 0
    both = own["bid"] > 0 and own["ask"] > 0
    if both:
        place_edges(memory, bands, sizes, occupied, far)
    for b in range(bands.shape[1]):
        view["bid_depth"][b] = bands[3, b] if both else 0
        view["ask_depth"][b] = bands[4, b] if both else 0
    return bool(both)


@inner
def measure_depth(
    memory: Rows,
    bands: Ints,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    bids: Rows,
    asks: Rows,
    unit: Rows,
    notionals: Floats,
    pocket_band: int,
    pocket_share: float,
    view: Rows,
    own: Rows,
    out: Rows,
) -> None:
    """Fill what a DEPTH row says of the book, and note its pockets; `bids` and `asks` reach to the widest band or on.

    Of a book with one side no level counts, as no band has an edge.
    """
    both = picture(memory, bands, sizes, occupied, far, view)
    widest = bands[0, bands.shape[1] - 1]
    mid2 = memory[0]["bid"] + memory[0]["ask"]
    count = held(bids, BID, mid2, widest) if both else 0
    near_bids = bids[:count]
    count = held(asks, ASK, mid2, widest) if both else 0
    near_asks = asks[:count]
    view[0]["bids"], view[0]["asks"] = len(near_bids), len(near_asks)
    measure(view, near_bids, near_asks, unit, bands[0], notionals, out)
    measure_pockets(view, near_bids, near_asks, unit, pocket_band, pocket_share, out)
    row, noted = out[0], own[0]
    noted["pocket"][0], noted["pocket_why"][0] = row["bid_gap"], row["bid_gap_why"]
    noted["pocket"][1], noted["pocket_why"][1] = row["ask_gap"], row["ask_gap_why"]


@kernel
def compare(
    memory: Rows,
    bands: Ints,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    places: Ints,
    flow_memory: Rows,
    flow_settings: Rows,
    unit: Rows,
    baseline: Rows,
    narrow: int,
    wide: int,
    own: Rows,
    shock_at: int,
    mid: float,
    shock_why: int,
    present: Rows,
    inputs: Rows,
    scratch: Floats,
) -> None:
    """Fill what is measured of a known book and its flow (PRESENT), and the same relative to their past (INPUTS).

    `own` is what a track remembers, `shock_at` the place of the shock that counts in it; `scratch` holds two numbers.
    """
    told = own[0]
    scratch[0], scratch[1] = told["told"][0, shock_at] * mid, told["told"][1, shock_at] * mid
    pockets, pocket_whys = told["pocket"], told["pocket_why"]
    seen = flow_memory, flow_settings, unit
    measure_present(memory, bands, sizes, occupied, far, places, *seen, pockets, pocket_whys, present)
    relate(baseline, present, narrow, wide, *seen, scratch, shock_why, inputs)


@kernel
def tell_depth(
    memory: Rows,
    bands: Ints,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    places: Ints,
    flow_memory: Rows,
    flow_settings: Rows,
    unit: Rows,
    baseline: Rows,
    narrow: int,
    wide: int,
    own: Rows,
    shock_at: int,
    mid: float,
    shock_why: int,
    present: Rows,
    inputs: Rows,
    scratch: Floats,
    bids: Rows,
    asks: Rows,
    notionals: Floats,
    pocket_band: int,
    pocket_share: float,
    baseline_bands: Ints,
    references: Floats,
    view: Rows,
    out: Rows,
) -> None:
    """Fill one DEPTH row, and what `compare` does; arguments as there and in `measure_depth`, `compare_depth`."""
    book = memory, bands, sizes, occupied, far
    measure_depth(*book, bids, asks, unit, notionals, pocket_band, pocket_share, view, own, out)
    seen = flow_memory, flow_settings, unit, baseline
    compare(*book, places, *seen, narrow, wide, own, shock_at, mid, shock_why, present, inputs, scratch)
    compare_depth(baseline, present, baseline_bands, references, out[0]["mid"], out)
