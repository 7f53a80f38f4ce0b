"""Several simulated markets as one: a scenario and a seed in, its books stepped together, their events out.

Each book is a world of its own with draws of its own; between two steps of the grid they act on one another, always in
this order:

    news         a fundamental moves by its own walk and jumps, and by a share of another's, later
    arbitrage    buys where it is cheaper and sells where it is dearer, as much as the plan allows; and so far the
                 makers of either venue believe the other: their fundamentals draw nearer
    collateral   accounts whose margin is a pegged asset are marked to that asset's own book: what it loses there moves
                 their triggers towards the mark; whoever is met is liquidated, and what he has pledged is sold

A scenario without other members is its coin's world and nothing else: its plan moves its fundamental.
"""

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.schema import Rows
from ingest.simulator.advance import ROOM, Overflow, run
from ingest.simulator.draws import draw, normal, unit
from ingest.simulator.margin import fire
from ingest.simulator.matching import Event, trade
from ingest.simulator.members import Channel, Member, Pledge
from ingest.simulator.scenarios import INSTRUMENT, MONEY, PRICE, Scenario, stage
from ingest.simulator.world import ACCOUNT, EVENT, GRID, PRICES, SECOND, World, begin

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Streams of draws beside those of a market (`draws.Stream`): seeds of members, who has pledged, news, its delays.
_SEEDS: Final = 16
_PLEDGED: Final = 17
_NEWS: Final = 18
_DELAYS: Final = 19
#: Lots of arbitrage in a grid step that make two venues one market, and how fast a gap between what their makers
#: believe closes then, 1/s.
_FULL: Final = 2_000
_BELIEF: Final = 0.5


@dataclass(slots=True)
class Economy:
    """Markets that are stepped together; world 0 is the coin's."""

    instruments: tuple[Instrument, ...]
    worlds: list[World]
    start: int
    #: Moves of the fundamentals, shares, by member and grid step: all that comes as a walk, and all that jumps.
    walk: Floats
    jumps: Floats
    #: Jumps that are a member's own, from no other one's.
    jumped: Floats
    #: Member -> with whom arbitrage ties it.
    bound: dict[int, int]
    pledge: Pledge | None
    #: Rows of the coin's accounts that have pledged, in order of account; trigger, floor and entry of each, and
    #: collateral as lots of the pegged member for each lot of the position, all at par.
    pledged: Ints
    par: Floats
    #: Price of the pegged member at par, ticks.
    parity: float
    #: Grid steps that are over, and seized collateral that is not sold yet, lots.
    steps: int = 0
    seized: float = 0.0

    def clone(self) -> Self:
        """Copy it; both go on alike until something differs between them."""
        return replace(self, worlds=[world.clone() for world in self.worlds], bound=self.bound.copy())

    def run(self, until: int) -> list[Rows]:
        """Let all go on to a time, ns; return the events of each. Raises Overflow as a single market's run does."""
        if len(self.worlds) == 1:
            return [run(self.worlds[0], until)]
        found: list[list[Rows]] = [[] for _ in self.worlds]
        while self.start + self.steps * GRID <= until:
            self._couple(found)
            self.steps += 1
            end = min(self.start + self.steps * GRID - 1, until)
            for world, events in zip(self.worlds, found, strict=True):
                events.append(run(world, end))
                if world is self.worlds[0] and self.pledge is not None:
                    self._seize(events[-1])
        if int(self.worlds[0].state[0]["time"]) < until:
            for world, events in zip(self.worlds, found, strict=True):
                events.append(run(world, until))
        return [np.concatenate(events) if events else np.zeros(0, EVENT) for events in found]

    def peg_price(self) -> float:
        """Give what the pegged member's own book says its asset is worth, share of par; 1 where nothing is pledged."""
        if self.pledge is None:
            return 1.0
        return float(self.worlds[self.pledge.member].state[0]["mid"]) / self.parity

    def accounts(self) -> Rows:
        """Give the coin's accounts with triggers and floors where their collateral puts them now.

        Trigger and floor rise, for a long, with what the collateral has lost: floor(P) = floor + (1 - P) (entry -
        floor), and the trigger keeps its ratio to the floor. Collateral above par counts at par.
        """
        moved = self.worlds[0].accounts.copy()
        triggers, floors = self._bounds()
        waiting = moved["due"][self.pledged] > 0
        rows = self.pledged[~waiting]
        moved["trigger"][rows] = triggers[~waiting]
        moved["floor"][rows] = floors[~waiting]
        return moved

    def _bounds(self) -> tuple[Ints, Ints]:
        """Give triggers and floors of those who have pledged, ticks."""
        trigger, floor, entry = self.par[0], self.par[1], self.par[2]
        floors = floor + max(1.0 - self.peg_price(), 0.0) * (entry - floor)
        both = (np.clip(np.rint(each), 1, PRICES - 1).astype(np.int64) for each in (trigger / floor * floors, floors))
        return next(both), next(both)

    def _couple(self, found: list[list[Rows]]) -> None:
        """Let the markets act on one another, before the grid step that comes."""
        at = min(self.steps, self.walk.shape[1] - 1)
        for number, world in enumerate(self.worlds):
            news = self.walk[number, at] + self.jumps[number, at] if at == self.steps else 0.0
            world.state[0]["fundamental"] *= 1.0 + news
        for number, other in self.bound.items():
            self._arbitrage(number, other, found)
        if self.pledge is not None and self.steps > 0:
            self._sell(found[self.pledge.member])
            self._mark(found[0])

    def _arbitrage(self, number: int, other: int, found: list[list[Rows]]) -> None:
        here, there = self.worlds[number].state[0], self.worlds[other].state[0]
        most = int(self.worlds[number].plan[int(here["stage"])]["link"])
        step = min(most / _FULL, 1.0) * _BELIEF * GRID / SECOND * (there["fundamental"] - here["fundamental"])
        here["fundamental"] += 0.5 * step
        there["fundamental"] -= 0.5 * step
        rich, cheap = number, other
        if self.worlds[rich].state[0]["bid"] <= self.worlds[cheap].state[0]["ask"]:
            rich, cheap = other, number
        bid, ask = int(self.worlds[rich].state[0]["bid"]), int(self.worlds[cheap].state[0]["ask"])
        if most <= 0 or bid <= ask:
            return
        limit = (bid + ask) // 2
        sold = self._trade(rich, -1, most, limit + 1, found[rich])
        if sold:
            self._trade(cheap, 1, sold, limit, found[cheap])

    def _trade(self, number: int, side: int, lots: int, limit: int, found: list[Rows]) -> int:
        world, events = self.worlds[number], _buffer()
        filled, _ = trade(world.state, world.parameters[0]["makers"], side, lots, limit, events)
        found.append(_taken(events))
        return int(filled)

    def _mark(self, found: list[Rows]) -> None:
        """Mark pledged collateral to its own book, and liquidate whom that leaves without margin."""
        if self.peg_price() >= 1.0:
            return
        world = self.worlds[0]
        accounts, mark = world.accounts, int(world.state[0]["mark"])
        triggers, floors = self._bounds()
        rows = accounts[self.pledged]
        beyond = rows["side"] * (triggers - mark)
        met = np.flatnonzero((beyond >= 0) & (rows["size"] > 0) & (rows["due"] == 0))
        # Who is farthest beyond was met first.
        for place in met[np.argsort(-beyond[met], kind="stable")].tolist():
            at, events = int(self.pledged[place]), _buffer()
            accounts[at]["trigger"], accounts[at]["floor"] = triggers[place], floors[place]
            # Deleveraging may have closed it meanwhile.
            if accounts[at]["size"] > 0:
                fire(world.state, world.parameters, accounts, at, mark, events)
                found.append(_taken(events))
                self._seize(found[-1])

    def _seize(self, events: Rows) -> None:
        """Take the collateral of what was liquidated."""
        forced = events[events["kind"] == Event.FORCED]
        places = np.searchsorted(self.pledged, forced["id"])
        for place, event in zip(places.tolist(), forced, strict=True):
            if place < len(self.pledged) and self.pledged[place] == event["id"]:
                self.seized += float(self.par[3, place]) * int(event["size"])

    def _sell(self, found: list[Rows]) -> None:
        assert self.pledge is not None
        lots = min(int(self.seized), self.pledge.sale)
        if lots > 0:
            self.seized -= self._trade(self.pledge.member, -1, lots, 1, found)


def without(
    origin: Economy, until: int, *, margin: bool = False, shocks: bool = False, peg: bool = False, ties: bool = False
) -> Economy:
    """Let a copy go on to a time, ns, without liquidations, without jumps and outside sales, with collateral that
    counts at par whatever it trades at, or without arbitrage between the markets.
    """
    copy = origin.clone()
    for world in copy.worlds:
        if margin:
            world.parameters["margin"] = 0
        if shocks:
            world.plan["jump"] = world.plan["sells"] = 0.0
        row = world.state[0]
        row["low"] = row["high"] = row["last"]
    if margin or peg:
        copy.pledge = None
    if shocks:
        copy.jumps = np.zeros_like(copy.jumps)
    if ties:
        copy.bound = {}
    copy.run(until)
    return copy


def instruments(wanted: Scenario) -> tuple[Instrument, ...]:
    """List a scenario's instruments, the coin first."""
    return (INSTRUMENT, *(member.instrument for member in wanted.members))


def settle(wanted: Scenario, seed: int, start: int | None = None) -> Economy:
    """Set up all of a scenario's markets. Raises BadConfig where a tie names what is not there or cannot be tied."""
    coin = stage(wanted, seed) if start is None else stage(wanted, seed, start)
    begun = int(coin.state[0]["time"])
    members = wanted.members
    _check(wanted)
    worlds = [coin]
    for number, member in enumerate(members, 1):
        rows = begin(
            member.parameters(member.price, member.money),
            member.plan,
            np.zeros(0, ACCOUNT),
            draw(seed, _SEEDS, number)[0],
            begun,
            member.price,
        )
        worlds.append(rows)
    walk, jumps, jumped = news(wanted, worlds, seed)
    if members:
        for world in worlds:
            world.plan["jump"] = world.plan["volatility"] = 0.0
    pledged, par, parity = _pledges(wanted, coin, seed)
    return Economy(
        instruments=instruments(wanted),
        worlds=worlds,
        start=begun,
        walk=walk,
        jumps=jumps,
        jumped=jumped,
        bound={number: member.bound for number, member in enumerate(members, 1) if member.bound >= 0},
        pledge=wanted.pledge,
        pledged=pledged,
        par=par,
        parity=parity,
    )


def news(wanted: Scenario, worlds: list[World], seed: int) -> tuple[Floats, Floats, Floats]:
    """Draw what moves the fundamentals, (members, grid steps) each, shares: walks, jumps, and own jumps.

    A member's own news is its plan's; what follows another has that one's, and channels add a share of their source's.
    """
    steps = wanted.seconds * SECOND // GRID
    walk, jumps = np.zeros((len(worlds), steps)), np.zeros((len(worlds), steps))
    members = wanted.members
    if not members:
        return walk, jumps, jumps
    for number, world in enumerate(worlds):
        if number and members[number - 1].follows >= 0:
            continue
        price = PRICE if number == 0 else members[number - 1].price
        times = (world.plan["time"] - world.state[0]["time"]) // GRID
        held = np.maximum(np.searchsorted(times, np.arange(steps), side="right") - 1, 0)
        scale = world.plan["volatility"][held] / price * np.sqrt(GRID / SECOND)
        own = draw(seed, _SEEDS, number)[1]
        walk[number] = scale * np.array([normal(*draw(own, _NEWS, step)) for step in range(steps)])
        for time, jump in zip(times.tolist(), world.plan["jump"].tolist(), strict=True):
            if 0 <= time < steps:
                jumps[number, time] += jump
    jumped = jumps.copy()
    for channel in wanted.channels:
        late = round(channel.delay * SECOND / GRID)
        walk[channel.target, late:] += channel.share * walk[channel.source, : steps - late]
        for step in np.flatnonzero(jumps[channel.source]).tolist():
            at = step + arrival(channel, seed, step)
            if at < steps:
                jumps[channel.target, at] += channel.share * jumps[channel.source, step]
    for number, member in enumerate(members, 1):
        if member.follows >= 0:
            walk[number], jumps[number] = walk[member.follows], jumps[member.follows]
    return walk, jumps, jumped


def arrival(channel: Channel, seed: int, step: int) -> int:
    """Give how many grid steps later a jump of a step arrives."""
    luck = unit(draw(seed, _DELAYS, step)[0])
    return round((channel.delay + channel.spread * (2.0 * luck - 1.0)) * SECOND / GRID)


def _check(wanted: Scenario) -> None:
    members = wanted.members
    numbers = range(len(members) + 1)

    def member(number: int) -> Member | None:
        return members[number - 1] if number else None

    for number, each in enumerate(members, 1):
        for other in (each.follows, each.bound):
            if other not in numbers and other != -1:
                raise BadConfig(f"member {number} is tied to {other}, allowed are {list(numbers)}, -1: none")
        if each.bound >= 0:
            bound = member(each.bound)
            price = PRICE if bound is None else bound.price
            if each.price != price:
                raise BadConfig(f"member {number} begins at {each.price} ticks, allowed is {price}, its partner's")
    for channel in wanted.channels:
        _check_channel(channel, len(numbers))
    if wanted.pledge is not None and wanted.pledge.member not in numbers[1:]:
        raise BadConfig(f"member {wanted.pledge.member} is pledged, allowed are {list(numbers[1:])}")


def _check_channel(channel: Channel, count: int) -> None:
    for number in (channel.source, channel.target):
        if not 0 <= number < count:
            raise BadConfig(f"a channel names member {number}, allowed are 0 to {count - 1}")


def _pledges(wanted: Scenario, coin: World, seed: int) -> tuple[Ints, Floats, float]:
    """Choose who has pledged; give rows of accounts, what they are at par (4, accounts), and the peg's par price."""
    pledge = wanted.pledge
    if pledge is None:
        return np.zeros(0, np.int64), np.zeros((4, 0)), 1.0
    accounts = coin.accounts
    luck = np.array([unit(draw(seed, _PLEDGED, at)[0]) for at in range(len(accounts))])
    # Without a floor there is nothing to lose.
    chosen = (luck < pledge.share) & (accounts["floor"] > 0) & (accounts["maker"] < 0)
    rows = np.flatnonzero(chosen)
    held = accounts[rows]
    trigger, floor, entry = (held[name].astype(np.float64) for name in ("trigger", "floor", "entry"))
    member = wanted.members[pledge.member - 1]
    # Margin of a lot in quote units, over what a lot of the pegged asset is worth at par.
    margin = np.abs(entry - floor) * MONEY / (member.price * member.money)
    return rows, np.stack((trigger, floor, entry, margin)), float(member.price)


def _buffer() -> Rows:
    # Most of it stays untouched, and costs nothing.
    events = np.empty(ROOM, EVENT)
    events[0] = 0
    return events


def _taken(events: Rows) -> Rows:
    if events[0]["size"]:
        raise Overflow(f"{int(events[0]['size'])} events found no room among {ROOM}, allowed are {ROOM - 1} at once")
    return events[1 : 1 + int(events[0]["id"])].copy()
