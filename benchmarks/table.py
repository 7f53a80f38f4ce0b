"""Stages in; out come a table on the terminal, benchmarks/results.json, and a page's table between its two markers.

A ratio says how many times better ours is than the peer: seconds of the peer over ours where less is better, ours over
the peer's where the unit is a rate. A peer that gives another answer has a value and no ratio: it did other work.

    python -m benchmarks.table docs/benchmarks.md      writes the table of the last `make bench` into that page
"""

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parent / "results.json"
BEGIN: Final = "<!-- benchmarks: begin -->"
END: Final = "<!-- benchmarks: end -->"
#: Whose versions a figure depends on.
PACKAGES: Final = (
    "numpy", "numba", "orjson", "kafka-python", "crc32c", "websockets", "msgspec", "sortedcontainers", "hftbacktest",
    "nautilus_trader", "order_book", "confluent-kafka", "picows", "aiohttp", "pyarrow", "cryptofeed",
)  # fmt: skip
#: Seconds in the unit's first word.
SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage beside one peer, or alone."""

    stage: str
    #: Seconds (`ns/level`, `ms`), a rate (`records/s`), or anything of which less is better.
    unit: str
    ours: float
    peer: str = ""
    peer_value: float | None = None
    #: How many times better ours is.
    ratio: float | None = None
    #: The ratio that is wanted.
    goal: float | None = None
    #: What this machine cannot go below (a rate: above), in the unit.
    floor: float | None = None
    #: None where there is nothing to compare.
    same_answer: bool | None = None
    note: str = ""


def is_rate(unit: str) -> bool:
    """Say whether more is better."""
    return unit.endswith("/s")


def figure(seconds: float, count: float, unit: str) -> float:
    """Express what a round of so many units took."""
    return count / seconds if is_rate(unit) else seconds / count / SECONDS[unit.partition("/")[0]]


def ratio_of(ours: float, peer: float, unit: str) -> float:
    """Say how many times better ours is."""
    return ours / peer if is_rate(unit) else peer / ours


def beside(stage: Stage, peer: str, value: float | None, *, same: bool | None = None, note: str = "") -> Stage:
    """Set a peer's figure beside ours; one that answers differently is marked, not compared."""
    ratio = None if value is None or same is False else ratio_of(stage.ours, value, stage.unit)
    whole: dict[str, Any] = asdict(stage)
    return Stage(**whole | {"peer": peer, "peer_value": value, "ratio": ratio, "same_answer": same, "note": note})


def results(stages: Sequence[Stage]) -> dict[str, Any]:
    """Give what results.json holds."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {"machine": machine(), "versions": versions, "stages": [asdict(stage) for stage in stages]}


def machine() -> dict[str, Any]:
    """Describe the machine without naming it."""
    cpu = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else []
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 1),
    }


def write(stages: Sequence[Stage], path: Path = RESULTS) -> None:
    """Write results.json."""
    path.write_text(json.dumps(results(stages), indent=1) + "\n")


def read(path: Path = RESULTS) -> list[Stage]:
    """Read results.json."""
    return [Stage(**stage) for stage in json.loads(path.read_text())["stages"]]


def short(value: float | None) -> str:
    """Word a number with three digits that matter."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def times(stage: Stage) -> str:
    """Word a ratio, or why there is none."""
    if stage.same_answer is False:
        return "other answer"
    return f"{short(stage.ratio)}x" if stage.ratio is not None else stage.note or "-"


def lines(stages: Iterable[Stage]) -> list[tuple[str, str, str, str, str, str]]:
    """Give rows of text: stage, ours with its unit, peers, ratios, goal, floor; one row a stage."""
    rows = []
    for (name, unit), each in groupby(stages, key=lambda stage: (stage.stage, stage.unit)):
        group = list(each)
        first = group[0]
        peers = [f"{s.peer} {short(s.peer_value)}" if s.peer_value is not None else s.peer for s in group if s.peer]
        ratios = [times(stage) for stage in group if stage.peer]
        goal = f"{first.goal:g}x" if first.goal is not None else ""
        floor = short(first.floor) if first.floor is not None else ""
        alone = first.note if not first.peer else ""
        rows.append((name, f"{short(first.ours)} {unit}", ", ".join(peers) or alone, ", ".join(ratios), goal, floor))
    return rows


HEADS: Final = ("stage", "ours", "peers", "ratio", "goal", "floor")


def markdown(stages: Iterable[Stage]) -> str:
    """Write the table as the page shows it."""
    rows = [HEADS, ("---",) * len(HEADS), *lines(stages)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def show(stages: Iterable[Stage]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADS, title="every stage beside its peers", title_justify="left")
    for row in lines(stages):
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def place(text: str, table: str) -> str:
    """Put a table between a text's two markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the text has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main(arguments: Sequence[str]) -> int:
    """Rewrite the table in a file."""
    if len(arguments) != 1:
        print("usage: python -m benchmarks.table docs/benchmarks.md", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    path.write_text(place(path.read_text(), markdown(read())))
    return 0


def groups(measured: Iterable[Mapping[str, Any]]) -> list[Stage]:
    """Derive stages from pytest-benchmark's groups: ours is the test whose name holds "ours", all others are peers.

    The ratio is that of the medians: these were not measured in turns. Each test has asserted its own answer. Where no
    test is called ours, all are, and stand alone.
    """
    stages = []
    by_group = sorted(measured, key=lambda each: each["group"])
    for name, each in groupby(by_group, key=lambda each: str(each["group"])):
        group = list(each)
        mine = [one for one in group if "ours" in one["name"]]
        for own in mine or group:
            unit = next((unit for unit, seconds in SECONDS.items() if own["median"] >= seconds), "ns")
            full = name if mine or len(group) == 1 else f"{name}: {label(own['name'], name)}"
            alone = Stage(stage=full, unit=unit, ours=own["median"] / SECONDS[unit])
            others = [one for one in group if mine and one not in mine]
            peers = [(label(one["name"], name), one["median"] / SECONDS[unit]) for one in others]
            stages += [beside(alone, peer, value, same=True) for peer, value in peers] or [alone]
    return stages


def label(name: str, group: str) -> str:
    """Name a peer by what stands in brackets behind its test and is not the group's, or else by the test."""
    test, _, rest = name.partition("[")
    parts = [part for part in rest.rstrip("]").split("-") if part and part not in re.split(r"[ ,]+", group)]
    words = test.removeprefix("test_").replace("_", " ")
    return " ".join(parts) if parts else words


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
