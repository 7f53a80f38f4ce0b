"""The tape reader: files of lines `<receive ns> <raw>` in, (time, raw) pairs out, in order.

Plain text, gzip and zstd are told apart by their first bytes; gzip members and zstd frames may follow one another, as
the recorder writes them, or be one for the whole file. The parts of one recording are read one after another, different
recordings are merged by stamp. Nothing is loaded whole.

A file that ends in the middle of a block or of a line was torn when its recorder died: what is whole is read, and a
Tear says where it ended. Anything else that is not a tape is BadRecord, naming file and place.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from difflib import get_close_matches
from heapq import merge
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Final, Protocol, overload

import numpy as np
import zstandard

from engine.errors import BadConfig, BadRecord

#: Longest line, bytes.
MOST_LINE: Final = 64 << 20
#: A block's lines are given out once its checksum agreed, unless it is longer than this, as one-block tapes are.
_HELD: Final = 4 << 20
_STEP: Final = 1 << 20
_NEWLINE: Final = ord("\n")
_LAST_STAMP: Final = 2**63 - 1
_SUFFIXES: Final = (".tape", ".gz", ".zst")
#: A part of a recording: all but its last number says which recording.
_PART: Final = re.compile(r"(.+-\d{19})-\d{6,}\.tape(?:\.gz|\.zst)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tear:
    """The end of a file whose recorder died while writing it."""

    path: Path
    #: Size of the file, bytes.
    bytes: int
    detail: str


@dataclass(frozen=True, slots=True)
class Text:
    """Some whole lines of a file; how many lines of it come before them, and how many up to their end."""

    path: Path
    before: int
    after: int
    text: bytes

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Give each line's stamp and frame. Raises BadRecord."""
        for index, line in enumerate(self.text[:-1].split(b"\n")):
            stamp, space, raw = line.partition(b" ")
            if not space or len(stamp) > 19 or not stamp.isdigit() or (time := int(stamp)) > _LAST_STAMP:
                raise self.fault(index, line)
            yield time, raw

    def first(self) -> bytes:
        """Give the first line's frame. Raises BadRecord."""
        line = self.text[: self.text.index(b"\n") + 1]
        return next(raw for _, raw in Text(self.path, self.before, self.before + 1, line).lines())

    def fault(self, index: int, line: bytes) -> BadRecord:
        """Say that one of its lines is none of a tape."""
        return BadRecord(_bad_line(self.path, self.before + index + 1, line))


class Head(Sequence[bytes]):
    """The frames of a recording's first lines, cut when they are asked for; to read one may raise BadRecord."""

    def __init__(self, texts: Sequence[Text], most: int) -> None:
        """Take the lines of texts, `most` of them at most."""
        #: There may be more lines in them than are taken.
        self.texts = texts
        self._count = min(most, sum(text.after - text.before for text in texts))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        lines = chain.from_iterable(text.lines() for text in self.texts)
        return (raw for _, raw in islice(lines, self._count))

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        return list(self)[index]


class _Codec(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


#: First bytes -> how to make a codec, and how many bytes it is fed at once, so that a bomb grows to 32 MiB at most.
_CODECS: Final[dict[bytes, tuple[Callable[[], _Codec], int]]] = {
    b"\x1f\x8b": (lambda: zlib.decompressobj(wbits=31), 16 << 10),
    b"\x28\xb5\x2f\xfd": (lambda: zstandard.ZstdDecompressor().decompressobj(), 1 << 10),
}


class Tape:
    """An iterator over (time, raw); `tears` fills as torn ends are met."""

    def __init__(self, paths: Iterable[Path | str], held: int = _HELD) -> None:
        """Begin; of a block longer than `held` bytes, lines are given out before its checksum is known."""
        self._held = held
        #: The files, in the order in which they are opened.
        self.paths = expand(paths)
        self.tears: list[Tear] = []
        recordings: dict[Path, list[Path]] = {}
        for path in self.paths:
            recordings.setdefault(recording_of(path) or path, []).append(path)
        self._parts = [sorted(parts) for parts in recordings.values()]
        streams = [chain.from_iterable(map(self._lines, parts)) for parts in self._parts]
        self._merged = streams[0] if len(streams) == 1 else merge(*streams, key=itemgetter(0))

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return iter(self._merged)

    def __next__(self) -> tuple[int, bytes]:
        return next(self._merged)

    def texts(self) -> "Iterator[Text] | None":
        """Give the lines by the piece, instead of one by one; None where they are of several recordings, or merged."""
        return chain.from_iterable(map(self._texts, self._parts[0])) if len(self._parts) == 1 else None

    def _lines(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """Cut a file's bytes into stamped lines."""
        for text in self._texts(path):
            yield from text.lines()

    def _texts(self, path: Path) -> "Iterator[Text]":
        """Cut a file's bytes at the ends of lines."""
        tail: list[bytes] = []
        number = 0
        for pieces in self._pieces(path):
            last = next((i for i in reversed(range(len(pieces))) if b"\n" in pieces[i]), -1)
            if last >= 0:
                end = pieces[last].rindex(b"\n") + 1
                whole = b"".join((*tail, *pieces[:last], memoryview(pieces[last])[:end]))
                before = number
                # Half of the time of bytes.count.
                number += int(np.count_nonzero(np.frombuffer(whole, np.uint8) == _NEWLINE))
                yield Text(path, before, number, whole)
                tail = [pieces[last][end:]]
            tail += pieces[last + 1 :]
            if sum(map(len, tail)) > MOST_LINE:
                raise BadRecord(f"{path}: line {number + 1} is longer than the {MOST_LINE} bytes allowed")
        if any(tail) and all(tear.path != path for tear in self.tears):
            self._tear(path, f"ends {sum(map(len, tail))} bytes into line {number + 1}")

    def _pieces(self, path: Path) -> Iterator[list[bytes]]:
        """Give the text of a file, some pieces at once, whatever holds it."""
        try:
            file = path.open("rb", buffering=_STEP)
        except OSError as error:
            raise BadConfig(f"tape {path} cannot be opened: {error.strerror}") from error
        with file:
            magic = file.read(4)
            file.seek(0)
            for first, (make, step) in _CODECS.items():
                if magic.startswith(first):
                    yield from self._unpacked(path, file, make, step)
                    return
            if any(first.startswith(magic) for first in _CODECS):
                self._tear(path, "ends inside its first bytes" if magic else "is empty")
                return
            while piece := file.read(_STEP):
                yield [piece]

    def _unpacked(self, path: Path, file: BinaryIO, make: Callable[[], _Codec], step: int) -> Iterator[list[bytes]]:
        """Decompress block after block; a block is given out when its checksum agreed."""
        codec: _Codec | None = None
        begin = at = held = waiting = 0
        text: list[bytes] = []
        while piece := file.read(step):
            at += len(piece)
            while piece:
                if codec is None:
                    begin = at - len(piece)
                    if not piece.strip(b"\0") and _zeros(file):
                        self._tear(path, f"ends in zero bytes from byte {begin}")
                        return
                    codec = make()
                try:
                    text.append(codec.decompress(piece))
                except (zlib.error, zstandard.ZstdError) as error:
                    raise BadRecord(f"{path}: the block at byte {begin} is corrupt near byte {at}: {error}") from error
                held += len(text[-1])
                waiting += len(text[-1])
                ended = codec.eof
                if ended or (held > self._held and waiting >= min(_STEP, self._held)):
                    yield text
                    text = []
                    waiting = 0
                    held = 0 if ended else held
                piece = codec.unused_data if ended else b""
                codec = None if ended else codec
        if codec is not None:
            yield text
            self._tear(path, f"ends inside the block at byte {begin}")

    def _tear(self, path: Path, detail: str) -> None:
        self.tears.append(Tear(path=path, bytes=path.stat().st_size, detail=detail))


def read(paths: Iterable[Path | str]) -> Tape:
    """Open tapes: files, or folders which stand for the tapes in them. Raises BadConfig for what is not there."""
    return Tape(paths)


def ahead(texts: Iterator[Text], reader: Executor) -> Iterator[Text]:
    """Give texts one after another, of which a thread reads the next one meanwhile. Raises where that one would."""
    following = reader.submit(next, texts, None)
    while (text := following.result()) is not None:
        following = reader.submit(next, texts, None)
        yield text


def glimpse(path: Path) -> bytes:
    """Give a tape's first frame, of which no checksum was looked at; empty where there is none. Raises as `read`."""
    return next((raw for _, raw in Tape([path], held=0)), b"")


def expand(paths: Iterable[Path | str]) -> list[Path]:
    """Name every file that the paths stand for: a folder's tapes in the order of their names."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            tapes = sorted(p for p in path.iterdir() if p.is_file() and p.name.endswith(_SUFFIXES))
            if not tapes:
                raise BadConfig(f"folder {path} has no tape, names of tapes end in {', '.join(_SUFFIXES)}")
            found += tapes
        elif path.exists():
            found.append(path)
        else:
            raise BadConfig(_missing(path))
    if not found:
        raise BadConfig("no tape is named, allowed are files and folders")
    return found


def recording_of(path: Path) -> Path | None:
    """Name the recording that a file is a part of; None where the recorder did not name it."""
    part = _PART.fullmatch(path.name)
    return path.parent / part[1] if part else None


def _missing(path: Path) -> str:
    """Say that a tape is not there, and which files with a like name are."""
    folder = path.parent
    if not folder.is_dir():
        return f"tape {path} is not there: {folder} is no folder"
    names = sorted(p.name for p in folder.iterdir())
    near = get_close_matches(path.name, names, n=3, cutoff=0.4) or names[:3]
    return f"tape {path} is not there; nearest in {folder}: {', '.join(near) or 'nothing'}"


def _bad_line(path: Path, number: int, line: bytes) -> str:
    shown = line[:40] + (b"..." if len(line) > 40 else b"")
    return f"{path}: line {number} is {shown!r}, allowed is '<receive ns> <raw>' with a stamp of 0 to {_LAST_STAMP}"


def _zeros(file: BinaryIO) -> bool:
    """Say whether nothing but zero bytes is left, as a power cut leaves behind; the position is kept where not."""
    here = file.tell()
    while chunk := file.read(_STEP):
        if chunk.strip(b"\0"):
            file.seek(here)
            return False
    return True
