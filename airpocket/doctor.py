"""What airpocket stands on, layer by layer: a configuration in, one finding a layer out, with a hint where it is wrong.

The exit status is that of the first layer that fails: 3 where this machine or the configuration is wrong, 4 where the
broker or a venue cannot be reached.
"""

import importlib
import os
import shutil
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from platform import python_version
from typing import Final
from urllib.parse import urlsplit

from airpocket.config import Config
from airpocket.probe import PATIENCE, Check, probe
from engine.errors import AirpocketError, BadConfig

PACKAGES: Final = ("numpy", "numba", "orjson", "websockets", "kafka-python", "crc32c", "lz4", "zstandard")
#: Less than this free under the tapes is too little, bytes: a few hours of a few symbols.
ROOM: Final = 5_000_000_000
#: A clock farther off than this, beyond what the measurement can tell, is wrong, s.
SKEW: Final = 0.25
#: Layers whose fault lies here and not with a peer.
OURS: Final = ("python", "packages", "numba cache", "crc32c", "disk", "partitions", "settings", "clock")


def examine(config: Config, venues: Sequence[str]) -> list[Check]:
    """Check every layer; a failure in one does not hide the others."""
    checks = [python(), packages(), numba_cache(), checksum(), disk(config.record.dir)]
    checks += probe(config.kafka)
    for name in venues:
        checks += venue(config, name)
    return checks


def status(checks: Sequence[Check]) -> int:
    """Give the exit status of the first layer that fails."""
    for check in checks:
        if not check.ok:
            return BadConfig.status if check.name in OURS else 4
    return 0


def lines(checks: Sequence[Check]) -> str:
    """Word the findings, one line each, a hint below where there is one."""
    width = max(len(check.name) for check in checks)
    told = []
    for check in checks:
        told.append(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<{width}}  {check.detail}")
        if check.hint:
            told.append(f"      {'':<{width}}  -> {check.hint}")
    return "\n".join(told)


def python() -> Check:
    """Check the interpreter."""
    ok = sys.version_info >= (3, 11)
    return Check(name="python", ok=ok, detail=python_version(), hint="" if ok else "3.11 or newer is needed")


def packages() -> Check:
    """Check that what we stand on is installed, and say which versions."""
    met, missing = [], []
    for name in PACKAGES:
        try:
            met.append(f"{name} {installed(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check(name="packages", ok=False, detail=f"missing: {', '.join(missing)}", hint="pip install airpocket")
    return Check(name="packages", ok=True, detail=", ".join(met))


def numba_cache() -> Check:
    """Check that compiled kernels can be kept, and that nobody else can plant one: numba unpickles what it finds."""
    import numba

    importlib.import_module("engine.kernel")
    folder = Path(numba.config.CACHE_DIR)  # type: ignore[attr-defined]
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        hint = "every start compiles for half a minute: set NUMBA_CACHE_DIR to a folder of your own"
        return Check(name="numba cache", ok=False, detail=f"{existing} is not writable: {error.strerror}", hint=hint)
    if existing.stat().st_mode & 0o002:
        hint = "anybody may put code there that we would run: chmod o-w, or set NUMBA_CACHE_DIR"
        return Check(name="numba cache", ok=False, detail=f"{existing} is writable by everybody", hint=hint)
    return Check(name="numba cache", ok=True, detail=f"{folder} is ours to write")


def checksum() -> Check:
    """Check that Kafka's checksum is computed in C."""
    from sinks.topic import check_checksum

    try:
        check_checksum()
    except BadConfig as error:
        return Check(name="crc32c", ok=False, detail=str(error), hint="pip install crc32c")
    return Check(name="crc32c", ok=True, detail="in C")


def disk(folder: str) -> Check:
    """Check the room for tapes; without a folder, where the working directory is."""
    where = Path(folder or ".").resolve()
    existing = next(parent for parent in (where, *where.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        return Check(name="disk", ok=False, detail=f"{existing} is not writable", hint="name another record.dir")
    free = shutil.disk_usage(existing).free
    hint = "" if free >= ROOM else f"less than {ROOM / 1e9:g} GB: name another record.dir, or make room"
    return Check(name="disk", ok=free >= ROOM, detail=f"{free / 1e9:,.1f} GB free at {existing}", hint=hint)


def venue(config: Config, name: str) -> list[Check]:
    """Reach each socket of a venue and its REST, and compare clocks."""
    from ingest.venues import load

    known = load(name)
    own = config.ingest.venues.get(name)
    rest = (own.rest_url if own else "") or known.rest
    sockets = [own.socket_url] if own and own.socket_url else list(known.sockets.values())
    checks = [reach(name, url) for url in dict.fromkeys(sockets)]
    return [*checks, *clock(name, rest)]


def reach(name: str, url: str) -> Check:
    """Open TCP, and TLS where the URL says so."""
    split = urlsplit(url)
    secure = split.scheme in ("wss", "https")
    host, port = split.hostname or "", split.port or (443 if secure else 80)
    try:
        with socket.create_connection((host, port), PATIENCE) as plain:
            if not secure:
                return Check(name=name, ok=True, detail=f"{host}:{port} accepts connections")
            with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as connection:
                return Check(name=name, ok=True, detail=f"{host}:{port} speaks {connection.version()}")
    except ssl.SSLError as error:
        hint = "a proxy between us may replace certificates"
        return Check(name=name, ok=False, detail=f"{host}:{port}: TLS failed: {error.reason}", hint=hint)
    except OSError as error:
        hint = "is there a network, does a firewall or the venue refuse this address?"
        return Check(name=name, ok=False, detail=f"{host}:{port}: {error}", hint=hint)


def clock(name: str, rest: str) -> Iterator[Check]:
    """Compare our clock with the Date header of the venue's REST, which has whole seconds: true to half a second."""
    try:
        offset, error = measure(rest)
    except (OSError, HTTPException) as failed:
        yield Check(name=name, ok=False, detail=f"{rest}: {failed}", hint="the REST address does not answer")
        return
    except AirpocketError as failed:
        yield Check(name=name, ok=True, detail=str(failed))
        return
    yield Check(name=name, ok=True, detail=f"{rest} answers")
    wrong = abs(offset) > error + SKEW
    side = "ahead of" if offset > 0 else "behind"
    detail = f"{abs(offset):.1f} s {side} {name}, give or take {error:.1f} s"
    hint = "synchronise the clock (chrony, systemd-timesyncd): latencies mean nothing until then" if wrong else ""
    yield Check(name="clock", ok=not wrong, detail=detail, hint=hint)


def measure(rest: str) -> tuple[float, float]:
    """Return how far our clock is ahead of a server's, and how wrong that may be, s."""
    split = urlsplit(rest)
    kind = HTTPSConnection if split.scheme == "https" else HTTPConnection
    connection = kind(split.hostname or "", split.port, timeout=PATIENCE)
    try:
        connection.connect()
        before = time.time()
        # The smallest answer that any server gives: it need not know the path.
        connection.request("GET", f"{split.path.rstrip('/')}/", headers={"Accept": "*/*"})
        response = connection.getresponse()
        after = time.time()
    finally:
        connection.close()
    date = response.getheader("Date")
    if date is None:
        raise BadConfig(f"{rest} answers without a Date: no clock to compare with")
    said = parsedate_to_datetime(date).timestamp()
    return (before + after) / 2 - (said + 0.5), 0.5 + (after - before) / 2
