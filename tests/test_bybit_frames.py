"""Bybit's rules, frame by frame: restarts, what deltas leave out, the fund, what is refused."""

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import Channel, Contract, Flag, Kind, Reference
from ingest.venues import Venue, load

LINEAR, SPOT = load("bybit_linear"), load("bybit_spot")
MS = 1_000_000
T = 1_786_310_818_130


def instrument(
    symbol: str = "BTCUSDT", venue: str = "bybit_linear", contract: Contract = Contract.LINEAR
) -> Instrument:
    return Instrument(
        venue="bybit_linear",
        symbol=symbol,
        asset="BTC",
        quote="USDT",
        contract=Contract.LINEAR,
        price_decimals=2,
        size_decimals=3,
        tick=10,
        lot=1,
    )


def decoder(venue: Venue = LINEAR) -> Any:
    return venue.decoder({"BTCUSDT": instrument(), "ETHUSDT": instrument("ETHUSDT")})


def frame(topic: str, data: Any, kind: str = "delta", **more: Any) -> bytes:
    return orjson.dumps({"topic": topic, "type": kind, "ts": T, "data": data, **more})


def levels(u: int, bids: Any = (), asks: Any = (), symbol: str = "BTCUSDT") -> dict[str, Any]:
    return {"s": symbol, "b": list(bids), "a": list(asks), "u": u, "seq": 7}


BOOK = "orderbook.1000.BTCUSDT"
SNAPSHOT = frame(BOOK, levels(9, [["10.00", "1.000"]], [["11.00", "2.000"]]), "snapshot", cts=T - 2)
DELTA = frame(BOOK, levels(10, [["10.00", "0"]], [["11.50", "1.5"]]), cts=T - 2)
TOUCH = frame("orderbook.1.BTCUSDT", levels(5, [["10.00", "1"]], [["11.00", "2"]]), "snapshot", cts=T - 2)
PRINT = {"T": T - 3, "s": "BTCUSDT", "S": "Sell", "v": "0.004", "p": "65114.20", "L": "MinusTick"}
PRINT |= {"i": "a9188a0a-82bc-50de-be60-03eedbe3cdd7", "BT": False, "RPI": False, "seq": 753843954913}
TRADE = frame("publicTrade.BTCUSDT", [PRINT], "snapshot")
RATES = {"symbol": "BTCUSDT", "markPrice": "65117.446", "indexPrice": "65137.76", "openInterest": "59891.733"}
RATES |= {"fundingRate": "-0.000212", "nextFundingTime": "1786320000000", "bid1Price": "65114.20"}
TICKER = frame("tickers.BTCUSDT", RATES, "snapshot", cs=1)
LIQUIDATED = {"T": T - 9, "s": "BTCUSDT", "S": "Buy", "v": "2.5", "p": "60000.10"}
LIQUIDATION = frame("allLiquidation.BTCUSDT", [LIQUIDATED], "snapshot")
SAMPLED = {"updatedTime": T, "symbol": "BTCUSDT", "side": "Sell", "size": "2.5", "price": "60000.1"}
OLD_LIQUIDATION = frame("liquidation.BTCUSDT", SAMPLED, "snapshot")
ALERT = {"c": "USDT", "s": "BTCUSDT", "b": 19873.46255153, "mb": "", "i_pr": -0.3, "pr": 0.000174}
ALERT |= {"adl_tt": 10000, "adl_sr": -0.25}
DELEVERAGING = frame("adlAlert.USDT", [ALERT, {**ALERT, "s": "FWOGUSDT"}], "snapshot")
FUND = {"coin": "USDT", "symbols": "BTCUSDT,FWOGUSDT", "balance": "25614.92972633", "updateTime": str(T - 5)}
INSURANCE = frame("insurance.USDT", [FUND])
FRAMES = (
    SNAPSHOT, DELTA, TOUCH, TRADE, TICKER, LIQUIDATION, OLD_LIQUIDATION, DELEVERAGING, INSURANCE,
)  # fmt: skip


def test_the_engines_clock_is_the_exchanges() -> None:
    its = decoder()
    (snapshot,) = its.decode(SNAPSHOT)
    assert snapshot.message[["kind", "first", "last", "bids", "exchanged", "published"]].tolist() == [
        (Kind.SNAPSHOT, 0, 9, 1, (T - 2) * MS, T * MS)
    ]
    assert snapshot.rows.tolist() == [(1000, 1000), (1100, 2000)]
    (delta,) = its.decode(DELTA)
    assert delta.message[["kind", "first", "last", "previous"]].tolist() == [(Kind.DELTA, 10, 10, -1)]
    assert delta.rows.tolist() == [(1000, 0), (1150, 1500)]
    # Captures of 2023 have no clock of the engine; stamps may be texts.
    (old,) = its.decode(orjson.dumps({**orjson.loads(DELTA), "ts": str(T), "cts": str(T)}))
    assert old.message["exchanged"].tolist() == [T * MS]
    (older,) = its.decode(frame(BOOK, levels(11)))
    assert older.message[["exchanged", "published", "flags"]].tolist() == [(T * MS, T * MS, 0)]
    (jumped,) = its.decode(frame(BOOK, levels(12), cts=T + 1))
    assert jumped.message["flags"].tolist() == [Flag.BAD_TIME]


def test_an_id_of_one_overwrites_the_book_whatever_the_message_is_called() -> None:
    its = decoder()
    its.decode(SNAPSHOT)
    (restarted,) = its.decode(frame(BOOK, levels(1, [["9.00", "1"], ["9.50", "0"], ["9.60", "3"]])))
    assert restarted.message[["kind", "last", "bids"]].tolist() == [(Kind.SNAPSHOT, 1, 2)]
    assert restarted.rows.tolist() == [(960, 3000), (900, 1000)]
    assert its.counts["restarted"] == 1
    (whole,) = its.decode(frame(BOOK, levels(1), "snapshot"))
    assert (whole.message["kind"][0], whole.message["count"][0], its.counts["restarted"]) == (Kind.SNAPSHOT, 0, 1)


def test_one_depth_of_a_symbol_is_its_book_until_its_connection_is_forgotten() -> None:
    its = decoder()
    its.decode(SNAPSHOT, connection=3)
    other = frame("orderbook.50.BTCUSDT", levels(3, [["10.00", "1"]]), "snapshot")
    assert its.decode(other, connection=3) == []
    assert its.counts["other_depth"] == 1
    assert len(its.decode(other, connection=4)) == 1
    its.forget(3)
    assert len(its.decode(other, connection=3)) == 1


def test_the_best_level_is_told_whole_though_a_delta_has_one_side() -> None:
    its = decoder()

    def best(u: int, bids: Any = (), asks: Any = (), kind: str = "delta") -> Any:
        rows = [d.rows.tolist() for d in its.decode(frame("orderbook.1.BTCUSDT", levels(u, bids, asks), kind))]
        return rows[0] if rows else None

    assert best(4, [["10.00", "1"]]) is None
    (whole,) = its.decode(TOUCH)
    # Its ids are not the book's: nothing may compare them.
    assert whole.message[["kind", "first", "last"]].tolist() == [(Kind.TOUCH, 0, 0)]
    assert best(6, [["10.00", "0"], ["9.00", "3"]]) == [(900, 3000), (1100, 2000)]
    assert best(7, [], [["11.00", "0"]]) == [(900, 3000), (0, 0)]
    assert best(8, [], [["12.00", "1"]]) == [(900, 3000), (1200, 1000)]
    # One is lost: what was known of the asks is not known now, until it is said.
    assert best(10, [["9.50", "1"]]) is None
    assert best(11, [["9.50", "2"]]) is None
    assert its.counts["touch_unknown"] == 3
    assert best(20, [["8.00", "1"]], [["8.10", "1"]]) == [(800, 1000), (810, 1000)]
    # The same id again after 3 s of peace, as a snapshot.
    assert best(20, [["8.00", "1"]], [], "snapshot") == [(800, 1000), (0, 0)]


def test_trades_have_aggressors_and_ids_of_63_bits() -> None:
    its = decoder()
    spot = {**PRINT, "i": "2290000001189048101", "S": "Buy"}
    (decoded,) = its.decode(frame("publicTrade.BTCUSDT", [PRINT, {**PRINT, "BT": True}, spot], "snapshot"))
    assert decoded.message[["published", "count", "last"]].tolist() == [(T * MS, 2, 753843954913)]
    first, second = decoded.rows.tolist()
    assert first[:3] == second[:3] == ((T - 3) * MS, 6_511_420, 4)
    assert (first[4:6], second[3:6]) == ((1, -1), (2290000001189048101, 1, 1))
    assert 0 < first[3] < 1 << 63
    assert first[3] == decoder().decode(TRADE)[0].rows["id"][0]
    assert its.counts["block_trade"] == 1
    # A sweep goes on in a second message: it may not look like a repetition of the first one.
    (further,) = its.decode(TRADE)
    assert further.message[["first", "last", "count"]].tolist() == [(0, 0, 1)]
    (next_one,) = its.decode(frame("publicTrade.BTCUSDT", [{**PRINT, "seq": 753843954914}], "snapshot"))
    assert next_one.message[["first", "last"]].tolist() == [(753843954914, 753843954914)]
    assert its.decode(frame("publicTrade.BTCUSDT", [{**PRINT, "BT": True}], "snapshot")) == []


def test_tickers_say_what_changed_and_funding_is_never_half() -> None:
    its = decoder()
    (decoded,) = its.decode(TICKER)
    following = 1_786_320_000_000 * MS
    values = [(row["what"], row["value"], row["next"]) for row in decoded.rows]
    assert values == [
        (Reference.MARK, 6_511_745, 0),
        (Reference.INDEX, 6_513_776, 0),
        (Reference.FUNDING, -212_000_000, following),
        # 59891.733 of both sides: half a lot goes to the even one.
        (Reference.OPEN_INTEREST, 29_945_866, 0),
    ]
    assert decoded.message["exchanged"].tolist() == [T * MS]

    def said(**data: Any) -> list[tuple[int, int, int]]:
        found = its.decode(frame("tickers.BTCUSDT", {"symbol": "BTCUSDT", **data}))
        return [(row["what"], row["value"], row["next"]) for each in found for row in each.rows]

    assert said(bid1Price="65114.20") == []
    assert said(fundingRate="0.0001") == [(Reference.FUNDING, 100_000_000, following)]
    assert said(nextFundingTime="1786348800000") == [(Reference.FUNDING, 100_000_000, 1_786_348_800_000 * MS)]
    assert said(markPrice="1.005", fundingRate="") == [(Reference.MARK, 100, 0)]
    # A snapshot begins anew: a delivery contract's rate is empty.
    assert its.decode(frame("tickers.BTCUSDT", {"symbol": "BTCUSDT", "fundingRate": ""}, "snapshot")) == []
    assert said(nextFundingTime="1786348800000") == []
    with pytest.raises(BadFrame, match="unknown_topic"):
        decoder(SPOT).decode(TICKER)


RISKS: dict[str, tuple[dict[str, Any], int]] = {
    "quiet": ({}, 0),
    "between the thresholds": ({"pr": -0.27}, 1),
    "at the threshold": ({"pr": -0.3}, 1),
    "triggered by the drawdown": ({"pr": -0.31}, 2),
    "drawdown of a fund too small for the rule": ({"pr": -0.31, "b": 9999.5}, 0),
    "spent": ({"b": -5421.29889888}, 2),
    "spent to zero": ({"b": 0}, 2),
    "as texts": ({"b": "20000", "pr": "-0.26", "i_pr": "-0.3", "adl_sr": "-0.25", "adl_tt": "1"}, 1),
    "tiny": ({"pr": -1e-7}, 0),
}


@pytest.mark.parametrize("name", RISKS)
def test_deleveraging_is_judged_by_the_venues_rule(name: str) -> None:
    changes, level = RISKS[name]
    its = decoder()
    (decoded,) = its.decode(frame("adlAlert.USDT", [{**ALERT, "s": "FWOGUSDT"}, {**ALERT, **changes}], "snapshot"))
    balance = round(float(changes.get("b", 19873.46255153)) * 10**8)
    assert (decoded.symbol, decoded.channel) == ("BTCUSDT", Channel.RISK)
    assert decoded.rows[["what", "value"]].tolist() == [(Reference.INSURANCE, balance), (Reference.DELEVERAGING, level)]
    assert its.counts["other_symbol"] == 1


def test_a_fund_behind_several_symbols_is_each_ones() -> None:
    its = decoder()
    both = {**FUND, "symbols": "BTCUSDT,ETHUSDT, FWOGUSDT"}
    found = its.decode(frame("insurance.USDT", [both]))
    assert [d.symbol for d in found] == ["BTCUSDT", "ETHUSDT"]
    assert found[0].rows[["exchanged", "what", "value"]].tolist() == [
        ((T - 5) * MS, Reference.INSURANCE, 2_561_492_972_633)
    ]


ANSWERS = (
    b'{"success":true,"ret_msg":"","conn_id":"d8bu","req_id":"","op":"subscribe"}',
    b'{"success":true,"ret_msg":"pong","conn_id":"0970e817","op":"ping"}',
    b'{"req_id":"100001","op":"pong","args":["1672916271846"],"conn_id":"cekthv6p"}',
)


def test_answers_say_nothing_and_errors_say_it_in_the_venues_words() -> None:
    assert [decoder().decode(each) for each in ANSWERS] == [[], [], []]
    with pytest.raises(BadFrame, match=r"venue_error.*handler not found"):
        decoder().decode(b'{"success":false,"ret_msg":"error:handler not found,topic:x","op":"subscribe"}')


def changed(raw: bytes, **data: Any) -> bytes:
    content = orjson.loads(raw)
    inner = content["data"]
    content["data"] = [{**inner[0], **data}] if isinstance(inner, list) else {**inner, **data}
    return orjson.dumps(content)


HOSTILE = {
    "truncated": (SNAPSHOT[:-9], "not_json"),
    "a list": (b"[]", "structure"),
    "nothing": (b"{}", "structure"),
    "topic of nobody": (frame("kline.1.BTCUSDT", []), "unknown_topic"),
    "topic as a number": (orjson.dumps({"topic": 5}), "bad_type"),
    "full book": (frame("orderbook.full.BTCUSDT", levels(2)), "unknown_topic"),
    "unknown symbol": (frame("orderbook.1000.XRPUSDT", levels(2)), "unknown_symbol"),
    "another symbol's book": (changed(DELTA, s="ETHUSDT"), "wrong_symbol"),
    "another symbol's trade": (changed(TRADE, s="ETHUSDT"), "wrong_symbol"),
    "another symbol's mark": (changed(TICKER, symbol="ETHUSDT"), "wrong_symbol"),
    "another symbol's liquidation": (changed(LIQUIDATION, s="ETHUSDT"), "wrong_symbol"),
    "neither snapshot nor delta": (frame(BOOK, levels(2), "partial"), "bad_kind"),
    "no id": (changed(DELTA, u=None), "bad_id"),
    "no cross sequence": (changed(DELTA, seq="7"), "bad_id"),
    "no time": (orjson.dumps({**orjson.loads(DELTA), "ts": None}), "bad_time"),
    "long time": (orjson.dumps({**orjson.loads(DELTA), "ts": "9" * 30}), "bad_time"),
    "level at zero": (changed(DELTA, b=[["0.00", "1"]]), "zero"),
    "level of three": (changed(DELTA, b=[["1.00", "1", "1"]]), "structure"),
    "level as numbers": (changed(DELTA, b=[[1.5, 1]]), "not_decimal"),
    "lost digit": (changed(DELTA, b=[["1.005", "1"]]), "lost_digit"),
    "huge size": (changed(DELTA, b=[["1.00", "9" * 17]]), "overflow"),
    "price twice": (frame(BOOK, levels(2, [["1.00", "1"], ["1.0", "2"]]), "snapshot"), "bad_snapshot"),
    "snapshot of nothing there": (frame(BOOK, levels(2, [["1.00", "0"]]), "snapshot"), "bad_snapshot"),
    "trade of neither side": (changed(TRADE, S="buy"), "bad_side"),
    "trade of size zero": (changed(TRADE, v="0"), "zero"),
    "trade without an id": (changed(TRADE, i=5), "bad_type"),
    "block as a text": (changed(TRADE, BT="false"), "bad_type"),
    "trades that are none": (frame("publicTrade.BTCUSDT", [5], "snapshot"), "structure"),
    "negative mark": (changed(TICKER, markPrice="-1"), "negative"),
    "rate as a number": (changed(TICKER, fundingRate=0.1), "not_decimal"),
    "liquidation of neither side": (changed(LIQUIDATION, S=""), "bad_side"),
    "old liquidation of nobody": (changed(OLD_LIQUIDATION, symbol=None), "wrong_symbol"),
    "alert without a balance": (changed(DELEVERAGING, b=None), "not_decimal"),
    "alert without a threshold": (changed(DELEVERAGING, adl_tt=""), "not_decimal"),
    "fund of nobody": (changed(INSURANCE, symbols=None), "bad_type"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_as_documented_is_refused_by_name_and_changes_nothing(name: str) -> None:
    raw, reason = HOSTILE[name]
    its, untouched = decoder(), decoder()
    for each in (SNAPSHOT, TOUCH, TICKER):
        its.decode(each)
        untouched.decode(each)
    with pytest.raises(BadFrame) as refusal:
        its.decode(raw)
    assert refusal.value.reason == reason
    assert len(str(refusal.value)) < 400
    after = [frame("orderbook.1.BTCUSDT", levels(6, [["10.00", "2"]])), changed(TICKER, fundingRate="0.1")]
    for each in (DELTA, *after):
        assert [d.rows.tolist() for d in its.decode(each)] == [d.rows.tolist() for d in untouched.decode(each)]


def test_sizes_of_a_trillion_and_trailing_zeros_are_exact() -> None:
    (decoded,) = decoder().decode(frame(BOOK, levels(2, [["10.000000", "1000000000000.125"]])))
    assert decoded.rows.tolist() == [(1000, 1_000_000_000_000_125)]


def test_two_decoders_and_two_instruments_share_nothing() -> None:
    one, two = decoder(), decoder()
    one.decode(TOUCH)
    one.decode(TICKER)
    ether = frame("orderbook.1.ETHUSDT", levels(6, [["10.00", "2"]], symbol="ETHUSDT"))
    assert one.decode(ether) == two.decode(ether) == []
    assert two.decode(frame("orderbook.1.BTCUSDT", levels(6, [["10.00", "2"]]))) == []
    rolled = frame("tickers.BTCUSDT", {"symbol": "BTCUSDT", "nextFundingTime": "1786348800000"})
    assert len(one.decode(rolled)) == 1
    assert two.decode(rolled) == []


odd: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.sampled_from(["", "0", "-1", "NaN", "1e5", "9" * 40, "Buy", "BTCUSDT", "٣", "delta"])
    | st.lists(st.sampled_from(["1.00", 1, None, [], ["1.00", "2"], {"s": "BTCUSDT"}]), max_size=3)
)
keys = st.sampled_from(
    [
        "topic",
        "type",
        "ts",
        "cts",
        "data",
        "s",
        "S",
        "b",
        "a",
        "u",
        "seq",
        "v",
        "p",
        "i",
        "T",
        "BT",
        "symbol",
        "pr",
        "i_pr",
        "markPrice",
        "fundingRate",
        "nextFundingTime",
        "openInterest",
        "price",
        "size",
        "symbols",
        "balance",
    ]
)


@given(st.sampled_from(FRAMES), st.dictionaries(keys, odd, max_size=3), st.booleans(), st.sampled_from([LINEAR, SPOT]))
@settings(max_examples=500, deadline=None)
def test_odd_fields_give_rows_or_a_named_refusal(
    raw: bytes, changes: dict[str, Any], inside: bool, venue: Venue
) -> None:
    whole = orjson.loads(raw)
    its = decoder(venue)
    content = orjson.loads(changed(raw, **changes)) if inside else {**whole, **changes}
    check(its, orjson.dumps(content))


@given(st.sampled_from(FRAMES), st.integers(0, 400), st.binary(max_size=6))
@settings(max_examples=500, deadline=None)
def test_damaged_bytes_give_rows_or_a_named_refusal(raw: bytes, at: int, patch: bytes) -> None:
    check(decoder(), raw[:at] + patch + raw[at + len(patch) :])
    check(decoder(), patch)


def check(its: Any, raw: bytes) -> None:
    before = bytes(raw)
    with contextlib.suppress(BadFrame, Gap):
        for decoded in its.decode(raw):
            assert decoded.message["count"][0] == len(decoded.rows)
            for name in {"price", "size"} & set(decoded.rows.dtype.names):
                assert (decoded.rows[name] >= 0).all()
    assert raw == before
