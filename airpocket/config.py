"""Configuration: a TOML file, the environment and flags in (rising precedence), one frozen value out, with the origin
of every part of it.

    airpocket.toml            [kafka]
                              bootstrap = "broker:9092"
    environment               AIRPOCKET__KAFKA__BOOTSTRAP=broker:9092
    flag                      --bootstrap broker:9092

A secret comes by environment, or as the content of the file that its `_file` key names; never by flag, which `ps`
shows, and never in the configuration file, which gets committed.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from airpocket.keys import Key, cast, find, flatten, shown
from airpocket.knowledge import KnowledgeFiles
from airpocket.knowledge import load as load_knowledge
from engine.broker import BrokerConfig
from engine.config import (
    AssetConfig,
    BaselineConfig,
    CascadeConfig,
    EngineConfig,
    FlowConfig,
    MapConfig,
    VacuumConfig,
)
from engine.errors import BadConfig

PREFIX: Final = "AIRPOCKET__"
#: Read from the working directory where no other file is named.
FILE: Final = "airpocket.toml"
#: Names the file where no flag does.
FILE_VARIABLE: Final = "AIRPOCKET_CONFIG"
#: The tables below `[engine]`.
ENGINE_PARTS: Final[Mapping[str, Any]] = {
    "baseline": BaselineConfig,
    "flow": FlowConfig,
    "vacuum": VacuumConfig,
    "map": MapConfig,
    "cascade": CascadeConfig,
    "asset": AssetConfig,
}
#: Origin of what `VENUE:SYMBOL` arguments say.
FEEDS: Final = "argument"

#: A dotted key, taken apart.
Parts: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueConfig:
    """What to take from one venue."""

    symbols: tuple[str, ...] = ()
    #: Another base for every websocket of the venue: a proxy, a test server. Empty: the venue's own.
    socket_url: str = ""
    rest_url: str = ""
    #: HTTP or SOCKS proxy of websockets and REST. Empty: none, whatever the environment says.
    proxy: str = ""
    #: Only these channels: depth, touch, trade, mark, liquidation, open_interest, risk. Empty: all.
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """Which venues feed us, by the names of `airpocket.ingest.venues`."""

    venues: Mapping[str, VenueConfig] = field(default_factory=dict)
    #: Milliseconds of row time that make one record of an instrument: half of it is added to a signal's delay.
    linger: float = 5.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.linger <= 1000:
            raise BadConfig(f"linger is {self.linger}, allowed are milliseconds from 0.1 to 1000")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordConfig:
    """The tape."""

    #: Folder of the tapes; empty: no tape.
    dir: str = ""
    compression: Literal["gzip", "zstd"] = "gzip"
    #: Seconds of one part of a tape.
    rotate: int = 3_600
    #: When bytes are forced to the disk: after each block, at most once a second, at the end of a part.
    sync: Literal["block", "second", "part"] = "second"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSection:
    """One engine process; nothing here changes a signal."""

    #: Partitions of the market topic that it owns; empty: all of them.
    partitions: tuple[int, ...] = ()
    #: Seconds between snapshots: what a restart replays at most.
    snapshot_every: float = 30.0
    #: What to do where the input that a restart needs is no longer retained: stop, or begin with what there is.
    retention_passed: Literal["fail", "reset"] = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that an operator may set."""

    ingest: IngestConfig
    record: RecordConfig
    kafka: BrokerConfig
    engine: EngineConfig
    worker: WorkerSection
    knowledge: KnowledgeFiles
    #: Every key that has a value: key, value, where it came from.
    origins: tuple[tuple[Key, Parts, Any, str], ...] = field(repr=False)

    def rows(self) -> list[tuple[str, str, str]]:
        """List name, value and origin of every key, secrets masked."""
        return [(".".join(path), shown(key, value), origin) for key, path, value, origin in self.origins]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sections:
    ingest: IngestConfig
    record: RecordConfig
    kafka: BrokerConfig
    engine: EngineConfig
    worker: WorkerSection
    knowledge: KnowledgeFiles


def known_keys() -> list[Key]:
    """List every key, a secret's `_file` twin beside it."""
    keys = flatten(_Sections, ())
    return keys + [Key(path=twin(key), kind=str, default="", secret=False) for key in keys if key.secret]


def twin(secret: Key) -> Parts:
    """Name the key that holds the path of a secret's file."""
    return (*secret.path[:-1], secret.path[-1] + "_file")


def load(
    file: str | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any] | None = None,
    feeds: Sequence[str] = (),
) -> Config:
    """Read the configuration; `flags` are by dotted key, None where not given, `feeds` are `VENUE:SYMBOL,...`."""
    keys = known_keys()
    met: dict[Parts, tuple[Key, Any, str]] = {}
    for path, value, origin in (
        *_from_file(file, environment),
        *_from_environment(environment),
        *_from_flags(flags or {}),
        *_from_feeds(feeds),
    ):
        key = find(path, keys, origin)
        if key.secret and not origin.startswith("env "):
            raise BadConfig(
                f"{key.name} is a secret and came by {origin}; allowed are the environment ({variable(path)}) "
                f"or {key.name}_file, the path of a file that holds it"
            )
        met[path] = key, cast(key, value, origin), origin
    _read_secrets(met, keys)
    if feeds:
        asked = {
            path[2] for path, (_, _, origin) in met.items() if path[:2] == ("ingest", "venues") and origin == FEEDS
        }
        met = {p: v for p, v in met.items() if p[:2] != ("ingest", "venues") or p[2] in asked}
    return _build(met, keys)


def _from_file(file: str | None, environment: Mapping[str, str]) -> list[tuple[Parts, Any, str]]:
    named = file or environment.get(FILE_VARIABLE)
    if named is None and not Path(FILE).is_file():
        return []
    where = Path(named or FILE)
    try:
        tree = tomllib.loads(where.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"configuration file {str(where)!r} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"configuration file {str(where)!r} is not TOML: {error}") from None
    return [(path, value, f"file {where}") for path, value in _leaves(tree, ())]


def variable(path: Parts) -> str:
    """Spell a key as its environment variable."""
    return PREFIX + "__".join(path).upper()


def _leaves(tree: Mapping[str, Any], prefix: Parts) -> list[tuple[Parts, Any]]:
    found: list[tuple[Parts, Any]] = []
    for name, value in tree.items():
        found += _leaves(value, (*prefix, name)) if isinstance(value, dict) else [((*prefix, name), value)]
    return found


def _from_environment(environment: Mapping[str, str]) -> list[tuple[Parts, Any, str]]:
    return [
        (tuple(name.removeprefix(PREFIX).lower().split("__")), text, f"env {name}")
        for name, text in sorted(environment.items())
        if name.startswith(PREFIX)
    ]


def _from_flags(flags: Mapping[str, Any]) -> list[tuple[Parts, Any, str]]:
    return [(tuple(name.split(".")), value, "flag") for name, value in flags.items() if value is not None]


def _from_feeds(feeds: Sequence[str]) -> list[tuple[Parts, Any, str]]:
    found: list[tuple[Parts, Any, str]] = []
    for feed in feeds:
        venue, colon, symbols = feed.partition(":")
        if not (venue and colon and symbols.strip(", ")):
            raise BadConfig(f"feed is {feed!r}, allowed is VENUE:SYMBOL or VENUE:SYMBOL,SYMBOL")
        found.append((("ingest", "venues", venue, "symbols"), symbols, FEEDS))
    return found


def _read_secrets(met: dict[Parts, tuple[Key, Any, str]], keys: Sequence[Key]) -> None:
    for key in keys:
        if not key.secret or key.path in met or twin(key) not in met or not met[twin(key)][1]:
            continue
        _, name, origin = met[twin(key)]
        try:
            met[key.path] = key, Path(name).read_text(encoding="utf-8").strip(), f"{origin}, file {name}"
        except (OSError, UnicodeDecodeError) as error:
            raise BadConfig(
                f"{key.name}_file is {name!r} ({origin}), which cannot be read: {error.__class__.__name__}"
            ) from None


def _build(met: Mapping[Parts, tuple[Key, Any, str]], keys: Sequence[Key]) -> Config:
    origins = [(key, path, value, origin) for path, (key, value, origin) in met.items()]
    names = sorted({path[2] for path in met if path[:2] == ("ingest", "venues")})
    for key in keys:
        for path in [tuple(n if p == "*" else p for p in key.path) for n in names] if "*" in key.path else [key.path]:
            if path not in met:
                origins.append((key, path, key.default, "default"))
    values = {path: value for _, path, value, _ in origins}

    twins = {twin(key) for key in keys if key.secret}

    def section(*prefix: str) -> dict[str, Any]:
        return {path[-1]: value for path, value in values.items() if path[:-1] == prefix and path not in twins}

    files = KnowledgeFiles(**section("knowledge"))

    def engine() -> EngineConfig:
        parts = {name: _section(kind, f"engine.{name}", section("engine", name)) for name, kind in ENGINE_PARTS.items()}
        whole = {**section("engine"), **parts, "knowledge": load_knowledge(files)}
        known: EngineConfig = _section(EngineConfig, "engine", whole)
        return known

    venues = {name: VenueConfig(**section("ingest", "venues", name)) for name in names}
    return Config(
        ingest=_section(IngestConfig, "ingest", {**section("ingest"), "venues": venues}),
        record=RecordConfig(**section("record")),
        kafka=_section(BrokerConfig, "kafka", section("kafka")),
        engine=engine(),
        worker=WorkerSection(**section("worker")),
        knowledge=files,
        origins=tuple(sorted(origins, key=lambda row: row[1])),
    )


def _section(kind: Any, name: str, values: Mapping[str, Any]) -> Any:
    try:
        return kind(**values)
    except BadConfig as error:
        raise BadConfig(f"[{name}] {error}") from None
