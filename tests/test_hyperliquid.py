"""Hyperliquid: what its recorded and documented messages say, and what is refused of them."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract, Flag, Kind, Reference
from ingest.mirror import Mirror
from ingest.venues import Decoded, Decoder, load
from tests.ladder import read_lines
from tests.peers import FIELDS, broken, in_words, peer_messages, refused, survive

VENUE = load("hyperliquid")
MS = 1_000_000


def instrument(symbol: str = "BTC", prices: int = 1, sizes: int = 5) -> Instrument:
    return Instrument(
        venue="hyperliquid",
        symbol=symbol,
        asset=symbol.rpartition(":")[2],
        quote="USDC",
        contract=Contract.LINEAR,
        price_decimals=prices,
        size_decimals=sizes,
        tick=1,
        lot=1,
    )


def decoder(*symbols: str) -> Decoder:
    known = [instrument(symbol, 8, 8) for symbol in symbols] or [instrument(), instrument("ETH")]
    return VENUE.decoder({each.symbol: each for each in known})


def message(channel: str, content: Any) -> bytes:
    return orjson.dumps({"channel": channel, "data": content})


BOOK: dict[str, Any] = {
    "coin": "BTC",
    "time": 1737918843800,
    "levels": [
        [{"px": "105055.0", "sz": "3.03622", "n": 5}, {"px": "105054.0", "sz": "0.1428", "n": 1}],
        [{"px": "105056.0", "sz": "0.5", "n": 2}],
    ],
}
TRADE: dict[str, Any] = {
    "coin": "BTC",
    "side": "A",
    "px": "66653.0",
    "sz": "0.001",
    "hash": "0x0",
    "time": 1781528065899,
    "tid": 745210434703679,
    "users": ["0xa", "0xb"],
}
BEST: dict[str, Any] = {
    "coin": "BTC",
    "time": 1737918843800,
    "bbo": [{"px": "105055.0", "sz": "3.03622", "n": 5}, {"px": "105056.0", "sz": "0.5", "n": 2}],
}
CONTEXT: dict[str, Any] = {
    "coin": "BTC",
    "ctx": {
        "funding": "-0.0000015186",
        "openInterest": "27353.17682",
        "oraclePx": "77605.05",
        "markPx": "77562.0",
        "midPx": None,
        "impactPxs": None,
    },
}
FRAMES = [
    message("l2Book", BOOK),
    message("trades", [TRADE]),
    message("bbo", BEST),
    message("activeAssetCtx", CONTEXT),
]


def one(frame: bytes, reader: Decoder | None = None) -> Decoded:
    (decoded,) = (reader or decoder()).decode(frame, 0, 1)
    return decoded


@pytest.mark.tape
def test_a_recorded_tape_is_whole_books_and_trades(binance_tapes: Path) -> None:
    lines = read_lines(binance_tapes / "btcusd_20250126.gz")
    (known,) = VENUE.infer_instruments([raw for _, raw in lines])
    assert (known.symbol, known.asset, known.price_decimals, known.size_decimals) == ("BTC", "BTC", 1, 5)
    assert VENUE.rule is not None
    mirror, follower, reader = Mirror(known, VENUE.rule), Mirror(known, VENUE.rule), VENUE.decoder({"BTC": known})
    books = fresh = old = 0
    for at, raw in lines:
        (decoded,) = reader.decode(raw, at, 1)
        row = decoded.message[0]
        if decoded.channel == Channel.TRADE:
            fresh += row["flags"] == 0
            old += row["flags"] == Flag.HISTORY
            # The first message is history: the first trade in it happened 49 s before it came.
            assert (at - int(decoded.rows["exchanged"][0]) > 40 * 10**9) == bool(row["flags"])
            assert (np.diff(decoded.rows["exchanged"]) >= 0).all()
            continue
        books += 1
        rows, bids = mirror.difference(decoded.rows, int(row["bids"]))
        # 20 levels a side, as they are printed.
        sides = mirror.best(100)
        assert [len(side) for side in sides] == [20, 20]
        levels = orjson.loads(raw)["data"]["levels"]
        assert sides[0] == [(round(float(e["px"]) * 10), round(float(e["sz"]) * 10**5)) for e in levels[0]]
        assert sides[1] == [(round(float(e["px"]) * 10), round(float(e["sz"]) * 10**5)) for e in levels[1]]
        assert not mirror.check(None, 0, 0)
        # Whoever follows the differences has the same book.
        follower.apply(rows, bids)
        assert follower.best(100) == sides
    assert (books, fresh, old) == (46, 8, 1)
    assert not reader.counts


@pytest.mark.tape
def test_ours_are_the_peers_rows(peer_normalised: Path) -> None:
    pairs = peer_messages(peer_normalised, "hyperliquid")
    reader = decoder("FXS", "BTC", "SHIA", "BANANA", "MOODENG", "@2", "@162")
    compared = 0
    for raw, expected in pairs:
        (decoded,) = reader.decode(raw, 0, 1)
        ours = in_words(decoded, instrument(decoded.symbol, 8, 8))
        if not expected:
            # History after subscribing, which the peer drops and we flag; a spot pair's mark price, which it ignores.
            spot = decoded.channel == Channel.MARK
            assert spot or decoded.message["flags"][0] == Flag.HISTORY
            continue
        (theirs,) = expected
        compared += 1
        assert (ours["type"], ours["symbol"]) == (theirs["type"], theirs["symbol"])
        match ours["type"]:
            case "trade":
                side = 1 if theirs["side"] == "buy" else -1
                assert ours["prints"] == [(theirs["price"], theirs["amount"], side)]
                assert str(decoded.rows["id"][0]) == theirs["id"]
            case "book_change":
                assert ours["isSnapshot"] == theirs["isSnapshot"]
                for word in ("bids", "asks"):
                    assert ours[word] == [(e["price"], e["amount"]) for e in theirs[word]]
            case "book_ticker":
                empty = 0 if theirs["askPrice"] is None else None
                assert ours["bid"] == (theirs["bidPrice"], theirs["bidAmount"])
                assert ours["ask"] == ((0, 0) if empty == 0 else (theirs["askPrice"], theirs["askAmount"]))
            case "derivative_ticker":
                assert all(ours["values"][what] == theirs[field] for field, what in FIELDS.items())
                assert ours["values"][Reference.FUNDING] == theirs["fundingRate"]
    assert compared == 7


@pytest.mark.tape
def test_documented_answers_make_messages_and_instruments(messages: Path) -> None:
    folder = messages / "hyperliquid"
    for name, prices in (("http_l2_book_btc", 1), ("http_l2_book_snapshot", 2)):
        reader = VENUE.decoder({"BTC": instrument("BTC", prices)})
        body = orjson.loads((folder / f"{name}.json").read_bytes())
        assert len(one(message("l2Book", body), reader).rows) == 10
    recent = orjson.loads((folder / "http_recent_trades_btc.json").read_bytes())
    # Newest first there; told oldest first.
    assert one(message("trades", recent)).rows["id"].tolist() == [300001, 300002, 300003]
    perpetuals = (folder / "http_meta_perp_sample.json").read_bytes()
    (btc, atom) = VENUE.parse_instruments(perpetuals, ["BTC", "ATOM"])
    assert btc == instrument()
    assert (atom.price_decimals, atom.size_decimals) == (4, 2)
    groups = (folder / "http_all_perp_metas_non_usdc_collateral.json").read_bytes()
    found = VENUE.parse_instruments(groups, ["BTC", "km:US500", "hyna:BTC"])
    assert [(each.asset, each.quote) for each in found] == [("BTC", "USDC"), ("US500", "USDH"), ("BTC", "USDE")]
    with pytest.raises(BadConfig, match="hyna:BTC"):
        VENUE.parse_instruments(groups, ["hyna:ETH"])
    spot = orjson.loads((folder / "http_spot_meta_non_usdc_collateral.json").read_bytes())
    spot["universe"] = [{"name": "@232", "tokens": [360, 0], "index": 232}]
    (pair,) = VENUE.parse_instruments(orjson.dumps(spot), ["@232"])
    assert (pair.asset, pair.quote, pair.contract) == ("USDH", "USDC", Contract.SPOT)
    assert (pair.price_decimals, pair.size_decimals) == (6, 2)


def test_what_is_delisted_is_not_listed() -> None:
    body = orjson.dumps({"universe": [{"name": "OLD", "szDecimals": 1, "isDelisted": True}]})
    with pytest.raises(BadConfig, match="OLD"):
        VENUE.parse_instruments(body, ["OLD"])


def test_a_message_is_the_whole_book() -> None:
    decoded = one(FRAMES[0])
    assert decoded.message[["kind", "bids", "first", "last", "exchanged"]].tolist() == [
        (Kind.SNAPSHOT, 2, 0, 0, 1_737_918_843_800 * MS)
    ]
    assert decoded.rows.tolist() == [(1_050_550, 303_622), (1_050_540, 14_280), (1_050_560, 50_000)]


def test_an_older_book_is_dropped() -> None:
    reader = decoder()
    assert len(reader.decode(FRAMES[0])) == 1
    assert len(reader.decode(FRAMES[0])) == 1
    assert reader.decode(message("l2Book", {**BOOK, "time": BOOK["time"] - 1})) == []
    assert len(reader.decode(message("l2Book", {**BOOK, "coin": "ETH", "time": 5}))) == 1
    assert reader.counts == {"old_book": 1}
    # What is refused does not count as met.
    assert refused(reader, message("l2Book", {**BOOK, "time": 1737918843900, "levels": [[], [], []]})) == "structure"
    assert len(reader.decode(FRAMES[0])) == 1


def test_the_first_trades_of_a_coin_and_connection_are_history() -> None:
    reader, bought = decoder(), {**TRADE, "side": "B", "tid": 0}
    both = message("trades", [bought, {**TRADE, "time": 5}, {**TRADE, "coin": "ETH"}])
    flags = [[int(each.message["flags"][0]) for each in reader.decode(both, 0, 1)] for _ in range(2)]
    assert flags == [[Flag.HISTORY, Flag.HISTORY], [0, 0]]
    assert one(FRAMES[1], reader).message["flags"][0] == 0
    (again,) = reader.decode(FRAMES[1], 0, 2)
    assert again.message["flags"][0] == Flag.HISTORY
    reader.forget(1)
    assert one(FRAMES[1], reader).message["flags"][0] == Flag.HISTORY
    (decoded, _) = decoder().decode(both)
    assert decoded.rows[["exchanged", "price", "size", "id", "side"]].tolist() == [
        (5 * MS, 666_530, 100, 745_210_434_703_679, -1),
        (1_781_528_065_899 * MS, 666_530, 100, 0, 1),
    ]


def test_the_best_bid_and_ask() -> None:
    assert one(FRAMES[2]).rows.tolist() == [(1_050_550, 303_622), (1_050_560, 50_000)]
    assert one(message("bbo", {**BEST, "bbo": [None, BEST["bbo"][1]]})).rows.tolist() == [(0, 0), (1_050_560, 50_000)]


def test_a_context_has_no_clock() -> None:
    decoded = one(FRAMES[3])
    assert decoded.message["exchanged"][0] == 0
    assert decoded.rows[["what", "value", "next"]].tolist() == [
        (Reference.MARK, 775_620, 0),
        (Reference.INDEX, 776_050, 0),
        (Reference.FUNDING, -1_518_600, 0),
        (Reference.OPEN_INTEREST, 2_735_317_682, 0),
    ]


def test_there_is_no_stream_of_liquidations() -> None:
    assert Channel.LIQUIDATION not in {stream.channel for stream in VENUE.streams(["BTC"])}


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"hello", "not_json"),
        (b"[]", "structure"),
        (message("error", "Already subscribed"), "venue_error"),
        (message("allMids", {}), "unknown_channel"),
        (message("l2Book", {**BOOK, "coin": "SOL"}), "unknown_symbol"),
        (message("l2Book", {**BOOK, "levels": [[]]}), "structure"),
        (message("l2Book", {**BOOK, "levels": [[{"px": "1.0", "sz": "0"}], []]}), "bad_snapshot"),
        (message("l2Book", {**BOOK, "levels": [[{"px": 1, "sz": "1"}], []]}), "not_decimal"),
        (message("l2Book", {**BOOK, "time": None}), "bad_time"),
        (message("bbo", {**BEST, "bbo": [None, None, None]}), "structure"),
        (message("trades", {}), "bad_type"),
        (message("trades", [{**TRADE, "side": "C"}]), "bad_side"),
        (message("trades", [{**TRADE, "tid": "1"}]), "bad_id"),
        (message("trades", [{**TRADE, "sz": "-1"}]), "negative"),
        (message("activeAssetCtx", {**CONTEXT, "ctx": {}}), "not_decimal"),
    ],
)
def test_what_is_refused(frame: bytes, reason: str) -> None:
    assert refused(decoder(), frame) == reason


def test_notices_are_passed_over() -> None:
    reader = decoder()
    for frame in (b"Websocket connection established.", b'{"channel":"pong"}', message("subscriptionResponse", {})):
        assert reader.decode(frame) == []
    assert not reader.counts


@given(frame=broken(FRAMES), after=st.sampled_from(FRAMES))
def test_no_frame_breaks_the_decoder(frame: bytes, after: bytes) -> None:
    reader, other = decoder(), decoder()
    survive(reader, frame)
    survive(reader, after)
    assert other.decode(FRAMES[1], 0, 1)[0].message["flags"][0] == Flag.HISTORY


def test_the_emulated_venue_speaks_as_the_real_one() -> None:
    known = instrument()
    emulation, streams = VENUE.emulation, VENUE.streams(["BTC"])
    asked = [emulation.subscribed(frame) for frame in VENUE.subscribe(streams)]
    assert [each and each[0] for each in asked] == [(stream.name,) for stream in streams]
    assert all(each and decoder().decode(each[1]) == [] for each in asked)
    (ended,) = VENUE.unsubscribe(streams[:1])
    answered = emulation.unsubscribed(ended)
    assert answered is not None
    assert answered[0] == ("l2Book:BTC",)
    assert decoder().decode(answered[1]) == []
    assert VENUE.heartbeat is not None
    alive = emulation.answer(VENUE.heartbeat[0])
    assert alive is not None
    assert decoder().decode(alive) == []
    assert emulation.answer(ended) is None
    pair = Instrument(
        venue="hyperliquid",
        symbol="@1",
        asset="HFUN",
        quote="USDC",
        contract=Contract.SPOT,
        price_decimals=6,
        size_decimals=2,
        tick=1,
        lot=1,
    )
    assert VENUE.parse_instruments(emulation.instruments([known, pair]), ["@1", "BTC"]) == [pair, known]
    bids, asks = np.array([(1_050_550, 15)], LEVEL), np.array([(1_050_560, 100), (1_050_570, 7)], LEVEL)
    assert emulation.book is not None
    opened = emulation.book(known, 0, 1_737_918_843_800 * MS, bids, asks)
    assert one(opened).rows.tolist() == [*bids.tolist(), *asks.tolist()]
    names = [emulation.stream_of(each) for each in [opened, *FRAMES[1:], alive, b"Websocket connection established."]]
    assert names == ["l2Book:BTC", "trades:BTC", "bbo:BTC", "activeAssetCtx:BTC", None, None]
