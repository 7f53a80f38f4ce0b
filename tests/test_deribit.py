"""Deribit: what its recorded and documented messages say, and what is refused of them."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract, Coverage, Kind, PriceKind, Reference, Status
from ingest.captures import What, read_capture
from ingest.venues import Decoded, Decoder, load
from tests.peers import FIELDS, broken, in_words, peer_messages, received, refused, survive

VENUE = load("deribit")
MS = 1_000_000


def instrument(symbol: str = "BTC-PERPETUAL", prices: int = 2, sizes: int = 1) -> Instrument:
    return Instrument(
        venue="deribit",
        symbol=symbol,
        asset=symbol[:3],
        quote="USD",
        contract=Contract.INVERSE,
        price_decimals=prices,
        size_decimals=sizes,
        tick=50,
        lot=100,
    )


def decoder(*symbols: str) -> Decoder:
    known = [instrument(symbol, 8, 4) for symbol in symbols] or [instrument()]
    return VENUE.decoder({each.symbol: each for each in known})


def notification(channel: str, content: Any) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": content}})


BOOK: dict[str, Any] = {
    "type": "change",
    "timestamp": 1699999999500,
    "instrument_name": "BTC-PERPETUAL",
    "change_id": 20,
    "prev_change_id": 10,
    "bids": [["change", 42500.0, 950.0], ["delete", 42498.5, 0.0]],
    "asks": [["new", 42501.0, 10]],
}
TRADE: dict[str, Any] = {
    "timestamp": 1765531356452,
    "price": 92294.5,
    "amount": 10.0,
    "direction": "sell",
    "instrument_name": "BTC-PERPETUAL",
    "trade_seq": 271252854,
    "trade_id": "403691824",
}
TICKER: dict[str, Any] = {
    "timestamp": 1765541474086,
    "state": "open",
    "index_price": 92263.555,
    "instrument_name": "BTC-PERPETUAL",
    "open_interest": 1132329370.0,
    "mark_price": 92281.78,
    "current_funding": -8.477e-05,
}
QUOTE: dict[str, Any] = {
    "timestamp": 1765541767174,
    "instrument_name": "BTC-PERPETUAL",
    "best_ask_price": 92288.5,
    "best_bid_price": 92288,
    "best_ask_amount": 99470.0,
    "best_bid_amount": 133440.0,
}
FRAMES = [
    notification("book.BTC-PERPETUAL.100ms", BOOK),
    notification("trades.BTC-PERPETUAL.100ms", [TRADE, {**TRADE, "liquidation": "MT"}]),
    notification("ticker.BTC-PERPETUAL.100ms", TICKER),
    notification("quote.BTC-PERPETUAL", QUOTE),
]


def one(frame: bytes) -> Decoded:
    (decoded,) = decoder().decode(frame)
    return decoded


def told(**changed: Any) -> list[Decoded]:
    return decoder().decode(notification("trades.BTC-PERPETUAL.100ms", [{**TRADE, **changed}]))


@pytest.mark.tape
def test_every_book_of_the_recording_is_a_chain_without_a_gap(captures: Path) -> None:
    listings = [e for e in read_capture([captures / "DERIBIT.0.gz"]) if e.what is What.ANSWER]
    frames = list(received([captures / "DERIBIT.ws.1.0.gz"]))
    known: dict[str, Instrument] = {}
    for entry in listings[:2]:
        listed = [each["instrument_name"] for each in orjson.loads(entry.raw)["result"]]
        met = [name for name in listed if any(f".{name}.".encode() in raw for _, raw in frames)]
        known |= {each.symbol: each for each in VENUE.parse_instruments(entry.raw, met)}
    assert len(known) == 10
    reader = VENUE.decoder(known)
    last: dict[str, int] = {}
    kinds = [
        (decoded.symbol, Kind(decoded.message["kind"][0]), int(decoded.message["previous"][0]), decoded)
        for _, raw in frames
        for decoded in reader.decode(raw)
    ]
    for symbol, kind, previous, decoded in kinds:
        if kind == Kind.DELTA:
            assert previous == last[symbol]
        if decoded.channel == Channel.DEPTH:
            last[symbol] = int(decoded.message["last"][0])
    met_kinds = [kind for _, kind, _, _ in kinds]
    assert (met_kinds.count(Kind.SNAPSHOT), met_kinds.count(Kind.DELTA)) == (10, 36)
    assert met_kinds.count(Kind.REFERENCE) == sum(b'"ticker.' in raw[:90] for _, raw in frames)
    assert not reader.counts


@pytest.mark.tape
def test_decimals_met_in_the_recording_are_those_of_the_listing(captures: Path) -> None:
    (listing, *_) = (e.raw for e in read_capture([captures / "DERIBIT.0.gz"]) if e.what is What.ANSWER)
    inferred = VENUE.infer_instruments([raw for _, raw in received([captures / "DERIBIT.ws.1.0.gz"])])
    for each in (each for each in inferred if each.asset == "BTC"):
        (stated,) = VENUE.parse_instruments(listing, [each.symbol])
        assert (each.price_decimals, each.size_decimals, each.contract, each.quote) == (
            stated.price_decimals,
            stated.size_decimals,
            stated.contract,
            stated.quote,
        )
        assert each.tick % stated.tick == 0
        assert each.lot % stated.lot == 0


@pytest.mark.tape
def test_ours_are_the_peers_rows(peer_normalised: Path) -> None:
    pairs = peer_messages(peer_normalised, "deribit")
    symbols = {
        str(e["instrument_name"])
        for raw, _ in pairs
        for content in [orjson.loads(raw)["params"]["data"]]
        for e in (content if isinstance(content, list) else [content])
    }
    reader = decoder(*symbols)
    compared = 0
    for raw, expected in pairs:
        channel = orjson.loads(raw)["params"]["channel"]
        if "FS-" in channel:
            # A combination: what its contracts cost beside one another. The peer has it, we refuse a negative price.
            assert expected[0]["lastPrice"] < 0
        ours = [in_words(each, instrument(each.symbol, 8, 4)) for each in reader.decode(raw) if each.channel]
        for word in ours:
            theirs = [each for each in expected if each["type"] == word["type"]]
            if channel.startswith("quote"):
                # The peer takes the best bid and ask from tickers.
                assert expected == []
                continue
            if word["type"] == "derivative_ticker" and not theirs:
                # The peer tells options in a type of their own; the numbers are the same.
                (theirs,) = ([each] for each in expected if each["type"] == "option_summary")
            compared += len(theirs)
            match word["type"]:
                case "trade":
                    assert word["prints"] == [
                        (e["price"], e["amount"], 1 if e["side"] == "buy" else -1) for e in theirs
                    ]
                case "liquidation":
                    # Theirs is the side of the liquidated order, ours the position that it closes.
                    assert word["prints"] == [
                        (e["price"], e["amount"], -1 if e["side"] == "buy" else 1) for e in theirs
                    ]
                case "book_change":
                    (change,) = theirs
                    assert word["isSnapshot"] == change["isSnapshot"]
                    for side in ("bids", "asks"):
                        assert sorted(word[side]) == sorted((e["price"], e["amount"]) for e in change[side])
                case "derivative_ticker":
                    (ticker,) = theirs
                    for field, what in FIELDS.items():
                        if field in ticker:
                            assert word["values"][what] == ticker[field]
                    if ticker.get("fundingRate") is not None:
                        assert word["values"][Reference.FUNDING] == ticker["fundingRate"]
    assert compared == 20


@pytest.mark.tape
def test_documented_messages(messages: Path) -> None:
    folder = messages / "deribit"
    reader = decoder("BTC-PERPETUAL", "BTC-CS-19MAY26-70000_75000")
    met = {path.stem: refused(reader, path.read_bytes()) for path in folder.glob("ws_*.json")}
    assert {name for name, reason in met.items() if not reason} == {
        "ws_book_delta",
        "ws_book_snapshot",
        "ws_quote",
        "ws_subscribe_response",
        "ws_test_request",
        "ws_ticker",
        "ws_trades",
        "ws_trades_option_combo",
        # Answers to private requests: answers all the same.
        *(name for name in met if name.startswith("ws_order_")),
    }
    assert met["ws_error"] == "venue_error"
    assert {met[name] for name in ("ws_book_grouped_snapshot", "ws_chart", "ws_volatility_index")} == {
        "unknown_channel"
    }
    assert reader.counts == {"heartbeat_test_request": 1}
    known = decoder("BTC-PERPETUAL")
    (whole,) = known.decode((folder / "ws_book_snapshot.json").read_bytes())
    (change,) = known.decode((folder / "ws_book_delta.json").read_bytes())
    assert whole.message["last"][0] == change.message["previous"][0] == 123456789


@pytest.mark.tape
def test_listed_instruments(messages: Path) -> None:
    body = (messages / "deribit" / "http_get_instrument.json").read_bytes()
    listing = orjson.dumps({"result": [orjson.loads(body)["result"]]})
    (known,) = VENUE.parse_instruments(listing, ["BTC-PERPETUAL"])
    assert (known.contract, known.asset, known.quote) == (Contract.INVERSE, "BTC", "USD")
    # A tick of 0.5; blocks trade in steps of 0.01. A contract is 10 USD, amounts are USD.
    assert (known.price_decimals, known.tick) == (2, 50)
    assert (known.size_decimals, known.lot, known.contract_size) == (1, 100, 100_000_000)
    combinations = (messages / "deribit" / "http_get_instruments_future_combo.json").read_bytes()
    with pytest.raises(BadConfig, match="no symbol"):
        VENUE.parse_instruments(combinations, [orjson.loads(combinations)["result"][0]["instrument_name"]])


def test_linear_and_spot_instruments() -> None:
    entry = {"base_currency": "SOL", "quote_currency": "USDC", "tick_size": 0.01, "min_trade_amount": 0.1}
    listed = [
        {"instrument_name": "SOL_USDC-PERPETUAL", "kind": "future", "future_type": "linear", **entry},
        {"instrument_name": "SOL_USDC", "kind": "spot", **entry},
    ]
    names = ["SOL_USDC", "SOL_USDC-PERPETUAL"]
    spot, linear = VENUE.parse_instruments(orjson.dumps({"result": listed}), names)
    assert (spot.contract, linear.contract) == (Contract.SPOT, Contract.LINEAR)
    with pytest.raises(BadConfig, match="SOL_USDC"):
        VENUE.parse_instruments(orjson.dumps({"result": listed}), ["SOL_USDT"])


def test_a_change_names_the_one_before_it() -> None:
    decoded = one(FRAMES[0])
    row = decoded.message[0]
    assert (row["kind"], row["first"], row["last"], row["previous"], row["bids"]) == (Kind.DELTA, 20, 20, 10, 2)
    assert row["exchanged"] == 1_699_999_999_500 * MS
    assert decoded.rows.tolist() == [(4_250_000, 9500), (4_249_850, 0), (4_250_100, 100)]


@pytest.mark.parametrize(
    "changed",
    [{"type": "snapshot"}, {"type": "snapshot", "prev_change_id": None}, {"prev_change_id": 0}],
    ids=["named", "documented", "reset"],
)
def test_a_whole_book_begins_anew(changed: dict[str, Any]) -> None:
    decoded = one(notification("book.BTC-PERPETUAL.raw", {**BOOK, **changed}))
    assert (decoded.message["kind"][0], decoded.message["last"][0]) == (Kind.SNAPSHOT, 20)
    assert decoded.rows.tolist() == [(4_250_000, 9500), (4_250_100, 100)]


def test_books_of_2019_have_no_type() -> None:
    old = {key: value for key, value in BOOK.items() if key not in ("type", "prev_change_id")}
    assert one(notification("book.BTC-PERPETUAL.raw", old)).message["kind"][0] == Kind.SNAPSHOT
    old["prev_change_id"] = 19
    assert one(notification("book.BTC-PERPETUAL.raw", old)).message["kind"][0] == Kind.DELTA


def test_a_trade_is_numbered_within_its_instrument() -> None:
    (decoded,) = told()
    assert decoded.rows.tolist() == [(1_765_531_356_452 * MS, 9_229_450, 100, 271_252_854, 1, -1, 0, 0)]


@pytest.mark.parametrize(
    ("direction", "whose", "sides"),
    [
        ("sell", "T", [1]),
        ("buy", "T", [-1]),
        ("buy", "M", [1]),
        ("sell", "M", [-1]),
        ("sell", "MT", [1, -1]),
        ("buy", "MT", [-1, 1]),
    ],
)
def test_who_was_liquidated(direction: str, whose: str, sides: list[int]) -> None:
    trade, liquidation = told(direction=direction, liquidation=whose)
    assert (trade.channel, liquidation.channel) == (Channel.TRADE, Channel.LIQUIDATION)
    assert liquidation.rows["side"].tolist() == sides
    assert set(liquidation.rows["price_kind"].tolist()) == {PriceKind.TRADE}
    assert set(liquidation.rows["coverage"].tolist()) == {Coverage.ALL}
    assert set(liquidation.rows["size"].tolist()) == {100}


def test_a_block_trades_between_ticks() -> None:
    assert told(price=92294.51)[0].rows["price"].tolist() == [9_229_451]
    with pytest.raises(BadFrame, match="lost_digit"):
        told(price=92294.511)


def test_a_ticker_tells_mark_index_funding_and_open_interest() -> None:
    decoded = one(FRAMES[2])
    assert decoded.channel == Channel.MARK
    assert decoded.rows[["what", "value", "next"]].tolist() == [
        (Reference.MARK, 9_228_178, 0),
        # Halfway: to the even one.
        (Reference.INDEX, 9_226_356, 0),
        (Reference.FUNDING, -84_770_000, 0),
        (Reference.OPEN_INTEREST, 11_323_293_700, 0),
    ]
    dated = {key: value for key, value in TICKER.items() if key != "current_funding"}
    assert len(one(notification("ticker.BTC-PERPETUAL.100ms", dated)).rows) == 3


def test_a_book_that_closes_is_said_once() -> None:
    reader, other = decoder(), decoder()
    said: list[int] = []
    for state in ("open", "closed", "closed", "open"):
        for each in reader.decode(notification("ticker.BTC-PERPETUAL.100ms", {**TICKER, "state": state})):
            said += each.message["status"].tolist() if each.channel is None else []
    assert said == [Status.HALTED, Status.TRADING]
    assert len(other.decode(FRAMES[2])) == 1


def test_the_best_bid_and_ask() -> None:
    assert one(FRAMES[3]).rows.tolist() == [(9_228_800, 1_334_400), (9_228_850, 994_700)]
    empty = one(notification("quote.BTC-PERPETUAL", {**QUOTE, "best_bid_price": 0.0, "best_bid_amount": 0.0}))
    assert empty.rows.tolist() == [(0, 0), (9_228_850, 994_700)]
    silent = {**QUOTE, "best_ask_price": None, "best_ask_amount": 0}
    assert one(notification("quote.BTC-PERPETUAL", silent)).rows.tolist() == [(9_228_800, 1_334_400), (0, 0)]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"[]", "structure"),
        (b'{"jsonrpc":"2.0"}', "structure"),
        (b'{"error":{"code":10028,"message":"too_many_requests"}}', "venue_error"),
        (notification("book.ETH-PERPETUAL.100ms", BOOK), "unknown_symbol"),
        (notification("trades.future.BTC.100ms", [TRADE]), "unknown_channel"),
        (notification("book.BTC-PERPETUAL.100ms", {**BOOK, "type": "other"}), "structure"),
        (notification("book.BTC-PERPETUAL.100ms", {**BOOK, "bids": [["take", 1, 1]]}), "structure"),
        (notification("book.BTC-PERPETUAL.100ms", {**BOOK, "bids": [["delete", 1, 1]]}), "structure"),
        (notification("book.BTC-PERPETUAL.100ms", {**BOOK, "change_id": 2.0}), "bad_id"),
        (notification("trades.BTC-PERPETUAL.100ms", [{**TRADE, "direction": "both"}]), "bad_side"),
        (notification("trades.BTC-PERPETUAL.100ms", [{**TRADE, "liquidation": "X"}]), "bad_side"),
        (notification("trades.BTC-PERPETUAL.100ms", [{**TRADE, "price": -1.5}]), "negative"),
        (notification("trades.BTC-PERPETUAL.100ms", TRADE), "structure"),
        (notification("ticker.BTC-PERPETUAL.100ms", {**TICKER, "mark_price": None}), "not_decimal"),
        (notification("quote.BTC-PERPETUAL", {**QUOTE, "timestamp": "now"}), "bad_time"),
    ],
)
def test_what_is_refused(frame: bytes, reason: str) -> None:
    assert refused(decoder(), frame) == reason


def test_long_sizes_and_trailing_zeros_are_exact() -> None:
    frame = FRAMES[0].replace(b"42501.0,10", b"42501.00,1000000000000.10")
    assert one(frame).rows.tolist()[-1] == (4_250_100, 10_000_000_000_001)


@given(frame=broken(FRAMES), whole=st.sampled_from(FRAMES))
def test_no_frame_breaks_the_decoder(frame: bytes, whole: bytes) -> None:
    reader = decoder()
    survive(reader, frame)
    before = [(each.message.tobytes(), each.rows.tobytes()) for each in decoder().decode(whole)]
    after = [(each.message.tobytes(), each.rows.tobytes()) for each in reader.decode(whole) if each.channel]
    assert after == before


def test_the_emulated_venue_speaks_as_the_real_one() -> None:
    known = instrument()
    emulation, streams = VENUE.emulation, VENUE.streams(["BTC-PERPETUAL"])
    (frame,) = VENUE.subscribe(streams)
    asked = emulation.subscribed(frame)
    assert asked is not None
    assert asked[0] == tuple(stream.name for stream in streams if "#" not in stream.name)
    assert decoder().decode(asked[1]) == []
    (ended,) = VENUE.unsubscribe(streams[:1])
    assert emulation.unsubscribed(ended) == (("book.BTC-PERPETUAL.100ms",), emulation.unsubscribed(ended)[1])  # type: ignore[index]
    assert VENUE.heartbeat is not None
    alive = emulation.answer(VENUE.heartbeat[0])
    assert alive is not None
    assert decoder().decode(alive) == []
    assert emulation.answer(frame) is None
    assert VENUE.parse_instruments(emulation.instruments([known]), ["BTC-PERPETUAL"]) == [known]
    bids, asks = np.array([(4_250_000, 15)], LEVEL), np.array([(4_250_050, 100), (4_250_100, 7)], LEVEL)
    assert emulation.book is not None
    opened = emulation.book(known, 77, 1_699_999_999_500 * MS, bids, asks)
    assert emulation.stream_of(opened) == streams[0].name
    decoded = one(opened)
    assert (decoded.message["kind"][0], decoded.message["last"][0]) == (Kind.SNAPSHOT, 77)
    assert decoded.rows.tolist() == [*bids.tolist(), *asks.tolist()]
    assert emulation.stream_of(notification("trades.BTC-PERPETUAL.raw", [])) == "trades.BTC-PERPETUAL.100ms"
