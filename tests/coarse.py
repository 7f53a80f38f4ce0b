"""Batches in, the same batches on a coarser tick out: what a venue with such a tick would have told of the same orders.

Bids fall to the tick below them, asks rise to the one above, so that no book crosses; sizes there are summed. Touches
are passed on as they are: which levels a coarser one consists of, a venue's touch does not tell.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from engine.schema import LEVEL, Batch, Flag, Kind


def coarsened(batches: Iterable[Batch], tick: int) -> Iterator[Batch]:
    """Give one instrument's batches on a tick of so many wire units."""
    told: dict[int, dict[int, int]] = {1: {}, -1: {}}
    sums: dict[int, dict[int, int]] = {1: {}, -1: {}}
    for batch in batches:
        messages, levels, at = batch.messages.copy(), list[tuple[int, int]](), 0
        for message in messages:
            if message["kind"] not in (Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH):
                continue
            rows = batch.levels[at : at + message["count"]].tolist()
            at += len(rows)
            if message["kind"] == Kind.TOUCH:
                levels += rows
                continue
            if message["kind"] == Kind.SNAPSHOT and not message["flags"] & Flag.CONTINUED:
                told, sums = {1: {}, -1: {}}, {1: {}, -1: {}}
            changed: dict[int, dict[int, int]] = {1: {}, -1: {}}
            for place, (price, size) in enumerate(rows):
                side = 1 if place < message["bids"] else -1
                to = side * (side * price // tick) * tick
                sums[side][to] = sums[side].get(to, 0) + size - told[side].get(price, 0)
                told[side][price] = size
                changed[side][to] = sums[side][to]
            message["count"], message["bids"] = len(changed[1]) + len(changed[-1]), len(changed[1])
            levels += [*changed[1].items(), *changed[-1].items()]
        yield replace(batch, messages=messages, levels=np.array(levels, LEVEL))
