"""The contract of a venue, tested of every file of the folder."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import FAMILY, LEVEL, MESSAGE, Channel, Contract, Kind
from ingest import venues
from ingest.decimals import shown
from ingest.venues import SECOND, load, names
from tests.ladder import read_lines

#: A real tape of each venue: a new venue brings its own.
TAPES = {"binance_usdm": "usdm_btcusdt_20240808", "binance_spot": "spot_ethusdt_20240808"}
VENUES = [load(name) for name in names()]
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def instrument(venue: str) -> Instrument:
    spot = "spot" in venue
    return Instrument(
        venue=venue,
        symbol="BTCUSDT",
        asset="BTC",
        quote="USDT",
        contract=Contract.SPOT if spot else Contract.LINEAR,
        price_decimals=8 if spot else 2,
        size_decimals=8 if spot else 3,
        tick=1_000_000 if spot else 10,
        lot=1000 if spot else 1,
    )


def test_every_file_of_the_folder_is_a_venue_with_a_tape() -> None:
    files = {path.stem for path in Path(venues.__path__[0]).glob("[!_]*.py")}
    assert files == set(names()) == set(TAPES)


def test_an_unknown_venue_is_named_with_its_neighbours() -> None:
    with pytest.raises(BadConfig, match="did you mean binance_usdm"):
        load("binance_usd")


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
class TestVenue:
    def test_it_is_named_as_its_file(self, venue: venues.Venue) -> None:
        assert load(venue.name) is venue
        assert venue.sequence in ("previous", "consecutive")

    def test_streams_are_whose_they_say_and_on_sockets_that_exist(self, venue: venues.Venue) -> None:
        streams = venue.streams(SYMBOLS)
        assert len({stream.name for stream in streams}) == len(streams)
        assert {stream.socket for stream in streams} == set(venue.sockets)
        for symbol in SYMBOLS:
            mine = [stream for stream in streams if stream.symbol == symbol]
            # One stream a channel: nothing may be counted twice.
            assert len({stream.channel for stream in mine}) == len(mine)
            (depth,) = (stream for stream in mine if stream.channel == Channel.DEPTH)
            assert 0 < depth.first <= 60 * SECOND
            assert 0 < depth.silence <= 60 * SECOND

    def test_a_url_or_frames_name_every_stream(self, venue: venues.Venue) -> None:
        for socket, base in venue.sockets.items():
            assert base.startswith("wss://")
            mine = [stream for stream in venue.streams(SYMBOLS) if stream.socket == socket]
            url = venue.url("ws://127.0.0.1:9", socket, mine)
            assert url.startswith("ws://127.0.0.1:9/")
            sent = b"".join(venue.subscribe(mine)).decode()
            assert all(stream.name in url + sent for stream in mine)
            path = url.removeprefix("ws://127.0.0.1:9")
            assert set(venue.emulation.streams_of(path)) == {stream.name for stream in mine} or sent

    def test_rest_paths_lead_where_the_emulation_says(self, venue: venues.Venue) -> None:
        route = venue.emulation.route
        assert route("/nowhere") is None
        found = route(venue.instruments_path)
        assert found is not None
        assert found[0] == "instruments"
        depth, interest = venue.snapshot_path("BTCUSDT"), venue.open_interest_path("BTCUSDT")
        for path, what in ((depth, "depth"), (interest, "open_interest")):
            if path is not None:
                found = route(path)
                assert found is not None
                assert found[:2] == (what, "BTCUSDT")
                assert found[2] > 0
                assert 0 < venue.weight(path) < venue.limits.weight

    def test_the_emulated_venue_speaks_what_the_decoder_reads(self, venue: venues.Venue) -> None:
        known = instrument(venue.name)
        (parsed,) = venue.parse_instruments(venue.emulation.instruments([known]), ["BTCUSDT"])
        assert parsed == known
        bids = np.array([(61_800 * 10**known.price_decimals, 5), (61_700 * 10**known.price_decimals, 7)], LEVEL)
        asks = np.array([(61_900 * 10**known.price_decimals, 9)], LEVEL)
        body = venue.emulation.snapshot(known, 77, 1_723_161_256_298 * 1_000_000, bids, asks)
        (decoded,) = venue.decoder({"BTCUSDT": known}).body("BTCUSDT", Channel.DEPTH, body)
        assert decoded.rows.tolist() == [*bids.tolist(), *asks.tolist()]
        assert decoded.message["last"].tolist() == [77]

    def test_an_unknown_symbol_is_the_operators_error(self, venue: venues.Venue) -> None:
        body = venue.emulation.instruments([instrument(venue.name)])
        with pytest.raises(BadConfig, match="BTCUSDT"):
            venue.parse_instruments(body, ["BTCUSDC"])

    def test_subscribing_is_acknowledged(self, venue: venues.Venue) -> None:
        frame = orjson.dumps({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 9})
        subscribed = venue.emulation.subscribed(frame)
        assert subscribed is not None
        streams, acknowledgement = subscribed
        assert streams == ("btcusdt@trade",)
        assert venue.decoder({"BTCUSDT": instrument(venue.name)}).decode(acknowledgement) == []
        assert venue.emulation.stream_of(acknowledgement) is None
        assert venue.emulation.subscribed(b'{"method":"PING"}') is None
        with pytest.raises(BadFrame):
            venue.emulation.subscribed(b"{")

    @pytest.mark.tape
    def test_a_recorded_tape_decodes_without_a_refusal(self, venue: venues.Venue, binance_tapes: Path) -> None:
        lines = read_lines(binance_tapes / f"{TAPES[venue.name]}.gz")[:3000]
        (known,) = venue.infer_instruments([raw for _, raw in lines[:200]])
        decoder = venue.decoder({known.symbol: known})
        streams = {stream.name: stream for stream in venue.streams([known.symbol])}
        met = set()
        for _, raw in lines:
            name = venue.emulation.stream_of(raw)
            if name is None:
                continue
            bare = raw.partition(b'"data":')[2][:-1]
            assert venue.emulation.stream_of(bare) == name
            (decoded,) = decoder.decode(raw)
            message = decoded.message
            kind = Kind(message["kind"][0])
            assert (decoded.symbol, decoded.channel) == (known.symbol, streams[name].channel)
            assert (message.dtype, message.shape) == (MESSAGE, (1,))
            assert decoded.rows.dtype == FAMILY[kind]
            assert len(decoded.rows) == message["count"][0]
            assert message["received"][0] == 0
            (again,) = decoder.decode(bare)
            assert again.message.tobytes() == message.tobytes()
            assert again.rows.tobytes() == decoded.rows.tobytes()
            met.add(kind)
        assert met == {Kind.DELTA, Kind.TOUCH, Kind.TRADE}

    @pytest.mark.tape
    def test_prices_are_what_the_tape_prints(self, venue: venues.Venue, binance_tapes: Path) -> None:
        lines = read_lines(binance_tapes / f"{TAPES[venue.name]}.gz")[:500]
        (known,) = venue.infer_instruments([raw for _, raw in lines[:200]])
        decoder = venue.decoder({known.symbol: known})
        compared = 0
        for raw in (raw for _, raw in lines if b"@depth" in raw[:40]):
            content = orjson.loads(raw)["data"]
            (decoded,) = decoder.decode(raw)
            printed = [
                [shown(price, known.price_decimals), shown(size, known.size_decimals)]
                for price, size in decoded.rows.tolist()
            ]
            assert printed == content["b"] + content["a"]
            compared += len(printed)
        assert compared > 100
