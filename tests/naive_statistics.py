"""Slow, obvious twins of the statistics, and markets whose truth is known: every sum over every pair, no recursion."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Event times


def clusters(random: np.random.Generator, mu: float, n: float, beta: float, horizon: float) -> Floats:
    """A Hawkes process from time 0 on, by its definition as families: each event has Poisson(n) children."""
    born = random.uniform(0.0, horizon, random.poisson(mu * horizon))
    found = [born]
    while len(born):
        children = random.poisson(n, len(born))
        born = np.repeat(born, children) + random.exponential(1.0 / beta, int(np.sum(children)))
        born = born[born < horizon]
        found.append(born)
    return np.sort(np.concatenate(found))


def regimes(random: np.random.Generator, rates: Sequence[float], length: float, count: int) -> Floats:
    """A Poisson process whose rate takes turns, each for `length`."""
    parts = [
        random.uniform(i * length, (i + 1) * length, random.poisson(rates[i % len(rates)] * length))
        for i in range(count)
    ]
    return np.sort(np.concatenate(parts))


def rate(times: Sequence[float], at: float, mu: float, alpha: float, beta: float) -> float:
    """The rate just before a moment: what every earlier event still adds."""
    return mu + sum(alpha * math.exp(-beta * (at - time)) for time in times if time < at)


def log_likelihood(times: Sequence[float], horizon: float, mu: float, alpha: float, beta: float) -> float:
    total = sum(math.log(rate(times, time, mu, alpha, beta)) for time in times) - mu * horizon
    return total - sum(alpha / beta * (1.0 - math.exp(-beta * (horizon - time))) for time in times)


# Queues


def race(bid: int, ask: int, arrival: float, market: float, cancel: float, room: int = 60) -> float:
    """P(ask queue empties first) of two queues that know nothing of each other: how long each lasts is a sum of
    exponentials, by the eigenvectors of its own chain made symmetric."""
    leave = np.array([market + cancel * n for n in range(1, room + 1)])
    come = np.full(room, arrival)
    come[-1] = 0.0
    beside = -np.sqrt(come[:-1] * leave[1:])
    values, vectors = np.linalg.eigh(np.diag(leave + come) + np.diag(beside, 1) + np.diag(beside, -1))
    # P(still there after t | n) = sum over k of weight[n, k] exp(-value_k t), made of its start and of all lengths.
    scale = np.concatenate([[1.0], np.cumprod(np.sqrt(come[:-1] / leave[1:]))])
    there = (vectors / scale[:, None]) * (scale[:, None] * vectors).sum(axis=0)
    of_bid, of_ask = there[bid - 1], there[ask - 1]
    return float(sum(of_ask[j] * values[j] * of_bid[k] / (values[j] + values[k]) for j, k in np.ndindex(room, room)))


def walk_up(bid: int, ask: int, room: int) -> float:
    """P(ask gone first) of a walk on the lattice, one step in four directions; far out the diffusion takes over."""
    size = room * room
    system, goal = 4.0 * np.eye(size), np.zeros(size)
    for b, a in product(range(1, room + 1), repeat=2):
        for x, y in ((b - 1, a), (b + 1, a), (b, a - 1), (b, a + 1)):
            at = (b - 1) * room + a - 1
            if 1 <= x <= room and 1 <= y <= room:
                system[at, (x - 1) * room + y - 1] -= 1.0
            elif x > 0:
                goal[at] += 2.0 / math.pi * math.atan2(x, y)
    return float(np.linalg.solve(system, goal)[(bid - 1) * room + ask - 1])


# Paths


def overlap(times: Ints, prices: Floats, other_times: Ints, other_prices: Floats) -> float:
    total = 0.0
    for i in range(1, len(times)):
        for j in range(1, len(other_times)):
            if max(times[i - 1], other_times[j - 1]) < min(times[i], other_times[j]):
                total += (prices[i] - prices[i - 1]) * (other_prices[j] - other_prices[j - 1])
    return float(total)


def faded(keep: float, values: Sequence[float]) -> float:
    """The exponentially weighted sum that began at 0."""
    return sum((1.0 - keep) * keep ** (len(values) - 1 - i) * value for i, value in enumerate(values))


def shortfall(values: Sequence[float], slack: float) -> float:
    """CUSUM as what it maximises: the largest sum of shortfalls that ends now, or nothing."""
    ends = [sum(-value - slack for value in values[begin:]) for begin in range(len(values))]
    return max([0.0, *ends])


def run_lengths(values: Sequence[float], hazard: float, noise: float, mean: float, variance: float) -> list[float]:
    """P(r) after all points, by summing over every way to cut the series: a cut comes after the point it stands at."""
    found = [0.0] * (len(values) + 1)
    for cuts in product((False, True), repeat=len(values)):
        weight, begin = 1.0, 0
        for i, cut in enumerate(cuts):
            weight *= hazard if cut else 1.0 - hazard
            if cut:
                weight *= evidence(values[begin : i + 1], noise, mean, variance)
                begin = i + 1
        weight *= evidence(values[begin:], noise, mean, variance)
        found[len(values) - begin] += weight
    return [each / sum(found) for each in found]


def evidence(values: Sequence[float], noise: float, mean: float, variance: float) -> float:
    """The joint density of points that share one unknown normal mean."""
    if not values:
        return 1.0
    spread = noise * np.eye(len(values)) + variance
    away = np.array(values) - mean
    return float(np.exp(-0.5 * away @ np.linalg.solve(spread, away)) / math.sqrt(np.linalg.det(2.0 * math.pi * spread)))


# Evaluation


def auc(y: Sequence[int], p: Sequence[float]) -> Fraction:
    """Every pair of a 1 and a 0."""
    ones = [score for label, score in zip(y, p, strict=True) if label]
    zeros = [score for label, score in zip(y, p, strict=True) if not label]
    wins = sum(2 * (one > zero) + (one == zero) for one in ones for zero in zeros)
    return Fraction(wins, 2 * len(ones) * len(zeros))


def precision(y: Sequence[int], p: Sequence[float]) -> Fraction:
    """Average precision, threshold by threshold."""
    total, before = Fraction(0), Fraction(0)
    for bar in sorted(set(p), reverse=True):
        caught = [label for label, score in zip(y, p, strict=True) if score >= bar]
        recall = Fraction(sum(caught), sum(y))
        total += (recall - before) * Fraction(sum(caught), len(caught))
        before = recall
    return total


def monotone(p: Sequence[float], y: Sequence[int]) -> dict[float, Fraction]:
    """Isotonic regression by its min-max formula, a value for each score."""
    scores = sorted(set(p))
    groups = [[label for label, score in zip(y, p, strict=True) if score == each] for each in scores]

    def mean(i: int, j: int) -> Fraction:
        held = [label for group in groups[i : j + 1] for label in group]
        return Fraction(sum(held), len(held))

    return {
        each: max(min(mean(i, k) for k in range(at, len(scores))) for i in range(at + 1))
        for at, each in enumerate(scores)
    }


def minimise(inputs: Floats, y: Ints, ridge: float, rounds: int = 20_000) -> tuple[Floats, float]:
    """The logistic regression by small steps down the gradient: raw weights and intercept."""
    spread = inputs.std(axis=0)
    rows = np.column_stack([(inputs - inputs.mean(axis=0)) / spread, np.ones(len(y))])
    found, penalty = np.zeros(rows.shape[1]), np.append(np.full(inputs.shape[1], ridge), 0.0)
    step = 1.0 / (0.25 * np.linalg.norm(rows, 2) ** 2 + ridge)
    for _ in range(rounds):
        found = found - step * (rows.T @ (1.0 / (1.0 + np.exp(-rows @ found)) - y) + penalty * found)
    weights = found[:-1] / spread
    return weights, float(found[-1] - weights @ inputs.mean(axis=0))


# Labels


def label(mids: Sequence[float], i: int, sigma: float, steps: int, k: float, side: int) -> int:
    """What came after one step, looked at one second after another."""
    if sigma <= 0.0 or i + steps >= len(mids) or min(mids[i : i + steps + 1]) <= 0.0:
        return -1
    bar = k * sigma * math.sqrt(steps)
    return int(any(-side * math.log(mids[i + u] / mids[i]) >= bar for u in range(1, steps + 1)))


def gone(depth: Sequence[float], usual: Sequence[float], i: int, steps: int) -> int:
    """Whether five seconds in a row of the window held less than a fifth, from where there was a half."""
    if i + steps >= len(depth) or min(depth[i : i + steps + 1]) < 0.0 or min(usual[i : i + steps + 1]) <= 0.0:
        return -1
    if depth[i] < 0.5 * usual[i]:
        return -1
    low = [depth[j] < 0.2 * usual[j] for j in range(i + 1, i + steps + 1)]
    return int(any(all(low[j : j + 5]) for j in range(len(low) - 4)))
