"""Engine processes and threads for tests, and what they wrote."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from airpocket.recovery import OUTPUTS
from airpocket.worker import WorkerConfig, run
from engine.broker import BrokerConfig
from engine.config import EngineConfig
from engine.schema import Record
from engine.topics import MARKET
from ingest.topic import TopicSource
from sinks.topic import TopicSink
from tests.brokers import wait
from tests.market import CONFIG, essence

#: Partitions, of four, that hold the made-up market's assets.
PARTITIONS = (2, 3)


def publish(broker: BrokerConfig, records: Sequence[Record]) -> None:
    """Write a log to market.v1 and wait until the broker has it."""
    sink = TopicSink(broker, [MARKET])
    sink.write(records)
    sink.flush()
    sink.close()


def consume(broker: BrokerConfig, topic: str, partition: int) -> list[Record]:
    """Read all that a partition holds."""
    source = TopicSource(broker)
    begin, end = source.earliest(topic, partition), source.end(topic, partition)
    taken = list(source.read(topic, partition, begin, end))
    source.close()
    assert not [each for each in taken if each.record is None]
    return [each.record for each in taken if each.record is not None]


def count(broker: BrokerConfig) -> int:
    """Count the records of every output."""
    source = TopicSource(broker)
    total = sum(source.end(topic, partition) for topic in OUTPUTS for partition in PARTITIONS)
    source.close()
    return total


def assert_outputs(broker: BrokerConfig, wanted: dict[tuple[str, int], list[Record]]) -> None:
    """Check that every output topic holds exactly these records: key, value, headers and time, in order."""
    for topic in OUTPUTS:
        for partition in PARTITIONS:
            met = list(essence(consume(broker, topic, partition)))
            assert met == list(essence(wanted.get((topic, partition), []))), f"{topic}/{partition}"


def total(wanted: dict[tuple[str, int], list[Record]]) -> int:
    """Count the records of an expectation."""
    return sum(len(records) for records in wanted.values())


@contextmanager
def engine(
    broker: BrokerConfig,
    settings: WorkerConfig,
    partitions: Sequence[int] = PARTITIONS,
    config: EngineConfig = CONFIG,
) -> Iterator[None]:
    """Run the worker in a thread for as long as the block lasts, and raise what it raised."""
    stop, failures = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            run(broker, config, partitions, stop, settings)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def until(broker: BrokerConfig, records: int) -> None:
    """Return once the outputs hold this many records; where more come, the comparison after this says so."""
    wait(lambda: count(broker) >= records, 60.0)


class EngineProcess:
    """The engine as a process of its own, to be killed and started again."""

    def __init__(self, broker: BrokerConfig, log: Path, snapshot_every: float = 0.3, delivery: float = 60.0) -> None:
        partitions = ",".join(str(partition) for partition in PARTITIONS)
        self._command = [sys.executable, "-m", "tests.engine_process", broker.bootstrap, partitions]
        self._command += [str(snapshot_every), str(delivery)]
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "subprocess.Popen[bytes]":
        """Start it, its log appended to the file."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=Path(__file__).parents[1], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        return self.process

    def said(self) -> str:
        """Return its log so far."""
        return self._log.read_text(errors="replace")

    def end(self) -> None:
        """Kill it where it still runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
