"""Bitget: the captures of version 1, and frames of version 3 as others recorded and the documentation prints them."""

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadConfig, BadFrame, Gap
from engine.schema import LEVEL, Channel, Contract, Coverage, Flag, Kind, PriceKind, Reference
from ingest.captures import read_capture, venues_of
from ingest.venues import Decoded, Venue, load
from tests.follower import Follower, attempt, frames_of, row_of, wide

FUTURES, SPOT = load("bitget"), load("bitget_spot")
MS = 1_000_000
KNOWN = {
    "BTCUSDT": wide("bitget", "BTCUSDT", price_decimals=1, size_decimals=4),
    "BTCPERP": wide("bitget", "BTCPERP", quote="USDC", price_decimals=1, size_decimals=4),
    "MAVUSDT": wide("bitget", "MAVUSDT", "MAV", price_decimals=5, size_decimals=2),
}
AT_SPOT = {"BTCUSDT": wide("bitget_spot", "BTCUSDT", price_decimals=2, size_decimals=6, contract=Contract.SPOT)}


def frame(topic: str, *rows: Any, action: str = "update", symbol: str = "BTCUSDT", kind: str = "usdt-futures") -> bytes:
    arg = {"instType": kind, "topic": topic} | ({} if topic == "liquidation" else {"symbol": symbol})
    return orjson.dumps({"action": action, "arg": arg, "data": rows, "ts": 1789940564662})


def old(row: dict[str, Any], action: str = "update", channel: str = "books") -> bytes:
    arg = {"instType": "mc", "channel": channel, "instId": "BTCUSDT"}
    return orjson.dumps({"action": action, "arg": arg, "data": [row]})


def decode(raw: bytes, venue: Venue = FUTURES) -> list[Decoded]:
    return venue.decoder(KNOWN if venue is FUTURES else AT_SPOT).decode(raw)


BOOK = {"a": [["80810.4", "0.8523"], ["80811", "0.0001"]], "b": [["80810.3", "1.0943"]], "ts": "1789940564660"}
OPENING = frame("books", {**BOOK, "seq": 1483653649371725838, "pseq": 0, "maxdepth": "1000"}, action="snapshot")
CHANGE = {"a": [], "b": [["80810.3", "0"]], "ts": "1789940564661", "maxdepth": "1000"}
UPDATE = frame("books", {**CHANGE, "seq": 1483653649791156272, "pseq": 1483653649371725838})
#: As recorded on 2026-09-21.
TRADES = [
    {"i": "1485683898127761410", "p": "80810.6", "v": "0.0246", "S": "sell", "T": "1789940564662", "isRPI": "no"},
    {"i": "1485683898127761408", "p": "80810.6", "v": "0.0716", "S": "buy", "T": "1789940564662", "isRPI": "no"},
]
TICKER = {
    "lastPrice": "80810.6",
    "indexPrice": "80852.148",
    "markPrice": "80814.7",
    "fundingRate": "-0.000051",
    "openInterest": "32117.3964999999767",
    "deliveryTime": "",
    "nextFundingTime": "1789948800000",
}
#: As documented.
ORDER = {"symbol": "BTCUSDT", "side": "buy", "price": "89000", "amount": "37.722858", "ts": "1736371332162"}
FRAMES = [
    OPENING,
    UPDATE,
    frame("books1", {**BOOK, "a": BOOK["a"][:1], "seq": 9}, action="snapshot"),
    frame("publicTrade", *TRADES),
    frame("ticker", TICKER, action="snapshot"),
    frame("liquidation", ORDER),
    old({"asks": BOOK["a"], "bids": BOOK["b"], "checksum": 5, "ts": "1"}, "snapshot"),
]


@pytest.mark.tape
def test_every_book_of_the_captures_has_the_checksum_that_bitget_states(captures: Path) -> None:
    agreed: Counter[str] = Counter()
    for venue, name in ((SPOT, "BITGET.ws.1.0.gz"), (FUTURES, "BITGET.ws.2.0.gz")):
        frames = [raw for _, raw in frames_of(captures / name)]
        instruments = venue.infer_instruments(frames)
        decoder, follower = venue.decoder({i.symbol: i for i in instruments}), Follower(venue, instruments)
        for raw in frames:
            decoded = attempt(decoder, raw)
            if isinstance(decoded, str):
                assert (decoded, b'"channel":"books"' in raw) == ("dead_protocol", False)
                continue
            for each in decoded:
                follower.follow(each)
        agreed.update({venue.name: follower.counts["agreed"], "unstated": follower.counts["unstated"]})
    assert agreed == {"bitget_spot": 443, "bitget": 194, "unstated": 0}


@pytest.mark.tape
def test_inferred_instruments_are_as_wide_as_the_tape(captures: Path) -> None:
    frames = [raw for _, raw in frames_of(captures / "BITGET.ws.2.0.gz")]
    dash, uni = sorted(FUTURES.infer_instruments(frames), key=lambda i: i.symbol)
    assert (dash.symbol, dash.asset, dash.quote, dash.contract) == ("DASHUSDT", "DASH", "USDT", Contract.LINEAR)
    assert (dash.price_decimals, dash.size_decimals, dash.tick, dash.lot) == (2, 2, 1, 1)
    assert (uni.price_decimals, uni.size_decimals) == (3, 0)
    with pytest.raises(BadConfig, match=r"bitget_spot \(spot, sp\) .* are of mc"):
        SPOT.infer_instruments(frames)
    with pytest.raises(BadConfig, match="no book"):
        FUTURES.infer_instruments([b"pong", b'{"event":"subscribe"}'])


@pytest.mark.tape
def test_a_captures_connections_are_told_apart_by_their_books(captures: Path) -> None:
    found = venues_of(list(read_capture([captures / f"BITGET.ws.{i}.0.gz" for i in (1, 2)])))
    assert {name: venue.name for name, venue in found.items()} == {
        "BITGET.ws.1.0": "bitget_spot",
        "BITGET.ws.2.0": "bitget",
    }


def test_a_wrong_book_is_found_by_its_checksum() -> None:
    follower, decoder = Follower(FUTURES, KNOWN.values()), FUTURES.decoder(KNOWN)
    (wrong,) = decoder.decode(FRAMES[-1])
    with pytest.raises(Gap):
        follower.follow(wrong)


def test_a_snapshot_opens_a_book_and_updates_name_the_id_before() -> None:
    follower, decoder = Follower(FUTURES, KNOWN.values()), FUTURES.decoder(KNOWN)
    (opened,), (changed,) = decoder.decode(OPENING), decoder.decode(UPDATE)
    row = row_of(opened)
    assert (row["kind"], row["last"], row["previous"], row["bids"]) == (Kind.SNAPSHOT, 1483653649371725838, -1, 1)
    assert (row["exchanged"], row["published"]) == (1789940564660 * MS, 1789940564662 * MS)
    assert opened.rows.tolist() == [(808_103, 10_943), (808_104, 8523), (808_110, 1)]
    row = row_of(changed)
    assert (row["kind"], row["last"], row["previous"]) == (Kind.DELTA, 1483653649791156272, 1483653649371725838)
    follower.follow(opened)
    follower.follow(changed)
    assert follower.counts == {"unstated": 2}
    # The documentation has ids as texts.
    text = frame("books", {**CHANGE, "seq": "1483653649791156272", "pseq": "1483653649371725838"})
    assert decoder.decode(text)[0].message.tobytes() == changed.message.tobytes()


def test_an_update_that_follows_nothing_is_a_gap() -> None:
    with pytest.raises(Gap) as gap:
        decode(frame("books", {**CHANGE, "seq": 77, "pseq": 0}))
    assert "bitget:BTCUSDT" in str(gap.value)
    with pytest.raises(Gap):
        decode(old({"asks": [], "bids": BOOK["b"], "seq": 77, "pseq": 0, "ts": "1"}))
    # Version 2 numbers its books, too.
    (decoded,) = decode(old({"asks": [], "bids": BOOK["b"], "seq": 78, "pseq": 77, "checksum": 0, "ts": "1"}))
    assert (row_of(decoded)["last"], row_of(decoded)["previous"], decoded.checksum) == (78, 77, None)


def test_a_touch_may_have_an_empty_side() -> None:
    (decoded,) = decode(frame("books1", {**BOOK, "a": [], "seq": 9}, action="snapshot"))
    assert (decoded.channel, row_of(decoded)["last"]) == (Channel.TOUCH, 9)
    assert decoded.rows.tolist() == [(808_103, 10_943), (0, 0)]


def test_trades_come_oldest_first_and_those_before_subscribing_as_history() -> None:
    (decoded,) = decode(frame("publicTrade", *TRADES))
    at = 1789940564662 * MS
    assert row_of(decoded)["flags"] == 0
    assert decoded.rows.tolist() == [
        (at, 808_106, 716, 1485683898127761408, 1, 1, 0, 0),
        (at, 808_106, 246, 1485683898127761410, 1, -1, 0, 0),
    ]
    (decoded,) = decode(frame("publicTrade", *TRADES, action="snapshot"))
    assert row_of(decoded)["flags"] == Flag.HISTORY


def test_a_ticker_says_what_is_present() -> None:
    (decoded,) = decode(frame("ticker", TICKER, action="snapshot"))
    assert decoded.channel == Channel.MARK
    assert decoded.rows[["exchanged", "value", "next", "what"]].tolist() == [
        (1789940564662 * MS, 808_147, 0, Reference.MARK),
        (1789940564662 * MS, 808_521, 0, Reference.INDEX),
        (1789940564662 * MS, -51_000_000, 1789948800000 * MS, Reference.FUNDING),
        (1789940564662 * MS, 321_173_965, 0, Reference.OPEN_INTEREST),
    ]
    # A delivery future has no funding.
    (decoded,) = decode(frame("ticker", {**TICKER, "nextFundingTime": "", "markPrice": ""}))
    assert decoded.rows["what"].tolist() == [Reference.INDEX, Reference.OPEN_INTEREST]
    assert decode(frame("ticker", {"lastPrice": "80811"})) == []


@pytest.mark.parametrize(("side", "whose"), [("buy", 1), ("sell", -1)])
def test_a_liquidation_says_whose_position_it_was_and_its_money_becomes_a_size(side: str, whose: int) -> None:
    (decoded,) = decode(frame("liquidation", {**ORDER, "side": side}))
    at, kinds = 1736371332162 * MS, (PriceKind.BANKRUPTCY, Coverage.SAMPLED_LARGEST)
    # 37.722858 / 89000 = 0.00042385
    assert decoded.rows.tolist() == [(at, 890_000, 4, 0, whose, *kinds, 0, 0)]
    (decoded,) = decode(frame("liquidation", {**ORDER, "amount": "0.01"}))
    assert decoded.rows["size"].tolist() == [1]
    (decoded,) = decode(frame("liquidation", {**ORDER, "price": "80000", "amount": "1200000"}))
    assert decoded.rows["size"].tolist() == [150_000]


def test_liquidations_of_other_symbols_are_counted() -> None:
    decoder = FUTURES.decoder(KNOWN)
    rows = [ORDER, {**ORDER, "symbol": "DOGEUSDT"}, {**ORDER, "symbol": "MAVUSDT", "price": "0.1"}]
    decoded = decoder.decode(frame("liquidation", *rows, {**ORDER, "side": "sell", "ts": "5"}))
    assert [(each.symbol, each.rows["side"].tolist()) for each in decoded] == [("BTCUSDT", [-1, 1]), ("MAVUSDT", [1])]
    assert decoder.counts == {"other_symbol": 1}


def test_spot_reads_spot_alone() -> None:
    row = {"i": "1", "p": "80855.01", "v": "0.119954", "S": "buy", "T": "1789940564662"}
    (decoded,) = decode(frame("publicTrade", row, kind="spot"), SPOT)
    assert decoded.rows[["price", "size"]].tolist() == [(8_085_501, 119_954)]
    for raw, venue in ((frame("publicTrade", row), SPOT), (frame("publicTrade", row, kind="spot"), FUTURES)):
        with pytest.raises(BadFrame, match="wrong_stream"):
            decode(raw, venue)


def test_answers_and_heartbeats_are_no_rows() -> None:
    for raw in (b"pong", b'{"event":"subscribe","arg":{"instType":"spot"},"connId":"0"}', b'{"event":"unsubscribe"}'):
        assert decode(raw) == []
    error = rb'{"event":"error","code":30001,"msg":"{\"symbol\":\"NOPEUSDT\"} doesn' + b"'t exist\"}"
    with pytest.raises(BadFrame, match=r"venue_error.*30001"):
        decode(error)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "not_json"),
        (b"7", "structure"),
        (b"{}", "bad_type"),
        (frame("books"), "structure"),
        (frame("books", 1), "structure"),
        (frame("books", {**BOOK, "seq": 1, "pseq": 0}, action="delta"), "structure"),
        (frame("books", {**BOOK, "seq": 1}), "bad_id"),
        (frame("books", {**BOOK, "seq": -1, "pseq": 0}), "bad_id"),
        (frame("books", {**BOOK, "seq": 1.5, "pseq": 0}), "bad_id"),
        (frame("books", {**BOOK, "b": [["1", "0"]], "seq": 1, "pseq": 0}, action="snapshot"), "bad_snapshot"),
        (frame("books", {**BOOK, "b": [[1.5, 2.5]], "seq": 2, "pseq": 1}), "not_decimal"),
        (frame("books", {**BOOK, "b": [["1.23", "2"]], "seq": 2, "pseq": 1}), "lost_digit"),
        (frame("books", {**BOOK, "seq": 2, "pseq": 1}, symbol="ETHUSDT"), "unknown_symbol"),
        (frame("books1", {**BOOK, "seq": 9}), "structure"),
        (frame("publicTrade", {**TRADES[0], "v": "0"}), "zero"),
        (frame("publicTrade", {**TRADES[0], "S": "none"}), "bad_side"),
        (frame("publicTrade", {**TRADES[0], "i": None}), "bad_id"),
        (frame("publicTrade", {**TRADES[0], "T": "x"}), "bad_time"),
        (frame("ticker", {"markPrice": "x"}), "not_decimal"),
        (frame("ticker", {"fundingRate": "0.1", "nextFundingTime": "x"}), "bad_time"),
        (frame("liquidation", {**ORDER, "side": "long"}), "bad_side"),
        (frame("liquidation", {**ORDER, "amount": "0"}), "zero"),
        (frame("liquidation", {**ORDER, "amount": "99999999999", "symbol": "MAVUSDT", "price": "0.00001"}), "overflow"),
        (frame("liquidation", {**ORDER, "symbol": None}), "bad_type"),
        (frame("books5", BOOK), "unknown_channel"),
        (old({"asks": [], "bids": [], "ts": "1"}, channel="trade"), "dead_protocol"),
        (old({"asks": [], "bids": [], "ts": "1", "checksum": "5"}), "bad_type"),
    ],
)
def test_a_malformed_frame_is_refused_by_name(raw: bytes, reason: str) -> None:
    with pytest.raises(BadFrame) as refusal:
        decode(raw)
    assert refusal.value.reason == reason


def test_trailing_zeros_and_large_sizes_are_the_same_numbers() -> None:
    row = {**BOOK, "b": [["80810.30", "1000000000000.0000"]], "a": [["80811", "7"]], "seq": 2, "pseq": 1}
    assert decode(frame("books", row))[0].rows.tolist() == [(808_103, 10**16), (808_110, 70_000)]


@pytest.mark.parametrize(("venue", "symbols"), [(FUTURES, list(KNOWN)), (SPOT, ["BTCUSDT", "ETHUSDT"])])
def test_streams_and_their_subscriptions(venue: Venue, symbols: list[str]) -> None:
    streams = venue.streams(symbols)
    assert len(streams) == len(symbols) * (5 if venue is FUTURES else 3)
    sent = venue.subscribe(streams)
    args = [arg for each in sent for arg in orjson.loads(each)["args"]]
    assert len(args) == len({orjson.dumps(arg) for arg in args})
    assert max(len(orjson.loads(each)["args"]) for each in sent) <= 10
    named: set[str] = set()
    for each in sent:
        asked = venue.emulation.subscribed(each)
        assert asked is not None
        assert decode(asked[1]) == []
        named |= set(asked[0])
    assert named == {stream.name for stream in streams}
    (ended,) = venue.unsubscribe(streams[:1])
    again = venue.emulation.unsubscribed(ended)
    assert again is not None
    assert again[0] == (streams[0].name,)
    assert venue.emulation.subscribed(ended) is None
    assert venue.emulation.answer(b"ping") == b"pong"


def test_kinds_of_futures_are_told_apart_by_the_symbol() -> None:
    args = [arg for each in FUTURES.subscribe(FUTURES.streams(list(KNOWN))) for arg in orjson.loads(each)["args"]]
    assert {(arg.get("symbol"), arg["instType"]) for arg in args} == {
        ("BTCUSDT", "usdt-futures"),
        ("BTCPERP", "usdc-futures"),
        ("MAVUSDT", "usdt-futures"),
        (None, "usdt-futures"),
        (None, "usdc-futures"),
    }


def test_every_frame_belongs_to_a_stream_of_its_channel() -> None:
    streams = {stream.name: stream for stream in FUTURES.streams(list(KNOWN))}
    for raw in FRAMES:
        name = FUTURES.emulation.stream_of(raw)
        assert name is not None
        (decoded,) = decode(raw)
        assert (streams[name].symbol, streams[name].channel) == (decoded.symbol, decoded.channel)
    assert FUTURES.emulation.stream_of(b"pong") is None


def test_an_emulated_book_is_read_as_a_real_one() -> None:
    bids, asks = np.array([(808_103, 500), (808_000, 10**14)], LEVEL), np.array([(808_104, 1)], LEVEL)
    assert FUTURES.emulation.book is not None
    (decoded,) = decode(FUTURES.emulation.book(KNOWN["BTCUSDT"], 77, 5 * MS, bids, asks))
    assert decoded.rows.tolist() == [*bids.tolist(), *asks.tolist()]
    assert (row_of(decoded)["last"], row_of(decoded)["exchanged"]) == (77, 5 * MS)


def test_listings_parse_and_emulated_ones_come_back() -> None:
    body = FUTURES.emulation.instruments(list(KNOWN.values()))
    assert FUTURES.parse_instruments(body, list(KNOWN)) == list(KNOWN.values())
    assert FUTURES.parse_instruments(b"[%b,%b]" % (body, body), list(KNOWN)) == list(KNOWN.values())
    assert SPOT.parse_instruments(SPOT.emulation.instruments(list(AT_SPOT.values())), ["BTCUSDT"]) == [
        AT_SPOT["BTCUSDT"]
    ]
    for venue in (FUTURES, SPOT):
        assert all(venue.emulation.route(path) == ("instruments", "", 0) for path in venue.instruments_path.split())
    # As documented: spot without multipliers.
    entry = {"symbol": "BTCUSDT", "category": "SPOT", "baseCoin": "BTC", "quoteCoin": "USDT", "minOrderQty": "0.00001"}
    entry |= {"pricePrecision": "2", "quantityPrecision": "6", "status": "online"}
    (spot,) = SPOT.parse_instruments(orjson.dumps({"code": "00000", "data": [entry]}), ["BTCUSDT"])
    assert (spot.price_decimals, spot.tick, spot.size_decimals, spot.lot) == (2, 1, 6, 1)
    entry |= {"category": "USDT-FUTURES", "priceMultiplier": "0.5", "pricePrecision": "1", "quantityMultiplier": "0.01"}
    (linear,) = FUTURES.parse_instruments(orjson.dumps({"code": "00000", "data": [entry]}), ["BTCUSDT"])
    assert (linear.price_decimals, linear.tick, linear.size_decimals, linear.lot) == (1, 5, 6, 10_000)
    with pytest.raises(BadConfig, match="listed under COIN-FUTURES"):
        FUTURES.parse_instruments(
            orjson.dumps({"code": "00000", "data": [{**entry, "category": "COIN-FUTURES"}]}), ["BTCUSDT"]
        )
    with pytest.raises(BadConfig, match="BTCUSDT"):
        FUTURES.parse_instruments(body, ["BTCUSDX"])
    with pytest.raises(BadFrame, match="not_exchange_information"):
        FUTURES.parse_instruments(b'{"code":"429","msg":"Too Many Requests"}', ["BTCUSDT"])


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
