"""The doctor: each layer's fault is named, with a hint and its status."""

import threading
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from time import time

import numba
import pytest

from airpocket.broker import embedded, free_port
from airpocket.config import Config, load
from airpocket.doctor import disk, examine, lines, measure, numba_cache, status
from airpocket.probe import Check, probe

VENUE = "binance_usdm"


class Skewed(BaseHTTPRequestHandler):
    """Answer every path with a Date that is off by the server's `skew` seconds."""

    def do_GET(self) -> None:
        """Answer."""
        skew = getattr(self.server, "skew")  # noqa: B009 - set by the test below
        self.send_response_only(404)
        if skew is not None:
            self.send_header("Date", formatdate(time() + skew, usegmt=True))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Skewed) as server:
        setattr(server, "skew", 0.0)  # noqa: B010 - an attribute of the test's own
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def config(server: HTTPServer | None = None, **environment: str) -> Config:
    if server is not None:
        prefix = f"AIRPOCKET__INGEST__VENUES__{VENUE.upper()}__"
        address = f"127.0.0.1:{server.server_port}"
        environment[prefix + "REST_URL"] = f"http://{address}"
        environment[prefix + "SOCKET_URL"] = f"ws://{address}"
        environment[prefix + "SYMBOLS"] = "BTCUSDT"
    return load(None, {"AIRPOCKET__KAFKA__BOOTSTRAP": f"127.0.0.1:{free_port()}", **environment})


def named(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_a_refused_broker_does_not_hide_the_other_layers(server: HTTPServer) -> None:
    checks = examine(config(server), [VENUE])
    assert [check.name for check in checks if not check.ok] == ["tcp"]
    assert status(checks) == 4
    text = lines(checks)
    assert "FAIL  tcp" in text
    assert "-> nothing listens there" in text
    assert text.count(VENUE) >= 2


@pytest.mark.parametrize(("skew", "side"), [(-30.0, "ahead of"), (30.0, "behind")])
def test_a_skewed_clock_is_named(server: HTTPServer, skew: float, side: str) -> None:
    setattr(server, "skew", skew)  # noqa: B010 - as above
    clock = named(examine(config(server), [VENUE]), "clock")
    assert not clock.ok
    assert f"s {side} {VENUE}" in clock.detail
    assert "chrony" in clock.hint
    assert status([clock]) == 3


def test_a_right_clock_is_right_to_the_second_that_a_date_tells(server: HTTPServer) -> None:
    clock = named(examine(config(server), [VENUE]), "clock")
    assert clock.ok
    offset, error = measure(f"http://127.0.0.1:{server.server_port}")
    assert abs(offset) <= error + 0.01


def test_a_server_without_a_date_gives_no_clock(server: HTTPServer) -> None:
    setattr(server, "skew", None)  # noqa: B010 - as above
    checks = examine(config(server), [VENUE])
    assert "clock" not in [check.name for check in checks]
    assert any("without a Date" in check.detail for check in checks)


def test_a_venue_that_cannot_be_reached_is_status_4(server: HTTPServer) -> None:
    there = config(server)
    server.shutdown()
    server.server_close()
    failed = [check for check in examine(there, [VENUE]) if not check.ok and check.name == VENUE]
    assert len(failed) == 2
    assert status(failed) == 4


def test_a_broker_without_topics_is_told_how_to_make_them() -> None:
    with embedded() as broker:
        checks = probe(broker)
        assert named(checks, "topics").hint == "run `airpocket topics ensure`"
        assert status(checks) == 4


def test_a_cache_that_anybody_may_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    assert numba_cache().ok
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    found = numba_cache()
    assert not found.ok
    assert "writable by everybody" in found.detail


def test_disk_is_measured_where_the_tapes_will_be(tmp_path: Path) -> None:
    found = disk(str(tmp_path / "not" / "yet"))
    assert found.name == "disk"
    assert str(tmp_path) in found.detail
    assert "GB free" in found.detail
