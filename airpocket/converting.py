"""Tapes, or files that others recorded, in; a lake or files for others out: the rows that the engine would take."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import orjson

from airpocket.imports import tardis_names
from airpocket.names import one_of
from airpocket.sources import is_lake, open_rows
from engine.errors import BadConfig
from sinks.hftbacktest import HftbacktestSink
from sinks.parquet import ParquetSink
from sinks.tardis import TardisSink

FORMATS: Final = ("parquet", "hftbacktest", "tardis")


def convert(
    tapes: Sequence[str], to: Path, venue: str | None = None, *, json: bool = False, form: str = "parquet"
) -> None:
    """Write the rows of tapes, of others' files or of a lake in one of FORMATS, and say what was written."""
    one_of("format", form, FORMATS)
    for path in map(Path, tapes):
        if form == "parquet" and is_lake(path):
            raise BadConfig(f"{path} is a lake already, allowed are tapes")
    began = time.monotonic()
    rows = open_rows(tapes, venue)
    with _sink(form, to) as sink:
        for batch in rows:
            sink.write([batch])
    size = sum(path.stat().st_size for path in sink.paths)
    seconds = time.monotonic() - began
    if json:
        counts = {"lake": str(to), rows.unit: rows.counts[rows.unit], "rows": sink.counts, "bytes": size}
        sys.stdout.write(orjson.dumps({**counts, "files": len(sink.paths)}).decode() + "\n")
    told = ", ".join(f"{count:,} {channel}" for channel, count in sink.counts.items() if count)
    print(  # noqa: T201 - the command line speaks
        f"{rows.counts[rows.unit]:,} {rows.unit} to {len(sink.paths)} files of {size:,} bytes in {seconds:.1f} s; "
        f"rows: {told or 'none'}; {rows.told()}{_left_out(sink)}",
        file=sys.stderr,
    )


def _sink(form: str, to: Path) -> ParquetSink | HftbacktestSink | TardisSink:
    if form == "parquet":
        return ParquetSink(to)
    return HftbacktestSink(to) if form == "hftbacktest" else TardisSink(to, tardis_names)


def _left_out(sink: ParquetSink | HftbacktestSink | TardisSink) -> str:
    """Say which messages have no place in a format."""
    if isinstance(sink, ParquetSink) or not sink.left_out:
        return ""
    return f"; without {', '.join(f'{count:,} {kind}' for kind, count in sorted(sink.left_out.items()))}"
