"""The wire of market.v1: rows in, SBE bytes out, and back.

FIX Simple Binary Encoding 1.0, little-endian; the schema that any language can generate a decoder from is `market.xml`.
A record is messages one after another:

    header  blockLength, templateId, schemaId, version   u16 x 4     8 bytes
    root    the fields of MESSAGE in order                          76 bytes
    group   blockLength, numInGroup                      u16 x 2     4 bytes
    rows    of the template's family, bids first                     multiples of 8 bytes

88 bytes before the rows and rows of whole words keep every int64 at an offset divisible by 8, so the whole record is
walked as int64 words. A message of more rows than one group may hold becomes several parts, PARTIAL and CONTINUED.
"""

from importlib.resources import files
from struct import unpack_from
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadRecord
from engine.kernel import allocating, inner, kernel
from engine.schema import (
    FAMILY,
    INSTRUMENT,
    LEVEL,
    LIQUIDATION,
    MESSAGE,
    REFERENCE,
    TRADE,
    VERSION,
    Batch,
    Flag,
    Kind,
    Record,
    empty,
)
from engine.topics import MARKET

#: "AP": tells our messages from any other SBE messages.
SCHEMA_ID: Final = 0x4150
#: Rows of one group; a u16 says how many, and 65535 is SBE's null.
MOST_ROWS: Final = 60_000

Words = NDArray[np.int64]
_FAMILIES: Final = (LEVEL, TRADE, LIQUIDATION, REFERENCE, INSTRUMENT)
#: Template id of messages without rows; the others are numbered as in _FAMILIES, from 1.
_STATUS: Final = len(_FAMILIES) + 1
#: kind -> template id; 0 where there is no such kind.
_TEMPLATE: Final = (0, *(_FAMILIES.index(FAMILY[k]) + 1 if k in FAMILY else _STATUS for k in Kind))
#: template id -> words of one row. Status messages have an empty group of one-word rows, so that every prefix is alike.
_WIDTH: Final[tuple[int, ...]] = (0, *(family.itemsize // 8 for family in _FAMILIES), 1)
_BLOCK: Final = 76
_PREFIX: Final = 11
_MESSAGE: Final = MESSAGE.itemsize // 8
_HEADER: Final = _BLOCK | SCHEMA_ID << 32 | VERSION << 48
_LOW: Final = 0xFFFFFFFF
#: Words at the end of an output array that are a kernel's memory: per template where its rows are, and where they end.
_CURSORS: Final = 8
_MEMORY: Final = 2 * _CURSORS
_PARTIAL: Final = int(Flag.PARTIAL)
_CONTINUED: Final = int(Flag.CONTINUED)
#: Only the last part stands for a whole book.
_WHOLE_ONLY: Final = int(Flag.CHECKSUM_OK)
#: Each family with no rows of it, made once.
_NOTHING: Final = tuple((family, empty(family)) for family in _FAMILIES)
_HEADERS: Final = ("schema", str(VERSION).encode())


def schema_xml() -> bytes:
    """Return the SBE schema, from which other languages generate their decoders."""
    return files("engine").joinpath("market.xml").read_bytes()


def record(batch: Batch) -> Record:
    """Put a batch into the record that market.v1 carries; its time is that of the last message."""
    value = encode(batch)
    return Record(
        topic=MARKET,
        key=batch.instrument,
        asset=batch.asset,
        time=int(batch.messages["received"][-1]),
        value=value,
        headers=(("asset", batch.asset.encode()), _HEADERS),
    )


def batch_of(record: Record) -> Batch:
    """Read a market.v1 record back. Raises BadRecord."""
    return decode(record.key, record.asset, record.value)


def encode(batch: Batch) -> bytes:
    """Write a batch as SBE messages. Raises BadRecord where the messages do not account for the rows."""
    families = (batch.messages, batch.levels, batch.trades, batch.liquidations, batch.references, batch.instruments)
    counts = tuple(map(len, families))
    if not counts[0]:
        raise BadRecord(f"{batch.instrument} has no message to encode")
    # One read-only source: whatever the flags of the caller's arrays, the kernel is compiled once.
    source = np.frombuffer(b"".join([rows.tobytes() for rows in families if len(rows)]), np.int64)
    parts = counts[0] + sum(counts[1:]) // MOST_ROWS
    out = np.empty(source.size + parts * _PREFIX + _MEMORY, np.int64)
    written = _pack(source, counts, out)
    if written < 0:
        raise _unfit(batch, -1 - written)
    return out[:written].tobytes()


def decode(instrument: str, asset: str, value: bytes) -> Batch:
    """Read SBE messages as a batch. Raises BadRecord, naming the value met and those allowed."""
    words = np.frombuffer(value, np.int64, len(value) // 8)
    out = np.empty(words.size + _MEMORY, np.int64)
    read, *counts = _unpack(words, out)
    if read * 8 != len(value) or not read:
        raise _refuse(instrument, value, read * 8)
    messages = np.frombuffer(out, MESSAGE, counts[0])
    at = messages.nbytes
    rows = []
    for (family, nothing), count in zip(_NOTHING, counts[1:], strict=True):
        rows.append(np.frombuffer(out, family, count, at) if count else nothing)
        at += count * family.itemsize
    return Batch(
        instrument=instrument,
        asset=asset,
        messages=messages,
        levels=rows[0],
        trades=rows[1],
        liquidations=rows[2],
        references=rows[3],
        instruments=rows[4],
    )


@kernel
def _pack(source: Words, counts: tuple[int, ...], out: Words) -> int:
    """Write messages with their rows; return words written, or -1 - the index of the message that does not fit."""
    cursor, end = out[-_MEMORY:-_CURSORS], out[-_CURSORS:]
    at = counts[0] * _MESSAGE
    for template in range(1, _STATUS + 1):
        cursor[template] = at
        if template < _STATUS:
            at += counts[template] * _WIDTH[template]
        end[template] = at
    written = 0
    for index in range(counts[0]):
        message = source[index * _MESSAGE : (index + 1) * _MESSAGE]
        kind = (message[9] >> 16) & 0xFF
        template = _TEMPLATE[kind] if kind < len(_TEMPLATE) else 0
        if template == 0:
            return -1 - index
        count = message[8] & _LOW
        bids = (message[8] >> 32) & _LOW
        first = cursor[template]
        cursor[template] += count * _WIDTH[template]
        if bids > count or (bids > 0 and template != 1) or cursor[template] > end[template]:
            return -1 - index
        written = _pack_parts(message, template, count, bids, source[first:], out, written)
    for template in range(1, _STATUS):
        if cursor[template] != end[template]:
            return -1 - counts[0]
    return written


@allocating
def _pack_parts(
    message: Words, template: int, count: np.int64, bids: np.int64, rows: Words, out: Words, written: int
) -> int:
    """Write one message, in parts where its rows overflow a group; return the words written so far."""
    width = _WIDTH[template]
    done = np.int64(0)
    while True:
        part = count - done
        flags = message[7] >> 32
        if done > 0:
            flags |= _CONTINUED
        if part > MOST_ROWS:
            part = np.int64(MOST_ROWS)
            flags = (flags | _PARTIAL) & ~_WHOLE_ONLY
        out[written] = _HEADER | template << 16
        out[written + 1 : written + 8] = message[:7]
        out[written + 8] = (message[7] & _LOW) | flags << 32
        out[written + 9] = part | min(max(bids - done, np.int64(0)), part) << 32
        out[written + 10] = (message[9] & _LOW) | (width * 8) << 32 | part << 48
        written += _PREFIX
        size = int(part) * width
        out[written : written + size] = rows[done * width : done * width + size]
        written += size
        done += part
        if done == count:
            return written


@allocating
def _unpack(words: Words, out: Words) -> tuple[int, int, int, int, int, int, int]:
    """Sort a record into MESSAGE words and each family's words; return words understood and how many rows of each.

    Fewer words than there are: the message that begins there is to be refused, and `out` holds nothing.
    """
    cursor = out[-_CURSORS:]
    cursor[:] = 0
    at = 0
    while at < words.size:
        length = _length(words, at)
        if length == 0:
            return at, 0, 0, 0, 0, 0, 0
        cursor[0] += 1
        cursor[(words[at] >> 16) & 0xFFFF] += words[at + 9] & _LOW
        at += length
    counts = (at, cursor[0], cursor[1], cursor[2], cursor[3], cursor[4], cursor[5])
    begin = cursor[0] * _MESSAGE
    for template in range(1, _STATUS):
        size = cursor[template] * _WIDTH[template]
        cursor[template] = begin
        begin += size
    at = 0
    message = 0
    while at < words.size:
        template = (words[at] >> 16) & 0xFFFF
        out[message : message + 9] = words[at + 1 : at + 10]
        out[message + 9] = words[at + 10] & _LOW
        message += _MESSAGE
        at += _PREFIX
        size = (words[at - 2] & _LOW) * _WIDTH[template]
        out[cursor[template] : cursor[template] + size] = words[at : at + size]
        cursor[template] += size
        at += size
    return counts


@inner
def _length(words: Words, at: int) -> int:
    """Return how many words the message at a position has, 0 where it is not one of ours or is torn."""
    if words.size - at < _PREFIX:
        return 0
    template = (words[at] >> 16) & 0xFFFF
    if template < 1 or template > _STATUS or words[at] != _HEADER | template << 16:
        return 0
    kind = (words[at + 10] >> 16) & 0xFF
    if kind >= len(_TEMPLATE) or _TEMPLATE[kind] != template:
        return 0
    count = words[at + 9] & _LOW
    bids = (words[at + 9] >> 32) & _LOW
    block = (words[at + 10] >> 32) & 0xFFFF
    rows = (words[at + 10] >> 48) & 0xFFFF
    width = _WIDTH[template]
    if rows != count or block != width * 8 or bids > count or (bids > 0 and template != 1):
        return 0
    if (template == _STATUS and count > 0) or count * width > words.size - at - _PREFIX:
        return 0
    size: int = _PREFIX + int(count) * width
    return size


def _refuse(instrument: str, value: bytes, at: int) -> BadRecord:
    """Say what is wrong with the message at a position: the same checks as `_length`, in words."""

    def refusal(what: str, met: Any, allowed: Any) -> BadRecord:
        return BadRecord(f"record of {instrument}: {what} {met} at byte {at} of {len(value)}, allowed is {allowed}")

    rest = len(value) - at
    if rest < 8:
        return refusal("length", rest, f"{_PREFIX * 8} and more: the record is torn, empty or has trailing bytes")
    block, template, schema, version = unpack_from("<4H", value, at)
    if schema != SCHEMA_ID:
        return refusal("schema id", schema, SCHEMA_ID)
    if version != VERSION:
        return refusal("schema version", version, VERSION)
    if not 1 <= template <= _STATUS:
        return refusal("template", template, f"1 to {_STATUS}")
    if block != _BLOCK:
        return refusal("block length", block, _BLOCK)
    if rest < _PREFIX * 8:
        return refusal("length", rest, f"{_PREFIX * 8} and more: the record is torn")
    count, bids, kind, size, rows = unpack_from("<IIxxBxHH", value, at + 72)
    if kind >= len(_TEMPLATE) or _TEMPLATE[kind] != template:
        kinds = ", ".join(f"{k.value} {k.name}" for k in Kind if _TEMPLATE[k] == template)
        return refusal(f"kind in template {template}", kind, kinds)
    if size != _WIDTH[template] * 8:
        return refusal("row length", size, _WIDTH[template] * 8)
    if rows != count or (template == _STATUS and count):
        return refusal("count", count, 0 if template == _STATUS else f"the group's {rows}")
    if bids > (count if template == 1 else 0):
        return refusal("bids", bids, f"0 to {count if template == 1 else 0}")
    return refusal(
        "rows", f"{count} of {size} bytes", f"what the {rest - _PREFIX * 8} bytes left hold: the record is torn"
    )


def _unfit(batch: Batch, index: int) -> BadRecord:
    """Say which message of a batch does not account for its rows."""
    met = f"{batch.instrument}: {len(batch.levels)} levels, {len(batch.trades)} trades, "
    met += f"{len(batch.liquidations)} liquidations, {len(batch.references)} references, "
    met += f"{len(batch.instruments)} instruments do not match the messages' counts"
    if index == len(batch.messages):
        return BadRecord(f"{met}: rows are left over")
    message = dict(zip(MESSAGE.names or (), batch.messages[index].item(), strict=True))
    return BadRecord(
        f"{met}: message {index} has kind {message['kind']}, count {message['count']}, bids {message['bids']}; allowed "
        f"are kinds 1 to {len(_TEMPLATE) - 1}, rows that are there, and bids up to the count where rows are levels"
    )
