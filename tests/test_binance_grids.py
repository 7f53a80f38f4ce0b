"""Instruments by the kernel that reads a recording's first frames, against the same by each frame's JSON and texts."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.errors import BadConfig, BadFrame, BadRecord
from engine.instrument import Instrument
from engine.kernel import COMPILED
from engine.schema import Contract
from ingest.tape import Head, Text, read
from ingest.venues._binance_grids import SYMBOLS, find_grids, grids
from ingest.venues._binance_instruments import _by_texts, infer_instruments
from ingest.venues._reading import foreign

Level = list[str]
SPOT, USDM = Contract.SPOT, Contract.LINEAR
TAPES = {
    "usdm_btcusdt_20240808": USDM,
    "usdm_ethusdt_20240808": USDM,
    "spot_btcusdt_20240808": SPOT,
    "spot_btcusdt_20240809": SPOT,
    "spot_ethusdt_20240808": SPOT,
    "spot_ethusdt_20240809": SPOT,
}

slow = foreign(_by_texts)


def said(infer: Callable[..., list[Instrument]], contract: Contract, frames: Sequence[bytes]) -> Any:
    """Give what is inferred, or which error says that nothing is."""
    try:
        return infer("binance", contract, frames)
    except (BadConfig, BadFrame) as error:
        return type(error), getattr(error, "reason", "")


def assert_same(frames: Sequence[bytes], contract: Contract = USDM) -> Any:
    found = said(infer_instruments, contract, frames)
    assert found == said(slow, contract, frames)
    return found


def head_of(path: Path, frames: Iterable[bytes], most: int) -> Head:
    """Lay frames as a tape's texts, of three lines each."""
    lines = [b"%d %b\n" % line for line in enumerate(frames)]
    texts = [Text(path, at, min(at + 3, len(lines)), b"".join(lines[at : at + 3])) for at in range(0, len(lines), 3)]
    return Head(texts, most)


def diff(bids: Sequence[Any], asks: Sequence[Any] = (), **fields: Any) -> bytes:
    content = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 2, "pu": 0, "b": bids, "a": asks} | fields
    return orjson.dumps({key: value for key, value in content.items() if value is not None})


def body(bids: Sequence[Any], asks: Sequence[Any] = ()) -> bytes:
    return orjson.dumps({"lastUpdateId": 7, "E": 1, "bids": bids, "asks": asks})


def wrapped(frame: bytes) -> bytes:
    return b'{"stream":"x@depth","data":%b}' % frame


@pytest.mark.tape
@pytest.mark.parametrize("name", TAPES)
def test_a_tapes_grids_are_read_by_the_kernel_and_are_those_of_its_texts(binance_tapes: Path, name: str) -> None:
    count = 20_000 if COMPILED else 1_500
    texts: list[Text] = []
    for text in read([binance_tapes / f"{name}.gz"]).texts() or ():
        texts.append(text)
        if text.after > count:
            break
    head = Head(texts, count)
    assert len(head) == len(list(head)) == count
    assert grids(head, TAPES[name] != SPOT) == grids(list(head), TAPES[name] != SPOT) is not None
    (known,) = assert_same(head, TAPES[name])
    assert assert_same(list(head), TAPES[name]) == [known]
    assert known.tick > 0
    for part in range(0, len(head), max(1, len(head) // 20)):
        assert_same(head[part : part + 200], TAPES[name])
        assert_same(head[part : part + 7], TAPES[name])


numbers = st.one_of(
    st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,9})?", fullmatch=True),
    st.from_regex(r"[0-9]{1,4}\.[0-9]{0,3}0{0,6}", fullmatch=True),
    st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,20})?", fullmatch=True),
    st.sampled_from(["0", "0.0", "00.10", "0.5", "1.5", "2.5", "281474976710655", "281474976710655.5", "1" * 18]),
)
odd = st.sampled_from(["", ".5", "5.", "-1", "1e3", " 1", "1_0", "٣", "NaN", "1.2.3", "0" * 49, "9" * 18 + ".9"])
#: Most texts are plain, so that whole tapes are.
plain = st.lists(st.lists(numbers, min_size=2, max_size=2), max_size=4)
any_levels = st.one_of(
    plain, st.lists(st.lists(st.one_of(numbers, odd, st.integers(0, 9), st.none()), max_size=3), max_size=3)
)


@st.composite
def tapes(draw: st.DrawFn, levels: st.SearchStrategy[list[Any]], odds: bool) -> list[bytes]:
    made = []
    for _ in range(draw(st.integers(1, 5))):
        bids, asks = draw(levels), draw(levels)
        symbol = draw(st.sampled_from(["BTCUSDT"] * 4 + ["ETHUSDT", "BTCUSD_PERP"]))
        frame = body(bids, asks) if draw(st.integers(0, 3)) == 0 else diff(bids, asks, s=symbol)
        if draw(st.booleans()):
            frame = wrapped(frame)
        kind = draw(st.integers(0, 19)) if odds else 99
        if kind == 0:
            frame = frame[: draw(st.integers(0, len(frame)))]
        elif kind == 1:
            at = draw(st.integers(0, len(frame) - 1))
            frame = frame[:at] + draw(st.binary(max_size=2)) + frame[at + 1 :]
        elif kind == 2:
            frame = frame.replace(b",", b" ,\t").replace(b":", b": ").replace(b"[", b"[ ").replace(b"]", b" ]") + b" \r"
        elif kind == 3:
            frame = frame.replace(b'"pu":0,', b"")
        elif kind == 4:
            frame = frame.replace(b'"E":1', draw(st.sampled_from(STRANGE)))
        made.append(frame)
        made += draw(st.sampled_from([[], [b'{"e":"trade","s":"BTCUSDT"}'], [b"pong"]]))
    return made


#: What another venue, or another day, might add or repeat.
STRANGE = [
    b'"E":1.5', b'"E":-1', b'"E":null', b'"E":"depthUpdate"', b'"data":{}', b'"data":1', b'"e":"trade"', b'"x":[1]',
    b'"s":"ETHUSDT"', b'"s":5', b'"b":[["1","1"]]', b'"bids":[["1","1"]]', b'"lastUpdateId":3', b'"\\u0062":[]',
    b'"E":true,"T":12', b'"E":01', b'"stream":"a"', b'"U":"lastUpdateId"', "\"E\":\"é\"".encode(),
]  # fmt: skip


@given(tapes(plain, odds=False), st.sampled_from([SPOT, USDM]))
@settings(max_examples=400 if COMPILED else 60, deadline=None)
def test_whatever_numbers_are_printed_the_instruments_are_the_same(frames: list[bytes], contract: Contract) -> None:
    if contract == SPOT:
        frames = [frame.replace(b'"pu":0,', b"") for frame in frames]
    assert_same(frames, contract)


@given(tapes(any_levels, odds=True), st.sampled_from([SPOT, USDM, Contract.INVERSE]))
@settings(max_examples=600 if COMPILED else 60, deadline=None)
@example([diff([["999999999999999999", "1"]]), diff([["0.1", "1"]])], USDM)
@example([body([["1", "1"]]), diff([["1.5", "1"]]), body([["0.25", "x"]])], USDM)
@example([body([]), diff([["1.5", "1"]])], USDM)
@example([diff([["0", "0"]])], USDM)
@example([diff([])], USDM)
@example([wrapped(diff([["1.5", "1"]])), wrapped(diff([["1.25", "1"]], s="BTCXYZ"))], USDM)
@example([diff([["1.5", "1"]], s=""), b"lastUpdateId", b"depthUpdate}"], USDM)
def test_whatever_frames_say_the_instruments_or_the_refusals_are_the_same(
    frames: list[bytes], contract: Contract
) -> None:
    assert_same(frames, contract)


@pytest.mark.parametrize("strange", STRANGE)
def test_what_is_not_plain_is_left_to_the_texts(strange: bytes) -> None:
    for make in (bytes, wrapped):
        for frame in (diff([["1.50", "2"]]), body([["1.50", "2"]])):
            assert_same([make(frame.replace(b'"E":1', strange)), diff([["7.0", "3"]])])


def test_plain_frames_of_any_order_and_blanks_are_read_by_the_kernel() -> None:
    spaced = b' { "stream" : "x" , "data" : { "b" : [ ] , "e":"depthUpdate" } } '
    assert grids([spaced], True) is None
    for frame in (diff([["1.50", "2"]]), wrapped(diff([["1.50", "2"]])), wrapped(body([["1.50", "2"]]))):
        blank = frame.replace(b",", b" , ").replace(b"[", b"[\t").replace(b"]", b" ]").replace(b":", b" : ")
        assert grids([blank], True) == grids([frame], True) is not None
    assert grids([], True) == ({}, None)


def test_a_word_is_found_wherever_it_stands() -> None:
    """The kernel looks at 32 bytes at once."""
    for before in range(70):
        for after in range(0, 70, 7):
            frame = b'{"x":"%b","e":"depthUpdate","z":"%b"}' % (b"U" * before, b"u" * after)
            assert grids([frame], False) is None
            assert grids([frame.replace(b"depth", b"Depth")], False) == ({}, None)
            assert grids([frame[:-1].replace(b"depthUpdate", b"lastUpdateId") + b"}"], False) is None
    # Not across frames.
    assert grids([b"depthUp", b"date", b"last", b"UpdateId"], False) == ({}, None)


def test_so_many_symbols_have_a_row_each(tmp_path: Path) -> None:
    symbols = [f"A{n:05d}USDT" for n in range(SYMBOLS - 1 if COMPILED else 40)]
    frames = [diff([[f"{n}.5", "2"]], s=symbol) for n, symbol in enumerate(symbols)]
    found = assert_same(frames + frames[::-1])
    assert [each.symbol for each in found] == symbols
    assert assert_same(head_of(tmp_path, frames + frames, 10_000)) == found
    if COMPILED:
        more = [diff([["1", "1"]], s=f"B{n}USDT") for n in range(2)]
        assert grids(frames + more, True) is None
        assert len(assert_same(frames + more)) == len(symbols) + 2


def test_of_a_head_no_more_lines_count_than_are_asked_for(tmp_path: Path) -> None:
    frames = [diff([["1.5", "2"]]), b"{}", diff([["1.25", "2"]]), b"", diff([["1.125", "2"]])]
    for most in range(1, 7):
        head = head_of(tmp_path, frames, most)
        assert list(head) == frames[:most]
        assert head[0] == frames[0]
        assert grids(head, True) == grids(frames[:most], True)
        assert assert_same(head)[0].price_decimals == min(3, (most + 1) // 2)


def test_a_line_that_is_none_counts_only_among_those_asked_for(tmp_path: Path) -> None:
    good, bad = b"7 " + diff([["1.5", "2"]]) + b"\n", b"x " + diff([["1.25", "2"]]) + b"\n"
    texts = [Text(tmp_path, 0, 2, good + good), Text(tmp_path, 2, 4, good + bad)]
    (known,) = infer_instruments("binance", USDM, Head(texts, 3))
    assert known.price_decimals == 1
    assert grids(Head(texts, 4), True) is None
    with pytest.raises(BadRecord, match="line 4 is"):
        infer_instruments("binance", USDM, Head(texts, 4))


def test_the_kernel_is_compiled_once() -> None:
    with suppress(BadConfig):
        infer_instruments("binance", USDM, [b"{}"])
    assert not COMPILED or len(find_grids.signatures) == 1  # type: ignore[attr-defined]
