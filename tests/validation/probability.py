"""Probabilities that the engine states, against markets whose futures or truth are known.

The vacuum's: fitted on worlds of some parameters, calibrated on others of the same, read from the records of worlds
whose parameters lie outside of those, all of them on the harsher side, or each on either. A fall's: how the rank of the
engine's critical shock, and of what was sold lately over it, goes with the true probability by nested Monte Carlo.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from engine.knowledge import Model
from engine.probability import ENOUGH_EVENTS, ESTIMATED, columns, estimate, model_of, vectors
from engine.statistics.evaluation import brier_skill, calibration_error, even_edges, roc_auc, share_edges
from engine.statistics.fitting import fit_model
from ingest.simulator.advance import run
from ingest.simulator.branches import chance, futures
from ingest.simulator.matching import Event
from ingest.simulator.scenarios import scenario, stage
from ingest.simulator.world import SECOND, World
from tests.vacuum_worlds import GENTLER, HARSHER, HORIZON, NAMES, TRAINING, Floats, Ints, Told, tell
from tests.validation import Row, Size
from tests.validation.critical import State, claimed

BINS: Final = 10
WITHIN: Final = 0.05
#: Held-out worlds: where their parameters lie.
KINDS: Final = {"harsher all at once": (HARSHER,), "harsher or gentler, each": (GENTLER, HARSHER)}
#: The fall, share, and how far ahead, s, whose true probability is found.
FALL: Final = 0.002
AHEAD: Final = 10
#: Scenario and moments, s.
MOMENTS: Final = (("calm", (30,)), ("october-10", (110, 142, 156, 190, 270, 288, 305, 320, 340, 370, 400, 430)))


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
    return fit_model(NAMES, together(training), together(calibration), horizon=HORIZON, events=events)


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
    training: range, calibration: range, held_out: range, kinds: Sequence[str], seconds: int, within: float
) -> list[Row]:
    """Measure the vacuum probability on held-out worlds of these kinds, by seeds."""
    sets = [[tell((TRAINING,), seconds, seed) for seed in seeds] for seeds in (training, calibration)]
    model = fitted(*sets)
    rows = []
    for name in kinds:
        held = [tell(KINDS[name], seconds, seed, model) for seed in held_out]
        worlds = len(training) + len(calibration) + len(held_out)
        rows += held_rows(f"vacuum probability, parameters {name}", model, held, worlds, within)
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
            what=f"{what}: Brier skill over the held-out base rate, ROC-AUC",
            measured=f"{skill:.3f}, {area:.3f}",
            wanted="above 0, above 0.5",
            met=skill > 0.0 and area > 0.5,
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


def measure_falls(seeds: range, count: int) -> list[Row]:
    """Measure how the engine's critical shock goes with the true probability of a fall."""
    truth, shocks, pressures = [], [], []
    for seed in seeds:
        for name, moments in MOMENTS:
            world = stage(scenario(name), seed)
            begin = int(world.state[0]["time"])
            for moment in moments:
                run(world, begin + (moment - AHEAD) * SECOND)
                sold = sold_lately(world, begin + moment * SECOND)
                level = int(int(world.state[0]["bid"]) * (1.0 - FALL))
                shock = float(claimed(State(name, world, [level]), world.accounts)[0])
                until = int(world.state[0]["time"]) + AHEAD * SECOND
                truth.append(chance(futures(world, until, count, seed), level)[0])
                shocks.append(-shock)
                pressures.append(sold / max(shock, 1.0))
    true = np.array(truth)
    moved = int(np.sum((true > 0.0) & (true < 1.0)))
    return [
        Row(
            what=f"true chance of a fall of {FALL:.1%} in {AHEAD} s, {count} futures each, against {name}",
            measured=f"rank correlation {rank_correlation(true, np.array(values)):.2f} over {len(true)} states, "
            f"{moved} of them between 0 and 1",
            wanted="information: above 0",
            met=rank_correlation(true, np.array(values)) > 0.0,
            worlds=2 * len(seeds),
        )
        for name, values in (("-Q_c", shocks), ("sold in the last 10 s / Q_c", pressures))
    ]


def measure(size: Size) -> list[Row]:
    """Measure it over a few short worlds, with wider bounds, or over many."""
    if size == Size.SMALL:
        few = measure_vacuum(range(100, 102), range(200, 202), range(300, 302), list(KINDS)[:1], 360, 0.15)
        return few + measure_falls(range(1, 2), 60)
    many = measure_vacuum(range(100, 110), range(200, 210), range(300, 316), list(KINDS), 900, WITHIN)
    return many + measure_falls(range(1, 2), 2_000)
