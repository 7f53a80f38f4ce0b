"""The design's test vectors, every block of the file: what the engine says of each, number by number.

Floats agree to 1e-9, all else exactly. Two blocks are printed to four digits (TV24, TV32): there the engine's numbers
are rounded as the file's are. A check gives what the engine says under the names of the block; what it does not give it
must have read, so no number of the file goes unused.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from engine.statistics import change, correlation, evaluation, hawkes, labels, microprice, queues
from tests import vectors_of_cascades as cascades
from tests import vectors_of_signals as signals

VECTORS: Final = Path(__file__).parents[1] / ".." / "shared" / "design" / "test_vectors.json"
#: Words for people.
TEXT: Final = {"note", "convention"}
Block = dict[str, Any]


def excitation(given: Block) -> Block:
    times, counts = np.array(given["times"], np.float64), np.array(given["counts"])
    mu, alpha, beta, horizon = given["mu"], given["alpha"], given["beta"], given["T"]
    before = np.empty(len(times))
    hawkes.excitations(times, beta, before)
    return {
        "lambda_at_events_left": mu + alpha * before,
        "loglik": hawkes.log_likelihood(times, horizon, mu, alpha, beta),
        "lambda_T": hawkes.rate_at(times, horizon, mu, alpha, beta),
        "branching": hawkes.branching(alpha, beta),
        "stationary_rate": hawkes.stationary_rate(mu, alpha, beta),
        "mean": np.mean(counts),
        "var_ddof1": np.var(counts, ddof=1),
        "n_hb": hawkes.endogeneity(counts),
    }


def overlapping(given: Block) -> Block:
    one, other = np.array(given["x1"]), np.array(given["x2"])
    cov = correlation.overlap(np.array(given["t1"]), one, np.array(given["t2"]), other)
    rv1, rv2 = correlation.realised(one), correlation.realised(other)
    return {"cov": cov, "rv1": rv1, "rv2": rv2, "corr": correlation.correlate(cov, rv1, rv2)}


def fading(given: Block) -> Block:
    sums = np.zeros(3)
    for x, y in ((1.0, 1.0), (1.0, -1.0), (2.0, 2.0)):
        correlation.fade_sums(sums, given["lam"], x, y)
    cov, vx, vy = sums
    return {"cov": cov, "vx": vx, "vy": vy, "rho": correlation.correlate(cov, vx, vy)}


def cusum(given: Block) -> Block:
    sums = [0.0]
    for z in given["z"]:
        sums.append(change.shortfall(sums[-1], z, given["k"]))
    return {"S": sums[1:], "alarm_h3": [each >= 3.0 for each in sums[1:]]}


def runs(given: Block) -> Block:
    found, posterior = np.empty((2, 8)), []
    change.forget_runs(found)
    for seen, x in enumerate(given["x"], start=1):
        change.follow_runs(found, x, given["hazard"], given["obs_var"], given["prior_mean"], given["prior_var"])
        posterior.append({str(r): found[0, r] for r in range(seen + 1)})
    return {"posterior": posterior}


def jumps(given: Block) -> Block:
    centre, spread = change.jump_constants(given["n"])
    returns = np.array([0.001, -0.002, 0.001, -0.001, 0.002])
    found = change.jump(-0.01, returns)
    return {
        "Cn": centre,
        "Sn": spread,
        "q99": change.jump_quantile(0.99),
        "threshold_abs_L": change.jump_bound(given["n"], 0.99),
        "bipower_var": change.bipower(returns),
        "sigma": -0.01 / found,
        "L_for_ret_minus_1pct": found,
    }


def micro(given: Block) -> Block:
    stay, moves, land, steps = (np.array(given[name]) for name in ("Q", "R1", "R2", "K"))
    known = microprice.Transitions(stay=stay, moves=moves, land=land, steps=steps)
    onward = microprice.next_state(known)
    return {
        "G1": microprice.first_move(known),
        "B": onward,
        "G6": microprice.drift(known, 6),
        "Gstar": microprice.whole_drift(known),
        "rowsum_B": onward.sum(axis=1),
    }


def queue_race(given: Block) -> Block:
    found = queues.chain_up(given["lam1"], given["mu"], given["theta1"])
    return {"P_up_exact": np.round(found[:5, :5], 4)}


def queue_diffusion(given: Block) -> Block:
    return {"P_up": queues.diffusion_up(given["qb"], given["qa"], 0.0)}


def queue_lattice(given: Block) -> Block:
    sizes = {name: [int(part[3:]) for part in name.split("_")] for name in given}
    return {name: round(queues.lattice_up(*each), 4) for name, each in sizes.items()}


def scores(given: Block) -> Block:
    y, p = np.array(given["y"]), np.array(given["p"])
    return {
        "auc": evaluation.roc_auc(y, p),
        "average_precision": evaluation.average_precision(y, p),
        "brier": evaluation.brier(y, p),
        "brier_base_rate": evaluation.brier(y, np.full(len(y), np.mean(y))),
        "bss": evaluation.brier_skill(y, p),
    }


def label(given: Block) -> Block:
    mids, steps = np.array(given["mid_path"], np.float64), given["h"]
    sigma = np.full(len(mids), given["sigma_per_sqrt_s"])
    return {
        "mae": labels.extreme(mids, steps)[0][0],
        "threshold": labels.bar(sigma, steps, given["k"])[0],
        "label": int(labels.label_moves(mids, sigma, steps, given["k"])[0]),
    }


CHECKS: Final[dict[str, Callable[[Any], Any]]] = {
    "TV1_touch": signals.touch,
    "TV2_depth": signals.bands,
    "TV3_sweep": signals.sweeps,
    "TV4_gaps": signals.gaps,
    "TV5_ofi": signals.imbalance,
    "TV6_integrated_ofi": signals.integrated,
    "TV7_vpin": signals.toxicity,
    "TV8_lambda": signals.impact_of_flow,
    "TV9_resiliency": signals.resilience,
    "TV10_hawkes": excitation,
    "TV11_cascade": cascades.cascade,
    "TV12_critical_shock": cascades.critical_shock,
    "property_test_fixpoint_vs_sweep_vs_critical_shock": cascades.three_roads,
    "TV13_eta_critical": cascades.critical_fraction,
    "TV14_linear": cascades.even_book,
    "TV15_bankruptcy_floor": cascades.floor,
    "TV16_liq_price": cascades.liquidation_prices,
    "TV17_oi_map": cascades.open_interest,
    "TV18_hy": overlapping,
    "TV19_ewma_corr": fading,
    "TV20_cusum_low": cusum,
    "TV21_lee_mykland": jumps,
    "TV22_sqrt": signals.root_law,
    "TV23_microprice": micro,
    "TV24_cst": queue_race,
    "TV25_cont_delarrard": queue_diffusion,
    "TV26_bocpd": runs,
    "TV27_eval": scores,
    "TV28_label": label,
    "TV29_spreads": signals.spreads,
    "TV30_depth_elasticity": signals.elasticity,
    "TV31_two_asset": cascades.two_assets,
    "TV32_cont_delarrard_lattice": queue_lattice,
}


class Given(dict[str, Any]):
    """A block that remembers which of its names were read."""

    def __init__(self, block: Block) -> None:
        super().__init__(block)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


def agree(found: Any, expected: Any, path: str) -> None:
    """Compare two values of one shape: floats to 1e-9, all else exactly."""
    if isinstance(expected, dict):
        assert set(found) == set(expected), path
        for name, value in expected.items():
            agree(found[name], value, f"{path}.{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), path
        for at, value in enumerate(expected):
            agree(found[at], value, f"{path}[{at}]")
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12), f"{path}: {found} for {expected}"
    else:
        assert found == expected, f"{path}: {found} for {expected}"


@pytest.fixture(scope="module")
def vectors() -> Block:
    """Numbers that the design fixes."""
    if not VECTORS.is_file():
        if os.environ.get("CI"):
            pytest.fail(f"{VECTORS} is absent, and CI must have it")
        pytest.skip(f"{VECTORS} is absent")
    found: Block = json.loads(VECTORS.read_text())
    return found


def test_every_block_of_the_design_has_a_check(vectors: Block) -> None:
    assert set(CHECKS) == set(vectors)


@pytest.mark.parametrize("name", CHECKS)
def test_the_engine_says_what_the_design_says(vectors: Block, name: str) -> None:
    block = vectors[name]
    if isinstance(block, list):
        agree(CHECKS[name]({}), block, name)
        return
    given = Given(block)
    found = CHECKS[name](given)
    agree(found, {each: block[each] for each in block if each in found}, name)
    assert set(found) | given.read | TEXT >= set(block), f"{name}: {set(block) - set(found) - given.read} are not used"
