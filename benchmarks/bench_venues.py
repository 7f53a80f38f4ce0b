"""Each venue's captured frames into rows: ours beside cryptofeed 3, in turns, on the same frames.

cryptofeed's own recorder made the captures. Its exchange classes are handed the same texts by `message_handler`, as its
connections do, callbacks that do nothing; symbols stand for themselves, no table is looked through. It makes Decimals,
keeps a book and says what changed. Beside it stand our decoder alone, which makes checked integer rows and keeps no
book, and our whole session, which also judges ids or checksums, keeps the book where the venue's rule needs it, stamps
and batches. Answers are compared outside the timer: each book's best bid and ask after the last frame, and how many
trades there were. cryptofeed 3 needs Python 3.13. Venues whose captures are of a protocol that it no longer reads
(Kraken spot, Bitget), that it does not know (BitMEX), or that fetch their snapshots (Gate) have no peer here.
"""

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.compare import Peer, Run, compare
from engine.errors import BadFrame, Gap
from engine.instrument import Instrument
from engine.schema import Flag, Kind
from ingest import control
from ingest.captures import What, lines_of, read_capture
from ingest.mirror import Mirror, Rule
from ingest.session import Session, foreign_session
from ingest.venues import Decoded, load

FOLDER: Final = Path(__file__).parents[1] / ".." / "shared" / "data" / "captures"
#: Venue -> its capture's files, the part of the connection's URL that is its, cryptofeed's name of it.
CAPTURES: Final = {
    "bitfinex": ("BITFINEX.ws.*.gz", "", "BITFINEX"),
    "bybit_linear": ("BYBIT.jsonl.zst", "/linear", "BYBIT"),
    "bybit_spot": ("BYBIT.jsonl.zst", "/spot", "BYBIT"),
    "coinbase_advanced": ("COINBASE.jsonl.zst", "", "COINBASE"),
    "deribit": ("DERIBIT.ws.*.gz", "", "DERIBIT"),
    "kraken_futures": ("KRAKEN_FUTURES.ws.*.gz", "", "KRAKEN_FUTURES"),
    "okx": ("OKX.ws.*.gz", "", "OKX"),
}
#: Whose trades of before the connection cryptofeed passes over.
WITHOUT_HISTORY: Final = ("kraken_futures",)
MOST: Final = 4000

#: Symbol -> best bid and ask, price and size; and how many trades.
Answer = tuple[dict[str, tuple[Decimal, ...]], int]


class Itself(dict[str, str]):
    """A table of symbols in which every symbol stands for itself."""

    def __missing__(self, key: str) -> str:
        return key


@cache
def captured(name: str) -> tuple[list[tuple[int, bytes]], str]:
    """Read a venue's lines, and the URL that they came from."""
    pattern, part, _ = CAPTURES[name]
    paths = sorted(FOLDER.glob(pattern))
    if not paths:
        pytest.skip(f"the captures are not here: {FOLDER / pattern}")
    entries = list(islice(read_capture(paths), MOST))
    mine = {each.connection: each.url for each in entries if each.what is What.CONNECTED and part in each.url}
    return list(lines_of(entries, load(name), list(mine))), next(iter(mine.values()))


def frames(name: str) -> list[tuple[int, bytes]]:
    """Give a venue's lines without our own among them."""
    return [line for line in captured(name)[0] if not line[1].startswith(control.MARK)]


def known(name: str) -> dict[str, Instrument]:
    found = load(name).infer_instruments([raw for _, raw in frames(name)])
    return {each.symbol: each for each in found}


def decoding(name: str) -> Run:
    decoder, lines = load(name).decoder(known(name)), frames(name)

    def run() -> list[list[Decoded]]:
        found = []
        for at, raw in lines:
            try:
                found.append(decoder.decode(raw, at, 1))
            except (BadFrame, Gap):
                # A channel or a symbol that we do not take.
                continue
        return found

    return run


def receiving(name: str) -> Run:
    lines = captured(name)[0]
    session: Session = foreign_session(load(name), [raw for _, raw in frames(name)])

    def run() -> int:
        said = 0
        for at, raw in lines:
            try:
                said += len(session.receive(at, raw))
            except BadFrame:
                continue
        return said

    return run


def peer(name: str) -> Run:
    """Make cryptofeed's exchange, and the run that hands it every frame."""
    exchanges = import_module("cryptofeed.exchanges")
    defines = import_module("cryptofeed.defines")
    symbols: Any = import_module("cryptofeed.symbols").Symbols
    url, count = captured(name)[1], [0]

    async def pass_over(_: Any, at: float) -> None: ...

    async def trade(_: Any, at: float) -> None:
        count[0] += 1

    made: Any = exchanges.EXCHANGE_MAP[CAPTURES[name][2]]
    symbols.set(made.id, Itself(), {"instrument_type": Itself()})
    feed = made(callbacks={defines.L2_BOOK: pass_over, defines.TRADES: trade})
    feed.normalized_symbol_mapping = feed.exchange_symbol_mapping = Itself()
    connection = SimpleNamespace(address=url, uuid="1", id="1", subscription={})
    _opened(feed, connection)
    texts = [(at / 1e9, raw.decode()) for at, raw in frames(name)]

    def run() -> Answer:
        for at, text in texts:
            # No callback waits, so a frame is one step of its coroutine: that spares the peer the event loop.
            try:
                feed.message_handler(text, connection, at).send(None)
            except StopIteration:
                continue
            raise RuntimeError(f"cryptofeed's {name} waits for something on {text[:80]}")
        books = {symbol: (each.book.bids, each.book.asks) for symbol, each in feed._l2_book.items()}
        return {
            _plain(symbol): (*bids.index(0), *asks.index(0))
            for symbol, (bids, asks) in books.items()
            if len(bids) and len(asks)
        }, count[0]

    return run


def _opened(feed: Any, connection: Any) -> None:
    """Set the feed's state to that of a connection that opens, as its own `subscribe` does."""
    for name in (f"_{type(feed).__name__}__reset", "_reset"):
        reset: Callable[..., None] | None = getattr(feed, name, None)
        if reset is not None:
            reset(*([connection] if reset.__code__.co_argcount > 1 else []))


def _plain(symbol: str) -> str:
    return symbol.replace("/", "")


def answer(name: str, decoded: list[list[Decoded]]) -> Answer:
    """Put the decoder's rows into books; give what the peer's would say."""
    instruments, trades = known(name), 0
    mirrors = {symbol: Mirror(each, Rule()) for symbol, each in instruments.items()}
    begun = set()
    for each in (each for found in decoded for each in found):
        kind, bids = each.message["kind"][0], int(each.message["bids"][0])
        past = name in WITHOUT_HISTORY and each.message["flags"][0] & Flag.HISTORY
        if kind == Kind.TRADE and not past:
            trades += len(each.rows)
        elif kind == Kind.SNAPSHOT:
            begun.add(each.symbol)
            mirrors[each.symbol].replace(each.rows, bids)
        elif kind == Kind.DELTA and each.symbol in begun:
            mirrors[each.symbol].apply(each.rows, bids)
    best = {}
    for symbol in begun:
        scales = (10 ** instruments[symbol].price_decimals, 10 ** instruments[symbol].size_decimals)
        sides = mirrors[symbol].best(1)
        if all(sides):
            values = [side[0][i] / Decimal(scales[i]) for side in sides for i in (0, 1)]
            best[_plain(symbol)] = tuple(values)
    return best, trades


@pytest.mark.parametrize("name", CAPTURES)
def test_decoder_of(benchmark: BenchmarkFixture, name: str) -> None:
    found = answer(name, decoding(name)())
    assert found[0]
    compare(
        benchmark,
        stage=f"{name}: captured frames to rows, the decoder",
        unit="frames/s",
        ours=lambda: decoding(name),
        count=len(frames(name)),
        peers={"cryptofeed": Peer(prepare=lambda: peer(name))},
        same=lambda mine, theirs: answer(name, mine) == theirs,
    )


@pytest.mark.parametrize("name", CAPTURES)
def test_session_of(benchmark: BenchmarkFixture, name: str) -> None:
    compare(
        benchmark,
        stage=f"{name}: captured frames to rows, the whole session",
        unit="frames/s",
        ours=lambda: receiving(name),
        count=len(frames(name)),
        peers={"cryptofeed": Peer(prepare=lambda: peer(name))},
        # The decoder's rows are compared above; the session adds what it judges of them.
        same=None,
    )
