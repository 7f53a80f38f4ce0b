"""Tapes in, a report card out: was every frame there, was every book right, how late did they come.

Each recording is played through the session that the feed itself uses, and its books are rebuilt. Where the exchange
states its own best bid and ask with an update id, the book after a diff that ends with id u must show what the newest
of those statements with an id <= u says, price and size; statements may come before or after the diff.

Flat files (`ingest.flatfiles`) and hourly tables (`ingest.hourly`) are told by their header, and checked cell by cell.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Final

from airpocket.audit import Events, InstrumentAudit
from airpocket.report import Report, TableReport, TapeReport
from engine.errors import BadFrame, BadRecord
from engine.schema import Batch, Kind
from ingest import flatfiles, hourly
from ingest.control import says_farewell
from ingest.findings import Findings
from ingest.session import Session, open_session
from ingest.tape import Tape, expand, read, recording_of

#: Lines that tell whose a tape is, and the decimals of a foreign one.
HEAD: Final = 20_000


def verify(paths: Iterable[Path | str], venue: str | None = None) -> Report:
    """Check tapes whole; `venue` names that of foreign ones. Raises BadConfig for what cannot be read at all."""
    groups: dict[Path | None, list[Path]] = {}
    named = list(map(Path, paths))
    tables = [_check_table(path, hourly.read) for path in named if hourly.is_hourly(path)]
    others = [path for path in named if str(path) not in {table.path for table in tables}]
    for path in expand(others) if others or not tables else ():
        if recording_of(path) is None and flatfiles.is_flatfile(path):
            tables.append(_check_table(path, flatfiles.read))
            continue
        groups.setdefault(recording_of(path), []).append(path)
    foreign = groups.pop(None, [])
    audit = Audit()
    for recording in sorted(group for group in groups if group is not None):
        audit.play(groups[recording], venue)
    if foreign:
        audit.play(foreign, venue)
    return replace(audit.report(), tables=tables)


def _check_table(path: Path, read: Callable[..., Iterator[Batch]]) -> TableReport:
    """Check a flat file, or a folder of tables, whole."""
    findings = Findings()
    messages: Counter[str] = Counter()
    instruments: set[str] = set()
    corrupt = ""
    try:
        for batch in read([path], findings=findings):
            instruments.add(batch.instrument)
            messages.update(Kind(kind).name for kind in batch.messages["kind"].tolist())
    except BadRecord as error:
        corrupt = str(error)
    return TableReport(
        path=str(path),
        size=sum(each.stat().st_size for each in (path.glob("*.parquet") if path.is_dir() else [path])),
        instruments=sorted(instruments),
        messages=dict(sorted(messages.items())),
        findings=findings.listed,
        more_findings=findings.more,
        corrupt=corrupt,
    )


class Audit:
    """Everything that is found, recording after recording."""

    def __init__(self) -> None:
        self._events = Events()
        self._instruments: dict[str, InstrumentAudit] = {}
        self._counts: Counter[str] = Counter()
        self._tapes: list[TapeReport] = []
        self._lines = self._size = 0
        self._first = self._last = 0
        self._backwards = self._repeated = 0
        self._corrupt: list[str] = []
        #: The newest line of the recording being played.
        self._time = 0
        self._raw = b""

    def play(self, paths: list[Path], venue: str | None) -> None:
        """Play one recording through a session of its own."""
        self._time, self._raw = 0, b""
        for instrument in self._instruments.values():
            instrument.restart()
        tape = read(paths)
        lines = self._readable(tape)
        head = list(islice(lines, HEAD))
        if head:
            session = open_session(head, venue)
            try:
                for received, raw in chain(head, lines):
                    self._line(received, raw)
                    self._play_line(session, received, raw)
            except BadRecord as error:
                self._stop(error)
            self._counts += session.counts
        torn = {tear.path: tear.detail for tear in tape.tears}
        for path in tape.paths:
            size = path.stat().st_size
            self._tapes.append(TapeReport(path=str(path), size=size, torn=torn.get(path, "")))

    def report(self) -> Report:
        """Say what was found."""
        instruments = [self._instruments[key].finish() for key in sorted(self._instruments)]
        mark = "refused:"
        refused = {n.removeprefix(mark): count for n, count in self._counts.items() if n.startswith(mark)}
        return Report(
            tapes=self._tapes,
            lines=self._lines,
            size=self._size,
            first=self._first,
            last=self._last,
            instruments=instruments,
            refused=dict(sorted(refused.items())),
            counts={n: count for n, count in sorted(self._counts.items()) if not n.startswith(mark)},
            backwards=self._backwards,
            repeated=self._repeated,
            corrupt="; ".join(self._corrupt),
            events=sorted(self._events.listed, key=lambda event: event.time),
            more_events=self._events.more,
        )

    def _readable(self, tape: Tape) -> Iterator[tuple[int, bytes]]:
        """Give the lines up to the end, or to where the tape cannot be read any more; note tears where they are."""
        tears = 0
        time = 0
        try:
            for line in tape:
                while tears < len(tape.tears):
                    self._events.add(time, "torn", "", f"{tape.tears[tears].path} {tape.tears[tears].detail}")
                    tears += 1
                time = line[0]
                yield line
        except BadRecord as error:
            self._stop(error, time)
        for tear in tape.tears[tears:]:
            self._events.add(time, "torn", "", f"{tear.path} {tear.detail}")

    def _line(self, received: int, raw: bytes) -> None:
        """Look at a line's place among the others."""
        self._lines += 1
        self._size += len(raw) + len(str(received)) + 2
        if received < self._time:
            self._backwards += 1
            detail = f"{(self._time - received) / 1e6:.3f} ms before the line before it, at {self._time}"
            self._events.add(received, "backwards", "", detail)
        elif received == self._time and raw == self._raw:
            self._repeated += 1
            self._events.add(received, "repeated", "", f"the line before it again: {raw[:80]!r}")
        self._first = min(self._first, received) if self._first else received
        self._last = max(self._last, received)
        self._time, self._raw = received, raw

    def _play_line(self, session: Session, received: int, raw: bytes) -> None:
        """Let the session have a line, and the instruments what comes of it."""
        try:
            batches = session.receive(received, raw)
        except BadFrame as error:
            self._events.add(received, "refused", "", str(error))
            return
        finally:
            # Requests are the live feed's to make; here the answers are on the tape.
            session.take_requests()
        stopping = says_farewell(raw)
        for batch in batches:
            instrument = self._instruments.get(batch.instrument)
            if instrument is None:
                instrument = self._instruments[batch.instrument] = InstrumentAudit(batch.instrument, self._events)
            try:
                instrument.take(batch, stopping)
            except BadFrame as error:
                self._counts[f"refused:{error.reason}"] += 1
                self._events.add(received, "refused", batch.instrument, str(error))

    def _stop(self, error: BadRecord, time: int | None = None) -> None:
        """Note what ends the reading of a recording."""
        self._corrupt.append(str(error))
        self._events.add(self._time if time is None else time, "corrupt", "", str(error))
