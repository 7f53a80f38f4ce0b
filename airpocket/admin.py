"""Topics made on purpose: the table of `engine.topics` in, topics on the broker or the reason why not out.

Nothing here deletes, alters or repairs. A topic that already exists must be what it should be: an asset's partition
follows from the number of partitions, and what retention deleted cannot be replayed.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from engine.broker import MAX_VALUE, BrokerConfig, connect
from engine.errors import BadConfig, Undelivered
from engine.topics import TOPICS, Topic

#: A record written with its original, older time is refused by default after this; replayed tapes are older.
ANY_AGE: Final = str(2**63 - 1)
#: What the broker uses where the topic says nothing.
DEFAULTS: Final = {"cleanup.policy": "delete", "retention.ms": "604800000", "max.message.bytes": "1048588"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One topic as the broker has it."""

    name: str
    #: 0: it does not exist.
    partitions: int
    replication: int
    cleanup: str
    #: Milliseconds; -1 for ever.
    retention: int
    #: What is wrong with it; empty where nothing is.
    fault: str


@contextmanager
def admin(broker: BrokerConfig) -> Iterator[Any]:
    """Open an admin client; whatever the library raises becomes one of ours, naming the address."""
    # At DEBUG the library prints every byte it sends, the password among them.
    logging.getLogger("kafka").setLevel(logging.WARNING)
    try:
        client = connect(broker, "admin", KafkaAdminClient, KafkaNetClient)
    except KafkaError as error:
        raise Undelivered(f"no broker at {broker.bootstrap}: {error}") from error
    try:
        yield client
    except KafkaError as error:
        raise Undelivered(f"{broker.bootstrap} refused: {error}") from error
    finally:
        client.close()


def settings(topic: Topic, replication: int = 1) -> dict[str, str]:
    """Give the broker's settings of one topic."""
    values = {
        "cleanup.policy": topic.cleanup,
        "retention.ms": str(topic.retention),
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": ANY_AGE,
    }
    if replication >= 3:
        # acks=all waits for the replicas in sync, and without a least number one of three would do.
        values["min.insync.replicas"] = "2"
    if topic.cleanup == "compact":
        # Compaction leaves the active segment alone: without a short one the topic grows for a week.
        values |= {"min.cleanable.dirty.ratio": "0.2", "segment.ms": "600000", "delete.retention.ms": "86400000"}
    return values


def ensure(broker: BrokerConfig, topics: Sequence[Topic] = TOPICS) -> list[Row]:
    """Create what is missing and check what is there; raises BadConfig where they differ in what cannot be changed."""
    with admin(broker) as client:
        there = _describe(client, broker, topics)
        faults = [row.fault for row in there if row.partitions and row.fault]
        if faults:
            raise BadConfig("; ".join(faults))
        absent = {row.name for row in there if not row.partitions}
        new = {
            topic.name: {
                "num_partitions": broker.partitions,
                "replication_factor": broker.replication,
                "configs": settings(topic, broker.replication),
            }
            for topic in topics
            if topic.name in absent
        }
        if new:
            client.create_topics(new, timeout_ms=int(broker.timeout * 1000), wait_for_metadata=True)
        return _describe(client, broker, topics)


def describe(broker: BrokerConfig, topics: Sequence[Topic] = TOPICS) -> list[Row]:
    """Describe every topic of the table as the broker has it, and what is wrong with it."""
    with admin(broker) as client:
        return _describe(client, broker, topics)


def _describe(client: Any, broker: BrokerConfig, topics: Sequence[Topic]) -> list[Row]:
    names = [topic.name for topic in topics]
    known = {topic["name"]: topic["partitions"] for topic in client.describe_topics(names) if not topic["error_code"]}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names if known.get(name)]
    described = client.describe_configs(resources, config_filter="all").get("topic", {}) if resources else {}
    return [_row(topic, known.get(topic.name) or [], described.get(topic.name, {}), broker) for topic in topics]


def _row(
    topic: Topic, partitions: Sequence[Mapping[str, Any]], described: Mapping[str, Any], broker: BrokerConfig
) -> Row:
    values = {name: str((described.get(name) or {}).get("value") or default) for name, default in DEFAULTS.items()}
    return Row(
        name=topic.name,
        partitions=len(partitions),
        replication=len(partitions[0]["replica_nodes"]) if partitions else 0,
        cleanup=values["cleanup.policy"] if partitions else "",
        retention=int(values["retention.ms"]) if partitions else 0,
        fault=_fault(topic, len(partitions), values, broker.partitions),
    )


def _fault(topic: Topic, partitions: int, values: Mapping[str, str], wanted: int) -> str:
    if not partitions:
        return f"{topic.name} does not exist"
    if partitions != wanted and topic.by_asset:
        return f"{topic.name} has {partitions} partitions, the settings say {wanted}; the number can never change"
    cleanup, retention = values["cleanup.policy"], int(values["retention.ms"])
    if cleanup != topic.cleanup:
        return f"{topic.name} has cleanup.policy {cleanup}, it needs {topic.cleanup}"
    if topic.cleanup == "delete" and retention >= 0 and (topic.retention < 0 or retention < topic.retention):
        return f"{topic.name} keeps records for {retention} ms, replay needs {topic.retention} ms"
    if int(values["max.message.bytes"]) < MAX_VALUE:
        return f"{topic.name} takes batches of {values['max.message.bytes']} bytes, records need {MAX_VALUE}"
    return ""
