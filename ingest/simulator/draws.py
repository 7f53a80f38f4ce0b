"""Random numbers by their position: a seed, a stream and a counter in, integers and variates out; no state.

Philox2x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"). Every mechanism of the
market has a stream of its own and counts its draws itself, so two branches of one market meet the same draws there
whatever else differs between them. All of it is int64 arithmetic that wraps alike in a kernel and in plain Python.
"""

import math
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.kernel import kernel

_LOW: Final = 0xFFFFFFFF
_MULTIPLIER: Final = 0xD256D193
_WEYL: Final = 0x9E3779B9
_ROUNDS: Final = 10
_SCALE: Final = 1.0 / (1 << 32)


class Stream(IntEnum):
    """The mechanisms that draw; each has its own counter."""

    #: Candidate limit orders and cancellations.
    FLOW = 0
    #: Candidate market orders.
    MARKET = 1
    #: The fundamental price.
    FUNDAMENTAL = 2
    #: Sizes that makers quote.
    QUOTES = 3
    #: Delays of re-entry.
    RETURN = 4
    #: Voluntary sales of named positions.
    NAMED = 5
    #: Cancellation of orders that the market has left behind.
    STALE = 6
    #: Entries, leverages, sizes of the margin population.
    POPULATION = 7
    #: Prices before the market begins.
    PAST = 8
    #: Activity of the flow, and how thick the book is next to the touch.
    ACTIVITY = 9


@kernel
def draw(seed: int, stream: int, counter: int) -> tuple[int, int]:
    """Return two independent integers of 32 bits."""
    # A number of a row is bound to 64 bits outside a kernel too, where it would warn of its wrap.
    place, key = int(counter), int(seed) & _LOW
    low, high = place & _LOW, ((place >> 32) << 8 | stream) & _LOW
    for _ in range(_ROUNDS):
        product = low * _MULTIPLIER
        low, high = ((product >> 32) & _LOW) ^ key ^ high, product & _LOW
        key = (key + _WEYL) & _LOW
    return low, high


@kernel
def unit(bits: int) -> float:
    """Return 32 bits as a number inside (0, 1)."""
    return (bits + 0.5) * _SCALE


@kernel
def waiting(bits: int, rate: float) -> float:
    """Return an exponential variate of a rate."""
    return -math.log((bits + 0.5) * _SCALE) / rate


@kernel
def normal(first: int, second: int) -> float:
    """Return a standard normal variate (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log((first + 0.5) * _SCALE))
    return radius * math.cos(2.0 * math.pi * ((second + 0.5) * _SCALE))


@kernel
def fill(seed: int, stream: int, begin: int, out: NDArray[np.float64]) -> None:
    """Fill `out` with numbers inside (0, 1), by the counters from `begin` on."""
    for i in range(len(out)):
        first, _ = draw(seed, stream, begin + i)
        out[i] = unit(first)
