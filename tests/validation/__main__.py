"""Measure everything at full size and print a table; status 1 where something wanted is not met.

python -m tests.validation [NAME ...] [--small]     names of modules; none: all
"""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules

from rich.console import Console
from rich.table import Table

from tests import validation
from tests.validation import Row, Size


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


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for."""
    parser = ArgumentParser(prog="python -m tests.validation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}")
    parser.add_argument("--small", action="store_true", help="the size that the test suite measures")
    asked = parser.parse_args(arguments)
    unknown = sorted(set(asked.names) - set(names()))
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}, known are {', '.join(names())}")
    console, missed = Console(width=None if sys.stdout.isatty() else 160), 0
    for name in asked.names or names():
        begun = time.monotonic()
        rows: list[Row] = import_module(f"tests.validation.{name}").measure(Size.SMALL if asked.small else Size.FULL)
        console.print(table(name, rows, time.monotonic() - begun))
        missed += sum(not row.met for row in rows)
    console.print(f"{missed} not met" if missed else "all met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
