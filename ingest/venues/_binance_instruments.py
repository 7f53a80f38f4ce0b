"""Binance's exchange information, or the frames of a tape that has none, in; instruments out.

Decimals are chosen so that no digit of an order's price or size can be lost. Futures state them (`pricePrecision`,
`quantityPrecision`). Spot prints eight places of everything, and spot books hold sizes that are no multiple of the lot,
so spot keeps all eight; where eight would leave the engine's integers no room (a coin worth nothing, held by the
trillion) they are lowered: prices must stay below 2^48, a hundred thousand levels of the largest order below 2^62.
COIN-M counts contracts of so many US dollars: `contractSize`, 100 of BTC and 10 of all others.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from math import gcd
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import CONTRACT_SIZE_DECIMALS, Contract
from ingest.decimals import LIMIT, places, rounded, scaled
from ingest.venues._fields import member
from ingest.venues._reading import foreign

if TYPE_CHECKING:
    from ingest.venues._binance_grids import Grids

SPOT_DECIMALS: Final = 8
PRICE_END: Final = 1 << 48
SIZE_END: Final = (1 << 62) // 100_000

#: Prices and sizes as texts, each once.
Shown: TypeAlias = tuple[set[str], set[str]]

#: Currencies of a price, longest first where one ends like another.
QUOTES: Final = (
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY", "USD",
)  # fmt: skip


def parse_instruments(venue: str, contract: Contract, body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted symbols' instruments. Raises BadConfig for an unknown symbol, BadFrame for a bad body."""
    try:
        listed = orjson.loads(body)["symbols"]
        known = {entry["symbol"]: entry for entry in listed}
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise BadFrame("not_exchange_information", str(error)) from error
    for symbol in symbols:
        if symbol not in known:
            near = get_close_matches(symbol.upper(), known, n=3, cutoff=0.5) or sorted(known)[:3]
            raise BadConfig(f"{venue} has no symbol {symbol!r} among its {len(known)}; nearest are {', '.join(near)}")
    return [_instrument(venue, contract, known[symbol]) for symbol in symbols]


@foreign
def infer_instruments(venue: str, contract: Contract, frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that the frames show; tick and lot divide every price and size met.

    Levels are taken from the snapshot where there is one, otherwise from the diffs.
    """
    # Here, for it brings the compiler.
    from ingest.venues._binance_grids import grids

    found = grids(frames, contract != Contract.SPOT)
    return (_by_grids(venue, contract, *found) if found is not None else None) or _by_texts(venue, contract, frames)


def _by_grids(
    venue: str, contract: Contract, diffs: "dict[str, Grids]", body: "Grids | None"
) -> list[Instrument] | None:
    """Return instruments by what a kernel read; None where anything is to be refused: by texts it is told what."""
    whole = body if len(diffs) == 1 else None
    made = []
    for symbol, shown in diffs.items():
        _pair(symbol)
        decimals, steps = [], []
        for grid, also, end in zip(whole or shown, shown, (PRICE_END, SIZE_END), strict=True):
            both = grid | also
            if both.largest < 0:
                return None
            decimals.append(_lowered(both.whole(), both.places, both.significant, end))
            at = grid.scaled(decimals[-1])
            if at.largest >= LIMIT:
                return None
            steps.append(at.step)
        made.append(_made(venue, contract, symbol, decimals, steps))
    return made


def _by_texts(venue: str, contract: Contract, frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments by all that frames say, however they say it."""
    diffs: dict[str, Shown] = {}
    body: Shown | None = None
    for frame in frames:
        content = _content(frame)
        if "lastUpdateId" in content:
            shown: Shown = (set(), set())
            _show(content, ("bids", "asks"), shown)
            body = body or shown
        elif content.get("e") == "depthUpdate":
            if ("pu" in content) != (contract != Contract.SPOT):
                raise BadConfig(f"the tape's depth frames are not those of {venue}: 'pu' marks Binance futures")
            _show(content, ("b", "a"), diffs.setdefault(str(content.get("s")), (set(), set())))
    if not diffs:
        raise BadConfig(f"no depth frame of {venue} among the tape's first {len(frames)} lines")
    whole = body if len(diffs) == 1 else None
    return [_inferred(venue, contract, symbol, whole or shown, shown) for symbol, shown in diffs.items()]


def _instrument(venue: str, contract: Contract, entry: dict[str, Any]) -> Instrument:
    filters = {each.get("filterType"): each for each in member(entry, "filters", list)}
    prices, sizes = filters.get("PRICE_FILTER", {}), filters.get("LOT_SIZE", {})
    tick, lot = member(prices, "tickSize", str), member(sizes, "stepSize", str)
    price_floor, size_floor = _significant(tick), _significant(lot)
    if contract == Contract.SPOT:
        price_decimals, size_decimals = SPOT_DECIMALS, member(entry, "baseAssetPrecision", int)
    else:
        price_decimals, size_decimals = member(entry, "pricePrecision", int), member(entry, "quantityPrecision", int)
    price_decimals = _lower([prices.get("maxPrice", "0")], price_decimals, price_floor, PRICE_END)
    size_decimals = _lower([sizes.get("maxQty", "0")], size_decimals, size_floor, SIZE_END)
    return Instrument(
        venue=venue,
        symbol=member(entry, "symbol", str),
        asset=member(entry, "baseAsset", str),
        quote=member(entry, "quoteAsset", str),
        contract=contract,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        # A tick or lot of 0 says that the filter is off.
        tick=scaled(tick, price_decimals) or 1,
        lot=scaled(lot, size_decimals) or 1,
        contract_size=10**CONTRACT_SIZE_DECIMALS
        * (member(entry, "contractSize", int) if contract == Contract.INVERSE else 1),
    )


def _inferred(venue: str, contract: Contract, symbol: str, grid: Shown, shown: Shown) -> Instrument:
    _pair(symbol)
    prices, sizes = (one | other for one, other in zip(grid, shown, strict=True))
    if not prices:
        raise BadConfig(f"no level of {symbol} of {venue} among the tape's first lines")
    decimals = [
        _lower(texts, max(map(places, texts)), max(map(_significant, texts)), end)
        for texts, end in ((prices, PRICE_END), (sizes, SIZE_END))
    ]
    steps = [gcd(*(scaled(text, each) for text in texts)) for texts, each in zip(grid, decimals, strict=True)]
    return _made(venue, contract, symbol, decimals, steps)


def _made(venue: str, contract: Contract, symbol: str, decimals: Sequence[int], steps: Sequence[int]) -> Instrument:
    pair, asset, quote = _pair(symbol)
    return Instrument(
        venue=venue,
        symbol=symbol,
        asset=asset,
        quote=quote,
        contract=contract,
        price_decimals=decimals[0],
        size_decimals=decimals[1],
        # Where nothing but zeros was met.
        tick=steps[0] or 1,
        lot=steps[1] or 1,
        contract_size=10**CONTRACT_SIZE_DECIMALS * (_dollars(pair) if contract == Contract.INVERSE else 1),
    )


def _pair(symbol: str) -> tuple[str, str, str]:
    """Tell a symbol's pair, asset and quote."""
    # BTCUSD_PERP, BTCUSDT_250926: what is behind the pair is when it is delivered.
    pair = symbol.partition("_")[0]
    quote = next((each for each in QUOTES if pair.endswith(each) and pair != each), None)
    if quote is None:
        raise BadConfig(f"cannot tell asset and quote of {symbol!r}; known quotes are {', '.join(QUOTES)}")
    return pair, pair.removesuffix(quote), quote


def _dollars(pair: str) -> int:
    """Tell how many US dollars a COIN-M contract is."""
    return 100 if pair == "BTCUSD" else 10


def _lower(texts: Iterable[str], decimals: int, floor: int, end: int) -> int:
    """Return decimals, never fewer than the floor, lowered until the largest of the numbers stays below `end`."""
    return _lowered(max(rounded(text, 0) for text in texts), decimals, floor, end)


def _lowered(largest: int, decimals: int, floor: int, end: int) -> int:
    decimals = max(decimals, floor)
    while decimals > floor and (largest + 1) * 10**decimals >= end:
        decimals -= 1
    return decimals


def _significant(text: str) -> int:
    """Count the decimals up to the last digit that is not zero."""
    return len(text.partition(".")[2].rstrip("0"))


def _show(content: dict[str, Any], keys: Sequence[str], shown: Shown) -> None:
    """Add the prices and sizes of both sides to those that were shown before: most come again and again."""
    for key in keys:
        pairs = member(content, key, list)
        if not all(type(pair) is list and len(pair) == 2 for pair in pairs):
            raise BadFrame("structure", f"{key} is {str(pairs)[:40]}, allowed are [price, size]")
        for texts, known in zip(zip(*pairs, strict=True), shown, strict=False):
            if set(map(type, texts)) != {str}:
                raise BadFrame("structure", f"{key} is {str(pairs)[:40]}, allowed are texts of digits")
            known.update(texts)


def _content(frame: bytes) -> dict[str, Any]:
    # Most frames are of other streams, and need not be parsed.
    if b"depthUpdate" not in frame and b"lastUpdateId" not in frame:
        return {}
    try:
        content = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return {}
    content = content.get("data", content) if isinstance(content, dict) else {}
    return content if isinstance(content, dict) else {}
