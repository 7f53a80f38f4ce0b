"""What a desk asks: the answer from made-up books by hand, from real tapes, and refusals that say what is allowed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from airpocket import cli
from airpocket.whatif import Answer, ask, from_tapes, lines
from engine.config import EngineConfig
from engine.errors import BadConfig
from engine.knowledge import Exposure, Knowledge
from engine.pipeline import Pipeline
from engine.schema import Contract, Kind
from tests.stream import instrument, message

BIDS = [(10_000, 500), (9_900, 500), (9_800, 500), (9_700, 500), (9_600, 2_000), (9_500, 4_000)]
ASKS = [(10_002, 500), (10_100, 500), (10_300, 5_000)]


def knowing(*exposures: tuple[str, str, float, float | None]) -> EngineConfig:
    """A configuration that knows exposures: name, side, quantity, trigger."""
    known = tuple(
        Exposure(name=name, asset="A", side="long" if side == "long" else "short", quantity=q, trigger=t, as_of=1)
        for name, side, q, t in exposures
    )
    return EngineConfig(knowledge=Knowledge(exposures=known))


def books(config: EngineConfig, venues: Sequence[tuple[str, int]] = (("one", 0),), **changes: Any) -> Pipeline:
    """A pipeline that knows the book at each venue, its prices moved by so many ticks."""
    pipeline = Pipeline("A", config)
    for venue, moved in venues:
        unit = instrument(venue, **changes)
        bids, asks = ([(price + moved, size) for price, size in side] for side in (BIDS, ASKS))
        pipeline.step(message(Kind.INSTRUMENT, 0, (), (), unit))
        pipeline.step(message(Kind.SNAPSHOT, 0, bids, asks, unit, last=1, epoch=1))
    return pipeline


LEVERED = [("first", "long", 2.0, 99.5), ("second", "long", 6.0, 98.5), ("third", "long", 8.0, 97.0)]


def sell(quantity: float, *levels: float) -> Answer:
    config = knowing(*LEVERED)
    return ask(books(config), "sell", quantity * 100.01, levels, config)


def test_a_slightly_larger_sale_sets_off_all_of_them() -> None:
    small, large = sell(8.0), sell(8.5)
    assert (small.price, [each.name for each in small.fired]) == (99.0, ["first"])
    assert (large.price, [each.name for each in large.fired]) == (96.0, ["first", "second", "third"])
    assert large.price_alone == 99.0
    assert large.amplification == pytest.approx(24.5 / 8.5)
    assert "price falls to 96.00" in lines(large)
    assert "triggers second: 6.00 A at 98.50" in lines(large)


def test_a_level_says_what_it_withstands_and_how_many_makers_may_leave() -> None:
    below97, below100 = sell(3.0, 97.0, 100.0).levels
    assert below97["critical_quote"] == pytest.approx(8 * 100.01)
    assert [below97["may_leave"], below100["may_leave"]] == pytest.approx([0.5, 0.4])
    assert sell(3.0, 50.0).levels[0]["complete"] == 0


def test_a_purchase_is_the_mirror_image() -> None:
    config = knowing(("short", "short", 3.0, 100.5))
    answer = ask(books(config), "buy", 6.0 * 100.01, [102.0], config)
    assert answer.price == 101.0
    answer = ask(books(config), "buy", 8.0 * 100.01, [], config)
    assert (answer.price, [each.name for each in answer.fired]) == (103.0, ["short"])


def test_venues_are_summed_around_their_median_mid() -> None:
    config = knowing()
    answer = ask(books(config, [("one", -100), ("three", 100), ("two", 0)]), "sell", 14.0 * 100.01, [], config)
    assert answer.reference == pytest.approx(100.01)
    assert answer.price == pytest.approx(100.0, abs=0.01)
    assert answer.venues == ("one:AUSD", "three:AUSD", "two:AUSD")


def test_a_book_that_is_not_known_is_left_out_and_named() -> None:
    config = knowing()
    pipeline = books(config, [("one", 0), ("two", 0)])
    pipeline.step(message(Kind.GAP, 1, (), (), instrument("two")))
    answer = ask(pipeline, "sell", 100.0, [], config)
    assert (answer.venues, answer.without) == (("one:AUSD",), {"two:AUSD": "gap"})
    pipeline.step(message(Kind.GAP, 1, (), (), instrument("one")))
    with pytest.raises(BadConfig, match="no book of A is known"):
        ask(pipeline, "sell", 100.0, [], config)


def test_inverse_contracts_are_counted_in_base_units() -> None:
    config = knowing()
    answer = ask(books(config, contract=Contract.INVERSE), "sell", 4.0, [], config)
    assert answer.price == 100.0
    assert ask(books(config, contract=Contract.INVERSE), "sell", 9.0, [], config).price == 99.0


def test_what_the_book_does_not_hold_is_said_so() -> None:
    answer = sell(1_000.0)
    assert (answer.price, answer.move_bps) == (None, None)
    assert answer.unsold == pytest.approx(1_000 + 16 - 80)
    assert "ends beyond the book" in lines(answer)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "exactly one of --sell and --buy"),
        (["--sell", "1", "--buy", "1"], "exactly one of --sell and --buy"),
        (["--sell", "1", "--at", "2024-01-01"], "without a tape"),
        (["--sell", "-5", "TAPE"], "notional is -5.0"),
        (["--sell", "5", "--asset", "XYZ", "TAPE"], "asset is 'XYZ', the tapes hold BTC"),
        (["--sell", "5", "--level", "1e9", "TAPE"], "level is 1000000000.0, allowed are prices below"),
    ],
)
def test_a_question_that_cannot_be_is_refused(
    arguments: list[str], words: str, binance_tapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = [str(binance_tapes / "usdm_btcusdt_20240808.gz"), "--venue", "binance_usdm", "--at", "2024-08-08T23:54:20"]
    given = [word for each in arguments for word in (tape if each == "TAPE" else [each])]
    assert cli.main(["whatif", *given]) == 3
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_real_book_withstands_what_rests_in_it(binance_tapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tapes = [str(binance_tapes / "usdm_btcusdt_20240808.gz")]
    config = replace(EngineConfig(), knowledge=Knowledge())
    pipeline = from_tapes(tapes, "BTC", "2024-08-08T23:55:00", "binance_usdm", config)
    answer = ask(pipeline, "sell", 25e6, [60_000.0], config)
    (track,) = pipeline.tracks.values()
    assert track.book is not None
    bids = [(int(price), int(size)) for price, size in track.book.levels()[0].tolist()]
    unit = track.unit[0]
    held = [sum(size for _, size in bids[: i + 1]) / unit["size"] for i in range(len(bids))]
    end = next(i for i, depth in enumerate(held) if depth >= answer.quantity)
    assert answer.price == pytest.approx(bids[end][0] / unit["price"])
    assert answer.time < 1_723_161_300_000_000_000
    again = ["whatif", *tapes, "--venue", "binance_usdm", "--at", "2024-08-08T23:55:00", "--sell", "25e6", "--json"]
    assert cli.main([*again, "--level", "60000"]) == 0
    assert orjson.loads(capsys.readouterr().out) == orjson.loads(orjson.dumps(answer.json()))
