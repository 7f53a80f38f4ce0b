"""Rows to acknowledged records of market.v1, and back to rows: ours beside bare clients of kafka-python and librdkafka.

Ours is what the processes do: rows to an SBE record, `TopicSink`, which hands records over in order and raises where
one is lost; `TopicSource`, which guards what the library gets wrong, and the record checked and read into rows. The
bare ones send a message's bytes and its rows' bytes, and read the rows of our records in place; same acknowledgements
(all), compression (lz4), linger and idempotence. One record is one exchange message of 64 rows, or 4,096 rows as bulk.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from airpocket import admin
from airpocket.apache import ApacheKafka, missing
from airpocket.broker import embedded
from benchmarks.compare import Peer, Prepare, compare
from engine.broker import MAX_VALUE, BrokerConfig
from engine.schema import LEVEL, MESSAGE, Batch, Kind
from engine.topics import MARKET, TOPICS
from engine.wire import batch_of, record
from ingest.topic import TopicSource
from sinks.topic import TopicSink

#: Rows of a record -> records of a round.
RECORDS: Final = {64: 12_000, 4096: 500}
#: Where rounds write, and where the records to be read lie, by their rows.
WRITTEN: Final = 0
READ: Final = {64: 1, 4096: 2}
#: A round begins with a jump to the log's beginning; a client that reads ahead (librdkafka does) must wait until the
#: broker lets go of the fetch before: with the usual 500 ms a round would measure that and nothing else.
FETCH_WAIT: Final = 5
#: Bytes before the rows of an SBE record of one message.
HEAD: Final = 88


@cache
def batches(rows: int) -> list[Batch]:
    """Make DELTAs whose levels look like a book's."""
    chance = np.random.default_rng(rows)
    found = []
    for i in range(RECORDS[rows]):
        message = np.zeros(1, MESSAGE)
        message["received"] = 1_790_000_000_000_000_000 + i * 1_000_000
        message["kind"], message["count"], message["bids"] = Kind.DELTA, rows, rows // 2
        levels = np.zeros(rows, LEVEL)
        levels["price"] = 618_000 + np.cumsum(chance.integers(1, 6, rows))
        levels["size"] = chance.lognormal(5, 2, rows).astype(np.int64)
        found.append(Batch(instrument="venue:BTCUSDT", asset="BTC", messages=message, levels=levels))
    return found


@cache
def total(rows: int) -> int:
    """Sum the sizes of all rows: what a reader must find."""
    return sum(int(batch.levels["size"].sum()) for batch in batches(rows))


@pytest.fixture(scope="module", params=["embedded broker", "Apache Kafka"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerConfig]:
    """Settings of one broker whose topics keep everything, with records to read; the client is named after it."""
    topics = [replace(topic, retention=-1) for topic in TOPICS]
    if request.param == "embedded broker":
        with embedded() as running:
            admin.ensure(running, topics)
            yield filled(replace(running, client_id=request.param, fetch_wait=FETCH_WAIT))
        return
    if missing():
        pytest.skip(f"Apache Kafka is left out: {' and '.join(missing())} not found")
    folder: Path = tmp_path_factory.mktemp("kafka")
    node = ApacheKafka(folder)
    node.start()
    admin.ensure(node.broker, topics)
    yield filled(replace(node.broker, client_id=request.param, fetch_wait=FETCH_WAIT))
    node.kill()


def filled(broker: BrokerConfig) -> BrokerConfig:
    """Write what is to be read."""
    sink = TopicSink(broker, [MARKET])
    for rows, partition in READ.items():
        sink.write([record(batch) for batch in batches(rows)], partition)
        sink.flush()
    sink.close()
    return broker


def sink_of(broker: BrokerConfig, rows: int, opened: list[Any]) -> Prepare:
    sink = TopicSink(broker, [MARKET])
    opened.append(sink)

    def run() -> int:
        sink.write([record(batch) for batch in batches(rows)], WRITTEN)
        sink.flush()
        return len(batches(rows))

    return lambda: run


def bare_producer(broker: BrokerConfig, rows: int, opened: list[Any]) -> Prepare:
    producer: Any = KafkaProducer(
        bootstrap_servers=broker.bootstrap,
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        linger_ms=broker.linger,
        batch_size=MAX_VALUE,
        metrics_enabled=False,
    )
    opened.append(producer)

    def run() -> int:
        sent = []
        for batch in batches(rows):
            value = batch.messages.tobytes() + batch.levels.tobytes()
            sent.append(producer.send(MARKET, value=value, key=b"venue:BTCUSDT", partition=WRITTEN))
        producer.flush()
        return sum(each.succeeded() for each in sent)

    return lambda: run


def confluent_producer(broker: BrokerConfig, rows: int) -> Prepare:
    @cache
    def connected() -> Any:
        from confluent_kafka import Producer

        return Producer(
            {
                "bootstrap.servers": broker.bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": broker.linger,
                "batch.size": MAX_VALUE,
            }
        )

    def prepare() -> Callable[[], int]:
        producer = connected()

        def run() -> int:
            done: list[bool] = []

            def told(error: Any, _: Any) -> None:
                done.append(error is None)

            for batch in batches(rows):
                value = batch.messages.tobytes() + batch.levels.tobytes()
                producer.produce(MARKET, value, b"venue:BTCUSDT", WRITTEN, on_delivery=told)
                producer.poll(0)
            producer.flush()
            return sum(done)

        return run

    return prepare


def source_of(broker: BrokerConfig, rows: int, opened: list[Any]) -> Prepare:
    source = TopicSource(broker)
    opened.append(source)

    def run() -> int:
        source.begin({(MARKET, READ[rows]): 0})
        count = size = 0
        while count < RECORDS[rows]:
            for taken in source.poll(1.0):
                assert taken.record is not None
                size += int(batch_of(taken.record).levels["size"].sum())
                count += 1
        return size

    return lambda: run


def bare_consumer(broker: BrokerConfig, rows: int, opened: list[Any]) -> Prepare:
    consumer: Any = KafkaConsumer(
        bootstrap_servers=broker.bootstrap,
        enable_auto_commit=False,
        fetch_max_wait_ms=broker.fetch_wait,
        max_partition_fetch_bytes=8_000_000,
        metrics_enabled=False,
    )
    opened.append(consumer)
    place = TopicPartition(MARKET, READ[rows])
    consumer.assign([place])

    def run() -> int:
        consumer.seek(place, 0)
        count = size = 0
        while count < RECORDS[rows]:
            for records in consumer.poll(1000).values():
                size += sum(int(np.frombuffer(each.value, LEVEL, rows, HEAD)["size"].sum()) for each in records)
                count += len(records)
        return size

    return lambda: run


def confluent_consumer(broker: BrokerConfig, rows: int, opened: list[Any]) -> Prepare:
    @cache
    def connected() -> Any:
        from confluent_kafka import Consumer

        consumer = Consumer(
            {
                "bootstrap.servers": broker.bootstrap,
                "group.id": "bench",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": broker.fetch_wait,
                "max.partition.fetch.bytes": 8_000_000,
            }
        )
        opened.append(consumer)
        return consumer

    def prepare() -> Callable[[], int]:
        from confluent_kafka import TopicPartition as Place

        consumer = connected()

        def run() -> int:
            consumer.assign([Place(MARKET, READ[rows], 0)])
            count = size = 0
            while count < RECORDS[rows]:
                # A short wait: `consume` stays until it has as many as it was asked for.
                for each in consumer.consume(500, 0.02):
                    size += int(np.frombuffer(each.value(), LEVEL, rows, HEAD)["size"].sum())
                    count += 1
            return size

        return run

    return prepare


@pytest.mark.parametrize("rows", list(RECORDS))
def test_produce(benchmark: Any, broker: BrokerConfig, rows: int) -> None:
    opened: list[Any] = []
    compare(
        benchmark,
        stage=f"{broker.client_id}: rows to acknowledged records of {rows:,}",
        unit="M rows/s",
        ours=sink_of(broker, rows, opened),
        count=RECORDS[rows] * rows / 1e6,
        peers={
            "confluent-kafka": Peer(prepare=confluent_producer(broker, rows)),
            "kafka-python alone": Peer(prepare=bare_producer(broker, rows, opened)),
        },
        goal=0.5 if rows > 1_000 else None,
        rounds=5,
    )
    for each in opened:
        each.close()


@pytest.mark.parametrize("rows", list(RECORDS))
def test_consume(benchmark: Any, broker: BrokerConfig, rows: int) -> None:
    opened: list[Any] = []
    ours = source_of(broker, rows, opened)
    assert ours()() == total(rows)
    compare(
        benchmark,
        stage=f"{broker.client_id}: records of {rows:,} to rows",
        unit="M rows/s",
        ours=ours,
        count=RECORDS[rows] * rows / 1e6,
        peers={
            "confluent-kafka": Peer(prepare=confluent_consumer(broker, rows, opened)),
            "kafka-python alone": Peer(prepare=bare_consumer(broker, rows, opened)),
        },
        goal=0.4 if rows > 1_000 else None,
        rounds=5,
    )
    for each in opened:
        each.close()
