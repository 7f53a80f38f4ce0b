"""The simulated market as one venue words it: steps of `market` in, tape lines out, in order of their stamps.

The one file of the simulator that speaks venues' formats, Binance USD-M futures and spot. What a venue's own file can
word (snapshot, exchange information, stream names) is asked of it; here are the frames that only its side sends.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from heapq import merge
from operator import itemgetter
from typing import Final

import numpy as np

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract, Rows
from ingest import control
from ingest.simulator.market import ASK, BID, STEP, Character, Market, Step
from ingest.venues import Venue, load

VENUE: Final = "binance_usdm"
SPOT_VENUE: Final = "binance_spot"
#: 2026-01-05 00:00 UTC: where a market begins that is told no other time.
START: Final = 1_767_571_200_000_000_000
MILLISECOND: Final = 1_000_000
#: From the matching engine to our socket, ns.
DELAY: Final = 4 * MILLISECOND
FUNDING: Final = 28_800_000


def _perpetual(asset: str, tick: int) -> Instrument:
    return Instrument(
        venue=VENUE,
        symbol=f"{asset}USDT",
        asset=asset,
        quote="USDT",
        contract=Contract.LINEAR,
        price_decimals=2,
        size_decimals=3,
        tick=tick,
        lot=1,
    )


CHARACTERS: Final = (
    Character(instrument=_perpetual("BTC", 10), anchor=900_000, volatility=12, size=900, orders=1.2, reach=18_000),
    Character(instrument=_perpetual("ETH", 1), anchor=310_000, volatility=6, size=9_000, orders=0.9, reach=6_200),
)
SYMBOLS: Final = tuple(character.instrument.symbol for character in CHARACTERS)


def tape(seed: int = 1, start: int = START) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of an endless tape: what a recorder beside the simulated venue would have written."""
    venue = load(VENUE)
    opening = opening_lines(venue, [character.instrument for character in CHARACTERS])
    yield from enumerate(opening, start)
    last = start + len(opening)
    symbols = [_symbol(venue, character, seed, start) for character in CHARACTERS]
    for received, raw in merge(*symbols, key=itemgetter(0)):
        # Stamps of one tape rise strictly, as a feed's do.
        last = max(received, last + 1)
        yield last, raw


def opening_lines(venue: Venue, instruments: Sequence[Instrument]) -> list[bytes]:
    """Give what a recorder writes before the first frame: start, instruments, and a connection of each socket."""
    symbols = [instrument.symbol for instrument in instruments]
    streams = venue.streams(symbols)
    body = venue.emulation.instruments(list(instruments))
    opening = [control.start(venue.name, symbols, 1), control.body("instruments", "", 0, 200, body)]
    for number, socket in enumerate(venue.sockets, 1):
        opening.append(control.opened(number, socket, [s.name for s in streams if s.socket == socket]))
    return opening


def _symbol(venue: Venue, character: Character, seed: int, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield one symbol's lines: its frames, and its snapshot right after the first diff, as after a real request."""
    instrument = character.instrument
    market = Market(character, seed, start + 50 * MILLISECOND)
    words = Words(venue, instrument)
    steps = 0
    while True:
        step = market.step()
        lines = words.step(step)
        if steps % (1_000_000_000 // STEP) == 0:
            lines.append((step.time + DELAY, words.mark(step.time, market.fair, market.fair)))
        lines.sort(key=lambda line: line[0])
        yield from lines
        if steps == 0:
            book = (_rows(instrument, market, BID), _rows(instrument, market, ASK))
            raw = venue.emulation.snapshot(instrument, market.last, step.time, *book)
            yield step.time + 2 * DELAY, control.body("depth", instrument.symbol, 1, 200, raw)
        steps += 1


def _rows(instrument: Instrument, market: Market, side: int) -> Rows:
    levels = [(price * instrument.tick, size * instrument.lot) for price, size in market.levels(side)]
    return np.array(levels, LEVEL)


class Words:
    """The frames of one symbol; prices in ticks, sizes in lots, times of the matching engine in ns."""

    def __init__(self, venue: Venue, instrument: Instrument) -> None:
        self.symbol = instrument.symbol
        self._instrument = instrument
        self._streams = {stream.channel: stream.name for stream in venue.streams([instrument.symbol])}

    def step(self, step: Step) -> list[tuple[int, bytes]]:
        """Word one step: touches and trades at their own times, the diff at the step's end."""
        lines = [(t + DELAY, self.touch(t, *touch)) for t, *touch in step.touches]
        lines += [(t + DELAY, self.trade(t, *trade)) for t, *trade in step.trades]
        lines += [(t + DELAY, self.liquidation(t, BID, *forced)) for t, *forced in step.liquidations]
        sides = {side: [(p, size) for (s, p), size in step.changes.items() if s == side] for side in (BID, ASK)}
        diff = self.depth(step.time, step.first, step.last, step.previous, sides[BID], sides[ASK])
        lines.append((step.time + DELAY, diff))
        return lines

    def mark(self, time: int, mark: int, index: int) -> bytes:
        """Word the mark price."""
        now, price = time // MILLISECOND, self._price(mark)
        text = (
            f'{{"e":"markPriceUpdate","E":{now},"s":"{self.symbol}","p":"{price}","ap":"{price}","P":"{price}",'
            f'"i":"{self._price(index)}","r":"0.00010000","T":{(now // FUNDING + 1) * FUNDING}}}'
        )
        return self._frame(Channel.MARK, text)

    def depth(
        self, time: int, first: int, last: int, previous: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]]
    ) -> bytes:
        """Word a diff: (price, size) of every level that has changed."""
        text = (
            f'{{"e":"depthUpdate",{self._clocks(time)},"s":"{self.symbol}","U":{first},"u":{last},'
            f'"pu":{previous},"b":[{self._levels(bids)}],"a":[{self._levels(asks)}]}}'
        )
        return self._frame(Channel.DEPTH, text)

    def touch(self, time: int, update: int, bid: int, bid_size: int, ask: int, ask_size: int) -> bytes:
        """Word the best bid and ask."""
        text = (
            f'{{"e":"bookTicker","u":{update},"s":"{self.symbol}","b":"{self._price(bid)}","B":"{self._size(bid_size)}",'
            f'"a":"{self._price(ask)}","A":"{self._size(ask_size)}",{self._clocks(time)}}}'
        )
        return self._frame(Channel.TOUCH, text)

    def trade(self, time: int, number: int, side: int, price: int, size: int) -> bytes:
        """Word a trade; `side` is the aggressor's."""
        text = (
            f'{{"e":"trade",{self._clocks(time)},"s":"{self.symbol}","t":{number},"p":"{self._price(price)}",'
            f'"q":"{self._size(size)}","X":"MARKET","m":{"true" if side == ASK else "false"}}}'
        )
        return self._frame(Channel.TRADE, text)

    def liquidation(self, time: int, side: int, price: int, average: int, size: int) -> bytes:
        """Word a forced order; `side` is that of the position."""
        word = "SELL" if side > 0 else "BUY"
        text = (
            f'{{"e":"forceOrder","E":{time // MILLISECOND + 1},"o":{{"s":"{self.symbol}","S":"{word}","o":"LIMIT",'
            f'"f":"IOC","q":"{self._size(size)}","p":"{self._price(price)}","ap":"{self._price(average)}","X":"FILLED",'
            f'"l":"{self._size(size)}","z":"{self._size(size)}","T":{time // MILLISECOND}}}}}'
        )
        return self._frame(Channel.LIQUIDATION, text)

    def _frame(self, channel: Channel, text: str) -> bytes:
        return f'{{"stream":"{self._streams[channel]}","data":{text}}}'.encode()

    def _clocks(self, time: int) -> str:
        return f'"E":{time // MILLISECOND + 1},"T":{time // MILLISECOND}'

    def _levels(self, levels: list[tuple[int, int]]) -> str:
        return ",".join(f'["{self._price(price)}","{self._size(size)}"]' for price, size in levels)

    def _price(self, ticks: int) -> str:
        return _decimal(ticks * self._instrument.tick, self._instrument.price_decimals)

    def _size(self, lots: int) -> str:
        return _decimal(lots * self._instrument.lot, self._instrument.size_decimals)


class SpotWords(Words):
    """The same of the venue's spot market: ids follow one another without a hole, and a touch has no clock."""

    def depth(
        self, time: int, first: int, last: int, previous: int, bids: list[tuple[int, int]], asks: list[tuple[int, int]]
    ) -> bytes:
        """Word a diff."""
        text = (
            f'{{"e":"depthUpdate","E":{time // MILLISECOND + 1},"s":"{self.symbol}","U":{previous + 1},"u":{last},'
            f'"b":[{self._levels(bids)}],"a":[{self._levels(asks)}]}}'
        )
        return self._frame(Channel.DEPTH, text)

    def touch(self, time: int, update: int, bid: int, bid_size: int, ask: int, ask_size: int) -> bytes:
        """Word the best bid and ask."""
        text = (
            f'{{"u":{update},"s":"{self.symbol}","b":"{self._price(bid)}","B":"{self._size(bid_size)}",'
            f'"a":"{self._price(ask)}","A":"{self._size(ask_size)}"}}'
        )
        return self._frame(Channel.TOUCH, text)

    def trade(self, time: int, number: int, side: int, price: int, size: int) -> bytes:
        """Word a trade; `side` is the aggressor's."""
        text = (
            f'{{"e":"trade","E":{time // MILLISECOND + 1},"s":"{self.symbol}","t":{number},"p":"{self._price(price)}",'
            f'"q":"{self._size(size)}","T":{time // MILLISECOND},"m":{"true" if side == ASK else "false"},"M":true}}'
        )
        return self._frame(Channel.TRADE, text)


def words_of(venue: Venue, instrument: Instrument) -> Words:
    """Find who words an instrument's frames. Raises BadConfig for a venue whose format is not simulated."""
    formats = {VENUE: Words, SPOT_VENUE: SpotWords}
    if venue.name not in formats:
        raise BadConfig(f"venue is {venue.name!r}, allowed of a simulated market are {', '.join(formats)}")
    return formats[venue.name](venue, instrument)


# Most levels of a second are those of the one before it.
@lru_cache(maxsize=1 << 16)
def _decimal(value: int, decimals: int) -> str:
    whole, part = divmod(value, 10**decimals)
    return f"{whole}.{part:0{decimals}d}"
