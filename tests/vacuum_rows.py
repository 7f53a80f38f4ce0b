"""Rows of inputs for the vacuum machine, and a machine that is fed with them."""

from typing import Any, Final

import numpy as np

from engine.config import EngineConfig, VacuumConfig
from engine.fields import WHY, Why
from engine.inputs import INPUTS, NAMES
from engine.schema import Rows
from engine.vacuum import CAUSES, STATES, advance, memory_of, settings_of
from tests.naive_vacuum import Seen

START: Final = 1_700_000_000 * 10**9
MS: Final = 10**6
#: What an evaluation may see, by name; every one is well away from every default bound.
CALM: Final[Seen] = {"ratio": 1.0, "refill": 0.8, "withdrawal": 0.1, "spread": 1.0}
THIN: Final[Seen] = {**CALM, "ratio": 0.4}
GONE: Final[Seen] = {"ratio": 0.1, "refill": 0.2, "withdrawal": 0.9, "spread": 9.0}
FILLING: Final[Seen] = {**GONE, "refill": 2.0}
WORDS: Final = {"nothing came or went": (0.0, Why.NO_FLOW), "something came": (3.0, Why.NO_FLOW)}


def row(bid: Seen, ask: Seen | None = None) -> Rows:
    """One INPUTS row; what no side names is undefined."""
    one = np.zeros(1, INPUTS)
    for name in NAMES:
        for side, seen in enumerate((bid, ask or bid)):
            met = seen.get(name, "too_early")
            value, why = WORDS.get(met) or (0.0, WHY.index(met)) if isinstance(met, str) else (met, 0)
            one[name][0, side], one[f"{name}_why"][0, side] = value, why
    return one


class Machine:
    """The kernel's machine and its clock."""

    def __init__(self, **constants: Any) -> None:
        self.settings = settings_of(EngineConfig(vacuum=VacuumConfig(**constants)))
        self.memory = memory_of()
        self.now = START

    def see(self, bid: Seen, ask: Seen | None = None, after: int = 250) -> str:
        """Evaluate so many ms later; give the bid side's state."""
        self.now += after * MS
        advance(self.memory, self.settings, row(bid, ask), self.now)
        return self.state()

    def state(self, side: int = 0) -> str:
        return STATES[int(self.memory["state"][0, side])]

    def cause(self, side: int = 0) -> str:
        return CAUSES[int(self.memory["cause"][0, side])]

    def watch(self, seen: Seen, ms: int) -> "Machine":
        """See the same every 250 ms for so long, from now on."""
        for _ in range(ms // 250):
            self.see(seen)
        return self

    def until(self, seen: Seen, state: str) -> int:
        """See the same until a state is reached; give the ms since the first sight."""
        first = self.now + 250 * MS
        for _ in range(100):
            if self.see(seen) == state:
                return (self.now - first) // MS
        raise AssertionError(f"{self.state()} never became {state}")


def brought(state: str, **constants: Any) -> Machine:
    """A machine that has come to a state."""
    machine = Machine(**constants)
    if state == "unknown":
        return machine
    machine.see(CALM)
    if state != "normal":
        machine.until(THIN, "thin")
    if state in ("vacuum", "recovering"):
        machine.until(GONE, "vacuum")
    if state == "recovering":
        machine.until(FILLING, "recovering")
    assert machine.state() == state
    return machine
