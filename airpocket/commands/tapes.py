"""Verbs that read tapes: replay, convert, verify, whatif."""

from typing import Annotated, Literal

import typer

from airpocket.commands.options import Bootstrap, File, Json, Tapes, Venue, choice, configuration, emit


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
    """Play tapes, or one lake, through book and signals, without a broker: the same bytes as live, at every run.

    Files of Tardis (.csv, .csv.gz) and of hftbacktest (.npz, beside --venue VENUE:SYMBOL) play as well.

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


def convert(
    tapes: Tapes,
    to: Annotated[str, typer.Option("--to", metavar="FOLDER", help="Where to; made where it is not there.")],
    form: Annotated[
        str, typer.Option("--format", metavar="parquet|hftbacktest|tardis", help="What to write.")
    ] = "parquet",
    venue: Venue = None,
    json: Json = False,
) -> None:
    """Write the market rows of tapes as Parquet, to query and to replay, or for others; all of them or none.

    Tapes may also be files of Tardis (.csv, .csv.gz) or hftbacktest (.npz); and, for others, one lake.

    \b
    Example:
      airpocket convert tapes/ --to lake
      airpocket convert tapes/ --to csv --format tardis
    """
    from pathlib import Path

    from airpocket.converting import convert as write

    write(tapes, Path(to), venue, json=json, form=form)


def verify(tapes: Tapes, venue: Venue = None, json: Json = False) -> None:
    """Check tapes whole: stamps, sequences, books against the venue's own best prices. Status 0 where all is right.

    A flat file (CSV of depth or trades, known by its header) is checked cell by cell: each finding names row, columns,
    what was met and what is allowed.

    \b
    Example:
      airpocket verify tapes/ --json
      airpocket verify trxusdt_depth.csv.gz
    """
    from airpocket.report import lines
    from airpocket.verify import verify as audit

    report = audit(tapes, venue)
    typer.echo(report.json() if json else lines(report))
    raise typer.Exit(report.status)


def whatif(
    tapes: Annotated[
        list[str] | None, typer.Argument(metavar="[TAPE]...", help="Files, or folders of tapes; else the live topic.")
    ] = None,
    asset: Annotated[str, typer.Option(metavar="ASSET", help="Underlying asset, such as BTC.")] = "BTC",
    sell: Annotated[float | None, typer.Option(metavar="QUOTE", help="Sell so much, quote units.")] = None,
    buy: Annotated[float | None, typer.Option(metavar="QUOTE", help="Buy so much, quote units.")] = None,
    level: Annotated[
        list[float] | None, typer.Option(metavar="PRICE", help="Say what it takes to trade beyond; repeatable.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="On tapes: as of this time; else the end.")
    ] = None,
    venue: Venue = None,
    bootstrap: Bootstrap = None,
    json: Json = False,
    file: File = None,
) -> None:
    """Say where a sale would end, what it would trigger, and what share of makers may leave before a level trades.

    \b
    Example:
      airpocket whatif --sell 250e6 --asset BTC --level 60000
      airpocket whatif tapes/ --sell 250e6 --asset BTC --at 2026-01-05T00:00:10
    """
    from airpocket.whatif import ask, from_tapes, from_topic, lines
    from engine.errors import BadConfig

    if (sell is None) == (buy is None):
        raise BadConfig("what to trade is not clear: allowed is exactly one of --sell and --buy")
    if at is not None and not tapes:
        raise BadConfig(f"--at is {at!r} without a tape; the live topic is asked as of now")
    config = configuration(file, kafka_bootstrap=bootstrap)
    engine = config.engine
    pipeline = from_tapes(tapes, asset, at, venue, engine) if tapes else from_topic(config.kafka, asset, engine)
    side: Literal["sell", "buy"] = "sell" if sell is not None else "buy"
    answer = ask(pipeline, side, sell or buy or 0.0, level or (), engine)
    if json:
        emit(answer.json())
    else:
        typer.echo(lines(answer))
