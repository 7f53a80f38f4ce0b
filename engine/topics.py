"""Topic names and their partitioning: spelled here and nowhere else."""

from dataclasses import dataclass
from typing import Final, Literal
from zlib import crc32

MARKET: Final = "market.v1"
SIGNAL_DEPTH: Final = "signal.depth.v1"
SIGNAL_FLOW: Final = "signal.flow.v1"
SIGNAL_VACUUM: Final = "signal.vacuum.v1"
SIGNAL_CASCADE: Final = "signal.cascade.v1"
SIGNAL_CONTEXT: Final = "signal.context.v1"
SIGNAL_HEALTH: Final = "signal.health.v1"
SIGNAL_LATEST: Final = "signal.latest.v1"
STATE: Final = "state.v1"
RAW: Final = "raw.v1"

#: Header that names the input that caused a signal: `<offset>:<index>`, index counting that input's outputs.
HEADER_SOURCE: Final = "source"
#: Header that names the engine version and the hash of its configuration.
HEADER_ENGINE: Final = "engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic as `airpocket topics ensure` makes it."""

    name: str
    cleanup: Literal["delete", "compact"]
    #: How long records are kept, in milliseconds; -1 for ever.
    retention: int
    #: Whether the partition is chosen by `partition_of(asset)`; otherwise by the key's hash.
    by_asset: bool = True


DAY: Final = 86_400_000

TOPICS: Final[tuple[Topic, ...]] = (
    Topic(name=MARKET, cleanup="delete", retention=7 * DAY),
    Topic(name=SIGNAL_DEPTH, cleanup="delete", retention=30 * DAY),
    Topic(name=SIGNAL_FLOW, cleanup="delete", retention=30 * DAY),
    Topic(name=SIGNAL_VACUUM, cleanup="delete", retention=30 * DAY),
    Topic(name=SIGNAL_CASCADE, cleanup="delete", retention=30 * DAY),
    Topic(name=SIGNAL_CONTEXT, cleanup="delete", retention=30 * DAY),
    Topic(name=SIGNAL_HEALTH, cleanup="delete", retention=30 * DAY),
    Topic(name=SIGNAL_LATEST, cleanup="compact", retention=-1),
    Topic(name=STATE, cleanup="compact", retention=-1),
    Topic(name=RAW, cleanup="delete", retention=3 * DAY, by_asset=False),
)


def partition_of(asset: str, partitions: int) -> int:
    """Place an asset: every venue's books of one asset share one partition, so that they are one ordered log."""
    return crc32(asset.encode()) % partitions
