"""Cascade risk: sides of a book, the triggers behind them and the tail of net selling in; CR(d, h) of each move out.

    CR(d, h) = P(Q_h > Qc(d)) = mean over draws i of P(Q_h > Qc_i(d))

Q_h is the greatest that net market sales (purchases, of a squeeze) run to within the horizon h, its tail that of
`engine.tail`. Qc_i is the critical shock under draw i of what is not known: each map's leverage weights from their
posterior, each known exposure's trigger from its error. An end price falls with Q alone, so the scalar Qc is all that a
draw need give. Where the book ends before the move, Qc is a lower bound and CR an upper one.

It is computed at most once in a while of row time and kept in a memory of its own: the same rows give the same records,
whoever asks in between.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.books import FALL, SQUEEZE, Ladder, Mid, edges
from engine.cascade import Floats, curve, slice_off
from engine.config import MOST_DROPS, CascadeConfig, EngineConfig
from engine.fields import Why
from engine.kernel import allocating, kernel
from engine.schema import Rows
from engine.tail import FIT, RING, exceedance, fit_tail
from engine.triggers import Maps, gather, room_of

TOO_FEW_SAMPLES: Final = int(Why.TOO_FEW_SAMPLES)

#: The last computation; index 0 is falls, 1 squeezes.
MEMORY: Final = np.dtype(
    [
        #: Row time, 0 before the first.
        ("time", "<i8"),
        ("risk", "<f8", (2, MOST_DROPS)),
        #: A Why, 0 where there is a tail.
        ("why", "<i8", (2,)),
        #: Index into `engine.tail.POOLS`; observations in that pool.
        ("pool", "<i8"),
        ("samples", "<i8"),
    ],
    align=True,
)
#: What is assumed of forced trades.
RULES: Final = np.dtype(
    [
        #: Share of a forced trade made at once; ms, ms.
        ("slice", "<f8"),
        ("cooldown", "<f8"),
        ("duration", "<f8"),
    ],
    align=True,
)


def rules_of(config: CascadeConfig) -> Rows:
    """Give the one RULES row."""
    row = np.zeros(1, RULES)
    row["slice"], row["cooldown"], row["duration"] = config.slice, config.cooldown, config.duration
    return row


@kernel
def assume(rules: Rows, amounts: Floats, out: Floats) -> None:
    """Write what triggers sell under the rules; may write over what it reads."""
    rule = rules[0]
    slice_off(amounts, rule["slice"], rule["cooldown"], rule["duration"], out)


@allocating
def integrate(
    maps: Rows,
    settings: Rows,
    factors: Floats,
    exposures: Rows,
    gone: NDArray[np.uint8],
    start: float,
    now: int,
    side: int,
    draws: int,
    prices: Floats,
    sizes: Floats,
    rules: Rows,
    bounds: Floats,
    fit: Rows,
    sample: Floats,
    work: Floats,
    drawn: Floats,
    out: Floats,
) -> None:
    """Write the mean over draws of P(Q > Qc) per bound; 0 where there is no tail. What comes first is `Maps.asked`."""
    found = np.zeros((5, len(bounds)))
    for k in range(len(bounds)):
        out[k] = 0.0
    if fit[0]["why"] != 0:
        return
    for index in range(draws):
        count = gather(maps, settings, factors, exposures, gone, start, now, side, index, work, drawn)
        marks, amounts = drawn[0, :count], drawn[1, :count]
        assume(rules, amounts, amounts)
        curve(prices, sizes, marks, amounts, 0.0, bounds, found)
        for k in range(len(bounds)):
            out[k] += exceedance(fit, sample, found[2, k])
    for k in range(len(bounds)):
        out[k] /= draws


def compute(
    config: EngineConfig, mid: Mid, sides: tuple[Ladder, Ladder], maps: Maps, tail: tuple[Rows, Rows], now: int
) -> Rows:
    """Give a MEMORY row: the risk of falls into bids and of squeezes into asks; `tail` is its memory and settings."""
    memory, drops = np.zeros(1, MEMORY), config.cascade.drops
    own, fit, sample, rules = memory[0], np.zeros(1, FIT), np.zeros(RING), rules_of(config.cascade)
    own["time"] = now
    work, drawn, out = room_of(maps), room_of(maps), np.zeros(len(drops))
    draws = 1 if maps.certain else config.map.draws
    for at, (sign, side) in enumerate(zip((FALL, SQUEEZE), sides, strict=True)):
        fit_tail(*tail, at, sample, fit)
        walk = side.prices, side.sizes, rules, edges(drops, mid, sign)
        integrate(*maps.asked, round(sign), draws, *walk, fit, sample, work, drawn, out)
        own["risk"][at, : len(drops)] = out
        own["why"][at] = fit["why"][0]
        own["pool"], own["samples"] = fit["pool"][0], fit["count"][0]
    return memory


def due(memory: Rows, config: CascadeConfig, now: int) -> bool:
    """Say whether the risk is to be computed anew."""
    last = int(memory["time"][0])
    return last == 0 or now - last >= config.risk_cadence * 1_000_000


def tell(memory: Rows, row: Rows) -> None:
    """Fill the risk's part of a CASCADE row."""
    own, count = memory[0], row["fall_risk"].shape[1]
    for at, name in enumerate(("fall", "squeeze")):
        row[f"{name}_risk"] = own["risk"][at, :count]
        row[f"{name}_risk_why"] = own["why"][at]
        row["undefined"] |= own["why"][at]
    row["risk_time"], row["risk_pool"], row["risk_samples"] = own["time"], own["pool"], own["samples"]
