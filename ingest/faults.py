"""Faults on demand: a tape's frames in, the steps that an unwell venue would play out. Pure and seeded.

Positions count the tape's depth frames from 0, over all symbols. The venue's own book knows every frame of the tape,
also one that was dropped on its way out: a fault is the path's, never the book's.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong, and where; the default is nothing."""

    seed: int = 0
    #: Share of depth frames that are lost, sent twice, sent after their successor.
    drop: float = 0.0
    duplicate: float = 0.0
    swap: float = 0.0
    #: The same, at given depth frames.
    drop_at: frozenset[int] = frozenset()
    duplicate_at: frozenset[int] = frozenset()
    swap_at: frozenset[int] = frozenset()
    #: Before this depth frame its connections end: with a close code, 0 by TCP reset, 1006 in the middle of a frame.
    cut_at: Mapping[int, int] = field(default_factory=dict)
    #: Seconds of tape time -> the same, for every connection.
    cut_after: Mapping[float, int] = field(default_factory=dict)
    #: Before this depth frame its connections fall silent for ever, without closing.
    stall_at: frozenset[int] = frozenset()
    #: Before this depth frame the whole venue pauses for so many seconds, then sends what it owes.
    pause_at: Mapping[int, float] = field(default_factory=dict)
    #: Streams that are acknowledged and never sent.
    mute: frozenset[str] = frozenset()
    #: Every REST answer comes so many seconds late.
    rest_delay: float = 0.0
    #: So many depth requests fail first, with this status.
    snapshot_failures: int = 0
    snapshot_status: int = 503
    #: So many websocket handshakes are refused first, with this status.
    refusals: int = 0
    refusal_status: int = 503
    #: Seconds of the Retry-After header of both. 0: none.
    retry_after: int = 0
    #: Pings are never answered.
    deaf: bool = False


class Act(Enum):
    """What the emulator does at one step."""

    SEND = auto()
    #: The frame is lost on its way; where the venue numbers a connection's frames, its number is spent.
    LOSE = auto()
    CUT = auto()
    STALL = auto()
    PAUSE = auto()


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of the tape: its place, its time and the stream that it belongs to."""

    index: int
    at: int
    stream: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """One act at one time; `frame.stream` is whose connections it concerns, "" all of them."""

    act: Act
    frame: Frame
    #: Close code of a CUT, seconds of a PAUSE.
    value: float = 0.0


def script(frames: Sequence[Frame], depth: Collection[str], faults: Faults) -> list[Step]:
    """Lay the faults over a tape's frames; `depth` names the streams that carry book diffs."""
    random = Random(faults.seed)  # noqa: S311  (a seeded fault is the point)
    steps: list[Step] = []
    held: dict[str, Step] = {}
    cuts = sorted((frames[0].at + round(s * SECOND), code) for s, code in faults.cut_after.items()) if frames else []
    position = -1
    for frame in frames:
        while cuts and cuts[0][0] <= frame.at:
            at, code = cuts.pop(0)
            steps.append(Step(Act.CUT, Frame(frame.index, at, "", b""), code))
        if frame.stream in faults.mute:
            continue
        if frame.stream not in depth:
            steps.append(Step(Act.SEND, frame))
            continue
        position += 1
        steps.extend(_before(frame, position, faults))
        # Three draws a frame whatever happens, so that one fault's share moves no other fault.
        drop, duplicate, swap = random.random(), random.random(), random.random()
        send = Step(Act.SEND, frame)
        if drop < faults.drop or position in faults.drop_at:
            steps.append(Step(Act.LOSE, frame))
            continue
        if frame.stream not in held and (swap < faults.swap or position in faults.swap_at):
            held[frame.stream] = send
            continue
        steps.append(send)
        if duplicate < faults.duplicate or position in faults.duplicate_at:
            steps.append(send)
        if frame.stream in held:
            late = held.pop(frame.stream).frame
            steps.append(Step(Act.SEND, Frame(frame.index, frame.at, late.stream, late.raw)))
    return steps + list(held.values())


def _before(frame: Frame, position: int, faults: Faults) -> list[Step]:
    steps = []
    if position in faults.cut_at:
        steps.append(Step(Act.CUT, frame, faults.cut_at[position]))
    if position in faults.stall_at:
        steps.append(Step(Act.STALL, frame))
    if position in faults.pause_at:
        steps.append(Step(Act.PAUSE, frame, faults.pause_at[position]))
    return steps
