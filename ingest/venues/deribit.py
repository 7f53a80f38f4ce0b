"""Deribit: futures and perpetuals settled in coins (inverse) or in stablecoins (linear), and spot. JSON-RPC 2.0.

`book.X.100ms` ("Order book updates", documentation of 2026-11):
  1. The first notification is the whole book (`type` "snapshot"; before 2021 there was no `type`, a message without
     `prev_change_id` was one).
  2. Those after it hold changes only, as [action, price, amount]; the action is new, change or delete.
  3. Each names itself (`change_id`) and the one before it (`prev_change_id`); where that is not the last one met,
     messages are missing: subscribe again, which brings the whole book again.
  4. A `prev_change_id` of 0 begins a book anew, whatever `type` says (recorded 2021-09: a book made whole after
     maintenance).
The interval `raw` says the same more often, and needs a login; frames of any interval are read here.

Amounts are quote units (USD) of inverse contracts, base units of all others: one unit of size is one of those.

Liquidations come among the trades, all of them: `liquidation` is "T" where the taker's order was a liquidation, "M"
where the maker's was, "MT" where both were. A liquidated taker that sells was long; a liquidated maker was long where
the taker buys. The trade is told as a trade, too. Trade ids are `trade_seq`, which grows by one with every trade of
its instrument (`trade_id` is unique in a currency, and a text outside of BTC).

Funding is paid continuously: `current_funding` is the rate of eight hours as of now, and there is no next time.
A block trade may print at a price between two ticks (`block_trade_tick_size`), so decimals are chosen for those, too.
Combinations of contracts are no instruments here: their prices may be negative.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import Channel, Contract, Coverage, Kind, PriceKind, Reference, Rows, Status
from ingest.decimals import scaled
from ingest.venues import Decoded, Emulation, Limits, Stream, Venue
from ingest.venues._fields import LEVELS, identity, member, moment
from ingest.venues._figures import asked, interest, levels, most_places, parted, parts, price, printed, rate, whole
from ingest.venues._reading import (
    Level,
    Reader,
    book,
    decimal,
    exact,
    foreign,
    infer,
    level,
    liquidations,
    named_streams,
    pick,
    positive,
    references,
    status,
    touch,
    trades,
)

NAME: Final = "deribit"
PATH: Final = "/ws/api/v2"
INSTRUMENTS: Final = "/api/v2/public/get_instruments"
#: Channels of one public/subscribe at most.
CHANNELS: Final = 500
#: Credits of a request, and of a list of instruments.
CREDITS: Final = 500
LIST_CREDITS: Final = 10_000
HEARTBEAT: Final = b'{"jsonrpc":"2.0","id":9098,"method":"public/test","params":{}}'

#: Stream, channel, first data within, silent at most (s; 0: exempt).
STREAMS: Final = (
    ("book.{}.100ms", Channel.DEPTH, 10, 30),
    ("quote.{}", Channel.TOUCH, 10, 30),
    ("trades.{}.100ms", Channel.TRADE, 0, 300),
    ("ticker.{}.100ms", Channel.MARK, 10, 10),
    ("trades.{0}.100ms#{0}", Channel.LIQUIDATION, 0, 0),
)
ACTIONS: Final = ("new", "change", "delete")
SIDES: Final = {"buy": 1, "sell": -1}
#: Whose order was a liquidation -> the side of a position that is liquidated, per side of the aggressor.
LIQUIDATED: Final = {"T": (-1,), "M": (1,), "MT": (-1, 1)}


def streams(symbols: Sequence[str]) -> tuple[Stream, ...]:
    """List every stream of some symbols; liquidations are among the trades."""
    return named_streams(STREAMS, symbols, str.format)


def subscribe(streams: Sequence[Stream], method: str = "public/subscribe") -> tuple[bytes, ...]:
    """Write the requests for some streams."""
    channels = parted([stream.name for stream in streams])
    return tuple(
        orjson.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": {"channels": part}})
        for number, part in enumerate(parts(channels, CHANNELS), 1)
    )


def unsubscribe(streams: Sequence[Stream]) -> tuple[bytes, ...]:
    """Write the requests that end some streams."""
    return subscribe(streams, "public/unsubscribe")


class DeribitDecoder(Reader):
    """Decode notifications; the only state is which instruments were last said to be closed."""

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        super().__init__(instruments)
        self._closed: set[str] = set()
        self._channels = {
            ("book", 3): self._book,
            ("trades", 3): self._trades,
            ("ticker", 3): self._ticker,
            ("quote", 2): self._quote,
        }

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what a frame says. Raises BadFrame."""
        content = whole(exact(frame))
        method = content.get("method")
        if method == "subscription":
            params = member(content, "params", dict)
            names = member(params, "channel", str).split(".")
            read = self._channels.get((names[0], len(names)))
            if read is None:
                raise BadFrame("unknown_channel", f"{params['channel'][:60]!r}, known are book, trades, ticker, quote")
            return read(self._instrument(names[1]), params.get("data"))
        if method == "heartbeat":
            self.counts[f"heartbeat_{str(member(content, 'params', dict).get('type'))[:20]}"] += 1
            return []
        if "error" in content:
            raise BadFrame("venue_error", str(content["error"])[:200])
        if "result" in content:
            return []
        raise BadFrame("structure", f"a frame has the keys {str(sorted(content))[:80]}, allowed is JSON-RPC")

    def _book(self, instrument: Instrument, content: Any) -> list[Decoded]:
        content = _of(instrument, content)
        last, exchanged = identity(content, "change_id"), moment(content, "timestamp")
        linked = content.get("prev_change_id") is not None
        previous = identity(content, "prev_change_id") if linked else 0
        named = content.get("type", "change" if linked else "snapshot")
        if named not in ("snapshot", "change"):
            raise BadFrame("structure", f"type is {str(named)[:40]!r}, allowed are snapshot, change")
        bids, asks = _side(instrument, content, "bids"), _side(instrument, content, "asks")
        if named == "snapshot" or previous == 0:
            bids, asks = [each for each in bids if each[1]], [each for each in asks if each[1]]
            return [book(instrument, Kind.SNAPSHOT, bids, asks, exchanged=exchanged, first=last, last=last)]
        ids = {"first": last, "last": last, "previous": previous}
        return [book(instrument, Kind.DELTA, bids, asks, exchanged=exchanged, **ids)]

    def _trades(self, instrument: Instrument, content: Any) -> list[Decoded]:
        if type(content) is not list:
            raise BadFrame("structure", f"trades are {str(content)[:40]}, allowed is a list")
        prints, orders = [], []
        for each in content:
            entry = _of(instrument, each)
            at, side = moment(entry, "timestamp"), SIDES.get(member(entry, "direction", str))
            whose = entry.get("liquidation")
            if side is None or not (whose is None or (type(whose) is str and whose in LIQUIDATED)):
                raise BadFrame("bad_side", f"direction {entry['direction'][:20]!r}, liquidation {str(whose)[:20]!r}")
            paid = positive(decimal(entry.get("price")), instrument.price_decimals)
            size = positive(decimal(entry.get("amount")), instrument.size_decimals)
            prints.append((at, paid, size, identity(entry, "trade_seq"), 1, side))
            orders += [(at, paid, size, paid, side * sign) for sign in LIQUIDATED.get(whose or "", ())]
        result = [trades(instrument, prints)] if prints else []
        if orders:
            result.append(liquidations(instrument, orders, PriceKind.TRADE, Coverage.ALL))
        return result

    def _ticker(self, instrument: Instrument, content: Any) -> list[Decoded]:
        content = _of(instrument, content)
        exchanged, state = moment(content, "timestamp"), member(content, "state", str)
        values = [
            (Reference.MARK, price(instrument, content.get("mark_price")), 0),
            (Reference.INDEX, price(instrument, content.get("index_price")), 0),
        ]
        if content.get("current_funding") is not None:
            values.append((Reference.FUNDING, rate(content["current_funding"]), 0))
        values.append((Reference.OPEN_INTEREST, interest(instrument, content.get("open_interest")), 0))
        result = [references(instrument, Channel.MARK, values, exchanged=exchanged)]
        if (state != "open") != (instrument.symbol in self._closed):
            self._closed ^= {instrument.symbol}
            said = Status.TRADING if state == "open" else Status.HALTED
            result.append(status(instrument, said, exchanged=exchanged))
        return result

    def _quote(self, instrument: Instrument, content: Any) -> list[Decoded]:
        content = _of(instrument, content)
        bid, ask = (_best(instrument, content, side) for side in ("bid", "ask"))
        return [touch(instrument, bid, ask, exchanged=moment(content, "timestamp"))]


def _of(instrument: Instrument, content: Any) -> dict[str, Any]:
    """Return the object inside a notification, which must speak of its channel's instrument."""
    entry = whole(content)
    if entry.get("instrument_name") != instrument.symbol:
        raise BadFrame("unknown_symbol", f"{str(entry.get('instrument_name'))[:40]!r} on {instrument.symbol}'s channel")
    return entry


def _side(instrument: Instrument, content: dict[str, Any], key: str) -> list[Level]:
    entries = member(content, key, list)
    if len(entries) > LEVELS:
        raise BadFrame("too_long", f"{key!r} has {len(entries)} levels, allowed are {LEVELS}")
    result = []
    for entry in entries:
        if type(entry) is not list or len(entry) != 3 or entry[0] not in ACTIONS:
            raise BadFrame("structure", f"a level is {str(entry)[:60]}, allowed is [new|change|delete, price, amount]")
        worth, size = level(instrument, decimal(entry[1]), decimal(entry[2]))
        if (entry[0] == "delete") != (size == 0):
            raise BadFrame("structure", f"a level is {str(entry)[:60]}: an amount of 0 and delete go together")
        result.append((worth, size))
    return result


def _best(instrument: Instrument, content: dict[str, Any], side: str) -> Level:
    worth, size = content.get(f"best_{side}_price"), content.get(f"best_{side}_amount")
    if not worth or not size or not scaled(decimal(size), instrument.size_decimals):
        return (0, 0)
    return level(instrument, decimal(worth), decimal(size))


def parse_instruments(body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted symbols' instruments. Raises BadConfig for an unknown symbol, BadFrame for a bad body."""
    known = {}
    for entry in member(whole(exact(body)), "result", list):
        if member(whole(entry), "kind", str) in ("future", "option", "spot"):
            known[member(entry, "instrument_name", str)] = entry
    return [_instrument(entry) for entry in pick(NAME, known, symbols)]


def _instrument(entry: dict[str, Any]) -> Instrument:
    steps = [whole(step).get("tick_size") for step in entry.get("tick_size_steps") or []]
    prices = most_places(entry.get("tick_size"), entry.get("block_trade_tick_size"), *steps)
    sizes = most_places(entry.get("min_trade_amount"), entry.get("contract_size"))
    quote = member(entry, "quote_currency", str)
    return Instrument(
        venue=NAME,
        symbol=entry["instrument_name"],
        asset=member(entry, "base_currency", str),
        quote=quote,
        contract=_contract(entry["kind"], entry.get("instrument_type", entry.get("future_type")), quote),
        price_decimals=prices,
        size_decimals=sizes,
        tick=positive(decimal(entry.get("tick_size")), prices),
        lot=positive(decimal(entry.get("min_trade_amount")), sizes),
    )


def _contract(kind: str, named: Any, quote: str) -> Contract:
    """Tell how a size becomes money: an option's price is in its quote currency, the coin where it settles in that."""
    if kind != "future":
        return Contract.SPOT if kind == "spot" else Contract.LINEAR
    # Listings of 2021 name no type; all that had a price in USD were inverse.
    return (
        Contract.INVERSE if (named or ("reversed" if quote == "USD" else "linear")) == "reversed" else Contract.LINEAR
    )


@foreign
def infer_instruments(frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that books and trades among the frames show."""
    met: dict[str, list[tuple[Any, Any]]] = {}
    for symbol, pair in (found for frame in frames for found in _pairs(frame)):
        met.setdefault(symbol, []).append(pair)
    if not met:
        raise BadConfig(f"no book and no trade of {NAME} among the tape's first {len(frames)} lines")
    return [infer(NAME, symbol, *_told(symbol), pairs) for symbol, pairs in met.items()]


def _pairs(frame: bytes) -> Iterator[tuple[str, tuple[Any, Any]]]:
    params = asked(frame).get("params")
    if type(params) is not dict or str(params.get("channel")).partition(".")[0] not in ("book", "trades"):
        return
    content: Any = exact(frame)["params"].get("data")
    for entry in map(whole, content if type(content) is list else [content]):
        symbol = member(entry, "instrument_name", str)
        if "price" in entry:
            yield symbol, (entry["price"], entry.get("amount"))
        for row in entry.get("bids", []) + entry.get("asks", []):
            yield symbol, (row[1], row[2])


def _told(symbol: str) -> tuple[str, str, Contract]:
    """Tell asset, quote and contract by an instrument's name: BTC-PERPETUAL, SOL_USDC-PERPETUAL, BTC_USDC."""
    pair, dash, rest = symbol.partition("-")
    asset, linear, quote = pair.partition("_")
    if rest.endswith(("-C", "-P")):
        return asset, quote or asset, Contract.LINEAR
    if not linear:
        return asset, "USD", Contract.INVERSE
    return asset, quote, Contract.LINEAR if dash else Contract.SPOT


def _stream_of(frame: bytes) -> str | None:
    params = asked(frame).get("params")
    channel = params.get("channel") if type(params) is dict else None
    # A tape of the raw interval plays as ours.
    return None if type(channel) is not str else channel.removesuffix(".raw") + ".100ms" * channel.endswith(".raw")


def _answered(method: str, frame: bytes) -> tuple[tuple[str, ...], bytes] | None:
    content = asked(frame)
    if content.get("method") != method:
        return None
    channels = content.get("params", {}).get("channels", [])
    return tuple(channels), orjson.dumps({"jsonrpc": "2.0", "id": content.get("id"), "result": channels})


def _answer(frame: bytes) -> bytes | None:
    content = asked(frame)
    if content.get("method") != "public/test":
        return None
    return orjson.dumps({"jsonrpc": "2.0", "id": content.get("id"), "result": {"version": "1.2.26"}})


def _whole_book(instrument: Instrument, last: int, at: int, bids: Rows, asks: Rows) -> bytes:
    content = {
        "type": "snapshot",
        "timestamp": at // 1_000_000,
        "instrument_name": instrument.symbol,
        "change_id": last,
        "bids": [("new", *each) for each in levels(instrument, bids)],
        "asks": [("new", *each) for each in levels(instrument, asks)],
    }
    params = {"channel": f"book.{instrument.symbol}.100ms", "data": content}
    return orjson.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params})


def _listing(instruments: Sequence[Instrument]) -> bytes:
    kinds = {Contract.SPOT: ("spot", "linear"), Contract.INVERSE: ("future", "reversed")}
    entries = []
    for each in instruments:
        kind, named = kinds.get(each.contract, ("future", "linear"))
        entries.append(
            {
                "instrument_name": each.symbol,
                "kind": kind,
                "instrument_type": named,
                "base_currency": each.asset,
                "quote_currency": each.quote,
                "tick_size": printed(each.tick, each.price_decimals),
                "min_trade_amount": printed(each.lot, each.size_decimals),
            }
        )
    return orjson.dumps({"jsonrpc": "2.0", "result": entries})


VENUE: Final = Venue(
    name=NAME,
    sockets={"public": "wss://www.deribit.com"},
    rest="https://www.deribit.com",
    limits=Limits(
        sends=3,
        connects=100,
        weight=60 * LIST_CREDITS,
        streams=CHANNELS,
        # None is documented; a daily change costs nothing.
        lifetime=24 * 3600,
        ping_interval=None,
        ping_timeout=None,
        max_size=8 << 20,
    ),
    streams=streams,
    url=lambda base, socket, streams: base + PATH,
    subscribe=subscribe,
    unsubscribe=unsubscribe,
    decoder=DeribitDecoder,
    snapshot_path=lambda symbol: None,
    open_interest_path=lambda symbol: None,
    instruments_path=f"{INSTRUMENTS}?currency=any&expired=false",
    parse_instruments=parse_instruments,
    infer_instruments=infer_instruments,
    weight=lambda path: LIST_CREDITS if path.startswith(INSTRUMENTS) else CREDITS,
    sequence="linked",
    resync="resubscribe",
    heartbeat=(HEARTBEAT, 15.0),
    emulation=Emulation(
        route=lambda path: ("instruments", "", 0) if path.partition("?")[0] == INSTRUMENTS else None,
        stream_of=_stream_of,
        streams_of=lambda path: (),
        subscribed=lambda frame: _answered("public/subscribe", frame),
        unsubscribed=lambda frame: _answered("public/unsubscribe", frame),
        answer=_answer,
        snapshot=_whole_book,
        book=_whole_book,
        instruments=_listing,
    ),
)
