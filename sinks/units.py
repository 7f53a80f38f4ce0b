"""Batches in, longer ones out once their units are known: for formats that print numbers, not integers at a scale."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np

from engine import lake
from engine.errors import BadRecord
from engine.instrument import Instrument, from_row
from engine.schema import Batch, Kind

#: Batches of an instrument are joined until they have so many messages or levels.
STAGE: Final = 4_096
STAGE_LEVELS: Final = 65_536


class Units:
    """What is known of each instrument, and its batches that wait: to be joined, or for their units."""

    def __init__(self) -> None:
        self.known: dict[str, Instrument] = {}
        self._staged: dict[str, list[Batch]] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._waiting: dict[str, list[Batch]] = {}

    def take(self, batch: Batch) -> Iterator[tuple[Instrument, Batch]]:
        """Take a batch, give what is ready: each has one instrument's units, in which it was decoded."""
        key = batch.instrument
        messages, levels = self._sizes.get(key, (0, 0))
        messages, levels = messages + len(batch.messages), levels + len(batch.levels)
        self._staged.setdefault(key, []).append(batch)
        self._sizes[key] = messages, levels
        if messages >= STAGE or levels >= STAGE_LEVELS:
            yield from self._join(key)

    def rest(self) -> Iterator[tuple[Instrument, Batch]]:
        """Give all that is left. Raises BadRecord where units never came: such rows cannot be printed."""
        for key in list(self._staged):
            yield from self._join(key)
        if self._waiting:
            raise BadRecord(
                f"the decimals of {', '.join(sorted(self._waiting))} are not known, for no INSTRUMENT row came: "
                "its book was never whole; allowed are sources without it"
            )

    def _join(self, key: str) -> Iterator[tuple[Instrument, Batch]]:
        """Join what is staged, and cut it where units are stated."""
        staged = self._staged.pop(key)
        del self._sizes[key]
        parts: dict[str, Any] = {
            name: np.concatenate([getattr(batch, name) for batch in staged])
            for name in ("messages", *(channel.part for channel in lake.ROWS))
        }
        batch = Batch(instrument=key, asset=staged[0].asset, **parts)
        offsets = lake.offsets_of(batch.messages)
        fault = lake.fault_of(batch, offsets)
        if fault:
            raise BadRecord(f"a batch of {key} cannot be written: {fault}")
        cuts = [0, *np.flatnonzero(batch.messages["kind"] == Kind.INSTRUMENT).tolist(), len(batch.messages)]
        for begin, end in pairwise(cuts):
            if begin == end:
                continue
            piece = lake.cut(batch, offsets, begin, end)
            if len(piece.instruments):
                self.known[key] = from_row(key, piece.instruments[-1])
            instrument = self.known.get(key)
            if instrument is None:
                self._waiting.setdefault(key, []).append(piece)
                continue
            # Rows before the first statement were decoded by what it states.
            for earlier in self._waiting.pop(key, ()):
                yield instrument, earlier
            yield instrument, piece
