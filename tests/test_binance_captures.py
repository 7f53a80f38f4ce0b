"""Captures of another recorder, of three Binance hosts: every stream of ours is read, no chain breaks."""

from collections import Counter
from pathlib import Path

import orjson
import pytest

from engine.errors import BadFrame
from engine.schema import Channel, Kind
from ingest.captures import What, read_capture
from ingest.sync import BookSync
from ingest.venues import load


@pytest.mark.tape
@pytest.mark.parametrize(
    ("host", "name", "depth", "touch", "trade", "candles"),
    [
        ("BINANCE", "binance_spot", 177, 84, 2, 2),
        ("BINANCE_US", "binance_spot", 336, 128, 11, 5),
        ("BINANCE_FUTURES", "binance_usdm", 764, 613, 91, 67),
    ],
)
def test_sequences_have_no_gap(
    host: str, name: str, depth: int, touch: int, trade: int, candles: int, captures: Path
) -> None:
    venue = load(name)
    entries = list(read_capture([captures / f"{host}.{part}.gz" for part in ("0", "ws.1.0", "http.0.0")]))
    frames = [entry.raw for entry in entries if entry.what is What.RECEIVED]
    inferred = venue.infer_instruments(frames)
    (listing,) = (entry.raw for entry in entries if entry.url.endswith("exchangeInfo"))
    known = {each.symbol: each for each in venue.parse_instruments(listing, [each.symbol for each in inferred])}
    for each in inferred:
        assert (each.asset, each.quote, each.contract) == (
            known[each.symbol].asset, known[each.symbol].quote, known[each.symbol].contract,
        )  # fmt: skip
    decoder = venue.decoder(known)
    chains: dict[str, BookSync[int]] = {}
    met: Counter[Channel | None] = Counter()
    refused: Counter[str] = Counter()
    for frame in frames:
        try:
            found = decoder.decode(frame)
        except BadFrame as refusal:
            refused[f"{refusal.reason} {orjson.loads(frame)['data']['e']}"] += 1
            continue
        for decoded in found:
            met[decoded.channel] += 1
            if decoded.message["kind"][0] != Kind.DELTA:
                continue
            if decoded.symbol not in chains:
                chains[decoded.symbol] = BookSync(decoded.symbol, venue.sequence)
                chains[decoded.symbol].begin()
            first, last, previous = (int(decoded.message[key][0]) for key in ("first", "last", "previous"))
            # A hole would be a Gap.
            chains[decoded.symbol].diff(first, last, previous, 0)
    assert met == {Channel.DEPTH: depth, Channel.TOUCH: touch, Channel.TRADE: trade}
    assert refused == {"unknown_event kline": candles}
    assert decoder.counts == {"slowly": candles}
