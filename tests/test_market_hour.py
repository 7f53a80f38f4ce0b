"""An hour of simulated markets: frames that keep the venue's rules, a book that is the simulator's own at each of them.

A checkpoint is the instant of a frame: a clone of the market goes on to it, and what a decoder and a session have made
of the tape by then must be the clone's book, price for price.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

import orjson
import pytest

from engine.kernel import COMPILED
from engine.schema import Kind
from ingest.session import Session, open_session
from ingest.simulator.advance import run
from ingest.simulator.broadcast import Broadcast
from ingest.simulator.frames import MILLISECOND, START
from ingest.simulator.scenarios import INSTRUMENT, scenario
from ingest.simulator.world import SECOND
from tests.rebuilt import Book
from tests.simulated import book_of

#: Scenario, seed, seconds: 3,600 at least, and plans longer than those that have a name.
MARKETS: Final = (
    ("calm", 11, 1_800),
    ("october-10", 1, 900),
    ("october-10", 2, 420),
    ("october-10", 3, 420),
    ("squeeze", 5, 200),
    ("spoof", 6, 120),
)
#: How a diff begins.
DIFF: Final = b'{"stream":"btcusdt@depth'


class Listener:
    """A session on a tape, and the book that its rows make: after each diff its touch is what the venue told."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.book: Book = {1: {}, -1: {}}
        self.kinds: Counter[int] = Counter()
        self.touches = 0
        #: Update and touch, as the venue told them since the last diff, and the one before.
        self._told: list[tuple[int, tuple[int, int, int, int]]] = []

    def hear(self, received: int, raw: bytes) -> None:
        for batch in self.session.receive(received, raw):
            at = 0
            for message in batch.messages:
                self.kinds[int(message["kind"])] += 1
                if message["kind"] not in (Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH):
                    continue
                rows = batch.levels[at : at + message["count"]].tolist()
                at += len(rows)
                if message["kind"] == Kind.TOUCH:
                    self._told.append((int(message["last"]), (*rows[0], *rows[1])))
                    continue
                self._apply(rows, int(message["bids"]), bool(message["kind"] == Kind.SNAPSHOT))
                if message["kind"] == Kind.DELTA:
                    self._compare(int(message["last"]))

    def _apply(self, rows: list[tuple[int, int]], bids: int, anew: bool) -> None:
        if anew:
            self.book = {1: {}, -1: {}}
        for place, (price, size) in enumerate(rows):
            side = self.book[1 if place < bids else -1]
            if size:
                side[price] = size
            else:
                del side[price]  # The venue deletes nothing that it has not shown.

    def _compare(self, update: int) -> None:
        """Compare the book after a diff with the newest touch that the venue told up to that update."""
        bid, ask = max(self.book[1], default=0), min(self.book[-1], default=0)
        assert not (bid and ask) or bid < ask
        known = [touch for last, touch in self._told if last <= update]
        assert known[-1] == (bid, self.book[1].get(bid, 0), ask, self.book[-1].get(ask, 0))
        self.touches += 1
        self._told = self._told[len(known) - 1 :]


class Rules:
    """What the venue promises of its frames, checked line by line."""

    def __init__(self) -> None:
        self.frames: Counter[str] = Counter()
        self._received = START - 1
        #: Last id of each stream, 0: none.
        self._update = self._touch = self._trade = 0
        #: The second of the last forced order.
        self._forced = -1

    def check(self, received: int, raw: bytes) -> None:
        assert received > self._received
        self._received = received
        if not raw.startswith(b'{"stream"'):
            return
        found = orjson.loads(raw)["data"]
        event = found["e"]
        self.frames[event] += 1
        assert found["E"] * MILLISECOND <= received
        if event == "depthUpdate":
            assert self._update == 0 or found["pu"] == self._update
            assert found["pu"] < found["U"] <= found["u"]
            for side in ("b", "a"):
                assert len({price for price, _ in found[side]}) == len(found[side])
            self._update = found["u"]
        elif event == "bookTicker":
            assert self._touch < found["u"]
            self._touch = found["u"]
        elif event == "trade":
            assert self._trade == 0 or found["t"] == self._trade + 1
            assert float(found["q"]) > 0
            self._trade = found["t"]
        elif event == "forceOrder":
            # The largest of a second alone.
            assert self._forced < received // SECOND
            self._forced = received // SECOND


@dataclass
class Played:
    rules: Rules
    listener: Listener
    #: Diffs after which the session's book was the market's own.
    agreed: int


def play(name: str, seed: int, seconds: int) -> Played:
    """Play a market to a session; a frame that is refused raises, as does a rule that is broken."""
    broadcast, rules, agreed = Broadcast(replace(scenario(name), seconds=seconds), seed, START), Rules(), 0
    listener: Listener | None = None
    twin = broadcast.world.clone()
    for _ in range(seconds):
        for received, raw in broadcast.second()[0]:
            listener = listener or Listener(open_session([(received, raw)], None))
            rules.check(received, raw)
            listener.hear(received, raw)
            if raw.startswith(DIFF) and listener.kinds[Kind.SNAPSHOT]:
                run(twin, orjson.loads(raw)["data"]["T"] * MILLISECOND)
                assert listener.book == book_of(twin)
                agreed += 1
    assert listener is not None
    return Played(rules, listener, agreed)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed", "seconds"), MARKETS if COMPILED else [("calm", 11, 3)])
def test_a_market_s_frames_keep_the_venue_s_rules_and_tell_its_own_book(name: str, seed: int, seconds: int) -> None:
    played = play(name, seed, seconds)
    kinds, session = played.listener.kinds, played.listener.session
    assert session.synced[INSTRUMENT.symbol]
    assert session.counts["gaps"] == 0
    assert not [each for each in session.counts if each.startswith("refused")]
    assert (kinds[Kind.GAP], kinds[Kind.STALE], kinds[Kind.RESYNC], kinds[Kind.SNAPSHOT]) == (0, 0, 1, 1)
    # Each diff but those before the snapshot is a row of the book, and each touch and trade is one too.
    frames = played.rules.frames
    assert played.agreed == frames["depthUpdate"] - 1 >= 9 * seconds
    assert frames["depthUpdate"] - kinds[Kind.DELTA] in (0, 1)
    assert (frames["bookTicker"], frames["trade"]) == (kinds[Kind.TOUCH], kinds[Kind.TRADE])
    assert frames["forceOrder"] == kinds[Kind.LIQUIDATION]
    assert played.listener.touches == kinds[Kind.DELTA]


def test_the_markets_that_are_played_last_an_hour() -> None:
    assert sum(seconds for _, _, seconds in MARKETS) >= 3_600
    assert len({seed for name, seed, _ in MARKETS if name == "october-10"}) >= 3
