"""The recorder: records in, lines `<time> <value>` of a compressed tape out.

A tape is blocks one after another, each a whole gzip member or zstd frame of about a megabyte or a second of lines, so
that a killed recorder loses at most the block it was filling, and what waited for a slow disk. A recording is parts,
`<prefix>-<time of its first record>-<part>.tape.gz`, whose names sort in order and are never used twice.

The caller never waits for the disk: lines go to a bounded queue, one thread writes it. Whatever was accepted stays in
the queue until it is written whole. What goes wrong is said to the caller by Undelivered:

    the queue stays full longer than `patience`   this write took nothing; what was accepted before is still queued
    the disk is full or refuses                   the same, and the block is taken back from the file and tried again
    fsync fails                                   lines since the last fsync may be lost; a new part is begun
"""

import os
import re
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import Final, Literal, get_args

import zstandard

from engine.errors import BadConfig, BadFrame, Undelivered
from engine.schema import Record

#: When bytes are forced to the disk, besides at the end of a part, at flush and at close: after each block, after a
#: block but at most once a second, or not before (until then they survive a kill of the process, not a power cut).
Sync = Literal["block", "second", "part"]
Codec = Literal["gzip", "zstd"]

_SUFFIX: Final = {"gzip": ".tape.gz", "zstd": ".tape.zst"}
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeConfig:
    """Where a recording goes and how it is cut."""

    folder: Path
    #: First word of every file name, usually the venue.
    prefix: str
    codec: Codec = "gzip"
    #: Bytes of lines in a block, and the longest that a line waits for its block to fill, s.
    block: int = 1 << 20
    interval: float = 1.0
    #: Bytes of lines, and ns of record time, after which a new part begins.
    part_bytes: int = 1 << 30
    part_time: int = 3600 * _SECOND
    #: Bytes of lines that may wait for the disk, and how long a write waits for room among them, s.
    queue: int = 64 << 20
    patience: float = 1.0
    #: How long flush and close wait for the disk, s.
    flush_timeout: float = 30.0
    sync: Sync = "second"

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise BadConfig(
                f"tape prefix is {self.prefix!r}, allowed are letters, digits, '_', '.' and '-', at most 100"
            )
        for name, allowed in (("codec", get_args(Codec)), ("sync", get_args(Sync))):
            if getattr(self, name) not in allowed:
                raise BadConfig(f"tape {name} is {getattr(self, name)!r}, allowed are {', '.join(allowed)}")
        for name in ("block", "interval", "part_bytes", "part_time", "queue", "patience", "flush_timeout"):
            if getattr(self, name) <= 0:
                raise BadConfig(f"tape {name} is {getattr(self, name)}, allowed is more than 0")
        if self.queue < 2 * self.block:
            raise BadConfig(f"tape queue is {self.queue}, allowed are two blocks and more: {2 * self.block}")


@dataclass(slots=True)
class _Block:
    """Lines on their way to one part of the recording."""

    part: int
    #: Monotonic time of the first line, s.
    since: float
    lines: bytearray = field(default_factory=bytearray)
    #: The writer has it: nothing may be added.
    taken: bool = False


class TapeSink:
    """Record to a folder. `header` is given a stamp and returns the control line that opens every part."""

    def __init__(self, config: TapeConfig, header: Callable[[int], bytes] | None = None) -> None:
        self.config = config
        #: Files written so far, in order.
        self.paths: list[Path] = []
        self._header = header
        self._start = -1
        self._last = -1
        self._part = -1
        self._part_began = 0
        self._part_bytes = 0
        self._blocks: deque[_Block] = deque()
        self._bytes = 0
        self._changed = Condition()
        self._error: OSError | None = None
        self._urgent = False
        self._closing = False
        self._ended = False
        self._file = _Files(config, self.paths)
        self._thread = Thread(target=self._run, name=f"tape {config.prefix}", daemon=True)
        self._thread.start()

    def write(self, records: Sequence[Record]) -> None:
        """Queue records. Raises BadFrame for a value of several lines, Undelivered as above; then none was taken."""
        for record in records:
            if b"\n" in record.value:
                raise BadFrame("newline", f"{record.key} at {record.time}: a line of a tape cannot hold a newline byte")
        lines = [b"%d %b\n" % (record.time, record.value) for record in records]
        size = sum(map(len, lines))
        with self._changed:
            if self._closing:
                raise Undelivered(f"tape {self.config.prefix} is closed")
            if self._stuck() or not self._room(size):
                self._changed.wait_for(lambda: self._stuck() or self._room(size), self.config.patience)
                if self._stuck() or not self._room(size):
                    raise Undelivered(self._why(f"{len(lines)} records were not taken"))
            for record, line in zip(records, lines, strict=True):
                self._place(record.time, line)

    def flush(self) -> None:
        """Return when everything written is on the disk; raises Undelivered where it is not."""
        with self._changed:
            self._urgent = True
            self._error = None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stuck() or not self._urgent, self.config.flush_timeout)
            if self._urgent:
                self._urgent = False
                raise Undelivered(self._why(f"{self._bytes} bytes of lines are not on the disk"))

    def close(self) -> None:
        """Write what is queued, end the file and the thread. Raises Undelivered where lines were lost."""
        try:
            if not self._ended:
                self.flush()
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join(self.config.flush_timeout)
        if self._blocks:
            raise Undelivered(self._why(f"{self._bytes} bytes of lines were lost"))

    def _room(self, size: int) -> bool:
        return self._bytes + size <= self.config.queue or not self._blocks

    def _stuck(self) -> bool:
        return self._error is not None or self._ended

    def _why(self, lost: str) -> str:
        if self._error:
            cause = str(self._error)
        elif not self._ended:
            cause = f"the disk is too slow: {self._bytes} bytes wait, allowed are {self.config.queue}"
        else:
            cause = "the writer has ended"
        return f"tape {self.config.prefix} in {self.config.folder}: {cause}; {lost}"

    def _place(self, stamp: int, line: bytes) -> None:
        """Add a line to the block being filled, after beginning a new part where one is due."""
        config = self.config
        over = self._part_bytes >= config.part_bytes or stamp - self._part_began >= config.part_time
        # The part's opening line takes the nanosecond before this one, so a part can only begin where that one is free.
        if self._part < 0 or (over and stamp - 1 > self._last):
            self._start = stamp if self._part < 0 else self._start
            self._part += 1
            self._part_began, self._part_bytes = stamp, 0
            if self._header is not None:
                line = b"%d %b\n%b" % (stamp - 1, self._header(stamp - 1), line)
        self._last = stamp
        self._part_bytes += len(line)
        self._bytes += len(line)
        block = self._blocks[-1] if self._blocks else None
        if block is None or block.taken or block.part != self._part or len(block.lines) >= config.block:
            block = _Block(self._part, time.monotonic())
            self._blocks.append(block)
            self._changed.notify_all()
        block.lines += line
        if len(block.lines) >= config.block:
            self._changed.notify_all()

    def _run(self) -> None:
        """Be the writer; whatever ends it, nobody waits for it any more."""
        try:
            self._drain()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _drain(self) -> None:
        """Write blocks until closed: with _attempt the only code that touches the files."""
        ended = False
        while not ended:
            with self._changed:
                block = self._take()
                ended = self._closing and block is None
                everything = ended or (self._urgent and len(self._blocks) <= 1)
                start = self._start
            written, error = self._attempt(start, block, everything)
            with self._changed:
                if block is not None and written:
                    self._blocks.popleft()
                    self._bytes -= len(block.lines)
                self._error = error
                if everything and error is None and not self._blocks:
                    self._urgent = False
                self._changed.notify_all()
                if error is not None:
                    ended = self._closing
                    # A full disk is asked again once in a while, or when somebody flushes.
                    self._changed.wait_for(lambda: self._error is None or self._closing, self.config.interval)
        self._file.end()

    def _attempt(self, start: int, block: _Block | None, everything: bool) -> tuple[bool, OSError | None]:
        """Write a block, force to the disk what is due; say whether the block is written and what went wrong."""
        written = False
        try:
            if block is not None:
                self._file.append(start, block.part, bytes(block.lines))
                written = True
            self._file.sync(everything)
        except OSError as error:
            return written, error
        return written, None

    def _take(self) -> _Block | None:
        """Wait for a block that is full, due or wanted now; None: there is something else to do."""
        while True:
            now = time.monotonic()
            wait = self._file.until_sync(now)
            if self._blocks:
                block = self._blocks[0]
                due = block.since + self.config.interval - now
                full = len(self._blocks) > 1 or len(block.lines) >= self.config.block
                if full or due <= 0 or self._urgent or self._closing:
                    block.taken = True
                    return block
                wait = due if wait is None else min(wait, due)
            elif self._urgent or self._closing:
                return None
            if wait is not None and wait <= 0:
                return None
            self._changed.wait(wait)


class _Files:
    """The parts of one recording on the disk: whole blocks or nothing."""

    def __init__(self, config: TapeConfig, paths: list[Path]) -> None:
        self.config = config
        self.paths = paths
        self._descriptor = -1
        self._part = -1
        #: Names already taken, by an earlier recording of the same first stamp or by a part that had to be given up.
        self._skipped = 0
        self._whole = 0
        self._dirty = False
        self._synced = time.monotonic()

    def append(self, start: int, part: int, lines: bytes) -> None:
        """Write one block whole, or raise OSError and leave the file as it was."""
        if self._descriptor < 0 or part != self._part:
            self.sync(True)
            self.end()
            self._open(start, part)
        left = memoryview(_compress(self.config.codec, lines))
        size = len(left)
        self._dirty = True
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            self._take_back()
            raise
        self._whole += size

    def sync(self, force: bool) -> None:
        """Force what was written to the disk where that is due; after a failure a new part is begun."""
        wait = self.until_sync(time.monotonic())
        if not self._dirty or not (force or self.config.sync == "block" or (wait is not None and wait <= 0)):
            return
        self._dirty = False
        self._synced = time.monotonic()
        try:
            os.fsync(self._descriptor)
        except OSError:
            # What the kernel could not write it may have dropped: asking the same file again would look like success.
            self._give_up()
            raise

    def until_sync(self, now: float) -> float | None:
        """Say how long the next fsync may wait, s; None where none is owed."""
        return self._synced + 1.0 - now if self._dirty and self.config.sync == "second" else None

    def end(self) -> None:
        """Close the part."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _open(self, start: int, part: int) -> None:
        """Make the part's file under a name that nobody has used."""
        self.config.folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        while True:
            name = f"{self.config.prefix}-{start:019d}-{part + self._skipped:06d}{_SUFFIX[self.config.codec]}"
            path = self.config.folder / name
            try:
                self._descriptor = os.open(path, flags, 0o644)
                break
            except FileExistsError:
                self._skipped += 1
        self._part, self._whole = part, 0
        self.paths.append(path)
        folder = os.open(self.config.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _take_back(self) -> None:
        """Cut off a block that was written in part; where even that fails, leave the file torn at its end for good."""
        try:
            os.ftruncate(self._descriptor, self._whole)
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        self.end()
        self._dirty = False
        self._skipped += 1


def _compress(codec: Codec, lines: bytes) -> bytes:
    if codec == "gzip":
        return zlib.compress(lines, level=6, wbits=31)
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(lines)
