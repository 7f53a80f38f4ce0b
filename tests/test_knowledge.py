"""What a desk knows, read from files: exact values in, clear refusals out, and all of it in the engine's digest."""

from pathlib import Path

import pytest

from airpocket.config import load as load_config
from airpocket.knowledge import KnowledgeFiles, load
from engine.config import EngineConfig
from engine.errors import BadConfig
from engine.knowledge import Bracket, Exposure, Knowledge

LEVERED = """
[[exposure]]
name = "a fund's loan"
asset = "ETH"
quantity = 250_000
trigger = 1780
error = 25.5
as_of = 2026-02-01T00:00:00Z
source = "on-chain"

[[exposure]]
name = "a treasury"
asset = "ETH"
side = "long"
quantity = 1e6
as_of = 2026-02-01
"""


def write(folder: Path, text: str, name: str = "file.toml") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_exposures_are_read_with_and_without_leverage(tmp_path: Path) -> None:
    first, second = load(KnowledgeFiles(exposures=write(tmp_path, LEVERED))).exposures
    as_of = 1_769_904_000_000_000_000
    assert first == Exposure(
        name="a fund's loan",
        asset="ETH",
        quantity=250_000.0,
        trigger=1780.0,
        error=25.5,
        as_of=as_of,
        source="on-chain",
    )
    assert (second.trigger, second.quantity, second.as_of) == (None, 1e6, as_of)


def test_brackets_are_read(tmp_path: Path) -> None:
    brackets = '[[bracket]]\nvenue = "one"\nnotional = 0\nrate = 0.004\n'
    known = load(KnowledgeFiles(brackets=write(tmp_path, brackets)))
    assert known.brackets == (Bracket(venue="one", notional=0.0, rate=0.004),)


def test_nothing_named_is_nothing_known() -> None:
    assert load(KnowledgeFiles()) == Knowledge()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[exposure]]\nname = 'x'\n", ["lacks asset, quantity, as_of"]),
        (LEVERED.replace("error", "eror"), ["unknown key 'eror'", "error"]),
        (LEVERED.replace("1780", "-5"), ["trigger", "-5", "above 0"]),
        (LEVERED.replace("1780", "nan"), ["trigger", "nan"]),
        (LEVERED.replace('"long"', '"up"'), ["'up'", "long and short"]),
        (LEVERED.replace("250_000", '"250000"'), ["quantity is '250000'", "a number"]),
        (LEVERED.replace("2026-02-01\n", "true\n"), ["as_of is True", "date"]),
        ("[exposure]\n", ["[[exposure]] tables only"]),
        ("[[other]]\n", ["['other']", "[[exposure]]"]),
        ("= 1", ["is not TOML"]),
    ],
)
def test_a_bad_exposure_is_refused_by_file_entry_and_value(tmp_path: Path, text: str, words: list[str]) -> None:
    name = write(tmp_path, text)
    with pytest.raises(BadConfig) as met:
        load(KnowledgeFiles(exposures=name))
    assert all(word in str(met.value) for word in [name, *words]), str(met.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="nowhere"):
        load(KnowledgeFiles(brackets=str(tmp_path / "nowhere")))


def test_what_is_known_is_part_of_the_configuration_and_of_its_digest(tmp_path: Path) -> None:
    name = write(tmp_path, LEVERED)
    config = load_config(None, {"AIRPOCKET__KNOWLEDGE__EXPOSURES": name, "AIRPOCKET__ENGINE__MAP__DRAWS": "7"})
    assert [each.name for each in config.engine.knowledge.exposures] == ["a fund's loan", "a treasury"]
    assert config.engine.map.draws == 7
    digests = {
        config.engine.digest(),
        EngineConfig().digest(),
        EngineConfig(knowledge=config.engine.knowledge).digest(),
    }
    assert len(digests) == 3


def test_a_bad_setting_of_a_signal_names_its_table() -> None:
    with pytest.raises(BadConfig, match=r"\[engine.cascade\] step is -1.0"):
        load_config(None, {"AIRPOCKET__ENGINE__CASCADE__STEP": "-1"})
