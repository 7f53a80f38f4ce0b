"""What a run has found: violations, each kind once, and the table of all inputs."""

import json
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fuzz.properties import Target, Violation

#: Kinds of violations that are kept.
KEPT: Final = 20


@dataclass(slots=True)
class Findings:
    """One venue's."""

    target: Target
    inputs: int = 0
    #: Kind -> how it reads, and the frames that lead to it from new decoders on.
    met: dict[str, tuple[str, list[bytes]]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    note: str = ""

    def check(self, frame: bytes) -> None:
        """Try one input, and keep what is new."""
        self.inputs += 1
        history = [*self.target.history, frame]
        try:
            self.target.check(frame)
        except Violation as violation:
            kind = _kind(violation)
            self.counts[kind] += 1
            if kind not in self.met and len(self.met) < KEPT:
                self.met[kind] = (_wording(violation), self._shortest(kind, history))

    def _shortest(self, kind: str, history: list[bytes]) -> list[bytes]:
        """Return the last input alone where that is enough."""
        try:
            self.target.renew()
            self.target.check(history[-1])
        except Violation as violation:
            if _kind(violation) == kind:
                return history[-1:]
        self.target.renew()
        return history

    def write(self, folder: Path) -> None:
        """Write the report, and the frames of each violation."""
        violations = []
        for number, (kind, (text, frames)) in enumerate(sorted(self.met.items())):
            path = folder / f"violation-{number}.json"
            path.write_text(json.dumps([frame.decode("latin-1") for frame in frames]))
            violations.append(f"{text}\n    {self.counts[kind]} times; input {frames[-1][:400]!r}; {path}")
        report = {
            "inputs": self.inputs,
            "counts": self.target.counts,
            "violations": violations,
            "note": self.note,
        }
        (folder / "report.json").write_text(json.dumps(report))


def _kind(violation: Violation) -> str:
    """Tell violations apart: by where an error arose, or else by their first words."""
    if violation.__cause__ is None or not violation.__cause__.__traceback__:
        return str(violation)[:40]
    last = traceback.extract_tb(violation.__cause__.__traceback__)[-1]
    return f"{type(violation.__cause__).__name__} {last.filename}:{last.lineno}"


def _wording(violation: Violation) -> str:
    if violation.__cause__ is None:
        return str(violation)[:1500]
    frames = traceback.extract_tb(violation.__cause__.__traceback__)[-2:]
    places = " <- ".join(f"{Path(each.filename).name}:{each.lineno} {each.line}" for each in reversed(frames))
    return f"{str(violation)[:300]} at {places}"
