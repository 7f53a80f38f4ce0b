"""Where a shard goes on: the outputs' tails and the snapshots of partitions in, shards that continue them out."""

import logging
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from airpocket.shard import NONE, Shard, source_of
from airpocket.snapshot import SLOTS, Snapshot, Source, newest
from engine.config import EngineConfig
from engine.errors import BadRecord
from engine.topics import MARKET, RAW, STATE, TOPICS
from ingest.topic import Taken, TopicSource

log: Final = logging.getLogger("airpocket.recovery")

Retention: TypeAlias = Literal["fail", "reset"]
#: Every topic that the engine writes signals to.
OUTPUTS: Final = tuple(topic.name for topic in TOPICS if topic.name not in (MARKET, STATE, RAW))


def recover(
    source: TopicSource, partitions: Sequence[int], config: EngineConfig, passed: Retention
) -> dict[int, tuple[Shard, int]]:
    """Return per partition the shard that continues its outputs, and the slot that its next snapshot goes to."""
    bounds = source.bounds([(topic, partition) for topic in (*OUTPUTS, MARKET, STATE) for partition in partitions])
    outputs = {place: ends for place, ends in bounds.items() if place[0] in OUTPUTS}
    tails = source.last(outputs)
    shards = {}
    for partition in partitions:
        written = {place[0]: _source(taken) for place, taken in tails.items() if place[1] == partition}
        # Not empty and yet without a record: what was there is no longer retained.
        expired = {topic for (topic, p), (_, end) in outputs.items() if p == partition and end and topic not in written}
        tail = _Tail(written, expired, *bounds[MARKET, partition])
        shards[partition] = _continue(source, partition, config, tail, bounds[STATE, partition], passed)
    return shards


class _Tail:
    """How far the outputs of one partition reach, and what is retained of its input."""

    def __init__(self, written: dict[str, Source], expired: set[str], begin: int, end: int) -> None:
        self.written = written
        self.expired = expired
        self.begin = begin
        self.end = end
        self.reach = max((offset for offset, _ in written.values()), default=-1)

    def fault_of(self, snapshot: Snapshot) -> str:
        """Say why a snapshot cannot be gone on from; empty where it can."""
        if not self.begin <= snapshot.offset <= self.end:
            return f"it needs input from {snapshot.offset}, retained is {self.begin} to {self.end}"
        # Whatever a snapshot implies was acknowledged before it was written. Where the log holds less, the broker has
        # lost records, and only a replay from before them writes them again.
        implied = {topic: met for topic, met in snapshot.delivered.items() if topic not in self.expired}
        lost = [topic for topic, met in implied.items() if self.written.get(topic, NONE) < met]
        return f"signals that it implies are not in {', '.join(lost)}" if lost else ""


def _continue(
    source: TopicSource, partition: int, config: EngineConfig, tail: _Tail, bounds: tuple[int, int], passed: Retention
) -> tuple[Shard, int]:
    if tail.reach >= tail.end:
        raise BadRecord(
            f"signals of partition {partition} name input {tail.reach}, and {MARKET} ends at {tail.end}: "
            f"it was made anew, so its signal topics must be too"
        )
    for snapshot, slot in newest(source, partition, bounds):
        fault = tail.fault_of(snapshot)
        if not fault:
            forgotten = {topic: met for topic, met in snapshot.delivered.items() if topic in tail.expired}
            shard = Shard(partition, config, tail.written | forgotten)
            try:
                shard.restore(snapshot)
            except BadRecord as error:
                fault = str(error)
            else:
                return shard, (slot + 1) % SLOTS
        log.warning("snapshot passed over partition=%d offset=%d reason=%s", partition, snapshot.offset, fault)
    if tail.begin and tail.written and passed == "fail":
        raise BadRecord(
            f"partition {partition} has signals up to input {tail.reach}, no fitting snapshot, and input from "
            f"{tail.begin} only; what a replay from there gives may differ: allow it with retention_passed = reset"
        )
    return Shard(partition, config, tail.written, tail.begin), 0


def _source(taken: Taken) -> Source:
    assert taken.record is not None
    return source_of(taken.record)
