"""Why the broker does not work: its settings in, one finding a layer out, from the socket up to the topics' settings.

The client library waits out its bootstrap time and then says that there is no broker, whatever was wrong. Here each
layer is tried by itself, and the first that fails is named with what most likely explains it: TCP, TLS, Kafka's own
greeting, SASL, the addresses that the cluster advertises, the topics, their partitions, their settings.
"""

import socket
import ssl
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kafka.net.sasl import get_sasl_mechanism

from airpocket.admin import admin, describe
from airpocket.protocol import (
    API_VERSIONS,
    METADATA,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    answers,
    api_versions,
    call,
    text,
)
from engine.broker import BrokerConfig
from engine.errors import AirpocketError, BadRecord
from engine.topics import TOPICS, Topic

#: Seconds that one layer may take.
PATIENCE: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One layer, and what was found there."""

    name: str
    ok: bool
    detail: str
    #: What to do; empty where nothing is wrong.
    hint: str = ""


class _Failed(Exception):
    """Ends the probing: the layers above rest on this one."""

    def __init__(self, name: str, detail: str, hint: str) -> None:
        super().__init__(detail)
        self.check = Check(name=name, ok=False, detail=detail, hint=hint)


def probe(broker: BrokerConfig, topics: Sequence[Topic] = TOPICS) -> list[Check]:
    """Try every layer in turn and return what was found, up to and including the first that fails."""
    checks: list[Check] = []
    try:
        checks.extend(_greet(broker))
        checks.extend(_cluster(broker, topics))
    except _Failed as failed:
        checks.append(failed.check)
    return checks


def _greet(broker: BrokerConfig) -> Iterator[Check]:
    """Yield what the first server that greets us says; where none does, what the first one failed at."""
    attempts = []
    for server in broker.servers():
        found: list[Check] = []
        try:
            found.extend(_server(broker, server))
        except _Failed as failed:
            attempts.append((found, failed))
            continue
        yield from found
        return
    found, failure = attempts[0]
    yield from found
    raise failure


def _server(broker: BrokerConfig, server: str) -> Iterator[Check]:
    host, _, digits = server.rpartition(":")
    port = int(digits)
    with _connect(host, port) as plain:
        yield Check(name="tcp", ok=True, detail=f"{server} accepts connections")
        with _encrypt(broker, plain, host, port) as connection:
            if broker.tls:
                yield Check(name="tls", ok=True, detail=_cipher(connection))
            yield _versions(broker, connection, host, port)
            yield _authenticate(broker, connection, host) if broker.sasl else _anonymous(broker, connection, server)


def _connect(host: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((host.strip("[]"), port), PATIENCE)
    except socket.gaierror as error:
        raise _Failed("tcp", f"{host} has no address: {error.strerror}", "correct the host in bootstrap") from error
    except TimeoutError as error:
        hint = "a firewall drops it, or the host is down"
        raise _Failed("tcp", f"{host}:{port} does not answer within {PATIENCE:g} s", hint) from error
    except OSError as error:
        hint = "nothing listens there: is the broker running, is the port in bootstrap right?"
        raise _Failed("tcp", f"{host}:{port} refuses connections: {error.strerror}", hint) from error


def _encrypt(broker: BrokerConfig, plain: socket.socket, host: str, port: int) -> socket.socket:
    if not broker.tls:
        return plain
    try:
        context = ssl.create_default_context(cafile=broker.ca_file or None)
        if broker.cert_file:
            context.load_cert_chain(broker.cert_file, broker.key_file or None)
    except (OSError, ssl.SSLError) as error:
        named = broker.ca_file if not broker.cert_file else f"{broker.ca_file} and {broker.cert_file}"
        raise _Failed("tls", f"{named} cannot be read: {error}", "name readable PEM files") from error
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        authority = broker.ca_file or "the system's authorities"
        hint = f"name the authority that signed the broker's certificate as ca_file; now it is {authority}"
        if "ostname" in error.verify_message or "IP address" in error.verify_message:
            hint = "bootstrap must use a name that the broker's certificate carries"
        raise _Failed("tls", f"{host}:{port}: certificate refused: {error.verify_message}", hint) from error
    except OSError as error:
        if answers(host, port, PATIENCE):
            hint = f"this port speaks plaintext Kafka: set security to {_unencrypted(broker)}, or use its TLS port"
            raise _Failed("tls", f"{host}:{port} does not speak TLS", hint) from error
        hint = "is this the TLS port? does the broker ask for a certificate of ours (cert_file, key_file)?"
        raise _Failed("tls", f"{host}:{port}: TLS handshake failed: {error}", hint) from error


def _cipher(connection: socket.socket) -> str:
    assert isinstance(connection, ssl.SSLSocket)
    cipher = connection.cipher()
    return f"{connection.version()}, {cipher[0] if cipher else 'no cipher'}, certificate verified"


def _versions(broker: BrokerConfig, connection: socket.socket, host: str, port: int) -> Check:
    connection.settimeout(PATIENCE)
    try:
        known = api_versions(connection)
    except (OSError, BadRecord, struct.error) as error:
        if not broker.tls and _speaks_tls(host, port):
            hint = f"this port speaks TLS: set security to {'SASL_SSL' if broker.sasl else 'SSL'}"
            raise _Failed("kafka", f"{host}:{port} does not speak plaintext Kafka", hint) from error
        hint = "something else listens there, or the broker is starting: check the port in bootstrap"
        raise _Failed("kafka", f"{host}:{port} does not answer as Kafka does: {error}", hint) from error
    return Check(
        name="kafka", ok=True, detail=f"{len(known)} kinds of request, ApiVersions up to {known[API_VERSIONS]}"
    )


def _anonymous(broker: BrokerConfig, connection: socket.socket, server: str) -> Check:
    try:
        # No topics: only whether the broker talks to us at all.
        call(connection, METADATA, 1, struct.pack(">i", 0))
    except (OSError, BadRecord) as error:
        hint = f"this port asks who we are: set security to SASL_{broker.security}, mechanism, username and password"
        detail = f"{server} greets us, then breaks off as soon as it is asked something: {error}"
        raise _Failed("sasl", detail, hint) from error
    return Check(name="sasl", ok=True, detail="nobody asks who we are")


def _authenticate(broker: BrokerConfig, connection: socket.socket, host: str) -> Check:
    try:
        body = call(connection, SASL_HANDSHAKE, 1, text(broker.mechanism))
        error, count = struct.unpack_from(">hi", body)
        offered, at = [], 6
        for _ in range(count):
            (size,) = struct.unpack_from(">h", body, at)
            offered.append(body[at + 2 : at + 2 + size].decode())
            at += 2 + size
        if error:
            hint = f"set mechanism to one of {', '.join(offered)}" if offered else _no_sasl(broker)
            raise _Failed("sasl", f"the broker does not offer {broker.mechanism} (error {error})", hint)
        _exchange(broker, connection, host)
    except (OSError, BadRecord, struct.error) as error:
        raise _Failed("sasl", f"the broker broke off: {error}", _no_sasl(broker)) from error
    return Check(name="sasl", ok=True, detail=f"{broker.username} is known by {broker.mechanism}")


def _exchange(broker: BrokerConfig, connection: socket.socket, host: str) -> None:
    mechanism = get_sasl_mechanism(broker.mechanism)(
        host=host,
        sasl_mechanism=broker.mechanism,
        sasl_plain_username=broker.username,
        sasl_plain_password=broker.password,
    )
    while not mechanism.is_done():
        token = mechanism.auth_bytes()
        body = call(connection, SASL_AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
        (error, size) = struct.unpack_from(">hh", body)
        at = 4 + max(size, 0)
        if error:
            detail = body[4:at].decode(errors="replace")
            raise _Failed("sasl", f"{broker.username} is refused: {detail}", "check username and password")
        (size,) = struct.unpack_from(">i", body, at)
        try:
            mechanism.receive(body[at + 4 : at + 4 + size])
        except ValueError as failed:
            raise _Failed(
                "sasl", f"the broker's own proof is wrong: {failed}", "is this the right cluster?"
            ) from failed


def _cluster(broker: BrokerConfig, topics: Sequence[Topic]) -> Iterator[Check]:
    quick = replace(broker, timeout=2 * PATIENCE)
    try:
        with admin(quick) as client:
            nodes = client.describe_cluster()["brokers"]
        yield _advertised(nodes)
        rows = describe(quick, topics)
    except AirpocketError as error:
        hint = "the addresses that the brokers advertise must be reachable from here (advertised.listeners)"
        raise _Failed("metadata", str(error), hint) from error
    ensure = "run `airpocket topics ensure`"
    missing = [row.name for row in rows if not row.partitions]
    if missing:
        raise _Failed("topics", f"missing: {', '.join(missing)}", ensure)
    yield Check(name="topics", ok=True, detail=f"all {len(rows)} exist")
    by_asset = {topic.name for topic in topics if topic.by_asset}
    wrong = [f"{row.name} has {row.partitions}" for row in rows if row.name in by_asset]
    wrong = [] if all(row.partitions == broker.partitions for row in rows if row.name in by_asset) else wrong
    if wrong:
        hint = "set partitions to what the topics have; it can never change, or make every topic anew"
        raise _Failed("partitions", f"settings say {broker.partitions}: {', '.join(wrong)}", hint)
    yield Check(name="partitions", ok=True, detail=f"{broker.partitions} each")
    faults = [row.fault for row in rows if row.fault]
    if faults:
        raise _Failed("settings", "; ".join(faults), "correct it with kafka-configs, or delete the topic and ensure it")
    yield Check(name="settings", ok=True, detail="cleanup, retention and sizes are as they should be")


def _advertised(nodes: Sequence[dict[str, Any]]) -> Check:
    for node in nodes:
        host, port = str(node["host"]), int(node["port"])
        try:
            _connect(host, port).close()
        except _Failed as failed:
            hint = (
                "bootstrap works, but the cluster names an address that cannot be reached: correct advertised.listeners"
            )
            raise _Failed("metadata", f"it advertises {host}:{port}: {failed}", hint) from failed
    return Check(name="metadata", ok=True, detail=", ".join(f"{node['host']}:{node['port']}" for node in nodes))


def _speaks_tls(host: str, port: int) -> bool:
    """Say whether a TLS handshake succeeds there, whoever signed: only asked to explain a failure."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), 1.0) as plain, context.wrap_socket(plain):
            return True
    except OSError as error:
        # A server that wants a certificate of ours speaks TLS too.
        return isinstance(error, ssl.SSLError) and "ALERT" in str(error).upper()


def _no_sasl(broker: BrokerConfig) -> str:
    return f"this port does not ask who we are: use the broker's SASL port, or set security to {broker.security[5:]}"


def _unencrypted(broker: BrokerConfig) -> str:
    return "SASL_PLAINTEXT" if broker.sasl else "PLAINTEXT"
