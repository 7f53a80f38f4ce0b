"""What if: the books of an asset as they are (or were) in; where a sale would end, and what it would set off, out.

The venues' books are laid upon one another: each one's prices are scaled so that its mid stands at the reference, the
median of the mids of the books that are known, and then summed by price. Against them stand the known exposures of the
asset. Shares of makers are computed for the whole: as if all venues' makers left alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final, Literal

import numpy as np

from airpocket.player import Player, moment
from airpocket.recovery import recover
from engine.broker import BrokerConfig
from engine.cascade import END, curve, merge, seen_by_mark, sweep_floored
from engine.config import EngineConfig
from engine.errors import BadConfig
from engine.pipeline import Pipeline
from engine.signals.cascade import FALL, SQUEEZE, Ladder, Triggers, answers, exposed, ladder
from engine.topics import MARKET, partition_of
from engine.track import REASONS, Track
from engine.trust import OK
from ingest.topic import TopicSource

BPS: Final = 10_000.0
#: Where the book ends before the answer.
BEYOND: Final = "beyond the book"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """A known exposure that the answer triggers."""

    name: str
    quantity: float
    trigger: float
    as_of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where it ends. Prices in quote units, amounts in base units unless they say otherwise; null: beyond the book."""

    asset: str
    side: Literal["sell", "buy"]
    #: Quote units, and base units at the reference.
    notional: float
    quantity: float
    #: Row time of the newest book, ns.
    time: int
    reference: float
    price: float | None
    move_bps: float | None
    price_alone: float | None
    #: What is traded and forced, and how much larger than the shock all of it is.
    traded: float
    forced: float
    unsold: float
    amplification: float
    fired: tuple[Fired, ...]
    #: Per level asked for: largest sale that does not trade beyond it (quote units), share of makers that may leave.
    levels: tuple[Mapping[str, float | None], ...]
    venues: tuple[str, ...]
    #: Books that are not known, and why.
    without: Mapping[str, str]
    assumptions: str

    def json(self) -> dict[str, Any]:
        """Give it as one JSON object."""
        return asdict(self)


def from_tapes(tapes: Iterable[str], asset: str, at: str | None, venue: str | None, config: EngineConfig) -> Pipeline:
    """Play tapes up to a time and give the asset's pipeline as it was then."""
    player = Player(tapes, venue=venue, engine=config, until=moment(at))
    for _ in player:
        pass
    if asset not in player.pipelines:
        raise BadConfig(f"asset is {asset!r}, the tapes hold {', '.join(sorted(player.pipelines)) or 'none yet'}")
    return player.pipelines[asset]


def from_topic(broker: BrokerConfig, asset: str, config: EngineConfig) -> Pipeline:
    """Take the engine's newest snapshot, go on to the end of the market topic, and give the asset's pipeline."""
    source = TopicSource(broker)
    try:
        partition = partition_of(asset, len(source.partitions(MARKET)))
        shard, _ = recover(source, [partition], config, "reset")[partition]
        for taken in source.read(MARKET, partition, shard.offset, source.end(MARKET, partition)):
            shard.step(taken)
    finally:
        source.close()
    if asset not in shard.pipelines:
        raise BadConfig(f"asset is {asset!r}, its partition holds {', '.join(sorted(shard.pipelines)) or 'none'}")
    return shard.pipelines[asset]


def ask(
    pipeline: Pipeline, side: Literal["sell", "buy"], notional: float, levels: Sequence[float], config: EngineConfig
) -> Answer:
    """Answer from the books as the pipeline holds them. Raises BadConfig where no book of the asset is known."""
    if not 0 < notional < 1e15:
        raise BadConfig(f"notional is {notional}, allowed are quote units above 0 and below 1e15")
    good = {key: track for key, track in sorted(pipeline.tracks.items()) if usable(track)}
    without = {k: REASONS[t.reason] or "no mid, or quanto" for k, t in sorted(pipeline.tracks.items()) if k not in good}
    if not good:
        raise BadConfig(f"no book of {pipeline.asset} is known: {without}")
    sign = FALL if side == "sell" else SQUEEZE
    mids = {key: mid_of(track) for key, track in good.items()}
    reference = float(median(mids.values()))
    book = summed([side_of(track, sign, reference / mids[key]) for key, track in good.items()])
    forced = exposed(config, pipeline.asset, sign)
    seen = np.zeros(len(forced.marks))
    seen_by_mark(forced.marks, sign * reference, config.cascade.pass_through, seen)
    end = np.zeros(1, END)
    quantity = notional / reference
    walk = (book.prices, book.sizes, seen, forced.amounts, forced.floors, quantity, np.zeros(len(seen)), end)
    sweep_floored(*walk)
    alone = np.zeros(1, END)
    none = np.zeros(0)
    sweep_floored(book.prices, book.sizes, none, none, none, quantity, none, alone)
    names = [e for e in config.knowledge.exposures if e.asset == pipeline.asset and e.trigger is not None]
    names = sorted((e for e in names if (e.side == "long") == (sign == FALL)), key=lambda e: -sign * (e.trigger or 0))
    met = end[0]
    price = None if met["exhausted"] else sign * float(met["price"])
    return Answer(
        asset=pipeline.asset,
        side=side,
        notional=notional,
        quantity=quantity,
        time=max(track.clock for track in good.values()),
        reference=reference,
        price=price,
        move_bps=None if price is None else BPS * (price - reference) / reference,
        price_alone=None if alone[0]["exhausted"] else sign * float(alone[0]["price"]),
        traded=float(met["sold"]),
        forced=float(met["forced"]),
        unsold=float(met["unsold"]),
        amplification=(quantity + float(met["forced"])) / quantity,
        fired=tuple(
            Fired(name=e.name, quantity=e.quantity, trigger=e.trigger or 0.0, as_of=e.as_of)
            for e in names[: int(met["fired"])]
        ),
        levels=tuple(level(book, seen, forced, sign, quantity, reference, each) for each in levels),
        venues=tuple(good),
        without=without,
        assumptions=(
            f"triggers: {len(forced.marks)} known exposures, no estimated map; mark passes on "
            f"{config.cascade.pass_through:g} of a move; books as shown, nothing refills, nobody else sells"
        ),
    )


def level(
    book: Ladder, seen: Any, forced: Triggers, sign: float, quantity: float, reference: float, price: float
) -> dict[str, float | None]:
    """Say what it takes to trade beyond a price, and what share of makers may leave before the sale does."""
    if sign * (price - reference) >= 0:
        raise BadConfig(f"level is {price}, allowed are prices {'below' if sign == FALL else 'above'} {reference:g}")
    found = np.zeros((5, 1))
    curve(book.prices, book.sizes, seen, forced.amounts, quantity, np.array([sign * price]), found)
    held = float(found[3, 0])
    return {
        "price": price,
        "critical_quote": float(found[2, 0]) * reference,
        "may_leave": max(0.0, 1.0 - held) if found[0, 0] > 0 else None,
        "complete": float(found[4, 0] == 0),
    }


def usable(track: Track) -> bool:
    """Say whether a book can be asked now."""
    return track.reason == OK and answers(track.book, track.unit)


def mid_of(track: Track) -> float:
    """Return a known book's mid, price units."""
    assert track.book is not None
    bid, _, ask_price, _ = track.book.best
    return (bid + ask_price) / (2.0 * float(track.unit["price"][0]))


def side_of(track: Track, sign: float, factor: float) -> Ladder:
    """Lay one venue's side, all of it, aligned to the reference."""
    assert track.book is not None
    return ladder(track.book.levels()[0 if sign == FALL else 1], track.unit, sign * factor)


def summed(sides: Sequence[Ladder]) -> Ladder:
    """Sum sides by price."""
    starts = np.cumsum([0, *(len(side.prices) for side in sides)]).astype(np.int64)
    prices, sizes = np.zeros(int(starts[-1])), np.zeros(int(starts[-1]))
    whole = (np.concatenate([s.prices for s in sides]), np.concatenate([s.sizes for s in sides]))
    count = merge(*whole, starts, prices, sizes)
    return Ladder(prices=prices[:count], sizes=sizes[:count])


def lines(answer: Answer) -> str:
    """Word an answer for people."""
    verb, way = ("sell", "falls to") if answer.side == "sell" else ("buy", "rises to")
    asset = answer.asset
    told = [
        f"{verb} {answer.notional:,.0f} of {asset} ({answer.quantity:,.2f} {asset} at {answer.reference:,.2f}) "
        f"into {', '.join(answer.venues)}",
    ]
    if answer.price is None:
        told.append(f"  ends {BEYOND}: {answer.unsold:,.2f} {asset} find nobody in what the venues show")
    else:
        told.append(f"  price {way} {answer.price:,.2f} ({answer.move_bps:+,.1f} bps)")
    alone = BEYOND if answer.price_alone is None else f"{answer.price_alone:,.2f}"
    told.append(f"  without anything forced it would end at {alone}; amplification {answer.amplification:.2f}")
    told += [
        f"  triggers {each.name}: {each.quantity:,.2f} {asset} at {each.trigger:,.2f}" for each in answer.fired
    ] or ["  triggers none of the known exposures"]
    for each in answer.levels:
        share = "no bid is known" if each["may_leave"] is None else f"{each['may_leave']:.1%} of makers may leave"
        bound = "" if each["complete"] else " (the book shown ends before: a lower bound)"
        told.append(
            f"  {each['price']:,.2f}: withstands {each['critical_quote']:,.0f}{bound}; {share} before it trades"
        )
    told += [f"  without {key}: {why}" for key, why in answer.without.items()]
    told.append(f"  assumes {answer.assumptions}")
    return "\n".join(told)
