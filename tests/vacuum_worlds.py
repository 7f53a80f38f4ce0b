"""Worlds in which makers thin out, leave and come back: a character and a seed in; vacuum records and labels out.

Records take the whole path: the venue's frames, its session, the engine's pipeline. Labels are the market's own: each
second, was depth within 10 bps of the mid gone for 5 s in a row (below a fifth of the world's median) within the next
30 s, on a side where at least half of it was there? Seconds at which the engine gives no input, or that have no label,
are left out, and counted.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.config import EngineConfig
from engine.inputs import INPUTS
from engine.knowledge import Knowledge, Model
from engine.pipeline import Pipeline
from engine.schema import Rows
from engine.statistics.labels import UNKNOWN, label_depth
from engine.topics import SIGNAL_VACUUM
from ingest.session import open_session
from ingest.simulator.broadcast import Broadcast
from ingest.simulator.frames import START
from ingest.simulator.scenarios import INSTRUMENT, Scenario, scenario
from ingest.simulator.world import SECOND, plan

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
HORIZON: Final = 30
#: What a vacuum record tells of its inputs.
READ: Final = ("ratio", "ratio_wide", "refill", "withdrawal", "spread")
#: What the model reads of them.
NAMES: Final = ("ratio", "ratio_wide", "refill", "withdrawal", "spread")
#: Seconds before the first trouble: the baseline needs a minute.
CALM: Final = 90
SIDES: Final = ("bid", "ask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """From where to where the parameters of worlds lie; each world draws its own, evenly."""

    #: Times the usual size of makers' quotes and the usual limit orders.
    depth: tuple[float, float]
    #: Volatility of the fundamental, ticks per root second.
    volatility: tuple[float, float]
    #: Times the usual volatility at which makers leave.
    nerve: tuple[float, float]
    #: Mean offspring of a market order.
    branching: tuple[float, float]


TRAINING: Final = Ranges(depth=(0.8, 1.4), volatility=(1.5, 3.0), nerve=(0.9, 1.3), branching=(0.2, 0.45))
#: Thinner, wilder, more nervous and more excited than any world of the training, all at once.
HARSHER: Final = Ranges(depth=(0.5, 0.75), volatility=(3.2, 4.5), nerve=(0.65, 0.85), branching=(0.5, 0.65))
#: The opposite of that.
GENTLER: Final = Ranges(depth=(1.45, 2.0), volatility=(0.8, 1.4), nerve=(1.35, 1.7), branching=(0.05, 0.15))


@dataclass(frozen=True, slots=True)
class Told:
    """One world's seconds, both sides after each other."""

    inputs: Rows
    #: 0 the bid side, 1 the ask side.
    sides: Ints
    labels: Ints
    #: What the records say, NaN where they say none.
    said: Floats
    #: Onsets of labelled vacuums, seconds that have no label, seconds that have one but no defined input.
    events: int
    unlabelled: int
    missing: int


def troubled(ranges: tuple[Ranges, ...], seconds: int, seed: int) -> tuple[Scenario, dict[str, float]]:
    """Make a plan with a trouble every one to three minutes, some of which are a thinning alone.

    Each parameter is drawn from one of the ranges, whichever.
    """
    random = np.random.default_rng([seed, 5])
    drawn = {}
    for name in ("depth", "volatility", "nerve", "branching"):
        chosen = ranges[int(random.integers(len(ranges)))] if len(ranges) > 1 else ranges[0]
        drawn[name] = float(random.uniform(*getattr(chosen, name)))
    usual = {"branching": drawn["branching"], "volatility": drawn["volatility"], "arbitrage": 2_000, "sells": 0.0}
    usual |= {"limits": 1.0, "bids": 1.0, "asks": 1.0}
    stages: list[dict[str, float]] = [{"time": 0, **usual}]
    at = CALM + int(random.integers(0, 40))
    while at + 90 < seconds:
        hit, other = ("bids", "asks") if random.random() < 0.5 else ("asks", "bids")
        thin = float(random.uniform(0.15, 0.9))
        stages.append({"time": at * SECOND, hit: thin, other: 0.5 + 0.5 * thin, "limits": 0.4 + 0.6 * thin})
        at += int(random.integers(8, 30))
        if random.random() < 0.6:
            force = float(random.uniform(0.2, 1.0)) * (1.0 if hit == "bids" else -1.0)
            news = {"time": at * SECOND, "jump": -0.01 * force, "sells": 3_000.0 * force, "arbitrage": 300}
            stages.append(news | {"volatility": 3.0 * drawn["volatility"], "limits": 0.5})
            at += int(random.integers(10, 40))
        stages.append({"time": at * SECOND, **usual})
        at += int(random.integers(40, 120))
    calm = scenario("calm")
    return replace(calm, name="troubled", seconds=seconds, plan=plan(*stages)), drawn


def tell(ranges: tuple[Ranges, ...], seconds: int, seed: int, model: Model | None = None) -> Told:
    """Let a world of these ranges run through the whole path."""
    wanted, drawn = troubled(ranges, seconds, seed)
    broadcast = Broadcast(wanted, seed)
    given = broadcast.world.parameters[0]
    given["quote"] *= drawn["depth"]
    given["nerve"][:-1] *= drawn["nerve"]
    # Makers return within these worlds.
    given["delay"] = 20.0
    pipeline = Pipeline(INSTRUMENT.asset, EngineConfig(knowledge=Knowledge(model=model)))
    session: Any = None
    values: list[dict[str, Any]] = []
    depth = np.zeros((2, seconds))
    for second in range(seconds):
        lines, _ = broadcast.second()
        session = session or open_session(lines[:1], None)
        for received, raw in lines:
            for batch in session.receive(received, raw):
                for record in pipeline.step(batch):
                    if record.topic == SIGNAL_VACUUM and record.key == INSTRUMENT.key:
                        values.append(orjson.loads(record.value))
        depth[:, second] = near(broadcast)
    return gather(values, depth)


def near(broadcast: Broadcast) -> tuple[int, int]:
    """Give bids and asks within 10 bps of the mid, lots."""
    row = broadcast.world.state[0]
    size, bid, ask, mid = row["size"], int(row["bid"]), int(row["ask"]), float(row["mid"])
    low, high = int(np.ceil(mid * 0.999)), int(mid * 1.001)
    return int(size[low : bid + 1].sum()), int(size[ask : high + 1].sum())


def gather(values: list[dict[str, Any]], depth: Floats) -> Told:
    """Put records and labels together, second by second."""
    labels = [label_depth(each, np.full(len(each), float(np.median(each))), HORIZON) for each in depth]
    inputs = np.zeros(0, INPUTS)
    sides: list[int] = []
    found: list[int] = []
    said: list[float] = []
    unlabelled = missing = 0
    for value in values:
        # depth[s] is that of the end of second s: the first that is not before the record.
        at = (value["time"] - START) // SECOND
        for side, name in enumerate(SIDES):
            label = int(labels[side][at]) if at < depth.shape[1] else UNKNOWN
            if label == UNKNOWN:
                unlabelled += 1
            elif any(value[f"{name}_{each}"] is None for each in READ):
                missing += 1
            else:
                row = np.zeros(1, INPUTS)
                for each in READ:
                    row[each][0, side] = value[f"{name}_{each}"]
                inputs = np.concatenate((inputs, row))
                sides.append(side)
                found.append(label)
                chance = value[f"{name}_probability"]
                said.append(np.nan if chance is None else chance)
    events = sum(onsets(each) for each in labels)
    return Told(inputs, np.array(sides), np.array(found), np.array(said), events, unlabelled, missing)


def onsets(labels: Ints) -> int:
    """Count vacuums: runs of 1s, of which those less than the horizon apart are one."""
    ones = np.flatnonzero(labels == 1)
    return int(len(ones) > 0) + int(np.sum(np.diff(ones) > HORIZON))
