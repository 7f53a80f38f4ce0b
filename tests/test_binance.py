"""Binance's frames, channel by channel, and what is refused of them."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Channel, Contract, Coverage, Flag, Kind, PriceKind, Reference, Status
from ingest.venues import Decoded, Venue, load

USDM, SPOT = load("binance_usdm"), load("binance_spot")
MS = 1_000_000


def instrument(
    symbol: str = "BTCUSDT", price: int = 2, size: int = 3, contract: Contract = Contract.LINEAR
) -> Instrument:
    return Instrument(
        venue="binance_usdm",
        symbol=symbol,
        asset=symbol[:3],
        quote="USDT",
        contract=contract,
        price_decimals=price,
        size_decimals=size,
        tick=1,
        lot=1,
    )


def decode(content: dict[str, Any], stream: str | None = None, venue: Venue = USDM, **known: Any) -> list[Decoded]:
    decoder = venue.decoder({"BTCUSDT": instrument(**known), "ETHUSDT": instrument("ETHUSDT")})
    return decoder.decode(orjson.dumps(content if stream is None else {"stream": stream, "data": content}))


def row_of(decoded: Decoded) -> Any:
    assert decoded.message.shape == (1,)
    assert decoded.message["count"][0] == len(decoded.rows)
    return decoded.message[0]


TRADE = {
    "e": "trade",
    "E": 20,
    "T": 10,
    "s": "BTCUSDT",
    "t": 7,
    "p": "27785.00",
    "q": "0.014",
    "X": "MARKET",
    "m": True,
}
TOUCH = {"e": "bookTicker", "u": 9, "s": "BTCUSDT", "b": "7.61", "B": "2", "a": "7.62", "A": "297", "T": 12, "E": 17}
AGGREGATE = {
    "e": "aggTrade",
    "E": 20,
    "s": "BTCUSDT",
    "a": 5,
    "p": "0.01",
    "q": "100",
    "f": 100,
    "l": 105,
    "T": 10,
    "m": False,
}
MARK: dict[str, Any] = {
    "e": "markPriceUpdate",
    "E": 1000,
    "s": "BTCUSDT",
    "p": "11794.15",
    "ap": "11794.20",
    "i": "11784.62659091",
}
MARK |= {"P": "11784.25", "r": "-0.00038167", "T": 2000}
ORDER: dict[str, Any] = {
    "s": "BTCUSDT",
    "S": "SELL",
    "o": "LIMIT",
    "f": "IOC",
    "q": "0.014",
    "p": "9910",
    "ap": "9911.12345678",
}
ORDER |= {"X": "FILLED", "l": "0.014", "z": "0.014", "T": 1568014460893}
LIQUIDATION = {"e": "forceOrder", "E": 1568014460895, "o": ORDER}
DEPTH = {"e": "depthUpdate", "E": 2, "T": 1, "s": "BTCUSDT", "U": 5, "u": 9, "pu": 4, "b": [["1.00", "2"]], "a": []}


def test_a_trade_states_its_aggressor() -> None:
    (decoded,) = decode(TRADE, "btcusdt@trade")
    row = row_of(decoded)
    assert (decoded.channel, row["kind"], row["exchanged"], row["published"]) == (
        Channel.TRADE,
        Kind.TRADE,
        10 * MS,
        20 * MS,
    )
    assert decoded.rows.tolist() == [(10 * MS, 2_778_500, 14, 7, 1, -1, 0, 0)]
    assert decode({**TRADE, "m": False})[0].rows["side"].tolist() == [1]


def test_what_futures_print_beside_trades_is_no_trade() -> None:
    assert decode({**TRADE, "X": "NA", "p": "0", "q": "0"}, "btcusdt@trade") == []
    assert decode({**TRADE, "X": "INSURANCE_FUND"}) == []


def test_an_aggregate_counts_its_fills() -> None:
    (decoded,) = decode(AGGREGATE, "btcusdt@aggTrade")
    assert decoded.rows.tolist() == [(10 * MS, 1, 100_000, 5, 6, 1, 0, 0)]


def test_a_touch_carries_the_books_id() -> None:
    (decoded,) = decode(TOUCH, "btcusdt@bookTicker")
    row = row_of(decoded)
    assert (row["kind"], row["last"], row["bids"], row["exchanged"], row["epoch"]) == (Kind.TOUCH, 9, 1, 12 * MS, 0)
    assert decoded.rows.tolist() == [(761, 2000), (762, 297_000)]


def test_spots_touch_has_no_clock_and_no_event_name() -> None:
    content = {"u": 400900217, "s": "BTCUSDT", "b": "25.35", "B": "31.21", "a": "25.36", "A": "40.66"}
    for stream in ("btcusdt@bookTicker", None):
        (decoded,) = decode(content, stream, SPOT)
        assert (row_of(decoded)["exchanged"], row_of(decoded)["published"]) == (0, 0)
        assert decoded.rows.tolist() == [(2535, 31_210), (2536, 40_660)]


def test_an_empty_side_of_a_touch_is_zero() -> None:
    (decoded,) = decode({**TOUCH, "b": "0", "B": "0"})
    assert decoded.rows.tolist()[0] == (0, 0)


def test_the_mark_price_comes_with_index_and_funding() -> None:
    (decoded,) = decode(MARK, "btcusdt@markPrice@1s")
    row = row_of(decoded)
    # `T` is the next funding time here, not the event's.
    assert (row["kind"], row["exchanged"], row["published"]) == (Kind.REFERENCE, 1000 * MS, 1000 * MS)
    assert decoded.rows[["what", "value", "next"]].tolist() == [
        (Reference.MARK, 1_179_415, 0),
        (Reference.INDEX, 1_178_463, 0),
        (Reference.FUNDING, -381_670_000, 2000 * MS),
    ]


def test_a_delivery_contract_has_no_funding() -> None:
    (decoded,) = decode({**MARK, "r": "", "T": 0})
    assert decoded.rows["what"].tolist() == [Reference.MARK, Reference.INDEX]


@pytest.mark.parametrize(
    ("at", "coverage"),
    [
        (1_775_779_199_999, Coverage.SAMPLED_LATEST),
        (1_775_779_200_000, Coverage.SAMPLED_LARGEST),
    ],
)
def test_a_forced_sale_liquidates_a_long_and_is_a_sample(at: int, coverage: Coverage) -> None:
    (decoded,) = decode({**LIQUIDATION, "E": at + 2, "o": {**ORDER, "T": at}}, "btcusdt@forceOrder")
    assert decoded.channel == Channel.LIQUIDATION
    assert decoded.rows.tolist() == [(at * MS, 991_000, 14, 991_112, 1, PriceKind.ORDER_LIMIT, coverage, 0, 0)]
    (bought,) = decode({**LIQUIDATION, "o": {**ORDER, "S": "BUY"}})
    assert bought.rows["side"].tolist() == [-1]


def test_a_diff_of_spot_states_no_previous_id() -> None:
    (decoded,) = decode({key: DEPTH[key] for key in ("e", "E", "s", "U", "u", "b", "a")}, "btcusdt@depth@100ms", SPOT)
    row = row_of(decoded)
    assert (row["first"], row["last"], row["previous"], row["exchanged"], row["published"]) == (
        5,
        9,
        -1,
        2 * MS,
        2 * MS,
    )


def test_a_stamp_later_than_its_publication_is_flagged() -> None:
    for frame in (DEPTH, TRADE, TOUCH):
        assert row_of(decode({**frame, "T": 30, "E": 20})[0])["flags"] == Flag.BAD_TIME
        assert row_of(decode({**frame, "T": 20, "E": 20})[0])["flags"] == 0


def test_a_snapshot_comes_best_first_whatever_its_order() -> None:
    body = {
        "lastUpdateId": 7,
        "E": 2,
        "T": 1,
        "bids": [["1.00", "1"], ["2.00", "2"]],
        "asks": [["4.00", "4"], ["3.00", "3"]],
    }
    (decoded,) = USDM.decoder({"BTCUSDT": instrument()}).body("BTCUSDT", Channel.DEPTH, orjson.dumps(body))
    row = row_of(decoded)
    assert (row["kind"], row["last"], row["previous"], row["bids"], row["exchanged"]) == (Kind.SNAPSHOT, 7, -1, 2, MS)
    assert decoded.rows.tolist() == [(200, 2000), (100, 1000), (300, 3000), (400, 4000)]


def test_open_interest_is_a_reference() -> None:
    decoder = USDM.decoder({"BTCUSDT": instrument()})
    body = b'{"openInterest":"10659.509","symbol":"BTCUSDT","time":1589437530011}'
    (decoded,) = decoder.body("BTCUSDT", Channel.OPEN_INTEREST, body)
    assert decoded.rows.tolist() == [(1589437530011 * MS, 10_659_509, 0, Reference.OPEN_INTEREST, 0, 0, 0)]
    with pytest.raises(BadFrame, match="unknown_symbol"):
        decoder.body("BTCUSDT", Channel.OPEN_INTEREST, body.replace(b"BTC", b"ETH"))
    with pytest.raises(BadFrame, match="unknown_channel"):
        SPOT.decoder({"BTCUSDT": instrument()}).body("BTCUSDT", Channel.OPEN_INTEREST, body)


def test_the_end_of_a_connection_is_announced_for_every_symbol() -> None:
    decoded = decode({"e": "serverShutdown", "E": 5}, venue=SPOT)
    assert [(d.symbol, d.channel, int(d.message["status"][0])) for d in decoded] == [
        ("BTCUSDT", None, Status.MAINTENANCE),
        ("ETHUSDT", None, Status.MAINTENANCE),
    ]


def test_an_acknowledgement_says_nothing() -> None:
    assert decode({"result": None, "id": 1}) == []


HOSTILE = {
    "truncated": (orjson.dumps({"stream": "btcusdt@trade", "data": TRADE})[:-20], "not_json"),
    "truncated depth": (orjson.dumps({"stream": "btcusdt@depth@0ms", "data": DEPTH})[:-20], "not_json"),
    "empty": (b"", "not_json"),
    "invalid utf-8": (
        orjson.dumps({"stream": "btcusdt@trade", "data": TRADE}).replace(b"MARKET", b"M\xff\xfe"),
        "not_json",
    ),
    "bare NaN": (orjson.dumps(TRADE).replace(b'"27785.00"', b"NaN"), "not_json"),
    "bare 1e400": (orjson.dumps(TRADE).replace(b'"27785.00"', b"1e400"), "not_json"),
    "quoted NaN": (orjson.dumps({**TRADE, "p": "NaN"}), "not_decimal"),
    "quoted 1e400": (orjson.dumps({**TRADE, "p": "1e400"}), "not_decimal"),
    "price as a number": (orjson.dumps({**TRADE, "p": 27785.5}), "not_decimal"),
    "negative price": (orjson.dumps({**TRADE, "p": "-1.00"}), "negative"),
    "zero price": (orjson.dumps({**TRADE, "p": "0.00"}), "zero"),
    "zero size": (orjson.dumps({**TRADE, "q": "0"}), "zero"),
    "lost digit": (orjson.dumps({**TRADE, "p": "1.005"}), "lost_digit"),
    "huge size": (orjson.dumps({**TRADE, "q": "9" * 30}), "overflow"),
    "id of 2^64": (orjson.dumps(TRADE).replace(b'"t":7', b'"t":18446744073709551616'), "bad_id"),
    "id of 2^63": (orjson.dumps(TRADE).replace(b'"t":7', b'"t":9223372036854775808'), "bad_id"),
    "id as a bool": (orjson.dumps({**TRADE, "t": True}), "bad_id"),
    "id as a text": (orjson.dumps({**TRADE, "t": "7"}), "bad_id"),
    "time of the year 9999": (orjson.dumps({**TRADE, "T": 253_402_300_799_000}), "bad_time"),
    "negative time": (orjson.dumps({**TRADE, "E": -1}), "bad_time"),
    "aggressor as a number": (orjson.dumps({**TRADE, "m": 1}), "bad_type"),
    "nested 1,100 deep": (b'{"a":' * 1100 + b"1" + b"}" * 1100, "not_json"),
    "lists 1,100 deep": (orjson.dumps(DEPTH).replace(b'"a":[]', b'"a":' + b"[" * 1100 + b"]" * 1100), "not_json"),
    "not an object": (b"[1,2]", "structure"),
    "neither event nor answer": (b"{}", "structure"),
    "no data": (b'{"stream":"btcusdt@trade"}', "bad_type"),
    "unknown symbol": (orjson.dumps({**TRADE, "s": "XRPUSDT"}), "unknown_symbol"),
    "unknown symbol's depth": (orjson.dumps({**DEPTH, "s": "XRPUSDT"}), "unknown_symbol"),
    "no symbol": (orjson.dumps({**TRADE, "s": None}), "unknown_symbol"),
    "unknown stream": (orjson.dumps({"stream": "btcusdt@ticker", "data": TRADE}), "unknown_stream"),
    "stream of nobody": (orjson.dumps({"stream": "xrpusdt@trade", "data": TRADE}), "unknown_stream"),
    "stream as a number": (orjson.dumps({"stream": 5, "data": TRADE}), "unknown_stream"),
    "another symbol's frame": (orjson.dumps({"stream": "ethusdt@trade", "data": TRADE}), "wrong_stream"),
    "another channel's frame": (orjson.dumps({"stream": "btcusdt@depth@0ms", "data": TRADE}), "wrong_stream"),
    "unknown event": (orjson.dumps({**TRADE, "e": "24hrTicker"}), "unknown_event"),
    "event as a list": (orjson.dumps({**TRADE, "e": []}), "unknown_event"),
    "error": (b'{"error":{"code":2,"msg":"Invalid request"},"id":1}', "venue_error"),
    "error of old": (b'{"code":2,"msg":"Invalid request"}', "venue_error"),
    "ids the wrong way round": (orjson.dumps({**DEPTH, "U": 10}), "bad_ids"),
    "aggregate the wrong way round": (orjson.dumps({**AGGREGATE, "l": 99}), "bad_ids"),
    "no chain": (orjson.dumps({k: v for k, v in DEPTH.items() if k != "pu"}), "bad_id"),
    "levels that are none": (orjson.dumps({**DEPTH, "b": {"1.00": "2"}}), "bad_type"),
    "level of one number": (orjson.dumps({**DEPTH, "b": [["1.00"]]}), "structure"),
    "level at zero": (orjson.dumps({**DEPTH, "b": [["0.00", "1"]]}), "zero"),
    "negative size": (orjson.dumps({**DEPTH, "b": [["1.00", "-1"]]}), "negative"),
    "level with a lost digit": (orjson.dumps({**DEPTH, "b": [["1.001", "1"]]}), "lost_digit"),
    "endless levels": (orjson.dumps({**DEPTH, "b": [["1.00", "1"]] * 20_001}), "too_long"),
    "liquidation without an order": (orjson.dumps({"e": "forceOrder", "E": 1}), "bad_type"),
    "liquidation of neither side": (orjson.dumps({**LIQUIDATION, "o": {**ORDER, "S": "HOLD"}}), "bad_side"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_as_documented_is_refused_by_name(name: str) -> None:
    raw, reason = HOSTILE[name]
    decoder = USDM.decoder({"BTCUSDT": instrument(), "ETHUSDT": instrument("ETHUSDT")})
    with pytest.raises(BadFrame) as refusal:
        decoder.decode(raw)
    assert refusal.value.reason == reason
    assert str(refusal.value).startswith(reason)
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize("level", [["1.00", "1"], ["1.00", "0"]])
def test_a_snapshot_that_repeats_a_price_or_holds_nothing_there_is_refused(level: list[str]) -> None:
    body = {"lastUpdateId": 7, "E": 2, "T": 1, "bids": [["1.00", "1"], level], "asks": []}
    with pytest.raises(BadFrame, match="bad_snapshot"):
        USDM.decoder({"BTCUSDT": instrument()}).body("BTCUSDT", Channel.DEPTH, orjson.dumps(body))


odd: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "0", "-1", "NaN", "1e5", "9" * 40, "BUY", "BTCUSDT", "٣", "MARKET"])
    | st.lists(st.sampled_from(["1.00", 1, None, []]), max_size=3)
    | st.just({"s": "BTCUSDT"})
)


@given(
    st.sampled_from([TRADE, TOUCH, AGGREGATE, MARK, LIQUIDATION, ORDER, DEPTH, {"e": "serverShutdown", "E": 5}]),
    st.dictionaries(
        st.sampled_from([*"eEsSTUuptqmXbBaAroiPfl", "pu", "ap", "id", "result", "stream", "data"]), odd, max_size=3
    ),
    st.sampled_from([None, "btcusdt@trade", "btcusdt@depth@0ms", "btcusdt@bookTicker", "btcusdt@forceOrder"]),
    st.sampled_from([USDM, SPOT]),
)
@settings(max_examples=800, deadline=None)
def test_odd_fields_give_rows_or_a_named_refusal(
    whole: dict[str, Any], changes: dict[str, Any], stream: str | None, venue: Venue
) -> None:
    decoder = venue.decoder({"BTCUSDT": instrument()})
    content = {**whole, **changes}
    raw = orjson.dumps(content if stream is None else {"stream": stream, "data": content})
    for read in (decoder.decode, lambda raw: decoder.body("BTCUSDT", Channel.DEPTH, raw)):
        with contextlib.suppress(BadFrame):
            for decoded in read(raw):
                assert decoded.message["count"][0] == len(decoded.rows)


SUPPORTED = {"agg_trade", "book_ticker", "depth_update", "liquidation", "mark_price", "trade"}


def test_documented_messages_are_decoded_or_refused_by_name(messages: Path) -> None:
    decoded: list[str] = []
    refused: dict[str, str] = {}
    symbols = {symbol: instrument(symbol, 8, 8) for symbol in ("BTCUSDT", "BNBUSDT", "BNBBTC")}
    for path in sorted((messages / "binance").rglob("*.json")):
        venue = USDM if "futures" in path.parts else SPOT
        name = path.stem.removesuffix("_stream")
        if path.name == "depth_response.json":
            (found,) = venue.decoder(symbols).body("BNBBTC", Channel.DEPTH, path.read_bytes())
            assert found.rows.tolist() == [(400_000_000, 43_100_000_000), (400_000_200, 1_200_000_000)]
            continue
        try:
            decoded += [name for _ in venue.decoder(symbols).decode(path.read_bytes())]
        except BadFrame as refusal:
            refused[name] = refusal.reason
    print(f"{decoded} decoded; {refused} refused")
    assert set(decoded) == SUPPORTED
    assert set(refused.values()) == {"unknown_event", "structure"}
    assert not SUPPORTED & set(refused)


def test_rows_are_native_and_writable() -> None:
    for frame in (TRADE, TOUCH, MARK, LIQUIDATION, DEPTH):
        (decoded,) = decode(frame)
        assert decoded.message.flags.writeable
        assert decoded.rows.dtype.isalignedstruct
        assert np.array_equal(decoded.rows, decoded.rows.copy())
