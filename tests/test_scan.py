"""The scanners against the slow path: they may refuse, they may never disagree."""

import json
import random
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numba
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.kernel import kernel, numbers_of
from engine.schema import LEVEL, Channel, Contract, Kind
from ingest.scan import depth_plan, scan_depth
from ingest.scanner import Scanner
from ingest.tokens import FULL, LOST_DIGIT, MISSING, STRUCTURE
from ingest.venues import load
from ingest.venues._binance import STREAMS, BinanceDecoder
from ingest.venues._binance_scanners import Scanners
from tests.ladder import read_lines

INTERPRETED = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]
TAPES = {
    "usdm_btcusdt_20240808": 6551,
    "usdm_ethusdt_20240808": 6586,
    "spot_btcusdt_20240808": 3451,
    "spot_btcusdt_20240809": 3044,
    "spot_ethusdt_20240808": 3434,
    "spot_ethusdt_20240809": 3036,
}


def instrument(price_decimals: int = 2, size_decimals: int = 3) -> Instrument:
    return Instrument(
        venue="binance_usdm",
        symbol="BTCUSDT",
        asset="BTC",
        quote="USDT",
        contract=Contract.LINEAR,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick=1,
        lot=1,
    )


def frame(**changes: Any) -> dict[str, Any]:
    content = {
        "e": "depthUpdate",
        "E": 1_723_161_256_299,
        "T": 1_723_161_256_298,
        "s": "BTCUSDT",
        "U": 5,
        "u": 9,
        "pu": 4,
        "b": [["61800.20", "1.500"], ["61800.10", "0.000"]],
        "a": [["61800.30", "2.000"]],
    }
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def scan(raw: bytes, futures: bool = True) -> Any:
    """Return message and levels, or a refusal."""
    plan = depth_plan(b"BTCUSDT", 2, 3, futures, False)
    scanned = Scanner(scan_depth, LEVEL).scan(raw, plan, "BTCUSDT", Channel.DEPTH)
    return scanned if isinstance(scanned, int) else (scanned.message, scanned.rows)


def outcome(raw: bytes, futures: bool, slowly: bool) -> tuple[str, bool]:
    """Return the decoder's rows, or the reason of its refusal, as text; and whether the scanner gave them."""
    decoder = BinanceDecoder({"BTCUSDT": instrument()}, futures)
    try:
        found = decoder.decode_slowly(raw) if slowly else decoder.decode(raw)
    except BadFrame as refusal:
        return refusal.reason, False
    rows = [(each.symbol, each.channel, each.message.tolist(), each.rows.tolist(), each.rows.dtype) for each in found]
    return str(rows), not slowly and not decoder.counts["slowly"]


def check_agreement(raw: bytes, futures: bool = True) -> bool:
    """Fail where the scanner and the slow path disagree; tell whether the scanner took the frame."""
    rows, scanned = outcome(raw, futures, slowly=False)
    assert rows == outcome(raw, futures, slowly=True)[0]
    return scanned


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


@kernel
def numbers_into(words: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    a, b, c, d, e, f, g, h = words
    out[0], out[1], out[2], out[3], out[4] = numbers_of((a, b, c, d), (e, f, g, h))


@given(
    st.lists(
        st.tuples(st.from_regex(rb"[0-9]{8}|[\x00-\xff]{8}", fullmatch=True), st.integers(0, 7)), min_size=4, max_size=4
    )
)
@settings(max_examples=400, deadline=None)
def test_four_texts_of_eight_digits_are_numbers_at_once(texts: list[tuple[bytes, int]]) -> None:
    words = [int.from_bytes(text, "little", signed=True) for text, _ in texts]
    bits = [8 * left_out for _, left_out in texts]
    by_python = numbers_of((words[0], words[1], words[2], words[3]), (bits[0], bits[1], bits[2], bits[3]))
    out = np.zeros(5, np.int64)
    numbers_into(np.array(words + bits), out)
    kept = [text[left_out:] for text, left_out in texts]
    assert (out[0] == 0) == all(text.isdigit() for text in kept) == (by_python[0] == 0)
    if out[0] == 0:
        assert out[1:].tolist() == [int(text) for text in kept] == list(by_python[1:])


prices = st.from_regex(r"[0-9]{1,10}(\.[0-9]{1,10})?", fullmatch=True)


@given(st.lists(st.tuples(prices, prices), max_size=6), st.integers(0, 10), st.integers(0, 10), st.integers(-1, 4))
@settings(max_examples=400, deadline=None)
def test_any_decimals_at_any_scale_are_exact_or_refused(
    levels: list[tuple[str, str]], price_decimals: int, size_decimals: int, pad: int
) -> None:
    if pad >= 0:
        levels = [(padded(price, price_decimals + pad), padded(size, size_decimals + pad)) for price, size in levels]
    raw = orjson.dumps(frame(b=levels, a=[["1", "1"]] * 8))
    plan = depth_plan(b"BTCUSDT", price_decimals, size_decimals, True, False)
    scanned = Scanner(scan_depth, LEVEL).scan(raw, plan, "BTCUSDT", Channel.DEPTH)
    if not isinstance(scanned, int):
        expected = [
            (Decimal(price).scaleb(price_decimals), Decimal(size).scaleb(size_decimals)) for price, size in levels
        ]
        assert scanned.rows.tolist()[: len(levels)] == expected


@given(st.integers(1, 8), st.integers(0, 8), st.data())
@settings(max_examples=200, deadline=None)
def test_zeros_beyond_an_instruments_decimals_are_passed_over_and_no_other_digit(
    price_decimals: int, size_decimals: int, data: st.DataObject
) -> None:
    shown = [data.draw(st.integers(decimals, 8)) for decimals in (price_decimals, size_decimals)]
    numbers = [(data.draw(st.integers(1, 10**7)), data.draw(st.integers(0, 10**7))) for _ in range(8)]
    scales = (price_decimals, size_decimals)
    levels = [
        tuple(f"{Decimal(n).scaleb(-scale):.{most}f}" for n, scale, most in zip(pair, scales, shown, strict=True))
        for pair in numbers
    ]
    plan = depth_plan(b"BTCUSDT", *scales, True, False)
    raw = orjson.dumps(frame(b=levels, a=levels))
    scanned = Scanner(scan_depth, LEVEL).scan(raw, plan, "BTCUSDT", Channel.DEPTH)
    assert not isinstance(scanned, int)
    assert scanned.rows.tolist() == numbers * 2
    side = data.draw(st.integers(0, 1))
    if shown[side] > scales[side]:
        text = levels[3][side]
        levels[3] = tuple(text[:-1] + "1" if i == side else levels[3][i] for i in range(2))
        raw = orjson.dumps(frame(b=levels, a=levels))
        assert Scanner(scan_depth, LEVEL).scan(raw, plan, "BTCUSDT", Channel.DEPTH) == LOST_DIGIT


def padded(text: str, decimals: int) -> str:
    """Give a text exactly so many decimals, as venues print them."""
    whole, _, part = text.partition(".")
    return f"{whole}.{part.ljust(decimals, '0')[:decimals]}" if decimals else whole


def test_a_stream_is_known_by_what_its_frames_begin_with() -> None:
    """However long or short other streams' names are."""
    symbols = ("AUSDT", "BTCUSDT", "1000000MOGUSDT")
    for futures in (True, False):
        known = {symbol: replace(instrument(), symbol=symbol) for symbol in symbols}
        streams = {f"{each.lower()}@{name}": (event, each) for each in symbols for name, event in STREAMS.items()}
        scanners = Scanners(known, streams, futures)
        found = 0
        for stream, (event, symbol) in streams.items():
            named = b"" if event == "bookTicker" and not futures else b'"e":"%b",' % event.encode()
            raw = b'{"stream":"%b","data":{%b"u":400900217,"s":"%b"}}' % (stream.encode(), named, symbol.encode())
            usual = scanners.heads.get(raw[: scanners.span])
            assert usual is scanners.find(raw) is scanners.find(raw.replace(b":{", b" : {"))
            assert usual is None or usual[2] == symbol
            found += usual is not None
        assert len(scanners.heads) == found >= 3 * 8
