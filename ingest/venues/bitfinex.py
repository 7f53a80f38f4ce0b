"""Bitfinex: spot and margin pairs (tBTCUSD), and perpetuals settled in USDT (tBTCF0:USTF0).

The rule ("WS General", "WS Books", "WebSocket Checksum", documentation of 2026-11):
  1. Ask for `conf` with OB_CHECKSUM, SEQ_ALL and TIMESTAMP before anything else; then each frame ends with its number
     and its time: [channel, content, SEQ, TS].
  2. A `subscribed` event gives a stream its channel number, on this connection alone.
  3. A book's first frame is a list of [price, count, amount]; an amount above 0 is a bid, below 0 an ask.
  4. Each frame after it is one such level: set it where count > 0; where it is 0 delete it, from the bids where the
     amount is 1, from the asks where it is -1. Levels that leave the length asked for are deleted so, too.
  5. SEQ grows by one with every frame of the connection, heartbeats included. Where it does not, a frame was lost, and
     nobody knows whose: connect anew.
  6. A `cs` frame states the book's checksum, to be compared with one's own (`ingest.venues._bitfinex_checksum`).
A frame that is refused does not count as met, so that the next one shows a gap: what cannot be read is as lost.
A heartbeat may precede the event that names its channel (recorded 2021-04).

Trades come twice, as `te` when they happen and as `tu` when they are written down: `te` alone is read. The amount is
above 0 where the aggressor bought. The list that follows subscribing is history, newest first.

`status` with the key `deriv:SYMBOL` tells mark price, spot price as index, funding and when it is due, open interest,
and the balance of the insurance fund. The key `liq:global` tells the liquidations of the whole venue, all of them,
twice: when they are triggered (IS_MATCH 0), and as they are filled (1): the triggers alone are read. An amount above 0
is a long. The price is that at which the system took the position over, or, where it did not, that at which the
position was opened: the feed states no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from engine.errors import BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import Channel, Coverage, Flag, Kind, PriceKind, Reference, Status
from ingest.mirror import Rule
from ingest.venues import SECOND, Decoded, Limits, Stream, Venue
from ingest.venues._bitfinex_checksum import checksum
from ingest.venues._bitfinex_emulation import emulation, name_of
from ingest.venues._bitfinex_instruments import INSTRUMENTS, NAME, infer_instruments, is_derivative, parse_instruments
from ingest.venues._fields import LEVELS, identity, moment
from ingest.venues._figures import interest, price, rate
from ingest.venues._reading import (
    Level,
    Reader,
    book,
    decimal,
    exact,
    level,
    liquidations,
    positive,
    references,
    status,
    trades,
)

PATH: Final = "/ws/2"
#: Flags of `conf`: each frame's time, each frame's number, checksums of books.
TIMESTAMP: Final = 32_768
SEQ_ALL: Final = 65_536
OB_CHECKSUM: Final = 131_072
FLAGS: Final = OB_CHECKSUM + SEQ_ALL + TIMESTAMP
#: Levels a side of a book.
LENGTH: Final = "250"
#: What an `info` event may announce -> the state that begins with it.
CODES: Final = {20051: Status.MAINTENANCE, 20060: Status.MAINTENANCE, 20061: Status.TRADING}
#: Places in a derivative's status; FUNDED is when funding is due next.
SPOT: Final = 3
INSURANCE: Final = 5
FUNDED: Final = 7
FUNDING: Final = 11
MARK: Final = 14
INTEREST: Final = 17


def streams(symbols: Sequence[str]) -> tuple[Stream, ...]:
    """List every stream of some symbols; liquidations are of the whole venue and have a connection of their own."""
    result = []
    for symbol in symbols:
        result += [_stream(f"book:{symbol}", symbol, Channel.DEPTH, 15, 60)]
        result += [_stream(f"trades:{symbol}", symbol, Channel.TRADE, 15, 0)]
        if is_derivative(symbol):
            result += [_stream(f"status:deriv:{symbol}", symbol, Channel.MARK, 30, 60)]
        result += [_stream(f"status:liq:global#{symbol}", symbol, Channel.LIQUIDATION, 0, 0, "liquidations")]
    return tuple(result)


def _stream(name: str, symbol: str, channel: Channel, first: int, silence: int, socket: str = "public") -> Stream:
    seconds = {"first": first * SECOND, "silence": silence * SECOND}
    return Stream(name=name, symbol=symbol, channel=channel, socket=socket, **seconds)


def subscribe(streams: Sequence[Stream]) -> tuple[bytes, ...]:
    """Write `conf`, then one request for each stream."""
    requests: dict[str, dict[str, Any]] = {}
    for stream in streams:
        channel, _, key = stream.name.partition("#")[0].partition(":")
        request = {"event": "subscribe", "channel": channel, "key" if channel == "status" else "symbol": key}
        more = {"prec": "P0", "freq": "F0", "len": LENGTH} if channel == "book" else {}
        requests[stream.name.partition("#")[0]] = request | more
    return tuple(map(orjson.dumps, [{"event": "conf", "flags": FLAGS}, *requests.values()]))


@dataclass(slots=True)
class Wire:
    """What a connection's frames mean."""

    flags: int = FLAGS
    #: Number of the newest frame; -1: none yet.
    last: int = -1
    #: Channel number -> its stream.
    names: dict[int, str] = field(default_factory=dict)


class BitfinexDecoder(Reader):
    """Decode frames; the state is what each connection's events have said, and the number of its newest frame."""

    def __init__(self, instruments: dict[str, Instrument]) -> None:
        super().__init__(instruments)
        self._wires: dict[int, Wire] = {}

    def forget(self, connection: int) -> None:
        """Forget a connection's channels and numbers."""
        self._wires.pop(connection, None)

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what a frame says. Raises BadFrame; Gap of the connection where its numbers have a hole."""
        content, wire = exact(frame), self._wires.get(connection) or Wire()
        if type(content) is dict:
            result = self._event(content, wire)
            self._wires[connection] = wire
            return result
        if type(content) is not list or len(content) < 2:
            raise BadFrame("structure", f"a frame is {str(content)[:40]}, allowed are an event and [channel, content]")
        rest = content[3:] if type(content[1]) is str and content[1] != "hb" else content[2:]
        number = _whole(rest, 0, "SEQ") if wire.flags & SEQ_ALL else -1
        at = 0
        if wire.flags & TIMESTAMP:
            at = moment({"TS": _whole(rest, 1 if wire.flags & SEQ_ALL else 0, "TS")}, "TS")
        if number != wire.last + 1 and -1 not in (number, wire.last):
            expected, wire.last = wire.last + 1, number
            raise Gap("", expected, number)
        result = self._content(wire.names.get(_whole(content, 0, "channel")), content, at)
        wire.last = number
        self._wires[connection] = wire
        return result

    def _event(self, content: dict[str, Any], wire: Wire) -> list[Decoded]:
        match content.get("event"):
            case "conf":
                if content.get("status") != "OK":
                    raise BadFrame("venue_error", str(content)[:200])
                wire.flags = identity(content, "flags")
            case "subscribed":
                prec = content.get("prec", "P0")
                wire.names[identity(content, "chanId")] = name_of(content) if prec == "P0" else f"book{prec}:"
            case "unsubscribed":
                wire.names.pop(identity(content, "chanId"), None)
            case "info":
                return self._information(content)
            case "error":
                raise BadFrame("venue_error", str(content)[:200])
            case "pong":
                pass
            case other:
                known = "conf, subscribed, unsubscribed, info, error, pong"
                raise BadFrame("unknown_channel", f"event {str(other)[:40]!r}, known are {known}")
        return []

    def _information(self, content: dict[str, Any]) -> list[Decoded]:
        code, platform = content.get("code"), content.get("platform")
        state = CODES.get(code) if type(code) is int else None
        if type(platform) is dict and platform.get("status") == 0:
            state = Status.MAINTENANCE
        if state is None:
            return []
        self.counts[f"info_{state.name.lower()}"] += 1
        return [status(each, state) for each in self._instruments.values()]

    def _content(self, name: str | None, content: list[Any], at: int) -> list[Decoded]:
        if content[1] == "hb":
            return []
        if name is None:
            raise BadFrame("unknown_channel", f"{content[0]} was not subscribed on this connection")
        what, _, key = name.partition(":")
        if what == "status" and key == "liq:global":
            return self._liquidations(content[1], at)
        if what == "status" and key.startswith("deriv:"):
            return self._derivative(self._instrument(key.removeprefix("deriv:")), content[1], at)
        if what == "book":
            return self._book(self._instrument(key), content, at)
        if what == "trades":
            return self._trades(self._instrument(key), content, at)
        # Not asked for by us; its frames count in the connection's numbers all the same.
        self.counts[f"channel_{what}"] += 1
        return []

    def _book(self, instrument: Instrument, content: list[Any], at: int) -> list[Decoded]:
        rows = content[1]
        clocks = {"exchanged": at, "published": at}
        if rows == "cs":
            stated = content[2]
            if type(stated) is not int or not -(1 << 31) <= stated < 1 << 31:
                raise BadFrame("bad_checksum", f"{str(stated)[:40]!r}, allowed are integers of 32 bits")
            return [book(instrument, Kind.DELTA, [], [], **clocks, checksum=stated)]
        kind = Kind.SNAPSHOT
        if type(rows) is list and rows and type(rows[0]) is not list:
            kind, rows = Kind.DELTA, [rows]
        if type(rows) is not list or len(rows) > LEVELS:
            raise BadFrame("structure", f"a book's content is {str(rows)[:40]}, allowed are up to {LEVELS} levels")
        bids: list[Level] = []
        asks: list[Level] = []
        for row in rows:
            side, met = _level(instrument, row)
            (bids if side > 0 else asks).append(met)
        return [book(instrument, kind, bids, asks, **clocks)]

    def _trades(self, instrument: Instrument, content: list[Any], at: int) -> list[Decoded]:
        if content[1] == "tu":
            return []
        rows, flags = content[1], int(Flag.HISTORY)
        if rows == "te":
            rows, flags = [content[2]], 0
        if type(rows) is not list:
            raise BadFrame("structure", f"trades are {str(rows)[:40]}, allowed are te, tu and a list")
        prints = []
        for row in rows:
            if type(row) is not list or len(row) < 4:
                raise BadFrame("structure", f"a trade is {str(row)[:60]}, allowed is [id, time, amount, price]")
            named = {"ID": row[0], "MTS": row[1]}
            side, size = _amount(instrument, row[2])
            paid = positive(decimal(row[3]), instrument.price_decimals)
            prints.append((moment(named, "MTS"), paid, size, identity(named, "ID"), 1, side))
        prints.sort(key=lambda each: (each[0], each[3]))
        return [trades(instrument, prints, published=at, flags=flags)] if prints else []

    def _derivative(self, instrument: Instrument, content: Any, at: int) -> list[Decoded]:
        if type(content) is not list or len(content) <= INTEREST:
            raise BadFrame("structure", f"a status is {str(content)[:60]}, allowed are more than {INTEREST} places")
        exchanged = moment({"MTS": content[0]}, "MTS")
        values = []
        for what, place in ((Reference.MARK, MARK), (Reference.INDEX, SPOT)):
            if content[place] is not None:
                values.append((what, price(instrument, content[place]), 0))
        if content[FUNDING] is not None:
            due = 0 if content[FUNDED] is None else moment({"due": content[FUNDED]}, "due")
            values.append((Reference.FUNDING, rate(content[FUNDING]), due))
        if content[INTEREST] is not None:
            values.append((Reference.OPEN_INTEREST, interest(instrument, content[INTEREST]), 0))
        if content[INSURANCE] is not None:
            values.append((Reference.INSURANCE, rate(content[INSURANCE], 8), 0))
        if not values:
            return []
        return [references(instrument, Channel.MARK, values, exchanged=exchanged, published=at)]

    def _liquidations(self, content: Any, at: int) -> list[Decoded]:
        if type(content) is not list:
            raise BadFrame("structure", f"liquidations are {str(content)[:40]}, allowed is a list")
        orders: dict[str, list[tuple[int, int, int, int, int]]] = {}
        others, fills = 0, 0
        for row in content if not content or type(content[0]) is list else [content]:
            if type(row) is not list or len(row) < 10 or row[0] != "pos" or type(row[8]) is not int:
                raise BadFrame("structure", f"a liquidation is {str(row)[:80]}, allowed is [pos, id, time, null, ...]")
            known = self._instruments.get(row[4]) if type(row[4]) is str else None
            if row[8] != 0:
                fills += 1
            elif known is None:
                others += 1
            else:
                side, size = _amount(known, row[5])
                taken = row[11] if len(row) > 11 and row[11] not in (None, 0) else row[6]
                paid = price(known, taken)
                if paid == 0:
                    raise BadFrame("zero", f"a liquidation at the price {taken!r}")
                orders.setdefault(known.symbol, []).append((moment({"MTS": row[2]}, "MTS"), paid, size, 0, side))
        self.counts.update({name: count for name, count in (("other_symbol", others), ("fill", fills)) if count})
        return [
            liquidations(self._instruments[symbol], found, PriceKind.BANKRUPTCY, Coverage.ALL, published=at)
            for symbol, found in orders.items()
        ]


def _whole(content: list[Any], place: int, name: str) -> int:
    """Return an integer from 0 on at a place of a frame."""
    return identity({name: content[place] if len(content) > place else None}, name)


def _amount(instrument: Instrument, value: Any) -> tuple[int, int]:
    """Return the sign of an amount, and its size."""
    text = decimal(value)
    if type(text) is str and text.startswith("-"):
        return -1, positive(text[1:], instrument.size_decimals)
    return 1, positive(text, instrument.size_decimals)


def _level(instrument: Instrument, row: Any) -> tuple[int, Level]:
    """Return side and level of [price, count, amount]; of a deletion the amount tells the side alone."""
    if type(row) is not list or len(row) != 3 or type(row[1]) is not int or row[1] < 0:
        raise BadFrame("structure", f"a level is {str(row)[:60]}, allowed is [price, count, amount]")
    if row[1] > 0:
        side, size = _amount(instrument, row[2])
    elif type(row[2]) is int and row[2] in (1, -1):
        side, size = row[2], 0
    else:
        raise BadFrame("structure", f"a level is {str(row)[:60]}, allowed with a count of 0 is the amount 1 or -1")
    return side, (level(instrument, decimal(row[0]), "0")[0], size)


VENUE: Final = Venue(
    name=NAME,
    sockets={"public": "wss://api-pub.bitfinex.com", "liquidations": "wss://api-pub.bitfinex.com"},
    # Where authenticated clients go; it has the public channels, too.
    hosts=("api.bitfinex.com",),
    rest="https://api-pub.bitfinex.com",
    limits=Limits(
        sends=10,
        # 20 a minute.
        connects=100,
        weight=90,
        streams=25,
        # None is documented; a daily change costs nothing.
        lifetime=24 * 3600,
        ping_interval=None,
        ping_timeout=None,
        max_size=4 << 20,
    ),
    streams=streams,
    url=lambda base, socket, streams: base + PATH,
    subscribe=subscribe,
    decoder=BitfinexDecoder,
    snapshot_path=lambda symbol: None,
    open_interest_path=lambda symbol: None,
    instruments_path=INSTRUMENTS,
    parse_instruments=parse_instruments,
    infer_instruments=infer_instruments,
    weight=lambda path: 1,
    sequence="none",
    resync="reconnect",
    rule=Rule(checksum=checksum),
    numbered=True,
    heartbeat=(b'{"event":"ping","cid":1}', 30.0),
    emulation=emulation(),
)
