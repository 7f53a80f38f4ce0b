"""Gate's futures: the documentation's frames, what is refused, the emulated venue."""

import contextlib
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadConfig, BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract, Coverage, Kind, PriceKind, Reference, Status
from ingest.sync import BookSync, Verdict
from ingest.venues import load
from ingest.venues._gate import ALL_SINCE

GATE = load("gate_futures")
MS = 1_000_000
SECOND = 1_000_000_000
T = 1_789_455_580_280


def instrument(symbol: str = "BTC_USDT", sizes: int = 1) -> Instrument:
    return Instrument(
        venue="gate_futures",
        symbol=symbol,
        asset=symbol[:3],
        quote="USDT",
        contract=Contract.LINEAR,
        price_decimals=1,
        size_decimals=sizes,
        tick=1,
        lot=1,
        contract_size=10_000,
    )


def decoder() -> Any:
    return GATE.decoder({"BTC_USDT": instrument(), "ETH_USDT": instrument("ETH_USDT")})


def frame(channel: str, result: Any, event: str = "update", **more: Any) -> bytes:
    head = {"time": T // 1000, "time_ms": T, "channel": f"futures.{channel}", "event": event}
    return orjson.dumps({**head, "result": result, **more})


OBU = {"t": T - 2, "s": "ob.BTC_USDT.400", "u": 9}
SNAPSHOT = frame("obu", {**OBU, "full": True, "b": [["77222.9", "648.5"]], "a": [["77235", "50"], ["77235.2", "1"]]})
DELTA = frame("obu", {**OBU, "U": 10, "u": 14, "b": [["77222.9", "0"]], "a": [["77236", "2.5"]]})
LEGACY = frame(
    "order_book_update", {"t": T, "U": 5, "u": 6, "s": "BTC_USDT", "a": [{"p": "77232.2", "s": 21}], "b": []}
)
TOUCH = frame("book_ticker", {"t": T - 1, "u": 12, "s": "BTC_USDT", "b": "77179", "B": 107847, "a": "77179.1", "A": 5})
SOLD: dict[str, Any] = {
    "size": -108,
    "id": 27753479,
    "create_time": 1545136464,
    "create_time_ms": T - 3,
    "price": "77200.5",
}
SOLD |= {"contract": "BTC_USDT"}
TRADE = frame("trades", [SOLD])
RATES: dict[str, Any] = {
    "contract": "BTC_USDT",
    "last": "77175.1",
    "mark_price": "77183.55",
    "funding_rate": "-0.000072",
}
RATES |= {"funding_next_apply": 1789459200, "index_price": "77221.8", "total_size": "651185722", "t": T - 4}
TICKER = frame("tickers", [RATES])
LIQUIDATED: dict[str, Any] = {"contract": "BTC_USDT", "price": "77000.1", "time": T - 5, "size": -23}
LIQUIDATION = frame("public_liquidates", [LIQUIDATED])
WARNED: dict[str, Any] = {"contract": "BTC_USDT", "settle": "usdt", "state": "warning", "update_time": T - 6}
WARNING = frame("adl_warning", WARNED, "all")
UPGRADE = frame("system", {"type": "upgrade", "msg": "reconnect please"})
FRAMES = (SNAPSHOT, DELTA, LEGACY, TOUCH, TRADE, TICKER, LIQUIDATION, WARNING, UPGRADE)


def test_a_full_message_is_the_book_and_an_empty_one_moves_its_id() -> None:
    its = decoder()
    (whole,) = its.decode(SNAPSHOT)
    assert whole.message[["kind", "first", "last", "bids", "exchanged", "published"]].tolist() == [
        (Kind.SNAPSHOT, 0, 9, 1, (T - 2) * MS, T * MS)
    ]
    assert whole.rows.tolist() == [(772_229, 6485), (772_350, 500), (772_352, 10)]
    (delta,) = its.decode(DELTA)
    assert delta.message[["kind", "first", "last", "previous"]].tolist() == [(Kind.DELTA, 10, 14, -1)]
    assert delta.rows.tolist() == [(772_229, 0), (772_360, 25)]
    (empty,) = its.decode(frame("obu", {**OBU, "U": 15, "u": 15}))
    assert empty.message[["kind", "first", "last", "count"]].tolist() == [(Kind.DELTA, 15, 15, 0)]
    chain: BookSync[int] = BookSync("gate_futures:BTC_USDT", GATE.sequence)
    chain.begin()
    assert chain.diff(10, 14, -1, 0) is Verdict.HELD
    assert chain.snapshot(chain.epoch, 9, 1) is Verdict.BRIDGED
    assert chain.diff(15, 15, -1, 2) is Verdict.APPLY
    with pytest.raises(Gap):
        chain.diff(17, 18, -1, 3)


def test_one_stream_of_a_symbol_is_its_book() -> None:
    its = decoder()
    its.decode(SNAPSHOT)
    assert its.decode(LEGACY) == []
    assert its.decode(frame("obu", {**OBU, "s": "ob.BTC_USDT.50", "U": 10, "u": 10})) == []
    assert its.counts["other_depth"] == 2
    assert len(its.decode(LEGACY, connection=2)) == 1
    its.forget(0)
    assert its.decode(LEGACY)[0].rows.tolist() == [(772_322, 210)]


def test_a_touch_has_the_books_id_and_may_have_an_empty_side() -> None:
    (decoded,) = decoder().decode(TOUCH)
    assert decoded.message[["kind", "last", "exchanged"]].tolist() == [(Kind.TOUCH, 12, (T - 1) * MS)]
    assert decoded.rows.tolist() == [(771_790, 1_078_470), (771_791, 50)]
    empty = {"t": T, "u": 13, "s": "BTC_USDT", "b": "", "B": "0", "a": "77179.1", "A": "5.5"}
    (decoded,) = decoder().decode(frame("book_ticker", empty))
    assert decoded.rows.tolist() == [(0, 0), (771_791, 55)]


def test_a_trades_sign_is_its_aggressor_and_internal_ones_are_none() -> None:
    its = decoder()
    bought = {**SOLD, "size": "2.5", "id": 5, "contract": "ETH_USDT"}
    found = its.decode(frame("trades", [SOLD, bought, {**SOLD, "is_internal": True}, {**SOLD, "is_internal": False}]))
    assert [(each.symbol, len(each.rows)) for each in found] == [("BTC_USDT", 2), ("ETH_USDT", 1)]
    assert found[0].rows.tolist()[0] == ((T - 3) * MS, 772_005, 1080, 27753479, 1, -1, 0, 0)
    assert found[1].rows[["size", "side"]].tolist() == [(25, 1)]
    assert its.counts["internal_trade"] == 1
    # Before milliseconds there were seconds; a bare fraction keeps its digits.
    old = frame("trades", [{k: v for k, v in SOLD.items() if k != "create_time_ms"}]).replace(b"-108", b"-1.5")
    assert its.decode(old)[0].rows[["exchanged", "size"]].tolist() == [(1545136464 * SECOND, 15)]


def test_a_ticker_is_mark_index_funding_and_interest() -> None:
    (decoded,) = decoder().decode(TICKER)
    assert decoded.rows[["what", "value", "next"]].tolist() == [
        (Reference.MARK, 771_836, 0),
        (Reference.INDEX, 772_218, 0),
        (Reference.FUNDING, -72_000_000, 1789459200 * SECOND),
        (Reference.OPEN_INTEREST, 6_511_857_220, 0),
    ]
    assert decoded.message[["exchanged", "published"]].tolist() == [((T - 4) * MS, T * MS)]
    # Of 2019: an object, no clock of its own, no next funding.
    old = {"contract": "BTC_USDT", "funding_rate": "0.0001", "quanto_base_rate": ""}
    (decoded,) = decoder().decode(frame("tickers", old, error=None))
    assert decoded.rows[["exchanged", "what", "value", "next"]].tolist() == [(T * MS, Reference.FUNDING, 10**8, 0)]
    assert decoder().decode(frame("tickers", [{"contract": "BTC_USDT", "last": "1"}])) == []


@pytest.mark.parametrize("listing", [False, True])
@pytest.mark.parametrize(("size", "side"), [(-23, 1), (23, -1), ("-0.5", 1), ("0.5", -1)])
@pytest.mark.parametrize(("at", "coverage"), [(ALL_SINCE // MS - 1, Coverage.SAMPLED), (ALL_SINCE // MS, Coverage.ALL)])
def test_a_liquidation_says_whose_and_of_how_many(
    listing: bool, size: Any, side: int, at: int, coverage: Coverage
) -> None:
    entry = {**LIQUIDATED, "size": size, "time": at}
    its = decoder()
    (decoded,) = its.decode(
        frame("public_liquidates", [{**entry, "contract": "XRP_USDT"}, entry] if listing else entry)
    )
    bulk = int(float(str(size).lstrip("-")) * 10)
    assert decoded.rows.tolist() == [(at * MS, 770_001, bulk, 0, side, PriceKind.ORDER_LIMIT, coverage, 0, 0)]
    assert its.counts["other_symbol"] == listing


def test_liquidations_of_one_frame_are_each_contracts_and_times_may_be_seconds() -> None:
    ether = {**LIQUIDATED, "contract": "ETH_USDT", "time": T // 1000, "price": 77000.5}
    found = decoder().decode(frame("public_liquidates", [LIQUIDATED, ether, LIQUIDATED]))
    assert [(each.symbol, len(each.rows)) for each in found] == [("BTC_USDT", 2), ("ETH_USDT", 1)]
    assert found[1].rows[["exchanged", "price"]].tolist() == [(T // 1000 * SECOND, 770_005)]


@pytest.mark.parametrize(("state", "value"), [("normal", 0), ("warning", 1), ("adl_risk", 2)])
def test_a_warning_is_how_near_deleveraging_is(state: str, value: int) -> None:
    its = decoder()
    several = [{**WARNED, "contract": "AKE_USDT"}, {**WARNED, "state": state, "update_time": 1788433195}]
    (decoded,) = its.decode(frame("adl_warning", several))
    assert (decoded.symbol, decoded.channel, its.counts["other_symbol"]) == ("BTC_USDT", Channel.RISK, 1)
    expected = [(1788433195 * SECOND, Reference.DELEVERAGING, value)]
    assert decoded.rows[["exchanged", "what", "value"]].tolist() == expected
    assert its.decode(frame("adl_warning", {**WARNED, "state": state}, "all"))[0].rows["value"].tolist() == [value]


def test_an_upgrade_is_maintenance_of_every_contract() -> None:
    its = decoder()
    found = its.decode(UPGRADE)
    assert [(each.symbol, each.channel, int(each.message["status"][0])) for each in found] == [
        ("BTC_USDT", None, Status.MAINTENANCE),
        ("ETH_USDT", None, Status.MAINTENANCE),
    ]
    assert its.decode(frame("system", {"type": "notice"})) == []
    assert its.counts["system_notice"] == 1


def test_answers_say_nothing_and_errors_say_it_in_the_venues_words() -> None:
    pong = b'{"time":1789456354,"time_ms":1789456354999,"channel":"futures.pong","event":"","result":null}'
    assert decoder().decode(pong) == []
    assert decoder().decode(frame("obu", {"status": "success"}, "subscribe", payload=["ob.BTC_USDT.400"])) == []
    twice = {"code": 2, "message": "Alert sub ob.BTC_USDT.50"}
    with pytest.raises(BadFrame, match=r"venue_error.*Alert sub"):
        decoder().decode(frame("obu", {"status": "fail"}, "subscribe", error=twice))


def changed(raw: bytes, **data: Any) -> bytes:
    content = orjson.loads(raw)
    inner = content["result"]
    content["result"] = [{**inner[0], **data}] if isinstance(inner, list) else {**inner, **data}
    return orjson.dumps(content)


HOSTILE = {
    "truncated": (SNAPSHOT[:-9], "not_json"),
    "truncated trade": (TRADE[:-9], "not_json"),
    "a list": (b"[]", "structure"),
    "nothing": (b"{}", "bad_type"),
    "no event": (b'{"channel":"futures.obu"}', "structure"),
    "channel of nobody": (frame("candlesticks", []), "unknown_channel"),
    "no result": (frame("obu", None), "structure"),
    "no time": (orjson.dumps({**orjson.loads(DELTA), "time_ms": "x"}), "bad_time"),
    "stream of nobody": (changed(DELTA, s="BTC_USDT"), "unknown_stream"),
    "unknown contract": (changed(DELTA, s="ob.XRP_USDT.400"), "unknown_symbol"),
    "unknown contract's touch": (changed(TOUCH, s="XRP_USDT"), "unknown_symbol"),
    "unknown contract's trade": (changed(TRADE, contract=None), "unknown_symbol"),
    "full as a number": (changed(SNAPSHOT, full=1), "bad_type"),
    "no first id": (changed(DELTA, U=None), "bad_id"),
    "ids the wrong way round": (changed(DELTA, U=15), "bad_ids"),
    "level at zero": (changed(DELTA, b=[["0", "1"]]), "zero"),
    "level of three": (changed(DELTA, b=[["1", "1", "1"]]), "structure"),
    "level of the other channel": (changed(LEGACY, b=[["1", "1"]]), "structure"),
    "levels that are none": (changed(LEGACY, b=None), "bad_type"),
    "endless levels": (changed(DELTA, b=[["1.0", "1"]] * 20_001), "too_long"),
    "lost digit": (changed(DELTA, b=[["1.05", "1"]]), "lost_digit"),
    "negative size": (changed(LEGACY, b=[{"p": "1", "s": -1}]), "negative"),
    "price twice": (changed(SNAPSHOT, b=[["1.0", "1"], ["1", "2"]]), "bad_snapshot"),
    "trade of nothing": (changed(TRADE, size=0), "zero"),
    "trade without an id": (changed(TRADE, id="5"), "bad_id"),
    "trades that are none": (frame("trades", [5]), "structure"),
    "mark of nothing": (changed(TICKER, mark_price=None), "not_decimal"),
    "liquidation without a price": (changed(LIQUIDATION, price=None), "not_decimal"),
    "liquidation of long ago": (changed(LIQUIDATION, time=-1), "bad_time"),
    "state of nobody": (changed(WARNING, state="calm"), "bad_state"),
    "notice of nothing": (frame("system", {"type": None}), "bad_type"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_not_as_documented_is_refused_by_name_and_changes_nothing(name: str) -> None:
    raw, reason = HOSTILE[name]
    its = decoder()
    with pytest.raises(BadFrame) as refusal:
        its.decode(raw)
    assert refusal.value.reason == reason
    assert len(str(refusal.value)) < 400
    # Either stream may still become the book.
    assert len(its.decode(LEGACY)) == 1
    assert its.counts["other_depth"] == 0


def test_sizes_of_a_trillion_are_exact_and_nothing_is_shared() -> None:
    one, two = decoder(), decoder()
    (decoded,) = one.decode(changed(SNAPSHOT, b=[["77222.90000", "1000000000000.5"]]))
    assert decoded.rows.tolist()[0] == (772_229, 10_000_000_000_005)
    assert len(two.decode(LEGACY)) == 1
    assert len(one.decode(changed(LEGACY, s="ETH_USDT"))) == 1


def test_requests_go_channel_by_channel_and_name_every_stream() -> None:
    symbols = [f"COIN{number}_USDT" for number in range(120)]
    streams = GATE.streams(symbols)
    assert len({stream.name for stream in streams}) == len(streams) == 6 * 120
    for event, written, read in (
        ("subscribe", GATE.subscribe, GATE.emulation.subscribed),
        ("unsubscribe", GATE.unsubscribe, GATE.emulation.unsubscribed),
    ):
        asked: list[str] = []
        for each in written(streams):
            content = orjson.loads(each)
            assert (content["event"], content["time"]) == (event, 123456)
            assert 0 < len(content["payload"]) <= 100
            found = read(each)
            assert found is not None
            assert decoder().decode(found[1]) == []
            asked += found[0]
        assert sorted(asked) == sorted(stream.name for stream in streams)
    assert GATE.headers == {"X-Gate-Size-Decimal": "1"}
    assert GATE.url("ws://127.0.0.1:9", "usdt", streams) == "ws://127.0.0.1:9/v4/ws/usdt"
    assert GATE.heartbeat is not None
    pong = GATE.emulation.answer(GATE.heartbeat[0])
    assert pong is not None
    assert decoder().decode(pong) == []


def test_the_emulated_venue_speaks_what_the_decoder_reads() -> None:
    streams = {stream.name: stream.channel for stream in GATE.streams(["BTC_USDT"])}
    for raw in FRAMES[:-1]:
        name = GATE.emulation.stream_of(raw)
        assert name is not None
        assert {streams[name]} == {each.channel for each in decoder().decode(raw)}
    assert GATE.emulation.stream_of(UPGRADE) == "futures.system:"
    known = [instrument(), instrument("ETH_USDT", 0)]
    assert GATE.parse_instruments(GATE.emulation.instruments(known), ["BTC_USDT", "ETH_USDT"]) == known
    assert GATE.emulation.route(GATE.instruments_path) == ("instruments", "", 10)
    assert GATE.emulation.route("/nowhere") is None
    bids, asks = np.array([(1000, 5), (990, 7)], LEVEL), np.array([(1010, 9)], LEVEL)
    (body,) = decoder().body("BTC_USDT", Channel.DEPTH, GATE.emulation.snapshot(known[0], 77, T * MS, bids, asks))
    assert GATE.emulation.book is not None
    opening = GATE.emulation.book(known[0], 77, T * MS, bids, asks)
    (decoded,) = decoder().decode(opening)
    assert decoded.rows.tolist() == body.rows.tolist() == [*bids.tolist(), *asks.tolist()]
    assert decoded.message.tobytes() == body.message.tobytes()
    with pytest.raises(BadFrame, match="venue_error"):
        decoder().body("BTC_USDT", Channel.DEPTH, b'{"label":"CONTRACT_NOT_FOUND"}')


def test_a_listing_says_what_a_contract_is() -> None:
    entry = {"name": "ETH_USDT", "type": "direct", "quanto_multiplier": "0.01", "order_price_round": "0.01"}
    parts = {**entry, "order_size_min": 0, "enable_decimal": True}
    dollar = {**entry, "name": "BTC_USD", "type": "inverse", "quanto_multiplier": "0", "order_size_min": 1}
    (ether, bitcoin) = GATE.parse_instruments(orjson.dumps([parts, dollar]), ["ETH_USDT", "BTC_USD"])
    assert (ether.contract_size, ether.size_decimals, ether.lot, ether.tick) == (10**6, 4, 1, 1)
    assert (bitcoin.contract, bitcoin.contract_size, bitcoin.quote) == (Contract.INVERSE, 10**8, "USD")
    with pytest.raises(BadConfig, match="nearest are ETH_USDT"):
        GATE.parse_instruments(orjson.dumps([parts]), ["ETH_USDC"])
    with pytest.raises(BadFrame, match="not_exchange_information"):
        GATE.parse_instruments(b"[{}]", ["ETH_USDT"])
    with pytest.raises(BadConfig, match="no book of gate_futures"):
        GATE.infer_instruments([TICKER, b"{"])


odd: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.sampled_from(["", "0", "-1", "NaN", "1e5", "9" * 40, "BTC_USDT", "ob.BTC_USDT.400", "٣", "normal"])
    | st.lists(st.sampled_from(["1.0", 1, None, [], ["1.0", "2"], {"s": 1, "p": "1"}]), max_size=3)
)
keys = st.sampled_from([*"tsuUabBA", "full", "p", "size", "price", "time", "contract", "state", "id", "mark_price"])


@given(st.sampled_from(FRAMES), st.dictionaries(keys, odd, max_size=3))
@settings(max_examples=500, deadline=None)
def test_odd_fields_give_rows_or_a_named_refusal(raw: bytes, changes: dict[str, Any]) -> None:
    check(changed(raw, **changes))


@given(st.sampled_from(FRAMES), st.integers(0, 400), st.binary(max_size=6))
@settings(max_examples=500, deadline=None)
def test_damaged_bytes_give_rows_or_a_named_refusal(raw: bytes, at: int, patch: bytes) -> None:
    check(raw[:at] + patch + raw[at + len(patch) :])
    check(patch)


def check(raw: bytes) -> None:
    its = decoder()
    with contextlib.suppress(BadFrame, Gap):
        for decoded in its.decode(raw):
            assert decoded.message["count"][0] == len(decoded.rows)
            for name in {"price", "size"} & set(decoded.rows.dtype.names):
                assert (decoded.rows[name] >= 0).all()
