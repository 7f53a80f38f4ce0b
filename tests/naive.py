"""Slow, obvious twins of the kernels: what the compiled code must agree with, written so that a reader can check it."""

from collections.abc import Sequence


class NaiveBook:
    """An order book as two dictionaries; every question is answered by looking at every level."""

    def __init__(self) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}

    def update(self, levels: Sequence[tuple[int, int]], bids: int, replace: bool) -> None:
        if replace:
            self.bids, self.asks = {}, {}
        for i, (price, size) in enumerate(levels):
            side = self.bids if i < bids else self.asks
            if size:
                side[price] = size
            else:
                side.pop(price, None)

    def best(self) -> tuple[int, int, int, int]:
        bid, ask = max(self.bids, default=0), min(self.asks, default=0)
        return bid, self.bids.get(bid, 0), ask, self.asks.get(ask, 0)

    def sorted(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())

    def edges(self, band: int) -> tuple[int, int]:
        """Lowest bid and highest ask within a band, bounds included."""
        mid2 = max(self.bids) + min(self.asks)
        low = next(p for p in range(mid2 * (10_000 - band) // 20_000, mid2) if p * 20_000 >= mid2 * (10_000 - band))
        high = mid2 * (10_000 + band) // 20_000
        return low, high

    def within(self, band: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Levels of each side within a band, best first; none where there is no mid."""
        if not self.bids or not self.asks:
            return [], []
        low, high = self.edges(band)
        bids, asks = self.sorted()
        return [level for level in bids if level[0] >= low], [level for level in asks if level[0] <= high]

    def depth(self, band: int) -> tuple[int, int]:
        bids, asks = self.within(band)
        return sum(size for _, size in bids), sum(size for _, size in asks)
