"""Keep collector and interpreter from delaying what is live: a context for the processes that have a latency."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: A thread that sends or stamps must not wait 5 ms, Python's default, for one that computes.
SWITCH: Final = 0.0002
#: Rows are no cycles: the collector need look 70 times less often than it would.
THRESHOLDS: Final = (50_000, 20, 50)


@contextmanager
def settled() -> Iterator[None]:
    """Keep collector and interpreter short: what is loaded stays, and threads give way sooner."""
    before = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(SWITCH)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before[1])
        gc.unfreeze()
        sys.setswitchinterval(before[0])
