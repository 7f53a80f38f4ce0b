"""Bybit's records: subscriptions, the emulated venue, instruments of a tape."""

from typing import Any

import numpy as np
import orjson
import pytest

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract
from ingest.venues import Venue, load

LINEAR, INVERSE, SPOT = load("bybit_linear"), load("bybit_inverse"), load("bybit_spot")
VENUES = [LINEAR, INVERSE, SPOT]
T = 1_786_310_818_130
MS = 1_000_000


def instrument(venue: str, contract: Contract) -> Instrument:
    return Instrument(
        venue=venue,
        symbol="BTCUSDT",
        asset="BTC",
        quote="USDT",
        contract=contract,
        price_decimals=2,
        size_decimals=3,
        tick=10,
        lot=1,
    )


def book(symbol: str, bids: Any, asks: Any = ()) -> bytes:
    data = {"s": symbol, "b": bids, "a": list(asks), "u": 2, "seq": 7}
    return orjson.dumps({"topic": f"orderbook.50.{symbol}", "type": "snapshot", "ts": T, "data": data})


TICKER = b'{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT"},"ts":1786310818130}'


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
def test_subscriptions_stay_within_ten_topics_and_name_each_once(venue: Venue) -> None:
    symbols = [f"COIN{number}USDT" for number in range(5)]
    streams = venue.streams(symbols)
    assert len({stream.name for stream in streams}) == len(streams)
    frames = [orjson.loads(each) for each in venue.subscribe(streams)]
    topics = [topic for each in frames for topic in each["args"]]
    assert len(topics) == len(set(topics))
    alone = {stream.name.partition("#")[0] for stream in streams}
    # The fund's own topic comes with the alerts that name it.
    beside = {topic.replace("adlAlert", "insurance") for topic in alone if topic.startswith("adlAlert.")}
    assert set(topics) == alone | beside
    assert bool(beside) == (venue is not SPOT)
    assert all(len(each["args"]) <= 10 and each["op"] == "subscribe" for each in frames)
    assert sum("adlAlert" in topic for topic in topics) == (venue is not SPOT)
    for each in (*venue.subscribe(streams), *venue.unsubscribe(streams)):
        asked = venue.emulation.subscribed(each) or venue.emulation.unsubscribed(each)
        assert asked is not None
        assert list(asked[0]) == [topic for topic in orjson.loads(each)["args"] if topic not in beside]
        assert venue.decoder({}).decode(asked[1]) == []
    assert venue.heartbeat is not None
    pong = venue.emulation.answer(venue.heartbeat[0])
    assert pong is not None
    assert venue.decoder({}).decode(pong) == []
    assert venue.url("ws://127.0.0.1:9", "public", streams) == f"ws://127.0.0.1:9/v5/public/{venue.name[6:]}"


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
def test_the_emulated_venue_speaks_what_the_decoder_reads(venue: Venue) -> None:
    contract = {"bybit_spot": Contract.SPOT, "bybit_inverse": Contract.INVERSE}.get(venue.name, Contract.LINEAR)
    known = instrument(venue.name, contract)
    assert venue.parse_instruments(venue.emulation.instruments([known]), ["BTCUSDT"]) == [known]
    assert venue.emulation.route(venue.instruments_path) == ("instruments", "", 1000)
    assert venue.emulation.route("/v5/market/orderbook?category=option&symbol=X") is None
    bids, asks = np.array([(1000, 5), (990, 7)], LEVEL), np.array([(1010, 9)], LEVEL)
    its = venue.decoder({"BTCUSDT": known})
    (body,) = its.body("BTCUSDT", Channel.DEPTH, venue.emulation.snapshot(known, 77, T * MS, bids, asks))
    assert venue.emulation.book is not None
    opening = venue.emulation.book(known, 77, T * MS, bids, asks)
    (decoded,) = its.decode(opening)
    assert decoded.rows.tolist() == body.rows.tolist() == [*bids.tolist(), *asks.tolist()]
    assert decoded.message.tobytes() == body.message.tobytes()
    depth = next(each.name for each in venue.streams(["BTCUSDT"]) if each.channel == Channel.DEPTH)
    assert venue.emulation.stream_of(opening) == depth
    with pytest.raises(BadFrame, match="unknown_channel"):
        its.body("BTCUSDT", Channel.OPEN_INTEREST, b"{}")


NAMES = {
    "BTCUSDT": ("BTC", "USDT"),
    "BTCPERP": ("BTC", "USDC"),
    "BTCUSD": ("BTC", "USD"),
    "BTCUSDU23": ("BTC", "USD"),
    "BTCUSDT-26DEC25": ("BTC", "USDT"),
    "BTC-26DEC25": ("BTC", "USDC"),
    "1000PEPEUSDT": ("1000PEPE", "USDT"),
}


@pytest.mark.parametrize("symbol", NAMES)
def test_a_tapes_symbol_tells_asset_and_quote(symbol: str) -> None:
    raw = book(symbol, [["10.50", "3"]], [["11.00", "0.5"]])
    (found,) = LINEAR.infer_instruments([b"{", b"[]", TICKER, raw])
    assert (found.asset, found.quote) == NAMES[symbol]
    assert (found.price_decimals, found.size_decimals, found.tick, found.lot) == (2, 1, 50, 5)


def test_a_tape_without_a_book_or_a_known_quote_is_the_operators_error() -> None:
    with pytest.raises(BadConfig, match="no book of bybit_linear"):
        LINEAR.infer_instruments([TICKER])
    with pytest.raises(BadConfig, match="cannot tell asset and quote"):
        LINEAR.infer_instruments([book("XXX", [["1", "1"]])])
