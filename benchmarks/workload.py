"""The workload of every book: the messages of a real tape as integer rows, and the one answer that all must give.

At each query point (after every level update, or after every message), with mid2 = best bid + best ask in ticks,
lo(b) = ceil(mid2 (10000 - b) / 20000) and hi(b) = floor(mid2 (10000 + b) / 20000), D(b) is the lots of bids at lo(b)
and above plus the lots of asks up to hi(b). The answer is the sum of D(10) + 3 D(50) + 7 D(100) over all query points.
Without bands it is the sum of best bid + best ask. Integers only, so that every peer must agree exactly.

A round is the tape once (6,500 messages, 440 thousand level updates), from its own snapshot on. Within a message the
deletions come first, as hftbacktest moves the opposite best away where a book crosses, and no other book does.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from engine.instrument import Instrument
from engine.schema import LEVEL, Batch, Contract, Kind, Rows
from ingest.session import open_session
from ingest.tape import read

TAPE: Final = Path(__file__).parents[1] / "../shared/data/binance/usdm_btcusdt_20240808.gz"
BANDS: Final = (10, 50, 100)
WEIGHTS: Final = (1, 3, 7)
INSTRUMENT: Final = Instrument(
    venue="usdm", symbol="BTCUSDT", asset="BTC", quote="USDT", contract=Contract.LINEAR,
    price_decimals=1, size_decimals=3, tick=1, lot=1,
)  # fmt: skip

#: When a book is read: never, its best prices after every update, its bands after every update or every message.
Query = Literal["nothing", "best", "event", "message"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Messages behind a snapshot; prices in ticks of 0.1, sizes in lots of 0.001."""

    snapshot: Rows
    snapshot_bids: int
    levels: Rows
    #: 1 where a level is a bid's.
    bids: NDArray[np.uint8]
    #: Where each message's levels begin, and their end.
    starts: NDArray[np.int64]
    #: The venue's id of each message.
    lasts: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many level updates there are."""
        return len(self.levels)

    def head(self, levels: int) -> "Work":
        """Cut to whole messages of so many level updates at most (the first message at least)."""
        return self.first(max(1, int(np.searchsorted(self.starts, levels, side="right")) - 1))

    def first(self, messages: int) -> "Work":
        """Cut to so many messages."""
        end = int(self.starts[messages])
        return Work(
            snapshot=self.snapshot,
            snapshot_bids=self.snapshot_bids,
            levels=self.levels[:end],
            bids=self.bids[:end],
            starts=self.starts[: messages + 1],
            lasts=self.lasts[:messages],
        )

    def messages(self) -> Iterator[list[tuple[int, int, int]]]:
        """Give each message as plain (bid, price, size)."""
        plain = [(bid, *level) for bid, level in zip(self.bids.tolist(), self.levels.tolist(), strict=True)]
        bounds = self.starts.tolist()
        return (plain[begin:end] for begin, end in pairwise(bounds))

    def opening(self) -> list[tuple[int, int, int]]:
        """Give the snapshot as plain (bid, price, size)."""
        return [(int(i < self.snapshot_bids), *level) for i, level in enumerate(self.snapshot.tolist())]


def require_tape() -> Path:
    """Give the tape, or skip."""
    if not TAPE.exists():
        pytest.skip(f"recorded streams are not here: {TAPE} is absent")
    return TAPE


def _levels(bids: list[list[str]], asks: list[list[str]]) -> list[tuple[int, int, int]]:
    sides = ((1, bids), (0, asks))
    found = [(side, round(float(p) * 10), round(float(s) * 1000)) for side, each in sides for p, s in each]
    return sorted(found, key=lambda level: level[2] > 0)


@cache
def work() -> Work:
    """Read the tape's first snapshot and every depth message behind it, those that came before it included."""
    opening: list[tuple[int, int, int]] | None = None
    last, found = 0, []
    with gzip.open(require_tape()) as tape:
        for line in tape:
            frame: dict[str, Any] = orjson.loads(line[20:])
            content = frame.get("data", {})
            if "lastUpdateId" in frame and opening is None:
                opening = sorted(_levels(frame["bids"], frame["asks"]), key=lambda level: -level[0])
                last = frame["lastUpdateId"]
            elif content.get("e") == "depthUpdate":
                found.append((content["u"], _levels(content["b"], content["a"])))
    plain, starts, lasts = [], [0], []
    for update, levels in found:
        if update >= last:
            plain += levels
            starts.append(len(plain))
            lasts.append(update)
    assert opening is not None
    return Work(
        snapshot=np.array([level[1:] for level in opening], LEVEL),
        snapshot_bids=sum(level[0] for level in opening),
        levels=np.array([level[1:] for level in plain], LEVEL),
        bids=np.array([level[0] for level in plain], np.uint8),
        starts=np.array(starts, np.int64),
        lasts=np.array(lasts, np.int64),
    )


@cache
def batches(lines: int = 0) -> list[Batch]:
    """Read the tape, or its first lines, into the batches that the feed's session makes."""
    whole = list(islice(read([require_tape()]), lines or None))
    session = open_session(whole[:20_000], "binance_usdm")
    found = []
    for received, raw in whole:
        found += session.receive(received, raw)
        session.take_requests()
    return found


def is_book(batch: Batch) -> bool:
    """Say whether a batch is a book's message."""
    return bool(batch.messages["kind"][0] <= Kind.DELTA)


def tops() -> tuple[int, int]:
    """Give mid of the snapshot in ticks, and a tenth of it: a range wide enough for every band."""
    snapshot = work().snapshot["price"]
    bids = work().snapshot_bids
    middle = int(snapshot[:bids].max() + snapshot[bids:].min()) // 2
    return middle, middle // 10
