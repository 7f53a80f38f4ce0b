"""Queues: the printed tables, other roads to the same probabilities, and what symmetry asks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kernel import COMPILED
from engine.statistics.queues import ROOM, chain_up, diffusion_up, lattice_up
from tests import naive_statistics as naive

#: Rates of Cont, Stoikov and Talreja at a spread of one tick.
RATES = (1.85, 0.94, 0.71)
#: T1 of the design, three digits.
PRINTED = [
    [0.500, 0.335, 0.259, 0.216, 0.188],
    [0.665, 0.500, 0.407, 0.348, 0.307],
    [0.741, 0.593, 0.500, 0.437, 0.391],
    [0.784, 0.652, 0.563, 0.500, 0.452],
    [0.812, 0.693, 0.609, 0.548, 0.500],
]


def test_the_chain_gives_the_printed_table() -> None:
    assert np.max(np.abs(chain_up(*RATES)[:5, :5] - PRINTED)) < 0.0005 + 1e-4


def test_the_chain_is_long_enough() -> None:
    assert np.max(np.abs(chain_up(*RATES)[:10, :10] - chain_up(*RATES, room=ROOM + 10)[:10, :10])) < 1e-12


@pytest.mark.parametrize("rates", [RATES, (0.5, 2.0, 0.1), (3.0, 0.2, 0.9)])
def test_the_chain_equals_the_race_of_two_lifetimes(rates: tuple[float, float, float]) -> None:
    found = chain_up(*rates)
    for bid, ask in ((1, 1), (1, 2), (2, 1), (5, 2), (3, 7)):
        assert found[bid - 1, ask - 1] == pytest.approx(naive.race(bid, ask, *rates), rel=1e-9)


def test_the_chain_mirrors_and_more_bids_raise() -> None:
    found = chain_up(*RATES)
    assert np.allclose(found + found.T, 1.0, rtol=0.0, atol=1e-12)
    assert np.all(np.diff(found, axis=0) > 0.0)
    assert np.all(np.diff(found, axis=1) < 0.0)


def test_queues_that_only_shrink_have_a_closed_form() -> None:
    # Without arrivals or cancellations each event takes from either side alike: the race of two negative binomials.
    found = chain_up(1e-12, 1.0, 1e-12, room=4)
    for bid, ask in np.ndindex(4, 4):
        lasts = sum(math.comb(ask + lost, lost) * 0.5 ** (ask + 1 + lost) for lost in range(bid + 1))
        assert found[bid, ask] == pytest.approx(lasts, rel=1e-9)


@pytest.mark.parametrize(("bid", "ask"), [(1, 1), (2, 1), (1, 2), (3, 1), (5, 2), (10, 3)])
def test_the_integral_equals_the_walk_on_the_lattice(bid: int, ask: int) -> None:
    assert lattice_up(bid, ask) == pytest.approx(naive.walk_up(bid, ask, 36), abs=2e-5)


@settings(max_examples=25, deadline=None)
@given(bid=st.integers(1, 20), ask=st.integers(1, 20))
def test_the_lattice_mirrors_and_solves_its_own_equation(bid: int, ask: int) -> None:
    def at(b: int, a: int) -> float:
        return 0.0 if b == 0 else 1.0 if a == 0 else lattice_up(b, a)

    assert at(bid, ask) + at(ask, bid) == pytest.approx(1.0, abs=1e-10)
    around = at(bid - 1, ask) + at(bid + 1, ask) + at(bid, ask - 1) + at(bid, ask + 1)
    assert at(bid, ask) == pytest.approx(around / 4.0, abs=1e-10)


def test_long_queues_are_a_diffusion() -> None:
    for bid, ask in ((30, 10), (100, 40), (20, 160)):
        assert lattice_up(bid, ask) == pytest.approx(diffusion_up(float(bid), float(ask), 0.0), abs=0.002)


@settings(max_examples=100 if COMPILED else 40, deadline=None)
@given(bid=st.floats(0.0, 1e6), ask=st.floats(0.0, 1e6), rho=st.floats(-0.999, 0.999), scale=st.floats(0.001, 1000.0))
def test_the_diffusion_is_a_probability_that_mirrors_and_scales(
    bid: float, ask: float, rho: float, scale: float
) -> None:
    found = diffusion_up(bid, ask, rho)
    assert -1e-12 <= found <= 1.0 + 1e-12
    assert found + diffusion_up(ask, bid, rho) == pytest.approx(1.0, abs=1e-12)
    if bid + ask > 1e-300:
        assert diffusion_up(scale * bid, scale * ask, rho) == pytest.approx(found, abs=1e-9)


def test_opposite_queues_are_as_likely_as_their_share() -> None:
    assert diffusion_up(3.0, 1.0, -1.0 + 1e-12) == pytest.approx(0.75, abs=1e-6)
    assert diffusion_up(3.0, 0.0, 0.5) == pytest.approx(1.0, abs=1e-12)
    assert diffusion_up(0.0, 0.0, 0.0) == 0.5
