"""Excitation of market orders, told from a changing rate: the Hawkes estimate less that of its surrogate.

Markets are calm and differ in nothing but `branching`, the mean number of market orders that one calls for. Events are
the times at which the market trades: fills of one order are one. The tape does not say which trades are arbitrage, a
tenth to a fifth of them, so these count too. The surrogate moves each event within 60 s; `engine.statistics.hawkes`
says why n alone means nothing: the control is a Poisson process whose rate changes and whose events call for none.

The market's activity changes its rates too, over a minute. The surrogate takes it off, and most of n with it: what is
left tells more excitation from less, and comes near to n only where the plan keeps the activity even. Both are
measured.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.statistics.evaluation import roc_auc
from engine.statistics.hawkes import displace, fit, fit_at
from ingest.simulator.advance import run
from ingest.simulator.frames import START
from ingest.simulator.matching import Event
from ingest.simulator.scenarios import scenario, stage
from ingest.simulator.world import SECOND
from tests.naive_statistics import regimes
from tests.validation import Row, Size

Floats = NDArray[np.float64]
#: Seconds of an estimate: each of the control's regimes comes twice.
WINDOW: Final = 1_200
#: Seconds before it: the book fills, and the excitation becomes what it is on average.
BEFORE: Final = 30
#: Width within which the surrogate moves events, s.
WIDTH: Final = 60.0
#: Surrogates that an estimate is compared with, by their mean.
SURROGATES: Final = 5
WEAK: Final = 0.3
STRONG: Final = 0.8
#: The control's rates, 1/s, and how long each lasts, s.
RATES: Final = (1.0, 5.0)
TURN: Final = 300.0
FLAT: Final = 0.1
APART: Final = 0.9


def orders(branching: float, seed: int, seconds: int = WINDOW, *, even: bool = False) -> Floats:
    """Give the times at which a calm market of this branching trades, s, ascending, in (0, seconds].

    Where it is `even`, its activity is always the mean one.
    """
    world = stage(scenario("calm"), seed)
    world.plan["branching"] = branching
    world.plan["variety"] = 0.0 if even else 1.0
    begin = START + BEFORE * SECOND
    run(world, begin)
    found = []
    # A minute at a time: events of frames are many, and only trades are kept.
    for until in range(60, seconds + 60, 60):
        events = run(world, begin + min(until, seconds) * SECOND)
        found.append(np.unique(events["time"][events["kind"] == Event.TRADE]))
    times = (np.concatenate(found) - begin) / SECOND
    return np.asarray(times[times > 0.0])


def control(seed: int) -> Floats:
    """Give the times of a Poisson process that alternates between two rates."""
    random = np.random.default_rng([seed, 7])
    return regimes(random, RATES, TURN, int(WINDOW / TURN))


def estimate(times: Floats, horizon: float, seed: int) -> tuple[float, float]:
    """Give n, and n less the mean of its surrogates'."""
    found = fit(times, horizon)
    moved = [displace(times, horizon, WIDTH, seed * SURROGATES + each) for each in range(SURROGATES)]
    surrogate = float(np.mean([fit_at(each, horizon, found.beta).branching for each in moved]))
    return found.branching, found.branching - surrogate


def area(ones: Floats, zeros: Floats) -> float:
    """Give the probability that one of these exceeds one of those."""
    labels = np.concatenate((np.ones(len(ones), np.int64), np.zeros(len(zeros), np.int64)))
    return roc_auc(labels, np.concatenate((ones, zeros)))


def word(values: Floats) -> str:
    """Word a mean and a spread."""
    return f"{np.mean(values):.3f} +- {np.std(values, ddof=1):.3f} ({np.min(values):.3f} to {np.max(values):.3f})"


def measure(size: Size) -> list[Row]:
    """Measure by so many windows of each kind."""
    seeds = range(1, 7) if size == Size.SMALL else range(1, 41)
    weak, strong, weak_even, strong_even, flat = (
        np.array([estimate(times(seed), WINDOW, seed) for seed in seeds])
        for times in (
            lambda seed: orders(WEAK, seed),
            lambda seed: orders(STRONG, seed),
            lambda seed: orders(WEAK, seed, even=True),
            lambda seed: orders(STRONG, seed, even=True),
            control,
        )
    )
    worlds = len(seeds)
    apart, apart_even = area(strong[:, 1], weak[:, 1]), area(strong_even[:, 1], weak_even[:, 1])
    over, raw = area(strong[:, 1], flat[:, 1]), area(strong[:, 0], flat[:, 0])
    middle, mean = float(np.median(weak[:, 1])), float(np.mean(flat[:, 1]))
    alarms = int(np.sum(flat[:, 1] > middle))
    return [
        Row(
            what=f"branching {STRONG} against {WEAK}: n less its surrogate's",
            measured=f"AUC {apart:.3f}; {word(strong[:, 1])} against {word(weak[:, 1])}",
            wanted=f"AUC > {APART}",
            met=apart > APART,
            worlds=2 * worlds,
        ),
        Row(
            what=f"branching {STRONG} against {WEAK}, activity even: n less its surrogate's",
            measured=f"AUC {apart_even:.3f}; {word(strong_even[:, 1])} against {word(weak_even[:, 1])}",
            wanted=f"AUC > {APART}",
            met=apart_even > APART,
            worlds=2 * worlds,
        ),
        Row(
            what="rate alternating by itself: n less its surrogate's",
            measured=f"{word(flat[:, 1])}; n alone {word(flat[:, 0])}",
            wanted=f"|mean| < {FLAT}",
            met=abs(mean) < FLAT,
            worlds=worlds,
        ),
        Row(
            what=f"rate alternating by itself: windows above the median of branching {WEAK}",
            measured=f"{alarms} of {worlds}",
            wanted="0",
            met=alarms == 0,
            worlds=2 * worlds,
        ),
        Row(
            what=f"branching {STRONG} against a rate alternating by itself: n less its surrogate's",
            measured=f"AUC {over:.3f}; by n alone {raw:.3f}",
            wanted=f"AUC > {APART}",
            met=over > APART,
            worlds=2 * worlds,
        ),
    ]
