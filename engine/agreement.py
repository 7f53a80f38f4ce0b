"""Agreement: best prices that a venue states and best prices of our book in, how often they were equal out.

Both carry the venue's update ids. After a diff that ends with id L the book must show what the newest TOUCH with an id
<= L stated, price and size. The two come by different streams, so either may be ahead. Which TOUCH is the newest one
<= L is known only once a TOUCH beyond L was seen; until then the book's answer waits.
"""

from typing import Any, Final

from engine.kernel import inlined_entry, inner, kernel
from engine.schema import Rows

#: How many stated touches are remembered, and how many answers of the book may wait. Older ones go uncompared.
TOUCHES: Final = 256
WAITING: Final = 64

#: This part of an instrument's memory.
FIELDS: Final[list[Any]] = [
    #: Rings of (id, bid, bid size, ask, ask size): what the venue stated, and the book's answers that wait.
    ("touches", "<i8", (TOUCHES, 5)),
    ("waiting", "<i8", (WAITING, 5)),
    #: How many were ever put into each ring, and where what still counts begins.
    ("touches_end", "<i8"),
    ("touches_start", "<i8"),
    ("waiting_end", "<i8"),
    ("waiting_start", "<i8"),
    ("touch_compared", "<i8"),
    ("touch_agreed", "<i8"),
]


@inner
def forget_touches(memory: Rows) -> None:
    """Forget what the venue stated: its stream broke, so the newest one known need not be the newest."""
    own = memory[0]
    own["touches_start"] = own["touches_end"]
    own["waiting_start"] = own["waiting_end"]


@inner
def forget_waiting(memory: Rows) -> None:
    """Forget the book's answers: they are not to be trusted."""
    memory[0]["waiting_start"] = memory[0]["waiting_end"]


@inlined_entry
def hear_touch(memory: Rows, last: int, bid: int, bid_size: int, ask: int, ask_size: int) -> None:
    """Take what the venue states, and compare the answers that waited for it."""
    own = memory[0]
    if own["touches_end"] > own["touches_start"]:
        newest = (own["touches_end"] - 1) % TOUCHES
        if last < own["touches"][newest, 0]:
            # Ids that run backwards belong to another sequence.
            forget_touches(memory)
        while own["waiting_start"] < own["waiting_end"]:
            answer = own["waiting"][own["waiting_start"] % WAITING]
            if answer[0] >= last:
                break
            compare(memory, answer, own["touches"][newest])
            own["waiting_start"] += 1
    write(own["touches"][own["touches_end"] % TOUCHES], last, bid, bid_size, ask, ask_size)
    own["touches_end"] += 1
    own["touches_start"] = max(own["touches_start"], own["touches_end"] - TOUCHES)


@kernel
def answer_touch(memory: Rows, last: int, bid: int, bid_size: int, ask: int, ask_size: int) -> None:
    """Take the book's best after a diff that ends with `last`: compare it, or let it wait."""
    own = memory[0]
    at = own["touches_end"] - 1
    if at < own["touches_start"]:
        return
    ahead = own["touches"][at % TOUCHES, 0] > last
    slot = own["waiting"][own["waiting_end"] % WAITING]
    write(slot, last, bid, bid_size, ask, ask_size)
    if not ahead:
        own["waiting_end"] += 1
        own["waiting_start"] = max(own["waiting_start"], own["waiting_end"] - WAITING)
        return
    while at >= own["touches_start"]:
        if own["touches"][at % TOUCHES, 0] <= last:
            compare(memory, slot, own["touches"][at % TOUCHES])
            return
        at -= 1


@inner
def compare(memory: Rows, answer: Any, touch: Any) -> None:
    """Count one comparison; an empty side has size 0 and whatever price."""
    own = memory[0]
    bids = answer[2] == touch[2] and (answer[1] == touch[1] or answer[2] == 0)
    asks = answer[4] == touch[4] and (answer[3] == touch[3] or answer[4] == 0)
    own["touch_compared"] += 1
    own["touch_agreed"] += bids and asks


@inner
def write(slot: Any, last: int, bid: int, bid_size: int, ask: int, ask_size: int) -> None:
    """Write one row of a ring."""
    slot[0] = last
    slot[1] = bid
    slot[2] = bid_size
    slot[3] = ask
    slot[4] = ask_size
