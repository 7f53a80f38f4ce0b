"""The share of makers that are in, eta, against what the engine says of the book's depth.

The engine publishes no eta. Here it is taken from its vacuum records: the mean over both sides of the depth within
50 bps over its baseline, at most 1. Nothing in it is fitted. The alarm is the engine's own: a side that comes to be
THIN or worse.

Worlds begin with two minutes of calm that end with an hour, so that the baseline is that of a past hour, as it is for
an engine that has run for a while. Within its first hour the baseline is the median so far, and follows makers that
stay away: `rows_of_share` measures that too.

    leave and return    news moves the fundamental by 0.2 to 0.9 % every one to four minutes; who leaves, and who is
                        back when, is by the makers' own rules
    withdrawal          six of eight lose their hedge at once, in a calm market; or news of 0.6 to 1.2 % drives them out
    calm                nothing happens
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from engine.topics import SIGNAL_VACUUM
from ingest.simulator.broadcast import Broadcast
from ingest.simulator.frames import START
from ingest.simulator.scenarios import Scenario, scenario
from ingest.simulator.world import MAKERS, SECOND, plan
from tests.validation import Row, Size
from tests.validation._path import Floats, Told, tell
from tests.validation._workers import Workers

#: Calm before the hour, s.
CALM: Final = 120
#: A withdrawal of 70 % leaves this share.
LEFT: Final = 0.3
#: Makers that lose their hedge; so few that nobody need know.
LOSERS: Final = 6
FEW: Final = 2
#: A withdrawal's world: s after the hour at which it comes, earliest and latest, and what is watched of it.
EARLIEST, LATEST, WATCHED = 10, 40, 15
#: Alarms this near to one another are one, s.
APART: Final = 60.0
ALARMED: Final = frozenset(("thin", "vacuum"))
DAY: Final = 86_400


def quiet(seconds: int, *, past: bool = True) -> Scenario:
    """Make a calm market, begun before an hour or at one."""
    start = START - CALM * SECOND if past else START
    return replace(scenario("calm"), seconds=CALM + seconds, start=start)


def restless(seconds: int, seed: int, *, past: bool = True) -> Scenario:
    """Make a market in which makers leave and return."""
    random, at = np.random.default_rng([seed, 11]), float(CALM)
    stages = [{"time": 0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000}]
    while at < CALM + seconds - 30:
        jump = float(random.uniform(0.002, 0.009)) * (1.0 if random.random() < 0.5 else -1.0)
        stages.append({"time": int(at) * SECOND, "jump": jump})
        at += float(random.uniform(60.0, 240.0))
    return replace(quiet(seconds, past=past), plan=plan(*stages))


def share_of(told: Told) -> tuple[Floats, Floats]:
    """Give, of each second after the calm that has them, the estimate as of its end and the truth."""
    times = np.array([at for at, _ in told.records])
    estimates, truths = [], []
    for state in told.of("state"):
        at = int(np.searchsorted(times, state["at"], side="right")) - 1
        value = told.records[at][1] if at >= 0 else {}
        said = (value.get(f"{side}_ratio_wide") for side in ("bid", "ask"))
        ratios = [float(each) for each in said if each is not None]
        if state["at"] >= CALM and len(ratios) == 2:
            estimates.append(min(float(np.mean(ratios)), 1.0))
            truths.append(float(state["eta_true"]))
    return np.array(estimates), np.array(truths)


def share_in(seconds: int, seed: int, past: bool) -> tuple[Floats, Floats]:
    """Give the estimate and the truth in one restless world."""
    return share_of(tell(restless(seconds, seed, past=past), seed, SIGNAL_VACUUM))


def together(worlds: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Put estimates and truths of worlds together."""
    return np.concatenate([estimates for estimates, _ in worlds]), np.concatenate([truths for _, truths in worlds])


def rows_of_share(workers: Workers, seeds: range, young: range, seconds: int) -> list[Row]:
    """Measure how the estimate goes with the truth; in `young` worlds with no past hour."""
    asked = [(seconds, seed, True) for seed in seeds] + [(seconds, seed, False) for seed in young]
    worlds = workers.each(share_in, asked)
    worlds, first = worlds[: len(seeds)], worlds[len(seeds) :]
    each = [float(np.corrcoef(*world)[0, 1]) for world in worlds]
    estimates, truths = together(worlds)
    all_in, error = float(np.corrcoef(estimates, truths)[0, 1]), estimates - truths
    return [
        Row(
            "share of makers that are in: correlation of the estimate, makers leaving and returning",
            f"{all_in:.3f} over all seconds, in a world {min(each):.3f} to {max(each):.3f}; error {error.mean():+.3f} "
            f"in the mean, {np.sqrt(np.mean(error**2)):.3f} root mean square; "
            f"with no past hour {np.corrcoef(*together(first))[0, 1]:.3f} in {len(first)} of them",
            "above 0.9, over all and in the median world",
            all_in > 0.9 and float(np.median(each)) > 0.9,
            len(seeds),
        )
    ]


def alarms_of(told: Told) -> list[float]:
    """Give when a side became THIN or worse, of alarms close to one another the first."""
    found: list[float] = []
    last, before = -APART, {"bid": False, "ask": False}
    for at, value in told.records:
        for side in before:
            now = value[f"{side}_state"] in ALARMED
            if now and not before[side]:
                if at - last >= APART:
                    found.append(at)
                last = at
            before[side] = now
    return found


def withdrawal_of(told: Told) -> tuple[float, float] | None:
    """Give when the first maker left and when 70 % had, None where that many never did within ten seconds of it."""
    active, first = MAKERS, None
    for event in told.of("maker"):
        active += event["side"]
        first = event["at"] if first is None else first
        if active <= LEFT * MAKERS:
            return (first, event["at"]) if event["at"] - first < 10.0 else None
    return None


def hedges_lost(seed: int, losers: int = LOSERS) -> Told:
    """Let so many makers lose their hedge in a calm market."""
    random = np.random.default_rng([seed, 12])
    at, who = CALM + int(random.integers(EARLIEST, LATEST)), random.permutation(MAKERS)[:losers]

    def change(broadcast: Broadcast, second: int) -> None:
        if second == at:
            broadcast.world.state[0]["hedge_lost"][who] = 1

    return tell(quiet(at - CALM + WATCHED), seed, SIGNAL_VACUUM, change)


def news(seed: int) -> Told:
    """Let news drive makers out."""
    random = np.random.default_rng([seed, 13])
    at = CALM + int(random.integers(EARLIEST, LATEST))
    jump = float(random.uniform(0.006, 0.012)) * (1.0 if random.random() < 0.5 else -1.0)
    stages = plan(
        {"time": 0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000}, {"time": at * SECOND, "jump": jump}
    )
    return tell(replace(quiet(at - CALM + WATCHED), plan=stages), seed, SIGNAL_VACUUM)


def lag_in(make: Callable[[int], Told], seed: int) -> tuple[tuple[float, float] | None, list[float]]:
    """Give when makers left and what alarms there were in one world."""
    told = make(seed)
    return withdrawal_of(told), alarms_of(told)


def rows_of_lag(workers: Workers, seeds: range) -> list[Row]:
    """Measure how long after a withdrawal of 70 % the alarm comes."""
    rows = []
    for what, make in (("six of eight lose their hedge", hedges_lost), ("driven out by news", news)):
        lags, early, unseen, whole = list[float](), 0, 0, 0
        for left, alarms in workers.each(lag_in, [(make, seed) for seed in seeds]):
            if left is None:
                continue
            whole += 1
            early += any(at < left[0] for at in alarms)
            after = [at for at in alarms if at >= left[0]]
            unseen += not after
            lags += [at - left[1] for at in after[:1]]
        seen = f"{np.median(lags):.2f} s in the median, {min(lags):.2f} to {max(lags):.2f}" if lags else "never"
        rows.append(
            Row(
                f"withdrawal of 70 %, {what}: from when so many have left to the alarm",
                f"{seen}; {unseen} unseen, {early} with an alarm before anybody left",
                "below 3 s each, none unseen, none before",
                whole > 0 and bool(lags) and max(lags) < 3.0 and unseen == early == 0,
                whole,
            )
        )
    return rows


def few_in(seed: int) -> tuple[int, int]:
    """Count who leaves and the alarms in one world where a quarter does."""
    told = hedges_lost(seed, FEW)
    return len(told.of("maker")), len(alarms_of(told))


def row_of_few(workers: Workers, seeds: range) -> Row:
    """Count alarms where a quarter of the makers leaves."""
    found = workers.each(few_in, [(seed,) for seed in seeds])
    left, alarms = sum(gone == FEW for gone, _ in found), sum(count for _, count in found)
    what = "withdrawal of a quarter, two of eight lose their hedge: alarms"
    return Row(what, f"{alarms}; in {left} worlds just these two left", "none", alarms == 0, len(seeds))


def calm_in(seconds: int, seed: int) -> tuple[float, list[bool]]:
    """Give the least share of makers in one calm world, and of each alarm, whether more than half of them are in."""
    told = tell(quiet(seconds), seed, SIGNAL_VACUUM)
    shares = [float(state["eta_true"]) for state in told.of("state")]
    return min(shares), [shares[min(int(at), len(shares) - 1)] > 0.5 for at in alarms_of(told)]


def row_of_calm(workers: Workers, seeds: range, seconds: int) -> Row:
    """Count alarms while more than half of the makers are in, in calm worlds of up to an hour."""
    found = workers.each(calm_in, [(seconds, seed) for seed in seeds])
    false = sum(sum(alarms) for _, alarms in found)
    true = sum(len(alarms) for _, alarms in found) - false
    days = len(seeds) * (CALM + seconds) / DAY
    return Row(
        "calm: alarms while more than half of the makers are in",
        f"{false} in {days * 24:.1f} h; with none, the 95 % bound is {3.0 / days:.1f} a day; {true} other alarms, "
        f"least share of makers {min(least for least, _ in found):.2f}",
        "fewer than 1 a day",
        false < max(days, 1.0),
        len(seeds),
    )


def measure(size: Size, jobs: int = 1) -> list[Row]:
    """Measure it over a few short worlds and an hour of calm, or over many and a day of it."""
    with Workers(jobs) as workers:
        if size == Size.SMALL:
            few = rows_of_share(workers, range(101, 103), range(101, 102), 600) + rows_of_lag(workers, range(201, 205))
            return [*few, row_of_few(workers, range(231, 233)), row_of_calm(workers, range(301, 302), 3_480)]
        many = rows_of_share(workers, range(101, 109), range(101, 104), 1_800) + rows_of_lag(workers, range(201, 231))
        return [*many, row_of_few(workers, range(231, 241)), row_of_calm(workers, range(301, 325), 3_480)]
