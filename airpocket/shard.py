"""One shard: what market.v1 holds in one partition in, the signals that are not yet in the log out.

Signals are a function of the input alone, and each names the input that caused it: `<offset>:<index>`. So the output
log is its own checkpoint. A shard that begins again from a snapshot computes what is already there once more and holds
it back; what comes after continues the log. Each output topic is compared by itself, since a crash may cut between two.

A record that cannot be read is data too: the books it may have spoken of are no longer known, and are told so by GAP.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from airpocket.snapshot import Snapshot, Source
from engine.config import EngineConfig
from engine.errors import BadRecord
from engine.pipeline import Pipeline
from engine.schema import MESSAGE, Batch, Kind, Record
from engine.topics import HEADER_SOURCE
from engine.wire import batch_of
from ingest.topic import Taken

NONE: Final[Source] = (-1, -1)


def source_of(record: Record) -> Source:
    """Read which input caused an output. Raises BadRecord where the record does not say."""
    value = dict(record.headers).get(HEADER_SOURCE, b"")
    offset, _, index = value.partition(b":")
    if not (offset.isdigit() and index.isdigit()):
        raise BadRecord(f"a record of {record.topic} has source {value!r}, allowed is <offset>:<index>: who wrote it?")
    return int(offset), int(index)


class Shard:
    """The pipelines of every asset that lives in one partition."""

    def __init__(self, partition: int, config: EngineConfig, written: Mapping[str, Source], offset: int = 0) -> None:
        """Begin empty at an input offset; `written` is the source of each output topic's last record."""
        self.partition = partition
        self.offset = offset
        self.counts: Counter[str] = Counter()
        #: Why the last unreadable record was that.
        self.fault = ""
        #: Last input offset that any output of the log names: beyond it nothing needs holding back.
        self.until = max((source[0] for source in written.values()), default=-1)
        self._config = config
        self._written = dict(written)
        self._last: dict[str, Record] = {}
        self._pipelines: dict[str, Pipeline] = {}
        self._instruments: dict[str, str] = {}
        self._received = 0
        self._time = 0

    @property
    def caught_up(self) -> bool:
        """Whether everything that the log already holds has been computed again."""
        return self.offset > self.until

    @property
    def pipelines(self) -> Mapping[str, Pipeline]:
        """Each asset's pipeline as it is after the last step."""
        return self._pipelines

    def step(self, taken: Taken) -> list[Record]:
        """Take one offset and return the outputs that the log does not hold yet."""
        self.offset = taken.offset + 1
        self.counts["inputs"] += 1
        try:
            outputs = self._compute(self._batch(taken), taken.offset)
        except BadRecord as error:
            self.counts["unreadable"] += 1
            self.fault = str(error)
            spoken = [record for gap in self._gaps(taken) for record in self._compute(gap, taken.offset)]
            # Several pipelines may have spoken, and each numbered its own.
            outputs = [_numbered(record, taken.offset, index) for index, record in enumerate(spoken)]
        self.counts["outputs"] += len(outputs)
        return self._new(outputs)

    def snapshot(self) -> Snapshot:
        """Give the state after the last step; to be written only when every output so far is acknowledged."""
        delivered = self._written | {topic: source_of(record) for topic, record in self._last.items()}
        return Snapshot(
            offset=self.offset,
            received=self._received,
            time=self._time,
            instruments=self._instruments,
            delivered=delivered,
            state={asset: pipeline.dump() for asset, pipeline in self._pipelines.items()},
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot. Raises BadRecord where it is of another configuration or version, or corrupt."""
        pipelines = {asset: Pipeline.load(state, self._config) for asset, state in snapshot.state.items()}
        self.offset = snapshot.offset
        self._received = snapshot.received
        self._time = snapshot.time
        self._instruments = dict(snapshot.instruments)
        self._pipelines = pipelines

    def _compute(self, batch: Batch, offset: int) -> list[Record]:
        pipeline = self._pipelines.get(batch.asset) or Pipeline(batch.asset, self._config)
        outputs = pipeline.step(batch, offset)
        # Only now: a batch that the pipeline refuses leaves no trace.
        self._pipelines[batch.asset] = pipeline
        self._instruments[batch.instrument] = batch.asset
        self._received = max(self._received, int(batch.messages["received"][-1]))
        return outputs

    def _batch(self, taken: Taken) -> Batch:
        if taken.record is None:
            raise BadRecord(taken.fault)
        self._time = taken.record.time
        if not taken.record.asset:
            raise BadRecord(f"record {taken.offset} of {taken.record.key} names no asset")
        return batch_of(taken.record)

    def _gaps(self, taken: Taken) -> list[Batch]:
        """Tell the books that the lost record may have spoken of; all of them where even its key is lost."""
        key = taken.record.key if taken.record is not None else None
        message = np.zeros(1, MESSAGE)
        message["received"] = self._received
        message["kind"] = int(Kind.GAP)
        return [
            Batch(instrument=instrument, asset=asset, messages=message)
            for instrument, asset in self._instruments.items()
            if key is None or instrument == key
        ]

    def _new(self, outputs: list[Record]) -> list[Record]:
        if self.offset <= self.until + 1:
            outputs = [record for record in outputs if source_of(record) > self._written.get(record.topic, NONE)]
        for record in outputs:
            self._last[record.topic] = record
        return outputs


def _numbered(record: Record, offset: int, index: int) -> Record:
    """Renumber an output: one lost record may make several pipelines speak."""
    others = tuple(header for header in record.headers if header[0] != HEADER_SOURCE)
    return replace(record, headers=((HEADER_SOURCE, b"%d:%d" % (offset, index)), *others))
