"""One venue's session: tape lines in, batches out. The same live and in replay, for it has no socket and no clock.

A line is a frame of the venue or one of our control lines. What it causes is returned at once, in order, every row
stamped with that line's receive time: also diffs that were held for a snapshot, so that row time never runs back.
A book epoch is RESYNC, then INSTRUMENT, SNAPSHOT and the held DELTAs, then DELTAs, until GAP or a lost connection.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from engine.errors import BadConfig, BadFrame, BadRecord, Gap
from engine.instrument import Instrument
from engine.schema import Batch, Channel, Contract, Kind, Status
from ingest.control import MARK, VERSION
from ingest.freshness import Freshness, Lane
from ingest.request import Request, backoff
from ingest.track import Track
from ingest.venues import SECOND, Decoded, Decoder, Stream, Venue, load, names

__all__ = ["Request", "Session", "open_session"]

#: Lines held at most while the instruments are unknown.
HELD: Final = 10_000
#: Open interest and risk are asked for this often, ns of row time.
POLL: Final = 10 * SECOND
#: What is polled -> the channel that the answer belongs to.
POLLED: Final = {"open_interest": Channel.OPEN_INTEREST, "risk": Channel.RISK}
#: Key of a body line's verbatim part, its last.
_BODY: Final = b',"body":'


class Session:
    """The state behind one venue's lines."""

    def __init__(
        self, venue: Venue, symbols: Sequence[str], instruments: Sequence[Instrument] = (), *, foreign: bool = False
    ) -> None:
        """Begin; without instruments by asking for them. A foreign tape has no control lines: nothing answers there."""
        self._counts: Counter[str] = Counter()
        self._frames = 0
        self._venue = venue
        self._symbols = tuple(symbols)
        self._foreign = foreign
        self._freshness = Freshness(venue.streams(self._symbols))
        self._decoder: Decoder | None = None
        self._tracks: dict[str, Track] = {}
        self._held: list[tuple[int, bytes]] = []
        #: At most one request of a kind and symbol waits to be taken.
        self._requests: dict[tuple[str, str], Request] = {}
        self._attempts = 0
        #: Monotonic clock minus receive time; None: unknown.
        self._offset: int | None = None
        self._poll_at = 0
        paths = {"open_interest": venue.open_interest_path, "risk": venue.risk_path}
        found = [(what, symbol, path(symbol)) for symbol in self._symbols for what, path in paths.items()]
        #: What, whose, where.
        self._polled = [(what, symbol, path) for what, symbol, path in found if path is not None and not foreign]
        #: Who brought the frames that follow, where that is told.
        self._source = 0
        self._lines: dict[str, Callable[[int, dict[str, Any], bytes, list[Batch]], None]] = {
            "start": self._start,
            "clock": self._clock,
            "open": self._open,
            "from": self._from,
            "switch": self._switch,
            "close": self._close,
            "stale": self._stale,
            "body": self._body,
        }
        if instruments:
            self._equip(0, instruments, [])
        else:
            self._ask_instruments(0)

    def receive(self, received: int, raw: bytes) -> list[Batch]:
        """Take one line, return what it says. Raises BadFrame, nothing then having changed but the counts.

        A body that is refused should be followed by its line with a null body: so it is asked for again.
        """
        out: list[Batch] = []
        if raw.startswith(MARK):
            self._control(received, raw, out)
            return out
        if self._decoder is None:
            self._hold(received, raw)
            return out
        self._frames += 1
        try:
            found = self._decoder.decode(raw, received, self._source)
        except Gap as gap:
            self._lose(gap, received, out)
            return out
        except BadFrame as refusal:
            if not self._foreign or not self._take_bare_body(received, raw, out):
                self.counts[f"refused:{refusal.reason}"] += 1
                raise
            return out
        monotonic = 0 if self._offset is None else received + self._offset
        for decoded in found:
            self._tracks[decoded.symbol].take(decoded, received, monotonic, out)
        if received >= self._poll_at:
            self._poll(received)
        return out

    @property
    def decoder(self) -> Decoder | None:
        """What decodes now; None before the instruments are known."""
        return self._decoder

    @property
    def tracks(self) -> Mapping[str, Track]:
        """Each symbol's track, once the instruments are known."""
        return self._tracks

    @property
    def offset(self) -> int | None:
        """Monotonic clock less receive time, ns; None: unknown."""
        return self._offset

    def pass_over(self, frames: int, received: int) -> None:
        """Count frames that were taken elsewhere, the last one at `received`."""
        self._frames += frames
        if received >= self._poll_at:
            self._poll(received)

    @property
    def counts(self) -> Counter[str]:
        """What was met, by name."""
        self._counts["frames"] = self._frames
        return self._counts

    def overdue(self, now: int) -> list[bytes]:
        """List the `stale` lines that are due; each is to be stamped, recorded and received."""
        return [
            b'{"airpocket":"stale","symbol":"%b","channel":%d}' % (stream.symbol.encode(), stream.channel)
            for stream in self._freshness.overdue(now)
        ]

    def silent(self, now: int) -> list[Stream]:
        """List the streams that never spoke on their connection and are past their deadline: subscribe again."""
        return self._freshness.silent(now)

    def take_requests(self) -> list[Request]:
        """Return what is wanted from REST, each once."""
        taken = list(self._requests.values())
        self._requests.clear()
        return taken

    @property
    def synced(self) -> dict[str, bool]:
        """Tell of each symbol whether its book is whole now."""
        return {s: s in self._tracks and self._tracks[s].is_whole for s in self._symbols}

    @property
    def instruments(self) -> dict[str, Instrument]:
        """The instruments by symbol, as far as they are known."""
        return {symbol: track.instrument for symbol, track in self._tracks.items()}

    def _control(self, received: int, raw: bytes, out: list[Batch]) -> None:
        head, found, body = raw.partition(_BODY)
        try:
            line = orjson.loads(head + b"}" if found else raw)
            handle = self._lines[line["airpocket"]]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise BadRecord(f"not a control line: {raw[:80]!r}; allowed are {', '.join(self._lines)}") from error
        at_once = line["airpocket"] in ("start", "clock") or line.get("what") == "instruments"
        if self._decoder is None and not at_once:
            self._held.append((received, raw))
            return
        try:
            handle(received, line, body[:-1], out)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise BadRecord(f"a control line lacks what it must say: {raw[:80]!r}") from error

    def _start(self, received: int, line: dict[str, Any], body: bytes, out: list[Batch]) -> None:
        if line["version"] != VERSION:
            raise BadRecord(f"the tape is of version {line['version']!r}, allowed is {VERSION}")
        if line["venue"] != self._venue.name:
            raise BadRecord(f"the tape is of venue {line['venue']!r}, the session of {self._venue.name!r}")
        self._clock(received, line, body, out)
        if self._decoder is None and line.get("instruments"):
            # A later part of a tape: what the session had learned before it.
            known = [Instrument(**{**each, "contract": Contract(each["contract"])}) for each in line["instruments"]]
            self._equip(received, known, out)

    def _clock(self, received: int, line: dict[str, Any], body: bytes, out: list[Batch]) -> None:
        self._offset = line["monotonic"] - received

    def _open(self, received: int, line: dict[str, Any], body: bytes, out: list[Batch]) -> None:
        connection = line["connection"]
        self._forget(connection)
        lanes = self._freshness.open(connection, line["streams"], received)
        self._say_status(Status.CONNECTED, connection, lanes, received, out)
        for lane in lanes:
            track = self._tracks[lane.stream.symbol]
            # What another connection brought does not go on here, where the socket itself has the snapshots.
            anew = track.is_new or (track.is_whole and self._venue.resync != "rest")
            if lane.stream.channel == Channel.DEPTH and anew:
                track.begin(received, self._monotonic(received), out)

    def _from(self, received: int, line: dict[str, Any], body: bytes, out: list[Batch]) -> None:
        self._source = line["connection"]

    def _switch(self, received: int, line: dict[str, Any], body: bytes, out: list[Batch]) -> None:
        self._freshness.switch(line["connection"], line["streams"], received)

    def _close(self, received: int, line: dict[str, Any], body: bytes, out: list[Batch]) -> None:
        connection = line["connection"]
        self._forget(connection)
        lanes = self._freshness.close(connection)
        self._say_status(Status.DISCONNECTED, connection, lanes, received, out)
        for lane in lanes:
            if lane.stream.channel == Channel.DEPTH:
                self._tracks[lane.stream.symbol].begin(received, self._monotonic(received), out)

    def _stale(self, received: int, line: dict[str, Any], body: bytes, out: list[Batch]) -> None:
        lane = self._freshness.of(line["symbol"])[line["channel"]]
        # A frame may have come between the question and this line.
        if lane is not None and not lane.stale and received - lane.last > lane.stream.silence:
            lane.stale = True
            self.counts["stale"] += 1
            track = self._tracks[line["symbol"]]
            monotonic = self._monotonic(received)
            track.say(Kind.STALE, line["channel"], lane.connection, received, monotonic, out)
            if line["channel"] == Channel.DEPTH:
                track.mend(received)

    def _body(self, received: int, line: dict[str, Any], body: bytes, out: list[Batch]) -> None:
        what, symbol, status = line["what"], line["symbol"], line["status"]
        answered = status == 200 and body != b"null"
        if what == "instruments":
            self._take_instruments(received, body if answered else None, out)
        elif symbol not in self._tracks:
            raise BadRecord(f"a body of symbol {symbol!r}, the session has {', '.join(self._tracks)}")
        elif what == "depth":
            self._take_depth(received, symbol, line["epoch"], status if not answered else 0, body, out)
        elif not answered:
            self.counts[f"failed_{what}"] += 1
        else:
            decoded = self._read_body(symbol, POLLED[what], body)
            self._tracks[symbol].take(decoded, received, self._monotonic(received), out)

    def _take_depth(self, received: int, symbol: str, epoch: int, failure: int, body: bytes, out: list[Batch]) -> None:
        track = self._tracks[symbol]
        if failure or body == b"null":
            track.failed(epoch, failure, received)
            return
        decoded = self._read_body(symbol, Channel.DEPTH, body)
        # A foreign recorder does not know our epochs: its bodies are of whichever waits.
        epoch = track.sync.epoch if epoch < 0 else epoch
        track.snapshot(epoch, decoded, received, self._monotonic(received), out)

    def _read_body(self, symbol: str, channel: Channel, body: bytes) -> Decoded:
        assert self._decoder is not None
        try:
            (decoded,) = self._decoder.body(symbol, channel, body)
        except BadFrame as refusal:
            self.counts[f"refused:{refusal.reason}"] += 1
            raise
        return decoded

    def _take_bare_body(self, received: int, raw: bytes, out: list[Batch]) -> bool:
        """Take a foreign tape's line as a depth body of its only symbol; say whether it is one."""
        assert self._decoder is not None
        if len(self._symbols) != 1:
            return False
        try:
            (decoded,) = self._decoder.body(self._symbols[0], Channel.DEPTH, raw)
        except BadFrame:
            return False
        track = self._tracks[self._symbols[0]]
        track.snapshot(track.sync.epoch, decoded, received, self._monotonic(received), out)
        return True

    def _take_instruments(self, received: int, body: bytes | None, out: list[Batch]) -> None:
        if body is None:
            self.counts["failed_instruments"] += 1
            self._ask_instruments(received)
            return
        try:
            instruments = self._venue.parse_instruments(body, self._symbols)
        except BadFrame as refusal:
            self.counts[f"refused:{refusal.reason}"] += 1
            raise
        self._equip(received, instruments, out)

    def _equip(self, received: int, instruments: Sequence[Instrument], out: list[Batch]) -> None:
        """Begin to decode, with what was held; or, where an instrument has changed, begin its book anew."""
        known = {instrument.symbol: instrument for instrument in instruments}
        missing = [symbol for symbol in self._symbols if symbol not in known]
        if missing:
            raise BadConfig(f"no instrument for {', '.join(missing)}, given are {', '.join(known)}")
        if self.instruments == known:
            return
        self._decoder = self._venue.decoder(known)
        self._decoder.counts = self._counts
        for symbol in self._symbols:
            track = self._tracks.get(symbol)
            if track is None:
                lanes = self._freshness.of(symbol)
                self._tracks[symbol] = Track(
                    self._venue, known[symbol], lanes, self._counts, self._requests, foreign=self._foreign
                )
            elif track.instrument != known[symbol]:
                track.instrument = known[symbol]
                if not track.is_new:
                    track.begin(received, self._monotonic(received), out)
        held, self._held = self._held, []
        for at, raw in held:
            try:
                out.extend(self.receive(at, raw))
            except BadFrame:
                # It is counted; the frames behind it must not be lost with it.
                continue

    def _hold(self, received: int, raw: bytes) -> None:
        if len(self._held) < HELD:
            self._held.append((received, raw))
        else:
            self.counts["dropped_before_instruments"] += 1

    def _ask_instruments(self, received: int) -> None:
        wait = backoff(self._attempts)
        self._attempts += 1
        self._requests["instruments", ""] = Request(
            what="instruments",
            symbol="",
            path=self._venue.instruments_path,
            epoch=0,
            after=received + wait if wait else 0,
        )

    def _poll(self, received: int) -> None:
        """Ask for every symbol's open interest and risk."""
        self._poll_at = received + POLL
        for what, symbol, path in self._polled:
            self._requests[what, symbol] = Request(what=what, symbol=symbol, path=path, epoch=0, after=0)

    def _lose(self, gap: Gap, received: int, out: list[Batch]) -> None:
        """Hear from the decoder that frames were lost: of one book, or of whatever their connection carries."""
        self.counts["lost_frames"] += 1
        monotonic = self._monotonic(received)
        for symbol, track in self._tracks.items():
            lane = self._freshness.of(symbol)[Channel.DEPTH]
            carried = lane is None or not self._source or lane.connection == self._source
            if track.instrument.key == gap.instrument or (not gap.instrument and carried):
                track.lose(gap.expected, gap.met, received, monotonic, out)

    def _forget(self, connection: int) -> None:
        if self._decoder is not None:
            self._decoder.forget(connection)

    def _say_status(
        self, status: Status, connection: int, lanes: Sequence[Lane], received: int, out: list[Batch]
    ) -> None:
        monotonic = self._monotonic(received)
        for symbol in dict.fromkeys(lane.stream.symbol for lane in lanes):
            self._tracks[symbol].say(Kind.STATUS, status, connection, received, monotonic, out)

    def _monotonic(self, received: int) -> int:
        return 0 if self._offset is None else received + self._offset


def open_session(lines: Sequence[tuple[int, bytes]], venue: str | None) -> Session:
    """Make the session that a tape's first lines call for: its start line, or `venue` and what its frames show."""
    if lines and lines[0][1].startswith(MARK):
        line = orjson.loads(lines[0][1])
        if line.get("airpocket") != "start":
            raise BadConfig(
                f"the tape begins with a {line.get('airpocket')!r} line, expected is 'start': give all parts"
            )
        if venue is not None and venue != line["venue"]:
            raise BadConfig(f"the tape is of venue {line['venue']!r}, asked for is {venue!r}")
        return Session(load(line["venue"]), line["symbols"])
    if venue is None:
        raise BadConfig(f"the tape has no start line, so its venue must be named; known are {', '.join(names())}")
    return foreign_session(load(venue), [raw for _, raw in lines])


def foreign_session(venue: Venue, frames: Sequence[bytes]) -> Session:
    """Make the session of a tape without our lines: of all the symbols that its frames show, decimals as met there."""
    instruments = venue.infer_instruments(frames)
    return Session(venue, [each.symbol for each in instruments], instruments, foreign=True)
