"""Who may import whom, and what may appear only in its one home."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("engine", "ingest", "sinks", "airpocket")
ALLOWED = {
    "engine": {"engine"},
    "ingest": {"engine", "ingest"},
    "sinks": {"engine", "sinks"},
    "airpocket": set(PACKAGES),
}
#: What a pure module may not reach: clocks, sockets, disks, logs, environment, randomness.
IMPURE = {"asyncio", "io", "logging", "os", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package: str) -> None:
    files = sources(package)
    assert files
    for path in files:
        for name in imports(path):
            root = name.partition(".")[0]
            assert root not in PACKAGES or root in ALLOWED[package], f"{path.relative_to(ROOT)} imports {name}"


def test_the_engine_is_pure() -> None:
    # The document generator runs by hand, never in a pipeline.
    for path in (p for p in sources("engine") if p.name != "contract.py"):
        reached = {name.partition(".")[0] for name in imports(path)} & IMPURE
        assert not reached, f"{path.relative_to(ROOT)} imports {reached}"


def test_package_files_import_nothing_of_ours_when_imported() -> None:
    for package in ("engine", "ingest", "sinks"):
        assert list(imports(ROOT / package / "__init__.py")) == []


@pytest.mark.parametrize(
    ("pattern", "home"),
    [
        (r"njit", ["engine/kernel.py"]),
        (r"(?i)binance|bybit|okx|kraken|coinbase", ["ingest/venues/", "ingest/simulator/", "airpocket/"]),
        (r"[\"'](market|signal\.\w+|state|raw)\.v\d", ["engine/topics.py"]),
    ],
    ids=["compiler", "venues", "topics"],
)
def test_each_thing_has_one_home(pattern: str, home: list[str]) -> None:
    for package in PACKAGES:
        for path in sources(package):
            name = path.relative_to(ROOT).as_posix()
            if not any(name.startswith(place) for place in home):
                code = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
                met = re.search(pattern, code)
                assert met is None, f"{name} has {met.group(0) if met else ''!r}, whose home is {home}"


def test_no_file_outgrows_a_reader() -> None:
    lengths = {p: len(p.read_text().splitlines()) for package in PACKAGES for p in sources(package)}
    longest = max(lengths, key=lambda path: lengths[path])
    assert lengths[longest] <= 400, f"{longest.relative_to(ROOT)} has {lengths[longest]} lines"
