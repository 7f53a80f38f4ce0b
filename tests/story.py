"""A scenario told to the engine: a market with known truth in; the signals that its frames become, and the truth, out.

    simulated market -> frames -> session -> pipeline -> records          (one process, nothing else)

A desk's engine knows more than the frames of some minutes. Of that it may be given

    past        rows of a month of hourly mark prices and open interest, as the accounts were opened then: the engine
                estimates its liquidation map from them, at the leverages that it assumes by default
    holders     the named positions, as exposures of a registry
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import orjson

from engine.config import EngineConfig
from engine.knowledge import Knowledge
from engine.pipeline import Pipeline
from engine.schema import MESSAGE, REFERENCE, Batch, Kind, Reference
from engine.topics import SIGNAL_CASCADE, SIGNAL_DEPTH, SIGNAL_FLOW, SIGNAL_HEALTH, SIGNAL_VACUUM
from ingest.session import open_session
from ingest.simulator.broadcast import Broadcast
from ingest.simulator.population import past_of
from ingest.simulator.scenarios import INSTRUMENT, PRICE, Scenario, exposures
from ingest.simulator.world import SECOND

#: What is told of an instrument, and what of it the story of october-10 is found in.
TOPICS: Final = (SIGNAL_DEPTH, SIGNAL_FLOW, SIGNAL_VACUUM, SIGNAL_CASCADE, SIGNAL_HEALTH)
SPOKEN: Final = (SIGNAL_VACUUM, SIGNAL_CASCADE)
HOUR: Final = 3_600 * SECOND
Value = dict[str, Any]


@dataclass
class Story:
    """What was told, and what was true; times in seconds from the scenario's begin."""

    #: Of the instrument: name of the signal -> (time, value) in order.
    signals: dict[str, list[tuple[float, Value]]] = field(default_factory=dict)
    truths: list[Value] = field(default_factory=list)
    #: (time, aggressor, lots) of every trade that was told.
    trades: list[tuple[float, int, int]] = field(default_factory=list)
    #: Each second, ticks.
    lows: list[int] = field(default_factory=list)

    def of(self, kind: str) -> list[Value]:
        """The truth of one kind."""
        return [each for each in self.truths if each["kind"] == kind]

    def states(self, side: str = "bid") -> list[tuple[float, str]]:
        """When the vacuum's machine came into which state."""
        found: list[tuple[float, str]] = []
        for at, value in self.signals["vacuum"]:
            if not found or found[-1][1] != value[f"{side}_state"]:
                found.append((at, value[f"{side}_state"]))
        return found

    def before(self, signal: str, at: float) -> Value:
        """The last record of a signal before a time."""
        return [value for time, value in self.signals[signal] if time < at][-1]

    def bids(self, within: int = 0) -> "np.ndarray[Any, Any]":
        """Lots of bids within 10 (50, 100) bps of the mid at the end of each second, in truth."""
        return np.array([each["bids"][within] for each in self.of("state")])


def tell(
    wanted: Scenario,
    seed: int,
    *,
    past: bool = False,
    config: EngineConfig | None = None,
    seconds: int = 0,
    topics: Collection[str] = TOPICS,
) -> Story:
    """Let a scenario, or its first seconds, become signals, those of some topics."""
    broadcast = Broadcast(wanted, seed)
    pipeline = Pipeline(INSTRUMENT.asset, config or EngineConfig())
    story = Story()
    if past:
        for batch in history(wanted, seed, broadcast.world.accounts):
            pipeline.step(batch)
    session: Any = None
    for _ in range(seconds or wanted.seconds):
        lines, truths = broadcast.second()
        story.truths += [{**each, "at": (each["time"] - wanted.start) / SECOND} for each in truths]
        story.lows.append(int(broadcast.world.state[0]["low"]))
        session = session or open_session(lines[:1], None)
        for received, raw in lines:
            for batch in session.receive(received, raw):
                at = (received - wanted.start) / SECOND
                story.trades += [(at, int(row["side"]), int(row["size"])) for row in batch.trades]
                _take(story, pipeline.step(batch), wanted.start, topics)
    return story


def history(wanted: Scenario, seed: int, accounts: Any) -> list[Batch]:
    """Give the rows of a month before: each hour the mark price, and the open interest of those who are in by then."""
    prices, opened = past_of(wanted.population, seed, PRICE)
    interest = int(accounts["size"][accounts["side"] > 0].sum())
    begin = wanted.start - len(prices) * HOUR
    batches = [_batch(Kind.INSTRUMENT, begin, 1, instruments=INSTRUMENT.row())]
    held = 0.0
    for hour in range(len(prices) - 1, -1, -1):
        held += opened[hour] * interest
        rows = np.zeros(2, REFERENCE)
        rows["what"] = Reference.MARK, Reference.OPEN_INTEREST
        rows["value"] = round(prices[hour]) * INSTRUMENT.tick, int(held) * INSTRUMENT.lot
        # A minute before the market begins is the last of them.
        batches.append(_batch(Kind.REFERENCE, wanted.start - hour * HOUR - 60 * SECOND, 2, references=rows))
    return batches


def registry(wanted: Scenario) -> EngineConfig:
    """Give an engine that knows the named positions, and nothing else."""
    return replace(EngineConfig(), knowledge=Knowledge(exposures=exposures(wanted)))


def _batch(kind: Kind, at: int, count: int, **rows: Any) -> Batch:
    messages = np.zeros(1, MESSAGE)
    messages["kind"], messages["count"] = kind, count
    messages["received"] = messages["exchanged"] = at
    return Batch(instrument=INSTRUMENT.key, asset=INSTRUMENT.asset, messages=messages, **rows)


def _take(story: Story, records: Iterable[Any], start: int, topics: Collection[str]) -> None:
    for record in records:
        if record.topic not in topics:
            continue
        value = orjson.loads(record.value)
        if "instrument" in value:
            story.signals.setdefault(value["signal"], []).append(((record.time - start) / SECOND, value))


@dataclass(frozen=True, kw_only=True)
class October:
    """What is to be found in the signals of `october-10`; times in seconds from its begin."""

    #: When depth begins to leave, the news, the first forced order after it, and when somebody refills.
    thins: float
    news: float
    first: float
    refills: float
    #: The bids' depth ratio, median of the calm and of the last seconds before the news.
    calm_ratio: float
    news_ratio: float
    #: When the bids came into each state the first time; infinite where they never did.
    thin: float
    vacuum: float
    recovering: float
    normal: float
    #: The critical shock of a fall of 1 % as told last before the first forced order; what is sold in an ordinary
    #: minute: base units.
    critical: float
    ordinary: float
    #: The fall that was told then for 100 million, bps, None where the book would not have sufficed; and if nobody were
    #: forced; the real one until somebody refills.
    told: float | None
    alone: float | None
    real: float
    coverage: float
    #: Seconds from the first forced order to the first deleveraged one; infinite where there was none.
    wave: float
    #: When bids in truth came to stay, for the first time after the vacuum, at a tenth of what is usual near the mid.
    returns: float
    #: Share of the usual that was there, in truth, in the ten seconds before NORMAL.
    restored: float

    @property
    def error(self) -> float:
        """How far off the fall that was told was, a share of the real one."""
        return abs(self.told - self.real) / self.real if self.told is not None else NEVER


#: Which of the default shocks is the scenario's own.
SHOCK: Final = 100_000_000
NEVER: Final = float("inf")


def error_of(story: Story, true: October) -> float:
    """How far off a story's last word before the first forced order is, told with another map; a share of the fall."""
    value = story.before("cascade", true.first)
    told = value["fall_bps"][value["shocks"].index(SHOCK)]
    return abs(told - true.real) / true.real if told is not None else NEVER


def october_of(story: Story) -> October:
    """Find the story of `october-10` in its signals."""
    stages = [each["at"] for each in story.of("stage")]
    thins, news, refills = stages[1], stages[3], stages[5] if len(stages) > 5 else NEVER
    first = min((each["at"] for each in story.of("forced") if each["at"] > news), default=NEVER)
    waves = [each["at"] for each in story.of("deleveraged") if each["at"] > news]
    ratios = [(at, value["bid_ratio"]) for at, value in story.signals["vacuum"] if value["bid_ratio"] is not None]
    entered = {state: at for at, state in reversed(story.states()) if at > thins}
    vacuum = entered.get("vacuum", NEVER)
    later = {state: at for at, state in reversed(story.states()) if at > vacuum}
    told = story.before("cascade", first)
    place, fall = told["shocks"].index(SHOCK), told["drops"].index(100)
    low = min(story.lows[: int(min(refills, len(story.lows)))])
    tick = INSTRUMENT.tick / 10**INSTRUMENT.price_decimals
    bids = story.bids()
    usual = float(np.median(bids[10 : int(thins)]))
    stays = [second for second in range(len(bids) - 2) if (bids[second : second + 3] >= 0.1 * usual).all()]
    normal = later.get("normal", NEVER)
    restored = float(np.median(bids[int(normal) - 10 : int(normal)])) / usual if normal < NEVER else 0.0
    return October(
        thins=thins,
        news=news,
        first=first,
        refills=refills,
        calm_ratio=float(np.median([ratio for at, ratio in ratios if at < thins])),
        news_ratio=float(np.median([ratio for at, ratio in ratios if news - 5 < at < news])),
        thin=entered.get("thin", NEVER),
        vacuum=vacuum,
        recovering=later.get("recovering", NEVER),
        normal=normal,
        critical=told["fall_critical"][fall],
        ordinary=sum(size for at, side, size in story.trades if side < 0 and at < thins) * 0.06 / thins,
        told=told["fall_bps"][place],
        alone=told["fall_alone_bps"][place],
        real=(1.0 - low * tick / told["mid"]) * 1e4,
        coverage=told["map_coverage"],
        wave=min(waves, default=NEVER) - first,
        returns=min((float(second) for second in stays if second > vacuum), default=NEVER),
        restored=restored,
    )
