"""A table of a flat JSON object's keys in, the plan that `ingest.flat` reads such objects by out: data, no compiler.

A form says of each key what its value must look like and which fields of the MESSAGE row ("exchanged") or of the rows
behind it ("0.price", field `price` of the first) it fills. All else in the rows is the same for every such object. A
key that the form does not name is passed over; one that is needed and absent, or there twice, gets the object refused.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np

from engine.schema import FAMILY, MESSAGE, Kind
from ingest.rows import WORDS, Words, message, rows_before


class Take(IntEnum):
    """What a value must look like, and what it becomes."""

    #: Exactly this quoted text; nothing.
    TEXT = 0
    #: A whole number.
    WHOLE = 1
    #: Milliseconds or microseconds; ns.
    STAMP = 2
    #: A quoted decimal; an integer at a scale, no digit lost.
    DECIMAL = 3
    #: The same, above zero.
    POSITIVE = 4
    #: The same, a minus allowed.
    SIGNED = 5
    #: A quoted decimal; the nearest integer at a scale, halves to even.
    ROUNDED = 6
    #: true or false; 1 or -1.
    BOOLEAN = 7
    #: The first and the last of some whole numbers; how many they are, where the last stands.
    FROM = 8
    UPTO = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One key of a form."""

    key: str
    take: Take
    #: Fields that it fills.
    to: tuple[str, ...] = ()
    #: TEXT: the text; None: the instrument's symbol.
    text: str | None = None
    #: Decimals of the scale, or whose they are: "price" or "size".
    decimals: int | str = 0
    #: BOOLEAN: what true means; false means minus that.
    true: int = 1
    needed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One kind of object."""

    kind: Kind
    fields: tuple[Field, ...]
    #: Constant fields of each row.
    rows: tuple[dict[str, int], ...]
    #: How many rows are bids.
    bids: int = 0


#: Places in a plan: how many rows, fields, template words, which fields are needed, whether any is when the exchange
#: published; then the template, then the fields.
COUNT, FIELDS, LENGTH, NEEDED, PUBLISHED, TEMPLATE = range(6)
#: Places in a field: its key as a word, Take, decimals, the words for true and false, words that it fills (-1: none),
#: and the text's length and bytes.
KEY, TAKE, DECIMALS, TRUE, FALSE, TO = range(6)
TARGETS: Final = 6
TEXT: Final = TO + TARGETS
LONGEST: Final = 32
WIDTH: Final = TEXT + 1 + LONGEST
#: Bytes of a key at most.
KEY_BYTES: Final = 7


def plan(form: Form, symbol: str, price_decimals: int, size_decimals: int) -> Words:
    """Make what the kernel must know of a form and an instrument."""
    family = FAMILY[form.kind]
    before = rows_before(family) * family.itemsize // 8
    rows = np.zeros(len(form.rows), family)
    for row, constants in zip(rows, form.rows, strict=True):
        for name, value in constants.items():
            row[name] = value
    filled = {name for field in form.fields for name in field.to}
    previous = 0 if "previous" in filled else -1
    head = message(form.kind, count=len(rows), bids=form.bids, previous=previous).view(np.int64)
    template = [*head.tolist(), *[0] * (before - WORDS), *rows.view(np.int64).tolist()]
    scales = {"price": price_decimals, "size": size_decimals}
    fields: list[int] = []
    for field in form.fields:
        fields += _field(field, symbol, scales, family, before)
    needed = sum(1 << i for i, field in enumerate(form.fields) if field.needed)
    published = "published" in filled
    return np.array([len(rows), len(form.fields), len(template), needed, published, *template, *fields], np.int64)


def _field(field: Field, symbol: str, scales: dict[str, int], family: np.dtype[Any], before: int) -> list[int]:
    """Return one field's part of a plan."""
    assert 0 < len(field.key) <= KEY_BYTES
    text = (symbol if field.text is None else field.text).encode()
    if len(text) > LONGEST:
        raise ValueError(f"{text!r} has {len(text)} bytes, allowed are {LONGEST}")
    decimals = field.decimals if isinstance(field.decimals, int) else scales[field.decimals]
    places = [_place(name, family, before) for name in field.to]
    # A boolean's bits go into a part of a word, the others fill theirs.
    true, false = (_bits(field.true * sign, places[0]) if field.take == Take.BOOLEAN else 0 for sign in (1, -1))
    words = [word for word, _, _ in places]
    return [
        int.from_bytes(field.key.encode(), "little"),
        field.take,
        decimals,
        true,
        false,
        *(words + [-1] * (TARGETS - len(words))),
        len(text),
        *(list(text) + [0] * (LONGEST - len(text))),
    ]


def _place(name: str, family: np.dtype[Any], before: int) -> tuple[int, int, int]:
    """Return the word that a field is in, the bit of it where it begins, and its bytes."""
    row, _, member = name.rpartition(".")
    dtype, start = (family, before * 8 + int(row) * family.itemsize) if row else (MESSAGE, 0)
    kind, offset = dtype.fields[member][:2]  # type: ignore[index]
    return (start + offset) // 8, (start + offset) % 8 * 8, kind.itemsize


def _bits(value: int, place: tuple[int, int, int]) -> int:
    """Return a word that has a value in one field and zeros beside it."""
    _, shift, width = place
    return int.from_bytes(value.to_bytes(width, "little", signed=True), "little") << shift
