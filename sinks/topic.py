"""The topic writer: records in, acknowledged records of Kafka out, in order and never with a hole.

Per partition the log is always a prefix of what was written. The library alone does not promise that: when a batch
fails for good it goes on with the batches behind it (its documentation: "batches in flight at the moment of a bump
fail, records not yet drained are produced under the new epoch"). So the first failure stops the sending thread from
within, before it can drain anything else, and the next `write` or `flush` raises `Undelivered`. Whoever writes stops
then; after a restart the log's last record says where to go on.
"""

import logging
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from kafka import KafkaProducer
from kafka.errors import BrokerResponseError, KafkaError
from kafka.net.compat import KafkaNetClient
from kafka.record import util as checksums

from engine.broker import MAX_VALUE, BrokerConfig, connect
from engine.errors import BadConfig, Undelivered
from engine.schema import Record
from engine.topics import TOPICS, partition_of

#: Nanoseconds in a millisecond, the unit of Kafka's record time.
MILLISECOND: Final = 1_000_000
BY_ASSET: Final = {topic.name: topic.by_asset for topic in TOPICS}
#: A new topic may be missing from a broker's answers for a moment; from as many as this it is not.
ANSWERS: Final = 4
#: What a record costs besides its key, value and headers.
OVERHEAD: Final = 100


class TopicSink:
    """Write records to topics; blocks while too much is unacknowledged, raises once anything is lost."""

    def __init__(self, broker: BrokerConfig, topics: Sequence[str]) -> None:
        """Connect, and check that the topics are there; a topic not in the list is refused by `write`."""
        check_checksum()
        # At DEBUG the library prints every byte it sends, the password among them.
        logging.getLogger("kafka").setLevel(logging.WARNING)
        self._broker = broker
        self._failure: BaseException | None = None
        self._waiting: deque[tuple[Any, int]] = deque()
        self._waiting_bytes = 0
        try:
            self._producer = connect(
                broker,
                "sink",
                KafkaProducer,
                KafkaNetClient,
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                compression_type="lz4",
                linger_ms=broker.linger,
                # A batch that does not shrink must still fit the broker's 1 MB.
                batch_size=MAX_VALUE,
                delivery_timeout_ms=int(broker.delivery_timeout * 1000) + broker.linger,
                # At least two attempts within the time of a delivery.
                request_timeout_ms=int(min(broker.timeout, broker.delivery_timeout / 2) * 1000),
                max_block_ms=int(broker.timeout * 1000),
                metrics_enabled=False,
            )
        except KafkaError as error:
            raise Undelivered(f"no broker at {broker.bootstrap}: {error}") from error
        try:
            self._partitions = self._learn(topics)
        except (BadConfig, Undelivered):
            self.close()
            raise

    def write(self, records: Sequence[Record], partition: int | None = None) -> None:
        """Hand records over in order; `partition` overrides where they go. Returns before they are acknowledged."""
        for record in records:
            # Strings of the topic, and whatever the record's own size is, are checked before anything is sent.
            count = self._partitions.get(record.topic)
            if count is None:
                raise BadConfig(f"unknown topic {record.topic!r}, this sink writes {', '.join(self._partitions)}")
            size = OVERHEAD + len(record.key) + len(record.value)
            self._settle()
            if self._waiting_bytes + size > self._broker.in_flight_bytes:
                self._wait_for_room(size)
            self._send(record, self._place(record, count) if partition is None else partition)
            self._waiting_bytes += size

    def flush(self, timeout: float | None = None) -> None:
        """Return when everything written is acknowledged; raises Undelivered where it is not within the time."""
        try:
            self._producer.flush(timeout=self._broker.delivery_timeout if timeout is None else timeout)
        except KafkaError as error:
            self._failure = self._failure or error
        self._settle()
        if self._waiting:
            self._failure = self._failure or TimeoutError(f"{len(self._waiting)} records are not acknowledged")
        self._raise_failure()

    def close(self) -> None:
        """Release the broker. Does not deliver: `flush` before, or what was written last is lost."""
        if self._failure is None and self._waiting:
            self._failure = RuntimeError("closed before everything was acknowledged")
        # The public `close` waits for what can no longer arrive; stopping the sending thread first makes it return.
        sender = self._producer._sender
        sender.force_close()
        sender.join(self._broker.timeout)
        # Whatever it still minds is already counted as undelivered.
        with suppress(KafkaError):
            self._producer.close(timeout=1)

    def _place(self, record: Record, count: int) -> int | None:
        # None lets the library hash the key, as the Java client does.
        return partition_of(record.asset, count) if BY_ASSET.get(record.topic, True) else None

    def _send(self, record: Record, partition: int | None) -> None:
        try:
            sent = self._producer.send(
                record.topic,
                value=record.value,
                key=record.key.encode(),
                headers=list(record.headers),
                partition=partition,
                timestamp_ms=record.time // MILLISECOND,
            )
        except (KafkaError, ValueError) as error:
            self._failure = self._failure or error
            self._raise_failure()
            return
        sent.add_errback(self._failed)
        self._waiting.append((sent, OVERHEAD + len(record.key) + len(record.value)))

    def _failed(self, error: BaseException) -> None:
        # Runs in the sending thread, which nothing public stops from here: `close` would wait for this very thread.
        if self._failure is None:
            self._failure = error
            self._producer._sender.force_close()

    def _settle(self) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0].is_done:
            _, size = waiting.popleft()
            self._waiting_bytes -= size
        self._raise_failure()

    def _wait_for_room(self, size: int) -> None:
        deadline = time.monotonic() + self._broker.delivery_timeout
        while self._waiting and self._waiting_bytes + size > self._broker.in_flight_bytes:
            oldest, _ = self._waiting[0]
            try:
                oldest.get(timeout=max(0.0, deadline - time.monotonic()))
            except KafkaError as error:
                self._failure = self._failure or error
            self._settle()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            error = self._failure
            raise Undelivered(f"{self._broker.bootstrap} did not take a record: {error}") from error

    def _learn(self, topics: Sequence[str]) -> dict[str, int]:
        """Learn the topics' numbers of partitions, and tell a broker that is away from a topic that is not there."""
        # The public `partitions_for` asks for one topic at a time, and waits out its whole time in both cases.
        metadata = self._producer._metadata
        for topic in topics:
            self._producer._sender.add_topic(topic)
        answered, deadline = 0, time.monotonic() + self._broker.timeout
        while True:
            asked = metadata.request_update()
            self._producer._sender.wakeup()
            while not asked.is_done and time.monotonic() < deadline:
                time.sleep(0.002)
            known = {topic: len(metadata.partitions_for_topic(topic) or ()) for topic in topics}
            missing = [topic for topic, count in known.items() if not count]
            if not missing:
                return known
            answered += asked.succeeded() or isinstance(asked.exception, BrokerResponseError)
            if answered == ANSWERS:
                where, error = self._broker.bootstrap, asked.exception
                raise BadConfig(f"not on {where}: {', '.join(missing)} ({error}); run `airpocket topics ensure`")
            if time.monotonic() > deadline:
                raise Undelivered(f"{self._broker.bootstrap} does not answer within {self._broker.timeout:g} s")
            time.sleep(0.1)


def check_checksum() -> None:
    """Refuse to start where the library would compute every checksum in Python, ten times slower."""
    if getattr(checksums, "crc32c_c", None) is None:
        raise BadConfig("the C checksum is not in use, producing would be ten times slower: pip install crc32c")
