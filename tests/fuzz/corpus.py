"""What fuzzing starts from, found for any venue of the registry.

Documented and emulated frames always, recorded ones where they are: cryptofeed's captures, Binance's tapes, single
messages and a peer's raw messages, all under `../shared/data`. Whose a capture is, its URLs say; whose a single message
is, the venue's own decoder says. Emulated frames are what the venue's record can write of the two instruments that the
contract tests know.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from engine.errors import BadConfig, BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import LEVEL, Rows
from ingest.captures import What, is_capture, read_capture, venues_of
from ingest.venues import Decoder, Venue, load
from tests.fuzz.mutation import shape, shortened
from tests.ladder import read_lines
from tests.samples import instruments

DATA: Final = Path(__file__).parents[2] / ".." / "shared" / "data"
#: A frame of each channel as the venues document them: what there is where nothing recorded is.
DOCUMENTED: Final = Path(__file__).parent / "documented.jsonl"
#: When good frames come, ns: all dated rules are today's then.
AT: Final = 1_790_000_000_000_000_000
#: Lines that are read of one recording.
LINES: Final = 4000
#: Items of a list that a seed keeps; bytes that a longer frame is shortened at.
ITEMS: Final = 6
LONG: Final = 1500
#: Seeds of one structure, and of one venue.
ALIKE: Final = 4
MOST: Final = 240
#: Frames that a decoder has heard before anything is tried.
HEARD: Final = 16


@dataclass(frozen=True, slots=True)
class Corpus:
    """What one venue's fuzzing starts from."""

    venue: Venue
    instruments: dict[str, Instrument]
    #: What a decoder hears first: answers to subscribing, the begin of a recorded connection.
    opening: list[bytes]
    #: Good frames and REST bodies.
    seeds: list[bytes]
    #: Single messages that are the venue's.
    singles: list[bytes]
    #: How many frames each source gave.
    sources: dict[str, int] = field(default_factory=dict)

    def decoder(self) -> Decoder:
        """Make a decoder that has heard the opening."""
        made = self.venue.decoder(self.instruments)
        for number, frame in enumerate(self.opening):
            with suppress(BadFrame, Gap):
                made.decode(self.numbered(frame, number), AT, 1)
        return made

    def numbered(self, frame: bytes, number: int) -> bytes:
        """Number a frame as its connection would, where the venue does."""
        if self.venue.emulation.renumber is None:
            return frame
        try:
            return self.venue.emulation.renumber(frame, "", number)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            # It is no frame of the venue's any more: nothing in it to number.
            return frame


@cache
def corpus_of(name: str) -> Corpus:
    """Gather a venue's corpus."""
    venue = load(name)
    recorded = _recorded().get(name, []) + _tapes(venue)
    known = {each.symbol: each for each in instruments(name)}
    with suppress(BadConfig, BadFrame):
        known |= {each.symbol: each for each in venue.infer_instruments(recorded)}
    singles = _concerned(venue, known)
    answers, books = _emulated(venue, known)
    opening = [brief(frame) for frame in answers + recorded[: HEARD - len(answers)] + books]
    pools = {"emulated": answers + books + _bodies(venue, known), "single": singles, "recorded": recorded}
    seeds: dict[str, list[bytes]] = {}
    for frame in (frame for pool in pools.values() for frame in pool):
        short = brief(frame)
        alike = seeds.setdefault(shape(short), [])
        if len(alike) < ALIKE and short not in alike and len(seeds) <= MOST:
            alike.append(short)
    chosen = [frame for alike in seeds.values() for frame in alike][:MOST]
    return Corpus(venue, known, opening, chosen, singles, {name: len(pool) for name, pool in pools.items()})


def brief(frame: bytes) -> bytes:
    """Shorten a long frame."""
    return shortened(frame, ITEMS) if len(frame) > LONG else frame


def _emulated(venue: Venue, known: dict[str, Instrument]) -> tuple[list[bytes], list[bytes]]:
    """Write the answers to subscribing, and each book as the socket opens it."""
    emulation, streams = venue.emulation, venue.streams(list(known)[:4])
    asked = [emulation.subscribed(frame) for frame in venue.subscribe(streams)]
    ended = [emulation.unsubscribed(frame) for frame in venue.unsubscribe(streams)]
    answers = [answer for _, answer in filter(None, asked + ended)][:HEARD]
    if venue.heartbeat is not None and (answer := emulation.answer(venue.heartbeat[0])) is not None:
        answers.append(answer)
    if emulation.book is None:
        return answers, []
    return answers, [emulation.book(each, 77, AT, *_sides(each)) for each in list(known.values())[:4]]


def _bodies(venue: Venue, known: dict[str, Instrument]) -> list[bytes]:
    first = next(iter(known.values()))
    return [venue.emulation.snapshot(first, 77, AT, *_sides(first))] if venue.snapshot_path(first.symbol) else []


def _sides(known: Instrument) -> tuple[Rows, Rows]:
    unit = max(known.tick, 10**known.price_decimals)
    bids = np.array([((100 - n) * unit, (5 + n) * known.lot) for n in range(3)], LEVEL)
    return bids, np.array([((101 + n) * unit, (9 + n) * known.lot) for n in range(2)], LEVEL)


@cache
def _recorded() -> dict[str, list[bytes]]:
    """Read the captures: venue -> its frames and depth bodies, in order."""
    found: dict[str, list[bytes]] = {}
    groups: dict[str, list[Path]] = {}
    for path in sorted((DATA / "captures").glob("*")):
        if is_capture(path):
            groups.setdefault(path.name.partition(".")[0], []).append(path)
    for paths in groups.values():
        entries = list(islice(read_capture(paths), LINES))
        try:
            whose = venues_of(entries)
        except BadConfig:
            # Of a venue that is not ours.
            continue
        for entry in entries:
            if entry.what is What.RECEIVED and entry.connection in whose:
                found.setdefault(whose[entry.connection].name, []).append(entry.raw)
    return found


def _tapes(venue: Venue) -> list[bytes]:
    """Read the tapes that hold the venue's frames, a few lines each."""
    frames: list[bytes] = []
    for path in sorted((DATA / "binance").glob("*.gz")):
        lines = [raw for _, raw in _lines(path)]
        with suppress(BadConfig, BadFrame):
            known = {each.symbol: each for each in venue.infer_instruments(lines)}
            if _accepted(venue.decoder(known), lines) > len(lines) // 2:
                frames += lines
    return frames


@cache
def _lines(path: Path) -> list[tuple[int, bytes]]:
    return read_lines(path)[:400]


def _accepted(decoder: Decoder, frames: Sequence[bytes]) -> int:
    count = 0
    for frame in frames:
        with suppress(BadFrame, Gap):
            count += bool(decoder.decode(frame, AT, 1))
    return count


@cache
def _singles() -> tuple[bytes, ...]:
    """Read the single messages of all venues: those written here, as their documentation shows them, and recorded."""
    return tuple(dict.fromkeys([*DOCUMENTED.read_bytes().splitlines(), *_messages(), *_peers()]))


def _messages() -> Iterator[bytes]:
    for path in sorted((DATA / "messages").rglob("*.json")):
        raw = path.read_bytes()
        with suppress(ValueError):
            content = orjson.loads(raw)
            yield from (orjson.dumps(each) for each in (content if isinstance(content, list) else ()))
            yield raw.strip()


def _peers() -> Iterator[bytes]:
    path = DATA / "peer-normalised" / "messages.jsonl"
    for line in path.read_bytes().splitlines() if path.exists() else ():
        message = json.loads(line)["message"]
        yield message.encode() if isinstance(message, str) else json.dumps(message, separators=(",", ":")).encode()


def _concerned(venue: Venue, known: dict[str, Instrument]) -> list[bytes]:
    """List the single messages that are the venue's; their instruments become known."""
    found, decoder = [], venue.decoder(known)
    for frame in _singles():
        # What one venue's reader makes of another's message is no matter here.
        with suppress(BadConfig, BadFrame, LookupError, TypeError, ValueError, AttributeError):
            new = {each.symbol: each for each in venue.infer_instruments([frame]) if each.symbol not in known}
            known |= new
            decoder = venue.decoder(known) if new else decoder
        try:
            decoder.decode(frame, AT, 1)
        except BadFrame:
            continue
        except Gap:
            pass
        found.append(frame)
    return found
