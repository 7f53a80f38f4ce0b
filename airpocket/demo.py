"""The demo: nothing in but a seed, the whole path on loopback, its signals on the console out.

    simulated market -> emulated venue -> websocket -> feed -> market.v1 -> engine -> signal.*.v1 -> console
       (or a tape)          process 1               process 2    broker    process 3      broker     this one

Everything starts at once; the compiler is what takes long, once per machine, so its work is spread over the processes.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import Final

import orjson

from airpocket import stage
from airpocket.admin import ensure
from airpocket.broker import embedded
from airpocket.stage import Child, Play
from airpocket.tailing import stopped
from engine.broker import BrokerConfig
from engine.config import EngineConfig
from engine.errors import Undelivered
from engine.knowledge import Knowledge
from engine.schema import Record
from engine.topics import MARKET, SIGNAL_CASCADE, SIGNAL_DEPTH, SIGNAL_HEALTH, SIGNAL_VACUUM
from ingest.simulator.scenarios import exposures
from ingest.topic import TopicSource
from sinks.console import FALL, ConsoleSink, at, money

#: The signals that are shown.
SHOWN: Final = (SIGNAL_DEPTH, SIGNAL_VACUUM, SIGNAL_CASCADE, SIGNAL_HEALTH)
#: Seconds that everything may take until the first frame; compiling is nearly all of it, once per machine.
STARTING: Final = 300.0
#: After this many seconds of waiting it is said what is waited for.
PATIENCE: Final = 2.0
#: Seconds that a child may take to deliver what it has.
ENDING: Final = 8.0


class Show:
    """What the demo has shown so far."""

    def __init__(self, sink: ConsoleSink) -> None:
        self.counts: Counter[str] = Counter()
        self.began = time.monotonic()
        #: Seconds until the first signal of a known book; 0: there was none.
        self.first = 0.0
        self._sink = sink
        self._health: dict[str, Record] = {}
        self._stages: dict[str, str] = {}
        self._critical: dict[str, float | None] = {}

    def take(self, record: Record) -> None:
        """Count a record, and show it where it is a signal."""
        self.counts[record.topic] += 1
        if record.topic == MARKET:
            return
        self._sink.write([record])
        if record.topic == SIGNAL_HEALTH:
            self._health[record.key] = record
        elif record.topic == SIGNAL_CASCADE:
            value = orjson.loads(record.value)
            self._critical[record.key] = at(value, "fall_critical_quote", "drops", FALL)
        elif record.topic == SIGNAL_VACUUM:
            self._narrate(record)
        elif not self.first and orjson.loads(record.value)["state"] == "ok":
            self.first = time.monotonic() - self.began

    def _narrate(self, record: Record) -> None:
        """Say of an instrument's bids what has become of them, and what they could take then."""
        value = orjson.loads(record.value)
        stage = value["bid_state"]
        before, self._stages[record.key] = self._stages.get(record.key), stage
        if before in (None, stage) or "instrument" not in value:
            return
        ratio, critical = value["bid_ratio"], self._critical.get(record.key)
        usual = f"{ratio:.0%} of usual within 10 bps" if ratio is not None else str(value["bid_cause"])
        shock = "" if critical is None else f", critical shock of 1 % {money(critical)}"
        passed = time.monotonic() - self.began - self.first if self.first else 0.0
        self._sink.say(f"{passed:6.1f} s  {record.key} bids: {before} -> {stage}, {usual}{shock}")

    def closing(self, frames: int) -> str:
        """Say in one line what went through, and what to try next."""
        health = [orjson.loads(record.value) for record in self._health.values()]
        known = sum(value["state"] == "ok" for value in health)
        signals = sum(self.counts[topic] for topic in SHOWN)
        first = f" (the first after {self.first:.1f} s)" if self.first else ""
        return (
            f"{frames:,} frames, {self.counts[MARKET]:,} market records, {signals:,} signals{first}, "
            f"{known} of {len(health)} books known, {sum(value['gaps'] for value in health)} gaps. "
            "Next: airpocket record VENUE:SYMBOL --tape-dir tapes, then airpocket replay tapes"
        )


def run(play: Play, *, json: bool = False) -> None:
    """Run until the play's seconds are over or somebody says stop."""
    from airpocket.commands.options import say

    sink = ConsoleSink(lines=True if json else None)
    show = Show(sink)
    frames = 0
    with stopped() as stop, embedded() as broker:
        source = None
        try:
            with cast(play, broker, stop) as children:
                source = TopicSource(broker)
                topics = (MARKET, *SHOWN)
                source.begin({(topic, place): 0 for topic in topics for place in range(broker.partitions)})
                watch(source, show, children, stop, play.seconds)
                # What the path says of its own ending is not shown: the last picture is of books that are alive.
                frames = end(children)
        finally:
            if source is not None:
                source.close()
            sink.close()
    say(show.closing(frames))


@contextmanager
def cast(play: Play, broker: BrokerConfig, stop: Event) -> Iterator[list[Child]]:
    """Start every process, and see that none outlives the block; they come in the order in which they are to end."""
    config = known(play)
    feed = Child("feed", stage.feed, broker)
    engine = Child("engine", stage.compute, broker, config)
    venue = Child("venue", stage.play, play)
    records = Child("records", stage.warm_records, config)
    try:
        ensure(broker)
        wait((records, engine, feed), venue, stop)
        venue.tell("begin")
        if not stop.is_set():
            feed.tell(venue.ask(STARTING))
        yield [feed, engine, venue]
    finally:
        for child in (feed, engine, venue, records):
            child.end(ENDING)


def known(play: Play) -> EngineConfig:
    """Give the engine what everybody knows of the market that is played: its large holders."""
    scene = None if play.tape else stage.scene_of(play.scenario)
    return EngineConfig(knowledge=Knowledge(exposures=exposures(scene))) if scene is not None else EngineConfig()


def wait(children: Sequence[Child], venue: Child, stop: Event) -> None:
    """Wait until every child is ready, saying what takes so long; a tape that cannot be played ends it."""
    from airpocket.commands.options import say

    began, told = time.monotonic(), False
    waiting = list(children)
    while waiting and not stop.is_set():
        if waiting[0].pipe.poll(0.05):
            waiting.pop(0).ask(0)
            # Whoever is next may have waited for what this one compiled.
            if waiting:
                waiting[0].tell("go on")
        venue.check()
        passed = time.monotonic() - began
        if passed > PATIENCE and not told:
            say("compiling, once on this machine: half a minute or less")
            told = True
        if passed > STARTING:
            raise Undelivered(f"the demo's {waiting[0].name} is not ready after {STARTING:g} s")


def watch(source: TopicSource, show: Show, children: Sequence[Child], stop: Event, seconds: float) -> None:
    """Show what comes, until the time since the first signal is over."""
    while not stop.is_set():
        for taken in source.poll(0.05):
            if taken.record is not None:
                show.take(taken.record)
        for child in children:
            child.check()
        passed = time.monotonic() - show.began
        if show.first and seconds and passed >= show.first + seconds:
            return
        if not show.first and passed > STARTING:
            raise Undelivered(f"no signal of a known book after {STARTING:g} s")


def end(children: Sequence[Child]) -> int:
    """End the processes in the order of the path, so that each delivers what it has; return the frames played."""
    frames = 0
    for child in children:
        child.end(ENDING)
        while child.pipe.poll():
            try:
                said = child.pipe.recv()
            except EOFError:
                break
            if isinstance(said, dict):
                frames = said.get("frames", 0)
    return frames
