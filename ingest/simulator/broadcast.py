"""A simulated market as its venue tells it, and the truth beside: second after second, tape lines and truth lines out.

The venue tells less than there is: of the forced orders of a second the largest alone, of the book the levels that
changed, of positions nothing but the open interest. The truth is one JSON object a line, `time` in ns and a `kind`:

    state        each second: share of makers that are in, branching of the market orders, prices in ticks, lots of
                 longs that are forced at or above 1, 2, 5, 10 and 20 % below the mid, open interest, fund, lots that
                 rest within 10, 50 and 100 bps of the mid
    forced       each forced order, `shown` where the feed has it       insured, deleveraged, voluntary, maker, stage
    gold         a jump of the gold proxy, the share of it that reaches the coin, and how much later, ns
    end          last and lowest price, and what they are in the branches without liquidations and without shocks
"""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import orjson

from engine.schema import LEVEL, Rows
from ingest import control
from ingest.simulator.advance import run
from ingest.simulator.branches import branch, outcome
from ingest.simulator.frames import DELAY, MILLISECOND, VENUE, Words, opening_lines
from ingest.simulator.matching import Event
from ingest.simulator.population import exposure
from ingest.simulator.scenarios import INSTRUMENT, Scenario, stage
from ingest.simulator.world import ASK, BID, SECOND
from ingest.venues import load

Line = tuple[int, bytes]
#: Levels a side that the venue's snapshot has at most.
SNAPSHOT: Final = 1000
#: Distances from the mid within which the truth says what rests.
NEAR: Final = (0.001, 0.005, 0.01)
FALLS: Final = (0.01, 0.02, 0.05, 0.10, 0.20)
#: The open interest is asked for this often, s.
_POLL: Final = 10


class Broadcast:
    """One scenario with one seed; `second` lets a second of it pass."""

    def __init__(self, scenario: Scenario, seed: int, start: int | None = None) -> None:
        start = scenario.start if start is None else start
        self.scenario = scenario
        self.world = stage(scenario, seed, start)
        #: The market before its first second: where counterfactual branches begin.
        self.origin = self.world.clone()
        #: The book as told by frames, per side price -> size.
        self.book: dict[int, dict[int, int]] = {BID: {}, ASK: {}}
        self._venue = load(VENUE)
        self._words = Words(self._venue, INSTRUMENT)
        self._streams = self._venue.streams([INSTRUMENT.symbol])
        self._start = start
        self._passed = 0
        self._last = start - 1
        self._epoch = 0
        self._wants_snapshot = False
        self._dead = False

    def second(self) -> tuple[list[Line], list[dict[str, Any]]]:
        """Let a second pass; return what the feed had of it, stamps rising, and the truth."""
        begin = self._start + self._passed * SECOND
        events = run(self.world, begin + SECOND - 1)
        # A stamp that something else took before must not turn two lines round: sorting is stable.
        lines = self._connect(begin) if self._passed == 0 else []
        lines += self._outage(begin)
        told = self._tell(events)
        shown = self._largest(events, begin, told)
        lines += [(at, raw) for at, raw in told if not self._silent(at)]
        if self._passed % _POLL == _POLL - 1 and not self._silent(begin + SECOND):
            lines.append((begin + SECOND - MILLISECOND, self._interest(begin + SECOND)))
        self._passed += 1
        return self._stamp(sorted(lines, key=lambda line: line[0])), self._truth(events, shown, begin)

    def end(self) -> dict[str, Any]:
        """Give the last truth: where the market ended, and where its branches did."""
        until = int(self.world.state[0]["time"])
        unforced = branch(self.origin, until, margin=False)
        unshocked = branch(self.origin, until, shocks=False)
        return {
            "time": until,
            "kind": "end",
            **asdict(outcome(self.world.state)),
            "without_liquidations": asdict(outcome(unforced.state)),
            "without_shocks": asdict(outcome(unshocked.state)),
            "market_orders": int(self.world.state[0]["orders"]),
            "capped_intensities": int(self.world.state[0]["capped"]),
        }

    def _connect(self, begin: int) -> list[Line]:
        self._epoch, self._wants_snapshot = 1, True
        return [(begin, raw) for raw in opening_lines(self._venue, [INSTRUMENT])]

    def _silent(self, at: int) -> bool:
        outage = self.scenario.outage
        return outage is not None and outage[0] * SECOND <= at - self._start < outage[1] * SECOND

    def _outage(self, begin: int) -> list[Line]:
        """Word what the feed itself notices of its outage: streams that are silent, connections that end and return."""
        if self.scenario.outage is None:
            return []
        died, back = (self._start + int(each * SECOND) for each in self.scenario.outage)
        lines = []
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
            self._epoch += 1
            self._wants_snapshot = True
        return lines

    def _tell(self, events: Rows) -> list[Line]:
        """Word a second's events; right after the first diff that a connection brings comes the snapshot."""
        lines: list[Line] = []
        words = self._words
        levels: dict[int, list[tuple[int, int]]] = {BID: [], ASK: []}
        for event in events.tolist():
            time, kind, number, side, price, size, other, another = event
            if kind == Event.LEVEL:
                levels[side].append((price, size))
                if size:
                    self.book[side][price] = size
                else:
                    del self.book[side][price]
            elif kind == Event.FRAME:
                raw = words.depth(time, other, number, another, levels[BID], levels[ASK])
                lines.append((time + DELAY, raw))
                levels = {BID: [], ASK: []}
                if self._wants_snapshot and not self._silent(time + DELAY):
                    lines.append((time + 2 * DELAY, self._snapshot(time, number)))
                    self._wants_snapshot = False
            elif kind == Event.TOUCH:
                lines.append((time + DELAY, words.touch(time, number, price, size, other, another)))
            elif kind == Event.TRADE:
                lines.append((time + DELAY, words.trade(time, number, side, price, size)))
            elif kind == Event.MARK:
                lines.append((time + DELAY, words.mark(time, price, size)))
        return lines

    def _largest(self, events: Rows, begin: int, lines: list[Line]) -> int:
        """Word the largest forced order of a second that found a buyer; return its place among the events, -1."""
        met = np.flatnonzero((events["kind"] == Event.FORCED) & (events["other"] > 0))
        if not len(met):
            return -1
        at = int(met[np.argmax(events["size"][met])])
        row = events[at]
        average = round(int(row["another"]) / int(row["other"]))
        raw = self._words.liquidation(
            int(row["time"]), int(row["side"]), max(int(row["price"]), 1), average, int(row["size"])
        )
        sent = begin + SECOND - MILLISECOND
        lines.append((sent, raw))
        return -1 if self._silent(sent) else at

    def _snapshot(self, time: int, last: int) -> bytes:
        sides = []
        for side in (BID, ASK):
            levels = sorted(self.book[side].items(), reverse=side == BID)[:SNAPSHOT]
            sides.append(np.array([(p * INSTRUMENT.tick, q * INSTRUMENT.lot) for p, q in levels], LEVEL))
        body = self._venue.emulation.snapshot(INSTRUMENT, last, time, sides[0], sides[1])
        return control.body("depth", INSTRUMENT.symbol, self._epoch, 200, body)

    def _interest(self, time: int) -> bytes:
        lots = int(self.world.state[0]["interest"])
        whole, part = divmod(lots * INSTRUMENT.lot, 10**INSTRUMENT.size_decimals)
        body = (
            f'{{"symbol":"{INSTRUMENT.symbol}","openInterest":"{whole}.{part:0{INSTRUMENT.size_decimals}d}",'
            f'"time":{time // MILLISECOND - 2}}}'
        )
        return control.body("open_interest", INSTRUMENT.symbol, 0, 200, body.encode())

    def _stamp(self, lines: list[Line]) -> list[Line]:
        """Let stamps rise strictly, as a feed's do."""
        out = []
        for at, raw in lines:
            self._last = max(at, self._last + 1)
            out.append((self._last, raw))
        return out

    def _truth(self, events: Rows, shown: int, begin: int) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        gold = self.scenario.gold
        if gold is not None and begin == self._start + gold[0] * SECOND:
            out.append(
                {"time": begin, "kind": "gold", "jump": gold[1], "transmission": gold[2], "delay": gold[3] * SECOND}
            )
        for place in np.flatnonzero(events["kind"] >= Event.FORCED).tolist():
            row = {name: int(events[place][name]) for name in events.dtype.names or ()}
            kind = Event(row["kind"])
            if kind == Event.MARK:
                continue
            line: dict[str, Any] = {"time": row["time"], "kind": kind.name.lower(), "id": row["id"]}
            line |= {name: row[name] for name in ("side", "price", "size")}
            if kind == Event.FORCED:
                line |= {"filled": row["other"], "shown": place == shown}
            out.append(line)
        out.append(self.state_of(begin + SECOND - 1))
        return out

    def state_of(self, time: int) -> dict[str, Any]:
        """Give the state's truth now."""
        row = self.world.state[0]
        now = self.world.plan[row["stage"]]
        makers = int(self.world.parameters[0]["makers"])
        return {
            "time": time,
            "kind": "state",
            "eta_true": int(row["active"].sum()) / makers,
            "n_true": float(now["branching"]),
            "mid": float(row["mid"]),
            "mark": int(row["mark"]),
            "index": float(row["fundamental"]),
            "bids": self._resting(BID),
            "asks": self._resting(ASK),
            "L_true": exposure(self.world.accounts, float(row["mid"]), FALLS),
            "open_interest": int(row["interest"]),
            "fund": int(row["fund"]),
            "shocked": int(row["shocked"]),
        }

    def _resting(self, side: int) -> list[int]:
        """Sum what a side holds near the mid."""
        row = self.world.state[0]
        mid, size = float(row["mid"]), row["size"]
        if side == BID:
            return [int(size[math.ceil(mid * (1.0 - near)) : int(row["bid"]) + 1].sum()) for near in NEAR]
        return [int(size[int(row["ask"]) : math.floor(mid * (1.0 + near)) + 1].sum()) for near in NEAR]


def play(scenario: Scenario, seed: int, start: int | None = None) -> Iterator[tuple[list[Line], list[dict[str, Any]]]]:
    """Yield a scenario second by second, its end last."""
    broadcast = Broadcast(scenario, seed, start)
    for _ in range(scenario.seconds):
        yield broadcast.second()
    yield [], [broadcast.end()]


def truth_line(truth: dict[str, Any]) -> bytes:
    """Write one line of the truth."""
    return orjson.dumps(truth) + b"\n"
