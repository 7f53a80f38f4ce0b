"""Correlation: two price paths in, how they move together out.

Hayashi and Yoshida (2005) need no common grid: each pair of moves counts whose intervals overlap,

    cov = sum over i, j of dX_i dY_j [(s_{i-1}, s_i] and (t_{j-1}, t_j] overlap],    rho = cov / sqrt(RV_X RV_Y)

It does not bear noise: use it on mids averaged over 200 ms or more. On a common grid, exponentially weighted sums do:
v becomes lambda v + (1 - lambda) x y.
"""

import math

import numpy as np
from numpy.typing import NDArray

from engine.kernel import kernel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@kernel
def overlap(times: Ints, prices: Floats, other_times: Ints, other_prices: Floats) -> float:
    """Return the covariance of two paths (log prices, say) by Hayashi and Yoshida; times ascend strictly."""
    total = 0.0
    first = 1
    for i in range(1, len(times)):
        move = prices[i] - prices[i - 1]
        while first < len(other_times) and other_times[first] <= times[i - 1]:
            first += 1
        j = first
        while j < len(other_times) and other_times[j - 1] < times[i]:
            total += move * (other_prices[j] - other_prices[j - 1])
            j += 1
    return total


@kernel
def realised(prices: Floats) -> float:
    """Return a path's realised variance: the sum of its squared moves."""
    total = 0.0
    for i in range(1, len(prices)):
        total += (prices[i] - prices[i - 1]) * (prices[i] - prices[i - 1])
    return total


@kernel
def correlate(cov: float, variance: float, other_variance: float) -> float:
    """Return a correlation, 0 where a path does not move; Hayashi and Yoshida's may leave -1 to 1 and is cut there."""
    if variance <= 0.0 or other_variance <= 0.0:
        return 0.0
    return min(max(cov / math.sqrt(variance) / math.sqrt(other_variance), -1.0), 1.0)


@kernel
def fade_sums(sums: Floats, keep: float, x: float, y: float) -> None:
    """Take one more pair of moves into the fading sums (xy, xx, yy)."""
    sums[0] = keep * sums[0] + (1.0 - keep) * x * y
    sums[1] = keep * sums[1] + (1.0 - keep) * x * x
    sums[2] = keep * sums[2] + (1.0 - keep) * y * y
