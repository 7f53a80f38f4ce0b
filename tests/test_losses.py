"""Frames lost, doubled, swapped and replayed on captured streams of every venue that can tell: nobody is deceived."""

from pathlib import Path

import pytest

from tests.captured import capture
from tests.losing import Losses, lose

pytestmark = pytest.mark.tape

#: Venue -> levels a side that its checksum proves, 0 where ids prove all. (OKX's capture is of 2022, before its books
#: had ids; Bitget's of its first version, which had none.)
PROOFS = {
    "bitfinex": 0,
    "bitget": 25,
    "bitget_spot": 25,
    "bybit_linear": 0,
    "bybit_spot": 0,
    "coinbase_advanced": 0,
    "deribit": 0,
    "kraken_futures": 0,
    "kraken_spot": 10,
    "okx": 25,
}
KINDS = ("drop", "duplicate", "swap", "replay")
SEEDS = 3
ENOUGH = 8


@pytest.mark.parametrize("name", PROOFS)
def test_nothing_is_flagged_where_nothing_is_lost(name: str, captures: Path) -> None:
    outcome = lose(*capture(name, captures), Losses())
    assert outcome.harm == []
    assert outcome.wrong == set()
    assert len(outcome.right) >= 1
    assert outcome.counts["session gaps"] == outcome.counts["opened"] == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PROOFS)
def test_one_in_a_hundred_harms_nobody_and_the_books_come_right(name: str, kind: str, captures: Path) -> None:
    seen, played = PROOFS[name], capture(name, captures)
    # Short captures lose more, or nothing would happen in them.
    share = max(0.01, ENOUGH / len(played.lines))
    happened = gaps = 0
    # Books of megabytes, which each loss brings anew, are tried once.
    for seed in range(1 if name == "coinbase_advanced" else SEEDS):
        outcome = lose(*played, Losses(seed=seed, **{kind: share}), seen=seen)
        assert outcome.harm == []
        assert outcome.wrong == set()
        happened += outcome.counts[kind]
        gaps += outcome.counts["session gaps"]
    assert happened >= 1
    # What comes again may be known for it and passed over; what is missing must have been told.
    assert gaps >= 1 or kind in ("duplicate", "replay") or happened < 5
