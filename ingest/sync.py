"""One instrument's book sequence: ids of diffs and snapshots in, what to do with each out. One machine for all venues.

A message covers the ids (previous, last]; its sizes are absolute, so it may be applied whenever nothing is missing
before it, even where it repeats what is known. A venue states `previous` ("previous") or numbers its ids without
holes, so that previous is first - 1 ("consecutive"). Where ids are names rather than numbers ("linked"), `previous`
must be the very id of the message before, and what follows it may be lower: a venue that restarts its ids goes on so.
Books without ids ("none") take every diff; something else must prove them.

Where the socket itself sends the snapshot nothing needs to be bridged: it opens the book at once, whenever it comes
(`open`), and diffs before it are EARLY. Where REST has it, the rule is, as the venues publish it (each venue's file has
its own wording of these steps):
  1. Hold the diffs as they come.                                       `diff` in BUFFERING: HELD
  2. Get a snapshot once the first is held.                             the caller, when `waiting`
  3. If it is older than the first held diff, get another.              `snapshot`: REFETCH
  4. Drop held diffs that it knows (last <= its id); the first that
     is left must cover its id: previous <= id < last.
  5. The book is the snapshot, its id the book's.                       `snapshot`: BRIDGED
  6. Each diff after that: last <= the book's id: known, ignore it.     `diff` in SYNCED: OLD
     previous > the book's id: some are missing, start over.            Gap
     Otherwise apply it; the book's id is its last.                     APPLY

A snapshot newer than every held diff is kept, and the next diff decides: until then nothing proves that the chain goes
on from it. Diffs are held within a bound; beyond it all are dropped and a new epoch begins. Every entry to BUFFERING is
a new epoch; a snapshot asked for in an older one is discarded. A venue that restarts its ids would make every further
diff look old, and the book would stand still in silence: after PATIENCE old ones in a row that is a gap, too.
"""

from collections import deque
from enum import IntEnum
from typing import Final, Generic, TypeVar

from engine.errors import Gap

Item = TypeVar("Item")

#: Diffs held at most while a snapshot is awaited.
BOUND: Final = 4096
#: Old diffs in a row that a restarted sequence is inferred from.
PATIENCE: Final = 200


class State(IntEnum):
    """What is known of the book."""

    #: Nothing, and nothing was asked for.
    INIT = 0
    #: Diffs are held until a snapshot bridges to them.
    BUFFERING = 1
    #: The book is whole up to `last`.
    SYNCED = 2


class Verdict(IntEnum):
    """What became of a diff or a snapshot."""

    #: It follows the book: apply it.
    APPLY = 0
    #: Everything in it is known.
    OLD = 1
    #: It waits: a diff for a snapshot, a snapshot for the next diff.
    HELD = 2
    #: The book is whole: `take` gives the snapshot and the diffs that follow it.
    BRIDGED = 3
    #: The snapshot is older than the first held diff: another is needed.
    REFETCH = 4
    #: Too many diffs were held: all are dropped, a new epoch has begun with this one.
    OVERFLOW = 5
    #: The snapshot was asked for in another epoch, or nothing awaits one.
    DISCARDED = 6
    #: The diff came before the socket's snapshot: drop it.
    EARLY = 7


# Enum members are looked up once: the hot path compares plain module constants.
_SYNCED: Final = State.SYNCED
_APPLY: Final = Verdict.APPLY

#: How ids follow one another -> consecutive, linked, numbered at all.
_SEQUENCES: Final = {
    "previous": (False, False, True),
    "consecutive": (True, False, True),
    "linked": (False, True, True),
    "none": (False, False, False),
}


class BookSync(Generic[Item]):
    """The state machine; `Item` is whatever the caller wants back, a diff's or a snapshot's rows."""

    def __init__(self, instrument: str, sequence: str, bound: int = BOUND, *, bridged: bool = True) -> None:
        """Begin in INIT; not `bridged` where the socket sends the snapshots."""
        self.instrument = instrument
        self.state = State.INIT
        self.epoch = 0
        #: Id up to which the book (or, in BUFFERING, the chain of held diffs) is known; -1: nothing is.
        self.last = -1
        self._consecutive, self._linked, self._numbered = _SEQUENCES[sequence]
        self._bound, self._bridged_by_rest = bound, bridged
        #: previous, last, item of each held diff.
        self._held: deque[tuple[int, int, Item]] = deque()
        self._snapshot: tuple[int, Item] | None = None
        self._bridged: list[Item] = []
        self._old = 0
        #: Newest id of the diffs that came before the socket's snapshot.
        self._early = -1
        #: Ids that were names, the newest of them.
        self._seen: deque[int] = deque(maxlen=PATIENCE)

    def begin(self, epoch: int | None = None) -> None:
        """Enter BUFFERING: forget everything, start the next epoch (or the one that a tape's later part is in)."""
        self.epoch = self.epoch + 1 if epoch is None else epoch
        self.state = State.BUFFERING
        self.last = -1
        self._held.clear()
        self._snapshot = None
        self._old = 0
        self._early = -1

    def diff(self, first: int, last: int, previous: int, item: Item) -> Verdict:
        """Judge a diff. Raises Gap where ids are missing before it, changing nothing: `begin`, then offer it again."""
        if self._consecutive:
            previous = first - 1
        known = self.last
        if self.state is not _SYNCED and not self._bridged_by_rest:
            self._early = max(self._early, last)
            return Verdict.EARLY
        if self._linked:
            return self._link(previous, last)
        if not self._numbered:
            self.last = last
            return _APPLY
        if last <= known:
            self._old += 1
            if self._old > PATIENCE:
                raise Gap(self.instrument, known + 1, first)
            return Verdict.OLD
        if previous > known >= 0:
            raise Gap(self.instrument, known, previous)
        self._old = 0
        if self.state is _SYNCED:
            self.last = last
            return _APPLY
        return self._hold(previous, last, item)

    def snapshot(self, epoch: int, last: int, item: Item) -> Verdict:
        """Judge a snapshot that was asked for in an epoch."""
        if self.state is not State.BUFFERING or epoch != self.epoch:
            return Verdict.DISCARDED
        self._snapshot = (last, item)
        return self._bridge()

    def open(self, last: int, item: Item) -> bool:
        """Take the socket's own snapshot: the book is whole up to its id. False: what follows it was dropped."""
        if self.state is not State.BUFFERING:
            raise RuntimeError(f"{self.instrument}: a snapshot before begin()")
        early, self._early = self._early, -1
        if self._numbered and not self._linked and early > last:
            return False
        self._held.clear()
        self.state = State.SYNCED
        self.last = last
        self._old = 0
        self._seen.clear()
        self._bridged = [item]
        return True

    def take(self) -> list[Item]:
        """Return the snapshot and the diffs that follow it, once, after BRIDGED or `open`."""
        bridged, self._bridged = self._bridged, []
        return bridged

    @property
    def plain(self) -> tuple[bool, bool]:
        """Whether a diff of a whole book is judged by its ids alone, and whether they have no holes."""
        return self._numbered and not self._linked, self._consecutive

    def move(self, last: int) -> None:
        """Take it that diffs up to this id were applied, each of which followed."""
        self.last, self._old = last, 0

    @property
    def waiting(self) -> bool:
        """Whether diffs are held and no snapshot is."""
        return bool(self._held) and self._snapshot is None

    def _link(self, previous: int, last: int) -> Verdict:
        """Judge a diff whose id is a name: it follows the last one, or was seen before, or something is missing."""
        known = self.last
        if previous == known:
            self.last = last
            self._seen.append(last)
            return _APPLY
        if last == known or last in self._seen:
            return Verdict.OLD
        raise Gap(self.instrument, known, previous)

    def _hold(self, previous: int, last: int, item: Item) -> Verdict:
        if self.state is State.INIT:
            raise RuntimeError(f"{self.instrument}: a diff before begin()")
        if len(self._held) == self._bound:
            self.begin()
            self._held.append((previous, last, item))
            self.last = last
            return Verdict.OVERFLOW
        self._held.append((previous, last, item))
        self.last = last
        return Verdict.HELD if self._snapshot is None else self._bridge()

    def _bridge(self) -> Verdict:
        """Join the snapshot and the held diffs, if they meet."""
        assert self._snapshot is not None
        whole, item = self._snapshot
        while self._held and self._held[0][1] <= whole:
            self._held.popleft()
        if not self._held:
            return Verdict.HELD
        if self._held[0][0] > whole:
            self._snapshot = None
            return Verdict.REFETCH
        self._bridged = [item, *(held for _, _, held in self._held)]
        self._held.clear()
        self._snapshot = None
        self.state = State.SYNCED
        return Verdict.BRIDGED
