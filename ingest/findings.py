"""What is wrong with a table: the cells accused, what they say, what they may say."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Findings that are kept; what is beyond is counted.
MOST: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule that some cells break; of several columns at least one is wrong, and the rule cannot say which."""

    path: Path
    #: First row accused, 1 for the first row of data, and how many rows from there on.
    row: int
    rows: int = 1
    columns: tuple[str, ...]
    met: str
    allowed: str

    def accuses(self, row: int, column: str) -> bool:
        """Say whether a cell is among those accused."""
        return column in self.columns and self.row <= row < self.row + self.rows

    def __str__(self) -> str:
        rows = f"row {self.row}" if self.rows == 1 else f"rows {self.row} to {self.row + self.rows - 1}"
        return f"{self.path.name}: {rows}, {', '.join(self.columns)}: met {self.met}, allowed {self.allowed}"


class Findings:
    """Findings in the order in which they were made; bounded."""

    def __init__(self) -> None:
        self.listed: list[Finding] = []
        #: How many are not listed.
        self.more = 0

    def __len__(self) -> int:
        return len(self.listed) + self.more

    def __str__(self) -> str:
        return "\n".join(map(str, self.listed))

    def add(self, path: Path, row: int, columns: Sequence[str], met: str, allowed: str, rows: int = 1) -> None:
        """Note one finding."""
        if len(self.listed) < MOST:
            found = Finding(path=path, row=row, rows=rows, columns=tuple(columns), met=met, allowed=allowed)
            self.listed.append(found)
        else:
            self.more += 1

    def accusing(self, row: int, column: str) -> Iterable[Finding]:
        """Give the findings that accuse a cell."""
        return (found for found in self.listed if found.accuses(row, column))
