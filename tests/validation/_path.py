"""A market that is changed while it goes on, through the whole path: its frames, a session, a pipeline, records."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.config import EngineConfig
from engine.pipeline import Pipeline
from ingest.session import open_session
from ingest.simulator.broadcast import Broadcast
from ingest.simulator.scenarios import INSTRUMENT, Scenario
from ingest.simulator.world import SECOND

Value = dict[str, Any]
Floats = NDArray[np.float64]


@dataclass(slots=True)
class Told:
    """Records of one topic and the truth; times in s from the scenario's begin."""

    records: list[tuple[float, Value]] = field(default_factory=list)
    truths: list[Value] = field(default_factory=list)
    #: Times of trades as the venue states them, each once.
    trades: Floats = field(default_factory=lambda: np.zeros(0))

    def of(self, kind: str) -> list[Value]:
        """Give the truth of one kind."""
        return [each for each in self.truths if each["kind"] == kind]


def tell(wanted: Scenario, seed: int, topic: str, change: Callable[[Broadcast, int], None] | None = None) -> Told:
    """Let a scenario become records of a topic; `change` is asked before each second, and may alter the market."""
    broadcast, told = Broadcast(wanted, seed), Told()
    pipeline = Pipeline(INSTRUMENT.asset, EngineConfig())
    session: Any = None
    stamps: list[int] = []
    for second in range(wanted.seconds):
        if change is not None:
            change(broadcast, second)
        lines, truths = broadcast.second()
        told.truths += [{**each, "at": (each["time"] - wanted.start) / SECOND} for each in truths]
        session = session or open_session(lines[:1], None)
        for received, raw in lines:
            for batch in session.receive(received, raw):
                stamps += batch.trades["exchanged"].tolist()
                for record in pipeline.step(batch):
                    if record.topic == topic and record.key == INSTRUMENT.key:
                        told.records.append(((record.time - wanted.start) / SECOND, orjson.loads(record.value)))
    told.trades = (np.unique(np.array(stamps, np.int64)) - wanted.start) / SECOND
    return told
