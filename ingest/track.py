"""One instrument's way through a session: what the decoder says in, batches and snapshot requests out."""

from collections import Counter
from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

from engine.errors import Gap
from engine.instrument import Instrument
from engine.schema import (
    FAMILY,
    INSTRUMENT,
    LEVEL,
    LIQUIDATION,
    MESSAGE,
    REFERENCE,
    TRADE,
    Batch,
    Channel,
    Flag,
    Kind,
    Rows,
    empty,
)
from ingest.freshness import Lane
from ingest.mirror import Mirror
from ingest.request import STATUS_PAUSES, Request, backoff
from ingest.rows import PARTS, REPEATED
from ingest.rows import message as message_row
from ingest.sync import BookSync, State, Verdict
from ingest.venues import SECOND, Decoded, Venue

#: A book that was whole this long has its next snapshot asked for without a wait, ns.
CALM: Final = 10 * SECOND
#: A snapshot that the socket owes is asked for again after so many ns.
OWED: Final = 10 * SECOND

_NONE: Final = {family: empty(family) for family in (LEVEL, TRADE, LIQUIDATION, REFERENCE, INSTRUMENT)}
_NO_LEVELS, _NO_TRADES, _NO_LIQUIDATIONS, _NO_REFERENCES, _NO_INSTRUMENTS = _NONE.values()

# To make a frozen dataclass took as long as to decode its frame; to fill its slots takes a third of that.
_new: Final = Batch.__new__
_set_instrument, _set_asset, _set_messages, *_set_rows = (
    getattr(Batch, name).__set__ for name in ("instrument", "asset", "messages", *PARTS.values())
)
_set_levels, _set_trades, _set_liquidations, _set_references, _set_instruments = _set_rows
#: Kind -> what puts its rows into a Batch.
_PUT: Final[dict[int, Any]] = {int(kind): getattr(Batch, PARTS[family]).__set__ for kind, family in FAMILY.items()}

#: Rows lend their bytes to a Struct, which their type stubs do not say.
_IDS: Final[Any] = Struct("<3q18xB").unpack_from
_CLOCKS: Final[Any] = Struct("<qq").pack_into
_EPOCH: Final[Any] = Struct("<I").pack_into
_CONNECTION: Final[Any] = Struct("<H").pack_into
_AT_EPOCH: Final = MESSAGE.fields["epoch"][1]  # type: ignore[index]
_AT_CONNECTION: Final = MESSAGE.fields["connection"][1]  # type: ignore[index]
#: Where first, last and previous stand, with the kind 18 bytes behind.
_AT_IDS: Final = MESSAGE.fields["first"][1]  # type: ignore[index]
assert MESSAGE.fields["kind"][1] == _AT_IDS + 3 * 8 + 18  # type: ignore[index]

_DELTA: Final = int(Kind.DELTA)
_SNAPSHOT: Final = int(Kind.SNAPSHOT)
_TRADE: Final = int(Kind.TRADE)
_APPLY: Final = Verdict.APPLY
_INIT: Final = State.INIT


class Track:
    """The book, the lanes and the newest trade of one instrument."""

    def __init__(
        self,
        venue: Venue,
        instrument: Instrument,
        lanes: Sequence[Lane | None],
        counts: Counter[str],
        requests: dict[tuple[str, str], Request],
        *,
        foreign: bool = False,
    ) -> None:
        """Begin; a foreign tape may bring a REST snapshot even where we would have let the socket send it."""
        self.instrument = instrument
        self._key = instrument.key
        self._lanes = lanes
        self._counts = counts
        self._requests = requests
        self._path = venue.snapshot_path(instrument.symbol)
        self._resync = venue.resync
        self._rest = venue.resync == "rest"
        bridged = self._rest or (foreign and venue.sequence == "consecutive")
        self.sync: BookSync[Decoded] = BookSync(instrument.key, venue.sequence, bridged=bridged)
        self._mirror = None if venue.rule is None else Mirror(instrument, venue.rule)
        #: Whether this epoch's book is kept in it.
        self._mirrors = False
        #: From when on a diff that is early shows that the snapshot was lost.
        self._due = 0
        self._trade = -1
        #: Snapshots asked for since the book was last calm; one is on its way; the shortest wait before another.
        self._attempts = 0
        self._asked = False
        self._floor = 0
        self._since = 0
        #: Exchange time of the newest of the books that are sent whole, ns.
        self._newest = 0

    @property
    def is_new(self) -> bool:
        """Whether no epoch has begun."""
        return self.sync.state is State.INIT

    @property
    def is_whole(self) -> bool:
        """Whether the book is whole now."""
        return self.sync.state is State.SYNCED

    def take(self, decoded: Decoded, received: int, monotonic: int, out: list[Batch]) -> None:
        """Let one decoded message through, or hold it, or drop it."""
        channel = decoded.channel
        lane = None if channel is None else self._lanes[channel]
        connection = 0
        if channel is None:
            # Of no stream: the venue speaks of the connection, which the frame does not name.
            connection = self.carrier(Channel.DEPTH)
        if lane is not None:
            lane.last = received
            lane.stale = False
            connection = lane.connection
        first, last, previous, kind = _IDS(decoded.message, _AT_IDS)
        if kind == _DELTA:
            if self.sync.state is _INIT:
                self.begin(received, monotonic, out)
            try:
                if decoded.checksum is not None and not len(decoded.rows):
                    self._prove(decoded)
                    return
                verdict = self.sync.diff(first, last, previous, decoded)
                if verdict is _APPLY and self._mirrors:
                    decoded = self._mirrored(decoded)
            except Gap:
                self._break(decoded, received, monotonic, out)
                return
            if verdict is _APPLY:
                self._emit(decoded.message, decoded.rows, kind, received, monotonic, connection, self.sync.epoch, out)
            else:
                self._settle(verdict, received, monotonic, out)
        elif kind == _SNAPSHOT:
            if self._rest:
                self.snapshot(self.sync.epoch, decoded, received, monotonic, out)
            else:
                self._open(decoded, received, monotonic, connection, out)
        elif kind != _TRADE or self._is_new(last):
            self._emit(decoded.message, decoded.rows, kind, received, monotonic, connection, 0, out)

    def standing(self) -> tuple[bool, bool, int, int, int, bool]:
        """Give a state as `ingest.stretch` has it."""
        plain, consecutive = self.sync.plain
        return (
            self.is_whole and plain and not self._mirrors,
            consecutive,
            self.sync.last,
            self.sync.epoch,
            self._trade,
            False,
        )

    def move(self, state: Sequence[int]) -> None:
        """Take over such a state: what it says was taken."""
        _, _, last, _, self._trade, moved = state
        if moved:
            self.sync.move(last)

    def carrier(self, channel: Channel) -> int:
        """Name the connection that carries a channel, 0: none."""
        lane = self._lanes[channel]
        return 0 if lane is None else lane.connection

    def spoke(self, channel: Channel, received: int) -> None:
        """Note that a channel spoke."""
        lane = self._lanes[channel]
        if lane is not None:
            lane.last, lane.stale = received, False

    def begin(self, received: int, monotonic: int, out: list[Batch]) -> None:
        """Begin a new epoch of the book."""
        if self.sync.state is State.SYNCED and received - self._since >= CALM:
            self._attempts = 0
        self.sync.begin()
        self._due = received + OWED
        self._resynced(received, monotonic, out)

    def lose(self, expected: int, met: int, received: int, monotonic: int, out: list[Batch]) -> None:
        """Say a gap that no id of this book has shown, and begin anew."""
        lost = Decoded(self.instrument.symbol, Channel.DEPTH, message_row(Kind.DELTA, first=met), _NONE[LEVEL])
        if self.sync.state is State.SYNCED:
            self.sync.last = expected
            self._break(lost, received, monotonic, out)

    def mend(self, received: int) -> None:
        """Ask the socket for the book again, as far as it is the socket that has it."""
        if not self._rest:
            self._ask(received)

    def snapshot(self, epoch: int, decoded: Decoded, received: int, monotonic: int, out: list[Batch]) -> None:
        """Try a snapshot that was asked for in an epoch."""
        if self.sync.state is State.INIT:
            self.begin(received, monotonic, out)
            epoch = epoch or self.sync.epoch
        if epoch > self.sync.epoch and self.sync.state is State.BUFFERING:
            # The tape is a later part: its session had begun before, and counted on from there.
            self.sync.epoch = epoch
        last = int(decoded.message["last"][0])
        self._settle(self.sync.snapshot(epoch, last, decoded), received, monotonic, out)

    def failed(self, epoch: int, status: int, received: int) -> None:
        """Ask again, later, for a snapshot that did not come."""
        self._counts["failed_snapshots"] += 1
        if epoch == self.sync.epoch and self._asked:
            self._floor = STATUS_PAUSES.get(status, 0)
            self._asked = False
            self._ask(received)

    def say(self, kind: Kind, status: int, connection: int, received: int, monotonic: int, out: list[Batch]) -> None:
        """Put a row without rows among the others."""
        self._emit(message_row(kind, status=status), _NONE[LEVEL], 0, received, monotonic, connection, 0, out)

    def _settle(self, verdict: Verdict, received: int, monotonic: int, out: list[Batch]) -> None:
        """Do what a verdict that is not APPLY asks for."""
        if verdict is Verdict.BRIDGED:
            self._release(received, monotonic, out)
        elif verdict is Verdict.OVERFLOW:
            self._counts["overflows"] += 1
            self._resynced(received, monotonic, out)
        elif verdict is Verdict.OLD:
            self._counts["old_diffs"] += 1
        elif verdict is Verdict.DISCARDED:
            self._counts["discarded_snapshots"] += 1
        elif verdict is Verdict.REFETCH:
            self._counts["refetched_snapshots"] += 1
            self._asked = False
        elif verdict is Verdict.EARLY:
            self._counts["early_diffs"] += 1
            if received >= self._due:
                self._ask(received)
        if self.sync.waiting and not self._asked:
            self._ask(received)

    def _break(self, decoded: Decoded, received: int, monotonic: int, out: list[Batch]) -> None:
        """Say a gap, begin the next epoch with the diff that showed it."""
        self._counts["gaps"] += 1
        sync = self.sync
        row = decoded.message[0]
        first, last, previous = (int(row[name]) for name in ("first", "last", "previous"))
        gap = message_row(
            Kind.GAP,
            exchanged=int(row["exchanged"]),
            published=int(row["published"]),
            first=first,
            last=last,
            previous=sync.last,
        )
        self._emit(gap, _NONE[LEVEL], 0, received, monotonic, self.carrier(Channel.DEPTH), sync.epoch, out)
        self.begin(received, monotonic, out)
        if self._rest:
            self._settle(sync.diff(first, last, previous, decoded), received, monotonic, out)
        else:
            self._ask(received)

    def _open(self, decoded: Decoded, received: int, monotonic: int, connection: int, out: list[Batch]) -> None:
        """Take a snapshot of the socket: it opens an epoch, or is the next state of a book that is only sent whole."""
        message, last = decoded.message, int(decoded.message["last"][0])
        bids = int(message["bids"][0])
        if self._mirror is not None and self.is_whole and self._mirror.rule.whole:
            if int(message["exchanged"][0]) < self._newest:
                self._counts["old_snapshots"] += 1
                return
            rows, bids = self._mirror.difference(decoded.rows, bids)
            message["kind"], message["count"], message["bids"] = Kind.DELTA, len(rows), bids
            self._newest = int(message["exchanged"][0])
            self._emit(message, rows, _DELTA, received, monotonic, connection, self.sync.epoch, out)
            return
        if self.sync.state is not State.BUFFERING:
            self.begin(received, monotonic, out)
        if self._mirror is not None:
            self._mirrors = decoded.checksum is not None or not self._mirror.rule.optional
        if self._mirror is not None and self._mirrors:
            self._mirror.replace(decoded.rows, bids)
            try:
                proven = self._mirror.check(decoded.checksum, -1, last)
            except Gap:
                self._counts["bad_snapshots"] += 1
                self._ask(received)
                return
            message["flags"] |= int(Flag.CHECKSUM_OK) if proven else 0
        if not self.sync.open(last, decoded):
            self._counts["late_snapshots"] += 1
            self._ask(received)
            return
        self._newest = int(message["exchanged"][0])
        self._release(received, monotonic, out)

    def _mirrored(self, decoded: Decoded) -> Decoded:
        """Apply a diff to the mirror; give it with what else it did to the book. Raises Gap where that proves wrong."""
        assert self._mirror is not None
        message = decoded.message
        rows, bids = self._mirror.apply(decoded.rows, int(message["bids"][0]))
        if self._mirror.check(decoded.checksum, self.sync.last, int(message["first"][0])):
            message["flags"] |= int(Flag.CHECKSUM_OK)
        if rows is decoded.rows:
            return decoded
        message["count"], message["bids"] = len(rows), bids
        return decoded._replace(rows=rows)

    def _prove(self, decoded: Decoded) -> None:
        """Take a checksum that came by itself. Raises Gap where the book is another."""
        if self._mirror is not None and self._mirrors and self.is_whole:
            self._mirror.check(decoded.checksum, self.sync.last, self.sync.last)
            self._counts["checksums"] += 1

    def _resynced(self, received: int, monotonic: int, out: list[Batch]) -> None:
        self._counts["resyncs"] += 1
        self._asked = False
        resync = message_row(Kind.RESYNC)
        self._emit(resync, _NONE[LEVEL], 0, received, monotonic, self.carrier(Channel.DEPTH), self.sync.epoch, out)

    def _release(self, received: int, monotonic: int, out: list[Batch]) -> None:
        """Open an epoch: the units, the snapshot, the diffs that follow it."""
        self._since = received
        connection, epoch = self.carrier(Channel.DEPTH), self.sync.epoch
        units = message_row(Kind.INSTRUMENT, count=1)
        row = self.instrument.row()
        self._emit(units, row, int(Kind.INSTRUMENT), received, monotonic, connection, epoch, out)
        kind = _SNAPSHOT
        for decoded in self.sync.take():
            self._emit(decoded.message, decoded.rows, kind, received, monotonic, connection, epoch, out)
            kind = _DELTA

    def _ask(self, received: int) -> None:
        """Ask for a snapshot: REST for its body, the socket to send it again."""
        wait = max(backoff(self._attempts), self._floor)
        self._attempts += 1
        self._floor = 0
        self._asked = True
        self._due = received + wait + OWED
        symbol, what = self.instrument.symbol, "depth" if self._rest else self._resync
        self._requests[what, symbol] = Request(
            what=what,
            symbol=symbol,
            path=self._path or "",
            epoch=self.sync.epoch,
            after=received + wait if wait else 0,
            connection=0 if self._rest else self.carrier(Channel.DEPTH),
        )

    def _is_new(self, trade: int) -> bool:
        """Tell whether a trade was not seen before: after a reconnect some venues repeat the last ones."""
        if trade and self._trade - REPEATED < trade <= self._trade:
            self._counts["repeated_trades"] += 1
            return False
        self._trade = trade
        return True

    def _emit(
        self,
        message: Rows,
        rows: Rows,
        kind: int,
        received: int,
        monotonic: int,
        connection: int,
        epoch: int,
        out: list[Batch],
    ) -> None:
        # Packing into the row's bytes is thrice as fast as setting its fields.
        _CLOCKS(message, 0, received, monotonic)
        if epoch:
            _EPOCH(message, _AT_EPOCH, epoch)
        if connection:
            _CONNECTION(message, _AT_CONNECTION, connection & 0xFFFF)
        batch = _new(Batch)
        _set_instrument(batch, self._key)
        _set_asset(batch, self.instrument.asset)
        _set_messages(batch, message)
        _set_levels(batch, _NO_LEVELS)
        _set_trades(batch, _NO_TRADES)
        _set_liquidations(batch, _NO_LIQUIDATIONS)
        _set_references(batch, _NO_REFERENCES)
        _set_instruments(batch, _NO_INSTRUMENTS)
        put = _PUT.get(kind)
        if put is not None:
            put(batch, rows)
        out.append(batch)
