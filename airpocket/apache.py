"""Apache Kafka without a container: a JDK and Maven in, one KRaft node on loopback out.

`python -m airpocket.apache` runs one until it is stopped, its log kept in `.kafka/`. Maven is asked once; after that
the jars lie in `.kafka/` and starting needs no network.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import uuid4

from airpocket.broker import HOST, die_with_parent, free_port, wait_until_answering
from engine.broker import BrokerConfig
from engine.errors import AirpocketError, BadConfig

FILES: Final = Path(__file__).parents[1] / "deploy" / "kafka"
HOME: Final = Path(__file__).parents[1] / ".kafka"
JAVA: Final = ("java", "-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")


def missing() -> list[str]:
    """List the programs that running Apache Kafka here needs and this machine lacks."""
    needed = ["java"] if _jars(HOME).is_dir() else ["java", "mvn"]
    return [program for program in needed if shutil.which(program) is None]


def jars(home: Path = HOME) -> Path:
    """Return the folder of Apache Kafka's jars, resolving them from Maven Central the first time."""
    folder = _jars(home)
    if folder.is_dir():
        return folder
    lacking = missing()
    if lacking:
        raise BadConfig(f"Apache Kafka needs java and mvn; not found: {', '.join(lacking)}")
    partial = home / f"partial-{os.getpid()}"
    _run(
        [
            "mvn",
            "-B",
            "-q",
            "-f",
            str(FILES / "pom.xml"),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={partial}",
        ]
    )
    # Renamed whole, so that a resolution that was cut short is never taken for a complete one.
    partial.rename(folder)
    return folder


class ApacheKafka:
    """One node: its folder, its ports, its process. `start` after `kill` or `stop` continues on the same log."""

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        listeners: Mapping[str, int] | None = None,
        properties: Mapping[str, str] | None = None,
        scram: Mapping[str, str] | None = None,
    ) -> None:
        """Lay the node out; `listeners` are further ones by protocol (SSL, SASL_SSL …), `scram` users and passwords."""
        if not FILES.is_dir():
            raise BadConfig(f"Apache Kafka is started from a checkout, and {FILES} is absent; see compose.yaml there")
        self.folder = folder
        self.port = port or free_port()
        self.listeners = dict(listeners or {})
        self._classpath = f"{jars()}/*"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = folder / "server.properties"
        self._settings.write_text(self._render(properties or {}))
        if not (folder / "logs" / "meta.properties").exists():
            users = [f"SCRAM-SHA-512=[name={user},password={password}]" for user, password in (scram or {}).items()]
            added = [argument for user in users for argument in ("--add-scram", user)]
            tool = [*JAVA, "-cp", self._classpath, "kafka.tools.StorageTool", "format"]
            _run([*tool, "-t", uuid4().hex[:22], "-c", str(self._settings), *added])

    @property
    def broker(self) -> BrokerConfig:
        """Give the settings that reach this node's plaintext listener."""
        return BrokerConfig(bootstrap=f"{HOST}:{self.port}", partitions=4)

    def start(self, timeout: float = 60.0) -> None:
        """Start the node and return once it answers."""
        logging = f"-Dlog4j2.configurationFile={FILES / 'log4j2.properties'}"
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - arguments of our own, no shell
                [*JAVA, logging, "-cp", self._classpath, "kafka.Kafka", str(self._settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(),
            )
        try:
            wait_until_answering(self._process, self.port, timeout, "Apache Kafka")
        except BadConfig as error:
            self.kill()
            tail = (self.folder / "server.log").read_text(errors="replace")[-2000:]
            raise BadConfig(f"{error}; its log ends with:\n{tail}") from error

    def kill(self) -> None:
        """End the node as a crash would."""
        self._end(signal.SIGKILL, 10.0)

    def stop(self, timeout: float = 30.0) -> None:
        """End the node in order, its log cleanly closed."""
        self._end(signal.SIGTERM, timeout)

    def running(self) -> bool:
        """Say whether the node's process lives."""
        return self._process is not None and self._process.poll() is None

    def _end(self, how: signal.Signals, timeout: float) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _render(self, properties: Mapping[str, str]) -> str:
        listeners = "".join(f",{protocol}://{HOST}:{port}" for protocol, port in self.listeners.items())
        filled = (FILES / "server.properties").read_text()
        for name, value in {
            "port": str(self.port),
            "controller": str(free_port()),
            "listeners": listeners,
            "logs": str(self.folder / "logs"),
        }.items():
            filled = filled.replace(f"{{{name}}}", value)
        return filled + "".join(f"{name}={value}\n" for name, value in properties.items())


def _jars(home: Path) -> Path:
    pom = FILES / "pom.xml"
    return home / f"jars-{sha256(pom.read_bytes()).hexdigest()[:8]}" if pom.exists() else home / "jars"


def _run(command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - arguments of our own
    if ended.returncode:
        raise BadConfig(f"{command[0]} ended with status {ended.returncode}: {(ended.stdout + ended.stderr)[-2000:]}")


def main() -> int:
    """Run one node until SIGTERM or an interrupt; the log of an earlier run is continued."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--folder", type=Path, default=HOME / "node")
    chosen = parser.parse_args()
    try:
        node = ApacheKafka(chosen.folder, chosen.port)
        node.start()
    except AirpocketError as error:
        sys.stderr.write(f"{error}\n")
        return error.status
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout.write(f"Apache Kafka answers on {HOST}:{node.port}; its log is {chosen.folder / 'server.log'}\n")
    sys.stdout.flush()
    try:
        while node.running():
            time.sleep(0.5)
        return 1
    except KeyboardInterrupt:
        node.stop()
        return 0


if __name__ == "__main__":
    sys.exit(main())
