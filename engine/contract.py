"""The published contract: the field tables in, JSON Schemas and an AsyncAPI document out.

`python -m engine.contract docs` writes `docs/schema/<topic>.json` and `docs/asyncapi.json`. A signal's schema is made
of the very table that builds its records; `market.v1` is described by the SBE schema `engine/market.xml`.
"""

import importlib
import json
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from engine import signals
from engine.fields import ENVELOPES, RECORD_VERSION, WHY, Field, Signal
from engine.schema import VERSION
from engine.topics import HEADER_ENGINE, HEADER_SOURCE, MARKET, RAW, SIGNAL_LATEST, STATE, TOPICS, Topic
from engine.trust import Reason

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
KEY: Final = {"type": "string", "pattern": "^[^:|]+:.+$", "description": "`venue:SYMBOL`."}
ASSET_KEY: Final = {"type": "string", "pattern": "^[^|]+$", "description": "`venue:SYMBOL`, or the asset alone."}
BINARY: Final = {"type": "string", "format": "binary"}
SIGNAL_HEADERS: Final = {
    HEADER_SOURCE: "`<offset>:<index>`: offset of the market record that caused this one, and its place among what "
    "that record caused.",
    HEADER_ENGINE: "Hash of the engine's version and configuration: equal hashes promise equal signals for equal rows.",
}
MARKET_HEADERS: Final = {
    "asset": "Underlying asset, which decides the partition.",
    "schema": f"Version of the SBE schema, {VERSION}.",
}


def all_signals() -> list[Signal]:
    """Find every signal: the folder is the registry."""
    modules = (importlib.import_module(f"{signals.__name__}.{m.name}") for m in pkgutil.iter_modules(signals.__path__))
    return sorted((module.SIGNAL for module in modules), key=lambda signal: str(signal.name))


def record_schema(signal: Signal) -> dict[str, Any]:
    """Describe the records of a signal as a JSON Schema."""
    properties = {field.name: _property(field, bool(field.null)) for field in ENVELOPES[signal.scope]}
    properties |= {
        field.name: _property(field, bool(field.why) or (signal.needs_book and field.over != field.name))
        for field in signal.fields
    }
    properties["schema"]["const"] = RECORD_VERSION
    properties["signal"]["const"] = signal.name
    properties["reason"]["enum"] = [None, *(reason.name.lower() for reason in Reason if reason != Reason.OK)]
    nullable = [field.name for field in signal.fields if field.why]
    properties["why"] = {
        "type": "object",
        "description": "For every field that is null, or an array that holds a null, although the book is known: why.",
        "additionalProperties": False,
        "properties": {name: {"enum": list(WHY[1:])} for name in nullable},
    }
    return {
        "$schema": DIALECT,
        "$id": f"urn:airpocket:{signal.topic}" + (":asset" if signal.scope == "asset" else ""),
        "title": signal.topic,
        "description": signal.meaning,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **_states(signal),
    }


def _property(field: Field, nullable: bool) -> dict[str, Any]:
    one: dict[str, Any] = {"type": field.type}
    if field.values:
        one["enum"] = list(field.values)
    if field.over:
        if field.why:
            one["type"] = [field.type, "null"]
        one = {"type": "array", "items": one, "x-elements-of": field.over}
    one["description"] = f"{field.meaning} Null: {field.null}" if field.null else field.meaning
    if nullable:
        one["type"] = [one["type"], "null"]
        if "enum" in one:
            one["enum"] = [*one["enum"], None]
    if field.unit:
        one["x-unit"] = field.unit
    return one


def _states(signal: Signal) -> dict[str, Any]:
    """Say what the state means for the fields: an unknown book is not measured, a null of a good one is explained."""
    ok: dict[str, Any] = {"reason": {"type": "null"}}
    unknown: dict[str, Any] = {"reason": {"type": "string"}}
    if signal.needs_book:
        measured = [field for field in signal.fields if field.over != field.name]
        ok |= {field.name: {"not": {"type": "null"}} for field in measured if field.over or not field.why}
        unknown |= {field.name: {"type": "null"} for field in measured} | {"why": {"maxProperties": 0}}
    given = {"not": {"type": "null"}}
    explained = [
        {"anyOf": [{"properties": {name: given}}, {"properties": {"why": {"required": [name]}}}]}
        for name in (field.name for field in signal.fields if field.why and not field.over)
    ]
    return {
        "if": {"properties": {"state": {"const": "ok"}}},
        "then": {"properties": ok, "allOf": explained},
        "else": {"properties": unknown},
    }


def asyncapi(found: Sequence[Signal]) -> dict[str, Any]:
    """Describe every topic: address, key, headers, payload, retention."""
    messages = {MARKET: _market(), STATE: _state(), RAW: _raw()}
    for topic in sorted({signal.topic for signal in found}):
        messages[topic] = _signal(topic, [signal for signal in found if signal.topic == topic])
    messages[SIGNAL_LATEST] = _latest(found)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "airpocket",
            "version": "1",
            "description": "Order books, and what is computed from them, as Kafka topics. "
            "Times are nanoseconds since 1970-01-01 UTC; Kafka's own record time is the same in milliseconds.",
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic, topic.name in messages) for topic in TOPICS},
        "operations": {
            f"send-{name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": [{"$ref": f"#/channels/{name}/messages/record"}],
            }
            for name in (topic.name for topic in TOPICS)
            if name in messages
        },
        "components": {"messages": messages},
    }


def _channel(topic: Topic, defined: bool) -> dict[str, Any]:
    placed = "the underlying asset (CRC-32 of its name)" if topic.by_asset else "the key"
    text = f"The partition is chosen by {placed}."
    return {
        "address": topic.name,
        "description": text if defined else f"{text} Reserved: this version writes nothing to it.",
        "messages": {"record": {"$ref": f"#/components/messages/{topic.name}"}} if defined else {},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "topicConfiguration": {"cleanup.policy": [topic.cleanup], "retention.ms": topic.retention},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _message(name: str, summary: str, kind: str, payload: Any, key: Any, headers: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "summary": summary,
        "contentType": kind,
        "headers": {
            "type": "object",
            "properties": {header: {"type": "string", "description": text} for header, text in headers.items()},
            "required": list(headers),
        },
        "payload": payload,
        "bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}},
    }


def _signal(topic: str, found: Sequence[Signal]) -> dict[str, Any]:
    meaning = " ".join(signal.meaning for signal in sorted(found, key=lambda signal: signal.scope != "instrument"))
    key = ASSET_KEY if any(signal.scope == "asset" for signal in found) else KEY
    return _message(topic, meaning, "application/json", _payload(found), key, SIGNAL_HEADERS)


def _payload(found: Sequence[Signal]) -> dict[str, Any]:
    references = [{"$ref": path_of(signal)} for signal in found]
    return {
        "schemaFormat": "application/schema+json;version=draft-2020-12",
        "schema": references[0] if len(references) == 1 else {"oneOf": references},
    }


def path_of(signal: Signal) -> str:
    """Name the file that holds a signal's schema, below the folder of the documents."""
    return f"schema/{signal.topic}{'.asset' if signal.scope == 'asset' else ''}.json"


def _latest(found: Sequence[Signal]) -> dict[str, Any]:
    names = "|".join(dict.fromkeys(signal.name for signal in found))
    key = {
        "type": "string",
        "pattern": rf"^({names})\|.+$",
        "description": "`signal|venue:SYMBOL` or `signal|ASSET`: compaction keeps the newest record of each.",
    }
    payload = _payload(found)
    text = "For late joiners: twins of the signals' records, every change of state and else at most one a second."
    return _message(SIGNAL_LATEST, text, "application/json", payload, key, SIGNAL_HEADERS)


def _market() -> dict[str, Any]:
    # A reader of this document takes every $ref for JSON or YAML, so the XML is named by an extension.
    payload = {**BINARY, "x-sbe-schema": "../engine/market.xml"}
    text = "Rows of one instrument within one linger interval: SBE messages one after another."
    return _message(MARKET, text, "application/vnd.sbe", payload, KEY, MARKET_HEADERS)


def _state() -> dict[str, Any]:
    key = {"type": "string", "description": "`partition/slot/part`: two slots take turns, `commit` is the last part."}
    headers = {"snapshot": "SHA-256 of the whole snapshot that the part belongs to."}
    text = "Memory of an engine shard, for its own next start; of no meaning to anybody else."
    return _message(STATE, text, "application/octet-stream", BINARY, key, headers)


def _raw() -> dict[str, Any]:
    key = {"type": "string", "description": "Venue."}
    text = "Frames exactly as the venue sent them."
    return _message(RAW, text, "application/octet-stream", BINARY, key, {})


def documents() -> dict[str, str]:
    """Write every document: its path below the folder, and its text."""
    found = all_signals()
    written = {path_of(signal): record_schema(signal) for signal in found}
    written["asyncapi.json"] = asyncapi(found)
    return {path: json.dumps(document, indent=2) + "\n" for path, document in written.items()}


def main(arguments: list[str]) -> int:
    """Put the documents into a folder (default `docs`); with `--check` only say which of them are not current."""
    folder = Path(next((word for word in arguments if word != "--check"), "docs"))
    old = {path: text for path, text in documents().items() if not _says(folder / path, text)}
    if "--check" in arguments:
        sys.stderr.writelines(
            f"{folder / path} is not current: run `python -m engine.contract {folder}`\n" for path in old
        )
        return 1 if old else 0
    for path, text in old.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return 0


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
