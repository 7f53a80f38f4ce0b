"""A venue whose frames get lost on the way: its true books beside what a session makes of what arrives.

The venue plays a capture. Every frame goes out in order, is numbered where the venue numbers a connection's frames, and
is then lost, doubled, swapped with its successor or followed by an old one, all by a seeded draw. A session that asks
for its books again gets them from the true books of that moment, on the same connection or on another.

After each book frame that arrives, whoever reads the rows has a book, or knows that it has none. `harm` lists where a
reader believed in a book that was not the venue's, as far as the venue lets anybody see: where it has ids, all levels
as they are after the newest frame; where a checksum is all that it has, as many levels as that covers, as they were
after the very frame that arrived, for that is all that a checksum can prove. A snapshot is never played again: it may
come at any time, and nothing in it says that it is an old one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Batch, Channel, Kind
from ingest import control
from ingest.emulation import Desk, read_score
from ingest.mirror import Mirror, Rule
from ingest.session import Session
from ingest.venues import SECOND, Venue

Line = tuple[int, bytes]
Sides = tuple[list[tuple[int, int]], list[tuple[int, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Shares of the frames that something happens to."""

    seed: int = 0
    drop: float = 0.0
    duplicate: float = 0.0
    swap: float = 0.0
    replay: float = 0.0


@dataclass(slots=True)
class Reader:
    """One instrument's book as its rows tell it."""

    mirror: Mirror
    known: bool = False

    def take(self, batch: Batch) -> None:
        at = 0
        for message in batch.messages:
            kind, count = int(message["kind"]), int(message["count"])
            if kind in (Kind.GAP, Kind.RESYNC):
                self.known = False
            elif kind in (Kind.SNAPSHOT, Kind.DELTA):
                rows = batch.levels[at : at + count]
                if kind == Kind.SNAPSHOT:
                    self.mirror.replace(rows, int(message["bids"]))
                    self.known = True
                else:
                    self.mirror.apply(rows, int(message["bids"]))
            at += count if kind in (Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH) else 0


@dataclass(slots=True)
class Outcome:
    """What became of it."""

    harm: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    #: Symbols whose book is whole and true at the end.
    right: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)


def lose(
    venue: Venue, lines: Sequence[Line], instruments: Sequence[Instrument], losses: Losses, seen: int = 0
) -> Outcome:
    """Play it; `seen` is how many levels a side a checksum proves where nothing else does, 0 where there are ids."""
    return _Path(venue, lines, instruments, losses, seen).play()


class _Path:
    def __init__(
        self, venue: Venue, lines: Sequence[Line], instruments: Sequence[Instrument], losses: Losses, seen: int
    ) -> None:
        self.venue, self.losses = venue, losses
        self.checksums, self.seen = seen > 0, seen
        self.random = Random(losses.seed)
        self.score = read_score(venue, lines, instruments)
        self.desk = Desk(venue, instruments, self.score)
        symbols = [i.symbol for i in instruments]
        self.streams = venue.streams(symbols)
        self.books = {s.symbol: s.name for s in self.streams if s.channel == Channel.DEPTH}
        self.session = Session(venue, symbols, instruments)
        self.readers = {i.symbol: Reader(Mirror(i, Rule())) for i in instruments}
        self.connection = self.sent = self.at = 0
        self.asked: dict[str, str] = {}
        #: Place of a book frame -> its symbol's book after it.
        self.states: dict[tuple[int, str], Sides] = {}
        #: Place of the newest book frame that the venue sent.
        self.newest = -1
        self.outcome = Outcome()

    def play(self) -> Outcome:
        self.connect()
        held: tuple[int, bytes, str] | None = None
        past: list[tuple[bytes, str, int]] = []
        depth = dict(self.score.books)
        # Nobody can miss a frame that nothing follows.
        newest = {d.symbol: i for i, d in self.score.books}
        end = max(newest.values())
        for frame in self.score.frames:
            wire = self.numbered(frame.raw, frame.stream)
            symbol = depth[frame.index].symbol if frame.index in depth else ""
            if symbol:
                self.newest = frame.index
                truth = self.desk.mirror(symbol, frame.index)
                if self.checksums and truth is not None:
                    self.states[frame.index, symbol] = truth.best(self.seen)
            # What moves no book may be lost too where it is numbered with the rest; elsewhere nobody could tell.
            draws = [self.random.random() for _ in range(4)]
            happens = (bool(symbol) or self.venue.numbered) and frame.index < min(newest.get(symbol, end), end)
            if happens and draws[0] < self.losses.drop:
                self.outcome.counts["drop"] += 1
                continue
            if happens and held is None and draws[1] < self.losses.swap:
                held = frame.index, wire, symbol
                self.outcome.counts["swap"] += 1
                continue
            self.arrive(frame.at, wire, symbol, frame.index)
            if happens and draws[2] < self.losses.duplicate:
                self.outcome.counts["duplicate"] += 1
                self.arrive(frame.at, wire, symbol, frame.index)
            if happens and past and draws[3] < self.losses.replay:
                self.outcome.counts["replay"] += 1
                self.arrive(frame.at, *self.random.choice(past))
            if held is not None and (self.venue.numbered or held[2] == symbol):
                self.arrive(frame.at, held[1], held[2], held[0])
                held = None
            if symbol and depth[frame.index].message["kind"][0] == Kind.DELTA:
                past = [*past[-20:], (wire, symbol, frame.index)]
            self.mend(frame.at, frame.index)
        # Whatever was asked for with a wait is answered in the end.
        # A book whose snapshot was lost, and that nothing has changed since, is missed by its silence.
        self.at += 100 * SECOND
        for line in self.session.overdue(self.at):
            if not self.readers[orjson.loads(line)["symbol"]].known:
                self.receive(line)
        for _ in range(3):
            self.mend(self.at + 20 * SECOND, self.score.frames[-1].index)
        for symbol, reader in self.readers.items():
            truth = self.desk.mirror(symbol, end)
            if truth is not None:
                same = reader.mirror.best(self.seen) == truth.best(self.seen)
                whole = reader.known and (same if self.checksums else reader.mirror.agrees(truth))
                (self.outcome.right if whole else self.outcome.wrong).add(symbol)
        self.outcome.counts.update({f"session {name}": n for name, n in self.session.counts.items()})
        return self.outcome

    def numbered(self, raw: bytes, stream: str) -> bytes:
        renumber = self.venue.emulation.renumber
        own = raw if renumber is None else renumber(raw, stream, self.sent)
        self.sent += own is not raw
        return own

    def connect(self) -> None:
        if self.connection:
            self.receive(control.closed(self.connection, 1006, "lost"))
        self.connection, self.sent = self.connection + 1, 0
        for socket in self.venue.sockets:
            names = [s.name for s in self.streams if s.socket == socket]
            self.receive(control.opened(self.connection, socket, names))
        if self.venue.numbered:
            self.receive(control.source(self.connection))
        for frame in self.venue.subscribe(self.streams):
            asked = self.venue.emulation.subscribed(frame)
            if asked is not None:
                self.receive(asked[1])

    def mend(self, now: int, position: int) -> None:
        """Do what the session has asked for, once its time has come."""
        for request in self.session.take_requests():
            if request.what in ("resubscribe", "reconnect"):
                self.asked[request.symbol] = request.what
        if not self.asked:
            return
        if "reconnect" in self.asked.values():
            self.connect()
            symbols = list(self.readers)
        else:
            symbols = list(self.asked)
        self.asked.clear()
        self.at = max(self.at, now)
        for symbol in symbols:
            book = self.desk.open(symbol, position)
            if book is not None:
                self.outcome.counts["opened"] += 1
                self.arrive(now, self.numbered(book, self.books[symbol]), symbol, position)

    def arrive(self, at: int, wire: bytes, symbol: str, index: int) -> None:
        self.at = max(self.at, at)
        self.receive(wire)
        reader = self.readers.get(symbol)
        if reader is None or not reader.known:
            return
        if self.checksums:
            proven = self.states.get((index, symbol))
            right = proven is None or proven == reader.mirror.best(self.seen)
        else:
            truth = self.desk.mirror(symbol, self.newest)
            right = truth is not None and reader.mirror.agrees(truth)
        if not right:
            self.outcome.harm.append(f"{symbol} after {wire[:120]!r}")

    def receive(self, raw: bytes) -> None:
        self.at += 1
        try:
            batches = self.session.receive(self.at, raw)
        except BadFrame:
            self.outcome.counts["refused"] += 1
            return
        for batch in batches:
            self.readers[batch.instrument.partition(":")[2]].take(batch)
