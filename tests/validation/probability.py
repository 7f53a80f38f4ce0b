"""Probabilities that the engine states, against markets whose futures or truth are known.

The vacuum's: fitted on worlds of some parameters, calibrated on others of the same, read from the records of worlds
whose parameters lie outside of those, all of them on the harsher side, or each on either.

What it reads, how much its weights are held back and how it is calibrated was chosen on training and calibration worlds
alone, by Brier skill on six of them that were left out: at random, or the harshest and the gentlest. The five inputs
that records tell did best. Added to them, the critical shock, variance and trades, or all that the engine knows but the
branching ratio (missing for the first minutes) had less skill, least on the harshest and gentlest: some of those follow
a world's parameters, and mislead beyond them. A ridge of 300 had more skill than one of 1. No steps had less than
the engine's own; steps from each half of the worlds for weights from the other had more on one draw of the market and
less on the next, so the engine's own fit is what is measured.

A fall's: how the rank of the engine's critical shock, and of what was sold lately over it, goes with the true
probability by nested Monte Carlo. Moments are spread over each stage of `october-10`'s plan, so that neither what was
sold before nor the fall to come reaches into another stage.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from engine.knowledge import Model
from engine.probability import ENOUGH_EVENTS, ESTIMATED, columns, estimate, model_of, vectors
from engine.statistics.evaluation import brier_skill, calibration_error, even_edges, roc_auc, share_edges
from engine.statistics.fitting import fit_model
from ingest.simulator.advance import run
from ingest.simulator.branches import chance, futures
from ingest.simulator.matching import Event
from ingest.simulator.scenarios import Scenario, scenario, stage
from ingest.simulator.world import SECOND, World
from tests.vacuum_worlds import GENTLER, HARSHER, HORIZON, NAMES, TRAINING, Floats, Ints, Told, tell
from tests.validation import Row, Size
from tests.validation._workers import Workers
from tests.validation.critical import State, claimed

BINS: Final = 10
WITHIN: Final = 0.05
#: Held-out worlds: where their parameters lie.
KINDS: Final = {"harsher all at once": (HARSHER,), "harsher or gentler, each": (GENTLER, HARSHER)}
#: The fall, share, and how far ahead, s, whose true probability is found.
FALL: Final = 0.002
AHEAD: Final = 10
STORY: Final = "october-10"
#: Moments of each stage, at most.
MOMENTS: Final = 3
#: Of the squared weights of standardised inputs.
RIDGE: Final = 300.0


def together(worlds: Sequence[Told]) -> tuple[Floats, Ints]:
    """Give what a model reads of worlds, and their labels."""
    inputs, labels = [], []
    for told in worlds:
        for side in (0, 1):
            chosen = told.sides == side
            inputs.append(vectors(NAMES, told.inputs[chosen], side)[0])
            labels.append(told.labels[chosen])
    return np.concatenate(inputs), np.concatenate(labels)


def fitted(training: Sequence[Told], calibration: Sequence[Told]) -> Model:
    """Fit on some worlds, calibrate on others."""
    events = sum(told.events for told in (*training, *calibration))
    return fit_model(NAMES, together(training), together(calibration), horizon=HORIZON, events=events, ridge=RIDGE)


def chances(model: Model, worlds: Sequence[Told]) -> tuple[Floats, Ints]:
    """Give the engine's probabilities of worlds' seconds, and their labels, also of a model of too few events."""
    row = model_of(replace(model, events=max(model.events, ENOUGH_EVENTS)))
    found = []
    for told in worlds:
        for at, side in enumerate(told.sides.tolist()):
            probability, _, outcome = estimate(row, *columns(told.inputs[at : at + 1]), side)
            assert outcome == ESTIMATED, f"second {at} of a world has no probability"
            found.append(probability)
    return np.array(found), np.concatenate([told.labels for told in worlds])


def measure_vacuum(
    workers: Workers,
    training: range,
    calibration: range,
    held_out: range,
    kinds: Sequence[str],
    seconds: int,
    within: float,
) -> list[Row]:
    """Measure the vacuum probability on held-out worlds of these kinds, by seeds."""
    known = workers.each(tell, [((TRAINING,), seconds, seed) for seed in (*training, *calibration)])
    model = fitted(known[: len(training)], known[len(training) :])
    held = workers.each(tell, [(KINDS[kind], seconds, seed, model) for kind in kinds for seed in held_out])
    rows = []
    for at, kind in enumerate(kinds):
        own = held[at * len(held_out) : (at + 1) * len(held_out)]
        rows += held_rows(f"vacuum probability, parameters {kind}", model, own, len(known) + len(own), within)
    return rows


def held_rows(what: str, model: Model, held: Sequence[Told], worlds: int, within: float) -> list[Row]:
    """Word what held-out worlds say of a model."""
    found, labels = chances(model, held)
    said = np.concatenate([told.said for told in held])
    believed = model.events >= ENOUGH_EVENTS
    agrees = bool((said == found).all() if believed else np.isnan(said).all())
    even, share = (calibration_error(labels, found, each) for each in (even_edges(BINS), share_edges(found, BINS)))
    flat = calibration_error(labels, np.full(len(labels), model.base_rate), even_edges(BINS))
    events = sum(told.events for told in held)
    skill, area = brier_skill(labels, found), roc_auc(labels, found)
    over = brier_skill(labels, found, np.full(len(labels), model.base_rate))
    left = sum(told.unlabelled for told in held), sum(told.missing for told in held)
    return [
        Row(
            what=f"{what}: calibration error",
            measured=f"{even:.3f}, by bins of equal counts {share:.3f}, of the fitted base rate alone {flat:.3f}; "
            f"{labels.mean():.1%} were 1, {found.mean():.1%} said, {model.base_rate:.1%} when fitted",
            wanted=f"both < {within}",
            met=max(even, share) < within,
            worlds=worlds,
        ),
        Row(
            what=f"{what}: label events",
            measured=f"{model.events} fitted, {events} held out; of held-out seconds {left[0]} have no label, "
            f"{left[1]} no input",
            wanted=f"{ENOUGH_EVENTS} or more each, else the engine says none",
            met=believed and events >= ENOUGH_EVENTS,
            worlds=worlds,
        ),
        Row(
            what=f"{what}: records say it",
            measured=("as estimated" if believed else "none, too few events") if agrees else "another",
            wanted="as estimated" if believed else "none, too few events",
            met=agrees,
            worlds=len(held),
        ),
        Row(
            what=f"{what}: Brier skill over the held-out base rate, over the fitted one, ROC-AUC",
            measured=f"{skill:.3f}, {over:.3f}, {area:.3f}",
            wanted="above 0, above 0, above 0.5",
            met=min(skill, over) > 0.0 and area > 0.5,
            worlds=len(held),
        ),
    ]


def sold_lately(world: World, until: int) -> int:
    """Let a market go on; give the market sales net of purchases of that time, lots, at least 1."""
    events = run(world, until)
    trades = events[events["kind"] == Event.TRADE]
    return max(-int(np.sum(trades["side"] * trades["size"])), 1)


def ranks(values: Floats) -> Floats:
    """Give twice the ranks, equals the same."""
    ordered = np.sort(values)
    first, after = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return (first + after).astype(np.float64)


def rank_correlation(one: Floats, other: Floats) -> float:
    """Give Spearman's correlation."""
    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


def moments(scenario: Scenario) -> list[int]:
    """Give moments, s, evenly over each stage but for the time of a fall after its begin and before its end."""
    begins = [int(time) // SECOND for time in scenario.plan["time"]]
    found: list[int] = []
    for begin, end in pairwise([*begins, scenario.seconds]):
        if end - begin >= 2 * AHEAD:
            found += np.unique(np.linspace(begin + AHEAD, end - AHEAD, MOMENTS).astype(int)).tolist()
    return found


def fall_at(moment: int, seed: int, count: int) -> tuple[float, float, int]:
    """Give the true probability of a fall from a moment, the engine's critical shock and what was sold lately, lots."""
    world = stage(scenario(STORY), seed)
    begin = int(world.state[0]["time"])
    run(world, begin + (moment - AHEAD) * SECOND)
    sold = sold_lately(world, begin + moment * SECOND)
    level = int(int(world.state[0]["bid"]) * (1.0 - FALL))
    shock = float(claimed(State(STORY, world, [level]), world.accounts)[0])
    until = int(world.state[0]["time"]) + AHEAD * SECOND
    return chance(futures(world, until, count, seed), level)[0], shock, sold


def measure_falls(workers: Workers, seeds: range, count: int) -> list[Row]:
    """Measure how the engine's critical shock goes with the true probability of a fall."""
    asked = [(moment, seed, count) for seed in seeds for moment in moments(scenario(STORY))]
    true, shocks, sold = (np.array(each) for each in zip(*workers.each(fall_at, asked), strict=True))
    moved = int(np.sum((true > 0.0) & (true < 1.0)))
    return [
        Row(
            what=f"true chance of a fall of {FALL:.1%} in {AHEAD} s, {count} futures each, against {name}",
            measured=f"rank correlation {rank_correlation(true, values):.2f} over {len(true)} states, "
            f"{moved} of them between 0 and 1",
            wanted="information: above 0",
            met=rank_correlation(true, values) > 0.0,
            worlds=len(seeds),
        )
        for name, values in (("-Q_c", -shocks), ("sold in the last 10 s / Q_c", sold / np.maximum(shocks, 1.0)))
    ]


def measure(size: Size, jobs: int = 1) -> list[Row]:
    """Measure it over a few short worlds, with wider bounds, or over many."""
    kinds = list(KINDS)
    with Workers(jobs) as workers:
        if size == Size.SMALL:
            seeds = range(100, 102), range(200, 202), range(300, 302)
            return measure_vacuum(workers, *seeds, kinds[:1], 360, 0.15) + measure_falls(workers, range(1, 2), 60)
        seeds = range(100, 110), range(200, 210), range(300, 316)
        return measure_vacuum(workers, *seeds, kinds, 900, WITHIN) + measure_falls(workers, range(1, 2), 2_000)
