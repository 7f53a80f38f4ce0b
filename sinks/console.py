"""The console: signal records in; a live table of every instrument on a terminal, JSON lines in a pipe.

The table is conflated: it shows the newest record of each instrument or asset and signal a few times a second, however
many came between. In a pipe nothing is left out: each record's JSON is one line, as it stands in the topic.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Final

import orjson
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine.schema import Record
from engine.topics import SIGNAL_LATEST

#: Seconds between two drawings.
REFRESH: Final = 0.2
#: Bands of the depth columns, basis points, and the sweep's notional, where the engine computes them.
BANDS: Final = (10, 50, 100)
NOTIONAL: Final = 100_000
NOTHING: Final = "–"
SECOND: Final = 1_000_000_000
HEADS: Final = (
    "instrument",
    "state",
    "mid",
    "spread\nbps",
    *(f"bid | ask\n{band} bps" for band in BANDS),
    "imba-\nlance",
    f"sell {NOTIONAL // 1000}k\nbps",
    "msg/s",
    "offset\nms",
    "gaps",
    "vacuum\nbids | asks",
    "of usual\n10 bps",
    "critical\n1 %",
)
#: Columns of signals that not every console is shown.
STORY: Final = {12: "vacuum", 13: "vacuum", 14: "cascade"}
#: Columns that a narrow terminal does without, first to go first: offset, sweep, imbalance, middle band, rate, widest
#: band, spread.
LEAST: Final = (10, 8, 7, 5, 9, 6, 3)
#: Fall of the critical shock, bps.
FALL: Final = 100
COLOURS: Final = {"normal": "green", "thin": "yellow", "vacuum": "bold red", "recovering": "cyan"}


class ConsoleSink:
    """Show records on standard output."""

    def __init__(
        self, *, lines: bool | None = None, console: Console | None = None, pipe: BinaryIO | None = None
    ) -> None:
        """Choose: `lines` forces JSON lines or the table; without it the terminal decides."""
        self._console = console or Console()
        self._lines = not self._console.is_terminal if lines is None else lines
        self._pipe = pipe or sys.stdout.buffer
        self._rows: dict[str, Row] = {}
        self._drawn = 0.0
        self._live: Live | None = None

    def write(self, records: Sequence[Record]) -> None:
        """Show records; on a terminal only the newest of each kind."""
        if self._lines:
            self._pipe.write(b"".join(record.value + b"\n" for record in records))
            self._pipe.flush()
            return
        for record in records:
            key, signal = name(record)
            self._rows.setdefault(key, Row()).take(signal, record)
        if records and time.monotonic() - self._drawn >= REFRESH:
            self._draw()

    def say(self, line: str) -> None:
        """Print a line above the table; in a pipe there are records only."""
        if not self._lines:
            self._console.print(line, markup=False, highlight=False)

    def flush(self) -> None:
        """Return when everything written is to be seen."""
        if self._rows:
            self._draw()

    def close(self) -> None:
        """Leave the last table standing, and the cursor below it."""
        self.flush()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> None:
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(fitting(self._rows, self._console), refresh=True)
        self._drawn = time.monotonic()


class Row:
    """What is shown of one instrument: its newest records, and how fast its messages come."""

    def __init__(self) -> None:
        self.newest: dict[str, Record] = {}
        #: Messages per second between the last two health records; None before there are two.
        self.rate: float | None = None
        self._before = (0, 0)

    def take(self, signal: str, record: Record) -> None:
        """Replace the newest record of its kind."""
        self.newest[signal] = record
        if signal == "health":
            messages = int(orjson.loads(record.value)["messages"])
            time, count = self._before
            # Two records of one change of state are too close for a rate.
            if time and record.time - time < SECOND // 2:
                return
            self.rate = (messages - count) * SECOND / (record.time - time) if time else None
            self._before = record.time, messages

    def value(self, signal: str) -> Mapping[str, Any]:
        """Read the newest record of a signal; empty where there is none yet."""
        return orjson.loads(self.newest[signal].value) if signal in self.newest else {}


def name(record: Record) -> tuple[str, str]:
    """Say whose record it is and of which signal: topics say so, and keys where records of late joiners share one."""
    if record.topic == SIGNAL_LATEST:
        signal, _, key = record.key.partition("|")
        return key, signal
    return record.key, record.topic.split(".")[1]


def fitting(rows: Mapping[str, Row], console: Console) -> Table:
    """Lay out as many columns as the terminal is wide."""
    wide = console.options.update(max_width=1_000)
    for left_out in range(len(LEAST)):
        drawn = table(rows, LEAST[:left_out])
        if console.measure(drawn, options=wide).maximum <= console.width:
            return drawn
    return table(rows, LEAST)


def table(rows: Mapping[str, Row], without: Sequence[int] = ()) -> Table:
    """Lay out the newest records of each instrument."""
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown = {signal for row in rows.values() for signal in row.newest}
    kept = [at for at in range(len(HEADS)) if at not in without and STORY.get(at, "") in ("", *shown)]
    for column in kept:
        drawn.add_column(HEADS[column], justify="left" if column < 2 else "right", no_wrap=True)
    for key in sorted(rows):
        row = cells(key, rows[key])
        drawn.add_row(*(row[column] for column in kept))
    return drawn


def cells(key: str, row: Row) -> list[Text]:
    """Word the row of an instrument or of an asset; of a book that is not known no number is shown."""
    depth, health = row.value("depth"), row.value("health")
    # A vacuum's record says of each side what it is known to be in.
    spoken = [record for signal, record in row.newest.items() if signal != "vacuum"]
    state = orjson.loads(max(spoken, key=lambda record: record.time).value) if spoken else {"state": "ok"}
    vacuum, cascade = row.value("vacuum"), row.value("cascade")
    offset = health.get("clock_offset_ns")
    gaps = health.get("gaps", 0 if ":" in key else NOTHING)
    return [
        Text(key, style="bold"),
        Text("ok", style="green") if state["state"] == "ok" else Text(f"unknown: {state['reason']}", style="bold red"),
        number(depth.get("mid", depth.get("reference")), ",.2f"),
        number(depth.get("spread_bps"), ".3f"),
        *(
            Text(" | ").join(money(at(depth, f"{side}_quote", "bands", band)) for side in ("bid", "ask"))
            for band in BANDS
        ),
        lean(depth.get("imbalance")),
        number(at(depth, "sell_bps", "notionals", NOTIONAL), ".2f"),
        number(row.rate, ",.0f"),
        number(None if offset is None else offset / 1e6, ",.1f"),
        Text(str(gaps), style="dim" if gaps == NOTHING else "red" if gaps else ""),
        Text(" | ").join(stage(vacuum.get(f"{side}_state")) for side in ("bid", "ask")),
        Text(" | ").join(number(vacuum.get(f"{side}_ratio"), ".2f") for side in ("bid", "ask")),
        money(at(cascade, "fall_critical_quote", "drops", FALL)),
    ]


def at(value: Mapping[str, Any], field: str, over: str, wanted: int) -> float | None:
    """Pick the element of an array that belongs to one band or notional; None where it is unknown or not computed."""
    if not value.get(field) or wanted not in value[over]:
        return None
    found: float | None = value[field][value[over].index(wanted)]
    return found


def stage(state: str | None) -> Text:
    """Word a state of the vacuum."""
    return Text(state or NOTHING, style=COLOURS.get(state or "", "dim"))


def number(value: float | None, form: str) -> Text:
    """Word a number, or that there is none."""
    return Text(NOTHING, style="dim") if value is None else Text(format(value, form))


def money(value: float | None) -> Text:
    """Word an amount of the quote currency in its thousands or millions."""
    if value is None:
        return number(None, "")
    return Text(f"{value / 1e6:,.1f}M" if value >= 1e6 else f"{value / 1e3:,.0f}k")


def lean(value: float | None) -> Text:
    """Word an imbalance, coloured by the side that holds more once that is plain."""
    shown = number(value, "+.2f")
    if value is not None and abs(value) > 0.5:
        shown.stylize("green" if value > 0 else "red")
    return shown
