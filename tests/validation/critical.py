"""The critical shock of many states of many worlds, by the engine and by bisection over branches of the market.

A state is a moment of a calm market, of one that most bids have left, or of a crash. The engine gets the book and the
true map of the longs. What a sale truly needs so that something trades below a level within a second, makers and flow
going on, is found by bisection, under three venues:

    traded     liquidates at the price that trades, whatever finds no buyer above is sold below: what the engine assumes
    floored    the same, but no forced sale trades below its bankruptcy price, as the simulated venues have it
    marked     looks at its mark, the median of index, last price and the mid's average, each 100 ms; the engine is told
               that rule, and the mark and index of the moment, as its feed tells them. What share of a fall the index
               has within the second it is told as a desk would find it: from sales in other worlds, the median

Errors are |engine - truth| / truth. Where the market falls below the level with no sale at all the truth is 0 and there
is no such error: these are left out, and counted. So are levels below which no bid rests: there the engine's figure is
a bound, as it says, for nothing can trade there.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.cascade import END, critical, sweep
from engine.config import CascadeConfig, EngineConfig
from engine.knowledge import Knowledge, MarkRule
from engine.liquidations import memory_of, settings_of
from engine.mark import seen_by_mark
from engine.schema import Rows
from engine.triggers import placed
from ingest.simulator.advance import ROOM, run
from ingest.simulator.branches import bisect, branch, critical_frozen, critical_sale, sell_frozen
from ingest.simulator.margin import fall
from ingest.simulator.population import Population, longs_of
from ingest.simulator.scenarios import INSTRUMENT, scenario, stage
from ingest.simulator.world import EVENT, SECOND, World
from tests.validation import Row, Size

Floats = NDArray[np.float64]
#: Shocks of the negative control, lots.
SHOCKS: Final = (1_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
#: Scenario, share of the bids that the plan leaves (None: its own), moments, s.
REGIMES: Final = {
    "calm": ("calm", None, (20, 60)),
    "thin": ("october-10", 0.25, (20, 50)),
    "crash": ("october-10", None, (130, 152, 156, 160, 170, 190, 230)),
}
WITHIN: Final = 0.15
#: Seconds more that makers and flow go on in the slower comparison.
LATER: Final = 9
SIGNIFICANT: Final = 0.05


@dataclass(frozen=True, slots=True)
class State:
    """A moment of a market, and the levels that are asked for, ticks."""

    regime: str
    world: World
    levels: list[int]


def states(seeds: range, falls: tuple[float, ...]) -> Iterator[State]:
    """Give every regime's moments of every seed."""
    for seed in seeds:
        for regime, (name, bids, moments) in REGIMES.items():
            world = stage(scenario(name), seed)
            begin = int(world.state[0]["time"])
            if bids is not None:
                world.plan["bids"] = bids
            for moment in moments:
                run(world, begin + moment * SECOND)
                best = int(world.state[0]["bid"])
                # A crash may take the last bid: then there is nothing to sell into.
                if best > 0:
                    yield State(regime, world.clone(), [int(best * (1.0 - share)) for share in falls])


def bids_of(world: World) -> tuple[Floats, Floats]:
    """Give the bids, best first: ticks and lots."""
    row = world.state[0]
    prices = np.flatnonzero(row["size"][: int(row["bid"]) + 1])[::-1]
    return prices.astype(np.float64), row["size"][prices].astype(np.float64)


def index_share(seeds: range, falls: tuple[float, ...]) -> float:
    """Measure what share of a fall the index has a second after the sale that made it, the median of many."""
    shares = []
    for state in states(seeds, falls):
        row, until = state.world.state[0], int(state.world.state[0]["time"]) + SECOND
        still = float(branch(state.world, until).state[0]["fundamental"])
        for level in state.levels:
            sold = float(branch(state.world, until, sale=most_of(state, level)).state[0]["fundamental"])
            shares.append((still - sold) / (float(row["mid"]) - level))
    return float(np.median(shares))


def rule_of(world: World, share: float) -> MarkRule:
    """Give the simulated venue's rule, its index having such a share of a fall."""
    given = world.parameters[0]
    return MarkRule(
        index=share,
        of="mid",
        average=float(given["average_life"]) / math.log(2.0),
        clamp=float(given["clamp"]),
    )


def claimed(state: State, accounts: Rows, rule: MarkRule | None = None, seconds: int = 1) -> Floats:
    """Give the engine's critical shocks under a rule of the mark, over so many seconds; without one by its default."""
    prices, sizes = bids_of(state.world)
    row = state.world.state[0]
    marks, amounts, _ = longs_of(accounts, int(row["next_long"]))
    known = Knowledge(marks=(rule,) if rule else ())
    config = EngineConfig(cascade=CascadeConfig(duration=seconds * 1_000), knowledge=known)
    memory, settings, start = (
        memory_of(config),
        settings_of(config, INSTRUMENT.key, INSTRUMENT.asset),
        float(row["mid"]),
    )
    memory["mark"], memory["index"] = row["mark"], row["fundamental"]
    seen_by_mark(marks, 1, start, *placed(memory, settings, 1.0, start, 0), settings, marks)
    out = np.zeros(len(state.levels))
    critical(prices, sizes, marks, amounts, np.array(state.levels, np.float64), out)
    return out


def most_of(state: State, level: int) -> int:
    """Give the bids down to a level, lots: whatever is sold beyond them trades below it."""
    row = state.world.state[0]
    return int(row["size"][level : int(row["bid"]) + 1].sum())


def above(world: World, level: int) -> World:
    """Copy a market without the longs that nothing forces before the price is below a level: they decide nothing."""
    copy = world.clone()
    copy.accounts["size"][(copy.accounts["side"] > 0) & (copy.accounts["trigger"] < level)] = 0
    return copy


def traded(world: World, level: int, most: int, until: int, events: Rows, *, floored: bool) -> int:
    """Give the critical sale of a venue that liquidates at the price that trades, makers and flow going on."""

    def falls(sale: int) -> bool:
        copy = world.clone()
        row, given = copy.state[0], copy.parameters[0]
        given["by_last"], given["floored"] = 1, floored
        # What waits for its second part is sold when its time comes, not within the sale.
        row["low"] = row["high"] = row["last"]
        if sale:
            events[0] = 0
            fall(copy.state, copy.parameters, copy.accounts, sale, events)
        run(copy, until)
        return int(row["low"]) < level

    return bisect(falls, most)


def shuffled(accounts: Rows, random: np.random.Generator) -> Rows:
    """Give the accounts with the weights of the leverages in another order; named positions stay."""
    known = Population()
    order = np.arange(len(known.weights))
    while (order == np.arange(len(order))).all():
        order = random.permutation(len(order))
    copy = accounts.copy()
    for at, leverage in enumerate(known.leverages):
        chosen = (copy["leverage"] == leverage) & (copy["named"] < 0)
        copy["size"][chosen] = np.round(copy["size"][chosen] * known.weights[order[at]] / known.weights[at])
    return copy


def sign_test(wins: int, losses: int) -> float:
    """Give the chance of so many wins or more among wins and losses, were both alike (ties count for neither)."""
    count = wins + losses
    return float(sum(math.comb(count, k) for k in range(wins, count + 1)) / 2**count)


def errors(claims: Floats, truth: Floats) -> Floats:
    """Give relative errors, one per state and level, NaN where the truth is 0."""
    return np.where(truth > 0, np.abs(claims - truth) / np.maximum(truth, 1.0), np.nan)


def quartiles(found: Floats) -> str:
    """Word the quartiles of what is defined, and how much is beyond the bound."""
    low, middle, high = np.nanquantile(found, (0.25, 0.5, 0.75))
    beyond, count = int(np.nansum(found >= WITHIN)), int(np.sum(~np.isnan(found)))
    return f"quartiles {low:.1%}, {middle:.1%}, {high:.1%}; {beyond} of {count} are {WITHIN:.0%} or more"


def median_row(what: str, found: Floats, worlds: int) -> Row:
    """Word a median error and its bound."""
    met = bool(np.nanmedian(found) < WITHIN)
    return Row(what=what, measured=quartiles(found), wanted=f"median < {WITHIN:.0%}", met=met, worlds=worlds)


def measure_critical(seeds: range, elsewhere: range, falls: tuple[float, ...]) -> list[Row]:
    """Measure all of it over these seeds and falls; the index's share of a fall over the seeds elsewhere."""
    found = list(states(seeds, falls))
    worlds = len(seeds) * len(REGIMES)
    random = np.random.default_rng(1)
    events = np.empty(ROOM, EVENT)
    claims = np.array([claimed(state, state.world.accounts) for state in found])
    blind = np.array([claimed(state, state.world.accounts, MarkRule(index=0.0)) for state in found])
    share = index_share(elsewhere, falls)
    told = np.array([claimed(state, state.world.accounts, rule_of(state.world, share)) for state in found])
    wrong = np.array([claimed(state, shuffled(state.world.accounts, random)) for state in found])
    still, live, later, floored, marked = (np.zeros(claims.shape) for _ in range(5))
    for at, state in enumerate(found):
        until = int(state.world.state[0]["time"]) + SECOND
        for k, level in enumerate(state.levels):
            most = most_of(state, level)
            world = above(state.world, level)
            still[at, k] = critical_frozen(world, level, most)
            live[at, k] = traded(world, level, most, until, events, floored=False)
            later[at, k] = traded(world, level, most, until + LATER * SECOND, events, floored=False)
            floored[at, k] = traded(world, level, most, until, events, floored=True)
            marked[at, k] = critical_sale(state.world, until, level, most)
    bound = np.array([[int(bids_of(state.world)[0][-1]) >= level for level in state.levels] for state in found])
    equal, count = int(np.sum((claims == still) & ~bound)), int(np.sum(~bound))
    for each in (live, later, floored, marked):
        each[bound] = np.nan
    rows = [
        Row(
            what="critical shock: frozen book, equal to bisection",
            measured=f"{equal} of {count}; {int(np.sum(bound))} have no bid below the level",
            wanted="all",
            met=equal == count > 0,
            worlds=worlds,
        )
    ]
    apart = errors(claims, live)
    rows.append(median_row("critical shock: live makers, liquidation at the traded price", apart, worlds))
    for regime in REGIMES:
        chosen = np.array([state.regime == regime for state in found])
        if np.any(~np.isnan(apart[chosen])):
            rows.append(median_row(f"the same, {regime} ({alone_of(live[chosen])})", apart[chosen], len(seeds)))
    rows.append(median_row("the same, 10 s in place of one", errors(claims, later), worlds))
    rows.append(
        median_row("the same, forced sales end at bankruptcy, which Q_c leaves out", errors(claims, floored), worlds)
    )
    rows.append(
        median_row(
            "live, the venue's mark, engine told that it stays (map plays no part)", errors(blind, marked), worlds
        )
    )
    apart_marked = errors(told, marked)
    rule = f"live, the venue's mark, engine told its rule, the index having {share:.1%} of a fall"
    rows.append(median_row(rule, apart_marked, worlds))
    for regime in REGIMES:
        chosen = np.array([state.regime == regime for state in found])
        rows.append(median_row(f"the same, {regime}", apart_marked[chosen], len(seeds)))
    rows.append(
        control_row(
            "the same, engine told that it follows the trades (its default)",
            apart_marked,
            errors(claims, marked),
            worlds,
        )
    )
    rows.append(control_row("critical shock: leverage weights shuffled", apart, errors(wrong, live), worlds))
    return [*rows, bare_row(found, worlds)]


def alone_of(truth: Floats) -> str:
    """Word how many levels are passed without a sale."""
    return f"{int(np.sum(truth == 0))} of {truth.size} fall by themselves"


def control_row(what: str, right: Floats, wrong: Floats, worlds: int) -> Row:
    """Compare errors of what is true with those of something else, state by state."""
    known = ~np.all(np.isnan(right), axis=1)
    ours, theirs = np.nanmedian(right[known], axis=1), np.nanmedian(wrong[known], axis=1)
    wins, losses = int(np.sum(theirs > ours)), int(np.sum(theirs < ours))
    p = sign_test(wins, losses)
    larger = bool(np.median(theirs) > np.median(ours))
    return Row(
        what=what,
        measured=f"median error {np.median(theirs):.1%} against {np.median(ours):.1%}, "
        f"worse in {wins}, better in {losses} of {len(ours)} states, p = {p:.1g}",
        wanted=f"larger, p < {SIGNIFICANT}",
        met=larger and p < SIGNIFICANT,
        worlds=worlds,
    )


def bare_row(found: list[State], worlds: int) -> Row:
    """Count what the engine claims of cascades where nobody has leverage, and where somebody has."""
    out = np.zeros(1, END)
    amplified, real, differ, count = 0, 0, 0, 0
    for state in found:
        prices, sizes = bids_of(state.world)
        marks, amounts, _ = longs_of(state.world.accounts, int(state.world.state[0]["next_long"]))
        bare = state.world.clone()
        bare.accounts["size"] = 0
        none = longs_of(bare.accounts)
        for shock in SHOCKS:
            sweep(prices, sizes, marks, amounts, float(shock), out)
            real += bool(out[0]["price"] < out[0]["price_alone"])
            sweep(prices, sizes, none[0], none[1], float(shock), out)
            amplified += bool(out[0]["price"] != out[0]["price_alone"] or out[0]["forced"] or out[0]["fired"])
            differ += bool(out[0]["price"] != sell_frozen(bare, shock)[0].last)
            count += 1
    return Row(
        what="cascade: no leverage, no amplification",
        measured=f"{amplified} of {count} sales amplified, {differ} end elsewhere than the market; "
        f"with leverage {real} are",
        wanted="none, none, some",
        met=amplified == 0 and differ == 0 and real > 0,
        worlds=worlds,
    )


def measure(size: Size) -> list[Row]:
    """Measure it over a few worlds or many."""
    if size == Size.SMALL:
        return measure_critical(range(1, 2), range(101, 102), (0.005, 0.02))
    return measure_critical(range(1, 9), range(101, 104), (0.005, 0.01, 0.02, 0.03))
