"""What is wrong with a lake is named with its file, and what would spoil one is refused."""

import json
import shutil
from pathlib import Path
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airpocket.player import Player
from airpocket.sources import TapeRows
from engine import lake
from engine.errors import BadConfig, BadRecord
from engine.schema import Batch, Kind
from ingest.parquet import read
from ingest.simulator.frames import START
from tests.lakes import SECOND, aged, each_message, made, one, simulated, written


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording as a lake of small row groups."""
    folder = tmp_path_factory.mktemp("whole")
    written(folder, TapeRows([simulated(tmp_path_factory.mktemp("recording"))]), 200)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A lake to spoil."""
    return shutil.copytree(whole, tmp_path / "lake")


def test_row_groups_outside_a_filter_are_not_read(copy: Path) -> None:
    # What is spoilt there is not met.
    for channel in ("message", "book"):
        path = one(copy, channel)
        meta = pq.ParquetFile(path).metadata
        assert meta.num_row_groups > 4
        spoilt = bytearray(path.read_bytes())
        at = list(lake.CHANNELS[channel == "book"].columns).index("size" if channel == "book" else "last_step")
        for group in (0, meta.num_row_groups - 1):
            column = meta.row_group(group).column(at)
            begin = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
            spoilt[begin + column.total_compressed_size // 2] ^= 1
        path.write_bytes(spoilt)
    assert list(read(copy, since=START + 4 * SECOND, until=START + 5 * SECOND))
    with pytest.raises(BadRecord, match="row group 0 is corrupt"):
        list(read(copy))


@pytest.mark.parametrize("channel", ["message", "book", "trade", "instrument"])
def test_a_spoilt_or_torn_file_is_named_or_harmless(copy: Path, channel: str) -> None:
    expected = each_message(read(copy))
    path = one(copy, channel)
    value = path.read_bytes()
    chance = np.random.default_rng(5)
    named = 0
    for n in range(60):
        spoilt = bytearray(value)
        if n % 4:
            spoilt[chance.integers(0, len(value))] ^= 1 << chance.integers(0, 8)
        else:
            spoilt = spoilt[: chance.integers(0, len(value))]
        path.write_bytes(spoilt)
        said = ""
        try:
            assert each_message(read(copy)) == expected
        except BadRecord as error:
            said = str(error)
        assert not said or path.name in said
        named += said != ""
    assert named > 20


def test_a_missing_file_is_missed(whole: Path, tmp_path: Path) -> None:
    batches = [made("one:A", "A", [(START + n * lake.HOUR, Kind.DELTA, 2)], n) for n in range(3)]
    paths = written(tmp_path, batches)
    books, messages = [p for p in paths if "=book" in str(p)], [p for p in paths if "=message" in str(p)]
    for missing, said in [
        (books[1], f"promises levels, and {books[1]} is not there"),
        (messages[0], "lacks the messages of one:A's rows"),
        (messages[1], "lacks the messages of one:A's rows"),
    ]:
        value = missing.read_bytes()
        missing.unlink()
        with pytest.raises(BadRecord, match=said):
            list(read(tmp_path))
        missing.write_bytes(value)
    for path in (books[1], messages[1]):
        path.unlink()
    with pytest.raises(BadRecord, match="follows 2 messages of one:A in its conversion, 1 are here"):
        list(read(tmp_path))


def test_what_is_no_lake_is_named(copy: Path, tmp_path: Path) -> None:
    path = one(copy, "book")
    value = path.read_bytes()
    pq.write_table(pa.table({"price": [1]}), path)
    with pytest.raises(BadRecord, match=rf"{path} has airpocket.lake None in its metadata, allowed is '2' or '3'"):
        list(read(copy))
    table, meta = pq.read_table(pa.BufferReader(value)), pq.read_metadata(pa.BufferReader(value)).metadata
    for changes, columns, said in [
        ({b"airpocket.lake": b"1"}, table, "has airpocket.lake '1' in its metadata, allowed is '2' or '3'"),
        ({b"airpocket.lake": b"4"}, table, "has airpocket.lake '4' in its metadata, allowed is '2' or '3'"),
        ({b"rows": b"9"}, table, "has rows '9' in its metadata, allowed is '1'"),
        ({b"instrument": b"x:Y"}, table, "has instrument 'x:Y' in its metadata, allowed is 'binance_usdm:BTCUSDT'"),
        ({b"run": b"7"}, table, "has run '7', its messages have"),
        ({b"last": b"7"}, table, "has last '7', its messages have"),
        ({}, table.drop_columns(["size"]), "has columns .*, allowed are"),
        ({}, table.slice(1), "rows left where its messages promise"),
        ({}, pa.concat_tables([table, table.slice(0, 1)]), "has 1 rows more than the messages"),
    ]:
        pq.write_table(columns.replace_schema_metadata({**meta, **changes}), path)
        with pytest.raises(BadRecord, match=said):
            list(read(copy))
    path.write_bytes(value)
    stranger = path.with_name("notes.parquet")
    stranger.write_bytes(b"")
    with pytest.raises(BadRecord, match=r"notes\.parquet is no file of a lake"):
        read(copy)
    with pytest.raises(BadConfig, match="is not there"):
        read(tmp_path / "nowhere")
    (tmp_path / "empty" / "channel=book").mkdir(parents=True)
    with pytest.raises(BadConfig, match="is empty: it has no file of messages"):
        Player([tmp_path / "empty"])
    with pytest.raises(BadConfig, match="allowed is one lake alone"):
        Player([copy, copy])
    with pytest.raises(BadConfig, match="a lake, which names its venues"):
        Player([copy], venue="binance_usdm")


def test_what_no_message_may_say_is_named_with_its_row_group(copy: Path) -> None:
    aged(copy, 200)
    path = one(copy, "message")
    table, meta = pq.ParquetFile(path).read(), pq.read_metadata(path).metadata
    at = table.column("kind").to_pylist().index(Kind.TRADE, 200)
    for name, value, said in [
        ("bids", int(table.column("count")[at].as_py()) + 1, "a message has more bids than levels"),
        ("kind", 77, "kinds are 2 to 77, allowed are 1 to"),
        ("kind", 0, "kinds are 0 to"),
        ("kind", int(Kind.STATUS), "a message of a kind without rows promises some"),
        ("sequence_less_received", -lake.HOUR, "has a sequence that does not rise from"),
    ]:
        column = table.column(name).to_numpy().copy()
        column[at] = value
        spoilt = table.set_column(table.column_names.index(name), table.schema.field(name), pa.array(column))
        pq.write_table(spoilt.replace_schema_metadata(meta), path, row_group_size=200)
        with pytest.raises(BadRecord, match=rf"{path}.*row group {at // 200}.*{said}"):
            list(read(copy))


def test_what_metadata_say_of_row_groups_is_summed_and_checked(copy: Path) -> None:
    path = one(copy, "message")
    table, meta = pq.ParquetFile(path).read(), pq.read_metadata(path).metadata
    groups = meta[b"groups"].decode()
    count = pq.read_metadata(path).num_row_groups
    assert lake.text_of(lake.groups_of(groups, count)) == groups
    for changed, said in [
        (groups.replace("same", "some", 1), "its CRC-32 is"),
        (summed("{}"), f"it is not of {count} row groups"),
        (summed("[" + ",".join(["{}"] * count) + "]"), "it says what no row group has"),
        (summed("["), "Expecting value"),
        *[
            (summed("[" + ",".join([json.dumps(each)] * count) + "]"), "it says what no row group has")
            for each in (
                {"exchanged": 2**63, "kinds": [], "same": {}},
                {"exchanged": 0, "kinds": [[256, 0, 0]], "same": {}},
                {"exchanged": 0, "kinds": [[1, 0]], "same": {}},
                {"exchanged": 0, "kinds": [], "same": {"kind": 300}},
                {"exchanged": 0, "kinds": [], "same": {"kind": None}},
                {"exchanged": 0, "kinds": [], "same": {"price": 1}},
                {"exchanged": 0, "kinds": [], "same": 7},
            )
        ],
    ]:
        pq.write_table(table.replace_schema_metadata({**meta, b"groups": changed.encode()}), path, row_group_size=200)
        with pytest.raises(BadRecord, match=f"{path}: groups in its metadata.*{said}"):
            list(read(copy))
    without = {key: value for key, value in meta.items() if key != b"groups"}
    pq.write_table(table.replace_schema_metadata(without), path)
    with pytest.raises(BadRecord, match="has no groups in its metadata"):
        list(read(copy))


def summed(text: str) -> str:
    return f"{crc32(text.encode()):08x} {text}"


def test_what_a_killed_writer_left_is_told_and_not_read(copy: Path) -> None:
    expected = each_message(read(copy))
    part = one(copy, "book").with_name("05-1736035200000000000.parquet.77.tmp")
    part.write_bytes(b"PAR1")
    player = Player([copy])
    assert [(tear.path, tear.bytes) for tear in player.tears] == [(part, 4)]
    assert "is not read" in player.rows.told()
    assert each_message(read(copy)) == expected


def test_a_lake_takes_other_hours_and_refuses_those_it_has(tmp_path: Path) -> None:
    early = made("one:A", "A", [(START + 10 + n, Kind.DELTA, 2) for n in range(50)])
    later = made("one:A", "A", [(START + lake.HOUR + n, Kind.DELTA, 2) for n in range(50)], 2)
    between = made("two:A", "A", [(START + SECOND + n, Kind.DELTA, 2) for n in range(50)], 3)
    written(tmp_path, [early, later])
    written(tmp_path, [between])
    expected = each_message([early, between, later])
    assert each_message(read(tmp_path)) == expected
    before = sorted(tmp_path.rglob("*"))
    for batches in ([early], [made("three:A", "A", [(START + 17, Kind.TRADE, 1)])], [made_around(early)]):
        with pytest.raises(BadConfig, match=r"the lake holds .* already .* allowed are other times, or another lake"):
            written(tmp_path, batches)
        assert sorted(tmp_path.rglob("*")) == before
    assert each_message(read(tmp_path)) == expected


def made_around(batch: Batch) -> Batch:
    """Begin before a batch and end after it, in the same hour."""
    received = batch.messages["received"]
    return made("nine:A", "A", [(int(received[0]) - 5, Kind.DELTA, 1), (int(received[-1]) + 5, Kind.DELTA, 1)])


def test_nothing_is_left_of_a_conversion_that_fails(tmp_path: Path) -> None:
    good = made("one:A", "A", [(START + n, Kind.DELTA, 2) for n in range(50)])
    lame = Batch(instrument="one:A", asset="A", messages=good.messages, levels=good.levels[1:])
    spoilt = made("one:A", "A", [(START, Kind.TRADE, 1)])
    spoilt.trades["reserved"] = 1
    for bad, said in [(lame, "100 levels are promised, 99 are there"), (spoilt, "have a reserved that is not zero")]:
        with pytest.raises(BadRecord, match=said):
            written(tmp_path, [good, bad], 8)
        assert list(tmp_path.iterdir()) == []


def test_what_lies_before_a_spoilt_row_group_is_given_out_first(copy: Path) -> None:
    path = one(copy, "book")
    expected = each_message(read(copy))
    meta = pq.ParquetFile(path).metadata
    column = meta.row_group(meta.num_row_groups - 1).column(list(lake.BOOK.columns).index("price"))
    spoilt = bytearray(path.read_bytes())
    spoilt[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(spoilt)
    found: list[Batch] = []
    with pytest.raises(BadRecord, match=rf"{path}: row group {meta.num_row_groups - 1} is corrupt"):
        found.extend(read(copy))
    given = each_message(found)
    assert len(given) > len(expected) // 2
    assert given == expected[: len(given)]
