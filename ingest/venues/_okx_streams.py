"""OKX's streams and instruments: symbols in, subscriptions out; a listing in, instruments out.

A symbol says what it is: `BTC-USDT` is spot, `BTC-USDT-SWAP` a perpetual, `BTC-USD-250627` a future. The first two
words are its index. A spot symbol has depth, touch and trades only.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import orjson

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import CONTRACT_SIZE_DECIMALS, Channel, Contract
from ingest.decimals import places, scaled
from ingest.venues import SECOND, Stream
from ingest.venues._fields import member
from ingest.venues._reading import foreign, infer, parse, pick, positive

NAME: Final = "okx"
INSTRUMENTS: Final = "/api/v5/public/instruments"
#: Instruments are listed by type, so there are three paths, parted by blanks.
INSTRUMENTS_PATH: Final = " ".join(f"{INSTRUMENTS}?instType={kind}" for kind in ("SPOT", "SWAP", "FUTURES"))
#: 2026-06-23, ns: `checksum` is 0 in every book from that day on.
CHECKSUM_END: Final = 1_782_172_800_000_000_000
#: Bytes of a subscribe frame at most; OKX refuses 64 KB.
FRAME: Final = 60_000

_DERIVATIVE: Final = re.compile(r"-(?:(SWAP)|\d{6})$")

#: Subscription, channel, derivatives only, first data within, silent at most (s; 0: exempt).
STREAMS: Final = (
    ("books", Channel.DEPTH, False, 10, 60),
    ("bbo-tbt", Channel.TOUCH, False, 10, 60),
    ("trades", Channel.TRADE, False, 0, 300),
    ("mark-price", Channel.MARK, True, 15, 30),
    ("liquidation-orders", Channel.LIQUIDATION, True, 0, 0),
    ("open-interest", Channel.OPEN_INTEREST, True, 15, 60),
)


def kind_of(symbol: str) -> str:
    """Name a symbol's `instType`: SPOT, SWAP or FUTURES."""
    met = _DERIVATIVE.search(symbol)
    return "SPOT" if met is None else ("SWAP" if met[1] else "FUTURES")


def index_of(symbol: str) -> str:
    """Name a derivative's index, as `index-tickers` does: `BTC-USDT`."""
    return "-".join(symbol.split("-")[:2])


def streams(symbols: Sequence[str]) -> tuple[Stream, ...]:
    """List every stream of some symbols."""
    return tuple(
        Stream(
            name=_name(subscription, symbol),
            symbol=symbol,
            channel=channel,
            socket="public",
            first=first * SECOND,
            silence=silence * SECOND,
        )
        for symbol in symbols
        for subscription, channel, derivatives, first, silence in STREAMS
        if not derivatives or kind_of(symbol) != "SPOT"
    )


def subscribe(streams: Sequence[Stream]) -> tuple[bytes, ...]:
    """Ask for streams, each subscription once, in frames that OKX accepts."""
    return _frames("subscribe", streams)


def unsubscribe(streams: Sequence[Stream]) -> tuple[bytes, ...]:
    """End streams. What they share with others ends for those too: send `subscribe` of the same streams after it."""
    return _frames("unsubscribe", streams)


def parse_instruments(body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted symbols' instruments, of one listing or an array of them. Raises BadConfig, BadFrame."""
    content = parse(body)
    known: dict[str, Any] = {}
    for listing in content if type(content) is list else [content]:
        if type(listing) is not dict or listing.get("code") != "0":
            raise BadFrame("not_exchange_information", str(listing)[:200])
        for entry in member(listing, "data", list):
            if type(entry) is not dict:
                raise BadFrame("not_exchange_information", f"an instrument is {str(entry)[:40]}, allowed are objects")
            if entry.get("instType") in ("SPOT", "SWAP", "FUTURES"):
                known[member(entry, "instId", str)] = entry
    return [_instrument(entry) for entry in pick(NAME, known, symbols)]


@foreign
def infer_instruments(frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that the books show; what a contract is worth no frame says: 1 unit."""
    levels: dict[str, list[tuple[str, str]]] = {}
    for frame in frames:
        try:
            content = orjson.loads(frame)
        except orjson.JSONDecodeError:
            continue
        arg = content.get("arg") if isinstance(content, dict) else None
        if not isinstance(arg, dict) or arg.get("channel") != "books" or "data" not in content:
            continue
        met = levels.setdefault(member(arg, "instId", str), [])
        for row in content["data"]:
            met += [(entry[0], entry[1]) for key in ("bids", "asks") for entry in row[key]]
    if not levels:
        raise BadConfig(f"no book of {NAME} among the tape's first {len(frames)} lines")
    inferred = []
    for symbol, pairs in levels.items():
        asset, _, quote = index_of(symbol).partition("-")
        contract = Contract.INVERSE if quote == "USD" else Contract.LINEAR
        inferred.append(
            infer(NAME, symbol, asset, quote, Contract.SPOT if kind_of(symbol) == "SPOT" else contract, pairs)
        )
    return inferred


def _name(subscription: str, symbol: str) -> str:
    if subscription == "liquidation-orders":
        return f"{subscription}:{kind_of(symbol)}#{symbol}"
    return f"{subscription}:{symbol}"


def _args(stream: Stream) -> list[dict[str, str]]:
    """List what a stream subscribes. The mark price brings its index along, and a perpetual's its funding rate."""
    subscription, symbol = stream.name.partition(":")[0], stream.symbol
    if subscription == "liquidation-orders":
        return [{"channel": subscription, "instType": kind_of(symbol)}]
    args = [{"channel": subscription, "instId": symbol}]
    if subscription == "mark-price":
        args.append({"channel": "index-tickers", "instId": index_of(symbol)})
        if kind_of(symbol) == "SWAP":
            args.append({"channel": "funding-rate", "instId": symbol})
    return args


def _frames(operation: str, streams: Sequence[Stream]) -> tuple[bytes, ...]:
    args = dict.fromkeys(orjson.dumps(arg) for stream in streams for arg in _args(stream))
    frames: list[list[bytes]] = []
    size = FRAME
    for arg in args:
        size += len(arg) + 1
        if size > FRAME:
            frames.append([])
            size = len(arg) + 40
        frames[-1].append(arg)
    return tuple(b'{"op":"%b","args":[%b]}' % (operation.encode(), b",".join(each)) for each in frames)


def _instrument(entry: dict[str, Any]) -> Instrument:
    symbol, spot = member(entry, "instId", str), entry["instType"] == "SPOT"
    tick, lot = member(entry, "tickSz", str), member(entry, "lotSz", str)
    price_decimals, size_decimals = places(tick), places(lot)
    if spot:
        asset, quote = member(entry, "baseCcy", str), member(entry, "quoteCcy", str)
        contract, worth = Contract.SPOT, 10**CONTRACT_SIZE_DECIMALS
    else:
        asset, _, quote = (entry.get("uly") or member(entry, "instFamily", str)).partition("-")
        contract = {"linear": Contract.LINEAR, "inverse": Contract.INVERSE}.get(
            str(entry.get("ctType")), Contract.QUANTO
        )
        expected = quote if contract == Contract.INVERSE else asset
        if contract == Contract.QUANTO or entry.get("ctValCcy") != expected:
            raise BadConfig(
                f"{symbol} of {NAME} is {entry.get('ctType')!r} and counts in {entry.get('ctValCcy')!r}, "
                f"allowed are linear ones in {asset} and inverse ones in {quote}"
            )
        worth = scaled(entry.get("ctVal"), CONTRACT_SIZE_DECIMALS) * scaled(entry.get("ctMult"), 0)
    return Instrument(
        venue=NAME,
        symbol=symbol,
        asset=asset,
        quote=quote,
        contract=contract,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick=positive(tick, price_decimals),
        lot=positive(lot, size_decimals),
        contract_size=worth,
    )
