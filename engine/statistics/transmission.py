"""Transmission: two log prices on one grid in; how much of the first one's jumps the second takes over, and when, out.

Looked at are events: moves of the source over `span` that are larger than `threshold` times their root mean square,
in a state (a market that is closed, say) that holds for the whole window around, and with no other such move near.
Windows share no time, so their number is the effective sample size.

    share    b of  y = a + b x + e,  moves of target and source over each window, by least squares; standard error HC3
             (MacKinnon, White 1985: residuals over 1 - leverage), Student's t with two degrees fewer than events
    delay    of an event, the lag at which the lead-lag contrast |sum of dX(t) dY(t + lag)| is largest (Hoffmann,
             Rosenbaum, Yoshida 2013), averaged over as many lags as `span` has steps; of all, the median, with an
             interval between order statistics (Hettmansperger, Sheather 1986), whatever the delays' distribution

Both are of prices: what a book takes to move is part of the delay, for the target as for the source.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Fewer events make no interval.
LEAST: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is looked at, in steps of the grid: lengths before and after an event, lags, span of a move."""

    span: int = 21
    before: int = 50
    after: int = 700
    earliest: int = -100
    latest: int = 600
    #: Root mean squares of a move.
    threshold: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Transmission:
    """Share and delay (steps), each with its interval, and the events behind them."""

    share: float
    share_low: float
    share_high: float
    delay: float
    delay_low: float
    delay_high: float
    events: int


def transmit(source: Floats, target: Floats, state: Bools, window: Window, confidence: float = 0.9) -> Transmission:
    """Estimate a transmission. Raises ValueError where there are fewer events than LEAST."""
    events = find_events(source, state, window)
    if len(events) < LEAST:
        raise ValueError(f"{len(events)} events, allowed are {LEAST} or more")
    ends, begins = events + window.after, events - window.before
    share, low, high = regress(source[ends] - source[begins], target[ends] - target[begins], confidence)
    delays = np.array([lag_of(source, target, int(event), window) for event in events])
    earliest, latest = order_interval(delays, confidence)
    return Transmission(
        share=share,
        share_low=low,
        share_high=high,
        delay=float(np.median(delays)),
        delay_low=earliest,
        delay_high=latest,
        events=len(events),
    )


def find_events(source: Floats, state: Bools, window: Window) -> Ints:
    """Give the middles of the source's large moves that are alone and whose windows lie in the state."""
    span = window.span
    moves = source[span:] - source[:-span]
    inside = state[span:] & state[:-span]
    if not inside.any():
        return np.zeros(0, np.int64)
    large = inside & (np.abs(moves) > window.threshold * math.sqrt(float(np.mean(moves[inside] ** 2))))
    #: Instants up to here that are out of the state.
    out = np.concatenate(([0], np.cumsum(~state)))
    back, ahead = max(window.before, span - window.earliest), max(window.after, window.latest + span)
    peaks, at = [], 0
    while at < len(moves):
        if large[at]:
            at += int(np.argmax(np.abs(moves[at : at + span])))
            peaks.append(at + span // 2)
            at += span
        else:
            at += 1
    found = []
    for place, event in enumerate(peaks):
        # What another jump sets off would be taken for this one's doing.
        near = [*peaks[max(place - 1, 0) : place], *peaks[place + 1 : place + 2]]
        alone = all(abs(other - event) >= window.after + window.before for other in near)
        first, last = event - back, event + ahead
        if alone and first >= 0 and last < len(source) and out[last + 1] == out[first]:
            found.append(event)
    return np.array(found, np.int64)


def regress(x: Floats, y: Floats, confidence: float) -> tuple[float, float, float]:
    """Give the slope of y on x and its interval."""
    inputs = np.stack((np.ones(len(x)), x), axis=1)
    inverse = np.linalg.inv(inputs.T @ inputs)
    fitted = inverse @ inputs.T @ y
    leverage = np.einsum("ij,jk,ik->i", inputs, inverse, inputs)
    scores = inputs * ((y - inputs @ fitted) / (1.0 - leverage))[:, np.newaxis]
    error = math.sqrt(float((inverse @ scores.T @ scores @ inverse)[1, 1]))
    reach = student(0.5 + 0.5 * confidence, len(x) - 2) * error
    return float(fitted[1]), float(fitted[1]) - reach, float(fitted[1]) + reach


def lag_of(source: Floats, target: Floats, event: int, window: Window) -> float:
    """Give the lag, steps, at which the target moves most as the source did around an event."""
    first, last = event - window.span, event + window.span
    moves = np.diff(source[first : last + 1])
    answers = np.diff(target[first + window.earliest : last + window.latest + 1])
    contrast = np.abs(np.convolve(np.correlate(answers, moves, "valid"), np.ones(window.span), "same"))
    return float(window.earliest + int(np.argmax(contrast)))


def order_interval(values: Floats, confidence: float) -> tuple[float, float]:
    """Give an interval of the median from order statistics, interpolated between the two nearest coverages."""
    count, ordered = len(values), np.sort(values)
    # Coverage of the interval between the k-th smallest and the k-th largest.
    covers = [1.0 - 2.0 * sum(math.comb(count, i) for i in range(k)) / 2.0**count for k in range(count // 2 + 1)]
    outer = max((k for k in range(1, count // 2 + 1) if covers[k] >= confidence), default=0)
    if outer == 0:
        raise ValueError(f"{count} values give no interval of {confidence:g}")
    inner = min(outer + 1, count // 2)
    if inner == outer:
        return float(ordered[outer - 1]), float(ordered[count - outer])
    part = (covers[outer] - confidence) / (covers[outer] - covers[inner])
    weight = (count - outer) * part / (outer + (count - 2 * outer) * part)
    low = (1.0 - weight) * ordered[outer - 1] + weight * ordered[outer]
    high = (1.0 - weight) * ordered[count - outer] + weight * ordered[count - outer - 1]
    return float(low), float(high)


def student(probability: float, freedom: int) -> float:
    """Give a quantile of Student's t (Abramowitz, Stegun 1964, 26.7.5; to 0.005 from 4 degrees on)."""
    z, n = NormalDist().inv_cdf(probability), float(freedom)
    first = (z**3 + z) / 4.0
    second = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / 96.0
    third = (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / 384.0
    fourth = (79.0 * z**9 + 776.0 * z**7 + 1482.0 * z**5 - 1920.0 * z**3 - 945.0 * z) / 92_160.0
    return z + first / n + second / n**2 + third / n**3 + fourth / n**4
