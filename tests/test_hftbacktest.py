"""hftbacktest's events: written so that its rules give our book, read by them, refused where digits would fall."""

import gzip
import random
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airpocket.commands.tapes import convert
from airpocket.imports import market_at
from airpocket.sources import open_rows
from engine.errors import BadConfig, BadRecord
from engine.events import BEST, BUY, CLEAR, DEPTH, EVENT, EXCHANGE, LOCAL, SELL, SNAPSHOT, TRADE, WHAT
from engine.kernel import COMPILED
from engine.schema import Batch, Contract, Kind
from ingest.hftbacktest import Events
from sinks.hftbacktest import HftbacktestSink
from tests.foreign import depths, each, made, rows_of
from tests.stream import instrument
from tests.tardis_files import example

AT = 1_700_000_000_000_000_000
BOTH = EXCHANGE | LOCAL


def events(*rows: tuple[int, int, float, float]) -> Any:
    """Make events of (bits, offset in ns, px, qty), the same on both clocks."""
    made = [(ev, AT + at if at >= 0 else 0, AT + at if at >= 0 else 0, px, qty, 0, 0, 0.0) for ev, at, px, qty in rows]
    return np.array(made, EVENT)


def saved(path: Path, rows: Any, **more: Any) -> Path:
    np.savez_compressed(path, data=rows, **more)
    return path


def read(*paths: Path, venue: str | None = "deribit:BTC-PERPETUAL") -> list[tuple[str, int, Any]]:
    """Give kind, offset in ns and rows of every message."""
    source = Events(paths, None if venue is None else market_at(venue))
    return [(k.name, int(b.messages["received"][0]) - AT, rows_of(k, b)) for k, b in each(source)]


def written(folder: Path, batches: list[Batch]) -> list[Path]:
    with HftbacktestSink(folder) as sink:
        sink.write(batches)
    return sink.paths


def books(rows: Any) -> list[tuple[int, dict[float, float], dict[float, float]]]:
    """Read events as their documentation says, one by one: both sides after the last event of every local stamp."""
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    found: list[tuple[int, dict[float, float], dict[float, float]]] = []
    last = 0
    for row in rows[(rows["ev"] & LOCAL) > 0]:
        at = int(row["local_ts"])
        assert at >= last, "stamps of the local clock go back"
        last = at
        what, px = int(row["ev"]) & WHAT, float(row["px"])
        if what == CLEAR:
            assert not row["ev"] & (BUY | SELL), "a clearing of one side would need its price"
            bids.clear()
            asks.clear()
        elif what in (DEPTH, SNAPSHOT):
            side, other, better = (bids, asks, 1) if row["ev"] & BUY else (asks, bids, -1)
            if row["qty"] > 0:
                # There it moves the best of the other side, which is not what our book does.
                best = min(asks, default=None) if other is asks else max(bids, default=None)
                assert best is None or (px - best) * better < 0, "a level is set across the other side's best"
                side[px] = float(row["qty"])
            else:
                side.pop(px, None)
        if found and found[-1][0] == at:
            found.pop()
        found.append((at, dict(bids), dict(asks)))
    return found


def ours(batches: list[Batch]) -> dict[int, tuple[dict[float, float], dict[float, float]]]:
    """Keep the book of rows in dictionaries: both sides after the last message of every receive stamp."""
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    found = {}
    for kind, batch in each(batches):
        if kind in (Kind.GAP, Kind.RESYNC) or (kind == Kind.SNAPSHOT and not batch.messages["flags"][0]):
            bids.clear()
            asks.clear()
        if kind in (Kind.SNAPSHOT, Kind.DELTA):
            for n, (price, size) in enumerate(rows_of(kind, batch)):
                side = bids if n < batch.messages["bids"][0] else asks
                if size:
                    side[price / 100] = size / 100
                else:
                    side.pop(price / 100, None)
        found[int(batch.messages["received"][0])] = dict(bids), dict(asks)
    return found


def market(seed: int, messages: int = 60) -> list[Batch]:
    """Make a book that drifts through its own levels, with trades, gaps and clocks that stray."""
    chance = random.Random(seed)
    middle, now, epoch = 10_000, AT, 0
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    out: list[Batch] = []
    for n in range(messages):
        now += chance.choice((0, 1, 500, 40_000)) if out else 0
        exchanged = chance.choice((now - 700, now - chance.randrange(90_000), 0, now + 5))
        if not epoch or chance.random() < 0.06:
            if epoch:
                out.append(made(Kind.GAP, now, epoch=epoch))
            epoch += 1
            bids = {middle - 1 - d: chance.randrange(1, 99) for d in range(5)}
            asks = {middle + 1 + d: chance.randrange(1, 99) for d in range(5)}
            levels = [*sorted(bids.items(), reverse=True), *sorted(asks.items())]
            out += [made(Kind.RESYNC, now, epoch=epoch), made(Kind.INSTRUMENT, now, epoch=epoch)]
            out.append(made(Kind.SNAPSHOT, now, levels, bids=len(bids), exchanged=exchanged, epoch=epoch))
        elif chance.random() < 0.2:
            trade = (max(exchanged, 1), middle, chance.randrange(1, 9), n, 1, chance.choice((1, -1)), 0, 0)
            out.append(made(Kind.TRADE, now, [trade], exchanged=exchanged, first=n, last=n))
        else:
            middle += chance.randrange(-3, 4)
            below = [(price, 0) for price in bids if price >= middle]
            above = [(price, 0) for price in asks if price <= middle]
            buy, sell = (middle - 1, chance.randrange(1, 99)), (middle + 1, chance.randrange(1, 99))
            levels = [buy, *below, sell, *above]
            bids = {p: s for p, s in bids.items() if p < middle} | dict([buy])
            asks = {p: s for p, s in asks.items() if p > middle} | dict([sell])
            out.append(made(Kind.DELTA, now, levels, bids=1 + len(below), exchanged=exchanged, epoch=epoch))
    return out


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_its_rules_give_our_book_after_every_message(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    batches = market(seed)
    (path,) = written(tmp_path_factory.mktemp("npz"), batches)
    rows = np.load(path)["data"]
    mine = ours(batches)
    theirs = books(rows)
    assert len(theirs) > 20
    for at, bids, asks in theirs:
        assert mine[at] == (bids, asks)
    assert at == max(mine)
    happened = rows["exch_ts"][(rows["ev"] & EXCHANGE) > 0]
    assert (np.diff(happened) >= 0).all()
    # Each event is there once for each clock.
    assert ((rows["ev"] & LOCAL) > 0).sum() == ((rows["ev"] & EXCHANGE) > 0).sum()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_rows_that_are_written_come_back(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    batches = market(seed)
    found = list(each(Events(written(tmp_path_factory.mktemp("npz"), batches), None)))
    books_of = [ours([batch for _, batch in one]) for one in (found, list(each(batches)))]
    known = {at - AT: book for at, book in books_of[0].items()}
    # Messages of one stamp are one there, or have the next stamp that is free.
    assert list(books_of[1].values())[-1] == list(known.values())[-1]
    trades = [[rows_of(k, b) for k, b in one if k == Kind.TRADE] for one in (found, list(each(batches)))]
    flat = [[row[1:] for rows in one for row in rows] for one in trades]
    assert flat[0] == flat[1]


def test_an_example_is_written_as_documented(tmp_path: Path) -> None:
    with HftbacktestSink(tmp_path) as sink:
        sink.write(example())
    assert sink.left_out == {"STATUS": 1, "TOUCH": 1, "TRADE": 1, "LIQUIDATION": 2, "REFERENCE": 2}
    assert sink.counts == {"depth": 9, "trade": 3}
    assert [path.name for path in sink.paths] == ["one_AUSD.npz"]
    with np.load(sink.paths[0], allow_pickle=False) as file:
        rows = file["data"]
        assert str(file["key"]) == "one:AUSD"
        assert file["instrument"].tobytes() == instrument().row().tobytes()
    local = rows[(rows["ev"] & LOCAL) > 0]
    found = [
        (int(ev) & WHAT, int(ev) & (BUY | SELL), float(px), float(qty)) for ev, px, qty in local[["ev", "px", "qty"]]
    ]
    assert found == [
        (TRADE, BUY, 100.1, 0.07),
        (CLEAR, 0, 0, 0),
        (CLEAR, 0, 0, 0),
        (SNAPSHOT, BUY, 99.9, 1),
        (SNAPSHOT, BUY, 99.8, 0.01),
        (SNAPSHOT, SELL, 100.1, 0.05),
        (DEPTH, BUY, 99.9, 0),
        (DEPTH, SELL, 100.2, 0.03),
        (TRADE, SELL, 99.8, 0.01),
        (TRADE, SELL, 99.75, 0.02),
        (CLEAR, 0, 0, 0),
        (CLEAR, 0, 0, 0),
        (CLEAR, 0, 0, 0),
        (SNAPSHOT, BUY, 99.7, 0.01),
        (SNAPSHOT, SELL, 99.9, 0.05),
        (SNAPSHOT, BUY, 99.6, 0.01),
        (DEPTH, SELL, 99.9, 0.01),
    ]
    assert local["order_id"][[0, 8, 9]].tolist() == [5, 6, 7]


def test_its_files_are_read_as_epochs_of_integers(tmp_path: Path) -> None:
    rows = events(
        (DEPTH | BUY | BOTH, 0, 1.0, 1.0),
        (CLEAR | BUY | BOTH, 10, 0.5, 0.0),
        (SNAPSHOT | BUY | BOTH, 10, 61737.5, 0.002),
        (SNAPSHOT | BUY | BOTH, 10, 61737.6, 1.0),
        (CLEAR | SELL | BOTH, 10, 70000.0, 0.0),
        (SNAPSHOT | SELL | BOTH, 10, 61737.7, 3.0),
        (DEPTH | SELL | EXCHANGE, 11, 1.0, 5.0),
        (DEPTH | SELL | BOTH, 12, 61737.7, 0.0),
        (DEPTH | BUY | LOCAL, 12, 61737.5, 4.0),
        (TRADE | SELL | BOTH, 12, 61737.6, 0.001),
        (TRADE | BOTH, 13, 61737.6, 0.001),
        (BEST | BUY | BOTH, 14, 61737.6, 0.001),
        (CLEAR | BOTH, 15, 0.0, 0.0),
    )
    path = saved(tmp_path / "any.npz", rows)
    assert read(path) == [
        ("RESYNC", 10, []),
        ("INSTRUMENT", 10, [tuple(Events([path], market_at("deribit:BTC-PERPETUAL")).instrument.row()[0].tolist())]),
        ("SNAPSHOT", 10, [(617376, 1000), (617375, 2), (617377, 3000)]),
        ("DELTA", 12, [(617375, 4000), (617377, 0)]),
        ("TRADE", 13, [(AT + 12, 617376, 1, 0, 1, -1, 0, 0)]),
        ("RESYNC", 15, []),
    ]
    source = Events([path], market_at("deribit:BTC-PERPETUAL"))
    list(source)
    assert source.counts == {"early": 1, "trades of unknown side": 1, "best prices": 1}
    known = source.instrument
    assert (known.price_decimals, known.size_decimals, known.tick, known.lot) == (1, 3, 1, 1)
    assert known.contract == Contract.INVERSE


def test_a_saved_book_is_of_the_time_of_the_file_after_it(tmp_path: Path) -> None:
    before = saved(
        tmp_path / "eod.npz", events((SNAPSHOT | BUY | BOTH, -1, 1.5, 1.0), (SNAPSHOT | SELL | BOTH, -1, 2.5, 1.0))
    )
    after = saved(tmp_path / "day.npz", events((DEPTH | BUY | BOTH, 7, 2.0, 1.0)))
    assert [(kind, at) for kind, at, _ in read(before, after)] == [
        ("RESYNC", 7),
        ("INSTRUMENT", 7),
        ("SNAPSHOT", 7),
        ("DELTA", 8),
    ]
    with pytest.raises(BadRecord, match="no row with a local_ts"):
        read(before)
    with pytest.raises(BadRecord, match=f"goes back to {AT + 7}; allowed is their order"):
        read(saved(tmp_path / "late.npz", events((DEPTH | BUY | BOTH, 9, 2.0, 1.0))), after)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (events((DEPTH | BUY | BOTH, 1, 0.1 * 3, 1.0)), "px of .*0.30000000000000004"),
        (events((DEPTH | BUY | BOTH, 1, 1.5, 2.0**60)), "qty of .*allowed are floats of decimals of at most 12 places"),
        (events((DEPTH | BUY | BOTH, 1, float("nan"), 1.0)), "allowed are a side, a px above 0"),
        (events((DEPTH | BUY | BOTH, 1, -1.0, 1.0)), "a px above 0"),
        (events((DEPTH | BOTH, 1, 1.0, 1.0)), "allowed are a side"),
        (events((10 | BUY | BOTH, 1, 1.0, 1.0)), "event of kind 10, allowed are 1 to 5: no orders"),
        (
            events((CLEAR | BUY | BOTH, 1, 1.0, 0.0), (SNAPSHOT | BUY | BOTH, 1, 1.0, 1.0)),
            "one side alone is cleared, allowed are both",
        ),
        (np.zeros(3), "allowed is `data`, rows of ev, exch_ts"),
    ],
)
def test_what_is_malformed_is_refused_by_name(tmp_path: Path, rows: Any, said: str) -> None:
    with pytest.raises(BadRecord, match=said):
        read(saved(tmp_path / "bad.npz", rows))


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "some.npz", events((DEPTH | BUY | BOTH, 1, 1.5, 1.0)))
    with pytest.raises(BadConfig, match="allowed is --venue VENUE:SYMBOL beside it"):
        open_rows([path])
    with pytest.raises(BadConfig, match="allowed beside files that name no instrument is VENUE:SYMBOL"):
        open_rows([path], "deribit")
    with pytest.raises(BadConfig, match="unknown venue 'derbit'"):
        open_rows([path], "derbit:BTC-PERPETUAL")
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, data=np.array([{"a": 1}], object))
    with pytest.raises(BadRecord, match=r"pickled.npz cannot be read as hftbacktest's events"):
        read(pickled)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadConfig, match=r"some.npz is neither CSV of Tardis"):
        open_rows([path], "deribit:BTC-PERPETUAL")


def test_files_of_two_instruments_are_refused(tmp_path: Path) -> None:
    (path,) = written(tmp_path, example())
    other = saved(tmp_path / "other.npz", events((DEPTH | BUY | BOTH, 1, 1.5, 1.0)))
    with pytest.raises(BadConfig, match="are of one:AUSD and of one that is not named; allowed is one instrument"):
        Events([path, other], None)
    with pytest.raises(BadConfig, match="files of several kinds"):
        (tmp_path / "a.csv").write_text("exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n")
        open_rows([tmp_path])


def test_what_floats_cannot_hold_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadRecord, match=r"one:AUSD has a size of 9007199254740993 .*allowed are 53 bits"):
        written(tmp_path, [made(Kind.INSTRUMENT, AT), made(Kind.DELTA, AT + 1, [(1, 2**53 + 1)], bids=1)])
    with pytest.raises(BadRecord, match="are not known"):
        written(tmp_path, example()[:2])
    assert not list(tmp_path.iterdir())
    one = written(tmp_path / "one", example())
    # The same bytes, however the batches are joined.
    monkeypatch.setattr("sinks.units.STAGE", 2)
    two = written(tmp_path / "two", example())
    assert one[0].read_bytes() == two[0].read_bytes()
    with pytest.raises(BadConfig, match="is there already"):
        written(tmp_path / "one", example())


@pytest.mark.tape
def test_a_tape_gives_the_depth_of_its_rows_from_events(binance_tapes: Path, tmp_path: Path) -> None:
    """All but ids, which have no place there; best prices, which have none either, cross no line."""
    tape = tmp_path / "cut.gz"
    with gzip.open(binance_tapes / "usdm_btcusdt_20240808.gz") as whole, gzip.open(tape, "wb") as part:
        part.writelines(islice(whole, 1_500 if COMPILED else 600))
    convert([str(tape)], to=str(tmp_path / "npz"), form="hftbacktest", venue="binance_usdm")
    mine = depths(open_rows([tape], "binance_usdm"), (Kind.TOUCH, Kind.STATUS))
    theirs = depths(open_rows([tmp_path / "npz"]))
    assert len(mine) > 12
    assert [value | {"last": None} if "last" in value else value for value in mine] == theirs


def test_files_of_several_instruments_play_together(tmp_path: Path) -> None:
    folder = tmp_path / "npz"
    keys = {f"one:{name}" for name in ("AUSD", "BUSD")}
    with HftbacktestSink(folder) as sink:
        for key in sorted(keys):
            sink.write([Batch(**{n: getattr(b, n) for n in Batch.__slots__} | {"instrument": key}) for b in market(1)])
    assert len(sink.paths) == 2
    played = list(open_rows([folder]))
    assert {batch.instrument for batch in played} == keys
    stamps = [int(batch.messages["received"][0]) // 5_000_000 for batch in played]
    assert stamps == sorted(stamps)
