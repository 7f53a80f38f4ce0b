"""One asset's path: batches of market rows in, signal records out, the same ones however the messages were batched.

Each message is taken in five steps, most of them without leaving one kernel (`engine.step`). (1) If row time has
reached what any instrument waits for (silence, a crossed book that stays crossed), that instrument speaks. (2) If the
message's own stamp lies beyond a line of the cadence's grid, or ends the book's credit, records are written *before*
the message is applied: they show the book as of the last message at or before the line, and carry the stamp of the row
that crossed it. (3) If it is the first of any instrument beyond a line, the asset as a whole speaks. (4) The message is
applied. (5) If that changed the state, records are written.

`time` is the instrument's row time, `received`, `exchanged`, `last` and `epoch` are those of the book message whose
book is shown. Nothing here reads a clock, an environment or an offset; the offset goes into a header only.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import numpy as np

from engine import asset, snapshot
from engine.asset import Asset, Told
from engine.config import EngineConfig
from engine.errors import BadRecord
from engine.fields import Signal
from engine.instrument import Instrument
from engine.kernel import entry
from engine.schema import FAMILY, LEVEL, MESSAGE, Batch, Contract, Kind, Record, Reference, Rows, empty
from engine.schema import LIQUIDATION as LIQUIDATION_ROW
from engine.schema import REFERENCE as REFERENCE_ROW
from engine.schema import TRADE as TRADE_ROW
from engine.settings import MOVED, SIGNALS, VACUUM, Settings
from engine.signals.health import CHANGE
from engine.step import (
    ASTRAY,
    AT,
    CLOCK,
    CURSOR,
    DUE,
    END,
    HISTORY,
    LIMIT,
    LIQUIDATION,
    RECORDS,
    REFERENCE,
    ROOM,
    SNAPSHOT,
    TIME,
    TOUCH,
    TRADE,
    begin_batch,
)
from engine.topics import HEADER_ENGINE, HEADER_SOURCE, SIGNAL_LATEST
from engine.track import Track
from engine.track_memory import PARTS, parse_instrument
from engine.trust import INSTRUMENT_ROW, OK

#: Later than any row.
NEVER: Final = 1 << 62
#: Families that come beside the book, by the kind of their messages: their name in a Batch.
OTHERS: Final = {TRADE: "trades", REFERENCE: "references", LIQUIDATION: "liquidations"}
#: Parts of a state before those of the tracks, and of each track.
SHARED: Final = 1 + len(asset.PARTS)
EACH: Final = 3 + len(PARTS)


class Pipeline:
    """Everything that is computed for one asset: a step per batch, its memory as bytes."""

    def __init__(self, asset: str, config: EngineConfig) -> None:
        self.asset = asset
        self.config = config
        self._settings = Settings(config)
        self._engine = (HEADER_ENGINE, self._settings.digest.encode())
        self._tracks: dict[str, Track] = {}
        self._across = Asset(asset, self._settings)
        #: Latest receive stamp of any instrument, and the earliest that another instrument waits for.
        self._clock = 0
        #: Where in a batch a step stands, as a row and as words.
        self._cursor = np.zeros(1, CURSOR)
        self._words = self._cursor.view(np.int64).data
        self._begin = entry(begin_batch, self._cursor, empty(MESSAGE), 0, 0, 0, 0, 0)
        self._alarm = NEVER

    @property
    def tracks(self) -> Mapping[str, Track]:
        """Each instrument's track, by its key."""
        return self._tracks

    def step(self, batch: Batch, offset: int = -1) -> list[Record]:
        """Take one batch, return the records that follow. Raises BadRecord, nothing changed, on a malformed one."""
        messages, levels = ready(batch.messages, MESSAGE), ready(batch.levels, LEVEL)
        self._check(batch, messages)
        named = batch.instruments
        # To learn that there is none by asking for the first takes as long as to apply ten levels.
        instruments = [parse_instrument(batch.instrument, row) for row in named] if len(named) else []
        track = self._tracks.get(batch.instrument)
        if track is None:
            track = self._tracks[batch.instrument] = Track(batch.instrument, self.asset, self._settings)
        rows = messages, levels, ready(batch.trades, TRADE_ROW)
        out: list[Record] = []
        words = self._words
        words[CLOCK] = self._clock
        while True:
            words[LIMIT] = min(self._alarm, self._across.due)
            code = track.step(self._cursor, words, self._across.cascade.tail, rows)
            self._clock = words[CLOCK]
            self._alarm = min(self._alarm, track.alarm)
            if code == END:
                return out
            if code == TIME:
                self._tell_time(int(messages["received"][words[AT]]), track, offset, out)
            elif code == DUE:
                self._conclude(track, words[RECORDS], offset, out)
            else:
                self._take(code, track, batch, messages, levels, instruments)

    def _conclude(self, track: Track, records: int, offset: int, out: list[Record]) -> None:
        """Write what a message calls for, and move the book's window where it must be moved."""
        if track.book is not None and self._words[ASTRAY]:
            self._words[ASTRAY] = 0
            track.book.recentre()
        due = track.conclude(records) if records else 0
        if due:
            self._speak(track, due, offset, out)

    def _take(
        self, code: int, track: Track, batch: Batch, messages: Rows, levels: Rows, instruments: list[Instrument]
    ) -> None:
        """Take what the kernel left: rows that need new arrays, or are rare."""
        at = self._cursor[0]
        i = int(at["at"])
        kind, count = int(messages["kind"][i]), int(messages["count"][i])
        if code == ROOM and track.book is not None:
            track.book.reserve(count)
        elif code == SNAPSHOT:
            at["action"] = track.replace(messages, i, levels[at["levels"] : at["levels"] + count])
        elif kind == INSTRUMENT_ROW:
            at["action"] = track.name(instruments.pop(0))
        elif not messages["flags"][i] & HISTORY:
            name = OTHERS[kind]
            rows = ready(getattr(batch, name)[at[name] : at[name] + count], FAMILY[Kind(kind)])
            track.hear(kind, rows, int(messages["received"][i]))

    def _tell_time(self, received: int, own: Track, offset: int, out: list[Record]) -> None:
        """Let every instrument whose time has come speak; the message's own one last."""
        if self._clock >= self._alarm:
            for track in self._tracks.values():
                if track is not own and self._clock >= track.alarm:
                    self._speak(track, track.pass_time(self._clock, False), offset, out)
            self._alarm = min(track.alarm for track in self._tracks.values())
        if received >= own.due:
            self._speak(own, own.pass_time(received, True), offset, out)
        if self._clock >= self._across.due:
            self._speak_across(self._across.pass_line(self._tracks, self._clock), offset, out)

    def _speak(self, track: Track, due: int, offset: int, out: list[Record]) -> None:
        """Append the records that are due, and their twins for late joiners."""
        time = track.clock
        for index, (signal, bit) in enumerate(SIGNALS):
            if not due & bit:
                continue
            value = track.value(signal.name, due)
            if value is None:
                continue
            change = due & CHANGE > 0 or (bit == VACUUM and due & MOVED > 0)
            self._write(signal, track.key, time, value, track.late(index, time, change), offset, out)
        if due & CHANGE:
            if track.reason != OK:
                self._across.cascade.lose()
            self._speak_across(self._across.lose(self._tracks, self._clock), offset, out)

    def _speak_across(self, told: Sequence[Told], offset: int, out: list[Record]) -> None:
        """Append the records of the asset as a whole."""
        for signal, value, late in told:
            self._write(signal, self.asset, self._clock, value, late, offset, out)

    def _write(
        self, signal: Signal, key: str, time: int, value: bytes, late: bool, offset: int, out: list[Record]
    ) -> None:
        topics = [(signal.topic, key)]
        if late:
            topics.append((SIGNAL_LATEST, f"{signal.name}|{key}"))
        for topic, name in topics:
            headers = ((HEADER_SOURCE, b"%d:%d" % (offset, len(out))), self._engine)
            out.append(Record(topic=topic, key=name, asset=self.asset, time=time, value=value, headers=headers))

    def _check(self, batch: Batch, messages: Rows) -> None:
        """Begin a batch; refuse one of another asset, or one whose messages promise other rows than it holds."""
        if batch.asset != self.asset:
            raise BadRecord(f"batch of {batch.instrument} is of asset {batch.asset}, this pipeline is of {self.asset}")
        held = (len(batch.levels), len(batch.trades), len(batch.references), len(batch.liquidations))
        if self._begin(self._cursor, messages, *held, len(batch.instruments)):
            return
        promised = {kind: int(messages["count"][messages["kind"] == kind].sum()) for kind in (*OTHERS, INSTRUMENT_ROW)}
        for kind, name in OTHERS.items():
            if promised[kind] != len(getattr(batch, name)):
                met = f"{promised[kind]} {name}, it holds {len(getattr(batch, name))}"
                raise BadRecord(f"batch of {batch.instrument} promises {met}")
        if (messages["bids"] > messages["count"]).any():
            raise BadRecord(f"batch of {batch.instrument} has a message with more bids than levels")
        rows = int(messages["count"][messages["kind"] <= TOUCH].sum())
        raise BadRecord(
            f"batch of {batch.instrument} promises {rows} levels and {promised[INSTRUMENT_ROW]} instruments, "
            f"it holds {len(batch.levels)} and {len(batch.instruments)}"
        )

    def dump(self) -> bytes:
        """Write everything that is remembered: a pipeline loaded from it goes on as this one would."""
        parts = [np.array([self._clock], np.int64).tobytes(), *self._across.dump()]
        for track in self._tracks.values():
            parts += track.dump()
        return snapshot.pack(self._settings.digest, self.asset, parts)

    @classmethod
    def load(cls, state: bytes, config: EngineConfig) -> Self:
        """Read what `dump` wrote. Raises BadRecord where it is cut, altered, or of another version or configuration."""
        name, parts = snapshot.unpack(state, config.digest())
        if len(parts) % EACH != SHARED or len(parts[0]) != 8:
            raise BadRecord(f"a state of {len(parts)} parts of other sizes than version {snapshot.VERSION} has")
        pipeline = cls(name, config)
        pipeline._clock = int(np.frombuffer(parts[0], np.int64)[0])
        pipeline._across = Asset.load(parts[1:SHARED], name, pipeline._settings)
        for begin in range(SHARED, len(parts), EACH):
            track = Track.load(parts[begin : begin + EACH], name, pipeline._settings)
            pipeline._tracks[track.key] = track
            pipeline._alarm = min(pipeline._alarm, track.alarm)
        return pipeline


def ready(rows: Rows, dtype: np.dtype[Any]) -> Rows:
    """Give rows as kernels take them, for they compile once for each kind of array: writable, in one piece."""
    return rows if rows.dtype is dtype and rows.flags.carray else np.array(rows, dtype)


def warm(config: EngineConfig) -> None:
    """Compile every kernel of the path by taking a small made-up market through it; costs a load from cache later."""
    instrument = Instrument(
        venue="warm",
        symbol="WARM",
        asset="WARM",
        quote="USD",
        contract=Contract.LINEAR,
        price_decimals=2,
        size_decimals=2,
        tick=1,
        lot=1,
    )
    messages = np.zeros(7, MESSAGE)
    messages["kind"] = (Kind.INSTRUMENT, Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH, TRADE, REFERENCE, LIQUIDATION)
    messages["count"] = (1, 2, 1, 2, 1, 1, 1)
    messages["bids"] = (0, 1, 1, 1, 0, 0, 0)
    messages["last"] = (0, 1, 2, 2, 0, 0, 0)
    messages["previous"] = (-1, -1, 1, -1, -1, -1, -1)
    messages["received"] = np.array((0, 0, 1, 2, 3, 4, 5)) * config.health_cadence * 1_000_000 + 1
    levels = np.array([(99, 1), (101, 1), (99, 2), (99, 2), (101, 1)], LEVEL)
    trades = np.zeros(1, TRADE_ROW)
    trades["price"] = trades["size"] = trades["side"] = 1
    references, prints = np.zeros(1, REFERENCE_ROW), np.zeros(1, LIQUIDATION_ROW)
    references["what"], references["value"] = int(Reference.OPEN_INTEREST), 100
    prints["price"] = prints["size"] = prints["side"] = prints["coverage"] = 1
    batch = Batch(
        instrument=instrument.key,
        asset="WARM",
        messages=messages,
        levels=levels,
        trades=trades,
        references=references,
        liquidations=prints,
        instruments=instrument.row(),
    )
    pipeline = Pipeline("WARM", config)
    pipeline.step(batch)
    Pipeline.load(pipeline.dump(), config)
