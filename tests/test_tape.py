"""The reader: what was written is read, wherever it was cut or spoilt."""

import gzip
import random
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadConfig, BadRecord
from ingest.tape import MOST_LINE, Head, Tape, Text, ahead, glimpse, read
from sinks.tape import Codec, TapeSink
from tests.recording import START, config, noise, pairs, record, recorded


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_tape_cut_anywhere_gives_its_whole_blocks_and_says_where_it_ended(tmp_path: Path, codec: Codec) -> None:
    sink = TapeSink(config(tmp_path / "whole", codec=codec))
    ends = [0]
    for n in range(4):
        sink.write(noise(5, START + n * 1000, 30))
        sink.flush()
        ends.append(sink.paths[0].stat().st_size)
    sink.close()
    value = sink.paths[0].read_bytes()
    every = list(read(sink.paths))
    torn = tmp_path / f"torn{'.gz' if codec == 'gzip' else '.zst'}"
    for cut in range(len(value)):
        torn.write_bytes(value[:cut])
        tape = read([torn])
        lines = list(tape)
        assert lines == every[: len(lines)]
        assert len(lines) >= 5 * sum(end <= cut for end in ends[1:])
        assert len(tape.tears) == (cut not in ends[1:]), tape.tears
        assert all(tear.path == torn and tear.bytes == cut for tear in tape.tears)


def test_zero_bytes_left_by_a_power_cut_are_a_tear(tmp_path: Path) -> None:
    (path,) = recorded(tmp_path, noise(50))
    path.write_bytes(path.read_bytes() + bytes(100_000))
    tape = read([path])
    assert list(tape) == pairs(noise(50))
    assert [tear.detail.startswith("ends in zero bytes from byte") for tear in tape.tears] == [True]


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_corruption_in_the_middle_is_named_and_none_of_its_block_is_given_out(tmp_path: Path, codec: Codec) -> None:
    (path,) = recorded(tmp_path, noise(500), codec=codec)
    value = path.read_bytes()
    chance = random.Random(3)
    for _ in range(100):
        broken = bytearray(value)
        broken[chance.randrange(20, len(value))] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        lines: list[tuple[int, bytes]] = []
        tape = read([path])
        said = f"{path} byte"
        try:
            lines += tape
        except BadRecord as error:
            said = str(error)
        assert str(path) in said
        assert "byte" in said
        assert lines == pairs(noise(500))[: len(lines)]


def test_a_bad_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    for bad in (
        b"",
        b"x",
        b"12",
        b" x",
        b"-5 x",
        b"1_0 x",
        b"+1 x",
        b"1.5 x",
        b"9223372036854775808 x",
        b"1" * 30 + b" x",
    ):
        path.write_bytes(b"1 a\n2 b\n" + bad + b"\n3 c\n")
        tape = read([path])
        assert [next(tape), next(tape)] == [(1, b"a"), (2, b"b")]
        with pytest.raises(BadRecord, match=r"a\.tape: line 3 is .*allowed is '<receive ns> <raw>'"):
            next(tape)


def test_a_line_without_an_end_is_a_tear(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    path.write_bytes(b"1 a\n2 b")
    tape = read([path])
    assert list(tape) == [(1, b"a")]
    assert [tear.detail for tear in tape.tears] == ["ends 3 bytes into line 2"]
    path.write_bytes(b"")
    tape = read([path])
    assert list(tape) == []
    assert [tear.detail for tear in tape.tears] == ["is empty"]


def test_a_line_of_more_than_64_mib_is_refused_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(zlib.compress(b"1 " + bytes(MOST_LINE * 2), 1, wbits=31))
    with pytest.raises(BadRecord, match=f"line 1 is longer than the {MOST_LINE} bytes"):
        list(read([path]))
    path.write_bytes(zstandard.ZstdCompressor().compress(b"1 " + bytes(MOST_LINE * 8)))
    with pytest.raises(BadRecord, match="line 1 is longer"):
        list(read([path]))


def test_a_missing_tape_names_the_nearest_files(tmp_path: Path) -> None:
    for name in ("btcusdt-1.tape.gz", "ethusdt-1.tape.gz"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadConfig, match=r"btcusd-1\.tape\.gz is not there; nearest in .*: btcusdt-1\.tape\.gz"):
        read([tmp_path / "btcusd-1.tape.gz"])
    with pytest.raises(BadConfig, match="is no folder"):
        read([tmp_path / "nowhere" / "a.gz"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadConfig, match=r"has no tape, names of tapes end in \.tape, \.gz, \.zst"):
        read([tmp_path / "empty"])
    with pytest.raises(BadConfig, match="no tape is named"):
        read([])


def test_several_tapes_are_merged_by_stamp_and_parts_follow_one_another(tmp_path: Path) -> None:
    one, other = noise(300), [record(r.time + 1, r.value) for r in noise(300)]
    recorded(tmp_path, one, prefix="one", part_bytes=5000)
    recorded(tmp_path, other, prefix="other", codec="zstd", part_bytes=7000)
    (tmp_path / "third.tape").write_bytes(b"%d same\n" % (START + 2))
    assert len(Tape([tmp_path]).paths) > 10
    expected = sorted([*pairs(one), *pairs(other), (START + 2, b"same")], key=lambda line: line[0])
    assert list(read([tmp_path])) == expected
    assert list(read([str(tmp_path)])) == expected


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=300).filter(lambda value: b"\n" not in value), max_size=30))
def test_any_values_are_read_back(tmp_path_factory: pytest.TempPathFactory, values: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("tape")
    records = [record(START + n, value) for n, value in enumerate(values)]
    paths = recorded(folder, records, block=200, part_bytes=1000)
    assert (list(read(paths)) if paths else []) == pairs(records)


@pytest.mark.parametrize(
    "changes",
    [
        {"prefix": "../up"},
        {"prefix": ""},
        {"prefix": "a\0b"},
        {"prefix": "x" * 101},
        {"codec": "rar"},
        {"sync": "maybe"},
        {"block": 0},
        {"queue": 4096},
        {"patience": -1.0},
    ],
)
def test_a_configuration_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match="allowed"):
        config(tmp_path, **changes)


@pytest.mark.tape
def test_a_foreign_tape_of_one_gzip_block_is_read_whole_and_cut_short_still_read(
    binance_tapes: Path, tmp_path: Path
) -> None:
    source = binance_tapes / "spot_ethusdt_20240808.gz"
    text = gzip.decompress(source.read_bytes())
    expected = [(int(stamp), raw) for stamp, raw in (line.split(b" ", 1) for line in text.splitlines())]
    assert list(read([source])) == expected
    torn = tmp_path / source.name
    torn.write_bytes(source.read_bytes()[:-1000])
    tape = read([torn])
    lines = list(tape)
    assert lines == expected[: len(lines)]
    assert len(lines) > 0.99 * len(expected)
    assert [tear.detail for tear in tape.tears] != []


@pytest.mark.parametrize("name", ["a.tape", "a.tape.gz"])
def test_texts_are_the_lines_by_the_megabyte_wherever_a_piece_ends(tmp_path: Path, name: str) -> None:
    lines = [*noise(60000), record(START * 2, b"x" * 3000000), *noise(20000, START * 3)]
    whole = b"".join(b"%d %b\n" % pair for pair in pairs(lines))
    path = tmp_path / name
    path.write_bytes(gzip.compress(whole, 1) if name.endswith("gz") else whole)
    texts = list(read([path]).texts() or ())
    assert b"".join(text.text for text in texts) == whole
    at = 0
    for text in texts:
        assert (text.before, text.after) == (at, at + text.text.count(b"\n"))
        at = text.after
    assert [len(text.text) < 6 << 20 for text in texts] == [True] * len(texts)
    assert [time for text in texts for time, _ in text.lines()] == [each.time for each in lines]
    head = Head(texts[:2], texts[0].after + 2)
    assert list(head) == [each.value for each in lines[: texts[0].after + 2]] == head[:]
    assert [len(head), head[-1]] == [texts[0].after + 2, lines[texts[0].after + 1].value]
    assert texts[1].first() == lines[texts[0].after].value
    with pytest.raises(BadRecord, match="line 8 is"):
        Text(path, 7, 8, b"x\n").first()


def test_a_thread_reads_ahead_and_errors_come_behind_what_is_good(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    texts = [Text(path, n, n + 1, b"%d x\n" % n) for n in range(5)]
    taken = []

    def given() -> Iterator[Text]:
        for text in texts:
            taken.append(text)
            yield text
        raise BadRecord("the sixth")

    with ThreadPoolExecutor(1) as reader:
        assert list(ahead(iter(texts), reader)) == texts
        found = []
        with pytest.raises(BadRecord, match="the sixth"):
            for text in ahead(given(), reader):
                found.append(text)
        assert found == texts
    taken.clear()
    with ThreadPoolExecutor(1) as reader:
        assert list(islice(ahead(given(), reader), 2)) == texts[:2]
    assert taken == texts[:3]


def test_a_glimpse_needs_no_more_than_the_first_piece(tmp_path: Path) -> None:
    lines = noise(50_000)
    path = tmp_path / "a.tape.gz"
    value = gzip.compress(b"".join(b"%d %b\n" % pair for pair in pairs(lines)), 1)
    path.write_bytes(value[:40_000])
    assert glimpse(path) == lines[0].value
    path.write_bytes(value[:20])
    assert glimpse(path) == b""
    path.write_bytes(b"x y\n")
    with pytest.raises(BadRecord, match="line 1 is"):
        glimpse(path)
