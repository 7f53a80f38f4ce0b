"""One file a venue; the folder is the registry. A venue file ends with `VENUE`, the record described here.

A venue is data and pure functions: where its sockets are, which streams a symbol has, how a frame becomes rows, how its
order book is kept whole. It opens no socket, reads no clock and keeps no state outside the decoder it makes.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from engine.errors import BadConfig
from engine.instrument import Instrument
from engine.schema import Channel, Kind, Rows
from ingest.mirror import Rule
from ingest.rows import Words

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One subscription: what the venue calls it, whose it is, and how long it may be silent."""

    #: The venue's own name of it, `btcusdt@depth@0ms`.
    name: str
    symbol: str
    channel: Channel
    #: Which socket of the venue carries it, a key of `Venue.sockets`.
    socket: str
    #: After subscribing, data must come within this many ns, or the subscription is void (an ACK is not data).
    #: 0: exempt.
    first: int
    #: Silence longer than this many ns makes the stream stale. 0: exempt (a quiet liquidation feed is healthy).
    silence: int


class Decoded(NamedTuple):
    """What one frame says: one MESSAGE row (kind, ids, clocks, counts; `received` not yet stamped) and its rows.

    One is made per frame, and a tuple is made in a third of a frozen dataclass's time.
    """

    symbol: str
    #: None: of no stream (STATUS).
    channel: Channel | None
    #: One MESSAGE row.
    message: Rows
    #: Rows of the family that the message's kind names.
    rows: Rows
    #: The venue's checksum of the book after this message; None: it states none here. A DELTA without rows and with a
    #: checksum is a check alone, and no row of ours.
    checksum: int | None = None


class Decoder(Protocol):
    """Frames in, rows out; the only state is what the venue's wire format itself demands."""

    #: What was met, by the decoder's own words; whoever makes the decoder may hand it a counter to share.
    counts: Counter[str]

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        """Return what the frame says: nothing for an ACK or a heartbeat. Raises BadFrame, and changes nothing then.

        `received`, ns, dates the rules that changed over time; 0: today's. `connection` is who brought it, where the
        venue numbers what a connection sends (`Venue.numbered`). Raises Gap where the frame shows that others were
        lost which no id of a book tells: of an instrument, by its key, or of the whole connection, by an empty one.
        """
        ...

    def body(self, symbol: str, channel: Channel, body: bytes) -> list[Decoded]:
        """Return what a REST body says: a SNAPSHOT for DEPTH, a REFERENCE for OPEN_INTEREST, RISK. Raises BadFrame."""
        ...

    def forget(self, connection: int) -> None:
        """Forget what was known of a connection's frames: it opens or has closed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A stream whose frames a scanner reads, for many at once."""

    #: What its frames begin with; heads of all streams of a decoder have one length.
    head: bytes
    #: What the scanner must know of it.
    plan: Words
    symbol: str
    channel: Channel
    kind: Kind
    #: Rows of each frame where they are flat (`ingest.flat`); 0: any number (`ingest.scan`).
    rows: int


@runtime_checkable
class PlainDecoder(Protocol):
    """A decoder most of whose frames are plain."""

    def plain(self) -> Sequence[Plain]:
        """Name the streams of which that is so."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the venue allows, and what it needs to keep a connection."""

    #: Frames that a client may send on one connection, per second.
    sends: float
    #: Connection attempts per five minutes and address.
    connects: int
    #: REST weight per minute.
    weight: int
    #: Streams of one connection.
    streams: int
    #: The venue cuts every connection at this age, s; the feed replaces it before.
    lifetime: float
    #: Client pings by the websocket protocol: interval and timeout, s. None: the server pings, the client only answers.
    ping_interval: float | None
    ping_timeout: float | None
    #: Largest frame accepted, bytes.
    max_size: int
    #: Subscriptions of one connection that may be ended and begun again per hour.
    resubscribes: float = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """The venue's own side of the wire, for the emulator: pure functions, no server."""

    #: Path with query -> (what, symbol, limit), what being "depth", "instruments", "open_interest" or "risk"; None:
    #: unknown.
    route: Callable[[str], tuple[str, str, int] | None]
    #: Frame -> name of the stream it belongs to, or None for an ACK.
    stream_of: Callable[[bytes], str | None]
    #: Streams that a websocket path with query asks for ("/public/stream?streams=a/b" -> ("a", "b")).
    streams_of: Callable[[str], tuple[str, ...]]
    #: A client's subscribe frame -> (streams, the ACK to send), or None where it is something else.
    subscribed: Callable[[bytes], tuple[tuple[str, ...], bytes] | None]
    #: instrument, last update id, time ns, bids and asks (LEVEL rows, best first) -> REST depth body.
    snapshot: Callable[[Instrument, int, int, Rows, Rows], bytes]
    #: instruments -> REST exchange-information body.
    instruments: Callable[[Sequence[Instrument]], bytes]
    #: instrument, last id, time ns, bids and asks (LEVEL rows, best first) -> the frame that opens a book on the
    #: socket, checksum included; None where REST has the snapshots.
    book: Callable[[Instrument, int, int, Rows, Rows], bytes] | None = None
    #: A client's unsubscribe frame -> (streams, the ACK to send), or None where it is something else.
    unsubscribed: Callable[[bytes], tuple[tuple[str, ...], bytes] | None] = lambda frame: None
    #: A client's keep-alive -> the answer, or None where it is something else.
    answer: Callable[[bytes], bytes | None] = lambda frame: None
    #: frame, its stream, how many frames this connection was sent before -> the frame as this connection would get it;
    #: None where all connections get the same bytes.
    renumber: Callable[[bytes, str, int], bytes] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """Everything that is known of one venue."""

    name: str
    #: Socket name -> websocket base URL. Overridden by the `socket_url` setting (then every socket uses that base).
    sockets: dict[str, str]
    #: REST base URL. Overridden by the `rest_url` setting.
    rest: str
    limits: Limits
    #: symbols -> every stream that the venue has for them.
    streams: Callable[[Sequence[str]], tuple[Stream, ...]]
    #: base URL, socket name, streams -> the URL to connect to (path and query included).
    url: Callable[[str, str, Sequence[Stream]], str]
    #: Frames to send once connected; empty where the URL itself subscribes.
    subscribe: Callable[[Sequence[Stream]], tuple[bytes, ...]]
    #: instruments by symbol -> a decoder.
    decoder: Callable[[dict[str, Instrument]], Decoder]
    #: symbol -> REST path with query of its order-book snapshot; None where the socket itself sends the snapshot.
    snapshot_path: Callable[[str], str | None]
    #: symbol -> REST path of its open interest; None where it has none.
    open_interest_path: Callable[[str], str | None]
    #: REST path of the exchange's instruments; several, parted by blanks, are answered as one JSON array of the bodies.
    instruments_path: str
    #: Body of that, wanted symbols -> instruments. Raises BadConfig for an unknown symbol, naming the nearest ones.
    parse_instruments: Callable[[bytes, Sequence[str]], list[Instrument]]
    #: raw frames of a foreign tape (no exchange information on it) -> instruments, decimals as met on the wire.
    infer_instruments: Callable[[Sequence[bytes]], list[Instrument]]
    #: REST path -> its weight.
    weight: Callable[[str], int]
    #: How this venue's diffs follow one another. "previous": each names the id before it, and ids grow; "consecutive":
    #: first == last + 1; "linked": each names the id before it, and ids may do anything else; "none": they have no ids.
    #: See `ingest.sync`.
    sequence: Literal["previous", "consecutive", "linked", "none"]
    emulation: Emulation
    #: How a book that broke is made whole: by a REST snapshot; by subscribing its stream again, which brings the
    #: snapshot on the socket; or by another connection, where the loss is not any one book's.
    resync: Literal["rest", "resubscribe", "reconnect"] = "rest"
    #: Frames that end subscriptions. Sent before `subscribe` of the same streams where `resync` is "resubscribe".
    unsubscribe: Callable[[Sequence[Stream]], tuple[bytes, ...]] = lambda streams: ()
    #: What its books' integrity needs beside ids: the checksum, the depth subscribed, ...; None: ids are all.
    rule: Rule | None = None
    #: Frames mean something only beside the others of their connection: numbered by it, named by it.
    numbered: bool = False
    #: What keeps a connection alive: a text frame and how often to send it, s.
    heartbeat: tuple[bytes, float] | None = None
    #: Headers of the websocket's handshake.
    headers: dict[str, str] = field(default_factory=dict)
    #: What is posted to `instruments_path`; None: it is a GET.
    instruments_query: bytes | None = None
    #: Other hosts of the same websocket, former ones too: what a capture may name.
    hosts: tuple[str, ...] = ()
    #: symbol -> REST path of how near auto-deleveraging is; None where it has none.
    risk_path: Callable[[str], str | None] = lambda symbol: None


def names() -> list[str]:
    """List the venues: one per file of this folder."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> Venue:
    """Load one venue by its file's name."""
    if name not in names():
        near = get_close_matches(name, names(), n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(near)}" if near else ""
        raise BadConfig(f"unknown venue {name!r}, known are {', '.join(names())}{hint}")
    venue: Venue = import_module(f"ingest.venues.{name}").VENUE
    return venue
