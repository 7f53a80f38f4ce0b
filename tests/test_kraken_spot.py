"""Kraken spot against recordings: every checksum of a capture, the documentation's cases, damage."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadConfig, BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract, Flag, Kind, Status
from ingest.captures import What, read_capture
from ingest.mirror import Mirror, Rule
from ingest.venues import Decoded, load
from ingest.venues._kraken_spot import KrakenDecoder, checksum

VENUE = load("kraken_spot")
RULE = VENUE.rule


def instrument(symbol: str = "BTC/USD", price_decimals: int = 2, size_decimals: int = 8) -> Instrument:
    asset, quote = symbol.split("/")
    return Instrument(
        venue="kraken_spot",
        symbol=symbol,
        asset=asset,
        quote=quote,
        contract=Contract.SPOT,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick=1,
        lot=1,
    )


def decoder(*symbols: str) -> KrakenDecoder:
    return KrakenDecoder({symbol: instrument(symbol) for symbol in symbols or ("BTC/USD",)})


def settle(mirror: Mirror, decoded: Decoded) -> bool:
    """Apply a book message to a mirror; tell whether its checksum agreed. Raises Gap."""
    row = decoded.message[0]
    if row["kind"] == Kind.SNAPSHOT:
        mirror.replace(decoded.rows, int(row["bids"]))
    else:
        mirror.apply(decoded.rows, int(row["bids"]))
    return mirror.check(decoded.checksum, int(row["last"]), int(row["first"]))


def received(folder: Path, name: str) -> list[bytes]:
    return [entry.raw for entry in read_capture([folder / name]) if entry.what is What.RECEIVED]


@pytest.mark.tape
def test_every_checksum_of_a_capture_agrees(captures: Path) -> None:
    frames = received(captures, "KRAKEN.ws.50.0.gz")
    known = {each.symbol: each for each in VENUE.infer_instruments(frames)}
    assert RULE is not None
    mirrors = {symbol: Mirror(each, RULE) for symbol, each in known.items()}
    reader = KrakenDecoder(known)
    met: Counter[str] = Counter()
    for frame in frames:
        for decoded in reader.decode(frame):
            if decoded.channel == Channel.DEPTH:
                met["agreed" if settle(mirrors[decoded.symbol], decoded) else "unchecked"] += 1
    assert met == {"agreed": 4269, "unchecked": 10}
    assert len(known) == 10


@pytest.mark.tape
def test_a_lost_update_of_a_capture_is_noticed(captures: Path) -> None:
    frames = received(captures, "KRAKEN.ws.50.0.gz")
    known = {each.symbol: each for each in VENUE.infer_instruments(frames)}
    reader = KrakenDecoder(known)
    assert RULE is not None
    mirror = Mirror(known["XMR/USD"], RULE)
    mine = [decoded for frame in frames for decoded in reader.decode(frame) if decoded.symbol == "XMR/USD"]
    books = [decoded for decoded in mine if decoded.channel == Channel.DEPTH]
    settle(mirror, books[0])
    with pytest.raises(Gap, match="kraken_spot:XMR/USD"):
        for decoded in books[2:]:
            settle(mirror, decoded)


def test_a_level_out_of_depth_leaves_by_a_row() -> None:
    mirror = Mirror(instrument(), Rule(checksum=checksum, depth=2))
    mirror.replace(np.array([(5, 1), (4, 1), (7, 1), (8, 1)], LEVEL), 2)
    rows, bids = mirror.apply(np.array([(6, 3)], LEVEL), 1)
    assert (rows.tolist(), bids) == ([(6, 3), (4, 0)], 2)


@pytest.mark.tape
def test_touches_of_old_tickers_and_heartbeats_decode(captures: Path) -> None:
    books = received(captures, "KRAKEN.ws.50.0.gz")
    reader = KrakenDecoder({each.symbol: each for each in VENUE.infer_instruments(books)})
    met: Counter[Any] = Counter()
    for name in ("KRAKEN.ws.48.0.gz", "KRAKEN.ws.49.0.gz"):
        for frame in received(captures, name):
            for decoded in reader.decode(frame):
                met[decoded.channel] += 1
    tickers = sum(b'"ticker","' in frame for frame in received(captures, "KRAKEN.ws.49.0.gz") if frame[:1] == b"[")
    trades = sum(frame[:1] == b"[" for frame in received(captures, "KRAKEN.ws.48.0.gz"))
    # Each of two connections says that the venue is online, of ten pairs.
    assert met == Counter({None: 20, Channel.TOUCH: tickers, Channel.TRADE: trades}) - Counter()
    assert tickers > 10


class TestVectors:
    @pytest.mark.tape
    def test_books_of_documentation_and_of_the_wire(self, checksums: Path) -> None:
        checked = 0
        for case in json.loads((checksums / "vectors.json").read_bytes()):
            if not case["name"].startswith(("kraken_ws_v1_doc", "kraken_ws_v2_doc", "kraken_ws_v2_live")):
                continue
            texts = [*case["bids"], *case["asks"]]
            decimals = [max(len(text[side].partition(".")[2]) for text in texts) for side in (0, 1)]
            known = instrument("BTC/USD", *decimals)
            sides = {
                side: ",".join(f'{{"price":{price},"qty":{size}}}' for price, size in case[side])
                for side in ("bids", "asks")
            }
            frame = (
                f'{{"channel":"book","type":"snapshot","data":[{{"symbol":"BTC/USD","bids":[{sides["bids"]}],'
                f'"asks":[{sides["asks"]}],"checksum":{case["checksum"]}}}]}}'
            )
            (decoded,) = KrakenDecoder({"BTC/USD": known}).decode(frame.encode())
            mirror = Mirror(known, Rule(checksum=checksum, depth=25))
            assert settle(mirror, decoded), case["name"]
            checked += 1
        assert checked == 3

    @pytest.mark.tape
    def test_sequences_of_the_old_protocol(self, checksums: Path) -> None:
        """LUNA/EUR has prices of 12 places that a float prints as 7.465e-05."""
        checked: dict[str, int] = {}
        for case in json.loads((checksums / "vectors.json").read_bytes()):
            if "messages" not in case or not case["name"].startswith("kraken"):
                continue
            frames = [orjson.dumps(message) for message in case["messages"]]
            (known,) = VENUE.infer_instruments(frames)
            mirror = Mirror(known, Rule(checksum=checksum, depth=10))
            reader = KrakenDecoder({known.symbol: known})
            books = [decoded for frame in frames for decoded in reader.decode(frame)]
            assert not settle(mirror, books[0])
            assert all(settle(mirror, decoded) for decoded in books[1:])
            assert len(books) - 1 == case["n_checked"]
            checked[known.symbol] = len(books) - 1
        assert checked.keys() == {"DOGE/USD", "LUNA/EUR", "GST/EUR"}

    @pytest.mark.tape
    def test_books_of_orders_are_not_read(self, messages: Path, checksums: Path) -> None:
        """`level3`'s checksum is over orders in their queue, which no LEVEL row holds: the one case not recomputed."""
        cases = {case["name"] for case in json.loads((checksums / "vectors.json").read_bytes())}
        assert {name for name in cases if name.startswith("kraken")} == {
            "kraken_ws_v1_doc_example", "kraken_ws_v2_doc_example", "kraken_ws_v2_live_btcusdt_depth25",
            "kraken_ws_v1_xdgusd_stream", "kraken_ws_v1_lunaeur_stream", "kraken_ws_v1_gsteur_stream",
            "kraken_ws_v2_level3_doc",
        }  # fmt: skip
        with pytest.raises(BadFrame, match=r"unknown_channel.*level3"):
            decoder().decode((messages / "kraken" / "ws_l3_snapshot.json").read_bytes())


class TestMessages:
    @pytest.mark.tape
    def test_every_message_of_the_socket(self, messages: Path) -> None:
        """Channels that are not subscribed and a trader's own requests are refused by their names."""
        read: dict[str, list[Any]] = {}
        refused: dict[str, str] = {}
        for path in sorted((messages / "kraken").glob("ws_*.json")):
            if "futures" in path.name:
                continue
            try:
                read[path.stem[3:]] = [int(each.message["kind"][0]) for each in decoder().decode(path.read_bytes())]
            except BadFrame as error:
                refused[path.stem[3:]] = error.reason
        assert read["book_snapshot"] == [Kind.SNAPSHOT]
        assert read["book_update"] == [Kind.DELTA]
        assert read["ticker_snapshot"] == [Kind.TOUCH]
        assert read["trade_update"] == [Kind.TRADE]
        assert read["pong"] == read["subscribe_response"] == []
        assert {name for name, reason in refused.items() if reason == "unknown_channel"} == {
            "l3_snapshot", "l3_update_add", "l3_update_delete", "l3_update_modify_price", "l3_update_modify_qty",
            "ohlc_update",
        }  # fmt: skip
        # A trader's order that failed is an error of the venue.
        assert {name for name, reason in refused.items() if reason != "unknown_channel"} == {
            "add_order_response_failure"
        }

    @pytest.mark.tape
    def test_values_of_a_book_and_a_trade(self, messages: Path) -> None:
        (book,) = decoder().decode((messages / "kraken" / "ws_book_update.json").read_bytes())
        assert (book.rows.tolist(), book.checksum) == ([(10_594_420, 25_000_000)], 2114181697)
        assert book.message["exchanged"][0] == 1_696_613_755_440_295_000
        (trades,) = decoder().decode((messages / "kraken" / "ws_trade_update.json").read_bytes())
        assert [(row["id"], row["side"]) for row in trades.rows] == [(10218208, 1), (10218209, -1)]

    @pytest.mark.tape
    def test_listings_of_two_times(self, messages: Path, captures: Path) -> None:
        body = (messages / "kraken" / "http_asset_pairs.json").read_bytes()
        (new,) = VENUE.parse_instruments(body, ["BTC/USDT"])
        assert (new.asset, new.quote, new.price_decimals, new.size_decimals, new.tick) == ("BTC", "USDT", 1, 8, 1)
        (old,) = (e.raw for e in read_capture([captures / "KRAKEN.0.gz"]) if e.what is What.ANSWER)
        doge, waves = VENUE.parse_instruments(old, ["DOGE/USD", "WAVES/EUR"])
        assert (doge.asset, doge.price_decimals, waves.price_decimals) == ("DOGE", 7, 4)
        with pytest.raises(BadConfig, match=r"nearest are .*BTC/USD"):
            VENUE.parse_instruments(old, ["XBT/USD"])
        (shares,) = VENUE.parse_instruments(
            (messages / "kraken" / "http_asset_pairs_tokenized.json").read_bytes(), ["AAPLx/USD"]
        )
        assert shares.asset == "AAPLx"


class TestDecoder:
    def test_trailing_zeros_and_a_million_million_coins(self) -> None:
        frame = (
            b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":0.10,"qty":1e-7},'
            b'{"price":7,"qty":1000000000.00000000}],"asks":[],"checksum":1,"timestamp":"2026-01-01T00:00:00Z"}]}'
        )
        (decoded,) = decoder().decode(frame)
        assert decoded.rows.tolist() == [(10, 10), (700, 10**17)]

    def test_a_market_without_orders_has_no_touch(self) -> None:
        reader = decoder()
        entry = b'{"symbol":"BTC/USD","bid":0,"bid_qty":0,"ask":0,"ask_qty":0}'
        frame = b'{"channel":"ticker","type":"update","data":[%b]}' % entry
        assert reader.decode(frame) == []
        assert reader.counts["empty_touch"] == 1
        (one,) = reader.decode(frame.replace(b'"bid":0,"bid_qty":0', b'"bid":7.5,"bid_qty":2'))
        assert one.rows.tolist() == [(750, 2 * 10**8), (0, 0)]

    def test_trades_of_two_pairs_are_two_messages(self) -> None:
        entry = '{"symbol":"%s","side":"%s","price":1.5,"qty":2,"trade_id":%d,"timestamp":"2026-01-01T00:00:00.5Z"}'
        entries = [entry % ("BTC/USD", "sell", 8), entry % ("ETH/USD", "buy", 3), entry % ("BTC/USD", "buy", 7)]
        frame = f'{{"channel":"trade","type":"snapshot","data":[{",".join(entries)}]}}'.encode()
        first, second = decoder("BTC/USD", "ETH/USD").decode(frame)
        assert (first.symbol, first.rows["id"].tolist(), first.rows["side"].tolist()) == ("BTC/USD", [7, 8], [1, -1])
        assert (second.symbol, second.rows["id"].tolist()) == ("ETH/USD", [3])
        assert first.message["flags"][0] == Flag.HISTORY

    @pytest.mark.parametrize(
        ("system", "state"),
        [("online", Status.TRADING), ("maintenance", Status.MAINTENANCE), ("cancel_only", Status.HALTED)],
    )
    def test_the_venues_state_is_every_pairs(self, system: str, state: Status) -> None:
        for frame in (
            {"channel": "status", "type": "update", "data": [{"system": system}]},
            {"event": "systemStatus", "status": system},
        ):
            decoded = decoder("BTC/USD", "ETH/USD").decode(orjson.dumps(frame))
            assert [(each.symbol, each.message["status"][0]) for each in decoded] == [
                ("BTC/USD", state),
                ("ETH/USD", state),
            ]

    @pytest.mark.parametrize(
        ("frame", "reason"),
        [
            (b"{", "not_json"),
            (b"7", "structure"),
            (b'{"channel":"heartbeats"}', "unknown_channel"),
            (b'{"method":"subscribe","success":false,"error":"Currency pair not supported"}', "venue_error"),
            (b'{"error":"Malformed request","method":"","success":false}', "venue_error"),
            (b'{"event":"subscriptionStatus","status":"error","errorMessage":"Unknown"}', "venue_error"),
            (b'{"channel":"book","type":"update","data":[{"symbol":"ETH/USD"}]}', "unknown_symbol"),
            (b'{"channel":"book","type":"delta","data":[]}', "unknown_type"),
            (b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[]}]}', "bad_id"),
            (b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","price":true}]}', "not_decimal"),
            (b'{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":1}]}', "not_decimal"),
            (b'{"channel":"status","data":[{"system":[]}]}', "unknown_status"),
            (b'[1,{"a":[["1.5","2"]]},"book-10","XBT/USD"]', "structure"),
            (b'[1,{"b":[["1.5","2","3.0"]],"c":"x"},"book-10","XBT/USD"]', "bad_checksum"),
            (b'[1,[["1.5","2","3.0",[],"l",""]],"trade","XBT/USD"]', "bad_side"),
            (b'[1,["0","1","2","3","4"],"spread","XBT/USD"]', "zero"),
            (b'[1,{"a":1},"ticker","XBT/USD"]', "structure"),
            (b'[1,["1","2","16330537540.9","3","4"],"spread","XBT/USD"]', "bad_time"),
            (b'[1,[],"ohlc-5","XBT/USD"]', "unknown_channel"),
        ],
    )
    def test_a_bad_frame_is_named(self, frame: bytes, reason: str) -> None:
        reader = decoder()
        with pytest.raises(BadFrame) as met:
            reader.decode(frame)
        assert met.value.reason == reason
        assert not reader.counts

    @pytest.mark.tape
    @settings(max_examples=300, deadline=None)
    @given(draw=st.data())
    def test_nothing_but_a_bad_frame_comes_of_damage(self, messages: Path, captures: Path, draw: st.DataObject) -> None:
        paths = [messages / "kraken" / f"ws_{name}.json" for name in ("book_update", "ticker_snapshot", "trade_update")]
        frames = [
            *(path.read_bytes() for path in paths),
            b'[170,[["0.01136500","2.51146536","1561939201.587070","s","l",""]],"trade","XBT/USD"]',
            b'[1,{"a":[["4.5","1.0","1.0"]]},{"b":[["4","3.3","1.0"]],"c":"12"},"book-1000","XBT/USD"]',
            b'[325,["43770.2","43770.3","1633053779.9","0.009","0.316"],"spread","XBT/USD"]',
        ]
        frame = bytearray(draw.draw(st.sampled_from(frames)))
        for _ in range(draw.draw(st.integers(1, 4))):
            at = draw.draw(st.integers(0, len(frame) - 1))
            frame[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
        kept = bytes(frame)
        try:
            decoded = decoder().decode(kept)
        except BadFrame:
            return
        for each in decoded:
            if each.rows.size:
                assert each.rows["price"].min() >= 0
                assert each.rows["size"].min() >= 0


class TestEmulation:
    def test_the_emulated_venue_speaks_what_the_decoder_reads(self) -> None:
        known = instrument()
        emulation = VENUE.emulation
        (parsed,) = VENUE.parse_instruments(emulation.instruments([known]), ["BTC/USD"])
        assert parsed == known
        bids = np.array([(6_180_000 - i, 5 + i) for i in range(12)], LEVEL)
        asks = np.array([(6_190_000 + i, 9 + i) for i in range(12)], LEVEL)
        assert emulation.book is not None
        frame = emulation.book(known, 0, 1_696_613_755_440_295_000, bids, asks)
        (decoded,) = KrakenDecoder({"BTC/USD": known}).decode(frame)
        assert decoded.rows.tolist() == [*bids.tolist(), *asks.tolist()]
        assert decoded.message["exchanged"][0] == 1_696_613_755_440_295_000
        assert RULE is not None
        assert settle(Mirror(known, RULE), decoded)
        assert emulation.stream_of(frame) == "book:BTC/USD"

    def test_every_stream_is_asked_for_answered_and_ended(self) -> None:
        wanted = VENUE.streams(["BTC/USD", "ETH/USD"])
        for frames, read in (
            (VENUE.subscribe(wanted), VENUE.emulation.subscribed),
            (VENUE.unsubscribe(wanted), VENUE.emulation.unsubscribed),
        ):
            met = [read(frame) for frame in frames]
            assert {name for each in met if each for name in each[0]} == {stream.name for stream in wanted}
            assert all(decoder().decode(each[1]) == [] for each in met if each)
        assert VENUE.heartbeat is not None
        answer = VENUE.emulation.answer(VENUE.heartbeat[0])
        assert answer is not None
        assert decoder().decode(answer) == []
        assert VENUE.emulation.answer(b"{}") is None

    def test_frames_of_both_versions_name_their_stream(self) -> None:
        stream_of = VENUE.emulation.stream_of
        assert stream_of(b'[1,{},"book-25","XBT/USD"]') == "book:BTC/USD"
        assert stream_of(b'[1,[],"spread","XDG/USD"]') == "ticker:DOGE/USD"
        assert stream_of(b'{"channel":"heartbeat"}') is None
