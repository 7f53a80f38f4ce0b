"""Flat files: every cell that was damaged is named by row and column, and a whole file is found whole."""

import gzip
import hashlib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from airpocket.audit import Events, InstrumentAudit
from airpocket.verify import verify
from engine.schema import Batch, Contract, Kind
from ingest.findings import Findings
from ingest.flatfiles import is_flatfile, layout_of, read, rows_of
from ingest.venues import _binance_tables as tables
from tests.flat_tables import Book, book_of, levels_of, rest_snapshot

pytestmark = pytest.mark.tape

#: Labelled cells that break no rule, and why.
UNSEEN = {
    ("coin_m", 7, "Price"): "an ask of 11.23102 is a legal ask, however far: USD-M's own book has asks of 80",
    ("coin_m", 10_000, "EventTime"): "it says what the other row of its message says; the good file's is the odd one",
}
#: A label of a file that is not here, with its twin of another length.
ABSENT = "test_positive_binance_depth_snapshot_spot_btcusdt_14-04-2025.csv"
MERGED = "merged_depth_snapshot_difference_depth_stream_trade_stream_usd_m_futures_trxusdt_14-04-2025"
NAMES = [
    f"test_positive_binance_{stream}_{market}_{symbol}_04-03-2025.csv"
    for stream in ("difference_depth_stream", "trade_stream")
    for market, symbol in (("coin_m_futures", "trxusd_perp"), ("spot", "trxusdt"), ("usd_m_futures", "trxusdt"))
]


class Played(NamedTuple):
    """A file's findings and rows."""

    findings: Findings
    batches: list[Batch]

    @property
    def kinds(self) -> Counter[str]:
        return Counter(Kind(kind).name for batch in self.batches for kind in batch.messages["kind"].tolist())


@cache
def played(path: Path) -> Played:
    findings = Findings()
    return Played(findings, list(read([path], findings)))


def labels(damaged: Path, name: str) -> list[tuple[int, str, str]]:
    """Row, column and bad value of each label."""
    entries = orjson.loads((damaged / "LABELLED_DIFFS.json").read_bytes())[name]["negative_diffs"]
    return [(each["data_row"], each["column"], each["bad"]) for each in entries]


def twin(damaged: Path, name: str) -> Path:
    return damaged / (name.replace("positive", "negative") + ".gz")


def test_every_labelled_file_is_tried_but_the_one_that_is_not_here(damaged: Path) -> None:
    assert set(orjson.loads((damaged / "LABELLED_DIFFS.json").read_bytes())) == {ABSENT, *NAMES}
    assert not (damaged / f"{ABSENT}.gz").exists()


@pytest.mark.parametrize("name", NAMES)
def test_labelled_damage_is_named_by_row_and_column(damaged: Path, name: str) -> None:
    findings = played(twin(damaged, name)).findings
    market = name.split("_stream_")[1][:6]
    stream = "trade" if "_trade_" in name else market
    unseen = set()
    for row, column, bad in labels(damaged, name):
        if (stream, row, column) in UNSEEN:
            unseen.add((stream, row, column))
            assert not list(findings.accusing(row, column))
        else:
            assert any(bad in found.met for found in findings.accusing(row, column)), (row, column)
    assert unseen == {each for each in UNSEEN if each[0] == stream}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_accused_that_was_not_damaged(damaged: Path, name: str) -> None:
    met = labels(damaged, name)
    for found in played(twin(damaged, name)).findings.listed:
        assert any(found.accuses(row, column) for row, column, _ in met), str(found)


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_file_has_no_finding_but_the_one_gap_that_is_real(damaged: Path, name: str) -> None:
    findings = played(damaged / f"{name}.gz").findings
    told = [(found.row, found.columns) for found in findings.listed]
    # The last row of COIN-M's depth belongs to the message of the row before it by all its ids, and is a day younger:
    # between the two the recording has a gap.
    gap = [(10_000, ("TimestampOfReceive", "EventTime"))]
    assert told == (gap if "depth_stream_coin_m" in name else [])


def test_usd_m_depth_has_no_damage_for_its_twins_are_one_file(damaged: Path) -> None:
    name = next(name for name in NAMES if "depth_stream_usd_m" in name)
    unpacked = [gzip.decompress(path.read_bytes()) for path in (damaged / f"{name}.gz", twin(damaged, name))]
    assert hashlib.sha256(unpacked[0]).digest() == hashlib.sha256(unpacked[1]).digest()
    assert labels(damaged, name) == []


def test_merged_damage_is_named_by_row_and_column(damaged: Path) -> None:
    good, bad = (damaged / f"{MERGED}_{which}.csv.gz" for which in ("positive", "negative"))
    differing = [
        (row.number, column)
        for row, other in zip(rows_of(good), rows_of(bad), strict=True)
        for column in row.cells
        if row.cells[column] != other.cells[column]
    ]
    assert differing == [
        (1, "TimestampOfReceiveUS"),
        (2, "IsLast"),
        *((row, "FinalUpdateId") for row in range(5522, 5547)),
    ]
    findings = played(bad).findings
    for row, column in differing:
        assert list(findings.accusing(row, column)), (row, column)
    # An id that two messages state differently: either may be wrong, so both are named.
    both = {(found.row, found.rows, found.columns) for found in findings.listed if found.row > 2}
    assert both == {(5522, 25, ("FinalUpdateId",)), (7552, 33, ("FinalUpdateIdInLastStream",))}
    assert len(played(good).findings) == 0


def test_a_damaged_chain_is_a_gap_in_the_rows_and_the_book_is_not_known_after_it(damaged: Path) -> None:
    rows = played(damaged / f"{MERGED}_negative.csv.gz")
    # The first rows' damage takes the book of the day before; REST's snapshot opens one, the broken chain ends it.
    assert rows.kinds == {"RESYNC": 2, "INSTRUMENT": 1, "SNAPSHOT": 1, "DELTA": 1, "GAP": 1, "TRADE": 199}
    (gap,) = (batch.messages[0] for batch in rows.batches if batch.messages["kind"][0] == Kind.GAP)
    assert (gap["previous"], gap["last"]) == (7267631271246, 7267633953296)


def test_the_book_of_the_day_before_with_the_first_diff_is_the_snapshot_that_rest_gave(damaged: Path) -> None:
    path = damaged / f"{MERGED}_positive.csv.gz"
    book: Book = book_of(played(path).batches, until=7267631291190)
    snapshot = rest_snapshot(path)
    assert len(snapshot[0]) == len(snapshot[1]) == 1000
    assert levels_of(book, 0, 1000) == snapshot[0]
    # Two asks rested since before that day's diffs began, and no diff ever spoke of them.
    never = {(26703, 53), (26730, 158)}
    assert levels_of(book, 1, 998) == [level for level in snapshot[1] if level not in never]


def test_a_merged_file_gives_the_rows_of_a_session(damaged: Path) -> None:
    rows = played(damaged / f"{MERGED}_positive.csv.gz")
    assert rows.kinds == {"RESYNC": 1, "INSTRUMENT": 1, "SNAPSHOT": 1, "DELTA": 155, "TRADE": 199}
    audit = InstrumentAudit("binance_usdm:TRXUSDT", Events())
    received = 0
    for batch in rows.batches:
        assert batch.instrument == "binance_usdm:TRXUSDT"
        # The rows that open an epoch share the stamp of the diff that let them.
        assert received <= batch.messages["received"][0]
        received = int(batch.messages["received"][0])
        audit.take(batch)
    report = audit.finish()
    assert (report.gaps, report.resyncs, report.synced, report.crossed_seconds) == (0, 1, True, 0)


def test_trades_are_the_cells_of_the_file(damaged: Path) -> None:
    path = damaged / f"{NAMES[5]}.gz"
    trades = [batch.trades[0] for batch in played(path).batches]
    cells = [row.cells for row in rows_of(path)]
    # One row of the futures' trades is none: an id, no price, and no word for what it is.
    (empty,) = (each for each in cells if each["XUnknownParameter"] == "")
    cells.remove(empty)
    assert len(trades) == len(cells) == 9_999
    for trade, each in zip(trades, cells, strict=True):
        assert trade["id"] == int(each["TradeId"])
        assert (trade["price"], trade["size"]) == (round(float(each["Price"]) * 10**5), float(each["Quantity"]))
        assert trade["side"] == (-1 if each["IsBuyerMarketMaker"] == "1" else 1)
        assert trade["exchanged"] == int(each["TransactionTime"]) * 10**6


@pytest.mark.parametrize(
    ("name", "key", "contract", "decimals"),
    [
        (NAMES[0], "binance_coinm:TRXUSD_PERP", Contract.INVERSE, (5, 0)),
        (NAMES[1], "binance_spot:TRXUSDT", Contract.SPOT, (4, 1)),
        (NAMES[2], "binance_usdm:TRXUSDT", Contract.LINEAR, (5, 0)),
        (NAMES[3], "binance_coinm:TRXUSD_PERP", Contract.INVERSE, (5, 0)),
        (NAMES[5], "binance_usdm:TRXUSDT", Contract.LINEAR, (5, 0)),
    ],
)
def test_header_and_symbol_say_whose_a_file_is(
    damaged: Path, name: str, key: str, contract: Contract, decimals: tuple[int, int]
) -> None:
    assert is_flatfile(damaged / f"{name}.gz")
    one = tables.survey(damaged / f"{name}.gz").instrument()
    assert (one.key, one.contract, one.asset) == (key, contract, "TRX")
    assert (one.price_decimals, one.size_decimals, one.tick, one.lot) == (*decimals, 1, 1)
    # A coin-margined contract of any coin but bitcoin is worth 10 USD.
    assert one.contract_size == (10 if contract == Contract.INVERSE else 1) * 10**8


def test_depth_without_a_snapshot_opens_no_book(damaged: Path) -> None:
    assert played(damaged / f"{NAMES[2]}.gz").kinds == {"RESYNC": 1}


def test_two_files_are_merged_by_their_receive_times(damaged: Path) -> None:
    paths = [damaged / f"{name}.gz" for name in (NAMES[2], NAMES[5])]
    times = [int(batch.messages["received"][0]) for batch in read(paths)]
    assert times == sorted(times)
    assert len(times) == sum(len(played(path).batches) for path in paths)


def test_the_report_names_the_cells_and_its_status_is_that_of_bad_data(damaged: Path) -> None:
    report = verify([twin(damaged, NAMES[4])])
    assert report.status == 5
    (table,) = orjson.loads(report.json())["tables"]
    assert (table["instruments"], table["messages"]) == (["binance_spot:TRXUSDT"], {"TRADE": 9998})
    assert [(found["row"], found["columns"]) for found in table["findings"]] == [
        (3, ["TradeId"]),
        (10_000, ["TimestampOfReceive", "EventTime"]),
    ]
    assert table["findings"][0]["path"].endswith(twin(damaged, NAMES[4]).name)
    assert (table["findings"][0]["met"], table["findings"][0]["allowed"]) == (
        "348656871",
        "348656872, one more than the trade before",
    )
    assert verify([damaged / f"{NAMES[4]}.gz"]).status == 0


def test_a_tape_is_no_flat_file(binance_tapes: Path, damaged: Path) -> None:
    assert layout_of(binance_tapes / "usdm_btcusdt_20240808.gz") is None
    assert layout_of(damaged / "LABELLED_DIFFS.json") is None
    assert layout_of(damaged) is None
