"""The hour-of-week baseline: samples of a book's quantities in; what each is at this hour of the week out.

Row time is cut into hours, the *sessions*. The median of what a session's samples hold of a quantity is one *visit* to
the session's cell, its hour of the week in UTC; of fewer than `session` samples none is made. A cell keeps its last
8 sessions of which anything was kept. The baseline of a quantity is, from the first that there is:

    hour     the weighted median of the visits to the present session's cell, if there are `visits` of them
    week     the weighted median of the visits to all cells
    session  the median so far of the present session, if it has `session` samples: it stands in for a past

    weight of a visit = 2^(-age / half-life)

The weighted median is the smallest visit such that those up to it hold at least half of all weight: between two equal
halves the lower one. Only ratios of weights count, so age is counted from the newest visit that is weighed, and no
absence, however long, makes all weights 0. Weights are whole 2^-40ths, so that sums are exact and halves are halves.

Samples and visits are kept as float32, that the state of many instruments stays small: seven digits are more than a
median of a book needs.
"""

from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from engine.config import MOST_BANDS, MOST_VISITS, EngineConfig
from engine.fields import Why
from engine.kernel import allocating, inner, kernel
from engine.schema import Rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

#: Places of the quantities; depth within band b of side s (0 bid, 1 ask) is at 2 b + s.
SPREAD: Final = cast(int, np.int64(2 * MOST_BANDS))
POCKET_BID: Final = cast(int, np.int64(2 * MOST_BANDS + 1))
POCKET_ASK: Final = cast(int, np.int64(2 * MOST_BANDS + 2))
VARIANCE: Final = cast(int, np.int64(2 * MOST_BANDS + 3))
TRADES: Final = cast(int, np.int64(2 * MOST_BANDS + 4))
QUANTITIES: Final = 2 * MOST_BANDS + 5

#: What a baseline is of, as `source` says it.
SOURCES: Final = ("none", "hour", "week", "session")
NONE: Final = SOURCES.index("none")
HOUR_OF_WEEK: Final = SOURCES.index("hour")
WHOLE_WEEK: Final = SOURCES.index("week")
PRESENT: Final = SOURCES.index("session")

HOUR: Final = 3_600 * 1_000_000_000
WEEK: Final = cast(int, np.int64(168))
FIRST: Final = cast(int, np.int64(0))
#: Samples that a session has room for: one each 5 s.
ROOM: Final = 720
#: Weight of the newest visit.
WHOLE: Final = 1 << 40
#: Greater values are none that a float32 holds.
LARGEST: Final = 3e38
DEFINED: Final = int(Why.DEFINED)

MEMORY: Final = np.dtype(
    [
        #: Number of the present session, row time // hour, and of the last sample, row time // `sample`; -1 before any.
        ("hour", "<i8"),
        ("tick", "<i8"),
        #: Values that were no finite number from 0, or too great, or found no room.
        ("baseline_refused", "<i8"),
        #: The baseline of each quantity, and its index into SOURCES.
        ("values", "<f8", (QUANTITIES,)),
        ("sources", "<i8", (QUANTITIES,)),
        #: How many samples of each quantity the present session has; the samples, ascending.
        ("counts", "<i8", (QUANTITIES,)),
        ("samples", "<f4", (QUANTITIES, ROOM)),
        #: Visits to each cell, -1 where none was made; a session has one slot for all its quantities.
        ("visits", "<f4", (QUANTITIES, int(WEEK), MOST_VISITS)),
        #: Week of each slot's session: with its cell the session's number, 168 x week + cell.
        ("weeks", "<u2", (int(WEEK), MOST_VISITS)),
        #: The slot that each cell's next session takes, that of its oldest.
        ("next", "<u1", (int(WEEK),)),
    ],
    align=True,
)

SETTINGS: Final = np.dtype(
    [
        #: Between two samples, ns.
        ("sample", "<i8"),
        #: Hours.
        ("half_life", "<f8"),
        #: Visits that an hour's baseline needs; samples that a visit needs.
        ("visits", "<i8"),
        ("session", "<i8"),
        #: Place of each band among the bands of the depth signal, -1 where there are fewer.
        ("places", "<i8", (MOST_BANDS,)),
    ],
    align=True,
)


def memory_of() -> Rows:
    """Give the memory of an instrument of which nothing is known."""
    memory = np.zeros(1, MEMORY)
    memory["hour"] = memory["tick"] = -1
    memory["visits"] = -1.0
    return memory


def settings_of(config: EngineConfig) -> Rows:
    """Give the one SETTINGS row."""
    asked = config.baseline
    row = np.zeros(1, SETTINGS)
    row["sample"], row["half_life"] = asked.sample * 1_000_000, asked.half_life * 24.0
    row["visits"], row["session"] = asked.visits, asked.session
    row["places"] = -1
    row["places"][0, : len(asked.bands)] = [config.bands.index(band) for band in asked.bands]
    return row


@kernel
def sample_due(memory: Rows, settings: Rows, now: int) -> bool:
    """Return whether row time has reached another line of the grid of samples."""
    return bool(now // settings[0]["sample"] != memory[0]["tick"])


@kernel
def take_sample(memory: Rows, settings: Rows, values: Floats, whys: Bytes, now: int) -> None:
    """Take the quantities that are defined; where no sample is due, nothing."""
    own, fixed = memory[0], settings[0]
    roll_session(memory, settings, now)
    if not sample_due(memory, settings, now):
        return
    own["tick"] = now // fixed["sample"]
    for q in range(QUANTITIES):
        if whys[q] != DEFINED:
            continue
        if not 0.0 <= values[q] <= LARGEST or own["counts"][q] == ROOM:
            own["baseline_refused"] += 1
            continue
        insert_sample(own["samples"][q], own["counts"][q], values[q])
        own["counts"][q] += 1
        if own["counts"][q] >= fixed["session"] and (own["sources"][q] == NONE or own["sources"][q] == PRESENT):
            own["values"][q], own["sources"][q] = middle(own["samples"][q], own["counts"][q]), PRESENT


@allocating
def roll_session(memory: Rows, settings: Rows, now: int) -> None:
    """End the present session and begin that of `now`, if it is another; the time between, if any, had none."""
    own = memory[0]
    hour = now // HOUR
    if hour == own["hour"]:
        return
    keep_visits(memory, settings)
    own["hour"] = hour
    values, hours = np.empty(WEEK * MOST_VISITS), np.empty(WEEK * MOST_VISITS)
    sorted_values, weights = np.empty(WEEK * MOST_VISITS), np.empty(WEEK * MOST_VISITS, np.int64)
    cell, fixed = hour % WEEK, settings[0]
    for q in range(QUANTITIES):
        own["counts"][q] = 0
        source = HOUR_OF_WEEK
        count = gather(memory, q, cell, cell + 1, values, hours)
        if count < fixed["visits"]:
            source = WHOLE_WEEK
            count = gather(memory, q, FIRST, WEEK, values, hours)
        own["values"][q], own["sources"][q] = 0.0, NONE
        if count > 0:
            weigh(hours[:count], fixed["half_life"], weights)
            own["values"][q] = weighted_median(values[:count], weights, sorted_values)
            own["sources"][q] = source


@kernel
def baseline_of(memory: Rows, quantity: int) -> tuple[float, int]:
    """Return a quantity's baseline, 0 where there is none, and its index into SOURCES."""
    own = memory[0]
    return own["values"][quantity], own["sources"][quantity]


@inner
def insert_sample(samples: NDArray[np.float32], count: int, value: float) -> None:
    """Put a value in its place among the first `count`, which ascend."""
    held = np.float32(value)
    at = count
    while at > 0 and samples[at - 1] > held:
        samples[at] = samples[at - 1]
        at -= 1
    samples[at] = held


@inner
def middle(samples: NDArray[np.float32], count: int) -> float:
    """Return the median of the first `count`, which ascend; of an even number the mean of the middle two."""
    # Not float(): compiled, that leaves a float32 one, and the mean would be rounded, or the sum infinite.
    upper = np.float64(samples[count // 2])
    if count % 2 == 1:
        return upper
    return (np.float64(samples[count // 2 - 1]) + upper) / 2.0


@inner
def keep_visits(memory: Rows, settings: Rows) -> None:
    """Make the present session's medians visits to its cell; a session without any takes no slot."""
    own, least = memory[0], settings[0]["session"]
    most = FIRST
    for q in range(QUANTITIES):
        most = max(most, own["counts"][q])
    if most < least:
        return
    cell = own["hour"] % WEEK
    slot = own["next"][cell]
    for q in range(QUANTITIES):
        count = own["counts"][q]
        own["visits"][q, cell, slot] = middle(own["samples"][q], count) if count >= least else -1.0
    own["weeks"][cell, slot] = own["hour"] // WEEK
    own["next"][cell] = (slot + 1) % MOST_VISITS


@inner
def gather(memory: Rows, quantity: int, first: int, end: int, values: Floats, hours: Floats) -> int:
    """Write the visits to the cells from `first` to before `end` and the numbers of their sessions; return how many."""
    own = memory[0]
    count = 0
    for cell in range(first, end):
        for slot in range(MOST_VISITS):
            visit = own["visits"][quantity, cell, slot]
            if visit >= 0.0:
                values[count] = visit
                hours[count] = float(own["weeks"][cell, slot]) * float(WEEK) + float(cell)
                count += 1
    return count


@allocating
def weigh(hours: Floats, half_life: float, weights: Ints) -> None:
    """Write each session's weight."""
    newest = hours.max()
    for i in range(len(hours)):
        weights[i] = int(WHOLE * 2.0 ** (-(newest - hours[i]) / half_life) + 0.5)


@allocating
def weighted_median(values: Floats, weights: Ints, ascending: Floats) -> float:
    """Return the smallest value such that the values up to it hold half of the weight; `ascending` is scratch."""
    count = len(values)
    total = FIRST
    for i in range(count):
        ascending[i] = values[i]
        total += weights[i]
    ascending[:count].sort()
    low, high = 0, count - 1
    while low < high:
        between = (low + high) // 2
        held = FIRST
        for i in range(count):
            if values[i] <= ascending[between]:
                held += weights[i]
        if 2 * held >= total:
            high = between
        else:
            low = between + 1
    return float(ascending[low])
