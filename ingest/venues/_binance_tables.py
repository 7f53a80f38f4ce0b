"""Binance's depth and trade streams as flat files: rows of cells in, what may be believed of them out as market rows.

One file has one symbol and one day (UTC): the diffs (`depthUpdate`), the trades, or both merged with REST snapshots
and, first, the book as the day before left it. A message is the rows in succession that repeat its own fields. One with
any finding is left out whole, so the book that it belonged to is not known from there to its next snapshot.

Which cell is wrong is decided by the others: within a message the most rows decide, between messages the chain of ids.
Where a cell lies within what the venue allows, and agrees with its neighbours, nothing shows that it was changed.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Final, NamedTuple

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.schema import Batch, Channel, Contract
from ingest.decimals import places
from ingest.findings import Findings
from ingest.flatfiles import Row, header, rows_of
from ingest.track import Track
from ingest.venues import load
from ingest.venues._binance_instruments import QUOTES
from ingest.venues._binance_table_cells import DAY, DIFF, FINAL, FINEST, SNAPSHOT, TRADE, plain, size, stamp
from ingest.venues._binance_table_rules import Rules

_STREAM: Final = ("TimestampOfReceive", "Stream", "EventType", "EventTime")
_LEVEL: Final = ("IsAsk", "Price", "Quantity")
_IDS: Final = ("FirstUpdateId", "FinalUpdateId")
_PREVIOUS: Final = "FinalUpdateIdInLastStream"
_TRADE: Final = ("TransactionTime", "Symbol", "TradeId", "Price", "Quantity", "IsBuyerMarketMaker")

_SPOT, _USDM, _COINM = "SPOT", "USD_M_FUTURES", "COIN_M_FUTURES"
#: Header -> what its rows are, and of which markets; "" where the rows themselves say it.
_LAYOUTS: Final[dict[tuple[str, ...], tuple[str, tuple[str, ...]]]] = {
    (*_STREAM, "Symbol", *_IDS, *_LEVEL): (DIFF, (_SPOT,)),
    (*_STREAM, "TransactionTime", "Symbol", *_IDS, _PREVIOUS, *_LEVEL): (DIFF, (_USDM,)),
    (*_STREAM, "TransactionTime", "Symbol", *_IDS, _PREVIOUS, *_LEVEL, "PSUnknownField"): (DIFF, (_COINM,)),
    (*_STREAM, *_TRADE, "MUnknownParameter"): (TRADE, (_SPOT,)),
    (*_STREAM, *_TRADE, "XUnknownParameter"): (TRADE, (_USDM, _COINM)),
    (
        "TimestampOfReceiveUS", *_STREAM, "TransactionTime", "Symbol", *_IDS, _PREVIOUS, *_LEVEL, "PSUnknownField",
        "TradeId", "IsBuyerMarketMaker", "XUnknownParameter", "TimestampOfRequest", "MessageOutputTime", "LastUpdateId",
        "StreamType", "Market", "IsLast", "ServiceId",
    ): ("", (_USDM, _COINM)),
}  # fmt: skip
HEADERS: Final = tuple(_LAYOUTS)

#: Quote units that a COIN-M contract is worth, of all but bitcoin's.
_COIN_CONTRACT: Final = 10
_BITCOIN_CONTRACT: Final = 100
#: Columns that tell the messages of a kind apart.
_IDENTITY: Final = {
    DIFF: ("TimestampOfReceive", "EventTime", "TransactionTime", "Symbol", *_IDS, _PREVIOUS),
    SNAPSHOT: (
        "TimestampOfReceive", "TransactionTime", "Symbol", "TimestampOfRequest", "MessageOutputTime", "LastUpdateId",
    ),
    FINAL: ("TimestampOfReceive", "Symbol"),
    TRADE: (),
}  # fmt: skip


#: Market -> the venue by whose rules its books are kept.
_VENUES: Final = {
    _SPOT: ("binance_spot", Contract.SPOT),
    _USDM: ("binance_usdm", Contract.LINEAR),
    _COINM: ("binance_coinm", Contract.INVERSE),
}


@dataclass(slots=True)
class Survey:
    """What most rows of a file say; one damaged row is outvoted."""

    market: str = ""
    symbol: str = ""
    #: Kind of row -> name of its stream.
    streams: dict[str, str] = field(default_factory=dict)
    #: First instant of the day, ns.
    day: int = 0
    price_decimals: int = 0
    size_decimals: int = 0
    #: Divides every price, at the finest decimals.
    step: int = 0

    def instrument(self) -> Instrument:
        """Say what the numbers mean. Raises BadConfig for a symbol whose currencies cannot be told."""
        venue, contract = _VENUES[self.market]
        pair = self.symbol.partition("_")[0]
        quote = next((each for each in QUOTES if pair.endswith(each) and pair != each), None)
        if quote is None:
            raise BadConfig(f"cannot tell asset and quote of {self.symbol!r}; known quotes are {', '.join(QUOTES)}")
        asset = pair.removesuffix(quote)
        worth = (_BITCOIN_CONTRACT if asset == "BTC" else _COIN_CONTRACT) if contract == Contract.INVERSE else 1
        return Instrument(
            venue=venue,
            symbol=self.symbol,
            asset=asset,
            quote=quote,
            contract=contract,
            price_decimals=self.price_decimals,
            size_decimals=self.size_decimals,
            tick=max(self.step // 10 ** (FINEST - self.price_decimals), 1),
            lot=1,
            contract_size=worth * 10**8,
        )


class Message(NamedTuple):
    """The rows of one message of the venue."""

    kind: str
    rows: list[Row]


def survey(path: Path) -> Survey:
    """Read a file once, to know what is usual in it. Raises BadConfig where it has no row."""
    kind, markets = _LAYOUTS[header(path)]
    symbols: Counter[str] = Counter()
    streams: Counter[tuple[str, str]] = Counter()
    days: Counter[int] = Counter()
    stated: Counter[str] = Counter()
    prices: set[str] = set()
    found = Survey()
    for _, cells in rows_of(path):
        each = kind or cells["StreamType"]
        symbols[cells["Symbol"]] += 1
        streams[each, cells["Stream"]] += 1
        stated[cells.get("Market", "")] += 1
        at = stamp(cells["TimestampOfReceive"])
        if each != FINAL and at is not None:
            days[at // DAY * DAY] += 1
        prices.add(cells["Price"])
        found.size_decimals = max(found.size_decimals, _significant(cells["Quantity"]))
    if not symbols:
        raise BadConfig(f"{path} has a header and no row")
    found.symbol = symbols.most_common(1)[0][0]
    for (each, name), _ in reversed(streams.most_common()):
        found.streams[each] = name
    found.day = days.most_common(1)[0][0] if days else 0
    found.market = stated.most_common(1)[0][0] or markets[0]
    if len(markets) > 1 and "Market" not in cells:
        # Of the futures' trades only the symbol tells: TRXUSD_PERP has a coin for its margin, TRXUSDT_250328 has not.
        found.market = _COINM if found.symbol.partition("_")[0].endswith("USD") else _USDM
    found.price_decimals = max(map(_significant, prices), default=0)
    found.step = gcd(*(size(price) or 0 for price in prices))
    return found


def messages(path: Path, findings: Findings) -> Iterator[Message]:
    """Put the rows of each message together: those in succession that agree in half of what is the message's own."""
    kind, _ = _LAYOUTS[header(path)]
    held: list[Row] = []
    of = ""
    identity: tuple[str, ...] = ()
    for row in rows_of(path, findings):
        each = kind or row.cells["StreamType"]
        if held:
            last = held[-1].cells
            agreeing = sum(row.cells[name] == last[name] for name in identity)
            if each == of and (each == FINAL or (identity and 2 * agreeing >= len(identity))):
                held.append(row)
                continue
            yield Message(of, held)
        held, of = [row], each
        identity = tuple(name for name in _IDENTITY.get(each, ()) if name in row.cells)
    if held:
        yield Message(of, held)


def read_table(path: Path, findings: Findings) -> Iterator[Batch]:
    """Give what passes as market rows; see `ingest.flatfiles.read`."""
    known = survey(path)
    markets = _LAYOUTS[header(path)][1]
    if known.market not in markets:
        raise BadConfig(f"{path} says that its market is {known.market!r}, allowed is {', '.join(markets)}")
    instrument = known.instrument()
    venue = load(instrument.venue)
    track = Track(venue, instrument, [None] * (max(Channel) + 1), Counter(), {})
    rules = Rules(path, header(path), known, instrument, venue.sequence, findings)
    received = 0
    for kind, rows in messages(path, findings):
        checked = rules.check(kind, rows)
        if checked is None:
            continue
        at, decoded, since = checked
        # A clock in milliseconds gives several messages one stamp; rows of a feed have each their own.
        received = max(at, received + 1)
        if since >= 0 and track.sync.last > since:
            # The message before may hold an id too high: what is surely good ends with the one before that.
            track.sync.last = since
        out: list[Batch] = []
        track.take(decoded, received, 0, out)
        yield from out


def _significant(text: str) -> int:
    """Count the decimals that matter of a price or size; 0 of what is none."""
    return places(plain(text).rstrip("0")) if "." in plain(text) and size(text) else 0
