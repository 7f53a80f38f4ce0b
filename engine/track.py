"""A track: everything that is remembered of one instrument; rows in, the values of its records out."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Final

import numpy as np
import orjson

from engine import baseline, liquidations, risk, tail, vacuum
from engine.book import Book
from engine.books import Refill, answers, mid_of
from engine.comparison import PRESENT
from engine.errors import BadFrame, BadRecord
from engine.inputs import INPUTS
from engine.instant import compare, tell_depth
from engine.instrument import Instrument
from engine.mark import marks_now
from engine.money import UNIT, unit_of
from engine.reference import references_of
from engine.schema import INSTRUMENT, Contract, Rows, empty
from engine.settings import CASCADE, CHANGED, FLOW, MOVED, VACUUM, Settings
from engine.sides import Sides
from engine.signals import cascade, depth, flow, health
from engine.signals import vacuum as vacuum_row
from engine.step import ALARM, CELL_ENDS, NAMED, OWN_DUE, REFERENCE, entrance
from engine.track_memory import LATEST, NOWHERE, OWN, PARTS, TOO_EARLY, TRUST, envelope_of, heads_of, parse_instrument
from engine.triggers import Maps, begun, known, maps_of
from engine.trust import IGNORE, OK, PARTIAL, REFUSED, RENAMED, REPLACE, Reason

REASONS: Final = tuple(None if reason == OK else reason.name.lower() for reason in Reason)


class Track:
    """One instrument: flat memories, its book, and the constants of its records."""

    __slots__ = (
        "alarm",
        "asset",
        "assumed",
        "baseline",
        "book",
        "cell_ends",
        "due",
        "exposures",
        "flow",
        "heads",
        "holders",
        "inputs",
        "instrument",
        "key",
        "map",
        "maps",
        "memory",
        "own",
        "present",
        "references",
        "risk",
        "settings",
        "sides",
        "tail",
        "unit",
        "vacuum",
    )

    def __init__(self, key: str, asset: str, settings: Settings) -> None:
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
        self.assumed = liquidations.settings_of(settings.config, key, asset)
        self.exposures, self.holders = known(settings.config, asset)
        #: What the cascade reads of the map, as long as it is the same array.
        self.maps: Maps | None = None
        #: Past net selling, and the cascade risk that was computed of it last.
        self.tail = tail.memory_of()
        self.risk = np.zeros(1, risk.MEMORY)
        #: Row time from which on something is to be done: on an own row, on anybody's.
        self.due = int(self.memory["due"][0])
        self.alarm = int(self.memory["alarm"][0])
        #: Row time of the next line of the flow's grid.
        self.cell_ends = settings.cell
        self.instrument: Instrument | None = None
        self.book: Book | None = None
        #: Levels that records of one instant share.
        self.sides = Sides()
        self.unit = empty(UNIT)
        self.heads = heads_of(key, asset)

    def name(self, instrument: Instrument) -> int:
        """Take an INSTRUMENT row; one with other units makes every integer known so far meaningless."""
        if instrument == self.instrument:
            return IGNORE
        self.instrument = instrument
        self.book = Book(instrument, self.settings.config.bands)
        self.sides.forget()
        self.unit = unit_of(instrument)
        for head in self.heads.values():
            head["quote"] = instrument.quote
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
        crossed_since, partial, reason = TRUST(self.memory)
        if reason != OK:
            # Of an instrument whose first row is only being taken nothing was told yet.
            return reason if reason > OK else int(Reason.UNSYNCED)
        if partial:
            return int(Reason.PARTIAL)
        # Not for long enough to be a change of state, but nothing can be measured against such a mid.
        return int(Reason.CROSSED) if crossed_since else OK

    def step(self, cursor: Rows, words: memoryview, whole_tail: Rows, rows: tuple[Rows, Rows, Rows]) -> int:
        """Take messages from the cursor's on, which `words` are too; return why it stopped."""
        words[OWN_DUE], words[ALARM], words[CELL_ENDS] = self.due, self.alarm, self.cell_ends
        words[NAMED], known = self.book is not None, self.settings
        memories = self.memory, self.flow, known.flow, self.map, self.assumed, self.tail, known.tail
        ladder = self.book.arrays if self.book is not None else NOWHERE
        code = entrance()(cursor, known.limits, *memories, whole_tail, *ladder, self.unit, *rows)
        self.due, self.alarm = words[OWN_DUE], words[ALARM]
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
            moment = max(self.clock, now)
            # Most calls are for the depth's cadence, and close no cell of the flow.
            if not 0 < moment < int(self.flow["cell_ends"][0]):
                flow.close(self.flow, self.settings.flow, *self.book.ladder(), self.unit, moment)
            self._close_tail(moment)
        due, self.due, self.alarm = health.pass_time(self.memory, self.settings.limits, now, own_row)
        return self._also(due, own_row)

    def _close_tail(self, now: int) -> None:
        """Take the mid as it was before a line of the flow's grid, if row time has passed one."""
        if self.settings.end_of(now) == self.cell_ends or self.memory["reason"][0] != OK or self.book is None:
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
        now = self.clock
        ends = self.settings.end_of(now)
        if own_row and ends != self.cell_ends:
            self.own["cell"], self.cell_ends = now // self.settings.cell, ends
            due |= FLOW
            if self._ask_cascade(now):
                due |= CASCADE
            due |= self._move_vacuum(now)
        self.due = min(self.due, self.cell_ends)
        return due

    def within(self, bps: int) -> tuple[Rows, Rows]:
        """Give the levels within so many basis points of the mid, best first; never to be written, soon outdated."""
        assert self.book is not None
        return self.sides.within(self.book, int(self.memory["book_messages"][0]), bps)

    def reaching(self, bps: int) -> tuple[Rows, Rows]:
        """Give the levels within at least so many basis points, as `within` does."""
        assert self.book is not None
        return self.sides.reaching(self.book, int(self.memory["book_messages"][0]), bps)

    def compare(self) -> None:
        """Measure a known book and its flow, and set them against their past."""
        compare(*self._compared())

    def _compared(self) -> tuple[Any, ...]:
        """Give what `engine.instant.compare` takes."""
        assert self.book is not None
        known, own, mid = self.settings, self.own, 0.0
        if answers(self.book, self.unit):
            over, under = mid_of(self.book, self.unit)
            mid = over / under
        asked = known.shock_at >= 0 and own["cascade"][0] > 0 and mid > 0.0
        seen = known.places, self.flow, known.flow, self.unit, self.baseline, known.narrow, known.wide
        shock = own, known.shock_at, mid, 0 if asked else TOO_EARLY
        return *self.book.arrays, *seen, *shock, self.present, self.inputs, known.scratch

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
        sight = self._see_cascade()
        if sight is None:
            return False
        step = self.settings.config.cascade.step
        for before, after in zip(told[:, : sight.critical.shape[1]], sight.critical, strict=True):
            if (abs(after - before) > step * before).any():
                return True
        return False

    def _see_cascade(self) -> cascade.Sight | None:
        """Look at this book as the cascade does, and keep its risk; None where the model cannot be asked."""
        if self.reason != OK or not answers(self.book, self.unit):
            return None
        sight = self._look_cascade()
        # Not by whether it was looked at: what one track remembers may not depend on what others did in between.
        cascade.renew_risk(self.settings.config, sight.seen, (self.tail, self.settings.tail), self.risk, self.clock)
        return sight

    def _look_cascade(self) -> cascade.Sight:
        """Look at a book that answers, unless that was done."""
        assert self.book is not None
        known, lasts = self.settings, self.settings.config.cascade.duration
        cells, marks = int(self.flow["ring_count"][0]) if lasts else 0, marks_now(self.map, self.clock, known.config)
        of = (self.key, int(self.memory["book_messages"][0]), int(self.map["version"][0]), cells, marks)
        sight = known.cascade_sight
        if known.cascade_of != of or sight is None:
            refill = Refill(flow=self.flow, settings=known.flow, duration=lasts)
            levels, mid = self.within(cascade.reach_of(known.config)), mid_of(self.book, self.unit)
            sight = cascade.see(known.config, levels, mid, self.unit, self._maps(), refill)
            known.cascade_sight, known.cascade_of, known.cascade_told = sight, of, False
            known.cascade_interest = float(self.map["open_interest"][0])
        return sight

    def _maps(self) -> Maps:
        """Give the map with the exposures; which of those are gone is noted as it is now, as is the time of marks."""
        if self.maps is None or self.maps.memories is not self.map or len(self.exposures):
            self.maps = maps_of([self.map], [self.assumed], [1.0], self.exposures)
        return begun(self.maps, 0.0, self.clock) if self.settings.config.knowledge.marks else self.maps

    def own_cascade(self) -> tuple[cascade.Sight, Rows] | None:
        """Give what the cascade of this book alone is, its risk apart: the asset's own, if there is no other book.

        None where open interest has come since it was looked at.
        """
        sight, known = self._look_cascade(), self.settings
        if known.cascade_interest != float(self.map["open_interest"][0]):
            return None
        self._fill_cascade(sight)
        return sight, known.rows["cascade"]

    def _fill_cascade(self, sight: cascade.Sight) -> None:
        known, row = self.settings, self.settings.rows["cascade"]
        if not known.cascade_told:
            cascade.fill(known.config, sight, row)
            row["holders"] = self.holders
            known.cascade_told = True

    def _cascade(self, row: Rows) -> bool:
        """Fill the cascade row of this book, unless it is there; False where the model cannot be asked."""
        sight, own = self._see_cascade(), self.own[0]
        if sight is None:
            return False
        self._fill_cascade(sight)
        risk.tell(self.risk, row)
        own["cascade"] = self.clock
        own["told"][:, : sight.critical.shape[1]] = sight.critical
        return True

    def late(self, index: int, time: int, change: bool) -> bool:
        """Say whether a record also goes to late joiners, and note that it did."""
        if not change and time - LATEST(self.own)[index] < self.settings.latest:
            return False
        self.own["latest"][0, index] = time
        return True

    def value(self, signal: str, due: int) -> bytes | None:
        """Write the value of one record; None where a known book leaves nothing to say."""
        row, reason = self.settings.rows[signal], self.reason
        if signal == health.SIGNAL.name:
            health.report(self.memory, row, due & health.INTERVAL > 0)
            return self._write(signal, int(self.memory["reason"][0]), row)
        if signal == vacuum_row.SIGNAL.name:
            self.own["vacuum"] = self.clock
            # A book crossed for a moment leaves the machine where it is, but nothing is measured against it.
            seen = self.inputs if reason == OK else self.settings.blind
            vacuum_row.report(self.vacuum, self.settings.model, seen, row)
            return self._write(signal, reason, row)
        if reason != OK or self.book is None:
            return self._encode(signal, reason, self.settings.unknown[signal].items(), {})
        if signal == depth.SIGNAL.name:
            self._depth(row)
        elif signal == flow.SIGNAL.name:
            flow.report(self.flow, self.settings.flow, self.unit, row)
        elif not self._cascade(row):
            return None
        return self._write(signal, reason, row)

    def _depth(self, row: Rows) -> None:
        """Fill the DEPTH row of a known book."""
        known, config = self.settings, self.settings.config
        bids, asks = self.reaching(config.bands[-1])
        pockets = config.pocket_band, config.pocket_share
        past = known.baseline_bands, self.references
        given: list[Any] = [*self._compared(), bids, asks, known.notionals, *pockets, *past, known.view, row]
        tell_depth(*given)

    def _write(self, signal: str, reason: int, row: Rows) -> bytes:
        layout = self.settings.layouts[signal]
        cells, why = layout.cells(row)
        return self._encode(signal, reason, zip(layout.names, cells, strict=True), why)

    def _encode(self, signal: str, reason: int, fields: Iterable[tuple[str, Any]], why: Mapping[str, str]) -> bytes:
        record = envelope_of(self.heads[signal], self.memory, REASONS[reason])
        record.update(fields)
        record["why"] = why
        return orjson.dumps(record)

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
        track.cell_ends = settings.end_of(int(track.own["cell"][0]) * settings.cell)
        track.due = min(track.due, track.cell_ends)
        if track.book is not None:
            track.book.load(book)
        return track
