"""Messages of files that others recorded in, batches out: stamps only grow, books come in epochs as a session's do.

Such files tell whole books and changes, not why a book was sent whole. The first whole book, and each that follows
changes, opens an epoch: RESYNC, INSTRUMENT, SNAPSHOT, then DELTAs; one that follows another whole book is the next
state of the same. Changes before the first whole book mean nothing and are counted.
"""

from collections import Counter
from typing import Final

from engine.instrument import Instrument
from engine.schema import FAMILY, INSTRUMENT, LEVEL, LIQUIDATION, REFERENCE, TRADE, Batch, Kind, Rows
from ingest.rows import message as message_row

_PART: Final = {
    LEVEL: "levels",
    TRADE: "trades",
    LIQUIDATION: "liquidations",
    REFERENCE: "references",
    INSTRUMENT: "instruments",
}

# To look a member up takes as long as to make a row.
_SNAPSHOT: Final = int(Kind.SNAPSHOT)
_DELTA: Final = int(Kind.DELTA)
#: Kind -> the part of a Batch that its rows are.
_PARTS: Final = {int(kind): _PART[family] for kind, family in FAMILY.items()}


class Epochs:
    """The state behind the messages of any number of instruments, taken in order."""

    def __init__(self) -> None:
        #: Messages that were passed over, by why.
        self.counts: Counter[str] = Counter()
        self._last = 0
        #: Key -> number of the epoch, whether the book is known, whether it has changed since it was sent whole.
        self._epoch: dict[str, int] = {}
        self._known: dict[str, bool] = {}
        self._moved: dict[str, bool] = {}

    def take(self, at: int, instrument: Instrument, message: Rows, rows: Rows) -> list[Batch]:
        """Stamp one MESSAGE row, of a kind that has rows, with `at` ns or the first ns that is free, and let it on."""
        key, kind = instrument.key, int(message["kind"][0])
        if kind == _DELTA and not self._known.get(key):
            self.counts["early"] += 1
            return []
        received = self._last = max(at, self._last + 1)
        out: list[Batch] = []
        if key not in self._epoch:
            self._epoch[key] = 0
            if kind != _SNAPSHOT:
                # Trades and references mean nothing to a reader who does not know their units.
                self._units(received, instrument, out)
        if kind == _SNAPSHOT:
            if not self._known.get(key) or self._moved[key]:
                if not self._lost(key):
                    self._resync(received, instrument, out)
                self._units(received, instrument, out)
            self._known[key], self._moved[key] = True, False
        elif kind == _DELTA:
            self._moved[key] = True
        if kind <= _DELTA:
            message["epoch"] = self._epoch[key]
        self._emit(received, instrument, message, rows, out)
        return out

    def lose(self, at: int, instrument: Instrument) -> list[Batch]:
        """Hear that a book is not known from here on: the next epoch begins, with what is whole next."""
        received = self._last = max(at, self._last + 1)
        out: list[Batch] = []
        self._known[instrument.key] = False
        self._resync(received, instrument, out)
        return out

    def _lost(self, key: str) -> bool:
        """Say whether the epoch that is to be opened was begun."""
        return self._epoch[key] > 0 and not self._known[key]

    def _resync(self, received: int, instrument: Instrument, out: list[Batch]) -> None:
        self._epoch[instrument.key] = self._epoch.get(instrument.key, 0) + 1
        resync = message_row(Kind.RESYNC, epoch=self._epoch[instrument.key])
        self._emit(received, instrument, resync, None, out)

    def _units(self, received: int, instrument: Instrument, out: list[Batch]) -> None:
        units = message_row(Kind.INSTRUMENT, count=1, epoch=self._epoch[instrument.key])
        self._emit(received, instrument, units, instrument.row(), out)

    def _emit(self, received: int, instrument: Instrument, message: Rows, rows: Rows | None, out: list[Batch]) -> None:
        message["received"] = received
        part = {} if rows is None else {_PARTS[int(message["kind"][0])]: rows}
        out.append(Batch(instrument=instrument.key, asset=instrument.asset, messages=message, **part))
