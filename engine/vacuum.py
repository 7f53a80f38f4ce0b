"""The vacuum's state machine: one INPUTS row per evaluation in, a state per side out, and what brought it about.

    NORMAL      -> THIN         ratio < thin_ratio
    THIN        -> VACUUM       ratio < vacuum_ratio, refill < vacuum_refill, and spread > vacuum_spread or withdrawal >
                                vacuum_withdrawal: the entry test
    VACUUM      -> RECOVERING   refill > recovering_refill
    RECOVERING  -> VACUUM       the entry test
    RECOVERING  -> NORMAL       ratio > normal_ratio
    THIN        -> NORMAL       the same (ours: a side that thins out and fills again was never a vacuum)

each once its test has held for its time: at every evaluation since a first one, and now - first >= that time. A test is
asked in the states that it leads out of and nowhere else; the evaluation that changes the state is the first of the new
one. Evaluations further apart than `gap` break every hold. Where both ways out are open, the way to VACUUM is taken.

A side is UNKNOWN, at once, when the book is lost (`lose`) or its ratio is undefined: a dead feed is never a vacuum. The
first defined ratio leads to NORMAL, from where the tests begin anew, also where the feed died within a vacuum.

What is not there counts so: a side validly empty has ratio 0. Where only the other one is (ratio ONE_SIDED), nothing
can be measured for want of a mid: the state stays, no test is met. A spread that is ONE_SIDED is wide. A refill for
which nothing left (NO_FLOW) is below every bound where nothing came either, its value 0 (makers that are gone refill
nothing), and above every bound where something came. A test that needs any other undefined input is not met.

Sides are 0 bid (a vacuum below the price) and 1 ask (above it: a squeeze). An asset as a whole has such a memory too.
"""

from enum import IntEnum
from typing import Final

import numpy as np

from engine.config import EngineConfig
from engine.fields import WHY, Why
from engine.kernel import inner, kernel
from engine.ladder import ASK, BID
from engine.schema import Rows
from engine.trust import Reason


class State(IntEnum):
    """What a side is in; in JSON the lower-case name."""

    UNKNOWN = 0
    NORMAL = 1
    THIN = 2
    VACUUM = 3
    RECOVERING = 4


UNKNOWN: Final = int(State.UNKNOWN)
NORMAL: Final = int(State.NORMAL)
THIN: Final = int(State.THIN)
VACUUM: Final = int(State.VACUUM)
RECOVERING: Final = int(State.RECOVERING)
STATES: Final = tuple(state.name.lower() for state in State)

ONE_SIDED: Final = int(Why.ONE_SIDED)
NO_FLOW: Final = int(Why.NO_FLOW)
UNKNOWN_BOOK: Final = int(Why.UNKNOWN_BOOK)
UNSYNCED: Final = int(Reason.UNSYNCED)

#: Why a side is UNKNOWN, by code: nothing, a Reason of the book, or beyond them a Why of the ratio.
CAUSES: Final = ("none", *(reason.name.lower() for reason in list(Reason)[1:]), *WHY[1:])
REASONS: Final = len(Reason) - 1
#: The first evaluation of a test that does not hold.
NEVER: Final = -1
#: What of the inputs a transition notes.
RATIO: Final = 0
REFILL: Final = 1
WITHDRAWAL: Final = 2
SPREAD: Final = 3
NOTED: Final = 4

MEMORY: Final = np.dtype(
    [
        #: State and the one before.
        ("state", "<i8", (2,)),
        ("before", "<i8", (2,)),
        #: Row time of the transition, 0 before the first call of all.
        ("since", "<i8", (2,)),
        #: Place in CAUSES, 0 in every state but UNKNOWN.
        ("cause", "<i8", (2,)),
        ("transitions", "<i8", (2,)),
        #: Since which evaluation the test towards VACUUM holds, and the one away from it.
        ("worse", "<i8", (2,)),
        ("better", "<i8", (2,)),
        #: Row time of the last evaluation.
        ("seen", "<i8"),
        #: Inputs of the transition, and why not.
        ("entry", "<f8", (2, NOTED)),
        ("entry_why", "<u1", (2, NOTED)),
    ],
    align=True,
)

SETTINGS: Final = np.dtype(
    [
        ("thin_ratio", "<f8"),
        ("vacuum_ratio", "<f8"),
        ("vacuum_refill", "<f8"),
        ("vacuum_spread", "<f8"),
        ("vacuum_withdrawal", "<f8"),
        ("recovering_refill", "<f8"),
        ("normal_ratio", "<f8"),
        #: ns.
        ("thin_for", "<i8"),
        ("vacuum_for", "<i8"),
        ("recovering_for", "<i8"),
        ("normal_for", "<i8"),
        ("gap", "<i8"),
    ],
    align=True,
)


def memory_of() -> Rows:
    """Give the memory of sides of which nothing is known."""
    memory = np.zeros(1, MEMORY)
    memory["cause"] = UNSYNCED
    memory["worse"] = memory["better"] = NEVER
    memory["entry_why"] = UNKNOWN_BOOK
    return memory


def settings_of(config: EngineConfig) -> Rows:
    """Give the one SETTINGS row."""
    row = np.zeros(1, SETTINGS)
    for name in SETTINGS.names or ():
        in_time = name == "gap" or name.endswith("_for")
        row[name] = getattr(config.vacuum, name) * (1_000_000 if in_time else 1)
    return row


@kernel
def lose(memory: Rows, reason: int, now: int) -> int:
    """Make both sides UNKNOWN at once, because of a Reason; return the sides that were not: bit 1 bid, bit 2 ask."""
    own, changed = memory[0], 0
    for side in (BID, ASK):
        if own["since"][side] == 0:
            own["since"][side] = now
        if own["state"][side] != UNKNOWN:
            enter(memory, side, UNKNOWN, now)
            for i in range(NOTED):
                own["entry"][side, i], own["entry_why"][side, i] = 0.0, UNKNOWN_BOOK
            changed |= 1 << side
        own["cause"][side] = reason
    return changed


@kernel
def advance(memory: Rows, settings: Rows, inputs: Rows, now: int) -> int:
    """Evaluate both sides of a known book; return those whose state changed: bit 1 bid, bit 2 ask."""
    own, told, changed = memory[0], inputs[0], 0
    broken = now - own["seen"] > settings[0]["gap"]
    own["seen"] = now
    for side in (BID, ASK):
        if own["since"][side] == 0:
            own["since"][side] = now
        state, why = own["state"][side], told["ratio_why"][side]
        if broken or why > 0:
            own["worse"][side] = own["better"][side] = NEVER
        to = state
        if why == 0:
            watch(memory, settings, inputs, side, now)
            to = next_of(memory, settings, side, now)
        elif why != ONE_SIDED:
            to = UNKNOWN
        if to != state:
            enter(memory, side, to, now)
            note(memory, inputs, side)
            changed |= 1 << side
            if why == 0:
                watch(memory, settings, inputs, side, now)
        own["cause"][side] = REASONS + why if to == UNKNOWN else 0
    return changed


@inner
def enter(memory: Rows, side: int, state: int, now: int) -> None:
    """Put a side into a state; what held for the last one says nothing of this one."""
    own = memory[0]
    own["before"][side], own["state"][side] = own["state"][side], state
    own["since"][side] = now
    own["transitions"][side] += 1
    own["worse"][side] = own["better"][side] = NEVER


@inner
def note(memory: Rows, inputs: Rows, side: int) -> None:
    """Keep what the machine read when a state changed."""
    own, told = memory[0], inputs[0]
    own["entry"][side, RATIO], own["entry_why"][side, RATIO] = told["ratio"][side], told["ratio_why"][side]
    own["entry"][side, REFILL], own["entry_why"][side, REFILL] = told["refill"][side], told["refill_why"][side]
    gone, gone_why = told["withdrawal"][side], told["withdrawal_why"][side]
    own["entry"][side, WITHDRAWAL], own["entry_why"][side, WITHDRAWAL] = gone, gone_why
    own["entry"][side, SPREAD], own["entry_why"][side, SPREAD] = told["spread"][side], told["spread_why"][side]


@inner
def watch(memory: Rows, settings: Rows, inputs: Rows, side: int, now: int) -> None:
    """Ask the tests that lead out of a side's state; remember since when each holds."""
    own, rule = memory[0], settings[0]
    state, ratio = own["state"][side], inputs[0]["ratio"][side]
    worse, better = False, False
    if state == NORMAL:
        worse = ratio < rule["thin_ratio"]
    elif state == VACUUM:
        better = refill_above(inputs, side, rule["recovering_refill"])
    elif state != UNKNOWN:
        worse = is_vacuum(settings, inputs, side)
        better = ratio > rule["normal_ratio"]
    own["worse"][side] = since(own["worse"][side], worse, now)
    own["better"][side] = since(own["better"][side], better, now)


@inner
def since(first: int, holds: bool, now: int) -> int:
    """Return the first evaluation at which a test has held ever since, NEVER where it does not now."""
    if not holds:
        return NEVER
    return now if first == NEVER else first


@inner
def next_of(memory: Rows, settings: Rows, side: int, now: int) -> int:
    """Return the state that a side with a defined ratio is to be in now."""
    own, rule = memory[0], settings[0]
    state = int(own["state"][side])
    worse = now - own["worse"][side] if own["worse"][side] != NEVER else NEVER
    better = now - own["better"][side] if own["better"][side] != NEVER else NEVER
    if state == UNKNOWN:
        return NORMAL
    if state == NORMAL:
        return THIN if worse >= rule["thin_for"] else NORMAL
    if state == VACUUM:
        return RECOVERING if better >= rule["recovering_for"] else VACUUM
    if worse >= rule["vacuum_for"]:
        return VACUUM
    return NORMAL if better >= rule["normal_for"] else state


@inner
def is_vacuum(settings: Rows, inputs: Rows, side: int) -> bool:
    """Ask the entry test of a side whose ratio is defined."""
    told, rule = inputs[0], settings[0]
    wide = told["spread_why"][side] == ONE_SIDED
    if told["spread_why"][side] == 0:
        wide = told["spread"][side] > rule["vacuum_spread"]
    left = told["withdrawal_why"][side] == 0 and told["withdrawal"][side] > rule["vacuum_withdrawal"]
    thin = told["ratio"][side] < rule["vacuum_ratio"]
    return bool(thin and (wide or left) and refill_below(inputs, side, rule["vacuum_refill"]))


@inner
def refill_below(inputs: Rows, side: int, bound: float) -> bool:
    """Say whether less came than this share of what left; where nothing left, whether nothing came."""
    refill, why = inputs[0]["refill"][side], inputs[0]["refill_why"][side]
    return bool(refill < bound if why == 0 else why == NO_FLOW and refill <= 0.0)


@inner
def refill_above(inputs: Rows, side: int, bound: float) -> bool:
    """Say whether more came than this share of what left; where nothing left, whether anything came."""
    refill, why = inputs[0]["refill"][side], inputs[0]["refill_why"][side]
    return bool(refill > bound if why == 0 else why == NO_FLOW and refill > 0.0)
