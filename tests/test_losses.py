"""Frames lost, doubled, swapped and replayed on captured streams of every venue that can tell: nobody is deceived."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.instrument import Instrument
from ingest.captures import What, lines_of, read_capture, venues_of
from ingest.venues import Venue, load
from tests.losing import Line, Losses, lose

pytestmark = pytest.mark.tape

#: Venue -> files of its capture; levels a side that its checksum proves, 0 where ids prove all. (OKX's capture is of
#: 2022, before its books had ids.)
CAPTURES = {
    "bybit_linear": (["BYBIT.jsonl.zst"], 0),
    "bybit_spot": (["BYBIT.jsonl.zst"], 0),
    "bitfinex": (["BITFINEX.ws.11.0.gz"], 0),
    "deribit": (["DERIBIT.ws.1.0.gz"], 0),
    "kraken_spot": (["KRAKEN.ws.50.0.gz"], 10),
    "okx": (["OKX.ws.1.0.gz"], 25),
    "bitget": (["BITGET.ws.2.0.gz", "BITGET.ws.1.0.gz"], 25),
    "bitget_spot": (["BITGET.ws.1.0.gz", "BITGET.ws.2.0.gz"], 25),
}
SEEDS = 3
ENOUGH = 8
KINDS = ("drop", "duplicate", "swap", "replay")


class Played(NamedTuple):
    venue: Venue
    lines: list[Line]
    instruments: list[Instrument]


@cache
def capture(name: str, folder: Path) -> Played:
    """Read a venue's capture: its lines, and the instruments that they show."""
    entries = list(read_capture([folder / file for file in CAPTURES[name][0]]))
    mine = [connection for connection, venue in venues_of(entries).items() if venue.name == name]
    frames = [each.raw for each in entries if each.what is What.RECEIVED and each.connection in mine]
    venue = load(name)
    return Played(venue, list(lines_of(entries, venue, mine)), venue.infer_instruments(frames))


@pytest.mark.parametrize("name", CAPTURES)
def test_nothing_is_flagged_where_nothing_is_lost(name: str, captures: Path) -> None:
    outcome = lose(*capture(name, captures), Losses())
    assert outcome.harm == []
    assert outcome.wrong == set()
    assert len(outcome.right) >= 1
    assert outcome.counts["session gaps"] == outcome.counts["opened"] == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CAPTURES)
def test_one_in_a_hundred_harms_nobody_and_the_books_come_right(name: str, kind: str, captures: Path) -> None:
    seen, played = CAPTURES[name][1], capture(name, captures)
    # Short captures lose more, or nothing would happen in them.
    share = max(0.01, ENOUGH / len(played.lines))
    happened = gaps = 0
    for seed in range(SEEDS):
        outcome = lose(*played, Losses(seed=seed, **{kind: share}), seen=seen)
        assert outcome.harm == []
        assert outcome.wrong == set()
        happened += outcome.counts[kind]
        gaps += outcome.counts["session gaps"]
    assert happened >= 1
    # What comes again may be known for it and passed over; what is missing must have been told.
    assert gaps >= 1 or kind in ("duplicate", "replay") or happened < 5
