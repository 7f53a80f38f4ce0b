"""What each cell of Binance's flat files may say, by the kind of its row and the file's usual names."""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias

from engine.errors import BadFrame
from ingest.decimals import MICROSECONDS_END, MICROSECONDS_START, MILLISECONDS_END, scaled
from ingest.venues import SECOND

if TYPE_CHECKING:
    from ingest.venues._binance_tables import Survey

DIFF: Final = "DIFFERENCE_DEPTH_STREAM"
TRADE: Final = "TRADE_STREAM"
#: A REST snapshot, and the book as the diffs of the day before left it.
SNAPSHOT: Final = "DEPTH_SNAPSHOT"
FINAL: Final = "FINAL_DEPTH_SNAPSHOT"
DAY: Final = 86_400 * SECOND
#: Decimals that the venue's prices and sizes have at most.
FINEST: Final = 8
_SMALL: Final = re.compile(r"\d(\.\d{1,16})?e-\d\d", re.ASCII)
#: First stamp that is one: the year 2001, in ms.
_FIRST_STAMP: Final = 1_000_000_000_000


#: Whether a cell may say that, and what it may.
Rule: TypeAlias = tuple[Callable[[str], bool], str]


def cell_rules(kind: str, columns: Sequence[str], known: "Survey") -> dict[str, Rule]:
    """Say what each column of a kind of row may hold."""
    positive: Rule = (_is_positive, "a positive decimal number")
    time: Rule = (lambda text: stamp(text) is not None, "ms or us since 1970, from 2001 on")
    number: Rule = (is_id, "an integer from 1 to 2^63 - 1")
    flag: Rule = (lambda text: text in ("0", "1"), "0 or 1")
    rules: dict[str, Rule] = {
        "Symbol": _only(known.symbol),
        "Market": _only(known.market),
        "StreamType": _only(kind),
        "IsLast": flag,
        "ServiceId": (str.isdigit, "a count of rows"),
        "TimestampOfReceiveUS": time,
        "Price": positive,
        "Quantity": (_is_size, "a decimal number, 0 or more"),
        "TransactionTime": time,
    }
    start = known.day
    if kind == FINAL:
        rules["TimestampOfReceive"] = time
    else:
        end = start + DAY
        rules["TimestampOfReceive"] = (
            lambda text: start <= (stamp(text) or 0) < end,
            f"times of the file's day, from {start // 10**6} ms on, before {end // 10**6} ms",
        )
    if kind == SNAPSHOT:
        rules |= {
            "TimestampOfRequest": time,
            "MessageOutputTime": time,
            "LastUpdateId": number,
            "IsAsk": flag,
            "Quantity": positive,
        }
    elif kind == TRADE:
        values = ("True", "False") if "MUnknownParameter" in columns else ("MARKET", "INSURANCE_FUND", "NA", "")
        allowed: Rule = (lambda text: text in values, ", ".join(value or "nothing" for value in values))
        rules |= {"EventTime": time, "TradeId": number, "IsBuyerMarketMaker": flag}
        rules |= {"MUnknownParameter": allowed, "XUnknownParameter": allowed, "Price": (_is_size, positive[1])}
        rules |= {"EventType": _only("trade"), "Stream": _only(_stream(known, kind, "@trade"))}
    else:
        rules |= {
            "EventTime": time,
            "FirstUpdateId": number,
            "FinalUpdateId": number,
            "FinalUpdateIdInLastStream": number,
            "IsAsk": flag,
        }
        rules |= {"EventType": _only("depthUpdate"), "Stream": _only(_stream(known, kind, "@depth@100ms"))}
        if "StreamType" not in columns:
            rules["PSUnknownField"] = _only(known.symbol.partition("_")[0])
        if kind == FINAL:
            rules["Quantity"] = positive
    return {name: rules.get(name, _only("")) for name in columns}


def _stream(known: "Survey", kind: str, usual: str) -> str:
    """Say what a stream is called: as in most rows, if that names the symbol."""
    symbol, met = known.symbol.lower(), known.streams.get(kind, "")
    return met if met.startswith(symbol + usual[:6]) else symbol + usual


def stamp(text: str) -> int | None:
    """Return a stamp of milliseconds or microseconds in ns; None for what is none."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        return None
    value = int(text)
    if _FIRST_STAMP <= value < MILLISECONDS_END:
        return value * 1_000_000
    return value * 1_000 if MICROSECONDS_START <= value < MICROSECONDS_END else None


def plain(text: str) -> str:
    """Write out a number as these files have it where it is small: `1e-05` is 0.00001."""
    return f"{Decimal(text):f}" if _SMALL.fullmatch(text) else text


def size(text: str) -> int | None:
    """Return a size or price at the finest decimals; None for what is neither."""
    try:
        return scaled(plain(text), FINEST)
    except BadFrame:
        return None


def is_id(text: str) -> bool:
    """Say whether a text is an id of an update or a trade."""
    return text.isascii() and text.isdigit() and len(text) <= 19 and 0 < int(text) < 1 << 63


def _is_size(text: str) -> bool:
    return size(text) is not None


def _is_positive(text: str) -> bool:
    return bool(size(text))


def _only(text: str) -> Rule:
    return text.__eq__, repr(text) if text else "nothing"
