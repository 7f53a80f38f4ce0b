"""Binance COIN-M: its frames, its tables (whole and damaged), what is dated; and USD-M's rating of deleveraging."""

import csv
import gzip
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract, Coverage, Flag, Kind, PriceKind, Reference
from ingest import control
from ingest.emulation import Desk, read_score
from ingest.session import Session
from ingest.sync import BookSync, Verdict
from ingest.venues import load
from ingest.venues._binance import LARGEST_SINCE, MERGED_SINCE

COINM, USDM = load("binance_coinm"), load("binance_usdm")
MS = 1_000_000
DEPTH = "test_{}_binance_difference_depth_stream_coin_m_futures_trxusd_perp_04-03-2025.csv"
TRADES = "test_{}_binance_trade_stream_coin_m_futures_trxusd_perp_04-03-2025.csv"


def instrument(symbol: str = "TRXUSD_PERP", prices: int = 5) -> Instrument:
    return Instrument(
        venue="binance_coinm",
        symbol=symbol,
        asset=symbol[:3],
        quote="USD",
        contract=Contract.INVERSE,
        price_decimals=prices,
        size_decimals=0,
        tick=1,
        lot=1,
        contract_size=10**9,
    )


ORDER: dict[str, Any] = {"s": "BTCUSD_PERP", "ps": "BTCUSD", "o": "LIMIT", "f": "IOC", "q": "3", "p": "9314.5"}
ORDER |= {"ap": "9352.71", "X": "FILLED", "l": "3", "z": "3"}
MARK = {"e": "markPriceUpdate", "E": 1596095725000, "s": "BTCUSD_PERP", "p": "10934.62615417", "P": "10962.17178236"}


@pytest.mark.parametrize("side", ["SELL", "BUY"])
@pytest.mark.parametrize(
    ("venue", "since", "before", "after"),
    [
        (COINM, MERGED_SINCE, Coverage.SAMPLED_LATEST, Coverage.SAMPLED),
        (USDM, LARGEST_SINCE, Coverage.SAMPLED_LATEST, Coverage.SAMPLED_LARGEST),
    ],
    ids=["coinm", "usdm"],
)
def test_a_liquidation_is_of_contracts_and_which_one_is_shown_is_dated(
    venue: Any, since: int, before: Coverage, after: Coverage, side: str
) -> None:
    decoder = venue.decoder({"BTCUSD_PERP": instrument("BTCUSD_PERP", 1)})
    for at, coverage in ((since // MS - 1, before), (since // MS, after)):
        content = {"e": "forceOrder", "E": at + 2, "o": {**ORDER, "S": side, "T": at}}
        (decoded,) = decoder.decode(orjson.dumps({"stream": "btcusd_perp@forceOrder", "data": content}))
        whose = 1 if side == "SELL" else -1
        assert decoded.rows.tolist() == [(at * MS, 93145, 3, 93527, whose, PriceKind.ORDER_LIMIT, coverage, 0, 0)]


def test_a_pair_beside_the_symbol_costs_no_second_reading() -> None:
    decoder = COINM.decoder({"BTCUSD_PERP": instrument("BTCUSD_PERP", 1)})
    ids = {"U": 37471290, "u": 37471292, "pu": 37471291}
    depth = {"e": "depthUpdate", "E": 7, "T": 5, "s": "BTCUSD_PERP", "ps": "BTCUSD", **ids, "b": [["9498.9", "13"]]}
    touch = {"u": 9, "e": "bookTicker", "s": "BTCUSD_PERP", "ps": "BTCUSD", "b": "353.4", "B": "271", "a": "353.5"}
    frames = {
        "depth@0ms": {**depth, "a": []},
        "bookTicker": {**touch, "A": "6", "T": 5, "E": 7},
        "markPrice@1s": {**MARK, "i": "10933.62615417", "r": "0.0001", "T": 1596096000000, "st": 2},
    }
    rows = {
        stream: decoder.decode(orjson.dumps({"stream": f"btcusd_perp@{stream}", "data": content}))[0].rows.tolist()
        for stream, content in frames.items()
    }
    at = 1596095725000 * MS
    assert rows == {
        "depth@0ms": [(94989, 13)],
        "bookTicker": [(3534, 271), (3535, 6)],
        "markPrice@1s": [
            (at, 109346, 0, Reference.MARK, 0, 0, 0),
            (at, 109336, 0, Reference.INDEX, 0, 0, 0),
            (at, 100_000_000, 1596096000000 * MS, Reference.FUNDING, 0, 0, 0),
        ],
    }
    assert decoder.counts["slowly"] == 0
    body = {"lastUpdateId": 16769853, "symbol": "BTCUSD_PERP", "pair": "BTCUSD", "E": 7, "T": 5}
    body |= {"bids": [["9638.0", "431"]], "asks": [["9638.2", "12"]]}
    (snapshot,) = decoder.body("BTCUSD_PERP", Channel.DEPTH, orjson.dumps(body))
    assert snapshot.rows.tolist() == [(96380, 431), (96382, 12)]
    assert not decoder.counts


def test_a_mark_may_come_without_index_and_funding() -> None:
    """Delivery contracts have an empty rate; frames of 2020 state neither index nor rate."""
    decoder = COINM.decoder({"BTCUSD_PERP": instrument("BTCUSD_PERP", 1)})
    for more, what in (({"i": "10933.6", "r": "", "T": 0}, [1, 2]), ({}, [1])):
        (decoded,) = decoder.decode(orjson.dumps({"stream": "btcusd_perp@markPrice@1s", "data": {**MARK, **more}}))
        assert decoded.rows["what"].tolist() == what


def messages(path: Path) -> Iterator[list[dict[str, str]]]:
    """Read a table: rows of one message after another."""
    with gzip.open(path, "rt") as lines:
        for _, rows in itertools.groupby(csv.DictReader(lines), lambda row: (row["FinalUpdateId"], row["EventTime"])):
            yield list(rows)


def frame(rows: list[dict[str, str]]) -> bytes:
    """Write a message as the venue sent it, from its rows of a table."""
    one = rows[0]
    sides = {
        key: [[row["Price"], row["Quantity"]] for row in rows if row["IsAsk"] == ask]
        for key, ask in (("b", "0"), ("a", "1"))
    }
    ids = {"U": one["FirstUpdateId"], "u": one["FinalUpdateId"], "pu": one["FinalUpdateIdInLastStream"]}
    clocks = {"E": int(one["EventTime"]), "T": int(one["TransactionTime"])}
    content = {"e": one["EventType"], **clocks, "s": one["Symbol"], "ps": one["PSUnknownField"]}
    content |= {key: int(value) for key, value in ids.items()}
    return orjson.dumps({"stream": "trxusd_perp@depth@100ms", "data": {**content, **sides}})


@pytest.mark.tape
def test_a_day_of_a_book_breaks_once_where_a_message_comes_again(damaged: Path) -> None:
    name = DEPTH.format("positive")
    labelled = json.loads((damaged / "LABELLED_DIFFS.json").read_text())[name]
    decoder = COINM.decoder({"TRXUSD_PERP": instrument()})
    chain: BookSync[int] = BookSync("binance_coinm:TRXUSD_PERP", COINM.sequence)
    chain.begin()
    verdicts, broken, before = Counter[Verdict](), 0, -1
    for rows in messages(damaged / f"{name}.gz"):
        (decoded,) = decoder.decode(frame(rows))
        assert len(decoded.rows) == len(rows)
        first, last, previous = (int(decoded.message[key][0]) for key in ("first", "last", "previous"))
        broken += before not in (-1, previous)
        before = last
        verdicts[chain.diff(first, last, previous, 0)] += 1
    assert (verdicts.total(), broken) == (labelled["messages"], labelled["gaps"]) == (1150, 1)
    # The last one has the ids of the one before it: the chain of `pu` breaks, and nothing is missing.
    assert verdicts == {Verdict.HELD: 1149, Verdict.OLD: 1}
    assert not decoder.counts


@pytest.mark.tape
def test_damaged_cells_of_a_book_are_refused_or_flagged(damaged: Path) -> None:
    name = DEPTH.format("positive")
    labelled = json.loads((damaged / "LABELLED_DIFFS.json").read_text())[name]["negative_diffs"]
    touched = {entry["data_row"] for entry in labelled}
    with gzip.open(damaged / f"{DEPTH.format('negative')}.gz", "rt") as lines:
        rows = list(csv.DictReader(lines))
    decoder = COINM.decoder({"TRXUSD_PERP": instrument()})
    refused, flagged = {}, []
    for number, row in enumerate(rows, 1):
        try:
            (decoded,) = decoder.decode(frame([row]))
        except BadFrame as refusal:
            refused[number] = refusal.reason
            continue
        if decoded.message["flags"][0] & Flag.BAD_TIME:
            flagged.append(number)
    # A wrong symbol, ids the wrong way round; published before it happened. One frame cannot tell a time of 0 (2), a
    # side of 2 (3; no frame has it), a price of 50 times the book's (7), a time that fits its neighbours (10,000).
    assert refused == {1: "wrong_stream", 9: "bad_ids"}
    assert flagged == [3]
    assert {*refused, *flagged} <= touched == {1, 2, 3, 7, 9, 10_000}
    with pytest.raises(BadFrame, match="zero"):
        decoder.decode(frame([{**rows[0], "Symbol": "TRXUSD_PERP"}]))


@pytest.mark.tape
@pytest.mark.parametrize(("name", "breaks"), [("positive", []), ("negative", [39605683, 39605685])])
def test_trade_ids_have_no_hole_but_the_damaged_ones(damaged: Path, name: str, breaks: list[int]) -> None:
    decoder = COINM.decoder({"TRXUSD_PERP": instrument()})
    ids = []
    with gzip.open(damaged / f"{TRADES.format(name)}.gz", "rt") as lines:
        for row in csv.DictReader(lines):
            content: dict[str, Any] = {"e": "trade", "E": int(row["EventTime"]), "T": int(row["TransactionTime"])}
            content |= {"s": row["Symbol"], "t": int(row["TradeId"]), "p": row["Price"], "q": row["Quantity"]}
            content |= {"X": row["XUnknownParameter"], "m": row["IsBuyerMarketMaker"] == "1"}
            (decoded,) = decoder.decode(orjson.dumps({"stream": "trxusd_perp@trade", "data": content}))
            assert decoded.rows["size"][0] == float(row["Quantity"])
            ids.append(int(decoded.rows["id"][0]))
    assert len(ids) == 10_000
    assert [after for before, after in itertools.pairwise(ids) if after != before + 1] == breaks
    assert not decoder.counts


def test_contracts_are_dollars_and_quarters_have_names() -> None:
    entry = {"symbol": "BTCUSD_PERP", "pair": "BTCUSD", "contractType": "PERPETUAL", "contractSize": 100}
    entry |= {
        "baseAsset": "BTC",
        "quoteAsset": "USD",
        "marginAsset": "BTC",
        "pricePrecision": 1,
        "quantityPrecision": 0,
    }
    filters = [{"filterType": "PRICE_FILTER", "maxPrice": "4520958", "minPrice": "1000", "tickSize": "0.1"}]
    filters += [{"filterType": "LOT_SIZE", "stepSize": "1", "maxQty": "1000000", "minQty": "1"}]
    listing = orjson.dumps({"symbols": [{**entry, "filters": filters}]})
    (parsed,) = COINM.parse_instruments(listing, ["BTCUSD_PERP"])
    assert (parsed.contract, parsed.contract_size) == (Contract.INVERSE, 100 * 10**8)
    assert (parsed.price_decimals, parsed.tick, parsed.size_decimals, parsed.lot) == (1, 1, 0, 1)
    with pytest.raises(BadFrame, match="contractSize"):
        COINM.parse_instruments(listing.replace(b'"contractSize":100', b'"contractSize":"100"'), ["BTCUSD_PERP"])
    ids = {"U": 5, "u": 9, "pu": 4}
    for symbol, asset, dollars in (("BTCUSD_250926", "BTC", 100), ("ETHUSD_PERP", "ETH", 10)):
        diff = {"e": "depthUpdate", "E": 2, "T": 1, "s": symbol, **ids, "b": [["1.5", "2"]], "a": []}
        (inferred,) = COINM.infer_instruments([orjson.dumps(diff)])
        assert (inferred.asset, inferred.quote, inferred.contract_size) == (asset, "USD", dollars * 10**8)
    spot = {"e": "depthUpdate", "E": 2, "s": "BTCUSD", "U": 5, "u": 9, "b": [], "a": []}
    with pytest.raises(BadConfig, match="not those of binance_coinm"):
        COINM.infer_instruments([orjson.dumps(spot)])


def test_the_emulated_venue_speaks_what_the_decoder_reads() -> None:
    known = instrument()
    assert COINM.parse_instruments(COINM.emulation.instruments([known]), ["TRXUSD_PERP"]) == [known]
    bids, asks = np.array([(23061, 5)], LEVEL), np.array([(23062, 9)], LEVEL)
    body = COINM.emulation.snapshot(known, 77, 1_741_046_400_636 * MS, bids, asks)
    (decoded,) = COINM.decoder({"TRXUSD_PERP": known}).body("TRXUSD_PERP", Channel.DEPTH, body)
    assert decoded.rows.tolist() == [*bids.tolist(), *asks.tolist()]
    path = COINM.snapshot_path("TRXUSD_PERP")
    assert path == "/dapi/v1/depth?symbol=TRXUSD_PERP&limit=1000"
    assert COINM.emulation.route(path) == ("depth", "TRXUSD_PERP", 1000)
    assert COINM.risk_path("TRXUSD_PERP") is None
    streams = [stream for stream in COINM.streams(["TRXUSD_PERP"]) if stream.socket == "market"]
    url = COINM.url("ws://127.0.0.1:9", "market", streams)
    assert url == "ws://127.0.0.1:9/market/stream?streams=trxusd_perp@markPrice@1s/trxusd_perp@forceOrder"


@pytest.mark.parametrize(("rating", "value"), [("low", 0), ("medium", 1), ("high", 2)])
def test_a_rating_of_usdm_is_how_near_deleveraging_is(rating: str, value: int) -> None:
    path = USDM.risk_path("BTCUSDT")
    assert path == "/fapi/v1/symbolAdlRisk?symbol=BTCUSDT"
    found = USDM.emulation.route(path)
    assert found is not None
    assert found[:2] == ("risk", "BTCUSDT")
    assert USDM.weight(path) == 1
    decoder = USDM.decoder({"BTCUSDT": instrument("BTCUSDT", 2)})
    body = {"symbol": "BTCUSDT", "adlRisk": rating, "updateTime": 1597370495002}
    (decoded,) = decoder.body("BTCUSDT", Channel.RISK, orjson.dumps(body))
    assert (decoded.channel, decoded.message["kind"][0]) == (Channel.RISK, Kind.REFERENCE)
    assert decoded.rows.tolist() == [(1597370495002 * MS, value, 0, Reference.DELEVERAGING, 0, 0, 0)]
    for change, reason in (
        ({"adlRisk": "extreme"}, "bad_risk"),
        ({"adlRisk": 1}, "bad_type"),
        ({"symbol": "ETHUSDT"}, "unknown_symbol"),
        ({"updateTime": None}, "bad_time"),
    ):
        with pytest.raises(BadFrame, match=reason):
            decoder.body("BTCUSDT", Channel.RISK, orjson.dumps({**body, **change}))
    with pytest.raises(BadFrame, match="unknown_channel"):
        load("binance_spot").decoder({"BTCUSDT": instrument("BTCUSDT")}).body(
            "BTCUSDT", Channel.RISK, orjson.dumps(body)
        )


def test_a_rating_is_polled_recorded_and_answered_beside_open_interest() -> None:
    known = instrument("BTCUSDT", 2)
    interest = b'{"openInterest":"81000","symbol":"BTCUSDT","time":1723161255000}'
    risk = b'{"symbol":"BTCUSDT","adlRisk":"medium","updateTime":1723161254000}'
    touch = {
        "e": "bookTicker",
        "u": 9,
        "s": "BTCUSDT",
        "b": "7.61",
        "B": "2",
        "a": "7.62",
        "A": "297",
        "T": 12,
        "E": 17,
    }
    bodies = [
        control.body(what, "BTCUSDT", 0, 200, body) for what, body in (("open_interest", interest), ("risk", risk))
    ]
    lines = [(n, raw) for n, raw in enumerate([orjson.dumps({"stream": "btcusdt@bookTicker", "data": touch}), *bodies])]
    desk = Desk(USDM, [known], read_score(USDM, lines, [known]))
    assert desk.answer("open_interest", "BTCUSDT", 0, 5) == (200, interest)
    assert desk.answer("risk", "BTCUSDT", 0, 5) == (200, risk)
    bare = Desk(USDM, [known], read_score(USDM, lines[:2], [known]))
    assert bare.answer("risk", "BTCUSDT", 0, 5)[0] == 400
    session = Session(USDM, ["BTCUSDT"], [known])
    session.receive(1, control.opened(1, "public", ["btcusdt@bookTicker"]))
    session.receive(2, lines[0][1])
    assert {request.what: request.path for request in session.take_requests()}["risk"] == USDM.risk_path("BTCUSDT")
    (batch,) = session.receive(3, bodies[1])
    assert batch.references[["what", "value"]].tolist() == [(Reference.DELEVERAGING, 1)]
