"""Chance: a seed in, numbers that look drawn out; the same seed gives the same numbers on every machine.

The i-th number mixes the bits of seed + i x golden ratio (Steele, Lea, Flood 2014, `splitmix64`): it depends on nothing
but the seed and i, so nothing is remembered between calls, and no library's change of generator changes a result.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
SECOND: Final = np.uint64(0x94D049BB133111EB)
#: The 53 bits of a float's fraction.
UNIT: Final = 2.0**-53
SEEDS: Final = 1 << 64


def words(seed: int, count: int) -> NDArray[np.uint64]:
    """Give `count` words of 64 even bits."""
    mixed = np.arange(1, count + 1, dtype=np.uint64) * GOLDEN + np.array([seed % SEEDS], np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * SECOND
    return mixed ^ (mixed >> np.uint64(31))


def uniform(seed: int, count: int) -> NDArray[np.float64]:
    """Give `count` numbers spread evenly over [0, 1)."""
    return (words(seed, count) >> np.uint64(11)).astype(np.float64) * UNIT
