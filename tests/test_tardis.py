"""Tardis' CSV files: read by its rules, refused where they are not, and the rows that are written come back."""

import gzip
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from airpocket.commands.tapes import convert
from airpocket.imports import EXCHANGES, market_of, pair_of, tardis_names
from airpocket.player import Player
from airpocket.sources import open_rows
from engine.errors import BadConfig, BadRecord
from engine.kernel import COMPILED
from engine.schema import Batch, Contract, Coverage, Flag, Kind, PriceKind, Reference, Status
from ingest.tardis import Tardis
from ingest.venues import names
from sinks.tardis import TardisSink
from tests.foreign import ROWS, depths, each, made, rows_of
from tests.stream import instrument

START = 1_700_000_000_000_000
US = 1_000
HEAD = "exchange,symbol,timestamp,local_timestamp"
BOOK = f"{HEAD},is_snapshot,side,price,amount"
PRINTS = f"{HEAD},id,side,price,amount"
TICKER = f"{HEAD},funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,mark_price"


def file(path: Path, columns: str, *lines: str, whose: str = "deribit,BTC-PERPETUAL") -> Path:
    """Write lines `offset,rest`: both stamps are the start plus so many us, the exchange's 5 us earlier."""
    rows = []
    for line in lines:
        offset, _, rest = line.partition(",")
        rows.append(f"{whose},{START + int(offset) - 5},{START + int(offset)},{rest}")
    text = "\n".join([columns, *rows, ""])
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(*paths: Path) -> list[tuple[str, int, Any]]:
    """Give kind, offset in ns and rows of every message."""
    found = list(each(Tardis(paths, market_of)))
    assert all(len(batch.messages) == 1 for _, batch in found)
    return [(k.name, int(b.messages["received"][0]) - START * US, rows_of(k, b) if k in ROWS else ()) for k, b in found]


def kinds(*paths: Path) -> list[str]:
    return [kind for kind, _, _ in read(*paths)]


SNAPSHOT = ("0,true,ask,6421.5,10", "0,true,bid,6421,20", "0,true,bid,6420.5,30")


def test_a_book_is_read_as_an_epoch_of_integers(tmp_path: Path) -> None:
    path = file(
        tmp_path / "book.csv.gz", BOOK, *SNAPSHOT, "7,false,ask,6421.5,0", "7,false,bid,6421,1e1", "9,false,ask,6422,5"
    )
    assert read(path) == [
        ("RESYNC", 0, ()),
        ("INSTRUMENT", 0, ()),
        ("SNAPSHOT", 0, [(64210, 20), (64205, 30), (64215, 10)]),
        ("DELTA", 7_000, [(64210, 10), (64215, 0)]),
        ("DELTA", 9_000, [(64220, 5)]),
    ]
    batches = [batch for _, batch in each(Tardis([path], market_of))]
    assert [int(batch.messages["epoch"][0]) for batch in batches] == [1] * 5
    assert [int(batch.messages["bids"][0]) for batch in batches] == [0, 0, 2, 1, 0]
    assert int(batches[3].messages["exchanged"][0]) == (START + 2) * US
    assert {batch.instrument for batch in batches} == {"deribit:BTC-PERPETUAL"}
    (known,) = Tardis([path], market_of).instruments.values()
    assert (known.price_decimals, known.size_decimals, known.tick, known.lot) == (1, 0, 5, 5)
    assert (known.asset, known.quote, known.contract) == ("BTC", "USD", Contract.INVERSE)


def test_a_snapshot_behind_changes_is_another_epoch_and_changes_before_the_first_are_counted(tmp_path: Path) -> None:
    path = file(
        tmp_path / "book.csv",
        BOOK,
        "0,false,bid,1,1",
        "1,true,bid,2,1",
        "2,false,bid,3,1",
        "3,true,bid,4,1",
        "3,false,bid,5,1",
    )
    source = Tardis([path], market_of)
    found = [(kind.name, int(batch.messages["epoch"][0])) for kind, batch in each(source)]
    opening = [("RESYNC", 1), ("INSTRUMENT", 1), ("SNAPSHOT", 1), ("DELTA", 1)]
    assert found == opening + [(kind, 2) for kind, _ in opening]
    assert source.counts == {"early": 1}
    # Rows of one stamp that are not all of a snapshot are two messages, and no two have one stamp.
    assert [at for kind, at, _ in read(path) if kind in ("SNAPSHOT", "DELTA")] == [1_000, 2_000, 3_000, 3_001]


def test_a_snapshot_has_no_level_of_size_0_and_of_a_price_met_twice_the_later_size(tmp_path: Path) -> None:
    path = file(
        tmp_path / "book.csv",
        BOOK,
        "0,true,ask,6,0",
        "0,true,ask,7,1",
        "0,true,ask,5,1",
        "0,true,ask,7,2",
        "0,true,bid,5,1",
    )
    assert read(path)[-1] == ("SNAPSHOT", 0, [(5, 1), (5, 1), (7, 2)])


def test_whole_books_one_after_another_are_one_epoch(messages: Path) -> None:
    found = read(messages / "tardis-csv" / "binance-futures_book_snapshot_25_BTCUSDT.csv")
    assert [kind for kind, _, _ in found] == ["RESYNC", "INSTRUMENT"] + ["SNAPSHOT"] * 10
    assert all(len(rows) == 50 for _, _, rows in found[2:])
    best_bid, best_ask = found[2][2][0], found[2][2][25]
    assert (best_bid, best_ask) == ((1165707, 10896), (1165708, 1714))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bitmex_trades_XBTUSD.csv", {"INSTRUMENT": 1, "TRADE": 2}),
        ("deribit_incremental_book_L2_BTC-PERPETUAL.csv", {"RESYNC": 1, "INSTRUMENT": 1, "SNAPSHOT": 1}),
        ("binance-futures_book_snapshot_5_BTCUSDT.csv", {"RESYNC": 1, "INSTRUMENT": 1, "SNAPSHOT": 10}),
    ],
)
def test_published_examples_are_read_whole(messages: Path, name: str, expected: dict[str, int]) -> None:
    path = messages / "tardis-csv" / name
    found = read(path)
    assert {kind: [k for k, _, _ in found].count(kind) for kind, _, _ in found} == expected
    lines = len(path.read_text().splitlines()) - 1
    width = 10 if "snapshot_5" in name else 1
    assert sum(len(rows) for _, _, rows in found) == lines * width


def test_trades_of_one_message_are_one_message(tmp_path: Path) -> None:
    path = file(
        tmp_path / "trades.csv", PRINTS, "0,81,buy,1.5,2", "0,82,sell,1.25,1", "3,abc-1,sell,1.5,3", "4,83,unknown,1,1"
    )
    source = Tardis([path], market_of)
    found = [rows_of(kind, batch) for kind, batch in each(source) if kind == Kind.TRADE]
    at = (START - 5) * US
    assert found == [
        [(at, 150, 2, 81, 1, 1, 0, 0), (at, 125, 1, 82, 1, -1, 0, 0)],
        [(at + 3_000, 150, 3, 0, 1, -1, 0, 0)],
    ]
    assert source.counts == {"trades of unknown side": 1}
    # Who reads trades alone knows their units.
    assert kinds(path)[0] == "INSTRUMENT"


def test_a_liquidation_that_buys_closed_a_short(tmp_path: Path) -> None:
    path = file(tmp_path / "liquidations.csv", PRINTS, "0,,buy,1.5,2", "1,,sell,1.5,4")
    (short,), (long,) = (rows for kind, _, rows in read(path) if kind == "LIQUIDATION")
    assert (short[4], long[4]) == (-1, 1)
    assert short[:4] == ((START - 5) * US, 15, 2, 0)
    assert short[5:7] == (PriceKind.TRADE, Coverage.ALL)
    other = file(tmp_path / "more" / "liquidations.csv", PRINTS, "0,,buy,1.5,2", whose="binance-futures,BTCUSDT")
    assert [rows[0][6] for kind, _, rows in read(other) if kind == "LIQUIDATION"] == [Coverage.LOWER_BOUND]


def test_a_ticker_says_only_what_has_changed(tmp_path: Path) -> None:
    following = START + 10_000_000
    path = file(
        tmp_path / "ticker.csv",
        TICKER,
        f"0,{following},-0.0001,,1000,6421.5,6421.04,6421.26",
        f"1,{following},-0.0001,,1000,6421.5,6421.04,6421.31",
        f"2,{following},-0.0001,,1000,6422.5,6421.04,6421.31",
        f"3,{following},1e-7,0.5,,6422.5,,",
        f"4,{following + 1},1e-7,0.5,1001,6422.5,,",
    )
    other = file(tmp_path / "book.csv", BOOK, *SNAPSHOT)
    found = [rows for kind, _, rows in read(path, other) if kind == "REFERENCE"]
    values = [[(Reference(row[3]).name, row[1], row[2]) for row in rows] for rows in found]
    # Averages are rounded to the decimals that orders have.
    assert values == [
        [
            ("MARK", 64213, 0),
            ("INDEX", 64210, 0),
            ("FUNDING", -100_000_000, following * US),
            ("OPEN_INTEREST", 1000, 0),
        ],
        [("FUNDING", 100_000, following * US)],
        [("FUNDING", 100_000, (following + 1) * US), ("OPEN_INTEREST", 1001, 0)],
    ]
    assert found[0][0][0] == (START - 5) * US


def test_files_are_merged_by_their_stamps_which_grow_strictly(tmp_path: Path) -> None:
    book = file(tmp_path / "book.csv", BOOK, *SNAPSHOT, "5,false,bid,6421,1", "9,false,bid,6421,2")
    trades = file(tmp_path / "trades.csv", PRINTS, "5,1,buy,6421.5,1", "7,2,buy,6421.5,1")
    later = file(tmp_path / "next" / "trades.csv", PRINTS, "11,3,buy,6421.5,1")
    for order in ((book, trades, later), (later, trades, book)):
        found = [(kind, at) for kind, at, _ in read(*order) if kind not in ("RESYNC", "INSTRUMENT", "SNAPSHOT")]
        first, second = sorted(found[:2])
        assert (first[0], second[0]) == ("DELTA", "TRADE")
        assert {first[1], second[1]} == {5_000, 5_001}
        assert found[2:] == [("TRADE", 7_000), ("DELTA", 9_000), ("TRADE", 11_000)]


def test_messages_and_files_may_be_longer_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{n // 7},{'true' if n < 7 else 'false'},{'bid' if n % 2 else 'ask'},{n + 1},1" for n in range(400)]
    path = file(tmp_path / "book.csv", BOOK, *lines)
    whole = read(path)
    assert sum(len(rows) for _, _, rows in whole) == 400
    assert len(whole) == 2 + 58
    monkeypatch.setattr("ingest.tardis_files.BLOCK", 700)
    assert read(path) == whole


def test_instruments_of_one_file_keep_their_own_decimals(tmp_path: Path) -> None:
    rows = [
        f"{exchange},{symbol},{START + n},{START + n},{n},buy,{price},1"
        for n, (exchange, symbol, price) in enumerate(
            [("deribit", "BTC-PERPETUAL", "1.5"), ("deribit", "ETH-PERPETUAL", "0.00001"), ("bybit", "BTCUSD", "7")]
        )
    ]
    path = tmp_path / "trades.csv"
    path.write_text("\n".join([PRINTS, *rows, ""]))
    source = Tardis([path], market_of)
    assert {each.key: each.price_decimals for each in source.instruments.values()} == {
        "deribit:BTC-PERPETUAL": 1,
        "deribit:ETH-PERPETUAL": 5,
        "bybit_inverse:BTCUSD": 0,
    }
    assert [rows_of(k, b)[0][1] for k, b in each(source) if k == Kind.TRADE] == [15, 1, 7]


@pytest.mark.parametrize(
    ("columns", "line", "said"),
    [
        (BOOK, "0,false,middle,1,1", "side: met 'middle', allowed are bid, ask"),
        (BOOK, "0,maybe,bid,1,1", "cannot be read as incremental_book_L2"),
        (BOOK, "0,false,bid,one,1", "not_decimal"),
        (BOOK, "0,false,bid,-1,1", "negative"),
        (BOOK, "0,false,bid,0,1", "is 0 or empty"),
        (BOOK, "0,false,bid,1,", "is 0 or empty"),
        (BOOK, "0,false,bid,1", "cannot be read"),
        (BOOK, "-1699999999999000000,false,bid,1,1", "allowed are microseconds"),
        (TICKER, "0,soon,0.1,,1,1,1,1", "funding_timestamp 'soon'"),
    ],
)
def test_what_is_malformed_is_refused_by_name(tmp_path: Path, columns: str, line: str, said: str) -> None:
    path = file(tmp_path / "bad.csv", columns, "0,true,bid,1,1" if columns == BOOK else "0,1,0.1,,1,1,1,1", line)
    with pytest.raises(BadRecord, match=said) as refusal:
        list(Tardis([path], market_of))
    assert str(path) in str(refusal.value)


def test_stamps_that_go_back_and_files_cut_short_are_refused(tmp_path: Path) -> None:
    path = file(tmp_path / "book.csv", BOOK, *SNAPSHOT, "-1,false,bid,1,1")
    with pytest.raises(BadRecord, match="goes back"):
        Tardis([path], market_of)
    cut = file(tmp_path / "cut.csv.gz", BOOK, *SNAPSHOT)
    cut.write_bytes(cut.read_bytes()[:-9])
    with pytest.raises(BadRecord, match="cannot be read as incremental_book_L2"):
        Tardis([cut], market_of)


def test_layouts_that_are_not_known_or_not_told_apart_are_refused(tmp_path: Path, messages: Path) -> None:
    quotes = messages / "tardis-csv" / "huobi-dm-swap_quotes_BTC-USD.csv"
    with pytest.raises(BadConfig, match=r"quotes_BTC-USD.csv has columns .*allowed are incremental_book_L2, trades"):
        open_rows([quotes])
    with pytest.raises(BadConfig, match="may be trades or liquidations, which have one layout"):
        open_rows([file(tmp_path / "prints.csv", PRINTS, "0,1,buy,1,1")])
    told = file(tmp_path / "trades" / "prints.csv", PRINTS, "0,1,buy,1,1")
    assert kinds(told) == ["INSTRUMENT", "TRADE"]
    other = tmp_path / "other.csv"
    other.write_text("time,price\n1,2\n")
    with pytest.raises(BadConfig, match=r"other.csv is neither CSV of Tardis"):
        open_rows([other])
    whole = file(tmp_path / "book.csv", BOOK, *SNAPSHOT, whose="binance-futures,BTCUSDT")
    with pytest.raises(BadConfig, match="allowed is one kind of book"):
        Tardis([whole, messages / "tardis-csv" / "binance-futures_book_snapshot_25_BTCUSDT.csv"], market_of)
    with pytest.raises(BadConfig, match="names its exchange"):
        open_rows([whole], "deribit")


def test_names_lead_to_venues_and_back() -> None:
    assert {exchange.venue for exchange in EXCHANGES.values()} <= set(names())
    for exchange, symbol, key in (
        ("binance-futures", "BTCUSDT", "binance_usdm:BTCUSDT"),
        ("binance", "BTCUSDT", "binance_spot:BTCUSDT"),
        ("okex-swap", "BTC-USDT-SWAP", "okx:BTC-USDT-SWAP"),
        ("okex-futures", "BTC-USD-250627", "okx:BTC-USD-250627"),
        ("okex", "BTC-USDT", "okx:BTC-USDT"),
        ("bybit", "BTCUSDT", "bybit_linear:BTCUSDT"),
        ("bybit", "BTCUSD", "bybit_inverse:BTCUSD"),
        ("kraken", "XBT/USD", "kraken_spot:BTC/USD"),
        ("deribit", "BTC-PERPETUAL", "deribit:BTC-PERPETUAL"),
        ("bitmex", "XBTUSD", "bitmex:XBTUSD"),
    ):
        market = market_of(exchange, symbol)
        assert f"{market.venue}:{market.symbol}" == key
        assert tardis_names(key) == (exchange, symbol)


def test_pairs_are_told_by_symbols() -> None:
    pairs = {
        "BTCUSDT": ("BTC", "USDT"),
        "BTC-USDT-SWAP": ("BTC", "USDT"),
        "BTC_USDC-PERPETUAL": ("BTC", "USDC"),
        "BTC-PERPETUAL": ("BTC", "USD"),
        "ETH-28JUN24-3000-C": ("ETH", "USD"),
        "BTCPERP": ("BTC", "USDC"),
        "BTCUSDU23": ("BTC", "USD"),
        "BTCUSDT-26DEC25": ("BTC", "USDT"),
        "XBT/USD": ("BTC", "USD"),
        "PF_XBTUSD": ("BTC", "USD"),
        "1000PEPEUSDT": ("1000PEPE", "USDT"),
    }
    assert {symbol: pair_of(symbol) for symbol in pairs} == pairs


def written(folder: Path, batches: list[Batch]) -> list[Path]:
    with TardisSink(folder, lambda key: ("one", key.partition(":")[2])) as sink:
        sink.write(batches)
    return sink.paths


def plain(key: str, symbol: str) -> Any:
    market = market_of("deribit", "BTC-PERPETUAL")
    unit = instrument()
    return type(market)(
        venue=unit.venue,
        symbol=symbol,
        asset=unit.asset,
        quote=unit.quote,
        contract=unit.contract,
        price_kind=PriceKind.AVERAGE_FILL,
        coverage=Coverage.SAMPLED,
    )


def example() -> list[Batch]:
    """Rows of every kind, the first of them before their units; two messages of one us."""
    at = START * US
    return [
        made(Kind.STATUS, at, status=Status.CONNECTED),
        made(Kind.TRADE, at + 1_000, [(at, 10_010, 7, 5, 1, 1, 0, 0)], exchanged=at, first=5, last=5),
        made(Kind.RESYNC, at + 2_000, epoch=1),
        made(Kind.INSTRUMENT, at + 3_000, epoch=1),
        made(Kind.SNAPSHOT, at + 3_000, [(9990, 100), (9980, 1), (10_010, 5)], bids=2, exchanged=at, epoch=1, last=7),
        made(Kind.DELTA, at + 3_000, [(9990, 0), (10_020, 3)], bids=1, exchanged=at + 1_000, epoch=1, last=8),
        made(Kind.TOUCH, at + 4_000, [(9980, 1), (10_010, 5)], bids=1),
        made(Kind.TRADE, at + 4_100, [(at - 9, 1, 1, 1, 1, 1, 0, 0)], flags=Flag.HISTORY),
        made(
            Kind.TRADE,
            at + 5_000,
            [(at + 2_000, 9980, 1, 6, 1, -1, 0, 0), (at + 3_000, 9975, 2, 7, 1, -1, 0, 0)],
            exchanged=at + 3_000,
            first=6,
            last=7,
        ),
        made(Kind.LIQUIDATION, at + 6_000, [(at, 9970, 12, 0, 1, 2, 4, 0, 0)], exchanged=at),
        made(Kind.LIQUIDATION, at + 7_000, [(at + 1_000, 9970, 12, 0, -1, 2, 4, 0, 0)], exchanged=at + 1_000),
        made(
            Kind.REFERENCE,
            at + 8_000,
            [(at, 9999, 0, 1, 0, 0, 0), (at, -125_000_000, at + 9_000, 3, 0, 0, 0)],
            exchanged=at,
        ),
        made(Kind.REFERENCE, at + 9_000, [(at, 17, 0, 4, 0, 0, 0), (at, 5, 0, 5, 0, 0, 0)], exchanged=at),
        made(Kind.GAP, at + 10_000, epoch=1),
        made(Kind.RESYNC, at + 10_000, epoch=2),
        made(Kind.INSTRUMENT, at + 20_000, epoch=2),
        made(Kind.SNAPSHOT, at + 20_000, [(9970, 1), (9990, 5)], bids=1, exchanged=at, epoch=2, flags=Flag.PARTIAL),
        made(Kind.SNAPSHOT, at + 20_000, [(9960, 1)], bids=1, exchanged=at, epoch=2, flags=Flag.CONTINUED),
        made(Kind.DELTA, at + 21_000, [(9990, 1)], exchanged=at + 4_000, epoch=2),
    ]


def test_rows_that_are_written_come_back(tmp_path: Path) -> None:
    paths = written(tmp_path, example())
    date = "2023-11-14"
    assert [path.name for path in paths] == [
        f"one_{layout}_{date}_AUSD.csv.gz"
        for layout in ("derivative_ticker", "incremental_book_L2", "liquidations", "trades")
    ]
    found = [(kind, batch) for kind, batch in each(Tardis(paths, plain)) if kind in ROWS]
    expected = [
        (kind, batch)
        for kind, batch in each(example())
        if kind in ROWS and not batch.messages["flags"][0] & (Flag.HISTORY | Flag.CONTINUED)
    ]
    assert [kind for kind, _ in found] == [kind for kind, _ in expected]
    for (kind, mine), (_, theirs) in zip(found, expected, strict=True):
        rows = rows_of(kind, theirs)
        if theirs.messages["flags"][0] & Flag.PARTIAL:
            # Parts of a message are one there.
            rows = [(9970, 1), (9960, 1), (9990, 5)]
        assert rows_of(kind, mine) == [row for row in rows if kind != Kind.REFERENCE or row[3] != Reference.INSURANCE]
        assert mine.instrument == theirs.instrument
        for name in ("exchanged", "epoch"):
            assert mine.messages[name] == theirs.messages[name]
        late = kind == Kind.DELTA and theirs.messages["last"][0] == 8
        assert mine.messages["received"][0] - theirs.messages["received"][0] == (1_000 if late else 0)


def test_what_has_no_place_there_is_counted(tmp_path: Path) -> None:
    with TardisSink(tmp_path, lambda key: ("one", "A/USD")) as sink:
        sink.write(example())
    assert sink.left_out == {"STATUS": 1, "RESYNC": 2, "TOUCH": 1, "TRADE": 1, "GAP": 1}
    assert sink.counts == {"incremental_book_L2": 9, "trades": 3, "liquidations": 2, "derivative_ticker": 2}
    assert all("_A-USD.csv" in path.name for path in sink.paths)


def test_writing_is_all_or_nothing_and_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = written(tmp_path / "one", example())
    # However the batches are joined.
    monkeypatch.setattr("sinks.units.STAGE", 2)
    two = written(tmp_path / "two", example())
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    with pytest.raises(BadConfig, match="is there already"):
        written(tmp_path / "one", example())
    with pytest.raises(BadRecord, match=r"the decimals of one:AUSD are not known"):
        written(tmp_path / "three", example()[:2])
    with pytest.raises(BadRecord, match="cannot be written"):
        written(tmp_path / "three", [*example(), made(Kind.DELTA, 1, [(1, 1)], count=2)])
    assert not list(tmp_path.glob("three/*"))
    assert len(list((tmp_path / "one").iterdir())) == 4


@pytest.mark.tape
def test_a_tape_gives_the_depth_of_its_rows_from_csv(binance_tapes: Path, tmp_path: Path) -> None:
    """All but nanoseconds and ids, which have no place there; best prices, which have none either, cross no line."""
    tape = cut(binance_tapes / "usdm_btcusdt_20240808.gz", tmp_path / "cut.gz", 1_500 if COMPILED else 600)
    convert([str(tape)], to=str(tmp_path / "csv"), form="tardis", venue="binance_usdm")
    mine = depths(open_rows([tape], "binance_usdm"), (Kind.TOUCH, Kind.STATUS))
    theirs = depths(open_rows([tmp_path / "csv"]))
    assert len(mine) > 12
    for one, other in zip(mine, theirs, strict=True):
        assert other["time"] // US == one["time"] // US
        if "received" in one:
            assert other["received"] // US == one["received"] // US
            assert other["last"] is None
        lost = ("time", "received", "last")
        assert {k: v for k, v in one.items() if k not in lost} == {k: v for k, v in other.items() if k not in lost}


def cut(tape: Path, path: Path, lines: int) -> Path:
    with gzip.open(tape) as whole, gzip.open(path, "wb") as part:
        part.writelines(islice(whole, lines))
    return path


def test_a_player_plays_it_and_says_what_it_took_for_granted(tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        yield from SNAPSHOT
        for n in range(1, 30):
            yield f"{n * 50_000},false,bid,6421,{n}"

    path = file(tmp_path / "book.csv", BOOK, *lines(), whose="okex-swap,BTC-USD-SWAP")
    player = Player([path], until=(START + 1_000_000) * US)
    records = list(player)
    assert {record.key for record in records} == {"okx:BTC-USD-SWAP", "BTC"}
    assert all(before.time <= after.time for before, after in pairwise(records))
    assert player.counts["messages"] == 2 + 20
    assert player.rows.told() == "passed over: nothing; a contract is taken to be worth 1 unit: okx:BTC-USD-SWAP"
    assert player.rows.known(player.pipelines) == ["BTC-USD-SWAP"]


def test_a_lake_is_made_of_csv_and_csv_of_a_lake(tmp_path: Path) -> None:
    paths = [str(path) for path in written_for_deribit(tmp_path / "csv")]
    convert(paths, to=str(tmp_path / "lake"))
    convert([str(tmp_path / "lake")], to=str(tmp_path / "again"), form="tardis")
    again = sorted((tmp_path / "again").iterdir())
    assert [path.name for path in again] == [Path(path).name for path in paths]
    # A whole book that came in parts is sorted when it comes back.
    for one, other in zip(again, map(Path, paths), strict=True):
        lines = [sorted(gzip.decompress(path.read_bytes()).splitlines()) for path in (one, other)]
        assert lines[0] == lines[1]
    with pytest.raises(BadConfig, match="unknown format 'tardus', known are parquet, hftbacktest, tardis"):
        convert(paths, to=str(tmp_path / "never"), form="tardus")
    with pytest.raises(BadConfig, match="is a lake already"):
        convert([str(tmp_path / "lake")], to=str(tmp_path / "other"))
    assert not (tmp_path / "never").exists()


def written_for_deribit(folder: Path) -> list[Path]:
    """Write the example as if it were of a venue of ours."""
    with TardisSink(folder, lambda key: ("deribit", "A-PERPETUAL")) as sink:
        sink.write(example())
    return sink.paths
