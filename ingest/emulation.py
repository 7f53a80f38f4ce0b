"""The venue's side of a tape: its frames by stream, and what its REST resources answer at any position. Pure.

A tape holds diffs and, somewhere, the REST snapshot that its recorder fetched. The venue's book at a position is that
snapshot plus every later diff up to the position. Before the snapshot's own id is reached, and again from a hole in the
sequence on, the answer is the next snapshot on the tape: it lies in the client's future, and the client buffers diffs
until they reach it, as it must with a live venue.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import orjson

from engine.book import Book
from engine.errors import BadConfig, BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Kind, Rows
from ingest.control import MARK
from ingest.faults import Frame
from ingest.mirror import Mirror, Rule
from ingest.venues import Decoded, Decoder, Venue

#: More levels than any book has.
EVERY: Final = 1 << 30


@dataclass(slots=True)
class Score:
    """A tape, taken apart: what goes over the sockets, and what each symbol's REST resources answer when."""

    frames: list[Frame] = field(default_factory=list)
    #: Symbol -> (position, diff) and (position, depth body), both in tape order.
    diffs: dict[str, list[Frame]] = field(default_factory=lambda: defaultdict(list))
    bodies: dict[str, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))
    #: "open_interest" or "risk", symbol -> (position, body).
    polled: dict[tuple[str, str], list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))
    #: Where the socket has the snapshots: (position, book message), of all symbols in tape order.
    books: list[tuple[int, Decoded]] = field(default_factory=list)


def read_score(venue: Venue, lines: Sequence[tuple[int, bytes]], instruments: Sequence[Instrument]) -> Score:
    """Take a tape apart. Control lines are not played; the REST bodies inside them are what REST answers."""
    score = Score()
    if venue.resync != "rest":
        _read_socket(score, venue, lines, instruments)
        return score
    depth = depth_streams(venue, instruments)
    decoder = venue.decoder({i.symbol: i for i in instruments})
    for index, (at, raw) in enumerate(lines):
        if raw.startswith(MARK):
            _keep_body(score, index, raw)
            continue
        stream = venue.emulation.stream_of(raw)
        if stream is not None:
            frame = Frame(index, at, stream, raw)
            score.frames.append(frame)
            if stream in depth:
                score.diffs[depth[stream]].append(frame)
        elif len(instruments) == 1 and _is_depth(decoder, instruments[0].symbol, raw):
            score.bodies[instruments[0].symbol].append((index, raw))
    if not score.frames:
        raise BadConfig(f"the tape has no frame of {venue.name} among {len(lines)} lines")
    return score


def _read_socket(
    score: Score, venue: Venue, lines: Sequence[tuple[int, bytes]], instruments: Sequence[Instrument]
) -> None:
    """Take a tape apart whose frames a decoder tells apart: streams are the venue's own of what a frame says."""
    decoder = venue.decoder({i.symbol: i for i in instruments})
    names = {(s.symbol, s.channel): s.name for s in venue.streams([i.symbol for i in instruments])}
    connection = 0
    for index, (at, raw) in enumerate(lines):
        if raw.startswith(MARK):
            _keep_body(score, index, raw)
            line = orjson.loads(raw)
            connection = line["connection"] if line["airpocket"] == "from" else connection
            continue
        try:
            found = decoder.decode(raw, at, connection)
        except (BadFrame, Gap):
            # What nobody can read belongs to no stream, and is not played.
            continue
        stream = next((names[d.symbol, d.channel] for d in found if d.channel and (d.symbol, d.channel) in names), None)
        if stream is not None:
            score.frames.append(Frame(index, at, stream, raw))
            score.books += [(index, d) for d in found if d.channel == Channel.DEPTH]
    if not score.frames:
        raise BadConfig(f"the tape has no frame of {venue.name} among {len(lines)} lines")


def depth_streams(venue: Venue, instruments: Sequence[Instrument]) -> dict[str, str]:
    """Name the streams that carry book diffs, and whose they are."""
    streams = venue.streams([i.symbol for i in instruments])
    return {stream.name: stream.symbol for stream in streams if stream.channel == Channel.DEPTH}


def _keep_body(score: Score, index: int, raw: bytes) -> None:
    head, found, body = raw.partition(b',"body":')
    if not found:
        return
    line = orjson.loads(head + b"}")
    if line["status"] == 200:
        what, symbol = line["what"], line["symbol"]
        kept = score.bodies[symbol] if what == "depth" else score.polled[what, symbol]
        kept.append((index, body[:-1]))


def _is_depth(decoder: Decoder, symbol: str, raw: bytes) -> bool:
    """Tell a bare REST depth body (foreign tapes have them between the frames) from an ACK."""
    try:
        return any(d.message["kind"][0] == Kind.SNAPSHOT for d in decoder.body(symbol, Channel.DEPTH, raw))
    except BadFrame:
        return False


class Shelf:
    """One symbol's book as the venue knows it; positions are asked for in ascending order."""

    def __init__(self, instrument: Instrument, decoder: Decoder, score: Score) -> None:
        self._instrument = instrument
        self._decoder = decoder
        self._diffs = iter(score.diffs.get(instrument.symbol, []))
        self._next: Frame | None = next(self._diffs, None)
        self._bodies = score.bodies.get(instrument.symbol, [])
        self._book = Book(instrument, (100,))
        #: Id and exchange time of the newest thing inside the book.
        self._last = 0
        self._at = 0
        if self._bodies:
            self._restart(-1)

    def at(self, position: int) -> tuple[int, int, Rows, Rows] | None:
        """Return id, exchange time, bids and asks after line `position`; None where the tape has no snapshot."""
        if not self._bodies:
            return None
        while self._next is not None and self._next.index <= position:
            self._apply(self._next)
            self._next = next(self._diffs, None)
        bids, asks = self._book.levels()
        return self._last, self._at, bids, asks

    def _apply(self, frame: Frame) -> None:
        for decoded in _decode(self._decoder, frame.raw):
            message = decoded.message[0]
            if message["kind"] != Kind.DELTA or int(message["last"]) <= self._last:
                continue
            if _behind(message) > self._last:
                self._restart(frame.index)
                if int(message["last"]) <= self._last:
                    continue
            self._take(decoded, replace=False)

    def _restart(self, position: int) -> None:
        """Begin again from the first snapshot after a position; without one, go on from the diffs alone."""
        for index, body in self._bodies:
            if index > position:
                for decoded in self._decoder.body(self._instrument.symbol, Channel.DEPTH, body):
                    self._take(decoded, replace=True)
                return

    def _take(self, decoded: Decoded, *, replace: bool) -> None:
        message = decoded.message[0]
        self._book.update(decoded.rows, int(message["bids"]), replace)
        self._last = int(message["last"])
        self._at = int(message["exchanged"])


def _behind(message: Mapping[str, int]) -> int:
    """Give the id that a diff builds on: what it names, or the one before its first."""
    return int(message["previous"]) if message["previous"] >= 0 else int(message["first"]) - 1


def _decode(decoder: Decoder, raw: bytes) -> Iterator[Decoded]:
    try:
        yield from decoder.decode(raw)
    except BadFrame:
        # A broken frame is played like any other; it just changes no book.
        return


class Desk:
    """Answer REST requests, and open books on the socket, as of a position of the tape."""

    def __init__(self, venue: Venue, instruments: Sequence[Instrument], score: Score) -> None:
        self._venue = venue
        self._instruments = {i.symbol: i for i in instruments}
        self._score = score
        rule = venue.rule or Rule()
        self._mirrors = {i.symbol: Mirror(i, rule) for i in instruments}
        #: Symbol -> id and time of the newest message inside its mirror.
        self._newest: dict[str, tuple[int, int]] = {}
        self._taken = 0
        decoder = venue.decoder(self._instruments)
        self._shelves = {i.symbol: Shelf(i, decoder, score) for i in instruments}

    def answer(self, what: str, symbol: str, limit: int, position: int) -> tuple[int, bytes]:
        """Return status and body; a refusal is JSON that names the value met and the values allowed."""
        if what == "instruments":
            return 200, self._venue.emulation.instruments(list(self._instruments.values()))
        if symbol not in self._instruments:
            return refusal(400, f"unknown symbol {symbol!r}, known are {', '.join(self._instruments)}")
        if what == "depth":
            return self._depth(symbol, limit, position)
        # What was never recorded is refused: an invented open interest would become somebody's signal.
        bodies = self._score.polled.get((what, symbol), [])
        met = [body for index, body in bodies if index <= position] or [body for _, body in bodies[:1]]
        return (200, met[-1]) if met else refusal(400, f"the tape has no {what} of {symbol}")

    def open(self, symbol: str, position: int) -> bytes | None:
        """Return the frame that opens a symbol's book on the socket; None before the tape's first snapshot of it."""
        mirror, write = self.mirror(symbol, position), self._venue.emulation.book
        if mirror is None or write is None:
            return None
        sides = [np.array(side, LEVEL) for side in mirror.best(EVERY)]
        return write(self._instruments[symbol], *self._newest[symbol], *sides)

    def mirror(self, symbol: str, position: int) -> Mirror | None:
        """Return a symbol's book after line `position`, which never falls; None before the tape's first snapshot."""
        while self._taken < len(self._score.books) and self._score.books[self._taken][0] <= position:
            self._take(self._score.books[self._taken][1])
            self._taken += 1
        return self._mirrors[symbol] if symbol in self._newest else None

    def _take(self, decoded: Decoded) -> None:
        message, mirror = decoded.message[0], self._mirrors[decoded.symbol]
        if message["kind"] == Kind.SNAPSHOT:
            mirror.replace(decoded.rows, int(message["bids"]))
        elif decoded.symbol in self._newest and len(decoded.rows):
            mirror.apply(decoded.rows, int(message["bids"]))
        else:
            return
        self._newest[decoded.symbol] = int(message["last"]), int(message["exchanged"])

    def _depth(self, symbol: str, limit: int, position: int) -> tuple[int, bytes]:
        book = self._shelves[symbol].at(position)
        if book is None:
            return refusal(400, f"the tape has no snapshot of {symbol}")
        last, at, bids, asks = book
        shown = slice(0, limit or None)
        return 200, self._venue.emulation.snapshot(self._instruments[symbol], last, at, bids[shown], asks[shown])


def refusal(status: int, message: str) -> tuple[int, bytes]:
    """Say no, in JSON."""
    return status, orjson.dumps({"code": status, "msg": message})
