"""The engine guided by coverage: libFuzzer under atheris, with our mutations of JSON beside its own of bytes.

The venues' modules are instrumented as they are imported; kernels are compiled and stay as they are. The corpus that
it grows is kept in build/fuzz/<venue>/corpus, so that the next run begins where this one ended.
"""

import hashlib
import os
import sys
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import atheris


def guide(name: str, seconds: float, seed: int, folder: Path) -> None:
    """Fuzz one venue for so long; writes the report and ends the process."""
    # Kernels first: what they compile must not be instrumented.
    import ingest.flat
    import ingest.scan
    import ingest.scanner  # noqa: F401

    # The package itself stays: the kernels' callers know its classes.
    again = ("ingest.venues.", "ingest.decimals", "tests.fuzz.")
    for module in [each for each in sys.modules if each.startswith(again) and each != __name__]:
        del sys.modules[module]
    with atheris.instrument_imports(include=["ingest.venues", "ingest.decimals"], enable_loader_override=False):
        from tests.fuzz.corpus import corpus_of
        from tests.fuzz.findings import Findings
        from tests.fuzz.mutation import mutated, read
        from tests.fuzz.properties import Target

        target = Target(corpus_of(name))
    findings, seeds = Findings(target), target.corpus.seeds
    kept = folder / "corpus"
    kept.mkdir(parents=True, exist_ok=True)
    for frame in seeds:
        (kept / hashlib.sha256(frame).hexdigest()[:40]).write_bytes(frame)
    longest = 2 * max(map(len, seeds))
    end = monotonic() + seconds

    def test(data: bytes) -> None:
        findings.check(data)
        if monotonic() > end:
            findings.note = f", {len(list(kept.iterdir())) - len(seeds):,} kept for what they newly reach"
            findings.write(folder)
            sys.stdout.flush()
            os._exit(0)

    def mutate(data: bytes, most: int, chance: int) -> bytes:
        random = Random(chance)
        # Blind changes have mostly spoiled what libFuzzer keeps: from there on no structure can be changed.
        if read(data) is None and random.random() < 0.8:
            data = random.choice(seeds)
        made: Any = atheris.Mutate(data, most) if random.random() < 0.2 else mutated(data, seeds, random)
        return bytes(made[:most])

    options = [f"-seed={seed}", f"-max_len={longest}", "-timeout=60", "-rss_limit_mb=0", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(kept)], test, custom_mutator=mutate)
    atheris.Fuzz()
