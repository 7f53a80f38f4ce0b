"""Kraken futures' listing, or the book frames of a tape without it, in; instruments out."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import CONTRACT_SIZE_DECIMALS, Contract
from ingest.decimals import places, scaled, shown
from ingest.venues._fields import member
from ingest.venues._kraken import common, objects
from ingest.venues._reading import decimal, exact, foreign, infer, pick

NAME: Final = "kraken_futures"
#: Type in the listing -> contract. Flexible futures are settled in dollars, vanilla ones in the quote currency.
CONTRACTS: Final = {
    "futures_inverse": Contract.INVERSE,
    "flexible_futures": Contract.LINEAR,
    "futures_vanilla": Contract.LINEAR,
}
#: What symbols of inverse ones begin with: perpetual and fixed.
INVERSE: Final = ("PI_", "FI_")
#: Letters of every quote currency.
QUOTE: Final = 3


def parse_instruments(body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted products' instruments. Raises BadConfig for an unknown one, BadFrame for a bad body."""
    content = exact(body)
    if type(content) is not dict or content.get("result") != "success":
        raise BadFrame("not_instruments", str(content)[:200])
    entries = objects(member(content, "instruments", list))
    # Indices are listed among the products.
    known = {_named(entry): entry for entry in entries if entry.get("type") in CONTRACTS}
    return [_instrument(*met) for met in zip(symbols, pick(NAME, known, symbols), strict=True)]


@foreign
def infer_instruments(frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that books show."""
    met: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for frame in frames:
        try:
            content = exact(frame)
        except BadFrame:
            continue
        if type(content) is not dict or "event" in content:
            continue
        if content.get("feed") == "book_snapshot":
            levels = objects(member(content, "bids", list) + member(content, "asks", list))
        elif content.get("feed") == "book":
            levels = [content]
        else:
            continue
        pairs = ((_whole(each.get("price")), _whole(each.get("qty"))) for each in levels)
        met[member(content, "product_id", str)].extend(pairs)
    if not met:
        raise BadConfig(f"no book frame of {NAME} among the tape's first {len(frames)} lines")
    return [infer(NAME, symbol, *_assets(symbol), _contract(symbol), levels) for symbol, levels in sorted(met.items())]


def listing(instruments: Sequence[Instrument]) -> bytes:
    """Write the listing of some instruments, so that parsing it gives the same where lots are powers of ten."""
    kinds = {Contract.INVERSE: "futures_inverse", Contract.LINEAR: "flexible_futures"}
    entries = [
        f'{{"symbol":"{each.symbol}","type":"{kinds[each.contract]}","tickSize":{shown(each.tick, each.price_decimals)}'
        f',"contractSize":{shown(each.contract_size, CONTRACT_SIZE_DECIMALS)},"tradeable":true'
        f',"contractValueTradePrecision":{each.size_decimals - len(str(each.lot)) + 1}'
        f',"base":"{each.asset}","quote":"{each.quote}"}}'
        for each in instruments
    ]
    return f'{{"result":"success","instruments":[{",".join(entries)}]}}'.encode()


def _named(entry: dict[str, Any]) -> str:
    """Return a product's name as the socket has it: listings of 2021 were in small letters, sockets never."""
    symbol = member(entry, "symbol", str)
    return symbol.upper() if symbol.islower() else symbol


def _instrument(symbol: str, entry: dict[str, Any]) -> Instrument:
    asset, quote = _assets(symbol)
    tick = _whole(entry.get("tickSize"))
    # Places of an order's size; below 0 it counts zeros. Listings of 2021 had none: all were whole contracts.
    precision = member(entry, "contractValueTradePrecision", int) if "contractValueTradePrecision" in entry else 0
    if abs(precision) > 12:
        raise BadFrame("bad_precision", f"{precision} of {symbol!r}, allowed are -12 to 12")
    return Instrument(
        venue=NAME,
        symbol=symbol,
        asset=common(entry["base"]) if type(entry.get("base")) is str else asset,
        quote=common(entry["quote"]) if type(entry.get("quote")) is str else quote,
        contract=CONTRACTS[entry["type"]],
        price_decimals=places(tick),
        size_decimals=max(precision, 0),
        tick=scaled(tick, places(tick)),
        lot=10 ** max(-precision, 0),
        contract_size=scaled(decimal(entry.get("contractSize")), CONTRACT_SIZE_DECIMALS),
    )


def _whole(value: Any) -> str:
    """Return a bare number as text, without the point that a whole one may have."""
    return str(decimal(value)).removesuffix(".0")


def _contract(symbol: str) -> Contract:
    return Contract.INVERSE if symbol.startswith(INVERSE) else Contract.LINEAR


def _assets(symbol: str) -> tuple[str, str]:
    """Tell asset and quote of `PI_XBTUSD`, `FI_ETHUSD_211231`."""
    parts = symbol.split("_")
    if len(parts) < 2 or len(parts[1]) <= QUOTE:
        raise BadConfig(f"cannot tell asset and quote of {symbol!r}, allowed are products like PI_XBTUSD")
    return common(parts[1][:-QUOTE]), common(parts[1][-QUOTE:])
