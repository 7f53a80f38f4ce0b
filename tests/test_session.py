"""The session's control lines and requests, on frames small enough to read."""

from typing import Any

import orjson
import pytest

from engine.errors import BadConfig, BadFrame, BadRecord
from engine.instrument import Instrument
from engine.schema import Channel, Contract, Kind, Status
from ingest import control
from ingest.session import Session, open_session
from ingest.venues import SECOND, load
from tests.ladder import kinds

FUTURES = load("binance_usdm")


def instrument(symbol: str = "BTCUSDT") -> Instrument:
    return Instrument(
        venue="binance_usdm",
        symbol=symbol,
        asset=symbol[:3],
        quote="USDT",
        contract=Contract.LINEAR,
        price_decimals=2,
        size_decimals=3,
        tick=10,
        lot=1,
    )


def diff(previous: int, last: int, symbol: str = "BTCUSDT") -> bytes:
    content = {"e": "depthUpdate", "E": 2, "T": 1, "s": symbol, "U": previous + 1, "u": last, "pu": previous}
    content |= {"b": [["100.10", "1.000"]], "a": [["100.20", "2.000"]]}
    return orjson.dumps({"stream": f"{symbol.lower()}@depth@0ms", "data": content})


def trade(number: int) -> bytes:
    content = {"e": "trade", "E": 2, "T": 1, "s": "BTCUSDT", "t": number, "p": "1", "q": "1", "X": "MARKET", "m": True}
    return orjson.dumps({"stream": "btcusdt@trade", "data": content})


def snapshot(last: int) -> bytes:
    return orjson.dumps({"lastUpdateId": last, "E": 1, "T": 1, "bids": [["100.00", "1"]], "asks": [["100.30", "1"]]})


def depth_body(last: int, epoch: int, symbol: str = "BTCUSDT") -> bytes:
    return control.body("depth", symbol, epoch, 200, snapshot(last))


DEPTH = "btcusdt@depth@0ms"


def opened(*symbols: str) -> Session:
    symbols = symbols or ("BTCUSDT",)
    session = Session(FUTURES, symbols, [instrument(symbol) for symbol in symbols])
    streams = [s.name for s in FUTURES.streams(symbols) if s.socket == "public"]
    session.receive(1, control.opened(7, "public", streams))
    return session


def test_a_book_epoch_opens_with_its_units_and_every_row_has_the_lines_time() -> None:
    session = Session(FUTURES, ["BTCUSDT"], [instrument()])
    assert session.receive(1000, control.start("binance_usdm", ["BTCUSDT"], 400)) == []
    opening = session.receive(1001, control.opened(7, "public", [DEPTH]))
    assert kinds(opening) == [Kind.STATUS, Kind.RESYNC]
    assert opening[0].messages[0]["status"] == Status.CONNECTED
    assert session.take_requests() == []
    assert session.receive(1002, diff(10, 20)) == []
    (request,) = [r for r in session.take_requests() if r.what == "depth"]
    assert (request.symbol, request.epoch, request.after) == ("BTCUSDT", 1, 0)
    assert request.path == "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    epoch = session.receive(1003, depth_body(15, 1))
    assert kinds(epoch) == [Kind.INSTRUMENT, Kind.SNAPSHOT, Kind.DELTA]
    for batch in [*opening[1:], *epoch]:
        row = batch.messages[0]
        assert (row["epoch"], row["connection"]) == (1, 7)
        assert row["monotonic"] == row["received"] - 600
    assert {int(b.messages[0]["received"]) for b in epoch} == {1003}
    assert epoch[0].instruments[0] == instrument().row()[0]
    (update,) = session.receive(1004, diff(20, 30))
    assert (update.instrument, update.asset) == ("binance_usdm:BTCUSDT", "BTC")
    session.receive(1005, control.clock(2000))
    assert session.receive(1006, diff(30, 40))[0].messages[0]["monotonic"] == 2001


def test_a_gap_names_the_ids_and_asks_for_a_snapshot_at_once() -> None:
    session = opened("BTCUSDT", "ETHUSDT")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        session.receive(2, diff(10, 20, symbol))
        session.receive(3, depth_body(15, 1, symbol))
    session.take_requests()
    gap, resync = session.receive(20 * SECOND, diff(25, 30))
    row = gap.messages[0]
    assert (row["kind"], row["previous"], row["first"], row["last"], row["epoch"]) == (Kind.GAP, 20, 26, 30, 1)
    assert (resync.messages[0]["kind"], resync.messages[0]["epoch"]) == (Kind.RESYNC, 2)
    assert session.synced == {"BTCUSDT": False, "ETHUSDT": True}
    assert [(r.symbol, r.epoch, r.after) for r in session.take_requests() if r.what == "depth"] == [("BTCUSDT", 2, 0)]
    assert kinds(session.receive(21 * SECOND, diff(20, 30, "ETHUSDT"))) == [Kind.DELTA]
    assert session.receive(22 * SECOND, depth_body(27, 1)) == []
    assert session.counts["discarded_snapshots"] == 1
    assert kinds(session.receive(23 * SECOND, depth_body(27, 2))) == [Kind.INSTRUMENT, Kind.SNAPSHOT, Kind.DELTA]


def test_a_failed_snapshot_is_asked_for_again_after_growing_waits() -> None:
    session = opened()
    session.receive(SECOND, diff(10, 20))
    waits = []
    now = SECOND
    (request,) = [r for r in session.take_requests() if r.what == "depth"]
    for status in (0, 500, 503, 429, 418, 500):
        now = max(now, request.after) + SECOND
        assert session.receive(now, control.body("depth", "BTCUSDT", 1, status, b"{}" if status else None)) == []
        (request,) = [r for r in session.take_requests() if r.what == "depth"]
        waits.append((request.after - now) / SECOND)
    assert waits == [0.2, 0.4, 0.8, 10, 120, 5.0]
    assert session.counts["failed_snapshots"] == 6
    assert Kind.SNAPSHOT in kinds(session.receive(now + 200 * SECOND, depth_body(15, 1)))


def test_a_spoilt_snapshot_is_refused_and_asked_for_again_once_that_is_told() -> None:
    session = opened()
    session.receive(2, diff(10, 20))
    session.take_requests()
    with pytest.raises(BadFrame, match="bad_type"):
        session.receive(3, control.body("depth", "BTCUSDT", 1, 200, b'{"lastUpdateId":5}'))
    assert session.counts["refused:bad_type"] == 1
    assert session.take_requests() == []
    assert session.receive(4, control.body("depth", "BTCUSDT", 1, 200, None)) == []
    assert [(r.what, r.epoch, r.after) for r in session.take_requests()] == [("depth", 1, 4 + SECOND // 5)]


def test_a_lost_connection_is_said_and_its_books_start_over() -> None:
    session = opened("BTCUSDT", "ETHUSDT")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        session.receive(2, diff(10, 20, symbol))
        session.receive(3, depth_body(15, 1, symbol))
    session.receive(4, control.opened(8, "public", ["ethusdt@depth@0ms"]))
    batches = session.receive(5, control.closed(7, 1006, "gone"))
    assert [
        (b.instrument[-7:], Kind(b.messages[0]["kind"])) for b in batches if b.messages[0]["kind"] == Kind.RESYNC
    ] == [("BTCUSDT", Kind.RESYNC)]
    assert session.synced == {"BTCUSDT": False, "ETHUSDT": True}
    assert {int(b.messages[0]["status"]) for b in batches if b.messages[0]["kind"] == Kind.STATUS} == {
        Status.DISCONNECTED
    }
    assert kinds(session.receive(6, control.opened(9, "public", [DEPTH]))) == [Kind.STATUS]
    assert session.receive(7, diff(40, 50)) == []
    assert kinds(session.receive(8, depth_body(45, 2)))[-1] == Kind.DELTA


def test_streams_that_were_handed_over_survive_the_old_connections_end() -> None:
    session = opened()
    session.receive(2, diff(10, 20))
    session.receive(3, depth_body(15, 1))
    names = [s.name for s in FUTURES.streams(["BTCUSDT"]) if s.socket == "public"]
    assert session.receive(4, control.switched(8, names)) == []
    assert session.receive(5, control.closed(7, 1000, "old")) == []
    (update,) = session.receive(6, diff(18, 30))
    assert (update.messages[0]["kind"], update.messages[0]["connection"]) == (Kind.DELTA, 8)


def test_the_same_opening_again_changes_nothing() -> None:
    session = opened()
    names = [s.name for s in FUTURES.streams(["BTCUSDT"]) if s.socket == "public"]
    assert session.receive(2, control.opened(7, "public", names)) == []


def test_a_connection_may_take_over_with_a_hole() -> None:
    session = opened()
    session.receive(2, diff(10, 20))
    session.receive(3, depth_body(15, 1))
    session.receive(4, control.opened(8, "public", []))
    assert Kind.RESYNC in kinds(session.receive(5, control.closed(7, 1006, "")))
    assert kinds(session.receive(6, control.opened(8, "public", [DEPTH]))) == [Kind.STATUS]
    assert session.receive(7, diff(40, 50)) == []
    epoch = session.receive(8, depth_body(45, 2))
    assert {int(b.messages[0]["connection"]) for b in epoch} == {8}
    assert [s.name for s in session.silent(60 * SECOND)] == []
    assert session.overdue(60 * SECOND) != []


def test_maintenance_names_the_connection_that_will_end() -> None:
    session = opened()
    (batch,) = session.receive(2, b'{"e":"serverShutdown","E":5}')
    row = batch.messages[0]
    assert (row["kind"], row["status"], row["connection"]) == (Kind.STATUS, Status.MAINTENANCE, 7)


def test_a_later_part_of_a_tape_stands_alone() -> None:
    header = control.start("binance_usdm", ["BTCUSDT"], 500, [instrument()])
    session = open_session([(1, header)], None)
    session.receive(1, header)
    assert session.instruments == {"BTCUSDT": instrument()}
    assert kinds(session.receive(2, diff(10, 20))) == [Kind.RESYNC]
    changed = header.replace(b'"tick":10', b'"tick":1')
    assert changed != header
    assert session.receive(3, changed) == []
    assert session.instruments == {"BTCUSDT": instrument()}
    with pytest.raises(BadRecord):
        open_session([(1, header)], None).receive(1, header.replace(b'"contract":2', b'"contract":9'))


def test_a_later_part_of_a_tape_finds_its_book_with_the_next_snapshot() -> None:
    session = Session(FUTURES, ["BTCUSDT"], [instrument()])
    session.receive(1, control.start("binance_usdm", ["BTCUSDT"], 1))
    assert kinds(session.receive(2, diff(10, 20))) == [Kind.RESYNC]
    epoch = session.receive(3, depth_body(15, 9))
    assert [int(b.messages[0]["epoch"]) for b in epoch] == [9, 9, 9]
    assert Kind.RESYNC in kinds(session.receive(4, control.closed(3, 1006, "")))


def test_silence_is_said_once_and_ends_with_the_next_frame() -> None:
    session = opened()
    session.receive(2, diff(10, 20))
    assert session.overdue(5 * SECOND) == []
    due = session.overdue(6 * SECOND)
    assert due == [b'{"airpocket":"stale","symbol":"BTCUSDT","channel":1}']
    assert session.overdue(6 * SECOND) == due
    (row,) = session.receive(6 * SECOND, due[0])
    assert (row.messages[0]["kind"], row.messages[0]["status"]) == (Kind.STALE, Channel.DEPTH)
    assert session.overdue(7 * SECOND) == []
    assert session.receive(7 * SECOND, due[0]) == []
    session.receive(8 * SECOND, diff(20, 30))
    assert session.overdue(9 * SECOND) == []
    assert due[0] in session.overdue(14 * SECOND)


def test_a_stream_that_never_speaks_is_named_though_it_was_acknowledged() -> None:
    session = opened()
    assert session.receive(2, b'{"result":null,"id":1}') == []
    session.receive(3, diff(10, 20))
    assert session.silent(10 * SECOND) == []
    assert [s.name for s in session.silent(11 * SECOND)] == ["btcusdt@bookTicker"]
    session.receive(12 * SECOND, control.closed(7, 1000, ""))
    assert session.silent(30 * SECOND) == []
    assert session.overdue(30 * SECOND) == []


def test_trades_that_come_again_are_dropped_and_counted() -> None:
    session = opened()
    for number in (5, 6):
        assert kinds(session.receive(number, trade(number))) == [Kind.TRADE]
    session.receive(7, control.closed(7, 1006, ""))
    session.receive(8, control.opened(8, "public", ["btcusdt@trade"]))
    assert [len(session.receive(10 + number, trade(number))) for number in (5, 6, 7, 7, 8)] == [0, 0, 1, 0, 1]
    assert session.counts["repeated_trades"] == 3


def test_open_interest_is_asked_for_every_ten_seconds_of_row_time() -> None:
    session = opened()
    asked = []
    for at in range(1, 30):
        session.receive(at * SECOND, diff(at, at + 1))
        asked += [at for r in session.take_requests() if r.what == "open_interest"]
    assert asked == [1, 11, 21]
    body = b'{"openInterest":"10659.509","symbol":"BTCUSDT","time":1589437530011}'
    (batch,) = session.receive(30 * SECOND, control.body("open_interest", "BTCUSDT", 0, 200, body))
    assert batch.references["value"].tolist() == [10_659_509]
    assert session.receive(31 * SECOND, control.body("open_interest", "BTCUSDT", 0, 0, None)) == []
    assert session.counts["failed_open_interest"] == 1


def test_frames_before_the_instruments_are_held_and_not_lost() -> None:
    session = Session(FUTURES, ["BTCUSDT"])
    (request,) = session.take_requests()
    assert (request.what, request.path) == ("instruments", "/fapi/v1/exchangeInfo")
    session.receive(1, control.start("binance_usdm", ["BTCUSDT"], 1))
    assert session.receive(2, control.opened(1, "public", [DEPTH])) == []
    assert session.receive(3, diff(10, 20)) == []
    assert session.receive(4, trade(1)) == []
    assert session.receive(5, b"\xff") == []
    assert session.receive(6, control.body("instruments", "", 0, 503, b"busy")) == []
    (request,) = session.take_requests()
    assert request.after == 6 + SECOND // 5
    body = control.body("instruments", "", 0, 200, FUTURES.emulation.instruments([instrument()]))
    batches = session.receive(7, body)
    assert kinds(batches) == [Kind.STATUS, Kind.RESYNC, Kind.TRADE]
    assert [int(b.messages[0]["received"]) for b in batches] == [2, 2, 4]
    assert session.instruments == {"BTCUSDT": instrument()}
    assert session.counts["refused:not_json"] == 1
    assert Kind.SNAPSHOT in kinds(session.receive(8, depth_body(15, 1)))
    assert session.receive(9, body) == []
    finer = control.body("instruments", "", 0, 200, FUTURES.emulation.instruments([instrument("BTCUSDT")])).replace(
        b'"tickSize":"0.10"', b'"tickSize":"0.01"'
    )
    assert kinds(session.receive(10, finer)) == [Kind.RESYNC]


def test_a_frame_that_is_refused_changes_nothing_but_the_counts() -> None:
    session = opened()
    session.receive(2, diff(10, 20))
    session.receive(3, depth_body(15, 1))
    with pytest.raises(BadFrame, match="negative"):
        session.receive(4, diff(20, 30).replace(b'"1.000"', b'"-1.000"'))
    assert session.counts["refused:negative"] == 1
    assert session.synced == {"BTCUSDT": True}
    # What it said is lost, and the next diff shows it.
    assert kinds(session.receive(5, diff(30, 40))) == [Kind.GAP, Kind.RESYNC]


@pytest.mark.parametrize(
    "line",
    [
        b'{"airpocket":"launch"}',
        b'{"airpocket":',
        b'{"airpocket":"start","venue":"binance_usdm","symbols":[],"monotonic":1,"version":2}',
        b'{"airpocket":"start","venue":"binance_spot","symbols":[],"monotonic":1,"version":1}',
        b'{"airpocket":"clock"}',
        b'{"airpocket":"body","what":"depth","symbol":"XRPUSDT","epoch":1,"status":200,"body":{}}',
    ],
)
def test_a_control_line_that_is_none_is_a_bad_record(line: bytes) -> None:
    with pytest.raises(BadRecord):
        opened().receive(2, line)


def test_a_tape_must_say_whose_it_is() -> None:
    start = (1, control.start("binance_usdm", ["BTCUSDT"], 1))
    assert open_session([start], None).synced == {"BTCUSDT": False}
    with pytest.raises(BadConfig, match="binance_spot"):
        open_session([start], "binance_spot")
    with pytest.raises(BadConfig, match="must be named"):
        open_session([(1, diff(1, 2))], None)
    with pytest.raises(BadConfig, match="unknown venue"):
        open_session([(1, diff(1, 2))], "binance_usd")
    with pytest.raises(BadConfig, match="pu"):
        open_session([(1, diff(1, 2))], "binance_spot")
    with pytest.raises(BadConfig, match="no depth frame"):
        open_session([(1, b"{}")], "binance_usdm")
    with pytest.raises(BadConfig, match="all parts"):
        open_session([(1, control.clock(1))], None)


def test_a_foreign_tape_of_two_symbols_cannot_say_whose_a_bare_body_is() -> None:
    lines = [(1, diff(10, 20)), (2, diff(10, 20, "ETHUSDT"))]
    session = open_session(lines, "binance_usdm")
    assert sorted(session.synced) == ["BTCUSDT", "ETHUSDT"]
    with pytest.raises(BadFrame, match="structure"):
        session.receive(3, snapshot(15))


def test_a_foreign_tapes_body_counts_for_the_present_epoch() -> None:
    session = open_session([(1, diff(10, 20)), (2, snapshot(15))], "binance_usdm")
    assert kinds(session.receive(1, diff(10, 20))) == [Kind.RESYNC]
    assert kinds(session.receive(2, snapshot(15))) == [Kind.INSTRUMENT, Kind.SNAPSHOT, Kind.DELTA]
    first = open_session([(1, diff(10, 20)), (2, snapshot(15))], "binance_usdm")
    assert kinds(first.receive(1, snapshot(15))) == [Kind.RESYNC]
    assert kinds(first.receive(2, diff(10, 20))) == [Kind.INSTRUMENT, Kind.SNAPSHOT, Kind.DELTA]


def test_the_same_lines_give_the_same_rows() -> None:
    lines: list[Any] = [
        (1000, control.start("binance_usdm", ["BTCUSDT"], 400)),
        (1001, control.opened(7, "public", [DEPTH])),
        (1002, diff(10, 20)),
        (1003, control.body("instruments", "", 0, 200, FUTURES.emulation.instruments([instrument()]))),
        (1004, depth_body(15, 1)),
        (1005, diff(20, 30)),
        (1006, diff(31, 40)),
        (1007, depth_body(35, 2)),
        (1008, trade(9)),
    ]
    runs = []
    for _ in range(2):
        session = open_session(lines, None)
        batches = [b for line in lines for b in session.receive(*line)]
        runs.append([(b.messages.tobytes(), b.levels.tobytes(), b.trades.tobytes()) for b in batches])
    assert runs[0] == runs[1]
    assert len(runs[0]) == 12
