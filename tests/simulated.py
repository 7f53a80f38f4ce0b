"""A simulated market's own book, and what a session hears of it: what tests of the market share."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from engine.schema import Batch
from ingest.session import Session, open_session
from ingest.simulator.broadcast import Broadcast
from ingest.simulator.scenarios import INSTRUMENT, scenario
from ingest.simulator.world import World
from tests.rebuilt import Book


def book_of(world: World) -> Book:
    """Read a market's own book, in wire decimals."""
    row = world.state[0]
    size, bid, ask = row["size"], int(row["bid"]), int(row["ask"])
    sides = {1: np.flatnonzero(size[: bid + 1]), -1: ask + np.flatnonzero(size[ask:])}
    return {
        side: dict(zip((prices * INSTRUMENT.tick).tolist(), (size[prices] * INSTRUMENT.lot).tolist(), strict=True))
        for side, prices in sides.items()
    }


def batches_of(name: str, seed: int, seconds: int) -> Iterator[Batch]:
    """Yield what a session makes of a scenario's frames."""
    broadcast = Broadcast(replace(scenario(name), seconds=seconds), seed)
    session: Session | None = None
    for _ in range(seconds):
        for received, raw in broadcast.second()[0]:
            session = session or open_session([(received, raw)], None)
            yield from session.receive(received, raw)
