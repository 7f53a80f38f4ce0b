"""Flat frames by a form against the slow path: they may be refused, they may never be read otherwise."""

import json
import random
from typing import Any

import numba
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadFrame
from engine.schema import FAMILY, REFERENCE, TRADE, Channel, Kind
from ingest.decimals import rounded
from ingest.flat import scan_flat
from ingest.form import Field, Form, Take, plan
from ingest.scanner import FlatScanner
from ingest.tokens import LOST_DIGIT, MISSING, STRUCTURE
from ingest.venues._binance import BinanceDecoder
from tests.scanned import instrument

INTERPRETED = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]

FRAMES: dict[str, dict[str, Any]] = {
    "trade": {
        "e": "trade", "E": 1_723_161_256_322, "T": 1_723_161_256_321, "s": "BTCUSDT", "t": 5_266_583_935,
        "p": "61800.30", "q": "0.006", "X": "MARKET", "m": False,
    },
    "aggTrade": {
        "e": "aggTrade", "E": 1_723_161_256_322, "s": "BTCUSDT", "a": 5_933_014, "p": "61800.30", "q": "0.006",
        "f": 100, "l": 105, "T": 1_723_161_256_321, "m": True,
    },
    "bookTicker": {
        "e": "bookTicker", "u": 5_123_107_839_020, "s": "BTCUSDT", "b": "61800.20", "B": "2.507", "a": "61800.30",
        "A": "2.510", "T": 1_723_161_256_313, "E": 1_723_161_256_313,
    },
    "markPrice@1s": {
        "e": "markPriceUpdate", "E": 1_723_161_256_000, "s": "BTCUSDT", "p": "61794.15000000", "ap": "61794.15",
        "P": "61784.62659618", "i": "61784.62659091", "r": "-0.00038167", "T": 1_723_161_300_000,
    },
}  # fmt: skip
#: What spot sends beside these or leaves out.
OF_SPOT: dict[str, dict[str, Any]] = {
    "trade": {"X": None, "M": True},
    "aggTrade": {"M": True},
    "bookTicker": {"e": None, "T": None, "E": None},
}


def content(name: str, futures: bool = True, **changes: Any) -> dict[str, Any]:
    whole = {**FRAMES[name], **({} if futures else OF_SPOT.get(name, {})), **changes}
    return {key: value for key, value in whole.items() if value is not None}


def wrapped(name: str, inner: bytes) -> bytes:
    return b'{"stream":"btcusdt@%b","data":%b}' % (name.encode(), inner)


def outcome(raw: bytes, futures: bool, slowly: bool) -> tuple[str, bool]:
    """Return the decoder's rows, or the reason of its refusal, as text; and whether a scanner gave them."""
    decoder = BinanceDecoder({"BTCUSDT": instrument()}, futures)
    try:
        found = decoder.decode_slowly(raw) if slowly else decoder.decode(raw)
    except BadFrame as refusal:
        return refusal.reason, False
    rows = [(each.symbol, each.channel, each.message.tobytes(), each.rows.tobytes(), each.rows.dtype) for each in found]
    return str(rows), not decoder.counts["slowly"]


def check_agreement(raw: bytes, futures: bool = True) -> bool:
    """Fail where a scanner and the slow path disagree; tell whether the scanner took the frame."""
    rows, scanned = outcome(raw, futures, slowly=False)
    assert rows == outcome(raw, futures, slowly=True)[0]
    return scanned


@pytest.mark.parametrize("futures", [True, False])
@pytest.mark.parametrize("name", FRAMES)
def test_what_the_venue_sends_is_scanned(name: str, futures: bool) -> None:
    raw = wrapped(name, orjson.dumps(content(name, futures)))
    assert check_agreement(raw, futures) == (futures or name != "markPrice@1s")


def test_a_form_fills_the_rows() -> None:
    decoder = BinanceDecoder({"BTCUSDT": instrument()}, futures=True)
    rows = {}
    for name in FRAMES:
        (found,) = decoder.decode(wrapped(name, orjson.dumps(content(name))))
        rows[name] = found.rows.tolist()
    ms = 1_000_000
    assert rows == {
        "trade": [(1_723_161_256_321 * ms, 6_180_030, 6, 5_266_583_935, 1, 1, 0, 0)],
        "aggTrade": [(1_723_161_256_321 * ms, 6_180_030, 6, 5_933_014, 6, -1, 0, 0)],
        "bookTicker": [(6_180_020, 2507), (6_180_030, 2510)],
        "markPrice@1s": [
            (1_723_161_256_000 * ms, 6_179_415, 0, 1, 0, 0, 0),
            (1_723_161_256_000 * ms, 6_178_463, 0, 2, 0, 0, 0),
            (1_723_161_256_000 * ms, -381_670_000, 1_723_161_300_000 * ms, 3, 0, 0, 0),
        ],
    }
    assert not decoder.counts


@pytest.mark.parametrize(
    ("name", "changes", "refusal"),
    [
        ("trade", {"t": None}, "missing"),
        ("trade", {"p": "61800.305"}, "lost_digit"),
        ("trade", {"p": "0.00"}, "structure"),
        ("trade", {"X": "INSURANCE_FUND"}, "structure"),
        ("trade", {"m": 1}, "structure"),
        ("trade", {"T": 10**14}, "structure"),
        ("trade", {"s": "ETHUSDT"}, "structure"),
        ("trade", {"e": "aggTrade"}, "structure"),
        ("aggTrade", {"l": 99}, "structure"),
        ("aggTrade", {"l": 100 + (1 << 31)}, "structure"),
        ("bookTicker", {"b": "-1"}, "structure"),
        ("bookTicker", {"A": "1" * 19}, "structure"),
        ("bookTicker", {"E": None}, "missing"),
        ("markPrice@1s", {"r": ""}, "structure"),
        ("markPrice@1s", {"r": "--1"}, "structure"),
        ("markPrice@1s", {"p": "1.2.3"}, "structure"),
        ("markPrice@1s", {"x": {"nested": 1}}, "structure"),
    ],
)
def test_what_is_otherwise_goes_the_slow_way_and_is_counted(name: str, changes: dict[str, Any], refusal: str) -> None:
    raw = wrapped(name, orjson.dumps(content(name, **changes)))
    assert not check_agreement(raw)
    decoder = BinanceDecoder({"BTCUSDT": instrument()}, futures=True)
    try:
        decoder.decode(raw)
    except BadFrame as error:
        print(f"{name} {changes}: {error}")
    assert dict(decoder.counts).keys() - {"not_a_trade"} == {"slowly", f"rescanned:{refusal}"}


def test_a_key_that_comes_twice_is_refused_and_one_that_nobody_knows_passed_over() -> None:
    raw = orjson.dumps(content("trade"))
    assert not check_agreement(wrapped("trade", raw.replace(b'"t":', b'"t":1,"t":')))
    assert check_agreement(
        wrapped("trade", raw.replace(b'"t":', b'"tt":1,"tt":2,"st":"x","nothing_like_it":null,"t":'))
    )


def test_the_last_of_an_aggregate_before_its_first_is_for_the_slow_way() -> None:
    raw = orjson.dumps(content("aggTrade")).replace(b'"f":100,"l":105', b'"l":105,"f":100')
    assert not check_agreement(wrapped("aggTrade", raw))


#: A form of no venue: every kind of value.
FORM = Form(
    kind=Kind.REFERENCE,
    fields=(
        Field(key="at", take=Take.STAMP, to=("exchanged", "0.exchanged")),
        Field(key="value", take=Take.ROUNDED, decimals=2, to=("0.value",), needed=False),
        Field(key="sell", take=Take.BOOLEAN, to=("0.reserved",), true=1, needed=False),
        Field(key="before", take=Take.WHOLE, to=("previous",), needed=False),
        Field(key="exact", take=Take.SIGNED, decimals="size", to=("0.next",), needed=False),
    ),
    rows=({"what": 7},),
)


def scan(raw: bytes, form: Form = FORM) -> Any:
    scanner = FlatScanner(scan_flat, FAMILY[form.kind], len(form.rows))
    found = scanner.scan(raw, plan(form, "ABC", 2, 3), "ABC", Channel.MARK)
    return found if isinstance(found, int) else (found.message[0], found.rows.tolist())


def test_a_form_serves_any_venue() -> None:
    message, rows = scan(b' { "sell" : true , "at" : 5 , "exact":"-1.5","value" : "1.005" } ')
    assert message[["kind", "exchanged", "published", "count"]].item() == (Kind.REFERENCE, 5_000_000, 0, 1)
    assert message[["previous", "flags"]].item() == (0, 0)
    assert rows == [(5_000_000, 100, -1500, 7, 1, 0, 0)]
    assert scan(b'{"at":5,"before":9}')[0]["previous"] == 9
    assert scan(b"{}") == STRUCTURE
    assert scan(b'{"value":"1"}') == MISSING
    assert scan(b'{"at":5,"exact":"1.0001"}') == LOST_DIGIT
    assert scan(b'{"at":5,"before":-9}') == STRUCTURE


def test_a_form_says_what_it_cannot() -> None:
    with pytest.raises(ValueError, match="allowed are 32"):
        plan(Form(kind=Kind.TRADE, fields=(Field(key="s", take=Take.TEXT),), rows=({},)), "A" * 33, 2, 2)


@given(st.from_regex(r"[0-9]{1,19}(\.[0-9]{0,19})?", fullmatch=True), st.integers(0, 12))
@settings(max_examples=400, deadline=None)
def test_a_rounded_price_is_the_nearest(text: str, decimals: int) -> None:
    field = Field(key="value", take=Take.ROUNDED, decimals=decimals, to=("0.value",))
    found = scan(b'{"value":"%b"}' % text.encode(), Form(kind=Kind.REFERENCE, fields=(field,), rows=({},)))
    if not isinstance(found, int):
        assert found[1][0][1] == rounded(text, decimals)
    else:
        # Only what may have too many digits is refused.
        assert text.endswith(".") or len(text) + decimals > 18


def test_halves_go_to_even() -> None:
    form = Form(
        kind=Kind.REFERENCE, fields=(Field(key="v", take=Take.ROUNDED, decimals=1, to=("0.value",)),), rows=({},)
    )
    values = [b"0.05", b"0.15", b"0.25", b"0.35", b"0.250001", b"2", b"0.04999"]
    assert [scan(b'{"v":"%b"}' % value, form)[1][0][1] for value in values] == [0, 2, 2, 4, 3, 20, 0]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
odd: st.SearchStrategy[Any] = (
    st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.none()
    | words
    | st.from_regex(r"-?[0-9]{1,9}(\.[0-9]{1,5})?", fullmatch=True)
    | st.sampled_from(["MARKET", "", "0", "00.5", "1e5", "BTCUSDT", "trade", [], {}, ["1"]])
)


@st.composite
def texts(draw: st.DrawFn) -> tuple[bytes, bool]:
    """Draw a flat frame's text: shuffled keys, blanks anywhere, fields that are odd now and then."""
    futures = draw(st.booleans())
    name = draw(st.sampled_from(sorted(FRAMES)))
    inner = content(name, futures)
    for _ in range(draw(st.integers(0, 2))):
        inner[draw(st.sampled_from([*inner, "st", "x", "é", "X", "e"]))] = draw(odd)
    keys = draw(st.permutations(sorted(inner))) if draw(st.booleans()) else list(inner)
    blank = st.sampled_from(["", "", "", " ", "\n", "\t \r"]) if draw(st.booleans()) else st.just("")
    items = (
        draw(blank) + json.dumps(key, ensure_ascii=False) + draw(blank) + ":" + draw(blank)
        + json.dumps(inner[key], ensure_ascii=False) + draw(blank)
        for key in keys
    )  # fmt: skip
    text = draw(blank) + "{" + ",".join(items) + "}" + draw(blank)
    if draw(st.integers(0, 9)):
        text = f'{{"stream":"btcusdt@{name}"{draw(blank)},{draw(blank)}"data":{draw(blank)}{text}}}'
    return (text + draw(blank)).encode(), futures


@given(texts())
@settings(max_examples=800, deadline=None)
def test_shuffled_and_spoilt_frames_are_read_as_the_slow_path_reads_them_or_refused(drawn: tuple[bytes, bool]) -> None:
    check_agreement(*drawn)


@given(st.sampled_from(sorted(FRAMES)), st.binary(max_size=40), st.data())
@settings(max_examples=400, deadline=None)
def test_random_bytes_inside_a_frame_never_crash_nor_disagree(name: str, noise: bytes, data: st.DataObject) -> None:
    raw = wrapped(name, orjson.dumps(content(name)))
    start = data.draw(st.integers(0, len(raw)))
    check_agreement(raw[:start] + noise + raw[data.draw(st.integers(start, len(raw))) :])


@pytest.mark.parametrize("futures", [True, False])
@pytest.mark.parametrize("name", FRAMES)
def test_single_bytes_changed_or_cut_never_disagree(name: str, futures: bool) -> None:
    rng = random.Random(f"{name} {futures}")
    whole = wrapped(name, orjson.dumps(content(name, futures)))
    accepted = 0
    for _ in range(150 if INTERPRETED else 1_500):
        raw = bytearray(whole)
        raw[rng.randrange(len(raw))] = rng.choice((rng.randrange(256), *b'0123456789.,:"-{}'))
        raw = raw[: rng.choice((len(raw), len(raw), rng.randrange(len(raw))))]
        accepted += check_agreement(bytes(raw), futures)
    print(f"{name}: {accepted} spoilt frames were still plain ones")
    assert accepted or (not futures and name == "markPrice@1s")


def test_the_kernel_has_one_signature() -> None:
    assert FAMILY[Kind.TRADE] == TRADE
    assert FAMILY[Kind.REFERENCE] == REFERENCE
    for name in FRAMES:
        check_agreement(wrapped(name, orjson.dumps(content(name))))
    if not INTERPRETED:
        assert len(scan_flat.signatures) == 1  # type: ignore[attr-defined]


def test_rows_of_one_frame_outlive_the_next_and_their_block() -> None:
    scanner = FlatScanner(scan_flat, FAMILY[FORM.kind], len(FORM.rows))
    known = plan(FORM, "ABC", 2, 3)
    found = []
    for at in range(1, 3_000):
        # A refused frame leaves no trace in the next one's rows.
        assert scanner.scan(b'{"value":"%d","at":"5"}' % at, known, "ABC", Channel.MARK) == STRUCTURE
        scanned = scanner.scan(b'{"at":%d,"value":"1.5"}' % at, known, "ABC", Channel.MARK)
        assert not isinstance(scanned, int)
        scanned.message["received"] = at
        found.append((at, scanned))
    for at, (_, _, message, rows, _) in found:
        assert message[["received", "exchanged", "count"]].tolist() == [(at, at * 1_000_000, 1)]
        assert rows.tolist() == [(at * 1_000_000, 150, 0, 7, 0, 0, 0)]
