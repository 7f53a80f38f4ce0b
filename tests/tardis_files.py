"""Files of Tardis, for tests: written line by line, and read back."""

import gzip
from pathlib import Path
from typing import Any

from airpocket.imports import market_of
from engine.schema import Batch, Flag, Kind, Status
from ingest.tardis import Tardis
from tests.foreign import ROWS, each, made, rows_of

START = 1_700_000_000_000_000
US = 1_000
HEAD = "exchange,symbol,timestamp,local_timestamp"
BOOK = f"{HEAD},is_snapshot,side,price,amount"
PRINTS = f"{HEAD},id,side,price,amount"
TICKER = f"{HEAD},funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,mark_price"


def file(path: Path, columns: str, *lines: str, whose: str = "deribit,BTC-PERPETUAL") -> Path:
    """Write lines `offset,rest`: both stamps are the start plus so many us, the exchange's 5 us earlier."""
    rows = []
    for line in lines:
        offset, _, rest = line.partition(",")
        rows.append(f"{whose},{START + int(offset) - 5},{START + int(offset)},{rest}")
    text = "\n".join([columns, *rows, ""])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(*paths: Path) -> list[tuple[str, int, Any]]:
    """Give kind, offset in ns and rows of every message."""
    found = list(each(Tardis(paths, market_of)))
    assert all(len(batch.messages) == 1 for _, batch in found)
    return [(k.name, int(b.messages["received"][0]) - START * US, rows_of(k, b) if k in ROWS else ()) for k, b in found]


def kinds(*paths: Path) -> list[str]:
    return [kind for kind, _, _ in read(*paths)]


SNAPSHOT = ("0,true,ask,6421.5,10", "0,true,bid,6421,20", "0,true,bid,6420.5,30")


def example() -> list[Batch]:
    """Rows of every kind, the first of them before their units; two messages of one us."""
    at = START * US
    return [
        made(Kind.STATUS, at, status=Status.CONNECTED),
        made(Kind.TRADE, at + 1_000, [(at, 10_010, 7, 5, 1, 1, 0, 0)], exchanged=at, first=5, last=5),
        made(Kind.RESYNC, at + 2_000, epoch=1),
        made(Kind.INSTRUMENT, at + 3_000, epoch=1),
        made(Kind.SNAPSHOT, at + 3_000, [(9990, 100), (9980, 1), (10_010, 5)], bids=2, exchanged=at, epoch=1, last=7),
        made(Kind.DELTA, at + 3_000, [(9990, 0), (10_020, 3)], bids=1, exchanged=at + 1_000, epoch=1, last=8),
        made(Kind.TOUCH, at + 4_000, [(9980, 1), (10_010, 5)], bids=1),
        made(Kind.TRADE, at + 4_100, [(at - 9, 1, 1, 1, 1, 1, 0, 0)], flags=Flag.HISTORY),
        made(
            Kind.TRADE,
            at + 5_000,
            [(at + 2_000, 9980, 1, 6, 1, -1, 0, 0), (at + 3_000, 9975, 2, 7, 1, -1, 0, 0)],
            exchanged=at + 3_000,
            first=6,
            last=7,
        ),
        made(Kind.LIQUIDATION, at + 6_000, [(at, 9970, 12, 0, 1, 2, 4, 0, 0)], exchanged=at),
        made(Kind.LIQUIDATION, at + 7_000, [(at + 1_000, 9970, 12, 0, -1, 2, 4, 0, 0)], exchanged=at + 1_000),
        made(
            Kind.REFERENCE,
            at + 8_000,
            [(at, 9999, 0, 1, 0, 0, 0), (at, -125_000_000, at + 9_000, 3, 0, 0, 0)],
            exchanged=at,
        ),
        made(Kind.REFERENCE, at + 9_000, [(at, 17, 0, 4, 0, 0, 0), (at, 5, 0, 5, 0, 0, 0)], exchanged=at),
        made(Kind.GAP, at + 10_000, epoch=1),
        made(Kind.RESYNC, at + 10_000, epoch=2),
        made(Kind.INSTRUMENT, at + 20_000, epoch=2),
        made(Kind.SNAPSHOT, at + 20_000, [(9970, 1), (9990, 5)], bids=1, exchanged=at, epoch=2, flags=Flag.PARTIAL),
        made(Kind.SNAPSHOT, at + 20_000, [(9960, 1)], bids=1, exchanged=at, epoch=2, flags=Flag.CONTINUED),
        made(Kind.DELTA, at + 21_000, [(9990, 1)], exchanged=at + 4_000, epoch=2),
    ]
