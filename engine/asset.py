"""An asset: its venues' tracks in; at lines of the flow's grid, the values of what is said of all of them out.

A line is passed when the first row of any venue has a stamp at or beyond it, before that row is taken. Every book is
then shown as of its last row so far, its flow as of its last closed cell. When the last known book is lost, that is
told at once.

A known book of which a side is empty has no mid to be set against others: depth leaves it out. The vacuum does not, an
empty side is what it looks for.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np
import orjson

from engine import across, vacuum
from engine.books import FOREIGN as FAR
from engine.books import answers, reference_of
from engine.errors import BadRecord
from engine.fields import RECORD_VERSION, WHY, Signal, Why
from engine.inputs import INPUTS, NAMES
from engine.money import QUANTO as QUANTO_CONTRACT
from engine.probability import columns
from engine.reference import references_of
from engine.schema import Rows
from engine.settings import ASSET_SIGNALS, Settings
from engine.signals import cascade_asset, depth_asset
from engine.signals import vacuum as vacuum_row
from engine.track import REASONS, Track
from engine.trust import OK, Reason

#: What an asset remembers beside the memories of its signals.
OWN: Final = np.dtype(
    [
        #: The line last passed, as a number of the grid; the Reason last told.
        ("cell", "<i8"),
        ("reason", "<i8"),
        #: Row time of each signal's last record, and of its last twin for late joiners.
        ("told", "<i8", (len(ASSET_SIGNALS),)),
        ("latest", "<i8", (len(ASSET_SIGNALS),)),
        #: Critical shocks of a fall and a squeeze of 1 % in the last cascade record, quote units, -1 before it.
        ("shock", "<f8", (2,)),
    ],
    align=True,
)
#: Memories that a state holds, in this order; behind them those of the cascade.
OWNED: Final = ("own", "vacuum", "inputs")
PARTS: Final = (*OWNED, *cascade_asset.PARTS)
#: Why a known book is left out.
FOREIGN: Final = "foreign"
QUANTO: Final = WHY[int(Why.QUANTO)]
NO_MID: Final = str(REASONS[int(Reason.NO_MID)])

#: Name and value of a record that is due, and whether late joiners get it too.
Told = tuple[Signal, bytes, bool]


class Asset:
    """What is remembered of an asset across venues."""

    __slots__ = ("cascade", "due", "inputs", "name", "own", "references", "settings", "vacuum")

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.own = np.zeros(1, OWN)
        self.own["reason"], self.own["shock"] = int(Reason.UNSYNCED), -1.0
        self.vacuum = vacuum.memory_of()
        self.cascade = cascade_asset.AssetCascade(settings.config, name)
        self.inputs = np.zeros(1, INPUTS)
        self.references = references_of(settings.config, name)
        #: Row time of the next line.
        self.due = 0

    def pass_line(self, tracks: Mapping[str, Track], now: int) -> list[Told]:
        """Pass a line of the grid; give what is due."""
        cell, own = self.settings.cell, self.own[0]
        first = own["cell"] == 0
        own["cell"] = now // cell
        self.due = (int(own["cell"]) + 1) * cell
        return [] if first else self._tell(tracks, now)

    def lose(self, tracks: Mapping[str, Track], now: int) -> list[Told]:
        """Say at once that no book is known any more, if that is so and was not told."""
        told = self.own["reason"][0] != OK and (self.vacuum["state"][0] == vacuum.UNKNOWN).all()
        if told or any(track.usable for track in tracks.values()):
            return []
        return self._tell(tracks, now)

    def _tell(self, tracks: Mapping[str, Track], now: int) -> list[Told]:
        good, middle, without = gathered(tracks)
        bare = {key: track for key, track in tracks.items() if without.get(key) == NO_MID}
        pasts = pasts_of(tracks, middle, without)
        own, known = self.own[0], self.settings
        reason = OK if good else int(Reason.NO_MID) if bare else reason_of(tracks.values())
        change = reason != own["reason"]
        own["reason"] = reason
        if good:
            self.cascade.close(now, float(middle))
        else:
            # Seconds in which nothing was seen are no observation of net selling.
            self.cascade.lose()
        if good or bare:
            moved = self._move(dict(sorted({**good, **bare}.items())), now)
        else:
            # A book that is crossed, or in parts, for a moment breaks no hold: see `Track`.
            passing = any(track.memory["reason"][0] == OK and track.reason != OK for track in tracks.values())
            moved = 0 if passing else vacuum.lose(self.vacuum, reason, now)
        out = []
        for index, (signal, cadence) in enumerate(ASSET_SIGNALS):
            asked = moved if signal.name == vacuum_row.SIGNAL.name else 0
            if not (change or asked or now - own["told"][index] >= cadence(known.config) * 1_000_000):
                continue
            own["told"][index] = now
            late = change or asked > 0 or now - own["latest"][index] >= known.latest
            if late:
                own["latest"][index] = now
            out.append((signal, self._value(signal, now, good, middle, without, pasts), late))
        return out

    def _move(self, books: Mapping[str, Track], now: int) -> int:
        """Let the state machine of the whole see the known books; return which sides changed."""
        known, count = self.settings, len(books)
        parts = np.zeros(count, across.PART)
        values, whys = np.zeros((count, len(NAMES), 2)), np.zeros((count, len(NAMES), 2), np.uint8)
        scratch = np.zeros((2, 4))
        for i, track in enumerate(books.values()):
            track.compare()
            values[i], whys[i] = columns(track.inputs)
            across.fill_part(
                track.baseline,
                track.present,
                known.narrow,
                known.wide,
                track.flow,
                known.flow,
                track.unit,
                scratch,
                parts[i : i + 1],
            )
        shock = self.own["shock"][0]
        why = 0 if shock.min() >= 0.0 else across.TOO_EARLY
        across.combine(values, whys, parts, shock, why, np.zeros(count), *columns(self.inputs))
        return vacuum.advance(self.vacuum, known.vacuum, self.inputs, now)

    def _value(
        self,
        signal: Signal,
        now: int,
        good: Mapping[str, Track],
        middle: Fraction,
        without: Mapping[str, str],
        pasts: Sequence[Rows],
    ) -> bytes:
        known, reason = self.settings, int(self.own["reason"][0])
        if signal.needs_book and reason != OK:
            return self._encode(signal, now, known.asset_unknown[signal.name].items(), {})
        row, layout = known.asset_rows[signal.name], known.asset_layouts[signal.name]
        if signal.name == vacuum_row.SIGNAL.name:
            seen = self.inputs if reason in (OK, int(Reason.NO_MID)) else known.blind
            vacuum_row.report(self.vacuum, known.model, seen, row)
            cells, why = layout.cells(row)
            return self._encode(signal, now, zip(layout.names, cells, strict=True), why)
        by_venue: dict[str, Any] = {"venues": list(good)}
        if signal.name == cascade_asset.SIGNAL.name:
            self.cascade.measure(cascade_parts(good, known), now, row)
            for side, way in enumerate(("fall_critical_quote", "squeeze_critical_quote")):
                self.own["shock"][0, side] = row[way][0, known.shock_at] if known.shock_at >= 0 else -1.0
        else:
            by_venue = depth_asset.measure_across(known.config, depth_parts(good), middle, pasts, self.references, row)
        left_out = {"excluded": list(without), "excluded_why": list(without.values())}
        cells, why = layout.cells(row)
        found = {**dict(zip(layout.names, cells, strict=True)), **by_venue, **left_out}
        return self._encode(signal, now, ((field.name, found[field.name]) for field in signal.fields), why)

    def _encode(self, signal: Signal, now: int, fields: Iterable[tuple[str, Any]], why: Mapping[str, str]) -> bytes:
        reason = int(self.own["reason"][0])
        record = {
            "schema": RECORD_VERSION,
            "signal": signal.name,
            "asset": self.name,
            "time": now,
            "line": int(self.own["cell"][0]) * self.settings.cell,
            "state": "ok" if reason == OK else "unknown",
            "reason": REASONS[reason],
        }
        record.update(fields)
        record["why"] = why
        return orjson.dumps(record)

    def dump(self) -> list[bytes]:
        """Write everything that is remembered, as parts of a state."""
        return [*(getattr(self, name).tobytes() for name in OWNED), *self.cascade.dump()]

    @classmethod
    def load(cls, parts: list[bytes], name: str, settings: Settings) -> "Asset":
        """Read what `dump` wrote. Raises BadRecord where a part has another size than ours."""
        asset = cls(name, settings)
        for part, memory in zip(OWNED, parts, strict=False):
            dtype = getattr(asset, part).dtype
            if len(memory) != dtype.itemsize:
                raise BadRecord(f"{part} of {name} has {len(memory)} bytes in the state, here {dtype.itemsize}")
            setattr(asset, part, np.frombuffer(memory, dtype).copy())
        asset.cascade.load(parts[len(OWNED) :])
        if asset.own["cell"][0]:
            asset.due = (int(asset.own["cell"][0]) + 1) * settings.cell
        return asset


def depth_parts(good: Mapping[str, Track]) -> list[depth_asset.Part]:
    """Give what the depth of an asset is made of."""
    return [
        depth_asset.Part(
            key=key,
            book=track.book,
            unit=track.unit,
            baseline=track.baseline,
            present=track.present,
            near=track.reaching,
        )
        for key, track in good.items()
        if track.book is not None
    ]


def cascade_parts(good: Mapping[str, Track], known: Settings) -> list[cascade_asset.Part]:
    """Give what the cascade of an asset is made of."""
    return [
        cascade_asset.Part(
            key=key,
            book=track.book,
            unit=track.unit,
            map=track.map,
            assumed=track.assumed,
            flow=track.flow,
            flow_settings=known.flow,
            near=track.within,
            own=track.own_cascade,
        )
        for key, track in good.items()
        if track.book is not None
    ]


def gathered(tracks: Mapping[str, Track]) -> tuple[dict[str, Track], Fraction, dict[str, str]]:
    """Give the tracks whose books count, by key, the reference price, and why each other one does not."""
    ordered = sorted(tracks.items())
    good = {key: track for key, track in ordered if track.usable}
    without = {key: reason_without(track) for key, track in ordered if key not in good}
    if not good:
        return {}, Fraction(0), without
    middle, kept = reference_of([track.mid for track in good.values()])
    foreign = [key for key, keep in zip(good, kept, strict=True) if not keep]
    return (
        {key: track for key, track in good.items() if key not in foreign},
        middle,
        dict(sorted({**without, **dict.fromkeys(foreign, FOREIGN)}.items())),
    )


def reason_without(track: Track) -> str:
    """Say why a book does not count: it is not known, its sizes are no base units, or it has no mid."""
    return REASONS[track.reason] or (QUANTO if track.unit["contract"][0] == QUANTO_CONTRACT else NO_MID)


def pasts_of(tracks: Mapping[str, Track], middle: Fraction, without: Mapping[str, str]) -> list[Rows]:
    """Give the baselines that make up the usual depth of the asset: an outage takes nothing from it.

    Of a book that is not known its last mid says whether it is of the same quote currency.
    """
    return [
        track.baseline
        for key, track in sorted(tracks.items())
        if key not in without
        or (without[key] != FOREIGN and answers(track.book, track.unit) and abs(track.mid - middle) <= FAR * middle)
    ]


def reason_of(tracks: Iterable[Track]) -> int:
    """Say why no book of an asset counts: none that is known has a mid, or the first Reason of any."""
    return min((track.reason or int(Reason.NO_MID) for track in tracks), default=int(Reason.UNSYNCED))
