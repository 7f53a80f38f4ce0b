"""Where a shard goes on: the outputs' tails and the snapshots of one partition in, a shard that continues them out."""

import logging
from typing import Final, Literal, TypeAlias

from airpocket.shard import NONE, Shard, source_of
from airpocket.snapshot import SLOTS, Snapshot, Source, newest
from engine.config import EngineConfig
from engine.errors import BadRecord
from engine.topics import MARKET, RAW, STATE, TOPICS
from ingest.topic import TopicSource, last

log: Final = logging.getLogger("airpocket.recovery")

Retention: TypeAlias = Literal["fail", "reset"]
#: Every topic that the engine writes signals to.
OUTPUTS: Final = tuple(topic.name for topic in TOPICS if topic.name not in (MARKET, STATE, RAW))


def recover(source: TopicSource, partition: int, config: EngineConfig, passed: Retention) -> tuple[Shard, int]:
    """Return the shard that continues a partition's outputs, and the slot that its next snapshot goes to."""
    written, expired = _tails(source, partition)
    begin, end = source.earliest(MARKET, partition), source.end(MARKET, partition)
    reach = max((offset for offset, _ in written.values()), default=-1)
    if reach >= end:
        raise BadRecord(
            f"signals of partition {partition} name input {reach}, and {MARKET} ends at {end}: "
            f"it was made anew, so its signal topics must be too"
        )
    for snapshot, slot in newest(source, partition):
        fault = _fault(snapshot, written, expired, begin, end)
        if not fault:
            forgotten = {topic: source for topic, source in snapshot.delivered.items() if topic in expired}
            shard = Shard(partition, config, written | forgotten)
            try:
                shard.restore(snapshot)
            except BadRecord as error:
                fault = str(error)
            else:
                return shard, (slot + 1) % SLOTS
        log.warning("snapshot passed over partition=%d offset=%d reason=%s", partition, snapshot.offset, fault)
    if begin and written and passed == "fail":
        raise BadRecord(
            f"partition {partition} has signals up to input {reach}, no fitting snapshot, and input from {begin} only; "
            f"what a replay from there gives may differ: allow it with retention_passed = reset"
        )
    return Shard(partition, config, written, begin), 0


def _tails(source: TopicSource, partition: int) -> tuple[dict[str, Source], set[str]]:
    """Return the source of each output's last record, and the outputs whose records are all no longer retained."""
    written: dict[str, Source] = {}
    expired = set()
    for topic in OUTPUTS:
        taken = last(source, topic, partition)
        if taken is not None and taken.record is not None:
            written[topic] = source_of(taken.record)
        elif source.end(topic, partition) > 0:
            expired.add(topic)
    return written, expired


def _fault(snapshot: Snapshot, written: dict[str, Source], expired: set[str], begin: int, end: int) -> str:
    """Say why a snapshot cannot be gone on from; empty where it can."""
    if not begin <= snapshot.offset <= end:
        return f"it needs input from {snapshot.offset}, retained is {begin} to {end}"
    # Whatever a snapshot implies was acknowledged before it was written. Where the log holds less, the broker has lost
    # records, and only a replay from before them writes them again.
    lost = [t for t, met in snapshot.delivered.items() if t not in expired and written.get(t, NONE) < met]
    return f"signals that it implies are not in {', '.join(lost)}" if lost else ""
