"""What the documents say is so: the README's consumer is the example, the example runs, every link leads somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from airpocket import admin
from airpocket.broker import embedded
from engine.config import EngineConfig
from engine.pipeline import Pipeline
from engine.schema import Kind
from engine.topics import SIGNAL_DEPTH
from ingest.venues import names
from sinks.topic import TopicSink
from tests.stream import message, opening

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs/cli.md",
        "docs/signals.md",
        "docs/venues.md",
        "docs/benchmarks.md",
    )
]


def code(text: str) -> list[str]:
    """Drop what does not run: comments, docstrings, blank lines, imports (whose order differs)."""
    body = re.sub(r'^""".*?"""', "", text, flags=re.S)
    return [line for line in body.splitlines() if line.strip() and not line.startswith(("import", "from"))]


def test_the_readmes_consumer_is_the_example() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert code(shown) == code((ROOT / "examples/desk.py").read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


def test_targets_that_the_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for page in PAGES:
        for named in re.findall(r"`make ([a-z ]+)`", page.read_text()):
            assert set(named.split()) <= targets, f"{page.name}: {named}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_the_documents_name_exist(page: Path) -> None:
    for named in re.findall(
        r"`((?:engine|ingest|sinks|airpocket|tests|benchmarks|deploy|docs)/[\w/.-]+\.\w+)`", page.read_text()
    ):
        assert "NAME" in named or (ROOT / named).exists(), named


def test_the_example_prints_what_the_topic_holds() -> None:
    batches = [*opening(), *(message(Kind.TRADE, 150.0 * step) for step in range(1, 4))]
    pipeline = Pipeline("A", EngineConfig())
    records = [record for batch in batches for record in pipeline.step(batch) if record.topic == SIGNAL_DEPTH]
    books = [record for record in records if record.key == "one:AUSD"]
    assert 0 < len(books) < len(records)
    with embedded(partitions=4) as broker:
        admin.ensure(broker)
        sink = TopicSink(broker, [SIGNAL_DEPTH])
        sink.write(records)
        sink.flush()
        sink.close()
        command = [sys.executable, str(ROOT / "examples/desk.py"), broker.bootstrap]
        desk = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert desk.stdout is not None
            printed = [desk.stdout.readline().split() for _ in books]
        finally:
            desk.kill()
            desk.communicate()
    assert printed[-1][:3] == ["one:AUSD", "ok", "100.0"]


def test_the_page_of_venues_lists_every_venue() -> None:
    rows = (ROOT / "docs" / "venues.md").read_text().splitlines()
    assert [row.split("`")[1] for row in rows if row.startswith("| `")] == names()
