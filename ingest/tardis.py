"""Tardis' CSV files in, batches out: books, trades, liquidations and derivative tickers, merged by `local_timestamp`.

By its documentation (docs.tardis.dev, "Downloadable CSV files", "Data types"): stamps are microseconds; rows of one
`local_timestamp` and symbol are one message; `amount` is the size that is at the level now, 0 deletes it; rows before
the first of a snapshot are to be skipped, levels of size 0 in one are absent; the side of a trade is the taker's, that
of a liquidation the order's: `buy` closed a short. Tardis says in no file what a contract is worth, which decimals
there are, and which ids a message has. Every day's file begins with a snapshot, here an epoch like any other.

A file is read twice: for the decimals of each instrument, by every price and size printed, and for its rows.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from pathlib import Path
from typing import Final

import numpy as np

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import FUNDING_DECIMALS, REFERENCE, Batch, Kind, Reference
from ingest.decimals import MICROSECONDS_END
from ingest.epochs import Epochs
from ingest.market import Market
from ingest.rows import message as message_row
from ingest.steps import Steps
from ingest.tardis_files import BOOK, DERIVATIVE_TICKER, LIQUIDATIONS, MICROSECOND, TRADES, Key, TardisFile, plain
from ingest.tardis_rows import Told, book_messages, liquidation_messages, trade_messages
from ingest.venues._figures import interest, price, rate

#: Columns of a derivative ticker -> what they are.
PRICES: Final = {"mark_price": Reference.MARK, "index_price": Reference.INDEX}


class Tardis:
    """An iterator of batches, one message each, in the order of their stamps."""

    def __init__(self, paths: Sequence[Path], market: Callable[[str, str], Market]) -> None:
        """Survey the files. Raises BadConfig for files that do not go together, BadRecord for what is malformed."""
        self._market = market
        self._files = sorted((TardisFile(path) for path in paths), key=lambda file: file.first)
        self._epochs = Epochs()
        #: Messages and rows that were passed over, by why.
        self.counts: Counter[str] = self._epochs.counts
        self.markets: dict[Key, Market] = {}
        self.instruments: dict[Key, Instrument] = {}
        self._survey()

    def __iter__(self) -> Iterator[Batch]:
        # A file is opened when its first message may be due: days of files are not held at once.
        heap: list[tuple[int, int, Told | None, Iterator[Told]]] = [
            (file.first, index, None, iter(self._messages(file))) for index, file in enumerate(self._files)
        ]
        heapify(heap)
        while heap:
            _, index, told, messages = heap[0]
            if told is not None:
                at, key, message, rows = told
                yield from self._epochs.take(at * MICROSECOND, self.instruments[key], message, rows)
            following = next(messages, None)
            if following is None:
                heappop(heap)
            else:
                heapreplace(heap, (following[0], index, following, messages))

    def _survey(self) -> None:
        """Find every instrument and its decimals."""
        prices: dict[Key, Steps] = {}
        sizes: dict[Key, Steps] = {}
        averages: dict[Key, tuple[Steps, Steps]] = {}
        books: dict[Key, str] = {}
        for file in self._files:
            for table in file.blocks():
                for key in table.keys:
                    prices.setdefault(key, Steps()), sizes.setdefault(key, Steps())
                    if file.layout in BOOK and books.setdefault(key, file.layout) != file.layout:
                        raise BadConfig(
                            f"{file.path} is a {file.layout} of {key[1]}, of which there is a {books[key]} already; "
                            "allowed is one kind of book"
                        )
                    with file.guarded():
                        if file.layout == DERIVATIVE_TICKER:
                            known = averages.setdefault(key, (Steps(), Steps()))
                            for column in ("last_price", "mark_price", "index_price", "open_interest"):
                                steps = known[column == "open_interest"]
                                steps.add(filter(None, map(_seen, table.texts(key, column))))
                        else:
                            for one, other in file.pairs:
                                prices[key].add(filter(None, map(plain, table.texts(key, one))))
                                sizes[key].add(filter(None, map(plain, table.texts(key, other))))
        for key, known in averages.items():
            # Numbers that no order has count only where there is no order.
            prices[key] = prices[key] if prices[key].met else known[0]
            sizes[key] = sizes[key] if sizes[key].met else known[1]
        for key in prices:
            market = self.markets[key] = self._market(*key)
            self.instruments[key] = Instrument(
                venue=market.venue,
                symbol=market.symbol,
                asset=market.asset,
                quote=market.quote,
                contract=market.contract,
                price_decimals=prices[key].decimals,
                size_decimals=sizes[key].decimals,
                tick=prices[key].step,
                lot=sizes[key].step,
            )

    def _messages(self, file: TardisFile) -> Iterator[Told]:
        scales = {key: (each.price_decimals, each.size_decimals) for key, each in self.instruments.items()}
        if file.layout in BOOK:
            return book_messages(file, scales)
        if file.layout == TRADES:
            return trade_messages(file, scales, self.counts)
        if file.layout == LIQUIDATIONS:
            kinds = {key: (int(market.price_kind), int(market.coverage)) for key, market in self.markets.items()}
            return liquidation_messages(file, scales, self.counts, kinds)
        return self._tickers(file)

    def _tickers(self, file: TardisFile) -> Iterator[Told]:
        """Tell what has changed in each row of a derivative ticker."""
        known: dict[tuple[Key, Reference], tuple[int, int]] = {}
        for table in file.blocks():
            for key, exchanged, received, cells in table.rows():
                at = exchanged * MICROSECOND
                with file.guarded():
                    found = _values(self.instruments[key], cells)
                new = [(what, *value) for what, value in found.items() if known.get((key, what)) != value]
                if new:
                    known |= {(key, what): found[what] for what, _, _ in new}
                    rows = np.array(
                        [(at, value, following, what, 0, 0, 0) for what, value, following in new], REFERENCE
                    )
                    yield received, key, message_row(Kind.REFERENCE, exchanged=at, count=len(rows)), rows


def _values(instrument: Instrument, cells: dict[str, str]) -> dict[Reference, tuple[int, int]]:
    """Read one row of a derivative ticker: value and next funding time, ns; an empty cell says nothing."""
    found = {what: (price(instrument, cells[column]), 0) for column, what in PRICES.items() if cells[column]}
    if cells["funding_rate"]:
        following = cells["funding_timestamp"] or "0"
        if not (following.isdigit() and int(following) < MICROSECONDS_END):
            raise BadFrame("bad_time", f"funding_timestamp {following!r}, allowed are microseconds")
        found[Reference.FUNDING] = (rate(cells["funding_rate"]), int(following) * MICROSECOND)
    if cells["open_interest"]:
        found[Reference.OPEN_INTEREST] = (interest(instrument, cells["open_interest"]), 0)
    return found


def _seen(text: str) -> str:
    """Write a number that no order has plainly, without the decimals that no instrument may have."""
    head, point, tail = plain(text).partition(".")
    return (head + point + tail[:FUNDING_DECIMALS]).rstrip(".")
