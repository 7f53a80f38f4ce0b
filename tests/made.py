"""Half a minute of made-up books, in the frames of venues of which there is no recording."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

import numpy as np
import orjson

from engine.instrument import Instrument
from engine.schema import LEVEL
from ingest import control
from ingest.decimals import shown
from ingest.venues import load
from ingest.venues._reading import printed
from tests.captured import Played
from tests.samples import instruments

START: Final = 1_790_000_000_000_000_000
STEP: Final = 50_000_000
STEPS: Final = 600
#: Levels a side; the best bid and ask, whole units of price.
DEEP: Final = 20
BID: Final = 61_800

Change = tuple[bool, str, str]


def made(name: str) -> Played:
    """Make a venue's tape: each book opened, then a level changed every 50 ms."""
    venue, known = load(name), instruments(name)
    random = Random(name)
    lines = [(START + i, _opening(each)) for i, each in enumerate(known)]
    for step in range(1, STEPS):
        for i, each in enumerate(known):
            is_bid = random.random() < 0.5
            away = random.randrange(DEEP)
            price = (BID - away if is_bid else BID + 1 + away) * 10**each.price_decimals
            size = random.randrange(5) * each.lot
            change = is_bid, shown(price, each.price_decimals), shown(size, each.size_decimals)
            at = START + step * STEP + i
            lines.append((at, orjson.dumps(MADE[name](each, change, step, at))))
    return Played(venue, lines, known)


def _opening(known: Instrument) -> bytes:
    emulation, unit = load(known.venue).emulation, 10**known.price_decimals
    bids = np.array([((BID - n) * unit, 3 * known.lot) for n in range(DEEP)], LEVEL)
    asks = np.array([((BID + 1 + n) * unit, 3 * known.lot) for n in range(DEEP)], LEVEL)
    if emulation.book is not None:
        return emulation.book(known, 1, START, bids, asks)
    return control.body("depth", known.symbol, 1, 200, emulation.snapshot(known, 1, START, bids, asks))


def _bybit(known: Instrument, change: Change, step: int, at: int) -> dict[str, Any]:
    is_bid, price, size = change
    sides = {"b": [(price, size)] if is_bid else [], "a": [] if is_bid else [(price, size)]}
    data = {"s": known.symbol, **sides, "u": step + 1, "seq": step + 1}
    topic = f"orderbook.1000.{known.symbol}"
    return {"topic": topic, "type": "delta", "ts": at // 1_000_000, "data": data, "cts": at // 1_000_000}


def _coinbase(known: Instrument, change: Change, step: int, at: int) -> dict[str, Any]:
    is_bid, price, size = change
    changes = [("buy" if is_bid else "sell", price, size)]
    return {"type": "l2update", "product_id": known.symbol, "changes": changes, "time": printed(at)}


def _coinm(known: Instrument, change: Change, step: int, at: int) -> dict[str, Any]:
    is_bid, price, size = change
    clocks = {"E": at // 1_000_000, "T": at // 1_000_000}
    ids = {"U": step + 1, "u": step + 1, "pu": step}
    sides = {"b": [(price, size)] if is_bid else [], "a": [] if is_bid else [(price, size)]}
    data = {"e": "depthUpdate", **clocks, "s": known.symbol, "ps": known.symbol.partition("_")[0], **ids, **sides}
    return {"stream": f"{known.symbol.lower()}@depth@0ms", "data": data}


#: Venue -> instrument, change, its number, time ns -> frame.
MADE: Final[dict[str, Callable[[Instrument, Change, int, int], dict[str, Any]]]] = {
    "binance_coinm": _coinm,
    "bybit_inverse": _bybit,
    "coinbase_exchange": _coinbase,
}
