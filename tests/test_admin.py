"""Topics made on purpose: once, with what they need, and never against what is already there."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from airpocket import admin
from airpocket.broker import HOST, embedded, free_port
from engine.broker import BrokerConfig
from engine.errors import BadConfig, Undelivered
from engine.topics import DAY, MARKET, SIGNAL_LATEST, STATE, TOPICS
from tests.brokers import Secured, wait


@pytest.fixture
def empty() -> Iterator[BrokerConfig]:
    """Settings of an embedded broker without topics."""
    with embedded() as running:
        yield running


def test_every_topic_is_made_and_a_second_time_changes_nothing(empty: BrokerConfig) -> None:
    assert [row.fault for row in admin.describe(empty)] == [f"{topic.name} does not exist" for topic in TOPICS]
    first = admin.ensure(empty)
    assert [(row.name, row.partitions, row.cleanup, row.retention, row.fault) for row in first] == [
        (topic.name, 4, topic.cleanup, topic.retention, "") for topic in TOPICS
    ]
    assert admin.ensure(empty) == first == admin.describe(empty)


def test_another_number_of_partitions_is_refused_naming_both(empty: BrokerConfig) -> None:
    admin.ensure(empty)
    with pytest.raises(
        BadConfig, match=r"market.v1 has 4 partitions, the settings say 12; the number can never change"
    ):
        admin.ensure(replace(empty, partitions=12))


def test_one_topic_that_is_missing_is_added_to_the_others(empty: BrokerConfig) -> None:
    admin.ensure(empty, [topic for topic in TOPICS if topic.name != MARKET])
    assert [row.fault for row in admin.describe(empty) if row.fault] == [f"{MARKET} does not exist"]
    assert not [row.fault for row in admin.ensure(empty) if row.fault]


def test_a_broker_that_is_not_there_is_named() -> None:
    away = BrokerConfig(bootstrap=f"{HOST}:{free_port()}", timeout=1.0)
    with pytest.raises(Undelivered, match=f"no broker at {away.bootstrap}"):
        admin.ensure(away)


def _alter(broker: BrokerConfig, topic: str, **values: str) -> None:
    named = {name.replace("_", "."): value for name, value in values.items()}
    with admin.admin(broker) as client:
        client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, named)])
    wait(lambda: any(row.fault for row in admin.describe(broker)))


@pytest.mark.broker
def test_what_apache_kafka_was_told_is_what_it_has(kafka: BrokerConfig) -> None:
    with admin.admin(kafka) as client:
        names = (MARKET, SIGNAL_LATEST)
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        described = client.describe_configs(resources)["topic"]
    met = {name: {key: entry["value"] for key, entry in described[name].items()} for name in names}
    assert met[MARKET]["message.timestamp.before.max.ms"] == admin.ANY_AGE
    assert met[SIGNAL_LATEST]["cleanup.policy"] == "compact"
    assert met[SIGNAL_LATEST]["segment.ms"] == "600000"
    assert {row.retention for row in admin.describe(kafka)} == {-1}


@pytest.mark.broker
@pytest.mark.parametrize(
    ("topic", "values", "said"),
    [
        (MARKET, {"retention_ms": str(DAY)}, f"keeps records for {DAY} ms, replay needs {7 * DAY} ms"),
        (STATE, {"cleanup_policy": "delete"}, "has cleanup.policy delete, it needs compact"),
        (MARKET, {"max_message_bytes": "1000"}, "takes batches of 1000 bytes"),
    ],
)
def test_a_topic_that_would_lose_records_is_refused(
    kafka: BrokerConfig, topic: str, values: dict[str, str], said: str
) -> None:
    _alter(kafka, topic, **values)
    with pytest.raises(BadConfig, match=said):
        admin.ensure(kafka)


@pytest.mark.broker
def test_apache_kafka_makes_no_topic_that_is_only_asked_about(secured: Secured) -> None:
    with admin.admin(secured.at("PLAINTEXT")) as client:
        assert [topic["error_code"] for topic in client.describe_topics(["asked.about"])] == [3]
        assert "asked.about" not in client.list_topics()
