"""What the feed's tests share: a venue cut to a tape, a feed on an emulator, a book checked by the exchange's own."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from engine import wire
from engine.book import Book
from engine.errors import BadFrame
from engine.instrument import Instrument, from_row
from engine.schema import Batch, Kind, Rows
from ingest.control import MARK
from ingest.emulator import Emulator
from ingest.feed import Feed
from ingest.session import Session
from ingest.stamp import Stamp
from ingest.tape import read
from ingest.venues import SECOND, Venue, load
from tests.oracle import Oracle

Lines = list[tuple[int, bytes]]

#: Where a batch keeps the rows of a kind; all others are levels.
PARTS = {
    Kind.TRADE: "trades",
    Kind.LIQUIDATION: "liquidations",
    Kind.REFERENCE: "references",
    Kind.INSTRUMENT: "instruments",
}


def tuned(
    name: str = "binance_usdm",
    *,
    channels: Sequence[str] = ("DEPTH", "TOUCH", "TRADE"),
    first: float | None = None,
    silence: float | None = None,
    lifetime: float | None = None,
) -> Venue:
    """Cut a venue to the channels that the tapes have, and its patience to a test's."""
    venue = load(name)

    def streams(symbols: Sequence[str]) -> tuple[Any, ...]:
        return tuple(
            replace(
                stream,
                first=stream.first if first is None or not stream.first else round(first * SECOND),
                silence=stream.silence if silence is None else round(silence * SECOND),
            )
            for stream in venue.streams(symbols)
            if stream.channel.name in channels
        )

    limits = venue.limits if lifetime is None else replace(venue.limits, lifetime=lifetime)
    return replace(venue, streams=streams, limits=limits)


def head(path: Path, count: int) -> Lines:
    """Read a tape's first lines."""
    return list(islice(read([path]), count))


def known(venue: Venue, lines: Lines) -> list[Instrument]:
    """Infer a tape's instruments."""
    return venue.infer_instruments([raw for _, raw in lines[:2000]])


@dataclass(repr=False)
class Caught:
    """A running feed and what came out of it; without a repr, which asyncio would write out when a task returns it."""

    feed: Feed
    task: "asyncio.Task[None]"
    tape: Lines = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    #: Whether each book was whole when the tape had been played.
    synced: dict[str, bool] = field(default_factory=dict)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Our own lines on the tape, bodies left out."""
        return [
            orjson.loads(raw.partition(b',"body":')[0] + b"}" if b',"body":' in raw else raw)
            for _, raw in self.tape
            if raw.startswith(MARK)
        ]

    def kinds(self) -> Counter[str]:
        """Count messages by kind."""
        return Counter(Kind(kind).name for batch in self.batches for kind in batch.messages["kind"])

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Wait for a condition, or for the feed to fail."""
        async with asyncio.timeout(seconds):
            while not condition():
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.01)

    async def drained(self) -> None:
        """Wait until every line that came has been taken."""
        await asyncio.sleep(0.05)
        await self.until(lambda: not self.feed.waiting)


@asynccontextmanager
async def feeding(venue: Venue, symbols: Sequence[str], reach: Any, **options: Any) -> AsyncIterator[Caught]:
    """Run a feed on an emulator, or whatever has a `rest_url` and a `socket_url`; nothing of it is left afterwards."""
    tape: Lines = []
    batches: list[Batch] = []
    settings: dict[str, Any] = {
        "stamp": Stamp(),
        "deliver": batches.extend,
        "record": lambda received, raw: tape.append((received, raw)),
        "rest_url": reach.rest_url,
        "socket_url": reach.socket_url,
    }
    feed = Feed(venue, symbols, **{**settings, **options})
    caught = Caught(feed, asyncio.create_task(feed.run()), tape, batches)
    try:
        yield caught
    finally:
        caught.task.cancel()
        await asyncio.wait({caught.task})


async def played(
    venue: Venue,
    lines: Lines,
    *,
    then: Callable[[Caught, Emulator], Awaitable[None]] | None = None,
    feed: dict[str, Any] | None = None,
    **options: Any,
) -> Caught:
    """Play a tape through emulator and feed to its end; return what was caught."""
    instruments = known(venue, lines)
    async with (
        Emulator(venue, lines, instruments, **options) as emulator,
        feeding(venue, [i.symbol for i in instruments], emulator, **(feed or {})) as caught,
    ):
        async with asyncio.timeout(60):
            finish = asyncio.create_task(emulator.finished())
            await asyncio.wait({finish, caught.task}, return_when=asyncio.FIRST_COMPLETED)
            finish.cancel()
        await caught.drained()
        if then is not None:
            await then(caught, emulator)
        caught.synced = caught.feed.session.synced
    return caught


class Ledger:
    """Rows in, books out, each compared with what the exchange itself says is best at that id."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.agreed = self.differed = 0
        #: Ids of the diffs applied, and whether the book was known before the last row.
        self.ids: list[int] = []
        self.trades: list[int] = []
        self.known = False
        self._book: Book | None = None
        self._scales = (1, 1)

    def take(self, batches: Sequence[Batch]) -> "Ledger":
        """Apply batches and compare after each book message."""
        for batch in batches:
            for message, rows in messages(batch):
                self._apply(batch.instrument, message, rows)
        return self

    def _apply(self, key: str, message: np.void, rows: Rows) -> None:
        kind = Kind(int(message["kind"]))
        if kind is Kind.INSTRUMENT:
            instrument = from_row(key, rows[0])
            self._book = Book(instrument, (100,))
            self._scales = (10**instrument.price_decimals, 10**instrument.size_decimals)
        elif kind in (Kind.GAP, Kind.RESYNC):
            self.known = False
        elif kind is Kind.TRADE:
            self.trades += rows["id"].tolist()
        elif kind in (Kind.SNAPSHOT, Kind.DELTA):
            assert self._book is not None
            self.known = True
            self._book.update(rows, int(message["bids"]), kind is Kind.SNAPSHOT)
            if kind is Kind.DELTA:
                self.ids.append(int(message["last"]))
                self._compare(int(message["last"]))

    def _compare(self, last: int) -> None:
        assert self._book is not None
        truth = self.oracle.at(last)
        if truth is None:
            return
        price, size = self._scales
        # The oracle's figures times a power of ten are whole.
        stated = [int(figure * scale) for figure, scale in zip(truth, (price, size, price, size), strict=True)]
        if stated == list(self._book.best):
            self.agreed += 1
        else:
            self.differed += 1


def messages(batch: Batch) -> list[tuple[np.void, Rows]]:
    """Pair each message with its rows."""
    taken: Counter[str] = Counter()
    found = []
    for message in batch.messages:
        part = PARTS.get(Kind(int(message["kind"])), "levels")
        count = int(message["count"])
        found.append((message, getattr(batch, part)[taken[part] : taken[part] + count]))
        taken[part] += count
    return found


def replayed(venue: Venue, symbols: Sequence[str], tape: Lines) -> list[bytes]:
    """Encode what a fresh session makes of a tape."""
    session = Session(venue, symbols)
    encoded = []
    for received, raw in tape:
        try:
            encoded += [wire.encode(batch) for batch in session.receive(received, raw)]
        except BadFrame:
            continue
    return encoded
