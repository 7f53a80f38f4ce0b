"""Coinbase Advanced Trade against a recording: numbers, the maker's side, whole books; damage; both venues emulated."""

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
from engine.schema import LEVEL, Channel, Contract, Flag, Kind
from ingest.captures import What, read_capture
from ingest.mirror import Mirror, Rule
from ingest.venues import Decoded, load
from ingest.venues._coinbase import trade_id
from ingest.venues._coinbase_advanced import CoinbaseAdvancedDecoder

ADVANCED = load("coinbase_advanced")
EXCHANGE = load("coinbase_exchange")


def instrument(symbol: str = "BTC-USD", venue: str = "coinbase_advanced") -> Instrument:
    asset, quote = symbol.split("-")
    return Instrument(
        venue=venue,
        symbol=symbol,
        asset=asset,
        quote=quote,
        contract=Contract.SPOT,
        price_decimals=2,
        size_decimals=8,
        tick=1,
        lot=1,
    )


def advanced() -> CoinbaseAdvancedDecoder:
    return CoinbaseAdvancedDecoder({"BTC-USD": instrument()})


def frames_of(captures: Path) -> list[bytes]:
    return [e.raw for e in read_capture([captures / "COINBASE.jsonl.zst"]) if e.what is What.RECEIVED]


def settle(mirror: Mirror, decoded: Decoded) -> None:
    """Apply a book message to a mirror. Raises Gap where bids meet asks."""
    row = decoded.message[0]
    if row["kind"] == Kind.SNAPSHOT:
        mirror.replace(decoded.rows, int(row["bids"]))
    else:
        mirror.apply(decoded.rows, int(row["bids"]))
    mirror.check(None, 0, 0)


@pytest.mark.tape
class TestCapture:
    def test_1030_numbers_have_no_gap_and_the_side_is_the_makers(self, captures: Path) -> None:
        """A taker who buys is at the best ask of the book as it stood, but for the moment between the two channels."""
        (body,) = (e.raw for e in read_capture([captures / "COINBASE.jsonl.zst"]) if e.what is What.ANSWER)
        known = ADVANCED.parse_instruments(body, ["BTC-USD", "ETH-USD"])
        reader = CoinbaseAdvancedDecoder({each.symbol: each for each in known})
        mirrors = {each.symbol: Mirror(each, Rule()) for each in known}
        met: Counter[Any] = Counter()
        sides: Counter[tuple[str, str]] = Counter()
        frames = frames_of(captures)
        for frame in frames:
            for decoded in reader.decode(frame, connection=3):
                row = decoded.message[0]
                met[Kind(row["kind"])] += 1
                mirror = mirrors[decoded.symbol]
                if decoded.channel == Channel.DEPTH:
                    settle(mirror, decoded)
                    assert 0 < row["exchanged"] <= row["published"]
                elif decoded.channel == Channel.TRADE and row["flags"] & Flag.HISTORY == 0 and mirror.best(1)[0]:
                    (bid, _), (ask, _) = mirror.best(1)[0][0], mirror.best(1)[1][0]
                    for trade in decoded.rows:
                        where = "bid" if trade["price"] <= bid else "ask" if trade["price"] >= ask else "between"
                        sides["buy" if trade["side"] > 0 else "sell", where] += 1
        assert len(frames) == 1030
        assert met[Kind.SNAPSHOT] == 2
        assert met[Kind.DELTA] == 773
        assert met[Kind.TOUCH] == 160
        assert met[Kind.TRADE] == 59
        assert reader.counts == {"unread_candles": 6}
        assert sides["buy", "ask"] == 48
        assert sides["sell", "bid"] == 23
        assert sides["buy", "bid"] == sides["sell", "ask"] == 0
        assert sides["buy", "between"] + sides["sell", "between"] == 7

    def test_snapshots_are_whole(self, captures: Path) -> None:
        frames = [frame for frame in frames_of(captures) if b'"snapshot","product_id"' in frame[:300]]
        known = {each.symbol: each for each in ADVANCED.infer_instruments(frames)}
        assert [(each.price_decimals, each.size_decimals, each.tick) for each in known.values()] == [(2, 8, 1)] * 2
        counts = []
        for frame in frames:
            (decoded,) = CoinbaseAdvancedDecoder(known).decode(frame)
            counts.append(len(decoded.rows))
        assert counts == [46_000, 23_334]
        assert ADVANCED.limits.max_size > 4 * max(map(len, frames))

    def test_touches_are_the_books(self, captures: Path) -> None:
        """The ticker's best prices are those of the book, where neither ran ahead of the other."""
        frames = frames_of(captures)
        known = {each.symbol: each for each in ADVANCED.infer_instruments(frames)}
        reader = CoinbaseAdvancedDecoder(known)
        mirrors = {symbol: Mirror(each, Rule()) for symbol, each in known.items()}
        compared = agreed = 0
        for decoded in (each for frame in frames for each in reader.decode(frame)):
            mirror = mirrors[decoded.symbol]
            if decoded.channel == Channel.DEPTH:
                settle(mirror, decoded)
            elif decoded.channel == Channel.TOUCH and mirror.best(1)[0]:
                compared += 1
                agreed += [mirror.best(1)[0][0][0], mirror.best(1)[1][0][0]] == decoded.rows["price"].tolist()
        assert compared > 150
        assert agreed > compared / 2

    @pytest.mark.parametrize("lost", [1, 500, 1028])
    def test_a_lost_frame_is_a_gap_of_the_connection(self, captures: Path, lost: int) -> None:
        frames = frames_of(captures)
        known = {each.symbol: each for each in ADVANCED.infer_instruments(frames)}
        reader = CoinbaseAdvancedDecoder(known)
        gaps = []
        for frame in frames[:lost] + frames[lost + 1 :]:
            try:
                reader.decode(frame)
            except Gap as gap:
                gaps.append((gap.instrument, gap.expected, gap.met))
        assert gaps == [("", lost, lost + 1)]


@pytest.mark.tape
class TestMessages:
    def test_every_message_of_the_socket(self, messages: Path) -> None:
        met = {}
        for path in sorted((messages / "coinbase").glob("ws_*.json")):
            reader = advanced()
            kinds = [int(each.message["kind"][0]) for each in reader.decode(path.read_bytes())]
            met[path.stem[3:]] = (kinds, dict(reader.counts))
        assert met == {
            "candles": ([], {"unread_candles": 1}),
            "heartbeats": ([], {}),
            "l2_data_snapshot": ([Kind.SNAPSHOT], {}),
            "l2_data_update": ([Kind.DELTA], {}),
            "market_trades": ([Kind.TRADE], {}),
            "subscriptions": ([], {}),
            "ticker": ([Kind.TOUCH], {}),
            "user": ([], {"unread_user": 1}),
        }

    def test_values(self, messages: Path) -> None:
        folder = messages / "coinbase"
        (delta,) = advanced().decode((folder / "ws_l2_data_update.json").read_bytes())
        assert delta.rows.tolist() == [(6_890_000, 200_000_000), (6_890_100, 0)]
        (trades,) = advanced().decode((folder / "ws_market_trades.json").read_bytes())
        assert [(row["id"], row["side"]) for row in trades.rows] == [(995098700, -1), (995098701, 1)]
        (touch,) = advanced().decode((folder / "ws_ticker.json").read_bytes())
        assert touch.rows.tolist() == [(6_890_000, 150_000_000), (6_890_100, 50_000_000)]

    def test_listings_of_spot_and_futures(self, messages: Path) -> None:
        folder = messages / "coinbase"
        body = (folder / "http_products.json").read_bytes()
        (spot,) = ADVANCED.parse_instruments(body, ["BTC-USD"])
        assert (spot.asset, spot.quote, spot.price_decimals, spot.size_decimals) == ("BTC", "USD", 2, 8)
        with pytest.raises(BadConfig, match="no symbol 'BTC-USDX' among its 2"):
            ADVANCED.parse_instruments(body, ["BTC-USDX"])
        with pytest.raises(BadConfig, match=r"'BTC-USDC' has no streams .* book of 'BTC-USD'"):
            ADVANCED.parse_instruments(body, ["BTC-USDC"])
        body = (folder / "http_products_future.json").read_bytes()
        (future,) = ADVANCED.parse_instruments(body, ["BIP-20DEC30-CDE"])
        assert (future.asset, future.contract, future.contract_size) == ("BTC", Contract.LINEAR, 1_000_000)
        assert (future.tick, future.price_decimals, future.size_decimals) == (500, 2, 0)


def heartbeat(number: int, sequence: bool = True) -> bytes:
    content = {"channel": "heartbeats", "timestamp": "2026-01-01T00:00:00Z", "events": []}
    return orjson.dumps({**content, "sequence_num": number} if sequence else content)


class TestNumbers:
    def test_each_connection_has_its_own_and_forgets(self) -> None:
        reader = advanced()
        assert reader.decode(heartbeat(5), connection=1) == reader.decode(heartbeat(0), connection=2) == []
        with pytest.raises(Gap, match="expected 6, met 0"):
            reader.decode(heartbeat(0), connection=1)
        reader.forget(2)
        assert reader.decode(heartbeat(9), connection=2) == []
        assert advanced().decode(heartbeat(77), connection=2) == []

    def test_a_refused_frame_is_a_hole(self) -> None:
        """Its changes are missing, so the book may not go on as if nothing had been."""
        reader = advanced()
        reader.decode(heartbeat(5))
        with pytest.raises(BadFrame):
            reader.decode(heartbeat(6).replace(b'"events":[]', b'"events":7'))
        with pytest.raises(Gap, match="expected 6, met 7"):
            reader.decode(heartbeat(7))
        assert reader.decode(heartbeat(8)) == []

    def test_a_product_that_nobody_asked_for_is_passed_over(self) -> None:
        reader = advanced()
        event = {"type": "update", "product_id": "ETH-USD", "updates": []}
        frame = orjson.dumps(
            {"channel": "l2_data", "timestamp": "2026-01-01T00:00:00Z", "sequence_num": 1, "events": [event]}
        )
        assert reader.decode(frame) == []
        assert reader.counts == {"other_symbol": 1}
        assert reader.decode(heartbeat(2)) == []


class TestDecoders:
    def test_ids_of_trades(self) -> None:
        assert trade_id("1068572090") == 1_068_572_090
        name = trade_id("22222222-2222-2222-2222-222222222222")
        assert 0 <= name < 1 << 63
        assert name != trade_id("22222222-2222-2222-2222-222222222223")
        assert 0 <= trade_id("9" * 40) < 1 << 63

    @pytest.mark.parametrize(
        ("changed", "reason"),
        [
            ({"type": "error", "message": "authentication failure"}, "venue_error"),
            ({"channel": "level3"}, "unknown_channel"),
            ({"channel": ["l2_data"]}, "unknown_channel"),
            ({"sequence_num": None}, "bad_id"),
            ({"timestamp": "0001-01-01T00:00:00Z"}, "bad_time"),
            ({"events": [1]}, "structure"),
            ({"events": [{"type": "delta", "product_id": "BTC-USD"}]}, "unknown_type"),
            ({"events": [{"type": "update", "product_id": "BTC-USD", "updates": [{"side": "ask"}]}]}, "structure"),
            ({"channel": "market_trades", "events": [{"type": "update"}]}, "structure"),
            (
                {
                    "channel": "ticker",
                    "events": [
                        {"type": "update", "tickers": [{"product_id": "BTC-USD", "best_bid_quantity": 1}]},
                    ],
                },
                "not_decimal",
            ),
        ],
    )
    def test_a_bad_frame_is_named(self, changed: dict[str, Any], reason: str) -> None:
        content = {"channel": "l2_data", "timestamp": "2026-01-01T00:00:00Z", "sequence_num": 1, "events": []}
        reader = advanced()
        with pytest.raises(BadFrame) as met:
            reader.decode(orjson.dumps({**content, **changed}))
        assert met.value.reason == reason
        assert reader.decode(heartbeat(40)) == []

    @pytest.mark.tape
    @settings(max_examples=400, deadline=None)
    @given(draw=st.data())
    def test_nothing_but_bad_frames_and_gaps_come_of_damage(self, messages: Path, draw: st.DataObject) -> None:
        names = ("l2_data_snapshot", "l2_data_update", "market_trades", "ticker", "heartbeats")
        frames = [(messages / "coinbase" / f"ws_{name}.json").read_bytes() for name in names]
        frame = bytearray(draw.draw(st.sampled_from(frames)))
        for _ in range(draw.draw(st.integers(1, 4))):
            at = draw.draw(st.integers(0, len(frame) - 1))
            frame[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
        reader = advanced()
        try:
            decoded = reader.decode(bytes(frame))
        except (BadFrame, Gap):
            return
        for each in decoded:
            if each.rows.size:
                assert each.rows["price"].min() >= 0
                assert each.rows["size"].min() >= 0


@pytest.mark.parametrize("venue", [ADVANCED, EXCHANGE], ids=lambda venue: venue.name)
class TestEmulation:
    def test_the_emulated_venue_speaks_what_the_decoder_reads(self, venue: Any) -> None:
        known = instrument(venue=venue.name)
        (parsed,) = venue.parse_instruments(venue.emulation.instruments([known]), ["BTC-USD"])
        assert parsed == known
        bids = np.array([(6_180_000, 5), (6_179_000, 7)], LEVEL)
        asks = np.array([(6_190_000, 9)], LEVEL)
        frame = venue.emulation.book(known, 77, 1_723_161_256_298_000_000, bids, asks)
        (decoded,) = venue.decoder({"BTC-USD": known}).decode(frame)
        assert decoded.rows.tolist() == [*bids.tolist(), *asks.tolist()]
        assert decoded.message["exchanged"][0] == 1_723_161_256_298_000_000
        (depth,) = (each.name for each in venue.streams(["BTC-USD"]) if each.channel == Channel.DEPTH)
        assert venue.emulation.stream_of(frame) == depth

    def test_every_stream_is_asked_for_answered_and_ended(self, venue: Any) -> None:
        wanted = venue.streams(["BTC-USD", "ETH-USD"])
        for frames, read in (
            (venue.subscribe(wanted), venue.emulation.subscribed),
            (venue.unsubscribe(wanted), venue.emulation.unsubscribed),
        ):
            met = [read(frame) for frame in frames]
            assert {name for each in met for name in each[0]} == {stream.name for stream in wanted}
            reader = venue.decoder({"BTC-USD": instrument(venue=venue.name)})
            assert all(reader.decode(each[1]) == [] for each in met)
            assert not any(venue.emulation.stream_of(each[1]) for each in met)
        assert b"heartbeat" in b"".join(venue.subscribe(wanted))


def test_frames_are_numbered_as_their_connection_gets_them() -> None:
    renumber = ADVANCED.emulation.renumber
    assert renumber is not None
    reader = advanced()
    for before in range(3):
        assert reader.decode(renumber(heartbeat(700), "level2:BTC-USD", before)) == []
    assert renumber(b"{}", "", 4) == b"{}"
    stream_of = ADVANCED.emulation.stream_of
    trades = {"channel": "market_trades", "events": [{"trades": [{"product_id": "ETH-USD"}]}]}
    assert stream_of(orjson.dumps(trades)) == "market_trades:ETH-USD"
    assert stream_of(heartbeat(1)) is None
    assert stream_of(b'{"channel":"ticker","events":[{}]}') is None
