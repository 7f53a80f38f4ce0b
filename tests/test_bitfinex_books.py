"""Bitfinex: its recording, its checksum, and how books are numbered and proved."""

from pathlib import Path
from zlib import crc32

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadFrame, Gap
from engine.schema import LEVEL, Kind
from ingest.mirror import Mirror
from ingest.venues._bitfinex_checksum import checksum, written
from tests.bitfinex import EVENTS, FRAMES, MS, TS, VENUE, content, decoder, instrument, one
from tests.peers import received


def in_javascript(number: float) -> str:
    """Write a number as JavaScript does, from Python's own shortest text of it."""
    text = repr(number)
    if "e-" in text:
        head, _, power = text.partition("e-")
        zeros = int(power) - 1
        if zeros >= 6:
            return f"{head}e-{int(power)}"
        sign = "-" * head.startswith("-")
        return f"{sign}0.{'0' * zeros}{head.strip('-').replace('.', '')}"
    return text.removesuffix(".0")


def naive_checksum(bids: dict[float, float], asks: dict[float, float]) -> int:
    """Compute the checksum of a book of floats, amounts of asks negative."""
    sides = (sorted(bids.items(), reverse=True), sorted(asks.items()))
    words = []
    for i in range(25):
        for side in sides:
            words += [in_javascript(number) for number in side[i]] if i < len(side) else []
    return int(np.uint32(crc32(":".join(words).encode())).astype(np.int32))


@pytest.mark.tape
def test_the_recordings_numbers_have_no_hole_and_its_books_are_whole(captures: Path) -> None:
    frames = list(received([captures / "BITFINEX.ws.11.0.gz"]))
    known = {each.symbol: each for each in VENUE.infer_instruments([raw for _, raw in frames])}
    assert VENUE.rule is not None
    mirrors = {symbol: Mirror(each, VENUE.rule) for symbol, each in known.items()}
    naive: dict[str, tuple[dict[float, float], dict[float, float]]] = {}
    names: dict[int, tuple[str, str]] = {}
    reader = VENUE.decoder(known)
    numbered = compared = exponents = 0
    for at, raw in frames:
        read = orjson.loads(raw)
        found = reader.decode(raw, at, 1)
        if isinstance(read, dict):
            if read["event"] == "subscribed":
                names[read["chanId"]] = (read["channel"], read["symbol"])
            continue
        # This recording's `conf` asked for numbers alone: they stand last.
        numbered += 1
        assert read[-1] == numbered
        channel, symbol = names.get(read[0], ("", ""))
        if channel != "book" or read[1] == "hb":
            continue
        (decoded,) = found
        mirror, bids = mirrors[symbol], int(decoded.message["bids"][0])
        if decoded.message["kind"][0] == Kind.SNAPSHOT:
            mirror.replace(decoded.rows, bids)
            naive[symbol] = ({}, {})
        else:
            mirror.apply(decoded.rows, bids)
        for price, count, amount in read[1] if isinstance(read[1][0], list) else [read[1]]:
            side = naive[symbol][amount < 0]
            # Nothing is deleted that is not there.
            side[price] = amount if count else side.pop(price)
            if not count:
                del side[price]
        exponents += b"e-" in raw
        mirror.check(naive_checksum(*naive[symbol]), 0, 0)
        compared += 1
    assert (len(known), numbered, compared) == (7, 1670, 1600)
    assert exponents > 0
    # What leaves the length that was asked for is deleted by a frame.
    assert all(len(side) <= 100 for mirror in mirrors.values() for side in mirror.best(1000))
    assert reader.counts == {"channel_ticker": 21}


@pytest.mark.tape
def test_no_recorded_checksum_is_of_this_venue(checksums: Path) -> None:
    cases = orjson.loads((checksums / "vectors.json").read_bytes())
    assert not [case for case in cases if case["venue"].split()[0] in ("bitfinex", "deribit", "bitmex", "hyperliquid")]
    # Aevo's is the nearest: it interleaves the sides too, but leaves the amounts of asks positive.
    (aevo,) = (case for case in cases if case["venue"] == "aevo")
    mirror = Mirror(instrument(prices=0), VENUE.rule)  # type: ignore[arg-type]
    mirror.replace(np.array([(9, 2 * 10**8), (10, 10**8)], LEVEL), 1)
    assert crc32(aevo["preimage"].encode()) == int(aevo["checksum"])
    assert checksum(mirror) == int(np.uint32(crc32(b"9:2:10:-1")).astype(np.int32))


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (105_055, 0, "105055"),
        (100_000, 0, "100000"),
        (1_050_550, 1, "105055"),
        (50_000_000, 8, "0.5"),
        (123, 8, "0.00000123"),
        (100, 8, "0.000001"),
        (99, 8, "9.9e-7"),
        (10, 8, "1e-7"),
        (2, 8, "2e-8"),
        (123_456, 12, "1.23456e-7"),
        (10**17, 8, "1000000000"),
    ],
)
def test_numbers_are_written_as_javascript_writes_them(value: int, decimals: int, text: str) -> None:
    assert written(value, decimals) == text


@given(value=st.integers(1, 10**15), decimals=st.integers(0, 12))
def test_written_numbers_are_those_of_an_independent_writer(value: int, decimals: int) -> None:
    assert written(value, decimals) == in_javascript(value / 10**decimals)


def test_a_checksum_is_proved_by_the_books_best_levels() -> None:
    reader = decoder()
    mirror = Mirror(instrument(), VENUE.rule)  # type: ignore[arg-type]
    opened = one(FRAMES[0], reader)
    mirror.replace(opened.rows, int(opened.message["bids"][0]))
    right = int(np.uint32(crc32(b"105055:0.5:105056.5:-0.25")).astype(np.int32))
    stated = one(content(1, "cs", right, seq=2), reader)
    assert (stated.message["kind"][0], len(stated.rows), stated.checksum) == (Kind.DELTA, 0, right)
    assert mirror.check(stated.checksum, 0, 0)
    with pytest.raises(Gap):
        mirror.check(right + 1, 0, 0)
    # A side may be shorter than the other.
    mirror.replace(np.array([(1000, 10**8), (2000, 10**8), (3000, 10)], LEVEL), 1)
    assert checksum(mirror) == int(np.uint32(crc32(b"1:1:2:-1:3:-1e-7")).astype(np.int32))


def test_a_book_is_a_list_and_then_one_level_a_frame() -> None:
    reader = decoder()
    opened = one(FRAMES[0], reader)
    assert opened.message[["kind", "bids", "exchanged"]].tolist() == [(Kind.SNAPSHOT, 1, TS * MS)]
    assert opened.rows.tolist() == [(105_055_000, 50_000_000), (105_056_500, 25_000_000)]
    frames = {
        b"[1,[105054,1,1.1e-7],2,1737918843800]": (1, (105_054_000, 11)),
        b"[1,[105057,3,-1000000000.10],3,1737918843800]": (0, (105_057_000, 100_000_000_010_000_000)),
        b"[1,[105055.0,0,1],4,1737918843800]": (1, (105_055_000, 0)),
        b"[1,[105056.5,0,-1],5,1737918843800]": (0, (105_056_500, 0)),
    }
    for frame, (bids, level) in frames.items():
        decoded = one(frame, reader)
        assert (decoded.message["kind"][0], decoded.message["bids"][0]) == (Kind.DELTA, bids)
        assert decoded.rows.tolist() == [level]
    empty = one(content(1, [], seq=6), reader)
    assert (empty.message["kind"][0], len(empty.rows)) == (Kind.SNAPSHOT, 0)


def test_a_hole_in_a_connections_numbers_is_a_gap_of_all() -> None:
    reader = decoder()
    reader.decode(FRAMES[0], 0, 1)
    assert reader.decode(content(1, "hb", seq=2), 0, 1) == []
    # A heartbeat may come before the event that names its channel; it counts, too.
    assert reader.decode(content(99, "hb", seq=3), 0, 1) == []
    assert reader.decode(content(5, [1, 2], seq=4), 0, 1) == []
    assert reader.decode(content(6, [1, 2, 3], seq=5), 0, 1) == []
    with pytest.raises(Gap) as met:
        reader.decode(content(1, [105054, 1, 0.001], seq=7), 0, 1)
    assert (met.value.instrument, met.value.expected, met.value.met) == ("", 6, 7)
    assert len(reader.decode(content(1, [105054, 1, 0.001], seq=8), 0, 1)) == 1
    with pytest.raises(Gap):
        reader.decode(content(1, [105054, 1, 0.001], seq=8), 0, 1)
    assert reader.counts == {"channel_ticker": 1, "channel_bookR0": 1}


def test_channels_and_numbers_are_those_of_a_connection() -> None:
    reader = decoder()
    reader.decode(FRAMES[0], 0, 1)
    with pytest.raises(BadFrame, match="not subscribed on this connection"):
        reader.decode(content(1, [105054, 1, 0.001], seq=40), 0, 2)
    for event in EVENTS:
        reader.decode(event, 0, 2)
    assert len(reader.decode(content(1, [105054, 1, 0.001], seq=40), 0, 2)) == 1
    assert len(reader.decode(content(1, [105054, 1, 0.001], seq=2), 0, 1)) == 1
    reader.forget(2)
    with pytest.raises(BadFrame, match="unknown_channel"):
        reader.decode(content(1, [105054, 1, 0.001], seq=41), 0, 2)
    reader.decode(b'{"event":"unsubscribed","status":"OK","chanId":1}', 0, 1)
    with pytest.raises(BadFrame, match="unknown_channel"):
        reader.decode(content(1, [105054, 1, 0.001], seq=3), 0, 1)


@pytest.mark.parametrize(
    ("flags", "frame", "exchanged"),
    [
        (229_376, b"[1,[105054,1,0.5],7,1737918843800]", TS * MS),
        (65_536, b"[1,[105054,1,0.5],7]", 0),
        (32_768, b"[1,[105054,1,0.5],1737918843800]", TS * MS),
        (0, b"[1,[105054,1,0.5]]", 0),
        # Fields may be added at the end.
        (229_376, b"[1,[105054,1,0.5],7,1737918843800,null]", TS * MS),
    ],
)
def test_where_number_and_time_stand_follows_from_the_flags(flags: int, frame: bytes, exchanged: int) -> None:
    reader = decoder()
    reader.decode(b'{"event":"conf","status":"OK","flags":%d}' % flags, 0, 1)
    assert one(frame, reader).message["exchanged"][0] == exchanged
