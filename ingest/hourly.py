"""Parquet tables of several venues' funding, open interest and liquidations in, REFERENCE and LIQUIDATION rows out.

The tables state money: `size_usd`, `oi_usd`. Rows hold base units, so money is divided by a price: a liquidation's own,
for open interest the close of that hour. Where `size_usd` was made of contracts instead of coins it is wrong by the
contract size, and each row alone looks right. What gives it away is the step of sizes. `size_usd / price` is a multiple
of the venue's smallest order, and venues choose that so that it is worth something like a dollar, whatever the coin is
worth; contracts are chosen so, too, but counted they have the same step for all coins. So a step that is a fraction of
a coin and worth less than a cent, or worth hundreds, cannot be one of coins; a venue counts all its instruments one
way, so one such instrument speaks for all. Then the contract sizes must be given: what they give must have a step that
can be, or the table is refused.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.errors import BadConfig, BadRecord
from engine.instrument import Instrument
from engine.schema import (
    FUNDING_DECIMALS,
    LIQUIDATION,
    REFERENCE,
    Batch,
    Contract,
    Coverage,
    Kind,
    PriceKind,
    Reference,
)
from ingest.findings import Findings
from ingest.rows import message as message_row

#: Decimals of all prices and sizes here.
DECIMALS: Final = 8
#: A step that is a fraction of a coin is worth more than so much, and any step less than so much, USD.
LEAST_WORTH: Final = 0.01
MOST_WORTH: Final = 500.0
#: Rows of an instrument that its step is told from at least, and the share of them that may be off it.
FEWEST: Final = 30
OFF_STEP: Final = 0.01
#: A funding rate of one interval is at most this.
MOST_FUNDING: Final = 0.1

_KEY: Final = ("timestamp", "venue", "coin")
#: Columns -> what a table is.
TABLES: Final = {
    (*_KEY, "o", "h", "l", "c", "v"): "candles",
    (*_KEY, "funding_rate"): "funding",
    (*_KEY, "oi_usd"): "open interest",
    (*_KEY, "side", "size_usd", "price"): "liquidations",
}
#: Side of the order -> whose position it closes.
_SIDES: Final = {"sell": 1, "S": 1, "buy": -1, "B": -1}
_HOUR: Final = 3_600_000_000_000
#: Finest and coarsest step that sizes may have, as decimals; most steps of one size that can still be told apart.
_STEPS: Final = range(-4, DECIMALS + 1)
_MOST_STEPS: Final = 1e9
_EXACT: Final = 1e-12

Floats: TypeAlias = NDArray[np.float64]
#: `venue:COIN`.
Key: TypeAlias = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the sizes of one instrument are multiples of."""

    instrument: Key
    #: Size of the step, and what it is worth at the median price, USD.
    step: Decimal
    worth: float
    rows: int
    #: Number of the first of them.
    first: int

    def times(self, factor: Decimal) -> "Step":
        """Give the step of the same sizes in another unit."""
        return Step(
            instrument=self.instrument,
            step=self.step * factor,
            worth=self.worth * float(factor),
            rows=self.rows,
            first=self.first,
        )

    @property
    def can_be(self) -> bool:
        """Whether a venue would have such a smallest order, in coins."""
        return self.worth <= MOST_WORTH and (self.step >= 1 or self.worth >= LEAST_WORTH)

    def __str__(self) -> str:
        return f"{self.instrument} (step {self.step.normalize():f}, worth {self.worth:.3g} USD)"


def is_hourly(path: Path) -> bool:
    """Say whether a path is one of these tables, or a folder of them."""
    return bool(_tables([path]))


def read(
    paths: Iterable[Path | str],
    contract_sizes: Mapping[Key, Decimal] | None = None,
    findings: Findings | None = None,
    counts: Counter[str] | None = None,
) -> Iterator[Batch]:
    """Give the rows of tables by time; `contract_sizes` are coins per contract, by `venue:COIN`.

    Raises BadRecord, naming the instruments, where liquidations are not of coins and the contract sizes that would make
    them so are not given, or do not. Where they are given and needed, each instrument that they correct is a finding.
    Rows that cannot be are left out, with a finding. `counts` counts open interest of unpriced hours (`unpriced`).
    """
    tables = _tables(map(Path, paths))
    if not tables:
        raise BadConfig(f"no table is named; their columns are {' or '.join(', '.join(names) for names in TABLES)}")
    found = Findings() if findings is None else findings
    counted = Counter[str]() if counts is None else counts
    closes: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    rows: list[tuple[int, Key, int, Any]] = []
    for what, path in tables:
        if what == "open interest":
            continue
        columns = _columns(path)
        good = _check(what, path, columns, found)
        if what == "candles":
            for at, venue, coin, close in _picked(columns, good, "timestamp", "venue", "coin", "c"):
                closes[coin, at // _HOUR][venue] = close
        elif what == "funding":
            for at, venue, coin, rate in _picked(columns, good, "timestamp", "venue", "coin", "funding_rate"):
                value = round(rate * 10**FUNDING_DECIMALS)
                rows.append((at, f"{venue}:{coin}", Kind.REFERENCE, (Reference.FUNDING, value)))
        elif what == "liquidations":
            rows += _liquidations(path, columns, good, contract_sizes or {}, found)
    # Open interest needs the prices that the other tables have.
    for path in (path for what, path in tables if what == "open interest"):
        columns = _columns(path)
        good = _check("open interest", path, columns, found)
        for at, venue, coin, value in _picked(columns, good, "timestamp", "venue", "coin", "oi_usd"):
            hour = closes.get((coin, at // _HOUR))
            if not hour:
                counted["unpriced"] += 1
                continue
            size = round(value / (hour.get(venue) or median(hour.values())) * 10**DECIMALS)
            rows.append((at, f"{venue}:{coin}", Kind.REFERENCE, (Reference.OPEN_INTEREST, size)))
    rows.sort(key=itemgetter(0, 1, 2))
    yield from _batches(rows)


def steps_of(keys: Sequence[Key], sizes_usd: Floats, prices: Floats) -> dict[Key, Step]:
    """Tell each instrument's step from its rows; instruments of few rows, or of sizes without a step, have none."""
    places = _places(sizes_usd, prices)
    found: dict[Key, Step] = {}
    names = np.asarray(keys, dtype=object)
    for key in sorted(set(keys)):
        mine = np.flatnonzero(names == key)
        met = np.sort(places[mine])
        allowed = int(len(met) * OFF_STEP)
        if len(met) < FEWEST or met[-1 - allowed] > DECIMALS:
            continue
        step = Decimal(1).scaleb(-int(met[-1 - allowed]))
        worth = float(step) * float(np.median(prices[mine]))
        found[key] = Step(instrument=key, step=step, worth=worth, rows=len(met), first=int(mine[0]) + 1)
    return found


def factors_of(
    keys: Iterable[Key], steps: Mapping[Key, Step], contract_sizes: Mapping[Key, Decimal]
) -> dict[Key, Decimal]:
    """Say by what `size_usd` must be multiplied, 1 where it is right. Raises BadRecord where that cannot be told."""
    factors: dict[Key, Decimal] = {}
    venues: dict[str, list[Key]] = defaultdict(list)
    for key in sorted(set(keys)):
        venues[key.partition(":")[0]].append(key)
    for venue, mine in venues.items():
        wrong = [steps[key] for key in mine if key in steps and not steps[key].can_be]
        if not wrong:
            for key in mine:
                size = contract_sizes.get(key, Decimal(1))
                if size != 1 and (key not in steps or steps[key].times(size).can_be):
                    raise BadRecord(
                        f"size_usd of {key} may be of contracts or of coins: a step of either can be; "
                        f"allowed is a table that shows which, or none of its contract size ({size})"
                    )
                factors[key] = Decimal(1)
            continue
        told = f"size_usd of {venue} is not of coins, as the steps of its sizes show: {', '.join(map(str, wrong))}"
        missing = [key for key in mine if key not in contract_sizes]
        if missing:
            raise BadRecord(f"{told}; needed are the contract sizes of {', '.join(missing)}")
        scaled = [steps[key].times(contract_sizes[key]) for key in mine if key in steps]
        still = [step for step in scaled if not step.can_be]
        if still:
            raise BadRecord(f"{told}; nor is it with the contract sizes given: {', '.join(map(str, still))}")
        factors |= {key: contract_sizes[key] for key in mine}
    return factors


def _liquidations(
    path: Path,
    columns: dict[str, Any],
    good: NDArray[np.bool_],
    contract_sizes: Mapping[Key, Decimal],
    findings: Findings,
) -> Iterator[tuple[int, Key, int, Any]]:
    """Give liquidations in coins; note each instrument whose money had to be corrected."""
    picked = _picked(columns, good, "timestamp", "venue", "coin", "side", "size_usd", "price")
    keys = [f"{venue}:{coin}" for _, venue, coin, *_ in picked]
    money, prices = columns["size_usd"][good], columns["price"][good]
    steps = steps_of(keys, money, prices)
    factors = factors_of(keys, steps, contract_sizes)
    numbers = np.flatnonzero(good) + 1
    for key, factor in factors.items():
        if factor != 1:
            mine = [int(number) for number, each in zip(numbers, keys, strict=True) if each == key]
            step = f"; a step is worth {steps[key].worth:.3g} USD" if key in steps else ""
            findings.add(
                path,
                mine[0],
                ("size_usd",),
                f"contracts x price in all {len(mine)} rows of {key}{step}",
                f"coins x price, {factor:f} of it, as they are passed on",
            )
    places = _places(money, prices)
    for index, (at, _, _, side, size_usd, price) in enumerate(picked):
        decimals = int(places[index])
        # A size without a step (several fills in one) is as near as its money says.
        size = Decimal(round(size_usd / price * 10.0 ** min(decimals, DECIMALS))).scaleb(-min(decimals, DECIMALS))
        coins = int((size * factors[keys[index]]).scaleb(DECIMALS).to_integral_value())
        cost = int(Decimal(repr(price)).scaleb(DECIMALS).to_integral_value())
        yield at, keys[index], Kind.LIQUIDATION, (cost, coins, _SIDES[side])


def _places(sizes_usd: Floats, prices: Floats) -> NDArray[np.int64]:
    """Count the decimals of each `size_usd / price`; one more than the finest step where it is a multiple of none."""
    places = np.full(len(prices), DECIMALS + 1)
    for decimals in reversed(_STEPS):
        # Division by a power of ten is exact to half a digit, multiplication by 0.1 is not.
        counted = np.rint(sizes_usd / prices * 10.0**decimals)
        sizes = counted / 10.0**decimals if decimals >= 0 else counted * 10.0**-decimals
        near = np.abs(sizes * prices - sizes_usd) <= _EXACT * sizes_usd
        places[near & (counted >= 1) & (counted <= _MOST_STEPS)] = decimals
    return places


def _check(what: str, path: Path, columns: dict[str, Any], findings: Findings) -> NDArray[np.bool_]:
    """Say which rows can be; add a finding for each that cannot."""
    good = np.ones(len(columns["timestamp"]), dtype=bool)

    def demand(holds: NDArray[np.bool_], names: tuple[str, ...], allowed: str) -> None:
        for index in np.flatnonzero(~holds).tolist():
            findings.add(path, index + 1, names, ", ".join(str(columns[name][index]) for name in names), allowed)
        good[~holds] = False

    def positive(*names: str) -> None:
        for name in names:
            demand(np.isfinite(columns[name]) & (columns[name] > 0), (name,), "a number above 0")

    if what == "candles":
        positive("o", "h", "l", "c")
        demand(np.isfinite(columns["v"]) & (columns["v"] >= 0), ("v",), "a number, 0 or more")
        low, high = (limit(columns["o"], columns["c"]) for limit in (np.minimum, np.maximum))
        inside = (columns["l"] <= low) & (high <= columns["h"])
        demand(inside | ~good, ("o", "h", "l", "c"), "l <= o and c <= h")
    elif what == "funding":
        demand(np.abs(columns["funding_rate"]) <= MOST_FUNDING, ("funding_rate",), f"at most {MOST_FUNDING} either way")
    elif what == "open interest":
        positive("oi_usd")
    else:
        positive("size_usd", "price")
        demand(np.isin(columns["side"], list(_SIDES)), ("side",), ", ".join(_SIDES))
    order = np.concatenate(([True], np.diff(columns["timestamp"]) >= 0))[: len(good)]
    demand(order, ("timestamp",), "the time of the row before, or later")
    return good


def _tables(paths: Iterable[Path]) -> list[tuple[str, Path]]:
    """Name the tables that the paths stand for, and what each is."""
    found = []
    for path in paths:
        for file in sorted(path.glob("*.parquet")) if path.is_dir() else [path]:
            if file.suffix == ".parquet" and file.is_file():
                what = TABLES.get(tuple(_opened(file).schema_arrow.names))
                found += [(what, file)] if what else []
    return found


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadRecord(f"{path} is no Parquet file: {error}") from error


def _columns(path: Path) -> dict[str, Any]:
    """Read a table: times as ns, texts as objects. Raises BadRecord for a value that is missing, or of another type."""
    table = _opened(path).read()
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name]
        if column.null_count:
            raise BadRecord(f"{path}: {name} has no value in {column.null_count} rows, allowed is a value in each")
        if name == "timestamp":
            columns[name] = column.cast(pa.timestamp("ns", tz="UTC")).cast(pa.int64()).to_numpy()
        elif name in ("venue", "coin", "side"):
            columns[name] = np.asarray(column.to_pylist(), dtype=object)
        else:
            columns[name] = column.cast(pa.float64()).to_numpy()
    return columns


def _picked(columns: dict[str, Any], good: NDArray[np.bool_], *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(columns[name][good].tolist() for name in names), strict=True))


def _batches(rows: Iterable[tuple[int, Key, int, Any]]) -> Iterator[Batch]:
    """Make one message of each row; the first of an instrument is preceded by its units."""
    known: set[Key] = set()
    received = 0
    for at, key, kind, value in rows:
        venue, _, coin = key.partition(":")
        if key not in known:
            known.add(key)
            received = max(at, received + 1)
            units = Instrument(
                venue=venue,
                symbol=coin,
                asset=coin,
                quote="USD",
                contract=Contract.LINEAR,
                price_decimals=DECIMALS,
                size_decimals=DECIMALS,
                tick=1,
                lot=1,
            ).row()
            message = message_row(Kind.INSTRUMENT, received=received, count=1)
            yield Batch(instrument=key, asset=coin, messages=message, instruments=units)
        received = max(at, received + 1)
        message = message_row(Kind(kind), received=received, exchanged=at, published=at, count=1)
        if kind == Kind.LIQUIDATION:
            row = np.zeros(1, LIQUIDATION)
            row["exchanged"], row["price_kind"], row["coverage"] = at, PriceKind.TRADE, Coverage.LOWER_BOUND
            row["price"], row["size"], row["side"] = value
            yield Batch(instrument=key, asset=coin, messages=message, liquidations=row)
        else:
            row = np.zeros(1, REFERENCE)
            row["exchanged"] = at
            row["what"], row["value"] = value
            yield Batch(instrument=key, asset=coin, messages=message, references=row)
