"""What the engine says of real and made-up streams: finite or explained, the same of a part as of the whole."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from airpocket.player import Player
from engine.config import BaselineConfig, CascadeConfig, EngineConfig
from engine.kernel import COMPILED
from engine.knowledge import Exposure, Knowledge
from engine.pipeline import Pipeline
from engine.schema import REFERENCE, TRADE, Batch, Kind, Record, Reference
from engine.topics import SIGNAL_CASCADE, SIGNAL_DEPTH, SIGNAL_FLOW, SIGNAL_VACUUM
from tests.stream import instrument, message

TAPES = ["usdm_btcusdt_20240808.gz", "spot_ethusdt_20240809.gz"]
VENUES = {"usdm": "binance_usdm", "spot": "binance_spot"}
#: Ends of the whole and of the part: 60 and 30 seconds in, less where kernels are plain Python.
SECONDS = (60, 30) if COMPILED else (12, 6)
SECOND = 1_000_000_000
#: The first sample is a past to compare with.
ORDINARY = EngineConfig(baseline=BaselineConfig(session=1))


def play(folder: Path, name: str, until: int | None) -> list[Record]:
    return list(Player([folder / name], engine=ORDINARY, venue=VENUES[name[:4]], until=until))


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from numbers(each)


@pytest.mark.parametrize("name", TAPES)
def test_a_part_of_a_tape_says_what_the_whole_says_of_it(binance_tapes: Path, name: str) -> None:
    first = next(iter(Player([binance_tapes / name], engine=ORDINARY, venue=VENUES[name[:4]]))).time
    whole, part = (play(binance_tapes, name, first + seconds * SECOND) for seconds in SECONDS)
    assert {record.topic for record in part if ":" in record.key} >= {SIGNAL_FLOW, SIGNAL_CASCADE, SIGNAL_VACUUM}
    assert {record.topic for record in part if ":" not in record.key} >= {SIGNAL_DEPTH, SIGNAL_VACUUM}
    assert [(r.topic, r.key, r.time, r.value) for r in part] == [
        (r.topic, r.key, r.time, r.value) for r in whole[: len(part)]
    ]
    for record in whole:
        value = orjson.loads(record.value)
        assert all(abs(number) < 1e300 for each in value.values() for number in numbers(each))
        nulls = {field for field, each in value.items() if each is None or (isinstance(each, list) and None in each)}
        if value["state"] == "ok":
            assert nulls - {"reason", "received", "exchanged", "last"} == set(value["why"])
        else:
            assert value["reason"]
    for asset in (False, True):
        vacuums = [orjson.loads(r.value) for r in whole if r.topic == SIGNAL_VACUUM and (":" not in r.key) == asset]
        for side in ("bid", "ask"):
            states = {value[f"{side}_state"] for value in vacuums}
            # One tape's book is known only later than plain Python comes.
            assert "normal" in states or {value["state"] for value in vacuums} == {"unknown"}
            assert not states & {"vacuum", "recovering"}, "these minutes are ordinary"


def start(config: EngineConfig, **changes: Any) -> tuple[Pipeline, list[Record]]:
    """A pipeline that has taken one book."""
    pipeline, unit = Pipeline("A", config), instrument("one", **changes)
    bids = [(10_000, 500), (9_900, 500), (9_800, 500), (9_700, 500), (9_600, 2_000), (9_500, 4_000)]
    asks = [(10_002, 500), (10_100, 500), (10_300, 5_000)]
    records = pipeline.step(message(Kind.INSTRUMENT, 0, (), (), unit))
    records += pipeline.step(message(Kind.SNAPSHOT, 0, bids, asks, unit, last=1, epoch=1))
    return pipeline, records


def delta(at: float, last: int, bids: list[tuple[int, int]]) -> Batch:
    unit = instrument("one")
    return message(Kind.DELTA, at, bids, (), unit, last=last, previous=last - 1, epoch=1)


def told(records: list[Record], topic: str) -> list[dict[str, Any]]:
    return [orjson.loads(r.value) for r in records if r.topic == topic and ":" in r.key]


KNOWN = Knowledge(
    exposures=tuple(
        Exposure(name=f"at {trigger}", asset="A", quantity=quantity, trigger=trigger, as_of=1)
        for trigger, quantity in ((99.5, 2.0), (98.5, 6.0), (97.0, 8.0), (95.5, 10.0))
    )
)
CASCADE = CascadeConfig(drops=(102, 302, 402), shocks=(300, 800, 850), withdrawal=300)


def test_a_cascade_record_knows_the_exposures_of_its_asset() -> None:
    _, records = start(EngineConfig(knowledge=KNOWN, cascade=CASCADE))
    value = told(records, SIGNAL_CASCADE)[-1]
    assert (value["map_source"], value["exposures"]) == ("measured", 4)
    assert value["fall_critical"] == [8.0, 8.0, 24.0]
    assert value["fall_forced"] == [2.0, 16.0, 16.0]
    assert value["fall_remaining"][0] == pytest.approx((300 / 100.01 + 2) / 10)
    assert value["fall_price"] == [100.0, 99.0, 96.0]
    assert value["fall_amplification"][2] == pytest.approx((850 / 100.01 + 16) / (850 / 100.01))
    assert value["squeeze_forced"] == [0.0, 0.0, 0.0]
    assert (value["fall_free_from"], value["fall_complete"]) == (99.0, [True, True, True])


def test_a_critical_shock_that_moves_is_told_at_the_next_line_of_the_grid() -> None:
    pipeline, _ = start(EngineConfig(cascade=CASCADE))
    assert not told(pipeline.step(delta(10, 2, [(9_900, 490)])), SIGNAL_CASCADE)
    assert not told(pipeline.step(delta(300, 3, [(9_900, 100)])), SIGNAL_CASCADE)
    (value,) = told(pipeline.step(delta(510, 4, [(9_400, 1)])), SIGNAL_CASCADE)
    assert value["fall_critical"][0] == pytest.approx(6.0)


def test_with_a_cadence_of_0_every_book_message_is_answered() -> None:
    config = EngineConfig(cascade=CascadeConfig(drops=(102,), shocks=(300,), withdrawal=300, cadence=0))
    pipeline, _ = start(config)
    for i in range(5):
        records = pipeline.step(delta(10 + i, 2 + i, [(9_900, 400 - i)]))
        assert [value["fall_critical"] for value in told(records, SIGNAL_CASCADE)] == [[9.0 - i / 100]]


def test_a_lost_book_has_no_opinions() -> None:
    pipeline, _ = start(EngineConfig(cascade=CASCADE))
    records = pipeline.step(message(Kind.GAP, 20, (), (), instrument("one")))
    for topic in (SIGNAL_CASCADE, SIGNAL_FLOW):
        (value,) = told(records, topic)
        assert (value["state"], value["reason"]) == ("unknown", "gap")
        measured = {
            n: v for n, v in value.items() if n not in ("drops", "shocks", "windows", "horizons", "zones", "levels")
        }
        assert not list(numbers(list(measured.values())))


def test_flow_never_mixes_two_books() -> None:
    pipeline, _ = start(EngineConfig())
    last = 2
    for i in range(1, 12):
        last += 1
        records = pipeline.step(delta(i * 250 + 1, last - 1, [(9_900, 400 + i)]))
    assert told(records, SIGNAL_FLOW)[0]["ofi"][0] is not None
    pipeline.step(message(Kind.GAP, 3_100, (), (), instrument("one")))
    book = [(10_000, 9)], [(10_002, 9)]
    pipeline.step(message(Kind.SNAPSHOT, 3_101, *book, instrument("one"), last=50, epoch=2))
    after = message(Kind.DELTA, 3_400, [(9_990, 3)], (), instrument("one"), last=51, previous=50, epoch=2)
    (value,) = told(pipeline.step(after), SIGNAL_FLOW)
    assert value["ofi"] == [None, None, None]
    assert value["why"]["ofi"] == "too_early"


def test_open_interest_that_grows_puts_triggers_behind_the_book() -> None:
    pipeline, _ = start(EngineConfig(cascade=CascadeConfig(drops=(102, 302, 402), shocks=(300,), withdrawal=300)))
    unit = instrument("one")

    def heard(at: float, value: int) -> Batch:
        rows = np.zeros(1, REFERENCE)
        rows["what"], rows["value"] = int(Reference.OPEN_INTEREST), value
        return replace(message(Kind.REFERENCE, at, (), (), unit, count=1), references=rows)

    def paid(at: float) -> Batch:
        rows = np.zeros(1, TRADE)
        rows["price"], rows["size"], rows["side"], rows["fills"] = 10_002, 100, 1, 1
        return replace(message(Kind.TRADE, at, (), (), unit, count=1), trades=rows)

    records = [r for batch in (heard(10, 10_000), paid(20), heard(30, 30_000)) for r in pipeline.step(batch)]
    records += pipeline.step(delta(1_100, 2, [(9_400, 1)]))
    value = told(records, SIGNAL_CASCADE)[-1]
    assert (value["map_source"], value["map_coverage"]) == ("estimated", pytest.approx(2 / 3))
    # Of 200 base units entered at 100.02, those at 100 times leverage wait 0.6 % below: 5 % of them by the prior.
    assert value["fall_forced"][0] == pytest.approx(0.05 * 200, rel=1e-6)
    assert value["squeeze_forced"][0] == pytest.approx(0.05 * 200, rel=1e-6)
    assert value["fall_forced"][1] == pytest.approx(0.15 * 200, rel=1e-6)
