"""What the engine's statistics say of simulated markets whose truth is known: each module has `measure(size)`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was measured, and whether it is what is wanted, over so many worlds."""

    what: str
    measured: str
    wanted: str
    met: bool
    worlds: int
