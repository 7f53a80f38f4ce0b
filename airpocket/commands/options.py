"""Options that several verbs share, and how a verb reads the configuration."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from airpocket.config import Config

File: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", help="Configuration file; else AIRPOCKET_CONFIG, else airpocket.toml if it is here."
    ),
]
Bootstrap: TypeAlias = Annotated[
    str | None, typer.Option("--bootstrap", metavar="HOST:PORT", help="Kafka broker; overrides kafka.bootstrap.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, also on a terminal.")]
Venue: TypeAlias = Annotated[
    str | None, typer.Option("--venue", metavar="VENUE", help="Venue of a tape that does not name its own.")
]
Folder: TypeAlias = Annotated[
    str | None, typer.Option("--tape-dir", metavar="FOLDER", help="Folder of the tapes; overrides record.dir.")
]
Feeds: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VENUE:SYMBOL,...]...", help="What to take; else ingest.venues of the configuration."),
]
Tapes: TypeAlias = Annotated[list[str], typer.Argument(metavar="TAPE...", help="Files, or folders of tapes.")]


def configuration(file: str | None, feeds: Sequence[str] | None = None, **flags: Any) -> "Config":
    """Read the configuration; a flag is named by its key with `_` between section and key, None where not given."""
    from airpocket.config import load

    given: Mapping[str, Any] = {name.replace("_", ".", 1): value for name, value in flags.items()}
    return load(file, os.environ, given, feeds or ())


def choice(text: str | None) -> list[str]:
    """Read a comma-separated choice; nothing is the empty choice."""
    return [name.strip() for name in text.split(",") if name.strip()] if text else []


def say(line: str) -> None:
    """Tell the operator something that is no output: on stderr, so that a pipe stays clean."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the command line speaks


def emit(value: Any) -> None:
    """Print one JSON document."""
    import orjson

    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
    sys.stdout.flush()
