"""The instrument: what an exchange's filters say of one symbol, as a value, and as an INSTRUMENT row and back."""

from dataclasses import dataclass

import numpy as np

from engine.errors import BadConfig
from engine.schema import INSTRUMENT, Contract, Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One tradable symbol of one venue. Integers are wire decimals, as in `engine.schema.INSTRUMENT`."""

    venue: str
    symbol: str
    asset: str
    quote: str
    contract: Contract
    price_decimals: int
    size_decimals: int
    tick: int
    lot: int
    #: Base units (linear, spot) or quote units (inverse) that one unit of size is worth, x 10^8.
    contract_size: int = 100_000_000

    def __post_init__(self) -> None:
        if not (0 <= self.price_decimals <= 12 and 0 <= self.size_decimals <= 12):
            raise BadConfig(
                f"decimals of {self.key} are {self.price_decimals} and {self.size_decimals}, allowed are 0 to 12"
            )
        if self.tick <= 0 or self.lot <= 0 or self.contract_size <= 0:
            raise BadConfig(f"tick, lot and contract size of {self.key} must be positive: {self}")

    @property
    def key(self) -> str:
        """Name this instrument in every topic: `venue:SYMBOL`."""
        return f"{self.venue}:{self.symbol}"

    def row(self) -> Rows:
        """Give the one-row INSTRUMENT array that opens a book epoch."""
        row = np.zeros(1, INSTRUMENT)
        for name in ("tick", "lot", "contract_size", "price_decimals", "size_decimals"):
            row[name] = getattr(self, name)
        row["contract"] = int(self.contract)
        row["asset"] = self.asset.encode()
        row["quote"] = self.quote.encode()
        return row


def from_row(key: str, row: np.void) -> Instrument:
    """Read an INSTRUMENT row back; `key` is the `venue:SYMBOL` it came under."""
    venue, _, symbol = key.partition(":")
    return Instrument(
        venue=venue,
        symbol=symbol,
        asset=bytes(row["asset"]).decode(),
        quote=bytes(row["quote"]).decode(),
        contract=Contract(int(row["contract"])),
        price_decimals=int(row["price_decimals"]),
        size_decimals=int(row["size_decimals"]),
        tick=int(row["tick"]),
        lot=int(row["lot"]),
        contract_size=int(row["contract_size"]),
    )
