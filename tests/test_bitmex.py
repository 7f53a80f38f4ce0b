"""BitMEX: what its recorded and documented tables say, and what is refused of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract, Coverage, Flag, Kind, PriceKind, Reference, Status
from tests.bitmex import (
    FRAMES,
    LISTED,
    ORDER,
    PARTIAL,
    QUOTE,
    SECOND,
    TRADE,
    UPDATE,
    VENUE,
    decoder,
    instrument,
    one,
    row,
    table,
    whole,
)
from tests.peers import broken, refused, survive


def test_a_partial_is_the_book_and_what_follows_finds_its_prices() -> None:
    reader = decoder()
    snapshot = one(PARTIAL, reader)
    assert snapshot.message[["kind", "bids", "first", "last"]].tolist() == [(Kind.SNAPSHOT, 1, 0, 0)]
    assert snapshot.message["exchanged"][0] == SECOND + 356_000_000
    assert snapshot.rows.tolist() == [(984_595, 200), (984_599, 100), (984_600, 500)]
    change = one(UPDATE, reader)
    assert change.message[["kind", "bids", "previous"]].tolist() == [(Kind.DELTA, 1, -1)]
    assert change.message[["exchanged", "published"]].tolist() == [(SECOND + 275_000_000, SECOND + 356_000_000)]
    assert change.rows.tolist() == [(984_595, 700)]
    assert one(table("orderBookL2", "delete", row(2, "Sell")), reader).rows.tolist() == [(984_599, 0)]
    assert one(table("orderBookL2", "insert", row(9, size=5, price=98459.6)), reader).rows.tolist() == [(984_596, 5)]


@pytest.mark.parametrize(
    "frame",
    [
        table("orderBookL2", "update", row(4, size=1)),
        table("orderBookL2", "delete", row(4)),
        # The row of that id is an ask.
        table("orderBookL2", "update", row(1, size=1)),
        table("orderBookL2", "delete", row(3), row(3)),
    ],
    ids=["update", "delete", "other side", "twice"],
)
def test_a_row_that_is_not_there_is_a_gap_once(frame: bytes) -> None:
    reader = whole()
    with pytest.raises(Gap) as met:
        reader.decode(frame, 0, 1)
    assert met.value.instrument == "bitmex:XBTUSD"
    # The book is not known until its next partial; nothing is said of it before.
    assert reader.decode(frame, 0, 1) == []
    assert reader.counts == {"before_partial": 1}
    assert len(reader.decode(PARTIAL, 0, 1)) == len(reader.decode(UPDATE, 0, 1)) == 1


def test_a_book_beside_one_that_breaks_is_broken_too() -> None:
    reader = whole()
    other = {"symbol": "ETHUSD", "id": 5, "side": "Buy", "size": 1}
    reader.decode(table("orderBookL2", "partial", {**other, "price": 7}), 0, 1)
    with pytest.raises(Gap, match="XBTUSD"):
        reader.decode(table("orderBookL2", "update", other, row(99, size=1)), 0, 1)
    with pytest.raises(Gap, match="ETHUSD"):
        reader.decode(table("orderBookL2", "update", other), 0, 1)
    assert reader.decode(table("orderBookL2", "update", other), 0, 1) == []


def test_ids_are_those_of_a_connection() -> None:
    reader = whole()
    assert reader.decode(UPDATE, 0, 2) == []
    reader.decode(PARTIAL, 0, 2)
    reader.decode(table("orderBookL2", "delete", row(3)), 0, 2)
    assert one(table("orderBookL2", "delete", row(3)), reader).rows.tolist() == [(984_595, 0)]
    reader.forget(2)
    assert reader.decode(UPDATE, 0, 2) == []


def test_an_empty_partial_is_an_empty_book() -> None:
    decoded = one(table("orderBookL2", "partial", filter={"symbol": "XBTUSD"}))
    assert (decoded.symbol, decoded.message["kind"][0], len(decoded.rows)) == ("XBTUSD", Kind.SNAPSHOT, 0)


def test_nothing_is_changed_by_what_is_refused() -> None:
    reader = whole()
    bad = table("orderBookL2", "delete", row(3), row("two", "Sell"))  # type: ignore[arg-type]
    assert refused(reader, bad) == "bad_id"
    with pytest.raises(BadFrame, match="bad_snapshot"):
        reader.decode(table("orderBookL2", "partial", row(7, size=1, price=2), row(8, size=1, price=2)), 0, 1)
    assert one(UPDATE, reader).rows.tolist() == [(984_595, 700)]


def test_trades_are_hashed_and_those_of_a_partial_are_history() -> None:
    sold = one(table("trade", "insert", TRADE))
    bought = one(table("trade", "partial", {**TRADE, "side": "Buy", "trdMatchID": "other"}))
    assert sold.rows[["exchanged", "price", "size", "side"]].tolist() == [(SECOND, 985_709, 100, -1)]
    assert (sold.message["flags"][0], bought.message["flags"][0]) == (0, Flag.HISTORY)
    ids = sold.rows["id"].tolist() + bought.rows["id"].tolist()
    assert len(set(ids)) == 2
    assert all(0 < each < 1 << 63 for each in ids)
    assert one(table("trade", "insert", TRADE)).rows["id"].tolist() == ids[:1]
    reader = decoder()
    assert reader.decode(table("trade", "insert", {**TRADE, "trdType": "Settlement"})) == []
    assert reader.counts == {"trade_Settlement": 1}


def test_an_order_of_the_liquidation_engine_is_told_when_it_is_placed() -> None:
    reader = decoder()
    decoded = one(table("liquidation", "insert", ORDER), reader)
    assert decoded.channel == Channel.LIQUIDATION
    # It buys, so a short is closed; nobody says when.
    assert decoded.rows.tolist() == [(0, 950_000, 1000, 0, -1, PriceKind.ORDER_LIMIT, Coverage.ALL, 0, 0)]
    sells = one(table("liquidation", "partial", {**ORDER, "side": "Sell"}), reader)
    assert (sells.rows["side"][0], sells.message["flags"][0]) == (1, Flag.HISTORY)
    assert reader.decode(table("liquidation", "update", {"orderID": "550e", "symbol": "XBTUSD", "leavesQty": 1})) == []
    assert reader.decode(table("liquidation", "delete", {"orderID": "550e", "symbol": "XBTUSD"})) == []
    assert reader.decode(table("liquidation", "partial")) == []
    assert reader.counts == {"liquidation_update": 1, "liquidation_delete": 1}


def test_an_instrument_tells_what_changed() -> None:
    decoded = one(table("instrument", "update", LISTED))
    assert decoded.rows[["what", "value", "next"]].tolist() == [
        (Reference.MARK, 951_258, 0),
        (Reference.INDEX, 951_260, 0),
        (Reference.FUNDING, -11_000_000, SECOND),
        (Reference.OPEN_INTEREST, 123_456_789, 0),
    ]
    part = one(table("instrument", "update", {"symbol": "XBTUSD", "markPrice": None, "openInterest": 5}))
    assert (part.rows["value"].tolist(), part.message["exchanged"][0]) == ([5], 0)
    assert decoder().decode(table("instrument", "update", {"symbol": "XBTUSD", "lastPrice": 5})) == []


@pytest.mark.parametrize(
    ("action", "state", "said"),
    [
        ("update", "Closed", [Status.HALTED]),
        ("update", "Open", [Status.TRADING]),
        ("partial", "Open", []),
        ("partial", "Settled", [Status.HALTED]),
    ],
)
def test_a_change_of_state(action: str, state: str, said: list[Status]) -> None:
    decoded = decoder().decode(table("instrument", action, {"symbol": "XBTUSD", "state": state}))
    assert [int(each.message["status"][0]) for each in decoded] == said


def test_quotes_may_have_an_empty_side() -> None:
    first, second = decoder().decode(table("quote", "insert", QUOTE, {**QUOTE, "bidPrice": None, "bidSize": None}))
    assert first.rows.tolist() == [(75, 10), (80, 3)]
    assert second.rows.tolist() == [(0, 0), (80, 3)]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"ping", "not_json"),
        (b"[]", "structure"),
        (b'{"a":1}', "structure"),
        (b'{"status":400,"error":"Unknown table"}', "venue_error"),
        (b'{"success":false}', "venue_error"),
        (table("chat", "insert", TRADE), "unknown_channel"),
        (table("trade", "replace", TRADE), "structure"),
        (table("trade", "insert", {**TRADE, "symbol": "XBTUSDT"}), "unknown_symbol"),
        (table("trade", "insert", {**TRADE, "side": ""}), "bad_side"),
        (table("trade", "insert", {**TRADE, "price": 0}), "zero"),
        (table("trade", "insert", {**TRADE, "timestamp": "today"}), "bad_time"),
        (table("liquidation", "insert", {**ORDER, "leavesQty": None}), "not_decimal"),
        (table("instrument", "update", {**LISTED, "markPrice": "much"}), "not_decimal"),
        (table("quote", "insert", {**QUOTE, "askPrice": -1}), "negative"),
        (table("funding", "insert", {"symbol": "XBTUSD", "timestamp": "2024-11-24T08:26:22Z"}), "not_decimal"),
        (table("orderBookL2", "insert", row(1, size=5)), "not_decimal"),
        (table("orderBookL2", "update", row(1)), "not_decimal"),
        (table("orderBookL2", "insert", row(1, size=0, price=1)), "zero"),
        (table("orderBookL2", "insert", row(1, size=1, price=1.55)), "lost_digit"),
    ],
)
def test_what_is_refused(frame: bytes, reason: str) -> None:
    assert refused(decoder(), frame) == reason


def test_notices_are_passed_over() -> None:
    reader = decoder()
    for frame in (b"pong", b'{"info":"Welcome to the BitMEX Realtime API."}', b'{"success":true,"subscribe":"trade"}'):
        assert reader.decode(frame) == []
    assert not reader.counts


@given(frame=broken(FRAMES), after=st.sampled_from(FRAMES))
def test_no_frame_breaks_the_decoder(frame: bytes, after: bytes) -> None:
    reader, other = whole(), whole()
    survive(reader, frame)
    survive(reader, after)
    assert len(other.decode(UPDATE, 0, 1)) == 1


@pytest.mark.parametrize("contract", list(Contract))
def test_the_emulated_venue_speaks_as_the_real_one(contract: Contract) -> None:
    known = Instrument(
        venue="bitmex",
        symbol="XBTUSD",
        asset="BTC",
        quote="USD",
        contract=contract,
        price_decimals=2,
        size_decimals=0,
        tick=50,
        lot=100,
        contract_size=2000,
    )
    emulation, streams = VENUE.emulation, VENUE.streams(["XBTUSD"])
    (frame,) = VENUE.subscribe(streams)
    asked = emulation.subscribed(frame)
    assert asked is not None
    assert asked[0] == tuple(stream.name for stream in streams)
    assert decoder().decode(asked[1]) == []
    (ended,) = VENUE.unsubscribe(streams[:1])
    answered = emulation.unsubscribed(ended)
    assert answered is not None
    assert answered[0] == ("orderBookL2:XBTUSD",)
    assert decoder().decode(answered[1]) == []
    assert (emulation.answer(b"ping"), emulation.answer(frame)) == (b"pong", None)
    assert VENUE.parse_instruments(emulation.instruments([known]), ["XBTUSD"]) == [known]
    bids, asks = np.array([(4_250_000, 15)], LEVEL), np.array([(4_250_050, 100)], LEVEL)
    assert emulation.book is not None
    opened = emulation.book(known, 0, SECOND + 5_000_000, bids, asks)
    assert emulation.stream_of(opened) == "orderBookL2:XBTUSD"
    (decoded,) = VENUE.decoder({"XBTUSD": known}).decode(opened)
    assert decoded.message["exchanged"][0] == SECOND + 5_000_000
    assert decoded.rows.tolist() == [*bids.tolist(), *asks.tolist()]
    assert [emulation.stream_of(each) for each in (FRAMES[2], b"pong", asked[1])] == ["trade:XBTUSD", None, None]


def test_rows_of_a_tape_find_their_place_in_an_emulated_book() -> None:
    reader, emulation = whole(), VENUE.emulation
    assert emulation.book is not None
    assert emulation.renumber is not None
    levels = np.array([(984_595, 15)], LEVEL), np.array([(984_599, 100)], LEVEL)
    reader.decode(emulation.book(instrument(), 0, SECOND, *levels), 0, 1)
    update = b'{"table":"orderBookL2","action":"update","data":[%b,%b]}'
    rows = (
        b'{"symbol":"XBTUSD","id":7,"side":"Buy","size":9,"price":98459.50,"transactTime":"2024-11-24T08:26:22.275Z"}',
        b'{"symbol":"XBTUSD","side":"Sell","price":9.84599e4,"id": 8,"size":3,"transactTime":"2024-11-24T08:26:22Z"}',
    )
    played = emulation.renumber(update % rows, "orderBookL2:XBTUSD", 5)
    assert one(played, reader).rows.tolist() == [(984_595, 9), (984_599, 3)]
    # Rows that state no price, older ones, and other tables, stay as they are.
    for frame in (UPDATE, PARTIAL):
        assert emulation.renumber(frame, "orderBookL2:XBTUSD", 5) == frame
    assert emulation.renumber(FRAMES[2], "trade:XBTUSD", 5) is FRAMES[2]
