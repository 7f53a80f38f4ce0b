"""What the engine says against markets whose truth is known: a size in, rows of what was measured and wanted out.

Each module here has `measure(size)`.
"""

from dataclasses import dataclass
from enum import IntEnum


class Size(IntEnum):
    """How much is measured."""

    #: What a test of every run can hold.
    SMALL = 1
    FULL = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured; positional, for tables of them read better."""

    what: str
    measured: str
    wanted: str
    met: bool
    #: Markets behind it.
    worlds: int
