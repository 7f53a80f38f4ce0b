"""Transmission of gold to the coin: worlds whose share and delay are known, and whether their intervals hold them.

A world is a weekend with sixteen jumps of the gold token, 0.3 to 0.9 % either way, one in two minutes or so. The
coin takes over a share of 0.3 to 0.9 of each, 6 to 36 s later, give or take up to 4 s, evenly: the delay that is known
is the median. The estimator is handed both mids, ten a second, as the books of the two instruments show them.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.statistics.chance import uniform
from engine.statistics.transmission import Transmission, Window, transmit
from ingest.simulator.economy import settle
from ingest.simulator.scenarios import Scenario, weekend
from ingest.simulator.world import GRID, SECOND
from tests.validation import Row, Size

JUMPS = 16
#: s: the first jump, from one to the next, what a jump may come later than that, and what is left after the last.
FIRST, APART, LATER, AFTER = 20.0, 110.0, 30.0, 80.0
SPREAD = 4.0
CONFIDENCE = 0.9
PER_SECOND = SECOND // GRID


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A world's truth, and what the estimator said of it; delays in s."""

    share: float
    delay: float
    found: Transmission

    @property
    def holds_share(self) -> bool:
        """Whether the interval has the share in it."""
        return self.found.share_low <= self.share <= self.found.share_high

    @property
    def holds_delay(self) -> bool:
        """Whether the interval has the delay in it."""
        return self.found.delay_low <= self.delay * PER_SECOND <= self.found.delay_high


def world(seed: int, spread: float = SPREAD, jumps: int = JUMPS) -> Known:
    """Let a world pass and estimate it; the same seed gives the same world."""
    luck = uniform(seed, 2 + 3 * jumps)
    share, delay = 0.3 + 0.6 * float(luck[0]), round(6.0 + 30.0 * float(luck[1]), 1)
    times = FIRST + APART * np.arange(jumps) + LATER * luck[2 : 2 + jumps]
    sizes = (0.003 + 0.006 * luck[2 + jumps : 2 + 2 * jumps]) * np.where(luck[2 + 2 * jumps :] < 0.5, -1.0, 1.0)
    seconds = int(FIRST + APART * jumps + LATER + AFTER)
    both = list(zip(np.round(times, 1).tolist(), sizes.tolist(), strict=True))
    wanted = weekend(both, share, delay, seconds, spread)
    # The coin's second venue hears the same news; it is left out.
    coin, gold = mids(replace(wanted, members=wanted.members[:1]), seed)
    found = transmit(np.log(gold), np.log(coin), np.ones(len(gold), bool), Window(), CONFIDENCE)
    return Known(share=share, delay=delay, found=found)


def mids(wanted: Scenario, seed: int) -> NDArray[np.float64]:
    """Give the mids of a scenario's instruments, ticks, ten a second."""
    economy = settle(wanted, seed)
    out = np.zeros((len(economy.worlds), wanted.seconds * PER_SECOND))
    for step in range(out.shape[1]):
        economy.run(economy.start + (step + 1) * GRID - 1)
        out[:, step] = [each.state[0]["mid"] for each in economy.worlds]
    return out


def measure(size: Size) -> list[Row]:
    """Measure how many intervals hold the truth, and how far off a delay is that never varies."""
    return measure_worlds(2, 2) if size == Size.SMALL else measure_worlds(200, 20)


def measure_worlds(worlds: int, others: int) -> list[Row]:
    """Measure it over so many worlds, and so many others whose delay never varies."""
    known = [world(seed) for seed in range(worlds)]
    fixed = [world(worlds + seed, spread=0.0) for seed in range(others)]
    return [
        _covered(
            "share of gold's jumps in the coin: 90 % intervals that hold it", [each.holds_share for each in known]
        ),
        _covered(
            "median delay from gold to the coin: 90 % intervals that hold it", [each.holds_delay for each in known]
        ),
        _error(fixed),
    ]


def _covered(what: str, holds: list[bool]) -> Row:
    share = sum(holds) / len(holds)
    return Row(what=what, measured=f"{share:.3f}", wanted="0.85 to 0.95", met=0.85 <= share <= 0.95, worlds=len(holds))


def _error(known: list[Known]) -> Row:
    largest = max(abs(each.found.delay / PER_SECOND - each.delay) for each in known)
    what = "delay that is the same each time: largest error"
    return Row(what=what, measured=f"{largest:.2f} s", wanted="below 0.50 s", met=largest < 0.5, worlds=len(known))
