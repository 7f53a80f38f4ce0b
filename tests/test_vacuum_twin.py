"""The vacuum machine equals its slow twin, whatever the market; its kernels compile once."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig, VacuumConfig
from engine.kernel import COMPILED
from engine.schema import Rows
from engine.trust import Reason
from engine.vacuum import CAUSES, MEMORY, STATES, advance, lose, memory_of, settings_of
from tests.naive_vacuum import Seen, Side
from tests.vacuum_rows import CALM, FILLING, GONE, MS, START, THIN, WORDS, brought, row

numbers = st.sampled_from((0.0, 0.1, 0.2, 0.3, 0.5, 0.55, 0.6, 0.7, 1.0, 1.5, 5.0, 6.0))
odd: st.SearchStrategy[Seen] = st.fixed_dictionaries(
    {
        "ratio": st.one_of(numbers, st.sampled_from(("one_sided", "no_baseline", "quanto"))),
        "refill": st.one_of(numbers, st.sampled_from((*WORDS, "too_early"))),
        "withdrawal": st.one_of(numbers, st.sampled_from(("one_sided", "no_depth"))),
        "spread": st.one_of(numbers, st.sampled_from(("one_sided", "too_early"))),
    }
)
sights = st.one_of(st.sampled_from((CALM, THIN, GONE, GONE, FILLING)), odd)
#: What both sides see, how often, and how many ms apart; or a reason to lose the book.
stretches = st.tuples(sights, sights, st.integers(1, 12), st.sampled_from((250, 250, 250, 1, 999, 1_000, 1_001)))
markets = st.lists(st.one_of(stretches, stretches, stretches, st.sampled_from(list(Reason)[1:])), max_size=25)
quick = VacuumConfig(thin_for=500, vacuum_for=250, recovering_for=750, normal_for=1_500)


@settings(max_examples=400 if COMPILED else 100, deadline=None)
@given(market=markets, rules=st.sampled_from((VacuumConfig(), quick, quick)))
def test_the_kernel_equals_its_twin(market: list[Any], rules: VacuumConfig) -> None:
    constants, memory, twins, now = (
        settings_of(EngineConfig(vacuum=rules)),
        memory_of(),
        (Side(rules), Side(rules)),
        START,
    )
    for step in market:
        if isinstance(step, Reason):
            now += 100 * MS
            changed = lose(memory, int(step), now)
            assert changed == sum(twin.lose(step.name.lower(), now) << side for side, twin in enumerate(twins))
            assert [twin.state for twin in twins] == ["unknown", "unknown"]
        for _ in range(0 if isinstance(step, Reason) else step[2]):
            now += step[3] * MS
            changed = advance(memory, constants, row(step[0], step[1]), now)
            seen = step[:2]
            assert changed == sum(twin.advance(seen[side], now) << side for side, twin in enumerate(twins))
            agree(memory, twins)
        agree(memory, twins)
        # What is remembered is its bytes.
        memory = np.frombuffer(memory.tobytes(), MEMORY).copy()


def agree(memory: Rows, twins: tuple[Side, Side]) -> None:
    own = memory[0]
    for side, twin in enumerate(twins):
        assert (STATES[own["state"][side]], STATES[own["before"][side]]) == (twin.state, twin.before)
        assert (CAUSES[own["cause"][side]], own["since"][side]) == (twin.cause, twin.since)
        assert own["transitions"][side] == twin.transitions
        assert twin.state != "vacuum" or twin.before in ("thin", "recovering")
        if twin.entry is not None:
            noted = row(twin.entry)[0]
            names = ("ratio", "refill", "withdrawal", "spread")
            assert own["entry"][side].tolist() == [noted[name][0] for name in names]
            assert own["entry_why"][side].tolist() == [noted[f"{name}_why"][0] for name in names]


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_the_kernels_compile_once() -> None:
    machine = brought("recovering")
    lose(machine.memory, int(Reason.GAP), machine.now)
    # Those that are called from Python; what they call may have come with them from the cache.
    kernels: tuple[Any, ...] = (advance, lose)
    assert [len(one.signatures) for one in kernels] == [1] * 2
