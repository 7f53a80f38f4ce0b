"""Flow: changes of one book and its trades in, one FLOW row per cell of a grid in row time out.

Cells are `cell` ms long and begin at multiples of it since 1970. What happens in one is summed, and closed into rings
of 256 cells when row time passes its end; every window is a whole number of closed cells. The cell in which a book
becomes known is no whole one: windows reach back to its end at most, so no value mixes two books, and until they are
full they are undefined. The parts stand in `engine.resilience`, `shock`, `trading`, `imbalance` and `impact`.

The order of calls for one instrument: `close` before a message whose row time lies at or after `cell_ends` is taken;
`before` a DELTA is applied and `after` it was; `trade` for TRADE rows; `restart` when the book is lost or replaced, and
`after` once more when it is replaced.
"""

import math
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from engine import imbalance, impact, resilience, shock, trading
from engine.config import EngineConfig
from engine.errors import BadConfig
from engine.fields import Field, Layout, Signal, Why
from engine.imbalance import LEVELS, RING, close_imbalance, report_imbalance, restart_imbalance, update_imbalance
from engine.impact import close_impact, fade_impact, report_impact, weighty
from engine.kernel import inlined_entry, inner, kernel
from engine.ladder import ASK, BID, Ints
from engine.resilience import (
    NEAR,
    ZONE_BPS,
    close_resilience,
    count_changes,
    count_execution,
    measure_zones,
    moved,
    near_sums,
    place_zones,
    refill_of,
    report_resilience,
    restart_resilience,
    withdrawal_of,
)
from engine.schema import Rows
from engine.shock import close_shock, report_shock, restart_shock
from engine.topics import SIGNAL_FLOW
from engine.trading import (
    TRADES,
    branching_of,
    close_trading,
    count_trade,
    fill_buckets,
    report_trading,
    restart_trading,
    roll_seconds,
    traded,
    variance_of,
)

#: Windows, and horizons, at most.
MOST: Final = 8
TOUCH: Final = cast(int, np.int64(0))
LAST: Final = cast(int, np.int64(1))
TOO_EARLY: Final = int(Why.TOO_EARLY)
NO_DEPTH: Final = int(Why.NO_DEPTH)
NO_FLOW: Final = int(Why.NO_FLOW)
ONE_SIDED: Final = int(Why.ONE_SIDED)

Floats = NDArray[np.float64]

MEMORY: Final = np.dtype(
    [
        #: Whether the book is known.
        ("live", "<i8"),
        #: Number of the open cell, row time // cell, and the row time of its end; 0 before the first message.
        ("cell", "<i8"),
        ("cell_ends", "<i8"),
        #: Cells closed since the book is known, without the one in which it became so; -1 until that one is closed.
        ("filled", "<i8"),
        *resilience.FIELDS,
        *shock.FIELDS,
        *trading.FIELDS,
        *imbalance.FIELDS,
        *impact.FIELDS,
    ],
    align=True,
)

SETTINGS: Final = np.dtype(
    [
        ("cell_ns", "<i8"),
        #: All lengths in cells.
        ("windows", "<i8", (MOST,)),
        ("window_count", "<i8"),
        ("horizons", "<i8", (MOST,)),
        ("horizon_count", "<i8"),
        ("refill_cells", "<i8"),
        ("impact_cells", "<i8"),
        ("training_cells", "<i8"),
        #: What an interval of the impact regression still weighs after the next one.
        ("forgetting", "<f8"),
        ("shock", "<f8"),
        ("shock_cells", "<i8"),
        ("recovery_cells", "<i8"),
        #: Quote units, and how many.
        ("bucket", "<f8"),
        ("buckets", "<i8"),
    ],
    align=True,
)


def memory_of(config: EngineConfig) -> Rows:
    """Give the memory of an instrument of which nothing is known; its size is that of every configuration."""
    settings_of(config)
    memory = np.zeros(1, MEMORY)
    restart(memory)
    return memory


def settings_of(config: EngineConfig) -> Rows:
    """Give the one SETTINGS row. Raises BadConfig where the rings cannot hold what a window asks for."""
    flow = config.flow
    reach = max(flow.windows[-1] + flow.horizons[-1], flow.refill, flow.impact, flow.shock_window) // flow.cell
    if reach >= RING:
        raise BadConfig(
            f"windows, horizons, refill, impact and shock_window reach {reach} cells of {flow.cell} ms back, allowed "
            f"are {RING - 1} (the longest window and the longest horizon count together)"
        )
    row = np.zeros(1, SETTINGS)
    row["cell_ns"] = flow.cell * 1_000_000
    for name, lengths in (("window", flow.windows), ("horizon", flow.horizons)):
        if len(lengths) > MOST:
            raise BadConfig(f"{name}s are {lengths}, allowed are at most {MOST}")
        row[f"{name}s"][0, : len(lengths)] = np.array(lengths, np.int64) // flow.cell
        row[f"{name}_count"] = len(lengths)
    row["refill_cells"] = flow.refill // flow.cell
    row["impact_cells"] = flow.impact // flow.cell
    row["training_cells"] = max(flow.training * 1_000 // flow.cell, 1)
    row["forgetting"] = math.exp(-flow.impact / 1_000 / flow.impact_memory)
    row["shock"] = flow.shock
    row["shock_cells"] = flow.shock_window // flow.cell
    row["recovery_cells"] = flow.recovery // flow.cell
    row["bucket"], row["buckets"] = flow.bucket, flow.buckets
    return row


def layout(config: EngineConfig) -> Layout:
    """Give the FLOW row's layout for a number of windows and horizons."""
    flow = config.flow
    sizes = {"windows": len(flow.windows), "horizons": len(flow.horizons), "zones": len(ZONE_BPS), "levels": LEVELS}
    return Layout(SIGNAL.fields, sizes)


@kernel
def restart(memory: Rows) -> None:
    """Forget the book, because it is lost or another takes its place."""
    own = memory[0]
    own["live"] = 0
    own["filled"] = -1
    restart_imbalance(memory)
    restart_resilience(memory)
    restart_shock(memory)
    restart_trading(memory)


@inlined_entry
def before(
    memory: Rows,
    settings: Rows,
    book_memory: Rows,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    levels: Rows,
    bids: int,
) -> None:
    """Take a DELTA that is about to be applied to the book."""
    if memory[0]["live"]:
        count_changes(memory, book_memory, sizes, far, levels, bids)


@kernel
def after(memory: Rows, settings: Rows, book_memory: Rows, sizes: Ints, occupied: Ints, far: Ints, now: int) -> None:
    """Take the book as a message has left it; after a restart it is known from here on."""
    own = memory[0]
    begin(memory, settings, now)
    if own["live"] == 0:
        own["live"] = 1
        roll_seconds(memory, now)
    update_imbalance(memory, book_memory, sizes, occupied, far)
    place_zones(memory)


@inlined_entry
def trade(memory: Rows, settings: Rows, trades: Rows, unit: Rows, now: int) -> None:
    """Take TRADE rows; without a known book they only fill the volume buckets."""
    live = memory[0]["live"] > 0
    begin(memory, settings, now)
    if live:
        roll_seconds(memory, now)
    for i in range(len(trades)):
        price, size, side = trades[i]["price"], trades[i]["size"], int(trades[i]["side"])
        fill_buckets(memory, settings, price, size, side, unit)
        if live:
            count_trade(memory, price, size, side, unit)
            count_execution(memory, price, size, side)


@inner
def begin(memory: Rows, settings: Rows, now: int) -> None:
    """Open the first cell of all."""
    own, cell_ns = memory[0], settings[0]["cell_ns"]
    if own["cell_ends"] == 0:
        own["cell"] = now // cell_ns
        own["cell_ends"] = (own["cell"] + 1) * cell_ns


@kernel
def close(
    memory: Rows,
    settings: Rows,
    book_memory: Rows,
    sizes: Ints,
    occupied: Ints,
    far: Ints,
    unit: Rows,
    now: int,
) -> None:
    """Close every cell that ended at or before a row time, the book being what it was all along since the last call.

    Of a silence longer than the rings only as much is closed as they hold; what fades with time fades by all of it.
    """
    own, cell_ns = memory[0], settings[0]["cell_ns"]
    begin(memory, settings, now)
    if now < own["cell_ends"]:
        return
    if own["live"]:
        roll_seconds(memory, now)
    measure_zones(memory, book_memory, sizes, occupied, far)
    close_cell(memory, settings)
    skipped = max(now // cell_ns - RING - own["cell"], 0)
    fade_impact(memory, settings, skipped // settings[0]["impact_cells"])
    own["cell"] += skipped
    while own["cell"] < now // cell_ns:
        close_cell(memory, settings)
    own["cell_ends"] = (own["cell"] + 1) * cell_ns


@inner
def close_cell(memory: Rows, settings: Rows) -> None:
    """Close the open cell, each part its own, and open the next."""
    own, at = memory[0], memory[0]["ring_at"]
    if own["live"]:
        own["filled"] += 1
    close_resilience(memory, at)
    close_shock(memory, settings, at, own["depth_after"][BID, NEAR], own["depth_after"][ASK, NEAR])
    close_trading(memory, at)
    close_imbalance(memory, settings, at)
    close_impact(memory, settings)
    own["ring_at"] = (at + 1) % RING
    own["ring_count"] += 1
    own["cell"] += 1


@inner
def newest(memory: Rows) -> int:
    """Return where the newest closed cell stands in the rings."""
    return int((memory[0]["ring_at"] - 1) % RING)


@kernel
def report(memory: Rows, settings: Rows, unit: Rows, out: Rows) -> None:
    """Fill one FLOW row as of the end of the last closed cell."""
    own, rule, row = memory[0], settings[0], out[0]
    at = newest(memory)
    row["until"] = own["cell"] * rule["cell_ns"]
    row["undefined"] = 0
    for w in range(rule["window_count"]):
        row["windows"][w] = rule["windows"][w] * rule["cell_ns"] // 1_000_000
    for h in range(rule["horizon_count"]):
        row["horizons"][h] = rule["horizons"][h] * rule["cell_ns"] // 1_000_000
    report_resilience(memory, settings, unit, at, out)
    report_shock(memory, settings, at, out)
    report_trading(memory, settings, unit, at, out)
    report_imbalance(memory, settings, unit, at, out)
    report_impact(memory, settings, unit, out)


@kernel
def tell(memory: Rows, settings: Rows, unit: Rows, inputs: Rows) -> None:
    """Fill what the vacuum's state machine and probability read of flow: five of the INPUTS, as of the last cell."""
    own, rule, told = memory[0], settings[0], inputs[0]
    at = newest(memory)
    raw, surrogate, branching_why = branching_of(memory)
    phantom, phantom_why = phantom_of(memory, settings)
    early = own["imbalance_cells"] < rule["windows"][0]
    flow = imbalance.sum_imbalance(memory, at, rule["windows"][0], TOUCH)
    for side in (BID, ASK):
        told["refill"][side], told["refill_why"][side] = refill_of(memory, settings, side, NEAR, at)
        told["withdrawal"][side], told["withdrawal_why"][side] = withdrawal_of(memory, side, NEAR, at)
        depth = own["depth_after"][side, NEAR]
        why = TOO_EARLY if early else ONE_SIDED if depth < 0 else NO_DEPTH if depth == 0 else 0
        against = -flow if side == BID else flow
        told["imbalance"][side] = against / float(depth) if why == 0 else 0.0
        told["imbalance_why"][side] = why
        told["phantom"][side], told["phantom_why"][side] = phantom, phantom_why
        told["branching"][side], told["branching_why"][side] = raw - surrogate, branching_why


@inner
def added_of(memory: Rows, settings: Rows, side: int) -> float:
    """Return what was added within 10 bps over the refill window, size units."""
    added, _, _ = moved(memory, side, NEAR, newest(memory), settings[0]["refill_cells"])
    return added


@inner
def phantom_of(memory: Rows, settings: Rows) -> tuple[float, int]:
    """Return the phantom-depth index, and why not."""
    own = memory[0]
    if not weighty(memory, settings):
        return 0.0, TOO_EARLY
    if own["impact_flow2"] <= 0.0:
        return 0.0, NO_FLOW
    return own["impact_cross"] / own["impact_flow2"] * 2.0 * own["impact_depth"], 0


@kernel
def sums(memory: Rows, settings: Rows, unit: Rows, out: Floats) -> int:
    """Fill 2 x 4 sums within 10 bps over the refill window, in quote units, and return why not: 0 where they stand.

    Per side: depth when the window began, and what was added, cancelled and executed in it.
    """
    return near_sums(memory, unit, newest(memory), settings[0]["refill_cells"], out)


@kernel
def last_sums(memory: Rows, settings: Rows, unit: Rows, out: Floats) -> int:
    """Fill the same sums of the last closed cell."""
    return near_sums(memory, unit, newest(memory), LAST, out)


@kernel
def pace(memory: Rows, settings: Rows) -> tuple[float, float, int]:
    """Return trades per second and realised variance (bps^2) over the longest window, and why not."""
    rule, at = settings[0], newest(memory)
    cells = rule["windows"][rule["window_count"] - 1]
    variance, why = variance_of(memory, at, cells)
    if why > 0:
        return 0.0, 0.0, why
    return traded(memory, TRADES, at, cells) / (cells * (rule["cell_ns"] / 1e9)), variance, 0


SIGNAL: Final = Signal(
    name="flow",
    topic=SIGNAL_FLOW,
    meaning="What was added to, cancelled from and taken out of one book, and what that does to its price.",
    needs_book=True,
    fields=(
        Field("until", "integer", "ns", "Row time of the end of the last closed cell: all windows end there."),
        Field("windows", "integer", "ms", "Lengths of the windows, ascending.", over="windows"),
        Field("horizons", "integer", "ms", "Times after a trade, counted from its cell's end.", over="horizons"),
        Field("zones", "integer", "bps", "Widths of the zones around the mid; 0 is the touch.", over="zones"),
        *resilience.SIGNAL_FIELDS,
        *shock.SIGNAL_FIELDS,
        *trading.SIGNAL_FIELDS,
        *imbalance.SIGNAL_FIELDS,
        *impact.SIGNAL_FIELDS,
    ),
)
