"""Alarms: stamps of alarms and of events in; what was caught, how early, and how often the bell rang for nothing out.

Alarms less than `gap` apart are one episode, and an episode is its first stamp: a bell that never stops has rung once.
An event is caught by the first episode that begins from `ahead` before it to `late` after it; an episode near no event
is false. The lead is event - episode: below 0 it came late. Stamps and lengths are integers, ns.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SECOND: Final = 1_000_000_000
DAY: Final = 86_400 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What alarms were worth over a span of time."""

    events: int
    episodes: int
    false: int
    #: Lead of each event that was caught, ns, in order of time.
    leads: tuple[int, ...]
    #: Observed time.
    days: float

    @property
    def recall(self) -> float:
        """Share of events that were caught; 1 where there was none to catch."""
        return len(self.leads) / self.events if self.events else 1.0

    @property
    def false_per_day(self) -> float:
        """False episodes per observed day."""
        return self.false / self.days

    def lead(self, share: float = 0.5) -> float | None:
        """Give a quantile of the leads, ns (the lower of two neighbours): one half the median, a tenth the unlucky."""
        return float(sorted(self.leads)[int(share * (len(self.leads) - 1))]) if self.leads else None


def merge(alarms: Ints, gap: int = 60 * SECOND) -> Ints:
    """Give the first stamp of each episode; `alarms` ascend."""
    begins = np.ones(len(alarms), np.bool_)
    begins[1:] = np.diff(alarms) >= gap
    return alarms[begins]


def score(alarms: Ints, events: Ints, observed: int, ahead: int, late: int = 0, gap: int = 60 * SECOND) -> Score:
    """Score alarms against events, both ascending, over `observed` ns of known market."""
    episodes = merge(alarms, gap)
    leads = []
    useful = np.zeros(len(episodes), np.bool_)
    for event in events.tolist():
        near = (episodes >= event - ahead) & (episodes <= event + late)
        useful |= near
        if near.any():
            leads.append(event - int(episodes[int(np.argmax(near))]))
    return Score(
        events=len(events),
        episodes=len(episodes),
        false=int(np.sum(~useful)),
        leads=tuple(leads),
        days=observed / DAY,
    )


def score_at(
    times: Ints, signal: Floats, events: Ints, observed: int, ahead: int, per_day: float, late: int = 0
) -> tuple[float, Score]:
    """Give the lowest threshold that keeps to so many episodes a day, as do all above it, and what it is worth there.

    Infinity, and a score without an alarm, where not even the highest value does.
    """
    bar, best = float("inf"), score(times[:0], events, observed, ahead, late)
    for value in np.unique(signal)[::-1]:
        found = score(times[signal >= value], events, observed, ahead, late)
        if found.episodes > per_day * found.days:
            break
        bar, best = float(value), found
    return bar, best
