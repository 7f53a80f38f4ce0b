"""A made-up market.v1 log, seeded, and the signals that an engine which is never interrupted computes from it."""

from collections.abc import Iterator, Sequence
from random import Random

import numpy as np

from engine.config import EngineConfig
from engine.instrument import Instrument
from engine.pipeline import Pipeline
from engine.schema import LEVEL, MESSAGE, Batch, Contract, Kind, Record, Rows
from engine.topics import partition_of
from engine.wire import batch_of, record

#: Speaks often, so that a short log has many signals.
CONFIG = EngineConfig(cadence=20, health_cadence=200)
MILLISECOND = 1_000_000
BEGIN = 1_790_000_000_000 * MILLISECOND
MID = 500_000


def _instrument(venue: str, asset: str) -> Instrument:
    return Instrument(
        venue=venue,
        symbol=f"{asset}USDT",
        asset=asset,
        quote="USDT",
        contract=Contract.LINEAR,
        price_decimals=1,
        size_decimals=3,
        tick=1,
        lot=1,
    )


#: Two venues of one asset share a partition; of four partitions these assets take three.
INSTRUMENTS = [_instrument(*names) for names in (("one", "BTC"), ("two", "BTC"), ("one", "ETH"), ("one", "SOL"))]


class _Feed:
    """One instrument's messages: a book epoch, deltas, and now and then a gap and a new epoch."""

    def __init__(self, instrument: Instrument, random: Random) -> None:
        self.instrument = instrument
        self._random = random
        self._last = 1000
        self._epoch = 0
        self._synced = False

    def batch(self, received: int, messages: int) -> Batch:
        """Give the next messages as one batch."""
        rows: list[Rows] = []
        levels: list[tuple[int, int]] = []
        instruments = np.zeros(0, self.instrument.row().dtype)
        for _ in range(messages):
            received += self._random.randrange(1, 4) * MILLISECOND
            if not self._synced:
                self._epoch += 1
                book = [(MID - 1 - 3 * i, 5 + i) for i in range(30)] + [(MID + 1 + 3 * i, 7 + i) for i in range(30)]
                rows.append(self._message(Kind.RESYNC, received, 0, 0))
                rows.append(self._message(Kind.INSTRUMENT, received + 1, 1, 0))
                rows.append(self._message(Kind.SNAPSHOT, received + 2, len(book), 30))
                levels += book
                instruments = np.concatenate([instruments, self.instrument.row()])
                self._synced = True
            elif self._random.random() < 0.005:
                rows.append(self._message(Kind.GAP, received, 0, 0))
                self._synced = False
            else:
                bids = [(MID - self._random.randrange(1, 2000), self._random.randrange(0, 50)) for _ in range(3)]
                asks = [(MID + self._random.randrange(1, 2000), self._random.randrange(0, 50)) for _ in range(2)]
                rows.append(self._message(Kind.DELTA, received, 5, 3))
                levels += bids + asks
        return Batch(
            instrument=self.instrument.key,
            asset=self.instrument.asset,
            messages=np.concatenate(rows),
            levels=np.array(levels, LEVEL),
            instruments=instruments,
        )

    def _message(self, kind: Kind, received: int, count: int, bids: int) -> Rows:
        row = np.zeros(1, MESSAGE)
        row["received"] = received
        row["exchanged"] = received - 2 * MILLISECOND
        row["kind"] = int(kind)
        row["epoch"] = self._epoch
        row["count"], row["bids"] = count, bids
        row["previous"] = -1
        if kind == Kind.DELTA:
            row["previous"], row["first"], row["last"] = self._last, self._last + 1, self._last + 3
            self._last += 3
        elif kind == Kind.SNAPSHOT:
            row["first"], row["last"] = 0, self._last
        elif kind == Kind.GAP:
            row["previous"], row["first"] = self._last, self._last + 7
            self._last += 10
        return row


def log(count: int, seed: int = 7, messages: int = 3) -> list[Record]:
    """Make the records of a market.v1 log, as the feed would hand them over."""
    random = Random(seed)
    feeds = [_Feed(instrument, random) for instrument in INSTRUMENTS]
    return [
        record(random.choice(feeds).batch(BEGIN + index * 20 * MILLISECOND, random.randrange(1, messages + 1)))
        for index in range(count)
    ]


def expected(records: Sequence[Record], partitions: int = 4) -> dict[tuple[str, int], list[Record]]:
    """Compute every output topic's partitions from a log, in one go and without a broker."""
    pipelines: dict[str, Pipeline] = {}
    offsets = [0] * partitions
    outputs: dict[tuple[str, int], list[Record]] = {}
    for each in records:
        partition = partition_of(each.asset, partitions)
        pipeline = pipelines.setdefault(each.asset, Pipeline(each.asset, CONFIG))
        for output in pipeline.step(batch_of(each), offsets[partition]):
            outputs.setdefault((output.topic, partition), []).append(output)
        offsets[partition] += 1
    return outputs


def essence(records: Sequence[Record]) -> Iterator[tuple[str, bytes, tuple[tuple[str, bytes], ...], int]]:
    """Give what must be equal byte for byte: key, value, headers and the time as Kafka keeps it."""
    for each in records:
        yield each.key, each.value, each.headers, each.time // MILLISECOND
