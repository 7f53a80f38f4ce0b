"""The engine process on the embedded broker: what it writes is what an engine that is never interrupted computes."""

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from airpocket import admin
from airpocket.broker import embedded
from airpocket.recovery import recover
from airpocket.shard import Shard, source_of
from airpocket.snapshot import CHUNK, Snapshot, newest, records
from airpocket.worker import WorkerConfig
from engine.broker import BrokerConfig
from engine.errors import BadConfig, BadRecord
from engine.schema import Record
from engine.topics import (
    MARKET,
    SIGNAL_CASCADE,
    SIGNAL_DEPTH,
    SIGNAL_FLOW,
    SIGNAL_HEALTH,
    SIGNAL_LATEST,
    SIGNAL_VACUUM,
    STATE,
)
from ingest.topic import Taken, TopicSource
from sinks.topic import TopicSink
from tests.brokers import wait
from tests.engines import PARTITIONS, EngineProcess, assert_outputs, consume, engine, publish, total, until
from tests.market import CONFIG, expected, log

OFTEN = WorkerConfig(snapshot_every=0.1)
EVERYTHING = WorkerConfig(recovery=False)


@pytest.fixture
def broker() -> Iterator[BrokerConfig]:
    """Settings of an embedded broker of the test's own, its topics empty."""
    with embedded() as running:
        admin.ensure(running)
        yield running


@pytest.fixture
def source(broker: BrokerConfig) -> Iterator[TopicSource]:
    """A reader of that broker."""
    reader = TopicSource(broker)
    yield reader
    reader.close()


def _write(broker: BrokerConfig, topics: list[str], outputs: list[Record], partition: int) -> None:
    sink = TopicSink(broker, topics)
    sink.write(outputs, partition)
    sink.flush()
    sink.close()


def test_signals_are_those_of_an_engine_without_a_broker(broker: BrokerConfig) -> None:
    market = log(600)
    wanted = expected(market)
    with engine(broker, EVERYTHING):
        publish(broker, market)
        until(broker, total(wanted))
    assert_outputs(broker, wanted)
    assert [consume(broker, STATE, partition) for partition in PARTITIONS] == [[], []]


def test_an_engine_that_is_stopped_and_started_continues_where_it_was(broker: BrokerConfig) -> None:
    market = log(900)
    done = 0
    for upto in (1, 300, 301, 600, 900):
        with engine(broker, OFTEN):
            publish(broker, market[done:upto])
            until(broker, total(expected(market[:upto])))
        done = upto
    assert_outputs(broker, expected(market))
    assert consume(broker, STATE, PARTITIONS[0])


def test_without_a_snapshot_everything_is_replayed_in_silence(broker: BrokerConfig) -> None:
    market = log(300)
    publish(broker, market[:200])
    with engine(broker, EVERYTHING):
        until(broker, total(expected(market[:200])))
    publish(broker, market[200:])
    with engine(broker, OFTEN):
        until(broker, total(expected(market)))
    assert_outputs(broker, expected(market))


def test_a_crash_between_two_topics_is_made_good_topic_by_topic(broker: BrokerConfig) -> None:
    market = log(300)
    publish(broker, market)
    reach = {
        SIGNAL_DEPTH: 150,
        SIGNAL_FLOW: 20,
        SIGNAL_CASCADE: 1,
        SIGNAL_HEALTH: 3,
        SIGNAL_VACUUM: 2,
        SIGNAL_LATEST: 0,
    }
    for (topic, partition), outputs in expected(market).items():
        _write(broker, [topic], outputs[: reach[topic]], partition)
    with engine(broker, OFTEN):
        until(broker, total(expected(market)))
    assert_outputs(broker, expected(market))


def test_records_that_cannot_be_read_are_told_to_their_books_and_passed_over(broker: BrokerConfig) -> None:
    market = log(400)
    # The first book of the log, torn in the middle; a record whose instrument is unknown; one without an asset.
    torn = replace(market[200], value=market[200].value[:-8])
    stranger = replace(torn, key="no:BODY")
    nameless = replace(market[201], headers=())
    spoilt = [*market[:200], torn, stranger, nameless, *market[200:]]
    publish(broker, spoilt)
    wanted = [record for record in spoilt if record not in (torn, stranger, nameless)]
    with engine(broker, OFTEN):
        until(broker, total(expected(wanted)) // 2)
        wait(lambda: _reached(broker, spoilt))
    once = {place: consume(broker, *place) for place in expected(wanted)}
    lost = [
        orjson.loads(output.value)
        for output in once[SIGNAL_HEALTH, 2] + once[SIGNAL_HEALTH, 3]
        if output.key == torn.key and orjson.loads(output.value)["reason"] == "gap"
    ]
    assert lost
    # Computed once more from the beginning, without a broker, the same bytes come out.
    shards = {partition: Shard(partition, CONFIG, {}) for partition in PARTITIONS}
    again: dict[tuple[str, int], list[Record]] = {}
    for partition, shard in shards.items():
        reader = TopicSource(broker)
        for taken in reader.read(MARKET, partition, 0, reader.end(MARKET, partition)):
            for output in shard.step(taken):
                again.setdefault((output.topic, partition), []).append(output)
        reader.close()
    assert sum(shard.counts["unreadable"] for shard in shards.values()) == 3
    assert_outputs(broker, again)


def _reached(broker: BrokerConfig, market: list[Record]) -> bool:
    """Say whether the newest snapshots cover the whole log."""
    reader = TopicSource(broker)
    try:
        bounds = reader.bounds([(STATE, partition) for partition in PARTITIONS])
        found = [next(newest(reader, partition, ends), None) for (_, partition), ends in bounds.items()]
        return sum(snapshot[0].offset for snapshot in found if snapshot) == len(market)
    finally:
        reader.close()


def test_when_even_the_key_is_lost_every_book_of_the_shard_is_told() -> None:
    shard = Shard(2, CONFIG, {})
    market = [each for each in log(60) if each.asset in ("BTC", "SOL")]
    for offset, each in enumerate(market):
        shard.step(Taken(topic=MARKET, partition=2, offset=offset, record=each))
    keys = {each.key for each in market}
    outputs = shard.step(Taken(topic=MARKET, partition=2, offset=99, record=None, fault="torn"))
    health = [output for output in outputs if output.topic == SIGNAL_HEALTH]
    assert {output.key for output in health} == keys
    assert {orjson.loads(output.value)["state"] for output in health} == {"unknown"}
    # Two pipelines spoke, and their outputs are numbered as one input's.
    assert [source_of(output) for output in outputs] == [(99, index) for index in range(len(outputs))]
    assert shard.fault == "torn"


@pytest.mark.parametrize("size", [0, 10, CHUNK, 3 * CHUNK + 1])
def test_a_snapshot_survives_its_topic(broker: BrokerConfig, source: TopicSource, size: int) -> None:
    snapshot = Snapshot(
        offset=7,
        received=8,
        time=9_000_000,
        instruments={"one:BTCUSDT": "BTC"},
        delivered={SIGNAL_DEPTH: (6, 1)},
        state={"BTC": b"a" * size, "ETH": b"b"},
    )
    older = replace(snapshot, offset=5)
    _write(broker, [STATE], records(older, 3, 0), 3)
    _write(broker, [STATE], records(snapshot, 3, 1), 3)
    assert list(newest(source, 3, source.bounds([(STATE, 3)])[STATE, 3])) == [(snapshot, 1), (older, 0)]


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_snapshot_cut_short_is_passed_over(broker: BrokerConfig, source: TopicSource, cut: int) -> None:
    whole = Snapshot(offset=5, received=8, time=9, state={"BTC": b"a" * 10})
    torn = Snapshot(offset=7, received=8, time=9, state={"BTC": b"b" * 3 * CHUNK})
    _write(broker, [STATE], records(whole, 3, 0), 3)
    _write(broker, [STATE], records(torn, 3, 1)[:cut], 3)
    assert list(newest(source, 3, source.bounds([(STATE, 3)])[STATE, 3])) == [(whole, 0)]


def test_an_altered_snapshot_is_passed_over(broker: BrokerConfig, source: TopicSource) -> None:
    whole = Snapshot(offset=5, received=8, time=9, state={"BTC": b"a" * 10})
    chunk, commit = records(replace(whole, offset=7), 3, 1)
    altered = replace(chunk, value=chunk.value.replace(b"aaa", b"aba"))
    _write(broker, [STATE], records(whole, 3, 0), 3)
    _write(broker, [STATE], [altered, commit, replace(commit, value=b"{"), replace(commit, key="3/x/commit")], 3)
    assert list(newest(source, 3, source.bounds([(STATE, 3)])[STATE, 3])) == [(whole, 0)]


def test_a_snapshot_of_another_configuration_is_passed_over(broker: BrokerConfig, source: TopicSource) -> None:
    market = log(200)
    publish(broker, market)
    with engine(broker, OFTEN):
        until(broker, total(expected(market)))
    same, _ = recover(source, [2], CONFIG, "fail")[2]
    other, _ = recover(source, [2], replace(CONFIG, cadence=21), "fail")[2]
    assert (same.offset, other.offset) == (len(consume(broker, MARKET, 2)), 0)


def test_a_snapshot_whose_signals_the_broker_lost_is_passed_over(broker: BrokerConfig, source: TopicSource) -> None:
    market = log(100)
    publish(broker, market)
    _write(
        broker, [STATE], records(Snapshot(offset=50, received=1, time=1, delivered={SIGNAL_DEPTH: (49, 0)}), 2, 0), 2
    )
    shard, _ = recover(source, [2], CONFIG, "fail")[2]
    assert shard.offset == 0


def test_signals_of_an_older_market_log_are_refused(broker: BrokerConfig, source: TopicSource) -> None:
    _write(broker, [SIGNAL_DEPTH], expected(log(300))[SIGNAL_DEPTH, 2], 2)
    with pytest.raises(BadRecord, match=r"market.v1 ends at 0: it was made anew"):
        recover(source, [2], CONFIG, "fail")


def test_signals_without_a_source_are_refused(broker: BrokerConfig, source: TopicSource) -> None:
    foreign = Record(topic=SIGNAL_DEPTH, key="a", asset="", time=1, value=b"{}")
    _write(broker, [SIGNAL_DEPTH], [foreign], 2)
    with pytest.raises(BadRecord, match="allowed is <offset>:<index>: who wrote it"):
        recover(source, [2], CONFIG, "fail")


def test_a_partition_that_is_not_there_is_refused(broker: BrokerConfig) -> None:
    with pytest.raises(BadConfig, match=r"market.v1 has 0 to 3"), engine(broker, EVERYTHING, (9,)):
        pass


@pytest.mark.parametrize("settings", [{"snapshot_every": 0.0}, {"retention_passed": "guess"}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(BadConfig, match="allowed are"):
        WorkerConfig(**settings)  # type: ignore[arg-type]


def test_sigterm_delivers_and_ends_with_status_0(broker: BrokerConfig, tmp_path: Path) -> None:
    market = log(300)
    publish(broker, market)
    process = EngineProcess(broker, tmp_path / "log", snapshot_every=60)
    running = process.start()
    until(broker, total(expected(market)) // 2)
    begun = time.monotonic()
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0
    assert time.monotonic() - begun < 10
    assert "drained" in process.said()
    with engine(broker, OFTEN):
        until(broker, total(expected(market)))
    assert_outputs(broker, expected(market))


def test_a_broker_that_goes_away_ends_the_engine_with_status_4(tmp_path: Path) -> None:
    market = log(2000)
    with embedded() as broker:
        admin.ensure(broker)
        process = EngineProcess(broker, tmp_path / "log", delivery=1.0)
        running = process.start()
        publish(broker, market)
        wait(lambda: "warm" in process.said(), 60.0)
        until(broker, 1)
    try:
        # Either outputs or a snapshot were on their way; where none were, the next ones will be.
        assert running.wait(30) == 4
    finally:
        process.end()
    assert "did not take a record" in process.said()
