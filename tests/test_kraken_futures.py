"""Kraken futures against a recording: no gap, every feed; liquidations, funding, damage."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract, Coverage, Flag, Kind, PriceKind, Reference, Status
from ingest.captures import What, read_capture
from ingest.mirror import Mirror, Rule
from ingest.venues import load
from ingest.venues._kraken_futures import KrakenFuturesDecoder

VENUE = load("kraken_futures")


def instrument(symbol: str = "PI_XBTUSD") -> Instrument:
    return Instrument(
        venue="kraken_futures",
        symbol=symbol,
        asset="BTC",
        quote="USD",
        contract=Contract.INVERSE,
        price_decimals=1,
        size_decimals=0,
        tick=5,
        lot=1,
    )


def decoder() -> KrakenFuturesDecoder:
    return KrakenFuturesDecoder({symbol: instrument(symbol) for symbol in ("PI_XBTUSD", "PI_ETHUSD")})


def trade(**changed: Any) -> bytes:
    content = {
        "feed": "trade", "product_id": "PI_XBTUSD", "uid": "05af78ac", "side": "sell", "type": "fill", "seq": 7,
        "time": 1612266317519, "qty": 15000, "price": 34969.5,
    }  # fmt: skip
    return orjson.dumps({**content, **changed})


@pytest.mark.tape
class TestCapture:
    def test_no_gap_among_7024_books(self, captures: Path) -> None:
        frames = [e.raw for e in read_capture([captures / "KRAKEN_FUTURES.ws.1.0.gz"]) if e.what is What.RECEIVED]
        known = {each.symbol: each for each in VENUE.infer_instruments(frames)}
        reader = KrakenFuturesDecoder(known)
        mirrors = {symbol: Mirror(each, Rule()) for symbol, each in known.items()}
        last: dict[str, int] = {}
        met: Counter[Any] = Counter()
        for frame in frames:
            try:
                decoded = reader.decode(frame)
            except BadFrame as error:
                assert "'ticker_lite'" in str(error)  # noqa: PT017  (counted below)
                met[error.reason] += 1
                continue
            for each in decoded:
                kind, bids = int(each.message["kind"][0]), int(each.message["bids"][0])
                met[Kind(kind)] += 1
                if each.channel != Channel.DEPTH:
                    continue
                mirror = mirrors[each.symbol]
                if kind == Kind.SNAPSHOT:
                    mirror.replace(each.rows, bids)
                else:
                    assert each.message["first"][0] == last[each.symbol] + 1
                    mirror.apply(each.rows, bids)
                last[each.symbol] = int(each.message["last"][0])
                # Bids stay below asks all the time, which nothing but right books do.
                mirror.check(None, 0, 0)
        assert met == {Kind.DELTA: 7014, Kind.SNAPSHOT: 10, Kind.TRADE: 13, "unknown_channel": 107}
        assert len(last) == 10

    def test_books_say_the_best_prices_of_the_light_ticker(self, captures: Path) -> None:
        frames = [e.raw for e in read_capture([captures / "KRAKEN_FUTURES.ws.1.0.gz"]) if e.what is What.RECEIVED]
        known = {each.symbol: each for each in VENUE.infer_instruments(frames)}
        reader = KrakenFuturesDecoder(known)
        mirrors = {symbol: Mirror(each, Rule()) for symbol, each in known.items()}
        agreed = 0
        for frame in frames:
            content = orjson.loads(frame)
            if content.get("feed") == "ticker_lite" and "event" not in content:
                symbol = content["product_id"]
                bids, asks = mirrors[symbol].best(1)
                scale = 10 ** known[symbol].price_decimals
                stated = (round(content["bid"] * scale), round(content["ask"] * scale))
                agreed += bool(bids and asks) and (bids[0][0], asks[0][0]) == stated
                continue
            for each in reader.decode(frame):
                if each.channel == Channel.DEPTH:
                    mirror, bids_of = mirrors[each.symbol], int(each.message["bids"][0])
                    take = mirror.replace if each.message["kind"][0] == Kind.SNAPSHOT else mirror.apply
                    take(each.rows, bids_of)
        assert agreed >= 100

    def test_the_listing_of_2021(self, captures: Path) -> None:
        (body,) = (e.raw for e in read_capture([captures / "KRAKEN_FUTURES.0.gz"]) if e.what is What.ANSWER)
        bitcoin, ripple, dated = VENUE.parse_instruments(body, ["PI_XBTUSD", "PI_XRPUSD", "FI_ETHUSD_211231"])
        assert (bitcoin.asset, bitcoin.quote, bitcoin.contract) == ("BTC", "USD", Contract.INVERSE)
        assert (bitcoin.price_decimals, bitcoin.tick, bitcoin.contract_size) == (1, 5, 10**8)
        assert (ripple.asset, ripple.price_decimals, dated.asset, dated.tick) == ("XRP", 4, "ETH", 5)
        with pytest.raises(BadConfig, match="no symbol 'in_xbtusd'"):
            VENUE.parse_instruments(body, ["in_xbtusd"])


@pytest.mark.tape
class TestMessages:
    def test_every_public_message(self, messages: Path) -> None:
        met: dict[str, list[int]] = {}
        refused = set()
        for path in sorted((messages / "kraken").glob("ws_futures_*.json")):
            try:
                met[path.stem[11:]] = [int(each.message["kind"][0]) for each in decoder().decode(path.read_bytes())]
            except BadFrame as error:
                assert error.reason == "unknown_channel"  # noqa: PT017  (the set is compared below)
                refused.add(path.stem[11:].partition("_")[0])
        assert met == {
            "book_delta": [Kind.DELTA],
            "book_snapshot": [Kind.SNAPSHOT],
            "book_snapshot_with_zero_qty": [Kind.SNAPSHOT],
            "ticker": [Kind.TOUCH, Kind.REFERENCE],
            "trade": [Kind.TRADE],
            "trade_snapshot": [Kind.TRADE],
        }
        # A trader's own.
        assert refused == {"fills", "open"}

    def test_an_emptied_level_of_a_snapshot_is_left_out(self, messages: Path) -> None:
        reader = decoder()
        frame = (messages / "kraken" / "ws_futures_book_snapshot_with_zero_qty.json").read_bytes()
        (decoded,) = reader.decode(frame)
        assert decoded.rows.tolist() == [(348_925, 6385), (348_915, 100), (349_120, 2300)]
        assert (decoded.message["bids"][0], decoded.message["last"][0]) == (2, 326072249)
        assert reader.counts == {"empty_level": 2}

    def test_a_ticker_is_a_touch_and_references(self, messages: Path) -> None:
        touch, marks = decoder().decode((messages / "kraken" / "ws_futures_ticker.json").read_bytes())
        assert touch.rows.tolist() == [(219_785, 2536), (219_870, 13948)]
        values = {Reference(row["what"]): (int(row["value"]), int(row["next"])) for row in marks.rows}
        assert values == {
            Reference.MARK: (219_797, 0),
            Reference.INDEX: (219_845, 0),
            Reference.OPEN_INTEREST: (30_072_580, 0),
            # -1.380384722222e-6 of an hour, to twelve places.
            Reference.FUNDING: (-1_380_385, 1_676_394_000_000_000_000),
        }
        assert marks.channel == Channel.MARK

    def test_history_is_flagged_and_oldest_first(self, messages: Path) -> None:
        (decoded,) = decoder().decode((messages / "kraken" / "ws_futures_trade_snapshot.json").read_bytes())
        assert decoded.rows["id"].tolist() == [655507, 655508]
        assert decoded.message["flags"][0] == Flag.HISTORY

    def test_the_listing_of_today(self, messages: Path) -> None:
        body = (messages / "kraken" / "http_futures_instruments.json").read_bytes()
        ether, pepe, apple = VENUE.parse_instruments(body, ["PF_ETHUSD", "PF_PEPEUSD", "PF_AAPLxUSD"])
        assert (ether.contract, ether.size_decimals, ether.lot) == (Contract.LINEAR, 3, 1)
        assert (pepe.price_decimals, pepe.tick, pepe.size_decimals, pepe.lot) == (10, 1, 0, 1000)
        assert (apple.asset, apple.price_decimals) == ("AAPLx", 2)


class TestDecoder:
    @pytest.mark.parametrize(("taker", "liquidated"), [("sell", 1), ("buy", -1)])
    def test_a_liquidated_taker_who_sells_was_long(self, taker: str, liquidated: int) -> None:
        trades, forced = decoder().decode(trade(side=taker, type="liquidation"))
        assert (trades.channel, forced.channel) == (Channel.TRADE, Channel.LIQUIDATION)
        assert trades.rows["side"].tolist() == [-liquidated]
        (row,) = forced.rows
        assert (row["price"], row["average"], row["size"], row["side"]) == (349_695, 349_695, 15000, liquidated)
        assert (row["price_kind"], row["coverage"]) == (PriceKind.TRADE, Coverage.ALL)

    def test_a_million_million_contracts(self) -> None:
        frame = b'{"feed":"book","product_id":"PI_XBTUSD","side":"buy","seq":3,"price":1e-1,"qty":1000000000000.0,'
        (decoded,) = decoder().decode(frame + b'"timestamp":1612269953629}')
        assert decoded.rows.tolist() == [(1, 10**12)]
        assert decoded.message[["first", "last", "previous", "bids"]].tolist() == [(3, 3, -1, 1)]

    def test_trades_beside_the_book_are_counted(self) -> None:
        reader = decoder()
        assert reader.decode(trade(type="block")) == reader.decode(trade(type="termination")) == []
        assert reader.counts == {"beside_block": 1, "beside_termination": 1}

    def test_a_halt_is_said_when_it_begins_and_ends(self) -> None:
        content = {
            "feed": "ticker", "product_id": "PI_XBTUSD", "time": 1676393235406, "bid": 1.5, "ask": 2, "bid_size": 1,
            "ask_size": 1, "markPrice": 1, "index": 1, "openInterest": 3, "suspended": False,
        }  # fmt: skip
        reader = decoder()
        said = []
        for suspended in (False, True, True, False):
            decoded = reader.decode(orjson.dumps({**content, "suspended": suspended}))
            said.append([int(each.message["status"][0]) for each in decoded if each.channel is None])
            # Of a dated future: no funding.
            assert decoded[-1].rows["what"].tolist() == [Reference.MARK, Reference.INDEX, Reference.OPEN_INTEREST]
        assert said == [[], [Status.HALTED], [], [Status.TRADING]]
        other = decoder().decode(orjson.dumps(content))
        assert [each.channel for each in other] == [Channel.TOUCH, Channel.MARK]

    def test_a_rate_of_zero_is_not_printed_nor_an_empty_side(self) -> None:
        content = {
            "feed": "ticker", "product_id": "PI_XBTUSD", "time": 1676393235406, "ask": 2, "ask_size": 1, "index": 1,
            "markPrice": 1, "openInterest": 3, "suspended": False, "next_funding_rate_time": 1676394000000.0,
        }  # fmt: skip
        touch, marks = decoder().decode(orjson.dumps(content))
        assert touch.rows.tolist() == [(0, 0), (20, 1)]
        assert marks.rows[-1][["what", "value", "next"]].tolist() == (Reference.FUNDING, 0, 1_676_394_000_000_000_000)

    @pytest.mark.parametrize(
        ("frame", "reason"),
        [
            (b"[", "not_json"),
            (b"[]", "structure"),
            (b'{"feed":"ticker_lite"}', "unknown_channel"),
            (b'{"event":"alert","message":"Bad request"}', "venue_error"),
            (b'{"event":"subscribed_failed"}', "venue_error"),
            (b'{"event":["x"]}', "unknown_event"),
            (b'{"feed":"book","product_id":"PI_SOLUSD"}', "unknown_symbol"),
            (b'{"feed":"book","product_id":"PI_XBTUSD","price":-1,"qty":1,"side":"buy"}', "negative"),
            (b'{"feed":"book","product_id":"PI_XBTUSD","price":1,"qty":1,"side":"bid"}', "bad_side"),
            (
                b'{"feed":"book","product_id":"PI_XBTUSD","price":1,"qty":1,"side":"buy","timestamp":1,"seq":1.0}',
                "bad_id",
            ),
            (b'{"feed":"book_snapshot","product_id":"PI_XBTUSD","bids":[7],"asks":[]}', "structure"),
            (b'{"feed":"trade_snapshot","product_id":"PI_XBTUSD"}', "bad_type"),
            (trade(type="gift"), "unknown_type"),
            (trade(type=[]), "unknown_type"),
            (trade(qty=0), "zero"),
            (trade(price=0.25), "lost_digit"),
            (b'{"feed":"ticker","product_id":"PI_XBTUSD","time":1,"bid":1,"ask":1,"bid_size":1}', "not_decimal"),
        ],
    )
    def test_a_bad_frame_is_named(self, frame: bytes, reason: str) -> None:
        reader = decoder()
        with pytest.raises(BadFrame) as met:
            reader.decode(frame)
        assert met.value.reason == reason
        assert not reader.counts

    @pytest.mark.parametrize(
        "frame",
        [
            b'{"event":"info","version":1}',
            b'{"event":"subscribed","feed":"book","product_ids":["PI_XBTUSD"]}',
            b'{"feed":"heartbeat","time":1534262350627}',
        ],
    )
    def test_answers_say_nothing(self, frame: bytes) -> None:
        assert decoder().decode(frame) == []

    @pytest.mark.tape
    @settings(max_examples=300, deadline=None)
    @given(draw=st.data())
    def test_nothing_but_a_bad_frame_comes_of_damage(self, messages: Path, draw: st.DataObject) -> None:
        names = ("book_delta", "book_snapshot", "ticker", "trade", "trade_snapshot")
        name = draw.draw(st.sampled_from(names))
        frame = bytearray((messages / "kraken" / f"ws_futures_{name}.json").read_bytes())
        for _ in range(draw.draw(st.integers(1, 4))):
            at = draw.draw(st.integers(0, len(frame) - 1))
            frame[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
        try:
            decoded = decoder().decode(bytes(frame))
        except BadFrame:
            return
        for each in decoded:
            if each.rows.size and each.message["kind"][0] != Kind.REFERENCE:
                assert each.rows["price"].min() >= 0
                assert each.rows["size"].min() >= 0


class TestEmulation:
    @pytest.mark.parametrize("known", [instrument(), instrument("PI_ETHUSD")])
    def test_the_emulated_venue_speaks_what_the_decoder_reads(self, known: Instrument) -> None:
        (parsed,) = VENUE.parse_instruments(VENUE.emulation.instruments([known]), [known.symbol])
        assert parsed == known
        bids = np.array([(617_985, 5), (617_980, 7)], LEVEL)
        asks = np.array([(618_000, 9)], LEVEL)
        assert VENUE.emulation.book is not None
        frame = VENUE.emulation.book(known, 77, 1_723_161_256_298_000_000, bids, asks)
        (decoded,) = decoder().decode(frame)
        assert decoded.rows.tolist() == [*bids.tolist(), *asks.tolist()]
        assert decoded.message[["last", "exchanged"]].tolist() == [(77, 1_723_161_256_298_000_000)]
        assert VENUE.emulation.stream_of(frame) == f"book:{known.symbol}"

    def test_every_stream_is_asked_for_answered_and_ended(self) -> None:
        wanted = VENUE.streams(["PI_XBTUSD", "PI_ETHUSD"])
        for frames, read in (
            (VENUE.subscribe(wanted), VENUE.emulation.subscribed),
            (VENUE.unsubscribe(wanted), VENUE.emulation.unsubscribed),
        ):
            met = [read(frame) for frame in frames]
            assert {name for each in met if each for name in each[0]} == {stream.name for stream in wanted}
            assert all(decoder().decode(each[1]) == [] for each in met if each)
            assert not any(VENUE.emulation.stream_of(each[1]) for each in met if each)
