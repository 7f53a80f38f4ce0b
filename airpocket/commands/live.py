"""Verbs that run until they are stopped: demo, ingest, engine, record."""

from typing import Annotated

import typer

from airpocket.commands.options import Bootstrap, Feeds, File, Folder, Json, Venue, configuration

Seconds = Annotated[float, typer.Option(min=0, metavar="S", help="Stop after this many seconds; 0: never.")]


def demo(
    scenario: Annotated[
        str, typer.Option("--scenario", metavar="NAME", help="The market: october-10, calm, squeeze, ..., or pair.")
    ] = "october-10",
    tape: Annotated[str | None, typer.Option(metavar="TAPE", help="Play this tape, not the simulated market.")] = None,
    venue: Venue = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated market.")] = 1,
    speed: Annotated[float, typer.Option(min=0.01, help="Multiple of the market's own pace.")] = 1.0,
    seconds: Seconds = 120,
    json: Json = False,
) -> None:
    """Run the whole path on this machine: venue, websocket, Kafka, engine, signals. No network, no account.

    It plays the event of October 10, 2025, compressed to two minutes, a minute of calm first.

    \b
    Example:
      airpocket demo --seed 7 --seconds 120
    """
    from airpocket.demo import run
    from airpocket.stage import Play

    run(Play(scenario=scenario, tape=tape, venue=venue, seed=seed, speed=speed, seconds=seconds), json=json)


def ingest(feeds: Feeds = None, bootstrap: Bootstrap = None, folder: Folder = None, file: File = None) -> None:
    """Take order books from venues' websockets to the topic market.v1; with --tape-dir record them as well.

    \b
    Example:
      airpocket ingest binance_usdm:BTCUSDT,ETHUSDT --bootstrap 127.0.0.1:9092
    """
    from airpocket.running import log_to_stderr, run_feeds

    log_to_stderr()
    run_feeds(configuration(file, feeds, kafka_bootstrap=bootstrap, record_dir=folder), publish=True)


def engine(
    bootstrap: Bootstrap = None,
    partitions: Annotated[
        str | None, typer.Option(metavar="N,...", help="Partitions of market.v1 to own; else all of them.")
    ] = None,
    file: File = None,
) -> None:
    """Compute the signals of market.v1, each exactly once, going on where the last run ended.

    Only one process may own a partition.

    \b
    Example:
      airpocket engine --partitions 0,1,2 --bootstrap 127.0.0.1:9092
    """
    from airpocket.running import log_to_stderr, run_engine

    log_to_stderr()
    raise typer.Exit(run_engine(configuration(file, kafka_bootstrap=bootstrap, worker_partitions=partitions)))


def record(feeds: Feeds = None, folder: Folder = None, seconds: Seconds = 0, file: File = None) -> None:
    """Record venues' frames to tapes, as they come; no broker is needed.

    \b
    Example:
      airpocket record binance_usdm:BTCUSDT --tape-dir tapes
    """
    from airpocket.running import log_to_stderr, run_feeds

    log_to_stderr()
    run_feeds(configuration(file, feeds, record_dir=folder), publish=False, seconds=seconds)
