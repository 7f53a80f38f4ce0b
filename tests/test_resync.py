"""Recorded tapes through the session: books against the exchange's own best prices, and every loss a gap."""

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path

import numba
import orjson
import pytest

from engine.instrument import Instrument
from engine.schema import Batch, Channel, Kind
from ingest import control
from ingest.session import Session, open_session
from ingest.venues import SECOND, Venue, load
from tests.ladder import DELTA, TOUCH, Ladder, Line, kinds, read_lines

INTERPRETED = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]

#: Tapes of one stream in order -> comparisons with the exchange's own touch, and how many must agree.
TRUTH = {
    ("usdm_btcusdt_20240808",): (6547, 6547),
    ("usdm_ethusdt_20240808",): (6580, 6580),
    ("spot_ethusdt_20240808", "spot_ethusdt_20240809"): (6468, 6468),
    ("spot_btcusdt_20240808", "spot_btcusdt_20240809"): (6493, 6491),
}
Touch = list[tuple[int, int]]


@cache
def tape(folder: Path, name: str) -> list[Line]:
    return read_lines(folder / f"{name}.gz")


@pytest.mark.tape
@pytest.mark.parametrize("names", TRUTH, ids=lambda names: names[0])
def test_books_agree_with_the_exchanges_own_best_prices(binance_tapes: Path, names: tuple[str, ...]) -> None:
    lines = [line for name in names for line in tape(binance_tapes, name)]
    lines = lines[:4000] if INTERPRETED else lines
    session = open_session(lines[:200], f"binance_{names[0][:4]}")
    outputs = [session.receive(*line) for line in lines]
    ladder = Ladder()
    ids: list[int] = []
    touches: list[Touch] = []
    #: The book's id and its best prices after each diff.
    found: list[tuple[int, Touch]] = []
    for batch in (batch for out in outputs for batch in out):
        kind = ladder.apply(batch)
        if kind == TOUCH:
            ids.append(int(batch.messages["last"][0]))
            touches.append(batch.levels.tolist())
        elif kind == DELTA:
            found.append((ladder.last, ladder.touch))
    assert ids == sorted(ids)
    newest = [(bisect_right(ids, last) - 1, touch) for last, touch in found]
    compared = sum(index >= 0 for index, _ in newest)
    agreed = sum(touches[index] == touch for index, touch in newest if index >= 0)
    print(f"{names[0]}: {agreed} of {compared} agree, {dict(session.counts)}")
    assert session.counts["gaps"] == 0
    assert session.counts["resyncs"] == 1
    assert all(session.synced.values())
    if INTERPRETED:
        assert compared > 100
        assert agreed == compared
    else:
        assert (compared, agreed) == TRUTH[names]


@pytest.mark.tape
@pytest.mark.parametrize("name", ["spot_btcusdt_20240809", "spot_ethusdt_20240809"])
def test_a_tape_without_a_snapshot_has_no_book_and_says_so(binance_tapes: Path, name: str) -> None:
    lines = tape(binance_tapes, name)[:5000]
    session = open_session(lines[:200], "binance_spot")
    met = kinds(b for line in lines for b in session.receive(*line))
    assert set(met) == {Kind.RESYNC, Kind.TOUCH, Kind.TRADE}
    assert session.synced == {name[5:12].upper(): False}


#: Price in our integers -> price as printed, size as printed, size in our integers.
Side = dict[int, tuple[str, str, int]]


class Exchange:
    """The venue's own books, kept from the tape's text without any of our decoding; answers depth requests."""

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        self.instruments = instruments
        self.books: dict[str, tuple[Side, Side]] = {symbol: ({}, {}) for symbol in instruments}
        self.last = dict.fromkeys(instruments, -1)

    def load(self, symbol: str, body: bytes) -> None:
        content = orjson.loads(body)
        self.last[symbol] = content["lastUpdateId"]
        for side, key in zip(self.books[symbol], ("bids", "asks"), strict=True):
            self._set(symbol, side, content[key])

    def apply(self, raw: bytes) -> None:
        """Let a depth frame happen at the exchange."""
        content = orjson.loads(raw)["data"]
        symbol = content["s"]
        if content["u"] <= self.last[symbol]:
            return
        self.last[symbol] = content["u"]
        for side, key in zip(self.books[symbol], ("b", "a"), strict=True):
            self._set(symbol, side, content[key])

    def copy(self) -> "Exchange":
        """Part ways."""
        other = Exchange(self.instruments)
        other.books = {symbol: (dict(bids), dict(asks)) for symbol, (bids, asks) in self.books.items()}
        other.last = dict(self.last)
        return other

    def body(self, symbol: str, epoch: int) -> bytes:
        bids, asks = ([(text, size) for _, (text, size, _) in sorted(side.items())] for side in self.books[symbol])
        content = {"lastUpdateId": self.last[symbol], "E": 1, "T": 1, "bids": bids[::-1], "asks": asks}
        return control.body("depth", symbol, epoch, 200, orjson.dumps(content))

    def book(self, symbol: str) -> tuple[dict[int, int], ...]:
        """The book in our integers."""
        return tuple({price: size for price, (_, _, size) in side.items()} for side in self.books[symbol])

    def _set(self, symbol: str, side: Side, levels: list[list[str]]) -> None:
        known = self.instruments[symbol]
        for price, size in levels:
            place = int(Decimal(price).scaleb(known.price_decimals))
            if amount := int(Decimal(size).scaleb(known.size_decimals)):
                side[place] = (price, size, amount)
            else:
                side.pop(place, None)


class Desk:
    """A session over lines, its answers, and what its rows say of every book."""

    def __init__(self, venue: Venue, exchange: Exchange, start: int) -> None:
        self.exchange = exchange
        self.now = start
        self.session = Session(venue, list(exchange.instruments), list(exchange.instruments.values()))
        self.ladders: dict[str, Ladder] = defaultdict(Ladder)
        self.streams = [s.name for s in venue.streams(list(exchange.instruments)) if s.channel == Channel.DEPTH]

    def tell(self, raw: bytes) -> list[Batch]:
        """Give the session a line; keep the ladders; fail where a diff passes while the book is not known."""
        self.now += 1_000_000
        batches = self.session.receive(self.now, raw)
        for batch in batches:
            self.ladders[batch.instrument.partition(":")[2]].apply(batch)
        return batches

    def answer(self) -> int:
        """Answer what the session wants to know, as the exchange stands; tell how many answers that took."""
        requests = [r for r in self.session.take_requests() if r.what == "depth"]
        for request in requests:
            self.tell(self.exchange.body(request.symbol, request.epoch))
        return len(requests)

    def right(self, symbol: str) -> bool:
        ladder = self.ladders[symbol]
        return ladder.known and (ladder.bids, ladder.asks) == self.exchange.book(symbol)


def symbol_of(raw: bytes) -> str:
    return str(orjson.loads(raw)["data"]["s"])


@cache
def futures(folder: Path) -> tuple[dict[str, Instrument], list[bytes], dict[str, bytes]]:
    """Both futures tapes as one: instruments, depth frames by time, first snapshots."""
    instruments, frames, bodies = {}, [], {}
    for name in ("usdm_btcusdt_20240808", "usdm_ethusdt_20240808"):
        lines = tape(folder, name)
        (known,) = load("binance_usdm").infer_instruments([raw for _, raw in lines[:200]])
        instruments[known.symbol] = known
        frames += [line for line in lines if b"@depth" in line[1][:40]]
        bodies[known.symbol] = next(raw for _, raw in lines if raw.startswith(b'{"lastUpdateId"'))
    return instruments, [raw for _, raw in sorted(frames)], bodies


@pytest.mark.tape
@pytest.mark.slow
def test_every_single_lost_diff_is_a_gap_and_only_that_book_starts_over(binance_tapes: Path) -> None:
    instruments, frames, bodies = futures(binance_tapes)
    venue = load("binance_usdm")
    rng = random.Random(20240808)
    count = 15 if INTERPRETED else 200
    lost = set(rng.sample(range(100, 1500 if INTERPRETED else len(frames) - 40), count))
    exchange = Exchange(instruments)
    for symbol, body in bodies.items():
        exchange.load(symbol, body)
    positions = 0
    for index, raw in enumerate(frames):
        if index + 20 in lost:
            lose(venue, exchange, frames[index : index + 50], 20)
            positions += 1
        exchange.apply(raw)
    print(f"{positions} losses, each flagged at once, each healed")
    assert positions == count


def lose(venue: Venue, exchange: Exchange, frames: Sequence[bytes], position: int) -> None:
    """Run a slice of the tape with one frame lost; the exchange is as it was before the slice."""
    here = exchange.copy()
    desk = Desk(venue, here, SECOND)
    desk.tell(control.opened(1, "public", desk.streams))
    # The one that the lost frame belongs to must speak again before the slice ends.
    victim = symbol_of(frames[position])
    other = next(symbol for symbol in here.instruments if symbol != victim)
    heal_at = flagged = -1
    for index, raw in enumerate(frames):
        here.apply(raw)
        if index == position:
            assert desk.session.synced == {victim: True, other: True}
            continue
        batches = desk.tell(raw)
        concerned = [b for b in batches if b.messages[0]["kind"] in (Kind.GAP, Kind.RESYNC)]
        if index > position and flagged < 0 and symbol_of(raw) == victim:
            flagged = index
            assert kinds(batches) == [Kind.GAP, Kind.RESYNC]
            gap = batches[0].messages[0]
            content = orjson.loads(raw)["data"]
            assert (gap["first"], gap["last"]) == (content["U"], content["u"])
            assert gap["previous"] == orjson.loads(frames[position])["data"]["pu"]
            assert desk.session.synced == {victim: False, other: True}
            heal_at = index + 3
        elif index > position:
            assert concerned == []
            assert not (flagged < index < heal_at and symbol_of(raw) == victim and batches)
        if index < position or index >= heal_at > 0:
            desk.answer()
    assert flagged > 0
    assert desk.session.counts["gaps"] == 1
    for symbol in here.instruments:
        # The newest snapshot may still wait for the next diff; what is known must be right.
        assert desk.session.synced[symbol]
        assert desk.right(symbol)


@pytest.mark.tape
def test_a_hundredth_of_all_frames_spoilt_never_gives_a_wrong_book(binance_tapes: Path) -> None:
    instruments, frames, bodies = futures(binance_tapes)
    frames = frames[: 800 if INTERPRETED else 6000]
    venue = load("binance_usdm")
    rng = random.Random(1)
    exchange = Exchange(instruments)
    for symbol, body in bodies.items():
        exchange.load(symbol, body)
    desk = Desk(venue, exchange, SECOND)
    desk.tell(control.opened(1, "public", desk.streams))
    harmful: dict[str, bool] = {}
    done: dict[str, int] = defaultdict(int)
    late: bytes | None = None
    answers = 0
    for index, raw in enumerate(frames):
        exchange.apply(raw)
        symbol = symbol_of(raw)
        whole = desk.session.synced[symbol]
        act = rng.choice(("drop", "duplicate", "swap", "replay")) if rng.random() < 0.01 else "pass"
        done[act] += 1
        if act in ("drop", "swap"):
            # A swapped frame comes after the next of its symbol, so that one shows the hole.
            late = raw if act == "swap" else None
            harmful[symbol] = harmful.get(symbol, False) or whole
            continue
        met = kinds(desk.tell(raw))
        if harmful.pop(symbol, False):
            assert met[0] == Kind.GAP
        else:
            assert Kind.GAP not in met or not whole
        if late is not None and symbol_of(late) == symbol:
            assert Kind.DELTA not in kinds(desk.tell(late))
            late = None
        if act == "duplicate":
            assert desk.tell(raw) == []
        if act == "replay" and index > 500:
            assert desk.tell(frames[index - rng.randint(300, 500)]) == []
        if rng.random() < 0.3:
            answers += desk.answer()
        if index % 40 == 0:
            for each in instruments:
                assert (
                    not desk.ladders[each].known or desk.ladders[each].last != exchange.last[each] or desk.right(each)
                )
    print(f"{dict(done)}, {dict(desk.session.counts)}, {answers} snapshots")
    assert answers > (3 if INTERPRETED else 20)
    assert min(done[act] for act in ("drop", "duplicate", "swap", "replay")) > 0
    assert desk.session.counts["gaps"] > 0
