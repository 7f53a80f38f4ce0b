"""Many lines of a tape at once: text in, the batches of `ingest.linger` out, the same as line by line.

Of a line by itself, Python takes ten times as long around the kernel that reads it as the kernel does. So a stretch of
plain lines (`ingest.stretch`) goes through one kernel; whatever is not plain (our own lines, a book that is being
opened, a gap, a repetition, what a scanner refuses) is the session's to judge, line by line, as it is live.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from engine.schema import FAMILY, INSTRUMENT, MESSAGE, Batch, empty
from ingest.linger import MESSAGE_BYTES, Linger, Piece
from ingest.rows import HEAD, PARTS, WORDS, Words, rows_before
from ingest.scanner import SHORTEST
from ingest.session import Session
from ingest.stretch import (
    BEGINS,
    CLOCK,
    CONNECTION,
    COUNTS,
    FAMILIES,
    FIRST,
    FOUND,
    GROUP_OWNER,
    GROUP_WIDTH,
    NOW,
    OFFSET,
    OFFSET_KNOWN,
    PLACES,
    SPOKE,
    STATE,
    STREAM,
    TOTALS,
    WINDOW,
    arrange,
    cut_lines,
    group,
    place_heads,
    take_stretch,
    words_of,
)
from ingest.tape import Text
from ingest.venues import Decoder, Plain, PlainDecoder

#: After a line that is not plain the next stretch is tried at once, then after twice as many lines, and so on to this.
PATIENCE: Final = 64
#: The parts of a batch that has no rows; to make them for each would take as long as the rest of it.
NOTHING: Final = {
    "instruments": empty(INSTRUMENT),
    **{PARTS[family]: empty(family) for family in FAMILIES},
}


class Bulk:
    """Takes the texts of one recording for its session and linger."""

    def __init__(self, session: Session, linger: Linger, until: int | None = None) -> None:
        """Begin; `until`, ns of receive time, ends it before the first line that is not earlier."""
        self._session, self._linger, self._until = session, linger, until
        self.ended = False
        self._decoder: Decoder | None = None
        self._streams: list[Plain] = []
        self._symbols: list[str] = []
        self._clock = np.zeros(CLOCK, np.int64)
        self._patience = self._wait = 0

    def take(self, text: Text) -> Iterator[tuple[int, int, bytes | None, list[Batch]]]:
        """Give what closes as lines are taken: its time, lines taken since, a line that is not plain, batches.

        A line that is not plain is the caller's to take. Raises BadRecord where a line is none.
        """
        lines = np.empty((text.after - text.before, 3), np.int64)
        count = cut_lines(text.text, lines)
        if count < 0:
            # The lines before it are good, and taken.
            good, parts = -count - 1, text.text.split(b"\n", -count)
            whole = b"".join(line + b"\n" for line in parts[:good])
            yield from self.take(Text(text.path, text.before, text.before + good, whole))
            raise text.fault(good, parts[good])
        if self._until is not None and count and int(lines[:, 0].max()) >= self._until:
            self.ended, count = True, int((lines[:, 0] >= self._until).argmax())
        at = 0
        while at < count:
            taken = 0
            if self._wait:
                self._wait -= 1
            else:
                taken, pieces = self._stretch(text.text, lines[at:count])
                for stamp, closed in self._linger.add_pieces(pieces):
                    yield stamp, 0, None, closed
                self._patience = 0 if taken else min(PATIENCE, 2 * self._patience + 1)
                self._wait = self._patience
            if taken:
                at += taken
                yield int(lines[at - 1, 0]), taken, None, []
            else:
                received, begin, end = lines[at].tolist()
                yield received, 0, text.text[begin:end], []
                self._clock[NOW] = max(int(self._clock[NOW]), received)
                at += 1

    def _stretch(self, text: bytes, lines: Words) -> tuple[int, list[Piece]]:
        """Take as many lines as are plain; give how many, and what they say."""
        if self._session.decoder is not self._decoder:
            self._learn()
        if not self._streams:
            return 0, []
        self._stand()
        size = len(text) - int(lines[0, 1])
        before = HEAD + len(lines) * WORDS
        words = np.empty(before + 2 * (size // SHORTEST + len(lines)), np.int64)
        words[:HEAD] = HEAD, before, before
        found = np.empty((len(lines), FOUND), np.int64)
        others = np.empty(len(lines) * self._longest, np.int64)
        self._clock[TOTALS:] = 0
        taken = take_stretch(
            text, lines, self._heads, self._span, self._slots, self._plans, self._table, self._states, self._clock,
            words, self._scratch, others, found,
        )  # fmt: skip
        if not taken:
            return 0, []
        self._move(taken)
        return taken, self._pieces(words, others, found[:taken])

    def _pieces(self, words: Words, others: Words, found: Words) -> list[Piece]:
        """Lay messages and rows by window and instrument, a batch each."""
        groups = np.empty((len(found), GROUP_WIDTH), np.int64)
        opened = np.full((len(self._symbols), 2), -1, np.int64)
        groups = groups[: group(words, found, self._linger.interval, opened, groups)]
        rows = [np.empty(total, np.int64) for total in self._clock[TOTALS:].tolist()]
        laid = np.empty(len(found) * WORDS, np.int64)
        arrange(words, others, found, groups, laid, *rows)
        messages = laid.view(MESSAGE)
        parts = [part.view(family) for part, family in zip(rows, FAMILIES, strict=True)]
        pieces = []
        for row in groups.tolist():
            end, count = row[BEGINS], row[COUNTS]
            own = dict(NOTHING)
            for n, family in enumerate(FAMILIES):
                width, held = family.itemsize // 8, row[COUNTS + 1 + n]
                if held:
                    stop = row[BEGINS + 1 + n]
                    own[PARTS[family]] = parts[n][(stop - held) // width : stop // width]
            key, asset = self._names[row[GROUP_OWNER]]
            batch = Batch(instrument=key, asset=asset, messages=messages[end - count : end], **own)
            size = MESSAGE_BYTES * count + 8 * sum(row[COUNTS + 1 : BEGINS])
            pieces.append(Piece(row[WINDOW], row[FIRST], size, batch))
        return pieces

    def _learn(self) -> None:
        """Make the kernel's tables of a new decoder."""
        self._decoder = self._session.decoder
        self._streams = list(self._decoder.plain()) if isinstance(self._decoder, PlainDecoder) else []
        if not self._streams:
            return
        self._symbols = sorted({stream.symbol for stream in self._streams})
        instruments = self._session.instruments
        self._names = [(instruments[symbol].key, instruments[symbol].asset) for symbol in self._symbols]
        self._span = len(self._streams[0].head)
        self._heads = np.array([words_of(stream.head) for stream in self._streams], np.int64)
        self._slots = np.empty(1 << (4 * len(self._streams)).bit_length(), np.int64)
        place_heads(self._heads, self._slots)
        self._plans = np.concatenate([stream.plan for stream in self._streams])
        self._table = np.zeros((len(self._streams), STREAM), np.int64)
        self._states = np.zeros((len(self._symbols), STATE), np.int64)
        begin = self._longest = 0
        for row, stream in zip(self._table, self._streams, strict=True):
            family = FAMILY[stream.kind]
            before, size = rows_before(family) * family.itemsize // 8, stream.rows * family.itemsize // 8
            row[:] = begin, begin + len(stream.plan), stream.rows > 0, before, size, 0, 0, 0, 0
            row[5:7] = self._symbols.index(stream.symbol), PLACES[int(stream.kind)]
            begin += len(stream.plan)
            self._longest = max(self._longest, size)
        self._scratch = np.zeros(HEAD + WORDS + 64 + self._longest, np.int64)
        self._scratch[:HEAD] = HEAD, len(self._scratch), 0

    def _stand(self) -> None:
        """Tell the kernel where every instrument stands."""
        for row, symbol in zip(self._states, self._symbols, strict=True):
            row[:] = self._session.tracks[symbol].standing()
        for row, stream in zip(self._table, self._streams, strict=True):
            row[CONNECTION], row[SPOKE] = self._session.tracks[stream.symbol].carrier(stream.channel), 0
        offset = self._session.offset
        self._clock[OFFSET], self._clock[OFFSET_KNOWN] = offset or 0, offset is not None

    def _move(self, taken: int) -> None:
        """Tell the session where the kernel went."""
        for row, symbol in zip(self._states.tolist(), self._symbols, strict=True):
            self._session.tracks[symbol].move(row)
        for row, stream in zip(self._table.tolist(), self._streams, strict=True):
            if row[SPOKE]:
                self._session.tracks[stream.symbol].spoke(stream.channel, row[SPOKE])
        self._session.pass_over(taken, int(self._clock[NOW]))
