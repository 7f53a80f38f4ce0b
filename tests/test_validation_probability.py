"""Probabilities against known truth, in a few short worlds; bounds of this size are wider than those of the whole."""

from itertools import pairwise

import numpy as np
import pytest

from engine.kernel import COMPILED
from ingest.simulator.scenarios import scenario
from ingest.simulator.world import SECOND
from tests.vacuum_worlds import GENTLER, HARSHER, TRAINING, onsets, troubled
from tests.validation import Row, Size
from tests.validation.probability import AHEAD, STORY, measure, moments, rank_correlation


@pytest.mark.skipif(not COMPILED, reason="needs minutes of market time")
def test_few_worlds_give_a_probability_that_is_roughly_true_and_not_believed() -> None:
    rows: dict[str, Row] = {row.what: row for row in measure(Size.SMALL)}
    # Four short worlds hold fewer vacuums than a model needs to be believed: records say none. Nor can four vacuums say
    # whether it has skill: the whole size does.
    assert not next(row for what, row in rows.items() if what.endswith("label events")).met
    unmet = [what for what, row in rows.items() if not row.met and "Brier skill" not in what]
    assert [what.rpartition(": ")[2] for what in unmet] == ["label events"]
    assert [row.measured for what, row in rows.items() if "records" in what] == ["none, too few events"]


def test_held_out_worlds_have_other_parameters() -> None:
    for name in ("depth", "volatility", "nerve", "branching"):
        ranges = sorted(getattr(each, name) for each in (TRAINING, HARSHER, GENTLER))
        assert ranges[1] == getattr(TRAINING, name)
        assert all(one[1] < other[0] for one, other in pairwise(ranges))
    assert troubled((TRAINING,), 600, 1)[1] != troubled((HARSHER,), 600, 1)[1]


def test_no_stage_of_the_plan_begins_while_a_fall_is_watched_or_just_before() -> None:
    wanted = scenario(STORY)
    found = moments(wanted)
    begins = [int(time) // SECOND for time in wanted.plan["time"]]
    assert all(AHEAD <= moment <= wanted.seconds - AHEAD for moment in found)
    assert not [(moment, begin) for moment in found for begin in begins if -AHEAD < moment - begin < AHEAD]
    stages = {sum(begin <= moment for begin in begins) for moment in found}
    # The first loss of depth alone passes too soon.
    assert stages == set(range(1, len(begins) + 1)) - {2}


def test_vacuums_less_than_a_horizon_apart_are_one() -> None:
    labels = np.zeros(200, np.int64)
    assert onsets(labels) == 0
    labels[[10, 11, 40, 71, 150]] = 1
    assert onsets(labels) == 3


def test_ranks_of_what_rises_together_agree() -> None:
    values = np.array([3.0, 1.0, 2.0, 2.0])
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1.0)
    assert rank_correlation(values, -values) == pytest.approx(-1.0)
