"""What a run of benchmarks leaves behind: one table of every stage, and benchmarks/results.json."""

from typing import Any

import pytest

from benchmarks.compare import STAGES
from benchmarks.table import Stage, groups, show, write


def measured(config: pytest.Config) -> list[Stage]:
    """Give every stage of this run: those that compared in turns, then pytest-benchmark's groups."""
    session: Any = getattr(config, "_benchmarksession", None)
    found = []
    for each in session.benchmarks if session is not None else ():
        if each.group and not each.extra_info.get("compared") and each.stats.data:
            found.append({"group": each.group, "name": each.name, "median": each.stats.median})
    return STAGES + groups(found)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table; results.json is written where something was measured."""
    if config.getoption("benchmark_disable", False):
        return
    stages = measured(config)
    if stages:
        terminalreporter.ensure_newline()
        show(stages)
        write(stages)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let peers warn: what they say of themselves is no fault of ours. Bare kernels come last.

    Compiled into another kernel, a scanner's kernel may get a second signature, and no scanner can be made after that.
    """
    items.sort(key=lambda item: "bare_kernel" in item.name)
    for item in items:
        if item.path.parent.name == "benchmarks":
            item.add_marker(pytest.mark.filterwarnings("default"))
