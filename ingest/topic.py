"""The topic reader: partitions and offsets in, records with their offsets out, and nothing passed over in silence.

Three faults of the client library are guarded here, each seen on 3.0.12:

1. After `poll` raised (a checksum, a codec), polling again from the same offset never returns. So after an exception
   the consumer is built anew, which also tells a passing fault from a broken batch; a batch that fails twice is
   skipped offset by offset, each handed out as unreadable.
2. A partition may stall for ever while others move. A watchdog compares where we are with where the log ends and
   builds the consumer anew.
3. Addresses of brokers are learnt once. Building anew also finds a cluster that has moved.

Where a log ends is taken from the fetches themselves: the embedded broker answers that question wrongly when asked.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    SaslAuthenticationFailedError,
)
from kafka.net.compat import KafkaNetClient

from engine.broker import BrokerConfig, connect
from engine.errors import BadConfig, BadRecord, Undelivered
from engine.schema import Record

#: A topic and one of its partitions.
Place: TypeAlias = tuple[str, int]
MILLISECOND: Final = 1_000_000
#: Seconds that looking whether the broker is there may keep a reader who has other things to do.
GLANCE: Final = 2.0
#: What a market record's header calls the underlying asset.
HEADER_ASSET: Final = "asset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One offset of one partition: its record, or why there is none."""

    topic: str
    partition: int
    offset: int
    #: None where it cannot be read.
    record: Record | None
    fault: str = ""


class TopicSource:
    """Read partitions by assignment: no group, nothing committed; the caller knows where to begin."""

    def __init__(self, broker: BrokerConfig, stall: float = 10.0) -> None:
        """Connect; `stall` is how many seconds a partition may stand still while its log is longer."""
        # At DEBUG the library prints every byte it sends, the password among them.
        logging.getLogger("kafka").setLevel(logging.WARNING)
        self._broker = broker
        self._stall = stall
        self._next: dict[TopicPartition, int] = {}
        self._moved: dict[TopicPartition, float] = {}
        self._retried = ""
        self._broken: tuple[str, TopicPartition] | None = None
        #: How often the consumer was built anew.
        self.rebuilt = 0
        self._consumer = self._open(broker)

    def partitions(self, topic: str) -> list[int]:
        """List the partitions of a topic; raises BadConfig where it does not exist."""
        try:
            found = sorted(self._consumer.partitions_for_topic(topic))
        except KafkaError as error:
            raise Undelivered(f"no broker at {self._broker.bootstrap} names the partitions of {topic}") from error
        if not found:
            raise BadConfig(f"topic {topic!r} is not on {self._broker.bootstrap}: run `airpocket topics ensure`")
        return found

    def begin(self, positions: Mapping[Place, int]) -> None:
        """Read these partitions from these offsets, and no others."""
        self._next = {TopicPartition(*place): offset for place, offset in positions.items()}
        self._moved = dict.fromkeys(self._next, time.monotonic())
        self._assign(self._consumer)

    def position(self, topic: str, partition: int) -> int:
        """Return the offset that would be read next."""
        return self._next[TopicPartition(topic, partition)]

    def bounds(self, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
        """Return of each partition the first offset retained and that of the next record; forgets what `begin` said."""
        wanted = [TopicPartition(*place) for place in places]
        begins = self._ask(self._consumer.beginning_offsets, wanted)
        # Too small on the embedded broker, never too large: the fetch that follows says it right.
        ends = self._ask(self._consumer.end_offsets, wanted)
        filled = {place: end - 1 for place, end in ends.items() if end > begins[place]}
        self.begin({(place.topic, place.partition): offset for place, offset in filled.items()})
        deadline = time.monotonic() + self._broker.timeout
        while unknown := [place for place in filled if self._consumer.highwater(place) is None]:
            self.poll(0.2)
            if time.monotonic() > deadline:
                raise Undelivered(f"where {unknown} end is not known after {self._broker.timeout:g} s")
        ends |= {place: max(ends[place], self._consumer.highwater(place)) for place in filled}
        return {(place.topic, place.partition): (begins[place], ends[place]) for place in wanted}

    def end(self, topic: str, partition: int) -> int:
        """Return the offset of the next record to be written; forgets what `begin` said."""
        return self.bounds([(topic, partition)])[topic, partition][1]

    def earliest(self, topic: str, partition: int) -> int:
        """Return the first offset that is retained."""
        place = TopicPartition(topic, partition)
        return self._ask(self._consumer.beginning_offsets, [place])[place]

    def last(self, bounds: Mapping[Place, tuple[int, int]]) -> dict[Place, Taken]:
        """Return the last readable record of each partition within its bounds; none where there is none."""
        filled = {place: end for place, (begin, end) in bounds.items() if end > begin}
        found: dict[Place, Taken] = {}
        self.begin({place: end - 1 for place, end in filled.items()})
        deadline = time.monotonic() + self._broker.timeout
        while [place for place, end in filled.items() if self.position(*place) < end]:
            for taken in self.poll(0.2):
                if taken.record is not None:
                    found[taken.topic, taken.partition] = taken
            self._pass_holes(self._next)
            if time.monotonic() > deadline:
                raise Undelivered(f"the ends of {list(filled)} cannot be read within {self._broker.timeout:g} s")
        for place in filled.keys() - found.keys():
            before = self._last_before(place, *bounds[place])
            if before is not None:
                found[place] = before
        return found

    def _last_before(self, place: Place, begin: int, end: int) -> Taken | None:
        step, stop = 8, end - 1
        while stop > begin:
            start = max(begin, stop - step)
            readable = [taken for taken in self.read(*place, start, stop) if taken.record is not None]
            if readable:
                return readable[-1]
            step, stop = step * 8, start
        return None

    def read(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Taken]:
        """Yield what a partition holds from `start` up to but without `stop`; forgets what `begin` said.

        It ends by position, not by record: the last offsets may hold nothing (compaction, markers of transactions).
        """
        place = TopicPartition(topic, partition)
        self.begin({(topic, partition): start})
        deadline = time.monotonic() + self._broker.timeout
        while self._next[place] < stop:
            before = self._next[place]
            yield from (taken for taken in self.poll(0.2) if taken.offset < stop)
            self._pass_holes([place])
            now = time.monotonic()
            if self._next[place] > before:
                deadline = now + self._broker.timeout
            elif now > deadline:
                raise Undelivered(f"{topic}/{partition} gives nothing at {before}, though it reaches to {stop}")

    def poll(self, timeout: float) -> list[Taken]:
        """Return what came, waiting up to `timeout` seconds; raises BadRecord where what is asked for is gone."""
        try:
            fetched = self._consumer.poll(timeout_ms=int(timeout * 1000))
        except (OffsetOutOfRangeError, NoOffsetForPartitionError) as error:
            raise BadRecord(f"records are no longer retained: {error}; begin later, or keep them longer") from error
        except (AuthorizationError, SaslAuthenticationFailedError) as error:
            raise BadConfig(f"{self._broker.bootstrap} does not let us read: {error}") from error
        except Exception as error:  # noqa: BLE001 - a broken batch raises whatever its codec raises
            return self._after(error)
        now = time.monotonic()
        taken: list[Taken] = []
        for place, records in fetched.items():
            taken.extend(_taken(record) for record in records)
            self._next[place] = records[-1].offset + 1
            self._moved[place] = now
        if any(now - moved > self._stall for moved in self._moved.values()):
            self._watch(now)
        return taken

    def close(self) -> None:
        """Release the broker."""
        _release(self._consumer)

    def _ask(
        self, where: Callable[..., dict[TopicPartition, int]], places: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        deadline = time.monotonic() + self._broker.timeout
        while True:
            try:
                return where(places, int(self._broker.timeout * 1000))
            except KafkaError as error:
                raise Undelivered(f"where {places} begin and end is not known: {error}") from error
            except KeyError as error:
                # The library drops partitions whose leader it has not learnt yet from the answer, then looks for them.
                if time.monotonic() > deadline:
                    raise Undelivered(f"no broker leads {error} within {self._broker.timeout:g} s") from error
                time.sleep(0.02)

    def _open(self, broker: BrokerConfig) -> Any:
        try:
            return connect(
                broker,
                "source",
                KafkaConsumer,
                KafkaNetClient,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                allow_auto_create_topics=False,
                # Every fetch then says how long each log is, also when it has nothing to give.
                enable_incremental_fetch_sessions=False,
                fetch_max_wait_ms=broker.fetch_wait,
                request_timeout_ms=max(int(self._broker.timeout * 1000), broker.fetch_wait + 1000),
                max_partition_fetch_bytes=8_000_000,
                # Few enough that who polls soon looks up again: to stop, to save, at the other partitions.
                max_poll_records=500,
                metrics_enabled=False,
            )
        except KafkaError as error:
            raise Undelivered(f"no broker at {self._broker.bootstrap}: {error}") from error

    def _assign(self, consumer: Any) -> None:
        consumer.assign(list(self._next))
        for place, offset in self._next.items():
            consumer.seek(place, offset)

    def _rebuild(self) -> None:
        # The new one first: while the broker is away the old one stays, and is asked again.
        try:
            consumer = self._open(replace(self._broker, timeout=min(GLANCE, self._broker.timeout)))
        except Undelivered:
            return
        _release(self._consumer)
        self._consumer = consumer
        self._assign(consumer)
        self.rebuilt += 1

    def _after(self, error: Exception) -> list[Taken]:
        text = f"{type(error).__name__}: {error}"
        if self._broken is not None and self._broken[0] == text and self._is_of(self._broken[1], text):
            return [self._skip(self._broken[1], text)]
        if self._retried != text:
            self._retried = text
            self._rebuild()
            return []
        return self._isolate(text)

    def _is_of(self, place: TopicPartition, text: str) -> bool:
        return len(self._next) == 1 or str(place) in text

    def _isolate(self, text: str) -> list[Taken]:
        """Poll one partition at a time until one raises, and skip its next offset."""
        self._rebuild()
        self._retried = ""
        consumer, places = self._consumer, list(self._next)
        taken: list[Taken] = []
        for place in places:
            consumer.pause(*places)
            consumer.resume(place)
            try:
                fetched = consumer.poll(timeout_ms=self._broker.fetch_wait + 1000)
            except Exception as error:  # noqa: BLE001 - as above
                self._broken = (f"{type(error).__name__}: {error}", place)
                taken.append(self._skip(place, text))
                break
            for records in fetched.values():
                taken.extend(_taken(record) for record in records)
                self._next[place] = records[-1].offset + 1
        consumer.resume(*places)
        return taken

    def _skip(self, place: TopicPartition, text: str) -> Taken:
        offset = self._next[place]
        self._next[place] = offset + 1
        # To another offset than the one that raised: only that makes the library drop what it holds.
        self._consumer.seek(place, offset + 1)
        return Taken(topic=place.topic, partition=place.partition, offset=offset, record=None, fault=text)

    def _watch(self, now: float) -> None:
        quiet = [place for place, moved in self._moved.items() if now - moved > self._stall]
        self._moved |= dict.fromkeys(quiet, now)
        self._pass_holes(quiet)
        try:
            # May be too small, never too large; what the last fetch said may be out of date.
            ends: dict[TopicPartition, int] = self._consumer.end_offsets(quiet, int(1000 * GLANCE))
        except (KafkaError, KeyError):
            # It does not answer. Its addresses may have changed, and building anew is how they are learnt.
            self._rebuild()
            return
        if any(max(ends[place], self._consumer.highwater(place) or 0) > self._next[place] for place in quiet):
            self._rebuild()

    def _pass_holes(self, places: Iterable[TopicPartition]) -> None:
        for place in list(places):
            try:
                position = self._consumer.position(place, timeout_ms=1000)
            except KafkaError:
                # The broker is away; the fetches will say so.
                continue
            if position is not None and position > self._next[place]:
                self._next[place] = position


def tail(
    broker: BrokerConfig, topic: str, beginning: bool = False, stop: Callable[[], bool] = lambda: False
) -> Iterator[Taken]:
    """Yield a topic's records as they come, from now on or from the beginning, until `stop` says so."""
    source = TopicSource(broker)
    try:
        bounds = source.bounds([(topic, partition) for partition in source.partitions(topic)])
        source.begin({place: begin if beginning else end for place, (begin, end) in bounds.items()})
        while not stop():
            yield from source.poll(0.2)
    finally:
        source.close()


def _release(consumer: Any) -> None:
    # Nothing is committed and no group left, so nothing is lost where the broker is away.
    with suppress(KafkaError):
        consumer.close(autocommit=False, timeout_ms=1000)


def _taken(met: Any) -> Taken:
    headers: Sequence[tuple[str, bytes | None]] = met.headers
    fault, record = "", None
    try:
        if met.key is None or met.value is None:
            raise BadRecord("it has no key" if met.key is None else "it has no value")
        named = {name: value or b"" for name, value in headers}
        record = Record(
            topic=met.topic,
            key=met.key.decode(),
            asset=named.get(HEADER_ASSET, b"").decode(),
            time=met.timestamp * MILLISECOND,
            value=met.value,
            headers=tuple((name, value or b"") for name, value in headers),
        )
    except (BadRecord, UnicodeDecodeError) as error:
        fault = f"{type(error).__name__}: {error}"
    return Taken(topic=met.topic, partition=met.partition, offset=met.offset, record=record, fault=fault)
