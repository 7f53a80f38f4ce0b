"""The engine process: partitions of market.v1 in, signals of the same partitions out, each exactly once.

Crash and start are one path: read how far each output reaches, load the newest snapshot, replay in silence up to there,
go on. Only one process may own a partition. Two with the same static assignment write every signal twice; the copies
are equal byte for byte and name the same source, so a desk drops what it has seen, but nothing here prevents it.
"""

import logging
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from airpocket.recovery import OUTPUTS, Retention, recover
from airpocket.settled import settled
from airpocket.shard import Shard
from airpocket.snapshot import SLOTS, records
from engine.broker import BrokerConfig
from engine.config import EngineConfig
from engine.errors import AirpocketError, BadConfig
from engine.pipeline import warm
from engine.schema import MESSAGE, Batch, Kind
from engine.topics import MARKET, STATE
from engine.wire import batch_of, record
from ingest.topic import TopicSource
from sinks.topic import TopicSink

log: Final = logging.getLogger("airpocket.worker")

#: Seconds that delivering what is written may take once the process was told to stop.
DRAIN: Final = 5.0
#: Milliseconds that the broker may hold a fetch while recovering.
JUMP: Final = 50


class Stop(Protocol):
    """What says that it is time to stop; a `threading.Event` does."""

    def is_set(self) -> bool:
        """Say whether to stop."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """How one engine process runs; nothing here changes a signal."""

    #: Seconds between snapshots: what a restart replays at most.
    snapshot_every: float = 30.0
    #: What to do where the input that a restart needs is no longer retained: "fail", or "reset" to what there is.
    retention_passed: Retention = "fail"
    #: Take up the log where it was left. Without it everything retained is computed and written once more.
    recovery: bool = True

    def __post_init__(self) -> None:
        if self.snapshot_every <= 0:
            raise BadConfig(f"snapshot_every is {self.snapshot_every}, allowed are seconds above 0")
        if self.retention_passed not in ("fail", "reset"):
            raise BadConfig(f"retention_passed is {self.retention_passed!r}, allowed are fail and reset")


class _Owner:
    """One partition that this process owns: its shard, and the slot that the next snapshot goes to."""

    def __init__(self, shard: Shard, slot: int) -> None:
        self.shard = shard
        self.slot = slot
        #: Input offset of the last snapshot. A start behind the log's beginning saves at once: where it began is
        #: nowhere else, and a restart could not find out.
        self.saved = 0


def serve(
    broker: BrokerConfig,
    config: EngineConfig,
    partitions: Sequence[int],
    settings: WorkerConfig = WorkerConfig(),
) -> int:
    """Run until SIGTERM or an interrupt and return the exit status; to be called in the main thread."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    try:
        run(broker, config, partitions, stop, settings)
    except AirpocketError as error:
        log.error("stopped status=%d reason=%s", error.status, error)
        return error.status
    return 0


def run(
    broker: BrokerConfig,
    config: EngineConfig,
    partitions: Sequence[int],
    stop: Stop,
    settings: WorkerConfig = WorkerConfig(),
) -> None:
    """Compute the signals of these partitions until told to stop, then deliver, snapshot and return."""
    log.info("starting broker=%s digest=%s partitions=%s", broker, config.digest(), list(partitions))
    log.info("warm seconds=%.2f", _warm(config))
    source = TopicSource(broker)
    try:
        sink = TopicSink(broker, (*OUTPUTS, STATE))
        try:
            _check(source, partitions)
            owners = _own(source, broker, partitions, config, settings)
            source.begin({(MARKET, partition): owner.shard.offset for partition, owner in owners.items()})
            with settled():
                _loop(source, sink, owners, stop, settings)
        finally:
            sink.close()
    finally:
        source.close()


def _warm(config: EngineConfig) -> float:
    """Compile or load every kernel of the path; return how many seconds that took."""
    begun = time.monotonic()
    warm(config)
    message = np.zeros(1, MESSAGE)
    message["kind"] = int(Kind.RESYNC)
    batch_of(record(Batch(instrument="warm:WARM", asset="WARM", messages=message)))
    return time.monotonic() - begun


def _own(
    source: TopicSource, broker: BrokerConfig, partitions: Sequence[int], config: EngineConfig, settings: WorkerConfig
) -> dict[int, _Owner]:
    if not settings.recovery:
        earliest = {partition: source.earliest(MARKET, partition) for partition in partitions}
        return {partition: _Owner(Shard(partition, config, {}, offset), 0) for partition, offset in earliest.items()}
    begun = time.monotonic()
    # Every jump from one place to another waits until the broker lets go of the fetch before.
    reader = TopicSource(replace(broker, fetch_wait=min(broker.fetch_wait, JUMP)))
    try:
        recovered = recover(reader, partitions, config, settings.retention_passed)
    finally:
        reader.close()
    for partition, (shard, _) in recovered.items():
        log.info("recovered partition=%d offset=%d outputs_reach=%d", partition, shard.offset, shard.until)
    log.info("recovered seconds=%.3f", time.monotonic() - begun)
    return {partition: _Owner(shard, slot) for partition, (shard, slot) in recovered.items()}


def _check(source: TopicSource, partitions: Sequence[int]) -> None:
    there = source.partitions(MARKET)
    if not partitions or not set(partitions) <= set(there):
        raise BadConfig(f"partitions are {list(partitions)}, {MARKET} has {there[0]} to {there[-1]}")


def _loop(source: TopicSource, sink: TopicSink, owners: dict[int, _Owner], stop: Stop, settings: WorkerConfig) -> None:
    due = time.monotonic()
    while not stop.is_set():
        if settings.recovery and time.monotonic() >= due:
            _save(sink, owners)
            due = time.monotonic() + settings.snapshot_every
        for taken in source.poll(0.1):
            shard = owners[taken.partition].shard
            unreadable, behind = shard.counts["unreadable"], not shard.caught_up
            outputs = shard.step(taken)
            if outputs:
                sink.write(outputs, taken.partition)
            if shard.counts["unreadable"] > unreadable:
                log.warning("unreadable partition=%d offset=%d reason=%s", taken.partition, taken.offset, shard.fault)
            if behind and shard.caught_up:
                log.info("caught up partition=%d offset=%d", taken.partition, taken.offset)
    began = time.monotonic()
    sink.flush(DRAIN)
    if settings.recovery:
        _save(sink, owners)
        sink.flush(max(1.0, DRAIN - (time.monotonic() - began)))
    log.info("drained seconds=%.2f", time.monotonic() - began)


def _save(sink: TopicSink, owners: dict[int, _Owner]) -> None:
    """Write a snapshot of every partition that has moved, behind everything that it implies."""
    moved = [owner for owner in owners.values() if owner.shard.caught_up and owner.shard.offset != owner.saved]
    if not moved:
        return
    sink.flush()
    for owner in moved:
        partition = owner.shard.partition
        sink.write(records(owner.shard.snapshot(), partition, owner.slot), partition)
        owner.slot = (owner.slot + 1) % SLOTS
        owner.saved = owner.shard.offset
