"""Configuration keys: frozen dataclasses in, a flat table of typed keys out, and values checked against them.

A key is a dotted path such as `kafka.bootstrap`; one part may be `*`, a name of the operator's choice. Every refusal
names the key, where the value came from, the value met and the values allowed; a secret's value is never repeated.
"""

import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from engine.errors import BadConfig

#: Fields that hold a secret unless their metadata says otherwise; each may come by environment or by its `_file` twin.
SECRETS: Final = ("password", "token", "secret")
MASK: Final = "********"
#: Name and password of a URL.
USER: Final = re.compile(r"//[^/@\s]+@")
TRUE: Final = ("true", "1", "yes", "on")
FALSE: Final = ("false", "0", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key that may be configured."""

    path: tuple[str, ...]
    kind: Any
    default: Any
    secret: bool

    @property
    def name(self) -> str:
        """Spell the key as a file's dotted path."""
        return ".".join(self.path)


def flatten(section: type[Any], prefix: tuple[str, ...]) -> list[Key]:
    """List every key of a dataclass; a mapping of dataclasses becomes keys below `*`.

    A field whose metadata says `key: False` is no key.
    """
    hints = get_type_hints(section)
    keys: list[Key] = []
    for entry in fields(section):
        if not entry.metadata.get("key", True):
            continue
        path, kind = (*prefix, entry.name), hints[entry.name]
        if is_dataclass(kind) and isinstance(kind, type):
            keys += flatten(kind, path)
        elif get_origin(kind) is not None and _is_class(get_origin(kind), Mapping):
            keys += flatten(get_args(kind)[1], (*path, "*"))
        else:
            default = entry.default if entry.default_factory is MISSING else entry.default_factory()
            secret = bool(entry.metadata.get("secret", entry.name.endswith(SECRETS)))
            keys.append(Key(path=path, kind=kind, default=default, secret=secret))
    return keys


def _is_class(kind: Any, parent: type[Any]) -> bool:
    """Tell whether a type annotation's origin is such a class; `Union` and `Literal` are not classes."""
    return isinstance(kind, type) and issubclass(kind, parent)


def find(path: tuple[str, ...], keys: Sequence[Key], origin: str) -> Key:
    """Find the key of a path, or refuse it naming the nearest known ones."""
    for key in keys:
        if len(key.path) == len(path) and all(k in ("*", p) for k, p in zip(key.path, path, strict=True)):
            return key
    known = [".".join(p if k == "*" else k for k, p in pad(key.path, path)) for key in keys]
    near = get_close_matches(".".join(path), known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}" if near else f"sections are {', '.join(sorted({k.path[0] for k in keys}))}"
    raise BadConfig(f"unknown key {'.'.join(path)!r} ({origin}); {hint}")


def pad(known: tuple[str, ...], met: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pair a known path with a met one, so that `*` takes the operator's own word in a suggestion."""
    return [(k, met[i] if i < len(met) else "<name>") for i, k in enumerate(known)]


def allowed(kind: Any) -> str:
    """Say in words which values a type takes."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(str(a) for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join(allowed(a) for a in args if a is not type(None)) + ", or nothing"
    if origin is tuple:
        return f"a list of {allowed(args[0])}"
    return {bool: "true or false", int: "whole numbers", float: "numbers", str: "text"}[kind]


def cast(key: Key, value: Any, origin: str) -> Any:
    """Check a value against its key's type; text (environment, flag) is read, a TOML value must already be right."""
    try:
        return _cast(key.kind, value)
    except ValueError:
        met = MASK if key.secret else repr(value)
        raise BadConfig(f"{key.name} is {met} ({origin}), allowed are {allowed(key.kind)}") from None


def _cast(kind: Any, value: Any) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value in (None, "") else _cast(next(a for a in args if a is not type(None)), value)
    if origin is tuple:
        parts = [p.strip() for p in value.split(",") if p.strip()] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise ValueError
        return tuple(_cast(args[0], p) for p in parts)
    if origin is Literal:
        return next(a for a in args if str(a) == str(value)) if str(value) in map(str, args) else _refuse()
    return _scalar(kind, value)


def _scalar(kind: Any, value: Any) -> Any:
    if isinstance(value, bool) is not (kind is bool) and not isinstance(value, str):
        return _refuse()
    if kind is bool and isinstance(value, str):
        return value.lower() in TRUE if value.lower() in TRUE + FALSE else _refuse()
    if kind is int and isinstance(value, str | int):
        return int(value)
    if kind is float and isinstance(value, str | int | float):
        return float(value) if isfinite(float(value)) else _refuse()
    return value if isinstance(value, kind) else _refuse()


def _refuse() -> Any:
    raise ValueError


def shown(key: Key, value: Any) -> str:
    """Word a value for people: a secret as stars, and whoever a URL logs in as."""
    if key.secret:
        return MASK if value else ""
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
    return USER.sub(f"//{MASK}@", text)


def schema(keys: Sequence[Key]) -> dict[str, Any]:
    """Emit the JSON Schema of a configuration file: editors complete from it, and refuse what we refuse."""
    root: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
    for key in keys:
        if key.secret:
            continue
        node = root
        for part in key.path[:-1]:
            empty = {"type": "object", "properties": {}, "additionalProperties": False}
            if part == "*":
                if node["additionalProperties"] is False:
                    node["additionalProperties"] = empty
                node = node["additionalProperties"]
            else:
                node = node["properties"].setdefault(part, empty)
        default = list(key.default) if isinstance(key.default, tuple) else key.default
        node["properties"][key.path[-1]] = _schema(key.kind) | {"default": default}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "airpocket", **root}


def _schema(kind: Any) -> dict[str, Any]:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(a) for a in args]}
    if origin is tuple:
        return {"type": "array", "items": _schema(args[0])}
    return {"type": {bool: "boolean", int: "integer", float: "number", str: "string"}.get(kind, "null")}
