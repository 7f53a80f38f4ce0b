"""The lake: rows come back as they went in, and signals from it are those of the tape."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airpocket.player import Player
from airpocket.sources import TapeRows
from engine import lake
from engine.errors import BadConfig
from engine.kernel import COMPILED
from engine.schema import Batch, Kind
from ingest import columns, parquet
from ingest.parquet import read
from ingest.simulator.frames import START
from sinks.parquet import ParquetSink
from tests.lakes import SECOND, aged, each_message, made, one, simulated, stepless, written

ROOT = Path(__file__).parents[1]
VENUES = {"usdm": "binance_usdm", "spot": "binance_spot"}


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


def test_every_byte_of_a_row_is_laid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = columns._empty

    def dirty(count: int, family: np.dtype[Any]) -> Any:
        rows = empty(count, family)
        rows.view(np.uint8)[:] = 255
        return rows

    monkeypatch.setattr(columns, "_empty", dirty)
    kinds = [kind for kind in Kind for _ in range(3)]
    batch = made("one:A", "A", [(START + n, kind, 2) for n, kind in enumerate(kinds)])
    written(tmp_path, [batch], 4)
    found = list(read(tmp_path))
    for part in ("messages", *(channel.part for channel in lake.ROWS)):
        rows = b"".join(getattr(each, part).tobytes() for each in found)
        assert rows == getattr(batch, part).tobytes()
        assert rows


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
    return simulated(tmp_path_factory.mktemp("recording"))


@pytest.fixture(scope="module")
def whole(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a lake of small row groups."""
    folder = tmp_path_factory.mktemp("whole")
    written(folder, TapeRows([recording]), 200)
    return folder


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


def test_any_reader_finds_ids_and_clocks_by_adding_what_they_are_stored_from(whole: Path) -> None:
    columns = {name: column.to_numpy() for name, column in _columns(one(whole, "message")).items()}
    name = "binance_usdm:BTCUSDT"
    messages = np.concatenate([batch.messages for batch in read(whole, instruments=[name])])
    older = stepless(columns)
    for field in ("exchanged", "last", "previous"):
        assert older[field] == messages[field].tolist()
    assert (columns["published_less_exchanged"] + older["exchanged"] == messages["published"]).all()
    assert (columns["first_less_last"] + older["last"] == messages["first"]).all()
    assert len(set(messages["previous"])) > 50
    assert len(set(messages["first"] - messages["last"])) > 1
    sequence = columns["sequence_less_received"] + columns["received"]
    book = _columns(one(whole, "book"))
    of_levels = book["sequence_less_received"].to_numpy() + book["received"].to_numpy()
    own = messages["kind"] <= Kind.TOUCH
    assert (of_levels == np.repeat(sequence[own], messages["count"][own])).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(KEYS, MESSAGES, st.integers(0, 2**32)), max_size=4), st.integers(1, 9))
def test_a_lake_of_the_version_before_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Any], group: int
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    batches = [made(key[0], key[1], [(h + s, k, n) for h, s, k, n in each], seed) for key, each, seed in drawn]
    written(folder, batches, group)
    if not any(folder.iterdir()):
        return
    expected = each_message(read(folder))
    aged(folder, group)
    assert {pq.read_metadata(path).metadata[b"airpocket.lake"] for path in folder.rglob("*.parquet")} == {b"2"}
    assert each_message(read(folder)) == expected


def _columns(path: Path) -> Any:
    table = pq.ParquetFile(path).read()
    return dict(zip(table.column_names, table.columns, strict=True))


def test_no_file_stays_open_while_many_instruments_are_written(tmp_path: Path) -> None:
    batches = [made(f"v:{n}", "A", [(START + n, Kind.DELTA, 3)], n) for n in range(40)]
    with ParquetSink(tmp_path, 1) as sink:
        sink.write(batches)
        assert len(list(tmp_path.rglob("*.tmp"))) == 80
        opened = [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()]
        assert opened
        assert not [path for path in opened if path.startswith(str(tmp_path))]
    assert each_message(read(tmp_path)) == each_message(batches)
