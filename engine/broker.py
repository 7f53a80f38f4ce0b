"""The broker as the operator names it: one value in, the keyword arguments of every Kafka client out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from engine.errors import BadConfig

SECURITY: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")

#: Largest value of one record, bytes. Kafka's own limit is 1 MB for a whole batch, headers included.
MAX_VALUE: Final = 900_000


class Secret(str):
    """Text that never prints itself: clients log their settings by `repr`, and tracebacks show locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if len(self) else "''"

    def __str__(self) -> str:
        return "***" if len(self) else ""

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Where the broker is, how to speak to it, and what one process may hold for it."""

    #: `host:port`, several separated by commas.
    bootstrap: str = "127.0.0.1:9092"
    security: str = "PLAINTEXT"
    mechanism: str = ""
    username: str = ""
    #: Comes from the environment or a file, never from the command line or a settings file.
    password: str = Secret()
    #: PEM of the authority that signed the broker's certificate; empty: the system's authorities.
    ca_file: str = ""
    #: PEM of our own certificate and key, where the broker asks for one.
    cert_file: str = ""
    key_file: str = ""
    client_id: str = "airpocket"
    #: Of every topic placed by asset; for ever, since an asset's partition follows from it.
    partitions: int = 12
    replication: int = 1
    #: Bytes given to the producer and not yet acknowledged; beyond it writing blocks.
    in_flight_bytes: int = 64_000_000
    #: How long records wait for company, ms.
    linger: int = 5
    #: How long the broker may hold a fetch that has nothing to give, ms.
    fetch_wait: int = 500
    #: A broker that does not answer within this many seconds is not there.
    timeout: float = 10.0
    #: A record that is not acknowledged within this many seconds is undelivered.
    delivery_timeout: float = 60.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "password", Secret(str.__str__(self.password)))
        _among("security", self.security, SECURITY)
        if self.security.startswith("SASL"):
            _among("mechanism", self.mechanism, MECHANISMS)
            if not (self.username and len(self.password)):
                raise BadConfig(f"security is {self.security}, which needs a username and a password")
        elif self.mechanism or self.username:
            raise BadConfig(
                f"a username or mechanism needs security SASL_SSL or SASL_PLAINTEXT, security is {self.security}"
            )
        for server in self.servers():
            host, _, port = server.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65_536:
                raise BadConfig(f"bootstrap is {server!r}, allowed is host:port, several separated by commas")
        for name in ("partitions", "replication", "in_flight_bytes", "fetch_wait", "timeout", "delivery_timeout"):
            if getattr(self, name) <= 0:
                raise BadConfig(f"{name} is {getattr(self, name)}, allowed are numbers above 0")
        if self.linger < 0:
            raise BadConfig(f"linger is {self.linger}, allowed are milliseconds from 0")

    def servers(self) -> list[str]:
        """List the bootstrap addresses."""
        return [server.strip() for server in self.bootstrap.split(",")]

    @property
    def tls(self) -> bool:
        """Whether the wire is encrypted."""
        return self.security.endswith("SSL")

    @property
    def sasl(self) -> bool:
        """Whether the broker asks who we are."""
        return self.security.startswith("SASL")

    def options(self, role: str) -> dict[str, Any]:
        """Give the keyword arguments that every kafka-python client takes; `role` ends the client's name."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers(),
            "client_id": f"{self.client_id}-{role}",
            "security_protocol": self.security,
            "bootstrap_timeout_ms": int(self.timeout * 1000),
            "request_timeout_ms": max(int(self.timeout * 1000), self.fetch_wait + 1000),
            # The library's 30 s would keep us away half a minute after a broker's restart.
            "reconnect_backoff_max_ms": 1000,
        }
        if self.tls:
            options |= {"ssl_check_hostname": True, "ssl_cafile": self.ca_file or None}
            options |= {"ssl_certfile": self.cert_file or None, "ssl_keyfile": self.key_file or None}
        if self.sasl:
            options |= {"sasl_mechanism": self.mechanism, "sasl_plain_username": self.username}
            options |= {"sasl_plain_password": self.password}
        return options

    def at(self, bootstrap: str) -> "BrokerConfig":
        """Return the same settings for another address."""
        return replace(self, bootstrap=bootstrap)


def connect(
    broker: BrokerConfig, role: str, client: Callable[..., Any], network: Callable[..., Any], **more: Any
) -> Any:
    """Make a client of a broker; where its constructor fails, close the network that it would leave behind."""
    opened: list[Any] = []

    def remember(**options: Any) -> Any:
        opened.append(network(**options))
        return opened[-1]

    try:
        return client(**{**broker.options(role), "kafka_client": remember, **more})
    except BaseException:
        for connections in opened:
            connections.close()
        raise


def _among(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise BadConfig(f"{name} is {value!r}, allowed are {', '.join(allowed)}")
