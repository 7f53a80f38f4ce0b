"""Brokers for tests: the embedded one, and Apache Kafka where this machine can run it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from airpocket import admin
from airpocket.apache import ApacheKafka, missing
from airpocket.broker import HOST, free_port
from engine.broker import BrokerConfig
from engine.topics import TOPICS

USER, PASSWORD = "desk", "canary-7f3a91"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """One Apache Kafka with a listener of every kind, and the authority that signed its certificate."""

    node: ApacheKafka
    ca_file: str
    #: An authority that signed nothing.
    other_ca_file: str

    def at(self, protocol: str, **changes: object) -> BrokerConfig:
        """Give right settings for one listener, changed as asked."""
        port = self.node.port if protocol == "PLAINTEXT" else self.node.listeners[protocol]
        settings: dict[str, object] = {"bootstrap": f"{HOST}:{port}", "security": protocol, "partitions": 4}
        if protocol.endswith("SSL"):
            settings["ca_file"] = self.ca_file
        if protocol.startswith("SASL"):
            settings |= {"mechanism": "SCRAM-SHA-512", "username": USER, "password": PASSWORD}
        return BrokerConfig(**{"timeout": 5.0, **settings, **changes})  # type: ignore[arg-type]


def require_apache() -> None:
    """Skip, saying what is left out, where Apache Kafka cannot be run; fail where it must be."""
    lacking = missing()
    if lacking:
        message = f"Apache Kafka is left out: {' and '.join(lacking)} not found"
        if os.environ.get("CI"):
            pytest.fail(message + ", and CI must run it")
        pytest.skip(message)


@contextmanager
def apache(folder: Path) -> Iterator[Secured]:
    """Run one node with plaintext, TLS and SASL listeners."""
    require_apache()
    authority, other = trustme.CA(), trustme.CA()
    ca_file, other_file = folder / "ca.pem", folder / "other.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    other.cert_pem.write_to_path(str(other_file))
    listeners = {name: free_port() for name in ("SSL", "SASL_PLAINTEXT", "SASL_SSL")}
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
    properties = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(_keystore(authority, folder)),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
    }
    for listener in ("sasl_plaintext", "sasl_ssl"):
        properties |= {
            f"listener.name.{listener}.plain.sasl.jaas.config": f'{plain} required user_{USER}="{PASSWORD}";',
            f"listener.name.{listener}.scram-sha-512.sasl.jaas.config": f"{scram} required;",
        }
    node = ApacheKafka(folder / "node", listeners=listeners, properties=properties, scram={USER: PASSWORD})
    node.start()
    try:
        yield Secured(node=node, ca_file=str(ca_file), other_ca_file=str(other_file))
    finally:
        node.kill()


#: Topics that keep everything: made-up markets have times of their own, and the broker deletes by record time.
FOR_EVER = tuple(replace(topic, retention=-1) for topic in TOPICS)


def empty_topics(broker: BrokerConfig) -> BrokerConfig:
    """Make every topic anew and return settings that fit them."""
    broker = replace(broker, partitions=4)
    there = [row.name for row in admin.describe(broker) if row.partitions]
    if there:
        with admin.admin(broker) as client:
            client.delete_topics(there)
        # Deleting returns before it shows.
        wait(lambda: not any(row.partitions for row in admin.describe(broker)))
    admin.ensure(broker, FOR_EVER)
    return broker


def wait(for_what: Callable[[], bool], timeout: float = 10.0) -> None:
    """Return once something holds; fail where it does not in time."""
    deadline = time.monotonic() + timeout
    while not for_what():
        assert time.monotonic() < deadline, f"waited {timeout} s in vain"
        time.sleep(0.05)


def _keystore(authority: trustme.CA, folder: Path) -> Path:
    certificate = authority.issue_cert(HOST)
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    keystore = folder / "keystore.pem"
    # The broker reads PKCS #8 alone.
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    keystore.write_bytes(pem + b"".join(part.bytes() for part in certificate.cert_chain_pems))
    return keystore
