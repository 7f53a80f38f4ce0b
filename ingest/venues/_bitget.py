"""Bitget's frames in, rows out: one decoder for spot and futures, of version 3 and, for books, of versions 1 and 2.

Version 3 (unified account) has `{"action", "arg": {instType, topic, symbol}, "data": [...], "ts"}`; 1 and 2 have
`channel` and `instId` in `arg`, `asks` and `bids` in a book. Of those only `books` is read, for the tapes that have it;
other channels of theirs are refused as `dead_protocol`. Answers are `{"event": ...}`, a heartbeat is the text `pong`.

Facts, from the documentation of version 3 and from frames that others recorded in September 2026: ids are bare integers
beyond 2^53, texts in the documentation; sizes count the base coin; the first frame of `publicTrade` is a `snapshot` of
past trades, newest first; `openInterest` comes with the digits of a float (`32117.3964999999767`) and is rounded, as
mark and index prices are. A liquidation's `side` is the position's, so `buy` means that a long was liquidated; its
`amount` is money: the documentation's own example, 37.722858 of BTCUSDT, has more places than any size of that symbol.
It becomes a size by its price, to the nearest unit, and never less than one. Which price that is, Bitget does not say;
its engine takes positions over at the bankruptcy price.
"""

from collections.abc import Callable
from typing import Any, Final

from engine.errors import BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import FUNDING_DECIMALS, Channel, Coverage, Flag, Kind, PriceKind, Reference
from ingest.decimals import LIMIT, rounded
from ingest.mirror import Mirror
from ingest.venues import Decoded
from ingest.venues._fields import member
from ingest.venues._reading import Reader, book, liquidations, parse, positive, references, touch, trades
from ingest.venues._texts import COVERED, best, milliseconds, number, rate, side, signed_crc

Row = dict[str, Any]

ANSWERS: Final = ("subscribe", "unsubscribe", "login")
#: Decimals that an amount of money is read with.
MONEY: Final = 8

#: Field of a ticker -> what it is.
_PRICES: Final = (("markPrice", Reference.MARK), ("indexPrice", Reference.INDEX))


def checksum(mirror: Mirror) -> int:
    """Compute the checksum of versions 1 and 2: CRC32 of the 25 best levels, numbers with all their decimals."""
    return signed_crc(mirror.instrument, *mirror.best(COVERED))


class BitgetDecoder(Reader):
    """Frames of some instruments in, rows out."""

    def __init__(self, kinds: tuple[str, ...], instruments: dict[str, Instrument]) -> None:
        """Begin; `kinds` are the values of `instType` that are this venue's, in lower case."""
        super().__init__(instruments)
        self._kinds = kinds
        self._topics: dict[str, Callable[[Instrument, Row, Row, int], Decoded | None]] = {
            "books": self._book,
            "books1": self._touch,
            "ticker": self._ticker,
        }

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what the frame says: nothing for an ACK or a heartbeat. Raises BadFrame, Gap."""
        if frame == b"pong":
            return []
        content = parse(frame)
        if type(content) is not dict:
            raise BadFrame("structure", f"a frame must be an object, met {type(content).__name__}")
        if "event" in content:
            if content["event"] not in ANSWERS:
                raise BadFrame("venue_error", str(content)[:200])
            return []
        arg, rows = member(content, "arg", dict), member(content, "data", list)
        kind = member(arg, "instType", str)
        if kind.lower() not in self._kinds:
            raise BadFrame("wrong_stream", f"'instType' is {kind[:40]!r}, allowed are {', '.join(self._kinds)}")
        if "topic" not in arg:
            return self._old(arg, content, rows)
        if not rows or any(type(row) is not dict for row in rows):
            raise BadFrame("structure", f"'data' is {str(rows)[:40]}, allowed is a list of objects")
        topic, published = member(arg, "topic", str), milliseconds(content, "ts")
        if topic == "liquidation":
            return self._liquidations(rows, published)
        if topic == "publicTrade":
            instrument = self._instrument(arg.get("symbol"))
            return [self._trades(instrument, rows, published, content.get("action") == "snapshot")]
        decode = self._topics.get(topic)
        if decode is None:
            known = ", ".join([*self._topics, "publicTrade", "liquidation"])
            raise BadFrame("unknown_channel", f"{topic[:40]!r}, known are {known}")
        instrument = self._instrument(arg.get("symbol"))
        found = [decode(instrument, content, row, published) for row in rows]
        return [decoded for decoded in found if decoded is not None]

    def _book(self, instrument: Instrument, content: Row, row: Row, published: int) -> Decoded:
        whole = _is_whole(content)
        bids, asks = side(instrument, row, "b"), side(instrument, row, "a")
        at, last = milliseconds(row, "ts"), number(row, "seq")
        previous = -1 if whole else number(row, "pseq")
        if previous == 0:
            # The sequence began anew, and what it began with is not shown.
            raise Gap(instrument.key, 0, last)
        kind = Kind.SNAPSHOT if whole else Kind.DELTA
        stamps = {"exchanged": at, "published": published}
        return book(instrument, kind, bids, asks, **stamps, first=last, last=last, previous=previous)

    def _old(self, arg: Row, content: Row, rows: list[Any]) -> list[Decoded]:
        """Read a book of version 1 or 2; without ids, as version 1 has them, all are 0."""
        if arg.get("channel") != "books":
            raise BadFrame("dead_protocol", f"channel {str(arg.get('channel'))[:40]!r} is not of version 3")
        if not rows or any(type(row) is not dict for row in rows):
            raise BadFrame("structure", f"'data' is {str(rows)[:40]}, allowed is a list of objects")
        instrument, whole = self._instrument(arg.get("instId")), _is_whole(content)
        decoded = []
        for row in rows:
            bids, asks = side(instrument, row, "bids"), side(instrument, row, "asks")
            last = number(row, "seq") if "seq" in row else 0
            previous = number(row, "pseq") if "seq" in row else 0
            if last and not previous and not whole:
                raise Gap(instrument.key, 0, last)
            stated = member(row, "checksum", int) if "checksum" in row else 0
            decoded.append(
                book(
                    instrument,
                    Kind.SNAPSHOT if whole else Kind.DELTA,
                    bids,
                    asks,
                    exchanged=milliseconds(row, "ts"),
                    first=last,
                    last=last,
                    previous=-1 if whole else previous,
                    checksum=stated or None,
                )
            )
        return decoded

    def _touch(self, instrument: Instrument, content: Row, row: Row, published: int) -> Decoded:
        bid, ask = best(side(instrument, row, "b")), best(side(instrument, row, "a"))
        last = number(row, "seq") if "seq" in row else 0
        return touch(instrument, bid, ask, exchanged=milliseconds(row, "ts"), published=published, last=last)

    def _trades(self, instrument: Instrument, rows: list[Row], published: int, history: bool) -> Decoded:
        prints = []
        for row in rows:
            price = positive(row.get("p"), instrument.price_decimals)
            size = positive(row.get("v"), instrument.size_decimals)
            prints.append((milliseconds(row, "T"), number(row, "i"), price, size, _direction(row, "S")))
        ordered = [(at, price, size, identity, 1, aggressor) for at, identity, price, size, aggressor in sorted(prints)]
        return trades(instrument, ordered, published=published, flags=int(Flag.HISTORY) if history else 0)

    def _ticker(self, instrument: Instrument, content: Row, row: Row, published: int) -> Decoded | None:
        values = []
        for key, what in _PRICES:
            if row.get(key):
                price = rounded(row[key], instrument.price_decimals)
                values += [(what, price, 0)] if price else []
        if row.get("fundingRate") and row.get("nextFundingTime") not in (None, "", "0"):
            values.append(
                (Reference.FUNDING, rate(row["fundingRate"], FUNDING_DECIMALS), milliseconds(row, "nextFundingTime"))
            )
        if row.get("openInterest"):
            values.append((Reference.OPEN_INTEREST, rounded(row["openInterest"], instrument.size_decimals), 0))
        if not values:
            return None
        return references(instrument, Channel.MARK, values, exchanged=published, published=published)

    def _liquidations(self, rows: list[Row], published: int) -> list[Decoded]:
        """Read liquidations of all futures of a kind: those of our instruments."""
        orders: dict[str, list[tuple[int, int, int, int, int]]] = {}
        others = 0
        for row in rows:
            instrument = self._instruments.get(member(row, "symbol", str))
            if instrument is None:
                others += 1
                continue
            price = positive(row.get("price"), instrument.price_decimals)
            size = _units(rounded(row.get("amount"), MONEY), price, instrument)
            order = (milliseconds(row, "ts"), price, size, 0, _direction(row, "side"))
            orders.setdefault(instrument.symbol, []).append(order)
        if others:
            self.counts["other_symbol"] += others
        kinds = PriceKind.BANKRUPTCY, Coverage.SAMPLED_LARGEST
        return [
            liquidations(self._instruments[symbol], sorted(mine), *kinds, published=published)
            for symbol, mine in orders.items()
        ]


def _is_whole(content: Row) -> bool:
    action = content.get("action")
    if action not in ("snapshot", "update"):
        raise BadFrame("structure", f"'action' is {str(action)[:40]!r}, allowed are snapshot and update")
    return bool(action == "snapshot")


def _direction(row: Row, key: str) -> int:
    direction = {"buy": 1, "sell": -1}.get(member(row, key, str))
    if direction is None:
        raise BadFrame("bad_side", f"{key!r} is {row[key][:40]!r}, allowed are buy and sell")
    return direction


def _units(money: int, price: int, instrument: Instrument) -> int:
    """Return how many units of size some money is at a price, to the nearest, at least one."""
    if money == 0:
        raise BadFrame("zero", "'amount' is 0, allowed are values above 0")
    scale: int = 10 ** (instrument.price_decimals + instrument.size_decimals)
    units = max(1, (2 * money * scale + price * 10**MONEY) // (2 * price * 10**MONEY))
    if units >= LIMIT:
        raise BadFrame("overflow", f"{money} x 10^-{MONEY} at price {price} (wire decimals) needs more than 18 digits")
    return units
