"""The report card: recorded streams get the marks that are known of them, every damage is told by time and kind."""

import gzip
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import orjson
import pytest

from airpocket.report import Event, Report, lines
from airpocket.verify import verify
from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.schema import Contract, Record
from ingest.tape import read
from ingest.venues import load
from sinks.tape import TapeConfig, TapeSink

pytestmark = pytest.mark.tape

Line = tuple[int, bytes]
#: Whole tapes are verified once.
whole = cache(lambda venue, *paths: verify(paths, venue))
USDM = "usdm_btcusdt_20240808.gz"


@pytest.fixture(scope="module")
def begin(binance_tapes: Path) -> list[Line]:
    """The first minute or so of a real tape."""
    tape = read([binance_tapes / USDM])
    return [next(tape) for _ in range(12_000)]


def packed(folder: Path, tape: Sequence[Line]) -> Path:
    path = folder / "copy.gz"
    path.write_bytes(gzip.compress(b"".join(b"%d %b\n" % line for line in tape), 1))
    return path


def checked(folder: Path, tape: Sequence[Line]) -> Report:
    return verify([packed(folder, tape)], "binance_usdm")


def diffs(tape: Sequence[Line], after: int = 4_000) -> list[int]:
    """Find the places of depth frames, well after the book was whole."""
    return [n for n, (_, raw) in enumerate(tape) if n > after and b'"depthUpdate"' in raw]


def told(report: Report, kind: str) -> list[Event]:
    return [event for event in report.events if event.kind == kind]


@pytest.mark.parametrize(
    ("venue", "names", "compared", "agreed"),
    [
        ("binance_usdm", ["usdm_btcusdt_20240808.gz"], 6547, 6547),
        ("binance_usdm", ["usdm_ethusdt_20240808.gz"], 6580, 6580),
        ("binance_spot", ["spot_btcusdt_20240808.gz", "spot_btcusdt_20240809.gz"], 6493, 6491),
        ("binance_spot", ["spot_ethusdt_20240808.gz", "spot_ethusdt_20240809.gz"], 6468, 6468),
    ],
)
def test_the_recorded_streams_agree_with_the_exchange_as_far_as_is_known(
    binance_tapes: Path, venue: str, names: list[str], compared: int, agreed: int
) -> None:
    report: Report = whole(venue, *(binance_tapes / name for name in names))
    (one,) = report.instruments
    assert one.instrument == f"{venue}:{names[0].split('_')[1].upper()}"
    assert (one.touches_compared, one.touches_agreed) == (compared, agreed)
    assert (one.gaps, one.resyncs, one.disconnects, one.synced) == (0, 1, 0, True)
    assert (one.checksums_agreed, one.checksums_failed) == (0, 0)
    assert one.crossed_seconds == one.stale_seconds == 0
    assert one.clock_offset is not None
    assert -1280 < one.clock_offset < -1265
    assert one.lateness is not None
    assert 0 < one.lateness.p50 < one.lateness.p99 <= one.lateness.p999 <= one.lateness.most + 0.1 < 100
    assert (report.backwards, report.repeated, report.refused, report.corrupt) == (0, 0, {}, "")
    assert [tape.torn for tape in report.tapes] == [""] * len(names)
    assert report.clean is (compared == agreed)
    assert report.status == (0 if compared == agreed else 5)
    assert len(told(report, "disagreement")) == compared - agreed


def test_two_honest_disagreements_make_a_tape_unclean_and_are_shown(binance_tapes: Path) -> None:
    report: Report = whole("binance_spot", *(binance_tapes / f"spot_btcusdt_2024080{day}.gz" for day in (8, 9)))
    text = lines(report)
    assert "best bid and ask agreed" in text
    assert "6491 of 6493" in text
    assert "! binance_spot:BTCUSDT: 2 disagreements with the exchange's best bid and ask" in text
    assert "clean" not in text
    first = told(report, "disagreement")[0]
    assert first.time == 1723161664831087974
    assert first.detail == (
        "after id 50093478174 the book has 0.00009000 at 61564.91000000 / 0.00883000 at 61565.17000000, "
        "the exchange said 0.00076000 at 61565.10000000 / 0.00883000 at 61565.17000000"
    )


def test_the_report_is_json(begin: list[Line], tmp_path: Path) -> None:
    report = checked(tmp_path, begin)
    read_back = orjson.loads(report.json())
    assert read_back["clean"] is True
    assert read_back["status"] == 0
    assert read_back["lines"] == len(begin)
    assert read_back["first"] == begin[0][0]
    assert read_back["last"] == begin[-1][0]
    assert read_back["size"] == sum(len(raw) + 21 for _, raw in begin)
    assert read_back["instruments"][0]["messages"]["SNAPSHOT"] == 1
    assert read_back["instruments"][0]["lateness"]["p50"] > 0
    assert "clean: nothing is wrong" in lines(report)


def test_a_frame_that_is_missing_is_a_gap_at_the_next_one(begin: list[Line], tmp_path: Path) -> None:
    at, after = diffs(begin)[10:12]
    report = checked(tmp_path, begin[:at] + begin[at + 1 :])
    lost, met = (orjson.loads(begin[n][1])["data"] for n in (at, after))
    (gap,) = told(report, "gap")
    assert gap.time == begin[after][0]
    assert gap.instrument == "binance_usdm:BTCUSDT"
    assert gap.detail == f"the last good id is {lost['pu']}, the next met is {met['U']} to {met['u']}"
    (unsynced,) = told(report, "unsynced")
    assert unsynced.time == begin[after][0]
    (one,) = report.instruments
    assert (one.gaps, one.resyncs, one.synced, report.status) == (1, 2, False, 5)
    assert one.unknown_seconds > 1


def test_a_frame_with_a_broken_byte_is_refused_and_its_loss_is_a_gap(begin: list[Line], tmp_path: Path) -> None:
    at, after = diffs(begin)[20:22]
    received, raw = begin[at]
    report = checked(tmp_path, [*begin[:at], (received, raw.replace(b'"b":[[', b'"b":[(')), *begin[at + 1 :]])
    (refused,) = told(report, "refused")
    assert refused.time == received
    assert sum(report.refused.values()) == 1
    assert next(iter(report.refused)) in refused.detail
    assert [gap.time for gap in told(report, "gap")] == [begin[after][0]]
    assert report.status == 5


def test_a_digit_that_flipped_at_the_best_price_is_a_disagreement(begin: list[Line], tmp_path: Path) -> None:
    chance = random.Random(2)
    seen = 0
    for at in chance.sample(diffs(begin), 6):
        received, raw = begin[at]
        levels = orjson.loads(raw)["data"]["b"]
        price, size = max(levels, key=lambda level: (float(level[1]) > 0, float(level[0])))
        wrong = raw.replace(
            b'["%b","%b"]' % (price.encode(), size.encode()), b'["%b","9%b"]' % (price.encode(), size.encode())
        )
        assert wrong != raw
        report = checked(tmp_path, [*begin[:at], (received, wrong), *begin[at + 1 : at + 2_000]])
        disagreements = told(report, "disagreement")
        seen += bool(disagreements)
        assert all(event.time >= received for event in disagreements)
        assert report.status == (5 if disagreements else 0)
    assert seen >= 3


def test_a_torn_tape_says_where_it_ends(begin: list[Line], tmp_path: Path) -> None:
    path = packed(tmp_path, begin)
    path.write_bytes(path.read_bytes()[:-20_000])
    report = verify([path], "binance_usdm")
    (torn,) = told(report, "torn")
    assert str(path) in torn.detail
    assert torn.time == report.last < begin[-1][0]
    assert report.tapes[0].torn == "ends inside the block at byte 0"
    assert report.problems == [f"{path} ends inside the block at byte 0"]
    assert report.status == 5


def test_a_flipped_bit_in_the_file_says_where_reading_stopped(begin: list[Line], tmp_path: Path) -> None:
    blocks = [gzip.compress(b"".join(b"%d %b\n" % line for line in begin[n : n + 1000])) for n in range(0, 8000, 1000)]
    damaged = bytearray(blocks[6])
    damaged[len(damaged) // 2] ^= 16
    path = tmp_path / "copy.gz"
    path.write_bytes(b"".join(blocks[:6]) + damaged + blocks[7])
    report = verify([path], "binance_usdm")
    (corrupt,) = told(report, "corrupt")
    assert corrupt.time == begin[5999][0]
    assert f"{path}: the block at byte {sum(map(len, blocks[:6]))} is corrupt" in corrupt.detail
    assert report.lines == 6000
    assert report.problems == [report.corrupt]
    assert report.status == 5


def test_repeated_lines_are_told(begin: list[Line], tmp_path: Path) -> None:
    places = [diffs(begin)[5], 9_000, 9_001]
    tape = [line for n, line in enumerate(begin) for _ in range(2 if n in places else 1)]
    report = checked(tmp_path, tape)
    assert [event.time for event in told(report, "repeated")] == [begin[n][0] for n in places]
    assert report.repeated == 3
    assert report.counts["old_diffs"] >= 1
    assert report.instruments[0].gaps == 0
    assert report.problems == ["3 lines repeated"]


def test_swapped_lines_are_told_by_the_time_that_goes_backwards(begin: list[Line], tmp_path: Path) -> None:
    at = diffs(begin)[30]
    other = at + 1
    tape = [*begin[:at], begin[other], begin[at], *begin[other + 1 :]]
    report = checked(tmp_path, tape)
    (backwards,) = told(report, "backwards")
    assert backwards.time == begin[at][0]
    assert report.backwards == 1
    first, second = diffs(begin)[40:42]
    report = checked(
        tmp_path, [*begin[:first], begin[second], *begin[first + 1 : second], begin[first], *begin[second + 1 :]]
    )
    assert report.backwards >= 1
    assert [gap.time for gap in told(report, "gap")][:1] == [begin[second][0]]


def test_a_tape_without_a_snapshot_never_has_a_book(begin: list[Line], tmp_path: Path) -> None:
    report = checked(tmp_path, [line for line in begin if b"lastUpdateId" not in line[1]])
    (one,) = report.instruments
    assert one.synced is False
    assert one.touches_compared == 0
    assert report.problems == ["binance_usdm:BTCUSDT: book not known at the end"]


def test_a_book_that_stays_crossed_is_told(begin: list[Line], tmp_path: Path) -> None:
    at = diffs(begin)[50]
    received, raw = begin[at]
    frame = orjson.loads(raw)
    frame["data"]["b"].append(["63000.00", "1.000"])
    report = checked(tmp_path, [*begin[:at], (received, orjson.dumps(frame)), *begin[at + 1 :]])
    (one,) = report.instruments
    assert one.crossed_seconds == pytest.approx((begin[-1][0] - received) / 1e9, abs=0.2)
    assert [event.time for event in told(report, "crossed")] == [received]
    assert any("crossed for" in problem for problem in report.problems)


def test_a_foreign_tape_needs_its_venue(begin: list[Line], tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="binance_usdm"):
        verify([packed(tmp_path, begin)])


@pytest.fixture(scope="module")
def own(begin: list[Line]) -> Callable[[Path], list[Path]]:
    """Record real frames as our feed does, with its control lines, to several parts."""
    venue = load("binance_usdm")
    instrument = Instrument(
        venue="binance_usdm",
        symbol="BTCUSDT",
        asset="BTC",
        quote="USDT",
        contract=Contract.LINEAR,
        price_decimals=2,
        size_decimals=3,
        tick=10,
        lot=1,
    )
    streams = orjson.dumps([stream.name for stream in venue.streams(["BTCUSDT"]) if stream.socket == "public"])
    information = venue.emulation.instruments([instrument])

    def start(stamp: int) -> bytes:
        return b'{"airpocket":"start","venue":"binance_usdm","symbols":["BTCUSDT"],"monotonic":%d,"version":1}' % (
            stamp + 5
        )

    def record(folder: Path) -> list[Path]:
        first = begin[0][0]
        said = [
            (first - 900, b'{"airpocket":"open","connection":1,"socket":"public","streams":%b}' % streams),
            (
                first - 800,
                b'{"airpocket":"body","what":"instruments","symbol":"","epoch":0,"status":200,"body":%b}' % information,
            ),
        ]
        for received, raw in begin:
            if b"lastUpdateId" in raw:
                raw = b'{"airpocket":"body","what":"depth","symbol":"BTCUSDT","epoch":1,"status":200,"body":%b}' % raw
            said.append((received, raw))
        sink = TapeSink(TapeConfig(folder=folder, prefix="binance_usdm", part_bytes=1_000_000), start)
        sink.write([Record(topic="raw.v1", key="binance_usdm", asset="", time=at, value=raw) for at, raw in said])
        sink.close()
        return sink.paths

    return record


def test_our_own_recording_of_several_parts_needs_no_venue(own: Callable[[Path], list[Path]], tmp_path: Path) -> None:
    paths = own(tmp_path)
    assert len(paths) > 2
    report = verify([tmp_path])
    assert report.problems == []
    (one,) = report.instruments
    assert one.touches_agreed == one.touches_compared > 500
    assert [tape.path for tape in report.tapes] == [str(path) for path in paths]


def test_a_restart_is_another_recording_of_the_same_instrument(
    own: Callable[[Path], list[Path]], tmp_path: Path
) -> None:
    own(tmp_path / "one")
    report = verify([tmp_path / "one"])
    later = [
        Record(topic="raw.v1", key="v", asset="", time=at + 60 * 10**9, value=raw)
        for at, raw in read([tmp_path / "one"])
    ]
    later = [r for n, r in enumerate(later) if n == 0 or not r.value.startswith(b'{"airpocket":"start"')]
    sink = TapeSink(TapeConfig(folder=tmp_path / "one", prefix="binance_usdm"))
    sink.write(later)
    sink.close()
    both = verify([tmp_path / "one"])
    assert both.problems == []
    assert both.instruments[0].touches_compared == 2 * report.instruments[0].touches_compared
    assert both.instruments[0].resyncs == 2 * report.instruments[0].resyncs
    assert both.lines > 1.9 * report.lines


def test_a_lost_connection_and_a_silent_stream_are_told(own: Callable[[Path], list[Path]], tmp_path: Path) -> None:
    own(tmp_path)
    told_lines = list(read([tmp_path]))
    end = told_lines[-1][0]
    extra = [
        (end + 5 * 10**9, b'{"airpocket":"stale","symbol":"BTCUSDT","channel":1}'),
        (end + 6 * 10**9, b'{"airpocket":"close","connection":1,"code":1006,"reason":""}'),
    ]
    path = packed(tmp_path, told_lines + extra)
    report = verify([path])
    (one,) = report.instruments
    assert [event.time for event in told(report, "stale")] == [extra[0][0]]
    assert [event.time for event in told(report, "disconnected")] == [extra[1][0]]
    assert one.stale_seconds == pytest.approx(1.0)
    assert one.disconnects == 1
    assert one.synced is False
