"""Worlds of a measurement spread over processes, and modules side by side."""

import subprocess
import sys

import pytest

from engine.kernel import COMPILED
from tests.validation import Size
from tests.validation.__main__ import main
from tests.validation._workers import Workers, measure


@pytest.mark.parametrize("jobs", [1, 2])
def test_answers_come_in_the_order_of_the_tasks(jobs: int) -> None:
    with Workers(jobs) as workers:
        assert workers.each(divmod, [(number, 7) for number in range(20)]) == [
            divmod(number, 7) for number in range(20)
        ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_goes_wrong_in_a_task_is_said(jobs: int) -> None:
    with Workers(jobs) as workers, pytest.raises(ZeroDivisionError):
        workers.each(divmod, [(1, 1), (1, 0), (2, 1)])


@pytest.mark.slow
@pytest.mark.skipif(not COMPILED, reason="needs minutes of market time")
def test_a_module_measures_the_same_alone_and_beside_another() -> None:
    alone = measure("transmission", Size.SMALL)[1]
    command = [sys.executable, "-m", "tests.validation", "transmission", "transmission", "--small", "--jobs", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == int(any(not row.met for row in alone)), ended.stderr
    assert ended.stdout.count("transmission, ") == 2
    assert all(ended.stdout.count(f" {row.measured} ") >= 2 for row in alone)


def test_no_process_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--jobs", "0"])
    assert "--jobs is 0, allowed are whole numbers from 1" in capsys.readouterr().err
