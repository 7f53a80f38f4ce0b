"""Fields: a row's values, words and reasons, in every state of its companions, against a reading field by field."""

import random
from typing import Any

import numpy as np
import pytest

from engine.config import EngineConfig
from engine.fields import MOST_STATES, WHY, Field, Layout
from engine.settings import ASSET_SIGNALS, SIGNALS, Settings

FIELDS = (
    Field("price", "number", "", "", why="price_why"),
    Field("spread", "number", "", "", why="price_why"),
    Field("flag", "boolean", "", ""),
    Field("state", "string", "", "", values=("calm", "wild")),
    Field("kinds", "string", "", "", over="kinds", values=("a", "b", "c")),
    Field("depth", "integer", "", "", over="bands", why="depth_why"),
    Field("full", "boolean", "", "", over="bands", why="full_why"),
)
LAYOUT = Layout(FIELDS, {"kinds": 2, "bands": 3})
SETTINGS = Settings(EngineConfig())
LAYOUTS = {
    "made-up": (LAYOUT, FIELDS),
    **{s.name: (SETTINGS.layouts[s.name], s.fields) for s, _ in SIGNALS},
    **{f"{s.name} of an asset": (SETTINGS.asset_layouts[s.name], s.fields) for s, _ in ASSET_SIGNALS},
}


def plain(fields: tuple[Field, ...], row: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a row one field at a time."""
    own, found, reasons = row[0], {}, {}
    for field in fields:
        if field.name not in row.dtype.names:
            continue
        cells = own[field.name].tolist() if field.over else [own[field.name].item()]
        if field.type == "boolean":
            cells = [bool(cell) for cell in cells]
        if field.values and field.type == "string":
            cells = [field.values[cell] for cell in cells]
        whys = (own[field.why].tolist() if field.over else [own[field.why].item()]) if field.why else []
        if own["undefined"] and any(whys):
            cells = [None if why else cell for cell, why in zip(cells, whys, strict=True)]
            reasons[field.name] = WHY[max(whys)]
        found[field.name] = cells if field.over else cells[0]
    return found, reasons


def fill(layout: Layout, fields: tuple[Field, ...], seed: random.Random) -> Any:
    row = np.zeros(1, layout.dtype)
    words = {field.name: len(field.values) for field in fields if field.type == "string"}
    often = seed.choice([0.0, 0.1, 0.9, 1.0])
    for name in layout.dtype.names or ():
        shape, base = row[name].shape, row[name].dtype
        if name in words:
            row[name] = np.array([seed.randrange(words[name]) for _ in range(row[name].size)]).reshape(shape)
        elif base == np.float64:
            row[name] = np.array([seed.gauss(0, 1e6) for _ in range(row[name].size)]).reshape(shape)
        elif name.endswith("_why"):
            whys = [seed.randrange(1, len(WHY)) if seed.random() < often else 0 for _ in range(row[name].size)]
            row[name] = np.array(whys).reshape(shape)
        elif base == np.uint8:
            row[name] = np.array([seed.randrange(2) for _ in range(row[name].size)]).reshape(shape)
        else:
            row[name] = np.array([seed.randrange(-9, 10**15) for _ in range(row[name].size)]).reshape(shape)
    row["undefined"] = seed.randrange(3)
    return row


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_row_is_read_as_field_by_field(name: str) -> None:
    layout, fields = LAYOUTS[name]
    for number in range(40):
        row = fill(layout, fields, random.Random(number))
        for _ in range(2):
            found, why = layout.values(row)
            assert (found, why) == plain(fields, row)
            assert list(found) == list(plain(fields, row)[0])
            cells, reasons = layout.cells(row)
            again = [list(cell) if isinstance(cell, (tuple, list)) else cell for cell in cells]
            assert (dict(zip(layout.names, again, strict=True)), reasons) == (found, why)


def test_states_are_not_remembered_for_ever() -> None:
    seed, layout = random.Random(1), Layout(FIELDS, {"kinds": 2, "bands": 3})
    seen = set()
    for _ in range(3 * MOST_STATES):
        row = fill(layout, FIELDS, seed)
        assert layout.values(row) == plain(FIELDS, row)
        seen.add(row["depth_why"].tobytes() + row["full_why"].tobytes() + row["kinds"].tobytes())
        assert len(layout._states) <= MOST_STATES
    assert len(seen) > MOST_STATES


def test_what_is_given_may_be_changed() -> None:
    row = fill(LAYOUT, FIELDS, random.Random(5))
    row["undefined"], row["price_why"], row["depth_why"] = 1, 1, 1
    found, why = LAYOUT.values(row)
    found["depth"].clear()
    why.clear()
    assert LAYOUT.values(row) == plain(FIELDS, row)
