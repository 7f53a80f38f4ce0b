"""The tail of net selling: TRADE rows in; how likely more than a given net market sale is within a horizon, out.

Time is cut into horizons aligned to their multiples since 1970. Of each one that was watched from end to end, and
directly follows another such, stays the greatest that net market sales (sales less purchases) had run to since its
start, the same of net purchases, its hour of the week, and the realised variance of the mid over the horizon *before*:
what was known when it began. An interval in which the stream was lost is no observation.

Above its 95 % quantile u a sample X is taken to be generalised Pareto (peaks over threshold: Pickands 1975):

    P(X > q) = share above u x (1 + xi (q - u) / sigma)^(-1 / xi)

with xi and sigma by probability-weighted moments of the n excesses x_1 <= ... <= x_n (Hosking and Wallis 1987):

    a0 = mean of x_j,   a1 = mean of x_j (n - j) / (n - 1)
    xi = 2 - a0 / (a0 - 2 a1),   sigma = 2 a0 a1 / (a0 - 2 a1)

and, where the fitted tail would end before the largest excess, xi = -sigma / x_n: what was seen must stay possible.
Below u, and where all excesses are alike, the sample speaks for itself: the share of it above q.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadConfig
from engine.fields import Why
from engine.kernel import allocating, inlined_entry, inner, kernel
from engine.money import QUANTO, amount_of, base_of
from engine.schema import Rows

Floats = NDArray[np.float64]

#: Observations that are kept.
RING: Final = 2_048
#: With fewer excesses than these there is no tail to fit.
FEWEST: Final = 8
SECOND: Final = 1_000_000_000
HOUR: Final = 3_600 * SECOND
WEEK: Final = 168
#: Below this |xi| the tail is exponential.
FLAT: Final = 1e-9
TOO_FEW_SAMPLES: Final = int(Why.TOO_FEW_SAMPLES)
#: Which observations a tail is of, as `pool` says it: none, all, those after an alike variance, of the same hour too.
POOLS: Final = ("none", "all", "volatility", "hour and volatility")

MEMORY: Final = np.dtype(
    [
        #: Number of the open horizon, row time // horizon; -1 before the first row.
        ("horizon", "<i8"),
        #: Whether the stream was there when it began.
        ("whole", "<i8"),
        #: Base units: net sales since it began, and the greatest that they, and that net purchases, have run to.
        ("net", "<f8"),
        ("worst", "<f8", (2,)),
        #: The last mid, 0 where there is none; sum of its squared relative changes in the open horizon.
        ("mid", "<f8"),
        ("variance", "<f8"),
        #: The same sum of the whole horizon before, -1 where there was none.
        ("before", "<f8"),
        #: Observations ever made; the newest stands at (count - 1) % RING.
        ("count", "<i8"),
        #: Greatest net sales and net purchases, base units; variance before; hour of the week, 0 to 167.
        ("worsts", "<f8", (2, RING)),
        ("befores", "<f8", (RING,)),
        ("hours", "<u1", (RING,)),
    ],
    align=True,
)

SETTINGS: Final = np.dtype(
    [
        ("horizon", "<i8"),
        #: Share of observations at or below the threshold.
        ("threshold", "<f8"),
        #: Observations that a tail needs.
        ("samples", "<i8"),
    ],
    align=True,
)

#: One tail; with it goes the sorted sample that `fit_tail` writes.
FIT: Final = np.dtype(
    [
        #: A Why, 0 where there is a tail.
        ("why", "<i8"),
        #: Index into POOLS.
        ("pool", "<i8"),
        #: Observations, and those above the threshold.
        ("count", "<i8"),
        ("above", "<i8"),
        #: u, sigma (0: the sample alone), xi.
        ("threshold", "<f8"),
        ("scale", "<f8"),
        ("shape", "<f8"),
    ],
    align=True,
)


def memory_of() -> Rows:
    """Give the memory of a stream of which nothing is known."""
    memory = np.zeros(1, MEMORY)
    restart_tail(memory)
    return memory


def settings_of(horizon: int = 60, threshold: float = 0.95, samples: int = 200) -> Rows:
    """Give the one SETTINGS row: seconds, a share, a count. Raises BadConfig where they allow no tail."""
    if horizon <= 0:
        raise BadConfig(f"horizon is {horizon}, allowed are seconds above 0")
    if not 0.5 <= threshold < 1:
        raise BadConfig(f"threshold is {threshold}, allowed are shares from 0.5 to below 1")
    if not FEWEST <= samples <= RING:
        raise BadConfig(f"samples is {samples}, allowed are {FEWEST} to {RING}")
    row = np.zeros(1, SETTINGS)
    row["horizon"], row["threshold"], row["samples"] = horizon * SECOND, threshold, samples
    return row


@kernel
def restart_tail(memory: Rows) -> None:
    """Forget the open horizon, because the stream was lost; observations stay."""
    own = memory[0]
    own["horizon"], own["whole"] = -1, 0
    own["before"], own["mid"] = -1.0, 0.0
    empty_horizon(memory)


@inner
def empty_horizon(memory: Rows) -> None:
    """Begin to sum anew."""
    own = memory[0]
    own["net"] = own["worst"][0] = own["worst"][1] = own["variance"] = 0.0


@inlined_entry
def take_trades(memory: Rows, settings: Rows, trades: Rows, unit: Rows, now: int) -> None:
    """Take TRADE rows; those of a quanto contract, which have no base units, and empty ones are passed over."""
    own = memory[0]
    roll(memory, settings, now)
    if unit[0]["contract"] == QUANTO:
        return
    for i in range(len(trades)):
        trade = trades[i]
        if trade["price"] <= 0 or trade["size"] <= 0 or trade["side"] == 0:
            continue
        base = base_of(amount_of(trade["price"], trade["size"], unit), unit)
        own["net"] += base if trade["side"] < 0 else -base
        own["worst"][0] = max(own["worst"][0], own["net"])
        own["worst"][1] = max(own["worst"][1], -own["net"])


@kernel
def close_tail(memory: Rows, settings: Rows, now: int, mid: float) -> None:
    """Take the mid as it was just before `now`, 0 where there is none; asked on a grid, before the row at `now`."""
    own = memory[0]
    if mid > 0.0 and own["mid"] > 0.0:
        change = (mid - own["mid"]) / own["mid"]
        own["variance"] += change * change
    own["mid"] = max(mid, 0.0)
    roll(memory, settings, now)


@inner
def roll(memory: Rows, settings: Rows, now: int) -> None:
    """Close the open horizon if row time has passed its end."""
    own = memory[0]
    length = settings[0]["horizon"]
    newest = now // length
    if newest == own["horizon"]:
        return
    followed = own["horizon"] >= 0 and newest == own["horizon"] + 1
    if followed and own["whole"]:
        if own["before"] >= 0.0:
            at = own["count"] % RING
            own["worsts"][0, at], own["worsts"][1, at] = own["worst"][0], own["worst"][1]
            own["befores"][at] = own["before"]
            own["hours"][at] = own["horizon"] * length // HOUR % WEEK
            own["count"] += 1
        own["before"] = own["variance"]
    else:
        own["before"] = -1.0
    own["horizon"], own["whole"] = newest, followed
    empty_horizon(memory)


@allocating
def fit_tail(memory: Rows, settings: Rows, side: int, sample: Floats, fit: Rows) -> None:
    """Fit the tail of net sales (side 0) or purchases (1) in the open horizon; `sample` needs room for RING.

    It is of the observations of the same hour of the week and the same third of variances, if there are enough; else
    of those of the same third, else of all.
    """
    own, fixed, found = memory[0], settings[0], fit[0]
    n = min(own["count"], RING)
    for i in range(n):
        sample[i] = own["befores"][i]
    sample[:n].sort()
    low, high = (sample[n // 3], sample[2 * n // 3]) if n > 0 else (0.0, 0.0)
    third = third_of(own["before"], low, high)
    hour = own["horizon"] * fixed["horizon"] // HOUR % WEEK
    found["pool"], found["count"], found["above"] = 0, n, 0
    found["threshold"] = found["scale"] = found["shape"] = 0.0
    found["why"] = TOO_FEW_SAMPLES
    for pool in range(3, 0, -1):
        if pool > 1 and own["before"] < 0.0:
            continue
        count = 0
        for i in range(n):
            alike = third_of(own["befores"][i], low, high) == third
            if pool == 1 or (alike and (pool == 2 or own["hours"][i] == hour)):
                sample[count] = own["worsts"][side, i]
                count += 1
        if count >= fixed["samples"]:
            found["pool"], found["count"] = pool, count
            sample[:count].sort()
            fit_sample(sample, fixed["threshold"], fit)
            return


@inner
def third_of(variance: float, low: float, high: float) -> int:
    """Return which third of variances one belongs to: 0, 1 or 2."""
    if variance < low:
        return 0
    return 1 if variance < high else 2


@kernel
def fit_sample(sample: Floats, threshold: float, fit: Rows) -> None:
    """Fit the first `count` of a sorted sample above its quantile `threshold`."""
    found = fit[0]
    count = found["count"]
    u = sample[max(math.ceil(threshold * count), 1) - 1]
    first = above(sample, count, u)
    n = count - first
    found["threshold"], found["above"] = u, n
    if n < FEWEST:
        found["why"] = TOO_FEW_SAMPLES
        return
    found["why"] = 0
    a0, a1 = 0.0, 0.0
    for j in range(n):
        excess = sample[first + j] - u
        a0 += excess / n
        a1 += excess / n * (n - 1 - j) / (n - 1)
    spread, largest = a0 - 2.0 * a1, sample[count - 1] - u
    if spread <= 1e-12 * a0:
        return
    found["scale"] = 2.0 * a0 * a1 / spread
    found["shape"] = max(2.0 - a0 / spread, -found["scale"] / largest)


@inner
def above(sample: Floats, count: int, q: float) -> int:
    """Return the first place in a sorted sample whose value is above q."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if sample[middle] > q:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def exceedance(fit: Rows, sample: Floats, q: float) -> float:
    """Return the probability of more than q base units within the horizon; only of a fit whose `why` is 0."""
    found = fit[0]
    excess = q - found["threshold"]
    if excess < 0.0 or found["scale"] <= 0.0:
        return float((found["count"] - above(sample, found["count"], q)) / found["count"])
    share = found["above"] / found["count"]
    if excess * 1e-200 > found["scale"]:
        return 0.0
    step = excess / found["scale"]
    if abs(found["shape"]) < FLAT:
        return float(share * math.exp(-step))
    if found["shape"] * step <= -1.0:
        return 0.0
    return float(share * math.exp(-math.log1p(found["shape"] * step) / found["shape"]))
