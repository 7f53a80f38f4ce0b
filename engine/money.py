"""Money: an instrument's integer sizes and a price in, base and quote units out.

Of a spot or linear contract, base = size x contract size and quote = price x base. Of an inverse one,
quote = size x contract size and base = quote / price. A quanto contract is worth neither without a third currency's
rate: callers withhold its amounts.
"""

from typing import Final

import numpy as np

from engine.instrument import Instrument
from engine.kernel import kernel
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


@kernel
def base_of(price: float, size: int, unit: Rows) -> float:
    """Turn a size resting at a price into base units."""
    amount = size / unit[0]["size"] * unit[0]["contract_size"]
    return float(amount / price if unit[0]["contract"] == INVERSE else amount)


@kernel
def quote_of(price: float, size: int, unit: Rows) -> float:
    """Turn a size resting at a price into quote units."""
    amount = size / unit[0]["size"] * unit[0]["contract_size"]
    return float(amount if unit[0]["contract"] == INVERSE else amount * price)
