"""Stylised facts of a market: what a session says of one instrument in, numbers by name out, the same for any venue.

Only rows are looked at: what the venue told, not what a generator knows. Seconds are those of row time, and count from
the first whole one after the book is known; books are looked at when a second ends. Order-flow imbalance is the
engine's own (`engine.imbalance`), at the touch, a second at a time; longer intervals are sums of those.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.book import Book
from engine.config import EngineConfig
from engine.errors import BadRecord
from engine.imbalance import RING, USABLE, close_imbalance, restart_imbalance, update_imbalance
from engine.instrument import Instrument
from engine.schema import Batch, Flag, Kind, Rows
from engine.signals.flow import memory_of, settings_of

Floats = NDArray[np.float64]

SECOND: Final = 1_000_000_000
#: Distances from the mid, bps; depth is compared within the last one, which every recorded snapshot covers.
DISTANCES: Final = (1, 2, 5, 10, 15)
#: Lengths of the intervals that the impact regression is done over, s.
INTERVALS: Final = (1, 5, 10)
#: Kinds whose messages are counted.
FLOW: Final = (Kind.DELTA, Kind.TOUCH, Kind.TRADE)


class Observer:
    """Takes an instrument's batches; `facts` says what they were like."""

    def __init__(self, instrument: Instrument) -> None:
        self._book = Book(instrument, DISTANCES)
        self._tick = instrument.tick
        self._memory = memory_of(EngineConfig())
        self._rule = settings_of(EngineConfig())
        # A second is a cell, and a cell an interval.
        self._rule["impact_cells"], self._rule["training_cells"] = 1, 1 << 40
        #: End of the open second; 0 while no book is known.
        self._ends = 0
        self._whole = False
        self._counts: Counter[int] = Counter()
        self._levels = self._deleted = self._deltas = 0
        #: In the open second; stamp and side of the last one.
        self._fills = self._orders = 0
        self._order = (0, 0)
        #: Of each whole second: best bid and ask when it ended, depth within each distance, sizes of the
        #: ten best levels a side, and how many messages of each kind, fills and orders there were.
        self._touches: list[tuple[int, int]] = []
        self._depths: list[Any] = []
        self._sizes: list[Floats] = []
        self._messages: list[list[int]] = []
        #: Order-flow imbalance and move of the mid, ticks; None where the book was not known throughout.
        self._flows: list[tuple[float, float] | None] = []

    @property
    def seconds(self) -> int:
        """How many whole seconds have passed."""
        return len(self._touches)

    def take(self, batch: Batch) -> None:
        """Take one batch."""
        at = traded = 0
        for message in batch.messages:
            kind, count = int(message["kind"]), int(message["count"])
            while self._ends and message["received"] >= self._ends:
                self._close()
            if kind in (Kind.GAP, Kind.RESYNC):
                self._book.clear()
                restart_imbalance(self._memory)
                self._ends = 0
            if kind in (Kind.SNAPSHOT, Kind.DELTA):
                rows = batch.levels[at : at + count]
                self._book.update(rows, int(message["bids"]), self._replaces(message))
                self._know(message)
            if kind == Kind.DELTA and self._whole:
                self._deltas += 1
                self._levels += count
                self._deleted += int((rows["size"] == 0).sum())
            if kind == Kind.TRADE:
                self._hear(batch.trades[traded : traded + count])
            if kind in FLOW:
                self._counts[kind] += 1
            at += count if kind in (Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH) else 0
            traded += count if kind == Kind.TRADE else 0
        if at != len(batch.levels) or traded != len(batch.trades):
            raise BadRecord(
                f"a batch of {len(batch.levels)} levels, {len(batch.trades)} trades tells of {at}, {traded}"
            )

    def _hear(self, trades: Rows) -> None:
        """Count fills, and the orders they are of: fills of one stamp and side are one order's."""
        self._fills += len(trades)
        for row in trades:
            order = int(row["exchanged"]), int(row["side"])
            self._orders += order != self._order
            self._order = order

    def _replaces(self, message: Any) -> bool:
        return bool(message["kind"] == Kind.SNAPSHOT and not message["flags"] & Flag.CONTINUED)

    def _know(self, message: Any) -> None:
        """Look at the book that a message has left, unless more of that message follows."""
        if message["flags"] & Flag.PARTIAL:
            return
        update_imbalance(self._memory, *self._book.ladder())
        if not self._ends:
            self._ends = (int(message["received"]) // SECOND + 1) * SECOND
            self._whole = False

    def _close(self) -> None:
        own = self._memory[0]
        close_imbalance(self._memory, self._rule, int(own["ring_at"]))
        own["ring_at"] = (own["ring_at"] + 1) % RING
        usable = own["passed"] == USABLE
        bid, ask = self._book.touch
        if self._whole and 0 < bid < ask:
            row = self._book.view().row[0]
            self._touches.append((bid, ask))
            self._depths.append(row["bid_depth"] + row["ask_depth"])
            self._sizes.append(own["top_sizes"].astype(np.float64))
            self._messages.append([*(self._counts[kind] for kind in FLOW), self._fills, self._orders])
            self._flows.append((float(own["passed_flow"][0]), float(own["passed_move"])) if usable else None)
        self._counts.clear()
        self._fills = self._orders = 0
        self._whole = True
        self._ends += SECOND

    def facts(self) -> dict[str, float]:
        """Give every fact by name. Raises BadRecord where fewer than 60 whole seconds were seen."""
        if self.seconds < 60:
            raise BadRecord(f"{self.seconds} whole seconds were seen, needed are 60")
        touches = np.array(self._touches, np.float64)
        spread, mid = touches[:, 1] - touches[:, 0], touches.mean(axis=1)
        returns = 1e4 * np.diff(np.log(mid))
        depth = np.array(self._depths, np.float64).mean(axis=0)
        counts = np.array(self._messages, np.float64)
        messages, fills, orders = counts[:, : len(FLOW)].sum(axis=1), counts[:, -2], counts[:, -1]
        sizes = np.array(self._sizes)
        touch = sizes[:, :, 0].mean(axis=1)
        found = {
            "spread_mean_bps": float((1e4 * spread / mid).mean()),
            "spread_median_bps": float(np.median(1e4 * spread / mid)),
            "tick_bps": float((1e4 * self._tick / mid).mean()),
            "spread_mean_ticks": float((spread / self._tick).mean()),
            **{f"depth_within_{k}_bps": float(d / depth[-1]) for k, d in zip(DISTANCES, depth, strict=True)},
            **{f"ofi_r2_{length}_s": explained(self._flows, length) for length in INTERVALS},
            "deltas_per_s": float(counts[:, FLOW.index(Kind.DELTA)].mean()),
            "messages_per_s": float(messages.mean()),
            "message_burstiness": burstiness(messages),
            "trades_per_s": float(fills.mean()),
            "trade_burstiness": burstiness(fills),
            "orders_per_s": float(orders.mean()),
            "order_burstiness": burstiness(orders),
            "touch_variation": float(touch.std() / touch.mean()),
            "level_variation": float((sizes.std(axis=2) / sizes.mean(axis=2)).mean()),
            "return_deviation_bps": float(returns.std()),
            "return_autocorrelation": float(np.corrcoef(returns[:-1], returns[1:])[0, 1]),
            "return_kurtosis": float(((returns - returns.mean()) ** 4).mean() / returns.var() ** 2),
            "deleted_share": self._deleted / self._levels,
            "levels_per_delta": self._levels / self._deltas,
        }
        del found[f"depth_within_{DISTANCES[-1]}_bps"]
        return found


def burstiness(counts: Floats) -> float:
    """Return variance / mean of counts per second: 1 where arrivals are independent."""
    return float(counts.var() / counts.mean())


def explained(flows: Sequence[tuple[float, float] | None], length: int) -> float:
    """Return R2 of the mid's move on order-flow imbalance over successive intervals of so many seconds."""
    pairs = []
    for first in range(0, len(flows) - length + 1, length):
        part = [each for each in flows[first : first + length] if each is not None]
        if len(part) == length:
            pairs.append(np.sum(part, axis=0))
    return float(np.corrcoef(np.array(pairs).T)[0, 1] ** 2)


def observe(batches: Iterable[Batch], instrument: Instrument, seconds: int) -> dict[str, float]:
    """Give the facts of an instrument's first so many whole seconds, or of as many as there are."""
    observer = Observer(instrument)
    for batch in batches:
        if batch.instrument == instrument.key:
            observer.take(batch)
        if observer.seconds >= seconds:
            break
    return observer.facts()
