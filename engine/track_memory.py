"""What a track remembers: rows of an instrument in, the layout of its memory and how that is read out."""

from typing import Any, Final

import numpy as np

from engine.book import Arrays
from engine.config import MOST_DROPS
from engine.errors import BadConfig, BadRecord
from engine.fields import ENVELOPE, RECORD_VERSION, Why, reader_of
from engine.instrument import Instrument, from_row
from engine.ladder import MEMORY
from engine.schema import Rows
from engine.settings import SIGNALS
from engine.signals import health

#: What a track remembers beside the memories of its signals.
OWN: Final = np.dtype(
    [
        #: Cell of the grid in which the cascade was last asked, and row time of its last record.
        ("cell", "<i8"),
        ("cascade", "<i8"),
        #: Critical shocks of falls and squeezes in that record.
        ("told", "<f8", (2, MOST_DROPS)),
        #: Row time of the last vacuum record.
        ("vacuum", "<i8"),
        #: Largest gap of each side in the last depth record, bps, and why not, a Why.
        ("pocket", "<f8", (2,)),
        ("pocket_why", "<i8", (2,)),
        #: Row time of each signal's last twin for late joiners.
        ("latest", "<i8", (len(SIGNALS),)),
    ],
    align=True,
)
#: Memories that a state holds, in this order, behind the key; after them the instrument and the book.
PARTS: Final = ("memory", "own", "flow", "map", "tail", "risk", "baseline", "vacuum", "inputs")
TOO_EARLY: Final = int(Why.TOO_EARLY)
#: Whether the book may be believed.
TRUST: Final = reader_of(health.MEMORY, ("crossed_since", "partial", "reason"), ())[0]
#: Row time of each signal's last twin for late joiners.
LATEST: Final = reader_of(OWN, ("latest",), ())[0]
#: What every record says of the instrument's memory.
STAMPS: Final = reader_of(health.MEMORY, ("clock", "received", "exchanged", "last", "epoch"), ())[0]
#: The ladder of an instrument that is not known yet; never written.
NOWHERE: Final[Arrays] = (
    np.zeros(1, MEMORY),
    np.zeros((5, 0), np.int64),
    np.zeros((2, 0), np.int64),
    np.zeros((2, 0), np.int64),
    np.zeros((2, 2, 0), np.int64),
)


def parse_instrument(key: str, row: np.void) -> Instrument:
    """Read an INSTRUMENT row. Raises BadRecord on one that no version of ours has written."""
    try:
        return from_row(key, row)
    except (BadConfig, ValueError) as error:
        raise BadRecord(f"instrument row of {key} is malformed: {error}") from error


def heads_of(key: str, asset: str) -> dict[str, dict[str, Any]]:
    """Give each signal's record of an instrument of which no INSTRUMENT row has come, filled as far as that is known.

    All keys are there: to fill a copy takes less than to let each record's dict grow.
    """
    venue, _, symbol = key.partition(":")
    names = {"instrument": key, "venue": venue, "symbol": symbol, "asset": asset}
    return {
        signal.name: {
            **dict.fromkeys([field.name for field in (*ENVELOPE, *signal.fields)] + ["why"]),
            "schema": RECORD_VERSION,
            "signal": signal.name,
            **names,
        }
        for signal, _ in SIGNALS
    }


def envelope_of(head: dict[str, Any], memory: Rows, reason: str | None) -> dict[str, Any]:
    """Give a record whose envelope is filled, too; `memory` is that of `engine.signals.health`."""
    clock, received, exchanged, last, epoch = STAMPS(memory)
    record = {**head, "time": clock}
    record["received"], record["exchanged"] = received or None, exchanged or None
    record["last"], record["epoch"] = last or None, epoch or None
    record["state"], record["reason"] = "ok" if reason is None else "unknown", reason
    return record
