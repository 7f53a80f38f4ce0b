"""Whatever is done to a cell, a row or a message of a whole file: it is named where it was done, and nowhere else."""

import gzip
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airpocket.sources import open_rows
from engine.errors import BadConfig, BadRecord
from engine.schema import Kind
from ingest.findings import Findings
from ingest.flatfiles import Row, read, rows_of
from tests.conftest import DATA
from tests.flat_tables import write
from tests.test_damaged import NAMES

pytestmark = pytest.mark.tape

DEPTH, TRADES = NAMES[:3], NAMES[3:]
#: What a cell of a column can never say in these files.
NEVER = {
    "TimestampOfReceive": ["", "0", "-1", "1741046400.5", "1600000000000", "1841046400000", "9" * 20],
    "Stream": ["", "btcusdt@depth@100ms", "trxusdt@aggTrade"],
    "EventType": ["", "aggTrade", "depthupdate"],
    "EventTime": ["", "0", "x", "1600000000000", "1841046400000", "1e12"],
    "TransactionTime": ["", "0", "x", "1600000000000", "1841046400000"],
    "Symbol": ["", "BTCUSDT", "trxusdt"],
    "FirstUpdateId": ["", "0", "-5", "1.0", "9" * 19],
    "FinalUpdateId": ["", "0", "-5", "1.0", "1"],
    "FinalUpdateIdInLastStream": ["", "0", "-5", "1.0", "9" * 19],
    "IsAsk": ["", "2", "-1", "True", "0.0"],
    "Price": ["", "0", "-1", "nan", "inf", "1_0", " 0.23", "0,23", "0x1", "1e5"],
    "Quantity": ["", "-1.0", "nan", "inf", "1_0.0", "1e12"],
    "PSUnknownField": ["", "BTCUSD"],
    "TradeId": ["", "0", "-1", "x", "7", "9" * 19],
    "IsBuyerMarketMaker": ["", "2", "True"],
    "XUnknownParameter": ["market", "LIQUIDATION"],
    "MUnknownParameter": ["", "1", "MARKET"],
}


@cache
def head(name: str) -> list[Row]:
    return list(islice(rows_of(DATA / "damaged" / f"{name}.gz"), 300))


def found(path: Path) -> Findings:
    findings = Findings()
    for _ in read([path], findings):
        pass
    return findings


def message_of(rows: list[Row], row: int) -> set[int]:
    """Numbers of the rows that came in one message with a row."""
    ids = [each.cells.get("FinalUpdateId", str(each.number)) for each in rows]
    return {each.number for each, last in zip(rows, ids, strict=True) if last == ids[row - 1]}


@settings(max_examples=300, deadline=None)
@given(draw=st.data())
def test_a_cell_that_breaks_a_rule_is_named_and_no_other_message_is(
    draw: st.DataObject, damaged: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = draw.draw(st.sampled_from(NAMES))
    rows = head(name)
    number = draw.draw(st.integers(1, len(rows)))
    column = draw.draw(st.sampled_from([*rows[0].cells]))
    value = draw.draw(st.sampled_from(NEVER[column]))
    path = write(
        tmp_path_factory.mktemp("flat") / "copy.gz",
        rows,
        lambda row: [Row(row.number, row.cells | {column: value}) if row.number == number else row],
    )
    findings = found(path)
    assert list(findings.accusing(number, column)), f"{column} {value!r} in row {number} of {name}"
    # The ids of one row's message also stand in its neighbours', which may be named beside it.
    near = {row + step for row in message_of(rows, number) for step in (-1, 0, 1)}
    for each in findings.listed:
        assert each.row in near or "Update" in column, str(each)


@pytest.mark.parametrize("name", TRADES)
def test_trades_that_are_missing_or_come_twice_are_named_at_the_next(damaged: Path, name: str, tmp_path: Path) -> None:
    rows = head(name)
    missing = write(tmp_path / "missing.gz", rows, lambda row: [] if row.number in (50, 51) else [row])
    assert [(each.row, each.columns) for each in found(missing).listed] == [(50, ("TradeId",))]
    twice = write(tmp_path / "twice.gz", rows, lambda row: [row, row] if row.number == 50 else [row])
    assert [(each.row, each.columns) for each in found(twice).listed] == [(51, ("TradeId",))]


@pytest.mark.parametrize("name", DEPTH)
@pytest.mark.parametrize("damage", ["missing", "twice", "doubled level"])
def test_a_message_or_level_that_is_missing_or_comes_twice_is_named(
    damaged: Path, name: str, damage: str, tmp_path: Path
) -> None:
    rows = head(name)
    group = message_of(rows, 100)
    first, last = min(group), max(group)
    whole = [row for row in rows if row.number in group]

    def change(row: Row) -> list[Row]:
        if damage == "missing":
            return [] if row.number in group else [row]
        if damage == "twice":
            return [*([row] if row.number != last else [row, *whole])]
        return [row, row] if row.number == first else [row]

    findings = found(write(tmp_path / "copy.gz", rows, change)).listed
    if damage == "missing":
        link = "FirstUpdateId" if "_spot_" in name else "FinalUpdateIdInLastStream"
        assert [(each.row, each.columns) for each in findings] == [(first, (link,))]
    else:
        # A message that comes twice at once cannot be told from one whose levels do.
        again = [first + 1] if damage == "doubled level" else [last + 1 + step for step in range(len(group))]
        assert [(each.row, each.columns) for each in findings] == [(row, ("IsAsk", "Price")) for row in again]


def test_a_missing_diff_is_a_gap_and_no_level_passes_until_a_snapshot_comes(damaged: Path, tmp_path: Path) -> None:
    merged = next(damaged.glob("merged*positive*"))
    rows = list(rows_of(merged))
    path = write(tmp_path / "copy.gz", rows, lambda row: [] if 7699 <= row.number <= 7714 else [row])
    findings = Findings()
    batches = list(read([path], findings))
    kinds = [int(batch.messages["kind"][0]) for batch in batches if batch.messages["kind"][0] != Kind.TRADE]
    assert kinds[:7] == [Kind.RESYNC, Kind.INSTRUMENT, Kind.SNAPSHOT, Kind.DELTA, Kind.DELTA, Kind.DELTA, Kind.GAP]
    assert kinds[7:] == [Kind.RESYNC]
    # The rows' own count shows the hole at the trade that comes first, the ids at the next diff.
    assert [(each.row, each.columns) for each in findings.listed] == [
        (7699, ("ServiceId",)),
        (7704, ("FinalUpdateIdInLastStream",)),
    ]


def test_small_numbers_are_read_as_they_are_printed(damaged: Path, tmp_path: Path) -> None:
    change = {10: "1e-05", 11: "2.5e-07"}
    path = write(
        tmp_path / "copy.gz",
        head(NAMES[4]),
        lambda row: [Row(row.number, row.cells | {"Quantity": change.get(row.number, row.cells["Quantity"])})],
    )
    findings = Findings()
    sizes = [int(batch.trades["size"][0]) for batch in read([path], findings)]
    assert len(findings) == 0
    assert (sizes[9], sizes[10]) == (1000, 25)


def test_rows_of_another_length_are_named(damaged: Path, tmp_path: Path) -> None:
    rows = head(NAMES[5])
    path = write(tmp_path / "copy.gz", rows)
    lines = gzip.decompress(path.read_bytes()).split(b"\n")
    lines[20] += b",more"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    findings = found(path)
    assert (findings.listed[0].row, findings.listed[0].met, findings.listed[0].allowed) == (20, "12 cells", "11")


def test_what_cannot_be_read_is_refused_by_name(damaged: Path, binance_tapes: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.csv.gz"
    whole = (damaged / f"{NAMES[5]}.gz").read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadRecord, match=r"torn\.csv\.gz cannot be unpacked"):
        list(read([torn]))
    with pytest.raises(BadConfig, match="is no flat file of market data"):
        list(read([binance_tapes / "usdm_btcusdt_20240808.gz"]))
    empty = tmp_path / "empty.csv"
    empty.write_text(",".join(head(NAMES[5])[0].cells) + "\n")
    with pytest.raises(BadConfig, match="has a header and no row"):
        list(read([empty]))


@pytest.mark.tape
def test_a_flat_file_is_a_source_of_a_replay(damaged: Path) -> None:
    (whole,) = damaged.glob("merged_*_positive.csv.gz")
    rows = open_rows([whole])
    assert sum(len(batch.messages) for batch in rows) == 357
    assert rows.told() == "passed over: nothing"
    with pytest.raises(BadConfig, match="names its exchange"):
        open_rows([whole], "binance_usdm")
    (spoilt,) = damaged.glob("test_negative_binance_trade_stream_spot_*.csv.gz")
    rows = open_rows([spoilt])
    assert sum(len(batch.messages) for batch in rows) < 10_000
    assert "2 cells that break a rule" in rows.told()
