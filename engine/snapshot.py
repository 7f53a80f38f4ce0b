"""Snapshots: the parts of a pipeline's memory in, one checked run of bytes out, and back.

magic (8 bytes) | version u4 | number of parts u4 | configuration digest (16) | asset (16)
then each part: its length u8 and its bytes
then the BLAKE2b-128 hash of everything before
"""

from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct
from typing import Final

from engine.errors import BadRecord

MAGIC: Final = b"airpockt"
#: Changes whenever the parts or the rows inside them do.
VERSION: Final = 3
HEAD: Final = Struct("<8sII16s16s")
LENGTH: Final = Struct("<Q")
HASH: Final = 16


def pack(digest: str, asset: str, parts: Sequence[bytes]) -> bytes:
    """Write the parts of one asset's memory under one configuration."""
    pieces = [HEAD.pack(MAGIC, VERSION, len(parts), digest.encode(), asset.encode())]
    for part in parts:
        pieces += (LENGTH.pack(len(part)), part)
    body = b"".join(pieces)
    return body + blake2b(body, digest_size=HASH).digest()


def unpack(state: bytes, digest: str) -> tuple[str, list[bytes]]:
    """Read the asset and the parts back. Raises BadRecord unless whole, of this version and configuration."""
    if len(state) < HEAD.size + HASH or state[: len(MAGIC)] != MAGIC:
        raise BadRecord(f"{len(state)} bytes that begin with {state[:8]!r} are no state, which begins with {MAGIC!r}")
    body = state[:-HASH]
    if blake2b(body, digest_size=HASH).digest() != state[-HASH:]:
        raise BadRecord(f"a state of {len(state)} bytes is cut or altered: its hash does not match")
    _, version, count, stated, asset = HEAD.unpack_from(body)
    if version != VERSION:
        raise BadRecord(f"state of version {version}, known is {VERSION}")
    if stated != digest.encode():
        raise BadRecord(f"state of configuration {stated.decode()}, this one is {digest}")
    parts, at = [], HEAD.size
    for _ in range(count):
        (length,) = LENGTH.unpack_from(body, at)
        parts.append(body[at + LENGTH.size : at + LENGTH.size + length])
        at += LENGTH.size + length
    return asset.rstrip(b"\0").decode(), parts
