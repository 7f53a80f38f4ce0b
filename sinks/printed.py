"""What sinks share whose formats print numbers: batches wait for their units, files are published together or never."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from engine.instrument import Instrument
from engine.schema import Batch
from sinks.drafts import Drafts, Published
from sinks.units import Units


class PrintedSink(Published):
    """A sink of such a format; leaving the block without an error closes, with one aborts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Messages that have no place there, by kind.
        self.left_out: Counter[str] = Counter()
        self._units = Units()
        self._drafts = Drafts(folder)

    @property
    def paths(self) -> list[Path]:
        """Files published, in the order of their names."""
        return self._drafts.paths

    def write(self, batches: Iterable[Batch]) -> None:
        """Take batches in the order in which the engine takes them. Raises BadRecord, BadConfig, Undelivered."""
        for batch in batches:
            for instrument, piece in self._units.take(batch):
                self._put(instrument, piece)

    def flush(self) -> None:
        """Return: nothing is there before it is whole."""
        return

    def close(self) -> None:
        """Publish everything. Raises BadRecord for rows whose units never came, BadConfig, Undelivered."""
        try:
            for instrument, piece in self._units.rest():
                self._put(instrument, piece)
            with self._drafts.guarded():
                self._end()
            self._drafts.publish()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Remove what is not published."""
        self._drafts.abort()

    @abstractmethod
    def _put(self, instrument: Instrument, batch: Batch) -> None:
        """Print a batch, all of it in one instrument's units."""

    @abstractmethod
    def _end(self) -> None:
        """Write what a file lacks to be whole."""
