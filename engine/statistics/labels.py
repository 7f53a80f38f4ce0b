"""Labels: what came after each moment in, 1, 0 or -1 (not known) out.

Series stand on a grid of one second. A mid or a usual depth at or below 0 is not known, nor is a depth below 0; a
window that holds such a one has no label, -1: it is left out, and counted. Step i is a decision: the first at or after
the exchange time of the last event used plus the pipeline's delay. Its window is (i, i + steps], all of it to come.

    move     min over the window of ln(m_{i+u} / m_i) <= -k sigma_i sqrt(steps)        (rises: the mirror image)
    depth    depth below 20 % of its usual level for 5 s in a row, where it is 50 % or more at i
    cascade  a fall of `fall` or more, and liquidations in the window at or above their own bar

sigma_i is known at i: the root of the fading mean square of returns per second, no lower than the 5th percentile of its
own past.
"""

import math
from bisect import insort
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
UNKNOWN: Final = -1
FALL: Final = 1
RISE: Final = -1
#: Depth: below this share of the usual level it has gone, from that share on it was there; steps that it must be gone.
GONE: Final = 0.2
THERE: Final = 0.5
HOLD: Final = 5
#: Where sigma's floor stands among its own past.
FLOOR: Final = 0.05


def volatility(mids: Floats, half_life: float = 600.0) -> Floats:
    """Give sigma per square root of a second at each step, 0 where fewer than `half_life` returns are known."""
    keep = 0.5 ** (1.0 / half_life)
    found = np.zeros(len(mids))
    past: list[float] = []
    square, weight, known = 0.0, 0.0, 0
    for i in range(1, len(mids)):
        if mids[i] > 0.0 and mids[i - 1] > 0.0:
            move = math.log(mids[i] / mids[i - 1])
            square, weight, known = keep * square + move * move, keep * weight + 1.0, known + 1
        if known >= half_life:
            raw = math.sqrt(square / weight)
            insort(past, raw)
            found[i] = max(raw, past[int(FLOOR * (len(past) - 1))])
    return found


def extreme(mids: Floats, steps: int, side: int = FALL) -> tuple[Floats, NDArray[np.bool_]]:
    """Give the lowest ln(m_{i+u} / m_i) over each step's window (the highest, for RISE), and where it is known."""
    found, known = np.zeros(len(mids)), np.zeros(len(mids), np.bool_)
    if len(mids) <= steps:
        return found, known
    windows = np.lib.stride_tricks.sliding_window_view(mids, steps + 1)
    count = len(windows)
    known[:count] = np.min(windows, axis=1) > 0.0
    after = np.min(windows[:, 1:], axis=1) if side == FALL else np.max(windows[:, 1:], axis=1)
    whole = known[:count]
    found[:count][whole] = np.log(after[whole] / windows[whole, 0])
    return found, known


def bar(sigma: Floats, steps: int, k: float) -> Floats:
    """Give the ln return that a fall within the window must reach, below 0."""
    return -k * sigma * math.sqrt(steps)


def label_moves(mids: Floats, sigma: Floats, steps: int, k: float, side: int = FALL) -> Ints:
    """Label each step: did the mid fall (rise, for RISE) k sigma sqrt(steps) or more within its window?"""
    found, known = extreme(mids, steps, side)
    labels = (side * found <= bar(sigma, steps, k)).astype(np.int64)
    labels[~known | (sigma <= 0.0)] = UNKNOWN
    return labels


def label_depth(depth: Floats, usual: Floats, steps: int) -> Ints:
    """Label each step: was depth gone for HOLD steps in a row within its window? It must be there at the step.

    `depth` below 0 is not known (0 is: a side validly empty); `usual` at or below 0 is not.
    """
    labels = np.full(len(depth), UNKNOWN, np.int64)
    for i in range(len(depth) - steps):
        window, level = slice(i + 1, i + steps + 1), usual[i : i + steps + 1]
        if np.min(depth[i : i + steps + 1]) < 0.0 or np.min(level) <= 0.0 or depth[i] < THERE * level[0]:
            continue
        longest = run = 0
        for gone in depth[window] < GONE * level[1:]:
            run = run + 1 if gone else 0
            longest = max(longest, run)
        labels[i] = longest >= HOLD
    return labels


def label_cascades(mids: Floats, liquidated: Floats, steps: int, fall: float, enough: float) -> Ints:
    """Label each step: did the mid fall by the share `fall` while `enough` or more was liquidated in that window?"""
    found, known = extreme(mids, steps)
    labels = np.full(len(mids), UNKNOWN, np.int64)
    for i in np.flatnonzero(known):
        forced = float(np.sum(liquidated[i + 1 : i + steps + 1]))
        labels[i] = found[i] <= math.log1p(-fall) and forced >= enough
    return labels


def onsets(mids: Floats, sigma: Floats, steps: int, k: float, side: int = FALL) -> Ints:
    """Give the steps at which the moves of `label_moves` came: of each run of 1s, where its first step's bar was met.

    Runs less than `steps` apart are one event.
    """
    events: list[int] = []
    last = -steps - 1
    for i in np.flatnonzero(label_moves(mids, sigma, steps, k, side) == 1).tolist():
        if i - last > steps:
            moves = side * np.log(mids[i + 1 : i + steps + 1] / mids[i])
            events.append(int(i + 1 + np.argmax(moves <= bar(sigma[i : i + 1], steps, k))))
        last = i
    return np.array(events, np.int64)
