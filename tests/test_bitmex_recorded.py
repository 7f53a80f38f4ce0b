"""BitMEX against what was recorded: a capture, its listing, documented rows, a peer."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.errors import BadConfig, Gap
from engine.schema import Contract, Kind
from ingest.captures import What, read_capture
from ingest.mirror import Mirror, Rule
from tests.bitmex import (
    VENUE,
    decoder,
    instrument,
    one,
    table,
)
from tests.peers import FIELDS, in_words, peer_messages, received, refused


@pytest.mark.tape
def test_the_recording_has_no_unknown_id_and_every_quote_is_the_books_best(captures: Path) -> None:
    (listing,) = (e.raw for e in read_capture([captures / "BITMEX.0.gz"]) if e.what is What.ANSWER)
    frames = list(received([captures / "BITMEX.ws.1.0.gz"]))
    names = [each.symbol for each in VENUE.infer_instruments([raw for _, raw in frames])]
    known = {each.symbol: each for each in VENUE.parse_instruments(listing, names)}
    mirrors = {symbol: Mirror(each, Rule()) for symbol, each in known.items()}
    reader = VENUE.decoder(known)
    deltas = quotes = 0
    for at, raw in frames:
        for decoded in reader.decode(raw, at, 1):
            kind, bids = Kind(decoded.message["kind"][0]), int(decoded.message["bids"][0])
            mirror = mirrors[decoded.symbol]
            if kind == Kind.SNAPSHOT:
                mirror.replace(decoded.rows, bids)
            elif kind == Kind.DELTA:
                mirror.apply(decoded.rows, bids)
                deltas += 1
        if b'"table":"quote","action":"insert"' in raw:
            # A frame holds the quotes of some time, the last is the newest.
            (bid,), (ask,) = mirror.best(1)
            assert [bid, ask] == decoded.rows.tolist()
            quotes += 1
    assert (len(known), deltas, quotes) == (10, 1969, 83)
    assert not reader.counts


@pytest.mark.tape
def test_what_contracts_are_worth(captures: Path) -> None:
    (listing,) = (e.raw for e in read_capture([captures / "BITMEX.0.gz"]) if e.what is What.ANSWER)
    inverse, quanto, coin, spread = VENUE.parse_instruments(listing, ["XBTUSD", "BCHUSD", "XRPU21", "UNIUSDT"])
    # One USD; 100 satoshi per USD of the price; one XRP, whose price is in BTC; 1000 satoshi per USDT of the price.
    assert [each.contract_size for each in (inverse, quanto, coin, spread)] == [10**8, 100, 10**8, 1000]
    assert [each.contract for each in (inverse, quanto, coin, spread)] == [
        Contract.INVERSE,
        Contract.QUANTO,
        Contract.LINEAR,
        Contract.QUANTO,
    ]
    assert (inverse.asset, inverse.quote, coin.quote) == ("BTC", "USD", "BTC")
    assert (inverse.price_decimals, inverse.tick, inverse.lot) == (1, 5, 100)
    with pytest.raises(BadConfig, match="XBTUSD"):
        VENUE.parse_instruments(listing, ["XBTUSDT"])


@pytest.mark.parametrize(
    ("entry", "contract", "size"),
    [
        # A millionth of a bitcoin, settled in USDT.
        ({"typ": "FFWCSX", "underlyingToPositionMultiplier": 1_000_000, "settlCurrency": "USDt"}, Contract.LINEAR, 100),
        ({"typ": "FFWCSX", "multiplier": 1, "quoteToSettleMultiplier": 10**6}, Contract.LINEAR, 100),
        ({"typ": "IFXXXP", "underlyingToPositionMultiplier": 10**8}, Contract.SPOT, 1),
        ({"typ": "FFWCSX", "isQuanto": True, "multiplier": 10, "settlCurrency": "USDt"}, Contract.QUANTO, 1000),
    ],
)
def test_contracts_of_today(entry: dict[str, Any], contract: Contract, size: int) -> None:
    listed = {"symbol": "A", "underlying": "XBT", "quoteCurrency": "USDT", "tickSize": 0.5, "lotSize": 1000, **entry}
    (known,) = VENUE.parse_instruments(orjson.dumps([listed]), ["A"])
    assert (known.contract, known.contract_size) == (contract, size)


def test_a_contract_too_small_to_be_told_is_the_operators_error() -> None:
    listed = {"symbol": "A", "typ": "IFXXXP", "underlying": "ETH", "quoteCurrency": "USDT", "tickSize": 0.5}
    listed |= {"lotSize": 1, "underlyingToPositionMultiplier": 10**9}
    with pytest.raises(BadConfig, match="1 of 1000000000"):
        VENUE.parse_instruments(orjson.dumps([listed]), ["A"])


@pytest.mark.tape
def test_ours_are_the_peers_rows(peer_normalised: Path) -> None:
    pairs = peer_messages(peer_normalised, "bitmex")
    reader = decoder("XBTUSD", "ETHUSD", "ETHM19", "LTCM19", "EOSM19", "XBTZ21")
    compared = 0
    for number, (raw, expected) in enumerate(pairs):
        if number == len(pairs) - 1:
            # It deletes a bid of a row that was an ask. Rows are told apart by symbol, id and side: it is not there.
            with pytest.raises(Gap):
                reader.decode(raw, 0, 1)
            continue
        ours = [in_words(each, instrument(each.symbol, 8)) for each in reader.decode(raw, 0, 1)]
        kinds = [word["type"] for word in ours]
        theirs = [e for e in expected if e["type"] in kinds]
        for word, change in zip((w for w in ours if w["type"] != "trade"), theirs, strict=False):
            compared += 1
            assert word["symbol"] == change["symbol"]
            match word["type"]:
                case "book_change":
                    assert word["isSnapshot"] == change["isSnapshot"]
                    for side in ("bids", "asks"):
                        assert sorted(word[side]) == sorted((e["price"], e["amount"]) for e in change[side])
                case "book_ticker":
                    assert word["bid"] == (change["bidPrice"], change["bidAmount"])
                    assert word["ask"] == (change["askPrice"], change["askAmount"])
                case "liquidation":
                    # Theirs is the order's side, ours the position that it closes; they stamp it as it arrived.
                    assert word["prints"] == [
                        (change["price"], change["amount"], {"buy": -1, "sell": 1}[change["side"]])
                    ]
                    assert word["time"] == 0
                case "derivative_ticker":
                    # Theirs repeats what did not change.
                    assert word["values"]
                    assert all(word["values"].get(w, change[f]) == change[f] for f, w in FIELDS.items())
        if kinds == ["trade"]:
            (trade,) = expected
            assert ours[0]["prints"] == [(trade["price"], trade["amount"], -1)]
            compared += 1
        # What they have and we do not: a ticker of which nothing but the last price changed.
        assert len(theirs) == len(expected) or number == 4
    assert compared == 15
    assert reader.counts == {"before_partial": 1, "liquidation_delete": 1}


@pytest.mark.tape
def test_documented_rows(messages: Path) -> None:
    def read(name: str) -> dict[str, Any]:
        content: dict[str, Any] = orjson.loads((messages / "bitmex" / f"ws_{name}.json").read_bytes())
        return content

    reader = decoder("XBTUSD", "DOTUSDT", "BCHUSDT")
    tables = {
        "trade": ("trade", [(9_857_090_000_000, 100, -1)]),
        "quote": ("quote", None),
        "liquidation": ("liquidation", [(9_500_000_000_000, 1000, -1)]),
    }
    for name, (kind, expected) in tables.items():
        (decoded,) = reader.decode(table(kind, "insert", read(name)))
        if expected is not None:
            assert decoded.rows[["price", "size", "side"]].tolist() == expected
    for name, count in {"instrument": 3, "instrument_index_update": 1, "instrument_mark_update": 1}.items():
        assert len(one(table("instrument", "update", read(name)), reader).rows) == count
    assert one(table("funding", "insert", read("funding_rate")), reader).rows["value"].tolist() == [100_000_000]
    level = one(table("orderBookL2", "partial", read("orderbook_l2")), reader)
    assert level.rows.tolist() == [(9_845_990_000_000, 33_000)]
    assert refused(reader, table("orderBook10", "update", read("orderbook_10"))) == "unknown_channel"
    spread = (messages / "bitmex" / "http_get_instrument_xbtm26_xbtu26_spread.json").read_bytes()
    with pytest.raises(BadConfig, match="no symbol"):
        VENUE.parse_instruments(b"[" + spread + b"]", ["XBTM26-XBTU26"])
    listed = (messages / "bitmex" / "http_get_instrument_xbtusd.json").read_bytes()
    (known,) = VENUE.parse_instruments(b"[" + listed + b"]", ["XBTUSD"])
    assert (known.price_decimals, known.tick, known.lot, known.contract_size) == (2, 10, 100, 10**8)
