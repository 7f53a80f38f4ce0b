"""Hawkes: event times in; how strongly events call for events, and the same of a process where they do not, out.

Each event raises the rate of others by alpha, which fades at beta per second (Hawkes 1971):

    rate(t) = mu + alpha A(t),    A just after an event = A just before + 1,    A fades by exp(-beta elapsed)
    ln L = sum of ln rate(t_i) - mu T - (alpha / beta) sum of (1 - exp(-beta (T - t_i)))           (Ozaki 1979)

n = alpha / beta events follow from one; of the rate mu / (1 - n) the share n is endogenous. Without a kernel to believe
in, counts say n = 1 - sqrt(mean / variance) in windows much longer than 1 / beta (Hardiman, Bouchaud 2014).

Both call a rate that changes by itself endogenous: a Poisson process that alternates between 1/s and 5/s gives n = 0.94
(Filimonov, Sornette 2015). So n means nothing beside that of a surrogate, the same events, each moved by chance within
a width: of Poisson events the moved ones are again Poisson, of a rate averaged over the width, while excitation faster
than the width is gone. Signals count trades alone and know their surrogate in closed form: `engine.trading`.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.kernel import kernel
from engine.statistics.chance import uniform
from engine.trading import excess

Floats = NDArray[np.float64]
#: Steps per decade of beta in the first search, and how near ln beta is sought afterwards.
PER_DECADE: Final = 4
NEAR: Final = 1e-6
GOLDEN: Final = (math.sqrt(5.0) - 1.0) / 2.0
#: Bisections at most; each but the last few is a Newton step.
STEPS: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Hawkes:
    """A fitted process: rates per unit of time, and how likely the events are by it and by a Poisson process."""

    mu: float
    alpha: float
    beta: float
    likelihood: float
    poisson: float

    @property
    def branching(self) -> float:
        """Events that follow from one."""
        return branching(self.alpha, self.beta)


def branching(alpha: float, beta: float) -> float:
    """Give the events that follow from one: the integral of what it adds to the rate."""
    return alpha / beta


def stationary_rate(mu: float, alpha: float, beta: float) -> float:
    """Give the mean rate; infinite where each event calls for one or more."""
    n = branching(alpha, beta)
    return mu / (1.0 - n) if n < 1.0 else math.inf


@kernel
def excitations(times: Floats, beta: float, out: Floats) -> float:
    """Write A just before each event, times ascending; return A just after the last, 0 where there is none."""
    excitation = 0.0
    for i in range(len(times)):
        if i > 0:
            excitation *= math.exp(-beta * (times[i] - times[i - 1]))
        out[i] = excitation
        excitation += 1.0
    return excitation


def rate_at(times: Floats, horizon: float, mu: float, alpha: float, beta: float) -> float:
    """Give the rate at `horizon`, at or after the last event."""
    excitation = excitations(times, beta, np.empty(len(times)))
    return mu + alpha * excitation * math.exp(-beta * (horizon - times[-1])) if len(times) else mu


def log_likelihood(times: Floats, horizon: float, mu: float, alpha: float, beta: float) -> float:
    """Give ln L of the events of [0, horizon]."""
    before = np.empty(len(times))
    excitations(times, beta, before)
    called = alpha * reach(times, horizon, beta)
    return float(np.sum(np.log(mu + alpha * before)) - mu * horizon - called)


def reach(times: Floats, horizon: float, beta: float) -> float:
    """Give the integral of A over [0, horizon]."""
    return float(np.sum(-np.expm1(-beta * (horizon - times)))) / beta


def fit(times: Floats, horizon: float) -> Hawkes:
    """Find the process that makes the events of [0, horizon] likeliest.

    Times ascend strictly, in (0, horizon], at least two of them. For a given beta the rest is one concave search: at
    the optimum mu T + alpha (integral of A) is the number of events, so only the endogenous share of it is free. beta
    is sought between 10 / horizon and 100 times the events' mean rate, on a grid and then by golden section.
    """
    low, high = math.log(10.0 / horizon), math.log(max(100.0 * len(times) / horizon, 20.0 / horizon))
    count = max(math.ceil((high - low) / math.log(10.0) * PER_DECADE), 2)
    grid = [low + (high - low) * i / count for i in range(count + 1)]
    found = [best_share(times, horizon, math.exp(each))[0] for each in grid]
    at = found.index(max(found))
    left, right = grid[max(at - 1, 0)], grid[min(at + 1, count)]
    one, other = right - GOLDEN * (right - left), left + GOLDEN * (right - left)
    of_one, of_other = (best_share(times, horizon, math.exp(each))[0] for each in (one, other))
    while right - left > NEAR:
        if of_one >= of_other:
            right, other, of_other = other, one, of_one
            one = right - GOLDEN * (right - left)
            of_one = best_share(times, horizon, math.exp(one))[0]
        else:
            left, one, of_one = one, other, of_other
            other = left + GOLDEN * (right - left)
            of_other = best_share(times, horizon, math.exp(other))[0]
    return fit_at(times, horizon, math.exp(0.5 * (left + right)))


def fit_at(times: Floats, horizon: float, beta: float) -> Hawkes:
    """Find the likeliest process that forgets at beta: of a surrogate, the one to compare with that of the events.

    Left free, beta would slow down until it explains the surrogate's own slow waves.
    """
    likelihood, share = best_share(times, horizon, beta)
    return Hawkes(
        mu=(1.0 - share) * len(times) / horizon,
        alpha=share * len(times) / reach(times, horizon, beta),
        beta=beta,
        likelihood=likelihood,
        poisson=len(times) * (math.log(len(times) / horizon) - 1.0),
    )


def best_share(times: Floats, horizon: float, beta: float) -> tuple[float, float]:
    """Give ln L and the endogenous share that make the events likeliest for a given beta."""
    before = np.empty(len(times))
    excitations(times, beta, before)
    base, called = 1.0 / horizon, before / reach(times, horizon, beta)
    gain = called - base
    low, high = 0.0, 1.0
    share = 0.5 if float(np.sum(gain)) > 0.0 else 0.0
    for _ in range(STEPS if share else 0):
        pull = gain / (base + share * gain)
        slope = float(np.sum(pull))
        low, high = (share, high) if slope > 0.0 else (low, share)
        step = share + slope / float(np.sum(pull * pull))
        moved = step if low < step < high else 0.5 * (low + high)
        if abs(moved - share) <= 1e-13:
            break
        share = moved
    rates = len(times) * (base + share * gain)
    return float(np.sum(np.log(rates))) - len(times), share


def count(times: Floats, horizon: float, width: float) -> NDArray[np.int64]:
    """Give the events of each whole window of `width` from 0 on."""
    windows = int(horizon // width)
    inside = times[times < windows * width]
    return np.bincount((inside // width).astype(np.int64), minlength=windows)[:windows].astype(np.int64)


def endogeneity(counts: NDArray[np.int64]) -> float:
    """Give n = 1 - sqrt(mean / variance) of two or more counts, 0 where they vary less than a Poisson process."""
    return float(excess(float(np.mean(counts)), float(np.var(counts, ddof=1))))


def displace(times: Floats, horizon: float, width: float, seed: int) -> Floats:
    """Give the surrogate: each event moved within `width`, evenly by chance, turned back at the ends of [0, horizon].

    `width` is no longer than the horizon.
    """
    moved = np.abs(times + width * (uniform(seed, len(times)) - 0.5))
    return np.sort(np.where(moved > horizon, 2.0 * horizon - moved, moved))
