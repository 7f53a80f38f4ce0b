"""One asset's path: batches of market rows in, signal records out, the same ones however the messages were batched.

Each message is taken in four steps. (1) If row time has reached what any instrument waits for (silence, a crossed book
that stays crossed), that instrument speaks. (2) If the message's own stamp lies beyond a line of the cadence's grid, or
ends the book's credit, records are written *before* the message is applied: they show the book as of the last message
at or before the line, and carry the stamp of the row that crossed it. (3) The message is applied. (4) If that changed
the state, records are written at once.

`time` is the instrument's row time, `received`, `exchanged`, `last` and `epoch` are those of the book message whose
book is shown. Nothing here reads a clock, an environment or an offset; the offset goes into a header only.
"""

from typing import Any, Final, Self

import numpy as np
import orjson

from engine import snapshot
from engine.book import Book
from engine.config import EngineConfig
from engine.errors import BadConfig, BadFrame, BadRecord
from engine.fields import RECORD_VERSION
from engine.instrument import Instrument, from_row
from engine.money import UNIT, unit_of
from engine.schema import INSTRUMENT, LEVEL, MESSAGE, Batch, Contract, Kind, Record, Rows, empty
from engine.signals import depth, health
from engine.signals.health import CHANGE, DEPTH, HEALTH, INTERVAL, MEMORY, pass_time, settle
from engine.topics import HEADER_ENGINE, HEADER_SOURCE, SIGNAL_LATEST
from engine.trust import DELTA, IGNORE, INSTRUMENT_ROW, NO_BOOK, OK, REFUSED, RENAMED, REPLACE, Reason, admit

#: Later than any row.
NEVER: Final = 1 << 62
TOUCH: Final = int(Kind.TOUCH)
REASONS: Final = tuple(None if reason == OK else reason.name.lower() for reason in Reason)


class Track:
    """What the pipeline remembers of one instrument: flat memory, its book, and constants of its records."""

    __slots__ = ("alarm", "book", "due", "head", "instrument", "key", "memory", "unit")

    def __init__(self, key: str, asset: str, memory: Rows) -> None:
        venue, _, symbol = key.partition(":")
        self.key = key
        self.memory = memory
        self.due = int(memory["due"][0])
        self.alarm = int(memory["alarm"][0])
        self.instrument: Instrument | None = None
        self.book: Book | None = None
        self.unit = empty(UNIT)
        self.head: dict[str, Any] = {
            "schema": RECORD_VERSION,
            "signal": "",
            "instrument": key,
            "venue": venue,
            "symbol": symbol,
            "asset": asset,
            "quote": None,
        }

    def name(self, instrument: Instrument, bands: tuple[int, ...]) -> int:
        """Take an INSTRUMENT row; one with other units makes every integer known so far meaningless."""
        if instrument == self.instrument:
            return IGNORE
        self.instrument = instrument
        self.book = Book(instrument, bands)
        self.unit = unit_of(instrument)
        self.head["quote"] = instrument.quote
        return RENAMED


class Pipeline:
    """Everything that is computed for one asset: a step per batch, its memory as bytes."""

    def __init__(self, asset: str, config: EngineConfig) -> None:
        self.asset = asset
        self.config = config
        self._digest = config.digest()
        self._engine = (HEADER_ENGINE, self._digest.encode())
        self._limits = health.limits_of(config)
        self._latest = config.latest_cadence * 1_000_000
        self._bands = np.array(config.bands, np.int64)
        self._notionals = np.array(config.notionals, np.float64)
        self._depth = depth.layout(config)
        self._depth_row = np.zeros(1, self._depth.dtype)
        self._health = health.layout()
        self._health_row = np.zeros(1, self._health.dtype)
        self._unknown = {field.name: None for field in depth.SIGNAL.fields} | {
            "bands": list(config.bands),
            "notionals": self._notionals.tolist(),
        }
        self._tracks: dict[str, Track] = {}
        #: Latest receive stamp of any instrument, and the earliest that another instrument waits for.
        self._clock = 0
        self._alarm = NEVER

    def step(self, batch: Batch, offset: int = -1) -> list[Record]:
        """Take one batch, return the records that follow. Raises BadRecord, nothing changed, on a malformed one."""
        received, kinds, counts = self._check(batch)
        instruments = [parse_instrument(batch.instrument, row) for row in batch.instruments]
        track = self._tracks.get(batch.instrument)
        if track is None:
            track = Track(batch.instrument, self.asset, health.memory_of())
            self._tracks[batch.instrument] = track
        # Kernels compile once for each kind of array: ours is always writable, whatever the source gave.
        messages, levels = np.array(batch.messages, MESSAGE), np.array(batch.levels, LEVEL)
        out: list[Record] = []
        at = 0
        for i, kind in enumerate(kinds):
            self._tell_time(received[i], track, offset, out)
            action, best = IGNORE, (0, 0, 0, 0)
            if kind <= DELTA:
                action = self._apply(track, messages, i, levels[at : at + counts[i]])
                best = track.book.best if track.book and action != IGNORE else best
            elif kind == INSTRUMENT_ROW:
                action = track.name(instruments.pop(0), self.config.bands)
            due, track.due, track.alarm = settle(
                track.memory, self._limits, messages, i, action, levels, at if kind == TOUCH else 0, *best
            )
            self._alarm = min(self._alarm, track.alarm)
            if due:
                self._speak(track, due, offset, out)
            if kind <= TOUCH:
                at += counts[i]
        return out

    def _tell_time(self, received: int, own: Track, offset: int, out: list[Record]) -> None:
        """Let every instrument whose time has come speak; the message's own one last."""
        self._clock = max(self._clock, received)
        if self._clock >= self._alarm:
            for track in self._tracks.values():
                if track is not own and self._clock >= track.alarm:
                    due, track.due, track.alarm = pass_time(track.memory, self._limits, self._clock, False)
                    self._speak(track, due, offset, out)
            self._alarm = min(track.alarm for track in self._tracks.values())
        if received >= own.due:
            due, own.due, own.alarm = pass_time(own.memory, self._limits, received, True)
            self._speak(own, due, offset, out)

    def _apply(self, track: Track, messages: Rows, i: int, levels: Rows) -> int:
        if track.book is None:
            return NO_BOOK
        action = admit(track.memory, messages, i)
        if action != IGNORE:
            try:
                track.book.update(levels, int(messages["bids"][i]), action == REPLACE)
            except BadFrame:
                return REFUSED
        return action

    def _speak(self, track: Track, due: int, offset: int, out: list[Record]) -> None:
        """Append the records that are due, and their twins for late joiners."""
        own = track.memory[0]
        time = int(own["clock"])
        for bit, signal, told in ((DEPTH, depth.SIGNAL, "latest_depth"), (HEALTH, health.SIGNAL, "latest_health")):
            if not due & bit:
                continue
            value = self._depth_value(track) if bit == DEPTH else self._health_value(track, due & INTERVAL > 0)
            topics = [(signal.topic, track.key)]
            if due & CHANGE or time - own[told] >= self._latest:
                own[told] = time
                topics.append((SIGNAL_LATEST, f"{signal.name}|{track.key}"))
            for topic, key in topics:
                headers = ((HEADER_SOURCE, b"%d:%d" % (offset, len(out))), self._engine)
                out.append(Record(topic=topic, key=key, asset=self.asset, time=time, value=value, headers=headers))

    def _depth_value(self, track: Track) -> bytes:
        own = track.memory[0]
        reason = int(own["reason"])
        if reason == OK and own["partial"]:
            reason = int(Reason.PARTIAL)
        elif reason == OK and own["crossed_since"]:
            # Not for long enough to be a change of state, but nothing can be measured against such a mid.
            reason = int(Reason.CROSSED)
        if reason != OK or track.book is None:
            return self._value(track, "depth", reason, self._unknown, {})
        view = track.book.view()
        depth.measure(view.row, view.bids, view.asks, track.unit, self._bands, self._notionals, self._depth_row)
        return self._value(track, "depth", reason, *self._depth.values(self._depth_row))

    def _health_value(self, track: Track, interval: bool) -> bytes:
        health.report(track.memory, self._health_row, interval)
        reason = int(track.memory["reason"][0])
        return self._value(track, "health", reason, *self._health.values(self._health_row))

    def _value(self, track: Track, signal: str, reason: int, fields: dict[str, Any], why: dict[str, str]) -> bytes:
        own = track.memory[0]
        head = track.head
        head["signal"] = signal
        envelope = {
            "time": int(own["clock"]),
            "received": int(own["received"]) or None,
            "exchanged": int(own["exchanged"]) or None,
            "last": int(own["last"]) or None,
            "epoch": int(own["epoch"]) or None,
            "state": "ok" if reason == OK else "unknown",
            "reason": REASONS[reason],
        }
        return orjson.dumps({**head, **envelope, **fields, "why": why})

    def _check(self, batch: Batch) -> tuple[list[int], list[int], list[int]]:
        """Give the columns that the loop needs: receive stamps, kinds, row counts."""
        if batch.asset != self.asset:
            raise BadRecord(f"batch of {batch.instrument} is of asset {batch.asset}, this pipeline is of {self.asset}")
        received, kinds, counts, bids = (batch.messages[n].tolist() for n in ("received", "kind", "count", "bids"))
        rows = sum(count for count, kind in zip(counts, kinds, strict=True) if kind <= TOUCH)
        names = sum(count for count, kind in zip(counts, kinds, strict=True) if kind == INSTRUMENT_ROW)
        if rows != len(batch.levels) or names != len(batch.instruments) or names != kinds.count(INSTRUMENT_ROW):
            raise BadRecord(
                f"batch of {batch.instrument} promises {rows} levels and {names} instruments, "
                f"it holds {len(batch.levels)} and {len(batch.instruments)}"
            )
        if any(bid > count for bid, count in zip(bids, counts, strict=True)):
            raise BadRecord(f"batch of {batch.instrument} has a message with more bids than levels")
        return received, kinds, counts

    def dump(self) -> bytes:
        """Write everything that is remembered: a pipeline loaded from it goes on as this one would."""
        parts = [np.array([self._clock], np.int64).tobytes()]
        for track in self._tracks.values():
            parts += (
                track.key.encode(),
                track.memory.tobytes(),
                track.instrument.row().tobytes() if track.instrument else b"",
                track.book.dump() if track.book else b"",
            )
        return snapshot.pack(self._digest, self.asset, parts)

    @classmethod
    def load(cls, state: bytes, config: EngineConfig) -> Self:
        """Read what `dump` wrote. Raises BadRecord where it is cut, altered, or of another version or configuration."""
        asset, parts = snapshot.unpack(state, config.digest())
        if len(parts) % 4 != 1 or len(parts[0]) != 8 or any(len(part) != MEMORY.itemsize for part in parts[2::4]):
            raise BadRecord(f"a state of {len(parts)} parts of other sizes than version {snapshot.VERSION} has")
        pipeline = cls(asset, config)
        pipeline._clock = int(np.frombuffer(parts[0], np.int64)[0])
        for key, memory, instrument, book in zip(parts[1::4], parts[2::4], parts[3::4], parts[4::4], strict=True):
            track = Track(key.decode(), asset, np.frombuffer(memory, MEMORY).copy())
            if instrument:
                track.name(parse_instrument(track.key, np.frombuffer(instrument, INSTRUMENT)[0]), config.bands)
            if track.book is not None:
                track.book.load(book)
            pipeline._tracks[track.key] = track
            pipeline._alarm = min(pipeline._alarm, track.alarm)
        return pipeline


def parse_instrument(key: str, row: np.void) -> Instrument:
    """Read an INSTRUMENT row. Raises BadRecord on one that no version of ours has written."""
    try:
        return from_row(key, row)
    except (BadConfig, ValueError) as error:
        raise BadRecord(f"instrument row of {key} is malformed: {error}") from error


def warm(config: EngineConfig) -> None:
    """Compile every kernel of the path by taking a small made-up market through it; costs a load from cache later."""
    instrument = Instrument(
        venue="warm",
        symbol="WARM",
        asset="WARM",
        quote="USD",
        contract=Contract.SPOT,
        price_decimals=2,
        size_decimals=2,
        tick=1,
        lot=1,
    )
    messages = np.zeros(4, MESSAGE)
    messages["kind"] = (Kind.INSTRUMENT, Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH)
    messages["count"] = (1, 2, 1, 2)
    messages["bids"] = (0, 1, 1, 1)
    messages["last"] = (0, 1, 2, 2)
    messages["previous"] = (-1, -1, 1, -1)
    messages["received"] = np.array((0, 0, 1, 2)) * config.health_cadence * 1_000_000 + 1
    levels = np.array([(99, 1), (101, 1), (99, 2), (99, 2), (101, 1)], LEVEL)
    batch = Batch(
        instrument=instrument.key, asset="WARM", messages=messages, levels=levels, instruments=instrument.row()
    )
    pipeline = Pipeline("WARM", config)
    pipeline.step(batch)
    Pipeline.load(pipeline.dump(), config)
