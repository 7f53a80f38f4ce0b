"""Captures of many venues, each with the instruments that its frames show."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from engine.instrument import Instrument
from ingest.captures import What, lines_of, read_capture, venues_of
from ingest.venues import Venue, load

#: Venue -> files of its capture.
CAPTURES: Final = {
    "binance_spot": ["BINANCE.ws.1.0.gz", "BINANCE.http.0.0.gz"],
    "bitfinex": ["BITFINEX.ws.11.0.gz"],
    "bitget": ["BITGET.ws.2.0.gz", "BITGET.ws.1.0.gz"],
    "bitget_spot": ["BITGET.ws.1.0.gz", "BITGET.ws.2.0.gz"],
    "bitmex": ["BITMEX.ws.1.0.gz"],
    "bybit_linear": ["BYBIT.jsonl.zst"],
    "bybit_spot": ["BYBIT.jsonl.zst"],
    "coinbase_advanced": ["COINBASE.jsonl.zst"],
    "deribit": ["DERIBIT.ws.1.0.gz"],
    "kraken_futures": ["KRAKEN_FUTURES.ws.1.0.gz"],
    "kraken_spot": ["KRAKEN.ws.50.0.gz"],
    "okx": ["OKX.ws.1.0.gz"],
}


class Played(NamedTuple):
    """A venue and what it sent."""

    venue: Venue
    lines: list[tuple[int, bytes]]
    instruments: list[Instrument]


@cache
def capture(name: str, folder: Path) -> Played:
    """Read a venue's capture."""
    entries = list(read_capture([folder / file for file in CAPTURES[name]]))
    mine = [connection for connection, venue in venues_of(entries).items() if venue.name == name]
    shown = [each.raw for each in entries if each.what is What.ANSWER or _received(each.what, each.connection, mine)]
    venue = load(name)
    return Played(venue, list(lines_of(entries, venue, mine)), venue.infer_instruments(shown))


def _received(what: What, connection: str, mine: Iterable[str]) -> bool:
    return what is What.RECEIVED and connection in mine
