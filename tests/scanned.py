"""Scanners, for tests: an instrument, frames, what each path makes of one."""

from typing import Any

import numba

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import LEVEL, Channel, Contract
from ingest.scan import depth_plan, scan_depth
from ingest.scanner import Scanner
from ingest.venues._binance import BinanceDecoder

INTERPRETED = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]
TAPES = {
    "usdm_btcusdt_20240808": 6551,
    "usdm_ethusdt_20240808": 6586,
    "spot_btcusdt_20240808": 3451,
    "spot_btcusdt_20240809": 3044,
    "spot_ethusdt_20240808": 3434,
    "spot_ethusdt_20240809": 3036,
}


def instrument(price_decimals: int = 2, size_decimals: int = 3) -> Instrument:
    return Instrument(
        venue="binance_usdm",
        symbol="BTCUSDT",
        asset="BTC",
        quote="USDT",
        contract=Contract.LINEAR,
        price_decimals=price_decimals,
        size_decimals=size_decimals,
        tick=1,
        lot=1,
    )


def frame(**changes: Any) -> dict[str, Any]:
    content = {
        "e": "depthUpdate",
        "E": 1_723_161_256_299,
        "T": 1_723_161_256_298,
        "s": "BTCUSDT",
        "U": 5,
        "u": 9,
        "pu": 4,
        "b": [["61800.20", "1.500"], ["61800.10", "0.000"]],
        "a": [["61800.30", "2.000"]],
    }
    return {key: value for key, value in {**content, **changes}.items() if value is not None}


def scan(raw: bytes, futures: bool = True) -> Any:
    """Return message and levels, or a refusal."""
    plan = depth_plan(b"BTCUSDT", 2, 3, futures, False)
    scanned = Scanner(scan_depth, LEVEL).scan(raw, plan, "BTCUSDT", Channel.DEPTH)
    return scanned if isinstance(scanned, int) else (scanned.message, scanned.rows)


def outcome(raw: bytes, futures: bool, slowly: bool) -> tuple[str, bool]:
    """Return the decoder's rows, or the reason of its refusal, as text; and whether the scanner gave them."""
    decoder = BinanceDecoder({"BTCUSDT": instrument()}, futures)
    try:
        found = decoder.decode_slowly(raw) if slowly else decoder.decode(raw)
    except BadFrame as refusal:
        return refusal.reason, False
    rows = [(each.symbol, each.channel, each.message.tolist(), each.rows.tolist(), each.rows.dtype) for each in found]
    return str(rows), not slowly and not decoder.counts["slowly"]


def check_agreement(raw: bytes, futures: bool = True) -> bool:
    """Fail where the scanner and the slow path disagree; tell whether the scanner took the frame."""
    rows, scanned = outcome(raw, futures, slowly=False)
    assert rows == outcome(raw, futures, slowly=True)[0]
    return scanned
