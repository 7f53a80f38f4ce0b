"""The same seed gives the same bytes of tape and truth in fresh processes, whichever scenario it is."""

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from engine.kernel import COMPILED
from ingest.simulator.scenarios import SCENARIOS

ROOT = Path(__file__).parents[1]
#: Prints what a seed's tape and truth of each scenario come to.
DIGESTS = """
import hashlib, json, sys
from dataclasses import replace
from ingest.simulator.broadcast import play, truth_line
from ingest.simulator.scenarios import SCENARIOS, scenario

seed, seconds = map(int, sys.argv[1:])
digests = {}
for name in SCENARIOS:
    digest = hashlib.sha256()
    for lines, truths in play(replace(scenario(name), seconds=seconds), seed):
        digest.update(b"".join(b"%d %b" % line for line in lines) + b"".join(map(truth_line, truths)))
    digests[name] = digest.hexdigest()
print(json.dumps(digests))
"""
#: Long enough for the news, the outage, the squeeze, the spoofer and the gold to come.
SAME = 160 if COMPILED else 1


@pytest.fixture(scope="module")
def digests() -> list[dict[str, str]]:
    """Give the digests of three fresh processes, by scenario; the last one has another seed."""
    return [
        orjson.loads(
            subprocess.run(
                [sys.executable, "-c", DIGESTS, str(seed), str(SAME)],
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": str(place)},
                capture_output=True,
                check=True,
            ).stdout
        )
        for place, seed in enumerate((3, 3, 4))
    ]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_seed_gives_the_same_bytes_in_another_process(name: str, digests: list[dict[str, str]]) -> None:
    first, again, other = (each[name] for each in digests)
    assert first == again != other
