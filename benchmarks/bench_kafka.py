"""Records through our sink and source beside the bare client doing the same: what checking and order cost.

5,000 records of 1.6 kB, the size of one exchange message of 67 levels, to one partition and back. The bare producer has
the same settings (acks=all, lz4, 5 ms); it checks nothing, caps nothing, and would go on behind a failure. Where java
and mvn are, Apache Kafka too.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from airpocket import admin
from airpocket.apache import ApacheKafka, missing
from airpocket.broker import embedded
from engine.broker import MAX_VALUE, BrokerConfig
from engine.schema import Record
from engine.topics import MARKET, TOPICS, partition_of
from ingest.topic import TopicSource
from sinks.topic import TopicSink

COUNT = 5_000
PLACE = TopicPartition(MARKET, partition_of("BTC", 4))
RANDOM = np.random.default_rng(1)


def _records() -> list[Record]:
    """Make values that compress about as well as rows of levels: half of the bytes are zero."""
    noise = RANDOM.integers(0, 256, (COUNT, 800), np.uint8)
    values = np.zeros((COUNT, 1600), np.uint8)
    values[:, ::2] = noise
    headers = (("asset", b"BTC"), ("schema", b"1"))
    begin = 1_790_000_000_000_000_000
    return [
        Record(topic=MARKET, key="venue:BTCUSDT", asset="BTC", time=begin + i, value=value.tobytes(), headers=headers)
        for i, value in enumerate(values)
    ]


RECORDS = _records()


@pytest.fixture(scope="module", params=["embedded", "apache"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerConfig]:
    """Settings of one broker whose topics keep everything; the client is named after it, and so the group."""
    topics = [replace(topic, retention=-1) for topic in TOPICS]
    if request.param == "embedded":
        with embedded() as running:
            admin.ensure(running, topics)
            yield replace(running, client_id="embedded broker")
        return
    if missing():
        pytest.skip(f"Apache Kafka is left out: {' and '.join(missing())} not found")
    folder: Path = tmp_path_factory.mktemp("kafka")
    node = ApacheKafka(folder)
    node.start()
    admin.ensure(node.broker, topics)
    yield replace(node.broker, client_id="Apache Kafka")
    node.kill()


def _bare_producer(broker: BrokerConfig) -> Any:
    return KafkaProducer(
        bootstrap_servers=broker.bootstrap,
        acks="all",
        compression_type="lz4",
        linger_ms=broker.linger,
        batch_size=MAX_VALUE,
        metrics_enabled=False,
    )


def _bare_produce(producer: Any) -> None:
    for record in RECORDS:
        producer.send(
            MARKET,
            value=record.value,
            key=record.key.encode(),
            headers=list(record.headers),
            partition=PLACE.partition,
            timestamp_ms=record.time // 1_000_000,
        )
    producer.flush()


def test_produce_5000_records_bare(benchmark: Any, broker: BrokerConfig) -> None:
    benchmark.group = f"produce, {broker.client_id}"
    producer = _bare_producer(broker)
    benchmark.pedantic(_bare_produce, (producer,), rounds=5, warmup_rounds=1)
    producer.close()


def test_produce_5000_records_by_our_sink(benchmark: Any, broker: BrokerConfig) -> None:
    benchmark.group = f"produce, {broker.client_id}"
    sink = TopicSink(broker, [MARKET])

    def produce() -> None:
        sink.write(RECORDS)
        sink.flush()

    benchmark.pedantic(produce, rounds=5, warmup_rounds=1)
    sink.close()


@pytest.fixture(scope="module")
def filled(broker: BrokerConfig) -> BrokerConfig:
    """Settings of a broker that holds the records to read, whatever was measured before."""
    producer = _bare_producer(broker)
    _bare_produce(producer)
    producer.close()
    return broker


def test_consume_5000_records_bare(benchmark: Any, filled: BrokerConfig) -> None:
    benchmark.group = f"consume, {filled.client_id}"
    consumer = KafkaConsumer(
        bootstrap_servers=filled.bootstrap,
        enable_auto_commit=False,
        fetch_max_wait_ms=filled.fetch_wait,
        max_partition_fetch_bytes=8_000_000,
        metrics_enabled=False,
    )
    consumer.assign([PLACE])

    def consume() -> int:
        consumer.seek(PLACE, 0)
        count = 0
        while count < COUNT:
            count += sum(map(len, consumer.poll(1000).values()))
        return count

    assert benchmark.pedantic(consume, rounds=5, warmup_rounds=1) >= COUNT
    consumer.close()


def test_consume_5000_records_by_our_source(benchmark: Any, filled: BrokerConfig) -> None:
    benchmark.group = f"consume, {filled.client_id}"
    source = TopicSource(filled)

    def consume() -> int:
        source.begin({(PLACE.topic, PLACE.partition): 0})
        count = 0
        while count < COUNT:
            count += sum(taken.record is not None for taken in source.poll(1.0))
        return count

    assert benchmark.pedantic(consume, rounds=5, warmup_rounds=1) >= COUNT
    source.close()
