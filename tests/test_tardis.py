"""Tardis' CSV files: read by its rules, refused where they are not, and the rows that are written come back."""

from pathlib import Path

import pytest

from airpocket.imports import EXCHANGES, market_of, pair_of, tardis_names
from airpocket.sources import open_rows
from engine.errors import BadConfig, BadRecord
from engine.schema import Contract, Coverage, Kind, PriceKind, Reference
from ingest.tardis import Tardis
from ingest.venues import names
from tests.foreign import each, rows_of
from tests.tardis_files import BOOK, PRINTS, SNAPSHOT, START, TICKER, US, file, kinds, read


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
