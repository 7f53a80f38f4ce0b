"""airpocket for notebooks: `airpocket.replay(tapes)` yields signal records, `airpocket.version()` says which this is.

Importing this loads nothing else.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.schema import Record


def replay(
    *tapes: Path | str,
    venue: str | None = None,
    signals: Sequence[str] = (),
    since: int | None = None,
    until: int | None = None,
    engine: "EngineConfig | None" = None,
) -> "Iterator[Record]":
    """Yield the signal records of tapes or of one lake, the same as live.

    `signals` are short names such as "depth", none means all.
    `venue` names that of tapes which do not say, `since` and `until` are ns and bound the records, not the books.
    """
    from airpocket.names import signal_topic
    from airpocket.player import Player

    return Player(
        tapes, venue=venue, engine=engine, topics=[signal_topic(name) for name in signals], since=since, until=until
    )


def version() -> str:
    """Return the installed version."""
    from importlib.metadata import version as installed

    return installed("airpocket")
