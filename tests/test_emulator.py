"""The emulator on a loopback port: the tape's own frames and books, and its faults, seen by a plain client."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from engine.errors import BadConfig
from ingest.emulation import Desk, Shelf, read_score
from ingest.emulator import Emulator
from ingest.faults import Act, Faults, Frame, script
from tests.feeding import Lines, head, known, tuned
from tests.oracle import Oracle

pytestmark = pytest.mark.tape

VENUE = tuned()
STREAMS = ("btcusdt@depth@0ms", "btcusdt@bookTicker", "btcusdt@trade")
DEPTH = "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"


@pytest.fixture(scope="module")
def btc(binance_tapes: Path) -> Path:
    return binance_tapes / "usdm_btcusdt_20240808.gz"


@pytest.fixture(scope="module")
def lines(btc: Path) -> Lines:
    return head(btc, 3_000)


def emulator(lines: Lines, **options: Any) -> Emulator:
    return Emulator(VENUE, lines, known(VENUE, lines), **options)


def dial(venue: Emulator, streams: tuple[str, ...] = STREAMS) -> connect:
    url = f"{venue.socket_url}/public/stream?streams={'/'.join(streams)}"
    return connect(url, compression=None, max_queue=None, proxy=None)


def fetch(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.loads(refusal.read())


async def take(client: ClientConnection, count: int) -> list[bytes]:
    async with asyncio.timeout(20):
        return [await client.recv(decode=False) for _ in range(count)]


def played(lines: Lines, stream: str = "") -> list[bytes]:
    return [raw for _, raw in lines if raw.startswith(f'{{"stream":"{stream}'.encode())]


def test_frames_are_the_tapes_own_in_its_order(lines: Lines) -> None:
    async def run() -> list[bytes]:
        async with emulator(lines, speed=None) as venue, dial(venue) as client:
            got = await take(client, len(played(lines)))
            await venue.finished()
            return got

    assert asyncio.run(run()) == played(lines)


def test_clients_get_the_streams_that_they_ask_for_by_url_or_by_frame(lines: Lines) -> None:
    async def run() -> None:
        async with (
            emulator(lines, speed=None) as venue,
            dial(venue, STREAMS[2:]) as first,
            connect(f"{venue.socket_url}/public/stream", max_queue=None, proxy=None) as second,
        ):
            asked = {"method": "SUBSCRIBE", "params": list(STREAMS[:2]), "id": 7}
            await second.send(json.dumps(asked))
            assert json.loads(await second.recv()) == {"result": None, "id": 7}
            assert await take(first, 50) == played(lines, "btcusdt@trade")[:50]
            both = [raw for raw in played(lines) if not raw.startswith(b'{"stream":"btcusdt@trade')]
            assert await take(second, 50) == both[:50]

    asyncio.run(run())


def test_the_timeline_waits_for_its_streams_and_then_keeps_the_tapes_pace(lines: Lines) -> None:
    span = (lines[1_000][0] - lines[0][0]) / 1e9

    async def run() -> tuple[int, float]:
        async with emulator(lines[:1_001], speed=10.0) as venue, dial(venue, STREAMS[:1]):
            await asyncio.sleep(0.3)
            waiting = venue.counts["frames"]
            async with dial(venue, STREAMS[1:]):
                begin = time.monotonic()
                await venue.finished()
                return waiting, time.monotonic() - begin

    waiting, took = asyncio.run(run())
    assert waiting == 0
    # At the tape's own pace it would take ten times as long.
    assert span / 10 * 0.95 < took < span / 2


def test_rest_answers_as_of_the_position_of_the_tape(lines: Lines, btc: Path) -> None:
    oracle = Oracle(btc)

    async def run() -> list[dict[str, Any]]:
        async with emulator(lines, speed=3.0) as venue, dial(venue):
            books = [(await asyncio.to_thread(fetch, venue.rest_url + DEPTH))[1]]
            for _ in range(8):
                await asyncio.sleep(0.2)
                books.append((await asyncio.to_thread(fetch, venue.rest_url + DEPTH))[1])
            return books

    books = asyncio.run(run())
    # Before the tape's own snapshot is reached the answer is that snapshot.
    assert books[0]["lastUpdateId"] == oracle.snapshot
    assert len({book["lastUpdateId"] for book in books}) > 5
    for book in books:
        stated = [float(figure) for figure in (*book["bids"][0], *book["asks"][0])]
        truth = oracle.at(book["lastUpdateId"])
        assert truth is not None
        if book["lastUpdateId"] != oracle.snapshot:
            assert stated == [float(figure) for figure in truth]
        assert len(book["bids"]) <= 1000


def test_the_limit_is_honoured_and_errors_name_what_was_met(lines: Lines) -> None:
    async def run() -> list[tuple[int, dict[str, Any]]]:
        async with emulator(lines) as venue:
            paths = [
                "/fapi/v1/depth?symbol=BTCUSDT&limit=5",
                "/fapi/v1/exchangeInfo",
                "/fapi/v1/depth?symbol=DOGEUSDT&limit=5",
                "/nowhere",
                "/fapi/v1/openInterest?symbol=BTCUSDT",
            ]
            return [await asyncio.to_thread(fetch, venue.rest_url + path) for path in paths]

    depth, information, symbol, path, interest = asyncio.run(run())
    assert (len(depth[1]["bids"]), len(depth[1]["asks"])) == (5, 5)
    assert VENUE.parse_instruments(json.dumps(information[1]).encode(), ["BTCUSDT"]) == known(VENUE, lines)
    assert symbol == (400, {"code": 400, "msg": "unknown symbol 'DOGEUSDT', known are BTCUSDT"})
    assert path == (404, {"code": 404, "msg": "unknown path /nowhere"})
    assert interest == (400, {"code": 400, "msg": "the tape has no open_interest of BTCUSDT"})


def test_a_fast_timeline_stands_still_until_the_snapshot_was_asked_for(lines: Lines) -> None:
    async def run() -> tuple[int, int]:
        async with emulator(lines, speed=None) as venue, dial(venue):
            await asyncio.sleep(0.5)
            before = venue.counts["frames"]
            await asyncio.to_thread(fetch, venue.rest_url + DEPTH)
            await venue.finished()
            return before, venue.counts["frames"]

    assert asyncio.run(run()) == (1, len(played(lines)))


def test_a_looped_tape_is_a_venue_that_restarts(lines: Lines) -> None:
    async def run() -> tuple[list[bytes], int | None]:
        few = lines[:300]
        async with emulator(few, speed=None, loop=True) as venue:
            got = []
            for _ in range(2):
                async with dial(venue) as client:
                    got += await take(client, len(played(few)))
                    with pytest.raises(ConnectionClosed):
                        await client.recv()
            return got, client.close_code

    got, code = asyncio.run(run())
    assert got == played(lines[:300]) * 2
    assert code == 1012


@pytest.mark.parametrize(("code", "seen"), [(0, 1006), (1006, 1006), (1012, 1012), (1001, 1001)])
def test_connections_end_as_ordered(lines: Lines, code: int, seen: int) -> None:
    async def run() -> tuple[int, int | None]:
        async with emulator(lines, speed=None, faults=Faults(cut_at={20: code})) as venue, dial(venue) as client:
            count = 0
            try:
                while True:
                    await client.recv()
                    count += 1
            except ConnectionClosed:
                return count, client.close_code

    count, met = asyncio.run(run())
    assert (count, met) == (played(lines).index(played(lines, STREAMS[0])[20]), seen)


def test_connections_are_cut_at_their_lifetime(lines: Lines) -> None:
    async def run() -> tuple[float, int | None]:
        venue = tuned(lifetime=0.5)
        async with Emulator(venue, lines, known(venue, lines)) as served, dial(served) as client:
            begin = time.monotonic()
            await client.wait_closed()
            return time.monotonic() - begin, client.close_code

    took, code = asyncio.run(run())
    assert 0.4 < took < 10
    assert code == 1001


def test_a_stalled_connection_stays_open_and_silent(lines: Lines) -> None:
    async def run() -> tuple[int, bool]:
        faults = Faults(stall_at=frozenset({10}))
        async with emulator(lines, speed=None, faults=faults) as venue, dial(venue) as client:
            await venue.finished()
            count = 0
            while True:
                try:
                    async with asyncio.timeout(0.3):
                        await client.recv()
                        count += 1
                except TimeoutError:
                    break
            await client.send("{}")
            return count, client.close_code is None

    count, alive = asyncio.run(run())
    assert count == played(lines).index(played(lines, STREAMS[0])[10])
    assert alive


def test_handshakes_and_snapshots_fail_as_often_as_ordered(lines: Lines) -> None:
    async def run() -> list[int]:
        faults = Faults(refusals=2, retry_after=3, snapshot_failures=1, snapshot_status=429)
        statuses = []
        async with emulator(lines, faults=faults) as venue:
            for _ in range(2):
                with pytest.raises(InvalidStatus) as refusal:
                    await dial(venue)
                assert refusal.value.response.headers["Retry-After"] == "3"
                statuses.append(refusal.value.response.status_code)
            async with dial(venue):
                statuses += [(await asyncio.to_thread(fetch, venue.rest_url + DEPTH))[0] for _ in range(2)]
        return statuses

    assert asyncio.run(run()) == [503, 503, 429, 200]


@pytest.mark.parametrize("deaf", [False, True])
def test_pings_are_answered_unless_ordered_otherwise(lines: Lines, deaf: bool) -> None:
    async def run() -> bool:
        async with emulator(lines, faults=Faults(deaf=deaf)) as venue, dial(venue, ("nothing",)) as client:
            pong = await client.ping()
            done, _ = await asyncio.wait({asyncio.ensure_future(pong)}, timeout=0.5)
            return bool(done)

    assert asyncio.run(run()) is not deaf


def test_a_tape_without_frames_or_known_streams_is_refused(lines: Lines) -> None:
    with pytest.raises(BadConfig, match="no frame"):
        Emulator(VENUE, [(1, b'{"airpocket":"clock","monotonic":1}')], known(VENUE, lines))
    with pytest.raises(BadConfig, match="offers none"):
        emulator(lines, wanted=())
    with pytest.raises(BadConfig, match="speed is 0"):
        emulator(lines, speed=0)


def frames(count: int) -> list[Frame]:
    return [Frame(n, n * 1_000_000, "d", str(n).encode()) for n in range(count)]


def test_a_script_without_faults_is_the_tape() -> None:
    steps = script(frames(50), {"d"}, Faults())
    assert [(step.act, step.frame) for step in steps] == [(Act.SEND, frame) for frame in frames(50)]


def test_faults_at_positions_drop_double_and_swap() -> None:
    faults = Faults(drop_at=frozenset({1}), duplicate_at=frozenset({3}), swap_at=frozenset({5}))
    steps = script(frames(9), {"d"}, faults)
    assert [step.frame.raw for step in steps if step.act is Act.LOSE] == [b"1"]
    sent = [step.frame.raw for step in steps if step.act is Act.SEND]
    assert sent == [b"0", b"2", b"3", b"3", b"4", b"6", b"5", b"7", b"8"]


def test_faults_by_share_are_seeded_and_of_the_size_asked_for() -> None:
    faults = Faults(seed=5, drop=0.1, duplicate=0.1)
    first = [step.frame.raw for step in script(frames(5_000), {"d"}, faults) if step.act is Act.SEND]
    again = script(frames(5_000), {"d"}, faults)
    assert first == [step.frame.raw for step in again if step.act is Act.SEND]
    assert first != [step.frame.raw for step in script(frames(5_000), {"d"}, Faults(seed=6, drop=0.1, duplicate=0.1))]
    assert 4_400 < len(set(first)) < 4_600
    assert [step.frame.raw for step in script(frames(5_000), {"other"}, faults)] == [f.raw for f in frames(5_000)]


def test_the_book_is_right_at_every_position(btc: Path) -> None:
    lines = head(btc, 20_000)
    oracle = Oracle(btc)
    instrument = known(VENUE, lines)[0]
    decoder = VENUE.decoder({instrument.symbol: instrument})
    shelf = Shelf(instrument, decoder, read_score(VENUE, lines, [instrument]))
    checked = 0
    for position in range(100, 20_000, 37):
        book = shelf.at(position)
        assert book is not None
        last, _, bids, asks = book
        truth = oracle.at(last)
        assert truth is not None
        best = (bids["price"][0], bids["size"][0], asks["price"][0], asks["size"][0])
        scales = (100, 1_000, 100, 1_000)
        assert [int(t * s) for t, s in zip(truth, scales, strict=True)] == [int(figure) for figure in best]
        checked += 1
    assert checked > 500


def test_a_hole_in_the_tape_is_answered_with_the_next_snapshot(btc: Path) -> None:
    lines = head(btc, 4_000)
    instrument = known(VENUE, lines)[0]
    whole = Desk(VENUE, [instrument], read_score(VENUE, lines, [instrument]))
    status, later = whole.answer("depth", "BTCUSDT", 1000, 3_000)
    assert status == 200
    diffs = [n for n, (_, raw) in enumerate(lines) if raw.startswith(b'{"stream":"btcusdt@depth')]
    hole = next(n for n in diffs if n > 2_000)
    torn = [line for n, line in enumerate(lines) if n != hole]
    torn.insert(3_000, (lines[3_000][0], later))
    desk = Desk(VENUE, [instrument], read_score(VENUE, torn, [instrument]))
    before = json.loads(desk.answer("depth", "BTCUSDT", 1000, 1_999)[1])["lastUpdateId"]
    after = json.loads(desk.answer("depth", "BTCUSDT", 1000, 2_500)[1])["lastUpdateId"]
    assert before < json.loads(later)["lastUpdateId"] == after


def test_bodies_inside_control_lines_answer_rest(lines: Lines) -> None:
    body = b'{"openInterest":"81000.123","symbol":"BTCUSDT","time":1723161255000}'
    line = b'{"airpocket":"body","what":"open_interest","symbol":"BTCUSDT","epoch":0,"status":200,"body":' + body + b"}"
    instrument = known(VENUE, lines)[0]
    tape = [*islice(lines, 100), (lines[100][0], line), *lines[100:]]
    desk = Desk(VENUE, [instrument], read_score(VENUE, tape, [instrument]))
    assert desk.answer("open_interest", "BTCUSDT", 0, 2_000) == (200, body)
