"""Bytes of a JSON venue in, checked values out; values in, one `Decoded` out: what most venue files are made of.

Numbers that stand bare in a frame are kept as they were printed (`exact`): a float would lose the last digits of a
long one. Prices and sizes of a trade, a touch or a liquidation must be above 0 (a touch may have an empty side).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache, wraps
from math import gcd
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
import numpy as np
import orjson

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import (
    LEVEL,
    LIQUIDATION,
    REFERENCE,
    TRADE,
    Channel,
    Contract,
    Coverage,
    Flag,
    Kind,
    PriceKind,
    Reference,
    Status,
    empty,
)
from ingest.decimals import places, scaled
from ingest.rows import message
from ingest.venues import SECOND, Decoded, Stream

#: The rows of a message without rows.
NOTHING: Final = empty(LEVEL)

Level = tuple[int, int]
P = ParamSpec("P")
T = TypeVar("T")

_EXPONENT: Final = re.compile(r"(-?)(\d)(?:\.(\d+))?[eE]([+-]?\d{1,2})")
_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)")


#: Gives a number that is no integer as the text that was printed.
_EXACT: Final = msgspec.json.Decoder(float_hook=str)


def parse(frame: bytes) -> Any:
    """Return a frame's JSON; for venues whose prices and sizes are texts. Raises BadFrame."""
    try:
        return orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise BadFrame("not_json", str(error)) from error


def exact(frame: bytes) -> Any:
    """Return a frame's JSON with every number that has a point or an exponent as the text that was printed."""
    try:
        return _EXACT.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame("not_json", str(error)) from error


def decimal(value: Any) -> Any:
    """Return what `exact` made of a number as a plain decimal text, `1e-7` as `0.0000001`; a text as it is."""
    if type(value) is int:
        return str(value)
    if type(value) is str and ("e" in value or "E" in value) and (met := _EXPONENT.fullmatch(value)):
        sign, whole, part, power = met[1], met[2], met[3] or "", int(met[4])
        digits, point = whole + part, 1 + power
        if point <= 0:
            return f"{sign}0.{'0' * -point}{digits}"
        return sign + digits.ljust(point, "0")[:point] + (f".{digits[point:]}" if len(digits) > point else "")
    return value


def instant(value: Any) -> int:
    """Return an ISO 8601 time in UTC, up to nine places of a second, in ns."""
    met = _INSTANT.fullmatch(value) if type(value) is str else None
    if met is None:
        raise BadFrame("bad_time", f"{str(value)[:40]!r}, allowed is ISO 8601 in UTC, 2026-04-07T14:30:01.456789Z")
    hours, minutes, seconds = int(met[2]), int(met[3]), int(met[4])
    if hours > 23 or minutes > 59 or seconds > 60:
        raise BadFrame("bad_time", f"{value!r} is no time of a day")
    within = (hours * 60 + minutes) * 60 + seconds
    return (_day(met[1]) + within) * SECOND + int((met[5] or "").ljust(9, "0"))


@lru_cache(64)
def _day(text: str) -> int:
    """Return the second that a day begins with; nanoseconds of 64 bits know the years 1970 to 2261."""
    if not "1970" <= text[:4] < "2262":
        raise BadFrame("bad_time", f"{text!r} is no day of the years 1970 to 2261")
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise BadFrame("bad_time", f"{text!r} is no day") from error


def printed(at: int) -> str:
    """Write a time, ns, as ISO 8601 with six places, `2023-10-06T17:35:55.440295Z`."""
    return f"{datetime.fromtimestamp(at // 1_000_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{at // 1000 % 1_000_000:06d}Z"


def positive(value: Any, decimals: int) -> int:
    """Return a price or size that must be above 0, in wire decimals."""
    result = scaled(value, decimals)
    if result == 0:
        raise BadFrame("zero", f"met {value!r}, allowed are values above 0")
    return result


def level(instrument: Instrument, price: Any, size: Any) -> Level:
    """Return one level in wire decimals: a price above 0, a size that may be 0."""
    value = scaled(price, instrument.price_decimals)
    if value == 0:
        raise BadFrame("zero", f"met {price!r}, allowed are prices above 0")
    return value, scaled(size, instrument.size_decimals)


class Reader:
    """What the decoders of JSON venues share; a venue's own adds `decode`."""

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        self.counts: Counter[str] = Counter()
        self._instruments = instruments

    def body(self, symbol: str, channel: Channel, body: bytes) -> list[Decoded]:
        """Return what a REST body says: here nothing is ever asked for."""
        raise BadFrame("unknown_channel", f"no REST body of channel {channel!r} is known")

    def forget(self, connection: int) -> None:
        """Forget what was known of a connection's frames: here nothing."""

    def _instrument(self, symbol: Any) -> Instrument:
        """Return a symbol's instrument. Raises BadFrame for one that was not subscribed."""
        instrument = self._instruments.get(symbol) if type(symbol) is str else None
        if instrument is None:
            raise BadFrame("unknown_symbol", f"{symbol!r}, subscribed are {', '.join(sorted(self._instruments))}")
        return instrument

    def _among(self, symbol: Any) -> Instrument | None:
        """Return a symbol's instrument, on channels that speak of the whole venue; others are counted."""
        instrument = self._instruments.get(symbol) if type(symbol) is str else None
        if instrument is None:
            self.counts["other_symbol"] += 1
        return instrument


def book(
    instrument: Instrument,
    kind: Kind,
    bids: list[Level],
    asks: list[Level],
    *,
    exchanged: int,
    published: int = 0,
    first: int = 0,
    last: int = 0,
    previous: int = -1,
    flags: int = 0,
    checksum: int | None = None,
) -> Decoded:
    """Make a SNAPSHOT (each side is sorted best first here, no price twice, no size 0) or a DELTA."""
    if kind == Kind.SNAPSHOT:
        bids, asks = _ordered(bids, reverse=True), _ordered(asks, reverse=False)
    row = message(
        kind,
        exchanged=exchanged,
        published=published,
        first=first,
        last=last,
        previous=previous,
        flags=flags | _doubt(exchanged, published),
        count=len(bids) + len(asks),
        bids=len(bids),
    )
    return Decoded(instrument.symbol, Channel.DEPTH, row, np.array(bids + asks, LEVEL), checksum)


def touch(
    instrument: Instrument, bid: Level, ask: Level, *, exchanged: int, published: int = 0, last: int = 0
) -> Decoded:
    """Make a TOUCH; a side of size 0 is empty."""
    row = message(
        Kind.TOUCH,
        exchanged=exchanged,
        published=published,
        first=last,
        last=last,
        flags=_doubt(exchanged, published),
        count=2,
        bids=1,
    )
    return Decoded(instrument.symbol, Channel.TOUCH, row, np.array([bid, ask], LEVEL))


def trades(
    instrument: Instrument,
    prints: Sequence[tuple[int, int, int, int, int, int]],
    *,
    published: int = 0,
    flags: int = 0,
) -> Decoded:
    """Make a TRADE message of (time ns, price, size, id, fills, side of the aggressor +1 / -1), oldest first."""
    exchanged = prints[-1][0]
    row = message(
        Kind.TRADE,
        exchanged=exchanged,
        published=published,
        first=prints[0][3],
        last=prints[-1][3],
        flags=flags | _doubt(exchanged, published),
        count=len(prints),
    )
    return Decoded(instrument.symbol, Channel.TRADE, row, np.array([(*each, 0, 0) for each in prints], TRADE))


def liquidations(
    instrument: Instrument,
    orders: Sequence[tuple[int, int, int, int, int]],
    price_kind: PriceKind,
    coverage: Coverage,
    *,
    published: int = 0,
    flags: int = 0,
) -> Decoded:
    """Make a LIQUIDATION message of (time ns, price, size, average or 0, +1 where a long was liquidated or -1)."""
    exchanged = orders[-1][0]
    row = message(
        Kind.LIQUIDATION,
        exchanged=exchanged,
        published=published,
        flags=flags | _doubt(exchanged, published),
        count=len(orders),
    )
    rows = np.array([(*each, price_kind, coverage, 0, 0) for each in orders], LIQUIDATION)
    return Decoded(instrument.symbol, Channel.LIQUIDATION, row, rows)


def references(
    instrument: Instrument,
    channel: Channel,
    values: Sequence[tuple[Reference, int, int]],
    *,
    exchanged: int,
    published: int = 0,
) -> Decoded:
    """Make a REFERENCE message of (what, value, next funding time ns or 0)."""
    row = message(Kind.REFERENCE, exchanged=exchanged, published=published, count=len(values))
    rows = np.array([(exchanged, value, following, what, 0, 0, 0) for what, value, following in values], REFERENCE)
    return Decoded(instrument.symbol, channel, row, rows)


def status(instrument: Instrument, state: Status, *, exchanged: int = 0) -> Decoded:
    """Make a STATUS."""
    row = message(Kind.STATUS, exchanged=exchanged, published=exchanged, status=state)
    return Decoded(instrument.symbol, None, row, NOTHING)


def named_streams(
    kinds: Sequence[tuple[str, Channel, int, int]],
    symbols: Sequence[str],
    name_of: Callable[[str, str], str] = "{}:{}".format,
) -> tuple[Stream, ...]:
    """List streams of a venue's one socket, named of kind and symbol.

    A kind is its name, its channel, within how many s data must come first, and how many it may be silent (0: exempt).
    """
    return tuple(
        Stream(
            name=name_of(name, symbol),
            symbol=symbol,
            channel=channel,
            socket="public",
            first=first * SECOND,
            silence=silence * SECOND,
        )
        for symbol in symbols
        for name, channel, first, silence in kinds
    )


def pick(venue: str, known: dict[str, Any], symbols: Sequence[str]) -> list[Any]:
    """Return the wanted symbols' entries. Raises BadConfig for an unknown symbol, naming the nearest."""
    for symbol in symbols:
        if symbol not in known:
            near = get_close_matches(symbol.upper(), known, n=3, cutoff=0.5) or sorted(known)[:3]
            raise BadConfig(f"{venue} has no symbol {symbol!r} among its {len(known)}; nearest are {', '.join(near)}")
    return [known[symbol] for symbol in symbols]


def foreign(read: Callable[P, T]) -> Callable[P, T]:
    """Let a function that reads unchecked JSON refuse what is not built as it expects. It then raises BadFrame."""

    @wraps(read)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(*args, **kwargs)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise BadFrame("structure", f"a frame is not built as this venue's are: {error!r}") from error

    return checked


def infer(
    venue: str, symbol: str, asset: str, quote: str, contract: Contract, levels: Iterable[tuple[str, str]]
) -> Instrument:
    """Return an instrument with the decimals that its (price, size) texts show; tick and lot divide all of them."""
    pairs = [(str(decimal(price)), str(decimal(size))) for price, size in levels]
    if not pairs:
        raise BadConfig(f"no level of {symbol} of {venue} among the tape's first lines")
    decimals = [max(places(pair[side]) for pair in pairs) for side in (0, 1)]
    steps = [gcd(*(scaled(pair[side], decimals[side]) for pair in pairs)) or 1 for side in (0, 1)]
    return Instrument(
        venue=venue,
        symbol=symbol,
        asset=asset,
        quote=quote,
        contract=contract,
        price_decimals=decimals[0],
        size_decimals=decimals[1],
        tick=steps[0],
        lot=steps[1],
    )


def _ordered(levels: list[Level], reverse: bool) -> list[Level]:
    ordered = sorted(levels, reverse=reverse)
    for i, (price, size) in enumerate(ordered):
        if size == 0 or (i and price == ordered[i - 1][0]):
            raise BadFrame("bad_snapshot", f"price {price} (wire decimals) comes twice or with size 0")
    return ordered


def _doubt(exchanged: int, published: int) -> int:
    """Give the flag of a message that was published before it happened."""
    return int(Flag.BAD_TIME) if 0 < published < exchanged else 0
