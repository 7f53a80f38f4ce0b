"""Tapes in, a lake out: the rows that the engine would take, as Parquet; all of them or none."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from airpocket.sources import TapeRows, is_lake
from engine.errors import BadConfig
from sinks.parquet import ParquetSink


def convert(tapes: Sequence[str], to: Path, venue: str | None = None, *, json: bool = False) -> None:
    """Write the tapes' rows into a lake and say what was written."""
    for path in map(Path, tapes):
        if is_lake(path):
            raise BadConfig(f"{path} is a lake already, allowed are tapes")
    began = time.monotonic()
    rows = TapeRows(tapes, venue)
    with ParquetSink(to) as sink:
        for batch in rows:
            sink.write([batch])
    size = sum(path.stat().st_size for path in sink.paths)
    seconds = time.monotonic() - began
    if json:
        counts = {"lake": str(to), "lines": rows.counts["lines"], "rows": sink.counts, "bytes": size}
        sys.stdout.write(orjson.dumps({**counts, "files": len(sink.paths)}).decode() + "\n")
    told = ", ".join(f"{count:,} {channel}" for channel, count in sink.counts.items() if count)
    print(  # noqa: T201 - the command line speaks
        f"{rows.counts['lines']:,} lines to {len(sink.paths)} files of {size:,} bytes in {seconds:.1f} s; "
        f"rows: {told or 'none'}; {rows.told()}",
        file=sys.stderr,
    )
