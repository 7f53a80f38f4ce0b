"""Binance's depth frames in, the grids that their prices and sizes stand on out: one pass over the bytes.

A recording that states no instruments shows them by its frames, and its first ones hold a hundred thousand levels: as
Python's texts they took a third of the time of a whole tape of 28 MB. What is asked of them is only how many decimals
are printed, how many of those are not zeros at the end, the largest number, and what divides all.

The kernel is as strict as `ingest.scan`, and its answer is whole or none: where anything is not plainly as the layout
says, in any frame that speaks of depth, it gives up, and the caller takes the slow path, which then decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Final, TypeAlias

import numpy as np

from engine.kernel import Text, byte_at, inlined, inner, kernel, low_bit, pinned, places_of, word_at
from ingest.decimals import LIMIT, rounded, shown
from ingest.rows import Words
from ingest.stretch import BEGIN, END, cut_lines
from ingest.tape import Head
from ingest.tokens import DIGITS, STRUCTURE, beginning, is_over, matches, skip, skip_blank, string, trimmed

#: Symbols of one recording, and bytes of a symbol, at most; the table of places is sparse.
SYMBOLS: Final = 1024
_SYMBOL: Final = 32
_SLOTS: Final = 4 * SYMBOLS

#: Places of a grid: decimals printed at most; of these not zeros at the end; the largest number at that scale, -1: none
#: was met; what divides all numbers at that scale.
_PLACES, _SIGNIFICANT, _LARGEST, _STEP, _GRID = range(5)
#: Places of a row: a symbol as words, how long it is (of bodies: 1 once there was one), the grids of prices and sizes.
_NAME: Final = 0
_LENGTH: Final = _SYMBOL // 8
_PRICES: Final = _LENGTH + 1
_SIZES: Final = _PRICES + _GRID
_WIDTH: Final = _SIZES + _GRID
#: Rows of the first REST body, of those after it, and of the first symbol.
_BODY, _LATER, _FIRST = range(3)

#: Bits of the keys that were found; those of a diff, and those of a body.
_EVENT, _IS_OF, _BIDS, _ASKS, _PREVIOUS, _ID, _BODY_BIDS, _BODY_ASKS, _INNER = (1 << bit for bit in range(9))
_DIFF: Final = _EVENT | _IS_OF | _BIDS | _ASKS
_WHOLE: Final = _ID | _BODY_BIDS | _BODY_ASKS

_DEPTH_UPDATE: Final = np.frombuffer(b'"depthUpdate"', np.uint8)
_LAST_UPDATE_ID: Final = np.frombuffer(b'"lastUpdateId"', np.uint8)
_OF_BIDS: Final = np.frombuffer(b'"bids"', np.uint8)
_OF_ASKS: Final = np.frombuffer(b'"asks"', np.uint8)
_OF_DATA: Final = np.frombuffer(b'"data"', np.uint8)
#: "depthUpdate" and "lastUpdateId", eight bytes of each and what is left.
_DEPTH_UP: Final = int.from_bytes(b"depthUpd", "little")
_TH_UPDATE: Final = int.from_bytes(b"thUpdate", "little")
_LAST_UPD: Final = int.from_bytes(b"lastUpda", "little")
_UPDATE_ID: Final = int.from_bytes(b"UpdateId", "little")


@dataclass(frozen=True, slots=True)
class Grid:
    """What some numbers of one kind show; `largest` and `step` are integers at the scale of `places`."""

    #: Decimals printed at most, zeros at the end included; and without those.
    places: int
    significant: int
    #: -1: no number was met.
    largest: int
    #: What divides every number; 0: none but zeros were met.
    step: int

    def __or__(self, other: "Grid") -> "Grid":
        """Join what two show."""
        common = max(self.places, other.places)
        mine, its = self.scaled(common), other.scaled(common)
        significant = max(self.significant, other.significant)
        return Grid(common, significant, max(mine.largest, its.largest), gcd(mine.step, its.step))

    def scaled(self, decimals: int) -> "Grid":
        """Give the same at another scale, of no fewer decimals than are not zeros."""
        more, fewer = 10 ** max(decimals - self.places, 0), 10 ** max(self.places - decimals, 0)
        return Grid(decimals, self.significant, self.largest * more // fewer, self.step * more // fewer)

    def whole(self) -> int:
        """Give the largest number as an integer, to the nearest, halves to even."""
        return rounded(shown(self.largest, self.places), 0)


#: Those of prices and of sizes.
Grids: TypeAlias = tuple[Grid, Grid]


def grids(frames: Sequence[bytes], futures: bool) -> tuple[dict[str, Grids], Grids | None] | None:
    """Return each symbol's grids by its diffs, and those of the first REST body if there is one; None: unclear.

    Diffs of futures must state the id before theirs (`pu`), others must not.
    """
    rows = np.zeros((_FIRST + SYMBOLS, _WIDTH), np.int64)
    rows[:, [_PRICES + _LARGEST, _SIZES + _LARGEST]] = -1
    slots, count = np.full(_SLOTS, -1, np.int64), 0
    for text, lines in _laid(frames):
        count = find_grids(text, lines, futures, rows, slots, count) if lines is not None else STRUCTURE
        if count < 0:
            return None
    found = rows[: _FIRST + count].tolist()
    named = {_symbol_of(row): _grids_of(row) for row in found[_FIRST:]}
    return named, _grids_of(found[_BODY]) if found[_BODY][_LENGTH] else None


def _laid(frames: Sequence[bytes]) -> Iterator[tuple[bytes, Words | None]]:
    """Give frames one behind the other, and where each is, as lines of a stretch; None: one of them is no line."""
    if not isinstance(frames, Head):
        lines = np.zeros((len(frames), 3), np.int64)
        lines[:, END] = np.cumsum(np.fromiter(map(len, frames), np.int64, len(frames)))
        lines[1:, BEGIN] = lines[:-1, END]
        yield b"".join(frames), lines
        return
    left = len(frames)
    for text in frames.texts:
        lines = np.empty((text.after - text.before, 3), np.int64)
        most, count = min(left, len(lines)), cut_lines(text.text, lines)
        # What is behind the lines asked for may be anything.
        yield text.text, lines[:most] if count >= most or -count - 1 >= most else None
        left -= most


def _symbol_of(row: list[int]) -> str:
    return b"".join(word.to_bytes(8, "little", signed=True) for word in row[:_LENGTH])[: row[_LENGTH]].decode()


def _grids_of(row: list[int]) -> Grids:
    return Grid(*row[_PRICES:_SIZES]), Grid(*row[_SIZES:])


@kernel
def find_grids(text: bytes, lines: Words, futures: bool, rows: Words, slots: Words, count: int) -> int:
    """Read every frame that speaks of depth; return how many symbols there are, or a refusal.

    `slots` is where a symbol's row is found by its bytes; all are -1 as long as there are none.
    """
    frame, length = pinned(text), len(text)
    for i in range(len(lines)):
        begin, end = int(lines[i, BEGIN]), int(lines[i, END])
        if not _is_of_depth(frame, begin, end, length):
            continue
        end = trimmed(frame, begin, end)
        if end < 0:
            return STRUCTURE
        at, wrapped = beginning(frame, begin, end)
        if at < 0:
            return STRUCTURE
        at, count = _read(frame, at, end, futures, rows, slots, count)
        if at < 0 or not is_over(frame, at, end, wrapped):
            return STRUCTURE
    return count


@inner
def _is_of_depth(frame: Text, begin: int, end: int, length: int) -> bool:
    """Say whether "depthUpdate" or "lastUpdateId" stands anywhere in a frame: both have one capital U, others few."""
    at = begin
    while at < end:
        if at + 32 <= length:
            places = places_of(frame, at, ord("U"))
            if end - at < 32:
                places &= (1 << (end - at)) - 1
            while places:
                if _speaks(frame, begin, at + low_bit(places), end):
                    return True
                places &= places - 1
            at += 32
        else:
            if byte_at(frame, at) == ord("U") and _speaks(frame, begin, at, end):
                return True
            at += 1
    return False


@inlined
def _speaks(frame: Text, begin: int, at: int, end: int) -> bool:
    """Say so of the words whose U is here."""
    if at - begin >= 5 and end - at >= 6 and word_at(frame, at - 5) == _DEPTH_UP:
        return word_at(frame, at - 2) == _TH_UPDATE
    if at - begin >= 4 and end - at >= 8 and word_at(frame, at - 4) == _LAST_UPD:
        return word_at(frame, at) == _UPDATE_ID
    return False


@inner
def _read(frame: Text, at: int, end: int, futures: bool, rows: Words, slots: Words, count: int) -> tuple[int, int]:
    """Read the inner object, `at` being its first key; return where it ended, or a refusal, and how many symbols."""
    found, row = 0, -1
    while True:
        close = string(frame, at, end)
        if close < 0:
            return STRUCTURE, count
        key = _key(frame, at, close)
        at = skip_blank(frame, close + 1)
        if found & key or key == _INNER or byte_at(frame, at) != ord(":"):
            return STRUCTURE, count
        found |= key
        at = skip_blank(frame, at + 1)
        if key == _EVENT:
            if not matches(frame, at, end, _DEPTH_UPDATE):
                return STRUCTURE, count
            at += len(_DEPTH_UPDATE)
        elif key == _IS_OF:
            close = string(frame, at, end)
            if close < 0 or close - at - 1 > _SYMBOL:
                return STRUCTURE, count
            row = _row_of(frame, at + 1, close, rows, slots, count)
            if row >= len(rows):
                return STRUCTURE, count
            count = max(count, row - _FIRST + 1)
            at = close + 1
        elif key == _ID:
            row = _LATER if rows[_BODY, _LENGTH] else _BODY
            at = skip(frame, at, end)
        elif key == 0 or key == _PREVIOUS:
            at = skip(frame, at, end)
        else:
            # Levels before what they are of are not what the venue sends.
            at = _read_levels(frame, at, rows, row) if row >= 0 else STRUCTURE
        if at < 0:
            return STRUCTURE, count
        at = skip_blank(frame, at)
        if byte_at(frame, at) == ord("}"):
            break
        if byte_at(frame, at) != ord(","):
            return STRUCTURE, count
        at = skip_blank(frame, at + 1)
    if found == _WHOLE:
        rows[_BODY, _LENGTH] = 1
    elif found != (_DIFF | _PREVIOUS if futures else _DIFF):
        return STRUCTURE, count
    return at + 1, count


@inlined
def _key(frame: Text, start: int, close: int) -> int:
    """Return the bit of a key, 0 for one that says nothing here; `start` and `close` are where its quotes are."""
    if close - start == 2:
        byte = byte_at(frame, start + 1)
        if byte == ord("b"):
            return _BIDS
        if byte == ord("a"):
            return _ASKS
        if byte == ord("s"):
            return _IS_OF
        return _EVENT if byte == ord("e") else 0
    if close - start == 3:
        return _PREVIOUS if byte_at(frame, start + 1) == ord("p") and byte_at(frame, start + 2) == ord("u") else 0
    if matches(frame, start, close + 1, _LAST_UPDATE_ID):
        return _ID
    if matches(frame, start, close + 1, _OF_BIDS):
        return _BODY_BIDS
    if matches(frame, start, close + 1, _OF_ASKS):
        return _BODY_ASKS
    return _INNER if matches(frame, start, close + 1, _OF_DATA) else 0


@inner
def _row_of(frame: Text, begin: int, close: int, rows: Words, slots: Words, count: int) -> int:
    """Return a symbol's row, the next free one for a new symbol, which is named; len(rows): none is free."""
    new = _FIRST + count
    if new >= len(rows):
        return len(rows)
    mixed = 0
    for n in range(_LENGTH):
        rows[new, _NAME + n] = 0
    for i in range(close - begin):
        byte = byte_at(frame, begin + i)
        rows[new, _NAME + i // 8] |= byte << (8 * (i % 8))
        mixed = (mixed * 31 + byte) & 0xFFFFFFFF
    rows[new, _LENGTH] = close - begin
    place = mixed % len(slots)
    while slots[place] >= 0:
        row, same = int(slots[place]), True
        for n in range(_LENGTH + 1):
            same &= rows[row, _NAME + n] == rows[new, _NAME + n]
        if same:
            return row
        place = (place + 1) % len(slots)
    slots[place] = new
    return new


@inner
def _read_levels(frame: Text, at: int, rows: Words, row: int) -> int:
    """Read `[["price","size"],...]`; return where it ended, or a refusal."""
    if byte_at(frame, at) != ord("["):
        return STRUCTURE
    at = skip_blank(frame, at + 1)
    if byte_at(frame, at) == ord("]"):
        return at + 1
    while True:
        if byte_at(frame, at) != ord("["):
            return STRUCTURE
        at = _read_number(frame, skip_blank(frame, at + 1), rows, row, _PRICES)
        if at < 0 or byte_at(frame, at) != ord(","):
            return STRUCTURE
        at = _read_number(frame, skip_blank(frame, at + 1), rows, row, _SIZES)
        if at < 0 or byte_at(frame, at) != ord("]"):
            return STRUCTURE
        at = skip_blank(frame, at + 1)
        if byte_at(frame, at) == ord("]"):
            return at + 1
        if byte_at(frame, at) != ord(","):
            return STRUCTURE
        at = skip_blank(frame, at + 1)


@inlined
def _read_number(frame: Text, at: int, rows: Words, row: int, grid: int) -> int:
    """Read a quoted decimal into a grid; return where what follows it stands, or a refusal."""
    if byte_at(frame, at) != ord('"'):
        return STRUCTURE
    at += 1
    start, value, places, significant = at, 0, 0, 0
    digit = byte_at(frame, at) - ord("0")
    while 0 <= digit <= 9:
        value = value * 10 + digit
        at += 1
        digit = byte_at(frame, at) - ord("0")
    digits = at - start
    if digits == 0:
        return STRUCTURE
    if byte_at(frame, at) == ord("."):
        at += 1
        start = at
        digit = byte_at(frame, at) - ord("0")
        while 0 <= digit <= 9:
            value = value * 10 + digit
            at += 1
            if digit:
                significant = at - start
            digit = byte_at(frame, at) - ord("0")
        places = at - start
        digits += places
        if places == 0:
            return STRUCTURE
    if byte_at(frame, at) != ord('"') or digits > DIGITS:
        return STRUCTURE
    if not _note(value, places, significant, rows, row, grid):
        return STRUCTURE
    return skip_blank(frame, at + 1)


@inner
def _note(value: int, places: int, significant: int, rows: Words, row: int, grid: int) -> bool:
    """Note a number, an integer at the scale of its places; False where it, or those before, would leave 18 digits."""
    while places < rows[row, grid + _PLACES]:
        if value >= LIMIT // 10:
            return False
        value *= 10
        places += 1
    while places > rows[row, grid + _PLACES]:
        if rows[row, grid + _LARGEST] >= LIMIT // 10:
            return False
        if rows[row, grid + _LARGEST] > 0:
            rows[row, grid + _LARGEST] *= 10
        rows[row, grid + _STEP] *= 10
        rows[row, grid + _PLACES] += 1
    rows[row, grid + _SIGNIFICANT] = max(rows[row, grid + _SIGNIFICANT], significant)
    rows[row, grid + _LARGEST] = max(rows[row, grid + _LARGEST], value)
    step = int(rows[row, grid + _STEP])
    if step == 0 or value % step:
        while value:
            step, value = value, step % value
        rows[row, grid + _STEP] = step
    return True
