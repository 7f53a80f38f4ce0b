"""A track: everything that is remembered of one instrument; rows in, the values of its records out."""

from fractions import Fraction
from typing import Any, Final

import numpy as np
import orjson

from engine import baseline, liquidations, risk, tail, vacuum
from engine.book import Arrays, Book
from engine.books import Refill, answers, mid_of
from engine.comparison import PRESENT, compare_depth, measure_present, relate
from engine.config import MOST_DROPS
from engine.errors import BadConfig, BadFrame, BadRecord
from engine.fields import RECORD_VERSION, Why
from engine.inputs import INPUTS
from engine.instrument import Instrument, from_row
from engine.ladder import MEMORY
from engine.money import UNIT, unit_of
from engine.pockets import measure_pockets
from engine.reference import references_of
from engine.schema import INSTRUMENT, Contract, Rows, empty
from engine.settings import CASCADE, CHANGED, FLOW, MOVED, SIGNALS, VACUUM, Settings
from engine.signals import cascade, depth, flow, health
from engine.signals import vacuum as vacuum_row
from engine.step import ALARM, CELL_ENDS, NAMED, OWN_DUE, REFERENCE, step
from engine.triggers import known, maps_of
from engine.trust import IGNORE, OK, PARTIAL, REFUSED, RENAMED, REPLACE, Reason

REASONS: Final = tuple(None if reason == OK else reason.name.lower() for reason in Reason)

#: What a track remembers beside the memories of its signals.
OWN: Final = np.dtype(
    [
        #: Cell of the grid in which the cascade was last asked, and row time of its last record.
        ("cell", "<i8"),
        ("cascade", "<i8"),
        #: Critical shocks of falls and squeezes in that record.
        ("told", "<f8", (2, MOST_DROPS)),
        #: Row time of the last vacuum record.
        ("vacuum", "<i8"),
        #: Largest gap of each side in the last depth record, bps, and why not, a Why.
        ("pocket", "<f8", (2,)),
        ("pocket_why", "<i8", (2,)),
        #: Row time of each signal's last twin for late joiners.
        ("latest", "<i8", (len(SIGNALS),)),
    ],
    align=True,
)
#: Memories that a state holds, in this order, behind the key; after them the instrument and the book.
PARTS: Final = ("memory", "own", "flow", "map", "tail", "risk", "baseline", "vacuum", "inputs")
#: The ladder of an instrument that is not known yet; never written.
NOWHERE: Final[Arrays] = (
    np.zeros(1, MEMORY),
    np.zeros((5, 0), np.int64),
    np.zeros((2, 0), np.int64),
    np.zeros((2, 0), np.int64),
    np.zeros((2, 2, 0), np.int64),
)


class Track:
    """One instrument: flat memories, its book, and the constants of its records."""

    __slots__ = (
        "alarm",
        "asset",
        "assumed",
        "baseline",
        "book",
        "due",
        "exposures",
        "flow",
        "head",
        "holders",
        "inputs",
        "instrument",
        "key",
        "map",
        "memory",
        "own",
        "present",
        "references",
        "risk",
        "settings",
        "tail",
        "unit",
        "vacuum",
    )

    def __init__(self, key: str, asset: str, settings: Settings) -> None:
        venue, _, symbol = key.partition(":")
        self.key = key
        self.asset = asset
        self.settings = settings
        self.memory = health.memory_of()
        self.own = np.zeros(1, OWN)
        self.flow = flow.memory_of(settings.config)
        self.map = liquidations.memory_of(settings.config)
        self.baseline = baseline.memory_of()
        self.vacuum = vacuum.memory_of()
        #: What is measured of the book at a line, and the same relative to its past; filled anew each time.
        self.present = np.zeros(1, PRESENT)
        self.inputs = np.zeros(1, INPUTS)
        self.references = references_of(settings.config, asset, key)
        #: What is assumed of leverage and margin at this venue.
        self.assumed = liquidations.settings_of(settings.config, venue, asset)
        self.exposures, self.holders = known(settings.config, asset)
        #: Past net selling, and the cascade risk that was computed of it last.
        self.tail = tail.memory_of()
        self.risk = np.zeros(1, risk.MEMORY)
        #: Row time from which on something is to be done: on an own row, on anybody's.
        self.due = int(self.memory["due"][0])
        self.alarm = int(self.memory["alarm"][0])
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

    def name(self, instrument: Instrument) -> int:
        """Take an INSTRUMENT row; one with other units makes every integer known so far meaningless."""
        if instrument == self.instrument:
            return IGNORE
        self.instrument = instrument
        self.book = Book(instrument, self.settings.config.bands)
        self.unit = unit_of(instrument)
        self.head["quote"] = instrument.quote
        self.flow = flow.memory_of(self.settings.config)
        self.map = liquidations.memory_of(self.settings.config)
        self.tail, self.risk = tail.memory_of(), np.zeros(1, risk.MEMORY)
        return RENAMED

    @property
    def usable(self) -> bool:
        """Say whether the book counts among those of its asset: known, with a mid, and sizes that are base units."""
        return self.reason == OK and answers(self.book, self.unit)

    @property
    def mid(self) -> Fraction:
        """Return (bid + ask) / 2 of a usable book, price units, exact."""
        assert self.book is not None
        return Fraction(*mid_of(self.book, self.unit))

    @property
    def clock(self) -> int:
        """Return the instrument's row time, ns."""
        return int(self.memory["clock"][0])

    @property
    def reason(self) -> int:
        """Say why the book cannot be measured now, OK where it can."""
        own = self.memory[0]
        reason = int(own["reason"])
        if reason != OK:
            # Of an instrument whose first row is only being taken nothing was told yet.
            return reason if reason > OK else int(Reason.UNSYNCED)
        if own["partial"]:
            return int(Reason.PARTIAL)
        # Not for long enough to be a change of state, but nothing can be measured against such a mid.
        return int(Reason.CROSSED) if own["crossed_since"] else OK

    def step(self, cursor: Rows, whole_tail: Rows, messages: Rows, levels: Rows, trades: Rows) -> int:
        """Take messages from the cursor's on, as `engine.step` does; return why it stopped."""
        words, known = cursor.view(np.int64), self.settings
        words[OWN_DUE], words[ALARM] = self.due, self.alarm
        words[CELL_ENDS] = (int(self.own["cell"][0]) + 1) * known.cell
        words[NAMED] = self.book is not None
        flows, maps = (self.flow, known.flow), (self.map, self.assumed)
        tails = self.tail, known.tail, whole_tail
        rows, limits = (messages, levels, trades), known.limits
        book, bands, sizes, occupied, far = self.book.arrays if self.book is not None else NOWHERE
        code = step(
            cursor, limits, self.memory, *flows, *maps, *tails, book, bands, sizes, occupied, far, self.unit, *rows
        )
        self.due, self.alarm = int(words[OWN_DUE]), int(words[ALARM])
        return code

    def replace(self, messages: Rows, i: int, levels: Rows) -> int:
        """Take a SNAPSHOT in place of the book; say what was done with it."""
        assert self.book is not None
        flow.restart(self.flow)
        try:
            self.book.update(levels, int(messages["bids"][i]), True)
        except BadFrame:
            flow.restart(self.flow)
            return REFUSED
        if not messages["flags"][i] & PARTIAL:
            flow.after(self.flow, self.settings.flow, *self.book.ladder(), self.clock)
        return REPLACE

    def hear(self, kind: int, rows: Rows, received: int) -> None:
        """Take REFERENCE or LIQUIDATION rows; of an unknown instrument, or a spot market, they mean nothing."""
        if self.instrument is None or self.instrument.contract == Contract.SPOT:
            return
        take = liquidations.take_references if kind == REFERENCE else liquidations.take_liquidations
        take(self.map, self.assumed, rows, self.unit, max(self.clock, received))

    def conclude(self, due: int) -> int:
        """Take what a message calls for; return the records that are due."""
        return self._also(due, True)

    def pass_time(self, now: int, own_row: bool) -> int:
        """Let row time pass; return the records that are due."""
        if own_row and self.book is not None:
            flow.close(self.flow, self.settings.flow, *self.book.ladder(), self.unit, max(self.clock, now))
            self._close_tail(max(self.clock, now))
        due, self.due, self.alarm = health.pass_time(self.memory, self.settings.limits, now, own_row)
        return self._also(due, own_row)

    def _close_tail(self, now: int) -> None:
        """Take the mid as it was before a line of the flow's grid, if row time has passed one."""
        if now // self.settings.cell == self.own["cell"][0] or self.memory["reason"][0] != OK or self.book is None:
            return
        bid, ask = self.book.touch
        mid = (bid + ask) / 2.0 if self.reason == OK and bid > 0 and ask > 0 else 0.0
        tail.close_tail(self.tail, self.settings.tail, now, mid)

    def _also(self, due: int, own_row: bool) -> int:
        """Add what is due beside depth and health: at a change of state, and at lines of the flow's grid."""
        if due & health.CHANGE:
            due |= CHANGED
            if self.memory["reason"][0] != OK:
                flow.restart(self.flow)
                vacuum.lose(self.vacuum, int(self.memory["reason"][0]), self.clock)
                tail.restart_tail(self.tail)
                self.risk["time"] = 0
        cell = self.settings.cell
        now, own = self.clock, self.own[0]
        if own_row and now // cell != own["cell"]:
            own["cell"] = now // cell
            due |= FLOW
            if self._ask_cascade(now):
                due |= CASCADE
            due |= self._move_vacuum(now)
        self.due = min(self.due, (int(own["cell"]) + 1) * cell)
        return due

    def compare(self) -> None:
        """Measure a known book and its flow, and set them against their past."""
        assert self.book is not None
        known, own = self.settings, self.own[0]
        pockets = own["pocket"], own["pocket_why"]
        seen = self.flow, known.flow, self.unit
        measure_present(*self.book.arrays, known.places, *seen, *pockets, self.present)
        mid = float(self.mid) if self.usable else 0.0
        at, asked = known.shock_at, own["cascade"] > 0 and mid > 0.0
        shock = own["told"][:, at] * mid
        why = 0 if asked and at >= 0 else int(Why.TOO_EARLY)
        bands = known.narrow, known.wide
        relate(self.baseline, self.present, *bands, *seen, shock, why, self.inputs)

    def _move_vacuum(self, now: int) -> int:
        """Let the state machine see the book, and the past grow; return the record that is due."""
        if self.reason == OK and self.book is not None:
            self.compare()
            present = self.present[0]
            if baseline.sample_due(self.baseline, self.settings.baseline, now):
                baseline.take_sample(self.baseline, self.settings.baseline, present["values"], present["whys"], now)
            if vacuum.advance(self.vacuum, self.settings.vacuum, self.inputs, now):
                return VACUUM | MOVED
        return VACUUM if now - int(self.own["vacuum"][0]) >= self.settings.vacuum_cadence else 0

    def _ask_cascade(self, now: int) -> bool:
        """Say whether a cascade record is due: by the cadence, or because a critical shock moved."""
        cadence, told = self.settings.cascade_cadence, self.own["told"][0]
        if now - self.own["cascade"][0] >= cadence > 0:
            return True
        if not self._cascade():
            return False
        row, step = self.settings.rows["cascade"], self.settings.config.cascade.step
        for side, name in enumerate(("fall_critical", "squeeze_critical")):
            before, after = told[side, : row[name].shape[1]], row[name][0]
            if (abs(after - before) > step * before).any():
                return True
        return False

    def _cascade(self) -> bool:
        """Fill the cascade row of this book, unless it is there; False where the model cannot be asked."""
        if self.reason != OK or not answers(self.book, self.unit):
            return False
        assert self.book is not None
        known, row, lasts = self.settings, self.settings.rows["cascade"], self.settings.config.cascade.duration
        cells = int(self.flow["ring_count"][0]) if lasts else 0
        seen = (self.key, int(self.memory["book_messages"][0]), int(self.map["version"][0]), cells)
        if known.cascade_of != seen or known.cascade_seen is None:
            maps = maps_of([self.map], [self.assumed], [1.0], self.exposures)
            refill = Refill(flow=self.flow, settings=known.flow, duration=lasts)
            known.cascade_seen = cascade.measure_book(known.config, self.book, self.unit, maps, refill, row)
            row["holders"] = self.holders
            known.cascade_of = seen
        # Not by whether the row was there: what one track remembers may not depend on what others did in between.
        cascade.tell_risk(known.config, known.cascade_seen, (self.tail, known.tail), self.risk, self.clock, row)
        return True

    def late(self, index: int, time: int, change: bool) -> bool:
        """Say whether a record also goes to late joiners, and note that it did."""
        latest = self.own[0]["latest"]
        if not change and time - latest[index] < self.settings.latest:
            return False
        latest[index] = time
        return True

    def value(self, signal: str, due: int) -> bytes | None:
        """Write the value of one record; None where a known book leaves nothing to say."""
        if signal == health.SIGNAL.name:
            row = self.settings.rows[signal]
            health.report(self.memory, row, due & health.INTERVAL > 0)
            return self._encode(signal, int(self.memory["reason"][0]), *self.settings.layouts[signal].values(row))
        reason = self.reason
        if signal == vacuum_row.SIGNAL.name:
            self.own["vacuum"] = self.clock
            row = self.settings.rows[signal]
            # A book crossed for a moment leaves the machine where it is, but nothing is measured against it.
            seen = self.inputs if reason == OK else self.settings.blind
            vacuum_row.report(self.vacuum, self.settings.model, seen, row)
            return self._encode(signal, reason, *self.settings.layouts[signal].values(row))
        if reason != OK or self.book is None:
            return self._encode(signal, reason, self.settings.unknown[signal], {})
        if signal == depth.SIGNAL.name:
            return self._encode(signal, reason, *self._depth())
        if signal == flow.SIGNAL.name:
            row = self.settings.rows[signal]
            flow.report(self.flow, self.settings.flow, self.unit, row)
            return self._encode(signal, reason, *self.settings.layouts[signal].values(row))
        if not self._cascade():
            return None
        row, own = self.settings.rows["cascade"], self.own[0]
        own["cascade"] = self.clock
        for side, name in enumerate(("fall_critical", "squeeze_critical")):
            own["told"][side, : row[name].shape[1]] = row[name][0]
        return self._encode(signal, reason, *self.settings.layouts[signal].values(row))

    def _depth(self) -> tuple[dict[str, Any], dict[str, str]]:
        assert self.book is not None
        known, row, view = self.settings, self.settings.rows["depth"], self.book.view()
        depth.measure(view.row, view.bids, view.asks, self.unit, known.bands, known.notionals, row)
        config = known.config
        measure_pockets(view.row, view.bids, view.asks, self.unit, config.pocket_band, config.pocket_share, row)
        for side, name in enumerate(("bid_gap", "ask_gap")):
            self.own["pocket"][0, side], self.own["pocket_why"][0, side] = row[name][0], row[f"{name}_why"][0]
        self.compare()
        mid = float(row["mid"][0])
        compare_depth(self.baseline, self.present, known.baseline_bands, self.references, mid, row)
        return known.layouts["depth"].values(row)

    def _encode(self, signal: str, reason: int, fields: dict[str, Any], why: dict[str, str]) -> bytes:
        own = self.memory[0]
        head = self.head
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

    def dump(self) -> list[bytes]:
        """Write everything that is remembered, as parts of a state."""
        memories = [getattr(self, name).tobytes() for name in PARTS]
        instrument = self.instrument.row().tobytes() if self.instrument else b""
        return [self.key.encode(), *memories, instrument, self.book.dump() if self.book else b""]

    @classmethod
    def load(cls, parts: list[bytes], asset: str, settings: Settings) -> "Track":
        """Read what `dump` wrote. Raises BadRecord where a part has another size than ours."""
        key, *memories, instrument, book = parts
        track = cls(key.decode(), asset, settings)
        if instrument:
            track.name(parse_instrument(track.key, np.frombuffer(instrument, INSTRUMENT)[0]))
        for name, memory in zip(PARTS, memories, strict=True):
            dtype = getattr(track, name).dtype
            if len(memory) != dtype.itemsize:
                raise BadRecord(f"{name} of {track.key} has {len(memory)} bytes in the state, here {dtype.itemsize}")
            setattr(track, name, np.frombuffer(memory, dtype).copy())
        track.due, track.alarm = int(track.memory["due"][0]), int(track.memory["alarm"][0])
        track.due = min(track.due, (int(track.own["cell"][0]) + 1) * settings.cell)
        if track.book is not None:
            track.book.load(book)
        return track


def parse_instrument(key: str, row: np.void) -> Instrument:
    """Read an INSTRUMENT row. Raises BadRecord on one that no version of ours has written."""
    try:
        return from_row(key, row)
    except (BadConfig, ValueError) as error:
        raise BadRecord(f"instrument row of {key} is malformed: {error}") from error
