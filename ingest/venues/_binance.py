"""Binance's frames in, rows out: one decoder for spot and both kinds of futures, which differ in few keys.

Frames go through a byte scanner: depth through the one for books, trades, touches and marks by their forms
(`ingest.venues._binance_forms`). All others, and what a scanner refuses, go through orjson and strict checks. Prices
and sizes are exact or refused. Mark, index and average prices, which no order has and which Binance computes to eight
places whatever the instrument's, are rounded to the instrument's decimals.

Facts, from the venue's documentation and from captures (2026): `markPriceUpdate` calls the next funding time `T` and
the estimated settle price `P`; spot's `bookTicker` has no `e` and no clock; futures' `trade` may come with an `X` other
than MARKET and a zero price for what is not a trade; `forceOrder` is one order a second and symbol at most (which one
is dated below); its `S` is the order's side, so SELL means that a long was liquidated. COIN-M names the pair beside the
symbol (`ps`) and counts contracts. Before 2020-08 mark prices came without the index price.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import orjson

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import (
    FUNDING_DECIMALS,
    LEVEL,
    LIQUIDATION,
    REFERENCE,
    TRADE,
    Channel,
    Coverage,
    Kind,
    PriceKind,
    Reference,
    Status,
    empty,
)
from ingest.decimals import rounded, scaled, signed
from ingest.rows import message
from ingest.venues import SECOND, Decoded, Plain, Stream
from ingest.venues._fields import best, book_side, identity, level_rows, member, moment, sorted_side, stamps

#: USD-M shows the largest liquidation of a second from this day on, 2026-04-10, before it the latest. ns.
LARGEST_SINCE: Final = 1_775_779_200_000_000_000
#: COIN-M's documentation says the latest; since it runs on USD-M's system, 2026-06-30, it may be either. ns.
MERGED_SINCE: Final = 1_782_777_600_000_000_000
#: Which liquidations a feed shows, and since when, the newest first.
USDM_COVERAGE: Final = ((LARGEST_SINCE, Coverage.SAMPLED_LARGEST), (0, Coverage.SAMPLED_LATEST))
COINM_COVERAGE: Final = ((MERGED_SINCE, Coverage.SAMPLED), (0, Coverage.SAMPLED_LATEST))
#: How near auto-deleveraging is, by USD-M's rating of a symbol (since 2025-11-19; rated anew every 30 min).
RISKS: Final = {"low": 0, "medium": 1, "high": 2}

#: A stream's name after the symbol and its @ -> the event that it carries (bookTicker of spot has no `e`).
STREAMS: Final = {
    "depth": "depthUpdate",
    "depth@0ms": "depthUpdate",
    "depth@100ms": "depthUpdate",
    "depth@250ms": "depthUpdate",
    "depth@500ms": "depthUpdate",
    "trade": "trade",
    "aggTrade": "aggTrade",
    "bookTicker": "bookTicker",
    "markPrice": "markPriceUpdate",
    "markPrice@1s": "markPriceUpdate",
    "forceOrder": "forceOrder",
}

#: The rows of a message without rows.
NOTHING: Final = empty(LEVEL)

# Looking up an enumeration's member costs as much as a dict of fields; the frequent ones are looked up once.
_TOUCH: Final = Channel.TOUCH
_TRADE: Final = Channel.TRADE
_KIND_TOUCH: Final = Kind.TOUCH
_KIND_TRADE: Final = Kind.TRADE


def symbol_streams(kinds: Sequence[tuple[str, Channel, str, int, int]], symbols: Sequence[str]) -> tuple[Stream, ...]:
    """List streams; a kind is a name after the @, channel, socket, first data within, silent at most (s; 0: exempt)."""
    return tuple(
        Stream(
            name=f"{symbol.lower()}@{name}",
            symbol=symbol,
            channel=channel,
            socket=socket,
            first=first * SECOND,
            silence=silence * SECOND,
        )
        for symbol in symbols
        for name, channel, socket, first, silence in kinds
    )


def routed(base: str, socket: str, streams: Sequence[Stream]) -> str:
    """Name the combined stream of a socket that is a route."""
    return f"{base}/{socket}/stream?streams={'/'.join(stream.name for stream in streams)}"


def subscribe(streams: Sequence[Stream]) -> tuple[bytes, ...]:
    """Send nothing: the URL subscribes."""
    return ()


def weigh(depth: Sequence[tuple[int, int]], otherwise: int, path: str) -> int:
    """Tell the weight of a REST request: of a depth request by its limit, `depth` being (limit, weight) ascending."""
    if "/depth?" not in path:
        return otherwise
    limit = int(path.partition("limit=")[2] or 500)
    return next(weight for most, weight in depth if limit <= most)


class BinanceDecoder:
    """Frames of some instruments in, rows out."""

    def __init__(
        self,
        instruments: dict[str, Instrument],
        futures: bool,
        coverage: Sequence[tuple[int, Coverage]] = USDM_COVERAGE,
    ) -> None:
        #: Frames that were read `slowly`, and of those the `rescanned:<refusal>` ones, that a scanner would not read.
        self.counts: Counter[str] = Counter()
        self._instruments = instruments
        self._futures = futures
        self._coverage = coverage
        #: Stream -> its event and symbol.
        self._streams = {
            f"{symbol.lower()}@{name}": (event, symbol) for symbol in instruments for name, event in STREAMS.items()
        }
        # Here, for it brings the compiler; what a venue is can be read without.
        from ingest.scan import REFUSALS, is_ordered
        from ingest.tokens import STRUCTURE
        from ingest.venues._binance_scanners import Scanners

        self._refusals, self._is_ordered, self._structure = REFUSALS, is_ordered, STRUCTURE
        # What every frame asks for is kept at hand.
        self._scanners = Scanners(instruments, self._streams, futures)
        self._heads, self._span = self._scanners.heads, self._scanners.span
        self._events: dict[str, Callable[[dict[str, Any]], list[Decoded]]] = {
            "depthUpdate": self._diff,
            "trade": self._trade,
            "aggTrade": self._aggregate,
            "bookTicker": self._touch,
            "markPriceUpdate": self._mark,
            "forceOrder": self._liquidation,
            "serverShutdown": self._shutdown,
        }

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what the frame says: nothing for an ACK. Raises BadFrame."""
        known = self._heads.get(frame[: self._span]) or self._scanners.find(frame)
        if known is not None:
            scan, plan, symbol, channel = known
            decoded = scan(frame, plan, symbol, channel)
            if isinstance(decoded, Decoded):
                return [decoded]
            self.counts[f"rescanned:{self._refusals[decoded]}"] += 1
        self.counts["slowly"] += 1
        return self.decode_slowly(frame)

    def decode_slowly(self, frame: bytes) -> list[Decoded]:
        """Return the same as `decode`, without the scanner."""
        content = _parse(frame)
        stream = content.get("stream")
        if stream is not None:
            content = member(content, "data", dict)
        event = content.get("e", "bookTicker" if "B" in content and "u" in content else None)
        if event is None:
            return _answer(content)
        decode = self._events.get(event) if isinstance(event, str) else None
        if decode is None:
            raise BadFrame("unknown_event", f"{event!r}, known are {', '.join(self._events)}")
        if stream is not None and event != "serverShutdown":
            self._check_stream(stream, event, content)
        return decode(content)

    def body(self, symbol: str, channel: Channel, body: bytes) -> list[Decoded]:
        """Return what a REST body says. Raises BadFrame."""
        self._instrument(symbol)
        if channel == Channel.DEPTH:
            decoded = self._scanners.scan_body(body, symbol)
            if isinstance(decoded, Decoded) and self._is_ordered(decoded.message, decoded.rows):
                return [decoded]
            refusal = self._structure if isinstance(decoded, Decoded) else decoded
            self.counts[f"rescanned:{self._refusals[refusal]}"] += 1
        return self.body_slowly(symbol, channel, body)

    def body_slowly(self, symbol: str, channel: Channel, body: bytes) -> list[Decoded]:
        """Return the same as `body`, without the scanner."""
        instrument = self._instrument(symbol)
        content = _parse(body)
        if channel == Channel.DEPTH:
            return [self._snapshot(instrument, content)]
        if channel in (Channel.OPEN_INTEREST, Channel.RISK) and self._futures:
            return [self._polled(instrument, channel, content)]
        raise BadFrame("unknown_channel", f"no REST body of channel {channel!r} is known")

    def forget(self, connection: int) -> None:
        """Forget nothing: every frame stands alone."""

    def plain(self) -> Sequence[Plain]:
        """Name the streams that a scanner reads, for many frames at once."""
        return self._scanners.plain

    def _instrument(self, symbol: Any) -> Instrument:
        instrument = self._instruments.get(symbol) if isinstance(symbol, str) else None
        if instrument is None:
            raise BadFrame("unknown_symbol", f"{symbol!r}, subscribed are {', '.join(sorted(self._instruments))}")
        return instrument

    def _check_stream(self, stream: Any, event: str, content: dict[str, Any]) -> None:
        """Refuse a stream that nobody asked for, or that carries what it should not."""
        known = self._streams.get(stream) if isinstance(stream, str) else None
        if known is None:
            raise BadFrame("unknown_stream", f"{stream!r}, known are <symbol>@{', @'.join(STREAMS)} of our symbols")
        named = content.get("s") if event != "forceOrder" else member(content, "o", dict).get("s")
        if known != (event, named):
            raise BadFrame("wrong_stream", f"{stream!r} carries {event!r} of {named!r}")

    def _diff(self, content: dict[str, Any]) -> list[Decoded]:
        instrument = self._instrument(content.get("s"))
        first, last = identity(content, "U"), identity(content, "u")
        if first > last:
            raise BadFrame("bad_ids", f"first id {first} is beyond last id {last}")
        exchanged, published, flags = stamps(content, "T" if self._futures else "E")
        bids, asks = (book_side(content, key, instrument) for key in ("b", "a"))
        row = message(
            Kind.DELTA,
            exchanged=exchanged,
            published=published,
            first=first,
            last=last,
            previous=identity(content, "pu") if self._futures else -1,
            flags=flags,
            count=len(bids) + len(asks),
            bids=len(bids),
        )
        rows = np.concatenate((level_rows(bids), level_rows(asks)))
        return [Decoded(symbol=instrument.symbol, channel=Channel.DEPTH, message=row, rows=rows)]

    def _snapshot(self, instrument: Instrument, content: dict[str, Any]) -> Decoded:
        last = identity(content, "lastUpdateId")
        bids, asks = (book_side(content, key, instrument) for key in ("bids", "asks"))
        exchanged, published, flags = stamps(content, "T") if self._futures else (0, 0, 0)
        row = message(
            Kind.SNAPSHOT,
            exchanged=exchanged,
            published=published,
            last=last,
            flags=flags,
            count=len(bids) + len(asks),
            bids=len(bids),
        )
        rows = np.concatenate((sorted_side(bids, descending=True), sorted_side(asks, descending=False)))
        return Decoded(symbol=instrument.symbol, channel=Channel.DEPTH, message=row, rows=rows)

    def _touch(self, content: dict[str, Any]) -> list[Decoded]:
        instrument = self._instrument(content.get("s"))
        update = identity(content, "u")
        levels = [best(content, *keys, instrument) for keys in (("b", "B"), ("a", "A"))]
        exchanged, published, flags = stamps(content, "T") if self._futures else (0, 0, 0)
        row = message(
            _KIND_TOUCH,
            exchanged=exchanged,
            published=published,
            first=update,
            last=update,
            flags=flags,
            count=2,
            bids=1,
        )
        return [Decoded(symbol=instrument.symbol, channel=_TOUCH, message=row, rows=level_rows(levels))]

    def _trade(self, content: dict[str, Any]) -> list[Decoded]:
        if content.get("X", "MARKET") != "MARKET":
            self.counts["not_a_trade"] += 1
            return []
        return self._print(content, identity(content, "t"), 1)

    def _aggregate(self, content: dict[str, Any]) -> list[Decoded]:
        first, last = identity(content, "f"), identity(content, "l")
        if not 0 <= last - first < 1 << 31:
            raise BadFrame("bad_ids", f"an aggregate of the trades {first} to {last}")
        return self._print(content, identity(content, "a"), last - first + 1)

    def _print(self, content: dict[str, Any], number: int, fills: int) -> list[Decoded]:
        instrument = self._instrument(content.get("s"))
        exchanged, published, flags = stamps(content, "T")
        price = _positive(content, "p", instrument.price_decimals)
        size = _positive(content, "q", instrument.size_decimals)
        side = -1 if member(content, "m", bool) else 1
        row = message(
            _KIND_TRADE, exchanged=exchanged, published=published, first=number, last=number, flags=flags, count=1
        )
        rows = np.array([(exchanged, price, size, number, fills, side, 0, 0)], TRADE)
        return [Decoded(symbol=instrument.symbol, channel=_TRADE, message=row, rows=rows)]

    def _mark(self, content: dict[str, Any]) -> list[Decoded]:
        instrument = self._instrument(content.get("s"))
        at = moment(content, "E")
        decimals = instrument.price_decimals
        values = [
            (at, rounded(content.get("p"), decimals), 0, Reference.MARK, 0, 0, 0),
        ]
        if "i" in content:
            values.append((at, rounded(content["i"], decimals), 0, Reference.INDEX, 0, 0, 0))
        # Delivery contracts have no funding: their rate is an empty text, or not there.
        if content.get("r", "") != "":
            rate = signed(content.get("r"), FUNDING_DECIMALS)
            values.append((at, rate, moment(content, "T"), Reference.FUNDING, 0, 0, 0))
        row = message(Kind.REFERENCE, exchanged=at, published=at, count=len(values))
        rows = np.array(values, REFERENCE)
        return [Decoded(symbol=instrument.symbol, channel=Channel.MARK, message=row, rows=rows)]

    def _liquidation(self, content: dict[str, Any]) -> list[Decoded]:
        order = member(content, "o", dict)
        instrument = self._instrument(order.get("s"))
        decimals = instrument.price_decimals
        exchanged, published = moment(order, "T"), moment(content, "E")
        side = {"SELL": 1, "BUY": -1}.get(member(order, "S", str))
        if side is None:
            raise BadFrame("bad_side", f"{order['S']!r}, allowed are BUY and SELL")
        average = rounded(order["ap"], decimals) if "ap" in order else 0
        coverage = next(each for since, each in self._coverage if exchanged >= since)
        price, size = _positive(order, "p", decimals), _positive(order, "q", instrument.size_decimals)
        row = message(Kind.LIQUIDATION, exchanged=exchanged, published=published, count=1)
        rows = np.array([(exchanged, price, size, average, side, PriceKind.ORDER_LIMIT, coverage, 0, 0)], LIQUIDATION)
        return [Decoded(symbol=instrument.symbol, channel=Channel.LIQUIDATION, message=row, rows=rows)]

    def _polled(self, instrument: Instrument, channel: Channel, content: dict[str, Any]) -> Decoded:
        if content.get("symbol") != instrument.symbol:
            raise BadFrame("unknown_symbol", f"asked for {instrument.symbol}, got {content.get('symbol')!r}")
        if channel == Channel.OPEN_INTEREST:
            at, what = moment(content, "time"), Reference.OPEN_INTEREST
            value = scaled(content.get("openInterest"), instrument.size_decimals)
        else:
            at, what, rating = moment(content, "updateTime"), Reference.DELEVERAGING, member(content, "adlRisk", str)
            if rating not in RISKS:
                raise BadFrame("bad_risk", f"{rating[:40]!r}, allowed are {', '.join(RISKS)}")
            value = RISKS[rating]
        row = message(Kind.REFERENCE, exchanged=at, published=at, count=1)
        rows = np.array([(at, value, 0, what, 0, 0, 0)], REFERENCE)
        return Decoded(symbol=instrument.symbol, channel=channel, message=row, rows=rows)

    def _shutdown(self, content: dict[str, Any]) -> list[Decoded]:
        at = moment(content, "E")
        return [
            Decoded(
                symbol=symbol,
                channel=None,
                message=message(Kind.STATUS, exchanged=at, published=at, status=Status.MAINTENANCE),
                rows=NOTHING,
            )
            for symbol in self._instruments
        ]


def _parse(frame: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise BadFrame("not_json", str(error)) from error
    if not isinstance(content, dict):
        raise BadFrame("structure", f"a frame must be an object, met {type(content).__name__}")
    return content


def _answer(content: dict[str, Any]) -> list[Decoded]:
    """Pass over an ACK; say an error in the venue's words."""
    if content.get("result", ...) is None and "id" in content:
        return []
    if "error" in content or ("code" in content and "msg" in content):
        raise BadFrame("venue_error", str(content)[:200])
    raise BadFrame("structure", f"neither an event nor an answer: {str(content)[:80]}")


def _positive(content: dict[str, Any], key: str, decimals: int) -> int:
    value = scaled(content.get(key), decimals)
    if value == 0:
        raise BadFrame("zero", f"{key!r} is {content[key]!r}, allowed are values above 0")
    return value
