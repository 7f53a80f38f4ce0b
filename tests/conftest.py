"""Fixtures that tests share: where the recorded streams are, and what to do where they are not."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from airpocket import admin
from airpocket.broker import embedded
from engine.broker import BrokerConfig
from tests.brokers import Secured, apache, empty_topics

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


def _folder(name: str) -> Path:
    folder = DATA / name
    if not folder.is_dir():
        message = f"recorded streams are not here: {folder} is absent"
        if os.environ.get("CI"):
            pytest.fail(message + ", and CI must have them")
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def binance_tapes() -> Path:
    """Folder of real Binance streams with their own best bid and ask."""
    return _folder("binance")


@pytest.fixture(scope="session")
def messages() -> Path:
    """Folder of single messages per venue and channel."""
    return _folder("messages")


@pytest.fixture(scope="session")
def captures() -> Path:
    """Folder of raw captures of many venues."""
    return _folder("captures")


@pytest.fixture(scope="session")
def checksums() -> Path:
    """Folder of checksum cases of several venues."""
    return _folder("checksums")


@pytest.fixture(scope="session")
def peer_normalised() -> Path:
    """Folder of raw messages with a peer's normalised output."""
    return _folder("peer-normalised")


@pytest.fixture(scope="session")
def damaged() -> Path:
    """Folder of recorded tables, each whole and damaged."""
    return _folder("damaged")


@pytest.fixture(scope="session")
def hourly() -> Path:
    """Folder of a year of hourly tables of several venues."""
    return _folder("hourly-2025-2026")


# Brokers. Apache Kafka is started once for the session and shared; a test that ends it starts its own.


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[BrokerConfig]:
    """Settings of an embedded broker that the session shares: topics of a test's own name keep tests apart."""
    with embedded() as broker:
        yield broker


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Apache Kafka of our own, with plaintext, TLS and SASL listeners."""
    with apache(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="session")
def shared_kafka(request: pytest.FixtureRequest) -> BrokerConfig:
    """Settings of the Apache Kafka that KAFKA_BOOTSTRAP names, or else of our own."""
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP")
    if not bootstrap:
        running: Secured = request.getfixturevalue("secured")
        return running.at("PLAINTEXT")
    broker = BrokerConfig(bootstrap=bootstrap)
    if any(row.partitions for row in admin.describe(broker)):
        pytest.fail(f"{bootstrap} holds airpocket's topics, and these tests would delete them: name an empty broker")
    return broker


@pytest.fixture
def kafka(shared_kafka: BrokerConfig) -> BrokerConfig:
    """Settings of an Apache Kafka whose topics are new and empty."""
    return empty_topics(shared_kafka)
