"""Make before break: two connections' frames in, each frame once and in order out. Pure.

A venue ends every connection after a day, and two connections to one venue cut the same book into different diffs. So a
new connection opens beside the old one, and each stream moves over by itself, once the new one surely has everything
that follows what the old one has delivered. Let `last` be the newest id that the old one delivered. The new one

- leads, and shows a frame that builds on an id <= last: the frame passes, it follows without a hole;
- lags, and shows a frame of an id <= last: all after it will come, so what is not beyond `last` yet is dropped.

The id that a frame builds on is stated by the venue, or it is that of the new connection's frame before it. A stream
without ids is followed by its exchange time. Nothing is lost, nothing comes twice, no book starts over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.errors import BadFrame
from engine.schema import Channel, Kind
from ingest.venues import Decoded, Decoder, Stream


@dataclass(slots=True)
class Passage:
    """One stream on its way over."""

    stream: Stream
    #: Newest id that the old connection has delivered, and that the new one has shown.
    last: int | None = None
    seen: int | None = None
    #: The new connection speaks for it; and has gone beyond `last`, so that nothing of it needs to be looked at.
    over: bool = False
    beyond: bool = False


class Handover:
    """Decide, frame by frame, which of two connections speaks for each stream."""

    def __init__(
        self, decoder: Decoder, stream_of: Callable[[bytes], str | None], streams: Sequence[Stream], successor: int
    ) -> None:
        self._decoder = decoder
        self._stream_of = stream_of
        self._passages = {stream.name: Passage(stream) for stream in streams}
        #: Number of the new connection.
        self.successor = successor

    def take(self, connection: int, raw: bytes) -> tuple[bool, str | None]:
        """Say whether a frame passes, and the stream that moves over just before it, if one does."""
        try:
            name = self._stream_of(raw)
            passage = self._passages.get(name) if name is not None else None
            if passage is None:
                return True, None
            previous, last = span(self._decoder.decode(raw))
        except BadFrame:
            # Let it be refused in its one place, once.
            return connection != self.successor, None
        if connection != self.successor:
            if not passage.over:
                passage.last = last if passage.last is None else max(passage.last, last)
            return not passage.over, None
        if passage.beyond:
            return True, None
        builds_on = previous if previous is not None else passage.seen
        passage.seen = last
        if passage.last is None:
            return False, None
        beyond = last > passage.last
        if beyond and not passage.over and (builds_on is None or builds_on > passage.last):
            return False, None
        moved = None if passage.over else name
        passage.over, passage.beyond = True, beyond
        return beyond, moved

    @property
    def done(self) -> bool:
        """Tell whether every stream has moved over and needs no more care."""
        return all(passage.beyond for passage in self._passages.values())

    def finish(self) -> tuple[list[str], list[str]]:
        """End it where it stands: streams that can still move over (both level, or quiet), and those that break."""
        left = [passage for passage in self._passages.values() if not passage.over]
        level = [p for p in left if p.seen == p.last and (p.seen is not None or p.stream.channel != Channel.DEPTH)]
        return [p.stream.name for p in level], [p.stream.name for p in left if p not in level]

    def abandon(self) -> list[str]:
        """Return to the old connection: the streams that had moved over, and now have a hole."""
        return [name for name, passage in self._passages.items() if passage.over]


def span(decoded: Sequence[Decoded]) -> tuple[int | None, int]:
    """Give the id that a frame builds on, where the venue states it, and its own newest id."""
    if not decoded:
        raise BadFrame("empty", "a frame of a stream says nothing")
    newest = decoded[-1]
    message = newest.message[0]
    last = int(message["last"])
    if last > 0 and message["kind"] == Kind.DELTA:
        return (int(message["previous"]) if message["previous"] >= 0 else int(message["first"]) - 1), last
    if last == 0 and message["kind"] == Kind.TRADE and len(newest.rows):
        last = int(newest.rows["id"][-1])
    return None, last or int(message["exchanged"])
