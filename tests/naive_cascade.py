"""Slow, obvious twins of the cascade's kernels: iterate until nothing changes, and look at every level each time."""

import math
from collections.abc import Sequence

Levels = Sequence[tuple[float, float]]


def resting(bids: Levels, price: float) -> float:
    """B(x): everything at or above a price."""
    return sum(size for level, size in bids if level >= price)


def triggered(marks: Levels, price: float) -> float:
    """L(x): everything forced to sell once the price trades down to here."""
    return sum(amount for mark, amount in marks if mark >= price)


def price_of(bids: Levels, sold: float) -> tuple[float, bool]:
    """pi(Q) and whether the book was sold out: then its last level."""
    held = [price for price, _ in bids if resting(bids, price) >= sold]
    return (max(held), False) if held else (min((price for price, _ in bids), default=0.0), True)


def iterate(bids: Levels, marks: Levels, shock: float) -> tuple[float, float, list[tuple[float, float]], bool]:
    """Kleene's iteration from Q0: terminal price, Q*, the path, whether the book was exhausted."""
    sold, path = shock, []
    while True:
        price, exhausted = price_of(bids, sold)
        path.append((sold, price))
        after = shock + (triggered(marks, price))
        if after == sold:
            return price, sold, path, exhausted
        sold = after


def excess(bids: Levels, marks: Levels, price: float) -> float:
    return resting(bids, price) - triggered(marks, price)


def critical_shock(bids: Levels, marks: Levels, price: float) -> float:
    """Qc(x): the largest sale that does not trade below x."""
    return max([0.0, *(excess(bids, marks, level) for level, _ in bids if level >= price)])


def critical_fraction(bids: Levels, marks: Levels, shock: float, price: float) -> float:
    """eta_c(x): what share of the book must stay so that a sale does not trade below x."""
    return min(((shock + triggered(marks, b)) / resting(bids, b) for b, _ in bids if b >= price), default=0.0)


def floored(
    bids: Levels, marks: Sequence[tuple[float, float, float]], shock: float
) -> tuple[float, float, float, int, bool]:
    """Unit by unit (integer sizes): terminal price, sold, residual, triggers fired, exhausted."""
    queue: list[list[float]] = [[shock, float("-inf")]]
    waiting, fired, sold, residual, last = list(marks), 0, 0.0, 0.0, 0.0
    for price, size in bids:
        for seller in queue:
            if seller[1] > price:
                residual += seller[0]
                seller[0] = 0.0
        if sum(seller[0] for seller in queue) == 0 and last:
            return last, sold, residual, fired, False
        while waiting and waiting[0][0] >= price:
            _, amount, floor = waiting.pop(0)
            fired += 1
            if floor > price:
                residual += amount
            else:
                queue.append([amount, floor])
        last = price
        for seller in queue:
            part = min(seller[0], size)
            seller[0] -= part
            size -= part
            sold += part
    over = sum(seller[0] for seller in queue)
    return last, sold, residual + over, fired, over > 0 or not bids


def contagion(
    books: Sequence[Levels], accounts: Sequence[tuple[Sequence[float], Sequence[float]]], shocks: Sequence[float]
) -> tuple[list[float], list[float], list[bool]]:
    """Try every set of fired accounts and take the smallest one that is consistent with itself."""
    found = []
    for code in range(1 << len(accounts)):
        fired = [bool(code >> c & 1) for c in range(len(accounts))]
        sold = [
            shock + sum(sells[a] for (_, sells), f in zip(accounts, fired, strict=True) if f)
            for a, shock in enumerate(shocks)
        ]
        ends = []
        for book, amount in zip(books, sold, strict=True):
            price, out = price_of(book, amount)
            ends.append(0.0 if out else price)
        hits = [any(t >= 0 and end <= t for t, end in zip(ts, ends, strict=True)) for ts, _ in accounts]
        if hits == fired:
            found.append((sum(fired), ends, sold, fired))
    _, ends, sold, fired = min(found, key=lambda each: each[0])
    return ends, sold, fired


def free_below(bids: Levels, marks: Levels, price: float) -> tuple[float, bool]:
    """F(x), and whether the book ends within it."""
    best = critical_shock(bids, marks, price)
    below = [level for level, _ in bids if level < price and excess(bids, marks, level) > best]
    if below:
        return price - max(below), False
    return max(price - min((level for level, _ in bids), default=price), 0.0), True


def replenished(
    bids: Levels, bounds: Sequence[float], rates: Sequence[float], duration: float
) -> tuple[list[tuple[float, float]], float]:
    """Every level with its share of what its zone got back, and what found no level."""
    out, homeless, upper = dict(bids), 0.0, float("inf")
    for low, rate in zip(bounds, rates, strict=True):
        zone = [(price, size) for price, size in bids if low <= price < upper]
        total = sum(size for _, size in zone)
        for price, size in zone:
            out[price] = size + rate * duration * size / total
        homeless += 0.0 if zone else rate * duration
        upper = low
    return list(out.items()), homeless


def merged(books: Sequence[Levels]) -> list[tuple[float, float]]:
    """All books by price."""
    prices = sorted({price for book in books for price, _ in book}, reverse=True)
    return [(price, sum(size for book in books for level, size in book if level == price)) for price in prices]


def longest_free_fall(bids: Levels, marks: Levels, low: float) -> tuple[float, float]:
    """Where the longest run of levels begins and ends that do not raise the running maximum of E."""
    bids = [level for level in bids if level[0] >= low]
    found, best, begin = (0.0, 0.0), 0.0, 0.0
    for i, (price, _) in enumerate(bids):
        if i == 0 or excess(bids, marks, price) > best:
            best, begin = max(best, excess(bids, marks, price)), price
        elif begin - price > found[0] - found[1]:
            found = begin, price
    return found


# The tail of net selling

Trades = Sequence[tuple[float, float]]


def observations(trades: Trades, begin: int, end: int) -> list[tuple[float, float]]:
    """Greatest net sales and purchases within each second from `begin` to `end`; trades are (second, signed base)."""
    found = []
    for second in range(begin, end):
        net, sales, purchases = 0.0, 0.0, 0.0
        for at, sold in trades:
            if second <= at < second + 1:
                net += sold
                sales, purchases = max(sales, net), max(purchases, -net)
        found.append((sales, purchases))
    return found


def tail(sample: Sequence[float], threshold: float, q: float) -> float:
    """P(X > q) by peaks over threshold; sums in full precision, quantile by counting."""
    count = len(sample)
    u = min(x for x in sample if sum(y <= x for y in sample) >= threshold * count)
    excesses = sorted(x - u for x in sample if x > u)
    n = len(excesses)
    a0 = math.fsum(excesses) / n
    a1 = math.fsum(x * (n - j) / (n - 1) for j, x in enumerate(excesses, 1)) / n
    if q < u or excesses[0] == excesses[-1]:
        return sum(x > q for x in sample) / count
    scale, shape = 2 * a0 * a1 / (a0 - 2 * a1), 2 - a0 / (a0 - 2 * a1)
    shape = max(shape, -scale / excesses[-1])
    inside = 1 + shape * (q - u) / scale
    return float(n / count * (math.exp(-(q - u) / scale) if shape == 0 else max(inside, 0.0) ** (-1 / shape)))
