"""Slow, obvious twins of imbalance and impact: whole books are kept, every question is answered from all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.imbalance import INTERVALS, LEVELS
from engine.instrument import Instrument
from engine.schema import Contract

#: Price and size of the levels of each side, best first.
Book = tuple[list[tuple[int, int]], list[tuple[int, int]]]

#: What the kernels read of the flow's constants.
SETTINGS = np.dtype(
    [
        ("cell_ns", "<i8"),
        ("windows", "<i8", (8,)),
        ("window_count", "<i8"),
        ("impact_cells", "<i8"),
        ("training_cells", "<i8"),
        ("forgetting", "<f8"),
    ],
    align=True,
)


def sound(book: Book) -> bool:
    bids, asks = book
    return not (bids and asks and bids[0][0] >= asks[0][0])


def two_sided(book: Book) -> bool:
    return bool(book[0] and book[1])


def side_gain(now: Sequence[tuple[int, int]], before: Sequence[tuple[int, int]], level: int, outward: int) -> int:
    """What a level of one side gained; one that is absent rests at no price and has no size."""
    if len(now) <= level:
        return -before[level][1] if len(before) > level else 0
    if len(before) <= level:
        return now[level][1]
    if now[level][0] == before[level][0]:
        return now[level][1] - before[level][1]
    return now[level][1] if (now[level][0] - before[level][0]) * outward < 0 else -before[level][1]


def event(before: Book, now: Book, level: int) -> int:
    return side_gain(now[0], before[0], level, -1) - side_gain(now[1], before[1], level, 1)


def level_depth(book: Book) -> float:
    return sum(size for side in book for _, size in side[:LEVELS]) / (2 * LEVELS)


def touch_depth(book: Book) -> float:
    return sum(side[0][1] for side in book if side) / 2


def component(rows: Sequence[Sequence[float]]) -> tuple[list[float], float]:
    """First principal component of rows, absolute values 1 in sum, and the share of variance along it."""
    values, axes = np.linalg.eigh(np.atleast_2d(np.cov(np.array(rows).T)))
    axis = axes[:, -1] / np.abs(axes[:, -1]).sum()
    return list(axis if axis.sum() > 0 else -axis), float(values[-1] / values.sum())


@dataclass
class Cell:
    """A cell of the grid: what each level gained, the books that stood at its ends, all sound books in it."""

    gains: list[int]
    #: Whether the book was known from the beginning to the end.
    whole: bool
    start: Book | None
    end: Book | None
    books: list[Book]


@dataclass
class Interval:
    flow: list[int]
    move: float
    touches: list[float]
    depth: float


class NaiveFlow:
    """What one instrument's cells held, a None standing for a restart; the last one is open."""

    def __init__(self, instrument: Instrument, rule: np.void) -> None:
        self.instrument = instrument
        self.windows = [int(rule["windows"][w]) for w in range(rule["window_count"])]
        self.impact_cells, self.training_cells = int(rule["impact_cells"]), int(rule["training_cells"])
        self.forgetting = float(rule["forgetting"])
        self.log: list[list[Book | None]] = [[]]

    def history(self) -> list[Cell]:
        cells, last = [], None
        for entries in self.log:
            cell = Cell([0] * LEVELS, last is not None, last, None, [])
            for book in entries:
                if book is None:
                    cell.whole, cell.gains, last = False, [0] * LEVELS, None
                elif sound(book):
                    if last is not None:
                        cell.gains = [had + event(last, book, m) for m, had in enumerate(cell.gains)]
                    cell.books.append(book)
                    last = book
            cell.end = last
            cells.append(cell)
        return cells

    def known(self) -> int:
        """How many cells in a row were whole when the last one closed, none after a restart since."""
        cells = self.history()
        row = 0
        for cell in reversed(cells[:-1]):
            if None in self.log[-1] or not cell.whole:
                break
            row += 1
        return row

    def intervals(self, until: int) -> list[tuple[int, Interval | None]]:
        """Index of each interval's last cell, and the interval where it can be used."""
        cells, step = self.history()[:until], self.impact_cells
        found = []
        for first in range(0, len(cells) - step + 1, step):
            part = cells[first : first + step]
            start, end = part[0].start, part[-1].end
            usable = None
            if all(cell.whole for cell in part) and start and end and two_sided(start) and two_sided(end):
                books = [start, *(book for cell in part for book in cell.books)]
                usable = Interval(
                    [sum(cell.gains[m] for cell in part) for m in range(LEVELS)],
                    (end[0][0][0] + end[1][0][0] - start[0][0][0] - start[1][0][0]) / (2 * self.instrument.tick),
                    [touch_depth(book) for book in books],
                    sum(map(level_depth, books)) / len(books),
                )
            found.append((first + step - 1, usable))
        return found

    def trained(self) -> tuple[list[float], float, float] | None:
        """Weights, mean size of a level, and share explained, of the last training window that ended."""
        closed = len(self.log) - 1
        end = closed // self.training_cells * self.training_cells
        inside = [i for at, i in self.intervals(closed) if i and end - self.training_cells <= at < end]
        if len(inside) < INTERVALS or all(interval.flow == inside[0].flow for interval in inside):
            return None
        depth = sum(interval.depth for interval in inside) / len(inside)
        weights, explained = component([[x / depth for x in interval.flow] for interval in inside])
        return weights, depth, explained

    def base(self) -> float | None:
        """Base units per unit of size; None where there are none."""
        unit = self.instrument.contract_size / 10.0 ** (8 + self.instrument.size_decimals)
        if self.instrument.contract == Contract.QUANTO:
            return None
        if self.instrument.contract != Contract.INVERSE:
            return unit
        book = self.history()[-1].end
        if book is None or not two_sided(book):
            return None
        return unit * 2 * 10.0**self.instrument.price_decimals / (book[0][0][0] + book[1][0][0])

    def impact(self) -> dict[str, tuple[float, str]]:
        """Fading least squares, and the mean touch, in units of size; beside each value the reason why not."""
        found = self.intervals(len(self.log) - 1)
        ages = [(self.forgetting ** (len(found) - 1 - i), each) for i, (_, each) in enumerate(found) if each]
        if not ages:
            return dict.fromkeys(("impact_beta", "impact_r2", "touch_depth", "phantom"), (0.0, "too_early"))
        weight = np.array([each[0] for each in ages])
        touches = [(share, touch) for share, each in ages for touch in each.touches]
        depth = sum(share * touch for share, touch in touches) / sum(share for share, _ in touches)
        why = ""
        if len(ages) < INTERVALS or weight.sum() < sum(self.forgetting**i for i in range(INTERVALS)) / 2:
            why = "too_early"
        x, y = (np.array(v, float) for v in zip(*((each.flow[0], each.move) for _, each in ages), strict=True))
        flat, still = bool(np.ptp(x) == 0), bool(np.ptp(y) == 0)
        why = why or ("no_flow" if flat else "")
        slope = r2 = 0.0
        if not why:
            dx, dy = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
            slope = float((weight * dx * dy).sum() / (weight * dx * dx).sum())
            r2 = 0.0 if still else float(1 - (weight * (dy - slope * dx) ** 2).sum() / (weight * dy * dy).sum())
        return {
            "impact_beta": (slope, why),
            "impact_r2": (r2, why or ("no_flow" if still else "")),
            "touch_depth": (depth, ""),
            "phantom": (slope * 2 * depth, why),
        }

    def fields(self) -> dict[str, tuple[Any, Any]]:
        """Every field of both modules and the reason why not, in arrays one for each element."""
        cells, known, base, trained = self.history()[:-1], self.known(), self.base(), self.trained()
        no_base = "" if base else "quanto" if self.instrument.contract == Contract.QUANTO else "one_sided"
        unit, impact = base or 0.0, self.impact()
        weights, depth, explained = trained or ([0.0] * LEVELS, 0.0, 0.0)
        untrained = "" if trained else "untrained"
        depth_seen = 2 * impact["touch_depth"][0]
        flows = [[sum(cell.gains[m] for cell in cells[-w:]) for m in range(LEVELS)] for w in self.windows]
        early = ["" if known >= w else "too_early" for w in self.windows]
        beta, touch = impact["impact_beta"], impact["touch_depth"]
        return {
            "ofi": ([flow[0] * unit for flow in flows], [e or no_base for e in early]),
            "ofi_normalised": (
                [flow[0] / (depth_seen or 1) for flow in flows],
                [e or ("" if depth_seen else "too_early") for e in early],
            ),
            "ofi_integrated": (
                [sum(w * x for w, x in zip(weights, flow, strict=True)) / (depth or 1) for flow in flows],
                [e or untrained for e in early],
            ),
            "levels": (list(range(1, LEVELS + 1)), [""] * LEVELS),
            "ofi_levels": ([x * unit for x in flows[0]], [early[0] or no_base] * LEVELS),
            "ofi_weights": (weights, [untrained] * LEVELS),
            "ofi_explained": (explained, untrained),
            "ofi_depth": (depth * unit, untrained or no_base),
            "impact_beta": (beta[0] / (base or 1), beta[1] or no_base),
            "impact_r2": impact["impact_r2"],
            "touch_depth": (touch[0] * unit, touch[1] or no_base),
            "phantom": impact["phantom"],
        }
