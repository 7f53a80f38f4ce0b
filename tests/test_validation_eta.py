"""The makers' share as the engine itself publishes it, in a few worlds."""

import pytest

from engine.kernel import COMPILED
from tests.validation import Size
from tests.validation.eta import measure


@pytest.mark.slow
@pytest.mark.skipif(not COMPILED, reason="needs an hour of market time")
def test_the_published_ratio_follows_the_makers_and_the_state_machine_sees_them_go() -> None:
    rows = measure(Size.SMALL)
    assert len(rows) == 5
    assert [row.what for row in rows if not row.met] == []
