"""What a name stands for in files that say nothing of it: venue, symbol, currencies, and what a size is worth."""

from dataclasses import dataclass

from engine.schema import Contract, Coverage, PriceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """One instrument, as far as a file of its rows does not tell."""

    venue: str
    symbol: str
    asset: str
    quote: str
    contract: Contract
    price_kind: PriceKind = PriceKind.ORDER_LIMIT
    coverage: Coverage = Coverage.LOWER_BOUND
    #: Whether a size of 1 is known to be worth 1 unit, of base or of quote.
    units: bool = True
