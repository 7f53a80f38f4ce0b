"""Several simulated markets as one: whole tapes on every venue, a peg that trips accounts, ties that hold and break."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import BadConfig
from engine.kernel import COMPILED
from engine.schema import Kind
from ingest.session import open_session
from ingest.simulator.broadcast import Broadcast
from ingest.simulator.economy import Economy, settle, without
from ingest.simulator.frames import START, words_of
from ingest.simulator.members import GOLD, PEG, SPOT, Channel, Member, Pledge
from ingest.simulator.scenarios import INSTRUMENT, Scenario, scenario, weekend
from ingest.simulator.world import GRID, SECOND
from ingest.venues import load
from tests.rebuilt import Book, apply

ROOT = Path(__file__).parents[1]
needs_minutes = pytest.mark.skipif(not COMPILED, reason="needs minutes of market time")


def small(wanted: Scenario) -> Scenario:
    """The scenario, with fewer accounts where kernels are plain Python."""
    return wanted if COMPILED else replace(wanted, population=replace(wanted.population, count=100))


def test_the_same_seed_gives_the_same_bytes_on_every_venue_in_another_process() -> None:
    script = (
        "import hashlib; from dataclasses import replace\n"
        "from ingest.simulator.broadcast import play_all, truth_line\n"
        "from ingest.simulator.scenarios import scenario\n"
        "digests = {{}}\n"
        "for lines, truths in play_all(replace(scenario('october-10-peg'), seconds={}), {}):\n"
        "    parts = {{venue: b''.join(b'%d %b' % line for line in each) for venue, each in lines.items()}}\n"
        "    for name, part in (parts | {{'truth': b''.join(map(truth_line, truths))}}).items():\n"
        "        digests.setdefault(name, hashlib.sha256()).update(part)\n"
        "print([(name, digest.hexdigest()) for name, digest in digests.items()])"
    )
    seconds = 170 if COMPILED else 1
    said = [
        subprocess.run(
            [sys.executable, "-c", script.format(seconds, seed)], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for seed in (3, 3, 4)
    ]
    assert said[0] == said[1] != said[2]
    assert said[0].count("binance_") == 2


@pytest.mark.parametrize("name", ["february-weekend", "october-10-peg"])
def test_every_venue_s_tape_has_no_hole_and_its_books_are_right_every_second(name: str) -> None:
    wanted = scenario(name)
    broadcast = Broadcast(small(wanted if COMPILED else replace(wanted, seconds=2)), 3)
    sessions: dict[str, Any] = {}
    books: dict[str, Book] = {each.key: {1: {}, -1: {}} for each in broadcast.instruments}
    kinds: set[tuple[str, int]] = set()
    last = dict.fromkeys(broadcast.tapes, 0)
    for _ in range(broadcast.scenario.seconds):
        parts, _ = broadcast.seconds()
        for venue, lines in parts.items():
            session = sessions.get(venue) or sessions.setdefault(venue, open_session(lines[:1], None))
            for received, raw in lines:
                assert received > last[venue]
                last[venue] = received
                for batch in session.receive(received, raw):
                    kinds |= {(batch.instrument, kind) for kind in batch.messages["kind"].tolist()}
                    apply(books[batch.instrument], batch)
        for teller in broadcast.tellers:
            each = teller.instrument
            told = {
                side: {price * each.tick: size * each.lot for price, size in teller.book[side].items()}
                for side in (1, -1)
            }
            assert books[each.key] == told
    for session in sessions.values():
        assert all(session.synced.values())
        assert session.counts["gaps"] == 0
        assert not [each for each in session.counts if each.startswith("refused")]
    for instrument in broadcast.instruments:
        for kind in (Kind.SNAPSHOT, Kind.DELTA, Kind.TOUCH) + ((Kind.TRADE,) if COMPILED else ()):
            assert (instrument.key, kind) in kinds


def test_what_frames_told_is_the_simulator_s_own_book_at_every_venue() -> None:
    broadcast = Broadcast(small(replace(scenario("october-10-peg"), seconds=2)), 6)
    # Without a flow between the frames, what the last one told is what there is.
    for world in broadcast.economy.worlds:
        world.parameters["chosen"] *= 1e-12
        world.parameters["market_bound"] = 1e-12
    for _ in range(2):
        broadcast.seconds()
        for teller, world in zip(broadcast.tellers, broadcast.economy.worlds, strict=True):
            row = world.state[0]
            for side, prices in ((1, np.arange(1, row["bid"] + 1)), (-1, np.arange(row["ask"], len(row["size"])))):
                own = {int(price): int(row["size"][price]) for price in prices if row["size"][price]}
                assert teller.book[side] == own
                assert len(own) > 50


@needs_minutes
def test_the_fall_of_the_peg_liquidates_accounts_that_keep_their_margin_without_it() -> None:
    origin = settle(scenario("october-10-peg"), 3)
    until = START + 250 * SECOND
    with_it, at_par = without(origin, until), without(origin, until, peg=True)
    assert with_it.peg_price() < 0.9
    pledged = with_it.pledged
    alive = [economy.worlds[0].accounts["size"][pledged] for economy in (with_it, at_par)]
    # Those whom the mark alone would have left in peace.
    tripped = pledged[(alive[0] == 0) & (alive[1] == origin.worlds[0].accounts["size"][pledged])]
    assert len(tripped) > 20
    marks = int(with_it.worlds[0].state[0]["mark"])
    at_par_triggers = origin.worlds[0].accounts["trigger"][tripped]
    assert (at_par_triggers[origin.worlds[0].accounts["side"][tripped] > 0] < marks).any()
    # What they sell falls on the coin, and what they had pledged falls on the peg.
    assert with_it.worlds[0].state[0]["low"] < at_par.worlds[0].state[0]["low"]
    assert with_it.peg_price() < at_par.worlds[2].state[0]["mid"] / at_par.parity
    # No account has paid twice.
    assert with_it.worlds[0].accounts["size"].min() >= 0


def test_a_trigger_moves_as_far_as_the_collateral_falls_short() -> None:
    economy = settle(small(scenario("october-10-peg")), 5)
    economy.run(START)
    accounts = economy.worlds[0].accounts
    economy.worlds[2].state[0]["mid"] = 0.8 * economy.parity
    moved = economy.accounts()
    others = np.setdiff1d(np.arange(len(accounts)), economy.pledged)
    assert (moved["trigger"][others] == accounts["trigger"][others]).all()
    for at in economy.pledged[:20].tolist():
        account = accounts[at]
        side, entry, size = int(account["side"]), int(account["entry"]), int(account["size"])
        margin = side * (entry - int(account["floor"])) * size
        rate = side * (1.0 - int(account["floor"]) / int(account["trigger"]))
        # Equity at the moved trigger, the collateral at 0.8, is the maintenance margin there.
        trigger = int(moved["trigger"][at])
        equity = 0.8 * margin + side * size * (trigger - entry)
        assert equity == pytest.approx(rate * size * trigger, abs=1.5 * size)


@needs_minutes
def test_two_venues_stay_together_until_arbitrage_stops() -> None:
    def gaps(economy: Economy) -> "np.ndarray[Any, np.dtype[np.float64]]":
        found = []
        for second in range(1, 61):
            economy.run(START + second * SECOND - 1)
            first, other = (float(world.state[0]["mid"]) for world in economy.worlds[:2])
            found.append(abs(first - other) / first)
        return np.array(found)

    tied = settle(replace(scenario("october-10-peg"), seconds=60), 8)
    loose = tied.clone()
    loose.bound = {}
    # News that one venue alone believes.
    jumps = tied.jumps.copy()
    jumps[0, 300] = -0.01
    tied.jumps = loose.jumps = jumps
    held, parted = gaps(tied), gaps(loose)
    assert held[:29].max() < 0.0003
    assert held[-10:].max() < 0.001
    assert parted[-10:].min() > 0.005


def test_news_reaches_another_by_its_share_and_later() -> None:
    wanted = replace(small(weekend([(1.0, -0.02), (1.5, 0.01)], share=0.5, delay=0.7)), seconds=3)
    economy = settle(wanted, 1)
    assert np.flatnonzero(economy.jumps[1]).tolist() == [10, 15]
    assert {at: float(economy.jumps[0, at]) for at in np.flatnonzero(economy.jumps[0])} == {17: -0.01, 22: 0.005}
    # The second venue of the coin hears what the first hears.
    assert (economy.jumps[2] == economy.jumps[0]).all()
    assert (economy.walk[2] == economy.walk[0]).all()
    own = settle(replace(wanted, channels=()), 1)
    assert economy.walk[0, 7:] == pytest.approx(own.walk[0, 7:] + 0.5 * own.walk[1, :-7], abs=1e-15)
    economy.run(START + 17 * GRID - 1)
    before = [float(world.state[0]["fundamental"]) for world in economy.worlds]
    economy.run(START + 18 * GRID - 1)
    after = [float(world.state[0]["fundamental"]) for world in economy.worlds]
    assert after[0] / before[0] - 1.0 == pytest.approx(-0.01, abs=0.001)
    assert after[2] / before[2] - 1.0 == pytest.approx(-0.01, abs=0.001)


def test_a_delay_that_is_spread_stays_within_it_and_is_told() -> None:
    times = [1.0 + 0.1 * number for number in range(20)]
    wanted = small(replace(weekend([(time, 0.001) for time in times], delay=0.7, spread=0.5), seconds=5))
    broadcast = Broadcast(wanted, 4)
    told = [each for _ in range(5) for each in broadcast.seconds()[1] if each["kind"] == "news"]
    delays = [each["reaches"][0]["delay"] // GRID for each in told]
    assert len(delays) == 20
    assert min(delays) >= 2
    assert max(delays) <= 12
    assert len(set(delays)) > 5
    arrived = np.zeros(50)
    for each, delay in zip(told, delays, strict=True):
        arrived[(each["time"] - START) // GRID + delay] += 0.6 * 0.001
    assert broadcast.economy.jumps[0] == pytest.approx(arrived)


def test_a_copy_goes_on_alike_and_leaves_the_first_alone() -> None:
    first = settle(small(replace(scenario("october-10-peg"), seconds=3)), 2)
    first.run(START + SECOND - 1)
    kept = [world.state.tobytes() for world in first.worlds]
    copy = first.clone()
    # However it is cut into parts.
    for until in (START + SECOND + 17, START + SECOND + GRID // 2, START + 2 * SECOND - 1):
        copy.run(until)
    assert [world.state.tobytes() for world in first.worlds] == kept
    first.run(START + 2 * SECOND - 1)
    assert [world.state.tobytes() for world in first.worlds] == [world.state.tobytes() for world in copy.worlds]
    assert first.seized == copy.seized


def member(**changes: Any) -> Scenario:
    wanted = scenario("october-10-peg")
    return replace(wanted, members=(replace(wanted.members[0], **changes), wanted.members[1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: member(follows=7), r"member 1 is tied to 7, allowed are \[0, 1, 2\], -1: none"),
        (lambda: member(price=1), "member 1 begins at 1 ticks, allowed is 24200, its partner's"),
        (lambda: replace(member(), pledge=Pledge(member=0, share=0.1)), r"member 0 is pledged, allowed are \[1, 2\]"),
        (
            lambda: replace(member(), channels=(Channel(source=3, target=0, share=1.0, delay=0),)),
            "a channel names member 3, allowed are 0 to 2",
        ),
    ],
)
def test_a_tie_to_what_is_not_there_is_refused(make: Callable[[], Scenario], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        settle(small(make()), 1)


def test_ties_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"delay is 0\.25 s, allowed are tenths from 0"):
        Channel(source=0, target=1, share=1.0, delay=0.25)
    with pytest.raises(BadConfig, match="delay is -1 s"):
        Channel(source=0, target=1, share=1.0, delay=-1)
    with pytest.raises(BadConfig, match="news of member 1 is to reach itself"):
        Channel(source=1, target=1, share=1.0, delay=0)
    with pytest.raises(BadConfig, match="spread of a delay of 1 s is 2, allowed are 0 to 1"):
        Channel(source=0, target=1, share=1.0, delay=1, spread=2)
    with pytest.raises(BadConfig, match="share of pledging accounts is 2"):
        Pledge(member=1, share=2)
    elsewhere = replace(INSTRUMENT, venue="okx")
    with pytest.raises(BadConfig, match="venue is 'okx', allowed of a simulated market are binance_usdm, binance_spot"):
        words_of(load("okx"), elsewhere)


def test_members_speak_of_the_same_money_as_their_instruments() -> None:
    made: dict[str, Member] = {
        each.instrument.key: each for name in ("february-weekend", "october-10-peg") for each in scenario(name).members
    }
    assert set(made) == {GOLD.key, SPOT.key, PEG.key}
    for each in made.values():
        instrument = each.instrument
        tick, lot = instrument.tick / 10**instrument.price_decimals, instrument.lot / 10**instrument.size_decimals
        assert each.money == pytest.approx(tick * lot)
