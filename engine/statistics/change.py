"""Change: a series in; when its level fell, how long the present regime lasts, and which moves were jumps out.

CUSUM (Page 1954) adds up what falls short: S becomes max(0, S - z - k), an alarm is S >= h.

Run lengths (Adams, MacKay 2007): r points belong to the present regime, their mean drawn from a normal prior, noise
known. With pi_r the density of x by the mean of the last r points and H the hazard,

    P(r + 1) ~ P(r) pi_r (1 - H),        P(0) ~ sum over r of P(r) pi_r H

r counts points, this one included; r = 0 says that a change happened at this point, which is scored under the old run.
So P(0) = H always: alarm on the mass of short runs, or on a fall of the likeliest.

Jumps (Lee, Mykland 2008): L = return / sigma with sigma^2 the mean of |r_j| |r_{j-1}| before it. With c = sqrt(2 / pi),
the largest |L| among n returns without a jump is C_n + S_n x Gumbel:

    C_n = sqrt(2 ln n) / c - (ln pi + ln ln n) / (2 c sqrt(2 ln n)),       S_n = 1 / (c sqrt(2 ln n))
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.kernel import inner, kernel

Floats = NDArray[np.float64]
ROOT: Final = math.sqrt(2.0 / math.pi)


@kernel
def shortfall(before: float, z: float, slack: float) -> float:
    """Return CUSUM's sum after one more standardised value."""
    return max(0.0, before - z - slack)


@kernel
def forget_runs(runs: Floats) -> None:
    """Begin without a point: row 0 of `runs` holds P(r), row 1 the mean of the last r points."""
    for r in range(runs.shape[1]):
        runs[0, r] = 1.0 if r == 0 else 0.0
        runs[1, r] = 0.0


@kernel
def follow_runs(runs: Floats, x: float, hazard: float, noise: float, mean: float, variance: float) -> None:
    """Take one more point; `noise` is its variance, `mean` and `variance` are the prior's, all variances above 0.

    `runs` is 2 x room. The last column stands for all runs at least so long; its mean forgets as if it were as short.
    """
    room = runs.shape[1]
    best = -math.inf
    for r in range(room):
        if runs[0, r] > 0.0:
            score = score_run(runs[1, r], r, x, noise, mean, variance) + math.log(runs[0, r])
            runs[0, r] = score
            best = max(best, score)
        else:
            runs[0, r] = -math.inf
    total = 0.0
    for r in range(room):
        runs[0, r] = math.exp(runs[0, r] - best)
        total += runs[0, r]
    last, old = room - 1, runs[1, room - 1]
    pooled = runs[0, last] + runs[0, last - 1]
    share = runs[0, last] / pooled if pooled > 0.0 else 0.0
    runs[0, last] = 0.0
    for r in range(last, 0, -1):
        runs[1, r] = runs[1, r - 1] + (x - runs[1, r - 1]) / r
        runs[0, r] = runs[0, r - 1] / total * (1.0 - hazard)
    runs[1, last] += share * (old + (x - old) / last - runs[1, last])
    runs[0, last] = pooled / total * (1.0 - hazard)
    runs[0, 0] = hazard


@inner
def score_run(centre: float, r: int, x: float, noise: float, mean: float, variance: float) -> float:
    """Return ln of the density of x by a run of r points whose mean is `centre`."""
    precision = 1.0 / variance + r / noise
    expected = (mean / variance + centre * (r / noise)) / precision
    spread = noise + 1.0 / precision
    return -0.5 * (math.log(2.0 * math.pi * spread) + (x - expected) * (x - expected) / spread)


@kernel
def recent(runs: Floats, within: int) -> float:
    """Return the probability that the present run holds no more than so many points."""
    total = 0.0
    for r in range(min(within + 1, runs.shape[1])):
        total += runs[0, r]
    return total


@kernel
def likeliest(runs: Floats) -> int:
    """Return the likeliest run length, the shortest of equals."""
    at = 0
    for r in range(1, runs.shape[1]):
        if runs[0, r] > runs[0, at]:
            at = r
    return at


@kernel
def bipower(returns: Floats) -> float:
    """Return the mean of |r_j| |r_{j-1}|, a variance that a jump hardly moves; 0 where there are not two returns."""
    total = 0.0
    for i in range(1, len(returns)):
        total += abs(returns[i]) * abs(returns[i - 1])
    return total / (len(returns) - 1) if len(returns) > 1 else 0.0


@kernel
def jump(value: float, returns: Floats) -> float:
    """Return L of one more return after those given, 0 where they do not move."""
    variance = bipower(returns)
    return value / math.sqrt(variance) if variance > 0.0 else 0.0


def jump_constants(count: int) -> tuple[float, float]:
    """Give C_n and S_n of `count` returns, from 3 on."""
    root = math.sqrt(2.0 * math.log(count))
    return root / ROOT - (math.log(math.pi) + math.log(math.log(count))) / (2.0 * ROOT * root), 1.0 / (ROOT * root)


def jump_quantile(confidence: float = 0.99) -> float:
    """Give the Gumbel distribution's quantile."""
    return -math.log(-math.log(confidence))


def jump_bound(count: int, confidence: float = 0.99) -> float:
    """Give the |L| that the largest of `count` returns without a jump stays below with this probability."""
    centre, spread = jump_constants(count)
    return centre + spread * jump_quantile(confidence)
