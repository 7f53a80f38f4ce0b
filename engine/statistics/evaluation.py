"""Evaluation: labels and probabilities in; how well they rank, how far off they are, how true they are out.

y holds 0 and 1, both at least once where a measure needs both (ValueError says so); p holds scores, probabilities where
it says so. Equal scores are one threshold: no measure depends on the order of rows.

    ROC-AUC              P(score of a 1 > score of a 0) + half P(equal)                           (Mann, Whitney 1947)
    average precision    sum over thresholds of (recall gained) x precision
    Brier                mean (p - y)^2;    skill = 1 - Brier / Brier of the reference, the base rate if none is given
    calibration error    mean over bins, by their counts, of |mean p - mean y|
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def thresholds(y: Ints, p: Floats) -> tuple[Floats, Ints, Ints]:
    """Give each distinct score, falling, and how many 1s and 0s score so much or more."""
    order = np.argsort(-p, kind="stable")
    scores, ones = p[order], np.cumsum(y[order] == 1)
    last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    return scores[last], ones[last], last + 1 - ones[last]


def roc_auc(y: Ints, p: Floats) -> float:
    """Give the probability that a 1 outscores a 0, equals counting half."""
    _, ones, zeros = thresholds(y, p)
    require(int(ones[-1]), int(zeros[-1]))
    heights = np.concatenate([[0], ones])
    widths = np.diff(np.concatenate([[0], zeros]))
    return float(np.sum(0.5 * (heights[1:] + heights[:-1]) * widths)) / (float(ones[-1]) * float(zeros[-1]))


def average_precision(y: Ints, p: Floats) -> float:
    """Give the area below precision over recall, each step as high as its threshold's precision."""
    _, ones, zeros = thresholds(y, p)
    require(int(ones[-1]), 1)
    gained = np.diff(np.concatenate([[0], ones]))
    return float(np.sum(gained * (ones / (ones + zeros)))) / float(ones[-1])


def brier(y: Ints, p: Floats) -> float:
    """Give the mean squared error of probabilities."""
    return float(np.mean((p - y) ** 2))


def brier_skill(y: Ints, p: Floats, reference: Floats | None = None) -> float:
    """Give the share of the reference's Brier score that is gone: 1 perfect, 0 no better, below 0 worse."""
    if reference is None:
        require(int(np.sum(y == 1)), int(np.sum(y == 0)))
        reference = np.full(len(y), float(np.mean(y)))
    return 1.0 - brier(y, p) / brier(y, reference)


def even_edges(bins: int) -> Floats:
    """Give the inner edges of bins of equal width over 0 to 1."""
    return np.arange(1, bins) / bins


def share_edges(p: Floats, bins: int) -> Floats:
    """Give inner edges between bins that hold about as many rows each: for rare events, whose p is hardly above 0."""
    ordered = np.sort(p)
    return np.unique(ordered[[len(p) * i // bins for i in range(1, bins)]])


def reliability(y: Ints, p: Floats, edges: Floats) -> tuple[Floats, Floats, Ints]:
    """Give mean probability, share of 1s and count of each bin that holds any; an edge belongs to the bin above it."""
    at = np.searchsorted(edges, p, side="right")
    counts = np.bincount(at, minlength=len(edges) + 1)
    held = counts > 0
    said = np.bincount(at, weights=p, minlength=len(counts))[held] / counts[held]
    seen = np.bincount(at, weights=y.astype(np.float64), minlength=len(counts))[held] / counts[held]
    return said, seen, counts[held]


def calibration_error(y: Ints, p: Floats, edges: Floats) -> float:
    """Give the expected calibration error: how far said and seen are apart, by bins and their counts."""
    said, seen, counts = reliability(y, p, edges)
    return float(np.sum(counts * np.abs(said - seen))) / len(y)


def require(ones: int, zeros: int) -> None:
    """Raise ValueError unless there are rows of both kinds."""
    if ones == 0 or zeros == 0:
        raise ValueError(f"labels hold {ones} ones and {zeros} zeros: there is nothing to tell apart")
