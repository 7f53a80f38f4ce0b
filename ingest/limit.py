"""Rate limits as a value: how long to wait before the next request (the generic cell rate algorithm). Pure.

At most `burst` cost at once and `rate` cost per second after that; in any window of w seconds at most burst + w x rate.
A venue's "n per window" is kept for every window by giving half of n to the burst and half to the rate (`per`).
"""


class Limit:
    """One bucket. `reserve` books the cost and returns the wait."""

    __slots__ = ("_burst", "_rate", "_until")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        #: When everything booked so far will have drained, s.
        self._until = 0.0

    def reserve(self, now: float, cost: float = 1.0) -> float:
        """Book a cost and return the seconds to wait; a cost above the burst waits for an empty bucket."""
        begin = max(self._until, now)
        self._until = begin + cost / self._rate
        return max(0.0, self._until - max(self._burst, cost) / self._rate - now)

    def block(self, until: float) -> None:
        """Spend nothing before `until`: the venue has said so."""
        self._until = max(self._until, until + self._burst / self._rate)


def per(count: float, window: float) -> Limit:
    """Allow `count` in any window of that many seconds."""
    return Limit(count / 2 / window, count / 2)
