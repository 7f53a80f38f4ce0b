"""What a desk asks: the answer from made-up books by hand, from real tapes, and refusals that say what is allowed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from airpocket import cli
from airpocket.converting import convert
from airpocket.whatif import Answer, ask, from_tapes, lines
from engine.config import CascadeConfig, EngineConfig
from engine.errors import BadConfig
from engine.knowledge import Exposure, Knowledge, MarkRule
from engine.pipeline import Pipeline
from engine.schema import REFERENCE, TRADE, Contract, Kind, Reference
from ingest.simulator.frames import START
from tests.lakes import simulated
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


def positioned(config: EngineConfig, venues: Sequence[tuple[str, int]] = (("one", 0),)) -> Pipeline:
    """The books, behind whose first one 200 base units of longs and of shorts were entered at 100.02."""
    pipeline, unit = books(config, venues), instrument("one")
    for at, value in ((10, 10_000), (20, None), (30, 30_000)):
        if value is None:
            rows = np.zeros(1, TRADE)
            rows["price"], rows["size"], rows["side"], rows["fills"] = 10_002, 100, 1, 1
            pipeline.step(replace(message(Kind.TRADE, at, (), (), unit, count=1), trades=rows))
        else:
            heard = np.zeros(1, REFERENCE)
            heard["what"], heard["value"] = int(Reference.OPEN_INTEREST), value
            pipeline.step(replace(message(Kind.REFERENCE, at, (), (), unit, count=1), references=heard))
    return pipeline


def test_the_estimated_map_fires_too_and_says_what_it_is_worth() -> None:
    config = knowing()
    answer = ask(positioned(config), "sell", 6.0 * 100.01, [], config)
    # 10 of 200 are at 100 times leverage and wait at 99.41; bankrupt at 99.02, they find nobody at 99.00.
    assert (answer.fired_estimated, answer.fired, answer.map_source) == (1, (), "estimated")
    assert answer.map_coverage == pytest.approx(2 / 3)
    assert answer.forced == answer.forced_estimated == answer.unsold == pytest.approx(10.0)
    assert answer.price == answer.price_alone == 99.0
    assert answer.amplification == pytest.approx(16 / 6)
    assert "triggers 1 of the estimated map: 10.00 A (it holds 66.7% of open interest)" in lines(answer)
    assert "estimated maps that hold 66.7% of open interest" in answer.assumptions


def test_triggers_of_both_kinds_are_told_apart() -> None:
    config = knowing(("first", "long", 2.0, 99.5), ("low", "long", 9.0, 80.0), ("treasury", "long", 1e6, None))
    answer = ask(positioned(config), "sell", 6.0 * 100.01, [], config)
    assert (answer.fired_estimated, [each.name for each in answer.fired]) == (1, ["first"])
    assert [answer.forced, answer.forced_estimated] == pytest.approx([12.0, 10.0])
    assert (answer.map_source, answer.holders) == ("both", ("treasury",))


def test_the_map_of_one_venue_stands_behind_the_books_of_all() -> None:
    config = knowing()
    answer = ask(positioned(config, [("one", 0), ("two", 0)]), "sell", 11.0 * 100.01, [99.0], config)
    assert answer.fired_estimated == 1
    assert answer.map_coverage == pytest.approx(2 / 3)
    # 20 rest down to 99.00, and 10 of the map wait there.
    assert answer.levels[0]["critical_quote"] == pytest.approx(10.0 * 100.01)


def test_a_venue_of_another_currency_is_left_out_and_named() -> None:
    config = knowing()
    answer = ask(books(config, [("one", 0), ("two", 0), ("won", 5_000)]), "sell", 14.0 * 100.01, [], config)
    assert answer.venues == ("one:AUSD", "two:AUSD")
    assert answer.without == {"won:AUSD": "mid more than 20 % off the others'"}


def test_an_exposure_that_has_traded_is_not_fired_again() -> None:
    config = knowing(("first", "long", 2.0, 99.5))
    pipeline = books(config)
    rows = np.zeros(1, TRADE)
    rows["price"], rows["size"], rows["side"], rows["fills"] = 9_950, 100, -1, 1
    pipeline.step(replace(message(Kind.TRADE, 10, (), (), instrument("one"), count=1), trades=rows))
    answer = ask(pipeline, "sell", 8.0 * 100.01, [], config)
    assert (answer.fired, answer.forced, answer.map_source) == ((), 0.0, "none")


def test_slices_and_a_lagging_mark_force_less() -> None:
    config = replace(knowing(*LEVERED), cascade=CascadeConfig(slice=0.5))
    answer = ask(books(config), "sell", 8.5 * 100.01, [], config)
    # 8.5 + 1 are held at 99.00; all at once it would be 10.5, and end at 96.
    assert (answer.price, answer.forced, answer.forced_estimated) == (99.0, 1.0, 0.0)
    assert "50% of what is forced is sold at once" in answer.assumptions
    config = replace(knowing(*LEVERED), cascade=CascadeConfig(pass_through=0.5))
    assert ask(books(config), "sell", 8.5 * 100.01, [], config).price == 99.0


def test_a_bankruptcy_price_leaves_the_rest_of_a_forced_sale() -> None:
    # 10.5 rest at 99.00 and above; 8 + 2 of the first are sold there; the second begins at 98.50, is bankrupt at 97.50.
    first, second = (Exposure(name=n, asset="A", quantity=q, trigger=t, as_of=1) for n, _, q, t in LEVERED[:2])
    plain = EngineConfig(knowledge=Knowledge(exposures=(first, replace(second, quantity=20.0))))
    config = EngineConfig(knowledge=Knowledge(exposures=(first, replace(second, quantity=20.0, bankruptcy=97.5))))
    without = ask(books(plain), "sell", 8.5 * 100.01, [], plain)
    answer = ask(books(config), "sell", 8.5 * 100.01, [], config)
    # It ends in the 20 at 96.00 without; with it what 98.00 does not take of the 20 is left.
    assert (without.price, without.unsold) == (96.0, 0.0)
    assert answer.price == 98.0
    assert answer.unsold == pytest.approx(15.5)
    assert answer.traded == pytest.approx(15.0)
    assert [each.name for each in answer.fired] == ["first", "second"]


def test_a_rule_of_the_mark_is_said_and_asked() -> None:
    rule = MarkRule(index=0.5, average=10.0)
    config = replace(
        knowing(*LEVERED), knowledge=Knowledge(exposures=knowing(*LEVERED).knowledge.exposures, marks=(rule,))
    )
    answer = ask(books(config), "sell", 8.5 * 100.01, [], config)
    # The mark is at 99.5 when the price is at 98.99: nobody is forced at 99.00.
    assert (answer.price, answer.fired) == (99.0, ())
    assert "mark passes on 0.5 of a move;" in answer.assumptions
    pipeline = books(config)
    rows = np.zeros(1, REFERENCE)
    rows["what"], rows["value"] = int(Reference.MARK), 10_101
    pipeline.step(replace(message(Kind.REFERENCE, 10, (), (), instrument("one"), count=1), references=rows))
    assert "of a move and stands +100.0 bps off the mid" in ask(pipeline, "sell", 850.0, [], config).assumptions


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


def test_a_lake_answers_as_the_tape_it_was_made_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = simulated(tmp_path / "tapes")
    convert([str(folder)], tmp_path / "lake")
    found = []
    for source in (folder, tmp_path / "lake"):
        question = ["whatif", str(source), "--asset", "BTC", "--sell", "1e6", "--at", str(START + 5_000_000_000)]
        capsys.readouterr()
        assert cli.main([*question, "--json"]) == 0
        found.append(orjson.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert found[0]["venues"] == ["binance_usdm:BTCUSDT"]
    assert found[0]["quantity"] > 0
