"""What a desk knows, read from files: exact values in, clear refusals out, and all of it in the engine's digest."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airpocket.config import load as load_config
from airpocket.knowledge import KnowledgeFiles, load, write_model
from engine.config import EngineConfig
from engine.errors import BadConfig
from engine.knowledge import Bracket, Exposure, Knowledge, MarkRule, Model
from engine.probability import MOST_KNOTS, ORDER

LEVERED = """
[[exposure]]
name = "a fund's loan"
asset = "ETH"
quantity = 250_000
trigger = 1780
error = 25.5
bankruptcy = 1_700
instrument = "one:ETHUSD"
as_of = 2026-02-01T00:00:00Z
source = "on-chain"

[[exposure]]
name = "a treasury"
asset = "ETH"
side = "long"
quantity = 1e6
as_of = 2026-02-01
"""

MODEL = """
inputs = ["ratio", "spread"]
weights = [1, 0.5]
intercept = -1.5
knots = [0.1, 0.5]
values = [0.01, 0.2]
horizon = 30
base_rate = 0.02
events = 60
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
        bankruptcy=1700.0,
        instrument="one:ETHUSD",
        as_of=as_of,
        source="on-chain",
    )
    assert (second.trigger, second.quantity, second.as_of) == (None, 1e6, as_of)


def test_brackets_are_read(tmp_path: Path) -> None:
    brackets = '[[bracket]]\nvenue = "one"\nnotional = 0\nrate = 0.004\n'
    known = load(KnowledgeFiles(brackets=write(tmp_path, brackets)))
    assert known.brackets == (Bracket(venue="one", notional=0.0, rate=0.004),)


def test_marks_are_read(tmp_path: Path) -> None:
    text = '[[mark]]\nvenue = "one"\nindex = 0.6\naverage = 150\n\n[[mark]]\nindex = 1\nof = "mid"\nclamp = 0.05\n'
    known = load(KnowledgeFiles(marks=write(tmp_path, text)))
    assert known.marks == (
        MarkRule(venue="one", index=0.6, average=150.0),
        MarkRule(index=1.0, of="mid", clamp=0.05),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[mark]]\nvenue = 'one'\n", ["mark 1 lacks index"]),
        ("[[mark]]\nindex = 2\n", ["mark 1", "index of the mark of all venues is 2.0"]),
        ("[[mark]]\nindex = 0.1\n[[mark]]\nindex = 0.2\n", ["all venues has 2 marks, allowed is one"]),
    ],
)
def test_a_bad_mark_is_refused_by_value(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(BadConfig) as met:
        load(KnowledgeFiles(marks=write(tmp_path, text)))
    assert all(word in str(met.value) for word in words), str(met.value)


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
        (LEVERED.replace("1_700", "1781"), ["bankruptcy", "1781.0", "of a long are prices below its trigger, 1780.0"]),
        (LEVERED.replace("1_700", "0"), ["bankruptcy", "is 0.0", "above 0"]),
        (LEVERED.replace("1_700", "inf"), ["bankruptcy", "is inf", "above 0"]),
        (LEVERED.replace("trigger = 1780\n", ""), ["bankruptcy", "none without a trigger"]),
        (LEVERED.replace("one:ETHUSD", "ETHUSD"), ["instrument", "'ETHUSD'", "venue:SYMBOL"]),
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


def test_a_model_is_read(tmp_path: Path) -> None:
    assert load(KnowledgeFiles(model=write(tmp_path, MODEL))).model == Model(
        inputs=("ratio", "spread"),
        weights=(1.0, 0.5),
        intercept=-1.5,
        knots=(0.1, 0.5),
        values=(0.01, 0.2),
        horizon=30,
        base_rate=0.02,
        events=60,
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("events", "event", ["unknown key 'event'", "inputs, weights, intercept"]),
        ("events = 60\n", "", ["lacks events"]),
        ('["ratio", "spread"]', '"ratio"', ["inputs is 'ratio'", "a list"]),
        ('["ratio", "spread"]', "[1, 2]", ["inputs[0] is 1", "text"]),
        ('"spread"', '"depth"', ["'depth'", "allowed are ratio, ratio_wide"]),
        ('"spread"', '"ratio"', ["inputs of the model are ('ratio', 'ratio')", "each once"]),
        (
            '["ratio", "spread"]\nweights = [1, 0.5]',
            "[]\nweights = []",
            ["inputs of the model are ()", "one name or more"],
        ),
        ("[1, 0.5]", "[1, true]", ["weights[1] is True", "a number"]),
        ("[1, 0.5]", "[1]", ["2 inputs and 1 weights", "one for one"]),
        ("[1, 0.5]", "[1, nan]", ["weights are (1.0, nan)", "finite"]),
        ("[1, 0.5]", "[1, 1e101]", ["weights", "1e+100"]),
        ("[1, 0.5]", f"[1, 1{'0' * 400}]", ["weights[1] is 1000", "a number"]),
        ("-1.5", "inf", ["intercept is inf", "finite"]),
        ("[0.1, 0.5]", "[0.5, 0.1]", ["knots are (0.5, 0.1)", "ascending"]),
        ("[0.1, 0.5]", "[0.1]", ["1 knots and 2 values", "one for one"]),
        ("[0.1, 0.5]\nvalues = [0.01, 0.2]", "[]\nvalues = []", ["knots are none"]),
        ("[0.01, 0.2]", "[0.2, 0.01]", ["values are (0.2, 0.01)", "ascending"]),
        ("[0.01, 0.2]", "[0.01, nan]", ["values are (0.01, nan)", "finite"]),
        ("[0.01, 0.2]", "[0.01, 1.5]", ["values are (0.01, 1.5)", "from 0 to 1"]),
        ("= 30", "= 0", ["horizon is 0", "from 1 to"]),
        ("= 30", "= 30.5", ["horizon is 30.5", "a whole number"]),
        ("= 60", "= -1", ["events is -1", "from 0 to"]),
        ("= 60", f"= 1{'0' * 30}", ["events is 1000", "from 0 to"]),
        ("0.02", "1", ["base_rate is 1.0", "between 0 and 1"]),
        ("0.02", "'x'", ["base_rate is 'x'", "a number"]),
    ],
)
def test_a_bad_model_is_refused_by_file_key_and_value(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in MODEL
    name = write(tmp_path, MODEL.replace(old, new))
    with pytest.raises(BadConfig) as met:
        load(KnowledgeFiles(model=name))
    assert all(word in str(met.value) for word in [name, *words]), str(met.value)


numbers = st.floats(-1e100, 1e100)
chances = st.lists(st.floats(0, 1), min_size=1, max_size=MOST_KNOTS).map(sorted)


@settings(max_examples=100, deadline=None)
@given(
    names=st.lists(st.sampled_from(ORDER), min_size=1, unique=True),
    weights=st.lists(numbers, min_size=len(ORDER), max_size=len(ORDER)),
    intercept=numbers,
    knots=chances,
    value=st.floats(0, 1),
    base_rate=st.floats(0, 1, exclude_min=True, exclude_max=True),
    counts=st.tuples(st.integers(1, 10**9), st.integers(0, 10**9)),
    source=st.text(),
)
def test_a_model_that_is_written_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    weights: list[float],
    intercept: float,
    knots: list[float],
    value: float,
    base_rate: float,
    counts: tuple[int, int],
    source: str,
) -> None:
    model = Model(
        inputs=tuple(names),
        weights=tuple(weights[: len(names)]),
        intercept=intercept,
        knots=tuple(knots),
        values=(value,) * len(knots),
        horizon=counts[0],
        base_rate=base_rate,
        events=counts[1],
        source=source,
    )
    file = tmp_path_factory.getbasetemp() / "model.toml"
    file.write_text(write_model(model), encoding="utf-8", newline="")
    again = load(KnowledgeFiles(model=str(file))).model
    assert again == model
    assert repr(again) == repr(model)


def test_a_model_is_part_of_the_digest_and_its_absence_too(tmp_path: Path) -> None:
    name, other = write(tmp_path, MODEL), write(tmp_path, MODEL.replace("-1.5", "-1.25"), "other.toml")
    configs = [load_config(None, {"AIRPOCKET__KNOWLEDGE__MODEL": file}).engine for file in (name, other)]
    assert configs[0].knowledge.model is not None
    assert len({EngineConfig().digest(), *(config.digest() for config in configs)}) == 3


def test_the_vacuum_is_set_by_file_and_environment(tmp_path: Path) -> None:
    name = write(tmp_path, "[engine.vacuum]\nthin_ratio = 0.45\nthin_for = 1500\n")
    config = load_config(name, {"AIRPOCKET__ENGINE__VACUUM__GAP": "750"}).engine
    assert (config.vacuum.thin_ratio, config.vacuum.thin_for, config.vacuum.gap) == (0.45, 1_500, 750)
    assert config.digest() != EngineConfig().digest()
    with pytest.raises(BadConfig, match=r"\[engine.vacuum\] thin_for is -1"):
        load_config(None, {"AIRPOCKET__ENGINE__VACUUM__THIN_FOR": "-1"})
