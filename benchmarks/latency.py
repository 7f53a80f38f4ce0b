"""From a frame's way out of the venue to its signal in a desk's hands, each part a process of its own on loopback.

    emulator ─▶ websocket ─▶ feed ─▶ market.v1 ─▶ engine ─▶ signal.depth.v1 ─▶ consumer
      sends          (5 ms of rows make a record)        (a line of 10 ms is due)    arrives

A depth record is written when the first row beyond a line of the cadence's grid is taken: that row's frame is what
called for it, and what it waits for. The record's `time` is that row's stamp; market.v1 says which update id the row
has; the emulator noted when the frame with that id was sent; feed and engine note when they hand a record to their
producer. All read this machine's one clock. Signals of the first two seconds are left out.

    python -m benchmarks.latency BOOTSTRAP FETCH_WAIT LOAD SECONDS

prints ms as JSON: of the same client's bare produce -> consume ("hop"), of two of them with a bare relay between
("chain"), then of our path's parts, measured one after the other on the same broker.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from multiprocessing.connection import Connection
from typing import Any, Final
from zlib import crc32

import orjson
from kafka import KafkaProducer

from airpocket.stage import Address, Child, compute, feed
from benchmarks.workload import require_tape
from engine.broker import BrokerConfig
from engine.config import EngineConfig
from engine.schema import Kind, Record
from engine.topics import MARKET, SIGNAL_DEPTH, partition_of
from engine.wire import batch_of
from ingest import timeline
from ingest.emulator import Emulator
from ingest.session import open_session
from ingest.tape import read
from ingest.topic import TopicSource
from ingest.venues import load as load_venue
from sinks.topic import TopicSink

SECOND: Final = 1_000_000_000
#: How many times the tape's pace, whether each second of the tape comes at once, and the interval of a record, ns.
LOADS: Final[dict[str, tuple[float, bool, int]]] = {
    "1x": (1.0, False, 5_000_000),
    "1x, records of 1 ms": (1.0, False, 1_000_000),
    "10x": (10.0, False, 5_000_000),
    "burst": (10.0, True, 5_000_000),
}
#: The parts of our path: until the row's record is produced; from there until the engine knows the signal, and until
#: the desk has it; and all of it. Beside them a bare hop is measured, while all of it runs.
PARTS: Final = ("linger", "engine", "desk", "whole")
#: Row kind -> how the venue calls it.
EVENTS: Final = {int(Kind.DELTA): b"depthUpdate", int(Kind.TOUCH): b"bookTicker"}
#: Bytes of a depth record's value, and records per second, about: what the bare hop sends.
SIZE: Final = 1_800
RATE: Final = 90
ASSET: Final = "BTC"
PARTITIONS: Final = 4
#: Partitions of the bare hops: not the asset's own.
FROM: Final = (partition_of(ASSET, PARTITIONS) + 1) % PARTITIONS
ON: Final = (FROM + 1) % PARTITIONS
#: Seconds of bare hops before anything counts.
WARM: Final = 5.0

Key = tuple[bytes, int]


def venue(pipe: Connection, load: str, seconds: float) -> None:
    """Be the venue: note when each frame is sent, and say so at the end."""
    pace, burst, _ = LOADS[load]
    tape = read([require_tape()])
    first = next(tape)
    lines = [first, *takewhile(lambda line: line[0] < first[0] + int(seconds * pace * SECOND), tape)]
    session = open_session(lines[:20_000], "binance_usdm")
    for received, raw in lines[:2_000]:
        session.receive(received, raw)
    known, instruments = load_venue("binance_usdm"), list(session.instruments.values())
    if burst:
        lines = [(received // SECOND * SECOND, raw) for received, raw in lines]
    met = {known.emulation.stream_of(raw) for _, raw in lines[:20_000]}
    streams = {stream.name: stream.channel.name.lower() for stream in known.streams([i.symbol for i in instruments])}
    names = met & streams.keys()
    sent: list[tuple[int, list[bytes]]] = []
    flush = timeline.Timeline._flush

    def noted(self: timeline.Timeline, outgoing: Mapping[Any, Sequence[bytes]]) -> None:
        sent.append((time.time_ns(), [wire for frames in outgoing.values() for wire in frames]))
        flush(self, outgoing)

    setattr(timeline.Timeline, "_flush", noted)  # noqa: B010

    async def serve() -> None:
        wanted = {str(name) for name in names}
        async with Emulator(known, lines, instruments, speed=pace, wanted=wanted) as emulator:
            pipe.send(
                Address(
                    venue=known.name,
                    symbols=tuple(i.symbol for i in instruments),
                    channels=tuple(sorted({streams[name] for name in wanted})),
                    socket_url=emulator.socket_url,
                    rest_url=emulator.rest_url,
                )
            )
            await emulator.finished()

    asyncio.run(serve())
    pipe.send({key_of(wire): at for at, wires in sent for wire in wires})
    pipe.recv()


def key_of(wire: bytes) -> Key:
    """Read event and update id off a frame's bytes."""
    event = wire.partition(b'"e":"')[2].partition(b'"')[0]
    identity = wire.partition(b'"u":')[2].partition(b",")[0]
    return event, int(identity) if identity.isdigit() else 0


def noting(pipe: Connection, work: Callable[..., None], *arguments: Any) -> None:
    """Do a process's work, and say at its end when it handed each record to its producer, by the value's checksum."""
    written: dict[int, int] = {}
    write = TopicSink.write

    def noted(self: TopicSink, records: Sequence[Record], partition: int | None = None) -> None:
        at = time.time_ns()
        written.update((crc32(record.value), at) for record in records)
        write(self, records, partition)

    setattr(TopicSink, "write", noted)  # noqa: B010
    try:
        work(pipe, *arguments)
    finally:
        pipe.send(written)


def through(broker: BrokerConfig, load: str, seconds: float) -> dict[str, list[float]]:
    """Run the whole path; give the delays of every signal, part by part, ms."""
    config = EngineConfig(cadence=10)
    children = [
        Child("feed", noting, feed, broker, LOADS[load][2]),
        Child("engine", noting, compute, broker, config),
        Child("venue", venue, load, seconds),
    ]
    ingest, engine, source = children
    notes: list[dict[int, int]] = []
    meter = Child("meter", meet, broker)
    children.append(meter)
    try:
        meter.ask(60)
        for child in (engine, ingest):
            child.tell("go on")
            child.ask(300)
        address = source.ask(300)
        reader = TopicSource(broker)
        partition = partition_of(ASSET, broker.partitions)
        reader.begin({(SIGNAL_DEPTH, partition): 0})
        ingest.tell(address)
        children.append(Child("producer", produce, broker, seconds))
        met: list[tuple[int, bytes]] = []
        sent: dict[Key, int] = {}
        end = time.monotonic() + 3 * seconds + 30
        while time.monotonic() < end:
            for taken in reader.poll(0.05):
                assert taken.record is not None
                met.append((time.time_ns(), taken.record.value))
            if not sent and source.pipe.poll():
                sent = source.ask(0)
                end = time.monotonic() + 1.0
        for child in (ingest, engine):
            child.process.terminate()
            notes.append(child.ask(30))
        meter.tell("say")
        beside: list[tuple[int, float]] = meter.ask(30)
    finally:
        for child in children:
            child.end(5)
    rows = market(broker, partition)
    begin = min(sent.values()) + 2 * SECOND
    return {**delays(met, rows, sent, *notes), "beside": [ms for at, ms in beside if at > begin]}


def market(broker: BrokerConfig, partition: int) -> dict[int, tuple[Key, int]]:
    """Give, by the stamp of each row of market.v1, what its frame was, and its record's checksum."""
    reader = TopicSource(broker)
    found: dict[int, tuple[Key, int]] = {}
    for taken in reader.read(MARKET, partition, 0, reader.end(MARKET, partition)):
        assert taken.record is not None
        for message in batch_of(taken.record).messages:
            if int(message["kind"]) in EVENTS:
                key = EVENTS[int(message["kind"])], int(message["last"])
                found[int(message["received"])] = key, crc32(taken.record.value)
    reader.close()
    return found


def delays(
    met: Sequence[tuple[int, bytes]],
    rows: Mapping[int, tuple[Key, int]],
    sent: Mapping[Key, int],
    produced: Mapping[int, int],
    computed: Mapping[int, int],
) -> dict[str, list[float]]:
    """Give the ms of every part of the way from the frame that called for a signal to the signal's arrival."""
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    begin = min(sent.values()) + 2 * SECOND
    for arrived, value in met:
        key, record = rows.get(orjson.loads(value)["time"], ((b"", 0), 0))
        at = sent.get(key, 0)
        if at > begin:
            left, known = produced[record], computed[crc32(value)]
            ways = (left - at, known - left, arrived - left, arrived - at)
            for part, way in zip(PARTS, ways, strict=True):
                found[part].append(way / 1e6)
    return found


def bare(broker: BrokerConfig) -> Any:
    """Open the client's own producer with our settings."""
    return KafkaProducer(
        bootstrap_servers=broker.bootstrap, acks="all", compression_type="lz4", linger_ms=broker.linger
    )


def produce(pipe: Connection, broker: BrokerConfig, seconds: float) -> None:
    """Send the time, padded as a record is, at a steady rate."""
    producer = bare(broker)
    padding = orjson.dumps([i * 7.31 for i in range(260)])[:SIZE]
    pipe.send("ready")
    due = time.monotonic()
    end = due + seconds
    while due < end:
        due += 1 / RATE
        time.sleep(max(0.0, due - time.monotonic()))
        value = b"%d %s" % (time.time_ns(), padding)
        producer.send(SIGNAL_DEPTH, value=value, key=b"bare", partition=FROM)
    producer.flush()
    pipe.send("done")
    pipe.recv()


def relay(pipe: Connection, broker: BrokerConfig) -> None:
    """Take records of one partition and send them on to another, as they are."""
    producer, reader = bare(broker), TopicSource(broker)
    reader.begin({(SIGNAL_DEPTH, FROM): reader.end(SIGNAL_DEPTH, FROM)})
    reader.poll(0.5)
    pipe.send("ready")
    while True:
        for taken in reader.poll(0.1):
            assert taken.record is not None
            producer.send(SIGNAL_DEPTH, value=taken.record.value, key=b"bare", partition=ON)


def meet(pipe: Connection, broker: BrokerConfig) -> None:
    """Be the end of a bare hop: note how long each record took, ms, until told to say so."""
    reader = TopicSource(broker)
    reader.begin({(SIGNAL_DEPTH, FROM): reader.end(SIGNAL_DEPTH, FROM)})
    pipe.send("ready")
    found = []
    while not pipe.poll():
        for taken in reader.poll(0.05):
            assert taken.record is not None
            arrived, value = time.time_ns(), taken.record.value
            sent = int(value.partition(b" ")[0])
            found.append((sent, (arrived - sent) / 1e6))
    pipe.recv()
    pipe.send(found)


def hop(broker: BrokerConfig, seconds: float, *, hops: int = 1) -> list[float]:
    """Time one hop through the broker with the same client and settings, or two with a relay between."""
    place = (SIGNAL_DEPTH, FROM if hops == 1 else ON)
    found: list[float] = []
    children = []
    try:
        reader = TopicSource(broker)
        reader.begin({place: reader.end(*place)})
        if hops == 2:
            children.append(Child("relay", relay, broker))
            children[0].ask(60)
        child = Child("producer", produce, broker, seconds)
        children.append(child)
        child.ask(60)
        begin = time.time_ns() + 2 * SECOND
        end = time.monotonic() + 3 * seconds
        while time.monotonic() < end:
            for taken in reader.poll(0.05):
                assert taken.record is not None
                at = int(taken.record.value.partition(b" ")[0])
                if at > begin:
                    found.append((time.time_ns() - at) / 1e6)
            if child.pipe.poll():
                child.ask(0)
                end = min(end, time.monotonic() + 1.0)
        reader.close()
    finally:
        for each in children:
            each.end(5)
    return found


def main(arguments: Sequence[str]) -> None:
    """Measure one load on a broker whose topics are there and empty."""
    bootstrap, fetch_wait, load, seconds = arguments
    broker = BrokerConfig(bootstrap=bootstrap, partitions=PARTITIONS, fetch_wait=int(fetch_wait), linger=0)
    # The broker's own first seconds are slow.
    hop(broker, WARM)
    found = {"hop": hop(broker, float(seconds)), "chain": hop(broker, float(seconds), hops=2)}
    sys.stdout.write(json.dumps({**found, **through(broker, load, float(seconds))}))


if __name__ == "__main__":
    main(sys.argv[1:])
