"""Frames in, a MESSAGE row and the rows behind it out, by a kernel that writes them once, where they stay.

To ask for memory and to copy rows to it took longer than to read them from a frame's text. So many frames share one
block, each a part of its own that no other writes to. A block lives as long as any of its rows does; it is small enough
that to keep one row is no waste, and that the allocator hands out the same warm memory again.

To cut one part out of a block by a slice takes as long as to read twenty levels. To go through parts one after the
other takes less than half of that, so it is done wherever all are alike: MESSAGE rows, and rows of flat frames.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np

from engine.kernel import entry
from engine.schema import MESSAGE, Channel, Rows
from ingest.rows import HEAD, WORDS, Words, rows_before
from ingest.tokens import FULL
from ingest.venues import Decoded

#: Text, plan (what the kernel must know before), block to write to (`ingest.rows`) -> how many rows, or a refusal.
Kernel: TypeAlias = Callable[[bytes, Words, Words], int]

_make: Final = tuple.__new__

#: Bytes of a block, unless one frame needs more.
BLOCK: Final = 1 << 16
#: Bytes that make a row at least, `["1","1"],`; and MESSAGE rows of a block whose frames have any number of rows.
SHORTEST: Final = 10
MESSAGES: Final = 128


class Scanner:
    """A kernel, and the present block of what it writes: MESSAGE rows, then any number of one family's for each."""

    __slots__ = ("_family", "_kernel", "_messages", "_next", "_rows", "_words")

    def __init__(self, kernel: Kernel, family: np.dtype[Any]) -> None:
        self._kernel = _entry(kernel)
        self._family = family
        self._next = 0
        self._renew(0)

    def scan(self, frame: bytes, plan: Words, symbol: str, channel: Channel) -> Decoded | int:
        """Return what a symbol's frame says, or the kernel's refusal."""
        count = self._kernel(frame, plan, self._words)
        if count == FULL:
            self._renew(len(frame))
            count = self._kernel(frame, plan, self._words)
        if count < 0:
            return count
        start = self._next
        self._next = end = start + count
        # Half of what Decoded(...) takes.
        return _make(Decoded, (symbol, channel, next(self._messages), self._rows[start:end], None))

    def _renew(self, length: int) -> None:
        """Begin a block that a frame of some length fits in."""
        count = max(BLOCK // self._family.itemsize, length // SHORTEST + 1)
        before = HEAD + MESSAGES * WORDS
        # Kernels take plain integers at the least cost.
        self._words = np.empty(before + count * self._family.itemsize // 8, np.int64)
        self._words[:HEAD] = HEAD, before, before
        self._rows = self._words[before:].view(self._family)
        self._messages: Iterator[Rows] = iter(self._words[HEAD:before].view(MESSAGE).reshape(-1, 1))
        self._next = 0


class FlatScanner:
    """The same where every frame has as many rows as any other: the block is cut beforehand, into equal parts."""

    __slots__ = ("_before", "_family", "_kernel", "_parts", "_size", "_words")

    def __init__(self, kernel: Kernel, family: np.dtype[Any], count: int) -> None:
        self._kernel = _entry(kernel)
        self._family = family
        #: Words from a part's begin to its rows, and to the next part.
        self._before = rows_before(family) * family.itemsize // 8
        self._size = self._before + count * family.itemsize // 8
        self._renew()

    def scan(self, frame: bytes, plan: Words, symbol: str, channel: Channel) -> Decoded | int:
        """Return what a symbol's frame says, or the kernel's refusal."""
        count = self._kernel(frame, plan, self._words)
        if count == FULL:
            self._renew()
            count = self._kernel(frame, plan, self._words)
        if count < 0:
            return count
        message, rows = next(self._parts)
        return _make(Decoded, (symbol, channel, message, rows, None))

    def _renew(self) -> None:
        count = BLOCK // (8 * self._size)
        self._words = np.empty(HEAD + count * self._size, np.int64)
        self._words[:HEAD] = HEAD, len(self._words), 0
        parts = self._words[HEAD:].reshape(count, self._size)
        messages, rows = parts[:, :WORDS].view(MESSAGE), parts[:, self._before :].view(self._family)
        self._parts: Iterator[tuple[Rows, Rows]] = zip(messages, rows, strict=True)


def _entry(kernel: Kernel) -> Kernel:
    nothing = np.zeros(HEAD, np.int64)
    return entry(kernel, b"", nothing, nothing.copy())
