"""Tardis' files as we write them: rows come back, nothing half written, and players play them."""

import gzip
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest

from airpocket.commands.tapes import convert
from airpocket.imports import market_of
from airpocket.player import Player
from airpocket.sources import open_rows
from engine.errors import BadConfig, BadRecord
from engine.kernel import COMPILED
from engine.schema import Batch, Coverage, Flag, Kind, PriceKind, Reference
from ingest.tardis import Tardis
from sinks.tardis import TardisSink
from tests.foreign import ROWS, depths, each, made, rows_of
from tests.stream import instrument
from tests.tardis_files import BOOK, SNAPSHOT, START, US, example, file


def written(folder: Path, batches: list[Batch]) -> list[Path]:
    with TardisSink(folder, lambda key: ("one", key.partition(":")[2])) as sink:
        sink.write(batches)
    return sink.paths


def plain(key: str, symbol: str) -> Any:
    market = market_of("deribit", "BTC-PERPETUAL")
    unit = instrument()
    return type(market)(
        venue=unit.venue,
        symbol=symbol,
        asset=unit.asset,
        quote=unit.quote,
        contract=unit.contract,
        price_kind=PriceKind.AVERAGE_FILL,
        coverage=Coverage.SAMPLED,
    )


def test_rows_that_are_written_come_back(tmp_path: Path) -> None:
    paths = written(tmp_path, example())
    date = "2023-11-14"
    assert [path.name for path in paths] == [
        f"one_{layout}_{date}_AUSD.csv.gz"
        for layout in ("derivative_ticker", "incremental_book_L2", "liquidations", "trades")
    ]
    found = [(kind, batch) for kind, batch in each(Tardis(paths, plain)) if kind in ROWS]
    expected = [
        (kind, batch)
        for kind, batch in each(example())
        if kind in ROWS and not batch.messages["flags"][0] & (Flag.HISTORY | Flag.CONTINUED)
    ]
    assert [kind for kind, _ in found] == [kind for kind, _ in expected]
    for (kind, mine), (_, theirs) in zip(found, expected, strict=True):
        rows = rows_of(kind, theirs)
        if theirs.messages["flags"][0] & Flag.PARTIAL:
            # Parts of a message are one there.
            rows = [(9970, 1), (9960, 1), (9990, 5)]
        assert rows_of(kind, mine) == [row for row in rows if kind != Kind.REFERENCE or row[3] != Reference.INSURANCE]
        assert mine.instrument == theirs.instrument
        for name in ("exchanged", "epoch"):
            assert mine.messages[name] == theirs.messages[name]
        late = kind == Kind.DELTA and theirs.messages["last"][0] == 8
        assert mine.messages["received"][0] - theirs.messages["received"][0] == (1_000 if late else 0)


def test_what_has_no_place_there_is_counted(tmp_path: Path) -> None:
    with TardisSink(tmp_path, lambda key: ("one", "A/USD")) as sink:
        sink.write(example())
    assert sink.left_out == {"STATUS": 1, "RESYNC": 2, "TOUCH": 1, "TRADE": 1, "GAP": 1}
    assert sink.counts == {"incremental_book_L2": 9, "trades": 3, "liquidations": 2, "derivative_ticker": 2}
    assert all("_A-USD.csv" in path.name for path in sink.paths)


def test_writing_is_all_or_nothing_and_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = written(tmp_path / "one", example())
    # However the batches are joined.
    monkeypatch.setattr("sinks.units.STAGE", 2)
    two = written(tmp_path / "two", example())
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    with pytest.raises(BadConfig, match="is there already"):
        written(tmp_path / "one", example())
    with pytest.raises(BadRecord, match=r"the decimals of one:AUSD are not known"):
        written(tmp_path / "three", example()[:2])
    with pytest.raises(BadRecord, match="cannot be written"):
        written(tmp_path / "three", [*example(), made(Kind.DELTA, 1, [(1, 1)], count=2)])
    assert not list(tmp_path.glob("three/*"))
    assert len(list((tmp_path / "one").iterdir())) == 4


@pytest.mark.tape
def test_a_tape_gives_the_depth_of_its_rows_from_csv(binance_tapes: Path, tmp_path: Path) -> None:
    """All but nanoseconds and ids, which have no place there; best prices, which have none either, cross no line."""
    tape = cut(binance_tapes / "usdm_btcusdt_20240808.gz", tmp_path / "cut.gz", 1_500 if COMPILED else 600)
    convert([str(tape)], to=str(tmp_path / "csv"), form="tardis", venue="binance_usdm")
    mine = depths(open_rows([tape], "binance_usdm"), (Kind.TOUCH, Kind.STATUS))
    theirs = depths(open_rows([tmp_path / "csv"]))
    assert len(mine) > 12
    for one, other in zip(mine, theirs, strict=True):
        assert other["time"] // US == one["time"] // US
        if "received" in one:
            assert other["received"] // US == one["received"] // US
            assert other["last"] is None
        lost = ("time", "received", "last")
        assert {k: v for k, v in one.items() if k not in lost} == {k: v for k, v in other.items() if k not in lost}


def cut(tape: Path, path: Path, lines: int) -> Path:
    with gzip.open(tape) as whole, gzip.open(path, "wb") as part:
        part.writelines(islice(whole, lines))
    return path


def test_a_player_plays_it_and_says_what_it_took_for_granted(tmp_path: Path) -> None:
    def lines() -> Iterator[str]:
        yield from SNAPSHOT
        for n in range(1, 30):
            yield f"{n * 50_000},false,bid,6421,{n}"

    path = file(tmp_path / "book.csv", BOOK, *lines(), whose="okex-swap,BTC-USD-SWAP")
    player = Player([path], until=(START + 1_000_000) * US)
    records = list(player)
    assert {record.key for record in records} == {"okx:BTC-USD-SWAP", "BTC"}
    assert all(before.time <= after.time for before, after in pairwise(records))
    assert player.counts["messages"] == 2 + 20
    assert player.rows.told() == "passed over: nothing; a contract is taken to be worth 1 unit: okx:BTC-USD-SWAP"
    assert player.rows.known(player.pipelines) == ["BTC-USD-SWAP"]


def test_a_lake_is_made_of_csv_and_csv_of_a_lake(tmp_path: Path) -> None:
    paths = [str(path) for path in written_for_deribit(tmp_path / "csv")]
    convert(paths, to=str(tmp_path / "lake"))
    convert([str(tmp_path / "lake")], to=str(tmp_path / "again"), form="tardis")
    again = sorted((tmp_path / "again").iterdir())
    assert [path.name for path in again] == [Path(path).name for path in paths]
    # A whole book that came in parts is sorted when it comes back.
    for one, other in zip(again, map(Path, paths), strict=True):
        lines = [sorted(gzip.decompress(path.read_bytes()).splitlines()) for path in (one, other)]
        assert lines[0] == lines[1]
    with pytest.raises(BadConfig, match="unknown format 'tardus', known are parquet, hftbacktest, tardis"):
        convert(paths, to=str(tmp_path / "never"), form="tardus")
    with pytest.raises(BadConfig, match="is a lake already"):
        convert([str(tmp_path / "lake")], to=str(tmp_path / "other"))
    assert not (tmp_path / "never").exists()


def written_for_deribit(folder: Path) -> list[Path]:
    """Write the example as if it were of a venue of ours."""
    with TardisSink(folder, lambda key: ("deribit", "A-PERPETUAL")) as sink:
        sink.write(example())
    return sink.paths
