"""What was found in simulated markets, against what is wanted: each module has `measure(size)`, in so many worlds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One finding."""

    what: str
    measured: str
    wanted: str
    met: bool
    #: In how many worlds.
    worlds: int
