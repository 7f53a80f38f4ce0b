"""A connection is replaced before the venue cuts it: no frame lost, none twice, no book begun anew."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.instrument import Instrument
from engine.kernel import COMPILED
from engine.schema import Kind
from ingest.faults import Faults
from ingest.handover import Handover
from ingest.venues import Venue
from tests.feeding import Caught, Ledger, Lines, head, known, played, tuned
from tests.oracle import Oracle

pytestmark = pytest.mark.tape


@pytest.fixture(scope="module")
def btc(binance_tapes: Path) -> Path:
    return binance_tapes / "usdm_btcusdt_20240808.gz"


def frames(caught: Caught, stream: str) -> list[bytes]:
    mark = f'{{"stream":"btcusdt@{stream}"'.encode()
    return [raw for _, raw in caught.tape if raw.startswith(mark)]


def books_begun(caught: Caught) -> int:
    """Count the books that were begun while depth frames came: a handover that the end cuts off may begin another."""
    mark = b'{"stream":"btcusdt@depth'
    last = max(at for at, raw in caught.tape if raw.startswith(mark))
    rows = [row for batch in caught.batches for row in batch.messages]
    return sum(row["kind"] == Kind.RESYNC and row["received"] < last for row in rows)


#: Plain Python decodes a twentieth as fast: at 20 times the market's pace it falls behind, and a feed that is behind
#: begins anew, as it should.
SPEEDS = (8.0, 20.0) if COMPILED else (4.0,)
SPEED = 15.0 if COMPILED else 5.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two connections run beside one another for as long as a busy machine needs to hand a stream over."""
    monkeypatch.setattr("ingest.carrier.MARGIN", 20.0)


def short_lived(**changes: Any) -> Venue:
    """Cut the venue's connections to a life of a second, and ten more beside their successor."""
    return tuned(lifetime=21.0, **changes)


@pytest.mark.parametrize("speed", SPEEDS)
def test_nothing_is_lost_or_doubled_when_connections_live_a_second(btc: Path, speed: float) -> None:
    venue, lines = short_lived(), head(btc, 24_000 if COMPILED else 12_000)
    caught = asyncio.run(played(venue, lines, speed=speed))
    switches = [line for line in caught.lines if line["airpocket"] == "switch"]
    assert len({line["connection"] for line in switches}) >= 2
    for stream in ("depth@0ms", "bookTicker", "trade"):
        mark = f'{{"stream":"btcusdt@{stream}"'.encode()
        assert frames(caught, stream) == [raw for _, raw in lines if raw.startswith(mark)]
    assert caught.kinds()["GAP"] == 0
    assert books_begun(caught) == 1
    ledger = Ledger(Oracle(btc)).take(caught.batches)
    assert ledger.differed == 0
    assert all(b - a == 1 for a, b in pairwise(ledger.trades))
    assert caught.synced == {"BTCUSDT": True}


def test_rows_name_the_connection_that_carries_them(btc: Path) -> None:
    caught = asyncio.run(played(short_lived(), head(btc, 20_000), speed=SPEED))
    met = [int(c) for batch in caught.batches if len(batch.trades) for c in batch.messages["connection"]]
    assert met == sorted(met)
    assert met[0] == 1
    assert met[-1] >= 3


def test_a_stream_that_never_speaks_holds_up_no_other(btc: Path) -> None:
    venue, lines = short_lived(first=60.0), head(btc, 16_000)
    faults = Faults(mute=frozenset({"btcusdt@bookTicker"}))
    caught = asyncio.run(played(venue, lines, speed=SPEED, faults=faults))
    assert caught.kinds()["GAP"] == 0
    depth = [raw for _, raw in lines if raw.startswith(b'{"stream":"btcusdt@depth')]
    assert frames(caught, "depth@0ms") == depth


def test_an_announced_shutdown_is_answered_with_a_new_connection(btc: Path) -> None:
    venue, lines = tuned(), head(btc, 8_000)
    shutdown = b'{"e":"serverShutdown","E":1723161260000}'
    emulation = replace(
        venue.emulation,
        stream_of=lambda raw: "btcusdt@trade" if raw == shutdown else venue.emulation.stream_of(raw),
    )
    told = [*lines[:3_000], (lines[3_000][0], shutdown), *lines[3_000:]]
    caught = asyncio.run(played(replace(venue, emulation=emulation), told, speed=SPEED))
    opens = [line["connection"] for line in caught.lines if line["airpocket"] == "open"]
    assert opens == [1, 2]
    assert caught.kinds()["GAP"] == 0
    assert books_begun(caught) == 1
    assert frames(caught, "depth@0ms") == [raw for _, raw in lines if raw.startswith(b'{"stream":"btcusdt@depth')]


class Two:
    """Two connections' frames by hand."""

    def __init__(self, venue: Venue, instruments: list[Instrument]) -> None:
        symbols = {i.symbol: i for i in instruments}
        streams = venue.streams(list(symbols))
        self.handover = Handover(venue.decoder(symbols), venue.emulation.stream_of, streams, 2)

    def old(self, raw: bytes) -> bool:
        return self.handover.take(1, raw)[0]

    def new(self, raw: bytes) -> tuple[bool, str | None]:
        return self.handover.take(2, raw)


@pytest.fixture
def two(btc: Path) -> tuple[Two, Lines]:
    venue, lines = tuned(), head(btc, 3_000)
    return Two(venue, known(venue, lines)), lines


def of(lines: Lines, stream: str) -> list[bytes]:
    return [raw for _, raw in lines if raw.startswith(f'{{"stream":"btcusdt@{stream}"'.encode())]


def test_a_new_connection_that_lags_moves_over_and_repeats_nothing(two: tuple[Two, Lines]) -> None:
    pair, lines = two
    trades = of(lines, "trade")
    assert [pair.old(raw) for raw in trades[:5]] == [True] * 5
    assert pair.new(trades[2]) == (False, "btcusdt@trade")  # what follows it will come this way
    assert not pair.old(trades[5])
    assert [pair.new(raw) for raw in trades[3:5]] == [(False, None)] * 2
    assert [pair.new(raw) for raw in trades[5:7]] == [(True, None)] * 2


def test_a_new_connection_that_leads_waits_for_the_old_one(two: tuple[Two, Lines]) -> None:
    pair, lines = two
    diffs = of(lines, "depth@0ms")
    assert pair.new(diffs[3]) == (False, None)  # nothing is known of the old one yet
    assert pair.old(diffs[1])
    assert pair.new(diffs[4]) == (False, None)  # 2 and 3 would be lost
    assert [pair.old(raw) for raw in diffs[2:5]] == [True] * 3
    assert pair.new(diffs[5]) == (True, "btcusdt@depth@0ms")
    assert [pair.old(raw) for raw in diffs[5:8]] == [False] * 3


def test_level_streams_move_over_at_the_end_and_others_break(two: tuple[Two, Lines]) -> None:
    pair, lines = two
    trades, touches, diffs = of(lines, "trade"), of(lines, "bookTicker"), of(lines, "depth@0ms")
    assert pair.new(trades[0]) == (False, None)
    assert pair.old(trades[0])  # level: both are at the same trade
    assert pair.old(touches[0])
    assert pair.old(diffs[0])
    assert pair.new(diffs[2]) == (False, None)  # ahead: 1 is missing
    level, broken = pair.handover.finish()
    assert (level, broken) == (["btcusdt@trade"], ["btcusdt@depth@0ms", "btcusdt@bookTicker"])


def test_acks_pass_and_bad_frames_are_refused_once(two: tuple[Two, Lines]) -> None:
    pair, lines = two
    assert pair.new(b'{"result":null,"id":1}') == (True, None)
    torn = of(lines, "trade")[0][:60]
    assert pair.old(torn)
    assert pair.new(torn) == (False, None)
