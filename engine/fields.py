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


#: So many states of a layout are remembered: what is undefined, and which words stand; then it begins anew.
MOST_STATES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How a row is read while the same of it is undefined, and its words are the same."""

    #: Takes the row's numbers and `others` to one value, or values, per field.
    each: Callable[..., Any]
    #: Words, and the values of fields of which nothing is defined.
    others: tuple[Any, ...]
    #: Place of each field of which some elements are undefined, and a 1 at each of those.
    parts: tuple[tuple[int, bytes], ...]
    #: What the record says of it.
    why: Mapping[str, str]


class Layout:
    """A signal's fields as a row: the dtype that its kernel fills, and the way from that row to JSON values."""

    def __init__(self, fields: Sequence[Field], sizes: Mapping[str, int]) -> None:
        self._fields = tuple(field for field in fields if field.type != "string" or field.values)
        #: Names of the values that `cells` gives.
        self.names: Final = tuple(field.name for field in self._fields)
        shapes = {field.name: (sizes[field.over],) if field.over else () for field in self._fields}
        values = [(field.name, FORMAT[field.type], shapes[field.name]) for field in self._fields]
        whys = {field.why: (field.why, "<u1", shapes[field.name]) for field in self._fields if field.why}
        self.dtype = np.dtype([*values, *whys.values(), ("undefined", "<i8")], align=True)
        booleans = {field.name for field in self._fields if field.type == "boolean"}
        self._words = tuple((at, field) for at, field in enumerate(self._fields) if field.type == "string")
        self._whys = {why: [at for at, field in enumerate(self._fields) if field.why == why] for why in whys}
        self._read, self._places = reader_of(self.dtype, self.names, booleans)
        #: How many numbers a row has.
        self._count = sum(place.stop - place.start if isinstance(place, slice) else 1 for place in self._places)
        self._look, self._looked = look_of(self.dtype, [field.name for _, field in self._words], tuple(whys))
        self._states: dict[tuple[Any, ...], State] = {}

    def values(self, row: Rows) -> tuple[dict[str, Any], dict[str, str]]:
        """Give the one row's values by name, None where undefined, and the reason for each name that holds a None."""
        cells, why = self.cells(row)
        found = (list(cell) if isinstance(cell, tuple) else cell for cell in cells)
        return dict(zip(self.names, found, strict=True)), dict(why)

    def cells(self, row: Rows) -> tuple[Sequence[Any], Mapping[str, str]]:
        """Give what `values` does, without the names, and elements as any sequence; never to be changed."""
        key = self._look(row)
        state = self._states.get(key) or self._learn(key)
        cells = state.each(self._read(row) + state.others)
        if not state.parts:
            return cells, state.why
        cells = list(cells)
        for at, missing in state.parts:
            cells[at] = [None if gone else value for value, gone in zip(cells[at], missing, strict=True)]
        return cells, state.why

    def _learn(self, key: tuple[Any, ...]) -> State:
        """Work out how to read rows of one state: their words, their companions, and whether anything is undefined."""
        held, places, others = self._looked(key), list(self._places), list[Any]()
        parts, reasons = list[tuple[int, bytes]](), dict[str, str]()
        for at, field in self._words:
            told = tuple(field.values[word] for word in held[field.name])
            places[at] = self._count + len(others)
            others.append(told if field.over else told[0])
        for name, spoken_of in self._whys.items() if key[-1] else ():
            missing = held[name]
            if not any(missing):
                continue
            for at in spoken_of:
                field = self._fields[at]
                reasons[field.name] = WHY[max(missing)]
                if all(missing):
                    places[at] = self._count + len(others)
                    others.append((None,) * len(missing) if field.over else None)
                else:
                    parts.append((at, missing))
        if len(self._states) >= MOST_STATES:
            self._states.clear()
        state = State(each=itemgetter(*places), others=tuple(others), parts=tuple(parts), why=reasons)
        self._states[key] = state
        return state


def reader_of(
    dtype: np.dtype[Any], names: Sequence[str], booleans: Collection[str]
) -> tuple[Callable[..., tuple[Any, ...]], tuple[int | slice, ...]]:
    """Give the way from a row's bytes to the numbers of some fields, in their order, and where each field's stand.

    Reading all numbers at once takes a tenth of the time that an array per field would.
    """
    codes, places, at, end = ["<"], list[int | slice](), 0, 0
    assert dtype.fields is not None
    for name in names:
        kind, offset = dtype.fields[name][:2]
        count = kind.shape[0] if kind.shape else 1
        code = "?" if name in booleans else {"f": "d", "i": "q", "u": "B"}[kind.base.kind]
        codes.append(f"{offset - end}x{count}{code}")
        places.append(slice(at, at + count) if kind.shape else at)
        at, end = at + count, offset + kind.itemsize
    return Struct("".join([*codes, f"{dtype.itemsize - end}x"])).unpack, tuple(places)


def look_of(
    dtype: np.dtype[Any], words: Sequence[str], whys: Sequence[str]
) -> tuple[Callable[..., tuple[Any, ...]], Callable[[tuple[Any, ...]], dict[str, Any]]]:
    """Give the way from a row's bytes to its state (words, all companions as bytes, `undefined`), and back to names.

    By name stand a word's places in its list, or a companion's bytes, one or as many as there are elements.
    """
    assert dtype.fields is not None
    fields = dtype.fields
    read, places = reader_of(dtype, words, ())
    ends = {name: fields[name][1] + fields[name][0].itemsize for name in whys}
    begin = fields[whys[0]][1] if whys else 0
    length = max(ends.values()) - begin if whys else 0
    last: Callable[..., tuple[Any, ...]] = Struct(
        f"<{begin}x{length}s{fields['undefined'][1] - begin - length}xq"
    ).unpack_from

    def look(row: Rows) -> tuple[Any, ...]:
        return read(row) + last(row)

    def by_name(state: tuple[Any, ...]) -> dict[str, Any]:
        held: dict[str, Any] = {}
        for name, place in zip(words, places, strict=True):
            held[name] = state[place] if isinstance(place, slice) else (state[place],)
        for name in whys:
            held[name] = state[-2][fields[name][1] - begin : ends[name] - begin]
        return held

    return (look if words else last), by_name
