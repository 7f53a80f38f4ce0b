"""Binance's messages as a peer has normalised them: spot, USD-M, COIN-M."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Channel, Contract, Kind
from ingest.mirror import Mirror, Rule
from ingest.venues import Decoded, load
from tests.follower import wide
from tests.peers import in_words, peer_messages

EXCHANGES = {"binance": "binance_spot", "binance-futures": "binance_usdm", "binance-delivery": "binance_coinm"}
CONTRACTS = {"binance_spot": Contract.SPOT, "binance_usdm": Contract.LINEAR, "binance_coinm": Contract.INVERSE}
NAMES = ["BNBBTC", "BTCUSDT", "BTCUSDC", "GNTBTC", "ETHUSDT", "BTCBUSD_210129", "BTCUSD_200925", "BNBUSD_PERP"]

#: What is refused, by what, and why that is right.
REFUSED = {
    # Statistics of a day. The peer takes the last price from them.
    ("binance", "dogebnb@ticker", "unknown_event"): 1,
    ("binance-futures", "btcusdt@ticker", "unknown_event"): 2,
    ("binance-delivery", "btcusd_200925@ticker", "unknown_event"): 1,
    # The first days of USD-M's aggregates had no id. The peer takes trades instead.
    ("binance-futures", "btcusdt@aggTrade", "bad_id"): 1,
    # The peer's recorder asked REST itself, and left the time out.
    ("binance-futures", "btcusdt@openInterest", "bad_time"): 1,
    # Of the pair, for all of its contracts; a contract's own mark price states it too, since 2020-08.
    ("binance-delivery", "btcusd@indexPrice@1s", "unknown_event"): 1,
    # A symbol of another market.
    ("binance-delivery", "etcusdt@trade", "unknown_stream"): 1,
}


class Books:
    """Diffs that wait for their snapshot, as the peer holds them."""

    def __init__(self) -> None:
        self.held: defaultdict[str, list[Decoded]] = defaultdict(list)

    def snapshot(self, decoded: Decoded, known: Instrument) -> dict[str, Any]:
        """Say the book: the snapshot, and on it the diffs that were held and are newer."""
        mirror = Mirror(known, Rule())
        mirror.replace(decoded.rows, int(decoded.message["bids"][0]))
        for each in self.held.pop(decoded.symbol, []):
            if each.message["last"][0] > decoded.message["last"][0]:
                mirror.apply(each.rows, int(each.message["bids"][0]))
        prices, sizes = 10**known.price_decimals, 10**known.size_decimals
        bids, asks = ([(price / prices, size / sizes) for price, size in side] for side in mirror.best(100))
        return {**in_words(decoded, known), "bids": bids, "asks": asks}


def expectation(each: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Say what the peer expects in our terms, of the fields that both have."""
    name = each["type"]
    common = {"type": name, "symbol": each["symbol"]}
    if name in ("trade", "liquidation"):
        side = {"buy": 1, "sell": -1}[each["side"]]
        # The peer says the order's side, we whose position it closed.
        return common | {"prints": [(each["price"], each["amount"], side if name == "trade" else -side)]}
    if name == "book_change":
        bids, asks = ([(e["price"], e["amount"]) for e in each[side]] for side in ("bids", "asks"))
        if each["isSnapshot"]:
            bids, asks = sorted(bids, reverse=True), sorted(asks)
        return common | {"isSnapshot": each["isSnapshot"], "bids": bids, "asks": asks}
    if name == "book_ticker":
        bid, ask = ((each[f"{side}Price"], each[f"{side}Amount"]) for side in ("bid", "ask"))
        return common | {"bid": bid, "ask": ask}
    fields = {1: "markPrice", 2: "indexPrice", 3: "fundingRate", 4: "openInterest"}
    return common | {"values": {what: each[fields[what]] for what in said["values"]}}


@pytest.mark.tape
@pytest.mark.parametrize(
    ("exchange", "compared"),
    [
        ("binance", {"trade": 2, "book_ticker": 1, "book_change": 4}),
        ("binance-futures", {"derivative_ticker": 3, "trade": 2, "book_change": 3, "liquidation": 1, "book_ticker": 1}),
        (
            "binance-delivery",
            {"derivative_ticker": 2, "trade": 1, "book_change": 3, "liquidation": 1, "book_ticker": 1},
        ),
    ],
)
def test_a_peer_reads_the_same(peer_normalised: Path, exchange: str, compared: dict[str, int]) -> None:
    venue = load(EXCHANGES[exchange])
    known = {name: wide(venue.name, name, contract=CONTRACTS[venue.name]) for name in NAMES}
    decoder, books = venue.decoder(known), Books()
    refused: Counter[tuple[str, str, str]] = Counter()
    met: Counter[str] = Counter()
    for frame, expected in peer_messages(peer_normalised, exchange):
        content = orjson.loads(frame)
        stream, data = content.get("stream", ""), content.get("data")
        symbol = stream.partition("@")[0].upper()
        try:
            if "depthSnapshot" in stream:
                # The bodies of 2019 had no clocks.
                found = decoder.body(symbol, Channel.DEPTH, orjson.dumps({"E": 0, "T": 0, **data}))
            elif "openInterest" in stream:
                found = decoder.body(symbol, Channel.OPEN_INTEREST, orjson.dumps(data))
            else:
                found = decoder.decode(frame)
        except BadFrame as refusal:
            refused[exchange, stream, refusal.reason] += 1
            continue
        for decoded in found:
            its, kind = known[decoded.symbol], decoded.message["kind"][0]
            if kind == Kind.DELTA and not expected:
                books.held[decoded.symbol].append(decoded)
                continue
            said = books.snapshot(decoded, its) if kind == Kind.SNAPSHOT else in_words(decoded, its)
            (one,) = expected
            if said["type"] == "derivative_ticker":
                said["values"] = {what: value for what, value in said["values"].items() if one_has(one, what)}
            wanted = expectation(one, said)
            assert {key: said[key] for key in wanted} == wanted, frame
            met[said["type"]] += 1
        assert found or not expected
    assert refused == {key: count for key, count in REFUSED.items() if key[0] == exchange}
    assert met == compared


def one_has(one: dict[str, Any], what: int) -> bool:
    """Tell whether the peer states funding: it drops a delivery contract's, which we state as it comes, 0 and never."""
    return what != 3 or one["fundingRate"] is not None
