"""Fuzz every venue's decoder, or those named; ends with 1 where a property does not hold.

    python -m tests.fuzz [--seconds 60] [--seed N] [--engine atheris|mutation] [venue ...]

Coverage guides it where atheris is installed; elsewhere it mutates by seeded chance, and says so. Each venue is a
process of its own. Violations are printed with what they came from, and kept in build/fuzz/<venue>/.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from random import Random, SystemRandom
from time import monotonic
from typing import Any, Final

from ingest.venues import load, names
from tests.fuzz.findings import Findings

BUILD: Final = Path(__file__).parents[2] / "build" / "fuzz"


def engine() -> str:
    """Name the engine that can run here, and say which it is."""
    try:
        print(f"engine: atheris {version('atheris')}, guided by coverage of ingest.venues")
    except PackageNotFoundError:
        print("engine: seeded mutation, blind to coverage (atheris is not installed in this environment)")
        return "mutation"
    return "atheris"


def mutate(name: str, seconds: float, seed: int) -> Findings:
    """Mutate by chance for so long."""
    from tests.fuzz.corpus import corpus_of
    from tests.fuzz.properties import Target, inputs

    target = Target(corpus_of(name))
    findings = Findings(target)
    end = monotonic() + seconds
    endless = inputs(target.corpus, Random(seed))
    while monotonic() < end:
        findings.check(next(endless))
    return findings


def run(name: str, chosen: str, seconds: float, seed: int) -> dict[str, Any]:
    """Fuzz one venue in a process of its own; give what it reports."""
    report = BUILD / name / "report.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.fuzz", "--engine", chosen, "--seconds", str(seconds), "--seed", str(seed)]
    done = subprocess.run([*command, "--alone", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not report.exists():
        print(done.stdout[-4000:])
        return {"inputs": 0, "counts": {}, "violations": [f"the process ended with {done.returncode}, no report"]}
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def show(name: str, found: dict[str, Any]) -> None:
    """Print one venue's table."""
    counts = Counter(found["counts"])
    print(f"\n{name}: {found['inputs']:,} inputs{found.get('note', '')}")
    for reason, count in counts.most_common():
        print(f"  {count:>10,}  {reason}")
    for violation in found["violations"]:
        print(f"  VIOLATION {violation}")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the decoders of the venues.")
    parser.add_argument("venues", nargs="*", metavar="venue", help=f"of {', '.join(names())}; none: all")
    parser.add_argument("--seconds", type=float, default=60, help="for each venue, 60")
    parser.add_argument("--seed", type=int, default=None, help="of all chance; none: a new one, which is printed")
    parser.add_argument("--engine", choices=("atheris", "mutation"), help="none: atheris where it is installed")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    venues = [load(name).name for name in asked.venues or names()]
    if asked.alone:
        (name,) = venues
        if asked.engine == "atheris":
            from tests.fuzz.guided import guide

            guide(name, asked.seconds, asked.seed, BUILD / name)
        else:
            mutate(name, asked.seconds, asked.seed).write(BUILD / name)
        return 0
    chosen = asked.engine or engine()
    seed = SystemRandom().randrange(1, 1 << 31) if asked.seed is None else asked.seed
    print(f"{asked.seconds:g} s for each of {len(venues)} venues, seed {seed}", flush=True)
    broken = 0
    for name in venues:
        found = run(name, chosen, asked.seconds, seed)
        show(name, found)
        sys.stdout.flush()
        broken += len(found["violations"])
    print(f"\n{broken} violations" if broken else "\nno violation")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
