"""Bitget's streams and instruments: symbols in, subscriptions out; a listing in, instruments out.

Futures are told apart by the symbol: what ends in PERP is settled in USDC, the rest in USDT.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import Channel, Contract
from ingest.decimals import places, scaled
from ingest.venues import SECOND, Stream
from ingest.venues._fields import member
from ingest.venues._reading import foreign, infer, parse, pick
from ingest.venues._texts import number

INSTRUMENTS: Final = "/api/v3/market/instruments"
#: Subscriptions of one frame at most: Bitget has closed connections over 25, and takes 4096 bytes.
PER_FRAME: Final = 10
#: Currencies of a price, longest first where one ends like another.
QUOTES: Final = ("USDT", "USDC", "USD", "EUR", "BRL", "TRY", "BTC", "ETH")
PERPETUAL: Final = "PERP"

#: Topic, channel, futures only, first data within, silent at most (s; 0: exempt).
STREAMS: Final = (
    ("books", Channel.DEPTH, False, 10, 60),
    ("books1", Channel.TOUCH, False, 10, 60),
    ("publicTrade", Channel.TRADE, False, 0, 300),
    ("ticker", Channel.MARK, True, 10, 30),
    ("liquidation", Channel.LIQUIDATION, True, 0, 0),
)


def futures_kind(symbol: str) -> str:
    """Name a future's `instType`."""
    return "usdc-futures" if symbol.endswith(PERPETUAL) else "usdt-futures"


def spot_kind(symbol: str) -> str:
    """Name spot's `instType`."""
    return "spot"


Kinds = Callable[[str], str]


def make_streams(kind_of: Kinds) -> Callable[[Sequence[str]], tuple[Stream, ...]]:
    """Make the function that lists every stream of some symbols."""
    spot = kind_of is spot_kind

    def streams(symbols: Sequence[str]) -> tuple[Stream, ...]:
        return tuple(
            Stream(
                name=f"{topic}:{kind_of(symbol)}#{symbol}" if topic == "liquidation" else f"{topic}:{symbol}",
                symbol=symbol,
                channel=channel,
                socket="public",
                first=first * SECOND,
                silence=silence * SECOND,
            )
            for symbol in symbols
            for topic, channel, futures, first, silence in STREAMS
            if not (futures and spot)
        )

    return streams


def make_frames(kind_of: Kinds, operation: str) -> Callable[[Sequence[Stream]], tuple[bytes, ...]]:
    """Make the function that subscribes or unsubscribes streams, each subscription once."""

    def frames(streams: Sequence[Stream]) -> tuple[bytes, ...]:
        args = list(dict.fromkeys(orjson.dumps(argument(stream)) for stream in streams))
        groups = [args[start : start + PER_FRAME] for start in range(0, len(args), PER_FRAME)]
        return tuple(b'{"op":"%b","args":[%b]}' % (operation.encode(), b",".join(group)) for group in groups)

    def argument(stream: Stream) -> dict[str, str]:
        topic = stream.name.partition(":")[0]
        arg = {"instType": kind_of(stream.symbol), "topic": topic}
        return arg if topic == "liquidation" else {**arg, "symbol": stream.symbol}

    return frames


def instruments_path(categories: Sequence[str]) -> str:
    """Name the listings of some categories, parted by blanks."""
    return " ".join(f"{INSTRUMENTS}?category={category}" for category in categories)


def parse_instruments(venue: str, kind_of: Kinds, body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted symbols' instruments, of one listing or an array of them. Raises BadConfig, BadFrame."""
    content = parse(body)
    known: dict[str, Any] = {}
    for listing in content if type(content) is list else [content]:
        if type(listing) is not dict or listing.get("code") != "00000":
            raise BadFrame("not_exchange_information", str(listing)[:200])
        for entry in member(listing, "data", list):
            if type(entry) is not dict:
                raise BadFrame("not_exchange_information", f"an instrument is {str(entry)[:40]}, allowed are objects")
            known[member(entry, "symbol", str)] = entry
    return [_instrument(venue, kind_of, entry) for entry in pick(venue, known, symbols)]


@foreign
def infer_instruments(venue: str, kind_of: Kinds, kinds: Sequence[str], frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that the books show, of versions 1 to 3."""
    levels: dict[str, list[tuple[str, str]]] = {}
    others: set[str] = set()
    for frame in frames:
        try:
            content = orjson.loads(frame)
        except orjson.JSONDecodeError:
            continue
        arg = content.get("arg") if isinstance(content, dict) else None
        if not isinstance(arg, dict) or "books" not in (arg.get("topic"), arg.get("channel")) or "data" not in content:
            continue
        if str(arg.get("instType")).lower() not in kinds:
            others.add(str(arg.get("instType")))
            continue
        keys = ("b", "a") if "topic" in arg else ("bids", "asks")
        met = levels.setdefault(str(arg.get("symbol", arg.get("instId"))), [])
        for row in content["data"]:
            met += [(entry[0], entry[1]) for key in keys for entry in row[key]]
    if not levels:
        beside = f", whose books are of {', '.join(sorted(others))}" if others else ""
        raise BadConfig(f"no book of {venue} ({', '.join(kinds)}) among the tape's first {len(frames)} lines{beside}")
    contract = Contract.SPOT if kind_of is spot_kind else Contract.LINEAR
    return [infer(venue, symbol, *_pair(symbol), contract, pairs) for symbol, pairs in levels.items()]


def _pair(symbol: str) -> tuple[str, str]:
    """Tell asset and quote."""
    if symbol.endswith(PERPETUAL) and symbol != PERPETUAL:
        return symbol.removesuffix(PERPETUAL), "USDC"
    quote = next((each for each in QUOTES if symbol.endswith(each) and symbol != each), None)
    if quote is None:
        raise BadConfig(f"cannot tell asset and quote of {symbol!r}; known quotes are {', '.join(QUOTES)}")
    return symbol.removesuffix(quote), quote


def _instrument(venue: str, kind_of: Kinds, entry: dict[str, Any]) -> Instrument:
    symbol, category = member(entry, "symbol", str), member(entry, "category", str)
    if category.lower() != kind_of(symbol):
        raise BadConfig(f"{symbol} of {venue} is listed under {category}, allowed is {kind_of(symbol).upper()}")
    price_decimals, tick = _grid(entry, "pricePrecision", "priceMultiplier")
    size_decimals, lot = _grid(entry, "quantityPrecision", "quantityMultiplier")
    return Instrument(
        venue=venue,
        symbol=symbol,
        asset=member(entry, "baseCoin", str),
        quote=member(entry, "quoteCoin", str),
        contract=Contract.SPOT if kind_of is spot_kind else Contract.LINEAR,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick=tick,
        lot=lot,
    )


def _grid(entry: dict[str, Any], precision: str, multiplier: str) -> tuple[int, int]:
    """Return decimals and step; spot states no step: then it is one unit of the last decimal."""
    decimals = number(entry, precision)
    step = entry.get(multiplier) or ""
    if not step:
        return decimals, 1
    decimals = max(decimals, places(str(step)))
    return decimals, scaled(step, decimals) or 1
