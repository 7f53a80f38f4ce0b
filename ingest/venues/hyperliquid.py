"""Hyperliquid: perpetuals, and the spot pairs whose names begin with @, of an order book kept on a chain of blocks.

`l2Book` ("Subscriptions", documentation of 2026-11; how often by what was met):
  1. Every message is the whole book as far as it is shown, 20 levels a side, as of the end of a block.
  2. Take it in place of the one before, unless its `time` is earlier: then it is old.
There are no ids, so nothing is ever found missing, and nothing needs to be: the next message mends all. A message came
every 0.5 s until 2026-06, every 2 s after that, and every 5 s since 2026-07-25; with `"fast": true` it holds five
levels every 0.5 s, which are other books and must not be mixed with these. Between books `bbo` tells the best bid and
ask with each block that changed one.

Trades: `side` is the aggressor's, B buys and A sells. The first message of a coin after subscribing is history, up to
minutes old. A `tid` is a hash, 50 bits of it: ids do not grow, and 0 was met. A `hash` of zeros marks the slices of a
longer order, not liquidations.

There is no public feed of liquidations: they are told to the user that they happen to. What these streams say of a
cascade is a lower bound that must come from elsewhere.

`activeAssetCtx` has no clock: its exchange time is 0. `funding` is the rate of one hour; open interest is in coins.
Prices have up to five significant digits and up to 6 (spot 8) minus `szDecimals` decimals; whole ones any digits. So
the step between two prices depends on the price, and `tick` is the smallest that could be.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import Channel, Contract, Flag, Kind, Reference, Rows
from ingest.decimals import shown
from ingest.mirror import Rule
from ingest.venues import Decoded, Emulation, Limits, Stream, Venue
from ingest.venues._fields import LEVELS, identity, member, moment
from ingest.venues._figures import asked, interest, price, rate, whole
from ingest.venues._reading import (
    Level,
    Reader,
    book,
    foreign,
    infer,
    level,
    named_streams,
    parse,
    pick,
    positive,
    references,
    touch,
    trades,
)

NAME: Final = "hyperliquid"
INSTRUMENTS: Final = "/info"
GREETING: Final = b"Websocket connection established."
#: Levels a side of a book.
SHOWN: Final = 20
#: Decimals of a price and of a size together, at most: perpetuals, spot.
DECIMALS: Final = {Contract.LINEAR: 6, Contract.SPOT: 8}
#: Index of the token that a group of perpetuals settles in -> its name.
COLLATERAL: Final = {0: "USDC", 235: "USDE", 360: "USDH"}

#: Subscription, channel, first data within, silent at most (s; 0: exempt).
STREAMS: Final = (
    ("l2Book", Channel.DEPTH, 15, 20),
    ("bbo", Channel.TOUCH, 15, 60),
    ("trades", Channel.TRADE, 0, 300),
    ("activeAssetCtx", Channel.MARK, 15, 30),
)
SIDES: Final = {"B": 1, "A": -1}


def streams(symbols: Sequence[str]) -> tuple[Stream, ...]:
    """List every stream of some symbols."""
    return named_streams(STREAMS, symbols)


def subscribe(streams: Sequence[Stream], method: str = "subscribe") -> tuple[bytes, ...]:
    """Write the requests for some streams, one each."""
    wanted = [stream.name.split(":", 1) for stream in streams]
    return tuple(
        orjson.dumps({"method": method, "subscription": {"type": name, "coin": coin}}) for name, coin in wanted
    )


def unsubscribe(streams: Sequence[Stream]) -> tuple[bytes, ...]:
    """Write the requests that end some streams."""
    return subscribe(streams, "unsubscribe")


class HyperliquidDecoder(Reader):
    """Decode messages; the state is each book's newest time, and which coins' history each connection has shown."""

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        super().__init__(instruments)
        self._newest: dict[str, int] = {}
        self._begun: set[tuple[int, str]] = set()

    def forget(self, connection: int) -> None:
        """Forget whose history a connection has shown."""
        self._begun = {each for each in self._begun if each[0] != connection}

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what a frame says. Raises BadFrame."""
        if frame == GREETING:
            return []
        content = whole(parse(frame))
        match content.get("channel"):
            case "l2Book":
                return self._book(member(content, "data", dict))
            case "bbo":
                return self._best(member(content, "data", dict))
            case "trades":
                return self._trades(member(content, "data", list), connection)
            case "activeAssetCtx" | "activeSpotAssetCtx":
                return self._context(member(content, "data", dict))
            case "subscriptionResponse" | "pong":
                return []
            case "error":
                raise BadFrame("venue_error", str(content.get("data"))[:200])
            case other:
                known = "l2Book, bbo, trades, activeAssetCtx"
                raise BadFrame("unknown_channel", f"{str(other)[:40]!r}, known are {known}")

    def _book(self, content: dict[str, Any]) -> list[Decoded]:
        known, time = self._instrument(content.get("coin")), moment(content, "time")
        sides = member(content, "levels", list)
        if len(sides) != 2 or any(type(side) is not list or len(side) > LEVELS for side in sides):
            raise BadFrame("structure", f"levels are {str(sides)[:40]}, allowed are two lists of up to {LEVELS}")
        bids, asks = ([_level(known, each) for each in side] for side in sides)
        decoded = book(known, Kind.SNAPSHOT, bids, asks, exchanged=time)
        if time < self._newest.get(known.symbol, 0):
            self.counts["old_book"] += 1
            return []
        self._newest[known.symbol] = time
        return [decoded]

    def _best(self, content: dict[str, Any]) -> list[Decoded]:
        known, sides = self._instrument(content.get("coin")), member(content, "bbo", list)
        if len(sides) > 2:
            raise BadFrame("structure", f"bbo is {str(sides)[:40]}, allowed are a bid and an ask")
        bid, ask = ((0, 0) if side is None else _level(known, side) for side in [*sides, None, None][:2])
        return [touch(known, bid, ask, exchanged=moment(content, "time"))]

    def _trades(self, content: list[Any], connection: int) -> list[Decoded]:
        prints: dict[str, list[tuple[int, int, int, int, int, int]]] = {}
        for each in content:
            entry = whole(each)
            known, side = self._instrument(entry.get("coin")), SIDES.get(member(entry, "side", str))
            if side is None:
                raise BadFrame("bad_side", f"{entry['side'][:20]!r}, allowed are A, B")
            worth, size = (
                positive(entry.get("px"), known.price_decimals),
                positive(entry.get("sz"), known.size_decimals),
            )
            row = (moment(entry, "time"), worth, size, identity(entry, "tid"), 1, side)
            prints.setdefault(known.symbol, []).append(row)
        result = []
        for symbol, rows in prints.items():
            flags = 0 if (connection, symbol) in self._begun else int(Flag.HISTORY)
            self._begun.add((connection, symbol))
            result.append(trades(self._instruments[symbol], sorted(rows, key=lambda row: row[0]), flags=flags))
        return result

    def _context(self, content: dict[str, Any]) -> list[Decoded]:
        known, met = self._instrument(content.get("coin")), member(content, "ctx", dict)
        values = [(Reference.MARK, price(known, met.get("markPx")), 0)]
        if met.get("oraclePx") is not None:
            values.append((Reference.INDEX, price(known, met["oraclePx"]), 0))
            values.append((Reference.FUNDING, rate(met.get("funding")), 0))
            values.append((Reference.OPEN_INTEREST, interest(known, met.get("openInterest")), 0))
        return [references(known, Channel.MARK, values, exchanged=0)]


def _level(instrument: Instrument, content: Any) -> Level:
    entry = whole(content)
    return level(instrument, entry.get("px"), entry.get("sz"))


def parse_instruments(body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted symbols' instruments. Raises BadConfig for an unknown symbol, BadFrame for a bad body.

    The body is an answer to "allPerpMetas" (one entry for each group of perpetuals), "meta" or "spotMeta".
    """
    listed = parse(body)
    known: dict[str, tuple[str, str, Contract, int]] = {}
    for group in listed if type(listed) is list else [listed]:
        if "tokens" in whole(group):
            known |= _pairs(group)
            continue
        token = identity(group, "collateralToken") if "collateralToken" in group else 0
        quote = COLLATERAL.get(token, f"@{token}")
        for entry in map(whole, member(group, "universe", list)):
            if entry.get("isDelisted") is not True:
                name = member(entry, "name", str)
                known[name] = (name.rpartition(":")[2], quote, Contract.LINEAR, member(entry, "szDecimals", int))
    return [_instrument(symbol, *found) for symbol, found in zip(symbols, pick(NAME, known, symbols), strict=True)]


def _pairs(listed: dict[str, Any]) -> dict[str, tuple[str, str, Contract, int]]:
    """List the spot pairs of a "spotMeta"; a size has the decimals of its base token."""
    tokens = {identity(whole(token), "index"): token for token in member(listed, "tokens", list)}
    result = {}
    for pair in map(whole, member(listed, "universe", list)):
        indices = member(pair, "tokens", list)
        if len(indices) != 2 or any(type(index) is not int or index not in tokens for index in indices):
            raise BadFrame("structure", f"a pair's tokens are {str(indices)[:40]}, allowed are two that are listed")
        base, quote = (tokens[index] for index in indices)
        names = member(base, "name", str), member(quote, "name", str)
        result[member(pair, "name", str)] = (*names, Contract.SPOT, member(base, "szDecimals", int))
    return result


def _instrument(symbol: str, asset: str, quote: str, contract: Contract, sizes: int) -> Instrument:
    return Instrument(
        venue=NAME,
        symbol=symbol,
        asset=asset,
        quote=quote,
        contract=contract,
        price_decimals=max(DECIMALS[contract] - sizes, 0),
        size_decimals=sizes,
        tick=1,
        lot=1,
    )


@foreign
def infer_instruments(frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that books and trades among the frames show."""
    met: dict[str, list[tuple[str, str]]] = {}
    for content in (asked(frame) for frame in frames if frame.startswith(b"{")):
        entries = content.get("data")
        if content.get("channel") == "l2Book" and type(entries) is dict:
            rows = [row for side in entries["levels"] for row in side]
            met.setdefault(entries["coin"], []).extend((row["px"], row["sz"]) for row in rows)
        elif content.get("channel") == "trades" and type(entries) is list:
            for entry in entries:
                met.setdefault(entry["coin"], []).append((entry["px"], entry["sz"]))
    if not met:
        raise BadConfig(f"no book and no trade of {NAME} among the tape's first {len(frames)} lines")
    return [_inferred(symbol, pairs) for symbol, pairs in met.items()]


def _inferred(symbol: str, pairs: list[tuple[str, str]]) -> Instrument:
    contract = Contract.SPOT if symbol.startswith("@") or "/" in symbol else Contract.LINEAR
    return infer(NAME, symbol, symbol.rpartition(":")[2].partition("/")[0], "USDC", contract, pairs)


def _stream_of(frame: bytes) -> str | None:
    content = {} if frame == GREETING else asked(frame)
    entries = content.get("data")
    first = entries[0] if type(entries) is list and entries else entries
    name = str(content.get("channel")).replace("activeSpotAssetCtx", "activeAssetCtx")
    known = any(name == each for each, _, _, _ in STREAMS)
    return f"{name}:{first['coin']}" if known and type(first) is dict and "coin" in first else None


def _answered(method: str, frame: bytes) -> tuple[tuple[str, ...], bytes] | None:
    content = asked(frame)
    wanted = content.get("subscription")
    if content.get("method") != method or type(wanted) is not dict:
        return None
    answer = {"channel": "subscriptionResponse", "data": {"method": method, "subscription": wanted}}
    return (f"{wanted.get('type')}:{wanted.get('coin')}",), orjson.dumps(answer)


def _whole_book(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    sides = [
        [
            {"px": shown(each, instrument.price_decimals), "sz": shown(size, instrument.size_decimals), "n": 1}
            for each, size in rows[:SHOWN].tolist()
        ]
        for rows in (bids, asks)
    ]
    return orjson.dumps(
        {"channel": "l2Book", "data": {"coin": instrument.symbol, "time": at // 1_000_000, "levels": sides}}
    )


def _listing(instruments: Sequence[Instrument]) -> bytes:
    """Write an answer to "allPerpMetas"; what is spot stands as "spotMeta" beside the groups."""
    groups: dict[str, list[dict[str, Any]]] = {}
    tokens: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for each in instruments:
        if each.contract == Contract.SPOT:
            index = len(tokens)
            tokens.append({"name": each.asset, "index": index, "szDecimals": each.size_decimals})
            tokens.append({"name": each.quote, "index": index + 1, "szDecimals": 8})
            pairs.append({"name": each.symbol, "tokens": [index, index + 1]})
        else:
            groups.setdefault(each.quote, []).append({"name": each.symbol, "szDecimals": each.size_decimals})
    numbers = {name: index for index, name in COLLATERAL.items()}
    metas: list[dict[str, Any]] = [
        {"collateralToken": numbers[quote] if quote in numbers else int(quote.removeprefix("@")), "universe": universe}
        for quote, universe in groups.items()
    ]
    return orjson.dumps([*metas, {"tokens": tokens, "universe": pairs}] if pairs else metas)


VENUE: Final = Venue(
    name=NAME,
    sockets={"public": "wss://api.hyperliquid.xyz"},
    rest="https://api.hyperliquid.xyz",
    limits=Limits(
        sends=20,
        connects=150,
        weight=1200,
        streams=1000,
        # None is documented; a daily change costs nothing.
        lifetime=24 * 3600,
        ping_interval=None,
        ping_timeout=None,
        max_size=4 << 20,
    ),
    streams=streams,
    url=lambda base, socket, streams: f"{base}/ws",
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    decoder=HyperliquidDecoder,
    snapshot_path=lambda symbol: None,
    open_interest_path=lambda symbol: None,
    instruments_path=INSTRUMENTS,
    instruments_query=b'{"type":"allPerpMetas"}',
    parse_instruments=parse_instruments,
    infer_instruments=infer_instruments,
    weight=lambda path: 20,
    sequence="none",
    resync="resubscribe",
    rule=Rule(whole=True),
    numbered=True,
    heartbeat=(b'{"method":"ping"}', 30.0),
    emulation=Emulation(
        route=lambda path: ("instruments", "", 0) if path.partition("?")[0] == INSTRUMENTS else None,
        stream_of=_stream_of,
        streams_of=lambda path: (),
        subscribed=lambda frame: _answered("subscribe", frame),
        unsubscribed=lambda frame: _answered("unsubscribe", frame),
        answer=lambda frame: b'{"channel":"pong"}' if asked(frame).get("method") == "ping" else None,
        snapshot=_whole_book,
        book=_whole_book,
        instruments=_listing,
    ),
)
