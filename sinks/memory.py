"""The memory sink: records in, a list of them out; for notebooks and tests."""

from collections.abc import Sequence
from typing import Any

import orjson

from engine.schema import Record


class MemorySink:
    """Keep every record in `records`."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, records: Sequence[Record]) -> None:
        """Keep records."""
        self.records.extend(records)

    def flush(self) -> None:
        """Return: what was written is here."""

    def close(self) -> None:
        """Return: the records stay."""

    def values(self, topic: str | None = None) -> list[dict[str, Any]]:
        """Read the JSON of a topic's records, or of all."""
        return [orjson.loads(r.value) for r in self.records if topic is None or r.topic == topic]
