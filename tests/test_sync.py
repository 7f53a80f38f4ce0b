"""The book-sync machine: the venues' numbered steps, one test a step."""

import random

import pytest

from engine.errors import Gap
from ingest.sync import PATIENCE, BookSync, State, Verdict


def machine(sequence: str, bound: int = 100) -> BookSync[str]:
    sync: BookSync[str] = BookSync("binance:X", sequence, bound)
    sync.begin()
    return sync


def feed(sync: BookSync[str], *spans: tuple[int, int]) -> list[Verdict]:
    """Offer diffs that each cover (previous, last]."""
    return [sync.diff(previous + 1, last, previous, f"{previous}-{last}") for previous, last in spans]


@pytest.mark.parametrize("sequence", ["previous", "consecutive"])
def test_held_diffs_follow_the_snapshot_that_lies_inside_the_first(sequence: str) -> None:
    sync = machine(sequence)
    assert feed(sync, (10, 20), (20, 30), (30, 40)) == [Verdict.HELD] * 3
    assert sync.waiting
    assert sync.snapshot(1, 25, "book") is Verdict.BRIDGED
    assert sync.take() == ["book", "20-30", "30-40"]
    assert (sync.state, sync.last, sync.epoch) == (State.SYNCED, 40, 1)
    assert feed(sync, (40, 41)) == [Verdict.APPLY]
    assert sync.take() == []


@pytest.mark.parametrize("last", [20, 29])
def test_diffs_that_the_snapshot_knows_are_dropped(last: int) -> None:
    sync = machine("previous")
    feed(sync, (10, 20), (20, 30))
    assert sync.snapshot(1, last, "book") is Verdict.BRIDGED
    assert sync.take() == ["book", "20-30"]


def test_a_snapshot_older_than_the_first_held_diff_is_asked_for_again() -> None:
    sync = machine("previous")
    feed(sync, (10, 20), (20, 30))
    assert sync.snapshot(1, 9, "old") is Verdict.REFETCH
    assert sync.waiting
    assert sync.snapshot(1, 10, "book") is Verdict.BRIDGED
    assert sync.take() == ["book", "10-20", "20-30"]


def test_a_snapshot_newer_than_everything_held_waits_for_the_next_diff() -> None:
    sync = machine("consecutive")
    feed(sync, (10, 20))
    assert sync.snapshot(1, 25, "book") is Verdict.HELD
    assert not sync.waiting
    assert feed(sync, (20, 25), (25, 30)) == [Verdict.HELD, Verdict.BRIDGED]
    assert sync.take() == ["book", "25-30"]


def test_a_snapshot_that_comes_before_any_diff_waits_too() -> None:
    sync = machine("previous")
    assert sync.snapshot(1, 25, "book") is Verdict.HELD
    assert feed(sync, (20, 30)) == [Verdict.BRIDGED]
    assert sync.take() == ["book", "20-30"]


def test_a_waiting_snapshot_that_the_next_diff_leaves_behind_is_asked_for_again() -> None:
    sync = machine("previous")
    assert sync.snapshot(1, 25, "book") is Verdict.HELD
    assert feed(sync, (30, 40)) == [Verdict.REFETCH]
    assert sync.waiting


def test_a_snapshot_of_another_epoch_is_discarded() -> None:
    sync = machine("previous")
    feed(sync, (10, 20))
    sync.begin()
    feed(sync, (10, 20))
    assert sync.snapshot(1, 15, "late") is Verdict.DISCARDED
    assert sync.snapshot(3, 15, "early") is Verdict.DISCARDED
    assert sync.snapshot(2, 15, "book") is Verdict.BRIDGED
    assert sync.snapshot(2, 15, "again") is Verdict.DISCARDED


def synced(sequence: str) -> BookSync[str]:
    sync = machine(sequence)
    feed(sync, (10, 20))
    sync.snapshot(1, 15, "book")
    sync.take()
    return sync


@pytest.mark.parametrize("sequence", ["previous", "consecutive"])
def test_a_hole_is_a_gap_and_changes_nothing(sequence: str) -> None:
    sync = synced(sequence)
    with pytest.raises(Gap) as gap:
        feed(sync, (25, 30))
    assert gap.value.expected == 20
    assert (sync.state, sync.last) == (State.SYNCED, 20)
    sync.begin()
    assert feed(sync, (25, 30)) == [Verdict.HELD]
    assert sync.epoch == 2


def test_a_hole_among_held_diffs_is_a_gap_too() -> None:
    sync = machine("previous")
    feed(sync, (10, 20))
    with pytest.raises(Gap):
        feed(sync, (21, 30))


@pytest.mark.parametrize("sequence", ["previous", "consecutive"])
def test_overlaps_are_applied_and_repetitions_ignored(sequence: str) -> None:
    sync = synced(sequence)
    assert feed(sync, (10, 20), (5, 12), (15, 25), (20, 26), (20, 26)) == [
        Verdict.OLD,
        Verdict.OLD,
        Verdict.APPLY,
        Verdict.APPLY,
        Verdict.OLD,
    ]
    assert sync.last == 26


def test_futures_ids_may_jump_between_messages_that_are_chained() -> None:
    sync = machine("previous")
    assert sync.diff(17, 20, 10, "a") is Verdict.HELD
    assert sync.snapshot(1, 12, "book") is Verdict.BRIDGED
    assert sync.diff(28, 30, 20, "b") is Verdict.APPLY


def test_beyond_the_bound_everything_is_dropped_and_an_epoch_begins() -> None:
    sync = machine("previous", bound=3)
    assert feed(sync, *((i, i + 1) for i in range(4))) == [Verdict.HELD] * 3 + [Verdict.OVERFLOW]
    assert (sync.epoch, sync.state, sync.waiting) == (2, State.BUFFERING, True)
    assert sync.snapshot(1, 3, "late") is Verdict.DISCARDED
    assert sync.snapshot(2, 3, "book") is Verdict.BRIDGED
    assert sync.take() == ["book", "3-4"]


def test_a_venue_that_numbers_anew_is_not_taken_for_old_for_ever() -> None:
    sync = synced("previous")
    assert set(feed(sync, *((i % 15, i % 15 + 1) for i in range(PATIENCE)))) == {Verdict.OLD}
    with pytest.raises(Gap):
        feed(sync, (3, 4))


def test_an_unknown_sequence_is_refused() -> None:
    with pytest.raises(KeyError):
        BookSync("x", "hopeful")


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_lost_what_is_applied_is_a_chain_without_a_hole(seed: int) -> None:
    """Ids are a walk; a book that applies all of (snapshot, last] in order has missed nothing."""
    rng = random.Random(seed)
    sync = machine("previous", bound=20)
    at, known, pending = 0, -1, False
    for _ in range(400):
        previous, at = at, at + rng.randint(1, 9)
        if rng.random() < 0.1:
            continue
        try:
            verdict = sync.diff(previous + 1, at, previous, f"{previous}-{at}")
        except Gap:
            assert known < previous or sync.state is State.BUFFERING
            sync.begin()
            verdict = sync.diff(previous + 1, at, previous, f"{previous}-{at}")
        if verdict is Verdict.APPLY:
            assert previous == known
            known = at
        if sync.waiting and rng.random() < 0.3:
            whole = at + rng.randint(-20, 20)
            verdict = sync.snapshot(sync.epoch - (rng.random() < 0.2), whole, str(whole))
        if verdict is Verdict.BRIDGED:
            taken = sync.take()
            known = int(taken[0])
            for first, last in (item.split("-") for item in taken[1:]):
                assert int(first) <= known < int(last)
                known = int(last)
            pending = True
    assert pending


def opened(sequence: str, last: int) -> BookSync[str]:
    """A book that the socket's own snapshot has opened."""
    sync: BookSync[str] = BookSync("v:S", sequence, bridged=False)
    sync.begin()
    assert sync.diff(1, 1, 0, "early") is Verdict.EARLY
    # It is as old as what came too early, at least; books without ids have none.
    assert sync.open(max(last, 1) if sequence == "consecutive" else last, "")
    return sync


def test_linked_ids_must_name_the_one_before_and_may_fall() -> None:
    sync = opened("linked", 100)
    assert sync.diff(0, 170, 100, "") is Verdict.APPLY
    # Nothing has changed: an id that follows itself.
    assert sync.diff(0, 170, 170, "") is Verdict.APPLY
    # The venue restarts its ids, and says so.
    assert sync.diff(0, 5, 170, "") is Verdict.APPLY
    assert sync.diff(0, 9, 5, "") is Verdict.APPLY
    with pytest.raises(Gap, match="expected 9, met 12"):
        sync.diff(0, 15, 12, "")


def test_a_linked_message_that_comes_again_changes_nothing() -> None:
    sync = opened("linked", 100)
    assert sync.diff(0, 170, 100, "") is Verdict.APPLY
    assert sync.diff(0, 170, 100, "") is Verdict.OLD
    assert sync.diff(0, 180, 170, "") is Verdict.APPLY


def test_a_linked_message_whose_forerunner_is_missing_is_a_gap_even_where_ids_lie_below() -> None:
    sync = opened("linked", 100)
    with pytest.raises(Gap):
        sync.diff(0, 120, 50, "")
    # The message that restarted the ids was lost: what builds on it is no old one.
    with pytest.raises(Gap):
        sync.diff(0, 9, 5, "")


def test_books_without_ids_take_every_diff_once_they_are_open() -> None:
    sync = opened("none", 0)
    assert [sync.diff(0, 0, -1, "") for _ in range(3)] == [Verdict.APPLY] * 3


def test_consecutive_ids_of_a_socket_have_no_hole() -> None:
    sync = opened("consecutive", 7)
    assert sync.diff(8, 8, -1, "") is Verdict.APPLY
    assert sync.diff(8, 8, -1, "") is Verdict.OLD
    with pytest.raises(Gap):
        sync.diff(10, 10, -1, "")


def test_a_snapshot_of_the_socket_needs_an_epoch_to_open() -> None:
    sync = opened("consecutive", 7)
    with pytest.raises(RuntimeError, match="before begin"):
        sync.open(9, "")
    sync.begin()
    assert sync.open(9, "")
    assert (sync.state, sync.last, sync.epoch) == (State.SYNCED, 9, 2)


def test_a_snapshot_that_comes_after_what_follows_it_opens_nothing() -> None:
    sync = opened("consecutive", 7)
    sync.begin()
    assert sync.diff(9, 9, -1, "") is Verdict.EARLY
    assert not sync.open(8, "")
    assert sync.state is State.BUFFERING
    assert sync.open(8, "")
