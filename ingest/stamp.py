"""The receive clock: the wall and the monotonic clock in, strictly increasing nanoseconds out.

One `Stamp` serves every venue of a process, so that all their tapes merge into one total order. A wall clock that steps
back (NTP, an operator) must not stop time, or nothing would ever be late again: stamps then go on at half the speed of
the monotonic clock until the wall has caught up. `offset` tells what that did to wall minus monotonic; whoever writes
a tape puts a `clock` line on it when the offset has moved by more than `TOLERANCE`.
"""

import time
from collections.abc import Callable
from typing import Final

#: A move of the offset by more than this many ns is worth a `clock` line.
TOLERANCE: Final = 100_000
#: An arrival that is said to be older than this many ns is no arrival, but a clock that was set.
LONGEST: Final = 60_000_000_000


class Stamp:
    """Hand out receive times; one thread at a time may call it."""

    __slots__ = ("_monotonic", "_wall", "last", "monotonic", "offset")

    def __init__(
        self, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        #: The newest stamp handed out, and the monotonic clock at the instant that it names.
        self.last = wall()
        self.monotonic = monotonic()
        #: Stamp minus monotonic clock at the newest stamp that was read from the clock.
        self.offset = self.last - self.monotonic

    def take(self, room: int = 1, arrived: int = 0) -> int:
        """Read the clock: later than every stamp before, with `room` - 1 free nanoseconds just before it.

        `arrived` is the wall clock a little earlier, at what is to be stamped (0: now).
        """
        wall, monotonic = self._wall(), self._monotonic()
        if abs(wall - monotonic - self.offset) > TOLERANCE:
            # It moved, or this thread was put to sleep between the two readings.
            wall, monotonic = self._steady(wall, monotonic)
        slow = self.last + (monotonic - self.monotonic) // 2
        stamp = wall if wall >= slow else slow
        self.offset = stamp - monotonic
        if wall - LONGEST < arrived < wall:
            stamp -= wall - arrived
        stamp = max(stamp, self.last + room)
        self.last = stamp
        self.monotonic = stamp - self.offset
        return stamp

    def until(self, stamp: int) -> int:
        """Say how many ns from now a stamp would be of; less than 0 where it is past."""
        return stamp - self.offset - self._monotonic()

    def after(self, room: int = 1) -> int:
        """Follow the newest stamp without reading the clock: one more frame of the same socket read."""
        self.last += room
        return self.last

    def _steady(self, wall: int, monotonic: int) -> tuple[int, int]:
        for _ in range(3):
            before = self._monotonic()
            wall = self._wall()
            monotonic = self._monotonic()
            if monotonic - before < TOLERANCE // 2:
                break
        return wall, monotonic
