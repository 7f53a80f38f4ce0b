"""The lake: how market rows lie in Parquet files; names, columns and versions as values, for the writer and the reader.

    <lake>/channel=<channel>/venue=<venue>/symbol=<SYMBOL>/date=<UTC date>/<hour>-<sequence>.parquet

The channel `message` holds one row per MESSAGE of an instrument, of every kind; the other channels hold the rows that
follow, one Parquet row each, with the stamps and ids of their message: `book` LEVEL rows, `trade`, `liquidation`,
`reference` and `instrument`. Files of one slice (instrument and hour of row time) have one name in all channels, and
rows the order of their messages, whose `count` and `bids` say which are whose.

`sequence` is the order in which the engine took the messages of all instruments: strictly increasing, and the largest
receive time so far where that leaves room, so that lakes of different hours lie one after another. A file's name holds
the sequence of its slice's first message, which no other slice of the lake has.

Three numbers are stored by what they are more than a neighbour (`LESS`), which is mostly nothing and takes no room:
sequence = received + sequence_less_received, and of messages published = exchanged + published_less_exchanged, first =
last + first_less_last; int64 that wraps, so that every number comes back.

Integers are wire decimals, as in `engine.schema`; the key-value metadata of every file says the schema's version, whose
rows these are, how many decimals they have, and how many messages of the instrument its conversion wrote before.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from engine.schema import (
    FAMILY,
    INSTRUMENT,
    LEVEL,
    LIQUIDATION,
    MESSAGE,
    REFERENCE,
    TRADE,
    Batch,
    Kind,
    Rows,
)

#: Version of the layout and of the columns below; a reader refuses any other.
VERSION: Final = 2
#: Rows of a row group, about: of the rows of messages, and of messages, which are wider. A core's cache holds a column.
GROUP: Final = 65_536
MESSAGE_GROUP: Final = 32_768
HOUR: Final = 3_600_000_000_000
DAY: Final = 24 * HOUR
#: Name of a file; while it is written it ends in PART, and nobody reads it.
FILE: Final = re.compile(r"(\d{2})-(\d{19})\.parquet")
PART: Final = ".tmp"

#: Numbers that are stored as their difference from another one of the same row.
LESS: Final[Mapping[str, str]] = {"sequence": "received", "published": "exchanged", "first": "last"}


def stored(name: str) -> str:
    """Name the column that holds a field, or its difference."""
    return f"{name}_less_{LESS[name]}" if name in LESS else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One family of rows as a table."""

    name: str
    #: The rows' dtype, and the part of a Batch that holds them.
    family: np.dtype[Any]
    part: str
    #: Column -> type, in order, by the name that numpy and Arrow share; `binary` is a string of bytes.
    columns: Mapping[str, str]
    #: Fields of the family that are stored. What is reserved is zero, and not.
    fields: tuple[str, ...]
    #: Kinds of the messages that such rows follow.
    kinds: tuple[int, ...]
    group: int = GROUP


def _channel(
    name: str, family: np.dtype[Any], part: str, beside: Mapping[str, str] | None = None, group: int = GROUP
) -> Channel:
    """Make a channel of a family: its stamps, what else is said of the message, its own fields."""
    fields = tuple(field for field in family.names or () if not field.startswith("reserved"))
    own = {stored(field): "binary" if family[field].kind == "S" else family[field].name for field in fields}
    return Channel(
        name=name,
        family=family,
        part=part,
        columns={stored("sequence"): "int64", "received": "int64", **(beside or {}), **own},
        fields=fields,
        kinds=tuple(int(kind) for kind in FAMILY if FAMILY[kind] is family),
        group=group,
    )


#: What a row of the book says of its message, and its side, as in TRADE.
_OF_MESSAGE: Final = {
    "exchanged": "int64",
    "last": "int64",
    "epoch": "uint32",
    "kind": "uint8",
    "flags": "uint32",
    "side": "int8",
}
MESSAGES: Final = _channel("message", MESSAGE, "messages", group=MESSAGE_GROUP)
BOOK: Final = _channel("book", LEVEL, "levels", _OF_MESSAGE)
#: The channels of rows; a message has rows in the one whose kinds have its own.
ROWS: Final = (
    BOOK,
    _channel("trade", TRADE, "trades", {"flags": "uint32"}),
    _channel("liquidation", LIQUIDATION, "liquidations"),
    _channel("reference", REFERENCE, "references"),
    _channel("instrument", INSTRUMENT, "instruments"),
)
CHANNELS: Final = (MESSAGES, *ROWS)
#: Kind -> index in ROWS of the channel that its rows are in; NOWHERE: it has none.
NOWHERE: Final = 255
_WHOSE: Final = bytes(next((n for n, c in enumerate(ROWS) if kind in c.kinds), NOWHERE) for kind in range(256))

#: Keys of a file's metadata.
META_VERSION: Final = "airpocket.lake"
META_CHANNEL: Final = "channel"
META_INSTRUMENT: Final = "instrument"
META_ASSET: Final = "asset"
#: Which conversion wrote the file, by its first sequence, and how many messages of the instrument it wrote before.
META_RUN: Final = "run"
META_BEFORE: Final = "before"
#: Sequence of the slice's last message; its file's name says the first.
META_LAST: Final = "last"
#: Of messages, where it is there: per row group the columns of one value, so that a reader may spare itself to read
#: them; `stated` makes its text, and `columns_stated` reads it.
META_SAME: Final = "same"
#: Decimals of prices and of sizes. Absent before the first INSTRUMENT row.
META_PRICE: Final = "price_decimals"
META_SIZE: Final = "size_decimals"


def stated(same: Sequence[Mapping[str, int]]) -> str:
    """Say per row group which columns have one value; a sum (CRC-32) stands before it, as the footer has none."""
    text = json.dumps(same, separators=(",", ":"))
    return f"{crc32(text.encode()):08x} {text}"


def columns_stated(text: str, channel: Channel, groups: int) -> list[dict[str, int]]:
    """Read what `stated` made. Raises ValueError for anything else."""
    summed, _, said = text.partition(" ")
    if summed != f"{crc32(said.encode()):08x}":
        raise ValueError(f"its text has CRC-32 {crc32(said.encode()):08x}, allowed is {summed!r}, which stands before it")
    same = json.loads(said)
    if not isinstance(same, list) or len(same) != groups:
        raise ValueError(f"it states no {groups} row groups")
    for columns in same:
        for name, value in columns.items():
            kind = channel.columns.get(name, "binary")
            if kind == "binary" or not np.iinfo(kind).min <= value <= np.iinfo(kind).max:
                raise ValueError(f"{name!r} {value} is no number of the channel {channel.name}")
    return same


def folder_of(channel: str, instrument: str, received: int) -> str:
    """Name the folder, below the lake, of an instrument's rows of one day."""
    venue, _, symbol = instrument.partition(":")
    date = np.datetime64(received // DAY, "D")
    return f"channel={channel}/venue={quote(venue, safe='')}/symbol={quote(symbol, safe='')}/date={date}"


def file_of(received: int, sequence: int) -> str:
    """Name the file of a slice by its hour and the sequence of its first message."""
    return f"{received // HOUR % 24:02d}-{sequence:019d}.parquet"


def sequences(received: NDArray[np.int64], last: int) -> NDArray[np.int64]:
    """Number messages after `last`: by the largest receive time so far where that is later, else one by one."""
    steps = np.arange(len(received), dtype=np.int64)
    return np.maximum(np.maximum.accumulate(received - steps), last + 1) + steps


def offsets_of(messages: Rows) -> dict[str, Any]:
    """Say per part where each message's rows begin, and at the end where they end; only of parts that have rows."""
    return offsets(messages["kind"], messages["count"])


def offsets(kinds: NDArray[np.uint8], counts: NDArray[np.uint32]) -> dict[str, Any]:
    """Say the same of columns."""
    whose, wide, found = _whose(kinds), counts.astype(np.int64), {}
    for index, channel in enumerate(ROWS):
        own = whose == index
        if own.any():
            at = np.zeros(len(kinds) + 1, np.int64)
            np.cumsum(wide * own, out=at[1:])
            if at[-1]:
                found[channel.part] = at
    return found


def whose(kind: int) -> int:
    """Give the index in ROWS of the channel that a kind's rows are in, or NOWHERE."""
    return _WHOSE[kind]


def _whose(kinds: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.frombuffer(kinds.tobytes().translate(_WHOSE), np.uint8)


def cut(batch: Batch, offsets: Mapping[str, Any], begin: int, end: int) -> Batch:
    """Give the messages from one index to another with their rows, none of them copied."""
    parts = {part: getattr(batch, part)[at[begin] : at[end]] for part, at in offsets.items() if at[begin] < at[end]}
    return Batch(instrument=batch.instrument, asset=batch.asset, messages=batch.messages[begin:end], **parts)


def fault_of(batch: Batch, offsets: Mapping[str, Any]) -> str | None:
    """Say where a batch's messages and rows do not account for one another; None where they do."""
    messages = batch.messages
    for channel in ROWS:
        rows = getattr(batch, channel.part)
        promised = int(offsets[channel.part][-1]) if channel.part in offsets else 0
        if promised != len(rows):
            return f"{promised} {channel.part} are promised, {len(rows)} are there"
        for field in channel.family.names or ():
            if field.startswith("reserved") and rows[field].any():
                return f"{channel.part} have a {field} that is not zero"
    return fault_in(messages["kind"], messages["count"], messages["bids"])


def fault_in(kinds: NDArray[np.uint8], counts: NDArray[np.uint32], bids: NDArray[np.uint32]) -> str | None:
    """Say what no message may be; None where none is."""
    if len(kinds) and not 1 <= kinds.min() <= kinds.max() <= max(Kind):
        return f"kinds are {kinds.min()} to {kinds.max()}, allowed are 1 to {max(Kind)}"
    whose = _whose(kinds)
    if (bids > counts * (whose == 0)).any():
        return "a message has more bids than levels"
    if (counts * (whose == NOWHERE)).any():
        return "a message of a kind without rows promises some"
    return None
