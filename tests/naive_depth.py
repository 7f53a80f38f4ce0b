"""Slow, obvious twins of the depth kernel: exact fractions, every question answered by looking at every level."""

# Depth

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from engine.instrument import Instrument
from engine.schema import Contract

Levels = Sequence[tuple[int, int]]


class NaiveDepth:
    """What the DEPTH fields must say of a book given as price and size integers, best first."""

    def __init__(self, instrument: Instrument, bids: Levels, asks: Levels, known: tuple[int, int]) -> None:
        self.inverse = instrument.contract == Contract.INVERSE
        self.contract_size = Fraction(instrument.contract_size, 10**8)
        self.price_unit = Fraction(1, 10**instrument.price_decimals)
        self.size_unit = Fraction(1, 10**instrument.size_decimals)
        self.bids, self.asks = bids, asks
        self.known_low, self.known_high = known

    def price(self, level: tuple[int, int]) -> Fraction:
        return level[0] * self.price_unit

    def base(self, level: tuple[int, int]) -> Fraction:
        amount = level[1] * self.size_unit * self.contract_size
        return amount / self.price(level) if self.inverse else amount

    def quote(self, level: tuple[int, int]) -> Fraction:
        return self.base(level) * self.price(level)

    def mid(self) -> Fraction:
        return (self.price(self.bids[0]) + self.price(self.asks[0])) / 2

    def inside(self, side: int, band: int) -> list[tuple[int, int]]:
        """Levels within a band, the bound included: the mid times an exact fraction."""
        edge = self.mid() * Fraction(10_000 - side * band, 10_000)
        levels = self.bids if side == 1 else self.asks
        return [level for level in levels if (self.price(level) - edge) * side >= 0]

    def complete(self, side: int, band: int) -> bool:
        edge = self.mid() * Fraction(10_000 - side * band, 10_000) / self.price_unit
        if side == 1:
            return math.ceil(edge) >= self.known_low
        return self.known_high == 0 or math.floor(edge) <= self.known_high

    def sweep(self, side: int, notional: int, widest: int) -> tuple[float | None, float | None, float]:
        """Cost in bps (None where not all can be filled), average price (None without one), what is left."""
        left, bought = Fraction(notional), Fraction(0)
        for level in self.inside(side, widest):
            taken = min(left, self.quote(level))
            bought += taken / self.price(level)
            left -= taken
        if left <= Fraction(notional, 10**12):
            left = Fraction(0)
        if not bought:
            return None, None, float(left)
        average = (notional - left) / bought
        cost = 10_000 * side * (self.mid() - average) / self.mid()
        return None if left else float(cost), float(average), float(left)

    def elasticity(self, side: int, bands: Sequence[int]) -> float | None:
        depth = [sum(size for _, size in self.inside(side, band)) for band in bands]
        points = [(math.log(band), math.log(held)) for band, held in zip(bands, depth, strict=True) if held]
        if len(points) < 2:
            return None
        x = sum(p[0] for p in points) / len(points)
        y = sum(p[1] for p in points) / len(points)
        return sum((p[0] - x) * (p[1] - y) for p in points) / sum((p[0] - x) ** 2 for p in points)

    def fields(self, bands: Sequence[int], notionals: Sequence[int]) -> dict[str, Any]:
        """Every DEPTH field of a book with two sides that is not crossed."""
        u, v = self.bids[0][1], self.asks[0][1]
        bid, ask, mid = self.price(self.bids[0]), self.price(self.asks[0]), self.mid()
        share = Fraction(u, u + v)
        found: dict[str, Any] = {
            "bid": float(bid),
            "bid_size": float(self.base(self.bids[0])),
            "ask": float(ask),
            "ask_size": float(self.base(self.asks[0])),
            "mid": float(mid),
            "spread": float(ask - bid),
            "spread_bps": float(10_000 * (ask - bid) / mid),
            "weighted_mid": float(share * ask + (1 - share) * bid),
            "imbalance": float(Fraction(u - v, u + v)),
            "imbalance_ratio": float(share),
            "bid_levels": len(self.bids),
            "ask_levels": len(self.asks),
            "bands": list(bands),
            "notionals": [float(notional) for notional in notionals],
        }
        for side, name in ((1, "bid"), (-1, "ask")):
            held = [self.inside(side, band) for band in bands]
            found[f"{name}_base"] = [float(sum(map(self.base, levels))) for levels in held]
            found[f"{name}_quote"] = [float(sum(map(self.quote, levels))) for levels in held]
            found[f"{name}_complete"] = [self.complete(side, band) for band in bands]
            found[f"{name}_elasticity"] = self.elasticity(side, bands)
        found["band_imbalance"] = [self.imbalance(band) for band in bands]
        for side, name in ((1, "sell"), (-1, "buy")):
            swept = [self.sweep(side, notional, bands[-1]) for notional in notionals]
            for i, field in enumerate(("bps", "vwap", "unfilled")):
                found[f"{name}_{field}"] = [one[i] for one in swept]
        return found

    def imbalance(self, band: int) -> float | None:
        bids, asks = (sum(size for _, size in self.inside(side, band)) for side in (1, -1))
        return float(Fraction(bids - asks, bids + asks)) if bids + asks else None
