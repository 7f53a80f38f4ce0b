"""An asset's cascade: books laid upon one another, maps and exposures behind them, and what is remembered."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from jsonschema import Draft202012Validator

from engine import contract, risk, tail
from engine.books import Refill, reference_of
from engine.config import EngineConfig
from engine.errors import BadRecord
from engine.fields import ASSET_ENVELOPE, RECORD_VERSION
from engine.knowledge import Exposure, Knowledge
from engine.money import unit_of
from engine.schema import TRADE, Rows
from engine.signals import cascade, cascade_asset
from engine.signals.cascade_asset import AssetCascade, Part
from engine.triggers import known, maps_of
from tests.liquidation_map import SECOND, Map
from tests.stream import instrument
from tests.test_cascade_row import PLAIN, Market, configuration, market, past

LOAN = Exposure(name="a loan", asset="A", quantity=7.0, trigger=98.0, as_of=SECOND)
CONFIG = EngineConfig(cascade=PLAIN, knowledge=Knowledge(exposures=(LOAN,)))


def venues(config: EngineConfig, *moved: int) -> list[Market]:
    seed = random.Random(3)
    return [market(config, seed, f"v{i}", each) for i, each in enumerate(moved)]


def asked(config: EngineConfig, parts: list[Part], whole: AssetCascade | None = None) -> dict[str, Any]:
    layout = cascade_asset.layout(config)
    row = np.zeros(1, layout.dtype)
    books = (whole or AssetCascade(config, "A")).measure(parts, SECOND, row)
    fields, why = layout.values(row)
    names = {"venues": books.venues, "excluded": books.left_out, "excluded_why": ["foreign"] * len(books.left_out)}
    return {**{name: list(each) for name, each in names.items()}, **fields, "why": why}


def test_an_asset_of_one_venue_says_what_its_instrument_says() -> None:
    (one,) = venues(CONFIG, 0)
    told = asked(CONFIG, [one.part])
    layout = cascade.layout(CONFIG)
    row = np.zeros(1, layout.dtype)
    part = one.part
    exposures, _ = known(CONFIG, "A")
    maps = maps_of([part.map], [part.assumed], [1.0], exposures)
    refill = Refill(flow=part.flow, settings=part.flow_settings, duration=0)
    seen = cascade.measure_book(CONFIG, part.book, part.unit, maps, refill, row)
    memory = np.zeros(1, risk.MEMORY)
    cascade.tell_risk(CONFIG, seen, (tail.memory_of(), tail.settings_of(samples=160)), memory, SECOND, row)
    fields, why = layout.values(row)
    assert {name: told[name] for name in fields} == fields
    assert told["why"] == why


def test_books_are_laid_at_the_median_mid_and_exposures_count_once() -> None:
    markets = venues(CONFIG, -60, 0, 60)
    parts = [each.part for each in markets]
    told = asked(CONFIG, parts)
    assert told["mid"] == float(sorted(part.mid for part in parts)[1])
    assert told["mid"] == float(reference_of([part.mid for part in parts])[0])
    assert told["venues"] == ["v0:AUSD", "v1:AUSD", "v2:AUSD"]
    alone = [asked(CONFIG, [part]) for part in parts]
    np.testing.assert_allclose(told["fall_depth"], np.sum([each["fall_depth"] for each in alone], axis=0))
    assert (told["exposures"], [each["exposures"] for each in alone]) == (1, [1, 1, 1])
    # A trade at the trigger on any venue ends the exposure everywhere.
    markets[2].map.trade(9 * SECOND, (98.0, 1))
    assert (asked(CONFIG, parts)["exposures"], asked(CONFIG, parts[:2])["exposures"]) == (0, 1)


def test_coverage_is_weighted_by_open_interest() -> None:
    one, two = venues(CONFIG, 0, 0)
    for each, before, after in ((one, 0, 30), (two, 60, 70)):
        each.map = Map(CONFIG.map, exposures=(LOAN,))
        each.map.open_interest(SECOND, before)
        each.map.trade(2 * SECOND, (100, 1))
        each.map.open_interest(3 * SECOND, after)
    parts = [replace(each.part, map=each.map.memory, assumed=each.map.settings) for each in (one, two)]
    assert asked(CONFIG, parts)["map_coverage"] == pytest.approx((30 + 10) / (30 + 70))


def test_a_venue_of_another_currency_is_left_out_and_named() -> None:
    markets = venues(CONFIG, 0, 2_100, 10)
    parts = [each.part for each in markets]
    told = asked(CONFIG, parts)
    assert (told["venues"], told["excluded"]) == (["v0:AUSD", "v2:AUSD"], ["v1:AUSD"])
    assert told == {
        **asked(CONFIG, [parts[0], parts[2]]),
        "excluded": ["v1:AUSD"],
        "excluded_why": ["foreign"],
    }


def paid(size: int) -> Rows:
    rows = np.zeros(1, TRADE)
    rows["price"], rows["size"], rows["side"] = 10_000, size, -1
    return rows


def test_what_is_remembered_of_an_asset_goes_on_from_its_bytes() -> None:
    config = replace(CONFIG, cascade=replace(PLAIN, horizon=1, samples=20))
    parts, unit = [each.part for each in venues(config, 0, 30)], unit_of(instrument())
    whole, other = AssetCascade(config, "A"), AssetCascade(config, "A")
    for at in range(400):
        if at == 250:
            other.load(whole.dump())
        for each in (whole, other) if at >= 250 else (whole,):
            each.close(at * SECOND, float(parts[0].mid))
            each.hear(paid(100 + at * 37 % 400), unit, at * SECOND + 9)
    told = asked(config, parts, whole)
    assert told == asked(config, parts, other)
    assert (told["risk_pool"], told["risk_samples"]) == ("hour and volatility", 397)
    assert None not in told["fall_risk"]
    assert whole.dump() == other.dump()
    whole.lose()
    assert whole.risk["time"][0] == 0
    with pytest.raises(BadRecord, match="tail of A has 3 bytes"):
        other.load([b"abc", b""])


def test_records_of_an_asset_are_what_their_schema_says() -> None:
    schema = contract.record_schema(cascade_asset.SIGNAL)
    validator = Draft202012Validator(schema)
    head = {
        "schema": RECORD_VERSION,
        "signal": "cascade",
        "asset": "A",
        "time": 5,
        "line": 4,
        "state": "ok",
        "reason": None,
    }
    assert set(head) == {field.name for field in ASSET_ENVELOPE}
    for number in range(20):
        seed = random.Random(number)
        config = configuration(seed, PLAIN)
        whole = AssetCascade(config, "A")
        whole.tail = past(seed, 300)
        value = {**head, **asked(config, [market(config, seed, "one", 0).part], whole)}
        validator.validate(orjson.loads(orjson.dumps(value)))
        assert list(value) == [*head, *(field.name for field in cascade_asset.SIGNAL.fields), "why"]
        with_null = {**value, "fall_critical": None}
        assert not validator.is_valid(with_null)
