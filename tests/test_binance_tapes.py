"""Binance's recorded tapes through their decoders: every frame, and every number as it was printed."""

from pathlib import Path

import orjson
import pytest

from engine.errors import BadFrame
from engine.schema import FAMILY, MESSAGE, Kind
from ingest import venues
from ingest.decimals import shown
from ingest.venues import load
from tests.ladder import read_lines

TAPES = {"binance_usdm": "usdm_btcusdt_20240808", "binance_spot": "spot_ethusdt_20240808"}
VENUES = pytest.mark.parametrize("venue", [load(name) for name in TAPES], ids=lambda venue: venue.name)


@pytest.mark.tape
@VENUES
def test_a_recorded_tape_decodes_without_a_refusal(venue: venues.Venue, binance_tapes: Path) -> None:
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
@VENUES
def test_prices_are_what_the_tape_prints(venue: venues.Venue, binance_tapes: Path) -> None:
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


@VENUES
def test_a_client_that_sends_no_json_is_refused(venue: venues.Venue) -> None:
    with pytest.raises(BadFrame):
        venue.emulation.subscribed(b"{")
