"""Each fault of a venue leads to the rows that say so, and the book is right again."""

import asyncio
import gc
import os
from itertools import pairwise
from pathlib import Path

import pytest

from engine.kernel import COMPILED
from engine.schema import Kind, Status
from ingest.emulator import Emulator
from ingest.faults import Faults
from tests.feeding import Caught, Ledger, feeding, head, known, played, tuned
from tests.oracle import Oracle

pytestmark = pytest.mark.tape

#: About 30 s of the tape with 600 diffs, and the pace at which they are played.
COUNT = 8_000
SPEED = 20.0 if COMPILED else 8.0
#: The diff at which something happens.
AT = 100


@pytest.fixture(scope="module")
def btc(binance_tapes: Path) -> Path:
    return binance_tapes / "usdm_btcusdt_20240808.gz"


@pytest.fixture(scope="module")
def oracle(btc: Path) -> Oracle:
    return Oracle(btc)


def statuses(caught: Caught) -> list[Status]:
    return [
        Status(int(m["status"])) for batch in caught.batches for m in batch.messages if m["kind"] == int(Kind.STATUS)
    ]


@pytest.mark.parametrize(
    ("faults", "gaps"),
    [
        (Faults(drop_at=frozenset({AT})), 1),
        (Faults(swap_at=frozenset({AT})), 1),
        (Faults(duplicate_at=frozenset({AT})), 0),
    ],
    ids=["drop", "swap", "duplicate"],
)
def test_a_broken_sequence_is_a_gap_and_a_resync(btc: Path, oracle: Oracle, faults: Faults, gaps: int) -> None:
    caught = asyncio.run(played(tuned(), head(btc, COUNT), speed=SPEED, faults=faults))
    assert caught.kinds()["GAP"] == gaps
    assert caught.kinds()["RESYNC"] == 2 + gaps
    ledger = Ledger(oracle).take(caught.batches)
    assert (ledger.differed, caught.synced) == (0, {"BTCUSDT": True})
    assert len(ledger.ids) > 150


@pytest.mark.parametrize("code", [0, 1006, 1012], ids=["reset", "torn", "restart"])
def test_a_lost_connection_is_said_and_comes_back(btc: Path, oracle: Oracle, code: int) -> None:
    faults = Faults(cut_at={AT: code})
    caught = asyncio.run(played(tuned(), head(btc, COUNT), speed=SPEED, faults=faults))
    closes = [line for line in caught.lines if line["airpocket"] == "close"]
    assert [close["code"] for close in closes] == [code or 1006, 1000]
    assert statuses(caught) == [Status.CONNECTED, Status.DISCONNECTED] * 2
    assert caught.kinds()["RESYNC"] == 3
    ledger = Ledger(oracle).take(caught.batches)
    assert (ledger.differed, caught.synced) == (0, {"BTCUSDT": True})
    assert len(ledger.ids) > 150


def test_a_stalled_connection_is_stale_and_then_replaced(btc: Path, oracle: Oracle) -> None:
    venue = tuned(silence=0.5)
    faults = Faults(stall_at=frozenset({AT}))
    caught = asyncio.run(played(venue, head(btc, 12_000), speed=SPEED / 2, faults=faults))
    assert caught.kinds()["STALE"] >= 1
    assert "nothing came for" in next(line for line in caught.lines if line["airpocket"] == "close")["reason"]
    ledger = Ledger(oracle).take(caught.batches)
    assert (ledger.differed, caught.synced) == (0, {"BTCUSDT": True})


def test_an_acknowledged_stream_without_data_is_subscribed_again(btc: Path) -> None:
    venue = tuned(first=0.4)
    faults = Faults(mute=frozenset({"btcusdt@bookTicker"}))
    caught = asyncio.run(played(venue, head(btc, 12_000), speed=20.0, faults=faults))
    closes = [line for line in caught.lines if line["airpocket"] == "close"]
    assert "no data of btcusdt@bookTicker within 0.4 s" in closes[0]["reason"]
    # The other streams of that connection must not pay for it for ever: each retry waits twice as long.
    assert 2 <= len(closes) <= 4


def test_a_failed_snapshot_is_asked_for_again(btc: Path, oracle: Oracle) -> None:
    faults = Faults(snapshot_failures=1, retry_after=1)
    caught = asyncio.run(played(tuned(), head(btc, 12_000), speed=SPEED, faults=faults))
    bodies = [line for line in caught.lines if line.get("what") == "depth"]
    assert [body["status"] for body in bodies] == [503, 200]
    ledger = Ledger(oracle).take(caught.batches)
    assert (ledger.differed, caught.synced) == (0, {"BTCUSDT": True})


def test_a_refused_handshake_is_tried_again_when_the_venue_says(btc: Path) -> None:
    faults = Faults(refusals=1, retry_after=1)
    caught = asyncio.run(played(tuned(), head(btc, 2_000), speed=None, faults=faults))
    first = caught.tape[0][0]
    opened = next(received for received, raw in caught.tape if raw.startswith(b'{"airpocket":"open"'))
    assert 0.9e9 < opened - first < 9e9
    assert caught.synced == {"BTCUSDT": True}


def test_a_late_rest_answer_delays_no_frame(btc: Path, oracle: Oracle) -> None:
    venue, lines, speed = tuned(), head(btc, COUNT * 2), SPEED / 4
    feed = {"instruments": known(venue, lines)}
    caught = asyncio.run(played(venue, lines, speed=speed, faults=Faults(rest_delay=4.5), feed=feed))
    sent = {raw: at for at, raw in lines}
    frames = [(received, sent[raw]) for received, raw in caught.tape if raw in sent]
    received0, sent0 = frames[0]
    late = sorted((received - received0) - (at - sent0) / speed for received, at in frames)
    # Had frames waited for the answer, they would be 4.5 s late.
    assert late[-1] < 4e9
    body = next(received for received, raw in caught.tape if b'"what":"depth"' in raw[:60])
    assert body - received0 > 4.4e9
    assert sum(received < body for received, _ in frames) > COUNT / 8
    assert Ledger(oracle).take(caught.batches).differed == 0


def test_fifty_lost_connections_leave_nothing_behind(btc: Path) -> None:
    lines = head(btc, 60_000)
    venue = tuned()
    cuts = {float(second): (0, 1006, 1012)[number % 3] for number, second in enumerate(range(1, 220))}

    async def storm() -> Caught:
        async with Emulator(venue, lines, known(venue, lines), speed=12.0, faults=Faults(cut_after=cuts)) as emulator:
            tasks, files = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
            async with feeding(venue, ["BTCUSDT"], emulator) as caught:
                await caught.until(lambda: emulator.counts["cut"] >= 50, seconds=60)
            await asyncio.sleep(1.5)
            gc.collect()
            assert len(asyncio.all_tasks()) == tasks
            assert len(os.listdir("/proc/self/fd")) <= files
            return caught

    caught = asyncio.run(storm())
    assert statuses(caught).count(Status.CONNECTED) >= 50
    opens = [received for received, raw in caught.tape if raw.startswith(b'{"airpocket":"open"')]
    # Back at once each time: the wait never grows towards its 10 s, for data came in between.
    assert max(b - a for a, b in pairwise(opens)) < 5e9
