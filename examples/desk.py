"""Print the depth signal of every instrument, from the beginning: `python examples/desk.py HOST:PORT`."""

import json
import sys

from kafka import KafkaConsumer, TopicPartition

consumer = KafkaConsumer(bootstrap_servers=sys.argv[1], fetch_max_wait_ms=50)
partitions = consumer.partitions_for_topic("signal.depth.v1")
consumer.assign([TopicPartition("signal.depth.v1", partition) for partition in partitions])
consumer.seek_to_beginning()
for record in consumer:
    depth = json.loads(record.value)
    # Beside the instruments' records stand those of whole assets, whose key is the asset.
    if "instrument" in depth:
        print(record.key.decode(), depth["state"], depth["mid"], depth["bid_quote"], depth["ask_quote"], flush=True)
