"""Instruments from Binance's exchange information, and from the frames of a tape that has none."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import Contract
from ingest.venues import Venue
from tests.test_binance import DEPTH, SPOT, USDM


def filters(tick: str, lot: str, most: str = "1000000", largest: str = "1000") -> list[dict[str, str]]:
    return [
        {"filterType": "PRICE_FILTER", "tickSize": tick, "maxPrice": most},
        {"filterType": "LOT_SIZE", "stepSize": lot, "maxQty": largest},
        {"filterType": "MAX_NUM_ORDERS", "limit": "200"},
    ]


def listed(symbol: str, rules: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, "baseAsset": symbol[:-4], "quoteAsset": symbol[-4:], "filters": rules, **more}


def parse(venue: Venue, *entries: dict[str, Any], wanted: tuple[str, ...] = ("BTCUSDT",)) -> list[Instrument]:
    return venue.parse_instruments(orjson.dumps({"symbols": entries}), wanted)


def test_futures_state_their_precision_and_never_less_than_the_filters() -> None:
    (known,) = parse(
        USDM, listed("BTCUSDT", filters("0.10", "0.001", "4529764"), pricePrecision=2, quantityPrecision=3)
    )
    assert (known.price_decimals, known.size_decimals, known.tick, known.lot) == (2, 3, 10, 1)
    assert (known.asset, known.quote, known.contract, known.key) == (
        "BTC",
        "USDT",
        Contract.LINEAR,
        "binance_usdm:BTCUSDT",
    )
    (finer,) = parse(USDM, listed("BTCUSDT", filters("0.0001", "0.01"), pricePrecision=2, quantityPrecision=0))
    assert (finer.price_decimals, finer.size_decimals, finer.tick, finer.lot) == (4, 2, 1, 1)


def test_spot_keeps_all_places_while_integers_have_room() -> None:
    entry = listed(
        "BTCUSDT", filters("0.01000000", "0.00001000", "1000000.00000000", "9000.00000000"), baseAssetPrecision=8
    )
    (known,) = parse(SPOT, entry)
    assert (known.price_decimals, known.size_decimals, known.tick, known.lot) == (8, 8, 1_000_000, 1000)
    entry = listed("PEPEUSDT", filters("0.00000001", "1.00", "1.00", "92141578000.00"), baseAssetPrecision=8)
    (cheap,) = parse(SPOT, entry, wanted=("PEPEUSDT",))
    assert cheap.price_decimals == 8
    assert cheap.size_decimals == 2
    assert 92_141_578_000 * 10**cheap.size_decimals * 100_000 < 2**62


def test_an_unknown_symbol_is_named_with_its_neighbours() -> None:
    entry = listed("BTCUSDT", filters("0.10", "0.001"), pricePrecision=2, quantityPrecision=3)
    with pytest.raises(BadConfig, match=r"BTCUSD'.*nearest are BTCUSDT"):
        parse(USDM, entry, wanted=("BTCUSD",))
    with pytest.raises(BadConfig, match="nearest are BTCUSDT"):
        parse(USDM, entry, wanted=("btcusdt",))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"symbols":5}', b'{"symbols":[{}]}', b'{"symbols":[5]}'])
def test_exchange_information_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(BadFrame, match="not_exchange_information"):
        USDM.parse_instruments(body, ["BTCUSDT"])


def test_a_symbol_without_filters_is_refused(messages: Path) -> None:
    body = (messages / "binance/spot/http_json/exchange_info_response.json").read_bytes()
    with pytest.raises(BadFrame, match="tickSize"):
        SPOT.parse_instruments(body, ["ETHBTC"])


def test_a_tapes_frames_show_their_decimals() -> None:
    raws = [
        orjson.dumps({"stream": "btcusdt@depth", "data": {**DEPTH, "b": [["7.6110", "2.0"]]}}),
        b'{"lastUpdateId":7,"bids":[["7.6000","1.5"],["7.5500","3.0"]],"asks":[["7.6500","4.5"]]}',
        b"not json",
    ]
    (known,) = USDM.infer_instruments(raws)
    assert (known.price_decimals, known.size_decimals, known.tick, known.lot) == (4, 1, 500, 15)
    with pytest.raises(BadFrame, match="structure"):
        USDM.infer_instruments([orjson.dumps({**DEPTH, "b": [["1.00", 5]]})])
    with pytest.raises(BadConfig, match="cannot tell"):
        USDM.infer_instruments([orjson.dumps({**DEPTH, "s": "BTCXYZ"})])
