"""Snapshots of a shard: its state in, records of state.v1 out; and back, torn ones passed over.

A snapshot is a JSON line and the dumps behind it, cut into chunks that fit a record, then a commit record with the
checksum of the whole. Two slots take turns as keys, so that compaction always leaves the snapshot before the last one:
a crash between the first chunk and the commit costs nothing but a longer replay.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, TypeAlias

import orjson

from engine.broker import MAX_VALUE
from engine.errors import BadRecord
from engine.schema import Record
from engine.topics import STATE
from ingest.topic import Taken, TopicSource

VERSION: Final = 1
SLOTS: Final = 2
CHUNK: Final = MAX_VALUE - 1000
COMMIT: Final = "commit"
HEADER_SNAPSHOT: Final = "snapshot"

#: The input offset that caused an output, and the output's number among those of that input.
Source: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a shard is after every input before `offset`, and which outputs that implies."""

    #: Next input offset.
    offset: int
    #: Receive time of the last row, ns.
    received: int
    #: Time of the last input record, ns; becomes the state record's time.
    time: int
    #: Instrument to asset, of everything that this shard has seen.
    instruments: Mapping[str, str] = field(default_factory=dict)
    #: Output topic to the source of its last record; all of them were acknowledged before this was written.
    delivered: Mapping[str, Source] = field(default_factory=dict)
    #: Asset to the dump of its pipeline.
    state: Mapping[str, bytes] = field(default_factory=dict)


def records(snapshot: Snapshot, partition: int, slot: int) -> list[Record]:
    """Write a snapshot as records, the commit last."""
    whole = _dump(snapshot)
    digest = sha256(whole).hexdigest()
    chunks = [whole[at : at + CHUNK] for at in range(0, len(whole), CHUNK)]
    commit = {"version": VERSION, "offset": snapshot.offset, "chunks": len(chunks), "sha256": digest}
    named = [(str(index), chunk) for index, chunk in enumerate(chunks)] + [(COMMIT, orjson.dumps(commit))]
    return [
        Record(
            topic=STATE,
            key=f"{partition}/{slot}/{name}",
            asset="",
            time=snapshot.time,
            value=value,
            headers=((HEADER_SNAPSHOT, digest.encode()),),
        )
        for name, value in named
    ]


def newest(source: TopicSource, partition: int, bounds: tuple[int, int]) -> Iterator[tuple[Snapshot, int]]:
    """Yield the whole snapshots between two offsets with their slots, the newest first; reads no more than needed."""
    begin, end = bounds
    parts: dict[tuple[str, str], bytes] = {}
    commits: list[tuple[str, int, Any]] = []
    start, step = end, 4
    while start > begin:
        stop, start = start, max(begin, start - step)
        step *= 8
        older = []
        for taken in source.read(STATE, partition, start, stop):
            named = _name(taken)
            if named is None:
                continue
            slot, index, digest, value = named
            if index == COMMIT:
                older.append((digest, slot, value))
            else:
                parts.setdefault((digest, index), value)
        commits.extend(reversed(older))
        while commits:
            digest, slot, value = commits[0]
            commit = _commit(value)
            wanted = [(digest, str(index)) for index in range(commit["chunks"])] if commit else []
            if start > begin and not all(part in parts for part in wanted):
                break
            del commits[0]
            snapshot = _load(b"".join(parts.get(part, b"") for part in wanted), digest)
            if snapshot is not None:
                yield snapshot, slot


def _name(taken: Taken) -> tuple[int, str, str, bytes] | None:
    if taken.record is None:
        return None
    _, slot, index = ([*taken.record.key.split("/"), "", ""])[:3]
    digest = dict(taken.record.headers).get(HEADER_SNAPSHOT, b"").decode(errors="replace")
    return (int(slot), index, digest, taken.record.value) if slot.isdigit() else None


def _commit(value: bytes) -> Any:
    try:
        commit = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    known = isinstance(commit, dict) and commit.get("version") == VERSION and isinstance(commit.get("chunks"), int)
    return commit if known else None


def _dump(snapshot: Snapshot) -> bytes:
    head = {
        "offset": snapshot.offset,
        "received": snapshot.received,
        "time": snapshot.time,
        "instruments": dict(snapshot.instruments),
        "delivered": dict(snapshot.delivered),
        "sizes": {asset: len(state) for asset, state in snapshot.state.items()},
    }
    return orjson.dumps(head) + b"\n" + b"".join(snapshot.state.values())


def _load(whole: bytes, digest: str) -> Snapshot | None:
    """Read a snapshot back; None where the bytes are not those that were committed."""
    if sha256(whole).hexdigest() != digest:
        return None
    line, _, rest = whole.partition(b"\n")
    head = orjson.loads(line)
    state, at = {}, 0
    for asset, size in head["sizes"].items():
        state[asset] = rest[at : at + size]
        at += size
    if at != len(rest):
        raise BadRecord(f"a snapshot at offset {head['offset']} holds {len(rest)} bytes of state, its sizes say {at}")
    return Snapshot(
        offset=head["offset"],
        received=head["received"],
        time=head["time"],
        instruments=head["instruments"],
        delivered={topic: (offset, index) for topic, (offset, index) in head["delivered"].items()},
        state=state,
    )
