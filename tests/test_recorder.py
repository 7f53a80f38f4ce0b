"""The recorder: what was accepted is on the tape, whatever died or filled up in between."""

import gzip
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep

import pytest

from engine.errors import BadFrame, Undelivered
from engine.schema import Record
from ingest.tape import read
from sinks.tape import Codec, TapeSink
from tests.recording import START, config, noise, pairs, record, recorded

ROOT = Path(__file__).parents[1]


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
        assert monotonic() - begin < 5.0
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
from tests.test_recorder import fill_and_recover
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
