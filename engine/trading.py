"""Trading: TRADE rows and the mid before and after them in; volumes, spreads, toxicity and branching out.

With D the aggressor's sign, p the price, m the mid as of the last sound book before the trade and m' the mid at the end
of the h-th cell after the trade's own (Huang and Stoll 1996), each in basis points, weighted by volume:

    effective = 2 D (p - m) / m        realised = 2 D (p - m') / m        impact = 2 D (m' - m) / m

so effective = realised + impact. Sums of v, v D (p - m) / m, v D / m and v D per cell are enough: no trade is kept.

Toxicity of signed flow is the mean of |bought - sold| / bucket over equal buckets of volume (Easley, Lopez de Prado,
O'Hara 2012), the signs being the tape's own. It predicts little beyond volume and volatility (Andersen, Bondarenko
2014): a baseline to beat.

Branching is n = 1 - sqrt(mean / variance) of the trades per second (Hardiman, Bouchaud 2014), 0 where they vary less
than a Poisson process. A rate that changes by itself gives n > 0 too (Filimonov, Sornette 2015). So the same is
computed for a Poisson process whose rate is the 30 s moving mean, in closed form: its counts vary by the mean plus the
variance of the rate. What is told is the difference.
"""

import math
from typing import Any, Final, cast

import numpy as np

from engine.fields import Field, Why
from engine.imbalance import RING, mid2_of
from engine.kernel import inner, kernel
from engine.money import QUANTO, amount_of, base_of, worth_in, worth_of
from engine.schema import Rows

#: Sums of a cell: trades; amounts bought and sold; and of the trades that had a mid v, v D (p - m) / m, v D / m, v D.
TRADES: Final = cast(int, np.int64(0))
BOUGHT: Final = cast(int, np.int64(1))
SOLD: Final = cast(int, np.int64(2))
WEIGHT: Final = cast(int, np.int64(3))
EDGE: Final = cast(int, np.int64(4))
PULL: Final = cast(int, np.int64(5))
SIGNED: Final = cast(int, np.int64(6))
SUMS: Final = 7

SECOND: Final = 1_000_000_000
#: Seconds whose trades are counted, and those of the moving mean.
SECONDS: Final = 300
SMOOTH: Final = 30
#: Volume buckets at most.
BUCKETS: Final = 256
#: A bucket counts as full when less than this share of it is left: rounding of the running sum, not a trade.
FULL: Final = 1e-12
#: Half spreads in shares to whole ones in basis points.
BPS: Final = 20_000.0

TOO_EARLY: Final = int(Why.TOO_EARLY)
ONE_SIDED: Final = int(Why.ONE_SIDED)
NO_TRADES: Final = int(Why.NO_TRADES)
THIRD_CURRENCY: Final = int(Why.QUANTO)

#: This part of the flow memory.
FIELDS: Final[list[Any]] = [
    #: Sums of the open cell and of the closed ones; best bid + best ask at the end of each closed one, 0 without a mid.
    ("sums_open", "<f8", (SUMS,)),
    ("sums_ring", "<f8", (RING, SUMS)),
    ("mid2_ring", "<i8", (RING,)),
    #: The open second, its trades, those of the closed ones, and how many whole ones were closed (-1: not even a part).
    ("second", "<i8"),
    ("second_trades", "<i8"),
    ("seconds_ring", "<i8", (SECONDS,)),
    ("seconds_filled", "<i8"),
    #: The open bucket, in the units of a worth, |bought - sold| of the full ones, and how many were filled.
    ("bucket_bought", "<f8"),
    ("bucket_sold", "<f8"),
    ("bucket_gaps", "<f8", (BUCKETS,)),
    ("buckets_filled", "<i8"),
]


@inner
def restart_trading(memory: Rows) -> None:
    """Begin anew. Volume buckets go on: they know no book and no clock."""
    own = memory[0]
    for column in range(SUMS):
        own["sums_open"][column] = 0.0
    own["second"] = 0
    own["second_trades"] = 0
    own["seconds_filled"] = -1


@inner
def count_trade(memory: Rows, price: int, size: int, sign: int, unit: Rows) -> None:
    """Add one trade to the open cell and second."""
    own, mid2 = memory[0], mid2_of(memory)
    amount = amount_of(price, size, unit)
    sums = own["sums_open"]
    own["second_trades"] += 1
    sums[TRADES] += 1.0
    sums[BOUGHT if sign > 0 else SOLD] += amount
    if mid2 > 0:
        sums[WEIGHT] += amount
        sums[EDGE] += amount * sign * ((2.0 * price - mid2) / mid2)
        sums[PULL] += amount * sign / mid2
        sums[SIGNED] += amount * sign


@inner
def fill_buckets(memory: Rows, settings: Rows, price: int, size: int, sign: int, unit: Rows) -> None:
    """Pour one trade into the volume buckets: what one cannot hold goes into the next."""
    own, rule = memory[0], settings[0]
    if unit[0]["contract"] == QUANTO:
        return
    bucket = worth_in(rule["bucket"], unit)
    left = worth_of(price, size, unit)
    if left > (BUCKETS + 1) * bucket:
        # More buckets than are kept would all be alike.
        left = left % bucket + BUCKETS * bucket
    while left > 0.0:
        room = bucket - own["bucket_bought"] - own["bucket_sold"]
        poured = min(left, room)
        if sign > 0:
            own["bucket_bought"] += poured
        else:
            own["bucket_sold"] += poured
        left -= poured
        if room - poured <= FULL * bucket:
            own["bucket_gaps"][own["buckets_filled"] % BUCKETS] = abs(own["bucket_bought"] - own["bucket_sold"])
            own["bucket_bought"] = own["bucket_sold"] = 0.0
            own["buckets_filled"] += 1


@kernel
def roll_seconds(memory: Rows, now: int) -> None:
    """Close the seconds that ended; of a long silence no more than fit."""
    own, second = memory[0], now // SECOND
    if own["second"] == 0:
        own["second"] = second
    if second <= own["second"]:
        return
    own["seconds_ring"][own["second"] % SECONDS] = own["second_trades"]
    own["second_trades"] = 0
    for quiet in range(max(own["second"] + 1, second - SECONDS), second):
        own["seconds_ring"][quiet % SECONDS] = 0
    own["seconds_filled"] += second - own["second"]
    own["second"] = second


@inner
def close_trading(memory: Rows, at: int) -> None:
    """Close the open cell into the rings at `at`."""
    own = memory[0]
    for column in range(SUMS):
        own["sums_ring"][at, column] = own["sums_open"][column]
        own["sums_open"][column] = 0.0
    own["mid2_ring"][at] = mid2_of(memory)


@inner
def traded(memory: Rows, column: int, at: int, cells: int) -> float:
    """Return one sum over the last so many closed cells, the newest at `at`."""
    total = 0.0
    for back in range(cells - 1, -1, -1):
        total += memory[0]["sums_ring"][(at - back) % RING, column]
    return total


@inner
def effective_of(memory: Rows, at: int, cells: int) -> tuple[float, int]:
    """Return the effective spread of the last so many cells (bps), and why not."""
    if memory[0]["filled"] < cells:
        return 0.0, TOO_EARLY
    weight = traded(memory, WEIGHT, at, cells)
    return (BPS * traded(memory, EDGE, at, cells) / weight, 0) if weight > 0.0 else (0.0, NO_TRADES)


@inner
def spreads_of(memory: Rows, at: int, cells: int, later: int) -> tuple[float, float, int]:
    """Return effective spread and impact (bps) of as many cells, `later` cells ago, and why not."""
    own = memory[0]
    if own["filled"] < cells + later:
        return 0.0, 0.0, TOO_EARLY
    weight, edge, moved = 0.0, 0.0, 0.0
    for back in range(cells - 1, -1, -1):
        sums, after = own["sums_ring"][(at - back - later) % RING], own["mid2_ring"][(at - back) % RING]
        if after > 0:
            weight += sums[WEIGHT]
            edge += sums[EDGE]
            moved += sums[PULL] * after - sums[SIGNED]
    return (BPS * edge / weight, BPS * moved / weight, 0) if weight > 0.0 else (0.0, 0.0, NO_TRADES)


@inner
def variance_of(memory: Rows, at: int, cells: int) -> tuple[float, int]:
    """Return the sum of the squared changes of the mid from cell to cell (bps^2), and why not."""
    own, mids = memory[0], memory[0]["mid2_ring"]
    if own["filled"] < cells:
        return 0.0, TOO_EARLY
    total = 0.0
    for back in range(cells - 1, -1, -1):
        before, after = mids[(at - back - 1) % RING], mids[(at - back) % RING]
        if before == 0 or after == 0:
            return 0.0, ONE_SIDED
        change = 10_000.0 * (after - before) / before
        total += change * change
    return total, 0


@inner
def toxicity_of(memory: Rows, settings: Rows, unit: Rows) -> tuple[float, int]:
    """Return the mean of |bought - sold| / bucket over the full buckets, and why not."""
    own, rule = memory[0], settings[0]
    if unit[0]["contract"] == QUANTO:
        return 0.0, THIRD_CURRENCY
    if own["buckets_filled"] < rule["buckets"]:
        return 0.0, TOO_EARLY
    total = 0.0
    for back in range(rule["buckets"]):
        total += own["bucket_gaps"][(own["buckets_filled"] - 1 - back) % BUCKETS]
    return total / (rule["buckets"] * worth_in(rule["bucket"], unit)), 0


@kernel
def excess(mean: float, variance: float) -> float:
    """Return 1 - sqrt(mean / variance), 0 where counts vary no more than a Poisson process."""
    return 1.0 - math.sqrt(mean / variance) if variance > mean else 0.0


@kernel
def branching_of(memory: Rows) -> tuple[float, float, int]:
    """Return the branching ratio of the last 300 whole seconds, that of the surrogate, and why not."""
    own = memory[0]
    if own["seconds_filled"] < SECONDS:
        return 0.0, 0.0, TOO_EARLY
    counts, total = own["seconds_ring"], 0
    for i in range(SECONDS):
        total += counts[i]
    if total == 0:
        return 0.0, 0.0, NO_TRADES
    mean, square, level, level_square, near = float(total) / SECONDS, 0.0, 0.0, 0.0, 0
    means = SECONDS - SMOOTH + 1
    for i in range(SECONDS):
        # The oldest second stands where the open one will.
        count = counts[(own["second"] + i) % SECONDS]
        square += (count - mean) * (count - mean)
        near += count
        if i >= SMOOTH:
            near -= counts[(own["second"] + i - SMOOTH) % SECONDS]
        if i >= SMOOTH - 1:
            rate = float(near) / SMOOTH - mean
            level += rate
            level_square += rate * rate
    smooth = max(level_square - level * level / means, 0.0) / (means - 1)
    return excess(mean, square / (SECONDS - 1)), excess(mean, mean + smooth), 0


@inner
def report_trading(memory: Rows, settings: Rows, unit: Rows, at: int, out: Rows) -> None:
    """Fill the trading of one FLOW row; the newest closed cell stands at `at` of the rings."""
    row, rule = out[0], settings[0]
    worst = 0
    no_base = THIRD_CURRENCY if unit[0]["contract"] == QUANTO else 0
    for w in range(rule["window_count"]):
        cells = rule["windows"][w]
        early = 0 if memory[0]["filled"] >= cells else TOO_EARLY
        why = early if early > 0 else no_base
        row["trades"][w] = int(traded(memory, TRADES, at, cells)) if early == 0 else 0
        row["trades_why"][w], row["volume_why"][w] = early, why
        row["buy_base"][w] = base_of(traded(memory, BOUGHT, at, cells), unit) if why == 0 else 0.0
        row["sell_base"][w] = base_of(traded(memory, SOLD, at, cells), unit) if why == 0 else 0.0
        effective, effective_why = effective_of(memory, at, cells)
        variance, variance_why = variance_of(memory, at, cells)
        row["effective_bps"][w], row["effective_why"][w] = effective, effective_why
        row["variance"][w], row["variance_why"][w] = variance, variance_why
        worst = max(worst, max(why, max(effective_why, variance_why)))
    longest = rule["windows"][rule["window_count"] - 1]
    for h in range(rule["horizon_count"]):
        before, impact, why = spreads_of(memory, at, longest, rule["horizons"][h])
        row["horizon_effective_bps"][h], row["impact_bps"][h] = before, impact
        row["realised_bps"][h] = before - impact
        row["realised_why"][h] = why
        worst = max(worst, why)
    toxicity, toxicity_why = toxicity_of(memory, settings, unit)
    row["toxicity"], row["toxicity_why"] = toxicity, toxicity_why
    raw, surrogate, why = branching_of(memory)
    row["branching"], row["branching_raw"], row["branching_surrogate"] = raw - surrogate, raw, surrogate
    row["branching_why"] = why
    if max(worst, max(toxicity_why, why)) > 0:
        row["undefined"] = 1


#: This part of the flow record's fields.
SIGNAL_FIELDS: Final = (
    Field("trades", "integer", "trades", "Trades in the window.", over="windows", why="trades_why"),
    Field("buy_base", "number", "base units", "What buyers took in the window.", over="windows", why="volume_why"),
    Field("sell_base", "number", "base units", "What sellers took in it.", over="windows", why="volume_why"),
    Field(
        "effective_bps",
        "number",
        "bps",
        "2 x 10^4 D (p - m) / m of the window's trades, by volume: what takers paid around the mid, both ways.",
        over="windows",
        why="effective_why",
    ),
    Field(
        "variance",
        "number",
        "bps^2",
        "Realised variance: sum of the squared changes of the mid from cell to cell.",
        over="windows",
        why="variance_why",
    ),
    Field(
        "horizon_effective_bps",
        "number",
        "bps",
        "Effective spread of the trades whose horizon has passed, over as long as the longest window.",
        over="horizons",
        why="realised_why",
    ),
    Field(
        "realised_bps",
        "number",
        "bps",
        "What of it the other side kept, against the mid a horizon later.",
        over="horizons",
        why="realised_why",
    ),
    Field(
        "impact_bps",
        "number",
        "bps",
        "What of it the mid's move took: effective = realised + impact.",
        over="horizons",
        why="realised_why",
    ),
    Field(
        "toxicity",
        "number",
        "0 to 1",
        "Mean of |bought - sold| / bucket over the last volume buckets; a baseline to beat, no forecast.",
        why="toxicity_why",
    ),
    Field(
        "branching",
        "number",
        "-1 to 1",
        "branching_raw - branching_surrogate: what a changing rate of trades does not explain.",
        why="branching_why",
    ),
    Field("branching_raw", "number", "0 to 1", "1 - sqrt(mean / variance) of trades per second.", why="branching_why"),
    Field(
        "branching_surrogate",
        "number",
        "0 to 1",
        "The same of a Poisson process whose rate is the 30 s moving mean.",
        why="branching_why",
    ),
)
