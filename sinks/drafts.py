"""Files that are published together, at the end, or not at all; each has a name that was never used."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from engine.errors import BadConfig, Undelivered

#: What the name of a file ends in that is not published.
PART: Final = ".tmp"


class Published(ABC):
    """What publishes its files together: leaving the block without an error closes, with one aborts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    @abstractmethod
    def close(self) -> None:
        """Publish everything."""

    @abstractmethod
    def abort(self) -> None:
        """Remove what is not published."""


class Drafts:
    """The files of a folder that are being written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: Files published, in the order of their names.
        self.paths: list[Path] = []
        self._open: dict[Path, tuple[Path, BinaryIO]] = {}

    def open(self, name: str) -> BinaryIO:
        """Begin a file. Raises BadConfig where its name is taken, Undelivered where the disk refuses."""
        path = self.folder / name
        if path.exists() or path in self._open:
            raise BadConfig(f"{path} is there already, allowed is another folder")
        with self.guarded():
            self.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{name}.{os.getpid()}{PART}")
            stream = part.open("w+b")
        self._open[path] = part, stream
        return stream

    def publish(self) -> None:
        """Put every file on the disk, then give them their names. Raises BadConfig, Undelivered."""
        named: list[Path] = []
        with self.guarded():
            try:
                for _, stream in self._open.values():
                    stream.flush()
                    os.fsync(stream.fileno())
                for path, (part, _) in self._open.items():
                    os.link(part, path)
                    named.append(path)
            except FileExistsError as error:
                self._undo(named)
                raise BadConfig(f"{error.filename2} is there already, allowed is another folder") from None
            except OSError:
                self._undo(named)
                raise
            self.abort()
            opened = os.open(self.folder, os.O_RDONLY) if named else -1
            if named:
                os.fsync(opened)
                os.close(opened)
        self.paths = sorted(named)

    def abort(self) -> None:
        """Remove what is not published."""
        for part, stream in self._open.values():
            stream.close()
            part.unlink(missing_ok=True)
        self._open = {}

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Say what the disk refused as Undelivered."""
        try:
            yield
        except OSError as error:
            raise Undelivered(f"{self.folder} cannot be written: {error}") from error

    def _undo(self, named: list[Path]) -> None:
        for path in named:
            path.unlink()
        self.abort()
