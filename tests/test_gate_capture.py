"""Gate's recorded frames: ten books of a capture, their touches, their decimals."""

from collections import Counter
from pathlib import Path

import orjson
import pytest

from engine.errors import BadFrame
from engine.instrument import Instrument
from engine.schema import Channel, Kind
from ingest.captures import What, read_capture
from ingest.mirror import Mirror, Rule
from ingest.sync import BookSync, State, Verdict
from ingest.venues import Decoded, load
from tests.gate import as_today, listed
from tests.losing import Losses, lose

GATE = load("gate_futures")


class Books:
    """Books of a capture by the venue's rule: held deltas, the REST snapshot, consecutive ids."""

    def __init__(self, known: dict[str, Instrument]) -> None:
        self.known = known
        self.chains: dict[str, BookSync[Decoded]] = {}
        self.mirrors = {symbol: Mirror(each, Rule()) for symbol, each in known.items()}
        self.verdicts: Counter[Verdict] = Counter()

    def delta(self, decoded: Decoded) -> None:
        if decoded.symbol not in self.chains:
            self.chains[decoded.symbol] = BookSync(decoded.symbol, "consecutive")
            self.chains[decoded.symbol].begin()
        first, last, previous = (int(decoded.message[key][0]) for key in ("first", "last", "previous"))
        self._judge(decoded.symbol, self.chains[decoded.symbol].diff(first, last, previous, decoded), decoded)

    def snapshot(self, decoded: Decoded) -> None:
        chain = self.chains[decoded.symbol]
        self._judge(decoded.symbol, chain.snapshot(chain.epoch, int(decoded.message["last"][0]), decoded), decoded)

    def _judge(self, symbol: str, verdict: Verdict, decoded: Decoded) -> None:
        self.verdicts[verdict] += 1
        bridged = self.chains[symbol].take() if verdict is Verdict.BRIDGED else []
        for each in bridged or ([decoded] if verdict is Verdict.APPLY else []):
            message = each.message[0]
            change = self.mirrors[symbol].replace if message["kind"] == Kind.SNAPSHOT else self.mirrors[symbol].apply
            change(each.rows, int(message["bids"]))
            self.mirrors[symbol].check(None, int(message["last"]), int(message["first"]))


@pytest.mark.tape
def test_a_capture_has_ten_books_without_a_gap_and_touches_agree(captures: Path) -> None:
    names = ("GATEIO_FUTURES.0.gz", "GATEIO_FUTURES.ws.1.0.gz", "GATEIO_FUTURES.http.0.0.gz")
    entries = list(read_capture([captures / name for name in names]))
    known = listed(entries)
    assert (len(known), known["RDNT_USDT"].contract_size, known["QUICK_USDT"].price_decimals) == (10, 10**8, 2)
    its, books, met = GATE.decoder(known), Books(known), Counter[str]()
    touches: dict[tuple[str, int], list[tuple[int, int]]] = {}
    best: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for entry in entries:
        if entry.what is What.ANSWER and "order_book?" in entry.url:
            symbol = entry.url.partition("contract=")[2].partition("&")[0]
            assert GATE.emulation.route(entry.url.partition("api.gateio.ws")[2]) == ("depth", symbol, 100)
            books.snapshot(*its.body(symbol, Channel.DEPTH, entry.raw))
        if entry.what is not What.RECEIVED:
            continue
        channel = orjson.loads(entry.raw)["channel"]
        try:
            found = its.decode(entry.raw)
        except BadFrame as refusal:
            met[f"{refusal.reason} {channel}"] += 1
            continue
        met[channel if found else f"answer {channel}"] += 1
        for decoded in found:
            last = int(decoded.message["last"][0])
            if decoded.channel == Channel.TOUCH:
                touches[decoded.symbol, last] = decoded.rows.tolist()
                continue
            books.delta(decoded)
            mirror = books.mirrors[decoded.symbol]
            if books.chains[decoded.symbol].state is State.SYNCED:
                best[decoded.symbol, last] = [side[0] for side in mirror.best(1)]
    assert met == {
        "futures.order_book_update": 352, "answer futures.order_book_update": 10,
        "futures.book_ticker": 75, "answer futures.book_ticker": 1, "answer futures.trades": 1,
        "unknown_channel futures.candlesticks": 1, "answer futures.candlesticks": 10,
    }  # fmt: skip
    assert len(books.chains) == 10
    # The tenth's snapshot comes after its last delta: nothing is missing, nothing goes on either.
    assert books.verdicts[Verdict.BRIDGED] == 9
    assert not {Verdict.REFETCH, Verdict.OVERFLOW, Verdict.DISCARDED} & set(books.verdicts)
    same = touches.keys() & best.keys()
    assert [touches[key] == best[key] for key in sorted(same)] == [True] * 16


@pytest.mark.tape
def test_a_tape_without_a_listing_shows_the_same_decimals(captures: Path) -> None:
    names = ("GATEIO_FUTURES.0.gz", "GATEIO_FUTURES.ws.1.0.gz", "GATEIO_FUTURES.http.0.0.gz")
    entries = list(read_capture([captures / name for name in names]))
    known = listed(entries)
    inferred = GATE.infer_instruments([entry.raw for entry in entries if entry.what is What.RECEIVED])
    assert {each.symbol for each in inferred} == set(known)
    for each in inferred:
        its = known[each.symbol]
        assert (each.asset, each.quote, each.size_decimals) == (its.asset, its.quote, its.size_decimals)
        assert each.price_decimals <= its.price_decimals


@pytest.mark.tape
def test_a_session_keeps_its_books_by_the_rule_of_today(captures: Path) -> None:
    lines, known = as_today(captures)
    assert len(lines) > 250
    outcome = lose(GATE, lines, known, Losses())
    assert outcome.harm == []
    assert outcome.wrong == set()
    assert outcome.counts["session gaps"] == 0


@pytest.mark.tape
@pytest.mark.parametrize("kind", ["drop", "duplicate", "swap", "replay"])
@pytest.mark.parametrize("seed", range(3))
def test_one_in_twenty_harms_nobody_and_the_books_come_right(kind: str, seed: int, captures: Path) -> None:
    lines, known = as_today(captures)
    losses = {"drop": Losses(seed=seed, drop=0.05), "duplicate": Losses(seed=seed, duplicate=0.05)}
    losses |= {"swap": Losses(seed=seed, swap=0.05), "replay": Losses(seed=seed, replay=0.05)}
    outcome = lose(GATE, lines, known, losses[kind])
    assert outcome.harm == []
    assert outcome.wrong == set()
    assert outcome.counts[kind] >= 5
    assert outcome.counts["session gaps"] >= 1 or kind in ("duplicate", "replay")
