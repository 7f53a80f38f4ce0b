"""What tests of others' file formats share: messages one by one, made-up batches, signals of rows."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
import orjson

from engine import lake
from engine.config import EngineConfig
from engine.pipeline import Pipeline
from engine.schema import LEVEL, LIQUIDATION, MESSAGE, REFERENCE, TRADE, Batch, Kind, Rows
from engine.topics import SIGNAL_DEPTH
from tests.stream import instrument

#: Kinds whose rows each of the formats could carry.
ROWS = (Kind.SNAPSHOT, Kind.DELTA, Kind.TRADE, Kind.LIQUIDATION, Kind.REFERENCE)
_PARTS = {Kind.TRADE: TRADE, Kind.LIQUIDATION: LIQUIDATION, Kind.REFERENCE: REFERENCE}
_NAMES = {Kind.TRADE: "trades", Kind.LIQUIDATION: "liquidations", Kind.REFERENCE: "references"}


def each(batches: Iterable[Batch], without: Collection[Kind] = ()) -> Iterator[tuple[Kind, Batch]]:
    """Give every message by itself, but for some kinds."""
    for batch in batches:
        offsets = lake.offsets_of(batch.messages)
        for n, kind in enumerate(batch.messages["kind"].tolist()):
            if kind not in without:
                yield Kind(kind), lake.cut(batch, offsets, n, n + 1)


def made(kind: Kind, received: int, rows: Any = (), *, bids: int = 0, exchanged: int = 0, **fields: int) -> Batch:
    """Make a batch of one message of the asset A, its rows as tuples."""
    message = np.zeros(1, MESSAGE)
    message["kind"], message["received"], message["exchanged"] = kind, received, exchanged
    message["previous"], message["bids"], message["count"] = -1, bids, len(rows)
    for name, value in fields.items():
        message[name] = value
    unit = instrument()
    parts: dict[str, Rows] = {}
    if kind <= Kind.TOUCH:
        parts["levels"] = np.array(rows, LEVEL)
    elif kind == Kind.INSTRUMENT:
        parts["instruments"] = unit.row()
        message["count"] = 1
    elif kind in _PARTS:
        parts[_NAMES[kind]] = np.array(rows, _PARTS[kind])
    return Batch(instrument=unit.key, asset=unit.asset, messages=message, **parts)


def rows_of(kind: Kind, batch: Batch) -> list[tuple[Any, ...]]:
    """Give a message's rows as tuples."""
    part = "levels" if kind <= Kind.TOUCH else _NAMES.get(kind, "instruments")
    return list(getattr(batch, part).tolist())


def depths(batches: Iterable[Batch], without: Collection[Kind] = ()) -> list[dict[str, Any]]:
    """Give the depth records of books that are known, each message stepped by itself."""
    pipelines: dict[str, Pipeline] = {}
    found = []
    for _, batch in each(batches, without):
        pipeline = pipelines.setdefault(batch.asset, Pipeline(batch.asset, EngineConfig()))
        found += [orjson.loads(record.value) for record in pipeline.step(batch) if record.topic == SIGNAL_DEPTH]
    return [value for value in found if value["state"] == "ok"]
