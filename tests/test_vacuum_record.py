"""The vacuum's record: what it says and withholds, that its schema says the same, and a model from fit to record."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pytest
from jsonschema import Draft202012Validator

from airpocket.knowledge import KnowledgeFiles, load, write_model
from engine import contract
from engine.fields import WHY, Why
from engine.inputs import INPUTS, NAMES
from engine.kernel import COMPILED
from engine.knowledge import Model
from engine.probability import ENOUGH_EVENTS, model_of, vectors
from engine.schema import Rows
from engine.signals import vacuum, vacuum_asset
from engine.statistics.evaluation import calibration_error, even_edges, roc_auc
from engine.statistics.fitting import fit_model, sigmoid
from engine.trust import Reason
from engine.vacuum import lose
from tests.vacuum_rows import CALM, GONE, START, THIN, Machine, brought, row

FITTED: Final = Model(
    inputs=("ratio", "spread"),
    weights=(1.0, 0.5),
    intercept=-1.0,
    knots=(0.1, 0.5),
    values=(0.01, 0.3),
    horizon=30,
    base_rate=0.02,
    events=ENOUGH_EVENTS,
)
SIDES: Final = ("bid", "ask")
MEASURED: Final = ("ratio", "ratio_wide", "refill", "withdrawal", "spread")


def told(machine: Machine, inputs: Rows, model: Model | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of the record now, and why some are null."""
    layout = vacuum.layout()
    out = np.zeros(1, layout.dtype)
    vacuum.report(machine.memory, model_of(model), inputs, out)
    assert all(np.isfinite(out[name]).all() for name in out.dtype.names or () if out.dtype[name].kind == "f")
    return layout.values(out)


def valid(fields: dict[str, Any], why: dict[str, str], reason: Reason | None = None) -> None:
    """Hold the values against the schemas of both records, within an envelope each."""
    state = {"state": "unknown" if reason else "ok", "reason": reason.name.lower() if reason else None}
    head = {"schema": 1, "signal": "vacuum", "asset": "A", "time": START, **state}
    one = {"instrument": "one:A", "venue": "one", "symbol": "A", "quote": "USD", "received": START}
    one |= {"exchanged": None, "last": None, "epoch": 1}
    for signal, envelope in ((vacuum.SIGNAL, {**head, **one}), (vacuum_asset.SIGNAL, {**head, "line": START})):
        schema = contract.record_schema(signal)
        Draft202012Validator.check_schema(schema)
        record = orjson.loads(orjson.dumps({**envelope, **fields, "why": why}))
        validator: Any = Draft202012Validator(schema)
        problem = next(validator.iter_errors(record), None)
        assert problem is None, f"{problem.json_path}: {problem.message}" if problem else ""


def test_a_record_shows_the_state_its_inputs_and_what_brought_it_about() -> None:
    machine = brought("thin")
    began = machine.now
    inputs = row({**CALM, "ratio": 0.45, "ratio_wide": 0.9}, {**THIN, "refill": "too_early"})
    fields, why = told(machine, inputs)
    assert [fields[f"{side}_state"] for side in SIDES] == ["thin", "thin"]
    assert [fields[f"{side}_before"] for side in SIDES] == ["normal", "normal"]
    assert [fields[f"{side}_cause"] for side in SIDES] == ["none", "none"]
    assert (fields["bid_since"], fields["bid_transitions"]) == (began, 2)
    assert [fields[f"bid_{name}"] for name in MEASURED] == [0.45, 0.9, 0.8, 0.1, 1.0]
    assert [fields[f"ask_{name}"] for name in MEASURED] == [0.4, None, None, 0.1, 1.0]
    assert [why[f"ask_{name}"] for name in ("ratio_wide", "refill")] == ["too_early", "too_early"]
    assert [fields[f"bid_entry_{name}"] for name in ("ratio", "refill", "withdrawal", "spread")] == [0.4, 0.8, 0.1, 1.0]
    valid(fields, why)


@pytest.mark.parametrize("reason", list(Reason)[1:])
def test_of_an_unknown_book_the_record_holds_states_and_cause_alone(reason: Reason) -> None:
    machine = brought("vacuum")
    lose(machine.memory, int(reason), machine.now + 7)
    # What the inputs were last is no measurement of now.
    fields, why = told(machine, row(dict.fromkeys(NAMES, 1.0)), FITTED)
    for side in SIDES:
        assert (fields[f"{side}_state"], fields[f"{side}_cause"]) == ("unknown", reason.name.lower())
        assert (fields[f"{side}_before"], fields[f"{side}_since"]) == ("vacuum", machine.now + 7)
        empty = [*MEASURED, *(f"entry_{name}" for name in MEASURED if name != "ratio_wide")]
        for name in (*empty, "probability", "raw_probability", "lift"):
            assert (fields[f"{side}_{name}"], why[f"{side}_{name}"]) == (None, "unknown_book"), name
    assert (fields["horizon"], fields["base_rate"], fields["events"]) == (30, 0.02, ENOUGH_EVENTS)
    valid(fields, why, reason)


def test_before_the_first_row_a_record_is_unsynced() -> None:
    fields, why = told(Machine(), np.zeros(1, INPUTS))
    assert (fields["bid_state"], fields["bid_cause"], fields["bid_transitions"]) == ("unknown", "unsynced", 0)
    assert why["bid_ratio"] == "unknown_book"
    valid(fields, why, Reason.UNSYNCED)


@pytest.mark.parametrize("word", ["one_sided", "no_baseline"])
def test_a_side_without_a_ratio_is_unknown_in_a_known_book(word: str) -> None:
    machine, blind = Machine(), {**CALM, "ratio": word}
    machine.see(blind, CALM)
    fields, why = told(machine, row(blind, CALM))
    assert (fields["bid_state"], fields["bid_cause"], fields["ask_state"]) == ("unknown", word, "normal")
    assert (fields["bid_ratio"], why["bid_ratio"], fields["bid_refill"]) == (None, word, 0.8)
    valid(fields, why)


def test_what_left_a_side_unknown_is_noted_too() -> None:
    machine, blind = brought("normal"), {**CALM, "ratio": "no_baseline"}
    machine.see(blind)
    fields, why = told(machine, row(CALM))
    assert (fields["bid_entry_ratio"], why["bid_entry_ratio"], fields["bid_entry_refill"]) == (None, "no_baseline", 0.8)


def test_where_all_is_defined_nothing_is_withheld() -> None:
    out = np.zeros(1, vacuum.layout().dtype)
    vacuum.report(brought("thin").memory, model_of(FITTED), row(dict.fromkeys(NAMES, 1.0)), out)
    assert out["undefined"] == 0
    fields, why = vacuum.layout().values(out)
    assert (why, None in fields.values()) == ({}, False)


def test_a_probability_comes_with_its_base_rate_its_lift_and_its_events() -> None:
    machine = brought("thin")
    fields, why = told(machine, row(GONE, CALM), FITTED)
    score = -1.0 - np.log(0.1) + 0.5 * np.log(9.0)
    assert fields["bid_raw_probability"] == pytest.approx(1 / (1 + np.exp(-score)), rel=1e-15)
    assert (fields["bid_probability"], fields["bid_lift"]) == (0.3, pytest.approx(15.0))
    assert (fields["ask_probability"], fields["ask_lift"]) == (0.01, pytest.approx(0.5))
    assert (fields["horizon"], fields["base_rate"], fields["events"]) == (30, 0.02, ENOUGH_EVENTS)
    assert not {name for name in why if "probability" in name or "lift" in name}
    valid(fields, why)


def changed(**values: Any) -> Model:
    return Model(**({name: getattr(FITTED, name) for name in FITTED.__slots__} | values))


@pytest.mark.parametrize(
    ("model", "seen", "word", "events"),
    [
        (None, GONE, "uncalibrated", None),
        (changed(events=ENOUGH_EVENTS - 1), GONE, "uncalibrated", ENOUGH_EVENTS - 1),
        (FITTED, {**GONE, "spread": "one_sided"}, "missing_input", ENOUGH_EVENTS),
    ],
)
def test_without_a_model_that_can_answer_there_is_no_probability(
    model: Model | None, seen: Any, word: str, events: int | None
) -> None:
    fields, why = told(brought("thin"), row(seen), model)
    for name in ("probability", "raw_probability", "lift"):
        assert (fields[f"bid_{name}"], why[f"bid_{name}"]) == (None, word)
    assert fields["events"] == events
    assert [why.get(name) for name in ("horizon", "base_rate", "events")] == [None if events else word] * 3
    valid(fields, why)


def test_the_rarest_event_has_a_finite_lift() -> None:
    fields, _ = told(brought("thin"), row(GONE), changed(base_rate=5e-324))
    assert fields["bid_lift"] == pytest.approx(3e11)


def test_a_record_that_its_schema_forbids_is_refused() -> None:
    fields, why = told(brought("thin"), row(GONE))
    for wrong in ({"bid_state": "gone"}, {"bid_cause": "because"}, {"bid_ratio": None}, {"surplus": 1}):
        with pytest.raises(AssertionError):
            valid({**fields, **wrong}, why)


def test_both_records_are_of_one_topic_and_one_shape() -> None:
    assert (vacuum_asset.SIGNAL.name, vacuum_asset.SIGNAL.topic) == (vacuum.SIGNAL.name, vacuum.SIGNAL.topic)
    assert (vacuum.SIGNAL.scope, vacuum_asset.SIGNAL.scope) == ("instrument", "asset")
    assert contract.path_of(vacuum_asset.SIGNAL) == "schema/signal.vacuum.v1.asset.json"
    assert WHY[Why.UNCALIBRATED :] == ("uncalibrated", "unknown_book", "missing_input")


# A model from fit to record


def market(count: int, seed: int) -> tuple[Rows, np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, Any]]:
    """Moments whose chance of a vacuum on the bid side is known; not quite logistic, so that calibration has work."""
    random = np.random.default_rng(seed)
    inputs = np.zeros(count, INPUTS)
    inputs["ratio"] = np.exp(random.normal(0.0, 0.7, (count, 2)))
    inputs["spread"] = np.exp(random.normal(0.0, 0.7, (count, 2)))
    score = -2.0 - 1.5 * np.log(inputs["ratio"][:, 0]) + 0.8 * np.log(inputs["spread"][:, 0])
    truth = 0.9 * sigmoid(score) ** 1.5
    return inputs, (random.random(count) < truth).astype(np.int64), truth


def test_a_model_fitted_on_a_known_truth_speaks_it_in_the_record(tmp_path: Path) -> None:
    names = ("ratio", "spread")
    folds = [market(4_000, seed) for seed in (1, 2, 3)]
    (first, y, _), (second, seen, _), (later, held, truth) = folds
    training, calibration = (vectors(names, first, 0)[0], y), (vectors(names, second, 0)[0], seen)
    fitted = fit_model(names, training, calibration, horizon=60, events=int(np.sum(y)), source='a "synthetic" market')
    file = tmp_path / "model.toml"
    file.write_text(write_model(fitted), encoding="utf-8")
    model = load(KnowledgeFiles(model=str(file))).model
    assert model == fitted
    found, machine = np.zeros(len(later)), brought("normal")
    row_of, layout = model_of(model), vacuum.layout()
    out = np.zeros(1, layout.dtype)
    for i in range(len(later)):
        vacuum.report(machine.memory, row_of, later[i : i + 1].copy(), out)
        found[i] = out["bid_probability"][0]
    assert calibration_error(held, found, even_edges(10)) < 0.03
    assert float(np.mean(np.abs(found - truth))) < 0.03
    assert roc_auc(held, found) > 0.8
    # The same ranks, off by a factor, are not calibrated: the measure can fail.
    assert calibration_error(held, 0.3 * found, even_edges(10)) > 0.05
    few = fit_model(names, training, calibration, horizon=60, events=ENOUGH_EVENTS - 1)
    fields, why = told(machine, later[:1].copy(), few)
    assert (fields["bid_probability"], why["bid_probability"]) == (None, "uncalibrated")


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_the_kernels_compile_once() -> None:
    told(brought("thin"), row(GONE), FITTED)
    # What it calls may have come with it from the cache.
    fill: Any = vacuum.fill
    assert len(fill.signatures) == 1
