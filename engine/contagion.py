"""Contagion: books of several assets and accounts that hold several of them in; where a sale of one ends in all out.

An account is liquidated when any of its collaterals trades at or below that collateral's trigger, and then sells in all
of its assets. With pi_a the price at which asset a's book has taken Q_a,

    Q_a = Q0_a + sum of what the fired accounts sell in a,      an account fires if pi_a(Q_a) <= its trigger in some a

is monotone on a product of orders, so iterating from Q0 gives the least solution (Tarski 1955), in at most as many
rounds as there are accounts, plus one. This is the channel by which a collateral marked to its own thin book, a pegged
asset say, drags others down.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.kernel import inner, kernel

Floats = NDArray[np.float64]
#: Trigger of an asset that an account does not hold: no price falls below it.
NO_TRIGGER: Final = -1.0


@inner
def price_after(prices: Floats, sizes: Floats, begin: int, end: int, sold: float) -> float:
    """Return the level at which a sale ends, the best one for a sale of 0, and 0 where the book does not hold it."""
    depth = 0.0
    for i in range(begin, end):
        depth += sizes[i]
        if depth >= sold:
            return float(prices[i])
    return 0.0


@kernel
def spread_out(
    prices: Floats,
    sizes: Floats,
    starts: NDArray[np.int64],
    triggers: Floats,
    sells: Floats,
    sold: Floats,
    ends: Floats,
    fired: NDArray[np.uint8],
) -> int:
    """Find the least fixpoint; return the rounds it took.

    `prices` and `sizes` hold the assets' bids one after another, asset a from starts[a] to starts[a + 1], descending.
    `triggers` and `sells` are accounts x assets. `sold` comes in as the shocks and leaves as Q; `ends` gets the prices,
    0 where a book was sold out, which fires every trigger in it; `fired` gets 1 per account that was liquidated.
    """
    accounts, assets = triggers.shape
    fired[:] = 0
    rounds = 0
    while True:
        rounds += 1
        for a in range(assets):
            ends[a] = price_after(prices, sizes, starts[a], starts[a + 1], sold[a])
        more = False
        for c in range(accounts):
            hit = False
            for a in range(assets):
                if triggers[c, a] >= 0.0 and ends[a] <= triggers[c, a]:
                    hit = True
            if hit and fired[c] == 0:
                fired[c], more = 1, True
                for a in range(assets):
                    sold[a] += sells[c, a]
        if not more:
            return rounds
