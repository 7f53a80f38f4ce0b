"""The wire: what is written is read back, by us and by an independent SBE decoder from the XML alone."""

import io
import os
import random
from collections.abc import Iterator
from struct import pack, unpack_from
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import sbe
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import wire
from engine.errors import BadRecord
from engine.schema import (
    FAMILY,
    INSTRUMENT,
    LEVEL,
    LIQUIDATION,
    MESSAGE,
    REFERENCE,
    TRADE,
    Batch,
    Contract,
    Coverage,
    Flag,
    Kind,
    PriceKind,
    Reference,
    Rows,
)

#: The independent decoder, from any schema.
parse: Any = sbe.Schema.parse
GROUPS = {
    "levels": LEVEL,
    "trades": TRADE,
    "liquidations": LIQUIDATION,
    "references": REFERENCE,
    "instruments": INSTRUMENT,
}
NAMES = {"next": "next_funding"}
ENUMS = {"kind": Kind, "contract": Contract, "what": Reference, "price_kind": PriceKind, "coverage": Coverage}


def fill(rows: Rows, seed: int) -> Rows:
    """Fill every field with its full range of values; enumerations stay within theirs."""
    chance = np.random.default_rng(seed)
    for name in rows.dtype.names or ():
        kind = rows.dtype[name]
        if name in ENUMS:
            rows[name] = chance.integers(1, len(ENUMS[name]) + 1, len(rows))
        elif kind.kind == "S":
            rows[name] = [b"BTC", b"1000SHIB", b"USDT", b"SIXTEEN-LETTERS."][seed % 4]
        else:
            low, high = np.iinfo(kind).min, np.iinfo(kind).max
            rows[name] = chance.integers(low, high, len(rows), dtype=kind, endpoint=True)
    return rows


def batch(kinds: list[tuple[Kind, int]], seed: int = 1) -> Batch:
    """Make a batch of messages with so many rows each."""
    messages = fill(np.zeros(len(kinds), MESSAGE), seed)
    messages["kind"] = [kind for kind, _ in kinds]
    messages["count"] = [count for _, count in kinds]
    messages["bids"] = [count // 3 if FAMILY.get(kind) is LEVEL else 0 for kind, count in kinds]
    messages["flags"] &= 31
    rows = {
        name: fill(np.zeros(sum(n for kind, n in kinds if FAMILY.get(kind) is family), family), seed + 7)
        for name, family in GROUPS.items()
    }
    return Batch(instrument="binance_usdm:BTCUSDT", asset="BTC", messages=messages, **rows)


def same(one: Batch, other: Batch) -> None:
    """Assert that two batches hold the same rows, field by field (padding means nothing)."""
    assert (one.instrument, one.asset) == (other.instrument, other.asset)
    for name in ("messages", *GROUPS):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name


def messages_of(value: bytes) -> Iterator[bytes]:
    """Cut a record into its messages by the lengths that their own headers state."""
    at = 0
    while at < len(value):
        block, rows = unpack_from("<HH", value, at + 84)
        end = at + 88 + block * rows
        yield value[at:end]
        at = end


def by_hand(row: np.void) -> dict[str, Any]:
    """Say a row as the independent decoder says it: names for enumerations, text for letters."""
    said: dict[str, Any] = {}
    for name in row.dtype.names or ():
        value = row[name].item()
        if name in ENUMS:
            value = ENUMS[name](value).name
        elif name == "flags":
            value = [flag.name for flag in Flag if value & flag]
        said[NAMES.get(name, name)] = value.decode() if isinstance(value, bytes) else value
    return said


EVERYTHING = [
    (Kind.RESYNC, 0),
    (Kind.INSTRUMENT, 1),
    (Kind.SNAPSHOT, 30),
    (Kind.DELTA, 0),
    (Kind.DELTA, 7),
    (Kind.TOUCH, 2),
    (Kind.TRADE, 3),
    (Kind.LIQUIDATION, 2),
    (Kind.REFERENCE, 3),
    (Kind.STATUS, 0),
    (Kind.GAP, 0),
    (Kind.STALE, 0),
    (Kind.TRADE, 1),
]


def test_every_template_round_trips() -> None:
    original = batch(EVERYTHING)
    same(wire.decode(original.instrument, "BTC", wire.encode(original)), original)


def test_an_independent_decoder_reads_the_same_values_from_the_xml_alone() -> None:
    schema = parse(io.BytesIO(wire.schema_xml()))
    original = batch(EVERYTHING)
    left = {name: iter(getattr(original, name)) for name in GROUPS}
    seen = set()
    cut = list(messages_of(wire.encode(original)))
    assert len(cut) == len(EVERYTHING)
    for value, message in zip(cut, original.messages, strict=True):
        read = schema.decode(value)
        assert read.header == {
            "blockLength": 76,
            "templateId": int.from_bytes(value[2:4], "little"),
            "schemaId": wire.SCHEMA_ID,
            "version": 1,
        }
        group = next(name for name in (*GROUPS, "none") if name in read.value)
        rows = read.value.pop(group)
        assert read.value == by_hand(message)
        assert len(rows) == message["count"]
        for row in rows:
            assert row == by_hand(next(left[group]))
        seen.add(read.message_name)
    assert seen == {"Book", "Trade", "Liquidation", "Reference", "Instrument", "Status"}
    assert all(next(rest, None) is None for rest in left.values())


def test_the_same_rows_decode_under_a_wider_group_dimension() -> None:
    narrow = wire.schema_xml()
    opening = narrow.index(b'<composite name="groupSizeEncoding"')
    closing = narrow.index(b"</composite>", opening)
    wide = narrow[:opening] + narrow[opening:closing].replace(b'"uint16"', b'"uint32"') + narrow[closing:]
    one = parse(io.BytesIO(narrow))
    other = parse(io.BytesIO(wide))
    for value in messages_of(wire.encode(batch(EVERYTHING))):
        widened = value[:84] + pack("<II", *unpack_from("<HH", value, 84)) + value[88:]
        assert other.decode(widened).value == one.decode(value).value


def test_the_xml_declares_exactly_the_rows_of_the_schema() -> None:
    root = ElementTree.fromstring(wire.schema_xml())
    assert (root.get("id"), root.get("version"), root.get("byteOrder")) == (str(wire.SCHEMA_ID), "1", "littleEndian")
    types = root.find("types")
    assert types is not None
    primitive = {t.get("name"): t.get("primitiveType") or t.get("encodingType") for t in types} | {"Text16": "S16"}

    def declared(parent: ElementTree.Element) -> list[tuple[str | None, int, np.dtype[Any]]]:
        fields = parent.findall("field")
        return [(f.get("name"), int(f.get("offset", "")), np.dtype(primitive[f.get("type")])) for f in fields]

    def expected(family: np.dtype[Any]) -> list[tuple[str, int, np.dtype[Any]]]:
        return [
            (NAMES.get(n, n), family.fields[n][1], family.fields[n][0]) for n in family.names or () if family.fields
        ]

    messages = [element for element in root if element.tag.endswith("message")]
    assert len(messages) == 6
    for message in messages:
        assert declared(message) == expected(MESSAGE)
        assert message.get("blockLength") == "76"
        group = message.find("group")
        assert group is not None
        name = group.get("name", "")
        if name in GROUPS:
            assert declared(group) == expected(GROUPS[name])
            assert group.get("blockLength") == str(GROUPS[name].itemsize)
        for element in message.iter("field"):
            assert element.get("description"), element.attrib
    for enum in root.iter("enum"):
        values = {value.get("name"): int(value.text or "") for value in enum}
        members = {"ReferenceKind": Reference}.get(enum.get("name", "")) or globals()[enum.get("name", "")]
        assert values == {member.name: member.value for member in members}
    assert {c.get("name"): 1 << int(c.text or "") for c in root.iter("choice")} == {f.name: f.value for f in Flag}


def test_every_eight_byte_integer_lies_at_an_eight_byte_offset() -> None:
    value = wire.encode(batch(EVERYTHING))
    at = 0
    for message in messages_of(value):
        assert at % 8 == 0
        assert len(message) % 8 == 0
        at += len(message)


@pytest.mark.parametrize(("levels", "bids"), [(69_000, 23_000), (69_000, 66_000), (60_001, 0), (120_000, 60_000)])
def test_a_message_that_overflows_a_group_is_split(levels: int, bids: int) -> None:
    original = batch([(Kind.DELTA, 2), (Kind.SNAPSHOT, levels), (Kind.TRADE, 1)])
    original.messages["bids"][1] = bids
    original.messages["flags"][1] = Flag.CHECKSUM_OK | Flag.BAD_TIME
    value = wire.encode(original)
    read = wire.decode(original.instrument, "BTC", value)
    assert read.levels.tolist() == original.levels.tolist()
    assert read.messages["count"].tolist() == [2, 60_000, levels - 60_000, 1]
    assert read.messages["bids"].tolist()[1:3] == [min(bids, 60_000), max(bids - 60_000, 0)]
    assert read.messages["flags"].tolist()[1:3] == [
        Flag.PARTIAL | Flag.BAD_TIME,
        Flag.CONTINUED | Flag.BAD_TIME | Flag.CHECKSUM_OK,
    ]
    same(wire.decode(original.instrument, "BTC", wire.encode(read)), read)
    schema = parse(io.BytesIO(wire.schema_xml()))
    parts = list(messages_of(value))
    assert [len(schema.wrap(part).body["levels"]) for part in parts[:3]] == [2, 60_000, levels - 60_000]


def test_a_part_of_a_part_stays_a_part() -> None:
    original = batch([(Kind.SNAPSHOT, 60_001)])
    original.messages["flags"] = Flag.PARTIAL | Flag.CONTINUED
    read = wire.decode(original.instrument, "BTC", wire.encode(original))
    assert read.messages["flags"].tolist() == [Flag.PARTIAL | Flag.CONTINUED] * 2


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(Kind), st.integers(0, 12)), min_size=1, max_size=12),
    st.integers(0, 2**32),
)
def test_any_batch_round_trips(kinds: list[tuple[Kind, int]], seed: int) -> None:
    original = batch([(kind, count if kind in FAMILY else 0) for kind, count in kinds], seed)
    value = wire.encode(original)
    read = wire.decode(original.instrument, original.asset, value)
    same(read, original)
    assert wire.encode(read) == value


def test_a_record_carries_its_batch() -> None:
    original = batch(EVERYTHING)
    record = wire.record(original)
    assert (record.topic, record.key, record.asset) == ("market.v1", "binance_usdm:BTCUSDT", "BTC")
    assert record.time == original.messages["received"][-1]
    assert record.headers == (("asset", b"BTC"), ("schema", b"1"))
    same(wire.batch_of(record), original)


def test_rows_of_any_memory_compile_the_kernels_once() -> None:
    original = batch([(Kind.SNAPSHOT, 8), (Kind.DELTA, 8)])
    frozen = np.frombuffer(original.levels.tobytes(), LEVEL)
    strided = np.repeat(original.levels, 2)[::2]
    for levels in (original.levels, frozen, strided):
        other = Batch(instrument="v:S", asset="BTC", messages=original.messages, levels=levels)
        same(wire.decode("v:S", "BTC", wire.encode(other)), other)
    if os.environ.get("NUMBA_DISABLE_JIT") != "1":
        compiled: list[Any] = [wire._pack, wire._unpack]
        assert [len(kernel.signatures) for kernel in compiled] == [1, 1]


GOOD = wire.encode(batch([(Kind.DELTA, 3), (Kind.GAP, 0)]))
SECOND = 88 + 3 * 16


def patched(at: int, form: str, value: int) -> bytes:
    """Return the good record with one number replaced."""
    return GOOD[:at] + pack(form, value) + GOOD[at + len(pack(form, 0)) :]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"", "length 0 at byte 0 of 0, allowed is 88 and more"),
        (b'{"not":"sbe"}', "schema id"),
        (patched(0, "<H", 80), "block length 80 at byte 0 of 224, allowed is 76"),
        (patched(2, "<H", 7), "template 7 at byte 0 of 224, allowed is 1 to 6"),
        (patched(2, "<H", 0), "template 0 at byte 0"),
        (patched(4, "<H", 3), "schema id 3 at byte 0 of 224, allowed is 16720"),
        (patched(6, "<H", 2), "schema version 2 at byte 0 of 224, allowed is 1"),
        (patched(SECOND + 6, "<H", 9), "schema version 9 at byte 136 of 224, allowed is 1"),
        (patched(72, "<I", 4), "count 4 at byte 0 of 224, allowed is the group's 3"),
        (patched(76, "<I", 4), "bids 4 at byte 0 of 224, allowed is 0 to 3"),
        (patched(SECOND + 76, "<I", 1), "bids 1 at byte 136 of 224, allowed is 0 to 0"),
        (patched(82, "<B", 4), "kind in template 1 4 at byte 0 of 224, allowed is 1 SNAPSHOT, 2 DELTA, 3 TOUCH"),
        (patched(82, "<B", 12), "kind in template 1 12 at byte 0"),
        (patched(SECOND + 82, "<B", 2), "kind in template 6 2 at byte 136"),
        (patched(84, "<H", 24), "row length 24 at byte 0 of 224, allowed is 16"),
        (patched(86, "<H", 2), "count 3 at byte 0 of 224, allowed is the group's 2"),
        (GOOD[:100], "rows 3 of 16 bytes at byte 0 of 100, allowed is what the 12 bytes left hold"),
        (GOOD[:80], "length 80 at byte 0 of 80, allowed is 88 and more: the record is torn"),
        (GOOD[:-8], "length 80 at byte 136 of 216"),
        (GOOD + b"\0", "length 1 at byte 224 of 225"),
        (GOOD + bytes(8), "schema id 0 at byte 224 of 232, allowed is 16720"),
        (GOOD[:SECOND] + pack("<I", 1) + GOOD[SECOND + 4 :], "template 0 at byte 136"),
        (patched(SECOND + 72, "<I", 1)[:-2] + b"\1\0", "count 1 at byte 136 of 224, allowed is 0"),
    ],
)
def test_a_foreign_or_broken_record_is_refused_by_name(value: bytes, words: str) -> None:
    with pytest.raises(BadRecord) as refusal:
        wire.decode("v:S", "BTC", value)
    assert words in str(refusal.value)
    assert "record of v:S" in str(refusal.value)


def test_flipped_bits_are_refused_or_read_and_never_crash() -> None:
    chance = random.Random(5)
    value = wire.encode(batch(EVERYTHING))
    refused = 0
    for _ in range(3000):
        broken = bytearray(value)
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        cut = bytes(broken[: chance.choice((len(broken), chance.randrange(len(broken))))])
        try:
            wire.decode("v:S", "BTC", cut)
        except BadRecord:
            refused += 1
    assert 1000 < refused < 3000


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused(value: bytes) -> None:
    with pytest.raises(BadRecord):
        wire.decode("v:S", "BTC", value)


def test_rows_that_no_message_counts_are_refused_before_they_are_written() -> None:
    good = batch([(Kind.DELTA, 3), (Kind.TRADE, 2)])
    for field, at, value in (
        ("count", 0, 4),
        ("count", 0, 2),
        ("bids", 0, 4),
        ("bids", 1, 1),
        ("kind", 0, 0),
        ("kind", 1, 7),
    ):
        broken = good.messages.copy()
        broken[field][at] = value
        with pytest.raises(BadRecord, match="3 levels, 2 trades"):
            wire.encode(Batch(instrument="v:S", asset="BTC", messages=broken, levels=good.levels, trades=good.trades))
    with pytest.raises(BadRecord, match="no message"):
        wire.encode(Batch(instrument="v:S", asset="BTC", messages=np.zeros(0, MESSAGE)))
