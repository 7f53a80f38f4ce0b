"""The liquidation map of one instrument: TRADE, REFERENCE, LIQUIDATION rows in; triggers out, sorted as they are hit.

A bar lasts from one OPEN_INTEREST row to the next, and its price is the average that was paid in it, weighted by volume
(where nothing traded: the mark price, else the last trade). At its close

    open interest rose    as many longs, and as many shorts, were entered at the bar's price, at unknown leverage
    it fell               positions closed: of both sides, pro rata to quantity x 2^(-age / half-life), young ones first
    it was never known    it is the level from which on changes are told; what it holds is not covered

and in between every trade takes out the longs that trigger at or above its price and the shorts at or below. What was
crossed is part of the next fall of open interest: only the rest of that fall is pro rata. Closing is shared with the
positions that the map does not cover, which count as old as the map.

Whatever the map is told is of one venue. The leverage prior is an assumption; see `engine.liquidation_weights` for what
moves it, `engine.liquidation_grid` for where triggers are kept, `engine.margin` for where they stand.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine import liquidation_exposures, liquidation_grid, liquidation_weights
from engine.config import EngineConfig
from engine.errors import BadConfig
from engine.kernel import inlined_entry, inner, kernel
from engine.liquidation_exposures import EXPOSURES, note_traded, set_exposures
from engine.liquidation_grid import BUCKETS, CLASSES, cross, empty_grid, enter, leave
from engine.liquidation_weights import SAMPLED, WHOLE, learn, mapped
from engine.margin import (
    bankruptcy,
    bankruptcy_inverse,
    brackets_of,
    isolated,
    isolated_inverse,
    maintenance_of,
)
from engine.mark import FIELDS as MARKED
from engine.mark import RULE, set_rule
from engine.money import INVERSE, QUANTO, amount_of, base_of
from engine.schema import Coverage, Reference, Rows

Floats = NDArray[np.float64]

MARK: Final = int(Reference.MARK)
INDEX: Final = int(Reference.INDEX)
OPEN_INTEREST: Final = int(Reference.OPEN_INTEREST)
ALL_OF_THEM: Final = int(Coverage.ALL)
HOUR: Final = 3_600_000_000_000
#: Prints may follow their trades by seconds: a lesson is drawn at the first close this long after it began, ns.
LESSON: Final = 10_000_000_000
#: Triggers with less than this share of open interest are left out.
NEGLIGIBLE: Final = 1e-9
#: Room that `triggers` and `join` need together.
ROOM: Final = BUCKETS + EXPOSURES

#: Everything that a map remembers; zeros but for the grid's bounds, which `memory_of` sets.
MEMORY: Final = np.dtype(
    [
        *liquidation_grid.FIELDS,
        *liquidation_weights.FIELDS,
        *liquidation_exposures.FIELDS,
        #: Of the bar: base units traded and what they cost.
        ("volume", "<f8"),
        ("paid", "<f8"),
        #: Of the bar: lowest and highest price, 0 before its first trade.
        ("low", "<f8"),
        ("high", "<f8"),
        #: Last trade and last mark price, 0 before the first.
        ("price", "<f8"),
        ("mark", "<f8"),
        *MARKED,
        #: Rows that cannot be: a price or size at or below 0, open interest below 0.
        ("refused", "<i8"),
    ],
    align=True,
)

#: Constants of the maps of one asset at one venue.
SETTINGS: Final = np.dtype(
    [
        #: How many leverage classes there are, their leverages, maintenance rates, and prior weights (1 in sum).
        ("classes", "<i8"),
        ("leverages", "<f8", (CLASSES,)),
        ("rates", "<f8", (CLASSES,)),
        ("prior", "<f8", (CLASSES,)),
        #: Sum of the Dirichlet's parameters; size of a typical position, quote units; half-life of a position, ns.
        ("strength", "<f8"),
        ("position", "<f8"),
        ("half_life", "<f8"),
        #: Trigger / entry, and bankruptcy / trigger, of linear and inverse contracts, by class and side; 0: none.
        ("reach", "<f8", (2, CLASSES, 2)),
        ("floor", "<f8", (2, CLASSES, 2)),
        *liquidation_exposures.SETTINGS,
        *RULE,
    ],
    align=True,
)


def memory_of(config: EngineConfig) -> Rows:
    """Give an empty map. Its size is the same for every configuration."""
    memory = np.zeros(1, MEMORY)
    empty_grid(memory)
    return memory


def settings_of(config: EngineConfig, instrument: str, asset: str) -> Rows:
    """Give the constants of the map of an instrument, `venue:SYMBOL`.

    Raises BadConfig where more than 8 leverages or 64 levered exposures are named, where the venue's brackets are
    malformed, or where they allow none of the leverages; the prior is shared among those that they allow.
    """
    asked = config.map
    if len(asked.leverages) > CLASSES:
        raise BadConfig(f"{len(asked.leverages)} leverages are named, allowed are up to {CLASSES}")
    venue = instrument.partition(":")[0]
    brackets = brackets_of(config, venue)
    row = np.zeros(1, SETTINGS)
    fixed = row[0]
    fixed["classes"] = len(asked.leverages)
    fixed["strength"], fixed["position"], fixed["half_life"] = asked.strength, asked.position, asked.half_life * HOUR
    for k, leverage in enumerate(asked.leverages):
        rate, relief = maintenance_of(brackets, asked.position, leverage)
        fixed["leverages"][k], fixed["rates"][k] = leverage, rate
        if rate == 0.0:
            continue
        fixed["prior"][k] = asked.weights[k]
        for s, side in enumerate((1, -1)):
            triggers = isolated(1.0, leverage, rate, side, relief), isolated_inverse(1.0, leverage, rate, side, relief)
            ends = bankruptcy(1.0, leverage, side), bankruptcy_inverse(1.0, leverage, side)
            for kind in range(2):
                fixed["reach"][kind, k, s] = triggers[kind]
                fixed["floor"][kind, k, s] = ends[kind] / triggers[kind] if triggers[kind] > 0.0 else 0.0
    if not fixed["prior"].any():
        raise BadConfig(f"brackets of {venue} allow none of the leverages {asked.leverages}")
    fixed["prior"] /= fixed["prior"].sum()
    set_exposures(config, instrument, asset, fixed)
    set_rule(config, venue, fixed)
    return row


@inner
def native(size: int, unit: Rows) -> float:
    """Turn a size into units of the contract: base units of a linear one, quote units of an inverse one."""
    return float(size / unit[0]["size"] * unit[0]["contract_size"])


@inlined_entry
def take_trades(memory: Rows, settings: Rows, trades: Rows, unit: Rows, now: int) -> None:
    """Take TRADE rows: the bar's price, and what they cross."""
    own, money = memory[0], unit[0]
    low, high = 0.0, 0.0
    if money["contract"] == QUANTO:
        return
    own["inverse"] = money["contract"] == INVERSE
    for i in range(len(trades)):
        trade = trades[i]
        if trade["price"] <= 0 or trade["size"] <= 0:
            own["refused"] += 1
            continue
        price = trade["price"] / money["price"]
        base = base_of(amount_of(trade["price"], trade["size"], unit), unit)
        own["volume"] += base
        own["paid"] += base * price
        own["price"] = price
        low = min(low, price) if low > 0.0 else price
        high = max(high, price)
    if high <= 0.0:
        return
    own["low"] = min(own["low"], low) if own["low"] > 0.0 else low
    own["high"] = max(own["high"], high)
    if cross(memory, low, high) and own["since"] == 0:
        own["since"] = now
    note_traded(memory, settings, low, high, now)


@kernel
def take_references(memory: Rows, settings: Rows, references: Rows, unit: Rows, now: int) -> None:
    """Take REFERENCE rows: the mark price, and open interest, which closes a bar."""
    own, money = memory[0], unit[0]
    if money["contract"] == QUANTO:
        return
    own["inverse"] = money["contract"] == INVERSE
    for i in range(len(references)):
        reference = references[i]
        if reference["what"] == MARK:
            if reference["value"] > 0:
                own["mark"], own["marked"] = reference["value"] / money["price"], now
            else:
                own["refused"] += 1
        elif reference["what"] == INDEX:
            if reference["value"] > 0:
                own["index"], own["indexed"] = reference["value"] / money["price"], now
            else:
                own["refused"] += 1
        elif reference["what"] == OPEN_INTEREST:
            if reference["value"] >= 0:
                close_bar(memory, settings, native(reference["value"], unit), now)
            else:
                own["refused"] += 1


@inner
def close_bar(memory: Rows, settings: Rows, total: float, now: int) -> None:
    """Close a bar with its open interest, units of the contract."""
    own, fixed = memory[0], settings[0]
    price = own["paid"] / own["volume"] if own["volume"] > 0.0 else own["mark"] if own["mark"] > 0.0 else own["price"]
    if own["since"] > 0 and now - own["since"] >= LESSON:
        learn(memory, settings, price)
    change = total - own["open_interest"]
    if own["known"] == 0:
        own["known"], own["start"], own["newest"] = 1, now, now
    elif change > 0.0 and price > 0.0:
        enter(memory, settings, change, price, now)
    elif change < 0.0:
        for k in range(fixed["classes"]):
            for s in range(2):
                leave(memory, fixed["half_life"], k, s, -change)
        own["version"] += 1
    own["open_interest"] = total
    own["volume"] = own["paid"] = own["low"] = own["high"] = 0.0
    for k in range(CLASSES):
        for s in range(2):
            own["fresh"][k, s] = 0.0


@kernel
def take_liquidations(memory: Rows, settings: Rows, liquidations: Rows, unit: Rows, now: int) -> None:
    """Take LIQUIDATION rows: what the next lesson about leverage is drawn from."""
    own, money = memory[0], unit[0]
    if money["contract"] == QUANTO:
        return
    own["inverse"] = money["contract"] == INVERSE
    for i in range(len(liquidations)):
        liquidation = liquidations[i]
        price = liquidation["average"] if liquidation["average"] > 0 else liquidation["price"]
        if price <= 0 or liquidation["size"] <= 0:
            own["refused"] += 1
            continue
        s = 0 if liquidation["side"] > 0 else 1
        own["printed"][s] += native(liquidation["size"], unit)
        own["printed_worth"][s] += base_of(amount_of(price, liquidation["size"], unit), unit) * price / money["price"]
        own["feed"] = max(own["feed"], WHOLE if liquidation["coverage"] == ALL_OF_THEM else SAMPLED)
        if own["since"] == 0:
            own["since"] = now


@kernel
def triggers(
    memory: Rows, settings: Rows, mixture: Floats, side: int, marks: Floats, amounts: Floats, floors: Floats
) -> int:
    """Write the map's triggers in the order in which they are hit; return how many.

    `side` +1: longs, which a fall forces to sell, highest first; -1: shorts, which a rise forces to buy, lowest first.
    `mixture`: the 8 weights. `marks` are prices, `amounts` base units, `floors` the mean bankruptcy price of each; the
    three need room for 768. Of an inverse contract amounts are what its quote value is worth at the trigger.
    """
    own, fixed = memory[0], settings[0]
    s = 0 if side > 0 else 1
    first, last = BUCKETS, -1
    for k in range(fixed["classes"]):
        first, last = min(first, own["first"][k, s]), max(last, own["last"][k, s])
    least = NEGLIGIBLE * own["open_interest"]
    count = 0
    for i in range(last - first + 1):
        at = last - i if s == 0 else first + i
        amount, worth, floor = 0.0, 0.0, 0.0
        for k in range(fixed["classes"]):
            amount += mixture[k] * own["quantity"][k, s, at]
            worth += mixture[k] * own["value"][k, s, at]
            floor += mixture[k] * own["value"][k, s, at] * fixed["floor"][own["inverse"], k, s]
        if amount > least:
            marks[count] = worth / amount
            amounts[count] = amount * amount / worth if own["inverse"] else amount
            floors[count] = floor / amount
            count += 1
    return count


@kernel
def coverage(memory: Rows, settings: Rows, side: int) -> tuple[float, bool]:
    """Return which share of one side's open interest the map holds, 0 to 1, and whether open interest is known.

    `side` +1: longs, -1: shorts. What a move has crossed since the last open interest is not held any more.
    """
    own = memory[0]
    if own["open_interest"] <= 0.0:
        return 0.0, own["known"] > 0
    return min(mapped(memory, settings, 0 if side > 0 else 1) / own["open_interest"], 1.0), True
