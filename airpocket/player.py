"""Replay: tapes or a lake in, the records out that the live path made of the same rows; no broker, no clock.

    rows (`airpocket.sources`) -> pipeline of each asset -> records

Every part is the live one. What live order of assets there is between two partitions of Kafka does not exist here:
records come in the order in which the tape closes their batches, the same at every run, and from a lake too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from airpocket.names import SIGNALS
from airpocket.sources import HEAD, Source, open_rows
from engine.config import EngineConfig
from engine.errors import BadConfig
from engine.pipeline import Pipeline
from engine.schema import Record
from engine.topics import SIGNAL_LATEST
from ingest.session import Session
from ingest.tape import Tear

__all__ = ["HEAD", "Player", "moment"]

#: What is replayed where nothing is chosen: every signal, without the copies for late joiners.
ALL: Final = frozenset(SIGNALS.values()) - {SIGNAL_LATEST}


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
        """Open tapes or one lake; no `topics` means all but the copies for late joiners.

        `since` and `until` are ns and bound the records, not the books, which are built from the first row on.
        """
        if since is not None and until is not None and since >= until:
            raise BadConfig(f"from is {since} and until is {until}, allowed is an until after from")
        self._engine = engine or EngineConfig()
        self._topics = frozenset(topics) or ALL
        self._since = since or 0
        self._pipelines: dict[str, Pipeline] = {}
        self._sum = sha256()
        #: Where the rows come from.
        self.rows: Source = open_rows(list(paths), venue, until)
        #: Lines or messages, records, refused frames, both in all and by topic or reason.
        self.counts = self.rows.counts
        self._records = self._play()

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        return next(self._records)

    @property
    def time(self) -> int:
        """Receive time of the newest line or row, ns."""
        return self.rows.time

    @property
    def sessions(self) -> list[Session]:
        """The sessions of the tapes; a lake has none."""
        return self.rows.sessions

    @property
    def tears(self) -> list[Tear]:
        """Ends of files whose writer died while writing them."""
        return self.rows.tears

    @property
    def pipelines(self) -> Mapping[str, Pipeline]:
        """Each asset's pipeline as it is after the records so far."""
        return self._pipelines

    def digest(self) -> str:
        """Hash topics, keys and values of the records so far: equal digests, equal records in equal order."""
        return self._sum.hexdigest()

    def _play(self) -> Iterator[Record]:
        for batch in self.rows:
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
