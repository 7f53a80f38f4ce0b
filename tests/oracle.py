"""What the exchange itself says the best bid and ask were, straight from a tape's JSON and by none of our code.

A recording may be split over several tapes."""

import gzip
from bisect import bisect_right
from collections.abc import Iterator
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

Touch = tuple[Decimal, Decimal, Decimal, Decimal]


def frames(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield receive stamp and frame of a foreign tape."""
    with gzip.open(path) as tape:
        for line in tape:
            yield int(line[:19]), orjson.loads(line[20:])


class Oracle:
    """The tape's bookTicker by update id."""

    def __init__(self, *paths: Path) -> None:
        touches: dict[int, Touch] = {}
        #: Last update id of every depth message, in order.
        self.diffs: list[int] = []
        self.snapshot = 0
        for _, frame in chain.from_iterable(frames(path) for path in paths):
            if "lastUpdateId" in frame:
                self.snapshot = self.snapshot or int(frame["lastUpdateId"])
            elif frame["stream"].endswith("@bookTicker"):
                payload = frame["data"]
                touches[payload["u"]] = tuple(Decimal(payload[key]) for key in "bBaA")  # type: ignore[assignment]
            elif frame["data"]["e"] == "depthUpdate":
                self.diffs.append(frame["data"]["u"])
        self.ids = sorted(touches)
        self.touches = touches

    def at(self, last: int) -> Touch | None:
        """Return the newest touch whose update id is at or below a diff's."""
        found = bisect_right(self.ids, last)
        return self.touches[self.ids[found - 1]] if found else None
