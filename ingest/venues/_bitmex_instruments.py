"""BitMEX's listing, or the frames of a tape that has none, in; instruments out: what a contract is worth included."""

from collections.abc import Sequence
from typing import Any, Final

from engine.errors import BadConfig, BadFrame
from engine.instrument import Instrument
from engine.schema import CONTRACT_SIZE_DECIMALS, Contract
from ingest.venues._fields import member
from ingest.venues._figures import asked, most_places, whole
from ingest.venues._reading import decimal, exact, infer, pick, positive

NAME: Final = "bitmex"
#: The venue's own names of assets -> the common ones.
ASSETS: Final = {"XBT": "BTC"}
#: What is traded -> how it is called in a listing. Spreads are no instruments here: their prices may be negative.
KINDS: Final = {"FFWCSX": "perpetual", "FFWCSF": "perpetual", "FFCCSX": "future", "IFXXXP": "spot"}
#: Units of each settlement currency.
MINOR: Final = {"XBt": 10**8, "USDt": 10**6}


def parse_instruments(body: bytes, symbols: Sequence[str]) -> list[Instrument]:
    """Return the wanted symbols' instruments. Raises BadConfig for an unknown symbol, BadFrame for a bad body."""
    listed = exact(body)
    if type(listed) is not list:
        raise BadFrame("structure", f"a listing is {str(listed)[:40]}, allowed is a list")
    known = {member(whole(entry), "symbol", str): entry for entry in listed if whole(entry).get("typ") in KINDS}
    return [_instrument(entry) for entry in pick(NAME, known, symbols)]


def _instrument(entry: dict[str, Any]) -> Instrument:
    prices, sizes = most_places(entry.get("tickSize"), entry.get("minTick")), most_places(entry.get("lotSize"))
    asset, quote = member(entry, "underlying", str), member(entry, "quoteCurrency", str)
    contract = Contract.SPOT if KINDS[entry["typ"]] == "spot" else Contract.LINEAR
    contract = Contract.INVERSE if entry.get("isInverse") else Contract.QUANTO if entry.get("isQuanto") else contract
    return Instrument(
        venue=NAME,
        symbol=entry["symbol"],
        asset=ASSETS.get(asset, asset),
        quote=ASSETS.get(quote, quote),
        contract=contract,
        price_decimals=prices,
        size_decimals=sizes,
        tick=positive(decimal(entry.get("tickSize")), prices),
        lot=positive(decimal(entry.get("lotSize")), sizes),
        contract_size=_contract_size(contract, entry),
    )


def _contract_size(contract: Contract, entry: dict[str, Any]) -> int:
    """Return what a contract is worth, x 10^8, exactly. Raises BadConfig where that is no whole number."""
    if contract == Contract.INVERSE:
        part, of = abs(member(entry, "multiplier", int)), abs(member(entry, "underlyingToSettleMultiplier", int))
    elif contract == Contract.QUANTO:
        part, of = member(entry, "multiplier", int), MINOR.get(member(entry, "settlCurrency", str), 0)
    elif type(entry.get("underlyingToPositionMultiplier")) is int:
        part, of = 1, entry["underlyingToPositionMultiplier"]
    else:
        part, of = member(entry, "multiplier", int), member(entry, "quoteToSettleMultiplier", int)
    size, rest = divmod(part * 10**CONTRACT_SIZE_DECIMALS, of) if of > 0 else (0, 0)
    if rest or size <= 0:
        raise BadConfig(
            f"a contract of {entry['symbol']} is {part} of {of} {str(entry.get('settlCurrency'))[:10]}, "
            f"allowed are multiples of 10^-8, settled in {', '.join(MINOR)} where it is quanto"
        )
    return size


def infer_instruments(frames: Sequence[bytes]) -> list[Instrument]:
    """Return instruments with the decimals that books among the frames show; a contract's worth they do not say."""
    met: dict[str, list[tuple[Any, Any]]] = {}
    for frame in frames:
        if frame.startswith(b"{") and asked(frame).get("table") == "orderBookL2":
            for row in exact(frame)["data"]:
                if row.get("price") is not None:
                    met.setdefault(member(row, "symbol", str), []).append((row["price"], row.get("size", 0)))
    if not met:
        raise BadConfig(f"no book of {NAME} among the tape's first {len(frames)} lines")
    return [infer(NAME, symbol, *_told(symbol), pairs) for symbol, pairs in met.items()]


def _told(symbol: str) -> tuple[str, str, Contract]:
    """Tell asset, quote and contract by a symbol: XBTUSD, ETHUSD (quanto), XBT_USDT, SOLUSDT, XRPU21 (in XBT)."""
    base, spot, quote = symbol.partition("_")
    if spot:
        return ASSETS.get(base, base), quote, Contract.SPOT
    if symbol[-2:].isdigit():
        base = symbol[:-3]
        if base != "XBT" and not base.endswith(("USD", "USDT")):
            return base, "BTC", Contract.LINEAR
        symbol = base if base != "XBT" else "XBTUSD"
    quote = "USDT" if symbol.endswith("USDT") else "USD"
    base = symbol.removesuffix(quote)
    inverse = Contract.INVERSE if base == "XBT" else Contract.QUANTO
    return ASSETS.get(base, base), quote, Contract.LINEAR if quote == "USDT" else inverse
