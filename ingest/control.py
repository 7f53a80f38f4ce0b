"""Our own lines on a tape: what the feed knows and no frame says. One JSON object each, `airpocket` its first key."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Final

import orjson

from engine.instrument import Instrument

#: How every control line begins; a venue's frame that begins so is refused, or it could speak for the feed.
MARK: Final = b'{"airpocket":'
#: How the line begins that opens a tape.
START: Final = MARK + b'"start"'
VERSION: Final = 1


def start(venue: str, symbols: Sequence[str], monotonic: int, instruments: Iterable[Instrument] = ()) -> bytes:
    """Open a tape, and every rotated part of it; with the instruments, where they are known, a part stands alone."""
    fields = {"venue": venue, "symbols": list(symbols), "monotonic": monotonic, "version": VERSION}
    known = [asdict(instrument) for instrument in instruments]
    return _line("start", **fields, **({"instruments": known} if known else {}))


def clock(monotonic: int) -> bytes:
    """Say what the monotonic clock was at this line: the wall clock has moved against it."""
    return _line("clock", monotonic=monotonic)


def opened(connection: int, socket: str, streams: Sequence[str]) -> bytes:
    """Say that a connection is up and now carries these streams."""
    return _line("open", connection=connection, socket=socket, streams=list(streams))


def switched(connection: int, streams: Sequence[str]) -> bytes:
    """Say that these streams are carried by another connection from here on, without a hole."""
    return _line("switch", connection=connection, streams=list(streams))


def source(connection: int) -> bytes:
    """Say that the frames from here on came by this connection, where frames mean nothing without it."""
    return _line("from", connection=connection)


def closed(connection: int, code: int, reason: str) -> bytes:
    """Say that a connection is gone."""
    return _line("close", connection=connection, code=code, reason=reason[:200])


def says_farewell(raw: bytes) -> bool:
    """Tell whether a line is a connection's orderly end, as the feed itself ends it when it is told to stop."""
    return raw.startswith(MARK + b'"close"') and b'"code":1000,' in raw


def body(what: str, symbol: str, epoch: int, status: int, content: bytes | None) -> bytes:
    """Hold a REST body verbatim as the last key; line ends, white space in JSON, become spaces."""
    head = _line("body", what=what, symbol=symbol, epoch=epoch, status=status)
    return head[:-1] + b',"body":' + (b"null" if content is None else flat(content)) + b"}"


def flat(raw: bytes) -> bytes:
    """Put JSON on one line: inside its strings a line end cannot stand unescaped."""
    return raw.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in raw or b"\r" in raw else raw


def _line(kind: str, **fields: object) -> bytes:
    return orjson.dumps({"airpocket": kind, **fields})
