"""The calm market's stylised facts beside those of four recorded markets, measured by one function.

Wanted is the order of magnitude: a factor of 10 beyond what was recorded, for R2 the recorded range and .05 beside it
(what the choices of cleaning a book come to), for a correlation two standard errors. What a tick decides is compared a
second time, with the recorded books on a tick as coarse as the simulator's. Facts outside the recorded range are named,
with the reason, whether their order of magnitude is met or not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from statistics import median
from typing import Final

from engine.instrument import Instrument
from engine.schema import Batch
from ingest.session import open_session
from ingest.simulator.scenarios import INSTRUMENT
from ingest.tape import Tape
from tests.coarse import coarsened
from tests.simulated import batches_of
from tests.stylised import observe
from tests.validation import Row, Size

Facts = dict[str, float]

TAPES: Final = Path(__file__).parents[2] / ".." / "shared" / "data" / "binance"
#: Recordings, and the venue of each.
RECORDED: Final = {
    "usdm_btcusdt": "binance_usdm",
    "usdm_ethusdt": "binance_usdm",
    "spot_btcusdt": "binance_spot",
    "spot_ethusdt": "binance_spot",
}
#: Length of the futures' recordings, s: as much of the simulated market is looked at.
SECONDS: Final = 340
#: So far beyond what was recorded is the same order of magnitude.
FACTOR: Final = 10.0
#: How far beyond what was recorded a fact may be that is no magnitude.
BESIDE: Final = {"ofi_r2_1_s": 0.05, "ofi_r2_5_s": 0.05, "ofi_r2_10_s": 0.05, "return_autocorrelation": 0.11}
#: What a coarser tick changes.
BY_TICK: Final = (
    "spread_mean_bps",
    "spread_median_bps",
    "tick_bps",
    "ofi_r2_1_s",
    "ofi_r2_5_s",
    "ofi_r2_10_s",
    "deleted_share",
    "levels_per_delta",
)
_TICK: Final = "its tick is 5 USD, 11 times as coarse as the coarsest recorded one"
_QUEUES: Final = "its levels are more alike than recorded ones (level_variation), its mid follows the flow more closely"
_FILLS: Final = "its queues are of fewer, larger orders than recorded ones"
_BRANCHING: Final = "its orders excite each other by 0.3 alone, and its activity varies by nine tenths over a minute"
_ALIKE: Final = "eight makers quote each tick, and one size behind the touch, give or take a third"
_QUIET: Final = "its plan is of a quieter market than the recorded minutes were"
_MAKERS: Final = "makers quote each tick near the touch, and quote anew ten times a second"
#: Why a fact is not what was recorded.
REASONS: Final = {
    "spread_mean_bps": _TICK,
    "spread_median_bps": _TICK,
    "tick_bps": _TICK,
    "spread_mean_ticks": _TICK,
    "deleted_share": _TICK + ", and a coarse price is seldom empty",
    "depth_within_1_bps": _MAKERS,
    "depth_within_2_bps": _MAKERS,
    "depth_within_5_bps": _MAKERS,
    "depth_within_10_bps": _MAKERS,
    "levels_per_delta": _MAKERS,
    "ofi_r2_1_s": _QUEUES,
    "ofi_r2_5_s": _QUEUES,
    "ofi_r2_10_s": _QUEUES,
    "touch_variation": _ALIKE,
    "level_variation": _ALIKE,
    "messages_per_s": _FILLS,
    "message_burstiness": _FILLS + ", " + _BRANCHING,
    "trades_per_s": _FILLS,
    "trade_burstiness": _FILLS + ", " + _BRANCHING,
    "orders_per_s": _QUIET,
    "order_burstiness": _BRANCHING,
    "return_deviation_bps": _QUIET,
    "return_kurtosis": _QUIET,
    "return_autocorrelation": "over so few seconds its standard error is .05",
    "deltas_per_s": "its venue sends a diff ten times a second",
}
#: The same on a tick as coarse.
ON_TICK: Final = {
    **REASONS,
    "spread_mean_bps": "a recorded price is there a sum of many and seldom empty; its touch is one queue",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One fact of the simulated market beside the recorded ones."""

    fact: str
    #: Median over the seeds.
    simulated: float
    #: Least and most of the recorded markets, and of what is wanted.
    recorded: tuple[float, float]
    wanted: tuple[float, float]

    @property
    def met(self) -> bool:
        """Whether it is as wanted."""
        return self.wanted[0] <= self.simulated <= self.wanted[1]

    @property
    def differs(self) -> bool:
        """Whether none of the recorded markets was so."""
        return not self.recorded[0] <= self.simulated <= self.recorded[1]


def recorded(folder: Path, name: str, tick_bps: float = 0.0, seconds: int = 1 << 20) -> Facts:
    """Give the facts of a recorded market, on a tick of so many bps of its price where that is coarser."""
    lines = iter(Tape(sorted(folder.glob(f"{name}_*.gz"))))
    first = list(islice(lines, 200))
    session = open_session(first, RECORDED[name])
    (instrument,) = session.instruments.values()

    def rows() -> Iterator[Batch]:
        for received, raw in chain(first, lines):
            yield from session.receive(received, raw)

    if not tick_bps:
        return observe(rows(), instrument, seconds)
    batches = rows()
    opening: list[Batch] = []
    price = 0
    while not price:
        opening.append(next(batches))
        # The best bid of the snapshot.
        price = int(opening[-1].levels["price"][0]) if len(opening[-1].levels) else 0
    tick = max(round(price * tick_bps / 1e4 / instrument.tick), 1) * instrument.tick
    coarse: Instrument = replace(instrument, tick=tick)
    return observe(coarsened(chain(opening, batches), tick), coarse, seconds)


def simulated(seed: int, seconds: int = SECONDS) -> Facts:
    """Give the facts of a calm market."""
    # The first second and the last one are not whole.
    return observe(batches_of("calm", seed, seconds + 2), INSTRUMENT, seconds)


def compare(ours: Sequence[Facts], theirs: Sequence[Facts], names: Sequence[str]) -> list[Compared]:
    """Set facts of simulated markets beside those of recorded ones."""
    found = []
    for name in names:
        least, most = min(each[name] for each in theirs), max(each[name] for each in theirs)
        beside = BESIDE.get(name)
        wanted = (least / FACTOR, most * FACTOR) if beside is None else (least - beside, most + beside)
        value = median(each[name] for each in ours)
        found.append(Compared(fact=name, simulated=value, recorded=(least, most), wanted=wanted))
    return found


def row_of(compared: Compared, worlds: int, *, on_tick: bool = False) -> Row:
    """Word one fact, with the reason where it is not what was recorded."""
    (least, most), (low, high) = compared.recorded, compared.wanted
    reason = f"; differs: {(ON_TICK if on_tick else REASONS)[compared.fact]}" if compared.differs else ""
    return Row(
        what=f"calm beside recorded{' on its tick' if on_tick else ''}: {compared.fact}{reason}",
        measured=f"{compared.simulated:.3g}",
        wanted=f"{low:.3g} to {high:.3g} (recorded {least:.3g} to {most:.3g})",
        met=compared.met,
        worlds=worlds,
    )


def measure_facts(seeds: range, seconds: int = SECONDS) -> list[Row]:
    """Measure the calm markets of these seeds; where the recorded streams are absent, say that nothing was measured."""
    if not TAPES.is_dir():
        wanted = f"recorded streams in {TAPES}"
        return [Row(what="calm beside recorded", measured="not measured", wanted=wanted, met=False, worlds=0)]
    ours = [simulated(seed, seconds) for seed in seeds]
    tick = median(each["tick_bps"] for each in ours)
    theirs = [recorded(TAPES, name) for name in RECORDED]
    coarse = [recorded(TAPES, name, tick) for name in RECORDED]
    rows = [row_of(each, len(seeds)) for each in compare(ours, theirs, list(ours[0]))]
    return rows + [row_of(each, len(seeds), on_tick=True) for each in compare(ours, coarse, BY_TICK)]


def measure(size: Size) -> list[Row]:
    """Measure three markets, or ten."""
    return measure_facts(range(1, 4 if size == Size.SMALL else 11))
