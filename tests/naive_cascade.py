"""Slow, obvious twins of the cascade's kernels: iterate until nothing changes, and look at every level each time."""

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
