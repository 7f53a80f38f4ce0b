"""An engine process for tests to kill: `python -m tests.engine_process <bootstrap> <partitions> <snapshot seconds>`."""

import logging
import sys

from airpocket.worker import WorkerConfig, serve
from engine.broker import BrokerConfig
from tests.market import CONFIG


def main(bootstrap: str, partitions: str, seconds: str, delivery: str = "60") -> int:
    """Run the worker of these partitions over this broker until it is told to stop."""
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("airpocket").setLevel(logging.INFO)
    broker = BrokerConfig(bootstrap=bootstrap, partitions=4, fetch_wait=50, delivery_timeout=float(delivery))
    chosen = [int(partition) for partition in partitions.split(",")]
    return serve(broker, CONFIG, chosen, WorkerConfig(snapshot_every=float(seconds)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
