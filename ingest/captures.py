"""cryptofeed's raw captures in, what each connection brought out: both layouts that its recorders have written.

Text, gzip (`X.ws.N.0.gz`, `X.http.N.0.gz`, `X.0.gz`): one line each of

    <url> <-> <unix s>                  connected
    <url> <- <unix s>: <text>           sent
    <unix s>: <text>                    received by that connection
    <url> -> <unix s>: <body>           a REST answer

    configuration: <JSON>               what the recorder was asked for; passed over

JSON lines (format 2), zstd or gzip or plain: `{"t": "header" | "http" | "connect" | "send" | "recv", "conn", "ts",
"data"}`. Times are seconds with the digits of a float; they are read as decimals, so that no two stamps become one.

`lines_of` makes a foreign tape's lines of them: what one venue's connections brought, and the depth bodies of its REST.
"""

import gzip
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from enum import Enum
from heapq import merge
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, Final, NamedTuple
from urllib.parse import urlsplit

import orjson
import zstandard

from engine.errors import BadConfig, BadFrame, BadRecord
from ingest import control
from ingest.venues import Venue, load, names

_LINE: Final = re.compile(
    rb"(?:(?P<url>\S+) (?P<how><->|<-|->) )?(?P<time>\d{9,10}(?:\.\d+)?)(?:: (?P<text>.*))?", re.DOTALL
)
_STAMP: Final = re.compile(rb'"ts":\s*(\d{9,10}(?:\.\d+)?)')


class What(Enum):
    """What a capture's line tells of."""

    CONNECTED = "connected"
    SENT = "sent"
    RECEIVED = "received"
    ANSWER = "answer"


class Entry(NamedTuple):
    """One thing that happened on one connection."""

    #: When, ns.
    at: int
    what: What
    #: The recorder's name of the connection.
    connection: str
    #: The URL, where the line states it.
    url: str
    #: The frame or body, verbatim; empty for CONNECTED.
    raw: bytes


def read_capture(paths: Sequence[Path]) -> Iterator[Entry]:
    """Read files of one recording, in the order of their stamps. Raises BadRecord for a line of neither layout."""
    return merge(*map(_read, paths), key=lambda entry: entry.at)


def is_capture(path: Path) -> bool:
    """Tell a capture from a tape and from anything else, by its first line."""
    try:
        with closing(_open(path)) as lines:
            first = lines.readline(1 << 20)
    except (OSError, EOFError, zstandard.ZstdError):
        return False
    modern = first.startswith((b'{"t":"', b'{"t": "'))
    return modern or (_LINE.match(first) is not None and b"://" in first.split(b" ", 1)[0])


def venues_of(entries: Sequence[Entry]) -> dict[str, Venue]:
    """Name the venue of each connection, by the URL that it connected to; of REST there is no telling.

    Where several venues share a URL, it is the first that finds a book of its own among the frames.
    """
    found = {}
    for entry in entries:
        if entry.what is What.CONNECTED and (venues := _venues(entry.url)):
            found[entry.connection] = venues[-1]
            if len(venues) > 1:
                mine = [e.raw for e in entries if e.what is What.RECEIVED and e.connection == entry.connection]
                found[entry.connection] = next((v for v in venues if _has_books(v, mine)), venues[-1])
    if not found:
        urls = sorted({entry.url for entry in entries if entry.what is What.CONNECTED})
        known = sorted({base for name in names() for base in load(name).sockets.values()})
        raise BadConfig(
            f"no known venue is at {', '.join(urls) or 'any URL'} of the capture; known are {', '.join(known)}"
        )
    return found


def lines_of(entries: Sequence[Entry], venue: Venue, connections: Sequence[str]) -> Iterator[tuple[int, bytes]]:
    """Give a tape's lines: frames of these connections, and REST depth bodies as control lines; stamps grow."""
    at, source = 0, ""
    for entry in entries:
        if entry.what is What.RECEIVED and entry.connection in connections:
            if venue.numbered and entry.connection != source:
                source = entry.connection
                at = max(at + 1, entry.at)
                yield at, control.source(1 + connections.index(source))
            raw = control.flat(entry.raw)
        elif entry.what is What.ANSWER and (route := _route(venue, entry.url)) is not None:
            raw = control.body("depth", route, -1, 200, entry.raw)
        else:
            continue
        at = max(at + 1, entry.at)
        yield at, raw


def _venues(url: str) -> list[Venue]:
    """List the venues at a URL's host whose path agrees the furthest; ports and the last parts of paths may change."""
    place = urlsplit(url)
    fits: dict[int, dict[str, Venue]] = {}
    for venue in map(load, names()):
        for socket, base in venue.sockets.items():
            if place.hostname in (urlsplit(base).hostname, *venue.hosts):
                parts = zip(urlsplit(venue.url(base, socket, ())).path.split("/"), place.path.split("/"), strict=False)
                agreed = len(list(takewhile(lambda pair: pair[0] == pair[1], parts)))
                fits.setdefault(agreed, {})[venue.name] = venue
    return list(fits[max(fits)].values()) if fits else []


def _has_books(venue: Venue, frames: Sequence[bytes]) -> bool:
    try:
        return bool(venue.infer_instruments(frames))
    except (BadConfig, BadFrame):
        return False


def _route(venue: Venue, url: str) -> str | None:
    """Give the symbol of a depth request, or None."""
    place = urlsplit(url)
    route = venue.emulation.route(place.path + (f"?{place.query}" if place.query else ""))
    return route[1] if route is not None and route[0] == "depth" else None


def _read(path: Path) -> Iterator[Entry]:
    connection = path.name.removesuffix(".gz").removesuffix(".zst")
    with closing(_open(path)) as lines:
        for number, line in enumerate(lines, 1):
            try:
                entry = _modern(line) if line.startswith(b"{") else _classic(line, connection)
            except (ValueError, KeyError, TypeError) as error:
                raise BadRecord(f"{path}, line {number}: {line[:80]!r} is of neither layout: {error}") from error
            if entry is not None:
                yield entry


def _open(path: Path) -> IO[bytes]:
    match path.suffix:
        case ".gz":
            # Closing it closes the file, which closing a GzipFile over an open file does not.
            return gzip.open(path)  # type: ignore[return-value]
        case ".zst":
            return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(path.open("rb"), closefd=True))
        case _:
            return path.open("rb")


def _classic(line: bytes, connection: str) -> Entry | None:
    line = line.rstrip(b"\n")
    if not line or line.startswith(b"configuration: "):
        return None
    met = _LINE.fullmatch(line)
    if met is None:
        raise ValueError("no stamp")
    what = {None: What.RECEIVED, b"<->": What.CONNECTED, b"<-": What.SENT, b"->": What.ANSWER}[met["how"]]
    return Entry(_nanoseconds(met["time"]), what, connection, (met["url"] or b"").decode(), met["text"] or b"")


def _modern(line: bytes) -> Entry | None:
    content: dict[str, Any] = orjson.loads(line)
    kinds = {"connect": What.CONNECTED, "send": What.SENT, "recv": What.RECEIVED, "http": What.ANSWER}
    if content["t"] == "header":
        return None
    stamp = _STAMP.search(line)
    if stamp is None:
        raise ValueError("no stamp")
    url = content.get("url") or content.get("addr") or ""
    data = content.get("data") or ""
    return Entry(_nanoseconds(stamp[1]), kinds[content["t"]], content["conn"], url, data.encode())


def _nanoseconds(text: bytes) -> int:
    whole, _, part = text.partition(b".")
    return int(whole) * 1_000_000_000 + int(part.ljust(9, b"0")[:9])
