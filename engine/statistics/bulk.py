"""Bulk classification: a bar's volume and price change in, the part taken for bought out; only to compare with.

The part is volume x Phi(change / sigma), Phi the normal distribution (Easley, Lopez de Prado, O'Hara 2012). Venues here
give the aggressor's side of every trade, so nothing guesses it: signals never call this.
"""

import math


def bulk_bought(volume: float, change: float, sigma: float) -> float:
    """Give the volume taken for bought, `sigma` the standard deviation of changes, above 0."""
    return volume * 0.5 * math.erfc(-change / sigma / math.sqrt(2.0))
