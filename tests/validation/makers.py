"""The share of makers that are in, from depth records, against the market's own count; and an alarm when most leave.

The engine publishes no such share. What a desk needs for it: of each depth record `time`, and of `bid_base` and
`ask_base` the elements of the band of 50 bps. `estimate` below is all of it. Vacuum records say nearly the same once a
second: `bid_ratio_wide` and `ask_ratio_wide`, whose baseline is the engine's own.

Rows of "records" take the whole path, frames to depth records. The others, hours and days long, read the same depth off
the market's own book each 100 ms, when the venue sends its frame; `tests/test_market_feed.py` proves that the book
of the session is this one, `measure` that the depth of records is. A share here is a number of makers over all of them;
each quotes the same. Where makers stay and quote less, depth alone cannot tell that from makers that leave.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.config import EngineConfig
from engine.pipeline import Pipeline
from engine.schema import Rows
from engine.topics import SIGNAL_DEPTH, SIGNAL_VACUUM
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


def lag(seed: int, gone: int) -> tuple[float, int]:
    """Give the seconds from a withdrawal of so many makers to its alarm, infinite without, and alarms before it."""
    at = WARM + 60
    world = stage(scenario("calm"), seed)
    nerve = world.parameters["nerve"][0].copy()
    makers = np.random.default_rng([seed, 17]).permutation(MAKERS)[:gone].tolist()
    seen = watch(world, at + 15, lambda world, second: leave(world, makers if second == at else [], nerve))
    left = int(seen.times[np.flatnonzero(seen.true <= 1.0 - gone / MAKERS)[0]])
    alarms = estimate(seen.times, seen.depth)[1]
    after = alarms[alarms >= left]
    return ((int(after[0]) - left) / SECOND if len(after) else np.inf), int(np.sum(alarms < left))


def records(seed: int, seconds: int) -> tuple[Seen, Floats, float]:
    """Let a world of comings and goings take the whole path.

    Returns what depth records tell; true shares and mean wide ratios of vacuum records, each second; and the greatest
    difference of a second's last record from the market's own book, lots.
    """
    broadcast = Broadcast(replace(scenario("calm"), seconds=seconds), seed)
    change = comings(broadcast.world, seed)
    pipeline = Pipeline(INSTRUMENT.asset, EngineConfig())
    session: Any = None
    times, depth, true, ratios = [], [], [], []
    for second in range(seconds):
        change(broadcast.world, second)
        lines, _ = broadcast.second()
        share = int(broadcast.world.state[0]["active"].sum()) / MAKERS
        session = session or open_session(lines[:1], None)
        for value in spoken(pipeline, session, lines):
            if value["signal"] == "vacuum":
                wide = value["bid_ratio_wide"], value["ask_ratio_wide"]
                ratios.append((share, np.nan if None in wide else 0.5 * (wide[0] + wide[1])))
                continue
            place = value["bands"].index(BAND)
            both = [(value[side] or {place: None})[place] for side in ("bid_base", "ask_base")]
            times.append(value["time"])
            depth.append(np.nan if None in both else sum(map(float, both)))
            true.append(share)
    return Seen(np.array(times), np.array(depth), np.array(true)), np.array(ratios), 0.0


def spoken(pipeline: Pipeline, session: Any, lines: Any) -> Iterator[dict[str, Any]]:
    """Yield the depth and vacuum records that lines become."""
    for received, raw in lines:
        for batch in session.receive(received, raw):
            for record in pipeline.step(batch):
                if record.topic in (SIGNAL_DEPTH, SIGNAL_VACUUM) and record.key == INSTRUMENT.key:
                    yield orjson.loads(record.value)
