"""A book set against a past of one's own choosing: what the kernels of the comparison need, made for tests."""

from collections.abc import Sequence

import numpy as np

from engine import baseline
from engine.book import Book
from engine.comparison import PRESENT, compare_depth, measure_present
from engine.config import EngineConfig
from engine.instrument import Instrument
from engine.money import unit_of
from engine.schema import LEVEL, Rows
from engine.signals import flow

Levels = Sequence[tuple[int, int]]
START = 1_700_000_000_000_000_000


def book_of(unit: Instrument, config: EngineConfig, bids: Levels, asks: Levels) -> Book:
    """A book of one snapshot."""
    book = Book(unit, config.bands)
    book.update(np.array([*bids, *asks], LEVEL), len(bids), True)
    return book


def present_of(unit: Instrument, config: EngineConfig, book: Book) -> Rows:
    """A PRESENT row of a book that was just told to the flow."""
    memory, settings, present = flow.memory_of(config), flow.settings_of(config), np.zeros(1, PRESENT)
    flow.after(memory, settings, *book.ladder(), START)
    present.view(np.uint8)[:] = 255  # What was there before must not shine through.
    which = baseline.settings_of(config)["places"][0, : len(config.baseline.bands)].copy()
    whole, sizes, occupied, far = book.ladder()
    gaps = np.array([3.0, 4.0]), np.zeros(2, np.int64)
    measure_present(whole, book.bands, sizes, occupied, far, which, memory, settings, unit_of(unit), *gaps, present)
    return present


def past_of(config: EngineConfig, usual: dict[int, float]) -> Rows:
    """A baseline that was sampled until it stands: these values, by quantity, and nothing of the others."""
    memory, settings = baseline.memory_of(), baseline.settings_of(config)
    values, whys = np.zeros(baseline.QUANTITIES), np.ones(baseline.QUANTITIES, np.uint8)
    for quantity, value in usual.items():
        values[quantity], whys[quantity] = value, 0
    for sample in range(config.baseline.session):
        now = START + sample * config.baseline.sample * 1_000_000
        baseline.take_sample(memory, settings, values, whys, now)
    return memory


def compare(
    config: EngineConfig, past: Rows, present: Rows, references: Sequence[float], mid: float, row: Rows
) -> None:
    """Fill what a DEPTH row says of the past."""
    bands = np.array(config.baseline.bands, np.int64)
    compare_depth(past, present, bands, np.array(references, np.float64), mid, row)
