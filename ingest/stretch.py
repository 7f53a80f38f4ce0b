"""The kernels of `ingest.bulk`: a text of many lines in, the rows of those that are plain out.

A stretch is a run of lines each of which is a frame that `ingest.scan` or `ingest.flat` reads, of a book that is whole
and that it follows, later than the one before. The first line that is not ends it, and nothing of that line is kept.
"""

from typing import Final

from engine.kernel import Text, byte_at, inlined, inner, kernel, low_bit, pinned, places_of, word_at
from engine.schema import FAMILY, LEVEL, LIQUIDATION, REFERENCE, TRADE, Kind
from ingest.flat import scan_flat_in
from ingest.rows import HEAD, MESSAGE_AT, REPEATED, ROWS_AT, WORDS, Words
from ingest.scan import scan_depth_in

#: Families whose rows may come in bulk, in the order of their places below; the first one's stand in the block itself.
FAMILIES: Final = (LEVEL, TRADE, LIQUIDATION, REFERENCE)
#: Kind -> place of its rows' family.
PLACES: Final = {int(kind): FAMILIES.index(family) for kind, family in FAMILY.items() if family in FAMILIES}

#: Places in a line: when it was received, ns; where its frame begins and ends in the text.
RECEIVED, BEGIN, END = range(3)
#: Places in a stream: where its plan begins and ends; whether its frames are flat, and then where the rows stand behind
#: the MESSAGE row, and how many words they are; whose it is; the place of its family; who carries it; when it last
#: spoke, 0: not in this stretch.
PLAN, PLAN_END, FLAT, BEFORE, ROW_WORDS, OWNER, PLACE, CONNECTION, SPOKE, STREAM = range(10)
#: Places in a state: whether diffs are taken, whether their ids have no holes, the book's id, its epoch, the newest
#: trade; whether a diff was taken in this stretch.
WHOLE, CONSECUTIVE, LAST, EPOCH, NEWEST, MOVED, STATE = range(7)
#: Places in a message: whose it is, its group, the place of its family, where its rows begin, how many words they are.
FOUND_OWNER, GROUP, FOUND_PLACE, ROWS_BEGIN, ROWS_WORDS, FOUND = range(6)
#: Places in the clock: receive time of the line before, monotonic clock less receive time where it is known, whether it
#: is; words of rows of each family, in the order of FAMILIES.
NOW, OFFSET, OFFSET_KNOWN, TOTALS = range(4)
CLOCK: Final = TOTALS + len(FAMILIES)
#: Places in a group: whose, its window, receive time of its first message; messages, then words of each family; where
#: they begin.
GROUP_OWNER, WINDOW, FIRST, COUNTS = range(4)
BEGINS: Final = COUNTS + 1 + len(FAMILIES)
GROUP_WIDTH: Final = BEGINS + 1 + len(FAMILIES)

#: Words of a MESSAGE row as `ingest.rows` lays it out.
_RECEIVED, _MONOTONIC, _, _, _FIRST_ID, _LAST_ID, _PREVIOUS, _EPOCH, _, _CONNECTION = range(WORDS)
_AT_KIND: Final = 16
_DELTA: Final = int(Kind.DELTA)
_TRADE: Final = int(Kind.TRADE)
#: Digits of a stamp at most, and the largest.
_STAMP: Final = 19
_LARGEST: Final = 2**63 - 1
#: Bytes of a word; an odd number whose product with a word spreads it upwards, and where the upper half begins.
_EIGHT: Final = 8
_SPREAD: Final = 0x1E3779B97F4A7C15
_UPPER: Final = 32


@kernel
def cut_lines(text: bytes, out: Words) -> int:
    """Cut whole lines `<receive ns> <raw>`, n x 3 words; return how many, or -1 - n where line n is none."""
    frame, at, end, count = pinned(text), 0, len(text), 0
    while at < end:
        begin, stamp = at, 0
        while byte_at(frame, at) != ord(" "):
            digit = byte_at(frame, at) - ord("0")
            if digit < 0 or digit > 9 or at - begin == _STAMP or stamp > (_LARGEST - digit) // 10:
                return -1 - count
            stamp = stamp * 10 + digit
            at += 1
        if at == begin:
            return -1 - count
        out[count, RECEIVED], out[count, BEGIN] = stamp, at + 1
        at = _line_end(frame, at, end)
        out[count, END] = at
        at += 1
        count += 1
    return count


@inlined
def _line_end(frame: Text, at: int, end: int) -> int:
    """Return where the line ends that a place is in; the text ends with a line's end."""
    while at + 32 <= end:
        places = places_of(frame, at, ord("\n"))
        if places:
            return at + low_bit(places)
        at += 32
    while byte_at(frame, at) != ord("\n"):
        at += 1
    return at


def words_of(head: bytes) -> list[int]:
    """Give a head, 8 bytes or more, as `stream_of` reads a frame: by eight bytes, the last of which end with it."""
    places = [*range(0, len(head) - _EIGHT, _EIGHT), len(head) - _EIGHT]
    return [int.from_bytes(head[at : at + _EIGHT], "little", signed=True) for at in places]


@inlined
def _mixed(mixed: int, word: int) -> int:
    """Mix a word into a hash, of which the upper half is good."""
    return ((mixed ^ word) * _SPREAD) & _LARGEST


@kernel
def place_heads(heads: Words, slots: Words) -> None:
    """Fill a table of 2^n places, of which most stay free (-1), with each head's number at the hash of its words."""
    for place in range(len(slots)):
        slots[place] = -1
    for stream in range(len(heads)):
        mixed = 0
        for i in range(heads.shape[1]):
            mixed = _mixed(mixed, int(heads[stream, i]))
        place = (mixed >> _UPPER) & (len(slots) - 1)
        while slots[place] >= 0:
            place = (place + 1) & (len(slots) - 1)
        slots[place] = stream


@inner
def stream_of(frame: Text, begin: int, end: int, heads: Words, span: int, slots: Words) -> int:
    """Return which stream a frame is of by its first `span` bytes, -1: none that is known."""
    if end - begin < span:
        return -1
    last = heads.shape[1] - 1
    mixed = 0
    for i in range(last):
        mixed = _mixed(mixed, word_at(frame, begin + _EIGHT * i))
    mixed = _mixed(mixed, word_at(frame, begin + span - _EIGHT))
    place = (mixed >> _UPPER) & (len(slots) - 1)
    while slots[place] >= 0:
        stream = int(slots[place])
        same = heads[stream, last] == word_at(frame, begin + span - _EIGHT)
        for i in range(last):
            same &= heads[stream, i] == word_at(frame, begin + _EIGHT * i)
        if same:
            return stream
        place = (place + 1) & (len(slots) - 1)
    return -1


@kernel
def take_stretch(
    text: bytes,
    lines: Words,
    heads: Words,
    span: int,
    slots: Words,
    plans: Words,
    streams: Words,
    states: Words,
    clock: Words,
    words: Words,
    scratch: Words,
    others: Words,
    found: Words,
) -> int:
    """Take lines as long as they are plain; return how many.

    `words` is a block of MESSAGE rows and, behind, LEVEL rows; `scratch` has room for a flat frame's; `others` for the
    rows of the other families.
    """
    frame, taken, used = pinned(text), 0, 0
    while taken < len(lines):
        received, begin, end = lines[taken, RECEIVED], int(lines[taken, BEGIN]), int(lines[taken, END])
        stream = stream_of(frame, begin, end, heads, span, slots) if received >= clock[NOW] else -1
        if stream < 0:
            break
        own = streams[stream]
        plan, message, levels = plans[own[PLAN] : own[PLAN_END]], int(words[MESSAGE_AT]), int(words[ROWS_AT])
        if own[FLAT]:
            scratch[MESSAGE_AT] = HEAD
            if scan_flat_in(frame, begin, end, plan, scratch) < 0:
                break
            copy(scratch, HEAD, WORDS, words, message)
        elif scan_depth_in(frame, begin, end, plan, words) < 0:
            break
        if not follows(words, message, states[own[OWNER]]):
            words[MESSAGE_AT], words[ROWS_AT] = message, levels
            break
        row = found[taken]
        row[FOUND_OWNER], row[FOUND_PLACE], row[ROWS_BEGIN] = own[OWNER], own[PLACE], levels
        if own[FLAT]:
            words[MESSAGE_AT] = message + WORDS
            rows, count = HEAD + int(own[BEFORE]), int(own[ROW_WORDS])
            if own[PLACE] == 0:
                copy(scratch, rows, count, words, levels)
                words[ROWS_AT] = levels + count
            else:
                row[ROWS_BEGIN] = used
                copy(scratch, rows, count, others, used)
                used += count
            row[ROWS_WORDS] = count
        else:
            row[ROWS_WORDS] = words[ROWS_AT] - levels
        clock[TOTALS + own[PLACE]] += row[ROWS_WORDS]
        words[message + _RECEIVED] = received
        words[message + _MONOTONIC] = received + clock[OFFSET] if clock[OFFSET_KNOWN] else 0
        words[message + _CONNECTION] |= own[CONNECTION] & 0xFFFF
        clock[NOW] = own[SPOKE] = received
        taken += 1
    return taken


@inner
def copy(of: Words, begin: int, count: int, to: Words, at: int) -> None:
    """Copy words; a slice assigned to a slice would have numba ask for memory."""
    for i in range(count):
        to[at + i] = of[begin + i]


@inner
def follows(words: Words, message: int, state: Words) -> bool:
    """Say whether a message is plainly the next one of its instrument; if it is, the state moves on."""
    kind, last = (words[message + _CONNECTION] >> _AT_KIND) & 0xFF, words[message + _LAST_ID]
    if kind == _DELTA:
        before = words[message + _FIRST_ID] - 1 if state[CONSECUTIVE] else words[message + _PREVIOUS]
        if not state[WHOLE] or last <= state[LAST] or before > state[LAST]:
            return False
        state[LAST], state[MOVED] = last, 1
        words[message + _EPOCH] |= state[EPOCH]
    elif kind == _TRADE:
        if last != 0 and state[NEWEST] - REPEATED < last <= state[NEWEST]:
            return False
        state[NEWEST] = last
    return True


@kernel
def group(words: Words, found: Words, interval: int, open_groups: Words, groups: Words) -> int:
    """Give each message the group of its window and instrument, with its first one's time; return how many there are.

    `open_groups` holds an instrument's last window and its group, before -1.
    """
    count = 0
    for m in range(len(found)):
        received, owner = words[HEAD + m * WORDS + _RECEIVED], found[m, FOUND_OWNER]
        window = received // interval
        if open_groups[owner, 0] != window:
            open_groups[owner, 0], open_groups[owner, 1] = window, count
            for n in range(GROUP_WIDTH):
                groups[count, n] = 0
            groups[count, GROUP_OWNER], groups[count, WINDOW], groups[count, FIRST] = owner, window, received
            count += 1
        at = open_groups[owner, 1]
        found[m, GROUP] = at
        groups[at, COUNTS] += 1
        groups[at, COUNTS + 1 + found[m, FOUND_PLACE]] += found[m, ROWS_WORDS]
    for n in range(BEGINS - COUNTS):
        begin = 0
        for at in range(count):
            groups[at, BEGINS + n] = begin
            begin += groups[at, COUNTS + n]
    return count


@kernel
def arrange(
    words: Words,
    others: Words,
    found: Words,
    groups: Words,
    messages: Words,
    levels: Words,
    trades: Words,
    liquidations: Words,
    references: Words,
) -> None:
    """Lay the messages, and the rows of each family, group after group; `groups` then says where each one's end."""
    for m in range(len(found)):
        own, row = groups[found[m, GROUP]], found[m]
        copy(words, HEAD + m * WORDS, WORDS, messages, own[BEGINS] * WORDS)
        own[BEGINS] += 1
        place, begin, count = row[FOUND_PLACE], row[ROWS_BEGIN], row[ROWS_WORDS]
        to = own[BEGINS + 1 + place]
        if place == 0:
            copy(words, begin, count, levels, to)
        elif place == 1:
            copy(others, begin, count, trades, to)
        elif place == 2:
            copy(others, begin, count, liquidations, to)
        else:
            copy(others, begin, count, references, to)
        own[BEGINS + 1 + place] += count
