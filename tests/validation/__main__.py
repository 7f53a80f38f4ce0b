"""Measure everything at full size and print a table; status 1 where something wanted is not met.

python -m tests.validation [NAME ...] [--small] [--jobs N]     names of modules; none: all

Several modules are measured side by side, each table printed as it ends. A module alone spreads its worlds, if it can.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pkgutil import iter_modules
from typing import Final

from rich.console import Console
from rich.table import Table

from tests import validation
from tests.validation import Row, Size
from tests.validation._workers import measure

#: Modules that take longest, and so begin first.
LONGEST: Final = ("probability", "eta")


def names() -> list[str]:
    """Name every module that measures."""
    return sorted(module.name for module in iter_modules(validation.__path__) if not module.name.startswith("_"))


def table(name: str, rows: Sequence[Row], seconds: float) -> Table:
    """Lay out what a module found."""
    found = Table(title=f"{name}, {seconds:.0f} s", title_justify="left")
    for column in ("what", "measured", "wanted", "worlds", "met"):
        found.add_column(column, justify="right" if column == "worlds" else "left")
    for row in rows:
        found.add_row(row.what, row.measured, row.wanted, str(row.worlds), "yes" if row.met else "no")
    return found


def measure_all(asked: Sequence[str], size: Size, jobs: int) -> Iterator[tuple[str, list[Row], float]]:
    """Let modules measure, so many at a time; give what each found as it ends."""
    if jobs == 1 or len(asked) == 1:
        yield from (measure(name, size, jobs) for name in asked)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        ordered = sorted(asked, key=lambda name: LONGEST.index(name) if name in LONGEST else len(LONGEST))
        for done in as_completed([pool.submit(measure, name, size) for name in ordered]):
            yield done.result()


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for."""
    parser = ArgumentParser(prog="python -m tests.validation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}")
    parser.add_argument("--small", action="store_true", help="the size that the test suite measures")
    cores = os.cpu_count() or 1
    parser.add_argument("--jobs", type=int, default=cores, metavar="N", help=f"processes, here {cores} if not given")
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.names) - set(names()))
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}, known are {', '.join(names())}")
    if asked.jobs < 1:
        parser.error(f"--jobs is {asked.jobs}, allowed are whole numbers from 1")
    console, missed = Console(width=None if sys.stdout.isatty() else 160), 0
    size = Size.SMALL if asked.small else Size.FULL
    for name, rows, seconds in measure_all(asked.names or names(), size, asked.jobs):
        console.print(table(name, rows, seconds))
        missed += sum(not row.met for row in rows)
    console.print(f"{missed} not met" if missed else "all met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
