"""The whole CASCADE record of an instrument and of an asset beside its slow twin, on small made-up markets."""

import random
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import median
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import risk, tail
from engine.book import Book
from engine.books import Refill
from engine.config import CascadeConfig, EngineConfig, MapConfig
from engine.kernel import COMPILED
from engine.knowledge import Exposure, Knowledge, MarkRule
from engine.mark import passed_on
from engine.money import unit_of
from engine.schema import LEVEL, Rows
from engine.signals import cascade, cascade_asset, flow
from engine.signals.cascade_asset import AssetCascade, Part
from engine.triggers import known, maps_of
from tests import naive_cascade_row as naive
from tests import naive_mark
from tests.liquidation_map import SECOND, Map
from tests.naive_cascade import replenished
from tests.stream import instrument

EXAMPLES = 100 if COMPILED else 5
PLAIN = CascadeConfig(drops=(20, 100, 250, 400), shocks=(500, 3_000, 20_000), withdrawal=3_000, samples=160)
ASKED = [
    PLAIN,
    replace(PLAIN, pass_through=0.6),
    replace(PLAIN, pass_through=0.0, slice=0.5),
    replace(PLAIN, slice=0.2, cooldown=30_000, duration=10_000),
    replace(PLAIN, slice=0.2, cooldown=3_000, duration=10_000, pass_through=0.8),
]
LASTING = replace(PLAIN, duration=10_000)
MARKS = (
    MarkRule(venue="v1", index=0.9, window=30.0),
    MarkRule(venue="elsewhere", index=0.4),
    MarkRule(index=0.3, of="mid", average=20.0, clamp=0.02),
)
BY_MARKS = [((), each) for each in ASKED] + [(MARKS, LASTING), (MARKS[:2], replace(LASTING, pass_through=0.7))]
IDS = [
    "plain",
    "mark that lags",
    "mark that never follows",
    "refilled slices",
    "all refinements",
    "marks",
    "marks of some",
]


@dataclass
class Market:
    """One venue: a book, its map, and the rates at which it refills."""

    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    map: Map
    flow: Rows
    part: Part

    @property
    def mid(self) -> Fraction:
        return Fraction(self.bids[0][0] + self.asks[0][0], 200)

    def levels(self, sign: int, factor: float) -> naive.Levels:
        """What lies within 500 bps."""
        mid2 = self.bids[0][0] + self.asks[0][0]
        if sign > 0:
            return [(p / 100 * factor, s / 100) for p, s in self.bids if 20_000 * p >= mid2 * 9_500]
        return [(p / 100 * factor, s / 100) for p, s in self.asks if 20_000 * p <= mid2 * 10_500]

    def rates(self, side: int) -> list[tuple[int, float]]:
        """Net additions per second, within 10 bps and from there to 50, of the last 20 cells."""
        own = self.flow[0]
        recent = [(int(own["ring_at"]) - 1 - back) % 256 for back in range(20)]
        net = [
            sum(int(own["added_ring"][at, side, zone]) - int(own["cancelled_ring"][at, side, zone]) for at in recent)
            for zone in (1, 2)
        ]
        return [(10, max(net[0], 0) / 100 / 5), (50, max(net[1] - net[0], 0) / 100 / 5)]

    def forced(self, config: EngineConfig, over: Rows, way: int, factor: float, index: int) -> list[naive.Trigger]:
        """The map's triggers, where the price is when the venue's mark has reached them, less what is known by name."""
        mixture = self.map.weights if index < 0 else self.map.draw(index)
        side = "long" if way > 0 else "short"
        levered = [each for each in config.knowledge.exposures if each.trigger is not None]
        named = sum(
            each.quantity
            for each, gone in zip(levered, over, strict=False)
            if (each.instrument, each.side, gone) == (self.part.key, side, 0)
        )
        interest = float(self.map.memory["open_interest"][0])
        return [
            (
                self.hit(config, way, factor, mark * factor),
                amount * max(1 - named / interest, 0),
                floor * factor,
            )
            for mark, amount, floor in self.map.triggers(way, mixture)
        ]

    def hit(self, config: EngineConfig, way: int, factor: float, trigger: float) -> float:
        """The traded price at which this venue's mark has reached a trigger, both scaled."""
        own, mid = self.map.memory[0], float(self.mid) * factor
        mark, index = (float(own[name]) * factor or mid for name in ("mark", "index"))
        return hit(config, self.part.key, way, mid, mark, index, trigger)


def hit(config: EngineConfig, key: str, way: int, mid: float, mark: float, index: float, trigger: float) -> float:
    """The same of any venue, and of none, by the rule that is its own."""
    rules = {each.venue: each for each in config.knowledge.marks}
    rule = rules.get(key.partition(":")[0]) or rules.get("")
    if rule is None:
        return naive.lagging(config.cascade.pass_through, mid, way, trigger)
    return naive_mark.hit(rule, config.cascade.duration / 1_000, way, mid, mark, index, trigger)


def market(config: EngineConfig, seed: random.Random, venue: str, moved: int) -> Market:
    """A book around 100.00 + moved hundredths, with a map that has seen open interest rise."""
    unit = instrument(venue)
    sides = [
        [
            (10_000 + moved + way * at, seed.randrange(1, 900))
            for at in sorted(seed.sample(range(1, 600), seed.randrange(1, 25)))
        ]
        for way in (-1, 1)
    ]
    book = Book(unit, config.bands)
    book.update(np.array(sides[0] + sides[1], LEVEL), len(sides[0]), True)
    found = Map(config=config, key=unit.key)
    interest = seed.choice([0, 200])
    found.open_interest(SECOND, interest)
    for at in range(2, seed.randrange(2, 9)):
        found.trade(at * SECOND, (100 + moved / 100 + seed.uniform(-3, 3), 1))
        interest += seed.randrange(0, 40)
        found.open_interest(at * SECOND + 1, interest)
    if seed.random() < 0.7:
        mid = 100 + moved / 100
        found.mark(9 * SECOND, mid + seed.uniform(-2, 2))
        found.index(9 * SECOND, mid + seed.uniform(-2, 2))
    memory = flow.memory_of(config)
    memory["filled"], memory["ring_at"] = 20, 7
    for name in ("added_ring", "cancelled_ring"):
        for at in range(256):
            near = [seed.randrange(0, 90) for _ in range(2)]
            memory[name][0, at] = [[0, each, each + seed.randrange(0, 90)] for each in near]
    part = Part(
        key=unit.key,
        book=book,
        unit=unit_of(unit),
        map=found.memory,
        assumed=found.settings,
        flow=memory,
        flow_settings=flow.settings_of(config),
    )
    return Market(bids=sides[0], asks=sides[1], map=found, flow=memory, part=part)


def exposure(seed: random.Random, number: int) -> Exposure:
    trigger = 100 + seed.uniform(-5, 5) if seed.random() < 0.8 else None
    side: Literal["long", "short"] = "long" if seed.random() < 0.6 else "short"
    beyond = seed.uniform(0, 2) * (1 if side == "long" else -1)
    return Exposure(
        name=f"number {number}",
        asset="A",
        side=side,
        quantity=seed.randrange(1, 30),
        trigger=trigger,
        error=seed.choice([0.0, 0.5]),
        bankruptcy=trigger - beyond if trigger and seed.random() < 0.5 else None,
        instrument=seed.choice(["", "one:AUSD", "v0:AUSD", "v1:AUSD", "elsewhere:AUSD"]),
        as_of=3 * SECOND,
    )


def configuration(seed: random.Random, asked: CascadeConfig, marks: tuple[MarkRule, ...] = ()) -> EngineConfig:
    exposures = tuple(exposure(seed, number) for number in range(seed.randrange(0, 5)))
    map_ = MapConfig(leverages=(20, 50, 100), weights=(0.5, 0.3, 0.2), draws=4)
    return EngineConfig(cascade=asked, map=map_, knowledge=Knowledge(exposures=exposures, marks=marks))


def past(seed: random.Random, count: int) -> Rows:
    """A memory of so many horizons of one hour and one volatility."""
    memory = tail.memory_of()
    memory["count"] = count
    for side in range(2):
        memory["worsts"][0, side, :count] = [seed.expovariate(0.05) for _ in range(count)]
    return memory


def standing(config: EngineConfig, markets: list[Market], mid: float, way: int, index: int) -> list[naive.Trigger]:
    """Known exposures whose trigger has traded nowhere, where the price is when their venue's mark has reached it."""
    levered = [each for each in config.knowledge.exposures if each.trigger is not None]
    found = []
    for place, each in enumerate(levered):
        side = 1 if each.side == "long" else -1
        if side != way or any(one.map.memory["gone"][0, place] for one in markets):
            continue
        assert each.trigger is not None
        at = naive.erring(each.trigger, each.error, index, place) if index >= 0 and each.error else each.trigger
        whose = [one for one in markets if one.part.key == each.instrument]
        if whose:
            at = whose[0].hit(config, way, mid / float(whose[0].mid), at)
        else:
            at = hit(config, each.instrument, way, mid, mid, mid, at)
        floor = each.bankruptcy if each.bankruptcy is not None else 0.0 if side > 0 else 1e300
        found.append((at, each.quantity, floor))
    return found


def twin(config: EngineConfig, markets: list[Market], memory: Rows) -> dict[str, Any]:
    """The record by definition; several markets are laid upon one another at their median mid."""
    mid = median(each.mid for each in markets)
    found, told = [], dict[str, Any]()
    over = np.max([each.map.memory["gone"][0] for each in markets], axis=0)
    for at, way in enumerate((1, -1)):
        factors = [float(mid / each.mid) for each in markets]
        # Each zone's rate goes to each venue's own levels, before they are summed.
        whole: dict[float, float] = {}
        rate = 0.0
        for each, factor in zip(markets, factors, strict=True):
            levels = [(way * price, size) for price, size in each.levels(way, factor)]
            if config.cascade.duration:
                bounds = [naive.edge(each.mid, way, bps) * factor for bps, _ in each.rates(at)]
                rates = [r for _, r in each.rates(at)]
                levels, _ = replenished(levels, bounds, rates, config.cascade.duration / 1_000)
                rate += sum(rates)
            for price, size in levels:
                whole[price] = whole.get(price, 0.0) + size
        ordered = sorted(whole.items(), reverse=True)
        drawn = [
            [t for each, f in zip(markets, factors, strict=True) for t in each.forced(config, over, way, f, index)]
            + standing(config, markets, float(mid), way, index)
            for index in range(-1, config.map.draws)
        ]
        count = int(memory["count"][0])
        found.append(
            naive.Side(
                levels=[(way * price, size) for price, size in ordered],
                triggers=drawn[0],
                draws=drawn[1:],
                past=memory["worsts"][0, at, :count].tolist(),
            )
        )
        told["fall_refill" if way > 0 else "squeeze_refill"] = rate
    told |= naive.record(config.cascade, mid, *found)
    told["exposures"] = sum(len(standing(config, markets, float(mid), way, -1)) for way in (1, -1))
    estimated = any(each.forced(config, over, way, 1.0, -1) for each in markets for way in (1, -1))
    told["map_source"] = ("none", "estimated", "measured", "both")[estimated + 2 * (told["exposures"] > 0)]
    interest = [float(each.map.memory["open_interest"][0]) for each in markets]
    held = [each.map.coverage(1)[0] * weight for each, weight in zip(markets, interest, strict=True)]
    told["map_coverage"] = sum(held) / sum(interest) if sum(interest) else 0.0
    told["mid"] = float(mid)
    told["holders"] = sum(each.trigger is None for each in config.knowledge.exposures)
    return told


@pytest.mark.parametrize(("marks", "asked"), BY_MARKS, ids=IDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 10**9))
def test_an_instruments_record_is_that_of_the_twin(
    marks: tuple[MarkRule, ...], asked: CascadeConfig, number: int
) -> None:
    seed = random.Random(number)
    config = configuration(seed, asked, marks)
    one, layout = market(config, seed, "one", 0), cascade.layout(config)
    row, memory = np.zeros(1, layout.dtype), past(seed, seed.choice([20, 300]))
    exposures, holders = known(config, "A")
    maps = maps_of([one.map.memory], [one.map.settings], [1.0], exposures)
    refill = Refill(flow=one.flow, settings=one.part.flow_settings, duration=asked.duration)
    seen = cascade.measure_book(config, one.part.book, one.part.unit, maps, refill, row)
    row["holders"] = holders
    fixed = tail.settings_of(asked.horizon, samples=asked.samples)
    cascade.tell_risk(config, seen, (memory, fixed), np.zeros(1, risk.MEMORY), 1, row)
    told, why = layout.values(row)
    assert naive.agree(told, twin(config, [one], memory)) == []
    assert set(why) == {
        name for name, value in told.items() if value is None or (type(value) is list and None in value)
    }
    stated = {name: told[name] for name in ("slice", "cooldown", "duration")}
    assert stated == {name: getattr(asked, name) for name in stated}
    assert told["pass_through"] == (passed_on(marks[2], 10.0) if len(marks) > 2 else asked.pass_through)


@pytest.mark.parametrize(("marks", "asked"), BY_MARKS, ids=IDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 10**9))
def test_an_assets_record_is_that_of_the_twin(marks: tuple[MarkRule, ...], asked: CascadeConfig, number: int) -> None:
    seed = random.Random(number)
    config = configuration(seed, asked, marks)
    markets = [market(config, seed, f"v{i}", seed.randrange(-90, 90)) for i in range(seed.randrange(1, 4))]
    layout = cascade_asset.layout(config)
    row, whole = np.zeros(1, layout.dtype), AssetCascade(config, "A")
    whole.tail = past(seed, seed.choice([20, 300]))
    books = whole.measure([each.part for each in markets], 1, row)
    told, _ = layout.values(row)
    assert (books.venues, books.left_out) == (tuple(each.part.key for each in markets), ())
    assert naive.agree(told, twin(config, markets, whole.tail)) == []
