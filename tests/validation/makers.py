"""The share of makers that are in, from depth records, against the market's own count; and an alarm when most leave.

The engine publishes no such share. What a desk needs for it: of each depth record `time`, and of `bid_base` and
`ask_base` the elements of the band of 50 bps. `estimate` below is all of it.

Rows of "records" take the whole path, frames to depth records. The others, hours and days long, read the same depth off
the market's own book each 100 ms, when the venue sends its frame: `measure` counts the records that say another one. A
share here is a number of makers over all of them; each quotes alike. Where makers stay and quote less, depth alone
cannot tell that from makers that leave: two rows say how much that costs. Makers that are away for half of MEMORY or
more become what is usual.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.config import EngineConfig
from engine.pipeline import Pipeline
from engine.schema import Rows
from engine.topics import SIGNAL_DEPTH
from ingest.session import open_session
from ingest.simulator.advance import run
from ingest.simulator.broadcast import Broadcast
from ingest.simulator.frames import START
from ingest.simulator.scenarios import INSTRUMENT, scenario, stage
from ingest.simulator.world import GRID, MAKERS, SECOND, World, plan
from tests.validation import Row, Size

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: bps of the mid.
BAND: Final = 50
#: Depth is compared with its median of so many seconds before, of which this many must have passed.
MEMORY: Final = 1_800
WARM: Final = 60
#: Below this share for so long, ns, is an alarm; above that the next one can come.
LEFT: Final = 0.5
LASTING: Final = 5 * GRID
BACK: Final = 0.75
DAY: Final = 86_400
#: Mean of the delay before a maker returns in worlds where makers come and go, s.
DELAY: Final = 30.0
CLOSE: Final = 0.9
SOON: Final = 3.0
#: When makers withdraw for good, s.
AT: Final = WARM + 60


def estimate(times: Ints, depth: Floats) -> tuple[Floats, Ints]:
    """Give the share of makers that are in at each time, and the times of alarms, ns; nothing looks ahead.

    Times ascend, ns; depth is of both sides within the band, NaN where a record has none. The share is depth over the
    median of what each of the seconds before began with, at most 1; NaN until WARM seconds were seen.
    """
    seconds, first = np.unique((times - times[0]) // SECOND, return_index=True)
    samples, usual = depth[first], np.full(len(first), np.nan)
    for at in range(len(first)):
        seen = samples[np.searchsorted(seconds, seconds[at] - MEMORY) : at]
        seen = seen[~np.isnan(seen)]
        if len(seen) >= WARM:
            usual[at] = np.median(seen)
    shares = np.minimum(depth / np.repeat(usual, np.diff(np.append(first, len(times)))), 1.0)
    alarms, since, armed = [], -1, True
    for time, share in zip(times.tolist(), shares.tolist(), strict=True):
        armed = armed or share > BACK
        if not share < LEFT:
            since = -1
        elif armed:
            since = time if since < 0 else since
            if time - since >= LASTING:
                alarms.append(time)
                since, armed = -1, False
    return shares, np.array(alarms, np.int64)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a market, each 100 ms or each record."""

    times: Ints
    depth: Floats
    #: Share of makers that are in.
    true: Floats

    def correlation(self) -> float:
        """Give the correlation of the estimated share with the true one."""
        shares, _ = estimate(self.times, self.depth)
        known = ~np.isnan(shares)
        return float(np.corrcoef(shares[known], self.true[known])[0, 1])


Change = Callable[[World, int], None]


def near(row: Any) -> int:
    """Give what rests within the band of the mid, lots, both sides; twice the mid is a whole number of ticks."""
    twice = int(row["bid"]) + int(row["ask"])
    low = -(-twice * (10_000 - BAND) // 20_000)
    high = twice * (10_000 + BAND) // 20_000
    return int(row["size"][low : high + 1].sum())


def watch(world: World, seconds: int, change: Change | None = None) -> Seen:
    """Let a market go on and look at its own book each 100 ms; `change` is called before each second."""
    begin = int(world.state[0]["time"])
    steps = seconds * (SECOND // GRID)
    times = begin + GRID * np.arange(steps)
    depth, true = np.zeros(steps), np.zeros(steps)
    for step in range(steps):
        if change is not None and step % (SECOND // GRID) == 0:
            change(world, step // (SECOND // GRID))
        run(world, int(times[step]))
        row = world.state[0]
        depth[step], true[step] = near(row), int(row["active"].sum()) / MAKERS
    return Seen(times, depth, true)


def leave(world: World, makers: list[int], nerve: Rows) -> None:
    """Let these makers leave at the next step, by the rule of their nerve, and all others have their usual one."""
    world.parameters["nerve"][0] = nerve
    world.parameters["nerve"][0, makers] = -1.0


def comings(world: World, seed: int) -> Change:
    """Let some makers, any number of them, leave every half to three minutes; each returns by its own draw."""
    random = np.random.default_rng([seed, 11])
    nerve = world.parameters["nerve"][0].copy()
    world.parameters["delay"] = DELAY
    due = WARM + 30

    def change(world: World, second: int) -> None:
        nonlocal due
        chosen: list[int] = []
        if second >= due:
            chosen = random.permutation(MAKERS)[: int(random.integers(1, MAKERS))].tolist()
            due = second + int(random.integers(30, 180))
        leave(world, chosen, nerve)

    return change


def shaken(seed: int, seconds: int, least: float = 1.0) -> World:
    """Make a market whose fundamental jumps every one to four minutes: makers leave by their rule, or a stop.

    With `least` below 1 those that stay quote, after each jump for a while, so much of their size or more.
    """
    random = np.random.default_rng([seed, 13])
    stages: list[dict[str, float]] = [{"time": 0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000}]
    at = WARM + 30
    while at + 60 < seconds:
        jump = float(random.uniform(0.002, 0.009)) * (1.0 if random.random() < 0.5 else -1.0)
        shown = float(random.uniform(least, 1.0))
        stages.append({"time": at * SECOND, "jump": jump, "bids": shown, "asks": shown})
        stages.append({"time": (at + 30) * SECOND, "bids": 1.0, "asks": 1.0})
        at += int(random.integers(60, 240))
    world = stage(replace(scenario("calm"), plan=plan(*stages)), seed)
    world.parameters["delay"] = DELAY
    return world


def withdrawal(world: World, seed: int, gone: int) -> Change:
    """Let so many makers leave at AT s, whichever, and none before."""
    nerve = world.parameters["nerve"][0].copy()
    makers = np.random.default_rng([seed, 17]).permutation(MAKERS)[:gone].tolist()
    return lambda world, second: leave(world, makers if second == AT else [], nerve)


def lag(seen: Seen, gone: int) -> tuple[float, int]:
    """Give the seconds from a withdrawal of so many makers to its alarm, infinite without, and alarms before it."""
    left = int(seen.times[np.flatnonzero(seen.true <= 1.0 - gone / MAKERS)[0]])
    alarms = estimate(seen.times, seen.depth)[1]
    after = alarms[alarms >= left]
    return ((int(after[0]) - left) / SECOND if len(after) else np.inf), int(np.sum(alarms < left))


def withdrawn(seed: int, gone: int) -> tuple[float, int]:
    """Give the lag of the alarm in a market's own book, and alarms before."""
    world = stage(scenario("calm"), seed)
    return lag(watch(world, AT + 15, withdrawal(world, seed, gone)), gone)


def records(seed: int, seconds: int, begin: Callable[[World, int], Change]) -> tuple[Seen, int]:
    """Give what the depth records of a calm market with these changes tell, from the first known book on.

    And how many of them tell another depth than the market's own book at the frame that they follow.
    """
    wanted = replace(scenario("calm"), seconds=seconds)
    world = stage(wanted, seed)
    own = watch(world, seconds, begin(world, seed))
    broadcast = Broadcast(wanted, seed)
    change = begin(broadcast.world, seed)
    pipeline = Pipeline(INSTRUMENT.asset, EngineConfig())
    session: Any = None
    times: list[int] = []
    depth: list[float] = []
    for second in range(seconds):
        change(broadcast.world, second)
        lines, _ = broadcast.second()
        session = session or open_session(lines[:1], None)
        for value in spoken(pipeline, session, lines):
            place = value["bands"].index(BAND)
            both = [(value[side] or {place: None})[place] for side in ("bid_base", "ask_base")]
            if None not in both or times:
                times.append(value["time"])
                depth.append(np.nan if None in both else sum(map(float, both)))
    steps = (np.array(times) - START) // GRID
    # A frame needs a little more than a step to arrive.
    lots = np.rint(np.array(depth) * 10**INSTRUMENT.size_decimals)
    return Seen(np.array(times), np.array(depth), own.true[np.minimum(steps, len(own.true) - 1)]), int(
        np.sum(lots != own.depth[steps - 1])
    )


def spoken(pipeline: Pipeline, session: Any, lines: Any) -> Iterator[dict[str, Any]]:
    """Yield the depth records that lines become."""
    for received, raw in lines:
        for batch in session.receive(received, raw):
            for record in pipeline.step(batch):
                if record.topic == SIGNAL_DEPTH and record.key == INSTRUMENT.key:
                    yield orjson.loads(record.value)


def share_row(what: str, found: list[float]) -> Row:
    """Word correlations of the estimated share with the true one."""
    return Row(
        what=f"makers' share, {what}: correlation with the true one",
        measured=f"median {np.median(found):.3f}, least {min(found):.3f}; too low in {sum(e <= CLOSE for e in found)}",
        wanted=f"> {CLOSE} in each world",
        met=min(found) > CLOSE,
        worlds=len(found),
    )


def lag_row(what: str, found: list[tuple[float, int]]) -> Row:
    """Word how late alarms were."""
    lags, before = [each for each, _ in found], sum(each for _, each in found)
    return Row(
        what=f"alarm, {what}",
        measured=f"median {np.median(lags):.2f} s, latest {max(lags):.2f} s; {before} before",
        wanted=f"< {SOON:.0f} s each, 0 before",
        met=max(lags) < SOON and before == 0,
        worlds=len(found),
    )


def measure_records(seeds: range, seconds: int) -> list[Row]:
    """Measure through the whole path."""
    told = [records(seed, seconds, comings) for seed in seeds]
    left = [records(seed, AT + 15, partial(withdrawal, gone=5)) for seed in seeds]
    count, other = sum(len(seen.times) for seen, _ in told + left), sum(other for _, other in told + left)
    return [
        Row(
            what="depth records that tell another depth than the market's own book",
            measured=f"{other} of {count}",
            wanted="0",
            met=other == 0,
            worlds=len(told + left),
        ),
        share_row("records, makers leave and return", [seen.correlation() for seen, _ in told]),
        lag_row("records, 5 of 8 makers leave", [lag(seen, 5) for seen, _ in left]),
    ]


def false_row(days: list[int], seconds: int) -> Row:
    """Count the alarms of calm markets of these seeds, while more than half of the makers are in."""
    alarms, most, least = 0, 1.0, 1.0
    for seed in days:
        seen = watch(stage(scenario("calm"), seed), seconds)
        shares, found = estimate(seen.times, seen.depth)
        alarms += int(np.sum(seen.true[np.searchsorted(seen.times, found)] > LEFT))
        most, least = min(most, float(np.nanmin(shares))), min(least, float(seen.true.min()))
    length = len(days) * seconds / DAY
    return Row(
        what="alarm, calm: false ones a day",
        measured=f"{alarms} in {length:.2f} days; lowest share told {most:.2f}, true {least:.2f}",
        wanted="< 1",
        met=alarms < max(length, 1.0),
        worlds=len(days),
    )


def quiet(seed: int) -> int:
    """Count alarms where all makers stay and quote two fifths of their size for a minute."""
    calm = {"time": 0, "branching": 0.3, "volatility": 2.0, "arbitrage": 2_000}
    thin, usual = {"time": AT * SECOND, "bids": 0.4, "asks": 0.4}, {"time": 2 * AT * SECOND, "bids": 1.0, "asks": 1.0}
    seen = watch(stage(replace(scenario("calm"), plan=plan(calm, thin, usual)), seed), 2 * AT + 30)
    found = estimate(seen.times, seen.depth)[1]
    return int(np.sum(seen.true[np.searchsorted(seen.times, found)] > LEFT))


def measure(size: Size) -> list[Row]:
    """Measure in so many worlds, for so long."""
    full = size == Size.FULL
    seeds = range(1, 21 if full else 4)
    seconds = 1_800 if full else 600
    worlds = [(stage(scenario("calm"), seed), seed) for seed in seeds]
    coming = [watch(world, seconds, comings(world, seed)).correlation() for world, seed in worlds]
    moved, thinner = (
        [watch(shaken(seed, seconds, least), seconds).correlation() for seed in seeds] for least in (1.0, 0.3)
    )
    fooled = [quiet(seed) for seed in seeds]
    return [
        *measure_records(range(1, 6 if full else 2), 900 if full else 240),
        share_row("makers leave and return", coming),
        share_row("news drives makers out", moved),
        share_row("news drives makers out, others quote 0.3 to 1 of their size", thinner),
        *(lag_row(f"{gone} of 8 makers leave", [withdrawn(seed, gone) for seed in seeds]) for gone in (5, 6)),
        false_row([1, 2, 3] if full else [1], DAY if full else 3_600),
        Row(
            what="alarm, all makers stay and quote 0.4 of their size: false ones",
            measured=f"{sum(fooled)}",
            wanted="0; depth cannot tell",
            met=sum(fooled) == 0,
            worlds=len(seeds),
        ),
    ]
