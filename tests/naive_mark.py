"""The slow, obvious twin of the mark: its parts one by one, step by step; and where a trigger is hit, by bisection."""

import math

from engine.knowledge import MarkRule


def median_of(parts: list[float]) -> float:
    """The middle one."""
    return sorted(parts)[len(parts) // 2]


def marks_after(rule: MarkRule, seconds: float, price: float, fall: float, steps: int) -> list[float]:
    """Index, what is averaged and last price, `seconds` after a fall at once, the average taken in so many steps."""
    index, mid = price - rule.index * fall, price - fall
    sample, start = (mid - index, 0.0) if rule.of == "basis" else (mid, price)
    average, wait = start, seconds / steps
    if rule.average:
        for _ in range(steps):
            average += (sample - average) * wait / rule.average
    elif rule.window:
        samples = [start] * steps
        for _ in range(round(steps * min(seconds / rule.window, 1.0))):
            samples = [*samples[1:], sample]
        average = math.fsum(samples) / steps
    return [index, index + average if rule.of == "basis" else average, mid]


def mark_at(rule: MarkRule, seconds: float, side: int, mid: float, mark: float, index: float, price: float) -> float:
    """The mark `seconds` after the price went from the mid to `price` at once: its part that counts, then the clamp."""
    if rule.average:
        new = 1 - math.exp(-seconds / rule.average)
    else:
        new = min(seconds / rule.window, 1.0) if rule.window else 0.0
    fall = mid - price
    if rule.of == "basis":
        # The old basis on the new index, and the price, each with its share of the average.
        there = (1 - new) * (mark - rule.index * fall) + new * price
    else:
        there = (1 - new) * mark + new * mid - max(new, rule.index) * fall
    if rule.clamp:
        bound = (1 - side * rule.clamp) * (index - rule.index * fall)
        there = max(there, bound) if side > 0 else min(there, bound)
    return there


def hit(
    rule: MarkRule | None, seconds: float, side: int, mid: float, mark: float, index: float, trigger: float
) -> float:
    """The first price, from the mid on in the direction of the move, at which the mark is at or beyond the trigger."""
    if rule is None:
        return trigger

    def beyond(way: float) -> bool:
        return side * (trigger - mark_at(rule, seconds, side, mid, mark, index, mid - side * way)) >= 0

    if beyond(0.0):
        return trigger if side * (trigger - mid) >= 0 else mid
    low, high = 0.0, 100 * mid
    if not beyond(high):
        return -side * math.inf
    while high - low > 1e-12 * mid:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if beyond(middle) else (middle, high)
    return mid - side * high
