"""The processes of a deployment: a configuration in, an ingest or engine process that runs until it is told to stop."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from airpocket.config import Config, RecordConfig, VenueConfig
from engine.errors import BadConfig
from engine.topics import MARKET

SECOND: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000


def log_to_stderr() -> None:
    """Write our own log lines to stderr; the libraries speak only when something is wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for package in ("airpocket", "ingest", "sinks"):
        logging.getLogger(package).setLevel(logging.INFO)


def run_feeds(config: Config, *, publish: bool, seconds: float = 0.0) -> None:
    """Feed from every venue of the configuration: to the topic, to tapes, or both."""
    from airpocket.live import run_ingest
    from sinks.topic import TopicSink

    venues = config.ingest.venues
    if not venues:
        raise BadConfig("no venue is named: give VENUE:SYMBOL,... or [ingest.venues.VENUE] in the configuration")
    if not publish and not config.record.dir:
        raise BadConfig("no folder is named for the tapes: give --tape-dir or record.dir in the configuration")
    check_venues(config)
    # Rows have waited for company already.
    sink = TopicSink(replace(config.kafka, linger=0), [MARKET]) if publish else None
    recorder = partial(make_recorder, config.record) if config.record.dir else None
    wanted = [(name, venue.symbols, overrides(venue)) for name, venue in venues.items()]
    linger = round(config.ingest.linger * MILLISECOND)
    asyncio.run(run_ingest(wanted, sink, recorder, linger=linger, seconds=seconds))


def check_venues(config: Config) -> None:
    """Refuse a venue that does not exist, and one of which nothing is wanted."""
    from ingest.venues import load

    for name, venue in config.ingest.venues.items():
        load(name)
        if not venue.symbols:
            raise BadConfig(f"ingest.venues.{name}.symbols is empty, allowed is one symbol at least")


def overrides(venue: VenueConfig) -> dict[str, Any]:
    """Give what the configuration sets for a venue beside its symbols."""
    return {name: getattr(venue, name) for name in ("channels", "proxy", "rest_url", "socket_url")}


def make_recorder(record: RecordConfig, venue: str, header: Callable[[int], bytes]) -> Any:
    """Open a venue's tape."""
    from sinks.tape import TapeConfig, TapeSink

    tape = TapeConfig(
        folder=Path(record.dir),
        prefix=venue,
        codec=record.compression,
        part_time=record.rotate * SECOND,
        sync=record.sync,
    )
    return TapeSink(tape, header)


def run_engine(config: Config) -> int:
    """Own partitions of the market topic until told to stop; return the exit status."""
    from airpocket.worker import WorkerConfig, serve

    settings = WorkerConfig(
        snapshot_every=config.worker.snapshot_every, retention_passed=config.worker.retention_passed
    )
    partitions = config.worker.partitions or range(config.kafka.partitions)
    return serve(config.kafka, config.engine, partitions, settings)
