"""A scenario and a seed in, each venue's frames as a tape and the truth as JSON lines out; or the tapes played.

All are written beside their final names and renamed when they are whole, so a half one is never met.
"""

import asyncio
import contextlib
import gzip
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import typer

from airpocket.commands.options import emit
from engine.errors import BadConfig
from ingest.emulator import Emulator
from ingest.simulator.broadcast import play_all, truth_line
from ingest.simulator.economy import instruments
from ingest.simulator.frames import VENUE
from ingest.simulator.scenarios import scenario
from ingest.simulator.telling import Line
from ingest.venues import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which market."""

    scenario: str
    seed: int
    folder: str
    #: So many, 0: the scenario's own length.
    seconds: int = 0
    #: Of october-10: minutes of the event in one of the market; 0: the usual.
    compression: float = 0.0


def write(wanted: Wanted, *, json: bool) -> None:
    """Write each venue's tape and the truth, and say where they are. Raises BadConfig where they cannot be written."""
    tapes, truth = _names(wanted)
    lines = dict.fromkeys(tapes, 0)
    with contextlib.ExitStack() as stack:
        packed = {
            venue: stack.enter_context(gzip.GzipFile("", "wb", 6, stack.enter_context(_whole(tape)), mtime=0))
            for venue, tape in tapes.items()
        }
        log = stack.enter_context(_whole(truth))
        for parts, truths in _seconds(wanted):
            for venue, part in parts.items():
                lines[venue] += len(part)
                packed[venue].write(b"".join(b"%d %b\n" % line for line in part))
            log.write(b"".join(map(truth_line, truths)))
    if len(tapes) == 1:
        _say(json, tape=str(tapes[VENUE]), truth=str(truth), lines=lines[VENUE])
    else:
        _say(json, tapes={venue: str(tape) for venue, tape in tapes.items()}, truth=str(truth), lines=lines)


def serve(wanted: Wanted, speed: float, port: int, *, json: bool) -> None:
    """Play a market as its venues would, each on a port of its own, until interrupted; its truth is written first.

    The first venue gets `port`, each further one the next; with 0 all get free ones.
    """
    tapes, truth = _names(wanted)
    lines: dict[str, list[Line]] = {venue: [] for venue in tapes}
    with _whole(truth) as log:
        for parts, truths in _seconds(wanted):
            for venue, part in parts.items():
                lines[venue] += part
            log.write(b"".join(map(truth_line, truths)))
    listed = instruments(scenario(wanted.scenario, wanted.compression))

    async def run() -> None:
        stop = asyncio.Event()
        for told in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(told, stop.set)
        async with contextlib.AsyncExitStack() as stack:
            served = {}
            for number, venue in enumerate(tapes):
                own = [each for each in listed if each.venue == venue]
                at = port + number if port else 0
                emulator = Emulator(load(venue), lines[venue], own, speed=speed, port=at)
                served[venue] = await stack.enter_async_context(emulator)
            urls = {venue: {"socket_url": each.socket_url, "rest_url": each.rest_url} for venue, each in served.items()}
            counts = {venue: len(each) for venue, each in lines.items()}
            if len(urls) == 1:
                _say(json, **urls[VENUE], truth=str(truth), lines=counts[VENUE])
            else:
                _say(json, venues=urls, truth=str(truth), lines=counts)
            await stop.wait()

    asyncio.run(run())


def _seconds(wanted: Wanted) -> Iterator[tuple[dict[str, list[Line]], list[dict[str, object]]]]:
    asked = scenario(wanted.scenario, wanted.compression)
    return play_all(replace(asked, seconds=wanted.seconds) if wanted.seconds else asked, wanted.seed)


def _names(wanted: Wanted) -> tuple[dict[str, Path], Path]:
    """Name the tape of each venue, and the truth."""
    venues = list(dict.fromkeys(each.venue for each in instruments(scenario(wanted.scenario, wanted.compression))))
    folder = Path(wanted.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfig(f"folder {folder} cannot be made: {error.strerror}; allowed are folders, new or not") from error
    stem = f"{wanted.scenario}-{wanted.seed}"
    names = [stem] if len(venues) == 1 else [f"{stem}.{venue}" for venue in venues]
    tapes = {venue: folder / f"{name}.tape.gz" for venue, name in zip(venues, names, strict=True)}
    return tapes, folder / f"{stem}.truth.jsonl"


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file under another name, which it keeps until it is whole."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise BadConfig(f"{path} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _say(json: bool, **facts: object) -> None:
    if json:
        emit(facts)
    else:
        typer.echo(" ".join(f"{name}={value}" for name, value in facts.items()))
