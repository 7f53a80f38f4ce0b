"""Digits of scanned frames: at any scale exact or refused, and streams known by how frames begin."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.kernel import kernel, numbers_of
from engine.schema import LEVEL, Channel
from ingest.scan import depth_plan, scan_depth
from ingest.scanner import Scanner
from ingest.tokens import LOST_DIGIT
from ingest.venues._binance import STREAMS
from ingest.venues._binance_scanners import Scanners
from tests.scanned import frame, instrument


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
