"""Exposures: holders that a desk knows by name in; measured triggers, merged with the estimated ones, out.

A levered one is forced at its trigger, which is known with an error (one standard deviation) and as of some moment. One
without leverage has no trigger: it is listed and never forced. Exposures are of an asset, not of a venue, so they join
the asset's triggers once; whether their trigger has traded is noted wherever the asset trades. One that is part of an
instrument's open interest takes its share of that instrument's estimated map (`engine.triggers`), for that map spreads
all of the open interest: what is known of a part of it would count twice.
"""

from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from engine.config import EngineConfig
from engine.errors import BadConfig
from engine.kernel import inner, kernel
from engine.knowledge import Exposure
from engine.liquidation_weights import normal
from engine.mark import RULE, hit_at, set_rule
from engine.schema import Rows

Floats = NDArray[np.float64]

#: Most levered exposures of one asset.
EXPOSURES: Final = 64
#: Their errors are drawn from streams of their own, above those of the leverage classes.
STREAM: Final = cast(int, np.int64(64))
START: Final = cast(int, np.int64(0))
#: A trade at a price so many times off the trigger is in another currency and says nothing of it.
FOREIGN: Final = 20.0
#: The floor of a forced purchase that is made at any price.
NO_FLOOR: Final = 1e300

#: One levered holder.
EXPOSURE: Final = np.dtype(
    [
        #: +1 long, forced to sell in a fall; -1 short, forced to buy in a rise.
        ("side", "<i8"),
        #: Base units.
        ("quantity", "<f8"),
        #: Price, and one standard deviation of it.
        ("trigger", "<f8"),
        ("error", "<f8"),
        #: Bankruptcy price; where it is not known 0 of a long, 1e300 of a short: it trades at any price.
        ("floor", "<f8"),
        #: When this was true, ns; it does not age, but who reads a map should be told.
        ("as_of", "<i8"),
        *RULE,
    ],
    align=True,
)

#: This part of a map's memory.
FIELDS: Final[list[Any]] = [
    #: 1 where the exposure's trigger has traded since it was true, in the order of `exposures_of`.
    ("gone", "<u1", (EXPOSURES,)),
]


#: This part of a map's constants.
SETTINGS: Final[list[Any]] = [
    ("exposures", "<i8"),
    ("exposure_sides", "<i8", (EXPOSURES,)),
    ("exposure_triggers", "<f8", (EXPOSURES,)),
    ("exposure_as_of", "<i8", (EXPOSURES,)),
    #: 1 where the exposure is part of this instrument's open interest.
    ("exposure_own", "<u1", (EXPOSURES,)),
]


def exposures_of(config: EngineConfig, asset: str) -> Rows:
    """Give the levered exposures of an asset, in the order of the file. Raises BadConfig where there are too many."""
    known = levered(config, asset)
    if len(known) > EXPOSURES:
        raise BadConfig(f"{len(known)} exposures of {asset} have a trigger, allowed are up to {EXPOSURES}")
    rows = np.zeros(len(known), EXPOSURE)
    for row, each in zip(rows, known, strict=True):
        row["side"] = 1 if each.side == "long" else -1
        row["quantity"], row["trigger"], row["error"] = each.quantity, each.trigger or 0.0, each.error
        row["floor"] = (0.0 if each.side == "long" else NO_FLOOR) if each.bankruptcy is None else each.bankruptcy
        row["as_of"] = each.as_of
        set_rule(config, each.instrument.partition(":")[0], row)
    return rows


def levered(config: EngineConfig, asset: str) -> list[Exposure]:
    """List the exposures of an asset that have a trigger."""
    return [each for each in config.knowledge.exposures if each.asset == asset and each.trigger is not None]


def set_exposures(config: EngineConfig, instrument: str, asset: str, fixed: Any) -> None:
    """Fill this part of the constants of one instrument's map."""
    exposures = exposures_of(config, asset)
    fixed["exposures"] = len(exposures)
    for i, (exposure, each) in enumerate(zip(exposures, levered(config, asset), strict=True)):
        fixed["exposure_sides"][i], fixed["exposure_triggers"][i] = exposure["side"], exposure["trigger"]
        fixed["exposure_as_of"][i] = exposure["as_of"]
        fixed["exposure_own"][i] = each.instrument == instrument


def listed(config: EngineConfig, asset: str) -> tuple[str, ...]:
    """Name the holders of an asset without leverage: known, and never forced."""
    return tuple(each.name for each in config.knowledge.exposures if each.asset == asset and each.trigger is None)


@inner
def note_traded(memory: Rows, settings: Rows, low: float, high: float, now: int) -> None:
    """Note which exposures' triggers a price between `low` and `high` has reached after they were true."""
    own, fixed = memory[0], settings[0]
    for i in range(fixed["exposures"]):
        side, trigger = fixed["exposure_sides"][i], fixed["exposure_triggers"][i]
        if own["gone"][i] or now <= fixed["exposure_as_of"][i] or low * FOREIGN < trigger or high > trigger * FOREIGN:
            continue
        if (side > 0 and low <= trigger) or (side < 0 and high >= trigger):
            own["gone"][i] = 1
            own["version"] += 1


@kernel
def join(
    marks: Floats,
    amounts: Floats,
    floors: Floats,
    n: int,
    exposures: Rows,
    gone: NDArray[np.uint8],
    side: int,
    index: int,
    start: float,
    places: Floats,
) -> int:
    """Merge the exposures of one side into n triggers in the order of being hit; return how many there are then.

    `side` is +1 for longs (marks descend), -1 for shorts (marks ascend). With index -1 they stand at their triggers,
    with index i >= 0 where draw i puts them: trigger + error x a standard normal; one drawn at or below 0 is left out,
    for it cannot trade. `gone` is the memory's field, or the greatest over the asset's venues: such are left out.
    `start` is the mid; places[0] and places[1] say where each one's mark stands and its index, 0: at the mid.

    The three arrays need room for n + len(exposures).
    """
    for i in range(len(exposures)):
        known = exposures[i]
        if known["side"] != side or gone[i]:
            continue
        trigger = known["trigger"]
        if index >= 0 and known["error"] > 0.0:
            trigger += known["error"] * normal(index, STREAM + i, START)
        if trigger <= 0.0:
            continue
        standing = places[0, i] if places[0, i] > 0.0 else start
        theta, share, clamp = known["pass_through"], known["index_share"], known["clamp"]
        origin = places[1, i] if places[1, i] > 0.0 else start
        trigger = hit_at(trigger, side, start, standing, origin, theta, share, clamp)
        at = n
        while at > 0 and (trigger - marks[at - 1]) * side > 0.0:
            marks[at], amounts[at], floors[at] = marks[at - 1], amounts[at - 1], floors[at - 1]
            at -= 1
        marks[at], amounts[at] = trigger, known["quantity"]
        floors[at] = known["floor"]
        n += 1
    return n
