"""Topics as source and sink: order, headers, times; nothing lost in silence, nothing hangs."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from kafka.errors import OutOfOrderSequenceNumberError
from kafka.future import Future
from kafka.protocol.producer import ProduceRequest
from kafka.record import util as checksums
from kafka.record.default_records import DefaultRecordBatch

from airpocket import admin
from airpocket.broker import embedded
from engine.broker import MAX_VALUE, BrokerConfig
from engine.errors import BadConfig, BadRecord, Undelivered
from engine.schema import Record
from engine.topics import MARKET, RAW, SIGNAL_DEPTH, partition_of
from ingest.topic import Taken, TopicSource, tail
from sinks.topic import TopicSink
from tests.brokers import PASSWORD, Secured, empty_topics, wait
from tests.market import MILLISECOND


@pytest.fixture
def broker() -> Iterator[BrokerConfig]:
    """Settings of an embedded broker of the test's own, its topics empty."""
    with embedded() as running:
        admin.ensure(running)
        yield running


@pytest.fixture
def sink(broker: BrokerConfig) -> Iterator[TopicSink]:
    """A writer to that broker."""
    writer = TopicSink(broker, [MARKET, RAW, SIGNAL_DEPTH])
    yield writer
    writer.close()


@pytest.fixture
def source(broker: BrokerConfig) -> Iterator[TopicSource]:
    """A reader of that broker."""
    reader = TopicSource(broker, stall=1.0)
    yield reader
    reader.close()


def made(count: int, topic: str = MARKET, asset: str = "BTC", size: int = 10) -> list[Record]:
    """Make records of one key, numbered."""
    return [
        Record(
            topic=topic,
            key=f"one:{asset}USDT",
            asset=asset,
            time=(1_790_000_000_000 + index) * MILLISECOND,
            value=b"%d " % index + b"x" * size,
            headers=(("asset", asset.encode()), ("schema", b"1")),
        )
        for index in range(count)
    ]


def everything(source: TopicSource, topic: str, partition: int) -> list[Record | None]:
    """Read a partition from its beginning to its end."""
    begin, end = source.bounds([(topic, partition)])[topic, partition]
    return [taken.record for taken in source.read(topic, partition, begin, end)]


def test_records_come_back_as_they_were_written_and_in_order(sink: TopicSink, source: TopicSource) -> None:
    records = made(2000)
    sink.write(records[:700])
    sink.write(records[700:])
    sink.flush()
    assert everything(source, MARKET, partition_of("BTC", 4)) == records
    assert source.end(MARKET, partition_of("ETH", 4)) == 0


def test_an_asset_has_one_partition_and_a_caller_may_choose_another(sink: TopicSink, source: TopicSource) -> None:
    sink.write(made(3, asset="ETH"))
    sink.write(made(5, asset="ETH"), partition=0)
    sink.write(made(7, topic=RAW))
    sink.flush()
    ends = [source.end(MARKET, partition) for partition in range(4)]
    assert ends == [5, 0, 0, 3]
    # By the key's hash: one key, one partition.
    assert sorted(source.end(RAW, partition) for partition in range(4)) == [0, 0, 0, 7]


def test_a_topic_that_the_sink_was_not_given_is_refused(sink: TopicSink) -> None:
    with pytest.raises(BadConfig, match=r"unknown topic 'signal.flow.v1', this sink writes market.v1, raw.v1"):
        sink.write(made(1, topic="signal.flow.v1"))


def test_a_record_too_large_for_the_broker_is_undelivered(sink: TopicSink) -> None:
    sink.write(made(1, size=MAX_VALUE))
    sink.flush()
    with pytest.raises(Undelivered, match="larger than"):
        sink.write(made(1, size=1_100_000))
    with pytest.raises(Undelivered):
        sink.flush()


def test_without_the_c_checksum_nothing_starts(broker: BrokerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "crc32c_c", None)
    with pytest.raises(BadConfig, match="pip install crc32c"):
        TopicSink(broker, [MARKET])


def test_what_is_not_acknowledged_in_time_is_undelivered_for_ever(source: TopicSource) -> None:
    with embedded() as broker:
        admin.ensure(broker)
        sink = TopicSink(replace(broker, delivery_timeout=1.0), [MARKET])
    sink.write(made(3))
    with pytest.raises(Undelivered, match="did not take a record"):
        sink.flush()
    with pytest.raises(Undelivered):
        sink.write(made(1))
    with pytest.raises(Undelivered):
        sink.flush()
    begun = time.monotonic()
    sink.close()
    assert time.monotonic() - begun < 3


def test_writing_blocks_while_too_much_is_unacknowledged(source: TopicSource) -> None:
    with embedded() as broker:
        admin.ensure(broker)
        sink = TopicSink(replace(broker, in_flight_bytes=10_000, delivery_timeout=1.5), [MARKET])
    written = 0
    begun = time.monotonic()
    with pytest.raises(Undelivered):
        while True:
            sink.write(made(1, size=1000))
            written += 1
    sink.close()
    assert written == 8
    assert 1.0 < time.monotonic() - begun < 5


@pytest.mark.broker
def test_a_failed_batch_leaves_no_hole_behind_it(kafka: BrokerConfig) -> None:
    """The library would go on with the next batch of the partition; the sink stops it first."""
    sink = TopicSink(kafka, [MARKET])
    # Many batches behind the one that fails.
    records = made(200, size=50_000)
    sink.write(records[:50])
    sink.flush()
    client = sink._producer._sender._client
    send, refused = client.send, list[Any]()

    def refuse_once(node: Any, request: Any, **options: Any) -> Any:
        if refused or not isinstance(request, ProduceRequest):
            return send(node, request, **options)
        # It never leaves; the library takes this for the end of its epoch, begins another, and goes on behind it.
        refused.append(request)
        return Future().failure(OutOfOrderSequenceNumberError("made up"))

    client.send = refuse_once
    with pytest.raises(Undelivered, match="made up"):
        sink.write(records[50:])
        sink.flush()
    time.sleep(0.5)
    sink.close()
    assert refused
    reader = TopicSource(kafka)
    assert everything(reader, MARKET, 2) == records[:50]
    reader.close()


def test_the_last_record_is_found_behind_offsets_that_hold_none(sink: TopicSink, source: TopicSource) -> None:
    records = made(30)
    sink.write(records)
    sink._producer.send(MARKET, key=b"k", value=None, partition=2)
    sink._producer.send(MARKET, key=None, value=b"v", partition=2)
    sink._producer.send(MARKET, key=b"\xff", value=b"v", partition=2)
    sink.flush()
    bounds = source.bounds([(MARKET, 2), (MARKET, 3)])
    assert bounds == {(MARKET, 2): (0, 33), (MARKET, 3): (0, 0)}
    last = source.last(bounds)
    assert last.keys() == {(MARKET, 2)}
    assert (last[MARKET, 2].offset, last[MARKET, 2].record) == (29, records[29])
    faults = [taken.fault for taken in source.read(MARKET, 2, 30, 33)]
    assert faults[:2] == ["BadRecord: it has no value", "BadRecord: it has no key"]
    assert faults[2].startswith("UnicodeDecodeError")


@pytest.mark.broker
def test_offsets_that_are_not_there_are_said_to_be_gone(kafka: BrokerConfig) -> None:
    reader = TopicSource(kafka)
    reader.begin({(MARKET, 2): 99})
    with pytest.raises(BadRecord, match="no longer retained"):
        wait(lambda: bool(reader.poll(0.2)))
    reader.close()


@pytest.mark.broker
def test_a_topic_that_is_not_there_is_named(kafka: BrokerConfig) -> None:
    with pytest.raises(BadConfig, match=r"no\.such\.topic.*airpocket topics ensure"):
        TopicSink(kafka, ["no.such.topic"])
    reader = TopicSource(kafka)
    with pytest.raises(BadConfig, match=r"no\.such\.topic.*airpocket topics ensure"):
        reader.partitions("no.such.topic")
    reader.close()


def test_tail_gives_what_comes_or_everything(broker: BrokerConfig, sink: TopicSink) -> None:
    sink.write(made(5))
    sink.flush()
    from_now = tail(broker, MARKET, stop=lambda: done.is_set())
    whole = tail(broker, MARKET, beginning=True)
    done = threading.Event()
    assert [next(whole).offset for _ in range(5)] == [0, 1, 2, 3, 4]
    later = threading.Timer(0.5, lambda: sink.write(made(2, asset="ETH")))
    later.start()
    first, second = next(from_now), next(from_now)
    assert [(taken.partition, taken.offset) for taken in (first, second)] == [(3, 0), (3, 1)]
    done.set()
    assert list(from_now) == []
    assert isinstance(whole, Generator)
    whole.close()
    later.join()


HANGS = """
import sys
from kafka import KafkaConsumer, TopicPartition
from kafka.record.default_records import DefaultRecordBatch
DefaultRecordBatch.validate_crc = lambda self: False
consumer = KafkaConsumer(bootstrap_servers=sys.argv[1])
place = TopicPartition("market.v1", 2)
consumer.assign([place])
consumer.seek(place, 0)
try:
    consumer.poll(timeout_ms=5000)
except Exception as error:
    print(type(error).__name__, flush=True)
consumer.poll(timeout_ms=100)
print("came back", flush=True)
"""


def test_the_library_hangs_when_polled_again_after_a_broken_batch(broker: BrokerConfig, sink: TopicSink) -> None:
    """Why the reader guards `poll`. When this fails the library is mended, and the guard may be made simpler."""
    sink.write(made(3))
    sink.flush()
    command = [sys.executable, "-W", "ignore", "-c", HANGS, broker.bootstrap]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "CorruptRecordError\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.0)
        process.kill()
        assert process.stdout.read() == ""


def broken(monkeypatch: pytest.MonkeyPatch, times: int, error: Callable[[Any], bool]) -> None:
    """Break the batch of market.v1/2 that holds offset 150, so many times."""
    real: Callable[[Any], bool] = DefaultRecordBatch.validate_crc
    left = [times]

    def validate(self: Any) -> bool:
        if self.base_offset <= 150 <= self.last_offset and self.last_offset < 1000 and left[0]:
            left[0] -= 1
            return error(self)
        return real(self)

    monkeypatch.setattr(DefaultRecordBatch, "validate_crc", validate)


def _raise(_: Any) -> bool:
    raise RuntimeError("lz4: corrupt frame")


@pytest.mark.parametrize("error", [lambda _: False, _raise], ids=["checksum", "codec"])
def test_a_broken_batch_is_handed_out_as_unreadable_and_passed(
    sink: TopicSink, source: TopicSource, monkeypatch: pytest.MonkeyPatch, error: Callable[[Any], bool]
) -> None:
    records = made(300)
    for begin in range(0, 300, 10):
        sink.write(records[begin : begin + 10])
        sink.flush()
    sink.write(made(40, asset="ETH"))
    sink.flush()
    broken(monkeypatch, 10**9, error)
    source.begin({(MARKET, 2): 0, (MARKET, 3): 0})
    taken: list[Taken] = []
    begun = time.monotonic()
    while len(taken) < 340:
        taken += source.poll(0.2)
        assert time.monotonic() - begun < 20
    two = [each for each in taken if each.partition == 2]
    assert [each.offset for each in two] == list(range(300))
    assert [each.offset for each in two if each.record is None] == list(range(150, 160))
    assert [each.record for each in two if each.record] == records[:150] + records[160:]
    assert {each.fault.split(":")[0] for each in two if each.record is None} <= {"CorruptRecordError", "RuntimeError"}


def test_a_fault_that_passes_loses_nothing(
    sink: TopicSink, source: TopicSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = made(300)
    sink.write(records)
    sink.flush()
    broken(monkeypatch, 1, lambda _: False)
    assert everything(source, MARKET, 2) == records
    assert source.rebuilt == 1


def test_a_partition_that_stalls_is_read_by_a_new_consumer(
    sink: TopicSink, source: TopicSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = made(20)
    sink.write(records[:10])
    sink.flush()
    source.begin({(MARKET, 2): 0})
    taken = source.poll(2.0)
    # As in dpkp/kafka-python issues 3106 and 3131: the partition is simply not fetched any more.
    monkeypatch.setattr(source._consumer._fetcher, "_fetchable_partitions", list)
    sink.write(records[10:])
    sink.flush()
    begun = time.monotonic()
    while len(taken) < 20:
        taken += source.poll(0.1)
        assert time.monotonic() - begun < 10
    assert [each.record for each in taken] == records
    assert source.rebuilt >= 1


def test_a_reader_waits_for_a_broker_that_is_away(source: TopicSource) -> None:
    with embedded() as first:
        admin.ensure(first)
        reader = TopicSource(replace(first, timeout=2.0), stall=0.5)
        reader.begin({(MARKET, 2): 0})
        assert reader.poll(0.2) == []
    assert reader.poll(1.0) == []
    with embedded(int(first.bootstrap.rpartition(":")[2])) as second:
        admin.ensure(second)
        writer = TopicSink(second, [MARKET])
        writer.write(made(4))
        writer.flush()
        taken: list[Taken] = []
        begun = time.monotonic()
        while len(taken) < 4:
            taken += reader.poll(0.2)
            assert time.monotonic() - begun < 20
        writer.close()
        reader.close()


@pytest.mark.broker
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_records_pass_an_encrypted_wire_and_no_log_holds_the_password(
    secured: Secured, mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    empty_topics(secured.at("PLAINTEXT"))
    broker = secured.at("SASL_SSL", mechanism=mechanism)
    caplog.set_level(logging.DEBUG)
    writer = TopicSink(broker, [MARKET])
    records = made(100)
    writer.write(records)
    writer.flush()
    writer.close()
    reader = TopicSource(broker)
    assert everything(reader, MARKET, 2) == records
    reader.close()
    admin.describe(broker)
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert PASSWORD not in text
    assert not logging.getLogger("kafka.protocol.parser").isEnabledFor(logging.DEBUG)
