"""Exactly once, on Apache Kafka: processes are killed at any moment, and nothing is missing and nothing is twice."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest

from airpocket import admin
from airpocket.apache import ApacheKafka
from airpocket.shard import Shard
from airpocket.snapshot import newest, records
from airpocket.worker import WorkerConfig
from engine.broker import BrokerConfig
from engine.errors import Undelivered
from engine.schema import Record
from engine.topics import MARKET, STATE, partition_of
from ingest.topic import Taken, TopicSource
from sinks.topic import TopicSink
from tests.brokers import FOR_EVER, require_apache, wait
from tests.engines import PARTITIONS, EngineProcess, assert_outputs, consume, count, engine, publish, total, until
from tests.market import CONFIG, essence, expected, log

pytestmark = [pytest.mark.broker, pytest.mark.slow]

KILLS = 10


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ApacheKafka]:
    """An Apache Kafka of the test's own, to be killed and started again."""
    require_apache()
    running = ApacheKafka(tmp_path / "node")
    running.start()
    admin.ensure(running.broker, FOR_EVER)
    yield running
    running.kill()


@pytest.mark.timeout(180)
def test_an_engine_killed_ten_times_writes_what_an_uninterrupted_one_does(kafka: BrokerConfig, tmp_path: Path) -> None:
    market, random = log(6000), Random(11)
    wanted = expected(market)
    process = EngineProcess(kafka, tmp_path / "log")
    feeding = threading.Thread(target=_feed_slowly, args=(kafka, market, 16.0))
    feeding.start()
    try:
        for kill in range(KILLS):
            running = process.start()
            wait(partial(_has_begun, process, kill + 1), 30)
            # Anywhere: while it recovers, catches up, writes, or saves.
            time.sleep(random.uniform(0.0, 1.2))
            assert running.poll() is None, process.said()[-2000:]
            process.end()
        process.start()
        feeding.join()
        until(kafka, total(wanted))
        time.sleep(0.5)
    finally:
        process.end()
        feeding.join()
    assert count(kafka) == total(wanted)
    assert_outputs(kafka, wanted)


def _has_begun(process: EngineProcess, times: int) -> bool:
    return process.said().count("recovered seconds") == times


def _feed_slowly(broker: BrokerConfig, market: list[Record], seconds: float) -> None:
    sink = TopicSink(broker, [MARKET])
    parts = 200
    for index in range(parts):
        sink.write(market[index * len(market) // parts : (index + 1) * len(market) // parts])
        time.sleep(seconds / parts)
    sink.flush()
    sink.close()


@pytest.mark.timeout(240)
def test_a_broker_killed_ten_times_loses_nothing_and_doubles_nothing(node: ApacheKafka, tmp_path: Path) -> None:
    market, random = log(6000, seed=8), Random(12)
    wanted = expected(market)
    # Short enough that some outages end in delivery and some in a process that stops: both must come out right.
    broker = replace(node.broker, delivery_timeout=3.0)
    process = EngineProcess(broker, tmp_path / "log", delivery=3.0)
    process.start()
    feed = _Feed(broker, market)
    ended = []
    try:
        for _ in range(KILLS):
            time.sleep(random.uniform(1.0, 3.0))
            node.kill()
            node.start()
            status = process.process.poll() if process.process is not None else None
            if status is not None:
                ended.append(status)
                process.start()
        feed.finish()
        deadline = time.monotonic() + 60
        while count(broker) < total(wanted):
            assert time.monotonic() < deadline, process.said()[-3000:]
            if process.process is not None and process.process.poll() is not None:
                ended.append(process.process.returncode)
                process.start()
            time.sleep(0.2)
        time.sleep(0.5)
    finally:
        process.end()
        feed.finish()
    assert set(ended) <= {4}, process.said()[-3000:]
    for partition in PARTITIONS:
        written = [each for each in market if partition_of(each.asset, 4) == partition]
        assert list(essence(consume(broker, MARKET, partition))) == list(essence(written))
    assert_outputs(broker, wanted)


class _Feed:
    """A process that writes a log through every outage: what did not arrive is found out from the log's end."""

    def __init__(self, broker: BrokerConfig, market: list[Record]) -> None:
        self._broker = broker
        self._market = market
        self.stopped = 0
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def finish(self) -> None:
        """Write what is left without pausing, and return."""
        self._hurry.set()
        self._thread.join(120)
        assert not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            try:
                left = self._left()
                if not left:
                    return
                self._write(left)
            except Undelivered:
                self.stopped += 1
                # What was on its way when the sink gave up may still arrive.
                time.sleep(1.0)

    def _write(self, left: list[Record]) -> None:
        sink = TopicSink(self._broker, [MARKET])
        try:
            for begin in range(0, len(left), 10):
                sink.write(left[begin : begin + 10])
                self._hurry.wait(0.07)
            sink.flush()
        finally:
            sink.close()

    def _left(self) -> list[Record]:
        source = TopicSource(self._broker)
        there = {partition: source.end(MARKET, partition) for partition in PARTITIONS}
        source.close()
        left = []
        for each in self._market:
            partition = partition_of(each.asset, 4)
            there[partition] -= 1
            if there[partition] < 0:
                left.append(each)
        return left


@pytest.mark.timeout(120)
@pytest.mark.parametrize("spoil", ["torn", "altered", "both"])
def test_a_spoilt_snapshot_costs_a_replay_and_no_signal(kafka: BrokerConfig, spoil: str) -> None:
    market = log(1500)
    often = WorkerConfig(snapshot_every=0.2)
    for begin, end in ((0, 500), (500, 1000)):
        with engine(kafka, often):
            publish(kafka, market[begin:end])
            until(kafka, total(expected(market[:end])))
    sink = TopicSink(kafka, [STATE])
    source = TopicSource(kafka)
    for place, bounds in source.bounds([(STATE, partition) for partition in PARTITIONS]).items():
        found = list(newest(source, place[1], bounds))
        assert len(found) > 1
        spoilt = found if spoil == "both" else found[:1]
        for snapshot, slot in spoilt:
            # As an engine leaves it that is killed in between, or a disk that lies: the newest keys, not all of them
            # or not what was committed.
            *chunks, commit = records(snapshot, place[1], slot)
            altered = [replace(chunk, value=b"\0" + chunk.value[1:]) for chunk in chunks]
            sink.write(altered if spoil == "torn" else [*altered, commit], place[1])
    sink.flush()
    sink.close()
    source.close()
    with engine(kafka, often):
        publish(kafka, market[1000:])
        until(kafka, total(expected(market)))
    assert_outputs(kafka, expected(market))


@pytest.mark.timeout(120)
def test_a_batch_broken_on_the_disk_is_passed_over_and_told(node: ApacheKafka, tmp_path: Path) -> None:
    market = [each for each in log(900) if each.asset == "ETH"]
    for begin in range(0, len(market), 20):
        publish(node.broker, market[begin : begin + 20])
    node.stop()
    (segment,) = (node.folder / "logs" / "market.v1-3").glob("*.log")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0xFF
    segment.write_bytes(content)
    node.start()
    source = TopicSource(node.broker)
    source.begin({(MARKET, 3): 0, (MARKET, 2): 0})
    taken: list[Taken] = []
    begun = time.monotonic()
    while len(taken) < len(market):
        taken.extend(source.poll(0.5))
        assert time.monotonic() - begun < 30
    source.close()
    lost = [each.offset for each in taken if each.record is None]
    assert [each.offset for each in taken] == list(range(len(market)))
    # One batch, and every record outside it.
    assert 1 <= len(lost) <= 20
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert "CorruptRecordError" in next(each.fault for each in taken if each.record is None)
    with engine(node.broker, WorkerConfig(snapshot_every=0.2), (3,)):
        wait(lambda: count(node.broker) > 0, 30)
        time.sleep(2)
    shard = Shard(3, CONFIG, {})
    again: dict[tuple[str, int], list[Record]] = {}
    for each in taken:
        for output in shard.step(each):
            again.setdefault((output.topic, 3), []).append(output)
    assert_outputs(node.broker, again)
