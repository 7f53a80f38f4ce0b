"""Every recorded checksum case is recomputed: those of our channels by the venues' rules, the rest by a shared rule."""

import json
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from engine.instrument import Instrument
from engine.schema import Contract
from ingest.decimals import places, scaled
from ingest.venues._texts import bare, signed_crc

#: Recomputed where the venue's own frames are tested.
ELSEWHERE = {"kraken spot ws v1", "kraken spot ws v2", "okx v5 books", "okx/okex docs"}


def cases(folder: Path) -> dict[str, dict[str, Any]]:
    return {case["name"]: case for case in json.loads((folder / "vectors.json").read_text())}


@pytest.mark.tape
def test_no_case_is_left_out(checksums: Path) -> None:
    others = {name for name, case in cases(checksums).items() if case["venue"] not in ELSEWHERE}
    assert others == {"aevo_doc", "kraken_ws_v2_level3_doc"}


@pytest.mark.tape
def test_aevo_computes_as_okx_does_and_states_it_unsigned(checksums: Path) -> None:
    case = cases(checksums)["aevo_doc"]
    instrument = Instrument(
        venue="aevo", symbol="S", asset="A", quote="Q", contract=Contract.LINEAR,
        price_decimals=0, size_decimals=0, tick=1, lot=1,
    )  # fmt: skip
    bids, asks = ([(scaled(price, 0), scaled(size, 0)) for price, size in case[side]] for side in ("bids", "asks"))
    assert signed_crc(instrument, bids, asks, bare) % (1 << 32) == int(case["checksum"])


@pytest.mark.tape
def test_krakens_book_of_orders_has_the_rule_of_its_levels(checksums: Path) -> None:
    """Each order counts as a level would; no row of ours holds orders, so the channel itself is not read."""
    case = cases(checksums)["kraken_ws_v2_level3_doc"]
    orders = [(price, size) for side in ("asks", "bids") for price, sizes in case[side] for size in sizes]
    text = "".join(f"{scaled(price, places(price))}{scaled(size, places(size))}" for price, size in orders)
    assert crc32(text.encode()) == int(case["checksum"])
