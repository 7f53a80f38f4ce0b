"""Coinbase Exchange against a peer's rows; lost trades; damage."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadConfig, BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import Contract, Flag, Kind
from ingest.venues import Decoded, load
from ingest.venues._coinbase_exchange import CoinbaseExchangeDecoder
from ingest.venues._reading import instant

EXCHANGE = load("coinbase_exchange")


def instrument(symbol: str = "BTC-USD", decimals: int = 2) -> Instrument:
    asset, quote = symbol.split("-")
    return Instrument(
        venue="coinbase_exchange",
        symbol=symbol,
        asset=asset,
        quote=quote,
        contract=Contract.SPOT,
        price_decimals=decimals,
        size_decimals=8,
        tick=1,
        lot=1,
    )


def exchange() -> CoinbaseExchangeDecoder:
    return CoinbaseExchangeDecoder({"BTC-USD": instrument()})


def peers(folder: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    for line in (folder / "messages.jsonl").read_bytes().splitlines():
        case = json.loads(line)
        if case["exchange"] == "coinbase":
            yield line[line.index(b'"message":') + 10 : line.index(b',"expected":')], case


@pytest.mark.tape
class TestPeer:
    """Every message that a peer has an opinion of; all are of this socket."""

    def test_rows_are_the_peers_but_for_what_is_said_here(self, peer_normalised: Path) -> None:
        seen: Counter[str] = Counter()
        for frame, case in peers(peer_normalised):
            symbol = case["message"]["product_id"]
            reader = CoinbaseExchangeDecoder({symbol: instrument(symbol, 8)})
            if b'"0.-10000"' in frame:
                # The peer leaves the level out; a book with a level less is no book.
                with pytest.raises(BadFrame, match="not a plain decimal"):
                    reader.decode(frame)
                seen["refused"] += 1
                continue
            decoded = reader.decode(frame)
            (wanted,) = case["expected"]
            if wanted["type"] == "book_ticker" and wanted["bidAmount"] is None:
                # A touch has a size; the peer says None.
                assert decoded == []
                assert reader.counts == {"touch_without_size": 1}
                seen["no size"] += 1
                continue
            (met,) = decoded
            if b'"0001-01-01T' in frame:
                # The peer repeats the time of the message before; we know none.
                assert met.message["exchanged"][0] == 0
                seen["no time"] += 1
            elif "time" in case["message"]:
                assert met.message["exchanged"][0] == instant(wanted["timestamp"])
            assert values(met) == expected(wanted)
            seen["equal"] += 1
        assert seen == {"equal": 6, "no time": 1, "no size": 2, "refused": 1}


def number(value: float) -> int:
    return round(value * 1e8)


def expected(wanted: dict[str, Any]) -> tuple[Any, ...]:
    if wanted["type"] == "trade":
        return int(wanted["id"]), number(wanted["price"]), number(wanted["amount"]), wanted["side"]
    if wanted["type"] == "book_ticker":
        return tuple(number(wanted[key]) for key in ("bidPrice", "bidAmount", "askPrice", "askAmount"))
    sides = [[(number(each["price"]), number(each["amount"])) for each in wanted[key]] for key in ("bids", "asks")]
    return (wanted["isSnapshot"], *sides)


def values(met: Decoded) -> tuple[Any, ...]:
    row, rows = met.message[0], met.rows.tolist()
    if row["kind"] == Kind.TRADE:
        (trade,) = met.rows
        return int(trade["id"]), int(trade["price"]), int(trade["size"]), "buy" if trade["side"] > 0 else "sell"
    if row["kind"] == Kind.TOUCH:
        return (*rows[0], *rows[1])
    return bool(row["kind"] == Kind.SNAPSHOT), rows[: row["bids"]], rows[row["bids"] :]


def match(name: int, kind: str = "match", side: str = "buy") -> bytes:
    content = {
        "type": kind, "trade_id": name, "side": side, "size": "0.5", "price": "1.25", "product_id": "BTC-USD",
        "sequence": 3, "time": "2026-01-01T00:00:00.5Z",
    }  # fmt: skip
    return orjson.dumps(content)


def beat(last: int) -> bytes:
    content = {"type": "heartbeat", "sequence": 9, "last_trade_id": last, "product_id": "BTC-USD"}
    return orjson.dumps({**content, "time": "2026-01-01T00:00:01Z"})


class TestLostTrades:
    def test_a_hole_is_said_once_at_the_next_heartbeat(self) -> None:
        reader = exchange()
        (history,) = reader.decode(match(7, "last_match"))
        assert history.message["flags"][0] == Flag.HISTORY
        assert reader.decode(beat(7)) == []
        assert len(reader.decode(match(9))) == 1
        with pytest.raises(Gap, match="coinbase_exchange:BTC-USD: expected 8, met 9"):
            reader.decode(beat(9))
        assert reader.decode(beat(9)) == []

    def test_a_trade_may_come_a_second_after_its_heartbeat(self) -> None:
        reader = exchange()
        reader.decode(match(7))
        assert reader.decode(beat(8)) == []
        reader.decode(match(8))
        assert reader.decode(beat(8)) == []

    def test_a_trade_that_never_comes_is_lost(self) -> None:
        reader = exchange()
        reader.decode(match(7))
        assert reader.decode(beat(8)) == []
        with pytest.raises(Gap, match="expected 8, met 8"):
            reader.decode(beat(8))
        assert reader.decode(beat(8)) == []

    def test_a_heartbeat_that_never_knows_a_trade_says_nothing(self) -> None:
        reader = exchange()
        reader.decode(match(7))
        assert reader.decode(beat(0)) == reader.decode(beat(0)) == []
        reader.decode(match(9))
        with pytest.raises(Gap, match="expected 8, met 9"):
            reader.decode(beat(0))

    def test_without_trades_nothing_is_compared(self) -> None:
        reader = exchange()
        assert reader.decode(beat(8)) == reader.decode(beat(9)) == reader.decode(beat(12)) == []

    def test_products_are_apart(self) -> None:
        symbols = ("BTC-USD", "ETH-USD")
        reader = CoinbaseExchangeDecoder({symbol: instrument(symbol) for symbol in symbols})
        reader.decode(match(7))
        reader.decode(match(9).replace(b"BTC", b"ETH"))
        reader.decode(match(9))
        assert reader.decode(beat(9).replace(b"BTC", b"ETH")) == []
        with pytest.raises(Gap, match="BTC-USD: expected 8, met 9"):
            reader.decode(beat(9))

    def test_connections_are_apart_and_forgotten(self) -> None:
        reader = exchange()
        reader.decode(match(7), connection=1)
        reader.decode(match(9), connection=2)
        assert reader.decode(beat(9), connection=2) == []
        reader.forget(1)
        reader.decode(match(20), connection=1)
        assert reader.decode(beat(20), connection=1) == []


class TestDecoder:
    def test_trailing_zeros_and_large_sizes(self) -> None:
        frame = b'{"type":"l2update","product_id":"BTC-USD","time":"2026-01-01T00:00:00Z","changes":[%b]}'
        (decoded,) = exchange().decode(frame % b'["sell","1.50000000","1000000000.0"],["buy","1","0.00000000"]')
        assert decoded.rows.tolist() == [(100, 0), (150, 10**17)]

    @pytest.mark.parametrize(
        ("frame", "reason"),
        [
            (b"", "not_json"),
            (b"[]", "structure"),
            (b'{"type":"error","message":"Failed to subscribe","reason":"x is not a valid product"}', "venue_error"),
            (b'{"type":"open"}', "unknown_channel"),
            (b'{"type":"snapshot","product_id":"BTC-USD","bids":[["1"]],"asks":[]}', "structure"),
            (b'{"type":"snapshot","product_id":"BTC-USD","bids":[["1","0"]],"asks":[]}', "bad_snapshot"),
            (b'{"type":"l2update","product_id":"BTC-USD","changes":[[[],"1","2"]]}', "bad_side"),
            (b'{"type":"l2update","product_id":"BTC-USD","changes":[]}', "bad_time"),
            (b'{"type":"l2update","product_id":"BTC-USD","changes":[],"time":"9999-01-01T00:00:00Z"}', "bad_time"),
            (b'{"type":"l2update","product_id":"ETH-USD","changes":[]}', "unknown_symbol"),
            (match(1).replace(b'"1.25"', b"1.25"), "not_decimal"),
            (match(1).replace(b'"0.5"', b'"0.0"'), "zero"),
            (match(1, side="BUY"), "bad_side"),
            (b'{"type":"ticker","product_id":"BTC-USD","best_bid_size":"x"}', "not_decimal"),
            (beat(1).replace(b":1,", b":-1,"), "bad_id"),
        ],
    )
    def test_a_bad_frame_is_named(self, frame: bytes, reason: str) -> None:
        reader = exchange()
        with pytest.raises(BadFrame) as met:
            reader.decode(frame)
        assert met.value.reason == reason
        assert not reader.counts
        assert not reader._prints

    @settings(max_examples=400, deadline=None)
    @given(draw=st.data())
    def test_nothing_but_bad_frames_and_gaps_come_of_damage(self, draw: st.DataObject) -> None:
        frames = [
            match(3),
            beat(4),
            b'{"type":"l2update","product_id":"BTC-USD","time":"2026-01-01T00:00:00Z","changes":[["buy","1.5","2"]]}',
            b'{"type":"snapshot","product_id":"BTC-USD","bids":[["1.5","2"]],"asks":[["3","0.1"]]}',
        ]
        frame = bytearray(draw.draw(st.sampled_from(frames)))
        for _ in range(draw.draw(st.integers(1, 4))):
            at = draw.draw(st.integers(0, len(frame) - 1))
            frame[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
        reader = exchange()
        try:
            decoded = reader.decode(bytes(frame))
        except (BadFrame, Gap):
            return
        for each in decoded:
            if each.rows.size:
                assert each.rows["price"].min() >= 0
                assert each.rows["size"].min() >= 0


def test_instruments_are_inferred_of_books() -> None:
    frames = [
        b'{"type":"subscriptions","channels":[]}',
        b'{"type":"snapshot","product_id":"BTC-USD","bids":[["1.50","2"]],"asks":[["3","0.125"]]}',
        b'{"type":"l2update","product_id":"BTC-USD","changes":[["buy","2.00","0.25"]]}',
    ]
    (known,) = EXCHANGE.infer_instruments(frames)
    assert (known.price_decimals, known.size_decimals, known.tick, known.lot) == (2, 3, 50, 125)


def test_a_listing() -> None:
    body = orjson.dumps(
        [
            {"id": "ETC-GBP", "base_currency": "ETC", "quote_currency": "GBP", "quote_increment": "0.001",
             "base_increment": "0.00000001"},
        ]
    )  # fmt: skip
    (known,) = EXCHANGE.parse_instruments(body, ["ETC-GBP"])
    assert (known.asset, known.quote, known.price_decimals, known.size_decimals) == ("ETC", "GBP", 3, 8)
    with pytest.raises(BadConfig, match="nearest are ETC-GBP"):
        EXCHANGE.parse_instruments(body, ["ETC-EUR"])
