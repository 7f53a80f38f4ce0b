"""The demo's processes: a venue that plays a market or a tape, the feed, the engine; each ends when it is told to.

They are forked where the system can, so that what the parent has imported and compiled is there at once. What a child
has to say goes through its pipe: first that it is ready, last what it counted, or why it stopped.
"""

import asyncio
import logging
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np

from airpocket.broker import die_with_parent
from airpocket.live import run_ingest
from airpocket.player import HEAD
from airpocket.worker import WorkerConfig, serve
from engine import baseline
from engine.broker import BrokerConfig
from engine.config import EngineConfig
from engine.errors import AirpocketError, BadConfig, BadFrame, Undelivered
from engine.instrument import Instrument
from engine.pipeline import Pipeline, warm
from engine.schema import LEVEL, LIQUIDATION, MESSAGE, REFERENCE, Batch, Channel, Kind
from engine.settings import Settings
from engine.signals import cascade, depth, flow
from engine.topics import MARKET
from engine.track import Track
from engine.trust import OK
from ingest.emulator import Emulator
from ingest.session import open_session
from ingest.simulator.broadcast import Broadcast
from ingest.simulator.frames import CHARACTERS, tape
from ingest.simulator.scenarios import INSTRUMENT, Scenario, october, scenario
from ingest.tape import read
from ingest.venues import Venue, load
from sinks.topic import TopicSink

SECOND: Final = 1_000_000_000
#: Two small markets without end, whose makers leave for a while every minute.
PAIR: Final = "pair"
#: What is played beyond what is asked for, s: a machine may be slow to make the first signal of it.
SPARE: Final = 30
#: Most of a market or tape that is played before it begins again.
LONGEST: Final = 600 * SECOND
#: Of the pair, where no end is asked for.
ENDLESS: Final = 120 * SECOND
#: The event as the demo shows it: minutes of it in one of the market, and seconds of calm before, of which an engine
#: needs a minute until it knows what is usual. Two minutes show all but the refill.
COMPRESSION: Final = 60.0
CALM: Final = 65
#: From generating a market to the feed's first frame, about, ns: its exchange stamps should then be of that moment.
LEAD: Final = SECOND * 7 // 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What the venue plays."""

    #: The simulated market where no tape is played: a scenario's name, or PAIR.
    scenario: str = PAIR
    #: A tape's path; None: the simulated market.
    tape: str | None
    venue: str | None
    seed: int
    speed: float
    #: Seconds of it that are wanted; 0: no end.
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a playing venue is, and what it plays."""

    venue: str
    symbols: tuple[str, ...]
    channels: tuple[str, ...]
    socket_url: str
    rest_url: str


class Child:
    """A process of ours, and the pipe to it."""

    def __init__(self, name: str, work: Callable[..., None], *arguments: Any) -> None:
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self.name = name
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_run, args=(work, theirs, arguments), name=name, daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, timeout: float) -> Any:
        """Wait for what the child says next; raises what stopped it."""
        if not self.pipe.poll(timeout):
            raise Undelivered(f"the demo's {self.name} says nothing for {timeout:g} s")
        try:
            said = self.pipe.recv()
        except EOFError:
            raise Undelivered(f"the demo's {self.name} ended, status {self.process.exitcode}") from None
        if isinstance(said, AirpocketError):
            raise said
        return said

    def tell(self, what: Any) -> None:
        """Say something to the child; raises what stopped it where it has."""
        try:
            self.pipe.send(what)
        except BrokenPipeError:
            self.ask(0)

    def check(self) -> None:
        """Raise if the child has stopped."""
        if self.pipe.poll():
            self.ask(0)

    def end(self, patience: float) -> None:
        """Tell the child to end, and see to it that it does."""
        self.process.terminate()
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _run(work: Callable[..., None], pipe: Connection, arguments: Sequence[Any]) -> None:
    """Be a child: interrupts are the parent's to take, and without a parent there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orphaned = die_with_parent()
    if orphaned is not None:
        orphaned()
    logging.disable(logging.WARNING)
    try:
        work(pipe, *arguments)
    except AirpocketError as error:
        pipe.send(error)
        sys.exit(error.status)


def play(pipe: Connection, wanted: Play) -> None:
    """Be the venue: once asked, serve, say where, and when told to end, say how many frames were sent."""
    prepared = _from_tape(wanted) if wanted.tape else None
    scene = scene_of(wanted.scenario) if prepared is None else None
    if scene is not None:
        # A second of it compiles the market, or finds it compiled.
        Broadcast(scene, wanted.seed).second()
    pipe.recv()
    venue, lines, instruments = prepared or _from_market(wanted)
    streams = {stream.name: stream.channel for stream in venue.streams([i.symbol for i in instruments])}
    met = {venue.emulation.stream_of(raw) for _, raw in lines[:HEAD]}
    names = {name for name in streams if name in met}
    channels = sorted({streams[name].name.lower() for name in names} | {Channel.LIQUIDATION.name.lower()})

    async def serve() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        async with Emulator(venue, lines, instruments, speed=wanted.speed, wanted=names, loop=True) as emulator:
            pipe.send(
                Address(
                    venue=venue.name,
                    symbols=tuple(i.symbol for i in instruments),
                    channels=tuple(channels),
                    socket_url=emulator.socket_url,
                    rest_url=emulator.rest_url,
                )
            )
            await stop.wait()
            pipe.send(dict(emulator.counts))

    asyncio.run(serve())


Scene = tuple[Venue, list[tuple[int, bytes]], list[Instrument]]


def length(wanted: Play) -> int:
    """Say how much of a market or tape is needed, ns."""
    if not wanted.seconds:
        return LONGEST if wanted.tape or wanted.scenario != PAIR else ENDLESS
    return min(int((wanted.seconds * wanted.speed + SPARE) * SECOND), LONGEST)


def scene_of(name: str) -> Scenario | None:
    """Find a market's scenario, the event's in the form that fits a demo; None: PAIR. Raises BadConfig for no name."""
    if name == PAIR:
        return None
    return october(COMPRESSION, CALM) if name == "october-10" else scenario(name)


def _from_market(wanted: Play) -> Scene:
    start, scene = time.time_ns() + LEAD, scene_of(wanted.scenario)
    if scene is None:
        taken = takewhile(lambda line: line[0] < start + length(wanted), tape(wanted.seed, start))
        instruments = [character.instrument for character in CHARACTERS]
        return load(instruments[0].venue), list(taken), instruments
    broadcast = Broadcast(scene, wanted.seed, start)
    seconds = min(broadcast.scenario.seconds, -(-length(wanted) // SECOND))
    lines = [line for _ in range(seconds) for line in broadcast.second()[0]]
    return load(INSTRUMENT.venue), lines, [each for each in broadcast.instruments if each.venue == INSTRUMENT.venue]


def _from_tape(wanted: Play) -> Scene:
    source = read([str(wanted.tape)])
    head = list(islice(source, HEAD))
    session = open_session(head, wanted.venue)
    for received, raw in head:
        try:
            session.receive(received, raw)
        except BadFrame:
            # It is played all the same: what the feed makes of it is the feed's affair.
            continue
    instruments = list(session.instruments.values())
    if not instruments:
        raise BadConfig(f"{wanted.tape} says nothing of its instruments in its first {len(head)} lines")
    lines = head + list(takewhile(lambda line: line[0] < head[0][0] + length(wanted), source))
    return load(instruments[0].venue), lines, instruments


def feed(pipe: Connection, broker: BrokerConfig, linger: int = 5_000_000) -> None:
    """Be the ingest process: compile the scanner while others prepare, then feed from where the venue is.

    `linger` is the interval of one record, ns.
    """
    _warm_decoder()
    pipe.recv()
    pipe.send("warm")
    address: Address = pipe.recv()
    settings = {"socket_url": address.socket_url, "rest_url": address.rest_url, "channels": address.channels}
    # Rows have waited for company already.
    sink = TopicSink(replace(broker, linger=0), [MARKET])
    asyncio.run(run_ingest([(address.venue, address.symbols, settings)], sink, linger=linger))


def _warm_decoder() -> None:
    instruments = {character.instrument.symbol: character.instrument for character in CHARACTERS}
    decoder = load(CHARACTERS[0].instrument.venue).decoder(instruments)
    for _, raw in islice(tape(), 30):
        if not raw.startswith(b'{"airpocket":'):
            decoder.decode(raw)


def compute(pipe: Connection, broker: BrokerConfig, config: EngineConfig) -> None:
    """Be the engine process: compile, then run."""
    _warm_path(config)
    # The records' kernels come from the cache once that process has said that they are there.
    pipe.recv()
    warm(config)
    pipe.send("warm")
    # The embedded broker forgets everything when it ends, and knows not where its logs end: nothing to recover from.
    settings = WorkerConfig(recovery=False)
    sys.exit(serve(broker, config, range(broker.partitions), settings))


def _warm_path(config: EngineConfig) -> None:
    """Compile what messages go through, and what is told without a book, while another process compiles the rest."""
    instrument = CHARACTERS[0].instrument
    messages = np.zeros(3, MESSAGE)
    messages["kind"] = (Kind.INSTRUMENT, Kind.RESYNC, Kind.RESYNC)
    messages["count"] = (1, 0, 0)
    messages["received"] = (1, 1, 1 + config.health_cadence * 1_000_000)
    pipeline = Pipeline(instrument.asset, config)
    pipeline.step(
        Batch(instrument=instrument.key, asset=instrument.asset, messages=messages, instruments=instrument.row())
    )
    (track,) = pipeline.tracks.values()
    for kind, family in ((Kind.REFERENCE, REFERENCE), (Kind.LIQUIDATION, LIQUIDATION)):
        track.hear(kind, np.zeros(1, family), 1)
    flow.report(track.flow, track.settings.flow, track.unit, track.settings.rows[flow.SIGNAL.name])


def warm_records(pipe: Connection, config: EngineConfig) -> None:
    """Compile what is read of a book into the cache on disk, beside the process that compiles what writes it."""
    instrument = CHARACTERS[0].instrument
    settings = Settings(config)
    track = Track(instrument.key, instrument.asset, settings)
    track.name(instrument)
    assert track.book is not None
    track.book.update(np.array([(instrument.tick * 9, 1), (instrument.tick * 11, 1)], LEVEL), 1, True)
    track.memory["reason"], track.memory["clock"] = OK, 1
    for told in (depth.SIGNAL, cascade.SIGNAL):
        track.value(told.name, 0)
    present = track.present[0]
    baseline.take_sample(track.baseline, settings.baseline, present["values"], present["whys"], 1)
    pipe.send("warm")
