"""Margin: entry, leverage and a venue's maintenance brackets in; the price at which a position is liquidated out.

A position is liquidated where what is left of its margin is what the venue demands of it, mmr x notional - amount, and
it is bankrupt where nothing is left. With side +1 of a long, -1 of a short, and entry p:

    isolated, linear     p (1 - side / leverage) / (1 - side mmr)             bankrupt at p (1 - side / leverage)
    isolated, inverse    p (1 + side mmr) / (1 + side / leverage)             bankrupt at p / (1 + side / leverage)
    from a wallet        (wallet + amount - quantity p) / (|quantity| (mmr - side)),  quantity below 0 of a short
    from free margin     price - side available / size / (1 - l side),  l = 1 / maintenance leverage

The second line follows from the first condition with profit in the base currency, quantity (1 / p - 1 / x): an inverse
long is a linear short of the price's reciprocal. The last two are the forms that venues publish; all agree where they
speak of the same position. Such a price may not exist (a long without leverage): 0 says so. An amount that a bracket
forgives is given as `relief`, its share of the notional at entry, and widens the distance like margin does.
"""

import numpy as np
from numpy.typing import NDArray

from engine.config import EngineConfig
from engine.errors import BadConfig


def isolated(price: float, leverage: float, mmr: float, side: int, relief: float = 0.0) -> float:
    """Give the liquidation price of an isolated position in a linear contract, 0 where there is none."""
    return max(price * (1.0 - side * (1.0 / leverage + relief)) / (1.0 - side * mmr), 0.0)


def isolated_inverse(price: float, leverage: float, mmr: float, side: int, relief: float = 0.0) -> float:
    """Give the liquidation price of an isolated position in an inverse contract, 0 where there is none."""
    divisor = 1.0 + side * (1.0 / leverage + relief)
    return price * (1.0 + side * mmr) / divisor if divisor > 0.0 else 0.0


def bankruptcy(price: float, leverage: float, side: int) -> float:
    """Give the price at which the margin of an isolated position in a linear contract is used up, 0 where none is."""
    return max(price * (1.0 - side / leverage), 0.0)


def bankruptcy_inverse(price: float, leverage: float, side: int) -> float:
    """Give the price at which the margin of an isolated position in an inverse contract is used up, 0 where none is."""
    divisor = 1.0 + side / leverage
    return price / divisor if divisor > 0.0 else 0.0


def from_wallet(wallet: float, amount: float, quantity: float, entry: float, mmr: float) -> float:
    """Give the liquidation price of a position that a wallet stands for, 0 where there is none.

    `quantity` in base units, below 0 of a short and never 0; `wallet` and `amount` (the bracket's) in quote units.
    """
    side = 1.0 if quantity > 0.0 else -1.0
    return max((wallet + amount - quantity * entry) / (abs(quantity) * (mmr - side)), 0.0)


def from_margin(price: float, side: int, available: float, size: float, maintenance_leverage: float) -> float:
    """Give the liquidation price by the margin held beyond maintenance at `price`, 0 where there is none.

    `available` in quote units, `size` in base units and above 0; 1 / `maintenance_leverage` is the maintenance rate.
    """
    return max(price - side * available / size / (1.0 - side / maintenance_leverage), 0.0)


def brackets_of(config: EngineConfig, venue: str) -> NDArray[np.float64]:
    """Give a venue's brackets, one row each: notional from which on, rate, amount. Without any, one of the map's rate.

    Raises BadConfig where they do not ascend from 0 in notional, or fall in rate.
    """
    known = [bracket for bracket in config.knowledge.brackets if bracket.venue == venue]
    if not known:
        return np.array([[0.0, config.map.maintenance, 0.0]])
    notionals = [bracket.notional for bracket in known]
    if notionals[0] != 0.0 or notionals != sorted(set(notionals)):
        raise BadConfig(
            f"brackets of {venue} begin at {notionals}, allowed are ascending notionals, the first of them 0"
        )
    rates = [bracket.rate for bracket in known]
    if rates != sorted(rates):
        raise BadConfig(f"brackets of {venue} have rates {rates}, allowed are rates that do not fall")
    return np.array([[bracket.notional, bracket.rate, bracket.amount] for bracket in known])


def bracket_of(brackets: NDArray[np.float64], notional: float) -> tuple[float, float]:
    """Give the rate and the amount that hold for a position of this notional, quote units."""
    at = max(int(np.searchsorted(brackets[:, 0], notional, side="right")) - 1, 0)
    return float(brackets[at, 1]), float(brackets[at, 2])


def maintenance_of(brackets: NDArray[np.float64], notional: float, leverage: float) -> tuple[float, float]:
    """Give rate and relief of a typical position at a leverage; rate 0 where the venue does not allow that leverage.

    A position that would open liquidated in the bracket of its notional is taken to be as small as it must be, for that
    is why venues have brackets: it stands at the end of the highest bracket in which it can be opened.
    """
    last = max(int(np.searchsorted(brackets[:, 0], notional, side="right")) - 1, 0)
    for at in range(last, -1, -1):
        size = notional if at == last else float(brackets[at + 1, 0])
        rate, relief = float(brackets[at, 1]), float(brackets[at, 2]) / size
        if (rate - relief) * leverage < 1.0:
            return rate, relief
    return 0.0, 0.0
