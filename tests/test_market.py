"""The simulated market's flow: against published numbers, and the numbers it draws."""

import math

import pytest

from engine.kernel import COMPILED
from ingest.simulator.checks import up_share
from ingest.simulator.draws import draw

RACES = 4_000 if COMPILED else 60

#: P(the mid moves up next) from 1..5 orders bid (rows) and 1..5 asked, exact to three digits.
TABLE = (
    (0.500, 0.335, 0.259, 0.216, 0.188),
    (0.665, 0.500, 0.407, 0.348, 0.307),
    (0.741, 0.593, 0.500, 0.437, 0.391),
    (0.784, 0.652, 0.563, 0.500, 0.452),
    (0.812, 0.693, 0.609, 0.548, 0.500),
)
#: Counter, stream and key words, and what the generator's authors publish for them.
KNOWN = (
    (0, 0, 0, (0xFF1DAE59, 0x6CD10DF2)),
    (0xFFFFFFFFFFFFFF, 0xFF, 0xFFFFFFFF, (0x2C3F628B, 0xAB4FD7AD)),
    (0x85A308_243F6A88, 0xD3, 0x13198A2E, (0xDD7CE038, 0xF62A4C12)),
)


@pytest.mark.parametrize(("counter", "stream", "seed", "wanted"), KNOWN)
def test_draws_are_those_of_the_published_generator(
    counter: int, stream: int, seed: int, wanted: tuple[int, int]
) -> None:
    assert draw(seed, stream, counter) == wanted


@pytest.mark.parametrize("bids", range(1, 6))
@pytest.mark.parametrize("asks", range(1, 6))
def test_the_mid_moves_up_as_often_as_in_the_published_table(bids: int, asks: int) -> None:
    wanted = TABLE[bids - 1][asks - 1]
    error = math.sqrt(wanted * (1.0 - wanted) / RACES)
    # Half a digit is the table's own rounding.
    assert abs(up_share(bids, asks, RACES, 1_000 * bids + asks) - wanted) < 3.0 * error + 0.0005
