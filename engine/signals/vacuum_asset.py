"""Vacuum of an asset: the same row as of an instrument, its inputs summed over the asset's venues.

One more memory of `engine.vacuum` takes them at each line of the grid; `engine.signals.vacuum` fills the row. While no
venue's book is known, both sides are `unknown`.
"""

from typing import Final

from engine.fields import Signal
from engine.signals.vacuum import FIELDS
from engine.topics import SIGNAL_VACUUM

SIGNAL: Final = Signal(
    name="vacuum",
    topic=SIGNAL_VACUUM,
    meaning="The same of all venues' books of an asset together.",
    needs_book=False,
    scope="asset",
    fields=FIELDS,
)
