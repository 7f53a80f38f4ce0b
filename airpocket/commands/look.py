"""Verbs that look at Kafka and at this machine: tail, topics, broker, doctor."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from airpocket.commands.options import Bootstrap, File, Folder, Json, configuration, emit, say

if TYPE_CHECKING:
    from airpocket.admin import Row

topics = typer.Typer(help="Make and describe the topics.", no_args_is_help=True)


def tail(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="A signal topic, or its short name such as depth.")],
    beginning: Annotated[bool, typer.Option("--beginning", help="From the oldest record, not from now on.")] = False,
    count: Annotated[int, typer.Option(min=0, metavar="N", help="Stop after this many records; 0: never.")] = 0,
    bootstrap: Bootstrap = None,
    json: Json = False,
    file: File = None,
) -> None:
    """Show a signal topic as it grows: a table on a terminal, JSON lines in a pipe.

    \b
    Example:
      airpocket tail depth --count 1 --json
    """
    from airpocket.names import signal_topic
    from airpocket.tailing import follow
    from ingest.topic import tail as records
    from sinks.console import ConsoleSink

    name = signal_topic(topic)
    broker = configuration(file, kafka_bootstrap=bootstrap).kafka
    follow(records(broker, name, beginning), ConsoleSink(lines=True if json else None), count)


@topics.command()
def ensure(bootstrap: Bootstrap = None, json: Json = False, file: File = None) -> None:
    """Create the topics that are missing, and check those that are there; nothing is altered or deleted.

    \b
    Example:
      airpocket topics ensure --bootstrap 127.0.0.1:9092
    """
    from airpocket.admin import ensure as make

    _print(make(configuration(file, kafka_bootstrap=bootstrap).kafka), json)


@topics.command()
def describe(bootstrap: Bootstrap = None, json: Json = False, file: File = None) -> None:
    """Print every topic as the broker has it, and what is wrong with it.

    \b
    Example:
      airpocket topics describe --json
    """
    from airpocket.admin import describe as look

    _print(look(configuration(file, kafka_bootstrap=bootstrap).kafka), json)


def broker(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on loopback; 0: a free one.")] = 9092,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the topics that are made.")] = 4,
) -> None:
    """Run the embedded broker on loopback until interrupted: in memory, for demos, never for production.

    \b
    Example:
      airpocket broker --port 9092
    """
    from airpocket.broker import embedded
    from airpocket.tailing import stopped

    with stopped() as stop, embedded(port, partitions) as config:
        say(f"the embedded broker answers on {config.bootstrap}; topics: airpocket topics ensure")
        while not stop.wait(1.0):
            pass


def doctor(
    bootstrap: Bootstrap = None,
    folder: Folder = None,
    venue: Annotated[list[str] | None, typer.Option(metavar="VENUE", help="Reach this venue too; repeatable.")] = None,
    json: Json = False,
    file: File = None,
) -> None:
    """Check what airpocket stands on, layer by layer, with a hint where something is wrong.

    \b
    Example:
      airpocket doctor --bootstrap 127.0.0.1:9092 --venue binance_usdm
    """
    from dataclasses import asdict

    from airpocket.doctor import examine, lines, status

    checks = examine(configuration(file, kafka_bootstrap=bootstrap, record_dir=folder), venue or [])
    if json:
        emit([asdict(check) for check in checks])
    else:
        typer.echo(lines(checks))
    raise typer.Exit(status(checks))


def _print(rows: "Sequence[Row]", json: bool) -> None:
    """Print topics, and end with the status of a configuration error where one is not what it should be."""
    from dataclasses import asdict

    if json:
        emit([asdict(row) for row in rows])
    else:
        width = max(len(row.name) for row in rows)
        for row in rows:
            kept = "for ever" if row.retention < 0 else f"{row.retention / 86_400_000:g} days"
            there = f"{row.partitions} partitions, {row.cleanup}, {kept}" if row.partitions else "absent"
            typer.echo(f"{row.name:<{width}}  {there}{f'  ! {row.fault}' if row.fault else ''}")
    if any(row.fault for row in rows):
        raise typer.Exit(3)
