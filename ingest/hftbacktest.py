"""hftbacktest's event arrays (`.npz`) in, batches out: consecutive rows of one local stamp and family are one message.

By its documentation (`hftbacktest.types`): a row is `ev`, `exch_ts`, `local_ts`, `px`, `qty`, `order_id`, `ival`,
`fval`; `ev` holds what happened, whether it is of the bid or buy side, and whether it is for the exchange's clock, the
local one, or both. Only rows for the local clock are read, for what came late is there twice. A depth event's `qty` is
what is at the level now; a clearing event forgets the levels of its side, a snapshot event fills them.

Its numbers are float64. Each is read as the shortest decimal that is that very float; where one has no such decimal of
12 places, as 0.1 * 3 has none, the file is refused. The array names no instrument: files of our own do (`instrument`,
`key`), for others the caller says whose they are.
"""

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import gcd
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile, is_zipfile

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadConfig, BadRecord
from engine.events import BEST, BUY, CLEAR, DEPTH, EVENT, EXACT, LOCAL, SELL, SNAPSHOT, WHAT
from engine.events import TRADE as TRADES
from engine.instrument import Instrument, from_row
from engine.schema import INSTRUMENT, LEVEL, TRADE, Batch, Kind, Rows
from ingest.epochs import Epochs
from ingest.market import Market
from ingest.rows import message as message_row

#: Decimals that a float is looked at for.
PLACES: Final = 12


def is_hftbacktest(path: Path) -> bool:
    """Say whether a file is a zip archive of numpy arrays."""
    return path.is_file() and is_zipfile(path)


def key_of(path: Path) -> str | None:
    """Give the key of the instrument that a file of ours names, None where it names none. Raises BadRecord."""
    with _reading(path), np.load(path, allow_pickle=False) as file:
        return str(file["key"]) if "key" in file else None


class Events:
    """An iterator of batches, one message each, of files of one instrument in the order given."""

    def __init__(self, paths: Sequence[Path], market: Market | None) -> None:
        """Read the files; `market` is that of files that do not name theirs.

        A file whose stamps are all 0 (a book saved by `create_last_snapshot`) is of the time of the file after it.
        Raises BadConfig for files that name no instrument or several, BadRecord for what is malformed.
        """
        self._epochs = Epochs()
        #: Messages and rows that were passed over, by why.
        self.counts: Counter[str] = self._epochs.counts
        arrays, stated = [], []
        for path in paths:
            rows, instrument = _read(path)
            arrays.append(self._chosen(path, rows))
            stated.append(instrument)
        known = {each for each in stated if each is not None}
        if len(known) > 1 or (known and None in stated):
            raise BadConfig(
                f"{', '.join(map(str, paths))} are of {', '.join(sorted(each.key for each in known))}"
                f"{' and of one that is not named' if None in stated else ''}; allowed is one instrument"
            )
        rows = _dated(np.concatenate(arrays), paths)
        if known:
            self.instrument = known.pop()
            decimals = self.instrument.price_decimals, self.instrument.size_decimals
        elif market is None:
            raise BadConfig(f"{paths[0]} does not name its instrument; allowed is --venue VENUE:SYMBOL beside it")
        else:
            decimals = _places(rows["px"], "px", paths), _places(rows["qty"], "qty", paths)
        self._prices = _integers(rows["px"], decimals[0], "px", paths)
        self._sizes = _integers(rows["qty"], decimals[1], "qty", paths)
        if not known and market is not None:
            self.instrument = _inferred(market, decimals, self._prices, self._sizes)
        self._rows = rows

    def __iter__(self) -> Iterator[Batch]:
        rows, stamps = self._rows, self._rows["local_ts"]
        what = (rows["ev"] & WHAT).astype(np.int64)
        family = np.where(what == TRADES, TRADES, np.where(what == DEPTH, DEPTH, SNAPSHOT))
        number = np.zeros(len(rows), np.int64)
        number[1:] = np.cumsum((stamps[1:] != stamps[:-1]) | (family[1:] != family[:-1]))
        begins = np.flatnonzero(np.diff(number, prepend=-1))
        levels, level_ends, bids = self._levels(what, family, number, len(begins))
        trades, trade_ends = self._trades(family, number, len(begins))
        columns = (begins, stamps[begins], rows["exch_ts"][begins], family[begins])
        for n, (begin, at, exchanged, kind) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
            if kind == TRADES:
                own = trades[trade_ends[n] : trade_ends[n + 1]]
                if len(own):
                    yield from self._epochs.take(at, self.instrument, _traded(own), own)
                continue
            first, last = level_ends[n], level_ends[n + 1]
            if kind == SNAPSHOT and not self._fills(what, begin, number):
                yield from self._epochs.lose(at, self.instrument)
                continue
            kind = Kind.SNAPSHOT if kind == SNAPSHOT else Kind.DELTA
            message = message_row(kind, exchanged=exchanged, count=last - first, bids=bids[last] - bids[first])
            yield from self._epochs.take(at, self.instrument, message, levels[first:last])

    def _levels(self, what: Any, family: Any, number: Any, messages: int) -> tuple[Rows, list[int], list[int]]:
        """Give LEVEL rows as their messages come, where each message's begin, and how many bids are before each.

        Bids come first; of a whole book the best first, and no level of size 0.
        """
        taken = np.flatnonzero((family != TRADES) & (what != CLEAR) & ((family == DEPTH) | (self._sizes > 0)))
        bid = (self._rows["ev"][taken] & BUY) > 0
        best = np.where(family[taken] == SNAPSHOT, np.where(bid, -1, 1) * self._prices[taken], 0)
        order = np.lexsort((best, ~bid, number[taken]))
        taken, bid = taken[order], bid[order]
        levels = np.zeros(len(taken), LEVEL)
        levels["price"], levels["size"] = self._prices[taken], self._sizes[taken]
        ends = np.searchsorted(number[taken], np.arange(messages + 1)).tolist()
        return levels, ends, np.concatenate(([0], np.cumsum(bid))).tolist()

    def _trades(self, family: Any, number: Any, messages: int) -> tuple[Rows, list[int]]:
        """Give TRADE rows, and where each message's begin; trades without a side are counted."""
        taken = np.flatnonzero(family == TRADES)
        known = (self._rows["ev"][taken] & (BUY | SELL)) > 0
        if not known.all():
            self.counts["trades of unknown side"] += int((~known).sum())
        taken = taken[known]
        trades = np.zeros(len(taken), TRADE)
        trades["exchanged"], trades["fills"] = self._rows["exch_ts"][taken], 1
        trades["price"], trades["size"] = self._prices[taken], self._sizes[taken]
        trades["id"] = self._rows["order_id"][taken].astype(np.int64)
        trades["side"] = np.where(self._rows["ev"][taken] & BUY, 1, -1)
        return trades, np.searchsorted(number[taken], np.arange(messages + 1)).tolist()

    def _fills(self, what: Any, begin: int, number: Any) -> bool:
        """Say whether a message that clears a book fills it, too. Raises BadRecord where it clears one side of two."""
        own = slice(begin, int(np.searchsorted(number, number[begin], "right")))
        ev, filled = self._rows["ev"][own], what[own] == SNAPSHOT
        sides = [int(np.bitwise_or.reduce(ev[rows] & (BUY | SELL))) for rows in (~filled, filled)]
        if sides[0] in (BUY, SELL) and sides[1] in (0, BUY, SELL):
            at = self._rows["local_ts"][begin]
            raise BadRecord(f"at local_ts {at} one side alone is cleared, allowed are both")
        return bool(filled.any())

    def _chosen(self, path: Path, rows: NDArray[np.void]) -> NDArray[np.void]:
        """Take the rows for the local clock; best bids and asks on a channel of their own are counted."""
        rows = rows[(rows["ev"] & LOCAL) > 0]
        what = rows["ev"] & WHAT
        strange = np.flatnonzero((what < DEPTH) | (what > BEST))
        if len(strange):
            raise BadRecord(f"{path} has an event of kind {what[strange[0]]}, allowed are {DEPTH} to {BEST}: no orders")
        if (what == BEST).any():
            self.counts["best prices"] += int((what == BEST).sum())
        rows = rows[what != BEST]
        sides = rows["ev"] & (BUY | SELL)
        bad = (sides == (BUY | SELL)) | ((sides == 0) & np.isin(rows["ev"] & WHAT, (DEPTH, SNAPSHOT)))
        bad |= ((rows["px"] <= 0) | (rows["qty"] < 0)) & ((rows["ev"] & WHAT) != CLEAR)
        bad |= ~(np.isfinite(rows["px"]) & np.isfinite(rows["qty"]))
        if bad.any():
            raise BadRecord(f"{path} has a row {rows[bad][0]}, allowed are a side, a px above 0 and a qty of 0 or more")
        # What is cleared has no price of an order.
        rows["px"][(rows["ev"] & WHAT) == CLEAR] = rows["qty"][(rows["ev"] & WHAT) == CLEAR] = 0.0
        return rows


def _traded(rows: Rows) -> Rows:
    """Make the MESSAGE row of trades."""
    first, last = int(rows["id"][0]), int(rows["id"][-1])
    return message_row(Kind.TRADE, exchanged=int(rows["exchanged"][-1]), first=first, last=last, count=len(rows))


def _read(path: Path) -> tuple[NDArray[np.void], Instrument | None]:
    """Read a file's events, and its instrument where it names it. Raises BadRecord."""
    with _reading(path), np.load(path, allow_pickle=False) as file:
        rows: Any = file["data"] if "data" in file else np.zeros(0)
        if rows.dtype != EVENT or rows.ndim != 1:
            met = ", ".join(file.files[:3])
            raise BadRecord(f"{path} holds {met}, allowed is `data`, rows of {', '.join(EVENT.names or ())}")
        if "instrument" not in file:
            return rows, None
        stated, key = file["instrument"], str(file["key"])
        if stated.dtype != INSTRUMENT or stated.shape != (1,):
            raise BadRecord(
                f"{path} states an instrument of {stated.dtype}, allowed is a row as engine/schema.py has it"
            )
        return rows, from_row(key, stated[0])


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say of which file something cannot be read."""
    try:
        yield
    except (BadZipFile, OSError, EOFError, KeyError, ValueError, zlib.error) as error:
        raise BadRecord(f"{path} cannot be read as hftbacktest's events: {error}") from error


def _dated(rows: NDArray[np.void], paths: Sequence[Path]) -> NDArray[np.void]:
    """Date what has no stamp by what follows it, and see that stamps only grow."""
    stamps = rows["local_ts"]
    dated = np.flatnonzero(stamps)
    if not len(dated):
        raise BadRecord(f"{paths[0]} has no row with a local_ts")
    following = np.minimum(np.searchsorted(dated, np.arange(len(rows))), len(dated) - 1)
    stamps = rows["local_ts"] = np.where(stamps == 0, stamps[dated[following]], stamps)
    back = np.flatnonzero(np.diff(stamps) < 0)
    if len(back):
        raise BadRecord(
            f"{', '.join(map(str, paths))}: local_ts goes back to {stamps[back[0] + 1]}; allowed is their order"
        )
    return rows


def _places(values: NDArray[np.float64], name: str, paths: Sequence[Path]) -> int:
    """Find the fewest decimals that all values have."""
    left = np.unique(values)
    for places in range(PLACES + 1):
        scaled = np.rint(left * 10.0**places)
        left = left[(scaled / 10.0**places != left) | (scaled >= EXACT)]
        if not len(left):
            return places
    raise BadRecord(
        f"{paths[0]} has a {name} of {left[0]!r}, allowed are floats of decimals of at most {PLACES} places"
    )


def _integers(values: NDArray[np.float64], places: int, name: str, paths: Sequence[Path]) -> NDArray[np.int64]:
    """Give the values x 10^places; none may lose a digit."""
    scaled = np.rint(values * 10.0**places)
    lost = np.flatnonzero((scaled / 10.0**places != values) | (scaled >= EXACT))
    if len(lost):
        raise BadRecord(
            f"{paths[0]} has a {name} of {values[lost[0]]!r}, allowed are {places} decimals, 53 bits in all"
        )
    return np.asarray(scaled, np.int64)


def _inferred(market: Market, decimals: tuple[int, int], prices: Any, sizes: Any) -> Instrument:
    return Instrument(
        venue=market.venue,
        symbol=market.symbol,
        asset=market.asset,
        quote=market.quote,
        contract=market.contract,
        price_decimals=decimals[0],
        size_decimals=decimals[1],
        tick=gcd(*np.unique(prices).tolist()) or 1,
        lot=gcd(*np.unique(sizes).tolist()) or 1,
    )
