"""Fields of a signal: one table in; the row's dtype, the JSON value and the JSON Schema of its records out.

A kernel cannot write "nothing" into a float, and NaN must never leave it. So a field that can be undefined names a
companion of its own shape that holds a Why, 0 where the value stands; the row's last field, `undefined`, is 0 where all
do. Fields that are always undefined together share a companion.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from operator import itemgetter
from struct import Struct
from typing import Any, Final, Literal

import numpy as np

from engine.schema import Rows


class Why(IntEnum):
    """Why a value of a known book is undefined; in JSON the lower-case name."""

    DEFINED = 0
    #: A side of the book is empty, so there is no mid.
    ONE_SIDED = 1
    #: Nothing rests within the band on either side.
    NO_DEPTH = 2
    #: Fewer than two bands hold anything, and a slope needs two.
    TOO_FEW_BANDS = 3
    #: The levels inside the widest band cannot fill the notional.
    UNFILLED = 4
    #: A quanto contract settles in a third currency, whose rate the book does not know.
    QUANTO = 5
    #: No book message yet.
    NO_BOOK_MESSAGE = 6
    #: No message with a usable exchange stamp in the window.
    NO_STAMP = 7
    #: Less time, or fewer events, than the value needs have passed since the book is known.
    TOO_EARLY = 8
    #: No trade in the window.
    NO_TRADES = 9
    #: Nothing was cancelled, executed or moved in the window, so there is nothing to divide by.
    NO_FLOW = 10
    #: No shock is being recovered from.
    NO_SHOCK = 11
    #: Weights are fitted at the end of a training window, and none has ended yet.
    UNTRAINED = 12
    #: The side holds no level, or too few, within the band looked at.
    NO_LEVELS = 13
    #: Too few observations in the past to fit a tail.
    TOO_FEW_SAMPLES = 14
    #: The book ends before the answer: what it shows is sold out.
    EXHAUSTED = 15
    #: Nowhere within the moves asked for does a further move cost nothing.
    NO_FREE_FALL = 16
    #: No past to compare with yet.
    NO_BASELINE = 17
    #: No level from before the event is configured.
    NO_REFERENCE = 18
    #: No model is loaded, or it was fitted on too few events.
    UNCALIBRATED = 19
    #: The book is not known: see `reason`.
    UNKNOWN_BOOK = 20
    #: An input that the model reads is not defined now.
    MISSING_INPUT = 21


#: What JSON says of each Why.
WHY: Final = tuple(why.name.lower() for why in Why)


#: Version of the records; a change that could break a reader changes it.
RECORD_VERSION: Final = 1
#: When what describes a book message is null.
NO_BOOK: Final = "Before the first whole book message."


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record: its type, its unit, what it means; positional, for tables of them read better."""

    name: str
    type: Literal["number", "integer", "boolean", "string"]
    unit: str
    meaning: str
    #: Name of the field whose elements this one's elements belong to; empty for a single value.
    over: str = ""
    #: Name of the companion that says why the value is undefined; empty where it never is (in a known book).
    why: str = ""
    #: When it is null, where no companion says why; empty where it never is.
    null: str = ""
    #: The only values allowed, where there is such a list.
    values: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One kind of record: its topic, the fields after the envelope, and whether an unknown book empties them."""

    name: str
    topic: str
    meaning: str
    fields: tuple[Field, ...]
    #: Whether every field is null while the state is `unknown`.
    needs_book: bool
    #: What a record speaks of: one instrument, or an asset across its venues.
    scope: Literal["instrument", "asset"] = "instrument"


#: What opens every record of an instrument, whatever the signal.
ENVELOPE: Final = (
    Field("schema", "integer", "", "Version of the record; a change that could break a reader changes it."),
    Field("signal", "string", "", "Name of the signal."),
    Field("instrument", "string", "", "`venue:SYMBOL`, the record's key."),
    Field("venue", "string", "", "Venue, the key before the colon."),
    Field("symbol", "string", "", "Symbol, the key after the colon."),
    Field("asset", "string", "", "Underlying asset; all venues' instruments of one asset share a partition."),
    Field("quote", "string", "", "Currency of the prices.", null="Before the first INSTRUMENT row."),
    Field("time", "integer", "ns", "Row time: receive stamp of the row that caused the record; never goes back."),
    Field("received", "integer", "ns", "Receive stamp of the book message whose book is shown.", null=NO_BOOK),
    Field("exchanged", "integer", "ns", "The exchange's own stamp of that message.", null=f"{NO_BOOK} Or without one."),
    Field("last", "integer", "", "Last sequence id of that message.", null=f"{NO_BOOK} Or where the venue has none."),
    Field("epoch", "integer", "", "Epoch of the book: one more with every resynchronisation.", null=NO_BOOK),
    Field("state", "string", "", "Whether the book may be believed.", values=("ok", "unknown")),
    Field("reason", "string", "", "Why it may not.", null="While the state is `ok`."),
)
#: What opens every record of an asset.
ASSET_ENVELOPE: Final = (
    Field("schema", "integer", "", "Version of the record; a change that could break a reader changes it."),
    Field("signal", "string", "", "Name of the signal."),
    Field("asset", "string", "", "Underlying asset, the record's key."),
    Field("time", "integer", "ns", "Row time: receive stamp of the row that caused the record; never goes back."),
    Field("line", "integer", "ns", "Line of the grid: every venue's book is shown as of its last row before it."),
    Field("state", "string", "", "Whether at least one venue's book may be believed.", values=("ok", "unknown")),
    Field("reason", "string", "", "Why none may.", null="While the state is `ok`."),
)
ENVELOPES: Final = {"instrument": ENVELOPE, "asset": ASSET_ENVELOPE}
#: A string with a list of values stands in the row as its place in that list; one without is the caller's to add.
FORMAT: Final = {"number": "<f8", "integer": "<i8", "boolean": "<u1", "string": "<i8"}


class Layout:
    """A signal's fields as a row: the dtype that its kernel fills, and the way from that row to JSON values."""

    def __init__(self, fields: Sequence[Field], sizes: Mapping[str, int]) -> None:
        fields = [field for field in fields if field.type != "string" or field.values]
        self._names = tuple(field.name for field in fields)
        self._words = tuple((field.name, field.values) for field in fields if field.type == "string")
        self._arrays = tuple(field.name for field in fields if field.over)
        shapes = {field.name: (sizes[field.over],) if field.over else () for field in fields}
        values = [(field.name, FORMAT[field.type], shapes[field.name]) for field in fields]
        whys = {field.why: (field.why, "<u1", shapes[field.name]) for field in fields if field.why}
        self.dtype = np.dtype([*values, *whys.values(), ("undefined", "<i8")], align=True)
        booleans = {field.name for field in fields if field.type == "boolean"}
        self._read, self._each = reader_of(self.dtype, booleans)
        #: Position of each companion in the row, and the fields that it speaks of.
        self._whys = tuple(
            (len(values) + at, tuple((field.name, bool(field.over)) for field in fields if field.why == why))
            for at, why in enumerate(whys)
        )

    def values(self, row: Rows) -> tuple[dict[str, Any], dict[str, str]]:
        """Give the one row's values by name, None where undefined, and the reason for each name that holds a None."""
        cells = self._each(self._read(row))
        found = dict(zip(self._names, cells, strict=False))
        for name in self._arrays:
            found[name] = list(found[name])
        for name, words in self._words:
            at = found[name]
            found[name] = [words[each] for each in at] if isinstance(at, list) else words[at]
        return found, self._withhold(found, cells) if cells[-1] else {}

    def _withhold(self, found: dict[str, Any], cells: tuple[Any, ...]) -> dict[str, str]:
        reasons = {}
        for at, fields in self._whys:
            many = fields[0][1]
            why = cells[at]
            worst = max(why) if many else why
            if not worst:
                continue
            for name, _ in fields:
                reasons[name] = WHY[worst]
                found[name] = [None if w else v for v, w in zip(found[name], why, strict=True)] if many else None
        return reasons


def reader_of(dtype: np.dtype[Any], booleans: Collection[str]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Give the way from a row's bytes to its numbers, and from those to one value, or tuple of values, per field.

    Reading all numbers at once takes a tenth of the time that an array per field would.
    """
    codes, places, at, end = ["<"], list[int | slice](), 0, 0
    assert dtype.fields is not None
    for name in dtype.names or ():
        kind, offset = dtype.fields[name][:2]
        count = kind.shape[0] if kind.shape else 1
        code = "?" if name in booleans else {"f": "d", "i": "q", "u": "B"}[kind.base.kind]
        codes.append(f"{offset - end}x{count}{code}")
        places.append(slice(at, at + count) if kind.shape else at)
        at, end = at + count, offset + kind.itemsize
    return Struct("".join([*codes, f"{dtype.itemsize - end}x"])).unpack, itemgetter(*places)
