"""A replay to its end: a player in, its records on a console or a tape out, progress and a closing line on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson

from airpocket.outbox import Sink
from airpocket.player import Player
from engine.schema import Record
from sinks.console import ConsoleSink
from sinks.tape import TapeConfig, TapeSink

#: Records between two looks at the clock.
STRIDE: Final = 256
#: A replay shorter than this shows no progress, s.
PATIENCE: Final = 1.0


def play(player: Player, *, to: str = "console", digest: bool = False, json: bool = False) -> None:
    """Play to the end; a digest replaces the records on the console."""
    began = time.monotonic()
    sink = _sink(to, digest, json)
    with _progress(
        player, shown=sys.stderr.isatty() and not (isinstance(sink, ConsoleSink) and sys.stdout.isatty())
    ) as tell:
        some: list[Record] = []
        for record in player:
            some.append(record)
            if len(some) == STRIDE:
                _write(sink, some)
                tell()
        _write(sink, some)
    if sink is not None:
        sink.flush()
        sink.close()
    if digest:
        _print_digest(player, json)
    print(summary(player, time.monotonic() - began), file=sys.stderr)  # noqa: T201 - the command line speaks


def _write(sink: Sink | None, records: list[Record]) -> None:
    if sink is not None:
        sink.write(list(records))
    records.clear()


def _sink(to: str, digest: bool, json: bool) -> Sink | None:
    if to != "console":
        return TapeSink(TapeConfig(folder=Path(to), prefix="signals"))
    return None if digest else ConsoleSink(lines=True if json else None)


def _print_digest(player: Player, json: bool) -> None:
    if json:
        counts = {
            "digest": player.digest(),
            player.rows.unit: player.counts[player.rows.unit],
            "records": player.counts["records"],
        }
        sys.stdout.write(orjson.dumps(counts).decode() + "\n")
    else:
        sys.stdout.write(player.digest() + "\n")


def summary(player: Player, seconds: float) -> str:
    """Close a replay in one line: what went in, what came out, what was wrong."""
    counts, rows = player.counts, player.rows
    return (
        f"{counts['records']:,} records of {counts[rows.unit]:,} {rows.unit} in {seconds:.1f} s; "
        f"books known at the end: {', '.join(rows.known(player.pipelines)) or 'none'}; {rows.told()}"
    )


@contextmanager
def _progress(player: Player, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show progress, pace and the tape's own time while it runs; where that is not wanted, do nothing."""
    if not shown:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(), TextColumn(f"{{task.completed:,.0f}} {player.rows.unit}"), TextColumn("{task.description}"))
    bar = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=5)
    task = bar.add_task("", total=None)
    began = time.monotonic()

    def tell() -> None:
        passed = time.monotonic() - began
        if passed > PATIENCE:
            bar.start()
            done = player.counts[player.rows.unit]
            at = datetime.fromtimestamp(player.time // 1_000_000_000, UTC)
            bar.update(task, completed=done, description=f"{done / passed:,.0f}/s  at {at:%F %T}")

    try:
        yield tell
    finally:
        bar.stop()
