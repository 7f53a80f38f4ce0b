"""The weights of a liquidation map: predicted and printed liquidations in; a posterior, its mean and its draws out.

How many liquidations of typical size there are when price crosses levels is taken as Poisson with mean sum of g_k E_k:
E_k is what would have been crossed had all positions leverage class k (the unit map), g_k the class's share of
positions. A gamma prior of each g_k, shape strength x w_k and rate strength, is conjugate: after N printed,

    shape_k += N r_k,   rate_k += E_k,   r_k = g_k E_k / sum of g_j E_j        (N is shared out by responsibility)

and the weights of the map are the g_k over their sum. Before any evidence these are a Dirichlet(strength x w) vector,
the mean w: the prior, which is an assumption. (Gamma-Poisson conjugacy and the Dirichlet as normalised gammas of one
rate: Gelman et al., Bayesian Data Analysis, 3rd ed., 2.6 and 3.4.)

Shared out once, prints that several classes could explain would stay with whoever was believed at the time. So the last
64 lessons are kept and shared out anew with every further one (the E and M steps of Dempster, Laird, Rubin 1977). Draws
know how few prints there were, not how unsure their sharing is: where classes are always crossed together, they are
narrower than they should be.

Prints of a feed that samples are a lower bound. N then counts as max(N, expected): silence is no evidence against a
class, and a lesson in which no more was printed than was expected is none. Only the share of open interest that the map
covers is asked to explain what is printed, for the rest is of positions that the map does not hold; and no more counts
than if all positions were of the class crossed most, for no leverage explains the rest. A feed that has never printed
teaches nothing.

Draws are counters in, bits out: no state, the same index gives the same draw. The bits are two rounds of a 32-bit
multiply-xorshift hash (constants: C. Wellons, hash-prospector, 2018-2022), normals are Box-Muller's, gammas
Marsaglia and Tsang's (ACM Transactions on Mathematical Software 26, 2000).
"""

import math
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from engine.kernel import inner, kernel
from engine.liquidation_grid import CLASSES, held
from engine.schema import Rows

Floats = NDArray[np.float64]

#: What a liquidation feed is, as far as it has shown: silent so far, whole, or a sample.
SILENT: Final = 0
WHOLE: Final = 1
SAMPLED: Final = 2
#: Lessons that are kept, one per side, and how often each further one shares them out anew.
KEPT: Final = 64
ROUNDS: Final = 32
#: The generator's one seed, and the constants of its hash; typed, see `engine.ladder`.
SEED: Final = cast(int, np.int64(20_251_010))
WORD: Final = cast(int, np.int64(0xFFFF_FFFF))
HALF: Final = cast(int, np.int64(0xFFFF))
FIRST: Final = cast(int, np.int64(0x21F0_AAAD))
SECOND: Final = cast(int, np.int64(0xD35A_2D97))

#: This part of a map's memory.
FIELDS: Final[list[Any]] = [
    #: When the first liquidation came that no lesson was drawn from yet, crossed or printed, ns; 0: none.
    ("since", "<i8"),
    #: Printed since then, longs and shorts: units of the contract, and quote units.
    ("printed", "<f8", (2,)),
    ("printed_worth", "<f8", (2,)),
    #: SILENT, WHOLE or SAMPLED; it never goes back.
    ("feed", "<i8"),
    #: What evidence has added to each class's gamma shape and rate, in liquidations of typical size.
    ("shape", "<f8", (CLASSES,)),
    ("rate", "<f8", (CLASSES,)),
    #: The part of that shape that is of lessons no longer kept.
    ("settled", "<f8", (CLASSES,)),
    #: Lessons kept: E by class, N, whether N is a lower bound, and scratch; how many were kept in all.
    ("kept_crossed", "<f8", (KEPT, CLASSES)),
    ("kept_printed", "<f8", (KEPT,)),
    ("kept_bound", "<i8", (KEPT,)),
    ("kept_share", "<f8", (KEPT,)),
    ("kept", "<i8"),
    #: Sums over all lessons, longs and shorts, quote units: crossed by the map; printed, the map's share of it.
    ("predicted", "<f8", (2,)),
    ("realised", "<f8", (2,)),
    #: Sum of |predicted - realised| of each lesson and side; how many lessons there were.
    ("missed", "<f8"),
    ("lessons", "<i8"),
    #: 1 - missed / (predicted + realised): 1 where each move did what the map said, 0 where nothing met.
    ("score", "<f8"),
]


@inner
def rate_of(memory: Rows, settings: Rows, k: int) -> float:
    """Return the posterior mean of one class's g."""
    own, fixed = memory[0], settings[0]
    return float((fixed["strength"] * fixed["prior"][k] + own["shape"][k]) / (fixed["strength"] + own["rate"][k]))


@inner
def sum_of_rates(memory: Rows, settings: Rows) -> float:
    """Return the sum of the posterior means; above 0, for some class has a prior."""
    total = 0.0
    for k in range(CLASSES):
        total += rate_of(memory, settings, k)
    return total


@kernel
def weights(memory: Rows, settings: Rows, out: Floats) -> None:
    """Write the mean weight of each leverage class, 8 of them, 1 in sum; classes that the venue lacks weigh 0."""
    total = sum_of_rates(memory, settings)
    for k in range(CLASSES):
        out[k] = rate_of(memory, settings, k) / total


@kernel
def draw(memory: Rows, settings: Rows, index: int, out: Floats) -> None:
    """Write the weights of the posterior's draw number `index`, from 0 on, 8 of them, 1 in sum."""
    own, fixed, total = memory[0], settings[0], 0.0
    for k in range(CLASSES):
        shape = fixed["strength"] * fixed["prior"][k] + own["shape"][k]
        out[k] = gamma(shape, index, k) / (fixed["strength"] + own["rate"][k])
        total += out[k]
    if total <= 0.0:
        # Every class below the smallest float: so vague a prior has no draws, only a mean.
        weights(memory, settings, out)
        return
    for k in range(CLASSES):
        out[k] /= total


@inner
def mapped(memory: Rows, settings: Rows, s: int) -> float:
    """Return how much the map holds on one side, units of the contract."""
    total = 0.0
    for k in range(settings[0]["classes"]):
        total += rate_of(memory, settings, k) * held(memory, k, s)
    return total / sum_of_rates(memory, settings)


@inner
def learn(memory: Rows, settings: Rows, price: float) -> None:
    """Draw the lesson of all that was crossed and printed since the last one."""
    own, fixed = memory[0], settings[0]
    if own["feed"] != SILENT and price > 0.0:
        typical = fixed["position"] if own["inverse"] else fixed["position"] / price
        for s in range(2):
            judge(memory, settings, s)
            update(memory, settings, s, typical)
        own["score"] = score_of(memory)
        own["lessons"] += 1
        own["version"] += 1
    own["since"] = 0
    for s in range(2):
        own["printed"][s] = 0.0
        own["printed_worth"][s] = 0.0
        for k in range(CLASSES):
            own["pending"][k, s] = 0.0
            own["pending_worth"][k, s] = 0.0


@inner
def share_of(memory: Rows, settings: Rows, s: int) -> float:
    """Return the share of one side's open interest that the map holds, or held until it was crossed just now."""
    own, crossed = memory[0], 0.0
    for k in range(CLASSES):
        crossed += rate_of(memory, settings, k) * own["pending"][k, s]
    total = mapped(memory, settings, s) + crossed / sum_of_rates(memory, settings)
    return float(min(total / own["open_interest"], 1.0)) if own["open_interest"] > 0.0 else 0.0


@inner
def judge(memory: Rows, settings: Rows, s: int) -> None:
    """Add one side of a lesson to the map's score."""
    own, predicted = memory[0], 0.0
    for k in range(CLASSES):
        predicted += rate_of(memory, settings, k) * own["pending_worth"][k, s]
    predicted /= sum_of_rates(memory, settings)
    realised = share_of(memory, settings, s) * own["printed_worth"][s]
    own["predicted"][s] += predicted
    own["realised"][s] += realised
    own["missed"] += abs(predicted - realised)


@inner
def update(memory: Rows, settings: Rows, s: int, typical: float) -> None:
    """Move the posterior by one side's crossings and prints; without a crossing there is no evidence."""
    own, expected, most = memory[0], 0.0, 0.0
    for k in range(CLASSES):
        # Not by the weights but by what they are scaled from: this is the Poisson mean.
        expected += rate_of(memory, settings, k) * own["pending"][k, s]
        most = max(most, own["pending"][k, s])
    printed = min(share_of(memory, settings, s) * own["printed"][s], most)
    if expected <= 0.0 or (own["feed"] != WHOLE and printed <= expected):
        return
    at = own["kept"] % KEPT
    if own["kept"] >= KEPT:
        explained = explained_by(memory, settings, at)
        for k in range(CLASSES):
            own["settled"][k] += rate_of(memory, settings, k) * own["kept_crossed"][at, k] * explained
    own["kept"] += 1
    own["kept_printed"][at] = printed / typical
    own["kept_bound"][at] = own["feed"] != WHOLE
    for k in range(CLASSES):
        own["kept_crossed"][at, k] = own["pending"][k, s] / typical
        own["shape"][k] += rate_of(memory, settings, k) * own["pending"][k, s] * printed / expected / typical
        own["rate"][k] += own["pending"][k, s] / typical
    for _ in range(ROUNDS):
        share_out(memory, settings)


@inner
def share_out(memory: Rows, settings: Rows) -> None:
    """Share out the prints of every lesson kept by what is believed now, and believe what follows."""
    own = memory[0]
    count = min(own["kept"], KEPT)
    for at in range(count):
        own["kept_share"][at] = explained_by(memory, settings, at)
    for k in range(settings[0]["classes"]):
        part = 0.0
        for at in range(count):
            part += own["kept_crossed"][at, k] * own["kept_share"][at]
        own["shape"][k] = own["settled"][k] + rate_of(memory, settings, k) * part


@inner
def explained_by(memory: Rows, settings: Rows, at: int) -> float:
    """Return what counts as printed in a lesson kept / what was expected by what is believed now."""
    own, expected = memory[0], 0.0
    for k in range(settings[0]["classes"]):
        expected += rate_of(memory, settings, k) * own["kept_crossed"][at, k]
    if expected <= 0.0:
        return 0.0
    share = own["kept_printed"][at] / expected
    return float(max(share, 1.0)) if own["kept_bound"][at] else float(share)


@inner
def score_of(memory: Rows) -> float:
    """Return how far each move did what the map said, 0 to 1; 0 where nothing was said or done."""
    own = memory[0]
    total = own["predicted"][0] + own["predicted"][1] + own["realised"][0] + own["realised"][1]
    return max(1.0 - own["missed"] / total, 0.0) if total > 0.0 else 0.0


@kernel
def gamma(shape: float, index: int, stream: int) -> float:
    """Return a gamma variate of rate 1, 0 where the shape is 0."""
    if shape <= 0.0:
        return 0.0
    d = (shape if shape >= 1.0 else shape + 1.0) - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    found, at = 0.0, 0
    while found <= 0.0:
        z = normal(index, stream, at)
        v = (1.0 + c * z) ** 3
        if v > 0.0 and math.log(uniform(index, stream, at + 2)) < 0.5 * z * z + d - d * v + d * math.log(v):
            found = d * v
        at += 3
    if shape < 1.0:
        found *= math.exp(math.log(uniform(index, stream, at)) / shape)
    return found


@kernel
def normal(index: int, stream: int, at: int) -> float:
    """Return a standard normal variate; it uses the counters `at` and `at + 1`."""
    radius = math.sqrt(-2.0 * math.log(uniform(index, stream, at)))
    return radius * math.cos(2.0 * math.pi * uniform(index, stream, at + 1))


@kernel
def uniform(index: int, stream: int, at: int) -> float:
    """Return a number between 0 and 1, never either, of 52 bits."""
    key = mix(mix(index + SEED) + stream)
    high = mix(mix(key + 2 * at) ^ key)
    low = mix(mix(key + 2 * at + 1) ^ key)
    return float(((high >> 6) * 67_108_864.0 + (low >> 6) + 0.5) / 4_503_599_627_370_496.0)


@inner
def mix(word: int) -> int:
    """Return 32 bits that depend on all 32 of `word`, one to one."""
    word &= WORD
    word = times(word ^ (word >> 16), FIRST)
    word = times(word ^ (word >> 15), SECOND)
    return word ^ (word >> 15)


@inner
def times(word: int, factor: int) -> int:
    """Return the product modulo 2^32, by halves: no step needs more than 63 bits, compiled or not."""
    return ((((word * (factor >> 16)) & HALF) << 16) + word * (factor & HALF)) & WORD
