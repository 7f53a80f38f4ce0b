"""The liquidation engine of a simulated venue: a mark and accounts in, forced orders, insurance, deleveraging out.

Once the mark is at or beyond a trigger, the position is sold by an order that is immediate or cancelled, down to its
bankruptcy price. Of a large position a fifth goes first, the rest after a cooldown if its mark is still beyond. What a
fill brings above bankruptcy the insurance fund keeps. What finds no buyer the fund takes at the bankruptcy price, while
it can pay the loss at the mark and hold so much; the rest is closed against the opposite accounts, at the bankruptcy
price, those with the highest profit x leverage first.

Open interest falls by what is forced, insured or deleveraged: buyers are taken to close shorts.
"""

from typing import Final

from engine.kernel import kernel
from engine.schema import Rows
from ingest.simulator.draws import Stream, unit
from ingest.simulator.flow import next_draw
from ingest.simulator.matching import Event, emit, trade
from ingest.simulator.world import COOLING, PRICES

_FORCED: Final = int(Event.FORCED)
_DELEVERAGED: Final = int(Event.DELEVERAGED)
_INSURED: Final = int(Event.INSURED)
_VOLUNTARY: Final = int(Event.VOLUNTARY)
_NAMED: Final = int(Stream.NAMED)
#: Share of a large position that is sold first.
_FIRST: Final = 0.2


@kernel
def median(first: float, second: float, third: float) -> float:
    """Give the middle one of three."""
    return max(min(first, second), min(max(first, second), third))


@kernel
def mark_of(state: Rows, parameters: Rows, seconds: float) -> int:
    """Give the mark, ticks: the median of index, last price and the mid's average, kept near the index."""
    row, given = state[0], parameters[0]
    if given["by_last"]:
        return int(row["last"])
    index = row["fundamental"]
    row["average"] += (1.0 - 0.5 ** (seconds / given["average_life"])) * (row["mid"] - row["average"])
    middle = median(index, float(row["last"]), row["average"])
    room = given["clamp"] * index
    return int(min(max(middle, index - room), index + room) + 0.5)


@kernel
def close(state: Rows, accounts: Rows, at: int, size: int) -> None:
    """Take size off a position."""
    accounts[at]["size"] -= size
    state[0]["interest"] -= size
    if accounts[at]["maker"] >= 0:
        state[0]["hedge_lost"][accounts[at]["maker"]] = 1


@kernel
def deleverage(state: Rows, accounts: Rows, side: int, price: int, wanted: int, events: Rows) -> int:
    """Close opposite positions at a price, best ranked first, until `wanted` is closed; return what could not be."""
    row = state[0]
    first = row["longs"] if side > 0 else 0
    last = len(accounts) if side > 0 else row["longs"]
    while wanted > 0:
        best, highest = -1, 0.0
        for at in range(first, last):
            account = accounts[at]
            if account["size"] > 0 and account["entry"] > 0:
                profit = account["side"] * (price - account["entry"]) / account["entry"]
                if profit * account["leverage"] > highest:
                    best, highest = at, profit * account["leverage"]
        if best < 0:
            return wanted
        size = min(wanted, accounts[best]["size"])
        # The open interest falls once, with the liquidated side.
        row["interest"] += size
        close(state, accounts, best, size)
        row["deleveraged"] += size
        wanted -= size
        emit(events, row["time"], _DELEVERAGED, best, accounts[best]["side"], price, size, 0, 0)
    return 0


@kernel
def force(state: Rows, parameters: Rows, accounts: Rows, at: int, size: int, events: Rows) -> int:
    """Liquidate so much of a position; return what neither the book, nor the fund, nor other accounts took."""
    row, given = state[0], parameters[0]
    side, floor = accounts[at]["side"], accounts[at]["floor"]
    limit = floor
    if not given["floored"]:
        limit = 0 if side > 0 else PRICES
    filled, money = trade(state, given["makers"], -side, size, limit, events)
    emit(events, row["time"], _FORCED, at, side, limit, size, filled, money)
    row["forced"] += filled
    row["fund"] += side * (money - floor * filled) if given["floored"] else 0
    close(state, accounts, at, size)
    rest = size - filled
    if rest == 0 or not given["floored"]:
        return rest
    loss = max(side * (floor - row["mark"]), 0) * rest
    if loss <= row["fund"] and row["insured"] + rest <= given["fund_holds"]:
        row["fund"] -= loss
        row["insured"] += rest
        emit(events, row["time"], _INSURED, at, side, floor, rest, loss, 0)
        return 0
    return deleverage(state, accounts, side, floor, rest, events)


@kernel
def fire(state: Rows, parameters: Rows, accounts: Rows, at: int, mark: int, events: Rows) -> None:
    """Liquidate a position; of a large one a part, and the rest waits."""
    row, given = state[0], parameters[0]
    size = accounts[at]["size"]
    if size * mark > given["large"] and row["coolings"] < COOLING:
        size = max(int(_FIRST * size), 1)
        accounts[at]["due"] = row["time"] + given["cooldown"]
        row["cooling"][row["coolings"]] = at
        row["coolings"] += 1
    force(state, parameters, accounts, at, size, events)


@kernel
def liquidate(state: Rows, parameters: Rows, accounts: Rows, mark: int, events: Rows) -> int:
    """Liquidate whatever the mark has reached, in the order of the triggers; return how many positions fired."""
    row = state[0]
    fired = 0
    for side in (1, -1):
        while True:
            at = row["next_long"] if side > 0 else row["next_short"]
            if at >= (row["longs"] if side > 0 else len(accounts)) or side * (accounts[at]["trigger"] - mark) < 0:
                break
            if side > 0:
                row["next_long"] += 1
            else:
                row["next_short"] += 1
            # Whoever waits for a second part has been met already.
            if accounts[at]["size"] == 0 or accounts[at]["due"] > 0:
                continue
            fired += 1
            fire(state, parameters, accounts, at, mark, events)
    return fired


@kernel
def resume(state: Rows, parameters: Rows, accounts: Rows, mark: int, events: Rows) -> None:
    """Liquidate the rest of the positions whose cooldown is over and whose mark is still beyond."""
    row = state[0]
    kept = 0
    for k in range(row["coolings"]):
        at = row["cooling"][k]
        account = accounts[at]
        beyond = account["side"] * (account["trigger"] - mark) >= 0
        if account["size"] > 0 and row["time"] >= account["due"] and beyond:
            force(state, parameters, accounts, at, account["size"], events)
        if account["size"] > 0:
            row["cooling"][kept] = at
            kept += 1
    row["coolings"] = kept


@kernel
def volunteer(state: Rows, parameters: Rows, accounts: Rows, seconds: float, events: Rows) -> None:
    """Let the named position sell a part by itself, the more probably the nearer its trigger is."""
    row, given = state[0], parameters[0]
    at = given["named"]
    if at < 0:
        return
    first, second = next_draw(state, _NAMED)
    account = accounts[at]
    distance = account["side"] * (row["mark"] - account["trigger"]) / row["mark"]
    if account["size"] == 0 or distance <= 0.0 or distance >= given["named_near"]:
        return
    if unit(first) < given["named_rate"] * seconds * (1.0 - distance / given["named_near"]):
        size = max(int(account["size"] * 0.2 * unit(second)), 1)
        side = -account["side"]
        filled, _ = trade(state, given["makers"], side, size, PRICES if side > 0 else 0, events)
        close(state, accounts, at, filled)
        emit(events, row["time"], _VOLUNTARY, at, account["side"], row["last"], filled, 0, 0)


@kernel
def fall(state: Rows, parameters: Rows, accounts: Rows, shock: int, events: Rows) -> int:
    """Sell `shock` lots (below 0: buy) into the book as it stands, and what that forces, until nothing more fires.

    Time stands still: nobody quotes or cancels. Returns how many positions fired.
    """
    row, given = state[0], parameters[0]
    side = -1 if shock > 0 else 1
    filled, _ = trade(state, given["makers"], side, abs(shock), 0 if side < 0 else PRICES, events)
    row["shocked"] += filled
    fired = 0
    # A position fires at the price that trades, so each meets the book that those before it left.
    while filled > 0 and fire_next(state, parameters, accounts, row["last"], side, events):
        fired += 1
    return fired


@kernel
def fire_next(state: Rows, parameters: Rows, accounts: Rows, mark: int, side: int, events: Rows) -> int:
    """Liquidate the one position whose trigger is met first, of the side that a fall (side -1) or a squeeze hurts."""
    row = state[0]
    row["mark"] = mark
    while True:
        if side < 0:
            at = row["next_long"]
            if at >= row["longs"] or accounts[at]["trigger"] < mark:
                return 0
            row["next_long"] += 1
        else:
            at = row["next_short"]
            if at >= len(accounts) or accounts[at]["trigger"] > mark:
                return 0
            row["next_short"] += 1
        if accounts[at]["size"] > 0:
            force(state, parameters, accounts, at, accounts[at]["size"], events)
            return 1
