"""Two symbols of each venue, and instruments of them that the venue's own listing can state."""

from typing import Any, Final

from engine.instrument import Instrument
from engine.schema import Contract

SPOT, LINEAR, INVERSE = Contract.SPOT, Contract.LINEAR, Contract.INVERSE

#: Venue -> two symbols, the first one's quote and contract, and what else its instrument must be like.
SAMPLES: Final[dict[str, tuple[tuple[str, str], str, Contract, dict[str, int]]]] = {
    "binance_coinm": (("BTCUSD_PERP", "ETHUSD_PERP"), "USD", INVERSE, {"size_decimals": 0, "contract_size": 10**10}),
    "binance_spot": (
        ("BTCUSDT", "ETHUSDT"),
        "USDT",
        SPOT,
        {"price_decimals": 8, "size_decimals": 8, "tick": 1_000_000},
    ),
    "binance_usdm": (("BTCUSDT", "ETHUSDT"), "USDT", LINEAR, {}),
    "bitfinex": (("tBTCUSD", "tETHUSD"), "USD", SPOT, {"price_decimals": 3, "size_decimals": 8, "tick": 1}),
    "bitget": (("BTCUSDT", "ETHUSDT"), "USDT", LINEAR, {}),
    "bitget_spot": (("BTCUSDT", "ETHUSDT"), "USDT", SPOT, {}),
    "bitmex": (("XBTUSD", "ETHUSD_X"), "USD", INVERSE, {"size_decimals": 0, "contract_size": 10**8}),
    "bybit_inverse": (("BTCUSD", "ETHUSD"), "USD", INVERSE, {"size_decimals": 0, "contract_size": 10**8}),
    "bybit_linear": (("BTCUSDT", "ETHUSDT"), "USDT", LINEAR, {}),
    "bybit_spot": (("BTCUSDT", "ETHUSDT"), "USDT", SPOT, {}),
    "coinbase_advanced": (("BTC-USD", "ETH-USD"), "USD", SPOT, {}),
    "coinbase_exchange": (("BTC-USD", "ETH-USD"), "USD", SPOT, {}),
    "deribit": (("BTC-PERPETUAL", "ETH-PERPETUAL"), "USD", INVERSE, {"size_decimals": 0, "contract_size": 10**8}),
    "gate_futures": (("BTC_USDT", "ETH_USDT"), "USDT", LINEAR, {"contract_size": 10**6}),
    "hyperliquid": (("BTC", "ETH"), "USDC", LINEAR, {"price_decimals": 3, "size_decimals": 3, "tick": 1}),
    "kraken_futures": (("PF_XBTUSD", "PF_ETHUSD"), "USD", LINEAR, {}),
    "kraken_spot": (("BTC/USD", "ETH/USD"), "USD", SPOT, {}),
    "okx": (("BTC-USDT-SWAP", "ETH-USDT-SWAP"), "USDT", LINEAR, {}),
}


def instruments(venue: str) -> list[Instrument]:
    """Make a venue's two instruments, whose assets are BTC and ETH."""
    symbols, quote, contract, others = SAMPLES[venue]
    units: dict[str, Any] = {"price_decimals": 2, "size_decimals": 3, "tick": 10, "lot": 1} | others
    return [
        Instrument(venue=venue, symbol=symbol, asset=asset, quote=quote, contract=contract, **units)
        for symbol, asset in zip(symbols, ("BTC", "ETH"), strict=True)
    ]
