"""The lake: how market rows lie in Parquet files; names, columns and versions as values, for the writer and the reader.

    <lake>/channel=<channel>/venue=<venue>/symbol=<SYMBOL>/date=<UTC date>/<hour>-<sequence>.parquet

The channel `message` holds one row per MESSAGE of an instrument, of every kind; the other channels hold the rows that
follow, one Parquet row each, with the stamps and ids of their message: `book` LEVEL rows, `trade`, `liquidation`,
`reference` and `instrument`. Files of one slice (instrument and hour of row time) have one name in all channels, and
rows the order of their messages, whose `count` and `bids` say which are whose.

`sequence` is the order in which the engine took the messages of all instruments: strictly increasing, and the largest
receive time so far where that leaves room, so that lakes of different hours lie one after another. A file's name holds
the sequence of its slice's first message, which no other slice of the lake has.

Some numbers are stored by what they are more than another one, which is mostly little or nothing; int64 that wraps, so
that every number comes back. In all channels (`LESS`) sequence = received + sequence_less_received, and of messages
published = exchanged + published_less_exchanged, first = last + first_less_last. Of messages also (`STEPS`), in the
order of their file: exchanged is the sum of all exchanged_step so far; last is the sum of last_step so far of messages
of its kind; previous = linked + previous_less_linked, where linked is the `last` of the kind's message before if that
one states a previous, else -1. What these sums are before each row group, and which of its columns have one value, the
metadata say too (`Group`), so that a reader may begin there and need not read those.

Integers are wire decimals, as in `engine.schema`; the key-value metadata of every file says the schema's version, whose
rows these are, how many decimals they have, and how many messages of the instrument its conversion wrote before.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

#: Version of the layout and of the columns below, and the older ones that a reader takes too; it refuses any other.
VERSION: Final = 3
#: Without STEPS and Group.
WITHOUT_STEPS: Final = 2
VERSIONS: Final = (WITHOUT_STEPS, VERSION)
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
#: Numbers of messages that are stored by what they are more than a message before them says.
STEPS: Final[Mapping[str, str]] = {
    "exchanged": "exchanged_step",
    "last": "last_step",
    "previous": "previous_less_linked",
}


def stored(name: str) -> str:
    """Name the column that holds a field, or its difference from another one of its row."""
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
    #: Field -> column, of fields that are stored as steps.
    steps: Mapping[str, str] = field(default_factory=dict)

    def stored(self, name: str, version: int = VERSION) -> str:
        """Name the column that holds a field, or `sequence`, in files of a version."""
        return self.steps[name] if name in self.steps and version != WITHOUT_STEPS else stored(name)

    def columns_of(self, version: int) -> Mapping[str, str]:
        """Give `columns` as files of a version have them."""
        if version != WITHOUT_STEPS:
            return self.columns
        older = {column: name for name, column in self.steps.items()}
        return {older.get(name, name): kind for name, kind in self.columns.items()}


def _channel(
    name: str,
    family: np.dtype[Any],
    part: str,
    beside: Mapping[str, str] | None = None,
    group: int = GROUP,
    steps: Mapping[str, str] | None = None,
) -> Channel:
    """Make a channel of a family: its stamps, what else is said of the message, its own fields."""
    fields = tuple(name for name in family.names or () if not name.startswith("reserved"))
    steps = steps or {}
    own = {
        steps.get(name, stored(name)): "binary" if family[name].kind == "S" else family[name].name for name in fields
    }
    return Channel(
        name=name,
        family=family,
        part=part,
        columns={stored("sequence"): "int64", "received": "int64", **(beside or {}), **own},
        fields=fields,
        kinds=tuple(int(kind) for kind in FAMILY if FAMILY[kind] is family),
        group=group,
        steps=steps,
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
MESSAGES: Final = _channel("message", MESSAGE, "messages", group=MESSAGE_GROUP, steps=STEPS)
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
#: Of messages: what a Group says of each row group, by `text_of`.
META_GROUPS: Final = "groups"
#: Decimals of prices and of sizes. Absent before the first INSTRUMENT row.
META_PRICE: Final = "price_decimals"
META_SIZE: Final = "size_decimals"


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What messages of a file say so far: `exchanged` of the last one, and by kind `last` and `linked` of the next."""

    exchanged: int = 0
    last: Mapping[int, int] = field(default_factory=dict)
    linked: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What the metadata say of a row group of messages: what was before it, and which columns have one value."""

    before: Before = field(default_factory=Before)
    same: Mapping[str, int] = field(default_factory=dict)


def steps_of(messages: Rows, before: Before) -> tuple[dict[str, Any], Before]:
    """Give the columns of STEPS, and what is before the next messages."""
    kinds, said, previous = messages["kind"], messages["last"], messages["previous"]
    last, linked = dict(before.last), dict(before.linked)
    exchanged = np.diff(messages["exchanged"], prepend=np.int64(before.exchanged))
    steps, less = np.empty_like(exchanged), np.empty_like(exchanged)
    for kind in np.unique(kinds).tolist():
        own = np.flatnonzero(kinds == kind)
        links = np.where(previous[own] == -1, -1, said[own])
        steps[own] = np.diff(said[own], prepend=np.int64(last.get(kind, 0)))
        less[own] = previous[own] - np.concatenate(([linked.get(kind, -1)], links[:-1]))
        last[kind], linked[kind] = int(said[own[-1]]), int(links[-1])
    columns = {STEPS["exchanged"]: exchanged, STEPS["last"]: steps, STEPS["previous"]: less}
    return columns, Before(exchanged=int(messages["exchanged"][-1]), last=last, linked=linked)


def text_of(groups: Sequence[Group]) -> str:
    """Write groups as JSON, and before it its CRC-32, as a Parquet file's footer has none."""
    plain = [
        {
            "exchanged": group.before.exchanged,
            "kinds": [[kind, last, group.before.linked[kind]] for kind, last in group.before.last.items()],
            "same": dict(group.same),
        }
        for group in groups
    ]
    text = json.dumps(plain, separators=(",", ":"))
    return f"{crc32(text.encode()):08x} {text}"


def groups_of(text: str, count: int) -> list[Group]:
    """Read what `text_of` wrote of so many row groups of messages. Raises ValueError for anything else."""
    summed, _, said = text.partition(" ")
    if summed != f"{crc32(said.encode()):08x}":
        raise ValueError(f"its CRC-32 is {crc32(said.encode()):08x}, {summed!r} stands before it")
    plain = json.loads(said)
    if not isinstance(plain, list) or len(plain) != count:
        raise ValueError(f"it is not of {count} row groups")
    try:
        return [_group_of(**each) for each in plain]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"it says what no row group has: {error}") from error


def _group_of(exchanged: int, kinds: list[list[int]], same: dict[str, int]) -> Group:
    """Make a group of what JSON holds, where all of it is in range."""
    for name, value in same.items():
        np.array(value, MESSAGES.columns[name])
    last = {int(np.uint8(kind)): int(np.int64(value)) for kind, value, _ in kinds}
    linked = {int(np.uint8(kind)): int(np.int64(value)) for kind, _, value in kinds}
    return Group(before=Before(exchanged=int(np.int64(exchanged)), last=last, linked=linked), same=same)


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
        for name in channel.family.names or ():
            if name.startswith("reserved") and rows[name].any():
                return f"{channel.part} have a {name} that is not zero"
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
