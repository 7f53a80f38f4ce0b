"""Frames in, a MESSAGE row and the rows behind it out, by a kernel that writes them once, where they stay.

To ask for memory and to copy rows to it took longer than to read them from a frame's text. So many frames share one
block, each a part of its own that no other writes to. A block lives as long as any of its rows does; it is small enough
that to keep one row is no waste, and that the allocator hands out the same warm memory again.

To cut one part out of a block by a slice takes as long as to read ten levels. An index takes half of that, and to go
through a block's parts one after the other, where all are alike, half again.
"""

from collections.abc import Callable, Iterator
from math import lcm
from typing import Any, Final, TypeAlias

import numpy as np

from engine.kernel import entry
from engine.schema import MESSAGE, Channel, Rows
from ingest.rows import WORDS, Words, rows_before
from ingest.venues import Decoded

#: Text, plan (what the kernel must know before), words to write to, the first of them -> how many rows, or a refusal.
Kernel: TypeAlias = Callable[[bytes, Words, Words, int], int]

_make: Final = tuple.__new__

#: Bytes of a block, unless one frame needs more.
BLOCK: Final = 1 << 16
#: Bytes that make a row at least, `["1","1"],`; and rows that any frame may need.
SHORTEST: Final = 10
SPARE: Final = 8


class Scanner:
    """A kernel, and the present block of what it writes: parts of a MESSAGE row and any number of one family's rows."""

    __slots__ = ("_before", "_family", "_kernel", "_last", "_messages", "_next", "_rows", "_step", "_width", "_words")

    def __init__(self, kernel: Kernel, family: np.dtype[Any]) -> None:
        self._kernel = _entry(kernel)
        self._family = family
        self._before = rows_before(family)
        #: Words of a row, and rows from one place where a MESSAGE row may stand to the next.
        self._width = family.itemsize // 8
        self._step = lcm(WORDS, self._width) // self._width
        self._next = self._last = 0
        self._renew(0)

    def scan(self, frame: bytes, plan: Words, symbol: str, channel: Channel) -> Decoded | int:
        """Return what a symbol's frame says, or the kernel's refusal."""
        if self._next + len(frame) // SHORTEST > self._last:
            self._renew(len(frame))
        start = self._next
        word = start * self._width
        count = self._kernel(frame, plan, self._words, word)
        if count < 0:
            return count
        message = self._messages[word // WORDS]
        start += self._before
        end = start + count
        self._next = end - end % -self._step
        # Half of what Decoded(...) takes.
        return _make(Decoded, (symbol, channel, message, self._rows[start:end], None))

    def _renew(self, length: int) -> None:
        """Begin a block that a frame of some length fits in."""
        reserve = self._before + self._step + SPARE
        count = max(BLOCK // self._family.itemsize, length // SHORTEST + 1 + reserve)
        count -= count % -self._step
        # Kernels take plain integers at the least cost.
        self._words = np.empty(count * self._width, np.int64)
        self._rows = self._words.view(self._family)
        # The step is where a MESSAGE row may stand, so the block is as long as some number of them.
        self._messages = self._words.view(MESSAGE).reshape(-1, 1)
        self._next = 0
        self._last = count - reserve


class FlatScanner:
    """The same where every frame has as many rows as any other: the block is cut beforehand, into equal parts."""

    __slots__ = ("_before", "_end", "_family", "_kernel", "_next", "_parts", "_size", "_words")

    def __init__(self, kernel: Kernel, family: np.dtype[Any], count: int) -> None:
        self._kernel = _entry(kernel)
        self._family = family
        #: Words from a part's begin to its rows, and to the next part.
        self._before = rows_before(family) * family.itemsize // 8
        self._size = self._before + count * family.itemsize // 8
        self._renew()

    def scan(self, frame: bytes, plan: Words, symbol: str, channel: Channel) -> Decoded | int:
        """Return what a symbol's frame says, or the kernel's refusal."""
        if self._next == self._end:
            self._renew()
        refusal = self._kernel(frame, plan, self._words, self._next)
        if refusal < 0:
            return refusal
        self._next += self._size
        message, rows = next(self._parts)
        return _make(Decoded, (symbol, channel, message, rows, None))

    def _renew(self) -> None:
        count = BLOCK // (8 * self._size)
        self._words = np.empty(count * self._size, np.int64)
        parts = self._words.reshape(count, self._size)
        messages, rows = parts[:, :WORDS].view(MESSAGE), parts[:, self._before :].view(self._family)
        self._parts: Iterator[tuple[Rows, Rows]] = zip(messages, rows, strict=True)
        self._next, self._end = 0, count * self._size


def _entry(kernel: Kernel) -> Kernel:
    nothing = np.zeros(WORDS, np.int64)
    return entry(kernel, b"", nothing, nothing.copy(), 0)
