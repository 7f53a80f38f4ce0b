"""Levels from before the event of 2025-10-10: as they stand, or worked out from what was left of them."""

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from airpocket.knowledge import KnowledgeFiles, load
from engine.config import BaselineConfig, EngineConfig
from engine.errors import BadConfig
from engine.knowledge import Knowledge, ReferenceLevel
from engine.pipeline import Pipeline
from engine.reference import EVENT, PUBLISHED, references_of
from engine.topics import SIGNAL_DEPTH
from tests.stream import opening

SINCE = EVENT + 1
PLAIN = ReferenceLevel(asset="BTC", band=100, depth=14e6, as_of=SINCE)
BASELINE = BaselineConfig(bands=(10, 50, 100, 500))


def config(*levels: ReferenceLevel) -> EngineConfig:
    return EngineConfig(baseline=BASELINE, knowledge=Knowledge(references=levels))


def test_a_level_from_before_the_event_stands_as_it_is() -> None:
    before = replace(PLAIN, depth=20e6, as_of=EVENT - 1)
    assert references_of(config(before), "BTC").tolist() == [0.0, 0.0, 20e6, 0.0]


def test_a_level_since_is_divided_by_the_published_share() -> None:
    # $14m was left of $20m, $10m of $15.5m, $30m of $40m.
    levels = [PLAIN, replace(PLAIN, band=50, depth=10e6), replace(PLAIN, band=500, depth=30e6)]
    assert references_of(config(*levels), "BTC") == pytest.approx([0, 10e6 / 0.645, 20e6, 40e6])
    assert references_of(config(*levels), "BTC")[1] == pytest.approx(15.5e6, rel=1e-3)
    ether = replace(PLAIN, asset="ETH", depth=6e6)
    assert references_of(config(ether), "ETH")[2] == pytest.approx(8e6)
    assert len(PUBLISHED) == 4


def test_the_moment_of_the_event_is_not_before_it() -> None:
    assert EVENT == 1_760_129_400 * 10**9
    assert references_of(config(replace(PLAIN, as_of=EVENT)), "BTC")[2] == pytest.approx(20e6)


def test_an_own_share_goes_before_the_published_one() -> None:
    assert references_of(config(replace(PLAIN, share=0.5)), "BTC")[2] == 28e6


def test_an_instrument_has_levels_of_its_own() -> None:
    own = replace(PLAIN, instrument="one:BTCUSD", depth=7e6)
    both = config(PLAIN, own)
    assert references_of(both, "BTC", "one:BTCUSD")[2] == pytest.approx(10e6)
    assert references_of(both, "BTC")[2] == pytest.approx(20e6)
    assert not references_of(both, "BTC", "two:BTCUSD").any()
    assert not references_of(both, "ETH").any()


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([replace(PLAIN, asset="SOL")], "SOL within 100 bps was measured after the event"),
        ([replace(PLAIN, band=10)], "BTC within 10 bps was measured after the event"),
        ([replace(PLAIN, band=25)], r"band of a reference of BTC is 25, allowed are \(10, 50, 100, 500\)"),
        ([PLAIN, PLAIN], "BTC has two references within 100 bps, allowed is one"),
        ([replace(PLAIN, as_of=EVENT - 1, share=0.7)], "share of a reference of BTC is 0.7, allowed is none"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_first_row(levels: list[ReferenceLevel], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        references_of(config(*levels), levels[0].asset)
    with pytest.raises(BadConfig, match=message):
        Pipeline("another", config(*levels))


def test_a_file_of_levels_reaches_the_gap_of_its_asset(tmp_path: Path) -> None:
    path = tmp_path / "references.toml"
    path.write_text(
        '[[reference]]\nasset = "A"\nband = 100\ndepth = 300\nas_of = 2025-10-01T00:00:00Z\n\n'
        '[[reference]]\nasset = "A"\ninstrument = "one:AUSD"\nband = 50\ndepth = 80\nshare = 0.8\nas_of = 2025-11-11\n'
    )
    knowledge = load(KnowledgeFiles(references=str(path)))
    assert [each.as_of < EVENT for each in knowledge.references] == [True, False]
    baseline = BaselineConfig(bands=(10, 50, 100), session=1)
    pipeline = Pipeline("A", EngineConfig(baseline=baseline, knowledge=knowledge))
    records = [r for at in (0, 260, 520) for b in opening(at, last=10 + at, epoch=1 + at) for r in pipeline.step(b)]
    depths = [orjson.loads(record.value) for record in records if record.topic == SIGNAL_DEPTH]
    own = [value for value in depths if "instrument" in value][-1]
    whole = [value for value in depths if "instrument" not in value][-1]
    # One unit rests at 10 and one at 20 bps on either side of 100: 4 x 100 of quote within 50 and within 100 bps.
    assert own["gap"] == [None, pytest.approx(1 - 400 / 100), None]
    assert whole["gap"] == [None, None, pytest.approx(1 - 400 / 300)]
    assert (own["why"]["gap"], whole["why"]["gap"]) == ("no_reference", "no_reference")
