"""Lines taken many at once against the same lines one by one: the same batches, closed by the same lines."""

import gzip
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest

from airpocket.sources import TapeRows
from engine import wire
from engine.errors import BadRecord
from engine.kernel import COMPILED
from engine.schema import Batch
from ingest import bulk, stretch
from ingest.bulk import Bulk
from ingest.control import start
from ingest.linger import Linger
from ingest.session import open_session
from ingest.tape import Text, read
from ingest.venues import load

Lines = list[tuple[int, bytes]]

pytestmark = pytest.mark.tape

#: Lines that plain Python takes in seconds.
COUNT = 30_000 if COMPILED else 3_000
USDM = "usdm_btcusdt_20240808.gz"
SPOT = "spot_btcusdt_20240808.gz"


class OneByOne(TapeRows):
    """The twin: every line through the session."""

    def _by_text(self, texts: Iterable[Text], *rest: Any) -> Any:
        return self._by_line(chain.from_iterable(text.lines() for text in texts), *rest)


def head(path: Path, count: int = COUNT) -> Lines:
    return list(islice(read([path]), count))


def written(lines: Sequence[tuple[int, bytes]], path: Path) -> Path:
    path.write_bytes(b"".join(b"%d %b\n" % line for line in lines))
    return path


def told(rows: TapeRows) -> tuple[list[bytes], dict[str, int], int, list[Any]]:
    """Give all batches as bytes, and what is known afterwards."""
    made = [wire.encode(batch) for batch in rows]
    sessions = [(session.synced, session.counts) for session in rows.sessions]
    return made, rows.counts, rows.time, sessions


def assert_same(paths: Sequence[Path], venue: str | None = None, until: int | None = None) -> list[bytes]:
    one, many = (told(kind(paths, venue, until)) for kind in (OneByOne, TapeRows))
    assert many == one
    return many[0]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lines each stretch had."""
    found: list[int] = []
    kernel = stretch.take_stretch

    def counting(*arguments: Any) -> int:
        found.append(kernel(*arguments))
        return found[-1]

    monkeypatch.setattr(bulk, "take_stretch", counting)
    return found


@pytest.mark.parametrize(("name", "venue"), [(USDM, "binance_usdm"), (SPOT, "binance_spot")])
def test_a_recorded_tape_is_taken_in_long_stretches(
    binance_tapes: Path, tmp_path: Path, taken: list[int], name: str, venue: str
) -> None:
    lines = head(binance_tapes / name)
    assert len(assert_same([written(lines, tmp_path / "tape")], venue)) > 10
    assert sum(taken) > 0.9 * len(lines) - 500
    assert max(taken) > 300


@pytest.mark.parametrize("seed", range(6 if COMPILED else 2))
def test_what_is_not_plain_is_judged_one_by_one(binance_tapes: Path, tmp_path: Path, seed: int) -> None:
    lines = own(binance_tapes, COUNT // 3, BOTH[: 1 + seed % 2])
    assert len(assert_same([written(spoilt(lines, seed), tmp_path / "tape")])) > 2


def spoilt(lines: Lines, seed: int) -> Lines:
    """Lose, double, swap, break, reorder, respell and re-stamp some lines."""
    chance = random.Random(seed)
    found: Lines = []
    for at, raw in lines:
        kind = 1.0 if raw.startswith(b'{"airpocket"') else chance.random()
        if kind < 0.002:
            continue
        found.append((at, raw))
        if kind < 0.004:
            found.append((at, raw))
        elif kind < 0.006 and len(found) > 1:
            found[-1], found[-2] = (found[-1][0], found[-2][1]), (found[-2][0], found[-1][1])
        elif kind < 0.007:
            found[-1] = (at, raw[: chance.randrange(len(raw))])
        elif kind < 0.008:
            found[-1] = (at, raw.replace(b",", b" , ", 3))
        elif kind < 0.009:
            found[-1] = (max(0, at - chance.randrange(20_000_000)), raw)
        elif kind < 0.010:
            found[-1] = (at, raw.replace(b"btcusdt@", b"ethusdt@"))
        elif kind < 0.011:
            found[-1] = (at, raw.replace(b'"0.', b'"-0.', 1))
        elif kind < 0.012:
            found[-1] = (at, raw.replace(b"61", b"61000000000000", 1))
    return found


BOTH = ("BTCUSDT", "ETHUSDT")


def own(binance_tapes: Path, count: int, symbols: Sequence[str] = BOTH) -> Lines:
    """Make one recording of our own of some instruments, their bodies as our lines."""
    venue, lines, instruments = load("binance_usdm"), [], []
    for symbol in symbols:
        met = head(binance_tapes / f"usdm_{symbol.lower()}_20240808.gz", count)
        instruments += venue.infer_instruments([raw for _, raw in met])
        first = met[0][0]
        for at, raw in met:
            if raw.startswith(b'{"lastUpdateId"'):
                raw = (
                    b'{"airpocket":"body","what":"depth","symbol":"%b","epoch":-1,"status":200,"body":%b}'
                    % (symbol.encode(), raw)
                )  # fmt: skip
            lines.append((at - first + 1_700_000_000_000_000_000, raw))
    lines.sort(key=lambda line: line[0])
    begin = lines[0][0]
    streams = b",".join(b'"%b"' % stream.name.encode() for stream in venue.streams(symbols))
    opened = b'{"airpocket":"open","connection":7,"socket":"public","streams":[%b]}' % streams
    header = start("binance_usdm", symbols, 5_000_000_000, instruments)
    return [(begin - 2, header), (begin - 1, opened), *lines]


def test_two_instruments_of_one_recording_lie_as_before(binance_tapes: Path, tmp_path: Path, taken: list[int]) -> None:
    made = assert_same([written(own(binance_tapes, COUNT // 2), tmp_path / "tape")])
    assert len(made) > 100
    assert max(taken) > 100


def test_two_recordings_lie_as_before(binance_tapes: Path, tmp_path: Path) -> None:
    lines = own(binance_tapes, COUNT // 4)
    again = [(at + 1_000_003, raw) for at, raw in lines]
    parts = [written(lines, tmp_path / f"a-{1:019d}-000001.tape"), written(again, tmp_path / f"b-{1:019d}-000001.tape")]
    assert len(assert_same(parts)) > 100


@pytest.mark.parametrize("share", [0.0, 0.31, 0.999, 2.0])
def test_time_ends_it_where_it_did(binance_tapes: Path, tmp_path: Path, share: float) -> None:
    lines = head(binance_tapes / USDM, COUNT // 3)
    begin, end = lines[0][0], lines[-1][0]
    assert_same([written(lines, tmp_path / "tape")], "binance_usdm", begin + int(share * (end - begin)))


def test_a_line_that_is_none_is_named_and_those_before_it_count(binance_tapes: Path, tmp_path: Path) -> None:
    lines = head(binance_tapes / USDM, 2_500)
    path = written(lines, tmp_path / "tape")
    whole = path.read_bytes()
    # Behind the lines that say whose the tape is.
    many = whole * 1
    for bad in (b"12x {}\n", b" {}\n", b"{}\n", b"9223372036854775808 {}\n", b"12345678901234567890 {}\n", b"\n"):
        path.write_bytes(many + bad + whole)
        texts = [Text(path, 0, many.count(b"\n") * 2 + 1, path.read_bytes())]
        errors, counts = [], []
        for take in (_lines, _bulk):
            count = 0
            with pytest.raises(BadRecord, match="line 2501 is") as error:
                for _ in take(texts, lines):
                    count += 1
            errors.append(str(error.value))
            counts.append(count)
        assert errors[0] == errors[1]
        assert counts[1] > 0


def _lines(texts: Sequence[Text], lines: Lines) -> Iterable[Any]:
    return chain.from_iterable(text.lines() for text in texts)


def _bulk(texts: Sequence[Text], lines: Lines) -> Iterable[Any]:
    taker = Bulk(open_session(lines, "binance_usdm"), Linger())
    return chain.from_iterable(taker.take(text) for text in texts)


@pytest.mark.parametrize("most", [500, 5_000, 60_000])
@pytest.mark.parametrize("interval", [5_000_000, 1_000_000_000])
def test_records_stay_as_short_as_they_must(binance_tapes: Path, tmp_path: Path, most: int, interval: int) -> None:
    lines = head(binance_tapes / USDM, COUNT // 6)
    text = b"".join(b"%d %b\n" % line for line in lines)
    makes: tuple[Callable[[Linger], Iterable[Batch]], ...] = (
        lambda linger: _one_by_one(lines, linger),
        lambda linger: _many(Text(tmp_path, 0, len(lines), text), lines, linger),
    )
    one, many = ([wire.encode(batch) for batch in make(Linger(interval, most))] for make in makes)
    assert many == one
    assert len(one) > 3


def _one_by_one(lines: Lines, linger: Linger) -> Iterable[Batch]:
    session = open_session(lines, "binance_usdm")
    for at, raw in lines:
        yield from linger.add(session.receive(at, raw))
    yield from linger.flush()


def _many(text: Text, lines: Lines, linger: Linger) -> Iterable[Batch]:
    session = open_session(lines, "binance_usdm")
    for received, _, raw, closed in Bulk(session, linger).take(text):
        yield from closed if raw is None else linger.add(session.receive(received, raw))
    yield from linger.flush()


def test_a_torn_tape_ends_where_it_did(binance_tapes: Path, tmp_path: Path) -> None:
    path = tmp_path / "tape.gz"
    with gzip.open(path, "wb") as file:
        file.writelines(b"%d %b\n" % line for line in head(binance_tapes / USDM, COUNT // 3))
    path.write_bytes(path.read_bytes()[: -COUNT // 3])
    one, many = (kind([path], "binance_usdm") for kind in (OneByOne, TapeRows))
    assert told(many) == told(one)
    assert many.tears == one.tears
    assert many.tears
