"""The command line as it is used: processes, their output, their exit status."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from airpocket.admin import ensure
from airpocket.broker import embedded, free_port
from airpocket.cli import app
from engine.broker import BrokerConfig
from engine.schema import Record
from engine.topics import SIGNAL_DEPTH, TOPICS
from sinks.topic import TopicSink

ROOT = Path(__file__).parents[1]
CANARY = "canary-c41e"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `airpocket` as a process of its own, with no configuration but the one given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRPOCKET")}
    return subprocess.run(
        [sys.executable, "-m", "airpocket", *arguments],
        env=kept | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every verb's full name and command."""
    above: Any = group or get_command(app)
    for name, command in above.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


VERBS = dict(commands())


def test_importing_the_command_line_loads_typer_alone() -> None:
    heavy = ("numba", "kafka", "numpy", "rich", "orjson", "websockets", "asyncio", "pyarrow")
    script = f"import sys, airpocket.cli; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_verbs_are_these() -> None:
    expected = [
        "demo",
        "ingest",
        "engine",
        "record",
        "replay",
        "convert",
        "verify",
        "whatif",
        "simulate",
        "tail",
        "broker",
        "doctor",
        "version",
    ]
    expected += ["topics ensure", "topics describe", "config show", "config validate", "config schema"]
    assert sorted(VERBS) == sorted(expected)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_a_worked_example_of_itself(verb: str) -> None:
    help_text = VERBS[verb].help
    example = help_text.partition("Example:")[2]
    assert f"airpocket {verb}" in example
    known = {option for parameter in VERBS[verb].params for option in parameter.opts}
    used = set(re.findall(r"(?<=\s)--[a-z-]+", example))
    assert used <= known, f"the example of {verb} uses {used - known}"


def test_every_verb_and_option_is_documented() -> None:
    sections = re.split(r"^## airpocket ", (ROOT / "docs" / "cli.md").read_text(), flags=re.MULTILINE)
    documented = {section.partition("\n")[0]: section for section in sections[1:]}
    assert sorted(documented) == sorted(VERBS)
    for verb, command in VERBS.items():
        assert f"airpocket {verb}" in documented[verb].partition("\n")[2]
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--"):
                    assert f"{option}" in documented[verb], f"{verb} {option} is not documented"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["repaly"], 2, "Did you mean 'replay'"),
        (["replay"], 2, "Missing argument"),
        (["replay", "--digset", "x"], 2, "--digest"),
        (["replay", "no.tape.gz"], 3, "tape no.tape.gz is not there"),
        (["replay", "README.md", "--venue", "binance_usdm"], 5, "line 1 is b'# airpocket"),
        (["replay", "README.md", "--from", "yesterday"], 3, "time is 'yesterday', allowed are ISO 8601"),
        (["replay", "README.md", "--signal", "dpeth"], 3, "unknown signal 'dpeth'.*did you mean depth"),
        (["tail", "helth"], 3, "unknown signal 'helth'.*did you mean health"),
        (["record", "binance_usdn:BTCUSDT", "--tape-dir", "t"], 3, "unknown venue 'binance_usdn'.*binance_usdm"),
        (["record", "binance_usdm:BTCUSDT"], 3, "no folder is named for the tapes"),
        (["ingest"], 3, "no venue is named"),
        (["topics", "describe", "--bootstrap", "nowhere"], 3, r"bootstrap is 'nowhere', allowed is host:port"),
        (["config", "show", "--config", "no.toml"], 3, "no.toml' cannot be read"),
        (["doctor", "--venue", "binance_usdn"], 3, "did you mean binance_usdm"),
        (["demo", "--tape", "no.tape.gz", "--seconds", "1"], 3, "tape no.tape.gz is not there"),
    ],
)
def test_a_mistake_has_its_status_and_one_clear_line(arguments: list[str], status: int, said: str) -> None:
    done = run(*arguments)
    assert done.returncode == status, done.stderr
    assert re.search(said, done.stderr)
    assert "Traceback" not in done.stderr
    if status != 2:
        assert done.stderr.startswith("airpocket: ")
        assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_absent_broker_is_status_4() -> None:
    address = f"127.0.0.1:{free_port()}"
    done = run("topics", "describe", "--bootstrap", address, AIRPOCKET__KAFKA__TIMEOUT="0.5")
    assert done.returncode == 4
    assert done.stderr.startswith(f"airpocket: no broker at {address}")


def test_debug_shows_the_traceback_and_never_the_secret() -> None:
    environment = {
        "AIRPOCKET__KAFKA__SECURITY": "SASL_PLAINTEXT",
        "AIRPOCKET__KAFKA__MECHANISM": "PLAIN",
        "AIRPOCKET__KAFKA__USERNAME": "desk",
        "AIRPOCKET__KAFKA__PASSWORD": CANARY,
        "AIRPOCKET__KAFKA__TIMEOUT": "0.5",
        "AIRPOCKET__KAFKA__BOOTSTRAP": f"127.0.0.1:{free_port()}",
    }
    done = run("--debug", "topics", "describe", **environment)
    assert done.returncode == 4
    assert "Traceback" in done.stderr
    shown = run("config", "show", "--json", **environment)
    assert json.loads(shown.stdout)["kafka.password"]["value"] == "********"
    for text in (done.stdout, done.stderr, shown.stdout, shown.stderr):
        assert CANARY not in text


def test_version_and_schema_are_json() -> None:
    assert set(json.loads(run("version", "--json").stdout)) == {"airpocket", "engine", "python"}
    assert json.loads(run("config", "schema").stdout)["type"] == "object"
    validated = run("config", "validate")
    assert (validated.returncode, validated.stdout) == (0, "")


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerConfig]:
    """An embedded broker of this file's own: the verbs make and read the real topics."""
    with embedded() as broker:
        yield broker


def test_topics_are_ensured_and_described(broker: BrokerConfig) -> None:
    same = {"AIRPOCKET__KAFKA__PARTITIONS": str(broker.partitions)}
    made = run("topics", "ensure", "--bootstrap", broker.bootstrap, "--json", **same)
    assert made.returncode == 0, made.stderr
    assert {row["name"] for row in json.loads(made.stdout)} == {topic.name for topic in TOPICS}
    described = run("topics", "describe", "--bootstrap", broker.bootstrap, **same)
    assert described.returncode == 0
    assert f"{broker.partitions} partitions" in described.stdout
    assert run("doctor", "--bootstrap", broker.bootstrap, **same).returncode == 0
    other = run("topics", "describe", "--bootstrap", broker.bootstrap, "--json", AIRPOCKET__KAFKA__PARTITIONS="3")
    assert other.returncode == 3
    assert "the number can never change" in json.loads(other.stdout)[0]["fault"]


def test_tail_prints_records_as_json_lines(broker: BrokerConfig) -> None:
    ensure(broker)
    sink = TopicSink(broker, [SIGNAL_DEPTH])
    values = [b'{"signal":"depth","n":%d}' % n for n in range(3)]
    sink.write([Record(topic=SIGNAL_DEPTH, key="v:S", asset="A", time=10**18, value=value) for value in values])
    sink.flush()
    sink.close()
    done = run("tail", "depth", "--beginning", "--count", "3", "--bootstrap", broker.bootstrap)
    assert done.returncode == 0, done.stderr
    assert done.stdout.encode().split() == values
