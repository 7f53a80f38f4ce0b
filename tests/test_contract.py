"""The published contract: up to date, true of every record, and complete."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from jsonschema import Draft202012Validator

from engine import contract
from engine.config import BaselineConfig, EngineConfig
from engine.fields import ENVELOPES, WHY
from engine.pipeline import Pipeline
from engine.schema import Contract, Kind
from engine.topics import HEADER_ENGINE, HEADER_SOURCE, SIGNAL_DEPTH, SIGNAL_LATEST, TOPICS
from engine.trust import Reason
from tests.stream import instrument, market, message, opening

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CONFIG = EngineConfig(bands=(10, 50, 500), notionals=(100, 10_000), baseline=BaselineConfig(bands=(10, 50)))


def schemas() -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for signal in contract.all_signals():
        schema = contract.record_schema(signal)
        Draft202012Validator.check_schema(schema)
        found[signal.topic, signal.scope] = Draft202012Validator(schema)
    return found


def odd_books() -> list[Any]:
    """Books that leave something undefined: one-sided, empty, wide, quanto."""
    quanto = instrument("quanto", contract=Contract.QUANTO)
    one, empty, wide = instrument("onesided"), instrument("empty"), instrument("wide")
    levels = {
        "onesided": (one, [(9_990, 1)], []),
        "empty": (empty, [], []),
        "wide": (wide, [(5_000, 1)], [(15_000, 1)]),
    }
    batches = [*opening(0, unit=quanto)]
    for unit, bids, asks in levels.values():
        batches.append(message(Kind.INSTRUMENT, 1, (), (), unit))
        batches.append(message(Kind.SNAPSHOT, 1, bids, asks, unit, last=1, epoch=1))
    return batches


def test_the_documents_are_up_to_date() -> None:
    written = contract.documents()
    for path, text in written.items():
        assert (DOCS / path).read_text() == text, f"run `python -m engine.contract docs`: {path} is out of date"
    assert {p.name for p in (DOCS / "schema").iterdir()} == {Path(p).name for p in written if "/" in p}


def test_the_documents_can_be_written_anywhere(tmp_path: Path) -> None:
    check = ["--check", str(tmp_path)]
    assert contract.main(check) == 1
    assert not list(tmp_path.iterdir()), "a check writes nothing"
    assert contract.main([str(tmp_path)]) == 0
    assert (tmp_path / "asyncapi.json").read_text() == contract.documents()["asyncapi.json"]
    assert contract.main(check) == 0
    (tmp_path / "asyncapi.json").write_text("{}")
    assert contract.main(check) == 1


def test_every_record_is_what_its_schema_says() -> None:
    validators = schemas()
    pipeline = Pipeline("A", CONFIG)
    records = [record for batch in [*odd_books(), *market(11, 900)] for record in pipeline.step(batch)]
    scopes, states, whys = set(), set(), set()
    for record in records:
        value = orjson.loads(record.value)
        topic = f"signal.{value['signal']}.v1"
        assert record.topic in (topic, SIGNAL_LATEST)
        scope = "instrument" if "instrument" in value else "asset"
        assert record.key.rpartition("|")[2] == value[scope]
        problem = next(validators[topic, scope].iter_errors(value), None)
        assert problem is None, f"{problem.json_path}: {problem.message}" if problem else ""
        scopes.add((value["signal"], scope))
        states.add(value["reason"])
        whys |= set(value["why"].values())
    assert scopes == {(signal.name, signal.scope) for signal in contract.all_signals()}
    assert {None, "gap", "stale", "crossed", "halted"} <= states
    assert {"one_sided", "no_depth", "too_few_bands", "unfilled", "quanto", "no_stamp"} <= whys <= set(WHY)


@pytest.mark.parametrize(
    "change",
    [
        {"mid": None},
        {"mid": "100"},
        {"bands": None},
        {"reason": "gap"},
        {"state": "unknown", "reason": "gap"},
        {"bid_base": None},
        {"why": {"mid": "because"}},
        {"surplus": 1},
    ],
)
def test_a_wrong_record_is_refused(change: dict[str, Any]) -> None:
    pipeline = Pipeline("A", CONFIG)
    records = [r for batch in opening(0) for r in pipeline.step(batch) if r.topic == SIGNAL_DEPTH]
    good = orjson.loads(records[-1].value)
    validator = schemas()[SIGNAL_DEPTH, "instrument"]
    assert validator.is_valid(good)
    assert not validator.is_valid(good | change)


def test_records_open_with_the_envelope_and_follow_the_table() -> None:
    pipeline = Pipeline("A", CONFIG)
    records = [r for batch in [*opening(0), *market(3, 300)] for r in pipeline.step(batch)]
    for signal in contract.all_signals():
        alike = [r for r in records if r.topic == signal.topic and (":" in r.key) == (signal.scope == "instrument")]
        assert alike
        for record in alike:
            value = orjson.loads(record.value)
            assert list(value) == [field.name for field in (*ENVELOPES[signal.scope], *signal.fields)] + ["why"]


def test_no_number_is_written_that_json_cannot_hold() -> None:
    pipeline = Pipeline("A", CONFIG)
    for batch in [*odd_books(), *market(12, 300)]:
        for record in pipeline.step(batch):
            numbers = [v for v in orjson.loads(record.value).values() if isinstance(v, float)]
            assert all(math.isfinite(number) for number in numbers)
        for row in (*pipeline._settings.rows.values(), *pipeline._settings.asset_rows.values()):
            floats = [row[name] for name in row.dtype.names or () if row.dtype[name].base.kind == "f"]
            assert all(np.isfinite(cells).all() for cells in floats)


def test_asyncapi_names_every_topic_key_and_header() -> None:
    document = json.loads((DOCS / "asyncapi.json").read_text())
    assert document["asyncapi"] == "3.0.0"
    assert [channel["address"] for channel in document["channels"].values()] == [topic.name for topic in TOPICS]
    messages = document["components"]["messages"]
    for message_of in messages.values():
        assert message_of["bindings"]["kafka"]["key"]["description"]
    for signal in contract.all_signals():
        assert set(messages[signal.topic]["headers"]["properties"]) == {HEADER_SOURCE, HEADER_ENGINE}
        assert messages[signal.topic]["contentType"] == "application/json"


def test_asyncapi_points_at_the_sbe_schema_of_the_market() -> None:
    document = json.loads((DOCS / "asyncapi.json").read_text())
    market_of = document["components"]["messages"]["market.v1"]
    assert market_of["contentType"] == "application/vnd.sbe"
    assert (DOCS / market_of["payload"]["x-sbe-schema"]).resolve() == ROOT / "engine" / "market.xml"
    assert (ROOT / "engine" / "market.xml").is_file()
    assert set(market_of["headers"]["properties"]) == {"asset", "schema"}


def test_every_reference_of_asyncapi_leads_somewhere() -> None:
    document = json.loads((DOCS / "asyncapi.json").read_text())

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [found for child in node.values() for found in references(child)]
        return [found for child in node for found in references(child)] if isinstance(node, list) else []

    for reference in references(document):
        if not reference.startswith("#/"):
            assert (DOCS / reference).is_file(), reference
            continue
        at: Any = document
        for part in reference[2:].split("/"):
            at = at[part]


def test_the_page_names_every_field_and_reason() -> None:
    page = (DOCS / "signals.md").read_text()
    names = {field.name for signal in contract.all_signals() for field in (*ENVELOPES[signal.scope], *signal.fields)}
    words = names | set(WHY[1:]) | {reason.name.lower() for reason in Reason}
    assert sorted(word for word in words if f"`{word}`" not in page) == []
