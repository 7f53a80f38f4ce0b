"""A recording's report card: what `airpocket.verify` found, as values, as JSON and as tables for people."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingest.findings import Finding

#: A book crossed for longer than this is wrong, s.
CROSSED_ALLOWED: Final = 0.1
#: Exit status of a recording with anything wrong in it: a data error.
UNCLEAN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at one time of the recording."""

    #: Receive time, ns.
    time: int
    #: gap, resync, disconnected, disagreement, crossed, stale, refused, backwards, repeated, torn, corrupt or unsynced.
    kind: str
    #: `venue:SYMBOL`, or empty where it is not one instrument's.
    instrument: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How much later than the fastest message the others came, ms."""

    p50: float
    p99: float
    p999: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InstrumentReport:
    """What one instrument's messages were like."""

    instrument: str
    #: Kind of message -> how many.
    messages: dict[str, int]
    #: Receive times of the first and last message, ns.
    first: int
    last: int
    gaps: int
    resyncs: int
    disconnects: int
    #: Whether the book was known at the end.
    synced: bool
    #: Checksums of the venue that agreed and that did not; 0 and 0 where it has none.
    checksums_agreed: int
    checksums_failed: int
    #: Diffs after which the exchange stated its own best bid and ask, and how often the rebuilt book said the same.
    touches_compared: int
    touches_agreed: int
    #: Time the best bid was at or above the best ask; a stream was silent beyond its limit; the book was not known. s.
    crossed_seconds: float
    stale_seconds: float
    unknown_seconds: float
    #: Receive time less the exchange's publishing time of the fastest message, ms: clock error plus shortest way.
    clock_offset: float | None
    lateness: Lateness | None

    @property
    def problems(self) -> list[str]:
        """Say what is wrong, shortly."""
        wrong = {
            f"{self.gaps} gaps": self.gaps > 0,
            "book not known at the end": not self.synced,
            f"{self.checksums_failed} checksums failed": self.checksums_failed > 0,
            f"{self.touches_compared - self.touches_agreed} disagreements with the exchange's best bid and ask": (
                self.touches_agreed < self.touches_compared
            ),
            f"crossed for {self.crossed_seconds:.1f} s": self.crossed_seconds > CROSSED_ALLOWED,
        }
        return [text for text, holds in wrong.items() if holds]


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeReport:
    """One file of the recording."""

    path: str
    #: Bytes on the disk.
    size: int
    #: Where it ends in the middle of something; empty where it is whole.
    torn: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReport:
    """One flat file, or one folder of tables."""

    path: str
    #: Bytes on the disk.
    size: int
    #: `venue:SYMBOL` of those that passed.
    instruments: list[str]
    #: Kind of message -> how many passed.
    messages: dict[str, int]
    #: Cells that break a rule; and how many findings are not listed.
    findings: list[Finding]
    more_findings: int = 0
    #: What stopped the reading before the end; empty where nothing did.
    corrupt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole recording."""

    tapes: list[TapeReport]
    lines: int
    #: Bytes of the lines, unpacked.
    size: int
    first: int
    last: int
    instruments: list[InstrumentReport]
    #: Reason -> frames refused.
    refused: dict[str, int]
    #: What else the session counted: diffs that were old, trades that were repeated, lines that were dropped.
    counts: dict[str, int]
    #: Lines stamped before the line before them, and lines equal to it.
    backwards: int
    repeated: int
    #: What stopped the reading before the end; empty where nothing did.
    corrupt: str
    events: list[Event] = field(default_factory=list)
    #: Events beyond those listed.
    more_events: int = 0
    tables: list[TableReport] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Say everything that is wrong, one line each."""
        found = [f"{i.instrument}: {problem}" for i in self.instruments for problem in i.problems]
        found += [f"{count} frames refused: {reason}" for reason, count in self.refused.items()]
        found += [f"{tape.path} {tape.torn}" for tape in self.tapes if tape.torn]
        found += [f"{self.backwards} times the time goes backwards"] if self.backwards else []
        found += [f"{self.repeated} lines repeated"] if self.repeated else []
        found += [self.corrupt] if self.corrupt else []
        for table in self.tables:
            count = len(table.findings) + table.more_findings
            found += [f"{table.path}: {count} findings"] if count else []
            found += [table.corrupt] if table.corrupt else []
        return found + ([] if self.instruments or self.tables else ["no instrument"])

    @property
    def clean(self) -> bool:
        """Whether nothing at all was wrong."""
        return not self.problems

    @property
    def status(self) -> int:
        """Exit status: 0 only where nothing was wrong."""
        return 0 if self.clean else UNCLEAN

    def json(self) -> bytes:
        """Write the report as one JSON object."""
        verdict = {"clean": self.clean, "status": self.status, "problems": self.problems}
        return orjson.dumps(verdict | asdict(self), option=orjson.OPT_INDENT_2, default=str)


def lines(report: Report, width: int = 120, events: int = 20) -> str:
    """Render the report for people: what is wrong, a table of instruments, and the first events."""
    console = Console(file=StringIO(), width=width, color_system=None, highlight=False)
    if report.tapes or not report.tables:
        span = (report.last - report.first) / 1e9
        console.print(
            f"{len(report.tapes)} tapes, {report.lines:,} lines, {report.size / 1e6:,.1f} MB, {span:,.1f} s from "
            f"{_clock(report.first)} to {_clock(report.last)}"
        )
    for table in report.tables:
        told = ", ".join(f"{count:,} {kind.lower()}" for kind, count in table.messages.items())
        whose = ", ".join(table.instruments[:5]) + (", ..." if len(table.instruments) > 5 else "")
        told = f"{whose or 'no instrument'}, messages that pass: {told or 'none'}"
        console.print(Text(f"{table.path}, {table.size / 1e6:,.1f} MB: {told}"))
    for problem in report.problems:
        console.print(Text(f"! {problem}"))
    if report.clean:
        console.print("clean: nothing is wrong")
    if report.instruments:
        console.print(_table(report.instruments))
    for table in report.tables:
        for finding in table.findings[:events]:
            console.print(Text(str(finding)))
        left = len(table.findings[events:]) + table.more_findings
        if left:
            console.print(Text(f"{Path(table.path).name}: and {left} more findings"))
    if report.events:
        shown = Table("time", "kind", "instrument", "detail", box=None, pad_edge=False)
        for event in report.events[:events]:
            shown.add_row(*map(Text, (_clock(event.time), event.kind, event.instrument, event.detail)))
        console.print(shown)
        left = len(report.events) - min(events, len(report.events)) + report.more_events
        if left:
            console.print(f"and {left} more events")
    output = console.file
    assert isinstance(output, StringIO)
    return output.getvalue()


def _table(instruments: list[InstrumentReport]) -> Table:
    """Put the instruments side by side, one line per fact."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    facts: dict[str, list[str]] = {}

    def add(name: str, value: Any) -> None:
        facts.setdefault(name, []).append("-" if value is None else str(value))

    kinds = sorted({kind for one in instruments for kind in one.messages})
    for one in instruments:
        table.add_column(Text(one.instrument), justify="right")
        for kind in kinds:
            add(f"{kind.lower()} messages", f"{one.messages.get(kind, 0):,}")
        add("gaps", one.gaps)
        add("resyncs", one.resyncs)
        add("disconnects", one.disconnects)
        add("book known at the end", "yes" if one.synced else "no")
        add("checksums agreed", f"{one.checksums_agreed} of {one.checksums_agreed + one.checksums_failed}")
        add("best bid and ask agreed", f"{one.touches_agreed} of {one.touches_compared}")
        add("crossed, s", f"{one.crossed_seconds:.3f}")
        add("stale, s", f"{one.stale_seconds:.3f}")
        add("book not known, s", f"{one.unknown_seconds:.3f}")
        add("clock offset, ms", None if one.clock_offset is None else f"{one.clock_offset:.1f}")
        late = one.lateness
        add("later than the fastest, ms: half", late and f"{late.p50:.1f}")
        add("99 %", late and f"{late.p99:.1f}")
        add("99.9 %", late and f"{late.p999:.1f}")
        add("most", late and f"{late.most:.1f}")
    for name, values in facts.items():
        table.add_row(name, *values)
    return table


def _clock(time: int) -> str:
    """Write ns since 1970 as a UTC time to the microsecond."""
    return datetime.fromtimestamp(time // 1_000_000_000, UTC).strftime("%F %T") + f".{time // 1000 % 1_000_000:06d}"
