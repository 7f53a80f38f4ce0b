"""Money: an instrument's integer sizes and a price in, base and quote units out.

Of a spot or linear contract, base = size x contract size and quote = price x base. Of an inverse one,
quote = size x contract size and base = quote / price. A quanto contract is worth neither without a third currency's
rate: callers withhold its amounts.
"""

from typing import Final

import numpy as np

from engine.instrument import Instrument
from engine.kernel import inner
from engine.schema import CONTRACT_SIZE_DECIMALS, Contract, Rows

INVERSE: Final = int(Contract.INVERSE)
QUANTO: Final = int(Contract.QUANTO)

#: What turns an instrument's integers into money.
UNIT: Final = np.dtype(
    [
        #: 10 ^ decimals.
        ("price", "<f8"),
        ("size", "<f8"),
        #: Base units (linear) or quote units (inverse) per unit of size.
        ("contract_size", "<f8"),
        #: Contract.
        ("contract", "<i8"),
    ],
    align=True,
)


def unit_of(instrument: Instrument) -> Rows:
    """Give the one UNIT row of an instrument."""
    row = np.zeros(1, UNIT)
    row["price"] = 10.0**instrument.price_decimals
    row["size"] = 10.0**instrument.size_decimals
    row["contract_size"] = instrument.contract_size / 10.0**CONTRACT_SIZE_DECIMALS
    row["contract"] = int(instrument.contract)
    return row


@inner
def amount_of(price: int, size: int, unit: Rows) -> float:
    """Return a level's base amount, in units that `base_of` turns into base units."""
    return float(size / price) if unit[0]["contract"] == INVERSE else float(size)


@inner
def worth_of(price: int, size: int, unit: Rows) -> float:
    """Return what a level is worth, in units that `quote_of` turns into quote units."""
    return float(size) if unit[0]["contract"] == INVERSE else float(price) * float(size)


@inner
def base_of(amount: float, unit: Rows) -> float:
    """Turn a sum of amounts into base units."""
    money = unit[0]
    whole = amount * money["price"] if money["contract"] == INVERSE else amount
    return float(whole / money["size"] * money["contract_size"])


@inner
def quote_of(worth: float, unit: Rows) -> float:
    """Turn a sum of worths into quote units."""
    money = unit[0]
    whole = worth if money["contract"] == INVERSE else worth / money["price"]
    return float(whole / money["size"] * money["contract_size"])


@inner
def worth_in(quote: float, unit: Rows) -> float:
    """Turn quote units into the units of a worth."""
    money = unit[0]
    whole = quote / money["contract_size"] * money["size"]
    return float(whole if money["contract"] == INVERSE else whole * money["price"])
