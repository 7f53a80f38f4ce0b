"""A simulated market as its venues tell it, and the truth beside: second after second, tape lines and truth lines out.

A tape is what a recorder beside one venue would have written, of all of the scenario's instruments there. The truth is
one JSON object a line, `time` in ns, a `kind`, and, where a scenario has several instruments, which `instrument` it is:

    state        each second: share of makers that are in, branching of the market orders, prices in ticks, lots of
                 longs that are forced at or above 1, 2, 5, 10 and 20 % below the mid, open interest, fund, lots that
                 rest within 10, 50 and 100 bps of the mid
    forced       each forced order, `shown` where the feed has it       insured, deleveraged, voluntary, maker, stage
    news         a jump of a fundamental, share, and whom it `reaches`: what share of it, and how much later, ns
    end          last and lowest price, and what they are in the branches without liquidations and without shocks

Of several instruments, those that have no margin accounts have no `L_true` above 0. The state of the coin says what
pledged collateral counts, `collateral`, share of par; its end what they are in the branch where it counts at par.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import orjson

from engine.schema import Rows
from ingest import control
from ingest.simulator.branches import outcome
from ingest.simulator.economy import arrival, settle, without
from ingest.simulator.frames import MILLISECOND, VENUE, opening_lines
from ingest.simulator.matching import Event
from ingest.simulator.population import exposure
from ingest.simulator.scenarios import Scenario
from ingest.simulator.telling import Line, Teller
from ingest.simulator.world import ASK, BID, GRID, SECOND, World
from ingest.venues import Venue, load

#: Distances from the mid within which the truth says what rests.
NEAR: Final = (0.001, 0.005, 0.01)
FALLS: Final = (0.01, 0.02, 0.05, 0.10, 0.20)
#: The open interest is asked for this often, s.
_POLL: Final = 10


class Tape:
    """A recorder beside one venue: connections, outages, and stamps that rise."""

    def __init__(self, venue: Venue, tellers: list[Teller], start: int, outage: tuple[float, float] | None) -> None:
        self.tellers = tellers
        self._venue = venue
        self._instruments = [teller.instrument for teller in tellers]
        self._streams = venue.streams([instrument.symbol for instrument in self._instruments])
        self._start = start
        self._outage = outage
        self._last = start - 1

    def notices(self, begin: int) -> list[Line]:
        """Word what the recorder itself has to say in a second: its start, streams that are silent, connections."""
        lines = []
        if begin == self._start:
            for teller in self.tellers:
                teller.connect()
            lines = [(begin, raw) for raw in opening_lines(self._venue, self._instruments)]
        if self._outage is None:
            return lines
        died, back = (self._start + int(each * SECOND) for each in self._outage)
        for stream in self._streams:
            at = died + stream.silence + 50 * MILLISECOND
            if stream.silence and begin <= at < min(begin + SECOND, back):
                raw = b'{"airpocket":"stale","symbol":"%b","channel":%d}' % (stream.symbol.encode(), stream.channel)
                lines.append((at, raw))
        if begin <= back - 1 < begin + SECOND:
            for number, socket in enumerate(self._venue.sockets, 1):
                names = [each.name for each in self._streams if each.socket == socket]
                lines.append((back - 2 + number % 2, control.closed(number, 1006, "no answer")))
                lines.append((back - 1, control.opened(number + 2, socket, names)))
            for teller in self.tellers:
                teller.connect()
        return lines

    def stamp(self, lines: list[Line]) -> list[Line]:
        """Put lines in order; stamps rise strictly, as a feed's do."""
        out = []
        # A stamp that something else took before must not turn two lines round: sorting is stable.
        for at, raw in sorted(lines, key=lambda line: line[0]):
            self._last = max(at, self._last + 1)
            out.append((self._last, raw))
        return out


class Broadcast:
    """One scenario with one seed; `seconds` lets a second of it pass on all venues, `second` looks at the coin's."""

    def __init__(self, scenario: Scenario, seed: int, start: int | None = None) -> None:
        self.scenario = scenario
        self.economy = settle(scenario, seed, start)
        #: The markets before their first second: where counterfactual branches begin.
        self.origin = self.economy.clone()
        self.instruments = self.economy.instruments
        self._start = self.economy.start
        self._seed = seed
        self._passed = 0
        self.tellers: list[Teller] = []
        for instrument in self.instruments:
            silent = self._silent if instrument.venue == VENUE else _never
            self.tellers.append(Teller(load(instrument.venue), instrument, silent))
        #: Venue -> its tape, the coin's first.
        self.tapes = {instrument.venue: self._tape(instrument.venue) for instrument in self.instruments}

    @property
    def world(self) -> World:
        """The coin's market."""
        return self.economy.worlds[0]

    @property
    def book(self) -> dict[int, dict[int, int]]:
        """The coin's book as told by frames, per side price -> size."""
        return self.tellers[0].book

    def second(self) -> tuple[list[Line], list[dict[str, Any]]]:
        """Let a second pass; return what the feed of the coin's venue had of it, stamps rising, and the truth."""
        lines, truths = self.seconds()
        return lines[VENUE], truths

    def seconds(self) -> tuple[dict[str, list[Line]], list[dict[str, Any]]]:
        """Let a second pass; return what each venue's feed had of it, and the truth of all."""
        begin = self._start + self._passed * SECOND
        found = self.economy.run(begin + SECOND - 1)
        lines = {venue: tape.notices(begin) for venue, tape in self.tapes.items()}
        truths = self._news()
        for number, (teller, events) in enumerate(zip(self.tellers, found, strict=True)):
            told, shown = teller.second(events, begin)
            own = lines[teller.instrument.venue]
            own += told
            if teller.polled and self._passed % _POLL == _POLL - 1 and not self._silent(begin + SECOND):
                lots = int(self.economy.worlds[number].state[0]["interest"])
                own.append((begin + SECOND - MILLISECOND, teller.interest(begin + SECOND, lots)))
            truths += self._truth(number, events, shown, begin)
        self._passed += 1
        if len(self.instruments) > 1:
            truths.sort(key=lambda truth: truth["time"])
        return {venue: tape.stamp(lines[venue]) for venue, tape in self.tapes.items()}, truths

    def ends(self) -> list[dict[str, Any]]:
        """Give the last truth of each instrument: where it ended, and where its branches did."""
        until = int(self.world.state[0]["time"])
        branches = {
            "without_liquidations": without(self.origin, until, margin=True),
            "without_shocks": without(self.origin, until, shocks=True),
        }
        if self.economy.pledge is not None:
            branches["without_peg"] = without(self.origin, until, peg=True)
        out = []
        for number, world in enumerate(self.economy.worlds):
            end = {"time": until, "kind": "end", **asdict(outcome(world.state))}
            end |= {name: asdict(outcome(each.worlds[number].state)) for name, each in branches.items()}
            end["market_orders"] = int(world.state[0]["orders"])
            end["capped_intensities"] = int(world.state[0]["capped"])
            out.append(self._named(number, end))
        return out

    def end(self) -> dict[str, Any]:
        """Give the last truth of the coin."""
        return self.ends()[0]

    def _tape(self, name: str) -> Tape:
        tellers = [teller for teller in self.tellers if teller.instrument.venue == name]
        return Tape(load(name), tellers, self._start, self.scenario.outage if name == VENUE else None)

    def _silent(self, at: int) -> bool:
        outage = self.scenario.outage
        return outage is not None and outage[0] * SECOND <= at - self._start < outage[1] * SECOND

    def _named(self, number: int, truth: dict[str, Any]) -> dict[str, Any]:
        """Say of a truth whose it is, where there are several."""
        return {**truth, "instrument": self.instruments[number].key} if len(self.instruments) > 1 else truth

    def _news(self) -> list[dict[str, Any]]:
        """Give the jumps of a second that come from no other member."""
        out = []
        first = self._passed * SECOND // GRID
        for number, jumps in enumerate(self.economy.jumped):
            for step in (first + np.flatnonzero(jumps[first : first + SECOND // GRID])).tolist():
                reaches = [
                    {
                        "instrument": self.instruments[each.target].key,
                        "share": each.share,
                        "delay": arrival(each, self._seed, step) * GRID,
                    }
                    for each in self.scenario.channels
                    if each.source == number
                ]
                truth = {"time": self._start + step * GRID, "kind": "news", "jump": float(jumps[step])}
                out.append(self._named(number, {**truth, "reaches": reaches}))
        return out

    def _truth(self, number: int, events: Rows, shown: int, begin: int) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        for place in np.flatnonzero(events["kind"] >= Event.FORCED).tolist():
            row = {name: int(events[place][name]) for name in events.dtype.names or ()}
            kind = Event(row["kind"])
            if kind == Event.MARK:
                continue
            line: dict[str, Any] = {"time": row["time"], "kind": kind.name.lower(), "id": row["id"]}
            line |= {name: row[name] for name in ("side", "price", "size")}
            if kind == Event.FORCED:
                line |= {"filled": row["other"], "shown": place == shown}
            out.append(self._named(number, line))
        out.append(self.state_of(begin + SECOND - 1, number))
        return out

    def state_of(self, time: int, number: int = 0) -> dict[str, Any]:
        """Give the truth of an instrument's state now."""
        world = self.economy.worlds[number]
        row = world.state[0]
        now = world.plan[row["stage"]]
        makers = int(world.parameters[0]["makers"])
        accounts = self.economy.accounts() if number == 0 else world.accounts
        state = {
            "time": time,
            "kind": "state",
            "eta_true": int(row["active"].sum()) / makers,
            "n_true": float(now["branching"]),
            "activity": float(row["activity"]),
            "mid": float(row["mid"]),
            "mark": int(row["mark"]),
            "index": float(row["fundamental"]),
            "bids": resting(row, BID),
            "asks": resting(row, ASK),
            "L_true": exposure(accounts, float(row["mid"]), FALLS),
            "open_interest": int(row["interest"]),
            "fund": int(row["fund"]),
            "shocked": int(row["shocked"]),
        }
        if number == 0 and self.economy.pledge is not None:
            state["collateral"] = min(self.economy.peg_price(), 1.0)
        return self._named(number, state)


def resting(row: Rows, side: int) -> list[int]:
    """Sum what a side of a market's state holds near the mid, lots."""
    mid, size = float(row["mid"]), row["size"]
    if side == BID:
        return [int(size[math.ceil(mid * (1.0 - near)) : int(row["bid"]) + 1].sum()) for near in NEAR]
    return [int(size[int(row["ask"]) : math.floor(mid * (1.0 + near)) + 1].sum()) for near in NEAR]


def play(scenario: Scenario, seed: int, start: int | None = None) -> Iterator[tuple[list[Line], list[dict[str, Any]]]]:
    """Yield a scenario second by second as the coin's venue tells it, its end last."""
    for lines, truths in play_all(scenario, seed, start):
        yield lines[VENUE], truths


def play_all(
    scenario: Scenario, seed: int, start: int | None = None
) -> Iterator[tuple[dict[str, list[Line]], list[dict[str, Any]]]]:
    """Yield a scenario second by second as each venue tells it, its end last."""
    broadcast = Broadcast(scenario, seed, start)
    for _ in range(scenario.seconds):
        yield broadcast.seconds()
    yield {venue: [] for venue in broadcast.tapes}, broadcast.ends()


def _never(at: int) -> bool:
    return False


def truth_line(truth: dict[str, Any]) -> bytes:
    """Write one line of the truth."""
    return orjson.dumps(truth) + b"\n"
