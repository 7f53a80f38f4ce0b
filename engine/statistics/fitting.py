"""Fitting: rows of inputs and labels in, a vacuum model out: a logistic regression, then isotonic steps.

The logistic minimises the negative log-likelihood plus ridge / 2 x the sum of squared weights of standardised inputs,
the intercept free, by Newton's method (iteratively reweighted least squares), each step halved until it descends: with
a ridge above 0 there is one minimum, even where a plane parts the labels.

The steps are the non-decreasing function nearest to the labels of another, later fold (pool adjacent violators; Ayer et
al. 1955): neighbours that descend are pooled until none do. Both say what was; whether they may be called a forecast is
a matter of tests that they must pass first. `engine.probability` reads the model.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.knowledge import Model
from engine.probability import MOST_KNOTS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: 1s, rows, knot.
Step = tuple[float, int, float]
#: Newton steps at most, halvings of one at most, and the gradient per row below which it has arrived.
STEPS: Final = 100
HALVINGS: Final = 40
ARRIVED: Final = 1e-12


def logistic(inputs: Floats, y: Ints, ridge: float) -> tuple[Floats, float]:
    """Give weights and intercept for raw inputs (rows x names), `ridge` above 0; one that never varies weighs 0.

    Raises ValueError where y is all 0 or all 1: then there is no intercept.
    """
    if np.all(y == y[0]):
        raise ValueError(f"all {len(y)} labels are {y[0]}: there is nothing to fit")
    centre, spread = np.mean(inputs, axis=0), np.std(inputs, axis=0)
    varies = spread > 0.0
    scaled = np.where(varies, inputs - centre, 0.0) / np.where(varies, spread, 1.0)
    rows = np.column_stack([scaled, np.ones(len(y))])
    penalty = np.append(np.full(inputs.shape[1], ridge), 0.0)
    found = np.zeros(rows.shape[1])
    found[-1] = np.log(np.mean(y) / (1.0 - np.mean(y)))
    for _ in range(STEPS):
        p = sigmoid(rows @ found)
        gradient = rows.T @ (p - y) + penalty * found
        if float(np.max(np.abs(gradient))) <= ARRIVED * len(y):
            break
        step = np.linalg.solve((rows.T * (p * (1.0 - p))) @ rows + np.diag(penalty), gradient)
        found = descend(rows, y, penalty, found, step)
    weights = np.where(varies, found[:-1] / np.where(varies, spread, 1.0), 0.0)
    return weights, float(found[-1] - weights @ centre)


def descend(rows: Floats, y: Ints, penalty: Floats, found: Floats, step: Floats) -> Floats:
    """Give the first of found - step, - step / 2, - step / 4 ... at which the loss is no higher."""
    now = loss(rows, y, penalty, found)
    for _ in range(HALVINGS):
        if loss(rows, y, penalty, found - step) <= now:
            return found - step
        step = 0.5 * step
    return found


def loss(rows: Floats, y: Ints, penalty: Floats, found: Floats) -> float:
    """Give the negative log-likelihood plus the penalty."""
    score = rows @ found
    return float(np.sum(np.logaddexp(0.0, score) - y * score) + 0.5 * np.sum(penalty * found * found))


def sigmoid(score: Floats) -> Floats:
    """Give 1 / (1 + exp(-score)) without overflow."""
    small = np.exp(-np.abs(score))
    return np.where(score >= 0.0, 1.0, small) / (1.0 + small)


def isotonic(p: Floats, y: Ints, most: int = MOST_KNOTS) -> tuple[Floats, Floats]:
    """Give knots and values, both ascending: from each knot on, the share of 1s among the rows pooled, one at least.

    Of more than `most` steps, those two neighbours are pooled, again and again, whose pooling adds the least error.
    """
    knots, first = np.unique(p, return_inverse=True)
    rows = np.bincount(first)
    steps: list[Step] = []
    for knot, ones, count in zip(knots, np.bincount(first, weights=y), rows, strict=True):
        steps.append((float(ones), int(count), float(knot)))
        while len(steps) > 1 and steps[-2][0] * steps[-1][1] >= steps[-1][0] * steps[-2][1]:
            pool(steps, len(steps) - 2)
    while len(steps) > most:
        pool(steps, min(range(len(steps) - 1), key=lambda at: lost(steps[at], steps[at + 1])))
    return np.array([knot for *_, knot in steps]), np.array([ones / count for ones, count, _ in steps])


def pool(steps: list[Step], at: int) -> None:
    """Pool a step with the next one: (1s, rows, knot)."""
    ones, count, _ = steps.pop(at + 1)
    steps[at] = (steps[at][0] + ones, steps[at][1] + count, steps[at][2])


def lost(one: Step, other: Step) -> float:
    """Give the squared error that pooling two steps adds."""
    apart = one[0] / one[1] - other[0] / other[1]
    return apart * apart * one[1] * other[1] / (one[1] + other[1])


def fit_model(
    names: Sequence[str],
    training: tuple[Floats, Ints],
    calibration: tuple[Floats, Ints],
    *,
    horizon: int,
    events: int,
    ridge: float = 1.0,
    source: str = "",
) -> Model:
    """Fit weights on one fold and steps on the next, each given as inputs (rows x names) and labels of 0 and 1.

    `events` is the number of distinct label events, not of rows labelled 1; `horizon` is in seconds. Raises ValueError
    where the first fold's labels are all alike, BadConfig where names are not one for one with inputs.
    """
    inputs, y = training
    weights, intercept = logistic(inputs, y, ridge)
    later, seen = calibration
    knots, values = isotonic(sigmoid(later @ weights + intercept), seen)
    return Model(
        inputs=tuple(names),
        weights=tuple(weights.tolist()),
        intercept=intercept,
        knots=tuple(knots.tolist()),
        values=tuple(values.tolist()),
        horizon=horizon,
        base_rate=float(np.mean(np.concatenate([y, seen]))),
        events=events,
        source=source,
    )
