"""The scanners against the slow path: they may refuse, they may never disagree."""

import json
import random
from collections import Counter
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadFrame
from engine.schema import LEVEL, Channel, Kind
from ingest.scan import depth_plan, scan_depth
from ingest.scanner import Scanner
from ingest.tokens import FULL, LOST_DIGIT, MISSING, STRUCTURE
from ingest.venues import load
from ingest.venues._binance import BinanceDecoder
from tests.ladder import read_lines
from tests.scanned import INTERPRETED, TAPES, check_agreement, frame, instrument, scan


@pytest.mark.tape
@pytest.mark.parametrize("name", TAPES)
def test_the_scanners_read_every_recorded_frame_as_the_slow_path_does(binance_tapes: Path, name: str) -> None:
    lines = read_lines(binance_tapes / f"{name}.gz")
    venue = load(f"binance_{name[:4]}")
    (known,) = venue.infer_instruments([raw for _, raw in lines[:200]])
    decoder = BinanceDecoder({known.symbol: known}, futures=name.startswith("usdm"))
    met: Counter[str] = Counter()
    levels = 0
    frames = [raw for _, raw in lines if raw.startswith(b'{"stream"')]
    for raw in frames[:2000] if INTERPRETED else frames:
        (fast,), (careful,) = decoder.decode(raw), decoder.decode_slowly(raw)
        assert fast.message.tobytes() == careful.message.tobytes()
        assert fast.rows.tobytes() == careful.rows.tobytes()
        assert (fast.symbol, fast.channel, fast.rows.dtype) == (careful.symbol, careful.channel, careful.rows.dtype)
        met[raw[11:40].partition(b"@")[2].partition(b'"')[0].decode()] += 1
        levels += len(fast.rows)
    print(f"{name}: {dict(met)}, {levels} rows, {dict(decoder.counts)} refused")
    assert not decoder.counts
    assert len(met) == 3
    assert INTERPRETED or sum(count for stream, count in met.items() if "depth" in stream) == TAPES[name]


def test_a_frame_becomes_rows() -> None:
    message, levels = scan(orjson.dumps({"stream": "btcusdt@depth@0ms", "data": frame()}))
    row = message[0]
    assert (row["kind"], row["first"], row["last"], row["previous"]) == (Kind.DELTA, 5, 9, 4)
    assert (row["exchanged"], row["published"]) == (1_723_161_256_298_000_000, 1_723_161_256_299_000_000)
    assert (row["count"], row["bids"]) == (3, 2)
    assert levels.tolist() == [(6_180_020, 1500), (6_180_010, 0), (6_180_030, 2000)]


def test_asks_before_bids_come_out_bids_first() -> None:
    content = frame()
    raw = orjson.dumps({"a": content.pop("a"), **content})
    assert scan(raw)[1].tolist() == [(6_180_020, 1500), (6_180_010, 0), (6_180_030, 2000)]
    assert check_agreement(b'{"stream":"btcusdt@depth@0ms","data":' + raw + b"}")


def test_microsecond_stamps_are_known_by_their_size() -> None:
    raw = orjson.dumps(frame(E=1_723_161_256_299_123, T=1_723_161_256_298_001))
    assert scan(raw)[0]["published"][0] == 1_723_161_256_299_123_000
    assert check_agreement(b'{"stream":"btcusdt@depth@0ms","data":' + raw + b"}")


@pytest.mark.parametrize(
    ("raw", "refusal"),
    [
        (b"", STRUCTURE),
        (b"}", STRUCTURE),
        (b"{}", STRUCTURE),
        (b"   ", STRUCTURE),
        (orjson.dumps(frame())[:-1], STRUCTURE),
        (orjson.dumps(frame()) + b"}", STRUCTURE),
        (orjson.dumps(frame(s="ETHUSDT")), STRUCTURE),
        (orjson.dumps(frame(e="depthupdate")), STRUCTURE),
        (orjson.dumps(frame(U=10)), STRUCTURE),
        (orjson.dumps(frame(u=2**63)), STRUCTURE),
        (orjson.dumps(frame(u=1.5)), STRUCTURE),
        (orjson.dumps(frame(u=-1)), STRUCTURE),
        (orjson.dumps(frame(E=10**14)), STRUCTURE),
        (orjson.dumps(frame(pu=None)), MISSING),
        (orjson.dumps(frame(b=None)), MISSING),
        (orjson.dumps(frame(b=[["1.005", "1"]])), LOST_DIGIT),
        (orjson.dumps(frame(b=[["1.00", "1.0001"]])), LOST_DIGIT),
        (orjson.dumps(frame(b=[["0.00", "1"]])), STRUCTURE),
        (orjson.dumps(frame(b=[["-1.00", "1"]])), STRUCTURE),
        (orjson.dumps(frame(b=[["1.00", "-1"]])), STRUCTURE),
        (orjson.dumps(frame(b=[["NaN", "1"]])), STRUCTURE),
        (orjson.dumps(frame(b=[["1e400", "1"]])), STRUCTURE),
        (orjson.dumps(frame(b=[["1" * 17, "1"]])), STRUCTURE),
        (orjson.dumps(frame(b=[[1.5, "1"]])), STRUCTURE),
        (orjson.dumps(frame(b=[["1.00"]])), STRUCTURE),
        (orjson.dumps(frame(b=[["1.00", "1", "1"]])), STRUCTURE),
        (orjson.dumps(frame(b=[["1.00", "1"]] * 20_000)), FULL),
        (orjson.dumps(frame()).replace(b'"U":5', b'"U":5,"U":5'), STRUCTURE),
        (orjson.dumps(frame()).replace(b'"U":5', b'"U":05'), STRUCTURE),
        (orjson.dumps(frame(x={"nested": 1})), STRUCTURE),
        (orjson.dumps(frame(x="\u00e9")), STRUCTURE),
        (orjson.dumps(frame(x='"')), STRUCTURE),
        (orjson.dumps(frame()).replace(b'"U":5', b'"x":\xff,"U":5'), STRUCTURE),
    ],
)
def test_what_is_not_plain_is_refused(raw: bytes, refusal: int) -> None:
    assert scan(raw) == refusal


def test_unknown_plain_keys_are_passed_over() -> None:
    raw = orjson.dumps(frame(st=1, ps="BTCUSDT", x=True, y=False, z=None)).replace(b'"U":5', b'"n":null,"U":5')
    assert check_agreement(b'{"stream":"btcusdt@depth@0ms","data":' + raw + b"}")


def test_the_kernel_has_one_signature() -> None:
    assert isinstance(scan(orjson.dumps(frame())), tuple)
    assert isinstance(scan(orjson.dumps(frame()), futures=False), tuple)
    if not INTERPRETED:
        assert len(scan_depth.signatures) == 1  # type: ignore[attr-defined]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
numbers = st.integers(0, 10**15) | st.just(2**64) | st.floats(allow_nan=False) | st.booleans() | st.none()
decimals = st.from_regex(r"-?[0-9]{1,9}(\.[0-9]{1,5})?", fullmatch=True) | words
sides = st.lists(st.lists(decimals, min_size=2, max_size=2) | st.lists(decimals, max_size=3), max_size=4)
plain = st.lists(
    st.tuples(st.from_regex(r"[1-9][0-9]{0,6}(\.[0-9]{1,2})?", fullmatch=True), st.just("1.5")), max_size=4
)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """Draw a depth frame's text: shuffled keys, blanks anywhere, fields that are odd now and then."""
    content = frame(b=draw(plain), a=draw(plain))
    if draw(st.booleans()):
        key = draw(st.sampled_from(sorted(content)))
        content[key] = draw(numbers if key in ("E", "T", "U", "u", "pu") else sides | numbers)
    if draw(st.booleans()):
        content[draw(st.sampled_from(["st", "ps", "x", "é", "uu"]))] = draw(numbers | words | sides)
    keys = draw(st.permutations(sorted(content)))
    blank = st.sampled_from(["", "", "", " ", "\n", "\t \r"])
    items = (
        draw(blank)
        + orjson.dumps(k).decode()
        + draw(blank)
        + ":"
        + draw(blank)
        + json.dumps(content[k], ensure_ascii=False)
        for k in keys
    )
    inner = "{" + ",".join(item + draw(blank) for item in items) + "}" + draw(blank)
    if draw(st.integers(0, 3)):
        inner = (
            '{"stream":"btcusdt@depth@0ms"' + draw(blank) + "," + draw(blank) + '"data":' + draw(blank) + inner + "}"
        )
    return (inner + draw(blank)).encode()


@given(texts(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_shuffled_and_spoilt_frames_are_read_as_the_slow_path_reads_them_or_refused(raw: bytes, futures: bool) -> None:
    check_agreement(raw, futures)


@given(st.binary(max_size=60), st.data())
@settings(max_examples=400, deadline=None)
def test_random_bytes_inside_a_frame_never_crash_nor_disagree(noise: bytes, data: st.DataObject) -> None:
    raw = orjson.dumps(frame())
    start = data.draw(st.integers(0, len(raw)))
    raw = raw[:start] + noise + raw[data.draw(st.integers(start, len(raw))) :]
    check_agreement(raw)


def test_single_bytes_changed_or_cut_never_disagree() -> None:
    rng = random.Random(7)
    whole = orjson.dumps({"stream": "btcusdt@depth@0ms", "data": frame()})
    accepted = 0
    for _ in range(500 if INTERPRETED else 5_000):
        raw = bytearray(whole)
        raw[rng.randrange(len(raw))] = rng.randrange(256)
        raw = raw[: rng.choice((len(raw), rng.randrange(len(raw))))]
        accepted += check_agreement(bytes(raw))
    print(f"{accepted} spoilt frames were still plain depth frames")
    assert accepted


def body_outcome(raw: bytes, futures: bool, slowly: bool) -> tuple[str, bool]:
    """Return what a REST snapshot says, or the reason of its refusal, as text; and whether the scanner gave it."""
    decoder = BinanceDecoder({"BTCUSDT": instrument()}, futures)
    try:
        found = (decoder.body_slowly if slowly else decoder.body)("BTCUSDT", Channel.DEPTH, raw)
    except BadFrame as refusal:
        return refusal.reason, False
    return str([(each.message.tolist(), each.rows.tolist()) for each in found]), not decoder.counts


@pytest.mark.tape
@pytest.mark.parametrize("name", [name for name in TAPES if name.endswith("0808")])
def test_recorded_snapshots_are_read_as_the_slow_path_reads_them(binance_tapes: Path, name: str) -> None:
    raws = [raw for _, raw in read_lines(binance_tapes / f"{name}.gz")[:200]]
    (body,) = (raw for raw in raws if raw.startswith(b'{"lastUpdateId"'))
    (known,) = load(f"binance_{name[:4]}").infer_instruments(raws)
    decoder = BinanceDecoder({known.symbol: known}, futures=name.startswith("usdm"))
    (fast,), (careful,) = (read(known.symbol, Channel.DEPTH, body) for read in (decoder.body, decoder.body_slowly))
    assert fast.message.tobytes() == careful.message.tobytes()
    assert fast.rows.tobytes() == careful.rows.tobytes()
    assert len(fast.rows) >= 2000
    assert not decoder.counts


SNAPSHOT = b'{"lastUpdateId":7,"E":2,"T":1,"bids":[["2.00","1"],["1.00","1"]],"asks":[["3.00","1"],["4.00","2"]]}'


@pytest.mark.parametrize(
    ("raw", "scanned"),
    [
        (SNAPSHOT, True),
        (SNAPSHOT.replace(b'"E":2,"T":1,', b""), False),
        (SNAPSHOT.replace(b'["1.00","1"]', b'["2.50","1"]'), False),
        (SNAPSHOT.replace(b'["1.00","1"]', b'["2.00","1"]'), False),
        (SNAPSHOT.replace(b'["4.00","2"]', b'["4.00","0"]'), False),
        (SNAPSHOT.replace(b'["4.00","2"]', b'["4.001","2"]'), False),
        (SNAPSHOT.replace(b'"bids"', b'"b"'), False),
        (SNAPSHOT.replace(b'"E"', b'"s":"BTCUSDT","U":9,"E"'), True),
        (b'{"stream":"btcusdt@depth","data":' + SNAPSHOT + b"}", False),
        (SNAPSHOT[:-1], False),
    ],
)
@pytest.mark.parametrize("futures", [True, False])
def test_spoilt_snapshots_are_read_as_the_slow_path_reads_them(raw: bytes, scanned: bool, futures: bool) -> None:
    fast, by_scanner = body_outcome(raw, futures, slowly=False)
    assert fast == body_outcome(raw, futures, slowly=True)[0]
    assert by_scanner == (scanned or (not futures and b'"T"' not in raw and raw.startswith(b'{"last')))


def test_single_bytes_of_a_snapshot_changed_never_disagree() -> None:
    rng = random.Random(8)
    for _ in range(300 if INTERPRETED else 3_000):
        raw = bytearray(SNAPSHOT)
        raw[rng.randrange(len(raw))] = rng.choice(b'0123456789.,:"[]{}bidsakE \\\xff')
        futures = rng.random() < 0.5
        assert body_outcome(bytes(raw), futures, slowly=False)[0] == body_outcome(bytes(raw), futures, slowly=True)[0]


def test_rows_of_one_frame_outlive_the_next() -> None:
    scanner = Scanner(scan_depth, LEVEL)
    plan = depth_plan(b"BTCUSDT", 2, 3, True, False)
    found = []
    for last in range(9, 3000):
        raw = orjson.dumps(frame(u=last, b=[["1.00", str(last)]] * (last % 7), a=[["2.00", "5"]] * (last % 3)))
        scanned = scanner.scan(raw, plan, "BTCUSDT", Channel.DEPTH)
        assert not isinstance(scanned, int)
        # What track and session write to it must not reach another's.
        scanned.message["received"] = last
        found.append((last, scanned))
    for last, (_, _, message, levels, _) in found:
        assert message[["received", "last", "count"]].tolist() == [(last, last, last % 7 + last % 3)]
        assert levels.tolist() == [(100, last * 1000)] * (last % 7) + [(200, 5000)] * (last % 3)
    assert levels.dtype == LEVEL


def test_a_frame_longer_than_a_block_has_room() -> None:
    raw = orjson.dumps(frame(b=[["1.00", "1"]] * 9_000, a=[["2", "3"]] * 7_000))
    assert len(scan(raw)[1]) == 16_000
    assert check_agreement(b'{"stream":"btcusdt@depth@0ms","data":' + raw + b"}")
