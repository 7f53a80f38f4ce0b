"""Knowledge from files: exposures, margin brackets, marks, reference levels and a fitted model as TOML in, values out.

# exposures.toml                                  # brackets.toml
[[exposure]]                                      [[bracket]]
name = "a fund's loan"                            venue = "binance_usdm"
asset = "ETH"                                     notional = 0
quantity = 250_000                                rate = 0.004
trigger = 1_780          # none: unlevered        amount = 0
error = 25
bankruptcy = 1_700      # none: sold at any price
as_of = 2026-02-01T00:00:00Z
source = "on-chain"

# marks.toml
[[mark]]
venue = "hyperliquid"    # none: every venue without a rule of its own
index = 0.6              # share of a fall that other venues have too
average = 150            # s

# references.toml
[[reference]]
asset = "BTC"
band = 100
depth = 14_000_000       # measured since: what it was before follows from the share that was left
as_of = 2025-11-11T00:00:00Z

# model.toml, as `write_model` writes it: the keys of engine.knowledge.Model, each once
inputs = ["ratio", "spread"]
weights = [1.1, 0.6]
...
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from engine.errors import BadConfig
from engine.knowledge import Bracket, Exposure, Knowledge, MarkRule, Model, ReferenceLevel

Entry = TypeVar("Entry", Exposure, Bracket, MarkRule, ReferenceLevel)
Value = TypeVar("Value", Exposure, Bracket, MarkRule, ReferenceLevel, Model)

#: Table of each kind of file.
TABLES: Final = {Exposure: "exposure", Bracket: "bracket", MarkRule: "mark", ReferenceLevel: "reference"}
NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeFiles:
    """Where what the desk knows is written; empty: nothing is known."""

    #: Known holders and their triggers, TOML.
    exposures: str = ""
    #: Maintenance margin brackets per venue, TOML.
    brackets: str = ""
    #: How venues make the marks that they liquidate by, TOML.
    marks: str = ""
    #: Depth from before the event, or since, TOML.
    references: str = ""
    #: A fitted vacuum probability, TOML.
    model: str = ""


def load(files: KnowledgeFiles) -> Knowledge:
    """Read every file that is named. Raises BadConfig naming file, entry, key, the value met and what is allowed."""
    return Knowledge(
        exposures=_entries(files.exposures, Exposure) if files.exposures else (),
        brackets=_entries(files.brackets, Bracket) if files.brackets else (),
        marks=_entries(files.marks, MarkRule) if files.marks else (),
        references=_entries(files.references, ReferenceLevel) if files.references else (),
        model=_model(files.model) if files.model else None,
    )


def write_model(model: Model) -> str:
    """Give the text of a file that is read back as an equal model."""
    values = ((each.name, getattr(model, each.name)) for each in fields(Model))
    return "".join(f"{name} = {_written(value)}\n" for name, value in values)


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_written(each) for each in value)}]"
    # JSON's escapes are TOML's, but for one character that JSON leaves as it is.
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(float(value)) if isinstance(value, float) else str(value)


def _model(name: str) -> Model:
    # Only who has a model waits for the compiler.
    from engine.probability import model_of

    model = _entry(name, _tree(name), Model)
    try:
        model_of(model)
    except BadConfig as error:
        raise BadConfig(f"{name}: {error}") from None
    return model


def _tree(name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(name))
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{name} is not TOML: {error}") from None


def _entries(name: str, kind: type[Entry]) -> tuple[Entry, ...]:
    table, tree = TABLES[kind], _tree(name)
    unknown = sorted(set(tree) - {table})
    if unknown or not isinstance(tree.get(table, []), list):
        raise BadConfig(f"{name} holds {unknown or [table]}, allowed are [[{table}]] tables only")
    return tuple(_entry(f"{name}, {table} {at}", each, kind) for at, each in enumerate(tree.get(table, []), 1))


def _entry(where: str, values: Mapping[str, Any], kind: type[Value]) -> Value:
    known = {each.name: each for each in fields(kind)}
    for name in values:
        if name not in known:
            raise BadConfig(f"{where} has the unknown key {name!r}, allowed are {', '.join(known)}")
    missing = [n for n, each in known.items() if each.default is MISSING and n not in values]
    if missing:
        raise BadConfig(f"{where} lacks {', '.join(missing)}")
    given = {name: _value(where, name, str(known[name].type), value) for name, value in values.items()}
    try:
        return kind(**given)
    except BadConfig as error:
        raise BadConfig(f"{where}: {error}") from None


def _value(where: str, name: str, kind: str, value: Any) -> Any:
    if name == "as_of":
        return _moment(where, value)
    if kind.startswith("tuple"):
        if not isinstance(value, list):
            raise BadConfig(f"{where}: {name} is {value!r}, allowed is a list")
        element = kind.removeprefix("tuple[").removesuffix(", ...]")
        return tuple(_value(where, f"{name}[{at}]", element, each) for at, each in enumerate(value))
    if "str" in kind or "Literal" in kind:
        allowed, fits = "text", isinstance(value, str)
    elif "int" in kind:
        allowed, fits = "a whole number", isinstance(value, int) and not isinstance(value, bool)
    else:
        allowed, fits = "a number", isinstance(value, int | float) and not isinstance(value, bool)
    if not fits:
        raise BadConfig(f"{where}: {name} is {value!r}, allowed is {allowed}")
    try:
        return float(value) if "float" in kind else value
    except OverflowError:
        raise BadConfig(f"{where}: {name} is {value}, allowed is a number below 1.8e308") from None


def _moment(where: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime):
        raise BadConfig(f"{where}: as_of is {value!r}, allowed are a date, a date with time, and integer nanoseconds")
    met = value if value.tzinfo else value.replace(tzinfo=UTC)
    since = met - datetime.fromtimestamp(0, UTC)
    return (since.days * 86_400 + since.seconds) * NANOSECONDS + since.microseconds * 1_000


def _text(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise BadConfig(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadConfig(f"{name} cannot be read: it is not UTF-8") from None
