"""Binance's flat frames, as forms: what `ingest.venues._binance` reads the slow way, key by key, in a table.

Anything that is not so (an empty funding rate, a `trade` that is none) is for the slow way to judge.
"""

from typing import Final

from engine.schema import FUNDING_DECIMALS, Channel, Kind, Reference
from ingest.form import Field, Form, Take

_SYMBOL: Final = Field(key="s", take=Take.TEXT)
_PUBLISHED: Final = Field(key="E", take=Take.STAMP, to=("published",))
_UPDATE: Final = Field(key="u", take=Take.WHOLE, to=("first", "last"))
_BEST: Final = (
    # An empty side, of price and size 0, is for the slow way.
    Field(key="b", take=Take.POSITIVE, decimals="price", to=("0.price",)),
    Field(key="B", take=Take.DECIMAL, decimals="size", to=("0.size",)),
    Field(key="a", take=Take.POSITIVE, decimals="price", to=("1.price",)),
    Field(key="A", take=Take.DECIMAL, decimals="size", to=("1.size",)),
)
_PRINT: Final = (
    Field(key="p", take=Take.POSITIVE, decimals="price", to=("0.price",)),
    Field(key="q", take=Take.POSITIVE, decimals="size", to=("0.size",)),
    Field(key="T", take=Take.STAMP, to=("exchanged", "0.exchanged")),
    # Whether the buyer is the maker: then a seller struck.
    Field(key="m", take=Take.BOOLEAN, true=-1, to=("0.side",)),
)


def _event(name: str, needed: bool = True) -> Field:
    return Field(key="e", take=Take.TEXT, text=name, needed=needed)


TRADE: Final = Form(
    kind=Kind.TRADE,
    fields=(
        _event("trade"),
        _PUBLISHED,
        _SYMBOL,
        Field(key="t", take=Take.WHOLE, to=("first", "last", "0.id")),
        *_PRINT,
        Field(key="X", take=Take.TEXT, text="MARKET", needed=False),
    ),
    rows=({"fills": 1},),
)
AGGREGATE: Final = Form(
    kind=Kind.TRADE,
    fields=(
        _event("aggTrade"),
        _PUBLISHED,
        _SYMBOL,
        Field(key="a", take=Take.WHOLE, to=("first", "last", "0.id")),
        *_PRINT,
        Field(key="f", take=Take.FROM),
        Field(key="l", take=Take.UPTO, to=("0.fills",)),
    ),
    rows=({},),
)
TOUCH_OF_FUTURES: Final = Form(
    kind=Kind.TOUCH,
    fields=(
        _event("bookTicker"),
        _UPDATE,
        _SYMBOL,
        *_BEST,
        Field(key="T", take=Take.STAMP, to=("exchanged",)),
        _PUBLISHED,
    ),
    rows=({}, {}),
    bids=1,
)
TOUCH_OF_SPOT: Final = Form(
    kind=Kind.TOUCH,
    fields=(_UPDATE, _SYMBOL, *_BEST, _event("bookTicker", needed=False)),
    rows=({}, {}),
    bids=1,
)
MARK: Final = Form(
    kind=Kind.REFERENCE,
    fields=(
        _event("markPriceUpdate"),
        Field(key="E", take=Take.STAMP, to=("exchanged", "published", "0.exchanged", "1.exchanged", "2.exchanged")),
        _SYMBOL,
        Field(key="p", take=Take.ROUNDED, decimals="price", to=("0.value",)),
        Field(key="i", take=Take.ROUNDED, decimals="price", to=("1.value",)),
        Field(key="r", take=Take.SIGNED, decimals=FUNDING_DECIMALS, to=("2.value",)),
        Field(key="T", take=Take.STAMP, to=("2.next",)),
    ),
    rows=({"what": Reference.MARK}, {"what": Reference.INDEX}, {"what": Reference.FUNDING}),
)


def forms(futures: bool) -> dict[str, tuple[Channel, Form]]:
    """Return what each event is: its channel and its form."""
    flat = {
        "trade": (Channel.TRADE, TRADE),
        "aggTrade": (Channel.TRADE, AGGREGATE),
        "bookTicker": (Channel.TOUCH, TOUCH_OF_FUTURES if futures else TOUCH_OF_SPOT),
    }
    return {**flat, "markPriceUpdate": (Channel.MARK, MARK)} if futures else flat
