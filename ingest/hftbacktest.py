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
from itertools import pairwise
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
        what = (self._rows["ev"] & WHAT).astype(np.int64)
        family = np.where(what == TRADES, TRADES, np.where(what == DEPTH, DEPTH, SNAPSHOT))
        stamps = self._rows["local_ts"]
        breaks = (stamps[1:] != stamps[:-1]) | (family[1:] != family[:-1])
        edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(stamps)] if len(stamps) else [0]
        for begin, end in pairwise(edges):
            at, own = int(stamps[begin]), slice(begin, end)
            if family[begin] == SNAPSHOT and (what[own] == CLEAR).all():
                yield from self._epochs.lose(at, self.instrument)
                continue
            made = self._trades(own) if family[begin] == TRADES else self._book(own, what[own])
            if made is not None:
                yield from self._epochs.take(at, self.instrument, *made)

    def _book(self, own: slice, what: Any) -> tuple[Rows, Rows] | None:
        """Make a SNAPSHOT or a DELTA."""
        ev = self._rows["ev"][own]
        whole = bool((what != DEPTH).any())
        if whole and (what == CLEAR).any():
            sides = int(np.bitwise_or.reduce(ev[what == CLEAR] & (BUY | SELL)))
            filled = int(np.bitwise_or.reduce(ev[what == SNAPSHOT] & (BUY | SELL)))
            if sides in (BUY, SELL) and filled in (BUY, SELL):
                raise BadRecord(
                    f"at local_ts {self._rows['local_ts'][own][0]} one side alone is cleared, allowed are both"
                )
        taken = np.flatnonzero(what != CLEAR)
        prices, sizes, bid = self._prices[own][taken], self._sizes[own][taken], (ev[taken] & BUY) > 0
        if whole:
            best = np.where(bid, -prices, prices)
            order = np.lexsort((best, ~bid))
            order = order[sizes[order] > 0]
        else:
            order = np.argsort(~bid, kind="stable")
        levels = np.zeros(len(order), LEVEL)
        levels["price"], levels["size"] = prices[order], sizes[order]
        kind = Kind.SNAPSHOT if whole else Kind.DELTA
        exchanged = int(self._rows["exch_ts"][own][-1])
        return message_row(kind, exchanged=exchanged, count=len(levels), bids=int(bid[order].sum())), levels

    def _trades(self, own: slice) -> tuple[Rows, Rows] | None:
        """Make a TRADE message; trades without a side are counted."""
        rows = self._rows[own]
        known = (rows["ev"] & (BUY | SELL)) > 0
        if not known.all():
            self.counts["trades of unknown side"] += int((~known).sum())
        if not known.any():
            return None
        trades = np.zeros(int(known.sum()), TRADE)
        trades["exchanged"], trades["fills"] = rows["exch_ts"][known], 1
        trades["price"], trades["size"] = self._prices[own][known], self._sizes[own][known]
        trades["id"] = rows["order_id"][known].astype(np.int64)
        trades["side"] = np.where(rows["ev"][known] & BUY, 1, -1)
        first, last = int(trades["id"][0]), int(trades["id"][-1])
        exchanged = int(trades["exchanged"][-1])
        return message_row(Kind.TRADE, exchanged=exchanged, first=first, last=last, count=len(trades)), trades

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
