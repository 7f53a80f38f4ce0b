"""The lake: rows come back as they went in, and what is not right is named; signals from it are those of the tape."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airpocket.player import Player
from airpocket.sources import TapeRows
from engine import lake
from engine.errors import BadConfig, BadRecord
from engine.kernel import COMPILED
from engine.schema import FAMILY, MESSAGE, Batch, Flag, Kind, Rows
from engine.wire import encode
from ingest import parquet
from ingest.parquet import read
from ingest.simulator.frames import START, tape
from sinks.parquet import ParquetSink
from sinks.tape import TapeConfig, TapeSink
from tests.recording import record

ROOT = Path(__file__).parents[1]
SECOND = 1_000_000_000
VENUES = {"usdm": "binance_usdm", "spot": "binance_spot"}
PARTS = [channel.part for channel in lake.ROWS]


def each_message(batches: Iterable[Batch]) -> list[tuple[str, str, bytes]]:
    """Give every message by itself, as it goes on the wire: the same however the messages were batched."""
    found = []
    for batch in batches:
        offsets = lake.offsets_of(batch.messages)
        for n in range(len(batch.messages)):
            alone = lake.cut(batch, offsets, n, n + 1)
            found.append((batch.instrument, batch.asset, encode(alone)))
    return found


def written(folder: Path, batches: Iterable[Batch], group: int | None = None) -> list[Path]:
    with ParquetSink(folder, group) as sink:
        sink.write(batches)
    return sink.paths


def made(instrument: str, asset: str, messages: list[tuple[int, Kind, int]], seed: int = 1) -> Batch:
    """Make a batch of (received, kind, count), every other number at random."""
    chance = np.random.default_rng(seed)

    def rows(dtype: np.dtype[Any], count: int) -> Rows:
        out = np.zeros(count, dtype)
        for name in dtype.names or ():
            if dtype[name].kind == "S":
                out[name] = [bytes(chance.integers(1, 256, chance.integers(0, 17), np.uint8)) for _ in range(count)]
            elif not name.startswith("reserved"):
                span = np.iinfo(dtype[name])
                out[name] = chance.integers(span.min, span.max, count, dtype[name], endpoint=True)
        return out

    head = rows(MESSAGE, len(messages))
    parts: dict[str, list[Rows]] = {}
    for n, (received, kind, count) in enumerate(messages):
        count = count if kind in FAMILY else 0
        bids = int(chance.integers(0, count + 1)) if kind <= Kind.TOUCH else 0
        head["received"][n], head["kind"][n], head["count"][n], head["bids"][n] = received, kind, count, bids
        head["flags"][n] = chance.choice([0, Flag.PARTIAL, Flag.CONTINUED, Flag.HISTORY, 2**32 - 1])
        for channel in lake.ROWS:
            if kind in channel.kinds:
                parts.setdefault(channel.part, []).append(rows(channel.family, count))
    joined = {part: np.concatenate(found) for part, found in parts.items()}
    return Batch(instrument=instrument, asset=asset, messages=head, **joined)


HOURS = st.integers(0, 3).map(lambda hour: START + hour * lake.HOUR)
MESSAGES = st.lists(st.tuples(HOURS, st.integers(0, 50), st.sampled_from(list(Kind)), st.integers(0, 9)), max_size=12)
KEYS = st.sampled_from([("one:AUSD", "A"), ("two:A/USD", "A"), ("one:BUSD", "B"), ("t:%2e é", "B"), ("one:BUSD", "C")])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(KEYS, MESSAGES, st.integers(0, 2**32)), max_size=6), st.integers(1, 9), st.integers(1, 30))
def test_any_messages_come_back_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Any], group: int, most: int
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    batches = [
        made(key[0], key[1], [(hour + step, kind, count) for hour, step, kind, count in messages], seed)
        for key, messages, seed in drawn
    ]
    expected = each_message(batches)
    paths = written(folder, batches, group)
    assert len(set(paths)) == len(paths)
    if not expected:
        assert paths == []
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "BATCH", most)
        assert each_message(read(folder)) == expected


def test_consecutive_messages_of_one_instrument_are_one_batch(tmp_path: Path) -> None:
    one = [made("one:A", "A", [(START + n, Kind.DELTA, 3)], n) for n in range(500)]
    other = made("two:A", "A", [(START + 1000, Kind.TRADE, 1)])
    written(tmp_path, [*one, other, *one])
    assert [len(batch.messages) for batch in read(tmp_path)] == [500, 1, 500]


def minute(binance_tapes: Path, *names: str) -> tuple[list[Path], int]:
    """Give tapes and the end of their first minute, or of less where kernels are plain Python."""
    paths = [binance_tapes / name for name in names]
    begin = min(next(iter(TapeRows([path], VENUES[path.name[:4]]))).messages["received"][0] for path in paths)
    return paths, int(begin) + (60 if COMPILED else 2) * SECOND


@pytest.mark.tape
@pytest.mark.parametrize("name", ["usdm_btcusdt_20240808.gz", "spot_ethusdt_20240808.gz"])
def test_a_lake_gives_the_signals_of_its_tape_byte_for_byte(binance_tapes: Path, tmp_path: Path, name: str) -> None:
    paths, until = minute(binance_tapes, name)
    venue = VENUES[name[:4]]
    batches = list(TapeRows(paths, venue, until))
    written(tmp_path, batches)
    assert each_message(read(tmp_path)) == each_message(batches)
    tape, lake = Player(paths, venue=venue, until=until), Player([tmp_path])
    records = [(r.topic, r.key, r.time, r.value) for r in tape]
    assert records == [(r.topic, r.key, r.time, r.value) for r in lake]
    assert len(records) > (500 if COMPILED else 10)
    assert tape.digest() == lake.digest()


@pytest.mark.tape
def test_a_lake_of_two_venues_keeps_the_order_between_them(binance_tapes: Path, tmp_path: Path) -> None:
    (path, other), until = minute(binance_tapes, "usdm_btcusdt_20240808.gz", "spot_btcusdt_20240808.gz")
    folder = tmp_path / "tapes"
    folder.mkdir()
    # Two recordings of two venues, each with its own start line, as our recorder writes them.
    batches: list[Batch] = []
    piles = [TapeRows([path], "binance_usdm", until), TapeRows([other], "binance_spot", until)]
    rows = [(int(batch.messages["received"][0]), batch) for pile in piles for batch in pile]
    batches = [batch for _, batch in sorted(rows, key=lambda row: row[0])]
    written(tmp_path / "lake", batches)
    assert {batch.instrument for batch in batches} == {"binance_usdm:BTCUSDT", "binance_spot:BTCUSDT"}
    assert {batch.asset for batch in batches} == {"BTC"}
    assert each_message(read(tmp_path / "lake")) == each_message(batches)
    straight = list(stepped(batches))
    assert len(straight) > 0
    assert straight == [(r.topic, r.key, r.time, r.value) for r in Player([tmp_path / "lake"])]


def stepped(batches: Sequence[Batch]) -> Iterator[tuple[str, str, int, bytes]]:
    from airpocket.player import ALL
    from engine.config import EngineConfig
    from engine.pipeline import Pipeline

    pipeline = Pipeline("BTC", EngineConfig())
    for batch in batches:
        yield from ((r.topic, r.key, r.time, r.value) for r in pipeline.step(batch) if r.topic in ALL)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of the simulated market in two symbols, recorded in parts."""
    folder = tmp_path_factory.mktemp("recording")
    lines = list(takewhile(lambda line: line[0] < START + 8 * SECOND, tape(seed=2)))
    sink = TapeSink(TapeConfig(folder=folder, prefix="sim", part_time=3 * SECOND), lambda stamp: lines[0][1])
    sink.write([record(time, raw) for time, raw in lines[1:]])
    sink.close()
    return folder


@pytest.fixture(scope="module")
def whole(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a lake of small row groups."""
    folder = tmp_path_factory.mktemp("whole")
    written(folder, TapeRows([recording]), 200)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A lake to spoil."""
    return shutil.copytree(whole, tmp_path / "lake")


def one(folder: Path, channel: str, symbol: str = "BTCUSDT") -> Path:
    """Name the largest file of a channel."""
    return max(folder.glob(f"channel={channel}/*/symbol={symbol}/*/*.parquet"), key=lambda path: path.stat().st_size)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "airpocket", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)


def test_the_verbs_convert_and_replay_a_recording(recording: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "lake")
    made = run("convert", str(recording), "--to", folder, "--json")
    assert made.returncode == 0, made.stderr
    said = json.loads(made.stdout)
    assert said["rows"]["message"] > 1000
    assert said["files"] == len([path for path in (tmp_path / "lake").rglob("*") if path.is_file()])
    lake = json.loads(run("replay", folder, "--digest", "--json").stdout)
    tape = json.loads(run("replay", str(recording), "--digest", "--json").stdout)
    assert lake["digest"] == tape["digest"]
    assert lake["records"] == tape["records"] > 100
    assert lake["messages"] == said["rows"]["message"]
    again = run("convert", str(recording), "--to", folder)
    assert (again.returncode, again.stderr.count("\n")) == (3, 1)
    assert "the lake holds" in again.stderr


def test_times_and_choices_bound_a_lakes_records_as_they_do_a_tapes(recording: Path, whole: Path) -> None:
    since, until = START + 3 * SECOND, START + 6 * SECOND
    found = [Player([path], topics=["signal.depth.v1"], since=since, until=until) for path in (recording, whole)]
    records = [[(r.key, r.time, r.value) for r in player] for player in found]
    assert records[0] == records[1]
    assert len(records[0]) > 20


def test_filters_give_what_the_whole_has_within_them(whole: Path) -> None:
    every = list(read(whole))
    for since, until in [(START + 2 * SECOND, None), (None, START + SECOND), (START + SECOND, START + 2 * SECOND)]:
        expected = [
            lake.cut(batch, lake.offsets_of(batch.messages), n, n + 1)
            for batch in every
            for n, received in enumerate(batch.messages["received"])
            if (since is None or received >= since) and (until is None or received < until)
        ]
        assert each_message(read(whole, since=since, until=until)) == each_message(expected)
        assert expected
    some = list(read(whole, instruments=["binance_usdm:ETHUSDT"]))
    assert each_message(some) == each_message(b for b in every if b.instrument == "binance_usdm:ETHUSDT")
    assert list(read(whole, until=0)) == list(read(whole, since=START + lake.DAY)) == []
    with pytest.raises(BadConfig, match=r"'binance_usdm:ETHUSD' is not in lake .*, known are binance_usdm:ETHUSDT"):
        read(whole, instruments=["binance_usdm:ETHUSD"])


def test_row_groups_outside_a_filter_are_not_read(copy: Path) -> None:
    # What is spoilt there is not met.
    for channel in ("message", "book"):
        path = one(copy, channel)
        meta = pq.ParquetFile(path).metadata
        assert meta.num_row_groups > 4
        spoilt = bytearray(path.read_bytes())
        at = list(lake.CHANNELS[channel == "book"].columns).index("size" if channel == "book" else "last")
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
    with pytest.raises(BadRecord, match=rf"{path} has airpocket.lake None in its metadata, allowed is '1'"):
        list(read(copy))
    table, meta = pq.read_table(pa.BufferReader(value)), pq.read_metadata(pa.BufferReader(value)).metadata
    for changes, columns, said in [
        ({b"airpocket.lake": b"2"}, table, "has airpocket.lake '2' in its metadata, allowed is '1'"),
        ({b"rows": b"9"}, table, "has rows '9' in its metadata, allowed is '1'"),
        ({b"instrument": b"x:Y"}, table, "has instrument 'x:Y' in its metadata, allowed is 'binance_usdm:BTCUSDT'"),
        ({b"run": b"7"}, table, "has run '7', its messages have"),
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


def test_a_desk_reads_a_row_per_level_with_its_stamps_and_scale(whole: Path) -> None:
    path = one(whole, "book")
    since = int(pq.ParquetFile(path).read(["received"])["received"][0].as_py())
    meta = pq.read_metadata(path).metadata
    assert {key: meta[key] for key in (b"instrument", b"asset", b"price_decimals", b"size_decimals")} == {
        b"instrument": b"binance_usdm:BTCUSDT",
        b"asset": b"BTC",
        b"price_decimals": b"2",
        b"size_decimals": b"3",
    }
    rows = pq.ParquetFile(path).read().to_pydict()
    (first,) = (b for b in islice(read(whole, instruments=["binance_usdm:BTCUSDT"], since=since), 1))
    book = [m for m in first.messages if m["kind"] <= Kind.TOUCH]
    at = 0
    for message in book[:20]:
        end = at + int(message["count"])
        for name in ("received", "exchanged", "last", "epoch", "kind", "flags"):
            assert set(rows[name][at:end]) == {int(message[name])}
        assert rows["side"][at:end] == [1] * int(message["bids"]) + [-1] * (end - at - int(message["bids"]))
        assert list(zip(rows["price"][at:end], rows["size"][at:end], strict=True)) == first.levels[at:end].tolist()
        at = end
    assert at > 500


def test_rows_of_other_units_begin_another_file(tmp_path: Path) -> None:
    batches = [
        made("one:A", "A", [(START, Kind.RESYNC, 0), (START, Kind.INSTRUMENT, 1), (START, Kind.DELTA, 2)]),
        made("one:A", "A", [(START, Kind.DELTA, 1), (START, Kind.INSTRUMENT, 1), (START, Kind.DELTA, 2)]),
    ]
    for batch, decimals in zip(batches, (2, 3), strict=True):
        batch.instruments["price_decimals"] = batch.instruments["size_decimals"] = decimals
    paths = [path for path in written(tmp_path, batches) if "=book" in str(path)]
    found = [(pq.read_metadata(p).metadata[b"price_decimals"], pq.read_metadata(p).num_rows) for p in paths]
    assert found == [(b"2", 3), (b"3", 2)]
    assert each_message(read(tmp_path)) == each_message(batches)
