"""The margin accounts of a simulated market: a past of prices and open interest in, sorted accounts out.

A position was entered at a past price, the likelier the more open interest was opened there and the younger it is; it
is one that the prices since have not liquidated. Leverages are mixed by known weights, a share of the accounts is
cross: its wallet holds more than the position's margin. Maintenance follows brackets of notional. Longs and shorts have
equal sums. Some positions are named: large, and placed where a scenario wants them. All of that is known: `longs_of`
is the true map L(x) of forced sales.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadConfig
from engine.margin import bankruptcy, bracket_of, isolated
from engine.schema import Rows
from ingest.simulator.draws import Stream, draw, fill, normal
from ingest.simulator.world import ACCOUNT, PRICES

Floats = NDArray[np.float64]

#: Notional in quote units from which on, rate, amount forgiven.
BRACKETS: Final = np.array(
    [
        (0.0, 0.004, 0.0),
        (50_000.0, 0.005, 50.0),
        (250_000.0, 0.01, 1_300.0),
        (1_000_000.0, 0.025, 16_300.0),
        (10_000_000.0, 0.05, 266_300.0),
    ]
)
#: Hours of the past that positions were entered in, and the half-life of their age, hours.
_PAST: Final = 720
_LIFE: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A large position that somebody is known to hold."""

    #: 1 long, -1 short.
    side: int
    #: Lots.
    size: int
    #: Distance of its trigger from the price now, share of it.
    distance: float
    leverage: float
    #: The maker whose hedge it is, -1.
    maker: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Who holds what."""

    count: int = 20_000
    #: Open interest of the unnamed accounts, lots.
    interest: int = 2_400_000
    leverages: tuple[float, ...] = (5.0, 10.0, 20.0, 50.0, 100.0)
    weights: tuple[float, ...] = (0.35, 0.30, 0.20, 0.10, 0.05)
    #: Share of cross accounts, and the mean of what their wallets hold beyond the margin, times the margin.
    cross: float = 0.3
    spare: float = 1.0
    #: Volatility of an hour in the past, share.
    volatility: float = 0.006
    #: Exponent of the sizes' Pareto tail.
    tail: float = 1.3
    #: So far, share, the price was off on either side within the hour: nothing is left that triggers nearer.
    tested: float = 0.0
    named: tuple[Named, ...] = ()

    def __post_init__(self) -> None:
        if len(self.leverages) != len(self.weights) or not math.isclose(sum(self.weights), 1.0, abs_tol=1e-9):
            raise BadConfig(f"weights {self.weights} of leverages {self.leverages}, allowed is one each, 1 in all")


def populate(wanted: Population, seed: int, price: int, money: float) -> Rows:
    """Make the accounts; `price` in ticks is now, `money` how many quote units a tick times a lot is."""
    past, flow = past_of(wanted, seed, price)
    sides = []
    for number, side in enumerate((1, -1)):
        rows = _unnamed(wanted, seed, number, side, past, flow, money)
        extra = [placed_at(each, price) for each in wanted.named if each.side == side]
        sides.append(np.concatenate((rows, np.array(extra, ACCOUNT))) if extra else rows)
    return arrange(np.concatenate(sides))


def arrange(accounts: Rows) -> Rows:
    """Sort accounts as the liquidation engine wants them: longs by falling trigger, then shorts by rising trigger."""
    keys = np.lexsort((np.arange(len(accounts)), -accounts["side"] * accounts["trigger"], -accounts["side"]))
    return accounts[keys]


def longs_of(accounts: Rows, after: int = 0) -> tuple[Floats, Floats, Floats]:
    """Give the true map of forced sales: triggers falling, sizes, floors, of the longs from row `after` on."""
    rows = accounts[after : int((accounts["side"] > 0).sum())]
    rows = rows[rows["size"] > 0]
    return tuple(np.ascontiguousarray(rows[name], np.float64) for name in ("trigger", "size", "floor"))  # type: ignore[return-value]


def exposure(accounts: Rows, price: float, falls: tuple[float, ...]) -> list[int]:
    """Give L(x): lots of longs that are forced at or above x, for x each share below the price."""
    longs = accounts[(accounts["side"] > 0) & (accounts["size"] > 0)]
    return [int(longs["size"][longs["trigger"] >= price * (1.0 - fall)].sum()) for fall in falls]


def past_of(wanted: Population, seed: int, price: int) -> tuple[Floats, Floats]:
    """Walk back from the price now: a price an hour, ticks, the last one first; what share of all was opened then."""
    prices, flow = np.zeros(_PAST), np.zeros(_PAST)
    log = math.log(price)
    for hour in range(_PAST):
        prices[hour] = math.exp(log)
        log += wanted.volatility * normal(*draw(seed, Stream.PAST, 2 * hour))
        opened = max(normal(*draw(seed, Stream.PAST, 2 * hour + 1)), 0.0)
        flow[hour] = opened * 0.5 ** (hour / _LIFE)
    return prices, flow / flow.sum()


def _unnamed(wanted: Population, seed: int, number: int, side: int, past: Floats, flow: Floats, money: float) -> Rows:
    count = wanted.count // 2
    luck = np.zeros((6, count))
    for k in range(6):
        fill(seed, Stream.POPULATION, (number * 8 + k) * (1 << 24), luck[k])
    hours = np.minimum(np.searchsorted(np.cumsum(flow), luck[0]), _PAST - 1)
    leverages = np.array(wanted.leverages)
    chosen = leverages[np.minimum(np.searchsorted(np.cumsum(wanted.weights), luck[1]), len(leverages) - 1)]
    sizes = np.minimum(luck[2] ** (-1.0 / wanted.tail), 2_000.0)
    sizes = np.maximum((sizes / sizes.sum() * wanted.interest).astype(np.int64), 1)
    sizes[0] += wanted.interest - int(sizes.sum())
    cross = luck[3] < wanted.cross
    spare = -np.log(luck[4]) * wanted.spare
    #: The worst price since each hour.
    worst = np.minimum.accumulate(past) if side > 0 else np.maximum.accumulate(past)
    worst = side * np.minimum(side * worst, side * past[0] * (1.0 - side * wanted.tested))
    rows = np.zeros(count, ACCOUNT)
    for i in range(count):
        leverage = float(chosen[i])
        entry = max(round(float(past[hours[i]])), 1)
        margin = 1.0 / leverage * (1.0 + (float(spare[i]) if cross[i] else 0.0))
        trigger, floor = _bounds(side, int(sizes[i]), entry, margin, money)
        if side * (trigger - worst[hours[i]]) >= 0:
            # It would be gone: whoever is here now came this hour, at the price now.
            entry = round(float(past[0]))
            trigger, floor = _bounds(side, int(sizes[i]), entry, margin, money)
        rows[i] = (side, sizes[i], entry, trigger, floor, leverage, cross[i], -1, -1, 0)
    return rows


def _bounds(side: int, size: int, entry: int, margin: float, money: float) -> tuple[int, int]:
    """Give trigger and floor of a position, ticks; `margin` is a share of its notional at entry."""
    notional = size * entry * money
    rate, amount = bracket_of(BRACKETS, notional)
    relief = amount / notional
    if (rate - relief) / margin >= 0.7:
        # Brackets keep high leverage from large positions: in truth it is several smaller ones.
        rate, relief = 0.5 * margin, 0.0
    trigger = isolated(float(entry), 1.0 / margin, rate, side, relief)
    floor = bankruptcy(float(entry), 1.0 / margin, side)
    if side > 0:
        least = min(max(math.floor(trigger), 0), PRICES - 1)
        return least, min(math.ceil(floor), least)
    most = min(max(math.ceil(trigger), 0), PRICES - 1)
    return most, min(max(math.floor(floor), most), PRICES - 1)


def placed_at(named: Named, price: int) -> tuple[int, int, int, int, int, float, int, int, int, int]:
    """Give the ACCOUNT of a named position: its trigger is where it is wanted, entry and floor follow."""
    trigger = round(price * (1.0 - named.side * named.distance))
    entry = round(trigger * (1.0 - 0.01 * named.side) / (1.0 - named.side / named.leverage))
    floor = round(entry * (1.0 - named.side / named.leverage))
    return named.side, named.size, entry, trigger, floor, named.leverage, 0, named.maker, 1, 0
