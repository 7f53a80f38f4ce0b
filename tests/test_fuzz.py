"""A look of each venue's fuzzing, with a seed that is fixed; and that the properties can fail."""

from collections import Counter
from dataclasses import replace
from itertools import islice
from random import Random
from typing import Any

import numpy as np
import pytest

from engine.errors import BadFrame
from engine.schema import Channel, Kind
from ingest.rows import message
from ingest.venues import Decoded, names
from ingest.venues._reading import Reader, book, foreign, parse, trades
from tests.fuzz.corpus import DOCUMENTED, corpus_of
from tests.fuzz.findings import Findings
from tests.fuzz.mutation import mutated, read, shape, shortened, write
from tests.fuzz.properties import Target, Violation, inputs

INPUTS = 400
PEER = "okx"


@pytest.mark.parametrize("name", names())
def test_a_decoder_keeps_its_promises_whatever_comes(name: str) -> None:
    corpus = corpus_of(name)
    target = Target(corpus)
    for frame in islice(inputs(corpus, Random(20_260_410)), len(corpus.seeds) + INPUTS):
        target.check(frame)
    accepted = target.counts["accepted"] + target.counts["accepted, no rows"]
    assert accepted > 0
    # Decoders refuse for many reasons; were it for one only, the mutations would not get far.
    refused = {reason for reason in target.counts if " " not in reason} - {"accepted"}
    assert len(refused) >= 5, target.counts


def test_a_documented_frame_is_some_venues() -> None:
    seeds = {frame for name in names() for frame in corpus_of(name).singles}
    assert [frame for frame in DOCUMENTED.read_bytes().splitlines() if frame not in seeds] == []


class Bad(Reader):
    """A decoder that breaks one promise."""

    def __init__(self, instruments: Any, promise: str) -> None:
        super().__init__(instruments)
        self._promise, self._heard = promise, 0

    def decode(self, frame: bytes, received: int = 0, connection: int = 0) -> list[Decoded]:
        known = next(iter(self._instruments.values()))
        at = 1_700_000_000_000_000_000
        match self._promise:
            case "raises":
                raise KeyError("data")
            case "negative":
                return [book(known, Kind.DELTA, [(-5, 1)], [], exchanged=at)]
            case "zero":
                return [trades(known, [(at, 5, 0, 1, 1, 1)])]
            case "counts":
                return [Decoded(known.symbol, Channel.DEPTH, message(Kind.DELTA, count=3), np.empty(0, "<i8"))]
            case "stranger":
                return [book(replace(known, symbol="NONE"), Kind.DELTA, [(5, 1)], [], exchanged=at)]
            case "unsorted":
                made = book(known, Kind.DELTA, [(5, 1), (6, 1)], [], exchanged=at)
                row = message(Kind.SNAPSHOT, exchanged=at, count=2, bids=2)
                return [made._replace(message=row)]
            case "wordy":
                raise BadFrame(f"no frame: {frame!r}")
            case "remembers":
                self._heard += 1
                if self._heard % 2:
                    raise BadFrame("structure")
                return [book(known, Kind.DELTA, [(self._heard, 1)], [], exchanged=at)]
        return []

    def decode_slowly(self, frame: bytes) -> list[Decoded]:
        known = next(iter(self._instruments.values()))
        if self._promise == "slow":
            return [book(known, Kind.DELTA, [(5, 1)], [], exchanged=1)]
        return self.decode(frame)


def broken(promise: str, **others: Any) -> Target:
    corpus = corpus_of(PEER)
    venue = replace(corpus.venue, decoder=lambda known: Bad(known, promise), **others)
    return Target(replace(corpus, venue=venue, opening=[]))


@pytest.mark.parametrize(
    ("promise", "named"),
    [
        ("raises", "KeyError"),
        ("negative", "range of price"),
        ("zero", "zero"),
        ("counts", "count"),
        ("stranger", "symbol"),
        ("unsorted", "order of bids"),
        ("wordy", "no short word"),
        ("slow", "slow path"),
    ],
)
def test_a_broken_promise_is_met(promise: str, named: str) -> None:
    with pytest.raises(Violation, match=named):
        broken(promise).check(b"{}")


def test_a_refusal_that_leaves_something_behind_is_met() -> None:
    class Leaking(Bad):
        decode_slowly = None  # type: ignore[assignment]

    target = broken("none")
    target.tried, target.kept = (Leaking(target.corpus.instruments, "remembers") for _ in range(2))
    with pytest.raises(Violation, match="refused frame changed"):
        target.check(b"{}")


def test_an_instrument_is_inferred_or_refused() -> None:
    def careless(frames: Any) -> list[Any]:
        return [parse(frame)["arg"]["instId"] for frame in frames]

    frames = [b'{"n":%d}' % n for n in range(200)]
    target = broken("none", infer_instruments=careless)
    with pytest.raises(Violation, match="KeyError"):
        for frame in frames:
            target.check(frame)
    target = broken("none", infer_instruments=foreign(careless))
    for frame in frames:
        target.check(frame)
    assert target.counts["not inferred from"] > 5


def test_each_kind_of_violation_is_kept_once_with_what_leads_to_it(tmp_path: Any) -> None:
    findings = Findings(broken("raises"))
    for frame in (b"{}", b"[]", b"1"):
        findings.check(frame)
    assert (findings.inputs, len(findings.met), findings.counts.total()) == (3, 1, 3)
    ((text, frames),) = findings.met.values()
    assert "KeyError" in text
    assert "test_fuzz.py" in text
    assert frames == [b"{}"]
    findings.write(tmp_path)
    assert '"inputs": 3' in (tmp_path / "report.json").read_text()
    assert (tmp_path / "violation-0.json").read_text() == '["{}"]'


def test_a_tree_is_printed_as_it_was_read() -> None:
    for frame in (b'{"a":1.50,"a":[1e5,-0,"x\\"\\u00e9"],"b":{"":null,"c":true}}', b"[]", b'[[["1"]],NaN]'):
        assert write(read(frame)) == frame.replace(b"\\u00e9", "é".encode())
    assert read(b"{") is None


def test_shapes_and_short_forms() -> None:
    assert shape(b'{"a":[1,2],"b":"x"}') == shape(b'{"a":[3,4.5],"b":"y"}') != shape(b'{"a":[1,"2"],"b":"x"}')
    assert shortened(b'{"a":[1,2,3,[4,5,6]],"b":1.10}', 2) == b'{"a":[1,2],"b":1.10}'


def test_mutations_are_their_seeds_and_differ() -> None:
    seeds = corpus_of(PEER).seeds
    frame = seeds[0]
    first = [mutated(frame, seeds, Random(n)) for n in range(300)]
    assert first == [mutated(frame, seeds, Random(n)) for n in range(300)]
    assert len(set(first)) > 200
    kinds = Counter(read(each) is not None for each in first)
    assert kinds[True] > 100
    assert kinds[False] > 10


@pytest.mark.parametrize("name", ["binance_spot", "binance_usdm"])
def test_a_snapshot_may_have_an_empty_side(name: str) -> None:
    decoder = corpus_of(name).decoder()
    body = b'{"lastUpdateId":7,"E":1790000000123,"T":1790000000120,"bids":[],"asks":[["61000.20","1.000"]]}'
    (decoded,) = decoder.body("BTCUSDT", Channel.DEPTH, body)
    assert (decoded.message["count"][0], decoded.message["bids"][0]) == (1, 0)


@pytest.mark.parametrize(("price", "size", "refused"), [("0.00", "1.000", True), ("0.00", "0.000", False)])
def test_a_best_price_of_zero_is_an_empty_side_or_refused(price: str, size: str, refused: bool) -> None:
    decoder = corpus_of("binance_usdm").decoder()
    data = '{"e":"bookTicker","u":4,"E":1790000000123,"T":1790000000120,"s":"BTCUSDT",'
    data += f'"b":"{price}","B":"{size}","a":"61000.20","A":"40.660"}}'
    frame = f'{{"stream":"btcusdt@bookTicker","data":{data}}}'.encode()
    if refused:
        with pytest.raises(BadFrame, match="zero"):
            decoder.decode(frame)
    else:
        (decoded,) = decoder.decode(frame)
        assert decoded.rows["size"].tolist()[0] == 0
