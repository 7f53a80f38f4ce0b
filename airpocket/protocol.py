"""As much of the Kafka protocol as finding faults needs: one request out of a socket, one response in.

The client library answers every fault with the same time-out after its bootstrap; a socket of our own says which layer
failed. A request is its length, api key, version, correlation id and client id, then the body; a response is its length
and the correlation id, then the body (https://kafka.apache.org/protocol).
"""

import socket
import struct
from typing import Final

from engine.errors import BadRecord

METADATA: Final = 3
SASL_HANDSHAKE: Final = 17
API_VERSIONS: Final = 18
SASL_AUTHENTICATE: Final = 36

#: No answer to the requests below is longer; what claims to be is another protocol.
LONGEST: Final = 1_000_000


def text(value: str) -> bytes:
    """Write a string as the protocol does: its length, then its bytes."""
    encoded = value.encode()
    return struct.pack(">h", len(encoded)) + encoded


def call(connection: socket.socket, api: int, version: int, body: bytes) -> bytes:
    """Send one request and return the body of its response. Raises OSError, or BadRecord where it is not Kafka."""
    request = struct.pack(">hhi", api, version, 1) + text("airpocket-probe") + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    head = _exactly(connection, 4)
    (length,) = struct.unpack(">i", head)
    if not 4 <= length <= LONGEST:
        raise BadRecord(f"the answer begins with {head!r}, which is no Kafka response")
    return _exactly(connection, length)[4:]


def api_versions(connection: socket.socket) -> dict[int, int]:
    """Ask which requests the broker knows, and return their greatest versions."""
    body = call(connection, API_VERSIONS, 0, b"")
    error, count = struct.unpack_from(">hi", body)
    if error:
        raise BadRecord(f"the broker refuses to name its versions: error {error}")
    rows = (struct.unpack_from(">hhh", body, 6 + 6 * i) for i in range(count))
    return {api: greatest for api, _, greatest in rows}


def answers(host: str, port: int, timeout: float) -> bool:
    """Say whether a broker speaks plaintext Kafka there."""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            return bool(api_versions(connection))
    except (OSError, BadRecord):
        return False


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionResetError("the other side closed the connection")
        parts += part
    return bytes(parts)
