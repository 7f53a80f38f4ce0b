"""The feed on a loopback venue: right books through every fault, true stamps, nothing left behind."""

import asyncio
from pathlib import Path

import pytest

from engine import wire
from ingest.faults import Faults
from tests.feeding import Ledger, head, played, replayed, tuned
from tests.oracle import Oracle

pytestmark = pytest.mark.tape


@pytest.fixture(scope="module")
def btc(binance_tapes: Path) -> Path:
    return binance_tapes / "usdm_btcusdt_20240808.gz"


@pytest.fixture(scope="module")
def oracle(btc: Path) -> Oracle:
    return Oracle(btc)


@pytest.mark.parametrize(("speed", "count"), [(None, 30_000), (20.0, 8_000)])
def test_the_book_is_the_exchanges_own_at_every_diff(
    btc: Path, oracle: Oracle, speed: float | None, count: int
) -> None:
    venue, lines = tuned(), head(btc, count)
    caught = asyncio.run(played(venue, lines, speed=speed))
    ledger = Ledger(oracle).take(caught.batches)
    assert ledger.differed == 0
    assert ledger.agreed > count / 20
    assert caught.kinds()["GAP"] == 0
    assert caught.kinds()["RESYNC"] == 2  # at first, and at the end when the connection is closed
    assert [raw for _, raw in caught.tape if not raw.startswith(b'{"airpocket"')] == [
        raw for _, raw in lines if not raw.startswith(b'{"lastUpdateId"')
    ]


def test_stamps_increase_and_the_tape_replays_to_the_same_bytes(btc: Path) -> None:
    venue = tuned()
    faults = Faults(seed=3, drop=0.01, duplicate=0.01, swap=0.01)
    caught = asyncio.run(played(venue, head(btc, 12_000), speed=30.0, faults=faults))
    stamps = [received for received, _ in caught.tape]
    assert stamps == sorted(set(stamps))
    assert caught.kinds()["GAP"] > 1
    assert replayed(venue, ["BTCUSDT"], caught.tape) == [wire.encode(batch) for batch in caught.batches]
