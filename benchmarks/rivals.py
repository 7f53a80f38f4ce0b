"""Books of others on the workload, each by its own documented calls; imported only where they are measured."""

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import sortedcontainers

from benchmarks.workload import BANDS, WEIGHTS, Query, Work

#: Untyped upstream.
SortedDict: Any = sortedcontainers.SortedDict

Level = tuple[int, int, int]
Run = Callable[[], int]
Prepare = Callable[[], Run]


def edges(mid2: int, band: int) -> tuple[int, int]:
    """Give the lowest bid and the highest ask inside a band."""
    return -(-mid2 * (10_000 - band) // 20_000), mid2 * (10_000 + band) // 20_000


class Rival(ABC):
    """A book that is told one level at a time, and asked for its best prices and its depth."""

    @abstractmethod
    def update(self, levels: Sequence[Any]) -> None:
        """Take prepared level updates."""

    @abstractmethod
    def best(self) -> tuple[int, int]:
        """Give best bid and ask, ticks."""

    @abstractmethod
    def within(self, low: int, high: int) -> int:
        """Give the lots of bids at `low` and above, and of asks up to `high`."""

    def depth(self) -> int:
        """Give the weighted sum of the bands."""
        mid2 = sum(self.best())
        return sum(weight * self.within(*edges(mid2, band)) for weight, band in zip(WEIGHTS, BANDS, strict=True))


def play(book: Rival, messages: Sequence[Sequence[Any]], query: Query) -> int:
    """Apply the messages and answer."""
    total = 0
    for message in messages:
        if query in ("best", "event"):
            for level in message:
                book.update((level,))
                total += book.depth() if query == "event" else sum(book.best())
        else:
            book.update(message)
            if query == "message":
                total += book.depth()
    return sum(book.best()) if query == "nothing" else total


def rounds(work: Work, query: Query, make: Callable[[], Rival], convert: Callable[[Level], Any]) -> Prepare:
    """Prepare rounds; what a level looks like to the peer is made outside the timer."""
    opening = [convert(level) for level in work.opening()]
    messages = [[convert(level) for level in message] for message in work.messages()]

    def prepare() -> Run:
        book = make()
        book.update(opening)
        return lambda: play(book, messages, query)

    return prepare


def once(build: Callable[[], Prepare]) -> Prepare:
    """Import the peer and convert the work at the first round alone."""
    kept = cache(build)
    return lambda: kept()()


class SortedBook(Rival):
    """Two sorted dictionaries."""

    def __init__(self) -> None:
        self.sides: tuple[Any, Any] = (SortedDict(), SortedDict())

    def update(self, levels: Sequence[Level]) -> None:
        """Take levels as (bid, price, size)."""
        for bid, price, size in levels:
            if size:
                self.sides[bid][price] = size
            else:
                self.sides[bid].pop(price, None)

    def best(self) -> tuple[int, int]:
        """Give best bid and ask."""
        return self.sides[1].keys()[-1], self.sides[0].keys()[0]

    def within(self, low: int, high: int) -> int:
        """Sum the levels between, walking them."""
        asks, bids = self.sides
        return int(sum(bids[p] for p in bids.irange(low)) + sum(asks[p] for p in asks.irange(None, high)))


def sortedcontainers_book(work: Work, query: Query) -> Prepare:
    """Two sorted dictionaries."""
    return once(lambda: rounds(work, query, SortedBook, lambda level: level))


def order_book_book(work: Work, query: Query) -> Prepare:
    """The book in C that cryptofeed keeps."""

    def build() -> Prepare:
        from order_book import OrderBook

        class InC(Rival):
            def __init__(self) -> None:
                self.book = OrderBook()

            def update(self, levels: Sequence[Level]) -> None:
                book = self.book
                for bid, price, size in levels:
                    side = book.bids if bid else book.asks
                    if size:
                        side[price] = size
                    elif price in side:
                        del side[price]

            def best(self) -> tuple[int, int]:
                return self.book.bids.index(0)[0], self.book.asks.index(0)[0]

            def within(self, low: int, high: int) -> int:
                bids, asks = self.book.bids, self.book.asks
                keys, others = bids.keys(), asks.keys()
                inside = keys[: bisect_right(keys, -low, key=lambda price: -price)]
                return int(sum(bids[p] for p in inside) + sum(asks[p] for p in others[: bisect_right(others, high)]))

        return rounds(work, query, InC, lambda level: level)

    return once(build)


def nautilus_book(work: Work, query: Query) -> Prepare:
    """The order book of nautilus_trader, told by its own deltas and asked by `get_quantity_for_price`."""

    def build() -> Prepare:
        from nautilus_trader.model.book import OrderBook
        from nautilus_trader.model.data import BookOrder, OrderBookDelta
        from nautilus_trader.model.enums import BookAction, BookType, OrderSide
        from nautilus_trader.model.identifiers import InstrumentId
        from nautilus_trader.model.objects import Price, Quantity

        name = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
        buy, sell = OrderSide.BUY, OrderSide.SELL

        class Nautilus(Rival):
            def __init__(self) -> None:
                self.book = OrderBook(name, BookType.L2_MBP)

            def update(self, levels: Sequence[Any]) -> None:
                apply = self.book.apply_delta
                for delta in levels:
                    apply(delta)

            def best(self) -> tuple[int, int]:
                return round(self.book.best_bid_price() * 10), round(self.book.best_ask_price() * 10)

            def within(self, low: int, high: int) -> int:
                book = self.book
                bids = book.get_quantity_for_price(Price(low / 10, 1), sell)
                asks = book.get_quantity_for_price(Price(high / 10, 1), buy)
                return int(round(bids * 1000) + round(asks * 1000))

        def convert(level: Level) -> Any:
            bid, price, size = level
            order = BookOrder(buy if bid else sell, Price(price / 10, 1), Quantity(size / 1000, 3), price)
            action = BookAction.UPDATE if size else BookAction.DELETE
            return OrderBookDelta(name, action, order, flags=0, sequence=0, ts_event=0, ts_init=0)

        return rounds(work, query, Nautilus, convert)

    return once(build)
