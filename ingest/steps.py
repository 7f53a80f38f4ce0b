"""Which decimals the prices or sizes of an instrument have, and which step divides them, as far as they were met."""

from collections.abc import Iterable
from math import gcd

from ingest.decimals import places, scaled


class Steps:
    """Decimals, and the greatest common divisor at them."""

    def __init__(self) -> None:
        self.decimals = 0
        #: Whether anything was met.
        self.met = False
        self._step = 0

    @property
    def step(self) -> int:
        """Give the largest step that divides everything met, at the decimals; 1 where that is nothing."""
        return self._step or 1

    def add(self, texts: Iterable[str]) -> None:
        """Meet plain decimal texts. Raises BadFrame."""
        found = list(texts)
        if not found:
            return
        most = max(self.decimals, *map(places, found))
        self.meet(most, [scaled(text, most) for text in found])

    def meet(self, decimals: int, values: Iterable[int]) -> None:
        """Meet integers at decimals of which there are not fewer than so far."""
        self.met = True
        self._step = gcd(self._step * 10 ** (decimals - self.decimals), *values)
        self.decimals = decimals
