"""Names that an operator may get wrong: one met and those known in, the name or a helpful refusal out."""

from collections.abc import Sequence
from difflib import get_close_matches

from engine.errors import BadConfig
from engine.topics import TOPICS

#: Short name of each signal -> its topic.
SIGNALS = {topic.name.split(".")[1]: topic.name for topic in TOPICS if topic.name.startswith("signal.")}


def one_of(what: str, met: str, known: Sequence[str]) -> str:
    """Return a name that is known, or refuse it naming the nearest known ones."""
    if met in known:
        return met
    near = get_close_matches(met, known, n=3, cutoff=0.4)
    hint = f"; did you mean {', '.join(near)}" if near else ""
    raise BadConfig(f"unknown {what} {met!r}, known are {', '.join(known)}{hint}")


def signal_topic(met: str) -> str:
    """Return the topic of a signal, by its short name or its own."""
    return SIGNALS[one_of("signal", next((name for name, topic in SIGNALS.items() if topic == met), met), [*SIGNALS])]
