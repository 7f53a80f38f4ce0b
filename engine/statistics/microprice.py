"""Micro-price: how imbalance and spread are followed by one another and by moves in, the mid's expected drift out.

State x is a pair (imbalance bucket, spread in ticks). Until the mid moves, states follow one another (Q); then it moves
by one of the steps K (R1) and lands in a state (R2). A row of Q and R1 sums to 1, and so does one of Q and R2.
The expected move to the next change, and to all that follow (Stoikov 2018):

    G1 = (1 - Q)^-1 R1 K        B = (1 - Q)^-1 R2        G* = sum over i >= 0 of B^i G1,   micro-price = mid + G*(x)

The sum stands where counts are symmetrised, as `transitions` does: a market seen in the mirror is a market too.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: A direction that B leaves unchanged but for this share is one that it leaves unchanged.
SINGULAR: Final = 1e-10
#: What may be missed of the first move: roundings.
TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Transitions:
    """What follows a state: states while the mid rests, moves (`steps` their sizes), and states after a move."""

    stay: Floats
    moves: Floats
    land: Floats
    steps: Floats


def first_move(known: Transitions) -> Floats:
    """Give G1, the expected move of the mid at its next change, by state."""
    return np.asarray(np.linalg.solve(np.eye(len(known.stay)) - known.stay, known.moves @ known.steps), np.float64)


def next_state(known: Transitions) -> Floats:
    """Give B, by state the probability of each state just after the next change."""
    return np.asarray(np.linalg.solve(np.eye(len(known.stay)) - known.stay, known.land), np.float64)


def drift(known: Transitions, terms: int) -> Floats:
    """Give the expected move over the next so many changes; six are near enough to all."""
    move, onward = first_move(known), next_state(known)
    total = np.zeros(len(move))
    for _ in range(terms):
        total = move + onward @ total
    return total


def whole_drift(known: Transitions) -> Floats:
    """Give G*, the expected move over all changes to come: what solves G* = G1 + B G*, of all that do the shortest.

    A constant could be added; in the mirror a drift changes sign, so it is 0. Raises ValueError where none solves it:
    then the counts were not symmetrised.
    """
    move, left = first_move(known), np.eye(len(known.stay)) - next_state(known)
    found = np.asarray(np.linalg.lstsq(left, move, rcond=SINGULAR)[0], np.float64)
    missed = float(np.max(np.abs(left @ found - move)))
    if missed > TOLERANCE * float(np.max(np.abs(move))):
        raise ValueError(f"the drift goes on by {missed} at every change: counts are not symmetric")
    return found


def transitions(
    imbalance: Ints, spread: Ints, mid2: Ints, buckets: int, spreads: int, farthest: int = 2
) -> Transitions:
    """Count what follows what in a series of books, each with its mirror image.

    `imbalance` is the bucket 0 to buckets - 1 of bid size / (bid size + ask size), `spread` in ticks, 1 to spreads,
    `mid2` best bid + best ask in ticks. Pairs of books with another spread, or a move beyond `farthest` half ticks, are
    left out. State (bucket i, spread s) stands at (s - 1) buckets + i; steps are in ticks. A state that was never seen
    never moves; from one that was, moves must have been seen too, or there is no first move (numpy's LinAlgError).
    """
    size = buckets * spreads
    steps = np.array([k for k in range(-farthest, farthest + 1) if k], np.int64)
    counts = np.zeros((size, size + len(steps) + size))
    for i in range(len(mid2) - 1):
        move = int(mid2[i + 1] - mid2[i])
        if not (1 <= spread[i] <= spreads and 1 <= spread[i + 1] <= spreads and abs(move) <= farthest):
            continue
        for mirrored in (False, True):
            here, there = (
                int((spread[j] - 1) * buckets + (buckets - 1 - imbalance[j] if mirrored else imbalance[j]))
                for j in (i, i + 1)
            )
            if move == 0:
                counts[here, there] += 1
            else:
                counts[here, size + int(np.searchsorted(steps, -move if mirrored else move))] += 1
                counts[here, size + len(steps) + there] += 1
    seen = np.sum(counts[:, : size + len(steps)], axis=1)
    shares = counts / np.maximum(seen, 1.0)[:, None]
    return Transitions(
        stay=shares[:, :size],
        moves=shares[:, size : size + len(steps)],
        land=shares[:, size + len(steps) :],
        steps=0.5 * steps.astype(np.float64),
    )
