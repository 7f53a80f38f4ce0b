"""Files that others recorded, as sources of a replay: Tardis' CSV files, hftbacktest's event arrays; and their names.

Which instrument a name stands for, and how its contract is worth money, no such file says: this is where it is known.
A contract is taken to be worth 1 unit, of base or, of an inverse one, of quote; of venues whose sizes are numbers of
contracts that is not so, and `told` says it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import Final

from engine.errors import BadConfig
from engine.pipeline import Pipeline
from engine.schema import Batch, Contract, Coverage, PriceKind
from engine.trust import OK
from ingest.findings import Findings
from ingest.flatfiles import is_flatfile
from ingest.flatfiles import read as read_flatfiles
from ingest.hftbacktest import Events, is_hftbacktest, key_of
from ingest.linger import Linger
from ingest.market import Market
from ingest.session import Session
from ingest.tape import Tear
from ingest.tardis import Tardis
from ingest.tardis_files import is_tardis
from ingest.venues import load


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What one of Tardis' exchanges is here."""

    #: Our venue.
    venue: str
    spot: bool = False
    #: Whether contracts priced in USD are worth dollars and settled in the coin.
    inverse: bool = False
    #: Whether a size of 1 is worth 1 unit, of base or of quote.
    units: bool = True
    price_kind: PriceKind = PriceKind.ORDER_LIMIT
    coverage: Coverage = Coverage.LOWER_BOUND


BANKRUPTCY: Final = PriceKind.BANKRUPTCY
EXCHANGES: Final = {
    "binance": Exchange(venue="binance_spot", spot=True),
    "binance-delivery": Exchange(venue="binance_coinm", inverse=True, units=False),
    "binance-futures": Exchange(venue="binance_usdm"),
    "bitget": Exchange(venue="bitget_spot", spot=True),
    "bitget-futures": Exchange(venue="bitget", inverse=True, price_kind=BANKRUPTCY),
    "bitmex": Exchange(venue="bitmex", inverse=True, units=False),
    "bybit": Exchange(venue="bybit_linear", price_kind=BANKRUPTCY),
    "bybit-spot": Exchange(venue="bybit_spot", spot=True),
    "coinbase": Exchange(venue="coinbase_exchange", spot=True),
    "cryptofacilities": Exchange(
        venue="kraken_futures", inverse=True, units=False, price_kind=PriceKind.TRADE, coverage=Coverage.ALL
    ),
    "deribit": Exchange(venue="deribit", inverse=True, price_kind=PriceKind.TRADE, coverage=Coverage.ALL),
    "gate-io-futures": Exchange(venue="gate_futures", units=False),
    "kraken": Exchange(venue="kraken_spot", spot=True),
    "okex": Exchange(venue="okx", spot=True),
    "okex-futures": Exchange(venue="okx", inverse=True, units=False, price_kind=BANKRUPTCY),
    "okex-swap": Exchange(venue="okx", inverse=True, units=False, price_kind=BANKRUPTCY),
}
#: Bybit's two kinds of contracts are one exchange to Tardis.
BYBIT: Final = Exchange(venue="bybit_inverse", inverse=True, price_kind=BANKRUPTCY)
#: Coins that a venue calls otherwise than everybody else.
ALIASES: Final = {"XBT": "BTC", "XDG": "DOGE"}
QUOTES: Final = (
    "FDUSD", "USDT", "USDC", "TUSD", "BUSD", "DAI", "USD", "EUR", "GBP", "JPY", "KRW", "TRY", "BRL",
    "BTC", "ETH", "BNB",
)  # fmt: skip
#: What files that are no tapes may be, and who knows them.
KINDS: Final = {"tardis": is_tardis, "hftbacktest": is_hftbacktest, "flat": is_flatfile}
#: What names of files that are no tapes end in.
NAMES: Final = (".csv", ".csv.gz", ".npz")
#: What parts a symbol's words.
_WORD: Final = re.compile(r"[-_/:]")


def market_of(exchange: str, symbol: str) -> Market:
    """Say what Tardis' names stand for; an exchange that is no venue of ours keeps its name."""
    asset, quote = pair_of(symbol)
    known = EXCHANGES.get(exchange)
    if exchange == "bybit" and quote == "USD":
        known = BYBIT
    if known is None:
        known = Exchange(venue=exchange, units=False)
    if known.venue == "kraken_spot":
        symbol = f"{asset}/{quote}"
    return _market(known, symbol, asset, quote)


def market_at(name: str) -> Market:
    """Say what one of our own names, `venue:SYMBOL`, stands for. Raises BadConfig."""
    venue, _, symbol = name.partition(":")
    if not symbol:
        raise BadConfig(f"venue is {name!r}, allowed beside files that name no instrument is VENUE:SYMBOL")
    load(venue)
    asset, quote = pair_of(symbol)
    known = [each for each in (*EXCHANGES.values(), BYBIT) if each.venue == venue]
    fitting = [each for each in known if each.spot == (_WORD.split(symbol)[1:] == [quote])]
    return _market((fitting or known or [Exchange(venue=venue, units=False)])[0], symbol, asset, quote)


def tardis_names(key: str) -> tuple[str, str]:
    """Give Tardis' exchange and symbol of an instrument's key."""
    venue, _, symbol = key.partition(":")
    if venue == "bybit_inverse":
        return "bybit", symbol
    fitting = [name for name, each in EXCHANGES.items() if each.venue == venue]
    if venue == "okx":
        return {"SWAP": "okex-swap", "": "okex"}.get("".join(_WORD.split(symbol)[2:3]), "okex-futures"), symbol
    if venue == "kraken_spot":
        theirs = {ours: name for name, ours in ALIASES.items()}
        symbol = "/".join(theirs.get(coin, coin) for coin in symbol.split("/"))
    return fitting[0] if fitting else venue, symbol


def pair_of(symbol: str) -> tuple[str, str]:
    """Tell asset and quote of a symbol: BTCUSDT, BTC-USDT-SWAP, BTC_USDC-PERPETUAL, XBT/USD, BTCPERP, BTC-PERPETUAL."""
    words = [word for word in _WORD.split(symbol.upper()) if word not in ("PF", "PI", "FF", "FI")] or [symbol.upper()]
    first = words[0]
    if len(words) > 1 and words[1] in QUOTES:
        asset, quote = first, words[1]
    elif first.endswith("PERP") and first != "PERP":
        asset, quote = first.removesuffix("PERP"), "USDC"
    else:
        # `BTCUSDU23` is delivered, which its last three letters and digits say.
        bare = re.sub(r"(?<=USD|SDT)[FGHJKMNQUVXZ]\d\d$", "", first)
        found = [each for each in QUOTES if bare.endswith(each) and bare != each]
        # `DOTUSD` is no pair of DO.
        quote = next((each for each in found if each != "TUSD" or len(bare) > 6), "")
        asset, quote = bare.removesuffix(quote), quote or "USD"
    return ALIASES.get(asset, asset), quote


def _market(exchange: Exchange, symbol: str, asset: str, quote: str) -> Market:
    contract = Contract.INVERSE if exchange.inverse and quote == "USD" else Contract.LINEAR
    return Market(
        venue=exchange.venue,
        symbol=symbol,
        asset=asset[:16],
        quote=quote,
        contract=Contract.SPOT if exchange.spot else contract,
        price_kind=exchange.price_kind,
        coverage=exchange.coverage,
        units=exchange.units,
    )


class Flat:
    """Flat files of depth and trades; messages that break a rule of the venue are left out and counted."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self.counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Batch]:
        found = Findings()
        yield from read_flatfiles(self._paths, found)
        self.counts["cells that break a rule, which `verify` names"] = len(found)


class ImportedRows:
    """Files of one kind, as far as `until`."""

    def __init__(self, kind: str, paths: Sequence[Path], venue: str | None = None, until: int | None = None) -> None:
        self.unit = "messages"
        self.counts: Counter[str] = Counter()
        self.time = 0
        self.sessions: list[Session] = []
        self.tears: list[Tear] = []
        self._until = until
        #: Readers of one instrument each, or one of all.
        self._readers: list[Tardis | Events | Flat] = []
        if kind != "hftbacktest" and venue is not None:
            raise BadConfig(f"{paths[0]} names its exchange; --venue {venue} is for files that do not")
        guessed: list[Market] = []
        if kind == "flat":
            self._readers.append(Flat(paths))
        elif kind == "tardis":
            tardis = Tardis(paths, market_of)
            self._readers.append(tardis)
            guessed = list(tardis.markets.values())
        else:
            market = None if venue is None else market_at(venue)
            whose: dict[str | None, list[Path]] = {}
            for path in paths:
                whose.setdefault(key_of(path), []).append(path)
            self._readers += [Events(own, market) for own in whose.values()]
            guessed = [market] if market is not None and None in whose else []
        self._assumed = sorted({f"{each.venue}:{each.symbol}" for each in guessed if not each.units})

    def known(self, pipelines: Mapping[str, Pipeline]) -> list[str]:
        """Name the symbols whose books are known now."""
        tracks = [track for pipeline in pipelines.values() for track in pipeline.tracks.values()]
        return sorted(track.key.partition(":")[2] for track in tracks if track.reason == OK)

    def told(self) -> str:
        """Say what was passed over, and what was assumed."""
        counts = sum((reader.counts for reader in self._readers), Counter())
        passed = ", ".join(f"{count} {why}" for why, count in sorted(counts.items())) or "nothing"
        assumed = f"; a contract is taken to be worth 1 unit: {', '.join(self._assumed)}" if self._assumed else ""
        return f"passed over: {passed}{assumed}"

    def __iter__(self) -> Iterator[Batch]:
        linger = Linger()
        for batch in merge(*self._readers, key=lambda batch: batch.messages["received"][0]):
            received = int(batch.messages["received"][0])
            if self._until is not None and received >= self._until:
                break
            self.time = received
            self.counts["messages"] += 1
            yield from linger.add([batch])
        yield from linger.flush()


def imported(paths: Iterable[Path | str], venue: str | None, until: int | None) -> ImportedRows | None:
    """Open files that others recorded, known by their first bytes; None where there is none. Raises BadConfig."""
    files = [file for path in map(Path, paths) for file in _files(path)]
    kinds = {file: _kind(file) for file in files}
    found = set(kinds.values())
    if found <= {""}:
        return None
    if len(found) > 1:
        examples = {kind or "tape": str(file) for file, kind in kinds.items()}
        raise BadConfig(
            f"files of several kinds are to be replayed: {examples}; allowed is one of tapes, {', '.join(KINDS)}"
        )
    return ImportedRows(found.pop(), list(kinds), venue, until)


def _files(path: Path) -> list[Path]:
    """Name the files that a path stands for: itself, or those of a folder that are named like imports or tapes."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    return sorted(each for each in path.iterdir() if each.name.endswith((*NAMES, ".tape.gz", ".tape.zst")))


def _kind(path: Path) -> str:
    """Tell a file's kind, "" for what may be a tape; refuse one that is named like an import and is none."""
    for kind, is_one in KINDS.items():
        if is_one(path):
            return kind
    if path.name.endswith(NAMES):
        raise BadConfig(
            f"{path} is neither CSV of Tardis, whose columns begin with exchange,symbol,timestamp,local_timestamp, "
            "nor a flat file of depth or trades, nor an archive of hftbacktest's events; "
            "allowed are these, tapes and lakes"
        )
    return ""
