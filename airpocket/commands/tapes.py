"""Verbs that read tapes: replay, verify."""

from typing import Annotated

import typer

from airpocket.commands.options import File, Json, Tapes, Venue, choice, configuration


def replay(
    tapes: Tapes,
    venue: Venue = None,
    to: Annotated[str, typer.Option("--to", metavar="console|FOLDER", help="Where the signals go.")] = "console",
    signal: Annotated[str | None, typer.Option(metavar="NAME,...", help="Only these signals, such as depth.")] = None,
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help="Signals from this time on.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Signals before this time.")] = None,
    digest: Annotated[
        bool, typer.Option("--digest", help="Print the SHA-256 of the records, not the records.")
    ] = False,
    json: Json = False,
    file: File = None,
) -> None:
    """Play tapes through decoder, book and signals, without a broker: the same bytes as live, at every run.

    TIME is ISO 8601 (UTC unless it says otherwise) or integer nanoseconds. Books are built from the tape's first line
    on, whatever --from says.

    \b
    Example:
      airpocket replay tapes/ --signal depth --from 2026-01-05T00:00:10 --digest
    """
    from airpocket.names import signal_topic
    from airpocket.player import Player, moment
    from airpocket.playing import play

    player = Player(
        tapes,
        venue=venue,
        engine=configuration(file).engine,
        topics=[signal_topic(name) for name in choice(signal)],
        since=moment(since),
        until=moment(until),
    )
    play(player, to=to, digest=digest, json=json)


def verify(tapes: Tapes, venue: Venue = None, json: Json = False) -> None:
    """Check tapes whole: stamps, sequences, books against the venue's own best prices. Status 0 where all is right.

    \b
    Example:
      airpocket verify tapes/ --json
    """
    from airpocket.report import lines
    from airpocket.verify import verify as audit

    report = audit(tapes, venue)
    typer.echo(report.json() if json else lines(report))
    raise typer.Exit(report.status)
