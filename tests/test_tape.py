"""The recorder and the reader: what was written is read, whatever died, filled up or was cut in between."""

import gzip
import os
import random
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadConfig, BadFrame, BadRecord, Undelivered
from engine.schema import Record
from ingest.tape import MOST_LINE, Tape, read
from sinks.tape import Codec, TapeConfig, TapeSink

ROOT = Path(__file__).parents[1]
START = 1_700_000_000_000_000_000


def record(time: int, value: bytes) -> Record:
    return Record(topic="raw.v1", key="venue", asset="", time=time, value=value)


def noise(count: int, begin: int = START, width: int = 60) -> list[Record]:
    """Make records that gzip cannot shrink much, two nanoseconds apart."""
    chance = random.Random(begin)
    return [record(begin + 2 * n, chance.randbytes(width).hex().encode()) for n in range(count)]


def pairs(records: Sequence[Record]) -> list[tuple[int, bytes]]:
    return [(r.time, r.value) for r in records]


def config(folder: Path, **changes: Any) -> TapeConfig:
    settings: dict[str, Any] = {"folder": folder, "prefix": "venue", "block": 4096, "queue": 1 << 20}
    return TapeConfig(**settings | changes)


def recorded(folder: Path, records: Sequence[Record], **changes: Any) -> list[Path]:
    sink = TapeSink(config(folder, **changes))
    sink.write(records)
    sink.close()
    return sink.paths


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_a_recording_is_read_back_line_for_line(tmp_path: Path, codec: Codec) -> None:
    records = [*noise(500), record(START + 5_000, b""), record(START + 5_001, bytes(set(range(256)) - {10}))]
    (path,) = recorded(tmp_path, records, codec=codec)
    tape = read([path])
    assert list(tape) == pairs(records)
    assert tape.tears == []


def test_gunzip_alone_gives_the_lines_that_other_collectors_write(tmp_path: Path) -> None:
    (path,) = recorded(tmp_path, [record(7, b'{"a":1}'), record(8, b'{"b":2}')])
    assert gzip.decompress(path.read_bytes()) == b'7 {"a":1}\n8 {"b":2}\n'


def test_parts_begin_with_a_header_and_stamps_stay_strictly_increasing(tmp_path: Path) -> None:
    given: list[int] = []

    def header(stamp: int) -> bytes:
        given.append(stamp)
        return b'{"airpocket":"start"}'

    sink = TapeSink(config(tmp_path, part_bytes=10_000), header)
    crowded = [record(START + 10**6 + n, b"x" * 100) for n in range(300)]
    records = noise(400) + crowded + noise(200, START + 10**7)
    for r in records:
        sink.write([r])
    sink.close()
    assert len(sink.paths) == len(given) > 5
    assert [path.name for path in sink.paths] == sorted(path.name for path in sink.paths)
    assert [path.name for path in sink.paths] == [f"venue-{START}-{n:06d}.tape.gz" for n in range(len(given))]
    lines = list(read([tmp_path]))
    assert [line for line in lines if line[1] != b'{"airpocket":"start"}'] == pairs(records)
    assert all(one[0] < other[0] for one, other in pairwise(lines))
    for path, stamp in zip(sink.paths, given, strict=True):
        assert next(read([path])) == (stamp, b'{"airpocket":"start"}')


def test_a_new_part_begins_after_its_time_in_the_records(tmp_path: Path) -> None:
    records = [record(START + n * 10**9, b"x") for n in range(10)]
    paths = recorded(tmp_path, records, part_time=4 * 10**9)
    assert [len(list(read([path]))) for path in paths] == [4, 4, 2]


def test_a_restart_never_overwrites(tmp_path: Path) -> None:
    first = recorded(tmp_path, noise(100), part_bytes=5_000)
    before = {path: path.read_bytes() for path in first}
    second = recorded(tmp_path, noise(100), part_bytes=5_000)
    assert not set(first) & set(second)
    assert {path: path.read_bytes() for path in first} == before
    assert list(read(second)) == list(read(first)) == pairs(noise(100))


def test_a_value_of_two_lines_is_refused_and_nothing_of_its_call_is_written(tmp_path: Path) -> None:
    sink = TapeSink(config(tmp_path))
    sink.write([record(1, b"good")])
    with pytest.raises(BadFrame, match="newline: venue at 3"):
        sink.write([record(2, b"good"), record(3, b"bad\nline")])
    sink.write([record(4, b"good")])
    sink.close()
    assert list(read(sink.paths)) == [(1, b"good"), (4, b"good")]


def test_flush_returns_when_the_lines_are_in_the_file(tmp_path: Path) -> None:
    sink = TapeSink(config(tmp_path, interval=600.0))
    for n in range(20):
        sink.write([record(START + n, b"x")])
        sink.flush()
        assert len(list(read(sink.paths))) == n + 1
    sink.close()
    sink.close()
    with pytest.raises(Undelivered, match="closed"):
        sink.write([record(1, b"x")])


def test_a_quiet_tape_is_written_after_the_interval(tmp_path: Path) -> None:
    sink = TapeSink(config(tmp_path, interval=0.05))
    sink.write([record(START, b"x")])
    until = monotonic() + 10
    while not (sink.paths and [*read(sink.paths)]):
        assert monotonic() < until
        sleep(0.01)
    sink.close()


def test_a_disk_slower_than_the_records_refuses_within_its_patience_and_keeps_what_it_took(tmp_path: Path) -> None:
    sink = TapeSink(config(tmp_path, block=1 << 20, queue=2 << 20, patience=0.01))
    taken: list[Record] = []
    refused: list[str] = []
    for n in range(60):
        some = noise(2_000, START + n * 10**6)
        begin = monotonic()
        try:
            sink.write(some)
            taken += some
        except Undelivered as error:
            refused.append(str(error))
        assert monotonic() - begin < 1.0
    sink.close()
    assert refused
    assert all("too slow" in why and "2000 records were not taken" in why for why in refused)
    assert list(read(sink.paths)) == pairs(taken)


KILLED = """
import sys, time
from pathlib import Path
from engine.schema import Record
from sinks.tape import TapeConfig, TapeSink
sink = TapeSink(TapeConfig(
    folder=Path(sys.argv[1]), prefix="venue", block=16384, queue=1 << 20, part_bytes=300_000, sync="part"))
n = 0
while True:
    sink.write([Record(topic="raw.v1", key="v", asset="", time=1_700_000_000_000_000_000 + 2 * (n + i),
                       value=b'{"n":%d,"pad":"%d"}' % (n + i, hash(str(n + i)))) for i in range(20)])
    n += 20
    print(n, flush=True)
    time.sleep(0.002)
"""


@pytest.mark.slow
def test_a_killed_recorder_loses_at_most_its_last_block(tmp_path: Path) -> None:
    chance = random.Random(11)
    for turn in range(10):
        folder = tmp_path / str(turn)
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()
        sleep(0.2 + chance.random() * 0.6)
        child.send_signal(signal.SIGKILL)
        told = child.stdout.read()
        child.stdout.close()
        child.wait()
        written = int(told[: told.rindex("\n")].split("\n")[-1])
        tape = read([folder])
        lines = list(tape)
        assert [time for time, _ in lines] == [START + 2 * n for n in range(len(lines))]
        assert all(raw.startswith(b'{"n":%d,' % n) for n, (_, raw) in enumerate(lines))
        # The block being filled, and one that the writer had in its hands; lines have at least 50 bytes.
        assert len(lines) >= written - 2 * 16384 // 50 - 20
        assert len(tape.tears) <= 1
        assert all(path == tape.paths[-1] for path in (tear.path for tear in tape.tears))


def fill_and_recover(folder: Path, space: Callable[[], None]) -> None:
    """Write until the disk refuses, look at what is there, give space, go on; everything taken must be read."""
    sink = TapeSink(config(folder, block=65536, interval=0.05, queue=1 << 20, flush_timeout=5.0))
    taken: list[Record] = []
    error = ""
    for n in range(10_000):
        some = noise(100, START + n * 10**6)
        try:
            sink.write(some)
            taken += some
            if n % 10 == 9:
                sink.flush()
        except Undelivered as refusal:
            error = str(refusal)
            break
    assert "No space left" in error or "File too large" in error, error
    with pytest.raises(Undelivered):
        sink.flush()
    tape = read(sink.paths)
    whole = list(tape)
    assert whole == pairs(taken)[: len(whole)]
    assert whole
    assert tape.tears == []
    space()
    sink.flush()
    more = noise(100, START + 10**12)
    sink.write(more)
    sink.close()
    tape = read(sink.paths)
    assert list(tape) == pairs(taken + more)
    assert tape.tears == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here; the file size limit below stands for the full disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_reported_leaves_no_partial_line_and_recording_goes_on(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    fill_and_recover(small_disk, ballast.unlink)


LIMITED = """
import resource, sys
from pathlib import Path
from tests.test_tape import fill_and_recover
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
fill_and_recover(Path(sys.argv[1]), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)))
"""


def test_a_file_size_limit_is_reported_leaves_no_partial_line_and_recording_goes_on(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], cwd=ROOT, check=True, timeout=60)


def test_a_close_that_loses_lines_says_so(small_disk: Path) -> None:
    sink = TapeSink(config(small_disk, block=65536, interval=60.0, queue=4 << 20, flush_timeout=2.0))
    sink.write(noise(25_000))
    with pytest.raises(Undelivered, match="bytes of lines are not on the disk"):
        sink.close()
    assert list(read(sink.paths)) == pairs(noise(25_000))[: len(list(read(sink.paths)))]


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
