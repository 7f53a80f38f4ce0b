"""An outage of a venue is no vacuum: whatever ends the stream, states are unknown, with the cause, and come back."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.config import BaselineConfig, EngineConfig
from engine.pipeline import Pipeline
from engine.topics import SIGNAL_VACUUM
from ingest.faults import Faults
from tests.feeding import head, played, tuned

pytestmark = [pytest.mark.tape, pytest.mark.slow]

#: Half a minute of the tape; its first sample of depth already is a past to compare with.
COUNT, SPEED = 8_000, 3.0
CONFIG = EngineConfig(baseline=BaselineConfig(session=1))
#: The diff at which the stream ends, about a third in.
AT = 180

OUTAGES = {
    "reset": (Faults(cut_at={AT: 0}), {"disconnected"}),
    "torn": (Faults(cut_at={AT: 1006}), {"disconnected"}),
    "stalled": (Faults(stall_at=frozenset({AT})), {"stale"}),
    "lost frame": (Faults(drop_at=frozenset({AT})), {"gap", "resync"}),
}


def told(faults: Faults, tape: Path) -> list[tuple[str, dict[str, Any]]]:
    """What an engine says of the vacuum when a feed on an emulator met these faults."""
    caught = asyncio.run(played(tuned(silence=0.5), head(tape, COUNT), speed=SPEED, faults=faults))
    pipeline = Pipeline("BTC", CONFIG)
    records = [record for batch in caught.batches for record in pipeline.step(batch)]
    return [(record.key, orjson.loads(record.value)) for record in records if record.topic == SIGNAL_VACUUM]


@pytest.mark.parametrize("name", OUTAGES)
def test_an_outage_is_unknown_and_never_a_vacuum(binance_tapes: Path, name: str) -> None:
    faults, causes = OUTAGES[name]
    records = told(faults, binance_tapes / "usdm_btcusdt_20240808.gz")
    for key in ("binance_usdm:BTCUSDT", "BTC"):
        said = [value for found, value in records if found == key]
        for side in ("bid", "ask"):
            states = [(value[f"{side}_state"], value[f"{side}_cause"]) for value in said]
            assert "vacuum" not in {state for state, _ in states}
            first = next(i for i, (state, _) in enumerate(states) if state != "unknown")
            lost = [i for i, (state, _) in enumerate(states) if i > first and state == "unknown"]
            assert {states[i][1] for i in lost} & causes, (key, states)
            assert {value[f"{side}_ratio"] for i, value in enumerate(said) if i in lost} == {None}
            # And it comes back, from the beginning.
            back = next(state for state, _ in states[lost[0] :] if state != "unknown")
            assert back == "normal"
