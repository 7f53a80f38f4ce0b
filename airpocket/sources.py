"""Where a replay's market rows come from: tapes or a lake in, batches out, in the order in which the engine takes them.

tapes: lines -> session -> linger -> batches        as live; each recording by itself
lake:  Parquet files -> batches                     the same messages, in longer batches
files of Tardis or hftbacktest: `airpocket.imports`
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import orjson

from engine import lake
from engine.errors import BadConfig, BadFrame
from engine.pipeline import Pipeline
from engine.schema import Batch, Kind
from engine.trust import OK
from ingest.captures import What, is_capture, lines_of, read_capture, venues_of
from ingest.control import MARK, START
from ingest.linger import Linger
from ingest.session import Session, foreign_session, open_session
from ingest.tape import Head, Tape, Tear, Text, ahead, expand, glimpse, read, recording_of
from ingest.venues import load

#: Lines at the head of a tape that say whose it is, and of a foreign one the decimals of its numbers.
HEAD: Final = 20_000

#: Row time of one batch where there is but one instrument, ns.
ALONE: Final = 1_000_000_000

#: Batches of one recording, and the receive time of the line that closed them.
Closed: TypeAlias = Iterator[tuple[int, list[Batch]]]


class Source(Protocol):
    """An iterator of batches, and what there is to say of it afterwards."""

    #: What `counts` counts its progress in.
    unit: str
    counts: Counter[str]
    #: Receive time of the newest row or line, ns.
    time: int
    sessions: list[Session]

    def __iter__(self) -> Iterator[Batch]: ...
    @property
    def tears(self) -> list[Tear]: ...
    def known(self, pipelines: Mapping[str, Pipeline]) -> list[str]: ...
    def told(self) -> str: ...


class TapeRows:
    """Tapes through sessions of their own; files that no recorder of ours named are one recording of each venue."""

    def __init__(self, paths: Iterable[Path | str], venue: str | None = None, until: int | None = None) -> None:
        self.unit = "lines"
        self.counts: Counter[str] = Counter()
        self.time = 0
        self.sessions: list[Session] = []
        self._until = until
        self._tapes: list[Tape] = []
        self._lingers: list[Linger] = []
        # To unpack a tape takes as long as all that comes after it, and neither needs the interpreter's lock.
        self._reader = ThreadPoolExecutor(1, "tape")
        recordings = list(self._open(paths, venue))
        if len(self.sessions) == 1 and len(self.sessions[0].synced) == 1:
            # No other instrument's rows come in between, so that it is the same to everybody how many come at once.
            self._lingers[0].interval = ALONE
        self._closed = merge(*recordings, key=itemgetter(0))

    @property
    def tears(self) -> list[Tear]:
        """Ends of files whose recorder died while writing them."""
        return [tear for tape in self._tapes for tear in tape.tears]

    def known(self, pipelines: Mapping[str, Pipeline]) -> list[str]:
        """Name the symbols whose books are whole now."""
        return [key for session in self.sessions for key, known in session.synced.items() if known]

    def told(self) -> str:
        """Say what was wrong."""
        gaps = sum(session.counts["gaps"] for session in self.sessions)
        torn = "".join(f"; {tear.path.name} {tear.detail}" for tear in self.tears)
        return f"gaps {gaps}, frames refused {self.counts['refused']}{torn}"

    def __iter__(self) -> Iterator[Batch]:
        with self._reader:
            for _, batches in self._closed:
                yield from batches
        # Where time ended it, what still lingers is of before that.
        for linger in self._lingers:
            yield from linger.flush()

    def _open(self, paths: Iterable[Path | str], venue: str | None) -> Iterator[Closed]:
        groups: dict[Path | str, list[Path]] = {}
        captures: list[Path] = []
        for path in expand(paths):
            if recording_of(path) is None and is_capture(path):
                captures.append(path)
            else:
                groups.setdefault(recording_of(path) or venue_of(path), []).append(path)
        if captures:
            yield from self._open_captures(captures, venue)
        for parts in groups.values():
            tape = read(parts)
            self._tapes.append(tape)
            texts = tape.texts()
            if texts is None:
                head = list(islice(tape, HEAD))
                if head:
                    yield self._by_line(chain(head, tape), *self._sit(open_session(head, venue)))
            else:
                first = list(islice(texts, 1))
                if first:
                    session = self._of_texts(first, texts, venue)
                    yield self._by_text(chain(first, texts), *self._sit(session))

    def _of_texts(self, first: list[Text], texts: Iterator[Text], venue: str | None) -> Session:
        """Make the session that a recording's first lines call for; to `first` are added those that had to be read."""
        raw = first[0].first()
        if venue is None or raw.startswith(MARK):
            return open_session([(0, raw)], venue)
        lines = first[0].after
        while lines < HEAD and (text := next(texts, None)) is not None:
            first.append(text)
            lines += text.after - text.before
        return foreign_session(load(venue), Head(first, HEAD))

    def _sit(self, session: Session) -> tuple[Session, Linger]:
        """Note a session, and give it a linger."""
        linger = Linger()
        self.sessions.append(session)
        self._lingers.append(linger)
        return session, linger

    def _by_line(self, lines: Iterable[tuple[int, bytes]], session: Session, linger: Linger) -> Closed:
        """Take lines one by one."""
        received = 0
        for received, raw in lines:
            if self._until is not None and received >= self._until:
                return
            yield received, linger.add(self._take(received, raw, session))
        # What still lingers is older than the next recording's lines.
        yield received, linger.flush()

    def _by_text(self, texts: Iterable[Text], session: Session, linger: Linger) -> Closed:
        """Take lines many at once, where they are plain."""
        # Here, for it brings the compiler.
        from ingest.bulk import Bulk

        received, bulk = 0, Bulk(session, linger, self._until)
        for text in ahead(iter(texts), self._reader):
            for received, taken, raw, closed in bulk.take(text):
                self.counts["lines"] += taken
                if taken:
                    self.time = max(self.time, received)
                yield received, closed if raw is None else linger.add(self._take(received, raw, session))
            if bulk.ended:
                return
        yield received, linger.flush()

    def _take(self, received: int, raw: bytes, session: Session) -> list[Batch]:
        """Take one line."""
        self.time = max(self.time, received)
        self.counts["lines"] += 1
        try:
            batches = session.receive(received, raw)
        except BadFrame as bad:
            self.counts["refused"] += 1
            self.counts[f"refused {bad.reason}"] += 1
            return []
        # Requests are the live shell's to make; here the answers are on the tape.
        session.take_requests()
        return batches

    def _open_captures(self, paths: Sequence[Path], venue: str | None) -> Iterator[Closed]:
        """Open a session for each venue that some connections of a capture are of."""
        entries = list(read_capture(paths))
        found = venues_of(entries)
        wanted = sorted({each.name for each in found.values()} if venue is None else {load(venue).name})
        for name in wanted:
            mine = [connection for connection, each in found.items() if each.name == name]
            if not mine:
                raise BadConfig(f"no connection of the capture is to {name}, there are {', '.join(sorted(found))}")
            lines = list(lines_of(entries, load(name), mine))
            frames = [
                each.raw
                for each in entries
                if (each.what is What.RECEIVED and each.connection in mine) or each.what is What.ANSWER
            ]
            yield self._by_line(lines, *self._sit(foreign_session(load(name), frames)))


def venue_of(path: Path) -> str:
    """Name the venue that a tape's first line states, empty where it states none."""
    if not glimpse(path).startswith(START):
        return ""
    for _, raw in read([path]):
        return str(orjson.loads(raw).get("venue", ""))
    return ""


class LakeRows:
    """A lake's rows, as far as `until`."""

    def __init__(self, folder: Path, until: int | None = None) -> None:
        from ingest.parquet import read as open_lake

        self.unit = "messages"
        self.counts: Counter[str] = Counter()
        self.time = 0
        self.sessions: list[Session] = []
        self._lake = open_lake(folder, until=until)

    @property
    def tears(self) -> list[Tear]:
        """Files that a writer left unfinished."""
        return [
            Tear(path=path, bytes=path.stat().st_size, detail="was never finished, and is not read")
            for path in self._lake.parts
        ]

    def known(self, pipelines: Mapping[str, Pipeline]) -> list[str]:
        """Name the symbols whose books are known now."""
        tracks = [track for pipeline in pipelines.values() for track in pipeline.tracks.values()]
        return sorted(track.key.partition(":")[2] for track in tracks if track.reason == OK)

    def told(self) -> str:
        """Say what was wrong."""
        torn = "".join(f"; {tear.path.name} {tear.detail}" for tear in self.tears)
        return f"gaps {self.counts['gaps']}{torn}"

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._lake:
            self.time = max(self.time, int(batch.messages["received"][-1]))
            self.counts["messages"] += len(batch.messages)
            self.counts["gaps"] += int((batch.messages["kind"] == Kind.GAP).sum())
            yield batch


def open_rows(paths: Sequence[Path | str], venue: str | None = None, until: int | None = None) -> Source:
    """Open one lake, or tapes, or files that others recorded. Raises BadConfig for what is not there, or several."""
    from airpocket.imports import imported

    lakes = [Path(path) for path in paths if is_lake(Path(path))]
    if not lakes:
        return imported(paths, venue, until) or TapeRows(paths, venue, until)
    if len(paths) > 1:
        raise BadConfig(f"{lakes[0]} is a lake, and {len(paths)} things are to be replayed; allowed is one lake alone")
    if venue is not None:
        raise BadConfig(f"{lakes[0]} is a lake, which names its venues; --venue {venue} is for foreign tapes")
    return LakeRows(lakes[0], until)


def is_lake(path: Path) -> bool:
    """Say whether a folder is a lake, perhaps an empty one."""
    return any((path / f"channel={channel.name}").is_dir() for channel in lake.CHANNELS)
