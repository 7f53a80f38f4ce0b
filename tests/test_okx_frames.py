"""OKX's frames, channel by channel, what is refused of them, and its own side of the wire."""

import contextlib
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadConfig, BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract, Coverage, Flag, Kind, PriceKind, Reference, Status
from ingest.venues import Decoded, load
from ingest.venues._okx_streams import CHECKSUM_END
from tests.follower import Follower, row_of, wide

OKX = load("okx")
MS = 1_000_000
SWAP, SPOT, FUTURE = "BTC-USDT-SWAP", "BTC-USDT", "BTC-USD-250627"

KNOWN = {
    SWAP: wide("okx", SWAP, price_decimals=2, size_decimals=2, contract_size=10**6),
    SPOT: wide("okx", SPOT, price_decimals=2, contract=Contract.SPOT),
    FUTURE: wide("okx", FUTURE, quote="USD", price_decimals=1, size_decimals=0, contract=Contract.INVERSE),
}


def frame(channel: str, *rows: dict[str, Any], symbol: str = SWAP, **more: Any) -> bytes:
    return orjson.dumps({"arg": {"channel": channel, "instId": symbol}, **more, "data": list(rows)})


def decode(raw: bytes, received: int = 0) -> list[Decoded]:
    return OKX.decoder(KNOWN).decode(raw, received)


TOP = {"asks": [["8476.98", "415", "0", "13"]], "bids": [["8476.97", "256", "0", "12"]], "ts": "1597026383085"}
OPENING = frame("books", {**TOP, "checksum": 0, "prevSeqId": -1, "seqId": 123456}, action="snapshot")
DELETION = {"asks": [], "bids": [["8476.97", "0", "0", "0"]], "ts": "1597026383185", "checksum": 0}
UPDATE = frame("books", {**DELETION, "prevSeqId": 123456, "seqId": 123470}, action="update")
TRADE = {"instId": SWAP, "tradeId": "130639474", "px": "42219.9", "sz": "0.12", "side": "buy", "ts": "1630048897897"}
ORDER = {"bkLoss": "0", "bkPx": "23523.9", "ccy": "", "posSide": "short", "side": "buy", "sz": "0.01", "ts": "5000"}


def liquidated(*entries: tuple[str, list[dict[str, Any]]], kind: str = "SWAP") -> bytes:
    rows = [{"details": details, "instId": symbol, "instType": kind} for symbol, details in entries]
    return orjson.dumps({"arg": {"channel": "liquidation-orders", "instType": kind}, "data": rows})


MARK = frame("mark-price", {"instType": "SWAP", "instId": SWAP, "markPx": "42310.625", "ts": "1630049139746"})
INDEX = frame("index-tickers", {"instId": SPOT, "idxPx": "0.015", "ts": "7"}, symbol=SPOT)
RATE = {"instId": SWAP, "fundingRate": "-0.0001234567891234", "fundingTime": "9000", "ts": "8000"}
INTEREST = {"instId": SWAP, "instType": "SWAP", "oi": "5000.0100000000003", "oiCcy": "555.55", "ts": "1597026383085"}
FRAMES = [
    OPENING,
    UPDATE,
    frame("bbo-tbt", TOP),
    frame("trades", TRADE),
    liquidated((SWAP, [ORDER])),
    MARK,
    INDEX,
    frame("funding-rate", RATE),
    frame("open-interest", INTEREST),
]


def test_a_snapshot_opens_a_book_and_updates_name_the_id_before() -> None:
    (opened,), (changed,) = decode(OPENING), decode(UPDATE)
    row = row_of(opened)
    assert (row["kind"], row["first"], row["last"], row["previous"], row["bids"]) == (
        Kind.SNAPSHOT,
        123456,
        123456,
        -1,
        1,
    )
    assert row["exchanged"] == 1597026383085 * MS
    assert opened.rows.tolist() == [(847_697, 25_600), (847_698, 41_500)]
    row = row_of(changed)
    assert (row["kind"], row["last"], row["previous"], row["bids"]) == (Kind.DELTA, 123470, 123456, 1)
    assert changed.rows.tolist() == [(847_697, 0)]
    assert changed.checksum is None


def test_a_heartbeat_and_a_lower_id_keep_the_chain() -> None:
    follower, decoder = Follower(OKX, KNOWN.values()), OKX.decoder(KNOWN)
    still = {"asks": [], "bids": [], "ts": "2", "checksum": 0}
    chain = [(123456, 123456), (123456, 3), (3, 5)]
    for raw in [OPENING, *(frame("books", {**still, "prevSeqId": p, "seqId": s}, action="update") for p, s in chain)]:
        (decoded,) = decoder.decode(raw)
        follower.follow(decoded)
    assert follower.counts == {"unstated": 4}


def test_a_checksum_counts_until_the_day_it_ended() -> None:
    for at, expected in ((CHECKSUM_END - MS, 77), (CHECKSUM_END, None)):
        row = {**TOP, "ts": str(at // MS), "checksum": 77, "prevSeqId": -1, "seqId": 1}
        assert decode(frame("books", row, action="snapshot"))[0].checksum == expected
    assert decode(OPENING)[0].checksum is None


def test_books_of_old_have_no_ids() -> None:
    (decoded,) = decode(frame("books", {**DELETION, "checksum": -855196043}, action="update"))
    row = row_of(decoded)
    assert (row["last"], row["previous"], decoded.checksum) == (0, 0, -855196043)


def test_a_touch_may_have_an_empty_side() -> None:
    (decoded,) = decode(frame("bbo-tbt", {**TOP, "bids": [], "seqId": 9}))
    assert (decoded.channel, row_of(decoded)["last"]) == (Channel.TOUCH, 9)
    assert decoded.rows.tolist() == [(0, 0), (847_698, 41_500)]


def test_a_trade_states_its_aggressor_and_its_fills() -> None:
    (decoded,) = decode(frame("trades", {**TRADE, "count": "3"}))
    at = 1630048897897 * MS
    assert decoded.rows.tolist() == [(at, 4_221_990, 12, 130639474, 3, 1, 0, 0)]
    (decoded,) = decode(frame("trades", {**TRADE, "side": "sell"}))
    assert decoded.rows[["fills", "side"]].tolist() == [(1, -1)]


@pytest.mark.parametrize(
    ("position", "side", "whose"), [("long", "sell", 1), ("short", "buy", -1), ("net", "sell", 1), ("net", "buy", -1)]
)
def test_a_liquidation_says_whose_position_it_was(position: str, side: str, whose: int) -> None:
    (decoded,) = decode(liquidated((SWAP, [{**ORDER, "posSide": position, "side": side}])))
    assert decoded.rows.tolist() == [(5000 * MS, 2_352_390, 1, 0, whose, PriceKind.BANKRUPTCY, Coverage.SAMPLED, 0, 0)]


def test_a_liquidation_whose_sides_disagree_is_refused() -> None:
    with pytest.raises(BadFrame, match="bad_side"):
        decode(liquidated((SWAP, [{**ORDER, "posSide": "long"}])))


def test_liquidations_of_other_symbols_are_counted() -> None:
    decoder = OKX.decoder(KNOWN)
    older = {**ORDER, "ts": "4000"}
    decoded = decoder.decode(liquidated(("DOGE-USDT-SWAP", [ORDER]), (SWAP, [ORDER, older])))
    assert [each.symbol for each in decoded] == [SWAP]
    assert decoded[0].rows["exchanged"].tolist() == [4000 * MS, 5000 * MS]
    assert decoder.counts == {"other_symbol": 1}


def test_what_is_older_than_its_subscription_is_history_once() -> None:
    decoder = OKX.decoder(KNOWN)
    raw = liquidated((SWAP, [ORDER]))
    acknowledged = orjson.dumps({"event": "subscribe", "arg": {"channel": "liquidation-orders", "instType": "SWAP"}})
    assert row_of(decoder.decode(raw, 9000 * MS, 1)[0])["flags"] == 0
    assert decoder.decode(acknowledged, 6000 * MS, 1) == []
    # Another connection's subscription is none of this one's.
    assert row_of(decoder.decode(raw, 6500 * MS, 2)[0])["flags"] == 0
    with pytest.raises(BadFrame):
        decoder.decode(liquidated((SWAP, [])), 6500 * MS, 1)
    assert row_of(decoder.decode(raw, 6500 * MS, 1)[0])["flags"] == Flag.HISTORY
    assert row_of(decoder.decode(raw, 6600 * MS, 1)[0])["flags"] == 0
    assert decoder.decode(acknowledged, 6000 * MS, 1) == []
    decoder.forget(1)
    assert row_of(decoder.decode(raw, 6500 * MS, 1)[0])["flags"] == 0


def test_a_mark_price_is_rounded_to_the_instrument() -> None:
    (decoded,) = decode(MARK)
    assert (decoded.channel, decoded.rows[["what", "value"]].tolist()) == (Channel.MARK, [(Reference.MARK, 4_231_062)])


def test_an_index_is_every_derivatives_that_has_it() -> None:
    more = {**KNOWN, "BTC-USDT-250627": wide("okx", "BTC-USDT-250627", price_decimals=3)}
    decoded = OKX.decoder(more).decode(INDEX)
    assert {each.symbol: each.rows["value"].tolist() for each in decoded} == {SWAP: [2], "BTC-USDT-250627": [15]}
    with pytest.raises(BadFrame, match="unknown_symbol"):
        decode(frame("index-tickers", {"instId": "ETH-USDT", "idxPx": "1", "ts": "1"}, symbol="ETH-USDT"))


def test_a_funding_rate_is_due_at_its_funding_time() -> None:
    (decoded,) = decode(frame("funding-rate", RATE))
    assert decoded.rows[["exchanged", "value", "next", "what"]].tolist() == [
        (8000 * MS, -123_456_789, 9000 * MS, Reference.FUNDING)
    ]
    # As OKX sent it in 2021: without a stamp; and without a rate, where a contract is new.
    (decoded,) = decode(frame("funding-rate", {key: RATE[key] for key in ("instId", "fundingRate", "fundingTime")}))
    assert row_of(decoded)["exchanged"] == 0
    assert decode(frame("funding-rate", {**RATE, "fundingRate": ""})) == []


def test_open_interest_is_in_contracts() -> None:
    (decoded,) = decode(frame("open-interest", INTEREST))
    assert decoded.channel == Channel.OPEN_INTEREST
    assert decoded.rows[["what", "value"]].tolist() == [(Reference.OPEN_INTEREST, 500_001)]


def test_answers_and_heartbeats_are_no_rows() -> None:
    decoder = OKX.decoder(KNOWN)
    for raw in (
        b"pong",
        b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}',
        b'{"event":"unsubscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}',
        b'{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"abcd1234"}',
    ):
        assert decoder.decode(raw) == []
    assert decoder.counts == {"channel_conn_count": 1}


def test_a_service_upgrade_is_maintenance_of_every_instrument() -> None:
    raw = {"event": "notice", "code": "64008", "msg": "The connection will soon be closed for a service upgrade."}
    decoded = decode(orjson.dumps(raw))
    assert [each.symbol for each in decoded] == list(KNOWN)
    assert {int(row_of(each)["status"]) for each in decoded} == {Status.MAINTENANCE}
    assert decode(orjson.dumps({**raw, "code": "1"})) == []


def test_an_error_is_said_in_okxs_words() -> None:
    raw = b'{"event":"error","code":"60012","msg":"Invalid request: {op: subscribe}","connId":"a4d3ae55"}'
    with pytest.raises(BadFrame, match=r"venue_error.*60012"):
        decode(raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "not_json"),
        (b"[]", "structure"),
        (b"{}", "bad_type"),
        (frame("books"), "structure"),
        (frame("books", {**TOP, "prevSeqId": -1, "seqId": 1}), "structure"),
        (frame("books", {**TOP, "prevSeqId": -1, "seqId": 1}, action="update"), "bad_ids"),
        (frame("books", {**TOP, "prevSeqId": 1, "seqId": "2"}, action="update"), "bad_id"),
        (frame("books", {**TOP, "seqId": 2}, action="update"), "bad_id"),
        (frame("books", {**TOP, "checksum": "1", "prevSeqId": 1, "seqId": 2}, action="update"), "bad_type"),
        (
            frame("books", {**TOP, "bids": [["8476.971", "1"]], "prevSeqId": 1, "seqId": 2}, action="update"),
            "lost_digit",
        ),
        (frame("books", {**TOP, "bids": [["0", "1"]]}, action="update"), "zero"),
        (frame("books", {**TOP, "bids": [["1", "-1"]]}, action="update"), "negative"),
        (frame("books", {**TOP, "bids": [[1.5, "1"]]}, action="update"), "not_decimal"),
        (frame("books", {**TOP, "bids": [["1", "1"], ["1", "2"]]}, action="snapshot"), "bad_snapshot"),
        (frame("books", {**TOP, "bids": ["1"]}, action="update"), "structure"),
        (frame("books", {**TOP, "ts": "-1"}, action="update"), "bad_time"),
        (frame("bbo-tbt", {**TOP, "bids": [["1", "1"], ["2", "1"]]}), "structure"),
        (frame("trades", {**TRADE, "sz": "0"}), "zero"),
        (frame("trades", {**TRADE, "side": "none"}), "bad_side"),
        (frame("trades", {**TRADE, "count": "0"}), "bad_count"),
        (frame("trades", {**TRADE, "tradeId": "x"}), "bad_id"),
        (frame("trades", {**TRADE, "instId": SPOT}), "unknown_symbol"),
        (frame("trades", TRADE, symbol="ETH-USDT"), "unknown_symbol"),
        (frame("mark-price", {"instId": SWAP, "markPx": "0", "ts": "1"}), "zero"),
        (frame("mark-price", {"instId": SWAP, "markPx": 5, "ts": "1"}), "not_decimal"),
        (frame("funding-rate", {**RATE, "fundingRate": "none"}), "not_decimal"),
        (frame("open-interest", {**INTEREST, "oi": None}), "not_decimal"),
        (liquidated((SWAP, [{**ORDER, "bkPx": ""}])), "not_decimal"),
        (frame("tickers", TOP), "unknown_channel"),
        (b'{"table":"spot/trade","data":[{}]}', "dead_protocol"),
    ],
)
def test_a_malformed_frame_is_refused_by_name(raw: bytes, reason: str) -> None:
    with pytest.raises(BadFrame) as refusal:
        decode(raw)
    assert refusal.value.reason == reason


def test_trailing_zeros_and_large_sizes_are_the_same_numbers() -> None:
    row = {**TOP, "bids": [["8476.970", "1000000000000.00"]], "asks": [["8477", "7"]]}
    assert decode(frame("books", row, action="update"))[0].rows.tolist() == [(847_697, 10**14), (847_700, 700)]


def test_decoders_share_nothing() -> None:
    first, second = OKX.decoder(KNOWN), OKX.decoder(KNOWN)
    acknowledged = orjson.dumps({"event": "subscribe", "arg": {"channel": "trades", "instId": SWAP}})
    assert first.decode(acknowledged, 2 * 1630048897897 * MS, 1) == []
    assert row_of(second.decode(frame("trades", TRADE), 0, 1)[0])["flags"] == 0
    other = frame("trades", {**TRADE, "instId": SPOT}, symbol=SPOT)
    assert row_of(first.decode(other, 0, 1)[0])["flags"] == 0
    assert row_of(first.decode(frame("trades", TRADE), 0, 1)[0])["flags"] == Flag.HISTORY


def test_streams_and_their_subscriptions() -> None:
    streams = OKX.streams([SWAP, SPOT, FUTURE])
    assert [len([s for s in streams if s.symbol == symbol]) for symbol in (SWAP, SPOT, FUTURE)] == [6, 3, 6]
    (sent,) = OKX.subscribe(streams)
    args = orjson.loads(sent)["args"]
    assert len(args) == len({orjson.dumps(arg) for arg in args})
    assert {"channel": "liquidation-orders", "instType": "SWAP"} in args
    assert {"channel": "index-tickers", "instId": "BTC-USD"} in args
    assert [arg for arg in args if arg["channel"] == "funding-rate"] == [{"channel": "funding-rate", "instId": SWAP}]
    asked = OKX.emulation.subscribed(sent)
    assert asked is not None
    assert set(asked[0]) == {stream.name for stream in streams}
    assert decode(asked[1]) == []
    (ended,) = OKX.unsubscribe(streams[:1])
    assert OKX.emulation.subscribed(ended) is None
    again = OKX.emulation.unsubscribed(ended)
    assert again is not None
    assert again[0] == (streams[0].name,)
    many = OKX.subscribe(OKX.streams([f"BTC-USD-{day:06d}" for day in range(500)]))
    assert len(many) > 1
    assert max(map(len, many)) <= 64_000
    assert sum(len(orjson.loads(each)["args"]) for each in many) == 500 * 5 + 2


def test_every_frame_belongs_to_a_stream_of_its_channel() -> None:
    streams = {stream.name: stream for stream in OKX.streams(list(KNOWN))}
    for raw in FRAMES:
        name = OKX.emulation.stream_of(raw)
        assert name is not None
        (decoded,) = decode(raw)
        assert (streams[name].symbol, streams[name].channel) == (decoded.symbol, decoded.channel)
    assert OKX.emulation.stream_of(b"pong") is None
    assert OKX.emulation.answer(b"ping") == b"pong"


@pytest.mark.parametrize("at", [CHECKSUM_END - MS, CHECKSUM_END])
def test_an_emulated_book_is_proved_as_a_real_one(at: int) -> None:
    bids, asks = np.array([(847_700, 500), (847_600, 10**14)], LEVEL), np.array([(847_710, 1)], LEVEL)
    assert OKX.emulation.book is not None
    (decoded,) = decode(OKX.emulation.book(KNOWN[SWAP], 77, at, bids, asks))
    assert decoded.rows.tolist() == [*bids.tolist(), *asks.tolist()]
    follower = Follower(OKX, KNOWN.values())
    follower.follow(decoded)
    assert follower.counts == {"agreed" if at < CHECKSUM_END else "unstated": 1}


def test_emulated_instruments_come_back() -> None:
    known: list[Instrument] = list(KNOWN.values())
    body = OKX.emulation.instruments(known)
    assert OKX.parse_instruments(body, list(KNOWN)) == known
    assert OKX.parse_instruments(b"[%b,%b]" % (body, body), list(KNOWN)) == known
    assert all(OKX.emulation.route(path) == ("instruments", "", 0) for path in OKX.instruments_path.split())
    assert OKX.weight(OKX.instruments_path) == 3
    with pytest.raises(BadConfig, match="BTC-USDT"):
        OKX.parse_instruments(body, ["BTC-USDC"])
    with pytest.raises(BadFrame, match="not_exchange_information"):
        OKX.parse_instruments(b'{"code":"50011","msg":"Too Many Requests","data":[]}', list(KNOWN))


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_nothing_but_a_refusal_comes_of_damage(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(FRAMES)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(raw) - 1))
        raw[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(BadFrame, Gap):
        for decoded in decode(bytes(raw)):
            for name in {"price", "size"} & set(decoded.rows.dtype.names or ()):
                assert (decoded.rows[name] >= 0).all()


@given(st.binary(max_size=200))
def test_nothing_but_a_refusal_comes_of_noise(raw: bytes) -> None:
    with contextlib.suppress(BadFrame):
        assert decode(raw) == []
