"""Batches in, the same out once their units are known: for formats that print numbers, and not integers at a scale."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from engine import lake
from engine.errors import BadRecord
from engine.instrument import Instrument, from_row
from engine.schema import Batch, Kind


class Units:
    """What is known of each instrument, and the batches that came before it was."""

    def __init__(self) -> None:
        self.known: dict[str, Instrument] = {}
        self._waiting: dict[str, list[Batch]] = {}

    def take(self, batch: Batch) -> Iterator[tuple[Instrument, Batch]]:
        """Give batches whose rows all have the instrument's units: they were decoded by the first that was stated."""
        offsets = lake.offsets_of(batch.messages)
        fault = lake.fault_of(batch, offsets)
        if fault:
            raise BadRecord(f"a batch of {batch.instrument} cannot be written: {fault}")
        cuts = [0, *np.flatnonzero(batch.messages["kind"] == Kind.INSTRUMENT).tolist(), len(batch.messages)]
        for begin, end in pairwise(cuts):
            if begin < end:
                piece = lake.cut(batch, offsets, begin, end)
                if len(piece.instruments):
                    self.known[batch.instrument] = from_row(batch.instrument, piece.instruments[-1])
                instrument = self.known.get(batch.instrument)
                if instrument is None:
                    self._waiting.setdefault(batch.instrument, []).append(piece)
                    continue
                for earlier in self._waiting.pop(batch.instrument, ()):
                    yield instrument, earlier
                yield instrument, piece

    def require(self) -> None:
        """Raise BadRecord where units never came: such rows cannot be printed."""
        if self._waiting:
            raise BadRecord(
                f"the decimals of {', '.join(sorted(self._waiting))} are not known, for no INSTRUMENT row came: "
                "its book was never whole; allowed are sources without it"
            )
