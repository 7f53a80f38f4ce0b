"""Probability: a fitted model and one INPUTS row in, the chance of a vacuum on one side out.

    z_i = transform of input i        raw = 1 / (1 + exp(-(intercept + sum of weight_i x z_i)))

and the probability is the value of the last isotonic knot at or below raw, the first value below all of them. Terms are
added in the model's own order. `engine.statistics.fitting` fits weights and knots to what `vectors` gives.

An input under a logarithm is first brought within [1e-6, 1e6], so an empty side (ratio 0) weighs much and not
infinitely, and a phantom index below 0 counts as 1e-6. A critical shock is taken for at least a thousand quote units.
Every z ends within [-1e6, 1e6].
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadConfig
from engine.inputs import INPUTS, NAMES
from engine.kernel import kernel
from engine.knowledge import Model
from engine.schema import Rows

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

#: Label events below which a fitted model is not believed.
ENOUGH_EVENTS: Final = 50
#: What a MODEL row holds at most.
MOST_INPUTS: Final = 16
MOST_KNOTS: Final = 64
#: Bounds of what is put under a logarithm, and of every z.
LOW: Final = 1e-6
HIGH: Final = 1e6
#: Least critical shock, millions of quote units.
LEAST_SHOCK: Final = 1e-3
#: Largest weight: a sum of so many terms stays finite.
HEAVIEST: Final = 1e100

#: How an input becomes a z: itself, its logarithm, minus that, one over it, ln(its wide ratio / its ratio).
PLAIN: Final = 0
LOG: Final = 1
MINUS_LOG: Final = 2
INVERSE: Final = 3
TILT: Final = 4

#: Every name that a model may use: the input that it is made of, and how.
TRANSFORMS: Final = {
    "ratio": ("ratio", MINUS_LOG),
    "ratio_wide": ("ratio_wide", MINUS_LOG),
    "tilt": ("ratio", TILT),
    "withdrawal": ("withdrawal", PLAIN),
    "refill": ("refill", MINUS_LOG),
    "spread": ("spread", LOG),
    "pocket": ("pocket", PLAIN),
    "imbalance": ("imbalance", PLAIN),
    "phantom": ("phantom", LOG),
    "branching": ("branching", PLAIN),
    "variance": ("variance", LOG),
    "trades": ("trades", LOG),
    "shock": ("shock", INVERSE),
}
ORDER: Final = tuple(TRANSFORMS)
#: The same by number, as kernels read it.
COLUMNS: Final = tuple(NAMES.index(name) for name, _ in TRANSFORMS.values())
KINDS: Final = tuple(kind for _, kind in TRANSFORMS.values())
WIDE: Final = NAMES.index("ratio_wide")

#: What `estimate` says beside a probability.
ESTIMATED: Final = 0
UNCALIBRATED: Final = 1
MISSING: Final = 2

MODEL: Final = np.dtype(
    [
        #: Places in ORDER, and the weight of each.
        ("inputs", "<i8", (MOST_INPUTS,)),
        ("weights", "<f8", (MOST_INPUTS,)),
        ("input_count", "<i8"),
        ("intercept", "<f8"),
        ("knots", "<f8", (MOST_KNOTS,)),
        ("values", "<f8", (MOST_KNOTS,)),
        #: 0: there is no model.
        ("knot_count", "<i8"),
        #: Seconds.
        ("horizon", "<i8"),
        ("base_rate", "<f8"),
        #: Label events behind the fit.
        ("events", "<i8"),
    ],
    align=True,
)


def model_of(model: Model | None) -> Rows:
    """Give the one MODEL row. Raises BadConfig on names that no input has, or more than the row can hold."""
    row = np.zeros(1, MODEL)
    if model is None:
        return row
    strange = [name for name in model.inputs if name not in TRANSFORMS]
    if strange:
        raise BadConfig(f"inputs of the model are {strange}, allowed are {', '.join(ORDER)}")
    if len(model.knots) > MOST_KNOTS:
        raise BadConfig(f"model has {len(model.knots)} knots, allowed are {MOST_KNOTS}")
    if max(abs(each) for each in (*model.weights, model.intercept)) > HEAVIEST:
        raise BadConfig(f"weights and intercept of the model reach beyond {HEAVIEST:g}, allowed are numbers within")
    row["inputs"][0, : len(model.inputs)] = [ORDER.index(name) for name in model.inputs]
    row["weights"][0, : len(model.inputs)] = model.weights
    row["input_count"] = len(model.inputs)
    row["intercept"] = model.intercept
    row["knots"][0, : len(model.knots)] = model.knots
    row["values"][0, : len(model.knots)] = model.values
    row["knot_count"] = len(model.knots)
    row["horizon"], row["base_rate"], row["events"] = model.horizon, model.base_rate, model.events
    return row


def columns(inputs: Rows) -> tuple[Floats, Bytes]:
    """Give views of one INPUTS row that are indexed by number: values and whys, inputs x sides."""
    shape, whys = (len(NAMES), 2), INPUTS.fields["ratio_why"][1] if INPUTS.fields else 0
    return inputs.view(np.float64)[: 2 * len(NAMES)].reshape(shape), inputs.view(np.uint8)[whys:].reshape(shape)


def vectors(names: Sequence[str], inputs: Rows, side: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Give what a model of these names reads of many INPUTS rows (rows x names), and in which rows all is defined."""
    strange = [name for name in names if name not in TRANSFORMS]
    if strange:
        raise BadConfig(f"inputs are {strange}, allowed are {', '.join(ORDER)}")
    found, defined = np.zeros((len(inputs), len(names))), np.ones(len(inputs), np.bool_)
    for i in range(len(inputs)):
        values, whys = columns(inputs[i : i + 1])
        for n, name in enumerate(names):
            found[i, n], missing = z_of(ORDER.index(name), values, whys, side)
            defined[i] &= not missing
    return found, defined


@kernel
def z_of(which: int, values: Floats, whys: Bytes, side: int) -> tuple[float, bool]:
    """Transform one input of ORDER for one side; say whether it is missing."""
    column, kind = COLUMNS[which], KINDS[which]
    if whys[column, side] > 0 or (kind == TILT and whys[WIDE, side] > 0):
        return 0.0, True
    value = float(values[column, side])
    if kind == PLAIN:
        return min(max(value, -HIGH), HIGH), False
    if kind == INVERSE:
        return 1.0 / max(value, LEAST_SHOCK), False
    log = math.log(min(max(value, LOW), HIGH))
    if kind == TILT:
        return math.log(min(max(float(values[WIDE, side]), LOW), HIGH)) - log, False
    return (log if kind == LOG else -log), False


@kernel
def calibrate(model: Rows, raw: float) -> float:
    """Return the value of the last knot at or below a raw probability, the first value below all of them."""
    fitted, found = model[0], 0
    for k in range(1, fitted["knot_count"]):
        if fitted["knots"][k] > raw:
            break
        found = k
    return float(fitted["values"][found])


@kernel
def estimate(model: Rows, values: Floats, whys: Bytes, side: int) -> tuple[float, float, int]:
    """Return the calibrated and the raw probability of one side, and ESTIMATED, UNCALIBRATED or MISSING."""
    fitted = model[0]
    if fitted["knot_count"] == 0 or fitted["events"] < ENOUGH_EVENTS:
        return 0.0, 0.0, UNCALIBRATED
    score = float(fitted["intercept"])
    for i in range(fitted["input_count"]):
        z, missing = z_of(fitted["inputs"][i], values, whys, side)
        if missing:
            return 0.0, 0.0, MISSING
        score += fitted["weights"][i] * z
    small = math.exp(-abs(score))
    raw = 1.0 / (1.0 + small) if score >= 0.0 else small / (1.0 + small)
    return calibrate(model, raw), raw, ESTIMATED
