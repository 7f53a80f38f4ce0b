"""What if: the books of an asset as they are (or were) in; where a sale would end, and what it would set off, out.

The venues' books are laid upon one another, all of each (`engine.signals.cascade_asset`). Against them stand the known
exposures of the asset and what each venue's liquidation map estimates. Shares of makers are computed for the whole: as
if all venues' makers left alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from airpocket.player import Player, moment
from airpocket.recovery import recover
from engine.books import BPS, FALL, SQUEEZE, Ladder, answers
from engine.broker import BrokerConfig
from engine.cascade import END, Floats, curve, sweep_floored
from engine.config import EngineConfig
from engine.errors import BadConfig
from engine.liquidation_exposures import levered, listed
from engine.pipeline import Pipeline
from engine.risk import assume, rules_of
from engine.signals.cascade_asset import Part, Whole, lay_upon
from engine.topics import MARKET, partition_of
from engine.track import REASONS, Track
from engine.triggers import NOTHING, SOURCES, Triggers, coverage_of, forced, hits_of, off_of, share_of, source_of
from engine.trust import OK
from ingest.topic import TopicSource

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
    #: Known exposures that are triggered, and how many triggers of the estimated maps, forcing how much.
    fired: tuple[Fired, ...]
    fired_estimated: int
    forced_estimated: float
    #: Where triggers come from, and which share of open interest the estimated maps hold.
    map_source: str
    map_coverage: float
    #: Known holders without leverage, who are never forced.
    holders: tuple[str, ...]
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
    now = max(track.clock for track in good.values())
    whole = lay_upon(config, pipeline.asset, [part_of(track) for track in good.values()], now, everything=True)
    without |= dict.fromkeys(whole.left_out, "mid more than 20 % off the others'")
    mid, maps = whole.seen.mid, whole.seen.maps
    reference = mid[0] / mid[1]
    book, quantity = whole.seen.sides[0 if sign == FALL else 1], notional / reference
    both = forced(maps, FALL), forced(maps, SQUEEZE)
    held = held_of(config, both[0 if sign == FALL else 1])
    alone = sweep(book, NOTHING, quantity)
    met = sweep(book, held, quantity)
    price = None if met["exhausted"] else sign * float(met["price"])
    fired = fired_of(config, pipeline.asset, whole, sign, book, met)
    return Answer(
        asset=pipeline.asset,
        side=side,
        notional=notional,
        quantity=quantity,
        time=now,
        reference=reference,
        price=price,
        move_bps=None if price is None else BPS * (price - reference) / reference,
        price_alone=None if alone["exhausted"] else sign * float(alone["price"]),
        traded=float(met["sold"]),
        forced=float(met["forced"]),
        unsold=float(met["unsold"]),
        amplification=(quantity + float(met["forced"])) / quantity,
        fired=fired,
        fired_estimated=int(met["fired"]) - len(fired),
        forced_estimated=max(float(met["forced"]) - slice_of(config) * sum(each.quantity for each in fired), 0.0),
        map_source=SOURCES[source_of(maps, both)],
        map_coverage=coverage_of(maps, whole.mids),
        holders=listed(config, pipeline.asset),
        levels=tuple(level(book, held, sign, quantity, reference, each) for each in levels),
        venues=whole.venues,
        without=without,
        assumptions=assumptions(config, whole),
    )


def part_of(track: Track) -> Part:
    """Give a track whose book answers as a part of its asset."""
    assert track.book is not None
    return Part(
        key=track.key,
        book=track.book,
        unit=track.unit,
        map=track.map,
        assumed=track.assumed,
        flow=track.flow,
        flow_settings=track.settings.flow,
    )


def slice_of(config: EngineConfig) -> float:
    """Return which share of a forced trade is made within the cascade."""
    asked = config.cascade
    return 1.0 if asked.duration > asked.cooldown else asked.slice


def held_of(config: EngineConfig, found: Triggers) -> Triggers:
    """Give triggers as the slices let them be felt."""
    amounts = np.zeros(len(found.marks))
    assume(rules_of(config.cascade), found.amounts, amounts)
    return Triggers(marks=found.marks, amounts=amounts, floors=found.floors)


def sweep(book: Ladder, held: Triggers, quantity: float) -> Any:
    """Say where a sale ends: an END row."""
    end = np.zeros(1, END)
    left: Floats = np.zeros(len(held.marks))
    sweep_floored(book.prices, book.sizes, held.marks, held.amounts, held.floors, quantity, left, end)
    return end[0]


def fired_of(config: EngineConfig, asset: str, whole: Whole, sign: float, book: Ladder, met: Any) -> tuple[Fired, ...]:
    """Name the known exposures that the last level traded at fires, in the order in which they are hit."""
    if met["level"] < 0:
        return ()
    maps = whole.seen.maps
    found = []
    for each, row, gone, at in zip(levered(config, asset), maps.exposures, maps.gone, hits_of(maps), strict=False):
        if not gone and row["side"] == sign and sign * at >= book.prices[met["level"]]:
            known = Fired(name=each.name, quantity=each.quantity, trigger=float(row["trigger"]), as_of=each.as_of)
            found.append((-sign * float(row["trigger"]), known))
    return tuple(known for _, known in sorted(found, key=lambda pair: pair[0]))


def assumptions(config: EngineConfig, whole: Whole) -> str:
    """Word what the answer takes for granted."""
    asked, maps = config.cascade, whole.seen.maps
    covered = f"estimated maps that hold {coverage_of(maps, whole.mids):.1%} of open interest"
    estimated = covered if maps.estimated else "no estimated map"
    refills = f"refilling for {asked.duration / 1_000:g} s" if asked.duration else "nothing refills"
    slices = "" if slice_of(config) == 1.0 else f"; {slice_of(config):.0%} of what is forced is sold at once"
    share, off = share_of(maps), off_of(maps)
    mark = f"mark passes on {share:.3g} of a move" + (f" and stands {BPS * off:+.1f} bps off the mid" if off else "")
    return (
        f"triggers: {maps.standing} known exposures, {estimated}; {mark}{slices}; books as shown, {refills}, "
        "nobody else sells"
    )


def level(
    book: Ladder, held: Triggers, sign: float, quantity: float, reference: float, price: float
) -> dict[str, float | None]:
    """Say what it takes to trade beyond a price, and what share of makers may leave before the sale does."""
    if sign * (price - reference) >= 0:
        raise BadConfig(f"level is {price}, allowed are prices {'below' if sign == FALL else 'above'} {reference:g}")
    found = np.zeros((5, 1))
    curve(book.prices, book.sizes, held.marks, held.amounts, quantity, np.array([sign * price]), found)
    stays = float(found[3, 0])
    return {
        "price": price,
        "critical_quote": float(found[2, 0]) * reference,
        "may_leave": max(0.0, 1.0 - stays) if found[0, 0] > 0 else None,
        "complete": float(found[4, 0] == 0),
    }


def usable(track: Track) -> bool:
    """Say whether a book can be asked now."""
    return track.reason == OK and answers(track.book, track.unit)


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
    if answer.map_source in ("estimated", "both"):
        told.append(
            f"  triggers {answer.fired_estimated} of the estimated map: {answer.forced_estimated:,.2f} {asset} "
            f"(it holds {answer.map_coverage:.1%} of open interest)"
        )
    for each in answer.levels:
        share = "no bid is known" if each["may_leave"] is None else f"{each['may_leave']:.1%} of makers may leave"
        bound = "" if each["complete"] else " (the book shown ends before: a lower bound)"
        told.append(
            f"  {each['price']:,.2f}: withstands {each['critical_quote']:,.0f}{bound}; {share} before it trades"
        )
    told += [f"  without {key}: {why}" for key, why in answer.without.items()]
    told.append(f"  assumes {answer.assumptions}")
    return "\n".join(told)
