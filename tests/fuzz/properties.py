"""What must hold of a decoder whatever it is handed; `Target.check` tries one input and raises `Violation`.

1. Nothing but BadFrame or Gap is raised, and a refusal's reason is a short word.
2. What is accepted is sound: kinds, families, counts, signs, orders and ranges are what `engine.schema` says.
3. A refused frame changes nothing: a decoder that has heard it and one that has not go on alike.
4. Two decoders that heard the same say the same, of the same bytes.
5. Where a venue has a fast path, it says what the slow one says.
6. Instruments are inferred from any frame, or refused as the operator's error.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any, Final
from zlib import crc32

import numpy as np

from engine.errors import BadConfig, BadFrame, Gap
from engine.schema import FAMILY, LEVEL, MESSAGE, Channel, Coverage, Flag, Kind, PriceKind, Reference, Rows, Status
from ingest.decimals import LIMIT
from ingest.venues import Decoded, Decoder
from tests.fuzz.corpus import AT, Corpus
from tests.fuzz.mutation import mutated

#: What frames of a venue can be; other kinds are the feed's own.
KINDS: Final = frozenset(
    (Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH, Kind.TRADE, Kind.LIQUIDATION, Kind.REFERENCE, Kind.STATUS)
)
#: Rules change over time: when an input came, ns; 0 is today.
DATES: Final = (0, AT, 1_560_000_000_000_000_000, 1_723_000_000_000_000_000)
#: Inputs after which both decoders are made anew.
FRESH: Final = 64
#: One input in so many is also given to `infer_instruments`.
INFERRED: Final = 8
_REASON: Final = re.compile(r"[a-z][a-z0-9_]{2,40}")


class Violation(Exception):
    """A property does not hold."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a decoder said of one input: rows, or how it refused."""

    decoded: tuple[tuple[Any, ...], ...] = ()
    refusal: str = ""

    @property
    def name(self) -> str:
        """Name it for the table."""
        return self.refusal.partition(":")[0] or ("accepted" if self.decoded else "accepted, no rows")


@dataclass(slots=True)
class Target:
    """Two decoders of one venue: `tried` hears everything, `kept` only what `tried` accepted."""

    corpus: Corpus
    counts: Counter[str] = field(default_factory=Counter)
    tried: Decoder = field(init=False)
    kept: Decoder = field(init=False)
    #: Inputs since both were new.
    history: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin with new decoders."""
        self.tried, self.kept = self.corpus.decoder(), self.corpus.decoder()
        self.history.clear()

    def check(self, frame: bytes) -> None:
        """Try one input. Raises Violation; the decoders are new after that."""
        if len(self.history) >= FRESH or (self.corpus.venue.numbered and self.history):
            self.renew()
        try:
            self._check(frame)
        except Violation:
            self.renew()
            raise

    def _check(self, frame: bytes) -> None:
        number = crc32(frame)
        # A connection numbers what it sends: let most inputs be the next of theirs.
        if number % 8:
            frame = self.corpus.numbered(frame, len(self.corpus.opening))
        self.history.append(frame)
        received, connection = DATES[number // 8 % len(DATES)], 1 + (number // 32 % 8 == 0)
        said = attempt(partial(self.tried.decode, frame, received, connection), self.corpus)
        self.counts[said.name] += 1
        slow: Any = getattr(self.tried, "decode_slowly", None)
        if slow is not None:
            self._same(said, attempt(partial(slow, frame), self.corpus), "the slow path says", frame)
        if said.refusal and not said.refusal.startswith("Gap"):
            self._probe(number, frame)
        else:
            again = attempt(partial(self.kept.decode, bytes(frame), received, connection), self.corpus)
            self._same(said, again, "another decoder says", frame)
        self._bodies(frame)
        if number // 256 % INFERRED == 0:
            attempt(partial(self._inferred, frame), self.corpus)

    def _probe(self, number: int, frame: bytes) -> None:
        """After a refusal, let both decode the same good frame."""
        seeds = self.corpus.seeds
        good = self.corpus.numbered(seeds[number // 2048 % len(seeds)], len(self.corpus.opening))
        one, other = (attempt(partial(it.decode, good, AT, 1), self.corpus) for it in (self.tried, self.kept))
        self._same(one, other, f"the refused frame changed what is said of {good[:300]!r}: without it", frame)

    def _bodies(self, frame: bytes) -> None:
        """Try the input as a REST body, on each channel that the venue asks REST for."""
        venue = self.corpus.venue
        symbol = next(iter(self.corpus.instruments))
        asked = {
            Channel.DEPTH: venue.snapshot_path(symbol),
            Channel.OPEN_INTEREST: venue.open_interest_path(symbol),
            Channel.RISK: venue.risk_path(symbol),
        }
        for channel in (channel for channel, path in asked.items() if path is not None):
            said = attempt(partial(self.tried.body, symbol, channel, frame), self.corpus)
            if said.decoded:
                self.counts[f"body of {channel.name}"] += 1
            slow: Any = getattr(self.tried, "body_slowly", None)
            if slow is not None:
                other = attempt(partial(slow, symbol, channel, frame), self.corpus)
                self._same(said, other, "the slow path says of the body", frame)

    def _inferred(self, frame: bytes) -> list[Decoded]:
        try:
            self.corpus.venue.infer_instruments([frame])
        except (BadConfig, BadFrame):
            self.counts["not inferred from"] += 1
        return []

    def _same(self, one: Said, other: Said, what: str, frame: bytes) -> None:
        if one != other:
            raise Violation(f"{one} and yet {what} {other} ({frame[:300]!r})"[:2000])


def attempt(call: Callable[[], list[Decoded]], corpus: Corpus) -> Said:
    """Call a decoder, and check what it says."""
    try:
        found = call()
    except BadFrame as error:
        if not _REASON.fullmatch(error.reason):
            raise Violation(f"{error.reason!r} is no short word") from error
        return Said(refusal=error.reason)
    except Gap as error:
        return Said(refusal=f"Gap:{error}")
    except Exception as error:
        raise Violation(f"{type(error).__name__}: {str(error)[:300]}") from error
    for decoded in found:
        unsound(decoded, corpus)
    return Said(
        tuple((each.symbol, each.channel, each.message.tobytes(), each.rows.tobytes(), each.checksum) for each in found)
    )


def unsound(decoded: Decoded, corpus: Corpus) -> None:
    """Raise Violation where a message or its rows are not what the schema says."""
    message, rows = decoded.message, decoded.rows
    if message.dtype != MESSAGE or message.shape != (1,):
        raise Violation(f"a message of {message.dtype} and shape {message.shape}")
    row = dict(zip(MESSAGE.names or (), message[0].tolist(), strict=True))
    kind = row["kind"]
    wrong = {
        "symbol": decoded.symbol not in corpus.instruments,
        "kind": kind not in KINDS,
        "channel": (decoded.channel is None) != (kind == Kind.STATUS) or decoded.channel not in (None, *Channel),
        "count": row["count"] != len(rows),
        "bids": row["bids"] > row["count"],
        "stamps": min(row["exchanged"], row["published"]) < 0 or row["received"] != 0 or row["epoch"] != 0,
        "ids": row["previous"] < -1 or row["first"] < 0 or row["last"] < 0,
        "flags": row["flags"] & ~(Flag.HISTORY | Flag.BAD_TIME | Flag.PARTIAL | Flag.CONTINUED) != 0,
        "checksum": decoded.checksum is not None and type(decoded.checksum) is not int,
        "status": kind == Kind.STATUS and row["status"] not in list(Status),
    }
    if not any(wrong.values()):
        wrong["family"] = rows.dtype != FAMILY.get(kind, LEVEL) and not (kind == Kind.STATUS and not len(rows))
    if not any(wrong.values()):
        wrong |= _rows_wrong(Kind(kind), row, rows)
    if any(wrong.values()):
        names = ", ".join(name for name, met in wrong.items() if met)
        raise Violation(f"{names} of {row}, symbol {decoded.symbol!r}, rows {rows[:6].tolist()}")


def _rows_wrong(kind: Kind, row: dict[str, int], rows: Rows) -> dict[str, bool]:
    """Name what is wrong with rows of the right family."""
    names = rows.dtype.names or ()
    for name in names:
        if rows.dtype[name].kind == "f" and np.isnan(rows[name]).any():
            return {f"NaN as {name}": True}
    wrong = {
        f"range of {name}": bool(len(rows)) and not 0 <= int(rows[name].min()) <= int(rows[name].max()) < LIMIT
        for name in ("price", "size", "average")
        if name in names
    }
    match kind:
        case Kind.SNAPSHOT | Kind.DELTA:
            bids = row["bids"]
            wrong["price 0"] = bool((rows["price"] == 0).any())
            if kind == Kind.SNAPSHOT:
                wrong["size 0"] = bool((rows["size"] == 0).any())
                prices = rows["price"].tolist()
                wrong["order of bids"] = any(a <= b for a, b in pairwise(prices[:bids]))
                wrong["order of asks"] = any(a >= b for a, b in pairwise(prices[bids:]))
        case Kind.TOUCH:
            wrong["sides"] = (row["count"], row["bids"]) != (2, 1)
            wrong["price 0"] = bool(((rows["price"] == 0) & (rows["size"] > 0)).any())
        case Kind.TRADE:
            wrong["no rows"] = not len(rows)
            wrong["zero"] = bool(((rows["price"] == 0) | (rows["size"] == 0) | (rows["fills"] == 0)).any())
            wrong["side"] = not np.isin(rows["side"], (1, -1)).all()
            wrong["time"] = bool((rows["exchanged"] < 0).any())
        case Kind.LIQUIDATION:
            wrong["no rows"] = not len(rows)
            wrong["zero"] = bool(((rows["price"] == 0) | (rows["size"] == 0)).any())
            wrong["side"] = not np.isin(rows["side"], (1, -1)).all()
            wrong["price kind"] = not np.isin(rows["price_kind"], list(PriceKind)).all()
            wrong["coverage"] = not np.isin(rows["coverage"], list(Coverage)).all()
        case Kind.REFERENCE:
            wrong["no rows"] = not len(rows)
            wrong["what"] = not np.isin(rows["what"], list(Reference)).all()
            unsigned = np.isin(rows["what"], (Reference.MARK, Reference.INDEX, Reference.OPEN_INTEREST))
            wrong["negative"] = bool((rows["value"][unsigned] < 0).any())
            wrong["overflow"] = bool((np.abs(rows["value"].astype(object)) >= LIMIT).any()) if len(rows) else False
            risk = rows["value"][rows["what"] == Reference.DELEVERAGING]
            wrong["risk"] = not np.isin(risk, (0, 1, 2)).all()
            wrong["time"] = bool((rows["next"] < 0).any())
    return wrong


def inputs(corpus: Corpus, random: Random) -> Iterator[bytes]:
    """Give inputs without end: each seed as it is, then mutations of them."""
    yield from corpus.seeds
    while True:
        yield mutated(random.choice(corpus.seeds), corpus.seeds, random)
