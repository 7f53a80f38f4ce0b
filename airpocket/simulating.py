"""A scenario and a seed in, the venue's frames as a tape and the truth as JSON lines out; or the tape played.

Both are written beside their final names and renamed when they are whole, so a half one is never met.
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
from ingest.simulator.broadcast import Line, play, truth_line
from ingest.simulator.frames import VENUE
from ingest.simulator.scenarios import INSTRUMENT, scenario
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
    """Write a tape and its truth, and say where they are. Raises BadConfig where they cannot be written."""
    tape, truth = _names(wanted)
    lines = 0
    with _whole(tape) as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed, _whole(truth) as log:
        for part, truths in _seconds(wanted):
            lines += len(part)
            packed.write(b"".join(b"%d %b\n" % line for line in part))
            log.write(b"".join(map(truth_line, truths)))
    _say(json, tape=str(tape), truth=str(truth), lines=lines)


def serve(wanted: Wanted, speed: float, port: int, *, json: bool) -> None:
    """Play a market as its venue would, until interrupted; its truth is written first."""
    _, truth = _names(wanted)
    lines: list[Line] = []
    with _whole(truth) as log:
        for part, truths in _seconds(wanted):
            lines += part
            log.write(b"".join(map(truth_line, truths)))

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with Emulator(load(VENUE), lines, [INSTRUMENT], speed=speed, port=port) as emulator:
            _say(json, socket_url=emulator.socket_url, rest_url=emulator.rest_url, truth=str(truth), lines=len(lines))
            await stop.wait()

    asyncio.run(run())


def _seconds(wanted: Wanted) -> Iterator[tuple[list[Line], list[dict[str, object]]]]:
    asked = scenario(wanted.scenario, wanted.compression)
    return play(replace(asked, seconds=wanted.seconds) if wanted.seconds else asked, wanted.seed)


def _names(wanted: Wanted) -> tuple[Path, Path]:
    scenario(wanted.scenario, wanted.compression)
    folder = Path(wanted.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfig(f"folder {folder} cannot be made: {error.strerror}; allowed are folders, new or not") from error
    stem = f"{wanted.scenario}-{wanted.seed}"
    return folder / f"{stem}.tape.gz", folder / f"{stem}.truth.jsonl"


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
