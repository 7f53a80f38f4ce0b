"""Who carries each stream and when it last spoke: control lines and frames' times in, streams that should speak out.

An acknowledged subscription is not data, and a live connection says nothing of its streams: venues have been seen to
acknowledge streams that never spoke. So every stream has its own deadlines, both in row time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ingest.venues import Stream


@dataclass(slots=True)
class Lane:
    """One stream's present state; times are receive times, ns."""

    stream: Stream
    #: Number of the connection that carries it; 0: none.
    connection: int = 0
    #: Since when that connection carries it.
    opened: int = 0
    #: When it last spoke; 0: never.
    last: int = 0
    #: Its silence has been said.
    stale: bool = False


class Freshness:
    """The lanes of one session."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._lanes = {stream.name: Lane(stream) for stream in streams}
        self._live: set[int] = set()

    def of(self, symbol: str) -> list[Lane | None]:
        """Return one symbol's lanes, the channel being the index."""
        lanes: list[Lane | None] = [None] * 16
        for lane in self._lanes.values():
            if lane.stream.symbol == symbol:
                lanes[lane.stream.channel] = lane
        return lanes

    def open(self, connection: int, names: Iterable[str], now: int) -> list[Lane]:
        """Let a connection, new or not, carry further streams; return those that it did not carry before."""
        self._live.add(connection)
        carried = {lane.stream.name for lane in self._lanes.values() if lane.connection == connection}
        return self.switch(connection, (name for name in names if name not in carried), now)

    def switch(self, connection: int, names: Iterable[str], now: int) -> list[Lane]:
        """Let a connection carry streams from now on, whoever did; names that are not ours are passed over."""
        lanes = [self._lanes[name] for name in names if name in self._lanes]
        for lane in lanes:
            lane.connection, lane.opened, lane.stale = connection, now, False
        return lanes

    def close(self, connection: int) -> list[Lane]:
        """Forget a connection; return what it carried.

        A tape's later part does not say who carried what when it began: such streams go with any unknown connection.
        """
        if connection in self._live:
            lanes = [lane for lane in self._lanes.values() if lane.connection == connection]
        else:
            lanes = [lane for lane in self._lanes.values() if not lane.opened and lane.last]
        self._live.discard(connection)
        for lane in lanes:
            lane.connection = 0
        return lanes

    def overdue(self, now: int) -> list[Stream]:
        """List the streams whose silence has passed its limit and has not been said."""
        return [
            lane.stream
            for lane in self._lanes.values()
            if lane.connection and not lane.stale and 0 < lane.stream.silence < now - max(lane.opened, lane.last)
        ]

    def silent(self, now: int) -> list[Stream]:
        """List the streams that have not spoken since their connection opened, and should have."""
        return [
            lane.stream
            for lane in self._lanes.values()
            if lane.connection and lane.last < lane.opened and 0 < lane.stream.first < now - lane.opened
        ]
