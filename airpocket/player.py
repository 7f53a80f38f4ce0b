"""Replay: tapes in, the records out that the live path made of the same lines; no broker, no clock.

    tape -> session -> linger -> pipeline of each asset -> records

Every part is the live one. What live order of assets there is between two partitions of Kafka does not exist here:
records come in the order in which the tape closes their batches, the same at every run.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Final, TypeAlias

from airpocket.names import SIGNALS
from engine.config import EngineConfig
from engine.errors import BadConfig, BadFrame
from engine.pipeline import Pipeline
from engine.schema import Batch, Record
from engine.topics import SIGNAL_LATEST
from ingest.linger import Linger
from ingest.session import Session, open_session
from ingest.tape import Tape, Tear, expand, read, recording_of

#: Lines at the head of a tape that say whose it is, and of a foreign one the decimals of its numbers.
HEAD: Final = 20_000
#: What is replayed where nothing is chosen: every signal, without the copies for late joiners.
ALL: Final = frozenset(SIGNALS.values()) - {SIGNAL_LATEST}

Lines: TypeAlias = Iterator[tuple[int, bytes, Session, Linger]]


class Player:
    """An iterator of records; `counts`, `tears` and `digest` grow as it goes."""

    def __init__(
        self,
        paths: Iterable[Path | str],
        *,
        venue: str | None = None,
        engine: EngineConfig | None = None,
        topics: Sequence[str] = (),
        since: int | None = None,
        until: int | None = None,
    ) -> None:
        """Open tapes; no `topics` means all but the copies for late joiners.

        `since` and `until` are ns and bound the records, not the books, which are built from the first line on.
        """
        if since is not None and until is not None and since >= until:
            raise BadConfig(f"from is {since} and until is {until}, allowed is an until after from")
        self._engine = engine or EngineConfig()
        self._topics = frozenset(topics) or ALL
        self._since, self._until = since or 0, until
        self._pipelines: dict[str, Pipeline] = {}
        self._sum = sha256()
        #: Lines, records, refused frames, both in all and by topic or reason.
        self.counts: Counter[str] = Counter()
        #: Time of the newest line, ns.
        self.time = 0
        self._tapes: list[Tape] = []
        self.sessions: list[Session] = []
        self._lingers: list[Linger] = []
        self._lines = merge(*self._open(paths, venue), key=itemgetter(0))
        self._records = self._play()

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        return next(self._records)

    @property
    def tears(self) -> list[Tear]:
        """Ends of files whose recorder died while writing them."""
        return [tear for tape in self._tapes for tear in tape.tears]

    @property
    def pipelines(self) -> Mapping[str, Pipeline]:
        """Each asset's pipeline as it is after the records so far."""
        return self._pipelines

    def digest(self) -> str:
        """Hash topics, keys and values of the records so far: equal digests, equal records in equal order."""
        return self._sum.hexdigest()

    def _open(self, paths: Iterable[Path | str], venue: str | None) -> Iterator[Lines]:
        """Open each recording with a session of its own; files that no recorder of ours named are one recording."""
        groups: dict[Path | None, list[Path]] = {}
        for path in expand(paths):
            groups.setdefault(recording_of(path), []).append(path)
        for parts in groups.values():
            tape = read(parts)
            self._tapes.append(tape)
            head = list(islice(tape, HEAD))
            if head:
                yield self._lines_of(tape, head, venue)

    def _lines_of(self, tape: Tape, head: list[tuple[int, bytes]], venue: str | None) -> Lines:
        session, linger = open_session(head, venue), Linger()
        self.sessions.append(session)
        self._lingers.append(linger)
        return ((received, raw, session, linger) for received, raw in chain(head, tape))

    def _play(self) -> Iterator[Record]:
        for received, raw, session, linger in self._lines:
            if self._until is not None and received >= self._until:
                break
            self.time = received
            self.counts["lines"] += 1
            try:
                batches = session.receive(received, raw)
            except BadFrame as bad:
                self.counts["refused"] += 1
                self.counts[f"refused {bad.reason}"] += 1
                continue
            # Requests are the live shell's to make; here the answers are on the tape.
            session.take_requests()
            yield from self._step(linger.add(batches))
        for linger in self._lingers:
            yield from self._step(linger.flush())

    def _step(self, batches: Sequence[Batch]) -> Iterator[Record]:
        for batch in batches:
            pipeline = self._pipelines.get(batch.asset)
            if pipeline is None:
                pipeline = self._pipelines[batch.asset] = Pipeline(batch.asset, self._engine)
            for record in pipeline.step(batch):
                if record.time >= self._since and record.topic in self._topics:
                    self._count(record)
                    yield record

    def _count(self, record: Record) -> None:
        self.counts["records"] += 1
        self.counts[record.topic] += 1
        for part in (record.topic.encode(), record.key.encode(), record.value):
            # Lengths keep two different splits of the same bytes apart.
            self._sum.update(len(part).to_bytes(8, "little"))
            self._sum.update(part)


def moment(text: str | None) -> int | None:
    """Read a time: integer ns since 1970, or ISO 8601, UTC where it names no zone."""
    if text is None:
        return None
    if text.isdigit():
        return int(text)
    try:
        met = datetime.fromisoformat(text)
    except ValueError:
        raise BadConfig(
            f"time is {text!r}, allowed are ISO 8601 such as 2026-01-05T00:00:10, and integer nanoseconds"
        ) from None
    met = met if met.tzinfo else met.replace(tzinfo=UTC)
    since = met - datetime.fromtimestamp(0, UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000
