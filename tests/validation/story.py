"""The story of the scenarios in the signals, over several seeds: `tests.story` finds it, here it is counted.

October 10 as the scenario plays it, at its usual compression. What an engine says of the fall it says in the last
record before the first forced order, for a sale of 100 million, the largest of its default shocks, which is what the
scenario sells; whatever else is sold meanwhile it does not know. Four maps are asked: estimated from a month of open
interest; the two holders that everybody knows, and their bankruptcy prices; the true map in 60 pieces, as a registry,
each with its mean bankruptcy price; none.
"""

from dataclasses import replace
from statistics import median

import numpy as np

from engine.config import EngineConfig
from engine.knowledge import Exposure, Knowledge
from ingest.simulator.population import longs_of
from ingest.simulator.scenarios import INSTRUMENT, Scenario, october, scenario, stage
from tests.story import NEVER, SPOKEN, October, Story, error_of, october_of, registry, tell
from tests.validation import Row, Size

#: Pieces of the true map; a registry holds 64.
PIECES = 60
WITHIN = 0.15


def true_map(wanted: Scenario, seed: int) -> EngineConfig:
    """Give an engine that knows where every long is forced."""
    marks, sizes, floors = longs_of(stage(wanted, seed).accounts)
    base, price = INSTRUMENT.lot / 10**INSTRUMENT.size_decimals, INSTRUMENT.tick / 10**INSTRUMENT.price_decimals
    known = tuple(
        Exposure(
            name=f"piece {number}",
            asset=INSTRUMENT.asset,
            quantity=float(sizes[piece].sum()) * base,
            trigger=float(np.average(marks[piece], weights=sizes[piece])) * price,
            bankruptcy=float(np.average(floors[piece], weights=sizes[piece])) * price,
            instrument=INSTRUMENT.key,
            as_of=wanted.start,
        )
        for number, piece in enumerate(np.array_split(np.arange(len(marks)), PIECES))
    )
    return replace(EngineConfig(), knowledge=Knowledge(exposures=known))


def october_rows(seeds: range) -> list[Row]:
    """Tell October 10 with each seed, and with each map."""
    wanted = october()
    found: list[October] = []
    quiet: list[bool] = []
    errors: dict[str, list[float]] = {"the two known holders": [], "the true map": []}
    for seed in seeds:
        told = tell(wanted, seed, past=True, topics=SPOKEN)
        one = october_of(told)
        found.append(one)
        quiet.append({state for at, state in told.states() if one.vacuum <= at < one.refills} == {"vacuum"})
        configs = (registry(wanted), true_map(wanted, seed))
        for name, config in zip(errors, configs, strict=True):
            first = tell(wanted, seed, config=config, seconds=int(one.first) + 1, topics=SPOKEN)
            errors[name].append(error_of(first, one))
    errors = {
        "a map estimated from open interest": [each.error for each in found],
        **errors,
        "no map": [abs(each.alone - each.real) / each.real if each.alone is not None else NEVER for each in found],
    }
    ratio = max(each.news_ratio for each in found)
    shares = [each.critical / each.ordinary for each in found]
    waves = [each.wave for each in found]
    late = [each.recovering - each.returns for each in found]
    worlds = len(seeds)
    ordered = sum(each.thins < each.thin < each.news < each.vacuum for each in found)
    restored = [each.restored for each in found]
    rows = [
        finding("october-10: bids' depth ratio before the news, worst", f"{ratio:.2f}", "< 0.60", ratio < 0.6, worlds),
        count("october-10: bids THIN before the news, VACUUM after", ordered, worlds),
        finding(
            "october-10: critical shock of 1 % before the first forced order / a minute's sales, worst",
            f"{max(shares):.2f}",
            "< 1",
            max(shares) < 1,
            worlds,
        ),
        *(
            finding(
                f"october-10: error of the fall that was told, {name}: median, worst",
                f"{share(median(each))}, {share(max(each))}",
                "<= 15 %",
                max(each) <= WITHIN,
                worlds,
            )
            for name, each in errors.items()
        ),
        finding(
            "october-10: first forced order to first deleveraging",
            f"{min(waves):.0f} to {max(waves):.0f} s",
            "30 to 90 s",
            30 <= min(waves) <= max(waves) <= 90,
            worlds,
        ),
        count("october-10: nothing but VACUUM while nobody refills", sum(quiet), worlds),
        finding(
            "october-10: RECOVERING after depth is truly back at a tenth",
            f"{min(late):.1f} to {max(late):.1f} s",
            "0 to 15 s",
            0 <= min(late) <= max(late) <= 15,
            worlds,
        ),
        finding(
            "october-10: true share of the usual depth before NORMAL, least",
            f"{min(restored):.2f}",
            "> 0.50",
            min(restored) > 0.5,
            worlds,
        ),
    ]
    return rows


def outage_row(seeds: range) -> Row:
    """Count worlds in which a dead feed is unknown from when it is noticed until it is back, and nothing else."""
    wanted = scenario("feed-outage")
    assert wanted.outage is not None
    died, back = wanted.outage

    def silent(told: Story) -> bool:
        states = {state for side in ("bid", "ask") for _, state in told.states(side)}
        during = [value for at, value in told.signals["vacuum"] if died < at < back]
        unknown = all(value[f"{side}_state"] == "unknown" for value in during for side in ("bid", "ask"))
        return states == {"unknown", "normal"} and bool(during) and unknown

    good = sum(silent(tell(wanted, seed, topics=SPOKEN)) for seed in seeds)
    return count("feed-outage: UNKNOWN throughout, no alarm", good, len(seeds))


def spoof_row(seeds: range) -> Row:
    """Count worlds in which a spoof comes and goes as depth, and is no vacuum."""

    def seen(told: Story) -> bool:
        ratios = [(at, value["bid_ratio"]) for at, value in told.signals["vacuum"] if value["bid_ratio"] is not None]
        states = {state for side in ("bid", "ask") for _, state in told.states(side)}
        before, there, after = (
            [ratio for at, ratio in ratios if begin <= at < end] for begin, end in ((60, 70), (72, 100), (102, 140))
        )
        usual = all(0.5 < ratio < 1.6 for ratio in before + after)
        return states == {"unknown", "normal"} and min(there) > 3 and usual

    good = sum(seen(tell(scenario("spoof"), seed, topics=SPOKEN)) for seed in seeds)
    return count("spoof: depth comes and goes, no alarm", good, len(seeds))


def share(error: float) -> str:
    """Word an error; there is none to be had where the book was told not to suffice."""
    return f"{error:.1%}" if error < NEVER else "no end told"


def finding(what: str, measured: str, wanted: str, met: bool, worlds: int) -> Row:
    """Word a finding."""
    return Row(what=what, measured=measured, wanted=wanted, met=met, worlds=worlds)


def count(what: str, good: int, worlds: int) -> Row:
    """Say in how many worlds something holds that should in all."""
    return finding(what, f"{good} of {worlds}", f"{worlds} of {worlds}", good == worlds, worlds)


def measure(size: Size) -> list[Row]:
    """Measure the stories in two worlds, or in six."""
    seeds = range(1, 3 if size == Size.SMALL else 7)
    return [*october_rows(seeds), outage_row(seeds), spoof_row(seeds)]
